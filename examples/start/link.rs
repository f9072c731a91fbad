//! What the linker must be told so that a program on `gracenet-start` becomes
//! a small static executable. Part of the program's own build script, so that
//! no other crate, build script or test is linked this way:
//!
//! ```ignore
//! #[path = "../start/link.rs"]
//! mod link;
//!
//! fn main() {
//!     link::bins();
//! }
//! ```

use std::{env, fs, path::Path};

/// For the compiler's driver: no start files, no libraries, a fixed address.
/// A program without libc would have to relocate itself if it had none.
const DRIVER: [&str; 4] = ["-nostartfiles", "-nostdlib", "-static", "-no-pie"];

/// For the linker, GNU's or LLVM's.
const LINKER: [&str; 7] = [
    "--entry=_start",
    "--gc-sections",
    "--build-id=none",
    "--no-eh-frame-hdr",
    // One page fewer: there is no table of addresses to protect.
    "-znorelro",
    // GNU's pads each segment to a page of its own otherwise.
    "-znoseparate-code",
    // Data and stack are never executable.
    "-znoexecstack",
];

/// Unwind tables have no reader here, nor has the compiler's name.
const SCRIPT: &str = "\
SECTIONS
{
  /DISCARD/ : { *(.eh_frame) *(.eh_frame_hdr) *(.comment) }
}
INSERT AFTER .text;
";

/// Prints the arguments for all binaries of the package.
pub(crate) fn bins() {
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    let script = Path::new(&out).join("discard.ld");
    fs::write(&script, SCRIPT).expect("OUT_DIR can be written to");

    // A change here makes the build script anew, which runs it again.
    println!("cargo::rerun-if-changed=build.rs");
    for argument in DRIVER {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
    for argument in LINKER {
        println!("cargo::rustc-link-arg-bins=-Wl,{argument}");
    }
    println!(
        "cargo::rustc-link-arg-bins=-Wl,--script={}",
        script.display()
    );
}
