//! A process that starts programs and takes the time, and has a size for that.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::Size;

/// One start.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) method: String,
    /// From the call to its return.
    pub(crate) returned: Duration,
    /// From the call to the child's exit.
    pub(crate) exited: Duration,
}

/// It ends by itself when its stdin does, whatever happens to us.
#[derive(Debug)]
pub(crate) struct Spawner {
    pub(crate) size: Size,
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Spawner {
    /// Starts it, and waits until it has its size.
    pub(crate) fn start(spawner: &Path, program: &Path, size: Size) -> Result<Self> {
        let bytes = size.memory_mib * 1024 * 1024;
        let mut child = Command::new(spawner)
            .arg(program)
            .args([bytes.to_string(), size.fds.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", spawner.display()))?;
        let orders = child.stdin.take().context("no stdin")?;
        let answers = BufReader::new(child.stdout.take().context("no stdout")?);
        let mut spawner = Self {
            size,
            child,
            orders,
            answers,
        };
        let line = spawner.line()?;
        ensure!(line == "ready", "the spawner says {line:?}");
        Ok(spawner)
    }

    /// So many rounds of these methods in turn.
    pub(crate) fn measure(&mut self, methods: &[&str], rounds: u32) -> Result<Vec<Sample>> {
        writeln!(self.orders, "{} {rounds}", methods.join(" "))?;
        let mut samples = Vec::new();
        for _ in 0..methods.len() * rounds as usize {
            let line = self.line()?;
            samples.push(Sample::parse(&line).with_context(|| format!("line {line:?}"))?);
        }
        let line = self.line()?;
        ensure!(line == "done", "the spawner says {line:?}");
        Ok(samples)
    }

    /// Lets it end.
    pub(crate) fn finish(self) -> Result<()> {
        let Self {
            mut child, orders, ..
        } = self;
        drop(orders);
        let status = child.wait()?;
        ensure!(status.success(), "the spawner: {status}");
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("the spawner has ended; it says why on stderr");
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Sample {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let method = words.next()?.to_owned();
        let mut nanos = || Some(Duration::from_nanos(words.next()?.parse().ok()?));
        Some(Self {
            method,
            returned: nanos()?,
            exited: nanos()?,
        })
    }
}

/// Whether the machine has room for such a process, or why not.
pub(crate) fn room_for(size: Size) -> Result<Result<(), &'static str>> {
    // For everybody else, and for the page tables that a fork copies.
    const MARGIN_MIB: u64 = 2048;
    let info = fs::read_to_string("/proc/meminfo")?;
    let available = number_in(&info, "MemAvailable:").context("/proc/meminfo")? / 1024;
    if size.memory_mib + MARGIN_MIB > available {
        return Ok(Err("memory"));
    }
    // For what the spawner opens besides.
    const MARGIN_FDS: u64 = 200;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    if limit.is_some_and(|limit| size.fds + MARGIN_FDS > limit) {
        return Ok(Err("limit on open files"));
    }
    Ok(Ok(()))
}

fn number_in(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
