//! SHOW and DESCRIBE: settings, and lists of relations and columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Schema;

use super::Session;
use super::outcome::{Outcome, RowsTag};
use super::settings::Settings;
use crate::catalog::system::GroupPartitionState;
use crate::catalog::{Relation, RelationType, Snapshot, show_create};
use crate::error::{SqlError, state};
use crate::log::TopicId;
use crate::sql::field::OutField;
use crate::sql::statement::{ObjectKind, Show};
use crate::types::PgType;

fn field(name: &str, pg_type: PgType) -> OutField {
    OutField {
        name: name.to_string(),
        pg_type,
        typmod: None,
        table_oid: 0,
        column: 0,
    }
}

fn text<S: AsRef<str>>(values: impl IntoIterator<Item = S>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

impl Session {
    /// The columns that a SHOW answers.
    pub(super) fn show_fields(&self, show: &Show) -> Vec<OutField> {
        let names: &[(&str, PgType)] = match show {
            Show::Setting(name) => return vec![field(&Settings::canonical(name), PgType::Text)],
            Show::All => &[
                ("name", PgType::Text),
                ("setting", PgType::Text),
                ("description", PgType::Text),
            ],
            Show::Topics => &[
                ("schema", PgType::Text),
                ("name", PgType::Text),
                ("partitions", PgType::Int8),
                ("rows", PgType::Int8),
                ("watermark", PgType::Text),
            ],
            Show::MaterializedViews => &[
                ("schema", PgType::Text),
                ("name", PgType::Text),
                ("status", PgType::Text),
                ("rows", PgType::Int8),
                ("maintained", PgType::Text),
            ],
            Show::ConsumerGroups => &[
                ("schema", PgType::Text),
                ("name", PgType::Text),
                ("topic", PgType::Text),
                ("members", PgType::Int8),
                ("lag", PgType::Int8),
            ],
            Show::Views | Show::Tables => &[("schema", PgType::Text), ("name", PgType::Text)],
            Show::Schemas => &[("name", PgType::Text)],
            Show::Create(..) => &[("name", PgType::Text), ("create_statement", PgType::Text)],
            Show::Columns(_) => &[
                ("name", PgType::Text),
                ("type", PgType::Text),
                ("nullable", PgType::Bool),
                ("default", PgType::Text),
                ("extra", PgType::Text),
            ],
        };
        names
            .iter()
            .map(|(name, pg_type)| field(name, pg_type.clone()))
            .collect()
    }

    pub(super) fn show(&mut self, show: &Show) -> Result<Outcome, SqlError> {
        let catalog = self.catalog();
        let columns = match show {
            Show::Setting(name) => vec![text([self.settings.get(name)?])],
            Show::All => {
                let all = self.settings.all();
                vec![
                    text(all.iter().map(|setting| &setting.name)),
                    text(all.iter().map(|setting| &setting.value)),
                    text(all.iter().map(|setting| setting.description)),
                ]
            }
            Show::Topics => self.topics(&catalog),
            Show::MaterializedViews => self.materialized_views(&catalog),
            Show::ConsumerGroups => self.consumer_groups(&catalog),
            Show::Views => named(&catalog, |kind| kind == RelationType::View),
            Show::Tables => named(&catalog, |kind| {
                matches!(kind, RelationType::Table | RelationType::Topic)
            }),
            Show::Schemas => vec![text(catalog.schemas.keys())],
            Show::Create(kind, name) => {
                let relation = self.resolve(&catalog, name)?;
                let fits = match kind {
                    ObjectKind::Topic | ObjectKind::Table => matches!(relation, Relation::Topic(_)),
                    ObjectKind::View => relation.kind() == RelationType::View,
                    ObjectKind::MaterializedView => relation.kind() == RelationType::MaterializedView,
                    ObjectKind::Schema => false,
                };
                if !fits {
                    return Err(SqlError::new(
                        state::WRONG_OBJECT_TYPE,
                        format!("\"{}\" is a {}", relation.name(), relation.kind()),
                    ));
                }
                vec![text([relation.name()]), text([show_create(&relation, &catalog)])]
            }
            Show::Columns(name) => described(&self.resolve(&catalog, name)?),
        };
        let fields = self.show_fields(show);
        let schema = Schema::new(
            fields
                .iter()
                .map(|f| f.pg_type.field(&f.name, true))
                .collect::<Vec<_>>(),
        );
        let batch = RecordBatch::try_new(Arc::new(schema), columns).expect("columns are those of show_fields");
        Ok(Outcome::table(fields, batch, RowsTag::Fixed("SHOW")))
    }

    fn topics(&self, catalog: &Snapshot) -> Vec<ArrayRef> {
        let topics: Vec<_> = catalog.topics().filter(|topic| !topic.is_table).collect();
        let stats: Vec<_> = topics
            .iter()
            .map(|topic| self.engine.log.topic_stats(TopicId(topic.oid)))
            .collect();
        let rows = stats.iter().map(|stats| {
            let rows = stats
                .as_ref()
                .map_or(0, |stats| stats.partitions.iter().map(|p| p.rows).sum::<u64>());
            i64::try_from(rows).unwrap_or(i64::MAX)
        });
        let watermark = stats
            .iter()
            .map(|stats| stats.as_ref().and_then(|stats| stats.watermark).map(timestamp_text));
        vec![
            text(topics.iter().map(|topic| &topic.schema)),
            text(topics.iter().map(|topic| &topic.name)),
            Arc::new(Int64Array::from_iter_values(
                topics.iter().map(|topic| i64::from(topic.partitions)),
            )),
            Arc::new(Int64Array::from_iter_values(rows)),
            Arc::new(StringArray::from_iter(watermark)),
        ]
    }

    fn consumer_groups(&self, catalog: &Snapshot) -> Vec<ArrayRef> {
        let groups = self.engine.groups(catalog);
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let lags = groups
            .iter()
            .map(|group| whole(group.partitions.iter().map(GroupPartitionState::lag).sum()));
        vec![
            text(groups.iter().map(|group| &group.schema)),
            text(groups.iter().map(|group| &group.name)),
            text(groups.iter().map(|group| &group.topic)),
            Arc::new(Int64Array::from_iter_values(
                groups.iter().map(|group| whole(group.members)),
            )),
            Arc::new(Int64Array::from_iter_values(lags)),
        ]
    }

    fn materialized_views(&self, catalog: &Snapshot) -> Vec<ArrayRef> {
        let views: Vec<_> = catalog.views().filter(|view| view.materialized).collect();
        let stats = self.engine.views.stats();
        let of = |oid: u32| stats.iter().find(|stats| stats.oid == oid);
        let status = views.iter().map(|view| match of(view.oid) {
            Some(stats) => stats.status.name().to_string(),
            None => "ready".to_string(),
        });
        let rows = views
            .iter()
            .map(|view| of(view.oid).map(|s| i64::try_from(s.rows).unwrap_or(i64::MAX)));
        let how = views.iter().map(|view| match &view.recomputed {
            None => "incrementally".to_string(),
            Some(reason) => format!("recomputed when read: {reason}"),
        });
        vec![
            text(views.iter().map(|view| &view.schema)),
            text(views.iter().map(|view| &view.name)),
            text(status),
            Arc::new(Int64Array::from_iter(rows)),
            text(how),
        ]
    }
}

fn named(catalog: &Snapshot, wanted: impl Fn(RelationType) -> bool) -> Vec<ArrayRef> {
    let relations: Vec<&Relation> = catalog
        .relations
        .values()
        .filter(|relation| wanted(relation.kind()))
        .collect();
    vec![
        text(relations.iter().map(|r| r.schema())),
        text(relations.iter().map(|r| r.name())),
    ]
}

fn described(relation: &Relation) -> Vec<ArrayRef> {
    let columns = relation.columns();
    let extra = columns.iter().map(|column| {
        let mut extra = Vec::new();
        if let Some(generated) = &column.generated {
            extra.push(format!("generated always as ({generated}) stored"));
        }
        if let Relation::Topic(topic) = relation {
            if topic.partition_by.contains(&column.name) {
                extra.push("partition key".to_string());
            }
            if topic
                .watermark
                .as_ref()
                .is_some_and(|watermark| watermark.column == column.name)
            {
                extra.push("watermark".to_string());
            }
        }
        extra.join(", ")
    });
    vec![
        text(columns.iter().map(|column| &column.name)),
        text(columns.iter().map(|column| column.spelling())),
        Arc::new(BooleanArray::from_iter(
            columns.iter().map(|column| Some(!column.not_null)),
        )),
        Arc::new(StringArray::from_iter(
            columns.iter().map(|column| column.default.clone()),
        )),
        text(extra),
    ]
}

/// A watermark as text, microseconds since 1970-01-01.
fn timestamp_text(us: i64) -> String {
    chrono::DateTime::from_timestamp_micros(us).map_or_else(
        || us.to_string(),
        |time| time.format("%Y-%m-%d %H:%M:%S%.f").to_string(),
    )
}
