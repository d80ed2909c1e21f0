//! Why a policy matches a device or not, clause by clause, as data and as sentences.

use std::fmt;

use serde::Serialize;

use super::Facts;
use super::evaluation::Fault;
use super::expression::{Expression, Node, Property};
use crate::attributes::Value;

/// How a policy came to its result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// Whether the policy matches: what [`super::Policy::matches`] gives.
    pub matches: bool,
    /// The clauses, in the order written: the leaves of the `&&` and `||` at the top. Each is evaluated, also where
    /// an earlier one decides the result.
    pub clauses: Vec<ClauseExplanation>,
}

/// How one clause came out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClauseExplanation {
    /// The clause as written.
    pub source: String,
    /// The attributes it names, each once, in the order written.
    pub seen: Vec<Seen>,
    /// How it came out.
    pub outcome: Outcome,
}

/// One attribute as a clause saw it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Seen {
    /// The attribute as a policy writes it, for example `device.region`.
    pub attribute: String,
    /// Its value; none if it was not reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

/// How a clause can come out. Only [`Outcome::True`] lets a device have the release.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Outcome {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It has no answer, because an attribute was not reported.
    Missing {
        /// The attribute as a policy writes it.
        attribute: String,
    },
    /// It has no answer, because an operator has no meaning for the values seen.
    TypeError {
        /// What the operator needs, as a sentence without a full stop.
        reason: String,
    },
}

impl Explanation {
    /// Evaluates every clause below `root`.
    pub(super) fn of(root: &Node, source: &str, properties: &[Property], facts: &Facts<'_>) -> Self {
        let mut clauses = Vec::new();
        collect(root, &mut |leaf| {
            clauses.push(ClauseExplanation::of(leaf, source, properties, facts));
        });
        Self { matches: root.truth(facts) == Ok(true), clauses }
    }
}

/// Visits the leaves of the `&&` and `||` at the top, in the order written.
fn collect(node: &Node, visit: &mut impl FnMut(&Node)) {
    match &node.expression {
        Expression::All(nodes) | Expression::Any(nodes) => nodes.iter().for_each(|node| collect(node, visit)),
        Expression::Literal(_)
        | Expression::Property(_)
        | Expression::Not(_)
        | Expression::Compare(_)
        | Expression::TestText { .. }
        | Expression::Match { .. }
        | Expression::In(_)
        | Expression::Calculate { .. }
        | Expression::Negate(_)
        | Expression::Has(_)
        | Expression::Bucket(_) => visit(node),
    }
}

impl ClauseExplanation {
    fn of(leaf: &Node, source: &str, properties: &[Property], facts: &Facts<'_>) -> Self {
        let mut named = Vec::new();
        collect_properties(leaf, &mut named);
        let seen = named.iter().map(|property| Seen {
            attribute: property.written(),
            value: property.value(facts).ok().cloned(),
        });
        let outcome = match leaf.truth(facts) {
            Ok(true) => Outcome::True,
            Ok(false) => Outcome::False,
            Err(Fault::Missing(index)) => {
                Outcome::Missing { attribute: properties[usize::from(index)].written() }
            }
            Err(Fault::Type(error)) => Outcome::TypeError { reason: error.to_string() },
        };
        Self { source: source[leaf.start..leaf.end].to_owned(), seen: seen.collect(), outcome }
    }

    /// Whether the clause holds; none if it has no answer.
    #[must_use]
    pub fn holds(&self) -> Option<bool> {
        match &self.outcome {
            Outcome::True => Some(true),
            Outcome::False => Some(false),
            Outcome::Missing { .. } | Outcome::TypeError { .. } => None,
        }
    }

    /// What the clause saw, and why it has no answer if it has none: a sentence without a full stop.
    #[must_use]
    pub fn why(&self) -> String {
        let seen: Vec<String> = self.seen.iter().map(Seen::to_string).collect();
        let seen = seen.join(", ");
        match &self.outcome {
            Outcome::True | Outcome::False if seen.is_empty() => "it names no attribute".to_owned(),
            Outcome::True | Outcome::False => seen,
            Outcome::Missing { attribute } => format!("{attribute} was not reported"),
            Outcome::TypeError { reason } if seen.is_empty() => reason.clone(),
            Outcome::TypeError { reason } => format!("{reason} ({seen})"),
        }
    }
}

/// The attributes named at and below a node, each once.
fn collect_properties<'a>(node: &'a Node, named: &mut Vec<&'a Property>) {
    if let Some(property) =
        node.property().filter(|property| named.iter().all(|known| known.index != property.index))
    {
        named.push(property);
    }
    for child in node.children() {
        collect_properties(child, named);
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(formatter, "{} is {value}", self.attribute),
            None => write!(formatter, "{} was not reported", self.attribute),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::True => "true",
            Self::False => "false",
            Self::Missing { .. } | Self::TypeError { .. } => "without an answer",
        })
    }
}

/// One sentence: `` `device.pro == true` is false: device.pro is false ``.
impl fmt::Display for ClauseExplanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}` is {}: {}", self.source, self.outcome, self.why())
    }
}

/// The clauses on one line, separated by semicolons.
impl fmt::Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, clause) in self.clauses.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(formatter, "{separator}{clause}")?;
        }
        Ok(())
    }
}
