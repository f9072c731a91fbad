//! `gracenet-init`: pid 1 of a container or of a machine, in a few kilobytes, without a libc and
//! without an allocator.
//!
//! ```text
//! gracenet-init [OPTION]... [--] PROGRAM [ARGUMENT]...
//! ```
//!
//! It starts a program, passes signals on to it, reaps what others leave behind, and ends with the
//! program's status, as tini and dumb-init do. And it holds sockets that outlive the program: the
//! program gets them as systemd would pass them, may crash and is started again, is replaced by a new
//! one, while nobody who connects is refused. It replaces itself in its own place, while the program
//! runs on.
//!
//! | option | meaning | default |
//! | --- | --- | --- |
//! | `--socket NAME=NETWORK:ADDRESS` | a socket that is held, as `web=tcp::8080` or `local=unix:/run/a.sock`; up to 16 | |
//! | `--on-demand` | the program is started when somebody connects; when it exits with status 0, again when the next one does | |
//! | `--ready notify` | the program is ready when it says `READY=1` to its `NOTIFY_SOCKET` | |
//! | `--ready channel` | when it says so as programs with this crate do | |
//! | `--ready MS` | when it has been alive for so many milliseconds | 1000 |
//! | `--ready-timeout MS` | how long it may take to say so; then it is killed | 10000 |
//! | `--grace MS` | how long it has from SIGTERM to its end; then its process group is killed | 10000 |
//! | `--restart WHEN` | whether it is started again when it has ended: `no`, `on-failure` (another status than 0, or a signal) or `always` | `on-failure` with a `--socket`, `always` on a machine, else `no` |
//! | `--group`, `-g` | signals are for the program's process group, and not for it alone | |
//!
//! | signal | what happens |
//! | --- | --- |
//! | SIGHUP | with sockets: the program is started anew; when the new one is ready the old one gets SIGTERM, and if it does not become ready the old one goes on |
//! | SIGUSR2 | with sockets: this program replaces itself by what its path names now; a canary tries that before, and one that does not become ready is rolled back |
//! | SIGTERM, SIGINT | passed on; when the program has ended, or has been killed, this one ends with its status, or 128 and the number of the signal |
//! | others | passed on, but those that this process gets by its own doing, and what a terminal says to those in its background |
//!
//! The program leads a process group of its own, which is the foreground of the terminal that its
//! standard input is. As the first process of a machine this one mounts `/proc`, `/sys` and `/dev` where
//! they are missing, brings the loopback interface up, and switches the machine off when the program
//! has ended; after SIGINT, which is what Ctrl-Alt-Del sends, it starts it anew.
//!
//! Built with the feature `notify` it says `READY=1` where its `NOTIFY_SOCKET` says when the program is
//! ready.
//!
//! `unsafe` is allowed in this file for what the kernel left on the stack, and for the inherited fds.

// A test harness would bring a second panic handler; what is tested is in `lib.rs`.
#![cfg(not(test))]
#![no_std]
#![no_main]
#![allow(unsafe_code)]

mod log;
mod machine;
mod sys;

use core::mem::{ManuallyDrop, MaybeUninit};

use gracenet::init::{self, Machine};
use gracenet::signal::{Signal, Signals};
use gracenet::supervisor::{Event, MOST_PROCESSES, Supervisor};
use gracenet::{
    Args, Changes, Deadline, InheritOptions, ListenOptions, Net, NetView, Program, StartError,
    Unclaimed,
};
use gracenet_init::args::{self, Reader, SOCKETS};
use gracenet_start::exit;
use gracenet_words::report::Why;
use gracenet_words::text::Text;
use rustix::fd::AsFd as _;

use crate::log::number;

gracenet_start::main!(main);

/// Room for sockets, and for what one supervisor leaves to the next.
const ROOM: usize = 2 * SOCKETS + MOST_PROCESSES + 2;

/// What needs much room, and takes none in the file. It ends with the process.
static mut NET: MaybeUninit<Net<ROOM>> = MaybeUninit::uninit();

