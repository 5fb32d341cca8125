//! The part of a topic that a filter on its hidden columns can reach: `_partition`, `_offset`, `_timestamp`, `_lsn`.
//!
//! One rule: a row that is cut off cannot satisfy the filters; the plan filters the others again.

use std::fmt;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use crate::log::{self, Chunk, HiddenColumn, Run};

/// Inclusive bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct ValueBounds {
    min: i64,
    max: i64,
}

impl ValueBounds {
    const ALL: ValueBounds = ValueBounds {
        min: i64::MIN,
        max: i64::MAX,
    };

    fn narrow(&mut self, operator: Operator, value: i64) {
        match operator {
            Operator::Eq => {
                self.min = self.min.max(value);
                self.max = self.max.min(value);
            }
            Operator::Lt => self.max = self.max.min(value.saturating_sub(1)),
            Operator::LtEq => self.max = self.max.min(value),
            Operator::Gt => self.min = self.min.max(value.saturating_add(1)),
            Operator::GtEq => self.min = self.min.max(value),
            _ => {}
        }
    }

    fn contains(&self, value: i64) -> bool {
        self.min <= value && value <= self.max
    }

    /// Whether a value from `first` to `last` may be within.
    fn meets(&self, (first, last): (i64, i64)) -> bool {
        self.min <= last && first <= self.max
    }

    fn contains_all(&self, (first, last): (i64, i64)) -> bool {
        self.contains(first) && self.contains(last)
    }
}

/// Offsets, LSNs and times of rows that are not loaded.
fn ranges(bounds: &log::Bounds) -> [(i64, i64); 3] {
    let whole = |value: u64| i64::try_from(value).expect("offsets and LSNs fit 63 bits");
    [
        (whole(bounds.first_offset), whole(bounds.last_offset)),
        (whole(bounds.first_lsn), whole(bounds.last_lsn)),
        (bounds.first_us, bounds.last_us),
    ]
}

/// The part of a topic that the filters of a scan leave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pruning {
    partition: ValueBounds,
    partitions: Option<Vec<i64>>,
    offset: ValueBounds,
    timestamp: ValueBounds,
    lsn: ValueBounds,
}

impl Pruning {
    /// Reads the bounds out of filters; a filter that it does not understand bounds nothing.
    pub fn of(filters: &[Expr]) -> Pruning {
        let mut pruning = Pruning {
            partition: ValueBounds::ALL,
            partitions: None,
            offset: ValueBounds::ALL,
            timestamp: ValueBounds::ALL,
            lsn: ValueBounds::ALL,
        };
        for filter in filters.iter().flat_map(split_conjunction) {
            pruning.add(filter);
        }
        pruning
    }

    /// Whether the filters leave something out.
    pub fn bounds_something(&self) -> bool {
        let all = [self.partition, self.offset, self.timestamp, self.lsn];
        self.partitions.is_some() || all.iter().any(|bounds| *bounds != ValueBounds::ALL)
    }

