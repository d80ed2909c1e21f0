//! The words of a policy: text into tokens, one at a time, each with its place.

use super::error::{PolicyError, quoted};

/// One word, without its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A decimal number, never negative: the minus is an operator.
    Number(f64),
    /// A text in quotes, unescaped.
    Text(String),
    /// A regular expression between slashes, and the letters behind it.
    Regex { pattern: String, flags: String },
    /// A name or one of the words `true`, `false`, `null`, `in`.
    Name(String),
    /// An operator or a bracket.
    Symbol(Symbol),
    /// The end of the source.
    End,
}

/// A token and the bytes of the source it was read from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Placed {
    pub(super) token: Token,
    pub(super) start: usize,
    pub(super) end: usize,
}

macro_rules! symbols {
    ($($name:ident $text:literal,)*) => {
        /// Operators and brackets.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Symbol { $(#[doc = concat!("`", $text, "`")] $name,)* }

        /// Longest first, so that the first one that fits is the right one.
        const SYMBOLS: &[(&str, Symbol)] = &[$(($text, Symbol::$name),)*];
    };
}

symbols! {
    NotStarts "^!=", NotEnds "$!=",
    Or "||", And "&&", Equal "==", NotEqual "!=", LessEqual "<=", GreaterEqual ">=", Starts "^=", Ends "$=",
    Contains "><", NotContains "<>", ShiftLeft "<<", ShiftRight ">>",
    Less "<", Greater ">", Plus "+", Minus "-", Times "*", Divide "/", Remainder "%", Xor "^", Not "!",
    Open "(", Close ")", ListOpen "[", ListClose "]", Comma ",", Dot ".",
}

/// What is written by mistake for an operator, and what was meant: only worth knowing where no token fits.
const MISTAKES: &[(&str, &str)] = &[
    ("===", "`==`, which compares as loosely as the values were sent"),
    ("!==", "`!=`, which compares as loosely as the values were sent"),
    ("=", "`==` to compare"),
    ("&", "`&&`"),
    ("|", "`||`"),
    ("~", "a comparison such as `== /pattern/`"),
    ("{", "`(` to group"),
    ("}", "`)` to end a group"),
    (";", "`&&` or `||` between two clauses"),
    ("`", "a text in single or double quotes"),
    ("“", "a text in straight quotes, ' or \""),
    ("‘", "a text in straight quotes, ' or \""),
];

