//! What went wrong, in words.
//!
//! The crate's errors can say so themselves, by `Display`. The formatter that
//! this takes, and the texts for what cannot happen to this program, are 8 KiB, a
//! quarter of what it may have.

use gracenet::activation::VariableError;
use gracenet::notify::NotifyError;
use gracenet::{Error, Failure, InheritError, ListenError, StartError};

use gracenet_httpd::SYSTEMD;
use gracenet_httpd::text::Text;

use crate::sys::Errno;

/// An error that a line of the log can carry.
pub(crate) trait Report {
    /// What has failed, and why: `bind: os error 98`.
    fn words(&self) -> Text;
}

/// No number belongs to the text.
const NONE: u64 = u64::MAX;

#[inline(never)]
fn words(whose: &str, why: &str, number: u64) -> Text {
    let mut words = Text::new();
    words.push(whose).push(why);
    if number != NONE {
        words.number(number);
    }
    words
}

impl Report for Errno {
    fn words(&self) -> Text {
        words("", "os error ", self.0.into())
    }
}

impl Report for Error {
    #[inline(never)]
    fn words(&self) -> Text {
        let number = self.raw_os_error().unsigned_abs();
        words(self.operation().as_str(), ": os error ", number.into())
    }
}

impl Report for InheritError {
    fn words(&self) -> Text {
        let (text, number) = match self {
            InheritError::Failed(error) => return error.words(),
            InheritError::Variable(error) => return error.words(),
            InheritError::BadFd { fd, .. } => ("not open: fd ", fd.unsigned_abs().into()),
            InheritError::TooMany { count, .. } => ("no room for so many: ", (*count).into()),
            _ => ("LISTEN_FDNAMES does not name the sockets", NONE),
        };
        words("", text, number)
    }
}

impl Report for VariableError {
    fn words(&self) -> Text {
        let text = if SYSTEMD && self.name() == "NOTIFY_SOCKET" {
            " is not an address, at byte "
        } else {
            " is not a number in range, at byte "
        };
        words(self.name(), text, self.at() as u64)
    }
}

impl Report for NotifyError {
    fn words(&self) -> Text {
        match self {
            NotifyError::Failed(error) => error.words(),
            _ => words("not one message", "", NONE),
        }
    }
}

impl Report for ListenError {
    fn words(&self) -> Text {
        let (text, number) = match self {
            ListenError::Failed(error) => return error.words(),
            ListenError::Address(error) => ("not understood, at byte ", error.at() as u64),
            _ => ("no room for another socket", NONE),
        };
        words("", text, number)
    }
}

impl Report for StartError {
    fn words(&self) -> Text {
        let (text, number) = match self {
            StartError::Failed(error) => return error.words(),
            StartError::InProgress => ("already in progress", NONE),
            StartError::NoProgram => ("no program to start", NONE),
            StartError::TooLarge => ("environment too large", NONE),
            StartError::FdLimit(fd) => ("over the limit: fd ", (*fd).into()),
            StartError::NotOurs(index) => ("not ours any more: socket ", *index as u64),
            _ => ("vanished before execve", NONE),
        };
        words("", text, number)
    }
}

impl Report for Failure {
    fn words(&self) -> Text {
        let (text, number) = match self {
            Failure::Failed(error) => return error.words(),
            Failure::Exited(status) => ("exited with status ", status.unsigned_abs().into()),
            Failure::Killed(signal) => ("killed by signal ", signal.unsigned_abs().into()),
            Failure::ClosedChannel => ("closed its channel", NONE),
            Failure::TimedOut => ("not ready in time", NONE),
            _ => ("ended", NONE),
        };
        words("", text, number)
    }
}
