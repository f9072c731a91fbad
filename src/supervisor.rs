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

use core::{array, fmt, mem, ptr};

use linux_raw_sys::general::CLONE_NEWPID;
use linux_raw_sys::net::{SO_ACCEPTCONN, SO_TYPE, SOCK_DGRAM};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use crate::capsule::{Capsule, CapsuleError};
use crate::changes::Changes;
use crate::environ::Args;
use crate::error::Error;
use crate::init::{self, Exit};
use crate::net::{NetView, Way};
use crate::notify::Receiver;
use crate::program::Program;
use crate::ready::{Failure, Successor, wait_readable};
use crate::socket::above_stdio;
use crate::spawn::StartError;
use crate::sys;
use crate::time::Deadline;

/// How many processes there can be at a time: the one that serves, the next one, and others that end
/// what they have begun. A [canary](Supervisor::start_canary) is one more.
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
#[repr(C)] // What is looked at most comes first.
pub struct Supervisor<'a> {
    net: &'a mut NetView,
    epoll: OwnedFd,
    options: Options,
    state: State,
    receiver: Option<Receiver>,
    program: &'a Program<'a>,
    command: Args<'a>,
    /// The programs, and in the last place a canary: as the records are.
    successors: [Option<Successor>; PLACES],
}

const PLACES: usize = MOST_PROCESSES + 1;

/// What the next supervisor is told: numbers as this machine has them, without gaps between them, of
/// which any are legible.
#[derive(Debug)]
#[repr(C)]
struct State {
    /// When a start is to be.
    at: Deadline,
    /// For how long the last start was put off; 0 if the last process did not come to nothing.
    delay_ms: u64,
    /// How often it was started.
    starts: u32,
    /// What the program has last ended with.
    status: i32,
    /// The pid that signals go to, or 0.
    main: u32,
    next: Next,
    /// It was ready once.
    proven: u8,
    has_receiver: u8,
    reserved: u8,
    records: [Record; PLACES],
}

/// What is told of a process. Zeros where there is none.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Record {
    pid: u32,
    phase: Phase,
    has_channel: u8,
    reserved: u16,
    /// Until when it has to become ready, or to end.
    until: Deadline,
    /// From when on it has lived for as long as a start can be put off.
    lasting: Deadline,
}

/// What a process does, a bit for each.
type Phase = u8;

const STARTING: Phase = 1;
const SERVING: Phase = 2;
/// It was told to.
const ENDING: Phase = 4;
/// It shows that it could take this one's place.
const TRYING: Phase = 8;

/// What comes when no process serves, or becomes ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
struct Next(u8);

impl Next {
    /// There is one.
    const NOTHING: Next = Next(0);
    /// A start, at its time.
    const START: Next = Next(1);
    /// A client.
    const CLIENT: Next = Next(2);
    /// To be thought about: it came to nothing.
    const AFTER_FAILURE: Next = Next(3);
    /// To be thought about: it has ended well.
    const AFTER_SUCCESS: Next = Next(4);
    /// The end, when all have ended.
    const END: Next = Next(5);
    /// It has been told.
    const OVER: Next = Next(6);

    /// There is no event to come.
    const fn is_settled(self) -> bool {
        self.0 <= Next::CLIENT.0
    }
}

/// Why a supervisor that took another's place cannot go on with what that one had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SupervisorError {
    /// A system call failed.
    Failed(Error),
    /// What it has left cannot be read: it is of another version, or something else.
    State(CapsuleError),
}

impl From<CapsuleError> for SupervisorError {
    fn from(error: CapsuleError) -> SupervisorError {
        match error {
            CapsuleError::Failed(error) => SupervisorError::Failed(error),
            error => SupervisorError::State(error),
        }
    }
}

impl From<Error> for SupervisorError {
    fn from(error: Error) -> SupervisorError {
        SupervisorError::Failed(error)
    }
}

impl fmt::Display for SupervisorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SupervisorError::Failed(error) => error.fmt(f),
            SupervisorError::State(error) => {
                f.write_str("what the last supervisor has left is not legible: ")?;
                error.fmt(f)
            }
        }
    }
}

impl core::error::Error for SupervisorError {}

