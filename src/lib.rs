//! Graceful restarts without a runtime.
#![no_std]

pub mod activation;
pub mod addr;
mod environ;
mod error;
mod fd_plan;
mod matching;
mod net;
mod program;
mod ready;
pub mod signal;
mod slot;
mod socket;
mod spawn;
mod sys;
mod time;

pub use environ::{Args, Environ};
pub use error::{Error, Operation};
pub use net::{Entry, Handle, InheritError, InheritOptions, Net, NetView, Refused, Unclaimed};
pub use program::Program;
pub use ready::{Failure, Predecessor, Successor};
pub use rustix::io::Errno;
pub use slot::Name;
pub use socket::{Kind, ListenError, ListenOptions, NameError};
pub use spawn::StartError;
pub use time::{Deadline, monotonic_ms};
