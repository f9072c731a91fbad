//! Networks and addresses, parsed from bytes and written back. Pure: no syscall, no `unsafe`.
//!
//! The forms are Go's, as `net.Listen` takes them:
//!
//! - `tcp`, `tcp4`, `tcp6`, `udp`, `udp4`, `udp6`: `127.0.0.1:80`, `[::1]:80`, `[fe80::1%eth0]:80`,
//!   `[fe80::1%2]:80`, `localhost:80`, `:80`
//! - `unix`, `unixpacket`, `unixgram`: a path, or `@name` for an abstract name
//!
//! Nothing is resolved: `localhost` is the one host name there is, and a port is a number.
//!
//! What is parsed can be written and parsed again: for every address `a` that [`Address::parse`]
//! returns for a network, parsing what its `Display` writes gives `a`. (A path or an abstract
//! name that is not UTF-8 is the exception: it is shown with U+FFFD.)
//!
//! The parsers and the formatters are this module's own, because those of [`core::net`]
//! contain panics.

use core::error::Error;
use core::fmt::{self, Write as _};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::activation::place_of;

/// What kind of socket an address is for, under Go's names.
// The numbers say which hosts it has, and above that the type of its sockets, as the kernel has it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Network {
    /// `tcp`: a TCP listener, IPv4 or IPv6; both at once where the host is left out or is `[::]`.
    Tcp = STREAM | ANY_HOST,
    /// `tcp4`: a TCP listener, IPv4 only.
    Tcp4 = STREAM | V4_HOST,
    /// `tcp6`: a TCP listener, IPv6 only.
    Tcp6 = STREAM | V6_HOST,
    /// `udp`: a UDP socket, IPv4 or IPv6; both at once where the host is left out or is `[::]`.
    Udp = DATAGRAM | ANY_HOST,
    /// `udp4`: a UDP socket, IPv4 only.
    Udp4 = DATAGRAM | V4_HOST,
    /// `udp6`: a UDP socket, IPv6 only.
    Udp6 = DATAGRAM | V6_HOST,
    /// `unix`: a stream listener (`SOCK_STREAM`).
    Unix = STREAM | NO_HOST,
    /// `unixpacket`: a listener for connections that keep the bounds of messages (`SOCK_SEQPACKET`).
    UnixPacket = SEQPACKET | NO_HOST,
    /// `unixgram`: a datagram socket (`SOCK_DGRAM`).
    UnixGram = DATAGRAM | NO_HOST,
}

const ANY_HOST: u8 = 0;
const V4_HOST: u8 = 1;
const V6_HOST: u8 = 2;
const NO_HOST: u8 = 3;
const STREAM: u8 = 1 << 2;
const DATAGRAM: u8 = 2 << 2;
const SEQPACKET: u8 = 5 << 2;

/// In the order of [`Network::ALL`].
const NAMES: &str = "tcp,tcp4,tcp6,udp,udp4,udp6,unix,unixpacket,unixgram";

impl Network {
    const ALL: [Self; 9] = [
        Self::Tcp,
        Self::Tcp4,
        Self::Tcp6,
        Self::Udp,
        Self::Udp4,
        Self::Udp6,
        Self::Unix,
        Self::UnixPacket,
        Self::UnixGram,
    ];

    /// `Network::parse(name)` — The network of that name, in lower case and exactly as written.
    ///
    /// # Errors
    ///
    /// - [`AddressErrorKind::UnknownNetwork`] at byte 0: there is no network of that name.
    ///
    /// # Examples
    ///
    /// ```
    /// use gracenet::addr::Network;
    ///
    /// assert_eq!(Network::parse(b"tcp6"), Ok(Network::Tcp6));
    /// assert_eq!(Network::parse(b"unixgram"), Ok(Network::UnixGram));
    /// assert!(Network::parse(b"TCP").is_err());
    /// ```
    pub fn parse(name: &[u8]) -> Result<Self, AddressError> {
        // A match on the names would be compiled into compares byte by byte.
        let network = place_of(name, NAMES).and_then(|place| Self::ALL.get(place));
        network
            .copied()
            .ok_or(AddressError::new(AddressErrorKind::UnknownNetwork, 0))
    }

