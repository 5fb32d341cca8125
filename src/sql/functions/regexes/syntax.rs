//! PostgreSQL's advanced regular expressions, written as the compiler of programs reads them.
//!
//! One rule: a pattern that PostgreSQL refuses is refused with its words (2201B). Back references and looking ahead or
//! behind are understood, and refused (0A000): no program of bounded time matches them.

use super::Flags;
use crate::error::{SqlError, state};

/// The largest count of a repetition.
const REPEAT_MAX: u32 = 255;

/// A pattern as the compiler reads it.
#[derive(Debug, Default)]
pub struct Translated {
    pub pattern: String,
    /// Groups that capture.
    pub groups: usize,
    /// The whole prefers the shortest match.
    pub shortest: bool,
    /// The compiler's first match may not be the one that PostgreSQL prefers.
    pub ambiguous: bool,
}

pub fn invalid(reason: &str) -> SqlError {
    SqlError::new(
        state::INVALID_REGULAR_EXPRESSION,
        format!("invalid regular expression: {reason}"),
    )
}

fn unsupported(what: &str) -> SqlError {
    SqlError::unsupported(
        format!("regular expressions with {what} are not supported"),
        "Match in several steps.",
    )
}

/// The preferred length of a match.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taste {
    Longest,
    Shortest,
}

struct RegexParser<'a> {
    rest: std::str::Chars<'a>,
    flags: Flags,
    out: Translated,
    quantifiers: usize,
    depth: usize,
}

/// Translates a pattern.
pub fn translate(pattern: &str, flags: Flags) -> Result<Translated, SqlError> {
    let mut flags = flags;
    let mut text = pattern;
    if let Some(after) = text.strip_prefix("***") {
        match after.chars().next() {
            Some('=') => flags.literal = true,
            Some(':') => {}
            _ => return Err(invalid("quantifier operand invalid")),
        }
        text = &after[1..];
    }
    if !flags.literal
        && let Some(after) = text.strip_prefix("(?")
        && after.starts_with(|first: char| first.is_ascii_alphabetic())
    {
        let end = after.find(')').ok_or_else(|| invalid("invalid embedded option"))?;
        for option in after[..end].chars() {
            if option == 'g' || !flags.set(option) {
                return Err(invalid("invalid embedded option"));
            }
        }
        text = &after[end + 1..];
    }
    let mut prefix = String::from("(?s");
    if flags.any_case {
        prefix.push('i');
    }
    if flags.lines_anchor {
        prefix.push('m');
    }
    prefix.push(')');
    if flags.literal {
        text.chars().for_each(|letter| push_literal(letter, &mut prefix));
        return Ok(Translated {
            pattern: prefix,
            ..Translated::default()
        });
    }
    let mut parser = RegexParser {
        rest: text.chars(),
        flags,
        out: Translated {
            pattern: prefix,
            ..Translated::default()
        },
        quantifiers: 0,
        depth: 0,
    };
    let taste = parser.alternatives()?;
    if parser.rest.next().is_some() {
        return Err(invalid("parentheses () not balanced"));
    }
    let mut out = parser.out;
    out.shortest = taste == Some(Taste::Shortest);
    out.ambiguous |= parser.quantifiers > 1;
    Ok(out)
}

fn push_literal(letter: char, out: &mut String) {
    match letter {
        letter if letter.is_ascii_alphanumeric() || !letter.is_ascii() => out.push(letter),
        letter => out.push_str(&format!("\\x{{{:X}}}", u32::from(letter))),
    }
}

