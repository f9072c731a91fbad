//! What makes it the same process whoever starts it: where the fds lie that are opened, and how
//! long the environment is, decide how much a start has to do.
#![allow(unsafe_code)] // Fds that nobody owns, signals, the environment.

use std::{env, io, mem, ptr};

use crate::load::raise_limit;
use crate::methods::succeeded;

/// A small one.
const ENVIRONMENT: [(&str, &str); 2] = [("PATH", "/usr/bin:/bin"), ("LANG", "C.UTF-8")];

/// Closes all but the standard streams, which std opens where they are closed; raises the limit on
/// fds; no signal is blocked, and SIGCHLD is not ignored. Comes first, and before there are threads.
pub(crate) fn forget_inherited() -> io::Result<()> {
    let first: libc::c_uint = 3;
    // SAFETY: nothing has been opened yet.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
    succeeded(closed as libc::c_int)?;
    raise_limit(0)?;
    // SAFETY: all zeroes is an empty set.
    let none: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: it reads the set.
    succeeded(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) })?;
    // SAFETY: no handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    // SAFETY: there is one thread, and nobody has a pointer into it.
    unsafe { libc::clearenv() };
    for (name, value) in ENVIRONMENT {
        // SAFETY: as above.
        unsafe { env::set_var(name, value) };
    }
    Ok(())
}
