//! A scan: chunks of a topic with their hidden columns, batches of its segments, a view's rows, a system relation.
//!
//! One rule: columns are taken by reference and in order; hidden ones are made only if a plan asks for them. Batches of
//! segments are read one after another while the scan runs: first the columns that its filters are on, and the others
//! that it needs if rows are left.
//!
//! If a plan sorts by `_offset`, `_lsn` or `_timestamp`, the scan gives the rows of each of the topic's partitions in
//! that order, from either end, and stops once it has enough of them (`try_pushdown_sort`): nothing is sorted.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{FilterBuilder, FilterPredicate, cast, concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation, PushedDown,
};
use datafusion::physical_plan::metrics::{BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties, SortOrderPushdownResult,
};
use futures::Stream;

use super::filter::Filter;
use super::prune::Pruning;
use crate::log::{Chunk, HiddenColumn, Lsn, Stored, expand};
use crate::sql::functions::{casts, fail, growth};

/// Rows by reference, or to be loaded.
#[derive(Clone, Debug)]
pub enum Piece {
    Chunk(Chunk),
    /// Cut again once its rows are known.
    Stored(Stored, Arc<Pruning>),
    Rows(RecordBatch),
}

impl Piece {
    /// Of the topic; rows of other relations have none.
    fn partition(&self) -> u32 {
        match self {
            Piece::Chunk(chunk) => chunk.partition,
            Piece::Stored(stored, _) => stored.bounds().partition,
            Piece::Rows(_) => 0,
        }
    }

    fn first_lsn(&self) -> Lsn {
        match self {
            Piece::Chunk(chunk) => chunk.first_lsn(),
            Piece::Stored(stored, _) => stored.bounds().first_lsn,
            Piece::Rows(_) => 0,
        }
    }

    /// The number of rows, at most.
    fn rows_max(&self) -> usize {
        match self {
            Piece::Chunk(chunk) => chunk.rows.num_rows(),
            Piece::Stored(stored, _) => stored.rows_max(),
            Piece::Rows(rows) => rows.num_rows(),
        }
    }

    /// Bytes of a row, about; of stored rows, in their stored form.
    fn row_bytes(&self) -> u64 {
        let rows = match self {
            Piece::Chunk(chunk) => &chunk.rows,
            Piece::Rows(rows) => rows,
            Piece::Stored(stored, _) => return stored.bytes() / (stored.rows_max() as u64).max(1),
        };
        let columns = rows.columns().iter();
        let bytes = columns.map(|column| growth::bytes_between(column, 0, column.len()));
        bytes.sum::<u64>() / (rows.num_rows() as u64).max(1)
    }

    /// Whether it has exactly those rows.
    fn is_exact(&self) -> bool {
        match self {
            Piece::Stored(stored, pruning) => stored.is_whole() && pruning.keeps_all(&stored.bounds()),
            Piece::Chunk(_) | Piece::Rows(_) => true,
        }
    }

    /// `None`: it cannot be cut without being loaded.
    fn slice(&self, start: usize, rows: usize) -> Option<Piece> {
        match self {
            Piece::Chunk(chunk) => Some(Piece::Chunk(chunk.slice(start, rows))),
            Piece::Stored(..) => None,
            Piece::Rows(batch) => Some(Piece::Rows(batch.slice(start, rows))),
        }
    }
}

/// The source of a column of a scan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ColumnSource {
    /// The relation's own column, by index.
    Column(usize),
    Hidden(HiddenColumn),
}

/// A scan without its rows.
#[derive(Clone, Debug)]
pub struct TopicScan {
    /// The relation's name.
    pub name: String,
    /// For EXPLAIN.
    pub kind: &'static str,
    /// For EXPLAIN: the parts that were cut off.
    pub note: String,
    pub columns: Vec<ColumnSource>,
    pub schema: SchemaRef,
    /// Time zone of `_watermark`'s type.
    pub watermark_zone: Option<Arc<str>>,
    /// Rows of a later commit than this have no place yet: they are the transaction's own.
    pub placed_upto: Lsn,
    /// No more rows than these are wanted.
    pub limit: Option<usize>,
    /// Rows that do not satisfy all of them are left out.
    pub filters: Vec<Filter>,
    pub order: Option<Order>,
}

