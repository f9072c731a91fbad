//! Pure. The command line.

use crate::table::PLACES;
use crate::text::{List, decimal};
use crate::{FULL, SYSTEMD};

/// What the program says when it does not understand its arguments.
pub const USAGE: &str = if FULL {
    "\
usage: gracenet-httpd [OPTION]... NETWORK ADDRESS [NETWORK ADDRESS]...
--tag TEXT --pid-file PATH --replace-stale --max-connections N (256)
--drain MS (30000) --ready-timeout MS (10000) --probation MS (0)
for trying: --start-delay MS --fail-start STATUS
NETWORK is tcp, tcp4, tcp6 or unix. USR2, HUP: upgrade. TERM, INT: end.
"
} else {
    "\
usage: gracenet-httpd [OPTION]... NETWORK ADDRESS [NETWORK ADDRESS]...
--tag TEXT --replace-stale --max-connections N (256)
--drain MS (30000) --ready-timeout MS (10000)
NETWORK is tcp, tcp4, tcp6 or unix. USR2, HUP: upgrade. TERM, INT: end.
"
};

/// What it says behind that.
pub const USAGE_FOR_SYSTEMD: &str = if SYSTEMD {
    "\
--store: systemd keeps what is listened on through a crash
--missing-pid: sockets without LISTEN_PID. --foreign: successors of another kind
"
} else {
    ""
};

/// As many addresses are listened on at most.
pub const LISTENERS: usize = 8;

/// As many connections are open at most.
pub const CONNECTIONS: usize = PLACES;

/// The longest tag: it has to fit into an answer.
pub const TAG: usize = 128;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options<'a> {
    /// What answers carry.
    pub tag: &'a [u8],
    /// Where the pid is written; empty where it is not.
    pub pid_file: &'a [u8],
    /// Whether a socket file that nobody listens on is replaced.
    pub replace_stale: bool,
    /// Whether systemd is to keep the sockets.
    pub store: bool,
    /// Whether successors know nothing of this crate.
    pub foreign: bool,
    /// Whether sockets are inherited where `LISTEN_PID` is missing, too.
    pub missing_pid: bool,
    /// Networks and addresses to listen on; at least one.
    pub listeners: heapless::Vec<(&'a [u8], &'a [u8]), LISTENERS>,
    /// By [`Number`].
    numbers: [u32; NUMBERS.len()],
}

/// An option whose value is a number. As `NUMBERS` and `OPTIONS` have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// As many connections at a time.
    MaxConnections,
    /// The longest wait for open requests, in milliseconds.
    Drain,
    /// How long a successor may take until it is ready, in milliseconds.
    ReadyTimeout,
    /// How long the sockets are kept when a successor is ready, in milliseconds.
    Probation,
    /// How long to wait before it becomes ready, in milliseconds.
    StartDelay,
    /// With which status to end instead of becoming ready; [`READY`] if not at
    /// all.
    FailStart,
}

/// No exit status: the start is not to fail.
pub const READY: u32 = u32::MAX;

/// The least, the most, and what holds where nothing is asked for, by [`Number`].
const NUMBERS: &[(u32, u32, u32)] = {
    const ALL: &[(u32, u32, u32)] = &[
        (1, CONNECTIONS as u32, 256),
        (0, u32::MAX, 30_000),
        (1, u32::MAX, 10_000),
        (0, u32::MAX, 0),
        (0, u32::MAX, 0),
        (0, 255, READY),
    ];
    if FULL { ALL } else { ALL.split_at(3).0 }
};

const DEFAULTS: [u32; NUMBERS.len()] = {
    let mut defaults = [0; NUMBERS.len()];
    let mut number = 0;
    while number < defaults.len() {
        defaults[number] = NUMBERS[number].2;
        number += 1;
    }
    defaults
};

/// The numbers come first, then the texts, then what has no value.
const OPTIONS: List = List::new(if FULL {
    "--max-connections,--drain,--ready-timeout,--probation,--start-delay,--fail-start,\
     --pid-file,--tag,--replace-stale,--,--help,-h"
} else {
    "--max-connections,--drain,--ready-timeout,--tag,--replace-stale,--,--help,-h"
});

/// None of them has a value.
const OPTIONS_FOR_SYSTEMD: List = List::new("--store,--foreign,--missing-pid");

