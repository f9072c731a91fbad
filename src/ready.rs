//! The control channel between a predecessor and its successor.
//!
//! A pair of SOCK_SEQPACKET sockets. The predecessor's first message waits in it before the
//! successor is started, and tells it which generation it is; the successor's only message is
//! that it is ready. Each side sees the end of the other as the end of the file. A message that
//! is not known is passed over, so that a later version can have more of them.

use core::fmt;
use core::mem::MaybeUninit;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{self, Errno};
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::process::{
    self, Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process, pidfd_send_signal,
};

use crate::error::{During, Error, Operation};
use crate::time::Deadline;

const GREETING: &[u8; 8] = b"gracenet";
const READY: &[u8] = b"ready";

/// How long a successor may go on after it has closed its channel, before it counts as one that
/// has lost its way: its fds are closed shortly before its end can be seen.
const LAST_MOMENTS_MS: u64 = 1_000;

/// Messages that are passed over at once, so that a talkative successor holds nobody up.
const MESSAGES_AT_ONCE: usize = 16;

/// A new channel: the predecessor's end, in which the greeting waits, and the successor's.
pub(crate) fn channel(generation: u32) -> Result<(OwnedFd, OwnedFd), Error> {
    let (ours, theirs) = net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .during(Operation::Socketpair)?;
    let [a, b, c, d] = generation.to_ne_bytes();
    let [g0, g1, g2, g3, g4, g5, g6, g7] = *GREETING;
    send(&ours, &[g0, g1, g2, g3, g4, g5, g6, g7, a, b, c, d])?;
    Ok((ours, theirs))
}

fn send(channel: &OwnedFd, message: &[u8]) -> Result<(), Error> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    net::send(channel, message, flags)
        .map(drop)
        .during(Operation::Send)
}

/// What lies in the channel.
enum Message {
    Greeting(u32),
    Ready,
    Unknown,
    None,
    End,
}

fn receive(channel: &OwnedFd) -> Result<Message, Error> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); 64];
    let received = loop {
        match net::recv(channel, buffer.as_mut_slice(), RecvFlags::DONTWAIT) {
            Err(Errno::INTR) => {}
            other => break other,
        }
    };
    match received {
        Ok(((bytes, _), _)) => Ok(decode(bytes)),
        Err(Errno::AGAIN) => Ok(Message::None),
        // The other end was closed with something unread in it.
        Err(Errno::CONNRESET) => Ok(Message::End),
        Err(errno) => Err(errno).during(Operation::Recv),
    }
}

fn decode(message: &[u8]) -> Message {
    if message.is_empty() {
        return Message::End;
    }
    if message == READY {
        return Message::Ready;
    }
    match message.strip_prefix(GREETING).and_then(<[u8]>::first_chunk) {
        Some(generation) => Message::Greeting(u32::from_ne_bytes(*generation)),
        None => Message::Unknown,
    }
}

/// The predecessor, as its successor sees it.
#[derive(Debug)]
pub struct Predecessor {
    channel: OwnedFd,
}

impl Predecessor {
    /// Takes the channel, if that is what it is: which generation this process is.
    pub(crate) fn greet(channel: OwnedFd) -> Option<(Predecessor, u32)> {
        match receive(&channel) {
            Ok(Message::Greeting(generation)) => Some((Predecessor { channel }, generation)),
            _ => None,
        }
    }

    /// That the predecessor is gone already is no error.
    pub(crate) fn tell_ready(&self) -> Result<(), Error> {
        match send(&self.channel, READY) {
            Err(error) if matches!(error.errno(), Errno::PIPE | Errno::CONNRESET) => Ok(()),
            sent => sent,
        }
    }

    /// `predecessor.is_gone()` — whether the predecessor has ended. Never blocks.
    ///
    /// Judged by its end of the channel, never by getppid(2), so that it is right in any pid
    /// namespace and under any reaper.
    ///
    /// # Errors
    ///
    /// - recv: the channel cannot be read.
    pub fn is_gone(&self) -> Result<bool, Error> {
        for _ in 0..MESSAGES_AT_ONCE {
            match receive(&self.channel)? {
                Message::End => return Ok(true),
                Message::None => return Ok(false),
                Message::Greeting(_) | Message::Ready | Message::Unknown => {}
            }
        }
        Ok(false)
    }

