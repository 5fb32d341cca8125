//! The parts of a plan that are equal, whatever their columns are called.
//!
//! One rule: equal parts have the same rows in the same columns at every LSN, so that a view keeps them once. Expressions of a
//! view depend on nothing but their rows. A part of which this is not known is equal to no other.

use std::collections::HashMap;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType, NullEquality, UnnestOptions};
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{Expr, LogicalPlan, logical_plan};

use crate::sql::source::{RelationKind, RelationSource};
use crate::sql::statement::Emit;
use crate::sql::window::{Window, WindowKind};

/// The parts of one plan, which outlives this: by the place of their nodes in memory.
#[derive(Default)]
pub struct EqualParts {
    numbers: HashMap<usize, usize>,
    known: HashMap<PartShape, usize>,
}

/// A plan node without the names of its columns.
#[derive(PartialEq, Eq, Hash)]
struct PartShape {
    kind: PartKind,
    /// Columns stand for their places in the inputs.
    exprs: Vec<Expr>,
    inputs: Vec<usize>,
}

/// What a plan node is beside its expressions and inputs.
#[derive(PartialEq, Eq, Hash)]
enum PartKind {
    Topic {
        oid: u32,
        schema_id: u32,
        since_us: Option<i64>,
        columns: Vec<usize>,
    },
    View {
        oid: u32,
        columns: Vec<usize>,
    },
    Projection,
    Filter,
    Aggregate {
        keys: usize,
    },
    Windows,
    Sort {
        options: Vec<SortOption>,
        fetch: Option<usize>,
    },
    Limit {
        skips: bool,
    },
    Join {
        join_type: JoinType,
        keys: usize,
        null_equality: NullEquality,
        null_aware: bool,
    },
    Union,
    Unnest {
        lists: Vec<(usize, usize)>,
        dependencies: Vec<usize>,
        options: UnnestOptions,
    },
    TimeWindow {
        windows: WindowKind,
        time_column: usize,
        keys: Vec<usize>,
        watermark_column: Option<usize>,
        closes: bool,
        allowed_lateness_us: i64,
        emit: Emit,
    },
    Rows {
        types: Vec<DataType>,
        rows: usize,
    },
    /// Equal to no other.
    Other(usize),
}

/// Ascending, NULLs first.
type SortOption = (bool, bool);

impl EqualParts {
    pub fn of(plan: &LogicalPlan) -> EqualParts {
        let mut parts = EqualParts::default();
        parts.add(plan);
        parts
    }

    /// The number that a part of the plan shares with those that are equal to it.
    pub fn number(&self, part: &LogicalPlan) -> Option<usize> {
        self.numbers.get(&place(part)).copied()
    }

    fn add(&mut self, plan: &LogicalPlan) -> usize {
        if let Some(number) = self.number(plan) {
            return number;
        }
        let inputs: Vec<usize> = plan.inputs().into_iter().map(|input| self.add(input)).collect();
        let number = match (plan, inputs.as_slice()) {
            // A name alone makes no other rows.
            (LogicalPlan::SubqueryAlias(_), [input]) => *input,
            _ => {
                let next = self.known.len();
                let shape = PartShape::of(plan, inputs).unwrap_or_else(|| PartShape {
                    kind: PartKind::Other(next),
                    exprs: Vec::new(),
                    inputs: Vec::new(),
                });
                *self.known.entry(shape).or_insert(next)
            }
        };
        self.numbers.insert(place(plan), number);
        number
    }
}

fn place(plan: &LogicalPlan) -> usize {
    std::ptr::from_ref(plan).addr()
}

