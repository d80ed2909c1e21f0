//! What the operators mean on values: loose equality, order, arithmetic, tests on texts.
//!
//! Every function is total: what has no meaning is a [`TypeError`], which makes the clause fail with a reason.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use crate::attributes::{Text, VALUE_BYTES_MAX, Value};

/// Largest whole number that a double and its neighbours hold exactly, 2^53 - 1: the range of the bit operators.
const WHOLE_MAX: i64 = (1 << 53) - 1;

/// Most places a number can be shifted: it has 53 bits.
const SHIFT_MAX: i64 = 52;

/// `== != < <= > >=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparator {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// `^= ^!= $= $!= >< <>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextTest {
    Starts,
    NotStarts,
    Ends,
    NotEnds,
    Contains,
    NotContains,
}

/// `+ - * / % ^ << >>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Xor,
    ShiftLeft,
    ShiftRight,
}

/// Why an operator has no answer for the values it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TypeError {
    Condition,
    Numbers,
    Order,
    Versions,
    Texts,
    Contains,
    List,
    Whole,
    Shift,
    Range,
    Zero,
    Length,
    Bucket,
}

impl fmt::Display for TypeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Condition => {
                formatter.write_str("a value that is neither true nor false stands as a condition")
            }
            Self::Numbers => formatter.write_str("arithmetic needs numbers"),
            Self::Order => formatter
                .write_str("only numbers, texts and versions have an order, and only among themselves"),
            Self::Versions => {
                formatter.write_str("a version attribute is ordered as SemVer 2.0, and a side is none")
            }
            Self::Texts => formatter.write_str("a test on texts needs texts, numbers or booleans"),
            Self::Contains => formatter.write_str("`><` and `<>` need a text or a list on the left"),
            Self::List => formatter.write_str("`in` needs a list on the right"),
            Self::Whole => formatter.write_str("`^`, `<<` and `>>` need whole numbers within 2^53"),
            Self::Shift => write!(formatter, "a shift is by 0 to {SHIFT_MAX} places"),
            Self::Range => formatter.write_str("the result is outside the range of numbers"),
            Self::Zero => formatter.write_str("division by zero"),
            Self::Length => write!(formatter, "the joined text is longer than {VALUE_BYTES_MAX} bytes"),
            Self::Bucket => formatter.write_str("`bucket` needs a text, a number or a boolean"),
        }
    }
}

/// Whether two values are equal, as loosely as values are sent: `'16' == 16`, `'true' == true`, `1 == true`, and
/// versions by precedence.
#[inline]
pub(super) fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Text(left), Value::Text(right)) => {
            left == right || left.version_order(right) == Some(Ordering::Equal)
        }
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Number(left), Value::Number(right)) => left == right,
        (Value::Null, Value::Null) => true,
        (Value::List(left), Value::List(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Value::Number(number), Value::Text(text)) | (Value::Text(text), Value::Number(number)) => {
            text_number(text) == Some(*number)
        }
        (Value::Bool(boolean), other) | (other, Value::Bool(boolean)) => condition(other) == Ok(*boolean),
        (Value::Null | Value::List(_), _) | (_, Value::Null | Value::List(_)) => false,
    }
}

/// What a value counts as where a condition is asked for: what it equals, true or false.
#[inline]
pub(super) fn condition(value: &Value) -> Result<bool, TypeError> {
    match value {
        Value::Bool(boolean) => Ok(*boolean),
        Value::Number(1.0) => Ok(true),
        Value::Number(0.0) => Ok(false),
        Value::Text(text) => match text.as_bytes() {
            b"true" | b"1" => Ok(true),
            b"false" | b"0" => Ok(false),
            _ => Err(TypeError::Condition),
        },
        Value::Number(_) | Value::Null | Value::List(_) => Err(TypeError::Condition),
    }
}