    /// `network.as_str()` — The name, as [`parse`](Self::parse) takes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tcp4 => "tcp4",
            Self::Tcp6 => "tcp6",
            Self::Udp => "udp",
            Self::Udp4 => "udp4",
            Self::Udp6 => "udp6",
            Self::Unix => "unix",
            Self::UnixPacket => "unixpacket",
            Self::UnixGram => "unixgram",
        }
    }

    /// `network.is_tcp()` — Whether it is `tcp`, `tcp4` or `tcp6`.
    pub const fn is_tcp(self) -> bool {
        matches!(self, Self::Tcp | Self::Tcp4 | Self::Tcp6)
    }

    /// `network.is_udp()` — Whether it is `udp`, `udp4` or `udp6`.
    pub const fn is_udp(self) -> bool {
        matches!(self, Self::Udp | Self::Udp4 | Self::Udp6)
    }

    /// `network.is_unix()` — Whether it is `unix`, `unixpacket` or `unixgram`.
    pub const fn is_unix(self) -> bool {
        self.hosts() == NO_HOST
    }

    /// `network.is_datagram()` — Whether its sockets are bound only, and neither listen nor accept.
    pub const fn is_datagram(self) -> bool {
        self as u8 & !NO_HOST == DATAGRAM
    }

    /// `network.is_v4_only()` — Whether it is `tcp4` or `udp4`.
    pub const fn is_v4_only(self) -> bool {
        self.hosts() == V4_HOST
    }

    /// `network.is_v6_only()` — Whether it is `tcp6` or `udp6`.
    pub const fn is_v6_only(self) -> bool {
        self.hosts() == V6_HOST
    }

    /// Whether it is `tcp` or `udp`.
    pub(crate) const fn has_both_families(self) -> bool {
        self.hosts() == ANY_HOST
    }

    /// SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET.
    pub(crate) const fn socket_type(self) -> u32 {
        self as u32 >> 2
    }

    const fn hosts(self) -> u8 {
        self as u8 & NO_HOST
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a socket is bound: a host and a port, a path, an abstract name, or nothing.
///
/// It is the socket address itself, in bytes as bind(2) takes it and getsockname(2) returns it. Two
/// are equal when all their bytes are. An address says nothing about the type of the socket: a
/// stream socket and a datagram socket of one path have equal addresses.
///
/// `Display` writes what [`parse`](Self::parse) reads: `host:port`, an IPv6 host in brackets and as
/// RFC 5952 has it; the path, `@` and the abstract name, or nothing at all. Bytes that are not UTF-8
/// are shown as U+FFFD each. What `parse` never returns is written so as not to be taken for
/// something else: a path that begins with `@` as `./@…`, an IPv4 address that is mapped into IPv6
/// as `[::ffff:192.0.2.1]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[doc(alias = "sockaddr")]
#[doc(alias = "sockaddr_un")]
pub struct Address {
    len: u32,
    // All past `len` is 0, so that the derived comparison is right, but that an interface whose
    // number is not known yet stands behind an IPv6 address.
    bytes: [u8; ROOM],
}

/// A family, the longest path and the NUL that the kernel may count, rounded up.
const ROOM: usize = 112;

// Where things are, from linux/in.h, in6.h and un.h.
const PORT: usize = 2;
const V4: usize = 4;
const V4_LEN: u32 = 16;
const V6: usize = 8;
const SCOPE: usize = 24;
const V6_LEN: u32 = 28;
const PATH: usize = 2;
const SUN_PATH: usize = ROOM - PATH;

/// A `struct ifreq`, which begins with the name of an interface.
const INTERFACE: usize = 28;
pub(crate) type InterfaceRequest = [u8; 40];

impl Address {
    /// The address of a unix socket that is bound to none. As one to bind to, it has the kernel
    /// choose an abstract name.
    pub const UNNAMED: Self = Self::of_bytes(AF_UNIX, []);

    /// Room for one.
    #[inline(never)]
    pub(crate) const fn room() -> Self {
        let bytes = [0; ROOM];
        Self { bytes, len: 0 }
    }

    /// `Address::parse(network, text)` — Reads an address in the form that the network has.
    ///
    /// For `unix`, `unixpacket` and `unixgram` `@name` is an abstract name, `@` alone the one of no
    /// bytes, and all else a path. A file whose name begins with `@` is `./@…`, or comes from
    /// [`from_path`](Self::from_path).
    ///
    /// For the others, as in Go:
    ///
    /// - `host:port`, where an IPv6 host stands in brackets. The port is decimal, 0 to 65535; leading
    ///   zeros change nothing, and an empty port is port 0. The colon must be there, so that an empty
    ///   text, which Go takes for port 0, is an error.
    /// - An empty host is all of the machine's addresses, of the families that the network has: it
    ///   is `[::]`, for `tcp4` and `udp4` 0.0.0.0.
    /// - `localhost` is 127.0.0.1, for `tcp6` and `udp6` ::1. No other name is known.
    /// - An octet of an IPv4 address has no leading zero.
    /// - A zone follows an IPv6 address: `%eth0` is an interface by [name](Self::interface), `%2`, all
    ///   digits, by index. A name has up to 15 bytes of printable ASCII without `:`, behind which the
    ///   kernel would not look.
    /// - An IPv4 address mapped into IPv6, `[::ffff:192.0.2.1]`, is that IPv4 address: `tcp6` refuses
    ///   it, and it has no zone.
    ///
    /// # Errors
    ///
    /// The kind says what is wrong, and [`AddressError::at`] at which byte of `text`.
    ///
    /// - [`AddressErrorKind::MissingPort`], [`AddressErrorKind::TooManyColons`],
    ///   [`AddressErrorKind::UnclosedBracket`]: it is not in the form `host:port`.
    /// - [`AddressErrorKind::InvalidHost`], [`AddressErrorKind::InvalidPort`]: it is malformed, or a
    ///   name, which would have to be resolved.
    /// - [`AddressErrorKind::FamilyMismatch`]: an IPv6 host for `tcp4`, or the like.
    /// - [`AddressErrorKind::EmptyPath`], [`AddressErrorKind::Nul`],
    ///   [`AddressErrorKind::TooLong`]: no path or abstract name.
    /// - The others: a part of the address is malformed.
    ///
    /// # Examples
    ///
    /// ```
    /// use gracenet::addr::{Address, AddressErrorKind, Network};
    ///
    /// let web = Address::parse(Network::Tcp, b"[::1]:8080")?;
    /// let admin = Address::parse(Network::Unix, b"/run/app/admin.sock")?;
    /// assert_eq!(web.to_string(), "[::1]:8080");
    /// assert_eq!(admin.as_path(), Some(&b"/run/app/admin.sock"[..]));
    ///
    /// let error = Address::parse(Network::Tcp, b"localhost:http").unwrap_err();
    /// assert_eq!(error.kind(), AddressErrorKind::InvalidPort);
    /// assert_eq!(error.at(), 10);
    /// # Ok::<(), gracenet::addr::AddressError>(())
    /// ```
    pub fn parse(network: Network, text: &[u8]) -> Result<Self, AddressError> {
        let mut address = Self::room();
        address.read(network, text).map(|()| address)
    }

    /// `Address::from_path(path)` — The address with this path, of 1 to 107 bytes without NUL.
    ///
    /// # Errors
    ///
    /// - [`AddressErrorKind::EmptyPath`]: there is nothing.
    /// - [`AddressErrorKind::Nul`]: at the first NUL.
    /// - [`AddressErrorKind::TooLong`]: at the first byte too many.
    pub fn from_path(path: &[u8]) -> Result<Self, AddressError> {
        let (mut reader, mut address) = (Reader::new(path), Self::room());
        let read = reader.has_no_nul() && reader.path_or_name(false, &mut address);
        reader.result(read).map(|()| address)
    }

    /// `Address::from_abstract(name)` — The address with this abstract name, of up to 107 bytes.
    ///
    /// A NUL in it is a byte like any other.
    ///
    /// # Errors
    ///
    /// - [`AddressErrorKind::TooLong`]: at the first byte too many.
    pub fn from_abstract(name: &[u8]) -> Result<Self, AddressError> {
        let (mut reader, mut address) = (Reader::new(name), Self::room());
        let read = reader.path_or_name(true, &mut address);
        reader.result(read).map(|()| address)
    }

    /// `Address::decode(sockaddr)` — Reads a socket address, in bytes as getsockname(2) returns it.
    ///
    /// `sockaddr` is exactly as long as the kernel said, because for a unix socket the length is a
    /// part of the address. An IPv6 address stays one, even when an IPv4 address is mapped into it;
    /// flow info is left out. A path ends at the first NUL, or fills all 108 bytes without one.
    ///
    /// Returns `None` for another family than `AF_INET`, `AF_INET6` and `AF_UNIX`, and for an
    /// address that is cut short or too long.
    ///
    /// # Examples
    ///
    /// ```
    /// use gracenet::addr::Address;
    ///
    /// let mut v4 = [0; 16];
    /// v4[..2].copy_from_slice(&2_u16.to_ne_bytes());
    /// v4[2..8].copy_from_slice(&[0x1f, 0x90, 127, 0, 0, 1]);
    /// assert_eq!(Address::decode(&v4).unwrap().to_string(), "127.0.0.1:8080");
    ///
    /// let unnamed = 1_u16.to_ne_bytes();
    /// assert_eq!(Address::decode(&unnamed), Some(Address::UNNAMED));
    /// ```
    #[doc(alias = "getsockname")]
    pub fn decode(sockaddr: &[u8]) -> Option<Self> {
        let (family, rest) = sockaddr.split_first_chunk::<2>()?;
        let mut address = Self::room();
        address.set(0, *family);
        match address.family() {
            AF_UNIX => {
                let is_path = !matches!(rest, [] | [0, ..]);
                let path = if is_path { until_nul(rest) } else { rest };
                if path.len() > SUN_PATH_MAX {
                    return None;
                }
                for (to, from) in address.bytes.iter_mut().skip(PATH).zip(path) {
                    *to = *from;
                }
                // The NUL behind a path counts, where there is room for it.
                let has_nul = is_path && path.len() <= NAME_MAX;
                address.len = (PATH + path.len() + usize::from(has_nul)) as u32;
            }
            AF_INET => {
                address.set(PORT, *rest.first_chunk::<6>()?);
                address.len = V4_LEN;
            }
            AF_INET6 => {
                let [p0, p1, _, _, _, _, host_and_scope @ ..] = *rest.first_chunk::<26>()?;
                address.set(PORT, [p0, p1]);
                address.set::<20>(V6, host_and_scope);
                address.len = V6_LEN;
            }
            _ => return None,
        }
        Some(address)
    }

    /// `address.as_bytes()` — The bytes, as bind(2) takes them.
    ///
    /// For an IPv6 address whose zone is an [interface](Self::interface) by its name, the scope id in
    /// them is 0.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len as usize).unwrap_or(&self.bytes)
    }

    /// `address.to_socket_addr()` — The host and the port, with the scope id; `None` if it is
    /// something else.
    pub fn to_socket_addr(&self) -> Option<SocketAddr> {
        let port = self.port()?;
        Some(match self.family() {
            AF_INET => SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(self.at::<4>(V4)), port)),
            _ => {
                let (ip, scope) = (Ipv6Addr::from(self.at::<16>(V6)), self.at(SCOPE));
                SocketAddr::V6(SocketAddrV6::new(ip, port, 0, u32::from_ne_bytes(scope)))
            }
        })
    }

    /// `address.port()` — The port; 0 lets the kernel choose one. `None` if it has none.
    pub fn port(&self) -> Option<u16> {
        self.is_inet().then(|| u16::from_be_bytes(self.at(PORT)))
    }

    /// `address.with_port(port)` — The same host with another port. What has none stays as it is.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        if self.is_inet() {
            self.set(PORT, port.to_be_bytes());
        }
        self
    }

    /// `address.is_wildcard()` — Whether the host is 0.0.0.0 or `::`, which is all of the machine's.
    pub fn is_wildcard(&self) -> bool {
        self.to_socket_addr()
            .is_some_and(|address| address.ip().is_unspecified())
    }

    /// `address.interface()` — The zone of an IPv6 address, if it is an interface by its name: whoever
    /// binds looks up its index.
    pub fn interface(&self) -> Option<&[u8]> {
        let name = until_nul(self.bytes.get(INTERFACE..)?);
        (self.family() == AF_INET6 && !name.is_empty()).then_some(name)
    }

    /// `address.as_path()` — The path, without a NUL; `None` if it is something else.
    ///
    /// It has up to 107 bytes, or 108 when the kernel returned it.
    pub fn as_path(&self) -> Option<&[u8]> {
        self.c_path().map(|path| until_nul(path))
    }

    /// `address.as_abstract_name()` — The abstract name; `None` if it is something else.
    ///
    /// The NUL before it is no part of it, and one after it is.
    pub fn as_abstract_name(&self) -> Option<&[u8]> {
        match self.path_or_name()? {
            [0, name @ ..] => Some(name),
            _ => None,
        }
    }

    /// `address.is_unnamed()` — Whether there is neither a host nor a path nor an abstract name.
    pub fn is_unnamed(&self) -> bool {
        self.path_or_name() == Some(&[])
    }

    /// As [`parse`](Self::parse), into [`room`](Self::room).
    #[inline(never)]
    pub(crate) fn read(&mut self, network: Network, text: &[u8]) -> Result<(), AddressError> {
        let mut reader = Reader::new(text);
        let is_abstract = network.is_unix() && reader.eat(b'@');
        let read = (is_abstract || reader.has_no_nul())
            && match network.is_unix() {
                true => reader.path_or_name(is_abstract, self),
                false => reader.inet(network, self),
            };
        reader.result(read)
    }

    /// `struct sockaddr_vm`: a port of a machine.
    pub(crate) const fn vsock(cid: u32, port: u32) -> Self {
        let ([p0, p1, p2, p3], [c0, c1, c2, c3]) = (port.to_ne_bytes(), cid.to_ne_bytes());
        let rest = [0, 0, p0, p1, p2, p3, c0, c1, c2, c3, 0, 0, 0, 0];
        Self::of_bytes(AF_VSOCK, rest)
    }

    /// A family, and what follows it.
    const fn of_bytes<const N: usize>(family: u16, rest: [u8; N]) -> Self {
        const { assert!(N <= SUN_PATH_MAX) };
        let mut bytes = [0; ROOM];
        let (room, behind) = bytes.split_at_mut(2);
        room.copy_from_slice(&family.to_ne_bytes());
        behind.split_at_mut(N).0.copy_from_slice(&rest);
        let len = 2 + N as u32;
        Self { bytes, len }
    }

    /// Makes it [`UNNAMED`](Self::UNNAMED), all of whose bytes would be in the program's file.
    pub(crate) fn set_unnamed(&mut self) {
        [self.bytes[0], self.bytes[1]] = AF_UNIX.to_ne_bytes();
        self.len = 2;
    }

    pub(crate) fn family(&self) -> u16 {
        u16::from_ne_bytes(self.at(0))
    }

    fn is_inet(&self) -> bool {
        matches!(self.family(), AF_INET | AF_INET6)
    }

    /// Where the kernel writes one to: how long it is, first how much room there is, and the bytes.
    pub(crate) fn parts(&mut self) -> (&mut u32, &mut [u8]) {
        self.len = ROOM as u32;
        (&mut self.len, &mut self.bytes)
    }

    pub(crate) fn set_any_port(&mut self) {
        self.set(PORT, [0, 0]);
    }

    /// The interface that is named, for the kernel to write its number behind the name.
    pub(crate) fn interface_request(&mut self) -> Option<&mut InterfaceRequest> {
        let is_v6 = self.family() == AF_INET6;
        let request = self.bytes.get_mut(INTERFACE..)?.first_chunk_mut()?;
        (is_v6 && *request.first()? != 0).then_some(request)
    }

    /// The zone by its number, instead of its name; but none where the kernel keeps none, which is
    /// elsewhere than in link-local addresses, and multicast within the interface or the link.
    pub(crate) fn set_zone(&mut self, mut index: u32) {
        let keeps = match self.at(V6) {
            [0xfe, second] => second & 0xc0 == 0x80,
            [0xff, second] => matches!(second & 0xf, 1 | 2),
            _ => false,
        };
        if !keeps {
            index = 0;
        }
        self.set(SCOPE, index.to_ne_bytes());
        self.set(INTERFACE, [0; size_of::<InterfaceRequest>()]);
    }

    pub(crate) fn scope(&self) -> u32 {
        u32::from_ne_bytes(self.at(SCOPE))
    }

    /// Turns all addresses of one family into all addresses of the other, the port stays: whether it
    /// was all addresses.
    pub(crate) fn turn_wildcard(&mut self) -> bool {
        let host = self.bytes.get(V4..).unwrap_or_default();
        let turns = self.is_inet() && host.iter().all(|byte| *byte == 0);
        if turns {
            self.set_family(self.family() == AF_INET);
        }
        turns
    }

    fn set_family(&mut self, v6: bool) {
        let (family, len) = match v6 {
            true => (AF_INET6, V6_LEN),
            false => (AF_INET, V4_LEN),
        };
        self.set(0, family.to_ne_bytes());
        self.len = len;
    }

    /// The path of a unix socket that has one, and NULs behind it.
    pub(crate) fn c_path(&self) -> Option<&[u8; SUN_PATH]> {
        let path = self.bytes.last_chunk::<SUN_PATH>()?;
        let is_path = self.family() == AF_UNIX && path.first() != Some(&0);
        is_path.then_some(path)
    }

    /// Makes of a path the directory that it is in.
    pub(crate) fn cut_to_folder(&mut self) {
        let mut end = ROOM;
        while let Some(last) = self.bytes.get_mut(end.wrapping_sub(1)) {
            if end == PATH {
                // The path is not empty, and has a NUL behind it.
                return self.set(PATH, [b'.']);
            }
            if *last == b'/' {
                return;
            }
            *last = 0;
            end = end.wrapping_sub(1);
        }
    }

    /// The bytes of a unix socket's address behind the family.
    fn path_or_name(&self) -> Option<&[u8]> {
        match self.family() {
            AF_UNIX => self.bytes.get(PATH..self.len as usize),
            _ => None,
        }
    }

    /// So many bytes at this place, which are there: a load and no more.
    #[inline(always)]
    fn at<const LEN: usize>(&self, at: usize) -> [u8; LEN] {
        let bytes = self.bytes.get(at..).and_then(<[u8]>::first_chunk);
        bytes.copied().unwrap_or([0; LEN])
    }

    /// The bytes at this place, which are there: a store and no more.
    #[inline(always)]
    fn set<const LEN: usize>(&mut self, at: usize, bytes: [u8; LEN]) {
        let room = self.bytes.get_mut(at..);
        if let Some(to) = room.and_then(<[u8]>::first_chunk_mut) {
            *to = bytes;
        }
    }
}

