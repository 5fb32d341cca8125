//! [`backup`]: a copy of a data directory at one LSN, of a server that runs or of one that does not.
//!
//! One rule: a directory with the copy's name is whole, checked and synced; until then it is called `NAME.partial`.
//!
//! Neither lock nor connection is needed, for nothing that an image names changes:
//!
//! 1. Read the newest image. From its position on, open the files of the log, and find where the newest of them ends:
//!    every transaction that was acknowledged before is in front of that end. Copy exactly that, and seal it.
//! 2. Link or copy the image's segments and those that commits after it adopted, write the image, check the copy as `millstream check` does, sync, rename.
//! 3. The server removes files only behind two newer images. If one vanished, begin again with the newer image;
//!    segments that are copied already are kept.
//!
//! Files of the log are never linked: they are written to. Not here: the end of a log (`recovery`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use crate::storage::{Disk, DiskFile, LOCK_NAME, Purpose};

use super::check::{check_locked, replay};
use super::flusher::{META_DIR, SEGMENTS_DIR, WAL_DIR};
use super::image::{self, Image};
use super::mark;
use super::recovery::{Whole, survey};
use super::segment;
use super::wal::{self, Position};
use super::{LogError, Lsn};

/// Attempts, each ended by files that vanish, before a backup gives up.
const ATTEMPTS: usize = 20;
/// Files are copied in pieces of this many bytes.
const PIECE_BYTES: usize = 1 << 20;

/// The content of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackedUp {
    /// Newest commit in it.
    pub lsn: Lsn,
    pub segments: u64,
    /// Of the segments, those that share their bytes with the data directory.
    pub linked: u64,
    /// Rows in segments.
    pub segment_rows: u64,
    /// Of all its files.
    pub bytes: u64,
}

/// Copies the data directory `dir`, which a server may have open, to `to`: a directory that is missing or empty, in
/// an existing one. `link` allows hard links to segments.
pub fn backup(disk: &Arc<dyn Disk>, dir: &Path, to: &Path, link: bool) -> Result<BackedUp, LogError> {
    let occupied = || LogError::Occupied { dir: to.to_path_buf() };
    let name = to.file_name().ok_or_else(occupied)?;
    let mut partial_name = name.to_os_string();
    partial_name.push(".partial");
    let partial = to.with_file_name(partial_name);
    if !disk.is_vacant(to).map_err(LogError::io("read directory", to))? {
        return Err(occupied());
    }
    let wal = dir.join(WAL_DIR);
    disk.list(&wal).map_err(LogError::io("list directory", &wal))?;
    let parent = super::directory::parent(to);
    disk.list(&parent).map_err(LogError::io("list directory", &parent))?;
    for name in ["", WAL_DIR, META_DIR, SEGMENTS_DIR] {
        let made = partial.join(name);
        disk.create_dir_all(&made)
            .map_err(LogError::io("create directory", &made))?;
    }
    let lock_path = partial.join(LOCK_NAME);
    let lock = super::directory::lock(disk.as_ref(), &partial, Purpose::Write)?;
    let copy = Copy {
        disk,
        dir,
        partial: &partial,
        link,
    };
    // Left by one that did not end.
    copy.clear()?;
    let backed_up = copy.make().inspect_err(|_| {
        // It takes room that is needed elsewhere; the next one clears it anyway.
        let _ = copy.clear();
    })?;
    remove(disk.as_ref(), &lock_path)?;
    for name in [WAL_DIR, META_DIR, SEGMENTS_DIR, ""] {
        sync_dir(disk.as_ref(), &partial.join(name))?;
    }
    disk.rename(&partial, to)
        .map_err(LogError::io("rename directory", &partial))?;
    sync_dir(disk.as_ref(), &parent)?;
    drop(lock);
    Ok(backed_up)
}

/// A backup under way.
struct Copy<'a> {
    disk: &'a Arc<dyn Disk>,
    dir: &'a Path,
    partial: &'a Path,
    link: bool,
}

