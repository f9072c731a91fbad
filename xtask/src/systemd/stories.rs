//! What systemd does with the daemon, and what comes of it.

use std::fs;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use super::keeper::state_is_kept;
use super::machine::PATIENCE;
use super::readme;
use super::stage::{SERVICE, SOCKET, Stage};
use crate::endpoint::Endpoint;
use crate::story::Figures;
use crate::story::load::{Knocks, ask};

type Story = fn(&Stage<'_>) -> Result<Figures>;

/// In the order in which they are told, each from the same beginning.
pub(crate) const STORIES: &[(&str, Story)] = &[
    ("units are sound", units_are_sound),
    ("the README, word for word", readme::word_for_word),
    ("started by the first request", started_by_the_first_request),
    ("ten reloads under load", ten_reloads),
    ("a reload with a probation", reload_with_a_probation),
    ("a successor that ends on probation", ends_on_probation),
    ("a successor that fails", a_successor_that_fails),
    ("the watchdog", watchdog),
    ("killed, with the sockets in the fd store", killed),
    (
        "stopped, with the sockets in the fd store",
        stopped_with_a_store,
    ),
    ("an address that is given up", an_address_that_is_given_up),
    ("state in the fd store, killed and stopped", state_is_kept),
    ("stopped after reloads", stopped),
    ("stopped while it is asked", stopped_while_asked),
];

/// The unix socket of `gracenet-httpd.socket`, and that of `store.conf`.
const UNIX: &str = "/run/gracenet-httpd.sock";
const UNIX_OF_STORE: &str = "/run/gracenet-httpd/http.sock";

const RELOADS: u32 = 10;

/// What younger versions tell the first process of itself.
const PIDFD_ID: &str = "LISTEN_PIDFDID";

/// `systemd-analyze verify` has nothing to say of them, but of what an old one does not know.
fn units_are_sound(stage: &Stage<'_>) -> Result<Figures> {
    stage.add_drop_in("store.conf")?;
    if stage.store_stays {
        stage.add_drop_in("store-preserve.conf")?;
    }
    let (sound, said) = stage.run(&["systemd-analyze", "verify", SOCKET, SERVICE])?;
    let unknown = |line: &str| !stage.reload_waits && line.contains("notify-reload");
    let complaints: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("gracenet-httpd") && !unknown(line))
        .collect();
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    ensure!(sound, "{said}");
    let (_, said) = stage.run(&["systemd-analyze", "security", "--no-pager", SERVICE])?;
    let exposure = said.lines().find(|line| line.contains("exposure level"));
    let level = exposure.and_then(|line| line.split_once(": "));
    let level = level.and_then(|(_, level)| level.split_whitespace().next());
    let level = level.with_context(|| format!("no exposure level: {said}"))?;
    Ok(Figures {
        remark: format!("exposure {level}"),
        ..Figures::default()
    })
}

fn started_by_the_first_request(stage: &Stage<'_>) -> Result<Figures> {
    stage.systemctl(&["start", SOCKET])?;
    stage.expect("ActiveState", "inactive")?;
    let asked = Instant::now();
    let answer = ask(&stage.tcp())?;
    let took = asked.elapsed();
    ensure!(answer.generation == 0, "{answer}");
    let same = ask(&stage.unix(UNIX))?;
    ensure!(same == answer, "{same} and {answer}");
    ensure!(
        stage.main_pid()? == answer.pid,
        "another is the main process"
    );
    stage.expect("StatusText", "serving")?;
    // A systemd that finds no libseccomp leaves out what needs it, and says nothing. The machine
    // has filters itself.
    let (of_all, of_it) = (
        seccomp_filters(stage, 1)?,
        seccomp_filters(stage, answer.pid)?,
    );
    ensure!(of_it > of_all, "no filter of its own: {of_it} and {of_all}");
    let log = stage.log_of(Some(answer.pid))?;
    let inherited = log.matches("(inherited)").count();
    ensure!(inherited == 2, "{inherited} sockets are inherited:\n{log}");
    Ok(Figures {
        requests: 2,
        failures: 0,
        remark: format!("{} ms", took.as_millis()),
    })
}

