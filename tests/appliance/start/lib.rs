//! `gracenet-start`, for programs that are parts of another one: it begins, and calls them.

#![no_std]

pub use gracenet_start::{Args, exit, syscall};

/// `main!(path)` — Names the function with which the program begins, for whoever has it begin.
#[macro_export]
macro_rules! main {
    ($main:path) => {
        /// The whole program, with these arguments and this environment: its exit status.
        pub fn begin(start: $crate::Args) -> i32 {
            let main: fn($crate::Args) -> i32 = $main;
            main(start)
        }
    };
}
