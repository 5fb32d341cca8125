//! A planned SELECT to a dataflow, or to the reason why it is recomputed when read instead.
//!
//! One rule: a compiled plan gives, at every LSN, the rows that the batch query would give there (V1); a plan that is
//! not sure to is left to recomputation. Pure: a plan in, a dataflow out.
//!
//! The plan is walked from its root with the set of columns that are needed, so that no more is read than that. Parts of the
//! plan that are equal become one node, with the columns that any of its places needs. The walk follows `window_start` and `window_end` upward while they pass through unchanged: an aggregate keyed by both
//! keeps only one, and under EMIT ON WINDOW CLOSE an aggregate keyed by one keeps groups in place of rows.

mod aggregate;
mod asof;
mod floors;
mod join;
mod partitioned;
mod parts;
mod tables;
mod temporal;
mod time;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, new_empty_array};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::logical_plan;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::error::SqlError;
use crate::log::{HiddenColumn, TopicId};
use crate::sql::asof::AsofJoin;
use crate::sql::plan::{self, Planned};
use crate::sql::source::{RelationKind, RelationSource};
use crate::sql::window::Window;

use super::dataflow::{Consumer, Dataflow, DataflowNode, NodeWork};
use super::delta::{batch_of, schema_of};
use super::expression::{Dependence, Expression, ExpressionContext, dependence, is_infallible};
use super::operators::linear::Linear;
use super::rules;
use super::scan::{LeafScan, LeafSource, TopicColumn};
use parts::EqualParts;

use temporal::Conditions;

use floors::TimeFact;

/// The way in which a materialized view is kept.
#[derive(Clone, Debug)]
pub enum CompiledView {
    Incremental(Dataflow),
    /// Not at all: its definition is run when it is read. The reason completes "is recomputed when read: ...".
    Recompute {
        reason: String,
    },
}

/// Compiles a view's planned definition, under the time zone that is stored with the view.
///
/// 0A000 for plans that no view can have, kept or recomputed: volatile functions, system relations.
pub fn compile(planned: &Planned, time_zone: &str) -> Result<CompiledView, SqlError> {
    plan::check_view_definition(planned)?;
    let mut options = plan::options().clone();
    options.execution.time_zone = Some(time_zone.to_string());
    // A subquery that is a value is a join here, as all others.
    options.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    let options = Arc::new(options);
    let plan = rules::rewrite(planned.inlined()?, options.clone())?;
    let fields = &planned.fields;
    let needed = vec![true; plan.schema().fields().len()];
    let mut compiler = Compiler::new(EqualParts::of(&plan), options.clone());
    let mut made = compiler.node(&plan, &needed);
    if made.is_ok() && compiler.wanted.values().any(|wanted| wanted.differs) {
        // Once more, for it is known now what all places of equal parts need.
        compiler = Compiler {
            wanted: compiler.wanted,
            unshared: compiler.unshared,
            ..Compiler::new(compiler.parts, options)
        };
        made = compiler.node(&plan, &needed);
    }
    let root = match made {
        Ok(root) => root,
        Err(CompileStop::Unsupported(reason)) => {
            plan::check_recomputed_definition(planned)?;
            return Ok(CompiledView::Recompute { reason });
        }
        Err(CompileStop::Failed(error)) => return Err(error),
    };
    assert_eq!(
        root.columns.len(),
        fields.len(),
        "the root has all columns that were planned"
    );
    let output: Vec<FieldRef> = fields
        .iter()
        .zip(root.schema.fields())
        .map(|(field, planned)| {
            let typed = field.pg_type.field(&field.name, true);
            if typed.data_type() == planned.data_type() {
                Arc::new(typed)
            } else {
                Arc::new(Field::new(&field.name, planned.data_type().clone(), true))
            }
        })
        .collect();
    let schema = schema_of(output);
    let append_only = root.append_only;
    let last = compiler.pick((0..root.columns.len()).collect(), schema.clone(), root.node);
    assert_eq!(last + 1, compiler.nodes.len(), "the root stands behind all others");
    compiler.hold();
    Ok(CompiledView::Incremental(Dataflow {
        nodes: compiler.nodes,
        schema,
        append_only,
    }))
}

