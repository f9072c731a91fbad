//! Kernels of Debian's, unpacked and never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::apt::{ATTEMPTS, Apt};
use crate::step;
use crate::workspace::Workspace;

/// Where a kernel comes from.
#[derive(Debug)]
pub(crate) struct Source {
    suite: &'static str,
    /// The package that depends on the newest one.
    package: &'static str,
}

impl Source {
    pub(crate) const fn new(suite: &'static str, package: &'static str) -> Self {
        Self { suite, package }
    }
}

/// `find(workspace, architecture, sources)` — a kernel from the first of the
/// sources that delivers one, which is kept; `None` when none does.
pub(crate) fn find(
    workspace: &Workspace,
    architecture: &str,
    sources: &[Source],
) -> Result<Option<PathBuf>> {
    let folder = |source: &Source| {
        let name = format!("{}-{architecture}", source.suite);
        workspace.target.join("vm/kernels").join(name)
    };
    for source in sources {
        let kept = folder(source).join("kernel");
        if kept.is_file() {
            return Ok(Some(kept));
        }
    }
    for source in sources {
        let folder = folder(source);
        let apt = Apt::new(folder.join("apt"), source.suite, Some(architecture))?;
        for _ in 0..ATTEMPTS {
            if !apt.update() {
                continue;
            }
            let package = resolve(&apt, source.package)?;
            if let Some(package) = apt.download(&package)? {
                return unpack(&package, &folder).map(Some);
            }
        }
    }
    Ok(None)
}

/// How many packages may stand between the name and the kernel.
const HOPS: usize = 3;

/// The package with the kernel in it, which the named one depends on.
fn resolve(apt: &Apt, package: &str) -> Result<String> {
    let mut package = package.to_owned();
    for _ in 0..HOPS {
        let text = apt.cache(&["depends", "--important", &package])?;
        match dependency(&text) {
            Some(next) => package = next.to_owned(),
            None => return Ok(package),
        }
    }
    bail!("{package} depends on one more kernel");
}

/// The kernel that `apt-cache depends` names. Pure.
fn dependency(depends: &str) -> Option<&str> {
    depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-") || name.starts_with("linux-binary-"))
}

/// The kernel alone: with its modules the package is four times as large.
fn unpack(package: &Path, folder: &Path) -> Result<PathBuf> {
    let beside = folder.join("unpacking");
    if beside.exists() {
        fs::remove_dir_all(&beside)?;
    }
    fs::create_dir_all(&beside)?;
    let mut archive = Command::new("dpkg-deb");
    archive.arg("--fsys-tarfile").arg(package);
    let mut archive = archive.stdout(Stdio::piped()).spawn().context("dpkg-deb")?;
    let mut tar = Command::new("tar");
    tar.arg("--directory").arg(&beside);
    // Suites differ in where it is.
    tar.args(["--extract", "--wildcards", "*/vmlinu*"]);
    tar.args(["--transform", "s,.*,kernel,"]);
    tar.stdin(archive.stdout.take().context("dpkg-deb has no stdout")?);
    step::run(&mut tar)?;
    let status = archive.wait()?;
    if !status.success() {
        bail!("dpkg-deb: {status}");
    }
    let kernel = folder.join("kernel");
    fs::rename(beside.join("kernel"), &kernel).context("the package holds no kernel")?;
    fs::remove_file(package)?;
    Ok(kernel)
}

#[cfg(test)]
mod tests {
    use super::dependency;

    #[test]
    fn a_kernel_is_found_among_the_dependencies() {
        let newest = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-50-cloud-amd64\n";
        assert_eq!(dependency(newest), Some("linux-image-6.1.0-50-cloud-amd64"));
        let kernel =
            "linux-image-6.1.0-50-cloud-amd64\n  Depends: kmod\n |Depends: linux-initramfs\n";
        assert_eq!(dependency(kernel), None);
    }
}
