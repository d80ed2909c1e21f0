//! Short texts without an allocation: attribute names, and text values that know whether they are versions.

use std::fmt;

use crate::version;

/// Longest name kept inside its entry, in bytes; with it a name takes 24.
const NAME_INLINE_MAX: usize = 22;

/// Longest text kept inside its value, in bytes; with it a value takes 32.
const TEXT_INLINE_MAX: usize = 29;

/// An attribute's name.
#[derive(Clone, PartialEq)]
pub(crate) struct Name(Short<NAME_INLINE_MAX, ()>);

/// A text value. Whether it is a SemVer version is found out when it is made, so that comparing costs no parsing.
#[derive(Clone, PartialEq)]
pub struct Text(Short<TEXT_INLINE_MAX, Kind>);

/// What a text is, beside being text.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    Version,
}

/// A text that lies inline while it is short. `T` is a mark that fits in the padding.
///
/// The bytes behind the length are zero, so equality of two inline texts is equality of all their bytes: a few
/// machine words, no call.
#[derive(Clone, PartialEq)]
enum Short<const N: usize, T> {
    Inline { mark: T, length: u8, bytes: [u8; N] },
    Heap { mark: T, text: Box<str> },
}

impl<const N: usize, T: Copy> Short<N, T> {
    fn new(text: &str, mark: T) -> Self {
        if text.len() > N {
            return Self::Heap { mark, text: text.into() };
        }
        let mut bytes = [0; N];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        let length = u8::try_from(text.len()).expect("an inline text is shorter than 256 bytes");
        Self::Inline { mark, length, bytes }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline { length, bytes, .. } => &bytes[..usize::from(*length)],
            Self::Heap { text, .. } => text.as_bytes(),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Inline { .. } => {
                std::str::from_utf8(self.as_bytes()).expect("the inline bytes were copied from a whole text")
            }
            Self::Heap { text, .. } => text,
        }
    }

    fn mark(&self) -> T {
        match self {
            Self::Inline { mark, .. } | Self::Heap { mark, .. } => *mark,
        }
    }
}

impl Name {
    pub(crate) fn new(name: &str) -> Self {
        Self(Short::new(name, ()))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Text {
    /// A text value.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let kind = if version::is_version(text) { Kind::Version } else { Kind::Plain };
        Self(Short::new(text, kind))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The text's bytes: the same content as [`Text::as_str`], for less.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Whether the text is a SemVer 2.0 version.
    #[must_use]
    #[inline]
    pub fn is_version(&self) -> bool {
        self.0.mark() == Kind::Version
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
        for length in 0..=2 * TEXT_INLINE_MAX {
            let text: String = ('a'..='z').cycle().take(length).collect();
            assert_eq!(Text::new(&text).as_str(), text);
            assert_eq!(Name::new(&text).as_str(), text);
        }
    }
}
