//! The system calls of the running process that return a value, or that would come in pieces.
//!
//! rustix has most of them. They are here for two reasons: where rustix checks its own invariants
//! it leaves a panic behind (each that returns an fd, each getsockopt, getsockname), which a
//! program in PID 1 must not have; and all of them have one way into the kernel and one error
//! path, out of line, so that a call costs a daemon of a few kilobytes thirty bytes and not a
//! hundred. Paths are bytes that end in a NUL; what does not is taken for the empty one. Calls
//! without a value, where rustix has no panic, go through rustix elsewhere.
#![allow(unsafe_code)] // System calls are made from here.

use core::ffi::{CStr, c_char, c_int};
use core::mem::{MaybeUninit, size_of, transmute};
use core::sync::atomic::AtomicU32;

use linux_raw_sys::prctl::PR_SET_CHILD_SUBREAPER;
use linux_raw_sys::{general as raw, ioctl, net};
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
#[cfg(target_pointer_width = "32")]
use rustix::io::retry_on_intr;

use super::arch::{self, Argument};
use crate::addr::{Address, InterfaceRequest};
#[cfg(target_pointer_width = "32")]
use crate::error::During;
use crate::error::{Error, Operation};
use crate::time::Deadline;

/// Made again when a signal interrupts it.
const AGAIN: u32 = 0x8000_0000;

/// Which call, in one word: its number, and under which operation its errors are given.
const fn what(operation: Operation, number: u32) -> u32 {
    ((operation as u32) << 16) | number
}

/// The one way into the kernel: an int, or the error of this operation. `what` comes last, and
/// all others are where the kernel wants them already.
///
/// # Safety
///
/// 1. The call is one whose effects the caller answers for.
/// 2. The arguments that it has are initialized.
#[inline(never)]
unsafe fn enter(
    a: usize,
    b: Argument,
    c: Argument,
    d: Argument,
    e: Argument,
    what: u32,
) -> Result<i32, Error> {
    loop {
        // SAFETY: 1. and 2. are the caller's duties.
        let result = unsafe { arch::syscall5((what & 0xffff) as usize, a, b, c, d, e) } as i32;
        // A negated errno lies in the last page of the address space.
        if !(-4095..0).contains(&result) {
            return Ok(result);
        }
        let errno = result.wrapping_neg() as u32;
        if errno == Errno::INTR.raw_os_error() as u32 && what & AGAIN != 0 {
            continue;
        }
        return Err(Error::from_packed(what & 0xff_0000, errno));
    }
}

/// As [`enter`], of a call that returns nothing.
///
/// # Safety
///
/// 1. and 2. As for [`enter`].
#[inline(never)]
unsafe fn enter_and_drop(
    a: usize,
    b: Argument,
    c: Argument,
    d: Argument,
    e: Argument,
    what: u32,
) -> Result<(), Error> {
    // SAFETY: 1. and 2. are the caller's duties.
    unsafe { enter(a, b, c, d, e, what) }.map(drop)
}

/// All arguments there can be, of which those behind the given ones are none.
#[inline(always)]
fn all<const N: usize>(given: [usize; N]) -> [Argument; 4] {
    let argument = |index: usize| match given.get(index) {
        Some(given) => Argument::new(*given),
        None => Argument::uninit(),
    };
    [argument(0), argument(1), argument(2), argument(3)]
}

/// A call with these arguments: an int, or the error of this operation.
///
/// # Safety
///
/// 1. The call is one whose effects the caller answers for.
/// 2. It has no more arguments, or does not look at them.
#[inline(always)]
unsafe fn call<const N: usize>(what: u32, a: usize, rest: [usize; N]) -> Result<i32, Error> {
    let [b, c, d, e] = all(rest);
    // SAFETY: 1. and 2. are the caller's duties.
    unsafe { enter(a, b, c, d, e, what) }
}

/// As [`call`], of one that returns nothing.
///
/// # Safety
///
/// 1. and 2. As for [`call`].
#[inline(always)]
unsafe fn run<const N: usize>(what: u32, a: usize, rest: [usize; N]) -> Result<(), Error> {
    let [b, c, d, e] = all(rest);
    // SAFETY: 1. and 2. are the caller's duties.
    unsafe { enter_and_drop(a, b, c, d, e, what) }
}

/// As [`call`], of an fd.
///
/// # Safety
///
/// 1. and 2. As for [`call`], and the call makes a new fd.
#[inline(always)]
unsafe fn open_call<const N: usize>(
    what: u32,
    a: usize,
    rest: [usize; N],
) -> Result<OwnedFd, Error> {
    // SAFETY: 1. and 2. are the caller's duties.
    let fd = unsafe { call(what, a, rest)? };
    // SAFETY: it is new and not negative.
    Ok(unsafe { own(fd) })
}

// rustix asserts in the following that an fd is not -1, wherever that is not known. That is a
// panic, and costs more than the call that is made with the fd. Its types are documented to have
// the representation of the number.

/// # Safety
///
/// 1. As for [`own`], but for whose it is.
#[inline(always)]
pub(crate) unsafe fn borrow<'a>(fd: i32) -> BorrowedFd<'a> {
    // SAFETY: 1. is the caller's duty; both have the representation of the number.
    unsafe { transmute::<i32, BorrowedFd<'a>>(fd) }
}

/// # Safety
///
/// 1. `fd` is open, not negative, and nobody's.
#[inline(always)]
pub(crate) unsafe fn own(fd: i32) -> OwnedFd {
    // SAFETY: 1. is the caller's duty; both have the representation of the number.
    unsafe { transmute::<i32, OwnedFd>(fd) }
}

/// Lends an fd: `as_fd` without its assertion.
#[inline(always)]
pub(crate) fn lend(fd: &OwnedFd) -> BorrowedFd<'_> {
    // SAFETY: it is open as long as it is borrowed.
    unsafe { borrow(fd.as_raw_fd()) }
}

/// The address of a C string: `path` ends in a NUL, or it is the empty one.
#[inline(never)]
fn c_string(path: &[u8]) -> usize {
    match path.last() {
        Some(0) => path.as_ptr() as usize,
        _ => empty(),
    }
}

/// The address of an empty C string.
fn empty() -> usize {
    c"".as_ptr() as usize
}

fn number(fd: BorrowedFd<'_>) -> usize {
    fd.as_raw_fd() as u32 as usize
}

/// socket(family, style | SOCK_CLOEXEC and more, 0).
pub(crate) fn socket(family: u32, style: u32) -> Result<OwnedFd, Error> {
    let what = what(Operation::Socket, raw::__NR_socket);
    let style = style | raw::O_CLOEXEC;
    // SAFETY: makes a new fd.
    unsafe { open_call(what, family as usize, [style as usize, 0]) }
}

/// socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0).
pub(crate) fn seqpacket_pair() -> Result<(OwnedFd, OwnedFd), Error> {
    let what = what(Operation::Socketpair, raw::__NR_socketpair);
    let style = (net::SOCK_SEQPACKET | raw::O_CLOEXEC) as usize;
    let mut pair = [-1_i32; 2];
    let at = &raw mut pair as usize;
    // SAFETY: the pair is writable.
    unsafe { run(what, net::AF_UNIX as usize, [style, 0, at])? };
    let [first, second] = pair;
    // SAFETY: it is new and not negative.
    let first = unsafe { own(first) };
    // SAFETY: it is new and not negative.
    let second = unsafe { own(second) };
    Ok((first, second))
}

/// bind(fd, address), or connect(fd, address).
#[inline(never)]
fn with_address(what: u32, fd: BorrowedFd<'_>, address: &Address) -> Result<(), Error> {
    let address = address.as_bytes();
    let (at, length) = (address.as_ptr() as usize, address.len());
    // SAFETY: the kernel reads so many bytes.
    unsafe { run(what, number(fd), [at, length]) }
}

/// bind(fd, address).
pub(crate) fn bind(fd: BorrowedFd<'_>, address: &Address) -> Result<(), Error> {
    with_address(what(Operation::Bind, raw::__NR_bind), fd, address)
}

/// connect(fd, address).
pub(crate) fn connect(fd: BorrowedFd<'_>, address: &Address) -> Result<(), Error> {
    with_address(what(Operation::Connect, raw::__NR_connect), fd, address)
}

/// listen(fd, backlog).
pub(crate) fn listen(fd: BorrowedFd<'_>, backlog: i32) -> Result<(), Error> {
    let what = what(Operation::Listen, raw::__NR_listen);
    // SAFETY: no memory is touched.
    unsafe { run(what, number(fd), [backlog as u32 as usize]) }
}

/// accept4(fd, flags | SOCK_CLOEXEC).
pub(crate) fn accept(fd: BorrowedFd<'_>, flags: u32) -> Result<OwnedFd, Error> {
    let what = what(Operation::Accept4, raw::__NR_accept4) | AGAIN;
    let flags = (flags | raw::O_CLOEXEC) as usize;
    // SAFETY: makes a new fd, and writes no address.
    unsafe { open_call(what, number(fd), [0, 0, flags]) }
}

/// getsockopt(fd, level, name), of an option of `length` bytes.
///
/// # Safety
///
/// 1. `at` is the address of so many bytes that are writable.
#[inline(never)]
unsafe fn option(
    fd: BorrowedFd<'_>,
    level: u32,
    name: u32,
    at: usize,
    mut length: u32,
) -> Result<(), Error> {
    let what = what(Operation::Getsockopt, raw::__NR_getsockopt);
    let (level, name, length) = (level as usize, name as usize, &raw mut length as usize);
    // SAFETY: both are writable, one of them by 1., and the other says how far.
    unsafe { run(what, number(fd), [level, name, at, length]) }
}

/// getsockopt(fd, level, name): an int.
#[inline(never)]
fn int_option(fd: BorrowedFd<'_>, level: u32, name: u32) -> Result<u32, Error> {
    let mut value = 0_u32;
    // SAFETY: an int has four bytes.
    unsafe { option(fd, level, name, &raw mut value as usize, 4)? };
    Ok(value)
}

/// getsockopt(fd, SOL_SOCKET, name): an int.
pub(crate) fn socket_option(fd: BorrowedFd<'_>, name: u32) -> Result<u32, Error> {
    int_option(fd, net::SOL_SOCKET, name)
}

/// getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY): 0 or 1.
pub(crate) fn v6only(fd: BorrowedFd<'_>) -> Result<u32, Error> {
    int_option(fd, net::SOL_IPV6, net::IPV6_V6ONLY)
}

/// getsockopt(fd, SOL_SOCKET, SO_COOKIE).
pub(crate) fn cookie(fd: BorrowedFd<'_>) -> Result<u64, Error> {
    let (mut cookie, name) = (0_u64, net::SO_COOKIE);
    // SAFETY: a cookie has eight bytes.
    unsafe { option(fd, net::SOL_SOCKET, name, &raw mut cookie as usize, 8)? };
    Ok(cookie)
}

/// setsockopt(fd, level, name, value): an int.
#[inline(never)]
fn set_option(fd: BorrowedFd<'_>, level: u32, name: u32, value: i32) -> Result<(), Error> {
    let what = what(Operation::Setsockopt, raw::__NR_setsockopt);
    let (at, length) = (&raw const value as usize, size_of::<i32>());
    // SAFETY: the kernel reads so many bytes.
    unsafe {
        run(
            what,
            number(fd),
            [level as usize, name as usize, at, length],
        )
    }
}

/// setsockopt(fd, SOL_SOCKET, name, 1).
pub(crate) fn turn_on(fd: BorrowedFd<'_>, name: u32) -> Result<(), Error> {
    set_option(fd, net::SOL_SOCKET, name, 1)
}

/// setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, value).
pub(crate) fn set_v6only(fd: BorrowedFd<'_>, value: bool) -> Result<(), Error> {
    set_option(fd, net::SOL_IPV6, net::IPV6_V6ONLY, i32::from(value))
}

/// getsockname(fd), into [`Address::room`].
#[inline(never)]
pub(crate) fn local_address(fd: BorrowedFd<'_>, address: &mut Address) -> Result<(), Error> {
    let what = what(Operation::Getsockname, raw::__NR_getsockname);
    let (length, bytes) = address.parts();
    let (at, length) = (bytes.as_mut_ptr() as usize, &raw mut *length as usize);
    // SAFETY: both are writable, and the length is that of the bytes.
    unsafe { run(what, number(fd), [at, length]) }
}

/// getpeername(fd): that there is one.
pub(crate) fn check_peer(fd: BorrowedFd<'_>) -> Result<(), Error> {
    let what = what(Operation::Getpeername, raw::__NR_getpeername);
    let mut length = 0_u32;
    // SAFETY: there is room for no byte, so that none is written; the length is writable.
    unsafe { run(what, number(fd), [0, &raw mut length as usize]) }
}

/// sendto(fd, message, MSG_DONTWAIT | MSG_NOSIGNAL).
pub(crate) fn send(fd: BorrowedFd<'_>, message: &[u8]) -> Result<(), Error> {
    let what = what(Operation::Send, raw::__NR_sendto) | AGAIN;
    let flags = (net::MSG_DONTWAIT | net::MSG_NOSIGNAL) as usize;
    let (at, length) = (message.as_ptr() as usize, message.len());
    // SAFETY: the kernel reads so many bytes, and no address.
    unsafe { run(what, number(fd), [at, length, flags, 0]) }
}

