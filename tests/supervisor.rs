//! A supervisor holds sockets, and programs that serve them come and go: they start and are ready, or
//! not; they crash, are replaced, end. Clients connect all the while, and never is one refused.

#![allow(unsafe_code)] // Inherited fds; a terminal.

mod util;

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io::Read as _;
use std::net::TcpStream;
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::rc::Rc;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use gracenet::init::Exit;
use gracenet::signal::Signal;
use gracenet::supervisor::{
    Event, MOST_PROCESSES, Options, Readiness, Restart, Supervisor, SupervisorError,
};
use gracenet::{
    Args, Capsule, CapsuleError, Changes, Deadline, Environ, Failure, ListenOptions, Net, Program,
    StartError,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{
    Pid, PidfdFlags, WaitId, WaitIdOptions, getpgid, getpid, kill_process, pidfd_open, waitid,
};
use rustix::termios::tcgetpgrp;
use util::{
    Descendants, Fds, Office, Puppet, alone, hear, in_process_with, is_reaped, path, program,
    report, strings, tell, this_program,
};

/// What a supervisor is made of. The first socket is a TCP one.
struct Site {
    net: Net<24>,
    program: Program<'static>,
    office: Rc<Office>,
    command: Args<'static>,
    address: String,
    /// Dropped before the next: whoever a test that fails has started.
    _descendants: Descendants,
    /// There are children in it, and fds that are counted.
    _alone: MutexGuard<'static, ()>,
}

fn leak(strings: &[&CStr]) -> &'static [&'static CStr] {
    let leak = |string: &&CStr| -> &'static CStr { Box::leak((*string).into()) };
    strings.iter().map(leak).collect::<Vec<_>>().leak()
}

impl Site {
    /// That supervises a puppet.
    fn new() -> Site {
        let alone = alone();
        let office = Office::open();
        let command = [path(&program("puppet")), path(&office.path())];
        Site::of(alone, office, &[&command[0], &command[1]])
    }

    /// That supervises a shell, in which the sockets begin at 3.
    fn of_script(script: &str) -> Site {
        let (alone, script) = (alone(), CString::new(script).unwrap());
        Site::of(alone, Office::open(), &[c"/bin/sh", c"-c", &script])
    }

    fn of(alone: MutexGuard<'static, ()>, office: Office, command: &[&CStr]) -> Site {
        let environ = leak(&[c"PATH=/usr/bin:/bin", c"A=1"]);
        let program = Program::new(Args::new(leak(&[c"supervisor"])), Environ::new(environ));
        let mut net = Net::new();
        let options = ListenOptions::new().name("web");
        let web = net.listen_with("tcp", "127.0.0.1:0", &options).unwrap();
        let address = util::address(&net.duplicate(web).unwrap()).to_string();
        Site {
            net,
            program,
            office: Rc::new(office),
            command: Args::new(leak(command)),
            address,
            _descendants: Descendants::watch(),
            _alone: alone,
        }
    }

    /// The parts of it, of which the last is where puppets come.
    fn supervise(&mut self, options: Options) -> (Supervisor<'_>, Rc<Office>, String) {
        let office = Rc::clone(&self.office);
        let supervisor = Supervisor::new(&mut self.net, &self.program, self.command, &options);
        (supervisor.unwrap(), office, self.address.clone())
    }
}

/// In a process of its own, whose children do not outlive the test either.
fn apart(name: &str, body: impl FnOnce(&Path)) {
    in_process_with(name, Descendants::watch, body);
}

fn options(readiness: Readiness) -> Options {
    let mut options = Options::new();
    options.readiness = readiness;
    options
}

/// What comes about next, in time.
#[track_caller]
fn next(supervisor: &mut Supervisor<'_>) -> Event {
    let limit = Deadline::after_ms(20_000);
    loop {
        if let Some(event) = supervisor.try_next() {
            return event;
        }
        assert!(!limit.has_passed(), "waited 20 s for an event");
        wait(supervisor, limit.min(supervisor.wake_by()));
    }
}

fn wait(supervisor: &Supervisor<'_>, deadline: Deadline) {
    let ms = deadline.remaining_ms().unwrap();
    let limit = Timespec {
        tv_sec: (ms / 1_000) as i64,
        tv_nsec: (ms % 1_000 * 1_000_000) as i64,
    };
    let fd = supervisor.as_fd();
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)).unwrap();
}

/// There is nothing to do, and it does not say that there is.
#[track_caller]
fn is_idle(supervisor: &mut Supervisor<'_>) {
    assert_eq!(supervisor.try_next(), None);
    let fd = supervisor.as_fd();
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let ready = poll(&mut fds, Some(&Timespec::default())).unwrap();
    assert_eq!(ready, 0, "it is readable, and there is nothing to do");
}

#[track_caller]
fn started(supervisor: &mut Supervisor<'_>) -> Pid {
    match next(supervisor) {
        Event::Started(pid) => pid,
        other => panic!("{other:?}, and nothing was started"),
    }
}

/// A puppet that the supervisor starts now, which has inherited its sockets.
#[track_caller]
fn comes(supervisor: &mut Supervisor<'_>, office: &Rc<Office>) -> Puppet {
    let pid = started(supervisor);
    inherits(office, pid)
}

#[track_caller]
fn inherits(office: &Rc<Office>, pid: Pid) -> Puppet {
    let puppet = office.hire();
    assert_eq!(puppet.pid(), pid);
    puppet.must("inherit");
    puppet
}

/// As [`comes`], and it says through its channel that it is ready.
#[track_caller]
fn serves(supervisor: &mut Supervisor<'_>, office: &Rc<Office>) -> Puppet {
    let puppet = comes(supervisor, office);
    puppet.must("ready keep");
    assert_eq!(next(supervisor), Event::Ready(puppet.pid()));
    puppet
}

