//! The system calls of the event loop.
//!
//! rustix has all of them. Each of its calls is inlined where it is made, with
//! its own check of the result, and some leave a panic behind; here they have
//! one way into the kernel and one error path, which is half a kilobyte less.
//!
//! `unsafe` is allowed in this file for the calls.

#![allow(unsafe_code)]

use core::mem::{MaybeUninit, offset_of};

use gracenet_words::report::Why;
use linux_raw_sys::errno::{EAGAIN, EBADF, EINTR, EPIPE, EPROTO};
#[cfg(not(target_arch = "arm"))]
use linux_raw_sys::general::__NR_pread64;
#[cfg(target_arch = "arm")]
use linux_raw_sys::general::__NR_preadv;
use linux_raw_sys::general::{
    __NR_close, __NR_epoll_create1, __NR_epoll_ctl, __NR_epoll_pwait, __NR_fcntl, __NR_getpid,
    __NR_getsockopt, __NR_memfd_create, __NR_recvfrom, __NR_sendto, __NR_shutdown, __NR_write,
    EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, F_GETFD, MFD_CLOEXEC,
};
use linux_raw_sys::net::{IPPROTO_TCP, MSG_DONTWAIT, MSG_NOSIGNAL, SHUT_WR, TCP_INFO, tcp_info};
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};

pub(crate) use linux_raw_sys::general::{
    EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, epoll_event as Event,
};
pub(crate) use linux_raw_sys::net::{MSG_MORE, MSG_PEEK};

/// Why a call failed. It is as long as the results are, so that either comes in
/// a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) u32);

impl Errno {
    pub(crate) const AGAIN: Errno = Errno(EAGAIN);
    pub(crate) const INTR: Errno = Errno(EINTR);
    pub(crate) const PIPE: Errno = Errno(EPIPE);
    pub(crate) const PROTO: Errno = Errno(EPROTO);
    const BADF: Errno = Errno(EBADF);
}

impl From<Errno> for Why {
    fn from(errno: Errno) -> Why {
        Why::os_error(errno.0)
    }
}

impl From<gracenet::Error> for Errno {
    fn from(error: gracenet::Error) -> Self {
        Errno(error.raw_os_error().unsigned_abs())
    }
}

/// A call whose result is no more than an int.
///
/// # Safety
///
/// 1. It must be sound to make this call with these arguments.
#[inline(never)]
unsafe fn call(a: usize, b: usize, c: usize, d: usize, number: u32) -> Result<u32, Errno> {
    // The fifth is an address or a mask of signals where there is one, and none is meant.
    // SAFETY: 1: the caller's.
    let result = unsafe { gracenet_start::syscall(number, [a, b, c, d, 0]) } as i32;
    if result < 0 {
        Err(Errno(result.unsigned_abs()))
    } else {
        Ok(result as u32)
    }
}

/// The number, as a register has it. To borrow an owned fd would be to ask whether
/// it is one.
fn raw(fd: &impl AsRawFd) -> usize {
    fd.as_raw_fd() as usize
}

/// `getpid()` — Our pid.
pub(crate) fn pid() -> u32 {
    // SAFETY: it touches no memory, and cannot fail.
    unsafe { call(0, 0, 0, 0, __NR_getpid) }.unwrap_or(0)
}

/// `fcntl(number, F_GETFD)` — Whether there is such an fd.
pub(crate) fn is_open(number: usize) -> bool {
    // SAFETY: it touches no memory, and changes nothing.
    let flags = unsafe { call(number, F_GETFD as usize, 0, 0, __NR_fcntl) };
    flags != Err(Errno::BADF)
}

/// `write(number, bytes)` — As many as have been written, if there is such an fd.
#[inline(never)]
pub(crate) fn write(number: usize, bytes: &[u8]) -> Result<u32, Errno> {
    // SAFETY: the kernel reads the bytes.
    unsafe { call(number, bytes.as_ptr().addr(), bytes.len(), 0, __NR_write) }
}

/// `recv(socket, room, flags | MSG_DONTWAIT)` — What has come; that there will
/// never be anything is an error here.
#[inline(never)]
pub(crate) fn receive(socket: &OwnedFd, room: &mut [u8], flags: u32) -> Result<u32, Errno> {
    let flags = (flags | MSG_DONTWAIT) as usize;
    let address = room.as_mut_ptr().expose_provenance();
    // SAFETY: the kernel writes into the room, and no further.
    match unsafe { call(raw(socket), address, room.len(), flags, __NR_recvfrom) }? {
        0 => Err(Errno::PIPE),
        come => Ok(come),
    }
}

/// `send(socket, bytes, flags | MSG_DONTWAIT | MSG_NOSIGNAL)` — How many the kernel
/// took.
pub(crate) fn send(socket: &OwnedFd, bytes: &[u8], flags: u32) -> Result<u32, Errno> {
    let flags = (flags | MSG_DONTWAIT | MSG_NOSIGNAL) as usize;
    let address = bytes.as_ptr().addr();
    // SAFETY: the kernel reads the bytes.
    unsafe { call(raw(socket), address, bytes.len(), flags, __NR_sendto) }
}

/// `shutdown(socket, SHUT_WR)` — There will be no more from us.
#[inline(never)]
pub(crate) fn end(socket: &OwnedFd) -> Result<(), Errno> {
    // SAFETY: it touches no memory.
    unsafe { call(raw(socket), SHUT_WR as usize, 0, 0, __NR_shutdown) }.map(drop)
}

