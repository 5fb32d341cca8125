//! Functions whose value the session or the transaction gives: `now()`, `current_user`, `current_setting('...')`.
//!
//! One rule: they are planned as functions and become literals by [`bind`] just before a plan runs, so that one plan
//! serves every session. Running one unbound is an error: a view must not hold it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

use super::locked::{LockedRows, RowLocks};
use super::{fail, zone};
use crate::error::{SqlError, state};
use crate::sql::effects::{Advisory, MARK};
use crate::sql::shared;

/// The answer of `version()`: clients read PostgreSQL's version out of it.
pub const VERSION: &str = concat!("PostgreSQL 15.0 (Millstream ", env!("CARGO_PKG_VERSION"), ")");

/// Looks a setting up.
pub type SettingLookup = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// A signal of one session to another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Signal {
    /// End its statement.
    Cancel,
    /// End it.
    Terminate,
}

/// Sends a signal to the session of that number; false if there is none.
pub type Signals = Arc<dyn Fn(i32, Signal) -> bool + Send + Sync>;

/// The values that a session gives to a statement.
#[derive(Clone)]
pub struct SessionInfo {
    /// IANA name.
    pub time_zone: Arc<str>,
    pub user: Arc<str>,
    pub database: Arc<str>,
    pub search_path: Arc<[String]>,
    /// Start of the transaction, microseconds since 1970 UTC.
    pub now_us: i64,
    /// Start of the statement, microseconds since 1970 UTC.
    pub statement_us: i64,
    /// The time of the log at the position that is read, microseconds since 1970 UTC: that of views which are kept.
    pub log_us: i64,
    pub backend_pid: i32,
    /// The value of a setting by its lower-case name; `None` if there is no such setting.
    pub setting: SettingLookup,
    /// The client's address, if it came over a network.
    pub client: Option<SocketAddr>,
    pub signals: Signals,
    pub locks: RowLocks,
}

impl Default for SessionInfo {
    fn default() -> SessionInfo {
        SessionInfo {
            time_zone: "UTC".into(),
            user: "millstream".into(),
            database: "millstream".into(),
            search_path: ["public".to_string()].into(),
            now_us: 0,
            statement_us: 0,
            log_us: 0,
            backend_pid: 0,
            setting: Arc::new(|_| None),
            client: None,
            signals: Arc::new(|_, _| false),
            locks: Arc::new(|_, _| Ok(false)),
        }
    }
}

impl SessionInfo {
    /// As a view that is kept in this time zone has it.
    fn in_view(&self, zone: &Arc<str>) -> SessionInfo {
        SessionInfo {
            time_zone: zone.clone(),
            now_us: self.log_us,
            ..self.clone()
        }
    }
}

/// A form of the time at which a transaction began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransactionTime {
    /// `now()`: the same in every time zone.
    Instant,
    /// `localtimestamp`
    Local,
    /// `current_date`
    Day,
}

