//! The system calls of the test itself. They do not go through the crate's own, which are what is
//! tested.

use core::ffi::CStr;

use linux_raw_sys::general as raw;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::process::Signal;

use crate::report::{Why, because};

/// # Safety
///
/// 1. It must be sound to make this call with these arguments.
unsafe fn call(number: u32, arguments: [usize; 5]) -> Result<usize, Errno> {
    // SAFETY: 1: the caller's.
    let result = unsafe { gracenet_start::syscall(number, arguments) };
    match result {
        -4095..0 => Err(Errno::from_raw_os_error(-result as i32)),
        _ => Ok(result as usize),
    }
}

const fn bit(signal: Signal) -> u64 {
    1 << (signal.as_raw() - 1)
}

/// The mask that everything starts with: not an empty one, so that it can get lost.
pub(crate) const START_MASK: u64 = bit(Signal::USR1);

/// SIG_DFL and SIG_IGN.
pub(crate) const DEFAULT: usize = 0;
pub(crate) const IGNORED: usize = 1;

/// What everything starts with. One signal is ignored that the crate takes care of, and one that
/// it leaves alone.
pub(crate) fn prepare_signals() {
    set_mask(START_MASK);
    set_disposition(Signal::PIPE.as_raw(), IGNORED);
    set_disposition(Signal::HUP.as_raw(), IGNORED);
}

/// What programs do to their signals; nothing of it is to be seen in a successor.
pub(crate) fn disturb_signals() {
    set_disposition(Signal::PIPE.as_raw(), DEFAULT);
    set_disposition(Signal::TERM.as_raw(), handler as *const () as usize);
    set_disposition(64, handler as *const () as usize);
}

/// Never runs.
extern "C" fn handler(_: i32) {
    gracenet_start::exit(99);
}

fn set_mask(mask: u64) {
    let how = raw::SIG_SETMASK as usize;
    let at = (&raw const mask).expose_provenance();
    // SAFETY: the kernel reads the mask, of the size given.
    let _ = unsafe { call(raw::__NR_rt_sigprocmask, [how, at, 0, 8, 0]) };
}

/// The mask of this thread.
pub(crate) fn mask() -> u64 {
    let mut mask = 0_u64;
    let at = (&raw mut mask).expose_provenance();
    // SAFETY: the mask is writable, of the size given.
    let _ = unsafe { call(raw::__NR_rt_sigprocmask, [0, 0, at, 8, 0]) };
    mask
}

/// Longer than the kernel's structure is on any processor; the handler comes first on all of them.
type Action = [usize; 8];

fn set_disposition(signal: i32, to: usize) {
    let action: Action = [to, 0, 0, 0, 0, 0, 0, 0];
    let at = (&raw const action).expose_provenance();
    // SAFETY: the kernel reads the action; no handler returns.
    let _ = unsafe { call(raw::__NR_rt_sigaction, [signal as usize, at, 0, 8, 0]) };
}

/// [`DEFAULT`], [`IGNORED`], or a handler.
pub(crate) fn disposition(signal: i32) -> usize {
    let mut action: Action = [usize::MAX; 8];
    let at = (&raw mut action).expose_provenance();
    // SAFETY: the action is writable and longer than the kernel's.
    let _ = unsafe { call(raw::__NR_rt_sigaction, [signal as usize, 0, at, 8, 0]) };
    let [handler, ..] = action;
    handler
}

/// Which fds there are: bit n for fd n, as far as they have room.
pub(crate) fn open_fds() -> [u64; 16] {
    let mut open = [0; 16];
    for (word, first) in open.iter_mut().zip((0..).step_by(64)) {
        for fd in 0..64 {
            // SAFETY: it touches no memory, and changes nothing.
            let flags = unsafe { call(raw::__NR_fcntl, [first + fd, 1, 0, 0, 0]) };
            *word |= u64::from(flags.is_ok()) << fd;
        }
    }
    open
}

/// The flags of an fd (F_GETFD).
pub(crate) fn fd_flags(fd: usize) -> Result<usize, Errno> {
    // SAFETY: it touches no memory, and changes nothing.
    unsafe { call(raw::__NR_fcntl, [fd, 1, 0, 0, 0]) }
}

/// The working directory.
pub(crate) fn working_directory(buffer: &mut [u8; 256]) -> &[u8] {
    let at = buffer.as_mut_ptr().expose_provenance();
    // SAFETY: the buffer is writable, of the size given.
    let _ = unsafe { call(raw::__NR_getcwd, [at, buffer.len(), 0, 0, 0]) };
    CStr::from_bytes_until_nul(buffer).map_or(b"", CStr::to_bytes)
}

