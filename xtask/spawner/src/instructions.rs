//! How many instructions this process executes for a start, counted one by one: what valgrind cannot
//! do, as it knows no clone of this kind. The kernel's and the child's are not among them.
#![allow(unsafe_code)] // ptrace, fork.

use std::error::Error;
use std::io;
use std::ptr;

use crate::methods::{Spawner, succeeded};

/// At which counting begins, and at which it ends.
const MARK: libc::c_int = libc::SIGUSR1;

/// No start takes as many.
const MOST: u64 = 10_000_000;

/// Of a start with so many sockets.
pub(crate) fn count(spawner: &Spawner<'_>, sockets: usize) -> Result<u64, Box<dyn Error>> {
    // What the marks themselves take.
    let nothing = between_marks(|| {
        mark();
        mark();
        Ok(())
    })?;
    let start = between_marks(|| spawner.started(sockets, mark))?;
    Ok(start - nothing)
}

fn mark() {
    // SAFETY: it takes a number.
    unsafe { libc::raise(MARK) };
}

/// Runs this in a process of its own, which is stepped through from one mark to the next.
fn between_marks(act: impl Fn() -> Result<(), Box<dyn Error>>) -> Result<u64, Box<dyn Error>> {
    // SAFETY: there is one thread.
    let pid = unsafe { libc::fork() };
    succeeded(pid)?;
    if pid == 0 {
        // SAFETY: it takes numbers.
        unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
        let status = match act() {
            Ok(()) => 0,
            Err(why) => {
                eprintln!("spawner: {why}");
                1
            }
        };
        // SAFETY: it takes a number.
        unsafe { libc::_exit(status) };
    }
    let mut counting = false;
    let mut count = 0;
    loop {
        let mut status = 0;
        // SAFETY: it fills in the status.
        succeeded(unsafe { libc::waitpid(pid, &raw mut status, 0) })?;
        if !libc::WIFSTOPPED(status) {
            return match status {
                0 if count > 0 => Ok(count),
                _ => Err(format!("the status of what was counted is {status:#x}").into()),
            };
        }
        let signal = match libc::WSTOPSIG(status) {
            MARK => {
                counting = !counting;
                0
            }
            libc::SIGTRAP => 0,
            other => other,
        };
        if counting {
            count += 1;
        }
        if count > MOST {
            // SAFETY: a child of ours that has not been reaped.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            return Err("it does not end".into());
        }
        let step = if counting {
            libc::PTRACE_SINGLESTEP
        } else {
            libc::PTRACE_CONT
        };
        // SAFETY: it takes numbers; the child is stopped.
        let stepped = unsafe { libc::ptrace(step, pid, ptr::null_mut::<u8>(), signal) };
        if stepped < 0 {
            return Err(io::Error::last_os_error().into());
        }
    }
}
