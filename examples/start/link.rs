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

/// For a compiler's driver: no start files, no libraries.
const DRIVER: [&str; 2] = ["-nostartfiles", "-nostdlib"];

/// For both: a fixed address. A program without libc would have to relocate itself
/// if it had none.
const FIXED: [&str; 2] = ["-static", "-no-pie"];

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
    // Another linker than the compiler's driver, as for another processor, is
    // given its arguments as they are.
    let linker = env::var_os("RUSTC_LINKER").unwrap_or_default();
    let is_lld = Path::new(&linker)
        .file_stem()
        .is_some_and(|name| name == "rust-lld");
    let prefix = if is_lld { "" } else { "-Wl," };

    // A change here makes the build script anew, which runs it again.
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    for argument in DRIVER.iter().filter(|_| !is_lld).chain(&FIXED) {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
    for argument in LINKER {
        println!("cargo::rustc-link-arg-bins={prefix}{argument}");
    }
    println!(
        "cargo::rustc-link-arg-bins={prefix}--script={}",
        script.display()
    );
}