/// The flow info is left out.
impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        let mut ours = Self::room();
        ours.set_family(address.is_ipv6());
        ours.set(PORT, address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => ours.set(V4, v4.ip().octets()),
            SocketAddr::V6(v6) => {
                ours.set(V6, v6.ip().octets());
                ours.set(SCOPE, v6.scope_id().to_ne_bytes());
            }
        }
        ours
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(address) = self.to_socket_addr() else {
            let (before, bytes) = match self.path_or_name() {
                Some([0, name @ ..]) => ("@", name),
                Some(path @ [b'@', ..]) => ("./", until_nul(path)),
                path => ("", until_nul(path.unwrap_or_default())),
            };
            f.write_str(before)?;
            return write_lossy(f, bytes);
        };
        match address.ip() {
            IpAddr::V4(ip) => write_v4(f, ip.octets())?,
            IpAddr::V6(ip) => {
                f.write_char('[')?;
                write_v6(f, ip)?;
                match (u32::from_ne_bytes(self.at(SCOPE)), self.interface()) {
                    (0, None) => {}
                    (_, Some(name)) => {
                        f.write_char('%')?;
                        write_lossy(f, name)?;
                    }
                    (index, None) => {
                        f.write_char('%')?;
                        write_number::<10>(f, index)?;
                    }
                }
                f.write_char(']')?;
            }
        }
        f.write_char(':')?;
        write_number::<10>(f, u32::from(address.port()))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path_or_name() {
            None => write!(f, "Address({self})"),
            Some(name @ [0, ..]) => write!(f, "Address(\"{}\")", name.escape_ascii()),
            Some(path) => write!(f, "Address(\"{}\")", until_nul(path).escape_ascii()),
        }
    }
}

/// What is wrong with a network or an address, and at which byte.
///
/// `Display` writes `too many colons, an IPv6 address stands in brackets, at byte 1`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
// The kind, by which results that it is a part of are told apart, comes first.
#[repr(C)]
pub struct AddressError {
    kind: AddressErrorKind,
    // Not a usize, so that an error fits into a register, and a result with it.
    at: u32,
}

impl AddressError {
    pub(crate) const fn new(kind: AddressErrorKind, at: usize) -> Self {
        let at = at as u32;
        Self { kind, at }
    }

    /// `error.kind()` — What is wrong.
    pub const fn kind(&self) -> AddressErrorKind {
        self.kind
    }

    /// `error.at()` — The byte where it is, counted from 0.
    ///
    /// It is the length of the text where something is missing at its end.
    pub const fn at(&self) -> usize {
        self.at as usize
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        f.write_str(", at byte ")?;
        write_number::<10>(f, self.at)
    }
}

impl Error for AddressError {}

/// The kinds of [`AddressError`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum AddressErrorKind {
    /// There is no network of that name.
    UnknownNetwork,
    /// There is no port, not even an empty one after a colon.
    MissingPort,
    /// There is a second colon; an IPv6 address stands in brackets.
    TooManyColons,
    /// A `[` without its `]`.
    UnclosedBracket,
    /// A malformed address, an octet over 255 or with a leading zero, or a host name other than
    /// `localhost`. Names are not resolved.
    InvalidHost,
    /// A zone that is neither an index from 1 to 4294967294 nor could be the name of an interface.
    InvalidZone,
    /// A zone on something else than an IPv6 address.
    MisplacedZone,
    /// An IPv4 host for a network of IPv6 only, or the other way round.
    FamilyMismatch,
    /// A port that is no decimal number. Names are not resolved.
    InvalidPort,
    /// A port over 65535.
    PortOutOfRange,
    /// A unix address with no byte at all.
    EmptyPath,
    /// A NUL, which only an abstract name can have.
    Nul,
    /// A path or an abstract name of more than 107 bytes.
    TooLong,
}

impl AddressErrorKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownNetwork => "unknown network",
            Self::MissingPort => "missing port",
            Self::TooManyColons => "too many colons, an IPv6 address stands in brackets",
            Self::UnclosedBracket => "bracket is not closed",
            Self::InvalidHost => "not an IP address, and names are not resolved",
            Self::InvalidZone => "not an interface",
            Self::MisplacedZone => "only an IPv6 address has a zone",
            Self::FamilyMismatch => "address is of another family than the network",
            Self::InvalidPort => "not a port number, and names are not resolved",
            Self::PortOutOfRange => "port is out of range",
            Self::EmptyPath => "empty path",
            Self::Nul => "there is a NUL",
            Self::TooLong => "path or name is too long",
        }
    }
}

/// A text, the byte of it that is looked at, and what is wrong there where something is.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    /// Before which byte it ends, if it comes.
    end: u8,
    wrong: AddressErrorKind,
}

/// Those of its functions that return a bool have not read what they should where that is false.
impl<'a> Reader<'a> {
    const fn new(text: &'a [u8]) -> Self {
        Reader {
            text,
            at: 0,
            end: 0,
            wrong: AddressErrorKind::Nul,
        }
    }

    fn result(&self, read: bool) -> Result<(), AddressError> {
        match read {
            true => Ok(()),
            false => Err(AddressError::new(self.wrong, self.at)),
        }
    }

    /// The byte that is looked at, 0 at the end.
    #[inline(never)]
    fn peek(&self) -> u8 {
        let byte = self.text.get(self.at).copied();
        byte.filter(|byte| *byte != self.end).unwrap_or(0)
    }

