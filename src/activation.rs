//! Pure. The `LISTEN_*` protocol of systemd, and this crate's own variable beside it.
//!
//! Decoding follows sd_listen_fds(3) with these differences, each on the strict side but the
//! first: an empty `LISTEN_FDS` and `0` mean no sockets and are no error; numbers are decimal
//! digits only, with neither sign nor spaces nor `0x`.

use core::fmt;

use crate::environ::Environ;

/// The first fd that is passed: `SD_LISTEN_FDS_START`.
pub const FIRST_FD: i32 = 3;

/// The longest name a socket can have, in bytes: what systemd allows.
pub const NAME_MAX: usize = 255;

/// What a socket is called that was given no name.
pub const UNNAMED: &str = "unknown";

pub(crate) const LISTEN_PID: &[u8] = b"LISTEN_PID";
pub(crate) const LISTEN_PIDFDID: &[u8] = b"LISTEN_PIDFDID";
pub(crate) const LISTEN_FDS: &[u8] = b"LISTEN_FDS";
pub(crate) const LISTEN_FDNAMES: &[u8] = b"LISTEN_FDNAMES";
pub(crate) const GRACENET_FD: &[u8] = b"GRACENET_FD";
pub(crate) const WATCHDOG_PID: &[u8] = b"WATCHDOG_PID";

/// The variables that tell of sockets or of a predecessor. They are meant for one process, so
/// that none of its children gets them from it.
pub const VARIABLES: [&str; 5] = [
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "GRACENET_FD",
];

/// They, in one string.
const OURS: &str = "LISTEN_PID,LISTEN_PIDFDID,LISTEN_FDS,LISTEN_FDNAMES,GRACENET_FD";

/// Is this string one of the variables of [`VARIABLES`]?
#[inline(never)]
pub fn is_ours(string: &[u8]) -> bool {
    // Hardly any other has one of these there, and there may be many.
    if !matches!(string.get(1), Some(b'I' | b'R')) {
        return false;
    }
    match split_at_byte(string, b'=') {
        (name, Some(_)) => place_of(name, OURS).is_some(),
        _ => false,
    }
}

/// What an environment says about sockets for this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Activation<'a> {
    count: u32,
    names: Option<&'a [u8]>,
}

/// Who is asking, and how strictly.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    /// Our pid, as we see it ourselves.
    pub pid: u32,
    /// The inode of our own pidfd, where the kernel has such (Linux 6.9) and `LISTEN_PIDFDID` is
    /// to be looked at.
    pub pidfd_inode: Option<u64>,
    /// Take the sockets also where no `LISTEN_PID` says for whom they are. Go's gracenet and
    /// some activators never set it.
    pub accept_missing_pid: bool,
}