impl RegexParser<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn take_if(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.rest.next();
        }
        found
    }

    /// Blanks and comments of an expanded pattern, and `(?#...)`.
    fn skip(&mut self) {
        loop {
            if self.rest.as_str().starts_with("(?#") {
                let text = self.rest.as_str();
                let end = text.find(')').map_or(text.len(), |at| at + 1);
                self.rest = text[end..].chars();
                continue;
            }
            match self.peek() {
                Some(blank) if self.flags.expanded && blank.is_whitespace() => {
                    self.rest.next();
                }
                Some('#') if self.flags.expanded => {
                    let text = self.rest.as_str();
                    let end = text.find('\n').unwrap_or(text.len());
                    self.rest = text[end..].chars();
                }
                _ => return,
            }
        }
    }

    /// Branches between `|`.
    fn alternatives(&mut self) -> Result<Option<Taste>, SqlError> {
        const DEPTH_MAX: usize = 100;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(super::limits::too_complex());
        }
        let mut taste = self.branch()?;
        while self.take_if('|') {
            self.out.pattern.push('|');
            self.out.ambiguous = true;
            self.branch()?;
            taste = Some(Taste::Longest);
        }
        self.depth -= 1;
        Ok(taste)
    }

    fn branch(&mut self) -> Result<Option<Taste>, SqlError> {
        let mut taste = None;
        loop {
            self.skip();
            match self.peek() {
                None | Some('|') => return Ok(taste),
                Some(')') if self.depth > 1 => return Ok(taste),
                Some(')') => return Err(invalid("parentheses () not balanced")),
                _ => {}
            }
            let of_piece = self.piece()?;
            taste = taste.or(of_piece);
        }
    }

    /// An atom and its count.
    fn piece(&mut self) -> Result<Option<Taste>, SqlError> {
        let start = self.out.pattern.len();
        let (taste, is_constraint) = self.atom()?;
        self.skip();
        let counts = match self.peek() {
            Some('*') => (0, None, true),
            Some('+') => (1, None, true),
            Some('?') => (0, Some(1), true),
            Some('{') if self.begins_count() => {
                self.rest.next();
                let counts = self.counts()?;
                return self.repeated(start, taste, counts, is_constraint);
            }
            _ => return Ok(taste),
        };
        self.rest.next();
        self.repeated(start, taste, counts, is_constraint)
    }

    /// Whether the brace that comes next is that of a count: a digit follows. Else it is a letter.
    fn begins_count(&self) -> bool {
        let mut next = self.rest.clone();
        next.next() == Some('{') && next.next().is_some_and(|letter| letter.is_ascii_digit())
    }

    /// The counts in braces.
    fn counts(&mut self) -> Result<(u32, Option<u32>, bool), SqlError> {
        let number = |parser: &mut Self| -> Result<Option<u32>, SqlError> {
            let text = parser.rest.as_str();
            let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
            let (digits, rest) = text.split_at(end);
            parser.rest = rest.chars();
            if digits.is_empty() {
                return Ok(None);
            }
            match digits.parse() {
                Ok(number) if number <= REPEAT_MAX => Ok(Some(number)),
                _ => Err(super::limits::too_complex()),
            }
        };
        let Some(least) = number(self)? else {
            return Err(invalid("invalid repetition count(s)"));
        };
        let is_range = self.take_if(',');
        let most = match is_range {
            false => Some(least),
            true => number(self)?,
        };
        match self.rest.next() {
            Some('}') => {}
            None => return Err(invalid("braces {} not balanced")),
            Some(_) => return Err(invalid("invalid repetition count(s)")),
        }
        if most.is_some_and(|most| most < least) {
            return Err(invalid("invalid repetition count(s)"));
        }
        Ok((least, most, is_range))
    }

    fn repeated(
        &mut self,
        start: usize,
        taste: Option<Taste>,
        (least, most, is_range): (u32, Option<u32>, bool),
        is_constraint: bool,
    ) -> Result<Option<Taste>, SqlError> {
        if is_constraint {
            return Err(invalid("quantifier operand invalid"));
        }
        let lazy = self.take_if('?');
        self.skip();
        let repeats = matches!(self.peek(), Some('*' | '+' | '?')) || self.begins_count();
        if repeats {
            return Err(invalid("quantifier operand invalid"));
        }
        // The compiler repeats the last item written: a literal, a set or a group.
        let atom = self.out.pattern.split_off(start);
        let atom = match (lazy, least, most) {
            (true, 1, Some(1)) => lazily(&atom),
            _ => atom,
        };
        self.out.pattern.push_str(&format!("(?:{atom})"));
        self.out.pattern.push_str(&match (least, most) {
            (0, None) => "*".to_string(),
            (1, None) => "+".to_string(),
            (0, Some(1)) => "?".to_string(),
            (least, None) => format!("{{{least},}}"),
            (least, Some(most)) => format!("{{{least},{most}}}"),
        });
        if lazy {
            self.out.pattern.push('?');
        }
        if !is_range {
            return Ok(taste);
        }
        self.quantifiers += 1;
        self.out.ambiguous |= lazy || most == Some(least);
        Ok(Some(if lazy { Taste::Shortest } else { Taste::Longest }))
    }

    /// An item that can be repeated, and whether it is a place and not a letter.
    fn atom(&mut self) -> Result<(Option<Taste>, bool), SqlError> {
        let Some(first) = self.rest.next() else {
            return Ok((None, false));
        };
        match first {
            '(' => return self.group(),
            '[' => return self.set(),
            '\\' => return self.escape(),
            '^' => {
                self.out.pattern.push('^');
                return Ok((None, true));
            }
            '$' => {
                self.out.pattern.push('$');
                return Ok((None, true));
            }
            '.' => self
                .out
                .pattern
                .push_str(if self.flags.lines_split { "[^\\n]" } else { "." }),
            '*' | '+' | '?' => return Err(invalid("quantifier operand invalid")),
            // A brace that no number follows is a letter.
            '{' if self.peek().is_some_and(|next| next.is_ascii_digit()) => {
                return Err(invalid("quantifier operand invalid"));
            }
            letter => push_literal(letter, &mut self.out.pattern),
        }
        Ok((None, false))
    }

    fn group(&mut self) -> Result<(Option<Taste>, bool), SqlError> {
        let text = self.rest.as_str();
        if let Some(after) = text.strip_prefix("?:") {
            self.rest = after.chars();
            self.out.pattern.push_str("(?:");
        } else if ["?=", "?!", "?<=", "?<!"].iter().any(|mark| text.starts_with(mark)) {
            return Err(unsupported("lookahead or lookbehind"));
        } else if text.starts_with('?') {
            return Err(invalid("quantifier operand invalid"));
        } else {
            self.out.groups += 1;
            self.out.pattern.push('(');
        }
        let taste = self.alternatives()?;
        if !self.take_if(')') {
            return Err(invalid("parentheses () not balanced"));
        }
        self.out.pattern.push(')');
        Ok((taste, false))
    }

    /// The number that digits of a base are.
    fn number(&mut self, base: u32, least: usize, most: usize) -> Result<char, SqlError> {
        let text = self.rest.as_str();
        let end = text
            .char_indices()
            .take(most)
            .take_while(|(_, letter)| letter.is_digit(base))
            .count();
        if end < least {
            return Err(invalid("invalid escape \\ sequence"));
        }
        self.rest = text[end..].chars();
        u32::from_str_radix(&text[..end], base)
            .ok()
            .and_then(char::from_u32)
            .ok_or_else(|| invalid("invalid escape \\ sequence"))
    }

    /// The letter that an escape stands for; `None`: it stands for something else.
    fn letter_of(&mut self, mark: char) -> Result<Option<char>, SqlError> {
        Ok(Some(match mark {
            'a' => '\x07',
            'b' => '\x08',
            'B' => '\\',
            'e' => '\x1b',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            'c' => {
                let letter = self.rest.next().ok_or_else(|| invalid("invalid escape \\ sequence"))?;
                char::from((u32::from(letter) & 0x1f) as u8)
            }
            'u' => self.number(16, 4, 4)?,
            'U' => self.number(16, 8, 8)?,
            'x' => self.number(16, 1, 255)?,
            '0' => {
                let text = self.rest.as_str();
                let digits = text
                    .bytes()
                    .take(2)
                    .take_while(|digit| (b'0'..b'8').contains(digit))
                    .count();
                let number = u8::from_str_radix(&text[..digits], 8).unwrap_or(0);
                self.rest = text[digits..].chars();
                char::from(number)
            }
            mark if !mark.is_ascii_alphanumeric() => mark,
            _ => return Ok(None),
        }))
    }

    fn escape(&mut self) -> Result<(Option<Taste>, bool), SqlError> {
        let refused = || invalid("invalid escape \\ sequence");
        let mark = self.rest.next().ok_or_else(refused)?;
        let (written, is_constraint) = match mark {
            'd' => ("[0-9]", false),
            'D' if self.flags.lines_split => ("[^0-9\\n]", false),
            'D' => ("[^0-9]", false),
            's' => ("\\s", false),
            'S' if self.flags.lines_split => ("[^\\s\\n]", false),
            'S' => ("\\S", false),
            'w' => ("[\\pL\\pN_]", false),
            'W' if self.flags.lines_split => ("[^\\pL\\pN_\\n]", false),
            'W' => ("[^\\pL\\pN_]", false),
            'A' => ("\\A", true),
            'Z' => ("\\z", true),
            'm' => ("\\b{start}", true),
            'M' => ("\\b{end}", true),
            'y' => ("\\b", true),
            'Y' => ("\\B", true),
            '1'..='9' => {
                let number = u32::from(mark) - u32::from('0');
                return Err(match number as usize <= self.out.groups {
                    true => unsupported("back references"),
                    false => invalid("invalid backreference number"),
                });
            }
            mark => match self.letter_of(mark)? {
                Some(letter) => {
                    push_literal(letter, &mut self.out.pattern);
                    return Ok((None, false));
                }
                None => return Err(refused()),
            },
        };
        self.out.pattern.push_str(written);
        Ok((None, is_constraint))
    }

    /// The set after its `[`.
    fn set(&mut self) -> Result<(Option<Taste>, bool), SqlError> {
        for (written, place) in [("[:<:]]", "\\b{start}"), ("[:>:]]", "\\b{end}")] {
            if let Some(after) = self.rest.as_str().strip_prefix(written) {
                self.rest = after.chars();
                self.out.pattern.push_str(place);
                return Ok((None, true));
            }
        }
        let unbalanced = || invalid("brackets [] not balanced");
        let mut set = String::from("[");
        if self.take_if('^') {
            set.push('^');
            if self.flags.lines_split {
                set.push_str("\\n");
            }
        }
        let mut first = true;
        loop {
            let letter = match self.rest.next().ok_or_else(unbalanced)? {
                ']' if !first => break,
                '[' if self.peek() == Some(':') => {
                    self.rest.next();
                    let text = self.rest.as_str();
                    let end = text.find(":]").ok_or_else(unbalanced)?;
                    set.push_str(class(&text[..end])?);
                    self.rest = text[end + 2..].chars();
                    first = false;
                    continue;
                }
                other => self.member(other)?,
            };
            first = false;
            let letter = match letter {
                Member::Letter(letter) => letter,
                Member::Class(class) => {
                    set.push_str(class);
                    continue;
                }
            };
            let mut ahead = self.rest.clone();
            if ahead.next() == Some('-') && ahead.next().is_some_and(|next| next != ']') {
                self.rest.next();
                let next = self.rest.next().ok_or_else(unbalanced)?;
                let Member::Letter(last) = self.member(next)? else {
                    return Err(invalid("invalid character range"));
                };
                if last < letter {
                    return Err(invalid("invalid character range"));
                }
                push_escaped(letter, &mut set);
                set.push('-');
                push_escaped(last, &mut set);
            } else {
                push_escaped(letter, &mut set);
            }
        }
        set.push(']');
        self.out.pattern.push_str(&set);
        Ok((None, false))
    }

    /// One letter of a set, or a class of them.
    fn member(&mut self, first: char) -> Result<Member, SqlError> {
        match first {
            '[' if matches!(self.peek(), Some('.' | '=')) => {
                let kind = self.rest.next().expect("it was seen");
                let text = self.rest.as_str();
                let end = text
                    .find(&format!("{kind}]"))
                    .ok_or_else(|| invalid("brackets [] not balanced"))?;
                let (name, rest) = (&text[..end], &text[end + 2..]);
                self.rest = rest.chars();
                let mut letters = name.chars();
                match (letters.next(), letters.next()) {
                    (Some(letter), None) => Ok(Member::Letter(letter)),
                    _ => Err(invalid("invalid collating element")),
                }
            }
            '\\' => {
                let mark = self.rest.next().ok_or_else(|| invalid("invalid escape \\ sequence"))?;
                let class = match mark {
                    'd' => "0-9",
                    's' => "\\s",
                    'w' => "\\pL\\pN_",
                    'D' => "[^0-9]",
                    'S' => "\\S",
                    'W' => "[^\\pL\\pN_]",
                    mark => {
                        let letter = self.letter_of(mark)?;
                        return letter
                            .map(Member::Letter)
                            .ok_or_else(|| invalid("invalid escape \\ sequence"));
                    }
                };
                Ok(Member::Class(class))
            }
            letter => Ok(Member::Letter(letter)),
        }
    }
}

