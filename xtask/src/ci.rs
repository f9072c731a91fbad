//! `cargo xtask ci`: everything a change has to pass, the quick things first; it
//! stops at the first failure unless told to go on.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::bench::instructions;
use crate::step::{self, Outcome};
use crate::systemd::Version;
use crate::workspace::Workspace;
use crate::{cross, demo, peers, pid1, readme, size, syscalls, systemd, test, vm};

/// What `cargo xtask ci` can be told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Restarts of the demo.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    restarts: u32,
    /// Go on after a failure.
    #[arg(long)]
    keep_going: bool,
}

/// Restarts of the demo with broken builds: each fault comes twice.
const CHAOS_RESTARTS: u32 = 26;

/// Runs all steps, prints how long each took, and ends with a count.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<Outcome> {
    let demo = demo::Options {
        restarts: options.restarts,
        clients: 12,
        json: false,
        binary: None,
        next_binary: None,
        chaos: false,
        seed: None,
    };
    let chaos = demo::Options {
        restarts: CHAOS_RESTARTS,
        chaos: true,
        ..demo.clone()
    };
    let syscalls = syscalls::Options { bless: false };
    let pid1 = pid1::Options {
        runtimes: Vec::new(),
        only: None,
    };
    let machine = vm::Options {
        machines: vec![vm::Name::Uml],
        seconds: 120,
    };
    // Each alone: of one that is not delivered the others must not be held up.
    let under_systemd = |version| {
        let options = systemd::Options {
            versions: vec![version],
            only: None,
        };
        systemd::run(workspace, &options)
    };
    let steps: [(&str, &dyn Fn() -> Result<Outcome>); 18] = [
        ("format", &|| {
            commands([workspace.cargo(["fmt", "--all", "--check"])])
        }),
        ("lints", &|| commands(lints(workspace))),
        ("documentation", &|| commands(documentation(workspace))),
        ("rustix with libc", &|| commands([with_libc(workspace)])),
        ("other processors", &|| cross::run(workspace)),
        ("tests", &|| test::run(workspace)),
        ("size", &|| size::run(workspace)),
        ("syscalls", &|| syscalls::run(workspace, &syscalls)),
        ("instructions", &|| {
            instructions::run(workspace, &instructions::Options::default())
        }),
        ("demo", &|| demo::run(workspace, &demo)),
        ("demo with broken builds", &|| demo::run(workspace, &chaos)),
        ("PID 1 of containers", &|| pid1::run(workspace, &pid1)),
        ("PID 1 of a machine", &|| vm::run(workspace, &machine)),
        ("README on a fresh Debian", &|| {
            readme::run(workspace, &readme::Options::default())
        }),
        ("systemd 252", &|| under_systemd(Version::V252)),
        ("systemd 257", &|| under_systemd(Version::V257)),
        ("systemd 262", &|| under_systemd(Version::V262)),
        ("peers", &|| {
            peers::run(workspace, &peers::Options::default())
        }),
    ];

    let mut done: Vec<(&str, Duration, Outcome)> = Vec::new();
    let mut failures = Vec::new();
    for (name, step) in steps {
        eprintln!("==> {name}");
        let begun = Instant::now();
        match step() {
            Ok(outcome) => done.push((name, begun.elapsed(), outcome)),
            Err(why) => {
                eprintln!("error: {name}: {why:#}");
                failures.push((name, why));
                if !options.keep_going {
                    break;
                }
            }
        }
    }

    let mut passed = 0;
    for (name, took, outcome) in &done {
        let seconds = took.as_secs_f64();
        match outcome {
            Outcome::Done => {
                passed += 1;
                println!("{seconds:7.1} s  {name}");
            }
            Outcome::Failed => println!("{seconds:7.1} s  {name}: failed"),
            Outcome::NotRun(why) | Outcome::Undelivered(why) => {
                println!("{seconds:7.1} s  {name}: not run: {why}");
            }
        }
    }
    for (name, why) in &failures {
        println!("failed: {name}: {why:#}");
    }
    println!("{passed} passed, {} failed", failures.len());
    Ok(if failures.is_empty() {
        Outcome::Done
    } else {
        Outcome::Failed
    })
}

fn commands(commands: impl IntoIterator<Item = Command>) -> Result<Outcome> {
    for mut command in commands {
        eprintln!("$ {}", step::line(&command));
        step::run(&mut command)?;
    }
    Ok(Outcome::Done)
}

fn lints(workspace: &Workspace) -> Vec<Command> {
    const DENY: [&str; 3] = ["--", "-D", "warnings"];
    let mut commands = Vec::new();
    for package in [
        ["gracenet"].as_slice(),
        &["gracenet", "--features", "std"],
        &["xtask"],
        &["gracenet-spawner"],
    ] {
        let mut command = workspace.cargo(["clippy", "--all-targets", "-p"]);
        command.args(package).args(DENY);
        commands.push(command);
    }
    // What these two can tell a manager.
    for features in [["gracenet-httpd", "systemd"], ["gracenet-init", "notify"]] {
        let [package, feature] = features;
        let mut for_manager = workspace.cargo(["clippy", "-p", package]);
        for_manager.args(["--features", feature]).args(DENY);
        commands.push(for_manager);
    }
    for program in workspace.programs() {
        // Its tests one by one: a program without std has no test harness, and
        // `--all-targets` would ask for one.
        let tests = program.test_targets().into_iter().map(|mut target| {
            target.extend(["--profile".to_owned(), "test".to_owned()]);
            target
        });
        for target in std::iter::once(Vec::new()).chain(tests) {
            let mut command = workspace.cargo(["clippy", "-p"]);
            command.arg(&program.name).args(target).args(DENY);
            commands.push(command);
        }
    }
    commands
}

fn documentation(workspace: &Workspace) -> Vec<Command> {
    let programs = workspace.programs().filter(|package| package.is_library());
    let names = programs.map(|package| package.name.as_str());
    [["gracenet"].as_slice(), &["gracenet", "--features", "std"]]
        .into_iter()
        .map(<[&str]>::to_vec)
        .chain(names.map(|name| vec![name]))
        .map(|package| {
            let mut command = workspace.cargo(["doc", "--no-deps", "-p"]);
            command.args(package).env("RUSTDOCFLAGS", "-D warnings");
            command
        })
        .collect()
}

/// Another crate in the graph may switch rustix to its libc backend.
fn with_libc(workspace: &Workspace) -> Command {
    workspace.cargo(["check", "-p", "gracenet", "--features", "rustix/use-libc"])
}
