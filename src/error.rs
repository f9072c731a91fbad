//! Pure. A failed system call: which, and why.

use core::fmt;

use rustix::io::Errno;

/// A failed system call.
///
/// ```
/// use gracenet::{Errno, Error, Operation};
///
/// let error = Error::new(Operation::Bind, Errno::ADDRINUSE);
/// assert_eq!(error.to_string(), "bind: os error 98");
/// assert_eq!(Errno::from(error), Errno::ADDRINUSE);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Error {
    operation: Operation,
    errno: Errno,
}

impl Error {
    /// `Error::new(operation, errno)` — an error as this crate gives it.
    pub const fn new(operation: Operation, errno: Errno) -> Error {
        Error { operation, errno }
    }

    /// What failed.
    pub const fn operation(self) -> Operation {
        self.operation
    }

    /// What the kernel said.
    pub const fn errno(self) -> Errno {
        self.errno
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.operation.as_str())?;
        f.write_str(": os error ")?;
        fmt::Display::fmt(&self.errno.raw_os_error(), f)
    }
}

impl core::error::Error for Error {}

impl From<Error> for Errno {
    fn from(error: Error) -> Errno {
        error.errno
    }
}

macro_rules! operations {
    ($($name:ident $text:literal)*) => {
        /// The system calls that can fail, by their names in section 2 of the manual.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[non_exhaustive]
        pub enum Operation {
            $(#[doc = concat!("`", $text, "`")] $name,)*
        }

        impl Operation {
            /// Its name as the manual has it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Operation::$name => $text,)*
                }
            }
        }
    };
}

operations! {
    Accept4 "accept4"
    Bind "bind"
    Chdir "fchdir"
    Chmod "fchmod"
    Clone "clone"
    Close "close"
    CloseRange "close_range"
    Connect "connect"
    Dup "dup"
    Execve "execve"
    Fcntl "fcntl"
    Fstat "fstat"
    Getpeername "getpeername"
    Getsockname "getsockname"
    Getsockopt "getsockopt"
    Ioctl "ioctl"
    Kill "kill"
    Listen "listen"
    Open "open"
    PidfdOpen "pidfd_open"
    PidfdSendSignal "pidfd_send_signal"
    Poll "poll"
    Read "read"
    Recv "recv"
    Send "send"
    Setsockopt "setsockopt"
    Sigaction "rt_sigaction"
    Signalfd "signalfd"
    Socket "socket"
    Socketpair "socketpair"
    Stat "stat"
    Unlink "unlink"
    Unshare "unshare"
    Waitid "waitid"
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
        self.map_err(|errno| Error { operation, errno })
    }
}
