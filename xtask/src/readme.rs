//! `cargo xtask readme`: what README.md says to do on a fresh Debian, done there word for word.
//!
//! The machine is a container with systemd as its PID 1, on a root tree that has been made of little
//! more than apt and systemd. It is given what the README takes for granted, a toolchain and a
//! checkout; what it lacks otherwise it gets as it is told to, from the mirror.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cross::Toolchain;
use crate::pid1::words::{self, said};
use crate::step::{self, Outcome};
use crate::story::{self, Figures, Row};
use crate::systemd::machine::Machine;
use crate::workspace::Workspace;

/// What `cargo xtask readme` can be told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Which Debian.
    #[arg(default_value = "13")]
    pub(crate) versions: Vec<Version>,
}

/// Those of which `ci/setup-systemd` makes root trees with apt in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Version {
    #[value(name = "12")]
    V12,
    #[value(name = "13")]
    V13,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            versions: vec![Version::V13],
        }
    }
}

impl Version {
    fn tree(self) -> &'static str {
        match self {
            Self::V12 => "debian-12",
            Self::V13 => "debian-13",
        }
    }

    /// Those that are about it: its systemd may be older than what one of them asks for.
    fn sections(self) -> &'static [&'static Section] {
        match self {
            Self::V12 => &[&IN_A_CONTAINER],
            Self::V13 => &[&UNDER_SYSTEMD, &IN_A_CONTAINER],
        }
    }
}

/// One of the README's.
struct Section {
    heading: &'static str,
    /// What says which version it is of what is used.
    version: &'static str,
    /// What its commands must have written.
    check: fn(&str) -> Result<()>,
    /// What puts an end to what they leave.
    end: &'static str,
}

const UNDER_SYSTEMD: Section = Section {
    heading: "Under systemd",
    version: "systemctl --version | head --lines=1",
    check: |text| {
        for words in ["generation=0 ", "generation=1 ", "StatusText=serving"] {
            ensure!(text.contains(words), "no {words:?}");
        }
        Ok(())
    },
    end: "systemctl disable --now gracenet-httpd.socket gracenet-httpd.service",
};

const IN_A_CONTAINER: Section = Section {
    heading: "In a container",
    version: "podman --version",
    check: |text| {
        let count = |words: &str| {
            let lines = text.lines();
            lines.filter(|line| said(line, words).is_some()).count()
        };
        for (words, times) in [
            (words::STARTED, 2),
            (words::READY, 2),
            (words::TAKEN_OVER, 1),
            (words::TERMINATING, 1),
        ] {
            ensure!(count(words) == times, "not {times} {words:?}");
        }
        Ok(())
    },
    end: "test -z \"$(podman ps --all --quiet)\"",
};

/// Where the README's reader is.
const CHECKOUT: &str = "/srv/gracenet";

/// What podman would ask for otherwise takes a kernel whose controllers are all in the hierarchy of
/// the second version, and the right to raise limits; machines on which this is run may have neither.
const CONTAINERS: &str = "[containers]
pids_limit = 0
default_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]
";

/// crun of Debian 12 needs that right as well to put a container into a cgroup.
const WITHOUT_CGROUPS: &str = "cgroups = \"disabled\"\n";

/// How often the mirror is asked.
const ATTEMPTS: usize = 3;

/// How long packages may take, with all attempts, and all else.
const DELIVERY: Duration = Duration::from_secs(240);
const PATIENCE: Duration = Duration::from_secs(240);

/// Does what the sections say; fails when that is not what comes of it.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<Outcome> {
    if let Err(outcome) = step::by_root()? {
        return Ok(outcome);
    }
    let toolchain = Toolchain::find()?;
    let mut well = true;
    for version in &options.versions {
        if let Err(outcome) = workspace.set_up("ci/setup-systemd", &[version.tree()])? {
            return Ok(outcome);
        }
        let tree = workspace.target.join("systemd").join(version.tree());
        let machine = Machine::boot_with(&tree, &given(workspace, &toolchain)?)?;
        let configuration = machine.path("/etc/containers/containers.conf");
        fs::create_dir_all(configuration.parent().context("no folder")?)?;
        let lines = match version {
            Version::V12 => [CONTAINERS, WITHOUT_CGROUPS].concat(),
            Version::V13 => CONTAINERS.to_owned(),
        };
        fs::write(configuration, lines)?;
        let mut rows = Vec::new();
        for section in version.sections() {
            let begun = Instant::now();
            let Some(row) = follow(workspace, &machine, section)? else {
                return Ok(Outcome::NotRun("mirror".to_owned()));
            };
            let seconds = begun.elapsed().as_secs_f64();
            eprintln!("{seconds:7.1} s  {}: {}", version.tree(), section.heading);
            rows.push(row);
        }
        println!("{}", version.tree());
        well &= story::report(&rows);
        machine.end()?;
    }
    ensure!(well, "the README says otherwise");
    Ok(Outcome::Done)
}

