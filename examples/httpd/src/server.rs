//! The event loop: listeners, clients, signals, a successor in the making.

use gracenet::signal::{Signal, Signals};
use gracenet::{Deadline, Handle, Net, Program, monotonic_ms};
use gracenet_httpd::args::{LISTENERS, Options};
use gracenet_httpd::http::Identity;
use gracenet_httpd::table::{Key, NEVER, Set, Table};
use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

use crate::connection::{Around, Connection, Happened, Next};
use crate::log::{self, Log};

/// How long a successor may take until it is ready, in milliseconds.
const READY: u64 = 10_000;

/// How long accepting rests when the kernel has no room for another socket, if
/// no connection ends before.
const PAUSE: u64 = 1_000;

/// How often to look after a successor whose channel is closed.
const TICK: u64 = 50;

/// As many are accepted before everyone else gets their turn.
const ACCEPTS: usize = 64;

/// As many events are taken at a time.
const EVENTS: usize = 64;

/// What an epoll event is about: the kind in the highest bits, the rest below.
const KIND: u32 = 48;
const CLIENT: u64 = 0;
const SIGNAL: u64 = 1;
const SUCCESSOR: u64 = 2;
const LISTENER: u64 = 3;

/// Whether new clients are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepting {
    Yes,
    /// Not until there is room; looked at again at this time.
    Paused(u64),
    Never,
}

/// What the event loop is made of.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) log: Log,
    pub(crate) program: &'a Program<'a>,
    pub(crate) net: &'a mut Net<LISTENERS>,
    pub(crate) listeners: &'a [Handle],
    pub(crate) signals: &'a Signals,
    pub(crate) table: &'a mut Table<Connection>,
    pub(crate) identity: Identity<'a>,
}

/// The whole program, once it listens.
#[derive(Debug)]
pub(crate) struct Server<'a> {
    parts: Parts<'a>,
    accepting: Accepting,
    epoll: OwnedFd,
    /// Those that have more to do without waiting for anything.
    busy: Set,
    most: usize,
    drain_ms: u64,
    /// Until when the successor must be ready.
    upgrade: Option<u64>,
    /// Until when everything must be closed.
    draining: Option<u64>,
    terminated: bool,
    /// Until when it has been said that nothing can be accepted.
    complain_at: u64,
}

