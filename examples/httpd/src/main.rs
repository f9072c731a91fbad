//! `gracenet-httpd`: an HTTP server of a few kilobytes, without a libc and
//! without an allocator, that replaces itself with a new build of itself and
//! drops no connection.
//!
//! `unsafe` is allowed in this file for what the kernel left on the stack, for
//! the standard and the inherited fds, and for the table's place in memory.

// A test harness would bring a second panic handler; what is tested is in `lib.rs`.
#![cfg(not(test))]
#![no_std]
#![no_main]
#![allow(unsafe_code)]

mod connection;
mod log;
mod report;
mod server;

use gracenet::addr::Address;
use gracenet::signal::{Signal, Signals};
use gracenet::{Handle, ListenError, ListenOptions, Net, NetView, Program};
use gracenet_httpd::args::{self, LISTENERS, Options, Reason};
use gracenet_httpd::http::Identity;
use gracenet_httpd::table::Table;
use gracenet_httpd::text::Text;
use rustix::event::epoll;
use rustix::fd::{BorrowedFd, IntoRawFd as _};
use rustix::io::{Errno, fcntl_getfd};

use crate::connection::{Around, Connection};
use crate::log::Log;
use crate::report::Report;
use crate::server::{Server, State};

/// What this build says of itself, unless the command line knows better.
const TAG: &str = match option_env!("GRACENET_HTTPD_TAG") {
    Some(tag) => tag,
    None => "gracenet",
};

const _: () = assert!(TAG.len() <= args::TAG, "GRACENET_HTTPD_TAG is too long");

gracenet_start::main!(run);

/// All zeros: they take no room in the file, and memory only as far as they are
/// touched.
static mut CONNECTIONS: Table<Connection> = Table::new();

fn run(start: gracenet_start::Args) -> i32 {
    open_standard_fds();
    // SAFETY: both are what the kernel left on the stack, and nobody changes it.
    let program = unsafe { Program::from_raw(start.argv, start.envp) };
    let mut options = Options::new(TAG.as_bytes());
    let arguments = program.args();
    let arguments = arguments.iter().skip(1).map(|argument| argument.to_bytes());
    let Err(refusal) = options.parse(arguments) else {
        let log = Log {
            pid: rustix::process::getpid()
                .as_raw_nonzero()
                .get()
                .unsigned_abs(),
        };
        return serve(&program, &options, log).unwrap_or_else(|(what, why)| {
            log.fail(what, why);
            1
        });
    };
    let mut status = 0;
    if refusal.reason != Reason::Help {
        let mut line = Text::new();
        line.push("gracenet-httpd: ").push(refusal.argument);
        if !refusal.value.is_empty() {
            line.push(" ").push(refusal.value);
        }
        log::write(line.push(refusal.reason.text()));
        status = 2;
    }
    log::print(args::USAGE.as_bytes());
    status
}

/// Puts something harmless at 0, 1 and 2 where nothing is. A client's socket would
/// come to lie there otherwise, and would get our log.
fn open_standard_fds() {
    for number in 0..3 {
        // SAFETY: it is only asked whether there is such an fd.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        // The kernel takes the lowest free number, which is this one. An epoll can
        // be neither read nor written, and needs no /dev.
        if fcntl_getfd(fd) == Err(Errno::BADF)
            && let Ok(harmless) = epoll::create(epoll::CreateFlags::empty())
        {
            let _ = harmless.into_raw_fd();
        }
    }
}

/// The exit status, or what has failed before there was anything to serve, and why.
fn serve(
    program: &Program<'_>,
    options: &Options<'_>,
    log: Log,
) -> Result<i32, (&'static str, Report)> {
    // SAFETY: this is the first that happens, so that nobody else has the fds.
    let mut net = unsafe { Net::<LISTENERS>::inherit(program.environ()) }
        .map_err(|error| ("cannot inherit: ", error.into()))?;
    // Before anything is listened on, so that no signal finds its default action.
    let signals = Signals::new(&[
        Signal::USR2,
        Signal::HUP,
        Signal::TERM,
        Signal::INT,
        Signal::PIPE,
    ])
    .map_err(|error| ("", error.into()))?;
    let how = ListenOptions::new()
        .nonblocking(true)
        .replace_stale(options.replace_stale);
    let mut listeners = heapless::Vec::<Handle, LISTENERS>::new();
    for &(network, address) in &options.listeners {
        let listener = net.listen_with(network, address, &how);
        let mut line = log.begin();
        if listener.is_err() {
            line.push("cannot ");
        }
        // "cannot listen ", "listening "
        line.push("listen")
            .push(if listener.is_ok() { "ing " } else { " " });
        line.push(network).push(" ");
        match listener {
            Ok(listener) => {
                let _ = listeners.push(listener);
                describe(&net, listener, address, &mut line);
                log::write(&mut line);
            }
            Err(error) => {
                line.push(address).push(": ");
                Report::from(error).write(&mut line);
                log::write(&mut line);
                if matches!(error, ListenError::Address(_)) {
                    log::print(args::USAGE.as_bytes());
                    return Ok(2);
                }
                return Ok(1);
            }
        }
    }
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
        .map_err(|errno| ("cannot serve", errno.into()))?;
    let identity = Identity {
        pid: log.pid,
        generation: net.generation(),
        tag: options.tag,
    };
    let clients = &raw mut CONNECTIONS;
    let mut server = Server {
        log,
        program,
        options,
        net: &mut net,
        listeners: &listeners,
        signals: &signals,
        epoll: &epoll,
        // SAFETY: the program comes here once, and nobody else names the table.
        clients: unsafe { &mut *clients },
        around: Around {
            now: 0,
            draining: false,
            identity,
            scratch: [0; 4096],
        },
        state: State::new(),
    };
    server
        .begin()
        .map_err(|errno| ("cannot serve", errno.into()))?;
    log.say("ready", report::NONE);
    Ok(server.run())
}

/// Where it listens, and since when. It is said as it was asked for, but for the
/// port: for port 0 only the kernel knows which.
fn describe(net: &NetView, listener: Handle, asked: &[u8], line: &mut Text) {
    let Some(entry) = net.get(listener) else {
        return;
    };
    match entry.local_address() {
        Ok(Some(Address::Inet(address))) => {
            let port = asked.iter().rev().take_while(|&&byte| byte != b':').count();
            line.push(asked.get(..asked.len() - port).unwrap_or_default());
            line.number(address.port.into());
        }
        _ => {
            line.push(asked);
        }
    }
    line.push(if entry.is_inherited() {
        " (inherited)"
    } else {
        " (fresh)"
    });
}
