//! The reader's side of the protocol.
#![allow(unsafe_code)] // A C string in an array.

use core::ffi::CStr;

use linux_raw_sys::net::{AF_UNIX, SO_PASSCRED, SOCK_DGRAM};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

use crate::addr::Address;
use crate::error::{Error, Operation};
use crate::ready::{Failure, Successor, wait_readable};
use crate::socket::above_stdio;
use crate::sys;
use crate::time::Deadline;

use super::state;

/// Where a program that is started says what systemd would be told: a socket with a name of its
/// own that the kernel gives, of which nothing is left when it is closed.
///
/// It owns the fd, which is CLOEXEC and does not block. Any process in the network namespace
/// could send to it; so each message says from whom it is.
///
/// # Examples
///
/// ```
/// use gracenet::Environ;
/// use gracenet::notify::{Notify, Receiver, State};
///
/// let receiver = Receiver::new()?;
/// // For a program that is started: `Changes::new().set(&[receiver.variable()])`.
/// let environ = [receiver.variable()];
/// let notify = Notify::new(Environ::new(&environ))?.unwrap();
/// notify.send(&[State::Ready])?;
///
/// let mut buffer = [0; gracenet::notify::MESSAGE_MAX];
/// let message = receiver.receive(&mut buffer)?.unwrap();
/// assert!(message.is_ready() && message.pid == std::process::id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Receiver {
    socket: OwnedFd,
    variable: [u8; VARIABLE.len()],
}

/// What is behind the `@` has five digits, as the kernel gives them.
const VARIABLE: [u8; 21] = *b"NOTIFY_SOCKET=@00000\0";

/// Messages that are read before the deadline is looked at.
const MESSAGES_AT_ONCE: usize = 16;

/// A message, and who sent it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received<'b> {
    /// The sender's pid, as this process sees it; 0 where it does not.
    pub pid: u32,
    /// The user of the sender.
    pub uid: u32,
    /// The lines, as they came, up to the end of the buffer.
    pub message: &'b [u8],
    /// There was more than the buffer has room for. systemd ignores such a message.
    pub truncated: bool,
}

impl Receiver {
    /// `Receiver::new()` — a socket, and its name.
    ///
    /// # Errors
    ///
    /// - `socket`, `bind`, `setsockopt`, `getsockname`: it cannot be made.
    pub fn new() -> Result<Receiver, Error> {
        Receiver::from_fd(Receiver::socket()?)
    }

    /// Of which nothing is known yet.
    pub(crate) fn socket() -> Result<OwnedFd, Error> {
        let socket = above_stdio(sys::socket(AF_UNIX, SOCK_DGRAM | sys::SOCK_NONBLOCK)?)?;
        let mut unnamed = Address::room();
        unnamed.set_unnamed();
        sys::bind(sys::lend(&socket), &unnamed)?;
        Ok(socket)
    }

    /// `Receiver::from_fd(socket)` — one that another program has made, whose place this one took:
    /// those who have its name go on to speak to it.
    ///
    /// It owns the fd from then on, and closes it on an error.
    ///
    /// # Errors
    ///
    /// - `getsockname: os error 22` (EINVAL): it is no such socket.
    /// - `setsockopt`: it cannot be made to say who has sent a message.
    pub fn from_fd(socket: OwnedFd) -> Result<Receiver, Error> {
        let fd = sys::lend(&socket);
        let mut address = Address::room();
        sys::local_address(fd, &mut address)?;
        let family = (AF_UNIX as u16).to_ne_bytes();
        let address = <[u8; 8]>::try_from(address.as_bytes());
        let mut variable = VARIABLE;
        match (address, variable.last_chunk_mut::<6>()) {
            (Ok([a, b, 0, digits @ ..]), Some([room @ .., 0])) if [a, b] == family => {
                *room = digits
            }
            _ => return Err(Error::new(Operation::Getsockname, Errno::INVAL)),
        }
        // Each message says from whom it is, and with that there is no room for fds.
        sys::turn_on(fd, SO_PASSCRED)?;
        Ok(Receiver { socket, variable })
    }

