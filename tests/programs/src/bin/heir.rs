//! `heir`: a successor that serves, and knows of its predecessor.
//!
//! It inherits, claims the sockets named `report` and `web` and says on the first, one message
//! each, what `witness` says; after `up <generation> <pid>` it is told what to do by messages:
//!
//! - `listen`: makes `web`, a listener on 127.0.0.1; answers its port
//! - `ready`: says so to its predecessor; `ok`
//! - `gone`: whether its predecessor is, `yes` or `no`; `none` where it never had one
//! - `parent`: what getppid() says
//! - `outlive MILLISECONDS`: waits for the end of its predecessor: `yes`, or `no` when that takes
//!   longer
//! - `serve`: accepts a connection, and tells it the generation; `ok`
//! - `setuid`: becomes root's, which takes a program that is set-user-ID root; `ok`
//! - `next`: starts a successor of itself, and ends when that is ready; else answers with why not
//! - the end of the report socket: ends, with status 0
#![no_std]
#![no_main]
#![allow(unsafe_code)] // What the kernel left on the stack, and the inherited fds.
#![allow(clippy::result_large_err)] // An answer is a line, and there is no allocator to box it.

use core::fmt::{self, Write as _};
use core::mem::MaybeUninit;
use core::str;

use gracenet::{Deadline, Errno, Handle, ListenOptions, Net, Program};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::process::Pid;

gracenet_start::main!(run);

type Line = heapless::String<256>;

fn run(start: gracenet_start::Args) -> i32 {
    // SAFETY: what the kernel left on the stack, which nobody changes.
    let program = unsafe { Program::from_raw(start.argv, start.envp) };
    // SAFETY: nothing else has been opened.
    let Ok(net) = (unsafe { Net::<8>::inherit(program.environ()) }) else {
        return 2;
    };
    let mut heir = Heir {
        program,
        net,
        web: None,
    };
    heir.web = heir.net.claim("web");
    let Some(report) = heir.net.claim("report") else {
        return 3;
    };
    let mut line = Line::new();
    let pid = rustix::process::getpid();
    let _ = write!(line, "up {} {pid}", heir.net.generation());
    loop {
        let Ok(fd) = heir.net.borrow(report) else {
            return 4;
        };
        let _ = send(fd, line.as_bytes(), SendFlags::NOSIGNAL);
        let mut buffer = [MaybeUninit::uninit(); 64];
        let Ok(((heard, _), _)) = recv(fd, buffer.as_mut_slice(), RecvFlags::empty()) else {
            return 5;
        };
        line.clear();
        match &*heard {
            b"" => return 0,
            b"next" if heir.next(&mut line) => return 0,
            b"next" => {}
            order => {
                if let Err(why) = heir.obey(order, &mut line) {
                    line.clear();
                    let _ = write!(line, "{why}");
                }
            }
        }
    }
}

struct Heir<'a> {
    program: Program<'a>,
    net: Net<8>,
    web: Option<Handle>,
}

/// Whatever it is, the test sees it.
type Why = Line;

fn because(why: impl fmt::Display) -> Why {
    let mut line = Line::new();
    let _ = write!(line, "{why}");
    line
}

impl Heir<'_> {
    fn obey(&mut self, order: &[u8], answer: &mut Line) -> Result<(), Why> {
        let mut words = order.split(|byte| *byte == b' ');
        let (order, argument) = (words.next(), words.next());
        let text = match order {
            Some(b"listen") => {
                let options = ListenOptions::new().name("web");
                let made = self.net.listen_with("tcp", "127.0.0.1:0", &options);
                let web = made.map_err(because)?;
                self.web = Some(web);
                let address = self.net.get(web).map(|entry| entry.local_address());
                if let Some(Ok(Some(address))) = address {
                    let _ = write!(answer, "{address}");
                }
                return Ok(());
            }
            Some(b"ready") => {
                self.net.ready().map_err(because)?;
                "ok"
            }
            Some(b"gone") => match self.net.predecessor() {
                None => "none",
                Some(predecessor) => yes_or_no(predecessor.is_gone().map_err(because)?),
            },
            Some(b"parent") => {
                let parent = rustix::process::getppid();
                let _ = write!(answer, "{}", parent.map_or(0, Pid::as_raw_pid));
                return Ok(());
            }
            Some(b"outlive") => {
                let text = str::from_utf8(argument.unwrap_or(b"")).map_err(because)?;
                let deadline = Deadline::after_ms(text.parse().map_err(because)?);
                match self.net.predecessor() {
                    None => "none",
                    Some(predecessor) => yes_or_no(predecessor.wait(deadline).map_err(because)?),
                }
            }
            Some(b"serve") => {
                let web = self.web.ok_or_else(|| because("nothing to serve"))?;
                let connection = self.net.accept(web).map_err(because)?;
                let generation = because(self.net.generation());
                send(&connection, generation.as_bytes(), SendFlags::NOSIGNAL).map_err(because)?;
                "ok"
            }
            Some(b"setuid") => {
                setuid().map_err(because)?;
                "ok"
            }
            _ => "what?",
        };
        let _ = answer.push_str(text);
        Ok(())
    }

    /// Whether there is a next one, that is ready.
    fn next(&mut self, answer: &mut Line) -> bool {
        let outcome = match self.net.start_process(&self.program) {
            Err(error) => write!(answer, "{error}"),
            Ok(successor) => match successor.wait_ready(Deadline::after_ms(20_000)) {
                Ok(()) => return true,
                Err(failure) => write!(answer, "{failure}"),
            },
        };
        let _ = outcome;
        false
    }
}

fn yes_or_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// Of the real user too: whoever started this can no longer kill it.
fn setuid() -> Result<(), Errno> {
    let root = rustix::thread::Uid::ROOT;
    rustix::thread::set_thread_uid(root)
}