    /// `predecessor.wait(deadline)` — waits for the end of the predecessor: whether it came in
    /// time.
    ///
    /// # Errors
    ///
    /// - poll, recv: the channel cannot be watched.
    pub fn wait(&self, deadline: Deadline) -> Result<bool, Error> {
        loop {
            if self.is_gone()? {
                return Ok(true);
            }
            if !wait_readable(Some(self.channel.as_fd()), deadline)? {
                return Ok(false);
            }
        }
    }
}

/// The channel becomes readable when the predecessor ends.
impl AsFd for Predecessor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

/// Why a successor never became ready. It has ended, and has been reaped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Failure {
    /// It exited first, with this status.
    Exited(i32),
    /// It was killed first, by this signal.
    Killed(i32),
    /// It ended first, and somebody else has taken its status: SIGCHLD is ignored, or another
    /// part of this program waits for any child.
    Ended,
    /// It closed the channel without a word and lived on; it was killed.
    ClosedChannel,
    /// It took too long; it was killed.
    TimedOut,
    /// Its channel could not be read; it was killed.
    Failed(Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, number) = match self {
            Failure::Exited(status) => ("exited before it was ready, with status ", status),
            Failure::Killed(signal) => ("killed before it was ready, by signal ", signal),
            Failure::Ended => return f.write_str("ended before it was ready"),
            Failure::ClosedChannel => return f.write_str("closed its channel before it was ready"),
            Failure::TimedOut => return f.write_str("not ready in time"),
            Failure::Failed(error) => return error.fmt(f),
        };
        f.write_str(text)?;
        fmt::Display::fmt(number, f)
    }
}

impl core::error::Error for Failure {}

/// A process that is to take over.
///
/// The table keeps it ([`Net::successor`](crate::NetView::successor)), with its pidfd and its
/// channel, both CLOEXEC. Put both fds into a poll or an epoll for reading and call
/// [`try_wait`](Self::try_wait) when one of them is ready, or when the time is over; or wait with
/// [`wait_ready`](Self::wait_ready).
#[derive(Debug)]
pub struct Successor {
    pid: Pid,
    pidfd: Option<OwnedFd>,
    /// None once its end has been seen.
    channel: Option<OwnedFd>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Nothing has been heard.
    Starting,
    /// It has closed the channel; it may live on until then.
    Closed(Deadline),
    /// It has been killed for this reason, and is still to be reaped.
    Ending(Failure),
    Ready,
    Failed(Failure),
}

impl Successor {
    pub(crate) fn new(pid: Pid, pidfd: Option<OwnedFd>, channel: OwnedFd) -> Successor {
        Successor {
            pid,
            pidfd,
            channel: Some(channel),
            state: State::Starting,
        }
    }

    /// Its pid, as this process sees it.
    pub const fn pid(&self) -> Pid {
        self.pid
    }

