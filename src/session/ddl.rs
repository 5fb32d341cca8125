//! CREATE, DROP, ALTER, COMMENT: from a definition to catalog changes in the transaction.
//!
//! One rule: a change is checked against the catalog that the transaction sees, and takes effect with its commit. A
//! materialized view is started after the commit that made it, and is complete when CREATE returns.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;

use super::Session;
use super::engine::Engine;
use super::outcome::Outcome;
use super::transaction::{NewView, Transaction};
use crate::catalog::{self, Change, Column, ConsumerGroup, Input, Relation, Snapshot, View};
use crate::error::{Notice, Severity, SqlError, state};
use crate::log::{Acknowledge, TopicChange, TopicId};
use crate::sql::plan::{self, PlanContext};
use crate::sql::statement::{CreateTopic, CreateView, Drop, Emit, Name, ObjectKind, Select};
use crate::sql::system_columns::TableColumn;
use crate::types::{ColumnBuilder, PgType, TimeZone};
use crate::views::{self, CompiledView};

const DAY_US: i64 = 86_400_000_000;

impl Session {
    /// The schema that a new object goes to.
    fn target_schema(&self, catalog: &Snapshot, name: &Name) -> Result<String, SqlError> {
        catalog.create_schema(name.schema.as_deref(), self.settings.search_path())
    }

    /// Whether the name is taken; with IF NOT EXISTS that is a notice and `true`.
    fn is_taken(
        &mut self,
        catalog: &Snapshot,
        schema: &str,
        name: &str,
        if_not_exists: bool,
    ) -> Result<bool, SqlError> {
        if !catalog.names.contains_key(&(schema.to_string(), name.to_string())) {
            return Ok(false);
        }
        let message = format!("relation \"{name}\" already exists");
        if !if_not_exists {
            return Err(SqlError::new(state::DUPLICATE_TABLE, message));
        }
        self.notices.push(Notice {
            severity: Severity::Notice,
            report: SqlError::new(state::DUPLICATE_TABLE, format!("{message}, skipping")),
        });
        Ok(true)
    }

    pub(super) async fn create_topic(&mut self, create: &CreateTopic) -> Result<Outcome, SqlError> {
        self.transaction();
        let catalog = self.catalog();
        let tag = if create.topic.is_table {
            "CREATE TABLE"
        } else {
            "CREATE TOPIC"
        };
        let schema = self.target_schema(&catalog, &create.name)?;
        if self.is_taken(&catalog, &schema, &create.name.name, create.if_not_exists)? {
            return Ok(Outcome::Command(tag.to_string()));
        }
        let mut topic = create.topic.clone();
        topic.oid = catalog.next_oid;
        topic.schema = schema;
        topic.name = create.name.name.clone();
        topic.number_columns();
        let checked = self.compute_with(Vec::new(), move |ctx| {
            crate::sql::rows::check_create_topic(&topic, ctx)?;
            Ok(topic)
        });
        let topic = checked.await?;
        let spec = topic.log_spec();
        self.transaction()
            .change(vec![Change::CreateTopic(topic)], vec![TopicChange::Create(spec)])?;
        if !create.append_only {
            self.notice(format!(
                "table \"{}\" has no key: rows are appended to it, and neither updated nor deleted",
                create.name.name
            ));
        }
        Ok(Outcome::Command(tag.to_string()))
    }

