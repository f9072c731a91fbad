//! The table of sockets.
#![allow(unsafe_code)] // Adopting fds by their numbers.

use core::fmt;
use core::mem;
use core::net::SocketAddr;
use core::ops::{Deref, DerefMut};
use core::ptr;

use heapless::{Vec, VecView};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use rustix::process::Pid;

use crate::activation::{
    self, Activation, FIRST_FD, LISTEN_PIDFDID, NAME_MAX, Reader, UNNAMED, VariableError,
};
use crate::addr::{Address, AddressError, AddressErrorKind, Network};
use crate::changes::Changes;
use crate::environ::Environ;
use crate::error::{Error, Operation};
use crate::init;
use crate::matching::{Rank, Request};
use crate::preflight::{self, Findings};
use crate::program::Program;
use crate::ready::{self, Exit, Predecessor, Successor, Told};
use crate::rollback::Guard;
use crate::seat;
use crate::slot::{Name, Slot};
use crate::socket::{self, Kind, ListenError, ListenOptions, NameError, Readiness, identity};
use crate::spawn::{self, Start, StartError};
use crate::sys::{self, FileId};
use crate::time::Deadline;

/// A table of up to `N` sockets, and of other fds, that successors get.
///
/// It owns their fds, and from the first one on one more, a socket that keeps a low number for
/// what a successor needs; all of them are CLOEXEC. There is no lock and no global in it: whoever
/// has threads puts it into a mutex of their choice, and `new` is `const`, so that a `static` works.
/// What it can do is written once for all `N`, on [`NetView`], to which it dereferences.
#[derive(Debug)]
pub struct Net<const N: usize>(Table<Vec<Slot, N>>);

/// A [`Net`] of any capacity, which all that can be done with one is done on.
#[derive(Debug)]
#[repr(transparent)]
pub struct NetView(Table<VecView<Slot>>);

#[derive(Debug)]
struct Table<S: ?Sized> {
    successor: Option<Successor>,
    state: State,
    slots: S,
}

/// What does not depend on the capacity.
#[derive(Debug)]
struct State {
    next_id: u32,
    /// What this process was told, if it is a successor.
    told: Told,
    predecessor: Option<Predecessor>,
    /// Where a successor's end of the channel lies while it is started, unless the channel to the
    /// predecessor can be there.
    seat: Option<OwnedFd>,
    ready: bool,
    /// What is executed when this program does not become ready, and by when.
    rollback: Option<(OwnedFd, Deadline)>,
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
        const {
            assert!(
                N <= i16::MAX as usize,
                "a process cannot have that many fds to pass"
            )
        };
        let state = State {
            next_id: 0,
            told: Told::new(0, 0),
            predecessor: None,
            seat: None,
            ready: false,
            rollback: None,
        };
        Net(Table {
            successor: None,
            state,
            slots: Vec::new(),
        })
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
        // SAFETY: 1. is the caller's duty.
        unsafe { net.adopt(environ, options)? };
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
        let table: &Table<VecView<Slot>> = &self.0;
        // SAFETY: a `NetView` is laid out as the one field it has.
        unsafe { &*(ptr::from_ref(table) as *const NetView) }
    }
}

impl<const N: usize> DerefMut for Net<N> {
    fn deref_mut(&mut self) -> &mut NetView {
        let table: &mut Table<VecView<Slot>> = &mut self.0;
        // SAFETY: a `NetView` is laid out as the one field it has.
        unsafe { &mut *(ptr::from_mut(table) as *mut NetView) }
    }
}

impl NetView {
    /// `net.listen(network, address)` — the inherited socket that is bound there, or a new one.
    ///
    /// Networks are `tcp`, `tcp4`, `tcp6`, `udp`, `udp4`, `udp6`, `unix`, `unixpacket` and
    /// `unixgram`; addresses have [Go's forms](crate::addr). What is bound is what is written:
    /// `tcp` with `:80` or `[::]:80` is both IPv6 and IPv4 (IPv4 alone on a machine that has no
    /// other), `0.0.0.0:80` is IPv4, `tcp6` is IPv6 only.
    ///
    /// The socket stays in the table; it is CLOEXEC. An inherited one matches by what the kernel
    /// says of it: family, type, protocol, address and IPV6_V6ONLY. Each is claimed once, so that
    /// several of one address (SO_REUSEPORT) are got one by one, in the order they were passed.
    /// Port 0 is always a new socket, unless it is asked for by name.
    ///
    /// # Errors
    ///
    /// [`ListenError`]; the table is as it was.
    /// - `bind: os error 98` (EADDRINUSE): another process has the address, or this one.
    /// - `bind: os error 99` (EADDRNOTAVAIL): no interface has the address, yet.
    /// - `bind: os error 13` (EACCES): a port below 1024, or a directory without permission.
    ///
    /// # Examples
    ///
    /// ```
    /// use gracenet::Net;
    ///
    /// let mut net: Net<8> = Net::new();
    /// let web = net.listen("tcp", "127.0.0.1:0")?;
    /// let local = net.listen("unix", "@gracenet-example")?;
    /// assert_ne!(web, local);
    /// # Ok::<(), gracenet::ListenError>(())
    /// ```
    pub fn listen(
        &mut self,
        network: impl AsRef<[u8]>,
        address: impl AsRef<[u8]>,
    ) -> Result<Handle, ListenError> {
        self.listen_with(network, address, &ListenOptions::new())
    }

    /// `net.listen_with(network, address, options)` — as [`listen`](Self::listen).
    ///
    /// # Errors
    ///
    /// As for [`listen`](Self::listen).
    pub fn listen_with(
        &mut self,
        network: impl AsRef<[u8]>,
        address: impl AsRef<[u8]>,
        options: &ListenOptions<'_>,
    ) -> Result<Handle, ListenError> {
        self.listen_at(network.as_ref(), address.as_ref(), options)
    }

