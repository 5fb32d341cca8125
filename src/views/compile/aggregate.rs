//! A GROUP BY of the plan to an aggregate.
//!
//! One rule: an aggregate function is kept only where its value follows from the rows of a group alone, in whatever order they
//! came: a batch query promises no order either.

use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, GroupingSet};
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{Expr, ExprSchemable, logical_plan};
use datafusion::physical_expr::PhysicalExpr;

use crate::error::SqlError;
use crate::sql::functions::aggregates::{self, AggregateKind};
use crate::sql::functions::calls::ORDERED;
use crate::sql::functions::{differ_though_equal, is_percentile, single_part};

use super::super::dataflow::NodeWork;
use super::super::expression::{Expression, is_infallible};
use super::super::operators::aggregate::states::state_for;
use super::super::operators::aggregate::{AggregateCall, AggregateSpec, EngineCall, EngineInput, GroupKey, ShownValue};
use super::super::operators::expand::ExpandSpec;
use super::{
    Bound, BoundPart, Built, CompileStop, Compiler, arrow_schema, check_all, column_of, needed_by, reads_bounds,
    subset, unaliased, unsupported,
};

impl Compiler {
    pub(super) fn aggregate(
        &mut self,
        aggregate: &logical_plan::Aggregate,
        needed: &[bool],
    ) -> Result<Built, CompileStop> {
        let sets = grouping_sets(&aggregate.group_expr)?;
        let keys: Vec<Expr> = match &sets {
            Some(sets) => sets.keys.clone(),
            None => aggregate.group_expr.clone(),
        };
        // The number of a row's set stands behind the keys.
        let width = keys.len() + usize::from(sets.is_some());
        let calls: Vec<usize> = (0..aggregate.aggr_expr.len())
            .filter(|call| needed[width + call])
            .collect();
        check_all(&keys)?;
        check_all(calls.iter().map(|call| &aggregate.aggr_expr[*call]))?;
        let used = keys.iter().chain(calls.iter().map(|call| &aggregate.aggr_expr[*call]));
        let below = needed_by(used, aggregate.input.schema())?;
        let mut input = self.node(&aggregate.input, &below)?;

        let by = texts(&keys);
        let mut is_infallible = keys.iter().all(is_infallible);
        let mut group_expr = keys;
        let mut always = Vec::new();
        let has_sets = sets.is_some();
        if let Some(sets) = sets {
            let number = aggregate.schema.field(width - 1).data_type().clone();
            let numbers = sets.numbers(&number)?;
            always = sets.always(&numbers, &input.schema)?;
            input = self.expanded(&sets, &numbers, input)?;
            group_expr = (0..width).map(|at| Expr::Column(set_column(at))).collect();
            is_infallible = true;
        }
        let key_bounds: Vec<Option<Bound>> = group_expr
            .iter()
            .map(|expr| column_of(expr, &input.schema).and_then(|index| input.bounds[index]))
            .collect();
        if !has_sets && self.is_of_sessions(aggregate, &calls, &input, &key_bounds)? {
            return self.of_sessions(aggregate, &calls, input, &key_bounds);
        }
        let mut spec_keys = Vec::with_capacity(width);
        for (expr, bound) in group_expr.iter().zip(&key_bounds) {
            let start = bound.filter(|bound| bound.part == BoundPart::End).and_then(|end| {
                let starts = |other: &Option<Bound>| {
                    other.is_some_and(|start| start.part == BoundPart::Start && start.window == end.window)
                };
                Some((key_bounds.iter().position(starts)?, end.size_us?))
            });
            spec_keys.push(match start {
                Some((of, add_us)) => GroupKey::After { of, add_us },
                None => GroupKey::Stored(self.context.compile(expr, &input.schema)?),
            });
        }
        let mut spec_calls = Vec::with_capacity(calls.len());
        for call in &calls {
            let output = aggregate.schema.field(width + call).data_type();
            spec_calls.push(self.call(&aggregate.aggr_expr[*call], &input, output)?);
        }
        let closes_by = self.closes_by(&spec_keys, &key_bounds);
        let used = calls.iter().map(|call| &aggregate.aggr_expr[*call]);
        let others = group_expr.iter().zip(&key_bounds);
        let others = others.filter(|(_, bound)| bound.is_none()).map(|(expr, _)| expr);
        let read = has_sets || reads_bounds(used.chain(others), &input)?;
        let spread = self.spread(&spec_keys, &key_bounds, &spec_calls, read, &input)?;
        // Distinct rows of an input that grows are never taken back.
        let grows = calls.is_empty() && width > 0 && input.append_only;
        let append_only = closes_by.is_some() || grows;

        let columns: Vec<usize> = (0..width).chain(calls.iter().map(|call| width + call)).collect();
        let schema = subset(&aggregate.schema, &columns)?;
        let what = texts(calls.iter().map(|call| &aggregate.aggr_expr[*call]));
        let spec = AggregateSpec {
            keys: spec_keys,
            calls: spec_calls,
            schema: arrow_schema(&schema),
            append_only: input.append_only,
            always,
            closes_by,
            spread,
            sessions: None,
            is_infallible: is_infallible && calls.iter().all(|call| takes_infallibly(&aggregate.aggr_expr[*call])),
            text: if by.is_empty() {
                format!("[{what}]")
            } else {
                format!("[{what}] by [{by}]")
            },
        };
        let mut bounds: Vec<Option<Bound>> = key_bounds
            .into_iter()
            .map(|bound| bound.map(|bound| Bound { direct: false, ..bound }))
            .collect();
        bounds.resize(columns.len(), None);
        let node = self.add(NodeWork::Aggregate(Arc::new(spec)), &[input.node]);
        if !has_sets {
            // A group changes with rows that have its keys.
            let keys = group_expr.iter().map(|expr| column_of(expr, &input.schema));
            self.facts[node] = self.passed_on(input.node, keys);
        }
        Ok(Built {
            node,
            schema,
            columns,
            bounds,
            append_only,
        })
    }

