//! `legatee PID_FILE`: a successor that is left something besides its sockets: state, and a pid file
//! to take over.
//!
//! It inherits, claims the socket named `report` and the fd named `state`, and says at the first,
//! one message each:
//!
//! - `up <generation> <pid> <state>` once it runs: `none`, the bytes of a capsule of version 1, or
//!   why there are none; after that it is told what to do by messages:
//! - `ready`: says so to its predecessor, writes its pid file, answers `ok`
//! - `next <version> <state>`: starts a successor of itself, to which it leaves a capsule of this
//!   version; when that is ready, says `gone` and ends; else answers with why not
//! - `die <status>`: ends with this status
//! - `end`: removes its pid file, answers `removed` or `kept`, and ends
#![no_std]
#![no_main]
#![allow(unsafe_code)] // What the kernel left on the stack, and the inherited fds.

use core::fmt::{self, Write as _};
use core::mem::MaybeUninit;
use core::str;

use gracenet::{Capsule, CapsuleError, Deadline, Handle, Net, PidFile, Program, Unclaimed};
use rustix::net::{RecvFlags, SendFlags, recv, send};

gracenet_start::main!(run);

/// What this build knows how to read.
const VERSION: u32 = 1;

type Line = heapless::String<256>;

struct Legatee<'p> {
    program: Program<'p>,
    net: Net<8>,
    report: Handle,
    path: &'p [u8],
    pid_file: Option<PidFile<'p>>,
}

fn run(start: gracenet_start::Args) -> i32 {
    // SAFETY: what the kernel left on the stack, which nobody changes.
    let program = unsafe { Program::from_raw(start.argv, start.envp) };
    let Some(path) = program.args().iter().nth(1) else {
        return 1;
    };
    // SAFETY: nothing else has been opened.
    let Ok(mut net) = (unsafe { Net::inherit(program.environ()) }) else {
        return 2;
    };
    let Some(report) = net.claim("report") else {
        return 3;
    };
    let mut legatee = Legatee {
        program,
        net,
        report,
        path: path.to_bytes(),
        pid_file: None,
    };
    let mut line = Line::new();
    let (generation, pid) = (legatee.net.generation(), rustix::process::getpid());
    let _ = write!(line, "up {generation} {pid} ");
    legatee.state(&mut line);
    legatee.say(&line);
    loop {
        let mut buffer = [MaybeUninit::uninit(); 128];
        let Ok(fd) = legatee.net.borrow(legatee.report) else {
            return 4;
        };
        let Ok(((heard, _), _)) = recv(fd, buffer.as_mut_slice(), RecvFlags::empty()) else {
            return 5;
        };
        let mut answer = Line::new();
        let end = legatee.obey(heard, &mut answer);
        if !answer.is_empty() {
            legatee.say(&answer);
        }
        match end {
            Ok(None) => {}
            Ok(Some(status)) => return status,
            Err(fmt::Error) => return 6,
        }
    }
}

impl Legatee<'_> {
    /// What was left to it. The capsule is not for those that come after.
    fn state(&mut self, line: &mut Line) {
        let Some(state) = self.net.claim("state") else {
            let _ = line.push_str("none");
            return;
        };
        let mut buffer = [0; 64];
        match self.read(state, &mut buffer) {
            Ok(bytes) => {
                let _ = line.push_str(str::from_utf8(bytes).unwrap_or("?"));
            }
            Err(error) => {
                let _ = write!(line, "{error}");
            }
        }
        let _ = self.net.close(state);
    }

    fn read<'b>(&self, state: Handle, buffer: &'b mut [u8]) -> Result<&'b [u8], CapsuleError> {
        let capsule = Capsule::open(self.net.borrow(state)?)?.check_version(VERSION)?;
        capsule.read(buffer).map(|bytes| &*bytes)
    }

    /// The exit status, if this was the last thing to do.
    fn obey(&mut self, heard: &[u8], answer: &mut Line) -> Result<Option<i32>, fmt::Error> {
        let heard = str::from_utf8(heard).map_err(|_| fmt::Error)?;
        let mut words = heard.splitn(3, ' ');
        match words.next().unwrap_or("") {
            "" => return Ok(Some(0)),
            "ready" => {
                let written = self
                    .net
                    .ready_with(Unclaimed::Keep)
                    .and_then(|()| PidFile::write(self.path));
                match written {
                    Ok(written) => {
                        self.pid_file = Some(written);
                        answer.write_str("ok")?;
                    }
                    Err(error) => write!(answer, "{error}")?,
                }
            }
            "next" => {
                let version = words.next().and_then(|word| word.parse().ok());
                let (Some(version), Some(state)) = (version, words.next()) else {
                    return Err(fmt::Error);
                };
                let capsule =
                    Capsule::seal(version, &[state.as_bytes()]).map_err(|_| fmt::Error)?;
                let state = self.net.insert("state", capsule).map_err(|_| fmt::Error)?;
                match self.net.start_process(&self.program) {
                    Err(error) => write!(answer, "{error}")?,
                    Ok(successor) => match successor.wait_ready(Deadline::after_ms(20_000)) {
                        Err(failure) => write!(answer, "{failure}")?,
                        Ok(()) => {
                            // It may be the successor's by now, or be so in a moment.
                            if let Some(pid_file) = self.pid_file.take() {
                                pid_file.remove().map_err(|_| fmt::Error)?;
                            }
                            answer.write_str("gone")?;
                            return Ok(Some(0));
                        }
                    },
                }
                self.net.close(state).map_err(|_| fmt::Error)?;
            }
            "die" => {
                let status = words.next().and_then(|word| word.parse().ok());
                return status.map(Some).ok_or(fmt::Error);
            }
            "end" => {
                let removed = self.pid_file.take().map(PidFile::remove);
                answer.write_str(if removed == Some(Ok(true)) {
                    "removed"
                } else {
                    "kept"
                })?;
                return Ok(Some(0));
            }
            _ => answer.write_str("what?")?,
        }
        Ok(None)
    }

    fn say(&self, line: &str) {
        if let Ok(fd) = self.net.borrow(self.report) {
            let _ = send(fd, line.as_bytes(), SendFlags::NOSIGNAL);
        }
    }
}
