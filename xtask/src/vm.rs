//! `cargo xtask vm`: the self-test as /init of real machines, one for each
//! processor, and one with the oldest kernel that can be had.
//!
//! A machine is QEMU without acceleration, a kernel of Debian's, and an initramfs
//! with one file in it. What the self-test says comes over the serial line.
//! Two more are for `gracenet-init`.
//!
//! Whatever is missing is a failure: there is nothing that is skipped here.

mod boot;
mod console;
mod image;
mod init;
mod kernel;
mod table;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::cross::{self, Emit, Toolchain};
use crate::step::{self, Outcome};
use crate::workspace::Workspace;

/// What `cargo xtask vm` can be told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Which machines; the last two are for another story than the self-test.
    #[arg(required = true)]
    pub(crate) machines: Vec<Name>,
    /// Seconds that each may take.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) seconds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Name {
    #[value(name = "x86_64")]
    X86_64,
    Aarch64,
    Riscv64,
    Arm,
    X86,
    /// x86_64, with the oldest kernel that is tried.
    Oldest,
    /// Each of them.
    All,
    /// `gracenet-init` in user-mode Linux.
    Uml,
    /// `gracenet-init` in QEMU.
    Qemu,
}

/// A processor, and what it takes to run one.
#[derive(Debug)]
struct Machine {
    name: Name,
    target: &'static str,
    /// The end of the emulator's name.
    qemu: &'static str,
    options: &'static [&'static str],
    console: &'static str,
    /// Debian's name of the processor.
    architecture: &'static str,
    /// Where kernels come from: the first suite that can be had.
    kernels: &'static [kernel::Source],
}

const MACHINES: [Machine; 6] = [
    Machine {
        name: Name::X86_64,
        target: "x86_64-unknown-linux-gnu",
        qemu: "x86_64",
        options: &["-M", "q35", "-cpu", "max"],
        console: "ttyS0",
        architecture: "amd64",
        kernels: &[kernel::Source::new("trixie", "linux-image-cloud-amd64")],
    },
    Machine {
        name: Name::Aarch64,
        target: "aarch64-unknown-linux-gnu",
        qemu: "aarch64",
        options: &["-M", "virt", "-cpu", "cortex-a57"],
        console: "ttyAMA0",
        architecture: "arm64",
        kernels: &[kernel::Source::new("bookworm", "linux-image-cloud-arm64")],
    },
    Machine {
        name: Name::Riscv64,
        target: "riscv64gc-unknown-linux-gnu",
        qemu: "riscv64",
        options: &["-M", "virt"],
        console: "ttyS0",
        architecture: "riscv64",
        kernels: &[
            kernel::Source::new("trixie", "linux-image-riscv64"),
            kernel::Source::new("forky", "linux-image-riscv64"),
        ],
    },
    Machine {
        name: Name::Arm,
        target: "armv7-unknown-linux-gnueabihf",
        qemu: "arm",
        options: &["-M", "virt,highmem=off", "-cpu", "cortex-a15"],
        console: "ttyAMA0",
        architecture: "armhf",
        kernels: &[kernel::Source::new("bookworm", "linux-image-armmp")],
    },
    Machine {
        name: Name::X86,
        target: "i686-unknown-linux-gnu",
        qemu: "i386",
        options: &["-M", "q35", "-cpu", "max"],
        console: "ttyS0",
        architecture: "i386",
        kernels: &[kernel::Source::new("bookworm", "linux-image-686-pae")],
    },
    Machine {
        name: Name::Oldest,
        target: "x86_64-unknown-linux-gnu",
        qemu: "x86_64",
        options: &["-M", "q35", "-cpu", "max"],
        console: "ttyS0",
        architecture: "amd64",
        kernels: &[kernel::Source::new("bullseye", "linux-image-cloud-amd64")],
    },
];

/// Builds, packs, boots and counts, one machine after the other.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<Outcome> {
    let wanted = |machine: &&Machine| {
        let names = &options.machines;
        names.contains(&Name::All) || names.contains(&machine.name)
    };
    let machines: Vec<&Machine> = MACHINES.iter().filter(wanted).collect();
    let limit = Duration::from_secs(options.seconds);
    for (name, machine) in [
        (Name::Uml, init::Machine::Uml),
        (Name::Qemu, init::Machine::Qemu),
    ] {
        if options.machines.contains(&name) {
            let outcome = init::run(workspace, machine, limit)?;
            if outcome != Outcome::Done {
                return Ok(outcome);
            }
        }
    }
    if machines.is_empty() {
        return Ok(Outcome::Done);
    }
    for machine in &machines {
        for program in [&*machine.emulator(), "tar"] {
            if step::find(program).is_none() {
                bail!("{program} is missing; ci/setup-vm installs it");
            }
        }
    }
    let toolchain = Toolchain::find()?;
    let mut rows = Vec::new();
    for machine in machines {
        let name = machine.label();
        eprintln!("==> {name}");
        let Some(kernel) = kernel::find(workspace, machine.architecture, machine.kernels)? else {
            return Ok(Outcome::Undelivered(format!("a kernel for {name}")));
        };
        let program = match build(workspace, &toolchain, machine.target)? {
            Ok(program) => program,
            Err(Outcome::NotRun(why)) if why == "mirror" => {
                return Ok(Outcome::Undelivered("rust-src".to_owned()));
            }
            Err(outcome) => bail!("no core for {}: {outcome:?}", machine.target),
        };
        let image = kernel.with_file_name(format!("{name}.cpio"));
        image::write(&[("init", &program)], &image).with_context(|| image.display().to_string())?;
        let verdict = boot::run(machine, &kernel, &image, limit)?;
        eprintln!("{}", verdict.summary());
        rows.push((name, verdict));
    }
    println!("{}", table::of(&rows));
    Ok(if rows.iter().all(|(_, verdict)| verdict.is_good()) {
        Outcome::Done
    } else {
        Outcome::Failed
    })
}

impl Machine {
    fn label(&self) -> String {
        let value = self.name.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn emulator(&self) -> String {
        format!("qemu-system-{}", self.qemu)
    }
}

/// The self-test for a processor.
fn build(
    workspace: &Workspace,
    toolchain: &Toolchain,
    target: &str,
) -> Result<Result<std::path::PathBuf, Outcome>> {
    let sysroot = match cross::sysroot(workspace, toolchain, target, Emit::Code)? {
        Ok(sysroot) => sysroot,
        Err(outcome) => return Ok(Err(outcome)),
    };
    let folder = workspace.target.join("vm");
    let mut cargo = workspace.cargo(["build", "--release", "-p", "gracenet-test-programs"]);
    cargo.args(["--bin", "selftest", "--target", target]);
    cargo
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            cross::rustflags(sysroot.as_deref())?,
        )
        .env("CARGO_TARGET_DIR", &folder);
    // What is linked for this machine's own processor are also the build scripts,
    // which want its libc.
    if target != toolchain.host {
        let variable = target.to_uppercase().replace('-', "_");
        cargo.env(format!("CARGO_TARGET_{variable}_LINKER"), toolchain.lld()?);
    }
    eprintln!("$ {}", step::line(&cargo));
    step::run(&mut cargo)?;
    Ok(Ok(folder.join(target).join("release/selftest")))
}