/// The form that a function gives the time of the transaction, if it does no more than that.
pub fn transaction_time(function: &ScalarUDF) -> Option<TransactionTime> {
    let function = function.inner().downcast_ref::<SessionFunction>()?;
    match function.value {
        SessionValue::Now => Some(TransactionTime::Instant),
        SessionValue::LocalNow => Some(TransactionTime::Local),
        SessionValue::Date => Some(TransactionTime::Day),
        _ => None,
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum SessionValue {
    Now,
    StatementTime,
    LocalNow,
    Date,
    Time,
    User,
    Database,
    Schema,
    Schemas,
    Version,
    BackendPid,
    Setting,
    ClientAddress,
    ClientPort,
    Signal(Signal),
    /// A function of advisory locks, by the name behind its mark.
    Lock(&'static str),
}

impl SessionValue {
    const NAMES: [(&'static str, SessionValue); 36] = [
        ("now", SessionValue::Now),
        ("current_timestamp", SessionValue::Now),
        ("transaction_timestamp", SessionValue::Now),
        ("statement_timestamp", SessionValue::StatementTime),
        ("clock_timestamp", SessionValue::StatementTime),
        ("localtimestamp", SessionValue::LocalNow),
        ("current_date", SessionValue::Date),
        ("today", SessionValue::Date),
        ("current_time", SessionValue::Time),
        ("localtime", SessionValue::Time),
        ("current_user", SessionValue::User),
        ("session_user", SessionValue::User),
        ("current_role", SessionValue::User),
        ("user", SessionValue::User),
        ("getpgusername", SessionValue::User),
        ("current_database", SessionValue::Database),
        ("current_catalog", SessionValue::Database),
        ("current_schema", SessionValue::Schema),
        ("current_schemas", SessionValue::Schemas),
        ("version", SessionValue::Version),
        ("pg_backend_pid", SessionValue::BackendPid),
        ("current_setting", SessionValue::Setting),
        ("rw_version", SessionValue::Version),
        ("proctime", SessionValue::Now),
        ("system_user", SessionValue::User),
        ("millstream_version", SessionValue::Version),
        ("inet_client_addr", SessionValue::ClientAddress),
        ("inet_client_port", SessionValue::ClientPort),
        ("pg_cancel_backend", SessionValue::Signal(Signal::Cancel)),
        ("pg_terminate_backend", SessionValue::Signal(Signal::Terminate)),
        ("~pg_try_advisory_lock", SessionValue::Lock("pg_try_advisory_lock")),
        (
            "~pg_try_advisory_lock_shared",
            SessionValue::Lock("pg_try_advisory_lock_shared"),
        ),
        (
            "~pg_try_advisory_xact_lock",
            SessionValue::Lock("pg_try_advisory_xact_lock"),
        ),
        (
            "~pg_try_advisory_xact_lock_shared",
            SessionValue::Lock("pg_try_advisory_xact_lock_shared"),
        ),
        ("~pg_advisory_unlock", SessionValue::Lock("pg_advisory_unlock")),
        (
            "~pg_advisory_unlock_shared",
            SessionValue::Lock("pg_advisory_unlock_shared"),
        ),
    ];

    fn data_type(self) -> DataType {
        match self {
            SessionValue::Now | SessionValue::StatementTime => {
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
            }
            SessionValue::LocalNow => DataType::Timestamp(TimeUnit::Microsecond, None),
            SessionValue::Date => DataType::Date32,
            SessionValue::Time => DataType::Time64(TimeUnit::Microsecond),
            SessionValue::BackendPid | SessionValue::ClientPort => DataType::Int32,
            SessionValue::Signal(_) | SessionValue::Lock(_) => DataType::Boolean,
            SessionValue::Schemas => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
            SessionValue::User
            | SessionValue::Database
            | SessionValue::Schema
            | SessionValue::Version
            | SessionValue::Setting
            | SessionValue::ClientAddress => DataType::Utf8,
        }
    }

    fn arguments(self) -> TypeSignature {
        match self {
            SessionValue::Schemas => TypeSignature::OneOf(vec![
                TypeSignature::Nullary,
                TypeSignature::Exact(vec![DataType::Boolean]),
            ]),
            SessionValue::Setting => TypeSignature::OneOf(vec![
                TypeSignature::Exact(vec![DataType::Utf8]),
                TypeSignature::Exact(vec![DataType::Utf8, DataType::Boolean]),
            ]),
            SessionValue::Lock(_) => TypeSignature::OneOf(vec![
                TypeSignature::Exact(vec![DataType::Boolean, DataType::Int64, DataType::Int64]),
                TypeSignature::Exact(vec![
                    DataType::Boolean,
                    DataType::Int64,
                    DataType::Int32,
                    DataType::Int32,
                ]),
            ]),
            SessionValue::Signal(Signal::Cancel) => TypeSignature::Exact(vec![DataType::Int64]),
            // A time to wait for the end may be given, and is not waited for.
            SessionValue::Signal(Signal::Terminate) => TypeSignature::OneOf(vec![
                TypeSignature::Exact(vec![DataType::Int64]),
                TypeSignature::Exact(vec![DataType::Int64, DataType::Int64]),
            ]),
            // A precision may be given, and is not used: times have microseconds.
            SessionValue::Now | SessionValue::LocalNow | SessionValue::Time => TypeSignature::OneOf(vec![
                TypeSignature::Nullary,
                TypeSignature::Exact(vec![DataType::Int64]),
            ]),
            _ => TypeSignature::Nullary,
        }
    }

    fn of(self, arguments: &[Expr], session: &SessionInfo) -> Result<ScalarValue, SqlError> {
        let text = |text: &str| ScalarValue::Utf8(Some(text.to_string()));
        let local_us = || {
            let zone = crate::types::TimeZone::of_setting(&session.time_zone);
            zone::to_local(session.now_us, zone)
        };
        const DAY_US: i64 = super::temporal::DAY_US;
        Ok(match self {
            SessionValue::Now => ScalarValue::TimestampMicrosecond(Some(session.now_us), Some("UTC".into())),
            SessionValue::StatementTime => {
                ScalarValue::TimestampMicrosecond(Some(session.statement_us), Some("UTC".into()))
            }
            SessionValue::LocalNow => ScalarValue::TimestampMicrosecond(Some(local_us()), None),
            SessionValue::Date => ScalarValue::Date32(i32::try_from(local_us().div_euclid(DAY_US)).ok()),
            SessionValue::Time => ScalarValue::Time64Microsecond(Some(local_us().rem_euclid(DAY_US))),
            SessionValue::User => text(&session.user),
            SessionValue::Database => text(&session.database),
            SessionValue::Schema => ScalarValue::Utf8(session.search_path.first().cloned()),
            SessionValue::Schemas => {
                let implicit = matches!(arguments, [Expr::Literal(ScalarValue::Boolean(Some(true)), _)]);
                let system = implicit.then(|| text("pg_catalog"));
                let schemas: Vec<ScalarValue> = system
                    .into_iter()
                    .chain(session.search_path.iter().map(|name| text(name)))
                    .collect();
                ScalarValue::List(ScalarValue::new_list_nullable(&schemas, &DataType::Utf8))
            }
            SessionValue::Version => text(VERSION),
            SessionValue::BackendPid => ScalarValue::Int32(Some(session.backend_pid)),
            SessionValue::Setting => setting(arguments, session)?,
            SessionValue::ClientAddress => ScalarValue::Utf8(session.client.map(|client| client.ip().to_string())),
            SessionValue::ClientPort => ScalarValue::Int32(session.client.map(|client| i32::from(client.port()))),
            SessionValue::Signal(_) | SessionValue::Lock(_) => unreachable!("it is bound as a function of each row"),
        })
    }

    fn volatility(self) -> Volatility {
        match self {
            SessionValue::Signal(_) | SessionValue::Lock(_) => Volatility::Volatile,
            _ => Volatility::Stable,
        }
    }
}

/// `pg_cancel_backend(pid)` and `pg_terminate_backend(pid)` in one session's statement.
struct Signaller {
    signal: Signal,
    signals: Signals,
    signature: Signature,
}

impl Signaller {
    fn call(signal: Signal, arguments: Vec<Expr>, session: &SessionInfo) -> Expr {
        let signature = Signature::new(SessionValue::Signal(signal).arguments(), Volatility::Volatile);
        let function = ScalarUDF::from(Signaller {
            signal,
            signals: Arc::clone(&session.signals),
            signature,
        });
        function.call(arguments)
    }
}

impl fmt::Debug for Signaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signaller({:?})", self.signal)
    }
}

impl PartialEq for Signaller {
    fn eq(&self, other: &Signaller) -> bool {
        self.signal == other.signal && Arc::ptr_eq(&self.signals, &other.signals)
    }
}

impl Eq for Signaller {}

impl Hash for Signaller {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.signal.hash(state);
    }
}

impl ScalarUDFImpl for Signaller {
    fn name(&self) -> &str {
        match self.signal {
            Signal::Cancel => "pg_cancel_backend",
            Signal::Terminate => "pg_terminate_backend",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ids = args.args[0].to_array(args.number_rows)?;
        let ids = ids.as_primitive::<Int64Type>().iter();
        let send = |id: i64| i32::try_from(id).is_ok_and(|id| (self.signals)(id, self.signal));
        let sent = ids.map(|id| id.map(send));
        Ok(ColumnarValue::Array(Arc::new(sent.collect::<BooleanArray>())))
    }
}

/// `current_setting(name)` of names that are computed, in one session's statement.
struct SettingReader {
    settings: SettingLookup,
    signature: Signature,
}

impl SettingReader {
    fn call(arguments: Vec<Expr>, session: &SessionInfo) -> Expr {
        let signature = Signature::new(SessionValue::Setting.arguments(), Volatility::Stable);
        let function = ScalarUDF::from(SettingReader {
            settings: Arc::clone(&session.setting),
            signature,
        });
        function.call(arguments)
    }
}

impl fmt::Debug for SettingReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SettingReader")
    }
}

