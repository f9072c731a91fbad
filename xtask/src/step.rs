//! What a task comes to, and the commands that it runs.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// What became of a task.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was done, and all is well.
    Done,
    /// It could not be done for a reason that is not the project's: the text
    /// completes "not run: ".
    NotRun(String),
    /// It could not be done without this, which the mirror did not deliver.
    Undelivered(String),
    /// It failed, and has said why itself.
    Failed,
}

/// `run(command)` — runs it, with its output on stderr, and fails unless it
/// exits with status 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdout(to_stderr()?)
        .status()
        .with_context(|| format!("cannot start {}", line(command)))?;
    if !status.success() {
        bail!("{}: {status}", line(command));
    }
    Ok(())
}

/// `output(command)` — runs it and returns what it wrote to stdout; its stderr
/// is the terminal's.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", line(command)))?;
    if !output.status.success() {
        bail!("{}: {}", line(command), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} wrote no UTF-8", line(command)))
}

/// The command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// What a task comes to that makes containers, and is not run by root.
pub(crate) fn by_root() -> Result<Result<(), Outcome>> {
    if rustix::process::geteuid().is_root() {
        return Ok(Ok(()));
    }
    if in_ci() {
        bail!("only root can make containers");
    }
    Ok(Err(Outcome::NotRun("it has to be root".to_owned())))
}

/// `tool(name)` — where in `PATH` the program is.
///
/// Without it the task is not run when a mirror is to blame
/// (`GRACENET_NOT_RUN=mirror`, set by `.ci/run`) or on a developer's machine;
/// with `CI=true` it is a failure.
pub(crate) fn tool(name: &str) -> Result<Result<PathBuf, Outcome>> {
    match find(name) {
        Some(path) => Ok(Ok(path)),
        None if env::var_os("GRACENET_NOT_RUN").is_some_and(|why| why == "mirror") => {
            Ok(Err(Outcome::NotRun("mirror".to_owned())))
        }
        None if in_ci() => bail!("{name} is missing; ci/setup installs it"),
        None => Ok(Err(Outcome::NotRun(format!(
            "{name} is missing; ci/setup installs it"
        )))),
    }
}

/// `find(name)` — where in `PATH` the program is.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// Whether a missing tool is a failure: `CI=true`.
pub(crate) fn in_ci() -> bool {
    env::var_os("CI").is_some_and(|value| value == "true")
}

/// Keeps stdout for figures: what commands write goes to stderr.
fn to_stderr() -> Result<Stdio> {
    let stderr =
        rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), 3).context("cannot duplicate stderr")?;
    Ok(Stdio::from(stderr))
}
