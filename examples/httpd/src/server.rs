//! The event loop: listeners, clients, signals, a successor in the making.

use core::mem::MaybeUninit;

use gracenet::notify::Receiver;
use gracenet::signal::{Received, Signal, Signals};
use gracenet::{Changes, Deadline, PidFile, Program, StartError, monotonic_ms};
use gracenet_httpd::args::{self, LISTENERS, Number};
use gracenet_httpd::table::{NEVER, PLACES, Table};
use gracenet_httpd::{FULL, SYSTEMD};
use gracenet_start::exit;
use gracenet_words::report::Why;
use linux_raw_sys::errno::{
    EAGAIN, ECONNABORTED, EHOSTDOWN, EHOSTUNREACH, EINTR, ENETDOWN, ENETUNREACH, ENONET,
    ENOPROTOOPT, EOPNOTSUPP, EPERM, EPROTO,
};
use rustix::fd::{AsFd, OwnedFd};

use crate::around::Around;
use crate::connection::Connection;
use crate::log::{self, Log};
use crate::manager::Manager;
use crate::sys::{EPOLLERR, EPOLLET, EPOLLIN, EPOLLOUT, EPOLLRDHUP, Epoll, Errno};

/// How long accepting rests when the kernel has no room for another socket, if
/// no connection ends before.
const PAUSE: u64 = 1_000;

/// How often to look after a successor, whatever epoll says of it.
const TICK: u64 = 50;

/// The longest wait of all, which the kernel takes as an int.
const LONGEST_WAIT: u64 = 1_000_000_000;

/// As many are accepted before everyone else gets their turn.
const ACCEPTS: usize = 64;

/// As many events are taken at a time.
const EVENTS: usize = 64;

/// What an epoll event is about: the place of a client, or one of these. The
/// listeners are the last, each with its index added.
const SIGNAL: usize = PLACES;
const SUCCESSOR: usize = PLACES + 1;
const PREDECESSOR: usize = PLACES + 2;
const LISTENER: usize = PLACES + 3;

/// The whole program, once it listens.
#[derive(Debug)]
pub(crate) struct Server<'a> {
    pub(crate) log: Log,
    pub(crate) program: &'a Program<'a>,
    pub(crate) signals: &'a Signals,
    pub(crate) epoll: Epoll,
    pub(crate) clients: &'a mut Table<Connection>,
    pub(crate) around: Around<'a>,
    pub(crate) state: State,
    pub(crate) pid_file: Option<PidFile<'a>>,
    /// What a foreign successor has to say.
    pub(crate) receiver: Option<Receiver>,
    pub(crate) manager: Manager,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It is not ready, and accepts nobody.
    Starting,
    /// It serves.
    Serving,
    /// It serves, and so will a successor.
    Upgrading,
    /// The successor serves, and may still fail.
    Probation,
    /// It ends when everybody has been served.
    Draining,
}

/// What the server is about. A time is [`NEVER`] where there is nothing to wait
/// for.
#[derive(Debug)]
pub(crate) struct State {
    /// The listeners are in the epoll.
    accepting: bool,
    /// When to put them there.
    resume_at: u64,
    /// Until when it has been said that nothing can be accepted.
    complain_at: u64,
    /// No client is to be looked after earlier.
    earliest: u64,
    phase: Phase,
    /// Until when the successor must be ready, or hold out.
    successor: Deadline,
    /// Until when everything must be closed.
    drain: u64,
    terminated: bool,
}

impl State {
    pub(crate) const fn new() -> Self {
        State {
            accepting: false,
            resume_at: NEVER,
            complain_at: 0,
            earliest: NEVER,
            phase: Phase::Starting,
            successor: Deadline::NEVER,
            drain: NEVER,
            terminated: false,
        }
    }
}

