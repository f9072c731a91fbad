//! `witness`: a successor that does next to nothing, so that a test can look at what it was given.
//!
//! It inherits, claims the socket named `report` and says there, one message each:
//!
//! - `up <generation> <pid>` once it runs; after that it is told what to do by messages:
//! - `ready`: says so to its predecessor, answers `ok`
//! - `next`: starts a successor of itself, and ends when that is ready; else answers with why not
//! - the end of the report socket: ends, with status 0
#![no_std]
#![no_main]
#![allow(unsafe_code)] // What the kernel left on the stack, and the inherited fds.

use core::fmt::Write as _;
use core::mem::MaybeUninit;

use gracenet::{Deadline, Handle, Net, Program};
use rustix::net::{RecvFlags, SendFlags, recv, send};

gracenet_start::main!(run);

type Line = heapless::String<256>;

fn run(start: gracenet_start::Args) -> i32 {
    // SAFETY: what the kernel left on the stack, which nobody changes.
    let program = unsafe { Program::from_raw(start.argv, start.envp) };
    // SAFETY: nothing else has been opened.
    let Ok(mut net) = (unsafe { Net::<80>::inherit(program.environ()) }) else {
        return 2;
    };
    let Some(report) = net.claim("report") else {
        return 3;
    };
    let mut line = Line::new();
    let _ = write!(
        line,
        "up {} {}",
        net.generation(),
        rustix::process::getpid()
    );
    say(&net, report, &line);
    loop {
        let mut buffer = [MaybeUninit::uninit(); 64];
        let Ok(fd) = net.borrow(report) else { return 4 };
        let Ok(((heard, _), _)) = recv(fd, buffer.as_mut_slice(), RecvFlags::empty()) else {
            return 5;
        };
        let mut answer = Line::new();
        match &*heard {
            b"" => return 0,
            b"ready" => {
                let _ = match net.ready_with(gracenet::Unclaimed::Keep) {
                    Ok(()) => write!(answer, "ok"),
                    Err(error) => write!(answer, "{error}"),
                };
            }
            b"next" => match net.start_process(&program) {
                Err(error) => {
                    let _ = write!(answer, "{error}");
                }
                Ok(successor) => match successor.wait_ready(Deadline::after_ms(20_000)) {
                    Ok(()) => return 0,
                    Err(failure) => {
                        let _ = write!(answer, "{failure}");
                    }
                },
            },
            _ => {
                let _ = write!(answer, "what?");
            }
        }
        say(&net, report, &answer);
    }
}

fn say(net: &Net<80>, report: Handle, line: &str) {
    if let Ok(fd) = net.borrow(report) {
        let _ = send(fd, line.as_bytes(), SendFlags::NOSIGNAL);
    }
}
