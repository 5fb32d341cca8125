//! Window functions over frames that the engine does not make: with EXCLUDE CURRENT ROW, GROUP or TIES, or with bounds that
//! are known while the query runs.
//!
//! One rule: each value is computed anew from the rows of its frame that are left. The engine calls once for each row of a
//! partition, in order, and gives the values of the window's ORDER BY behind the arguments: rows with equal ones are a group.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, make_comparator};
use arrow::compute::{SortOptions, filter, partition};
use arrow::datatypes::{DataType, FieldRef, Int64Type, Schema};
use datafusion::common::cast::as_boolean_array;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::function::{AccumulatorArgs, PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    AggregateUDF, PartitionEvaluator, ReversedUDWF, Signature, Volatility, WindowFrameUnits, WindowUDF, WindowUDFImpl,
};
use datafusion::physical_expr::PhysicalExpr;

use crate::error::{SqlError, SqlState};

/// The rows of a frame that are left out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Exclusion {
    /// None are.
    Nothing,
    CurrentRow,
    /// The current row and its peers.
    Group,
    /// Its peers.
    Ties,
}

/// An end of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FrameEdge {
    Unbounded,
    Current,
    Preceding,
    Following,
}

impl FrameEdge {
    pub fn has_offset(self) -> bool {
        matches!(self, FrameEdge::Preceding | FrameEdge::Following)
    }
}

/// A frame whose offsets come with the rows: the last arguments. Those of ROWS and GROUPS are counts. With RANGE the
/// value that rows are compared by comes first, and then its value at each edge.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FrameBounds {
    pub units: WindowFrameUnits,
    pub start: FrameEdge,
    pub end: FrameEdge,
    /// Of the window's order.
    pub descending: bool,
}

impl FrameBounds {
    fn offsets(&self) -> usize {
        usize::from(self.start.has_offset()) + usize::from(self.end.has_offset())
    }

    /// Arguments that are not the function's.
    fn arguments(&self) -> usize {
        self.offsets() + usize::from(self.units == WindowFrameUnits::Range)
    }
}

/// 22004
const NULL_VALUE_NOT_ALLOWED: SqlState = SqlState("22004");
/// 22013
const INVALID_PRECEDING_OR_FOLLOWING_SIZE: SqlState = SqlState("22013");

/// The error of an offset that is NULL.
pub fn null_offset(edge: &str) -> SqlError {
    SqlError::new(NULL_VALUE_NOT_ALLOWED, format!("frame {edge} offset must not be null"))
}

/// The error of a count of rows or groups below 0.
pub fn negative_offset(edge: &str) -> SqlError {
    SqlError::new(
        INVALID_PRECEDING_OR_FOLLOWING_SIZE,
        format!("frame {edge} offset must not be negative"),
    )
}

/// The computation over the rows that are left.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Computed {
    /// `has_filter`: the last argument says which rows count.
    Aggregate {
        function: Arc<AggregateUDF>,
        has_filter: bool,
    },
    First,
    Last,
    Nth,
}

#[derive(Debug)]
struct Excluded {
    exclusion: Exclusion,
    /// The frame that the engine's stands for, if it is not the frame itself.
    bounds: Option<FrameBounds>,
    computed: Computed,
    signature: Signature,
}

impl PartialEq for Excluded {
    fn eq(&self, other: &Excluded) -> bool {
        self.exclusion == other.exclusion && self.bounds == other.bounds && self.computed == other.computed
    }
}

impl Eq for Excluded {}

impl Hash for Excluded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.exclusion.hash(state);
        self.bounds.hash(state);
        self.computed.hash(state);
    }
}

fn function(exclusion: Exclusion, bounds: Option<FrameBounds>, computed: Computed) -> Arc<WindowUDF> {
    Arc::new(WindowUDF::from(Excluded {
        exclusion,
        bounds,
        computed,
        signature: Signature::variadic_any(Volatility::Immutable),
    }))
}

/// An aggregate over such frames; with a filter that is one more argument.
pub fn aggregate(
    exclusion: Exclusion,
    bounds: Option<FrameBounds>,
    of: Arc<AggregateUDF>,
    has_filter: bool,
) -> Arc<WindowUDF> {
    let computed = Computed::Aggregate {
        function: of,
        has_filter,
    };
    function(exclusion, bounds, computed)
}