impl PartialEq for SettingReader {
    fn eq(&self, other: &SettingReader) -> bool {
        Arc::ptr_eq(&self.settings, &other.settings)
    }
}

impl Eq for SettingReader {}

impl Hash for SettingReader {
    fn hash<H: Hasher>(&self, state: &mut H) {
        "current_setting".hash(state);
    }
}

impl ScalarUDFImpl for SettingReader {
    fn name(&self) -> &str {
        "current_setting"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        super::over_columns(&args, |columns, rows| {
            let names = columns[0].as_string::<i32>();
            let missing_ok = columns.get(1).map(|column| column.as_boolean());
            let values = (0..rows).map(|row| match names.is_valid(row) {
                true => {
                    let may_miss = missing_ok.is_some_and(|flags| flags.is_valid(row) && flags.value(row));
                    setting_of(names.value(row), may_miss, &self.settings)
                }
                false => Ok(None),
            });
            let values = values.collect::<Result<StringArray, SqlError>>()?;
            Ok(Arc::new(values))
        })
    }
}

fn setting_of(name: &str, missing_ok: bool, settings: &SettingLookup) -> Result<Option<String>, SqlError> {
    let name = name.to_lowercase();
    match settings(&name) {
        None if !missing_ok => Err(SqlError::new(
            state::UNDEFINED_OBJECT,
            format!("unrecognized configuration parameter \"{name}\""),
        )),
        value => Ok(value),
    }
}

