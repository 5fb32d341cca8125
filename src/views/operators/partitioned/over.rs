//! Window functions of every kind.
//!
//! One rule: the values are those of the engine's own evaluators and accumulators, which batch queries run.
//!
//! Where each value depends on few rows, or on those before it through little state, a step computes only the part of a partition
//! that it can change ([`WindowScope`]). The values of a part are bit for bit those of the whole: accumulators take the same
//! rows in the same calls, and sums of floats that rows leave again are left to the whole partition.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt64Array, new_empty_array};
use arrow::compute::{concat, filter};
use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Accumulator;
use datafusion::physical_expr::window::{PlainAggregateWindowExpr, WindowExpr};

use crate::error::SqlError;

use super::first::Ranking;
use super::kernel::{OrderedPartitions, PartitionKernel};
use crate::views::delta::batch_of;
use crate::views::expression::Expression;

/// A way from a row to others.
#[derive(Clone, PartialEq, Debug)]
pub enum Distance {
    Rows(usize),
    /// Groups of peers; its own at least.
    Groups(usize),
    /// Of the only sort key.
    Values(ScalarValue),
}

/// The rows that a value depends on.
#[derive(Clone, Debug)]
pub enum WindowReach {
    /// Those no further before its own and behind it.
    Near { back: Distance, ahead: Distance },
    /// Its number among all before it.
    Ranked(Ranking),
    /// All before it, through the state of an accumulator; `by_row`: without the peers behind it.
    Running { by_row: bool, filter: Option<Expression> },
    /// Any of the partition.
    Whole,
}

#[derive(Debug)]
pub struct OneWindowCall {
    pub call: Arc<dyn WindowExpr>,
    pub reach: WindowReach,
}

/// The part of a partition whose values a changed row may change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WindowScope {
    /// The rows near to it.
    Near,
    /// The rows near before it, and all behind it.
    Onward,
    Whole,
}

/// Window functions over one kind of window, as columns behind those of the input.
#[derive(Debug)]
pub struct WindowCalls {
    pub calls: Vec<OneWindowCall>,
    /// Of the output.
    pub schema: SchemaRef,
}

/// The state before a group of peers.
#[derive(Clone, Default, Debug)]
pub struct WindowState {
    /// Rows and groups of peers before.
    pub rows: usize,
    pub groups: usize,
    /// By running aggregate.
    aggregates: Vec<Vec<ScalarValue>>,
}

impl WindowState {
    /// Bytes of memory, about.
    pub fn bytes(&self) -> usize {
        let values = self.aggregates.iter().flatten();
        size_of::<WindowState>()
            + values
                .map(|value| value.size() + size_of::<ScalarValue>())
                .sum::<usize>()
    }
}

/// Rows of a partition, from a group of peers on.
pub struct WindowPart<'a> {
    /// Of the input's schema, with some rows before.
    pub rows: &'a RecordBatch,
    /// So many are before.
    pub context: usize,
    /// The groups of peers of the others, counted from the first of these.
    pub peers: &'a [Range<usize>],
    /// Before them.
    pub state: Option<&'a WindowState>,
    /// Groups, rising, before which the state is wanted.
    pub wanted: &'a [usize],
}

impl WindowCalls {
    pub fn scope(&self) -> WindowScope {
        let mut scope = WindowScope::Near;
        for call in &self.calls {
            match call.reach {
                WindowReach::Near { .. } => {}
                WindowReach::Ranked(_) | WindowReach::Running { .. } => scope = WindowScope::Onward,
                WindowReach::Whole => return WindowScope::Whole,
            }
        }
        scope
    }

    /// How far back and ahead values depend on rows.
    pub fn distances(&self) -> impl Iterator<Item = (&Distance, &Distance)> {
        self.calls.iter().filter_map(|call| match &call.reach {
            WindowReach::Near { back, ahead } => Some((back, ahead)),
            _ => None,
        })
    }