    pub(super) async fn create_view(&mut self, create: &CreateView) -> Result<Outcome, SqlError> {
        self.transaction();
        let catalog = self.catalog();
        let tag = if create.materialized {
            "CREATE MATERIALIZED VIEW"
        } else {
            "CREATE VIEW"
        };
        let schema = self.target_schema(&catalog, &create.name)?;
        let replaced = match catalog.names.get(&(schema.clone(), create.name.name.clone())) {
            Some(oid) if create.or_replace => Some(self.replaceable(&catalog, *oid, create)?),
            _ => None,
        };
        if replaced.is_none() && self.is_taken(&catalog, &schema, &create.name.name, create.if_not_exists)? {
            return Ok(Outcome::Command(tag.to_string()));
        }
        if create.no_data {
            self.notice("a materialized view is always complete: WITH NO DATA leaves it with its rows");
        }
        let time_zone = self.settings.time_zone().clone();
        let view = View {
            oid: catalog.next_oid,
            schema,
            name: create.name.name.clone(),
            columns: Vec::new(),
            definition: create.definition.clone(),
            on_window_close: create.select.emit == Emit::OnWindowClose,
            materialized: create.materialized,
            depends_on: Vec::new(),
            time_zone: time_zone.to_string(),
            search_path: self.settings.search_path().to_vec(),
            options: create.options.clone(),
            recomputed: None,
            inputs: BTreeMap::new(),
            names: BTreeMap::new(),
            mentions: Vec::new(),
        };
        let retention_us = self.retention_us();
        let (select, names) = (create.select.clone(), create.columns.clone());
        let defined = self.compute_with(Vec::new(), move |ctx| {
            define(view, &select, &names, &catalog, retention_us, ctx)
        });
        let (view, dataflow) = defined.await?;
        if let Some(reason) = &view.recomputed {
            self.notice(format!(
                "materialized view \"{}\" is recomputed when it is read: {reason}",
                view.name
            ));
        }
        for warning in dataflow.iter().flat_map(views::Dataflow::warnings) {
            self.notice(format!("materialized view \"{}\" {warning}", view.name));
        }
        let mut changes = Vec::new();
        if let Some(replaced) = replaced {
            changes.push(Change::Drop {
                oids: vec![replaced.oid],
            });
        }
        changes.push(Change::CreateView(view.clone()));
        let transaction = self.transaction();
        transaction.change(changes, Vec::new())?;
        if let Some(dataflow) = dataflow {
            transaction.new_views.push(NewView {
                view: Arc::new(view),
                dataflow,
            });
        }
        Ok(Outcome::Command(tag.to_string()))
    }

    /// The plain view that CREATE OR REPLACE VIEW replaces: same columns, perhaps more behind them.
    fn replaceable(&self, catalog: &Snapshot, oid: u32, create: &CreateView) -> Result<Arc<View>, SqlError> {
        match catalog.relation(oid) {
            Some(Relation::View(view)) if !view.materialized && !create.materialized => {
                if !catalog.dependents(oid).is_empty() {
                    return Err(SqlError::new(
                        state::DEPENDENT_OBJECTS_STILL_EXIST,
                        format!(
                            "cannot replace view \"{}\" because other objects depend on it",
                            view.name
                        ),
                    )
                    .hint("Drop the dependent views first, or use another name."));
                }
                Ok(view.clone())
            }
            Some(Relation::View(view)) if view.materialized && create.materialized => Err(SqlError::unsupported(
                "CREATE OR REPLACE MATERIALIZED VIEW is not supported for an existing view",
                format!("Use DROP MATERIALIZED VIEW {} and create it again.", view.name),
            )),
            _ => Err(SqlError::new(
                state::WRONG_OBJECT_TYPE,
                format!("\"{}\" is not a view", create.name.name),
            )),
        }
    }

    /// Starts a committed view; if it cannot be computed over the present rows, or the statement is cancelled, it is
    /// dropped again.
    pub(super) async fn start_view(&mut self, new: NewView) -> Result<(), SqlError> {
        // A task of its own: it clears away the view even if the session ends meanwhile.
        let ended = EndBuild {
            engine: self.engine.clone(),
            oid: new.view.oid,
        };
        let mut building = tokio::spawn(build_view(self.engine.clone(), new));
        let cancelled = tokio::select! {
            biased;
            built = &mut building => return built.unwrap_or_else(|error| Err(broken_off(error))),
            error = self.cancel.requested_after_commit() => error,
        };
        drop(ended);
        match building.await {
            // It was ready first.
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(cancelled),
            Err(error) => Err(broken_off(error)),
        }
    }

    pub(super) fn create_schema(&mut self, name: &str, if_not_exists: bool) -> Result<Outcome, SqlError> {
        self.transaction();
        let catalog = self.catalog();
        let tag = Outcome::Command("CREATE SCHEMA".to_string());
        if catalog.schemas.contains_key(name) {
            let message = format!("schema \"{name}\" already exists");
            if !if_not_exists {
                return Err(SqlError::new(state::DUPLICATE_SCHEMA, message));
            }
            self.notice(format!("{message}, skipping"));
            return Ok(tag);
        }
        check_schema_name(name)?;
        let change = Change::CreateSchema {
            oid: catalog.next_oid,
            name: name.to_string(),
        };
        self.transaction().change(vec![change], Vec::new())?;
        Ok(tag)
    }

