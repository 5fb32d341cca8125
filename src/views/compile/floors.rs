//! Times that the watermark has passed: facts about columns of a dataflow, by which a join drops rows.
//!
//! One rule: where a column has a floor, every row that comes or goes from now on has a value there that is no less than the
//! watermark less the floor's distance, or NULL. Floors begin at windows over WATERMARK columns and at conditions with `_watermark`,
//! which leave late rows out, and go up where rows keep the column.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::utils::{split_binary, split_conjunction};
use datafusion::logical_expr::{Between, BinaryExpr, Expr, ExprSchemable, Operator};

use crate::log::TopicId;
use crate::sql::functions::arithmetic;
use crate::sql::functions::operator::ArithmeticOperator;
use crate::sql::window::{Window, WindowKind};

use super::super::operators::join::{Expiry, TimeLimit};
use super::{Compiler, column_of, unaliased};

/// What is known of a column of times.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum TimeFact {
    /// The event time of a topic with a watermark, as it came: late rows are among its own.
    Event,
    /// The watermark of a topic before the row's commit.
    Watermark(TopicId),
    Floor(TimeFloor),
    /// The LSN of the commit that the row comes or goes with.
    Lsn,
}

/// See the file's rule. The watermark is the least of the topics'.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct TimeFloor {
    topics: Vec<TopicId>,
    behind_us: i64,
}

impl TimeFloor {
    /// What holds of both.
    fn weaker(&self, other: &TimeFloor) -> TimeFloor {
        let mut topics = [&self.topics[..], &other.topics].concat();
        topics.sort_unstable();
        topics.dedup();
        TimeFloor {
            topics,
            behind_us: self.behind_us.max(other.behind_us),
        }
    }

    /// That of values that are at most so much less.
    fn lowered(&self, by_us: i64) -> Option<TimeFloor> {
        Some(TimeFloor {
            topics: self.topics.clone(),
            behind_us: self.behind_us.checked_add(by_us)?,
        })
    }

    /// The limit that a value of a column is below, plus so much, if it is below the floor.
    fn limit(&self, column: usize, plus_us: i64) -> Option<TimeLimit> {
        Some(TimeLimit {
            column,
            topics: self.topics.clone(),
            behind_us: self.behind_us.checked_add(plus_us)?,
        })
    }
}

/// Rows meet only where the other side's time is at most so much later than the own one.
#[derive(Clone, Copy, Debug)]
struct Reach {
    /// The side whose own time it is.
    side: usize,
    own: usize,
    other: usize,
    plus_us: i64,
}

/// What the times of a join's sides say of it.
#[derive(Default, Debug)]
pub(super) struct JoinTimes {
    pub expiry: Option<[Expiry; 2]>,
    /// By column of both sides together.
    pub facts: Vec<Option<TimeFact>>,
    /// Columns of both sides together whose late rows keep the other side's rows.
    pub unbounded: Vec<usize>,
}

impl Compiler {
    pub(super) fn fact(&self, node: usize, column: usize) -> Option<&TimeFact> {
        self.facts[node].get(column)?.as_ref()
    }

    /// The facts of a node whose columns are these of another.
    pub(super) fn passed_on(&self, node: usize, columns: impl Iterator<Item = Option<usize>>) -> Vec<Option<TimeFact>> {
        columns
            .map(|column| column.and_then(|column| self.fact(node, column)).cloned())
            .collect()
    }

    /// The facts of a node's rows that a condition lets through.
    pub(super) fn facts_where(&self, node: usize, schema: &DFSchema, condition: &Expr) -> Vec<Option<TimeFact>> {
        let columns = schema.fields().len();
        let mut facts = self.passed_on(node, (0..columns).map(Some));
        for part in split_conjunction(condition) {
            for compared in not_before(part, schema) {
                let Some(TimeFact::Watermark(topic)) = self.fact(node, compared.lesser) else {
                    continue;
                };
                let floor = TimeFloor {
                    topics: vec![*topic],
                    behind_us: compared.plus_us,
                };
                if !matches!(facts[compared.greater], Some(TimeFact::Floor(_))) {
                    facts[compared.greater] = Some(TimeFact::Floor(floor));
                }
            }
        }
        facts
    }

