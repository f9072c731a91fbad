//! What makes the times those of the starts, and not of what else the machine does.
#![allow(unsafe_code)] // Scheduling.

use std::{io, mem};

use crate::methods::succeeded;

/// Stays on one processor, the same for all that are measured together: to wake another one for a
/// child takes longer than the start, and no two are alike. And goes before others, where that is
/// allowed; its children do not, so that it is the parent that goes on when both could.
pub(crate) fn ask() -> io::Result<()> {
    // SAFETY: all zeroes is an empty set.
    let mut allowed: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: it fills in the set.
    succeeded(unsafe { libc::sched_getaffinity(0, size_of_val(&allowed), &raw mut allowed) })?;
    let processors = 0..libc::CPU_SETSIZE as usize;
    // SAFETY: within the set.
    let last = processors
        .rev()
        .find(|it| unsafe { libc::CPU_ISSET(*it, &allowed) });
    // SAFETY: all zeroes is an empty set.
    let mut chosen: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: within the set.
    unsafe { libc::CPU_SET(last.unwrap_or(0), &mut chosen) };
    // SAFETY: it reads the set.
    succeeded(unsafe { libc::sched_setaffinity(0, size_of_val(&chosen), &raw const chosen) })?;
    let first = libc::sched_param { sched_priority: 1 };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: it reads the structure.
    let _ = unsafe { libc::sched_setscheduler(0, policy, &raw const first) };
    Ok(())
}
