//! Window functions over frames that leave rows out: EXCLUDE CURRENT ROW, GROUP and TIES.
//!
//! One rule: each value is computed anew from the rows of its frame that are left. The engine calls once for each row of a
//! partition, in order, and gives the values of the window's ORDER BY behind the arguments: rows with equal ones are a group.

use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray};
use arrow::compute::{filter, partition};
use arrow::datatypes::{FieldRef, Schema};
use datafusion::common::cast::as_boolean_array;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::function::{AccumulatorArgs, PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    AggregateUDF, PartitionEvaluator, ReversedUDWF, Signature, Volatility, WindowUDF, WindowUDFImpl,
};
use datafusion::physical_expr::PhysicalExpr;

/// The rows of a frame that are left out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Exclusion {
    CurrentRow,
    /// The current row and its peers.
    Group,
    /// Its peers.
    Ties,
}

/// What is computed of the rows that are left.
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
    computed: Computed,
    signature: Signature,
}

impl PartialEq for Excluded {
    fn eq(&self, other: &Excluded) -> bool {
        self.exclusion == other.exclusion && self.computed == other.computed
    }
}

impl Eq for Excluded {}

impl Hash for Excluded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.exclusion.hash(state);
        self.computed.hash(state);
    }
}

fn function(exclusion: Exclusion, computed: Computed) -> Arc<WindowUDF> {
    Arc::new(WindowUDF::from(Excluded {
        exclusion,
        computed,
        signature: Signature::variadic_any(Volatility::Immutable),
    }))
}

/// An aggregate over such frames; with a filter that is one more argument.
pub fn aggregate(exclusion: Exclusion, of: Arc<AggregateUDF>, has_filter: bool) -> Arc<WindowUDF> {
    let computed = Computed::Aggregate {
        function: of,
        has_filter,
    };
    function(exclusion, computed)
}

/// `first_value`, `last_value` and `nth_value` over such frames; `None` for a function that looks at no frame.
pub fn picked(exclusion: Exclusion, name: &str) -> Option<Arc<WindowUDF>> {
    let computed = match name {
        "first_value" => Computed::First,
        "last_value" => Computed::Last,
        "nth_value" => Computed::Nth,
        _ => return None,
    };
    Some(function(exclusion, computed))
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
                let given = args.input_fields().len() - usize::from(*has_filter);
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

#[derive(Debug)]
struct Evaluator {
    exclusion: Exclusion,
    computed: Computed,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    fields: Vec<FieldRef>,
    /// The current row.
    row: usize,
    /// The rows that are alike by the window's order.
    groups: Option<Vec<Range<usize>>>,
}

impl Evaluator {
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
        let given = self.exprs.len() - usize::from(has_filter);
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
        let rows = self.left(values, range)?;
        let value = match &self.computed {
            Computed::Aggregate { function, has_filter } => self.fold(function, values, &rows, *has_filter)?,
            picked => {
                let place = match picked {
                    Computed::First => rows.first().map(|piece| piece.start),
                    Computed::Last => rows.last().map(|piece| piece.end - 1),
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

/// The row that `nth_value` picks: its number may differ from row to row.
fn nth(values: &[ArrayRef], row: usize, rows: &[Range<usize>]) -> Result<Option<usize>> {
    let numbers = arrow::compute::cast(&values[1], &arrow::datatypes::DataType::Int64)?;
    let numbers = numbers.as_primitive::<arrow::datatypes::Int64Type>();
    if arrow::array::Array::is_null(numbers, row) {
        return Ok(None);
    }
    let Some(mut before) = usize::try_from(numbers.value(row)).ok().and_then(|n| n.checked_sub(1)) else {
        return Err(super::fail(crate::error::SqlError::new(
            crate::error::SqlState("22016"),
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
