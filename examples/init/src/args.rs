//! Pure. The command line.

use gracenet::supervisor::{Options, Readiness, Restart};
use gracenet_words::text::{List, decimal};
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

/// The options, in the order of the numbers below; those before the sixth have a value.
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
const NO_OPTION: usize = usize::MAX;

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
    restart: Option<Restart>,
    awaited: usize,
    /// The argument that was not understood, if there is one.
    pub argument: &'a [u8],
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
    /// `Reader::new()` — nothing was told yet.
    #[must_use]
    pub fn new() -> Self {
        Reader {
            sockets: Vec::new(),
            options: Options::new(),
            restart: None,
            awaited: NO_OPTION,
            argument: b"",
        }
    }

    /// `reader.take(argument)` — the next argument. Whether the program comes next, or is this one.
    ///
    /// # Errors
    ///
    /// [`Reason`]; [`argument`](Self::argument) is the one that was not understood.
    #[inline(never)]
    pub fn take(&mut self, argument: &'a [u8]) -> Result<Next, Reason> {
        self.argument = argument;
        let awaited = core::mem::replace(&mut self.awaited, NO_OPTION);
        if awaited != NO_OPTION {
            self.set(awaited, argument)?;
            return Ok(Next::Argument);
        }
        match OPTIONS.place_of(argument) {
            END => return Ok(Next::ProgramFollows),
            ON_DEMAND => self.options.on_demand = true,
            GROUP | G => self.options.signal_group = true,
            NO_OPTION if argument.len() > 1 && argument.starts_with(b"-") => {
                return Err(Reason::Unknown);
            }
            NO_OPTION => return Ok(Next::Program),
            option => self.awaited = option,
        }
        Ok(Next::Argument)
    }

    /// `reader.end(program)` — there are no more options; whether there is a program.
    ///
    /// # Errors
    ///
    /// [`Reason`]: something is missing.
    pub fn end(&mut self, program: bool) -> Result<(), Reason> {
        if self.awaited != NO_OPTION {
            return Err(Reason::NoValue);
        }
        self.argument = b"";
        if !program {
            return Err(Reason::NoProgram);
        }
        if self.options.on_demand && self.sockets.is_empty() {
            return Err(Reason::NoSocket);
        }
        self.options.restart = self.restart.unwrap_or(match self.sockets.is_empty() {
            true => Restart::No,
            false => Restart::OnFailure,
        });
        Ok(())
    }

    /// Whether something was said of it.
    #[must_use]
    pub fn says_restart(&self) -> bool {
        self.restart.is_some()
    }

    #[inline(never)]
    fn set(&mut self, option: usize, value: &'a [u8]) -> Result<(), Reason> {
        let place = match option {
            SOCKET => {
                let (name, rest) = split(value, b'=')?;
                let (network, address) = split(rest, b':')?;
                let socket = Socket {
                    name,
                    network,
                    address,
                };
                return self.sockets.push(socket).map_err(|_| Reason::TooMany);
            }
            READY => READINESS.place_of(value),
            RESTART => RESTARTS.place_of(value),
            _ => 0,
        };
        if option == RESTART {
            self.restart = Some(match place {
                0 => Restart::No,
                1 => Restart::OnFailure,
                2 => Restart::Always,
                _ => return Err(Reason::Value),
            });
            return Ok(());
        }
        if option == READY && place < 2 {
            self.options.readiness = match place {
                0 => Readiness::Notify,
                _ => Readiness::Channel,
            };
            return Ok(());
        }
        // Up to some 50 days.
        let ms = decimal(value).filter(|ms| *ms <= u64::from(u32::MAX));
        let ms = ms.ok_or(Reason::Value)?;
        match option {
            READY => self.options.readiness = Readiness::After(ms),
            READY_TIMEOUT => self.options.ready_timeout_ms = ms,
            _ => self.options.grace_ms = ms,
        }
        Ok(())
    }
}

impl Default for Reader<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// What comes behind an argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Another one.
    Argument,
    /// The program.
    ProgramFollows,
    /// It was the program.
    Program,
}

/// What comes before and behind the first such byte.
fn split(text: &[u8], byte: u8) -> Result<(&[u8], &[u8]), Reason> {
    let mut parts = text.splitn(2, |&other| other == byte);
    match (parts.next(), parts.next()) {
        (Some(before), Some(behind)) => Ok((before, behind)),
        _ => Err(Reason::Value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a>(arguments: &[&'a str]) -> Result<(Reader<'a>, usize), Reason> {
        let mut reader = Reader::new();
        let mut program = arguments.len();
        for (index, argument) in arguments.iter().enumerate() {
            match reader.take(argument.as_bytes())? {
                Next::Argument => continue,
                Next::Program => program = index,
                Next::ProgramFollows => program = index + 1,
            }
            break;
        }
        reader.end(program < arguments.len())?;
        Ok((reader, program))
    }

    #[test]
    fn sockets_have_names_networks_and_addresses() {
        let (reader, program) = read(&[
            "--socket",
            "web=tcp::8080",
            "--socket",
            "local=unix:/run/a=b:c",
            "--ready",
            "notify",
            "--grace",
            "5",
            "--",
            "-x",
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
        let (reader, program) = read(&["-g", "--restart", "always", "sh", "--help"]).unwrap();
        assert_eq!(program, 3);
        assert!(reader.options.signal_group);
        assert_eq!(reader.options.restart, Restart::Always);
        assert_eq!(read(&["sh"]).unwrap().0.options.restart, Restart::No);
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for (arguments, reason) in [
            (&[][..], Reason::NoProgram),
            (&["--"], Reason::NoProgram),
            (&["--nonsense", "sh"], Reason::Unknown),
            (&["--grace"], Reason::NoValue),
            (&["--grace", "--", "sh"], Reason::Value),
            (&["--grace", "+5", "sh"], Reason::Value),
            (&["--grace", "4294967296", "sh"], Reason::Value),
            (&["--ready", "soon", "sh"], Reason::Value),
            (&["--socket", "web", "sh"], Reason::Value),
            (&["--socket", "web=tcp", "sh"], Reason::Value),
            (&["--restart", "maybe", "sh"], Reason::Value),
            (&["--on-demand", "sh"], Reason::NoSocket),
            (&["--help"], Reason::Unknown),
            (&["--socket", "--", "sh"], Reason::Value),
        ] {
            assert_eq!(read(arguments).err(), Some(reason), "{arguments:?}");
        }
    }
}