/// recvfrom(fd, buffer, MSG_DONTWAIT): how many bytes were received.
pub(crate) fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<u32, Error> {
    let what = what(Operation::Recv, raw::__NR_recvfrom) | AGAIN;
    let flags = net::MSG_DONTWAIT as usize;
    let (at, length) = (buffer.as_mut_ptr() as usize, buffer.len());
    // SAFETY: the kernel writes at most so many bytes, and no address (the sixth argument is not
    // looked at without the fifth).
    let received = unsafe { call(what, number(fd), [at, length, flags, 0])? };
    Ok(received as u32)
}

/// As many fds as the kernel passes in one message (SCM_MAX_FD).
const MOST_FDS: usize = 253;

/// Control data that carries fds.
#[repr(C)]
struct Rights {
    header: net::cmsghdr,
    fds: [MaybeUninit<i32>; MOST_FDS + 1],
}

/// Where control data begins, and to what its length is rounded up.
const CONTROL: usize = size_of::<net::cmsghdr>();
const CONTROL_UNIT: usize = size_of::<usize>();

/// sendmsg(fd, message with fds, MSG_DONTWAIT | MSG_NOSIGNAL).
pub(crate) fn send_with_fds(
    fd: BorrowedFd<'_>,
    message: &[u8],
    fds: &[BorrowedFd<'_>],
) -> Result<(), Error> {
    let length = CONTROL.wrapping_add(fds.len().wrapping_mul(size_of::<i32>()));
    let mut rights = Rights {
        header: net::cmsghdr {
            cmsg_len: length,
            cmsg_level: net::SOL_SOCKET as _,
            cmsg_type: net::SCM_RIGHTS as _,
        },
        fds: [const { MaybeUninit::uninit() }; MOST_FDS + 1],
    };
    for (to, fd) in rights.fds.iter_mut().zip(fds) {
        to.write(fd.as_raw_fd());
    }
    let used = match fds.len() {
        0 => 0,
        1..=MOST_FDS => length.next_multiple_of(CONTROL_UNIT),
        _ => return Err(Error::new(Operation::Send, Errno::INVAL)),
    };
    // The last fd may have half a unit behind it, which is sent along.
    if let Some(behind) = rights.fds.get_mut(fds.len()) {
        behind.write(0);
    }
    let mut bytes = raw::iovec {
        iov_base: message.as_ptr().cast_mut().cast(),
        iov_len: message.len() as _,
    };
    let header = message_header(&mut bytes, &raw mut rights as usize, used);
    let what = what(Operation::Send, raw::__NR_sendmsg) | AGAIN;
    let flags = (net::MSG_DONTWAIT | net::MSG_NOSIGNAL) as usize;
    // SAFETY: the kernel reads the header, and what it points to, as far as it says.
    unsafe { run(what, number(fd), [&raw const header as usize, flags]) }
}

/// A message of one piece and of control data, without an address.
fn message_header(bytes: &mut raw::iovec, control: usize, length: usize) -> net::msghdr {
    net::msghdr {
        msg_name: core::ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: core::ptr::from_mut(bytes).cast(),
        msg_iovlen: 1,
        msg_control: control as *mut _,
        msg_controllen: length,
        msg_flags: 0,
    }
}

/// What [`receive_with_sender`] has received.
pub(crate) struct Message {
    pub(crate) length: usize,
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    pub(crate) truncated: bool,
}

/// Control data that says who has sent a message.
#[repr(C)]
struct Sender {
    header: net::cmsghdr,
    sender: net::ucred,
}

/// recvmsg(fd, buffer, MSG_DONTWAIT): what was received, and from whom. The socket has SO_PASSCRED, so
/// that there is no room for fds that come along: the kernel closes them.
#[inline(never)]
pub(crate) fn receive_with_sender(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Message, Error> {
    let mut control = Sender {
        header: net::cmsghdr {
            cmsg_len: 0,
            cmsg_level: 0,
            cmsg_type: 0,
        },
        sender: net::ucred {
            pid: 0,
            uid: 0,
            gid: 0,
        },
    };
    let mut bytes = raw::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len() as _,
    };
    let at = &raw mut control as usize;
    let mut header = message_header(&mut bytes, at, size_of::<Sender>());
    let what = what(Operation::Recv, raw::__NR_recvmsg) | AGAIN;
    let (at, flags) = (&raw mut header as usize, net::MSG_DONTWAIT as usize);
    // SAFETY: the kernel writes to the header, and to what it points to, as far as it says.
    let received = unsafe { call(what, number(fd), [at, flags])? };
    let kind = (
        control.header.cmsg_level as u32,
        control.header.cmsg_type as u32,
    );
    let is_sender = kind == (net::SOL_SOCKET, net::SCM_CREDENTIALS);
    Ok(Message {
        length: received as usize,
        pid: if is_sender { control.sender.pid } else { 0 },
        uid: if is_sender { control.sender.uid } else { 0 },
        truncated: header.msg_flags & net::MSG_TRUNC != 0,
    })
}

/// pipe2(O_CLOEXEC): the end that is read, and the other.
pub(crate) fn pipe() -> Result<(OwnedFd, OwnedFd), Error> {
    let mut pair = [-1_i32; 2];
    let at = &raw mut pair as usize;
    let what = what(Operation::Pipe, raw::__NR_pipe2);
    // SAFETY: the pair is writable.
    unsafe { run(what, at, [raw::O_CLOEXEC as usize])? };
    let [first, second] = pair;
    // SAFETY: it is new and not negative.
    let first = unsafe { own(first) };
    // SAFETY: it is new and not negative.
    let second = unsafe { own(second) };
    Ok((first, second))
}

/// fcntl(fd, command, argument).
#[inline(never)]
fn fcntl(fd: BorrowedFd<'_>, command: u32, argument: usize) -> Result<i32, Error> {
    let what = what(Operation::Fcntl, raw::__NR_fcntl);
    // SAFETY: used with commands that touch no memory.
    unsafe { call(what, number(fd), [command as usize, argument]) }
}

/// fcntl(fd, F_DUPFD_CLOEXEC, lowest).
#[inline(never)]
pub(crate) fn duplicate(fd: BorrowedFd<'_>, lowest: i32) -> Result<OwnedFd, Error> {
    let copy = fcntl(fd, raw::F_DUPFD_CLOEXEC, lowest as usize)?;
    // SAFETY: it is new and not negative.
    Ok(unsafe { own(copy) })
}

/// fcntl(fd, F_SETFD, FD_CLOEXEC).
pub(crate) fn set_cloexec(fd: BorrowedFd<'_>) -> Result<(), Error> {
    fcntl(fd, raw::F_SETFD, raw::FD_CLOEXEC as usize).map(drop)
}

/// fcntl(fd, F_GETFL) and, where O_NONBLOCK is not as wanted, F_SETFL.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>, nonblocking: bool) -> Result<(), Error> {
    let flags = fcntl(fd, raw::F_GETFL, 0)? as u32;
    let wanted = match nonblocking {
        true => flags | raw::O_NONBLOCK,
        false => flags & !raw::O_NONBLOCK,
    };
    if wanted == flags {
        return Ok(());
    }
    fcntl(fd, raw::F_SETFL, wanted as usize).map(drop)
}

