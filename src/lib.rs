//! A server that replaces itself with a newly deployed binary, and drops no connection.
//!
//! The running process starts the new one and hands it its listening sockets, in the form of
//! systemd's socket activation. Both accept until the new one says that it is ready; then the old
//! one stops, lets its open connections end, and exits. If the new one fails, in whatever way,
//! the old one goes on as if nothing had been tried.
//!
//! This needs no runtime: no std, no allocator, no libc. It is for static binaries, for PID 1 of
//! a container or of a machine, for daemons of a few kilobytes. A program that has all of those
//! uses it just as well.
//!
//! # Example
//!
//! ```no_run
//! use gracenet::{Args, Deadline, Environ, Net, Program};
//!
//! # fn wait_for_a_signal() -> bool { false }
//! # fn serve(net: &Net<8>, web: gracenet::Handle, admin: gracenet::Handle) {}
//! # fn main() -> Result<(), Box<dyn core::error::Error>> {
//! // First thing, from what the kernel left on the stack: `Program::from_raw(argv, envp)`.
//! let args = [c"/usr/bin/server"];
//! let environ = [c"TERM=linux"];
//! let program = Program::new(Args::new(&args), Environ::new(&environ));
//! // SAFETY: nothing else has been opened yet, so that 3 and up are nobody's but ours.
//! let mut net: Net<8> = unsafe { Net::inherit(program.environ()) }?;
//!
//! let web = net.listen("tcp", ":8080")?; // inherited, or new
//! let admin = net.listen("unix", "/run/app/admin.sock")?;
//! net.ready()?; // tells the predecessor, if there is one
//!
//! while wait_for_a_signal() {
//!     serve(&net, web, admin);
//!     match net.start_process(&program)?.wait_ready(Deadline::after_ms(10_000)) {
//!         Ok(()) => return Ok(()), // once the open connections have ended
//!         Err(why) => eprintln!("successor failed, serving on: {why}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Waiting blocks. A program with an event loop puts [`Successor::channel`] and
//! [`Successor::pidfd`] into it and asks [`Successor::try_wait`].
//!
//! # Words
//!
//! | word | meaning |
//! | --- | --- |
//! | predecessor, successor | the running version of a program, and the next one |
//! | [`Net`] | the table of sockets |
//! | inherited, claimed | got at the start; taken into use by a [`listen`](NetView::listen) |
//! | activation | the `LISTEN_*` protocol of systemd |
//! | network, address | `"tcp"` and `"127.0.0.1:0"`, as Go's `net.Listen` has them |
//! | ready | "I can serve now" |
//!
//! # What is passed on
//!
//! A successor finds its sockets at 3 and up, in the order of the table, and in its environment
//! what the process was started with, but for these variables, which are written anew:
//!
//! | variable | value |
//! | --- | --- |
//! | `LISTEN_PID` | the successor's pid, as it sees it itself |
//! | `LISTEN_FDS` | how many sockets there are |
//! | `LISTEN_FDNAMES` | their names, separated by colons |
//! | `GRACENET_FD` | the control channel and the successor's pid, separated by a comma |
//! | `WATCHDOG_PID` | the successor's pid, where it was the old one's |
//!
//! The first three are absent when there are no sockets. `LISTEN_PIDFDID` is never passed on.
//!
//! # Linux
//!
//! On x86_64, aarch64, riscv64, arm and x86. 5.10 is the oldest kernel that it has been booted
//! with, and that it is stated to work with. Nothing is needed that is younger than 4.12 (4.15 on
//! riscv64) but what says so; where a younger system call is missing, or a seccomp filter refuses
//! it, the same is done by older ones. That is tested down to those of 4.19, by a filter.
//!
//! # Map
//!
//! | module | what is in it |
//! | --- | --- |
//! | `net` | [`Net`]: listen, inherit, accept, close, start a successor |
//! | [`activation`] | pure: `LISTEN_*` decoded |
//! | [`addr`] | pure: networks and addresses, parsed and written |
//! | `environ`, `program` | [`Environ`], [`Args`]: views of what the kernel left; [`Program`]: what a process was started as |
//! | `changes`, `preflight` | [`Changes`]: what is to be different in a successor; pure. Whether one could be started now |
//! | `matching` | pure: which inherited socket is the one that is asked for |
//! | `socket` | sockets made, bound, and asked what they are |
//! | `fd_plan` | pure: which fd moves where |
//! | `spawn`, `spawn/child` | the start of a successor; what runs between clone and execve |
//! | `ready` | the control channel: [`Successor`], [`Predecessor`] |
//! | [`notify`] | what a service tells systemd, and what it is told |
//! | [`signal`] | signals as something to read |
//! | [`init`] | the duties of pid 1: reaping, signals for process groups, a machine's end |
//! | [`supervisor`] | sockets that outlive the programs that serve them |
//! | `rollback` | [`Guard`]: the way back of a program that took another's place |
//! | `capsule` | [`Capsule`]: state for a successor, in memory that cannot change any more |
//! | `drain` | [`Drain`]: open connections, counted and waited for |
//! | `pid_file` | [`PidFile`]: the pid, for those who look for it in a file |
//! | `with_std` | with the feature `std`: sockets and errors as std has them |
//! | `error`, `slot`, `time` | [`Error`]; one place of the table; [`Deadline`] |
//! | `sys` | the system calls that rustix has not |
#![no_std]

pub mod activation;
pub mod addr;
mod capsule;
mod changes;
mod drain;
mod environ;
mod error;
mod fd_plan;
pub mod init;
mod matching;
mod net;
pub mod notify;
mod pid_file;
mod preflight;
mod program;
mod ready;
mod rollback;
mod seat;
pub mod signal;
mod slot;
mod socket;
mod spawn;
pub mod supervisor;
mod sys;
mod time;
#[cfg(feature = "std")]
mod with_std;

pub use capsule::{Capsule, CapsuleError};
pub use changes::Changes;
pub use drain::{Counted, Drain};
pub use environ::{Args, Environ};
pub use error::{Error, Operation};
pub use net::{Entry, Handle, InheritError, InheritOptions, Net, NetView, Refused, Unclaimed};
pub use pid_file::PidFile;
pub use preflight::Findings;
pub use program::Program;
pub use ready::{Failure, Predecessor, Successor};
pub use rollback::Guard;
pub use rustix::io::Errno;
pub use slot::Name;
pub use socket::{Kind, ListenError, ListenOptions, NameError};
pub use spawn::StartError;
pub use time::{Deadline, monotonic_ms};
#[cfg(feature = "std")]
pub use with_std::KindError;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
