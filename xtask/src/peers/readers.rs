//! Programs that are not ours as successors: what they see of the sockets, by the libraries that
//! others have for it.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::NAMES;
use super::builds::Builds;
use crate::bench::handover::load::Load;
use crate::daemon::{Daemon, PATIENCE, deploy};
use crate::process::Process;
use crate::story::Figures;

/// A program that answers as the daemon does, and tells at /status what it was given.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) library: &'static str,
    program: fn(&Builds) -> &Path,
    /// The library has the names.
    has_names: bool,
}

pub(crate) const READERS: [Reader; 4] = [
    Reader {
        library: "libsystemd",
        program: |builds| &builds.libsystemd,
        has_names: true,
    },
    Reader {
        library: "systemd-python",
        program: |builds| &builds.systemd_python,
        has_names: true,
    },
    Reader {
        library: "go-systemd",
        program: |builds| &builds.go_systemd,
        has_names: true,
    },
    Reader {
        library: "listenfd",
        program: |builds| &builds.listenfd,
        has_names: false,
    },
];

/// The load goes on for so many requests of our own to each socket.
const LATER: u64 = 50;

/// The daemon gets its sockets from systemd-socket-activate, and is replaced under load by the
/// reader, which has to see the same sockets under the same names, and itself in `LISTEN_PID`: its
/// library finds none otherwise.
pub(crate) fn take_over(builds: &Builds, reader: &Reader) -> Result<Figures> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let place = folder.path().join("gracenet-httpd");
    deploy(&builds.daemon, &place)?;
    let daemon = Daemon::activate(NAMES, &place, &["--foreign"], folder.path())?;
    let deadline = Instant::now() + PATIENCE;
    let before = daemon.ask()?;
    let mut old = Process::open(before.pid)?;
    let loads = daemon.endpoints().map(Load::start);
    for load in &loads {
        load.wait_for_another(&[], deadline).context("no answer")?;
    }
    deploy((reader.program)(builds), &place)?;
    let asked = Instant::now();
    old.signal(Signal::USR2)?;
    let mut took = Vec::new();
    for load in &loads {
        let another = load.wait_for_another(&[before.pid], deadline);
        let (pid, at) = another.with_context(|| daemon.log.tail())?;
        let started = format!("successor {pid} started");
        ensure!(daemon.log.wait_for(&started, deadline), "{pid} answers");
        took.push(at.saturating_duration_since(asked).as_millis());
    }
    old.expect_exit_0(deadline)?;
    for endpoint in daemon.endpoints() {
        for _ in 0..LATER {
            endpoint
                .get("/", PATIENCE)
                .context("once it serves alone")?;
        }
    }
    let (requests, failures) = Load::stop_all(loads)?;

    let pid = daemon.ask()?.pid;
    let name = |name| if reader.has_names { name } else { "-" };
    let expected = format!(
        "pid={pid} generation=0 tag={}\n{} tcp {}\n{} unix {}\n",
        reader.library,
        name(NAMES[0]),
        daemon.tcp.address(),
        name(NAMES[1]),
        daemon.unix.address(),
    );
    for endpoint in daemon.endpoints() {
        let status = endpoint.get("/status", PATIENCE)?;
        let status = String::from_utf8_lossy(&status);
        ensure!(status == expected, "{status:?} and not {expected:?}");
    }
    let reader_process = Process::open(pid)?;
    reader_process.signal(Signal::TERM)?;
    ensure!(reader_process.wait_for_end(deadline)?, "it does not end");
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    let names = if reader.has_names {
        "names, "
    } else {
        "no names, "
    };
    Ok(Figures {
        requests: requests + 2 * LATER,
        failures: 0,
        remark: format!(
            "sockets, {names}pid; answers after {} ms",
            took.iter().max().unwrap_or(&0)
        ),
    })
}
