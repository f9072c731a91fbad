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

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use gracenet::addr::Address;
use gracenet::signal::{Signal, Signals};
use gracenet::{Handle, ListenError, ListenOptions, Net, Program};
use gracenet_httpd::args::{self, LISTENERS, Options, Refusal};
use gracenet_httpd::http::Identity;
use gracenet_httpd::table::Table;
use gracenet_httpd::text::Text;
use rustix::event::epoll;
use rustix::fd::{BorrowedFd, IntoRawFd as _};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, fcntl_getfd};

use crate::connection::Connection;
use crate::log::Log;
use crate::report::Report as _;
use crate::server::{Parts, Server};

/// What this build says of itself, unless the command line knows better.
const TAG: &str = match option_env!("GRACENET_HTTPD_TAG") {
    Some(tag) => tag,
    None => "gracenet",
};

const _: () = assert!(TAG.len() <= args::TAG, "GRACENET_HTTPD_TAG is too long");

gracenet_start::main!(run);

/// The table's place: zeros that take no room in the file, and memory only as
/// far as they are touched.
static CONNECTIONS: Place = Place {
    taken: AtomicBool::new(false),
    table: UnsafeCell::new(Table::new()),
};

struct Place {
    taken: AtomicBool,
    table: UnsafeCell<Table<Connection>>,
}

// SAFETY: `take` gives out what is inside, once; it may go to another thread.
unsafe impl Sync for Place {}

impl Place {
    /// The table, the first time.
    #[allow(clippy::mut_from_ref)] // It gives it out once.
    fn take(&'static self) -> Option<&'static mut Table<Connection>> {
        if self.taken.swap(true, Ordering::Relaxed) {
            return None;
        }
        // SAFETY: nobody else has got here.
        Some(unsafe { &mut *self.table.get() })
    }
}

fn run(start: gracenet_start::Args) -> i32 {
    open_standard_fds();
    // SAFETY: both are what the kernel left on the stack, and nobody changes it.
    let program = unsafe { Program::from_raw(start.argv, start.envp) };
    let arguments = program.args();
    match args::parse(arguments.iter().skip(1).map(|argument| argument.to_bytes())) {
        Ok(options) => serve(program, &options),
        Err(Refusal::Help) => {
            log::print(args::USAGE.as_bytes());
            0
        }
        Err(refusal) => {
            let mut line = Text::new();
            line.push("gracenet-httpd: ");
            let [subject, value, reason] = refusal.parts();
            line.push(subject);
            if !value.is_empty() {
                line.push(" ").push(value);
            }
            log::write(line.push(reason));
            log::print(args::USAGE.as_bytes());
            2
        }
    }
}

/// Puts something harmless at 0, 1 and 2 where nothing is. A client's socket would
/// come to lie there otherwise, and would get our log.
fn open_standard_fds() {
    for number in 0..3 {
        // SAFETY: it is only asked whether there is such an fd.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        if fcntl_getfd(fd) != Err(Errno::BADF) {
            continue;
        }
        // The kernel takes the lowest free number, which is this one.
        let harmless = open(c"/dev/null", OFlags::RDWR, Mode::empty())
            .or_else(|_| epoll::create(epoll::CreateFlags::empty()));
        if let Ok(harmless) = harmless {
            let _ = harmless.into_raw_fd();
        }
    }
}

fn serve(program: Program<'_>, options: &Options<'_>) -> i32 {
    let pid = rustix::process::getpid()
        .as_raw_nonzero()
        .get()
        .unsigned_abs();
    let log = Log::new(pid);
    // SAFETY: this is the first that happens, so that nobody else has the fds.
    let mut net = match unsafe { Net::<LISTENERS>::inherit(program.environ()) } {
        Ok(net) => net,
        Err(error) => {
            log.fail("cannot inherit: ", &error);
            return 1;
        }
    };
    // Before anything is listened on, so that no signal finds its default action.
    let signals = [
        Signal::USR2,
        Signal::HUP,
        Signal::TERM,
        Signal::INT,
        Signal::PIPE,
    ];
    let signals = match Signals::new(&signals) {
        Ok(signals) => signals,
        Err(error) => {
            log.fail("", &error);
            return 1;
        }
    };
    let mut listeners = heapless::Vec::<Handle, LISTENERS>::new();
    for (network, address) in &options.listeners {
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
                let mut line = log.begin();
                line.push("cannot listen ")
                    .push(network)
                    .push(" ")
                    .push(address)
                    .push(": ");
                error.write(&mut line);
                log::write(&mut line);
                if matches!(error, ListenError::Address(_)) {
                    log::print(args::USAGE.as_bytes());
                    return 2;
                }
                return 1;
            }
        }
    }
    let generation = net.generation();
    let Some(table) = CONNECTIONS.take() else {
        return 1;
    };
    let identity = Identity {
        pid,
        generation,
        tag: options.tag.unwrap_or(TAG.as_bytes()),
    };
    let parts = Parts {
        log,
        program: &program,
        net: &mut net,
        listeners: &listeners,
        signals: &signals,
        table,
        identity,
    };
    let started = Server::new(parts, options).and_then(|mut server| {
        server.ready()?;
        Ok(server)
    });
    match started {
        Ok(mut server) => {
            log.say("ready", None);
            server.run()
        }
        Err(errno) => {
            log.fail("cannot serve", &errno);
            1
        }
    }
}

/// Where it listens, and since when. It is said as it was asked for, but for the
/// port: for port 0 only the kernel knows which.
fn describe(net: &Net<LISTENERS>, listener: Handle, asked: &[u8], line: &mut Text) {
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
