//! A session's settings: SET, SHOW, RESET, their defaults, and the check of values.
//!
//! One rule: every setting of PostgreSQL 15 exists with its type and range; those that mean something here are read
//! out into `Effective`, the others are kept and shown. Settings that only other servers know are accepted when their
//! name has a prefix (`rw_...`, `foo.bar`); any other unknown name is 42704.

mod known;
mod table;
mod value;
mod zone;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::known::{Known, SettingContext};
use self::table::TABLE;
use self::value::invalid;
use crate::catalog::is_system_schema;
use crate::error::{SqlError, state};
use crate::log::PRODUCER_BYTES_MAX;
use crate::types::{IntervalStyle, TextStyle, TimeZone};

/// One setting as SHOW ALL and `pg_settings` show it.
#[derive(Default)]
pub struct Shown {
    pub name: String,
    /// As SHOW has it.
    pub value: String,
    /// In its unit.
    pub plain: String,
    pub unit: Option<&'static str>,
    pub category: &'static str,
    pub description: &'static str,
    pub context: &'static str,
    pub kind: &'static str,
    pub source: &'static str,
    pub min: Option<&'static str>,
    pub max: Option<&'static str>,
    pub allowed: Option<Vec<&'static str>>,
    pub default: Option<&'static str>,
    /// The value that RESET restores, in its unit.
    pub reset: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Settings {
    /// By lower-case name; only values that differ from the default.
    values: BTreeMap<String, String>,
    /// Values that the client asked for when it connected: RESET goes back to them.
    at_start: BTreeMap<String, String>,
    /// Of the server, by lower-case name.
    of_server: BTreeMap<String, String>,
    user: String,
    effective: Effective,
}

/// Settings that every statement needs, read out of the values when one changes.
#[derive(Clone, Debug)]
struct Effective {
    search_path: Arc<[String]>,
    time_zone: Arc<str>,
    text_style: TextStyle,
    synchronous_commit: bool,
    producer: Option<(Arc<str>, Option<u64>)>,
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
            at_start: BTreeMap::new(),
            of_server: BTreeMap::new(),
            user: user.to_string(),
        }
    }

    fn changed(&mut self) {
        self.effective = Effective::of(&self.values, &self.user);
    }

    /// Makes the present values those that RESET goes back to.
    pub fn begun(mut self) -> Settings {
        self.at_start = self.values.clone();
        self
    }

    /// Sets a value that the server was started with.
    pub fn with_server(mut self, name: &str, value: String) -> Settings {
        assert!(TABLE.get(name).is_some(), "a setting of the server stands in the table");
        self.of_server.insert(name.to_string(), value);
        self
    }

    /// The value, or 42704.
    pub fn get(&self, name: &str) -> Result<String, SqlError> {
        let lower = name.to_lowercase();
        if let Some(value) = self.values.get(&lower) {
            return Ok(value.clone());
        }
        match TABLE.get(&lower) {
            Some(known) => Ok(self.reset_value(known)),
            None => Err(unrecognized(name)),
        }
    }

    pub fn is_serializable(&self) -> bool {
        self.get("transaction_isolation")
            .is_ok_and(|level| level == "serializable")
    }

    /// The value of a setting that the session has not set.
    fn reset_value(&self, known: &Known) -> String {
        let at_start = self.at_start.get(&known.name.to_lowercase());
        if let Some(value) = at_start.or_else(|| self.of_server.get(known.name)) {
            return value.clone();
        }
        match known.name {
            "session_authorization" => self.user.clone(),
            "transaction_isolation" | "transaction_read_only" | "transaction_deferrable" => {
                current(&self.values, &format!("default_{}", known.name)).to_string()
            }
            _ => known.default_shown.clone(),
        }
    }

    /// The name as PostgreSQL spells it, for the column of SHOW.
    pub fn canonical(name: &str) -> String {
        TABLE
            .get(name)
            .map_or_else(|| name.to_lowercase(), |known| known.name.to_string())
    }

    /// Checks and sets. Returns the (name, value) to report to the client, if it wants to know of this setting.
    pub fn set(&mut self, name: &str, value: &str) -> Result<Option<(String, String)>, SqlError> {
        let lower = name.to_lowercase();
        let Some(known) = TABLE.get(&lower) else {
            if lower.contains('.') || OTHERS.contains(&lower.as_str()) || has_prefix_of_others(&lower) {
                self.values.insert(lower, value.to_string());
                return Ok(None);
            }
            return Err(unrecognized(name));
        };
        may_change(known)?;
        let value = self.check(known, value)?;
        self.values.insert(lower, value.clone());
        self.changed();
        Ok(known.reported.then(|| (known.name.to_string(), value)))
    }

    /// The mode of a transaction that has begun, which ends with it; `None` takes it away.
    pub fn set_mode(&mut self, name: &'static str, value: Option<&str>) {
        match value {
            Some(value) => drop(self.values.insert(name.to_string(), value.to_string())),
            None => drop(self.values.remove(name)),
        }
    }

    /// Whether the session has set it, other than to the default.
    pub fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    fn check(&self, known: &Known, value: &str) -> Result<String, SqlError> {
        match known.name {
            "client_encoding" => encoding(known, value),
            "DateStyle" => date_style(known, value),
            "TimeZone" => zone::shown(known, value),
            "standard_conforming_strings" => match value::check(known, value)?.as_str() {
                "on" => Ok("on".to_string()),
                _ => Err(invalid(known, value).hint("Write E'...' for a string with backslash escapes.")),
            },
            "role" if value.eq_ignore_ascii_case("none") => Ok("none".to_string()),
            "role" | "session_authorization" => match value == self.user {
                true => Ok(value.to_string()),
                false => Err(SqlError::new(
                    state::INVALID_PARAMETER_VALUE,
                    format!("role \"{value}\" does not exist"),
                )),
            },
            PRODUCER_ID => match value.len() <= PRODUCER_BYTES_MAX {
                true => Ok(value.to_string()),
                false => Err(invalid(known, value).detail(format!("It may have {PRODUCER_BYTES_MAX} bytes."))),
            },
            PRODUCER_SEQUENCE => match value.trim().parse::<u64>() {
                Ok(sequence) if sequence <= SEQUENCE_MAX => Ok(sequence.to_string()),
                _ if value.is_empty() => Ok(String::new()),
                _ => Err(invalid(known, value).detail("It is a number from 0 to 9223372036854775807.")),
            },
            "seed" => value::check(known, value).map(|_| known.default.to_string()),
            _ => value::check(known, value),
        }
    }

    /// Back to the default; `None` is every setting. Returns the values to report.
    pub fn reset(&mut self, name: Option<&str>) -> Result<Vec<(String, String)>, SqlError> {
        let Some(name) = name else {
            let before = self.all_reported();
            self.values = self.at_start.clone();
            self.changed();
            let after = self.all_reported().into_iter().zip(before);
            return Ok(after.filter(|(now, was)| now != was).map(|(now, _)| now).collect());
        };
        let lower = name.to_lowercase();
        match TABLE.get(&lower) {
            Some(known) => may_change(known)?,
            None if self.values.contains_key(&lower) => {}
            None => return Err(unrecognized(name)),
        }
        match self.at_start.get(&lower) {
            Some(value) => drop(self.values.insert(lower.clone(), value.clone())),
            None => drop(self.values.remove(&lower)),
        }
        self.changed();
        Ok(self.reported(&lower).into_iter().collect())
    }

    fn reported(&self, name: &str) -> Option<(String, String)> {
        let known = TABLE.get(name).filter(|known| known.reported)?;
        self.get(known.name).ok().map(|value| (known.name.to_string(), value))
    }

    /// The settings that are sent when a client connects.
    pub fn all_reported(&self) -> Vec<(String, String)> {
        let reported = TABLE.all.iter().filter(|known| known.reported);
        reported.filter_map(|known| self.reported(known.name)).collect()
    }

    /// All that are not hidden, by name.
    pub fn all(&self) -> Vec<Shown> {
        let some = |text: &'static str| Some(text).filter(|text| !text.is_empty());
        let known = TABLE.all.iter().filter(|known| !known.hidden).map(|known| {
            let value = self.get(known.name).unwrap_or_default();
            let source = match known.name {
                name if self.values.contains_key(&name.to_lowercase()) => {
                    let at_start = self.at_start.get(&name.to_lowercase());
                    if at_start == Some(&value) { "client" } else { "session" }
                }
                name if self.of_server.contains_key(name) => "command line",
                _ => "default",
            };
            Shown {
                name: known.name.to_string(),
                plain: value::plain(known, &value),
                value,
                unit: some(known.unit_name),
                category: known.category,
                description: known.description,
                context: known.context_name,
                kind: known.kind_name,
                source,
                min: some(known.min),
                max: some(known.max),
                allowed: (!known.values.is_empty()).then(|| known.values.clone()),
                default: Some(known.default),
                reset: Some(value::plain(known, &self.reset_value(known))),
            }
        });
        let mut shown: Vec<Shown> = known.collect();
        let others = self.values.iter().filter(|(name, _)| TABLE.get(name).is_none());
        shown.extend(others.map(|(name, value)| Shown {
            name: name.clone(),
            value: value.clone(),
            plain: value.clone(),
            category: "Customized Options",
            description: "Accepted; has no effect.",
            context: "user",
            kind: "string",
            source: "session",
            ..Shown::default()
        }));
        shown.sort_by_key(|setting| setting.name.to_lowercase());
        shown
    }

    /// Schemas to look up names in, `$user` replaced; a user with the name of a system schema does not get that one.
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

    /// The producer that the session is, and the sequence of its next transaction.
    pub fn producer(&self) -> Option<(Arc<str>, Option<u64>)> {
        self.effective.producer.clone()
    }

    /// The producer's transaction of this sequence has been made.
    pub fn follow(&mut self, sequence: u64) {
        match sequence.checked_add(1).filter(|next| *next <= SEQUENCE_MAX) {
            Some(next) => drop(self.values.insert(PRODUCER_SEQUENCE.to_string(), next.to_string())),
            None => drop(self.values.remove(PRODUCER_SEQUENCE)),
        }
        self.changed();
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

    /// The text style of values under these settings.
    pub fn text_style(&self) -> &TextStyle {
        &self.effective.text_style
    }
}