/// How many there are that a process has to pass.
fn seccomp_filters(stage: &Stage<'_>, pid: u32) -> Result<u32> {
    let status = fs::read_to_string(stage.path(&format!("/proc/{pid}/status")))?;
    let mut lines = status.lines();
    let filters = lines.find_map(|line| line.strip_prefix("Seccomp_filters:"));
    let filters = filters.context("the kernel does not count filters")?;
    filters.trim().parse().context("Seccomp_filters")
}

fn ten_reloads(stage: &Stage<'_>) -> Result<Figures> {
    stage.systemctl(&["start", SOCKET])?;
    let load = stage.load(UNIX)?;
    let mut longest = Duration::ZERO;
    let identified = !stage.variables(stage.main_pid()?, PIDFD_ID)?.is_empty();
    for generation in 1..=RELOADS {
        load.roster.signalled(generation);
        let begun = Instant::now();
        let answer = stage.reload(generation)?;
        longest = longest.max(begun.elapsed());
        stage.expect("ActiveState", "active")?;
        stage.expect("StatusText", "serving")?;
        for name in ["LISTEN_PID", "WATCHDOG_PID"] {
            let found = stage.variables(answer.pid, name)?;
            ensure!(found == [answer.pid.to_string()], "{name}: {found:?}");
        }
        let found = stage.variables(answer.pid, PIDFD_ID)?;
        ensure!(found.is_empty(), "{PIDFD_ID}: {found:?}");
        // What it writes is in the journal as the service's.
        let log = stage.log_of(Some(answer.pid))?;
        ensure!(log.contains("]: ready\n"), "of {}: {log}", answer.pid);
    }
    stage.expect("NRestarts", "0")?;
    let identified = match identified {
        true => ", LISTEN_PIDFDID not passed on",
        false => "",
    };
    load.end(format!("longest {} ms{identified}", longest.as_millis()))
}

/// It takes as long, and only then is the successor the main process.
fn reload_with_a_probation(stage: &Stage<'_>) -> Result<Figures> {
    let words = "gracenet-httpd --probation 500 tcp :8080 unix";
    stage.add_lines(&format!(
        "ExecStart=\nExecStart=/usr/local/bin/{words} {UNIX}"
    ))?;
    stage.systemctl(&["start", SOCKET])?;
    let load = stage.load(UNIX)?;
    load.roster.signalled(1);
    let begun = Instant::now();
    stage.reload(1)?;
    let took = begun.elapsed();
    ensure!(took >= Duration::from_millis(500), "it took {took:?}");
    load.end(format!("{} ms", took.as_millis()))
}

/// For systemd nothing has happened, as the main process is still the old one.
fn ends_on_probation(stage: &Stage<'_>) -> Result<Figures> {
    let words = "gracenet-httpd --probation 20000 tcp :8080 unix";
    stage.add_lines(&format!(
        "ExecStart=\nExecStart=/usr/local/bin/{words} {UNIX}"
    ))?;
    stage.systemctl(&["start", SOCKET])?;
    let load = stage.load(UNIX)?;
    let before = stage.expect_generation(0)?;
    stage.deploy_script("#!/bin/bash\nprintf ready >&${GRACENET_FD%,*}; exit 7\n")?;
    stage.systemctl(&["reload", SERVICE])?;
    stage.until("StatusText", |text| {
        text == "successor failed: exited with status 7"
    })?;
    stage.until("ActiveState", |state| state == "active")?;
    ensure!(stage.expect_generation(0)? == before, "another one serves");
    stage.expect("NRestarts", "0")?;
    load.end("the old one accepts again".to_owned())
}

fn a_successor_that_fails(stage: &Stage<'_>) -> Result<Figures> {
    stage.systemctl(&["start", SOCKET])?;
    let load = stage.load(UNIX)?;
    let before = stage.expect_generation(0)?;
    stage.deploy_script("#!/bin/bash\nexit 3\n")?;
    stage.systemctl(&["reload", SERVICE])?;
    const WHY: &str = "successor failed: exited with status 3";
    match stage.reload_waits {
        true => stage.expect("StatusText", WHY)?,
        false => stage.until("StatusText", |text| text == WHY).map(drop)?,
    }
    stage.until("ActiveState", |state| state == "active")?;
    ensure!(stage.expect_generation(0)? == before, "another one serves");
    stage.deploy()?;
    load.roster.signalled(1);
    stage.reload(1)?;
    stage.until("StatusText", |text| text == "serving")?;
    stage.expect("NRestarts", "0")?;
    load.end("StatusText has the reason".to_owned())
}

