//! SIGKILL at every point of a hand-over. The daemon of examples/httpd hands over to itself, held by
//! the test at the entry and at the exit of each system call. At each of these points the
//! predecessor dies, or its successor, or both; who is left is let go. The outside world must see
//! that whoever connected and was not accepted yet is answered by the one who is left, as are those
//! who connect later, and that the next hand-over works. Nobody is left where both are dead, or the
//! one there was; and where the successor dies once the predecessor has let go of the listeners,
//! which without a probation it does when it has heard that the successor is ready.

mod util;

use std::any::Any;
use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::mem;
use std::net::{SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_reuseaddr, set_socket_timeout};
use rustix::net::{AddressFamily, Shutdown, bind, getsockname, shutdown};
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, set_child_subreaper, waitpid,
};
use util::{Fds, Leash, Stop, Tracee, call_name, httpd, in_time, socket, until_gone};

const PATIENCE: Duration = Duration::from_secs(20);

/// As many points and more has a hand-over with a TCP and a unix listener, in either order. A table
/// that is much shorter has lost its end, or its successor.
const LEAST_POINTS: usize = 180;

/// After so many rows that fail the rest is not tried.
const FAILURES: usize = 4;

/// Who goes on first once the successor has executed its program.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Order {
    /// The predecessor waits in its loop while the successor starts.
    PredecessorFirst,
    /// The successor is ready and has served somebody before the predecessor returns from clone.
    SuccessorFirst,
}

/// Which hand-over it is.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Scene {
    order: Order,
    /// The predecessor keeps its sockets for longer than any row takes.
    probation: bool,
}

