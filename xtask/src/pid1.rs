//! `cargo xtask pid1`: `gracenet-init` as PID 1 of containers, in front of the daemon and of others.

mod container;
mod foreign;
mod runtime;
mod stories;
pub(crate) mod words;

use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use clap::ValueEnum as _;

use crate::network::Network;
use crate::step::{self, Outcome};
use crate::story::{self, Figures, Row};
use crate::workspace::Workspace;
use container::Place;
use foreign::Foreign;
use runtime::Runtime;
use stories::{MORE, STORIES, Story};

/// What `cargo xtask pid1` can be told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What makes the containers; all of them without any.
    pub(crate) runtimes: Vec<Runtime>,
    /// Only the stories whose names have this in them.
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,
}

/// What is put into a container: static, all of them.
#[derive(Debug)]
struct Programs {
    init: PathBuf,
    httpd: PathBuf,
    ward: PathBuf,
    turncoat: PathBuf,
}

/// Tells all stories in each kind of container; fails when one of them ends otherwise.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<Outcome> {
    if let Err(outcome) = step::by_root()? {
        return Ok(outcome);
    }
    if let Err(outcome) = workspace.set_up("ci/setup-containers", &[])? {
        return Ok(outcome);
    }
    let programs = Programs {
        init: workspace.build_release("gracenet-init", "gracenet-init")?,
        httpd: workspace.build_httpd()?,
        ward: workspace.build_release("gracenet-test-programs", "ward")?,
        turncoat: workspace.build_release("gracenet-test-programs", "turncoat")?,
    };
    let runtimes = match options.runtimes.as_slice() {
        [] => Runtime::value_variants(),
        runtimes => runtimes,
    };
    let foreign = match runtimes.contains(&Runtime::OnHost) {
        true => foreign::all(workspace)?,
        false => Vec::new(),
    };
    let only = options.only.as_deref().unwrap_or("");
    let tell_all = || -> Result<bool> {
        let network = Network::new("")?;
        network.enter()?;
        let mut well = true;
        for runtime in runtimes {
            let place = Place::new(*runtime, &programs, &network)
                .with_context(|| format!("{runtime:?}"))?;
            println!("{}", place.label);
            well &= story::report(&match runtime {
                Runtime::OnHost => tell_foreign(&place, &foreign, only),
                Runtime::Unshare => tell(&place, &[STORIES, MORE].concat(), only),
                _ => tell(&place, STORIES, only),
            });
        }
        Ok(well)
    };
    // A thread of its own: this one's network stays what it is.
    let well = thread::scope(|scope| scope.spawn(tell_all).join());
    let well = well.map_err(|_| anyhow!("a story panicked"))??;
    ensure!(well, "a story ends otherwise");
    Ok(Outcome::Done)
}

fn tell(place: &Place<'_>, stories: &[(&str, Story)], only: &str) -> Vec<Row> {
    let wanted = stories.iter().filter(|(story, _)| story.contains(only));
    wanted
        .map(|(story, tell)| tell_one(place, story, || tell(place)))
        .collect()
}

fn tell_foreign(place: &Place<'_>, programs: &[Foreign], only: &str) -> Vec<Row> {
    let wanted = programs
        .iter()
        .filter(|foreign| foreign.name.contains(only));
    wanted
        .map(|foreign| tell_one(place, &foreign.name, || foreign::tell(place, foreign)))
        .collect()
}

fn tell_one(place: &Place<'_>, story: &str, tell: impl FnOnce() -> Result<Figures>) -> Row {
    let begun = Instant::now();
    let outcome = place.clear().and_then(|()| tell());
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!("{seconds:7.1} s  {}: {story}", place.label);
    let log = match &outcome {
        Ok(_) => String::new(),
        Err(_) => place.log(),
    };
    Row {
        story: story.to_owned(),
        outcome,
        log,
    }
}
