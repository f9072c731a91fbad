//! A supervisor: sockets that outlive the programs that serve them.
//!
//! It holds the sockets of a [`Net`](crate::Net) from its start, and starts a program with them that
//! knows nothing but systemd's socket activation, or this crate. The program may crash, and be
//! replaced by a new one: clients wait in the queues meanwhile, and are never refused. The supervisor
//! replaces itself in its own place, while its programs run on.
//!
//! Nothing here blocks but [`wait`](Supervisor::wait), and nothing happens but in the caller's own
//! calls: it has a [`Supervisor::try_next`] to be asked, an fd that says when, and an
//! [`Event`] for everything that has come about.
#![allow(unsafe_code)] // Numbers that are read as bytes.

use core::fmt;

use heapless::Vec;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use crate::capsule::{Capsule, CapsuleError};
use crate::changes::Changes;
use crate::environ::Args;
use crate::error::Error;
use crate::init::{self, Exit};
use crate::net::{Entry, NetView};
use crate::notify::Receiver;
use crate::program::Program;
use crate::ready::{Failure, Successor, wait_readable};
use crate::socket::Kind;
use crate::spawn::StartError;
use crate::sys;
use crate::time::Deadline;

/// How many processes there can be at a time: the one that serves, the next one, and others that end
/// what they have begun.
pub const MOST_PROCESSES: usize = 8;

/// How a program is known to be ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Readiness {
    /// It is one of this crate's, and [says so](NetView::ready).
    Channel,
    /// It says `READY=1` to its `NOTIFY_SOCKET`.
    Notify,
    /// It has been alive for so many milliseconds.
    After(u64),
}

/// Whether a program is started again that has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Restart {
    /// Never.
    No,
    /// If it was killed, or exited with another status than 0.
    OnFailure,
    /// Always.
    Always,
}

/// How a program is supervised.
///
/// # Examples
///
/// ```
/// use gracenet::supervisor::{Options, Readiness};
///
/// let mut options = Options::new();
/// options.readiness = Readiness::Notify;
/// options.grace_ms = 30_000;
/// # let _ = options;
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Options {
    /// How it is known to be ready. After a second.
    pub readiness: Readiness,
    /// How long it may take to say so, in milliseconds. 10,000.
    pub ready_timeout_ms: u64,
    /// How long it has from a signal to its end, until it is killed, in milliseconds. 10,000.
    pub grace_ms: u64,
    /// Whether it is started again. On a failure.
    pub restart: Restart,
    /// How long that is put off the first time, and at most, in milliseconds: each time twice as long
    /// as the last one, until it has lived for as long as the longest. 100 and 5,000.
    pub back_off_ms: (u64, u64),
    /// It is started when somebody connects, and not before. No.
    pub on_demand: bool,
    /// Signals go to its whole process group, and not to it alone. No. What kills it at the end of its
    /// time is for the group either way.
    pub signal_group: bool,
    /// It gets a pid namespace of its own. No.
    pub pid_namespace: bool,
}

impl Options {
    /// `Options::new()` — what is said of each.
    pub const fn new() -> Options {
        Options {
            readiness: Readiness::After(1_000),
            ready_timeout_ms: 10_000,
            grace_ms: 10_000,
            restart: Restart::OnFailure,
            back_off_ms: (100, 5_000),
            on_demand: false,
            signal_group: false,
            pid_namespace: false,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options::new()
    }
}

/// What has come about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A process was started.
    Started(Pid),
    /// None could be started.
    NotStarted(StartError),
    /// It serves. One that served before is told to end.
    Ready(Pid),
    /// It came to nothing. One that served before goes on.
    Failed(Pid, Failure),
    /// One that had served has ended.
    Ended(Pid, Failure),
    /// One that was to end has not done so in its time, and is killed.
    Killing(Pid),
    /// The program is started again in so many milliseconds.
    Restarting(u64),
    /// The program is started when somebody connects.
    Waiting,
    /// The new program that was to take this one's place could do so, or could not.
    Canary(Result<(), Failure>),
    /// Nothing is left to be supervised. What the program has ended with, as a shell has it.
    Done(i32),
}

