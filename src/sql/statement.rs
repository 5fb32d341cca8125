//! Statements, parsed: one variant per kind of statement, with names still unresolved.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use sqlparser::ast;

use super::cell::Cell;
use super::field::OutField;
use crate::catalog::{self, Column};
use crate::error::Notice;

/// One statement of a query string.
#[derive(Clone, Debug)]
pub struct Parsed {
    pub statement: Statement,
    /// Its own text, without the `;` and the blanks and comments around it.
    pub text: String,
    /// Highest `$n`; 0 if it has no parameters.
    pub parameters: usize,
    /// Notices of the parser for a statement that it accepted: a truncated identifier.
    pub notices: Vec<Notice>,
    pub databases: Vec<NamedDatabase>,
}

/// A database before the schema of a name in a statement: only the session knows whether it is the one that there is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedDatabase {
    pub database: String,
    /// The whole name, its parts joined by dots.
    pub name: String,
    pub position: usize,
}

/// The moment at which a windowed query shows a window's rows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Emit {
    /// As they change (the default).
    #[default]
    OnChange,
    /// Once, when the window has closed.
    OnWindowClose,
}

/// A name as written: optional schema, name; folded to lower case unless quoted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Name {
    pub schema: Option<String>,
    pub name: String,
    /// 1-based character position in the statement text, for errors.
    pub position: Option<usize>,
}

/// Shared with the threads that plan it.
#[derive(Clone, Debug)]
pub struct Select {
    pub query: Box<ast::Query>,
    pub emit: Emit,
    /// Rows of the queries of its WITH that ran before it.
    pub given: Given,
}

/// The rows of queries of one WITH that ran before their readers. Each stands in the tree by its number here
/// ([`mark::GIVEN`]).
pub type Given = Arc<[GivenRows]>;

#[derive(Clone, Debug)]
pub struct GivenRows {
    /// `None`: an INSERT without RETURNING.
    pub fields: Option<Arc<[OutField]>>,
    pub batches: Vec<RecordBatch>,
}

#[derive(Clone, Debug)]
pub struct Insert {
    pub into: Name,
    /// `INSERT INTO into AS alias`: the name of the rows in RETURNING.
    pub alias: Option<String>,
    /// Empty: all columns, in order.
    pub columns: Vec<String>,
    pub rows: InsertRows,
    /// RETURNING items; empty if none.
    pub returning: Vec<ast::SelectItem>,
    /// The WITH before it, for RETURNING: the rows' query has it as its own.
    pub with: Option<Arc<InsertWith>>,
}

#[derive(Clone, Debug)]
pub struct InsertWith {
    pub with: ast::With,
    pub given: Given,
}

/// A WITH with queries that run before the statement that it belongs to: INSERTs, and SELECTs that several of them
/// read.
#[derive(Clone, Debug)]
pub struct With {
    /// SELECTs and INSERTs, in turn.
    pub parts: Vec<Statement>,
    /// A SELECT or an INSERT.
    pub main: Box<Statement>,
    /// The names of the parts.
    pub names: Vec<String>,
}

#[derive(Clone, Debug)]
pub enum InsertRows {
    /// VALUES (...), (...)
    Values(Arc<Vec<Vec<Cell>>>),
    DefaultValues,
    Select(Arc<Select>),
}

/// The format of a COPY's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CopyKind {
    Text,
    Csv,
    Binary,
}

/// COPY's format and options, all validated. Binary has no options: the others are text's defaults.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopyFormat {
    pub kind: CopyKind,
    pub delimiter: u8,
    pub null: String,
    /// HEADER: skip (FROM) or write (TO) a first line of names.
    pub header: bool,
    /// HEADER MATCH: the first line must name the columns.
    pub header_match: bool,
    pub quote: u8,
    pub escape: u8,
    /// FORCE_QUOTE columns (TO, csv); `None` in the inner position means `*`.
    pub force_quote: Option<Option<Vec<String>>>,
    pub force_not_null: Vec<String>,
    pub force_null: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct CopyFrom {
    pub into: Name,
    pub columns: Vec<String>,
    pub format: CopyFormat,
}

