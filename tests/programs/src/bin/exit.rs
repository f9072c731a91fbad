//! `exit`: ends at once, with status 0. There is hardly a smaller program to start.
#![no_std]
#![no_main]

gracenet_start::main!(run);

fn run(_: gracenet_start::Args) -> i32 {
    0
}
