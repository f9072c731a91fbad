//! Pure. What went wrong, in words.
//!
//! The crate's errors can say so themselves, by `Display`. The formatter that
//! this takes, and the texts for what cannot happen to these programs, are 8 KiB, a
//! quarter of what they may have.

use gracenet::activation::VariableError;
use gracenet::notify::NotifyError;
use gracenet::{Error, Failure, InheritError, ListenError, StartError};

use crate::text::{List, Text};

/// An error that a line of the log can carry.
pub trait Report {
    /// Appends what has failed, and why: `bind: os error 98`.
    fn put(&self, line: &mut Text);
}

/// What is said of errors.
#[derive(Clone, Copy)]
enum Words {
    OsError,
    Operation,
    Variable,
    BadFd,
    TooMany,
    Names,
    Address,
    Full,
    InProgress,
    NoProgram,
    TooLarge,
    FdLimit,
    NotOurs,
    Vanished,
    Exited,
    Killed,
    ClosedChannel,
    TimedOut,
    Ended,
}

/// In the order of [`Words`]. A number belongs to those that end in a space.
const WORDS: List = List::new(
    "os error ,: os error , is not a number in range at byte ,not open: fd ,\
     no room for so many: ,LISTEN_FDNAMES does not name the sockets,\
     not understood at byte ,no room for another socket,already in progress,\
     no program to start,environment too large,over the limit: fd ,\
     not ours any more: socket ,vanished before execve,exited with status ,\
     killed by signal ,closed its channel,not ready in time,ended",
);

impl Words {
    #[inline(never)]
    fn put(self, number: u64, line: &mut Text) {
        let words = WORDS.at(self as usize);
        line.push(words);
        if words.ends_with(b" ") {
            line.number(number);
        }
    }
}

/// `os_error(errno, line)` — Appends the number of an error.
pub fn os_error(errno: u32, line: &mut Text) {
    Words::OsError.put(errno.into(), line);
}

impl Report for Error {
    #[inline(never)]
    fn put(&self, line: &mut Text) {
        line.push(self.operation().as_str());
        Words::Operation.put(self.raw_os_error().unsigned_abs().into(), line);
    }
}

impl Report for InheritError {
    fn put(&self, line: &mut Text) {
        let (words, number) = match self {
            InheritError::Failed(error) => return error.put(line),
            InheritError::Variable(error) => return error.put(line),
            InheritError::BadFd { fd, .. } => (Words::BadFd, fd.unsigned_abs().into()),
            InheritError::TooMany { count, .. } => (Words::TooMany, (*count).into()),
            _ => (Words::Names, 0),
        };
        words.put(number, line);
    }
}

impl Report for VariableError {
    fn put(&self, line: &mut Text) {
        let (name, at) = (self.name(), self.at() as u64);
        line.push(name);
        if cfg!(feature = "systemd") && name == "NOTIFY_SOCKET" {
            line.push(" is not an address at byte ").number(at);
        } else {
            Words::Variable.put(at, line);
        }
    }
}

impl Report for NotifyError {
    fn put(&self, line: &mut Text) {
        match self {
            NotifyError::Failed(error) => error.put(line),
            _ => {
                line.push("not one message");
            }
        }
    }
}

impl Report for ListenError {
    fn put(&self, line: &mut Text) {
        let (words, number) = match self {
            ListenError::Failed(error) => return error.put(line),
            ListenError::Address(error) => (Words::Address, error.at() as u64),
            _ => (Words::Full, 0),
        };
        words.put(number, line);
    }
}

impl Report for StartError {
    fn put(&self, line: &mut Text) {
        let (words, number) = match self {
            StartError::Failed(error) => return error.put(line),
            StartError::InProgress => (Words::InProgress, 0),
            StartError::NoProgram => (Words::NoProgram, 0),
            StartError::TooLarge => (Words::TooLarge, 0),
            StartError::FdLimit(fd) => (Words::FdLimit, (*fd).into()),
            StartError::NotOurs(index) => (Words::NotOurs, (*index).into()),
            _ => (Words::Vanished, 0),
        };
        words.put(number, line);
    }
}

impl Report for Failure {
    fn put(&self, line: &mut Text) {
        let (words, number) = match self {
            Failure::Failed(error) => return error.put(line),
            Failure::Exited(status) => (Words::Exited, status.unsigned_abs().into()),
            Failure::Killed(signal) => (Words::Killed, signal.unsigned_abs().into()),
            Failure::ClosedChannel => (Words::ClosedChannel, 0),
            Failure::TimedOut => (Words::TimedOut, 0),
            _ => (Words::Ended, 0),
        };
        words.put(number, line);
    }
}
