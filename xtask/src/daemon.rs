//! The daemon under test: started on a free port and a unix socket, ended
//! whatever happens.

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::answer::Answer;
use crate::endpoint::Endpoint;
use crate::log::Log;
use crate::process::{self, Process};

/// A running daemon with one TCP and one unix listener.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) tcp: Endpoint,
    pub(crate) unix: Endpoint,
    pub(crate) log: Arc<Log>,
}

/// How long a start, a hand-over or an end may take before it is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

impl Daemon {
    /// `Daemon::start(before, program, folder)` — starts the program, behind the
    /// words of another command line where there are some, and waits until it
    /// says that it is ready.
    ///
    /// Call [`process::become_subreaper`] first: dropping it ends every process
    /// that is left of it.
    pub(crate) fn start(before: &[OsString], program: &Path, folder: &Path) -> Result<Self> {
        Self::start_with(before, program, &[], folder)
    }

    /// `Daemon::start_with(before, program, more, folder)` — as
    /// [`start`](Self::start), with these words behind the program.
    pub(crate) fn start_with(
        before: &[OsString],
        program: &Path,
        more: &[&str],
        folder: &Path,
    ) -> Result<Self> {
        let before = |_, _: &Path| before.to_vec();
        Self::launch(before, program, more, folder, |_| Ok(()))
    }

    /// `Daemon::activate(names, program, more, folder)` — as [`start_with`](Self::start_with), but
    /// it is systemd-socket-activate that listens, and gives the sockets these names; and a first
    /// client of both has it started.
    pub(crate) fn activate(
        names: [&str; 2],
        program: &Path,
        more: &[&str],
        folder: &Path,
    ) -> Result<Self> {
        let before = |address: SocketAddr, socket: &Path| {
            vec![
                "systemd-socket-activate".into(),
                format!("--fdname={}", names.join(":")).into(),
                format!("--listen={address}").into(),
                format!("--listen={}", socket.display()).into(),
            ]
        };
        Self::launch(before, program, more, folder, |daemon| {
            let deadline = Instant::now() + PATIENCE;
            for number in 3..=4 {
                let end = format!(" as {number}.");
                ensure!(daemon.log.wait_for(&end, deadline), "{}", daemon.log.tail());
            }
            for endpoint in daemon.endpoints() {
                endpoint.get("/", PATIENCE).context("the first client")?;
            }
            Ok(())
        })
    }

    fn launch(
        before: impl Fn(SocketAddr, &Path) -> Vec<OsString>,
        program: &Path,
        more: &[&str],
        folder: &Path,
        wake: impl Fn(&Self) -> Result<()>,
    ) -> Result<Self> {
        // Between our look at it and the daemon's bind, a port can be taken by
        // another program.
        const ATTEMPTS: usize = 5;
        let socket = folder.join("httpd.sock");
        for _ in 0..ATTEMPTS {
            let [address] = free_ports().context("no free port")?;
            let mut words = before(address, &socket);
            words.push(program.into());
            words.extend(more.iter().map(OsString::from));
            words.extend(["tcp".into(), address.to_string().into()]);
            words.extend(["unix".into(), socket.clone().into()]);
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]);
            // The command holds the pipe's other end: it must be gone before
            // the log's end can mean that every process is.
            let (log, other_end) = {
                let (pipe, other_end) = io::pipe()?;
                (Log::read(pipe), other_end)
            };
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(other_end);
            command
                .spawn()
                .with_context(|| format!("cannot start {}", program.display()))?;
            drop(command);
            let daemon = Self {
                tcp: Endpoint::Tcp(address),
                unix: Endpoint::Unix(socket.clone()),
                log,
            };
            let awake = wake(&daemon);
            if awake.is_ok() && daemon.log.wait_for(": ready", Instant::now() + PATIENCE) {
                return Ok(daemon);
            }
            let tail = daemon.log.tail();
            if !["os error 98", "Address already in use"]
                .iter()
                .any(|text| tail.contains(text))
            {
                awake?;
                bail!("the daemon did not become ready:\n{tail}");
            }
        }
        bail!("no port stayed free in {ATTEMPTS} attempts");
    }

    /// One request, and the answer of whichever generation gives it.
    pub(crate) fn ask(&self) -> Result<Answer> {
        let body = self.tcp.get("/", PATIENCE).context("GET / over tcp")?;
        Answer::parse(&body).with_context(|| format!("answer {:?}", String::from_utf8_lossy(&body)))
    }

    /// Both listeners.
    pub(crate) fn endpoints(&self) -> [&Endpoint; 2] {
        [&self.tcp, &self.unix]
    }

    /// `daemon.finish(last)` — SIGTERM to the last generation; fails unless it
    /// exits with status 0 and no process of the daemon is left.
    pub(crate) fn finish(self, last: &mut Process) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        last.signal(rustix::process::Signal::TERM)?;
        last.expect_exit_0(deadline)?;
        if !self.log.wait_for_end(deadline) {
            bail!("a process still holds the daemon's stderr");
        }
        // What has let go of it may need a moment more, such as a tracer.
        let left = process::reap_children(deadline)?;
        if !left.is_empty() {
            bail!("processes are left: {left:?}");
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        process::end_children();
    }
}

/// `deploy(build, place)` — puts a build in place as deployments do: written
/// beside it, then renamed over it.
pub(crate) fn deploy(build: &Path, place: &Path) -> Result<()> {
    let beside: PathBuf = place.with_extension("new");
    std::fs::copy(build, &beside).with_context(|| format!("cannot copy {}", build.display()))?;
    std::fs::rename(&beside, place).with_context(|| format!("cannot replace {}", place.display()))
}

/// Addresses that nobody has, yet; no two of them the same.
pub(crate) fn free_ports<const N: usize>() -> io::Result<[SocketAddr; N]> {
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    let mut listeners = Vec::new();
    for address in &mut addresses {
        let listener = TcpListener::bind(*address)?;
        *address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(addresses)
}