    /// The facts of a window's rows: columns of the input, the event time at a place among them, and the two bounds. Rows
    /// may be held back until their window closes, so no other column's go on. Rows of sessions change until these close.
    pub(super) fn facts_of_window(
        &self,
        window: &Window,
        columns: usize,
        time: Option<usize>,
    ) -> Vec<Option<TimeFact>> {
        let mut facts = vec![None; columns];
        let has_late_rows = !window.topics.is_empty() && !matches!(window.kind, WindowKind::Session { .. });
        let floor = |behind_us: Option<i64>| {
            let behind_us = behind_us.filter(|_| has_late_rows)?;
            Some(TimeFact::Floor(TimeFloor {
                topics: window.topics.clone(),
                behind_us,
            }))
        };
        // A row is late if window_end + L <= W.
        let of_end = window.allowed_lateness_us.checked_sub(1);
        let of_start = of_end.and_then(|behind_us| behind_us.checked_add(window.kind.length_us()));
        if let Some(time) = time {
            facts[time] = floor(of_start);
        }
        facts.extend([floor(of_start), floor(of_end)]);
        facts
    }

    /// The facts that hold of the rows of all inputs.
    pub(super) fn facts_of_all(&self, inputs: &[usize], columns: usize) -> Vec<Option<TimeFact>> {
        let of = |column: usize| {
            let floors = inputs.iter().map(|input| match self.fact(*input, column) {
                Some(TimeFact::Floor(floor)) => Some(floor.clone()),
                _ => None,
            });
            let floors = floors.collect::<Option<Vec<TimeFloor>>>()?;
            let weakest = floors.into_iter().reduce(|one, other| one.weaker(&other))?;
            Some(TimeFact::Floor(weakest))
        };
        (0..columns).map(of).collect()
    }

