//! x86_64: the entry point, the memory routines, a system call.
//!
//! | register | at `_start` | in a call | in a system call |
//! | --- | --- | --- | --- |
//! | `rsp` | argc, argv, envp; 16-aligned | 16-aligned before `call` | kept |
//! | `rdi` `rsi` `rdx` | undefined | arguments 1 to 3 | arguments 1 to 3 |
//! | `rax` | undefined | result | number, then result |
//! | `rcx` `r11` | undefined | free | clobbered |
//! | `r8` | undefined | free | argument 5 |
//! | `r10` | undefined | free | argument 4 |
//! | `rbp` | undefined; 0 ends a back trace | kept | kept |
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
pub(crate) const WRITE: u32 = 1;

/// The number of exit_group(2).
pub(crate) const EXIT_GROUP: u32 = 231;

global_asm!(
    ".pushsection .text._start,\"ax\",@progbits",
    ".globl _start",
    ".type _start,@function",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {entry}",
    "ud2",
    ".size _start, . - _start",
    ".popsection",
    entry = sym crate::gracenet_start_main,
);

global_asm!(
    ".pushsection .text.memcpy,\"ax\",@progbits",
    ".globl memcpy",
    ".type memcpy,@function",
    "memcpy:",
    "mov rax, rdi",
    "mov rcx, rdx",
    "rep movsb",
    "ret",
    ".size memcpy, . - memcpy",
    ".popsection",
);

global_asm!(
    ".pushsection .text.memmove,\"ax\",@progbits",
    ".globl memmove",
    ".type memmove,@function",
    "memmove:",
    "mov rax, rdi",
    "mov rcx, rdi",
    "sub rcx, rsi",
    "cmp rcx, rdx",
    "mov rcx, rdx",
    "jb 2f", // the target begins inside the source: from the end
    "rep movsb",
    "ret",
    "2:",
    "lea rdi, [rdi + rdx - 1]",
    "lea rsi, [rsi + rdx - 1]",
    "std",
    "rep movsb",
    "cld",
    "ret",
    ".size memmove, . - memmove",
    ".popsection",
);

global_asm!(
    ".pushsection .text.memset,\"ax\",@progbits",
    ".globl memset",
    ".type memset,@function",
    "memset:",
    "mov r8, rdi",
    "mov eax, esi",
    "mov rcx, rdx",
    "rep stosb",
    "mov rax, r8",
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
    "xor ecx, ecx",
    "2:",
    "cmp rcx, rdx",
    "je 3f",
    "movzx eax, byte ptr [rdi + rcx]",
    "movzx r8d, byte ptr [rsi + rcx]",
    "inc rcx",
    "sub eax, r8d",
    "je 2b",
    "ret",
    "3:",
    "xor eax, eax",
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
    "xor eax, eax",
    "2:",
    "cmp byte ptr [rdi + rax], 0",
    "je 3f",
    "inc rax",
    "jmp 2b",
    "3:",
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
    // SAFETY: 1: the caller's; clobbered registers are declared.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    };
    result
}
