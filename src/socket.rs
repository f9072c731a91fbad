//! Sockets: made, bound, and asked what they are.

use core::fmt;

use linux_raw_sys::general::O_NONBLOCK;
use linux_raw_sys::net;
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

use crate::activation::{FIRST_FD, check_name};
use crate::addr::{AF_INET, AF_INET6, AF_UNIX, Address, AddressError, Network};
use crate::error::{Error, Operation};
use crate::matching::Request;
use crate::sys::{self, FileId};

/// How a socket is made. Nothing in it changes a socket that is inherited, except as said.
///
/// ```
/// use gracenet::ListenOptions;
///
/// let web = ListenOptions::new().name("web").nonblocking(true).backlog(1024);
/// let admin = ListenOptions::new().name("admin").mode(0o660).replace_stale(true);
/// # let _ = (web, admin);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions<'a> {
    pub(crate) backlog: i32,
    pub(crate) reuse_port: bool,
    pub(crate) nonblocking: Option<bool>,
    pub(crate) mode: Option<u32>,
    pub(crate) replace_stale: bool,
    pub(crate) name: Option<&'a [u8]>,
}

impl Default for ListenOptions<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> ListenOptions<'a> {
    /// `ListenOptions::new()` — the largest backlog, blocking, without SO_REUSEPORT, a mode or a
    /// name.
    pub const fn new() -> Self {
        ListenOptions {
            backlog: i32::MAX,
            reuse_port: false,
            nonblocking: None,
            mode: None,
            replace_stale: false,
            name: None,
        }
    }

    /// How many connections may wait to be accepted. The kernel caps it at
    /// `net.core.somaxconn`, and so does the default, which is the largest number.
    #[must_use]
    pub const fn backlog(mut self, backlog: i32) -> Self {
        self.backlog = backlog;
        self
    }

    /// SO_REUSEPORT: several sockets with one address, among which the kernel spreads
    /// connections.
    #[must_use]
    pub const fn reuse_port(mut self, reuse_port: bool) -> Self {
        self.reuse_port = reuse_port;
        self
    }

    /// O_NONBLOCK, also for a socket that is inherited: it is a flag of the socket, which the
    /// predecessor shares. Unless it is given, a new socket blocks and an inherited one stays as
    /// it is.
    #[must_use]
    pub const fn nonblocking(mut self, nonblocking: bool) -> Self {
        self.nonblocking = Some(nonblocking);
        self
    }

    /// The permission bits of a unix socket's path, from before it can be seen. The umask still
    /// takes bits away.
    #[must_use]
    pub const fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Replace the path of a unix socket on which nobody listens any more. A live listener is
    /// kept, and so is anything that is no socket.
    #[must_use]
    pub const fn replace_stale(mut self, replace_stale: bool) -> Self {
        self.replace_stale = replace_stale;
        self
    }

    /// The name under which successors get the socket, in `LISTEN_FDNAMES`: printable ASCII
    /// without `:`, up to 255 bytes. It also chooses among inherited sockets: with port 0 the
    /// one of that name, which so keeps its port.
    #[must_use]
    pub fn name(mut self, name: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.name = Some(name.as_ref());
        self
    }
}

/// Why there is no socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ListenError {
    /// The network or the address cannot be read.
    Address(AddressError),
    /// The name cannot be passed to a successor: at which byte.
    Name(NameError),
    /// The table is full: its capacity.
    Full(u32),
    /// A system call failed.
    Failed(Error),
}

// So that it fits into a register, and a result with it.
const _: () = assert!(size_of::<ListenError>() == 8);

impl From<AddressError> for ListenError {
    fn from(error: AddressError) -> Self {
        ListenError::Address(error)
    }
}

impl From<NameError> for ListenError {
    fn from(error: NameError) -> Self {
        ListenError::Name(error)
    }
}

