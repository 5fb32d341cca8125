//! ALTER TOPIC: columns and options, as one catalog change.
//!
//! One rule: nothing that is stored is rewritten: rows from before are read with the columns as they are now, by the
//! columns' identities; views go on with the columns that they were made with.

use std::sync::Arc;

use super::Session;
use crate::catalog::{Change, Check, Column, Snapshot, Topic};
use crate::error::{Notice, Severity, SqlError, state};
use crate::log::{TopicChange, TopicId, encode_value};
use crate::sql::plan::PlanContext;
use crate::sql::rows::{added_value, columns_in, contains_nulls, rename_column};
use crate::sql::statement::{Alteration, ObjectKind, TopicOptions};
use crate::sql::system_columns::is_system_column;

/// Options that a topic of the catalog shows, and their fields.
const RETENTION: &str = "retention";
const RETENTION_BYTES: &str = "retention_bytes";
const IDLE_TIMEOUT: &str = "idle_timeout";
const PARTITIONS: &str = "partitions";

impl Session {
    pub(super) async fn alter_topic(
        &mut self,
        kind: ObjectKind,
        topic: &Arc<Topic>,
        actions: &[Alteration],
    ) -> Result<(), SqlError> {
        let mut altered = Topic::clone(topic);
        let mut changes = Vec::new();
        for action in actions {
            match action {
                Alteration::AddColumn {
                    column,
                    if_not_exists,
                    position,
                } => self
                    .add_column(&mut altered, column, *if_not_exists)
                    .await
                    .map_err(|error| match error.position {
                        None => error.position(*position),
                        Some(_) => error,
                    })?,
                Alteration::DropColumn {
                    column,
                    if_exists,
                    cascade,
                } => changes.extend(self.drop_column(&mut altered, column, *if_exists, *cascade).await?),
                Alteration::RenameColumn { from, to, position } => {
                    let (from, to) = (from.clone(), to.clone());
                    let renamed = self.compute(move || {
                        rename(&mut altered, &from, &to)?;
                        Ok(altered)
                    });
                    altered = renamed.await.map_err(|error| match error.state {
                        state::DUPLICATE_COLUMN => error.position(*position),
                        _ => error,
                    })?;
                }
                Alteration::OwnerTo(role) => self.give(role)?,
                Alteration::RenameTo(_) | Alteration::SetSchema(_) => unreachable!("they stand alone"),
                Alteration::Set(options) => self.set_options(&mut altered, options)?,
                Alteration::Reset(names) => reset_options(&mut altered, names)?,
            }
        }
        if altered == **topic {
            return Ok(());
        }
        if altered.columns != topic.columns {
            if self.transaction().wrote_to(topic.oid) {
                return Err(SqlError::new(
                    state::OBJECT_IN_USE,
                    format!(
                        "cannot ALTER {} \"{}\" because this transaction has inserted rows into it",
                        kind.word().to_uppercase(),
                        topic.name
                    ),
                )
                .hint("Alter it first, or in a transaction of its own."));
            }
            altered.schema_id += 1;
        }
        let is_new = |column: &&Column| topic.columns.iter().all(|old| old.id != column.id);
        let mut added = altered.columns.iter().filter(is_new);
        if added.any(|column| column.not_null && column.missing.is_none()) {
            // It was checked above, but others insert meanwhile.
            self.transaction().rests_on_empty(TopicId(topic.oid));
        }
        let spec = altered.log_spec();
        // The rows that go with a column go first: views must not miss them.
        let topics = vec![TopicChange::Alter(spec)];
        changes.push(Change::AlterTopic(altered));
        self.transaction().change(changes, topics)
    }

    pub(super) fn skipping(&mut self, message: String, state: crate::error::SqlState) {
        self.notices.push(Notice {
            severity: Severity::Notice,
            report: SqlError::new(state, message),
        });
    }

