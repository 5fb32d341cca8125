//! Exclusive or of integers: the engine takes `a # a` for 0 where a is NULL.

use super::overload::OverloadType::Int8;
use super::overload::{Overload, OverloadValue, Row, RowResult};

pub const TABLE: &[Overload] = &[Overload::new("int8xor", &[Int8, Int8], Int8, xor)];

fn xor<'a>(row: &Row<'a>) -> RowResult<'a> {
    Ok(OverloadValue::Int(row.int(0) ^ row.int(1)))
}
