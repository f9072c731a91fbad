//! The system calls that rustix has not, or has where they cannot be used.
//!
//! | call | why it is here |
//! | --- | --- |
//! | clone, clone3 | rustix has none with a stack of its own |
//! | close_range, unshare | rustix has none |
//! | execve, execveat, rt_sigaction, rt_sigprocmask | rustix hides them behind a name that changes |
//! | clock_gettime | rustix goes through the vDSO, whose parser can panic |
//! | close, dup3, exit, fchdir, fcntl, getpid, openat, prctl | the child of a clone shares the parent's memory and runs only what stands in this folder |
//! | those of `calls` | rustix can panic in them |
//!
//! Everything else goes through rustix.
#![allow(unsafe_code)] // System calls are made from here.

mod arch;
mod calls;

use core::ffi::{c_int, c_void};
use core::mem::{MaybeUninit, size_of};

use linux_raw_sys::general as raw;
pub(crate) use linux_raw_sys::general::{
    FD_CLOEXEC, O_CLOEXEC, O_NONBLOCK as SOCK_NONBLOCK, O_PATH, O_RDWR,
};
use linux_raw_sys::prctl::{PR_GET_PDEATHSIG, PR_SET_PDEATHSIG};
use rustix::fd::BorrowedFd;
pub(crate) use rustix::io::Errno;

pub(crate) use crate::error::{Error, Operation};
pub(crate) use arch::Entry;
pub(crate) use calls::*;

/// CLOSE_RANGE_UNSHARE of linux/close_range.h: get a table of one's own first.
pub(crate) const CLOSE_RANGE_UNSHARE: u32 = 2;

/// AT_EXECVE_CHECK of linux/fcntl.h (Linux 6.14): only say whether it could be executed.
pub(crate) const AT_EXECVE_CHECK: u32 = 0x10000;

/// The last signal: Linux has 64 of them on every processor here.
pub(crate) const SIGNALS: u32 = 64;

/// A set of signals, as the kernel has it: bit n is signal n + 1.
pub(crate) type SigSet = u64;

/// This signal.
pub(crate) const fn set_with(signal: u32) -> SigSet {
    1_u64.wrapping_shl(signal.wrapping_sub(1))
}

/// These signals.
pub(crate) const fn set_of(signals: &[u32]) -> SigSet {
    let (mut set, mut rest) = (0, signals);
    while let [signal, behind @ ..] = rest {
        set |= set_with(*signal);
        rest = behind;
    }
    set
}

/// The signals of a crash, which a thread gets by its own doing.
pub(crate) const CRASH_SIGNALS: [u32; 7] = [
    raw::SIGSEGV,
    raw::SIGBUS,
    raw::SIGILL,
    raw::SIGFPE,
    raw::SIGABRT,
    raw::SIGSYS,
    raw::SIGTRAP,
];

/// All of [`CRASH_SIGNALS`].
pub(crate) const CRASHES: SigSet = set_of(&CRASH_SIGNALS);

/// What a signal does, as far as an execve keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Disposition {
    Default,
    Ignored,
    /// A handler, which becomes the default at an execve.
    Handled,
}

const MASK_WORDS: usize = size_of::<SigSet>() / size_of::<usize>();

/// `struct sigaction` of the kernel, not of a libc.
#[repr(C)]
struct Sigaction {
    handler: usize,
    flags: usize,
    #[cfg(not(target_arch = "riscv64"))]
    restorer: usize,
    /// A [`SigSet`] in words, as whose parts it is aligned.
    mask: [usize; MASK_WORDS],
}

const _: () = assert!(size_of::<Sigaction>() == size_of::<raw::kernel_sigaction>());

impl Sigaction {
    /// SIG_IGN or SIG_DFL.
    const fn new(ignore: bool) -> Sigaction {
        Sigaction {
            handler: ignore as usize,
            flags: 0,
            #[cfg(not(target_arch = "riscv64"))]
            restorer: 0,
            mask: [0; MASK_WORDS],
        }
    }
}

/// `struct signalfd_siginfo`, as much of it as is read.
#[repr(C)]
pub(crate) struct SignalfdSiginfo {
    pub(crate) signo: u32,
    pub(crate) errno: i32,
    pub(crate) code: i32,
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    rest: MaybeUninit<[u32; 27]>,
}