/// `getsockopt(socket, IPPROTO_TCP, TCP_INFO)` — How many connections wait in a
/// listener, and how many can. `None` where it is no TCP socket.
pub(crate) fn accept_queue(socket: BorrowedFd<'_>) -> Option<(u32, u32)> {
    // All before the last of the two words that are asked for.
    let mut info = [0_u32; offset_of!(tcp_info, tcpi_sacked) / 4 + 1];
    let mut length = size_of_val(&info) as u32;
    let info_address = info.as_mut_ptr().expose_provenance();
    let length_address = (&raw mut length).expose_provenance();
    // SAFETY: the kernel writes as many bytes as there are, and into the length.
    let result = unsafe {
        let (level, name) = (IPPROTO_TCP as usize, TCP_INFO as usize);
        let arguments = [raw(&socket), level, name, info_address, length_address];
        gracenet_start::syscall(__NR_getsockopt, arguments)
    };
    let [.., unacked, sacked] = info;
    (result == 0).then_some((unacked, sacked))
}

/// A file without a name, in memory, until it is dropped.
#[derive(Debug)]
pub(crate) struct Memory(usize);

impl Memory {
    /// `memfd_create("", MFD_CLOEXEC)` — An empty one.
    pub(crate) fn new() -> Result<Memory, Errno> {
        let name = c"".as_ptr().expose_provenance();
        // SAFETY: the kernel reads the name, up to its NUL.
        let created = unsafe { call(name, MFD_CLOEXEC as usize, 0, 0, __NR_memfd_create) };
        created.map(|fd| Memory(fd as usize))
    }

    /// `write(memory, bytes)` — Behind what is there.
    pub(crate) fn append(&self, bytes: &[u8]) -> Result<(), Errno> {
        if write(self.0, bytes)? as usize == bytes.len() {
            Ok(())
        } else {
            Err(Errno::PROTO)
        }
    }

    /// `pread(memory, room, offset)` — How many bytes are there from this one on, up to
    /// as many as there is room for.
    #[cfg(not(target_arch = "arm"))]
    pub(crate) fn read_at(&self, room: &mut [u8], offset: usize) -> Result<u32, Errno> {
        let address = room.as_mut_ptr().expose_provenance();
        // SAFETY: the kernel writes into the room, and no further.
        unsafe { call(self.0, address, room.len(), offset, __NR_pread64) }
    }

    /// As everywhere else, where the offset of a pread would begin at an even register,
    /// and its upper half be a sixth argument.
    #[cfg(target_arch = "arm")]
    pub(crate) fn read_at(&self, room: &mut [u8], offset: usize) -> Result<u32, Errno> {
        let pieces = [[room.as_mut_ptr().expose_provenance(), room.len()]];
        let address = pieces.as_ptr().expose_provenance();
        // SAFETY: the kernel reads one `struct iovec`, and writes into the room, and no further.
        unsafe { call(self.0, address, pieces.len(), offset, __NR_preadv) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it is ours, and nobody uses it any more.
        let _closed = unsafe { call(self.0, 0, 0, 0, __NR_close) };
    }
}

/// An epoll that stays as long as the process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoll(u32);

impl Epoll {
    /// Before there is one.
    pub(crate) const NONE: Epoll = Epoll(u32::MAX);

    /// `epoll_create1(EPOLL_CLOEXEC)` — A new one.
    pub(crate) fn new() -> Result<Epoll, Errno> {
        Epoll::with(EPOLL_CLOEXEC)
    }

    /// `epoll_create1(0)` — One that successors get, too.
    pub(crate) fn inheritable() -> Result<Epoll, Errno> {
        Epoll::with(0)
    }

    fn with(flags: u32) -> Result<Epoll, Errno> {
        // SAFETY: it touches no memory.
        unsafe { call(flags as usize, 0, 0, 0, __NR_epoll_create1) }.map(Epoll)
    }

    /// `epoll_ctl(epoll, EPOLL_CTL_ADD, fd, event)` — Tells of it, as `about`.
    pub(crate) fn add(self, fd: &impl AsRawFd, about: usize, events: u32) -> Result<(), Errno> {
        self.control(EPOLL_CTL_ADD, raw(fd), about, events)
    }

    /// `epoll_ctl(epoll, EPOLL_CTL_DEL, fd)` — Tells of it no more, if it did.
    pub(crate) fn delete(self, fd: &impl AsRawFd) -> Result<(), Errno> {
        self.control(EPOLL_CTL_DEL, raw(fd), 0, 0)
    }

    #[inline(never)]
    fn control(self, what: u32, fd: usize, about: usize, events: u32) -> Result<(), Errno> {
        let data = about as u64;
        let event = Event { events, data };
        let event = (&raw const event).expose_provenance();
        // SAFETY: the kernel reads the event.
        unsafe { call(self.0 as usize, what as usize, fd, event, __NR_epoll_ctl) }.map(drop)
    }

    /// `epoll_pwait(epoll, room, ms, NULL)` — What has happened, after up to so many
    /// milliseconds.
    pub(crate) fn wait<const N: usize>(
        self,
        room: &mut [MaybeUninit<Event>; N],
        ms: u32,
    ) -> Result<&[Event], Errno> {
        let address = room.as_mut_ptr().expose_provenance();
        // SAFETY: the kernel writes no more events than there is room for.
        let come =
            unsafe { call(self.0 as usize, address, N, ms as usize, __NR_epoll_pwait) }? as usize;
        // SAFETY: as many has it written, which is no more than there is room for.
        Ok(unsafe { core::slice::from_raw_parts(room.as_ptr().cast(), come) })
    }
}
