//! A session's settings: SET, SHOW, RESET, their defaults, and what each value may be.
//!
//! One rule: a setting whose value changes what the server does is checked when it is set. Settings that only other
//! servers know are accepted and kept when their name has a prefix (`rw_...`, `foo.bar`) or stands in the list of
//! what drivers send; any other unknown name is 42704.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::catalog::is_system_schema;
use crate::error::{SqlError, state};
use crate::types::{IntervalStyle, TextStyle};

struct Known {
    name: &'static str,
    default: &'static str,
    check: Check,
    /// Sent to the client when it changes (ParameterStatus).
    reported: bool,
    description: &'static str,
}

#[derive(Clone, Copy)]
enum Check {
    Any,
    Bool,
    OneOf(&'static [&'static str]),
    Integer(i64, i64),
    /// Milliseconds, with an optional unit.
    Duration,
    TimeZone,
    ReadOnly,
    Encoding,
    SearchPath,
    DateStyle,
}

macro_rules! setting {
    ($name:literal, $default:literal, $check:expr, $reported:literal, $description:literal) => {
        Known {
            name: $name,
            default: $default,
            check: $check,
            reported: $reported,
            description: $description,
        }
    };
}

const SETTINGS: &[Known] = &[
    setting!(
        "application_name",
        "",
        Check::Any,
        true,
        "Name of the application, shown in pg_stat_activity."
    ),
    setting!(
        "bytea_output",
        "hex",
        Check::OneOf(&["hex", "escape"]),
        false,
        "Output format of bytea."
    ),
    setting!(
        "client_encoding",
        "UTF8",
        Check::Encoding,
        true,
        "Encoding of the client; only UTF8."
    ),
    setting!(
        "client_min_messages",
        "notice",
        Check::OneOf(&[
            "debug5", "debug4", "debug3", "debug2", "debug1", "debug", "log", "info", "notice", "warning", "error"
        ]),
        false,
        "Least severe message that is sent."
    ),
    setting!(
        "consistency",
        "strict",
        Check::OneOf(&["strict", "eventual"]),
        false,
        "Whether a SELECT waits until its views have caught up with the newest commit."
    ),
    setting!(
        "DateStyle",
        "ISO, MDY",
        Check::DateStyle,
        true,
        "Output format of dates; only ISO."
    ),
    setting!(
        "default_transaction_isolation",
        "repeatable read",
        Check::OneOf(&["read uncommitted", "read committed", "repeatable read"]),
        false,
        "Isolation level of new transactions; all run as repeatable read."
    ),
    setting!(
        "default_transaction_read_only",
        "off",
        Check::Bool,
        true,
        "Whether new transactions are read-only."
    ),
    setting!(
        "extra_float_digits",
        "1",
        Check::Integer(-15, 3),
        false,
        "Digits of floating-point output."
    ),
    setting!(
        "idle_in_transaction_session_timeout",
        "0",
        Check::Duration,
        false,
        "Longest time a transaction may wait for its client; 0 is forever."
    ),
    setting!(
        "idle_session_timeout",
        "0",
        Check::Duration,
        false,
        "Longest time a session outside a transaction may wait for its client; 0 is forever."
    ),
    setting!("integer_datetimes", "on", Check::ReadOnly, true, "Always on."),
    setting!(
        "IntervalStyle",
        "postgres",
        Check::OneOf(&["postgres", "postgres_verbose", "sql_standard", "iso_8601"]),
        true,
        "Output format of intervals."
    ),
    setting!(
        "is_superuser",
        "on",
        Check::ReadOnly,
        true,
        "There are no lesser users."
    ),
    setting!("lc_collate", "C", Check::ReadOnly, false, "Text is ordered by bytes."),
    setting!(
        "lc_ctype",
        "C.UTF-8",
        Check::ReadOnly,
        false,
        "Character classification."
    ),
    setting!("lc_messages", "C", Check::Any, false, "Language of messages."),
    setting!("lc_monetary", "C", Check::Any, false, "Accepted."),
    setting!("lc_numeric", "C", Check::Any, false, "Accepted."),
    setting!("lc_time", "C", Check::Any, false, "Accepted."),
    setting!(
        "lock_timeout",
        "0",
        Check::Duration,
        false,
        "Accepted; nothing waits for locks."
    ),
    setting!(
        "max_identifier_length",
        "63",
        Check::ReadOnly,
        false,
        "Longest name, in bytes."
    ),
    setting!("max_index_keys", "32", Check::ReadOnly, false, "For clients that ask."),
    setting!(
        "row_security",
        "off",
        Check::Bool,
        false,
        "Accepted; there are no policies."
    ),
    setting!(
        "search_path",
        "\"$user\", public",
        Check::SearchPath,
        true,
        "Schemas in which names are looked up."
    ),
    setting!(
        "server_encoding",
        "UTF8",
        Check::ReadOnly,
        true,
        "Encoding of the data."
    ),
    setting!(
        "server_version",
        "15.0",
        Check::ReadOnly,
        true,
        "Version of PostgreSQL that clients may assume."
    ),
    setting!(
        "server_version_num",
        "150000",
        Check::ReadOnly,
        false,
        "The same as a number."
    ),
    setting!(
        "session_authorization",
        "",
        Check::ReadOnly,
        true,
        "User name of the session."
    ),
    setting!(
        "standard_conforming_strings",
        "on",
        Check::OneOf(&["on"]),
        true,
        "Backslashes in '...' are literal."
    ),
    setting!(
        "statement_timeout",
        "0",
        Check::Duration,
        false,
        "Longest time a statement may take; 0 is forever."
    ),
    setting!(
        "synchronous_commit",
        "on",
        Check::OneOf(&[
            "on",
            "off",
            "local",
            "remote_write",
            "remote_apply",
            "true",
            "false",
            "yes",
            "no",
            "1",
            "0"
        ]),
        false,
        "Whether a commit is acknowledged only once it is synced."
    ),
    setting!(
        "TimeZone",
        "UTC",
        Check::TimeZone,
        true,
        "Time zone of timestamptz input and output."
    ),
    setting!(
        "transaction_isolation",
        "repeatable read",
        Check::OneOf(&["read uncommitted", "read committed", "repeatable read"]),
        false,
        "Isolation level of the current transaction."
    ),
    setting!(
        "transaction_read_only",
        "off",
        Check::Bool,
        false,
        "Whether the current transaction is read-only."
    ),
    setting!("xmloption", "content", Check::Any, false, "Accepted."),
];

