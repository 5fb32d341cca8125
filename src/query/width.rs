//! The estimated width of a query's rows, which decides the number of rows of a batch.
//!
//! One rule: it changes memory and batches, never results. Operators count rows when they join batches, so wide rows come in
//! batches of few, which fit Arrow's 31-bit offsets.

use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::GroupingSet;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::Physical;
use super::scan::ScanExec;
use super::shared::SharedExec;
use crate::sql::functions::growth::{SLICE_BYTES, width};
use crate::sql::shared;

/// Bytes that a group takes for each of its columns, and once more for itself, about.
const GROUP_BYTES: u64 = 16;

/// Bytes that a row's expressions make, at the widest place of the plan.
pub fn of_expressions(plan: &LogicalPlan) -> Result<u64> {
    let mut widest = 0;
    shared::apply(plan, |node| {
        if let LogicalPlan::Values(_) = node {
            return Ok(TreeNodeRecursion::Continue);
        }
        let mut row = 0u64;
        node.apply_expressions(|expr| {
            row = row.saturating_add(width(expr)?);
            Ok(TreeNodeRecursion::Continue)
        })?;
        if let LogicalPlan::Aggregate(aggregate) = node {
            let bytes = GROUP_BYTES * aggregate.group_expr_len()? as u64 + GROUP_BYTES;
            row = row.saturating_add(groupings(&aggregate.group_expr).saturating_mul(bytes));
        }
        widest = widest.max(row);
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(widest)
}

/// Groups that a row may begin, beside the first: an aggregate counts its memory after each batch.
fn groupings(group_by: &[Expr]) -> u64 {
    let each = group_by.iter().map(|expr| match expr {
        Expr::GroupingSet(GroupingSet::Cube(of)) => 1u64.checked_shl(of.len() as u32).unwrap_or(u64::MAX),
        Expr::GroupingSet(GroupingSet::Rollup(of)) => of.len() as u64 + 1,
        Expr::GroupingSet(GroupingSet::GroupingSets(sets)) => sets.len() as u64,
        _ => 1,
    });
    each.fold(1, u64::saturating_mul).saturating_sub(1)
}

/// Bytes of a row that is read, of the relation with the widest ones.
pub fn of_scans(plan: &Physical) -> Result<u64> {
    let mut widest = 0;
    let bodies = SharedExec::all_of(plan)?.into_iter().map(|shared| shared.body);
    for part in bodies.chain([plan.clone()]) {
        part.apply(|node| {
            if let Some(scan) = node.downcast_ref::<ScanExec>() {
                widest = widest.max(scan.row_bytes());
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    Ok(widest)
}

/// Rows of a batch, `usual` unless they are wide.
pub fn batch_rows(usual: usize, row_bytes: u64) -> usize {
    match usize::try_from(SLICE_BYTES / row_bytes.max(1)) {
        Ok(rows) => rows.clamp(1, usual),
        Err(_) => usual,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::col;

    use super::*;

    #[test]
    fn rows_that_begin_many_groups_come_in_small_batches() {
        let columns: Vec<Expr> = (0..12).map(|n| col(format!("c{n}"))).collect();
        let cube = Expr::GroupingSet(GroupingSet::Cube(columns.clone()));
        assert_eq!(groupings(&columns), 0);
        assert_eq!(groupings(std::slice::from_ref(&cube)), 4095);
        assert_eq!(groupings(&[cube, columns[0].clone()]), 4095);
        let rollup = Expr::GroupingSet(GroupingSet::Rollup(columns.clone()));
        assert_eq!(groupings(&[rollup]), 12);
        assert_eq!(
            groupings(&[Expr::GroupingSet(GroupingSet::GroupingSets(vec![columns, vec![]]))]),
            1
        );
    }

    #[test]
    fn wide_rows_come_in_small_batches() {
        assert_eq!(batch_rows(8192, 0), 8192);
        assert_eq!(batch_rows(8192, 1024), 8192);
        assert_eq!(batch_rows(8192, 300_000), 27);
        assert_eq!(batch_rows(8192, 1 << 30), 1);
    }
}
