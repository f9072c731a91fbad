//! Pure. The command line.

/// What the program says when it does not understand its arguments.
pub const USAGE: &str = "\
usage: gracenet-httpd [--tag TEXT] [--drain MS] [--max-connections N]
                      [--replace-stale] NETWORK ADDRESS [NETWORK ADDRESS]...

  --tag TEXT            what answers carry, to tell builds apart
  --drain MS            the longest wait for open requests (30000)
  --max-connections N   as many at a time, up to 1024 (256)
  --replace-stale       replace a socket file that nobody listens on

NETWORK is tcp, tcp4, tcp6 or unix. SIGUSR2 or SIGHUP replaces the
program with its file's present version; SIGTERM or SIGINT ends it.
";

/// As many addresses are listened on at most.
pub const LISTENERS: usize = 8;

/// As many connections are open at most.
pub const CONNECTIONS: u16 = 1024;

/// The longest tag: it has to fit into an answer.
pub const TAG: usize = 128;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options<'a> {
    /// What answers carry; `None` is what the build carries.
    pub tag: Option<&'a [u8]>,
    /// The longest wait for open requests, in milliseconds.
    pub drain_ms: u32,
    /// As many connections at a time.
    pub max_connections: u16,
    /// Whether a socket file that nobody listens on is replaced.
    pub replace_stale: bool,
    /// Networks and addresses to listen on; at least one.
    pub listeners: heapless::Vec<(&'a [u8], &'a [u8]), LISTENERS>,
}