/// Holds sockets, and programs that serve them.
///
/// The table stays the caller's, and its sockets are there as long as it is. Of its own the
/// supervisor has an epoll, a socket for what programs say where they say it to `NOTIFY_SOCKET`, and
/// a pidfd and maybe a channel for each process; all of them are CLOEXEC.
///
/// Readable when there is something to do: put it into a poll or an epoll of your own, or
/// [wait](Self::wait).
#[derive(Debug)]
pub struct Supervisor<'a> {
    net: &'a mut NetView,
    program: &'a Program<'a>,
    command: Args<'a>,
    options: Options,
    epoll: OwnedFd,
    receiver: Option<Receiver>,
    children: Vec<Child, MOST_PROCESSES>,
    main: Option<Pid>,
    next: Next,
    canary: Option<Deadline>,
    terminating: bool,
    /// What the program has last ended with.
    status: i32,
    /// It was ready once.
    proven: bool,
    /// How often it was started.
    starts: u32,
    /// How often in a row it came to nothing.
    failures: u32,
    /// The listeners are in the epoll.
    awaits_clients: bool,
}

/// A process.
#[derive(Debug)]
struct Child {
    successor: Successor,
    phase: Phase,
    /// When it was started.
    since: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// It has until then to become ready.
    Starting(Deadline),
    Serving,
    /// It was told to end, and has until then.
    Ending(Deadline),
}

/// What comes when no process serves, or becomes ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    /// There is one.
    Nothing,
    /// To be thought about.
    Decide { failed: bool, lived_ms: u64 },
    /// A start, then.
    Start(Deadline),
    /// A client.
    Client,
    /// The end, when all have ended.
    End,
    /// It has been told.
    Over,
}

/// Why a supervisor that took another's place cannot go on with what that one had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SupervisorError {
    /// A system call failed.
    Failed(Error),
    /// What it has left cannot be read.
    State(CapsuleError),
}

impl From<Error> for SupervisorError {
    fn from(error: Error) -> SupervisorError {
        SupervisorError::Failed(error)
    }
}

impl From<CapsuleError> for SupervisorError {
    fn from(error: CapsuleError) -> SupervisorError {
        SupervisorError::State(error)
    }
}

