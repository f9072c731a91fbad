//! Pure. What went wrong, in words.
//!
//! The crate's errors can say so themselves, by `Display`. The formatter that
//! this takes, and the texts for what cannot happen to these programs, are 8 KiB, a
//! quarter of what they may have.

use gracenet::activation::VariableError;
use gracenet::notify::NotifyError;
use gracenet::supervisor::SupervisorError;
use gracenet::{Error, Failure, InheritError, ListenError, Operation, StartError};

use crate::text::{List, Text};

/// Why something failed: any of the crate's errors, as words and a number in them.
///
/// It fits into two registers, and is made only where it is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Why {
    words: Words,
    number: u32,
}

/// What is said of errors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Words {
    Failed,
    Variable,
    OsError,
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
    Message,
    State,
}

/// In the order of [`Words`]. The first two come behind the name of a system call, and of a variable.
const WORDS: List = List::new(
    ": os error #, is not a number in range at byte #,os error #,not open: fd #,\
     no room for so many: #,LISTEN_FDNAMES does not name the sockets,\
     not understood at byte #,no room for another socket,already in progress,\
     no program to start,environment too large,over the limit: fd #,\
     not ours any more: socket #,vanished before execve,exited with status #,\
     killed by signal #,closed its channel,not ready in time,ended,not one message,\
     what was left is not legible",
);

/// Those that can fail, by their numbers.
const OPERATIONS: List = List::new(Operation::NAMES);

/// Those that can be wrong, by their numbers.
const VARIABLES: List = List::new(if cfg!(feature = "systemd") {
    "LISTEN_PID,LISTEN_PIDFDID,LISTEN_FDS,WATCHDOG_USEC,WATCHDOG_PID,NOTIFY_SOCKET"
} else {
    "LISTEN_PID,LISTEN_PIDFDID,LISTEN_FDS"
});

impl Why {
    const fn new(words: Words, number: u32) -> Why {
        Why { words, number }
    }

    /// `Why::os_error(errno)` — the number of an error.
    #[must_use]
    pub const fn os_error(errno: u32) -> Why {
        Why::new(Words::OsError, errno)
    }

    /// `why.put(line)` — appends what has failed, and why: `bind: os error 98`.
    #[inline(never)]
    pub fn put(self, line: &mut Text) {
        let mut number = self.number;
        match self.words {
            Words::Failed => {
                line.push(OPERATIONS.at((number >> 16) as usize));
                number &= 0xffff;
            }
            Words::Variable => {
                line.push(VARIABLES.at((number >> 16) as usize));
                number &= 0xffff;
            }
            _ => {}
        }
        line.put(WORDS.at(self.words as usize), number.into());
    }
}

impl From<Error> for Why {
    fn from(error: Error) -> Why {
        Why::new(Words::Failed, error.to_word())
    }
}

impl From<InheritError> for Why {
    fn from(error: InheritError) -> Why {
        let (words, number) = match error {
            InheritError::Variable(error) => return error.into(),
            InheritError::BadFd { fd, .. } => (Words::BadFd, fd as u32),
            InheritError::TooMany { count, .. } => (Words::TooMany, count),
            InheritError::NameCount { names, .. } => (Words::Names, names),
            InheritError::LongName { index } => (Words::Names, index),
            InheritError::Failed(error) => return error.into(),
            _ => (Words::Names, 0),
        };
        Why::new(words, number)
    }
}

impl From<VariableError> for Why {
    fn from(error: VariableError) -> Why {
        let variable = (error.variable() as u32) << 16;
        Why::new(Words::Variable, variable | error.at() as u32)
    }
}

impl From<NotifyError> for Why {
    fn from(error: NotifyError) -> Why {
        match error {
            NotifyError::Failed(error) => error.into(),
            _ => Why::new(Words::Message, 0),
        }
    }
}

impl From<SupervisorError> for Why {
    fn from(error: SupervisorError) -> Why {
        match error {
            SupervisorError::Failed(error) => error.into(),
            _ => Why::new(Words::State, 0),
        }
    }
}

impl From<ListenError> for Why {
    fn from(error: ListenError) -> Why {
        match error {
            ListenError::Failed(error) => error.into(),
            ListenError::Address(error) => Why::new(Words::Address, error.at() as u32),
            _ => Why::new(Words::Full, 0),
        }
    }
}

impl From<StartError> for Why {
    #[inline(never)]
    fn from(error: StartError) -> Why {
        match error {
            StartError::Failed(error) => error.into(),
            StartError::InProgress => Why::new(Words::InProgress, 0),
            StartError::NoProgram => Why::new(Words::NoProgram, 0),
            StartError::TooLarge => Why::new(Words::TooLarge, 0),
            StartError::FdLimit(fd) => Why::new(Words::FdLimit, fd),
            StartError::NotOurs(index) => Why::new(Words::NotOurs, index),
            _ => Why::new(Words::Vanished, 0),
        }
    }
}

impl From<Failure> for Why {
    #[inline(never)]
    fn from(failure: Failure) -> Why {
        match failure {
            Failure::Failed(error) => error.into(),
            Failure::Exited(status) => Why::new(Words::Exited, status.unsigned_abs()),
            Failure::Killed(signal) => Why::new(Words::Killed, signal.unsigned_abs()),
            Failure::ClosedChannel => Why::new(Words::ClosedChannel, 0),
            Failure::TimedOut => Why::new(Words::TimedOut, 0),
            _ => Why::new(Words::Ended, 0),
        }
    }
}
