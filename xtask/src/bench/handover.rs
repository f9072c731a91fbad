//! `cargo xtask bench handover`: restarts under load, of the daemon and of others that replace
//! themselves, round by round in turn.

pub(crate) mod load;
mod report;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::goal;
use super::peers::{self, Server};
use crate::daemon::PATIENCE;
use crate::process;
use crate::step::Outcome;
use crate::workspace::Workspace;
use load::Load;
use report::Report;

/// What `cargo xtask bench handover` can be told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: super::Common,
    /// Restarts of each.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// Only these.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

/// How long clients are there before anything is counted.
const WARM_UP: Duration = Duration::from_millis(100);

/// Requests are counted for so long before the signal, and for so long from then on.
const WINDOW: Duration = Duration::from_millis(100);

/// Measures, prints and draws.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<Outcome> {
    let (mut peers, missing) = peers::build(workspace)?;
    if !options.only.is_empty() {
        peers.retain(|peer| options.only.iter().any(|name| name == peer.name));
    }
    process::become_subreaper()?;
    let _end = process::EndOfAll;
    let folder = tempfile::tempdir().context("no temporary folder")?;
    // nginx' workers are nobody.
    make_public(folder.path())?;

    let mut report = Report::new(options.rounds, missing);
    let mut servers = Vec::new();
    for peer in &peers {
        servers.push((peer.name, Server::start(peer, &[], folder.path())?));
    }
    let rounds = u64::from(options.rounds);
    let bar = ProgressBar::new(rounds * servers.len() as u64).with_style(
        ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}").context("progress bar")?,
    );
    for _ in 0..options.rounds {
        for (name, server) in &mut servers {
            bar.set_message(*name);
            let round = round(server).with_context(|| (*name).to_owned())?;
            report.record(name, round)?;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    drop(servers);
    report.complete();
    let common = &options.common;
    common.draw(workspace, &report.chart(), "handover-latency")?;
    if common.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", report.tables());
    }
    Ok(goal::outcome(&report.goals, common.check))
}

/// What one restart came to.
#[derive(Debug)]
struct Round {
    signalled: Instant,
    /// From the signal to the end of the successor's first answer.
    first_answer: Duration,
    requests: Vec<load::Request>,
}

fn round(server: &mut Server) -> Result<Round> {
    let load = Load::start(&server.endpoint);
    std::thread::sleep(WARM_UP + WINDOW);
    let signalled = Instant::now();
    server.restart()?;
    let Some((pid, at)) = load.wait_for_another(&[server.answers], signalled + PATIENCE) else {
        bail!("no successor answers");
    };
    server.replaced_by(pid)?;
    std::thread::sleep((signalled + WINDOW).saturating_duration_since(Instant::now()));
    Ok(Round {
        signalled,
        first_answer: at - signalled,
        requests: load.stop()?,
    })
}

/// For servers that give up their privileges.
pub(crate) fn make_public(folder: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("chmod {}", folder.display()))
}
