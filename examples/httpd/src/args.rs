//! Pure. The command line.

use crate::table::PLACES;
use crate::text::{List, decimal};

/// What the program says when it does not understand its arguments.
pub const USAGE: &str = "\
usage: gracenet-httpd [--tag TEXT] [--drain MS] [--max-connections N]
  [--replace-stale] NETWORK ADDRESS [NETWORK ADDRESS]...
--tag TEXT  what answers carry
--drain MS  longest wait for open requests (30000)
--max-connections N  up to 1024 (256)
--replace-stale  take over a socket file on which nobody listens
NETWORK is tcp, tcp4, tcp6 or unix. USR2, HUP: upgrade. TERM, INT: end.
";

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
    /// The longest wait for open requests, in milliseconds.
    pub drain_ms: u64,
    /// As many connections at a time.
    pub max_connections: usize,
    /// Whether a socket file that nobody listens on is replaced.
    pub replace_stale: bool,
    /// Networks and addresses to listen on; at least one.
    pub listeners: heapless::Vec<(&'a [u8], &'a [u8]), LISTENERS>,
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
            drain_ms: 30_000,
            max_connections: 256,
            replace_stale: false,
            listeners: heapless::Vec::new(),
        }
    }
}

const OPTIONS: List = List::new("--tag,--drain,--max-connections,--replace-stale,--,--help,-h");

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
            (0..=2, Some(value)) => {
                self.argument = name;
                return self.value(option, value);
            }
            (0..=2, None) => self.waits = true,
            (3, None) => self.options.replace_stale = true,
            (4, None) => self.plain = true,
            (5 | 6, _) => return Err(Reason::Help),
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
        let number = decimal(value).unwrap_or(u64::MAX);
        match option {
            // It stands in a line of its own, which it must not end.
            0 if value.len() <= TAG && !value.iter().any(u8::is_ascii_control) => {
                self.options.tag = value;
            }
            1 if number <= u32::MAX.into() => self.options.drain_ms = number,
            2 if (1..=CONNECTIONS as u64).contains(&number) => {
                self.options.max_connections = number as usize;
            }
            _ => return Err(Reason::Value),
        }
        Ok(())
    }
}

#[cfg(test)]
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

    #[test]
    fn defaults_are_those_of_the_usage_text() {
        let options = parse_line("tcp 127.0.0.1:0").unwrap();
        assert_eq!((options.tag, options.drain_ms), (&b"built"[..], 30_000));
        assert_eq!(
            (options.max_connections, options.replace_stale),
            (256, false)
        );
        assert_eq!(
            options.listeners.as_slice(),
            [(&b"tcp"[..], &b"127.0.0.1:0"[..])]
        );
    }

    #[test]
    fn options_and_addresses_may_be_mixed() {
        let line = "--tag two tcp :80 --drain=0 unix @x --max-connections 1024 --replace-stale";
        let options = parse_line(line).unwrap();
        assert_eq!((options.tag, options.drain_ms), (&b"two"[..], 0));
        assert_eq!(
            (options.max_connections, options.replace_stale),
            (1024, true)
        );
        let addresses: Vec<_> = options.listeners.iter().map(|pair| pair.1).collect();
        assert_eq!(addresses, [&b":80"[..], b"@x"]);
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
