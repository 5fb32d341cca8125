//! [`Events`]: the event times of some rows, as far as a watermark needs them.
//!
//! One rule: an event time further ahead of the clock than its topic allows moves no watermark, and is counted.

use arrow::array::{ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::TimestampMicrosecondType;

/// The event times of some rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Events {
    /// The newest that may move the watermark, microseconds.
    pub newest_us: Option<i64>,
    /// Rows whose event times are too far ahead for that.
    pub ahead: u64,
}

impl Events {
    /// An event time that may move a watermark: `-infinity`, the first number, is none.
    pub fn moving(event_us: i64) -> Option<i64> {
        (event_us > i64::MIN).then_some(event_us)
    }

    /// Of a column; those up to `limit_us` may move a watermark.
    pub fn of(column: Option<&ArrayRef>, limit_us: i64) -> Events {
        let events = column.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
        let Some(newest) = events.and_then(arrow::compute::max) else {
            return Events::default();
        };
        if newest <= limit_us {
            return Events {
                newest_us: Events::moving(newest),
                ahead: 0,
            };
        }
        let events: &TimestampMicrosecondArray = events.expect("one of them is the newest");
        let (mut newest_us, mut ahead) = (None, 0);
        for event in events.iter().flatten() {
            match event <= limit_us {
                true => newest_us = newest_us.max(Events::moving(event)),
                false => ahead += 1,
            }
        }
        Events { newest_us, ahead }
    }
}
