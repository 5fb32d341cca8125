//! SELECT and COPY TO: the position at which a statement reads, and the rows that it answers.
//!
//! One rule: all relations of a statement are read at one LSN. Outside a transaction block that is at least the newest
//! commit at its start (strict); inside, the position that the block's first reading statement took.

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt;

use super::outcome::{Batches, CachedPlan, Outcome, Parameters, Prepared, RowsTag};
use super::system::SystemSource;
use super::{Session, unknown_statement};
use crate::catalog::{self, Relation, Snapshot};
use crate::error::{SqlError, state};
use crate::log::{Lsn, TopicId};
use crate::query::{self, OwnRows, ReadPoint, Reuse, SessionInfo};
use crate::sql::cell::Cell;
use crate::sql::field::OutField;
use crate::sql::parse::{self, Parsed};
use crate::sql::plan::Planned;
use crate::sql::returning;
use crate::sql::rows::{self, TargetColumn};
use crate::sql::statement::{CopySource, CopyTo, GroupStatement, InsertRows, Name, Select, Statement};
use crate::types::PgType;
use crate::types::shaped::to_lists;
use crate::views::ViewRows;

impl Session {
    /// Names lead into the session's database only.
    pub(super) fn check_databases(&self, parsed: &Parsed) -> Result<(), SqlError> {
        let mut other = parsed
            .databases
            .iter()
            .filter(|named| *named.database != *self.database);
        other.next().map_or(Ok(()), |named| {
            let message = format!("cross-database references are not implemented: \"{}\"", named.name);
            Err(SqlError::new(state::FEATURE_NOT_SUPPORTED, message).position(named.position))
        })
    }

    pub(super) fn resolve(&self, catalog: &Snapshot, name: &Name) -> Result<Relation, SqlError> {
        catalog
            .resolve(name.schema.as_deref(), &name.name, self.settings.search_path())
            .cloned()
            .ok_or_else(|| {
                let shown = match &name.schema {
                    Some(schema) => format!("{schema}.{}", name.name),
                    None => name.name.clone(),
                };
                let error = SqlError::new(state::UNDEFINED_TABLE, format!("relation \"{shown}\" does not exist"));
                match name.position {
                    Some(position) => error.position(position),
                    None => error,
                }
            })
    }

    pub(super) async fn select(
        &mut self,
        select: &Arc<Select>,
        parameters: &Parameters,
        prepared: Option<&Prepared>,
    ) -> Result<Outcome, SqlError> {
        // A parameter that is an array of other dimensions than was thought has another plan.
        let reshaped = prepared.is_some_and(|prepared| {
            let types = prepared.parameter_types.iter().zip(&parameters.values);
            types
                .into_iter()
                .any(|(planned, (given, _))| planned != given && planned.clone().shaped() == *given)
        });
        let cached = prepared
            .filter(|_| !reshaped)
            .and_then(|prepared| self.usable_plan(prepared));
        let may_act = match prepared {
            None => self.may_have_effects(),
            Some(_) => cached.is_none(),
        };
        let rewritten = if may_act {
            self.with_effects(select, Some(parameters)).await?
        } else {
            None
        };
        let select = rewritten.as_ref().unwrap_or(select);
        let (fields, batches) = match cached {
            Some(cached) => {
                let reuse = Some(cached.reuse.clone());
                self.rows_at(&cached.planned, reuse, select, parameters, None).await?
            }
            None => {
                let types = match reshaped {
                    true => parameters.types(),
                    false => {
                        let types = prepared.map_or(&[] as &[PgType], |prepared| &prepared.parameter_types);
                        types.iter().cloned().map(Some).collect()
                    }
                };
                let planned = self.plan(select, types).await?;
                self.rows_of_plan(&planned, select, parameters, None).await?
            }
        };
        Ok(Outcome::Rows {
            fields,
            batches,
            tag: RowsTag::Select,
        })
    }

