//! ASOF JOIN: its condition, taken apart into keys and times.
//!
//! One rule: the condition is a conjunction of comparisons between the two sides: equalities, and one inequality.

use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan, Operator};
use sqlparser::ast::{self, JoinOperator};

use super::from_part::{Factor, Rel};
use super::join::{absent, check_names, is_subquery};
use super::operators::has;
use super::scope::{Clause, Scope};
use super::typed::at;
use super::unnest;
use super::{Analyzer, Result};
use crate::error::{SqlError, state};
use crate::sql::asof::{AsofCondition, AsofJoin, Nearest};

const HINT: &str = "Write ON a.key = b.key AND a.time >= b.time: any number of equalities, and one of >=, >, <=, <.";

/// A comparison of the left side with the right one.
struct Compared {
    left: Expr,
    operator: Operator,
    right: Expr,
}

impl Analyzer<'_> {
    /// `left ASOF [LEFT] JOIN right ON ...`
    pub fn asof_join(
        &self,
        left: Factor,
        right: Factor,
        written: &ast::Join,
        parent: Option<&Scope>,
    ) -> Result<Factor> {
        let (keeps_left, constraint) = match &written.join_operator {
            JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => (false, constraint),
            JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => (true, constraint),
            _ => {
                return Err(SqlError::unsupported(
                    "an ASOF JOIN is an inner or a left join",
                    "Put the side whose rows are all wanted on the left of ASOF LEFT JOIN.",
                ));
            }
        };
        let ast::JoinConstraint::On(on) = constraint else {
            return Err(SqlError::new(state::SYNTAX_ERROR, "an ASOF JOIN has its condition in ON").hint(HINT));
        };
        let Factor { rel: left, joined } = left;
        if right.joined || unnest::names_columns_of(&right.rel.plan, &left.plan) {
            return Err(SqlError::unsupported(
                "the right side of an ASOF JOIN cannot name columns of the left side",
                "Use LATERAL (SELECT ... ORDER BY ... LIMIT 1).",
            ));
        }
        let right = right.rel;
        let mut all = left.items.clone();
        all.extend(right.items.iter().cloned());
        check_names(&all, None)?;
        let scope = Scope::new(all, parent);
        let typed = scope.within(Clause::On, || self.expr(on, &scope))?;
        let place = typed.position;
        let on = self.condition(typed, "JOIN/ON")?;
        let condition = asof_condition(on, &left, &right).map_err(|error| at(error, place))?;
        let plan = AsofJoin::new(left.plan, right.plan, condition, keeps_left)?.into_plan();
        let mut items = absent(left.items, false);
        items.extend(absent(right.items, keeps_left));
        Ok(Factor {
            rel: Rel { plan, items },
            joined,
        })
    }
}

fn asof_condition(on: Expr, left: &Rel, right: &Rel) -> Result<AsofCondition> {
    let mut keys = Vec::new();
    let mut times: Option<((Expr, Expr), Nearest)> = None;
    for part in split_conjunction_owned(on) {
        if has(&part, is_subquery) {
            return Err(SqlError::unsupported(
                "the condition of an ASOF JOIN cannot have a subquery",
                "Compute its value in a subquery in FROM.",
            ));
        }
        let compared = compared(part, &left.plan, &right.plan)?;
        let operator = compared.operator;
        let pair = of_one_type(compared, left, right)?;
        match Nearest::of_operator(operator) {
            None => keys.push(pair),
            Some(nearest) if times.is_none() => times = Some((pair, nearest)),
            Some(_) => {
                return Err(SqlError::new(state::SYNTAX_ERROR, "an ASOF JOIN has more than one inequality").hint(HINT));
            }
        }
    }
    let Some((times, nearest)) = times else {
        return Err(SqlError::new(state::SYNTAX_ERROR, "an ASOF JOIN has no inequality").hint(HINT));
    };
    let columns = right
        .items
        .iter()
        .filter(|item| item.bare)
        .flat_map(|item| &item.columns);
    let ties = columns.filter(|column| !column.hidden && matches!(column.expr, Expr::Column(_)));
    Ok(AsofCondition {
        keys,
        times,
        nearest,
        ties: ties.map(|column| column.expr.clone()).collect(),
    })
}

/// A part of the condition, turned so that the left side stands left.
fn compared(part: Expr, left: &LogicalPlan, right: &LogicalPlan) -> Result<Compared> {
    let is_of = |expr: &Expr, plan: &LogicalPlan| {
        let columns = expr.column_refs();
        let is_outer = has(expr, |node| matches!(node, Expr::OuterReferenceColumn(..)));
        !columns.is_empty() && !is_outer && columns.iter().all(|column| plan.schema().has_column(column))
    };
    if let Expr::BinaryExpr(BinaryExpr {
        left: one,
        op,
        right: other,
    }) = part
        && (op == Operator::Eq || Nearest::of_operator(op).is_some())
    {
        if is_of(&one, left) && is_of(&other, right) {
            return Ok(Compared {
                left: *one,
                operator: op,
                right: *other,
            });
        }
        if let (true, true, Some(operator)) = (is_of(&one, right), is_of(&other, left), op.swap()) {
            return Ok(Compared {
                left: *other,
                operator,
                right: *one,
            });
        }
    }
    Err(SqlError::unsupported(
        "the condition of an ASOF JOIN compares columns of one side with those of the other, and nothing else",
        format!("{HINT} Choose rows of one side in a subquery, or by WHERE."),
    ))
}

/// Both sides as the engine compares them.
fn of_one_type(compared: Compared, left: &Rel, right: &Rel) -> Result<(Expr, Expr)> {
    let Compared {
        left: one,
        operator,
        right: other,
    } = compared;
    let types = (one.get_type(left.plan.schema())?, other.get_type(right.plan.schema())?);
    if types.0 == types.1 {
        return Ok((one, other));
    }
    let wanted = BinaryTypeCoercer::new(&types.0, &operator, &types.1).get_input_types()?;
    let cast = |expr: Expr, has, wants| match has == wants {
        true => expr,
        false => Expr::Cast(Cast::new(Box::new(expr), wants)),
    };
    if wanted.0 != wanted.1 {
        return Err(SqlError::unsupported(
            format!("an ASOF JOIN cannot compare {} with {}", types.0, types.1),
            "Cast both to one type.",
        ));
    }
    Ok((cast(one, types.0, wanted.0), cast(other, types.1, wanted.1)))
}
