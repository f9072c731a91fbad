//! The parts of `gracenet-init` that touch nothing outside: its command line. The program around
//! them is in `main.rs`.

#![no_std]

#[cfg(test)]
extern crate std;

pub mod args;