/// In which order the rows of each partition come, which are one partition of the topic.
#[derive(Clone, Debug)]
pub struct Order {
    /// The columns of the order, each of which grows with the offset.
    keys: Vec<PhysicalSortExpr>,
    backward: bool,
    /// No more rows of each are wanted.
    fetch: Option<usize>,
}

impl TopicScan {
    /// Splits the pieces over at most `ways` partitions, in order, none of them smaller than a batch.
    pub fn into_plan(self, pieces: Vec<Piece>, ways: usize, batch_rows: usize) -> ScanExec {
        let pieces = limited(pieces, self.limit);
        let total: usize = pieces.iter().map(Piece::rows_max).sum();
        let ways = total.div_ceil(batch_rows.max(1)).clamp(1, ways.max(1));
        let partitions = split(pieces, total, ways);
        ScanExec::new(self, partitions.into_iter().map(Arc::from).collect())
    }

    /// Whether rows in order of their offsets, or against it, are sorted by these keys; and whether against it. `own`: there
    /// are rows without a place, which come last.
    fn follows_offsets(&self, keys: &[PhysicalSortExpr], own: bool) -> Option<bool> {
        let backward = keys.first()?.options.descending;
        for (place, key) in keys.iter().enumerate() {
            let column = key.expr.downcast_ref::<Column>()?;
            let ColumnSource::Hidden(hidden) = self.columns.get(column.index())? else {
                return None;
            };
            if key.options.descending != backward || own && key.options.nulls_first != backward {
                return None;
            }
            match hidden {
                // No two rows of a partition have the same: later keys decide nothing.
                HiddenColumn::Offset if !own || place + 1 == keys.len() => return Some(backward),
                HiddenColumn::Lsn | HiddenColumn::Timestamp => {}
                _ => return None,
            }
        }
        Some(backward)
    }

    /// The relation's own columns that the scan needs and that filters are on, or are not, in order.
    fn needed(&self, filtered: bool) -> Vec<usize> {
        let is_filtered = |at: usize| self.filters.iter().any(|filter| filter.column == at);
        let own = self.columns.iter().enumerate().filter_map(|(at, source)| match source {
            ColumnSource::Column(index) => (is_filtered(at) == filtered).then_some(*index),
            ColumnSource::Hidden(_) => None,
        });
        let mut needed: Vec<usize> = own.collect();
        needed.sort_unstable();
        needed
    }

    /// The projected columns of the rows of a piece that satisfy the filters; `None` if there are none.
    fn project(&self, piece: &Piece) -> Result<Option<RecordBatch>> {
        let (rows, chunk) = match piece {
            Piece::Stored(stored, pruning) => return self.read(stored, pruning),
            Piece::Chunk(chunk) => (&chunk.rows, Some(chunk)),
            Piece::Rows(rows) => (rows, None),
        };
        let column = |at: usize| match (self.columns[at], chunk) {
            (ColumnSource::Column(index), _) => match rows.columns().get(index) {
                Some(column) => Ok(Arc::clone(column)),
                // Rows from before the column was added.
                None => Ok(new_null_array(self.schema.field(at).data_type(), rows.num_rows())),
            },
            (ColumnSource::Hidden(hidden), Some(chunk)) => Ok(self.hidden(at, hidden, chunk)),
            (ColumnSource::Hidden(_), None) => unreachable!("only topics have hidden columns"),
        };
        match self.kept(rows.num_rows(), column)? {
            FilteredRows::None => Ok(None),
            FilteredRows::All => self.batch(rows.num_rows(), column, None).map(Some),
            FilteredRows::Some(kept) => self.batch(kept.count(), column, Some(&kept)).map(Some),
        }
    }