/// It is told by SIGTERM to end, and does not.
fn blocks_term(puppet: &Puppet) {
    puppet.must("signals");
}

fn answer(mut client: TcpStream) -> String {
    client
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut said = String::new();
    client.read_to_string(&mut said).expect("an answer");
    said
}

#[track_caller]
fn answers(puppet: &Puppet, client: TcpStream, word: &str) {
    let table = puppet.table();
    let web = match table[0].claimed {
        true => table[0].clone(),
        false => puppet.gets(format!("listen tcp {}", table[0].address)),
    };
    puppet.greets(&web, word);
    assert_eq!(answer(client), word);
}

fn ends(supervisor: &mut Supervisor<'_>) -> i32 {
    supervisor.terminate(Signal::KILL);
    loop {
        if let Event::Done(status) = next(supervisor) {
            return status;
        }
    }
}

/// A test that fails leaves nobody behind: not the program, which does not want to end, nor a child of
/// it that is in another session, nor an orphan.
#[test]
fn failing_test_ends_whom_it_has_started() {
    let script = "trap '' TERM HUP; (setsid tail -f /dev/null & echo $! >&4) & \
        setsid sh -c 'echo $$ >&4; exec tail -f /dev/null' & echo $$ >&4; wait";
    let (report, theirs) = report();
    let mut pids = Vec::new();
    let failure = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let mut site = Site::of_script(script);
        site.net.insert("report", theirs).unwrap();
        let (mut supervisor, ..) = site.supervise(options(Readiness::After(0)));
        started(&mut supervisor);
        while pids.len() < 3 {
            pids.extend(hear(&report).lines().map(|pid| pid.parse::<i32>().unwrap()));
        }
        std::panic::resume_unwind(Box::new("it fails"));
    }));
    assert!(failure.is_err());
    for pid in pids {
        let gone = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty());
        assert_eq!(gone.unwrap_err(), Errno::SRCH);
    }
}

/// Case A8, E5. What is seen of the first start from outside: the sockets in their order and by their
/// names, nothing else, and a process group of its own.
#[test]
fn program_gets_the_sockets_and_nothing_else() {
    let mut site = Site::new();
    let local = format!("@gracenet-supervisor-{}", std::process::id());
    let named = ListenOptions::new().name("local");
    site.net.listen_with("unix", &local, &named).unwrap();
    site.net
        .insert("file", File::open("/dev/null").unwrap().into())
        .unwrap();
    // Somebody has forgotten to make it CLOEXEC.
    let forgotten = File::open("/dev/zero").unwrap();
    fcntl_setfd(&forgotten, FdFlags::empty()).unwrap();
    let before = Fds::of_self();
    let (mut supervisor, office, address) = site.supervise(options(Readiness::Channel));
    let pid = started(&mut supervisor);
    let puppet = office.hire();
    let fds = puppet.fds();
    // The three, the channel; of its own the working directory and the line to this test.
    assert_eq!(fds.numbers(), [0, 1, 2, 3, 4, 5, 6, 7, 100]);
    assert!(
        fds.numbers()
            .iter()
            .all(|fd| fds.target(*fd) != Path::new("/dev/zero"))
    );
    assert_eq!(puppet.must("inherit"), "3 generation=0");
    let table = puppet.table();
    let table: Vec<_> = table
        .iter()
        .map(|entry| (entry.fd, &*entry.name, &*entry.address))
        .collect();
    assert_eq!(
        table,
        [
            (3, "web", &*address),
            (4, "local", &*local),
            (5, "file", "-")
        ]
    );
    let environ = strings(&fs::read(format!("/proc/{pid}/environ")).unwrap());
    assert!(environ.contains(&format!("LISTEN_PID={pid}").into_bytes()));
    assert!(environ.contains(&b"A=1".to_vec()));
    assert_eq!(getpgid(Some(pid)).unwrap(), pid);
    // It is main from its start on, and ready when it says so.
    assert_eq!(supervisor.main(), Some(pid));
    is_idle(&mut supervisor);
    puppet.must("ready keep");
    assert_eq!(next(&mut supervisor), Event::Ready(pid));
    is_idle(&mut supervisor);
    assert_eq!(ends(&mut supervisor), 128 + 9);
    assert!(is_reaped(pid));
    drop((supervisor, puppet, office));
    assert_eq!(Fds::of_self(), before);
}

/// By its channel, its NOTIFY_SOCKET, or because it has lived for some time.
#[test]
fn program_is_ready_when_it_says_so_or_has_lived_long_enough() {
    for readiness in [Readiness::Channel, Readiness::Notify, Readiness::After(300)] {
        let mut site = Site::new();
        let (mut supervisor, office, address) = site.supervise(options(readiness));
        let begin = Instant::now();
        let puppet = comes(&mut supervisor, &office);
        is_idle(&mut supervisor);
        match readiness {
            Readiness::Channel => drop(puppet.must("ready keep")),
            // That of another process does not count.
            Readiness::Notify => {
                let environ = fs::read(format!("/proc/{}/environ", puppet.pid())).unwrap();
                let environ = strings(&environ);
                let socket = environ
                    .iter()
                    .find(|it| it.starts_with(b"NOTIFY_SOCKET="))
                    .unwrap();
                let socket = CString::new(socket.clone()).unwrap();
                let strings = [&*socket];
                let notify = gracenet::notify::Notify::new(Environ::new(&strings)).unwrap();
                notify
                    .unwrap()
                    .send(&[gracenet::notify::State::Ready])
                    .unwrap();
                wait(&supervisor, Deadline::after_ms(20_000));
                is_idle(&mut supervisor);
                puppet.must("notify");
            }
            Readiness::After(_) => {}
        }
        assert_eq!(next(&mut supervisor), Event::Ready(puppet.pid()));
        if let Readiness::After(ms) = readiness {
            assert!(begin.elapsed() >= Duration::from_millis(ms));
        }
        let client = TcpStream::connect(&address).unwrap();
        answers(&puppet, client, "one");
        is_idle(&mut supervisor);
        assert_eq!(ends(&mut supervisor), 128 + 9);
    }
}