    /// Each row of `input` once for each set, with the keys that the set has.
    fn expanded(&mut self, sets: &GroupingSets, numbers: &[ScalarValue], input: Built) -> Result<Built, CompileStop> {
        let mut keys = Vec::with_capacity(sets.keys.len());
        let mut fields = Vec::with_capacity(sets.keys.len() + 1 + input.columns.len());
        let mut bounds = Vec::with_capacity(fields.capacity());
        let name = |at: usize| set_column(at).name;
        for (at, key) in sets.keys.iter().enumerate() {
            keys.push(self.context.compile(key, &input.schema)?);
            let (_, field) = key.to_field(&input.schema)?;
            fields.push((
                None,
                Arc::new(field.as_ref().clone().with_name(name(at)).with_nullable(true)),
            ));
            let is_always_there = sets.has.iter().all(|has| has[at]);
            let bound = column_of(key, &input.schema).and_then(|column| input.bounds[column]);
            bounds.push(bound.filter(|_| is_always_there));
        }
        fields.push((
            None,
            Arc::new(Field::new(name(sets.keys.len()), numbers[0].data_type(), true)),
        ));
        bounds.push(None);
        for (qualifier, field) in input.schema.iter() {
            fields.push((qualifier.cloned(), field.clone()));
        }
        bounds.extend(input.bounds.iter().copied());
        let schema = DFSchema::new_with_metadata(fields, Default::default())?;
        let spec = ExpandSpec {
            keys,
            sets: sets.has.iter().cloned().zip(numbers.iter().cloned()).collect(),
            schema: arrow_schema(&schema),
            is_infallible: sets.keys.iter().all(is_infallible),
            text: sets.text(),
        };
        Ok(Built {
            node: self.add(NodeWork::Expand(Arc::new(spec)), &[input.node]),
            columns: (0..bounds.len()).collect(),
            schema,
            bounds,
            append_only: input.append_only,
        })
    }

    /// One aggregate function call.
    pub(super) fn call(&self, expr: &Expr, input: &Built, output: &DataType) -> Result<AggregateCall, CompileStop> {
        let expr = unaliased(expr);
        let Expr::AggregateFunction(call) = expr else {
            return unsupported(format!("{expr} is not an aggregate function"));
        };
        if let (Some(part), [argument]) = (single_part(&call.func), call.params.args.as_slice()) {
            return Ok(AggregateCall::Values {
                shown: ShownValue::Single(part),
                argument: self.context.compile(argument, &input.schema)?,
                filter: None,
                data_type: argument.get_type(&input.schema)?,
            });
        }
        if let Some(call) = self.subtracted(call, input, output)? {
            return Ok(call);
        }
        self.engines(expr, call, input, output)
    }

