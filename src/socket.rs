//! Sockets: made, bound, and asked what they are.
#![allow(unsafe_code)] // Reads the bytes of an address that rustix hands out as a pointer.

use core::fmt;
use core::net::Ipv4Addr;
use core::num::NonZeroU32;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs;
use rustix::io::{self, Errno};
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

use crate::activation::{FIRST_FD, check_name};
use crate::addr::{Address, AddressError, Host, InetAddress, Network, UnixAddress, Zone};
use crate::error::{During, Error, Operation};
use crate::matching::{Request, Style, Transport};

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
    pub const fn name(mut self, name: &'a str) -> Self {
        self.name = Some(name.as_bytes());
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
    Full(usize),
    /// A system call failed.
    Failed(Error),
}

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
    at: usize,
}

impl NameError {
    pub(crate) fn check(name: &[u8]) -> Result<(), NameError> {
        check_name(name).map_err(|at| NameError { at })
    }

    /// The first byte that cannot be carried, or the length up to which it can.
    pub const fn at(&self) -> usize {
        self.at
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

/// Which file an fd refers to, whatever its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Identity {
    Socket { cookie: u64 },
    File { device: u64, inode: u64 },
}

impl Identity {
    /// Asks the kernel. SO_COOKIE is unique among the sockets of a machine for as long as it runs
    /// (Linux 4.12).
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Result<Identity, Error> {
        match sockopt::socket_cookie(fd) {
            Ok(cookie) => Ok(Identity::Socket { cookie }),
            Err(Errno::NOTSOCK | Errno::NOPROTOOPT) => {
                let stat = fs::fstat(fd).during(Operation::Fstat)?;
                Ok(Identity::File {
                    device: stat.st_dev,
                    inode: stat.st_ino,
                })
            }
            Err(errno) => Err(errno).during(Operation::Getsockopt),
        }
    }
}

/// The path of a unix socket as it was when it was bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PathIdentity {
    device: u64,
    inode: u64,
}

impl PathIdentity {
    fn of(path: &[u8]) -> Result<PathIdentity, Error> {
        let stat = fs::lstat(path).during(Operation::Stat)?;
        Ok(PathIdentity {
            device: stat.st_dev,
            inode: stat.st_ino,
        })
    }

