//! Pure. What a service says of itself, as text.

use heapless::Vec;
use rustix::io::Errno;
use rustix::process::Pid;

use crate::activation::{check_name, split_at_byte};

/// The longest message that systemd reads (its `NOTIFY_BUFFER_MAX`, the kernel's `PIPE_BUF`).
pub const MESSAGE_MAX: usize = 4096;

/// As many fds are passed at once at most: systemd's own limit is the kernel's, 253, of which
/// some C libraries can pass one less.
pub const FDS_MAX: usize = 252;

/// Something that a service says of itself.
///
/// Text is bytes as they are, without a newline.
///
/// # References
///
/// - [sd_notify(3)](https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum State<'a> {
    /// `READY=1`: it serves, for the first time or again.
    Ready,
    /// `RELOADING=1`, and `MONOTONIC_USEC=` with the present time: [`Ready`](State::Ready) is to
    /// follow.
    Reloading,
    /// `STOPPING=1`: it is about to end.
    Stopping,
    /// `STATUS=`: for people to read.
    Status(&'a [u8]),
    /// `ERRNO=`: why it fails.
    Errno(Errno),
    /// `BUSERROR=`: why it fails, as D-Bus names errors.
    BusError(&'a [u8]),
    /// `EXIT_STATUS=`: with which status it will end, or the main process has ended.
    ExitStatus(u8),
    /// `MAINPID=`: which process is the service. With `NotifyAccess=main` it is to be said by the
    /// one that was, before it ends.
    MainPid(Pid),
    /// `MAINPIDFDID=`: the inode of that process' pidfd (systemd 257), which is never another's.
    MainPidFdId(u64),
    /// `MAINPIDFD=1`: a pidfd of that process comes along (systemd 259).
    MainPidFd,
    /// `WATCHDOG=1`: it is alive.
    Watchdog,
    /// `WATCHDOG=trigger`: it is not, and knows it.
    WatchdogTrigger,
    /// `WATCHDOG_USEC=`: from now on it says so within so many microseconds.
    WatchdogUsec(u64),
    /// `EXTEND_TIMEOUT_USEC=`: it needs so many more microseconds, from now, to start or to end.
    ExtendTimeoutUsec(u64),
    /// `NOTIFYACCESS=`: whose messages are listened to from now on.
    NotifyAccess(NotifyAccess),
    /// `FDSTORE=1`: the fds that come along are to be kept, and passed to the next process.
    FdStore,
    /// `FDSTOREREMOVE=1`: those of this name are to be kept no longer.
    FdStoreRemove,
    /// `FDNAME=`: under which name they are kept; as a [socket's](crate::NetView::insert).
    FdName(&'a [u8]),
    /// `FDPOLL=`: whether they are dropped when the other end has closed them.
    FdPoll(bool),
    /// Any other: a name and a value.
    Other(&'a [u8], &'a [u8]),
}

/// Whose messages a service manager listens to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotifyAccess {
    /// Nobody's.
    None,
    /// Every process' of the service.
    All,
    /// The main process'.
    Main,
    /// The main process' and those of the commands that the manager has started.
    Exec,
}

/// What is wrong with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wrong {
    /// This state has a newline in it, or a name that is none.
    State(usize),
    /// There are more bytes than anybody reads.
    TooLong,
}

/// A message.
pub(super) type Text = Vec<u8, MESSAGE_MAX>;

/// What stands behind the equals sign.
enum Value<'a> {
    Bytes(&'a [u8]),
    Number(u64),
}

