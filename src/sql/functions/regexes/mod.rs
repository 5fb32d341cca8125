//! Functions of regular expressions: `regexp_match`, `regexp_replace`, `substring(text from pattern)` and their kind.
//!
//! One rule: every pattern has PostgreSQL's meaning (`syntax.rs`), and the match is the one that PostgreSQL
//! prefers (`program.rs`). Not here: LIKE.

use std::borrow::Cow;

use super::overload::{Overload, OverloadType, OverloadValue, Row, RowResult};
use super::text::{invalid, similar};
use crate::error::SqlError;

pub mod limits;
pub mod program;
mod replaced;
mod syntax;

use OverloadType::{Bool, Int4, Text, TextLists, Texts};
use program::{Program, RegexMatch, Span, compiled};

/// The options of a pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags {
    pub global: bool,
    pub any_case: bool,
    /// `.` and sets of all but some letters do not match a newline.
    pub lines_split: bool,
    /// `^` and `$` match at newlines.
    pub lines_anchor: bool,
    pub expanded: bool,
    pub literal: bool,
}

impl Flags {
    /// Whether there is such an option.
    pub fn set(&mut self, option: char) -> bool {
        match option {
            'g' => self.global = true,
            'i' => self.any_case = true,
            'c' => self.any_case = false,
            'n' | 'm' => (self.lines_split, self.lines_anchor) = (true, true),
            's' => (self.lines_split, self.lines_anchor) = (false, false),
            'p' => (self.lines_split, self.lines_anchor) = (true, false),
            'w' => (self.lines_split, self.lines_anchor) = (false, true),
            'x' => self.expanded = true,
            't' => self.expanded = false,
            'q' => self.literal = true,
            'e' | 'b' => {}
            _ => return false,
        }
        true
    }

    fn parse(options: &str) -> Result<Flags, SqlError> {
        let mut flags = Flags::default();
        for option in options.chars() {
            if !flags.set(option) {
                return Err(invalid(format!("invalid regular expression option: \"{option}\"")));
            }
        }
        Ok(flags)
    }

    /// Those of a function that knows no "global".
    fn once(options: &str, function: &str, instead: Option<&str>) -> Result<Flags, SqlError> {
        let flags = Flags::parse(options)?;
        if !flags.global {
            return Ok(flags);
        }
        let error = invalid(format!("{function}() does not support the \"global\" option"));
        Err(match instead {
            Some(other) => error.hint(format!("Use the {other} function instead.")),
            None => error,
        })
    }
}

pub const TABLE: &[Overload] = &[
    Overload::new("regexp_like", &[Text, Text], Bool, like),
    Overload::new("regexp_like", &[Text, Text, Text], Bool, like),
    Overload::new("regexp_match", &[Text, Text], Texts, first),
    Overload::new("regexp_match", &[Text, Text, Text], Texts, first),
    Overload::new("regexp_matches", &[Text, Text], TextLists, matches),
    Overload::new("regexp_matches", &[Text, Text, Text], TextLists, matches),
    Overload::new("regexp_count", &[Text, Text], Int4, count),
    Overload::new("regexp_count", &[Text, Text, Int4], Int4, count),
    Overload::new("regexp_count", &[Text, Text, Int4, Text], Int4, count),
    Overload::new("regexp_instr", &[Text, Text], Int4, place),
    Overload::new("regexp_instr", &[Text, Text, Int4], Int4, place),
    Overload::new("regexp_instr", &[Text, Text, Int4, Int4], Int4, place),
    Overload::new("regexp_instr", &[Text, Text, Int4, Int4, Int4], Int4, place),
    Overload::new("regexp_instr", &[Text, Text, Int4, Int4, Int4, Text], Int4, place),
    Overload::new("regexp_instr", &[Text, Text, Int4, Int4, Int4, Text, Int4], Int4, place),
    Overload::new("regexp_substr", &[Text, Text], Text, piece),
    Overload::new("regexp_substr", &[Text, Text, Int4], Text, piece),
    Overload::new("regexp_substr", &[Text, Text, Int4, Int4], Text, piece),
    Overload::new("regexp_substr", &[Text, Text, Int4, Int4, Text], Text, piece),
    Overload::new("regexp_substr", &[Text, Text, Int4, Int4, Text, Int4], Text, piece),
    Overload::new("regexp_split_to_array", &[Text, Text], Texts, |row| {
        split(row, "regexp_split_to_array")
    }),
    Overload::new("regexp_split_to_array", &[Text, Text, Text], Texts, |row| {
        split(row, "regexp_split_to_array")
    }),
    Overload::new("regexp_split_to_table", &[Text, Text], Texts, |row| {
        split(row, "regexp_split_to_table")
    }),
    Overload::new("regexp_split_to_table", &[Text, Text, Text], Texts, |row| {
        split(row, "regexp_split_to_table")
    }),
    Overload::new("regexp_replace", &[Text, Text, Text], Text, replaced::plain),
    Overload::new("regexp_replace", &[Text, Text, Text, Text], Text, replaced::plain),
    Overload::new("regexp_replace", &[Text, Text, Text, Int4], Text, replaced::extended),
    Overload::new(
        "regexp_replace",
        &[Text, Text, Text, Int4, Int4],
        Text,
        replaced::extended,
    ),
    Overload::new(
        "regexp_replace",
        &[Text, Text, Text, Int4, Int4, Text],
        Text,
        replaced::extended,
    ),
    Overload::new("substring", &[Text, Text], Text, |row| inner(row.text(0), row.text(1))),
    Overload::new("substring", &[Text, Text, Text], Text, |row| {
        inner(row.text(0), &similar(row.text(1), Some(row.text(2)))?)
    }),
];

