//! The source of the standard library, of the very release that rustc is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Toolchain;
use crate::step::{self, Outcome};

/// Where the source is, if it can be had.
#[derive(Debug)]
pub(crate) enum Source {
    /// The folder that holds `core`.
    Here(PathBuf),
    /// Why not; completes "not run: ".
    NotRun(String),
}

/// Debian's suite that follows the releases of Rust.
const SUITE: &str = "trixie-backports";

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

const ATTEMPTS: usize = 3;

/// `find(toolchain, cache)` — the source that came with the toolchain, else the
/// one in the cache, else Debian's package, from the mirror that the machine
/// already uses.
pub(crate) fn find(toolchain: &Toolchain, cache: &Path) -> Result<Source> {
    let own = toolchain.sysroot.join("lib/rustlib/src/rust/library");
    if is_library(&own) {
        return Ok(Source::Here(own));
    }
    let unpacked = cache.join("source");
    if let Some(library) = library_in(&unpacked) {
        return Ok(Source::Here(library));
    }
    for tool in ["apt-get", "apt-cache", "dpkg-deb"] {
        if let Err(Outcome::NotRun(why)) = step::tool(tool)? {
            return Ok(Source::NotRun(why));
        }
    }
    let Some(package) = download(toolchain, cache)? else {
        return Ok(Source::NotRun("mirror".to_owned()));
    };
    // Unpacked beside, then renamed: what has the right name is whole.
    let beside = cache.join("unpacking");
    if beside.exists() {
        fs::remove_dir_all(&beside)?;
    }
    step::run(
        Command::new("dpkg-deb")
            .arg("-x")
            .arg(&package)
            .arg(&beside),
    )?;
    fs::rename(&beside, &unpacked)?;
    let library = library_in(&unpacked).context("rust-src holds no standard library")?;
    Ok(Source::Here(library))
}

/// The package of rustc's release; `None` when the mirror does not deliver it.
fn download(toolchain: &Toolchain, cache: &Path) -> Result<Option<PathBuf>> {
    let apt = Apt::new(cache)?;
    let mut mirror_answered = false;
    for _ in 0..ATTEMPTS {
        if step::run(apt.get().arg("update")).is_err() {
            continue;
        }
        mirror_answered = true;
        let Some(version) = apt.version_of(&toolchain.release)? else {
            break;
        };
        let mut get = apt.get();
        get.args(["download", &format!("rust-src={version}")]);
        if step::run(get.current_dir(cache)).is_ok() {
            return package_in(cache).map(Some);
        }
    }
    if mirror_answered {
        eprintln!(
            "the mirror has no rust-src {} in {SUITE}: another release of rustc needs its own",
            toolchain.release
        );
    }
    Ok(None)
}

/// apt with lists and a cache of its own, so that the machine's stay as they
/// are, and no privilege is needed.
#[derive(Debug)]
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn new(cache: &Path) -> Result<Self> {
        let folder = cache.join("apt");
        for name in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(name))?;
        }
        let list = folder.join("sources.list");
        let signed = if Path::new(KEYRING).exists() {
            format!("[signed-by={KEYRING}] ")
        } else {
            String::new()
        };
        fs::write(&list, format!("deb {signed}{} {SUITE} main\n", mirror()?))?;
        let folder = folder.to_str().context("target folder is no UTF-8")?;
        Ok(Self {
            options: vec![
                format!("-oDir::Etc::SourceList={folder}/sources.list"),
                "-oDir::Etc::SourceParts=-".to_owned(),
                format!("-oDir::State::Lists={folder}/lists"),
                format!("-oDir::Cache={folder}/cache"),
                "-oAPT::Get::List-Cleanup=false".to_owned(),
                "-oAPT::Sandbox::User=".to_owned(),
                // Else an unreachable mirror is only a warning.
                "-oAPT::Update::Error-Mode=any".to_owned(),
            ],
        })
    }

    fn get(&self) -> Command {
        self.command("apt-get")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options);
        command
    }

    /// The newest package of this release.
    fn version_of(&self, release: &str) -> Result<Option<String>> {
        let mut madison = self.command("apt-cache");
        let text = step::output(madison.args(["madison", "rust-src"]))?;
        Ok(pick_version(&text, release).map(str::to_owned))
    }
}

/// The mirror of the machine's own sources.
fn mirror() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("/etc/os-release")?;
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("/etc/os-release names no VERSION_CODENAME")?;
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--format"]);
    targets.arg("$(CREATED_BY) $(COMPONENT) $(RELEASE) $(REPO_URI)");
    let wanted = format!("Packages main {codename} ");
    let text = step::output(&mut targets)?;
    let uri = text.lines().find_map(|line| line.strip_prefix(&wanted));
    uri.map(str::to_owned)
        .with_context(|| format!("apt has no source for {codename} main"))
}

/// The version column of `apt-cache madison`, newest first. Pure.
fn pick_version<'a>(madison: &'a str, release: &str) -> Option<&'a str> {
    madison
        .lines()
        .filter_map(|line| line.split('|').nth(1))
        .map(str::trim)
        .find(|version| {
            version
                .strip_prefix(release)
                .is_some_and(|rest| rest.starts_with(['+', '-', '~']))
        })
}

fn package_in(folder: &Path) -> Result<PathBuf> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            return Ok(path);
        }
    }
    bail!("apt-get downloaded nothing");
}

/// The library in an unpacked `rust-src`, whose folder is named by the release.
fn library_in(unpacked: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(unpacked.join("usr/src")).ok()?;
    entries
        .flatten()
        .map(|entry| entry.path().join("library"))
        .find(|library| is_library(library))
}

fn is_library(folder: &Path) -> bool {
    folder.join("core/src/lib.rs").is_file()
}

#[cfg(test)]
mod tests {
    use super::pick_version;

    #[test]
    fn the_package_of_exactly_this_release_is_picked() {
        let madison = "  rust-src | 1.96.1+dfsg1-2 | mirror suite/main amd64 Packages\n  \
                       rust-src | 1.95.0+dfsg1-2 | mirror suite/main amd64 Packages\n";
        assert_eq!(pick_version(madison, "1.95.0"), Some("1.95.0+dfsg1-2"));
        assert_eq!(pick_version(madison, "1.9"), None);
        assert_eq!(pick_version(madison, "1.97.0"), None);
        assert_eq!(pick_version("", "1.95.0"), None);
    }
}