impl Scene {
    fn words(self) -> &'static [&'static str] {
        if self.probation {
            &["--probation", "600000"]
        } else {
            &[]
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Who {
    Predecessor,
    Successor,
}
use Who::{Predecessor, Successor};

/// Where a process is held, without what differs from run to run.
#[derive(Clone, PartialEq, Eq, Hash)]
enum What {
    Enters(u64),
    /// Its result is 0 or more, or an errno.
    Leaves(u64, i64),
    Clones,
    Executes,
    Ends,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Point {
    who: Who,
    what: What,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = format!("{:?}", self.who).to_lowercase();
        match self.what {
            What::Enters(call) => write!(f, "{who} enters {}", call_name(call)),
            What::Leaves(call, 0) => write!(f, "{who} leaves {}", call_name(call)),
            What::Leaves(call, error) => {
                write!(f, "{who} leaves {} with os error {error}", call_name(call))
            }
            What::Clones => write!(f, "{who} has cloned"),
            What::Executes => write!(f, "{who} is another program"),
            What::Ends => write!(f, "{who} has ended"),
        }
    }
}

/// Whom SIGKILL hits.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Victim {
    One(Who),
    Both,
}

/// What the points up to some point mean, as far as it matters to who is left.
#[derive(Clone, Default)]
struct Facts {
    /// The successor has been made.
    cloned: bool,
    /// The successor has said that it executes its program.
    executing: bool,
    /// `ready` is in the channel.
    said_ready: bool,
    /// The predecessor has read it.
    heard_ready: bool,
    /// The predecessor has then found that the successor lives.
    found_alive: bool,
    /// The predecessor has asked whether an fd is still the listener that it was, which it does
    /// before it closes one.
    was_asked: bool,
    /// So many of its listeners has the predecessor closed.
    closed: u32,
    /// The predecessor has exited.
    gone: bool,
    /// The open request has been answered.
    answered: bool,
    /// How far the first client of the successor has come.
    first: First,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum First {
    #[default]
    Nowhere,
    InQueue,
    Accepted,
    Answered,
}

impl Facts {
    fn note(&mut self, point: &Point, result: i64) {
        match (point.who, &point.what) {
            (Predecessor, What::Clones) => self.cloned = true,
            (Predecessor, What::Ends) => self.gone = true,
            (Predecessor, What::Leaves(call, 0)) => {
                let ready = is(*call, libc::SYS_recvfrom) && result == "ready".len() as i64;
                self.answered |= self.heard_ready && is(*call, libc::SYS_sendto);
                let closes = self.was_asked && is(*call, libc::SYS_close);
                self.closed += u32::from(self.heard_ready && closes);
                self.was_asked = is(*call, libc::SYS_getsockopt);
                self.found_alive |= self.heard_ready && is(*call, libc::SYS_waitid);
                self.heard_ready |= self.said_ready && ready;
            }
            (Successor, What::Enters(call)) => self.executing |= is(*call, libc::SYS_execve),
            (Successor, What::Leaves(call, 0)) if is(*call, libc::SYS_accept4) => {
                self.first = First::Accepted;
            }
            (Successor, What::Leaves(call, 0)) if is(*call, libc::SYS_sendto) => {
                // Its first message is that it is ready, the next ones are answers.
                if self.said_ready {
                    self.first = First::Answered;
                }
                self.said_ready = true;
            }
            _ => {}
        }
    }

    fn victims(&self) -> Vec<Victim> {
        let mut victims = Vec::new();
        if !self.gone {
            victims.push(Victim::One(Predecessor));
        }
        if self.cloned {
            victims.push(Victim::One(Successor));
        }
        if victims.len() > 1 {
            victims.push(Victim::Both);
        }
        victims
    }

    /// In words, for the table.
    fn state(&self, scene: Scene) -> &'static str {
        match self {
            Facts {
                found_alive: true, ..
            } if scene.probation => "on probation",
            Facts { gone: true, .. } => "predecessor gone",
            Facts { closed: 2.., .. } => "ready received, listeners closed",
            Facts { closed: 1, .. } => "ready received, one listener closed",
            Facts {
                found_alive: true, ..
            } => "ready received, listeners open",
            Facts {
                heard_ready: true, ..
            } => "ready received, not checked",
            Facts {
                said_ready: true, ..
            } => "ready said",
            Facts {
                executing: true, ..
            } => "not ready",
            Facts { cloned: true, .. } => "cloned",
            _ => "not cloned",
        }
    }
}

fn is(call: u64, number: libc::c_long) -> bool {
    call == number as u64
}

/// What becomes of a connection.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    AnsweredBy(Who),
    /// Reset or closed without an answer.
    Lost,
}
use Fate::{AnsweredBy, Lost};

/// What must come of a death.
struct Expected {
    /// Who goes on accepting.
    serves: Option<Who>,
    /// Those who connected just before.
    queued: Fate,
    /// Whom the predecessor accepted before the hand-over, and who has sent half a request.
    open: Fate,
    /// The first client of the successor.
    first: Fate,
    why: &'static str,
}

impl Expected {
    fn new(scene: Scene, facts: &Facts, victim: Victim) -> Expected {
        let mut expected = Expected {
            serves: None,
            queued: Lost,
            open: Lost,
            first: Lost,
            why: "all there were are dead",
        };
        match victim {
            Victim::Both => {}
            Victim::One(Predecessor) if !facts.cloned => expected.why = "nobody was started",
            Victim::One(Predecessor) => {
                expected.serves = Some(Successor);
                expected.why = "the successor has the sockets";
            }
            Victim::One(Successor) if !facts.said_ready => {
                expected.serves = Some(Predecessor);
                expected.why = "the successor was not ready";
            }
            Victim::One(Successor) if scene.probation => {
                expected.serves = Some(Predecessor);
                expected.why = "the successor was on probation";
            }
            Victim::One(Successor) if !facts.found_alive => {
                expected.serves = Some(Predecessor);
                expected.why = "the successor did not outlive its message";
            }
            // What readiness means without a probation: the successor alone answers for the
            // listeners. The predecessor closes its own, if it has not yet.
            Victim::One(Successor) if !facts.gone => {
                expected.why = "the successor was ready: the predecessor drains";
            }
            Victim::One(Successor) => {}
        }
        if let Some(who) = expected.serves {
            expected.queued = AnsweredBy(who);
        }
        // What has been accepted is served, or lost, with the one who did.
        if facts.answered || victim == Victim::One(Successor) && !facts.gone {
            expected.open = AnsweredBy(Predecessor);
        }
        expected.first = match facts.first {
            First::Answered => AnsweredBy(Successor),
            First::Accepted if victim == Victim::One(Predecessor) => AnsweredBy(Successor),
            First::Accepted => Lost,
            First::Nowhere | First::InQueue => expected.queued,
        };
        expected
    }
}

