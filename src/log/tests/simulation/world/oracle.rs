//! Questions to the log, and the answers that it must give.
//!
//! One rule: a reader gets the rows of the model, all of them, or, after damage, an error that names a file.

use std::path::PathBuf;

use rand::Rng;

use super::super::super::*;
use super::{DIR, World, group_offsets};

/// A read that is loaded later.
pub struct Held {
    /// The first offsets of the partitions then.
    starts: Vec<u64>,
    reader: Reader,
    range: (Lsn, Lsn),
    extents: Vec<Extent>,
}

impl World {
    /// The log before two images stands no longer than twice the bytes between images, through any number of crashes.
    pub fn check_size(&mut self, log: &Log, before: u64) {
        let stats = log.stats();
        self.largest_group = self.largest_group.max(stats.wal_bytes.saturating_sub(before));
        if self.options.image_after_bytes == u64::MAX || self.has_failed_flush {
            return;
        }
        let bytes_max = 2 * (self.options.image_after_bytes + self.largest_group)
            + self.options.wal_file_bytes_max.max(self.largest_group)
            // Headers and seals.
            + (24 << 10) * (self.lives + 2);
        assert!(
            stats.wal_bytes <= bytes_max,
            "the log has {} bytes, more than {bytes_max}",
            stats.wal_bytes
        );
    }

    /// Has the data directory checked.
    pub fn check_disk(&self) -> Checked {
        crate::log::check(&self.disk.copy().shared(), Path::new(DIR)).expect("nobody has it open")
    }

    /// Everything that can be asked of the log, compared with the model.
    pub fn check_all(&mut self, log: &Log) {
        let newest = log.newest();
        let at_us = log.pin().at_us;
        assert!(
            at_us <= self.retention_us,
            "the clock of retention stands {} us too far: it was set, and nothing else",
            at_us - self.retention_us
        );
        for (id, topic) in self.model.topics() {
            self.check_read(log, &Reader::of(topic.spec()), (0, newest));
            let stats = log.topic_stats(TopicId(id)).expect("the topic exists");
            self.model.check_stats(id, &stats);
            let needed_us = self.needed_us.filter(|_| id % 2 == 1);
            self.model.check_gone(id, &stats, self.retention_us, needed_us);
            assert_eq!(log.watermark(TopicId(id), newest), topic.watermark(newest));
        }
        for id in self.model.dropped() {
            let read = log.read(&Reader::of(&spec(id)), 0, newest).err();
            assert_eq!(read, Some(LogError::UnknownTopic { topic: TopicId(id) }));
        }
        assert_eq!(log.producers(), self.model.producers(), "transactions of producers");
        assert_eq!(group_offsets(log), self.model.groups(), "offsets of consumer groups");
        let next = self.model.newest() + 1;
        assert!(log.topic_stats(TopicId(self.workload.unused_topic())).is_none());
        assert_eq!(newest + 1, next, "what was put in order is published");
    }

    pub fn check_read(&self, log: &Log, reader: &Reader, (after, upto): (Lsn, Lsn)) {
        if let Some(extents) = self.extents(log, reader, (after, upto)) {
            self.check_extents(reader, (after, upto), &starts(log, reader.topic), &extents);
        }
    }

    /// The extents that a reader gets; `None` if the damage of this seed, or a disk that is off, prevents that.
    fn extents(&self, log: &Log, reader: &Reader, (after, upto): (Lsn, Lsn)) -> Option<Vec<Extent>> {
        match log.read(reader, after, upto) {
            Ok(extents) => Some(extents),
            Err(error @ LogError::Damaged { .. }) if self.damaged => {
                self.note(format!("damage was met: {error}"));
                None
            }
            Err(LogError::Io { .. }) if self.disk.is_off() => None,
            Err(error) => panic!("topic {} cannot be read: {error}", reader.topic.0),
        }
    }