impl<'a> Activation<'a> {
    /// `Activation::decode(environ, reader)` — what `environ` says about sockets for `reader`.
    ///
    /// No fd is touched. Sockets for another process, and an environment without `LISTEN_PID`,
    /// are no sockets and no error.
    ///
    /// # Errors
    ///
    /// A variable that is there and says nothing legible: which, and at which byte.
    ///
    /// # Examples
    ///
    /// ```
    /// use gracenet::Environ;
    /// use gracenet::activation::{Activation, Reader};
    ///
    /// let reader = Reader { pid: 7, pidfd_inode: None, accept_missing_pid: false };
    /// let strings = [c"LISTEN_PID=7", c"LISTEN_FDS=2", c"LISTEN_FDNAMES=web:admin"];
    /// let activation = Activation::decode(Environ::new(&strings), reader)?;
    /// assert_eq!(activation.count(), 2);
    /// assert!(activation.names().eq([b"web".as_slice(), b"admin"]));
    /// # Ok::<(), gracenet::activation::VariableError>(())
    /// ```
    ///
    /// # References
    ///
    /// - [sd_listen_fds(3)](https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html)
    pub fn decode(environ: Environ<'a>, reader: Reader) -> Result<Activation<'a>, VariableError> {
        let (mut activation, mut variable) = (Activation::default(), Variable::ListenPid);
        match activation.read(environ, reader, &mut variable) {
            Ok(()) => Ok(activation),
            Err(at) => Err(VariableError::new(variable, at)),
        }
    }

    /// The byte at which it is wrong, of the variable that is looked at; nothing is read where the
    /// sockets are not for this reader.
    fn read(
        &mut self,
        environ: Environ<'a>,
        reader: Reader,
        variable: &mut Variable,
    ) -> Result<(), usize> {
        match environ.var(LISTEN_PID) {
            None if reader.accept_missing_pid => {}
            None => return Ok(()),
            Some(value) => match decimal(value, i32::MAX as u64)? {
                0 => return Err(0),
                pid if pid == u64::from(reader.pid) => {}
                _ => return Ok(()),
            },
        }
        *variable = Variable::ListenPidfdid;
        if let Some(value) = environ.var(LISTEN_PIDFDID) {
            let inode = decimal(value, u64::MAX)?;
            if reader.pidfd_inode.is_some_and(|own| own != inode) {
                return Ok(());
            }
        }
        *variable = Variable::ListenFds;
        self.count = match environ.var(LISTEN_FDS) {
            None | Some(b"") => 0,
            Some(value) => decimal(value, u64::from(u32::MAX))? as u32,
        };
        self.names = environ.var(LISTEN_FDNAMES);
        Ok(())
    }

    /// How many sockets are said to be there, from [`FIRST_FD`] up. Nothing has been checked: the
    /// number may be larger than any process can have.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// How many names are given; `None` where there is no `LISTEN_FDNAMES`, in which case every
    /// socket is [`UNNAMED`].
    pub fn name_count(&self) -> Option<usize> {
        self.names.map(|names| {
            names
                .iter()
                .filter(|byte| **byte == b':')
                .count()
                .saturating_add(1)
        })
    }

    /// The names in order, without end where none is given. They are split at every `:`, with
    /// nothing coalesced and nothing unescaped.
    pub fn names(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        Names {
            rest: self.names,
            unnamed: self.names.is_none(),
        }
    }
}

/// The parts of `LISTEN_FDNAMES`, or [`UNNAMED`] without end.
struct Names<'a> {
    rest: Option<&'a [u8]>,
    unnamed: bool,
}

impl<'a> Iterator for Names<'a> {
    type Item = &'a [u8];

    #[inline(never)]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.unnamed {
            return Some(UNNAMED.as_bytes());
        }
        let (name, rest) = split_at_byte(self.rest?, b':');
        self.rest = rest;
        Some(name)
    }
}

/// What comes before the first `byte`, and what behind it.
#[inline(never)]
pub(crate) fn split_at_byte(bytes: &[u8], byte: u8) -> (&[u8], Option<&[u8]>) {
    match bytes
        .iter()
        .position(|found| *found == byte)
        .and_then(|at| bytes.split_at_checked(at))
    {
        Some((before, behind)) => (before, behind.get(1..)),
        None => (bytes, None),
    }
}

/// `place_of(word, words)` — which of the words with commas between them it is, counted from 0; `None`
/// if it is none of them. A table of words would take more than they do.
#[doc(hidden)] // For the programs in `examples`, which are too small for two of them.
#[inline(never)]
pub fn place_of(word: &[u8], words: &str) -> Option<usize> {
    let (mut words, mut place) = (words.as_bytes(), 0);
    loop {
        let (first, behind) = split_at_byte(words, b',');
        if first == word {
            return Some(place);
        }
        words = behind?;
        place += 1;
    }
}

/// The control channel that `GRACENET_FD=fd,pid` names, when it is meant for `pid`.
///
/// With another pid, or none that can be read, it is meant for somebody else and is nothing.
pub(crate) fn control_fd(environ: Environ<'_>, pid: u32) -> Option<i32> {
    let (fd, meant_for) = split_at_byte(environ.var(GRACENET_FD)?, b',');
    let fd = decimal(fd, i32::MAX as u64).ok()?;
    let meant_for = decimal(meant_for?, u64::from(u32::MAX)).ok()?;
    (meant_for == u64::from(pid)).then_some(fd as i32)
}