    /// The plan that was made when the statement was prepared, if nothing that it depends on has changed.
    fn usable_plan(&self, prepared: &Prepared) -> Option<Arc<CachedPlan>> {
        let cached = prepared.plan.as_ref()?;
        let same = cached.catalog_version == self.catalog().version
            && self
                .transaction
                .as_ref()
                .is_none_or(|transaction| !transaction.wrote_ddl())
            && cached.time_zone == *self.settings.time_zone()
            && cached.search_path == *self.settings.search_path();
        same.then(|| cached.clone())
    }

    /// Plans a SELECT and starts it.
    pub(super) async fn rows_of(
        &mut self,
        select: &Arc<Select>,
        parameters: &Parameters,
    ) -> Result<(Arc<[OutField]>, Batches), SqlError> {
        let planned = self.plan(select, parameters.types()).await?;
        self.rows_of_plan(&planned, select, parameters, None).await
    }

    /// `inserted`: the rows that the statement is about to insert.
    pub(super) async fn rows_of_plan(
        &mut self,
        planned: &Arc<Planned>,
        select: &Arc<Select>,
        parameters: &Parameters,
        inserted: Option<OwnRows>,
    ) -> Result<(Arc<[OutField]>, Batches), SqlError> {
        self.rows_at(planned, None, select, parameters, inserted).await
    }

    /// `reuse` is of a plan that may run again.
    async fn rows_at(
        &mut self,
        planned: &Arc<Planned>,
        reuse: Option<Arc<Reuse>>,
        select: &Arc<Select>,
        parameters: &Parameters,
        inserted: Option<OwnRows>,
    ) -> Result<(Arc<[OutField]>, Batches), SqlError> {
        // Rows that are known already are read at no position: a block that inserts has not read yet.
        let point = match inserted.is_some() && planned.relations.is_empty() {
            true => Some(self.read_point(0, HashMap::new(), parameters).await?),
            false => self.position(planned, parameters).await?,
        };
        let Some(mut point) = point else {
            // A view has moved on from the position that the block reads at: by V1 its definition, computed as a
            // batch at that position, gives the same answer.
            let types: Vec<Option<PgType>> = planned.parameter_types.iter().cloned().map(Some).collect();
            let catalog = without_views(&self.catalog());
            let planned = self.plan_in(Arc::new(catalog), select, types).await?;
            let lsn = self.transaction().read_lsn.expect("taken by `position`");
            let mut point = self.read_point(lsn, HashMap::new(), parameters).await?;
            point.inserted = inserted;
            let fields = planned.fields.clone().into();
            let batches = self.engine.query.execute(planned, point).await?;
            return Ok((fields, batches.boxed()));
        };
        point.inserted = inserted;
        let batches = self.engine.query.execute_again(planned.clone(), reuse, point).await?;
        Ok((planned.fields.clone().into(), batches.boxed()))
    }

