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

use gracenet::init::{self, Machine};
use gracenet::signal::{Signal, Signals};
use gracenet::supervisor::{Event, MOST_PROCESSES, Restart, Supervisor, SupervisorError};
use gracenet::{Args, Changes, Deadline, ListenOptions, Net, Program, StartError, Unclaimed};
use gracenet_init::args::{self, Next, Reader, Reason, SOCKETS};
use gracenet_start::exit;
use gracenet_words::report::Report;
use gracenet_words::text::Text;
use rustix::fd::AsFd as _;

use crate::log::Log;

gracenet_start::main!(main);

/// Room for sockets, and for what one supervisor leaves to the next.
const ROOM: usize = 2 * SOCKETS + MOST_PROCESSES + 2;

/// How long a new build of this program has until it has taken over.
const TAKE_OVER_MS: u64 = 10_000;

fn main(start: gracenet_start::Args) -> i32 {
    let is_machine = machine::is_ours();
    if is_machine {
        machine::set_up();
    }
    machine::open_standard_fds();
    // SAFETY: both are what the kernel left on the stack, and nobody changes it.
    let program = unsafe { Program::from_raw(start.argv, start.envp) };
    let log = Log::new(sys::pid());
    let mut reader = Reader::new();
    let command = match parse(&mut reader, program.args()) {
        // SAFETY: so many arguments lie before the null pointer.
        Ok(before) => unsafe { Args::from_raw(start.argv.wrapping_add(before)) },
        Err(reason) => {
            let mut line = Text::new();
            line.push("gracenet-init: ").push(reader.argument);
            log::write(line.push(reason.text()));
            sys::print(args::USAGE.as_bytes());
            return 2;
        }
    };
    if is_machine && !reader.says_restart() {
        reader.options.restart = Restart::Always;
    }
    let this = This {
        log,
        program: &program,
        reader: &reader,
    };
    let (status, machine) = this.run(command);
    if is_machine {
        if let Err(error) = init::end_machine(machine) {
            log.fail("", &error);
        }
    }
    exit(status)
}

/// How many arguments come before the program.
fn parse<'a>(reader: &mut Reader<'a>, arguments: Args<'a>) -> Result<usize, Reason> {
    let mut before = 1;
    for argument in arguments.iter().skip(1) {
        match reader.take(argument.to_bytes())? {
            Next::Argument => before += 1,
            Next::ProgramFollows => {
                before += 1;
                break;
            }
            Next::Program => break,
        }
    }
    reader.end(arguments.iter().nth(before).is_some())?;
    Ok(before)
}

/// What does not change.
struct This<'a> {
    log: Log,
    program: &'a Program<'static>,
    reader: &'a Reader<'a>,
}

impl This<'_> {
    /// Supervises until there is nothing left to do: the exit status, and what becomes of the machine.
    fn run(&self, command: Args<'_>) -> (i32, Machine) {
        let log = self.log;
        let failed = |what: &str, why: &dyn Report| {
            let mut line = log.begin(what);
            why.put(&mut line);
            log::write(&mut line);
            (1, Machine::PowerOff)
        };
        // SAFETY: this is the first that happens, so that nobody else has the fds.
        let mut net = match unsafe { Net::<ROOM>::inherit(self.program.environ()) } {
            Ok(net) => net,
            Err(error) => return failed("cannot inherit: ", &error),
        };
        let guard = match net.guard(self.program) {
            Ok(guard) => guard,
            Err(error) => return failed("no way back: ", &error),
        };
        let signals = match Signals::all() {
            Ok(signals) => signals,
            Err(error) => return failed("", &error),
        };
        if let Err(error) = init::become_subreaper() {
            log.fail("", &error);
        }
        for socket in &self.reader.sockets {
            let options = ListenOptions::new().replace_stale(true).name(socket.name);
            if let Err(error) = net.listen_with(socket.network, socket.address, &options) {
                let mut line = log.begin("cannot listen ");
                line.push(socket.network).push(" ");
                line.push(socket.address).push(": ");
                error.put(&mut line);
                log::write(&mut line);
                return (1, Machine::PowerOff);
            }
        }
        let generation = net.generation();
        let said = match (net.predecessor(), net.was_rolled_back()) {
            (None, _) => "",
            (_, false) => "taken over in place, generation ",
            (_, true) => "rolled back, generation ",
        };
        let options = self.reader.options;
        let mut supervisor = match Supervisor::new(&mut net, self.program, command, options) {
            Ok(supervisor) => supervisor,
            Err(SupervisorError::Failed(error)) => return failed("", &error),
            Err(_) => {
                log.say("what was left is not legible");
                return (1, Machine::PowerOff);
            }
        };
        // What was passed and is not asked for is the program's.
        if let Err(error) = supervisor.net().ready_with(Unclaimed::Keep) {
            return failed("", &error);
        }
        guard.keep();
        if !said.is_empty() {
            log.number(said, generation.into(), "");
        }
        Loop {
            this: self,
            signals: &signals,
            supervisor: &mut supervisor,
            machine: Machine::PowerOff,
            wants_replacement: false,
            tried: [0; 4],
        }
        .run()
    }
}

