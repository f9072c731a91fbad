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

const TARGETS: [&str; 4] = [
    "aarch64-unknown-linux-gnu",
    "riscv64gc-unknown-linux-gnu",
    "armv7-unknown-linux-gnueabihf",
    "i686-unknown-linux-gnu",
];

/// Checks each package for each target.
pub(crate) fn run(workspace: &Workspace) -> Result<Outcome> {
    let toolchain = Toolchain::find()?;
    for target in TARGETS {
        let sysroot = match sysroot(workspace, &toolchain, target, Emit::Metadata)? {
            Ok(sysroot) => sysroot,
            Err(outcome) => return Ok(outcome),
        };
        let programs = workspace.programs().map(|package| package.name.as_str());
        for package in ["gracenet"].into_iter().chain(programs) {
            let mut check = workspace.cargo(["check", "--target", target, "-p", package]);
            check
                .env("CARGO_ENCODED_RUSTFLAGS", rustflags(sysroot.as_deref())?)
                .env("CARGO_TARGET_DIR", workspace.target.join("cross"));
            eprintln!("$ {}", step::line(&check));
            step::run(&mut check)?;
        }
    }
    Ok(Outcome::Done)
}

/// For CARGO_ENCODED_RUSTFLAGS. Only with `--target` do these leave build scripts
/// alone.
pub(crate) fn rustflags(sysroot: Option<&Path>) -> Result<String> {
    let mut flags = "-Dwarnings".to_owned();
    if let Some(sysroot) = sysroot {
        let sysroot = sysroot.to_str().context("target folder is no UTF-8")?;
        flags = format!("{flags}\x1f--sysroot\x1f{sysroot}");
    }
    Ok(flags)
}

/// What is made of `core`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Emit {
    /// Enough for a check.
    Metadata,
    /// For programs that run.
    Code,
}

/// `sysroot(workspace, toolchain, target, emit)` — where `core` is for a target,
/// made if need be; `None` where the toolchain has it. Else what the task comes to.
pub(crate) fn sysroot(
    workspace: &Workspace,
    toolchain: &Toolchain,
    target: &str,
    emit: Emit,
) -> Result<Result<Option<PathBuf>, Outcome>> {
    if toolchain.has(target) {
        return Ok(Ok(None));
    }
    let cache = workspace.target.join("cross").join(&toolchain.commit);
    let sysroot = cache.join(match emit {
        Emit::Metadata => "sysroot",
        Emit::Code => "sysroot-with-code",
    });
    if !complete(&sysroot, target) {
        match source::find(toolchain, &cache)? {
            Source::Here(library) => make_core(&library, &sysroot, target, emit)?,
            Source::NotRun(why) => return Ok(Err(Outcome::NotRun(why))),
        }
    }
    Ok(Ok(Some(sysroot)))
}

/// The rustc that cargo uses.
#[derive(Debug)]
pub(crate) struct Toolchain {
    /// Such as 1.95.0.
    pub(crate) release: String,
    commit: String,
    /// The target that it runs on.
    pub(crate) host: String,
    pub(crate) sysroot: PathBuf,
}

impl Toolchain {
    pub(crate) fn find() -> Result<Self> {
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
            host: field("host:")?,
            sysroot: PathBuf::from(sysroot.trim_end()),
        })
    }

    /// The linker for every processor, which comes with it.
    pub(crate) fn lld(&self) -> Result<PathBuf> {
        let folder = self.sysroot.join("lib/rustlib").join(&self.host);
        let linker = folder.join("bin/rust-lld");
        if !linker.is_file() {
            bail!("the toolchain has no {}", linker.display());
        }
        Ok(linker)
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

/// Made last, when all is there.
fn made(sysroot: &Path, target: &str) -> PathBuf {
    folder(sysroot, target).join("made")
}

fn complete(sysroot: &Path, target: &str) -> bool {
    made(sysroot, target).is_file()
}

fn folder(sysroot: &Path, target: &str) -> PathBuf {
    sysroot.join("lib/rustlib").join(target).join("lib")
}

fn make_core(library: &Path, sysroot: &Path, target: &str, emit: Emit) -> Result<()> {
    let folder = folder(sysroot, target);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    for (name, source) in CRATES {
        eprintln!("making {name} for {target}");
        let mut rustc = Command::new("rustc");
        rustc
            // The standard library may use what is unstable; our code may not.
            .env("RUSTC_BOOTSTRAP", "1")
            .args(["--edition=2024", "--crate-type=lib"])
            .args(["-Zforce-unstable-if-unmarked", "--cap-lints=allow"])
            .args(["--cfg", "feature=\"compiler-builtins\""])
            .args(["--crate-name", name, "--target", target])
            .args(match emit {
                Emit::Metadata => ["--emit=metadata"].as_slice(),
                // Optimized again with the program, at its own level.
                Emit::Code => &["--emit=link", "-Copt-level=2", "-Cpanic=abort"],
            })
            .arg("--sysroot")
            .arg(sysroot)
            .arg("--out-dir")
            .arg(&folder)
            .arg(library.join(source));
        step::run(&mut rustc)?;
    }
    fs::write(made(sysroot, target), "")?;
    Ok(())
}
