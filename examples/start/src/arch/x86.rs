//! x86, 32 bits: the entry point, the memory routines, a system call.
//!
//! | register | at `_start` | in a call | in a system call |
//! | --- | --- | --- | --- |
//! | `esp` | argc, argv, envp; 16-aligned | 16-aligned before `call`; the arguments | kept |
//! | `eax` | undefined | result | number, then result |
//! | `ecx` `edx` | undefined | free | arguments 2 and 3 |
//! | `ebx` `esi` `edi` | undefined | kept | arguments 1, 4 and 5 |
//! | `ebp` | undefined; 0 ends a back trace | kept | kept |
//!
//! The compiler keeps `esi` for itself: it is put aside for the system call.
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
pub(crate) const WRITE: u32 = 4;

/// The number of exit_group(2).
pub(crate) const EXIT_GROUP: u32 = 252;

global_asm!(
    ".pushsection .text._start,\"ax\",@progbits",
    ".globl _start",
    ".type _start,@function",
    "_start:",
    "xor ebp, ebp",
    "mov eax, esp",
    "and esp, -16",
    "sub esp, 12",
    "push eax",
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
    "push edi",
    "push esi",
    "mov edi, [esp + 12]",
    "mov esi, [esp + 16]",
    "mov ecx, [esp + 20]",
    "mov eax, edi",
    "rep movsb",
    "pop esi",
    "pop edi",
    "ret",
    ".size memcpy, . - memcpy",
    ".popsection",
);

global_asm!(
    ".pushsection .text.memmove,\"ax\",@progbits",
    ".globl memmove",
    ".type memmove,@function",
    "memmove:",
    "push edi",
    "push esi",
    "mov edi, [esp + 12]",
    "mov esi, [esp + 16]",
    "mov ecx, [esp + 20]",
    "mov eax, edi",
    "mov edx, edi",
    "sub edx, esi",
    "cmp edx, ecx",
    "jb 2f", // the target begins inside the source: from the end
    "rep movsb",
    "jmp 3f",
    "2:",
    "lea edi, [edi + ecx - 1]",
    "lea esi, [esi + ecx - 1]",
    "std",
    "rep movsb",
    "cld",
    "3:",
    "pop esi",
    "pop edi",
    "ret",
    ".size memmove, . - memmove",
    ".popsection",
);

global_asm!(
    ".pushsection .text.memset,\"ax\",@progbits",
    ".globl memset",
    ".type memset,@function",
    "memset:",
    "push edi",
    "mov edi, [esp + 8]",
    "mov eax, [esp + 12]",
    "mov ecx, [esp + 16]",
    "mov edx, edi",
    "rep stosb",
    "mov eax, edx",
    "pop edi",
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
    "push edi",
    "push esi",
    "mov edi, [esp + 12]",
    "mov esi, [esp + 16]",
    "mov ecx, [esp + 20]",
    "xor eax, eax",
    "jecxz 3f",
    "2:",
    "movzx eax, byte ptr [edi]",
    "movzx edx, byte ptr [esi]",
    "inc edi",
    "inc esi",
    "sub eax, edx",
    "jne 3f",
    "dec ecx",
    "jne 2b",
    "3:",
    "pop esi",
    "pop edi",
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
    "mov ecx, [esp + 4]",
    "xor eax, eax",
    "2:",
    "cmp byte ptr [ecx + eax], 0",
    "je 3f",
    "inc eax",
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
    // One register too few: what is wanted in eax and in esi comes by way of
    // memory.
    let both = [Argument::new(number), d];
    // SAFETY: 1: the caller's; nothing but the result is clobbered.
    unsafe {
        asm!(
            "push esi",
            "mov esi, [eax + 4]",
            "mov eax, [eax]",
            "int 0x80",
            "pop esi",
            inlateout("eax") both.as_ptr() => result,
            in("ebx") a,
            in("ecx") b,
            in("edx") c,
            in("edi") e,
        );
    };
    result
}
