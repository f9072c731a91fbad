//! System calls on ARM, 32 bits (EABI).
//!
//! Same names, same order in every file of this folder, so that two can be read side by side.
//!
//! | register | holds |
//! | --- | --- |
//! | r7 | the number |
//! | r0 to r5 | the arguments; r0 the result, or a negated errno, out |
//!
//! In Thumb code r7 is the frame pointer, and cannot be named as an operand: it is put aside in
//! another register for as long as the kernel wants it. None of these calls has an argument of 64
//! bits, which would begin at an even register.
//!
//! The child of a clone comes out of `svc` on its own stack with the parent's registers. It must
//! not leave the block: what follows belongs to the parent, whose frame it would pull from under
//! it. It is entered by a call and never returns. There is no shadow stack and no red zone.
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
        asm!(
            "mov {saved}, r7",
            "mov r7, {number}",
            "svc 0",
            "mov r7, {saved}",
            number = in(reg) number,
            saved = out(reg) _,
            lateout("r0") result,
            options(nostack),
        );
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
        asm!(
            "mov {saved}, r7",
            "mov r7, {number}",
            "svc 0",
            "mov r7, {saved}",
            number = in(reg) number,
            saved = out(reg) _,
            inlateout("r0") a => result,
            options(nostack),
        );
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
        asm!(
            "mov {saved}, r7",
            "mov r7, {number}",
            "svc 0",
            "mov r7, {saved}",
            number = in(reg) number,
            saved = out(reg) _,
            inlateout("r0") a => result,
            in("r1") b,
            options(nostack),
        );
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
        asm!(
            "mov {saved}, r7",
            "mov r7, {number}",
            "svc 0",
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
            "mov {saved}, r7",
            "mov r7, {number}",
            "svc 0",
            "mov r7, {saved}",
            "cmp r0, #0",
            "bne 2f",
            "mov r7, #0",
            "mov r11, #0",
            "mov r0, r5",
            "blx r8",
            "udf #1",
            "2:",
            number = in(reg) number,
            saved = out(reg) _,
            inlateout("r0") args => result,
            in("r1") size,
            in("r5") argument,
            in("r8") entry,
            lateout("lr") _,
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
            "mov {saved}, r7",
            "mov r7, {number}",
            "svc 0",
            "mov r7, {saved}",
            "cmp r0, #0",
            "bne 2f",
            "mov r7, #0",
            "mov r11, #0",
            "mov r0, r5",
            "blx r8",
            "udf #1",
            "2:",
            number = in(reg) number,
            saved = out(reg) _,
            inlateout("r0") flags => result,
            in("r1") stack,
            in("r2") pidfd,
            in("r3") 0_usize, // tls
            in("r4") 0_usize, // ctid
            in("r5") argument,
            in("r8") entry,
            lateout("lr") _,
        );
    }
    result
}
