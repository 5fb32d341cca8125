//! Expressions over one row of a topic: DEFAULT, CHECK, GENERATED; and the values of an INSERT.
//!
//! One rule: a row that leaves [`RowExprs::complete`] satisfies everything that its topic declares. Expressions are
//! compiled once per topic version and evaluated over whole batches; a literal never reaches the planner.
//!
//! Not here: assignments between types (`rows/assign.rs`), VALUES lists (`rows/values.rs`), the limits of definitions
//! (`rows/definition.rs`).

mod alter;
mod assign;
mod compile;
mod definition;
mod inserted;
mod literal;
mod values;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute;
use arrow::datatypes::SchemaRef;

use super::cell::Cell;
use super::functions::Modifier;
use super::functions::session::SessionInfo;
use crate::catalog::Topic;
use crate::error::{SqlError, state};
use crate::types::{ColumnFormatter, PgType, TextStyle, TimeZone, scalar_null};
use bytes::BytesMut;

use compile::CompiledExpr;

pub use alter::{added_value, columns_in, contains_nulls, rename_column};
pub use assign::{assign, check_assignment, named};
pub use definition::check_create_topic;
pub use inserted::column_parameters;
pub use literal::{TargetColumn, are_literals};
pub use values::{evaluate_values, value_parameter_types};

/// A value as PostgreSQL's DETAIL shows it has at most this many characters.
const DETAIL_CHARS_MAX: usize = 64;

/// The value of a column that a statement does not give.
#[derive(Debug)]
enum Default {
    /// One value, made once.
    Constant(ArrayRef),
    Expression(CompiledExpr),
    /// Computed from the other columns.
    Generated(CompiledExpr),
}

/// The columns of a VALUES list that hold only literals: made once for a statement that runs again and again.
#[derive(Debug)]
pub struct Constants {
    exprs: Arc<RowExprs>,
    time_zone: Arc<str>,
    /// By place in the list.
    columns: Vec<Option<ArrayRef>>,
}

impl Constants {
    /// Whether they still are the values of the literals.
    pub fn hold(&self, exprs: &Arc<RowExprs>, session: &SessionInfo) -> bool {
        Arc::ptr_eq(&self.exprs, exprs) && self.time_zone == session.time_zone
    }
}

/// Everything that a topic computes and demands of its rows.
#[derive(Debug)]
pub struct RowExprs {
    topic: Arc<Topic>,
    /// As the log has it.
    schema: SchemaRef,
    /// The columns as expressions know them; any may be NULL in rows that are not complete yet.
    open_schema: SchemaRef,
    defaults: Vec<Default>,
    /// Modifiers of the columns' types, beside the conversions of their [`PgType`]s.
    modifiers: Vec<Modifier>,
    /// In the order of their names, as PostgreSQL checks them.
    checks: Vec<(String, CompiledExpr)>,
}

impl RowExprs {
    /// Compiles a topic's expressions. The definition has been checked by [`check_create_topic`]; an error here is one
    /// of its texts no longer meaning anything.
    pub fn compile(topic: &Arc<Topic>) -> Result<RowExprs, SqlError> {
        let schema = super::plan::topic_schema(topic, &[]);
        let scope = compile::RowScope::new(topic, &schema);
        let mut defaults = Vec::with_capacity(topic.columns.len());
        for column in &topic.columns {
            defaults.push(match (&column.generated, &column.default) {
                (Some(text), _) => Default::Generated(scope.expression(text, Some(&column.pg_type))?),
                (None, Some(text)) => scope.default(text, &column.pg_type)?,
                (None, None) => Default::Constant(scalar_null(&column.pg_type)),
            });
        }
        let mut checks = topic
            .checks
            .iter()
            .map(|check| Ok((check.name.clone(), scope.expression(&check.expr, Some(&PgType::Bool))?)))
            .collect::<Result<Vec<_>, SqlError>>()?;
        checks.sort_by(|left, right| left.0.cmp(&right.0));
        let open = schema
            .fields()
            .iter()
            .map(|field| field.as_ref().clone().with_nullable(true));
        let modifiers = topic.columns.iter().map(|column| match column.typmod {
            Some(typmod) => Modifier::of_typmod(&column.pg_type, typmod),
            None => Modifier::default(),
        });
        Ok(RowExprs {
            modifiers: modifiers.collect(),
            topic: topic.clone(),
            open_schema: Arc::new(arrow::datatypes::Schema::new(open.collect::<Vec<_>>())),
            schema: topic.log_schema(),
            defaults,
            checks,
        })
    }

