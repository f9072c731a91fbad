//! Processes by pidfd: signal, wait, look up, and leave none behind.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, pidfd_send_signal,
    waitid,
};

/// A process that is, or will become, our child.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pidfd: OwnedFd,
    ended: bool,
}

impl Process {
    /// `Process::open(pid)` — holds on to the process: its pid can no longer
    /// come to mean another one.
    pub(crate) fn open(pid: u32) -> Result<Self> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let number = number.with_context(|| format!("{pid} is no pid"))?;
        let pidfd = pidfd_open(number, PidfdFlags::empty())
            .with_context(|| format!("pidfd_open({pid})"))?;
        Ok(Self {
            pid,
            pidfd,
            ended: false,
        })
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        pidfd_send_signal(&self.pidfd, signal)
            .with_context(|| format!("{signal:?} to process {}", self.pid))
    }

    /// Whether it has ended by the deadline.
    pub(crate) fn wait_for_end(&self, deadline: Instant) -> Result<bool> {
        readable_by(&self.pidfd, deadline)
    }

    /// Waits for its end, reaps it, and fails unless it exited with status 0.
    ///
    /// It must be our child by then: either we started it, or its parent has
    /// ended before it and we are the subreaper.
    pub(crate) fn expect_exit_0(&mut self, deadline: Instant) -> Result<()> {
        if !self.wait_for_end(deadline)? {
            bail!("process {} did not end in time", self.pid);
        }
        let status = self.reap()?;
        self.ended = true;
        match (status.exit_status(), status.terminating_signal()) {
            (Some(0), _) => Ok(()),
            (Some(code), _) => bail!("process {} exited with status {code}", self.pid),
            (None, signal) => bail!("process {} was ended by signal {signal:?}", self.pid),
        }
    }

    /// Whether it has been reaped.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Its highest resident memory so far in KiB (`VmHWM`), while it lives.
    pub(crate) fn peak_kib(&self) -> Option<u64> {
        self.kib("VmHWM:")
    }

    /// Its resident memory now in KiB (`VmRSS`), while it lives.
    pub(crate) fn resident_kib(&self) -> Option<u64> {
        self.kib("VmRSS:")
    }

    fn kib(&self, field: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        status
            .lines()
            .find_map(|line| line.strip_prefix(field))?
            .trim()
            .strip_suffix(" kB")?
            .parse()
            .ok()
    }

    fn reap(&self) -> Result<WaitIdStatus> {
        loop {
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Ok(Some(status)) => return Ok(status),
                Ok(None) | Err(Errno::INTR) => {}
                Err(errno) => bail!("process {} cannot be reaped: {errno}", self.pid),
            }
        }
    }
}

/// Makes orphans our children from now on, so that successors can be waited
/// for after their parents have gone.
pub(crate) fn become_subreaper() -> Result<()> {
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own)).context("PR_SET_CHILD_SUBREAPER")
}

/// Ends and reaps what is left of the processes that we started, and their
/// orphans, each by its own pid; returns how many there were.
pub(crate) fn end_children() -> usize {
    // A child that is ended gives us its own children: one round a level.
    const ROUNDS: usize = 1000;
    let mut ended = 0;
    for _ in 0..ROUNDS {
        for pid in children() {
            if let Ok(child) = Process::open(pid)
                && child.signal(Signal::KILL).is_ok()
            {
                ended += 1;
            }
        }
        match waitid(WaitId::All, WaitIdOptions::EXITED) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => break,
        }
    }
    ended
}

/// [Ends](end_children) them when it is dropped, whatever happens.
#[derive(Debug)]
pub(crate) struct EndOfAll;

impl Drop for EndOfAll {
    fn drop(&mut self) {
        end_children();
    }
}

/// Reaps the children that end by the deadline; returns the pids of the others.
pub(crate) fn reap_children(deadline: Instant) -> Result<Vec<u32>> {
    let mut left = Vec::new();
    for pid in children() {
        let child = Process::open(pid)?;
        if child.wait_for_end(deadline)? {
            child.reap()?;
        } else {
            left.push(pid);
        }
    }
    Ok(left)
}

/// The pids of our children, whichever thread started them.
fn children() -> Vec<u32> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let mut pids = Vec::new();
    for task in tasks.flatten() {
        if let Ok(text) = fs::read_to_string(task.path().join("children")) {
            pids.extend(
                text.split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
    }
    pids
}

fn readable_by(fd: impl AsFd, deadline: Instant) -> Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).context("deadline")?;
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => bail!("poll: {errno}"),
        }
    }
}
