//! `sse PATH [ARGUMENT]...`: becomes the program of that path, for which a processor has the registers
//! of x87 and SSE, and no more, when it looks at those of others by ptrace(2).
//!
//! That is for user-mode Linux. That of 6.1 has room for those of AVX-512, and panics on a processor
//! that has more, as one with AMX, of which the kernel takes all or none. Where there is no
//! `PTRACE_GETREGSET`, as before Linux 2.6.34, it goes without.
#![no_std]
#![no_main]
#![allow(unsafe_code)] // What the kernel left on the stack, and system calls.

use core::mem::offset_of;

use gracenet_start::syscall;
use linux_raw_sys::general::{__NR_execve, __NR_prctl, __NR_ptrace, __NR_seccomp};

gracenet_start::main!(run);

/// `struct sock_filter`: of a jump, how many it passes over when the answer is yes, and no.
#[repr(C)]
struct Step {
    code: u16,
    yes: u8,
    no: u8,
    value: u32,
}

/// `struct sock_fprog`.
#[repr(C)]
struct Filter {
    length: u16,
    steps: *const Step,
}

/// `struct seccomp_data`.
#[repr(C)]
struct Call {
    number: u32,
    architecture: u32,
    at: u64,
    arguments: [u64; 6],
}

const LOAD: u16 = 0x20;
const IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

const GETREGSET: u32 = 0x4204;
const SETREGSET: u32 = 0x4205;

const ALLOW: u32 = 0x7fff_0000;
/// `SECCOMP_RET_ERRNO`, and EIO, as requests have it that there are not.
const REFUSE: u32 = 0x0005_0005;

const fn step(code: u16, value: u32, yes: u8, no: u8) -> Step {
    Step {
        code,
        yes,
        no,
        value,
    }
}

static STEPS: [Step; 7] = [
    step(LOAD, offset_of!(Call, number) as u32, 0, 0),
    step(IF_EQUAL, __NR_ptrace, 0, 4),
    // Its low half, on processors that have it first.
    step(LOAD, offset_of!(Call, arguments) as u32, 0, 0),
    step(IF_EQUAL, GETREGSET, 1, 0),
    step(IF_EQUAL, SETREGSET, 0, 1),
    step(RETURN, REFUSE, 0, 0),
    step(RETURN, ALLOW, 0, 0),
];

fn run(start: gracenet_start::Args) -> i32 {
    const NO_NEW_PRIVS: usize = 38;
    const SET_MODE_FILTER: usize = 1;
    /// Else the kernel may make it slower, against what untrusted programs can find out.
    const SPEC_ALLOW: usize = 4;
    if start.argc < 2 {
        return 2;
    }
    let filter = Filter {
        length: STEPS.len() as u16,
        steps: STEPS.as_ptr(),
    };
    let filter = (&raw const filter).expose_provenance();
    // SAFETY: numbers only.
    let first = unsafe { syscall(__NR_prctl, [NO_NEW_PRIVS, 1, 0, 0, 0]) };
    // SAFETY: a program of as many steps as it says.
    let second = unsafe { syscall(__NR_seccomp, [SET_MODE_FILTER, SPEC_ALLOW, filter]) };
    if (first, second) != (0, 0) {
        return 1;
    }
    let argv = start.argv.wrapping_add(1);
    // SAFETY: so many arguments lie before the null pointer.
    let path = unsafe { argv.read() }.expose_provenance();
    let [argv, envp] = [argv.expose_provenance(), start.envp.expose_provenance()];
    // SAFETY: what the kernel left on the stack ends with null pointers.
    unsafe { syscall(__NR_execve, [path, argv, envp]) };
    127
}