/// fchmod(fd, mode).
pub(crate) fn set_mode(fd: BorrowedFd<'_>, mode: u32) -> Result<(), Error> {
    let what = what(Operation::Chmod, raw::__NR_fchmod);
    // SAFETY: no memory is touched.
    unsafe { run(what, number(fd), [mode as usize]) }
}

/// Which file it is, and of what kind; or why that is not known.
// Not a result of either, which would not fit into two registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FileId {
    /// The device, of which the kernel has no number of more than 20 bits nor 0, and above it the kind.
    device: u64,
    /// Without a device: the error.
    inode: u64,
}

impl FileId {
    /// Of which there is none.
    pub(crate) const NONE: FileId = FileId {
        device: 0,
        inode: 0,
    };

    /// Of a socket, by its cookie: on a device of which there is none, and of no kind.
    pub(crate) const fn of_socket(cookie: u64) -> FileId {
        FileId {
            device: u64::MAX,
            inode: cookie,
        }
    }

    /// Itself, if it is one.
    #[inline(always)]
    pub(crate) fn known(self) -> Result<FileId, Error> {
        match self.device {
            0 => Err(Error::from_packed(self.inode as u32, 0)),
            _ => Ok(self),
        }
    }

    pub(crate) const fn inode(&self) -> u64 {
        self.inode
    }

    pub(crate) const fn is_regular(&self) -> bool {
        self.device >> 60 == (raw::S_IFREG >> 12) as u64
    }

    pub(crate) const fn is_socket(&self) -> bool {
        self.device >> 60 == (raw::S_IFSOCK >> 12) as u64
    }
}

/// statx(fd, path, flags), of the kind, not of the permissions, so that a file is the same after
/// a chmod (Linux 4.11).
#[inline(never)]
fn file_at(fd: usize, path: usize, flags: u32) -> FileId {
    let what = what(Operation::Stat, raw::__NR_statx);
    let mut found = MaybeUninit::<raw::statx>::uninit();
    let (flags, at) = (flags as usize, found.as_mut_ptr() as usize);
    let mask = (raw::STATX_TYPE | raw::STATX_INO) as usize;
    // SAFETY: a C string, and the result is writable.
    if let Err(error) = unsafe { run(what, fd, [path, flags, mask, at]) } {
        return FileId {
            device: 0,
            inode: u64::from(error.to_word()),
        };
    }
    // SAFETY: the kernel has written all of it.
    let found = unsafe { found.assume_init_ref() };
    let device = u64::from(found.stx_dev_major) | u64::from(found.stx_dev_minor) << 32;
    FileId {
        device: device | u64::from(found.stx_mode >> 12) << 60,
        inode: found.stx_ino,
    }
}

/// statx of an fd.
pub(crate) fn file(fd: BorrowedFd<'_>) -> FileId {
    file_at(number(fd), empty(), raw::AT_EMPTY_PATH)
}

/// statx of the working directory, for which it need not be searched.
pub(crate) fn working_directory() -> FileId {
    file_at(raw::AT_FDCWD as u32 as usize, empty(), raw::AT_EMPTY_PATH)
}

/// The path of an address that has one, else the empty one.
#[inline(never)]
fn path_of(address: &Address) -> usize {
    match address.c_path() {
        Some(path) => c_string(path),
        None => empty(),
    }
}

/// statx of the path of an address, not following a symbolic link at its end.
#[inline(never)]
pub(crate) fn file_named(address: &Address) -> FileId {
    file_at(
        raw::AT_FDCWD as u32 as usize,
        path_of(address),
        raw::AT_SYMLINK_NOFOLLOW,
    )
}

/// unlinkat(AT_FDCWD, the path of an address).
#[inline(never)]
pub(crate) fn unlink(address: &Address) -> Result<(), Error> {
    let what = what(Operation::Unlink, raw::__NR_unlinkat);
    let (at, path) = (raw::AT_FDCWD as u32 as usize, path_of(address));
    // SAFETY: a C string.
    unsafe { run(what, at, [path, 0]) }
}

/// openat(directory, path, flags | O_CLOEXEC, mode).
fn open_from(directory: usize, path: &[u8], flags: u32, mode: u32) -> Result<OwnedFd, Error> {
    let what = what(Operation::Open, raw::__NR_openat);
    let (path, flags) = (c_string(path), (flags | raw::O_CLOEXEC) as usize);
    // SAFETY: a C string; makes a new fd.
    unsafe { open_call(what, directory, [path, flags, mode as usize]) }
}

/// openat(AT_FDCWD, path, O_PATH | O_DIRECTORY): a directory to go to.
pub(crate) fn open_directory(path: &[u8]) -> Result<OwnedFd, Error> {
    open_from(
        raw::AT_FDCWD as u32 as usize,
        path,
        raw::O_PATH | raw::O_DIRECTORY,
        0,
    )
}

/// openat(AT_FDCWD, path, O_PATH).
pub(crate) fn open_path(path: &[u8]) -> Result<OwnedFd, Error> {
    open_from(raw::AT_FDCWD as u32 as usize, path, raw::O_PATH, 0)
}

/// openat(AT_FDCWD, the path of an address, O_RDONLY).
pub(crate) fn open_to_read(address: &Address) -> Result<OwnedFd, Error> {
    let what = what(Operation::Open, raw::__NR_openat);
    let (at, path) = (raw::AT_FDCWD as u32 as usize, path_of(address));
    let flags = (raw::O_RDONLY | raw::O_CLOEXEC) as usize;
    // SAFETY: a C string; makes a new fd.
    unsafe { open_call(what, at, [path, flags, 0]) }
}

/// openat(folder, name, flags | O_CLOEXEC, mode).
pub(crate) fn open_in(
    folder: BorrowedFd<'_>,
    name: &[u8],
    flags: u32,
    mode: u32,
) -> Result<OwnedFd, Error> {
    open_from(number(folder), name, flags, mode)
}

