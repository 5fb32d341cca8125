//! The type `"char"`: one byte.
//!
//! One rule: a value is held as the character that has the byte as its number, so that values sort as their bytes do; of the
//! byte 0 nothing is held.

use bytes::BytesMut;

/// The byte that a text stands for: its first, or the one of three octal digits.
pub fn parse(text: &str) -> u8 {
    let octal = |digit: u8| matches!(digit, b'0'..=b'7').then_some(u32::from(digit - b'0'));
    if let [b'\\', first, second, third] = text.as_bytes()
        && let (Some(first), Some(second), Some(third)) = (octal(*first), octal(*second), octal(*third))
    {
        return (first * 64 + second * 8 + third) as u8;
    }
    text.bytes().next().unwrap_or(0)
}

/// The text that a byte is held as.
pub fn held(byte: u8) -> Option<char> {
    (byte != 0).then_some(char::from(byte))
}

/// The byte of a held text.
pub fn byte(held: &str) -> u8 {
    let first = held.chars().next().map_or(0, u32::from);
    u8::try_from(first).unwrap_or_else(|_| parse(held))
}

/// As PostgreSQL shows it: ASCII as it is, other bytes as three octal digits.
pub fn write(held: &str, out: &mut BytesMut) {
    match byte(held) {
        0 => {}
        ascii @ ..0x80 => out.extend_from_slice(&[ascii]),
        high => out.extend_from_slice(format!("\\{high:03o}").as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_read_back() {
        for of_all in 0..=u8::MAX {
            let text: String = held(of_all).into_iter().collect();
            assert_eq!(byte(&text), of_all);
            let mut out = BytesMut::new();
            write(&text, &mut out);
            assert_eq!(parse(std::str::from_utf8(&out).expect("ASCII")), of_all);
        }
        assert_eq!(parse("é"), 0xc3);
        assert_eq!(parse("\\1"), b'\\');
    }
}
