//! An ASOF JOIN of the plan to its operator.
//!
//! One rule: both sides' keys and times are the plan's own expressions, and their order is that of `sql::asof`, as in batch queries.

use std::sync::Arc;

use arrow::compute::SortOptions;
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, UserDefinedLogicalNodeCore};

use crate::error::SqlError;
use crate::sql::asof::AsofJoin;

use super::super::dataflow::NodeWork;
use super::super::expression::{Expression, is_infallible};
use super::super::operators::join::{AsofSideSpec, AsofSpec};
use super::super::operators::partitioned::{PartitionedSpec, SortedBy};
use super::{Built, CompileStop, Compiler, arrow_schema, check_all, column_of, needed_by, subset, unsupported};

impl Compiler {
    pub(super) fn asof(&mut self, join: &AsofJoin, needed: &[bool]) -> Result<Built, CompileStop> {
        let condition = &join.condition;
        let width = join.width();
        let times = &condition.times;
        let lefts: Vec<&Expr> = condition.keys.iter().map(|pair| &pair.0).collect();
        let rights: Vec<&Expr> = condition.keys.iter().map(|pair| &pair.1).collect();
        let left = self.asof_input(&join.left, &needed[..width], &lefts, &[&times.0])?;
        let ordered: Vec<&Expr> = [&times.1].into_iter().chain(&condition.ties).collect();
        let right = self.asof_input(&join.right, &needed[width..], &rights, &ordered)?;
        let mut key_types = Vec::with_capacity(lefts.len());
        for (one, other) in lefts.iter().zip(&rights).chain([(&&times.0, &&times.1)]) {
            let data_type = one.get_type(&left.schema)?;
            if data_type != other.get_type(&right.schema)? {
                return unsupported("the keys of a join differ in their types");
            }
            key_types.push(data_type);
        }
        key_types.pop();
        let order = condition.nearest.order();
        let sides = [
            self.asof_side(&left, &lefts, &[&times.0], order)?,
            self.asof_side(&right, &rights, &ordered, order)?,
        ];
        let mut columns = left.columns.clone();
        columns.extend(right.columns.iter().map(|column| width + column));
        let schema = subset(UserDefinedLogicalNodeCore::schema(join), &columns)?;
        let spec = AsofSpec {
            sides,
            key_types,
            meets_equal: condition.nearest.meets_equal(),
            keeps_left: join.keeps_left,
            schema: arrow_schema(&schema),
            text: join.text(),
        };
        Ok(Built {
            node: self.add(NodeWork::Asof(Arc::new(spec)), &[left.node, right.node]),
            bounds: vec![None; columns.len()],
            schema,
            columns,
            append_only: false,
        })
    }

    /// A side: what is needed of it above, by its keys and by its order.
    fn asof_input(
        &mut self,
        plan: &LogicalPlan,
        needed: &[bool],
        keys: &[&Expr],
        ordered: &[&Expr],
    ) -> Result<Built, CompileStop> {
        let used = || keys.iter().chain(ordered).copied();
        check_all(used())?;
        let mut below = needed_by(used(), plan.schema())?;
        for (below, needed) in below.iter_mut().zip(needed) {
            *below |= needed;
        }
        self.node(plan, &below)
    }

    fn asof_side(
        &self,
        input: &Built,
        keys: &[&Expr],
        ordered: &[&Expr],
        order: SortOptions,
    ) -> Result<AsofSideSpec, CompileStop> {
        let schema: &DFSchema = &input.schema;
        let compiled = keys.iter().map(|key| self.context.compile(key, schema));
        let keys_compiled = compiled.collect::<Result<Vec<Expression>, SqlError>>()?;
        let mut by: Vec<SortedBy> = Vec::with_capacity(ordered.len());
        for (at, expr) in ordered.iter().enumerate() {
            by.push(SortedBy {
                key: self.context.compile(expr, schema)?,
                data_type: expr.get_type(schema)?,
                options: match at {
                    0 => order,
                    // As ORDER BY sorts.
                    _ => SortOptions {
                        descending: false,
                        nulls_first: false,
                    },
                },
                column: column_of(expr, schema),
            });
        }
        let schema = arrow_schema(schema);
        if !PartitionedSpec::takes(&schema, &by) {
            return unsupported("its rows have a column without an order");
        }
        let infallible = keys.iter().chain(ordered).all(|expr| is_infallible(expr));
        Ok(AsofSideSpec {
            keys: keys_compiled,
            order: by.into(),
            schema,
            holds: !infallible && !input.append_only,
        })
    }
}
