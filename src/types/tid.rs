//! The text form of a TID: the place of a row as `(block,number)`.
//!
//! One rule: a value is the number of the block times 2^16 plus the number there, so that places are in order as numbers are.

use super::numeric::invalid;
use crate::error::SqlError;

/// No row is at this place: it stands for the place of a row that has none yet.
pub const NOWHERE: i64 = (u32::MAX as i64) << 16;

pub fn parse(text: &str) -> Result<i64, SqlError> {
    let malformed = || invalid("tid", text);
    let inside = text.trim_start().strip_prefix('(').ok_or_else(malformed)?;
    let (block, rest) = inside.split_once(',').ok_or_else(malformed)?;
    let (number, _) = rest.split_once(')').ok_or_else(malformed)?;
    // PostgreSQL reads the block as C's strtoul: -1 is the largest.
    let block: i64 = block.trim_start().parse().map_err(|_| malformed())?;
    let block = match block {
        negative if (i64::from(i32::MIN)..0).contains(&negative) => i64::from(negative as i32 as u32),
        positive => i64::from(u32::try_from(positive).map_err(|_| malformed())?),
    };
    let number: u16 = number.trim_start().parse().map_err(|_| malformed())?;
    Ok(block << 16 | i64::from(number))
}

pub fn text(place: i64) -> String {
    format!("({},{})", place >> 16, place & 0xffff)
}
