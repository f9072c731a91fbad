//! `cargo xtask bench footprint`: what a server takes that has answered one request: bytes of
//! program, memory, page faults, and system calls up to that request.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde::Serialize;

use super::figures::table;
use super::handover::make_public;
use super::peers::{self, NotRun, Peer, Server};
use crate::daemon::PATIENCE;
use crate::process::{self, Process};
use crate::step::{self, Outcome};
use crate::workspace::Workspace;

/// What `cargo xtask bench footprint` can be told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    rows: Vec<Row>,
    not_run: Vec<NotRun>,
}

/// Of all processes of one server.
#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    binary_bytes: u64,
    #[serde(flatten)]
    memory: Memory,
    /// From the execve to the accept of the first connection; `None` without strace.
    syscalls: Option<usize>,
}

#[derive(Debug, Default, Serialize)]
struct Memory {
    /// The highest resident memory.
    peak_kib: u64,
    private_dirty_kib: u64,
    minor_faults: u64,
    major_faults: u64,
    processes: usize,
}

/// Measures and prints.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<Outcome> {
    let (peers, not_run) = peers::build(workspace)?;
    process::become_subreaper()?;
    let _end = process::EndOfAll;
    let strace = step::tool("strace")?;
    let mut rows = Vec::new();
    for peer in &peers {
        let row = || -> Result<Row> {
            let syscalls = match &strace {
                Ok(strace) => Some(syscalls(peer, strace)?),
                Err(_) => None,
            };
            Ok(Row {
                name: peer.name,
                binary_bytes: fs::metadata(&peer.program)?.len(),
                memory: memory(peer)?,
                syscalls,
            })
        };
        rows.push(row().with_context(|| peer.name)?);
    }
    let report = Report { rows, not_run };
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", report.table());
    }
    Ok(Outcome::Done)
}

impl Report {
    fn table(&self) -> String {
        const HEADING: [&str; 8] = [
            "server",
            "binary, KiB",
            "peak memory, KiB",
            "private dirty, KiB",
            "syscalls",
            "minor faults",
            "major faults",
            "processes",
        ];
        let row = |row: &Row| {
            let memory = &row.memory;
            vec![
                row.name.to_owned(),
                row.binary_bytes.div_ceil(1024).to_string(),
                memory.peak_kib.to_string(),
                memory.private_dirty_kib.to_string(),
                row.syscalls
                    .map_or("-".to_owned(), |count| count.to_string()),
                memory.minor_faults.to_string(),
                memory.major_faults.to_string(),
                memory.processes.to_string(),
            ]
        };
        let mut text = format!(
            "{}\n",
            table(&HEADING, 1, self.rows.iter().map(row).collect())
        );
        for NotRun { name, why } in &self.not_run {
            text += &format!("{name}: not run: {why}\n");
        }
        text
    }
}

/// Of the processes as they are after an answer.
fn memory(peer: &Peer) -> Result<Memory> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    make_public(folder.path())?;
    let server = Server::start(peer, &[], folder.path())?;
    let mut memory = Memory::default();
    for pid in family(server.process.pid)? {
        let process = procfs::process::Process::new(pid)?;
        let stat = process.stat()?;
        memory.minor_faults += stat.minflt;
        memory.major_faults += stat.majflt;
        memory.peak_kib += process.status()?.vmhwm.unwrap_or(0);
        // In bytes; what lies on swap is left out.
        let maps = process.smaps_rollup()?.memory_map_rollup;
        let dirty = maps
            .iter()
            .filter_map(|map| map.extension.map.get("Private_Dirty"));
        memory.private_dirty_kib += dirty.sum::<u64>() / 1024;
        memory.processes += 1;
    }
    end(&server.process)?;
    Ok(memory)
}

/// A process and its children.
fn family(pid: u32) -> Result<Vec<i32>> {
    let first = procfs::process::Process::new(i32::try_from(pid)?)?;
    let mut pids = vec![first.pid];
    for task in first.tasks()? {
        let children = task?.children()?;
        pids.extend(children.iter().filter_map(|pid| i32::try_from(*pid).ok()));
    }
    Ok(pids)
}

fn syscalls(peer: &Peer, strace: &Path) -> Result<usize> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    make_public(folder.path())?;
    let record = folder.path().join("trace");
    let before = [
        strace.as_os_str(),
        OsStr::new("-f"),
        OsStr::new("-o"),
        record.as_os_str(),
    ];
    let server = Server::start(peer, &before, folder.path())?;
    end(&server.process)?;
    let text = fs::read_to_string(&record).context("strace wrote nothing")?;
    calls_before_accept(&text).context("no connection was accepted")
}

/// Ends it, and waits for all that belongs to it.
fn end(process: &Process) -> Result<()> {
    process.signal(Signal::TERM)?;
    let left = process::reap_children(Instant::now() + PATIENCE)?;
    // A second time for those who became our children meanwhile.
    let more = process::reap_children(Instant::now() + PATIENCE)?;
    if !left.is_empty() || !more.is_empty() {
        bail!("processes are left: {left:?} {more:?}");
    }
    Ok(())
}

/// How many calls there are up to the first that accepts a connection, in what `strace -f` wrote;
/// pure.
fn calls_before_accept(trace: &str) -> Option<usize> {
    let mut count = 0;
    for line in trace.lines() {
        let (_, call) = line.trim_start().split_once(' ')?;
        let call = call.trim_start();
        // A signal, an end, or the rest of a call that has been counted.
        let begins = call.starts_with(|first: char| first.is_ascii_lowercase());
        if begins {
            count += 1;
        }
        let accepts = [
            "accept(",
            "accept4(",
            "<... accept resumed",
            "<... accept4 resumed",
        ];
        let answer = call.rsplit_once("= ").map(|(_, answer)| answer);
        let fd = answer.and_then(|answer| answer.split(' ').next()?.parse::<u32>().ok());
        if accepts.iter().any(|accept| call.starts_with(accept)) && fd.is_some() {
            return Some(count);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::calls_before_accept;

    #[test]
    fn calls_are_counted_once_and_up_to_the_accept() {
        let trace = "\
10 execve(\"x\", [\"x\"], 0x7ffe /* 2 vars */) = 0
10 bind(3, {sa_family=AF_INET}, 16) = 0
10 accept4(3, 0x7f, [16], SOCK_CLOEXEC) = -1 EAGAIN (Resource temporarily unavailable)
10 clone(child_stack=NULL <unfinished ...>
11 getpid( <unfinished ...>
10 <... clone resumed>) = 11
11 <... getpid resumed>) = 11
10 --- SIGCHLD {si_signo=SIGCHLD} ---
11 accept4(3,  <unfinished ...>
10 read(4, \"\", 1) = 0
11 <... accept4 resumed>{sa_family=AF_INET}, [16], SOCK_CLOEXEC) = 5
11 write(5, \"x\", 1) = 1
";
        assert_eq!(calls_before_accept(trace), Some(7));
        assert_eq!(calls_before_accept("10 getpid() = 10\n"), None);
    }
}