/// `first_value`, `last_value` and `nth_value` over such frames; `None` for a function that looks at no frame.
pub fn picked(exclusion: Exclusion, bounds: Option<FrameBounds>, name: &str) -> Option<Arc<WindowUDF>> {
    let computed = match name {
        "first_value" => Computed::First,
        "last_value" => Computed::Last,
        "nth_value" => Computed::Nth,
        _ => return None,
    };
    Some(function(exclusion, bounds, computed))
}

impl WindowUDFImpl for Excluded {
    fn name(&self) -> &str {
        match &self.computed {
            Computed::Aggregate { function, .. } => function.name(),
            Computed::First => "first_value",
            Computed::Last => "last_value",
            Computed::Nth => "nth_value",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn partition_evaluator(&self, args: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Evaluator {
            exclusion: self.exclusion,
            bounds: self.bounds,
            compared: None,
            computed: self.computed.clone(),
            exprs: args.input_exprs().to_vec(),
            fields: args.input_fields().to_vec(),
            row: 0,
            groups: None,
        }))
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        let field = match &self.computed {
            Computed::Aggregate { function, has_filter } => {
                let beside = usize::from(*has_filter) + self.bounds.map_or(0, |bounds| bounds.arguments());
                let given = args.input_fields().len() - beside;
                function.return_field(&args.input_fields()[..given])?
            }
            _ => match args.input_fields().first() {
                Some(first) => first.clone(),
                None => return exec_err!("a value is picked of an argument"),
            },
        };
        Ok(Arc::new(
            field.as_ref().clone().with_name(args.name()).with_nullable(true),
        ))
    }

    fn reverse_expr(&self) -> ReversedUDWF {
        ReversedUDWF::NotSupported
    }
}

struct Evaluator {
    exclusion: Exclusion,
    bounds: Option<FrameBounds>,
    /// Of a RANGE with offsets.
    compared: Option<ComparedRows>,
    computed: Computed,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    fields: Vec<FieldRef>,
    /// The current row.
    row: usize,
    /// The rows that are alike by the window's order.
    groups: Option<Vec<Range<usize>>>,
}

impl std::fmt::Debug for Evaluator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Evaluator")
            .field("exclusion", &self.exclusion)
            .field("bounds", &self.bounds)
            .field("computed", &self.computed)
            .finish_non_exhaustive()
    }
}

/// Compares the value of one row with an edge of another.
type EdgeComparator = Box<dyn Fn(usize, usize) -> Ordering + Send + Sync>;

/// Comparisons of the rows of a partition with the edges of a RANGE.
struct ComparedRows {
    /// The rows that have a value.
    known: Range<usize>,
    start: Option<EdgeComparator>,
    end: Option<EdgeComparator>,
}

impl ComparedRows {
    fn new(bounds: &FrameBounds, arguments: &[ArrayRef]) -> Result<ComparedRows> {
        let (value, edges) = arguments
            .split_first()
            .expect("a RANGE has what its rows are compared by");
        let nulls = value.null_count();
        let known = match nulls > 0 && value.is_null(0) {
            true => nulls..value.len(),
            false => 0..value.len() - nulls,
        };
        let options = SortOptions::new(bounds.descending, false);
        let mut edges = edges.iter();
        let mut comparator = |edge: FrameEdge| -> Result<Option<EdgeComparator>> {
            match edge.has_offset() {
                true => {
                    let edge = edges.next().expect("each offset is an argument");
                    Ok(Some(make_comparator(value, edge, options)?))
                }
                false => Ok(None),
            }
        };
        Ok(ComparedRows {
            known,
            start: comparator(bounds.start)?,
            end: comparator(bounds.end)?,
        })
    }
}

