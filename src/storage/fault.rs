//! A disk in memory that loses unsynced bytes: the model of a power cut.
//!
//! One rule: only synced bytes must survive. At a power cut every unsynced write is cut into sectors of 512 B or
//! 4 KiB, and any subset of them survives, by seed; so do unsynced creations, renames and removals, one by one.
//! A sector holds one of the versions written to it, the newest surviving one.
//!
//! ```text
//!  current   what the running process reads back
//!  pending   operations since the last sync, oldest first
//!  durable   what is left when everything pending is lost
//! ```

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Disk, DiskFile, DiskLock, Purpose, Space};

/// The kind of a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// After the n-th operation that changes anything, every later one fails, until [`FaultDisk::reboot`].
    PowerCut,
    /// The n-th operation that changes anything fails, undone: a file is not created, renamed, removed, or a directory
    /// not synced.
    FailOperation,
    /// The n-th write fails, half done.
    FailWrite,
    /// The n-th sync of a file fails; the bytes that it should have made durable stay unsynced.
    FailSync,
    /// The n-th sync of a file fails, and later ones do not make up for it: the bytes stay readable until the
    /// power goes, and are on no disk, unless they are written again. Page caches do that.
    ForgetSync,
    /// The n-th operation that changes anything panics, as a defect of its caller would.
    Panic,
    /// The n-th write lands in the wrong place, by `seed`: at another offset or in another file. Nothing reports it.
    Misdirect { seed: u64 },
}

/// A fault and its time; `nth` counts from 1, from the call of [`FaultDisk::plan`] on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    pub kind: FaultKind,
    pub nth: u64,
}

enum Pending {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

#[derive(Default)]
struct Inode {
    durable: Vec<u8>,
    current: Vec<u8>,
    pending: Vec<Pending>,
}

enum DirChange {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, usize),
    /// Of a directory: every name in it.
    RenameDir(PathBuf, PathBuf),
}

impl DirChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            DirChange::Link(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            DirChange::Unlink(path) => {
                names.remove(path);
            }
            DirChange::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            DirChange::RenameDir(from, to) => {
                let inside = |path: &PathBuf| Some(to.join(path.strip_prefix(from).ok()?));
                let moved = names.iter().filter_map(|(path, inode)| Some((inside(path)?, *inode)));
                let moved: Vec<(PathBuf, usize)> = moved.collect();
                names.retain(|path, _| !path.starts_with(from));
                names.extend(moved);
            }
        }
    }

    fn touches(&self, dir: &Path) -> bool {
        match self {
            DirChange::Link(path, _) | DirChange::Unlink(path) => path.parent() == Some(dir),
            DirChange::Rename(from, to, _) | DirChange::RenameDir(from, to) => {
                from.parent() == Some(dir) || to.parent() == Some(dir)
            }
        }
    }
}

#[derive(Default)]
struct FaultState {
    inodes: Vec<Inode>,
    current: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    pending: Vec<DirChange>,
    locked: HashSet<PathBuf>,
    fault: Option<Fault>,
    operations: u64,
    writes: u64,
    syncs: u64,
    off: bool,
    salts: u64,
    /// `None`: more than anybody writes.
    space: Option<Space>,
    /// Nothing in it can be changed, or opened for that.
    read_only: Option<PathBuf>,
}

fn power_cut() -> io::Error {
    io::Error::other("the power is cut")
}

impl FaultState {
    /// Counts a changing operation; an error once the power is off.
    fn operation(&mut self) -> io::Result<()> {
        if self.off {
            return Err(power_cut());
        }
        self.operations += 1;
        if let Some(Fault {
            kind: FaultKind::PowerCut,
            nth,
        }) = self.fault
            && self.operations >= nth
        {
            // This one is still done, though nothing says that it lasts.
            self.off = true;
        }
        assert!(!self.fails(FaultKind::Panic, self.operations), "a planned panic");
        if self.fails(FaultKind::FailOperation, self.operations) {
            return Err(io::Error::other("a planned failure"));
        }
        Ok(())
    }

    fn fails(&self, kind: FaultKind, count: u64) -> bool {
        self.fault == Some(Fault { kind, nth: count })
    }

