//! `--chaos`: between two restarts that must succeed lies one that must not, each time for another
//! reason, and after it the daemon must be what it was.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde::Serialize;

use super::inside::{Inside, Listeners};
use crate::daemon::{Daemon, PATIENCE, deploy};
use crate::log::Log;
use crate::process::Process;

/// Why an attempt fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    Empty,
    NotExecutable,
    CutInHalf,
    NoInterpreter,
    Missing,
    Busy,
    Directory,
    Exits,
    Hangs,
    Crashes,
    KilledBeforeReady,
    CrashesWhenReady,
    ExitsWhenReady,
}

/// Every fault with its name, and with what the daemon may say of it.
const FAULTS: [(Fault, &str, &[&str]); 13] = [
    (Fault::Empty, "an empty file", &["execve: os error 8"]),
    (
        Fault::NotExecutable,
        "a file without its execute bit",
        &["execve: os error 13"],
    ),
    // The kernel finds out when the old image is gone already, and ends it by a signal.
    (
        Fault::CutInHalf,
        "half of a binary",
        &["killed by signal 11", "killed by signal 7"],
    ),
    (
        Fault::NoInterpreter,
        "a script without its interpreter",
        &["execve: os error 2"],
    ),
    (Fault::Missing, "no file", &["execve: os error 2"]),
    (
        Fault::Busy,
        "a file that is being written",
        &["execve: os error 26"],
    ),
    (Fault::Directory, "a folder", &["execve: os error 13"]),
    (
        Fault::Exits,
        "exits before it is ready",
        &["exited with status 3"],
    ),
    (Fault::Hangs, "hangs", &["not ready in time"]),
    (
        Fault::Crashes,
        "crashes before it is ready",
        &["killed by signal 11"],
    ),
    (
        Fault::KilledBeforeReady,
        "is killed before it is ready",
        &["killed by signal 9"],
    ),
    (
        Fault::CrashesWhenReady,
        "says ready and crashes",
        &["killed by signal 11"],
    ),
    (
        Fault::ExitsWhenReady,
        "says ready and exits",
        &["exited with status 0"],
    ),
];

/// What the daemon is started with: how long it waits for a successor that hangs, and how long it
/// watches one that is ready. Under load a good one takes some ten milliseconds.
pub(crate) const WORDS: &[&str] = &["--ready-timeout", "1500", "--probation", "250"];

impl Fault {
    fn name(self) -> &'static str {
        self.row().1
    }

    /// Whether the daemon may have stopped to accept by then.
    fn comes_late(self) -> bool {
        matches!(self, Fault::CrashesWhenReady | Fault::ExitsWhenReady)
    }

    fn row(self) -> &'static (Fault, &'static str, &'static [&'static str]) {
        let found = FAULTS.iter().find(|(fault, ..)| *fault == self);
        found.unwrap_or(&FAULTS[0])
    }

    /// `fault.deploy(build, place)` — puts what is broken in this way in place of the build. The
    /// file that comes back is what keeps it so.
    fn deploy(self, build: &Path, place: &Path) -> Result<Option<File>> {
        let beside = place.with_extension("broken");
        let script = |line: &str| format!("#!/bin/sh\n{line}\n").into_bytes();
        // The daemon, with more words than it was told.
        let daemon = |words: &str| script(&format!("exec '{}' {words} \"$@\"", build.display()));
        // A message of its own: printf writes it at once.
        let ready = |end: &str| script(&format!("printf ready >&${{GRACENET_FD%,*}}; {end}"));
        let whole = || fs::read(build).with_context(|| format!("cannot read {}", build.display()));
        let crash = "ulimit -c 0; kill -SEGV $$";
        let (content, mode) = match self {
            Fault::Empty => (Vec::new(), 0o755),
            Fault::NotExecutable => (whole()?, 0o644),
            Fault::CutInHalf => {
                let mut content = whole()?;
                content.truncate(content.len() / 2);
                (content, 0o755)
            }
            Fault::NoInterpreter => (b"#!/nothing/here\n".to_vec(), 0o755),
            Fault::Busy => (whole()?, 0o755),
            Fault::Exits => (daemon("--fail-start 3"), 0o755),
            Fault::Hangs | Fault::KilledBeforeReady => (daemon("--start-delay 60000"), 0o755),
            Fault::Crashes => (script(crash), 0o755),
            Fault::CrashesWhenReady => (ready(crash), 0o755),
            Fault::ExitsWhenReady => (ready("exit 0"), 0o755),
            Fault::Missing | Fault::Directory => {
                fs::remove_file(place).context("cannot remove the build")?;
                if self == Fault::Directory {
                    fs::create_dir(place).context("no folder")?;
                }
                return Ok(None);
            }
        };
        fs::write(&beside, content).context("cannot write")?;
        fs::set_permissions(&beside, Permissions::from_mode(mode)).context("chmod")?;
        fs::rename(&beside, place).context("cannot replace the build")?;
        Ok(match self {
            Fault::Busy => Some(OpenOptions::new().append(true).open(place)?),
            _ => None,
        })
    }
}

/// Puts the build back.
fn repair(build: &Path, place: &Path) -> Result<()> {
    if place.is_dir() {
        fs::remove_dir(place).context("cannot remove the folder")?;
    }
    deploy(build, place)
}

/// A fault before each restart: each as often as the others, in an order that the seed decides. Pure.
fn plan(seed: u32, restarts: usize) -> Vec<Fault> {
    let mut random = fastrand::Rng::with_seed(seed.into());
    let rounds = std::iter::repeat_with(|| {
        let mut round = FAULTS.map(|(fault, ..)| fault);
        random.shuffle(&mut round);
        round
    });
    rounds.flatten().take(restarts).collect()
}

