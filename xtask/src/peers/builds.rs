//! The programs of the stories, and of which versions what they are made of is.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::bench::{self, peers};
use crate::step::{self, Outcome};
use crate::workspace::Workspace;

/// Where they are.
#[derive(Debug)]
pub(crate) struct Builds {
    /// The daemon with what it has for systemd, which is what it has for others, too.
    pub(crate) daemon: PathBuf,
    /// Go's.
    pub(crate) grace: PathBuf,
    pub(crate) libsystemd: PathBuf,
    pub(crate) systemd_python: PathBuf,
    pub(crate) go_systemd: PathBuf,
    pub(crate) listenfd: PathBuf,
    /// A script that starts the daemon with the sockets of an fdholder.
    pub(crate) run: PathBuf,
}

/// In the workspace.
const READERS: &str = "xtask/peers/readers";

impl Builds {
    /// Builds them all; what the task has come to when a registry does not deliver.
    pub(crate) fn new(workspace: &Workspace) -> Result<Result<Self, Outcome>> {
        let target = bench::folder(workspace)?.join("peers");
        std::fs::create_dir_all(&target)?;
        let readers = workspace.root.join(READERS);
        let Some(listenfd) = build_listenfd(workspace, &readers.join("listenfd"), &target)? else {
            return Ok(Err(Outcome::NotRun("mirror".to_owned())));
        };
        let go = |sources: &Path, (name, package)| {
            peers::build_go(sources, &target, name, package).map_err(anyhow::Error::msg)
        };
        Ok(Ok(Self {
            daemon: workspace.build_httpd_for_systemd()?,
            grace: go(&workspace.root.join("xtask/peers/go"), peers::GRACE)?,
            libsystemd: build_c(&readers.join("libsystemd/reader.c"), &target)?,
            systemd_python: readers.join("systemd-python/reader.py"),
            go_systemd: go(&readers, ("go-systemd", "github.com/coreos/go-systemd"))?,
            listenfd,
            run: workspace.root.join("xtask/peers/fdholder/run"),
        }))
    }

    /// A line of what it all is.
    pub(crate) fn versions(&self, workspace: &Workspace) -> Result<String> {
        let first_line = |program: &str, argument: &str| -> Result<String> {
            let text = step::output(Command::new(program).arg(argument))?;
            Ok(text.lines().next().unwrap_or_default().to_owned())
        };
        let mut versions = vec![
            first_line("systemd-socket-activate", "--version")?,
            first_line("go", "version")?,
            first_line("/usr/bin/python3", "--version")?,
        ];
        for package in [
            "libsystemd0",
            "python3-systemd",
            "golang-github-coreos-go-systemd-dev",
            "golang-github-facebookgo-grace-dev",
            "s6",
        ] {
            let mut query = Command::new("dpkg-query");
            query.args(["--show", "--showformat=${Package} ${Version}", package]);
            versions.push(step::output(&mut query)?);
        }
        let mut id = workspace.cargo(["pkgid", "listenfd"]);
        id.current_dir(workspace.root.join(READERS).join("listenfd"));
        let id = step::output(&mut id)?;
        let version = id.trim_end().rsplit('@').next().unwrap_or_default();
        versions.push(format!("listenfd {version}"));
        Ok(versions.join("; "))
    }
}

fn build_c(source: &Path, target: &Path) -> Result<PathBuf> {
    let program = target.join("libsystemd");
    let mut command = Command::new("cc");
    command
        .args(["-O2", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&program)
        .arg(source)
        .arg("-lsystemd");
    step::run(&mut command)?;
    Ok(program)
}

/// `None` when the registry does not deliver what it depends on.
fn build_listenfd(workspace: &Workspace, sources: &Path, target: &Path) -> Result<Option<PathBuf>> {
    const ATTEMPTS: usize = 3;
    let cargo = |words: &[&str]| {
        let mut command = workspace.cargo(words.iter().copied());
        command.current_dir(sources).env("CARGO_TARGET_DIR", target);
        command
    };
    let fetch = || step::run(&mut cargo(&["fetch", "--quiet", "--locked"])).is_ok();
    if !(0..ATTEMPTS).any(|_| fetch()) {
        return Ok(None);
    }
    let build = ["build", "--quiet", "--release", "--locked", "--offline"];
    step::run(&mut cargo(&build)).context("the reader by listenfd")?;
    Ok(Some(target.join("release/listenfd-reader")))
}
