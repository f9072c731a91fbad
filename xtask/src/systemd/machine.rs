//! A container whose PID 1 is systemd, on a root tree that it leaves as it is, with a network of
//! its own that has nothing but `lo`.

use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::network;
use crate::process::Process;
use crate::step;

/// How long a boot, an end, or a command may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// It is ended, with all that runs in it, when it is dropped.
#[derive(Debug)]
pub(crate) struct Machine {
    nspawn: Child,
    leader: String,
    version: String,
    console: PathBuf,
    _folder: TempDir,
}

/// With which status it ends when it is told to.
const STATUS: &str = "42";

impl Machine {
    /// `Machine::boot(tree)` — boots it, and waits until systemd says that it has.
    pub(crate) fn boot(tree: &Path) -> Result<Self> {
        Self::boot_with(tree, &[])
    }

    /// `Machine::boot_with(tree, options)` — as [`boot`](Self::boot), with more words for
    /// systemd-nspawn.
    pub(crate) fn boot_with(tree: &Path, options: &[String]) -> Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let path = folder.path().join("notify");
        let notify = UnixDatagram::bind(&path).context("no socket")?;
        let console = folder.path().join("console");
        let output = File::create(&console)?;
        let mut command = Command::new("systemd-nspawn");
        command
            .args(["--quiet", "--volatile=overlay", "--directory"])
            .arg(tree)
            .args(["--register=no", "--keep-unit", "--private-network"])
            .args(["--console=pipe", "--resolv-conf=off", "--timezone=off"])
            .args(options)
            .args(["--notify-ready=yes", "/sbin/init"])
            .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
            .env("NOTIFY_SOCKET", &path)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let nspawn = command.spawn().context("systemd-nspawn")?;
        let mut machine = Self {
            nspawn,
            leader: String::new(),
            version: String::new(),
            console,
            _folder: folder,
        };
        machine.wait_until_booted(&notify)?;
        let version = machine.must(&["systemctl", "--version"])?;
        version
            .lines()
            .next()
            .unwrap_or_default()
            .clone_into(&mut machine.version);
        Ok(machine)
    }

    fn wait_until_booted(&mut self, notify: &UnixDatagram) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 4096];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            notify.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let Ok(length) = notify.recv(&mut buffer) else {
                bail!("systemd did not boot:\n{}", self.console());
            };
            let message = String::from_utf8_lossy(&buffer[..length]);
            for line in message.lines() {
                if let Some(leader) = line.strip_prefix("X_NSPAWN_LEADER_PID=") {
                    leader.clone_into(&mut self.leader);
                } else if line == "READY=1" && !self.leader.is_empty() {
                    return Ok(());
                }
            }
        }
    }

    /// What its console has shown.
    fn console(&self) -> String {
        fs::read_to_string(&self.console).unwrap_or_default()
    }

    /// The first line of `systemctl --version`.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// The number in it.
    pub(crate) fn version_number(&self) -> Result<u32> {
        let number = self.version.split_whitespace().nth(1);
        let number = number.and_then(|number| number.parse().ok());
        number.with_context(|| format!("no version: {}", self.version))
    }

    /// Where a path of the machine is for us.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.leader))
    }

    /// Moves this thread, and those that it starts, into the machine's network.
    pub(crate) fn enter_network(&self) -> Result<()> {
        network::enter_of(&self.leader)
    }

    /// `machine.command(options, limit, words)` — a command in the machine, which is ended when it
    /// takes longer; with more words for nsenter.
    fn command(&self, options: &[&str], limit: Duration, words: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command
            .arg(limit.as_secs().to_string())
            .args(["nsenter", "--target", &self.leader])
            .args(["--mount", "--uts", "--ipc", "--pid", "--cgroup"])
            .args(options)
            .args(["--root", "--wd", "--"])
            .args(words)
            .stdin(Stdio::null());
        command
    }

    /// `machine.run(words)` — what it wrote, to stdout and to stderr, and whether its status was 0.
    pub(crate) fn run(&self, words: &[&str]) -> Result<(bool, String)> {
        self.run_for(PATIENCE, words)
    }

    /// `machine.run_for(limit, words)` — as [`run`](Self::run), of what may take longer.
    pub(crate) fn run_for(&self, limit: Duration, words: &[&str]) -> Result<(bool, String)> {
        outcome(self.command(&["--net"], limit, words))
    }

    /// As [`run_for`](Self::run_for), in the network that this task itself is in.
    pub(crate) fn run_outside(&self, limit: Duration, words: &[&str]) -> Result<(bool, String)> {
        outcome(self.command(&[], limit, words))
    }

    /// `machine.must(words)` — what it wrote; fails unless its status was 0.
    pub(crate) fn must(&self, words: &[&str]) -> Result<String> {
        let (succeeded, text) = self.run(words)?;
        ensure!(succeeded, "{}: {text}", words.join(" "));
        Ok(text)
    }

    /// Ends it as its own command does; fails unless that is how it ends.
    pub(crate) fn end(mut self) -> Result<()> {
        self.must(&["systemctl", "exit", STATUS])?;
        let process = Process::open(self.nspawn.id())?;
        ensure!(
            process.wait_for_end(Instant::now() + PATIENCE)?,
            "systemd did not end:\n{}",
            self.console()
        );
        let status = self.nspawn.wait()?;
        ensure!(
            status.code().is_some_and(|code| code.to_string() == STATUS),
            "systemd ended otherwise: {status}\n{}",
            self.console()
        );
        Ok(())
    }
}

fn outcome(mut command: Command) -> Result<(bool, String)> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {}", step::line(&command)))?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok((output.status.success(), text))
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The container goes with it.
        let _ = self.nspawn.kill();
        let _ = self.nspawn.wait();
    }
}
