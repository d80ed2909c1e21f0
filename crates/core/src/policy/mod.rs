//! The distribution policy: which devices a release is for, as an expression over device and update.
//!
//! A strict superset of the expressions that Ioto documents; `docs/policy.md` is the reference of the language. A
//! [`Policy`] is compiled once and evaluated for every device and check-in, so compiling prepares everything and
//! evaluating allocates nothing in the usual case.
//!
//! The language is total and bounded: no loops, no definitions, no clock, no randomness, and limits on the source
//! and on everything that evaluation could grow. A clause about something the device did not report has no answer,
//! and a policy without an answer does not match: doubt never sends an image.

mod error;
mod evaluation;
mod explanation;
mod expression;
mod operator;
mod parser;
mod precedence;
mod token;

use std::fmt;
use std::sync::Arc;

pub use error::PolicyError;
pub use explanation::{ClauseExplanation, Explanation, Outcome, Seen};

use crate::attributes::Attributes;
use crate::position::{POSITIONS, position};

/// Longest source, in bytes. Policies are written by hand; a list of thousands of devices belongs into an attribute.
pub const SOURCE_BYTES_MAX: usize = 4096;

/// Most values and operators in one policy: the bound on the steps of one evaluation, as each runs at most once.
pub const NODES_MAX: usize = 512;

/// Deepest nesting of brackets, signs and operators: the bound on recursion. 64 levels take some 60 KiB of stack.
pub const NESTING_MAX: usize = 64;

/// Most regular expressions in one policy: they are the dearest clauses.
pub const REGEXES_MAX: usize = 8;

/// Largest compiled form of one regular expression, in bytes: the bound on its memory and on its time per character.
/// The Unicode class `\w` takes some 40 KiB each time it is repeated, `[A-Za-z0-9_]` next to nothing.
pub const REGEX_PROGRAM_BYTES_MAX: usize = 512 * 1024;

/// A compiled policy. Cloning shares it.
///
/// ```
/// use updraft_core::attributes::Attributes;
/// use updraft_core::policy::{Facts, Policy};
///
/// let policy = Policy::compile("device.version < update.version && device.pro == true")?;
/// let (mut device, mut update) = (Attributes::new(), Attributes::new());
/// device.insert("version", "1.9.0")?;
/// device.insert("pro", "true")?;
/// update.insert("version", "1.10.0")?;
/// assert!(policy.matches(&Facts { device: &device, update: &update }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Policy {
    program: Arc<Program>,
}

struct Program {
    source: String,
    root: expression::Node,
    properties: Vec<expression::Property>,
}

/// What a policy is about: a device's attributes and an update's.
///
/// The caller sees to it that both hold the attributes that policies rely on: `id`, `product` and `version` of the
/// device as the server knows them, `product` and `version` of the update.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What `device.*` names.
    pub device: &'a Attributes,
    /// What `update.*` names.
    pub update: &'a Attributes,
}

impl Policy {
    /// Compiles a policy.
    ///
    /// # Errors
    /// When the source is not a policy or is beyond a limit: the column, what stands there, and what was expected.
    pub fn compile(source: &str) -> Result<Self, PolicyError> {
        let parser::Parsed { root, properties } = parser::parse(source)?;
        Ok(Self { program: Arc::new(Program { source: source.to_owned(), root, properties }) })
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.program.source
    }

    /// Whether the policy holds for a device and an update. False also when it has no answer.
    #[must_use]
    pub fn matches(&self, facts: &Facts<'_>) -> bool {
        self.program.root.truth(facts) == Ok(true)
    }

    /// How the policy comes to its result, clause by clause.
    #[must_use]
    pub fn explain(&self, facts: &Facts<'_>) -> Explanation {
        let Program { source, root, properties } = &*self.program;
        Explanation::of(root, source, properties, facts)
    }

    /// The attributes it names, each once, as a policy writes them (`device.region`), in the order written.
    pub fn attributes(&self) -> impl Iterator<Item = String> {
        self.program.properties.iter().map(expression::Property::written)
    }
}

/// The bucket of a text, in `0..100`: the `bucket(x)` of the language, a percentage that never moves.
///
/// It is the [`position`] of the text in the line without a salt, in whole percents.
#[must_use]
pub fn bucket(text: &str) -> u8 {
    u8::try_from(position(text, "") / (POSITIONS / 100)).expect("a position is below 10 000")
}

/// Two policies are equal when they were written the same.
impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

impl Eq for Policy {}

impl fmt::Display for Policy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.source())
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Policy({:?})", self.source())
    }
}

impl std::str::FromStr for Policy {
    type Err = PolicyError;

    fn from_str(source: &str) -> Result<Self, Self::Err> {
        Self::compile(source)
    }
}