impl SignalfdSiginfo {
    pub(crate) const fn new() -> SignalfdSiginfo {
        SignalfdSiginfo {
            signo: 0,
            errno: 0,
            code: 0,
            pid: 0,
            uid: 0,
            rest: MaybeUninit::uninit(),
        }
    }
}

const _: () = assert!(size_of::<SignalfdSiginfo>() == 128);

/// The pid that a clone has returned, or its error.
#[inline(never)]
fn cloned(result: isize) -> Result<u32, Error> {
    let operation = (Operation::Clone as u32) << 16;
    match result as i32 {
        errno @ -4095..=-1 => Err(Error::from_packed(operation, errno.wrapping_neg() as u32)),
        pid => Ok(pid as u32),
    }
}

/// clone3(args, size): the child's pid.
///
/// # Safety
///
/// As for [`arch::clone3`].
pub(crate) unsafe fn clone3(
    args: &raw::clone_args,
    entry: Entry,
    argument: *mut c_void,
) -> Result<u32, Error> {
    let (at, size) = (
        args as *const raw::clone_args as usize,
        size_of::<raw::clone_args>(),
    );
    // SAFETY: the caller's duties are those of the callee.
    cloned(unsafe { arch::clone3(raw::__NR_clone3 as usize, at, size, entry, argument) })
}

/// clone(flags, stack, pidfd): the child's pid.
///
/// # Safety
///
/// As for [`arch::clone`].
pub(crate) unsafe fn clone(
    flags: usize,
    stack: *mut c_void,
    pidfd: *mut c_int,
    entry: Entry,
    argument: *mut c_void,
) -> Result<u32, Error> {
    let (stack, pidfd) = (stack as usize, pidfd as usize);
    // SAFETY: the caller's duties are those of the callee.
    cloned(unsafe {
        arch::clone(
            raw::__NR_clone as usize,
            flags,
            stack,
            pidfd,
            entry,
            argument,
        )
    })
}

/// exit_group(status).
pub(crate) fn exit(status: c_int) -> ! {
    loop {
        // SAFETY: the process ends here, and takes no memory of another with it.
        unsafe { arch::syscall1(raw::__NR_exit_group as usize, status as usize) };
    }
}

/// exit(0): this thread's end.
pub(crate) fn exit_thread() -> ! {
    loop {
        // SAFETY: the thread ends here, and takes no memory of another with it.
        unsafe { arch::syscall1(raw::__NR_exit as usize, 0) };
    }
}

/// getpid().
pub(crate) fn getpid() -> u32 {
    // SAFETY: reads a number.
    (unsafe { arch::syscall0(raw::__NR_getpid as usize) }) as u32
}

/// prctl(PR_GET_PDEATHSIG): the signal that this thread's process gets at its parent's end, or 0.
pub(crate) fn death_signal() -> c_int {
    let mut signal: c_int = 0;
    // SAFETY: the signal is writable. Without one it stays 0.
    unsafe {
        arch::syscall2(
            raw::__NR_prctl as usize,
            PR_GET_PDEATHSIG as usize,
            &raw mut signal as usize,
        )
    };
    signal
}

/// prctl(PR_SET_PDEATHSIG), which a new thread has not got from the one that made it.
pub(crate) fn set_death_signal(signal: c_int) {
    // SAFETY: a number.
    unsafe {
        arch::syscall2(
            raw::__NR_prctl as usize,
            PR_SET_PDEATHSIG as usize,
            signal as usize,
        )
    };
}

/// statx(AT_FDCWD) and statx(fd): whether they are one directory.
pub(crate) fn is_working_directory(fd: c_int) -> bool {
    // SAFETY: only lent for the call, and that it is open is what is found out.
    let there = calls::file(unsafe { borrow(fd) });
    there.known().is_ok() && there == calls::working_directory()
}

/// fstat: the inode of a pidfd, where the kernel has pidfs (Linux 6.9): it is never used again.
/// Before, all pidfds have one.
pub(crate) fn pidfd_inode(pidfd: BorrowedFd<'_>) -> Option<u64> {
    if !kernel_is_at_least(6, 9) {
        return None;
    }
    calls::file(pidfd).known().ok().map(|file| file.inode())
}

