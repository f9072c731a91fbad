//! The event loop: listeners, clients, signals, a successor in the making.

use core::mem::MaybeUninit;

use gracenet::signal::{Signal, Signals};
use gracenet::{Deadline, Handle, NetView, Program, monotonic_ms};
use gracenet_httpd::args::{LISTENERS, Options};
use gracenet_httpd::table::{NEVER, PLACES, Table};
use linux_raw_sys::errno::{
    EAGAIN, ECONNABORTED, EHOSTDOWN, EHOSTUNREACH, EINTR, ENETDOWN, ENETUNREACH, ENONET,
    ENOPROTOOPT, EOPNOTSUPP, EPERM, EPROTO,
};
use rustix::fd::{AsFd, OwnedFd};

use crate::connection::{Around, Connection};
use crate::log::{self, Log, NONE};
use crate::report::Report as _;
use crate::sys::{EPOLLERR, EPOLLET, EPOLLIN, EPOLLOUT, EPOLLRDHUP, Epoll, Errno};

/// How long a successor may take until it is ready, in milliseconds.
const READY: u64 = 10_000;

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
const LISTENER: usize = PLACES + 2;

/// The whole program, once it listens.
#[derive(Debug)]
pub(crate) struct Server<'a> {
    pub(crate) log: Log,
    pub(crate) program: &'a Program<'a>,
    pub(crate) options: &'a Options<'a>,
    pub(crate) net: &'a mut NetView,
    pub(crate) listeners: &'a [Handle],
    pub(crate) signals: &'a Signals,
    pub(crate) epoll: Epoll,
    pub(crate) clients: &'a mut Table<Connection>,
    pub(crate) around: Around<'a>,
    pub(crate) state: State,
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
    /// Until when the successor must be ready.
    upgrade: Deadline,
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
            upgrade: Deadline::NEVER,
            drain: NEVER,
            terminated: false,
        }
    }
}

impl Server<'_> {
    /// Begins to accept, and tells the predecessor, if there is one, that it can go.
    #[inline(never)]
    pub(crate) fn begin(&mut self) -> Result<(), Errno> {
        self.epoll.add(&self.signals.as_fd(), SIGNAL, EPOLLIN)?;
        self.set_accepting(true)?;
        Ok(self.net.ready()?)
    }

    /// Serves until there is nothing left to do: the exit status.
    #[inline(never)]
    pub(crate) fn run(&mut self) -> i32 {
        let mut room = [const { MaybeUninit::uninit() }; EVENTS];
        loop {
            let events = match self.epoll.wait(&mut room, self.wait_ms()) {
                Ok(events) => events,
                Err(Errno::INTR) => &[],
                Err(errno) => {
                    errno.report(self.log, b"epoll_wait");
                    return 1;
                }
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
                return 0;
            }
            for index in 0..LISTENERS {
                if others >> (LISTENER - PLACES + index) & 1 != 0 {
                    self.accept(index);
                }
            }
            self.look_after_successor();
            self.look_after_clients();
            if self.state.resume_at <= self.around.now {
                self.state.resume_at = NEVER;
                if !self.around.draining && self.set_accepting(true).is_err() {
                    self.pause(self.around.now + PAUSE);
                }
            }
            if self.around.draining && self.clients.is_empty() {
                self.log.say("drained", NONE);
                return 0;
            }
        }
    }

    /// How long there is nothing to do, if nothing happens.
    fn wait_ms(&self) -> u32 {
        let state = &self.state;
        let mut until = state.earliest.min(state.resume_at).min(state.drain);
        if state.upgrade != Deadline::NEVER {
            until = until.min(self.around.now + TICK);
        }
        until.saturating_sub(self.around.now).min(LONGEST_WAIT) as u32
    }

    // Clients.

    /// Accepts what waits, as far as there is room.
    #[inline(never)]
    fn accept(&mut self, index: usize) {
        let Some(&listener) = self.listeners.get(index) else {
            return;
        };
        for _ in 0..ACCEPTS {
            if !self.state.accepting {
                return;
            }
            if self.clients.len() >= self.options.max_connections {
                // A connection's end resumes.
                return self.pause(NEVER);
            }
            let error = match self.net.accept(listener) {
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
                        error.report(self.log, b"");
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
            self.log.say("drain deadline: connections closed: ", cut);
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
        for (index, &listener) in self.listeners.iter().enumerate() {
            let socket = self.net.borrow(listener)?;
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
        self.net.retire();
        self.around.draining = true;
        self.state.drain = self.around.now + self.options.drain_ms;
    }

    // Signals and the successor.

    /// Whether to end at once.
    fn read_signals(&mut self) -> bool {
        while let Ok(Some(received)) = self.signals.read() {
            match received.signal {
                Signal::USR2 | Signal::HUP => self.start_successor(),
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

    #[inline(never)]
    fn terminate(&mut self) {
        if self.around.draining {
            return;
        }
        // Those who wait already have no successor to wait for.
        for index in 0..LISTENERS {
            self.accept(index);
        }
        if self.state.upgrade != Deadline::NEVER
            && let Some(successor) = self.net.successor()
        {
            successor.kill();
        }
        self.log.say("terminating", NONE);
        self.drain();
    }

    fn start_successor(&mut self) {
        if self.around.draining {
            return;
        }
        if self.state.upgrade != Deadline::NEVER {
            return self.log.say("successor already in progress", NONE);
        }
        match self.net.start_process(self.program) {
            Ok(successor) => {
                self.state.upgrade = Deadline::after_ms(READY);
                // Edge-triggered, so that they say nothing twice: nobody takes them
                // out before they are closed.
                for fd in [successor.channel(), successor.pidfd()]
                    .into_iter()
                    .flatten()
                {
                    let _ = self.epoll.add(&fd, SUCCESSOR, EPOLLIN | EPOLLET);
                }
                let pid = successor.pid();
                self.log_successor(pid, " started");
            }
            Err(error) => error.report(self.log, FAILED),
        }
    }

    fn look_after_successor(&mut self) {
        if self.state.upgrade == Deadline::NEVER {
            return;
        }
        let Some(successor) = self.net.successor() else {
            return;
        };
        let Some(outcome) = successor.try_wait(self.state.upgrade) else {
            return;
        };
        self.state.upgrade = Deadline::NEVER;
        match outcome {
            Ok(()) => {
                let pid = successor.pid();
                self.log_successor(pid, " ready");
                self.drain();
            }
            Err(failure) => failure.report(self.log, FAILED),
        }
    }

    #[inline(never)]
    fn log_successor(&self, pid: rustix::process::Pid, what: &str) {
        let pid = pid.as_raw_nonzero().get().unsigned_abs();
        let mut line = self.log.begin();
        log::write(line.push("successor ").number(pid.into()).push(what));
    }
}

const FAILED: &[u8] = b"successor failed: ";
