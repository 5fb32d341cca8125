//! A join of the plan to a join operator.
//!
//! One rule: a side's rows are kept with the columns that the plan above, the keys and the condition need, and no others.
//!
//! Joins that the planner makes of NOT IN, INTERSECT ALL and EXCEPT ALL become operators of their own.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema, JoinType, NullEquality};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, logical_plan};

use crate::error::SqlError;
use crate::log::HiddenColumn;

use super::super::dataflow::NodeWork;
use super::super::expression::{Expression, is_infallible};
use super::super::operators::join::{JoinSideSpec, JoinSpec, NotInSpec, ShownWhen};
use super::super::operators::linear::Linear;
use super::super::operators::set::{SetKind, SetSpec};
use super::temporal::asks_for_time;
use super::{
    Built, CompileStop, Compiler, arrow_schema, check_all, column_of, needed_by, subset, unaliased, unsupported,
};

/// Which rows of each side are shown, and whether pairs are.
struct JoinShape {
    shown: [ShownWhen; 2],
    pairs: bool,
}

fn shape(join_type: JoinType) -> JoinShape {
    use ShownWhen::{Marked, Matched, Never, Unmatched};
    let (shown, pairs) = match join_type {
        JoinType::Inner => ([Never, Never], true),
        JoinType::Left => ([Unmatched, Never], true),
        JoinType::Right => ([Never, Unmatched], true),
        JoinType::Full => ([Unmatched, Unmatched], true),
        JoinType::LeftSemi => ([Matched, Never], false),
        JoinType::RightSemi => ([Never, Matched], false),
        JoinType::LeftAnti => ([Unmatched, Never], false),
        JoinType::RightAnti => ([Never, Unmatched], false),
        JoinType::LeftMark => ([Marked, Never], false),
        JoinType::RightMark => ([Never, Marked], false),
    };
    JoinShape { shown, pairs }
}