impl<'a> Server<'a> {
    /// Puts everything into one epoll.
    pub(crate) fn new(parts: Parts<'a>, options: &Options<'_>) -> Result<Self, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        watch(
            &epoll,
            parts.signals.as_fd(),
            SIGNAL << KIND,
            epoll::EventFlags::IN,
        )?;
        let mut server = Server {
            parts,
            accepting: Accepting::Paused(0),
            epoll,
            busy: Set::new(),
            most: options.max_connections.into(),
            drain_ms: options.drain_ms.into(),
            upgrade: None,
            draining: None,
            terminated: false,
            complain_at: 0,
        };
        server.resume()?;
        Ok(server)
    }

    /// Tells the predecessor, if there is one, that it can go.
    pub(crate) fn ready(&mut self) -> Result<(), Errno> {
        self.parts.net.ready().map_err(Errno::from)
    }

    /// Serves until there is nothing left to do: the exit status.
    pub(crate) fn run(&mut self) -> i32 {
        let mut events = [NO_EVENT; EVENTS];
        let mut scratch = [0; 4096];
        let mut now = monotonic_ms();
        loop {
            let wait = self.wait_ms(now).map(|ms| Timespec {
                tv_sec: (ms / 1000) as i64,
                tv_nsec: (ms % 1000 * 1_000_000) as _,
            });
            let come = match epoll::wait(&self.epoll, &mut events, wait.as_ref()) {
                Ok(come) => come,
                Err(Errno::INTR) => 0,
                Err(errno) => {
                    self.parts.log.fail("epoll_wait", &errno);
                    return 1;
                }
            };
            now = monotonic_ms();
            let mut turn = Turn {
                now,
                scratch: &mut scratch,
            };
            for event in events.get(..come).unwrap_or_default() {
                let data = event.data.u64();
                match data >> KIND {
                    CLIENT => {
                        let key = Key::from_bits(data);
                        self.client(key, &mut turn, Happened::Event(event.flags));
                    }
                    SIGNAL if self.read_signals(&mut turn) => return 0,
                    LISTENER => self.accept((data & 0xff) as usize, &mut turn),
                    // The successor is looked after in any case.
                    _ => {}
                }
            }
            self.look_after_successor(turn.now);
            self.go_on(&mut turn);
            self.expire(&mut turn);
            if matches!(self.accepting, Accepting::Paused(until) if until <= turn.now) {
                let _ = self.resume();
            }
            if self.draining.is_some() && self.parts.table.is_empty() {
                self.parts.log.say("drained", None);
                return 0;
            }
        }
    }

    /// How long there is nothing to do, if nothing happens.
    fn wait_ms(&mut self, now: u64) -> Option<u64> {
        if !self.busy.is_empty() {
            return Some(0);
        }
        let mut until = self.parts.table.earliest();
        if let Accepting::Paused(end) = self.accepting {
            until = until.min(end);
        }
        if let Some(end) = self.upgrade {
            let silent = self
                .parts
                .net
                .successor()
                .is_none_or(|one| one.channel().is_none());
            until = until.min(if silent { now + TICK } else { end });
        }
        if let Some(end) = self.draining {
            until = until.min(end);
        }
        (until != NEVER).then(|| until.saturating_sub(now))
    }

    // Clients.

    /// Accepts what waits, as far as there is room.
    fn accept(&mut self, index: usize, turn: &mut Turn<'_>) {
        let Some(&listener) = self.parts.listeners.get(index) else {
            return;
        };
        for _ in 0..ACCEPTS {
            if self.accepting != Accepting::Yes {
                return;
            }
            if self.parts.table.len() >= self.most {
                // A connection's end resumes.
                return self.pause(NEVER);
            }
            match self.parts.net.accept(listener).map_err(Errno::from) {
                Ok(socket) => self.admit(socket, turn),
                Err(Errno::AGAIN) => return,
                // This one is gone already, or was refused to us; there may be others.
                Err(
                    Errno::INTR
                    | Errno::CONNABORTED
                    | Errno::PROTO
                    | Errno::PERM
                    | Errno::NETDOWN
                    | Errno::NOPROTOOPT
                    | Errno::HOSTDOWN
                    | Errno::NONET
                    | Errno::HOSTUNREACH
                    | Errno::OPNOTSUPP
                    | Errno::NETUNREACH,
                ) => {}
                // EMFILE, ENFILE, ENOBUFS, ENOMEM: it waits, and would be reported
                // again at once.
                Err(errno) => {
                    if self.complain_at <= turn.now {
                        self.parts.log.fail("accept4", &errno);
                        self.complain_at = turn.now + PAUSE;
                    }
                    return self.pause(turn.now + PAUSE);
                }
            }
        }
    }

    fn admit(&mut self, socket: OwnedFd, turn: &mut Turn<'_>) {
        let connection = Connection::new(socket, turn.now);
        let deadline = connection.deadline();
        let Ok(key) = self.parts.table.insert(connection, deadline) else {
            return;
        };
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        let watched = match self.parts.table.thing(key) {
            Some(client) => watch(
                &self.epoll,
                client.as_fd(),
                CLIENT << KIND | key.to_bits(),
                flags,
            ),
            None => return,
        };
        if watched.is_err() {
            self.parts.table.remove(key);
        } else {
            // Often the request is there already.
            self.client(key, turn, Happened::Nothing);
        }
    }

    /// Lets a connection do something, and does what it says then.
    fn client(&mut self, key: Key, turn: &mut Turn<'_>, happened: Happened) {
        let Some(client) = self.parts.table.thing(key) else {
            return;
        };
        let mut around = Around {
            now: turn.now,
            draining: self.draining.is_some(),
            identity: self.parts.identity,
            scratch: turn.scratch,
        };
        let next = client.act(happened, &mut around);
        let deadline = client.deadline();
        match next {
            Next::Wait => self.busy.drop(key),
            Next::Again => self.busy.add(key),
            Next::Close => {
                self.busy.drop(key);
                // Closing takes it out of epoll: nobody else has a copy of it.
                self.parts.table.remove(key);
                if matches!(self.accepting, Accepting::Paused(_)) {
                    let _ = self.resume();
                }
                return;
            }
        }
        self.parts.table.set_deadline(key, deadline);
    }

    fn go_on(&mut self, turn: &mut Turn<'_>) {
        let mut last = None;
        while let Some(key) = self.parts.table.next_of(&self.busy, last) {
            self.client(key, turn, Happened::Nothing);
            last = Some(key);
        }
    }

    fn expire(&mut self, turn: &mut Turn<'_>) {
        let mut last = None;
        while let Some(key) = self.parts.table.next_expired(turn.now, last) {
            self.client(key, turn, Happened::Deadline);
            last = Some(key);
        }
        if self.draining.is_some_and(|end| end <= turn.now) {
            let mut cut = 0;
            while let Some(key) = self.parts.table.next(None) {
                self.parts.table.remove(key);
                cut += 1;
            }
            if cut > 0 {
                self.parts
                    .log
                    .say("drain deadline: connections closed: ", Some(cut));
            }
        }
    }

    // Listeners.

    /// Takes the listeners out of epoll: who connects waits with the kernel.
    fn pause(&mut self, until: u64) {
        if self.accepting == Accepting::Yes {
            for &listener in self.parts.listeners {
                if let Ok(socket) = self.parts.net.borrow(listener) {
                    let _ = epoll::delete(&self.epoll, socket);
                }
            }
        }
        self.accepting = Accepting::Paused(until);
    }

    fn resume(&mut self) -> Result<(), Errno> {
        if !matches!(self.accepting, Accepting::Paused(_)) {
            return Ok(());
        }
        self.accepting = Accepting::Yes;
        for (index, &listener) in (0..).zip(self.parts.listeners) {
            let socket = self.parts.net.borrow(listener)?;
            match watch(
                &self.epoll,
                socket,
                LISTENER << KIND | index,
                epoll::EventFlags::IN,
            ) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => {
                    self.pause(monotonic_ms() + PAUSE);
                    return Err(errno);
                }
            }
        }
        Ok(())
    }

    /// Accepts nobody any more, and ends when everybody has been served.
    fn drain(&mut self, now: u64) {
        // Out of epoll before they are closed: while the successor has them, epoll
        // would go on to report a number that is another's by then.
        self.pause(NEVER);
        self.accepting = Accepting::Never;
        self.parts.net.retire();
        self.draining = Some(now.saturating_add(self.drain_ms));
    }

    // Signals and the successor.

    /// Whether to end at once.
    fn read_signals(&mut self, turn: &mut Turn<'_>) -> bool {
        while let Ok(Some(received)) = self.parts.signals.read() {
            match received.signal {
                Signal::USR2 | Signal::HUP => self.start_successor(turn.now),
                Signal::TERM | Signal::INT => {
                    if self.terminated {
                        return true;
                    }
                    self.terminated = true;
                    self.terminate(turn);
                }
                // SIGPIPE is only blocked: a log that nobody reads must not end us.
                _ => {}
            }
        }
        false
    }

    fn terminate(&mut self, turn: &mut Turn<'_>) {
        if self.draining.is_some() {
            return;
        }
        // Those who wait already have no successor to wait for.
        for index in 0..self.parts.listeners.len() {
            self.accept(index, turn);
        }
        if self.upgrade.is_some()
            && let Some(successor) = self.parts.net.successor()
        {
            successor.kill();
        }
        self.parts.log.say("terminating", None);
        self.drain(turn.now);
    }

    fn start_successor(&mut self, now: u64) {
        if self.draining.is_some() {
            return;
        }
        if self.upgrade.is_some() {
            return self.parts.log.say("successor already in progress", None);
        }
        match self.parts.net.start_process(self.parts.program) {
            Ok(successor) => {
                let pid = successor.pid().as_raw_nonzero().get().unsigned_abs();
                let mut line = self.parts.log.begin();
                log::write(line.push("successor ").number(pid.into()).push(" started"));
                self.upgrade = Some(now + READY);
                if let Some(channel) = successor.channel() {
                    let _ = watch(
                        &self.epoll,
                        channel,
                        SUCCESSOR << KIND,
                        epoll::EventFlags::IN,
                    );
                }
                if let Some(pidfd) = successor.pidfd() {
                    let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
                    let _ = watch(&self.epoll, pidfd, SUCCESSOR << KIND, flags);
                }
            }
            Err(error) => self.parts.log.fail("successor failed: ", &error),
        }
    }

    fn look_after_successor(&mut self, now: u64) {
        let Some(end) = self.upgrade else { return };
        let Some(successor) = self.parts.net.successor() else {
            self.upgrade = None;
            return;
        };
        let deadline = Deadline::after_ms(end.saturating_sub(now));
        let Some(outcome) = successor.try_wait(deadline) else {
            return;
        };
        if let Some(channel) = successor.channel() {
            let _ = epoll::delete(&self.epoll, channel);
        }
        if let Some(pidfd) = successor.pidfd() {
            let _ = epoll::delete(&self.epoll, pidfd);
        }
        let pid = successor.pid().as_raw_nonzero().get().unsigned_abs();
        self.upgrade = None;
        match outcome {
            Ok(()) => {
                let mut line = self.parts.log.begin();
                log::write(line.push("successor ").number(pid.into()).push(" ready"));
                if self.draining.is_none() {
                    self.drain(now);
                }
            }
            Err(failure) => self.parts.log.fail("successor failed: ", &failure),
        }
    }
}

/// What is the same for all events that were taken at a time.
struct Turn<'a> {
    now: u64,
    scratch: &'a mut [u8],
}

const NO_EVENT: epoll::Event = epoll::Event {
    flags: epoll::EventFlags::empty(),
    data: epoll::EventData::new_u64(0),
};

fn watch(
    epoll: &OwnedFd,
    fd: BorrowedFd<'_>,
    data: u64,
    flags: epoll::EventFlags,
) -> Result<(), Errno> {
    epoll::add(epoll, fd, epoll::EventData::new_u64(data), flags)
}