    #[inline(never)] // The parsed address would lie in the frame of the caller.
    fn listen_at(
        &mut self,
        network: &[u8],
        address: &[u8],
        options: &ListenOptions<'_>,
    ) -> Result<Handle, ListenError> {
        let network = Network::parse(network)?;
        let mut parsed = Address::room();
        parsed.read(network, address)?;
        self.obtain(network, &mut parsed, options)
    }

    /// `net.listen_tcp(network, address)` — as [`listen`](Self::listen), with an address that is
    /// parsed already. The network is `tcp`, `tcp4` or `tcp6`.
    ///
    /// # Errors
    ///
    /// As for [`listen`](Self::listen).
    pub fn listen_tcp(
        &mut self,
        network: impl AsRef<[u8]>,
        address: SocketAddr,
    ) -> Result<Handle, ListenError> {
        self.listen_tcp_with(network, address, &ListenOptions::new())
    }

    /// `net.listen_tcp_with(network, address, options)` — as [`listen_tcp`](Self::listen_tcp).
    ///
    /// # Errors
    ///
    /// As for [`listen`](Self::listen).
    pub fn listen_tcp_with(
        &mut self,
        network: impl AsRef<[u8]>,
        address: SocketAddr,
        options: &ListenOptions<'_>,
    ) -> Result<Handle, ListenError> {
        let network = Network::parse(network.as_ref())?;
        if !network.is_tcp() {
            return Err(AddressError::new(AddressErrorKind::UnknownNetwork, 0).into());
        }
        if network.is_v4_only() && address.is_ipv6() || network.is_v6_only() && address.is_ipv4() {
            return Err(AddressError::new(AddressErrorKind::FamilyMismatch, 0).into());
        }
        self.obtain(network, &mut address.into(), options)
    }

    /// `net.listen_unix(network, path)` — as [`listen`](Self::listen). The network is `unix`,
    /// `unixpacket` or `unixgram`; a path that begins with `@` is an abstract name.
    ///
    /// # Errors
    ///
    /// As for [`listen`](Self::listen).
    pub fn listen_unix(
        &mut self,
        network: impl AsRef<[u8]>,
        path: impl AsRef<[u8]>,
    ) -> Result<Handle, ListenError> {
        self.listen_unix_with(network, path, &ListenOptions::new())
    }

    /// `net.listen_unix_with(network, path, options)` — as [`listen_unix`](Self::listen_unix).
    ///
    /// # Errors
    ///
    /// As for [`listen`](Self::listen).
    pub fn listen_unix_with(
        &mut self,
        network: impl AsRef<[u8]>,
        path: impl AsRef<[u8]>,
        options: &ListenOptions<'_>,
    ) -> Result<Handle, ListenError> {
        let network = Network::parse(network.as_ref())?;
        if !network.is_unix() {
            return Err(AddressError::new(AddressErrorKind::UnknownNetwork, 0).into());
        }
        let mut parsed = Address::room();
        parsed.read(network, path.as_ref())?;
        self.obtain(network, &mut parsed, options)
    }

    /// `net.insert(name, fd)` — puts any other fd into the table, for successors to
    /// [`claim`](Self::claim) by its name: a memfd, a pipe, a connected socket, a device.
    ///
    /// The table owns it from then on. It becomes CLOEXEC, and may get a lower number, which a
    /// start of a successor is the cheaper for; so put it into an epoll after this and not
    /// before.
    ///
    /// # Errors
    ///
    /// [`Refused`], which gives the fd back: the table is full, or the name is not one.
    pub fn insert(&mut self, name: impl AsRef<[u8]>, fd: OwnedFd) -> Result<Handle, Refused> {
        let name = name.as_ref();
        let checked = NameError::check(name)
            .map_err(ListenError::from)
            .and_then(|()| self.room());
        if let Err(reason) = checked {
            return Err(Refused { fd, reason });
        }
        match take_in(&fd) {
            Ok((lower, identity)) => {
                let slot = self.push(lower.unwrap_or(fd), identity, name);
                Ok(Handle(slot.map_or(0, |slot| slot.id)))
            }
            Err(error) => Err(Refused {
                fd,
                reason: error.into(),
            }),
        }
    }

    /// `net.claim(name)` — the first inherited fd of that name that nobody has claimed, whatever
    /// it is.
    pub fn claim(&mut self, name: impl AsRef<[u8]>) -> Option<Handle> {
        let name = name.as_ref();
        let slot = self
            .0
            .slots
            .iter_mut()
            .find(|slot| !slot.claimed && slot.name.as_bytes() == name)?;
        slot.claimed = true;
        Some(Handle(slot.id))
    }

    /// `net.accept(handle)` — accepts a connection, which is CLOEXEC and blocks.
    ///
    /// # Errors
    ///
    /// - EAGAIN: no connection waits, and the socket does not block.
    /// - ECONNABORTED, EPROTO and the like: a connection is gone before it was accepted. Go on.
    /// - EMFILE, ENFILE, ENOBUFS, ENOMEM: the connection still waits; so should the caller.
    /// - EBADF: the handle is stale.
    pub fn accept(&self, handle: Handle) -> Result<OwnedFd, Error> {
        self.accept_with(handle, SocketFlags::empty())
    }

    /// `net.accept_with(handle, flags)` — as [`accept`](Self::accept), with SOCK_NONBLOCK if
    /// wanted. SOCK_CLOEXEC is always set.
    ///
    /// # Errors
    ///
    /// As for [`accept`](Self::accept).
    #[doc(alias = "accept4")]
    pub fn accept_with(&self, handle: Handle, flags: SocketFlags) -> Result<OwnedFd, Error> {
        let slot = self.slot(handle, Operation::Accept4)?;
        sys::accept(slot.as_fd(), flags.bits())
    }