/// One that hangs is killed, with its group; and is started again.
#[test]
fn program_that_is_not_ready_in_time_is_killed() {
    for readiness in [Readiness::Channel, Readiness::Notify] {
        let mut site = Site::new();
        let mut options = options(readiness);
        options.ready_timeout_ms = 50;
        options.back_off_ms = (1, 10);
        let (mut supervisor, office, _) = site.supervise(options);
        let pid = started(&mut supervisor);
        assert_eq!(next(&mut supervisor), Event::Failed(pid, Failure::TimedOut));
        assert!(is_reaped(pid));
        assert_eq!(next(&mut supervisor), Event::Restarting(1));
        started(&mut supervisor);
        drop(office);
        ends(&mut supervisor);
    }
}

/// The delays double up to the longest, and begin anew with one that has lived for as long as that.
/// Clients wait in the queue; a new one comes before each start.
#[test]
fn program_that_crashes_is_started_again_and_nobody_is_refused() {
    let mut site = Site::new();
    let mut options = options(Readiness::Channel);
    options.back_off_ms = (20, 100);
    let (mut supervisor, office, address) = site.supervise(options);
    let mut clients = Vec::new();
    let mut connect = || clients.push(TcpStream::connect(&address).unwrap());
    for delay in [20, 40, 80, 100, 100] {
        connect();
        let puppet = comes(&mut supervisor, &office);
        connect();
        puppet.begin("crash segv");
        let failure = Failure::Killed(libc::SIGSEGV);
        let pid = puppet.pid();
        assert_eq!(next(&mut supervisor), Event::Failed(pid, failure));
        let begin = Instant::now();
        assert_eq!(next(&mut supervisor), Event::Restarting(delay));
        assert_eq!(supervisor.main(), None);
        assert!(is_reaped(pid));
        is_idle(&mut supervisor);
        connect();
        wait(&supervisor, supervisor.wake_by());
        assert!(begin.elapsed() >= Duration::from_millis(delay - 1));
    }
    let puppet = serves(&mut supervisor, &office);
    for client in clients {
        answers(&puppet, client, "at-last");
    }
    let limit = Deadline::after_ms(100);
    while !limit.has_passed() {
        wait(&supervisor, limit);
    }
    puppet.begin("exit 3");
    let end = Event::Ended(puppet.pid(), Failure::Exited(3));
    assert_eq!(next(&mut supervisor), end);
    assert_eq!(next(&mut supervisor), Event::Restarting(20));
    serves(&mut supervisor, &office);
    ends(&mut supervisor);
}

/// Whether it is started again, and with what status it is over.
#[test]
fn program_that_ends_is_started_again_as_it_was_said() {
    for (restart, end, status) in [
        (Restart::No, "exit 0", Some(0)),
        (Restart::No, "exit 7", Some(7)),
        (Restart::No, "crash segv", Some(128 + libc::SIGSEGV)),
        (Restart::OnFailure, "exit 0", Some(0)),
        (Restart::OnFailure, "exit 7", None),
        (Restart::OnFailure, "crash segv", None),
        (Restart::Always, "exit 0", None),
        (Restart::Always, "exit 255", None),
    ] {
        let mut site = Site::new();
        let mut options = options(Readiness::Channel);
        options.restart = restart;
        options.back_off_ms = (1, 1);
        let (mut supervisor, office, _) = site.supervise(options);
        let puppet = serves(&mut supervisor, &office);
        puppet.begin(end);
        assert!(matches!(next(&mut supervisor), Event::Ended(pid, _) if pid == puppet.pid()));
        match status {
            Some(status) => {
                assert_eq!(
                    next(&mut supervisor),
                    Event::Done(status),
                    "{restart:?} {end}"
                );
                is_idle(&mut supervisor);
                assert_eq!(supervisor.restart(), Err(StartError::InProgress));
            }
            None => {
                assert_eq!(
                    next(&mut supervisor),
                    Event::Restarting(1),
                    "{restart:?} {end}"
                );
                comes(&mut supervisor, &office);
                ends(&mut supervisor);
            }
        }
    }
}

/// As a shell has it: 127 where there is none, 126 where it is no program; and no attempt more.
#[test]
fn program_that_cannot_be_executed_is_not_tried_again() {
    for (command, status) in [(c"/nowhere/program", 127), (c"/etc/passwd", 126)] {
        let mut site = Site::of(alone(), Office::open(), &[command]);
        let (mut supervisor, ..) = site.supervise(options(Readiness::Channel));
        assert!(matches!(
            next(&mut supervisor),
            Event::NotStarted(StartError::Failed(_))
        ));
        assert_eq!(next(&mut supervisor), Event::Done(status));
    }
}

/// The new one is ready before the old one is told, which serves whom it has until it ends.
#[test]
fn program_is_replaced_and_the_old_one_drained() {
    let mut site = Site::new();
    let (mut supervisor, office, address) = site.supervise(options(Readiness::Channel));
    let mut old = serves(&mut supervisor, &office);
    for generation in 1..4 {
        blocks_term(&old);
        let client = TcpStream::connect(&address).unwrap();
        let pid = supervisor.restart().unwrap().unwrap();
        assert_eq!(supervisor.restart(), Err(StartError::InProgress));
        assert_eq!(supervisor.main(), Some(old.pid()));
        let new = office.hire();
        assert_eq!(new.pid(), pid);
        assert_eq!(new.must("inherit"), format!("1 generation={generation}"));
        assert_eq!(supervisor.try_next(), None);
        old.fails("read-signal");
        new.must("ready keep");
        assert_eq!(next(&mut supervisor), Event::Ready(pid));
        assert_eq!(supervisor.main(), Some(pid));
        assert_eq!(old.must("read-signal"), libc::SIGTERM.to_string());
        answers(&old, client, "old");
        let client = TcpStream::connect(&address).unwrap();
        answers(&new, client, "new");
        old.begin("exit 0");
        let end = Event::Ended(old.pid(), Failure::Exited(0));
        assert_eq!(next(&mut supervisor), end);
        is_idle(&mut supervisor);
        old = new;
    }
    ends(&mut supervisor);
}

