//! Pure. What is to be different in a successor.

use core::ffi::CStr;

use linux_raw_sys::general::CLONE_NEWPID;
use rustix::fd::BorrowedFd;

use crate::activation::split_at_byte;
use crate::environ::{Args, value_of};
use crate::socket::NameError;
use crate::time::Deadline;

/// What a successor gets that its [`Program`](crate::Program) does not say: everything else is as
/// it was at the start.
///
/// It owns nothing; the fds are lent until the successor was started.
///
/// # Examples
///
/// ```
/// use gracenet::{Args, Changes};
///
/// let changes = Changes::new()
///     .path(c"/opt/app/2/server")
///     .args(Args::new(&[c"server", c"--verbose"]))
///     .set(&[c"LEVEL=debug", c"TERM=dumb"])
///     .unset(&["SECRET"]);
/// # let _ = changes;
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)] // What is looked at most lies in front.
pub struct Changes<'a> {
    /// It knows nothing of a channel.
    pub(crate) foreign: bool,
    /// It says that it is ready, and leaves.
    pub(crate) canary: bool,
    /// It leads a process group of its own.
    pub(crate) group: bool,
    /// CLONE_NEWPID, or nothing.
    pub(crate) namespaces: u32,
    pub(crate) path: Option<&'a CStr>,
    pub(crate) executable: Option<BorrowedFd<'a>>,
    pub(crate) stdio: [Option<BorrowedFd<'a>>; 3],
    pub(crate) lent: &'a [(&'a str, BorrowedFd<'a>)],
    pub(crate) set: &'a [&'a CStr],
    pub(crate) unset: &'a [&'a str],
    /// Which generation it is told to be, if not the next one.
    pub(crate) generation: Option<u32>,
    /// What is executed again when the successor in place does not become ready, and by when.
    pub(crate) rollback: Option<(BorrowedFd<'a>, Deadline)>,
    pub(crate) args: Option<Args<'a>>,
}

