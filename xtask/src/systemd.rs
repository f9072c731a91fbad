//! `cargo xtask systemd`: systemd as PID 1 of a container, and the daemon as one of its services,
//! with the units of `examples/httpd/systemd`.

mod keeper;
pub(crate) mod machine;
mod readme;
mod stage;
mod stories;

use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};

use crate::step::{self, Outcome};
use crate::story::{self, Row};
use crate::workspace::Workspace;
use machine::Machine;
use stage::Stage;
use stories::STORIES;

/// What `cargo xtask systemd` can be told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Which versions, or all.
    #[arg(default_value = "all")]
    pub(crate) versions: Vec<Version>,
    /// Only the stories whose names have this in them.
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,
}

/// Those of which `ci/setup-systemd` makes root trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Version {
    #[value(name = "252")]
    V252,
    #[value(name = "257")]
    V257,
    #[value(name = "262")]
    V262,
    All,
}

impl Version {
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::V252 => &["252"],
            Self::V257 => &["257"],
            Self::V262 => &["262"],
            Self::All => &["252", "257", "262"],
        }
    }
}

/// Tells all stories to each version; fails when one of them ends otherwise.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<Outcome> {
    if let Err(outcome) = step::by_root()? {
        return Ok(outcome);
    }
    let mut versions: Vec<&str> = Vec::new();
    for name in options.versions.iter().flat_map(|version| version.names()) {
        if !versions.contains(name) {
            versions.push(name);
        }
    }
    if let Err(outcome) = workspace.set_up("ci/setup-systemd", &versions)? {
        return Ok(outcome);
    }
    let parts = Parts {
        daemon: workspace.build_httpd_for_systemd()?,
        keeper: workspace.build_release("gracenet-test-programs", "keeper")?,
        units: workspace.root.join("examples/httpd/systemd"),
        readme: workspace.root.join("README.md"),
    };
    let only = options.only.as_deref().unwrap_or("");
    let mut failed = false;
    for version in versions {
        let tree = workspace.target.join("systemd").join(version);
        let machine = Machine::boot(&tree).with_context(|| format!("systemd {version}"))?;
        println!("{}", machine.version());
        let rows = tell(&machine, &parts, only)?;
        failed |= !story::report(&rows);
        machine.end()?;
    }
    ensure!(!failed, "a story ends otherwise");
    Ok(Outcome::Done)
}

/// Where those things are that the stories take place with.
#[derive(Debug)]
struct Parts {
    daemon: PathBuf,
    /// A service that counts.
    keeper: PathBuf,
    /// The folder of the daemon's units.
    units: PathBuf,
    readme: PathBuf,
}

/// Tells the stories from within the machine's network.
fn tell(machine: &Machine, parts: &Parts, only: &str) -> Result<Vec<Row>> {
    let tell_all = || -> Result<Vec<Row>> {
        machine.enter_network()?;
        let stage = Stage::new(machine, parts)?;
        let wanted = STORIES.iter().filter(|(story, _)| story.contains(only));
        let mut rows = Vec::new();
        for (story, tell) in wanted {
            let outcome = stage.clear().and_then(|()| tell(&stage));
            let log = match &outcome {
                Ok(_) => String::new(),
                Err(_) => stage.journal(),
            };
            rows.push(Row {
                story: (*story).to_owned(),
                outcome,
                log,
            });
        }
        stage.clear()?;
        Ok(rows)
    };
    // A thread of its own: this one's network stays what it is.
    thread::scope(|scope| scope.spawn(tell_all).join()).map_err(|_| anyhow!("a story panicked"))?
}
