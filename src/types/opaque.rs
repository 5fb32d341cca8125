//! Types whose values are only shown: catalogs, EXPLAIN and a few functions have them, columns of users do not.
//!
//! One rule: a value is its text, which nothing but equality looks into. Not here: types with operators of their own.

use std::fmt::Write;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use super::numeric::invalid;
use crate::error::SqlError;

/// A type whose values are held as their text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Opaque {
    NodeTree,
    Inet,
    Xml,
    Aclitem,
    AnyArray,
    Ndistinct,
    Dependencies,
    McvList,
    Snapshot,
    TxidSnapshot,
    JsonPath,
}

impl Opaque {
    /// Each with its name, which `format_type` and `pg_type.typname` share, its OID, its array type's OID, and `typlen`.
    pub(super) const ALL: [(Opaque, &'static str, u32, u32, i16); 11] = [
        (Opaque::NodeTree, "pg_node_tree", 194, 0, -1),
        (Opaque::Inet, "inet", 869, 1041, -1),
        (Opaque::Xml, "xml", 142, 143, -1),
        (Opaque::Aclitem, "aclitem", 1033, 1034, 12),
        (Opaque::AnyArray, "anyarray", 2277, 0, -1),
        (Opaque::Ndistinct, "pg_ndistinct", 3361, 0, -1),
        (Opaque::Dependencies, "pg_dependencies", 3402, 0, -1),
        (Opaque::McvList, "pg_mcv_list", 5017, 0, -1),
        (Opaque::Snapshot, "pg_snapshot", 5038, 5039, -1),
        (Opaque::TxidSnapshot, "txid_snapshot", 2970, 2949, -1),
        (Opaque::JsonPath, "jsonpath", 4072, 4073, -1),
    ];

    pub fn name(self) -> &'static str {
        let mut all = Opaque::ALL.iter();
        all.find(|row| row.0 == self).expect("the list has every one").1
    }

    /// By its name.
    pub fn named(name: &str) -> Option<Opaque> {
        Opaque::ALL.iter().find(|row| row.1 == name).map(|row| row.0)
    }
}

/// A position as two numbers of 32 bits in hexadecimal: `16/B374D848`.
pub(super) fn parse_lsn(text: &str) -> Result<i64, SqlError> {
    let part = |text: &str| match text.len() {
        1..=8 if text.bytes().all(|b| b.is_ascii_hexdigit()) => u32::from_str_radix(text, 16).ok(),
        _ => None,
    };
    let parts = text.split_once('/');
    let (high, low) = parts
        .and_then(|(high, low)| Some((part(high)?, part(low)?)))
        .ok_or_else(|| invalid("pg_lsn", text))?;
    Ok(((u64::from(high) << 32) | u64::from(low)) as i64)
}

pub(super) fn write_lsn(position: i64, out: &mut BytesMut) {
    let position = position as u64;
    write!(out, "{:X}/{:X}", position >> 32, position & 0xffff_ffff).expect("a buffer takes any text");
}

/// A transaction's number as C's `strtoul` reads it: what no digits begin is 0.
pub(super) fn parse_transaction(text: &str) -> u64 {
    let text = text.trim_start();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => (16, hex),
        None if digits.starts_with('0') => (8, digits),
        None => (10, digits),
    };
    let end = digits
        .find(|letter: char| !letter.is_digit(radix))
        .unwrap_or(digits.len());
    let number = match &digits[..end] {
        "" => 0,
        digits => u64::from_str_radix(digits, radix).unwrap_or(u64::MAX),
    };
    if negative { number.wrapping_neg() } else { number }
}

/// An address as its binary form: family, bits of the mask, whether it is a network, length, bytes.
pub(super) fn write_inet_binary(text: &str, out: &mut BytesMut) {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, bits.parse::<u8>().ok()),
        None => (text, None),
    };
    /// PGSQL_AF_INET and PGSQL_AF_INET6.
    const FAMILIES: [u8; 2] = [2, 3];
    let (family, bytes) = match address.parse() {
        Ok(std::net::IpAddr::V4(address)) => (FAMILIES[0], address.octets().to_vec()),
        Ok(std::net::IpAddr::V6(address)) => (FAMILIES[1], address.octets().to_vec()),
        Err(_) => return,
    };
    let length = bytes.len() as u8;
    out.extend_from_slice(&[family, bits.unwrap_or(length * 8), 0, length]);
    out.extend_from_slice(&bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_and_written() {
        for (text, position) in [("0/0", 0), ("16/B374D848", 0x16_b374_d848), ("FFFFFFFF/FFFFFFFF", -1)] {
            assert_eq!(parse_lsn(text).expect("a position"), position);
            let mut out = BytesMut::new();
            write_lsn(position, &mut out);
            assert_eq!(&out[..], text.as_bytes());
        }
        for text in ["", "0", "0/", "/0", "g/0", "0/123456789", " 0/0"] {
            assert!(parse_lsn(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_of_transactions_are_read_as_c_reads_them() {
        for (text, number) in [
            ("1", 1),
            (" 12x", 12),
            ("abc", 0),
            ("", 0),
            ("0x1F", 31),
            ("010", 8),
            ("-1", u64::MAX),
            ("99999999999999999999", u64::MAX),
        ] {
            assert_eq!(parse_transaction(text), number, "{text}");
        }
    }

    #[test]
    fn addresses_have_a_binary_form() {
        let mut out = BytesMut::new();
        write_inet_binary("10.0.0.1", &mut out);
        assert_eq!(&out[..], &[2, 32, 0, 4, 10, 0, 0, 1]);
    }
}