/// In whatever way it fails: the old one is not told anything, and serves on.
#[test]
fn new_program_that_fails_leaves_the_old_one() {
    let mut site = Site::new();
    let mut options = options(Readiness::Channel);
    options.ready_timeout_ms = 2_000;
    let (mut supervisor, office, address) = site.supervise(options);
    let old = serves(&mut supervisor, &office);
    blocks_term(&old);
    for (order, failure) in [
        ("exit 0", Failure::Exited(0)),
        ("exit 9", Failure::Exited(9)),
        ("crash ill", Failure::Killed(libc::SIGILL)),
        ("origin", Failure::TimedOut),
    ] {
        let pid = supervisor.restart().unwrap().unwrap();
        let new = inherits(&office, pid);
        new.begin(order);
        assert_eq!(next(&mut supervisor), Event::Failed(pid, failure));
        assert!(is_reaped(pid));
        is_idle(&mut supervisor);
        assert_eq!(supervisor.main(), Some(old.pid()));
        old.fails("read-signal");
        let client = TcpStream::connect(&address).unwrap();
        answers(&old, client, "old");
    }
    // Had it a good reason, it is told.
    let pid = supervisor.restart().unwrap().unwrap();
    let new = inherits(&office, pid);
    new.must("ready keep");
    assert_eq!(next(&mut supervisor), Event::Ready(pid));
    assert_eq!(old.must("read-signal"), libc::SIGTERM.to_string());
    ends(&mut supervisor);
}

/// As many as there can be: the next one has to wait until one of them has ended.
#[test]
fn no_more_processes_than_there_is_room_for() {
    let mut site = Site::new();
    let (mut supervisor, office, _) = site.supervise(options(Readiness::Channel));
    let mut puppets = vec![serves(&mut supervisor, &office)];
    while puppets.len() < MOST_PROCESSES {
        blocks_term(puppets.last().unwrap());
        let pid = supervisor.restart().unwrap().unwrap();
        let new = inherits(&office, pid);
        new.must("ready keep");
        assert_eq!(next(&mut supervisor), Event::Ready(pid));
        puppets.push(new);
    }
    assert_eq!(supervisor.restart(), Err(StartError::InProgress));
    let first = puppets.remove(0);
    first.begin("exit 0");
    let end = Event::Ended(first.pid(), Failure::Exited(0));
    assert_eq!(next(&mut supervisor), end);
    let pid = supervisor.restart().unwrap().unwrap();
    let new = inherits(&office, pid);
    new.must("ready keep");
    assert_eq!(next(&mut supervisor), Event::Ready(pid));
    ends(&mut supervisor);
    for puppet in puppets {
        assert!(is_reaped(puppet.pid()));
    }
}

/// Started by the first client, and again by the next one after it has ended.
#[test]
fn program_is_started_on_demand() {
    let mut site = Site::new();
    let mut options = options(Readiness::Channel);
    options.on_demand = true;
    options.back_off_ms = (1, 1);
    let (mut supervisor, office, address) = site.supervise(options);
    assert_eq!(next(&mut supervisor), Event::Waiting);
    assert_eq!(supervisor.restart(), Ok(None));
    for end in ["exit 0", "exit 0", "crash segv", "exit 0"] {
        is_idle(&mut supervisor);
        assert_eq!(supervisor.wake_by(), Deadline::NEVER);
        let client = TcpStream::connect(&address).unwrap();
        let puppet = serves(&mut supervisor, &office);
        answers(&puppet, client, "on-demand");
        // Nobody else is started for others.
        let client = TcpStream::connect(&address).unwrap();
        is_idle(&mut supervisor);
        answers(&puppet, client, "again");
        puppet.begin(end);
        assert!(matches!(next(&mut supervisor), Event::Ended(pid, _) if pid == puppet.pid()));
        if end != "exit 0" {
            assert_eq!(next(&mut supervisor), Event::Restarting(1));
        }
        assert_eq!(next(&mut supervisor), Event::Waiting);
    }
    supervisor.terminate(Signal::TERM);
    assert_eq!(next(&mut supervisor), Event::Done(0));
}

/// What is no socket is always readable, and no client.
#[test]
fn file_is_no_client() {
    let mut site = Site::new();
    let file = File::open("/dev/zero").unwrap();
    site.net.insert("zero", file.into()).unwrap();
    let file = tempfile::tempfile().unwrap();
    site.net.insert("file", file.into()).unwrap();
    site.net
        .insert("null", File::open("/dev/null").unwrap().into())
        .unwrap();
    // Nor is a socket that cannot have any.
    let bound = util::bound("tcp", "127.0.0.1:0");
    site.net.insert("bound", bound).unwrap();
    let mut options = options(Readiness::Channel);
    options.on_demand = true;
    let (mut supervisor, office, address) = site.supervise(options);
    assert_eq!(next(&mut supervisor), Event::Waiting);
    is_idle(&mut supervisor);
    let _client = TcpStream::connect(&address).unwrap();
    serves(&mut supervisor, &office);
    ends(&mut supervisor);
}

