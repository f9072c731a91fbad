//! The daemon behind systemd-socket-activate.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::builds::Builds;
use super::{NAMES, expect_names};
use crate::daemon::{Daemon, PATIENCE, deploy};
use crate::demo::clients::Clients;
use crate::demo::roster::Roster;
use crate::demo::tally::Tally;
use crate::process::Process;
use crate::story::Figures;

const CLIENTS: u32 = 6;

const RESTARTS: u32 = 10;

/// Started by its first client, it is replaced under load, and the sockets keep their names.
pub(crate) fn restarts(builds: &Builds) -> Result<Figures> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let place = folder.path().join("gracenet-httpd");
    deploy(&builds.daemon, &place)?;
    let daemon = Daemon::activate(NAMES, &place, &[], folder.path())?;
    let endpoints = daemon.endpoints().map(Clone::clone);
    let first = daemon.ask()?;
    let roster = Arc::new(Roster::new(&first));
    let tally = Arc::new(Tally::default());
    let mut clients = Clients::start(CLIENTS, endpoints.clone(), &roster, &tally)?;
    let mut last = Process::open(first.pid)?;
    for generation in 1..=RESTARTS {
        let deadline = Instant::now() + PATIENCE;
        tally.wait_for_each(CLIENTS, deadline)?;
        roster.signalled(generation);
        let mark = daemon.log.mark();
        last.signal(Signal::USR2)?;
        let started = daemon.log.find(mark, deadline, |line| {
            let (_, rest) = line.split_once("]: successor ")?;
            rest.strip_suffix(" ready")
        });
        let pid = started.with_context(|| daemon.log.tail())?.parse()?;
        let successor = Process::open(pid)?;
        last.expect_exit_0(deadline)?;
        last = successor;
        let answer = daemon.ask()?;
        ensure!(
            (answer.pid, answer.generation) == (pid, generation),
            "{answer}"
        );
        expect_names(&endpoints)?;
    }
    let waited = tally.wait_for_each(CLIENTS, Instant::now() + PATIENCE);
    clients.stop()?;
    waited?;
    let examples = tally.examples();
    ensure!(examples.is_empty(), "{}", examples.join("\n"));
    daemon.finish(&mut last)?;
    Ok(Figures {
        requests: tally.requests(),
        failures: 0,
        remark: format!("{RESTARTS} restarts; the names stay"),
    })
}