    async fn add_column(&mut self, topic: &mut Topic, column: &Column, if_not_exists: bool) -> Result<(), SqlError> {
        if topic.column_index(&column.name).is_some() {
            let message = format!(
                "column \"{}\" of relation \"{}\" already exists",
                column.name, topic.name
            );
            if if_not_exists {
                self.skipping(format!("{message}, skipping"), state::DUPLICATE_COLUMN);
                return Ok(());
            }
            return Err(SqlError::new(state::DUPLICATE_COLUMN, message));
        }
        topic.columns.push(column.clone());
        topic.number_columns();
        let info = self.session_info();
        let whole = topic.clone();
        let value = self.compute_with(Vec::new(), move |ctx| added_value(&whole, &info, ctx));
        let value = value.await?;
        if column.not_null && value.is_none() && !self.is_empty(topic) {
            return Err(contains_nulls(topic, column));
        }
        let added = topic.columns.last_mut().expect("it was added");
        added.missing = value.map(|value| encode_value(&value));
        Ok(())
    }

    /// Whether a topic has never had a row.
    fn is_empty(&mut self, topic: &Topic) -> bool {
        let stats = self.engine.log.topic_stats(TopicId(topic.oid));
        let has_rows = stats.is_some_and(|stats| stats.partitions.iter().any(|partition| partition.next_offset > 0));
        !has_rows && !self.transaction().wrote_to(topic.oid)
    }

