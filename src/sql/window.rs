//! The window node: assigns rows of a relation to time windows, skipping late rows. One plan node that batch queries
//! and views share, so that both agree on lateness by construction.
//!
//! Output columns: the input's without `_watermark`, then `window_start`, `window_end` (of the time column's type).
//! `window/assign.rs` decides which rows are in which window; `plan/windows.rs` turns a FROM item into this node.

mod assign;

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, TableReference, internal_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

use super::statement::Emit;
use crate::log::TopicId;

pub use assign::{Assigned, Assigner, Closing, WindowSlices};

/// Names of the columns that a window adds.
pub const WINDOW_START: &str = "window_start";
pub const WINDOW_END: &str = "window_end";

/// The windows that a row belongs to. All lengths in microseconds, all > 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum WindowKind {
    /// `[k * size + offset, (k + 1) * size + offset)`
    Tumble { size_us: i64, offset_us: i64 },
    /// Windows of `size` starting every `slide`; size is a multiple of slide.
    Hop {
        slide_us: i64,
        size_us: i64,
        offset_us: i64,
    },
}

impl WindowKind {
    /// Length of one window.
    pub fn size_us(&self) -> i64 {
        match self {
            WindowKind::Tumble { size_us, .. } | WindowKind::Hop { size_us, .. } => *size_us,
        }
    }

    /// The number of windows that each row is in.
    pub fn windows_per_row(&self) -> usize {
        match self {
            WindowKind::Tumble { .. } => 1,
            WindowKind::Hop { slide_us, size_us, .. } => (size_us / slide_us) as usize,
        }
    }
}

/// TUMBLE or HOP over `input`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Window {
    pub input: LogicalPlan,
    pub kind: WindowKind,
    /// Index of the event-time column in the input's schema.
    pub time_column: usize,
    /// Index of `_watermark` in the input's schema: there if the input still carries it, so rows can be late.
    pub watermark_column: Option<usize>,
    /// Topics whose watermarks close the windows: closed at N if `window_end + allowed_lateness <= min W(N)`.
    /// Empty if the windows never close.
    pub topics: Vec<TopicId>,
    /// Why the windows never close; `None` if they do.
    pub never_closes: Option<String>,
    pub allowed_lateness_us: i64,
    /// `OnWindowClose`: only rows of closed windows come out.
    pub emit: Emit,
    schema: DFSchemaRef,
}

/// The arguments of [`Window::new`] beside the input and the kind.
#[derive(Clone, Debug, Default)]
pub struct Closure {
    pub watermark_column: Option<usize>,
    pub topics: Vec<TopicId>,
    pub never_closes: Option<String>,
    pub allowed_lateness_us: i64,
    pub emit: Emit,
}

impl Window {
    /// The time column must be a timestamp in microseconds.
    pub fn new(input: LogicalPlan, kind: WindowKind, time_column: usize, closure: Closure) -> Result<Window> {
        let valid = match kind {
            WindowKind::Tumble { size_us, .. } => size_us > 0,
            WindowKind::Hop { slide_us, size_us, .. } => slide_us > 0 && size_us > 0 && size_us % slide_us == 0,
        };
        assert!(valid, "window lengths are checked before the node is made: {kind:?}");
        assert!(
            closure.topics.is_empty() || closure.watermark_column.is_some(),
            "windows close by a watermark that the rows carry"
        );
        let schema = Arc::new(output_schema(input.schema(), time_column, closure.watermark_column)?);
        Ok(Window {
            input,
            kind,
            time_column,
            watermark_column: closure.watermark_column,
            topics: closure.topics,
            never_closes: closure.never_closes,
            allowed_lateness_us: closure.allowed_lateness_us,
            emit: closure.emit,
            schema,
        })
    }

    /// The same node with another `emit`.
    pub fn with_emit(&self, emit: Emit) -> Window {
        Window { emit, ..self.clone() }
    }

    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }

    /// The window node of a plan node, if it is one.
    pub fn of(plan: &LogicalPlan) -> Option<&Window> {
        match plan {
            LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref::<Window>(),
            _ => None,
        }
    }

    /// Input column of an output column; `None` for `window_start` and `window_end`.
    pub fn input_column(&self, output: usize) -> Option<usize> {
        let kept = self.schema.fields().len() - 2;
        (output < kept).then(|| match self.watermark_column {
            Some(watermark) if output >= watermark => output + 1,
            _ => output,
        })
    }

    /// The kernel that does the work, for rows of the input's schema.
    pub fn assigner(&self) -> Assigner {
        Assigner::new(self)
    }
}