    fn skip(&mut self) {
        self.at = self.at.wrapping_add(1);
    }

    #[inline(never)]
    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte;
        if found {
            self.skip();
        }
        found
    }

    /// On to the next such byte, or else to the end; what is there.
    #[inline(never)]
    fn skip_to(&mut self, byte: u8) -> u8 {
        loop {
            let found = self.peek();
            if found == byte || found == 0 {
                return found;
            }
            self.skip();
        }
    }

    /// All the digits there are, 0 where there is none, and `u32::MAX` when it is too much.
    #[inline(never)]
    fn number(&mut self, radix: u8) -> u32 {
        let mut value = 0_u32;
        loop {
            let byte = self.peek();
            let digit = match byte {
                b'0'..=b'9' => byte & 0xf,
                _ => (byte | 0x20).wrapping_sub(b'a').saturating_add(10),
            };
            if digit >= radix {
                return value;
            }
            let more = u64::from(value) * u64::from(radix) + u64::from(digit);
            value = more.min(u64::from(u32::MAX)) as u32;
            self.skip();
        }
    }

    /// There is no NUL, by which an end is known.
    fn has_no_nul(&mut self) -> bool {
        self.skip_to(0);
        let has_none = self.at == self.text.len();
        if has_none {
            self.at = 0;
        }
        has_none
    }

    /// All that is left, as a path or as an abstract name.
    fn path_or_name(&mut self, is_abstract: bool, address: &mut Address) -> bool {
        let rest = self.text.get(self.at..).unwrap_or_default();
        self.wrong = AddressErrorKind::EmptyPath;
        if rest.is_empty() && !is_abstract {
            return false;
        }
        self.wrong = AddressErrorKind::TooLong;
        if rest.len() > NAME_MAX {
            self.at = self.at.wrapping_add(NAME_MAX);
            return false;
        }
        let begin = PATH + usize::from(is_abstract);
        let room = address.bytes.iter_mut().skip(begin);
        for (to, from) in room.zip(rest) {
            *to = *from;
        }
        address.set(0, AF_UNIX.to_ne_bytes());
        // The NUL before a name counts, and so does the one behind a path.
        address.len = (PATH + 1 + rest.len()) as u32;
        true
    }

    fn inet(&mut self, network: Network, address: &mut Address) -> bool {
        use AddressErrorKind::{
            InvalidPort, MissingPort, PortOutOfRange, TooManyColons, UnclosedBracket,
        };

        let end = if self.eat(b'[') { b']' } else { b':' };
        let host_at = self.at;
        self.skip_to(end);
        self.wrong = UnclosedBracket;
        if end == b']' && !self.eat(end) {
            return false;
        }
        self.wrong = MissingPort;
        if !self.eat(b':') {
            return false;
        }
        let port_at = self.at;
        // Before the host is looked at: the `fe80` of `fe80::1:80` is no name.
        self.wrong = TooManyColons;
        if self.skip_to(b':') != 0 {
            return false;
        }
        (self.at, self.end) = (host_at, end);
        if !self.host(network, address) {
            return false;
        }
        (self.at, self.end) = (port_at, 0);
        let port = self.number(10);
        self.wrong = InvalidPort;
        if self.peek() != 0 {
            return false;
        }
        self.at = port_at;
        self.wrong = PortOutOfRange;
        address.set(PORT, (port as u16).to_be_bytes());
        port <= u32::from(u16::MAX)
    }

    #[inline(never)]
    fn host(&mut self, network: Network, address: &mut Address) -> bool {
        use AddressErrorKind::{FamilyMismatch, InvalidZone, MisplacedZone};

        let start = self.at;
        let mut ip = [0; 16];
        let mut is_v4 = network.is_v4_only();
        if self.peek() == 0 {
            // All of them.
        } else if self.is_local() {
            let [.., first, _, _, last] = &mut ip;
            *last = 1;
            is_v4 = !network.is_v6_only();
            if is_v4 {
                *first = 127;
            }
        } else {
            if !self.ip(&mut ip) {
                return false;
            }
            let [before @ .., _, _, _, _] = ip;
            is_v4 = before == MAPPED;
            if self.peek() == b'%' {
                self.wrong = MisplacedZone;
                if is_v4 {
                    return false;
                }
                self.skip();
                self.wrong = InvalidZone;
                if !self.zone(address) {
                    return false;
                }
            }
        }
        self.at = start;
        self.wrong = FamilyMismatch;
        address.set_family(!is_v4);
        if is_v4 {
            let [.., a, b, c, d] = ip;
            address.set(V4, [a, b, c, d]);
            !network.is_v6_only()
        } else {
            address.set(V6, ip);
            !network.is_v4_only()
        }
    }

    /// It is the one name that is known; where it is not, that is left.
    fn is_local(&mut self) -> bool {
        let start = self.at;
        let is_local = b"localhost".iter().all(|byte| self.eat(*byte)) && self.peek() == 0;
        self.at = start;
        is_local
    }

    /// An address up to the end or a `%`, which is left, where there are zeros: one of IPv4 is
    /// mapped into IPv6.
    fn ip(&mut self, ip: &mut [u8; 16]) -> bool {
        // How many bytes have come, how many of them before the `::`, and how many in decimal.
        let (mut len, mut gap, mut octets) = (0, NO_GAP, 0);
        let start = self.at;
        let v6 = self.skip_to(b':') != 0;
        self.at = start;
        self.wrong = AddressErrorKind::InvalidHost;
        let mut radix = 16;
        if !v6 {
            radix = 10;
            len = MAPPED.len();
            if let Some(to) = ip.first_chunk_mut() {
                *to = MAPPED;
            }
        } else if self.eat(b':') && self.peek() != b':' {
            return false;
        }
        loop {
            // After `::` the end may come; after `:` it may not.
            if gap == NO_GAP && octets == 0 && self.eat(b':') {
                gap = len;
                if self.at_end_or_percent() {
                    break;
                }
            }
            let start = self.at;
            let mut group = self.number(radix);
            if octets != 0 || self.peek() == b'.' {
                octets += 1;
                self.at = start;
                // `01` is 1 to some and octal to others.
                group = if self.eat(b'0') { 0 } else { self.number(10) };
                if group > 255 {
                    return false;
                }
            } else {
                let Some(to) = ip.get_mut(len) else {
                    return false;
                };
                *to = (group >> 8) as u8;
                len += 1;
            }
            let Some(to) = ip.get_mut(len) else {
                return false;
            };
            *to = group as u8;
            len += 1;
            // None, or more than four digits.
            if self.at.wrapping_sub(start).wrapping_sub(1) >= 4 {
                return false;
            }
            if self.at_end_or_percent() {
                break;
            }
            if !self.eat(if octets == 0 { b':' } else { b'.' }) {
                return false;
            }
        }
        // All groups without a `::`, or at least one fewer with it; and all octets.
        if (gap == NO_GAP) != (len == 16) || !matches!(octets, 0 | 4) {
            return false;
        }
        // What has come behind the `::` moves up to the end.
        while len < 16 {
            let (mut at, mut before) = (gap, 0);
            while let Some(byte) = ip.get_mut(at) {
                before = core::mem::replace(byte, before);
                at += 1;
            }
            len += 1;
        }
        true
    }

    fn at_end_or_percent(&self) -> bool {
        matches!(self.peek(), 0 | b'%')
    }

    /// What follows a `%`: an index, or else a name.
    fn zone(&mut self, address: &mut Address) -> bool {
        let start = self.at;
        let index = self.number(10);
        let is_index = self.peek() == 0;
        self.at = start;
        if is_index {
            address.set(SCOPE, index.to_ne_bytes());
            // `u32::MAX` stands for all that is too much.
            return !matches!(index, 0 | u32::MAX);
        }
        let mut to = INTERFACE;
        loop {
            let byte = self.peek();
            if byte == 0 {
                return true;
            }
            if to == INTERFACE + IFNAMSIZ - 1 || !byte.is_ascii_graphic() || byte == b':' {
                return false;
            }
            address.set(to, [byte]);
            to += 1;
            self.skip();
        }
    }
}

/// What an IPv4 address has before it that is mapped into IPv6.
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// In place of how many bytes come before a `::`.
const NO_GAP: usize = usize::MAX;

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

fn write_lossy(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        f.write_str(chunk.valid())?;
        for _ in chunk.invalid() {
            f.write_char(char::REPLACEMENT_CHARACTER)?;
        }
    }
    Ok(())
}

fn write_v4(f: &mut fmt::Formatter<'_>, octets: [u8; 4]) -> fmt::Result {
    for (index, octet) in octets.into_iter().enumerate() {
        if index != 0 {
            f.write_char('.')?;
        }
        write_number::<10>(f, u32::from(octet))?;
    }
    Ok(())
}

/// As RFC 5952 has it: the longest run of at least two zero groups, the first of equals, is `::`.
fn write_v6(f: &mut fmt::Formatter<'_>, ip: Ipv6Addr) -> fmt::Result {
    if let [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, octets @ ..] = ip.octets() {
        f.write_str("::ffff:")?;
        return write_v4(f, octets);
    }
    let groups = ip.segments();
    let (mut gap, mut gap_end) = (usize::MAX, usize::MAX);
    let (mut longest, mut run) = (1_usize, 0_usize);
    for (index, group) in groups.into_iter().enumerate() {
        run = if group == 0 { run.wrapping_add(1) } else { 0 };
        if run > longest {
            longest = run;
            gap_end = index.wrapping_add(1);
            gap = gap_end.wrapping_sub(run);
        }
    }
    for (index, group) in groups.into_iter().enumerate() {
        if index == gap {
            f.write_str("::")?;
        }
        if index >= gap && index < gap_end {
            continue;
        }
        if index != 0 && index != gap_end {
            f.write_char(':')?;
        }
        write_number::<16>(f, u32::from(group))?;
    }
    Ok(())
}