impl fmt::Display for SupervisorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SupervisorError::Failed(error) => error.fmt(f),
            SupervisorError::State(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SupervisorError {}

/// Under which names the next supervisor finds what it needs.
const STATE: &str = "gracenet.supervisor";
const NOTIFY: &str = "gracenet.notify";
const CHANNEL: &str = "gracenet.channel";

/// Of what lies in the capsule.
const VERSION: u32 = 1;

/// Messages that are read at once, so that a talkative program holds nobody up.
const MESSAGES_AT_ONCE: usize = 16;

impl<'a> Supervisor<'a> {
    /// `Supervisor::new(net, program, command, options)` — supervises `command`, a program and its
    /// arguments, which is started from what this process was started as: in its working directory,
    /// with its environment and signal mask; with every fd of the table, and as the leader of a
    /// process group.
    ///
    /// Where this program took a supervisor's place ([`replace`](Self::replace)), it goes on with the
    /// processes of that one. The table has room for what comes with them: ten fds more than it has
    /// sockets.
    ///
    /// # Errors
    ///
    /// [`SupervisorError`]: what the last one left cannot be read, or a system call failed.
    pub fn new(
        net: &'a mut NetView,
        program: &'a Program<'a>,
        command: Args<'a>,
        options: Options,
    ) -> Result<Supervisor<'a>, SupervisorError> {
        let epoll = crate::socket::above_stdio(sys::epoll()?)?;
        let mut supervisor = Supervisor {
            net,
            program,
            command,
            options,
            epoll,
            receiver: None,
            children: Vec::new(),
            main: None,
            next: Next::Start(Deadline::from_ns(0)),
            canary: None,
            terminating: false,
            status: 0,
            proven: false,
            starts: 0,
            failures: 0,
            awaits_clients: false,
        };
        supervisor.resume()?;
        if supervisor.receiver.is_none() && options.readiness == Readiness::Notify {
            supervisor.receiver = Some(Receiver::new()?);
        }
        if let Some(receiver) = &supervisor.receiver {
            sys::epoll_watch(sys::lend(&supervisor.epoll), receiver.as_fd(), true)?;
        }
        Ok(supervisor)
    }

    /// The table, for more sockets, and for what else is to be done with it.
    pub fn net(&mut self) -> &mut NetView {
        self.net
    }

    /// The process that signals go to, and whose status counts: the one that serves, or as long as
    /// none does the one that is becoming ready.
    pub fn main(&self) -> Option<Pid> {
        self.main
    }

    /// `supervisor.try_next()` — does what is to be done now, and says what has come about;
    /// `None` when there is nothing more. Never blocks.
    ///
    /// To be called until it says `None`, whenever this is readable, at [`wake_by`](Self::wake_by),
    /// and after every other call.
    pub fn try_next(&mut self) -> Option<Event> {
        // The processes are another's.
        if self.net.is_canary() {
            return None;
        }
        self.hear();
        if let Some(event) = self.look_after_canary() {
            return Some(event);
        }
        for index in 0..self.children.len() {
            if let Some(event) = self.look_after(index) {
                return Some(event);
            }
        }
        match self.next {
            Next::Nothing | Next::Over => None,
            Next::Decide { failed, lived_ms } => self.decide(failed, lived_ms),
            Next::Start(at) if at.has_passed() && self.options.on_demand => self.await_client(),
            Next::Start(at) if at.has_passed() => Some(self.start()),
            Next::Start(_) => None,
            Next::Client => self.client_waits().then(|| self.start()),
            Next::End => (self.children.is_empty() && self.canary.is_none()).then(|| {
                self.next = Next::Over;
                Event::Done(self.status)
            }),
        }
    }

    /// `supervisor.wake_by()` — when [`try_next`](Self::try_next) is to be called even if this is not
    /// readable.
    pub fn wake_by(&self) -> Deadline {
        let mut earliest = match self.next {
            Next::Start(at) => at,
            _ => Deadline::NEVER,
        };
        for child in &self.children {
            let deadline = match child.phase {
                Phase::Starting(deadline) | Phase::Ending(deadline) => deadline,
                Phase::Serving => Deadline::NEVER,
            };
            earliest = earliest.min(child.successor.wake_by(deadline));
        }
        match (self.canary, self.net.started()) {
            (Some(deadline), Some(canary)) => earliest.min(canary.wake_by(deadline)),
            _ => earliest,
        }
    }

    /// `supervisor.wait(other)` — waits until there is something to do, or the other fd is readable:
    /// that of [`Signals`](crate::signal::Signals), mostly.
    ///
    /// # Errors
    ///
    /// - `poll`: it cannot be waited.
    pub fn wait(&self, other: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        wait_readable([Some(self.as_fd()), other], self.wake_by()).map(drop)
    }

    /// `supervisor.reap(ended)` — waits for every child that has ended, and tells of each that is none
    /// of the supervisor's. Never blocks.
    ///
    /// As [`NetView::reap`], to be called when SIGCHLD has come where this process is pid 1 or a
    /// [subreaper](init::become_subreaper).
    ///
    /// # Errors
    ///
    /// - `waitid`: it is refused by a filter.
    pub fn reap(&mut self, mut ended: impl FnMut(Pid, Exit)) -> Result<(), Error> {
        let children = &mut self.children;
        self.net.reap(|pid, exit| {
            let ours = children
                .iter_mut()
                .find(|child| child.successor.pid() == pid);
            if !ours.is_some_and(|child| child.successor.note_end(exit)) {
                ended(pid, exit);
            }
        })
    }

    /// `supervisor.forward(signal)` — sends a signal to the program, if there is one.
    pub fn forward(&self, signal: Signal) {
        for child in &self.children {
            if self.main == Some(child.successor.pid()) {
                self.send(child, signal);
            }
        }
    }

    /// `supervisor.terminate(signal)` — sends the signal to all processes, which have the time of
    /// grace to end until they are killed. When the last one has, [`Event::Done`] comes, and nothing
    /// is started any more.
    ///
    /// Again, it sends the signal once more.
    pub fn terminate(&mut self, signal: Signal) {
        let first = !self.terminating;
        self.terminating = true;
        self.stop_awaiting();
        self.next = match self.next {
            Next::Over => Next::Over,
            _ => Next::End,
        };
        let kill_at = Deadline::after_ms(self.options.grace_ms);
        for child in &mut self.children {
            // Whatever it says of itself does not matter any more.
            child.successor.declare_ready();
            if first && !child.is_ending() {
                child.phase = Phase::Ending(kill_at);
            }
        }
        for child in &self.children {
            self.send(child, signal);
        }
        if let (true, Some(canary)) = (self.canary.is_some(), self.net.successor()) {
            canary.kill();
        }
    }

    /// `supervisor.restart()` — starts the program anew beside the one that serves, which is told by
    /// SIGTERM to end when the new one is ready, and goes on if it is not. The process that was
    /// started; `None` where none runs and none is wanted before somebody connects.
    ///
    /// The program is looked up anew by its name: it is the one that has been deployed since.
    ///
    /// # Errors
    ///
    /// [`StartError`]. Nothing has changed.
    /// - [`StartError::InProgress`]: one is becoming ready, so many are still ending, or all are to.
    pub fn restart(&mut self) -> Result<Option<Pid>, StartError> {
        match self.next {
            Next::Client => return Ok(None),
            Next::End | Next::Over => return Err(StartError::InProgress),
            Next::Nothing | Next::Decide { .. } | Next::Start(_) => {}
        }
        self.launch().map(Some)
    }

    /// `supervisor.start_canary(changes)` — starts a new supervisor as a [canary](NetView::start_canary),
    /// of which [`Event::Canary`] tells whether it could take this one's place.
    ///
    /// # Errors
    ///
    /// [`StartError`]. Nothing has changed.
    pub fn start_canary(&mut self, changes: &Changes<'_>) -> Result<Pid, StartError> {
        if self.is_starting() || self.canary.is_some() {
            return Err(StartError::InProgress);
        }
        let pid = self.hand_on(changes, true)?;
        self.canary = Some(Deadline::after_ms(self.options.ready_timeout_ms));
        if let Some(canary) = self.net.successor() {
            watch(&self.epoll, canary, true);
        }
        Ok(pid)
    }

    /// `supervisor.replace(changes)` — [replaces](NetView::replace) this program in its own place by
    /// a new supervisor, which goes on with the processes of this one. Returns only when that fails.
    ///
    /// Not while a process is becoming ready, nor when all are to end, nor when one has ended of
    /// which there is an event to come ([`StartError::InProgress`]). What is [lent](Changes::lend) is
    /// the supervisor's own.
    pub fn replace(&mut self, changes: &Changes<'_>) -> StartError {
        let is_settled = matches!(self.next, Next::Nothing | Next::Start(_) | Next::Client);
        // What it has ended with would be lost.
        let has_ended = |child: &mut Child| child.successor.has_failed();
        let is_settled = is_settled && !self.children.iter_mut().any(has_ended);
        if self.is_starting() || self.canary.is_some() || !is_settled {
            return StartError::InProgress;
        }
        let replaced = self.hand_on(changes, false);
        replaced.err().unwrap_or(StartError::Vanished)
    }

    // Processes.

    /// Takes in what programs say to their NOTIFY_SOCKET.
    fn hear(&mut self) {
        let Some(receiver) = &self.receiver else {
            return;
        };
        // The rest of a message is of no interest.
        let mut buffer = [0; 512];
        for _ in 0..MESSAGES_AT_ONCE {
            let Ok(Some(message)) = receiver.receive(&mut buffer) else {
                return;
            };
            if message.value(b"READY") != Some(b"1") {
                continue;
            }
            // Nothing of its children counts.
            let said = |child: &&mut Child| raw(child.successor.pid()) == message.pid;
            if let Some(child) = self.children.iter_mut().find(said) {
                child.successor.declare_ready();
            }
        }
    }

    fn look_after_canary(&mut self) -> Option<Event> {
        let deadline = self.canary?;
        let outcome = self.net.successor()?.try_wait(deadline)?;
        self.canary = None;
        Some(Event::Canary(outcome))
    }

    #[inline(never)]
    fn look_after(&mut self, index: usize) -> Option<Event> {
        let readiness = self.options.readiness;
        let child = self.children.get_mut(index)?;
        let pid = child.successor.pid();
        match child.phase {
            Phase::Starting(deadline) => {
                let outcome = if let Readiness::After(_) = readiness {
                    if deadline.has_passed() {
                        child.successor.declare_ready();
                    }
                    child.successor.try_wait(Deadline::NEVER)?
                } else {
                    let outcome = child.successor.try_wait(deadline);
                    if deadline.has_passed() && child.successor.is_undecided() {
                        // All of it: by now it is killed, but by itself.
                        let _ = init::signal_group(pid, Signal::KILL);
                    }
                    outcome?
                };
                match outcome {
                    Ok(()) => Some(self.serves(index)),
                    Err(failure) => {
                        self.remove(index, failure);
                        self.give_terminal_back();
                        Some(Event::Failed(pid, failure))
                    }
                }
            }
            Phase::Serving | Phase::Ending(_) => {
                // One that was told to end before it was ready need not become so.
                let outcome = match child.successor.try_wait(Deadline::NEVER) {
                    Some(Ok(())) => child.successor.try_probation(Deadline::NEVER),
                    outcome => outcome,
                };
                if let Some(Err(failure)) = outcome {
                    self.remove(index, failure);
                    return Some(Event::Ended(pid, failure));
                }
                match child.phase {
                    Phase::Ending(kill_at) if kill_at.has_passed() => {
                        child.phase = Phase::Ending(Deadline::NEVER);
                        let _ = init::signal_group(pid, Signal::KILL);
                        // It may have joined another group.
                        let _ = sys::kill(
                            raw(pid),
                            child.successor.pidfd(),
                            linux_raw_sys::general::SIGKILL,
                        );
                        Some(Event::Killing(pid))
                    }
                    _ => None,
                }
            }
        }
    }

    /// It is ready: those that served before are to end.
    fn serves(&mut self, index: usize) -> Event {
        self.proven = true;
        let kill_at = Deadline::after_ms(self.options.grace_ms);
        let mut pid = None;
        for (other, child) in self.children.iter_mut().enumerate() {
            if other == index {
                child.phase = Phase::Serving;
                // Nothing more is heard there.
                if let Some(channel) = child.successor.channel() {
                    let _ = sys::epoll_watch(sys::lend(&self.epoll), channel, false);
                }
                pid = Some(child.successor.pid());
            } else if child.phase == Phase::Serving {
                child.phase = Phase::Ending(kill_at);
                let _ = signal(child, Signal::TERM, self.options.signal_group);
            }
        }
        // The program's own predecessor is gone when the last of them is, which it can tell by its
        // channel.
        self.let_go_of_channels();
        match pid {
            Some(pid) => {
                self.main = Some(pid);
                Event::Ready(pid)
            }
            None => Event::Waiting,
        }
    }

    fn let_go_of_channels(&mut self) {
        if self.children.iter().any(Child::is_ending) {
            return;
        }
        for child in &mut self.children {
            if child.phase == Phase::Serving {
                child.successor.let_go_of_channel();
            }
        }
    }

    /// One has ended.
    fn remove(&mut self, index: usize, failure: Failure) {
        let Some(child) = self.children.get(index) else {
            return;
        };
        let (pid, since) = (child.successor.pid(), child.since);
        self.children.retain(|child| child.successor.pid() != pid);
        let mut others = self.children.iter();
        if self.main == Some(pid) {
            let starting = others.find(|child| !child.is_ending());
            self.main = starting.map(|child| child.successor.pid());
            self.status = match failure {
                Failure::Exited(status) => status,
                Failure::Killed(signal) => signal.wrapping_add(128),
                // It was killed, by us.
                _ => 128 + 9,
            };
        }
        self.let_go_of_channels();
        if self.next == Next::Nothing && self.children.iter().all(Child::is_ending) {
            self.next = Next::Decide {
                failed: failure != Failure::Exited(0),
                lived_ms: crate::time::monotonic_ms().saturating_sub(since),
            };
        }
    }

    /// One that came to nothing had taken it from the one that goes on.
    fn give_terminal_back(&self) {
        if let Some(main) = self.main {
            // From the background, in which this process would be stopped for it.
            let mask = sys::block_signals(sys::set_of(&[linux_raw_sys::general::SIGTTOU]));
            // Where there is no terminal, there is nothing to give.
            let _ = sys::set_foreground(0, raw(main));
            sys::set_signal_mask(mask);
        }
    }

    /// No process serves: what now?
    fn decide(&mut self, failed: bool, lived_ms: u64) -> Option<Event> {
        let again = match self.options.restart {
            Restart::No => false,
            Restart::OnFailure => failed || self.options.on_demand,
            Restart::Always => true,
        };
        if !again {
            self.next = Next::End;
            return self.try_next();
        }
        let (_, most) = self.options.back_off_ms;
        if lived_ms >= most || !failed {
            self.failures = 0;
        }
        if !failed && self.options.on_demand {
            return self.await_client();
        }
        let delay = delay_ms(self.options.back_off_ms, self.failures);
        self.failures = self.failures.saturating_add(1);
        self.next = Next::Start(Deadline::after_ms(delay));
        Some(Event::Restarting(delay))
    }

    /// Starts the program where none runs.
    fn start(&mut self) -> Event {
        // Whatever comes of it: who waits would wake this for nothing until the next attempt.
        self.stop_awaiting();
        match self.launch() {
            Ok(pid) => Event::Started(pid),
            Err(error) => {
                // As a shell has it: found and not executable, or not found.
                let missing = matches!(error, StartError::Failed(error) if error.is(Errno::NOENT));
                self.status = if missing { 127 } else { 126 };
                // One that never ran will not do so by itself.
                self.next = match self.proven || self.options.restart == Restart::Always {
                    true => Next::Decide {
                        failed: true,
                        lived_ms: 0,
                    },
                    false => Next::End,
                };
                Event::NotStarted(error)
            }
        }
    }

    #[inline(never)]
    fn launch(&mut self) -> Result<Pid, StartError> {
        if self.is_starting() || self.children.is_full() {
            return Err(StartError::InProgress);
        }
        let mut set = Vec::<_, 1>::new();
        if let Some(receiver) = &self.receiver {
            let _ = set.push(receiver.variable());
        }
        let mut changes = Changes::new().args(self.command).group().set(&set);
        changes.path = self.command.iter().next();
        changes.foreign = self.options.readiness != Readiness::Channel;
        changes.generation = Some(self.starts);
        if self.options.pid_namespace {
            changes = changes.pid_namespace();
        }
        let successor = self.net.spawn(self.program, &changes)?;
        drop(set);
        self.starts = self.starts.saturating_add(1);
        let within = match self.options.readiness {
            Readiness::After(ms) => ms,
            Readiness::Channel | Readiness::Notify => self.options.ready_timeout_ms,
        };
        watch(&self.epoll, &successor, true);
        let pid = successor.pid();
        let child = Child {
            successor,
            phase: Phase::Starting(Deadline::after_ms(within)),
            since: crate::time::monotonic_ms(),
        };
        let _ = self.children.push(child);
        self.main = self.main.or(Some(pid));
        self.next = Next::Nothing;
        Ok(pid)
    }

    fn is_starting(&self) -> bool {
        let starting = |child: &Child| matches!(child.phase, Phase::Starting(_));
        self.children.iter().any(starting)
    }

    fn send(&self, child: &Child, what: Signal) {
        let _ = signal(child, what, self.options.signal_group);
    }

    // Clients that wait.

    fn await_client(&mut self) -> Option<Event> {
        if !self.awaits_clients {
            self.awaits_clients = true;
            self.watch_listeners(true);
        }
        self.next = Next::Client;
        Some(Event::Waiting)
    }

    fn stop_awaiting(&mut self) {
        if self.awaits_clients {
            self.awaits_clients = false;
            self.watch_listeners(false);
        }
    }

    fn watch_listeners(&self, watched: bool) {
        for entry in self.net.iter().filter(can_have_clients) {
            let _ = sys::epoll_watch(sys::lend(&self.epoll), entry.as_fd(), watched);
        }
    }

    /// Whether something lies in the queue of one of the sockets.
    fn client_waits(&self) -> bool {
        self.net
            .iter()
            .filter(can_have_clients)
            .any(|entry| sys::poll([Some(entry.as_fd()), None], Some(0)) == Ok(1))
    }

    // What the next supervisor is told.

    /// Executes the next supervisor, as a canary or in place, with all that it needs.
    fn hand_on(&mut self, changes: &Changes<'_>, canary: bool) -> Result<Pid, StartError> {
        let capsule = Capsule::seal(VERSION, &[bytes(&self.encode())])?;
        let mut lent = Vec::<_, { MOST_PROCESSES + 2 }>::new();
        let _ = lent.push((STATE, sys::lend(&capsule)));
        if let Some(receiver) = &self.receiver {
            let _ = lent.push((NOTIFY, receiver.as_fd()));
        }
        for child in &self.children {
            if let Some(channel) = child.successor.channel() {
                let _ = lent.push((CHANNEL, channel));
            }
        }
        let mut changes = *changes;
        changes.lent = &lent;
        match canary {
            true => Ok(self.net.start_canary(self.program, &changes)?.pid()),
            false => Err(self.net.replace(self.program, &changes)),
        }
    }

    /// The supervisor's own numbers, and those of each process.
    fn encode(&self) -> Records {
        let (next, at) = match self.next {
            Next::Client => (NEXT_CLIENT, 0),
            Next::Start(at) => (NEXT_START, at.to_ns()),
            // The others are not settled, and none takes this one's place then.
            _ => (NEXT_NOTHING, 0),
        };
        let mut records = Records::new();
        let _ = records.push([
            u64::from(self.starts) | u64::from(self.failures) << 32,
            u64::from(self.status as u32) | u64::from(self.proven) << 32,
            next,
            at,
        ]);
        for child in &self.children {
            let (ends, kill_at) = match child.phase {
                Phase::Ending(kill_at) => (CHILD_ENDS, kill_at.to_ns()),
                _ => (0, 0),
            };
            let channel = match child.successor.channel() {
                Some(_) => CHILD_HAS_CHANNEL,
                None => 0,
            };
            let pid = u64::from(raw(child.successor.pid()));
            let _ = records.push([pid, ends | channel, kill_at, child.since]);
        }
        records
    }

    /// Goes on with what the supervisor has left whose place this one took, if it did.
    #[inline(never)]
    fn resume(&mut self) -> Result<(), SupervisorError> {
        let Some(capsule) = self.take(STATE)? else {
            return Ok(());
        };
        if let Some(socket) = self.take(NOTIFY)? {
            self.receiver = Some(Receiver::from_fd(socket)?);
        }
        let capsule = Capsule::open(sys::lend(&capsule))?.check_version(VERSION)?;
        let mut room = [[0_u64; 4]; MOST_PROCESSES + 1];
        let size = capsule.read(bytes_mut(&mut room))?.len();
        let mut records = room.into_iter().take(size / size_of::<Record>());
        let [counts, status, next, at] = records.next().unwrap_or_default();
        self.starts = counts as u32;
        self.failures = (counts >> 32) as u32;
        self.status = status as u32 as i32;
        self.proven = status >> 32 != 0;
        self.next = match next {
            NEXT_START => Next::Start(Deadline::from_ns(at)),
            _ => Next::Nothing,
        };
        if next == NEXT_CLIENT {
            // The last one has said so.
            let _ = self.await_client();
        }
        for [pid, flags, kill_at, since] in records {
            let channel = match flags & CHILD_HAS_CHANNEL {
                0 => None,
                _ => self.take(CHANNEL)?,
            };
            let Some(pid) = Pid::from_raw(pid as i32) else {
                continue;
            };
            let mut phase = Phase::Ending(Deadline::from_ns(kill_at));
            if flags & CHILD_ENDS == 0 {
                self.main = Some(pid);
                phase = Phase::Serving;
            }
            let successor = Successor::resume(pid, channel);
            watch(&self.epoll, &successor, false);
            let _ = self.children.push(Child {
                successor,
                phase,
                since,
            });
        }
        Ok(())
    }

    /// What the last supervisor has left under this name.
    fn take(&mut self, name: &str) -> Result<Option<OwnedFd>, Error> {
        match self.net.claim(name) {
            None => Ok(None),
            Some(handle) => self.net.take(handle).map(Some),
        }
    }
}

