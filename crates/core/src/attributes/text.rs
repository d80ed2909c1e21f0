//! Short texts without an allocation: attribute names, and text values that know whether they are versions.

use std::cmp::Ordering;
use std::fmt;

use super::TAGS;
use crate::version::{self, Rank};

/// Longest text kept inline, in bytes; with it a name takes 24 bytes and a value 32.
const INLINE_MAX: usize = 22;

/// An attribute's name.
#[derive(Clone, PartialEq)]
pub(crate) struct Name(Short);

/// A name prepared for many searches, the way a compiled policy asks.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) name: Name,
    /// Its tag, once for each place it is compared with.
    pub(crate) tags: [u8; TAGS],
}

/// A text value. Whether it is a SemVer version is found out when it is made, so that comparing costs no parsing.
#[derive(Clone, PartialEq)]
pub struct Text {
    /// None: the text is no version.
    rank: Option<Rank>,
    short: Short,
}

/// A text that lies inline while it is short.
///
/// The bytes behind the length are zero, so equality of two inline texts is equality of all their bytes: a few
/// machine words, no call.
#[derive(Clone, PartialEq)]
enum Short {
    Inline { length: u8, bytes: [u8; INLINE_MAX] },
    Heap(Box<str>),
}

impl Short {
    fn new(text: &str) -> Self {
        if text.len() > INLINE_MAX {
            return Self::Heap(text.into());
        }
        let mut bytes = [0; INLINE_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        let length = u8::try_from(text.len()).expect("an inline text is shorter than 256 bytes");
        Self::Inline { length, bytes }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline { length, bytes } => &bytes[..usize::from(*length)],
            Self::Heap(text) => text.as_bytes(),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Inline { .. } => {
                std::str::from_utf8(self.as_bytes()).expect("the inline bytes were copied from a whole text")
            }
            Self::Heap(text) => text,
        }
    }
}

impl Name {
    pub(crate) fn new(name: &str) -> Self {
        Self(Short::new(name))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// A byte that tells most names apart, from their length and three of their characters. Never 0.
    pub(crate) fn tag(&self) -> u8 {
        let bytes = self.as_bytes();
        let length = bytes.len();
        let at = |index: usize| bytes.get(index).copied().unwrap_or_default();
        let start = u8::try_from(length % 251).unwrap_or_default();
        [at(0), at(length / 2), at(length.saturating_sub(1))]
            .iter()
            .fold(start, |mixed, byte| mixed.wrapping_mul(31).wrapping_add(*byte))
            .max(1)
    }
}

impl Key {
    pub(crate) fn new(name: &str) -> Self {
        let name = Name::new(name);
        Self { tags: [name.tag(); TAGS], name }
    }
}

impl Text {
    /// A text value.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { rank: version::rank(text), short: Short::new(text) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.short.as_str()
    }

    /// The text's bytes: the same content as [`Text::as_str`], for less.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.short.as_bytes()
    }

    /// Whether the text is a SemVer 2.0 version.
    #[must_use]
    pub fn is_version(&self) -> bool {
        self.rank.is_some()
    }

    /// The order of two versions by precedence; none if one is no version.
    #[inline]
    pub(crate) fn version_order(&self, other: &Self) -> Option<Ordering> {
        let (left, right) = (self.rank?, other.rank?);
        let by_rank = left.order(right);
        Some(by_rank.unwrap_or_else(|| version::precedence(self.as_bytes(), other.as_bytes())))
    }
}

/// In quotes, as a policy writes it: single ones, or double ones around a text with a single quote.
impl fmt::Display for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.as_str();
        let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
        write!(formatter, "{quote}")?;
        for character in text.chars() {
            match character {
                _ if character == quote || character == '\\' => write!(formatter, "\\{character}")?,
                _ if character.is_control() => write!(formatter, "{}", character.escape_default())?,
                _ => write!(formatter, "{character}")?,
            }
        }
        write!(formatter, "{quote}")
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::Value;

    #[test]
    fn short_names_and_texts_take_no_memory_of_their_own() {
        assert_eq!(size_of::<Name>(), 24);
        assert_eq!(size_of::<Text>(), 32);
        assert_eq!(size_of::<Value>(), 32);
    }

    #[test]
    fn a_text_reads_back_as_it_was_at_every_length_around_the_inline_limit() {
        for length in 0..=2 * INLINE_MAX {
            let text: String = ('a'..='z').cycle().take(length).collect();
            assert_eq!(Text::new(&text).as_str(), text);
            assert_eq!(Name::new(&text).as_str(), text);
        }
    }
}