    /// Puts bytes meant for `offset` of a file elsewhere: into a file that has a name, within its size, at a multiple
    /// of a sector. The place that they belong to keeps its bytes, and has zeros if the file grew.
    fn misdirect(&mut self, seed: u64, inode: usize, offset: usize, bytes: Vec<u8>) {
        const SECTOR: usize = 512;
        let mut random = StdRng::seed_from_u64(seed);
        let end = offset + bytes.len();
        let grown = &mut self.inodes[inode];
        if grown.current.len() < end {
            grown.current.resize(end, 0);
            grown.pending.push(Pending::SetLen(end));
        }
        let files: Vec<usize> = self.current.values().copied().collect();
        let (target, at) = match random.random_range(0..3) {
            // The same place in another file.
            0 => (files[random.random_range(0..files.len())], offset),
            // Another place in the same file.
            1 => {
                let sectors = self.inodes[inode].current.len() / SECTOR;
                (inode, random.random_range(0..=sectors) * SECTOR)
            }
            _ => {
                let file = files[random.random_range(0..files.len())];
                let sectors = self.inodes[file].current.len() / SECTOR;
                (file, random.random_range(0..=sectors) * SECTOR)
            }
        };
        if (target, at) == (inode, offset) {
            // Lost, then.
            return;
        }
        let target = &mut self.inodes[target];
        let fits = target.current.len().saturating_sub(at).min(bytes.len());
        // It is on the medium at once: no sync was needed for it.
        for image in [&mut target.current, &mut target.durable] {
            let fits = image.len().saturating_sub(at).min(fits);
            if fits > 0 {
                image[at..at + fits].copy_from_slice(&bytes[..fits]);
            }
        }
    }

    fn change(&mut self, change: DirChange) {
        change.apply(&mut self.current);
        self.pending.push(change);
    }

    /// Takes room for a file to grow; an error if there is less.
    fn grow(&mut self, bytes: usize) -> io::Result<()> {
        if let Some(space) = &mut self.space {
            let left = space.available.checked_sub(bytes as u64);
            space.available = left.ok_or(io::ErrorKind::StorageFull)?;
        }
        Ok(())
    }

