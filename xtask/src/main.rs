//! The tasks of the project, one file a task: `cargo xtask --help`.

mod answer;
mod apt;
mod bench;
mod ci;
mod cross;
mod daemon;
mod demo;
mod endpoint;
mod log;
mod network;
mod peers;
mod pid1;
mod process;
mod readme;
mod size;
mod step;
mod story;
mod syscalls;
mod systemd;
mod test;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::step::Outcome;
use crate::workspace::Workspace;

/// The tasks of the project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Restart a loaded daemon many times, and show that no client noticed.
    Demo(demo::Options),
    /// Unit, doc and story tests.
    Test,
    /// Everything a change has to pass, the quick things first.
    Ci(ci::Options),
    /// Type-check for the processors that are not this machine's.
    Cross,
    /// The self-test as PID 1 of virtual machines, one for each processor.
    Vm(vm::Options),
    /// Compare the syscalls of one hand-over with the golden file.
    Syscalls(syscalls::Options),
    /// The daemon under systemd as PID 1 of a container: stories, and what its clients noticed.
    Systemd(systemd::Options),
    /// Others before and after the daemon: an activator, readers, Go's gracenet, an s6 fdholder.
    Peers(peers::Options),
    /// `gracenet-init` as PID 1 of containers: stories, and what its clients noticed.
    Pid1(pid1::Options),
    /// What the README says to do on a fresh Debian, done there word for word.
    Readme(readme::Options),
    /// Size, linkage and peak memory of the daemon and of the init, against their limits.
    Size,
    /// Times, memory and instructions, against others of the kind; not a part of ci.
    Bench(bench::Options),
}

/// EX_TEMPFAIL, as ci/setup has it.
const TRY_AGAIN: u8 = 75;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = Workspace::find().and_then(|workspace| match &arguments.task {
        Task::Demo(options) => demo::run(&workspace, options),
        Task::Test => test::run(&workspace),
        Task::Ci(options) => ci::run(&workspace, options),
        Task::Cross => cross::run(&workspace),
        Task::Vm(options) => vm::run(&workspace, options),
        Task::Syscalls(options) => syscalls::run(&workspace, options),
        Task::Systemd(options) => systemd::run(&workspace, options),
        Task::Peers(options) => peers::run(&workspace, options),
        Task::Pid1(options) => pid1::run(&workspace, options),
        Task::Readme(options) => readme::run(&workspace, options),
        Task::Size => size::run(&workspace),
        Task::Bench(options) => bench::run(&workspace, options),
    });
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::NotRun(why)) => {
            eprintln!("not run: {why}");
            ExitCode::SUCCESS
        }
        Ok(Outcome::Undelivered(what)) => {
            eprintln!("the mirror did not deliver {what}");
            ExitCode::from(TRY_AGAIN)
        }
        Ok(Outcome::Failed) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("error: {why:#}");
            ExitCode::FAILURE
        }
    }
}