impl Copy<'_> {
    /// Removes the content of the unfinished copy; an error if the directory is anything else.
    fn clear(&self) -> Result<(), LogError> {
        let disk = self.disk.as_ref();
        let mut ours = Vec::new();
        for (dir, endings) in [
            (WAL_DIR, [".wal"].as_slice()),
            (META_DIR, &[".ckpt"]),
            (SEGMENTS_DIR, &[".seg"]),
            ("", &[LOCK_NAME, mark::NAME, mark::TEMPORARY_NAME]),
        ] {
            let dir = self.partial.join(dir);
            for name in disk.list(&dir).map_err(LogError::io("list directory", &dir))? {
                if !endings.iter().any(|ending| name.ends_with(ending)) {
                    let dir = self.partial.to_path_buf();
                    return Err(LogError::Occupied { dir });
                }
                if name != LOCK_NAME {
                    ours.push(dir.join(name));
                }
            }
        }
        ours.iter().try_for_each(|path| remove(disk, path))
    }

    /// Makes the copy, all of it synced but the directories, and checks it.
    fn make(&self) -> Result<BackedUp, LogError> {
        let mut made = HashMap::new();
        for _ in 0..ATTEMPTS {
            let source = self.newest_image()?;
            let error = match self.attempt(source.as_ref(), &mut made) {
                Ok((position, needed)) => return self.finish(source.as_ref(), &made, (position, &needed)),
                Err(error) => error,
            };
            let again = self.newest_image()?;
            if again.map(|(_, bytes)| bytes) == source.map(|(_, bytes)| bytes) {
                return Err(error);
            }
            tracing::debug!(%error, "a newer metadata image came to be; the backup begins again with it");
        }
        Err(LogError::Overtaken {
            dir: self.dir.to_path_buf(),
            attempts: ATTEMPTS,
        })
    }

    /// The newest image that is whole, and its bytes; `None` if there are none yet.
    fn newest_image(&self) -> Result<Option<(Image, Vec<u8>)>, LogError> {
        let (disk, meta) = (self.disk.as_ref(), self.dir.join(META_DIR));
        let mut lsns = image::list(disk, &meta)?;
        'listed: for _ in 0..ATTEMPTS {
            let mut damage = None;
            for lsn in lsns.iter().rev() {
                let path = meta.join(image::file_name(*lsn));
                let decoded =
                    image::read_bytes(disk, &path).and_then(|bytes| Ok((image::decode(&bytes, &path)?, bytes)));
                match decoded {
                    Ok(found) => return Ok(Some(found)),
                    Err(error @ LogError::Corrupt { .. }) => damage = damage.or(Some(error)),
                    Err(error) => {
                        let now = image::list(disk, &meta)?;
                        if now == lsns {
                            return Err(error);
                        }
                        lsns = now;
                        continue 'listed;
                    }
                }
            }
            return damage.map_or(Ok(None), Err);
        }
        Err(LogError::Overtaken {
            dir: self.dir.to_path_buf(),
            attempts: ATTEMPTS,
        })
    }

    /// Copies the log after the image, the image's segments and those that the log adopts, then the image. `made` are
    /// the segments that exist already, by id, and whether they are links. Returns the end of the copy, and its
    /// segments' ids.
    fn attempt(
        &self,
        source: Option<&(Image, Vec<u8>)>,
        made: &mut HashMap<u64, bool>,
    ) -> Result<(Position, HashSet<u64>), LogError> {
        let disk = self.disk.as_ref();
        let (wal, copied_wal) = (self.dir.join(WAL_DIR), self.partial.join(WAL_DIR));
        for name in disk
            .list(&copied_wal)
            .map_err(LogError::io("list directory", &copied_wal))?
        {
            remove(disk, &copied_wal.join(name))?;
        }
        let (files, position) = survey(disk, &wal, source.map(|(image, _)| image.position))?;
        let Some((newest, older)) = files.split_last() else {
            return Err(LogError::Corrupt {
                file: wal,
                offset: 0,
                lsn: 1,
                reason: "there is no file in it".to_string(),
            });
        };
        for file in older {
            self.copy_wal(file)?;
        }
        self.seal(newest, &position)?;
        let (segments, copied) = (self.dir.join(SEGMENTS_DIR), self.partial.join(SEGMENTS_DIR));
        let mut adopted = Vec::new();
        let image = source.map(|(image, _)| image);
        replay(self.disk, self.partial, image, &mut adopted).map_err(|damage| self.in_source(damage))?;
        let infos = image.into_iter().flat_map(Image::segments);
        let infos: Vec<_> = infos.chain(adopted.iter().map(|found| &found.info)).collect();
        for info in &infos {
            if !made.contains_key(&info.id) {
                let name = segment::file_name(info.id);
                let (from, to) = (segments.join(&name), copied.join(&name));
                let linked = self.link && disk.hard_link(&from, &to).is_ok();
                if !linked {
                    let file = disk.open_to_read(&from).map_err(LogError::io("open file", &from))?;
                    let file = copy(disk, (file.as_ref(), &from), &to, info.bytes)?;
                    file.sync_data().map_err(LogError::io("sync file", &to))?;
                }
                made.insert(info.id, linked);
            }
        }
        if let Some((image, bytes)) = source {
            let path = self.partial.join(META_DIR).join(image::file_name(image.lsn()));
            let file = disk.create(&path).map_err(LogError::io("create file", &path))?;
            file.write_at(0, &[bytes]).map_err(LogError::io("write file", &path))?;
            file.sync_data().map_err(LogError::io("sync file", &path))?;
        }
        Ok((position, infos.iter().map(|info| info.id).collect()))
    }

    /// Copies a file of the log as far as it is whole.
    fn copy_wal(&self, file: &Whole) -> Result<(), LogError> {
        let (copied, path) = self.copy_whole(file)?;
        copied.sync_data().map_err(LogError::io("sync file", &path))
    }

    /// Copies the newest file of the log, and seals the copy: all of it is synced when it gets its name, so damage to
    /// any of it must be told from a torn tail.
    fn seal(&self, file: &Whole, position: &Position) -> Result<(), LogError> {
        let (copied, path) = self.copy_whole(file)?;
        wal::seal_at(copied.as_ref(), file.bytes, position).map_err(LogError::io("write file", &path))
    }

    fn copy_whole(&self, file: &Whole) -> Result<(Arc<dyn DiskFile>, PathBuf), LogError> {
        let to = self.partial.join(WAL_DIR).join(wal::file_name(file.sequence));
        let copied = copy(self.disk.as_ref(), (file.file.as_ref(), &file.path), &to, file.bytes)?;
        Ok((copied, to))
    }

    /// Checks the copy and counts its content.
    fn finish(
        &self,
        source: Option<&(Image, Vec<u8>)>,
        made: &HashMap<u64, bool>,
        (position, needed): (Position, &HashSet<u64>),
    ) -> Result<BackedUp, LogError> {
        let disk = self.disk.as_ref();
        let mut linked = 0;
        for (id, is_link) in made {
            if needed.contains(id) {
                linked += u64::from(*is_link);
            } else {
                // An earlier attempt's.
                remove(disk, &self.partial.join(SEGMENTS_DIR).join(segment::file_name(*id)))?;
            }
        }
        mark::make(disk, self.partial, position.last_lsn)?;
        let checked = check_locked(self.disk, self.partial)?;
        if let Some(damage) = checked.damage.into_iter().next() {
            return Err(self.in_source(damage));
        }
        assert_eq!(
            checked.newest,
            Some(position.last_lsn),
            "L3: a copy ends where the log was seen to end"
        );
        let image_bytes = source.map_or(0, |(_, bytes)| bytes.len() as u64);
        Ok(BackedUp {
            lsn: position.last_lsn,
            segments: checked.segments as u64,
            linked,
            segment_rows: checked.segment_rows,
            bytes: image_bytes + checked.wal_bytes + checked.segment_bytes,
        })
    }

    /// Damage in the copy came with the original: names the original's file.
    fn in_source(&self, error: LogError) -> LogError {
        let at = |file: PathBuf| match file.strip_prefix(self.partial) {
            Ok(inside) => self.dir.join(inside),
            Err(_) => file,
        };
        match error {
            LogError::Corrupt {
                file,
                offset,
                lsn,
                reason,
            } => LogError::Corrupt {
                file: at(file),
                offset,
                lsn,
                reason,
            },
            LogError::Damaged { file, offset, reason } => LogError::Damaged {
                file: at(file),
                offset,
                reason,
            },
            other => other,
        }
    }
}

/// The first `bytes` of a file as a new one, not synced.
pub(super) fn copy(
    disk: &dyn Disk,
    (file, path): (&dyn DiskFile, &Path),
    to: &Path,
    bytes: u64,
) -> Result<Arc<dyn DiskFile>, LogError> {
    let copied = disk.create(to).map_err(LogError::io("create file", to))?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    while at < bytes {
        let length = usize::try_from(bytes - at).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        file.read_at(at, &mut piece[..length])
            .map_err(LogError::io("read file", path))?;
        copied
            .write_at(at, &[&piece[..length]])
            .map_err(LogError::io("write file", to))?;
        at += length as u64;
    }
    Ok(copied)
}

pub(super) fn remove(disk: &dyn Disk, path: &Path) -> Result<(), LogError> {
    match disk.remove(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(LogError::io("remove file", path)(error)),
        _ => Ok(()),
    }
}

pub(super) fn sync_dir(disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
    disk.sync_dir(dir).map_err(LogError::io("sync directory", dir))
}
