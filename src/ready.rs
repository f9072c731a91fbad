//! The control channel between a predecessor and its successor.
//!
//! A pair of SOCK_SEQPACKET sockets. The predecessor's first message waits in it before the
//! successor is started, and tells it which generation it is; the successor's only message is
//! that it is ready. Each side sees the end of the other as the end of the file. A message that
//! is not known is passed over, so that a later version can have more of them.

use core::fmt;

use rustix::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::activation::FIRST_FD;
use crate::error::Error;
use crate::program::AtStart;
use crate::socket::above_stdio;
use crate::sys::{self, SigSet, Waited};
use crate::time::Deadline;

/// The first of the four numbers of a greeting.
const GREETING: u64 = u64::from_ne_bytes(*b"gracenet");

/// A message of five bytes.
const READY: [u8; 8] = *b"ready\0\0\0";

/// How long a successor may go on after it has closed its channel, or a canary after it was
/// ready, before it counts as one that has lost its way: its fds are closed shortly before its end
/// can be seen.
const LAST_MOMENTS_MS: u64 = 1_000;

/// How long a process without a pidfd is left unwatched at most.
const UNWATCHED_MS: u64 = 10;

/// Messages that are passed over at once, so that a talkative successor holds nobody up.
const MESSAGES_AT_ONCE: usize = 16;

/// What a successor is told before it begins.
///
/// The greeting is four numbers, of 8 bytes each: what it is; the generation, with the flags in the
/// upper half; the mask; the end of the time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    pub(crate) generation: u32,
    /// [`AtStart::ignored`], and above it what follows.
    flags: u32,
    /// [`AtStart::mask`].
    mask: SigSet,
    /// Until when it has time to become ready, or 0. Behind its channel lies what else is executed.
    until: u64,
}

impl Told {
    /// It says that it is ready, and leaves.
    pub(crate) const CANARY: u32 = 1 << 8;

    /// It was replaced by a program that came to nothing, and is there again.
    pub(crate) const ROLLED_BACK: u32 = 1 << 9;

    /// It is told what the signals of the start were like, as it takes a program's place and cannot
    /// ask the kernel for that.
    const AT_START: u32 = 1 << 10;

    pub(crate) const fn new(generation: u32, flags: u32) -> Told {
        Told {
            generation,
            flags,
            mask: 0,
            until: 0,
        }
    }

    pub(crate) fn set_at_start(&mut self, at_start: &AtStart) {
        self.flags |= Told::AT_START | u32::from(at_start.ignored);
        self.mask = at_start.mask;
    }

    pub(crate) const fn set_rollback(&mut self, deadline: Deadline) {
        self.until = deadline.to_ns();
    }

    pub(crate) const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    pub(crate) fn at_start(&self) -> Option<AtStart> {
        self.has(Told::AT_START).then_some(AtStart {
            mask: self.mask,
            ignored: self.flags as u8,
        })
    }

    pub(crate) fn rollback(&self) -> Option<Deadline> {
        (self.until != 0).then_some(Deadline::from_ns(self.until))
    }
}

/// A new channel: the predecessor's end, in which the greeting waits, and the successor's.
pub(crate) fn channel(told: &Told) -> Result<(OwnedFd, OwnedFd), Error> {
    let second = u64::from(told.flags) << 32 | u64::from(told.generation);
    let greeting = [
        GREETING.to_ne_bytes(),
        second.to_ne_bytes(),
        told.mask.to_ne_bytes(),
        told.until.to_ne_bytes(),
    ];
    let (ours, theirs) = pair()?;
    sys::send(sys::lend(&ours), greeting.as_flattened())?;
    Ok((ours, theirs))
}

/// A pair of sockets, whose messages stay whole.
#[inline(never)]
fn pair() -> Result<(OwnedFd, OwnedFd), Error> {
    let pair = sys::seqpacket_pair()?;
    if pair.0.as_raw_fd().min(pair.1.as_raw_fd()) < FIRST_FD {
        // As long as they are there, the next ones have higher numbers.
        let above = self::pair();
        drop(pair);
        return above;
    }
    Ok(pair)
}