    fn read(&self, stored: &Stored, pruning: &Pruning) -> Result<Option<RecordBatch>> {
        let load = |columns: &[usize]| -> Result<Option<Chunk>> {
            let chunk = stored.load_lazily(columns).map_err(|error| fail(error.into()))?;
            Ok(chunk.and_then(|chunk| pruning.cut(chunk)))
        };
        let (first, rest) = (self.needed(true), self.needed(false));
        let column = |at: usize, columns: &[usize], chunk: &Chunk| match self.columns[at] {
            ColumnSource::Column(index) => {
                let position = columns.binary_search(&index).expect("it was loaded");
                Arc::clone(chunk.rows.column(position))
            }
            ColumnSource::Hidden(hidden) => self.hidden(at, hidden, chunk),
        };
        let (mut filtered, mut kept) = (None, FilteredRows::All);
        if !self.filters.is_empty() {
            let Some(chunk) = load(&first)? else { return Ok(None) };
            kept = self.kept(chunk.rows.num_rows(), |at| Ok(column(at, &first, &chunk)))?;
            if matches!(kept, FilteredRows::None) {
                return Ok(None);
            }
            filtered = Some(chunk);
        }
        let others = match rest.is_empty() && filtered.is_some() {
            true => None,
            false => load(&rest)?,
        };
        let Some(chunk) = others.as_ref().or(filtered.as_ref()) else {
            return Ok(None);
        };
        let column = |at: usize| {
            Ok(match (self.columns[at], &filtered) {
                (ColumnSource::Column(index), Some(filtered)) if first.binary_search(&index).is_ok() => {
                    column(at, &first, filtered)
                }
                _ => column(at, &rest, chunk),
            })
        };
        match kept {
            FilteredRows::Some(kept) => self.batch(kept.count(), column, Some(&kept)).map(Some),
            _ => self.batch(chunk.rows.num_rows(), column, None).map(Some),
        }
    }

    /// A hidden column, at that place among the scan's. The watermark is known before the commit, as of the read point.
    fn hidden(&self, at: usize, column: HiddenColumn, chunk: &Chunk) -> ArrayRef {
        if column != HiddenColumn::Watermark && chunk.first_lsn() > self.placed_upto {
            return new_null_array(self.schema.field(at).data_type(), chunk.rows.num_rows());
        }
        chunk.system_column(column, self.watermark_zone.as_deref())
    }

    /// The rows that satisfy the filters. `column`: one of the scan's.
    fn kept(&self, rows: usize, column: impl Fn(usize) -> Result<ArrayRef>) -> Result<FilteredRows> {
        let mut kept: Option<BooleanBuffer> = None;
        for filter in &self.filters {
            let values = typed(column(filter.column)?, self.schema.field(filter.column))?;
            let keeps = filter.keeps(&values)?;
            kept = Some(match kept {
                Some(kept) => &kept & &keeps,
                None => keeps,
            });
        }
        let Some(kept) = kept else { return Ok(FilteredRows::All) };
        Ok(match kept.count_set_bits() {
            0 => FilteredRows::None,
            count if count == rows => FilteredRows::All,
            _ => FilteredRows::Some(FilterBuilder::new(&BooleanArray::new(kept, None)).optimize().build()),
        })
    }

    /// The projected columns of `rows` rows, which are those that were kept.
    fn batch(
        &self,
        rows: usize,
        column: impl Fn(usize) -> Result<ArrayRef>,
        kept: Option<&FilterPredicate>,
    ) -> Result<RecordBatch> {
        let columns = self.schema.fields().iter().enumerate().map(|(at, field)| {
            let mut values = typed(column(at)?, field)?;
            if let Some(kept) = kept {
                values = kept.filter(&values)?;
            }
            Ok(expand(&values).unwrap_or(values))
        });
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let columns: Result<Vec<ArrayRef>> = columns.collect();
        let schema = Arc::clone(&self.schema);
        Ok(RecordBatch::try_new_with_options(schema, columns?, &options)?)
    }
}

/// Rows that satisfy the filters.
enum FilteredRows {
    All,
    None,
    Some(FilterPredicate),
}

/// Values, or a dictionary of values, of the field's type.
fn typed(values: ArrayRef, field: &Field) -> Result<ArrayRef> {
    let data_type = match values.as_any_dictionary_opt() {
        Some(dictionary) => dictionary.values().data_type(),
        None => values.data_type(),
    };
    match (data_type, field.data_type()) {
        (held, wanted) if held == wanted => Ok(values),
        // In a view from before NUMERIC had scales of its own it has a fixed one.
        (DataType::LargeBinary, DataType::Decimal128(..)) => {
            let held = Field::new("", DataType::LargeBinary, true);
            casts::cast(&values, &held, field, crate::types::TimeZone::UTC).map_err(fail)
        }
        (_, wanted) => Ok(cast(&values, wanted)?),
    }
}