fn setting(arguments: &[Expr], session: &SessionInfo) -> Result<ScalarValue, SqlError> {
    let Some(Expr::Literal(ScalarValue::Utf8(Some(name)), _)) = arguments.first() else {
        return Ok(ScalarValue::Utf8(None));
    };
    let missing_ok = matches!(
        arguments.get(1),
        Some(Expr::Literal(ScalarValue::Boolean(Some(true)), _))
    );
    setting_of(name, missing_ok, &session.setting).map(ScalarValue::Utf8)
}

/// One function per name.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    SessionValue::NAMES
        .iter()
        .map(|(name, value)| {
            let signature = Signature::new(value.arguments(), value.volatility());
            Arc::new(ScalarUDF::from(SessionFunction {
                name,
                value: *value,
                signature,
                kept_in: None,
            }))
        })
        .collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SessionFunction {
    name: &'static str,
    value: SessionValue,
    signature: Signature,
    /// It stands in the definition of a view that is kept in this time zone: its time is the log's.
    kept_in: Option<Arc<str>>,
}

impl ScalarUDFImpl for SessionFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.value.data_type())
    }

    fn return_field_from_args(&self, _args: datafusion::logical_expr::ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(self.name, self.value.data_type(), true)))
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(fail(SqlError::unsupported(
            format!("{}() has no value here", self.name),
            "Only a statement of a session can use it: not a view, nor a default.",
        )))
    }
}

/// The name of the first function in an expression that only a session can give a value, if there is one.
pub fn find(expr: &Expr) -> Option<&'static str> {
    let mut found = None;
    expr.apply(|node| {
        if let Expr::ScalarFunction(call) = node
            && let Some(function) = call.func.inner().downcast_ref::<SessionFunction>()
        {
            found = Some(function.name);
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .expect("looking fails never");
    found
}

/// Puts the session's values into an expression.
pub fn bind_expr(expr: Expr, session: &SessionInfo) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| {
        if let Expr::ScalarFunction(call) = &expr
            && let Some(function) = call.func.inner().downcast_ref::<SessionFunction>()
        {
            if let SessionValue::Signal(signal) = function.value {
                return Ok(Transformed::yes(Signaller::call(signal, call.args.clone(), session)));
            }
            if let SessionValue::Lock(name) = function.value {
                debug_assert!(function.name.starts_with(MARK));
                let of = Advisory::of_name(name).expect("the name is of such a function");
                let call = LockedRows::call(of, call.args.clone(), &session.locks);
                return Ok(Transformed::yes(call));
            }
            let is_constant = call.args.iter().all(|argument| matches!(argument, Expr::Literal(..)));
            if function.value == SessionValue::Setting && !is_constant {
                return Ok(Transformed::yes(SettingReader::call(call.args.clone(), session)));
            }
            let value = match &function.kept_in {
                None => function.value.of(&call.args, session),
                Some(zone) => function.value.of(&call.args, &session.in_view(zone)),
            };
            let value = value.map_err(fail)?;
            return Ok(Transformed::yes(Expr::Literal(value, None)));
        }
        Ok(Transformed::no(expr))
    })
}

/// The definition of a view that is kept in a time zone, for a statement that computes it: its time is the log's.
pub fn of_kept_view(plan: LogicalPlan, zone: &str) -> Result<LogicalPlan> {
    let zone: Arc<str> = zone.into();
    let timed = |expr: Expr| {
        expr.transform_up(|expr| match expr {
            Expr::ScalarFunction(call) if transaction_time(&call.func).is_some() => {
                let function = call.func.inner().downcast_ref::<SessionFunction>();
                let function = function.expect("it gives the time of the transaction");
                let timed = ScalarUDF::from(SessionFunction {
                    name: function.name,
                    value: function.value,
                    signature: function.signature.clone(),
                    kept_in: Some(zone.clone()),
                });
                Ok(Transformed::yes(timed.call(call.args)))
            }
            other => Ok(Transformed::no(other)),
        })
    };
    shared::each(plan, |plan| {
        Ok(plan
            .transform_up_with_subqueries(|node| node.map_expressions(timed))?
            .data)
    })
}

/// Puts the session's values into a plan, subqueries included.
pub fn bind(plan: LogicalPlan, session: &SessionInfo) -> Result<LogicalPlan> {
    let bound = plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            Ok(bind_expr(expr, session)?.update_data(|expr| name.restore(expr)))
        })?
        .map_data(|node| node.recompute_schema())
    })?;
    Ok(bound.data)
}
