//! A join of the plan to a join operator.
//!
//! One rule: a side's rows are kept with the columns that the plan above, the keys and the condition need, and no others.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, JoinType, NullEquality};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, logical_plan};

use crate::error::SqlError;

use super::super::dataflow::NodeWork;
use super::super::expression::Expression;
use super::super::join::{JoinSideSpec, JoinSpec, ShownWhen};
use super::{Built, CompileStop, Compiler, arrow_schema, check_all, needed_by, subset, unsupported};

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
        if join.null_aware {
            return unsupported("NOT IN over a subquery is not kept incrementally yet");
        }
        let JoinShape { shown, pairs } = shape(join.join_type);
        let keys = [
            join.on.iter().map(|(left, _)| left).collect::<Vec<&Expr>>(),
            join.on.iter().map(|(_, right)| right).collect(),
        ];
        check_all(keys.iter().flatten().copied())?;
        check_all(&join.filter)?;
        let plans: [&LogicalPlan; 2] = [&join.left, &join.right];
        // Where each side's columns are in what comes out.
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
            for column in join.filter.iter().flat_map(Expr::column_refs) {
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

        let mut key_types: Vec<DataType> = Vec::with_capacity(join.on.len());
        for (left, right) in &join.on {
            let types = (left.get_type(&inputs[0].schema)?, right.get_type(&inputs[1].schema)?);
            if types.0 != types.1 {
                return unsupported("the keys of a join differ in their types");
            }
            key_types.push(types.0);
        }
        let both: DFSchema = inputs[0].schema.join(&inputs[1].schema)?;
        let condition = match &join.filter {
            Some(filter) => Some(self.context.compile(filter, &both)?),
            None => None,
        };
        let mut columns = Vec::new();
        for (input, from) in inputs.iter().zip(from) {
            columns.extend(
                from.iter()
                    .flat_map(|from| input.columns.iter().map(move |column| from + column)),
            );
        }
        if shown.contains(&ShownWhen::Marked) {
            columns.push(join.schema.fields().len() - 1);
        }
        let schema = subset(&join.schema, &columns)?;
        let mut sides = Vec::with_capacity(2);
        for (side, input) in inputs.iter().enumerate() {
            let compiled = keys[side].iter().map(|key| self.context.compile(key, &input.schema));
            sides.push(JoinSideSpec {
                keys: compiled.collect::<Result<Vec<Expression>, SqlError>>()?,
                schema: arrow_schema(&input.schema),
                grows: input.append_only,
                shown: shown[side],
            });
        }
        let append_only = inputs.iter().all(|input| input.append_only)
            && shown
                .iter()
                .all(|shown| matches!(shown, ShownWhen::Never | ShownWhen::Matched));
        let spec = JoinSpec {
            sides: sides.try_into().expect("a join has two sides"),
            key_types,
            nulls_match: join.null_equality == NullEquality::NullEqualsNull,
            condition,
            pair_schema: arrow_schema(&both),
            pairs,
            schema: arrow_schema(&schema),
            text: text(join),
        };
        let [left, right] = inputs;
        Ok(Built {
            node: self.add(NodeWork::Join(Arc::new(spec)), &[left.node, right.node]),
            bounds: vec![None; columns.len()],
            schema,
            columns,
            append_only,
        })
    }
}

/// One line for EXPLAIN.
fn text(join: &logical_plan::Join) -> String {
    let keys = join.on.iter().map(|(left, right)| format!("{left} = {right}"));
    let conditions: Vec<String> = keys
        .chain(join.filter.iter().map(|filter| filter.to_string()))
        .collect();
    match conditions.is_empty() {
        true => format!("{} join", join.join_type),
        false => format!("{} join: {}", join.join_type, conditions.join(" and ")),
    }
}