fn limited(pieces: Vec<Piece>, limit: Option<usize>) -> Vec<Piece> {
    let Some(mut left) = limit else { return pieces };
    let mut kept = Vec::new();
    for piece in pieces {
        if left == 0 {
            break;
        }
        let rows = piece.rows_max().min(left);
        match piece.slice(0, rows) {
            Some(slice) => {
                left -= rows;
                kept.push(slice);
            }
            None => {
                // The number of its rows is only known of whole batches.
                if piece.is_exact() {
                    left -= rows;
                }
                kept.push(piece);
            }
        }
    }
    kept
}

fn split(pieces: Vec<Piece>, total: usize, ways: usize) -> Vec<Vec<Piece>> {
    let share = total.div_ceil(ways).max(1);
    let mut partitions: Vec<Vec<Piece>> = vec![Vec::new(); ways];
    let mut taken = 0;
    for piece in pieces {
        let rows = piece.rows_max();
        let mut start = 0;
        while start < rows {
            let partition = taken / share;
            let part = (rows - start).min((partition + 1) * share - taken);
            match piece.slice(start, part) {
                Some(slice) => {
                    partitions[partition].push(slice);
                    start += part;
                    taken += part;
                }
                None => {
                    partitions[partition].push(piece.clone());
                    start = rows;
                    taken += rows;
                }
            }
        }
    }
    assert_eq!(taken, total, "every row is in one partition");
    partitions
}