    fn writable(&self, path: &Path) -> io::Result<()> {
        match self.read_only.as_ref().is_some_and(|dir| path.starts_with(dir)) {
            true => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            false => Ok(()),
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.current
            .get(path)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// A disk in memory with faults by plan and losses by seed.
#[derive(Clone, Default)]
pub struct FaultDisk {
    state: Arc<Mutex<FaultState>>,
}

struct FaultFile {
    state: Arc<Mutex<FaultState>>,
    inode: usize,
}

struct FaultLock {
    state: Arc<Mutex<FaultState>>,
    path: PathBuf,
}

impl DiskLock for FaultLock {}

impl Drop for FaultLock {
    fn drop(&mut self) {
        self.state.lock().locked.remove(&self.path);
    }
}

impl FaultDisk {
    pub fn new() -> FaultDisk {
        FaultDisk::default()
    }

    pub fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// Bounds the room: from here on files that grow take of it, those that are removed give back.
    pub fn set_space(&self, space: Space) {
        self.state.lock().space = Some(space);
    }

    /// From here on nothing in a directory can be changed.
    pub fn set_read_only(&self, dir: &Path) {
        self.state.lock().read_only = Some(dir.to_path_buf());
    }

    /// Plans the next fault; counting starts now.
    pub fn plan(&self, fault: Fault) {
        let mut state = self.state.lock();
        (state.operations, state.writes, state.syncs) = (0, 0, 0);
        state.fault = Some(fault);
    }

    /// Changing operations since the plan (or the start).
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Writes and file syncs since the plan (or the start).
    pub fn writes_and_syncs(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.writes, state.syncs)
    }

    /// Whether the power is off or the planned fault has come.
    pub fn has_failed(&self) -> bool {
        let state = self.state.lock();
        let came = |fault: Fault| match fault.kind {
            FaultKind::PowerCut => false,
            FaultKind::FailOperation | FaultKind::Panic => state.operations >= fault.nth,
            FaultKind::FailSync | FaultKind::ForgetSync => state.syncs >= fault.nth,
            FaultKind::FailWrite | FaultKind::Misdirect { .. } => state.writes >= fault.nth,
        };
        state.off || state.fault.is_some_and(came)
    }

    /// Whether a planned power cut has happened.
    pub fn is_off(&self) -> bool {
        self.state.lock().off
    }

    /// Cuts the power now.
    pub fn cut(&self) {
        self.state.lock().off = true;
    }

    /// The disk that a restart finds after the process alone has died: all that it wrote, synced or not, and no fault
    /// planned. This one stays off.
    pub fn kill(&self) -> FaultDisk {
        let mut state = self.state.lock();
        let next = FaultState {
            inodes: std::mem::take(&mut state.inodes),
            current: std::mem::take(&mut state.current),
            durable: std::mem::take(&mut state.durable),
            pending: std::mem::take(&mut state.pending),
            salts: state.salts,
            ..FaultState::default()
        };
        state.off = true;
        FaultDisk {
            state: Arc::new(Mutex::new(next)),
        }
    }

    /// The disk that a restart after a power cut finds: everything synced, and a part by `seed` of the rest. This
    /// one stays off.
    pub fn reboot(&self, seed: u64) -> FaultDisk {
        let mut random = StdRng::seed_from_u64(seed);
        let mut state = self.state.lock();
        state.off = true;
        let sector: usize = if random.random_bool(0.5) { 512 } else { 4096 };
        let survival = [0.0, 0.1, 0.5, 0.9, 1.0][random.random_range(0..5)];
        let mut names = state.durable.clone();
        for change in &state.pending {
            if random.random_bool(survival) {
                change.apply(&mut names);
            }
        }
        let mut next = FaultState {
            salts: state.salts,
            ..FaultState::default()
        };
        for (path, inode) in names {
            let inode = &state.inodes[inode];
            let mut bytes = inode.durable.clone();
            for pending in &inode.pending {
                apply_partly(pending, &mut bytes, sector, survival, &mut random);
            }
            let index = next.inodes.len();
            next.inodes.push(Inode {
                durable: bytes.clone(),
                current: bytes,
                pending: Vec::new(),
            });
            next.current.insert(path.clone(), index);
            next.durable.insert(path, index);
        }
        FaultDisk {
            state: Arc::new(Mutex::new(next)),
        }
    }

    /// Flips one bit of a file, durably: damage of the medium.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) -> io::Result<()> {
        let mut state = self.state.lock();
        let inode = state.find(path)?;
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        let inode = &mut state.inodes[inode];
        for bytes in [&mut inode.durable, &mut inode.current] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        Ok(())
    }

    /// The content of a file as a reader sees it now.
    pub fn content(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state.lock();
        Ok(state.inodes[state.find(path)?].current.clone())
    }

    /// A copy of everything as it stands, synced, with no fault planned.
    pub fn copy(&self) -> FaultDisk {
        let state = self.state.lock();
        let mut next = FaultState {
            current: state.current.clone(),
            durable: state.current.clone(),
            salts: state.salts,
            ..FaultState::default()
        };
        next.inodes = state
            .inodes
            .iter()
            .map(|inode| Inode {
                durable: inode.current.clone(),
                current: inode.current.clone(),
                pending: Vec::new(),
            })
            .collect();
        FaultDisk {
            state: Arc::new(Mutex::new(next)),
        }
    }
}

fn write_into(bytes: &mut Vec<u8>, offset: usize, piece: &[u8]) {
    let end = offset + piece.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(piece);
}

fn apply_partly(pending: &Pending, bytes: &mut Vec<u8>, sector: usize, survival: f64, random: &mut StdRng) {
    match pending {
        Pending::SetLen(len) => {
            if random.random_bool(survival) {
                bytes.resize(*len, 0);
            }
        }
        Pending::Write { offset, bytes: written } => {
            let mut at = 0;
            while at < written.len() {
                let to_boundary = sector - (offset + at) % sector;
                let piece = &written[at..(at + to_boundary).min(written.len())];
                if random.random_bool(survival) {
                    write_into(bytes, offset + at, piece);
                }
                at += piece.len();
            }
        }
    }
}

impl Disk for FaultDisk {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        if self.state.lock().off {
            Err(power_cut())
        } else {
            Ok(())
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        if state.off {
            return Err(power_cut());
        }
        let in_dir = state.current.keys().filter(|path| path.parent() == Some(dir));
        Ok(in_dir
            .filter_map(|path| path.file_name()?.to_str().map(str::to_string))
            .collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.operation()?;
        state.writable(path)?;
        if state.current.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.change(DirChange::Link(path.to_path_buf(), inode));
        Ok(Arc::new(FaultFile {
            state: Arc::clone(&self.state),
            inode,
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.state.lock().writable(path)?;
        self.open_to_read(path)
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.state.lock();
        if state.off {
            return Err(power_cut());
        }
        let inode = state.find(path)?;
        Ok(Arc::new(FaultFile {
            state: Arc::clone(&self.state),
            inode,
        }))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operation()?;
        state.writable(from).and_then(|()| state.writable(to))?;
        let inode = state.find(from)?;
        if state.current.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.change(DirChange::Link(to.to_path_buf(), inode));
        Ok(())
    }

    fn is_vacant(&self, path: &Path) -> io::Result<bool> {
        let state = self.state.lock();
        if state.off {
            return Err(power_cut());
        }
        Ok(!state.current.keys().any(|name| name.starts_with(path)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operation()?;
        if !state.current.contains_key(from) && state.current.keys().any(|name| name.starts_with(from)) {
            if state.current.keys().any(|name| name.starts_with(to)) {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            state.change(DirChange::RenameDir(from.to_path_buf(), to.to_path_buf()));
            return Ok(());
        }
        let inode = state.find(from)?;
        state.change(DirChange::Rename(from.to_path_buf(), to.to_path_buf(), inode));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operation()?;
        state.writable(path)?;
        let inode = state.find(path)?;
        state.change(DirChange::Unlink(path.to_path_buf()));
        if !state.current.values().any(|linked| *linked == inode) {
            let bytes = state.inodes[inode].current.len() as u64;
            if let Some(space) = &mut state.space {
                space.available += bytes;
            }
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operation()?;
        let (synced, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut state.pending)
            .into_iter()
            .partition(|change| change.touches(dir));
        for change in &synced {
            change.apply(&mut state.durable);
        }
        state.pending = kept;
        Ok(())
    }

    fn lock(&self, dir: &Path, purpose: Purpose) -> io::Result<Box<dyn DiskLock>> {
        let mut state = self.state.lock();
        if purpose == Purpose::Write {
            state.writable(dir)?;
        }
        if state.off {
            return Err(power_cut());
        }
        if !state.locked.insert(dir.to_path_buf()) {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "this process"));
        }
        Ok(Box::new(FaultLock {
            state: Arc::clone(&self.state),
            path: dir.to_path_buf(),
        }))
    }

    fn space(&self, _dir: &Path) -> io::Result<Space> {
        let state = self.state.lock();
        if state.off {
            return Err(power_cut());
        }
        Ok(state.space.unwrap_or(Space {
            total: 1 << 50,
            available: 1 << 50,
        }))
    }

    fn salt(&self) -> u64 {
        let mut state = self.state.lock();
        state.salts += 1;
        StdRng::seed_from_u64(state.salts ^ (state.inodes.len() as u64) << 32).random()
    }
}

impl DiskFile for FaultFile {
    fn len(&self) -> io::Result<u64> {
        let state = self.state.lock();
        if state.off {
            return Err(power_cut());
        }
        Ok(state.inodes[self.inode].current.len() as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let state = self.state.lock();
        if state.off {
            return Err(power_cut());
        }
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        let piece = state.inodes[self.inode].current.get(at..at.saturating_add(buf.len()));
        buf.copy_from_slice(piece.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operation()?;
        state.writes += 1;
        let failed = state.fails(FaultKind::FailWrite, state.writes);
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let mut bytes = pieces.concat();
        if failed {
            bytes.truncate(bytes.len() / 2);
        }
        if let Some(Fault {
            kind: FaultKind::Misdirect { seed },
            nth,
        }) = state.fault
            && nth == state.writes
        {
            state.misdirect(seed, self.inode, offset, bytes);
            return Ok(());
        }
        let length = state.inodes[self.inode].current.len();
        state.grow((offset + bytes.len()).saturating_sub(length))?;
        let inode = &mut state.inodes[self.inode];
        write_into(&mut inode.current, offset, &bytes);
        inode.pending.push(Pending::Write { offset, bytes });
        if failed {
            return Err(io::Error::other("a planned write failure"));
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operation()?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let inode = &mut state.inodes[self.inode];
        inode.current.resize(len, 0);
        inode.pending.push(Pending::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operation()?;
        state.syncs += 1;
        if state.fails(FaultKind::FailSync, state.syncs) {
            return Err(io::Error::other("a planned sync failure"));
        }
        let forgets = state.fails(FaultKind::ForgetSync, state.syncs);
        let inode = &mut state.inodes[self.inode];
        if forgets {
            inode.pending.clear();
            return Err(io::Error::other("a planned sync failure"));
        }
        for pending in std::mem::take(&mut inode.pending) {
            match pending {
                Pending::Write { offset, bytes } => write_into(&mut inode.durable, offset, &bytes),
                Pending::SetLen(len) => inode.durable.resize(len, 0),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_cut_keeps_what_was_synced_and_any_part_of_the_rest() {
        let (mut lost, mut kept, mut torn) = (false, false, false);
        for seed in 0..200 {
            let disk = FaultDisk::new();
            let (dir, path) = (Path::new("/d"), Path::new("/d/f"));
            let file = disk.create(path).expect("new");
            file.write_at(0, &[&[1; 8192]]).expect("written");
            file.sync_data().expect("synced");
            disk.sync_dir(dir).expect("synced");
            file.write_at(4096, &[&[2; 8192]]).expect("written");
            disk.create(Path::new("/d/g")).expect("new");
            let after = disk.reboot(seed);
            assert!(file.sync_data().is_err(), "a handle from before the cut is dead");
            let bytes = after.content(path).expect("its name was synced");
            assert_eq!(bytes[..4096], [1; 4096]);
            let new = bytes[4096..].iter().filter(|b| **b == 2).count();
            lost |= new == 0;
            kept |= new == 8192;
            torn |= new > 0 && new < 8192;
            assert!(after.list(dir).expect("listed").len() <= 2);
        }
        assert!(lost && kept && torn);
    }
}
