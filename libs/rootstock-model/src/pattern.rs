//! Patterns over names: one dialect for the rules of remotes, for filters of lists, watches and webhooks.
//!
//! | pattern | matches |
//! |---|---|
//! | `*` | any text, also none; `/` and `:` are characters like any other |
//! | `?` | any one character |
//! | `[abc]`, `[a-z]`, `[!a-z]` | one character of these, or none of these |
//! | `{debian,ubuntu}` | either; may hold patterns, and stand in one another |
//! | `\*` | the character itself |
//! | anything else | itself; upper and lower case of ASCII letters are the same |
//!
//! The whole name must match. [`NamePattern::matches`] takes time that grows with the length of the name
//! and of the pattern, whatever is in them. [`NamePattern::to_postgres_regex`] is the same pattern for a
//! database, so that a list can be filtered where it is.

use std::{fmt, str::FromStr};

/// The longest pattern, in bytes: it bounds what one match costs.
pub const MAX_PATTERN_BYTES: usize = 256;

/// A pattern over names. Equal when the text is.
#[derive(Debug, Clone)]
pub struct NamePattern {
    text: String,
    program: Vec<Step>,
    regex: String,
}

/// The text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// Longer than [`MAX_PATTERN_BYTES`].
    #[error("is longer than {MAX_PATTERN_BYTES} bytes; shorten it, with * for instance")]
    TooLong,
    /// No name holds one.
    #[error("holds a control character")]
    ControlCharacter,
    /// A `[` without its `]`.
    #[error("has a [ without a ]; write \\[ for the character itself")]
    OpenClass,
    /// `[z-a]`.
    #[error("has a range that ends before it begins")]
    BadRange,
    /// A `{` without its `}`.
    #[error("has a {{ without a }}; write \\{{ for the character itself")]
    OpenAlternatives,
    /// A `}` without its `{`.
    #[error("has a }} without a {{; write \\}} for the character itself")]
    StrayBrace,
    /// A `\` at the end.
    #[error("ends with a \\, which must stand before a character")]
    StrayBackslash,
}

/// What a pattern is made of.
#[derive(Debug)]
enum Part {
    Character(char),
    AnyCharacter,
    AnyText,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    Alternatives(Vec<Vec<Part>>),
}

/// One step of the automaton. A character leads from a step to the next one.
#[derive(Debug, Clone)]
enum Step {
    Character(char),
    AnyCharacter,
    /// Stays, or goes on without a character.
    AnyText,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// Goes on at any of these without a character.
    Fork(Vec<usize>),
    End,
}

impl FromStr for NamePattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(InvalidPattern::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidPattern::ControlCharacter);
        }
        let mut parser = Parser {
            rest: text.chars().peekable(),
            depth: 0,
        };
        let parts = parser.sequence()?;
        if parser.rest.next().is_some() {
            return Err(InvalidPattern::StrayBrace);
        }
        let mut program = vec![];
        compile(&parts, &mut program);
        program.push(Step::End);
        let mut regex = "^".to_owned();
        write_regex(&parts, &mut regex);
        regex.push('$');
        Ok(Self {
            text: text.to_owned(),
            program,
            regex,
        })
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for NamePattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for NamePattern {}

impl NamePattern {
    /// Whether the whole name matches.
    pub fn matches(&self, name: &str) -> bool {
        let mut states = States::new(self.program.len());
        self.enter(0, &mut states);
        for character in name.chars().map(|character| character.to_ascii_lowercase()) {
            let mut next = States::new(self.program.len());
            for state in states.entered.drain(..) {
                match self.program.get(state) {
                    Some(Step::AnyText) => self.enter(state, &mut next),
                    Some(step) if step.takes(character) => self.enter(state + 1, &mut next),
                    _ => {}
                }
            }
            states = next;
            if states.entered.is_empty() {
                return false;
            }
        }
        let end = self.program.len() - 1;
        states.is_entered.get(end).copied().unwrap_or_default()
    }

    /// The pattern as a regular expression of Postgres', to be held against `lower(name COLLATE "C")`.
    pub fn to_postgres_regex(&self) -> &str {
        &self.regex
    }

    /// Enters a state, and those that it leads to without a character.
    fn enter(&self, state: usize, states: &mut States) {
        let mut waiting = vec![state];
        while let Some(state) = waiting.pop() {
            if !states.add(state) {
                continue;
            }
            match self.program.get(state) {
                Some(Step::AnyText) => waiting.push(state + 1),
                Some(Step::Fork(targets)) => waiting.extend(targets),
                _ => {}
            }
        }
    }
}

/// Where the automaton may be.
struct States {
    entered: Vec<usize>,
    is_entered: Vec<bool>,
}

impl States {
    fn new(count: usize) -> Self {
        Self {
            entered: vec![],
            is_entered: vec![false; count],
        }
    }

    /// False when it was there already.
    fn add(&mut self, state: usize) -> bool {
        match self.is_entered.get_mut(state) {
            Some(entered) if !*entered => {
                *entered = true;
                self.entered.push(state);
                true
            }
            _ => false,
        }
    }
}

