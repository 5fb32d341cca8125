//! `to_ascii`: letters with accents as letters without.
//!
//! One rule: the bytes of a text are taken to be of the encoding that is named, whatever they are; one that the encoding has no
//! plain letter for becomes a blank.

use crate::error::{SqlError, state};
use crate::sql::functions::overload::{OverloadValue, Row, RowResult};

/// PostgreSQL's encodings by their numbers.
const NAMES: [&str; 42] = [
    "SQL_ASCII",
    "EUC_JP",
    "EUC_CN",
    "EUC_KR",
    "EUC_TW",
    "EUC_JIS_2004",
    "UTF8",
    "MULE_INTERNAL",
    "LATIN1",
    "LATIN2",
    "LATIN3",
    "LATIN4",
    "LATIN5",
    "LATIN6",
    "LATIN7",
    "LATIN8",
    "LATIN9",
    "LATIN10",
    "WIN1256",
    "WIN1258",
    "WIN866",
    "WIN874",
    "KOI8R",
    "WIN1251",
    "WIN1252",
    "ISO_8859_5",
    "ISO_8859_6",
    "ISO_8859_7",
    "ISO_8859_8",
    "WIN1250",
    "WIN1253",
    "WIN1254",
    "WIN1255",
    "WIN1257",
    "KOI8U",
    "SJIS",
    "BIG5",
    "GBK",
    "UHC",
    "GB18030",
    "JOHAB",
    "SHIFT_JIS_2004",
];

/// Other names of some, letters and digits only.
const ALIASES: [(&str, &str); 18] = [
    ("alt", "WIN866"),
    ("iso88591", "LATIN1"),
    ("iso88592", "LATIN2"),
    ("iso88593", "LATIN3"),
    ("iso88594", "LATIN4"),
    ("iso88599", "LATIN5"),
    ("iso885910", "LATIN6"),
    ("iso885913", "LATIN7"),
    ("iso885914", "LATIN8"),
    ("iso885915", "LATIN9"),
    ("iso885916", "LATIN10"),
    ("koi8", "KOI8R"),
    ("mskanji", "SJIS"),
    ("tcvn", "WIN1258"),
    ("unicode", "UTF8"),
    ("win", "WIN1251"),
    ("windows1250", "WIN1250"),
    ("windows1252", "WIN1252"),
];

/// The first byte of a table, and the letters from it on.
type Letters = (u8, &'static str);

const LATIN1: Letters = (
    160,
    "  cL Y  \"Ca  -R     'u .,      ?AAAAAAACEEEEIIII NOOOOOxOUUUUYTBaaaaaaaceeeeiiii nooooo/ouuuuyty",
);
const LATIN2: Letters = (
    160,
    " A L LS \"SSTZ-ZZ a,l'ls ,sstz\"zzRAAAALCCCEEEEIIDDNNOOOOxRUUUUYTBraaaalccceeeeiiddnnoooo/ruuuuyt.",
);
const LATIN9: Letters = (
    160,
    "  cL YS sCa  -R     Zu .z   EeY?AAAAAAACEEEEIIII NOOOOOxOUUUUYTBaaaaaaaceeeeiiii nooooo/ouuuuyty",
);
const WIN1250: Letters = (
    128,
    "  ' \"    %S<STZZ `'\"\".--  s>stzz   L A  \"CS  -RZ  ,l'u .,as L\"lzRAAAALCCCEEEEIIDDNNOOOOxRUUUUYTBraaaalccceeeeiiddnnoooo/ruuuuyt ",
);

fn bare(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

fn plain<'a>(text: &str, encoding: &str) -> RowResult<'a> {
    let (first, letters) = match encoding {
        "LATIN1" => LATIN1,
        "LATIN2" => LATIN2,
        "LATIN9" => LATIN9,
        "WIN1250" => WIN1250,
        other => {
            return Err(SqlError::new(
                state::FEATURE_NOT_SUPPORTED,
                format!("encoding conversion from {other} to ASCII not supported"),
            ));
        }
    };
    let plain = text.bytes().map(|byte| match byte.checked_sub(first) {
        _ if byte.is_ascii() => char::from(byte),
        Some(place) => letters
            .as_bytes()
            .get(usize::from(place))
            .map_or(' ', |letter| char::from(*letter)),
        None => ' ',
    });
    Ok(OverloadValue::Text(plain.collect::<String>().into()))
}

/// `to_ascii(text)`: the text's own encoding has letters of all scripts.
pub fn of_text<'a>(row: &Row<'a>) -> RowResult<'a> {
    plain(row.text(0), "UTF8")
}

/// `to_ascii(text, name)`
pub fn of_name<'a>(row: &Row<'a>) -> RowResult<'a> {
    let given = row.text(1);
    let name = bare(given);
    let alias = ALIASES
        .iter()
        .find(|(alias, _)| *alias == name)
        .map(|(_, known)| *known);
    let known = alias.or_else(|| NAMES.into_iter().find(|known| bare(known) == name));
    let known = known.ok_or_else(|| {
        let message = format!("{given} is not a valid encoding name");
        SqlError::new(state::UNDEFINED_OBJECT, message)
    });
    plain(row.text(0), known?)
}

/// `to_ascii(text, number)`
pub fn of_number<'a>(row: &Row<'a>) -> RowResult<'a> {
    let number = row.int(1);
    let known = usize::try_from(number).ok().and_then(|number| NAMES.get(number));
    let known = known.ok_or_else(|| {
        let message = format!("{number} is not a valid encoding code");
        SqlError::new(state::UNDEFINED_OBJECT, message)
    });
    plain(row.text(0), known?)
}
