//! Signals as something to read.
#![allow(unsafe_code)] // Numbers of signals that come back from the kernel.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
pub use rustix::process::Signal;

use crate::error::Error;
use crate::sys::{self, SigSet, SignalfdSiginfo};

/// Signals that are blocked and read from an fd, in the program's own event loop.
///
/// It owns the fd, which is CLOEXEC and does not block. Successors and other children are not
/// affected: they start with the mask that this process was started with.
///
/// # Examples
///
/// ```
/// use gracenet::signal::{Signal, Signals};
///
/// let signals = Signals::new(&[Signal::USR2, Signal::TERM])?;
/// assert_eq!(signals.read()?, None);
/// # Ok::<(), gracenet::Error>(())
/// ```
///
/// # References
///
/// - [signalfd(2)](https://man7.org/linux/man-pages/man2/signalfd.2.html)
#[derive(Debug)]
#[doc(alias = "signalfd")]
pub struct Signals {
    fd: OwnedFd,
}

/// A signal that was received, and from whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// Which.
    pub signal: Signal,
    /// The sender, as this process sees it; for SIGCHLD the child. 0 is the kernel, or a process
    /// outside of this pid namespace.
    pub pid: u32,
    /// The user of the sender.
    pub uid: u32,
}

impl Signals {
    /// `Signals::new(signals)` — blocks these signals in this thread, and receives them.
    ///
    /// Call it before other threads are made, which get the mask from the one that makes them:
    /// a signal to the process goes to any thread that does not block it. It is not unblocked
    /// when the fd is closed, so that none is lost that comes later.
    ///
    /// # Errors
    ///
    /// - `signalfd: os error 24` (EMFILE): RLIMIT_NOFILE is reached. The signals stay blocked.
    pub fn new(signals: &[Signal]) -> Result<Signals, Error> {
        Signals::of(set(signals))
    }

    /// `Signals::all()` — as [`new`](Self::new), with every signal but those that cannot be blocked, and
    /// those that a process gets by its own doing: SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS and
    /// SIGTRAP. For pid 1, which passes them on.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn all() -> Result<Signals, Error> {
        const OWN_DOING: [Signal; 7] = [
            Signal::SEGV,
            Signal::BUS,
            Signal::ILL,
            Signal::FPE,
            Signal::ABORT,
            Signal::SYS,
            Signal::TRAP,
        ];
        Signals::of(!set(&OWN_DOING))
    }

    fn of(set: SigSet) -> Result<Signals, Error> {
        sys::block_signals(set);
        let fd = crate::socket::above_stdio(sys::signalfd(set)?)?;
        Ok(Signals { fd })
    }

    /// `signals.read()` — the next signal that has come; `None` if there is none. Never blocks.
    ///
    /// # Errors
    ///
    /// - `read`: the fd cannot be read.
    pub fn read(&self) -> Result<Option<Received>, Error> {
        let mut info = SignalfdSiginfo::new();
        match sys::read_signal(sys::lend(&self.fd), &mut info) {
            Err(error) if error.is(Errno::AGAIN) => return Ok(None),
            read => read?,
        }
        // SAFETY: it is one of the `Signal`s that the fd was made for.
        let signal = unsafe { Signal::from_raw_unchecked(info.signo as i32) };
        Ok(Some(Received {
            signal,
            pid: info.pid,
            uid: info.uid,
        }))
    }
}

fn set(signals: &[Signal]) -> SigSet {
    signals.iter().fold(0, |set: SigSet, signal| {
        set | 1_u64.wrapping_shl((signal.as_raw() as u32).wrapping_sub(1))
    })
}

/// Readable when a signal has come.
impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        sys::lend(&self.fd)
    }
}