impl<'a> State<'a> {
    /// Name and value.
    fn parts(self) -> (&'a [u8], Value<'a>) {
        use Value::{Bytes, Number};
        match self {
            State::Ready => (b"READY", Number(1)),
            State::Reloading => (b"RELOADING", Number(1)),
            State::Stopping => (b"STOPPING", Number(1)),
            State::Status(text) => (b"STATUS", Bytes(text)),
            State::Errno(errno) => (b"ERRNO", Number(errno.raw_os_error().unsigned_abs().into())),
            State::BusError(name) => (b"BUSERROR", Bytes(name)),
            State::ExitStatus(status) => (b"EXIT_STATUS", Number(status.into())),
            State::MainPid(pid) => {
                let pid = pid.as_raw_nonzero().get().unsigned_abs();
                (b"MAINPID", Number(pid.into()))
            }
            State::MainPidFdId(inode) => (b"MAINPIDFDID", Number(inode)),
            State::MainPidFd => (b"MAINPIDFD", Number(1)),
            State::Watchdog => (b"WATCHDOG", Number(1)),
            State::WatchdogTrigger => (b"WATCHDOG", Bytes(b"trigger")),
            State::WatchdogUsec(usec) => (b"WATCHDOG_USEC", Number(usec)),
            State::ExtendTimeoutUsec(usec) => (b"EXTEND_TIMEOUT_USEC", Number(usec)),
            State::NotifyAccess(access) => (b"NOTIFYACCESS", Bytes(access.as_bytes())),
            State::FdStore => (b"FDSTORE", Number(1)),
            State::FdStoreRemove => (b"FDSTOREREMOVE", Number(1)),
            State::FdName(name) => (b"FDNAME", Bytes(name)),
            State::FdPoll(poll) => (b"FDPOLL", Number(poll.into())),
            State::Other(name, value) => (name, Bytes(value)),
        }
    }

    /// Whether it can be said in a line. A barrier is no state: it stands alone, with an fd.
    fn is_sound(self) -> bool {
        match self {
            State::FdName(name) => check_name(name).is_ok(),
            State::Other(name, value) => {
                let is_name = |byte: &u8| byte.is_ascii_graphic() && *byte != b'=';
                let named = !name.is_empty() && name != BARRIER && name.iter().all(is_name);
                named && is_line(value)
            }
            State::Status(text) | State::BusError(text) => is_line(text),
            _ => true,
        }
    }
}

const BARRIER: &[u8] = b"BARRIER";

/// A NUL would end the message for those who read C strings.
fn is_line(text: &[u8]) -> bool {
    !text.iter().any(|byte| matches!(byte, b'\n' | 0))
}

impl NotifyAccess {
    const fn as_bytes(self) -> &'static [u8] {
        match self {
            NotifyAccess::None => b"none",
            NotifyAccess::All => b"all",
            NotifyAccess::Main => b"main",
            NotifyAccess::Exec => b"exec",
        }
    }
}

/// Writes these states, a line each with newlines between them. `now` is CLOCK_MONOTONIC in
/// microseconds.
pub(super) fn encode(states: &[State<'_>], now: u64, text: &mut Text) -> Result<(), Wrong> {
    for (index, state) in states.iter().enumerate() {
        if !state.is_sound() {
            return Err(Wrong::State(index));
        }
        let (name, value) = state.parts();
        line(text, name, value)?;
        if let State::Reloading = state {
            line(text, b"MONOTONIC_USEC", Value::Number(now))?;
        }
    }
    Ok(())
}

fn line(text: &mut Text, name: &[u8], value: Value<'_>) -> Result<(), Wrong> {
    if !text.is_empty() {
        push(text, b"\n")?;
    }
    push(text, name)?;
    push(text, b"=")?;
    match value {
        Value::Bytes(bytes) => push(text, bytes),
        Value::Number(number) => push_number(text, number),
    }
}

fn push(text: &mut Text, bytes: &[u8]) -> Result<(), Wrong> {
    text.extend_from_slice(bytes).map_err(|_| Wrong::TooLong)
}

fn push_number(text: &mut Text, number: u64) -> Result<(), Wrong> {
    if number >= 10 {
        push_number(text, number / 10)?;
    }
    push(text, &[b'0' + (number % 10) as u8])
}

/// The lines of a message that was received: name and value of each. What has no equals sign is a
/// name alone, with an empty value.
pub(super) fn lines(message: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    message
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (name, value) = split_at_byte(line, b'=');
            (name, value.unwrap_or_default())
        })
}

