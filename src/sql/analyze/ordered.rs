//! The order of a subquery's rows, for aggregates above it: `array_agg` over a subquery with ORDER BY.
//!
//! One rule: a plan promises no order to the one above it, so the sort keys of the rows are found in the plan and kept
//! in its columns, beside those that are shown. Unused keys cost nothing: the optimizer drops them.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{Expr, Filter, Limit, LogicalPlan, Projection, SubqueryAlias};

use super::{Analyzer, Result};

impl Analyzer<'_> {
    /// The plan with the sort keys of its rows among its columns, and that order; unchanged if there is none.
    pub fn with_order(&self, plan: LogicalPlan) -> Result<(LogicalPlan, Vec<Sort>)> {
        Ok(match self.found_order(&plan)? {
            Some((plan, order)) => (plan, order),
            None => (plan, vec![]),
        })
    }

    fn found_order(&self, plan: &LogicalPlan) -> Result<Option<(LogicalPlan, Vec<Sort>)>> {
        Ok(match plan {
            LogicalPlan::Sort(sort) => Some((plan.clone(), sort.expr.clone())),
            LogicalPlan::Limit(limit) => self.found_order(&limit.input)?.map(|(input, order)| {
                let limit = Limit {
                    input: Arc::new(input),
                    ..limit.clone()
                };
                (LogicalPlan::Limit(limit), order)
            }),
            LogicalPlan::Filter(filter) => match self.found_order(&filter.input)? {
                Some((input, order)) => {
                    let filter = Filter::try_new(filter.predicate.clone(), Arc::new(input))?;
                    Some((LogicalPlan::Filter(filter), order))
                }
                None => None,
            },
            LogicalPlan::SubqueryAlias(alias) => match self.found_order(&alias.input)? {
                Some((input, order)) => {
                    let schema = input.schema().clone();
                    let made = SubqueryAlias::try_new(Arc::new(input), alias.alias.clone())?;
                    let order = under(&order, &schema, &made.schema)?;
                    Some((LogicalPlan::SubqueryAlias(made), order))
                }
                None => None,
            },
            LogicalPlan::Projection(projection) => match self.found_order(&projection.input)? {
                Some((input, order)) => {
                    let mut exprs = projection.expr.clone();
                    let mut columns = projection.schema.columns();
                    let order = mapped(order, |column| {
                        let own = Expr::Column(column);
                        let shown = exprs.iter().position(|expr| *expr == own || is_alias_of(expr, &own));
                        let at = shown.unwrap_or_else(|| {
                            let name = self.internal_name("order");
                            exprs.push(own.alias(&name));
                            columns.push(Column::from_name(name));
                            exprs.len() - 1
                        });
                        Some(Expr::Column(columns[at].clone()))
                    })?;
                    let projection = Projection::try_new(exprs, Arc::new(input))?;
                    Some((LogicalPlan::Projection(projection), order))
                }
                None => None,
            },
            _ => None,
        })
    }
}

/// An order over the columns of a plan, over those of the same places in another.
pub fn under(order: &[Sort], below: &DFSchema, above: &DFSchema) -> Result<Vec<Sort>> {
    mapped(order.to_vec(), |column| {
        let at = below.maybe_index_of_column(&column)?;
        Some(Expr::Column(Column::from(above.qualified_field(at))))
    })
}

fn is_alias_of(expr: &Expr, own: &Expr) -> bool {
    matches!(expr, Expr::Alias(alias) if alias.expr.as_ref() == own)
}

fn mapped(order: Vec<Sort>, mut map: impl FnMut(Column) -> Option<Expr>) -> Result<Vec<Sort>> {
    let mut made = Vec::with_capacity(order.len());
    for sort in order {
        let expr = sort.expr.transform_up(|node| match node {
            Expr::Column(column) => Ok(match map(column.clone()) {
                Some(expr) => Transformed::yes(expr),
                None => Transformed::no(Expr::Column(column)),
            }),
            other => Ok(Transformed::no(other)),
        })?;
        made.push(Sort {
            expr: expr.data,
            ..sort
        });
    }
    Ok(made)
}
