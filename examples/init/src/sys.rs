//! The system calls that are this program's alone.
//!
//! `unsafe` is allowed in this file for the calls.

#![allow(unsafe_code)]

use core::ffi::CStr;
use core::mem::MaybeUninit;

use linux_raw_sys::errno::EBADF;
use linux_raw_sys::general::{
    __NR_dup, __NR_faccessat, __NR_fcntl, __NR_getpgid, __NR_getpid, __NR_getsid, __NR_ioctl,
    __NR_mkdirat, __NR_mount, __NR_openat, __NR_socket, __NR_statx, __NR_write, AT_FDCWD, F_GETFD,
    O_CLOEXEC, O_NOCTTY, O_RDWR, STATX_BASIC_STATS, statx,
};
use linux_raw_sys::ioctl::{SIOCGIFFLAGS, SIOCSIFFLAGS};
use linux_raw_sys::net::{AF_INET, SOCK_DGRAM};

/// A call: what it returns, or the errno.
///
/// # Safety
///
/// 1. It must be sound to make this call with these arguments.
#[inline(never)]
unsafe fn call(number: u32, a: usize, b: usize, c: usize, d: usize, e: usize) -> Result<u32, u32> {
    // SAFETY: 1: the caller's.
    let result = unsafe { gracenet_start::syscall(a, b, c, d, e, number as usize) } as i32;
    if result < 0 {
        Err(result.unsigned_abs())
    } else {
        Ok(result as u32)
    }
}

/// `getpid()` — Our pid.
pub(crate) fn pid() -> u32 {
    // SAFETY: it touches no memory.
    unsafe { call(__NR_getpid, 0, 0, 0, 0, 0) }.unwrap_or(0)
}

/// `getpgid(pid)` and `getsid(pid)` — Whether it is a thread of the kernel, which are in no group and
/// no session. They are seen only by the processes of the machine itself, not of a container.
pub(crate) fn is_kernel_thread(pid: usize) -> bool {
    // SAFETY: it touches no memory.
    let group = unsafe { call(__NR_getpgid, pid, 0, 0, 0, 0) };
    // SAFETY: as above.
    let session = unsafe { call(__NR_getsid, pid, 0, 0, 0, 0) };
    (group, session) == (Ok(0), Ok(0))
}

/// `fcntl(number, F_GETFD)` — Whether there is such an fd.
pub(crate) fn is_open(number: usize) -> bool {
    // SAFETY: it touches no memory, and changes nothing.
    let flags = unsafe { call(__NR_fcntl, number, F_GETFD as usize, 0, 0, 0) };
    flags != Err(EBADF)
}

/// `write(2, bytes)` — When nobody takes it there is nobody to tell.
pub(crate) fn print(bytes: &[u8]) {
    // SAFETY: the kernel reads the bytes.
    let _ = unsafe { call(__NR_write, 2, bytes.as_ptr().addr(), bytes.len(), 0, 0) };
}

/// `openat(AT_FDCWD, path, O_RDWR | O_NOCTTY)` — Under the lowest free number, for others, too.
pub(crate) fn open(path: &CStr) -> Result<u32, u32> {
    let flags = (O_RDWR | O_NOCTTY) as usize;
    let at = path.as_ptr().addr();
    // SAFETY: a C string.
    unsafe { call(__NR_openat, AT_FDCWD as usize, at, flags, 0, 0) }
}

/// `dup(number)` — Under the lowest free number.
pub(crate) fn duplicate(number: usize) -> Result<u32, u32> {
    // SAFETY: it makes a new fd.
    unsafe { call(__NR_dup, number, 0, 0, 0, 0) }
}

/// `statx(AT_FDCWD, path, STATX_BASIC_STATS)` — Which file it is, and since when it is as it is; zeros
/// where there is none.
pub(crate) fn identity(path: &CStr) -> [u64; 4] {
    let mut file = MaybeUninit::<statx>::zeroed();
    let path = path.as_ptr().addr();
    let (mask, at) = (STATX_BASIC_STATS as usize, file.as_mut_ptr().addr());
    // SAFETY: a C string; the kernel writes one structure.
    let _ = unsafe { call(__NR_statx, AT_FDCWD as usize, path, 0, mask, at) };
    // SAFETY: numbers, all of which are zeros or the kernel's.
    let file = unsafe { file.assume_init_ref() };
    [
        u64::from(file.stx_dev_major) << 32 | u64::from(file.stx_dev_minor),
        file.stx_ino,
        file.stx_ctime.tv_sec as u64,
        file.stx_ctime.tv_nsec.into(),
    ]
}

/// `faccessat(AT_FDCWD, path, F_OK)` — Whether there is something.
pub(crate) fn exists(path: &CStr) -> bool {
    let at = path.as_ptr().addr();
    // SAFETY: a C string.
    unsafe { call(__NR_faccessat, AT_FDCWD as usize, at, 0, 0, 0) }.is_ok()
}

/// `mkdir(path, 0755)` — If it is not there.
pub(crate) fn make_directory(path: &CStr) {
    let at = path.as_ptr().addr();
    // SAFETY: a C string.
    let _ = unsafe { call(__NR_mkdirat, AT_FDCWD as usize, at, 0o755, 0, 0) };
}

/// `mount(kind, path, kind, flags, NULL)` — A file system of the kernel's own.
pub(crate) fn mount(kind: &CStr, path: &CStr, flags: u32) -> Result<(), u32> {
    let (kind, path) = (kind.as_ptr().addr(), path.as_ptr().addr());
    // SAFETY: C strings, and no data.
    unsafe { call(__NR_mount, kind, path, kind, flags as usize, 0) }.map(drop)
}

/// `ioctl(a socket, SIOCSIFFLAGS)` — Brings an interface up.
pub(crate) fn bring_up(name: &[u8]) -> Result<(), u32> {
    /// `struct ifreq`.
    #[repr(C)]
    struct Request {
        name: [u8; 16],
        flags: u16,
        rest: [u8; 22],
    }
    const UP: u16 = 1;
    let kind = (SOCK_DGRAM | O_CLOEXEC) as usize;
    // SAFETY: it makes a new fd, which is left open: this happens once.
    let any = unsafe { call(__NR_socket, AF_INET as usize, kind, 0, 0, 0)? } as usize;
    let mut request = Request {
        name: [0; 16],
        flags: 0,
        rest: [0; 22],
    };
    for (to, from) in request.name.iter_mut().zip(name) {
        *to = *from;
    }
    let at = (&raw mut request).expose_provenance();
    // SAFETY: the request is as large as the kernel has it, and writable.
    unsafe { call(__NR_ioctl, any, SIOCGIFFLAGS as usize, at, 0, 0)? };
    request.flags |= UP;
    let at = (&raw mut request).expose_provenance();
    // SAFETY: as above.
    unsafe { call(__NR_ioctl, any, SIOCSIFFLAGS as usize, at, 0, 0) }.map(drop)
}