/// Matches one after another, from a byte on. An empty one is followed by another letter.
struct Matches<'a> {
    program: &'a Program,
    text: &'a str,
    next: Option<usize>,
}

impl<'a> Matches<'a> {
    fn new(program: &'a Program, text: &'a str, from: usize) -> Matches<'a> {
        Matches {
            program,
            text,
            next: Some(from),
        }
    }
}

impl Iterator for Matches<'_> {
    type Item = RegexMatch;

    fn next(&mut self) -> Option<RegexMatch> {
        let found = self.program.find(self.text, self.next?)?;
        let (start, end) = whole(&found);
        self.next = match start == end {
            false => Some(end),
            true => self.text[end..].chars().next().map(|letter| end + letter.len_utf8()),
        };
        Some(found)
    }
}

fn whole(found: &RegexMatch) -> Span {
    found[0].expect("a match has a whole")
}

/// The groups of a match, or the whole if there are none.
fn captured<'a>(text: &'a str, found: &RegexMatch) -> Vec<Option<Cow<'a, str>>> {
    let kept = if found.len() > 1 { &found[1..] } else { &found[..] };
    kept.iter()
        .map(|span| span.map(|(start, end)| Cow::Borrowed(&text[start..end])))
        .collect()
}

/// A parameter that counts from 1.
fn counted(row: &Row, at: usize, name: &str) -> Result<usize, SqlError> {
    match row.int_or(at, 1) {
        value @ 1.. => Ok(value as usize),
        value => Err(refused(name, value)),
    }
}

fn refused(name: &str, value: i64) -> SqlError {
    invalid(format!("invalid value for parameter \"{name}\": {value}"))
}

/// The byte at which a letter begins, counted from 1; `None` past the end.
fn byte_of(text: &str, letter: usize) -> Option<usize> {
    text.char_indices()
        .map(|(at, _)| at)
        .chain(std::iter::once(text.len()))
        .nth(letter - 1)
}

fn like<'a>(row: &Row<'a>) -> RowResult<'a> {
    let flags = Flags::once(row.text_if(2).unwrap_or(""), "regexp_like", None)?;
    Ok(OverloadValue::Bool(compiled(row.text(1), flags)?.is_match(row.text(0))))
}

fn first<'a>(row: &Row<'a>) -> RowResult<'a> {
    let flags = Flags::once(row.text_if(2).unwrap_or(""), "regexp_match", Some("regexp_matches"))?;
    let found = compiled(row.text(1), flags)?.find(row.text(0), 0);
    Ok(found.map_or(OverloadValue::Null, |found| {
        OverloadValue::Texts(captured(row.text(0), &found))
    }))
}