impl Compiler {
    pub(super) fn join(&mut self, join: &logical_plan::Join, needed: &[bool]) -> Result<Built, CompileStop> {
        if let (JoinType::Inner, Some(filter)) = (join.join_type, &join.filter)
            && asks_for_time(filter)
        {
            // All conditions on time apply to pairs.
            let (timed, rest): (Vec<&Expr>, _) = split_conjunction(filter)
                .into_iter()
                .partition(|part| asks_for_time(part));
            let untimed = logical_plan::Join {
                filter: conjunction(rest.into_iter().cloned()),
                ..join.clone()
            };
            let timed = conjunction(timed.into_iter().cloned()).expect("there is one");
            let filter = logical_plan::Filter::try_new(timed, Arc::new(LogicalPlan::Join(untimed)))?;
            return self.filter(&filter, needed);
        }
        if join.null_aware {
            return self.not_in(join, needed);
        }
        if let Some(set) = set_of_all(join) {
            return self.set(&set, join, needed);
        }
        if is_numbered(&join.left) && is_numbered(&join.right) {
            return unsupported(
                "INTERSECT ALL and EXCEPT ALL of values that have several forms are not kept incrementally",
            );
        }
        let JoinShape { shown, pairs } = shape(join.join_type);
        let (equal, filter) = equal_pairs(join)?;
        let keys = [
            equal.iter().map(|pair| &pair.sides[0]).collect::<Vec<&Expr>>(),
            equal.iter().map(|pair| &pair.sides[1]).collect(),
        ];
        check_all(keys.iter().flatten().copied())?;
        check_all(&filter)?;
        let plans: [&LogicalPlan; 2] = [&join.left, &join.right];
        // The place of each side's columns in the output.
        let widths = plans.map(|plan| plan.schema().fields().len());
        let from = match (pairs, shown[0] == ShownWhen::Never) {
            (true, _) => [Some(0), Some(widths[0])],
            (false, false) => [Some(0), None],
            (false, true) => [None, Some(0)],
        };
        let mut built = Vec::with_capacity(2);
        for side in 0..2 {
            let schema = plans[side].schema();
            let mut below = needed_by(keys[side].iter().copied(), schema)?;
            for column in filter.iter().flat_map(Expr::column_refs) {
                if let Some(index) = schema.maybe_index_of_column(column) {
                    below[index] = true;
                }
            }
            if let Some(from) = from[side] {
                for (column, below) in below.iter_mut().enumerate() {
                    *below |= needed[from + column];
                }
            }
            built.push(self.node(plans[side], &below)?);
        }
        let inputs: [Built; 2] = built.try_into().ok().expect("a join has two inputs");

        let mut key_types: Vec<DataType> = Vec::with_capacity(equal.len());
        for EqualPair {
            sides: [left, right], ..
        } in &equal
        {
            let types = (left.get_type(&inputs[0].schema)?, right.get_type(&inputs[1].schema)?);
            if types.0 != types.1 {
                return unsupported("the keys of a join differ in their types");
            }
            key_types.push(types.0);
        }
        let both: DFSchema = inputs[0].schema.join(&inputs[1].schema)?;
        let condition = match &filter {
            Some(filter) => Some(self.context.compile(filter, &both)?),
            None => None,
        };
        // Of each side only the columns that are needed above are shown.
        let outputs = [0, 1].map(|side| {
            let shows = |at: &usize| from[side].is_some_and(|from: usize| needed[from + inputs[side].columns[*at]]);
            (0..inputs[side].columns.len()).filter(shows).collect::<Vec<usize>>()
        });
        let mut columns = Vec::new();
        for side in 0..2 {
            let of = |at: &usize| from[side].unwrap_or(0) + inputs[side].columns[*at];
            columns.extend(outputs[side].iter().map(of));
        }
        if shown.contains(&ShownWhen::Marked) {
            columns.push(join.schema.fields().len() - 1);
        }
        let schema = subset(&join.schema, &columns)?;
        // Of rows that are never shown only the distinct ones matter, and how many of them there are.
        let are_told_apart = |side: usize| pairs || filter.is_some() || shown[side] != ShownWhen::Never;
        let mut sides = Vec::with_capacity(2);
        for (side, input) in inputs.iter().enumerate() {
            let compiled = keys[side].iter().map(|key| self.context.compile(key, &input.schema));
            sides.push(JoinSideSpec {
                keys: compiled.collect::<Result<Vec<Expression>, SqlError>>()?,
                schema: arrow_schema(&input.schema),
                grows: input.append_only && are_told_apart(side),
                shown: shown[side],
            });
        }
        // Rows without a time meet one another where NULLs are equal: by key, they are kept.
        let pairs_of = equal.iter().filter(|pair| filter.is_none() || !pair.nulls_match);
        let pairs_of = pairs_of.map(|pair| (&pair.sides[0], &pair.sides[1]));
        let times = self.join_times(
            [inputs[0].node, inputs[1].node],
            [&inputs[0].schema, &inputs[1].schema],
            &pairs_of.collect::<Vec<_>>(),
            filter.as_ref().map(|filter| (filter, &both)),
            [inputs[0].append_only, inputs[1].append_only],
        );
        let unbounded = times.unbounded.iter().map(|column| {
            let column = Column::from(both.qualified_field(*column));
            let watermark = Column::new(column.relation.clone(), HiddenColumn::Watermark.name());
            format!("({column} < {watermark}) IS NOT TRUE")
        });
        let unbounded = unbounded.collect();
        let mut facts = Vec::with_capacity(columns.len());
        for (side, outputs) in outputs.iter().enumerate() {
            let first = side * inputs[0].columns.len();
            facts.extend(outputs.iter().map(|at| times.facts[first + at].clone()));
        }
        let append_only = inputs.iter().all(|input| input.append_only)
            && shown
                .iter()
                .all(|shown| matches!(shown, ShownWhen::Never | ShownWhen::Matched));
        let retracts = !inputs.iter().all(|input| input.append_only);
        let may_fail = !filter.iter().all(is_infallible);
        let spec = JoinSpec {
            sides: sides.try_into().expect("a join has two sides"),
            key_types,
            nulls_match: equal.iter().map(|pair| pair.nulls_match).collect(),
            condition,
            pair_schema: arrow_schema(&both),
            pairs,
            outputs,
            schema: arrow_schema(&schema),
            append_only,
            is_infallible: keys.iter().flatten().all(|key| is_infallible(key)) && !may_fail,
            holds_inputs: [0, 1].map(|side| (may_fail && retracts) || (equal.is_empty() && !inputs[side].append_only)),
            has_constant_side: inputs
                .iter()
                .any(|input| matches!(self.nodes[input.node].step, NodeWork::Constant(_))),
            holds_output: false,
            text: match times.expiry {
                Some(_) => format!("{}, drops rows that meet no later ones", text(join, &equal, &filter)),
                None => text(join, &equal, &filter),
            },
            expiry: times.expiry,
            unbounded,
        };
        let [left, right] = inputs;
        let node = self.add(NodeWork::Join(Arc::new(spec)), &[left.node, right.node]);
        self.facts[node] = facts;
        Ok(Built {
            node,
            bounds: vec![None; columns.len()],
            schema,
            columns,
            append_only,
        })
    }