/// PostgreSQL settings that clients set on connecting and that mean nothing here.
const ACCEPTED: &[&str] = &[
    "array_nulls",
    "backslash_quote",
    "check_function_bodies",
    "commit_delay",
    "constraint_exclusion",
    "cursor_tuple_fraction",
    "default_statistics_target",
    "default_table_access_method",
    "default_tablespace",
    "default_with_oids",
    "effective_cache_size",
    "enable_bitmapscan",
    "enable_hashagg",
    "enable_hashjoin",
    "enable_indexscan",
    "enable_mergejoin",
    "enable_nestloop",
    "enable_seqscan",
    "enable_sort",
    "escape_string_warning",
    "force_parallel_mode",
    "from_collapse_limit",
    "geqo",
    "gin_fuzzy_search_limit",
    "jit",
    "join_collapse_limit",
    "log_min_duration_statement",
    "log_statement",
    "maintenance_work_mem",
    "max_parallel_workers_per_gather",
    "plan_cache_mode",
    "quote_all_identifiers",
    "random_page_cost",
    "restrict_nonsystem_relation_kind",
    "seq_page_cost",
    "session_replication_role",
    "ssl_renegotiation_limit",
    "synchronize_seqscans",
    "tcp_keepalives_idle",
    "temp_buffers",
    "transform_null_equals",
    "vacuum_cost_delay",
    "work_mem",
];

/// Name, value and description of one setting, for SHOW ALL and `pg_settings`.
pub struct Shown {
    pub name: String,
    pub value: String,
    pub description: &'static str,
}

#[derive(Clone, Debug)]
pub struct Settings {
    /// By lower-case name; only what differs from the default.
    values: BTreeMap<String, String>,
    user: String,
    effective: Effective,
}

/// What every statement asks for, read out of the values when one changes.
#[derive(Clone, Debug)]
struct Effective {
    search_path: Arc<[String]>,
    time_zone: Arc<str>,
    text_style: TextStyle,
    synchronous_commit: bool,
    strict: bool,
    read_only: bool,
    statement_timeout_ms: Option<u64>,
    idle_session_timeout_ms: Option<u64>,
    idle_in_transaction_timeout_ms: Option<u64>,
    notices: bool,
    warnings: bool,
}

impl Settings {
    pub fn new(user: &str) -> Settings {
        let values = BTreeMap::new();
        Settings {
            effective: Effective::of(&values, user),
            values,
            user: user.to_string(),
        }
    }

    fn changed(&mut self) {
        self.effective = Effective::of(&self.values, &self.user);
    }