    fn check_extents(&self, reader: &Reader, range: (Lsn, Lsn), starts: &[u64], extents: &[Extent]) {
        let mut damaged = false;
        let mut chunks = Vec::with_capacity(extents.len());
        for extent in extents {
            match extent.load() {
                Ok(chunk) => chunks.extend(chunk),
                Err(error @ LogError::Damaged { .. }) if self.damaged => {
                    self.note(format!("damage was met: {error}"));
                    damaged = true;
                }
                Err(LogError::Io { .. }) if self.disk.is_off() => damaged = true,
                Err(error) => panic!("rows of topic {} cannot be loaded: {error}", reader.topic.0),
            }
        }
        self.model.check_rows(reader, range, starts, &chunks, damaged);
    }

    /// Some reader of a topic that exists, and a range for it.
    fn some_read(&mut self, log: &Log) -> Option<(Reader, (Lsn, Lsn))> {
        let specs: Vec<&TopicSpec> = self.model.topics().map(|(_, topic)| topic.spec()).collect();
        if specs.is_empty() {
            return None;
        }
        let mut reader = Reader::of(specs[self.random.random_range(0..specs.len())]);
        let topic = reader.topic;
        let older: Vec<&Reader> = self.readers.iter().filter(|reader| reader.topic == topic).collect();
        if !older.is_empty() && self.random.random_bool(0.5) {
            reader = older[self.random.random_range(0..older.len())].clone();
        }
        if self.random.random_bool(0.3) {
            reader.since_us = Some(self.now_us - self.random.random_range(-1_000_000..20_000_000));
        }
        let upto = self.random.random_range(0..=log.newest());
        let after = match self.random.random_bool(0.5) {
            true => 0,
            false => self.random.random_range(0..=upto),
        };
        Some((reader, (after, upto)))
    }

    pub fn read(&mut self, log: &Log) {
        let Some((reader, range)) = self.some_read(log) else {
            return;
        };
        let (topic, at) = (reader.topic, range.1);
        if self.model.is_stale(&reader) {
            let refused = log.read(&reader, range.0, range.1).err();
            assert_eq!(refused, Some(LogError::StaleSchema { topic }));
        } else {
            self.check_read(log, &reader, range);
        }
        let watermark = log.watermark(topic, at);
        let expected = self.model.topic(topic.0).watermark(at);
        // Of the time before the image that a restart began with, only its own watermark is known.
        assert!(
            watermark == expected || at < self.workload.exact_from && watermark.is_none(),
            "watermark of topic {} at {at}: {watermark:?}, not {expected:?}",
            topic.0
        );
        if self.random.random_bool(0.1) {
            let ignores_dropped = self.random.random_bool(0.5);
            let now = Reader::of(self.model.topic(topic.0).spec());
            self.readers.push(Reader { ignores_dropped, ..now });
        }
    }

    pub fn hold(&mut self, log: &Log) {
        let Some((reader, range)) = self.some_read(log) else {
            return;
        };
        if self.model.is_stale(&reader) {
            return;
        }
        if let Some(extents) = self.extents(log, &reader, range) {
            self.held.push(Held {
                starts: starts(log, reader.topic),
                reader,
                range,
                extents,
            });
        }
    }

    pub fn load_held(&mut self) {
        for held in std::mem::take(&mut self.held) {
            self.check_extents(&held.reader, held.range, &held.starts, &held.extents);
        }
    }

    /// Checks that nothing unneeded is kept, after some restarts in quiet.
    pub fn check_files(&self, restarts: usize) {
        let names = |dir: &str| {
            let names = self.disk.list(&PathBuf::from(DIR).join(dir));
            names.expect("the directory exists")
        };
        let (wal, images, segments) = (names("wal"), names("meta"), names("segments"));
        assert!(images.len() <= 2, "images {images:?}");
        let temporary = wal
            .iter()
            .chain(&images)
            .chain(&segments)
            .find(|name| name.ends_with(".tmp"));
        assert_eq!(temporary, None, "a temporary file is left");
        if restarts > 1 {
            // A small file ends after two groups.
            assert!(wal.len() <= 10, "files of the log {wal:?}");
            let checked = self.check_disk();
            assert_eq!(checked.unused_segments, 0, "of segments {segments:?}");
        }
    }
}

/// The first offsets of a topic's partitions.
fn starts(log: &Log, topic: TopicId) -> Vec<u64> {
    let stats = log.topic_stats(topic).expect("the topic exists");
    stats
        .partitions
        .iter()
        .map(|partition| partition.start_offset)
        .collect()
}
