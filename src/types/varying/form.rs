//! NUMERIC of any scale as bytes that sort as the numbers do.
//!
//! One rule: equal numbers have equal bytes up to the scale, which is last; so a column can be compared, grouped and
//! joined by [`key`] without being decoded.
//!
//! ```text
//! head      one byte: sign, and the power of 100 of the first pair of digits; three bytes more where it is far from 0
//! pairs     two decimal digits a byte, 2 * pair + 1, the last one 2 * pair; no pair of zeros at either end
//! scale     one byte, or two: the low byte, then 0x80 + the high byte
//! ```
//!
//! Of a negative number the head and the pairs are inverted. 0, NaN and the infinities are a head alone.

use num_bigint::{BigInt, Sign};

use super::{Numeric, power};
use crate::types::decimal::{self, Decimal};

const MINUS_INFINITY: u8 = 0x01;
const ZERO: u8 = 0x80;
const INFINITY: u8 = 0xfe;
const NAN: u8 = 0xff;
/// Heads of positive numbers: one for each power near 0, one for all that are smaller, one for all that are larger.
const LOW: u8 = 0x81;
const NEAREST: u8 = 0xb8;
const HIGH: u8 = 0xef;
/// Powers from -NEAR to NEAR have a head of their own.
const NEAR: u32 = 0x36;
/// Added to a power that is written in three bytes.
const FAR: i32 = 1 << 23;
/// The longest scale that one byte holds.
const SHORT_SCALE: u32 = 0x7f;

/// The part of an encoded number that says its value.
pub fn key(encoded: &[u8]) -> &[u8] {
    match encoded {
        [key @ .., _, 0x80..=0xff] => key,
        [key @ .., _] => key,
        [] => encoded,
    }
}

fn put_scale(scale: u32, out: &mut Vec<u8>) {
    match scale {
        0..=SHORT_SCALE => out.push(scale as u8),
        _ => out.extend([scale as u8, 0x80 | (scale >> 8) as u8]),
    }
}

/// Writes pairs of digits, the first not 0 and the last not 0, of which the first counts 100^`power`.
fn put_pairs(negative: bool, pairs: &[u8], power: i32, out: &mut Vec<u8>) {
    let start = out.len();
    match power.unsigned_abs() <= NEAR {
        true => out.push((i32::from(NEAREST) + power) as u8),
        false => {
            out.push(if power < 0 { LOW } else { HIGH });
            out.extend(&(power + FAR).to_be_bytes()[1..]);
        }
    }
    let last = pairs.len() - 1;
    out.extend(pairs[..last].iter().map(|pair| pair * 2 + 1));
    out.push(pairs[last] * 2);
    if negative {
        for byte in &mut out[start..] {
            *byte = !*byte;
        }
    }
}

fn put_small(value: i128, scale: u32, out: &mut Vec<u8>) {
    if value == 0 {
        out.push(ZERO);
        return;
    }
    // Pairs from the end: a point between the digits of one moves it.
    let mut rest = value.unsigned_abs();
    let mut buffer = [0_u8; 21];
    let mut at = buffer.len();
    let mut push = |pair: u8| {
        at -= 1;
        buffer[at] = pair;
    };
    if !scale.is_multiple_of(2) {
        push((rest % 10) as u8 * 10);
        rest /= 10;
    }
    while rest > u128::from(u64::MAX) {
        push((rest % 100) as u8);
        rest /= 100;
    }
    let mut rest = rest as u64;
    while rest > 0 {
        push((rest % 100) as u8);
        rest /= 100;
    }
    let mut end = buffer.len();
    let power = (end - at) as i32 - 1 - scale.div_ceil(2) as i32;
    while buffer[end - 1] == 0 {
        end -= 1;
    }
    put_pairs(value < 0, &buffer[at..end], power, out);
}