impl PartShape {
    /// `None` if it is not known what the node depends on.
    fn of(plan: &LogicalPlan, inputs: Vec<usize>) -> Option<PartShape> {
        let of_sort = |sort: &Sort| (sort.expr.clone(), (sort.asc, sort.nulls_first));
        let (kind, exprs) = match plan {
            LogicalPlan::TableScan(scan) if scan.fetch.is_none() => (of_scan(scan)?, Vec::new()),
            LogicalPlan::Projection(projection) => (PartKind::Projection, projection.expr.clone()),
            LogicalPlan::Filter(filter) => (PartKind::Filter, vec![filter.predicate.clone()]),
            LogicalPlan::Aggregate(aggregate) => {
                let kind = PartKind::Aggregate {
                    keys: aggregate.group_expr.len(),
                };
                (
                    kind,
                    [aggregate.group_expr.clone(), aggregate.aggr_expr.clone()].concat(),
                )
            }
            LogicalPlan::Window(window) => (PartKind::Windows, window.window_expr.clone()),
            LogicalPlan::Sort(sort) => {
                let (exprs, options) = sort.expr.iter().map(of_sort).unzip();
                let fetch = sort.fetch;
                (PartKind::Sort { options, fetch }, exprs)
            }
            LogicalPlan::Limit(limit) => {
                let kind = PartKind::Limit {
                    skips: limit.skip.is_some(),
                };
                let bounds = limit.skip.iter().chain(&limit.fetch);
                (kind, bounds.map(|bound| bound.as_ref().clone()).collect())
            }
            LogicalPlan::Join(join) => {
                let kind = PartKind::Join {
                    join_type: join.join_type,
                    keys: join.on.len(),
                    null_equality: join.null_equality,
                    null_aware: join.null_aware,
                };
                let keys = join.on.iter().flat_map(|(left, right)| [left, right]);
                (kind, keys.chain(&join.filter).cloned().collect())
            }
            LogicalPlan::Union(_) => (PartKind::Union, Vec::new()),
            LogicalPlan::Unnest(unnest) if unnest.struct_type_columns.is_empty() => {
                let lists = unnest.list_type_columns.iter();
                let kind = PartKind::Unnest {
                    lists: lists.map(|(column, list)| (*column, list.depth)).collect(),
                    dependencies: unnest.dependency_indices.clone(),
                    options: unnest.options.clone(),
                };
                (kind, Vec::new())
            }
            LogicalPlan::EmptyRelation(empty) => {
                let rows = usize::from(empty.produce_one_row);
                (of_rows(plan, rows), Vec::new())
            }
            LogicalPlan::Values(values) => (of_rows(plan, values.values.len()), values.values.concat()),
            LogicalPlan::Extension(_) => (of_window(Window::of(plan)?), Vec::new()),
            _ => return None,
        };
        let exprs = exprs.into_iter().map(|expr| unnamed(expr, plan));
        Some(PartShape {
            kind,
            exprs: exprs.collect::<Option<_>>()?,
            inputs,
        })
    }
}

fn of_scan(scan: &logical_plan::TableScan) -> Option<PartKind> {
    let relation = scan.source.downcast_ref::<RelationSource>()?;
    let columns = match &scan.projection {
        Some(projection) => projection.clone(),
        None => (0..scan.projected_schema.fields().len()).collect(),
    };
    match &relation.kind {
        RelationKind::Topic(topic) => Some(PartKind::Topic {
            oid: topic.oid,
            schema_id: topic.schema_id,
            since_us: topic.pinned.and_then(|pinned| pinned.since_us),
            columns,
        }),
        RelationKind::View(view) => Some(PartKind::View { oid: view.oid, columns }),
        RelationKind::Inserted(_) | RelationKind::System(..) => None,
    }
}

fn of_rows(plan: &LogicalPlan, rows: usize) -> PartKind {
    let fields = plan.schema().fields().iter();
    PartKind::Rows {
        types: fields.map(|field| field.data_type().clone()).collect(),
        rows,
    }
}

fn of_window(window: &Window) -> PartKind {
    PartKind::TimeWindow {
        windows: window.kind,
        time_column: window.time_column,
        keys: window.keys.clone(),
        watermark_column: window.watermark_column,
        closes: !window.topics.is_empty(),
        allowed_lateness_us: window.allowed_lateness_us,
        emit: window.emit,
    }
}

/// The expression without the names that it and its columns have.
fn unnamed(expr: Expr, plan: &LogicalPlan) -> Option<Expr> {
    let inputs = plan.inputs();
    let mut all_found = true;
    let unnamed = expr.transform_up(|expr| {
        Ok(match expr {
            Expr::Alias(alias) => Transformed::yes(*alias.expr),
            Expr::Column(column) => {
                let mut before = 0;
                let mut found = None;
                for input in &inputs {
                    let schema = input.schema();
                    found = found.or_else(|| Some(before + schema.maybe_index_of_column(&column)?));
                    before += schema.fields().len();
                }
                match found {
                    Some(place) => Transformed::yes(Expr::Column(Column::from_name(place.to_string()))),
                    None => {
                        all_found = false;
                        Transformed::no(Expr::Column(column))
                    }
                }
            }
            other => Transformed::no(other),
        })
    });
    unnamed.ok().map(|unnamed| unnamed.data).filter(|_| all_found)
}
