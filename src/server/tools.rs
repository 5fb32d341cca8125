//! The commands over a data directory that is not served: check, back up, repair. Each prints its findings.
//!
//! One rule: an exit code of 0 means that the data directory, or its copy, is whole.

use crate::catalog::{Catalog, Change, Snapshot, Topic, decode};
use crate::config::{Backup, CheckOptions, Repair};
use crate::log::{self, LostCommits, LostRows, Repaired, TopicId};
use crate::storage::RealDisk;

use super::ServerError;

/// `millstream check`: an error if something is damaged.
pub fn check(config: &CheckOptions) -> Result<(), ServerError> {
    let checked = log::check(&RealDisk::shared(), &config.data.data_dir)?;
    println!("data directory   {}", config.data.data_dir.display());
    let image = checked
        .image_lsn
        .map_or("none whole".to_string(), |lsn| format!("newest at LSN {lsn}"));
    println!("metadata images  {}, {image}", checked.images);
    let newest = checked.newest.map_or("damaged".to_string(), |lsn| {
        let stop = if checked.clean {
            "stopped cleanly"
        } else {
            "not stopped cleanly"
        };
        format!(
            "{} files, {} bytes, up to LSN {lsn}, {stop}",
            checked.wal_files, checked.wal_bytes
        )
    });
    println!("write-ahead log  {newest}");
    if let (Some(newest), false) = (checked.newest, checked.clean && checked.reached == checked.newest) {
        let known = match checked.reached {
            None => "how far it had come is not known".to_string(),
            Some(reached) => format!("it is known to have reached LSN {reached}"),
        };
        println!("                 the log ends at LSN {newest}; {known}, and nothing tells of later ones");
    }
    println!(
        "segments         {}, {} rows, {} bytes; {} files that nothing needs",
        checked.segments, checked.segment_rows, checked.segment_bytes, checked.unused_segments
    );
    for damage in &checked.damage {
        println!("damage           {damage}");
    }
    match checked.damage.len() {
        0 => println!("nothing is damaged"),
        places => return Err(ServerError::Damaged { places }),
    }
    Ok(())
}

/// `millstream backup`.
pub fn backup(config: &Backup) -> Result<(), ServerError> {
    let backed_up = log::backup(&RealDisk::shared(), &config.data.data_dir, &config.to, !config.copy)?;
    println!("backup           {}, up to LSN {}", config.to.display(), backed_up.lsn);
    println!(
        "segments         {}, {} rows; {} of them share their bytes with the data directory",
        backed_up.segments, backed_up.segment_rows, backed_up.linked
    );
    println!("size             {} bytes", backed_up.bytes);
    println!("start from it    millstream serve --data-dir {}", config.to.display());
    Ok(())
}

/// `millstream repair`: an error if something is damaged and stays so.
pub fn repair(config: &Repair) -> Result<(), ServerError> {
    let dir = &config.data.data_dir;
    let repaired = log::repair(&RealDisk::shared(), dir, config.yes)?;
    println!("data directory   {}", dir.display());
    for damage in &repaired.damage {
        println!("damage           {damage}");
    }
    let places = repaired.damage.len();
    if places == 0 {
        println!("nothing is damaged");
        return Ok(());
    }
    match repaired.image_lsn {
        Some(lsn) => println!("kept             the metadata image at LSN {lsn}, and the log after it"),
        None => println!("kept             the log, from its beginning"),
    }
    print_losses(&repaired);
    for file in &repaired.lost_files {
        println!("to {}/lost   {}", dir.display(), file.display());
    }
    if !config.yes {
        return Err(ServerError::Unrepaired { places });
    }
    println!("repaired; views are built again at the start");
    Ok(())
}

