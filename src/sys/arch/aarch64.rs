//! System calls on AArch64.
//!
//! Same names, same order in every file of this folder, so that two can be read side by side.
//!
//! | register | holds |
//! | --- | --- |
//! | x8 | the number |
//! | x0 to x5 | the arguments; x0 the result, or a negated errno, out |
//!
//! The child of a clone comes out of `svc` on its own stack with the parent's registers. It must
//! not leave the block: what follows belongs to the parent, whose frame it would pull from under
//! it. It is entered by a call and never returns, so a shadow stack (GCS), which under
//! CLONE_VFORK is the parent's, only grows by an entry that the parent pops by its own saved
//! pointer. There is no red zone.
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
        asm!("svc 0", in("x8") number, lateout("x0") result, options(nostack));
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
        asm!("svc 0", in("x8") number, inlateout("x0") a => result, options(nostack));
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
        asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, options(nostack));
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
        asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d, in("x4") e, options(nostack));
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
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x9",
            "blr x10",
            "brk #1",
            "2:",
            in("x8") number,
            inlateout("x0") args => result,
            in("x1") size,
            in("x9") argument,
            in("x10") entry,
            lateout("x30") _,
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
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x9",
            "blr x10",
            "brk #1",
            "2:",
            in("x8") number,
            inlateout("x0") flags => result,
            in("x1") stack,
            in("x2") pidfd,
            in("x3") 0_usize, // tls
            in("x4") 0_usize, // ctid
            in("x9") argument,
            in("x10") entry,
            lateout("x30") _,
        );
    }
    result
}