/// Why a subtree is not compiled.
enum CompileStop {
    /// It has no incremental form: the reason.
    Unsupported(String),
    Failed(SqlError),
}

impl<E: Into<SqlError>> From<E> for CompileStop {
    fn from(error: E) -> CompileStop {
        CompileStop::Failed(error.into())
    }
}

fn unsupported<T>(reason: impl Into<String>) -> Result<T, CompileStop> {
    Err(CompileStop::Unsupported(reason.into()))
}

/// What a column is of a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum BoundPart {
    Start,
    End,
    /// A key of sessions, by its place in the window's input.
    Key(usize),
}

/// A window's column that a column holds unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Bound {
    /// The window's node.
    window: usize,
    part: BoundPart,
    /// If all windows have the same.
    size_us: Option<i64>,
    /// Only stateless nodes stand between.
    direct: bool,
    /// Nothing below was computed of a bound of the window, and no row chosen by one.
    uncomputed: bool,
    /// Nor was a row chosen by other columns than keys.
    unread: bool,
}

impl Bound {
    /// The same, above expressions that have read a bound, or have chosen among its rows.
    fn above(self, read: bool, chosen: bool) -> Bound {
        Bound {
            uncomputed: self.uncomputed && !read,
            unread: self.unread && !read && !chosen,
            ..self
        }
    }

    fn key(&self) -> Option<usize> {
        match self.part {
            BoundPart::Key(key) => Some(key),
            BoundPart::Start | BoundPart::End => None,
        }
    }
}

/// A compiled subtree.
#[derive(Clone)]
struct Built {
    node: usize,
    /// Of its output: those columns of the plan node's schema that are made, in the same order.
    schema: DFSchema,
    /// Their positions in the plan node's schema.
    columns: Vec<usize>,
    bounds: Vec<Option<Bound>>,
    append_only: bool,
}

struct Compiler {
    nodes: Vec<DataflowNode>,
    /// By node: of the columns of its output; of none, if nothing is known.
    facts: Vec<Vec<Option<TimeFact>>>,
    context: ExpressionContext,
    time_zone: Arc<str>,
    parts: EqualParts,
    /// Parts that are made already, by number. Nothing that comes later changes their nodes.
    made: HashMap<usize, Vec<Built>>,
    /// Nodes whose output was asked for again.
    asked_again: HashSet<usize>,
    /// By number of parts.
    wanted: HashMap<usize, WantedColumns>,
    /// Parts whose nodes those above may change: each place has its own.
    unshared: HashSet<usize>,
}

/// The columns that the places of equal parts need.
struct WantedColumns {
    needed: Vec<bool>,
    /// Not all of them need the same.
    differs: bool,
}

impl Compiler {
    fn new(parts: EqualParts, options: Arc<ConfigOptions>) -> Compiler {
        let time_zone = options.execution.time_zone.as_deref().unwrap_or("UTC").into();
        Compiler {
            nodes: Vec::new(),
            facts: Vec::new(),
            context: ExpressionContext::new(options),
            time_zone,
            parts,
            made: HashMap::new(),
            asked_again: HashSet::new(),
            wanted: HashMap::new(),
            unshared: HashSet::new(),
        }
    }

    fn add(&mut self, step: NodeWork, inputs: &[usize]) -> usize {
        let index = self.nodes.len();
        self.nodes.push(DataflowNode {
            step,
            consumers: Vec::new(),
        });
        self.facts.push(Vec::new());
        for (port, input) in inputs.iter().enumerate() {
            self.nodes[*input].consumers.push(Consumer { node: index, port });
        }
        index
    }