/// How long a new build of this program has until it has taken over.
const TAKE_OVER_MS: u64 = 10_000;

fn main(start: gracenet_start::Args) -> i32 {
    let is_machine = machine::is_ours();
    if is_machine {
        machine::set_up();
    }
    machine::open_standard_fds();
    log::open();
    // SAFETY: both are what the kernel left on the stack, and nobody changes it.
    let program = unsafe { Program::from_raw(start.argv, start.envp) };
    let mut reader = Reader::new(is_machine);
    let mut command = program.args();
    if let Err(reason) = reader.read(&mut command) {
        let mut line = Text::new();
        line.push("gracenet-init: ").push(reader.argument);
        log::write(line.push(reason.text()));
        sys::print(args::USAGE.as_bytes());
        exit(2);
    }
    let net = &raw mut NET;
    // SAFETY: the program comes here once, and nobody else names it.
    let net = unsafe { &mut *net }.write(Net::new());
    let ended = supervise(net, &program, &reader, command);
    let (status, machine) = ended.unwrap_or((1, Machine::PowerOff));
    if is_machine {
        if let Err(error) = init::end_machine(machine) {
            log::fail("", error);
        }
    }
    // What is open is the kernel's to close.
    exit(status)
}

/// It was said why this ends.
struct Said;

/// Says what has failed, and why.
fn said(what: &str, why: impl Into<Why>) -> Said {
    log::fail(what, why);
    Said
}

/// Supervises until there is nothing left to do: the exit status, and what becomes of the machine.
#[inline(never)]
fn supervise(
    net: &mut NetView,
    program: &Program<'static>,
    reader: &Reader<'_>,
    command: Args<'_>,
) -> Result<(i32, Machine), Said> {
    // SAFETY: this is the first that happens, so that nobody else has the fds.
    let inherited = unsafe { net.adopt(program.environ(), InheritOptions::default()) };
    inherited.map_err(|error| said("cannot inherit: ", error))?;
    // As long as it is not kept, whatever fails goes back to the program that was here before.
    let guard = net.guard(program);
    let guard = guard.map_err(|error| said("no way back: ", error))?;
    let signals = Signals::all().map_err(|error| said("", error))?;
    if let Err(error) = init::become_subreaper() {
        log::fail("", error);
    }
    for socket in &reader.sockets {
        let options = ListenOptions::new().replace_stale(true).name(socket.name);
        if let Err(error) = net.listen_with(socket.network, socket.address, &options) {
            let mut line = Text::new();
            log::begin(&mut line);
            line.push("cannot listen ").push(socket.network).push(" ");
            line.push(socket.address).push(": ");
            Why::from(error).put(&mut line);
            log::write(&mut line);
            return Err(Said);
        }
    }
    let has_come = net.predecessor().is_some();
    // What it holds is there until the exit.
    let mut supervisor = ManuallyDrop::new(Supervisor::new(net, program, command, &reader.options));
    let supervisor = supervisor.as_mut().map_err(|error| said("", *error))?;
    // What was passed and is not asked for is the program's.
    let net = supervisor.net();
    net.ready_with(Unclaimed::Keep)
        .map_err(|error| said("", error))?;
    guard.keep();
    if has_come {
        let words = match net.was_rolled_back() {
            true => "rolled back, generation #",
            false => "taken over in place, generation #",
        };
        log::say(words, net.generation().into(), None);
    }
    let mut this = This {
        program,
        signals: &signals,
        supervisor,
        machine: Machine::PowerOff,
        wants_replacement: false,
        tried: [0; 4],
    };
    Ok((this.run(), this.machine))
}

/// The event loop.
struct This<'l, 'a> {
    program: &'a Program<'static>,
    signals: &'l Signals,
    supervisor: &'l mut Supervisor<'a>,
    machine: Machine,
    /// As soon as no program is becoming ready.
    wants_replacement: bool,
    /// What was there when the canary was started.
    tried: [u64; 4],
}