    pub(super) fn drop_objects(&mut self, drop: &Drop) -> Result<Outcome, SqlError> {
        self.transaction();
        let tag = match drop.kind {
            ObjectKind::Topic => "DROP TOPIC",
            ObjectKind::Table => "DROP TABLE",
            ObjectKind::View => "DROP VIEW",
            ObjectKind::MaterializedView => "DROP MATERIALIZED VIEW",
            ObjectKind::Schema => "DROP SCHEMA",
        };
        for name in &drop.names {
            match drop.kind {
                ObjectKind::Schema => self.drop_schema(&name.name, drop)?,
                _ => self.drop_relation(name, drop)?,
            }
        }
        Ok(Outcome::Command(tag.to_string()))
    }

    fn drop_relation(&mut self, name: &Name, drop: &Drop) -> Result<(), SqlError> {
        let catalog = self.catalog();
        let kind = drop.kind.word();
        let Some(relation) = catalog
            .resolve(name.schema.as_deref(), &name.name, self.settings.search_path())
            .cloned()
        else {
            if drop.if_exists {
                self.notice(format!("{kind} \"{}\" does not exist, skipping", name.name));
                return Ok(());
            }
            let error = SqlError::new(
                state::UNDEFINED_TABLE,
                format!("{kind} \"{}\" does not exist", name.name),
            );
            return Err(match name.position {
                Some(position) => error.position(position),
                None => error,
            });
        };
        let fits = match &relation {
            Relation::Topic(_) => matches!(drop.kind, ObjectKind::Topic | ObjectKind::Table),
            Relation::View(view) if view.materialized => drop.kind == ObjectKind::MaterializedView,
            Relation::View(_) => drop.kind == ObjectKind::View,
        };
        if !fits {
            let right = relation.kind();
            return Err(
                SqlError::new(state::WRONG_OBJECT_TYPE, format!("\"{}\" is not a {kind}", name.name)).hint(format!(
                    "Use DROP {} to remove a {right}.",
                    right.to_string().to_uppercase()
                )),
            );
        }
        let described = format!("{} {}", relation.kind(), relation.name());
        self.drop_oids(&catalog, vec![relation.oid()], &described, drop.cascade)
    }

    fn drop_schema(&mut self, name: &str, drop: &Drop) -> Result<(), SqlError> {
        let catalog = self.catalog();
        if !catalog.schemas.contains_key(name) {
            if drop.if_exists {
                self.notice(format!("schema \"{name}\" does not exist, skipping"));
                return Ok(());
            }
            return Err(SqlError::new(
                state::INVALID_SCHEMA_NAME,
                format!("schema \"{name}\" does not exist"),
            ));
        }
        if catalog::is_fixed_schema(name) {
            return Err(SqlError::new(
                state::DEPENDENT_OBJECTS_STILL_EXIST,
                format!("cannot drop schema {name} because it is required by the database system"),
            ));
        }
        let inside: Vec<u32> = catalog
            .relations
            .values()
            .filter(|relation| relation.schema() == name)
            .map(Relation::oid)
            .collect();
        let groups: Vec<Arc<ConsumerGroup>> = catalog.groups_in(name).cloned().collect();
        let is_empty = inside.is_empty() && groups.is_empty();
        if !is_empty && !drop.cascade {
            return Err(self.still_needed(&catalog, &format!("schema {name}"), &inside, &groups));
        }
        for group in groups.iter().filter(|group| !inside.contains(&group.topic)) {
            self.drop_group(group.oid)?;
        }
        if !inside.is_empty() {
            self.drop_oids(&catalog, inside, &format!("schema {name}"), true)?;
        }
        self.transaction()
            .change(vec![Change::DropSchema { name: name.to_string() }], Vec::new())
    }

    fn still_needed(
        &self,
        catalog: &Snapshot,
        described: &str,
        dependents: &[u32],
        groups: &[Arc<ConsumerGroup>],
    ) -> SqlError {
        let lines = dependents
            .iter()
            .rev()
            .filter_map(|oid| catalog.relation(*oid))
            .map(|relation| format!("{} {} depends on {described}", relation.kind(), relation.name()));
        let groups = groups.iter();
        let lines = lines.chain(groups.map(|group| format!("consumer group {} depends on {described}", group.name)));
        SqlError::new(
            state::DEPENDENT_OBJECTS_STILL_EXIST,
            format!("cannot drop {described} because other objects depend on it"),
        )
        .detail(lines.collect::<Vec<_>>().join("\n"))
        .hint("Use DROP ... CASCADE to drop the dependent objects too.")
    }