/// Room for any message.
type Room = [[u8; 8]; 4];

/// Reads the greeting, if `channel` is one and it is still in there.
pub(crate) fn greeting(channel: BorrowedFd<'_>) -> Option<Told> {
    let mut room = Room::default();
    sys::receive(channel, room.as_flattened_mut()).ok()?;
    let [first, second, mask, until] = room.map(u64::from_ne_bytes);
    (first == GREETING).then_some(Told {
        generation: second as u32,
        flags: (second >> 32) as u32,
        mask,
        until,
    })
}

/// The predecessor, as its successor sees it.
#[derive(Debug)]
pub struct Predecessor {
    channel: OwnedFd,
}

impl Predecessor {
    /// The predecessor at the other end of a channel that was [greeted](greeting).
    pub(crate) const fn new(channel: OwnedFd) -> Predecessor {
        Predecessor { channel }
    }

    /// That the predecessor is gone already is no error.
    pub(crate) fn tell_ready(&self) -> Result<(), Error> {
        let [message @ .., _, _, _] = &READY;
        match sys::send(sys::lend(&self.channel), message) {
            Err(error) if error.is(Errno::PIPE) || error.is(Errno::CONNRESET) => Ok(()),
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
            let mut room = Room::default();
            match sys::receive(sys::lend(&self.channel), room.as_flattened_mut()) {
                Ok(0) => return Ok(true),
                Err(error) if error.is(Errno::AGAIN) => return Ok(false),
                Err(error) if !is_word_of_the_end(error) => return Err(error),
                _ => {}
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
            if !wait_readable([Some(sys::lend(&self.channel)), None], deadline)? {
                return Ok(false);
            }
        }
    }
}

/// The channel becomes readable when the predecessor ends.
impl AsFd for Predecessor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        sys::lend(&self.channel)
    }
}

/// Why a successor never became ready, or did not hold out. It has ended, and has been reaped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Failure {
    /// It exited, with this status.
    Exited(i32),
    /// It was killed, by this signal.
    Killed(i32),
    /// It ended, and somebody else has taken its status: SIGCHLD is ignored, or another
    /// part of this program waits for any child.
    Ended,
    /// It closed the channel without a word and lived on; it was killed.
    ClosedChannel,
    /// It took too long; it was killed.
    TimedOut,
    /// It was [given up](Successor::kill); it was killed.
    GivenUp,
    /// Its channel could not be read, and it was killed; or it could not be killed
    /// (`kill: os error 1`: it has become another user), and may live on.
    Failed(Error),
}

/// How a process has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// It exited, with this status.
    Exited(i32),
    /// It was killed, by this signal.
    Killed(i32),
}

impl Exit {
    /// `exit.status()` — as a shell has it in `$?`: the status, or 128 and the signal.
    pub const fn status(self) -> i32 {
        match self {
            Exit::Exited(status) => status,
            Exit::Killed(signal) => signal.wrapping_add(128),
        }
    }
}

