//! Pure. The command line.

use gracenet::Args;
use gracenet::supervisor::{Options, Readiness, Restart};
use gracenet_words::text::{List, before, decimal};
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

/// The options, in the order of the numbers below; those from the sixth on have no value.
const OPTIONS: List =
    List::new("--socket,--ready,--ready-timeout,--grace,--restart,--on-demand,--group,-g,--");

const SOCKET: usize = 0;
const READY: usize = 1;
const READY_TIMEOUT: usize = 2;
const RESTART: usize = 4;
const ON_DEMAND: usize = 5;
const GROUP: usize = 6;
const G: usize = 7;
const END: usize = 8;

/// What an option can be told in a word: two for [`READY`], and three for [`RESTART`].
const VALUES: List = List::new("notify,channel,no,on-failure,always");

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
        while let Some(argument) = arguments.first() {
            self.argument = argument.to_bytes();
            let option = OPTIONS.place_of(self.argument);
            if option > END {
                if let [b'-', _, ..] = self.argument {
                    return Err(Reason::Unknown);
                }
                break;
            }
            let _option = arguments.take_first();
            if option < ON_DEMAND {
                let value = arguments.take_first().ok_or(Reason::NoValue)?;
                self.argument = value.to_bytes();
            }
            self.set(option)?;
            if option == END {
                break;
            }
        }
        self.argument = b"";
        if arguments.first().is_none() {
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
        let options = &mut self.options;
        match (option, VALUES.place_of(self.argument)) {
            (SOCKET, _) => {
                let socket = Socket::read(self.argument).ok_or(Reason::Value)?;
                return self.sockets.push(socket).map_err(|_| Reason::TooMany);
            }
            (READY, 0) => options.readiness = Readiness::Notify,
            (READY, 1) => options.readiness = Readiness::Channel,
            (RESTART, word) => {
                options.restart = match word {
                    2 => Restart::No,
                    3 => Restart::OnFailure,
                    4 => Restart::Always,
                    _ => return Err(Reason::Value),
                };
                self.knows_restart = true;
            }
            (ON_DEMAND, _) => options.on_demand = true,
            (GROUP | G, _) => options.signal_group = true,
            (END, _) => {}
            _ => {
                let ms = milliseconds(self.argument).ok_or(Reason::Value)?;
                match option {
                    READY => options.readiness = Readiness::After(ms),
                    READY_TIMEOUT => options.ready_timeout_ms = ms,
                    _ => options.grace_ms = ms,
                }
            }
        }
        Ok(())
    }
}

impl<'a> Socket<'a> {
    /// From `NAME=NETWORK:ADDRESS`.
    fn read(text: &'a [u8]) -> Option<Socket<'a>> {
        let name = before(text, b'=');
        let text = text.get(name.len() + 1..)?;
        let network = before(text, b':');
        Some(Socket {
            name,
            network,
            address: text.get(network.len() + 1..)?,
        })
    }
}

/// Up to some 50 days.
fn milliseconds(value: &[u8]) -> Option<u64> {
    decimal(value).filter(|ms| *ms <= u64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use core::ffi::CStr;
    use std::vec::Vec;

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