/// A connection to the daemon.
struct Client {
    stream: File,
    transport: &'static str,
}

impl Client {
    fn tcp(at: &Place) -> io::Result<Client> {
        Client::new("tcp", TcpStream::connect(at.address)?.into())
    }

    fn unix(at: &Place) -> io::Result<Client> {
        Client::new("unix", UnixStream::connect(&at.path)?.into())
    }

    fn new(transport: &'static str, socket: OwnedFd) -> io::Result<Client> {
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        let stream = File::from(socket);
        Ok(Client { stream, transport })
    }

    fn asking(mut self) -> Client {
        let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        self.stream.write_all(request).unwrap();
        self
    }

    /// The body of the last answer; or none, where the connection was lost.
    fn answer(mut self) -> Option<String> {
        let mut answer = String::new();
        match self.stream.read_to_string(&mut answer) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("no answer on {}: {error}", self.transport),
        }
        // To close may not be enough: what another thread starts has a copy until its execve.
        let _ = shutdown(&self.stream, Shutdown::Both);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
        Some(answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }
}

/// The connection on which half a request has been sent.
enum Open {
    Half(Client),
    Whole(Client),
    Closed(Option<String>),
}

impl Open {
    /// Accepted, and asking for the first time; half of the second request comes later.
    ///
    /// On a unix socket all that one side does has reached the other at once. On TCP it could come
    /// in two events or in one.
    fn new(at: &Place) -> Open {
        let mut client = Client::unix(at).unwrap();
        let request = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
        client.stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nok\n") {
            let mut byte = [0];
            client.stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        Open::Half(client)
    }

    fn send_half(&mut self) {
        let Open::Half(client) = self else { return };
        client.stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    }

    /// Sends the rest, and reads and closes; each if that has not been done.
    fn go_on(self) -> Open {
        match self {
            Open::Half(mut client) => {
                // A predecessor that is dead does not take it.
                let rest = b"Host: a\r\nConnection: close\r\n\r\n";
                let _ = client.stream.write_all(rest);
                Open::Whole(client)
            }
            Open::Whole(client) => Open::Closed(client.answer()),
            Open::Closed(answer) => Open::Closed(answer),
        }
    }

    fn finish(self) -> Option<String> {
        match self.go_on().go_on() {
            Open::Closed(answer) => answer,
            _ => unreachable!("it takes two steps"),
        }
    }
}

/// What all processes of one row write to.
struct Log {
    pipe: ChildStderr,
    text: String,
    /// Up to here it has been looked at.
    seen: usize,
}

impl Log {
    /// The next line, or none when nobody is left who could write one.
    fn line(&mut self) -> Option<&str> {
        let end = loop {
            if let Some(length) = self.text[self.seen..].find('\n') {
                break self.seen + length + 1;
            }
            in_time(self.pipe.as_fd(), &format!("a line behind {}", self.text));
            let mut room = [0; 4096];
            match self.pipe.read(&mut room).unwrap() {
                0 => return None,
                come => self.text += std::str::from_utf8(&room[..come]).unwrap(),
            }
        };
        let start = mem::replace(&mut self.seen, end);
        Some(&self.text[start..end - 1])
    }

