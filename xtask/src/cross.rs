//! `cargo xtask cross`: type-checks the crate and the programs for the other
//! processors.
//!
//! Where the toolchain has no `core` for a target, its metadata is made from the
//! source of the very same release: a check needs no more, neither code nor a
//! linker.

mod source;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step::{self, Outcome};
use crate::workspace::Workspace;
use source::Source;

const TARGETS: [&str; 2] = ["aarch64-unknown-linux-gnu", "riscv64gc-unknown-linux-gnu"];

/// Checks each package for each target.
pub(crate) fn run(workspace: &Workspace) -> Result<Outcome> {
    let toolchain = Toolchain::find()?;
    let cache = workspace.target.join("cross").join(&toolchain.commit);
    for target in TARGETS {
        let sysroot = if toolchain.has(target) {
            None
        } else {
            let sysroot = cache.join("sysroot");
            if !complete(&sysroot, target) {
                match source::find(&toolchain, &cache)? {
                    Source::Here(library) => make_core(&library, &sysroot, target)?,
                    Source::NotRun(why) => return Ok(Outcome::NotRun(why)),
                }
            }
            Some(sysroot)
        };
        let programs = workspace.programs().map(|package| package.name.as_str());
        for package in ["gracenet"].into_iter().chain(programs) {
            let mut check = workspace.cargo(["check", "--target", target, "-p", package]);
            let mut flags = "-Dwarnings".to_owned();
            if let Some(sysroot) = &sysroot {
                // Only with `--target` do these leave build scripts alone.
                let sysroot = sysroot.to_str().context("target folder is no UTF-8")?;
                flags = format!("{flags}\x1f--sysroot\x1f{sysroot}");
            }
            check
                .env("CARGO_ENCODED_RUSTFLAGS", flags)
                .env("CARGO_TARGET_DIR", workspace.target.join("cross"));
            eprintln!("$ {}", step::line(&check));
            step::run(&mut check)?;
        }
    }
    Ok(Outcome::Done)
}

/// The rustc that cargo uses.
#[derive(Debug)]
pub(crate) struct Toolchain {
    /// Such as 1.95.0.
    pub(crate) release: String,
    commit: String,
    pub(crate) sysroot: PathBuf,
}

impl Toolchain {
    fn find() -> Result<Self> {
        let text = step::output(Command::new("rustc").arg("-vV"))?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim().to_owned())
                .with_context(|| format!("rustc -vV says no {name}"))
        };
        let sysroot = step::output(Command::new("rustc").args(["--print", "sysroot"]))?;
        Ok(Self {
            release: field("release:")?,
            commit: field("commit-hash:")?,
            sysroot: PathBuf::from(sysroot.trim_end()),
        })
    }

    /// Whether the target came with it.
    fn has(&self, target: &str) -> bool {
        let folder = self.sysroot.join("lib/rustlib").join(target).join("lib");
        fs::read_dir(folder).is_ok_and(|entries| {
            entries
                .flatten()
                .any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
        })
    }
}

/// The crates that every `no_std` crate is given, with their sources.
const CRATES: [(&str, &str); 2] = [
    ("core", "core/src/lib.rs"),
    (
        "compiler_builtins",
        "compiler-builtins/compiler-builtins/src/lib.rs",
    ),
];

fn complete(sysroot: &Path, target: &str) -> bool {
    CRATES
        .iter()
        .all(|(name, _)| metadata(sysroot, target, name).is_file())
}

fn metadata(sysroot: &Path, target: &str, name: &str) -> PathBuf {
    folder(sysroot, target).join(format!("lib{name}.rmeta"))
}

fn folder(sysroot: &Path, target: &str) -> PathBuf {
    sysroot.join("lib/rustlib").join(target).join("lib")
}

fn make_core(library: &Path, sysroot: &Path, target: &str) -> Result<()> {
    let folder = folder(sysroot, target);
    fs::create_dir_all(&folder)?;
    for (name, source) in CRATES {
        eprintln!("making {name} for {target}");
        let mut rustc = Command::new("rustc");
        rustc
            // The standard library may use what is unstable; our code may not.
            .env("RUSTC_BOOTSTRAP", "1")
            .args(["--edition=2024", "--crate-type=lib", "--emit=metadata"])
            .args(["-Zforce-unstable-if-unmarked", "--cap-lints=allow"])
            .args(["--cfg", "feature=\"compiler-builtins\""])
            .args(["--crate-name", name, "--target", target])
            .arg("--sysroot")
            .arg(sysroot)
            .arg("--out-dir")
            .arg(&folder)
            .arg(library.join(source));
        step::run(&mut rustc)?;
    }
    if !complete(sysroot, target) {
        bail!("rustc made no metadata in {}", folder.display());
    }
    Ok(())
}
