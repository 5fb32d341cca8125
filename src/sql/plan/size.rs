//! The depth of a plan, and its nodes counted as a tree: everything after the planner walks it as one.
//!
//! One rule: the count uses no recursion and visits a shared node once. It refuses a plan too deep or too large
//! (54001) before anything recurses over it or copies its shared parts. A chain of CTEs or views that each read the one
//! before twice is a short text, a small graph, and a tree of 2^n nodes.

use std::collections::HashMap;

use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::doubling;
use super::subquery::subquery;
use crate::depth::{DEPTH_MAX, too_deep};
use crate::error::{SqlError, state};
use crate::sql::shared::{self, SharedQuery};

/// Most nodes of a plan as a tree, expressions aside: each is visited some hundred times on its way to running.
pub const NODES_MAX: u64 = 10_000;

/// Levels of queries in expressions of one another: the engine checks each of them once more for each query around it,
/// so its time doubles with each level.
const SUBQUERIES_MAX: usize = 12;

/// 54001 for a plan past the limits, its expressions and their subqueries included.
pub fn check(plan: &LogicalPlan) -> Result<(), SqlError> {
    let mut known = SizeByPlan::new();
    let mut nodes = 0u64;
    for shared in shared::all_of(plan)? {
        nodes = nodes.saturating_add(measure(&shared.body, &mut known)?.nodes);
    }
    let size = measure(plan, &mut known)?;
    if size.depth > DEPTH_MAX {
        return Err(too_deep(
            "Nest the queries and expressions of the statement less deeply.",
        ));
    }
    if size.subqueries > SUBQUERIES_MAX {
        return Err(too_deep(format!(
            "Queries in expressions (EXISTS, IN, scalar subqueries) nest {SUBQUERIES_MAX} levels. Use joins or CTEs in \
             place of some."
        )));
    }
    if size.nodes.saturating_add(nodes) > NODES_MAX {
        return Err(too_many_steps());
    }
    for part in shared::parts(plan)? {
        doubling::check(&part)?;
    }
    Ok(())
}

/// 54001 for a plan of more than [`NODES_MAX`] nodes.
pub fn too_many_steps() -> SqlError {
    SqlError::new(state::STATEMENT_TOO_COMPLEX, "statement too complex")
        .detail(format!(
            "With its CTEs and views in place it reads, joins and filters in more than {NODES_MAX} steps."
        ))
        .hint("Read a CTE or view fewer times, or make it a materialized view.")
}

/// Nodes of a plan as a tree.
pub fn nodes(plan: &LogicalPlan) -> Result<u64, SqlError> {
    Ok(measure(plan, &mut SizeByPlan::new())?.nodes)
}

#[derive(Clone, Copy, Default)]
struct Size {
    depth: usize,
    nodes: u64,
    /// Levels of queries in expressions.
    subqueries: usize,
}

/// Sizes of measured plans, by address: a shared plan exists once, and nothing moves meanwhile.
type SizeByPlan = HashMap<*const LogicalPlan, Size>;

/// Queries in expressions stand in brackets, or are views: they nest no deeper than the parser and the provider let them, so
/// these alone are measured by recursion.
fn measure<'a>(plan: &'a LogicalPlan, known: &mut SizeByPlan) -> Result<Size> {
    let mut open: Vec<(&'a LogicalPlan, bool)> = vec![(plan, false)];
    while let Some((node, inputs_known)) = open.pop() {
        if known.contains_key(&std::ptr::from_ref(node)) {
            continue;
        }
        let inputs = node.inputs();
        if !inputs_known {
            open.push((node, true));
            open.extend(inputs.into_iter().map(|input| (input, false)));
            continue;
        }
        let mut size = own_size(node, known)?;
        for input in inputs {
            size.take_in(known[&std::ptr::from_ref(input)], 1);
        }
        // Bodies are measured by themselves, before: they count once, but run within one another.
        if let Some(shared) = SharedQuery::of(node) {
            let below = measure(&shared.body, known)?;
            size.depth += below.depth;
            size.subqueries = below.subqueries;
        }
        known.insert(std::ptr::from_ref(node), size);
    }
    Ok(known[&std::ptr::from_ref(plan)])
}

impl Size {
    /// Adds a size from that number of levels below.
    fn take_in(&mut self, below: Size, level: usize) {
        self.depth = self.depth.max(level + below.depth);
        self.nodes = self.nodes.saturating_add(below.nodes);
        self.subqueries = self.subqueries.max(below.subqueries);
    }
}

/// A node with its own expressions and their queries, without its inputs.
fn own_size(node: &LogicalPlan, known: &mut SizeByPlan) -> Result<Size> {
    let mut size = Size {
        depth: 1,
        nodes: 1,
        subqueries: 0,
    };
    node.apply_expressions(|expr| {
        let mut levels: Vec<(&Expr, usize)> = vec![(expr, 2)];
        while let Some((expr, level)) = levels.pop() {
            size.depth = size.depth.max(level);
            if let Some(subquery) = subquery(expr) {
                let mut below = measure(subquery, known)?;
                below.subqueries += 1;
                size.take_in(below, level);
            }
            expr.apply_children(|child| {
                levels.push((child, level + 1));
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(size)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::logical_expr::{LogicalPlanBuilder, lit};

    use super::*;

    fn one_row() -> LogicalPlan {
        LogicalPlanBuilder::empty(true).build().expect("an empty plan")
    }

    #[test]
    fn what_is_shared_counts_each_time_it_is_read() {
        let mut plan = one_row();
        for level in 0..12 {
            let named = |side: &str| {
                let shared = LogicalPlanBuilder::from(plan.clone());
                let aliased = shared.alias(format!("{side}{level}")).expect("an alias");
                aliased.build().expect("it builds")
            };
            let left = LogicalPlanBuilder::from(named("l"));
            plan = left
                .cross_join(named("r"))
                .expect("it joins")
                .build()
                .expect("it builds");
        }
        let size = measure(&plan, &mut SizeByPlan::new()).expect("it is measured");
        assert_eq!((size.depth, size.nodes), (25, 4 * 4096 - 3));
        let error = check(&plan).expect_err("a tree of 2^12 leaves");
        assert_eq!(
            (error.state.0, error.message.as_str()),
            ("54001", "statement too complex")
        );
    }

    #[test]
    fn expressions_and_their_subqueries_count() {
        crate::depth::on_stack(|| {
            let mut expr = lit(1);
            for _ in 0..500 {
                expr = expr + lit(1);
            }
            let inner = LogicalPlanBuilder::from(one_row())
                .project([expr])
                .expect("it projects");
            let inner = Arc::new(inner.build().expect("it builds"));
            check(&inner).expect("it is not too deep");
            let size = measure(&inner, &mut SizeByPlan::new()).expect("it is measured");
            assert_eq!((size.depth, size.nodes), (502, 2));
            let mut outer = datafusion::logical_expr::scalar_subquery(inner);
            for _ in 0..500 {
                outer = outer + lit(1);
            }
            let outer = LogicalPlanBuilder::from(one_row())
                .project([outer])
                .expect("it projects");
            let error = check(&outer.build().expect("it builds")).expect_err("it is too deep");
            assert_eq!(
                (error.state.0, error.message.as_str()),
                ("54001", "stack depth limit exceeded")
            );
        });
    }
}