fn print_losses(repaired: &Repaired) {
    // Without the lost part the catalog may be of no use; then topics have their OIDs alone.
    let catalog = Catalog::recover(&repaired.catalog)
        .ok()
        .map(|catalog| catalog.current());
    let name = |id: TopicId| {
        let known = catalog.as_ref().and_then(|catalog| catalog.topic(id.0).cloned());
        known.map_or(format!("the topic with OID {}", id.0), |topic| {
            format!("{}.{} (OID {})", topic.schema, topic.name, id.0)
        })
    };
    if let Some(LostCommits {
        after,
        newest_seen,
        rows,
        catalog: lost_catalog,
    }) = &repaired.commits
    {
        let upto = newest_seen.map_or("how many is not known".to_string(), |lsn| {
            format!("at least up to {lsn}")
        });
        println!("lost             all commits after LSN {after}, {upto}");
        for (topic, rows) in rows {
            println!(
                "                 of them, {rows} rows of {} can be counted",
                name(*topic)
            );
        }
        for change in lost_catalog
            .iter()
            .flat_map(|(_, record)| decode(record).unwrap_or_default())
        {
            println!("                 of them, {}", lost_change(catalog.as_deref(), &change));
        }
    }
    for LostRows {
        topic,
        partition,
        first_offset,
        rows,
        first_lsn,
        last_lsn,
        first_us,
        last_us,
    } in &repaired.rows
    {
        println!(
            "lost             {rows} rows of {}, partition {partition}, offsets {first_offset} to {}; committed from {} \
             (LSN {first_lsn}) to {} (LSN {last_lsn})",
            name(*topic),
            first_offset + rows - 1,
            time(*first_us),
            time(*last_us)
        );
    }
    if repaired.commits.is_none() && repaired.rows.is_empty() {
        println!("lost             nothing");
    }
}

/// A change of the catalog that is gone, for clients that go on as if it were there.
fn lost_change(catalog: Option<&Snapshot>, change: &Change) -> String {
    match change {
        Change::CreateTopic(topic) => format!("topic {}.{}: it does not exist", topic.schema, topic.name),
        Change::CreateView(view) => format!("view {}.{}: it does not exist", view.schema, view.name),
        Change::CreateSchema { name, .. } => format!("schema {name}: it does not exist"),
        Change::CreateGroup(group) => format!("consumer group {}.{}: it does not exist", group.schema, group.name),
        Change::DropGroup { oid } => format!("the drop of the consumer group with OID {oid}: it exists again"),
        Change::DropSchema { name } => format!("the drop of schema {name}: it exists again"),
        Change::Drop { oids } => {
            let oids: Vec<String> = oids.iter().map(u32::to_string).collect();
            format!("the drop of what has OID {}: it exists again", oids.join(", "))
        }
        Change::Rename { oid, schema, name } => format!("the name {schema}.{name} of what has OID {oid}"),
        Change::RenameViewColumn { oid, name, .. } => {
            format!("the name \"{name}\" of a column of the view with OID {oid}")
        }
        Change::RenameSchema { from, to } => format!("the name {to} of schema {from}"),
        Change::Comment { oid, .. } => format!("a comment on what has OID {oid}"),
        Change::AlterTopic(topic) => {
            let name = format!("{}.{}", topic.schema, topic.name);
            let Some(kept) = catalog.and_then(|catalog| catalog.topic(topic.oid)) else {
                return format!("a change of topic {name}");
            };
            let missing = |of: &Topic, from: &Topic| -> Vec<String> {
                let names = of.columns.iter().map(|column| column.name.clone());
                let has = |name: &String| from.columns.iter().any(|column| column.name == *name);
                names
                    .filter(|name| !has(name))
                    .map(|name| format!("\"{name}\""))
                    .collect()
            };
            let (added, dropped) = (missing(topic, kept), missing(kept, topic));
            let mut said = Vec::new();
            if !added.is_empty() {
                said.push(format!(
                    "it has no column {} any more, which statements may name",
                    added.join(", ")
                ));
            }
            if !dropped.is_empty() {
                said.push(format!("it has column {} again", dropped.join(", ")));
            }
            if said.is_empty() {
                said.push("it is as it was before".to_string());
            }
            format!("a change of topic {name}: {}", said.join("; "))
        }
    }
}

/// Microseconds since 1970 as a time in UTC.
fn time(us: i64) -> String {
    chrono::DateTime::from_timestamp_micros(us).map_or(format!("{us} us"), |time| time.to_rfc3339())
}