fn put_large(number: &Decimal, out: &mut Vec<u8>) {
    let mut digits = number.value.magnitude().to_string();
    if !number.scale.is_multiple_of(2) {
        digits.push('0');
    }
    if !digits.len().is_multiple_of(2) {
        digits.insert(0, '0');
    }
    let mut pairs: Vec<u8> = digits
        .as_bytes()
        .chunks_exact(2)
        .map(|pair| (pair[0] - b'0') * 10 + (pair[1] - b'0'))
        .collect();
    let power = pairs.len() as i32 - 1 - number.scale.div_ceil(2) as i32;
    while pairs.last() == Some(&0) {
        pairs.pop();
    }
    match pairs.is_empty() {
        true => out.push(ZERO),
        false => put_pairs(number.is_negative(), &pairs, power, out),
    }
}

impl Numeric {
    /// Appends the bytes of the value, without its scale.
    pub fn put_key(&self, out: &mut Vec<u8>) {
        match self {
            Numeric::MinusInfinity => out.push(MINUS_INFINITY),
            Numeric::Small { value, scale } => put_small(*value, *scale, out),
            Numeric::Large(number) => put_large(number, out),
            Numeric::Infinity => out.push(INFINITY),
            Numeric::NaN => out.push(NAN),
        }
    }

    /// Appends its form in bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.put_key(out);
        put_scale(self.scale(), out);
    }

    pub fn encoded(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        bytes
    }

    /// A number from its form in bytes. Bytes that are none of one are NaN.
    pub fn decode(encoded: &[u8]) -> Numeric {
        let key = key(encoded);
        let scale = match &encoded[key.len()..] {
            [low, high] => u32::from(*low) | u32::from(high & 0x7f) << 8,
            [scale] => u32::from(*scale),
            _ => 0,
        };
        let (negative, flip) = match key.first() {
            Some(&MINUS_INFINITY) => return Numeric::MinusInfinity,
            Some(&ZERO) => return Numeric::Small { value: 0, scale },
            Some(&INFINITY) => return Numeric::Infinity,
            None | Some(&NAN) => return Numeric::NaN,
            Some(head) if *head < ZERO => (true, 0xff),
            Some(_) => (false, 0),
        };
        let head = key[0] ^ flip;
        let (power, pairs) = match (head, key) {
            (LOW | HIGH, [_, a, b, c, pairs @ ..]) => {
                let power = u32::from_be_bytes([0, a ^ flip, b ^ flip, c ^ flip]);
                (power as i32 - FAR, pairs)
            }
            (LOW | HIGH, _) => return Numeric::NaN,
            (_, [_, pairs @ ..]) => (i32::from(head) - i32::from(NEAREST), pairs),
            (_, []) => return Numeric::NaN,
        };
        // Two digits for each pair after the first, and those that the scale has after the last.
        let shift = (power + 1 - pairs.len() as i32) * 2 + scale as i32;
        let pair = |byte: &u8| (byte ^ flip) >> 1;
        const PAIRS_MAX: usize = 18;
        if pairs.len() <= PAIRS_MAX {
            let value = pairs.iter().fold(0_u64, |value, byte| {
                value.wrapping_mul(100).wrapping_add(u64::from(pair(byte)))
            });
            let value = match pairs.len() {
                ..=9 => i128::from(value),
                _ => pairs
                    .iter()
                    .fold(0_i128, |value, byte| value * 100 + i128::from(pair(byte))),
            };
            let value = match shift {
                ..0 => Some(value / power_of(shift)),
                _ => self::power(shift as u32).and_then(|power| value.checked_mul(power)),
            };
            if let Some(value) = value {
                let value = if negative { -value } else { value };
                return Numeric::Small { value, scale };
            }
        }
        let digits: Vec<u8> = pairs
            .iter()
            .flat_map(|byte| {
                let pair = pair(byte);
                [pair / 10 % 10, pair % 10]
            })
            .collect();
        let sign = if negative { Sign::Minus } else { Sign::Plus };
        let value = BigInt::from_radix_be(sign, &digits, 10).unwrap_or_default();
        let ten = decimal::power_of_ten(shift.unsigned_abs());
        let value = if shift < 0 { value / ten } else { value * ten };
        Decimal { value, scale }.into()
    }
}

fn power_of(shift: i32) -> i128 {
    power(shift.unsigned_abs()).unwrap_or(i128::MAX)
}