/// The first fd behind all that `environ` speaks of, for whomever it is meant.
pub(crate) fn first_unspoken_fd(environ: Environ<'_>) -> i32 {
    // More than there can be is nowhere.
    const NOWHERE: u64 = 1 << 30;
    let sockets = match decimal(environ.var(LISTEN_FDS).unwrap_or_default(), NOWHERE) {
        Ok(count) => count,
        Err(0) => 0,
        Err(_) => NOWHERE,
    };
    // The channel lies behind the sockets.
    let channel = i32::from(environ.var(GRACENET_FD).is_some());
    FIRST_FD + sockets as i32 + channel
}

/// Is `name` one that LISTEN_FDNAMES can carry: printable ASCII without `:`, up to
/// [`NAME_MAX`] bytes? The first byte where it is not, else.
pub(crate) fn check_name(name: &[u8]) -> Result<(), usize> {
    match name
        .iter()
        .position(|byte| !matches!(byte, b' '..=b'~') || *byte == b':')
    {
        Some(at) => Err(at),
        None if name.len() > NAME_MAX => Err(NAME_MAX),
        None => Ok(()),
    }
}

/// `decimal(digits, max)` — a number up to `max` in decimal digits, leading zeros included, as the
/// variables have it: neither sign nor spaces.
///
/// # Errors
///
/// The byte at which it is none. One of more than 20 digits is none even if they begin with zeros: it was
/// not written by a program that counts.
#[doc(hidden)] // For the programs in `examples`, which are too small for two of them.
pub fn decimal(digits: &[u8], max: u64) -> Result<u64, usize> {
    if digits.is_empty() {
        return Err(0);
    }
    let mut value: u64 = 0;
    for (at, byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        let tens = value.checked_mul(10);
        match tens.and_then(|tens| tens.checked_add(digit.into())) {
            Some(next) if digit < 10 && next <= max && at < 20 => value = next,
            _ => return Err(at),
        }
    }
    Ok(value)
}

/// Writes `number` in decimal at the end of `buffer`: the part written.
pub(crate) fn write_decimal(buffer: &mut [u8; 10], number: u32) -> &[u8] {
    let mut start = buffer.len();
    let mut rest = number;
    for byte in buffer.iter_mut().rev() {
        *byte = b'0'.wrapping_add((rest % 10) as u8);
        start = start.wrapping_sub(1);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    buffer.get(start..).unwrap_or(&[])
}

/// A variable of the environment that is there and cannot be understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VariableError {
    variable: Variable,
    // Not a usize, so that an error fits into a register, and a result with it.
    at: u32,
}

impl VariableError {
    pub(crate) const fn new(variable: Variable, at: usize) -> VariableError {
        let at = at as u32;
        VariableError { variable, at }
    }

    /// Which variable.
    pub const fn variable(&self) -> Variable {
        self.variable
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.variable.as_str()
    }

    /// At which byte of its value.
    pub const fn at(&self) -> usize {
        self.at as usize
    }
}

/// The variables that can say something that is not legible.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[non_exhaustive]
pub enum Variable {
    /// `LISTEN_PID`
    ListenPid,
    /// `LISTEN_PIDFDID`
    ListenPidfdid,
    /// `LISTEN_FDS`
    ListenFds,
    /// `WATCHDOG_USEC`
    WatchdogUsec,
    /// `WATCHDOG_PID`
    WatchdogPid,
    /// `NOTIFY_SOCKET`
    NotifySocket,
}

impl Variable {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Variable::ListenPid => "LISTEN_PID",
            Variable::ListenPidfdid => "LISTEN_PIDFDID",
            Variable::ListenFds => "LISTEN_FDS",
            Variable::WatchdogUsec => "WATCHDOG_USEC",
            Variable::WatchdogPid => "WATCHDOG_PID",
            Variable::NotifySocket => "NOTIFY_SOCKET",
        }
    }
}

impl fmt::Display for VariableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        f.write_str(match self.variable {
            Variable::NotifySocket => " is not an address, at byte ",
            _ => " is not a number in range, at byte ",
        })?;
        fmt::Display::fmt(&self.at, f)
    }
}

