//! [`Disk`] over the operating system's files.
//!
//! One rule: `sync_data` is fdatasync and `sync_dir` is fsync of the directory; errors of either are returned, never
//! retried here (a second sync after a failed one may lie).
//!
//! New files are their owner's alone from the beginning. A directory is locked by a lock on the directory itself,
//! which cannot be swapped while it is in use, and by one on the file in it that names its holder: older servers know
//! only that.
//!
//! Small pieces of whole pages that are to be durable at once go past the page cache (O_DIRECT, O_DSYNC): one request in
//! place of a copy, a write-back and a wait. So do zeros: the pages that they leave in the cache would have to go when
//! something is written over them. Only on file systems that are known to keep that promise.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::{Disk, DiskFile, DiskLock, LOCK_NAME, Purpose, Space, fill_zeros};

/// Permissions of files and directories.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;
/// Permission bits of users other than the owner.
const OTHERS: u32 = 0o077;

/// The machine's disk.
pub struct RealDisk;

impl RealDisk {
    pub fn shared() -> Arc<dyn Disk> {
        Arc::new(RealDisk)
    }
}

struct RealFile {
    file: File,
    direct: OnceLock<Option<Direct>>,
}

/// The same file, past the page cache.
struct Direct {
    file: File,
    /// Pieces are put together here, at a multiple of [`PAGE_BYTES`].
    buffer: Mutex<Vec<u8>>,
}

/// O_DIRECT needs offsets, lengths and memory to be multiples of this, on every supported machine.
const PAGE_BYTES: usize = 4096;
/// Magic numbers of statfs(2) for ext2 to ext4, and xfs.
const DIRECT_FILE_SYSTEMS: [u64; 2] = [0xef53, 0x5846_5342];
/// More than this is written faster through the page cache than it is copied.
const DIRECT_BYTES_MAX: usize = 64 << 10;
/// Zeros that are written at once.
const DIRECT_ZEROS_BYTES: usize = 4 << 20;

impl RealFile {
    fn shared(file: File) -> Arc<dyn DiskFile> {
        Arc::new(RealFile {
            file,
            direct: OnceLock::new(),
        })
    }

    /// `None` where there is no such thing.
    fn direct(&self) -> Option<&Direct> {
        self.direct.get_or_init(|| Direct::open(&self.file)).as_ref()
    }
}

impl Direct {
    #[cfg(target_os = "linux")]
    #[allow(
        clippy::disallowed_methods,
        reason = "the one implementation of DiskFile over real files"
    )]
    fn open(file: &File) -> Option<Direct> {
        use rustix::fs::OFlags;
        use std::os::fd::AsRawFd;

        if !DIRECT_FILE_SYSTEMS.contains(&(rustix::fs::fstatfs(file).ok()?.f_type as u64)) {
            return None;
        }
        let flags = (OFlags::DIRECT | OFlags::DSYNC).bits();
        // The file may have another name by now.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let opened = OpenOptions::new().write(true).custom_flags(flags as i32).open(path);
        opened.ok().map(|file| Direct {
            file,
            buffer: Mutex::default(),
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn open(_file: &File) -> Option<Direct> {
        None
    }

    /// False if the file system wants it otherwise, which it says before it writes anything.
    fn write(&self, offset: u64, pieces: &[&[u8]], bytes: usize) -> io::Result<bool> {
        let mut buffer = self.buffer.lock();
        let start = empty(&mut buffer);
        for piece in pieces {
            buffer.extend_from_slice(piece);
        }
        is_done(self.file.write_all_at(&buffer[start..start + bytes], offset))
    }

    /// The same for zeros over `from..to`, which are whole pages.
    fn write_zeros(&self, from: u64, to: u64) -> io::Result<bool> {
        let mut buffer = self.buffer.lock();
        let start = empty(&mut buffer);
        buffer.resize(start + DIRECT_BYTES_MAX, 0);
        let zeros = [IoSlice::new(&buffer[start..]); DIRECT_ZEROS_BYTES / DIRECT_BYTES_MAX];
        let mut at = from;
        while at < to {
            let left = usize::try_from(to - at).map_or(DIRECT_ZEROS_BYTES, |left| left.min(DIRECT_ZEROS_BYTES));
            let (whole, rest) = (left / DIRECT_BYTES_MAX, left % DIRECT_BYTES_MAX);
            let slices = match whole {
                0 => &[IoSlice::new(&buffer[start..start + rest])],
                _ => &zeros[..whole],
            };
            match rustix::io::pwritev(&self.file, slices, at) {
                Ok(..PAGE_BYTES) => return Err(io::ErrorKind::WriteZero.into()),
                // A page that was cut short is written again.
                Ok(written) => at += (written / PAGE_BYTES * PAGE_BYTES) as u64,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return is_done(Err(error.into())),
            }
        }
        Ok(true)
    }
}

/// Empties a buffer; bytes appended up to [`DIRECT_BYTES_MAX`] begin at a multiple of [`PAGE_BYTES`], which is
/// returned.
fn empty(buffer: &mut Vec<u8>) -> usize {
    buffer.clear();
    buffer.reserve(DIRECT_BYTES_MAX + PAGE_BYTES);
    let start = buffer.as_ptr().align_offset(PAGE_BYTES);
    buffer.resize(start, 0);
    start
}

fn is_done(written: io::Result<()>) -> io::Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Unlocked when closed.
struct RealLock {
    _dir: File,
    _file: Option<File>,
}

impl DiskLock for RealLock {}

/// Locks a file or directory; `WouldBlock` if someone else has it.
fn try_lock(file: &File) -> io::Result<()> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
        TryLockError::Error(error) => error,
    })
}

