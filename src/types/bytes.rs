//! BYTEA, UUID and BOOLEAN as text.

use bytes::{BufMut, BytesMut};

use super::numeric::{invalid, is_blank};
use crate::error::{SqlError, state};
use crate::stop;

const HEX: &[u8; 16] = b"0123456789abcdef";

fn nibble(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Bytes read between two looks at whether to go on.
const CHUNK: usize = 1 << 20;

/// Reads `\x0a0b` (blanks between bytes allowed) and the escape format (`a\\b\001`), onto the end of `out`.
pub fn parse_bytea(text: &str, out: &mut Vec<u8>) -> Result<(), SqlError> {
    match text.strip_prefix("\\x") {
        Some(hex) => read_hex(hex, out),
        None => read_escape(text.as_bytes(), out),
    }
}

/// Reads pairs of hexadecimal digits (blanks between pairs allowed), onto the end of `out`.
pub fn read_hex(text: &str, out: &mut Vec<u8>) -> Result<(), SqlError> {
    let mut high = None;
    for (at, byte) in text.bytes().enumerate() {
        if at % CHUNK == 0 {
            stop::check()?;
        }
        if high.is_none() && matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
            continue;
        }
        let Some(value) = nibble(byte) else {
            let shown = text[at..].chars().next().unwrap_or('?');
            return Err(SqlError::new(
                state::INVALID_PARAMETER_VALUE,
                format!("invalid hexadecimal digit: \"{shown}\""),
            ));
        };
        match high.take() {
            None => high = Some(value),
            Some(high) => out.push(high << 4 | value),
        }
    }
    match high {
        None => Ok(()),
        Some(_) => Err(SqlError::new(
            state::INVALID_PARAMETER_VALUE,
            "invalid hexadecimal data: odd number of digits",
        )),
    }
}

/// Reads the escape format, onto the end of `out`.
pub fn read_escape(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), SqlError> {
    let (mut at, mut look) = (0, 0);
    while at < bytes.len() {
        if at >= look {
            stop::check()?;
            look = at + CHUNK;
        }
        match &bytes[at..] {
            [b'\\', b'\\', ..] => {
                out.push(b'\\');
                at += 2;
            }
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                at += 4;
            }
            [b'\\', ..] => {
                return Err(SqlError::new(
                    state::INVALID_TEXT_REPRESENTATION,
                    "invalid input syntax for type bytea",
                ));
            }
            [byte, ..] => {
                out.push(*byte);
                at += 1;
            }
            [] => break,
        }
    }
    Ok(())
}

/// Two hexadecimal digits for each byte.
pub fn write_hex(value: &[u8], out: &mut impl BufMut) {
    for byte in value {
        out.put_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

/// `\x0a0b`, or with `hex` off the escape format.
pub fn write_bytea(value: &[u8], hex: bool, out: &mut BytesMut) {
    if hex {
        out.reserve(2 + value.len() * 2);
        out.extend_from_slice(b"\\x");
        write_hex(value, out);
        return;
    }
    for byte in value {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x20..=0x7e => out.put_u8(*byte),
            _ => out.extend_from_slice(&[b'\\', b'0' + (byte >> 6), b'0' + (byte >> 3 & 7), b'0' + (byte & 7)]),
        }
    }
}

/// Bytes of a canonical UUID text.
pub const UUID_TEXT: usize = 36;

/// Reads a UUID in the forms that PostgreSQL takes: any case, braces, a hyphen after any group of four digits.
pub fn parse_uuid(text: &str) -> Result<[u8; 16], SqlError> {
    let fail = || invalid("uuid", text);
    let bytes = match text.as_bytes() {
        [b'{', inside @ .., b'}'] => inside,
        [b'{', ..] => return Err(fail()),
        all => all,
    };
    let mut value = [0_u8; 16];
    let mut digits = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte == b'-' && digits % 4 == 0 && digits > 0 && digits < 32 && bytes[at - 1] != b'-' {
            continue;
        }
        let nibble = nibble(*byte).ok_or_else(fail)?;
        if digits == 32 {
            return Err(fail());
        }
        value[digits / 2] |= if digits % 2 == 0 { nibble << 4 } else { nibble };
        digits += 1;
    }
    if digits == 32 { Ok(value) } else { Err(fail()) }
}

/// The canonical lower-case form.
pub fn uuid_text(value: &[u8; 16]) -> [u8; UUID_TEXT] {
    let mut text = [b'-'; UUID_TEXT];
    let mut at = 0;
    for (index, byte) in value.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = HEX[usize::from(byte >> 4)];
        text[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
    }
    text
}

/// Reads a BOOLEAN: any unambiguous start of true, false, yes, no; on, off; 1, 0.
pub fn parse_bool(text: &str) -> Result<bool, SqlError> {
    match text {
        "t" | "true" | "1" => return Ok(true),
        "f" | "false" | "0" => return Ok(false),
        _ => {}
    }
    let word = text.trim_matches(is_blank);
    let starts = |full: &str| {
        !word.is_empty()
            && full
                .as_bytes()
                .get(..word.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
    };
    if starts("true") || starts("yes") || word.eq_ignore_ascii_case("on") || word == "1" {
        Ok(true)
    } else if starts("false") || starts("no") || (word.len() >= 2 && starts("off")) || word == "0" {
        Ok(false)
    } else {
        Err(invalid("boolean", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytea(text: &str) -> Result<Vec<u8>, SqlError> {
        let mut out = Vec::new();
        parse_bytea(text, &mut out).map(|()| out)
    }

    #[test]
    fn bytea_has_two_forms() {
        assert_eq!(bytea("\\x00fF 10"), Ok(vec![0, 255, 16]));
        assert_eq!(bytea("a\\\\b\\001\\377"), Ok(vec![b'a', b'\\', b'b', 1, 255]));
        assert_eq!(bytea("\\x0").expect_err("odd").state.0, "22023");
        assert_eq!(
            bytea("\\xzz").expect_err("no digit").message,
            "invalid hexadecimal digit: \"z\""
        );
        assert_eq!(
            bytea("a\\b").expect_err("no escape").message,
            "invalid input syntax for type bytea"
        );
        let mut out = BytesMut::new();
        write_bytea(&[0, 255, b'a'], true, &mut out);
        assert_eq!(&out[..], b"\\x00ff61");
        out.clear();
        write_bytea(&[0, 255, b'a', b'\\'], false, &mut out);
        assert_eq!(&out[..], b"\\000\\377a\\\\");
    }

    #[test]
    fn uuids_become_canonical() {
        let canonical = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        for text in [
            canonical,
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
        ] {
            let value = parse_uuid(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(&uuid_text(&value)[..], canonical.as_bytes());
        }
        for text in [
            "",
            "x",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
            "{a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a-0eebc999c0b4ef8bb6d6bb9bd380a11",
        ] {
            assert_eq!(
                parse_uuid(text).expect_err(text).message,
                format!("invalid input syntax for type uuid: \"{text}\"")
            );
        }
    }

    #[test]
    fn booleans_have_many_words() {
        for text in ["t", "TRUE", "tru", "y", "yes", "on", "1", " true "] {
            assert_eq!(parse_bool(text), Ok(true), "{text}");
        }
        for text in ["f", "False", "n", "no", "off", "of", "0"] {
            assert_eq!(parse_bool(text), Ok(false), "{text}");
        }
        for text in ["", "o", "2", "truer", "maybe"] {
            assert_eq!(parse_bool(text).expect_err(text).state.0, "22P02");
        }
    }
}
