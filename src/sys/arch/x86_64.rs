//! System calls on x86-64.
//!
//! Same names, same order in every file of this folder, so that two can be read side by side.
//!
//! | register | holds |
//! | --- | --- |
//! | rax | the number in; the result, or a negated errno, out |
//! | rdi rsi rdx r10 r8 r9 | the arguments |
//! | rcx r11 | overwritten by `syscall` |
//!
//! The child of a clone comes out of `syscall` on its own stack with the parent's registers. It
//! must not leave the block: what follows belongs to the parent, whose frame it would pull from
//! under it. It is entered by a call and never returns, so a shadow stack (CET), which under
//! CLONE_VFORK is the parent's, only grows by an entry that the parent pops by its own saved
//! pointer. The red zone lies below the parent's stack pointer; the child has another one.
#![allow(unsafe_code)] // The instruction that enters the kernel.

use core::arch::asm;
use core::ffi::c_void;

use super::{Argument, Entry};

/// The system call `number` with no argument.
///
/// # Safety
///
/// 1. The call is one whose effects the caller answers for.
#[inline]
pub(crate) unsafe fn syscall0(number: usize) -> isize {
    let result;
    // SAFETY: 1. is the caller's duty, and the registers are declared as above.
    unsafe {
        asm!("syscall", inlateout("rax") number => result,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// The system call `number` with one argument.
///
/// # Safety
///
/// 1. The call is one whose effects the caller answers for.
#[inline]
pub(crate) unsafe fn syscall1(number: usize, a: usize) -> isize {
    let result;
    // SAFETY: 1. is the caller's duty, and the registers are declared as above.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// The system call `number` with two arguments.
///
/// # Safety
///
/// 1. The call is one whose effects the caller answers for.
#[inline]
pub(crate) unsafe fn syscall2(number: usize, a: usize, b: usize) -> isize {
    let result;
    // SAFETY: 1. is the caller's duty, and the registers are declared as above.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// The system call `number` with up to five arguments: what is in the register of one that it has
/// not does not matter.
///
/// # Safety
///
/// 1. The call is one whose effects the caller answers for.
/// 2. The arguments that it has are initialized.
#[inline]
pub(crate) unsafe fn syscall5(
    number: usize,
    a: usize,
    b: Argument,
    c: Argument,
    d: Argument,
    e: Argument,
) -> isize {
    let result;
    // SAFETY: 1. and 2. are the caller's duties, and the registers are declared as above.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, in("r8") e, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// clone3: `entry(argument)` in the child, on the stack that `args` names.
///
/// # Safety
///
/// 1. `args` is a `struct clone_args` of `size` bytes whose stack is free, writable, aligned to
///    16 bytes at its end and stays so until the child has left it.
/// 2. `entry` with `argument` is sound in the child, whatever it shares with the parent.
#[inline]
pub(crate) unsafe fn clone3(
    number: usize,
    args: usize,
    size: usize,
    entry: Entry,
    argument: *mut c_void,
) -> isize {
    let result;
    // SAFETY: 1. and 2. are the caller's duties; the child never leaves the block.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r9",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") number => result,
            in("rdi") args,
            in("rsi") size,
            in("r9") argument,
            in("r12") entry,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// clone: `entry(argument)` in the child, on the stack that ends at `stack`; with CLONE_PIDFD the
/// kernel writes the pidfd to `pidfd`.
///
/// # Safety
///
/// 1. Below `stack`, aligned to 16 bytes, is memory that is free, writable and stays so until the
///    child has left it; `pidfd` is writable.
/// 2. `entry` with `argument` is sound in the child, whatever it shares with the parent.
#[inline]
pub(crate) unsafe fn clone(
    number: usize,
    flags: usize,
    stack: usize,
    pidfd: usize,
    entry: Entry,
    argument: *mut c_void,
) -> isize {
    let result;
    // SAFETY: 1. and 2. are the caller's duties; the child never leaves the block.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r9",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") number => result,
            in("rdi") flags,
            in("rsi") stack,
            in("rdx") pidfd,
            in("r10") 0_usize, // ctid
            in("r8") 0_usize, // tls
            in("r9") argument,
            in("r12") entry,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}