impl From<Exit> for Failure {
    fn from(exit: Exit) -> Failure {
        match exit {
            Exit::Exited(status) => Failure::Exited(status),
            Exit::Killed(signal) => Failure::Killed(signal),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, number) = match self {
            Failure::Exited(status) => ("exited with status ", status),
            Failure::Killed(signal) => ("killed by signal ", signal),
            Failure::Ended => return f.write_str("ended"),
            Failure::ClosedChannel => return f.write_str("closed its channel and lived on"),
            Failure::TimedOut => return f.write_str("not ready in time"),
            Failure::GivenUp => return f.write_str("given up"),
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
    /// None once its end has been seen, and of a foreign program.
    channel: Option<OwnedFd>,
    state: State,
    canary: bool,
    /// How long it may go on, where it has had its last word.
    until: Deadline,
    /// Why it was killed, or how it has ended.
    failure: Failure,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Nothing has been heard.
    Starting,
    /// A canary has said that it is ready, and has some time to leave.
    Leaving,
    /// It has closed the channel, and may live on for some time.
    Closed,
    /// It has been killed, and is still to be reaped.
    Ending,
    Ready,
    /// A canary was ready, and has left.
    Left,
    Failed,
}

impl Successor {
    pub(crate) fn new(
        pid: Pid,
        pidfd: Option<OwnedFd>,
        channel: Option<OwnedFd>,
        canary: bool,
    ) -> Successor {
        Successor {
            pid,
            pidfd,
            channel,
            state: State::Starting,
            canary,
            until: Deadline::NEVER,
            failure: Failure::Ended,
        }
    }

    /// One that was started before this program took another's place, and was ready: a child of this
    /// process that has not been waited for.
    pub(crate) fn resume(pid: Pid, channel: Option<OwnedFd>) -> Successor {
        let pidfd = sys::pidfd_open(pid.as_raw_nonzero().get() as u32).ok();
        let pidfd = pidfd.and_then(|pidfd| above_stdio(pidfd).ok());
        let mut successor = Successor::new(pid, pidfd, channel, false);
        successor.state = State::Ready;
        successor
    }

    /// Its pid, as this process sees it.
    pub const fn pid(&self) -> Pid {
        self.pid
    }

    /// The channel: readable when something was said or it was closed. `None` once its end was
    /// seen, from when on the pidfd tells the rest.
    pub fn channel(&self) -> Option<BorrowedFd<'_>> {
        self.channel.as_ref().map(sys::lend)
    }

    /// The pidfd: readable when the process has ended. `None` where the kernel has none (before
    /// Linux 5.2), a seccomp filter refuses it, or no fd was free for it; then
    /// [`wake_by`](Self::wake_by) says when to look.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(sys::lend)
    }