/// Whether this is one of the lines of a message.
pub(super) fn says(mut message: &[u8], line: &[u8]) -> bool {
    loop {
        let (first, rest) = split_at_byte(message, b'\n');
        match rest {
            _ if first == line => return true,
            None => return false,
            Some(rest) => message = rest,
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::String;
    use std::vec::Vec as StdVec;

    fn text(states: &[State<'_>]) -> Result<String, Wrong> {
        let mut text = Text::new();
        encode(states, 7_000_001, &mut text)?;
        Ok(String::from_utf8(text.to_vec()).unwrap())
    }

    #[test]
    fn every_state_has_its_line() {
        let pid = Pid::from_raw(4711).unwrap();
        for (state, line) in [
            (State::Ready, "READY=1"),
            (State::Stopping, "STOPPING=1"),
            (State::Status(b"at 100% = all"), "STATUS=at 100% = all"),
            (State::Status(b""), "STATUS="),
            (State::Errno(Errno::NOENT), "ERRNO=2"),
            (
                State::BusError(b"org.freedesktop.DBus.Error.TimedOut"),
                "BUSERROR=org.freedesktop.DBus.Error.TimedOut",
            ),
            (State::ExitStatus(0), "EXIT_STATUS=0"),
            (State::ExitStatus(255), "EXIT_STATUS=255"),
            (State::MainPid(pid), "MAINPID=4711"),
            (
                State::MainPidFdId(u64::MAX),
                "MAINPIDFDID=18446744073709551615",
            ),
            (State::MainPidFd, "MAINPIDFD=1"),
            (State::Watchdog, "WATCHDOG=1"),
            (State::WatchdogTrigger, "WATCHDOG=trigger"),
            (State::WatchdogUsec(20_000_000), "WATCHDOG_USEC=20000000"),
            (State::ExtendTimeoutUsec(10), "EXTEND_TIMEOUT_USEC=10"),
            (State::NotifyAccess(NotifyAccess::None), "NOTIFYACCESS=none"),
            (State::NotifyAccess(NotifyAccess::All), "NOTIFYACCESS=all"),
            (State::NotifyAccess(NotifyAccess::Main), "NOTIFYACCESS=main"),
            (State::NotifyAccess(NotifyAccess::Exec), "NOTIFYACCESS=exec"),
            (State::FdStore, "FDSTORE=1"),
            (State::FdStoreRemove, "FDSTOREREMOVE=1"),
            (State::FdName(b"web"), "FDNAME=web"),
            (State::FdPoll(false), "FDPOLL=0"),
            (State::FdPoll(true), "FDPOLL=1"),
            (State::Other(b"X_MINE", b"yes"), "X_MINE=yes"),
        ] {
            assert_eq!(text(&[state]).as_deref(), Ok(line));
            let message = std::format!("{line}\nREADY=1");
            assert_eq!(text(&[state, State::Ready]), Ok(message));
        }
        assert_eq!(text(&[]).as_deref(), Ok(""));
    }

    /// Case J2.
    #[test]
    fn reloading_tells_the_time() {
        let states = [State::Status(b"new build"), State::Reloading];
        let expected = "STATUS=new build\nRELOADING=1\nMONOTONIC_USEC=7000001";
        assert_eq!(text(&states).as_deref(), Ok(expected));
    }

    /// Case J5.
    #[test]
    fn what_would_become_two_lines_is_refused() {
        let refused = [
            State::Status(b"READY=0\nREADY=1"),
            State::Status(b"\n"),
            State::Status(b"a\0b"),
            State::BusError(b"a\n"),
            State::FdName(b"a\nb"),
            State::FdName(b"a:b"),
            State::FdName(&[b'a'; 256]),
            State::Other(b"", b"1"),
            State::Other(b"A=B", b"1"),
            State::Other(b"A\nB", b"1"),
            State::Other(b"A B", b"1"),
            State::Other(b"A", b"1\n"),
            // Case J4: it stands alone.
            State::Other(b"BARRIER", b"1"),
        ];
        for state in refused {
            let states = [State::Ready, state];
            assert_eq!(text(&states), Err(Wrong::State(1)), "{state:?}");
        }
    }

    #[test]
    fn a_message_is_as_long_as_systemd_reads() {
        let longest = [b'x'; MESSAGE_MAX - "STATUS=".len()];
        assert_eq!(text(&[State::Status(&longest)]).unwrap().len(), 4096);
        let states = [State::Status(&longest[1..]), State::Ready];
        assert_eq!(text(&states), Err(Wrong::TooLong));
        assert_eq!(
            text(&[State::Status(&[b'x'; MESSAGE_MAX])]),
            Err(Wrong::TooLong)
        );
    }

    #[test]
    fn what_was_written_is_read() {
        let message = b"READY=1\n\nSTATUS=a=b\nODD\n";
        let read: StdVec<_> = lines(message).collect();
        assert_eq!(
            read,
            [
                (&b"READY"[..], &b"1"[..]),
                (b"STATUS", b"a=b"),
                (b"ODD", b"")
            ]
        );
    }
}