    /// The output of the rows of a part, and the states that are wanted.
    pub fn part(&self, part: &WindowPart) -> Result<(RecordBatch, Vec<WindowState>), SqlError> {
        let count = part.rows.num_rows() - part.context;
        let own = part.rows.slice(part.context, count);
        let nothing = WindowState::default();
        let start = part.state.unwrap_or(&nothing);
        let mut states: Vec<WindowState> = part
            .wanted
            .iter()
            .map(|group| WindowState {
                rows: start.rows + part.peers[*group].start,
                groups: start.groups + group,
                aggregates: Vec::new(),
            })
            .collect();
        let mut columns = own.columns().to_vec();
        let mut aggregates = 0;
        for call in &self.calls {
            columns.push(match &call.reach {
                WindowReach::Near { .. } | WindowReach::Whole => {
                    call.call.evaluate(part.rows)?.slice(part.context, count)
                }
                WindowReach::Ranked(ranking) => Arc::new(numbers(*ranking, start, part.peers)),
                WindowReach::Running { by_row, filter } => {
                    let state = start.aggregates.get(aggregates).map(Vec::as_slice);
                    aggregates += 1;
                    let mut running = Running::new(&*call.call, filter.as_ref(), &own, state)?;
                    let mut wanted = part.wanted.iter().zip(&mut states).peekable();
                    let mut values = Vec::with_capacity(count);
                    for (number, peers) in part.peers.iter().enumerate() {
                        if let Some((_, state)) = wanted.next_if(|(group, _)| **group == number) {
                            state.aggregates.push(running.accumulator.state()?);
                        }
                        if *by_row {
                            for row in peers.clone() {
                                running.add(row..row + 1)?;
                                values.push(running.accumulator.evaluate()?);
                            }
                        } else {
                            running.add(peers.clone())?;
                            let value = running.accumulator.evaluate()?;
                            values.extend(std::iter::repeat_n(value, peers.len()));
                        }
                    }
                    ScalarValue::iter_to_array(values)?
                }
            });
        }
        Ok((batch_of(self.schema.clone(), columns, count)?, states))
    }
}

fn numbers(ranking: Ranking, start: &WindowState, peers: &[Range<usize>]) -> UInt64Array {
    let of_group = |(group, peers): (usize, &Range<usize>)| {
        let first = start.rows + peers.start + 1;
        let group = start.groups + group + 1;
        peers.clone().map(move |row| match ranking {
            Ranking::RowNumber => (start.rows + row + 1) as u64,
            Ranking::Rank => first as u64,
            Ranking::DenseRank => group as u64,
        })
    };
    UInt64Array::from_iter_values(peers.iter().enumerate().flat_map(of_group))
}

/// An aggregate over the rows so far.
struct Running {
    accumulator: Box<dyn Accumulator>,
    arguments: Vec<ArrayRef>,
    counts: Option<BooleanArray>,
}

impl Running {
    fn new(
        call: &dyn WindowExpr,
        condition: Option<&Expression>,
        rows: &RecordBatch,
        state: Option<&[ScalarValue]>,
    ) -> Result<Running, SqlError> {
        let plain = call.as_any().downcast_ref::<PlainAggregateWindowExpr>();
        let mut accumulator = plain
            .expect("a running aggregate is compiled from one")
            .get_aggregate_expr()
            .create_accumulator()?;
        if let Some(state) = state {
            let state = state.iter().map(ScalarValue::to_array);
            accumulator.merge_batch(&state.collect::<Result<Vec<ArrayRef>, _>>()?)?;
        }
        Ok(Running {
            accumulator,
            arguments: call.evaluate_args(rows)?,
            counts: condition.map(|condition| condition.evaluate_bool(rows)).transpose()?,
        })
    }

    fn add(&mut self, rows: Range<usize>) -> Result<(), SqlError> {
        let counts = self.counts.as_ref().map(|counts| counts.slice(rows.start, rows.len()));
        let part = |argument: &ArrayRef| {
            let part = argument.slice(rows.start, rows.len());
            match &counts {
                Some(counts) => filter(&part, counts),
                None => Ok(part),
            }
        };
        let arguments = self.arguments.iter().map(part).collect::<Result<Vec<ArrayRef>, _>>()?;
        Ok(self.accumulator.update_batch(&arguments)?)
    }
}

impl PartitionKernel for WindowCalls {
    fn evaluate(&self, partitions: &OrderedPartitions) -> Result<RecordBatch, SqlError> {
        let rows = &partitions.rows;
        let width = rows.num_columns();
        let mut values: Vec<Vec<ArrayRef>> = vec![Vec::with_capacity(partitions.ranges.len()); self.calls.len()];
        for (range, peers) in partitions.ranges.iter().zip(&partitions.peers) {
            let (output, _) = self.part(&WindowPart {
                rows: &rows.slice(range.start, range.len()),
                context: 0,
                peers,
                state: None,
                wanted: &[],
            })?;
            for (values, column) in values.iter_mut().zip(&output.columns()[width..]) {
                values.push(column.clone());
            }
        }
        let mut columns = rows.columns().to_vec();
        for values in values {
            let values: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
            columns.push(match values.is_empty() {
                true => new_empty_array(self.schema.field(columns.len()).data_type()),
                false => concat(&values)?,
            });
        }
        batch_of(self.schema.clone(), columns, rows.num_rows())
    }
}