/// Readable when there is something to do.
impl AsFd for Supervisor<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        sys::lend(&self.epoll)
    }
}

impl Child {
    fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Ending(_))
    }
}

/// Four numbers of the capsule.
type Record = [u64; 4];
type Records = Vec<Record, { MOST_PROCESSES + 1 }>;

const NEXT_NOTHING: u64 = 0;
const NEXT_START: u64 = 1;
const NEXT_CLIENT: u64 = 2;

const CHILD_ENDS: u64 = 1;
const CHILD_HAS_CHANNEL: u64 = 2;

/// Numbers as this machine has them: whoever reads them runs on it, too.
fn bytes(records: &[Record]) -> &[u8] {
    let (at, size) = (records.as_ptr().cast(), size_of_val(records));
    // SAFETY: so many bytes, which numbers are made of.
    unsafe { core::slice::from_raw_parts(at, size) }
}

fn bytes_mut(records: &mut [Record]) -> &mut [u8] {
    let (at, size) = (records.as_mut_ptr().cast(), size_of_val(records));
    // SAFETY: as above, and any bytes make a number.
    unsafe { core::slice::from_raw_parts_mut(at, size) }
}

/// How long a start is put off after so many failures in a row.
fn delay_ms((first, most): (u64, u64), failures: u32) -> u64 {
    first.saturating_mul(1 << failures.min(63)).min(most)
}