/// Under which name the next supervisor finds what it needs, in this order: a capsule of what it is
/// told, the receiver if there is one, and the channels of those that have one.
const NAME: &str = "gracenet.supervisor";

/// Of the capsule.
const VERSION: u32 = 3;

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
    #[inline(never)] // It is made where it stays, as it is not small.
    pub fn new(
        net: &'a mut NetView,
        program: &'a Program<'a>,
        command: Args<'a>,
        options: &Options,
    ) -> Result<Supervisor<'a>, SupervisorError> {
        let epoll = above_stdio(sys::epoll()?)?;
        let mut supervisor = Supervisor {
            net,
            epoll,
            options: *options,
            state: State {
                at: Deadline::from_ns(0),
                delay_ms: 0,
                starts: 0,
                status: 0,
                main: 0,
                next: Next::START,
                proven: 0,
                has_receiver: 0,
                reserved: 0,
                records: [Record::NONE; PLACES],
            },
            receiver: None,
            program,
            command,
            successors: array::from_fn(|_| None),
        };
        supervisor.resume()?;
        Ok(supervisor)
    }

    /// The table, for more sockets, and for what else is to be done with it.
    pub fn net(&mut self) -> &mut NetView {
        self.net
    }

    /// The process that signals go to, and whose status counts: the one that serves, or as long as
    /// none does the one that is becoming ready.
    pub fn main(&self) -> Option<Pid> {
        Pid::from_raw(self.state.main as i32)
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
        for index in 0..PLACES {
            if let Some(event) = self.look_after(index) {
                return Some(event);
            }
        }
        if let Next::AFTER_FAILURE | Next::AFTER_SUCCESS = self.state.next {
            if let Some(event) = self.decide() {
                return Some(event);
            }
        }
        match self.state.next {
            Next::START if self.state.at.has_passed() => {}
            Next::CLIENT if self.client_waits() => return Some(self.start()),
            Next::END if !self.has(!0) => {
                self.state.next = Next::OVER;
                return Some(Event::Done(self.state.status));
            }
            _ => return None,
        }
        if self.options.on_demand {
            self.await_client();
            return Some(Event::Waiting);
        }
        Some(self.start())
    }

    /// `supervisor.wake_by()` — when [`try_next`](Self::try_next) is to be called even if this is not
    /// readable.
    pub fn wake_by(&self) -> Deadline {
        let mut earliest = match self.state.next {
            Next::START => self.state.at,
            _ => Deadline::NEVER,
        };
        for (successor, record) in self.successors.iter().zip(&self.state.records) {
            if let Some(successor) = successor {
                earliest = earliest.min(successor.wake_by(record.until));
            }
        }
        earliest
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
        let successors = &mut self.successors;
        self.net.reap(|pid, exit| {
            let mut ours = false;
            for successor in &mut *successors {
                match successor {
                    Some(successor) if successor.pid() == pid => ours = successor.note_end(exit),
                    _ => {}
                }
            }
            if !ours {
                ended(pid, exit);
            }
        })
    }

    /// `supervisor.forward(signal)` — sends a signal to the program, if there is one.
    pub fn forward(&self, signal: Signal) {
        for successor in &self.successors {
            match successor {
                Some(successor) if raw(successor.pid()) == self.state.main => {
                    send(successor, signal, self.options.signal_group);
                }
                _ => {}
            }
        }
    }

    /// `supervisor.terminate(signal)` — sends the signal to all processes, which have the time of
    /// grace to end until they are killed. When the last one has, [`Event::Done`] comes, and nothing
    /// is started any more.
    ///
    /// Again, it sends the signal once more.
    pub fn terminate(&mut self, signal: Signal) {
        self.stop_awaiting();
        if self.state.next != Next::OVER {
            self.state.next = Next::END;
        }
        let kill_at = Deadline::after_ms(self.options.grace_ms);
        for (successor, record) in self.successors.iter_mut().zip(&mut self.state.records) {
            let Some(successor) = successor else {
                continue;
            };
            if record.phase == TRYING {
                successor.kill();
                continue;
            }
            // Whatever it says of itself does not matter any more.
            successor.declare_ready();
            if record.phase != ENDING {
                record.is_to_end(kill_at);
            }
            send(successor, signal, self.options.signal_group);
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
        match self.state.next {
            Next::CLIENT => Ok(None),
            Next::END | Next::OVER => Err(StartError::InProgress),
            _ => self.launch().map(Some),
        }
    }

    /// `supervisor.start_canary(changes)` — starts a new supervisor as a [canary](NetView::start_canary),
    /// of which [`Event::Canary`] tells whether it could take this one's place.
    ///
    /// # Errors
    ///
    /// [`StartError`]. Nothing has changed.
    pub fn start_canary(&mut self, changes: &Changes<'_>) -> Result<Pid, StartError> {
        self.hand_on(changes, true)
    }

    /// `supervisor.replace(changes)` — [replaces](NetView::replace) this program in its own place by
    /// a new supervisor, which goes on with the processes of this one. Returns only when that fails.
    ///
    /// Not while a process is becoming ready, nor when all are to end, nor when one has ended of
    /// which there is an event to come ([`StartError::InProgress`]). What is [lent](Changes::lend) is
    /// the supervisor's own.
    pub fn replace(&mut self, changes: &Changes<'_>) -> StartError {
        if !self.state.next.is_settled() {
            return StartError::InProgress;
        }
        for successor in &mut self.successors {
            // What it has ended with would be lost.
            if successor
                .as_mut()
                .is_some_and(|it| it.end_of_it().is_some())
            {
                return StartError::InProgress;
            }
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
        receiver.hear(&mut |sender| {
            // Nothing of its children counts.
            for successor in &mut self.successors {
                match successor {
                    Some(successor) if raw(successor.pid()) == sender => successor.declare_ready(),
                    _ => {}
                }
            }
            true
        });
    }

    #[inline(never)]
    fn look_after(&mut self, index: usize) -> Option<Event> {
        let lives_on = matches!(self.options.readiness, Readiness::After(_));
        let record = self.state.records.get_mut(index)?;
        let successor = self.successors.get_mut(index)?.as_mut()?;
        let is_over = record.until.has_passed();
        let (phase, pid) = (record.phase, successor.pid());
        let Some(outcome) = outcome(successor, phase, is_over, lives_on) else {
            if phase == TRYING || !is_over {
                return None;
            }
            // All of it. By itself it is killed by now, if it should have become ready.
            let _ = init::signal_group(pid, Signal::KILL);
            if phase != ENDING {
                return None;
            }
            record.until = Deadline::NEVER;
            // It may have joined another group.
            send(successor, Signal::KILL, false);
            return Some(Event::Killing(pid));
        };
        let failure = match outcome {
            Ok(()) if phase == STARTING => return Some(self.serves(pid)),
            // How a canary has left is nobody's concern.
            Ok(()) => Failure::Ended,
            Err(failure) => failure,
        };
        self.remove(index, failure);
        Some(match phase {
            TRYING => Event::Canary(outcome),
            STARTING => {
                self.give_terminal_back();
                Event::Failed(pid, failure)
            }
            _ => Event::Ended(pid, failure),
        })
    }

    /// It is ready: those that served before are to end.
    fn serves(&mut self, pid: Pid) -> Event {
        self.state.proven = 1;
        self.state.main = raw(pid);
        let kill_at = Deadline::after_ms(self.options.grace_ms);
        for (successor, record) in self.successors.iter_mut().zip(&mut self.state.records) {
            let Some(successor) = successor else {
                continue;
            };
            if successor.pid() == pid {
                record.phase = SERVING;
                record.until = Deadline::NEVER;
                // Nothing more is heard there.
                watch(&self.epoll, successor.channel(), false);
            } else if record.phase == SERVING {
                record.is_to_end(kill_at);
                send(successor, Signal::TERM, self.options.signal_group);
            }
        }
        self.let_go_of_channels();
        Event::Ready(pid)
    }

    /// The program's own predecessor is gone when the last of those that end is, which it can tell by
    /// its channel.
    fn let_go_of_channels(&mut self) {
        if self.has(ENDING) {
            return;
        }
        for (successor, record) in self.successors.iter_mut().zip(&self.state.records) {
            match successor {
                Some(successor) if record.phase == SERVING => successor.let_go_of_channel(),
                _ => {}
            }
        }
    }

    /// One has ended.
    fn remove(&mut self, index: usize, failure: Failure) {
        let (Some(successor), Some(place)) = (
            self.successors.get_mut(index),
            self.state.records.get_mut(index),
        ) else {
            return;
        };
        *successor = None;
        let record = mem::replace(place, Record::NONE);
        if self.state.main == record.pid {
            self.state.main = 0;
            for other in &self.state.records {
                if other.phase & (STARTING | SERVING) != 0 {
                    self.state.main = other.pid;
                }
            }
            self.state.status = match failure {
                Failure::Exited(status) => status,
                Failure::Killed(signal) => signal.wrapping_add(128),
                // It was killed, by us.
                _ => 128 + 9,
            };
        }
        self.let_go_of_channels();
        if self.state.next == Next::NOTHING && !self.has(STARTING | SERVING) {
            self.state.next = match failure {
                Failure::Exited(0) => Next::AFTER_SUCCESS,
                _ => Next::AFTER_FAILURE,
            };
            if failure == Failure::Exited(0) || record.lasting.has_passed() {
                self.state.delay_ms = 0;
            }
        }
    }

    /// One that came to nothing had taken it from the one that goes on.
    fn give_terminal_back(&self) {
        if self.state.main != 0 {
            // From the background, in which this process would be stopped for it.
            let mask = sys::block_signals(sys::set_with(linux_raw_sys::general::SIGTTOU));
            // Where there is no terminal, there is nothing to give.
            let _ = sys::set_foreground(0, self.state.main);
            sys::set_signal_mask(mask);
        }
    }

    /// No process serves: what now?
    fn decide(&mut self) -> Option<Event> {
        let failed = self.state.next == Next::AFTER_FAILURE;
        let on_demand = self.options.on_demand;
        let again = match self.options.restart {
            Restart::No => false,
            Restart::OnFailure => failed || on_demand,
            Restart::Always => true,
        };
        if !again {
            self.state.next = Next::END;
            return None;
        }
        if !failed && on_demand {
            self.await_client();
            return Some(Event::Waiting);
        }
        let delay = longer(self.state.delay_ms, self.options.back_off_ms);
        self.state.delay_ms = delay;
        self.state.at = Deadline::after_ms(delay);
        self.state.next = Next::START;
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
                self.state.status = if missing { 127 } else { 126 };
                // One that never ran will not do so by itself.
                let again = self.state.proven != 0 || self.options.restart == Restart::Always;
                self.state.next = if again {
                    Next::AFTER_FAILURE
                } else {
                    Next::END
                };
                Event::NotStarted(error)
            }
        }
    }

    #[inline(never)]
    fn launch(&mut self) -> Result<Pid, StartError> {
        let starting = self.has(STARTING);
        let [programs @ .., _] = &mut self.successors;
        let mut places = programs.iter_mut().zip(&mut self.state.records);
        let place = places.find(|(successor, _)| successor.is_none());
        let (false, Some((successor, record))) = (starting, place) else {
            return Err(StartError::InProgress);
        };
        let variable;
        let mut changes = Changes::new();
        if let Some(receiver) = &self.receiver {
            variable = [receiver.variable()];
            changes.set = &variable;
        }
        changes.args = Some(self.command);
        changes.path = self.command.iter().next();
        changes.group = true;
        changes.foreign = self.options.readiness != Readiness::Channel;
        changes.generation = Some(self.state.starts);
        if self.options.pid_namespace {
            changes.namespaces = CLONE_NEWPID;
        }
        self.net
            .execute(Way::Process(successor), self.program, &changes)?;
        self.state.starts = self.state.starts.saturating_add(1);
        let within = match self.options.readiness {
            Readiness::After(ms) => ms,
            Readiness::Channel | Readiness::Notify => self.options.ready_timeout_ms,
        };
        let pid = record.begin(STARTING, within, successor, &self.epoll)?;
        record.lasting = Deadline::after_ms(self.options.back_off_ms.1);
        if self.state.main == 0 {
            self.state.main = raw(pid);
        }
        self.state.next = Next::NOTHING;
        Ok(pid)
    }

    /// Whether a process does one of these.
    fn has(&self, phases: Phase) -> bool {
        let mut records = self.state.records.iter();
        records.any(|record| record.phase & phases != 0)
    }

    // Clients that wait.

    fn await_client(&mut self) {
        self.watch_listeners(true);
        self.state.next = Next::CLIENT;
    }

    fn stop_awaiting(&self) {
        if self.state.next == Next::CLIENT {
            self.watch_listeners(false);
        }
    }

    fn watch_listeners(&self, watched: bool) {
        for entry in self.net.iter() {
            if can_have_clients(entry.as_fd()) {
                watch(&self.epoll, Some(entry.as_fd()), watched);
            }
        }
    }

    /// Whether something lies in the queue of one of the sockets.
    fn client_waits(&self) -> bool {
        self.net.iter().any(|entry| {
            let fd = entry.as_fd();
            can_have_clients(fd) && sys::poll([Some(fd), None], Some(0)) == Ok(1)
        })
    }

    // What the next supervisor is told.

    /// Executes the next supervisor, as a canary or in place, with all that it needs.
    fn hand_on(&mut self, changes: &Changes<'_>, canary: bool) -> Result<Pid, StartError> {
        if self.has(STARTING | TRYING) || self.net.is_being_replaced() {
            return Err(StartError::InProgress);
        }
        // Any fd, until it is known what lies there.
        let mut lent = [(NAME, sys::lend(&self.epoll)); MOST_PROCESSES + 2];
        let mut count = 1; // The first is the capsule, which says what the others are.
        let mut lend = |fd| {
            if let Some((_, place)) = lent.get_mut(count) {
                *place = fd;
                count += 1;
            }
        };
        self.state.has_receiver = 0;
        if let Some(receiver) = &self.receiver {
            self.state.has_receiver = 1;
            lend(receiver.as_fd());
        }
        let [programs @ .., last] = &mut self.successors;
        for (successor, record) in programs.iter().zip(&mut self.state.records) {
            let channel = successor.as_ref().and_then(Successor::channel);
            record.has_channel = channel.is_some().into();
            if let Some(channel) = channel {
                lend(channel);
            }
        }
        let capsule = Capsule::seal(VERSION, &[self.state.as_bytes()])?;
        let [(_, first), ..] = &mut lent;
        *first = sys::lend(&capsule);
        let mut changes = *changes;
        changes.lent = lent.get(..count).unwrap_or_default();
        changes.canary = canary;
        // A canary without a channel would serve, and stay.
        changes.foreign &= !canary;
        let way = match canary {
            true => Way::Process(last),
            false => Way::InPlace,
        };
        self.net.execute(way, self.program, &changes)?;
        let [.., record] = &mut self.state.records;
        record.begin(TRYING, self.options.ready_timeout_ms, last, &self.epoll)
    }

    /// Goes on with what the supervisor has left whose place this one took, if it did.
    #[inline(never)]
    fn resume(&mut self) -> Result<(), SupervisorError> {
        let mut socket = None;
        if let Some(capsule) = self.net.take_named(NAME) {
            let capsule = Capsule::open(sys::lend(&capsule))?.check_version(VERSION)?;
            capsule.read_exact(self.state.as_bytes_mut())?;
            if self.state.has_receiver != 0 {
                socket = self.net.take_named(NAME);
            }
            for (successor, record) in self.successors.iter_mut().zip(&self.state.records) {
                let Some(pid) = Pid::from_raw(record.pid as i32) else {
                    continue;
                };
                let channel = match record.has_channel {
                    0 => None,
                    _ => self.net.take_named(NAME),
                };
                let successor = successor.insert(Successor::resume(pid, channel));
                watch(&self.epoll, successor.pidfd(), true);
            }
            if self.state.next == Next::CLIENT {
                self.watch_listeners(true);
            }
        }
        if socket.is_none() && self.options.readiness == Readiness::Notify {
            socket = Some(Receiver::socket()?);
        }
        if let Some(socket) = socket {
            let receiver = self.receiver.insert(Receiver::from_fd(socket)?);
            sys::epoll_watch(sys::lend(&self.epoll), receiver.as_fd(), true)?;
        }
        Ok(())
    }
}