    /// What stands before this end in the next line that has it and is of this process.
    fn until(&mut self, pid: Pid, end: &str) -> String {
        let begin = format!("gracenet-httpd[{pid}]: ");
        while let Some(line) = self.line() {
            let said = line.strip_prefix(&begin);
            if let Some(before) = said.and_then(|line| line.strip_suffix(end)) {
                return before.to_owned();
            }
        }
        panic!("the log ended before {begin}{end}:\n{}", self.text);
    }

    /// Reads to the end, which comes when nobody is left.
    fn end(&mut self) {
        while self.line().is_some() {}
    }
}

/// Where a daemon listens.
struct Place {
    address: SocketAddr,
    path: PathBuf,
}

impl Place {
    /// On a host of its own, so that the port is nobody else's once it is known. It was never
    /// listened on: what another thread starts may have a copy of the probe until its execve.
    fn new(directory: &Path, scene: Scene, worker: u8) -> Place {
        let host = [127, 11, worker, 1 + u8::from(scene.probation)];
        let probe = socket("tcp", AddressFamily::INET);
        set_socket_reuseaddr(&probe, true).unwrap();
        bind(&probe, &SocketAddr::from((host, 0))).unwrap();
        Place {
            address: getsockname(&probe).unwrap().try_into().unwrap(),
            path: directory.join("socket"),
        }
    }

    fn start(&self, words: &[&str]) -> (Child, Log) {
        let mut child = Command::new(httpd())
            .args(words)
            .args(["--tag", "kill", "tcp", &self.address.to_string(), "unix"])
            .arg(&self.path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        let mut log = Log {
            pipe: child.stderr.take().unwrap(),
            text: String::new(),
            seen: 0,
        };
        log.until(pid, "ready");
        (child, log)
    }

    fn both(&self) -> [io::Result<Client>; 2] {
        [Client::tcp(self), Client::unix(self)]
    }

    /// Connections that ask right away.
    fn ask(&self) -> [Client; 2] {
        self.both().map(|client| client.unwrap().asking())
    }

    fn answers(&self, who: &str) {
        answered(self.ask(), Some(who));
    }

    fn refuses(&self) {
        for client in self.both() {
            let error = client.map(|client| client.transport).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        }
    }
}

#[track_caller]
fn answered(clients: [Client; 2], by: Option<&str>) {
    for client in clients {
        let transport = client.transport;
        assert_eq!(client.answer().as_deref(), by, "on {transport}");
    }
}

/// What the daemon says of itself.
fn identity(pid: Pid, generation: u32) -> String {
    format!("pid={pid} generation={generation} tag=kill\n")
}

/// Waits for what comes by itself, and of which nothing can be waited for.
#[track_caller]
fn soon(awaited: &str, mut has_come: impl FnMut() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !has_come() {
        assert!(Instant::now() < limit, "waited {PATIENCE:?} for {awaited}");
        thread::yield_now();
    }
}

/// Waits for the end of a child, or of an orphan that has become ours.
fn reap(pid: Pid) -> WaitStatus {
    until_gone(pid);
    let waited = waitpid(Some(pid), WaitOptions::empty());
    waited.unwrap().unwrap().1
}

/// One hand-over, held at one of its points.
struct HandOver {
    at: Place,
    log: Log,
    leash: Leash,
    scene: Scene,
    predecessor: Pid,
    /// Those who are held.
    held: Vec<(Who, Tracee)>,
    successor: Option<Pid>,
    /// The fds of the predecessor when nobody is connected.
    at_rest: Fds,
    /// The fd numbers of the successor when it waits for clients.
    numbers: Vec<i32>,
    open: Open,
    first: Option<Client>,
    /// So many points are gone through at most.
    most: usize,
    points: Vec<(Point, Facts)>,
    facts: Facts,
}

impl HandOver {
    /// Starts a daemon, and has it hand over up to the point `last`, or to the end.
    fn run(at: Place, scene: Scene, last: Option<usize>) -> HandOver {
        let leash = Leash::new(PATIENCE);
        let (predecessor, log) = at.start(scene.words());
        let predecessor = Pid::from_child(&predecessor);
        leash.add(predecessor);
        let at_rest = Fds::of(predecessor);
        let mut open = Open::new(&at);
        let mut held = Tracee::seize(predecessor);
        open.send_half();
        // It may be anywhere in its loop. After one turn it has all that has come.
        for _ in 0..2 {
            let waits = (0..100).any(|_| match held.step() {
                Stop::Enters(call) => is(call, libc::SYS_epoll_pwait),
                _ => false,
            });
            assert!(waits, "it does not come back to its loop");
        }
        let mut hand_over = HandOver {
            at,
            log,
            leash,
            scene,
            at_rest,
            predecessor,
            held: vec![(Predecessor, held)],
            successor: None,
            numbers: Vec::new(),
            open,
            first: None,
            most: last.map_or(usize::MAX, |last| last + 1),
            points: Vec::new(),
            facts: Facts::default(),
        };
        kill_process(predecessor, Signal::USR2).unwrap();
        let _ = hand_over.walk();
        hand_over
    }