    /// The position at which the statement reads; `None` if one of its views has moved past the block's position.
    pub(super) async fn position(
        &mut self,
        planned: &Planned,
        parameters: &Parameters,
    ) -> Result<Option<ReadPoint>, SqlError> {
        let catalog = self.catalog();
        let is_view = |oid: &&u32| matches!(catalog.relation(**oid), Some(Relation::View(view)) if view.materialized && view.recomputed.is_none());
        let views: Vec<u32> = planned.relations.iter().filter(is_view).copied().collect();
        if let Some(view) = views
            .iter()
            .find(|oid| self.engine.catalog.current().relation(**oid).is_none())
        {
            let name = catalog
                .relation(*view)
                .map_or_else(String::new, |view| view.name().to_string());
            let transaction = self.transaction.as_ref();
            if transaction.is_some_and(|own| own.new_views.iter().any(|new| new.view.oid == *view)) {
                return Err(SqlError::unsupported(
                    format!("materialized view \"{name}\" cannot be read in the transaction that creates it"),
                    "Commit first.",
                ));
            }
            return Err(
                SqlError::new(state::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"))
                    .detail("It was dropped after the transaction began."),
            );
        }
        // Parts of one statement read at one position as well.
        let explicit = self.transaction().explicit || self.batch || self.transaction().own_before.is_some();
        let fixed = self.transaction().read_lsn;
        let strict = self.settings.strict();
        if explicit && strict && fixed.is_none() {
            // Views are read there later that this statement does not name.
            let now_us = self.engine.clock.now_us();
            self.engine.views.tick_if_due(&self.engine.log, now_us).await?;
        }
        let newest = self.engine.log.newest();
        let (lsn, rows): (_, HashMap<u32, ViewRows>) = match fixed {
            Some(lsn) => {
                self.rest_on_reads(lsn, planned);
                let mut rows = HashMap::new();
                for view in views {
                    match self.engine.views.read_at(view, lsn).await? {
                        Some(read) => rows.insert(view, read),
                        None => return Ok(None),
                    };
                }
                (lsn, rows)
            }
            None if views.is_empty() => (newest, HashMap::new()),
            None if !strict => {
                self.engine.views.check_built(&views)?;
                self.engine.views.read_newest(&views, 0).await?
            }
            None => {
                let engine = &self.engine;
                let reading = engine.views.read_now(&engine.log, &engine.clock, &views, newest);
                reading.await?
            }
        };
        if explicit {
            self.transaction().read_lsn = Some(lsn);
        }
        self.rest_on_reads(lsn, planned);
        Ok(Some(self.read_point(lsn, rows, parameters).await?))
    }

    /// A serializable transaction that writes is one only if its reads still hold at its place in the log.
    fn rest_on_reads(&mut self, lsn: Lsn, planned: &Planned) {
        if self.settings.is_serializable() && !self.transaction().read_only {
            let topics = self.catalog().topics_under(&planned.relations);
            self.transaction().rests_on(lsn, topics.into_iter().map(TopicId));
        }
    }

    pub(super) async fn read_point(
        &mut self,
        lsn: Lsn,
        views: HashMap<u32, ViewRows>,
        parameters: &Parameters,
    ) -> Result<ReadPoint, SqlError> {
        self.finish_spills().await?;
        let own_before = self.transaction().own_before.clone();
        let own_writes = own_before.unwrap_or_else(|| self.transaction().all_own_rows());
        let retention_us = self.retention_us();
        let system = SystemSource::new(self);
        Ok(ReadPoint {
            lsn,
            retention_us,
            own_writes,
            inserted: None,
            views,
            system: Arc::new(move |relation| system.rows(relation)),
            parameters: query::scalars(parameters.values.iter().map(|(_, value)| value)),
            session: SessionInfo {
                log_us: self.engine.log.time(lsn),
                ..self.session_info()
            },
        })
    }

    /// The position of the clock of retention for this transaction: the rows that it reads stay for it.
    pub(super) fn retention_us(&mut self) -> i64 {
        let log = self.engine.log.clone();
        self.transaction().pin.get_or_insert_with(|| log.pin()).at_us
    }

    /// The values of functions that depend on the session and its transaction.
    pub(super) fn session_info(&mut self) -> SessionInfo {
        let now_us = self.transaction().started_us;
        let settings = self.settings.clone();
        SessionInfo {
            time_zone: self.settings.time_zone().clone(),
            user: self.user.clone(),
            database: self.database.clone(),
            search_path: self.settings.search_path().clone(),
            now_us,
            statement_us: self.engine.clock.now_us(),
            log_us: now_us,
            backend_pid: self.id(),
            setting: Arc::new(move |name| settings.get(name).ok()),
            client: self.client,
            signals: Arc::clone(&self.engine.signals),
            locks: self.locks(),
        }
    }

    pub(super) async fn copy_to(&mut self, copy: &CopyTo, parameters: &Parameters) -> Result<Outcome, SqlError> {
        let select = match &copy.source {
            CopySource::Select(select) => select.clone(),
            CopySource::Statement(statement) => {
                let outcome = match statement.as_ref() {
                    Statement::Insert(insert) => Box::pin(self.insert(insert, parameters, None)).await?,
                    Statement::With(with) => Box::pin(self.with(with, parameters, false)).await?,
                    _ => unreachable!("COPY takes these two, and a SELECT"),
                };
                let Outcome::Rows { fields, batches, .. } = outcome else {
                    return Err(SqlError::new(
                        state::FEATURE_NOT_SUPPORTED,
                        "COPY query must have a RETURNING clause",
                    ));
                };
                return Ok(Outcome::CopyOut {
                    fields,
                    batches,
                    format: copy.format.clone(),
                });
            }
            CopySource::Relation(name, columns) => {
                let catalog = self.catalog();
                if let Ok(Relation::View(view)) = self.resolve(&catalog, name)
                    && !view.materialized
                {
                    return Err(SqlError::new(
                        state::WRONG_OBJECT_TYPE,
                        format!("cannot copy from view \"{}\"", view.name),
                    )
                    .hint("Try the COPY (SELECT ...) TO variant."));
                }
                select_of(name, columns)?
            }
        };
        let (fields, batches) = self.rows_of(&select, parameters).await?;
        Ok(Outcome::CopyOut {
            fields,
            batches,
            format: copy.format.clone(),
        })
    }

    /// Parse: the types of the parameters and the columns of the answer. `parameter_oids` are the client's wishes, 0 if
    /// it has none.
    pub async fn prepare(&mut self, text: &str, parameter_oids: &[u32]) -> Result<Prepared, SqlError> {
        self.begin_statement();
        let cancel = self.cancel.clone();
        let prepared = cancel.bounds(self.parse_and_describe(text, parameter_oids)).await;
        if self
            .transaction
            .as_ref()
            .is_some_and(|transaction| !transaction.explicit)
            && !self.batch
        {
            self.transaction = None;
        }
        if prepared.is_err() {
            self.fail();
        }
        prepared
    }

    async fn parse_and_describe(&mut self, text: &str, parameter_oids: &[u32]) -> Result<Prepared, SqlError> {
        let mut statements = self.parse_text(text).await?;
        if statements.len() > 1 {
            return Err(SqlError::new(
                state::SYNTAX_ERROR,
                "cannot insert multiple commands into a prepared statement",
            ));
        }
        let Some(parsed) = statements.pop() else {
            return Ok(Prepared {
                parsed: None,
                parameter_types: [].into(),
                fields: None,
                plan: None,
                constants: Arc::default(),
            });
        };
        let given: Vec<Option<PgType>> = parameter_oids.iter().map(|oid| PgType::from_oid(*oid)).collect();
        self.describe(parsed, given).await
    }

    async fn describe(&mut self, parsed: Parsed, mut given: Vec<Option<PgType>>) -> Result<Prepared, SqlError> {
        if self.failed && !super::ends_failed_transaction(&parsed.statement) {
            return Err(super::failed_transaction());
        }
        self.check_databases(&parsed)?;
        given.resize(given.len().max(parsed.parameters), None);
        let (types, fields, plan) = self.describe_statement(&parsed.statement, given).await?;
        Ok(Prepared {
            parsed: Some(Arc::new(parsed)),
            parameter_types: types.into(),
            fields: fields.map(Into::into),
            plan: plan.map(Arc::new),
            constants: Arc::default(),
        })
    }

    #[allow(
        clippy::type_complexity,
        reason = "types of the parameters, columns of the answer, plan to keep"
    )]
    pub(super) async fn describe_statement(
        &mut self,
        statement: &Statement,
        given: Vec<Option<PgType>>,
    ) -> Result<(Vec<PgType>, Option<Vec<OutField>>, Option<CachedPlan>), SqlError> {
        let text_for_unknown = |given: &[Option<PgType>]| {
            given
                .iter()
                .map(|t| t.clone().unwrap_or(PgType::Text))
                .collect::<Vec<_>>()
        };
        match statement {
            Statement::Select(select) => {
                let rewritten = if self.may_have_effects() {
                    self.with_effects(select, None).await?
                } else {
                    None
                };
                let sets = rewritten.is_some();
                let select = rewritten.as_ref().unwrap_or(select);
                let planned = self.plan(select, given).await?;
                let fields = planned.fields.clone();
                let types = planned.parameter_types.clone();
                if sets {
                    return Ok((types, Some(fields), None));
                }
                let plan = CachedPlan {
                    reuse: Arc::default(),
                    catalog_version: self.catalog().version,
                    time_zone: self.settings.time_zone().clone(),
                    search_path: self.settings.search_path().clone(),
                    planned,
                };
                Ok((types, Some(fields), Some(plan)))
            }
            Statement::Insert(insert) => {
                let topic = self.writable_topic(&insert.into)?;
                let types = match &insert.rows {
                    InsertRows::Values(values) => {
                        let targets = super::write::target_columns(&topic, &insert.columns, &insert.into)?;
                        let exprs = self.row_exprs(&topic).await?;
                        let (values, parameters) = (values.clone(), given.len());
                        self.compute_with(given, move |ctx| {
                            let targets: Vec<TargetColumn> =
                                targets.iter().map(|column| exprs.target(*column)).collect();
                            rows::value_parameter_types(&values, &targets, parameters, ctx)
                        })
                        .await?
                    }
                    InsertRows::Select(select) => {
                        let targets = super::write::target_columns(&topic, &insert.columns, &insert.into)?;
                        let mut given = given;
                        for (number, place) in rows::column_parameters(&select.query) {
                            if let (Some(known @ None), Some(column)) = (given.get_mut(number), targets.get(place)) {
                                *known = Some(topic.columns[*column].pg_type.bare());
                            }
                        }
                        let planned = self.plan(select, given).await?;
                        planned.parameter_types.clone()
                    }
                    InsertRows::DefaultValues => text_for_unknown(&given),
                };
                if insert.returning.is_empty() {
                    return Ok((types, None, None));
                }
                let select = returning::returning_select(insert, &topic)?;
                let planned = self.plan(&select, types.into_iter().map(Some).collect()).await?;
                Ok((planned.parameter_types.clone(), Some(planned.fields.clone()), None))
            }
            Statement::With(with) => {
                let (types, fields) = self.describe_with(with, given).await?;
                Ok((types, fields, None))
            }
            Statement::Execute { name, .. } => {
                let prepared = self.statements.get(name).ok_or_else(|| unknown_statement(name))?;
                let fields = prepared.fields.as_ref().map(|fields| fields.to_vec());
                Ok((text_for_unknown(&given), fields, None))
            }
            Statement::Fetch(fetch) if !fetch.is_move => {
                Ok((text_for_unknown(&given), Some(self.cursor_fields(&fetch.cursor)?), None))
            }
            Statement::Group(GroupStatement::Consume { group, .. }) => {
                Ok((text_for_unknown(&given), Some(self.consumed_fields(group)?), None))
            }
            Statement::Show(show) => Ok((text_for_unknown(&given), Some(self.show_fields(show)), None)),
            Statement::Explain { format, .. } | Statement::ExplainView { format, .. } => {
                Ok((text_for_unknown(&given), Some(super::explain::fields(*format)), None))
            }
            _ => Ok((text_for_unknown(&given), None, None)),
        }
    }

    pub(super) async fn prepare_named(&mut self, name: &str, types: &[String], text: &str) -> Result<(), SqlError> {
        if self.statements.contains_key(name) {
            return Err(SqlError::new(
                state::DUPLICATE_PREPARED_STATEMENT,
                format!("prepared statement \"{name}\" already exists"),
            ));
        }
        let mut given = Vec::with_capacity(types.len());
        for name in types {
            // Of a parameter the modifier says nothing.
            let known = PgType::parse_written(name).map(|(pg_type, _)| pg_type);
            given.push(Some(known.ok_or_else(|| {
                SqlError::new(state::UNDEFINED_OBJECT, format!("type \"{name}\" does not exist"))
            })?));
        }
        let parsed = self
            .parse_text(text)
            .await?
            .pop()
            .ok_or_else(|| unknown_statement(name))?;
        let prepared = self.describe(parsed, given).await?;
        self.statements.insert(name.to_string(), prepared);
        Ok(())
    }

    pub(super) async fn execute_named(
        &mut self,
        name: &str,
        arguments: &[Cell],
        parameters: &Parameters,
    ) -> Result<Outcome, SqlError> {
        let prepared = self
            .statements
            .get(name)
            .cloned()
            .ok_or_else(|| unknown_statement(name))?;
        let wanted = prepared.parameter_types.len();
        if arguments.len() != wanted {
            return Err(SqlError::new(
                state::SYNTAX_ERROR,
                format!("wrong number of parameters for prepared statement \"{name}\""),
            )
            .detail(format!("Expected {wanted} parameters but got {}.", arguments.len())));
        }
        let info = self.session_info();
        let arguments = [arguments.to_vec()];
        let (types, given) = (prepared.parameter_types.clone(), parameters.values.clone());
        let evaluated = self.compute_with(Vec::new(), move |ctx| {
            // An array may have other dimensions than a list: the statement is planned again for those.
            let types: Vec<PgType> = types.iter().cloned().map(PgType::shaped).collect();
            let targets: Vec<TargetColumn> = types.iter().map(|pg_type| TargetColumn { name: "", pg_type }).collect();
            rows::evaluate_values(&arguments, &targets, &given, &info, ctx)
        });
        let values = evaluated.await?;
        let planned = prepared.parameter_types.iter().cloned().zip(values);
        let values = planned
            .map(|(pg_type, value)| match &pg_type {
                PgType::Array(item) => match to_lists(&value, item) {
                    Ok(lists) => (pg_type, lists),
                    Err(_) => (pg_type.shaped(), value),
                },
                _ => (pg_type, value),
            })
            .collect();
        let Some(parsed) = prepared.parsed.clone() else {
            return Ok(Outcome::Empty);
        };
        let bytes = self.text.len();
        let parameters = Parameters { values, bytes };
        let outcome = Box::pin(self.dispatch(&parsed.statement, &parameters, Some(&prepared))).await?;
        if let Outcome::Rows { fields, .. } = &outcome {
            prepared.check_fields(fields)?;
        }
        Ok(outcome)
    }
}

/// `SELECT columns FROM relation`, for COPY relation TO.
fn select_of(relation: &Name, columns: &[String]) -> Result<Arc<Select>, SqlError> {
    let columns: Vec<String> = columns.iter().map(|column| catalog::quote_ident(column)).collect();
    let columns = if columns.is_empty() {
        "*".to_string()
    } else {
        columns.join(", ")
    };
    let from = match &relation.schema {
        Some(schema) => catalog::quote_qualified(schema, &relation.name),
        None => catalog::quote_ident(&relation.name),
    };
    parse::only_select(&format!("SELECT {columns} FROM {from}"))
}

/// The catalog with every materialized view computed from its definition, if a SELECT names it.
fn without_views(catalog: &Snapshot) -> Snapshot {
    let mut without = catalog.clone();
    for relation in without.relations.values_mut() {
        if let Relation::View(view) = relation
            && view.materialized
        {
            Arc::make_mut(view).expand();
        }
    }
    without
}