    fn add(&mut self, filter: &Expr) {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let (column, operator, value) = match (left.as_ref(), right.as_ref()) {
                    (Expr::Column(column), Expr::Literal(value, _)) => (column, Some(*op), value),
                    (Expr::Literal(value, _), Expr::Column(column)) => (column, op.swap(), value),
                    _ => return,
                };
                if let (Some(bounds), Some(operator)) = (self.bounds(&column.name), operator)
                    && let Some(value) = whole(value)
                {
                    bounds.narrow(operator, value);
                }
            }
            Expr::Between(between) if !between.negated => {
                if let (Expr::Column(column), Expr::Literal(low, _), Expr::Literal(high, _)) =
                    (between.expr.as_ref(), between.low.as_ref(), between.high.as_ref())
                    && let Some(bounds) = self.bounds(&column.name)
                    && let (Some(low), Some(high)) = (whole(low), whole(high))
                {
                    bounds.narrow(Operator::GtEq, low);
                    bounds.narrow(Operator::LtEq, high);
                }
            }
            Expr::InList(InList {
                expr,
                list,
                negated: false,
            }) => {
                let values: Option<Vec<i64>> = list
                    .iter()
                    .map(|item| match item {
                        Expr::Literal(value, _) => whole(value),
                        _ => None,
                    })
                    .collect();
                if let (Expr::Column(column), Some(values)) = (expr.as_ref(), values)
                    && column.name == HiddenColumn::Partition.name()
                {
                    self.partitions = Some(values);
                }
            }
            _ => {}
        }
    }

    fn bounds(&mut self, column: &str) -> Option<&mut ValueBounds> {
        [
            (HiddenColumn::Partition, &mut self.partition),
            (HiddenColumn::Offset, &mut self.offset),
            (HiddenColumn::Timestamp, &mut self.timestamp),
            (HiddenColumn::Lsn, &mut self.lsn),
        ]
        .into_iter()
        .find_map(|(known, bounds)| (known.name() == column).then_some(bounds))
    }

    fn admits_partition(&self, partition: u32) -> bool {
        let partition = i64::from(partition);
        self.partition.contains(partition)
            && self
                .partitions
                .as_ref()
                .is_none_or(|partitions| partitions.contains(&partition))
    }

    /// Whether the filters may reach rows within these bounds.
    pub fn admits(&self, bounds: &log::Bounds) -> bool {
        let [offsets, lsns, times] = ranges(bounds);
        self.admits_partition(bounds.partition)
            && self.offset.meets(offsets)
            && self.lsn.meets(lsns)
            && self.timestamp.meets(times)
    }

    /// Whether [`Pruning::cut`] leaves all rows within these bounds.
    pub fn keeps_all(&self, bounds: &log::Bounds) -> bool {
        let [offsets, lsns, times] = ranges(bounds);
        self.admits_partition(bounds.partition)
            && self.offset.contains_all(offsets)
            && self.lsn.contains_all(lsns)
            && self.timestamp.contains_all(times)
    }

    /// The part of a chunk that the filters may reach; `None` if they reach nothing of it.
    pub fn cut(&self, chunk: Chunk) -> Option<Chunk> {
        if !self.admits_partition(chunk.partition) {
            return None;
        }
        let base = i64::try_from(chunk.base_offset).expect("offsets fit 63 bits");
        let rows = chunk.rows.num_rows();
        let at = |offset: i64| usize::try_from(offset.saturating_sub(base)).unwrap_or(0).min(rows);
        let mut start = at(self.offset.min);
        let mut end = at(self.offset.max.saturating_add(1));
        // LSNs and times do not fall within a chunk: the runs that fit are in one stretch.
        let fits = |run: &Run| {
            let lsn = i64::try_from(run.lsn).expect("LSNs fit 63 bits");
            self.lsn.contains(lsn) && self.timestamp.contains(run.timestamp_us)
        };
        let mut first = 0;
        let (mut fit_start, mut fit_end) = (rows, 0);
        for run in chunk.runs.iter() {
            if fits(run) {
                fit_start = fit_start.min(first);
                fit_end = first + run.rows;
            }
            first += run.rows;
        }
        start = start.max(fit_start);
        end = end.min(fit_end);
        (start < end).then(|| chunk.slice(start, end - start))
    }
}

/// Integers and microseconds; other values do not bound.
fn whole(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::Int16(value) => value.map(i64::from),
        ScalarValue::Int32(value) => value.map(i64::from),
        ScalarValue::Int64(value) => *value,
        ScalarValue::TimestampMicrosecond(value, _) => *value,
        _ => None,
    }
}

impl fmt::Display for Pruning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (column, bounds) in [
            (HiddenColumn::Partition, self.partition),
            (HiddenColumn::Offset, self.offset),
            (HiddenColumn::Timestamp, self.timestamp),
            (HiddenColumn::Lsn, self.lsn),
        ] {
            if bounds == ValueBounds::ALL {
                continue;
            }
            let shown = |value: i64| match column {
                HiddenColumn::Timestamp => ScalarValue::TimestampMicrosecond(Some(value), None)
                    .cast_to(&DataType::Utf8)
                    .map_or_else(|_| value.to_string(), |text| text.to_string()),
                _ => value.to_string(),
            };
            let name = column.name();
            match (bounds.min, bounds.max) {
                (min, max) if min == max => write!(f, "{separator}{name} = {}", shown(min))?,
                (i64::MIN, max) => write!(f, "{separator}{name} <= {}", shown(max))?,
                (min, i64::MAX) => write!(f, "{separator}{name} >= {}", shown(min))?,
                (min, max) => write!(f, "{separator}{name} in [{}, {}]", shown(min), shown(max))?,
            }
            separator = ", ";
        }
        if let Some(partitions) = &self.partitions {
            write!(f, "{separator}_partition in {partitions:?}")?;
        }
        Ok(())
    }
}
