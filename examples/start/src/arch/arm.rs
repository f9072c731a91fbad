//! arm, 32 bits: the entry point, the memory routines, a system call.
//!
//! | register | at `_start` | in a call | in a system call |
//! | --- | --- | --- | --- |
//! | `sp` | argc, argv, envp; 8-aligned | 8-aligned | kept |
//! | `r0` `r1` `r2` | undefined | arguments 1 to 3 | arguments 1 to 3 |
//! | `r0` | undefined | result | result |
//! | `r3` | undefined | free | argument 4 |
//! | `r4` | undefined | kept | argument 5 |
//! | `r7` | undefined | kept | number |
//! | `r12` | undefined | free | kept |
//! | `r11` `lr` | undefined; 0 ends a back trace | kept; return address | kept |
//!
//! In Thumb code `r7` is the frame pointer, and cannot be named as an operand:
//! it is put aside for the system call. What is written here assembles as ARM
//! and as Thumb code.
//!
//! The routines are written in assembler because the compiler recognizes them
//! in Rust, and makes of the loop in `memcpy` a call of `memcpy`. Those of the
//! EABI (`__aeabi_memcpy` and more) come with the compiler.
//!
//! `unsafe` is allowed in this file for the system call.

#![allow(unsafe_code)]

use core::arch::{asm, global_asm};

use super::Argument;

/// The number of write(2).
#[cfg(not(feature = "panic-is-a-link-error"))]
pub(crate) const WRITE: u32 = 4;

/// The number of exit_group(2).
pub(crate) const EXIT_GROUP: u32 = 248;

global_asm!(
    ".pushsection .text._start,\"ax\",%progbits",
    ".globl _start",
    ".type _start,%function",
    "_start:",
    "mov r11, #0",
    "mov lr, #0",
    "mov r0, sp",
    "bic r1, r0, #7",
    "mov sp, r1",
    "bl {entry}",
    "udf #0",
    ".size _start, . - _start",
    ".popsection",
    entry = sym crate::gracenet_start_main,
);

global_asm!(
    ".pushsection .text.memcpy,\"ax\",%progbits",
    ".globl memcpy",
    ".type memcpy,%function",
    "memcpy:",
    "mov r3, r0",
    "cmp r2, #0",
    "beq 3f",
    "2:",
    "ldrb r12, [r1], #1",
    "strb r12, [r3], #1",
    "subs r2, r2, #1",
    "bne 2b",
    "3:",
    "bx lr",
    ".size memcpy, . - memcpy",
    ".popsection",
);

global_asm!(
    ".pushsection .text.memmove,\"ax\",%progbits",
    ".globl memmove",
    ".type memmove,%function",
    "memmove:",
    "mov r3, r0",
    "cmp r2, #0",
    "beq 4f",
    "sub r12, r0, r1",
    "cmp r12, r2",
    "blo 3f", // the target begins inside the source: from the end
    "2:",
    "ldrb r12, [r1], #1",
    "strb r12, [r3], #1",
    "subs r2, r2, #1",
    "bne 2b",
    "bx lr",
    "3:",
    "subs r2, r2, #1",
    "ldrb r12, [r1, r2]",
    "strb r12, [r3, r2]",
    "bne 3b",
    "4:",
    "bx lr",
    ".size memmove, . - memmove",
    ".popsection",
);

global_asm!(
    ".pushsection .text.memset,\"ax\",%progbits",
    ".globl memset",
    ".type memset,%function",
    "memset:",
    "mov r3, r0",
    "cmp r2, #0",
    "beq 3f",
    "2:",
    "strb r1, [r3], #1",
    "subs r2, r2, #1",
    "bne 2b",
    "3:",
    "bx lr",
    ".size memset, . - memset",
    ".popsection",
);

global_asm!(
    ".pushsection .text.memcmp,\"ax\",%progbits",
    ".globl memcmp",
    ".globl bcmp",
    ".type memcmp,%function",
    ".type bcmp,%function",
    "memcmp:",
    "bcmp:",
    "mov r3, r0",
    "mov r0, #0",
    "2:",
    "cmp r2, #0",
    "beq 3f",
    "ldrb r0, [r3], #1",
    "ldrb r12, [r1], #1",
    "sub r2, r2, #1",
    "subs r0, r0, r12",
    "beq 2b",
    "3:",
    "bx lr",
    ".size memcmp, . - memcmp",
    ".size bcmp, . - bcmp",
    ".popsection",
);

global_asm!(
    ".pushsection .text.strlen,\"ax\",%progbits",
    ".globl strlen",
    ".type strlen,%function",
    "strlen:",
    "mov r3, r0",
    "2:",
    "ldrb r12, [r3], #1",
    "cmp r12, #0",
    "bne 2b",
    "sub r0, r3, r0",
    "sub r0, r0, #1",
    "bx lr",
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
            "mov {saved}, r7",
            "mov r7, {number}",
            "svc #0",
            "mov r7, {saved}",
            number = in(reg) number,
            saved = out(reg) _,
            inlateout("r0") a => result,
            in("r1") b,
            in("r2") c,
            in("r3") d,
            in("r4") e,
            options(nostack),
        );
    };
    result
}