    /// A call whose state a row can be added to and taken from, if it is one.
    fn subtracted(
        &self,
        call: &AggregateFunction,
        input: &Built,
        output: &DataType,
    ) -> Result<Option<AggregateCall>, CompileStop> {
        let params = &call.params;
        let Some(kind) = AggregateKind::of_name(call.func.name()) else {
            return Ok(None);
        };
        if !params.order_by.is_empty() || params.null_treatment.is_some() || params.args.len() > 1 {
            return Ok(None);
        }
        let filter = params
            .filter
            .as_ref()
            .map(|filter| self.context.compile(filter, &input.schema))
            .transpose()?;
        if let (AggregateKind::Count, true, [argument]) = (kind, params.distinct, params.args.as_slice()) {
            return Ok(Some(AggregateCall::Values {
                shown: ShownValue::DistinctCount,
                argument: self.context.compile(argument, &input.schema)?,
                filter,
                data_type: argument.get_type(&input.schema)?,
            }));
        }
        let argument = params.args.first();
        let never_null = match argument {
            None => true,
            Some(Expr::Literal(value, _)) => !value.is_null(),
            Some(_) => false,
        };
        if kind == AggregateKind::Count && never_null && filter.is_none() {
            return Ok(Some(AggregateCall::Rows));
        }
        let one = datafusion::logical_expr::lit(1i64);
        let argument = argument.unwrap_or(&one);
        let data_type = argument.get_type(&input.schema)?;
        // The engine writes ANY and ALL of conditions with the largest and the least of booleans.
        let kind = match (kind, &data_type) {
            (AggregateKind::Max, DataType::Boolean) => AggregateKind::BoolOr,
            (AggregateKind::Min, DataType::Boolean) => AggregateKind::BoolAnd,
            (kind, _) => kind,
        };
        let idempotent = matches!(
            kind,
            AggregateKind::Min | AggregateKind::Max | AggregateKind::BoolAnd | AggregateKind::BoolOr
        );
        let distinct = params.distinct && !idempotent;
        let definition = aggregates::resolve(kind, &data_type)?;
        if definition.output != *output
            || state_for(&definition, input.append_only).is_none()
            || (distinct && differ_though_equal(&data_type))
        {
            return Ok(None);
        }
        Ok(Some(AggregateCall::Of {
            definition,
            argument: self.context.compile(argument, &input.schema)?,
            filter,
            distinct,
        }))
    }

    /// A call that the engine's own accumulators answer.
    fn engines(
        &self,
        expr: &Expr,
        call: &AggregateFunction,
        input: &Built,
        output: &DataType,
    ) -> Result<AggregateCall, CompileStop> {
        let name = call.func.name();
        if ORDERED.contains(&name) && !is_determined(call) {
            let shown = name.trim_start_matches('~');
            return unsupported(match call.params.order_by.is_empty() {
                true => format!("{shown} without ORDER BY takes rows in any order"),
                false => format!(
                    "{shown} takes rows in any order where its ORDER BY does not decide: add its arguments there"
                ),
            });
        }
        // Of values that are equal the first that comes counts.
        let takes_one = call.params.distinct || name == "mode" || is_percentile(name);
        if takes_one
            && let Some(value) = call.params.args.first()
            && differ_though_equal(&value.get_type(&input.schema)?)
        {
            return unsupported(format!("{name} takes any one of equal values that have several forms"));
        }
        let lowered = self.context.lower(expr, &input.schema)?;
        let function = lowered.aggregate;
        let given = function.expressions().into_iter();
        let given = given.chain(lowered.order_bys.iter().map(|by| by.expr.clone()));
        let (mut inputs, mut columns, mut types) = (Vec::new(), Vec::new(), Vec::new());
        let mut known: Vec<Arc<dyn PhysicalExpr>> = Vec::new();
        for physical in given {
            let expression = Expression::of(physical.clone());
            if let Some(value) = expression.constant()? {
                inputs.push(EngineInput::Constant(value));
                continue;
            }
            let at = match known.iter().position(|other| other.eq(&physical)) {
                Some(at) => at,
                None => {
                    types.push(physical.data_type(input.schema.as_arrow())?);
                    columns.push(expression);
                    known.push(physical);
                    known.len() - 1
                }
            };
            inputs.push(EngineInput::Kept(at));
        }
        let engine = EngineCall {
            may_fail: !NEVER_FAIL.contains(&name),
            function,
            inputs,
            columns,
            types,
            output: output.clone(),
        };
        let exact = matches!(name, "var_pop" | "var_samp" | "stddev_pop" | "stddev_samp");
        let runs = !call.params.distinct
            && RUNNING.contains(&name)
            && (input.append_only || (exact && engine.accumulator()?.supports_retract_batch()));
        Ok(AggregateCall::Engine {
            call: Arc::new(engine),
            filter: lowered.filter.map(Expression::of),
            runs,
        })
    }
}

/// Whether neither the arguments of an aggregate nor its filter and order can fail.
pub fn takes_infallibly(expr: &Expr) -> bool {
    let Expr::AggregateFunction(call) = unaliased(expr) else {
        return false;
    };
    let params = &call.params;
    let order_by = params.order_by.iter().map(|by| &by.expr);
    let exprs = params.args.iter().chain(params.filter.as_deref()).chain(order_by);
    exprs.into_iter().all(is_infallible)
}