/// A client waits for a program that cannot be started just now: nobody spins until then.
#[test]
fn client_waits_for_the_next_attempt() {
    let alone = alone();
    let office = Office::open();
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("program");
    fs::copy(program("puppet"), &place).unwrap();
    let command = [path(&place), path(&office.path())];
    let mut site = Site::of(alone, office, &[&command[0], &command[1]]);
    let mut options = options(Readiness::Channel);
    options.on_demand = true;
    options.back_off_ms = (200, 200);
    let (mut supervisor, office, address) = site.supervise(options);
    assert_eq!(next(&mut supervisor), Event::Waiting);
    let client = TcpStream::connect(&address).unwrap();
    let puppet = serves(&mut supervisor, &office);
    answers(&puppet, client, "one");
    puppet.begin("exit 0");
    assert!(matches!(next(&mut supervisor), Event::Ended(..)));
    assert_eq!(next(&mut supervisor), Event::Waiting);
    fs::rename(&place, directory.path().join("aside")).unwrap();
    let client = TcpStream::connect(&address).unwrap();
    assert!(matches!(next(&mut supervisor), Event::NotStarted(_)));
    assert_eq!(next(&mut supervisor), Event::Restarting(200));
    is_idle(&mut supervisor);
    fs::rename(directory.path().join("aside"), &place).unwrap();
    assert_eq!(next(&mut supervisor), Event::Waiting);
    let puppet = serves(&mut supervisor, &office);
    answers(&puppet, client, "two");
    ends(&mut supervisor);
}

/// Case I7. What it ends with by itself, and that it is killed if it does not.
#[test]
fn program_is_told_to_end_and_killed_if_it_does_not() {
    let mut site = Site::new();
    let mut settings = options(Readiness::Channel);
    settings.grace_ms = 100;
    let (mut supervisor, office, _) = site.supervise(settings);
    let puppet = serves(&mut supervisor, &office);
    blocks_term(&puppet);
    let begin = Instant::now();
    supervisor.terminate(Signal::TERM);
    is_idle(&mut supervisor);
    assert_eq!(puppet.must("read-signal"), libc::SIGTERM.to_string());
    // Again: it is told once more, and gets no more time.
    supervisor.terminate(Signal::USR1);
    assert_eq!(puppet.must("read-signal"), libc::SIGUSR1.to_string());
    let pid = puppet.pid();
    assert_eq!(next(&mut supervisor), Event::Killing(pid));
    assert!(begin.elapsed() >= Duration::from_millis(100));
    let end = Event::Ended(pid, Failure::Killed(9));
    assert_eq!(next(&mut supervisor), end);
    assert_eq!(next(&mut supervisor), Event::Done(128 + 9));
    is_idle(&mut supervisor);
    drop(supervisor);
    drop(site);

    for (script, status) in [
        ("trap 'exit 3' TERM; printf up >&4; read line <&4", 3),
        ("printf up >&4; read line <&4", 128 + 15),
    ] {
        let mut site = Site::of_script(script);
        let (report, theirs) = report();
        site.net.insert("report", theirs).unwrap();
        let (mut supervisor, ..) = site.supervise(options(Readiness::After(0)));
        let pid = started(&mut supervisor);
        assert_eq!(next(&mut supervisor), Event::Ready(pid));
        assert_eq!(hear(&report), "up");
        supervisor.terminate(Signal::TERM);
        tell(&report, "\n");
        assert!(matches!(next(&mut supervisor), Event::Ended(..)));
        assert_eq!(next(&mut supervisor), Event::Done(status));
    }
}

/// Case I7. Its whole group is killed with it.
#[test]
fn group_is_killed_with_its_leader() {
    // The child holds the other end of the report, and has no other reason to end.
    let script = "trap '' TERM; (printf child >&4; exec tail -f /dev/null) & read line <&4";
    let mut site = Site::of_script(script);
    let (report, theirs) = report();
    site.net.insert("report", theirs).unwrap();
    let mut settings = options(Readiness::After(0));
    settings.grace_ms = 50;
    let (mut supervisor, ..) = site.supervise(settings);
    let pid = started(&mut supervisor);
    assert_eq!(next(&mut supervisor), Event::Ready(pid));
    assert_eq!(hear(&report), "child");
    supervisor.terminate(Signal::TERM);
    assert_eq!(next(&mut supervisor), Event::Killing(pid));
    let end = Event::Ended(pid, Failure::Killed(9));
    assert_eq!(next(&mut supervisor), end);
    assert_eq!(next(&mut supervisor), Event::Done(128 + 9));
    // Nobody but this test has it any more.
    drop(supervisor);
    drop(site);
    ends_here(&report);
}

/// Nobody else has the other end of it, or will not have it for long.
fn ends_here(report: &OwnedFd) {
    util::in_time(report.as_fd(), "the end of all who report");
    let mut buffer = [0; 8];
    let received = rustix::net::recv(report, &mut buffer, rustix::net::RecvFlags::DONTWAIT);
    assert_eq!(received.map(|(length, _)| length), Ok(0));
}

/// Signals go to the program, or to its group.
#[test]
fn signals_are_forwarded() {
    for group in [false, true] {
        // The shell waits for its child, and goes on when the signal has come.
        let script = "trap 'printf leader >&4; kept=1' USR1; \
            (trap 'printf member >&4; exit' USR1; tail -f /dev/null & printf up >&4; wait) & \
            while test -z \"$kept\"; do wait; done; read line <&4";
        let mut site = Site::of_script(script);
        let (report, theirs) = report();
        site.net.insert("report", theirs).unwrap();
        let mut settings = options(Readiness::After(0));
        settings.signal_group = group;
        let (mut supervisor, ..) = site.supervise(settings);
        let pid = started(&mut supervisor);
        assert_eq!(next(&mut supervisor), Event::Ready(pid));
        assert_eq!(hear(&report), "up");
        supervisor.forward(Signal::USR1);
        let mut heard = vec![hear(&report)];
        if group {
            heard.push(hear(&report));
        }
        heard.sort();
        let expected: &[&str] = if group {
            &["leader", "member"]
        } else {
            &["leader"]
        };
        assert_eq!(heard, expected);
        ends(&mut supervisor);
        let _ = gracenet::init::signal_group(pid, Signal::KILL);
    }
}

