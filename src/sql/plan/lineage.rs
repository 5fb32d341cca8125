//! The origin of an output column: a column of a stored relation, or a window's bound, unchanged on its way.

use datafusion::logical_expr::{Distinct, Expr, LogicalPlan};

use crate::catalog::Column;
use crate::sql::asof::AsofJoin;
use crate::sql::shared::SharedQuery;
use crate::sql::source::{RelationKind, RelationSource};
use crate::sql::window::Window;

/// The origin of a column that nothing computed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// OID of a topic or view, and its column, from 1.
    Stored(u32, u16),
    /// `window_start` or `window_end`, and whether it says when its window closes.
    WindowBound { decides_closing: bool },
}

/// The origin of an output column of a plan; `None` if it is computed or comes from more than one place.
pub fn origin(plan: &LogicalPlan, index: usize) -> Option<Origin> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let source = scan.source.downcast_ref::<RelationSource>()?;
            let name = plan.schema().field(index).name();
            let (oid, columns): (u32, &[Column]) = match &source.kind {
                RelationKind::Topic(topic) | RelationKind::Inserted(topic) => (topic.oid, &topic.columns),
                RelationKind::View(view) => (view.oid, &view.columns),
                RelationKind::System(..) => return None,
            };
            let position = columns.iter().position(|column| column.name == *name)?;
            Some(Origin::Stored(oid, u16::try_from(position + 1).ok()?))
        }
        LogicalPlan::Projection(projection) => from_expr(&projection.expr[index], &projection.input),
        LogicalPlan::Aggregate(aggregate) => match aggregate.group_expr.get(index)? {
            Expr::GroupingSet(_) => None,
            expr => from_expr(expr, &aggregate.input),
        },
        LogicalPlan::SubqueryAlias(alias) => origin(&alias.input, index),
        LogicalPlan::Filter(filter) => origin(&filter.input, index),
        LogicalPlan::Sort(sort) => origin(&sort.input, index),
        LogicalPlan::Limit(limit) => origin(&limit.input, index),
        LogicalPlan::Distinct(Distinct::All(input)) => origin(input, index),
        LogicalPlan::Window(window) => (index < window.input.schema().fields().len())
            .then(|| origin(&window.input, index))
            .flatten(),
        LogicalPlan::Join(join) => {
            let column = datafusion::common::Column::from(plan.schema().qualified_field(index));
            let left = join.left.schema();
            match left.maybe_index_of_column(&column) {
                Some(at) => origin(&join.left, at),
                None => origin(&join.right, join.right.schema().maybe_index_of_column(&column)?),
            }
        }
        LogicalPlan::Union(union) => {
            let mut origins = union.inputs.iter().map(|input| origin(input, index));
            let first = origins.next()??;
            origins.all(|other| other.as_ref() == Some(&first)).then_some(first)
        }
        LogicalPlan::Extension(_) => {
            if let Some(shared) = SharedQuery::of(plan) {
                return origin(&shared.body, index);
            }
            if let Some(join) = AsofJoin::of(plan) {
                return match index.checked_sub(join.width()) {
                    None => origin(&join.left, index),
                    Some(of_right) => origin(&join.right, of_right),
                };
            }
            let window = Window::of(plan)?;
            match window.input_column(index) {
                Some(below) => origin(&window.input, below),
                None => {
                    let is_end = index + 1 == plan.schema().fields().len();
                    Some(Origin::WindowBound {
                        decides_closing: window.decides_closing(is_end),
                    })
                }
            }
        }
        _ => None,
    }
}

fn from_expr(expr: &Expr, input: &LogicalPlan) -> Option<Origin> {
    match expr {
        Expr::Column(column) => origin(input, input.schema().maybe_index_of_column(column)?),
        Expr::Alias(alias) => from_expr(&alias.expr, input),
        _ => None,
    }
}
