//! What makes containers: how each of them is told to.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::step;

/// Each makes one out of a root tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Runtime {
    Unshare,
    /// With no more rights than anybody has.
    UnshareAsNobody,
    Bubblewrap,
    Runc,
    Podman,
    Nspawn,
    /// unshare on this machine's own root, for programs that are not ours.
    #[value(name = "foreign")]
    OnHost,
}

/// The container's name, for those that want one.
pub(crate) const NAME: &str = "gracenet-pid1";

/// Where podman has its images: a mount on itself, which stays.
pub(crate) const STORAGE: &str = "/storage/overlay ";

const AS_NOBODY: [&str; 4] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
];

impl Runtime {
    /// Its name and its version.
    pub(crate) fn label(self) -> Result<String> {
        let (name, program) = match self {
            Self::Unshare => ("unshare", "unshare"),
            Self::UnshareAsNobody => ("unshare as nobody", "unshare"),
            Self::Bubblewrap => ("bubblewrap", "bwrap"),
            Self::Runc => ("runc", "runc"),
            Self::Podman => ("podman", "podman"),
            Self::Nspawn => ("nspawn", "systemd-nspawn"),
            Self::OnHost => ("unshare on this machine's root", "unshare"),
        };
        let text = step::output(Command::new(program).arg("--version"))?;
        let is_version = |word: &&str| word.starts_with(|first: char| first.is_ascii_digit());
        let version = text.split_whitespace().find(is_version);
        let version = version.with_context(|| format!("no version of {program}: {text}"))?;
        Ok(format!("{name} {version}"))
    }

    /// Done once, with a folder that has the root tree in it.
    pub(crate) fn prepare(self, folder: &Path) -> Result<()> {
        match self {
            Self::Runc => {
                let bundle = folder.join("bundle");
                fs::create_dir(&bundle)?;
                step::run(Command::new("runc").arg("spec").current_dir(&bundle))
            }
            Self::Podman => {
                write_configuration(folder)?;
                let file = folder.join("Containerfile");
                fs::write(&file, "FROM scratch\nCOPY . /\n")?;
                let mut build = podman(folder);
                build.args(["build", "--quiet", "--tag", NAME, "--file"]);
                step::run(build.arg(file).arg(folder.join("root")))
            }
            _ => Ok(()),
        }
    }

    /// `runtime.command(folder, words)` — runs these words as PID 1, and waits for their end.
    pub(crate) fn command(self, folder: &Path, words: &[&str]) -> Result<Command> {
        let root = folder.join("root");
        let mut command = match self {
            Self::Unshare => unshare(&["unshare", "--pid"], &root),
            Self::OnHost => unshare(&["unshare", "--pid"], Path::new("/")),
            Self::UnshareAsNobody => {
                let namespaces = ["unshare", "--user", "--map-root-user", "--pid"];
                unshare(&[AS_NOBODY.as_slice(), &namespaces].concat(), &root)
            }
            Self::Bubblewrap => {
                let mut bwrap = Command::new("bwrap");
                bwrap.args(["--unshare-pid", "--as-pid-1", "--bind"]);
                bwrap.arg(root).args(["/", "--proc", "/proc"]);
                bwrap
            }
            Self::Runc => {
                configure(&folder.join("bundle/config.json"), &root, words)?;
                let mut run = runc(folder);
                run.args(["run", "--bundle"]).arg(folder.join("bundle"));
                run.arg(NAME);
                return Ok(run);
            }
            Self::Podman => {
                let mut run = podman(folder);
                run.args(["run", "--rm", "--name", NAME, "--network=host"]);
                run.arg(format!("localhost/{NAME}"));
                run
            }
            Self::Nspawn => {
                let mut nspawn = Command::new("systemd-nspawn");
                nspawn.args(["--quiet", "--register=no", "--keep-unit", "--console=pipe"]);
                nspawn.args(["--resolv-conf=off", "--timezone=off", "--directory"]);
                nspawn.arg(root);
                nspawn
            }
        };
        command.args(words);
        Ok(command)
    }