    /// The variable that tells a program of it: `NOTIFY_SOCKET=@` and its name.
    pub fn variable(&self) -> &CStr {
        // SAFETY: there is a NUL at the end of the array.
        unsafe { CStr::from_ptr(self.variable.as_ptr().cast()) }
    }

    /// `receiver.receive(buffer)` — the next message; `None` if there is none. Never blocks.
    ///
    /// Fds that come with it are closed, which is also what ends a barrier.
    ///
    /// # Errors
    ///
    /// - `recv`: the socket cannot be read.
    pub fn receive<'b>(&self, buffer: &'b mut [u8]) -> Result<Option<Received<'b>>, Error> {
        match sys::receive_with_sender(sys::lend(&self.socket), buffer) {
            Err(error) if error.is(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error),
            Ok(message) => Ok(Some(Received {
                pid: message.pid,
                uid: message.uid,
                truncated: message.truncated,
                message: buffer.get(..message.length).unwrap_or_default(),
            })),
        }
    }

    /// `receiver.try_wait(successor, deadline)` — whether a [foreign](crate::Changes::foreign)
    /// successor has said that it is ready, or has failed; `None` as long as neither is so, and by
    /// the deadline it has failed. Never blocks.
    ///
    /// Only what the started process itself says counts, and nothing of its children. As long as
    /// nothing is decided, it wants to be called again when the receiver or the successor's
    /// [`pidfd`](Successor::pidfd) is readable, and at [`wake_by`](Successor::wake_by).
    pub fn try_wait(
        &self,
        successor: &mut Successor,
        deadline: Deadline,
    ) -> Option<Result<(), Failure>> {
        let pid = successor.pid().as_raw_nonzero().get().unsigned_abs();
        self.hear(&mut |sender| {
            if sender == pid {
                successor.declare_ready();
            }
            // What it says behind that is for the caller to read.
            sender != pid
        });
        successor.try_wait(deadline)
    }

    /// Reads what there is, and tells of each process that has said that it is ready, as long as
    /// more of them are of interest.
    #[inline(never)] // The buffer.
    pub(crate) fn hear(&self, is_ready: &mut dyn FnMut(u32) -> bool) {
        // The rest of a message is of no interest.
        let mut buffer = [0; 512];
        // Anybody can send, and as fast as it is read.
        for _ in 0..MESSAGES_AT_ONCE {
            let Ok(Some(message)) = self.receive(&mut buffer) else {
                return;
            };
            if state::says(message.message, b"READY=1") && !is_ready(message.pid) {
                return;
            }
        }
    }

    /// `receiver.wait_ready(successor, deadline)` — waits until a
    /// [foreign](crate::Changes::foreign) successor has said that it is ready, or has failed, as
    /// [`try_wait`](Self::try_wait) does for an event loop.
    ///
    /// # Errors
    ///
    /// [`Failure`]: as of [`Successor::wait_ready`].
    pub fn wait_ready(&self, successor: &mut Successor, deadline: Deadline) -> Result<(), Failure> {
        loop {
            if let Some(outcome) = self.try_wait(successor, deadline) {
                return outcome;
            }
            let fds = [Some(sys::lend(&self.socket)), successor.pidfd()];
            // Errors show at the next turn, by the state of what was waited for.
            let _ = wait_readable(fds, successor.wake_by(deadline));
        }
    }
}

/// Readable when a message has come.
impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        sys::lend(&self.socket)
    }
}

impl<'b> Received<'b> {
    /// `message.lines()` — the name and the value of each line.
    pub fn lines(&self) -> impl Iterator<Item = (&'b [u8], &'b [u8])> + Clone + use<'b> {
        state::lines(self.message)
    }

    /// `message.value(name)` — the value of the first line with this name.
    pub fn value(&self, name: &[u8]) -> Option<&'b [u8]> {
        self.lines()
            .find_map(|(other, value)| (other == name).then_some(value))
    }

    /// `message.is_ready()` — whether one of its lines says that the sender serves: `READY=1`.
    pub fn is_ready(&self) -> bool {
        state::says(self.message, b"READY=1") && !self.truncated
    }
}