impl From<Error> for ListenError {
    fn from(error: Error) -> Self {
        ListenError::Failed(error)
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::Address(error) => error.fmt(f),
            ListenError::Name(error) => error.fmt(f),
            ListenError::Full(capacity) => {
                f.write_str("the table is full, capacity ")?;
                fmt::Display::fmt(capacity, f)
            }
            ListenError::Failed(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ListenError {}

/// A name that `LISTEN_FDNAMES` cannot carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NameError {
    at: u32,
}

impl NameError {
    pub(crate) fn check(name: &[u8]) -> Result<(), NameError> {
        check_name(name).map_err(|at| NameError { at: at as u32 })
    }

    /// The first byte that cannot be carried, or the length up to which it can.
    pub const fn at(&self) -> usize {
        self.at as usize
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not a name of up to 255 printable ASCII characters without a colon, at byte ",
        )?;
        fmt::Display::fmt(&self.at, f)
    }
}

impl core::error::Error for NameError {}

/// What an fd is, as the kernel has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Kind {
    /// A socket that listens.
    Listener(Network),
    /// A datagram socket.
    Datagram(Network),
    /// A stream or seqpacket socket that does not listen: connected, or only bound.
    Stream(Network),
    /// Anything else: a file, a pipe, a socket of another family.
    Other,
}

/// Which file or which socket an fd refers to, whatever its number. SO_COOKIE is unique among the
/// sockets of a machine for as long as it runs (Linux 4.12).
#[inline(never)]
pub(crate) fn identity(fd: BorrowedFd<'_>) -> FileId {
    match sys::cookie(fd) {
        Ok(cookie) => FileId::of_socket(cookie),
        // No socket, or not to be asked (O_PATH). One that is closed says so again.
        Err(_) => sys::file(fd),
    }
}

/// Removes the path of an address if it is still `made`. That it is another, or gone, is no error.
#[inline(never)]
pub(crate) fn unlink_own(made: FileId, address: &Address) -> Result<(), Error> {
    let found = sys::file_named(address);
    if found == made {
        return sys::unlink(address);
    }
    match found.known() {
        Err(error) if !error.is(Errno::NOENT) => Err(error),
        _ => Ok(()),
    }
}

/// `fd` under a number from 3 up: 0, 1 and 2 are the standard streams of a successor even where
/// this process has closed its own.
#[inline(never)]
pub(crate) fn above_stdio(fd: OwnedFd) -> Result<OwnedFd, Error> {
    above(fd, FIRST_FD)
}

/// `fd` under a number from this one up.
#[inline(never)]
pub(crate) fn above(fd: OwnedFd, lowest: i32) -> Result<OwnedFd, Error> {
    if fd.as_raw_fd() >= lowest {
        return Ok(fd);
    }
    sys::duplicate(sys::lend(&fd), lowest)
}

/// Interfaces by number instead of by name, and none where the kernel keeps none.
#[inline(never)]
pub(crate) fn resolve_zone(address: &mut Address) -> Result<(), Error> {
    if address.family() == AF_INET6 {
        let mut index = address.scope();
        if let Some(request) = address.interface_request() {
            index = sys::interface_index(request)?;
        }
        address.set_zone(index);
    }
    Ok(())
}

/// Makes, binds and, where that applies, listens; which path it made is written to `made`.
pub(crate) fn make(
    request: &Request<'_>,
    options: &ListenOptions<'_>,
    made: &mut FileId,
) -> Result<OwnedFd, Error> {
    let mut address = *request.address;
    loop {
        let error = match make_at(request.network, &address, options, made) {
            Ok(socket) => return Ok(socket),
            Err(error) => error,
        };
        // No IPv6 on this machine, or it is turned off: what was asked for is all addresses.
        let unavailable = error.is(Errno::AFNOSUPPORT) || error.is(Errno::ADDRNOTAVAIL);
        let may_turn = unavailable && address.family() == AF_INET6;
        if !may_turn || request.network.is_v6_only() || !address.turn_wildcard() {
            return Err(error);
        }
    }
}

fn make_at(
    network: Network,
    address: &Address,
    options: &ListenOptions<'_>,
    made: &mut FileId,
) -> Result<OwnedFd, Error> {
    let mut style = network.socket_type();
    if options.nonblocking == Some(true) {
        style |= O_NONBLOCK;
    }
    let socket = above_stdio(sys::socket(address.family().into(), style)?)?;
    let fd = sys::lend(&socket);
    let place = Place {
        fd,
        network,
        address,
        options,
    };
    place.take(made)?;
    Ok(socket)
}

/// A new socket, and where it is to be bound.
struct Place<'a> {
    fd: BorrowedFd<'a>,
    network: Network,
    address: &'a Address,
    options: &'a ListenOptions<'a>,
}