#[derive(Clone, Debug)]
pub struct CopyTo {
    pub source: CopySource,
    pub format: CopyFormat,
}

#[derive(Clone, Debug)]
pub enum CopySource {
    Relation(Name, Vec<String>),
    Select(Arc<Select>),
    /// An INSERT, or a WITH that writes.
    Statement(Box<Statement>),
}

/// CREATE TOPIC, or CREATE TABLE without a key: a definition without OID and schema resolved.
#[derive(Clone, Debug)]
pub struct CreateTopic {
    pub name: Name,
    pub if_not_exists: bool,
    /// Whether the statement itself says that rows are only appended.
    pub append_only: bool,
    /// `oid` 0; `schema` empty until resolved.
    pub topic: catalog::Topic,
}

#[derive(Clone, Debug)]
pub struct CreateView {
    pub name: Name,
    pub if_not_exists: bool,
    pub or_replace: bool,
    pub materialized: bool,
    /// Column names given after the view's name; empty if none.
    pub columns: Vec<String>,
    pub select: Arc<Select>,
    /// The SELECT's own text, as written, without EMIT.
    pub definition: String,
    pub options: BTreeMap<String, String>,
    /// WITH NO DATA was given.
    pub no_data: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ObjectKind {
    Topic,
    Table,
    View,
    MaterializedView,
    Schema,
}

impl ObjectKind {
    /// As messages call it.
    pub fn word(self) -> &'static str {
        match self {
            ObjectKind::Topic => "topic",
            ObjectKind::Table => "table",
            ObjectKind::View => "view",
            ObjectKind::MaterializedView => "materialized view",
            ObjectKind::Schema => "schema",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Drop {
    pub kind: ObjectKind,
    pub names: Vec<Name>,
    pub if_exists: bool,
    pub cascade: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IsolationLevel {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

impl IsolationLevel {
    /// As SQL spells it, in lower case.
    pub fn name(&self) -> &'static str {
        match self {
            IsolationLevel::ReadUncommitted => "read uncommitted",
            IsolationLevel::ReadCommitted => "read committed",
            IsolationLevel::RepeatableRead => "repeatable read",
            IsolationLevel::Serializable => "serializable",
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct TransactionModes {
    pub isolation: Option<IsolationLevel>,
    pub read_only: Option<bool>,
    pub deferrable: Option<bool>,
}

#[derive(Clone, Debug)]
pub enum Show {
    /// SHOW name: a setting.
    Setting(String),
    All,
    Topics,
    Views,
    MaterializedViews,
    Tables,
    Schemas,
    ConsumerGroups,
    /// SHOW CREATE TOPIC | TABLE | VIEW | MATERIALIZED VIEW name
    Create(ObjectKind, Name),
    /// DESCRIBE name, SHOW COLUMNS FROM name
    Columns(Name),
}

/// The rows of a FETCH or MOVE, from the row that the cursor is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FetchRows {
    /// So many rows from the next on; `None` is ALL.
    Forward(Option<u64>),
    /// So many rows from the one before on, backward.
    Backward(Option<u64>),
    /// One row by its number from 1, or from -1 at the end; 0 is before the first.
    Absolute(i64),
    /// One row by its distance.
    Relative(i64),
}

/// `DECLARE name [BINARY] [SCROLL] CURSOR [WITH HOLD]`.
#[derive(Clone, Debug)]
pub struct CursorDeclaration {
    pub name: String,
    pub binary: bool,
    pub scroll: bool,
    pub hold: bool,
}

/// FETCH and MOVE.
#[derive(Clone, Debug)]
pub struct Fetch {
    pub cursor: String,
    pub rows: FetchRows,
    pub is_move: bool,
}

/// ALTER TOPIC | TABLE | VIEW | MATERIALIZED VIEW name action, ...
#[derive(Clone, Debug)]
pub struct Alter {
    pub kind: ObjectKind,
    pub name: Name,
    pub if_exists: bool,
    pub actions: Vec<Alteration>,
}

/// A role as a statement names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RoleName {
    /// CURRENT_USER, CURRENT_ROLE, SESSION_USER
    Session,
    Named(String),
}

/// One change of a relation. Positions are of the column's name in the statement. Views have none of columns but their
/// names, and no options.
#[derive(Clone, Debug)]
pub enum Alteration {
    AddColumn {
        column: Column,
        if_not_exists: bool,
        position: usize,
    },
    DropColumn {
        column: String,
        if_exists: bool,
        cascade: bool,
    },
    RenameColumn {
        from: String,
        to: String,
        position: usize,
    },
    /// The name, the schema and the owner of the relation itself; the first two stand alone.
    RenameTo(String),
    SetSchema(String),
    OwnerTo(RoleName),
    Set(TopicOptions),
    /// Options that go back to their defaults.
    Reset(Vec<String>),
}

/// The WITH options of a topic.
#[derive(Clone, Debug, Default)]
pub struct TopicOptions {
    pub partitions: Option<u32>,
    /// Lengths of time, microseconds; `None` for ever or never.
    pub idle_timeout_us: Option<i64>,
    pub retention_us: Option<i64>,
    pub retention_bytes: Option<u64>,
    /// As written, by name.
    pub given: BTreeMap<String, String>,
}

/// EXPLAIN (FORMAT ...)
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ExplainFormat {
    #[default]
    Text,
    Json,
    Xml,
    Yaml,
}

/// The offsets that a consumer group begins with, or goes on from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StartAt {
    Earliest,
    Latest,
    Offset(u64),
    /// The first rows that were appended then or later: the literal's text.
    Timestamp(String),
}

/// A statement about a consumer group.
#[derive(Clone, Debug)]
pub enum GroupStatement {
    Create {
        name: Name,
        topic: Name,
        start: StartAt,
        if_not_exists: bool,
    },
    Drop {
        names: Vec<Name>,
        if_exists: bool,
    },
    Seek {
        name: Name,
        to: StartAt,
    },
    CommitOffsets(Name),
    Consume {
        group: Name,
        rows_max: u64,
        timeout_us: i64,
    },
}

#[derive(Clone, Debug)]
pub enum Statement {
    Select(Arc<Select>),
    Insert(Insert),
    With(Arc<With>),
    CopyFrom(CopyFrom),
    CopyTo(CopyTo),
    Explain {
        analyze: bool,
        verbose: bool,
        format: ExplainFormat,
        statement: Box<Statement>,
    },
    /// EXPLAIN [ANALYZE] MATERIALIZED VIEW name
    ExplainView {
        analyze: bool,
        format: ExplainFormat,
        name: Name,
    },
    CreateTopic(CreateTopic),
    CreateView(CreateView),
    CreateSchema {
        name: String,
        if_not_exists: bool,
    },
    Drop(Drop),
    Alter(Alter),
    AlterSchema {
        name: String,
        /// RENAME TO, OWNER TO
        action: Alteration,
    },
    /// ALTER TOPIC t ADVANCE WATERMARK TO '...': the literal's text.
    AdvanceWatermark {
        topic: Name,
        to: String,
    },
    /// COMMENT ON TOPIC | TABLE | VIEW | MATERIALIZED VIEW name, or COLUMN name.column
    Comment {
        on: Name,
        column: Option<String>,
        text: Option<String>,
    },
    /// BEGIN or START TRANSACTION: the command tag.
    Begin {
        tag: &'static str,
        modes: TransactionModes,
    },
    Commit {
        chain: bool,
    },
    Rollback {
        chain: bool,
    },
    Savepoint(String),
    ReleaseSavepoint(String),
    RollbackTo(String),
    SetTransaction(TransactionModes),
    /// SET SESSION CHARACTERISTICS AS TRANSACTION ...: the defaults of later transactions.
    SetSessionCharacteristics(TransactionModes),
    /// SET [LOCAL] name = value; `None` is DEFAULT. A list is joined with ", ".
    Set {
        name: String,
        value: Option<String>,
        local: bool,
    },
    /// RESET name; `None` is ALL.
    Reset(Option<String>),
    Show(Show),
    /// PREPARE name [(types)] AS statement; `text` is the statement's own text.
    Prepare {
        name: String,
        types: Vec<String>,
        statement: Box<Statement>,
        text: String,
    },
    Execute {
        name: String,
        arguments: Vec<Cell>,
    },
    /// `None` is ALL.
    Deallocate(Option<String>),
    /// DISCARD ALL | PLANS | TEMP | SEQUENCES: the word.
    Discard(String),
    DeclareCursor {
        declaration: CursorDeclaration,
        select: Arc<Select>,
    },
    Fetch(Fetch),
    /// CLOSE name; `None` is ALL.
    Close(Option<String>),
    /// FLUSH, WAIT, REFRESH MATERIALIZED VIEW: return when every view has caught up. The command tag.
    CatchUp {
        tag: &'static str,
        view: Option<Name>,
    },
    Group(GroupStatement),
    /// LOCK TABLE names, in any mode.
    Lock(Vec<Name>),
    Listen(String),
    /// `None` is `*`.
    Unlisten(Option<String>),
    Notify {
        channel: String,
        payload: String,
    },
    /// Accepted, does nothing but say so: VACUUM, ANALYZE, CHECKPOINT. Command tag and notice.
    Nothing {
        tag: &'static str,
        notice: Option<String>,
    },
}

/// Whether an expression is all fields of a row: `(row).*`.
pub fn is_all_fields(expr: &ast::Expr) -> bool {
    let last = match expr {
        ast::Expr::CompoundFieldAccess { access_chain, .. } => access_chain.last(),
        _ => None,
    };
    matches!(last, Some(ast::AccessExpr::Dot(ast::Expr::Identifier(name))) if name.value == mark::ALL_FIELDS)
}

/// Names that stand for clauses that `sqlparser`'s tree lacks. No column or function of a statement has them.
pub mod mark {
    /// The first key of `GROUP BY DISTINCT`.
    pub const DISTINCT_SETS: &str = "\u{1}distinct";
    /// The last item of a window's ORDER BY.
    pub const EXCLUDE_CURRENT_ROW: &str = "\u{1}exclude current row";
    pub const EXCLUDE_GROUP: &str = "\u{1}exclude group";
    pub const EXCLUDE_TIES: &str = "\u{1}exclude ties";
    /// The argument of a session window before its keys.
    pub const PARTITION_BY: &str = "\u{1}partition by";
    /// The name of an argument after VARIADIC.
    pub const VARIADIC: &str = "\u{1}variadic";
    /// The last items of ORDER BY in the query of a WITH: its SEARCH and CYCLE.
    pub const SEARCH_DEPTH: &str = "\u{1}search depth";
    pub const SEARCH_BREADTH: &str = "\u{1}search breadth";
    pub const CYCLE: &str = "\u{1}cycle";
    /// Before schema and name of a topic: the rows that the statement is about to insert into it.
    pub const INSERTED: &str = "\u{1}inserted";
    /// Before the name of a relation: FOR SYSTEM_TIME AS OF PROCTIME() stood behind it.
    pub const AS_OF_COMMIT: &str = "\u{1}as of commit";
    /// The relation, with a number behind it, that is all of a query of WITH that ran before.
    pub const GIVEN: &str = "\u{1}given ";
    /// The function around `t.*` that an operator follows.
    pub const WHOLE_ROW: &str = "\u{1}whole row";
    /// The field that `(row).*` names, see [`is_all_fields`](super::is_all_fields).
    pub const ALL_FIELDS: &str = "\u{1}all fields";
    /// Before the name that the merged columns of a join have: the last name of its USING.
    pub const USING_ALIAS: &str = "\u{1}using as ";
    /// The function that `ROWS FROM (...)` is.
    pub const ROWS_FROM: &str = "\u{1}rows from";
}