    /// When rows of a join's sides meet no later row. `equal` are the keys of both, and the condition is over the columns of both
    /// together. Without one the rows of a key go together.
    pub(super) fn join_times(
        &self,
        inputs: [usize; 2],
        schemas: [&DFSchema; 2],
        equal: &[(&Expr, &Expr)],
        condition: Option<(&Expr, &DFSchema)>,
        grows: [bool; 2],
    ) -> JoinTimes {
        let width = schemas[0].fields().len();
        let mut reaches: Vec<Reach> = Vec::new();
        for (left, right) in equal {
            if let (Some(left), Some(right)) = (column_of(left, schemas[0]), column_of(right, schemas[1])) {
                let reach = |side, own, other| Reach {
                    side,
                    own,
                    other,
                    plus_us: 0,
                };
                reaches.extend([reach(0, left, right), reach(1, right, left)]);
            }
        }
        if let Some((condition, both)) = condition {
            for part in split_conjunction(condition) {
                for compared in not_before(part, both) {
                    let side = usize::from(compared.greater >= width);
                    if side == usize::from(compared.lesser >= width) {
                        continue;
                    }
                    let of_side = |column: usize| column.checked_sub(width).unwrap_or(column);
                    reaches.push(Reach {
                        side,
                        own: of_side(compared.greater),
                        other: of_side(compared.lesser),
                        plus_us: compared.plus_us,
                    });
                }
            }
        }
        let floor = |side: usize, column: usize| match self.fact(inputs[side], column) {
            Some(TimeFact::Floor(floor)) => Some(floor),
            _ => None,
        };
        let place = |side: usize, column: usize| column + side * width;
        let mut times = JoinTimes {
            facts: vec![None; width + schemas[1].fields().len()],
            ..JoinTimes::default()
        };
        let mut expiry: [Expiry; 2] = Default::default();
        for reach in &reaches {
            let Reach {
                side,
                own,
                other,
                plus_us,
            } = *reach;
            let (of_own, of_other) = (self.fact(inputs[side], own), self.fact(inputs[1 - side], other));
            if of_own.is_some() && of_other == Some(&TimeFact::Event) && condition.is_some() {
                times.unbounded.push(place(1 - side, other));
            }
            let Some(of_other) = floor(1 - side, other) else {
                continue;
            };
            let of_own = floor(side, own);
            if let Some(limit) = of_other.limit(own, plus_us)
                && (condition.is_some() || of_own.is_some())
            {
                expiry[side].meets.push(limit);
                if let Some(stays) = of_own.and_then(|own_floor| own_floor.limit(own, 0)) {
                    expiry[side].stays.push(stays);
                }
            }
            if let (Some(of_own), Some(lowered)) = (of_own, of_other.lowered(plus_us)) {
                times.facts[place(side, own)] = Some(TimeFact::Floor(of_own.weaker(&lowered)));
            }
        }
        times.unbounded.sort_unstable();
        times.unbounded.dedup();
        for (side, expiry) in expiry.iter_mut().enumerate() {
            match condition {
                // Rows of one key are counted together, and go together: by one pair of times, the same for both sides.
                None => {
                    expiry.meets.truncate(1);
                    expiry.stays.truncate(1);
                    expiry.changes = true;
                }
                Some(_) => expiry.changes = !grows[side],
            }
        }
        if let Some((condition, both)) = condition {
            for part in split_conjunction(condition) {
                if let Some(side) = self.drives(part, both, inputs, width) {
                    expiry[side].at_once = grows[side];
                }
            }
        }
        let drops = |expiry: &Expiry| {
            expiry.at_once || !expiry.meets.is_empty() && (!expiry.changes || !expiry.stays.is_empty())
        };
        if expiry.iter().any(drops) {
            times.expiry = Some(expiry);
        }
        times
    }
}

impl Compiler {
    /// The side whose rows meet none of later commits: `other._lsn <= own._lsn OR own._lsn IS NULL`.
    fn drives(&self, condition: &Expr, both: &DFSchema, inputs: [usize; 2], width: usize) -> Option<usize> {
        let lsn = |expr: &Expr| {
            let column = column_of(expr, both)?;
            let side = usize::from(column >= width);
            let fact = self.fact(inputs[side], column - side * width);
            (fact == Some(&TimeFact::Lsn)).then_some(side)
        };
        let mut drives = None;
        for part in split_binary(condition, Operator::Or) {
            let side = match unaliased(part) {
                Expr::IsNull(of) => lsn(of)?,
                Expr::BinaryExpr(BinaryExpr {
                    left,
                    op: Operator::LtEq,
                    right,
                }) => {
                    let (other, own) = (lsn(left)?, lsn(right)?);
                    if other == own {
                        return None;
                    }
                    own
                }
                _ => return None,
            };
            if drives.is_some_and(|drives| drives != side) {
                return None;
            }
            drives = Some(side);
        }
        drives
    }
}

/// `greater + plus >= lesser`, by columns.
struct NotBefore {
    greater: usize,
    lesser: usize,
    plus_us: i64,
}