    /// `x NOT IN (SELECT y ...)`
    fn not_in(&mut self, join: &logical_plan::Join, needed: &[bool]) -> Result<Built, CompileStop> {
        let condition: Option<(&Expr, &Expr)> = match (join.on.as_slice(), &join.filter) {
            ([(left, right)], None) => Some((left, right)),
            (
                [],
                Some(Expr::BinaryExpr(BinaryExpr {
                    left,
                    op: Operator::Eq,
                    right,
                })),
            ) => Some((left, right)),
            _ => None,
        };
        let (JoinType::LeftAnti, Some((left, right))) = (join.join_type, condition) else {
            return unsupported("a NOT IN with further conditions is not kept incrementally yet");
        };
        check_all([left, right])?;
        let mut below = needed_by([left], join.left.schema())?;
        for (below, needed) in below.iter_mut().zip(needed) {
            *below |= needed;
        }
        let left_input = self.node(&join.left, &below)?;
        let right_input = self.node(&join.right, &needed_by([right], join.right.schema())?)?;
        let key_type = left.get_type(&left_input.schema)?;
        if key_type != right.get_type(&right_input.schema)? {
            return unsupported("the keys of a join differ in their types");
        }
        let spec = NotInSpec {
            keys: [
                self.context.compile(left, &left_input.schema)?,
                self.context.compile(right, &right_input.schema)?,
            ],
            key_type,
            schema: arrow_schema(&left_input.schema),
            grows: left_input.append_only,
            text: format!("Not in: {left} <> all {right}"),
        };
        Ok(Built {
            node: self.add(NodeWork::NotIn(Arc::new(spec)), &[left_input.node, right_input.node]),
            append_only: false,
            ..left_input
        })
    }

    /// INTERSECT ALL and EXCEPT ALL
    fn set(&mut self, set: &SetOfAll, join: &logical_plan::Join, needed: &[bool]) -> Result<Built, CompileStop> {
        let width = set.inputs[0].schema().fields().len();
        let columns: Vec<usize> = (0..join.schema.fields().len())
            .filter(|column| *column != set.number)
            .collect();
        if columns.len() != width || needed[set.number] {
            return unsupported("it counts the copies of rows");
        }
        let schema = subset(&join.schema, &columns)?;
        let output = arrow_schema(&schema);
        let mut nodes = Vec::with_capacity(2);
        for plan in set.inputs {
            let input = self.node(plan, &vec![true; width])?;
            if input
                .schema
                .fields()
                .iter()
                .zip(output.fields())
                .any(|(own, out)| own.data_type() != out.data_type())
            {
                return unsupported("the inputs of a set operation differ in their types");
            }
            let all = (0..width).map(|column| {
                let found = input.columns.iter().position(|have| *have == column);
                found.expect("needed, so made")
            });
            nodes.push(self.pick(all.collect(), output.clone(), input.node));
        }
        let spec = SetSpec {
            kind: set.kind,
            schema: output,
        };
        Ok(Built {
            node: self.add(NodeWork::Set(Arc::new(spec)), &nodes),
            bounds: vec![None; columns.len()],
            schema,
            columns,
            append_only: false,
        })
    }

