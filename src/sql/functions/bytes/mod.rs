//! Functions of bytes: pieces, bits, digests, and text in other encodings.
//!
//! One rule: positions and lengths of `substring` and the like count from 1, of `get_byte` and `get_bit` from 0.
//! Not here: `encode` and `decode` (`encodings.rs`).

use md5::{Digest, Md5};
use sha2::{Sha224, Sha256, Sha384, Sha512};

use super::overload::{Overload, OverloadType, OverloadValue, Row, RowResult};
use super::text::bounds;
use crate::error::{SqlError, SqlState, state};
use crate::types::write_hex;

mod charsets;
mod likeness;
mod plain_ascii;

pub use likeness::is_like;

use OverloadType::{Bool, Bytea, Int4, Int8, Text};

pub const TABLE: &[Overload] = &[
    Overload::new("md5", &[Text], Text, |row| Ok(md5_of(row.text(0).as_bytes()).into())),
    Overload::new("md5", &[Bytea], Text, |row| Ok(md5_of(row.bytes(0)).into())),
    Overload::new("sha224", &[Bytea], Bytea, |row| {
        Ok(Sha224::digest(row.bytes(0)).to_vec().into())
    }),
    Overload::new("sha256", &[Bytea], Bytea, |row| {
        Ok(Sha256::digest(row.bytes(0)).to_vec().into())
    }),
    Overload::new("sha384", &[Bytea], Bytea, |row| {
        Ok(Sha384::digest(row.bytes(0)).to_vec().into())
    }),
    Overload::new("sha512", &[Bytea], Bytea, |row| {
        Ok(Sha512::digest(row.bytes(0)).to_vec().into())
    }),
    Overload::new("get_byte", &[Bytea, Int4], Int4, |row| {
        Ok(OverloadValue::Int(
            row.bytes(0)[place(row.int(1), row.bytes(0).len() as i64)?].into(),
        ))
    }),
    Overload::new("set_byte", &[Bytea, Int4, Int4], Bytea, |row| {
        let at = place(row.int(1), row.bytes(0).len() as i64)?;
        let mut bytes = row.bytes(0).to_vec();
        bytes[at] = row.int(2) as u8;
        Ok(bytes.into())
    }),
    Overload::new("get_bit", &[Bytea, Int8], Int4, |row| {
        let at = place(row.int(1), row.bytes(0).len() as i64 * 8)?;
        Ok(OverloadValue::Int(i64::from(row.bytes(0)[at / 8] >> (at % 8) & 1)))
    }),
    Overload::new("set_bit", &[Bytea, Int8, Int4], Bytea, set_bit),
    Overload::new("bit_count", &[Bytea], Int8, |row| {
        let counts = row.bytes(0).iter().map(|byte| i64::from(byte.count_ones()));
        Ok(OverloadValue::Int(counts.sum()))
    }),
    Overload::new("bit_length", &[Bytea], Int4, |row| {
        Ok(OverloadValue::Int(row.bytes(0).len() as i64 * 8))
    }),
    Overload::new("bit_length", &[Text], Int4, |row| {
        Ok(OverloadValue::Int(row.text(0).len() as i64 * 8))
    }),
    Overload::new("length", &[Bytea], Int4, |row| {
        Ok(OverloadValue::Int(row.bytes(0).len() as i64))
    }),
    Overload::new("length", &[Bytea, Text], Int4, charsets::length),
    Overload::new("length", &[Text], Int4, |row| {
        Ok(OverloadValue::Int(row.text(0).chars().count() as i64))
    }),
    Overload::new("substr", &[Bytea, Int4], Bytea, substring),
    Overload::new("substr", &[Bytea, Int4, Int4], Bytea, substring),
    Overload::new("substring", &[Bytea, Int4], Bytea, substring),
    Overload::new("substring", &[Bytea, Int4, Int4], Bytea, substring),
    Overload::new("overlay", &[Bytea, Bytea, Int4], Bytea, overlay),
    Overload::new("overlay", &[Bytea, Bytea, Int4, Int4], Bytea, overlay),
    Overload::new("position", &[Bytea, Bytea], Int4, |row| {
        let found = memchr::memmem::find(row.bytes(0), row.bytes(1));
        Ok(OverloadValue::Int(found.map_or(0, |at| at as i64 + 1)))
    }),
    Overload::new("position", &[Text, Text], Int4, |row| {
        let text = row.text(0);
        let found = text.find(row.text(1));
        Ok(OverloadValue::Int(
            found.map_or(0, |at| text[..at].chars().count() as i64 + 1),
        ))
    }),
    Overload::new("reverse", &[Text], Text, |row| {
        Ok(row.text(0).chars().rev().collect::<String>().into())
    }),
    Overload::new("bytealike", &[Bytea, Bytea], Bool, likeness::like),
    Overload::new("byteanlike", &[Bytea, Bytea], Bool, likeness::not_like),
    Overload::new("like_escape", &[Bytea, Bytea], Bytea, likeness::escaped),
    Overload::new("to_ascii", &[Text], Text, plain_ascii::of_text),
    Overload::new("to_ascii", &[Text, Int4], Text, plain_ascii::of_number),
    Overload::new("to_ascii", &[Text, Text], Text, plain_ascii::of_name),
    Overload::new("convert", &[Bytea, Text, Text], Bytea, charsets::convert),
    Overload::new("convert_from", &[Bytea, Text], Text, charsets::convert_from),
    Overload::new("convert_to", &[Text, Text], Bytea, charsets::convert_to),
];

fn md5_of(bytes: &[u8]) -> String {
    let mut text = Vec::with_capacity(32);
    write_hex(&Md5::digest(bytes), &mut text);
    String::from_utf8(text).expect("digits are ASCII")
}

/// A place below `end`; 2202E if it is not.
fn place(at: i64, end: i64) -> Result<usize, SqlError> {
    match (0..end).contains(&at) {
        true => Ok(at as usize),
        false => Err(SqlError::new(
            SqlState("2202E"),
            format!("index {at} out of valid range, 0..{}", end - 1),
        )),
    }
}

fn set_bit<'a>(row: &Row<'a>) -> RowResult<'a> {
    let at = place(row.int(1), row.bytes(0).len() as i64 * 8)?;
    let mut bytes = row.bytes(0).to_vec();
    match row.int(2) {
        0 => bytes[at / 8] &= !(1 << (at % 8)),
        1 => bytes[at / 8] |= 1 << (at % 8),
        _ => return Err(SqlError::new(state::INVALID_PARAMETER_VALUE, "new bit must be 0 or 1")),
    }
    Ok(bytes.into())
}

fn substring<'a>(row: &Row<'a>) -> RowResult<'a> {
    let bytes = row.bytes(0);
    let range = bounds(row.int(1), (row.len() > 2).then(|| row.int(2)))?;
    Ok(bytes[range.start.min(bytes.len())..range.end.min(bytes.len())].into())
}

fn overlay<'a>(row: &Row<'a>) -> RowResult<'a> {
    let (bytes, inner) = (row.bytes(0), row.bytes(1));
    let (before, after) = super::text::cut(row.int(2), row.int_or(3, inner.len() as i64))?;
    let (before, after) = (&bytes[..before.min(bytes.len())], &bytes[after.min(bytes.len())..]);
    Ok([before, inner, after].concat().into())
}