impl<'a> Changes<'a> {
    /// `Changes::new()` — nothing is different.
    #[inline(never)]
    pub const fn new() -> Changes<'a> {
        Changes {
            path: None,
            executable: None,
            args: None,
            set: &[],
            unset: &[],
            stdio: [None, None, None],
            lent: &[],
            foreign: false,
            canary: false,
            group: false,
            namespaces: 0,
            rollback: None,
            generation: None,
        }
    }

    /// Another program: a path, or a name to be searched in the `PATH` of the start. The
    /// arguments stay.
    #[must_use]
    pub const fn path(mut self, path: &'a CStr) -> Self {
        self.path = Some(path);
        self
    }

    /// What is open as `fd`, whatever its path names by then: what was verified is what runs. It
    /// may be open for nothing but that (O_PATH). A script cannot be started so, as its
    /// interpreter could not open it (ENOENT).
    ///
    /// # Linux
    ///
    /// execveat needs 3.19. Where the security module TOMOYO is on, as in the kernel of Debian 11,
    /// `/dev/fd` must be there (ENOENT).
    #[doc(alias = "execveat")]
    #[doc(alias = "fexecve")]
    #[must_use]
    pub const fn executable(mut self, fd: BorrowedFd<'a>) -> Self {
        self.executable = Some(fd);
        self
    }

    /// Another list of arguments, the program's name first. What is executed is not changed by
    /// it.
    #[must_use]
    pub const fn args(mut self, args: Args<'a>) -> Self {
        self.args = Some(args);
        self
    }

    /// A program that knows systemd's socket activation and nothing of this crate: it gets no
    /// control channel. It is [ready](crate::Successor::declare_ready) when the caller says so,
    /// who may have heard of it by a [`Receiver`](crate::notify::Receiver), or just have waited.
    #[must_use]
    pub const fn foreign(mut self) -> Self {
        self.foreign = true;
        self
    }

    /// A process group of its own, which is the foreground of the terminal that its standard input
    /// is, if it is one and this process may say so.
    ///
    /// Not with [`replace`](crate::NetView::replace), where the process stays in its group.
    #[doc(alias = "setpgid")]
    #[must_use]
    pub const fn group(mut self) -> Self {
        self.group = true;
        self
    }

    /// A pid namespace of its own, in which it is pid 1, also in its `LISTEN_PID`.
    ///
    /// It has the duties of pid 1 there, and with it ends whatever was started in the namespace.
    /// Not with [`replace`](crate::NetView::replace).
    ///
    /// # Linux
    ///
    /// Needs CAP_SYS_ADMIN: `clone: os error 1` (EPERM) without.
    #[doc(alias = "CLONE_NEWPID")]
    #[must_use]
    pub const fn pid_namespace(mut self) -> Self {
        self.namespaces = CLONE_NEWPID;
        self
    }

    /// The way back of a [`replace`](crate::NetView::replace): `image` is executed again, under the same
    /// pid and with the same sockets, if the new program does not say in time that it is
    /// well. See [`Guard`](crate::Guard) for what that can do, and what it cannot.
    ///
    /// `image` is this program as an fd, such as [`Program::image`](crate::Program::image) gives;
    /// it is lent, and passed to the new program. Nothing comes of it elsewhere than with `replace`.
    #[must_use]
    pub const fn rollback(mut self, image: BorrowedFd<'a>, deadline: Deadline) -> Self {
        self.rollback = Some((image, deadline));
        self
    }

    /// Variables, `NAME=value` each, that are added, or replace those of the same name.
    ///
    /// The variables that tell of sockets cannot be set so: they are the table's.
    #[must_use]
    pub const fn set(mut self, variables: &'a [&'a CStr]) -> Self {
        self.set = variables;
        self
    }

    /// Names of variables that are removed, every one of the name.
    #[must_use]
    pub const fn unset(mut self, names: &'a [&'a str]) -> Self {
        self.unset = names;
        self
    }

    /// Fds and their names, for this successor alone: it gets them behind those of the table, and
    /// [`claim`](crate::NetView::claim)s them by their names as it does all others. A
    /// [`Capsule`](crate::Capsule) is what is mostly lent.
    ///
    /// They stay the caller's, who closes them when they have been passed, or have not: the table
    /// is as it was, and no other successor gets them. A start takes room in it for them
    /// ([`StartError::TooLarge`](crate::StartError::TooLarge)), as the successor's own table must
    /// have it, from which they go on to its successors unless it closes them.
    ///
    /// # Errors
    ///
    /// [`NameError`]: a name is not one.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::fd::AsFd as _;
    ///
    /// use gracenet::{Capsule, Changes};
    ///
    /// let state = Capsule::seal(1, &[b"served 1234"])?;
    /// let lent = [("state", state.as_fd())];
    /// let changes = Changes::new().lend(&lent)?;
    /// // net.start_process_with(&program, &changes)?;
    /// # let _ = changes;
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn lend(mut self, fds: &'a [(&'a str, BorrowedFd<'a>)]) -> Result<Self, NameError> {
        for (name, _) in fds {
            NameError::check(name.as_bytes())?;
        }
        self.lent = fds;
        Ok(self)
    }

    /// Another standard input. It does not become CLOEXEC or stop being it in this process.
    #[must_use]
    pub const fn stdin(mut self, fd: BorrowedFd<'a>) -> Self {
        self.stdio[0] = Some(fd);
        self
    }

    /// Another standard output, as [`stdin`](Self::stdin).
    #[must_use]
    pub const fn stdout(mut self, fd: BorrowedFd<'a>) -> Self {
        self.stdio[1] = Some(fd);
        self
    }

    /// Another standard error, as [`stdin`](Self::stdin).
    #[must_use]
    pub const fn stderr(mut self, fd: BorrowedFd<'a>) -> Self {
        self.stdio[2] = Some(fd);
        self
    }

    /// Whether a string of the environment of the start stays.
    pub(crate) fn keeps(&self, string: &[u8]) -> bool {
        let unset = |name: &&str| value_of(string, name.as_bytes()).is_some();
        let replaced = |variable: &&CStr| {
            value_of(string, split_at_byte(variable.to_bytes(), b'=').0).is_some()
        };
        !self.unset.iter().any(unset) && !self.set.iter().any(replaced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Case D8.
    #[test]
    fn variables_are_replaced_and_removed_by_their_whole_names() {
        let changes = Changes::new().set(&[c"A=1=2", c"ODD"]).unset(&["B"]);
        for (string, stays) in [
            ("A=0", false),
            ("AB=0", true),
            ("A", true),
            ("B=", false),
            ("BB=", true),
            ("", true),
            ("=A=0", true),
            ("ODD", true),
            ("ODD=1", false),
        ] {
            assert_eq!(changes.keeps(string.as_bytes()), stays, "{string}");
        }
    }
}