    /// Picks columns of a node's output; of a node that picks for this one alone, fewer at once.
    fn pick(&mut self, columns: Vec<usize>, schema: SchemaRef, input: usize) -> usize {
        let facts = self.passed_on(input, columns.iter().map(|column| Some(*column)));
        if let NodeWork::Linear {
            linear: Linear::Pick { columns: from, .. },
            ..
        } = &self.nodes[input].step
            && self.nodes[input].consumers.is_empty()
            && !self.asked_again.contains(&input)
        {
            let columns = columns.iter().map(|column| from[*column]).collect();
            let linear = Linear::Pick { columns, schema };
            self.nodes[input].step = NodeWork::Linear {
                linear,
                is_infallible: true,
            };
            for made in self.made.values_mut() {
                made.retain(|built| built.node != input);
            }
            self.facts[input] = facts;
            return input;
        }
        let linear = Linear::Pick { columns, schema };
        let node = self.add(
            NodeWork::Linear {
                linear,
                is_infallible: true,
            },
            &[input],
        );
        self.facts[node] = facts;
        node
    }

    /// Compiles `plan`, or finds it compiled; its output has at least the columns that are `needed`.
    fn node(&mut self, plan: &LogicalPlan, needed: &[bool]) -> Result<Built, CompileStop> {
        let part = self.parts.number(plan).filter(|part| !self.unshared.contains(part));
        let Some(part) = part else {
            return self.make(plan, needed);
        };
        if let Some(built) = self.made_before(part, plan, needed)? {
            return Ok(built);
        }
        let all_needed = self.want(part, needed);
        let built = self.make(plan, &all_needed)?;
        // An aggregate above a window may change it.
        if built.bounds.iter().flatten().any(|bound| bound.direct) {
            self.wanted.remove(&part);
            self.unshared.insert(part);
            return Ok(built);
        }
        self.made.entry(part).or_default().push(built.clone());
        match all_needed == needed {
            true => Ok(built),
            false => self.narrowed(plan, built, needed),
        }
    }

    /// What all places of a part need, as far as that is known.
    fn want(&mut self, part: usize, needed: &[bool]) -> Vec<bool> {
        let wanted = self.wanted.entry(part).or_insert_with(|| WantedColumns {
            needed: needed.to_vec(),
            differs: false,
        });
        for (wanted_column, needed) in wanted.needed.iter_mut().zip(needed) {
            wanted.differs |= *wanted_column != *needed;
            *wanted_column |= needed;
        }
        wanted.needed.clone()
    }

    /// A part that is equal to this one, with the columns that this one needs.
    fn made_before(&mut self, part: usize, plan: &LogicalPlan, needed: &[bool]) -> Result<Option<Built>, CompileStop> {
        let columns = kept(needed);
        let made = self.made.get(&part).into_iter().flatten();
        let mut found = made.filter(|built| columns.iter().all(|column| built.columns.contains(column)));
        let Some(built) = found.next_back().cloned() else {
            return Ok(None);
        };
        self.want(part, needed);
        self.narrowed(plan, built, needed).map(Some)
    }

    /// The columns of a part that one of its places needs.
    fn narrowed(&mut self, plan: &LogicalPlan, built: Built, needed: &[bool]) -> Result<Built, CompileStop> {
        self.asked_again.insert(built.node);
        let places: Vec<usize> = (0..built.columns.len())
            .filter(|place| needed[built.columns[*place]])
            .collect();
        let columns: Vec<usize> = places.iter().map(|place| built.columns[*place]).collect();
        let schema = subset(plan.schema(), &columns)?;
        if columns.len() == built.columns.len() {
            return Ok(Built { schema, ..built });
        }
        Ok(Built {
            bounds: places.iter().map(|place| built.bounds[*place]).collect(),
            node: self.pick(places, arrow_schema(&schema), built.node),
            schema,
            columns,
            append_only: built.append_only,
        })
    }