fn watchdog(stage: &Stage<'_>) -> Result<Figures> {
    const PINGS: u32 = 4;
    stage.add_lines("WatchdogSec=1\nTimeoutAbortSec=1\nLimitCORE=0\nRestartSec=0")?;
    stage.systemctl(&["start", SOCKET])?;
    let mut requests = 0;
    // The first process, and a successor, which is told of the same watchdog.
    for generation in 0..=1 {
        if generation > 0 {
            ask(&stage.tcp())?;
            stage.reload(generation)?;
        }
        let before = match generation {
            0 => ask(&stage.tcp())?,
            _ => stage.expect_generation(generation)?,
        };
        let mut last = stage.show("WatchdogTimestampMonotonic")?;
        for _ in 0..PINGS {
            last = stage.until("WatchdogTimestampMonotonic", |time| time != last)?;
        }
        stage.expect("NRestarts", "0")?;
        let after = stage.expect_generation(generation)?;
        ensure!(after == before, "{after} and {before}");
        requests += 3;
    }
    let stuck = stage.main_pid()?;
    let begun = Instant::now();
    stage.signal("STOP", stuck)?;
    let knocks = Knocks::until_not(&stage.tcp(), stuck)?;
    let took = begun.elapsed();
    ensure!(knocks.refused == 0, "{knocks:?}");
    stage.expect("NRestarts", "1")?;
    stage.expect_generation(0)?;
    Ok(Figures {
        requests: requests + knocks.answered + knocks.cut_off,
        failures: knocks.cut_off,
        remark: format!("a stopped one was replaced after {} ms", took.as_millis()),
    })
}

/// The daemon has made its sockets itself.
fn start_with_store(stage: &Stage<'_>) -> Result<()> {
    stage.add_drop_in("store.conf")?;
    if stage.store_stays {
        stage.add_drop_in("store-preserve.conf")?;
    }
    stage.systemctl(&["start", SERVICE])?;
    stage.expect("NFileDescriptorStore", "2")
}

fn killed(stage: &Stage<'_>) -> Result<Figures> {
    start_with_store(stage)?;
    let first = stage.expect_generation(0)?;
    let log = stage.log_of(Some(first.pid))?;
    ensure!(log.matches("(fresh)").count() == 2, "{log}");
    // A successor's sockets are the same.
    stage.reload(1)?;
    let mut figures = Figures::default();
    for restarts in 1..=3_u32 {
        let pid = stage.main_pid()?;
        let endpoints = [stage.tcp(), stage.unix(UNIX_OF_STORE)];
        let knocks = thread::scope(|scope| -> Result<Vec<Knocks>> {
            let knock = |endpoint| scope.spawn(move || Knocks::until_not(endpoint, pid));
            let clients: Vec<_> = endpoints.iter().map(knock).collect();
            stage.signal("KILL", pid)?;
            let end = |client: thread::ScopedJoinHandle<'_, Result<Knocks>>| {
                client.join().map_err(|_| anyhow!("a client panicked"))?
            };
            clients.into_iter().map(end).collect()
        })?;
        for knocks in knocks {
            ensure!(knocks.refused == 0, "{knocks:?}");
            figures.requests += knocks.answered + knocks.cut_off;
            figures.failures += knocks.cut_off;
        }
        stage.until("SubState", |state| state == "running")?;
        let answer = stage.expect_generation(0)?;
        let log = stage.log_of(Some(answer.pid))?;
        ensure!(log.matches("(inherited)").count() == 2, "{log}");
        stage.expect("NRestarts", &restarts.to_string())?;
        stage.expect("NFileDescriptorStore", "2")?;
    }
    figures.remark = "none refused; those that failed were being served".to_owned();
    Ok(figures)
}

