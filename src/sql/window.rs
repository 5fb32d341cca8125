//! The window node: assigns rows of a relation to time windows, skipping late rows. One plan node that batch queries
//! and views share, so that both agree on lateness by construction.
//!
//! Output columns: the input's without `_watermark`, then `window_start`, `window_end` (of the time column's type).
//! `window/assign.rs` decides which rows are in which window, and `window/session.rs` which rows are in one session;
//! `plan/windows.rs` turns a FROM item into this node.

mod assign;
mod session;

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
pub use session::SessionRules;

/// Names of the columns that a window adds.
pub const WINDOW_START: &str = "window_start";
pub const WINDOW_END: &str = "window_end";
/// Its last millisecond, in Flink's spelling.
pub const WINDOW_TIME: &str = "window_time";

/// The windows that a row belongs to. All lengths in microseconds, all > 0; offsets are less than what they shift is long.
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
    /// Windows that begin together every `size`, and end `step`, 2 `step`, ... `size` later; size is a multiple of step.
    Cumulate { step_us: i64, size_us: i64, offset_us: i64 },
    /// From a row to `gap` after the last one: rows of one key that are less than `gap` apart are in one.
    Session { gap_us: i64 },
}

impl WindowKind {
    /// Length of one window, if all have the same: either bound says which window it is then.
    pub fn size_us(&self) -> Option<i64> {
        match self {
            WindowKind::Tumble { size_us, .. } | WindowKind::Hop { size_us, .. } => Some(*size_us),
            WindowKind::Cumulate { .. } | WindowKind::Session { .. } => None,
        }
    }

    /// Length of its longest window; of a session with one row.
    pub fn length_us(&self) -> i64 {
        match self {
            WindowKind::Session { gap_us } => *gap_us,
            WindowKind::Tumble { size_us, .. }
            | WindowKind::Hop { size_us, .. }
            | WindowKind::Cumulate { size_us, .. } => *size_us,
        }
    }

    /// The most windows that a row is in.
    pub fn windows_per_row(&self) -> usize {
        match self {
            WindowKind::Tumble { .. } | WindowKind::Session { .. } => 1,
            WindowKind::Hop { slide_us, size_us, .. } => (size_us / slide_us) as usize,
            WindowKind::Cumulate { step_us, size_us, .. } => (size_us / step_us) as usize,
        }
    }
}

/// TUMBLE, HOP, CUMULATE or SESSION over `input`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Window {
    pub input: LogicalPlan,
    pub kind: WindowKind,
    /// Index of the event-time column in the input's schema.
    pub time_column: usize,
    /// Indexes of the columns that sessions are apart by, rising: equal values are the same bytes, and sort together.
    pub keys: Vec<usize>,
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

/// The columns of a window's input that it reads.
#[derive(Clone, Debug)]
pub struct WindowColumns {
    pub time: usize,
    /// See [`Window::keys`].
    pub keys: Vec<usize>,
}

/// The arguments of [`Window::new`] beside the input, the kind and the columns.
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
    pub fn new(input: LogicalPlan, kind: WindowKind, columns: WindowColumns, closure: Closure) -> Result<Window> {
        let valid = match kind {
            WindowKind::Tumble { size_us, offset_us } => size_us > 0 && (0..size_us).contains(&offset_us),
            WindowKind::Hop {
                slide_us,
                size_us,
                offset_us,
            } => slide_us > 0 && size_us > 0 && size_us % slide_us == 0 && (0..slide_us).contains(&offset_us),
            WindowKind::Cumulate {
                step_us,
                size_us,
                offset_us,
            } => step_us > 0 && size_us > 0 && size_us % step_us == 0 && (0..size_us).contains(&offset_us),
            WindowKind::Session { gap_us } => gap_us > 0,
        };
        assert!(valid, "window lengths are checked before the node is made: {kind:?}");
        assert!(
            closure.topics.is_empty() || closure.watermark_column.is_some(),
            "windows close by a watermark that the rows carry"
        );
        let WindowColumns { time, mut keys } = columns;
        keys.sort_unstable();
        keys.dedup();
        let schema = Arc::new(output_schema(input.schema(), time, closure.watermark_column)?);
        Ok(Window {
            input,
            kind,
            time_column: time,
            keys,
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

    /// The kernel that does the work, for rows of the input's schema. Not for SESSION.
    pub fn assigner(&self) -> Assigner {
        Assigner::new(self)
    }

    /// The rules of its sessions; `None` for other windows.
    pub fn sessions(&self) -> Option<SessionRules> {
        match self.kind {
            WindowKind::Session { gap_us } => Some(SessionRules::new(self, gap_us)),
            _ => None,
        }
    }

    /// Whether a bound says when a window of it closes.
    pub fn decides_closing(&self, is_end: bool) -> bool {
        is_end || self.kind.size_us().is_some()
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
        (
            self.kind,
            self.time_column,
            &self.keys,
            self.allowed_lateness_us,
            self.emit,
        )
            .partial_cmp(&(
                other.kind,
                other.time_column,
                &other.keys,
                other.allowed_lateness_us,
                other.emit,
            ))
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

    /// A row's windows do not depend on other rows, so a filter on its own columns may go below. A session depends on the
    /// rows of its key.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        let mut prevented = HashSet::from([WINDOW_START.to_string(), WINDOW_END.to_string()]);
        if let WindowKind::Session { .. } = self.kind {
            let fields = self.input.schema().fields();
            let others = (0..fields.len()).filter(|column| !self.keys.contains(column));
            prevented.extend(others.map(|column| fields[column].name().clone()));
        }
        prevented
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
            WindowKind::Cumulate {
                step_us,
                size_us,
                offset_us,
            } => {
                write!(
                    f,
                    "Cumulate: {time}, step={}, size={}",
                    Length(step_us),
                    Length(size_us)
                )?;
                write_offset(f, offset_us)?;
            }
            WindowKind::Session { gap_us } => {
                write!(f, "Session: {time}, gap={}", Length(gap_us))?;
                if !self.keys.is_empty() {
                    let fields = self.input.schema().fields();
                    let names: Vec<&str> = self.keys.iter().map(|key| fields[*key].name().as_str()).collect();
                    write!(f, ", by [{}]", names.join(", "))?;
                }
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
        let columns = WindowColumns {
            time: moved(self.time_column)?,
            keys: self.keys.iter().copied().map(moved).collect::<Result<_>>()?,
        };
        Window::new(input, self.kind, columns, closure)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let mut needed: Vec<usize> = output_columns
            .iter()
            .filter_map(|output| self.input_column(*output))
            .chain([self.time_column])
            .chain(self.keys.iter().copied())
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
