//! Pure. A failed system call: which, and why.
#![allow(unsafe_code)] // A part of a string is a string.

use core::fmt;
use core::num::NonZeroU32;

use rustix::io::Errno;

use crate::activation::split_at_byte;

/// A failed system call.
///
/// One word: which call in the upper half, its errno in the lower, so that a result with it fits
/// into two registers.
///
/// ```
/// use gracenet::{Errno, Error, Operation};
///
/// let error = Error::new(Operation::Bind, Errno::ADDRINUSE);
/// assert_eq!(error.to_string(), "bind: os error 98");
/// assert_eq!(error.operation(), Operation::Bind);
/// assert_eq!(Errno::from(error), Errno::ADDRINUSE);
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Error(NonZeroU32);

impl Error {
    /// `Error::new(operation, errno)` — an error as this crate gives it.
    pub const fn new(operation: Operation, errno: Errno) -> Error {
        Error::from_packed((operation as u32) << 16, errno.raw_os_error() as u32)
    }

    /// From both as they lie in the word. It is never zero: the first operation is 1.
    pub(crate) const fn from_packed(operation: u32, errno: u32) -> Error {
        match NonZeroU32::new(operation | (errno & 0xfff)) {
            Some(packed) => Error(packed),
            None => Error(NonZeroU32::MAX),
        }
    }

    /// `error.to_word()` — the word, which is not zero: to be kept where there is no room for more, and
    /// read again by [`from_word`](Self::from_word).
    pub const fn to_word(self) -> u32 {
        self.0.get()
    }

    /// `Error::from_word(word)` — from [`to_word`](Self::to_word); `None` of zero.
    pub fn from_word(word: u32) -> Option<Error> {
        NonZeroU32::new(word).map(Error)
    }

    /// What failed.
    pub fn operation(self) -> Operation {
        Operation::numbered((self.0.get() >> 16) as u8)
    }

    /// What the kernel said.
    pub const fn errno(self) -> Errno {
        match self.0.get() & 0xfff {
            0 => Errno::NOSYS,
            errno => Errno::from_raw_os_error(errno as i32),
        }
    }

    /// What the kernel said, as a number.
    pub const fn raw_os_error(self) -> i32 {
        (self.0.get() & 0xffff) as i32
    }

    pub(crate) const fn is(self, errno: Errno) -> bool {
        self.raw_os_error() == errno.raw_os_error()
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.operation().as_str())?;
        f.write_str(": os error ")?;
        fmt::Display::fmt(&self.raw_os_error(), f)
    }
}

impl core::error::Error for Error {}

impl From<Error> for Errno {
    fn from(error: Error) -> Errno {
        error.errno()
    }
}

macro_rules! operations {
    ($first:ident $first_text:literal $($name:ident $text:literal)*) => {
        /// The system calls that can fail, by their names in section 2 of the manual.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Operation {
            #[doc = concat!("`", $first_text, "`")] $first = 1,
            $(#[doc = concat!("`", $text, "`")] $name,)*
        }

        impl Operation {
            #[cfg(test)]
            const ALL: &[Operation] = &[Operation::$first, $(Operation::$name,)*];

            /// A table of them would be compiled into one, though it says nothing new.
            fn numbered(number: u8) -> Operation {
                match number {
                    $(it if it == Operation::$name as u8 => Operation::$name,)*
                    _ => Operation::$first,
                }
            }

            /// Their names in the order of their numbers, with commas before them: a table of them
            /// would be larger than they are.
            #[doc(hidden)] // For the programs in `examples`.
            pub const NAMES: &str = concat!(",", $first_text, $(",", $text),*);
        }
    };
}

operations! {
    Accept4 "accept4"
    Access "faccessat2"
    Bind "bind"
    Chdir "fchdir"
    Chmod "fchmod"
    Clone "clone"
    Close "close"
    Connect "connect"
    Dup "dup"
    EpollCreate "epoll_create1"
    EpollCtl "epoll_ctl"
    Execve "execve"
    Fcntl "fcntl"
    Flock "flock"
    Futex "futex"
    Getpeername "getpeername"
    Getsockname "getsockname"
    Getsockopt "getsockopt"
    Ioctl "ioctl"
    Kill "kill"
    Link "link"
    Listen "listen"
    MemfdCreate "memfd_create"
    Mmap "mmap"
    Open "open"
    PidfdOpen "pidfd_open"
    PidfdSendSignal "pidfd_send_signal"
    Pipe "pipe2"
    Poll "poll"
    Prctl "prctl"
    Pread "pread"
    Pwrite "pwrite"
    Read "read"
    Reboot "reboot"
    Recv "recv"
    Rename "rename"
    Send "send"
    Setpgid "setpgid"
    Setsockopt "setsockopt"
    Sigaction "rt_sigaction"
    Signalfd "signalfd"
    Socket "socket"
    Socketpair "socketpair"
    Stat "stat"
    Unlink "unlink"
    Unshare "unshare"
    Waitid "waitid"
    Write "write"
}

impl Operation {
    /// Its name as the manual has it.
    pub fn as_str(self) -> &'static str {
        let mut rest = Operation::NAMES.as_bytes();
        for _ in 0..self as u8 {
            rest = split_at_byte(rest, b',').1.unwrap_or(&[]);
        }
        // SAFETY: a part of a string between two of its commas.
        unsafe { str::from_utf8_unchecked(split_at_byte(rest, b',').0) }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `.during(operation)`: names the call that failed.
pub(crate) trait During<T> {
    fn during(self, operation: Operation) -> Result<T, Error>;
}

impl<T> During<T> for Result<T, Errno> {
    fn during(self, operation: Operation) -> Result<T, Error> {
        self.map_err(|errno| Error::new(operation, errno))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_manual() {
        assert_eq!(Operation::Accept4.as_str(), "accept4");
        assert_eq!(Operation::Execve.as_str(), "execve");
        assert_eq!(Operation::ALL.last().unwrap().as_str(), "write");
    }

    #[test]
    fn every_operation_survives_its_packing() {
        for operation in Operation::ALL {
            for errno in [1, 98, 4095] {
                let errno = Errno::from_raw_os_error(errno);
                let error = Error::new(*operation, errno);
                assert_eq!((error.operation(), error.errno()), (*operation, errno));
            }
            assert!(!operation.as_str().is_empty());
        }
    }
}
