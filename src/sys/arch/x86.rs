//! System calls on x86, 32 bits.
//!
//! Same names, same order in every file of this folder, so that two can be read side by side.
//!
//! | register | holds |
//! | --- | --- |
//! | eax | the number in; the result, or a negated errno, out |
//! | ebx ecx edx esi edi ebp | the arguments |
//!
//! The compiler keeps esi for itself: it is exchanged with the argument, and back. No call here
//! has a sixth argument, for which ebp would be put aside in the same way. `int 0x80` is slower
//! than the vDSO's way in, and needs nothing to be found first.
//!
//! The child of a clone comes out of `int 0x80` on its own stack with the parent's registers. It
//! must not leave the block: what follows belongs to the parent, whose frame it would pull from
//! under it. It is entered by a call and never returns, so a shadow stack (CET), which under
//! CLONE_VFORK is the parent's, only grows by an entry that the parent pops by its own saved
//! pointer; Linux has none for programs of 32 bits so far. At the call esp is a multiple of 16,
//! and the argument lies there. There is no red zone.
#![allow(unsafe_code)] // The instruction that enters the kernel.

use core::arch::asm;
use core::ffi::c_void;
use core::ptr::with_exposed_provenance_mut;

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
        asm!("int 0x80", inlateout("eax") number => result, options(nostack));
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
        asm!("int 0x80", inlateout("eax") number => result, in("ebx") a, options(nostack));
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
        asm!("int 0x80", inlateout("eax") number => result, in("ebx") a, in("ecx") b, options(nostack));
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
    // One register too few: what is wanted in eax and in esi comes by way of memory.
    let both = [Argument::new(number), d];
    // SAFETY: 1. and 2. are the caller's duties, and the registers are declared as above.
    unsafe {
        asm!("push esi", "mov esi, [eax + 4]", "mov eax, [eax]", "int 0x80", "pop esi",
            inlateout("eax") both.as_ptr() => result, in("ebx") a, in("ecx") b, in("edx") c,
            in("edi") e);
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
            "int 0x80",
            "test eax, eax",
            "jnz 2f",
            "xor ebp, ebp",
            "sub esp, 12",
            "push edx",
            "call edi",
            "ud2",
            "2:",
            inlateout("eax") number => result,
            in("ebx") args,
            in("ecx") size,
            in("edx") argument,
            in("edi") entry,
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
    // For want of registers, the child finds both on its stack.
    let stack = stack.wrapping_sub(16);
    let top = with_exposed_provenance_mut::<[usize; 2]>(stack);
    // SAFETY: memory that is free and writable, by 1.
    unsafe { top.write([argument.expose_provenance(), entry as usize]) };
    // SAFETY: 1. and 2. are the caller's duties; the child never leaves the block.
    unsafe {
        asm!(
            "push esi",
            "xor esi, esi", // tls
            "int 0x80",
            "test eax, eax",
            "jnz 2f",
            "xor ebp, ebp",
            "call [esp + 4]",
            "ud2",
            "2:",
            "pop esi",
            inlateout("eax") number => result,
            in("ebx") flags,
            in("ecx") stack,
            in("edx") pidfd,
            in("edi") 0_usize, // ctid
        );
    }
    result
}