    /// Drops the objects and, with CASCADE, all that depends on them.
    fn drop_oids(
        &mut self,
        catalog: &Snapshot,
        roots: Vec<u32>,
        described: &str,
        cascade: bool,
    ) -> Result<(), SqlError> {
        let dependents = catalog.dependents_of(&roots);
        let oids = catalog.drop_order(&roots);
        let groups = catalog.groups.values().filter(|group| oids.contains(&group.topic));
        let groups: Vec<Arc<ConsumerGroup>> = groups.cloned().collect();
        let is_needed = !dependents.is_empty() || !groups.is_empty();
        if is_needed && !cascade {
            return Err(self.still_needed(catalog, described, &dependents, &groups));
        }
        let named = dependents.iter().rev().filter_map(|oid| catalog.relation(*oid));
        let named = named.map(|relation| format!("{} {}", relation.kind(), relation.name()));
        let cascaded = named.chain(groups.iter().map(|group| format!("consumer group {}", group.name)));
        let cascaded: Vec<String> = cascaded.collect();
        for group in &groups {
            self.drop_group(group.oid)?;
        }
        match cascaded.as_slice() {
            [] => {}
            [one] => self.notice(format!("drop cascades to {one}")),
            many => {
                let mut report = SqlError::new(
                    state::SUCCESSFUL_COMPLETION,
                    format!("drop cascades to {} other objects", many.len()),
                );
                let lines: Vec<String> = many.iter().map(|one| format!("drop cascades to {one}")).collect();
                report = report.detail(lines.join("\n"));
                self.notices.push(Notice {
                    severity: Severity::Notice,
                    report,
                });
            }
        }
        let is_topic = |oid: &&u32| matches!(catalog.relation(**oid), Some(Relation::Topic(_)));
        let topics = oids
            .iter()
            .filter(is_topic)
            .map(|oid| TopicChange::Drop(TopicId(*oid)))
            .collect();
        let views: Vec<u32> = oids.iter().filter(|oid| !is_topic(oid)).copied().collect();
        let transaction = self.transaction();
        transaction.new_views.retain(|new| !oids.contains(&new.view.oid));
        transaction.change(vec![Change::Drop { oids }], topics)?;
        transaction.dropped.extend(views);
        Ok(())
    }

    pub(super) fn advance_watermark(&mut self, name: &Name, to: &str) -> Result<Outcome, SqlError> {
        let topic = self.writable_topic(name)?;
        let Some(watermark) = &topic.watermark else {
            return Err(SqlError::new(
                state::WRONG_OBJECT_TYPE,
                format!("topic \"{}\" has no watermark", topic.name),
            )
            .hint("Declare WATERMARK FOR a column in CREATE TOPIC."));
        };
        let column = topic.columns.iter().find(|column| column.name == watermark.column);
        let pg_type = &column
            .expect("the watermark column was checked when the topic was made")
            .pg_type;
        let value = timestamp_us(pg_type, to, self.settings.time_zone())?;
        let newest = self.engine.log.newest();
        if self
            .engine
            .log
            .watermark(TopicId(topic.oid), newest)
            .is_some_and(|now| now >= value)
        {
            self.notice(format!(
                "the watermark of topic \"{}\" is there already; it never goes back",
                topic.name
            ));
        } else if value > self.engine.clock.now_us().saturating_add(DAY_US) {
            self.notice(format!(
                "rows of topic \"{}\" before {to} are late from now on; this cannot be taken back",
                topic.name
            ));
        }
        self.transaction().advance(TopicId(topic.oid), value)?;
        Ok(Outcome::Command("ALTER TOPIC".to_string()))
    }

    pub(super) fn comment(
        &mut self,
        on: &Name,
        column: Option<&str>,
        text: Option<String>,
    ) -> Result<Outcome, SqlError> {
        self.transaction();
        let catalog = self.catalog();
        let relation = self.resolve(&catalog, on)?;
        let number = match column {
            None => 0,
            Some(name) => {
                let position = relation.columns().iter().position(|column| column.name == name);
                let position = position.ok_or_else(|| {
                    SqlError::new(
                        state::UNDEFINED_COLUMN,
                        format!("column \"{name}\" of relation \"{}\" does not exist", on.name),
                    )
                })?;
                u32::try_from(position + 1).expect("a relation has less than 2^32 columns")
            }
        };
        let change = Change::Comment {
            oid: relation.oid(),
            column: number,
            text,
        };
        self.transaction().change(vec![change], Vec::new())?;
        Ok(Outcome::Command("COMMENT".to_string()))
    }
}