/// The faults to come, and what has become of those that were.
#[derive(Debug)]
pub(crate) struct Chaos {
    seed: u32,
    plan: Vec<Fault>,
    listeners: Listeners,
    seen: BTreeMap<Fault, BTreeMap<String, u32>>,
}

impl Chaos {
    /// `Chaos::new(seed, restarts, daemon)` — a [`plan`] for the daemon; without a seed one is
    /// drawn.
    pub(crate) fn new(seed: Option<u32>, restarts: u32, daemon: &Daemon) -> Result<Self> {
        let restarts = usize::try_from(restarts).context("restarts")?;
        ensure!(
            restarts >= FAULTS.len(),
            "there are {} ways to fail, and one comes before each restart: that takes as many",
            FAULTS.len()
        );
        let seed = seed.unwrap_or_else(|| fastrand::u32(..));
        Ok(Self {
            seed,
            plan: plan(seed, restarts),
            listeners: Listeners::find(daemon.endpoints())?,
            seen: BTreeMap::new(),
        })
    }

    /// `chaos.fail_before(restart, current, log, build, place)` — deploys what is broken, asks for
    /// an upgrade, and waits for what the daemon says of it. Then it must be as it was before, and
    /// the build is put back in place. The first restart is 1.
    pub(crate) fn fail_before(
        &mut self,
        restart: u32,
        current: &Process,
        log: &Log,
        build: &Path,
        place: &Path,
    ) -> Result<()> {
        let index = usize::try_from(restart).context("restart")?;
        let fault = *index
            .checked_sub(1)
            .and_then(|index| self.plan.get(index))
            .context("no such restart was planned")?;
        let deadline = Instant::now() + PATIENCE;
        let kept = fault
            .deploy(build, place)
            .with_context(|| format!("cannot deploy {}", fault.name()))?;
        let before = Inside::of(current.pid, &self.listeners)?;
        let mark = log.mark();
        current.signal(Signal::USR2)?;
        let prefix = format!("gracenet-httpd[{}]: ", current.pid);
        if fault == Fault::KilledBeforeReady {
            let started = log.find(mark, deadline, |line| {
                let line = line.strip_prefix(&prefix)?;
                line.strip_prefix("successor ")?.strip_suffix(" started")
            });
            let started = started.context("no successor was started")?;
            Process::open(started.parse()?)?.signal(Signal::KILL)?;
        }
        let reason = log.find(mark, deadline, |line| {
            let line = line.strip_prefix(&prefix)?;
            // One that dies late may be dead by the time that it is heard.
            let again = line.strip_prefix("accepting again, ");
            let line = again.filter(|_| fault.comes_late()).unwrap_or(line);
            line.strip_prefix("successor failed: ")
        });
        drop(kept);
        let reason =
            reason.with_context(|| format!("the daemon says nothing of {}", fault.name()))?;
        let expected = fault.row().2;
        if !expected.contains(&reason.as_str()) {
            bail!("{}: {reason:?} instead of {expected:?}", fault.name());
        }
        // By now nothing may be left of it.
        let after = Inside::of(current.pid, &self.listeners)?;
        ensure!(
            after == before,
            "{} has changed process {}: {before} before, {after} now",
            fault.name(),
            current.pid
        );
        *self
            .seen
            .entry(fault)
            .or_default()
            .entry(reason)
            .or_default() += 1;
        repair(build, place)
    }

    /// What it came to, with as many restarts that succeeded.
    pub(crate) fn report(&self, succeeded: u32) -> ChaosReport {
        let failed: Vec<Failed> = self
            .seen
            .iter()
            .flat_map(|(fault, reasons)| {
                reasons.iter().map(|(reason, times)| Failed {
                    fault: *fault,
                    times: *times,
                    reason: reason.clone(),
                })
            })
            .collect();
        let times: u32 = failed.iter().map(|failed| failed.times).sum();
        ChaosReport {
            seed: self.seed,
            attempts: times + succeeded,
            succeeded,
            failed,
        }
    }
}

/// What was tried, and what came of it.
#[derive(Debug, Serialize)]
pub(crate) struct ChaosReport {
    /// What `--seed` repeats it with.
    seed: u32,
    attempts: u32,
    succeeded: u32,
    failed: Vec<Failed>,
}

/// Attempts that failed as they should.
#[derive(Debug, Serialize)]
struct Failed {
    fault: Fault,
    times: u32,
    /// What the daemon said.
    reason: String,
}

impl ChaosReport {
    /// The faults that were never seen.
    pub(crate) fn missing(&self) -> Vec<String> {
        FAULTS
            .iter()
            .filter(|(fault, ..)| !self.failed.iter().any(|failed| failed.fault == *fault))
            .map(|(_, name, _)| format!("never failed so: {name}"))
            .collect()
    }

    /// The rows of the table: what, and how many.
    pub(crate) fn rows(&self) -> Vec<(String, String)> {
        let mut rows = vec![
            ("attempts".to_owned(), self.attempts.to_string()),
            ("succeeded".to_owned(), self.succeeded.to_string()),
        ];
        for failed in &self.failed {
            let mut figure = failed.times.to_string();
            let _ = write!(figure, " × {}", failed.reason);
            rows.push((format!("failed: {}", failed.fault.name()), figure));
        }
        rows.push(("seed".to_owned(), self.seed.to_string()));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::{FAULTS, plan};

    #[test]
    fn a_seed_stands_for_one_order_in_which_each_fault_comes() {
        assert_eq!(plan(7, 100), plan(7, 100));
        assert_ne!(plan(7, 100), plan(8, 100));
        for seed in 0..100 {
            let mut round = plan(seed, FAULTS.len());
            round.sort_unstable();
            assert_eq!(round, FAULTS.map(|(fault, ..)| fault));
        }
    }
}
