//! What is done with `gracenet-init` and its program, and what comes of it.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::Signal;

use super::container::{Container, HTTPD, INIT, PATIENCE, Place, UNIX, WARD};
use super::words::{self, exited, said};
use crate::demo::roster::Roster;
use crate::endpoint::Endpoint;
use crate::story::Figures;
use crate::story::load::{Knocks, Load, Slow, ask};

pub(crate) type Story = fn(&Place<'_>) -> Result<Figures>;

/// In the order in which they are told.
pub(crate) const STORIES: &[(&str, Story)] = &[
    ("the program serves", serves),
    ("replaced in place ten times", in_place),
    ("ten new programs", new_programs),
    ("a new program that fails", a_new_program_that_fails),
    ("a new PID 1 that fails", a_new_init_that_fails),
    ("a thousand orphans", orphans),
    ("signals", signals),
    ("exit statuses", statuses),
    ("stopped while it serves", stopped),
    ("stopped when it does not listen", killed),
];

/// In one kind of container: they are the same in all.
pub(crate) const MORE: &[(&str, Story)] = &[
    ("a program that crashes for ten seconds", crashes),
    ("started by the first connection", on_demand),
];

const TIMES: u32 = 10;

const SOCKETS: [&str; 4] = [
    "--socket",
    "web=tcp::8080",
    "--socket",
    "local=unix:/run/httpd.sock",
];

/// The daemon knows how to say that it is ready.
const BY_CHANNEL: [&str; 2] = ["--ready", "channel"];

const DAEMON: [&str; 5] = [HTTPD, "tcp", ":8080", "unix", UNIX];

/// What the daemon says last before it serves.
const SERVES: &str = "]: ready";

fn start<'a>(place: &'a Place<'_>) -> Result<Container<'a>> {
    let options = [SOCKETS.as_slice(), &BY_CHANNEL].concat();
    place.start(&options, &DAEMON, SERVES)
}

fn load(container: &Container<'_>) -> Result<Load> {
    let endpoints = container.endpoints()?;
    let first = ask(&endpoints[0])?;
    Load::start(endpoints, Roster::by_pid(&first))
}

/// Stops it; fails unless it ends with status 0.
fn finish(container: Container<'_>) -> Result<()> {
    let status = container.stop()?;
    ensure!(status == 0, "it ends with status {status}");
    Ok(())
}

fn serves(place: &Place<'_>) -> Result<Figures> {
    let begun = Instant::now();
    let container = start(place)?;
    let [tcp, unix] = container.endpoints()?;
    let answer = ask(&tcp)?;
    let took = begun.elapsed();
    let same = ask(&unix)?;
    ensure!(same == answer, "{same} and {answer}");
    let started = container.until_pid(0, words::STARTED)?;
    ensure!(started == answer.pid, "{started} was started: {answer}");
    for address in [":8080", UNIX] {
        let line = format!("{address} (inherited)");
        ensure!(container.log.wait_for(&line, begun + PATIENCE), "no {line}");
    }
    finish(container)?;
    Ok(Figures {
        requests: 2,
        failures: 0,
        remark: format!("after {} ms", took.as_millis()),
    })
}

/// The program is the same, and knows nothing of it.
fn in_place(place: &Place<'_>) -> Result<Figures> {
    let container = start(place)?;
    let load = load(&container)?;
    let mut fds = None;
    let mut longest = Duration::ZERO;
    for generation in 1..=TIMES {
        let begun = Instant::now();
        container.signal(Signal::USR2)?;
        let words = format!("{}{generation}", words::TAKEN_OVER);
        container.until(0, &words)?;
        longest = longest.max(begun.elapsed());
        load.goes_on()?;
        ensure!(container.children()?.len() == 1, "the canary is left");
        // The first one may have had some from whoever started it.
        let now = container.fds()?;
        ensure!(now == *fds.get_or_insert(now), "{now} fds, {fds:?} before");
    }
    let figures = load.end(format!("longest {} ms", longest.as_millis()))?;
    finish(container)?;
    Ok(figures)
}

fn new_programs(place: &Place<'_>) -> Result<Figures> {
    let container = start(place)?;
    let load = load(&container)?;
    let fds = container.fds()?;
    let mut current = container.until_pid(0, words::STARTED)?;
    let mut longest = Duration::ZERO;
    for generation in 1..=TIMES {
        load.roster.signalled(generation);
        let (mark, begun) = (container.log.mark(), Instant::now());
        container.signal(Signal::HUP)?;
        let next = container.until_pid(mark, words::READY)?;
        longest = longest.max(begun.elapsed());
        container.until(mark, &exited(current, 0))?;
        load.roster.ended(usize::try_from(generation - 1)?);
        let answer = ask(&container.endpoints()?[0])?;
        ensure!(answer.pid == next, "{next} is ready: {answer}");
        load.goes_on()?;
        current = next;
    }
    let now = container.fds()?;
    ensure!(now == fds, "{now} fds, and {fds} before");
    let figures = load.end(format!("longest {} ms", longest.as_millis()))?;
    finish(container)?;
    Ok(figures)
}

fn a_new_program_that_fails(place: &Place<'_>) -> Result<Figures> {
    let container = start(place)?;
    let load = load(&container)?;
    let before = ask(&container.endpoints()?[0])?;
    // It does not understand the daemon's words, and ends with status 2.
    container.deploy(&place.programs.ward, HTTPD)?;
    let mark = container.log.mark();
    container.signal(Signal::HUP)?;
    let failed = container.until_pid(mark, words::STARTED)?;
    container.until(mark, &exited(failed, 2))?;
    load.goes_on()?;
    let after = ask(&container.endpoints()?[0])?;
    ensure!(after == before, "another one serves: {after}");
    container.deploy(&place.programs.httpd, HTTPD)?;
    load.roster.signalled(1);
    container.signal(Signal::HUP)?;
    let next = container.until_pid(mark, words::READY)?;
    container.until(mark, &exited(before.pid, 0))?;
    let answer = ask(&container.endpoints()?[0])?;
    ensure!(answer.pid == next, "{next} is ready: {answer}");
    let figures = load.end("the old one serves on".to_owned())?;
    finish(container)?;
    Ok(figures)
}

/// One shows that before it takes the place of the one that runs, another one when it has taken it.
fn a_new_init_that_fails(place: &Place<'_>) -> Result<Figures> {
    let container = start(place)?;
    let load = load(&container)?;
    container.deploy(&place.programs.ward, INIT)?;
    container.signal(Signal::USR2)?;
    let why = container.until(0, words::NOT_REPLACED)?;
    load.goes_on()?;
    container.deploy(&place.programs.turncoat, INIT)?;
    container.signal(Signal::USR2)?;
    container.until(0, words::ROLLED_BACK)?;
    load.goes_on()?;
    container.deploy(&place.programs.init, INIT)?;
    container.signal(Signal::USR2)?;
    container.until(0, words::TAKEN_OVER)?;
    ensure!(container.children()?.len() == 1, "a canary is left");
    let figures = load.end(format!("{why}; rolled back"))?;
    finish(container)?;
    Ok(figures)
}

/// Each is reaped, and the program's own end is still told from theirs.
fn orphans(place: &Place<'_>) -> Result<Figures> {
    const NUMBER: &str = "1000";
    let begun = Instant::now();
    let container = place.start(&[], &[WARD, "orphans", NUMBER], "up ")?;
    while container.children()?.len() > 1 {
        let left = container.children()?.len();
        ensure!(begun.elapsed() < PATIENCE, "{left} are not reaped");
    }
    let took = begun.elapsed();
    let peak = container.init()?.peak_kib().context("no VmHWM")?;
    finish(container)?;
    Ok(Figures::remark(format!(
        "{} ms, {peak} KiB",
        took.as_millis()
    )))
}

fn signals(place: &Place<'_>) -> Result<Figures> {
    const SIGNALS: [Signal; 6] = [
        Signal::HUP,
        Signal::USR1,
        Signal::USR2,
        Signal::WINCH,
        Signal::CONT,
        Signal::INT,
    ];
    let number = SIGNALS.len().to_string();
    let container = place.start(&[], &[WARD, "hear", &number], "up ")?;
    let deadline = Instant::now() + PATIENCE;
    for signal in SIGNALS {
        container.signal(signal)?;
        let line = format!("signal {}", signal.as_raw());
        ensure!(container.log.wait_for(&line, deadline), "no {line}");
    }
    let status = container.wait()?;
    ensure!(status == 0, "it ends with status {status}");
    Ok(Figures::remark(format!("{number} of them")))
}

fn statuses(place: &Place<'_>) -> Result<Figures> {
    let cases = [
        ("status", "0", 0),
        ("status", "42", 42),
        ("status", "255", 255),
        ("die", "15", 143),
        ("die", "9", 137),
    ];
    for (task, number, expected) in cases {
        let status = place.run(&[], &[WARD, task, number])?;
        ensure!(status == expected, "{task} {number} gives {status}");
    }
    Ok(Figures::remark(format!("{} of them", cases.len())))
}

/// A request that is open is answered first.
fn stopped(place: &Place<'_>) -> Result<Figures> {
    let container = start(place)?;
    let [Endpoint::Tcp(address), _] = container.endpoints()? else {
        unreachable!("it is TCP");
    };
    let slow = Slow::ask(address)?;
    let status = thread::scope(|scope| {
        let client = scope.spawn(|| slow.wait());
        let status = container.stop();
        client.join().map_err(|_| anyhow!("a client panicked"))??;
        status
    })?;
    ensure!(status == 0, "it ends with status {status}");
    Ok(Figures {
        requests: 2,
        failures: 0,
        remark: "nothing is left".to_owned(),
    })
}

fn killed(place: &Place<'_>) -> Result<Figures> {
    let options = ["--grace", "300"];
    let container = place.start(&options, &[WARD, "hear", "9"], "up ")?;
    let log = Arc::clone(&container.log);
    let begun = Instant::now();
    let status = container.stop()?;
    let took = begun.elapsed();
    ensure!(status == 137, "it ends with status {status}");
    ensure!(took >= Duration::from_millis(300), "it took {took:?}");
    for words in [words::TERMINATING, words::KILLING] {
        let said = log.all(|line| said(line, words)).len();
        ensure!(said == 1, "it says {words:?} {said} times");
    }
    Ok(Figures::remark(format!("after {} ms", took.as_millis())))
}

/// Whoever comes meanwhile waits, and is served by the next one.
fn crashes(place: &Place<'_>) -> Result<Figures> {
    const KNOCKING: Duration = Duration::from_secs(10);
    const CLIENTS: usize = 4;
    let container = place.start(&SOCKETS[..2], &[WARD, "serve", "100"], words::STARTED)?;
    let [tcp, _] = container.endpoints()?;
    // Once it has done everything.
    container.until(0, words::RESTARTING)?;
    container.until(container.log.mark(), words::RESTARTING)?;
    let before = (container.init()?.resident_kib(), container.fds()?);
    let knock = || -> Result<Knocks> {
        let begun = Instant::now();
        let mut knocks = Knocks::default();
        while begun.elapsed() < KNOCKING {
            knocks.knock(&tcp)?;
        }
        Ok(knocks)
    };
    let clients = thread::scope(|scope| -> Result<Vec<Knocks>> {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(knock)).collect();
        let end = |client: thread::ScopedJoinHandle<'_, Result<Knocks>>| {
            client.join().map_err(|_| anyhow!("a client panicked"))?
        };
        clients.into_iter().map(end).collect()
    })?;
    container.until(container.log.mark(), words::RESTARTING)?;
    let after = (container.init()?.resident_kib(), container.fds()?);
    ensure!(
        after == before,
        "memory and fds are {after:?} and were {before:?}"
    );
    let delays = container.log.all(|line| said(line, words::RESTARTING));
    let delays: Vec<u64> = delays
        .iter()
        .map(|delay| delay.strip_suffix(" ms").unwrap_or(delay).parse())
        .collect::<Result<_, _>>()?;
    let [least, .., most] = delays.as_slice() else {
        bail!("it crashed {} times", delays.len());
    };
    ensure!(
        delays.is_sorted() && least < most,
        "the delays are {delays:?}"
    );
    let mut figures = Figures::remark(format!(
        "{} crashes, delays of {least} to {most} ms, {} KiB",
        delays.len(),
        after.0.context("no VmRSS")?
    ));
    for knocks in clients {
        ensure!(knocks.refused == 0, "{knocks:?}");
        ensure!(knocks.answered > 0, "{knocks:?}");
        figures.requests += knocks.answered + knocks.cut_off;
        figures.failures += knocks.cut_off;
    }
    container.stop()?;
    Ok(figures)
}

fn on_demand(place: &Place<'_>) -> Result<Figures> {
    let options = [SOCKETS.as_slice(), &["--on-demand"]].concat();
    let container = place.start(&options, &DAEMON, words::WAITING)?;
    ensure!(container.children()?.is_empty(), "there is a program");
    let begun = Instant::now();
    let answer = ask(&container.endpoints()?[1])?;
    let took = begun.elapsed();
    let started = container.until_pid(0, words::STARTED)?;
    ensure!(started == answer.pid, "{started} was started: {answer}");
    finish(container)?;
    Ok(Figures {
        requests: 1,
        failures: 0,
        remark: format!("answered after {} ms", took.as_millis()),
    })
}