/// Readable when there is something to do.
impl AsFd for Supervisor<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        sys::lend(&self.epoll)
    }
}

impl Record {
    const NONE: Record = Record {
        pid: 0,
        phase: 0,
        has_channel: 0,
        reserved: 0,
        until: Deadline::from_ns(0),
        lasting: Deadline::from_ns(0),
    };

    /// A process was started, and has so much time.
    fn begin(
        &mut self,
        phase: Phase,
        within_ms: u64,
        successor: &Option<Successor>,
        epoll: &OwnedFd,
    ) -> Result<Pid, StartError> {
        let successor = successor.as_ref().ok_or(StartError::Vanished)?;
        self.pid = raw(successor.pid());
        self.phase = phase;
        self.until = Deadline::after_ms(within_ms);
        watch(epoll, successor.pidfd(), true);
        watch(epoll, successor.channel(), true);
        Ok(successor.pid())
    }

    fn is_to_end(&mut self, kill_at: Deadline) {
        self.phase = ENDING;
        self.until = kill_at;
    }
}

impl State {
    fn as_bytes(&self) -> &[u8] {
        let (at, size) = (ptr::from_ref(self).cast(), size_of::<State>());
        // SAFETY: so many bytes, which numbers without gaps are made of.
        unsafe { core::slice::from_raw_parts(at, size) }
    }

