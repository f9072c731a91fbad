//! Go's gracenet and the daemon, each as the successor of the other.

use std::io;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::builds::Builds;
use crate::answer::Answer;
use crate::bench::handover::load::Load;
use crate::bench::peers::first_answer;
use crate::daemon::{PATIENCE, deploy, free_ports};
use crate::endpoint::Endpoint;
use crate::log::Log;
use crate::process::Process;
use crate::story::Figures;

/// Every other one leads to the daemon.
const HAND_OVERS: usize = 10;

/// The load goes on for so many requests of our own after each.
const LATER: usize = 100;

/// One place, where they are deployed in turn and started by each other, with one command line.
pub(crate) fn in_turn(builds: &Builds) -> Result<Figures> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let place = folder.path().join("server");
    deploy(&builds.grace, &place)?;
    let addresses = free_ports::<2>().context("no free port")?;
    let (pipe, other_end) = io::pipe()?;
    let log = Log::read(pipe);
    let mut command = Command::new(&place);
    command.args(["--missing-pid", "--foreign"]);
    for address in addresses {
        command.args(["tcp", &address.to_string()]);
    }
    command
        .env_remove("LISTEN_FDS")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(other_end)
        .spawn()
        .context("cannot start grace")?;
    drop(command);
    let endpoints = addresses.map(Endpoint::Tcp);
    let mut pids = Vec::new();
    for endpoint in &endpoints {
        pids = vec![first_answer(endpoint).with_context(|| log.tail())?];
    }

    let mut own = 0;
    let loads = endpoints.each_ref().map(Load::start);
    for hand_over in 0..HAND_OVERS {
        let to_daemon = hand_over % 2 == 0;
        let (build, tag) = match to_daemon {
            true => (&builds.daemon, "gracenet"),
            false => (&builds.grace, "grace"),
        };
        deploy(build, &place)?;
        let deadline = Instant::now() + PATIENCE;
        // Each client has had an answer of the old one.
        let last = *pids.last().context("nobody serves")?;
        let others = &pids[..pids.len() - 1];
        for load in &loads {
            load.wait_for_another(others, deadline).context("no load")?;
        }
        let mut old = Process::open(last)?;
        old.signal(Signal::USR2)?;
        let mut new = last;
        for load in &loads {
            let another = load.wait_for_another(&pids, deadline);
            (new, _) = another.with_context(|| log.tail())?;
        }
        pids.push(new);
        if to_daemon {
            // gracenet waits to be told, by whoever has deployed.
            old.signal(Signal::TERM)?;
        }
        old.expect_exit_0(deadline).with_context(|| log.tail())?;
        for endpoint in endpoints.iter().cycle().take(LATER) {
            let body = endpoint.get("/", PATIENCE).context("GET /")?;
            let answer = Answer::parse(&body).context("no answer")?;
            ensure!((answer.pid, &*answer.tag) == (new, tag), "{answer}");
            own += 1;
        }
    }
    let (requests, failures) = Load::stop_all(loads)?;
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    let mut last = Process::open(*pids.last().context("nobody serves")?)?;
    last.signal(Signal::TERM)?;
    last.expect_exit_0(Instant::now() + PATIENCE)?;
    Ok(Figures {
        requests: requests + own,
        failures: 0,
        remark: format!("{HAND_OVERS} hand-overs, half of them to gracenet-httpd"),
    })
}
