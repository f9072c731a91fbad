//! aarch64: the entry point, the memory routines, a system call.
//!
//! | register | at `_start` | in a call | in a system call |
//! | --- | --- | --- | --- |
//! | `sp` | argc, argv, envp; 16-aligned | 16-aligned | kept |
//! | `x0` `x1` `x2` | undefined | arguments 1 to 3 | arguments 1 to 3 |
//! | `x0` | undefined | result | result |
//! | `x3` to `x5` | undefined | free | kept |
//! | `x8` | undefined | free | number |
//! | `x29` `x30` | undefined; 0 ends a back trace | kept; return address | kept |
//!
//! The routines are written in assembler because the compiler recognizes them
//! in Rust, and makes of the loop in `memcpy` a call of `memcpy`.
//!
//! `unsafe` is allowed in this file for the system call.

#![allow(unsafe_code)]

use core::arch::{asm, global_asm};

use super::Argument;

/// The number of write(2).
#[cfg(not(feature = "panic-is-a-link-error"))]
pub(crate) const WRITE: u32 = 64;

/// The number of exit_group(2).
pub(crate) const EXIT_GROUP: u32 = 94;

global_asm!(
    ".pushsection .text._start,\"ax\",@progbits",
    ".globl _start",
    ".type _start,@function",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "and x1, x0, #-16",
    "mov sp, x1",
    "bl {entry}",
    "udf #0",
    ".size _start, . - _start",
    ".popsection",
    entry = sym crate::gracenet_start_main,
);

global_asm!(
    ".pushsection .text.memcpy,\"ax\",@progbits",
    ".globl memcpy",
    ".type memcpy,@function",
    "memcpy:",
    "mov x3, x0",
    "cbz x2, 3f",
    "2:",
    "ldrb w4, [x1], #1",
    "strb w4, [x3], #1",
    "subs x2, x2, #1",
    "b.ne 2b",
    "3:",
    "ret",
    ".size memcpy, . - memcpy",
    ".popsection",
);

global_asm!(
    ".pushsection .text.memmove,\"ax\",@progbits",
    ".globl memmove",
    ".type memmove,@function",
    "memmove:",
    "mov x3, x0",
    "cbz x2, 4f",
    "sub x4, x0, x1",
    "cmp x4, x2",
    "b.lo 3f", // the target begins inside the source: from the end
    "2:",
    "ldrb w4, [x1], #1",
    "strb w4, [x3], #1",
    "subs x2, x2, #1",
    "b.ne 2b",
    "ret",
    "3:",
    "sub x2, x2, #1",
    "ldrb w4, [x1, x2]",
    "strb w4, [x3, x2]",
    "cbnz x2, 3b",
    "4:",
    "ret",
    ".size memmove, . - memmove",
    ".popsection",
);

global_asm!(
    ".pushsection .text.memset,\"ax\",@progbits",
    ".globl memset",
    ".type memset,@function",
    "memset:",
    "mov x3, x0",
    "cbz x2, 3f",
    "2:",
    "strb w1, [x3], #1",
    "subs x2, x2, #1",
    "b.ne 2b",
    "3:",
    "ret",
    ".size memset, . - memset",
    ".popsection",
);

global_asm!(
    ".pushsection .text.memcmp,\"ax\",@progbits",
    ".globl memcmp",
    ".globl bcmp",
    ".type memcmp,@function",
    ".type bcmp,@function",
    "memcmp:",
    "bcmp:",
    "mov x3, x0",
    "mov w0, wzr",
    "2:",
    "cbz x2, 3f",
    "ldrb w4, [x3], #1",
    "ldrb w5, [x1], #1",
    "sub x2, x2, #1",
    "sub w0, w4, w5",
    "cbz w0, 2b",
    "3:",
    "ret",
    ".size memcmp, . - memcmp",
    ".size bcmp, . - bcmp",
    ".popsection",
);

global_asm!(
    ".pushsection .text.strlen,\"ax\",@progbits",
    ".globl strlen",
    ".type strlen,@function",
    "strlen:",
    "mov x3, x0",
    "2:",
    "ldrb w4, [x3], #1",
    "cbnz w4, 2b",
    "sub x0, x3, x0",
    "sub x0, x0, #1",
    "ret",
    ".size strlen, . - strlen",
    ".popsection",
);

/// A system call with up to five arguments: what is in the register of one that it
/// has not does not matter.
///
/// # Safety
///
/// 1. It must be sound to make this call with these arguments.
#[inline(always)]
pub(crate) unsafe fn syscall(number: usize, [a, b, c, d, e]: [Argument; 5]) -> isize {
    let result;
    // SAFETY: 1: the caller's; nothing but the result is clobbered.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            in("x4") e,
            options(nostack),
        );
    };
    result
}
