//! From tokens to the tree: precedence climbing, with every limit checked while the tree grows.
//!
//! The levels are those of JavaScript, tightest first: `! -`, `* / %`, `+ -`, `<< >>`, `< <= > >= in`,
//! `== != ^= ^!= $= $!= >< <>`, `^`, `&&`, `||`. All operators of two sides group from the left.

use regex::RegexBuilder;

use super::error::{PolicyError, quoted};
use super::expression::{Comparison, Expression, Node, Owner, Property};
use super::operator::Comparator;
use super::precedence::Operator;
use super::token::{Lexer, Placed, Symbol, Token};
use super::{NESTING_MAX, NODES_MAX, REGEX_PROGRAM_BYTES_MAX, REGEXES_MAX, SOURCE_BYTES_MAX};
use crate::attributes::{ELEMENTS_MAX, Key, NAME_BYTES_MAX, Value};

/// What may begin a value, for messages.
const A_VALUE: &str = "a value such as device.version, 'text', 16 or true";

/// A parsed policy.
pub(super) struct Parsed {
    pub(super) root: Node,
    pub(super) properties: Vec<Property>,
}

/// Reads a whole policy.
pub(super) fn parse(source: &str) -> Result<Parsed, PolicyError> {
    if source.trim().is_empty() {
        let expected = "a condition; `true` offers the release to every device, \
                        `device.version < update.version` to those that run an older one";
        return Err(PolicyError::at(source, 0, "an empty policy".to_owned(), expected));
    }
    if source.len() > SOURCE_BYTES_MAX {
        let found = format!("a policy of {} bytes", source.len());
        return Err(PolicyError::at(source, 0, found, format!("at most {SOURCE_BYTES_MAX} bytes")));
    }
    let mut lexer = Lexer::new(source);
    let current = lexer.next_token()?;
    let mut parser =
        Parser { source, lexer, current, properties: Vec::new(), nodes: 0, regexes: 0, nesting: 0 };
    let root = parser.expression(0)?;
    if parser.current.token != Token::End {
        return Err(parser.unexpected("an operator such as `&&`, or the end of the policy"));
    }
    parser.check_condition(&root)?;
    Ok(Parsed { root, properties: parser.properties })
}

struct Parser<'a> {
    source: &'a str,
    lexer: Lexer<'a>,
    current: Placed,
    properties: Vec<Property>,
    nodes: usize,
    regexes: usize,
    /// How many open brackets and signs the parser is inside of, each a level of its recursion.
    nesting: usize,
}