    /// Only one goes on at a time, and nobody waits for what is not there, so that each run has
    /// the same points.
    fn walk(&mut self) -> ControlFlow<()> {
        let Scene { order, probation } = self.scene;
        let waits =
            |what: &What| matches!(what, What::Enters(call) if is(*call, libc::SYS_epoll_pwait));
        let executed =
            |what: &What| matches!(what, What::Leaves(call, _) if is(*call, libc::SYS_execve));
        self.until(Predecessor, |what| *what == What::Clones)?;
        self.until(Successor, executed)?;
        if order == Order::PredecessorFirst {
            self.until(Predecessor, waits)?;
        }
        self.until(Successor, waits)?;
        self.numbers = Fds::of(self.successor.unwrap()).numbers();
        if order == Order::SuccessorFirst {
            self.first_client();
            self.until(Successor, waits)?;
        }
        // It hears that the successor is ready, and waits for the rest of the open request.
        self.until(Predecessor, waits)?;
        self.go_on();
        self.until(Predecessor, waits)?;
        self.go_on();
        // Then nothing keeps it but a probation.
        let ends = |what: &What| *what == What::Ends;
        self.until(Predecessor, |what| {
            if probation { waits(what) } else { ends(what) }
        })?;
        if order == Order::PredecessorFirst {
            self.first_client();
            self.until(Successor, waits)?;
        }
        ControlFlow::Continue(())
    }

    fn until(&mut self, who: Who, done: impl Fn(&What) -> bool) -> ControlFlow<()> {
        for _ in 0..500 {
            if self.points.len() == self.most {
                return ControlFlow::Break(());
            }
            let point = self.step(who);
            if done(&point.what) {
                return ControlFlow::Continue(());
            }
            assert!(point.what != What::Ends, "{point}:\n{}", self.log.text);
        }
        panic!("{who:?} goes on and on");
    }

    fn step(&mut self, who: Who) -> Point {
        let place = self.held.iter().position(|(it, _)| *it == who).unwrap();
        let (mut what, mut result) = (What::Ends, 0);
        match self.held[place].1.step() {
            Stop::Enters(call) => what = What::Enters(call),
            Stop::Leaves(call, come) => {
                what = What::Leaves(call, (-come).max(0));
                result = come;
            }
            Stop::Clones(successor) => {
                self.leash.add(successor.pid);
                self.successor = Some(successor.pid);
                self.held.push((Successor, successor));
                what = What::Clones;
            }
            Stop::Executes => what = What::Executes,
            Stop::Ends(status) => {
                assert!(status.success(), "{who:?}: {status}");
                self.held.remove(place);
            }
        }
        let point = Point { who, what };
        self.facts.note(&point, result);
        self.points.push((point.clone(), self.facts.clone()));
        point
    }

