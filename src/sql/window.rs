//! The window node: assigns rows of a relation to time windows, skipping late rows. One plan node that batch queries
//! and views share, so that both agree on lateness by construction.
//!
//! Output columns: the input's without `_watermark`, then `window_start`, `window_end` (of the time column's type).

use datafusion::logical_expr::LogicalPlan;

use super::statement::Emit;
use crate::log::TopicId;

/// Which windows a row belongs to. All lengths in microseconds, all > 0.
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
    pub allowed_lateness_us: i64,
    /// `OnWindowClose`: only rows of closed windows come out.
    pub emit: Emit,
}
