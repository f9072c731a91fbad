//! A server starts its next version as a canary: one that only shows that it could serve. The server
//! serves all the while, and is afterwards as it was before, whatever became of the canary; then it
//! replaces itself.

mod util;

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use gracenet::{Args, Changes, Deadline, Environ, Failure, Program, StartError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, kill_process};
use util::{
    Entry, Fds, Predecessor, Puppet, Start, alone, hear, in_process_of_its_own, in_time, is_reaped,
    until_gone, word,
};

/// A puppet with a TCP listener and a unix one, of which it can be said what it has open.
struct Server {
    puppet: Puppet,
    web: Entry,
    local: Entry,
    before: Fds,
    /// Others count the fds of this process.
    _alone: MutexGuard<'static, ()>,
}

impl Server {
    fn new() -> Server {
        let alone = alone();
        let puppet = Start::new().run();
        let web = puppet.gets("listen tcp 127.0.0.1:0");
        static NAMES: AtomicU32 = AtomicU32::new(0);
        let number = NAMES.fetch_add(1, Ordering::Relaxed);
        let name = format!("@gracenet-canary-{}-{number}", std::process::id());
        let local = puppet.gets(format!("listen unix {name}"));
        let before = puppet.fds();
        Server {
            puppet,
            web,
            local,
            before,
            _alone: alone,
        }
    }

    fn serves(&self) {
        let tcp = TcpStream::connect(&self.web.address).unwrap();
        let unix = self.connect_unix();
        self.puppet.greets(&self.web, "tcp");
        self.puppet.greets(&self.local, "unix");
        assert_eq!(answer(tcp), "tcp");
        assert_eq!(answer(unix), "unix");
    }

    fn connect_unix(&self) -> UnixStream {
        use std::os::linux::net::SocketAddrExt as _;
        let name = &self.local.address[1..];
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
        UnixStream::connect_addr(&address).unwrap()
    }

    /// A canary that has inherited and claimed all there is.
    fn canary(&self, order: &str) -> Puppet {
        let canary = self.puppet.start_canary(order);
        self.serves();
        assert_eq!(canary.must("inherit"), "2 generation=1");
        assert_eq!(canary.must("origin"), "generation=1 canary");
        let web = canary.gets(format!("listen tcp {}", self.web.address));
        let local = canary.gets(format!("listen unix {}", self.local.address));
        assert!(web.inherited && local.inherited);
        self.serves();
        canary
    }

    fn is_as_it_was(&self, what: &str) {
        self.serves();
        assert_eq!(self.puppet.fds(), self.before, "fds after {what}");
        let pid = self.puppet.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        assert_eq!(children, "", "children after {what}");
    }

    /// The next one is good, and replaces this one, which has waited for it.
    fn replaces_itself(&mut self) {
        let client = TcpStream::connect(&self.web.address).unwrap();
        self.puppet.replace();
        assert_eq!(self.puppet.must("inherit"), "2 generation=1");
        assert_eq!(self.puppet.must("origin"), "generation=1");
        let web = self.puppet.gets(format!("listen tcp {}", self.web.address));
        self.puppet.must("ready");
        self.puppet.greets(&web, "new");
        assert_eq!(answer(client), "new");
    }
}

fn answer(mut client: impl std::io::Read) -> String {
    let mut said = String::new();
    client.read_to_string(&mut said).unwrap();
    said
}

#[test]
fn canary_that_is_ready_leaves_and_its_server_replaces_itself() {
    let mut server = Server::new();
    for _ in 0..3 {
        let canary = server.canary("canary");
        // As any other, it stands in the way of the next.
        let in_progress = StartError::InProgress.to_string();
        assert_eq!(server.puppet.fails("canary"), in_progress);
        assert_eq!(server.puppet.fails("start"), in_progress);
        assert_eq!(server.puppet.fails("replace"), in_progress);
        // A client that comes now is not the canary's.
        let client = TcpStream::connect(&server.web.address).unwrap();
        canary.begin("ready");
        server.puppet.must("wait 20000");
        in_time(canary.pidfd(), "the end of the canary");
        server.puppet.greets(&server.web, "old");
        assert_eq!(answer(client), "old");
        server.is_as_it_was("a canary");
    }
    server.replaces_itself();
}

/// The control of the one above: what says that it is ready and is no canary, stays.
#[test]
fn successor_that_is_no_canary_stays_when_it_is_ready() {
    let server = Server::new();
    let successor = server.puppet.start();
    assert_eq!(successor.must("inherit"), "2 generation=1");
    assert_eq!(successor.must("origin"), "generation=1");
    successor.must("ready keep");
    server.puppet.must("wait 20000");
    assert_eq!(successor.must("origin"), "generation=1");
    assert_ne!(server.puppet.fds(), server.before);
}