    /// What sends a signal to PID 1, where it is not the signal's sender itself.
    pub(crate) fn kill(self, folder: &Path, signal: i32) -> Option<Command> {
        let mut command = match self {
            Self::Runc => runc(folder),
            Self::Podman => podman(folder),
            _ => return None,
        };
        let signal = signal.to_string();
        match self {
            Self::Podman => command.args(["kill", "--signal", &signal, NAME]),
            _ => command.args(["kill", NAME, &signal]),
        };
        Some(command)
    }

    /// What stops it, where that is not SIGTERM alone.
    pub(crate) fn stop(self, folder: &Path) -> Option<Command> {
        (self == Self::Podman).then(|| {
            let mut stop = podman(folder);
            stop.args(["stop", "--time", "30", NAME]);
            stop
        })
    }

    /// What takes away what [`prepare`](Self::prepare) has made, where that is more than files.
    pub(crate) fn clean(self, folder: &Path) -> Option<Command> {
        (self == Self::Podman).then(|| {
            let mut umount = Command::new("umount");
            umount
                .args(["--quiet", "--lazy"])
                .arg(folder.join("storage/overlay"));
            umount
        })
    }

    /// What takes away one that has not ended as it should.
    pub(crate) fn remove(self, folder: &Path) -> Option<Command> {
        let mut command = match self {
            Self::Runc => runc(folder),
            Self::Podman => podman(folder),
            _ => return None,
        };
        match self {
            Self::Podman => command.args(["rm", "--force", "--ignore", NAME]),
            _ => command.args(["delete", "--force", NAME]),
        };
        Some(command)
    }

    /// The containers that it knows of.
    pub(crate) fn list(self, folder: &Path) -> Result<String> {
        match self {
            Self::Runc => step::output(runc(folder).args(["list", "--quiet"])),
            Self::Podman => step::output(podman(folder).args(["ps", "--all", "--quiet"])),
            _ => Ok(String::new()),
        }
    }
}

fn unshare(before: &[&str], root: &Path) -> Command {
    let mut unshare = Command::new(before[0]);
    unshare.args(&before[1..]);
    unshare.args(["--fork", "--kill-child", "--mount-proc"]);
    let mut option = OsString::from("--root=");
    option.push(root);
    unshare.arg(option);
    unshare
}

fn runc(folder: &Path) -> Command {
    let mut runc = Command::new("runc");
    runc.arg("--root").arg(folder.join("runc"));
    runc
}

fn podman(folder: &Path) -> Command {
    let mut podman = Command::new("podman");
    podman.envs(environment(folder));
    podman
}

/// With which podman has nothing outside of the folder.
fn environment(folder: &Path) -> [(&'static str, PathBuf); 2] {
    [
        ("CONTAINERS_CONF", folder.join("containers.conf")),
        ("CONTAINERS_STORAGE_CONF", folder.join("storage.conf")),
    ]
}

fn write_configuration(folder: &Path) -> Result<()> {
    let [containers, storage] = environment(folder);
    // More fds and processes than may be had are asked for otherwise.
    fs::write(
        containers.1,
        "[containers]
default_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]
log_driver = \"k8s-file\"
[engine]
runtime = \"runc\"
cgroup_manager = \"cgroupfs\"
events_logger = \"none\"
",
    )?;
    let [stored, running] = ["storage", "running"].map(|name| folder.join(name));
    let text =
        format!("[storage]\ndriver = \"overlay\"\ngraphroot = {stored:?}\nrunroot = {running:?}\n");
    fs::write(storage.1, text).context("podman's configuration")
}

/// What `runc spec` has made, for these words and this root, in our network.
fn configure(file: &Path, root: &Path, words: &[&str]) -> Result<()> {
    let mut spec: Value = serde_json::from_slice(&fs::read(file)?)?;
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!(words);
    spec["process"]["rlimits"] = json!([]);
    spec["root"] = json!({ "path": root, "readonly": false });
    if let Some(namespaces) = spec["linux"]["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "network");
    }
    fs::write(file, spec.to_string()).with_context(|| file.display().to_string())
}

/// `everybody(path)` — may do in it what root may.
pub(crate) fn everybody(path: &Path) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o777))
        .with_context(|| path.display().to_string())
}