/// How two values compare. `of_versions`: a side is a version by its name.
#[inline]
pub(super) fn compare(
    comparator: Comparator,
    left: &Value,
    right: &Value,
    of_versions: bool,
) -> Result<bool, TypeError> {
    match comparator {
        Comparator::Equal => Ok(equal(left, right)),
        Comparator::NotEqual => Ok(!equal(left, right)),
        Comparator::Less => order(left, right, of_versions).map(Ordering::is_lt),
        Comparator::LessEqual => order(left, right, of_versions).map(Ordering::is_le),
        Comparator::Greater => order(left, right, of_versions).map(Ordering::is_gt),
        Comparator::GreaterEqual => order(left, right, of_versions).map(Ordering::is_ge),
    }
}

/// The order of two values: versions by precedence, numbers by size, other texts by their characters.
#[inline]
fn order(left: &Value, right: &Value, of_versions: bool) -> Result<Ordering, TypeError> {
    if let (Value::Text(left), Value::Text(right)) = (left, right)
        && let Some(order) = left.version_order(right)
    {
        return Ok(order);
    }
    match (left, right) {
        // `1.10` is no SemVer, and as a number it would be older than `1.9`: whole numbers alone are safe.
        _ if of_versions => match (number(left), number(right)) {
            (Some(left), Some(right)) if left.fract() == 0.0 && right.fract() == 0.0 => {
                left.partial_cmp(&right).ok_or(TypeError::Versions)
            }
            (Some(_) | None, _) => Err(TypeError::Versions),
        },
        (Value::Text(left), Value::Text(right)) => match (text_number(left), text_number(right)) {
            (Some(left), Some(right)) => left.partial_cmp(&right).ok_or(TypeError::Order),
            (Some(_) | None, _) => Ok(left.as_bytes().cmp(right.as_bytes())),
        },
        (Value::Number(_) | Value::Text(_), Value::Number(_) | Value::Text(_)) => {
            let (left, right) = number(left).zip(number(right)).ok_or(TypeError::Order)?;
            left.partial_cmp(&right).ok_or(TypeError::Order)
        }
        (Value::Null | Value::Bool(_) | Value::List(_), _)
        | (_, Value::Null | Value::Bool(_) | Value::List(_)) => Err(TypeError::Order),
    }
}

/// The number a value is or spells.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Text(text) => text_number(text),
        Value::Null | Value::Bool(_) | Value::List(_) => None,
    }
}

/// The number a text spells in decimal digits, such as `16`, `-0.5` or `1e3`; nothing else around it.
fn text_number(text: &Text) -> Option<f64> {
    let bytes = text.as_bytes();
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    if !digits.first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    text.as_str().parse().ok().filter(|number: &f64| number.is_finite())
}

/// The text a value is, or is written as.
pub(super) fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Text(text) => Some(Cow::Borrowed(text.as_str())),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(boolean) => Some(Cow::Borrowed(if *boolean { "true" } else { "false" })),
        Value::Null | Value::List(_) => None,
    }
}

/// A test on texts; `><` and `<>` also look for an element of a list.
pub(super) fn test_text(test: TextTest, left: &Value, right: &Value) -> Result<bool, TypeError> {
    if let (TextTest::Contains | TextTest::NotContains, Value::List(values)) = (test, left) {
        return Ok(holds(values, right) == (test == TextTest::Contains));
    }
    let no_text = match test {
        TextTest::Contains | TextTest::NotContains => TypeError::Contains,
        TextTest::Starts | TextTest::NotStarts | TextTest::Ends | TextTest::NotEnds => TypeError::Texts,
    };
    let left = text(left).ok_or(no_text)?;
    let right = text(right).ok_or(TypeError::Texts)?;
    let right = right.as_ref();
    Ok(match test {
        TextTest::Starts => left.starts_with(right),
        TextTest::NotStarts => !left.starts_with(right),
        TextTest::Ends => left.ends_with(right),
        TextTest::NotEnds => !left.ends_with(right),
        TextTest::Contains => left.contains(right),
        TextTest::NotContains => !left.contains(right),
    })
}

/// Whether a list holds a value.
fn holds(values: &[Value], wanted: &Value) -> bool {
    values.iter().any(|value| equal(value, wanted))
}