/// A program that closes its channel without a word is given a last moment; told to end meanwhile,
/// it ends, and is not waited for for ever.
#[test]
fn program_that_has_closed_its_channel_can_be_told_to_end() {
    let script =
        "c=${GRACENET_FD%,*}; eval \"exec $c>&-\"; printf closed >&4; read line <&4; exit 5";
    let mut site = Site::of_script(script);
    let (report, theirs) = report();
    site.net.insert("report", theirs).unwrap();
    let (mut supervisor, ..) = site.supervise(options(Readiness::Channel));
    let pid = started(&mut supervisor);
    assert_eq!(hear(&report), "closed");
    assert_eq!(supervisor.try_next(), None);
    supervisor.terminate(Signal::CONT);
    tell(&report, "\n");
    let end = Event::Ended(pid, Failure::Exited(5));
    assert_eq!(next(&mut supervisor), end);
    assert_eq!(next(&mut supervisor), Event::Done(5));
}

/// Case D1. In a pid namespace of its own it is pid 1, also in its `LISTEN_PID`.
#[test]
fn program_can_have_a_pid_namespace() {
    let mut site = Site::new();
    let mut settings = options(Readiness::Notify);
    settings.pid_namespace = true;
    settings.grace_ms = 50;
    let (mut supervisor, office, address) = site.supervise(settings);
    if !rustix::process::geteuid().is_root() {
        let refused = next(&mut supervisor);
        let Event::NotStarted(error) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(error.to_string(), "clone: os error 1");
        return;
    }
    let puppet = comes(&mut supervisor, &office);
    assert_eq!(puppet.status("NSpid").split_whitespace().last(), Some("1"));
    let environ = strings(&fs::read(format!("/proc/{}/environ", puppet.pid())).unwrap());
    assert!(environ.contains(&b"LISTEN_PID=1".to_vec()));
    puppet.must("notify");
    assert_eq!(next(&mut supervisor), Event::Ready(puppet.pid()));
    let client = TcpStream::connect(&address).unwrap();
    answers(&puppet, client, "pid-1");
    // It has no handler, and a pid 1 without one does not end by a signal.
    supervisor.terminate(Signal::TERM);
    assert_eq!(next(&mut supervisor), Event::Killing(puppet.pid()));
    let end = Event::Ended(puppet.pid(), Failure::Killed(9));
    assert_eq!(next(&mut supervisor), end);
    assert_eq!(next(&mut supervisor), Event::Done(128 + 9));
}

/// A new supervisor is tried before it takes the place of this one, which goes on meanwhile and if it
/// is refused.
#[test]
fn canary_is_tried_and_refused() {
    let mut site = Site::new();
    let (mut supervisor, office, address) = site.supervise(options(Readiness::Channel));
    let puppet = serves(&mut supervisor, &office);
    for (script, outcome) in [
        ("exit 4", Err(Failure::Exited(4))),
        ("kill -KILL $$", Err(Failure::Killed(9))),
        ("printf ready >&$c", Ok(())),
        (
            "printf ready >&$c; exec tail -f /dev/null",
            Err(Failure::TimedOut),
        ),
    ] {
        let script = CString::new(format!("c=${{GRACENET_FD%,*}}; {script}")).unwrap();
        let args = [c"/bin/sh", c"-c", &*script];
        let changes = Changes::new().path(c"/bin/sh").args(Args::new(&args));
        let begin = Instant::now();
        let canary = supervisor.start_canary(&changes).unwrap();
        let again = supervisor.start_canary(&changes);
        assert_eq!(again, Err(StartError::InProgress));
        assert_eq!(supervisor.replace(&changes), StartError::InProgress);
        let client = TcpStream::connect(&address).unwrap();
        answers(&puppet, client, "one");
        assert_eq!(next(&mut supervisor), Event::Canary(outcome));
        // Not only when the time is over in which it could have become ready.
        assert!(begin.elapsed() < Duration::from_secs(5));
        assert!(is_reaped(canary));
        is_idle(&mut supervisor);
    }
    let nowhere = Changes::new().path(c"/nowhere");
    assert!(supervisor.start_canary(&nowhere).is_err());
    assert_eq!(
        supervisor.replace(&nowhere).to_string(),
        "execve: os error 2"
    );
    is_idle(&mut supervisor);
    assert_eq!(supervisor.main(), Some(puppet.pid()));
    // One that is still there at the end is not left behind.
    let args = [c"/bin/sh", c"-c", c"exec tail -f /dev/null"];
    let changes = Changes::new().path(c"/bin/sh").args(Args::new(&args));
    let canary = supervisor.start_canary(&changes).unwrap();
    ends(&mut supervisor);
    assert!(is_reaped(canary));
}

/// Another part of this program waits for any child.
#[test]
fn end_that_somebody_else_has_seen_is_an_end() {
    let mut site = Site::new();
    let mut options = options(Readiness::Channel);
    options.back_off_ms = (1, 1);
    let (mut supervisor, office, _) = site.supervise(options);
    let puppet = serves(&mut supervisor, &office);
    kill_process(puppet.pid(), rustix::process::Signal::KILL).unwrap();
    util::until_gone(puppet.pid());
    let mut others = Vec::new();
    supervisor
        .reap(|pid, exit| others.push((pid, exit)))
        .unwrap();
    assert_eq!(others, []);
    let end = Event::Ended(puppet.pid(), Failure::Killed(9));
    assert_eq!(next(&mut supervisor), end);
    assert_eq!(next(&mut supervisor), Event::Restarting(1));
    serves(&mut supervisor, &office);
    ends(&mut supervisor);
}

