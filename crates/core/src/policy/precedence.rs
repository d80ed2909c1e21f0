//! Which operator binds tighter.

use super::operator::{Arithmetic, Comparator, TextTest};
use super::token::Symbol;

/// An operator of two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Or,
    And,
    Compare(Comparator),
    TestText(TextTest),
    In,
    Calculate(Arithmetic),
}

impl Operator {
    /// The operator a symbol stands for between two operands.
    pub(super) fn of(symbol: Symbol) -> Option<Self> {
        let operator = match symbol {
            Symbol::Or => Self::Or,
            Symbol::And => Self::And,
            Symbol::Equal => Self::Compare(Comparator::Equal),
            Symbol::NotEqual => Self::Compare(Comparator::NotEqual),
            Symbol::Less => Self::Compare(Comparator::Less),
            Symbol::LessEqual => Self::Compare(Comparator::LessEqual),
            Symbol::Greater => Self::Compare(Comparator::Greater),
            Symbol::GreaterEqual => Self::Compare(Comparator::GreaterEqual),
            Symbol::Starts => Self::TestText(TextTest::Starts),
            Symbol::NotStarts => Self::TestText(TextTest::NotStarts),
            Symbol::Ends => Self::TestText(TextTest::Ends),
            Symbol::NotEnds => Self::TestText(TextTest::NotEnds),
            Symbol::Contains => Self::TestText(TextTest::Contains),
            Symbol::NotContains => Self::TestText(TextTest::NotContains),
            Symbol::Plus => Self::Calculate(Arithmetic::Add),
            Symbol::Minus => Self::Calculate(Arithmetic::Subtract),
            Symbol::Times => Self::Calculate(Arithmetic::Multiply),
            Symbol::Divide => Self::Calculate(Arithmetic::Divide),
            Symbol::Remainder => Self::Calculate(Arithmetic::Remainder),
            Symbol::Xor => Self::Calculate(Arithmetic::Xor),
            Symbol::ShiftLeft => Self::Calculate(Arithmetic::ShiftLeft),
            Symbol::ShiftRight => Self::Calculate(Arithmetic::ShiftRight),
            Symbol::Not
            | Symbol::Open
            | Symbol::Close
            | Symbol::ListOpen
            | Symbol::ListClose
            | Symbol::Comma
            | Symbol::Dot => return None,
        };
        Some(operator)
    }

    /// How tightly it binds: the levels of JavaScript (ECMA-262 §13.5 to §13.13), the tests on texts beside `==`.
    pub(super) fn level(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            Self::Calculate(Arithmetic::Xor) => 3,
            Self::Compare(Comparator::Equal | Comparator::NotEqual) | Self::TestText(_) => 4,
            Self::Compare(
                Comparator::Less | Comparator::LessEqual | Comparator::Greater | Comparator::GreaterEqual,
            )
            | Self::In => 5,
            Self::Calculate(Arithmetic::ShiftLeft | Arithmetic::ShiftRight) => 6,
            Self::Calculate(Arithmetic::Add | Arithmetic::Subtract) => 7,
            Self::Calculate(Arithmetic::Multiply | Arithmetic::Divide | Arithmetic::Remainder) => 8,
        }
    }

    /// Whether this is `==` or `!=`, on whose right a regular expression may stand.
    pub(super) fn is_equality(self) -> bool {
        matches!(self, Self::Compare(Comparator::Equal | Comparator::NotEqual))
    }
}