impl Parser<'_> {
    /// Takes the current token.
    fn advance(&mut self) -> Result<Placed, PolicyError> {
        let next = self.lexer.next_token()?;
        Ok(std::mem::replace(&mut self.current, next))
    }

    /// Takes the current token if it is this symbol.
    fn take(&mut self, symbol: Symbol) -> Result<bool, PolicyError> {
        let fits = self.current.token == Token::Symbol(symbol);
        if fits {
            self.advance()?;
        }
        Ok(fits)
    }

    fn expect(&mut self, symbol: Symbol, expected: &str) -> Result<(), PolicyError> {
        if self.take(symbol)? { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    /// The error that something else than the current token was expected.
    fn unexpected(&self, expected: impl Into<String>) -> PolicyError {
        let Placed { token, start, end } = &self.current;
        let found = match token {
            Token::End => "the end of the policy".to_owned(),
            Token::Regex { .. } => "a regular expression".to_owned(),
            Token::Number(_) | Token::Text(_) | Token::Name(_) | Token::Symbol(_) => {
                quoted(&self.source[*start..*end])
            }
        };
        PolicyError::at(self.source, *start, found, expected)
    }

    fn error_at(&self, node: &Node, expected: impl Into<String>) -> PolicyError {
        PolicyError::at(self.source, node.start, quoted(&self.source[node.start..node.end]), expected)
    }

    /// Makes a node, within the limits on their number and on the height of the tree.
    fn node(&mut self, expression: Expression, start: usize, end: usize) -> Result<Node, PolicyError> {
        let mut node = Node { expression, start, end, height: 1 };
        node.height += node.children().iter().map(|child| child.height).max().unwrap_or(0);
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(
                self.error_at(&node, format!("at most {NODES_MAX} values and operators in one policy"))
            );
        }
        if node.height > NESTING_MAX {
            return Err(
                self.error_at(&node, format!("at most {NESTING_MAX} operators nested in one another"))
            );
        }
        Ok(node)
    }

    /// Reads operands and operators that bind at least as tightly as `level`.
    fn expression(&mut self, level: u8) -> Result<Node, PolicyError> {
        let mut left = self.unary()?;
        while let Some(operator) = self.operator() {
            let operator_level = operator.level();
            if operator_level < level {
                break;
            }
            if operator.is_equality() {
                // A slash behind `==` begins a regular expression, elsewhere it divides.
                self.current = self.lexer.next_token_or_regex()?;
                if let Token::Regex { .. } = self.current.token {
                    left = self.regex_match(left, operator == Operator::Compare(Comparator::NotEqual))?;
                    continue;
                }
            } else {
                self.advance()?;
            }
            let right = self.expression(operator_level + 1)?;
            left = self.combine(operator, left, right)?;
        }
        Ok(left)
    }

    /// The operator of two sides at the current token.
    fn operator(&self) -> Option<Operator> {
        match &self.current.token {
            Token::Symbol(symbol) => Operator::of(*symbol),
            Token::Name(name) if name == "in" => Some(Operator::In),
            Token::Name(_) | Token::Number(_) | Token::Text(_) | Token::Regex { .. } | Token::End => None,
        }
    }

    fn combine(&mut self, operator: Operator, left: Node, right: Node) -> Result<Node, PolicyError> {
        let (start, end) = (left.start, right.end);
        let expression = match operator {
            Operator::And | Operator::Or => return self.join(operator, left, right),
            Operator::Compare(comparator) => {
                self.check_chain(operator, &left)?;
                let of_versions = left.is_version() || right.is_version();
                let sides = [left, right];
                Expression::Compare(Box::new(Comparison { comparator, sides, of_versions }))
            }
            Operator::TestText(test) => Expression::TestText { test, sides: Box::new([left, right]) },
            Operator::In => Expression::In(Box::new([left, right])),
            Operator::Calculate(operator) => {
                Expression::Calculate { operator, sides: Box::new([left, right]) }
            }
        };
        self.node(expression, start, end)
    }

    /// Joins conditions; a chain of the same operator becomes one node.
    fn join(&mut self, operator: Operator, left: Node, right: Node) -> Result<Node, PolicyError> {
        self.check_condition(&left)?;
        self.check_condition(&right)?;
        let (start, end) = (left.start, right.end);
        let grown = match (operator, left.expression) {
            (Operator::And, Expression::All(mut nodes)) => {
                nodes.push(right);
                Expression::All(nodes)
            }
            (Operator::Or, Expression::Any(mut nodes)) => {
                nodes.push(right);
                Expression::Any(nodes)
            }
            (_, expression) => {
                let nodes = vec![Node { expression, ..left }, right];
                if operator == Operator::And { Expression::All(nodes) } else { Expression::Any(nodes) }
            }
        };
        self.node(grown, start, end)
    }

    /// Refuses `a < b < c`, which compares a truth with `c` and is never meant.
    fn check_chain(&self, operator: Operator, left: &Node) -> Result<(), PolicyError> {
        let is_order = |comparator| !matches!(comparator, Comparator::Equal | Comparator::NotEqual);
        let Operator::Compare(outer) = operator else { return Ok(()) };
        let Expression::Compare(inner) = &left.expression else { return Ok(()) };
        if is_order(outer) && is_order(inner.comparator) {
            return Err(self.error_at(left, "two comparisons joined by `&&`, as in `a < b && b < c`"));
        }
        Ok(())
    }

    /// Refuses a node that can be neither true nor false.
    fn check_condition(&self, node: &Node) -> Result<(), PolicyError> {
        if node.is_never_a_condition() {
            return Err(self.error_at(node, "a condition: a comparison, `has(…)`, `true` or `false`"));
        }
        Ok(())
    }

    fn regex_match(&mut self, subject: Node, negated: bool) -> Result<Node, PolicyError> {
        let placed = self.advance()?;
        let Token::Regex { pattern, flags } = &placed.token else { return Ok(subject) };
        let error =
            |found: String, expected: String| PolicyError::at(self.source, placed.start, found, expected);
        self.regexes += 1;
        if self.regexes > REGEXES_MAX {
            let expected = format!("at most {REGEXES_MAX} regular expressions in one policy");
            return Err(error("one more regular expression".to_owned(), expected));
        }
        if flags.chars().any(|flag| !matches!(flag, 'i' | 'm' | 's')) {
            return Err(error(quoted(flags), "no other flags than `i`, `m` and `s`".to_owned()));
        }
        let built = RegexBuilder::new(pattern)
            .case_insensitive(flags.contains('i'))
            .multi_line(flags.contains('m'))
            .dot_matches_new_line(flags.contains('s'))
            .size_limit(REGEX_PROGRAM_BYTES_MAX)
            .dfa_size_limit(REGEX_PROGRAM_BYTES_MAX)
            .nest_limit(32)
            .build();
        let regex = built.map_err(|cause| {
            let reason = cause.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
            error(quoted(&self.source[placed.start..placed.end]), format!("a regular expression ({reason})"))
        })?;
        let start = subject.start;
        let expression = Expression::Match { subject: Box::new(subject), regex: Box::new(regex), negated };
        self.node(expression, start, placed.end)
    }

    /// Reads a sign or a negation and what it stands before.
    fn unary(&mut self) -> Result<Node, PolicyError> {
        let Token::Symbol(sign @ (Symbol::Not | Symbol::Minus)) = self.current.token else {
            return self.primary();
        };
        let start = self.current.start;
        self.descend()?;
        self.advance()?;
        let operand = self.unary()?;
        self.nesting -= 1;
        let end = operand.end;
        let expression = match (sign, operand.expression) {
            (Symbol::Minus, Expression::Literal(Value::Number(number))) => {
                Expression::Literal(Value::Number(-number))
            }
            (Symbol::Minus, expression) => Expression::Negate(Box::new(Node { expression, ..operand })),
            (_, expression) => {
                let operand = Node { expression, ..operand };
                self.check_condition(&operand)?;
                Expression::Not(Box::new(operand))
            }
        };
        self.node(expression, start, end)
    }

    /// Goes one level down in the recursion, within its limit.
    fn descend(&mut self) -> Result<(), PolicyError> {
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            return Err(self.unexpected(format!("at most {NESTING_MAX} levels of brackets and signs")));
        }
        Ok(())
    }

    /// Reads a literal, an attribute, a call, a list or a group.
    fn primary(&mut self) -> Result<Node, PolicyError> {
        match self.current.token {
            Token::Number(_) | Token::Text(_) => self.literal(),
            Token::Name(_) => self.name(),
            Token::Symbol(Symbol::Open) => {
                self.descend()?;
                let start = self.advance()?.start;
                let inner = self.expression(0)?;
                let end = self.current.end;
                self.expect(Symbol::Close, "`)` or an operator")?;
                self.nesting -= 1;
                Ok(Node { start, end, ..inner })
            }
            Token::Symbol(Symbol::ListOpen) => self.list(),
            Token::Symbol(Symbol::Divide) => Err(self
                .unexpected(format!("{A_VALUE}; a regular expression stands on the right of `==` or `!=`"))),
            Token::Symbol(_) | Token::Regex { .. } | Token::End => Err(self.unexpected(A_VALUE)),
        }
    }

    fn literal(&mut self) -> Result<Node, PolicyError> {
        let placed = self.advance()?;
        let value = match placed.token {
            Token::Number(number) => Value::Number(number),
            Token::Text(text) => Value::from(text),
            Token::Name(_) | Token::Symbol(_) | Token::Regex { .. } | Token::End => Value::Null,
        };
        self.node(Expression::Literal(value), placed.start, placed.end)
    }

    /// `[1, 'a', true]`: literals only, so that a list is prepared once.
    fn list(&mut self) -> Result<Node, PolicyError> {
        let start = self.advance()?.start;
        let mut values = Vec::new();
        while self.current.token != Token::Symbol(Symbol::ListClose) {
            let element = if self.current.token == Token::Symbol(Symbol::ListOpen) {
                None
            } else {
                Some(self.unary()?)
            };
            match element {
                Some(Node { expression: Expression::Literal(value), .. }) => values.push(value),
                Some(other) => {
                    return Err(self.error_at(&other, "a text, a number, true, false or null in a list"));
                }
                None => return Err(self.unexpected("a text, a number, true, false or null in a list")),
            }
            if values.len() > ELEMENTS_MAX {
                return Err(self.unexpected(format!("at most {ELEMENTS_MAX} elements in a list")));
            }
            if !self.take(Symbol::Comma)? && self.current.token != Token::Symbol(Symbol::ListClose) {
                return Err(self.unexpected("`,` or `]`"));
            }
        }
        let end = self.advance()?.end;
        self.node(Expression::Literal(Value::List(values)), start, end)
    }

    /// Reads what begins with a name.
    fn name(&mut self) -> Result<Node, PolicyError> {
        let Token::Name(name) = &self.current.token else { return Err(self.unexpected(A_VALUE)) };
        match name.as_str() {
            "true" => self.word(Value::Bool(true)),
            "false" => self.word(Value::Bool(false)),
            "null" => self.word(Value::Null),
            "device" | "update" => {
                let (property, start, end) = self.property()?;
                self.node(Expression::Property(property), start, end)
            }
            "has" | "bucket" => self.call(),
            "in" => Err(self.unexpected(A_VALUE)),
            "undefined" => Err(self.unexpected("`null`, or `has(device.x)` to ask whether it was reported")),
            _ => {
                let expected = format!(
                    "`device.{name}` or `update.{name}`, a text in quotes, `has(…)` or `bucket(…)`; \
                                        a name with a dash is written device['a-b']"
                );
                Err(self.unexpected(expected))
            }
        }
    }

    fn word(&mut self, value: Value) -> Result<Node, PolicyError> {
        let placed = self.advance()?;
        self.node(Expression::Literal(value), placed.start, placed.end)
    }

    /// `has(device.x)` or `bucket(value)`.
    fn call(&mut self) -> Result<Node, PolicyError> {
        let function = self.advance()?;
        let is_has = function.token == Token::Name("has".to_owned());
        self.descend()?;
        self.expect(Symbol::Open, "`(`")?;
        let expression = if is_has {
            if !matches!(&self.current.token, Token::Name(owner) if owner == "device" || owner == "update") {
                return Err(self.unexpected("an attribute, as in `has(device.region)`"));
            }
            Expression::Has(self.property()?.0)
        } else {
            Expression::Bucket(Box::new(self.expression(0)?))
        };
        let end = self.current.end;
        self.expect(Symbol::Close, "`)`")?;
        self.nesting -= 1;
        self.node(expression, function.start, end)
    }

    /// `device.a.b` or `device['a-b']`, and where it starts and ends.
    fn property(&mut self) -> Result<(Property, usize, usize), PolicyError> {
        let first = self.advance()?;
        let owner =
            if first.token == Token::Name("device".to_owned()) { Owner::Device } else { Owner::Update };
        let (mut name, mut end) = (String::new(), first.end);
        while let Token::Symbol(separator @ (Symbol::Dot | Symbol::ListOpen)) = self.current.token {
            let in_brackets = separator == Symbol::ListOpen;
            self.advance()?;
            let part = self.property_part(in_brackets)?;
            if !name.is_empty() {
                name.push('.');
            }
            name.push_str(&part);
            if name.len() > NAME_BYTES_MAX {
                return Err(self.unexpected(format!("a name of at most {NAME_BYTES_MAX} bytes")));
            }
            end = self.advance()?.end;
            if in_brackets {
                end = self.current.end;
                self.expect(Symbol::ListClose, "`]`")?;
            }
        }
        if name.is_empty() {
            return Err(self.unexpected("`.` and an attribute's name, as in device.region"));
        }
        Ok((self.known(owner, &name), first.start, end))
    }

    /// One part of an attribute's name: a plain name behind a dot, a text in brackets.
    fn property_part(&self, in_brackets: bool) -> Result<String, PolicyError> {
        match &self.current.token {
            Token::Name(part) if !in_brackets => Ok(part.clone()),
            Token::Text(part) if in_brackets && !part.is_empty() => Ok(part.clone()),
            Token::Name(_)
            | Token::Text(_)
            | Token::Number(_)
            | Token::Regex { .. }
            | Token::Symbol(_)
            | Token::End => Err(self.unexpected(if in_brackets {
                "an attribute's name in quotes, as in device['a-b']"
            } else {
                "an attribute's name, as in device.region or device['a-b']"
            })),
        }
    }

    /// The property of that name, with the index of its first mention.
    fn known(&mut self, owner: Owner, name: &str) -> Property {
        let is_it = |property: &&Property| property.owner == owner && property.key.name.as_str() == name;
        if let Some(property) = self.properties.iter().find(is_it) {
            return property.clone();
        }
        let index = u16::try_from(self.properties.len()).expect("a policy has fewer properties than bytes");
        let property = Property { owner, key: Key::new(name), index };
        self.properties.push(property.clone());
        property
    }
}