    fn as_bytes_mut(&mut self) -> &mut [u8] {
        let (at, size) = (ptr::from_mut(self).cast(), size_of::<State>());
        // SAFETY: as above, and any bytes make numbers.
        unsafe { core::slice::from_raw_parts_mut(at, size) }
    }
}

// There are no gaps.
const _: () = assert!(size_of::<State>() == 32 + PLACES * 24);

/// How long a start is put off that was put off for so long the last time.
fn longer(delay_ms: u64, (first, most): (u64, u64)) -> u64 {
    let delay = match delay_ms {
        0 => first,
        _ => delay_ms.saturating_mul(2),
    };
    delay.min(most)
}

fn raw(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get() as u32
}

/// What has become of a process, if it is decided; its time may be over by which it is.
#[inline(never)]
fn outcome(
    successor: &mut Successor,
    phase: Phase,
    is_over: bool,
    lives_on: bool,
) -> Option<Result<(), Failure>> {
    // One that was told to end before it was ready need not become so.
    if phase & (STARTING | TRYING) == 0 {
        return successor.end_of_it();
    }
    if is_over && lives_on && phase == STARTING {
        successor.declare_ready();
    }
    successor.try_wait(match is_over {
        true => Deadline::from_ns(0),
        false => Deadline::NEVER,
    })
}

