//! The table of sockets.
#![allow(unsafe_code)] // Adopting fds by their numbers.

use core::fmt;
use core::net::SocketAddr;
use core::ops::{Deref, DerefMut};

use heapless::{Vec, VecView};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::fs;
use rustix::io::{self, Errno, FdFlags};
use rustix::net::{self, SocketFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::activation::{
    self, Activation, FIRST_FD, LISTEN_PIDFDID, NAME_MAX, Reader, UNNAMED, VariableError,
};
use crate::addr::{Address, AddressError, AddressErrorKind, Network};
use crate::environ::Environ;
use crate::error::{During, Error, Operation};
use crate::matching::{Rank, Request, Transport};
use crate::program::Program;
use crate::ready::{self, Predecessor, Successor};
use crate::slot::{Name, Slot};
use crate::socket::{self, Identity, Kind, ListenError, ListenOptions, NameError, Readiness};
use crate::spawn::{self, StartError};
use crate::sys;

/// A table of up to `N` sockets, and of other fds, that successors get.
///
/// It owns their fds; all of them are CLOEXEC. There is no lock and no global in it: whoever has
/// threads puts it into a mutex of their choice, and `new` is `const`, so that a `static` works.
/// What it can do is written once for all `N`, on [`NetView`], to which it dereferences.
pub type Net<const N: usize> = Table<Vec<Slot, N>>;

/// A [`Net`] of any capacity: what functions that take one ask for.
pub type NetView = Table<VecView<Slot>>;

/// [`Net`] and [`NetView`].
#[derive(Debug)]
pub struct Table<S: ?Sized> {
    state: State,
    slots: S,
}

/// What does not depend on the capacity.
#[derive(Debug)]
struct State {
    next_id: u32,
    generation: u32,
    predecessor: Option<Predecessor>,
    successor: Option<Successor>,
    ready: bool,
}

/// A socket in a [`Net`], as `listen` returns it. It owns nothing; when the socket is closed it
/// is stale, and never becomes another's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Handle(u32);

/// How sockets are inherited.
#[derive(Clone, Copy, Debug, Default)]
pub struct InheritOptions {
    /// Take them also where no `LISTEN_PID` says for whom they are, as Go's gracenet and some
    /// activators pass them.
    pub accept_missing_pid: bool,
}

/// What happens to inherited sockets that nobody claimed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Unclaimed {
    /// They are closed, so that clients are refused and do not wait for ever.
    #[default]
    Close,
    /// They stay, and the next successor gets them.
    Keep,
}

impl<const N: usize> Net<N> {
    /// `Net::new()` — a table with nothing in it.
    pub const fn new() -> Self {
        const { assert!(N <= i16::MAX as usize, "a process cannot have that many fds to pass") };
        let state = State {
            next_id: 0,
            generation: 0,
            predecessor: None,
            successor: None,
            ready: false,
        };
        Table { state, slots: Vec::new() }
    }

    /// `Net::inherit(environ)` — the sockets that `environ` says were passed to this process, and
    /// the control channel to its predecessor.
    ///
    /// All or nothing: it takes ownership of fds 3 and up, as many as `LISTEN_FDS` says, and of
    /// the channel; each is CLOEXEC from then on. Where `LISTEN_PID` is absent or another
    /// process' there are none, nothing is touched and the table is empty. Any kind of fd is
    /// taken.
    ///
    /// # Errors
    ///
    /// [`InheritError`]. Fds that were said to be passed may have become CLOEXEC; none is owned
    /// and none of them is closed. The channel is closed, so that a predecessor that waits knows.
    ///
    /// # Safety
    ///
    /// 1. Nobody owns the fds that `environ` speaks of: call it once, before others open any.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use gracenet::{Environ, Net};
    ///
    /// let environ = Environ::new(&[]); // in a program: what it was started with
    /// // SAFETY: nothing else has been opened yet.
    /// let mut net: Net<8> = unsafe { Net::inherit(environ) }?;
    /// let web = net.listen("tcp", ":8080")?;
    /// let admin = net.listen("unix", "/run/app/admin.sock")?;
    /// # let _ = (web, admin);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # References
    ///
    /// - [sd_listen_fds(3)](https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html)
    #[doc(alias = "sd_listen_fds")]
    #[doc(alias = "sd_listen_fds_with_names")]
    pub unsafe fn inherit(environ: Environ<'_>) -> Result<Self, InheritError> {
        // SAFETY: 1. is the caller's duty.
        unsafe { Net::inherit_with(environ, InheritOptions::default()) }
    }

    /// `Net::inherit_with(environ, options)` — as [`Net::inherit`].
    ///
    /// # Errors
    ///
    /// As for [`Net::inherit`].
    ///
    /// # Safety
    ///
    /// As for [`Net::inherit`].
    pub unsafe fn inherit_with(
        environ: Environ<'_>,
        options: InheritOptions,
    ) -> Result<Self, InheritError> {
        let mut net = Net::new();
        let view: &mut NetView = &mut net;
        // SAFETY: 1. is the caller's duty.
        unsafe { view.adopt(environ, options)? };
        Ok(net)
    }
}

impl<const N: usize> Default for Net<N> {
    fn default() -> Self {
        Net::new()
    }
}

impl<const N: usize> Deref for Net<N> {
    type Target = NetView;

    fn deref(&self) -> &NetView {
        self
    }
}

impl<const N: usize> DerefMut for Net<N> {
    fn deref_mut(&mut self) -> &mut NetView {
        self
    }
}
