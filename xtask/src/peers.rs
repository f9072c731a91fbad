//! `cargo xtask peers`: programs that are not ours, before the daemon and after it: an activator,
//! readers of what it passes, Go's gracenet, and an s6 fdholder. `ci/setup-peers` installs what
//! they need.

mod activated;
mod builds;
mod fdholder;
mod grace;
mod readers;

use anyhow::{Result, ensure};
use serde::Deserialize;

use crate::daemon::PATIENCE;
use crate::endpoint::Endpoint;
use crate::process;
use crate::step::Outcome;
use crate::story::{self, Figures, Row};
use crate::workspace::Workspace;
use builds::Builds;
use readers::READERS;

/// What `cargo xtask peers` can be told.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Only the stories whose names have this in them.
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,
}

/// Of the TCP socket and of the unix socket, as `xtask/peers/fdholder/run` has them, too.
const NAMES: [&str; 2] = ["web", "admin"];

/// A name, and what is told under it.
type Story<'a> = (String, Box<dyn Fn() -> Result<Figures> + 'a>);

/// Tells all stories; fails when one of them ends otherwise.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<Outcome> {
    if let Err(outcome) = workspace.set_up("ci/setup-peers", &[])? {
        return Ok(outcome);
    }
    let builds = match Builds::new(workspace)? {
        Ok(builds) => builds,
        Err(outcome) => return Ok(outcome),
    };
    process::become_subreaper()?;
    println!("{}", builds.versions(workspace)?);
    let only = options.only.as_deref().unwrap_or("");
    let mut rows = Vec::new();
    for (story, tell) in stories(&builds) {
        if story.contains(only) {
            let _end = process::EndOfAll;
            let outcome = tell();
            rows.push(Row {
                story,
                outcome,
                log: String::new(),
            });
        }
    }
    ensure!(story::report(&rows), "a story ends otherwise");
    Ok(Outcome::Done)
}

/// What `/status` says of a socket.
#[derive(Debug, PartialEq, Deserialize)]
struct Socket {
    name: String,
    network: String,
    address: String,
    inherited: bool,
}

/// Fails unless the daemon has these sockets, inherited, and under their names.
pub(crate) fn expect_names(endpoints: &[Endpoint; 2]) -> Result<()> {
    #[derive(Deserialize)]
    struct Status {
        sockets: Vec<Socket>,
    }
    let body = endpoints[1].get("/status", PATIENCE)?;
    let status: Status = serde_json::from_slice(&body)?;
    let expected = [0, 1].map(|index| Socket {
        name: NAMES[index].to_owned(),
        network: endpoints[index].to_string(),
        address: endpoints[index].address(),
        inherited: true,
    });
    ensure!(status.sockets == expected, "{:?}", status.sockets);
    Ok(())
}

/// In the order in which they are told.
fn stories(builds: &Builds) -> Vec<Story<'_>> {
    let mut stories: Vec<Story<'_>> = vec![(
        "behind systemd-socket-activate".to_owned(),
        Box::new(|| activated::restarts(builds)),
    )];
    for reader in &READERS {
        let name = format!("a successor that reads by {}", reader.library);
        stories.push((name, Box::new(|| readers::take_over(builds, reader))));
    }
    stories.push((
        "in turn with Go's gracenet".to_owned(),
        Box::new(|| grace::in_turn(builds)),
    ));
    stories.push((
        "killed, with the sockets in an s6 fdholder".to_owned(),
        Box::new(|| fdholder::killed(builds)),
    ));
    stories
}