/// A toolchain, the crates that it has downloaded, and a checkout in which nothing has been built;
/// and what a machine has that is no container: a disk for podman, and names of hosts.
fn given(workspace: &Workspace, toolchain: &Toolchain) -> Result<Vec<String>> {
    let home = match env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from(env::var_os("HOME").context("no HOME")?).join(".cargo"),
    };
    let sysroot = &toolchain.sysroot;
    ensure!(
        sysroot.join("bin/cargo").is_file(),
        "no cargo in {sysroot:?}"
    );
    let mut options = vec![
        format!("--bind-ro={}:/opt/rust", sysroot.display()),
        // What is written there is kept elsewhere, and goes with the machine.
        format!(
            "--overlay={}::/opt/registry",
            home.join("registry").display()
        ),
        format!("--overlay={}::{CHECKOUT}", workspace.root.display()),
        format!("--tmpfs={CHECKOUT}/target:mode=0755"),
        "--tmpfs=/var/lib/containers:mode=0755".to_owned(),
    ];
    if fs::exists("/etc/resolv.conf")? {
        options.push("--bind-ro=/etc/resolv.conf".to_owned());
    }
    Ok(options)
}

/// The packages first, for which the machine is let out of its network; `None` when the mirror does
/// not deliver them.
fn follow(workspace: &Workspace, machine: &Machine, section: &Section) -> Result<Option<Row>> {
    let heading = section.heading;
    let text = fs::read_to_string(workspace.root.join("README.md"))?;
    let commands = commands(&text, heading).with_context(|| format!("no commands: {heading}"))?;
    let (packages, others) = commands.split_once('\n').context("one command")?;
    ensure!(packages.starts_with("apt "), "no packages: {packages}");
    if !install(machine, packages)? {
        return Ok(None);
    }
    eprintln!("$ {}", others.replace('\n', "\n$ "));
    let (succeeded, said) = machine.run_for(PATIENCE, &shell(others))?;
    let outcome = conclude(machine, section, succeeded, &said);
    Ok(Some(Row {
        story: heading.to_owned(),
        outcome,
        log: said,
    }))
}

/// Whether the mirror delivers what this command asks of it.
fn install(machine: &Machine, packages: &str) -> Result<bool> {
    let deadline = Instant::now() + DELIVERY;
    for _ in 0..ATTEMPTS {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.as_secs() == 0 {
            break;
        }
        eprintln!("$ {packages}");
        let (succeeded, said) = machine.run_outside(left, &shell(packages))?;
        if succeeded {
            return Ok(true);
        }
        eprintln!("{said}");
        // What else fails is no mirror's fault.
        let is_mirrors = said.contains("Err:") || Instant::now() >= deadline;
        ensure!(is_mirrors, "{packages}");
    }
    Ok(false)
}

/// Whether it is what was said, and an end.
fn conclude(machine: &Machine, section: &Section, succeeded: bool, said: &str) -> Result<Figures> {
    ensure!(succeeded, "a command fails");
    (section.check)(said)?;
    let must = |command: &str| -> Result<String> {
        let (succeeded, said) = machine.run_for(PATIENCE, &shell(command))?;
        ensure!(succeeded, "{command}: {said}");
        Ok(said.lines().next().unwrap_or_default().to_owned())
    };
    must(section.end)?;
    Ok(Figures {
        requests: 2,
        failures: 0,
        remark: must(section.version)?,
    })
}

/// Commands as root's shell takes them there, in a checkout.
fn shell(commands: &str) -> [&str; 13] {
    [
        "env",
        "--ignore-environment",
        "--chdir=/srv/gracenet",
        "HOME=/root",
        "CARGO_HOME=/opt",
        "LANG=C.UTF-8",
        "PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        // Nobody answers questions.
        "DEBIAN_FRONTEND=noninteractive",
        // There is no network when something is built, and all crates are there.
        "CARGO_NET_OFFLINE=true",
        "bash",
        "-eux",
        "-c",
        commands,
    ]
}

/// `commands(readme, heading)` — what stands between the fences of the section's first block.
pub(crate) fn commands<'a>(readme: &'a str, heading: &str) -> Option<&'a str> {
    let (_, section) = readme.split_once(&format!("\n## {heading}\n"))?;
    let (_, block) = section.split_once("\n```sh\n")?;
    block.split_once("\n```\n").map(|(block, _)| block)
}

#[cfg(test)]
mod tests {
    use super::commands;

    #[test]
    fn commands_are_those_of_the_section() {
        let readme =
            "```sh\na\n```\n## Under systemd\n\nText\n\n```sh\nb # c\nd\n```\n\n```sh\ne\n```\n";
        assert_eq!(commands(readme, "Under systemd"), Some("b # c\nd"));
        assert_eq!(commands(readme, "Elsewhere"), None);
        assert_eq!(
            commands("\n## Under systemd\n\nText\n", "Under systemd"),
            None
        );
    }
}
