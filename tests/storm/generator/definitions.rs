//! Definitions: topics, views and materialized views are made, changed and dropped.

use super::values::{Kind, TYPES};
use super::{COLUMNS, Generator, NAMES};

impl Generator<'_> {
    pub(super) fn definition(&mut self) -> String {
        let (topic, view) = (self.topic(), self.view());
        match self.below(14) {
            0..=4 => {
                let saved = std::mem::replace(&mut self.columns, true);
                let (key, aggregate, source) = (self.expression(Kind::Integer, 1), self.aggregate(), self.topic());
                let condition = self.expression(Kind::Boolean, 1);
                self.columns = saved;
                let body = match self.below(6) {
                    4 => format!(
                        "SELECT window_start, window_end, a, {aggregate} AS n FROM SESSION({source} PARTITION BY a, d, INTERVAL '10 seconds') GROUP BY window_start, window_end, a"
                    ),
                    0 => format!("SELECT {key} AS k, {aggregate} AS n FROM {source} GROUP BY {key}"),
                    1 => format!("SELECT a, b, c FROM {source} WHERE {condition}"),
                    2 => format!(
                        "SELECT window_start, {aggregate} AS n FROM TUMBLE({source}, d, INTERVAL '10 seconds') GROUP BY window_start EMIT ON WINDOW CLOSE"
                    ),
                    3 => format!(
                        "SELECT window_start, count(*) AS n FROM HOP({source}, d, INTERVAL '1 second', INTERVAL '60 seconds') GROUP BY window_start"
                    ),
                    _ => self.query(2),
                };
                format!("CREATE MATERIALIZED VIEW {view} AS {body}")
            }
            5 | 6 => format!("DROP MATERIALIZED VIEW IF EXISTS {view} CASCADE"),
            7 => format!("DROP TOPIC IF EXISTS {topic} CASCADE"),
            8 | 9 => format!(
                "CREATE TOPIC IF NOT EXISTS {topic} ({COLUMNS}, WATERMARK FOR d AS d - INTERVAL '5 seconds') WITH (partitions = {})",
                self.one(&["1", "2", "8", "1000", "0", "-1", "2147483648"])
            ),
            10 => format!("ALTER TOPIC {topic} ADD COLUMN x{} {}", self.below(20), self.one(TYPES)),
            11 => format!("ALTER TOPIC {topic} DROP COLUMN IF EXISTS x{}", self.below(20)),
            12 => format!("CREATE OR REPLACE VIEW w{} AS {}", self.below(NAMES), self.query(2)),
            _ => {
                let (column, name) = (self.one(&["a", "b", "zz"]), self.one(&["a", "b", "y"]));
                format!("ALTER TOPIC {topic} RENAME COLUMN {column} TO {name}")
            }
        }
    }
}