pub(super) fn check_schema_name(name: &str) -> Result<(), SqlError> {
    if !name.starts_with("pg_") {
        return Ok(());
    }
    let message = format!("unacceptable schema name \"{name}\"");
    let detail = "The prefix \"pg_\" is reserved for system schemas.";
    Err(SqlError::new(state::RESERVED_NAME, message).detail(detail))
}

/// Completes a view by its SELECT: columns, dependencies, maintenance; and the dataflow that keeps it.
fn define(
    mut view: View,
    select: &Select,
    names: &[String],
    catalog: &Snapshot,
    retention_us: i64,
    ctx: &PlanContext<'_>,
) -> Result<(View, Option<views::Dataflow>), SqlError> {
    let planned = plan::plan_select(select, ctx)?;
    if !planned.parameter_types.is_empty() {
        return Err(SqlError::new(state::UNDEFINED_PARAMETER, "there is no parameter $1"));
    }
    view.columns = view_columns(names, &planned.fields)?;
    let has_name = |column: &&Column| TableColumn::ALL.iter().any(|system| system.name() == column.name);
    if view.materialized
        && let Some(column) = view.columns.iter().find(has_name)
    {
        return Err(SqlError::new(
            state::DUPLICATE_COLUMN,
            format!("column name \"{}\" conflicts with a system column name", column.name),
        ));
    }
    let mut incremental = false;
    if view.materialized {
        plan::check_view_definition(&planned)?;
        match views::compile(&planned, ctx.time_zone)? {
            CompiledView::Incremental(_) => incremental = true,
            CompiledView::Recompute { reason } => view.recomputed = Some(reason),
        }
    }
    view.depends_on = planned.depends_on.clone();
    view.inputs = inputs(catalog, &planned, view.materialized, retention_us)?;
    // As it will be after a restart: over the rows that it begins with.
    let planned = plan_stored(catalog, &view)?;
    let dataflow = incremental.then(|| compile_stored(&planned, &view)).transpose()?;
    view.mentions = planned.mentions;
    assert!(
        view.mentions.iter().all(|mention| {
            let written = view.definition.get(mention.start..mention.end);
            written.is_some_and(|written| !written.is_empty())
        }),
        "a relation is named within the definition: {}",
        view.definition
    );
    Ok((view, dataflow))
}

/// Ends the building of a view when dropped, if it is still being built.
struct EndBuild {
    engine: Arc<Engine>,
    oid: u32,
}

impl std::ops::Drop for EndBuild {
    fn drop(&mut self) {
        self.engine.views.end_build(&[self.oid]);
    }
}

fn broken_off(error: tokio::task::JoinError) -> SqlError {
    match error.try_into_panic() {
        Ok(panic) => crate::panics::error(&*panic),
        Err(_) => SqlError::new(
            state::ADMIN_SHUTDOWN,
            "terminating connection due to administrator command",
        ),
    }
}

/// Builds a committed view; if that fails, drops it.
async fn build_view(engine: Arc<Engine>, new: NewView) -> Result<(), SqlError> {
    let oid = new.view.oid;
    let is_there = || engine.catalog.current().relation(oid).is_some();
    let Err(error) = engine.views.create_if(oid, new.view, new.dataflow, is_there).await else {
        return Ok(());
    };
    engine.views.remove(&[oid]);
    if let Err(error) = drop_view(&engine, oid).await {
        tracing::error!(%error, "a materialized view that could not be built stays in the catalog");
    }
    Err(error)
}