    fn make(&mut self, plan: &LogicalPlan, needed: &[bool]) -> Result<Built, CompileStop> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan, needed),
            LogicalPlan::Projection(projection) => self.projection(projection, needed),
            LogicalPlan::Filter(filter) => self.filter(filter, needed),
            LogicalPlan::SubqueryAlias(alias) => {
                let input = self.node(&alias.input, needed)?;
                let schema = subset(&alias.schema, &input.columns)?;
                Ok(Built { schema, ..input })
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate, needed),
            LogicalPlan::Union(union) => self.union(union, needed),
            // A view's rows have no order of their own.
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => self.node(&sort.input, needed),
            LogicalPlan::Extension(_) => match (Window::of(plan), AsofJoin::of(plan)) {
                (Some(window), _) => self.window(window, needed),
                (_, Some(join)) => self.asof(join, needed),
                (None, None) => unsupported("it uses an operator that has no incremental form"),
            },
            LogicalPlan::Join(join) => self.join(join, needed),
            LogicalPlan::Limit(limit) if !needed.contains(&true) && is_first(limit) => self.whether_any(limit),
            LogicalPlan::Limit(limit) => self.limit(limit, needed),
            LogicalPlan::Window(window) => self.windows(window, needed, None),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest, needed),
            LogicalPlan::RecursiveQuery(_) => unsupported("WITH RECURSIVE is not kept incrementally"),
            LogicalPlan::EmptyRelation(empty) => {
                let rows = usize::from(empty.produce_one_row);
                self.constant(&empty.schema, &vec![Vec::new(); rows], needed)
            }
            LogicalPlan::Values(values) => self.constant(&values.schema, &values.values, needed),
            LogicalPlan::Subquery(_) => unsupported("subqueries are not kept incrementally yet"),
            // What ordered LIMITs and DISTINCTs are is decided above and by the rules.
            LogicalPlan::Sort(_)
            | LogicalPlan::Distinct(_)
            | LogicalPlan::Repartition(_)
            | LogicalPlan::Statement(_)
            | LogicalPlan::Explain(_)
            | LogicalPlan::Analyze(_)
            | LogicalPlan::Dml(_)
            | LogicalPlan::Ddl(_)
            | LogicalPlan::Copy(_)
            | LogicalPlan::DescribeTable(_) => unsupported("it uses an operator that has no incremental form"),
        }
    }

    fn scan(&mut self, scan: &logical_plan::TableScan, needed: &[bool]) -> Result<Built, CompileStop> {
        // Filters of a scan are hints: the plan has them above it, too.
        if scan.fetch.is_some() {
            return unsupported("a limit was pushed into a scan");
        }
        let Some(relation) = scan.source.downcast_ref::<RelationSource>() else {
            return self.series(scan, needed);
        };
        let columns = kept(needed);
        let in_source: Vec<usize> = columns
            .iter()
            .map(|column| {
                scan.projection
                    .as_ref()
                    .map_or(*column, |projection| projection[*column])
            })
            .collect();
        let mut facts = Vec::new();
        let (source, append_only) = match &relation.kind {
            RelationKind::Topic(topic) => {
                let event_time = topic
                    .watermark
                    .as_ref()
                    .and_then(|watermark| topic.columns.iter().position(|column| column.name == watermark.column));
                let columns = in_source.iter();
                facts = columns
                    .map(
                        |index| match topic_column(&relation.schema, *index, topic.columns.len()) {
                            TopicColumn::User(index) => (Some(index) == event_time).then_some(TimeFact::Event),
                            TopicColumn::System(HiddenColumn::Watermark) => {
                                Some(TimeFact::Watermark(TopicId(topic.oid)))
                            }
                            TopicColumn::System(HiddenColumn::Lsn) => Some(TimeFact::Lsn),
                            TopicColumn::System(_) => None,
                        },
                    )
                    .collect();
                let zone = event_time.and_then(|index| match topic.columns[index].pg_type.arrow() {
                    DataType::Timestamp(_, zone) => zone.map(|zone| zone.to_string()),
                    _ => None,
                });
                let source = LeafSource::Topic {
                    reader: topic.reader(topic.pinned.and_then(|pinned| pinned.since_us)),
                    name: topic.name.clone(),
                    columns: in_source
                        .iter()
                        .map(|index| topic_column(&relation.schema, *index, topic.columns.len()))
                        .collect(),
                    watermark_zone: zone,
                    event_time,
                    delay_us: topic.watermark.as_ref().map_or(0, |watermark| watermark.delay_us),
                };
                (source, true)
            }
            RelationKind::View(view) => {
                let source = LeafSource::View {
                    oid: view.oid,
                    name: view.name.clone(),
                    columns: in_source,
                };
                // Whether that view ever retracts is not known here; taking that it may is always right.
                (source, false)
            }
            RelationKind::Inserted(_) => return unsupported("it reads rows of an INSERT"),
            RelationKind::System(..) => return unsupported("it reads a system relation"),
        };
        let schema = subset(&scan.projected_schema, &columns)?;
        let bounds = vec![None; columns.len()];
        let step = NodeWork::Scan(LeafScan {
            source,
            schema: arrow_schema(&schema),
        });
        let node = self.add(step, &[]);
        self.facts[node] = facts;
        Ok(Built {
            node,
            schema,
            columns,
            bounds,
            append_only,
        })
    }

    /// Rows that are written out.
    fn constant(&mut self, schema: &DFSchema, rows: &[Vec<Expr>], needed: &[bool]) -> Result<Built, CompileStop> {
        let columns = kept(needed);
        let schema = subset(schema, &columns)?;
        let output = arrow_schema(&schema);
        let nothing = DFSchema::empty();
        let one = batch_of(arrow_schema(&nothing), Vec::new(), 1)?;
        let mut arrays = Vec::with_capacity(columns.len());
        for (column, field) in columns.iter().zip(output.fields()) {
            let exprs: Vec<&Expr> = rows.iter().map(|row| &row[*column]).collect();
            check_all(exprs.iter().copied())?;
            let mut values = vec![new_empty_array(field.data_type())];
            for expr in exprs {
                // The reader of the view meets the error of a value that fails.
                let value = self
                    .context
                    .compile(expr, &nothing)
                    .and_then(|value| value.evaluate(&one));
                match value {
                    Ok(value) if value.data_type() == field.data_type() => values.push(value),
                    _ => return unsupported(format!("{expr} cannot be computed beforehand")),
                }
            }
            let values: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
            arrays.push(concat(&values)?);
        }
        let rows = batch_of(output, arrays, rows.len())?;
        Ok(Built {
            node: self.add(NodeWork::Constant(rows), &[]),
            bounds: vec![None; columns.len()],
            schema,
            columns,
            append_only: true,
        })
    }

    fn projection(&mut self, projection: &logical_plan::Projection, needed: &[bool]) -> Result<Built, CompileStop> {
        let columns = kept(needed);
        let expressions: Vec<&Expr> = columns.iter().map(|column| &projection.expr[*column]).collect();
        check_all(expressions.iter().copied())?;
        let below = needed_by(expressions.iter().copied(), projection.input.schema())?;
        let input = self.node(&projection.input, &below)?;
        let schema = subset(&projection.schema, &columns)?;
        let plain: Vec<Option<usize>> = expressions.iter().map(|expr| column_of(expr, &input.schema)).collect();
        let computed = expressions.iter().zip(&plain).filter(|(_, plain)| plain.is_none());
        let read = reads_bounds(computed.map(|(expr, _)| *expr), &input)?;
        let bounds = plain
            .iter()
            .map(|index| index.and_then(|index| input.bounds[index]))
            .map(|bound| bound.map(|bound| bound.above(read, false)))
            .collect();
        let node = match plain.iter().copied().collect::<Option<Vec<usize>>>() {
            Some(picked) => self.pick(picked, arrow_schema(&schema), input.node),
            None => {
                let compiled: Result<Vec<Expression>, SqlError> = expressions
                    .iter()
                    .map(|expr| self.context.compile(expr, &input.schema))
                    .collect();
                let texts: Vec<String> = expressions.iter().map(|expr| expr.to_string()).collect();
                let linear = Linear::Project {
                    expressions: compiled?,
                    schema: arrow_schema(&schema),
                    text: texts.join(", "),
                };
                let is_infallible = expressions.iter().all(|expr| is_infallible(expr));
                let node = self.add(NodeWork::Linear { linear, is_infallible }, &[input.node]);
                self.facts[node] = self.passed_on(input.node, plain.iter().copied());
                node
            }
        };
        Ok(Built {
            node,
            schema,
            columns,
            bounds,
            append_only: input.append_only,
        })
    }

    fn filter(&mut self, filter: &logical_plan::Filter, needed: &[bool]) -> Result<Built, CompileStop> {
        let Conditions { first, timed, last } = self.conditions(&filter.predicate)?;
        if let (LogicalPlan::Window(window), Some(first), None) = (filter.input.as_ref(), &first, &last)
            && timed.is_empty()
            && let Some(first) = self.first_by_number(window, first, needed)?
        {
            return Ok(first);
        }
        let used = first.iter().chain(&last).chain(timed.iter().map(|timed| &timed.time));
        let mut below = needed_by(used, filter.input.schema())?;
        for (below, needed) in below.iter_mut().zip(needed) {
            *below |= needed;
        }
        let mut built = match filter.input.as_ref() {
            LogicalPlan::Window(window) => self.windows(window, &below, first.as_ref())?,
            input => self.node(input, &below)?,
        };
        if let Some(first) = &first {
            built = self.choose(first, built)?;
        }
        for condition in timed {
            built = self.temporal(condition, built)?;
        }
        match &last {
            Some(last) => self.choose(last, built),
            None => Ok(built),
        }
    }

    /// The rows of `input` that a condition leaves.
    fn choose(&mut self, predicate: &Expr, mut input: Built) -> Result<Built, CompileStop> {
        self.note_choice(predicate, &mut input)?;
        let conditions = in_turn(predicate).into_iter();
        let conditions = conditions.map(|condition| self.context.compile(&condition, &input.schema));
        let linear = Linear::Filter {
            conditions: conditions.collect::<Result<_, _>>()?,
            text: predicate.to_string(),
        };
        let is_infallible = is_infallible(predicate);
        let node = self.add(NodeWork::Linear { linear, is_infallible }, &[input.node]);
        self.facts[node] = self.facts_where(input.node, &input.schema, predicate);
        Ok(Built { node, ..input })
    }

    /// The bounds of `input` once rows are chosen by an expression: without all of its rows a session has others.
    fn note_choice(&self, by: &Expr, input: &mut Built) -> Result<(), CompileStop> {
        let chosen_by = needed_by([by], &input.schema)?;
        let of_keys = |index: usize| input.bounds[index].is_some_and(|bound| bound.key().is_some());
        let chosen = (0..chosen_by.len()).any(|index| chosen_by[index] && !of_keys(index));
        let read = reads_bounds([by], input)?;
        for bound in input.bounds.iter_mut().flatten() {
            *bound = bound.above(read, chosen);
        }
        Ok(())
    }

    /// A row if there are any, of which no column is needed.
    fn whether_any(&mut self, limit: &logical_plan::Limit) -> Result<Built, CompileStop> {
        let one = vec![datafusion::logical_expr::lit(true)];
        let any = logical_plan::Aggregate::try_new(limit.input.clone(), one, Vec::new())?;
        let input = self.aggregate(&any, &[false])?;
        let schema = subset(limit.input.schema(), &[])?;
        Ok(Built {
            node: self.pick(Vec::new(), arrow_schema(&schema), input.node),
            schema,
            columns: Vec::new(),
            bounds: Vec::new(),
            append_only: input.append_only,
        })
    }

    fn union(&mut self, union: &logical_plan::Union, needed: &[bool]) -> Result<Built, CompileStop> {
        let columns = kept(needed);
        let schema = subset(&union.schema, &columns)?;
        let output = arrow_schema(&schema);
        let mut inputs = Vec::with_capacity(union.inputs.len());
        let mut append_only = true;
        for plan in &union.inputs {
            let input = self.node(plan, needed)?;
            append_only &= input.append_only;
            let mut picked = Vec::with_capacity(columns.len());
            for (column, field) in columns.iter().zip(output.fields()) {
                let index = input
                    .columns
                    .iter()
                    .position(|have| have == column)
                    .expect("needed, so made");
                if input.schema.field(index).data_type() != field.data_type() {
                    return unsupported("the inputs of UNION ALL differ in their types");
                }
                picked.push(index);
            }
            inputs.push(self.pick(picked, output.clone(), input.node));
        }
        let node = self.add(NodeWork::Union, &inputs);
        self.facts[node] = self.facts_of_all(&inputs, columns.len());
        Ok(Built {
            node,
            bounds: vec![None; columns.len()],
            schema,
            columns,
            append_only,
        })
    }
}

