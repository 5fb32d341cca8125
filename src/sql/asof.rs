//! The node of ASOF JOIN: each row of the left side with the nearest row of the right one. One plan node that batch queries and
//! views share.
//!
//! One rule: the answer is a function of the two sides' rows. Right rows of one key stand in the order of their times, beginning
//! with the one that is nearest to rows on its far side; those of one time in the order of their columns, as ORDER BY sorts them. A
//! left row meets the first right row that stands at its own time (or behind it) in that order. NULL keys and times meet nothing.
//!
//! `analyze/asof.rs` turns the condition into this node.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::compute::SortOptions;
use datafusion::common::{DFSchemaRef, JoinType, Result, internal_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, Operator, UserDefinedLogicalNodeCore, build_join_schema};

/// Which right row is the nearest, by the times of both sides: `left.time >= right.time` and its kind.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Nearest {
    /// `>=`: the last one until then.
    AtOrBefore,
    /// `>`
    Before,
    /// `<=`: the first one from then on.
    AtOrAfter,
    /// `<`
    After,
}

impl Nearest {
    /// Of an operator whose left operand is the left side's time.
    pub fn of_operator(operator: Operator) -> Option<Nearest> {
        match operator {
            Operator::GtEq => Some(Nearest::AtOrBefore),
            Operator::Gt => Some(Nearest::Before),
            Operator::LtEq => Some(Nearest::AtOrAfter),
            Operator::Lt => Some(Nearest::After),
            _ => None,
        }
    }

    fn symbol(self) -> &'static str {
        match self {
            Nearest::AtOrBefore => ">=",
            Nearest::Before => ">",
            Nearest::AtOrAfter => "<=",
            Nearest::After => "<",
        }
    }

    /// The order of times in which a left row meets the first right row that it comes to. NULLs stand behind all.
    pub fn order(self) -> SortOptions {
        SortOptions {
            descending: matches!(self, Nearest::AtOrBefore | Nearest::Before),
            nulls_first: false,
        }
    }

    /// Whether rows of the same time meet.
    pub fn meets_equal(self) -> bool {
        matches!(self, Nearest::AtOrBefore | Nearest::AtOrAfter)
    }
}

/// The condition of an ASOF JOIN. Pairs are of the left side and the right one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct AsofCondition {
    /// They must be equal.
    pub keys: Vec<(Expr, Expr)>,
    pub times: (Expr, Expr),
    pub nearest: Nearest,
    /// What right rows of one time are sorted by; by all their columns behind.
    pub ties: Vec<Expr>,
}

impl AsofCondition {
    /// As a user writes it.
    fn text(&self) -> String {
        let keys = self.keys.iter().map(|(left, right)| format!("{left} = {right}"));
        let (left, right) = &self.times;
        let times = format!("{left} {} {right}", self.nearest.symbol());
        keys.chain([times]).collect::<Vec<_>>().join(" and ")
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct AsofJoin {
    pub left: LogicalPlan,
    pub right: LogicalPlan,
    pub condition: AsofCondition,
    /// A left row that meets nothing is there with NULLs.
    pub keeps_left: bool,
    schema: DFSchemaRef,
}

impl AsofJoin {
    pub fn new(left: LogicalPlan, right: LogicalPlan, condition: AsofCondition, keeps_left: bool) -> Result<AsofJoin> {
        let join_type = match keeps_left {
            true => JoinType::Left,
            false => JoinType::Inner,
        };
        let schema = Arc::new(build_join_schema(left.schema(), right.schema(), &join_type)?);
        Ok(AsofJoin {
            left,
            right,
            condition,
            keeps_left,
            schema,
        })
    }

    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }

    /// The node of a plan node, if it is one.
    pub fn of(plan: &LogicalPlan) -> Option<&AsofJoin> {
        match plan {
            LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref::<AsofJoin>(),
            _ => None,
        }
    }

    /// One line for EXPLAIN.
    pub fn text(&self) -> String {
        let kind = match self.keeps_left {
            true => "Asof left join",
            false => "Asof join",
        };
        format!("{kind}: {}", self.condition.text())
    }

    /// Of the left side.
    pub fn width(&self) -> usize {
        self.left.schema().fields().len()
    }
}

impl PartialOrd for AsofJoin {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.condition.nearest, self.keeps_left)
            .partial_cmp(&(other.condition.nearest, other.keeps_left))
            .filter(|ordering| *ordering != Ordering::Equal || self == other)
    }
}

impl UserDefinedLogicalNodeCore for AsofJoin {
    fn name(&self) -> &str {
        "AsofJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let condition = &self.condition;
        let pairs = condition.keys.iter().chain([&condition.times]);
        let pairs = pairs.flat_map(|(left, right)| [left.clone(), right.clone()]);
        pairs.chain(condition.ties.iter().cloned()).collect()
    }

    /// The engine would move a condition to both sides.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        let fields = self.schema.fields().iter();
        fields.map(|field| field.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.text())
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Ok([left, right]) = <[LogicalPlan; 2]>::try_from(inputs) else {
            return internal_err!("an ASOF JOIN has two sides");
        };
        let pairs = self.condition.keys.len() + 1;
        if exprs.len() != 2 * pairs + self.condition.ties.len() {
            return internal_err!("an ASOF JOIN keeps its expressions");
        }
        let mut exprs = exprs.into_iter();
        let mut keys: Vec<(Expr, Expr)> = Vec::with_capacity(pairs);
        while keys.len() < pairs
            && let (Some(left), Some(right)) = (exprs.next(), exprs.next())
        {
            keys.push((left, right));
        }
        let times = keys.pop().expect("there is a pair of times");
        let condition = AsofCondition {
            keys,
            times,
            nearest: self.condition.nearest,
            ties: exprs.collect(),
        };
        AsofJoin::new(left, right, condition, self.keeps_left)
    }

    /// Columns that only the condition reads are added by the engine.
    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.width();
        let (left, right): (Vec<usize>, Vec<usize>) = output_columns.iter().partition(|column| **column < width);
        Some(vec![left, right.into_iter().map(|column| column - width).collect()])
    }
}