impl This<'_, '_> {
    /// What the program has ended with, when there is nothing left to do.
    #[inline(never)]
    fn run(&mut self) -> i32 {
        loop {
            while let Some(event) = self.supervisor.try_next() {
                let (words, number, why) = match event {
                    Event::Started(pid) => ("started #", number(pid), None),
                    Event::NotStarted(error) => ("cannot start: ", 0, Some(error.into())),
                    Event::Ready(pid) => ("ready #", number(pid), None),
                    Event::Failed(pid, why) | Event::Ended(pid, why) => {
                        ("# ", number(pid), Some(why.into()))
                    }
                    Event::Killing(pid) => ("killing #", number(pid), None),
                    Event::Restarting(ms) => ("restarting in # ms", ms, None),
                    Event::Waiting => ("waiting for a connection", 0, None),
                    Event::Canary(Ok(())) => {
                        self.replace();
                        continue;
                    }
                    Event::Canary(Err(why)) => ("not replaced: ", 0, Some(why.into())),
                    Event::Done(status) => return status,
                    _ => continue,
                };
                log::say(words, number, why);
                #[cfg(feature = "notify")]
                if matches!(event, Event::Ready(_)) {
                    self.tell_ready();
                }
            }
            if self.wants_replacement {
                self.start_canary();
            }
            let _ = self.supervisor.wait(Some(self.signals.as_fd()));
            while let Ok(Some(received)) = self.signals.read() {
                self.take(received.signal);
            }
        }
    }

    #[inline(never)]
    fn take(&mut self, signal: Signal) {
        let holds_sockets = !self.supervisor.net().is_empty();
        match signal {
            Signal::CHILD => {
                // Nobody wants to know how orphans have ended.
                if let Err(error) = self.supervisor.reap(|_, _| {}) {
                    log::fail("", error);
                }
            }
            Signal::HUP if holds_sockets => match self.supervisor.restart() {
                Ok(Some(pid)) => log::say("started #", number(pid), None),
                Ok(None) => {}
                Err(error) => log::fail("program not replaced: ", error),
            },
            Signal::USR2 if holds_sockets => self.wants_replacement = true,
            Signal::TERM | Signal::INT => {
                log::say("terminating", 0, None);
                if signal == Signal::INT {
                    self.machine = Machine::Reboot;
                }
                self.supervisor.terminate(signal);
            }
            // What a terminal says to those in its background is for this process.
            Signal::TTIN | Signal::TTOU => {}
            other => self.supervisor.forward(other),
        }
    }

    /// The new program first shows that it could take this one's place.
    fn start_canary(&mut self) {
        let image = self.image();
        let started = self.supervisor.start_canary(&Changes::new());
        // If not, another one may still be trying what was there before.
        if started.is_ok() {
            self.tried = image;
        }
        self.decide(started.err());
    }

    /// What the canary was takes this one's place.
    fn replace(&mut self) {
        // What has come since then was not tried, and there might be no way back from it.
        if self.image() != self.tried {
            self.wants_replacement = true;
            return;
        }
        let error = match self.program.image() {
            Ok(image) => {
                let deadline = Deadline::after_ms(TAKE_OVER_MS);
                let changes = Changes::new().rollback(image.as_fd(), deadline);
                self.supervisor.replace(&changes)
            }
            Err(error) => error.into(),
        };
        self.decide(Some(error));
    }

    /// Later, when it is decided what becomes of the program, or not at all.
    fn decide(&mut self, error: Option<StartError>) {
        self.wants_replacement = error == Some(StartError::InProgress);
        if let (false, Some(error)) = (self.wants_replacement, error) {
            log::fail("not replaced: ", error);
        }
    }

    /// What the path of this program names now.
    fn image(&self) -> [u64; 4] {
        sys::identity(self.program.path().unwrap_or_default())
    }

    /// Tells the manager that has started this process, if there is one.
    #[cfg(feature = "notify")]
    fn tell_ready(&self) {
        use gracenet::notify::{Notify, State};

        let told = match Notify::new(self.program.environ()) {
            Ok(None) => return,
            Ok(Some(notify)) => notify.send(&[State::Ready]).map_err(Why::from),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = told {
            log::fail("", error);
        }
    }
}