#[allow(
    clippy::disallowed_methods,
    reason = "the one implementation of Disk over real files"
)]
impl RealLock {
    fn take(dir: &Path, purpose: Purpose) -> io::Result<RealLock> {
        let path = dir.join(LOCK_NAME);
        let held = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                // The holder's name is a courtesy of the message.
                let holder = std::fs::read_to_string(&path).unwrap_or_default();
                io::Error::new(io::ErrorKind::WouldBlock, holder.trim().to_string())
            }
            _ => error,
        };
        let opened = File::open(dir)?;
        match try_lock(&opened) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(held(error)),
            // Some network file systems lock no directories: there is the file, then.
            _ => {}
        }
        loop {
            let Some(mut file) = RealLock::open(&path, purpose)? else {
                return Ok(RealLock {
                    _dir: opened,
                    _file: None,
                });
            };
            try_lock(&file).map_err(held)?;
            // A lock file that was removed meanwhile keeps nobody off.
            let is_named = std::fs::metadata(&path).is_ok_and(|named| {
                file.metadata()
                    .is_ok_and(|locked| (named.dev(), named.ino()) == (locked.dev(), locked.ino()))
            });
            if !is_named {
                continue;
            }
            let written = file
                .set_len(0)
                .and_then(|()| writeln!(file, "process {}", std::process::id()));
            if purpose == Purpose::Write {
                written?;
            }
            return Ok(RealLock {
                _dir: opened,
                _file: Some(file),
            });
        }
    }

    /// The file that names the holder of the lock. A reader makes none.
    fn open(path: &Path, purpose: Purpose) -> io::Result<Option<File>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(FILE_MODE);
        if purpose == Purpose::Write {
            return options.create(true).truncate(false).open(path).map(Some);
        }
        let opened = options.open(path).or_else(|error| match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => File::open(path),
            _ => Err(error),
        });
        match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the one implementation of Disk over real files"
)]
impl Disk for RealDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(FILE_MODE);
        Ok(RealFile::shared(options.open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(RealFile::shared(file))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(RealFile::shared(File::open(path)?))
    }

    fn make_private(&self, path: &Path) -> io::Result<bool> {
        let mut permissions = std::fs::metadata(path)?.permissions();
        let mode = permissions.mode();
        if mode & OTHERS == 0 {
            return Ok(false);
        }
        permissions.set_mode(mode & !OTHERS);
        std::fs::set_permissions(path, permissions)?;
        Ok(true)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::hard_link(from, to)
    }

    fn is_vacant(&self, path: &Path) -> io::Result<bool> {
        match std::fs::read_dir(path) {
            Ok(mut entries) => Ok(entries.next().is_none()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, dir: &Path, purpose: Purpose) -> io::Result<Box<dyn DiskLock>> {
        Ok(Box::new(RealLock::take(dir, purpose)?))
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let found = rustix::fs::statvfs(dir)?;
        Ok(Space {
            total: found.f_blocks.saturating_mul(found.f_frsize),
            available: found.f_bavail.saturating_mul(found.f_frsize),
        })
    }

    fn salt(&self) -> u64 {
        rand::random()
    }
}

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        if let [one] = pieces {
            return self.file.write_all_at(one, offset);
        }
        let mut at = offset;
        // IOV_MAX is 1024 on Linux and macOS.
        for pieces in pieces.chunks(1024) {
            let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            let mut left = &mut slices[..];
            IoSlice::advance_slices(&mut left, 0);
            while !left.is_empty() {
                let written = match rustix::io::pwritev(&self.file, left, at) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => written,
                    Err(rustix::io::Errno::INTR) => continue,
                    Err(error) => return Err(error.into()),
                };
                at += written as u64;
                IoSlice::advance_slices(&mut left, written);
            }
        }
        Ok(())
    }

    fn write_synced(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
        let is_whole = offset.is_multiple_of(PAGE_BYTES as u64) && bytes.is_multiple_of(PAGE_BYTES);
        if is_whole
            && bytes <= DIRECT_BYTES_MAX
            && let Some(direct) = self.direct()
            && direct.write(offset, pieces, bytes)?
        {
            return Ok(());
        }
        self.write_at(offset, pieces)?;
        self.sync_data()
    }

    fn write_zeros(&self, from: u64, to: u64) -> io::Result<()> {
        let is_whole = from.is_multiple_of(PAGE_BYTES as u64) && to.is_multiple_of(PAGE_BYTES as u64);
        if is_whole
            && let Some(direct) = self.direct()
            && direct.write_zeros(from, to)?
        {
            return Ok(());
        }
        fill_zeros(self, from, to)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "the lock's file is meddled with")]
    fn a_second_lock_is_refused_and_names_the_holder() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join(LOCK_NAME);
        let both = [Purpose::Write, Purpose::Look];
        let lock = |purpose| RealDisk.lock(dir.path(), purpose);
        let held = lock(Purpose::Look).expect("nobody holds it");
        assert!(!path.exists(), "who only looks writes nothing");
        for purpose in both {
            let refused = lock(purpose).err().expect("it is held");
            assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        }
        drop(held);
        let held = lock(Purpose::Write).expect("free again");
        for purpose in both {
            let refused = lock(purpose).err().expect("it is held");
            assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
            assert_eq!(refused.to_string(), format!("process {}", std::process::id()));
        }
        // Without its file it is held all the same, and by one of before that locks the file alone.
        std::fs::remove_file(&path).expect("it is there");
        for purpose in both {
            let refused = lock(purpose).err().expect("it is held");
            assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        }
        assert!(!path.exists(), "none was made");
        drop(held);
        drop(lock(Purpose::Write).expect("free again"));
        let file = File::open(&path).expect("it is there");
        file.try_lock().expect("free");
        for purpose in both {
            assert_eq!(
                lock(purpose).err().map(|error| error.kind()),
                Some(io::ErrorKind::WouldBlock)
            );
        }
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "permissions are looked at")]
    fn what_is_made_is_its_owners_alone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (made, file) = (dir.path().join("a/b"), dir.path().join("a/b/c"));
        let mode = |path: &Path| std::fs::metadata(path).expect("it is there").mode() & 0o777;
        RealDisk.create_dir_all(&made).expect("made");
        RealDisk.create(&file).expect("made");
        let _lock = RealDisk.lock(&made, Purpose::Write).expect("locked");
        assert_eq!((mode(&made), mode(&file)), (0o700, 0o600));
        assert_eq!(mode(&made.join(LOCK_NAME)), 0o600);
        for (path, wide, private) in [(&made, 0o755, 0o700), (&file, 0o664, 0o600)] {
            assert!(!RealDisk.make_private(path).expect("its owner's"));
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(wide)).expect("its owner's");
            assert!(RealDisk.make_private(path).expect("its owner's"));
            assert_eq!(mode(path), private);
        }
    }

    #[test]
    fn pieces_land_one_after_another() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = RealDisk.create(&dir.path().join("f")).expect("new");
        let pieces: Vec<Vec<u8>> = (0..3000u32).map(|i| vec![i as u8; (i % 7) as usize]).collect();
        let views: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        file.write_at(5, &views).expect("written");
        let all = pieces.concat();
        let mut read = vec![0; all.len()];
        file.read_at(5, &mut read).expect("read");
        assert_eq!(read, all);
        assert_eq!(file.len().expect("length"), 5 + all.len() as u64);
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "the file's own kind is looked at")]
    fn synced_pieces_are_read_back_whatever_their_size_and_place() {
        // Beside the sources: temporary files may be in memory, which has no O_DIRECT.
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a temporary directory");
        let path = dir.path().join("f");
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file = file.expect("new");
        let is_known =
            rustix::fs::fstatfs(&file).is_ok_and(|found| DIRECT_FILE_SYSTEMS.contains(&(found.f_type as u64)));
        let file = RealFile {
            file,
            direct: OnceLock::new(),
        };
        assert_eq!(file.direct().is_some(), is_known && cfg!(target_os = "linux"));
        file.write_at(0, &[&[7; 300_000]]).expect("written");
        RealDisk.rename(&path, &dir.path().join("g")).expect("renamed");
        let mut expected = vec![7; 300_000];
        for (number, (offset, bytes)) in [
            (0, 4096),
            (4096, 65_536),
            (8192, 8192),
            (81_920, 69_632),
            (100, 4096),
            (4096, 5000),
            (299_008, 8192),
            (8192, 0),
        ]
        .into_iter()
        .enumerate()
        {
            let content: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8 ^ number as u8).collect();
            let (first, last) = content.split_at(bytes / 3);
            file.write_synced(offset as u64, &[first, &[], last]).expect("written");
            expected.resize(expected.len().max(offset + bytes), 0);
            expected[offset..offset + bytes].copy_from_slice(&content);
            let mut read = vec![0; expected.len()];
            file.read_at(0, &mut read).expect("read");
            assert!(read == expected, "{bytes} bytes at {offset}");
        }
        for (from, to) in [(4096, 8192), (64 << 10, 10 << 20), (12_288, 12_289), (5 << 20, 5 << 20)] {
            expected.resize(expected.len().max(to), 0);
            expected[from..to].fill(0);
            file.write_zeros(from as u64, to as u64).expect("written");
            let mut read = vec![0; expected.len()];
            file.read_at(0, &mut read).expect("read");
            assert!(read == expected, "zeros from {from} to {to}");
            file.write_at(0, &[&[9; 300_000]]).expect("written");
            expected[..300_000].fill(9);
        }
    }
}
