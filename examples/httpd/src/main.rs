//! x
#![no_std]
#![no_main]
gracenet_start::main!(run);
fn run(a: gracenet_start::Args) -> i32 {
    if a.argc > 5 {
        panic!("x")
    }
    a.argc
}
