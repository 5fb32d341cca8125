//! CHAR(n): blanks at its end count in no comparison and in no text that is made of it, but everywhere else.
//!
//! One rule: a value of CHAR(n) is kept without its blanks and shown with them. One of BPCHAR, which has no length, has
//! its blanks in it: they are added when a CHAR(n) becomes one, and taken off when it is compared or becomes a text.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use super::kinds;
use super::typed::{Ty, Typed, literal};
use super::{Analyzer, Result};
use crate::types::PgType;

impl Analyzer<'_> {
    /// A value as it is compared: without blanks at its end.
    pub fn bare(&self, typed: Typed) -> Typed {
        if !matches!(typed.ty, Ty::Of(PgType::Char(0))) {
            return typed;
        }
        let expr = match typed.expr {
            Expr::Literal(ScalarValue::Utf8(Some(text)), _) => {
                let text = text.trim_end_matches(' ').to_string();
                literal(ScalarValue::Utf8(Some(text)), &PgType::Char(0))
            }
            null @ Expr::Literal(..) => null,
            value => {
                let trim = self.scalar("rtrim").expect("it is a function of ours");
                let blank = Expr::Literal(ScalarValue::Utf8(Some(" ".to_string())), None);
                trim.call(vec![value, blank])
            }
        };
        Typed { expr, ..typed }
    }

    /// A value of CHAR(n) with its blanks in it.
    pub fn padded(&self, typed: Typed) -> Result<Typed> {
        let Ty::Of(PgType::Char(length @ 1..)) = typed.ty else {
            return Ok(typed);
        };
        let position = typed.position;
        let length = super::number::integer(i64::from(length), position);
        let bare = Typed::new(typed.expr, PgType::Text, position);
        let padded = self.named_call("rpad", vec![bare, length], position)?;
        Ok(Typed::new(padded.expr, PgType::Char(0), position))
    }

    /// Both sides of a comparison.
    pub fn both_bare(&self, left: Typed, right: Typed) -> (Typed, Typed) {
        match left.oid() == kinds::BPCHAR && right.oid() == kinds::BPCHAR {
            true => (self.bare(left), self.bare(right)),
            false => (left, right),
        }
    }
}
