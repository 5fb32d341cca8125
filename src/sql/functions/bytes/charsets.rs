//! Text in other encodings: `convert`, `convert_from`, `convert_to`, `length(bytea, encoding)`.
//!
//! UTF8, SQL_ASCII and LATIN1 are known; PostgreSQL's other encodings are refused by name.

use std::borrow::Cow;

use crate::error::{SqlError, SqlState, state};
use crate::sql::functions::overload::{OverloadValue, Row, RowResult};

const UNTRANSLATABLE: SqlState = SqlState("22P05");

#[derive(Clone, Copy, PartialEq, Eq)]
enum Charset {
    Utf8,
    Ascii,
    Latin1,
}

/// Names of PostgreSQL's encodings, letters and digits only.
const KNOWN: &str = " abc alt big5 euccn eucjis2004 eucjp euckr euctw gb18030 gbk iso88592 iso88593 iso88594 iso88595 \
    iso88596 iso88597 iso88598 iso88599 iso885910 iso885913 iso885914 iso885915 iso885916 johab koi8 koi8r koi8u \
    latin2 latin3 latin4 latin5 latin6 latin7 latin8 latin9 latin10 mskanji muleinternal shiftjis \
    shiftjis2004 sjis tcvn tcvn5712 uhc vscii win win1250 win1251 win1252 win1253 win1254 win1255 win1256 win1257 \
    win1258 win866 win874 win932 win936 win949 win950 windows1250 windows1251 windows1252 windows1253 windows1254 \
    windows1255 windows1256 windows1257 windows1258 windows866 windows874 windows932 windows936 windows949 windows950 ";

fn named(name: &str, what: &str) -> Result<Charset, SqlError> {
    let bare: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    match bare.to_ascii_lowercase().as_str() {
        "utf8" | "unicode" => Ok(Charset::Utf8),
        "sqlascii" => Ok(Charset::Ascii),
        "latin1" | "iso88591" => Ok(Charset::Latin1),
        bare if !bare.is_empty() && KNOWN.contains(&format!(" {bare} ")) => Err(SqlError::unsupported(
            format!("encoding \"{name}\" is not supported"),
            "Use UTF8, LATIN1 or SQL_ASCII.",
        )),
        _ => Err(SqlError::new(
            state::INVALID_PARAMETER_VALUE,
            format!("invalid {what}encoding name \"{name}\""),
        )),
    }
}

/// Bytes that are no character, as PostgreSQL shows them.
fn shown(bytes: &[u8]) -> String {
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("0x{byte:02x}")).collect();
    bytes.join(" ")
}

fn text_of(bytes: &[u8], charset: Charset) -> Result<Cow<'_, str>, SqlError> {
    let refused = |at: usize, length: usize| {
        let name = if charset == Charset::Ascii { "SQL_ASCII" } else { "UTF8" };
        let bytes = &bytes[at..bytes.len().min(at + length)];
        SqlError::new(
            state::CHARACTER_NOT_IN_REPERTOIRE,
            format!("invalid byte sequence for encoding \"{name}\": {}", shown(bytes)),
        )
    };
    if charset == Charset::Latin1 {
        return match bytes.iter().position(|byte| *byte == 0) {
            Some(_) => Err(SqlError::new(
                state::CHARACTER_NOT_IN_REPERTOIRE,
                "invalid byte sequence for encoding \"LATIN1\": 0x00",
            )),
            None => Ok(Cow::Owned(bytes.iter().map(|byte| char::from(*byte)).collect())),
        };
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        // As many bytes as the first one says.
        let length = match bytes[at] {
            0xf0..=0xf7 => 4,
            0xe0..=0xef => 3,
            0xc0..=0xdf => 2,
            _ => 1,
        };
        refused(at, length)
    });
    match text {
        Ok(text) => match text.find('\0') {
            Some(at) => Err(refused(at, 1)),
            None => Ok(Cow::Borrowed(text)),
        },
        Err(error) => match bytes.iter().position(|byte| *byte == 0) {
            Some(zero) if std::str::from_utf8(&bytes[..zero]).is_ok() => Err(refused(zero, 1)),
            _ => Err(error),
        },
    }
}

fn bytes_of(text: &str, charset: Charset) -> Result<Cow<'_, [u8]>, SqlError> {
    if charset != Charset::Latin1 {
        return Ok(Cow::Borrowed(text.as_bytes()));
    }
    let bytes = text.chars().map(|letter| {
        u8::try_from(u32::from(letter)).map_err(|_| {
            let bytes = shown(letter.encode_utf8(&mut [0; 4]).as_bytes());
            SqlError::new(
                UNTRANSLATABLE,
                format!(
                    "character with byte sequence {bytes} in encoding \"UTF8\" has no equivalent in encoding \"LATIN1\""
                ),
            )
        })
    });
    bytes.collect::<Result<Vec<u8>, SqlError>>().map(Cow::Owned)
}

/// `convert_from(bytes, encoding)`
pub fn convert_from<'a>(row: &Row<'a>) -> RowResult<'a> {
    Ok(OverloadValue::Text(text_of(
        row.bytes(0),
        named(row.text(1), "source ")?,
    )?))
}

/// `convert_to(text, encoding)`
pub fn convert_to<'a>(row: &Row<'a>) -> RowResult<'a> {
    Ok(OverloadValue::Bytes(bytes_of(
        row.text(0),
        named(row.text(1), "destination ")?,
    )?))
}

/// `convert(bytes, from, to)`
pub fn convert<'a>(row: &Row<'a>) -> RowResult<'a> {
    let from = named(row.text(1), "source ")?;
    let to = named(row.text(2), "destination ")?;
    let text = text_of(row.bytes(0), from)?;
    Ok(OverloadValue::Bytes(Cow::Owned(bytes_of(&text, to)?.into_owned())))
}

/// `length(bytes, encoding)`
pub fn length<'a>(row: &Row<'a>) -> RowResult<'a> {
    Ok(OverloadValue::Int(match named(row.text(1), "")? {
        Charset::Utf8 => text_of(row.bytes(0), Charset::Utf8)?.chars().count() as i64,
        _ => row.bytes(0).len() as i64,
    }))
}
