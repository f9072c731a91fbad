//! One client: what it has sent so far, and what it is owed.
//!
//! Sockets are watched edge-triggered, so that nothing a client does makes the
//! loop turn while there is nothing to do about it. The price: an edge must be
//! remembered until it has been used up, which is when the kernel says EAGAIN.

use gracenet_httpd::http::{Identity, Parser, Progress, Reply, Status};
use rustix::event::epoll::EventFlags;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

/// How long a connection may stay without a request, in milliseconds.
const IDLE: u64 = 15_000;

/// How long a request may take, from its first byte to its last.
const REQUEST: u64 = 10_000;

/// How long the kernel may refuse to take more of an answer.
const WRITE: u64 = 10_000;

/// How long to wait for the client's end of a connection whose last answer has
/// been sent.
const LINGER: u64 = 2_000;

/// How much is done for one connection before the others get their turn.
const STEPS: u32 = 32;

/// What a connection is to be told about everything else.
#[derive(Debug)]
pub(crate) struct Around<'a> {
    /// CLOCK_MONOTONIC in milliseconds.
    pub(crate) now: u64,
    /// Answers are to be the last ones.
    pub(crate) draining: bool,
    /// Who answers.
    pub(crate) identity: Identity<'a>,
    /// Room for what is read, of use only while it is being read.
    pub(crate) scratch: &'a mut [u8],
}

/// What a connection is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Happened {
    /// It is its turn.
    Nothing,
    /// What epoll says.
    Event(EventFlags),
    /// Its deadline is over.
    Deadline,
}

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing until its next event or its deadline.
    Wait,
    /// There is more to do at once, after the others' turn.
    Again,
    /// It is at its end.
    Close,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Reading a request's head, or waiting for one.
    Head,
    /// Writing `100 Continue`.
    GoOn,
    /// Skipping a request's body.
    Body,
    /// Waiting as long as the client wished.
    Sleep,
    /// Writing the answer.
    Answer,
    /// Waiting for the client's end. Had it sent anything that we have not read
    /// when we close, it would get a reset, and might lose our answer.
    Linger,
}

#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
    phase: Phase,
    parser: Parser,
    reply: Reply,
    /// How long to wait with the answer, in milliseconds.
    delay: u32,
    /// Bytes of the present answer that the kernel has taken.
    sent: usize,
    /// Bytes of the body that have not come yet.
    body: u64,
    /// The next request has begun to come.
    pipelined: bool,
    readable: bool,
    writable: bool,
    deadline: u64,
}

impl Connection {
    /// A connection that has just been accepted.
    pub(crate) fn new(socket: OwnedFd, now: u64) -> Self {
        Connection {
            socket,
            phase: Phase::Head,
            parser: Parser::new(),
            reply: Reply::go_on(),
            delay: 0,
            sent: 0,
            body: 0,
            pipelined: false,
            readable: true,
            writable: true,
            deadline: now + IDLE,
        }
    }

    /// The socket.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// When [`Happened::Deadline`] is to be said.
    pub(crate) fn deadline(&self) -> u64 {
        self.deadline
    }

    /// Does what there is to do now.
    #[inline(never)]
    pub(crate) fn act(&mut self, happened: Happened, around: &mut Around<'_>) -> Next {
        match happened {
            Happened::Nothing => {}
            // Both directions are closed, or it has been reset: nobody hears us.
            Happened::Event(flags) if flags.intersects(EventFlags::HUP | EventFlags::ERR) => {
                return Next::Close;
            }
            Happened::Event(flags) => {
                self.readable |= flags.intersects(EventFlags::IN | EventFlags::RDHUP);
                self.writable |= flags.contains(EventFlags::OUT);
            }
            Happened::Deadline => match self.phase {
                Phase::Head if self.parser.is_idle() => return Next::Close,
                Phase::Head | Phase::Body => {
                    let head_only = self.parser.is_head();
                    self.answer(Reply::last(Status::RequestTimeout, head_only), around);
                }
                Phase::Sleep => self.answer(self.reply, around),
                Phase::GoOn | Phase::Answer | Phase::Linger => return Next::Close,
            },
        }
        self.go_on(around)
    }

    fn go_on(&mut self, around: &mut Around<'_>) -> Next {
        for _ in 0..STEPS {
            let step = match self.phase {
                Phase::Head if self.readable => self.read_head(around),
                Phase::Body if self.readable => self.skip_body(around),
                Phase::Linger if self.readable => self.discard(around),
                Phase::GoOn | Phase::Answer if self.writable => self.write(around),
                _ => return Next::Wait,
            };
            match step {
                Ok(()) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => match self.phase {
                    Phase::GoOn | Phase::Answer => self.writable = false,
                    _ => self.readable = false,
                },
                // The client's end, or a broken connection.
                Err(_) => return Next::Close,
            }
        }
        Next::Again
    }