/// Places in [`OPTIONS`] behind those of [`Number`].
mod option {
    /// In a full build.
    pub(super) const PID_FILE: usize = super::NUMBERS.len();
    pub(super) const TAG: usize = PID_FILE + super::FULL as usize;
    pub(super) const REPLACE_STALE: usize = TAG + 1;
    pub(super) const DASHES: usize = TAG + 2;
    pub(super) const HELP: usize = TAG + 3;
    pub(super) const H: usize = TAG + 4;
}

/// What is wrong with the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Help was asked for, which is not wrong.
    Help,
    /// No such option.
    Unknown,
    /// The option needs a value, and has none.
    Missing,
    /// The option does not take this value.
    Value,
    /// There is nothing to listen on.
    NoAddress,
    /// No such network, or none that carries streams.
    Network,
    /// A network stands alone.
    Unpaired,
    /// More than [`LISTENERS`].
    TooMany,
}

/// In the order of [`Reason`].
const REASONS: List = List::new(
    ",: no such option,: a value is missing,: not a value it takes,nothing to listen on,\
     : no such network,: an address is missing,: more than 8 addresses",
);

impl Reason {
    /// In words, which come after the argument.
    #[must_use]
    pub fn text(self) -> &'static [u8] {
        REASONS.at(self as usize)
    }
}

impl<'a> Options<'a> {
    /// `Options::new(tag)` — What holds where nothing is asked for.
    #[must_use]
    pub const fn new(tag: &'a [u8]) -> Self {
        Options {
            tag,
            pid_file: b"",
            replace_stale: false,
            store: false,
            foreign: false,
            missing_pid: false,
            listeners: heapless::Vec::new(),
            numbers: DEFAULTS,
        }
    }

    /// `options.number(which)` — What was asked for, or what holds otherwise; 0 where
    /// this build has no such option.
    #[must_use]
    pub fn number(&self, which: Number) -> u32 {
        self.numbers.get(which as usize).copied().unwrap_or(0)
    }
}

/// Those that carry streams, which HTTP needs.
const NETWORKS: List = List::new("tcp,tcp4,tcp6,unix");

/// Takes one argument after the other.
///
/// An option's value is the next argument, or follows a `=`. After `--` there
/// are no options.
#[derive(Debug)]
pub struct Reader<'a> {
    /// What has been asked for.
    pub options: Options<'a>,
    /// The last argument, or of an option and its value only the option; and that
    /// value.
    pub argument: &'a [u8],
    /// See there.
    pub value: &'a [u8],
    /// The next argument is the value of the last.
    waits: bool,
    /// The next argument is this one's address.
    network: Option<&'a [u8]>,
    /// There are no more options.
    plain: bool,
}

impl<'a> Reader<'a> {
    /// `Reader::new(tag)` — Before the first argument, which is not the program's
    /// name.
    #[must_use]
    pub const fn new(tag: &'a [u8]) -> Self {
        Reader {
            options: Options::new(tag),
            argument: b"",
            value: b"",
            waits: false,
            network: None,
            plain: false,
        }
    }

    /// `reader.take(argument)` — Takes in the next argument.
    ///
    /// # Errors
    ///
    /// What is wrong with [`argument`](Self::argument), or, where there is one,
    /// with its value.
    #[inline(never)]
    pub fn take(&mut self, argument: &'a [u8]) -> Result<(), Reason> {
        if self.waits {
            self.waits = false;
            return self.value(OPTIONS.place_of(self.argument), argument);
        }
        self.argument = argument;
        self.value = b"";
        if self.plain || argument.first() != Some(&b'-') {
            if let Some(network) = self.network.take() {
                let pair = (network, argument);
                let pushed = self.options.listeners.push(pair);
                return pushed.map_err(|_| Reason::TooMany);
            }
            if NETWORKS.place_of(argument) > 3 {
                return Err(Reason::Network);
            }
            self.network = Some(argument);
            return Ok(());
        }
        let (mut name, mut value) = (argument, None);
        if let Some(at) = argument.iter().position(|&byte| byte == b'=') {
            name = argument.get(..at).unwrap_or_default();
            value = argument.get(at + 1..);
        }
        let option = OPTIONS.place_of(name);
        match (option, value) {
            (..=option::TAG, Some(value)) => {
                self.argument = name;
                return self.value(option, value);
            }
            (..=option::TAG, None) => self.waits = true,
            (option::REPLACE_STALE, None) => self.options.replace_stale = true,
            (option::DASHES, None) => self.plain = true,
            (option::HELP | option::H, _) => return Err(Reason::Help),
            (_, None) if SYSTEMD => {
                let flag = match OPTIONS_FOR_SYSTEMD.place_of(name) {
                    0 => &mut self.options.store,
                    1 => &mut self.options.foreign,
                    2 => &mut self.options.missing_pid,
                    _ => return Err(Reason::Unknown),
                };
                *flag = true;
            }
            _ => return Err(Reason::Unknown),
        }
        Ok(())
    }