    /// `net.borrow(handle)` — lends the fd.
    ///
    /// # Errors
    ///
    /// - EBADF: the handle is stale.
    pub fn borrow(&self, handle: Handle) -> Result<BorrowedFd<'_>, Error> {
        self.slot(handle, Operation::Fcntl).map(Slot::as_fd)
    }

    /// `net.duplicate(handle)` — a second fd of the socket, CLOEXEC and the caller's, for std, tokio or mio. Closing the one leaves the other; O_NONBLOCK is common to both.
    ///
    /// # Errors
    ///
    /// - EMFILE: RLIMIT_NOFILE is reached.
    /// - EBADF: the handle is stale.
    #[doc(alias = "dup")]
    pub fn duplicate(&self, handle: Handle) -> Result<OwnedFd, Error> {
        let slot = self.slot(handle, Operation::Fcntl)?;
        sys::duplicate(slot.as_fd(), FIRST_FD)
    }

    /// `net.get(handle)` — what is known of a socket; `None` when the handle is stale.
    pub fn get(&self, handle: Handle) -> Option<Entry<'_>> {
        self.iter().find(|entry| entry.handle() == handle)
    }

    /// `net.iter()` — every fd in the table, in the order in which successors get them.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> + Clone {
        self.0.slots.iter().map(Entry)
    }

    /// How many fds there are.
    pub fn len(&self) -> usize {
        self.0.slots.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.slots.is_empty()
    }

    /// How many fds there can be.
    pub fn capacity(&self) -> usize {
        self.0.slots.capacity()
    }

    /// `net.close(handle)` — closes a socket and takes it out of the table, so that the next
    /// successor gets the others.
    ///
    /// Copies of it in a successor stay as they are; shutdown(2), which would stop them, is never
    /// called. The path of a unix socket stays. A socket in an epoll is to be taken out of it
    /// first: as long as another process has a copy, the epoll goes on reporting it.
    ///
    /// # Errors
    ///
    /// - EBADF: the handle is stale.
    pub fn close(&mut self, handle: Handle) -> Result<(), Error> {
        self.slot(handle, Operation::Close)?;
        self.0.slots.retain(|slot| slot.id != handle.0);
        Ok(())
    }

    /// `net.take(handle)` — takes an fd out of the table, which is the caller's from then on, and
    /// which no successor gets any more.
    ///
    /// # Errors
    ///
    /// - EBADF: the handle is stale, or the fd was closed behind the table's back.
    pub fn take(&mut self, handle: Handle) -> Result<OwnedFd, Error> {
        let slot = self.slot(handle, Operation::Close)?;
        if !slot.is_intact() {
            return Err(Error::new(Operation::Close, Errno::BADF));
        }
        let fd = slot.raw_fd();
        self.0.slots.retain_mut(|slot| {
            let stays = slot.id != handle.0;
            if !stays {
                slot.give_up();
            }
            stays
        });
        // SAFETY: it is open, and its slot has given it up.
        Ok(unsafe { sys::own(fd) })
    }

    /// Takes the first inherited fd of that name out of the table that nobody has claimed; `None`, too,
    /// if it was closed behind the table's back.
    #[inline(never)]
    pub(crate) fn take_named(&mut self, name: &str) -> Option<OwnedFd> {
        let slots = &mut self.0.slots;
        let mut index = 0;
        let fd = loop {
            let slot = slots.get(index)?;
            if !slot.claimed && slot.name.as_bytes() == name.as_bytes() {
                // SAFETY: it is open, and its slot is forgotten.
                break slot.is_intact().then(|| unsafe { sys::own(slot.raw_fd()) });
            }
            index += 1;
        };
        if index < slots.len() {
            mem::forget(slots.remove(index));
        }
        fd
    }

    /// `net.close_and_unlink(handle)` — as [`close`](Self::close), and removes the path of a unix
    /// socket, if this process has made it and it is still that very one.
    ///
    /// The path of a socket that was inherited is never removed: it belongs to whoever made it.
    ///
    /// # Errors
    ///
    /// - EBADF: the handle is stale.
    /// - `unlink`, `stat`: the path cannot be removed. The socket is closed all the same.
    pub fn close_and_unlink(&mut self, handle: Handle) -> Result<(), Error> {
        let slot = self.slot(handle, Operation::Close)?;
        let mut removed = Ok(());
        if slot.path != FileId::NONE {
            if let Ok(Some(address)) = socket::local_address(slot.as_fd()) {
                removed = socket::unlink_own(slot.path, &address);
            }
        }
        self.close(handle)?;
        removed
    }

    /// `net.generation()` — 0 in a process that something else has started, n in the n-th
    /// successor.
    pub fn generation(&self) -> u32 {
        self.0.state.told.generation
    }

    /// `net.is_canary()` — whether this process only shows that it could serve, and ends when it
    /// says that it is [ready](Self::ready).
    pub fn is_canary(&self) -> bool {
        self.0.state.told.has(Told::CANARY)
    }

    /// `net.was_rolled_back()` — whether this program was [replaced](Self::replace) by one that did not
    /// become ready, and was executed again. See [`Guard`](crate::Guard).
    pub fn was_rolled_back(&self) -> bool {
        self.0.state.told.has(Told::ROLLED_BACK)
    }

    /// `net.predecessor()` — the process that this one takes over from, if there is one.
    pub fn predecessor(&self) -> Option<&Predecessor> {
        self.0.state.predecessor.as_ref()
    }

    /// `net.ready()` — closes the sockets that nobody claimed, and tells the predecessor that
    /// this process can serve.
    ///
    /// The second time, and in a process that is no successor, nothing is told. That the
    /// predecessor has ended is no error: its sockets are here.
    ///
    /// In a [canary](Self::start_canary) it does not return: that it could serve is all that was to
    /// be known, and the process exits with status 0. So accept nothing before.
    ///
    /// # Errors
    ///
    /// - `send`: the predecessor could not be told, and will take this process for one that
    ///   failed.
    pub fn ready(&mut self) -> Result<(), Error> {
        self.ready_with(Unclaimed::Close)
    }

    /// `net.ready_with(unclaimed)` — as [`ready`](Self::ready).
    ///
    /// # Errors
    ///
    /// As for [`ready`](Self::ready).
    pub fn ready_with(&mut self, unclaimed: Unclaimed) -> Result<(), Error> {
        if self.0.state.ready {
            return Ok(());
        }
        if unclaimed == Unclaimed::Close {
            self.0.slots.retain(|slot| slot.claimed);
        }
        if let Some(predecessor) = &self.0.state.predecessor {
            predecessor.tell_ready()?;
            if self.is_canary() {
                sys::exit(0);
            }
        }
        self.0.state.ready = true;
        // Nobody has made a guard of it.
        self.0.state.rollback = None;
        Ok(())
    }

    /// `net.start_process(program)` — starts a successor, which gets every socket of the table.
    ///
    /// It returns when the successor executes its program, which takes the same time whatever
    /// this process has of memory and of open connections, as long as what is passed has low
    /// numbers. So put into the table what belongs there, and make the [`Program`], before there
    /// are connections. A kernel before 6.11 copies the first 4096 fds in any case. The successor gets the sockets from 3
    /// up, the variables of systemd with its own pid in `LISTEN_PID`, one more fd, and what
    /// `program` says: the arguments, the environment, the working directory and the signal mask
    /// of the start. It gets no other fd but 0, 1 and 2.
    ///
    /// Sockets are shared from then on, so that both processes accept until this one
    /// [retires](Self::retire) its own, which it does when the successor is ready.
    ///
    /// # Errors
    ///
    /// [`StartError`]. This process is as it was before, no child is left, and another attempt
    /// may succeed.
    /// - `execve: os error 2` (ENOENT): the program, or its interpreter, is not there.
    /// - `execve: os error 13` (EACCES): it is not executable.
    /// - `execve: os error 8` (ENOEXEC): it is no program. No shell is tried.
    /// - `execve: os error 26` (ETXTBSY): it is being written to.
    /// - `clone: os error 11` (EAGAIN): too many processes.
    /// - `socketpair`, `fcntl`, `clone: os error 24` (EMFILE): three more fds are needed, four
    ///   where 64 and more are open already.
    ///
    /// # Linux
    ///
    /// clone3 with CLONE_CLEAR_SIGHAND needs 5.5, close_range 5.9, a pidfd 5.3. Where one of
    /// them is missing, or refused by a seccomp filter, the same is done by older means.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use gracenet::{Deadline, Net, Program};
    ///
    /// fn upgrade(net: &mut Net<8>, program: &Program<'_>) {
    ///     match net.start_process(program).map(|it| it.wait_ready(Deadline::after_ms(10_000))) {
    ///         Ok(Ok(())) => net.retire(), // and end when the last connection has
    ///         Ok(Err(why)) => eprintln!("successor failed: {why}"),
    ///         Err(why) => eprintln!("successor failed: {why}"),
    ///     }
    /// }
    /// ```
    ///
    /// # References
    ///
    /// - [clone(2)](https://man7.org/linux/man-pages/man2/clone.2.html)
    /// - [close_range(2)](https://man7.org/linux/man-pages/man2/close_range.2.html)
    #[doc(alias = "fork")]
    #[doc(alias = "execve")]
    pub fn start_process(&mut self, program: &Program<'_>) -> Result<&mut Successor, StartError> {
        self.start_process_with(program, const { &Changes::new() })
    }

    /// `net.start_process_with(program, changes)` — as [`start_process`](Self::start_process), but
    /// for what is said to be different.
    ///
    /// # Errors
    ///
    /// As for [`start_process`](Self::start_process).
    #[inline(never)]
    pub fn start_process_with(
        &mut self,
        program: &Program<'_>,
        changes: &Changes<'_>,
    ) -> Result<&mut Successor, StartError> {
        if self.is_being_replaced() {
            return Err(StartError::InProgress);
        }
        let Table {
            successor,
            state,
            slots,
        } = &mut self.0;
        execute(state, slots, Way::Process(successor), program, changes)?;
        successor.as_mut().ok_or(StartError::Vanished)
    }

    /// `net.start_canary(program, changes)` — as [`start_process_with`](Self::start_process_with), but
    /// only to see whether the program could take over: it gets the sockets, becomes ready, and
    /// [exits](Self::ready) without having accepted anything.
    ///
    /// It is [waited for](Successor::wait_ready) as any successor, and that it was ready means
    /// that it has left. Until then nothing else can be started; this process goes on to serve
    /// either way, and may [replace](Self::replace) itself, or start a successor, when it is over.
    /// One that is ready and does not leave within a second is killed, and has failed.
    ///
    /// # Errors
    ///
    /// As for [`start_process`](Self::start_process).
    pub fn start_canary(
        &mut self,
        program: &Program<'_>,
        changes: &Changes<'_>,
    ) -> Result<&mut Successor, StartError> {
        let mut changes = *changes;
        changes.canary = true;
        // One without a channel would serve, and stay.
        changes.foreign = false;
        self.start_process_with(program, &changes)
    }

    /// `net.spawn(program, changes)` — as [`start_process_with`](Self::start_process_with), but the
    /// process is the caller's, and as many can be started as are wanted: by a supervisor, which
    /// keeps its sockets, and whose programs come and go.
    ///
    /// # Errors
    ///
    /// As for [`start_process`](Self::start_process), but for what is in progress.
    pub fn spawn(
        &mut self,
        program: &Program<'_>,
        changes: &Changes<'_>,
    ) -> Result<Successor, StartError> {
        let Table { state, slots, .. } = &mut self.0;
        let mut successor = None;
        execute(state, slots, Way::Process(&mut successor), program, changes)?;
        successor.ok_or(StartError::Vanished)
    }

    /// `net.replace(program, changes)` — executes the program in place of this one: the process
    /// stays, with its pid, its parent and its children, and becomes the successor. It returns
    /// only when that fails, with the reason, and then nothing has changed.
    ///
    /// The successor gets what it would get from [`start_process`](Self::start_process), and is
    /// told by the same means which generation it is; its [`predecessor`](Self::predecessor) is
    /// gone. Nobody accepts until it does, so that clients wait in the queues of the sockets for
    /// as long as it takes to become ready; and when it fails after it has been executed, nobody
    /// is left who could take its place. For the pid 1 of a container or of a machine there is no
    /// other way.
    ///
    /// Signals that this thread blocks stay blocked, and those that wait are kept, so that a
    /// successor that makes [`Signals`](crate::signal::Signals) of the same ones loses none; so do
    /// those that have a handler. Successors of the successor get the mask of the start again. In a
    /// [foreign](Changes::foreign) program all is as at the start, but signals that have a handler
    /// here or wait are blocked, and those that are ignored here still are.
    ///
    /// Every other thread of this process ends. A new thread with fds of its own executes the
    /// program, so that this one's are also gone: record locks of fcntl(2), while flock(2) stays;
    /// signals that wait for it alone (raise(3)), while those for the process stay; and a policy
    /// that is reset for what it makes (SCHED_RESET_ON_FORK). Children that asked for a signal at
    /// their parent's end (PR_SET_PDEATHSIG) get it.
    ///
    /// # Errors
    ///
    /// As for [`start_process`](Self::start_process).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn f(net: &mut gracenet::Net<8>, program: &gracenet::Program<'_>) {
    /// use gracenet::Changes;
    ///
    /// let why = net.replace(program, &Changes::new());
    /// eprintln!("not replaced, serving on: {why}");
    /// # }
    /// ```
    ///
    /// # References
    ///
    /// - [execve(2)](https://man7.org/linux/man-pages/man2/execve.2.html), on threads
    #[doc(alias = "exec")]
    #[doc(alias = "execve")]
    pub fn replace(&mut self, program: &Program<'_>, changes: &Changes<'_>) -> StartError {
        if self.is_being_replaced() {
            return StartError::InProgress;
        }
        let Table { state, slots, .. } = &mut self.0;
        let replaced = execute(state, slots, Way::InPlace, program, changes);
        replaced.err().unwrap_or(StartError::Vanished)
    }

    /// Executes the program in one of these ways.
    pub(crate) fn execute(
        &mut self,
        way: Way<'_>,
        program: &Program<'_>,
        changes: &Changes<'_>,
    ) -> Result<(), StartError> {
        let Table { state, slots, .. } = &mut self.0;
        execute(state, slots, way, program, changes)
    }

    /// `net.guard(program)` — where this program [replaced](Self::replace) another that can be gone back
    /// to ([`Changes::rollback`]): the way back, to be [kept](Guard::keep) until this one is
    /// [ready](Self::ready). Elsewhere one that does nothing.
    ///
    /// Make it right behind [`Net::inherit`], before a signal is blocked and before anything is
    /// claimed: what is in the table now is what the old program gets. The strings of the program
    /// live as long as the process, as those that the kernel left do.
    ///
    /// # Errors
    ///
    /// [`StartError`]: there is no way back, and this program had better go on without.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn f(mut net: gracenet::Net<8>, program: &gracenet::Program<'static>) -> Result<(), Box<dyn core::error::Error>> {
    /// let guard = net.guard(program)?;
    /// let web = net.listen("tcp", ":8080")?; // an error goes back to the old program
    /// let admin = net.listen("unix", "/run/app/admin.sock")?;
    /// net.ready()?;
    /// guard.keep();
    /// # let _ = (web, admin);
    /// # Ok(())
    /// # }
    /// ```
    pub fn guard(&mut self, program: &Program<'static>) -> Result<Guard, StartError> {
        let Table { state, slots, .. } = &mut self.0;
        let mut guard = Guard::NONE;
        if let Some((image, deadline)) = state.rollback.take() {
            let changes = Changes::new().executable(sys::lend(&image));
            let way = Way::Later(&mut guard, deadline);
            execute(state, slots, way, program, &changes)?;
        }
        Ok(guard)
    }

    /// `net.preflight(program, changes)` — whether a successor could be started now, without
    /// starting one: everything that speaks against it, not only the first thing.
    ///
    /// What is found is what a start would say. Besides what is wrong with the table, the limits
    /// and the path, that is:
    /// - `socketpair`, `fcntl`, `clone: os error 24` (EMFILE): too few fds are free in this
    ///   process. So as to know, as many as a start takes are taken and given back.
    /// - `execve: os error 7` (E2BIG): the arguments, the environment and the path are too much
    ///   for the stack of the successor (a quarter of RLIMIT_STACK, but at least 128 KiB and at
    ///   most 6 MiB), to the byte, with the longest pid there can be.
    /// - `execve: os error 8` (ENOEXEC): no script, nor a program of this processor; one of the
    ///   narrower processor that the kernel may be able to execute (i386) is not found.
    /// - `execve: os error 40`, `80`, `5` (ELOOP, ELIBBAD, EIO): scripts whose interpreters are
    ///   scripts, further than the kernel goes; an interpreter that is none, or is cut off.
    ///
    /// Nothing is changed. That nothing was found is no promise: files can be replaced and
    /// limits reached between this and the start, which checks again. Nor is a file that may be
    /// executed and not read looked into. Where binfmt_misc is mounted and has a handler, a file
    /// of no known kind may be its, and is not found; handlers that are nowhere to be seen, as in
    /// a container, are not known of, so that what only they can execute is found.
    ///
    /// # Linux
    ///
    /// That a program is open for writing (ETXTBSY) is found from 6.14 on. Strings are counted as
    /// 5.1 and later do it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn f(net: &mut gracenet::Net<8>, program: &gracenet::Program<'_>) {
    /// use gracenet::Changes;
    ///
    /// for finding in &net.preflight(program, &Changes::new()) {
    ///     eprintln!("could not be replaced: {finding}");
    /// }
    /// # }
    /// ```
    ///
    /// # References
    ///
    /// - [execve(2)](https://man7.org/linux/man-pages/man2/execve.2.html)
    /// - [binfmt_misc](https://docs.kernel.org/admin-guide/binfmt-misc.html)
    pub fn preflight(&mut self, program: &Program<'_>, changes: &Changes<'_>) -> Findings {
        let mut findings = Findings::default();
        if self.is_being_replaced() {
            findings.add(StartError::InProgress);
        }
        let Table { state, slots, .. } = &mut self.0;
        let mut found = |finding| findings.add(finding);
        let channel = preflight::check_fds(state.seat(), changes.foreign, &mut found);
        let mut start = Start::new(program, &program.at_start, changes, slots);
        start.channel = channel.unwrap_or(start.channel);
        start.findings = Some(&mut found);
        let load = spawn::check(&mut start);
        preflight::check(program, changes, load.as_ref(), &mut found);
        findings
    }

    /// `net.successor()` — the process that was last started.
    pub fn successor(&mut self) -> Option<&mut Successor> {
        self.0.successor.as_mut()
    }

    /// `net.reap(ended)` — waits for every child that has ended, and tells of each but the
    /// successor, which learns of its own end. Never blocks.
    ///
    /// For pid 1 and for [subreapers](crate::init::become_subreaper), when SIGCHLD has come. It takes
    /// the status of *any* child of this process, so that nobody else may wait for one.
    ///
    /// # Errors
    ///
    /// - `waitid`: it is refused by a filter.
    pub fn reap(&mut self, mut ended: impl FnMut(Pid, Exit)) -> Result<(), Error> {
        while let Some((pid, exit)) = init::reap()? {
            let successor = self.successor().filter(|successor| successor.pid() == pid);
            if !successor.is_some_and(|successor| successor.note_end(exit)) {
                ended(pid, exit);
            }
        }
        Ok(())
    }

    /// `net.retire()` — closes every socket of the table. The successor has its own copies, in
    /// whose queues waiting connections stay.
    ///
    /// Sockets in an epoll are to be taken out of it first, as for [`close`](Self::close).
    pub fn retire(&mut self) {
        self.0.slots.clear();
    }

    /// Whether a successor is being started, or has taken over and lives.
    pub(crate) fn is_being_replaced(&mut self) -> bool {
        let last = self.0.successor.as_mut();
        last.is_some_and(|last| last.end_of_it().is_none())
    }

    #[inline(never)]
    fn slot(&self, handle: Handle, operation: Operation) -> Result<&Slot, Error> {
        let found = self.0.slots.iter().find(|slot| slot.id == handle.0);
        found.ok_or(Error::new(operation, Errno::BADF))
    }

    fn room(&self) -> Result<(), ListenError> {
        if self.0.slots.is_full() {
            return Err(ListenError::Full(self.capacity() as u32));
        }
        Ok(())
    }

    /// Where [`room`](Self::room) has been found.
    #[inline(never)]
    fn push(&mut self, fd: OwnedFd, identity: FileId, name: &[u8]) -> Option<&mut Slot> {
        let Table { state, slots, .. } = &mut self.0;
        if state.seat().is_none() {
            put(&mut state.seat, seat::take());
        }
        // There is room, and nothing to be dropped.
        mem::forget(slots.push(Slot::new(state.next_id, fd, identity)));
        state.next_id = state.next_id.wrapping_add(1);
        let slot = slots.last_mut()?;
        slot.name.set(name);
        Some(slot)
    }

    /// The inherited socket that is asked for, or a new one.
    fn obtain(
        &mut self,
        network: Network,
        address: &mut Address,
        options: &ListenOptions<'_>,
    ) -> Result<Handle, ListenError> {
        if let Some(name) = options.name {
            NameError::check(name)?;
        }
        socket::resolve_zone(address)?;
        let request = Request {
            network,
            address,
            name: options.name,
        };
        if let Some(handle) = self.claim_match(&request, options)? {
            return Ok(handle);
        }
        self.room()?;
        let mut path = FileId::NONE;
        let fd = socket::make(&request, options, &mut path)?;
        let identity = identity(sys::lend(&fd)).known()?;
        let name = options.name.unwrap_or(UNNAMED.as_bytes());
        let slot = self.push(fd, identity, name);
        let slot = slot.ok_or(ListenError::Full(0))?;
        slot.path = path;
        Ok(Handle(slot.id))
    }

    /// Claims the unclaimed socket that matches best; of equals the first.
    #[inline(never)]
    fn claim_match(
        &mut self,
        request: &Request<'_>,
        options: &ListenOptions<'_>,
    ) -> Result<Option<Handle>, Error> {
        let (mut best, mut found) = (Rank::NONE, None);
        for slot in &mut self.0.slots {
            let rank = rank(slot, request);
            if rank >= best {
                continue;
            }
            let readiness = socket::readiness(slot.as_fd(), request.network)?;
            if readiness == Readiness::Never {
                continue;
            }
            (best, found) = (rank, Some((slot, readiness)));
            if rank == Rank::BEST {
                break;
            }
        }
        let Some((slot, readiness)) = found else {
            return Ok(None);
        };
        if readiness == Readiness::CouldListen {
            sys::listen(slot.as_fd(), options.backlog)?;
        }
        if let Some(nonblocking) = options.nonblocking {
            sys::set_nonblocking(slot.as_fd(), nonblocking)?;
        }
        if let Some(name) = options.name {
            slot.name.set(name);
        }
        slot.claimed = true;
        Ok(Some(Handle(slot.id)))
    }

    /// `net.adopt(environ, options)` — as [`Net::inherit_with`], into a table that is there already: a
    /// static one. What is in it stays, and takes room.
    ///
    /// # Errors
    ///
    /// As for [`Net::inherit`].
    ///
    /// # Safety
    ///
    /// As for [`Net::inherit`].
    #[inline(never)]
    pub unsafe fn adopt(
        &mut self,
        environ: Environ<'_>,
        options: InheritOptions,
    ) -> Result<(), InheritError> {
        // SAFETY: 1. is the caller's duty.
        let adopted = unsafe { self.take_over(environ, options) };
        if adopted.is_err() {
            // The table goes on without it, and must not tell it of being ready.
            let state = &mut self.0.state;
            (state.predecessor, state.rollback) = (None, None);
            state.told = Told::new(0, 0);
        }
        adopted
    }

    /// As [`adopt`](Self::adopt), but for the predecessor and the way back, which may be there after an
    /// error.
    ///
    /// # Safety
    ///
    /// As for [`Net::inherit`].
    unsafe fn take_over(
        &mut self,
        environ: Environ<'_>,
        options: InheritOptions,
    ) -> Result<(), InheritError> {
        let pid = sys::getpid();
        let reader = Reader {
            pid,
            pidfd_inode: match environ.var(LISTEN_PIDFDID) {
                Some(_) => own_pidfd_inode(pid),
                None => None,
            },
            accept_missing_pid: options.accept_missing_pid,
        };
        let activation = Activation::decode(environ, reader);
        let count = match &activation {
            Ok(activation) => activation.count(),
            Err(_) => 0,
        };
        // Where the number is that high, it is an fd that nobody has.
        let end = count.saturating_add(FIRST_FD as u32);
        // The channel lies behind the sockets. It comes first, so that no child of ours can hold
        // it open; one without a greeting was not made by us.
        if let Some(fd) = activation::control_fd(environ, pid) {
            if fd as u32 >= end && set_cloexec(fd).is_ok() {
                // SAFETY: it is open, as F_SETFD has shown.
                if let Some(told) = ready::greeting(unsafe { sys::borrow(fd) }) {
                    // SAFETY: a channel, and no one else's by 1.
                    let channel = unsafe { sys::own(fd) };
                    let state = &mut self.0.state;
                    put(&mut state.predecessor, Some(Predecessor::new(channel)));
                    state.told = told;
                    if let Some(deadline) = told.rollback() {
                        let image = fd.saturating_add(1);
                        if set_cloexec(image).is_ok() {
                            // SAFETY: open, and no one else's by 1.
                            let image = unsafe { sys::own(image) };
                            put(&mut state.rollback, Some((image, deadline)));
                        }
                    }
                }
            }
        }
        let activation = activation?;

        for fd in FIRST_FD as u32..end {
            let fd = fd as RawFd;
            if let Err(error) = set_cloexec(fd) {
                return Err(InheritError::BadFd { fd, error });
            }
        }
        let capacity = (self.capacity() - self.len()) as u32;
        if count > capacity {
            return Err(InheritError::TooMany { count, capacity });
        }
        let names = activation.name_count().map_or(count, |names| names as u32);
        if names != count && count > 0 {
            return Err(InheritError::NameCount { names, count });
        }
        let mut names = activation.names();
        for index in 0..count {
            if names.next().is_some_and(|name| name.len() > NAME_MAX) {
                return Err(InheritError::LongName { index });
            }
        }
        let mut names = activation.names();
        for fd in FIRST_FD as u32..end {
            // SAFETY: open, as F_SETFD has shown, and no one else's by 1.
            let fd = unsafe { sys::own(fd as RawFd) };
            // One that cannot say what it is, is never passed on: it matches nothing.
            let identity = identity(sys::lend(&fd)).known().unwrap_or(FileId::NONE);
            if let Some(slot) = self.push(fd, identity, names.next().unwrap_or_default()) {
                slot.inherited = true;
                slot.claimed = false;
            }
        }
        Ok(())
    }
}

