//! What a policy gives for a device: true, false, or a fault where a clause has no answer.
//!
//! Total: every node is visited at most once, each visit is bounded by the size of a value, and a fault is a value.
//! Logic is three-valued (Kleene): a fault spreads through `!`, and through `&&` and `||` unless the other side
//! decides alone. A policy whose result is a fault does not match.

use std::borrow::Cow;

use super::expression::{Comparison, Expression, Node, Owner, Property};
use super::operator::{self, TypeError};
use super::{Facts, bucket};
use crate::attributes::{Attributes, Value};

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The attribute with this index in the policy's properties was not reported.
    Missing(u16),
    /// An operator has no meaning for the values.
    Type(TypeError),
}

impl From<TypeError> for Fault {
    fn from(error: TypeError) -> Self {
        Self::Type(error)
    }
}

impl Node {
    /// What the node gives as a condition.
    pub(super) fn truth(&self, facts: &Facts<'_>) -> Result<bool, Fault> {
        match &self.expression {
            Expression::All(nodes) => decide(nodes, facts, false),
            Expression::Any(nodes) => decide(nodes, facts, true),
            Expression::Not(node) => node.truth(facts).map(|truth| !truth),
            Expression::Compare(comparison) => comparison.truth(facts),
            Expression::TestText { test, sides } => {
                let (left, right) = (sides[0].value(facts)?, sides[1].value(facts)?);
                Ok(operator::test_text(*test, &left, &right)?)
            }
            Expression::Match { subject, regex, negated } => {
                let subject = subject.value(facts)?;
                let text = operator::text(&subject).ok_or(TypeError::Texts)?;
                Ok(regex.is_match(&text) != *negated)
            }
            Expression::In(sides) => {
                let (wanted, list) = (sides[0].value(facts)?, sides[1].value(facts)?);
                Ok(operator::is_in(&wanted, &list)?)
            }
            Expression::Has(property) => Ok(property.owner.attributes(facts).has(property.key.name.as_str())),
            Expression::Literal(_)
            | Expression::Property(_)
            | Expression::Calculate { .. }
            | Expression::Negate(_)
            | Expression::Bucket(_) => Ok(operator::condition(self.value(facts)?.as_ref())?),
        }
    }

    /// What the node gives as a value.
    pub(super) fn value<'a>(&'a self, facts: &Facts<'a>) -> Result<Cow<'a, Value>, Fault> {
        let value = match &self.expression {
            Expression::Literal(value) => return Ok(Cow::Borrowed(value)),
            Expression::Property(property) => return property.value(facts).map(Cow::Borrowed),
            Expression::Calculate { operator, sides } => {
                let (left, right) = (sides[0].value(facts)?, sides[1].value(facts)?);
                operator::calculate(*operator, &left, &right)?
            }
            Expression::Negate(node) => operator::negate(node.value(facts)?.as_ref())?,
            Expression::Bucket(node) => {
                let value = node.value(facts)?;
                let text = operator::text(&value).ok_or(TypeError::Bucket)?;
                Value::Number(f64::from(bucket(&text)))
            }
            Expression::All(_)
            | Expression::Any(_)
            | Expression::Not(_)
            | Expression::Compare(_)
            | Expression::TestText { .. }
            | Expression::Match { .. }
            | Expression::In(_)
            | Expression::Has(_) => Value::Bool(self.truth(facts)?),
        };
        Ok(Cow::Owned(value))
    }
}

/// Whether one of the nodes gives `decisive`, which then is the result; otherwise the first fault, if any.
fn decide(nodes: &[Node], facts: &Facts<'_>, decisive: bool) -> Result<bool, Fault> {
    let mut fault = None;
    for node in nodes {
        match node.truth(facts) {
            Ok(truth) if truth == decisive => return Ok(decisive),
            Ok(_) => {}
            Err(found) => fault = fault.or(Some(found)),
        }
    }
    fault.map_or(Ok(!decisive), Err)
}

impl Comparison {
    #[inline]
    fn truth(&self, facts: &Facts<'_>) -> Result<bool, Fault> {
        let [left, right] = &self.sides;
        // Attributes and literals, nearly every comparison there is, are compared where they lie.
        let result = match (left.borrowed(facts)?, right.borrowed(facts)?) {
            (Some(left), Some(right)) => operator::compare(self.comparator, left, right, self.of_versions),
            (Some(_) | None, _) => {
                let (left, right) = (left.value(facts)?, right.value(facts)?);
                operator::compare(self.comparator, &left, &right, self.of_versions)
            }
        };
        Ok(result?)
    }
}

impl Node {
    /// The node's value if it lies somewhere; none if it must be computed.
    #[inline]
    fn borrowed<'a>(&'a self, facts: &Facts<'a>) -> Result<Option<&'a Value>, Fault> {
        match &self.expression {
            Expression::Literal(value) => Ok(Some(value)),
            Expression::Property(property) => property.value(facts).map(Some),
            Expression::All(_)
            | Expression::Any(_)
            | Expression::Not(_)
            | Expression::Compare(_)
            | Expression::TestText { .. }
            | Expression::Match { .. }
            | Expression::In(_)
            | Expression::Calculate { .. }
            | Expression::Negate(_)
            | Expression::Has(_)
            | Expression::Bucket(_) => Ok(None),
        }
    }
}

impl Property {
    /// The attribute's value.
    #[inline]
    pub(super) fn value<'a>(&self, facts: &Facts<'a>) -> Result<&'a Value, Fault> {
        self.owner.attributes(facts).get_by_key(&self.key).ok_or(Fault::Missing(self.index))
    }
}

impl Owner {
    #[inline]
    fn attributes<'a>(self, facts: &Facts<'a>) -> &'a Attributes {
        match self {
            Self::Device => facts.device,
            Self::Update => facts.update,
        }
    }
}
