//! Kernels that lack a system call, or containers that refuse one: filters of the calling thread
//! and of what it starts.
#![allow(unsafe_code)] // prctl.

use std::io;
use std::thread;

use libc::{c_long, sock_filter};

/// struct seccomp_data: the number of the call, then the lower halves of its arguments, as a
/// little endian machine has them.
pub const CALL: u32 = 0;
pub const ARGUMENTS: [u32; 3] = [16, 24, 32];
pub const FIFTH_ARGUMENT: u32 = 48;

pub const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
pub const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
pub const IF_ANY_BIT: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
pub const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// An instruction: of a jump, how many it passes over when the answer is yes, and no.
pub fn step(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    let code = code as u16;
    sock_filter { code, jt, jf, k }
}

pub fn errno(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno as u32
}

/// Runs `body` in a thread of its own, in which, and in whose children, the calls fail with these
/// errnos.
pub fn where_refused<T: Send>(calls: &[(c_long, i32)], body: impl FnOnce() -> T + Send) -> T {
    let mut filter = vec![step(LOAD, CALL, 0, 0)];
    for (call, refusal) in calls {
        filter.push(step(IF_EQUAL, *call as u32, 0, 1));
        filter.push(step(RETURN, errno(*refusal), 0, 0));
    }
    filter.push(step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
    where_filtered(filter, body)
}

/// Runs `body` in a thread of its own, under this filter.
pub fn where_filtered<T: Send>(filter: Vec<sock_filter>, body: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            install(filter).unwrap();
            body()
        });
        match thread.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn install(mut filter: Vec<sock_filter>) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: numbers only.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: a program of as many steps as it says.
    if unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &program, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