/// The running scan.
#[derive(Debug)]
pub struct ScanExec {
    scan: Arc<TopicScan>,
    partitions: Vec<Arc<[Piece]>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ScanExec {
    fn new(scan: TopicScan, partitions: Vec<Arc<[Piece]>>) -> ScanExec {
        let keys = scan.order.iter().map(|order| order.keys.clone());
        let properties = PlanProperties::new(
            EquivalenceProperties::new_with_orderings(scan.schema.clone(), keys),
            Partitioning::UnknownPartitioning(partitions.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        ScanExec {
            scan: Arc::new(scan),
            partitions,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    /// The same rows, each partition of the topic a partition of its own, in order.
    fn in_order(&self, order: Order) -> ScanExec {
        let mut partitions: BTreeMap<u32, Vec<Piece>> = BTreeMap::new();
        for piece in self.partitions.iter().flat_map(|pieces| pieces.iter()) {
            partitions.entry(piece.partition()).or_default().push(piece.clone());
        }
        let mut partitions: Vec<Vec<Piece>> = partitions.into_values().collect();
        if order.backward {
            partitions.iter_mut().for_each(|pieces| pieces.reverse());
        }
        if partitions.is_empty() {
            partitions.push(Vec::new());
        }
        let scan = TopicScan {
            order: Some(order),
            ..self.scan.as_ref().clone()
        };
        ScanExec::new(scan, partitions.into_iter().map(Arc::from).collect())
    }

    /// Bytes of a row, about: of the widest of some of its pieces.
    pub fn row_bytes(&self) -> u64 {
        const LOOKED_AT: usize = 64;
        let grows =
            |field: &FieldRef| matches!(field.data_type(), DataType::Utf8 | DataType::Binary | DataType::List(_));
        if !self.scan.schema.fields().iter().any(grows) {
            return 0;
        }
        let pieces: usize = self.partitions.iter().map(|pieces| pieces.len()).sum();
        let every = pieces.div_ceil(LOOKED_AT).max(1);
        let looked_at = self.partitions.iter().flat_map(|pieces| pieces.iter()).step_by(every);
        looked_at.map(Piece::row_bytes).max().unwrap_or(0)
    }

    fn row_count(&self, partition: Option<usize>) -> Precision<usize> {
        let partitions = match partition {
            Some(partition) => &self.partitions[partition..=partition],
            None => &self.partitions,
        };
        let pieces = || partitions.iter().flat_map(|pieces| pieces.iter());
        let rows = pieces().map(Piece::rows_max).sum();
        // A batch of a segment is not cut at the limit.
        let limit = self
            .scan
            .limit
            .or(self.scan.order.as_ref().and_then(|order| order.fetch));
        let is_limited = limit.is_some_and(|limit| limit < rows);
        if !is_limited && self.scan.filters.is_empty() && pieces().all(Piece::is_exact) {
            Precision::Exact(rows)
        } else {
            Precision::Inexact(rows)
        }
    }
}

impl DisplayAs for ScanExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let names: Vec<&str> = self
            .scan
            .schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        write!(
            f,
            "{}: {}, columns=[{}]",
            self.scan.kind,
            self.scan.name,
            names.join(", ")
        )?;
        if self.scan.note.is_empty() {
            write!(f, ", rows={}", self.row_count(None).get_value().unwrap_or(&0))?;
        } else {
            write!(f, ", {}", self.scan.note)?;
        }
        if self.partitions.len() > 1 {
            write!(f, ", ways={}", self.partitions.len())?;
        }
        if !self.scan.filters.is_empty() {
            let filters: Vec<String> = self.scan.filters.iter().map(Filter::to_string).collect();
            write!(f, ", filter={}", filters.join(" AND "))?;
        }
        if let Some(order) = &self.scan.order {
            let keys: Vec<String> = order.keys.iter().map(PhysicalSortExpr::to_string).collect();
            write!(f, ", order=[{}]", keys.join(", "))?;
            if let Some(fetch) = order.fetch {
                write!(f, ", fetch={fetch}")?;
            }
        }
        Ok(())
    }
}

impl ExecutionPlan for ScanExec {
    fn name(&self) -> &str {
        self.scan.kind
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        assert!(children.is_empty(), "a scan is a leaf");
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = PartitionRows {
            left: self.scan.order.as_ref().and_then(|order| order.fetch),
            scan: self.scan.clone(),
            pieces: self.partitions[partition].clone(),
            read: MetricBuilder::new(&self.metrics).counter("pieces_read", partition),
            rest: None,
            next: 0,
            held: Vec::new(),
            ready: VecDeque::new(),
            batch_rows: context.session_config().batch_size(),
            metrics: BaselineMetrics::new(&self.metrics, partition),
        };
        let stream = RecordBatchStreamAdapter::new(self.scan.schema.clone(), rows);
        Ok(make_cooperative(Box::pin(stream)))
    }

    fn handle_child_pushdown_result(
        &self,
        _phase: FilterPushdownPhase,
        conditions: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        // A limit counts the rows before a filter.
        let fetch = self.scan.order.as_ref().and_then(|order| order.fetch);
        if self.scan.limit.or(fetch).is_some() {
            return Ok(FilterPushdownPropagation::all_unsupported(conditions));
        }
        let mut scan = self.scan.as_ref().clone();
        let mut pushed = Vec::new();
        for condition in &conditions.parent_filters {
            let filter = Filter::of(&condition.filter, &scan.schema);
            pushed.push(match filter {
                Some(_) => PushedDown::Yes,
                None => PushedDown::No,
            });
            scan.filters.extend(filter);
        }
        let propagation = FilterPushdownPropagation::with_parent_pushdown_result(pushed);
        if scan.filters.len() == self.scan.filters.len() {
            return Ok(propagation);
        }
        let partitions = self.partitions.clone();
        Ok(propagation.with_updated_node(Arc::new(ScanExec::new(scan, partitions))))
    }

    fn try_pushdown_sort(&self, keys: &[PhysicalSortExpr]) -> Result<SortOrderPushdownResult<Arc<dyn ExecutionPlan>>> {
        let is_own = |piece: &Piece| piece.first_lsn() > self.scan.placed_upto;
        let own = self.partitions.iter().flat_map(|pieces| pieces.iter()).any(is_own);
        let (Some(backward), None, Some(ordering)) = (
            self.scan.follows_offsets(keys, own),
            self.scan.limit,
            LexOrdering::new(keys.to_vec()),
        ) else {
            return Ok(SortOrderPushdownResult::Unsupported);
        };
        let scan = Arc::new(self.in_order(Order {
            keys: keys.to_vec(),
            backward,
            fetch: None,
        }));
        let inner: Arc<dyn ExecutionPlan> = match scan.partitions.len() {
            1 => scan,
            _ => Arc::new(SortPreservingMergeExec::new(ordering, scan)),
        };
        Ok(SortOrderPushdownResult::Exact { inner })
    }

    fn fetch(&self) -> Option<usize> {
        self.scan.order.as_ref().and_then(|order| order.fetch)
    }

    /// Only rows in order are limited so late.
    fn with_fetch(&self, fetch: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        let order = self.scan.order.clone()?;
        let scan = TopicScan {
            order: Some(Order { fetch, ..order }),
            ..self.scan.as_ref().clone()
        };
        Some(Arc::new(ScanExec::new(scan, self.partitions.clone())))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.scan.schema);
        statistics.num_rows = self.row_count(partition);
        Ok(Arc::new(statistics))
    }
}

/// The batches of one partition, made as they are asked for.
struct PartitionRows {
    scan: Arc<TopicScan>,
    pieces: Arc<[Piece]>,
    next: usize,
    /// In order: the rest of the piece before, and the number of rows that are still wanted.
    rest: Option<Piece>,
    left: Option<usize>,
    read: Count,
    /// Rows that passed the filters, too few for a batch.
    held: Vec<RecordBatch>,
    ready: VecDeque<RecordBatch>,
    batch_rows: usize,
    metrics: BaselineMetrics,
}

impl PartitionRows {
    /// Makes batches of the next piece; false if there is none.
    fn advance(&mut self) -> Result<bool> {
        if let Some(order) = &self.scan.order {
            let backward = order.backward;
            return self.advance_in_order(backward);
        }
        let Some(piece) = self.pieces.get(self.next) else {
            self.release()?;
            return Ok(!self.ready.is_empty());
        };
        self.next += 1;
        self.read.add(1);
        if let Some(rows) = self.scan.project(piece)? {
            self.held.push(rows);
        }
        let held: usize = self.held.iter().map(RecordBatch::num_rows).sum();
        // Half a batch is worth more than a copy.
        if self.scan.filters.is_empty() || held >= self.batch_rows / 2 {
            self.release()?;
        }
        Ok(true)
    }

    /// The same from one end of the partition, no more than is wanted.
    fn advance_in_order(&mut self, backward: bool) -> Result<bool> {
        let Some(piece) = self.next_in_order(backward) else {
            return Ok(false);
        };
        self.read.add(1);
        let Some(rows) = self.scan.project(&piece)? else {
            return Ok(true);
        };
        let count = rows.num_rows();
        let wanted = self.left.map_or(count, |left| left.min(count));
        self.left = self.left.map(|left| left - wanted);
        let mut taken = 0;
        while taken < wanted {
            let part = self.batch_rows.min(wanted - taken);
            self.ready.push_back(match backward {
                true => reversed(&rows.slice(count - taken - part, part))?,
                false => rows.slice(taken, part),
            });
            taken += part;
        }
        Ok(true)
    }

    /// Pieces in memory are taken by the batch.
    fn next_in_order(&mut self, backward: bool) -> Option<Piece> {
        if self.left == Some(0) {
            return None;
        }
        let piece = match self.rest.take() {
            Some(rest) => rest,
            None => {
                let next = self.pieces.get(self.next)?;
                self.next += 1;
                next.clone()
            }
        };
        let most = match self.left {
            Some(left) if self.scan.filters.is_empty() => self.batch_rows.min(left),
            _ => self.batch_rows,
        };
        let more = piece.rows_max().saturating_sub(most);
        if more == 0 {
            return Some(piece);
        }
        let (first, rest) = match backward {
            true => (piece.slice(more, most), piece.slice(0, more)),
            false => (piece.slice(0, most), piece.slice(most, more)),
        };
        let Some(first) = first else { return Some(piece) };
        self.rest = rest;
        Some(first)
    }

    fn release(&mut self) -> Result<()> {
        let rows = match self.held.as_slice() {
            [] => return Ok(()),
            [rows] => rows.clone(),
            many => concat_batches(&self.scan.schema, many)?,
        };
        self.held.clear();
        let mut start = 0;
        while start < rows.num_rows() {
            let part = self.batch_rows.min(rows.num_rows() - start);
            self.ready.push_back(rows.slice(start, part));
            start += part;
        }
        Ok(())
    }
}

fn reversed(rows: &RecordBatch) -> Result<RecordBatch> {
    let count = u32::try_from(rows.num_rows()).expect("a batch has less than 2^32 rows");
    let indices: UInt32Array = (0..count).rev().collect();
    Ok(take_record_batch(rows, &indices)?)
}

impl Stream for PartitionRows {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        if self.ready.is_empty() {
            let time = self.metrics.elapsed_compute().clone();
            let _timer = time.timer();
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return Poll::Ready(None),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        let Some(batch) = self.ready.pop_front() else {
            // A scan whose filters leave nothing gives way after each piece: it may have been cancelled.
            context.waker().wake_by_ref();
            return Poll::Pending;
        };
        self.metrics.record_output(batch.num_rows());
        Poll::Ready(Some(Ok(batch)))
    }
}