    /// Removes `path` if it is still this one. That it is another, or gone, is no error.
    pub(crate) fn unlink(self, path: &[u8]) -> Result<(), Error> {
        match PathIdentity::of(path) {
            Ok(found) if found == self => fs::unlink(path).during(Operation::Unlink),
            Ok(_) => Ok(()),
            Err(error) if error.errno() == Errno::NOENT => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// A new socket, and the path that it made.
pub(crate) struct Fresh {
    pub(crate) fd: OwnedFd,
    pub(crate) path: Option<PathIdentity>,
}

/// `fd` under a number from 3 up: 0, 1 and 2 are the standard streams of a successor even where
/// this process has closed its own.
pub(crate) fn above_stdio(fd: OwnedFd) -> Result<OwnedFd, Error> {
    if fd.as_raw_fd() >= FIRST_FD {
        return Ok(fd);
    }
    io::fcntl_dupfd_cloexec(&fd, FIRST_FD).during(Operation::Fcntl)
}

/// Interfaces by number instead of by name.
pub(crate) fn resolve_zone(address: Address) -> Result<Address, Error> {
    let Address::Inet(InetAddress {
        host: Host::V6(ip, Zone::Name(name)),
        port,
    }) = address
    else {
        return Ok(address);
    };
    let any = net::socket_with(
        AddressFamily::INET6,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .during(Operation::Socket)?;
    let index = net::netdevice::name_to_index(&any, name.as_str()).during(Operation::Ioctl)?;
    let zone = NonZeroU32::new(index).map_or(Zone::None, Zone::Index);
    Ok(Address::Inet(InetAddress {
        host: Host::V6(ip, zone),
        port,
    }))
}

/// Makes, binds and, where that applies, listens.
pub(crate) fn make(request: &Request<'_>, options: &ListenOptions<'_>) -> Result<Fresh, Error> {
    let made = make_at(request.network, &request.address, options);
    match (&made, request.address) {
        // No IPv6 on this machine, or it is turned off: what was asked for is all addresses.
        (Err(error), Address::Inet(address))
            if address.is_wildcard()
                && !request.network.is_v6_only()
                && matches!(error.errno(), Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) =>
        {
            let host = Host::V4(Ipv4Addr::UNSPECIFIED);
            make_at(
                request.network,
                &Address::Inet(InetAddress { host, ..address }),
                options,
            )
        }
        _ => made,
    }
}

fn make_at(
    network: Network,
    address: &Address,
    options: &ListenOptions<'_>,
) -> Result<Fresh, Error> {
    let transport = Transport::of(network);
    let family = match address {
        Address::Unix(_) => AddressFamily::UNIX,
        Address::Inet(InetAddress {
            host: Host::V4(_), ..
        }) => AddressFamily::INET,
        Address::Inet(_) => AddressFamily::INET6,
    };
    let style = match transport {
        Transport::Tcp | Transport::Unix(Style::Stream) => SocketType::STREAM,
        Transport::Udp | Transport::Unix(Style::Datagram) => SocketType::DGRAM,
        Transport::Unix(Style::SeqPacket) => SocketType::SEQPACKET,
    };
    let mut flags = SocketFlags::CLOEXEC;
    if options.nonblocking == Some(true) {
        flags |= SocketFlags::NONBLOCK;
    }
    let fd = net::socket_with(family, style, flags, None).during(Operation::Socket)?;
    let fd = above_stdio(fd)?;
    if transport == Transport::Tcp {
        sockopt::set_socket_reuseaddr(&fd, true).during(Operation::Setsockopt)?;
    }
    if options.reuse_port && family != AddressFamily::UNIX {
        sockopt::set_socket_reuseport(&fd, true).during(Operation::Setsockopt)?;
    }
    if family == AddressFamily::INET6 {
        // Said in both cases: the default is the machine's (net.ipv6.bindv6only).
        sockopt::set_ipv6_v6only(&fd, network.is_v6_only()).during(Operation::Setsockopt)?;
    }
    let path = match address {
        Address::Unix(address) => bind_unix(&fd, address, style, options)?,
        Address::Inet(address) => {
            bind_inet(&fd, address)?;
            None
        }
    };
    if transport.accepts() {
        if let Err(errno) = net::listen(&fd, options.backlog) {
            if let (Some(made), Address::Unix(address)) = (path, address) {
                let _ = made.unlink(address.as_path().unwrap_or(b""));
            }
            return Err(errno).during(Operation::Listen);
        }
    }
    Ok(Fresh { fd, path })
}

fn bind_inet(fd: &OwnedFd, address: &InetAddress) -> Result<(), Error> {
    let bound = match address.host {
        Host::V4(ip) => net::bind(fd, &net::SocketAddrV4::new(ip, address.port)),
        Host::V6(ip, zone) => {
            let scope = match zone {
                Zone::Index(index) => index.get(),
                Zone::None | Zone::Name(_) => 0,
            };
            net::bind(fd, &net::SocketAddrV6::new(ip, address.port, 0, scope))
        }
        Host::Any => Err(Errno::INVAL),
    };
    bound.during(Operation::Bind)
}

fn bind_unix(
    fd: &OwnedFd,
    address: &UnixAddress,
    style: SocketType,
    options: &ListenOptions<'_>,
) -> Result<Option<PathIdentity>, Error> {
    let Some(path) = address.as_path() else {
        let name = address.as_abstract_name().unwrap_or(b"");
        let bound =
            net::SocketAddrUnix::new_abstract_name(name).and_then(|name| net::bind(fd, &name));
        return bound.during(Operation::Bind).map(|()| None);
    };
    if let Some(mode) = options.mode {
        // Before bind, which makes the path with the mode of the socket.
        fs::fchmod(fd, fs::Mode::from_raw_mode(mode)).during(Operation::Chmod)?;
    }
    let target = net::SocketAddrUnix::new(path).during(Operation::Bind)?;
    let mut bound = net::bind(fd, &target);
    if bound == Err(Errno::ADDRINUSE) && options.replace_stale {
        // Held until this one listens, as the next could take it for stale before.
        let lock = lock_directory(path);
        if lock.is_some() && remove_stale(path, &target, style) {
            bound = net::bind(fd, &target);
            if bound.is_ok() && style != SocketType::DGRAM {
                bound = net::listen(fd, options.backlog);
            }
        }
    }
    bound.during(Operation::Bind)?;
    PathIdentity::of(path).map(Some)
}

/// Removes the socket at `path` on which nobody listens; whether it did. A socket that another
/// process has bound and does not listen on yet cannot be told from one that is stale.
fn remove_stale(path: &[u8], target: &net::SocketAddrUnix, style: SocketType) -> bool {
    let Ok(found) = fs::lstat(path) else {
        return false;
    };
    // connect says ECONNREFUSED of a regular file as well.
    if !fs::FileType::from_raw_mode(found.st_mode).is_socket() {
        return false;
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let Ok(probe) = net::socket_with(AddressFamily::UNIX, style, flags, None) else {
        return false;
    };
    if net::connect(&probe, target) != Err(Errno::CONNREFUSED) {
        return false;
    }
    let stale = PathIdentity {
        device: found.st_dev,
        inode: found.st_ino,
    };
    stale.unlink(path).is_ok()
}

/// The directory of `path`, locked (flock(2)) as long as this is held, so that of several
/// processes that find the same stale path one replaces it. Where another holds it, none.
fn lock_directory(path: &[u8]) -> Option<OwnedFd> {
    let directory = match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => path.get(..=at).unwrap_or(b"/"),
        None => b".",
    };
    let flags = fs::OFlags::RDONLY | fs::OFlags::DIRECTORY | fs::OFlags::CLOEXEC;
    let directory = fs::open(directory, flags, fs::Mode::empty()).ok()?;
    fs::flock(&directory, fs::FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(directory)
}

/// The address that `fd` is bound to; `None` where it has none that this crate knows.
pub(crate) fn local_address(fd: BorrowedFd<'_>) -> Result<Option<Address>, Error> {
    match net::getsockname(fd) {
        Ok(address) => {
            let start = address.as_ptr().cast::<u8>();
            // SAFETY: rustix keeps the first `addr_len` bytes initialized, and `address` lives on.
            let bytes = unsafe { core::slice::from_raw_parts(start, address.addr_len() as usize) };
            Ok(Address::decode(bytes))
        }
        Err(Errno::NOTSOCK | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno).during(Operation::Getsockname),
    }
}

/// Is `fd` a socket of `transport`? Of the kernel's answers as few as decide it: a raw socket of
/// the protocol TCP passes here, and is found out as it does not [listen](readiness).
pub(crate) fn speaks(fd: BorrowedFd<'_>, transport: Transport) -> Result<bool, Error> {
    let found = match transport {
        Transport::Tcp => {
            let protocol = sockopt::socket_protocol(fd).during(Operation::Getsockopt)?;
            return Ok(matches!(
                protocol,
                Some(net::ipproto::TCP | net::ipproto::MPTCP)
            ));
        }
        Transport::Udp => {
            let protocol = sockopt::socket_protocol(fd).during(Operation::Getsockopt)?;
            return Ok(
                protocol == Some(net::ipproto::UDP) && style_of(fd)? == Some(Style::Datagram)
            );
        }
        Transport::Unix(style) => style,
    };
    Ok(style_of(fd)? == Some(found))
}

fn style_of(fd: BorrowedFd<'_>) -> Result<Option<Style>, Error> {
    Ok(
        match sockopt::socket_type(fd).during(Operation::Getsockopt)? {
            SocketType::STREAM => Some(Style::Stream),
            SocketType::SEQPACKET => Some(Style::SeqPacket),
            SocketType::DGRAM => Some(Style::Datagram),
            _ => None,
        },
    )
}

/// Whether `fd` listens, or could be made to: a stream that is not connected.
pub(crate) enum Readiness {
    Listens,
    CouldListen,
    Never,
}

pub(crate) fn readiness(fd: BorrowedFd<'_>) -> Result<Readiness, Error> {
    if sockopt::socket_acceptconn(fd).during(Operation::Getsockopt)? {
        return Ok(Readiness::Listens);
    }
    match net::getpeername(fd) {
        Err(Errno::NOTCONN) if style_of(fd)?.is_some_and(|style| style != Style::Datagram) => {
            Ok(Readiness::CouldListen)
        }
        Err(Errno::NOTCONN) => Ok(Readiness::Never),
        Ok(_) => Ok(Readiness::Never),
        Err(errno) => Err(errno).during(Operation::Getpeername),
    }
}

/// IPV6_V6ONLY, of a socket of any family.
pub(crate) fn v6only(fd: BorrowedFd<'_>, address: &Address) -> Result<bool, Error> {
    match address {
        Address::Inet(InetAddress {
            host: Host::V6(..), ..
        }) => sockopt::ipv6_v6only(fd).during(Operation::Getsockopt),
        _ => Ok(false),
    }
}

/// Sets or clears O_NONBLOCK, if it is not so yet.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>, nonblocking: bool) -> Result<(), Error> {
    let flags = fs::fcntl_getfl(fd).during(Operation::Fcntl)?;
    let mut wanted = flags;
    wanted.set(fs::OFlags::NONBLOCK, nonblocking);
    if wanted == flags {
        return Ok(());
    }
    fs::fcntl_setfl(fd, wanted).during(Operation::Fcntl)
}

/// What `fd` is.
pub(crate) fn kind(fd: BorrowedFd<'_>) -> Result<Kind, Error> {
    let Some(address) = local_address(fd)? else {
        return Ok(Kind::Other);
    };
    let network = match address {
        Address::Unix(_) => match style_of(fd)? {
            Some(Style::Stream) => Network::Unix,
            Some(Style::SeqPacket) => Network::UnixPacket,
            Some(Style::Datagram) => Network::UnixGram,
            None => return Ok(Kind::Other),
        },
        Address::Inet(inet) => {
            let v4 = matches!(inet.host, Host::V4(_));
            let v6only = v6only(fd, &address)?;
            let of = |both, four, six| {
                if v4 {
                    four
                } else if v6only {
                    six
                } else {
                    both
                }
            };
            if style_of(fd)? == Some(Style::Stream) && speaks(fd, Transport::Tcp)? {
                of(Network::Tcp, Network::Tcp4, Network::Tcp6)
            } else if speaks(fd, Transport::Udp)? {
                of(Network::Udp, Network::Udp4, Network::Udp6)
            } else {
                return Ok(Kind::Other);
            }
        }
    };
    Ok(if !Transport::of(network).accepts() {
        Kind::Datagram(network)
    } else if sockopt::socket_acceptconn(fd.as_fd()).during(Operation::Getsockopt)? {
        Kind::Listener(network)
    } else {
        Kind::Stream(network)
    })
}
