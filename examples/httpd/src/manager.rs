//! What systemd is told, and its watchdog.
//!
//! The first process says `READY=1` when it serves. From then on one process at a time speaks, as
//! systemd listens to the main one only (`NotifyAccess=main`):
//!
//! 1. the old one says `RELOADING=1` when it is to replace itself, and goes on to answer the watchdog;
//! 2. when the successor serves, and has held out for its `--probation`, the old one says
//!    `MAINPID=` and `READY=1` in one message, before it drains and ends. Not when the successor
//!    is ready: if it died on probation, systemd would take its death for the service's, and would
//!    end the old one, too, which serves on. So `systemctl reload` takes as long as the probation;
//! 3. when the successor has failed, the old one says `READY=1` and why, and stays.
//!
//! With `--store`, systemd gets copies of all sockets that were not passed by a `.socket` unit,
//! under one name, and passes them to the next process that it starts, which finds its own among
//! them by their addresses.

use gracenet::notify::{Notify, NotifyError, State, Watchdog};
use gracenet::{Deadline, Environ, NetView, Successor, monotonic_ms};
use gracenet_httpd::SYSTEMD;
use gracenet_httpd::args::LISTENERS;
use gracenet_httpd::table::NEVER;
use gracenet_httpd::text::Text;
use heapless::Vec;
use rustix::fd::BorrowedFd;

use crate::log::Log;

/// The name of the sockets that are to be in the fd store, and there.
pub(crate) const STORED: &str = "stored";

/// The service manager, if there is one.
#[derive(Debug)]
pub(crate) struct Manager {
    notify: Option<Notify>,
    watchdog: Option<Watchdog>,
    log: Log,
    /// A successor is the service.
    handed_over: bool,
    /// Until when another process answers its watchdog.
    silent_until: u64,
    /// There is something in its store that nobody wants any more.
    has_rest: bool,
}

impl Manager {
    /// `Manager::new(environ, log)` — The one that the environment tells of.
    pub(crate) fn new(environ: Environ<'_>, log: Log) -> Manager {
        let mut manager = Manager {
            notify: None,
            watchdog: None,
            log,
            handed_over: false,
            silent_until: NEVER,
            has_rest: false,
        };
        if SYSTEMD {
            match Notify::new(environ) {
                Ok(notify) => manager.notify = notify,
                Err(error) => log.fail("", error),
            }
            if manager.notify.is_some() {
                match Watchdog::new(environ) {
                    Ok(watchdog) => manager.watchdog = watchdog,
                    Err(error) => log.fail("", error),
                }
            }
        }
        manager
    }

    /// `manager.begin(net)` — The first process serves.
    pub(crate) fn begin(&mut self, net: &NetView) {
        self.take_over(net);
        self.tell(&[State::Ready, State::Status(SERVING)]);
    }

    /// `manager.look_at_rest(net)` — Remembers, before it is closed, whether something comes
    /// out of the store that nobody listens on.
    pub(crate) fn look_at_rest(&mut self, net: &NetView) {
        let mut entries = net.iter();
        self.has_rest = entries
            .any(|entry| !entry.is_claimed() && entry.name().as_bytes() == STORED.as_bytes());
    }

    /// `manager.be_silent(until)` — Until then, the predecessor answers the watchdog.
    pub(crate) fn be_silent(&mut self, until: u64) {
        self.silent_until = until;
    }

    /// `manager.take_over(net)` — It is us whom the manager listens to: what is to be in its
    /// store is put there.
    #[inline(never)]
    pub(crate) fn take_over(&mut self, net: &NetView) {
        self.silent_until = 0;
        let name = State::FdName(STORED.as_bytes());
        // There is no other way to name one of several.
        if self.has_rest {
            self.has_rest = false;
            self.tell(&[State::FdStoreRemove, name]);
        }
        let mut sockets = Vec::<BorrowedFd<'_>, LISTENERS>::new();
        for entry in net.iter() {
            if entry.name().as_bytes() == STORED.as_bytes()
                && let Ok(socket) = net.borrow(entry.handle())
            {
                let _ = sockets.push(socket);
            }
        }
        if sockets.is_empty() {
            return;
        }
        // Those that it has are not taken twice; and a listener is not to be given up because
        // it looks closed.
        self.send(|notify| {
            let states = [State::FdStore, name, State::FdPoll(false)];
            notify.send_with(&states, &sockets, Deadline::after_ms(PATIENCE))
        });
    }

    /// `manager.reloading(ms)` — It replaces itself, which may take so long.
    pub(crate) fn reloading(&self, ms: u64) {
        self.tell(&[State::Reloading, extend(ms)]);
    }

    /// `manager.serve_on(what, why)` — It has not replaced itself.
    #[inline(never)]
    pub(crate) fn serve_on(&self, what: &str, why: &[u8]) {
        let mut status = Text::new();
        status.push(what).push(why);
        self.tell(&[State::Ready, State::Status(status.as_bytes())]);
    }

    /// `manager.hand_over(successor)` — The successor is the service from now on.
    pub(crate) fn hand_over(&mut self, successor: &Successor) {
        self.send(|notify| notify.handed_over(successor, SERVING));
        self.handed_over = true;
        self.silent_until = NEVER;
    }

    /// `manager.drain(ms)` — It ends, within so long, unless a successor is the service.
    pub(crate) fn drain(&self, ms: u64) {
        if !self.handed_over {
            self.tell(&[State::Stopping, extend(ms)]);
        }
    }

    /// `manager.due(now)` — When to [`ping`](Self::ping).
    pub(crate) fn due(&self, now: u64) -> u64 {
        let left = |watchdog: &Watchdog| watchdog.due().remaining_ms();
        match self.watchdog.as_ref().and_then(left) {
            None => NEVER,
            Some(left) => (now + left).max(self.silent_until),
        }
    }

    /// `manager.ping(now)` — Says that all is well, if that is due by now.
    pub(crate) fn ping(&mut self, now: u64) {
        if self.silent_until > now {
            return;
        }
        if let (Some(notify), Some(watchdog)) = (&self.notify, &mut self.watchdog)
            && let Err(error) = watchdog.ping(notify)
        {
            self.log.fail(NOTIFY, error);
            // Once more, but not at once.
            self.silent_until = monotonic_ms() + PATIENCE;
        }
    }

    fn tell(&self, states: &[State<'_>]) {
        self.send(|notify| notify.send(states));
    }

    #[inline(never)]
    fn send(&self, send: impl FnOnce(&Notify) -> Result<(), NotifyError>) {
        if let Some(notify) = &self.notify
            && let Err(error) = send(notify)
        {
            self.log.fail(NOTIFY, error);
        }
    }
}

/// What a start and an end take is more than what they wait for.
fn extend(ms: u64) -> State<'static> {
    State::ExtendTimeoutUsec((ms + SPARE) * 1_000)
}

const SERVING: &[u8] = b"serving";

const NOTIFY: &str = "notify: ";

/// How long the manager may take to read, in milliseconds.
const PATIENCE: u64 = 1_000;

/// In milliseconds.
const SPARE: u64 = 5_000;
