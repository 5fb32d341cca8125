//! The source of the system relations: the server's state as one session sees it.
//!
//! Taken when a statement first reads a system relation, once, so that the relations of a statement agree.

use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;

use super::engine::Engine;
use super::{Session, Settings};
use crate::catalog::Snapshot;
use crate::catalog::system::{
    self, CursorState, DiskState, OperatorState, PartitionState, PreparedState, ProducerState, SegmentState,
    SessionState, SettingState, SystemRelation, SystemState, TopicState, ViewState, WalState,
};
use crate::error::SqlError;
use crate::log::TopicId;
use crate::panics;

pub(super) struct SystemSource {
    engine: Arc<Engine>,
    catalog: Arc<Snapshot>,
    user: String,
    database: String,
    settings: Arc<Settings>,
    prepared: Vec<PreparedState>,
    cursors: Vec<CursorState>,
    state: OnceLock<SystemState>,
}

impl SystemSource {
    pub fn new(session: &Session) -> SystemSource {
        let prepared = session.statements.iter().map(|(name, prepared)| PreparedState {
            name: name.clone(),
            statement: prepared
                .parsed
                .as_ref()
                .map_or_else(String::new, |parsed| parsed.text.clone()),
            prepared_us: 0,
            parameter_types: prepared.parameter_types.iter().map(crate::types::PgType::oid).collect(),
            from_sql: true,
        });
        let cursors = session.cursors.iter().map(|(name, cursor)| {
            let declared = cursor.declared();
            CursorState {
                name: name.clone(),
                statement: declared.text.to_string(),
                holdable: declared.hold,
                binary: declared.binary,
                scrollable: cursor.scrolls(),
                created_us: declared.created_us,
            }
        });
        // A portal that is lent to a FETCH is among the cursors meanwhile.
        let portals = session.portals.iter();
        let portals = portals.filter(|(name, _)| !session.cursors.contains_key(*name));
        let portals = portals.map(|(name, portal)| CursorState {
            name: name.clone(),
            statement: portal
                .parsed
                .as_ref()
                .map_or_else(String::new, |parsed| parsed.text.clone()),
            holdable: false,
            binary: false,
            scrollable: false,
            created_us: portal.created_us,
        });
        SystemSource {
            engine: session.engine.clone(),
            catalog: session.catalog(),
            user: session.user.to_string(),
            database: session.database.to_string(),
            settings: session.settings.clone(),
            prepared: prepared.collect(),
            cursors: cursors.chain(portals).collect(),
            state: OnceLock::new(),
        }
    }

    pub fn rows(&self, relation: &'static SystemRelation) -> Result<RecordBatch, SqlError> {
        system::rows(relation, self.state.get_or_init(|| self.take()))
    }

