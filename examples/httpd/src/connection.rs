//! One client: what it has sent so far, and what it is owed.
//!
//! Sockets are watched edge-triggered, so that nothing a client does makes the
//! loop turn while there is nothing to do about it. The price: an edge must be
//! remembered until it has been used up, which is when the kernel says EAGAIN.

use gracenet_httpd::http::{Method, Parser, Progress, Reply, Status};
use gracenet_httpd::text::Text;
use rustix::fd::OwnedFd;

use crate::around::Around;
use crate::page::Page;
use crate::sys::{
    self, EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, Errno, MSG_MORE, MSG_PEEK,
};

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

/// As a constant, it is written over the last one, not made and then copied.
const FRESH: Parser = Parser::new();

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Reading a request's head, or waiting for one.
    Head,
    /// Skipping a request's body.
    Body,
    /// Waiting as long as the client wished.
    Sleep,
    /// Writing the answer, or `100 Continue`.
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
    /// The body of an answer that cannot be made again.
    page: Option<Page>,
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
            parser: FRESH,
            reply: Reply::last(Status::Continue, false),
            page: None,
            sent: 0,
            body: 0,
            pipelined: false,
            readable: true,
            writable: true,
            deadline: now + IDLE,
        }
    }

    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Does what there is to do now, after what epoll says: when it is to be asked
    /// again if nothing happens before, or `None` when it is at its end.
    pub(crate) fn act(&mut self, events: u32, around: &mut Around<'_>) -> Option<u64> {
        // Both directions are closed, or it has been reset: nobody hears us.
        if events & (EPOLLHUP | EPOLLERR) != 0 {
            return None;
        }
        self.readable |= events & (EPOLLIN | EPOLLRDHUP) != 0;
        self.writable |= events & EPOLLOUT != 0;
        for _ in 0..STEPS {
            let late = around.now >= self.deadline;
            let step = match self.phase {
                // Nothing else would end it if the client went on sending.
                Phase::Linger if late => return None,
                Phase::Head if self.readable => self.read_head(around),
                Phase::Body | Phase::Linger if self.readable => self.skip(around),
                Phase::Answer if self.writable => self.write(around),
                _ if !late => return Some(self.deadline),
                Phase::Sleep => {
                    self.answer(self.parser.request().reply(), around);
                    Ok(())
                }
                Phase::Head | Phase::Body if !self.parser.is_idle() => {
                    self.refuse(Status::RequestTimeout, around);
                    Ok(())
                }
                _ => return None,
            };
            match step {
                Ok(()) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if self.phase == Phase::Answer => self.writable = false,
                Err(Errno::AGAIN) => self.readable = false,
                // The client's end, or a broken connection.
                Err(_) => return None,
            }
        }
        // At once, after the others' turn.
        Some(0)
    }

    /// Looks at what has come and takes what belongs to this request: what
    /// follows stays with the kernel until this one is answered.
    fn read_head(&mut self, around: &mut Around<'_>) -> Result<(), Errno> {
        let come = sys::receive(&self.socket, around.scratch, MSG_PEEK)? as usize;
        let was_idle = self.parser.is_idle();
        let (used, progress) = self
            .parser
            .feed(around.scratch.get(..come).unwrap_or_default());
        let taken = around.scratch.get_mut(..used).unwrap_or_default();
        if sys::receive(&self.socket, taken, 0)? as usize != used {
            // It would be read twice.
            return Err(Errno::PROTO);
        }
        match progress {
            Progress::More => {
                if was_idle && !self.parser.is_idle() {
                    self.deadline = around.now + REQUEST;
                }
            }
            Progress::Refused(status) => self.refuse(status, around),
            Progress::Request => {
                let request = self.parser.request();
                let reply = request.reply();
                self.body = request.length;
                self.pipelined = (come - used) as u64 > self.body;
                if request.expects_continue && reply.close {
                    self.answer(reply, around);
                } else if request.expects_continue {
                    self.reply = Reply::last(Status::Continue, false);
                    self.begin(Phase::Answer, around.now + WRITE);
                } else {
                    self.begin(Phase::Body, around.now + REQUEST);
                    self.body_has_come(around);
                }
            }
        }
        Ok(())
    }

    /// Reads something that nobody wants.
    fn skip(&mut self, around: &mut Around<'_>) -> Result<(), Errno> {
        let most = self.body.min(around.scratch.len() as u64) as usize;
        let room = around.scratch.get_mut(..most).unwrap_or_default();
        self.body -= u64::from(sys::receive(&self.socket, room, 0)?);
        self.body_has_come(around);
        Ok(())
    }

    /// Answers the request in its time, if all of its body is here.
    fn body_has_come(&mut self, around: &Around<'_>) {
        if self.body == 0 {
            // The clock's present millisecond has begun already.
            let delay = u64::from(self.parser.request().delay);
            let extra = u64::from(delay > 0);
            self.begin(Phase::Sleep, around.now + delay + extra);
        }
    }

    fn refuse(&mut self, status: Status, around: &Around<'_>) {
        let head_only = self.parser.request().method == Method::Head;
        self.answer(Reply::last(status, head_only), around);
    }

    fn answer(&mut self, mut reply: Reply, around: &Around<'_>) {
        if reply.has_page() {
            match Page::of(around) {
                Ok((page, length)) => {
                    reply.length = length;
                    self.page = (!reply.head_only).then_some(page);
                }
                Err(_) => reply.status = Status::ServiceUnavailable,
            }
        }
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
        let mut text = Text::new();
        self.reply.render(&around.identity, &mut text);
        let mut total = text.len();
        let mut rest = text.as_bytes().get(self.sent..).unwrap_or_default();
        if let Some(page) = &self.page {
            if rest.is_empty() {
                let come = page.read_at(around.scratch, self.sent - total)? as usize;
                rest = around.scratch.get(..come).unwrap_or_default();
            }
            total += self.reply.length as usize;
        }
        // What follows at once is not to wait until the client has confirmed this.
        let more = self.page.is_some() && self.sent + rest.len() < total;
        let flags = if more { MSG_MORE } else { 0 };
        self.sent += sys::send(&self.socket, rest, flags)? as usize;
        if self.sent < total {
            self.deadline = around.now + WRITE;
            return Ok(());
        }
        self.page = None;
        if self.reply.status == Status::Continue {
            self.begin(Phase::Body, around.now + REQUEST);
        } else if self.reply.close {
            sys::end(&self.socket)?;
            self.body = u64::MAX;
            self.begin(Phase::Linger, around.now + LINGER);
        } else {
            self.parser = FRESH;
            self.begin(Phase::Head, around.now + IDLE);
        }
        Ok(())
    }
}