/// unlinkat(folder, name).
pub(crate) fn unlink_in(folder: BorrowedFd<'_>, name: &[u8]) -> Result<(), Error> {
    let what = what(Operation::Unlink, raw::__NR_unlinkat);
    // SAFETY: a C string.
    unsafe { run(what, number(folder), [c_string(name), 0]) }
}

/// Both names are in this folder.
fn two_names(what: u32, folder: BorrowedFd<'_>, from: &[u8], to: &[u8]) -> Result<(), Error> {
    let (folder, from, to) = (number(folder), c_string(from), c_string(to));
    // SAFETY: C strings.
    unsafe { run(what, folder, [from, folder, to, 0]) }
}

/// renameat2(folder, from, folder, to).
pub(crate) fn rename(folder: BorrowedFd<'_>, from: &[u8], to: &[u8]) -> Result<(), Error> {
    let what = what(Operation::Rename, raw::__NR_renameat2);
    two_names(what, folder, from, to)
}

/// linkat(folder, from, folder, to).
pub(crate) fn link(folder: BorrowedFd<'_>, from: &[u8], to: &[u8]) -> Result<(), Error> {
    let what = what(Operation::Link, raw::__NR_linkat);
    two_names(what, folder, from, to)
}

/// read(fd, buffer): how many bytes were read.
pub(crate) fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Error> {
    let what = what(Operation::Read, raw::__NR_read) | AGAIN;
    let (at, length) = (buffer.as_mut_ptr() as usize, buffer.len());
    // SAFETY: the kernel writes at most so many bytes.
    unsafe { call(what, number(fd), [at, length]) }.map(|read| read as usize)
}

/// write(fd, bytes): how many bytes were written.
pub(crate) fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Error> {
    let what = what(Operation::Write, raw::__NR_write) | AGAIN;
    let (at, length) = (bytes.as_ptr() as usize, bytes.len());
    // SAFETY: the kernel reads so many bytes.
    unsafe { call(what, number(fd), [at, length]) }.map(|written| written as usize)
}