    fn take(&self) -> SystemState {
        let engine = &self.engine;
        let sessions = engine.sessions().into_iter().map(|row| SessionState {
            pid: row.id,
            user: row.user,
            database: row.database,
            application_name: row.application,
            client_addr: row.client.map(|client| client.ip().to_string()),
            client_port: row.client.map(|client| i32::from(client.port())),
            started_us: row.connected_us,
            state: row.state.to_string(),
            query_started_us: row.query_started_us,
            query: row.query,
            state_changed_us: Some(row.state_changed_us),
            transaction_started_us: row.transaction_started_us,
        });
        let topics = self.catalog.topics().filter_map(|topic| {
            let stats = engine.log.topic_stats(TopicId(topic.oid))?;
            let partitions = stats
                .partitions
                .iter()
                .enumerate()
                .map(|(number, stats)| PartitionState {
                    partition: u32::try_from(number).expect("partitions are counted in u32"),
                    next_offset: stats.next_offset,
                    start_offset: stats.start_offset,
                    rows: stats.rows,
                    memory_bytes: stats.bytes,
                    segments: stats.segments,
                    segment_bytes: stats.segment_bytes,
                });
            let segments = engine.log.segments(TopicId(topic.oid));
            let segments = segments.into_iter().map(|segment| SegmentState {
                partition: segment.partition,
                id: segment.id,
                base_offset: segment.base_offset,
                rows: segment.rows,
                bytes: segment.bytes,
                first_lsn: segment.first_lsn,
                last_lsn: segment.last_lsn,
                first_append_us: segment.first_us,
                last_append_us: segment.last_us,
                schema_id: segment.schema_id,
            });
            Some(TopicState {
                oid: topic.oid,
                partitions: partitions.collect(),
                segments: segments.collect(),
                watermark_us: stats.watermark,
                newest_event_us: stats.newest_event_us,
                newest_append_us: stats.newest_append_us,
                rows_ahead: stats.rows_ahead,
            })
        });
        let views = engine.views.stats().into_iter().map(|stats| ViewState {
            oid: stats.oid,
            status: stats.status.name().to_string(),
            reason: stats.reason,
            frontier: Some(stats.frontier),
            rows: Some(stats.rows),
            state_bytes: Some(stats.state_bytes),
            watermark_us: stats.watermark,
            late_rows: stats.late_rows,
        });
        let operators = engine.views.operators();
        let operators = operators.iter().map(|operator| OperatorState {
            view: operator.view,
            number: operator.number,
            consumers: operator.consumers.clone(),
            description: operator.description.clone(),
            rows_in: operator.rows_in,
            rows_out: operator.rows_out,
            state_rows: operator.state_rows,
            state_bytes: operator.state_bytes,
            shared_bytes: operator.shared_bytes(),
            shared_with: operator.shared_with(&operators),
            work_us: operator.work_us,
            late_rows: operator.late_rows,
        });
        let settings = self.settings.all().into_iter().map(|shown| SettingState {
            name: shown.name,
            value: Some(shown.plain),
            unit: shown.unit.map(str::to_string),
            category: shown.category.to_string(),
            description: shown.description.to_string(),
            context: shown.context.to_string(),
            kind: shown.kind.to_string(),
            source: shown.source.to_string(),
            default: shown.default.map(str::to_string),
            reset: shown.reset,
            min: shown.min.map(str::to_string),
            max: shown.max.map(str::to_string),
            allowed: shown
                .allowed
                .map(|values| values.into_iter().map(str::to_string).collect()),
        });
        let producers = engine.log.producers().into_iter().filter_map(|(name, known)| {
            let newest = known.last()?;
            Some(ProducerState {
                name,
                sequence: newest.sequence,
                lsn: newest.lsn,
                rows: newest.rows,
            })
        });
        let view_memory = engine.views.memory();
        let log = engine.log.stats();
        SystemState {
            snapshot: self.catalog.clone(),
            database: self.database.clone(),
            user: self.user.clone(),
            search_path: self.settings.search_path().to_vec(),
            sessions: sessions.collect(),
            topics: topics.collect(),
            views: views.collect(),
            operators: operators.collect(),
            settings: settings.collect(),
            prepared: self.prepared.clone(),
            cursors: self.cursors.clone(),
            locks: engine.advisory.all(),
            groups: engine.groups(&self.catalog),
            producers: producers.collect(),
            wal: WalState {
                newest_lsn: log.newest,
                durable_lsn: log.durable,
                files: log.wal_files,
                bytes: log.wal_bytes,
                commits: log.commits,
                syncs: log.syncs,
                sync_latency_us: log.sync_latency_us,
                image_lsn: log.image_lsn,
                memory_bytes: log.memory_bytes,
                flush_failure: log.flush_failure,
            },
            disk: DiskState {
                path: log.disk.path.display().to_string(),
                total_bytes: log.disk.total,
                available_bytes: log.disk.available,
                mark_bytes: log.disk.mark,
                refusing: log.disk.refusing,
            },
            metrics: vec![
                ("panics", panics::count()),
                ("logins_failed", engine.counters.logins_failed.get()),
                ("connections_refused", engine.counters.connections_refused.get()),
                ("view_memory_bytes", view_memory.used),
                ("view_memory_bytes_max", view_memory.max),
            ],
        }
    }
}