/// Core's own would apply the caller's width and flags to each number.
fn write_number<const RADIX: u32>(f: &mut fmt::Formatter<'_>, number: u32) -> fmt::Result {
    let (more, last) = (number / RADIX, number % RADIX);
    if more != 0 {
        write_number::<RADIX>(f, more)?;
    }
    f.write_char(char::from_digit(last, RADIX).unwrap_or_default())
}

// From linux/socket.h, if.h and un.h. Not from linux-raw-sys, so that this file stands alone.
pub(crate) const AF_UNIX: u16 = 1;
pub(crate) const AF_INET: u16 = 2;
pub(crate) const AF_INET6: u16 = 10;
const AF_VSOCK: u16 = 40;
const IFNAMSIZ: usize = 16;
const SUN_PATH_MAX: usize = 108;
/// The longest path that leaves room for its NUL, and the longest name after its own.
const NAME_MAX: usize = SUN_PATH_MAX - 1;

#[cfg(test)]
mod tests {
    extern crate std;

    use super::{AddressErrorKind as Kind, *};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::format;
    use std::string::{String, ToString};
    use std::vec::Vec;

    const NETWORKS: [Network; 9] = [
        Network::Tcp,
        Network::Tcp4,
        Network::Tcp6,
        Network::Udp,
        Network::Udp4,
        Network::Udp6,
        Network::Unix,
        Network::UnixPacket,
        Network::UnixGram,
    ];

    fn inet(host: &str, port: u16) -> Address {
        SocketAddr::new(host.parse().unwrap(), port).into()
    }

    fn zoned(ip: &str, scope: u32, port: u16) -> Address {
        SocketAddr::V6(SocketAddrV6::new(ip.parse().unwrap(), port, 0, scope)).into()
    }

    fn named(ip: &str, interface: &str, port: u16) -> Address {
        let mut address = inet(ip, port);
        address.bytes[INTERFACE..][..interface.len()].copy_from_slice(interface.as_bytes());
        address
    }

    fn error(kind: Kind, at: usize) -> AddressError {
        AddressError::new(kind, at)
    }

    // Networks.

    #[test]
    fn network_is_read_by_the_name_it_writes() {
        for network in NETWORKS {
            assert_eq!(Network::parse(network.as_str().as_bytes()), Ok(network));
            assert_eq!(network.to_string(), network.as_str());
        }
    }

    #[test]
    fn other_network_is_an_error() {
        for name in ["", "TCP", "tcp ", "tcp5", "tc", "unixx", "ip", "tcp\0"] {
            let error = Network::parse(name.as_bytes()).unwrap_err();
            assert_eq!(
                error,
                super::tests::error(Kind::UnknownNetwork, 0),
                "{name}"
            );
        }
    }

    #[test]
    fn network_knows_its_kind() {
        for network in NETWORKS {
            let name = network.as_str();
            assert_eq!(network.is_tcp(), name.starts_with("tcp"));
            assert_eq!(network.is_udp(), name.starts_with("udp"));
            assert_eq!(network.is_unix(), name.starts_with("unix"));
            assert_eq!(network.is_v4_only(), name.ends_with('4'));
            assert_eq!(network.is_v6_only(), name.ends_with('6'));
            let datagram = name.starts_with("udp") || name == "unixgram";
            assert_eq!(network.is_datagram(), datagram);
        }
    }

    // Hosts and ports.

    #[test]
    fn every_form_is_read() {
        let table = [
            ("127.0.0.1:80", inet("127.0.0.1", 80)),
            ("0.0.0.0:0", inet("0.0.0.0", 0)),
            ("255.255.255.255:65535", inet("255.255.255.255", 65535)),
            ("[127.0.0.1]:80", inet("127.0.0.1", 80)),
            ("127.0.0.1:", inet("127.0.0.1", 0)),
            ("[::1]:", inet("::1", 0)),
            ("127.0.0.1:00080", inet("127.0.0.1", 80)),
            ("127.0.0.1:000000065535", inet("127.0.0.1", 65535)),
            ("[::]:80", inet("::", 80)),
            ("[::1]:80", inet("::1", 80)),
            ("[1:2:3:4:5:6:7:8]:9", inet("1:2:3:4:5:6:7:8", 9)),
            ("[1:2:3:4:5:6:7::]:9", inet("1:2:3:4:5:6:7:0", 9)),
            ("[::2:3:4:5:6:7:8]:9", inet("0:2:3:4:5:6:7:8", 9)),
            ("[1:2:3::6:7:8]:9", inet("1:2:3:0:0:6:7:8", 9)),
            ("[2001:DB8::aBcD]:9", inet("2001:db8::abcd", 9)),
            ("[64:ff9b::192.0.2.1]:9", inet("64:ff9b::c000:201", 9)),
            ("[1:2:3:4:5:6:1.2.3.4]:9", inet("1:2:3:4:5:6:102:304", 9)),
            ("[::1.2.3.4]:9", inet("::102:304", 9)),
            ("[fe80::1%2]:80", zoned("fe80::1", 2, 80)),
            ("[fe80::1%007]:80", zoned("fe80::1", 7, 80)),
            ("[::1%4294967294]:80", zoned("::1", u32::MAX - 1, 80)),
            ("[fe80::1%eth0]:80", named("fe80::1", "eth0", 80)),
            ("[fe80::%0x]:80", named("fe80::", "0x", 80)),
            ("[::%lo]:80", named("::", "lo", 80)),
            ("[::1.2.3.4%lo]:80", named("::102:304", "lo", 80)),
            ("[::%a23456789012345]:8", named("::", "a23456789012345", 8)),
        ];
        for (text, address) in table {
            for network in NETWORKS.into_iter().filter(|network| !network.is_unix()) {
                let parsed = Address::parse(network, text.as_bytes());
                let right_family = match address.family() {
                    AF_INET => !network.is_v6_only(),
                    _ => !network.is_v4_only(),
                };
                let expected = if right_family {
                    Ok(address)
                } else {
                    let bracket = usize::from(text.starts_with('['));
                    Err(error(Kind::FamilyMismatch, bracket))
                };
                assert_eq!(parsed, expected, "{network} {text}");
            }
        }
    }

    #[test]
    fn without_a_host_it_is_all_addresses() {
        for network in NETWORKS.into_iter().filter(|network| !network.is_unix()) {
            let host = if network.is_v4_only() {
                "0.0.0.0"
            } else {
                "::"
            };
            for (text, port) in [(":80", 80), ("[]:80", 80), (":", 0)] {
                let parsed = Address::parse(network, text.as_bytes());
                assert_eq!(parsed, Ok(inet(host, port)), "{network} {text}");
            }
        }
    }

    #[test]
    fn interface_is_kept_by_its_name() {
        let parse = |text: &str| Address::parse(Network::Tcp, text.as_bytes()).unwrap();
        let mut address = parse("[fe80::1%eth0]:80");
        assert_eq!(address.interface(), Some(&b"eth0"[..]));
        assert_eq!(address.to_string(), "[fe80::1%eth0]:80");
        assert_eq!(address.as_bytes(), parse("[fe80::1]:80").as_bytes());
        assert_ne!(address, parse("[fe80::1]:80"));
        let request = address.interface_request().unwrap();
        assert_eq!(request[..5], *b"eth0\0");
        request[16..20].fill(7);
        address.set_zone(7);
        assert_eq!(address, parse("[fe80::1%7]:80"));
        assert_eq!(address.interface_request(), None);
        for (text, keeps) in [
            ("[fe80::1%7]:80", true),
            ("[febf::1%7]:80", true),
            ("[ff02::1%7]:80", true),
            ("[ff01::1%7]:80", true),
            ("[ff05::1%7]:80", false),
            ("[fec0::1%7]:80", false),
            ("[::1%7]:80", false),
        ] {
            let mut address = parse(text);
            address.set_zone(7);
            assert_eq!(address == parse(text), keeps, "{text}");
        }
    }