    /// Takes a column away; with CASCADE also the objects that use it. The changes come before the topic's own.
    async fn drop_column(
        &mut self,
        topic: &mut Topic,
        name: &str,
        if_exists: bool,
        cascade: bool,
    ) -> Result<Vec<Change>, SqlError> {
        let Some(index) = topic.column_index(name) else {
            let message = format!("column \"{name}\" of relation \"{}\" does not exist", topic.name);
            if if_exists {
                self.skipping(format!("{message}, skipping"), state::UNDEFINED_COLUMN);
                return Ok(Vec::new());
            }
            return Err(SqlError::new(state::UNDEFINED_COLUMN, message));
        };
        let part = match &topic.watermark {
            Some(watermark) if watermark.column == name => Some("the watermark"),
            _ if topic.partition_by.iter().any(|column| column == name) => Some("the partition key"),
            _ => None,
        };
        if let Some(part) = part {
            return Err(SqlError::new(
                state::INVALID_TABLE_DEFINITION,
                format!(
                    "cannot drop column \"{name}\" because it is part of {part} of relation \"{}\"",
                    topic.name
                ),
            ));
        }
        let (whole, dropped) = (topic.clone(), name.to_string());
        let using = self.compute_with(Vec::new(), move |ctx| using(&whole, &dropped, ctx));
        let (generated, kept) = using.await?;
        let catalog = self.catalog();
        let id = topic.columns[index].id;
        let views = views_that_use(&catalog, topic.oid, id);
        let described = format!(
            "column {name} of {} {}",
            if topic.is_table { "table" } else { "topic" },
            topic.name
        );
        let mut dependents: Vec<String> = Vec::new();
        dependents.extend(
            generated
                .iter()
                .map(|column| format!("column {column} of topic {}", topic.name)),
        );
        let order = catalog.drop_order(&views);
        let relations = order.iter().rev().filter_map(|oid| catalog.relation(*oid));
        dependents.extend(relations.map(|relation| format!("{} {}", relation.kind(), relation.name())));
        if !dependents.is_empty() && !cascade {
            let lines: Vec<String> = dependents
                .iter()
                .map(|one| format!("{one} depends on {described}"))
                .collect();
            return Err(SqlError::new(
                state::DEPENDENT_OBJECTS_STILL_EXIST,
                format!("cannot drop {described} because other objects depend on it"),
            )
            .detail(lines.join("\n"))
            .hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        for dependent in &dependents {
            self.notice(format!("drop cascades to {dependent}"));
        }
        topic.checks = kept;
        topic
            .columns
            .retain(|column| column.name != name && !generated.contains(&column.name));
        let transaction = self.transaction();
        transaction.new_views.retain(|new| !order.contains(&new.view.oid));
        transaction.dropped.extend(&order);
        Ok(match order.is_empty() {
            true => Vec::new(),
            false => vec![Change::Drop { oids: order }],
        })
    }

    fn set_options(&mut self, topic: &mut Topic, options: &TopicOptions) -> Result<(), SqlError> {
        for (name, text) in &options.given {
            match name.as_str() {
                RETENTION => topic.retention_us = options.retention_us,
                RETENTION_BYTES => topic.retention_bytes = options.retention_bytes,
                IDLE_TIMEOUT if topic.watermark.is_none() => {
                    return Err(SqlError::new(
                        state::INVALID_PARAMETER_VALUE,
                        "idle_timeout needs a watermark to advance",
                    ));
                }
                IDLE_TIMEOUT => topic.idle_timeout_us = options.idle_timeout_us,
                PARTITIONS => {
                    let partitions = options.partitions.expect("it was given");
                    if partitions < topic.partitions {
                        return Err(SqlError::new(
                            state::INVALID_PARAMETER_VALUE,
                            format!(
                                "a topic cannot have fewer partitions than before: it has {}",
                                topic.partitions
                            ),
                        ));
                    }
                    if partitions > topic.partitions && !topic.partition_by.is_empty() {
                        let columns = topic.partition_by.join(", ");
                        self.notice(format!(
                            "rows with the same ({columns}) go to another partition than before: their order across \
                             this change is that of _lsn, not of _offset"
                        ));
                    }
                    topic.partitions = partitions;
                }
                // A storage parameter, which the definition keeps.
                _ => {}
            }
            topic.options.insert(name.clone(), text.clone());
        }
        Ok(())
    }
}

/// Generated columns that read a column, and the constraints that do not: those that do go with it, as in PostgreSQL.
fn using(topic: &Topic, name: &str, ctx: &PlanContext<'_>) -> Result<(Vec<String>, Vec<Check>), SqlError> {
    let used_in = |text: &str| Ok::<bool, SqlError>(columns_in(topic, text, ctx)?.iter().any(|used| used == name));
    let mut generated = Vec::new();
    for column in topic.columns.iter().filter(|column| column.name != name) {
        if let Some(text) = &column.generated
            && used_in(text)?
        {
            generated.push(column.name.clone());
        }
    }
    let mut kept = Vec::new();
    for check in &topic.checks {
        if !used_in(&check.expr)? {
            kept.push(check.clone());
        }
    }
    Ok((generated, kept))
}

fn reset_options(topic: &mut Topic, names: &[String]) -> Result<(), SqlError> {
    for name in names {
        match name.as_str() {
            RETENTION => topic.retention_us = None,
            RETENTION_BYTES => topic.retention_bytes = None,
            IDLE_TIMEOUT => topic.idle_timeout_us = None,
            PARTITIONS if topic.partitions != 1 => {
                return Err(SqlError::new(
                    state::INVALID_PARAMETER_VALUE,
                    format!(
                        "a topic cannot have fewer partitions than before: it has {}",
                        topic.partitions
                    ),
                ));
            }
            _ => {}
        }
        topic.options.remove(name);
    }
    Ok(())
}

/// Renames a column everywhere in its topic's definition.
fn rename(topic: &mut Topic, from: &str, to: &str) -> Result<(), SqlError> {
    let Some(index) = topic.column_index(from) else {
        let message = format!("column \"{from}\" does not exist");
        return Err(SqlError::new(state::UNDEFINED_COLUMN, message));
    };
    if is_system_column(to) {
        let message = format!("column name \"{to}\" conflicts with a system column name");
        return Err(SqlError::new(state::DUPLICATE_COLUMN, message));
    }
    if topic.column_index(to).is_some() {
        let message = format!("column \"{to}\" of relation \"{}\" already exists", topic.name);
        return Err(SqlError::new(state::DUPLICATE_COLUMN, message));
    }
    topic.columns[index].name = to.to_string();
    for column in topic.partition_by.iter_mut().filter(|column| *column == from) {
        *column = to.to_string();
    }
    if let Some(watermark) = &mut topic.watermark
        && watermark.column == from
    {
        watermark.column = to.to_string();
    }
    for check in &mut topic.checks {
        check.expr = rename_column(&check.expr, from, to)?;
    }
    for text in topic.columns.iter_mut().filter_map(|column| column.generated.as_mut()) {
        *text = rename_column(text, from, to)?;
    }
    Ok(())
}

/// OIDs of the views whose definitions use a column of a topic.
fn views_that_use(catalog: &Arc<Snapshot>, topic: u32, column: u32) -> Vec<u32> {
    let views = catalog.views().filter(|view| view.depends_on.contains(&topic));
    let using = views.filter(|view| {
        let input = view.inputs.get(&topic);
        input.is_some_and(|input| input.used.contains(&column))
    });
    using.map(|view| view.oid).collect()
}
