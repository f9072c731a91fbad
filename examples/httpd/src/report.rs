//! What went wrong, in words.
//!
//! The crate's errors can say so themselves, by `Display`. The formatter that
//! this takes, and the texts for what cannot happen to this program, are 8 KiB, a
//! quarter of what it may have.

use gracenet::{Error, Failure, InheritError, ListenError, StartError};

use crate::log::{Log, NONE};
use crate::sys::Errno;

/// An error that a line of the log can carry: `bind: os error 98`.
pub(crate) trait Report {
    /// Writes the line: what could not be done, and why.
    fn report(&self, log: Log, what: &[u8]);
}

impl Report for Errno {
    fn report(&self, log: Log, what: &[u8]) {
        log.fail(what, "", ": os error ", self.0.into());
    }
}

impl Report for Error {
    #[inline(never)]
    fn report(&self, log: Log, what: &[u8]) {
        let number = self.raw_os_error().unsigned_abs();
        log.fail(
            what,
            self.operation().as_str(),
            ": os error ",
            number.into(),
        );
    }
}

impl Report for InheritError {
    fn report(&self, log: Log, what: &[u8]) {
        let (text, number) = match self {
            InheritError::Failed(error) => return error.report(log, what),
            InheritError::Variable(error) => {
                let text = " is not a number in range, at byte ";
                return log.fail(what, error.name(), text, error.at() as u64);
            }
            InheritError::BadFd { fd, .. } => ("not open: fd ", fd.unsigned_abs().into()),
            InheritError::TooMany { count, .. } => ("no room for so many: ", (*count).into()),
            _ => ("LISTEN_FDNAMES does not name the sockets", NONE),
        };
        log.fail(what, "", text, number);
    }
}

impl Report for ListenError {
    #[inline(never)]
    fn report(&self, log: Log, what: &[u8]) {
        let (text, number) = match self {
            ListenError::Failed(error) => return error.report(log, what),
            ListenError::Address(error) => ("not understood, at byte ", error.at() as u64),
            _ => ("no room for another socket", NONE),
        };
        log.fail(what, "", text, number);
    }
}

impl Report for StartError {
    fn report(&self, log: Log, what: &[u8]) {
        let (text, number) = match self {
            StartError::Failed(error) => return error.report(log, what),
            StartError::InProgress => ("already in progress", NONE),
            StartError::NoProgram => ("no program to start", NONE),
            StartError::TooLarge => ("environment too large", NONE),
            StartError::FdLimit(fd) => ("over the limit: fd ", (*fd).into()),
            StartError::NotOurs(index) => ("not ours any more: socket ", *index as u64),
            _ => ("vanished before execve", NONE),
        };
        log.fail(what, "", text, number);
    }
}

impl Report for Failure {
    #[inline(never)]
    fn report(&self, log: Log, what: &[u8]) {
        let (text, number) = match self {
            Failure::Failed(error) => return error.report(log, what),
            Failure::Exited(status) => ("exited with status ", status.unsigned_abs().into()),
            Failure::Killed(signal) => ("killed by signal ", signal.unsigned_abs().into()),
            Failure::ClosedChannel => ("closed its channel", NONE),
            Failure::TimedOut => ("not ready in time", NONE),
            _ => ("ended", NONE),
        };
        log.fail(what, "", text, number);
    }
}
