//! What both spellings of SenML, and OMA's JSON, have in common: records with base fields, names and times (RFC 8428,
//! Core §7.4.5).
//!
//! Deliberately absent: base values and sums, which LwM2M does not use; a record that has one is refused, since its values
//! would mean something else.

use super::{ENTRIES_MAX, FormatError, check_place, typed};
use crate::path::{Path, PathError};
use crate::value::{Entry, Value};

/// The longest name: the longest path has 24 bytes. Without a limit, a long base name would be copied for each record.
const NAME_BYTES_MAX: usize = 32;

/// The version of SenML that is spoken here; a record may ask for a later one, which is refused (RFC 8428 §4.4).
pub(super) const VERSION: u64 = 10;

/// Times below this are relative to the time of the body; from it on they are seconds since 1970 (RFC 8428 §4.5.3).
const ABSOLUTE_TIME: f64 = 268_435_456.0; // 2^28

/// A leaf with the time it was taken at.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Seconds since 1970 where it is 2^28 or more, else seconds relative to the arrival of the body: 0 is "now", and -5 is
    /// five seconds ago (RFC 8428 §4.5.3).
    pub time: f64,
    /// The leaf.
    pub entry: Entry,
}

impl Sample {
    /// A greater key is a newer value. What has a relative time was taken by a device that sends as it measures.
    pub(super) fn age_key(&self) -> (bool, f64) {
        (self.time < ABSOLUTE_TIME, self.time)
    }
}

/// A record as it was written.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// `bn`: is before each name, from here on.
    pub(super) base_name: Option<String>,
    /// `bt`: is added to each time, from here on.
    pub(super) base_time: Option<f64>,
    /// `n`
    pub(super) name: Option<String>,
    /// `t`
    pub(super) time: Option<f64>,
    /// `v`, `vs`, `vb`, `vd` or `vlo`.
    pub(super) value: Option<Value>,
}

impl Record {
    /// Takes the record's one value.
    pub(super) fn set_value(&mut self, value: Value) -> Result<(), FormatError> {
        set(&mut self.value, value)
    }
}

/// Takes a field that a record has once.
pub(super) fn set<T>(field: &mut Option<T>, value: T) -> Result<(), FormatError> {
    if field.is_some() {
        return Err(FormatError::Malformed("a record has a field twice"));
    }
    *field = Some(value);
    Ok(())
}

/// What a label of a record means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    /// `bn`
    BaseName,
    /// `bt`
    BaseTime,
    /// `bver`
    BaseVersion,
    /// `bv` or `bs`: would change what values mean.
    BaseValue,
    /// `n`
    Name,
    /// `t`
    Time,
    /// `v`
    Number,
    /// `vs`
    Text,
    /// `vb`
    Boolean,
    /// `vd`
    Data,
    /// `vlo`
    Link,
    /// Units, update times, sums, and what later standards add.
    Ignored,
}

impl Label {
    /// The meaning of a text label. One that ends in `_` must be understood, and no such is (RFC 8428 §4.4).
    pub(super) fn of_text(label: &str) -> Result<Self, FormatError> {
        Ok(match label {
            "bn" => Self::BaseName,
            "bt" => Self::BaseTime,
            "bver" => Self::BaseVersion,
            "bv" | "bs" => Self::BaseValue,
            "n" => Self::Name,
            "t" => Self::Time,
            "v" => Self::Number,
            "vs" => Self::Text,
            "vb" => Self::Boolean,
            "vd" => Self::Data,
            "vlo" => Self::Link,
            _ if label.ends_with('_') => return Err(FormatError::Malformed("a label must be understood")),
            _ => Self::Ignored,
        })
    }

    /// The meaning of a number as label (RFC 8428 §6, table 4).
    pub(super) fn of_number(label: i64) -> Self {
        match label {
            -1 => Self::BaseVersion,
            -2 => Self::BaseName,
            -3 => Self::BaseTime,
            -5 | -6 => Self::BaseValue,
            0 => Self::Name,
            2 => Self::Number,
            3 => Self::Text,
            4 => Self::Boolean,
            6 => Self::Time,
            8 => Self::Data,
            _ => Self::Ignored,
        }
    }
}

/// The names of records: base name and name, in each form that devices write (`/5/0` and `/1`, `/5/0/` and `1`).
#[derive(Default)]
struct Names {
    base: String,
}

impl Names {
    fn next(&mut self, record: &Record) -> Result<Path, FormatError> {
        if let Some(base) = &record.base_name {
            self.base.clone_from(base);
        }
        let name = record.name.as_deref().unwrap_or_default();
        if self.base.len() + name.len() > NAME_BYTES_MAX {
            return Err(FormatError::Name(PathError::Depth));
        }
        let whole = format!("{}{name}", self.base);
        let trimmed = if whole.len() > 1 { whole.strip_suffix('/').unwrap_or(&whole) } else { &whole };
        Ok(trimmed.parse()?)
    }
}

/// The leaves of records, which are all within `base`.
pub(super) fn resolve(records: Vec<Record>, base: &Path) -> Result<Vec<Sample>, FormatError> {
    let mut names = Names::default();
    let mut base_time = 0.0;
    let mut samples = Vec::new();
    for record in records {
        if let Some(time) = record.base_time {
            base_time = time;
        }
        // The base fields of others, alone.
        if record.value.is_none() && record.name.is_none() && record.base_name.is_some() {
            names.base = record.base_name.unwrap_or_default();
            continue;
        }
        let path = names.next(&record)?;
        let value = record.value.ok_or(FormatError::Malformed("a record has no value"))?;
        check_place(base, &path)?;
        let time = base_time + record.time.unwrap_or_default();
        if !time.is_finite() {
            return Err(FormatError::Range(path));
        }
        samples.push(Sample { time, entry: typed::typed(path, value)? });
    }
    Ok(samples)
}

/// The names of records that have no values: what a composite read asks for.
pub(super) fn names(records: &[Record]) -> Result<Vec<Path>, FormatError> {
    let mut names = Names::default();
    records.iter().map(|record| names.next(record)).collect()
}

/// Appends a record, within the limit.
pub(super) fn push(records: &mut Vec<Record>, record: Record) -> Result<(), FormatError> {
    if records.len() == ENTRIES_MAX {
        return Err(FormatError::TooMany);
    }
    records.push(record);
    Ok(())
}

/// Base name and names to write entries about `base` with, in the form of the standard's examples: `/5/0/` and `1`. The
/// base name is in the first record only; a record about the base itself has no name.
pub(super) fn written_names(base: &Path, first: bool, path: &Path) -> (Option<String>, Option<String>) {
    let about_base = base == path;
    let prefix = match base.depth() {
        0 => String::new(),
        _ if about_base => base.to_string(),
        _ => format!("{base}/"),
    };
    let whole = path.to_string();
    let name = whole[prefix.len()..].to_owned();
    let base_name = (first && !prefix.is_empty()).then_some(prefix);
    (base_name, (!about_base).then_some(name))
}
