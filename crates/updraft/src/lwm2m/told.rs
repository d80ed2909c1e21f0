//! Orders, outcomes and trees as people read them.

use std::io::{self, Write};

use jiff::Timestamp;
use serde_json::Value;
use updraft_wire::operator::lwm2m::{Order, Outcome, Resource, Standing};

use crate::error::Error;
use crate::output;
use crate::table::{Cell, Table, printable};
use crate::when;

/// Longest value shown to people, in characters: a firmware image that was read would fill the terminal.
const VALUE_CHARS_MAX: usize = 120;

/// That an order waits, and where to look for what comes of it.
pub(super) fn waits(device: &str, number: u64) -> String {
    format!("{device} sleeps: the order waits, number {number}; see `updraft lwm2m orders {device}`")
}

/// Prints what came of an order.
///
/// # Errors
/// [`Error::Output`]; so for each function that prints.
pub(super) fn outcome(device: &str, outcome: &Outcome) -> Result<(), Error> {
    match outcome {
        Outcome::Content { tree } if tree.is_empty() => output::line("there is nothing"),
        Outcome::Content { tree } => print(&mut io::stdout().lock(), tree),
        Outcome::Links { links } => split(links).iter().try_for_each(|link| output::line(&printable(link))),
        Outcome::Done => output::line("done"),
        Outcome::Refused { code, message } => {
            output::line(&format!("{device} refused: {} {}", printable(code), printable(message)))
        }
        Outcome::NoAnswer { message } => {
            output::line(&format!("{device} did not answer: {}", printable(message)))
        }
    }
}

/// What came of an order, in a few words.
pub(super) fn summary(outcome: Option<&Outcome>) -> String {
    match outcome {
        None => "waits".to_owned(),
        Some(Outcome::Content { tree }) => match tree.as_slice() {
            [one] => shown(one),
            several => format!("{} values", several.len()),
        },
        Some(Outcome::Links { links }) => format!("{} links", split(links).len()),
        Some(Outcome::Done) => "done".to_owned(),
        Some(Outcome::Refused { code, message }) => format!("refused: {code} {message}"),
        Some(Outcome::NoAnswer { message }) => format!("no answer: {message}"),
    }
}

/// What was asked, in the words of the command line.
pub(super) fn asked(order: &Order) -> String {
    let Order { operation, path, value, arguments, .. } = order;
    let with = value.as_deref().or(arguments.as_deref()).unwrap_or_default();
    format!("{} {path} {}", operation.as_str(), cut(with)).trim_end().to_owned()
}

/// A resource that changed.
pub(super) fn change(resource: &Resource) -> String {
    let name = resource.name.as_deref().unwrap_or_default();
    let named = format!("{} {name}", resource.path);
    printable(&format!("{}  {} = {}", Timestamp::now(), named.trim_end(), shown(resource)))
}

/// How a device has proved who it is, in words.
fn proof(security: &str) -> &str {
    match security {
        "psk" => "proved by a pre-shared key",
        "x509" => "proved by its certificate",
        _ => "not proved",
    }
}

/// Prints how a device stands, as a section of what is known of it.
///
/// # Errors
/// [`Error::Output`].
pub fn section(device: &str, standing: &Standing) -> Result<(), Error> {
    let Standing { endpoint, address, security, version, registered, heard, .. } = standing;
    output::line("LwM2M")?;
    output::line(&format!("  endpoint    {}, LwM2M {}", printable(endpoint), printable(version)))?;
    output::line(&format!(
        "  heard       {} ({heard}) from {address}, {}",
        when::ago(heard),
        proof(security)
    ))?;
    let life = standing.lifetime_s.map_or_else(String::new, |life| format!(", for {life} s at a time"));
    output::line(&format!("  registered  {} ({registered}){life}", when::ago(registered)))?;
    let sleep = match (standing.queue_mode, standing.awake) {
        (false, _) => "never",
        (true, true) => "between its words; awake now",
        (true, false) => "between its words; asleep now",
    };
    output::line(&format!("  sleeps      {sleep}"))?;
    output::line(&format!("  objects     {}", printable(&standing.objects.join(" "))))?;
    if standing.waiting > 0 {
        let see = format!("see `updraft lwm2m orders {device}`");
        output::line(&format!("  orders      {} wait; {see}", standing.waiting))?;
    }
    if standing.tree.is_empty() {
        return Ok(());
    }
    let mut table = Vec::new();
    print(&mut table, &standing.tree)?;
    let table = String::from_utf8_lossy(&table).into_owned();
    table.lines().try_for_each(|line| output::line(&format!("  {line}")))
}