/// Drops a view and all that reads it, even if others change the catalog meanwhile.
async fn drop_view(engine: &Engine, oid: u32) -> Result<(), SqlError> {
    loop {
        let catalog = engine.catalog.current();
        if catalog.relation(oid).is_none() {
            return Ok(());
        }
        let seen = engine.log.newest();
        let mut oids = catalog.dependents(oid);
        oids.push(oid);
        let mut transaction = Transaction::new(catalog, false, false, engine.clock.now_us());
        transaction.change(vec![Change::Drop { oids: oids.clone() }], Vec::new())?;
        let commit = transaction.commit(None).expect("it changes the catalog");
        match engine
            .log
            .commit(&commit, Acknowledge::Synced)
            .await
            .map_err(SqlError::from)
        {
            Ok(_) => {
                engine.views.remove(&oids);
                return Ok(());
            }
            Err(error) if error.state == state::SERIALIZATION_FAILURE => {
                engine.log.wait_published(seen + 1).await?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The dataflow of a stored view, under the settings that it was made with.
pub fn compile_view(catalog: &Snapshot, view: &View) -> Result<views::Dataflow, SqlError> {
    compile_stored(&plan_stored(catalog, view)?, view)
}

/// The plan of a stored view's text.
fn plan_stored(catalog: &Snapshot, view: &View) -> Result<plan::Planned, SqlError> {
    let seen = catalog.seen_by(view);
    let catalog = seen.as_ref().unwrap_or(catalog);
    let mut select = crate::sql::parse::only_select(&view.definition)?;
    if view.on_window_close {
        Arc::make_mut(&mut select).emit = Emit::OnWindowClose;
    }
    plan::plan_select(
        &select,
        &PlanContext {
            catalog,
            search_path: &view.search_path,
            functions_path: &view.search_path,
            time_zone: &view.time_zone,
            user: "millstream",
            database: "millstream",
            parameter_types: &[],
            text: &view.definition,
        },
    )
}

fn compile_stored(planned: &plan::Planned, view: &View) -> Result<views::Dataflow, SqlError> {
    match views::compile(planned, &view.time_zone)? {
        CompiledView::Incremental(dataflow) => Ok(dataflow),
        CompiledView::Recompute { reason } => Err(SqlError::new(
            state::INTERNAL_ERROR,
            format!(
                "materialized view \"{}\" can no longer be kept incrementally: {reason}",
                view.name
            ),
        )),
    }
}

/// The topics that a view's definition reads, as they are now.
fn inputs(
    catalog: &Snapshot,
    planned: &plan::Planned,
    materialized: bool,
    retention_us: i64,
) -> Result<BTreeMap<u32, Input>, SqlError> {
    let named = plan::column_names(&planned.plan)?;
    let direct = planned.depends_on.iter();
    // A view that is read through plain views concerns only the rows that its topics began with.
    let reached = planned.relations.iter().filter(|_| materialized);
    let topics = direct.chain(reached).filter_map(|oid| catalog.topic(*oid));
    let inputs = topics.map(|topic| {
        let used = topic.columns.iter().filter(|column| named.contains(&column.name));
        let input = Input {
            schema_id: topic.schema_id,
            columns: topic.columns.clone(),
            used: match planned.depends_on.contains(&topic.oid) {
                true => used.map(|column| column.id).collect(),
                false => Vec::new(),
            },
            since_us: topic.since_us(retention_us),
        };
        (topic.oid, input)
    });
    Ok(inputs.collect())
}

/// Names given after the view's name, else those of the SELECT; each once.
fn view_columns(names: &[String], fields: &[crate::sql::field::OutField]) -> Result<Vec<Column>, SqlError> {
    if names.len() > fields.len() {
        return Err(SqlError::new(
            state::SYNTAX_ERROR,
            "CREATE VIEW specifies more column names than columns",
        ));
    }
    let mut columns: Vec<Column> = Vec::with_capacity(fields.len());
    for (position, field) in fields.iter().enumerate() {
        let name = names.get(position).unwrap_or(&field.name).clone();
        if columns.iter().any(|column| column.name == name) {
            return Err(SqlError::new(
                state::DUPLICATE_COLUMN,
                format!("column \"{name}\" specified more than once"),
            )
            .hint("Give the columns names: SELECT ... AS name."));
        }
        let pg_type = match &field.pg_type {
            PgType::Unknown => PgType::Text,
            other => other.clone(),
        };
        let pg_type_typmod = pg_type.typmod();
        columns.push(Column {
            name,
            pg_type,
            not_null: false,
            default: None,
            generated: None,
            id: 0,
            missing: None,
            typmod: field.typmod.filter(|typmod| *typmod != pg_type_typmod),
        });
    }
    Ok(columns)
}

/// A timestamp's text as microseconds, by the input rules of the type.
pub(super) fn timestamp_us(pg_type: &PgType, text: &str, time_zone: &str) -> Result<i64, SqlError> {
    let mut builder = ColumnBuilder::new(pg_type, 1);
    if let Some(zone) = TimeZone::parse(time_zone) {
        builder = builder.with_time_zone(zone);
    }
    builder.append_text(text)?;
    let value = builder.finish();
    Ok(value.as_primitive::<TimestampMicrosecondType>().value(0))
}
