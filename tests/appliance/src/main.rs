//! `/init`, the only program of a machine, as that of an appliance is: `gracenet-init` and
//! `gracenet-httpd` in one, which are the programs of `examples` to the letter, but that somebody
//! else begins.
//!
//! ```text
//! init [WORD]...
//! init httpd [MODULE.ko]... ADDRESS/LENGTH [WORD]...
//! ```
//!
//! The first is `gracenet-init` with these words, the second `gracenet-httpd` once the machine has a
//! network; see `wire.rs`.
#![no_std]
#![no_main]
#![allow(unsafe_code)] // What the kernel left on the stack, and system calls.

mod wire;

use core::ffi::CStr;

use gracenet_start::Args;

gracenet_start::main!(run);

fn run(start: Args) -> i32 {
    let is_httpd = word(start, 1).is_some_and(|word| word == c"httpd");
    if !is_httpd {
        return gracenet_appliance_init::begin(start);
    }
    match wire::up(|index| word(start, index + 2)) {
        // The last of these words is what stands where programs have their names.
        Ok(words) => gracenet_appliance_httpd::begin(Args {
            argc: start.argc - words - 1,
            argv: start.argv.wrapping_add(words as usize + 1),
            ..start
        }),
        Err(status) => status,
    }
}

/// An argument, the first of which is the program's name.
fn word(start: Args, index: usize) -> Option<&'static CStr> {
    if index >= start.argc as usize {
        return None;
    }
    // SAFETY: so many lie before the null pointer, and stay.
    let word = unsafe { start.argv.wrapping_add(index).read() };
    // SAFETY: C strings, which nobody changes.
    Some(unsafe { CStr::from_ptr(word) })
}
