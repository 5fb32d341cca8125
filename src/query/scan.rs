//! A scan: chunks of a topic with their hidden columns, batches of its segments, a view's rows, a system relation.
//!
//! One rule: columns are taken by reference and in order; hidden ones are made only where asked for. Batches of segments
//! are read one after another while the scan runs, only the columns that it needs.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties,
};

use super::prune::Pruning;
use crate::log::{Chunk, Stored, SystemColumn};
use crate::sql::functions::fail;

/// Rows by reference, or to be loaded.
#[derive(Clone, Debug)]
pub enum Piece {
    Chunk(Chunk),
    /// Cut again once its rows are known.
    Stored(Stored, Arc<Pruning>),
    Rows(RecordBatch),
}

impl Piece {
    /// At most so many rows.
    fn rows_max(&self) -> usize {
        match self {
            Piece::Chunk(chunk) => chunk.rows.num_rows(),
            Piece::Stored(stored, _) => stored.rows_max(),
            Piece::Rows(rows) => rows.num_rows(),
        }
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

/// Where a column of a scan comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The relation's own column, by index.
    Column(usize),
    Hidden(SystemColumn),
}

/// What a scan is of, without its rows.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The relation's name.
    pub name: String,
    /// For EXPLAIN.
    pub kind: &'static str,
    /// For EXPLAIN: what was cut off.
    pub note: String,
    pub columns: Vec<Source>,
    pub schema: SchemaRef,
    /// Time zone of `_watermark`'s type.
    pub watermark_zone: Option<Arc<str>>,
    /// No more rows than these are wanted.
    pub limit: Option<usize>,
}

impl Scan {
    /// Splits the pieces over at most `ways` partitions, in order, none of them smaller than a batch.
    pub fn into_plan(self, pieces: Vec<Piece>, ways: usize, batch_rows: usize) -> ScanExec {
        let pieces = limited(pieces, self.limit);
        let total: usize = pieces.iter().map(Piece::rows_max).sum();
        let ways = total.div_ceil(batch_rows.max(1)).clamp(1, ways.max(1));
        let partitions = split(pieces, total, ways);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(self.schema.clone()),
            Partitioning::UnknownPartitioning(partitions.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        ScanExec {
            scan: Arc::new(self),
            partitions: partitions.into_iter().map(Arc::from).collect(),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    /// The relation's own columns that the scan needs, in order and each once.
    fn needed(&self) -> Vec<usize> {
        let own = self.columns.iter().filter_map(|source| match source {
            Source::Column(index) => Some(*index),
            Source::Hidden(_) => None,
        });
        let mut needed: Vec<usize> = own.collect();
        needed.sort_unstable();
        needed.dedup();
        needed
    }

    /// The projected columns of a piece; `None` if it has no rows after all.
    fn project(&self, piece: &Piece) -> Result<Option<RecordBatch>> {
        match piece {
            Piece::Chunk(chunk) => self.project_rows(&chunk.rows, Some(chunk), Some).map(Some),
            Piece::Rows(rows) => self.project_rows(rows, None, Some).map(Some),
            Piece::Stored(stored, pruning) => {
                let needed = self.needed();
                let chunk = stored.load(Some(&needed)).map_err(|error| fail(error.into()))?;
                let Some(chunk) = chunk.and_then(|chunk| pruning.cut(chunk)) else {
                    return Ok(None);
                };
                let position = |column: usize| needed.binary_search(&column).ok();
                self.project_rows(&chunk.rows, Some(&chunk), position).map(Some)
            }
        }
    }

    /// `position` says where a column of the relation is in `rows`.
    fn project_rows(
        &self,
        rows: &RecordBatch,
        chunk: Option<&Chunk>,
        position: impl Fn(usize) -> Option<usize>,
    ) -> Result<RecordBatch> {
        let columns = self
            .columns
            .iter()
            .zip(self.schema.fields())
            .map(|(source, field)| {
                let column: ArrayRef = match (source, chunk) {
                    (Source::Column(index), _) => match position(*index).and_then(|at| rows.columns().get(at)) {
                        Some(column) => column.clone(),
                        // Rows from before the column was added.
                        None => new_null_array(field.data_type(), rows.num_rows()),
                    },
                    (Source::Hidden(hidden), Some(chunk)) => {
                        chunk.system_column(*hidden, self.watermark_zone.as_deref())
                    }
                    (Source::Hidden(_), None) => unreachable!("only topics have hidden columns"),
                };
                if column.data_type() == field.data_type() {
                    Ok(column)
                } else {
                    Ok(cast(&column, field.data_type())?)
                }
            })
            .collect::<Result<Vec<ArrayRef>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(
            self.schema.clone(),
            columns,
            &options,
        )?)
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
                // How many of its rows are there is only known of whole batches.
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
    scan: Arc<Scan>,
    partitions: Vec<Arc<[Piece]>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ScanExec {
    fn row_count(&self, partition: Option<usize>) -> Precision<usize> {
        let partitions = match partition {
            Some(partition) => &self.partitions[partition..=partition],
            None => &self.partitions,
        };
        let pieces = || partitions.iter().flat_map(|pieces| pieces.iter());
        let rows = pieces().map(Piece::rows_max).sum();
        // A batch of a segment is not cut at the limit.
        let is_limited = self.scan.limit.is_some_and(|limit| limit < rows);
        if !is_limited && pieces().all(Piece::is_exact) {
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
        let rows = Rows {
            scan: self.scan.clone(),
            pieces: self.partitions[partition].clone(),
            next: 0,
            ready: VecDeque::new(),
            batch_rows: context.session_config().batch_size(),
            metrics: BaselineMetrics::new(&self.metrics, partition),
        };
        let stream = RecordBatchStreamAdapter::new(self.scan.schema.clone(), futures::stream::iter(rows));
        Ok(make_cooperative(Box::pin(stream)))
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
struct Rows {
    scan: Arc<Scan>,
    pieces: Arc<[Piece]>,
    next: usize,
    ready: VecDeque<RecordBatch>,
    batch_rows: usize,
    metrics: BaselineMetrics,
}

impl Iterator for Rows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        while self.ready.is_empty() {
            let piece = self.pieces.get(self.next)?;
            self.next += 1;
            let timer = self.metrics.elapsed_compute().timer();
            let projected = match self.scan.project(piece) {
                Ok(Some(batch)) => batch,
                Ok(None) => continue,
                Err(error) => return Some(Err(error)),
            };
            let mut start = 0;
            while start < projected.num_rows() {
                let rows = self.batch_rows.min(projected.num_rows() - start);
                self.ready.push_back(projected.slice(start, rows));
                start += rows;
            }
            timer.done();
        }
        let batch = self.ready.pop_front()?;
        self.metrics.record_output(batch.num_rows());
        Some(Ok(batch))
    }
}