/// What a condition says of two columns of times where it is true, NULLs aside.
fn not_before(condition: &Expr, schema: &DFSchema) -> Vec<NotBefore> {
    match unaliased(condition) {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            // `_watermark IS NULL OR time >= _watermark`: there is one by the time that rows are dropped.
            Operator::Or => {
                let absent = |expr: &Expr| -> Option<usize> {
                    let mut parts = split_conjunction(expr).into_iter();
                    parts.find_map(|part| match unaliased(part) {
                        Expr::IsNull(of) => column_of(of, schema),
                        _ => None,
                    })
                };
                let (column, other) = match (absent(left), absent(right)) {
                    (Some(column), _) => (column, right),
                    (None, Some(column)) => (column, left),
                    (None, None) => return Vec::new(),
                };
                let found = not_before(other, schema).into_iter();
                found.filter(|found| found.lesser == column).collect()
            }
            _ => compared(left, *op, right, schema),
        },
        Expr::Between(Between {
            expr,
            negated: false,
            low,
            high,
        }) => {
            let mut found = compared(expr, Operator::GtEq, low, schema);
            found.extend(compared(expr, Operator::LtEq, high, schema));
            found
        }
        // NULL is let through as well.
        Expr::IsNotFalse(inner) => not_before(inner, schema),
        Expr::IsNotTrue(inner) => match unaliased(inner) {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
                Operator::Lt => compared(left, Operator::GtEq, right, schema),
                Operator::LtEq => compared(left, Operator::Gt, right, schema),
                Operator::Gt => compared(left, Operator::LtEq, right, schema),
                Operator::GtEq => compared(left, Operator::Lt, right, schema),
                _ => Vec::new(),
            },
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn compared(left: &Expr, op: Operator, right: &Expr, schema: &DFSchema) -> Vec<NotBefore> {
    let (Some((left, left_us)), Some((right, right_us))) = (shifted(left, schema), shifted(right, schema)) else {
        return Vec::new();
    };
    let not_before = |greater, greater_us: i64, lesser, lesser_us, strictly: bool| {
        let plus_us = greater_us.checked_sub(lesser_us)?.checked_sub(i64::from(strictly))?;
        Some(NotBefore {
            greater,
            lesser,
            plus_us,
        })
    };
    let left_later = |strictly| not_before(left, left_us, right, right_us, strictly);
    let right_later = |strictly| not_before(right, right_us, left, left_us, strictly);
    let found = match op {
        Operator::GtEq => [left_later(false), None],
        Operator::Gt => [left_later(true), None],
        Operator::LtEq => [right_later(false), None],
        Operator::Lt => [right_later(true), None],
        Operator::Eq => [left_later(false), right_later(false)],
        _ => [None, None],
    };
    found.into_iter().flatten().collect()
}

/// A column of times, and a constant that is added to it.
fn shifted(expr: &Expr, schema: &DFSchema) -> Option<(usize, i64)> {
    if let Some(column) = column_of(expr, schema) {
        let is_time = matches!(
            schema.field(column).data_type(),
            DataType::Timestamp(TimeUnit::Microsecond, _)
        );
        return is_time.then_some((column, 0));
    }
    let Expr::ScalarFunction(call) = unaliased(expr) else {
        return None;
    };
    let [left, right] = call.args.as_slice() else {
        return None;
    };
    let is = |operator| call.func == arithmetic::function(operator);
    let (time, interval, sign) = if is(ArithmeticOperator::Plus) {
        match interval_us(right, left, schema) {
            Some(interval) => (left, interval, 1),
            None => (right, interval_us(left, right, schema)?, 1),
        }
    } else if is(ArithmeticOperator::Minus) {
        (left, interval_us(right, left, schema)?, -1)
    } else {
        return None;
    };
    let (column, shift) = shifted(time, schema)?;
    Some((column, shift.checked_add(sign * interval)?))
}

/// The length of an interval that is added to a time. Months differ in theirs, and so do days where clocks change.
fn interval_us(interval: &Expr, time: &Expr, schema: &DFSchema) -> Option<i64> {
    let Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), _) = unaliased(interval) else {
        return None;
    };
    let has_zone = !matches!(time.get_type(schema), Ok(DataType::Timestamp(_, None)));
    if value.months != 0 || value.nanoseconds % 1000 != 0 || (has_zone && value.days != 0) {
        return None;
    }
    i64::from(value.days)
        .checked_mul(86_400_000_000)?
        .checked_add(value.nanoseconds / 1000)
}