    fn first_client(&mut self) {
        self.first = Some(Client::unix(&self.at).unwrap().asking());
        self.facts.first = First::InQueue;
    }

    /// The open request comes a step further.
    fn go_on(&mut self) {
        let open = mem::replace(&mut self.open, Open::Closed(None));
        self.open = open.go_on();
    }

    fn finish_open(&mut self, fate: Fate) {
        let open = mem::replace(&mut self.open, Open::Closed(None));
        assert_eq!(open.finish(), self.body(fate), "the open request");
    }

    fn pid(&self, who: Who) -> Pid {
        match who {
            Predecessor => self.predecessor,
            Successor => self.successor.unwrap(),
        }
    }

    fn identity(&self, who: Who) -> String {
        identity(self.pid(who), u32::from(who == Successor))
    }

    fn body(&self, fate: Fate) -> Option<String> {
        match fate {
            AnsweredBy(who) => Some(self.identity(who)),
            Lost => None,
        }
    }

    /// Somebody dies here, everybody else goes on, and what is expected happens.
    fn kill(mut self, victim: Victim, numbers: &[i32]) {
        let expected = Expected::new(self.scene, &self.facts, victim);
        let queued = self.at.ask();
        let (dead, left): (Vec<_>, Vec<_>) = self
            .held
            .drain(..)
            .partition(|(who, _)| victim == Victim::Both || victim == Victim::One(*who));
        for (_, tracee) in dead {
            tracee.kill();
        }
        for (_, tracee) in left {
            tracee.release();
        }

        answered(queued, self.body(expected.queued).as_deref());
        if let Some(client) = self.first.take() {
            let answer = self.body(expected.first);
            assert_eq!(client.answer(), answer, "the successor's first client");
        }
        match expected.serves {
            Some(Predecessor) => self.predecessor_serves_on(expected.open),
            Some(Successor) => self.successor_serves_on(expected.open, numbers),
            None => self.nobody_is_left(victim, expected.open),
        }
    }

    fn predecessor_serves_on(mut self, open: Fate) {
        let (predecessor, successor) = (self.predecessor, self.successor.unwrap());
        self.at.answers(&self.identity(Predecessor));
        self.log.until(
            predecessor,
            match self.facts {
                Facts {
                    found_alive: true, ..
                } => "accepting again, successor failed: killed by signal 9",
                Facts {
                    executing: true, ..
                } => "successor failed: killed by signal 9",
                _ => "successor failed: vanished before execve",
            },
        );
        let proc = PathBuf::from(format!("/proc/{successor}"));
        assert!(!proc.exists(), "a zombie");
        self.finish_open(open);
        // It sees a little later that its clients have gone.
        soon("the fds of before", || Fds::of(predecessor) == self.at_rest);

        let next = self.upgrade(Predecessor);
        finish(&self.at, &mut self.log, next, 1);
    }

    fn successor_serves_on(mut self, open: Fate, numbers: &[i32]) {
        let successor = self.successor.unwrap();
        self.at.answers(&self.identity(Successor));
        soon("the fds of a server at rest", || {
            Fds::of(successor).numbers() == numbers
        });
        self.finish_open(open);

        let next = self.upgrade(Successor);
        finish(&self.at, &mut self.log, next, 2);
    }

    fn nobody_is_left(mut self, victim: Victim, open: Fate) {
        self.finish_open(open);
        if victim == Victim::One(Successor) && !self.facts.gone {
            // It has nothing left to do, and leaves us its child.
            assert_eq!(reap(self.predecessor).exit_status(), Some(0));
            let status = reap(self.successor.unwrap());
            assert_eq!(status.terminating_signal(), Some(9));
        }
        self.log.end();
        self.at.refuses();

        // What they left behind keeps nobody from starting.
        let (fresh, mut log) = self.at.start(&["--replace-stale"]);
        let pid = Pid::from_child(&fresh);
        self.leash.add(pid);
        finish(&self.at, &mut log, pid, 0);
    }