impl Place<'_> {
    #[inline(never)]
    fn take(&self, made: &mut FileId) -> Result<(), Error> {
        let options = self.options;
        if self.network.is_tcp() {
            sys::turn_on(self.fd, net::SO_REUSEADDR)?;
        }
        if options.reuse_port && !self.network.is_unix() {
            sys::turn_on(self.fd, net::SO_REUSEPORT)?;
        }
        if self.address.family() == AF_INET6 {
            // Said in both cases: the default is the machine's (net.ipv6.bindv6only).
            sys::set_v6only(self.fd, self.network.is_v6_only())?;
        }
        if self.address.c_path().is_none() {
            sys::bind(self.fd, self.address)?;
            return self.listen();
        }
        if let Some(mode) = options.mode {
            // Before bind, which makes the path with the mode of the socket.
            sys::set_mode(self.fd, mode)?;
        }
        // Held until this one listens, as the next could take it for stale before.
        let lock = match options.replace_stale {
            true => lock_directory(self.address).ok(),
            false => None,
        };
        let mut taken = self.take_path(made);
        let in_use = Err(Error::new(Operation::Bind, Errno::ADDRINUSE));
        if taken == in_use && lock.is_some() && self.remove_stale().is_ok() {
            taken = self.take_path(made);
        }
        taken
    }

    fn listen(&self) -> Result<(), Error> {
        if self.network.is_datagram() {
            return Ok(());
        }
        sys::listen(self.fd, self.options.backlog)
    }

    /// bind and listen; when that fails, no path is left.
    #[inline(never)]
    fn take_path(&self, made: &mut FileId) -> Result<(), Error> {
        sys::bind(self.fd, self.address)?;
        *made = sys::file_named(self.address);
        if let Err(error) = made.known() {
            let _ = sys::unlink(self.address);
            return Err(error);
        }
        let listens = self.listen();
        if listens.is_err() {
            let _ = unlink_own(*made, self.address);
        }
        listens
    }

    /// Removes the socket at the path on which nobody listens. A socket that another process has bound
    /// and does not listen on yet cannot be told from one that is stale.
    fn remove_stale(&self) -> Result<(), Error> {
        let found = sys::file_named(self.address);
        // connect says ECONNREFUSED of a regular file as well.
        let mut error = Error::new(Operation::Connect, Errno::NOTSOCK);
        if found.is_socket() {
            let style = self.network.socket_type() | O_NONBLOCK;
            let probe = sys::socket(net::AF_UNIX, style)?;
            let connected = sys::connect(sys::lend(&probe), self.address);
            error = connected.err().unwrap_or(error);
        }
        match error.is(Errno::CONNREFUSED) {
            true => unlink_own(found, self.address),
            false => Err(error),
        }
    }
}

/// How often a lock is asked for, a millisecond apart. Who holds it to replace a path has it for
/// far less than one.
const LOCK_ATTEMPTS: u32 = 100;

/// The directory of a path, locked (flock(2)) as long as this is held, so that of several
/// processes that find the same stale path one replaces it, and none takes the socket of another
/// for stale that has been bound and does not listen yet. None where somebody keeps it, or it cannot
/// be read.
fn lock_directory(address: &Address) -> Result<OwnedFd, Error> {
    let mut folder = *address;
    folder.cut_to_folder();
    let directory = sys::open_to_read(&folder)?;
    let mut attempts = LOCK_ATTEMPTS;
    loop {
        let locked = sys::lock(sys::lend(&directory));
        attempts = attempts.wrapping_sub(1);
        match locked {
            Err(error) if error.is(Errno::AGAIN) && attempts != 0 => {
                let _ = sys::poll([None, None], Some(1_000_000));
            }
            locked => return locked.map(|()| directory),
        }
    }
}