/// Prints resources as a table.
fn print(out: &mut impl Write, tree: &[Resource]) -> Result<(), Error> {
    let row = |resource: &Resource| -> [Cell; 3] {
        let name = resource.name.as_deref().unwrap_or_default();
        [(&resource.path).into(), name.into(), (&shown(resource)).into()]
    };
    let rows: Vec<_> = tree.iter().map(row).collect();
    Table::new(["PATH", "NAME", "VALUE"]).print(out, &rows).map_err(Error::Output)
}

/// A value for people.
fn shown(resource: &Resource) -> String {
    let Resource { kind, value, .. } = resource;
    let time = value.as_i64().filter(|_| kind == "time").and_then(|time| Timestamp::from_second(time).ok());
    if let Some(time) = time {
        return format!("{time} ({})", when::ago(&time.to_string()));
    }
    match value {
        Value::String(text) => cut(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

/// A text, cut where it is longer than anyone reads.
fn cut(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}… ({} bytes in all; --json prints them)", &text[..end], text.len()),
    }
}

/// The links of a list in the CoRE link format: commas within quotes or angle brackets separate nothing (RFC 6690 §2).
fn split(links: &str) -> Vec<&str> {
    let (mut is_quoted, mut is_target) = (false, false);
    let parts = links.split(|character| {
        match character {
            '"' => is_quoted = !is_quoted,
            '<' if !is_quoted => is_target = true,
            '>' if !is_quoted => is_target = false,
            _ => {}
        }
        character == ',' && !is_quoted && !is_target
    });
    parts.map(str::trim).filter(|link| !link.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(kind: &str, value: impl Into<Value>) -> Resource {
        let value = value.into();
        Resource { path: "/3/0/13".to_owned(), name: None, kind: kind.to_owned(), value }
    }

    #[test]
    fn a_value_is_shown_as_what_it_is() {
        for (kind, value, expected) in [
            ("text", Value::from("Acme"), "Acme"),
            ("integer", Value::from(-5), "-5"),
            ("unsigned", Value::from(u64::MAX), "18446744073709551615"),
            ("float", Value::from(0.5), "0.5"),
            ("boolean", Value::from(true), "true"),
            ("opaque", Value::from("AP8="), "AP8="),
            ("object_link", Value::from("3:0"), "3:0"),
            ("a type of later", Value::from("x"), "x"),
            ("time", Value::from(i64::MAX), "9223372036854775807"),
        ] {
            assert_eq!(shown(&resource(kind, value)), expected, "{kind}");
        }
        let time = shown(&resource("time", 1_772_366_400));
        assert!(time.starts_with("2026-03-01T12:00:00Z ("), "{time}");
    }

    #[test]
    fn a_long_value_is_cut_between_its_letters() {
        let text = cut(&"ä".repeat(VALUE_CHARS_MAX + 1));
        assert!(text.starts_with(&"ä".repeat(VALUE_CHARS_MAX)), "{text}");
        assert!(text.contains("… (242 bytes in all"), "{text}");
        assert_eq!(cut("short"), "short");
    }

    #[test]
    fn a_comma_within_a_link_separates_nothing() {
        let links = r#"</3/0>;title="a,b",</a,b>, </3/0/9>;pmin=1,"#;
        assert_eq!(split(links), [r#"</3/0>;title="a,b""#, "</a,b>", "</3/0/9>;pmin=1"]);
        assert!(split("").is_empty());
    }
}