/// Case H1, H3, F1.
#[test]
fn canary_that_comes_to_nothing_leaves_its_server_as_it_was() {
    let mut server = Server::new();
    let canary = server.canary("canary");
    assert_eq!(server.puppet.fails("wait 50"), "not ready in time");
    in_time(canary.pidfd(), "the end of a canary that hangs");
    server.is_as_it_was("one that hangs");

    for status in [0, 3] {
        let canary = server.canary("canary");
        canary.begin(&format!("exit {status}"));
        let failure = server.puppet.fails("wait 20000");
        assert_eq!(failure, format!("exited with status {status}"));
        server.is_as_it_was("one that exits");
    }

    for (how, signal) in [("segv", libc::SIGSEGV), ("stack", libc::SIGSEGV)] {
        let canary = server.canary("canary");
        canary.begin(&format!("crash {how}"));
        let failure = server.puppet.fails("wait 20000");
        assert_eq!(failure, format!("killed by signal {signal}"));
        server.is_as_it_was("one that crashes");
    }

    let canary = server.canary("canary");
    kill_process(canary.pid(), Signal::KILL).unwrap();
    assert_eq!(server.puppet.fails("wait 20000"), "killed by signal 9");
    server.is_as_it_was("one that is killed");

    let place = server.puppet.directory().join("text");
    fs::write(&place, "no program").unwrap();
    let order = format!("canary path={}", word(&place));
    assert_eq!(server.puppet.fails(&order), "execve: os error 13");
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(server.puppet.fails(&order), "execve: os error 8");
    server.is_as_it_was("one that is no program");

    // The file is mended.
    fs::remove_file(&place).unwrap();
    fs::copy(util::program("puppet"), &place).unwrap();
    let canary = server.canary(&order);
    assert_eq!(canary.exe(), place);
    canary.begin("ready");
    server.puppet.must("wait 20000");
    server.replaces_itself();
}

/// A successor that carries out `script`, as a canary.
fn script(predecessor: &mut Predecessor, script: &str) {
    let script = format!("c=${{GRACENET_FD%,*}}; {script}");
    let script = std::ffi::CString::new(script).unwrap();
    let args = [c"/bin/sh", c"-c", &*script];
    let program = Program::new(Args::new(&args), Environ::new(&[c"PATH=/usr/bin:/bin"]));
    let started = predecessor.net.start_canary(&program, &Changes::new());
    started.expect("a canary");
}

/// One that is ready and does not leave has a second for it, and costs nothing meanwhile, whether it
/// holds on to its channel or not.
#[test]
fn canary_that_does_not_leave_is_killed() {
    let _alone = alone();
    for close in ["", "eval \"exec $c>&-\"; "] {
        let mut predecessor = Predecessor::new();
        let before = Fds::of_self();
        let ready = format!("printf ready >&$c; {close} printf said >&3; cat <&3");
        script(&mut predecessor, &ready);
        assert_eq!(hear(&predecessor.report), "said");
        let begin = Instant::now();
        let successor = predecessor.net.successor().unwrap();
        let pid = successor.pid();
        assert_eq!(successor.try_wait(Deadline::NEVER), None);
        assert!(!successor.is_ready() && successor.is_undecided());
        assert!(successor.wake_by(Deadline::NEVER) <= Deadline::after_ms(1_000));
        let fds = [successor.channel(), successor.pidfd()];
        let mut fds: Vec<_> = fds
            .iter()
            .flatten()
            .map(|fd| PollFd::new(fd, PollFlags::IN))
            .collect();
        assert_eq!(poll(&mut fds, Some(&Timespec::default())), Ok(0), "{close}");
        let outcome = successor.wait_ready(Deadline::NEVER);
        assert_eq!(outcome, Err(Failure::TimedOut));
        assert!(begin.elapsed() >= Duration::from_millis(900));
        assert!(is_reaped(pid));
        assert_eq!(Fds::of_self(), before);
    }
}

/// That it was ready does not help one that fails after it.
#[test]
fn canary_that_fails_when_it_leaves_has_failed() {
    let _alone = alone();
    for (end, failure) in [
        ("exit 1", Failure::Exited(1)),
        ("kill -KILL $$", Failure::Killed(9)),
    ] {
        let mut predecessor = Predecessor::new();
        script(&mut predecessor, &format!("printf ready >&$c; {end}"));
        let successor = predecessor.net.successor().unwrap();
        assert_eq!(
            successor.wait_ready(Deadline::after_ms(20_000)),
            Err(failure)
        );
    }
}

/// Case G3.
#[test]
fn canary_whose_status_nobody_keeps_was_ready() {
    in_process_of_its_own("canary_whose_status_nobody_keeps_was_ready", |_| {
        let mut predecessor = Predecessor::new();
        ignore_children();
        let soon = Deadline::after_ms(20_000);
        script(&mut predecessor, "printf ready >&$c");
        let successor = predecessor.net.successor().unwrap();
        assert_eq!(successor.wait_ready(soon), Ok(()));
        // And one that has ended before anybody looks.
        script(&mut predecessor, "printf ready >&$c");
        let successor = predecessor.net.successor().unwrap();
        until_gone(successor.pid());
        assert_eq!(successor.wait_ready(soon), Ok(()));
        // But not one that has said nothing.
        script(&mut predecessor, "exit 0");
        let successor = predecessor.net.successor().unwrap();
        assert_eq!(successor.wait_ready(soon), Err(Failure::Ended));
    });
}

/// SIGCHLD ignored: no child becomes a zombie, and its status is kept nowhere.
#[allow(unsafe_code)]
fn ignore_children() {
    // SAFETY: nobody here relies on it.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// It is told that it is one, and nobody else: neither its predecessor's next one, nor a successor.
#[test]
fn only_a_canary_is_one() {
    let server = Server::new();
    let canary = server.canary("canary");
    canary.begin("ready");
    server.puppet.must("wait 20000");
    let successor = server.puppet.start();
    successor.must("inherit");
    assert_eq!(successor.must("origin"), "generation=1");
    successor.must("ready");
    server.puppet.must("wait 20000");
}
