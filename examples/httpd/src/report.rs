//! What went wrong, in words.
//!
//! The crate's errors can say so themselves, by `Display`. The formatter that
//! this takes, and the texts for what cannot happen to this program, are 8 KiB, a
//! quarter of what it may have.

use gracenet::{Error, Failure, InheritError, ListenError, StartError};
use gracenet_httpd::text::Text;
use rustix::io::Errno;

/// What a line of the log says of an error: `bind: os error 98`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    subject: &'static str,
    text: &'static str,
    number: u64,
}

/// No number belongs to the text.
pub(crate) const NONE: u64 = u64::MAX;

impl Report {
    /// A text, and a number behind it unless it is [`NONE`].
    pub(crate) const fn new(text: &'static str, number: u64) -> Self {
        Report {
            subject: "",
            text,
            number,
        }
    }

    /// Appends it to a line.
    #[inline(never)]
    pub(crate) fn write(&self, line: &mut Text) {
        line.push(self.subject).push(self.text);
        if self.number != NONE {
            line.number(self.number);
        }
    }
}

impl From<Errno> for Report {
    fn from(errno: Errno) -> Self {
        Report::new(": os error ", errno.raw_os_error().unsigned_abs().into())
    }
}

impl From<Error> for Report {
    #[inline(never)]
    fn from(error: Error) -> Self {
        Report {
            subject: error.operation().as_str(),
            ..error.errno().into()
        }
    }
}

impl From<InheritError> for Report {
    fn from(error: InheritError) -> Self {
        let (text, number) = match error {
            InheritError::Failed(error) => return error.into(),
            InheritError::Variable(error) => {
                return Report {
                    subject: error.name(),
                    text: " is not a number in range, at byte ",
                    number: error.at() as u64,
                };
            }
            InheritError::BadFd { fd, .. } => ("not open: fd ", fd.unsigned_abs().into()),
            InheritError::TooMany { count, .. } => ("no room for so many: ", count.into()),
            _ => ("LISTEN_FDNAMES does not name the sockets", NONE),
        };
        Report::new(text, number)
    }
}

impl From<ListenError> for Report {
    fn from(error: ListenError) -> Self {
        let (text, number) = match error {
            ListenError::Failed(error) => return error.into(),
            ListenError::Address(error) => ("not understood, at byte ", error.at() as u64),
            _ => ("no room for another socket", NONE),
        };
        Report::new(text, number)
    }
}

impl From<StartError> for Report {
    fn from(error: StartError) -> Self {
        let (text, number) = match error {
            StartError::Failed(error) => return error.into(),
            StartError::InProgress => ("already in progress", NONE),
            StartError::NoProgram => ("no program to start", NONE),
            StartError::TooLarge => ("arguments and environment are too large", NONE),
            StartError::FdLimit(fd) => ("over the limit: fd ", fd.into()),
            StartError::NotOurs(index) => ("not ours any more: socket ", index as u64),
            _ => ("vanished before execve", NONE),
        };
        Report::new(text, number)
    }
}

impl From<Failure> for Report {
    fn from(failure: Failure) -> Self {
        let (text, number) = match failure {
            Failure::Failed(error) => return error.into(),
            Failure::Exited(status) => (
                "exited before it was ready, with status ",
                status.unsigned_abs().into(),
            ),
            Failure::Killed(signal) => (
                "killed before it was ready, by signal ",
                signal.unsigned_abs().into(),
            ),
            Failure::ClosedChannel => ("closed its channel before it was ready", NONE),
            Failure::TimedOut => ("not ready in time", NONE),
            _ => ("ended before it was ready", NONE),
        };
        Report::new(text, number)
    }
}