    fn known(name: &str) -> Option<&'static Known> {
        SETTINGS.iter().find(|known| known.name.eq_ignore_ascii_case(name))
    }

    /// The value, or 42704.
    pub fn get(&self, name: &str) -> Result<String, SqlError> {
        let lower = name.to_lowercase();
        if let Some(value) = self.values.get(&lower) {
            return Ok(value.clone());
        }
        match Settings::known(&lower) {
            Some(known) if known.name == "session_authorization" => Ok(self.user.clone()),
            Some(known) => Ok(known.default.to_string()),
            None => Err(unrecognized(name)),
        }
    }

    /// The name as PostgreSQL spells it, for the column of SHOW.
    pub fn canonical(name: &str) -> String {
        Settings::known(name).map_or_else(|| name.to_lowercase(), |known| known.name.to_string())
    }

    /// Checks and sets. Returns the (name, value) to report to the client, if it wants to know of this setting.
    pub fn set(&mut self, name: &str, value: &str) -> Result<Option<(String, String)>, SqlError> {
        let lower = name.to_lowercase();
        let Some(known) = Settings::known(&lower) else {
            if lower.contains('.') || lower.starts_with("rw_") || ACCEPTED.contains(&lower.as_str()) {
                self.values.insert(lower, value.to_string());
                return Ok(None);
            }
            if let Some(prefix) = lower.split_once('_').map(|(prefix, _)| prefix)
                && ["streaming", "query", "batch", "background", "sink", "source"].contains(&prefix)
            {
                self.values.insert(lower, value.to_string());
                return Ok(None);
            }
            return Err(unrecognized(name));
        };
        let value = check(known, value)?;
        self.values.insert(lower, value.clone());
        self.changed();
        Ok(known.reported.then(|| (known.name.to_string(), value)))
    }

    /// Back to the default; `None` is every setting. Returns what to report.
    pub fn reset(&mut self, name: Option<&str>) -> Result<Vec<(String, String)>, SqlError> {
        let Some(name) = name else {
            let changed: Vec<String> = std::mem::take(&mut self.values).into_keys().collect();
            self.changed();
            return Ok(changed.iter().filter_map(|name| self.reported(name)).collect());
        };
        let lower = name.to_lowercase();
        if self.values.remove(&lower).is_none() && Settings::known(&lower).is_none() {
            return Err(unrecognized(name));
        }
        self.changed();
        Ok(self.reported(&lower).into_iter().collect())
    }

    fn reported(&self, name: &str) -> Option<(String, String)> {
        let known = Settings::known(name).filter(|known| known.reported)?;
        self.get(known.name).ok().map(|value| (known.name.to_string(), value))
    }

    /// What is sent when a client connects.
    pub fn all_reported(&self) -> Vec<(String, String)> {
        SETTINGS.iter().filter_map(|known| self.reported(known.name)).collect()
    }

    pub fn all(&self) -> Vec<Shown> {
        let mut shown: Vec<Shown> = SETTINGS
            .iter()
            .map(|known| Shown {
                name: known.name.to_string(),
                value: self.get(known.name).unwrap_or_default(),
                description: known.description,
            })
            .collect();
        shown.extend(
            self.values
                .iter()
                .filter(|(name, _)| Settings::known(name).is_none())
                .map(|(name, value)| Shown {
                    name: name.clone(),
                    value: value.clone(),
                    description: "Accepted; has no effect.",
                }),
        );
        shown.sort_by_key(|setting| setting.name.to_lowercase());
        shown
    }

    /// Schemas to look up names in, `$user` replaced; a user who is called as a system schema does not get that one.
    pub fn search_path(&self) -> &Arc<[String]> {
        &self.effective.search_path
    }

    /// IANA name.
    pub fn time_zone(&self) -> &Arc<str> {
        &self.effective.time_zone
    }

    pub fn synchronous_commit(&self) -> bool {
        self.effective.synchronous_commit
    }

    pub fn strict(&self) -> bool {
        self.effective.strict
    }

    pub fn default_read_only(&self) -> bool {
        self.effective.read_only
    }

    pub fn application_name(&self) -> &str {
        current(&self.values, "application_name")
    }

    /// Milliseconds; `None` is no limit.
    pub fn statement_timeout_ms(&self) -> Option<u64> {
        self.effective.statement_timeout_ms
    }

    /// Milliseconds; `None` is no limit.
    pub fn idle_session_timeout_ms(&self) -> Option<u64> {
        self.effective.idle_session_timeout_ms
    }

    /// Milliseconds; `None` is no limit.
    pub fn idle_in_transaction_timeout_ms(&self) -> Option<u64> {
        self.effective.idle_in_transaction_timeout_ms
    }

    /// Whether notices of this severity go to the client.
    pub fn wants_notices(&self) -> bool {
        self.effective.notices
    }

    pub fn wants_warnings(&self) -> bool {
        self.effective.warnings
    }

    /// How values are written as text under these settings.
    pub fn text_style(&self) -> &TextStyle {
        &self.effective.text_style
    }
}