    /// Has joins and conditions on time hold their output until the step ends wherever something above could fail on a row that
    /// goes again.
    pub(super) fn hold(&mut self) {
        for node in (0..self.nodes.len()).rev() {
            let mut step = self.nodes[node].step.clone();
            match &mut step {
                NodeWork::Join(spec) if !spec.append_only => Arc::make_mut(spec).holds_output = true,
                NodeWork::Temporal(spec) if spec.retracts => Arc::make_mut(spec).holds_output = true,
                _ => continue,
            }
            if self.may_fail_above(node) {
                self.nodes[node].step = step;
            }
        }
    }

    /// Whether an expression above `node` may fail on a row that it shows, before the end of a step decides which rows are left.
    fn may_fail_above(&self, node: usize) -> bool {
        self.nodes[node].consumers.iter().any(|consumer| {
            let (may_fail, goes_on) = match &self.nodes[consumer.node].step {
                NodeWork::Linear { linear, is_infallible } => {
                    (!is_infallible && !matches!(linear, Linear::Pick { .. }), true)
                }
                NodeWork::Aggregate(spec) => (!spec.is_infallible, false),
                NodeWork::Join(spec) => (!spec.is_infallible, !spec.holds_output),
                // Their output is what is left at the end of the step.
                NodeWork::Set(_) | NodeWork::Session(_) | NodeWork::Asof(_) => (false, false),
                NodeWork::Partitioned(spec) => (!spec.computes_of_kept_rows(), false),
                NodeWork::Temporal(spec) => (!spec.is_infallible, !spec.holds_output),
                // Keys and times are computed of each row.
                NodeWork::NotIn(_) | NodeWork::Window(_) => (true, false),
                NodeWork::Union => (false, true),
                NodeWork::Expand(spec) => (!spec.is_infallible, true),
                NodeWork::Scan(_) | NodeWork::Constant(_) => panic!("a leaf has no input"),
            };
            may_fail || (goes_on && self.may_fail_above(consumer.node))
        })
    }
}

/// Expressions over either side of a join that must be equal.
struct EqualPair {
    sides: [Expr; 2],
    nulls_match: bool,
}

/// The equal pairs of a join, and the rest of its condition. (The engine, too, computes keys of every row.)
fn equal_pairs(join: &logical_plan::Join) -> Result<(Vec<EqualPair>, Option<Expr>), SqlError> {
    let nulls_match = join.null_equality == NullEquality::NullEqualsNull;
    let on = join.on.iter().map(|(left, right)| EqualPair {
        sides: [left.clone(), right.clone()],
        nulls_match,
    });
    let mut equal: Vec<EqualPair> = on.collect();
    let schemas = [join.left.schema(), join.right.schema()];
    let is_of = |expr: &Expr, side: usize| {
        let columns = expr.column_refs();
        !columns.is_empty() && columns.iter().all(|column| schemas[side].has_column(column))
    };
    let mut rest = Vec::new();
    for part in join.filter.iter().flat_map(split_conjunction) {
        let (left, right, nulls_match) = match part {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if *op == Operator::Eq => (left, right, false),
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if *op == Operator::IsNotDistinctFrom => {
                (left, right, true)
            }
            _ => {
                rest.push(part.clone());
                continue;
            }
        };
        let sides = match (is_of(left, 0) && is_of(right, 1), is_of(left, 1) && is_of(right, 0)) {
            (true, _) => [left, right],
            (false, true) => [right, left],
            (false, false) => {
                rest.push(part.clone());
                continue;
            }
        };
        let is_alike = sides[0].get_type(schemas[0])? == sides[1].get_type(schemas[1])?;
        if !is_alike {
            rest.push(part.clone());
            continue;
        }
        equal.push(EqualPair {
            sides: sides.map(|side| side.as_ref().clone()),
            nulls_match,
        });
    }
    Ok((equal, conjunction(rest)))
}