    /// Looks at what has come and takes what belongs to this request: what
    /// follows stays with the kernel until this one is answered.
    fn read_head(&mut self, around: &mut Around<'_>) -> Result<(), Errno> {
        let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        let come = receive(&self.socket, around.scratch, flags)?;
        let was_idle = self.parser.is_idle();
        let (used, progress) = self
            .parser
            .feed(around.scratch.get(..come).unwrap_or_default());
        let taken = around.scratch.get_mut(..used).unwrap_or_default();
        if receive(&self.socket, taken, RecvFlags::DONTWAIT)? != used {
            // It would be read twice.
            return Err(Errno::PROTO);
        }
        match progress {
            Progress::More => {
                if was_idle && !self.parser.is_idle() {
                    self.deadline = around.now + REQUEST;
                }
            }
            Progress::Refused(status) => {
                let reply = Reply::last(status, self.parser.is_head());
                self.answer(reply, around);
            }
            Progress::Request(request) => {
                let (reply, delay) = request.reply();
                self.reply = reply;
                self.delay = delay;
                self.body = request.length;
                self.pipelined = (come - used) as u64 > self.body;
                if self.body == 0 {
                    self.serve(around);
                } else if request.expects_continue && !reply.close {
                    self.begin(Phase::GoOn, around.now + WRITE);
                } else if request.expects_continue {
                    self.answer(reply, around);
                } else {
                    self.begin(Phase::Body, around.now + REQUEST);
                }
            }
        }
        Ok(())
    }

    fn skip_body(&mut self, around: &mut Around<'_>) -> Result<(), Errno> {
        let most = usize::try_from(self.body)
            .unwrap_or(usize::MAX)
            .min(around.scratch.len());
        let room = around.scratch.get_mut(..most).unwrap_or_default();
        let come = receive(&self.socket, room, RecvFlags::DONTWAIT)?;
        self.body = self.body.saturating_sub(come as u64);
        if self.body == 0 {
            self.serve(around);
        }
        Ok(())
    }

    fn discard(&mut self, around: &mut Around<'_>) -> Result<(), Errno> {
        receive(&self.socket, around.scratch, RecvFlags::DONTWAIT).map(drop)
    }

    /// The request is here in full: answers it in its time.
    fn serve(&mut self, around: &Around<'_>) {
        if self.delay > 0 {
            // The clock's present millisecond has begun already.
            self.begin(Phase::Sleep, around.now + u64::from(self.delay) + 1);
        } else {
            self.answer(self.reply, around);
        }
    }

    fn answer(&mut self, mut reply: Reply, around: &Around<'_>) {
        // A request that is here already is answered, too.
        reply.close |= around.draining && !self.pipelined;
        self.reply = reply;
        self.begin(Phase::Answer, around.now + WRITE);
    }

    fn begin(&mut self, phase: Phase, deadline: u64) {
        self.phase = phase;
        self.sent = 0;
        self.deadline = deadline;
    }

    fn write(&mut self, around: &mut Around<'_>) -> Result<(), Errno> {
        let reply = if self.phase == Phase::GoOn {
            Reply::go_on()
        } else {
            self.reply
        };
        let text = reply.render(&around.identity);
        let rest = text.as_bytes().get(self.sent..).unwrap_or_default();
        let sent = send(
            &self.socket,
            rest,
            SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
        )?;
        self.sent += sent;
        if sent < rest.len() {
            self.deadline = around.now + WRITE;
        } else if self.phase == Phase::GoOn {
            self.begin(Phase::Body, around.now + REQUEST);
        } else if reply.close {
            shutdown(&self.socket, Shutdown::Write)?;
            self.begin(Phase::Linger, around.now + LINGER);
        } else {
            self.parser = Parser::new();
            self.begin(Phase::Head, around.now + IDLE);
        }
        Ok(())
    }
}

/// Reads something; that there will never be anything is an error here.
#[inline(never)]
fn receive(socket: &OwnedFd, room: &mut [u8], flags: RecvFlags) -> Result<usize, Errno> {
    match recv(socket, room, flags)? {
        (_, 0) => Err(Errno::PIPE),
        (_, come) => Ok(come),
    }
}