    /// Completes rows under this very schema, which the log holds: it need not look whether they fit. One that is not
    /// equal to the topic's is of another version, and not taken.
    pub fn with_schema(self, schema: SchemaRef) -> RowExprs {
        if schema != self.schema {
            return self;
        }
        RowExprs { schema, ..self }
    }

    /// Whether completing rows takes no more time than they have bytes: no expression of the topic can take longer.
    pub fn is_plain(&self) -> bool {
        let checks = self.checks.iter().map(|(_, check)| check);
        let defaults = self.defaults.iter().filter_map(|default| match default {
            Default::Constant(_) => None,
            Default::Expression(expression) | Default::Generated(expression) => Some(expression),
        });
        checks.chain(defaults).all(CompiledExpr::is_plain)
    }

    pub fn topic(&self) -> &Arc<Topic> {
        &self.topic
    }

    /// Targets of a statement that names `columns` of the topic by index. 428C9 for a generated column.
    pub fn target(&self, column: usize) -> TargetColumn<'_> {
        let definition = &self.topic.columns[column];
        TargetColumn {
            name: &definition.name,
            pg_type: &definition.pg_type,
        }
    }

    /// Whether a column is GENERATED ALWAYS.
    pub fn is_generated(&self, column: usize) -> bool {
        matches!(self.defaults[column], Default::Generated(_))
    }

    /// The default of a column, for `rows` rows. Panics for a generated column, which has none.
    pub fn default_column(&self, column: usize, rows: usize, session: &SessionInfo) -> Result<ArrayRef, SqlError> {
        let made = match &self.defaults[column] {
            Default::Constant(value) => repeat(value, rows)?,
            Default::Expression(expression) => expression.evaluate(&rows_without_columns(rows), session)?,
            Default::Generated(_) => panic!("a generated column has no default"),
        };
        self.modified(column, made)
    }

    /// Values as the modifier of their column's type has them.
    fn modified(&self, column: usize, values: ArrayRef) -> Result<ArrayRef, SqlError> {
        let modifier = &self.modifiers[column];
        match modifier.is_none() {
            true => Ok(values),
            false => modifier.column(&values),
        }
    }

    /// Completes rows: `given` holds an array per column of the topic, or `None` where the statement gives none. Fills
    /// in defaults, computes generated columns, and checks NOT NULL (23502) and CHECK (23514).
    pub fn complete(
        &self,
        given: Vec<Option<ArrayRef>>,
        rows: usize,
        session: &SessionInfo,
    ) -> Result<RecordBatch, SqlError> {
        assert_eq!(given.len(), self.defaults.len(), "one entry per column");
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(given.len());
        for (index, given) in given.into_iter().enumerate() {
            columns.push(match given {
                Some(array) => {
                    assert_eq!(array.len(), rows, "all columns have as many rows");
                    self.modified(index, array)?
                }
                None if self.is_generated(index) => repeat(&scalar_null(&self.topic.columns[index].pg_type), rows)?,
                None => self.default_column(index, rows, session)?,
            });
        }
        if self
            .defaults
            .iter()
            .any(|default| matches!(default, Default::Generated(_)))
        {
            // Generated columns see the others, never each other, so one batch with NULLs in their places will do.
            let batch = self.batch_unchecked(columns.clone(), rows)?;
            for (index, default) in self.defaults.iter().enumerate() {
                if let Default::Generated(expression) = default {
                    columns[index] = self.modified(index, expression.evaluate(&batch, session)?)?;
                }
            }
        }
        self.check(&columns, rows, session)?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(
            self.schema.clone(),
            columns,
            &options,
        )?)
    }

    /// A batch whose NOT NULL columns may still hold NULLs.
    fn batch_unchecked(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, SqlError> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(
            self.open_schema.clone(),
            columns,
            &options,
        )?)
    }

    /// NOT NULL and CHECK over complete rows; the first row that fails is reported.
    fn check(&self, columns: &[ArrayRef], rows: usize, session: &SessionInfo) -> Result<(), SqlError> {
        let mut first: Option<(usize, SqlError)> = None;
        let mut failed = |row: usize, error: &dyn Fn() -> SqlError| {
            if first.as_ref().is_none_or(|(earliest, _)| row < *earliest) {
                first = Some((row, error()));
            }
        };
        for (column, array) in self.topic.columns.iter().zip(columns) {
            if column.not_null
                && array.null_count() > 0
                && let Some(row) = (0..array.len()).find(|row| array.is_null(*row))
            {
                failed(row, &|| {
                    SqlError::new(
                        state::NOT_NULL_VIOLATION,
                        format!(
                            "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
                            column.name, self.topic.name
                        ),
                    )
                });
            }
        }
        if !self.checks.is_empty() {
            let batch = self.batch_unchecked(columns.to_vec(), rows)?;
            for (name, check) in &self.checks {
                let verdicts = check.evaluate(&batch, session)?;
                let verdicts = verdicts.as_boolean();
                // NULL passes.
                if verdicts.false_count() == 0 {
                    continue;
                }
                if let Some(row) = (0..verdicts.len()).find(|row| verdicts.is_valid(*row) && !verdicts.value(*row)) {
                    failed(row, &|| {
                        SqlError::new(
                            state::CHECK_VIOLATION,
                            format!(
                                "new row for relation \"{}\" violates check constraint \"{name}\"",
                                self.topic.name
                            ),
                        )
                    });
                }
            }
        }
        match first {
            Some((row, error)) => Err(error.detail(self.row_detail(columns, row, session)?)),
            None => Ok(()),
        }
    }

    /// `Failing row contains (1, null, abc).`
    fn row_detail(&self, columns: &[ArrayRef], row: usize, session: &SessionInfo) -> Result<String, SqlError> {
        let style = TextStyle {
            time_zone: TimeZone::of_setting(&session.time_zone),
            ..TextStyle::default()
        };
        let mut shown = Vec::with_capacity(columns.len());
        for (column, array) in self.topic.columns.iter().zip(columns) {
            if array.is_null(row) {
                shown.push("null".to_string());
                continue;
            }
            let value = array.slice(row, 1);
            let mut text = BytesMut::new();
            ColumnFormatter::new(&column.pg_type, &value, &style)?.write_text(0, &mut text);
            let text = String::from_utf8_lossy(&text);
            shown.push(match text.char_indices().nth(DETAIL_CHARS_MAX) {
                Some((end, _)) => format!("{}...", &text[..end]),
                None => text.into_owned(),
            });
        }
        Ok(format!("Failing row contains ({}).", shown.join(", ")))
    }

    /// The rows of INSERT ... VALUES: `columns` are the topic's by index, in the order of the values; a shorter row
    /// leaves the rest to their defaults. `DEFAULT` stands for a column's default. `constants`: of these very rows.
    pub fn insert_values(
        &self,
        columns: &[usize],
        rows: &[Vec<Cell>],
        constants: Option<&Constants>,
        parameters: &[(PgType, ArrayRef)],
        session: &SessionInfo,
        ctx: &super::plan::PlanContext,
    ) -> Result<RecordBatch, SqlError> {
        self.check_columns(columns, |column| {
            rows.iter()
                .all(|row| row.get(column).is_none_or(|cell| matches!(cell, Cell::Default)))
        })?;
        let width = rows.first().map_or(0, Vec::len);
        if rows.iter().any(|row| row.len() != width) {
            return Err(SqlError::new(
                state::SYNTAX_ERROR,
                "VALUES lists must all be the same length",
            ));
        }
        if width > columns.len() {
            return Err(SqlError::new(
                state::SYNTAX_ERROR,
                "INSERT has more expressions than target columns",
            ));
        }
        let named = columns.len() != self.defaults.len();
        if width < columns.len() && named {
            return Err(SqlError::new(
                state::SYNTAX_ERROR,
                "INSERT has more target columns than expressions",
            ));
        }
        let mut given: Vec<Option<ArrayRef>> = self.defaults.iter().map(|_| None).collect();
        let evaluation = values::Evaluation {
            parameters,
            session,
            ctx,
        };
        for (at, column) in columns.iter().take(width).enumerate() {
            if self.is_generated(*column) {
                continue;
            }
            if let Some(made) = constants.and_then(|constants| constants.columns[at].as_ref()) {
                given[*column] = Some(made.clone());
                continue;
            }
            let default = || self.default_column(*column, 1, session);
            let cells = rows.iter().map(|row| &row[at]);
            given[*column] = Some(evaluation.column(self.target(*column), cells, rows.len(), &default)?);
        }
        self.complete(given, rows.len(), session)
    }

    /// The values that are the same at each insert of these rows, for [`RowExprs::insert_values`].
    pub fn constants(self: &Arc<Self>, columns: &[usize], rows: &[Vec<Cell>], session: &SessionInfo) -> Constants {
        let width = rows.first().map_or(0, Vec::len);
        let is_whole = rows.iter().all(|row| row.len() == width);
        let made = columns.iter().take(width).enumerate().map(|(at, column)| {
            let cells = rows.iter().map(|row| &row[at]);
            literal::constant(self.target(*column), cells, rows.len(), session).filter(|_| !self.is_generated(*column))
        });
        Constants {
            exprs: self.clone(),
            time_zone: session.time_zone.clone(),
            columns: if is_whole {
                made.collect()
            } else {
                vec![None; columns.len()]
            },
        }
    }

    /// 42701 for a column named twice, 428C9 for a value given to a generated one.
    fn check_columns(&self, columns: &[usize], only_default: impl Fn(usize) -> bool) -> Result<(), SqlError> {
        for (at, column) in columns.iter().enumerate() {
            let name = &self.topic.columns[*column].name;
            if columns[..at].contains(column) {
                return Err(SqlError::new(
                    state::DUPLICATE_COLUMN,
                    format!("column \"{name}\" specified more than once"),
                ));
            }
            if self.is_generated(*column) && !only_default(at) {
                return Err(SqlError::new(
                    state::GENERATED_ALWAYS,
                    format!("cannot insert a non-DEFAULT value into column \"{name}\""),
                )
                .detail(format!("Column \"{name}\" is a generated column.")));
            }
        }
        Ok(())
    }

    /// The rows of INSERT ... SELECT and COPY: arrays of the columns' own types. A generated column must not be given.
    pub fn insert_columns(
        &self,
        columns: &[usize],
        arrays: &[ArrayRef],
        rows: usize,
        session: &SessionInfo,
    ) -> Result<RecordBatch, SqlError> {
        self.check_columns(columns, |_| false)?;
        let mut given: Vec<Option<ArrayRef>> = vec![None; self.defaults.len()];
        for (column, array) in columns.iter().zip(arrays) {
            given[*column] = Some(array.clone());
        }
        self.complete(given, rows, session)
    }
}

/// An array of one value, repeated.
fn repeat(value: &ArrayRef, rows: usize) -> Result<ArrayRef, SqlError> {
    assert_eq!(value.len(), 1, "a constant is one value");
    if rows == 1 {
        return Ok(value.clone());
    }
    if value.is_null(0) {
        return Ok(arrow::array::new_null_array(value.data_type(), rows));
    }
    let zeros = UInt32Array::from(vec![0; rows]);
    Ok(compute::take(value, &zeros, None)?)
}

fn rows_without_columns(rows: usize) -> RecordBatch {
    RecordBatch::try_new_with_options(
        Arc::new(arrow::datatypes::Schema::empty()),
        vec![],
        &RecordBatchOptions::new().with_row_count(Some(rows)),
    )
    .expect("a batch without columns fits the empty schema")
}

#[cfg(test)]
mod tests;