/// The event loop.
struct Loop<'l, 'a> {
    this: &'l This<'a>,
    signals: &'l Signals,
    supervisor: &'l mut Supervisor<'a>,
    machine: Machine,
    /// As soon as no program is becoming ready.
    wants_replacement: bool,
    /// What was there when the canary was started.
    tried: [u64; 4],
}

impl Loop<'_, '_> {
    #[inline(never)]
    fn run(&mut self) -> (i32, Machine) {
        let log = self.this.log;
        loop {
            while let Some(event) = self.supervisor.try_next() {
                match event {
                    Event::Started(pid) => log.process("started ", pid),
                    Event::NotStarted(error) => log.fail("cannot start: ", &error),
                    Event::Ready(pid) => {
                        log.process("ready ", pid);
                        #[cfg(feature = "notify")]
                        self.tell_ready();
                    }
                    Event::Failed(pid, why) | Event::Ended(pid, why) => {
                        let mut line = log.begin("");
                        line.number(pid.as_raw_nonzero().get().unsigned_abs().into());
                        why.put(line.push(" "));
                        log::write(&mut line);
                    }
                    Event::Killing(pid) => log.process("killing ", pid),
                    Event::Restarting(ms) => log.number("restarting in ", ms, " ms"),
                    Event::Waiting => log.say("waiting for a connection"),
                    Event::Canary(Ok(())) => self.replace(),
                    Event::Canary(Err(why)) => log.fail("not replaced: ", &why),
                    Event::Done(status) => return (status, self.machine),
                    _ => {}
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
        let log = self.this.log;
        let holds_sockets = !self.supervisor.net().is_empty();
        match signal {
            Signal::CHILD => {
                // Nobody wants to know how orphans have ended.
                if let Err(error) = self.supervisor.reap(|_, _| {}) {
                    log.fail("", &error);
                }
            }
            Signal::HUP if holds_sockets => match self.supervisor.restart() {
                Ok(Some(pid)) => log.process("started ", pid),
                Ok(None) => {}
                Err(error) => log.fail("program not replaced: ", &error),
            },
            Signal::USR2 if holds_sockets => self.wants_replacement = true,
            Signal::TERM | Signal::INT => {
                log.say("terminating");
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
        self.tried = self.image();
        match self.supervisor.start_canary(&Changes::new()) {
            Ok(_) => self.wants_replacement = false,
            // Later, when it is decided what becomes of the program.
            Err(StartError::InProgress) => {}
            Err(error) => {
                self.wants_replacement = false;
                self.not_replaced(error);
            }
        }
    }

    fn replace(&mut self) {
        // What has come since then was not tried, and there might be no way back from it.
        if self.image() != self.tried {
            self.wants_replacement = true;
            return;
        }
        let image = match self.this.program.image() {
            Ok(image) => image,
            Err(error) => return self.not_replaced(error.into()),
        };
        let deadline = Deadline::after_ms(TAKE_OVER_MS);
        let changes = Changes::new().rollback(image.as_fd(), deadline);
        let error = self.supervisor.replace(&changes);
        match error {
            // A program is becoming ready by now.
            StartError::InProgress => self.wants_replacement = true,
            error => self.not_replaced(error),
        }
    }

    /// What the path of this program names now.
    fn image(&self) -> [u64; 4] {
        let path = self.this.program.path();
        path.map_or([0; 4], sys::identity)
    }

    fn not_replaced(&self, why: StartError) {
        self.this.log.fail("not replaced: ", &why);
    }

    /// Tells the manager that has started this process, if there is one.
    #[cfg(feature = "notify")]
    fn tell_ready(&self) {
        use gracenet::notify::{Notify, State};

        let told = match Notify::new(self.this.program.environ()) {
            Ok(None) => Ok(()),
            Ok(Some(notify)) => notify.send(&[State::Ready]),
            Err(error) => return self.this.log.fail("", &error),
        };
        if let Err(error) = told {
            self.this.log.fail("", &error);
        }
    }
}