impl Evaluator {
    /// The frame of the current row, of a partition that is `whole`.
    fn frame(&mut self, values: &[ArrayRef], whole: &Range<usize>) -> Result<Range<usize>> {
        let Some(bounds) = self.bounds else {
            return Ok(whole.clone());
        };
        let arguments = &values[self.exprs.len() - bounds.arguments()..self.exprs.len()];
        let rows = whole.end;
        let row = self.row;
        if bounds.units == WindowFrameUnits::Range {
            let group = self.group(values, whole)?;
            let compared = match &mut self.compared {
                Some(compared) => compared,
                None => self.compared.insert(ComparedRows::new(&bounds, arguments)?),
            };
            let mut edges = arguments[1..].iter();
            let is_known = compared.known.contains(&row);
            for (edge, name) in [(bounds.start, "starting"), (bounds.end, "ending")] {
                if edge.has_offset() && edges.next().is_some_and(|edge| edge.is_null(row)) && is_known {
                    return Err(super::fail(null_offset(name)));
                }
            }
            let first = |comparator: &EdgeComparator, is_before: fn(Ordering) -> bool| {
                let (mut low, mut high) = (compared.known.start, compared.known.end);
                while low < high {
                    let middle = low.midpoint(high);
                    match is_before(comparator(middle, row)) {
                        true => low = middle + 1,
                        false => high = middle,
                    }
                }
                low
            };
            let start = match (bounds.start, &compared.start) {
                (FrameEdge::Unbounded, _) => 0,
                (_, Some(comparator)) if is_known => first(comparator, Ordering::is_lt),
                _ => group.start,
            };
            let end = match (bounds.end, &compared.end) {
                (FrameEdge::Unbounded, _) => rows,
                (_, Some(comparator)) if is_known => first(comparator, Ordering::is_le),
                _ => group.end,
            };
            return Ok(start..end.max(start));
        }
        let mut offsets = arguments.iter();
        let mut offset = |edge: FrameEdge, name: &str| -> Result<usize> {
            if !edge.has_offset() {
                return Ok(0);
            }
            let counts = arrow::compute::cast(offsets.next().expect("each offset is an argument"), &DataType::Int64)?;
            let counts = counts.as_primitive::<Int64Type>();
            if counts.is_null(row) {
                return Err(super::fail(null_offset(name)));
            }
            usize::try_from(counts.value(row)).map_err(|_| super::fail(negative_offset(name)))
        };
        let before = offset(bounds.start, "starting")?;
        let after = offset(bounds.end, "ending")?;
        if bounds.units == WindowFrameUnits::Rows {
            let start = place(bounds.start, row, before, rows, 0);
            let end = match bounds.end {
                FrameEdge::Unbounded => rows,
                // The row itself is in, one before the first is not.
                edge => match edge == FrameEdge::Preceding && after > row {
                    true => 0,
                    false => place(edge, row, after, rows, rows).saturating_add(1).min(rows),
                },
            };
            return Ok(start..end.max(start));
        }
        let _ = self.group(values, whole)?;
        let groups = match &self.groups {
            Some(groups) => groups.as_slice(),
            None => std::slice::from_ref(whole),
        };
        let own = groups.partition_point(|group| group.end <= row);
        let count = groups.len();
        let start = match place(bounds.start, own, before, count, 0) {
            at if at < count => groups[at].start,
            _ => rows,
        };
        let end = match bounds.end {
            FrameEdge::Unbounded => rows,
            FrameEdge::Preceding if after > own => 0,
            edge => groups[place(edge, own, after, count, count).min(count - 1)].end,
        };
        Ok(start..end.max(start))
    }

    fn group(&mut self, values: &[ArrayRef], range: &Range<usize>) -> Result<Range<usize>> {
        let order = &values[self.exprs.len().min(values.len())..];
        if order.is_empty() {
            let rows = values.first().map_or(range.end, |first| first.len());
            return Ok(0..rows);
        }
        let groups = match &mut self.groups {
            Some(groups) => groups,
            None => self.groups.insert(partition(order)?.ranges()),
        };
        let at = groups.partition_point(|group| group.end <= self.row);
        Ok(groups[at].clone())
    }

