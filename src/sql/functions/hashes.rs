//! PostgreSQL's hash functions: `hashtext('jobs')` is the key of an advisory lock to many programs.
//!
//! One rule: the numbers are PostgreSQL's on little-endian machines (Bob Jenkins' lookup3, as `hash_bytes` has it).

use super::overload::OverloadType::{Int4, Int8, Text};
use super::overload::{Overload, OverloadValue};

pub const TABLE: &[Overload] = &[
    Overload::new("hashtext", &[Text], Int4, |row| {
        Ok(plain(bytes(row.text(0).as_bytes(), 0).1))
    }),
    Overload::new("hashname", &[Text], Int4, |row| {
        Ok(plain(bytes(row.text(0).as_bytes(), 0).1))
    }),
    Overload::new("hashtextextended", &[Text, Int8], Int8, |row| {
        Ok(extended(bytes(row.text(0).as_bytes(), row.int(1) as u64)))
    }),
    Overload::new("hashint2", &[Int4], Int4, |row| {
        Ok(plain(number(row.int(0) as u32, 0).1))
    }),
    Overload::new("hashint4", &[Int4], Int4, |row| {
        Ok(plain(number(row.int(0) as u32, 0).1))
    }),
    Overload::new("hashoid", &[Int8], Int4, |row| {
        Ok(plain(number(row.int(0) as u32, 0).1))
    }),
    Overload::new("hashint8", &[Int8], Int4, |row| {
        Ok(plain(number(folded(row.int(0)), 0).1))
    }),
    Overload::new("hashint4extended", &[Int4, Int8], Int8, |row| {
        Ok(extended(number(row.int(0) as u32, row.int(1) as u64)))
    }),
    Overload::new("hashint8extended", &[Int8, Int8], Int8, |row| {
        Ok(extended(number(folded(row.int(0)), row.int(1) as u64)))
    }),
];

fn plain<'a>(hash: u32) -> OverloadValue<'a> {
    OverloadValue::Int(i64::from(hash as i32))
}

fn extended<'a>((high, low): (u32, u32)) -> OverloadValue<'a> {
    OverloadValue::Int(((u64::from(high) << 32) | u64::from(low)) as i64)
}

/// 32 bits of a number of 64, the same for one that 32 bits hold.
fn folded(value: i64) -> u32 {
    let (low, high) = (value as u32, (value >> 32) as u32);
    low ^ if value >= 0 { high } else { !high }
}

fn mix(a: &mut u32, b: &mut u32, c: &mut u32) {
    for (x, y, z, turn) in [
        (0, 2, 1, 4),
        (1, 0, 2, 6),
        (2, 1, 0, 8),
        (0, 2, 1, 16),
        (1, 0, 2, 19),
        (2, 1, 0, 4),
    ] {
        let mut all = [*a, *b, *c];
        all[x] = all[x].wrapping_sub(all[y]);
        all[x] ^= all[y].rotate_left(turn);
        all[y] = all[y].wrapping_add(all[z]);
        [*a, *b, *c] = all;
    }
}

fn last(mut a: u32, mut b: u32, mut c: u32) -> (u32, u32) {
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    c = (c ^ b).wrapping_sub(b.rotate_left(24));
    (b, c)
}

/// The initial values of the three words.
fn begin(length: usize, seed: u64) -> (u32, u32, u32) {
    let start = 0x9e37_79b9_u32.wrapping_add(length as u32).wrapping_add(3_923_095);
    let (mut a, mut b, mut c) = (start, start, start);
    if seed != 0 {
        a = a.wrapping_add((seed >> 32) as u32);
        b = b.wrapping_add(seed as u32);
        mix(&mut a, &mut b, &mut c);
    }
    (a, b, c)
}

fn bytes(key: &[u8], seed: u64) -> (u32, u32) {
    let (mut a, mut b, mut c) = begin(key.len(), seed);
    let word = |bytes: &[u8]| {
        let all = bytes.iter().take(4).enumerate();
        all.fold(0_u32, |word, (at, byte)| word | u32::from(*byte) << (8 * at))
    };
    let mut blocks = key.chunks_exact(12);
    for block in &mut blocks {
        a = a.wrapping_add(word(&block[..4]));
        b = b.wrapping_add(word(&block[4..8]));
        c = c.wrapping_add(word(&block[8..]));
        mix(&mut a, &mut b, &mut c);
    }
    let rest = blocks.remainder();
    let part = |from: usize| word(rest.get(from..).unwrap_or_default());
    a = a.wrapping_add(part(0));
    b = b.wrapping_add(part(4));
    // The lowest byte of the last word is for the length.
    c = c.wrapping_add(part(8) << 8);
    last(a, b, c)
}

fn number(value: u32, seed: u64) -> (u32, u32) {
    let (a, b, c) = begin(size_of::<u32>(), seed);
    last(a.wrapping_add(value), b, c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_postgresqls() {
        let text = |text: &str| bytes(text.as_bytes(), 0).1 as i32;
        for (key, hash) in [
            ("x", 1_074_944_137),
            ("", -1_477_818_771),
            ("hello world, this is long", -1_137_652_777),
            ("über", 690_680_912),
            ("123456789012", -2_102_057_603),
            ("1234567890123", 437_480_032),
        ] {
            assert_eq!(text(key), hash, "{key}");
        }
        for (value, hash) in [(1, -1_905_060_026), (-1, 385_747_274), (10_000_000_000, -1_011_884_460)] {
            assert_eq!(number(folded(value), 0).1 as i32, hash, "{value}");
        }
    }
}
