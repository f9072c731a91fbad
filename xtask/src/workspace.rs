//! The workspace as cargo sees it, and builds of its programs.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::step::{self, Outcome};

/// What `cargo metadata` says, as far as the tasks need it.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    /// The folder of the workspace's `Cargo.toml`.
    #[serde(rename = "workspace_root")]
    pub(crate) root: PathBuf,
    #[serde(rename = "target_directory")]
    pub(crate) target: PathBuf,
    packages: Vec<Package>,
}

/// A member of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
    test: bool,
}

impl Workspace {
    /// `Workspace::find()` — asks cargo.
    pub(crate) fn find() -> Result<Self> {
        let mut command = cargo();
        command.args(["metadata", "--no-deps", "--format-version", "1"]);
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        let text = step::output(&mut command)?;
        serde_json::from_str(&text).context("cargo metadata")
    }

    /// A cargo command in the workspace's folder.
    pub(crate) fn cargo<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = cargo();
        command.current_dir(&self.root).args(arguments);
        command
    }

    /// `workspace.set_up(script, arguments)` — runs one of the scripts in `ci` that install what a
    /// task needs; what the task has come to when the mirror did not deliver.
    pub(crate) fn set_up(&self, script: &str, arguments: &[&str]) -> Result<Result<(), Outcome>> {
        let mut command = Command::new(self.root.join(script));
        command
            .args(arguments)
            .env("CARGO_TARGET_DIR", &self.target);
        let status = command
            .status()
            .with_context(|| format!("cannot start {script}"))?;
        match status.code() {
            Some(0) => Ok(Ok(())),
            Some(NOT_DELIVERED) => Ok(Err(Outcome::NotRun("mirror".to_owned()))),
            _ => bail!("{script}: {status}"),
        }
    }

    /// The packages of programs without std: each must be built on its own, or
    /// the features that others want of rustix would reach it.
    pub(crate) fn programs(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| {
            let with_std = ["gracenet", "xtask", "gracenet-spawner"];
            !with_std.contains(&package.name.as_str())
        })
    }

    /// Builds the daemon as it is delivered, and returns where it is.
    pub(crate) fn build_httpd(&self) -> Result<PathBuf> {
        let mut command = self.cargo(BUILD_HTTPD);
        command.env_remove(TAG);
        step::run(&mut command)?;
        Ok(httpd_in(&self.target))
    }

    /// Builds a program of a package as it is delivered, and returns where it is.
    pub(crate) fn build_release(&self, package: &str, program: &str) -> Result<PathBuf> {
        let mut command = self.cargo(["build", "--release", "-p", package, "--bin", program]);
        step::run(&mut command)?;
        Ok(self.target.join("release").join(program))
    }

    /// Builds the daemon with another tag, in a target folder of its own, so
    /// that the delivered one keeps its tag.
    pub(crate) fn build_httpd_tagged(&self, tag: &str) -> Result<PathBuf> {
        let target = self.target.join("demo");
        let mut command = self.cargo(BUILD_HTTPD);
        command.env(TAG, tag).env("CARGO_TARGET_DIR", &target);
        step::run(&mut command)?;
        Ok(httpd_in(&target))
    }

    /// Builds the daemon with all that it has for systemd, in a target folder of its own.
    pub(crate) fn build_httpd_for_systemd(&self) -> Result<PathBuf> {
        let target = self.target.join("for-systemd");
        let mut command = self.cargo(BUILD_HTTPD);
        command
            .args(["--features", "systemd"])
            .env_remove(TAG)
            .env("CARGO_TARGET_DIR", &target);
        step::run(&mut command)?;
        Ok(httpd_in(&target))
    }

    /// Builds a package's program with its symbol table, in a target folder of its own.
    pub(crate) fn build_unstripped(&self, package: &str) -> Result<PathBuf> {
        let target = self.target.join("unstripped");
        let mut command = self.cargo(["build", "--release", "-p", package]);
        command
            .env_remove(TAG)
            .env("CARGO_TARGET_DIR", &target)
            .env("CARGO_PROFILE_RELEASE_STRIP", "none");
        step::run(&mut command)?;
        Ok(target.join("release").join(package))
    }

    /// Builds a package's program so that it links only if no panic can be reached.
    pub(crate) fn link_without_panics(&self, package: &str, features: &str) -> Result<()> {
        let mut command = self.cargo(["build", "--release", "-p", package]);
        command
            .args(["--features", features])
            .env_remove(TAG)
            .env("CARGO_TARGET_DIR", self.target.join("without-panics"));
        step::run(&mut command)
    }
}

impl Package {
    /// The arguments of `cargo test` for each target that has tests to run on
    /// this machine: libraries and integration tests, never a program without
    /// std.
    pub(crate) fn test_targets(&self) -> Vec<Vec<String>> {
        self.targets
            .iter()
            .filter(|target| target.test)
            .filter_map(|target| match target.kind.first().map(String::as_str) {
                Some("lib") => Some(vec!["--lib".to_owned()]),
                Some("test") => Some(vec!["--test".to_owned(), target.name.clone()]),
                _ => None,
            })
            .collect()
    }

    /// Whether it is, among other things, a library.
    pub(crate) fn is_library(&self) -> bool {
        self.targets
            .iter()
            .any(|target| target.kind.iter().any(|kind| kind == "lib"))
    }
}

/// What the scripts in `ci` end with when the mirror did not deliver.
const NOT_DELIVERED: i32 = 75;

/// Read by the daemon's build script.
const TAG: &str = "GRACENET_HTTPD_TAG";

const BUILD_HTTPD: [&str; 4] = ["build", "--release", "-p", "gracenet-httpd"];

/// The cargo that runs us, else the one in `PATH`; without the variables that
/// `cargo run` set for this program alone, which are inputs of build scripts.
fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (key, _) in env::vars_os() {
        let name = key.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&key);
        }
    }
    command
}

fn httpd_in(target: &Path) -> PathBuf {
    target.join("release").join("gracenet-httpd")
}
