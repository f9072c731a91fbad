//! Pure. The command line.

use gracenet::Args;
use gracenet::supervisor::{Options, Readiness, Restart};
use gracenet_words::text::{List, decimal, split};
use heapless::Vec;

/// How many sockets there can be.
pub const SOCKETS: usize = 16;

/// What is printed when it was not understood.
pub const USAGE: &str = "\
usage: gracenet-init [OPTION]... [--] PROGRAM [ARGUMENT]...
--socket NAME=NETWORK:ADDRESS (web=tcp::8080) --on-demand --group
--ready notify|channel|MS (1000) --ready-timeout MS (10000) --grace MS (10000)
--restart no|on-failure|always (on-failure with --socket, else no)
";

/// The options, in the order of the numbers below; those behind the fifth have no value.
const OPTIONS: List =
    List::new("--socket,--ready,--ready-timeout,--grace,--restart,--on-demand,--group,-g,--");

const SOCKET: usize = 0;
const READY: usize = 1;
const READY_TIMEOUT: usize = 2;
const GRACE: usize = 3;
const RESTART: usize = 4;

const ON_DEMAND: usize = 5;
const GROUP: usize = 6;
const G: usize = 7;
const END: usize = 8;

/// How a program is known to be ready, but for a number.
const READINESS: List = List::new("notify,channel");

/// When it is started again.
const RESTARTS: List = List::new("no,on-failure,always");

/// What is wrong, in the order of [`Reason`].
const REASONS: List = List::new(
    ": no such option,: its value is missing,: not understood,: more than 16 sockets,\
     a program is missing,--on-demand needs a --socket",
);

/// A socket that is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Socket<'a> {
    /// Under which the program finds it.
    pub name: &'a [u8],
    /// `tcp` and the like.
    pub network: &'a [u8],
    /// Where.
    pub address: &'a [u8],
}

/// What it was told.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    /// What to hold.
    pub sockets: Vec<Socket<'a>, SOCKETS>,
    /// How to supervise.
    pub options: Options,
    /// The argument that was not understood, if there is one.
    pub argument: &'a [u8],
    /// Whether it was said when the program is started again, or there is nothing to say.
    knows_restart: bool,
}

/// Why it was not understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// There is no such option.
    Unknown,
    /// Its value is missing.
    NoValue,
    /// Its value is none of those that it can have.
    Value,
    /// There are more sockets than [`SOCKETS`].
    TooMany,
    /// There is no program.
    NoProgram,
    /// It waits for connections, and there is no socket.
    NoSocket,
}

impl Reason {
    /// In words.
    #[must_use]
    pub fn text(self) -> &'static [u8] {
        REASONS.at(self as usize)
    }
}

impl<'a> Reader<'a> {
    /// `Reader::new(is_machine)` — nothing was told yet. The program of a machine is always started
    /// again, unless something else is said.
    #[must_use]
    pub fn new(is_machine: bool) -> Self {
        let mut options = Options::new();
        options.restart = match is_machine {
            true => Restart::Always,
            false => Restart::No,
        };
        Reader {
            sockets: Vec::new(),
            options,
            argument: b"",
            knows_restart: is_machine,
        }
    }

    /// `reader.read(arguments)` — reads them, the program's name first. What is left is the command
    /// that is to be supervised.
    ///
    /// # Errors
    ///
    /// [`Reason`]; [`argument`](Self::argument) is the one that was not understood.
    #[inline(never)]
    pub fn read(&mut self, arguments: &mut Args<'a>) -> Result<(), Reason> {
        let _name = arguments.take_first();
        let mut command = *arguments;
        while let Some(argument) = arguments.take_first() {
            self.argument = argument.to_bytes();
            let option = OPTIONS.place_of(self.argument);
            if option > END {
                if self.argument.len() > 1 && self.argument.starts_with(b"-") {
                    return Err(Reason::Unknown);
                }
                break;
            }
            if option < ON_DEMAND {
                let value = arguments.take_first().ok_or(Reason::NoValue)?;
                self.argument = value.to_bytes();
            }
            self.set(option)?;
            command = *arguments;
            if option == END {
                break;
            }
        }
        *arguments = command;
        self.argument = b"";
        if command.take_first().is_none() {
            return Err(Reason::NoProgram);
        }
        if self.sockets.is_empty() {
            if self.options.on_demand {
                return Err(Reason::NoSocket);
            }
        } else if !self.knows_restart {
            self.options.restart = Restart::OnFailure;
        }
        Ok(())
    }

