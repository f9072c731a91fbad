//! The parts of `gracenet-httpd` that touch nothing outside: HTTP, JSON, the
//! command line, the table of connections. The program around
//! them is in `main.rs`.

#![no_std]

#[cfg(test)]
extern crate std;

/// Whether this build has what not every daemon of a few kilobytes needs: `/status`,
/// `--probation`, `--pid-file`, `--start-delay` and `--fail-start`.
pub const FULL: bool = cfg!(feature = "full");

/// Whether this build talks to systemd, and has `--store`.
pub const SYSTEMD: bool = cfg!(feature = "systemd");

pub mod args;
pub mod http;
pub mod json;
pub mod table;

pub use gracenet_words::text;
