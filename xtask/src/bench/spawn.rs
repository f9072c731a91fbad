//! `cargo xtask bench spawn`: what a start takes, by the memory and by the fds that
//! the process has. Everything is measured in turn, so that what else the machine
//! does reaches all of it.

mod report;
mod spawner;

use std::path::Path;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};

use super::goal;
use crate::step::Outcome;
use crate::workspace::Workspace;
use report::Report;
use spawner::Spawner;

/// What `cargo xtask bench spawn` can be told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: super::Common,
    /// How many starts of each kind.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(20..=100_000))]
    rounds: u32,
    /// Of fork, which takes a quarter of a second where there is much memory.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(20..=100_000))]
    fork_rounds: u32,
    /// No process larger than this.
    #[arg(long, value_name = "MIB", default_value_t = 8192)]
    most_memory: u64,
}

/// A process with so much touched memory and so many open fds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
pub(crate) struct Size {
    pub(crate) memory_mib: u64,
    pub(crate) fds: u64,
}

/// As small as it gets.
const SMALLEST: Size = Size {
    memory_mib: 1,
    fds: 10,
};

const MEMORY_MIB: [u64; 4] = [256, 1024, 4096, 8192];
const FDS: [u64; 4] = [1000, 10_000, 19_000, 100_000];

/// What all are compared with: clone and execve and nothing else.
const FLOOR: &str = "floor";

/// Those that copy neither memory nor the fd table.
const SHARING: [&str; 4] = ["cut", "gracenet-1", "gracenet-8", "gracenet-64"];

/// The floor with eight sockets open, and with what a start asks of the kernel besides, one step
/// each; the last has all of them.
const STEPS: [(&str, &str); 11] = [
    ("floor+", "clone, execve, 8 sockets open"),
    (
        "floor+channel",
        "the channel: socketpair, a greeting, close",
    ),
    ("floor+cookies", "whether 8 sockets are the same: SO_COOKIE"),
    ("floor+limits", "limits, standard streams, signals blocked"),
    ("floor+pidfd", "the pidfd"),
    ("floor+cut", "a shared fd table, cut"),
    ("floor+directory", "the working directory"),
    ("floor+moves", "9 fds moved: dup3"),
    ("floor+range", "the others closed: close_range"),
    ("floor+signals", "dispositions, mask, pid"),
    (
        "floor+channel+cookies+limits+pidfd+cut+directory+moves+range+signals",
        "all of these together",
    ),
];

/// Those that copy the fd table.
const COPYING: [&str; 3] = [FLOOR, "posix_spawn", "command"];

/// That copies the page tables as well.
const FORK: [&str; 1] = ["fork"];

/// So many rounds, then it is another process' turn.
const TURN: u32 = 20;

/// Where the fd table is no larger than what is in the structure itself, copying it costs next to
/// nothing.
const SMALL_TABLE: u64 = 64;

/// Measures, prints and draws.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<Outcome> {
    let program = workspace.build_release("gracenet-test-programs", "exit")?;
    let spawner = workspace.build_release("gracenet-spawner", "gracenet-spawner")?;
    let report = measure(&spawner, &program, options)?;
    for (name, chart) in report.charts() {
        options.common.draw(workspace, &chart, name)?;
    }
    if options.common.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", report.tables());
    }
    Ok(goal::outcome(&report.goals, options.common.check))
}

fn measure(spawner: &Path, program: &Path, options: &Options) -> Result<Report> {
    let mut report = Report::default();
    let mut spawners = Vec::new();
    for size in sizes(options.most_memory) {
        match spawner::room_for(size)? {
            Ok(()) => spawners.push(Spawner::start(spawner, program, size)?),
            Err(why) => report.not_run(size, why),
        }
    }
    // What empties the caches comes after those whom it would slow down.
    let phases: [(Methods, u32); 3] = [
        (quick, options.rounds),
        (slow, options.rounds),
        (|_| FORK.to_vec(), options.fork_rounds),
    ];
    let turns = phases.map(|(_, rounds)| rounds.div_ceil(TURN));
    let turns = u64::from(turns.iter().sum::<u32>());
    let bar = ProgressBar::new(turns * spawners.len() as u64).with_style(
        ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}").context("progress bar")?,
    );
    for (methods, rounds) in phases {
        for first in (0..rounds).step_by(TURN as usize) {
            for spawner in &mut spawners {
                let size = spawner.size;
                let methods = methods(size);
                bar.set_message(format!("{} MiB, {} fds", size.memory_mib, size.fds));
                if !methods.is_empty() {
                    for sample in spawner.measure(&methods, TURN.min(rounds - first))? {
                        report.record(size, &sample)?;
                    }
                }
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    for spawner in spawners {
        spawner.finish()?;
    }
    report.complete();
    Ok(report)
}

/// Those of a phase, for a process of this size.
type Methods = fn(Size) -> Vec<&'static str>;

fn quick(size: Size) -> Vec<&'static str> {
    if size.fds > SMALL_TABLE {
        return SHARING.to_vec();
    }
    let mut methods = [COPYING.as_slice(), &SHARING].concat();
    if size == SMALLEST {
        methods.extend(STEPS.map(|(method, _)| method));
    }
    methods
}

fn slow(size: Size) -> Vec<&'static str> {
    if size.fds > SMALL_TABLE {
        return COPYING.to_vec();
    }
    Vec::new()
}

/// The largest first, which is the first that has no room.
fn sizes(most_memory: u64) -> Vec<Size> {
    let memory = MEMORY_MIB.iter().rev().map(|memory_mib| Size {
        memory_mib: *memory_mib,
        ..SMALLEST
    });
    let fds = FDS.iter().rev().map(|fds| Size {
        fds: *fds,
        ..SMALLEST
    });
    let smallest = std::iter::once(SMALLEST);
    let sizes = memory.filter(|size| size.memory_mib <= most_memory);
    sizes.chain(fds).chain(smallest).collect()
}
