//! `gracenet-httpd`: an HTTP server of a few kilobytes, without a libc and
//! without an allocator, that replaces itself with a new build of itself and
//! drops no connection.
//!
//! ```text
//! gracenet-httpd [OPTION]... NETWORK ADDRESS [NETWORK ADDRESS]...
//! ```
//!
//! It listens on up to eight addresses, whose network is `tcp`, `tcp4`, `tcp6` or
//! `unix`. SIGUSR2 and SIGHUP start a successor, SIGTERM and SIGINT end it once
//! those who are connected have been served; the second one ends it at once.
//!
//! | option | meaning | default |
//! | --- | --- | --- |
//! | `--tag TEXT` | what answers carry, up to 128 bytes | that of the build |
//! | `--replace-stale` | a unix socket's file on which nobody listens is replaced | |
//! | `--max-connections N` | as many at a time, up to 1024; others wait in the kernel | 256 |
//! | `--drain MS` | how long open requests are waited for at the end | 30000 |
//! | `--ready-timeout MS` | how long a successor may take until it is ready, at least 1 | 10000 |
//! | `--probation MS` | how long the sockets are kept after that, without accepting; a successor that ends meanwhile, however it does, is one that failed, and the old process accepts again | 0 |
//! | `--pid-file PATH` | gets the pid when it is ready, again if a successor fails on probation, and is removed at the end if it still has it | none |
//! | `--start-delay MS` | for trying: how long it takes to become ready | 0 |
//! | `--fail-start STATUS` | for trying: it exits with this status, 0 to 255, when it would become ready | |
//!
//! The last four of them and `/status` are the feature `full`, which is on
//! by default.
//!
//! Built with the feature `systemd` and started with `NOTIFY_SOCKET`, it tells the service
//! manager what becomes of it, and answers its watchdog; see `manager.rs`. It has three options
//! more:
//!
//! | option | meaning |
//! | --- | --- |
//! | `--store` | systemd keeps what is listened on in its fd store, from which a process gets it back that is started after a crash |
//! | `--missing-pid` | what `LISTEN_FDS` tells of is inherited without a `LISTEN_PID`, too, which Go's gracenet never sets |
//! | `--foreign` | a successor is another program, that knows nothing of this crate: it is ready when it says `READY=1` to the `NOTIFY_SOCKET` that it is given, or sends SIGTERM to its predecessor, as those of Go's gracehttp do |
//!
//! With `--probation`, a process starts no successor while its predecessor lives:
//! that one would take its end for a failure.
//!
//! | path | answer |
//! | --- | --- |
//! | `/` | one line: pid, generation, tag |
//! | `/sleep/MS` | the same after so long, up to a minute |
//! | `/healthz` | `ok` |
//! | `/status` | JSON: see below |
//!
//! `/status` is an object with the numbers `generation`, `pid`, `uptime_ms` and
//! `connections`, which are those that are open now, and with `draining`, a boolean.
//! `restarts` has `done`, the restarts that led to this process; `failed`, those
//! that this process has tried in vain; and `last_error`, a string with the log's
//! words about the last of these, or null. `sockets` is an array, empty when it is
//! draining, of objects with the strings `name`, `network` and `address`, the boolean
//! `inherited`, and `accept_queue`: an object with its `length` and its `limit`, as
//! TCP_INFO has them, or null for a unix socket, of which the kernel does not say
//! them. What is no UTF-8 in a name or an address is U+FFFD there.
//!
//! `unsafe` is allowed in this file for what the kernel left on the stack, for
//! the inherited fds, and for the table's place in memory.

// A test harness would bring a second panic handler; what is tested is in `lib.rs`.
#![cfg(not(test))]
#![no_std]
#![no_main]
#![allow(unsafe_code)]
// A build that is not a full one leaves some of it out.
#![cfg_attr(not(feature = "full"), allow(dead_code))]

mod around;
mod connection;
mod log;
mod manager;
#[cfg_attr(not(feature = "full"), path = "no_page.rs")]
mod page;
mod server;
mod sys;

use gracenet::signal::{Signal, Signals};
use gracenet::{Args, Handle, InheritOptions, ListenError, ListenOptions, Net, Program};
use gracenet_httpd::SYSTEMD;
use gracenet_httpd::args::{self, LISTENERS, Options, Reader, Reason};
use gracenet_httpd::http::Identity;
use gracenet_httpd::table::Table;
use gracenet_httpd::text::Text;
use gracenet_start::exit;
use gracenet_words::report::Why;

use crate::around::{Around, SCRATCH, put_address};
use crate::connection::Connection;
use crate::log::Log;
use crate::manager::{Manager, STORED};
use crate::server::{Server, State};
use crate::sys::Epoll;

/// What this build says of itself, unless the command line knows better.
const TAG: &str = match option_env!("GRACENET_HTTPD_TAG") {
    Some(tag) => tag,
    None => "gracenet",
};

const _: () = assert!(TAG.len() <= args::TAG, "GRACENET_HTTPD_TAG is too long");