    #[test]
    fn every_error_says_its_byte() {
        use Network::{Tcp, Tcp4, Tcp6, Udp4, Udp6};
        let table = [
            (Tcp, "", Kind::MissingPort, 0),
            (Tcp, "80", Kind::MissingPort, 2),
            (Tcp, "127.0.0.1", Kind::MissingPort, 9),
            (Tcp, "[::1]", Kind::MissingPort, 5),
            (Tcp, "[::1]80", Kind::MissingPort, 5),
            (Tcp, "[::1]]:80", Kind::MissingPort, 5),
            (Tcp, "::1:80", Kind::TooManyColons, 1),
            (Tcp, "fe80::1:80", Kind::TooManyColons, 5),
            (Tcp, "127.0.0.1:80:90", Kind::TooManyColons, 12),
            (Tcp, "[::1]:80:90", Kind::TooManyColons, 8),
            (Tcp, "[::1]::80", Kind::TooManyColons, 6),
            (Tcp, "[::1:80", Kind::UnclosedBracket, 7),
            (Tcp, "[", Kind::UnclosedBracket, 1),
            (Tcp, "example.org:80", Kind::InvalidHost, 0),
            (Tcp, "[example.org]:80", Kind::InvalidHost, 1),
            (Tcp, "0x7f.1:80", Kind::InvalidHost, 1),
            (Tcp, "1.2.3.4a:80", Kind::InvalidHost, 7),
            (Tcp, "LOCALHOST:80", Kind::InvalidHost, 0),
            (Tcp, "localhost.:80", Kind::InvalidHost, 0),
            (Tcp, "localhos:80", Kind::InvalidHost, 0),
            (Tcp, "bücher.example:80", Kind::InvalidHost, 0),
            (Tcp, "beef:80", Kind::InvalidHost, 0),
            (Tcp, " 127.0.0.1:80", Kind::InvalidHost, 0),
            (Tcp, "127.0.0.1 :80", Kind::InvalidHost, 9),
            (Tcp, "*:80", Kind::InvalidHost, 0),
            (Tcp, "eth0%1:80", Kind::InvalidHost, 0),
            (Tcp, "1.2.3:80", Kind::InvalidHost, 5),
            (Tcp, "1.2.3.:80", Kind::InvalidHost, 6),
            (Tcp, "1.2.3.4.5:80", Kind::InvalidHost, 9),
            (Tcp, "1.2.3.4.:80", Kind::InvalidHost, 8),
            (Tcp, ".1.2.3:80", Kind::InvalidHost, 0),
            (Tcp, "1..2.3:80", Kind::InvalidHost, 2),
            (Tcp, "1.2.256.4:80", Kind::InvalidHost, 7),
            (Tcp, "1.2.3.99999999999999999999:80", Kind::InvalidHost, 26),
            (Tcp, "1.2.03.4:80", Kind::InvalidHost, 5),
            (Tcp, "00.2.3.4:80", Kind::InvalidHost, 1),
            (Tcp, "2130706433:80", Kind::InvalidHost, 10),
            (Tcp, "1234:80", Kind::InvalidHost, 4),
            (Tcp, "[1.:5]:80", Kind::InvalidHost, 3),
            (Tcp, "[1.2.3.:4]:80", Kind::InvalidHost, 7),
            (Tcp, "[:]:80", Kind::InvalidHost, 2),
            (Tcp, "[:::]:80", Kind::InvalidHost, 3),
            (Tcp, "[1::2::3]:80", Kind::InvalidHost, 6),
            (Tcp, "[1:]:80", Kind::InvalidHost, 3),
            (Tcp, "[:1]:80", Kind::InvalidHost, 2),
            (Tcp, "[1:2:3]:80", Kind::InvalidHost, 6),
            (Tcp, "[12345::]:80", Kind::InvalidHost, 6),
            (Tcp, "[g::]:80", Kind::InvalidHost, 1),
            (Tcp, "[@::]:80", Kind::InvalidHost, 1),
            (Tcp, "[::-1]:80", Kind::InvalidHost, 3),
            (Tcp, "[::1 ]:80", Kind::InvalidHost, 4),
            (Tcp, "[[::1]:80", Kind::InvalidHost, 1),
            (Tcp, "[1:2:3:4:5:6:7:8:9]:80", Kind::InvalidHost, 18),
            (Tcp, "[1:2:3:4:5:6:7:8:]:80", Kind::InvalidHost, 17),
            (Tcp, "[1:2:3:4:5:6:7:8::]:80", Kind::InvalidHost, 18),
            (Tcp, "[1:2:3:4::5:6:7:8]:80", Kind::InvalidHost, 17),
            (Tcp, "[1:2:3:4:5:6:7:1.2.3.4]:80", Kind::InvalidHost, 20),
            (Tcp, "[1.2.3.4::]:80", Kind::InvalidHost, 8),
            (Tcp, "[::1.2.3.4:5]:80", Kind::InvalidHost, 10),
            (Tcp, "[::1.2.3]:80", Kind::InvalidHost, 8),
            (Tcp, "[::1.2.3.4.5.6.7.8]:80", Kind::InvalidHost, 18),
            (Tcp, "[::1.2.3.256]:80", Kind::InvalidHost, 12),
            (Tcp, "[::1.2.3.04]:80", Kind::InvalidHost, 10),
            (Tcp, "[::a.2.3.4]:80", Kind::InvalidHost, 3),
            (Tcp, "1.2.3\0.4:80", Kind::Nul, 5),
            (Tcp, "1.2.3.4:80\0", Kind::Nul, 10),
            (Tcp, "[fe80::1%]:80", Kind::InvalidZone, 9),
            (Tcp, "[fe80::1%0]:80", Kind::InvalidZone, 9),
            (Tcp, "[fe80::1%4294967295]:80", Kind::InvalidZone, 9),
            (
                Tcp,
                "[fe80::1%99999999999999999999]:80",
                Kind::InvalidZone,
                9,
            ),
            (Tcp, "[fe80::1%eth 0]:80", Kind::InvalidZone, 12),
            (Tcp, "[fe80::1%\u{7f}]:80", Kind::InvalidZone, 9),
            (Tcp, "[fe80::1%lo:1]:80", Kind::InvalidZone, 11),
            (Tcp, "[fe80::1%:]:80", Kind::InvalidZone, 9),
            (Tcp, "[fe80::1%a234567890123456]:80", Kind::InvalidZone, 24),
            (Tcp, "127.0.0.1%lo:80", Kind::MisplacedZone, 9),
            (Tcp, "%lo:80", Kind::InvalidHost, 0),
            (Tcp, "[::ffff:1.2.3.4%lo]:80", Kind::MisplacedZone, 15),
            (Tcp4, "[::1]:80", Kind::FamilyMismatch, 1),
            (Udp4, "[::]:80", Kind::FamilyMismatch, 1),
            (Tcp6, "127.0.0.1:80", Kind::FamilyMismatch, 0),
            (Udp6, "0.0.0.0:80", Kind::FamilyMismatch, 0),
            (Tcp, "127.0.0.1:http", Kind::InvalidPort, 10),
            (Tcp, ":http", Kind::InvalidPort, 1),
            (Tcp, "[::1]:http", Kind::InvalidPort, 6),
            (Tcp, ":8o", Kind::InvalidPort, 2),
            (Tcp, ":+80", Kind::InvalidPort, 1),
            (Tcp, ":-1", Kind::InvalidPort, 1),
            (Tcp, ": 80", Kind::InvalidPort, 1),
            (Tcp, ":80 ", Kind::InvalidPort, 3),
            (Tcp, ":80\n", Kind::InvalidPort, 3),
            (Tcp, ":65536", Kind::PortOutOfRange, 1),
            (Tcp, "127.0.0.1:70000", Kind::PortOutOfRange, 10),
            (Tcp, ":99999999999999999999", Kind::PortOutOfRange, 1),
        ];
        for (network, text, kind, at) in table {
            let parsed = Address::parse(network, text.as_bytes());
            assert_eq!(parsed, Err(error(kind, at)), "{network} {text:?}");
        }
    }

    /// Case B10.
    #[test]
    fn localhost_is_the_one_name() {
        for network in NETWORKS.into_iter().filter(|network| !network.is_unix()) {
            let host = match network.is_v6_only() {
                true => "::1",
                false => "127.0.0.1",
            };
            for text in ["localhost:80", "[localhost]:80"] {
                let parsed = Address::parse(network, text.as_bytes());
                assert_eq!(parsed, Ok(inet(host, 80)), "{network}");
            }

            let host_name = Address::parse(network, b"localhost.localdomain:80").unwrap_err();
            assert_eq!(
                host_name.to_string(),
                "not an IP address, and names are not resolved, at byte 0"
            );
            let service_name = Address::parse(network, b"localhost:http").unwrap_err();
            assert_eq!(
                service_name.to_string(),
                "not a port number, and names are not resolved, at byte 10",
            );
        }
    }

    #[test]
    fn mapped_address_is_ipv4_as_in_go() {
        for text in ["[::ffff:192.0.2.1]:80", "[0:0:0:0:0:FFFF:c000:201]:80"] {
            let parse = |network| Address::parse(network, text.as_bytes());
            assert_eq!(parse(Network::Tcp), Ok(inet("192.0.2.1", 80)));
            assert_eq!(parse(Network::Udp4), Ok(inet("192.0.2.1", 80)));
            assert_eq!(parse(Network::Tcp6), Err(error(Kind::FamilyMismatch, 1)));
        }
    }

    #[test]
    fn ipv6_is_written_as_rfc_5952_has_it() {
        for (read, written) in [
            ("2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8::1"),
            ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
            ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"),
            ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
            ("0:0:1:2:3:4:0:0", "::1:2:3:4:0:0"),
            ("1:2:3:4:5:6:0:0", "1:2:3:4:5:6::"),
            ("ABCD::", "abcd::"),
            ("0:0:0:0:0:0:0:0", "::"),
        ] {
            let address = Address::parse(Network::Tcp, format!("[{read}]:1").as_bytes());
            assert_eq!(address.unwrap().to_string(), format!("[{written}]:1"));
        }
        let mapped = inet("::ffff:192.0.2.1", 1);
        assert_eq!(mapped.to_string(), "[::ffff:192.0.2.1]:1");
    }

    #[test]
    fn width_of_the_caller_does_not_reach_the_numbers() {
        let address = zoned("fe80::1", 2, 80);
        assert_eq!(format!("{address:08}"), "[fe80::1%2]:80");
        assert_eq!(format!("{:>8}", inet("1.2.3.4", 5)), "1.2.3.4:5");
    }

