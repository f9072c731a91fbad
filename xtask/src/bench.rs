//! `cargo xtask bench`: what things take, and what they take elsewhere. Each has a
//! table for the terminal, an object for machines, and charts in `target/bench`.

mod chart;
mod figures;
mod footprint;
mod goal;
pub(crate) mod handover;
pub(crate) mod instructions;
pub(crate) mod peers;
mod spawn;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::step::Outcome;
use crate::workspace::Workspace;
use chart::Chart;

/// What `cargo xtask bench` can be told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, clap::Subcommand)]
enum Bench {
    /// Starts of a program: time against memory, and against open fds.
    Spawn(spawn::Options),
    /// Restarts under load: time to the successor's first answer, and what clients notice.
    Handover(handover::Options),
    /// Servers after one request: size, memory, page faults, system calls.
    Footprint(footprint::Options),
    /// Instructions of a start, against a golden file.
    Instructions(instructions::Options),
}

/// What all of them can be told.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// Print one JSON object instead of the tables.
    #[arg(long)]
    json: bool,
    /// Fail when a goal is missed.
    #[arg(long)]
    check: bool,
    /// Put the charts into the repository as well, as SVG.
    #[arg(long)]
    publish: bool,
}

impl Common {
    /// Draws a chart, into all places where it is wanted.
    fn draw(&self, workspace: &Workspace, chart: &Chart<'_>, name: &str) -> Result<()> {
        let svg = chart::draw(chart, &folder(workspace)?, name)?;
        if self.publish {
            let folder = workspace.root.join(PUBLISHED);
            fs::create_dir_all(&folder)?;
            let place = folder.join(name).with_extension("svg");
            fs::copy(svg, &place).with_context(|| format!("cannot write {}", place.display()))?;
        }
        Ok(())
    }
}

/// Relative to the workspace; the README shows what is there.
const PUBLISHED: &str = "ci/charts";

/// Runs one of them.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<Outcome> {
    match &options.bench {
        Bench::Spawn(options) => spawn::run(workspace, options),
        Bench::Handover(options) => handover::run(workspace, options),
        Bench::Footprint(options) => footprint::run(workspace, options),
        Bench::Instructions(options) => instructions::run(workspace, options),
    }
}

/// Where charts are put.
pub(crate) fn folder(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}
