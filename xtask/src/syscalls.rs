//! `cargo xtask syscalls`: what the kernel is asked for in one hand-over, from the
//! signal to the connection that the successor accepts first, compared with a
//! golden file that gives the reasons.

mod golden;
mod trace;

use std::ffi::OsString;
use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::daemon::{Daemon, PATIENCE, deploy};
use crate::process::{self, Process};
use crate::step::{self, Outcome};
use crate::workspace::Workspace;
use golden::Golden;

/// What `cargo xtask syscalls` can be told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Write the golden file anew; the reasons of lines that stay are kept.
    #[arg(long)]
    pub(crate) bless: bool,
}

/// Relative to the workspace.
const GOLDEN: &str = "ci/golden/handover.txt";

/// Traces one hand-over and compares it, or blesses it.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<Outcome> {
    let strace = match step::tool("strace")? {
        Ok(path) => path,
        Err(outcome) => return Ok(outcome),
    };
    let binary = workspace.build_httpd()?;
    process::become_subreaper()?;
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let place = folder.path().join("gracenet-httpd");
    let record = folder.path().join("trace");
    deploy(&binary, &place)?;
    let before: [OsString; 4] = [
        strace.into(),
        "-f".into(),
        "-o".into(),
        record.clone().into(),
    ];

    let daemon = Daemon::start(&before, &place, folder.path())?;
    let predecessor = Process::open(daemon.ask()?.pid)?;
    predecessor.signal(Signal::USR2)?;
    // Only then can nobody but the successor accept the next connection.
    if !predecessor.wait_for_end(Instant::now() + PATIENCE)? {
        bail!("the predecessor did not end:\n{}", daemon.log.tail());
    }
    let mut successor = Process::open(daemon.ask()?.pid)?;
    let predecessor = predecessor.pid;
    daemon.finish(&mut successor)?;

    let text = fs::read_to_string(&record).context("strace wrote nothing")?;
    let calls = trace::hand_over(&text, predecessor, successor.pid)?;
    let path = workspace.root.join(GOLDEN);
    let old = match fs::read_to_string(&path) {
        Ok(text) => Golden::parse(&text)?,
        Err(_) => Golden::default(),
    };
    let new = Golden::new(calls, &old);
    let unexplained = new.unexplained();
    println!(
        "{} syscalls, {} of them without a reason",
        new.calls(),
        unexplained.len()
    );
    if options.bless {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, new.to_string())?;
        println!("{GOLDEN} is written");
        return Ok(Outcome::Done);
    }
    if !path.exists() {
        bail!("there is no {GOLDEN} yet: --bless writes it");
    }
    if let Some(difference) = old.difference(&new) {
        bail!("{GOLDEN} is not what happens (--bless writes it anew):\n{difference}");
    }
    if !unexplained.is_empty() {
        bail!("{GOLDEN} gives no reason for:\n{}", unexplained.join("\n"));
    }
    Ok(Outcome::Done)
}