/// uname: whether the running kernel is of this release or a later one. One that hides it is not.
pub(crate) fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    // SAFETY: a structure of bytes, of which zeros are valid ones.
    let mut name: linux_raw_sys::system::new_utsname = unsafe { core::mem::zeroed() };
    let at = &raw mut name as usize;
    // SAFETY: `name` is writable.
    unsafe { arch::syscall1(raw::__NR_uname as usize, at) };
    // The major number in the upper half, once it is read.
    let (mut release, mut number) = (0_u32, 0_u32);
    for byte in &name.release {
        let digit = u32::from((*byte as u8).wrapping_sub(b'0'));
        if digit < 10 {
            number = number.wrapping_mul(10).wrapping_add(digit);
        } else if release == 0 {
            release = number << 16;
            number = 0;
        } else {
            break;
        }
    }
    release | number >= (major << 16) | minor
}

/// rt_sigprocmask(SIG_SETMASK, set): the mask until now. All 64 signals, which a libc's call
/// does not reach.
pub(crate) fn set_signal_mask(set: SigSet) -> SigSet {
    signal_mask(raw::SIG_SETMASK, set)
}

/// rt_sigprocmask(SIG_BLOCK, set): the mask until now.
pub(crate) fn block_signals(set: SigSet) -> SigSet {
    signal_mask(raw::SIG_BLOCK, set)
}

/// rt_sigprocmask(how, set): the mask until now. With valid arguments it cannot fail.
#[inline(never)]
fn signal_mask(how: u32, set: SigSet) -> SigSet {
    let mut old: SigSet = 0;
    // SAFETY: who changes the mask knows what it was.
    unsafe { calls::rt_sigprocmask(how, &set, &mut old) };
    old
}

/// rt_sigprocmask that blocks none: the mask of this thread.
pub(crate) fn current_signal_mask() -> SigSet {
    block_signals(0)
}

/// rt_sigtimedwait(set, 0): signals of the set that wait for this process are gone. They are
/// blocked.
pub(crate) fn discard_signals(set: SigSet) {
    for _ in 0..SIGNALS {
        if calls::take_signal(&set).is_err() {
            return;
        }
    }
}

/// rt_sigpending(): those that wait and are blocked.
pub(crate) fn pending_signals() -> SigSet {
    let mut set: SigSet = 0;
    let at = &raw mut set as usize;
    // SAFETY: the set is writable, of the size given.
    unsafe { arch::syscall2(raw::__NR_rt_sigpending as usize, at, size_of::<SigSet>()) };
    set
}

/// rt_sigaction(signal): its disposition.
pub(crate) fn disposition(signal: u32) -> Disposition {
    let mut now = Sigaction::new(false);
    // SAFETY: `now` is writable, and nothing is changed. A signal's number is right by its caller;
    // else it is the default.
    let _ = unsafe { calls::rt_sigaction(signal, 0, &raw mut now as usize) };
    match now.handler {
        0 => Disposition::Default,
        1 => Disposition::Ignored,
        _ => Disposition::Handled,
    }
}

/// rt_sigaction(signal, SIG_DFL or SIG_IGN).
///
/// # Safety
///
/// 1. Nobody relies on the disposition until now.
#[inline(never)]
pub(crate) unsafe fn set_disposition(signal: u32, ignore: bool) -> Result<(), Error> {
    let new = Sigaction::new(ignore);
    // SAFETY: `new` is readable; 1. is the caller's duty.
    unsafe { calls::rt_sigaction(signal, &raw const new as usize, 0) }
}

/// What a signal does, as it is kept to be restored.
#[repr(transparent)]
pub(crate) struct Handler(Sigaction);

/// rt_sigaction(signal, handler): on the stack for handlers, with all signals blocked. What it did
/// until now is written to `before`.
///
/// # Safety
///
/// 1. `handler` never returns, and is sound wherever it interrupts something.
/// 2. `before` is writable.
pub(crate) unsafe fn set_handler(signal: u32, handler: extern "C" fn(c_int), before: *mut Handler) {
    let mut new = Sigaction::new(false);
    new.handler = handler as usize;
    new.flags = raw::SA_ONSTACK as usize;
    new.mask = [usize::MAX; MASK_WORDS];
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    {
        // The kernel makes no frame without it. Nothing returns there.
        new.flags |= raw::SA_RESTORER as usize;
        new.restorer = handler as usize;
    }
    // SAFETY: 1. and 2. are the caller's duties.
    let _ = unsafe { calls::rt_sigaction(signal, &raw const new as usize, before as usize) };
}

