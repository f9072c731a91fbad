//! `gracenet-httpd`: an HTTP server of a few kilobytes, without a libc and
//! without an allocator, that replaces itself with a new build of itself and
//! drops no connection.
//!
//! `unsafe` is allowed in this file for what the kernel left on the stack, for
//! the inherited fds, and for the table's place in memory.

// A test harness would bring a second panic handler; what is tested is in `lib.rs`.
#![cfg(not(test))]
#![no_std]
#![no_main]
#![allow(unsafe_code)]

mod connection;
mod log;
mod report;
mod server;
mod sys;

use gracenet::signal::{Signal, Signals};
use gracenet::{Args, Handle, ListenError, ListenOptions, Net, NetView, Program};
use gracenet_httpd::args::{self, LISTENERS, Options, Reader, Reason};
use gracenet_httpd::http::Identity;
use gracenet_httpd::table::Table;
use gracenet_httpd::text::Text;
use gracenet_start::exit;

use crate::connection::{Around, Connection, SCRATCH};
use crate::log::Log;
use crate::report::Report as _;
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
};

struct Room {
    clients: Table<Connection>,
    scratch: [u8; SCRATCH],
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
    log::print(args::USAGE.as_bytes());
    exit(status)
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

/// Listens, serves, and exits: what is open then is the kernel's to close.
#[inline(never)]
fn serve(program: &Program<'_>, options: &Options<'_>) -> ! {
    let log = Log { pid: sys::pid() };
    // SAFETY: this is the first that happens, so that nobody else has the fds.
    let mut net = match unsafe { Net::<LISTENERS>::inherit(program.environ()) } {
        Ok(net) => net,
        Err(error) => {
            error.report(log, b"cannot inherit: ");
            exit(1);
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
            error.report(log, b"");
            exit(1);
        }
    };
    let mut listeners = heapless::Vec::<Handle, LISTENERS>::new();
    for &(network, address) in &options.listeners {
        let how = ListenOptions::new()
            .nonblocking(true)
            .replace_stale(options.replace_stale);
        match net.listen_with(network, address, &how) {
            Ok(listener) => {
                let _ = listeners.push(listener);
                let mut line = log.begin();
                line.push("listening ").push(network).push(" ");
                describe(&net, listener, address, &mut line);
                log::write(&mut line);
            }
            Err(error) => {
                let mut what = Text::new();
                what.push("cannot listen ").push(network).push(" ");
                what.push(address).push(": ");
                error.report(log, what.as_bytes());
                if matches!(error, ListenError::Address(_)) {
                    log::print(args::USAGE.as_bytes());
                    exit(2);
                }
                exit(1);
            }
        }
    }
    let epoll = match Epoll::new() {
        Ok(epoll) => epoll,
        Err(errno) => {
            errno.report(log, CANNOT_SERVE);
            exit(1);
        }
    };
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
        options,
        net: &mut net,
        listeners: &listeners,
        signals: &signals,
        epoll,
        clients: &mut room.clients,
        around: Around {
            now: 0,
            draining: false,
            identity,
            scratch: &mut room.scratch,
        },
        state: State::new(),
    };
    if let Err(errno) = server.begin() {
        errno.report(log, CANNOT_SERVE);
        exit(1);
    }
    log.say("ready", log::NONE);
    exit(server.run())
}

const CANNOT_SERVE: &[u8] = b"cannot serve";

/// Where it listens, and since when. It is said as it was asked for, but for the
/// port: for port 0 only the kernel knows which.
#[inline(never)]
fn describe(net: &NetView, listener: Handle, asked: &[u8], line: &mut Text) {
    let Some(entry) = net.get(listener) else {
        return;
    };
    match entry.local_port() {
        Some(port) => {
            let written = asked.iter().rev().take_while(|&&byte| byte != b':').count();
            line.push(asked.get(..asked.len() - written).unwrap_or_default());
            line.number(port.into());
        }
        None => {
            line.push(asked);
        }
    }
    line.push(if entry.is_inherited() {
        " (inherited)"
    } else {
        " (fresh)"
    });
}
