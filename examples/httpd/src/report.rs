//! What went wrong, in words.
//!
//! The crate's errors can say so themselves, by `Display`. The formatter that
//! this takes, and the texts for what cannot happen to this program, are 8 KiB, a
//! quarter of what it may have.

use gracenet::{Error, Failure, InheritError, ListenError, StartError};
use gracenet_httpd::text::Text;
use rustix::io::Errno;

/// An error that a line of the log can carry.
pub(crate) trait Report {
    /// The text for it: `bind: os error 98`.
    fn parts(&self) -> Parts;
}

/// Two texts and a number: all that an error is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    subject: &'static str,
    text: &'static str,
    number: Option<u64>,
}

impl Parts {
    const fn text(text: &'static str) -> Self {
        Parts {
            subject: "",
            text,
            number: None,
        }
    }

    const fn with(text: &'static str, number: u64) -> Self {
        Parts {
            subject: "",
            text,
            number: Some(number),
        }
    }

    /// Appends them.
    pub(crate) fn write(self, line: &mut Text) {
        line.push(self.subject).push(self.text);
        if let Some(number) = self.number {
            line.number(number);
        }
    }
}

impl Report for Errno {
    fn parts(&self) -> Parts {
        Parts::with(": os error ", self.raw_os_error().unsigned_abs().into())
    }
}

impl Report for Error {
    fn parts(&self) -> Parts {
        Parts {
            subject: self.operation().as_str(),
            ..self.errno().parts()
        }
    }
}

impl Report for InheritError {
    fn parts(&self) -> Parts {
        match self {
            InheritError::Variable(error) => {
                let text = " is not a number in range, at byte ";
                Parts {
                    subject: error.name(),
                    ..Parts::with(text, error.at() as u64)
                }
            }
            InheritError::BadFd { fd, .. } => {
                Parts::with("not open: inherited fd ", fd.unsigned_abs().into())
            }
            InheritError::TooMany { count, .. } => {
                Parts::with("more than there is room for: sockets ", (*count).into())
            }
            InheritError::Failed(error) => error.parts(),
            _ => Parts::text("LISTEN_FDNAMES does not name the sockets"),
        }
    }
}

impl Report for ListenError {
    fn parts(&self) -> Parts {
        match self {
            ListenError::Address(error) => {
                Parts::with("not understood, at byte ", error.at() as u64)
            }
            ListenError::Failed(error) => error.parts(),
            _ => Parts::text("no room for another socket"),
        }
    }
}

impl Report for StartError {
    fn parts(&self) -> Parts {
        match self {
            StartError::InProgress => Parts::text("already in progress"),
            StartError::NoProgram => Parts::text("no program to start"),
            StartError::TooLarge => Parts::text("arguments and environment are too large"),
            StartError::FdLimit(fd) => Parts::with("over the limit: fd ", (*fd).into()),
            StartError::NotOurs(index) => Parts::with("not ours any more: socket ", *index as u64),
            StartError::Failed(error) => error.parts(),
            _ => Parts::text("vanished before execve"),
        }
    }
}

impl Report for Failure {
    fn parts(&self) -> Parts {
        match self {
            Failure::Exited(status) => Parts::with(
                "exited before it was ready, with status ",
                status.unsigned_abs().into(),
            ),
            Failure::Killed(signal) => Parts::with(
                "killed before it was ready, by signal ",
                signal.unsigned_abs().into(),
            ),
            Failure::ClosedChannel => Parts::text("closed its channel before it was ready"),
            Failure::TimedOut => Parts::text("not ready in time"),
            Failure::Failed(error) => error.parts(),
            _ => Parts::text("ended before it was ready"),
        }
    }
}