    #[test]
    fn wildcards_are_known() {
        let wildcard = |host| inet(host, 80).is_wildcard();
        assert!(wildcard("0.0.0.0"));
        assert!(wildcard("::"));
        assert!(!wildcard("127.0.0.1"));
        assert!(!wildcard("::1"));
        // A wildcard of the other family, mapped, is none that bind(2) takes for both.
        assert!(!wildcard("::ffff:0.0.0.0"));
        assert!(!Address::UNNAMED.is_wildcard());
    }

    #[test]
    fn wildcards_turn_into_those_of_the_other_family() {
        let turned = |address: Address| {
            let mut turned = address;
            turned.turn_wildcard().then_some(turned)
        };
        assert_eq!(turned(inet("::", 80)), Some(inet("0.0.0.0", 80)));
        assert_eq!(turned(inet("0.0.0.0", 80)), Some(inet("::", 80)));
        assert_eq!(turned(inet("::1", 80)), None);
        assert_eq!(turned(inet("0.0.0.1", 80)), None);
        assert_eq!(turned(zoned("::", 1, 80)), None);
        assert_eq!(turned(Address::from_path(b"/a").unwrap()), None);
    }

    #[test]
    fn core_socket_address_becomes_ours_and_back() {
        let v6_address = SocketAddrV6::new("fe80::1".parse().unwrap(), 80, 7, 3);
        let address = Address::from(SocketAddr::V6(v6_address));
        assert_eq!(address, zoned("fe80::1", 3, 80));
        let back = SocketAddrV6::new("fe80::1".parse().unwrap(), 80, 0, 3);
        assert_eq!(address.to_socket_addr(), Some(back.into()));
        let v4_address: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let address = Address::from(v4_address);
        assert_eq!(address.port(), Some(80));
        assert_eq!(address.to_socket_addr(), Some(v4_address));
        assert_eq!(address.with_port(81), inet("127.0.0.1", 81));

        let path = Address::from_path(b"/run/app").unwrap();
        assert_eq!((path.port(), path.to_socket_addr()), (None, None));
        assert_eq!(path.with_port(81), path);
    }

    #[test]
    fn error_is_an_error_of_core() {
        let error = Address::parse(Network::Tcp, b"::1:80").unwrap_err();
        let error: &dyn Error = &error;
        assert_eq!(
            error.to_string(),
            "too many colons, an IPv6 address stands in brackets, at byte 1",
        );
    }

    // Unix addresses.

    #[test]
    fn unix_forms_are_read() {
        let path = parse_unix(b"/run/app.sock").unwrap();
        assert_eq!(path.as_path(), Some(&b"/run/app.sock"[..]));
        assert_eq!(path.as_abstract_name(), None);
        assert!(!path.is_unnamed());

        let name = parse_unix(b"@app").unwrap();
        assert_eq!(name.as_path(), None);
        assert_eq!(name.as_abstract_name(), Some(&b"app"[..]));
        assert!(!name.is_unnamed());

        let empty_name = parse_unix(b"@").unwrap();
        assert_eq!(empty_name.as_abstract_name(), Some(&b""[..]));
        assert_eq!(empty_name.to_string(), "@");
        assert_ne!(empty_name, Address::UNNAMED);

        assert!(Address::UNNAMED.is_unnamed());
        assert_eq!(Address::UNNAMED.as_path(), None);
        assert_eq!(Address::UNNAMED.as_abstract_name(), None);
        assert_eq!(Address::UNNAMED.to_string(), "");
    }

    #[test]
    fn unix_errors_say_their_byte() {
        let parse = |text: &[u8]| Address::parse(Network::UnixPacket, text).unwrap_err();
        assert_eq!(parse(b""), error(Kind::EmptyPath, 0));
        assert_eq!(parse(b"/run\0/x"), error(Kind::Nul, 4));
        assert_eq!(parse(b"\0app"), error(Kind::Nul, 0));
        assert_eq!(parse(&[b'p'; 108]), error(Kind::TooLong, 107));
        assert_eq!(parse(&[b'@'; 109]), error(Kind::TooLong, 108));
    }

    /// Case C5.
    #[test]
    fn path_and_abstract_name_have_up_to_107_bytes() {
        for len in 1..=107 {
            let bytes = std::vec![b'p'; len];
            let path = Address::from_path(&bytes).unwrap();
            assert_eq!(path.as_path(), Some(&bytes[..]));
            let name = Address::from_abstract(&bytes).unwrap();
            assert_eq!(name.as_abstract_name(), Some(&bytes[..]));
            for address in [path, name] {
                let text = address.to_string();
                assert_eq!(parse_unix(text.as_bytes()), Ok(address));
            }
        }
        for len in [108, 109, 255, 256, 363, 65536] {
            let bytes = std::vec![b'p'; len];
            let too_long = Err(error(Kind::TooLong, 107));
            assert_eq!(Address::from_path(&bytes), too_long);
            assert_eq!(Address::from_abstract(&bytes), too_long);
        }
    }

    #[test]
    fn path_that_begins_with_at_is_not_shown_as_an_abstract_name() {
        let path = Address::from_path(b"@app").unwrap();
        assert_eq!(path.as_path(), Some(&b"@app"[..]));
        assert_eq!(path.to_string(), "./@app");
        assert_ne!(path, parse_unix(b"@app").unwrap());
    }

