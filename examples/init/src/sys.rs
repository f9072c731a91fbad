//! The system calls that are this program's alone, and that rustix has not, or not for what they are
//! used for here.
//!
//! `unsafe` is allowed in this file for the calls.

#![allow(unsafe_code)]

use core::ffi::CStr;
use core::mem::MaybeUninit;

use gracenet_start::syscall;
use linux_raw_sys::errno::EBADF;
use linux_raw_sys::general::{
    __NR_dup, __NR_fcntl, __NR_getpgid, __NR_getsid, __NR_ioctl, __NR_openat, __NR_socket,
    __NR_statx, __NR_write, AT_FDCWD, F_GETFD, O_CLOEXEC, O_NOCTTY, O_RDWR, STATX_BASIC_STATS,
    statx,
};
use linux_raw_sys::ioctl::{SIOCGIFFLAGS, SIOCSIFFLAGS};
use linux_raw_sys::net::{AF_INET, SOCK_DGRAM};

/// `getpgid(pid)` and `getsid(pid)` — Whether it is a thread of the kernel, which are in no group and
/// no session. They are seen only by the processes of the machine itself, not of a container.
pub(crate) fn is_kernel_thread(pid: usize) -> bool {
    // SAFETY: it touches no memory.
    let group = unsafe { syscall(__NR_getpgid, [pid]) };
    // SAFETY: as above.
    let session = unsafe { syscall(__NR_getsid, [pid]) };
    group | session == 0
}

/// `fcntl(number, F_GETFD)` — Whether there is such an fd.
pub(crate) fn is_open(number: usize) -> bool {
    // SAFETY: it touches no memory, and changes nothing.
    let flags = unsafe { syscall(__NR_fcntl, [number, F_GETFD as usize]) };
    flags != -(EBADF as isize)
}

/// `write(2, bytes)` — When nobody takes it there is nobody to tell.
pub(crate) fn print(bytes: &[u8]) {
    // SAFETY: the kernel reads the bytes.
    unsafe { syscall(__NR_write, [2, bytes.as_ptr().addr(), bytes.len()]) };
}

/// `openat(AT_FDCWD, path, O_RDWR | O_NOCTTY)` — Under the lowest free number, for others, too: whether
/// there is such a file.
#[inline(never)]
pub(crate) fn open(path: &CStr) -> bool {
    let (path, flags) = (path.as_ptr().addr(), (O_RDWR | O_NOCTTY) as usize);
    // SAFETY: a C string.
    unsafe { syscall(__NR_openat, [AT_FDCWD as usize, path, flags]) >= 0 }
}

/// `dup(number)` — Under the lowest free number.
pub(crate) fn duplicate(number: usize) {
    // SAFETY: it makes a new fd.
    unsafe { syscall(__NR_dup, [number]) };
}

/// `statx(AT_FDCWD, path, STATX_BASIC_STATS)` — Which file it is, and since when it is as it is; zeros
/// where there is none.
pub(crate) fn identity(path: &CStr) -> [u64; 4] {
    let mut file = MaybeUninit::<statx>::zeroed();
    let path = path.as_ptr().addr();
    let (mask, at) = (STATX_BASIC_STATS as usize, file.as_mut_ptr().addr());
    // SAFETY: a C string; the kernel writes one structure.
    unsafe { syscall(__NR_statx, [AT_FDCWD as usize, path, 0, mask, at]) };
    // SAFETY: numbers, all of which are zeros or the kernel's.
    let file = unsafe { file.assume_init_ref() };
    [
        u64::from(file.stx_dev_major) | u64::from(file.stx_dev_minor) << 32,
        file.stx_ino,
        file.stx_ctime.tv_sec as u64,
        file.stx_ctime.tv_nsec.into(),
    ]
}

/// `ioctl(a socket, SIOCSIFFLAGS)` — Brings the loopback interface up.
pub(crate) fn bring_loopback_up() {
    /// `struct ifreq`.
    #[repr(C)]
    struct Request {
        name: [u64; 2],
        flags: u16,
        rest: [u8; 22],
    }
    const UP: u16 = 1;
    let mut request = Request {
        name: [u64::from_ne_bytes(*b"lo\0\0\0\0\0\0"), 0],
        flags: 0,
        rest: [0; 22],
    };
    let kind = (SOCK_DGRAM | O_CLOEXEC) as usize;
    // SAFETY: it makes a new fd, which is left open: this happens once.
    let any = unsafe { syscall(__NR_socket, [AF_INET as usize, kind, 0]) } as usize;
    let mut control = |what: u32| {
        let at = (&raw mut request).expose_provenance();
        // SAFETY: the request is as large as the kernel has it, and writable.
        let result = unsafe { syscall(__NR_ioctl, [any, what as usize, at]) };
        request.flags |= UP;
        result
    };
    if control(SIOCGIFFLAGS) >= 0 {
        control(SIOCSIFFLAGS);
    }
}
