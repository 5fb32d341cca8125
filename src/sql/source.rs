//! The leaf of a logical plan: a relation by identity, not by data.
//!
//! A plan made by `sql` scans [`RelationSource`]s; `query` binds them to what is readable at an LSN, `views` to a
//! dataflow's inputs. So one plan serves every LSN, and a prepared statement keeps it.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::{TableProviderFilterPushDown, TableSource, TableType};

use crate::catalog;
use crate::log::SystemColumn;

#[derive(Clone, Debug)]
pub enum RelationKind {
    /// Schema: the user columns, then those of `log::SystemColumn::ALL` that the statement may name.
    Topic(Arc<catalog::Topic>),
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
        // What filters on hidden columns leave of a topic is cut out of its chunks; the plan filters again.
        let prunes = |filter: &Expr| {
            let columns = filter.column_refs();
            matches!(self.kind, RelationKind::Topic(_))
                && !columns.is_empty()
                && !filter.is_volatile()
                && columns.iter().all(|column| is_prunable(&column.name))
        };
        let answer = |filter: &&Expr| match prunes(filter) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(answer).collect())
    }
}

fn is_prunable(column: &str) -> bool {
    SystemColumn::ALL
        .into_iter()
        .any(|hidden| hidden != SystemColumn::Watermark && hidden.name() == column)
}