/// Waits, for as long as nothing happens that ends the process.
pub(crate) fn sleep_ms(ms: u64) -> i32 {
    let time = rustix::event::Timespec {
        tv_sec: (ms / 1000) as _,
        tv_nsec: ((ms % 1000) * 1_000_000) as _,
    };
    let _ = rustix::event::poll(&mut [], Some(&time));
    0
}

pub(crate) fn kill_self() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
    gracenet_start::exit(98)
}

/// ioctl(SIOCSIFFLAGS): lo is up.
pub(crate) fn loopback_up() -> Result<(), Why> {
    const IFF_UP_AND_RUNNING: u16 = 0x41;
    /// `struct ifreq`.
    #[repr(C)]
    struct Request {
        name: [u8; 16],
        flags: u16,
        rest: [u8; 22],
    }
    let request = Request {
        name: *b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        flags: IFF_UP_AND_RUNNING,
        rest: [0; 22],
    };
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None).map_err(because)?;
    let fd = rustix::fd::AsRawFd::as_raw_fd(&any) as usize;
    let at = (&raw const request).expose_provenance();
    let command = linux_raw_sys::ioctl::SIOCSIFFLAGS as usize;
    // SAFETY: the kernel reads the request.
    unsafe { call(raw::__NR_ioctl, [fd, command, at, 0, 0]) }
        .map(drop)
        .map_err(because)
}

/// Which system calls the kernel pretends not to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    /// clone3, as filters refuse it that cannot look into its arguments.
    Clone3,
    /// All that came later: from Linux 5.0 on, calls have the same numbers on every processor.
    Linux4_19,
}

/// One instruction of a filter: code, where to go on, a number.
#[repr(C)]
struct Instruction(u16, u8, u8, u32);

const LOAD: u16 = 0x20;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// Where the number of the call is, and its first argument.
const NUMBER: u32 = 0;
const FIRST: u32 = 16;

const ALLOW: u32 = 0x7fff_0000;
const ENOSYS: u32 = 0x0005_0000 | 38;
const EPERM: u32 = 0x0005_0000 | 1;
const EINVAL: u32 = 0x0005_0000 | 22;

impl Filter {
    /// seccomp(SECCOMP_SET_MODE_FILTER), for this process and all that come of it.
    pub(crate) fn install(self) -> Result<(), Errno> {
        match self {
            Filter::Clone3 => install(&[
                Instruction(LOAD, 0, 0, NUMBER),
                Instruction(IF_EQUAL, 0, 1, raw::__NR_clone3),
                Instruction(RETURN, 0, 0, EPERM),
                Instruction(RETURN, 0, 0, ALLOW),
            ]),
            Filter::Linux4_19 => install(&[
                Instruction(LOAD, 0, 0, NUMBER),
                Instruction(IF_AT_LEAST, 7, 0, FIRST_OF_LINUX_5),
                Instruction(IF_EQUAL, 1, 0, raw::__NR_clone),
                Instruction(IF_EQUAL, 2, 4, raw::__NR_waitid),
                Instruction(LOAD, 0, 0, FIRST),
                Instruction(IF_ANY_BIT, 4, 2, raw::CLONE_PIDFD),
                Instruction(LOAD, 0, 0, FIRST),
                Instruction(IF_EQUAL, 2, 0, raw::P_PIDFD),
                Instruction(RETURN, 0, 0, ALLOW),
                Instruction(RETURN, 0, 0, ENOSYS),
                Instruction(RETURN, 0, 0, EINVAL),
            ]),
        }
    }
}

/// clock_gettime64, on processors of 32 bits.
const FIRST_OF_LINUX_5: u32 = 403;

fn install(filter: &[Instruction]) -> Result<(), Errno> {
    const SET_MODE_FILTER: usize = 1;
    #[repr(C)]
    struct Program {
        length: u16,
        filter: *const Instruction,
    }
    rustix::thread::set_no_new_privs(true)?;
    let program = Program {
        length: filter.len() as u16,
        filter: filter.as_ptr(),
    };
    let at = (&raw const program).expose_provenance();
    // SAFETY: the kernel reads the filter, of so many instructions.
    unsafe { call(raw::__NR_seccomp, [SET_MODE_FILTER, 0, at, 0, 0]) }.map(drop)
}
