//! A compiled policy: a small tree in which every name, literal and pattern is prepared once.

use regex::Regex;

use super::operator::{Arithmetic, Comparator, TextTest};
use super::token;
use crate::attributes::{Key, Text, Value};

/// One node of the tree and where it stood in the source.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) expression: Expression,
    /// First byte in the source.
    pub(super) start: usize,
    /// The byte after the last one.
    pub(super) end: usize,
    /// How many levels of nodes this one is the top of: bounded, because evaluation descends by recursion.
    pub(super) height: usize,
}

/// What a node computes.
#[derive(Debug)]
pub(super) enum Expression {
    /// A value from the source.
    Literal(Value),
    /// An attribute of the device or the update.
    Property(Property),
    /// `a && b && c`: true when all are.
    All(Vec<Node>),
    /// `a || b || c`: true when one is.
    Any(Vec<Node>),
    /// `!a`.
    Not(Box<Node>),
    /// `a < b` and the like.
    Compare(Box<Comparison>),
    /// `a ^= b` and the like.
    TestText { test: TextTest, sides: Box<[Node; 2]> },
    /// `a == /pattern/`; `negated` for `!=`.
    Match { subject: Box<Node>, regex: Box<Regex>, negated: bool },
    /// `a in b`.
    In(Box<[Node; 2]>),
    /// `a + b` and the like.
    Calculate { operator: Arithmetic, sides: Box<[Node; 2]> },
    /// `-a`.
    Negate(Box<Node>),
    /// `has(device.x)`.
    Has(Property),
    /// `bucket(a)`.
    Bucket(Box<Node>),
}

/// Two sides and how they compare.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) comparator: Comparator,
    pub(super) sides: [Node; 2],
    /// Whether a side is an attribute that is a version by its name.
    pub(super) of_versions: bool,
}

/// Whose attribute it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Device,
    Update,
}

/// An attribute by name.
#[derive(Debug, Clone)]
pub(super) struct Property {
    pub(super) owner: Owner,
    pub(super) key: Key,
    /// Its index in the policy's list of properties, by which a fault names it.
    pub(super) index: u16,
}

impl Node {
    /// Whether the node can give nothing that counts as a condition, whatever the device reports.
    pub(super) fn is_never_a_condition(&self) -> bool {
        match &self.expression {
            Expression::Literal(Value::Bool(_)) | Expression::Property(_) => false,
            Expression::Calculate { operator, .. } => *operator != Arithmetic::Xor,
            Expression::Literal(_) | Expression::Negate(_) | Expression::Bucket(_) => true,
            Expression::All(_)
            | Expression::Any(_)
            | Expression::Not(_)
            | Expression::Compare(_)
            | Expression::TestText { .. }
            | Expression::Match { .. }
            | Expression::In(_)
            | Expression::Has(_) => false,
        }
    }

    /// Whether this is an attribute that is a version by its name.
    pub(super) fn is_version(&self) -> bool {
        matches!(&self.expression, Expression::Property(property) if property.is_version())
    }

    /// The nodes directly below.
    pub(super) fn children(&self) -> &[Self] {
        match &self.expression {
            Expression::All(nodes) | Expression::Any(nodes) => nodes,
            Expression::Not(node) | Expression::Negate(node) | Expression::Bucket(node) => {
                std::slice::from_ref(node)
            }
            Expression::Match { subject, .. } => std::slice::from_ref(subject),
            Expression::Compare(comparison) => &comparison.sides,
            Expression::TestText { sides, .. }
            | Expression::In(sides)
            | Expression::Calculate { sides, .. } => &**sides,
            Expression::Literal(_) | Expression::Property(_) | Expression::Has(_) => &[],
        }
    }

    /// The attribute named by this node itself.
    pub(super) fn property(&self) -> Option<&Property> {
        match &self.expression {
            Expression::Property(property) | Expression::Has(property) => Some(property),
            Expression::Literal(_)
            | Expression::All(_)
            | Expression::Any(_)
            | Expression::Not(_)
            | Expression::Compare(_)
            | Expression::TestText { .. }
            | Expression::Match { .. }
            | Expression::In(_)
            | Expression::Calculate { .. }
            | Expression::Negate(_)
            | Expression::Bucket(_) => None,
        }
    }
}

impl Owner {
    /// The word before the dot.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Update => "update",
        }
    }
}

impl Property {
    /// The attribute as a policy writes it: `device.region`, or `device['x-y']`.
    pub(super) fn written(&self) -> String {
        let (owner, name) = (self.owner.as_str(), self.key.name.as_str());
        let is_plain = name.split('.').all(token::is_name);
        if is_plain { format!("{owner}.{name}") } else { format!("{owner}[{}]", Text::new(name)) }
    }

    /// Whether the name says that it is a version: the last part is `version` or ends in `Version`.
    fn is_version(&self) -> bool {
        let name = self.key.name.as_str();
        let last = name.rsplit('.').next().unwrap_or(name);
        last == "version" || last.ends_with("Version")
    }
}