/// Case I5. Processes that others have left behind are waited for, and their ends told; that of the
/// program is the supervisor's own, however it comes to know of it.
#[test]
fn orphans_are_reaped_and_the_program_is_not_taken_for_one() {
    let name = "orphans_are_reaped_and_the_program_is_not_taken_for_one";
    apart(name, |_| {
        gracenet::init::become_subreaper().unwrap();
        let script = "i=0; while [ $i -lt 200 ]; do ( (exit 5) & ); i=$((i+1)); done; exit 9";
        let script = CString::new(script).unwrap();
        let environ = leak(&[c"PATH=/usr/bin:/bin"]);
        let program = Program::new(Args::new(&[]), Environ::new(environ));
        let args = [c"/bin/sh", c"-c", &*script];
        let mut net: Net<8> = Net::new();
        let mut options = options(Readiness::After(0));
        options.restart = Restart::No;
        let command = Args::new(&args);
        let mut supervisor = Supervisor::new(&mut net, &program, command, &options).unwrap();
        let pid = started(&mut supervisor);
        let mut orphans = 0;
        loop {
            let any = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            match waitid(WaitId::All, any) {
                Err(errno) => break assert_eq!(errno, Errno::CHILD),
                Ok(ended) => assert!(ended.is_some()),
            }
            let told = |ended, exit| {
                assert_ne!(ended, pid);
                assert_eq!(exit, Exit::Exited(5));
                orphans += 1;
            };
            supervisor.reap(told).unwrap();
        }
        assert_eq!(orphans, 200);
        // It may have ended before it was ready, which was at once.
        let failure = Failure::Exited(9);
        let ended = [Event::Failed(pid, failure), Event::Ended(pid, failure)];
        assert!(ended.contains(&next(&mut supervisor)));
        assert_eq!(next(&mut supervisor), Event::Done(9));
        // Nobody is left, which is no error.
        supervisor.reap(|_, _| panic!("there is nobody")).unwrap();
    });
}

const PIDS: &str = "GRACENET_TEST_PIDS";

/// Case I6. A supervisor that another takes the place of leaves it its processes: the one that serves
/// and the one that ends what it has begun. The other gives up, and leaves them to it again.
#[test]
fn supervisor_is_replaced_and_gone_back_to_while_its_programs_run_on() {
    let name = "supervisor_is_replaced_and_gone_back_to_while_its_programs_run_on";
    apart(name, |_| {
        let program = this_program();
        // SAFETY: what was passed is nobody's yet.
        let mut net: Net<24> = unsafe { Net::inherit(program.environ()) }.unwrap();
        let generation = net.generation();
        assert_eq!(net.was_rolled_back(), generation == 2);
        let guard = net.guard(&program).unwrap();
        assert_eq!(guard.is_armed(), generation == 1);
        let script = c"exec >/dev/null 2>&1; c=${GRACENET_FD%,*}; trap '' TERM; \
            printf ready >&$c; printf \"$$\" >&4; \
            read line <&4; exit 6";
        let args = [c"/bin/sh", c"-c", script];
        let mut options = options(Readiness::Channel);
        options.grace_ms = 60_000;
        options.restart = Restart::No;
        if generation == 0 {
            net.listen("tcp", "127.0.0.1:0").unwrap();
            let (ours, theirs) = report();
            net.insert("report", theirs).unwrap();
            net.insert("line", ours).unwrap();
        }
        let line = net
            .iter()
            .nth(2)
            .unwrap()
            .as_fd()
            .try_clone_to_owned()
            .unwrap();
        let image = program.image().unwrap();
        let command = Args::new(&args);
        let mut supervisor = Supervisor::new(&mut net, &program, command, &options).unwrap();
        if generation == 0 {
            let old = started(&mut supervisor);
            assert_eq!(next(&mut supervisor), Event::Ready(old));
            assert_eq!(hear(&line), old.to_string());
            let new = supervisor.restart().unwrap().unwrap();
            assert_eq!(next(&mut supervisor), Event::Ready(new));
            assert_eq!(hear(&line), new.to_string());
            let pids = CString::new(format!("{PIDS}={old},{new}")).unwrap();
            let set = [&*pids];
            let deadline = Deadline::after_ms(60_000);
            let changes = Changes::new().set(&set).rollback(image.as_fd(), deadline);
            panic!("not replaced: {}", supervisor.replace(&changes));
        }
        let pids = std::env::var(PIDS).unwrap();
        let pids: Vec<_> = pids
            .split(',')
            .map(|pid| pid.parse().ok().and_then(Pid::from_raw))
            .collect();
        let [Some(old), Some(new)] = *pids else {
            panic!("{pids:?}")
        };
        assert_eq!(supervisor.main(), Some(new));
        assert_eq!(supervisor.try_next(), None);
        // What was left is taken, and goes on to no program.
        let names: Vec<_> = supervisor
            .net()
            .iter()
            .map(|entry| entry.name().to_string())
            .collect();
        assert_eq!(names, ["unknown", "report", "line"]);
        if generation == 1 {
            panic!("it gives up");
        }
        guard.keep();
        // They are still its children, of whose ends it learns.
        tell(&line, "\n");
        tell(&line, "\n");
        let mut ended = [next(&mut supervisor), next(&mut supervisor)];
        let end = |pid| Event::Ended(pid, Failure::Exited(6));
        if ended[0] != end(old) {
            ended.reverse();
        }
        assert_eq!(ended, [end(old), end(new)]);
        assert_eq!(next(&mut supervisor), Event::Done(6));
        assert!(is_reaped(old) && is_reaped(new));
    });
}

