//! riscv64: the entry point, the memory routines, a system call.
//!
//! | register | at `_start` | in a call | in a system call |
//! | --- | --- | --- | --- |
//! | `sp` | argc, argv, envp; 16-aligned | 16-aligned | kept |
//! | `a0` `a1` `a2` | undefined | arguments 1 to 3 | arguments 1 to 3 |
//! | `a0` | undefined | result | result |
//! | `a3` to `a5` | undefined | free | kept |
//! | `a7` | undefined | free | number |
//! | `s0` `ra` | undefined; 0 ends a back trace | kept; return address | kept |
//! | `gp` | undefined; set once, for the linker's short addresses | kept | kept |
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
    ".option push",
    ".option norelax", // else this address would be made relative to gp itself
    "lla gp, __global_pointer$",
    ".option pop",
    "mv s0, zero",
    "mv ra, zero",
    "mv a0, sp",
    "andi sp, sp, -16",
    "call {entry}",
    "unimp",
    ".size _start, . - _start",
    ".popsection",
    entry = sym crate::gracenet_start_main,
);

global_asm!(
    ".pushsection .text.memcpy,\"ax\",@progbits",
    ".globl memcpy",
    ".type memcpy,@function",
    "memcpy:",
    "mv a3, a0",
    "beqz a2, 3f",
    "2:",
    "lbu a4, 0(a1)",
    "sb a4, 0(a3)",
    "addi a1, a1, 1",
    "addi a3, a3, 1",
    "addi a2, a2, -1",
    "bnez a2, 2b",
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
    "mv a3, a0",
    "beqz a2, 4f",
    "sub a4, a0, a1",
    "bltu a4, a2, 3f", // the target begins inside the source: from the end
    "2:",
    "lbu a4, 0(a1)",
    "sb a4, 0(a3)",
    "addi a1, a1, 1",
    "addi a3, a3, 1",
    "addi a2, a2, -1",
    "bnez a2, 2b",
    "ret",
    "3:",
    "addi a2, a2, -1",
    "add a4, a1, a2",
    "lbu a4, 0(a4)",
    "add a5, a3, a2",
    "sb a4, 0(a5)",
    "bnez a2, 3b",
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
    "mv a3, a0",
    "beqz a2, 3f",
    "2:",
    "sb a1, 0(a3)",
    "addi a3, a3, 1",
    "addi a2, a2, -1",
    "bnez a2, 2b",
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
    "mv a3, a0",
    "mv a0, zero",
    "2:",
    "beqz a2, 3f",
    "lbu a4, 0(a3)",
    "lbu a5, 0(a1)",
    "addi a3, a3, 1",
    "addi a1, a1, 1",
    "addi a2, a2, -1",
    "sub a0, a4, a5",
    "beqz a0, 2b",
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
    "mv a3, a0",
    "2:",
    "lbu a4, 0(a3)",
    "addi a3, a3, 1",
    "bnez a4, 2b",
    "sub a0, a3, a0",
    "addi a0, a0, -1",
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
            "ecall",
            in("a7") number,
            inlateout("a0") a => result,
            in("a1") b,
            in("a2") c,
            in("a3") d,
            in("a4") e,
            options(nostack),
        );
    };
    result
}
