//! A query string to the tokens of its statements, by PostgreSQL's rules (its `scan.l`), as `sqlparser`'s tokens.
//!
//! One rule: a token knows where it stands. `span.start.line` is its first byte's index plus 1, `span.start.column` the
//! 1-based character position that errors report; `span.end` is the same for the byte after it. Every identifier
//! in the parsed tree therefore carries its position. Unquoted words are folded to lower case here, string literals of
//! every spelling become plain ones, comments and white space are dropped.
//!
//! Not here: the meaning of the words; adjacent statements are told apart by `;` alone.

use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan};

use super::depth::Depth;
use crate::error::{Notice, Severity, SqlError, SqlState, state};

/// Longest identifier, bytes; a longer one is cut, with a notice.
pub const IDENTIFIER_BYTES_MAX: usize = 63;
/// Highest `$n`.
pub const PARAMETERS_MAX: usize = 65535;

const NAME_TOO_LONG: SqlState = SqlState("42622");

/// The tokens of one statement, without the `;`, and the facts by which the rewriting passes skip it.
#[derive(Debug, Default)]
pub struct StatementTokens {
    pub tokens: Vec<TokenWithSpan>,
    pub parameters: usize,
    pub notices: Vec<Notice>,
    /// A word, or a star behind a name, that a pass of `rewrite.rs` or `spellings.rs` looks for is among the tokens.
    pub needs_rewrite: bool,
}