/// rt_sigaction(signal, before), unless another handler than this one has been set since.
///
/// # Safety
///
/// 1. `before` was written by [`set_handler`] for this signal.
pub(crate) unsafe fn restore_handler(
    signal: u32,
    handler: extern "C" fn(c_int),
    before: *const Handler,
) {
    let mut now = Sigaction::new(false);
    // SAFETY: `now` is writable, and nothing is changed.
    let _ = unsafe { calls::rt_sigaction(signal, 0, &raw mut now as usize) };
    if now.handler == handler as usize {
        // SAFETY: 1. is the caller's duty.
        let _ = unsafe { calls::rt_sigaction(signal, before as usize, 0) };
    }
}

/// sigaltstack(stack), unless this thread has one.
///
/// # Safety
///
/// 1. So many bytes are free until [`no_handler_stack`] is called, or this thread has ended.
pub(crate) unsafe fn set_handler_stack(stack: *mut c_void, size: usize) {
    // SAFETY: 1. is the caller's duty.
    unsafe { replace_handler_stack(core::ptr::null_mut(), stack, size, 0) };
}

/// sigaltstack(SS_DISABLE), unless this thread has got another stack since.
pub(crate) fn no_handler_stack(stack: *mut c_void) {
    // SAFETY: none is set.
    unsafe { replace_handler_stack(stack, core::ptr::null_mut(), 0, raw::SS_DISABLE) };
}

/// sigaltstack(stack), if this thread has `old`: null, where it has none.
///
/// # Safety
///
/// 1. As for [`set_handler_stack`], unless it is disabled.
#[inline(never)]
unsafe fn replace_handler_stack(old: *mut c_void, stack: *mut c_void, size: usize, flags: u32) {
    let mut now = raw::stack_t {
        ss_sp: stack,
        ss_flags: 0,
        ss_size: 0,
    };
    // SAFETY: it is writable. When that fails nothing is known, and nothing is changed.
    let asked = unsafe { calls::sigaltstack(0, &raw mut now as usize) };
    if asked.is_ok() && now.ss_sp == old {
        now.ss_sp = stack;
        now.ss_flags = flags as c_int;
        now.ss_size = size as _;
        // SAFETY: 1. is the caller's duty.
        let _ = unsafe { calls::sigaltstack(&raw const now as usize, 0) };
    }
}

/// clock_gettime(CLOCK_MONOTONIC) in nanoseconds.
#[inline(never)]
pub(crate) fn monotonic_nanoseconds() -> u64 {
    let mut now = raw::__kernel_timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let at = &raw mut now as usize;
    // SAFETY: the time is writable. The clock exists since Linux 2.6, so that it cannot fail.
    let result = unsafe { arch::syscall2(CLOCK_GETTIME, raw::CLOCK_MONOTONIC as usize, at) };
    #[cfg(target_pointer_width = "64")]
    let _ = result;
    #[cfg(target_pointer_width = "32")]
    if result != 0 {
        return short_nanoseconds();
    }
    (now.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(now.tv_nsec as u64)
}

/// clock_gettime with 64 bits of seconds, on every processor.
#[cfg(target_pointer_width = "64")]
const CLOCK_GETTIME: usize = raw::__NR_clock_gettime as usize;
#[cfg(target_pointer_width = "32")]
const CLOCK_GETTIME: usize = raw::__NR_clock_gettime64 as usize;

/// clock_gettime(CLOCK_MONOTONIC) with 32 bits of seconds, before Linux 5.1: enough for the time
/// since the start of the machine.
#[cfg(target_pointer_width = "32")]
#[cold]
fn short_nanoseconds() -> u64 {
    let mut now = [0_u32; 2];
    let (number, at) = (raw::__NR_clock_gettime as usize, &raw mut now as usize);
    // SAFETY: the time is writable.
    unsafe { arch::syscall2(number, raw::CLOCK_MONOTONIC as usize, at) };
    let [seconds, nanoseconds] = now.map(u64::from);
    seconds
        .wrapping_mul(1_000_000_000)
        .wrapping_add(nanoseconds)
}