    /// Whether it has said that it is ready; of a canary, whether it has left after that.
    pub const fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready | State::Left)
    }

    /// Whether nothing is decided yet.
    pub const fn is_undecided(&self) -> bool {
        !matches!(self.state, State::Ready | State::Left | State::Failed)
    }

    /// `successor.try_wait(deadline)` — what has become of it: ready, failed, or not yet decided.
    /// Never blocks.
    ///
    /// Only its message makes a successor ready: neither that it was started, nor that it exited
    /// with status 0; and it must not have ended by the time that the message is read. Whether it
    /// holds out after that is what [`probation`](Self::probation) is for. With the deadline passed it is killed, through its pidfd. A failure is
    /// reported once the process has been reaped, so that nothing of it is left.
    ///
    /// As long as nothing is decided, it wants to be called again when one of the fds is ready,
    /// and at [`wake_by`](Self::wake_by).
    pub fn try_wait(&mut self, deadline: Deadline) -> Option<Result<(), Failure>> {
        if self.is_undecided() {
            self.listen();
            // Behind what it has said: one that has ended since serves nobody.
            if let Some(failure) = self.reap() {
                self.has_ended(failure);
            }
        }
        let reason = match self.state {
            State::Closed => Failure::ClosedChannel,
            _ => Failure::TimedOut,
        };
        if self.may_be_killed() && self.until.min(deadline).has_passed() {
            self.end(reason);
        }
        self.outcome()
    }

    fn outcome(&self) -> Option<Result<(), Failure>> {
        match self.state {
            State::Ready | State::Left => Some(Ok(())),
            State::Failed => Some(Err(self.failure)),
            _ => None,
        }
    }

    /// Whether nothing is decided, and it was not killed yet.
    const fn may_be_killed(&self) -> bool {
        matches!(self.state, State::Starting | State::Leaving | State::Closed)
    }

    /// `successor.wait_ready(deadline)` — waits until it is ready, or has failed.
    ///
    /// Without a [`pidfd`](Self::pidfd) it wakes every 10 ms to see whether it has ended.
    ///
    /// # Errors
    ///
    /// [`Failure`]: it has ended and was reaped, and this process is as it was before. Another
    /// successor can be started.
    pub fn wait_ready(&mut self, deadline: Deadline) -> Result<(), Failure> {
        loop {
            // First, as there is hardly ever something at once. Errors show by the state of what
            // was waited for.
            if self.is_undecided() {
                let _ = wait_readable([self.channel(), self.pidfd()], self.wake_by(deadline));
            }
            if let Some(outcome) = self.try_wait(deadline) {
                return outcome;
            }
        }
    }

    /// `successor.wake_by(deadline)` — when [`try_wait`](Self::try_wait), or
    /// [`try_probation`](Self::try_probation), with this deadline is to be called even if no fd is
    /// ready: at the deadline, or earlier, when a successor that has closed its channel is given a
    /// last moment.
    ///
    /// Without a [`pidfd`](Self::pidfd) that is in 10 ms at the latest, as nothing else tells of
    /// its end: the channel stays open as long as a child of it has it.
    pub fn wake_by(&self, deadline: Deadline) -> Deadline {
        let deadline = match self.state {
            State::Failed | State::Left => return deadline,
            State::Ending => Deadline::NEVER,
            _ => self.until.min(deadline),
        };
        match self.pidfd {
            Some(_) => deadline,
            None => deadline.min(Deadline::after_ms(UNWATCHED_MS)),
        }
    }

    /// `successor.declare_ready()` — it is ready, on the word of the caller, who knows it
    /// otherwise; of a [foreign](crate::Changes::foreign) program nobody else can say so.
    ///
    /// Nothing happens when something is decided already. One that has ended by now has failed,
    /// as [`try_wait`](Self::try_wait) says.
    pub fn declare_ready(&mut self) {
        if let State::Starting = self.state {
            self.state = State::Ready;
            if let Some(failure) = self.reap() {
                self.fail(failure);
            }
        }
    }

    /// `successor.kill()` — gives it up: it is killed, unless it was ready. The outcome is still
    /// to be waited for, and says [`Failure::GivenUp`].
    pub fn kill(&mut self) {
        if self.may_be_killed() {
            self.end(Failure::GivenUp);
        }
    }

    /// `successor.try_probation(deadline)` — whether a successor that was ready has held out until
    /// the deadline, or died before; `None` as long as neither is so. Never blocks.
    ///
    /// Until it is decided, the predecessor keeps its sockets, and need not accept. When the
    /// successor dies, it accepts again, and may start another. The
    /// [`pidfd`](Self::pidfd) is what wakes, or without one [`wake_by`](Self::wake_by).
    pub fn try_probation(&mut self, deadline: Deadline) -> Option<Result<(), Failure>> {
        if let State::Ready = self.state {
            if let Some(failure) = self.reap() {
                self.fail(failure);
            }
        }
        match self.state {
            State::Ready if !deadline.has_passed() => None,
            _ => self.outcome(),
        }
    }

    /// `successor.probation(deadline)` — waits until the deadline, or until a successor that was
    /// ready has died. One that is not ready yet is not waited for at all.
    ///
    /// Without a [`pidfd`](Self::pidfd) it wakes every 10 ms to see whether it has.
    ///
    /// # Errors
    ///
    /// [`Failure`]: it has ended and was reaped. Another successor can be started.
    pub fn probation(&mut self, deadline: Deadline) -> Result<(), Failure> {
        loop {
            if let Some(outcome) = self.try_probation(deadline) {
                return outcome;
            }
            if !self.is_ready() {
                return Ok(());
            }
            let _ = wait_readable([None, self.pidfd()], self.wake_by(deadline));
        }
    }

    /// What has become of it in the end: it has failed, be it after it was ready, or a canary has
    /// left.
    pub(crate) fn end_of_it(&mut self) -> Option<Result<(), Failure>> {
        match self.try_wait(Deadline::NEVER) {
            Some(Ok(())) => self.try_probation(Deadline::NEVER),
            outcome => outcome,
        }
    }

    /// `successor.note_end(exit)` — its end, by a program that has waited for any child and got
    /// this one. Whether anything was to be learned from it: not of one that is known to have ended.
    ///
    /// [`NetView::reap`](crate::NetView::reap) does so for the one that the table keeps.
    pub fn note_end(&mut self, exit: Exit) -> bool {
        if let State::Left | State::Failed = self.state {
            return false;
        }
        // What it has said before counts, and was it not ready, then not even that.
        self.listen();
        self.has_ended(exit.into());
        true
    }

    /// Closes this end of a channel on which nothing more is said. The other sees that its predecessor
    /// is gone.
    pub(crate) fn let_go_of_channel(&mut self) {
        self.channel = None;
    }

    /// It has ended, and was reaped.
    fn has_ended(&mut self, failure: Failure) {
        match self.state {
            State::Ending => self.fail(self.failure),
            // Where nobody keeps a status, what it has said is all there is.
            State::Leaving if matches!(failure, Failure::Exited(0) | Failure::Ended) => {
                self.fail(failure);
                self.state = State::Left;
            }
            _ => self.fail(failure),
        }
    }

    /// Takes in what lies in the channel.
    fn listen(&mut self) {
        for _ in 0..MESSAGES_AT_ONCE {
            let (State::Starting, Some(channel)) = (self.state, &self.channel) else {
                return;
            };
            let mut room = Room::default();
            let received = sys::receive(sys::lend(channel), room.as_flattened_mut());
            let [first, ..] = room;
            match received {
                Ok(0) => self.has_last_word(State::Closed),
                Ok(5) if first == READY => match self.canary {
                    true => self.has_last_word(State::Leaving),
                    false => self.state = State::Ready,
                },
                Ok(_) => {}
                Err(error) if error.is(Errno::AGAIN) => return,
                Err(error) if is_word_of_the_end(error) => {}
                Err(error) => self.end(Failure::Failed(error)),
            }
        }
    }

    /// Nothing more is heard of it, and it has some time to end.
    fn has_last_word(&mut self, state: State) {
        // Its end would be read for as long as the process takes to leave.
        self.channel = None;
        self.state = state;
        self.until = Deadline::after_ms(LAST_MOMENTS_MS);
    }

    /// Kills it. Its pid cannot be another's yet: it has not been reaped.
    fn end(&mut self, reason: Failure) {
        self.channel = None;
        self.state = State::Ending;
        self.failure = reason;
        match sys::kill(
            self.raw_pid(),
            self.pidfd(),
            linux_raw_sys::general::SIGKILL,
        ) {
            // It is another user's by now. Nothing can be done, and nothing is waited for.
            Err(error) if error.is(Errno::PERM) => self.fail(Failure::Failed(error)),
            _ => {}
        }
    }

    fn raw_pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get() as u32
    }

    /// Nothing is left of it.
    fn fail(&mut self, failure: Failure) {
        self.channel = None;
        self.pidfd = None;
        self.state = State::Failed;
        self.failure = failure;
    }

    /// Reaps it, if it has ended.
    fn reap(&mut self) -> Option<Failure> {
        let waited = sys::wait(self.raw_pid(), self.pidfd(), false);
        if let Waited::Exited(status) = waited {
            Some(Failure::Exited(status))
        } else if let Waited::Killed(signal) = waited {
            Some(Failure::Killed(signal))
        } else if let Waited::Running = waited {
            None
        } else {
            // Nobody keeps its status. Has it ended all the same?
            let lives_on = match self.pidfd() {
                Some(pidfd) => sys::poll([Some(pidfd), None], Some(0)) != Ok(1),
                None => sys::kill(self.raw_pid(), None, 0).is_ok(),
            };
            (!lives_on).then_some(Failure::Ended)
        }
    }
}

/// The other end was closed with something unread in it. That is said once, and before what it had
/// sent itself.
fn is_word_of_the_end(error: Error) -> bool {
    error.is(Errno::CONNRESET)
}

/// Waits until one of the fds is readable or at its end: whether that came in time. Without an fd
/// it only waits.
pub(crate) fn wait_readable(
    fds: [Option<BorrowedFd<'_>>; 2],
    deadline: Deadline,
) -> Result<bool, Error> {
    loop {
        match sys::poll(fds, deadline.remaining_ns()) {
            Err(error) if error.is(Errno::INTR) => {}
            polled => return polled.map(|ready| ready > 0),
        }
    }
}