/// LIMIT 1
fn is_first(limit: &logical_plan::Limit) -> bool {
    let fetch = limit.fetch.as_deref();
    limit.skip.is_none() && matches!(fetch, Some(Expr::Literal(ScalarValue::Int64(Some(1)), _)))
}

/// Whether one of the expressions reads a bound of a window.
fn reads_bounds<'a>(exprs: impl IntoIterator<Item = &'a Expr>, input: &Built) -> Result<bool, SqlError> {
    let used = needed_by(exprs, &input.schema)?;
    let of_bounds = input
        .bounds
        .iter()
        .map(|bound| bound.is_some_and(|bound| bound.key().is_none()));
    Ok(used.into_iter().zip(of_bounds).any(|(used, of_bound)| used && of_bound))
}

fn topic_column(schema: &SchemaRef, index: usize, user_columns: usize) -> TopicColumn {
    if index < user_columns {
        return TopicColumn::User(index);
    }
    let name = schema.field(index).name();
    let system = HiddenColumn::ALL.into_iter().find(|column| column.name() == name);
    TopicColumn::System(system.expect("after a topic's own columns come system columns"))
}

/// Refuses expressions that depend on more than their row.
fn check_all<'a>(exprs: impl IntoIterator<Item = &'a Expr>) -> Result<(), CompileStop> {
    for expr in exprs {
        match dependence(expr)? {
            (Dependence::Row, _) => {}
            (Dependence::Statement(_), name) => {
                return unsupported(format!(
                    "{name}() depends on when it is asked (a condition such as ts > now() - INTERVAL '1 hour' is kept)"
                ));
            }
            (Dependence::Subquery, name) => return unsupported(format!("{name} is not kept incrementally yet")),
            (Dependence::Chance(_) | Dependence::Other(_), name) => {
                return unsupported(format!("{name} is not kept incrementally"));
            }
        }
    }
    Ok(())
}

