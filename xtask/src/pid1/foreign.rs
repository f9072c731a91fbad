//! `gracenet-init` in front of programs that are not ours, on this machine's own root.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::Signal;

use super::container::{Container, Place};
use super::words::{self, exited};
use crate::bench::{self, peers};
use crate::endpoint::Endpoint;
use crate::process::Process;
use crate::step;
use crate::story::Figures;
use crate::story::load::{Knocks, ask};
use crate::workspace::Workspace;

/// A program that is served by a socket alone.
#[derive(Debug)]
pub(crate) struct Foreign {
    /// What it is, and its version.
    pub(crate) name: String,
    words: Vec<String>,
    /// How it is known to be ready.
    ready: &'static str,
    /// The process that is started is the one that serves, so that it can be killed.
    serves_itself: bool,
}

const CLIENTS: usize = 4;
const TIMES: u32 = 10;

/// Those that there are, built where they have to be.
pub(crate) fn all(workspace: &Workspace) -> Result<Vec<Foreign>> {
    let target = bench::folder(workspace)?.join("peers");
    std::fs::create_dir_all(&target)?;
    let sources = workspace.root.join("xtask/peers");
    let scripts = sources.join("supervised");
    let go = peers::build_go(
        &sources.join("readers"),
        &target,
        "go-systemd",
        "github.com/coreos/go-systemd",
    );
    let word = |path: PathBuf| path.into_os_string().into_string();
    let word = |path| word(path).map_err(|path| anyhow!("{} is no UTF-8", path.display()));
    let version = |package: &str| -> Result<String> {
        let mut query = Command::new("dpkg-query");
        step::output(query.args(["--show", "--showformat=${Version}", package]))
    };
    Ok(vec![
        Foreign {
            name: format!("Python's http.server {}", version("python3")?),
            words: vec![
                "/usr/bin/python3".to_owned(),
                word(scripts.join("http-server.py"))?,
            ],
            ready: "notify",
            serves_itself: true,
        },
        Foreign {
            name: format!(
                "Go with go-systemd {}",
                version("golang-github-coreos-go-systemd-dev")?
            ),
            words: vec![word(go.map_err(anyhow::Error::msg)?)?],
            ready: "notify",
            serves_itself: true,
        },
        Foreign {
            name: format!("nginx {}", version("nginx-light")?),
            words: vec![word(scripts.join("nginx"))?, ".".to_owned()],
            ready: "300",
            serves_itself: false,
        },
    ])
}

/// New programs, a replacement in place, and a crash, while clients come without a pause.
pub(crate) fn tell(place: &Place<'_>, foreign: &Foreign) -> Result<Figures> {
    let options = [
        "--socket",
        "web=tcp:127.0.0.1:8080",
        "--ready",
        foreign.ready,
    ];
    let mut words: Vec<&str> = foreign.words.iter().map(String::as_str).collect();
    let folder = place.folder().to_str().context("no UTF-8")?;
    for word in &mut words {
        if *word == "." {
            *word = folder;
        }
    }
    let container = place.start(&options, &words, words::READY)?;
    let [tcp, _] = container.endpoints()?;
    let mut longest = Duration::ZERO;
    let replaced = knock_during(&tcp, || {
        let mut current = container.until_pid(0, words::READY)?;
        for generation in 1..=TIMES {
            let (mark, begun) = (container.log.mark(), Instant::now());
            container.signal(Signal::HUP)?;
            let next = container.until_pid(mark, words::READY)?;
            longest = longest.max(begun.elapsed());
            container.until(mark, &exited(current, 0))?;
            container.signal(Signal::USR2)?;
            container.until(mark, &format!("{}{generation}", words::TAKEN_OVER))?;
            current = next;
        }
        Ok(())
    })?;
    ensure!(
        replaced.refused == 0 && replaced.cut_off == 0,
        "{replaced:?}"
    );
    let mut figures = Figures {
        requests: replaced.answered,
        failures: 0,
        remark: format!("{TIMES} new ones, longest {} ms", longest.as_millis()),
    };
    if foreign.serves_itself {
        let crashed = knock_during(&tcp, || crash(&container, &tcp))?;
        ensure!(crashed.refused == 0, "{crashed:?}");
        figures.requests += crashed.answered + crashed.cut_off;
        figures.failures += crashed.cut_off;
        figures.remark.push_str("; killed");
    }
    let status = container.stop()?;
    ensure!(status == 0, "it ends with status {status}");
    Ok(figures)
}

fn crash(container: &Container<'_>, tcp: &Endpoint) -> Result<()> {
    let before = ask(tcp)?;
    let mark = container.log.mark();
    let [program] = *container.children()? else {
        return Err(anyhow!("it has several children"));
    };
    Process::open(program)?.signal(Signal::KILL)?;
    container.until_pid(mark, words::READY)?;
    let after = ask(tcp)?;
    ensure!(after.pid != before.pid, "{after}");
    Ok(())
}

/// What clients saw that came while something was done, one after the other.
fn knock_during(tcp: &Endpoint, mut done: impl FnMut() -> Result<()>) -> Result<Knocks> {
    let over = AtomicBool::new(false);
    let knock = || -> Result<Knocks> {
        let mut knocks = Knocks::default();
        while !over.load(Ordering::Relaxed) {
            knocks.knock(tcp)?;
        }
        Ok(knocks)
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(knock)).collect();
        let outcome = done();
        over.store(true, Ordering::Relaxed);
        let mut all = Knocks::default();
        for client in clients {
            let knocks = client.join().map_err(|_| anyhow!("a client panicked"))??;
            all.answered += knocks.answered;
            all.cut_off += knocks.cut_off;
            all.refused += knocks.refused;
        }
        outcome.map(|()| all)
    })
}
