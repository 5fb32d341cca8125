//! Functions of text: pieces, padding, quoting, splitting.
//!
//! One rule: positions and lengths count letters, from 1. Not here: `trims.rs`, regular expressions (`regexes`), bytes
//! (`bytes`), functions with arguments of any type (`variadic.rs`).

use super::overload::{Overload, OverloadType, OverloadValue};
use crate::error::{SqlError, SqlState, state};

mod letters;
pub mod quoting;
mod slices;
mod splits;
mod unicode;

use OverloadType::{Bool, Int4, Int8, Text, Texts};

pub use quoting::similar;
pub use slices::{bounds, cut};

pub const SUBSTRING: SqlState = SqlState("22011");

pub fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(state::INVALID_PARAMETER_VALUE, message)
}

pub const TABLE: &[Overload] = &[
    Overload::new("left", &[Text, Int4], Text, |row| {
        Ok(slices::left(row.text(0), row.int(1)).into())
    }),
    Overload::new("right", &[Text, Int4], Text, |row| {
        Ok(slices::right(row.text(0), row.int(1)).into())
    }),
    Overload::new("substr", &[Text, Int4], Text, slices::substring),
    Overload::new("substr", &[Text, Int4, Int4], Text, slices::substring),
    Overload::new("substring", &[Text, Int4], Text, slices::substring),
    Overload::new("substring", &[Text, Int4, Int4], Text, slices::substring),
    Overload::new("overlay", &[Text, Text, Int4], Text, slices::overlay),
    Overload::new("overlay", &[Text, Text, Int4, Int4], Text, slices::overlay),
    Overload::new("lpad", &[Text, Int4], Text, |row| slices::pad(row, true)),
    Overload::new("lpad", &[Text, Int4, Text], Text, |row| slices::pad(row, true)),
    Overload::new("rpad", &[Text, Int4], Text, |row| slices::pad(row, false)),
    Overload::new("rpad", &[Text, Int4, Text], Text, |row| slices::pad(row, false)),
    Overload::new("repeat", &[Text, Int4], Text, |row| {
        Ok(row.text(0).repeat(row.int(1).max(0) as usize).into())
    }),
    Overload::new("split_part", &[Text, Text, Int4], Text, splits::part),
    Overload::of_nulls("string_to_array", &[Text, Text], Texts, splits::array),
    Overload::of_nulls("string_to_array", &[Text, Text, Text], Texts, splits::array),
    Overload::of_nulls("string_to_table", &[Text, Text], Texts, splits::array),
    Overload::of_nulls("string_to_table", &[Text, Text, Text], Texts, splits::array),
    Overload::new("parse_ident", &[Text], Texts, splits::identifier),
    Overload::new("parse_ident", &[Text, Bool], Texts, splits::identifier),
    Overload::new("translate", &[Text, Text, Text], Text, letters::translate),
    Overload::new("replace", &[Text, Text, Text], Text, letters::replace),
    Overload::new("initcap", &[Text], Text, |row| Ok(letters::initcap(row.text(0)).into())),
    Overload::new("ascii", &[Text], Int4, |row| {
        Ok(OverloadValue::Int(
            row.text(0).chars().next().map_or(0, |letter| letter as i64),
        ))
    }),
    Overload::new("to_hex", &[Int4], Text, |row| {
        Ok(format!("{:x}", row.int(0) as i32).into())
    }),
    Overload::new("to_hex", &[Int8], Text, |row| Ok(format!("{:x}", row.int(0)).into())),
    Overload::new("quote_ident", &[Text], Text, |row| {
        Ok(quoting::identifier(row.text(0)).into())
    }),
    Overload::new("like_escape", &[Text, Text], Text, |row| {
        Ok(quoting::like_escape(row.text(0), row.text(1))?.into())
    }),
    Overload::of_nulls("similar_escape", &[Text, Text], Text, |row| match row.text_if(0) {
        Some(pattern) => Ok(quoting::similar(pattern, Some(row.text_if(1).unwrap_or("\\")))?.into()),
        None => Ok(OverloadValue::Null),
    }),
    Overload::new("similar_to_escape", &[Text], Text, |row| {
        Ok(quoting::similar(row.text(0), None)?.into())
    }),
    Overload::new("similar_to_escape", &[Text, Text], Text, |row| {
        Ok(quoting::similar(row.text(0), Some(row.text(1)))?.into())
    }),
    Overload::new("unistr", &[Text], Text, |row| {
        Ok(unicode::unescaped(row.text(0))?.into())
    }),
    Overload::new("normalize", &[Text], Text, unicode::normalize),
    Overload::new("normalize", &[Text, Text], Text, unicode::normalize),
    Overload::new("is_normalized", &[Text], Bool, unicode::is_normalized),
    Overload::new("is_normalized", &[Text, Text], Bool, unicode::is_normalized),
];