/// The columns of `input` that the expressions use.
fn needed_by<'a>(exprs: impl IntoIterator<Item = &'a Expr>, input: &DFSchema) -> Result<Vec<bool>, SqlError> {
    let mut used: HashSet<&Column> = HashSet::new();
    for expr in exprs {
        used.extend(expr.column_refs());
    }
    let mut needed = vec![false; input.fields().len()];
    for column in used {
        needed[input.index_of_column(column)?] = true;
    }
    Ok(needed)
}

/// A condition as several, each of which applies to the rows that those before it leave: one that may fail is the first
/// of its own.
fn in_turn(condition: &Expr) -> Vec<Expr> {
    let mut conditions: Vec<Expr> = Vec::new();
    for condition in split_conjunction(condition) {
        match conditions.pop() {
            Some(before) if is_infallible(condition) => conditions.push(before.and(condition.clone())),
            before => conditions.extend(before.into_iter().chain([condition.clone()])),
        }
    }
    conditions
}

fn kept(needed: &[bool]) -> Vec<usize> {
    (0..needed.len()).filter(|column| needed[*column]).collect()
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

/// The input column that an expression is, if it is no more than that.
fn column_of(expr: &Expr, input: &DFSchema) -> Option<usize> {
    match unaliased(expr) {
        Expr::Column(column) => input.index_of_column(column).ok(),
        _ => None,
    }
}

/// The chosen columns of a schema. All nullable: nothing here depends on a column never being NULL.
fn subset(schema: &DFSchema, columns: &[usize]) -> Result<DFSchema, SqlError> {
    let fields = columns
        .iter()
        .map(|column| {
            let (qualifier, field) = schema.qualified_field(*column);
            (qualifier.cloned(), Arc::new(field.as_ref().clone().with_nullable(true)))
        })
        .collect();
    DFSchema::new_with_metadata(fields, Default::default()).map_err(SqlError::from)
}

fn arrow_schema(schema: &DFSchema) -> SchemaRef {
    Arc::new(schema.as_arrow().clone())
}