fn matches<'a>(row: &Row<'a>) -> RowResult<'a> {
    let flags = Flags::parse(row.text_if(2).unwrap_or(""))?;
    let global = flags.global;
    let program = compiled(row.text(1), Flags { global: false, ..flags })?;
    let text = row.text(0);
    let most = if global { usize::MAX } else { 1 };
    let found = Matches::new(&program, text, 0).take(most);
    Ok(OverloadValue::TextLists(
        found.map(|found| captured(text, &found)).collect(),
    ))
}

fn count<'a>(row: &Row<'a>) -> RowResult<'a> {
    let start = counted(row, 2, "start")?;
    let flags = Flags::once(row.text_if(3).unwrap_or(""), "regexp_count", None)?;
    let program = compiled(row.text(1), flags)?;
    let Some(from) = byte_of(row.text(0), start) else {
        return Ok(OverloadValue::Int(0));
    };
    Ok(OverloadValue::Int(
        Matches::new(&program, row.text(0), from).count() as i64
    ))
}

/// The n-th match from a letter on, and the span of a group of it, 0 for the whole.
fn nth(row: &Row, start: usize, n: usize, flags: Flags, group: usize) -> Result<Option<Span>, SqlError> {
    let program = compiled(row.text(1), flags)?;
    if group > program.groups {
        return Ok(None);
    }
    let Some(from) = byte_of(row.text(0), start) else {
        return Ok(None);
    };
    let found = Matches::new(&program, row.text(0), from).nth(n - 1);
    Ok(found.and_then(|found| found[group]))
}

fn place<'a>(row: &Row<'a>) -> RowResult<'a> {
    let start = counted(row, 2, "start")?;
    let n = counted(row, 3, "n")?;
    let after = match row.int_or(4, 0) {
        0 => false,
        1 => true,
        other => return Err(refused("endoption", other)),
    };
    let group = match row.int_or(6, 0) {
        group @ 0.. => group as usize,
        other => return Err(refused("subexpr", other)),
    };
    let flags = Flags::once(row.text_if(5).unwrap_or(""), "regexp_instr", None)?;
    let found = nth(row, start, n, flags, group)?;
    Ok(OverloadValue::Int(found.map_or(0, |(start, end)| {
        let at = if after { end } else { start };
        row.text(0)[..at].chars().count() as i64 + 1
    })))
}

fn piece<'a>(row: &Row<'a>) -> RowResult<'a> {
    let start = counted(row, 2, "start")?;
    let n = counted(row, 3, "n")?;
    let group = match row.int_or(5, 0) {
        group @ 0.. => group as usize,
        other => return Err(refused("subexpr", other)),
    };
    let flags = Flags::once(row.text_if(4).unwrap_or(""), "regexp_substr", None)?;
    let found = nth(row, start, n, flags, group)?;
    Ok(found.map_or(OverloadValue::Null, |(start, end)| row.text(0)[start..end].into()))
}

/// Between matches. Empty ones at the ends of the text or right after another do not count.
fn split<'a>(row: &Row<'a>, function: &str) -> RowResult<'a> {
    let flags = Flags::once(row.text_if(2).unwrap_or(""), function, None)?;
    let program = compiled(row.text(1), flags)?;
    let text = row.text(0);
    let mut pieces = Vec::new();
    let mut from = 0;
    for found in Matches::new(&program, text, 0) {
        let (start, end) = whole(&found);
        if start < text.len() && end > from {
            pieces.push(Some(Cow::Borrowed(&text[from..start])));
            from = end;
        }
    }
    pieces.push(Some(Cow::Borrowed(&text[from..])));
    Ok(OverloadValue::Texts(pieces))
}

/// `substring(text from pattern)`: the first group, or the whole if there is none.
fn inner<'a>(text: &'a str, pattern: &str) -> RowResult<'a> {
    let program = compiled(pattern, Flags::default())?;
    let found = program.find(text, 0);
    let span = found.and_then(|found| if found.len() > 1 { found[1] } else { found[0] });
    Ok(span.map_or(OverloadValue::Null, |(start, end)| text[start..end].into()))
}