/// What is wrong with the command line, and with which argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal<'a> {
    /// Help was asked for, which is not wrong.
    Help,
    /// No such option.
    Unknown(&'a [u8]),
    /// The option needs a value, and has none.
    Missing(&'a [u8]),
    /// The option does not take this value.
    Value(&'a [u8], &'a [u8]),
    /// There is nothing to listen on.
    NoAddress,
    /// No such network, or none that carries streams.
    Network(&'a [u8]),
    /// A network stands alone.
    Unpaired(&'a [u8]),
    /// More than [`LISTENERS`].
    TooMany,
}

impl<'a> Refusal<'a> {
    /// The reason, and the arguments it is about, which come before it.
    #[must_use]
    pub fn parts(self) -> [&'a [u8]; 3] {
        match self {
            Refusal::Help => [b"", b"", b""],
            Refusal::Unknown(option) => [option, b"", b": no such option"],
            Refusal::Missing(option) => [option, b"", b": a value is missing"],
            Refusal::Value(option, value) => [option, value, b": not a value it takes"],
            Refusal::NoAddress => [b"", b"", b"nothing to listen on"],
            Refusal::Network(network) => [network, b"", b": no such network"],
            Refusal::Unpaired(network) => [network, b"", b": an address is missing"],
            Refusal::TooMany => [b"", b"", b"more than 8 addresses"],
        }
    }
}

/// `parse(arguments)` — The options in the arguments, the program's name not
/// among them.
///
/// An option's value is the next argument, or follows a `=`. After `--` there
/// are no options.
///
/// # Errors
///
/// The first thing that is not understood.
pub fn parse<'a>(
    arguments: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Options<'a>, Refusal<'a>> {
    let mut options = Options {
        tag: None,
        drain_ms: 30_000,
        max_connections: 256,
        replace_stale: false,
        listeners: heapless::Vec::new(),
    };
    let mut arguments = arguments.into_iter();
    let mut network = None;
    let mut plain = false;
    while let Some(argument) = arguments.next() {
        if plain || !argument.starts_with(b"-") {
            match network.take() {
                None if NETWORKS.iter().any(|known| known.as_bytes() == argument) => {
                    network = Some(argument);
                }
                None => return Err(Refusal::Network(argument)),
                Some(network) => options
                    .listeners
                    .push((network, argument))
                    .map_err(|_| Refusal::TooMany)?,
            }
            continue;
        }
        let (option, attached) = split(argument);
        let mut value = || {
            attached
                .or_else(|| arguments.next())
                .ok_or(Refusal::Missing(option))
        };
        let known = OPTIONS.iter().position(|known| known.as_bytes() == option);
        match known.unwrap_or(OPTIONS.len()) {
            0 => {
                let text = value()?;
                // It stands in a line of its own, which it must not end.
                if text.len() > TAG || text.iter().any(|&byte| byte < b' ' || byte == 0x7f) {
                    return Err(Refusal::Value(option, text));
                }
                options.tag = Some(text);
            }
            1 => {
                let text = value()?;
                options.drain_ms = number(text).ok_or(Refusal::Value(option, text))?;
            }
            2 => {
                let text = value()?;
                options.max_connections = number(text)
                    .and_then(|number| u16::try_from(number).ok())
                    .filter(|number| (1..=CONNECTIONS).contains(number))
                    .ok_or(Refusal::Value(option, text))?;
            }
            3 if attached.is_none() => options.replace_stale = true,
            4 | 5 => return Err(Refusal::Help),
            6 if attached.is_none() => plain = true,
            _ => return Err(Refusal::Unknown(argument)),
        }
    }
    if let Some(network) = network {
        return Err(Refusal::Unpaired(network));
    }
    if options.listeners.is_empty() {
        return Err(Refusal::NoAddress);
    }
    Ok(options)
}

/// In the order in which [`parse`] counts them: comparing slices in a loop takes
/// a tenth of the code that matching on them does.
const OPTIONS: [&str; 7] = [
    "--tag",
    "--drain",
    "--max-connections",
    "--replace-stale",
    "--help",
    "-h",
    "--",
];

/// Those that carry streams, which HTTP needs.
const NETWORKS: [&str; 4] = ["tcp", "tcp4", "tcp6", "unix"];

/// `--option=value` in its parts.
fn split(argument: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut parts = argument.splitn(2, |&byte| byte == b'=');
    (parts.next().unwrap_or_default(), parts.next())
}

/// Decimal digits and nothing else.
fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u32, |number, &byte| match byte {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u32::from(byte - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn parse_line(line: &str) -> Result<Options<'_>, Refusal<'_>> {
        parse(
            line.split(' ')
                .filter(|word| !word.is_empty())
                .map(str::as_bytes),
        )
    }

    #[test]
    fn defaults_are_those_of_the_usage_text() {
        let options = parse_line("tcp 127.0.0.1:0").unwrap();
        assert_eq!((options.tag, options.drain_ms), (None, 30_000));
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
        assert_eq!((options.tag, options.drain_ms), (Some(&b"two"[..]), 0));
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
        assert!(matches!(
            parse([&b"--tag"[..], &long, b"tcp", b":0"]),
            Err(Refusal::Value(b"--tag", _))
        ));
        assert!(parse([&b"--tag"[..], &long[1..], b"tcp", b":0"]).is_ok());
        assert_eq!(
            parse([&b"--tag"[..], b"a\nb", b"tcp", b":0"]),
            Err(Refusal::Value(b"--tag", b"a\nb"))
        );
        for (line, refusal) in [
            ("", Refusal::NoAddress),
            ("--", Refusal::NoAddress),
            ("-h", Refusal::Help),
            ("tcp :80 --help", Refusal::Help),
            ("udp :80", Refusal::Network(b"udp")),
            ("tcp :80 unixpacket /x", Refusal::Network(b"unixpacket")),
            ("tcp", Refusal::Unpaired(b"tcp")),
            ("tcp :80 unix", Refusal::Unpaired(b"unix")),
            ("--tag", Refusal::Missing(b"--tag")),
            ("--drain", Refusal::Missing(b"--drain")),
            ("--drain -1 tcp :80", Refusal::Value(b"--drain", b"-1")),
            ("--drain= tcp :80", Refusal::Value(b"--drain", b"")),
            (
                "--drain 4294967296 tcp :80",
                Refusal::Value(b"--drain", b"4294967296"),
            ),
            (
                "--max-connections 0 tcp :80",
                Refusal::Value(b"--max-connections", b"0"),
            ),
            (
                "--max-connections 1025 tcp :80",
                Refusal::Value(b"--max-connections", b"1025"),
            ),
            (
                "--max-connections 65537 tcp :80",
                Refusal::Value(b"--max-connections", b"65537"),
            ),
            (
                "--replace-stale=1 tcp :80",
                Refusal::Unknown(b"--replace-stale=1"),
            ),
            ("--tags x tcp :80", Refusal::Unknown(b"--tags")),
            ("-x tcp :80", Refusal::Unknown(b"-x")),
            (&"tcp :0 ".repeat(LISTENERS + 1), Refusal::TooMany),
        ] {
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
