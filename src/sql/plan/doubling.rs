//! Expressions that double: each query names a column of the one below twice, and the optimizer writes it out both times.
//!
//! One rule: the size of every expression with those below in the place of its columns is known before anything is
//! written out, and past [`GROWTH_MAX`] it is 54001. Like `size.rs`, each node is visited once, without recursion.

use std::collections::HashMap;
use std::rc::Rc;

use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::subquery::subquery;
use crate::error::{SqlError, state};
use crate::sql::error::external;

/// Operators and calls that an expression may grow by. The optimizer takes some 10 us for each.
const GROWTH_MAX: u64 = 50_000;

/// Columns that stand for larger expressions, by name, and the size of these. Of two columns of a name the
/// larger one counts.
type Large = Rc<HashMap<String, u64>>;
type LargeByPlan = HashMap<*const LogicalPlan, Large>;

/// 54001 for a plan with an expression that grows too much. The plan has passed `size::check`.
pub fn check(plan: &LogicalPlan) -> Result<()> {
    visit(plan, &mut LargeByPlan::new())
}

/// Queries in expressions nest a few levels, these alone are visited by recursion.
fn visit(plan: &LogicalPlan, known: &mut LargeByPlan) -> Result<()> {
    let mut open = vec![(plan, false)];
    while let Some((node, inputs_known)) = open.pop() {
        if known.contains_key(&std::ptr::from_ref(node)) {
            continue;
        }
        if !inputs_known {
            crate::sql::functions::go_on()?;
            open.push((node, true));
            open.extend(node.inputs().into_iter().map(|input| (input, false)));
            continue;
        }
        let below = below(node, known);
        let mut made = HashMap::new();
        let mut at = 0;
        node.apply_expressions(|expr| {
            let size = measure(expr, &below, known)?;
            if size > 1
                && let Some(name) = output_name(node, at)
            {
                made.insert(name.to_string(), size);
            }
            at += 1;
            Ok(TreeNodeRecursion::Continue)
        })?;
        let makes = matches!(node, LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_));
        known.insert(std::ptr::from_ref(node), if makes { Rc::new(made) } else { below });
    }
    Ok(())
}

/// The large ones among the columns that a node's expressions may name.
fn below(node: &LogicalPlan, known: &LargeByPlan) -> Large {
    let inputs = node.inputs();
    let large = |input: &LogicalPlan| known[&std::ptr::from_ref(input)].clone();
    if let [input] = inputs.as_slice() {
        return large(input);
    }
    let mut all: HashMap<String, u64> = HashMap::new();
    for input in inputs {
        let large = large(input);
        for (at, field) in input.schema().fields().iter().enumerate() {
            let Some(size) = large.get(field.name()) else { continue };
            // Columns of a UNION go by place.
            let name = match node {
                LogicalPlan::Union(union) => union.schema.field(at).name(),
                _ => field.name(),
            };
            let most = all.entry(name.clone()).or_default();
            *most = (*most).max(*size);
        }
    }
    Rc::new(all)
}

/// The column that an expression of a node is written out for. Aggregates are not.
fn output_name(node: &LogicalPlan, at: usize) -> Option<&str> {
    match node {
        LogicalPlan::Projection(projection) => Some(projection.schema.field(at).name()),
        LogicalPlan::Aggregate(aggregate) => {
            let grouped = at < aggregate.group_expr.len();
            let sets = aggregate
                .group_expr
                .iter()
                .any(|expr| matches!(expr, Expr::GroupingSet(_)));
            (grouped && !sets).then(|| aggregate.schema.field(at).name().as_str())
        }
        _ => None,
    }
}

/// Operators, calls and columns of an expression, with those of the expressions that its columns stand for. A list of
/// literals does not count.
fn measure(expr: &Expr, below: &Large, known: &mut LargeByPlan) -> Result<u64> {
    let (mut written, mut whole) = (0u64, 0u64);
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        match expr {
            Expr::Literal(..) => continue,
            Expr::Alias(_) => {}
            Expr::Column(column) => {
                written += 1;
                whole = whole.saturating_add(below.get(&column.name).copied().unwrap_or(1));
            }
            _ => {
                written += 1;
                whole = whole.saturating_add(1);
            }
        }
        if let Some(subquery) = subquery(expr) {
            visit(subquery, known)?;
        }
        expr.apply_children(|child| {
            open.push(child);
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    if whole.saturating_sub(written) > GROWTH_MAX {
        return Err(external(too_large()));
    }
    Ok(whole)
}

fn too_large() -> SqlError {
    SqlError::new(state::STATEMENT_TOO_COMPLEX, "statement too complex")
        .detail(format!(
            "With what its columns are computed from in their place, an expression has more than {GROWTH_MAX} parts."
        ))
        .hint("Name columns that queries below compute less often, or make one of these a materialized view.")
}