impl State {
    fn seat(&self) -> Option<BorrowedFd<'_>> {
        match &self.predecessor {
            Some(predecessor) => Some(predecessor.as_fd()),
            None => self.seat.as_ref().map(sys::lend),
        }
    }
}

/// Where there is nothing so far, and so nothing to be dropped.
fn put<T>(place: &mut Option<T>, value: Option<T>) {
    mem::forget(mem::replace(place, value));
}

/// How a program is executed.
pub(crate) enum Way<'a> {
    /// As a process of its own, which is put there.
    Process(&'a mut Option<Successor>),
    /// In place of this one.
    InPlace,
    /// In place of this one and at this time, unless the guard is kept.
    Later(&'a mut Guard, Deadline),
}

/// Executes the program with the table and what is lent beside it.
#[inline(never)]
fn execute(
    state: &State,
    slots: &VecView<Slot>,
    mut way: Way<'_>,
    program: &Program<'_>,
    changes: &Changes<'_>,
) -> Result<(), StartError> {
    let in_place = !matches!(way, Way::Process(_));
    let next = state.told.generation.saturating_add(1);
    let at_start = state.told.at_start().unwrap_or(program.at_start);
    let mut flags = 0;
    if changes.canary {
        flags |= Told::CANARY;
    }
    if let Way::Later(..) = way {
        flags |= Told::ROLLED_BACK;
    }
    let mut told = Told::new(changes.generation.unwrap_or(next), flags);
    if in_place {
        told.set_at_start(&at_start);
        if let Some((_, deadline)) = changes.rollback {
            told.set_rollback(deadline);
        }
    }
    let mut start = Start::new(program, &at_start, changes, slots);
    start.in_place(in_place);
    let done = start_with(&mut start, &told, &mut way, state.seat());
    if let (Way::Process(successor), Some(pid)) = (way, start.pid) {
        let (pidfd, channel) = (start.pidfd, start.our_end);
        *successor = Some(Successor::new(pid, pidfd, channel, changes.canary));
    }
    done
}

/// Executes it in this way, with a channel unless it is foreign.
fn start_with(
    start: &mut Start<'_>,
    told: &Told,
    way: &mut Way<'_>,
    seat: Option<BorrowedFd<'_>>,
) -> Result<(), StartError> {
    if !start.changes.foreign {
        let (ours, theirs) = ready::channel(told)?;
        start.channel = theirs.as_raw_fd();
        start.our_end = Some(ours);
        start.their_end = Some(theirs);
    }
    match way {
        Way::Later(guard, deadline) => guard.arm(start, *deadline),
        _ => spawn::start(start, seat),
    }
}

/// How well a socket matches that nobody has claimed.
#[inline(never)]
fn rank(slot: &Slot, request: &Request<'_>) -> Rank {
    let fd = slot.as_fd();
    let mut found = Address::room();
    // Not one that cannot even say where it is bound.
    if slot.claimed || sys::local_address(fd, &mut found).is_err() {
        return Rank::NONE;
    }
    // Nor one of a kind that cannot be asked.
    let Ok(v6only) = socket::v6only(fd, &found) else {
        return Rank::NONE;
    };
    let rank = request.rank(&mut found, v6only != 0, slot.name.as_bytes());
    if rank == Rank::NONE || !socket::speaks(fd, request.network) {
        return Rank::NONE;
    }
    rank
}

/// F_SETFD by number: also tells whether the fd is open.
fn set_cloexec(fd: RawFd) -> Result<(), Error> {
    sys::set_fd_flags(fd, linux_raw_sys::general::FD_CLOEXEC)
}

/// What [`insert`](NetView::insert) does to an fd: a copy of it with a lower number, if there is
/// one or it must have one, and which file it is.
fn take_in(fd: &OwnedFd) -> Result<(Option<OwnedFd>, FileId), Error> {
    let identity = identity(sys::lend(fd)).known()?;
    match sys::duplicate(sys::lend(fd), FIRST_FD) {
        Ok(copy) if fd.as_raw_fd() < FIRST_FD || copy.as_raw_fd() < fd.as_raw_fd() => {
            Ok((Some(copy), identity))
        }
        Err(error) if fd.as_raw_fd() < FIRST_FD => Err(error),
        _ => sys::set_cloexec(sys::lend(fd)).map(|()| (None, identity)),
    }
}

/// The inode of our own pidfd.
fn own_pidfd_inode(pid: u32) -> Option<u64> {
    let pidfd = sys::pidfd_open(pid).ok()?;
    sys::pidfd_inode(sys::lend(&pidfd))
}

/// One fd of a [`Net`], and what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a>(&'a Slot);

impl<'a> Entry<'a> {
    /// By which it is got again.
    pub fn handle(&self) -> Handle {
        Handle(self.0.id)
    }

    /// Under which successors get it: the name it was given, or was passed under.
    pub fn name(&self) -> &'a Name {
        &self.0.name
    }

    /// Whether it was passed to this process, or made by it.
    pub fn is_inherited(&self) -> bool {
        self.0.inherited
    }

    /// Whether it is in use: made by this process, or claimed by a `listen` or by name.
    pub fn is_claimed(&self) -> bool {
        self.0.claimed
    }

    /// What it is, as the kernel has it.
    ///
    /// # Errors
    ///
    /// - EBADF: it was closed behind the table's back.
    pub fn kind(&self) -> Result<Kind, Error> {
        socket::kind(self.as_fd())
    }

    /// Where it is bound, as the kernel has it; `None` where it is no socket, or one of another
    /// family.
    ///
    /// # Errors
    ///
    /// - EBADF: it was closed behind the table's back.
    #[doc(alias = "getsockname")]
    pub fn local_address(&self) -> Result<Option<Address>, Error> {
        socket::local_address(self.as_fd())
    }

    /// The port that it is bound to; `None` where it has none, or was closed behind the table's
    /// back.
    pub fn local_port(&self) -> Option<u16> {
        let mut address = Address::room();
        sys::local_address(self.0.as_fd(), &mut address).ok()?;
        address.port()
    }
}

