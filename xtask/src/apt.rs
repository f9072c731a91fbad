//! apt with lists and a cache of its own: the machine's stay as they are, and no
//! privilege is needed. The mirror is the one that the machine already uses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// How often the mirror is asked.
pub(crate) const ATTEMPTS: usize = 3;

/// The programs that it takes.
pub(crate) const TOOLS: [&str; 3] = ["apt-get", "apt-cache", "dpkg-deb"];

/// One suite of Debian, for one of its architectures.
#[derive(Debug)]
pub(crate) struct Apt {
    folder: PathBuf,
    options: Vec<String>,
}

impl Apt {
    /// `Apt::new(folder, suite, architecture)` — its files are in the folder, an
    /// absolute path; without an architecture it is the machine's own.
    pub(crate) fn new(folder: PathBuf, suite: &str, architecture: Option<&str>) -> Result<Self> {
        for name in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(name))?;
        }
        let mut traits = Vec::new();
        if Path::new(KEYRING).exists() {
            traits.push(format!("signed-by={KEYRING}"));
        }
        traits.extend(architecture.map(|name| format!("arch={name}")));
        let traits = match traits.as_slice() {
            [] => String::new(),
            traits => format!("[{}] ", traits.join(" ")),
        };
        let source = format!("deb {traits}{} {suite} main\n", mirror()?);
        fs::write(folder.join("sources.list"), source)?;
        // Nothing is installed: what a package needs is not asked for either.
        fs::write(folder.join("status"), "")?;
        let at = folder.to_str().context("target folder is no UTF-8")?;
        let mut options = vec![
            format!("-oDir::Etc::SourceList={at}/sources.list"),
            "-oDir::Etc::SourceParts=-".to_owned(),
            format!("-oDir::State::Lists={at}/lists"),
            format!("-oDir::State::status={at}/status"),
            format!("-oDir::Cache={at}/cache"),
            "-oAcquire::Languages=none".to_owned(),
            "-oAcquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "-oAPT::Get::List-Cleanup=false".to_owned(),
            "-oAPT::Sandbox::User=".to_owned(),
            // Else an unreachable mirror is only a warning.
            "-oAPT::Update::Error-Mode=any".to_owned(),
        ];
        if let Some(name) = architecture {
            options.push(format!("-oAPT::Architecture={name}"));
            options.push(format!("-oAPT::Architectures={name}"));
        }
        Ok(Self { folder, options })
    }

    /// `apt.update()` — asks the mirror what it has: whether it answered.
    pub(crate) fn update(&self) -> bool {
        step::run(self.command("apt-get").arg("update")).is_ok()
    }

    /// `apt.cache(arguments)` — what `apt-cache` says.
    pub(crate) fn cache(&self, arguments: &[&str]) -> Result<String> {
        step::output(self.command("apt-cache").args(arguments))
    }

    /// `apt.download(package)` — the package's file, with or without `=version`;
    /// `None` when the mirror does not deliver it.
    pub(crate) fn download(&self, package: &str) -> Result<Option<PathBuf>> {
        let name = package.split('=').next().unwrap_or(package);
        let mut get = self.command("apt-get");
        get.args(["download", package]).current_dir(&self.folder);
        if step::run(&mut get).is_err() {
            return Ok(None);
        }
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let file = path.file_name().and_then(|file| file.to_str());
            if file.is_some_and(|file| is_package(file, name)) {
                return Ok(Some(path));
            }
        }
        bail!("apt-get downloaded no {name}");
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options);
        command
    }
}

/// Whether a file holds this package: `name_version_architecture.deb`. Pure.
fn is_package(file: &str, name: &str) -> bool {
    let rest = file.strip_prefix(name).unwrap_or_default();
    rest.starts_with('_') && rest.ends_with(".deb")
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

#[cfg(test)]
mod tests {
    use super::is_package;

    #[test]
    fn a_package_is_told_from_one_whose_name_begins_with_its_own() {
        assert!(is_package(
            "linux-image-6.1_6.1.1-1_arm64.deb",
            "linux-image-6.1"
        ));
        assert!(!is_package(
            "linux-image-6.1-rt_6.1.1-1_arm64.deb",
            "linux-image-6.1"
        ));
        assert!(!is_package(
            "linux-image-6.1_6.1.1-1_arm64.deb.part",
            "linux-image-6.1"
        ));
    }
}
