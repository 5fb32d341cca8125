//! Rows of schema `millstream`: the server's own counts and lists, one relation a subject.
//!
//! One rule: every number shown here is read from the running server's state; an unknown one is NULL.

use super::value::{RowCollector, row};
use super::{GroupPartitionState, PartitionState, SystemState};
use crate::catalog::Relation;
use crate::log::AHEAD_US;

pub(super) fn fill(name: &str, state: &SystemState, rows: &mut RowCollector) {
    match name {
        "topics" => fill_topics(state, rows),
        "partitions" => fill_partitions(state, rows),
        "segments" => fill_segments(state, rows),
        "materialized_views" => fill_views(state, rows),
        "operators" => fill_operators(state, rows),
        "sessions" => fill_sessions(state, rows),
        "settings" => {
            for setting in &state.settings {
                rows.push(row![
                    "name" => setting.name.as_str(), "value" => setting.value.clone(), "unit" => setting.unit.clone(),
                    "context" => setting.context.as_str(), "type" => setting.kind.as_str(),
                    "source" => setting.source.as_str(), "default" => setting.default.clone(),
                    "description" => setting.description.as_str(),
                ]);
            }
        }
        "consumer_groups" => {
            for group in &state.groups {
                rows.push(row![
                    "oid" => group.oid, "schema" => group.schema.as_str(), "name" => group.name.as_str(),
                    "topic_oid" => group.topic_oid, "topic" => group.topic.as_str(), "members" => group.members,
                    "partitions" => group.partitions.len(),
                    "lag" => group.partitions.iter().map(GroupPartitionState::lag).sum::<u64>(),
                    "lost" => group.partitions.iter().map(GroupPartitionState::lost).sum::<u64>(),
                ]);
            }
        }
        "consumer_lag" => {
            for group in &state.groups {
                for partition in &group.partitions {
                    rows.push(row![
                        "group_oid" => group.oid, "schema" => group.schema.as_str(), "consumer_group" => group.name.as_str(),
                        "topic" => group.topic.as_str(), "partition" => partition.partition,
                        "committed_offset" => partition.committed_offset, "end_offset" => partition.end_offset,
                        "lag" => partition.lag(), "lost" => partition.lost(), "member" => partition.member,
                    ]);
                }
            }
        }
        "producers" => {
            for producer in &state.producers {
                rows.push(row![
                    "producer_id" => producer.name.as_str(), "sequence" => producer.sequence, "lsn" => producer.lsn,
                    "rows" => producer.rows,
                ]);
            }
        }
        "wal" => rows.push(row![
            "newest_lsn" => state.wal.newest_lsn, "durable_lsn" => state.wal.durable_lsn, "files" => state.wal.files,
            "bytes" => state.wal.bytes, "commits" => state.wal.commits, "syncs" => state.wal.syncs,
            "sync_latency_us" => state.wal.sync_latency_us, "image_lsn" => state.wal.image_lsn,
            "memory_bytes" => state.wal.memory_bytes, "flush_failure" => state.wal.flush_failure.clone(),
        ]),
        "disk" => rows.push(row![
            "path" => state.disk.path.as_str(), "total_bytes" => state.disk.total_bytes,
            "available_bytes" => state.disk.available_bytes, "mark_bytes" => state.disk.mark_bytes,
            "refusing" => state.disk.refusing,
        ]),
        "metrics" => {
            for (name, value) in &state.metrics {
                rows.push(row!["name" => *name, "value" => *value]);
            }
        }
        other => unreachable!("relation millstream.{other} is listed in data/ but has no rows here"),
    }
}

fn fill_topics(state: &SystemState, rows: &mut RowCollector) {
    for relation in state.snapshot.relations.values() {
        let Relation::Topic(topic) = relation else { continue };
        let now = state.topic(topic.oid);
        let partitions = now.map(|topic| topic.partitions.as_slice()).unwrap_or_default();
        let watermark = topic.watermark.as_ref();
        rows.push(row![
            "oid" => topic.oid, "schema" => topic.schema.as_str(), "name" => topic.name.as_str(),
            "columns" => topic.columns.len(), "partitions" => topic.partitions,
            "rows" => partitions.iter().map(|partition| partition.rows).sum::<u64>(),
            "bytes" => partitions.iter().map(PartitionState::bytes).sum::<u64>(),
            "event_time" => watermark.map(|watermark| watermark.column.clone()),
            "watermark_delay" => watermark.map(|watermark| watermark.delay_us),
            "max_ahead" => watermark.map(|watermark| watermark.max_ahead_us.unwrap_or(AHEAD_US)),
            "rows_ahead" => now.map_or(0, |topic| topic.rows_ahead),
            "watermark" => now.and_then(|topic| topic.watermark_us),
            "newest_event" => now.and_then(|topic| topic.newest_event_us),
            "newest_append" => now.and_then(|topic| topic.newest_append_us),
            "idle_timeout" => topic.idle_timeout_us, "retention" => topic.options.get("retention").cloned(),
            "retention_bytes" => topic.retention_bytes,
            "append_only_table" => topic.is_table, "schema_id" => topic.schema_id,
        ]);
    }
}

