//! The assembler, one file a processor.

use core::ffi::c_void;
use core::mem::MaybeUninit;

#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
#[cfg_attr(target_arch = "arm", path = "arm.rs")]
#[cfg_attr(target_arch = "riscv64", path = "riscv64.rs")]
#[cfg_attr(target_arch = "x86", path = "x86.rs")]
#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
mod processor;

pub(super) use processor::*;

/// What a clone's child runs. It never returns: there is nothing to return to.
pub(crate) type Entry = unsafe extern "C" fn(*mut c_void) -> !;

/// An argument of a system call, or none, for which nothing is put into its register.
pub(crate) type Argument = MaybeUninit<usize>;