const PRODUCER_ID: &str = "millstream.producer_id";
const PRODUCER_SEQUENCE: &str = "millstream.producer_sequence";
/// As a BIGINT shows it.
const SEQUENCE_MAX: u64 = i64::MAX as u64;

/// Names that other servers and newer versions have.
const OTHERS: [&str; 2] = ["restrict_nonsystem_relation_kind", "ssl_renegotiation_limit"];

fn has_prefix_of_others(name: &str) -> bool {
    let prefix = name.split_once('_').map_or("", |(prefix, _)| prefix);
    ["rw", "streaming", "query", "batch", "background", "sink", "source"].contains(&prefix)
}

/// 55P02 for a setting that no session may change, in PostgreSQL's words.
fn may_change(known: &Known) -> Result<(), SqlError> {
    let how = match known.context {
        SettingContext::Session => return Ok(()),
        SettingContext::Backend => "cannot be set after connection start",
        SettingContext::Reload => "cannot be changed now",
        SettingContext::Start => "cannot be changed without restarting the server",
        SettingContext::Never => "cannot be changed",
    };
    Err(SqlError::new(
        state::CANT_CHANGE_RUNTIME_PARAM,
        format!("parameter \"{}\" {how}", known.name),
    ))
}

fn current<'v>(values: &'v BTreeMap<String, String>, name: &str) -> &'v str {
    let known = TABLE.get(name).expect("only called with names of the table");
    values
        .get(&known.name.to_lowercase())
        .map_or(known.default_shown.as_str(), String::as_str)
}