gracenet_start::main!(main);

/// What needs much room: zeros that take none in the file, and memory only as far
/// as they are touched.
static mut ROOM: Room = Room {
    clients: Table::new(),
    scratch: [0; SCRATCH],
    last_error: Text::new(),
};

struct Room {
    clients: Table<Connection>,
    scratch: [u8; SCRATCH],
    last_error: Text,
}

fn main(start: gracenet_start::Args) -> i32 {
    open_standard_fds();
    // SAFETY: both are what the kernel left on the stack, and nobody changes it.
    let program = unsafe { Program::from_raw(start.argv, start.envp) };
    let mut reader = Reader::new(TAG.as_bytes());
    let Err(reason) = parse(&mut reader, program.args()) else {
        serve(&program, &reader.options);
    };
    let mut status = 0;
    if reason != Reason::Help {
        let mut line = Text::new();
        line.push("gracenet-httpd: ").push(reader.argument);
        if !reader.value.is_empty() {
            line.push(" ").push(reader.value);
        }
        log::write(line.push(reason.text()));
        status = 2;
    }
    print_usage();
    exit(status)
}

fn print_usage() {
    log::print(args::USAGE.as_bytes());
    if SYSTEMD {
        log::print(args::USAGE_FOR_SYSTEMD.as_bytes());
    }
}

fn parse<'a>(reader: &mut Reader<'a>, arguments: Args<'a>) -> Result<(), Reason> {
    let mut arguments = arguments.iter();
    let _program = arguments.next();
    for argument in arguments {
        reader.take(argument.to_bytes())?;
    }
    reader.end()
}

/// Puts something harmless at 0, 1 and 2 where nothing is. A client's socket would
/// come to lie there otherwise, and would get our log.
fn open_standard_fds() {
    for number in 0..3 {
        // The kernel takes the lowest free number, which is this one. An epoll can
        // be neither read nor written, and needs no /dev.
        if !sys::is_open(number) {
            let _ = Epoll::inheritable();
        }
    }
}

/// Ends with a line about what has failed, and why.
#[inline(never)]
fn fail(log: Log, what: &str, why: impl Into<Why>) -> ! {
    log.fail(what, why);
    exit(1)
}

/// Listens, serves, and exits: what is open then is the kernel's to close.
#[inline(never)]
fn serve(program: &Program<'_>, options: &Options<'_>) -> ! {
    let log = Log { pid: sys::pid() };
    let how = InheritOptions {
        accept_missing_pid: SYSTEMD && options.missing_pid,
    };
    // SAFETY: this is the first that happens, so that nobody else has the fds.
    let mut net = match unsafe { Net::<LISTENERS>::inherit_with(program.environ(), how) } {
        Ok(net) => net,
        Err(error) => {
            fail(log, "cannot inherit: ", error);
        }
    };
    // Before anything is listened on, so that no signal finds its default action.
    let signals = match Signals::new(&[
        Signal::USR2,
        Signal::HUP,
        Signal::TERM,
        Signal::INT,
        Signal::PIPE,
    ]) {
        Ok(signals) => signals,
        Err(error) => {
            fail(log, "", error);
        }
    };
    let mut listeners = heapless::Vec::<Handle, LISTENERS>::new();
    for &(network, address) in &options.listeners {
        let mut how = ListenOptions::new()
            .nonblocking(true)
            .replace_stale(options.replace_stale);
        if SYSTEMD && options.store {
            how = how.name(STORED);
        }
        match net.listen_with(network, address, &how) {
            Ok(listener) => {
                let _ = listeners.push(listener);
                let mut line = log.begin("listening ");
                line.push(network).push(" ");
                if let Some(entry) = net.get(listener) {
                    put_address(entry.local_port(), address, &mut line);
                    line.push(if entry.is_inherited() {
                        " (inherited)"
                    } else {
                        " (fresh)"
                    });
                }
                log::write(&mut line);
            }
            Err(error) => {
                let mut line = log.begin("cannot listen ");
                line.push(network).push(" ");
                line.push(address).push(": ");
                Why::from(error).put(&mut line);
                log::write(&mut line);
                if matches!(error, ListenError::Address(_)) {
                    print_usage();
                    exit(2);
                }
                exit(1);
            }
        }
    }
    let identity = Identity {
        pid: log.pid,
        generation: net.generation(),
        tag: options.tag,
    };
    let room = &raw mut ROOM;
    // SAFETY: the program comes here once, and nobody else names it.
    let room = unsafe { &mut *room };
    let mut server = Server {
        log,
        program,
        signals: &signals,
        epoll: Epoll::NONE,
        clients: &mut room.clients,
        around: Around {
            now: 0,
            started: 0,
            draining: false,
            identity,
            scratch: &mut room.scratch,
            options,
            net: &mut net,
            listeners: &listeners,
            connections: 0,
            failed: 0,
            last_error: &mut room.last_error,
        },
        state: State::new(),
        pid_file: None,
        receiver: None,
        manager: Manager::new(program.environ(), log),
    };
    exit(server.run())
}