/// pread64(fd, buffer, offset): how many bytes were read.
#[cfg(target_pointer_width = "64")]
pub(crate) fn read_at(fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> Result<usize, Error> {
    let what = what(Operation::Pread, raw::__NR_pread64) | AGAIN;
    let (at, length) = (buffer.as_mut_ptr() as usize, buffer.len());
    // SAFETY: the kernel writes at most so many bytes.
    unsafe { call(what, number(fd), [at, length, offset as usize]) }.map(|read| read as usize)
}

/// pwrite64(fd, bytes, offset): how many bytes were written.
#[cfg(target_pointer_width = "64")]
pub(crate) fn write_at(fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> Result<usize, Error> {
    let what = what(Operation::Pwrite, raw::__NR_pwrite64) | AGAIN;
    let (at, length) = (bytes.as_ptr() as usize, bytes.len());
    // SAFETY: the kernel reads so many bytes.
    unsafe { call(what, number(fd), [at, length, offset as usize]) }.map(|written| written as usize)
}

// Where an offset takes two registers, each processor has its own rule which.

/// pread64(fd, buffer, offset): how many bytes were read.
#[cfg(target_pointer_width = "32")]
pub(crate) fn read_at(fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> Result<usize, Error> {
    let read = retry_on_intr(|| rustix::io::pread(fd, &mut *buffer, offset));
    read.during(Operation::Pread)
}

/// pwrite64(fd, bytes, offset): how many bytes were written.
#[cfg(target_pointer_width = "32")]
pub(crate) fn write_at(fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> Result<usize, Error> {
    let written = retry_on_intr(|| rustix::io::pwrite(fd, bytes, offset));
    written.during(Operation::Pwrite)
}

/// memfd_create(name, flags | MFD_CLOEXEC).
pub(crate) fn memfd(name: &CStr, flags: u32) -> Result<OwnedFd, Error> {
    let what = what(Operation::MemfdCreate, raw::__NR_memfd_create);
    let (name, flags) = (name.as_ptr() as usize, (flags | raw::MFD_CLOEXEC) as usize);
    // SAFETY: `name` ends in a NUL; makes a new fd.
    unsafe { open_call(what, name, [flags]) }
}

/// faccessat2(fd, X_OK) for the effective user (Linux 5.8).
pub(crate) fn check_executable(fd: BorrowedFd<'_>) -> Result<(), Error> {
    const X_OK: usize = 1;
    let what = what(Operation::Access, raw::__NR_faccessat2);
    let flags = (raw::AT_EACCESS | raw::AT_EMPTY_PATH) as usize;
    // SAFETY: a C string.
    unsafe { run(what, number(fd), [empty(), X_OK, flags]) }
}

/// flock(fd, LOCK_EX | LOCK_NB).
pub(crate) fn lock(fd: BorrowedFd<'_>) -> Result<(), Error> {
    let what = what(Operation::Flock, raw::__NR_flock);
    // SAFETY: no memory is touched.
    unsafe { run(what, number(fd), [(raw::LOCK_EX | raw::LOCK_NB) as usize]) }
}

/// ioctl(a socket, SIOCGIFINDEX, request): the number of an interface.
pub(crate) fn interface_index(request: &mut InterfaceRequest) -> Result<u32, Error> {
    let any = socket(net::AF_INET6, net::SOCK_DGRAM)?;
    let what = what(Operation::Ioctl, raw::__NR_ioctl);
    let (fd, at) = (any.as_raw_fd() as usize, request.as_mut_ptr() as usize);
    // SAFETY: the request is as large as the kernel has it at most, and writable.
    let asked = unsafe { run(what, fd, [ioctl::SIOCGIFINDEX as usize, at]) };
    drop(any);
    let [.., a, b, c, d] = *request.first_chunk::<20>().unwrap_or(&[0; 20]);
    asked.map(|()| u32::from_ne_bytes([a, b, c, d]))
}

/// What has become of a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waited {
    Exited(i32),
    Killed(i32),
    /// It has not ended, and is not waited for.
    Running,
    /// Nobody keeps its status.
    Unknown(Error),
}

/// waitid(P_PIDFD, or P_PID where that is not known, WEXITED, maybe WNOHANG).
#[inline(never)]
pub(crate) fn wait(pid: u32, pidfd: Option<BorrowedFd<'_>>, block: bool) -> Waited {
    let mut whose = 0;
    if let Some(pidfd) = pidfd {
        match waitid(raw::P_PIDFD, number(pidfd), block, &mut whose) {
            // Before Linux 5.4, where there are pidfds already.
            Waited::Unknown(error) if error.is(Errno::INVAL) => {}
            waited => return waited,
        }
    }
    waitid(raw::P_PID, pid as usize, block, &mut whose)
}

/// waitid(P_ALL, WEXITED | WNOHANG): whichever child has ended, and its pid; 0 when none has.
pub(crate) fn wait_any(whose: &mut u32) -> Waited {
    waitid(raw::P_ALL, 0, false, whose)
}

/// waitid(which, id, WEXITED, maybe WNOHANG): what has become of it, and whose end that is, or 0.
#[inline(never)]
fn waitid(which: u32, id: usize, block: bool, whose: &mut u32) -> Waited {
    /// `struct siginfo`, in whose first 32 bytes is all that is read here.
    #[repr(C)]
    struct Information {
        first: [i32; 8],
        rest: MaybeUninit<[i32; 24]>,
    }
    // The part for a child begins at the alignment of a pointer.
    const PID: usize = if size_of::<usize>() == 8 { 4 } else { 3 };
    let what = what(Operation::Waitid, raw::__NR_waitid) | AGAIN;
    let flags = raw::WEXITED | if block { 0 } else { raw::WNOHANG };
    let mut info = Information {
        first: [0; 8],
        rest: MaybeUninit::uninit(),
    };
    let at = &raw mut info as usize;
    // SAFETY: the information is writable, and no usage is asked for.
    if let Err(error) = unsafe { run(what, which as usize, [id, at, flags as usize, 0]) } {
        return Waited::Unknown(error);
    }
    let (code, status) = (info.first[2], info.first[PID + 2]);
    *whose = info.first[PID] as u32;
    if *whose == 0 {
        Waited::Running
    } else if code as u32 == raw::CLD_EXITED {
        Waited::Exited(status)
    } else {
        Waited::Killed(status)
    }
}

/// pidfd_open(pid), which is CLOEXEC (Linux 5.3).
pub(crate) fn pidfd_open(pid: u32) -> Result<OwnedFd, Error> {
    let what = what(Operation::PidfdOpen, raw::__NR_pidfd_open);
    // SAFETY: makes a new fd.
    unsafe { open_call(what, pid as usize, [0]) }
}

/// pidfd_send_signal(pidfd, signal); kill(pid, signal) without a pidfd, or where a filter refuses
/// the former (containers before 2020 do, and let clone make pidfds).
#[inline(never)]
pub(crate) fn kill(pid: u32, pidfd: Option<BorrowedFd<'_>>, signal: u32) -> Result<(), Error> {
    let signal = signal as usize;
    if let Some(pidfd) = pidfd {
        let what = what(Operation::PidfdSendSignal, raw::__NR_pidfd_send_signal);
        // SAFETY: no memory is touched.
        match unsafe { run(what, number(pidfd), [signal, 0, 0]) } {
            // Not for one that has ended, whose pid may be another's.
            Err(error) if !error.is(Errno::SRCH) => {}
            sent => return sent,
        }
    }
    let what = what(Operation::Kill, raw::__NR_kill);
    // SAFETY: no memory is touched.
    unsafe { run(what, pid as usize, [signal]) }
}

/// kill(-group, signal): to every process of the group.
pub(crate) fn kill_group(group: u32, signal: u32) -> Result<(), Error> {
    // The number of a group is positive, and no pid is 1: that would be everybody.
    if group <= 1 || group > i32::MAX as u32 {
        return Err(Error::new(Operation::Kill, Errno::SRCH));
    }
    kill(group.wrapping_neg(), None, signal)
}

/// ppoll(fds, remaining): how many of the fds are readable or at their end. The time is in
/// nanoseconds; none is for ever.
pub(crate) fn poll(fds: [Option<BorrowedFd<'_>>; 2], remaining: Option<u64>) -> Result<i32, Error> {
    poll_for(raw::POLLIN, fds, remaining)
}

/// ppoll(fds, remaining): how many of the fds these events have come to, or are at their end.
#[inline(always)]
fn poll_for(
    events: u32,
    fds: [Option<BorrowedFd<'_>>; 2],
    remaining: Option<u64>,
) -> Result<i32, Error> {
    // A negative fd is passed over.
    let watched = |fd: Option<BorrowedFd<'_>>| raw::pollfd {
        fd: fd.map_or(-1, |fd| fd.as_raw_fd()),
        events: events as _,
        revents: 0,
    };
    let [first, second] = fds;
    let mut fds = [watched(first), watched(second)];
    let (at, count) = (&raw mut fds as usize, fds.len());
    let nanoseconds = remaining.unwrap_or(0);
    let mut time = raw::__kernel_timespec {
        tv_sec: (nanoseconds / 1_000_000_000) as _,
        tv_nsec: (nanoseconds % 1_000_000_000) as _,
    };
    let time = match remaining {
        Some(_) => &raw mut time as usize,
        None => 0,
    };
    // SAFETY: the fds are writable, the time is null or writable, and no mask is given.
    let polled = unsafe { call(what(Operation::Poll, PPOLL), at, [count, time, 0]) };
    #[cfg(target_pointer_width = "32")]
    if polled.is_err_and(|error| error.is(Errno::NOSYS) || error.is(Errno::PERM)) {
        // Before Linux 5.1, or not known to a filter. No time is longer than 68 years.
        let seconds = (nanoseconds / 1_000_000_000).min(i32::MAX as u64) as u32;
        let mut short = [seconds, (nanoseconds % 1_000_000_000) as u32];
        let time = match remaining {
            Some(_) => &raw mut short as usize,
            None => 0,
        };
        let what = what(Operation::Poll, raw::__NR_ppoll);
        // SAFETY: as above.
        return unsafe { call(what, at, [count, time, 0]) };
    }
    polled
}

/// ppoll(fd): waits until it can be written to, or is at its end: whether that came in time.
pub(crate) fn wait_writable(fd: BorrowedFd<'_>, deadline: Deadline) -> Result<bool, Error> {
    loop {
        match poll_for(raw::POLLOUT, [Some(fd), None], deadline.remaining_ns()) {
            Err(error) if error.is(Errno::INTR) => {}
            polled => return polled.map(|ready| ready > 0),
        }
    }
}

/// ppoll with 64 bits of seconds, on every processor.
#[cfg(target_pointer_width = "64")]
const PPOLL: u32 = raw::__NR_ppoll;
#[cfg(target_pointer_width = "32")]
const PPOLL: u32 = raw::__NR_ppoll_time64;

/// prlimit64(0, RLIMIT_NOFILE): the first fd number that cannot be had, and to where that can be
/// raised, or was lowered from.
pub(crate) fn fd_limits(limits: &mut [u64; 2]) {
    let what = what(Operation::Fcntl, raw::__NR_prlimit64);
    // Where it is refused, there is none.
    *limits = [u64::MAX; 2];
    let at = limits.as_mut_ptr() as usize;
    // SAFETY: the limit is writable, and none is set.
    let _ = unsafe { run(what, 0, [raw::RLIMIT_NOFILE as usize, 0, at]) };
}

/// read(fd, info): one signal of a signalfd.
pub(crate) fn read_signal(
    fd: BorrowedFd<'_>,
    info: &mut super::SignalfdSiginfo,
) -> Result<(), Error> {
    let what = what(Operation::Read, raw::__NR_read) | AGAIN;
    let (at, length) = (
        core::ptr::from_mut(info) as usize,
        size_of::<super::SignalfdSiginfo>(),
    );
    // SAFETY: the kernel writes whole structures, of which one has room.
    unsafe { run(what, number(fd), [at, length]) }
}

/// rt_sigtimedwait(set, 0): takes a signal that waits, if there is one.
pub(super) fn take_signal(set: &super::SigSet) -> Result<(), Error> {
    let what = what(Operation::Read, raw::__NR_rt_sigtimedwait);
    // A word each, on every processor: this is the call with as many bits of seconds.
    let time = [0_usize; 2];
    let (at, size) = (&raw const *set as usize, size_of::<super::SigSet>());
    // SAFETY: the set and the time are readable, and nothing is to be written.
    unsafe { run(what, at, [0, &raw const time as usize, size]) }
}

/// getdents64(folder, buffer): how many bytes of entries there are.
pub(crate) fn entries(folder: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Error> {
    let what = what(Operation::Read, raw::__NR_getdents64);
    let (at, length) = (buffer.as_mut_ptr() as usize, buffer.len());
    // SAFETY: so many bytes are writable.
    unsafe { call(what, number(folder), [at, length]) }.map(|read| read as usize)
}

/// signalfd4(-1, set, SFD_NONBLOCK | SFD_CLOEXEC).
pub(crate) fn signalfd(set: super::SigSet) -> Result<OwnedFd, Error> {
    let what = what(Operation::Signalfd, raw::__NR_signalfd4);
    let flags = (raw::O_NONBLOCK | raw::O_CLOEXEC) as usize;
    let (at, size) = (&raw const set as usize, size_of::<super::SigSet>());
    // SAFETY: the set is readable and of the size given; makes a new fd.
    unsafe { open_call(what, u32::MAX as usize, [at, size, flags]) }
}

/// prctl(PR_SET_CHILD_SUBREAPER, 1).
pub(crate) fn set_subreaper() -> Result<(), Error> {
    let what = what(Operation::Prctl, raw::__NR_prctl);
    // SAFETY: no memory is touched.
    unsafe { run(what, PR_SET_CHILD_SUBREAPER as usize, [1, 0, 0, 0]) }
}

/// reboot(LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, command).
pub(crate) fn reboot(command: u32) -> Result<(), Error> {
    let what = what(Operation::Reboot, raw::__NR_reboot);
    let (first, second) = (raw::LINUX_REBOOT_MAGIC1, raw::LINUX_REBOOT_MAGIC2);
    // SAFETY: it ends this machine, and leaves this process' memory alone.
    unsafe { run(what, first as usize, [second as usize, command as usize, 0]) }
}

/// sync(): what was written lies on the disks.
pub(crate) fn sync() {
    let what = what(Operation::Write, raw::__NR_sync);
    // SAFETY: no memory is touched.
    let _ = unsafe { run(what, 0, []) };
}

/// epoll_create1(EPOLL_CLOEXEC).
pub(crate) fn epoll() -> Result<OwnedFd, Error> {
    let what = what(Operation::EpollCreate, raw::__NR_epoll_create1);
    // SAFETY: makes a new fd.
    unsafe { open_call(what, raw::O_CLOEXEC as usize, []) }
}

/// epoll_ctl(epoll, EPOLL_CTL_ADD or EPOLL_CTL_DEL, fd, EPOLLIN).
pub(crate) fn epoll_watch(
    epoll: BorrowedFd<'_>,
    fd: BorrowedFd<'_>,
    watched: bool,
) -> Result<(), Error> {
    let what = what(Operation::EpollCtl, raw::__NR_epoll_ctl);
    let event = raw::epoll_event {
        events: raw::EPOLLIN,
        data: 0,
    };
    let how = if watched {
        raw::EPOLL_CTL_ADD
    } else {
        raw::EPOLL_CTL_DEL
    };
    let at = &raw const event as usize;
    // SAFETY: the event is readable.
    unsafe { run(what, number(epoll), [how as usize, number(fd), at]) }
}

// The following are made between clone and execve, in a process that has the parent's memory: no
// lock, no allocation, no panic, and nothing is owned.

/// execve(path, argv, envp): only ever returns an error.
///
/// # Safety
///
/// 1. `path` is a C string; `argv` and `envp` are arrays of them that end in a null pointer.
pub(crate) unsafe fn execve(
    path: *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
) -> Error {
    let what = what(Operation::Execve, raw::__NR_execve);
    // SAFETY: 1. is the caller's duty; the kernel only reads.
    match unsafe { run(what, path as usize, [argv as usize, envp as usize]) } {
        Err(error) => error,
        Ok(()) => Error::new(Operation::Execve, Errno::NOSYS),
    }
}

/// execveat(fd, "", argv, envp, AT_EMPTY_PATH | flags): nothing when it is only asked whether it
/// could, else an error.
///
/// # Safety
///
/// 1. `argv` and `envp` are arrays of C strings that end in a null pointer.
/// 2. Without [`AT_EXECVE_CHECK`](super::AT_EXECVE_CHECK), nothing of this process is needed any
///    more.
pub(crate) unsafe fn execveat(
    fd: c_int,
    argv: *const *const c_char,
    envp: *const *const c_char,
    flags: u32,
) -> Result<(), Error> {
    let what = what(Operation::Execve, raw::__NR_execveat);
    let flags = (flags | raw::AT_EMPTY_PATH) as usize;
    let rest = [empty(), argv as usize, envp as usize, flags];
    // SAFETY: 1. and 2. are the caller's duties; the kernel only reads.
    unsafe { run(what, fd as usize, rest) }
}

/// close_range(first, last, flags).
///
/// # Safety
///
/// 1. Nobody owns the fds of the range in this process' table, or in the one that it gets.
pub(crate) unsafe fn close_range(first: u32, last: u32, flags: u32) -> Result<(), Error> {
    let what = what(Operation::Unshare, raw::__NR_close_range);
    // SAFETY: 1. is the caller's duty.
    unsafe { run(what, first as usize, [last as usize, flags as usize]) }
}

/// close(fd).
///
/// # Safety
///
/// 1. Nobody owns `fd`.
pub(crate) unsafe fn close(fd: c_int) {
    // SAFETY: 1. is the caller's duty.
    let _ = unsafe { run(what(Operation::Close, raw::__NR_close), fd as usize, []) };
}

/// unshare(CLONE_FILES): a copy of the fd table, if it was shared.
pub(crate) fn unshare_files() -> Result<(), Error> {
    let what = what(Operation::Unshare, raw::__NR_unshare);
    // SAFETY: the same fds stay open under the same numbers.
    unsafe { run(what, raw::CLONE_FILES as usize, []) }
}

/// dup3(from, to, flags).
///
/// # Safety
///
/// 1. Nobody relies on what is at `to`.
pub(crate) unsafe fn dup3(from: c_int, to: c_int, flags: u32) -> Result<(), Error> {
    let what = what(Operation::Dup, raw::__NR_dup3);
    // SAFETY: 1. is the caller's duty.
    unsafe { run(what, from as usize, [to as usize, flags as usize]) }
}

/// fcntl(fd, F_SETFD, flags).
pub(crate) fn set_fd_flags(fd: c_int, flags: u32) -> Result<(), Error> {
    let what = what(Operation::Fcntl, raw::__NR_fcntl);
    // SAFETY: a flag of the table, no memory.
    unsafe { run(what, fd as usize, [raw::F_SETFD as usize, flags as usize]) }
}

/// fcntl(fd, F_GETFD).
pub(crate) fn fd_flags(fd: c_int) -> Result<u32, Error> {
    let what = what(Operation::Fcntl, raw::__NR_fcntl);
    // SAFETY: reads a flag of the table.
    let flags = unsafe { call(what, fd as usize, [raw::F_GETFD as usize])? };
    Ok(flags as u32)
}

/// fchdir(fd).
pub(crate) fn fchdir(fd: c_int) -> Result<(), Error> {
    // SAFETY: no memory is touched.
    unsafe { run(what(Operation::Chdir, raw::__NR_fchdir), fd as usize, []) }
}

/// setpgid(0, 0): a process group of one's own.
pub(crate) fn lead_group() -> Result<(), Error> {
    let what = what(Operation::Setpgid, raw::__NR_setpgid);
    // SAFETY: no memory is touched.
    unsafe { run(what, 0, [0]) }
}

/// ioctl(fd, TIOCSPGRP, group): the terminal's foreground. With SIGTTOU blocked it may be asked for
/// from the background.
pub(crate) fn set_foreground(fd: c_int, group: u32) -> Result<(), Error> {
    let what = what(Operation::Ioctl, raw::__NR_ioctl);
    let at = &raw const group as usize;
    // SAFETY: the group is readable.
    unsafe { run(what, fd as usize, [ioctl::TIOCSPGRP as usize, at]) }
}

/// openat(AT_FDCWD, path, flags), which becomes the lowest fd that is free.
pub(crate) fn open_lowest(path: &[u8], flags: u32) -> Result<(), Error> {
    let what = what(Operation::Open, raw::__NR_openat);
    let rest = [c_string(path), flags as usize, 0];
    // SAFETY: a C string.
    unsafe { run(what, raw::AT_FDCWD as usize, rest) }
}

/// futex(word, FUTEX_WAIT, expected, remaining): until it is woken, or something else is there, or
/// the time in nanoseconds is over. Not private to this process: the kernel wakes such a one at a
/// thread's end.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, remaining: Option<u64>) {
    let what = what(Operation::Futex, raw::__NR_futex);
    let nanoseconds = remaining.unwrap_or(0);
    // A word each, on every processor: this is the call with as many bits of seconds.
    let time = [
        (nanoseconds / 1_000_000_000).min(i32::MAX as u64) as usize,
        (nanoseconds % 1_000_000_000) as usize,
    ];
    let time = match remaining {
        Some(_) => &raw const time as usize,
        None => 0,
    };
    let (at, wait) = (word.as_ptr() as usize, raw::FUTEX_WAIT as usize);
    // SAFETY: the word is readable, and the time null or readable. Whoever waits looks again.
    let _ = unsafe { run(what, at, [wait, expected as usize, time]) };
}

/// futex(word, FUTEX_WAKE): everybody who waits.
pub(crate) fn futex_wake(word: &AtomicU32) {
    let what = what(Operation::Futex, raw::__NR_futex);
    let (at, wake) = (word.as_ptr() as usize, raw::FUTEX_WAKE as usize);
    // SAFETY: no memory is touched.
    let _ = unsafe { run(what, at, [wake, i32::MAX as usize]) };
}

/// set_tid_address(word): the kernel writes 0 there, and wakes who waits, when this thread has
/// ended and this process goes on.
pub(crate) fn tell_end_of_thread(word: &AtomicU32) {
    let what = what(Operation::Futex, raw::__NR_set_tid_address);
    // SAFETY: that it lives as long is the duty of who makes such a thread.
    let _ = unsafe { run(what, word.as_ptr() as usize, []) };
}

/// sigaltstack(new, old).
///
/// # Safety
///
/// 1. `new` and `old` are null, or point to a `stack_t`, whose memory is free as long as it is used.
pub(super) unsafe fn sigaltstack(new: usize, old: usize) -> Result<(), Error> {
    let what = what(Operation::Sigaction, raw::__NR_sigaltstack);
    // SAFETY: 1. is the caller's duty.
    unsafe { run(what, new, [old]) }
}

/// rt_sigaction(signal, new, old).
///
/// # Safety
///
/// 1. `new` and `old` are null, or point to a `struct sigaction`; nobody relies on the
///    disposition until now, if it is changed.
pub(super) unsafe fn rt_sigaction(signal: u32, new: usize, old: usize) -> Result<(), Error> {
    let what = what(Operation::Sigaction, raw::__NR_rt_sigaction);
    // SAFETY: 1. is the caller's duty.
    unsafe {
        run(
            what,
            signal as usize,
            [new, old, size_of::<super::SigSet>()],
        )
    }
}

/// rt_sigprocmask(how, set, old).
///
/// # Safety
///
/// 1. Nobody relies on the mask until now, if it is changed.
pub(super) unsafe fn rt_sigprocmask(how: u32, set: &super::SigSet, old: &mut super::SigSet) {
    let what = what(Operation::Sigaction, raw::__NR_rt_sigprocmask);
    let (set, old) = (&raw const *set as usize, &raw mut *old as usize);
    let size = size_of::<super::SigSet>();
    // SAFETY: one is readable and the other writable, both of this size; 1. is the caller's duty.
    let _ = unsafe { run(what, how as usize, [set, old, size]) };
}