fn stopped_with_a_store(stage: &Stage<'_>) -> Result<Figures> {
    start_with_store(stage)?;
    let before = stage.expect_generation(0)?;
    stage.systemctl(&["stop", SERVICE])?;
    ensure!(!stage.is_running()?, "it still runs");
    let endpoint = stage.tcp();
    if !stage.store_stays {
        let refused = endpoint.get("/", PATIENCE);
        ensure!(refused.is_err(), "somebody listens");
        return Ok(Figures {
            remark: "closed, as this version keeps nothing".to_owned(),
            ..Figures::default()
        });
    }
    stage.expect("NFileDescriptorStore", "2")?;
    // Whoever comes meanwhile waits in the queue of a socket that only systemd has.
    let Endpoint::Tcp(address) = endpoint else {
        unreachable!("it is TCP");
    };
    TcpStream::connect_timeout(&address, PATIENCE).context("while it was stopped")?;
    let answer = thread::scope(|scope| {
        let waits = scope.spawn(|| ask(&endpoint));
        let started = stage.systemctl(&["start", SERVICE]);
        let answer = waits.join().map_err(|_| anyhow!("a client panicked"))?;
        started.and(answer)
    })?;
    ensure!(answer.pid != before.pid, "{answer}");
    let log = stage.log_of(Some(answer.pid))?;
    ensure!(log.matches("(inherited)").count() == 2, "{log}");
    Ok(Figures {
        requests: 1,
        failures: 0,
        remark: "asked while it was stopped".to_owned(),
    })
}

/// systemd keeps it no longer: nobody may wait in the queue of a socket that nobody accepts from.
fn an_address_that_is_given_up(stage: &Stage<'_>) -> Result<Figures> {
    start_with_store(stage)?;
    let first = stage.expect_generation(0)?;
    stage.add_lines("ExecStart=\nExecStart=/usr/local/bin/gracenet-httpd --store tcp :8080")?;
    stage.signal("KILL", first.pid)?;
    let knocks = Knocks::until_not(&stage.tcp(), first.pid)?;
    ensure!(knocks.refused == 0, "{knocks:?}");
    stage.until("NFileDescriptorStore", |count| count == "1")?;
    let refused = stage.unix(UNIX_OF_STORE).get("/", PATIENCE);
    ensure!(refused.is_err(), "somebody listens");
    Ok(Figures {
        requests: knocks.answered + knocks.cut_off,
        failures: knocks.cut_off,
        remark: String::new(),
    })
}

fn stopped(stage: &Stage<'_>) -> Result<Figures> {
    stage.systemctl(&["start", SOCKET])?;
    ask(&stage.tcp())?;
    stage.reload(1)?;
    let last = stage.reload(2)?;
    stage.systemctl(&["stop", SOCKET, SERVICE])?;
    stage.expect("ActiveState", "inactive")?;
    stage.expect("Result", "success")?;
    stage.expect("ExecMainPID", &last.pid.to_string())?;
    stage.expect("ExecMainStatus", "0")?;
    ensure!(!stage.is_running()?, "something is left of it");
    let refused = stage.tcp().get("/", PATIENCE);
    ensure!(refused.is_err(), "somebody listens");
    let log = stage.log_of(Some(last.pid))?;
    ensure!(log.contains("terminating"), "{log}");
    Ok(Figures {
        requests: 3,
        failures: 0,
        remark: "nothing is left".to_owned(),
    })
}

/// The predecessor was still draining when systemd got its successor as the main process, which was
/// no child of its own then. A stop waits for it as for any other.
fn stopped_while_asked(stage: &Stage<'_>) -> Result<Figures> {
    stage.systemctl(&["start", SOCKET])?;
    let first = ask(&stage.tcp())?;
    thread::scope(|scope| -> Result<()> {
        let drained = stage.slow(scope, 1_000, first.pid)?;
        stage.reload(1)?;
        drained()?;
        let second = stage.expect_generation(1)?;
        let served = stage.slow(scope, 500, second.pid)?;
        stage.systemctl(&["stop", SOCKET, SERVICE])?;
        served()
    })?;
    stage.expect("Result", "success")?;
    stage.expect("ExecMainStatus", "0")?;
    ensure!(!stage.is_running()?, "something is left of it");
    Ok(Figures {
        requests: 5,
        failures: 0,
        remark: String::new(),
    })
}
