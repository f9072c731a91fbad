//! The source of the standard library, of the very release that rustc is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::Toolchain;
use crate::apt::{self, ATTEMPTS, Apt};
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
    for tool in apt::TOOLS {
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
    let apt = Apt::new(cache.join("apt"), SUITE, None)?;
    let mut mirror_answered = false;
    for _ in 0..ATTEMPTS {
        if !apt.update() {
            continue;
        }
        mirror_answered = true;
        let madison = apt.cache(&["madison", "rust-src"])?;
        let Some(version) = pick_version(&madison, &toolchain.release) else {
            break;
        };
        if let Some(package) = apt.download(&format!("rust-src={version}"))? {
            return Ok(Some(package));
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