/// The input's columns without `_watermark`, then the two bounds, found under the input's one name if it has one.
fn output_schema(input: &DFSchema, time_column: usize, watermark_column: Option<usize>) -> Result<DFSchema> {
    let data_type = input.field(time_column).data_type().clone();
    if !matches!(data_type, DataType::Timestamp(TimeUnit::Microsecond, _)) {
        return internal_err!("a window's time column is {data_type}");
    }
    let mut qualifiers: Vec<Option<&TableReference>> = input.iter().map(|(qualifier, _)| qualifier).collect();
    qualifiers.dedup();
    let bounds_qualifier = match qualifiers.as_slice() {
        [only] => only.cloned(),
        _ => None,
    };
    let mut fields: Vec<(Option<TableReference>, Arc<Field>)> = input
        .iter()
        .enumerate()
        .filter(|(index, _)| Some(*index) != watermark_column)
        .map(|(_, (qualifier, field))| (qualifier.cloned(), field.clone()))
        .collect();
    for name in [WINDOW_START, WINDOW_END] {
        let field = Arc::new(Field::new(name, data_type.clone(), false));
        fields.push((bounds_qualifier.clone(), field));
    }
    DFSchema::new_with_metadata(fields, input.metadata().clone())
}

impl PartialOrd for Window {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.kind, self.time_column, self.allowed_lateness_us, self.emit)
            .partial_cmp(&(other.kind, other.time_column, other.allowed_lateness_us, other.emit))
            .filter(|ordering| *ordering != Ordering::Equal || self == other)
    }
}

impl UserDefinedLogicalNodeCore for Window {
    fn name(&self) -> &str {
        "Window"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    /// A row's windows do not depend on other rows, so a filter on its own columns may go below.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        HashSet::from([WINDOW_START.to_string(), WINDOW_END.to_string()])
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let time = self.input.schema().field(self.time_column).name();
        match self.kind {
            WindowKind::Tumble { size_us, offset_us } => {
                write!(f, "Tumble: {time}, size={}", Length(size_us))?;
                write_offset(f, offset_us)?;
            }
            WindowKind::Hop {
                slide_us,
                size_us,
                offset_us,
            } => {
                write!(f, "Hop: {time}, slide={}, size={}", Length(slide_us), Length(size_us))?;
                write_offset(f, offset_us)?;
            }
        }
        if self.allowed_lateness_us != 0 {
            write!(f, ", allowed_lateness={}", Length(self.allowed_lateness_us))?;
        }
        if self.topics.is_empty() {
            write!(f, ", never closes")?;
        }
        if self.emit == Emit::OnWindowClose {
            write!(f, ", emit on window close")?;
        }
        Ok(())
    }

    /// Keeps the columns by name: rewriting rules may have pruned or reordered the input.
    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        assert!(exprs.is_empty(), "a window node has no expressions");
        let (Some(input), true) = (inputs.pop(), inputs.is_empty()) else {
            return internal_err!("a window node has one input");
        };
        let moved = |index: usize| -> Result<usize> {
            let column = Column::from(self.input.schema().qualified_field(index));
            input.schema().index_of_column(&column)
        };
        let closure = Closure {
            watermark_column: self.watermark_column.map(moved).transpose()?,
            topics: self.topics.clone(),
            never_closes: self.never_closes.clone(),
            allowed_lateness_us: self.allowed_lateness_us,
            emit: self.emit,
        };
        let time_column = moved(self.time_column)?;
        Window::new(input, self.kind, time_column, closure)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let mut needed: Vec<usize> = output_columns
            .iter()
            .filter_map(|output| self.input_column(*output))
            .chain([self.time_column])
            .chain(self.watermark_column)
            .collect();
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}

fn write_offset(f: &mut fmt::Formatter, offset_us: i64) -> fmt::Result {
    match offset_us {
        0 => Ok(()),
        offset => write!(f, ", offset={}", Length(offset)),
    }
}

/// A length in the largest unit that divides it.
struct Length(i64);

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            (86_400_000_000, "d"),
            (3_600_000_000, "h"),
            (60_000_000, "m"),
            (1_000_000, "s"),
            (1_000, "ms"),
        ];
        for (unit, name) in units {
            if self.0 % unit == 0 {
                return write!(f, "{}{name}", self.0 / unit);
            }
        }
        write!(f, "{}us", self.0)
    }
}
