//! About how many bytes an expression makes for one row, before any row comes.
//!
//! One rule: it decides how many rows a batch has, and nothing else. The run meets the sizes that it does not foresee.

use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::Expr;

use super::estimate::{Growth, scalar_bytes, whole};

/// Bytes of a column, a number or a time.
const USUAL_BYTES: u64 = 32;
/// Repetitions that are assumed if no literal gives the number.
const USUAL_TIMES: u64 = 16;

/// Bytes of the largest value that is made on the way to the expression's.
pub fn width(expr: &Expr) -> Result<u64> {
    let mut most = 0;
    expr.apply(|node| {
        if matches!(node, Expr::ScalarFunction(_) | Expr::Literal(..)) {
            most = most.max(bytes(node));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(most)
}

/// Bytes of the expression's value.
fn bytes(expr: &Expr) -> u64 {
    let sum = |args: &[Expr]| args.iter().fold(0u64, |sum, arg| sum.saturating_add(bytes(arg)));
    let times = |arg: Option<&Expr>| match arg {
        Some(Expr::Literal(value, _)) => whole(value).map_or(0, |times| times.max(0) as u64),
        _ => USUAL_TIMES,
    };
    match expr {
        Expr::Literal(value, _) => scalar_bytes(value),
        Expr::Alias(alias) => bytes(&alias.expr),
        Expr::ScalarFunction(call) => {
            let args = call.args.as_slice();
            // Asked at most once for each call: twice would double with each level of calls in calls.
            let first = || args.first().map_or(0, bytes);
            match Growth::of(call.func.name()) {
                Some(Growth::Repeat) => first().saturating_mul(times(args.get(1))),
                Some(Growth::Pad) => times(args.get(1)),
                Some(Growth::Series) => match args {
                    [from, to, ..] => times(Some(to)).saturating_sub(times(Some(from))).saturating_mul(8),
                    _ => times(args.first()).saturating_mul(8),
                },
                Some(Growth::RegexOther) => USUAL_BYTES,
                _ => sum(args),
            }
        }
        _ => USUAL_BYTES,
    }
}