/// INTERSECT ALL or EXCEPT ALL as the planner writes it: the n-th copy on the left meets the n-th on the right.
struct SetOfAll<'a> {
    kind: SetKind,
    inputs: [&'a LogicalPlan; 2],
    /// The column that numbers copies.
    number: usize,
}

fn set_of_all(join: &logical_plan::Join) -> Option<SetOfAll<'_>> {
    let kind = match join.join_type {
        JoinType::LeftSemi => SetKind::IntersectAll,
        JoinType::LeftAnti => SetKind::ExceptAll,
        _ => return None,
    };
    if join.filter.is_some() || join.null_equality != NullEquality::NullEqualsNull {
        return None;
    }
    let (left, number) = numbered(&join.left)?;
    let (right, other) = numbered(&join.right)?;
    // All columns are compared, each with its like.
    let is_compared = |column: usize| {
        let pair = (
            Expr::from(join.left.schema().qualified_field(column)),
            Expr::from(join.right.schema().qualified_field(column)),
        );
        join.on.contains(&pair)
    };
    let columns = join.left.schema().fields().len();
    let all = number == other
        && join.right.schema().fields().len() == columns
        && join.on.len() == columns
        && (0..columns).all(is_compared);
    all.then_some(SetOfAll {
        kind,
        inputs: [left, right],
        number,
    })
}

/// A plan whose rows are numbered within those that are equal, and the column of the numbers, which stands behind all others.
fn numbered(plan: &LogicalPlan) -> Option<(&LogicalPlan, usize)> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => numbered(&alias.input),
        LogicalPlan::Projection(projection) => {
            let same = projection
                .expr
                .iter()
                .enumerate()
                .all(|(at, expr)| column_of(expr, projection.input.schema()) == Some(at));
            let (input, number) = numbered(&projection.input)?;
            (same && projection.expr.len() == number + 1).then_some((input, number))
        }
        LogicalPlan::Window(window) => {
            let [call] = window.window_expr.as_slice() else {
                return None;
            };
            let Expr::WindowFunction(call) = unaliased(call) else {
                return None;
            };
            let schema = window.input.schema();
            let by = &call.params.partition_by;
            let whole = by.len() == schema.fields().len()
                && by
                    .iter()
                    .enumerate()
                    .all(|(at, expr)| column_of(expr, schema) == Some(at));
            (call.fun.name() == "row_number" && call.params.order_by.is_empty() && whole)
                .then_some((&window.input, schema.fields().len()))
        }
        _ => None,
    }
}

/// Whether a plan's rows are numbered within those that are equal, be it by keys of their columns.
fn is_numbered(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => is_numbered(&alias.input),
        LogicalPlan::Window(window) => {
            let numbers = |expr: &Expr| match unaliased(expr) {
                Expr::WindowFunction(call) => call.fun.name() == "row_number" && call.params.order_by.is_empty(),
                _ => false,
            };
            matches!(window.window_expr.as_slice(), [call] if numbers(call))
        }
        _ => false,
    }
}

/// One line for EXPLAIN.
fn text(join: &logical_plan::Join, equal: &[EqualPair], filter: &Option<Expr>) -> String {
    let keys = equal.iter().map(|pair| {
        let [left, right] = &pair.sides;
        match pair.nulls_match {
            true => format!("{left} is not distinct from {right}"),
            false => format!("{left} = {right}"),
        }
    });
    let conditions: Vec<String> = keys.chain(filter.iter().map(|filter| filter.to_string())).collect();
    let kind = match join.join_type {
        JoinType::LeftSemi | JoinType::RightSemi => "Semi".to_string(),
        JoinType::LeftAnti | JoinType::RightAnti => "Anti".to_string(),
        JoinType::LeftMark | JoinType::RightMark => "Mark".to_string(),
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => join.join_type.to_string(),
    };
    match conditions.is_empty() {
        true => format!("{kind} join"),
        false => format!("{kind} join: {}", conditions.join(" and ")),
    }
}