    /// The channel: readable when something was said or it was closed. `None` once its end was
    /// seen, from when on the pidfd tells the rest.
    pub fn channel(&self) -> Option<BorrowedFd<'_>> {
        self.channel.as_ref().map(AsFd::as_fd)
    }

    /// The pidfd: readable when the process has ended. `None` where the kernel has none
    /// (before Linux 5.3).
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// Whether it has said that it is ready.
    pub const fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready)
    }

    /// Whether nothing is decided yet.
    pub const fn is_undecided(&self) -> bool {
        !matches!(self.state, State::Ready | State::Failed(_))
    }

    /// `successor.try_wait(deadline)` — what has become of it: ready, failed, or not yet decided.
    /// Never blocks.
    ///
    /// Only its message makes a successor ready: neither that it was started, nor that it exited
    /// with status 0. With the deadline passed it is killed, through its pidfd. A failure is
    /// reported once the process has been reaped, so that nothing of it is left.
    pub fn try_wait(&mut self, deadline: Deadline) -> Option<Result<(), Failure>> {
        if self.state == State::Starting {
            self.listen();
        }
        match self.state {
            State::Ready => return Some(Ok(())),
            State::Failed(failure) => return Some(Err(failure)),
            State::Starting if deadline.has_passed() => self.end(Failure::TimedOut),
            State::Starting => return None,
            State::Closed(_) | State::Ending(_) => {}
        }
        if let Some(failure) = self.reap() {
            let failure = match self.state {
                // It did not end by itself.
                State::Ending(reason) => reason,
                _ => failure,
            };
            self.state = State::Failed(failure);
            return Some(Err(failure));
        }
        if matches!(self.state, State::Closed(end) if end.min(deadline).has_passed()) {
            self.end(Failure::ClosedChannel);
        }
        None
    }

    /// `successor.wait_ready(deadline)` — waits until it is ready, or has failed.
    ///
    /// # Errors
    ///
    /// [`Failure`]: it has ended and was reaped, and this process is as it was before. Another
    /// successor can be started.
    pub fn wait_ready(&mut self, deadline: Deadline) -> Result<(), Failure> {
        loop {
            if let Some(outcome) = self.try_wait(deadline) {
                return outcome;
            }
            let until = match self.state {
                State::Closed(end) => end.min(deadline),
                State::Ending(_) => Deadline::after_ms(LAST_MOMENTS_MS),
                _ => deadline,
            };
            // Errors show at the next turn, by the state of what was waited for.
            let _ = match self.channel().or(self.pidfd()) {
                None => wait_readable(None, until.min(Deadline::after_ms(10))),
                fd => wait_readable(fd, until),
            };
        }
    }

    /// `successor.kill()` — gives it up: it is killed, unless it was ready. The outcome is still
    /// to be waited for, and says [`Failure::TimedOut`].
    pub fn kill(&mut self) {
        if matches!(self.state, State::Starting | State::Closed(_)) {
            self.end(Failure::TimedOut);
        }
    }

    /// Whether another may be started: this one has failed, or has ended after it was ready, in
    /// which case it is reaped by this.
    pub(crate) fn has_failed(&mut self) -> bool {
        match self.state {
            State::Failed(_) => true,
            State::Ready => match self.reap() {
                Some(failure) => {
                    self.state = State::Failed(failure);
                    true
                }
                None => false,
            },
            _ => false,
        }
    }

    /// Takes in what lies in the channel.
    fn listen(&mut self) {
        for _ in 0..MESSAGES_AT_ONCE {
            let Some(channel) = &self.channel else { return };
            match receive(channel) {
                Ok(Message::Ready) => {
                    self.state = State::Ready;
                    return;
                }
                Ok(Message::Greeting(_) | Message::Unknown) => {}
                Ok(Message::None) => return,
                Ok(Message::End) => {
                    self.channel = None;
                    self.state = State::Closed(Deadline::after_ms(LAST_MOMENTS_MS));
                    return;
                }
                Err(error) => return self.end(Failure::Failed(error)),
            }
        }
    }

    /// Kills it. Its pid cannot be another's yet: it has not been reaped.
    fn end(&mut self, reason: Failure) {
        self.channel = None;
        self.state = State::Ending(reason);
        let _ = match &self.pidfd {
            Some(pidfd) => pidfd_send_signal(pidfd, Signal::KILL),
            None => kill_process(self.pid, Signal::KILL),
        };
    }

    /// Reaps it, if it has ended.
    fn reap(&mut self) -> Option<Failure> {
        match reap(self.pid, self.pidfd.as_ref(), true) {
            Ok(None) => None,
            Ok(Some(status)) => Some(match status.exit_status() {
                Some(status) => Failure::Exited(status),
                None => Failure::Killed(status.terminating_signal().unwrap_or(0)),
            }),
            Err(Errno::CHILD) if self.lives_on() => None,
            Err(_) => Some(Failure::Ended),
        }
    }

    /// Nobody can be reaped: is that because it still runs, and its status will be discarded?
    fn lives_on(&self) -> bool {
        match &self.pidfd {
            Some(_) => matches!(
                wait_readable(self.pidfd(), Deadline::after_ms(0)),
                Ok(false)
            ),
            None => process::test_kill_process(self.pid).is_ok(),
        }
    }
}

/// waitid for one child: its status, or `None` where it has not ended and `nohang` is said.
pub(crate) fn reap(
    pid: Pid,
    pidfd: Option<&OwnedFd>,
    nohang: bool,
) -> Result<Option<WaitIdStatus>, Errno> {
    let mut options = WaitIdOptions::EXITED;
    options.set(WaitIdOptions::NOHANG, nohang);
    let id = match pidfd {
        Some(pidfd) => WaitId::PidFd(pidfd.as_fd()),
        None => WaitId::Pid(pid),
    };
    io::retry_on_intr(|| process::waitid(WaitId::clone(&id), options))
}

/// Waits until `fd` is readable or at its end: whether that came in time. Without an fd it only
/// waits.
fn wait_readable(fd: Option<BorrowedFd<'_>>, deadline: Deadline) -> Result<bool, Error> {
    loop {
        let timeout = deadline.remaining();
        let polled = match &fd {
            Some(fd) => poll(&mut [PollFd::new(fd, PollFlags::IN)], timeout.as_ref()),
            None => poll(&mut [], timeout.as_ref()),
        };
        match polled {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).during(Operation::Poll),
        }
    }
}
