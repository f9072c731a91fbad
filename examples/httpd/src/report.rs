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
    /// Appends it to a line: `bind: os error 98`.
    fn write(&self, line: &mut Text);
}

/// No number belongs to the text.
const NONE: u64 = u64::MAX;

#[inline(never)]
fn put(line: &mut Text, text: &str, number: u64) {
    line.push(text);
    if number != NONE {
        line.number(number);
    }
}

impl Report for Errno {
    fn write(&self, line: &mut Text) {
        put(
            line,
            ": os error ",
            self.raw_os_error().unsigned_abs().into(),
        );
    }
}

impl Report for Error {
    #[inline(never)]
    fn write(&self, line: &mut Text) {
        line.push(self.operation().as_str());
        self.errno().write(line);
    }
}

impl Report for InheritError {
    fn write(&self, line: &mut Text) {
        let (text, number) = match self {
            InheritError::Failed(error) => return error.write(line),
            InheritError::Variable(error) => {
                line.push(error.name());
                (" is not a number in range, at byte ", error.at() as u64)
            }
            InheritError::BadFd { fd, .. } => ("not open: fd ", fd.unsigned_abs().into()),
            InheritError::TooMany { count, .. } => ("no room for so many: ", (*count).into()),
            _ => ("LISTEN_FDNAMES does not name the sockets", NONE),
        };
        put(line, text, number);
    }
}

impl Report for ListenError {
    fn write(&self, line: &mut Text) {
        let (text, number) = match self {
            ListenError::Failed(error) => return error.write(line),
            ListenError::Address(error) => ("not understood, at byte ", error.at() as u64),
            _ => ("no room for another socket", NONE),
        };
        put(line, text, number);
    }
}

impl Report for StartError {
    fn write(&self, line: &mut Text) {
        let (text, number) = match self {
            StartError::Failed(error) => return error.write(line),
            StartError::InProgress => ("already in progress", NONE),
            StartError::NoProgram => ("no program to start", NONE),
            StartError::TooLarge => ("arguments and environment are too large", NONE),
            StartError::FdLimit(fd) => ("over the limit: fd ", (*fd).into()),
            StartError::NotOurs(index) => ("not ours any more: socket ", *index as u64),
            _ => ("vanished before execve", NONE),
        };
        put(line, text, number);
    }
}

impl Report for Failure {
    fn write(&self, line: &mut Text) {
        let (text, number) = match self {
            Failure::Failed(error) => return error.write(line),
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
        put(line, text, number);
    }
}
