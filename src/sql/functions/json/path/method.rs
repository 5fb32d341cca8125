//! Methods of a path's items: `.type()`, `.size()`, `.double()`, `.keyvalue()` and their kind.

use std::rc::Rc;

use super::item::JsonItem;
use super::run::{ARRAY_NOT_FOUND, Base, FoundItems, OBJECT_NOT_FOUND, PathResult, PathRun, again, missing, of_number};
use super::tree::{Method, PathStep};
use crate::error::SqlState;
use crate::types::decimal::Decimal;
use crate::types::float::parse_f64;
use crate::types::json::number;

const NON_NUMERIC: SqlState = SqlState("22036");

impl PathRun<'_> {
    pub fn method(
        &self,
        method: Method,
        rest: &[PathStep],
        item: &Rc<JsonItem>,
        found: FoundItems,
    ) -> PathResult<bool> {
        let name = method.name();
        match method {
            Method::Type => self.next(rest, &Rc::new(JsonItem::Text(item.type_name().into())), found),
            Method::Size => {
                let size = match &**item {
                    JsonItem::Array(items) => items.len(),
                    _ if self.lax => 1,
                    _ if self.forgiving.get() => return Ok(false),
                    _ => {
                        let message = format!("jsonpath item method .{name}() can only be applied to an array");
                        return missing(ARRAY_NOT_FOUND, message);
                    }
                };
                self.next(rest, &of_number(size.to_string()), found)
            }
            Method::Double => {
                let made = double(item)?;
                self.next(rest, &made, found)
            }
            Method::Ceiling | Method::Floor | Method::Abs => {
                let JsonItem::Number(digits) = &**item else {
                    let message = format!("jsonpath item method .{name}() can only be applied to a numeric value");
                    return missing(NON_NUMERIC, message);
                };
                let value = Decimal::parse(digits);
                let made = match method {
                    Method::Ceiling => value.ceiling(),
                    Method::Floor => value.floor(),
                    _ => value.absolute(),
                };
                self.next(rest, &of_number(made.text()), found)
            }
            Method::KeyValue => self.key_value(rest, item, found),
        }
    }

    /// An object of its own for each member.
    fn key_value(&self, rest: &[PathStep], item: &Rc<JsonItem>, mut found: FoundItems) -> PathResult<bool> {
        let JsonItem::Object(members) = &**item else {
            let message = "jsonpath item method .keyvalue() can only be applied to an object";
            return missing(OBJECT_NOT_FOUND, message);
        };
        let id = of_number(self.base.borrow().id_of(item).to_string());
        let mut any = false;
        for (key, value) in members {
            let made = Rc::new(JsonItem::Object(vec![
                ("id".into(), id.clone()),
                ("key".into(), Rc::new(JsonItem::Text(key.clone()))),
                ("value".into(), value.clone()),
            ]));
            let base = Base::new(&made, self.last_id.get());
            self.last_id.set(self.last_id.get() + 1);
            any |= self.with_base(base, || self.next(rest, &made, again(&mut found)))?;
            if any && found.is_none() {
                break;
            }
        }
        Ok(any)
    }
}

/// `.double()`: a number that DOUBLE PRECISION can hold, or a text of one.
fn double(item: &Rc<JsonItem>) -> PathResult<Rc<JsonItem>> {
    match &**item {
        JsonItem::Number(digits) => match digits.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(item.clone()),
            _ => missing(
                NON_NUMERIC,
                "numeric argument of jsonpath item method .double() is out of range for type double precision",
            ),
        },
        JsonItem::Text(text) => match parse_f64(text) {
            Ok(value) if value.is_finite() => {
                // The digits that surely are those of the value, without zeros behind them.
                let written = format!("{value:.14e}");
                let (mantissa, exponent) = written.split_once('e').expect("the format writes an exponent");
                let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
                Ok(of_number(number(&format!("{mantissa}e{exponent}"))?))
            }
            _ => missing(
                NON_NUMERIC,
                "string argument of jsonpath item method .double() is not a valid representation of a double \
                 precision number",
            ),
        },
        _ => missing(
            NON_NUMERIC,
            "jsonpath item method .double() can only be applied to a string or numeric value",
        ),
    }
}
