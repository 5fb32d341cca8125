//! [`Disk`] over the operating system's files.
//!
//! One rule: `sync_data` is fdatasync and `sync_dir` is fsync of the directory; errors of either are returned, never
//! retried here (a second sync after a failed one may lie).
//!
//! Small pieces of whole pages that are to be durable at once go past the page cache (O_DIRECT, O_DSYNC): one request in
//! place of a copy, a write-back and a wait. So do zeros: the pages that they leave in the cache would have to go when
//! something is written over them. Only on file systems of which it is known that they keep that promise.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::{Disk, DiskFile, DiskLock, Space, fill_zeros};

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

/// What O_DIRECT needs offsets, lengths and memory to be multiples of, wherever this runs.
const PAGE_BYTES: usize = 4096;
/// What statfs(2) calls ext2 to ext4, and xfs.
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
        use std::os::unix::fs::OpenOptionsExt;

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

/// Empties a buffer; what is appended up to [`DIRECT_BYTES_MAX`] begins at a multiple of [`PAGE_BYTES`], which is returned.
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

struct RealLock {
    /// Unlocked when closed.
    _file: File,
}

impl DiskLock for RealLock {}

#[allow(
    clippy::disallowed_methods,
    reason = "the one implementation of Disk over real files"
)]
impl Disk for RealDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)
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
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(RealFile::shared(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(RealFile::shared(file))
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

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who holds it is a courtesy of the message; an unreadable lock file is still a held lock.
                let _ = file.read_to_string(&mut holder);
                return Err(io::Error::new(io::ErrorKind::WouldBlock, holder.trim().to_string()));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        file.set_len(0)?;
        writeln!(file, "process {}", std::process::id())?;
        Ok(Box::new(RealLock { _file: file }))
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
    fn a_second_lock_is_refused_and_names_the_holder() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("lock");
        let held = RealDisk.lock(&path).expect("nobody holds it");
        let refused = RealDisk.lock(&path).err().expect("it is held");
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(refused.to_string(), format!("process {}", std::process::id()));
        drop(held);
        RealDisk.lock(&path).expect("free again");
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