    #[test]
    fn each_byte_that_is_not_utf_8_is_shown_as_u_fffd() {
        let path = Address::from_path(b"/\xf0\x9f\x92/\xff\xc3\xa4").unwrap();
        assert_eq!(path.to_string(), "/\u{fffd}\u{fffd}\u{fffd}/\u{fffd}ä");
        let shown = format!("{path:?}");
        assert_eq!(shown, r#"Address("/\xf0\x9f\x92/\xff\xc3\xa4")"#);
        let name = Address::from_abstract(b"\xfe").unwrap();
        assert_eq!(name.to_string(), "@\u{fffd}");
        assert_eq!(format!("{name:?}"), r#"Address("\x00\xfe")"#);
    }

    // What the kernel returns.

    fn sockaddr_un(sun_path: &[u8]) -> Vec<u8> {
        [&1_u16.to_ne_bytes(), sun_path].concat()
    }

    fn sockaddr_in6(port: u16, flow: u32, ip: &str, scope: u32) -> Vec<u8> {
        let ip: Ipv6Addr = ip.parse().unwrap();
        let mut bytes = Vec::new();
        bytes.extend(10_u16.to_ne_bytes());
        bytes.extend(port.to_be_bytes());
        bytes.extend(flow.to_be_bytes());
        bytes.extend(ip.octets());
        bytes.extend(scope.to_ne_bytes());
        bytes
    }

    /// Case B8.
    #[test]
    fn unix_addresses_of_the_kernel_are_kept_to_the_byte() {
        let decode = |sun_path: &[u8]| Address::decode(&sockaddr_un(sun_path)).unwrap();

        // A path of 108 bytes has no NUL; with a large buffer, the kernel's length counts one.
        let long = [b'p'; 108];
        assert_eq!(decode(&long).as_path(), Some(&long[..]));
        assert_eq!(decode(&long).to_string().len(), 108);
        assert_eq!(decode(&[&long[..], b"\0"].concat()), decode(&long));
        // More than a `struct sockaddr_un` is nothing that bind(2) takes.
        assert_eq!(decode(&long).as_bytes(), sockaddr_un(&long));

        let path = Address::from_path(b"/run/app.sock").unwrap();
        assert_eq!(decode(b"/run/app.sock\0"), path);
        assert_eq!(decode(b"/run/app.sock"), path);
        assert_eq!(decode(b"/run/app.sock\0left over"), path);

        let name = decode(b"\0a\0b\0");
        assert_eq!(name.as_abstract_name(), Some(&b"a\0b\0"[..]));
        assert_ne!(name, decode(b"\0a\0b"));
        assert_ne!(name, decode(b"\0a\0b\0\0"));
        let autobound = decode(b"\x00000af");
        assert_eq!(autobound.as_abstract_name(), Some(&b"000af"[..]));
        assert_eq!(autobound.to_string(), "@000af");
        let longest = [&b"\0"[..], &[b'n'; 107]].concat();
        assert_eq!(decode(&longest).as_abstract_name(), Some(&longest[1..]));
        assert_eq!(decode(b"\0").as_abstract_name(), Some(&b""[..]));

        assert_eq!(decode(b""), Address::UNNAMED);

        // A path, and the abstract name of the same bytes.
        assert_ne!(decode(b"app\0"), decode(b"\0app"));

        for too_long in [&[b'p'; 109][..], &[0; 109], &[b'p'; 300]] {
            assert_eq!(Address::decode(&sockaddr_un(too_long)), None);
        }
    }

    /// Case B7.
    #[test]
    fn scope_counts_and_flow_info_does_not() {
        let decode = |flow, scope| Address::decode(&sockaddr_in6(80, flow, "fe80::1", scope));
        assert_eq!(decode(0, 2), Some(zoned("fe80::1", 2, 80)));
        assert_eq!(decode(0, 0), Some(inet("fe80::1", 80)));
        assert_eq!(decode(0x000f_ffff, 2), decode(0, 2));
        assert_ne!(decode(0, 2), decode(0, 3));
    }

    #[test]
    fn inet_addresses_of_the_kernel_keep_their_family() {
        let mut bytes = 2_u16.to_ne_bytes().to_vec();
        bytes.extend([0x1f, 0x90, 192, 0, 2, 1]);
        let v4_address = inet("192.0.2.1", 8080);
        assert_eq!(Address::decode(&bytes), Some(v4_address));
        assert_eq!(
            Address::decode(&[&bytes[..], &[0; 8]].concat()),
            Some(v4_address)
        );

        let mapped = sockaddr_in6(8080, 0, "::ffff:192.0.2.1", 0);
        let mapped = Address::decode(&mapped);
        assert_eq!(mapped, Some(inet("::ffff:192.0.2.1", 8080)));
        assert_ne!(mapped, Some(v4_address));
    }

    #[test]
    fn cut_or_foreign_socket_address_is_none() {
        let full = sockaddr_in6(80, 0, "::1", 1);
        for len in 0..full.len() {
            assert_eq!(Address::decode(&full[..len]), None, "{len}");
        }
        let mut v4_bytes = [0; 16];
        v4_bytes[..2].copy_from_slice(&2_u16.to_ne_bytes());
        for len in 0..8 {
            assert_eq!(Address::decode(&v4_bytes[..len]), None, "{len}");
        }
        // AF_UNSPEC, AF_NETLINK, AF_VSOCK.
        for family in [0_u16, 16, 40, u16::MAX] {
            let bytes = [&family.to_ne_bytes()[..], &[0; 126]].concat();
            assert_eq!(Address::decode(&bytes), None);
        }
    }

    fn parse_unix(text: &[u8]) -> Result<Address, AddressError> {
        Address::parse(Network::Unix, text)
    }

    // Properties.

    fn any_network() -> impl Strategy<Value = Network> {
        proptest::sample::select(&NETWORKS[..])
    }

    /// Octets with many zeros, so that `::` has something to do.
    fn any_v6() -> impl Strategy<Value = Ipv6Addr> {
        let group = prop_oneof![Just(0), Just(0xffff), 0..16_u16, any::<u16>()];
        proptest::array::uniform8(group).prop_map(Ipv6Addr::from)
    }

    /// Of no interface, one by its number, and one by its name.
    fn any_zone() -> impl Strategy<Value = (u32, String)> {
        prop_oneof![
            Just((0, String::new())),
            (1..u32::MAX).prop_map(|index| (index, String::new())),
            "[!-9;-\\\\^-~]{0,14}[!-/;-\\\\^-~]".prop_map(|name| (0, name)),
        ]
    }

    /// An address of the kind that parsing for the network gives.
    fn any_address(network: Network) -> BoxedStrategy<Address> {
        if network.is_unix() {
            let path = "[^\0@][^\0]{0,25}".prop_map(|p| Address::from_path(p.as_bytes()));
            let name = "\\PC{0,26}".prop_map(|n| Address::from_abstract(n.as_bytes()));
            let with_nul = "(\0|a|\n){0,107}";
            let with_nul = with_nul.prop_map(|n| Address::from_abstract(n.as_bytes()));
            return prop_oneof![path, name, with_nul]
                .prop_map(|address| address.unwrap())
                .boxed();
        }
        let not_mapped = |ip: &Ipv6Addr| ip.to_ipv4_mapped().is_none();
        let v6 = (any_v6().prop_filter("mapped", not_mapped), any_zone())
            .prop_map(|(ip, (scope, name))| {
                let mut address = zoned(&ip.to_string(), scope, 0);
                address.bytes[INTERFACE..][..name.len()].copy_from_slice(name.as_bytes());
                address
            })
            .boxed();
        let v4 = any::<Ipv4Addr>().prop_map(|ip| inet(&ip.to_string(), 0));
        let host = match network {
            _ if network.is_v4_only() => v4.boxed(),
            _ if network.is_v6_only() => v6,
            _ => prop_oneof![v4, v6].boxed(),
        };
        (host, any::<u16>())
            .prop_map(|(host, port)| host.with_port(port))
            .boxed()
    }

    /// What looks like an address, more or less.
    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof![
            "[0-9a-f:.%\\[\\]]{0,24}",
            "\\[[0-9a-f:]{0,40}(%[a-z0-9.]{0,17})?\\]:[0-9]{0,6}",
            "[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}:[0-9]{0,6}",
            "(localhost|@|/|\\[|::)?\\PC{0,12}(:|\\]:)?[0-9a-z]{0,3}",
        ]
    }

    proptest! {
        #[test]
        fn encoded_address_is_decoded(
            (network, address) in any_network().prop_flat_map(|n| (Just(n), any_address(n))),
        ) {
            let decoded = Address::decode(address.as_bytes());
            prop_assert!(decoded.is_some(), "{network} {address}");
            let exact = address.interface().is_none();
            prop_assert!(!exact || decoded == Some(address), "{network} {address} {decoded:?}");
        }

        #[test]
        fn address_that_is_written_is_read_again(
            (network, address) in any_network()
                .prop_flat_map(|network| (Just(network), any_address(network)))
        ) {
            let text = address.to_string();
            prop_assert_eq!(Address::parse(network, text.as_bytes()), Ok(address), "{}", text);
        }

        #[test]
        fn address_that_is_read_is_written_and_read_again(
            network in any_network(),
            text in any_text(),
        ) {
            if let Ok(address) = Address::parse(network, text.as_bytes()) {
                let written = address.to_string();
                prop_assert_eq!(Address::parse(network, written.as_bytes()), Ok(address));
            }
        }

        #[test]
        fn decoded_address_is_written_and_read_again(
            network in any_network(),
            family in proptest::sample::select(&[AF_UNIX, AF_INET, AF_INET6][..]),
            rest in vec(any::<u8>(), 0..128),
        ) {
            let sockaddr = [&family.to_ne_bytes()[..], &rest].concat();
            if let Some(address) = Address::decode(&sockaddr) {
                let text = address.to_string();
                // Documented exceptions: no UTF-8, a mapped address, a path like `@…`.
                let exact = match address.to_socket_addr() {
                    None => {
                        network.is_unix()
                            && !text.contains('\u{fffd}')
                            && !address.as_path().is_some_and(|path| path.starts_with(b"@"))
                    }
                    Some(SocketAddr::V4(_)) => true,
                    Some(SocketAddr::V6(v6)) => v6.ip().to_ipv4_mapped().is_none(),
                };
                if let (true, Ok(parsed)) = (exact, Address::parse(network, text.as_bytes())) {
                    if parsed.port().is_some() == address.port().is_some() {
                        prop_assert_eq!(parsed, address);
                    }
                }
            }
        }

        #[test]
        fn ipv4_is_read_and_written_as_core_does(
            text in prop_oneof![
                any::<Ipv4Addr>().prop_map(|ip| ip.to_string()),
                "[0-9]{1,3}(\\.[0-9]{1,3}){3}",
                "[0-9.]{1,16}",
            ]
        ) {
            let ours = Address::parse(Network::Tcp, format!("{text}:7").as_bytes()).ok();
            let cores = text.parse::<Ipv4Addr>().ok();
            prop_assert_eq!(ours, cores.map(|ip| inet(&ip.to_string(), 7)));
            if let (Some(ours), Some(cores)) = (ours, cores) {
                prop_assert_eq!(ours.to_string(), format!("{cores}:7"));
            }
        }

        #[test]
        fn ipv6_is_read_and_written_as_core_does(
            text in prop_oneof![
                any_v6().prop_map(|ip| ip.to_string()),
                "[0-9a-fA-F]{0,4}(::?[0-9a-fA-F]{1,4}){0,9}(:|::)?",
                "[0-9a-f]{0,4}(::?[0-9a-f]{1,4}){0,6}::?[0-9]{1,3}(\\.[0-9]{1,3}){3}",
                ":[0-9a-f:.]{1,24}",
            ].prop_filter("without a colon it is no IPv6", |text| text.contains(':'))
        ) {
            let ours = Address::parse(Network::Tcp, format!("[{text}]:7").as_bytes()).ok();
            let cores = text.parse::<Ipv6Addr>().ok();
            let expected = cores.map(|ip| match ip.to_ipv4_mapped() {
                Some(v4) => inet(&v4.to_string(), 7),
                None => inet(&ip.to_string(), 7),
            });
            prop_assert_eq!(ours, expected);
            if let Some(ip) = cores {
                let plain = inet(&ip.to_string(), 7);
                prop_assert_eq!(plain.to_string(), format!("[{ip}]:7"));
            }
        }

        #[test]
        fn nothing_panics_and_errors_lie_within_the_text(
            network in any_network(),
            bytes in prop_oneof![
                vec(any::<u8>(), 0..200),
                any_text().prop_map(String::into_bytes),
            ],
        ) {
            let _ = Network::parse(&bytes);
            let _ = (Address::from_path(&bytes), Address::from_abstract(&bytes));
            let _ = Address::decode(&bytes).map(|address| format!("{address} {address:?}"));
            match Address::parse(network, &bytes) {
                Ok(address) => drop(format!("{address} {address:?}")),
                Err(error) => {
                    prop_assert!(error.at() <= bytes.len());
                    let end = format!(", at byte {}", error.at());
                    prop_assert!(error.to_string().ends_with(&end));
                }
            }
        }
    }

    #[test]
    fn every_decoded_length_of_every_family_is_safe() {
        for family in 0..=64_u16 {
            for fill in [0, b'a', 0xff] {
                let bytes = [&family.to_ne_bytes()[..], &[fill; 140]].concat();
                for len in 0..=bytes.len() {
                    if let Some(address) = Address::decode(&bytes[..len]) {
                        drop(format!("{address} {address:?}"));
                    }
                }
            }
        }
    }
}