    /// An option; the argument is its value, if it has one.
    fn set(&mut self, option: usize) -> Result<(), Reason> {
        let value = self.argument;
        match option {
            SOCKET => {
                let socket = Socket::read(value).ok_or(Reason::Value)?;
                return self.sockets.push(socket).map_err(|_| Reason::TooMany);
            }
            READY => match READINESS.place_of(value) {
                0 => self.options.readiness = Readiness::Notify,
                1 => self.options.readiness = Readiness::Channel,
                _ => self.options.readiness = Readiness::After(milliseconds(value)?),
            },
            READY_TIMEOUT => self.options.ready_timeout_ms = milliseconds(value)?,
            GRACE => self.options.grace_ms = milliseconds(value)?,
            RESTART => {
                self.options.restart = match RESTARTS.place_of(value) {
                    0 => Restart::No,
                    1 => Restart::OnFailure,
                    2 => Restart::Always,
                    _ => return Err(Reason::Value),
                };
                self.knows_restart = true;
            }
            ON_DEMAND => self.options.on_demand = true,
            GROUP | G => self.options.signal_group = true,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Socket<'a> {
    /// From `NAME=NETWORK:ADDRESS`.
    fn read(text: &'a [u8]) -> Option<Socket<'a>> {
        let (name, text) = split(text, b'=')?;
        let (network, address) = split(text, b':')?;
        Some(Socket {
            name,
            network,
            address,
        })
    }
}

/// Up to some 50 days.
fn milliseconds(value: &[u8]) -> Result<u64, Reason> {
    match decimal(value) {
        Some(ms) if ms <= u64::from(u32::MAX) => Ok(ms),
        _ => Err(Reason::Value),
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use core::ffi::CStr;

    use super::*;

    /// And at which place the command begins.
    fn read<'a>(arguments: &'a [&'a CStr]) -> Result<(Reader<'a>, usize), Reason> {
        let all: Vec<&CStr> = [c"gracenet-init"]
            .into_iter()
            .chain(arguments.iter().copied())
            .collect();
        let mut reader = Reader::new(false);
        let mut command = Args::new(all.leak());
        reader.read(&mut command)?;
        let place = arguments.len() - command.iter().count();
        Ok((reader, place))
    }

    #[test]
    fn sockets_have_names_networks_and_addresses() {
        let (reader, program) = read(&[
            c"--socket",
            c"web=tcp::8080",
            c"--socket",
            c"local=unix:/run/a=b:c",
            c"--ready",
            c"notify",
            c"--grace",
            c"5",
            c"--",
            c"-x",
        ])
        .unwrap();
        assert_eq!(program, 9);
        let socket = |name, network, address| Socket {
            name,
            network,
            address,
        };
        assert_eq!(
            reader.sockets[..],
            [
                socket(b"web".as_slice(), b"tcp".as_slice(), b":8080".as_slice()),
                socket(b"local", b"unix", b"/run/a=b:c"),
            ]
        );
        assert_eq!(reader.options.readiness, Readiness::Notify);
        assert_eq!(reader.options.grace_ms, 5);
        assert_eq!(reader.options.restart, Restart::OnFailure);
    }

    #[test]
    fn the_first_word_is_the_program_and_the_rest_its_own() {
        let (reader, program) = read(&[c"-g", c"--restart", c"always", c"sh", c"--help"]).unwrap();
        assert_eq!(program, 3);
        assert!(reader.options.signal_group);
        assert_eq!(reader.options.restart, Restart::Always);
        assert_eq!(read(&[c"sh"]).unwrap().0.options.restart, Restart::No);
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for (arguments, reason) in [
            (&[][..], Reason::NoProgram),
            (&[c"--"], Reason::NoProgram),
            (&[c"--nonsense", c"sh"], Reason::Unknown),
            (&[c"--grace"], Reason::NoValue),
            (&[c"--grace", c"--", c"sh"], Reason::Value),
            (&[c"--grace", c"+5", c"sh"], Reason::Value),
            (&[c"--grace", c"4294967296", c"sh"], Reason::Value),
            (&[c"--ready", c"soon", c"sh"], Reason::Value),
            (&[c"--socket", c"web", c"sh"], Reason::Value),
            (&[c"--socket", c"web=tcp", c"sh"], Reason::Value),
            (&[c"--restart", c"maybe", c"sh"], Reason::Value),
            (&[c"--on-demand", c"sh"], Reason::NoSocket),
            (&[c"--help"], Reason::Unknown),
            (&[c"--socket", c"--", c"sh"], Reason::Value),
        ] {
            assert_eq!(read(arguments).err(), Some(reason), "{arguments:?}");
        }
    }
}
