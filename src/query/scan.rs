//! A scan over batches in memory: chunks of a topic with their hidden columns, a view's rows, a system relation.
//!
//! One rule: columns are taken by reference and in order; hidden ones are made only where asked for.

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

use super::prune;
use crate::log::{Chunk, SystemColumn};

/// Rows by reference.
#[derive(Clone, Debug)]
pub enum Piece {
    Chunk(Chunk),
    Rows(RecordBatch),
}

impl Piece {
    fn rows(&self) -> &RecordBatch {
        match self {
            Piece::Chunk(chunk) => &chunk.rows,
            Piece::Rows(rows) => rows,
        }
    }

    fn slice(&self, start: usize, rows: usize) -> Piece {
        match self {
            Piece::Chunk(chunk) => Piece::Chunk(prune::slice(chunk, start, rows)),
            Piece::Rows(batch) => Piece::Rows(batch.slice(start, rows)),
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
        let total: usize = pieces.iter().map(|piece| piece.rows().num_rows()).sum();
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

    /// The projected columns of a piece.
    fn project(&self, piece: &Piece) -> Result<RecordBatch> {
        let rows = piece.rows();
        let columns = self
            .columns
            .iter()
            .zip(self.schema.fields())
            .map(|(source, field)| {
                let column: ArrayRef = match (source, piece) {
                    (Source::Column(index), _) => match rows.columns().get(*index) {
                        Some(column) => column.clone(),
                        // Rows from before the column was added.
                        None => new_null_array(field.data_type(), rows.num_rows()),
                    },
                    (Source::Hidden(hidden), Piece::Chunk(chunk)) => {
                        chunk.system_column(*hidden, self.watermark_zone.as_deref())
                    }
                    (Source::Hidden(_), Piece::Rows(_)) => unreachable!("only topics have hidden columns"),
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
        let rows = piece.rows().num_rows().min(left);
        left -= rows;
        kept.push(piece.slice(0, rows));
    }
    kept
}

fn split(pieces: Vec<Piece>, total: usize, ways: usize) -> Vec<Vec<Piece>> {
    let share = total.div_ceil(ways).max(1);
    let mut partitions: Vec<Vec<Piece>> = vec![Vec::new(); ways];
    let mut taken = 0;
    for piece in pieces {
        let rows = piece.rows().num_rows();
        let mut start = 0;
        while start < rows {
            let partition = taken / share;
            let part = (rows - start).min((partition + 1) * share - taken);
            partitions[partition].push(piece.slice(start, part));
            start += part;
            taken += part;
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
    fn row_count(&self, partition: Option<usize>) -> usize {
        let rows = |pieces: &Arc<[Piece]>| pieces.iter().map(|piece| piece.rows().num_rows()).sum::<usize>();
        match partition {
            Some(partition) => rows(&self.partitions[partition]),
            None => self.partitions.iter().map(rows).sum(),
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
            write!(f, ", rows={}", self.row_count(None))?;
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
        statistics.num_rows = Precision::Exact(self.row_count(partition));
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
        if self.ready.is_empty() {
            let piece = self.pieces.get(self.next)?;
            self.next += 1;
            let timer = self.metrics.elapsed_compute().timer();
            let projected = match self.scan.project(piece) {
                Ok(batch) => batch,
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
