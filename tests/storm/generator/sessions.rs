//! Statements about a session's own state and the system: transactions, prepared statements, cursors, settings, listings.

use super::Generator;

impl Generator<'_> {
    pub(super) fn transaction(&mut self) -> String {
        match self.below(8) {
            0 | 1 => self
                .one(&[
                    "BEGIN",
                    "BEGIN ISOLATION LEVEL SERIALIZABLE",
                    "START TRANSACTION READ ONLY",
                    "BEGIN READ WRITE",
                ])
                .to_string(),
            2 | 3 => "COMMIT".to_string(),
            4 => "ROLLBACK".to_string(),
            5 => format!("SAVEPOINT s{}", self.below(3)),
            6 => format!("ROLLBACK TO SAVEPOINT s{}", self.below(3)),
            _ => format!("RELEASE SAVEPOINT s{}", self.below(3)),
        }
    }

    pub(super) fn prepared(&mut self) -> String {
        let name = format!("p{}", self.below(3));
        match self.below(4) {
            0 | 1 => {
                let query = self.query(2).replacen(" 1", " $1", 2);
                format!("PREPARE {name} AS {query}")
            }
            2 => {
                let kind = self.kind();
                format!("EXECUTE {name}({})", self.literal(kind))
            }
            _ => format!("DEALLOCATE {}", self.one(&["ALL", &name])),
        }
    }

    pub(super) fn cursor(&mut self) -> String {
        match self.below(4) {
            0 => format!(
                "BEGIN; DECLARE c{} {}CURSOR FOR {}",
                self.below(2),
                self.one(&["", "BINARY ", "SCROLL "]),
                self.query(2)
            ),
            1 | 2 => format!(
                "{} {} FROM c{}",
                self.one(&["FETCH", "MOVE"]),
                self.one(&["1", "ALL", "-1", "0", "BACKWARD 1", "FORWARD 2147483647", "9999999999"]),
                self.below(2)
            ),
            _ => format!("CLOSE {}", self.one(&["c0", "c1", "ALL"])),
        }
    }

    pub(super) fn setting(&mut self) -> String {
        match self.below(4) {
            0 => {
                let name = self.one(&[
                    "TimeZone",
                    "DateStyle",
                    "IntervalStyle",
                    "bytea_output",
                    "extra_float_digits",
                    "application_name",
                    "search_path",
                    "synchronous_commit",
                    "client_min_messages",
                    "consistency",
                    "lock_timeout",
                    "no_such_setting",
                    "a.b",
                    "standard_conforming_strings",
                ]);
                let value = self.one(&[
                    "DEFAULT",
                    "'UTC'",
                    "'America/New_York'",
                    "'ISO, DMY'",
                    "'iso_8601'",
                    "escape",
                    "3",
                    "-99",
                    "public, calm",
                    "off",
                    "on",
                    "''",
                    "99999999999999999999",
                    "'x'",
                ]);
                format!("SET {} {name} = {value}", self.one(&["", "LOCAL", "SESSION"]))
            }
            1 => format!(
                "SHOW {}",
                self.one(&[
                    "ALL",
                    "TOPICS",
                    "VIEWS",
                    "TimeZone",
                    "SCHEMAS",
                    "MATERIALIZED VIEWS",
                    "statement_timeout",
                    "nothing"
                ])
            ),
            2 => format!(
                "RESET {}",
                self.one(&["TimeZone", "DateStyle", "search_path", "nothing"])
            ),
            _ => format!(
                "SHOW CREATE {} {}",
                self.one(&["TOPIC", "MATERIALIZED VIEW", "VIEW"]),
                self.one(&["t0", "v1", "w2", "millstream.topics"])
            ),
        }
    }

    pub(super) fn system(&mut self) -> String {
        self.one(&[
            "SELECT * FROM millstream.topics",
            "SELECT * FROM millstream.metrics",
            "SELECT * FROM pg_stat_activity",
            "SELECT * FROM pg_class, pg_attribute",
            "SELECT count(*) FROM pg_proc a, pg_proc b, pg_type c",
            "SELECT * FROM information_schema.columns",
            "SELECT * FROM millstream.views",
            "EXPLAIN MATERIALIZED VIEW v1",
            "DESCRIBE t1",
            "DISCARD ALL",
            "SELECT pg_get_viewdef('v1'::regclass)",
            "DROP SCHEMA IF EXISTS s CASCADE",
            "CREATE SCHEMA s",
            "COMMENT ON TOPIC t0 IS 'x'",
            "ALTER TOPIC t1 ADVANCE WATERMARK TO '2026-01-01 00:30:00'",
            "VACUUM",
            "REFRESH MATERIALIZED VIEW v0",
            "DROP SCHEMA public",
            "SELECT pg_sleep(1)",
            "SELECT pg_backend_pid(), pg_sleep(0.01)",
        ])
        .to_string()
    }
}
