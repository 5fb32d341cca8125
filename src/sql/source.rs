//! The leaf of a logical plan: a relation by identity, not by data.
//!
//! A plan made by `sql` scans [`RelationSource`]s; `query` binds them to their content at an LSN, `views` to a
//! dataflow's inputs. So one plan serves every LSN, and a prepared statement keeps it.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::{TableProviderFilterPushDown, TableSource, TableType};

use crate::catalog;

#[derive(Clone, Debug)]
pub enum RelationKind {
    /// Schema: the user columns, then those of `log::SystemColumn::ALL` that the statement may name.
    Topic(Arc<catalog::Topic>),
    /// The rows that the statement is about to insert into the topic, alone. Schema: as that of the topic.
    Inserted(Arc<catalog::Topic>),
    /// An incremental materialized view (recomputed and plain ones are expanded in the plan).
    View(Arc<catalog::View>),
    /// A system relation: schema and name, such as `pg_catalog`, `pg_class`.
    System(&'static str, &'static str),
}

#[derive(Clone, Debug)]
pub struct RelationSource {
    pub kind: RelationKind,
    pub schema: SchemaRef,
}

impl TableSource for RelationSource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> datafusion::common::Result<Vec<TableProviderFilterPushDown>> {
        // The scan leaves out rows of a topic that it knows to be out of the filters' reach; the plan filters again.
        let prunes = |filter: &Expr| {
            matches!(self.kind, RelationKind::Topic(_))
                && !filter.column_refs().is_empty()
                && !filter.is_volatile()
                && !has_subquery(filter)
        };
        let answer = |filter: &&Expr| match prunes(filter) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(answer).collect())
    }
}

fn has_subquery(filter: &Expr) -> bool {
    let found = filter.exists(|expr| {
        Ok(matches!(
            expr,
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_)
        ))
    });
    found.unwrap_or(true)
}