fn send(successor: &Successor, signal: Signal, group: bool) {
    if group && init::signal_group(successor.pid(), signal).is_ok() {
        return;
    }
    let (pid, signal) = (raw(successor.pid()), signal.as_raw() as u32);
    // It may have ended by now.
    let _ = sys::kill(pid, successor.pidfd(), signal);
}

/// What else there is, such as a file, can always be read, or is nobody's way in.
fn can_have_clients(fd: BorrowedFd<'_>) -> bool {
    sys::socket_option(fd, SO_ACCEPTCONN) == Ok(1)
        || sys::socket_option(fd, SO_TYPE) == Ok(SOCK_DGRAM)
}

/// It wakes the supervisor, until it is closed.
fn watch(epoll: &OwnedFd, fd: Option<BorrowedFd<'_>>, watched: bool) {
    if let Some(fd) = fd {
        // Without it, a process is looked at every 10 ms, or when SIGCHLD comes.
        let _ = sys::epoll_watch(sys::lend(epoll), fd, watched);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The delays of so many starts, each of which comes to nothing.
    fn delay_ms(back_off: (u64, u64), failures: u32) -> u64 {
        (0..=failures).fold(0, |delay, _| longer(delay, back_off))
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        let after = |failures| delay_ms((100, 5_000), failures);
        assert_eq!(
            [0, 1, 2, 5, 6, 7].map(after),
            [100, 200, 400, 3_200, 5_000, 5_000]
        );
        for failures in [31, 32, 33, 63, 64, 1_000] {
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
