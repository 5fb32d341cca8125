//! The running form of a SESSION node: over rows in the order of their keys and times, one session after another.
//!
//! One rule: a row comes out once its session is complete, as its end is a column of it. So the rows of one session at a time are
//! kept, and counted to the query's memory.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::SortOptions;
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    Distribution, EquivalenceProperties, LexRequirement, OrderingRequirements, PhysicalSortRequirement,
};
use datafusion::physical_plan::metrics::{BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements, Partitioning,
    PhysicalExpr, PlanProperties,
};
use futures::{StreamExt, future, stream};

use super::window::Described;
use crate::sql::functions::growth::bytes_between;
use crate::sql::window::{Closing, SessionRules, Window};

#[derive(Debug)]
pub struct SessionExec {
    input: Arc<dyn ExecutionPlan>,
    sessions: SessionRules,
    closing: Closing,
    /// The logical node as EXPLAIN shows it.
    described: String,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SessionExec {
    pub fn new(
        window: &Window,
        sessions: SessionRules,
        input: Arc<dyn ExecutionPlan>,
        closing: Closing,
    ) -> Result<SessionExec> {
        SessionExec::of(sessions, input, closing, Described(window).to_string())
    }

    fn of(
        sessions: SessionRules,
        input: Arc<dyn ExecutionPlan>,
        closing: Closing,
        described: String,
    ) -> Result<SessionExec> {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(sessions.schema().clone()),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Ok(SessionExec {
            input,
            sessions,
            closing,
            described,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    fn column(&self, index: usize) -> Arc<dyn PhysicalExpr> {
        Arc::new(Column::new(self.input.schema().field(index).name(), index))
    }
}

impl DisplayAs for SessionExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Window {}", self.described)?;
        if let Closing::Closed(None) = self.closing {
            write!(f, ", no watermark yet")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for SessionExec {
    fn name(&self) -> &str {
        "Session"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        let keys: Vec<Arc<dyn PhysicalExpr>> = self.sessions.keys().iter().map(|key| self.column(*key)).collect();
        InputDistributionRequirements::new(vec![match keys.is_empty() {
            true => Distribution::SinglePartition,
            false => Distribution::KeyPartitioned(keys),
        }])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        let columns = self
            .sessions
            .keys()
            .iter()
            .copied()
            .chain([self.sessions.time_column()]);
        let sorted =
            columns.map(|column| PhysicalSortRequirement::new(self.column(column), Some(SortOptions::default())));
        vec![LexRequirement::new(sorted.collect::<Vec<_>>()).map(OrderingRequirements::new)]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        assert_eq!(children.len(), 1, "a window node has one input");
        let input = children.remove(0);
        let made = SessionExec::of(self.sessions.clone(), input, self.closing, self.described.clone())?;
        Ok(Arc::new(made))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.input.schema();
        let keys = self.sessions.keys().iter();
        let fields = keys.map(|key| SortField::new(schema.field(*key).data_type().clone()));
        let mut pass = SessionPass {
            converter: RowConverter::new(fields.collect())?,
            sessions: self.sessions.clone(),
            closing: self.closing,
            open: None,
            reservation: MemoryConsumer::new("session").register(context.memory_pool()),
            metrics: BaselineMetrics::new(&self.metrics, partition),
            late_rows: MetricBuilder::new(&self.metrics).counter("late_rows", partition),
            null_rows: MetricBuilder::new(&self.metrics).counter("null_rows", partition),
        };
        let input = self.input.execute(partition, context)?;
        let ended = input.map(Some).chain(stream::once(future::ready(None)));
        let batches = ended.flat_map(move |next| {
            let made = match next {
                Some(Ok(batch)) => pass.take(&batch),
                Some(Err(error)) => Err(error),
                None => pass.end(),
            };
            stream::iter(match made {
                Ok(batches) => batches.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            })
        });
        let schema = self.sessions.schema().clone();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// One pass over sorted rows.
struct SessionPass {
    sessions: SessionRules,
    closing: Closing,
    converter: RowConverter,
    open: Option<OpenSession>,
    reservation: MemoryReservation,
    metrics: BaselineMetrics,
    late_rows: Count,
    null_rows: Count,
}

/// The session of the row that came last.
struct OpenSession {
    key: OwnedRow,
    start_us: i64,
    last_us: i64,
    /// Its rows in batches that came before.
    rows: Vec<Vec<ArrayRef>>,
}

impl SessionPass {
    /// Takes the next rows; answers those of sessions that are complete by now.
    fn take(&mut self, batch: &RecordBatch) -> Result<Vec<RecordBatch>> {
        let elapsed = self.metrics.elapsed_compute().clone();
        let _timer = elapsed.timer();
        let taken = self.sessions.taken(batch)?;
        self.late_rows.add(taken.late_rows as usize);
        self.null_rows.add(taken.null_rows as usize);
        let columns = self.sessions.rows(batch, taken.rows.as_ref())?;
        let times = self.sessions.times(&columns);
        let rows = times.len();
        let places = self.sessions.keys().iter().map(|key| self.sessions.row_column(*key));
        let keys: Vec<ArrayRef> = places.map(|place| columns[place].clone()).collect();
        // Without keys there are no rows of them either.
        let keys = match keys.is_empty() {
            true => None,
            false => Some(self.converter.convert_columns(&keys)?),
        };
        let mut out = Vec::new();
        let mut bounds: [Vec<i64>; 2] = Default::default();
        let mut from = 0;
        for row in 0..rows {
            let time = times.value(row);
            let goes_on = self.open.as_ref().is_some_and(|open| {
                let same = keys.as_ref().is_none_or(|keys| open.key.row() == keys.row(row));
                same && self.sessions.continues(open.last_us, time)
            });
            if goes_on {
                if let Some(open) = &mut self.open {
                    open.last_us = time;
                }
                continue;
            }
            self.complete(&mut bounds, row - from, &mut out)?;
            from = row;
            self.open = Some(OpenSession {
                key: match &keys {
                    Some(keys) => keys.row(row).owned(),
                    None => self.converter.parser().parse(&[]).owned(),
                },
                start_us: time,
                last_us: time,
                rows: Vec::new(),
            });
        }
        // The rows before `from` are complete, those behind it are not.
        if !bounds[0].is_empty() {
            out.push(self.shown(slice(&columns, 0..from), bounds)?);
        }
        if from < rows
            && let Some(open) = &mut self.open
        {
            let kept = slice(&columns, from..rows);
            let bytes: u64 = kept.iter().map(|column| bytes_between(column, 0, column.len())).sum();
            self.reservation
                .try_grow(usize::try_from(bytes).unwrap_or(usize::MAX))?;
            open.rows.push(kept);
        }
        out.retain(|batch| batch.num_rows() > 0);
        self.metrics.record_output(out.iter().map(RecordBatch::num_rows).sum());
        Ok(out)
    }

    fn end(&mut self) -> Result<Vec<RecordBatch>> {
        let mut out = Vec::new();
        self.complete(&mut Default::default(), 0, &mut out)?;
        out.retain(|batch| batch.num_rows() > 0);
        self.metrics.record_output(out.iter().map(RecordBatch::num_rows).sum());
        Ok(out)
    }

    /// Ends the open session, which has so many rows in the present batch: its earlier rows go to `out`.
    fn complete(&mut self, bounds: &mut [Vec<i64>; 2], rows: usize, out: &mut Vec<RecordBatch>) -> Result<()> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let own = [open.start_us, self.sessions.end(open.last_us)];
        for (bounds, own) in bounds.iter_mut().zip(own) {
            bounds.resize(bounds.len() + rows, own);
        }
        for columns in open.rows {
            let bounds = own.map(|bound| vec![bound; columns[0].len()]);
            out.push(self.shown(columns, bounds)?);
        }
        self.reservation.free();
        Ok(())
    }

    /// The rows of complete sessions that come out.
    fn shown(&self, columns: Vec<ArrayRef>, bounds: [Vec<i64>; 2]) -> Result<RecordBatch> {
        let closed: Option<arrow::array::BooleanArray> = match self.closing {
            Closing::All => None,
            Closing::Closed(watermark) => {
                let ends = bounds[1].iter();
                Some(ends.map(|end| Some(self.sessions.is_closed(*end, watermark))).collect())
            }
        };
        let rows = self.sessions.output(columns, bounds)?;
        Ok(match closed {
            None => rows,
            Some(closed) => arrow::compute::filter_record_batch(&rows, &closed)?,
        })
    }
}

fn slice(columns: &[ArrayRef], rows: Range<usize>) -> Vec<ArrayRef> {
    let slices = columns.iter().map(|column| column.slice(rows.start, rows.len()));
    slices.collect()
}