/// Reads tokens off the front of a source.
pub(super) struct Lexer<'a> {
    source: &'a str,
    offset: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        Self { source, offset: 0 }
    }

    fn rest(&self) -> &'a str {
        &self.source[self.offset..]
    }

    fn skip_space(&mut self) {
        self.offset = self.source.len() - self.rest().trim_start().len();
    }

    /// The next token.
    pub(super) fn next_token(&mut self) -> Result<Placed, PolicyError> {
        self.skip_space();
        let start = self.offset;
        let token = self.read()?;
        Ok(Placed { token, start, end: self.offset })
    }

    fn read(&mut self) -> Result<Token, PolicyError> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(Token::End) };
        if first.is_ascii_digit() {
            return self.read_number();
        }
        if first == '\'' || first == '"' {
            return self.read_text(first);
        }
        if is_name_start(first) {
            let end = rest.find(|character| !is_name_part(character)).unwrap_or(rest.len());
            self.offset += end;
            return Ok(Token::Name(rest[..end].to_owned()));
        }
        let mistake = MISTAKES.iter().find(|(text, _)| rest.starts_with(text));
        let symbol = SYMBOLS.iter().find(|(text, _)| rest.starts_with(text));
        match (symbol, mistake) {
            (Some((text, symbol)), mistake) if mistake.is_none_or(|(wrong, _)| wrong.len() <= text.len()) => {
                self.offset += text.len();
                Ok(Token::Symbol(*symbol))
            }
            (_, Some((wrong, expected))) => Err(self.error(self.offset, quoted(wrong), *expected)),
            (_, None) => {
                let found = quoted(first.encode_utf8(&mut [0; 4]));
                Err(self.error(
                    self.offset,
                    found,
                    "an operator, a value such as device.version, or a bracket",
                ))
            }
        }
    }

    /// A decimal number: digits, a fraction, an exponent.
    fn read_number(&mut self) -> Result<Token, PolicyError> {
        let start = self.offset;
        self.skip_digits();
        let after_dot = self.rest().strip_prefix('.');
        if after_dot.is_some_and(starts_with_digit) {
            self.offset += 1;
            self.skip_digits();
        }
        if let Some(after) = self.rest().strip_prefix(['e', 'E']) {
            let digits = after.strip_prefix(['+', '-']).unwrap_or(after);
            if starts_with_digit(digits) {
                self.offset += 1 + after.len() - digits.len();
                self.skip_digits();
            }
        }
        let runs_on = self.rest().chars().next().is_some_and(|next| next == '.' || is_name_part(next));
        let text = &self.source[start..self.offset];
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() && !runs_on => Ok(Token::Number(number)),
            Ok(_) | Err(_) => {
                let word = &self.source[start..];
                let end =
                    word.find(|next| next != '.' && next != '-' && !is_name_part(next)).unwrap_or(word.len());
                let expected = "a number such as 16 or 0.5; write a version in quotes, as in '1.2.3'";
                Err(self.error(start, quoted(&word[..end]), expected))
            }
        }
    }

    fn skip_digits(&mut self) {
        let rest = self.rest();
        self.offset += rest.find(|next: char| !next.is_ascii_digit()).unwrap_or(rest.len());
    }

    /// A text up to its closing quote.
    fn read_text(&mut self, quote: char) -> Result<Token, PolicyError> {
        let start = self.offset;
        let mut text = String::new();
        let mut characters = self.rest().char_indices().skip(1);
        while let Some((index, character)) = characters.next() {
            match character {
                _ if character == quote => {
                    self.offset = start + index + 1;
                    return Ok(Token::Text(text));
                }
                '\\' => {
                    let escaped = characters.next().map(|(_, escaped)| escaped);
                    text.push(match escaped {
                        Some(same @ ('\\' | '\'' | '"' | '/')) => same,
                        Some('n') => '\n',
                        Some('r') => '\r',
                        Some('t') => '\t',
                        Some(other) => {
                            let found = quoted(&format!("\\{other}"));
                            return Err(self.error(
                                start + index,
                                found,
                                "one of \\\\ \\' \\\" \\/ \\n \\r \\t",
                            ));
                        }
                        None => break,
                    });
                }
                _ => text.push(character),
            }
        }
        Err(self.error(start, "a text that does not end".to_owned(), format!("a closing {quote}")))
    }

    /// The next token where a regular expression may stand: only the parser knows that a slash is no division.
    pub(super) fn next_token_or_regex(&mut self) -> Result<Placed, PolicyError> {
        self.skip_space();
        let start = self.offset;
        let Some(body) = self.rest().strip_prefix('/') else { return self.next_token() };
        let Some(end) = regex_end(body) else {
            return Err(self.error(
                start,
                "a regular expression that does not end".to_owned(),
                "a closing /",
            ));
        };
        let after = &body[end + 1..];
        let flags = &after[..after.find(|character| !is_name_part(character)).unwrap_or(after.len())];
        self.offset = start + 1 + end + 1 + flags.len();
        let token = Token::Regex { pattern: body[..end].to_owned(), flags: flags.to_owned() };
        Ok(Placed { token, start, end: self.offset })
    }

    fn error(&self, offset: usize, found: String, expected: impl Into<String>) -> PolicyError {
        PolicyError::at(self.source, offset, found, expected)
    }
}

/// Where the slash stands that ends a regular expression: not one that is escaped or in a class such as `[/]`.
fn regex_end(body: &str) -> Option<usize> {
    let (mut escaped, mut in_class) = (false, false);
    body.find(|character| {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => in_class = true,
            ']' => in_class = false,
            '/' => return !in_class,
            _ => {}
        }
        false
    })
}

fn starts_with_digit(text: &str) -> bool {
    text.as_bytes().first().is_some_and(u8::is_ascii_digit)
}

/// Whether a text can be written as a name, without quotes.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(is_name_start) && text.chars().all(is_name_part)
}

fn is_name_start(character: char) -> bool {
    character.is_alphabetic() || character == '_'
}

fn is_name_part(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}
