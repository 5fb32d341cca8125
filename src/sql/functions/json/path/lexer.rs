//! Tokens of a path.
//!
//! One rule: an error names the text at PostgreSQL's scanner position, which for a name is the text right after it.

use crate::error::{SqlError, SqlState, state};
use crate::types::json::number;

/// 22P05
const UNTRANSLATABLE_CHARACTER: SqlState = SqlState("22P05");

#[derive(Clone, PartialEq, Debug)]
pub enum PathToken {
    /// A name or a keyword.
    Name(String),
    Text(String),
    Variable(String),
    /// As NUMERIC prints it, and whether it was written as a whole number.
    Number(String, bool),
    /// An operator or a sign.
    Sign(&'static str),
    End,
}

/// A token, and the text that an error at it names; empty: the end.
#[derive(Clone, Debug)]
pub struct Lexeme {
    pub token: PathToken,
    pub near: String,
}

const SIGNS: [&str; 32] = [
    "&&", "||", "**", "<=", "==", "<>", "!=", ">=", "!", "<", ">", "?", "%", "$", ".", "[", "]", "{", "}", "(", ")",
    "|", "&", "=", "@", "#", ",", "*", ":", "-", "+", "/",
];

/// 42601 at a text; at the end if it is empty.
pub fn error_near(message: &str, near: &str) -> SqlError {
    let place = match near {
        "" => "at end of jsonpath input".to_string(),
        near => format!("at or near \"{near}\" of jsonpath input"),
    };
    SqlError::new(state::SYNTAX_ERROR, format!("{message} {place}"))
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c')
}

/// A character of a name.
fn is_other(c: char) -> bool {
    !is_blank(c) && !"?%$.[]{}()|&!=<>@#,*:-+/\\\"".contains(c)
}

pub struct PathLexer<'a> {
    rest: &'a str,
}

