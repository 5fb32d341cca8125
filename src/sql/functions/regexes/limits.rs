//! Limits of a pattern before it is compiled.
//!
//! One rule: no pattern reaches a compiler unchecked (2201B). The compiler bounds its program, but not its intermediate
//! results: they take about the length of the pattern, and much more for sets of letters that match in any case.

use crate::error::{SqlError, state};

/// Bytes of a pattern.
pub const PATTERN_BYTES_MAX: usize = 64 << 10;
/// Bytes that all sets of letters of a pattern may take while it is compiled, by [`set_bytes`].
const SETS_BYTES_MAX: usize = 64 << 20;

pub fn too_complex() -> SqlError {
    SqlError::new(
        state::INVALID_REGULAR_EXPRESSION,
        "invalid regular expression: regular expression is too complex",
    )
}

/// 2201B for a pattern that takes too much to compile.
pub fn check(pattern: &str) -> Result<(), SqlError> {
    if pattern.len() > PATTERN_BYTES_MAX || sets_bytes(pattern) > SETS_BYTES_MAX {
        return Err(too_complex());
    }
    Ok(())
}

/// Bytes that the sets of letters of a pattern take while it is compiled, about. It may be matched in any case.
fn sets_bytes(pattern: &str) -> usize {
    /// A property such as `\p{L}`, a class such as `\w`.
    const CLASS_BYTES: usize = 16 << 10;
    /// A set that goes beyond ASCII, with every letter's other cases.
    const WIDE_SET_BYTES: usize = 128 << 10;
    const NARROW_SET_BYTES: usize = 512;
    let mut bytes = 0;
    let mut rest = pattern.as_bytes();
    let mut depth = 0usize;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        bytes += match first {
            b'\\' => {
                let class = rest.first().copied().unwrap_or(b' ');
                rest = rest.get(1..).unwrap_or(&[]);
                match class {
                    b'w' | b'W' | b'd' | b'D' | b's' | b'S' | b'p' | b'P' if depth > 0 => WIDE_SET_BYTES,
                    b'w' | b'W' | b'd' | b'D' | b's' | b'S' | b'p' | b'P' => CLASS_BYTES,
                    // `\x{2FFF}`: the end of a range.
                    b'x' | b'u' | b'U' if depth > 0 => WIDE_SET_BYTES,
                    _ => 0,
                }
            }
            b'[' => {
                depth += 1;
                // All but some letters is beyond ASCII too.
                if rest.first() == Some(&b'^') {
                    WIDE_SET_BYTES
                } else {
                    NARROW_SET_BYTES
                }
            }
            b']' => {
                depth = depth.saturating_sub(1);
                0
            }
            byte if !byte.is_ascii() && depth > 0 => WIDE_SET_BYTES / 4,
            _ => 0,
        };
    }
    bytes
}
