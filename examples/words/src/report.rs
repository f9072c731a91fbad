//! Pure. What went wrong, in words.
//!
//! The crate's errors can say so themselves, by `Display`. The formatter that
//! this takes, and the texts for what cannot happen to these programs, are 8 KiB, a
//! quarter of what they may have.

use gracenet::activation::{Variable, VariableError};
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
                let variable = number >> 16;
                line.push(VARIABLES.at(variable as usize));
                number &= 0xffff;
                if cfg!(feature = "systemd") && variable == Variable::NotifySocket as u32 {
                    line.put(" is not an address at byte #", number.into());
                    return;
                }
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

#[cfg(test)]
mod tests {
    use std::string::String;

    use super::*;
    use gracenet::{Environ, Errno};

    fn text(why: impl Into<Why>) -> String {
        let mut line = Text::new();
        why.into().put(&mut line);
        String::from_utf8(line.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn failed_calls_have_names_and_numbers() {
        for (operation, errno, expected) in [
            (Operation::Accept4, Errno::MFILE, "accept4: os error 24"),
            (Operation::Bind, Errno::ADDRINUSE, "bind: os error 98"),
            (Operation::Write, Errno::PIPE, "write: os error 32"),
        ] {
            let error = Error::new(operation, errno);
            assert_eq!(text(error), expected);
            assert_eq!(text(StartError::Failed(error)), expected);
            assert_eq!(text(ListenError::Failed(error)), expected);
            assert_eq!(text(InheritError::Failed(error)), expected);
            assert_eq!(text(Failure::Failed(error)), expected);
            assert_eq!(text(SupervisorError::Failed(error)), expected);
            assert_eq!(text(NotifyError::Failed(error)), expected);
        }
    }

    /// The first and the last of each kind: the words between them are in their order.
    #[test]
    fn each_error_has_its_own_words() {
        let error = Error::new(Operation::Fcntl, Errno::BADF);
        assert_eq!(text(Why::os_error(9)), "os error 9");
        assert_eq!(text(InheritError::BadFd { fd: 5, error }), "not open: fd 5");
        let name = InheritError::LongName { index: 1 };
        assert_eq!(text(name), "LISTEN_FDNAMES does not name the sockets");
        assert_eq!(text(ListenError::Full(4)), "no room for another socket");
        assert_eq!(text(StartError::InProgress), "already in progress");
        assert_eq!(text(StartError::FdLimit(64)), "over the limit: fd 64");
        let socket = StartError::NotOurs(2);
        assert_eq!(text(socket), "not ours any more: socket 2");
        assert_eq!(text(StartError::Vanished), "vanished before execve");
        assert_eq!(text(Failure::Exited(3)), "exited with status 3");
        assert_eq!(text(Failure::Killed(9)), "killed by signal 9");
        assert_eq!(text(Failure::TimedOut), "not ready in time");
        assert_eq!(text(Failure::Ended), "ended");
        assert_eq!(text(NotifyError::TooLong), "not one message");
    }

    #[test]
    fn variables_have_names() {
        use gracenet::activation::{Activation, Reader};

        let reader = Reader {
            pid: 7,
            pidfd_inode: None,
            accept_missing_pid: false,
        };
        for (strings, name, at) in [
            ([c"LISTEN_PID=x", c""], "LISTEN_PID", 0),
            ([c"LISTEN_PID=7", c"LISTEN_PIDFDID=1x"], "LISTEN_PIDFDID", 1),
            ([c"LISTEN_PID=7", c"LISTEN_FDS=12x"], "LISTEN_FDS", 2),
        ] {
            let error = Activation::decode(Environ::new(&strings), reader).unwrap_err();
            let expected = std::format!("{name} is not a number in range at byte {at}");
            assert_eq!(text(error), expected);
        }
    }

    #[test]
    #[cfg(feature = "systemd")]
    fn variables_of_a_manager_have_names() {
        use gracenet::notify::{Notify, Watchdog};

        let error = Watchdog::new(Environ::new(&[c"WATCHDOG_USEC=5x"])).unwrap_err();
        let expected = "WATCHDOG_USEC is not a number in range at byte 1";
        assert_eq!(text(error), expected);
        let error = Notify::new(Environ::new(&[c"NOTIFY_SOCKET=x"])).unwrap_err();
        let expected = "NOTIFY_SOCKET is not an address at byte 0";
        assert_eq!(text(error), expected);
    }
}
