//! CPU time and written bytes of processes so far, from /proc.
//!
//! One rule: what a child that has ended used is counted with its parent's. Linux only.

#![allow(dead_code, reason = "each bench uses its own part")]

use std::fs;

/// Clock ticks per second in /proc, the same on every Linux.
const USER_HZ: f64 = 100.0;

/// User and system time of a process and its children, those that have ended included.
pub fn tree_cpu_seconds(pid: u32) -> f64 {
    let seconds = processes().map(|(its_pid, parent, fields)| match (its_pid == pid, parent == pid) {
        // User, system, and both of the children that were waited for.
        (true, _) => ticks(&fields[11..15]),
        // One of many with a few milliseconds each: ticks would lose most of it.
        (_, true) => scheduled_seconds(&format!("/proc/{its_pid}")).unwrap_or_else(|| ticks(&fields[11..13])),
        _ => 0.0,
    });
    seconds.sum()
}

/// User and system time of this process.
pub fn own_cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("/proc");
    let (_, fields) = fields(&stat).expect("as the kernel writes it");
    ticks(&fields[11..13])
}

/// Time that the calling thread was on a CPU.
pub fn thread_cpu_seconds() -> f64 {
    scheduled_seconds("/proc/thread-self").expect("a kernel that counts what threads take")
}

/// Time that the living threads of this process whose names start with `name` were on a CPU.
pub fn threads_cpu_seconds(name: &str) -> f64 {
    let threads = fs::read_dir("/proc/self/task").expect("/proc").flatten();
    let named = threads
        .filter(|thread| fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm.starts_with(name)));
    named
        .filter_map(|thread| scheduled_seconds(&thread.path().to_string_lossy()))
        .sum()
}

/// Bytes that a process and its living children have caused to be written to storage.
pub fn tree_written_bytes(pid: u32) -> u64 {
    let tree = processes().filter(|(its_pid, parent, _)| *its_pid == pid || *parent == pid);
    tree.map(|(its_pid, ..)| {
        let io = fs::read_to_string(format!("/proc/{its_pid}/io")).unwrap_or_default();
        let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
        line.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0)
    })
    .sum()
}

fn ticks(fields: &[u64]) -> f64 {
    fields.iter().sum::<u64>() as f64 / USER_HZ
}

/// To the nanosecond; of one thread, which for a process is its first.
fn scheduled_seconds(folder: &str) -> Option<f64> {
    let text = fs::read_to_string(format!("{folder}/schedstat")).ok()?;
    let nanoseconds: u64 = text.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds as f64 / 1e9)
}

/// All processes: id, parent, and what /proc says of each after the name in brackets.
fn processes() -> impl Iterator<Item = (u32, u32, Vec<u64>)> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    entries.filter_map(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (pid, fields) = fields(&stat)?;
        Some((pid, u32::try_from(fields[1]).ok()?, fields))
    })
}

/// The process of a line of /proc's `stat`, and its fields after the name in brackets.
fn fields(stat: &str) -> Option<(u32, Vec<u64>)> {
    let (head, rest) = stat.rsplit_once(')')?;
    let fields = rest
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    Some((head.split_whitespace().next()?.parse().ok()?, fields))
}
