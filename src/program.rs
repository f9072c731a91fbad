//! What this process was started as.

use core::ffi::{CStr, c_char};

use linux_raw_sys::general::{SIGCHLD, SIGPIPE};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use crate::activation;
use crate::environ::{Args, Environ};
use crate::error::Error;
use crate::socket::{above, above_stdio};
use crate::sys::{self, Disposition, SigSet};

/// The arguments, the environment, the working directory and the signal mask that a process was
/// started with, from which its successors are started.
///
/// It owns one fd, of the working directory, which is CLOEXEC and refers to no file that can be
/// read (O_PATH). The strings are borrowed.
///
/// Make it once, first thing: before a signal is blocked, before the working directory changes
/// and before [`Net::inherit`](crate::Net::inherit).
#[derive(Debug)]
pub struct Program<'a> {
    pub(crate) args: Args<'a>,
    pub(crate) environ: Environ<'a>,
    pub(crate) directory: Option<OwnedFd>,
    pub(crate) at_start: AtStart,
    /// The kernel cuts an fd table at any number, and not only at some.
    pub(crate) cuts_anywhere: bool,
}

/// What the signals were like at the start, which a successor gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AtStart {
    pub(crate) mask: SigSet,
    /// Which of [`KEPT`] were ignored, a bit for each.
    pub(crate) ignored: u8,
}

/// The signals that programs ignore for themselves, and that stay ignored across an execve.
pub(crate) const KEPT: [u32; 2] = [SIGPIPE, SIGCHLD];

impl AtStart {
    /// The bit of SIGPIPE.
    #[cfg(feature = "std")]
    pub(crate) const PIPE: u8 = 1;

    /// Of now, in this thread.
    fn now() -> AtStart {
        let mask = sys::current_signal_mask();
        let is_ignored = |signal| u8::from(sys::disposition(signal) == Disposition::Ignored);
        let [pipe, child] = KEPT;
        AtStart {
            mask,
            ignored: is_ignored(pipe) | is_ignored(child) << 1,
        }
    }
}

impl<'a> Program<'a> {
    /// `Program::new(args, environ)` — these strings, with the working directory, the signal mask
    /// and the dispositions that this thread has now.
    ///
    /// The program is the first argument. With a slash in it, it is a path, resolved at each
    /// start of a successor against the working directory of now; without, it is looked up in
    /// the `PATH` of `environ`.
    ///
    /// A working directory that cannot be opened (a seccomp filter, a full fd table) is not an
    /// error: a successor then starts in the working directory that this process has at that
    /// time, and its program must be named by an absolute path.
    #[allow(clippy::new_without_default)]
    pub fn new(args: Args<'a>, environ: Environ<'a>) -> Program<'a> {
        Program {
            args,
            environ,
            directory: open_directory(environ),
            at_start: AtStart::now(),
            cuts_anywhere: sys::kernel_is_at_least(6, 11),
        }
    }

    /// `Program::from_raw(argv, envp)` — as [`Program::new`], from what the kernel left on the
    /// stack, or `main` got.
    ///
    /// # Safety
    ///
    /// 1. `argv` and `envp` point to arrays of pointers to C strings that end in a null pointer.
    /// 2. For `'a` neither the arrays nor the strings change: nobody calls setenv(3).
    #[allow(unsafe_code)] // Passes its duties on.
    pub unsafe fn from_raw(argv: *const *const c_char, envp: *const *const c_char) -> Program<'a> {
        // SAFETY: 1. and 2. are the caller's duties.
        let args = unsafe { Args::from_raw(argv) };
        // SAFETY: 1. and 2. are the caller's duties.
        let environ = unsafe { Environ::from_raw(envp) };
        Program::new(args, environ)
    }

    /// The arguments, the program's name first.
    pub const fn args(&self) -> Args<'a> {
        self.args
    }

    /// The environment of the start.
    pub const fn environ(&self) -> Environ<'a> {
        self.environ
    }

    /// `program.image()` — this very program as an fd that can be executed, whatever its path names by
    /// now: for [`Changes::rollback`](crate::Changes::rollback).
    ///
    /// The fd is the caller's, CLOEXEC, and good for nothing else (O_PATH). Where /proc is not mounted
    /// it is what the path of the start names, which is to be asked for at the start, then.
    ///
    /// # Errors
    ///
    /// - `open`: neither is there, or no fd is free.
    pub fn image(&self) -> Result<OwnedFd, Error> {
        let opened = match sys::open_path(b"/proc/self/exe\0") {
            Err(error) if error.is(Errno::NOENT) || error.is(Errno::ACCESS) => {
                let path = self
                    .path()
                    .map_or(b"\0".as_slice(), CStr::to_bytes_with_nul);
                sys::open_path(path)
            }
            opened => opened,
        };
        above_stdio(opened?)
    }

    /// What is executed to start a successor: the first argument.
    pub fn path(&self) -> Option<&'a CStr> {
        self.args.first().filter(|path| !path.is_empty())
    }
}

/// The working directory, under a number that the environment does not speak of: where sockets
/// or the channel are missing, it would be taken for one of them.
fn open_directory(environ: Environ<'_>) -> Option<OwnedFd> {
    let directory = sys::open_directory(b".\0").ok()?;
    above(directory, activation::first_unspoken_fd(environ)).ok()
}