    /// A hand-over at full speed, to whom nobody but the next one is left: who that is.
    fn upgrade(&mut self, from: Who) -> Pid {
        let pid = self.pid(from);
        kill_process(pid, Signal::USR2).unwrap();
        let started = loop {
            let before = self.log.until(pid, " started");
            // The one that has failed said so, too.
            let next = before.strip_prefix("successor ").unwrap();
            if self.successor.is_none_or(|last| last.to_string() != next) {
                break Pid::from_raw(next.parse().unwrap()).unwrap();
            }
        };
        self.leash.add(started);
        self.log.until(pid, &format!("successor {started} ready"));
        if self.scene.probation {
            kill_process(pid, Signal::TERM).unwrap();
        }
        assert_eq!(reap(pid).exit_status(), Some(0));
        started
    }
}

/// That this one serves, and ends well and as the last one.
fn finish(at: &Place, log: &mut Log, pid: Pid, generation: u32) {
    at.answers(&identity(pid, generation));
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(reap(pid).exit_status(), Some(0));
    log.end();
    at.refuses();
}

/// A point and a death there.
struct Row {
    scene: Scene,
    point: usize,
    victim: Victim,
}

/// An untouched hand-over.
struct Record {
    scene: Scene,
    points: Vec<(Point, Facts)>,
    numbers: Vec<i32>,
}

impl Record {
    fn make(scene: Scene) -> Record {
        let directory = tempfile::tempdir().unwrap();
        let at = Place::new(directory.path(), scene, 0);
        let mut whole = HandOver::run(at, scene, None);
        let first = whole.first.take().unwrap();
        assert_eq!(first.answer(), Some(whole.identity(Successor)));
        for (_, tracee) in whole.held.drain(..) {
            tracee.release();
        }
        let successor = whole.successor.unwrap();
        let predecessor = whole.identity(Predecessor);
        assert_eq!(whole.open.finish(), Some(predecessor));
        if scene.probation {
            kill_process(whole.predecessor, Signal::TERM).unwrap();
            assert_eq!(reap(whole.predecessor).exit_status(), Some(0));
        }
        finish(&whole.at, &mut whole.log, successor, 1);
        Record {
            scene,
            points: whole.points,
            numbers: whole.numbers,
        }
    }

    /// The deaths from this point on.
    fn rows(&self, from: usize) -> Vec<Row> {
        let mut rows = Vec::new();
        for (point, (_, facts)) in self.points.iter().enumerate().skip(from) {
            rows.extend(facts.victims().into_iter().map(|victim| Row {
                scene: self.scene,
                point,
                victim,
            }));
        }
        rows
    }

    fn play(&self, row: &Row, worker: u8) {
        let directory = tempfile::tempdir().unwrap();
        let at = Place::new(directory.path(), row.scene, worker);
        let hand_over = HandOver::run(at, row.scene, Some(row.point));
        for (index, (point, _)) in hand_over.points.iter().enumerate() {
            let recorded = &self.points[index].0;
            assert!(point == recorded, "{point} instead of {recorded}");
        }
        assert_eq!(hand_over.points.len(), row.point + 1);
        hand_over.kill(row.victim, &self.numbers);
    }

    fn expected(&self, row: &Row) -> Expected {
        Expected::new(self.scene, &self.points[row.point].1, row.victim)
    }