fn raw(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}

fn signal(child: &Child, signal: Signal, group: bool) -> Result<(), Error> {
    let pid = child.successor.pid();
    if group && init::signal_group(pid, signal).is_ok() {
        return Ok(());
    }
    sys::kill(
        raw(pid),
        child.successor.pidfd(),
        signal.as_raw().unsigned_abs(),
    )
}

/// What else there is, such as a file, can always be read, or is nobody's way in.
fn can_have_clients(entry: &Entry<'_>) -> bool {
    matches!(entry.kind(), Ok(Kind::Listener(_) | Kind::Datagram(_)))
}

/// Its fds wake the supervisor, until they are closed.
fn watch(epoll: &OwnedFd, successor: &Successor, channel: bool) {
    let fds = [successor.pidfd(), successor.channel().filter(|_| channel)];
    for fd in fds.into_iter().flatten() {
        // Without it, it is looked at every 10 ms, or when SIGCHLD comes.
        let _ = sys::epoll_watch(sys::lend(epoll), fd, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let after = |failures| delay_ms((100, 5_000), failures);
        assert_eq!(
            [0, 1, 2, 5, 6, 7].map(after),
            [100, 200, 400, 3_200, 5_000, 5_000]
        );
        for failures in [31, 32, 33, 63, 64, u32::MAX] {
            assert_eq!(after(failures), 5_000);
            assert_eq!(delay_ms((0, 5_000), failures), 0);
            assert_eq!(delay_ms((5, 3), failures), 3);
            // A day, and up to a month of them.
            let (day, month) = (86_400_000, 2_592_000_000);
            assert_eq!(delay_ms((day, month), failures), month);
            assert_eq!(delay_ms((1 << 40, u64::MAX), failures.max(32)), u64::MAX);
        }
    }
}
