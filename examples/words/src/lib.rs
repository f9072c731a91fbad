//! Pure. What programs of a few kilobytes say: lines of text in a buffer of fixed size, and errors in
//! words, without the formatter.

#![no_std]

#[cfg(test)]
extern crate std;

pub mod report;
pub mod text;