    fn describe(&self, row: &Row) -> String {
        let (point, facts) = &self.points[row.point];
        let expected = self.expected(row);
        let died = match row.victim {
            Victim::One(who) => format!("{who:?} dies").to_lowercase(),
            Victim::Both => "both die".to_owned(),
        };
        let serves = match expected.serves {
            Some(who) => format!("{who:?} serves").to_lowercase(),
            None => "nobody serves".to_owned(),
        };
        let (number, state, why) = (row.point, facts.state(self.scene), expected.why);
        format!("{number:3} {point} ({state}), {died}: {serves}, {why}")
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_default()
}

/// All points, and all deaths there.
struct Table {
    records: [Record; 2],
    /// The points up to which it does not matter who goes on first.
    same: usize,
    rows: Vec<Row>,
}

impl Table {
    fn new(probation: bool) -> Table {
        let records = [Order::PredecessorFirst, Order::SuccessorFirst]
            .map(|order| Record::make(Scene { order, probation }));
        let pairs = records[0].points.iter().zip(&records[1].points);
        let same = pairs.take_while(|(one, other)| one.0 == other.0).count();
        let mut rows = records[0].rows(0);
        rows.extend(records[1].rows(same));
        Table {
            records,
            same,
            rows,
        }
    }

    fn record(&self, row: &Row) -> &Record {
        let mut records = self.records.iter();
        records.find(|record| record.scene == row.scene).unwrap()
    }

    fn describe(&self, row: &Row) -> String {
        self.record(row).describe(row)
    }

    /// One row after the other, as many at a time as there are processors: what went wrong.
    fn play(&self) -> Vec<String> {
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = |worker| {
            while let Some(row) = self.rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                let play = || self.record(row).play(row, worker);
                if let Err(panic) = catch_unwind(AssertUnwindSafe(play)) {
                    let mut failed = failed.lock().unwrap();
                    failed.push(format!("{}\n    {}", self.describe(row), message(&*panic)));
                    // Each may have taken all the time that there is.
                    if failed.len() == FAILURES {
                        next.store(self.rows.len(), Ordering::Relaxed);
                    }
                }
            }
        };
        let workers = thread::available_parallelism().map_or(1, |count| count.get().min(100));
        thread::scope(|scope| {
            for worker in 1..=workers as u8 {
                scope.spawn(move || work(worker));
            }
        });
        failed.into_inner().unwrap()
    }

    /// How many points there are, how many deaths, and what came of them.
    fn summary(&self) -> String {
        let mut outcomes = [0; 3];
        for row in &self.rows {
            outcomes[match self.record(row).expected(row).serves {
                Some(Predecessor) => 0,
                Some(Successor) => 1,
                None => 2,
            }] += 1;
        }
        let [predecessor, successor, nobody] = outcomes;
        let [one, other] = self.records.each_ref().map(|record| record.points.len());
        format!(
            "{} points, {} deaths: {predecessor} times the predecessor serves on, {successor} \
             times the successor, {nobody} times nobody is left",
            one + other - self.same,
            self.rows.len()
        )
    }

    /// What the points tell apart.
    fn states(&self) -> HashSet<&'static str> {
        let states = |record: &Record| {
            let points = record.points.iter();
            points
                .map(|(_, facts)| facts.state(record.scene))
                .collect::<Vec<_>>()
        };
        self.records.iter().flat_map(states).collect()
    }
}

/// Plays a table in which so many states are told apart, and tells it.
fn play(probation: bool, states: usize) -> Table {
    set_child_subreaper(Some(getpid())).unwrap();
    let table = Table::new(probation);
    let failed = table.play();
    for row in &table.rows {
        println!("{}", table.describe(row));
    }
    println!("{}", table.summary());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    for record in &table.records {
        assert!(record.points.len() >= LEAST_POINTS, "{}", table.summary());
    }
    assert_eq!(table.states().len(), states, "{:?}", table.states());
    table
}

#[test]
fn whoever_is_killed_at_whatever_point_the_other_one_serves() {
    play(false, 9);
}

/// Case H9.
#[test]
fn successor_that_is_killed_on_probation_leaves_predecessor_serving() {
    let table = play(true, 6);
    for row in &table.rows {
        let serves = table.record(row).expected(row).serves;
        assert!(serves.is_some() || row.victim != Victim::One(Successor));
    }
}