/// The pattern with every repetition preferring fewer: they all come after a parenthesis.
fn lazily(written: &str) -> String {
    let mut made = String::with_capacity(written.len() + 8);
    let mut rest = written;
    while let Some(at) = rest.find(')') {
        let (before, after) = rest.split_at(at + 1);
        made.push_str(before);
        let length = match after.as_bytes().first() {
            Some(b'*' | b'+' | b'?') => 1,
            Some(b'{') => after.find('}').map_or(after.len(), |end| end + 1),
            _ => 0,
        };
        made.push_str(&after[..length]);
        rest = &after[length..];
        if length > 0 && !rest.starts_with('?') {
            made.push('?');
        }
    }
    made.push_str(rest);
    made
}

enum Member {
    Letter(char),
    Class(&'static str),
}

fn push_escaped(letter: char, out: &mut String) {
    out.push_str(&format!("\\x{{{:X}}}", u32::from(letter)));
}

/// A class by its name.
fn class(name: &str) -> Result<&'static str, SqlError> {
    Ok(match name {
        "alnum" => "\\p{L}\\p{N}",
        "alpha" => "\\p{Alphabetic}",
        "ascii" => "\\x00-\\x7F",
        "blank" => " \\t",
        "cntrl" => "\\p{Cc}",
        "digit" => "0-9",
        "graph" => "[^\\s\\p{Cc}\\p{Cn}\\p{Cs}]",
        "lower" => "\\p{Lowercase}",
        "print" => "[^\\p{Cc}\\p{Cn}\\p{Cs}]",
        "punct" => "\\p{P}\\p{S}",
        "space" => "\\s",
        "upper" => "\\p{Uppercase}",
        "xdigit" => "0-9A-Fa-f",
        "word" => "\\p{L}\\p{N}_",
        _ => return Err(invalid("invalid character class")),
    })
}
