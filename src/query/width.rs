//! About how wide the rows of a query are: it decides how many of them a batch has.
//!
//! One rule: it changes memory and batches, never results. Operators count rows when they join batches, so wide rows come in
//! batches of few, which fit Arrow's 31-bit offsets.

use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::LogicalPlan;

use super::engine::Physical;
use super::scan::ScanExec;
use crate::sql::functions::growth::{SLICE_BYTES, width};

/// Bytes that a row's expressions make, at the widest place of the plan.
pub fn of_expressions(plan: &LogicalPlan) -> Result<u64> {
    let mut widest = 0;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Values(_) = node {
            return Ok(TreeNodeRecursion::Continue);
        }
        let mut row = 0u64;
        node.apply_expressions(|expr| {
            row = row.saturating_add(width(expr)?);
            Ok(TreeNodeRecursion::Continue)
        })?;
        widest = widest.max(row);
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(widest)
}

/// Bytes of a row that is read, of the relation with the widest ones.
pub fn of_scans(plan: &Physical) -> Result<u64> {
    let mut widest = 0;
    plan.apply(|node| {
        if let Some(scan) = node.downcast_ref::<ScanExec>() {
            widest = widest.max(scan.row_bytes());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
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
    use super::*;

    #[test]
    fn wide_rows_come_in_small_batches() {
        assert_eq!(batch_rows(8192, 0), 8192);
        assert_eq!(batch_rows(8192, 1024), 8192);
        assert_eq!(batch_rows(8192, 300_000), 27);
        assert_eq!(batch_rows(8192, 1 << 30), 1);
    }
}
