//! Exclusive or of integers: the engine takes `a # a` for 0 where a is NULL.

use super::overload::Kind::Int8;
use super::overload::{Made, Overload, Row, Value};

pub const TABLE: &[Overload] = &[Overload::new("int8xor", &[Int8, Int8], Int8, xor)];

fn xor<'a>(row: &Row<'a>) -> Made<'a> {
    Ok(Value::Int(row.int(0) ^ row.int(1)))
}