/// A client that comes while a supervisor waits for one is noticed by the next one.
#[test]
fn supervisor_that_waits_for_a_client_is_replaced() {
    let name = "supervisor_that_waits_for_a_client_is_replaced";
    apart(name, |_| {
        let program = this_program();
        // SAFETY: what was passed is nobody's yet.
        let mut net: Net<24> = unsafe { Net::inherit(program.environ()) }.unwrap();
        let generation = net.generation();
        if generation == 0 {
            net.listen("tcp", "127.0.0.1:0").unwrap();
        }
        let address = util::address(&net.duplicate(net.iter().next().unwrap().handle()).unwrap());
        let args = [c"/bin/sh", c"-c", c"exit 0"];
        let mut options = options(Readiness::After(0));
        options.on_demand = true;
        let command = Args::new(&args);
        let mut supervisor = Supervisor::new(&mut net, &program, command, &options).unwrap();
        if generation == 0 {
            assert_eq!(next(&mut supervisor), Event::Waiting);
            panic!("not replaced: {}", supervisor.replace(&Changes::new()));
        }
        // It was said before.
        is_idle(&mut supervisor);
        is_idle(&mut supervisor);
        let _client = TcpStream::connect(address).unwrap();
        started(&mut supervisor);
        ends(&mut supervisor);
    });
}

/// What a later version has left cannot be read by this one, which says so; the sockets are there.
#[test]
fn state_of_another_version_is_not_guessed_at() {
    apart("state_of_another_version_is_not_guessed_at", |_| {
        let program = this_program();
        // SAFETY: what was passed is nobody's yet.
        let mut net: Net<24> = unsafe { Net::inherit(program.environ()) }.unwrap();
        let generation = net.generation();
        let refused = match generation {
            0 => {
                net.listen("tcp", "127.0.0.1:0").unwrap();
                None
            }
            1 => Some(CapsuleError::Version { found: 99 }),
            _ => Some(CapsuleError::NoCapsule),
        };
        if let Some(why) = refused {
            let args = [c"/bin/true"];
            let refused = Supervisor::new(&mut net, &program, Args::new(&args), &Options::new());
            let refused = refused.map(drop).unwrap_err();
            assert_eq!(refused, SupervisorError::State(why));
            assert_eq!(net.len(), 1);
        }
        let state = Capsule::seal(99, &[b"of the future"]).unwrap();
        let null = File::open("/dev/null").unwrap();
        let fd = match generation {
            0 => state.as_fd(),
            // Something that is no state at all.
            1 => null.as_fd(),
            _ => return,
        };
        let lent = [("gracenet.supervisor", fd)];
        let changes = Changes::new().lend(&lent).unwrap();
        panic!("not replaced: {}", net.replace(&program, &changes));
    });
}

/// The terminal speaks to the program's group; to the old one again, if the new one fails.
#[test]
fn terminal_is_the_programs() {
    apart("terminal_is_the_programs", |_| {
        let slave = terminal();
        let foreground = || tcgetpgrp(&slave).unwrap();
        let environ = leak(&[c"PATH=/usr/bin:/bin"]);
        let program = Program::new(Args::new(&[]), Environ::new(environ));
        let mut net: Net<24> = Net::new();
        net.listen("tcp", "127.0.0.1:0").unwrap();
        let office = Rc::new(Office::open());
        let command = [path(&util::program("puppet")), path(&office.path())];
        let command = [&*command[0], &*command[1]];
        let (command, options) = (Args::new(&command), options(Readiness::Channel));
        let mut supervisor = Supervisor::new(&mut net, &program, command, &options).unwrap();
        assert_eq!(foreground(), getpid());
        let old = serves(&mut supervisor, &office);
        assert_eq!(foreground(), old.pid());
        let pid = supervisor.restart().unwrap().unwrap();
        let new = inherits(&office, pid);
        assert_eq!(foreground(), pid);
        new.begin("exit 1");
        let failed = Event::Failed(pid, Failure::Exited(1));
        assert_eq!(next(&mut supervisor), failed);
        assert_eq!(foreground(), old.pid());
        ends(&mut supervisor);
        // And back, which is done from the background.
        let blocked = gracenet::signal::Signals::new(&[Signal::TTOU]).unwrap();
        gracenet::init::set_foreground(slave.as_fd(), getpid()).unwrap();
        assert_eq!(foreground(), getpid());
        drop(blocked);
    });
}

/// A terminal, of which this process is the foreground from now on, with its standard input. Its other
/// side stays open, as its end would be a hang-up.
fn terminal() -> OwnedFd {
    let (mut master, mut slave) = (-1, -1);
    let none = std::ptr::null_mut();
    // SAFETY: there is room for two numbers, and nothing else is asked for.
    let made = unsafe { libc::openpty(&mut master, &mut slave, none, none.cast(), none.cast()) };
    assert_eq!(made, 0);
    // SAFETY: made just now, and nobody else's.
    let slave = unsafe { OwnedFd::from_raw_fd(slave) };
    rustix::process::setsid().unwrap();
    rustix::process::ioctl_tiocsctty(&slave).unwrap();
    rustix::stdio::dup2_stdin(&slave).unwrap();
    slave
}

/// kill(-1) would be everybody: pid 1 leads no group of which that could be said.
#[test]
fn group_of_pid_1_is_not_everybody() {
    let error = gracenet::init::signal_group(Pid::INIT, Signal::KILL).unwrap_err();
    assert_eq!(error.to_string(), "kill: os error 3");
}

#[test]
fn status_is_as_a_shell_has_it() {
    let ends = [
        Exit::Exited(0),
        Exit::Exited(255),
        Exit::Killed(9),
        Exit::Killed(64),
    ];
    assert_eq!(ends.map(Exit::status), [0, 255, 137, 192]);
}