/// `wanted in list`.
pub(super) fn is_in(wanted: &Value, list: &Value) -> Result<bool, TypeError> {
    match list {
        Value::List(values) => Ok(holds(values, wanted)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => Err(TypeError::List),
    }
}

/// The result of an arithmetic operator.
pub(super) fn calculate(operator: Arithmetic, left: &Value, right: &Value) -> Result<Value, TypeError> {
    match operator {
        Arithmetic::Add => add(left, right),
        Arithmetic::Subtract => on_numbers(left, right, |left, right| Ok(left - right)),
        Arithmetic::Multiply => on_numbers(left, right, |left, right| Ok(left * right)),
        Arithmetic::Divide => {
            on_numbers(left, right, |left, right| not_zero(right).map(|right| left / right))
        }
        Arithmetic::Remainder => {
            on_numbers(left, right, |left, right| not_zero(right).map(|right| left % right))
        }
        Arithmetic::Xor => xor(left, right),
        Arithmetic::ShiftLeft => shift(left, right, |left, places| left.checked_mul(1 << places)),
        Arithmetic::ShiftRight => shift(left, right, |left, places| Some(left >> places)),
    }
}

/// `-a`.
pub(super) fn negate(value: &Value) -> Result<Value, TypeError> {
    number(value).map(|number| Value::Number(-number)).ok_or(TypeError::Numbers)
}

/// A sum, or texts joined: as in JavaScript, a text on either side joins.
fn add(left: &Value, right: &Value) -> Result<Value, TypeError> {
    if let (Value::Number(left), Value::Number(right)) = (left, right) {
        return finite(left + right);
    }
    if !matches!(left, Value::Text(_)) && !matches!(right, Value::Text(_)) {
        return Err(TypeError::Numbers);
    }
    let (left, right) = text(left).zip(text(right)).ok_or(TypeError::Texts)?;
    if left.len() + right.len() > VALUE_BYTES_MAX {
        return Err(TypeError::Length);
    }
    Ok(Value::from(left.into_owned() + &right))
}

fn on_numbers(
    left: &Value,
    right: &Value,
    operation: impl FnOnce(f64, f64) -> Result<f64, TypeError>,
) -> Result<Value, TypeError> {
    let (left, right) = number(left).zip(number(right)).ok_or(TypeError::Numbers)?;
    finite(operation(left, right)?)
}

fn finite(number: f64) -> Result<Value, TypeError> {
    if number.is_finite() { Ok(Value::Number(number)) } else { Err(TypeError::Range) }
}

fn not_zero(divisor: f64) -> Result<f64, TypeError> {
    if divisor == 0.0 { Err(TypeError::Zero) } else { Ok(divisor) }
}

/// Exclusive or: of two booleans, or bit by bit of two whole numbers.
fn xor(left: &Value, right: &Value) -> Result<Value, TypeError> {
    if let (Value::Bool(left), Value::Bool(right)) = (left, right) {
        return Ok(Value::Bool(left ^ right));
    }
    from_whole(whole(left)? ^ whole(right)?)
}

fn shift(
    left: &Value,
    right: &Value,
    operation: impl FnOnce(i64, i64) -> Option<i64>,
) -> Result<Value, TypeError> {
    let (left, places) = (whole(left)?, whole(right)?);
    if !(0..=SHIFT_MAX).contains(&places) {
        return Err(TypeError::Shift);
    }
    from_whole(operation(left, places).ok_or(TypeError::Range)?)
}

/// The whole number a value is or spells, within the range that doubles hold exactly.
fn whole(value: &Value) -> Result<i64, TypeError> {
    let number = number(value).ok_or(TypeError::Whole)?;
    #[expect(clippy::cast_precision_loss, reason = "2^53 - 1 is exact in a double")]
    let within = number.fract() == 0.0 && number.abs() <= WHOLE_MAX as f64;
    #[expect(clippy::cast_possible_truncation, reason = "a whole number within 2^53 fits an i64")]
    if within { Ok(number as i64) } else { Err(TypeError::Whole) }
}

#[expect(clippy::cast_precision_loss, reason = "the range is checked first, and is exact in a double")]
fn from_whole(number: i64) -> Result<Value, TypeError> {
    if number.abs() <= WHOLE_MAX { Ok(Value::Number(number as f64)) } else { Err(TypeError::Range) }
}