    /// `reader.end()` — There are no more arguments.
    ///
    /// # Errors
    ///
    /// What there should be.
    pub fn end(&mut self) -> Result<(), Reason> {
        if self.waits {
            return Err(Reason::Missing);
        }
        if self.network.is_some() {
            return Err(Reason::Unpaired);
        }
        if self.options.listeners.is_empty() {
            self.argument = b"";
            return Err(Reason::NoAddress);
        }
        Ok(())
    }

    fn value(&mut self, option: usize, value: &'a [u8]) -> Result<(), Reason> {
        self.value = value;
        if let (Some(place), Some(&(least, most, _))) =
            (self.options.numbers.get_mut(option), NUMBERS.get(option))
        {
            let number = decimal(value).ok_or(Reason::Value)?;
            if number < least.into() || number > most.into() {
                return Err(Reason::Value);
            }
            *place = number as u32;
        } else if FULL && option == option::PID_FILE && !value.is_empty() {
            self.options.pid_file = value;
        // It stands in a line of its own, which it must not end.
        } else if option == option::TAG
            && value.len() <= TAG
            && !value.iter().any(u8::is_ascii_control)
        {
            self.options.tag = value;
        } else {
            return Err(Reason::Value);
        }
        Ok(())
    }
}

#[cfg(all(test, feature = "full"))]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// What was asked for, or what is wrong with which argument and which value.
    type Parsed<'a> = Result<Options<'a>, (Reason, &'a [u8], &'a [u8])>;

    fn parse<'a>(arguments: impl IntoIterator<Item = &'a [u8]>) -> Parsed<'a> {
        let mut reader = Reader::new(b"built");
        arguments
            .into_iter()
            .try_for_each(|argument| reader.take(argument))
            .and_then(|()| reader.end())
            .map_err(|reason| (reason, reader.argument, reader.value))?;
        Ok(reader.options)
    }

    fn parse_line(line: &str) -> Parsed<'_> {
        parse(
            line.split(' ')
                .filter(|word| !word.is_empty())
                .map(str::as_bytes),
        )
    }

    /// All of [`Number`], in their order.
    fn numbers(options: &Options<'_>) -> [u32; 6] {
        use Number::*;
        [
            MaxConnections,
            Drain,
            ReadyTimeout,
            Probation,
            StartDelay,
            FailStart,
        ]
        .map(|which| options.number(which))
    }

    #[test]
    fn defaults_are_those_of_the_usage_text() {
        let options = parse_line("tcp 127.0.0.1:0").unwrap();
        assert_eq!((options.tag, options.pid_file), (&b"built"[..], &b""[..]));
        assert_eq!(numbers(&options), [256, 30_000, 10_000, 0, 0, READY]);
        assert!(!options.replace_stale);
        assert_eq!(
            options.listeners.as_slice(),
            [(&b"tcp"[..], &b"127.0.0.1:0"[..])]
        );
    }

    #[test]
    fn options_and_addresses_may_be_mixed() {
        let line = "--tag two tcp :80 --drain=0 unix @x --max-connections 1024 --replace-stale \
                    --pid-file=/run/x=y --probation 5 --ready-timeout=4294967295 --fail-start 0 \
                    --start-delay 7 --probation 6";
        let options = parse_line(line).unwrap();
        assert_eq!(
            (options.tag, options.pid_file),
            (&b"two"[..], &b"/run/x=y"[..])
        );
        assert_eq!(numbers(&options), [1024, 0, u32::MAX, 6, 7, 0]);
        assert!(options.replace_stale);
        let addresses: Vec<_> = options.listeners.iter().map(|pair| pair.1).collect();
        assert_eq!(addresses, [&b":80"[..], b"@x"]);
    }

    /// Each number from its least to its most, and not beyond.
    #[test]
    fn numbers_have_their_ranges() {
        for (name, &(least, most, _)) in OPTIONS.words().zip(NUMBERS) {
            let name = std::str::from_utf8(name).unwrap();
            let (least, most) = (i64::from(least), i64::from(most));
            for (number, fits) in [
                (least - 1, false),
                (least, true),
                (most, true),
                (most + 1, false),
            ] {
                let parsed = parse_line(&std::format!("{name}={number} tcp :80")).is_ok();
                assert_eq!(parsed, fits, "{name} {number}");
            }
        }
    }

    #[test]
    fn builds_for_systemd_have_options_of_their_own() {
        let of = |options: &Options<'_>| [options.store, options.foreign, options.missing_pid];
        for (place, name) in OPTIONS_FOR_SYSTEMD.words().enumerate() {
            let parsed = parse([name, b"tcp", b":80"]).map(|options| of(&options));
            let expected = [0, 1, 2].map(|other| other == place);
            let refused = Err((Reason::Unknown, name, &b""[..]));
            assert_eq!(parsed, if SYSTEMD { Ok(expected) } else { refused });
            let with_value = [name, b"=1"].concat();
            let refused = Err((Reason::Unknown, &*with_value, &b""[..]));
            assert_eq!(parse([&*with_value, b"tcp", b":80"]), refused);
        }
        assert_eq!(of(&parse_line("tcp :80").unwrap()), [false; 3]);
    }

    #[test]
    fn after_two_dashes_there_are_no_options() {
        let options = parse_line("-- unix --tag").unwrap();
        assert_eq!(
            options.listeners.as_slice(),
            [(&b"unix"[..], &b"--tag"[..])]
        );
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let long = [b'x'; TAG + 1];
        assert_eq!(
            parse([&b"--tag"[..], &long, b"tcp", b":0"]),
            Err((Reason::Value, &b"--tag"[..], &long[..]))
        );
        assert!(parse([&b"--tag"[..], &long[1..], b"tcp", b":0"]).is_ok());
        assert_eq!(
            parse([&b"--tag"[..], b"a\nb", b"tcp", b":0"]),
            Err((Reason::Value, &b"--tag"[..], &b"a\nb"[..]))
        );
        for (line, reason, argument, value) in [
            ("", Reason::NoAddress, "", ""),
            ("--", Reason::NoAddress, "", ""),
            ("-h", Reason::Help, "-h", ""),
            ("tcp :80 --help", Reason::Help, "--help", ""),
            ("udp :80", Reason::Network, "udp", ""),
            ("tcp :80 unixpacket /x", Reason::Network, "unixpacket", ""),
            ("tcp", Reason::Unpaired, "tcp", ""),
            ("tcp :80 unix", Reason::Unpaired, "unix", ""),
            ("--tag", Reason::Missing, "--tag", ""),
            ("--drain", Reason::Missing, "--drain", ""),
            ("--drain -1 tcp :80", Reason::Value, "--drain", "-1"),
            ("--drain= tcp :80", Reason::Value, "--drain", ""),
            ("--pid-file= tcp :80", Reason::Value, "--pid-file", ""),
            ("--pid-file", Reason::Missing, "--pid-file", ""),
            (
                "--drain 4294967296 tcp :80",
                Reason::Value,
                "--drain",
                "4294967296",
            ),
            (
                "--max-connections 0 tcp :80",
                Reason::Value,
                "--max-connections",
                "0",
            ),
            (
                "--max-connections 1025 tcp :80",
                Reason::Value,
                "--max-connections",
                "1025",
            ),
            (
                "--max-connections 65537 tcp :80",
                Reason::Value,
                "--max-connections",
                "65537",
            ),
            (
                "--replace-stale=1 tcp :80",
                Reason::Unknown,
                "--replace-stale=1",
                "",
            ),
            ("--tags x tcp :80", Reason::Unknown, "--tags", ""),
            ("-x tcp :80", Reason::Unknown, "-x", ""),
            (&"tcp :0 ".repeat(LISTENERS + 1), Reason::TooMany, ":0", ""),
        ] {
            let refusal = (reason, argument.as_bytes(), value.as_bytes());
            assert_eq!(parse_line(line), Err(refusal), "{line}");
        }
        assert_eq!(
            parse_line(&"tcp :0 ".repeat(LISTENERS))
                .unwrap()
                .listeners
                .len(),
            LISTENERS
        );
    }
}
