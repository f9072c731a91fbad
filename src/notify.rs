//! What a service tells its manager: systemd's readiness protocol, as a service and as a reader.
//!
//! A message is a datagram of lines, sent to the socket that `NOTIFY_SOCKET` names. [`Notify`]
//! keeps the address and nothing else: a message takes a socket of its own, as the manager may
//! have made a new one at the same place, and the fd table stays as it was.
//!
//! | type | what it is |
//! | --- | --- |
//! | [`Notify`], [`State`] | what is said, and to whom |
//! | [`Watchdog`] | when it is to be said that all is well |
//! | [`Receiver`] | the other side: what a program says that knows only this protocol |

mod receiver;
mod state;
mod watchdog;

use core::fmt;

use linux_raw_sys::net::{SO_ERROR, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::Errno;

use crate::activation::{Variable, VariableError, split_at_byte};
use crate::addr::{Address, Network};
use crate::environ::Environ;
use crate::error::{Error, Operation};
use crate::ready::Successor;
use crate::sys;
use crate::time::Deadline;
pub use receiver::{Received, Receiver};
pub use state::{FDS_MAX, MESSAGE_MAX, NotifyAccess, State};
use state::{Text, Wrong, encode};
pub use watchdog::Watchdog;

const NOTIFY_SOCKET: &[u8] = b"NOTIFY_SOCKET";

/// How long a message waits for a manager that does not read, if nothing else is said.
const PATIENCE_MS: u64 = 1_000;

/// Where a service manager listens.
///
/// It owns nothing. Messages count for systemd by who sends them: with `NotifyAccess=main`, which
/// is the default of `Type=notify`, only those of the main process do.
///
/// # Examples
///
/// ```
/// use gracenet::Environ;
/// use gracenet::notify::{Notify, State};
///
/// # fn f(environ: Environ<'_>) -> Result<(), Box<dyn core::error::Error>> {
/// if let Some(notify) = Notify::new(environ)? {
///     notify.send(&[State::Ready, State::Status(b"serving on :8080")])?;
/// }
/// # Ok(())
/// # }
/// # f(Environ::new(&[])).unwrap();
/// ```
///
/// # References
///
/// - [sd_notify(3)](https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html)
#[derive(Clone, Copy, Debug)]
#[doc(alias = "sd_notify")]
pub struct Notify {
    address: Address,
    /// The socket's type; 0 is a datagram's, or the next best there is.
    style: u32,
}

impl Notify {
    /// `Notify::new(environ)` — where `NOTIFY_SOCKET` says; `None` where it is absent, and nobody
    /// wants to know.
    ///
    /// It is a path from the root, `@` and an abstract name, or `vsock:CID:PORT`, which may begin
    /// with `vsock-dgram`, `vsock-seqpacket` or `vsock-stream` instead.
    ///
    /// # Errors
    ///
    /// [`VariableError`]: it is none of these.
    pub fn new(environ: Environ<'_>) -> Result<Option<Notify>, VariableError> {
        match environ.var(NOTIFY_SOCKET) {
            None => Ok(None),
            Some(text) => match parse(text) {
                Ok(notify) => Ok(Some(notify)),
                Err(at) => Err(VariableError::new(Variable::NotifySocket, at)),
            },
        }
    }

    /// `notify.send(states)` — tells these, in one message.
    ///
    /// A manager that does not read is waited for, up to a second.
    ///
    /// # Errors
    ///
    /// [`NotifyError`]; nothing was told.
    pub fn send(&self, states: &[State<'_>]) -> Result<(), NotifyError> {
        self.send_with(states, &[], Deadline::after_ms(PATIENCE_MS))
    }

    /// `notify.send_with(states, fds, deadline)` — tells these, with copies of fds, to a manager
    /// that is waited for until then.
    ///
    /// Fds are passed for [`State::FdStore`] and [`State::MainPidFd`]. The deadline may have
    /// passed already: then it is tried once.
    ///
    /// # Errors
    ///
    /// [`NotifyError`]; nothing was told.
    pub fn send_with(
        &self,
        states: &[State<'_>],
        fds: &[BorrowedFd<'_>],
        deadline: Deadline,
    ) -> Result<(), NotifyError> {
        if fds.len() > FDS_MAX {
            return Err(NotifyError::TooManyFds);
        }
        let mut text = Text::new();
        encode(states, sys::monotonic_nanoseconds() / 1_000, &mut text)?;
        Ok(self.transmit(&text, fds, deadline)?)
    }

    /// `notify.handed_over(successor, status)` — says that the successor is the service from now
    /// on, that it serves and is alive, and in which words.
    ///
    /// It is the old process that has to say so, before it ends: with `NotifyAccess=main` nobody
    /// listens to the successor until then, and a manager whose main process ends kills what is
    /// left of the service. When to say it is the caller's choice: when the successor is
    /// [ready](Successor::is_ready), or when it has held out for a
    /// [probation](Successor::try_probation), during which its death would otherwise be the
    /// service's. The successor's own `READY=1` is not needed.
    ///
    /// When the manager reads it, the successor is a child of this process and not the manager's.
    /// For such a main process a stop does not wait: systemd sends SIGTERM and, at once, SIGKILL. A
    /// unit whose program drains at its end has to wait for that end in `ExecStop=`.
    ///
    /// The successor is named by its pid, and where the kernel has pidfs (Linux 6.9) by the inode
    /// of its pidfd, too.
    ///
    /// # Errors
    ///
    /// [`NotifyError`]; nothing was told, and this process is still the service.
    #[doc(alias = "MAINPID")]
    pub fn handed_over(&self, successor: &Successor, status: &[u8]) -> Result<(), NotifyError> {
        let named = State::MainPid(successor.pid());
        let serves = [State::Ready, State::Watchdog, State::Status(status)];
        let [ready, watchdog, status] = serves;
        match successor.pidfd().and_then(sys::pidfd_inode) {
            None => self.send(&[named, ready, watchdog, status]),
            Some(inode) => {
                let inode = State::MainPidFdId(inode);
                self.send(&[named, inode, ready, watchdog, status])
            }
        }
    }

    /// `notify.barrier(deadline)` — waits until all that this process has said before has been
    /// read.
    ///
    /// A short-lived program does so before it ends, as systemd cannot tell otherwise to which
    /// unit it belonged.
    ///
    /// # Errors
    ///
    /// [`NotifyError::TimedOut`], and what the system calls say.
    #[doc(alias = "sd_notify_barrier")]
    pub fn barrier(&self, deadline: Deadline) -> Result<(), NotifyError> {
        let (ours, theirs) = sys::pipe()?;
        // It stands alone, with exactly one fd, which is closed when it is read.
        self.transmit(b"BARRIER=1", &[sys::lend(&theirs)], deadline)?;
        drop(theirs);
        match crate::ready::wait_readable([Some(sys::lend(&ours)), None], deadline)? {
            true => Ok(()),
            false => Err(NotifyError::TimedOut),
        }
    }

    fn transmit(
        &self,
        text: &[u8],
        fds: &[BorrowedFd<'_>],
        deadline: Deadline,
    ) -> Result<(), Error> {
        let socket = self.connect()?;
        let socket = sys::lend(&socket);
        loop {
            let is_last = deadline.has_passed();
            match sys::send_with_fds(socket, text, fds) {
                Err(error) if error.is(Errno::AGAIN) || error.is(Errno::NOTCONN) => {
                    if is_last || !sys::wait_writable(socket, deadline)? {
                        return Err(error);
                    }
                    // A connection that nobody has taken is as good to write to as one that is
                    // made, and says no more than that it is none.
                    let errno = sys::socket_option(socket, SO_ERROR)?;
                    if errno != 0 {
                        // As `Error::new` does, without an assertion that it is no 0.
                        let operation = (Operation::Connect as u32) << 16;
                        return Err(Error::from_packed(operation, errno));
                    }
                }
                sent => return sent,
            }
        }
    }

    /// A socket of a type that this kernel has.
    fn connect(&self) -> Result<OwnedFd, Error> {
        let family = u32::from(self.address.family());
        let socket = match self.style {
            0 => sys::socket(family, SOCK_DGRAM | sys::SOCK_NONBLOCK)
                .or_else(|_| sys::socket(family, SOCK_SEQPACKET | sys::SOCK_NONBLOCK))
                .or_else(|_| sys::socket(family, SOCK_STREAM | sys::SOCK_NONBLOCK))?,
            style => sys::socket(family, style | sys::SOCK_NONBLOCK)?,
        };
        let socket = crate::socket::above_stdio(socket)?;
        match sys::connect(sys::lend(&socket), &self.address) {
            // It goes on by itself, and is waited for before anything is sent.
            Err(error) if error.is(Errno::INPROGRESS) => Ok(socket),
            Err(error) => Err(error),
            Ok(()) => Ok(socket),
        }
    }
}

/// What `NOTIFY_SOCKET` says; else the byte at which it says nothing.
fn parse(text: &[u8]) -> Result<Notify, usize> {
    if let [b'/' | b'@', ..] = text {
        let address = Address::parse(Network::UnixGram, text).map_err(|error| error.at())?;
        // An abstract name of no bytes is nobody's.
        if text == b"@" {
            return Err(1);
        }
        return Ok(Notify {
            address,
            style: SOCK_DGRAM,
        });
    }
    let (scheme, rest) = split_at_byte(text, b':');
    let style = match scheme {
        b"vsock" => 0,
        b"vsock-dgram" => SOCK_DGRAM,
        b"vsock-seqpacket" => SOCK_SEQPACKET,
        b"vsock-stream" => SOCK_STREAM,
        _ => return Err(0),
    };
    let at = scheme.len().saturating_add(1);
    let (cid, port) = split_at_byte(rest.unwrap_or_default(), b':');
    let behind = at.saturating_add(cid.len());
    let cid = number(cid).map_err(|offset| at.saturating_add(offset))?;
    let at = behind.saturating_add(1);
    let port = match port {
        None => return Err(behind),
        Some(port) => number(port).map_err(|offset| at.saturating_add(offset))?,
    };
    Ok(Notify {
        address: Address::vsock(cid, port),
        style,
    })
}

/// A number of 32 bits that is not the highest, which stands for any.
fn number(digits: &[u8]) -> Result<u32, usize> {
    let most = u64::from(u32::MAX - 1);
    crate::activation::decimal(digits, most).map(|number| number as u32)
}

/// Why nothing was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NotifyError {
    /// The state at this place has a newline or a NUL in it, or a name that is none.
    State(usize),
    /// The message is longer than [`MESSAGE_MAX`].
    TooLong,
    /// There are more than [`FDS_MAX`].
    TooManyFds,
    /// The manager did not read in time.
    TimedOut,
    /// A system call failed.
    ///
    /// - `connect: os error 111` (ECONNREFUSED), `os error 2` (ENOENT): nobody listens there.
    /// - `socket: os error 97` (EAFNOSUPPORT): this kernel has no vsock.
    /// - `send: os error 11` (EAGAIN): the manager did not read in time.
    Failed(Error),
}

impl From<Error> for NotifyError {
    fn from(error: Error) -> NotifyError {
        NotifyError::Failed(error)
    }
}

impl From<Wrong> for NotifyError {
    fn from(wrong: Wrong) -> NotifyError {
        match wrong {
            Wrong::State(index) => NotifyError::State(index),
            Wrong::TooLong => NotifyError::TooLong,
        }
    }
}

impl fmt::Display for NotifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotifyError::State(index) => {
                f.write_str("not one line, or without a name: state ")?;
                fmt::Display::fmt(index, f)
            }
            NotifyError::TooLong => f.write_str("the message is too long"),
            NotifyError::TooManyFds => f.write_str("too many fds for one message"),
            NotifyError::TimedOut => f.write_str("the manager did not read in time"),
            NotifyError::Failed(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for NotifyError {}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    /// Case J1.
    #[test]
    fn a_path_or_an_abstract_name_is_a_datagram_socket() {
        for text in [&b"/run/systemd/notify"[..], b"@notify", b"@with/slash"] {
            let notify = parse(text).unwrap();
            let expected = Address::parse(Network::UnixGram, text).unwrap();
            assert_eq!(notify.address, expected);
            assert_eq!(notify.style, SOCK_DGRAM);
        }
    }

    /// Case J1.
    #[test]
    fn vsock_has_a_machine_and_a_port() {
        for (scheme, style) in [
            ("vsock", 0),
            ("vsock-dgram", SOCK_DGRAM),
            ("vsock-seqpacket", SOCK_SEQPACKET),
            ("vsock-stream", SOCK_STREAM),
        ] {
            let text = std::format!("{scheme}:2:4294967294");
            let notify = parse(text.as_bytes()).unwrap();
            let mut expected = std::vec![40_u8, 0, 0, 0];
            expected.extend_from_slice(&4_294_967_294_u32.to_ne_bytes());
            expected.extend_from_slice(&2_u32.to_ne_bytes());
            expected.extend_from_slice(&[0; 4]);
            assert_eq!(notify.address.as_bytes(), expected);
            assert_eq!(notify.style, style);
        }
    }

    /// Case J1.
    #[test]
    fn anything_else_is_an_error_at_its_byte() {
        let long = std::format!("/{}", "x".repeat(107));
        for (text, at) in [
            ("", 0),
            ("run/notify", 0),
            ("@", 1),
            (&long, 107),
            ("unix:/run/notify", 0),
            ("vsock", 6),
            ("vsock:", 6),
            ("vsock:2", 7),
            ("vsock:2:", 8),
            ("vsock::5", 6),
            ("vsock:-1:5", 6),
            ("vsock:2:5x", 9),
            ("vsock:2:5:6", 9),
            // Any machine, any port: no address to send to.
            ("vsock:4294967295:5", 15),
            ("vsock:2:4294967295", 17),
        ] {
            assert_eq!(parse(text.as_bytes()).err(), Some(at), "{text:?}");
        }
    }

    #[test]
    fn absent_is_not_asked_for() {
        assert!(Notify::new(Environ::new(&[])).unwrap().is_none());
        let error = Notify::new(Environ::new(&[c"NOTIFY_SOCKET="])).unwrap_err();
        assert_eq!((error.name(), error.at()), ("NOTIFY_SOCKET", 0));
    }
}