    /// The pieces of the frame that are left.
    fn left(&mut self, values: &[ArrayRef], range: &Range<usize>) -> Result<Vec<Range<usize>>> {
        let current = self.row..self.row + 1;
        let out = match self.exclusion {
            Exclusion::Nothing => return Ok(vec![range.clone()]),
            Exclusion::CurrentRow => current.clone(),
            Exclusion::Group | Exclusion::Ties => self.group(values, range)?,
        };
        let mut left = Vec::with_capacity(3);
        left.push(range.start..range.end.min(out.start));
        if self.exclusion == Exclusion::Ties && range.contains(&self.row) {
            left.push(current);
        }
        left.push(range.start.max(out.end)..range.end);
        left.retain(|piece| piece.start < piece.end);
        Ok(left)
    }

    fn fold(
        &self,
        function: &AggregateUDF,
        arguments: &[ArrayRef],
        rows: &[Range<usize>],
        has_filter: bool,
    ) -> Result<ScalarValue> {
        let bounds = self.bounds.map_or(0, |bounds| bounds.arguments());
        let given = self.exprs.len() - usize::from(has_filter) - bounds;
        let schema = Schema::new(self.fields.clone());
        let mut accumulator = function.accumulator(AccumulatorArgs {
            return_field: function.return_field(&self.fields[..given])?,
            schema: &schema,
            ignore_nulls: false,
            order_bys: &[],
            is_reversed: false,
            name: function.name(),
            is_distinct: false,
            exprs: &self.exprs[..given],
            expr_fields: &self.fields[..given],
        })?;
        for piece in rows {
            let cut = |column: &ArrayRef| column.slice(piece.start, piece.end - piece.start);
            let mut columns: Vec<ArrayRef> = arguments[..given].iter().map(cut).collect();
            if has_filter {
                let counted = cut(&arguments[given]);
                let counted: &BooleanArray = as_boolean_array(&counted)?;
                columns = columns
                    .iter()
                    .map(|column| filter(column, counted))
                    .collect::<Result<_, _>>()?;
            }
            accumulator.update_batch(&columns)?;
        }
        accumulator.evaluate()
    }
}

impl PartitionEvaluator for Evaluator {
    fn uses_window_frame(&self) -> bool {
        true
    }

    fn evaluate(&mut self, values: &[ArrayRef], range: &Range<usize>) -> Result<ScalarValue> {
        crate::stop::check().map_err(super::fail)?;
        let range = self.frame(values, range)?;
        let rows = self.left(values, &range)?;
        let value = match &self.computed {
            Computed::Aggregate { function, has_filter } => self.fold(function, values, &rows, *has_filter)?,
            picked => {
                let place = match picked {
                    Computed::First => rows.iter().find(|piece| !piece.is_empty()).map(|piece| piece.start),
                    Computed::Last => rows.iter().rfind(|piece| !piece.is_empty()).map(|piece| piece.end - 1),
                    _ => nth(values, self.row, &rows)?,
                };
                match place {
                    Some(place) => ScalarValue::try_from_array(&values[0], place)?,
                    None => ScalarValue::try_new_null(values[0].data_type())?,
                }
            }
        };
        self.row += 1;
        Ok(value)
    }
}

/// The row or group at an offset from one: at most `count`.
fn place(edge: FrameEdge, from: usize, offset: usize, count: usize, unbounded: usize) -> usize {
    match edge {
        FrameEdge::Unbounded => unbounded,
        FrameEdge::Current => from,
        FrameEdge::Preceding => from.saturating_sub(offset),
        FrameEdge::Following => from.saturating_add(offset).min(count),
    }
}

/// The row that `nth_value` picks: its number may differ from row to row.
fn nth(values: &[ArrayRef], row: usize, rows: &[Range<usize>]) -> Result<Option<usize>> {
    let number = arrow::compute::cast(&values[1].slice(row, 1), &DataType::Int64)?;
    let number = number.as_primitive::<Int64Type>();
    if number.is_null(0) {
        return Ok(None);
    }
    let Some(mut before) = usize::try_from(number.value(0)).ok().and_then(|n| n.checked_sub(1)) else {
        return Err(super::fail(SqlError::new(
            SqlState("22016"),
            "argument of nth_value must be greater than zero",
        )));
    };
    for piece in rows {
        let count = piece.end - piece.start;
        if before < count {
            return Ok(Some(piece.start + before));
        }
        before -= count;
    }
    Ok(None)
}