impl Effective {
    fn of(values: &BTreeMap<String, String>, user: &str) -> Effective {
        let get = |name| current(values, name);
        let limit = |name| {
            let known = TABLE.get(name).expect("limits stand in the table");
            value::number(known, get(name))
                .ok()
                .map(|ms| ms as u64)
                .filter(|ms| *ms > 0)
        };
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
                time_zone: TimeZone::of_setting(time_zone),
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
            synchronous_commit: get("synchronous_commit") != "off",
            producer: match get(PRODUCER_ID) {
                "" => None,
                producer => Some((producer.into(), get(PRODUCER_SEQUENCE).parse().ok())),
            },
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

fn encoding(known: &Known, value: &str) -> Result<String, SqlError> {
    match value.to_lowercase().replace(['-', '_', '\''], "").as_str() {
        "utf8" | "unicode" => Ok("UTF8".to_string()),
        "latin1" | "iso88591" | "latin9" | "sqlascii" | "win1252" | "win1251" | "eucjp" | "sjis" | "gbk" | "big5" => {
            Err(SqlError::unsupported(
                format!("client encoding \"{value}\" is not supported"),
                "Use UTF8.",
            ))
        }
        _ => Err(invalid(known, value)),
    }
}

fn date_style(known: &Known, value: &str) -> Result<String, SqlError> {
    let lower = value.to_lowercase();
    for word in lower.split(',').map(str::trim) {
        match word {
            "iso" | "default" | "mdy" | "us" | "noneuro" => {}
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
            _ => return Err(invalid(known, value)),
        }
    }
    Ok("ISO, MDY".to_string())
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
