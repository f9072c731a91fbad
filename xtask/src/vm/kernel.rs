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
    find_with(workspace, architecture, sources, &[])
}

/// `find_with(workspace, architecture, sources, modules)` — as [`find`], with files of modules, which
/// are beside it.
pub(crate) fn find_with(
    workspace: &Workspace,
    architecture: &str,
    sources: &[Source],
    modules: &[&str],
) -> Result<Option<PathBuf>> {
    let folder = |source: &Source| {
        let name = format!("{}-{architecture}", source.suite);
        workspace.target.join("vm/kernels").join(name)
    };
    for source in sources {
        let kept = folder(source).join("kernel");
        let has = |name: &&str| kept.with_file_name(name).is_file();
        if kept.is_file() && modules.iter().all(has) {
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
                return unpack(&package, &folder, modules).map(Some);
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

/// The kernel, and of its modules, with which the package is four times as large, those that are
/// wanted.
fn unpack(package: &Path, folder: &Path, modules: &[&str]) -> Result<PathBuf> {
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
    tar.args(modules.iter().map(|name| format!("*/{name}")));
    tar.args(["--transform", "s,.*/vmlinu.*,kernel,;s,.*/,,"]);
    tar.stdin(archive.stdout.take().context("dpkg-deb has no stdout")?);
    step::run(&mut tar)?;
    let status = archive.wait()?;
    if !status.success() {
        bail!("dpkg-deb: {status}");
    }
    for name in ["kernel"].iter().chain(modules) {
        fs::rename(beside.join(name), folder.join(name))
            .with_context(|| format!("the package holds no {name}"))?;
    }
    fs::remove_file(package)?;
    Ok(folder.join("kernel"))
}

/// The release of a kernel for x86, as it says itself.
///
/// See Documentation/arch/x86/boot.rst of Linux, `kernel_version`.
pub(crate) fn release(kernel: &Path) -> Result<String> {
    const POINTER: usize = 0x20e;
    const BASE: usize = 0x200;
    let data = fs::read(kernel)?;
    let text = || {
        let low = *data.get(POINTER)?;
        let high = *data.get(POINTER + 1)?;
        let text = data.get(usize::from(u16::from_le_bytes([low, high])) + BASE..)?;
        let end = text.iter().position(|byte| matches!(byte, 0 | b' '))?;
        str::from_utf8(&text[..end]).ok()
    };
    text().map(str::to_owned).context("no kernel for x86")
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