impl Step {
    fn takes(&self, lower_case: char) -> bool {
        match self {
            Self::Character(wanted) => *wanted == lower_case,
            Self::AnyCharacter => true,
            Self::Class { negated, ranges } => {
                let upper_case = lower_case.to_ascii_uppercase();
                let within = |character| {
                    ranges
                        .iter()
                        .any(|(first, last)| (*first..=*last).contains(&character))
                };
                (within(lower_case) || within(upper_case)) != *negated
            }
            Self::AnyText | Self::Fork(_) | Self::End => false,
        }
    }
}

struct Parser<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    /// Braces that are open.
    depth: usize,
}

impl Parser<'_> {
    /// Up to the end of the text or of an alternative.
    fn sequence(&mut self) -> Result<Vec<Part>, InvalidPattern> {
        let mut parts = vec![];
        while let Some(&character) = self.rest.peek() {
            if character == '}' || character == ',' && self.depth > 0 {
                break;
            }
            self.rest.next();
            parts.push(match character {
                '*' => Part::AnyText,
                '?' => Part::AnyCharacter,
                '[' => self.class()?,
                '{' => self.alternatives()?,
                '\\' => {
                    let escaped = self.rest.next().ok_or(InvalidPattern::StrayBackslash)?;
                    Part::Character(escaped.to_ascii_lowercase())
                }
                other => Part::Character(other.to_ascii_lowercase()),
            });
        }
        Ok(parts)
    }

    /// Behind the `{`.
    fn alternatives(&mut self) -> Result<Part, InvalidPattern> {
        self.depth += 1;
        let mut alternatives = vec![];
        loop {
            alternatives.push(self.sequence()?);
            match self.rest.next() {
                Some(',') => {}
                Some(_) => break,
                None => return Err(InvalidPattern::OpenAlternatives),
            }
        }
        self.depth -= 1;
        Ok(Part::Alternatives(alternatives))
    }

    /// Behind the `[`. A `]` that comes first is one of the characters.
    fn class(&mut self) -> Result<Part, InvalidPattern> {
        let negated = self.rest.next_if(|c| matches!(c, '!' | '^')).is_some();
        let mut ranges: Vec<(char, char)> = vec![];
        loop {
            let first = match self.rest.next() {
                Some(']') if !ranges.is_empty() => return Ok(Part::Class { negated, ranges }),
                Some('\\') => self.rest.next().ok_or(InvalidPattern::OpenClass)?,
                Some(character) => character,
                None => return Err(InvalidPattern::OpenClass),
            };
            if self.rest.next_if_eq(&'-').is_none() {
                ranges.push((first, first));
                continue;
            }
            let last = match self.rest.peek() {
                // A `-` that comes last is one of the characters.
                Some(']') => {
                    ranges.extend([(first, first), ('-', '-')]);
                    continue;
                }
                Some('\\') => self.rest.by_ref().nth(1),
                _ => self.rest.next(),
            };
            let last = last.ok_or(InvalidPattern::OpenClass)?;
            if last < first {
                return Err(InvalidPattern::BadRange);
            }
            ranges.push((first, last));
        }
    }
}

fn compile(parts: &[Part], program: &mut Vec<Step>) {
    for part in parts {
        match part {
            Part::Character(character) => program.push(Step::Character(*character)),
            Part::AnyCharacter => program.push(Step::AnyCharacter),
            Part::AnyText => program.push(Step::AnyText),
            Part::Class { negated, ranges } => program.push(Step::Class {
                negated: *negated,
                ranges: ranges.clone(),
            }),
            Part::Alternatives(alternatives) => {
                let fork = program.len();
                program.push(Step::Fork(vec![]));
                let (mut begins, mut ends) = (vec![], vec![]);
                for alternative in alternatives {
                    begins.push(program.len());
                    compile(alternative, program);
                    ends.push(program.len());
                    program.push(Step::Fork(vec![]));
                }
                let after = program.len();
                program[fork] = Step::Fork(begins);
                for end in ends {
                    program[end] = Step::Fork(vec![after]);
                }
            }
        }
    }
}

fn write_regex(parts: &[Part], regex: &mut String) {
    for part in parts {
        match part {
            Part::Character(character) => write_character(*character, regex),
            Part::AnyCharacter => regex.push('.'),
            Part::AnyText => regex.push_str(".*"),
            Part::Class { negated, ranges } => {
                regex.push_str(if *negated { "[^" } else { "[" });
                for (first, last) in ranges {
                    write_range(*first, *last, regex);
                    // The text is in lower case, and what is upper case here stands for that.
                    let (first, last) = ((*first).max('A'), (*last).min('Z'));
                    if first <= last {
                        write_range(first.to_ascii_lowercase(), last.to_ascii_lowercase(), regex);
                    }
                }
                regex.push(']');
            }
            Part::Alternatives(alternatives) => {
                regex.push_str("(?:");
                for (index, alternative) in alternatives.iter().enumerate() {
                    if index > 0 {
                        regex.push('|');
                    }
                    write_regex(alternative, regex);
                }
                regex.push(')');
            }
        }
    }
}

fn write_range(first: char, last: char, regex: &mut String) {
    write_character(first, regex);
    if first != last {
        regex.push('-');
        write_character(last, regex);
    }
}

/// A backslash before a letter or a digit would mean something else; before all other ASCII it takes
/// away what they mean.
fn write_character(character: char, regex: &mut String) {
    if character.is_ascii() && !character.is_ascii_alphanumeric() {
        regex.push('\\');
    }
    regex.push(character);
}

#[cfg(test)]
mod tests;
