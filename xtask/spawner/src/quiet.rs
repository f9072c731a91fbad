//! What makes the times those of the starts, and not of what else the machine does.
#![allow(unsafe_code)] // Scheduling.

use std::{io, mem};

/// Stays on one processor: a parent that is suspended and its child take turns, and to wake another
/// processor for that can take longer than the start. And goes before others, where that is allowed;
/// its children do not, so that it is the parent that goes on when both could.
pub(crate) fn ask() -> io::Result<()> {
    // SAFETY: all zeroes is an empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: it takes nothing.
    let processor = unsafe { libc::sched_getcpu() };
    // SAFETY: it changes the set.
    unsafe { libc::CPU_SET(usize::try_from(processor).unwrap_or(0), &mut set) };
    // SAFETY: it reads the set.
    if unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let first = libc::sched_param { sched_priority: 1 };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: it reads the structure.
    let _ = unsafe { libc::sched_setscheduler(0, policy, &raw const first) };
    Ok(())
}