impl core::error::Error for VariableError {}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use core::ffi::CStr;
    use std::ffi::CString;
    use std::format;
    use std::string::ToString;
    use std::vec::Vec;

    #[test]
    fn each_of_the_variables_is_ours_and_no_other() {
        for name in VARIABLES {
            assert!(is_ours(format!("{name}=1").as_bytes()), "{name}");
            assert!(!is_ours(format!("{name}S=1").as_bytes()), "{name}S");
            assert!(!is_ours(name.as_bytes()), "{name} without a value");
        }
    }

    const US: Reader = Reader {
        pid: 42,
        pidfd_inode: Some(77),
        accept_missing_pid: false,
    };

    /// The count, and the first names: without LISTEN_FDNAMES there is no end of them.
    fn decode(strings: &[&CStr]) -> Result<(u32, Vec<Vec<u8>>), VariableError> {
        let activation = Activation::decode(Environ::new(strings), US)?;
        let count = activation
            .name_count()
            .unwrap_or(activation.count() as usize)
            .min(8);
        let names = activation.names().take(count).map(<[u8]>::to_vec).collect();
        Ok((activation.count(), names))
    }

    fn count_of(value: &str) -> Result<u32, VariableError> {
        let fds = CString::new(format!("LISTEN_FDS={value}")).unwrap();
        decode(&[c"LISTEN_PID=42", &fds]).map(|(count, _)| count)
    }

    /// Case A1.
    #[test]
    fn without_a_pid_there_are_no_sockets_unless_asked() {
        let strings = [c"LISTEN_FDS=2"];
        assert_eq!(decode(&strings), Ok((0, Vec::new())));
        let lax = Reader {
            accept_missing_pid: true,
            ..US
        };
        assert_eq!(
            Activation::decode(Environ::new(&strings), lax)
                .unwrap()
                .count(),
            2
        );
        // Junk that is not for us is not looked at.
        assert_eq!(decode(&[c"LISTEN_FDS=junk"]).unwrap().0, 0);
    }

    /// Case A2.
    #[test]
    fn sockets_of_another_process_are_none_of_ours() {
        assert_eq!(
            decode(&[c"LISTEN_PID=43", c"LISTEN_FDS=junk"]),
            Ok((0, Vec::new()))
        );
        // Asked to do without a pid is not asked to ignore one.
        let lax = Reader {
            accept_missing_pid: true,
            ..US
        };
        let strings = [c"LISTEN_PID=43", c"LISTEN_FDS=1"];
        assert_eq!(
            Activation::decode(Environ::new(&strings), lax)
                .unwrap()
                .count(),
            0
        );
    }

    /// Case A3.
    #[test]
    fn a_pid_that_is_none_is_an_error_that_names_the_variable() {
        for (value, at) in [
            ("0", 0),
            ("-5", 0),
            ("", 0),
            ("abc", 0),
            ("1 ", 1),
            ("4294967338", 9),
            ("42x", 2),
        ] {
            let pid = CString::new(format!("LISTEN_PID={value}")).unwrap();
            let error = decode(&[&pid, c"LISTEN_FDS=1"]).unwrap_err();
            assert_eq!((error.name(), error.at()), ("LISTEN_PID", at), "{value:?}");
            assert!(error.to_string().starts_with("LISTEN_PID is not a number"));
        }
    }

    /// Case A4, A5.
    #[test]
    fn counts() {
        assert_eq!(count_of(""), Ok(0));
        assert_eq!(count_of("0"), Ok(0));
        assert_eq!(count_of("2"), Ok(2));
        assert_eq!(count_of("0002"), Ok(2));
        assert_eq!(count_of("2147483645"), Ok(2_147_483_645));
        assert_eq!(count_of("4294967295"), Ok(u32::MAX));
        for bad in [
            "-1",
            "abc",
            "1 ",
            " 1",
            "+1",
            "0x1",
            "12345678901234567890",
            "4294967296",
        ] {
            assert_eq!(count_of(bad).unwrap_err().name(), "LISTEN_FDS", "{bad:?}");
        }
        assert_eq!(decode(&[c"LISTEN_PID=42"]), Ok((0, Vec::new())));
    }

    /// Case A9, A10.
    #[test]
    fn names_are_split_and_nothing_else() {
        let named = |fds: &str, names: &str| {
            let fds = CString::new(format!("LISTEN_FDS={fds}")).unwrap();
            let names = CString::new(format!("LISTEN_FDNAMES={names}")).unwrap();
            decode(&[c"LISTEN_PID=42", &fds, &names]).unwrap().1
        };
        let none: [&[u8]; 2] = [b"unknown", b"unknown"];
        assert_eq!(
            decode(&[c"LISTEN_PID=42", c"LISTEN_FDS=2"]).unwrap().1,
            none
        );
        assert_eq!(named("2", "a:"), [b"a".as_slice(), b""]);
        assert_eq!(named("2", ":"), [b"".as_slice(), b""]);
        assert_eq!(named("3", "x::z"), [b"x".as_slice(), b"", b"z"]);
        assert_eq!(named("1", ""), [b"".as_slice()]);
        assert_eq!(named("1", "a%20\\x2d b"), [b"a%20\\x2d b".as_slice()]);
        assert_eq!(named("1", "a:b").len(), 2);
    }

    /// Case A15.
    #[test]
    fn first_of_two_variables_counts() {
        let strings = [
            c"LISTEN_FDS",
            c"LISTEN_FDS_EXTRA=9",
            c"XLISTEN_FDS=9",
            c"LISTEN_PID=42",
            c"LISTEN_FDS=1",
            c"LISTEN_FDS=7",
            c"LISTEN_PID=1",
        ];
        assert_eq!(decode(&strings).unwrap().0, 1);
    }

    /// Case A16.
    #[test]
    fn pidfd_inode_is_compared_where_there_is_one() {
        let ours = [c"LISTEN_PID=42", c"LISTEN_PIDFDID=77", c"LISTEN_FDS=1"];
        let stale = [c"LISTEN_PID=42", c"LISTEN_PIDFDID=76", c"LISTEN_FDS=1"];
        let junk = [c"LISTEN_PID=42", c"LISTEN_PIDFDID=7x", c"LISTEN_FDS=1"];
        assert_eq!(decode(&ours).unwrap().0, 1);
        assert_eq!(decode(&stale).unwrap().0, 0);
        assert_eq!(decode(&junk).unwrap_err().name(), "LISTEN_PIDFDID");
        let old_kernel = Reader {
            pidfd_inode: None,
            ..US
        };
        assert_eq!(
            Activation::decode(Environ::new(&stale), old_kernel)
                .unwrap()
                .count(),
            1
        );
    }

    /// Case D4.
    #[test]
    fn names_that_cannot_be_passed_on() {
        assert_eq!(check_name(b"web-1 ~"), Ok(()));
        assert_eq!(check_name(b""), Ok(()));
        assert_eq!(check_name(b"a:b"), Err(1));
        assert_eq!(check_name(b"ab\n"), Err(2));
        assert_eq!(check_name("é".as_bytes()), Err(0));
        assert_eq!(check_name(&[b'x'; 255]), Ok(()));
        assert_eq!(check_name(&[b'x'; 256]), Err(255));
    }

    #[test]
    fn control_channel_is_for_one_pid() {
        let of = |value: &str, pid| {
            let variable = CString::new(format!("GRACENET_FD={value}")).unwrap();
            control_fd(Environ::new(&[&variable]), pid)
        };
        assert_eq!(of("5,42", 42), Some(5));
        assert_eq!(of("5,42", 43), None);
        for junk in [
            "5",
            "5,",
            ",42",
            "x,42",
            "5,42,1",
            "-1,42",
            "5,42 ",
            "4294967296,42",
        ] {
            assert_eq!(of(junk, 42), None, "{junk:?}");
        }
    }

    #[test]
    fn decimals_are_written_as_they_are_read() {
        for number in [0, 1, 9, 10, 99, 100, 4_194_304, u32::MAX] {
            let mut buffer = [0; 10];
            assert_eq!(
                write_decimal(&mut buffer, number),
                number.to_string().as_bytes()
            );
        }
    }
}
