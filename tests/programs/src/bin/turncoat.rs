//! `turncoat`: a program in the place of an init that is well as long as it is a canary: it inherits,
//! says that it is ready, and ends. As PID 1 it crashes instead, when it has its way back.
#![no_std]
#![no_main]
#![allow(unsafe_code)] // What the kernel left on the stack, the inherited fds, and the crash.

use core::ptr;

use gracenet::{Net, Program, Unclaimed};
use rustix::process::{Pid, getpid};

gracenet_start::main!(run);

/// Where nothing is.
const NOWHERE: usize = 4096;

fn run(start: gracenet_start::Args) -> i32 {
    // SAFETY: what the kernel left on the stack, which nobody changes.
    let program = unsafe { Program::from_raw(start.argv, start.envp) };
    // SAFETY: nothing else has been opened.
    let Ok(mut net) = (unsafe { Net::<80>::inherit(program.environ()) }) else {
        return 2;
    };
    let Ok(guard) = net.guard(&program) else {
        return 3;
    };
    if getpid() == Pid::INIT {
        // SAFETY: none; the kernel says so.
        let _ = unsafe { ptr::without_provenance::<u8>(NOWHERE).read_volatile() };
    }
    if net.ready_with(Unclaimed::Keep).is_err() {
        return 4;
    }
    guard.keep();
    0
}