/// The address that `fd` is bound to; `None` where it has none that this crate knows.
pub(crate) fn local_address(fd: BorrowedFd<'_>) -> Result<Option<Address>, Error> {
    let mut address = Address::room();
    match sys::local_address(fd, &mut address) {
        Ok(()) => Ok(Address::decode(address.as_bytes())),
        Err(error) if is_no_address(fd, error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What getsockname says of what is no socket, or one that is bound to nothing.
fn is_no_address(fd: BorrowedFd<'_>, error: Error) -> bool {
    // EBADF is said of an O_PATH fd as well, which is open.
    error.is(Errno::NOTSOCK)
        || error.is(Errno::OPNOTSUPP)
        || (error.is(Errno::BADF) && sys::file(fd).known().is_ok())
}

/// Is `fd` a socket of `network`? Of the kernel's answers as few as decide it: a raw socket of
/// the protocol TCP passes here, and is found out as it does not [listen](readiness). One that cannot
/// say so is none.
#[inline(never)]
pub(crate) fn speaks(fd: BorrowedFd<'_>, network: Network) -> bool {
    if !network.is_unix() {
        let protocol = sys::socket_option(fd, net::SO_PROTOCOL);
        if network.is_tcp() {
            return matches!(protocol, Ok(TCP | MPTCP));
        }
        if protocol != Ok(UDP) {
            return false;
        }
    }
    sys::socket_option(fd, net::SO_TYPE) == Ok(network.socket_type())
}

// A network has the type of its sockets as the kernel has it.
const _: () = {
    assert!(Network::Tcp.socket_type() == net::SOCK_STREAM);
    assert!(Network::Udp.socket_type() == net::SOCK_DGRAM);
    assert!(Network::UnixPacket.socket_type() == net::SOCK_SEQPACKET);
};

const TCP: u32 = net::IPPROTO_TCP as u32;
/// TCP to whoever speaks only that.
const MPTCP: u32 = net::IPPROTO_MPTCP as u32;
const UDP: u32 = net::IPPROTO_UDP as u32;

/// Whether `fd` listens, as far as its network does, or could be made to: a stream that is not
/// connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Readiness {
    Listens,
    CouldListen,
    Never,
}

pub(crate) fn readiness(fd: BorrowedFd<'_>, network: Network) -> Result<Readiness, Error> {
    if network.is_datagram() || sys::socket_option(fd, net::SO_ACCEPTCONN)? != 0 {
        return Ok(Readiness::Listens);
    }
    if sys::socket_option(fd, net::SO_TYPE)? != network.socket_type() {
        return Ok(Readiness::Never);
    }
    match sys::check_peer(fd) {
        Ok(()) => Ok(Readiness::Never),
        Err(error) if error.is(Errno::NOTCONN) => Ok(Readiness::CouldListen),
        Err(error) => Err(error),
    }
}

/// IPV6_V6ONLY, of a socket of any family that is bound to `address`.
pub(crate) fn v6only(fd: BorrowedFd<'_>, address: &Address) -> Result<u32, Error> {
    match address.family() {
        AF_INET6 => sys::v6only(fd),
        _ => Ok(0),
    }
}

/// What `fd` is.
pub(crate) fn kind(fd: BorrowedFd<'_>) -> Result<Kind, Error> {
    let mut address = Address::room();
    match sys::local_address(fd, &mut address) {
        Ok(()) => {}
        Err(error) if is_no_address(fd, error) => return Ok(Kind::Other),
        Err(error) => return Err(error),
    }
    let style = sys::socket_option(fd, net::SO_TYPE)?;
    let [both, four, six] = match (address.family(), style) {
        (AF_UNIX, net::SOCK_STREAM) => [Network::Unix; 3],
        (AF_UNIX, net::SOCK_SEQPACKET) => [Network::UnixPacket; 3],
        (AF_UNIX, net::SOCK_DGRAM) => [Network::UnixGram; 3],
        (AF_INET | AF_INET6, net::SOCK_STREAM) => [Network::Tcp, Network::Tcp4, Network::Tcp6],
        (AF_INET | AF_INET6, net::SOCK_DGRAM) => [Network::Udp, Network::Udp4, Network::Udp6],
        _ => return Ok(Kind::Other),
    };
    let network = match address.family() {
        AF_INET => four,
        _ if v6only(fd, &address)? != 0 => six,
        _ => both,
    };
    Ok(if !speaks(fd, network) {
        Kind::Other
    } else if network.is_datagram() {
        Kind::Datagram(network)
    } else if sys::socket_option(fd, net::SO_ACCEPTCONN)? != 0 {
        Kind::Listener(network)
    } else {
        Kind::Stream(network)
    })
}