impl Server<'_> {
    /// Serves until there is nothing left to do: the exit status.
    pub(crate) fn run(&mut self) -> i32 {
        let mut status = 0;
        if let Err(errno) = self.turn() {
            self.log.fail("cannot serve: ", errno);
            status = 1;
        }
        if FULL && let Some(Err(error)) = self.pid_file.take().map(PidFile::remove) {
            self.log.fail(PID_FILE, error);
        }
        status
    }

    #[inline(never)]
    fn turn(&mut self) -> Result<(), Errno> {
        self.epoll = Epoll::new()?;
        self.epoll.add(&self.signals.as_fd(), SIGNAL, EPOLLIN)?;
        let now = monotonic_ms();
        self.around.now = now;
        self.around.started = now;
        self.state.resume_at = now + self.number(Number::StartDelay);
        let mut room = [const { MaybeUninit::uninit() }; EVENTS];
        loop {
            if self.state.resume_at <= self.around.now {
                self.state.resume_at = NEVER;
                match self.state.phase {
                    Phase::Starting => self.begin()?,
                    Phase::Serving | Phase::Upgrading => {
                        if self.set_accepting(true).is_err() {
                            self.pause(self.around.now + PAUSE);
                        }
                    }
                    Phase::Probation | Phase::Draining => {}
                }
            }
            let events = match self.epoll.wait(&mut room, self.wait_ms()) {
                Ok(events) => events,
                Err(Errno::INTR) => &[],
                Err(errno) => return Err(errno),
            };
            self.around.now = monotonic_ms();
            let mut others = 0_u32;
            for event in events {
                let about = event.data as usize;
                if about < PLACES {
                    self.client(about, event.events);
                } else {
                    others |= 1 << (about - PLACES);
                }
            }
            // Whatever accepts comes behind: before, it could give the place of a
            // client that has just ended to a new one, which the next event would
            // be taken for.
            if others & 1 << (SIGNAL - PLACES) != 0 && self.read_signals() {
                return Ok(());
            }
            for index in 0..LISTENERS {
                if others >> (LISTENER - PLACES + index) & 1 != 0 {
                    self.accept(index);
                }
            }
            if SYSTEMD {
                if others & 1 << (PREDECESSOR - PLACES) != 0 {
                    self.look_after_predecessor();
                }
                self.manager.ping(self.around.now);
            }
            self.look_after_successor();
            self.look_after_clients();
            if self.around.draining && self.clients.is_empty() {
                self.log.say("drained");
                return Ok(());
            }
        }
    }

    /// Begins to accept, and tells the predecessor, if there is one, that it can go.
    fn begin(&mut self) -> Result<(), Errno> {
        let status = self.number(Number::FailStart);
        if FULL && status != args::READY.into() {
            self.log.say("failing, as asked");
            exit(status as i32);
        }
        self.set_accepting(true)?;
        if SYSTEMD {
            self.manager.look_at_rest(self.around.net);
        }
        self.around.net.ready()?;
        self.state.phase = Phase::Serving;
        self.log.say("ready");
        self.write_pid_file();
        if SYSTEMD {
            match self.around.net.predecessor() {
                None => self.manager.begin(self.around.net),
                // It speaks for us until it says that it is us who do.
                Some(predecessor) => {
                    let events = EPOLLIN | EPOLLET;
                    self.epoll.add(&predecessor.as_fd(), PREDECESSOR, events)?;
                    let probation = self.number(Number::Probation);
                    self.manager.be_silent(self.around.now + probation);
                    self.look_after_predecessor();
                }
            }
        }
        Ok(())
    }

    /// Once it has gone, it is us to whom the manager listens.
    fn look_after_predecessor(&mut self) {
        let predecessor = self.around.net.predecessor();
        if predecessor.is_some_and(|predecessor| predecessor.is_gone() == Ok(true)) {
            self.manager.take_over(self.around.net);
        }
    }

    #[inline(never)]
    fn write_pid_file(&mut self) {
        let path = self.around.options.pid_file;
        if !FULL || path.is_empty() {
            return;
        }
        let written = match &self.pid_file {
            Some(pid_file) => pid_file.write_again(),
            None => PidFile::write(path).map(|pid_file| self.pid_file = Some(pid_file)),
        };
        if let Err(error) = written {
            self.log.fail(PID_FILE, error);
        }
    }

    fn number(&self, which: Number) -> u64 {
        self.around.options.number(which).into()
    }

    /// How long there is nothing to do, if nothing happens.
    fn wait_ms(&self) -> u32 {
        let state = &self.state;
        let mut until = state.earliest.min(state.resume_at).min(state.drain);
        if matches!(state.phase, Phase::Upgrading | Phase::Probation) {
            until = until.min(self.around.now + TICK);
        }
        if SYSTEMD {
            until = until.min(self.manager.due(self.around.now));
        }
        until.saturating_sub(self.around.now).min(LONGEST_WAIT) as u32
    }

    // Clients.

    /// Accepts what waits, as far as there is room.
    #[inline(never)]
    fn accept(&mut self, index: usize) {
        let Some(&listener) = self.around.listeners.get(index) else {
            return;
        };
        for _ in 0..ACCEPTS {
            if !self.state.accepting {
                return;
            }
            if self.clients.len() as u64 >= self.number(Number::MaxConnections) {
                // A connection's end resumes.
                return self.pause(NEVER);
            }
            let error = match self.around.net.accept(listener) {
                Ok(socket) => {
                    self.admit(socket);
                    continue;
                }
                Err(error) => error,
            };
            match error.raw_os_error().unsigned_abs() {
                EAGAIN => return,
                // This one is gone already, or was refused to us; there may be others.
                EINTR | ECONNABORTED | EPROTO | EPERM | ENETDOWN | ENOPROTOOPT | EHOSTDOWN
                | ENONET | EHOSTUNREACH | EOPNOTSUPP | ENETUNREACH => {}
                // EMFILE, ENFILE, ENOBUFS, ENOMEM: it waits, and would be reported
                // again at once.
                _ => {
                    let later = self.around.now + PAUSE;
                    if self.state.complain_at <= self.around.now {
                        self.log.fail("", error);
                        self.state.complain_at = later;
                    }
                    return self.pause(later);
                }
            }
        }
    }

    fn admit(&mut self, socket: OwnedFd) {
        let client = Connection::new(socket, self.around.now);
        let Some(place) = self.clients.insert(client) else {
            return;
        };
        let Some(client) = self.clients.thing(place) else {
            return;
        };
        let flags = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
        // Often the request is there already.
        let events = match self.epoll.add(client.socket(), place, flags) {
            Ok(()) => 0,
            Err(_) => EPOLLERR,
        };
        self.client(place, events);
    }

    /// Lets a client do something, and does what it says then.
    #[inline(never)]
    fn client(&mut self, place: usize, events: u32) {
        self.around.connections = self.clients.len();
        let Some(client) = self.clients.thing(place) else {
            return;
        };
        if let Some(due) = client.act(events, &mut self.around) {
            self.clients.set_due(place, due);
            self.state.earliest = self.state.earliest.min(due);
        } else {
            // Closing takes it out of epoll: nobody else has a copy of it.
            self.clients.remove(place);
            self.state.resume_at = 0;
        }
    }

    /// Those whose time has come, and those who have more to do at once.
    fn look_after_clients(&mut self) {
        let now = self.around.now;
        if self.state.earliest <= now {
            let mut from = 0;
            while let Some(place) = self.clients.next_due(now, from) {
                self.client(place, 0);
                from = place + 1;
            }
            self.state.earliest = self.clients.earliest();
        }
        if self.state.drain <= now && !self.clients.is_empty() {
            let cut = self.clients.len() as u64;
            let mut line = self.log.begin("drain deadline: connections closed: ");
            log::write(line.number(cut));
            for place in 0..PLACES {
                self.clients.remove(place);
            }
        }
    }

    // Listeners.

    /// Leaves those who connect with the kernel, until then.
    fn pause(&mut self, until: u64) {
        // Taking them out does not fail.
        let _ = self.set_accepting(false);
        self.state.resume_at = until;
    }

    /// Puts the listeners into the epoll, or takes them out.
    #[inline(never)]
    fn set_accepting(&mut self, accepting: bool) -> Result<(), Errno> {
        if self.state.accepting == accepting {
            return Ok(());
        }
        self.state.accepting = accepting;
        for (index, &listener) in self.around.listeners.iter().enumerate() {
            let socket = self.around.net.borrow(listener)?;
            if accepting {
                self.epoll.add(&socket, LISTENER + index, EPOLLIN)?;
            } else {
                let _ = self.epoll.delete(&socket);
            }
        }
        Ok(())
    }

    /// Accepts nobody any more, and ends when everybody has been served.
    fn drain(&mut self) {
        if self.around.draining {
            return;
        }
        // Out of epoll before they are closed: while the successor has them, epoll
        // would go on to report a number that is another's by then.
        self.pause(NEVER);
        self.around.net.retire();
        self.around.draining = true;
        self.state.phase = Phase::Draining;
        self.state.drain = self.around.now + self.number(Number::Drain);
        if SYSTEMD {
            self.manager.drain(self.number(Number::Drain));
        }
    }

    // Signals and the successor.

    /// Whether to end at once.
    fn read_signals(&mut self) -> bool {
        while let Ok(Some(received)) = self.signals.read() {
            match received.signal {
                Signal::USR2 | Signal::HUP => self.start_successor(),
                Signal::TERM if SYSTEMD && self.says_ready(received) => {}
                Signal::TERM | Signal::INT => {
                    if self.state.terminated {
                        return true;
                    }
                    self.state.terminated = true;
                    self.terminate();
                }
                // SIGPIPE is only blocked: a log that nobody reads must not end us.
                _ => {}
            }
        }
        false
    }

    /// Whether this is how a successor of gracehttp's kind says that it serves.
    fn says_ready(&mut self, received: Received) -> bool {
        // Of one that has failed, the pid may be another's by now.
        if self.around.options.foreign
            && self.state.phase != Phase::Serving
            && let Some(successor) = self.around.net.successor()
            && received.pid == successor.pid().as_raw_nonzero().get().unsigned_abs()
        {
            successor.declare_ready();
            return true;
        }
        false
    }

    #[inline(never)]
    fn terminate(&mut self) {
        // It may just have become ready: then it is the one who serves.
        self.look_after_successor();
        if self.around.draining {
            return;
        }
        // Those who wait already have no successor to wait for.
        for index in 0..LISTENERS {
            self.accept(index);
        }
        if self.state.phase == Phase::Upgrading
            && let Some(successor) = self.around.net.successor()
        {
            successor.kill();
        }
        self.log.say("terminating");
        self.drain();
    }

    fn start_successor(&mut self) {
        match self.state.phase {
            Phase::Serving => {}
            Phase::Starting => return self.log.say("not ready yet"),
            Phase::Upgrading | Phase::Probation => {
                if SYSTEMD {
                    self.reloading();
                }
                return self.log.say("successor already in progress");
            }
            Phase::Draining => return,
        }
        if SYSTEMD {
            self.reloading();
        }
        // Were we to end before its probation of us does, it would serve again.
        if self.number(Number::Probation) > 0
            && let Some(predecessor) = self.around.net.predecessor()
            && predecessor.is_gone() == Ok(false)
        {
            const WHY: &str = "predecessor has not ended";
            if SYSTEMD {
                self.manager.serve_on("", WHY.as_bytes());
            }
            return self.log.say(WHY);
        }
        let timeout = self.number(Number::ReadyTimeout);
        let started = match SYSTEMD && self.around.options.foreign {
            true => self.start_foreign(),
            false => self.around.net.start_process(self.program).map(drop),
        };
        match started {
            Ok(()) => {
                self.state.phase = Phase::Upgrading;
                self.state.successor = Deadline::after_ms(timeout);
                let Some(successor) = self.around.net.successor() else {
                    return;
                };
                // Edge-triggered, so that they say nothing twice: nobody takes them
                // out before they are closed.
                for fd in [
                    successor.channel(),
                    successor.pidfd(),
                    self.receiver.as_ref().map(Receiver::as_fd),
                ]
                .into_iter()
                .flatten()
                {
                    let _ = self.epoll.add(&fd, SUCCESSOR, EPOLLIN | EPOLLET);
                }
                let pid = successor.pid();
                self.log_successor(pid, " started");
            }
            Err(error) => {
                self.why(error);
                self.has_failed("");
            }
        }
    }

    /// Starts a program that knows systemd's protocols and nothing of ours.
    #[inline(never)]
    fn start_foreign(&mut self) -> Result<(), StartError> {
        let receiver = self.receiver.insert(Receiver::new()?);
        let variables = [receiver.variable()];
        let changes = Changes::new().foreign().set(&variables);
        let started = self.around.net.start_process_with(self.program, &changes);
        started.map(drop)
    }

    #[inline(never)]
    fn look_after_successor(&mut self) {
        let phase = self.state.phase;
        let Some(successor) = self.around.net.successor() else {
            return;
        };
        let outcome = match phase {
            Phase::Upgrading => match &self.receiver {
                Some(receiver) if SYSTEMD => receiver.try_wait(successor, self.state.successor),
                _ => successor.try_wait(self.state.successor),
            },
            Phase::Probation if FULL => successor.try_probation(self.state.successor),
            _ => return,
        };
        let pid = successor.pid();
        // Unread, it would fill, and hold up whoever has more to say.
        if SYSTEMD && outcome.is_some() {
            self.receiver = None;
        }
        match outcome {
            None => {}
            Some(Err(failure)) => {
                self.state.phase = Phase::Serving;
                self.why(failure);
                let mut accepts = "";
                if FULL && phase == Phase::Probation {
                    accepts = "accepting again, ";
                    self.state.resume_at = 0;
                    self.write_pid_file();
                }
                self.has_failed(accepts);
            }
            Some(Ok(())) => {
                let probation = self.number(Number::Probation);
                if phase == Phase::Upgrading {
                    self.log_successor(pid, " ready");
                    if FULL && probation > 0 {
                        self.pause(NEVER);
                        self.state.phase = Phase::Probation;
                        self.state.successor = Deadline::after_ms(probation);
                        return;
                    }
                }
                if SYSTEMD && let Some(successor) = self.around.net.successor() {
                    self.manager.hand_over(successor);
                }
                self.drain();
            }
        }
    }

    /// Tells the manager that a restart is wanted, and how long it may take.
    fn reloading(&mut self) {
        let probation = self.number(Number::Probation);
        let ms = self.number(Number::ReadyTimeout) + probation;
        self.manager.reloading(ms);
    }

    /// Keeps why a restart has come to nothing.
    fn why(&mut self, error: impl Into<Why>) {
        let why = &mut *self.around.last_error;
        why.clear();
        error.into().put(why);
    }

    /// A restart has come to nothing: it is known why.
    #[inline(never)]
    fn has_failed(&mut self, before: &str) {
        if SYSTEMD {
            let why = self.around.last_error.as_bytes();
            self.manager.serve_on("successor failed: ", why);
        }
        self.around.failed += 1;
        let mut line = self.log.begin(before);
        line.push("successor failed: ");
        log::write(line.push(self.around.last_error.as_bytes()));
    }

    #[inline(never)]
    fn log_successor(&self, pid: rustix::process::Pid, what: &str) {
        let pid = pid.as_raw_nonzero().get().unsigned_abs();
        let mut line = self.log.begin("successor ");
        log::write(line.number(pid.into()).push(what));
    }
}

const PID_FILE: &str = "pid file: ";