fn fill_partitions(state: &SystemState, rows: &mut RowCollector) {
    for relation in state.snapshot.relations.values() {
        let Relation::Topic(topic) = relation else { continue };
        let now = state.topic(topic.oid);
        for partition in now.iter().flat_map(|topic| &topic.partitions) {
            rows.push(row![
                "topic_oid" => topic.oid, "schema" => topic.schema.as_str(), "topic" => topic.name.as_str(),
                "partition" => partition.partition, "start_offset" => partition.start_offset, "next_offset" => partition.next_offset, "rows" => partition.rows,
                "bytes" => partition.bytes(), "memory_bytes" => partition.memory_bytes,
                "segments" => partition.segments, "segment_bytes" => partition.segment_bytes,
            ]);
        }
    }
}

fn fill_segments(state: &SystemState, rows: &mut RowCollector) {
    for relation in state.snapshot.relations.values() {
        let Relation::Topic(topic) = relation else { continue };
        let now = state.topic(topic.oid);
        for segment in now.iter().flat_map(|topic| &topic.segments) {
            rows.push(row![
                "topic_oid" => topic.oid, "schema" => topic.schema.as_str(), "topic" => topic.name.as_str(),
                "partition" => segment.partition, "id" => segment.id, "base_offset" => segment.base_offset,
                "rows" => segment.rows, "bytes" => segment.bytes, "first_lsn" => segment.first_lsn,
                "last_lsn" => segment.last_lsn, "first_append" => segment.first_append_us,
                "last_append" => segment.last_append_us, "schema_id" => segment.schema_id,
            ]);
        }
    }
}

fn fill_views(state: &SystemState, rows: &mut RowCollector) {
    for relation in state.snapshot.relations.values() {
        let Relation::View(view) = relation else { continue };
        if !view.materialized {
            continue;
        }
        let now = state.view(view.oid);
        let recomputed = view.recomputed.is_some();
        let frontier = if recomputed {
            Some(state.wal.newest_lsn)
        } else {
            now.and_then(|view| view.frontier)
        };
        let status = match now {
            Some(view) => view.status.as_str(),
            // Computed when it is read, so always as new as its inputs.
            None if recomputed => "ready",
            None => "unknown",
        };
        let lag = frontier.map(|frontier| state.wal.newest_lsn.saturating_sub(frontier));
        rows.push(row![
            "oid" => view.oid, "schema" => view.schema.as_str(), "name" => view.name.as_str(), "status" => status,
            "reason" => now.and_then(|view| view.reason.clone()), "frontier" => frontier, "lag_commits" => lag,
            "rows" => now.and_then(|view| view.rows), "state_bytes" => now.and_then(|view| view.state_bytes),
            "watermark" => now.and_then(|view| view.watermark_us),
            "late_rows" => now.map_or(0, |view| view.late_rows), "recomputed" => view.recomputed.clone(),
            "emit" => if view.on_window_close { "ON WINDOW CLOSE" } else { "CHANGES" },
            "definition" => view.definition_as_written(&state.snapshot),
        ]);
    }
}

/// A view that is recomputed has one operator, whose reason stands beside it.
fn fill_operators(state: &SystemState, rows: &mut RowCollector) {
    for relation in state.snapshot.relations.values() {
        let Relation::View(view) = relation else { continue };
        if let Some(reason) = &view.recomputed {
            rows.push(row![
                "view_oid" => view.oid, "schema" => view.schema.as_str(), "view" => view.name.as_str(), "operator" => 0,
                "description" => "Recomputed when it is read", "rows_in" => 0, "rows_out" => 0, "state_bytes" => 0,
                "work_time" => 0, "recomputed" => reason.as_str(),
            ]);
        }
        for operator in state.operators.iter().filter(|operator| operator.view == view.oid) {
            rows.push(row![
                "view_oid" => view.oid, "schema" => view.schema.as_str(), "view" => view.name.as_str(),
                "operator" => operator.number, "consumers" => operator.consumers.clone(),
                "description" => operator.description.as_str(), "rows_in" => operator.rows_in,
                "rows_out" => operator.rows_out, "state_rows" => operator.state_rows,
                "state_bytes" => operator.state_bytes, "shared_bytes" => operator.shared_bytes,
                "shared_with" => operator.shared_bytes.map(|_| names(state, &operator.shared_with)),
                "work_time" => operator.work_us, "late_rows" => operator.late_rows,
            ]);
        }
    }
}

/// Of relations, in order.
fn names(state: &SystemState, oids: &[u32]) -> Vec<String> {
    let relations = oids.iter().filter_map(|oid| state.snapshot.relations.get(oid));
    let mut names: Vec<String> = relations.map(|relation| relation.name().to_string()).collect();
    names.sort_unstable();
    names
}

fn fill_sessions(state: &SystemState, rows: &mut RowCollector) {
    for session in &state.sessions {
        rows.push(row![
            "pid" => session.pid, "user" => session.user.as_str(), "database" => session.database.as_str(),
            "application_name" => session.application_name.as_str(), "client_addr" => session.client_addr.clone(),
            "client_port" => session.client_port, "started" => session.started_us, "state" => session.state.as_str(),
            "state_changed" => session.state_changed_us, "transaction_started" => session.transaction_started_us,
            "query_started" => session.query_started_us, "query" => session.query.as_str(),
        ]);
    }
}