impl<'a> PathLexer<'a> {
    pub fn new(text: &'a str) -> PathLexer<'a> {
        PathLexer { rest: text }
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }

    /// Bytes in front that fit.
    fn count(&self, fits: impl Fn(char) -> bool) -> usize {
        self.rest.find(|c| !fits(c)).unwrap_or(self.rest.len())
    }

    pub fn next(&mut self) -> Result<Lexeme, SqlError> {
        loop {
            if let Some(lexeme) = self.token()? {
                return Ok(lexeme);
            }
        }
    }

    /// `None` for a name that PostgreSQL's scanner loses.
    fn token(&mut self) -> Result<Option<Lexeme>, SqlError> {
        loop {
            self.take(self.count(is_blank));
            if !self.rest.starts_with("/*") {
                break;
            }
            let Some(end) = self.rest.find("*/") else {
                return Err(error_near("unexpected end of comment", ""));
            };
            self.take(end + 2);
        }
        let start = self.rest;
        let lexeme = |token, near: &str| {
            Ok(Some(Lexeme {
                token,
                near: near.to_string(),
            }))
        };
        let Some(first) = start.chars().next() else {
            return lexeme(PathToken::End, "");
        };
        let is_number =
            first.is_ascii_digit() || (first == '.' && start[1..].starts_with(|c: char| c.is_ascii_digit()));
        if is_number && let Some(number) = self.number()? {
            return Ok(Some(number));
        }
        match first {
            '"' => {
                self.take(1);
                let text = self.quoted()?;
                lexeme(PathToken::Text(text), "\"")
            }
            '$' if start[1..].starts_with('"') => {
                self.take(2);
                let text = self.quoted()?;
                lexeme(PathToken::Variable(text), "\"")
            }
            '$' if start[1..].starts_with(is_other) => {
                self.take(1);
                let name = self.take(self.count(is_other));
                lexeme(PathToken::Variable(name.to_string()), &start[..1 + name.len()])
            }
            c if is_other(c) || c == '\\' => {
                let mut name = String::new();
                loop {
                    let plain = self.take(self.count(is_other));
                    name.push_str(plain);
                    if !self.rest.starts_with('\\') {
                        break;
                    }
                    self.escape(&mut name)?;
                }
                // A comment right behind a name takes it along.
                if self.rest.starts_with("/*") {
                    return Ok(None);
                }
                lexeme(PathToken::Name(name), &self.rest[..self.count(is_blank)])
            }
            _ => {
                let sign = SIGNS.iter().find(|sign| start.starts_with(**sign));
                let sign = sign.expect("all that is left is a sign");
                self.take(sign.len());
                lexeme(PathToken::Sign(sign), sign)
            }
        }
    }

    /// `None` if more than one letter follows: then it is a name.
    fn number(&mut self) -> Result<Option<Lexeme>, SqlError> {
        let start = self.rest;
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let mut length = match start.as_bytes()[0] {
            b'.' => 0,
            // Nothing follows a leading zero.
            b'0' => 1,
            _ => digits(start),
        };
        let mut is_whole = true;
        if start[length..].starts_with('.') {
            is_whole = false;
            length += 1 + digits(&start[length + 1..]);
        }
        let after = &start[length..];
        if after.starts_with(['e', 'E']) {
            let signed = usize::from(after[1..].starts_with(['-', '+']));
            match digits(&after[1 + signed..]) {
                0 if signed == 1 => return Err(error_near("invalid numeric literal", &start[..length + 2])),
                0 => {}
                exponent => {
                    is_whole = false;
                    length += 1 + signed + exponent;
                }
            }
        }
        if let Some(next) = start[length..].chars().next().filter(|c| is_other(*c)) {
            let near = &start[..length + next.len_utf8()];
            if self.count(is_other) > near.len() {
                return Ok(None);
            }
            return Err(error_near("trailing junk after numeric literal", near));
        }
        let text = self.take(length);
        Ok(Some(Lexeme {
            token: PathToken::Number(number(text)?, is_whole),
            near: text.to_string(),
        }))
    }

    /// Up to the closing quote.
    fn quoted(&mut self) -> Result<String, SqlError> {
        let mut text = String::new();
        loop {
            let plain = self.take(self.count(|c| !matches!(c, '"' | '\\')));
            text.push_str(plain);
            match self.rest.chars().next() {
                None => return Err(error_near("unexpected end of quoted string", "")),
                Some('"') => {
                    self.take(1);
                    return Ok(text);
                }
                Some(_) => self.escape(&mut text)?,
            }
        }
    }

    /// Reads the escape behind a backslash.
    fn escape(&mut self, out: &mut String) -> Result<(), SqlError> {
        let start = self.rest;
        self.take(1);
        let Some(letter) = self.rest.chars().next() else {
            return Err(error_near("unexpected end after backslash", "\\"));
        };
        self.take(letter.len_utf8());
        out.push(match letter {
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            'x' => {
                let digits = self.rest.get(..2).filter(|digits| is_hex(digits));
                let Some(digits) = digits else {
                    return Err(error_near("invalid hex character sequence", "\\x"));
                };
                self.take(2);
                character(u32::from_str_radix(digits, 16).unwrap_or(0))?
            }
            'u' => {
                let code = self.code(start)?;
                let code = match code {
                    0xD800..=0xDBFF => self.surrogates(code)?,
                    0xDC00..=0xDFFF => {
                        return Err(unpaired("Unicode low surrogate must follow a high surrogate."));
                    }
                    code => code,
                };
                character(code)?
            }
            other => other,
        });
        Ok(())
    }

    /// Four digits, or up to six in braces.
    fn code(&mut self, start: &str) -> Result<u32, SqlError> {
        let (digits, length) = match self.rest.strip_prefix('{') {
            Some(rest) => {
                let digits = rest.split('}').next().unwrap_or("");
                (
                    Some(digits).filter(|digits| digits.len() <= 6 && rest.len() > digits.len()),
                    digits.len() + 2,
                )
            }
            None => (self.rest.get(..4), 4),
        };
        match digits.filter(|digits| !digits.is_empty() && is_hex(digits)) {
            Some(digits) => {
                self.take(length);
                Ok(u32::from_str_radix(digits, 16).unwrap_or(0))
            }
            None => {
                let written = self.rest.bytes().take(4).take_while(u8::is_ascii_hexdigit).count();
                Err(error_near("invalid unicode sequence", &start[..2 + written]))
            }
        }
    }

    /// Reads the second half of a pair, and returns the letter of both.
    fn surrogates(&mut self, high: u32) -> Result<u32, SqlError> {
        const MISSING: &str = "Unicode low surrogate must follow a high surrogate.";
        let start = self.rest;
        if !start.starts_with("\\u") {
            return Err(unpaired(MISSING));
        }
        self.take(2);
        match self.code(start)? {
            low @ 0xDC00..=0xDFFF => Ok(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)),
            _ => Err(unpaired(MISSING)),
        }
    }
}

fn is_hex(digits: &str) -> bool {
    digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn unpaired(detail: &str) -> SqlError {
    let message = "invalid input syntax for type jsonpath";
    SqlError::new(state::INVALID_TEXT_REPRESENTATION, message).detail(detail)
}

fn character(code: u32) -> Result<char, SqlError> {
    match char::from_u32(code).filter(|c| *c != '\0') {
        Some(c) => Ok(c),
        None => {
            let error = SqlError::new(UNTRANSLATABLE_CHARACTER, "unsupported Unicode escape sequence");
            Err(error.detail("\\u0000 cannot be converted to text."))
        }
    }
}
