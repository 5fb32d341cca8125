//! The running form of an ASOF JOIN: the right side's rows in order, in which each left row finds its own.
//!
//! One rule: the right side is read first, sorted by key and time, and kept; of the rows of one key and time only the first can be
//! met. They count to the query's memory. The left side passes through, batch by batch.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::compute::{SortOptions, filter, filter_record_batch, interleave, take};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{Distribution, EquivalenceProperties};
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements, Partitioning,
    PhysicalExpr, PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::OnceCell;

use super::Physical;
use crate::sql::asof::Nearest;
use crate::sql::functions::go_on;
use crate::sql::functions::growth::bytes_between;

/// The condition, as it is computed.
#[derive(Clone, Debug)]
pub struct AsofExprs {
    /// Keys, then the time, of the left side.
    pub left: Vec<Arc<dyn PhysicalExpr>>,
    /// The same of the right side.
    pub right: Vec<Arc<dyn PhysicalExpr>>,
    pub ties: Vec<Arc<dyn PhysicalExpr>>,
    pub nearest: Nearest,
    pub keeps_left: bool,
    /// As EXPLAIN shows it.
    pub text: String,
}

#[derive(Debug)]
pub struct AsofExec {
    left: Physical,
    right: Physical,
    exprs: Arc<AsofExprs>,
    schema: SchemaRef,
    /// Of the right side, once it is read.
    sorted: Arc<OnceCell<SortedSide>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl AsofExec {
    pub fn new(left: Physical, right: Physical, exprs: Arc<AsofExprs>, schema: SchemaRef) -> AsofExec {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            Partitioning::UnknownPartitioning(left.output_partitioning().partition_count()),
            EmissionType::Incremental,
            left.boundedness(),
        );
        AsofExec {
            left,
            right,
            exprs,
            schema,
            sorted: Arc::default(),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

impl DisplayAs for AsofExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", self.exprs.text)
    }
}

impl ExecutionPlan for AsofExec {
    fn name(&self) -> &str {
        "AsofJoin"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Physical> {
        vec![&self.left, &self.right]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![
            Distribution::UnspecifiedDistribution,
            Distribution::SinglePartition,
        ])
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let exprs = &self.exprs;
        for expr in exprs.left.iter().chain(&exprs.right).chain(&exprs.ties) {
            if f(expr)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Physical>) -> Result<Physical> {
        let [left, right] = <[Physical; 2]>::try_from(children).expect("a join has two sides");
        let made = AsofExec::new(left, right, self.exprs.clone(), self.schema.clone());
        Ok(Arc::new(made))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let left = self.left.execute(partition, context.clone())?;
        let (exprs, right, schema, cell) = (
            self.exprs.clone(),
            self.right.clone(),
            self.schema.clone(),
            self.sorted.clone(),
        );
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let batches = stream::once(async move {
            cell.get_or_try_init(|| SortedSide::read(&exprs, right, &context))
                .await?;
            let joined = left.map(move |batch| {
                let _timer = metrics.elapsed_compute().timer();
                let sorted = cell.get().expect("it was just read");
                let joined = sorted.join(&exprs, &batch?, &schema)?;
                metrics.record_output(joined.num_rows());
                Ok(joined)
            });
            Ok::<_, datafusion::common::DataFusionError>(joined)
        });
        let batches = batches.try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// As ORDER BY sorts.
const RISING: SortOptions = SortOptions {
    descending: false,
    nulls_first: false,
};

/// The rows of the right side that can be met.
#[derive(Debug)]
struct SortedSide {
    batches: Vec<RecordBatch>,
    /// By batch: keys and time of its rows, encoded.
    places: Vec<Rows>,
    /// Batch and row, in the order of these. One of each key and time.
    order: Vec<(u32, u32)>,
    /// Of keys and time, and of the keys alone.
    place: RowConverter,
    key: Option<RowConverter>,
    memory: MemoryReservation,
}

fn values(exprs: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    let values = exprs
        .iter()
        .map(|expr| expr.evaluate(batch)?.into_array(batch.num_rows()));
    values.collect()
}

/// Where no value is NULL; `None` if that is everywhere.
fn all_valid(columns: &[ArrayRef]) -> Option<NullBuffer> {
    let nulls = columns.iter().map(|column| column.logical_nulls());
    let nulls = nulls.fold(None, |all, nulls| NullBuffer::union(all.as_ref(), nulls.as_ref()))?;
    (nulls.null_count() > 0).then_some(nulls)
}

fn bytes_of(columns: &[ArrayRef]) -> usize {
    let bytes = columns.iter().map(|column| bytes_between(column, 0, column.len()));
    usize::try_from(bytes.sum::<u64>()).unwrap_or(usize::MAX)
}

impl SortedSide {
    async fn read(exprs: &AsofExprs, right: Physical, context: &Arc<TaskContext>) -> Result<SortedSide> {
        let memory = MemoryConsumer::new("asof").register(context.memory_pool());
        let schema = right.schema();
        let mut fields = Vec::with_capacity(exprs.right.len());
        for (at, expr) in exprs.right.iter().enumerate() {
            let options = match at + 1 == exprs.right.len() {
                true => exprs.nearest.order(),
                false => RISING,
            };
            fields.push(SortField::new_with_options(expr.data_type(&schema)?, options));
        }
        let keys = fields[..fields.len() - 1].to_vec();
        let mut ties = Vec::with_capacity(exprs.ties.len());
        for expr in &exprs.ties {
            ties.push(SortField::new_with_options(expr.data_type(&schema)?, RISING));
        }
        let columns = schema.fields().iter();
        ties.extend(columns.map(|field| SortField::new_with_options(field.data_type().clone(), RISING)));
        let ties = match ties.is_empty() {
            true => None,
            false => Some(RowConverter::new(ties)?),
        };
        let mut side = SortedSide {
            batches: Vec::new(),
            places: Vec::new(),
            order: Vec::new(),
            key: match keys.is_empty() {
                true => None,
                false => Some(RowConverter::new(keys)?),
            },
            place: RowConverter::new(fields)?,
            memory,
        };
        let mut tied: Vec<Option<Rows>> = Vec::new();
        let mut rows = right.execute(0, context.clone())?;
        while let Some(batch) = rows.next().await {
            side.take(exprs, &ties, &mut tied, batch?)?;
        }
        side.sort(&tied)?;
        Ok(side)
    }

    fn take(
        &mut self,
        exprs: &AsofExprs,
        ties: &Option<RowConverter>,
        tied: &mut Vec<Option<Rows>>,
        batch: RecordBatch,
    ) -> Result<()> {
        let mut batch = batch;
        let mut places = values(&exprs.right, &batch)?;
        if let Some(valid) = all_valid(&places) {
            let valid = BooleanArray::new(valid.into_inner(), None);
            batch = filter_record_batch(&batch, &valid)?;
            for column in &mut places {
                *column = filter(column, &valid)?;
            }
        }
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let places = self.place.convert_columns(&places)?;
        let mut sorted_by = values(&exprs.ties, &batch)?;
        sorted_by.extend(batch.columns().iter().cloned());
        let tied_rows = ties.as_ref().map(|ties| ties.convert_columns(&sorted_by)).transpose()?;
        let encoded = places.size() + tied_rows.as_ref().map_or(0, Rows::size);
        let order = batch.num_rows() * size_of::<(u32, u32)>();
        self.memory.try_grow(bytes_of(batch.columns()) + encoded + order)?;
        let number = self.batches.len() as u32;
        self.order.extend((0..batch.num_rows() as u32).map(|row| (number, row)));
        self.batches.push(batch);
        self.places.push(places);
        tied.push(tied_rows);
        go_on()
    }

    fn sort(&mut self, tied: &[Option<Rows>]) -> Result<()> {
        let places = &self.places;
        let place = |(batch, row): (u32, u32)| places[batch as usize].row(row as usize);
        let tie = |(batch, row): (u32, u32)| tied[batch as usize].as_ref().map(|tied| tied.row(row as usize));
        self.order.sort_unstable_by(|one, other| {
            place(*one)
                .cmp(&place(*other))
                .then_with(|| tie(*one).cmp(&tie(*other)))
        });
        self.order.dedup_by(|later, first| place(*later) == place(*first));
        let ties = tied.iter().flatten().map(Rows::size).sum::<usize>();
        self.memory.shrink(ties);
        go_on()
    }

    /// The rows of a batch of the left side with what they meet.
    fn join(&self, exprs: &AsofExprs, batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
        go_on()?;
        let columns = values(&exprs.left, batch)?;
        let valid = all_valid(&columns);
        let places = self.place.convert_columns(&columns)?;
        let keys = match &self.key {
            Some(key) => Some(key.convert_columns(&columns[..columns.len() - 1])?),
            None => None,
        };
        let row_at = |at: usize| {
            let (batch, row) = self.order[at];
            self.places[batch as usize].row(row as usize)
        };
        let mut left: Vec<u32> = Vec::with_capacity(batch.num_rows());
        let mut right: Vec<Option<(u32, u32)>> = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let mut found = None;
            if valid.as_ref().is_none_or(|valid| valid.is_valid(row)) {
                let own = places.row(row);
                let at = self.order.partition_point(|(batch, row)| {
                    let place = self.places[*batch as usize].row(*row as usize);
                    place < own || (!exprs.nearest.meets_equal() && place == own)
                });
                let key = keys.as_ref().map_or(&[][..], |keys| keys.row(row).data());
                // Encoded columns say where they end, so that rows of one key begin with it.
                let is_of_key = at < self.order.len() && row_at(at).data().starts_with(key);
                found = is_of_key.then(|| self.order[at]);
            }
            if found.is_some() || exprs.keeps_left {
                left.push(row as u32);
                right.push(found);
            }
        }
        let rows = left.len();
        let left = UInt32Array::from(left);
        let mut columns = Vec::with_capacity(schema.fields().len());
        for column in batch.columns() {
            columns.push(match rows == batch.num_rows() {
                true => column.clone(),
                false => take(column, &left, None)?,
            });
        }
        columns.extend(self.columns(&schema.fields()[batch.num_columns()..], &right)?);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
    }

    /// Columns of these rows; `None` is a row of NULLs.
    fn columns(&self, fields: &[arrow::datatypes::FieldRef], rows: &[Option<(u32, u32)>]) -> Result<Vec<ArrayRef>> {
        let nothing = self.batches.len();
        let places = rows.iter().map(|row| match row {
            Some((batch, row)) => (*batch as usize, *row as usize),
            None => (nothing, 0),
        });
        let places: Vec<(usize, usize)> = places.collect();
        let columns = fields.iter().enumerate().map(|(at, field)| {
            let none = new_null_array(field.data_type(), 1);
            let batches = self.batches.iter().map(|batch| batch.column(at).as_ref());
            let arrays: Vec<&dyn arrow::array::Array> = batches.chain([none.as_ref()]).collect();
            Ok(interleave(&arrays, &places)?)
        });
        columns.collect()
    }
}
