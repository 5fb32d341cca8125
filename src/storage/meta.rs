//! The metadata image: the catalog records, offsets and watermarks as of one LSN, for a start that wants to check
//! what it recovered.
//!
//! One rule: an image is written whole, with the LSN that it reflects, in one batch; and it is never what recovery
//! trusts: sled's flush is no fsync, so the WAL decides and the image is rebuilt from it.

use std::io;
use std::path::Path;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Next offset of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionMeta {
    pub next_offset: u64,
}

/// What the log knows of one topic at the image's LSN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicMeta {
    pub topic: u32,
    pub schema_id: u32,
    pub partitions: Vec<PartitionMeta>,
    /// Microseconds.
    pub watermark: Option<i64>,
}

/// Everything that is kept in memory beside the rows, as of one LSN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetaImage {
    pub lsn: u64,
    /// Catalog records in commit order with their LSNs; their bytes are the catalog's business.
    pub catalog: Vec<(u64, Vec<u8>)>,
    /// By topic id.
    pub topics: Vec<TopicMeta>,
}

/// Keeps one [`MetaImage`].
pub trait MetaStore: Send + Sync {
    /// `None` if nothing, or nothing readable, was saved.
    fn load(&self) -> io::Result<Option<MetaImage>>;
    fn save(&self, image: &MetaImage) -> io::Result<()>;
}

/// In sled: `lsn`, `topics`, and one key per catalog record, replaced in one batch.
pub struct SledMeta {
    db: sled::Db,
}

const LSN_KEY: &[u8] = b"lsn";
const TOPICS_KEY: &[u8] = b"topics";
const CATALOG_PREFIX: &[u8] = b"catalog/";

fn catalog_key(lsn: u64) -> Vec<u8> {
    [CATALOG_PREFIX, &lsn.to_be_bytes()].concat()
}

impl SledMeta {
    /// Opens or makes the store in `dir`. One that sled cannot read is removed and made anew: it is only an image.
    #[allow(clippy::disallowed_methods, reason = "sled opens its own files")]
    pub fn open(dir: &Path) -> io::Result<SledMeta> {
        let open = || {
            sled::Config::new()
                .path(dir)
                .cache_capacity(4 << 20)
                .flush_every_ms(None)
                .open()
        };
        match open() {
            Ok(db) => Ok(SledMeta { db }),
            Err(_) => {
                if dir.exists() {
                    std::fs::remove_dir_all(dir)?;
                }
                Ok(SledMeta { db: open()? })
            }
        }
    }
}

impl MetaStore for SledMeta {
    fn load(&self) -> io::Result<Option<MetaImage>> {
        let Some(lsn) = self.db.get(LSN_KEY)? else {
            return Ok(None);
        };
        let Ok(lsn) = <[u8; 8]>::try_from(lsn.as_ref()) else {
            return Ok(None);
        };
        let Some(topics) = self.db.get(TOPICS_KEY)? else {
            return Ok(None);
        };
        let Ok(topics) = serde_json::from_slice(&topics) else {
            return Ok(None);
        };
        let mut catalog = Vec::new();
        for entry in self.db.scan_prefix(CATALOG_PREFIX) {
            let (key, record) = entry?;
            let Ok(at) = <[u8; 8]>::try_from(&key[CATALOG_PREFIX.len()..]) else {
                return Ok(None);
            };
            catalog.push((u64::from_be_bytes(at), record.to_vec()));
        }
        let lsn = u64::from_be_bytes(lsn);
        Ok(Some(MetaImage { lsn, catalog, topics }))
    }

    fn save(&self, image: &MetaImage) -> io::Result<()> {
        let mut batch = sled::Batch::default();
        for key in self.db.scan_prefix(CATALOG_PREFIX).keys() {
            let key = key?;
            let known = <[u8; 8]>::try_from(&key[CATALOG_PREFIX.len()..])
                .ok()
                .map(u64::from_be_bytes)
                .is_some_and(|lsn| image.catalog.iter().any(|(at, _)| *at == lsn));
            if !known {
                batch.remove(key);
            }
        }
        for (lsn, record) in &image.catalog {
            batch.insert(catalog_key(*lsn), record.as_slice());
        }
        let topics = serde_json::to_vec(&image.topics).map_err(io::Error::other)?;
        batch.insert(TOPICS_KEY, topics);
        batch.insert(LSN_KEY, &image.lsn.to_be_bytes());
        self.db.apply_batch(batch)?;
        self.db.flush()?;
        Ok(())
    }
}

/// In memory: what a disk without files keeps.
#[derive(Default)]
pub struct MemoryMeta {
    image: Mutex<Option<MetaImage>>,
}

impl MetaStore for MemoryMeta {
    fn load(&self) -> io::Result<Option<MetaImage>> {
        Ok(self.image.lock().clone())
    }

    fn save(&self, image: &MetaImage) -> io::Result<()> {
        *self.image.lock() = Some(image.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sled_gives_back_the_image_it_was_given() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut image = MetaImage {
            lsn: 7,
            catalog: vec![(1, b"one".to_vec()), (5, b"five".to_vec())],
            topics: vec![TopicMeta {
                topic: 16384,
                schema_id: 1,
                partitions: vec![PartitionMeta { next_offset: 3 }],
                watermark: Some(-5),
            }],
        };
        {
            let meta = SledMeta::open(dir.path()).expect("opened");
            assert_eq!(meta.load().expect("loaded"), None);
            meta.save(&image).expect("saved");
            image.lsn = 9;
            image.catalog.remove(1);
            meta.save(&image).expect("saved");
        }
        let meta = SledMeta::open(dir.path()).expect("opened again");
        assert_eq!(meta.load().expect("loaded"), Some(image));
    }
}