fn current<'v>(values: &'v BTreeMap<String, String>, name: &str) -> &'v str {
    let known = Settings::known(name).expect("only called with names of the table");
    values
        .get(&known.name.to_lowercase())
        .map_or(known.default, String::as_str)
}

impl Effective {
    fn of(values: &BTreeMap<String, String>, user: &str) -> Effective {
        let get = |name| current(values, name);
        let limit = |name| duration_ms(get(name)).filter(|ms| *ms > 0);
        let named = split_path(get("search_path")).into_iter();
        let search_path = named.filter_map(|schema| match schema.as_str() {
            "$user" if is_system_schema(user) => None,
            "$user" => Some(user.to_string()),
            _ => Some(schema),
        });
        let time_zone = get("TimeZone");
        let least = get("client_min_messages");
        Effective {
            search_path: search_path.collect(),
            time_zone: time_zone.into(),
            text_style: TextStyle {
                // Checked when it was set.
                time_zone: time_zone.parse().unwrap_or(chrono_tz::Tz::UTC),
                extra_float_digits: get("extra_float_digits").parse().unwrap_or(1),
                interval_style: match get("IntervalStyle") {
                    "postgres_verbose" => IntervalStyle::PostgresVerbose,
                    "sql_standard" => IntervalStyle::SqlStandard,
                    "iso_8601" => IntervalStyle::Iso8601,
                    _ => IntervalStyle::Postgres,
                },
                bytea_hex: get("bytea_output") == "hex",
                object_names: None,
            },
            synchronous_commit: !matches!(get("synchronous_commit"), "off" | "false" | "no" | "0"),
            strict: get("consistency") == "strict",
            read_only: get("default_transaction_read_only") == "on",
            statement_timeout_ms: limit("statement_timeout"),
            idle_session_timeout_ms: limit("idle_session_timeout"),
            idle_in_transaction_timeout_ms: limit("idle_in_transaction_session_timeout"),
            notices: !matches!(least, "warning" | "error"),
            warnings: least != "error",
        }
    }
}

fn unrecognized(name: &str) -> SqlError {
    SqlError::new(
        state::UNDEFINED_OBJECT,
        format!("unrecognized configuration parameter \"{name}\""),
    )
}

fn check(known: &Known, value: &str) -> Result<String, SqlError> {
    let invalid = || {
        SqlError::new(
            state::INVALID_PARAMETER_VALUE,
            format!("invalid value for parameter \"{}\": \"{value}\"", known.name),
        )
    };
    match known.check {
        Check::Any => Ok(value.to_string()),
        Check::Bool => match value.to_lowercase().as_str() {
            "on" | "true" | "yes" | "1" | "t" | "y" => Ok("on".to_string()),
            "off" | "false" | "no" | "0" | "f" | "n" => Ok("off".to_string()),
            _ => Err(SqlError::new(
                state::INVALID_PARAMETER_VALUE,
                format!("parameter \"{}\" requires a Boolean value", known.name),
            )),
        },
        Check::OneOf(choices) => {
            let lower = value.to_lowercase();
            if choices.contains(&lower.as_str()) {
                return Ok(lower);
            }
            if lower == "serializable" {
                return Err(SqlError::unsupported(
                    "serializable transactions are not supported",
                    "Use REPEATABLE READ: a transaction reads at one position of the log.",
                ));
            }
            Err(invalid().hint(format!("Available values: {}.", choices.join(", "))))
        }
        Check::Integer(low, high) => {
            let number: i64 = value.trim().parse().map_err(|_| invalid())?;
            if number < low || number > high {
                return Err(SqlError::new(
                    state::INVALID_PARAMETER_VALUE,
                    format!(
                        "{number} is outside the valid range for parameter \"{}\" ({low} .. {high})",
                        known.name
                    ),
                ));
            }
            Ok(number.to_string())
        }
        Check::Duration => duration_ms(value).map(|_| value.trim().to_string()).ok_or_else(invalid),
        Check::TimeZone => canonical_time_zone(value).ok_or_else(invalid),
        Check::ReadOnly => Err(SqlError::new(
            state::CANT_CHANGE_RUNTIME_PARAM,
            format!("parameter \"{}\" cannot be changed", known.name),
        )),
        Check::Encoding => match value.to_lowercase().replace(['-', '_', '\''], "").as_str() {
            "utf8" | "unicode" => Ok("UTF8".to_string()),
            "latin1" | "iso88591" | "latin9" | "sqlascii" | "win1252" | "win1251" | "eucjp" | "sjis" | "gbk"
            | "big5" => Err(SqlError::unsupported(
                format!("client encoding \"{value}\" is not supported"),
                "Use UTF8.",
            )),
            _ => Err(invalid()),
        },
        Check::SearchPath => Ok(value.to_string()),
        Check::DateStyle => {
            let lower = value.to_lowercase();
            let mut order = "MDY";
            for word in lower.split(',').map(str::trim) {
                match word {
                    "iso" | "default" => {}
                    "mdy" | "us" | "noneuro" => order = "MDY",
                    "dmy" | "euro" | "ymd" => {
                        return Err(SqlError::unsupported(
                            format!("DateStyle \"{value}\" is not supported"),
                            "Write dates as YYYY-MM-DD, which every order of fields reads alike.",
                        ));
                    }
                    "sql" | "postgres" | "german" => {
                        return Err(SqlError::unsupported(
                            format!("DateStyle \"{value}\" is not supported"),
                            "Use ISO; to_char() writes dates in other formats.",
                        ));
                    }
                    _ => return Err(invalid()),
                }
            }
            Ok(format!("ISO, {order}"))
        }
    }
}