impl AsFd for Entry<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// An fd that was not put into the table, and why not.
#[derive(Debug)]
pub struct Refused {
    /// As it was given.
    pub fd: OwnedFd,
    /// Why.
    pub reason: ListenError,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl core::error::Error for Refused {}

/// Why sockets were not inherited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum InheritError {
    /// A variable is there and says nothing legible.
    Variable(VariableError),
    /// An fd that was said to be passed is not open.
    BadFd {
        /// Which.
        fd: RawFd,
        /// EBADF.
        error: Error,
    },
    /// More were passed than the table has room for.
    TooMany {
        /// How many were passed.
        count: u32,
        /// How many fit.
        capacity: u32,
    },
    /// `LISTEN_FDNAMES` has another number of names than `LISTEN_FDS` says.
    NameCount {
        /// How many names.
        names: u32,
        /// How many fds.
        count: u32,
    },
    /// The name of this one, counted from 0, has more than 255 bytes.
    LongName {
        /// Which.
        index: u32,
    },
    /// A system call failed.
    Failed(Error),
}

impl From<VariableError> for InheritError {
    fn from(error: VariableError) -> InheritError {
        InheritError::Variable(error)
    }
}

impl fmt::Display for InheritError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InheritError::Variable(error) => error.fmt(f),
            InheritError::BadFd { fd, error } => {
                write!(f, "inherited fd {fd}: os error {}", error.raw_os_error())
            }
            InheritError::TooMany { count, capacity } => {
                write!(f, "{count} sockets were passed, and {capacity} fit")
            }
            InheritError::NameCount { names, count } => {
                write!(f, "LISTEN_FDNAMES has {names} names for {count} sockets")
            }
            InheritError::LongName { index } => {
                write!(f, "LISTEN_FDNAMES: name {index} is longer than 255 bytes")
            }
            InheritError::Failed(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for InheritError {}
