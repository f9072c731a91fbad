//! What a program without a libc needs before its first own line, and nothing
//! else: an entry point, the memory routines that the compiler calls on its
//! own, a panic handler, [`syscall`] and [`exit`].
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//!
//! gracenet_start::main!(run);
//!
//! fn run(args: gracenet_start::Args) -> i32 {
//!     args.argc
//! }
//! ```
//!
//! The program's build script gives the linker what it needs; see `link.rs`
//! beside this crate's manifest, which says how.
//!
//! Only a program may depend on this crate: it defines `memcpy` and its like
//! for everything it is linked with.
//!
//! `unsafe` is allowed in this file for the call across the program's boundary
//! and for system calls.

// A test harness has a panic handler and memory routines of its own.
#![cfg(not(test))]
#![no_std]
#![allow(unsafe_code)]

#[cfg_attr(target_arch = "x86_64", path = "arch/x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "arch/aarch64.rs")]
#[cfg_attr(target_arch = "riscv64", path = "arch/riscv64.rs")]
#[cfg_attr(target_arch = "arm", path = "arch/arm.rs")]
#[cfg_attr(target_arch = "x86", path = "arch/x86.rs")]
mod arch;

use core::ffi::{c_char, c_int};
use core::mem::MaybeUninit;

/// What the kernel left on the stack: the three pointers of C's `main`.
///
/// They stay valid, and what they point to unchanged, as long as the process
/// lives.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Args {
    /// How many arguments there are, the program's name among them.
    pub argc: c_int,
    /// The arguments: `argc` pointers to C strings, and a null pointer.
    pub argv: *const *const c_char,
    /// The environment: pointers to C strings, and a null pointer.
    pub envp: *const *const c_char,
}

impl Args {
    /// `Args::from_stack(stack)` — What lies at the stack pointer that a process
    /// begins with: `argc`, the arguments and a null pointer, the environment and
    /// a null pointer.
    ///
    /// # Safety
    ///
    /// 1. `stack` is the stack pointer at the process' entry.
    #[must_use]
    pub unsafe fn from_stack(stack: *const usize) -> Self {
        // SAFETY: 1: the kernel puts a whole word of argc there.
        let argc = unsafe { stack.read() };
        let argv = stack.wrapping_add(1).cast::<*const c_char>();
        let envp = argv.wrapping_add(argc).wrapping_add(1);
        #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
        let argc = argc as c_int;
        Args { argc, argv, envp }
    }
}

/// `main!(path)` — Names the function with which the program begins.
///
/// It is an `fn(Args) -> i32`; what it returns is the exit status. To be used
/// once in a program.
#[macro_export]
macro_rules! main {
    ($main:path) => {
        /// What `_start` calls, with the stack pointer as the kernel left it.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn gracenet_start_main(stack: *const usize) -> ! {
            let main: fn($crate::Args) -> i32 = $main;
            // SAFETY: the stack pointer at the process' entry, says `_start`.
            $crate::exit(main(unsafe { $crate::Args::from_stack(stack) }))
        }
    };
}

unsafe extern "C" {
    /// Defined by [`main!`]. It takes the stack pointer at the process' entry.
    fn gracenet_start_main(stack: *const usize) -> !;
}

/// An argument of a system call, or none, for which nothing is put into its register.
type Argument = MaybeUninit<usize>;

/// `syscall(number, [a, b])` — A system call with up to five arguments: what the kernel
/// says, a negated errno among it.
///
/// # Safety
///
/// 1. It must be sound to make this call with these arguments.
/// 2. It has no more, or does not look at them: they are what their registers hold, and no
///    zeros.
#[inline(always)]
pub unsafe fn syscall<const N: usize>(number: u32, arguments: [usize; N]) -> isize {
    const { assert!(N <= 5, "there are no calls with more") };
    let argument = |index: usize| match arguments.get(index) {
        Some(argument) => Argument::new(*argument),
        None => Argument::uninit(),
    };
    let all = [
        argument(0),
        argument(1),
        argument(2),
        argument(3),
        argument(4),
    ];
    // SAFETY: 1. and 2. are the caller's duties.
    unsafe { arch::syscall(number as usize, all) }
}

/// `exit_group(status)` — Ends the process, all of its threads, at once.
pub fn exit(status: i32) -> ! {
    #[allow(clippy::cast_sign_loss)]
    let status = status as usize;
    loop {
        // SAFETY: the call takes a number and touches no memory.
        unsafe { syscall(arch::EXIT_GROUP, [status]) };
    }
}

/// The unwinder's hook, which precompiled `core` mentions. Nothing unwinds
/// here: programs are built with `panic = "abort"`. Link-time optimization
/// drops it.
#[cfg(not(feature = "panic-is-a-link-error"))]
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// What the unwind tables of precompiled `core` mention on arm.
#[cfg(all(target_arch = "arm", not(feature = "panic-is-a-link-error")))]
mod unwind {
    #[unsafe(no_mangle)]
    extern "C" fn __aeabi_unwind_cpp_pr0() {}

    #[unsafe(no_mangle)]
    extern "C" fn __aeabi_unwind_cpp_pr1() {}
}

/// One line on stderr, and exit status 101 as std has it.
///
/// A build with debug assertions says where. What the panic says is left out, and
/// from a release where, too: it would bring the formatter and the places of all
/// panics, some kilobytes, into programs that are made not to panic.
#[cfg(not(feature = "panic-is-a-link-error"))]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    say(b"panicked");
    #[cfg(debug_assertions)]
    if let Some(location) = info.location() {
        let mut number = location.line();
        let mut digits = *b":0000000000\n";
        for digit in digits.iter_mut().skip(1).take(10).rev() {
            #[allow(clippy::cast_possible_truncation)]
            let last = (number % 10) as u8;
            *digit += last;
            number /= 10;
        }
        say(b" at ");
        say(location.file().as_bytes());
        say(&digits);
        exit(101);
    }
    let _ = info;
    say(b"\n");
    exit(101)
}

#[cfg(not(feature = "panic-is-a-link-error"))]
fn say(text: &[u8]) {
    // SAFETY: the kernel reads as many bytes as there are.
    unsafe { syscall(arch::WRITE, [2, text.as_ptr().addr(), text.len()]) };
}

/// A program that can panic does not link.
#[cfg(feature = "panic-is-a-link-error")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        safe fn a_panic_is_reachable() -> !;
    }
    a_panic_is_reachable()
}