/// A zone name as the tz database spells it, or a fixed offset (`+02:00`, `-5`).
fn canonical_time_zone(value: &str) -> Option<String> {
    let trimmed = value.trim().trim_matches('\'');
    match trimmed.to_lowercase().as_str() {
        "utc" | "z" | "zulu" | "default" | "local" | "0" => return Some("UTC".to_string()),
        "gmt" => return Some("GMT".to_string()),
        _ => {}
    }
    chrono_tz::TZ_VARIANTS
        .iter()
        .find(|zone| zone.name().eq_ignore_ascii_case(trimmed))
        .map(|zone| zone.name().to_string())
}

/// `100`, `100ms`, `5s`, `1min`, `2h`, `1d` in milliseconds.
fn duration_ms(value: &str) -> Option<u64> {
    let trimmed = value.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let number: u64 = trimmed[..digits].parse().ok()?;
    let scale = match trimmed[digits..].trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(scale)
}

/// Splits `"$user", public, 'a b'` into names; unquoted ones fold to lower case.
fn split_path(value: &str) -> Vec<String> {
    value
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            let quoted = part
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'))
                .or_else(|| part.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')));
            quoted.map_or_else(|| part.to_lowercase(), str::to_string)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reported_setting_comes_back_in_its_canonical_form() {
        let mut settings = Settings::new("ann");
        assert_eq!(
            settings.set("timezone", "europe/berlin"),
            Ok(Some(("TimeZone".into(), "Europe/Berlin".into())))
        );
        assert_eq!(settings.get("TIMEZONE").as_deref(), Ok("Europe/Berlin"));
        assert_eq!(
            settings.reset(Some("TimeZone")),
            Ok(vec![("TimeZone".into(), "UTC".into())])
        );
    }

    #[test]
    fn unknown_settings_need_a_prefix() {
        let mut settings = Settings::new("ann");
        assert_eq!(settings.set("rw_implicit_flush", "true"), Ok(None));
        assert_eq!(settings.set("my.setting", "1"), Ok(None));
        assert_eq!(settings.get("my.setting").as_deref(), Ok("1"));
        assert_eq!(
            settings.set("nonsense", "1").map_err(|e| e.state),
            Err(state::UNDEFINED_OBJECT)
        );
    }

    #[test]
    fn the_search_path_names_the_user() {
        let settings = Settings::new("ann");
        assert_eq!(settings.search_path().as_ref(), ["ann", "public"]);
    }

    #[test]
    fn values_are_checked() {
        let mut settings = Settings::new("ann");
        for (name, value) in [
            ("consistency", "maybe"),
            ("statement_timeout", "soon"),
            ("TimeZone", "Mars/Olympus"),
        ] {
            assert_eq!(
                settings.set(name, value).map_err(|e| e.state),
                Err(state::INVALID_PARAMETER_VALUE),
                "{name}"
            );
        }
        assert!(settings.set("statement_timeout", "5s").is_ok());
        assert_eq!(settings.statement_timeout_ms(), Some(5000));
    }
}