pub struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    /// Byte index of the next character.
    at: usize,
    /// Up to where `characters` has counted.
    counted_to: usize,
    characters: usize,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str) -> Lexer<'a> {
        Lexer {
            text,
            bytes: text.as_bytes(),
            at: 0,
            counted_to: 0,
            characters: 0,
        }
    }

    /// The next statement that has any token; `None` at the end.
    pub fn next_statement(&mut self) -> Result<Option<StatementTokens>, SqlError> {
        let mut statement = StatementTokens::default();
        let mut depth = Depth::default();
        loop {
            self.skip_white_space()?;
            if self.at == self.bytes.len() {
                return Ok((!statement.tokens.is_empty()).then_some(statement));
            }
            let start_at = self.at;
            let start = self.location(start_at);
            let token = self.token(&mut statement, start)?;
            if token == Token::SemiColon {
                if statement.tokens.is_empty() {
                    continue;
                }
                return Ok(Some(statement));
            }
            assert!(self.at > start_at, "every token takes a character");
            let end = self.location(self.at);
            depth
                .see(&token)
                .map_err(|error| error.position(start.column as usize))?;
            if token == Token::Mul {
                statement.needs_rewrite |= super::spellings::is_looked_for_before_star(&statement.tokens);
            }
            statement.tokens.push(TokenWithSpan::new(token, Span::new(start, end)));
        }
    }

    /// Byte index to location; only ever called with an index that does not go back.
    fn location(&mut self, at: usize) -> Location {
        let new = &self.bytes[self.counted_to..at];
        self.characters += new.iter().filter(|byte| (**byte & 0xC0) != 0x80).count();
        self.counted_to = at;
        Location::new(at as u64 + 1, self.characters as u64 + 1)
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn skip_white_space(&mut self) -> Result<(), SqlError> {
        loop {
            match self.peek(0) {
                b' ' | b'\t' | b'\n' | b'\r' | 0x0B | 0x0C => self.at += 1,
                b'-' if self.peek(1) == b'-' => {
                    let rest = &self.bytes[self.at..];
                    self.at += memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                }
                b'/' if self.peek(1) == b'*' => self.skip_comment()?,
                _ => return Ok(()),
            }
        }
    }

    /// `/* ... */`, nested.
    fn skip_comment(&mut self) -> Result<(), SqlError> {
        let start = self.location(self.at);
        let mut open = 0;
        loop {
            if self.at >= self.bytes.len() {
                return Err(self.unterminated("unterminated /* comment", start));
            }
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') => {
                    open += 1;
                    self.at += 2;
                }
                (b'*', b'/') => {
                    open -= 1;
                    self.at += 2;
                    if open == 0 {
                        return Ok(());
                    }
                }
                _ => self.at += 1,
            }
        }
    }

    /// An error that runs from `start` to the end of the text.
    fn unterminated(&self, what: &str, start: Location) -> SqlError {
        self.error_near(what, start, self.text.len())
    }

    fn error_near(&self, what: &str, start: Location, end: usize) -> SqlError {
        let near = &self.text[start.line as usize - 1..end];
        SqlError::new(state::SYNTAX_ERROR, format!("{what} at or near \"{near}\"")).position(start.column as usize)
    }

    /// The character boundary after the character at `at`, for an error's text.
    fn after_character(&self, at: usize) -> usize {
        at + self.text[at..].chars().next().map_or(0, char::len_utf8)
    }

    fn token(&mut self, statement: &mut StatementTokens, start: Location) -> Result<Token, SqlError> {
        let byte = self.peek(0);
        match byte {
            b'\'' => self.string(start).map(Token::SingleQuotedString),
            b'"' => {
                let name = self.quoted_identifier(start)?;
                Ok(Token::make_word(&cut_identifier(name, statement, start), Some('"')))
            }
            b'e' | b'E' if self.peek(1) == b'\'' => {
                self.at += 1;
                self.escaped_string(start).map(Token::SingleQuotedString)
            }
            b'n' | b'N' if self.peek(1) == b'\'' => {
                self.at += 1;
                self.string(start).map(Token::SingleQuotedString)
            }
            b'b' | b'B' if self.peek(1) == b'\'' => {
                self.at += 1;
                self.string(start).map(Token::SingleQuotedByteStringLiteral)
            }
            b'x' | b'X' if self.peek(1) == b'\'' => {
                self.at += 1;
                self.string(start).map(Token::HexStringLiteral)
            }
            b'u' | b'U' if self.peek(1) == b'&' && self.peek(2) == b'\'' => {
                self.at += 2;
                let text = self.string(start)?;
                self.unicode(&text, start).map(Token::SingleQuotedString)
            }
            b'u' | b'U' if self.peek(1) == b'&' && self.peek(2) == b'"' => {
                self.at += 2;
                let name = self.quoted_identifier(start)?;
                let name = self.unicode(&name, start)?;
                Ok(Token::make_word(&cut_identifier(name, statement, start), Some('"')))
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => Ok(self.word(statement, start)),
            b'0'..=b'9' => self.number(start),
            b'.' if self.peek(1).is_ascii_digit() => self.number(start),
            b'$' => self.dollar(statement, start),
            b',' => Ok(self.one(Token::Comma)),
            b'(' => Ok(self.one(Token::LParen)),
            b')' => Ok(self.one(Token::RParen)),
            b'[' => Ok(self.one(Token::LBracket)),
            b']' => Ok(self.one(Token::RBracket)),
            b'.' => Ok(self.one(Token::Period)),
            b';' => Ok(self.one(Token::SemiColon)),
            b':' => {
                let (token, bytes) = match self.peek(1) {
                    b':' => (Token::DoubleColon, 2),
                    b'=' => (Token::Assignment, 2),
                    _ => (Token::Colon, 1),
                };
                self.at += bytes;
                Ok(token)
            }
            _ if is_operator_byte(byte) => Ok(self.operator()),
            _ => Err(self.error_near("syntax error", start, self.after_character(self.at))),
        }
    }

    fn one(&mut self, token: Token) -> Token {
        self.at += 1;
        token
    }

    fn word(&mut self, statement: &mut StatementTokens, start: Location) -> Token {
        let from = self.at;
        while is_identifier_byte(self.peek(0)) {
            self.at += 1;
        }
        let folded = self.text[from..self.at].to_ascii_lowercase();
        let word = cut_identifier(folded, statement, start);
        statement.needs_rewrite |= super::rewrite::is_looked_for(&word);
        Token::make_word(&word, None)
    }

    /// `"..."` with `""` for a quote; `at` is at the opening one.
    fn quoted_identifier(&mut self, start: Location) -> Result<String, SqlError> {
        let Some(name) = self.quoted(b'"') else {
            return Err(self.unterminated("unterminated quoted identifier", start));
        };
        if name.is_empty() {
            return Err(self.error_near("zero-length delimited identifier", start, self.at));
        }
        Ok(name)
    }

    /// `'...'` with `''` for a quote, and further ones after white space with a newline, which continue it.
    fn string(&mut self, start: Location) -> Result<String, SqlError> {
        let mut text = String::new();
        loop {
            let Some(part) = self.quoted(b'\'') else {
                return Err(self.unterminated("unterminated quoted string", start));
            };
            if text.is_empty() {
                text = part;
            } else {
                text += &part;
            }
            if !self.is_continued() {
                return Ok(text);
            }
        }
    }

    /// Moves to the quote that continues a string literal on a later line, if there is one.
    fn is_continued(&mut self) -> bool {
        let mut ahead = 0;
        let mut newline = false;
        loop {
            match self.peek(ahead) {
                b'\n' | b'\r' => newline = true,
                b' ' | b'\t' | 0x0B | 0x0C => {}
                b'\'' if newline => {
                    self.at += ahead;
                    return true;
                }
                _ => return false,
            }
            ahead += 1;
        }
    }

    /// The text between `quote`s, a doubled one being one; `None` if the closing one is missing.
    fn quoted(&mut self, quote: u8) -> Option<String> {
        assert_eq!(self.peek(0), quote, "the caller has seen the quote");
        self.at += 1;
        let mut text = String::new();
        loop {
            let length = memchr::memchr(quote, &self.bytes[self.at..])?;
            text += &self.text[self.at..self.at + length];
            self.at += length + 1;
            if self.peek(0) != quote {
                return Some(text);
            }
            text.push(quote as char);
            self.at += 1;
        }
    }

    /// `'...'` with backslash escapes; `at` is at the opening quote.
    fn escaped_string(&mut self, start: Location) -> Result<String, SqlError> {
        let mut bytes: Vec<u8> = Vec::new();
        self.at += 1;
        loop {
            if self.at >= self.bytes.len() {
                return Err(self.unterminated("unterminated quoted string", start));
            }
            let byte = self.peek(0);
            self.at += 1;
            match byte {
                b'\'' if self.peek(0) == b'\'' => {
                    bytes.push(b'\'');
                    self.at += 1;
                }
                b'\'' if self.is_continued() => self.at += 1,
                b'\'' => break,
                b'\\' => self.escape(&mut bytes, start)?,
                _ => bytes.push(byte),
            }
        }
        let not_utf8 = |_| {
            SqlError::new(
                state::CHARACTER_NOT_IN_REPERTOIRE,
                "invalid byte sequence for encoding \"UTF8\"",
            )
            .position(start.column as usize)
        };
        let text = String::from_utf8(bytes).map_err(not_utf8)?;
        if text.contains('\0') {
            return Err(SqlError::new(
                state::CHARACTER_NOT_IN_REPERTOIRE,
                "invalid byte sequence for encoding \"UTF8\": 0x00",
            )
            .position(start.column as usize));
        }
        Ok(text)
    }

    /// Reads the escape after a backslash in an escaped string.
    fn escape(&mut self, bytes: &mut Vec<u8>, start: Location) -> Result<(), SqlError> {
        let byte = self.peek(0);
        match byte {
            0 if self.at >= self.bytes.len() => {
                return Err(self.unterminated("unterminated quoted string", start));
            }
            b'b' => bytes.push(0x08),
            b'f' => bytes.push(0x0C),
            b'n' => bytes.push(b'\n'),
            b'r' => bytes.push(b'\r'),
            b't' => bytes.push(b'\t'),
            b'0'..=b'7' => {
                let mut value = 0u32;
                let mut digits = 0;
                while digits < 3 && matches!(self.peek(digits), b'0'..=b'7') {
                    value = value * 8 + u32::from(self.peek(digits) - b'0');
                    digits += 1;
                }
                self.at += digits;
                bytes.push(value as u8);
                return Ok(());
            }
            b'x' if self.peek(1).is_ascii_hexdigit() => {
                let digits = if self.peek(2).is_ascii_hexdigit() { 2 } else { 1 };
                let value = self.hex(1, digits).expect("the digits were looked at");
                bytes.push(value as u8);
                self.at += 1 + digits;
                return Ok(());
            }
            b'u' | b'U' => {
                let digits = if byte == b'u' { 4 } else { 8 };
                let Some(mut code) = self.hex(1, digits) else {
                    return Err(self.invalid_escape(start, "Unicode escapes must be \\uXXXX or \\UXXXXXXXX."));
                };
                self.at += 1 + digits;
                // A surrogate pair is two escapes.
                if (0xD800..0xDC00).contains(&code)
                    && self.peek(0) == b'\\'
                    && self.peek(1) == b'u'
                    && let Some(low @ 0xDC00..=0xDFFF) = self.hex(2, 4)
                {
                    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
                    self.at += 6;
                }
                let Some(character) = char::from_u32(code) else {
                    return Err(self.invalid_escape(start, "The escape is not a Unicode character."));
                };
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => {
                let end = self.after_character(self.at);
                bytes.extend_from_slice(&self.bytes[self.at..end]);
                self.at = end;
                return Ok(());
            }
        }
        self.at += 1;
        Ok(())
    }

    fn invalid_escape(&self, start: Location, hint: &str) -> SqlError {
        SqlError::new(SqlState("22025"), "invalid Unicode escape")
            .hint(hint)
            .position(start.column as usize)
    }

    /// The number that `digits` hexadecimal digits from `ahead` are.
    fn hex(&self, ahead: usize, digits: usize) -> Option<u32> {
        let digits = self.bytes.get(self.at + ahead..self.at + ahead + digits)?;
        let digits = std::str::from_utf8(digits).ok()?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        u32::from_str_radix(digits, 16).ok()
    }

    /// The escapes of `U&'...'`: `\XXXX`, `\+XXXXXX`, `\\`.
    fn unicode(&self, text: &str, start: Location) -> Result<String, SqlError> {
        let mut result = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('\\') {
            result += &rest[..at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('\\') {
                result.push('\\');
                rest = after;
                continue;
            }
            let (skip, digits) = if rest.starts_with('+') { (1, 6) } else { (0, 4) };
            let code = rest
                .get(skip..skip + digits)
                .filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
            let character = code
                .and_then(|hex| u32::from_str_radix(hex, 16).ok())
                .and_then(char::from_u32);
            let Some(character) = character else {
                return Err(self.invalid_escape(start, "Unicode escapes must be \\XXXX or \\+XXXXXX."));
            };
            result.push(character);
            rest = &rest[skip + digits..];
        }
        Ok(result + rest)
    }

    fn number(&mut self, start: Location) -> Result<Token, SqlError> {
        let from = self.at;
        self.skip_digits();
        // `1..2` is not a number with a point.
        if self.peek(0) == b'.' && self.peek(1) != b'.' {
            self.at += 1;
            self.skip_digits();
        }
        if matches!(self.peek(0), b'e' | b'E') {
            let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
            if self.peek(1 + sign).is_ascii_digit() {
                self.at += 1 + sign;
                self.skip_digits();
            }
        }
        if is_identifier_byte(self.peek(0)) && self.peek(0) != b'$' {
            let end = self.after_character(self.at);
            return Err(self.error_near("trailing junk after numeric literal", start, end));
        }
        Ok(Token::Number(self.text[from..self.at].to_string(), false))
    }

    fn skip_digits(&mut self) {
        while self.peek(0).is_ascii_digit() {
            self.at += 1;
        }
    }

    /// `$1`, `$$...$$`, `$tag$...$tag$`.
    fn dollar(&mut self, statement: &mut StatementTokens, start: Location) -> Result<Token, SqlError> {
        let from = self.at;
        if self.peek(1).is_ascii_digit() {
            self.at += 1;
            self.skip_digits();
            let digits = &self.text[from + 1..self.at];
            let number = digits.parse::<usize>().unwrap_or(usize::MAX);
            if number == 0 || number > PARAMETERS_MAX {
                return Err(
                    SqlError::new(state::UNDEFINED_PARAMETER, format!("there is no parameter ${digits}"))
                        .position(start.column as usize),
                );
            }
            statement.parameters = statement.parameters.max(number);
            return Ok(Token::Placeholder(format!("${number}")));
        }
        let mut end = from + 1;
        while end < self.bytes.len() && self.bytes[end] != b'$' && is_identifier_byte(self.bytes[end]) {
            end += 1;
        }
        if self.bytes.get(end) != Some(&b'$') {
            return Err(self.error_near("syntax error", start, from + 1));
        }
        let tag = &self.text[from..=end];
        let body = &self.text[end + 1..];
        let Some(length) = body.find(tag) else {
            return Err(self.unterminated("unterminated dollar-quoted string", start));
        };
        self.at = end + 1 + length + tag.len();
        Ok(Token::SingleQuotedString(body[..length].to_string()))
    }

    /// As long as possible, but not into a comment, and not ending in `+` or `-` unless a character that no standard
    /// operator has is in it (so that `1*-2` is two operators).
    fn operator(&mut self) -> Token {
        let from = self.at;
        let mut end = from;
        while end < self.bytes.len() && is_operator_byte(self.bytes[end]) {
            let pair = (self.bytes[end], self.bytes.get(end + 1).copied().unwrap_or(0));
            if end > from && matches!(pair, (b'-', b'-') | (b'/', b'*')) {
                break;
            }
            end += 1;
        }
        let special = |byte: &u8| {
            matches!(
                byte,
                b'~' | b'!' | b'@' | b'#' | b'%' | b'^' | b'&' | b'|' | b'`' | b'?'
            )
        };
        if !self.bytes[from..end].iter().any(special) {
            while end > from + 1 && matches!(self.bytes[end - 1], b'+' | b'-') {
                end -= 1;
            }
        }
        self.at = end;
        operator_token(&self.text[from..end])
    }
}

/// Cuts an identifier to [`IDENTIFIER_BYTES_MAX`], with a notice.
fn cut_identifier(mut name: String, statement: &mut StatementTokens, start: Location) -> String {
    if name.len() <= IDENTIFIER_BYTES_MAX {
        return name;
    }
    let mut end = IDENTIFIER_BYTES_MAX;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    let message = format!("identifier \"{name}\" will be truncated to \"{}\"", &name[..end]);
    statement.notices.push(Notice {
        severity: Severity::Notice,
        report: SqlError::new(NAME_TOO_LONG, message).position(start.column as usize),
    });
    name.truncate(end);
    name
}

fn is_identifier_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

fn is_operator_byte(byte: u8) -> bool {
    matches!(
        byte,
        b'+' | b'-'
            | b'*'
            | b'/'
            | b'<'
            | b'>'
            | b'='
            | b'~'
            | b'!'
            | b'@'
            | b'#'
            | b'%'
            | b'^'
            | b'&'
            | b'|'
            | b'`'
            | b'?'
    )
}

fn operator_token(text: &str) -> Token {
    match text {
        "+" => Token::Plus,
        "-" => Token::Minus,
        "*" => Token::Mul,
        "/" => Token::Div,
        "%" => Token::Mod,
        "^" => Token::Caret,
        "<" => Token::Lt,
        ">" => Token::Gt,
        "=" => Token::Eq,
        "=>" => Token::RArrow,
        "<=" => Token::LtEq,
        ">=" => Token::GtEq,
        "<>" | "!=" => Token::Neq,
        "||" => Token::StringConcat,
        "|" => Token::Pipe,
        "&" => Token::Ampersand,
        "#" => Token::Sharp,
        "##" => Token::DoubleSharp,
        "~" => Token::Tilde,
        "~*" => Token::TildeAsterisk,
        "!~" => Token::ExclamationMarkTilde,
        "!~*" => Token::ExclamationMarkTildeAsterisk,
        "~~" => Token::DoubleTilde,
        "~~*" => Token::DoubleTildeAsterisk,
        "!~~" => Token::ExclamationMarkDoubleTilde,
        "!~~*" => Token::ExclamationMarkDoubleTildeAsterisk,
        "<<" => Token::ShiftLeft,
        ">>" => Token::ShiftRight,
        "&&" => Token::Overlap,
        "!" => Token::ExclamationMark,
        "!!" => Token::DoubleExclamationMark,
        "@" => Token::AtSign,
        "^@" => Token::CaretAt,
        "|/" => Token::PGSquareRoot,
        "||/" => Token::PGCubeRoot,
        "->" => Token::Arrow,
        "->>" => Token::LongArrow,
        "#>" => Token::HashArrow,
        "#>>" => Token::HashLongArrow,
        "@>" => Token::AtArrow,
        "<@" => Token::ArrowAt,
        "#-" => Token::HashMinus,
        "@?" => Token::AtQuestion,
        "@@" => Token::AtAt,
        "?" => Token::Question,
        "?&" => Token::QuestionAnd,
        "?|" => Token::QuestionPipe,
        "@-@" => Token::AtDashAt,
        "?-" => Token::QuestionMarkDash,
        "?#" => Token::QuestionMarkSharp,
        "?-|" => Token::QuestionMarkDashVerticalBar,
        "?||" => Token::QuestionMarkDoubleVerticalBar,
        "&<" => Token::AmpersandLeftAngleBracket,
        "&>" => Token::AmpersandRightAngleBracket,
        "&<|" => Token::AmpersandLeftAngleBracketVerticalBar,
        "|&>" => Token::VerticalBarAmpersandRightAngleBracket,
        "<->" => Token::TwoWayArrow,
        "<^" => Token::LeftAngleBracketCaret,
        ">^" => Token::RightAngleBracketCaret,
        "~=" => Token::TildeEqual,
        "<<|" => Token::ShiftLeftVerticalBar,
        "|>>" => Token::VerticalBarShiftRight,
        _ => Token::CustomBinaryOperator(text.to_string()),
    }
}