/// Aggregates whose accumulator takes a few numbers, however many rows come.
const RUNNING: [&str; 19] = [
    "bit_and",
    "bit_or",
    "bit_xor",
    "corr",
    "covar_pop",
    "covar_samp",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev_pop",
    "stddev_samp",
    "var_pop",
    "var_samp",
];

/// Aggregates that have a result whatever their arguments are.
const NEVER_FAIL: [&str; 16] = [
    "array_agg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "count",
    "cume_dist",
    "dense_rank",
    "json_agg",
    "jsonb_agg",
    "mode",
    "percent_rank",
    "rank",
    "regr_count",
    "string_agg",
    "~json_agg",
    "bool_and",
];

/// Whether rows that stand anywhere in the order of a call have the same arguments.
fn is_determined(call: &AggregateFunction) -> bool {
    let params = &call.params;
    let is_ordered_by = |expr: &Expr| params.order_by.iter().any(|by| by.expr == *expr);
    params.args.iter().all(|argument| {
        let mut is_free = false;
        let walked = argument.apply(|part| {
            is_free |= matches!(part, Expr::Column(_)) && !is_ordered_by(part);
            Ok(match is_ordered_by(part) {
                true => TreeNodeRecursion::Jump,
                false => TreeNodeRecursion::Continue,
            })
        });
        walked.is_ok() && !is_free
    })
}

/// GROUPING SETS, which ROLLUP and CUBE are written out as.
struct GroupingSets {
    /// Each once.
    keys: Vec<Expr>,
    /// By set: whether it has a key.
    has: Vec<Vec<bool>>,
}

/// The sets of keys of an aggregate that has several.
fn grouping_sets(group_expr: &[Expr]) -> Result<Option<GroupingSets>, CompileStop> {
    let sets = match group_expr {
        [Expr::GroupingSet(GroupingSet::GroupingSets(sets))] => sets,
        exprs if exprs.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) => {
            return unsupported("grouping sets of this form are not kept incrementally");
        }
        _ => return Ok(None),
    };
    let keys: Vec<Expr> = grouping_set_to_exprlist(group_expr)?.into_iter().cloned().collect();
    let has = sets
        .iter()
        .map(|set| keys.iter().map(|key| set.contains(key)).collect());
    Ok(Some(GroupingSets {
        has: has.collect(),
        keys,
    }))
}

impl GroupingSets {
    /// The numbers of the sets as the engine gives them: a bit for each key that is left out, and above them the number of
    /// sets alike before.
    fn numbers(&self, data_type: &DataType) -> Result<Vec<ScalarValue>, SqlError> {
        let of = |at: usize| {
            let left_out = self.has[at]
                .iter()
                .fold(0u64, |bits, has| (bits << 1) | u64::from(!has));
            let alike = self.has[..at].iter().filter(|has| **has == self.has[at]).count() as u64;
            // No 64 keys fit into one plan's number.
            let alike = alike.checked_shl(self.keys.len() as u32).unwrap_or(0);
            ScalarValue::UInt64(Some(left_out | alike)).cast_to(data_type)
        };
        Ok((0..self.has.len()).map(of).collect::<Result<_, _>>()?)
    }

    /// The stored keys of the groups that are there over no rows, too: those of the sets without keys.
    fn always(&self, numbers: &[ScalarValue], input: &DFSchema) -> Result<Vec<ArrayRef>, SqlError> {
        let empty = self.has.iter().zip(numbers).filter(|(has, _)| !has.contains(&true));
        let numbers: Vec<ScalarValue> = empty.map(|(_, number)| number.clone()).collect();
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        let mut columns = Vec::with_capacity(self.keys.len() + 1);
        for key in &self.keys {
            columns.push(new_null_array(&key.get_type(input)?, numbers.len()));
        }
        columns.push(ScalarValue::iter_to_array(numbers)?);
        Ok(columns)
    }

    fn text(&self) -> String {
        let set = |has: &Vec<bool>| {
            let keys = self.keys.iter().zip(has).filter(|(_, has)| **has);
            format!("[{}]", texts(keys.map(|(key, _)| key)))
        };
        self.has.iter().map(set).collect::<Vec<String>>().join(", ")
    }
}

/// The name of a key's column, or of the set's number, where each row stands once for each set.
fn set_column(at: usize) -> Column {
    Column::from_name(format!("\u{1}set{at}"))
}

pub fn texts<'a>(exprs: impl IntoIterator<Item = &'a Expr>) -> String {
    let texts: Vec<String> = exprs.into_iter().map(|expr| expr.to_string()).collect();
    texts.join(", ")
}
