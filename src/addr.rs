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
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use core::num::NonZeroU32;

/// What kind of socket an address is for, under Go's names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Network {
    /// `tcp`: a TCP listener, IPv4 or IPv6; both at once where the host is left out or is `[::]`.
    Tcp,
    /// `tcp4`: a TCP listener, IPv4 only.
    Tcp4,
    /// `tcp6`: a TCP listener, IPv6 only.
    Tcp6,
    /// `udp`: a UDP socket, IPv4 or IPv6; both at once where the host is left out or is `[::]`.
    Udp,
    /// `udp4`: a UDP socket, IPv4 only.
    Udp4,
    /// `udp6`: a UDP socket, IPv6 only.
    Udp6,
    /// `unix`: a stream listener (`SOCK_STREAM`).
    Unix,
    /// `unixpacket`: a listener for connections that keep the bounds of messages (`SOCK_SEQPACKET`).
    UnixPacket,
    /// `unixgram`: a datagram socket (`SOCK_DGRAM`).
    UnixGram,
}

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
        Self::ALL
            .iter()
            .copied()
            .find(|network| network.as_str().as_bytes() == name)
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
        matches!(self, Self::Unix | Self::UnixPacket | Self::UnixGram)
    }

    /// `network.is_datagram()` — Whether its sockets are bound only, and neither listen nor accept.
    pub const fn is_datagram(self) -> bool {
        matches!(self, Self::Udp | Self::Udp4 | Self::Udp6 | Self::UnixGram)
    }

    /// `network.is_v4_only()` — Whether it is `tcp4` or `udp4`.
    pub const fn is_v4_only(self) -> bool {
        matches!(self, Self::Tcp4 | Self::Udp4)
    }

    /// `network.is_v6_only()` — Whether it is `tcp6` or `udp6`.
    pub const fn is_v6_only(self) -> bool {
        matches!(self, Self::Tcp6 | Self::Udp6)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a socket is bound.
///
/// `Display` writes what [`parse`](Self::parse) reads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Address {
    /// A host and a port.
    Inet(InetAddress),
    /// A path, an abstract name, or no name.
    Unix(UnixAddress),
}

impl Address {
    /// `Address::parse(network, text)` — Reads an address in the form that the network has.
    ///
    /// For `unix`, `unixpacket` and `unixgram` see [`UnixAddress::parse`]. For the others, as in Go:
    ///
    /// - `host:port`, where an IPv6 host stands in brackets. The port is decimal, 0 to 65535; leading
    ///   zeros change nothing, and an empty port is port 0. The colon must be there, so that an empty
    ///   text, which Go takes for port 0, is an error.
    /// - An empty host is [`Host::Any`]: the network says of which family.
    /// - `localhost` is 127.0.0.1, for `tcp6` and `udp6` ::1. No other name is known.
    /// - An octet of an IPv4 address has no leading zero.
    /// - A zone follows an IPv6 address: `%eth0` is an interface by name, `%2`, all digits, by index.
    /// - An IPv4 address mapped into IPv6, `[::ffff:192.0.2.1]`, is that IPv4 address: `tcp` and
    ///   `tcp4` give [`Host::V4`], `tcp6` refuses it, and it has no zone.
    ///
    /// # Errors
    ///
    /// The kind says what is wrong, and [`AddressError::at`] at which byte of `text`.
    ///
    /// - [`AddressErrorKind::MissingPort`], [`AddressErrorKind::TooManyColons`],
    ///   [`AddressErrorKind::UnclosedBracket`]: it is not in the form `host:port`.
    /// - [`AddressErrorKind::HostName`], [`AddressErrorKind::ServiceName`]: it would have to be
    ///   resolved.
    /// - [`AddressErrorKind::FamilyMismatch`]: an IPv6 host for `tcp4`, or the like.
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
    /// assert_eq!(admin.to_string(), "/run/app/admin.sock");
    ///
    /// let error = Address::parse(Network::Tcp, b"localhost:http").unwrap_err();
    /// assert_eq!(error.kind(), AddressErrorKind::ServiceName);
    /// assert_eq!(error.at(), 10);
    /// # Ok::<(), gracenet::addr::AddressError>(())
    /// ```
    #[inline(never)]
    pub fn parse(network: Network, text: &[u8]) -> Result<Self, AddressError> {
        let mut reader = Reader { text, at: 0 };
        let kind = if network.is_unix() {
            match reader.unix() {
                Ok(skip) => return Ok(Self::Unix(UnixAddress::filled(skip, reader.rest()))),
                Err(kind) => kind,
            }
        } else {
            let mut address = InetAddress {
                host: Host::Any,
                port: 0,
            };
            match reader.inet(network, &mut address) {
                Ok(()) => return Ok(Self::Inet(address)),
                Err(kind) => kind,
            }
        };
        Err(reader.error(kind))
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
    /// use gracenet::addr::{Address, UnixAddress};
    ///
    /// let mut v4 = [0; 16];
    /// v4[..2].copy_from_slice(&2_u16.to_ne_bytes());
    /// v4[2..8].copy_from_slice(&[0x1f, 0x90, 127, 0, 0, 1]);
    /// assert_eq!(Address::decode(&v4).unwrap().to_string(), "127.0.0.1:8080");
    ///
    /// let unnamed = 1_u16.to_ne_bytes();
    /// assert_eq!(Address::decode(&unnamed), Some(Address::Unix(UnixAddress::UNNAMED)));
    /// ```
    #[doc(alias = "getsockname")]
    #[doc(alias = "sockaddr")]
    pub fn decode(sockaddr: &[u8]) -> Option<Self> {
        let (family, rest) = sockaddr.split_first_chunk()?;
        match u16::from_ne_bytes(*family) {
            AF_UNIX => {
                let bytes = match rest {
                    [] | [0, ..] => rest,
                    path => until_nul(path),
                };
                if bytes.len() > SUN_PATH_MAX {
                    return None;
                }
                Some(Self::Unix(UnixAddress::filled(0, bytes)))
            }
            AF_INET => {
                let [p0, p1, octets @ ..] = *rest.first_chunk::<6>()?;
                Some(Self::Inet(InetAddress {
                    host: Host::V4(Ipv4Addr::from(octets)),
                    port: u16::from_be_bytes([p0, p1]),
                }))
            }
            AF_INET6 => {
                let [p0, p1, _, _, _, _, octets @ .., s0, s1, s2, s3] =
                    *rest.first_chunk::<26>()?;
                let scope = u32::from_ne_bytes([s0, s1, s2, s3]);
                Some(Self::Inet(InetAddress {
                    host: Host::V6(Ipv6Addr::from(octets), Zone::from_scope_id(scope)),
                    port: u16::from_be_bytes([p0, p1]),
                }))
            }
            _ => None,
        }
    }
}

/// The bytes of a socket address, as bind(2) wants them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SockAddr {
    bytes: [u8; SOCKADDR_MAX],
    len: usize,
}

/// A family and the longest path, with its NUL.
const SOCKADDR_MAX: usize = 2 + SUN_PATH_MAX;

impl SockAddr {
    /// Of a unix socket that the kernel is to name: a family alone.
    pub(crate) const AUTOBIND: Self = Self::of_bytes(AF_UNIX, []);

    /// `struct sockaddr_vm`: a port of a machine.
    pub(crate) const fn vsock(cid: u32, port: u32) -> Self {
        let ([p0, p1, p2, p3], [c0, c1, c2, c3]) = (port.to_ne_bytes(), cid.to_ne_bytes());
        let rest = [0, 0, p0, p1, p2, p3, c0, c1, c2, c3, 0, 0, 0, 0];
        Self::of_bytes(AF_VSOCK, rest)
    }

    /// A family, and what follows it.
    const fn of_bytes<const N: usize>(family: u16, rest: [u8; N]) -> Self {
        const { assert!(N <= SUN_PATH_MAX) };
        let mut bytes = [0; SOCKADDR_MAX];
        let (room, behind) = bytes.split_at_mut(2);
        room.copy_from_slice(&family.to_ne_bytes());
        behind.split_at_mut(N).0.copy_from_slice(&rest);
        Self { bytes, len: 2 + N }
    }

    pub(crate) fn family(&self) -> u16 {
        family(self.as_bytes()).unwrap_or(0)
    }

    /// What [`Address::decode`] reads. A zone that has no number and a host that is left out are
    /// taken for none.
    pub(crate) fn encode(address: &Address) -> Self {
        let mut encoded = Self {
            bytes: [0; SOCKADDR_MAX],
            len: 0,
        };
        encoded.fill(address);
        encoded
    }

    /// Where there are zeros.
    // As a part of the above, all is put together twice.
    #[inline(never)]
    fn fill(&mut self, address: &Address) {
        match address {
            Address::Unix(unix) => {
                self.set::<0, 2>(AF_UNIX.to_ne_bytes());
                self.set::<2, SUN_PATH_MAX>(unix.sun_path);
                // The NUL of a path, which is there already, counts.
                let nul = usize::from(unix.as_path().is_some());
                self.len = usize::from(unix.len).wrapping_add(2).wrapping_add(nul);
            }
            Address::Inet(InetAddress { host, port }) => {
                self.set::<2, 2>(port.to_be_bytes());
                if let Host::V6(ip, zone) = host {
                    self.set::<0, 2>(AF_INET6.to_ne_bytes());
                    self.set::<8, 16>(ip.octets());
                    if let Zone::Index(index) = zone {
                        self.set::<24, 4>(index.get().to_ne_bytes());
                    }
                    self.len = 28;
                } else {
                    self.set::<0, 2>(AF_INET.to_ne_bytes());
                    if let Host::V4(ip) = host {
                        self.set::<4, 4>(ip.octets());
                    }
                    self.len = 16;
                }
            }
        }
    }

    /// Of a unix socket with a path: the directory that it is in.
    pub(crate) fn folder(&self) -> Self {
        let mut folder = *self;
        let slash = self.as_bytes().iter().rposition(|byte| *byte == b'/');
        if slash.is_none() {
            // Room for it and a NUL: the path is not empty, and has a NUL behind it.
            folder.set::<2, 1>([b'.']);
        }
        let end = slash.unwrap_or(2).wrapping_add(1);
        if let Some(behind) = folder.bytes.get_mut(end) {
            *behind = 0;
        }
        folder.len = end.wrapping_add(1);
        folder
    }

    /// Turns all addresses of one family into all addresses of the other: the port stays.
    pub(crate) fn set_wildcard_family(&mut self, v6: bool) {
        let (family, len) = if v6 { (AF_INET6, 28) } else { (AF_INET, 16) };
        self.set::<0, 2>(family.to_ne_bytes());
        self.len = len;
    }

    /// The bytes from `AT` on, which are there: a store and no more.
    #[inline(always)]
    fn set<const AT: usize, const LEN: usize>(&mut self, bytes: [u8; LEN]) {
        let room = self.bytes.get_mut(AT..);
        if let Some(to) = room.and_then(<[u8]>::first_chunk_mut) {
            *to = bytes;
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }

    /// The path of a unix socket that has one, with its NUL.
    pub(crate) fn path(&self) -> Option<&[u8]> {
        let path = self.as_bytes().strip_prefix(&AF_UNIX.to_ne_bytes())?;
        (!matches!(path.first(), None | Some(0))).then_some(path)
    }
}

/// The port, and the host with its zone, of the bytes of an internet address; `None` of another.
/// Flow info is left out.
pub(crate) fn port_and_host(sockaddr: &[u8]) -> Option<(&[u8], &[u8])> {
    let host = match family(sockaddr)? {
        AF_INET => sockaddr.get(4..8)?,
        AF_INET6 => sockaddr.get(8..28)?,
        _ => return None,
    };
    Some((sockaddr.get(2..4)?, host))
}

/// The family of the bytes of a socket address.
pub(crate) fn family(sockaddr: &[u8]) -> Option<u16> {
    sockaddr
        .first_chunk()
        .map(|family| u16::from_ne_bytes(*family))
}

impl From<InetAddress> for Address {
    fn from(address: InetAddress) -> Self {
        Self::Inet(address)
    }
}

impl From<UnixAddress> for Address {
    fn from(address: UnixAddress) -> Self {
        Self::Unix(address)
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(address.into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(address) => address.fmt(f),
        }
    }
}

/// A host and a port.
///
/// `Display` writes `host:port`, an IPv6 host in brackets and as RFC 5952 has it. An IPv6 address
/// with an IPv4 address mapped into it, which [`Address::decode`] can return and
/// [`Address::parse`] never does, is written `[::ffff:192.0.2.1]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct InetAddress {
    /// The host.
    pub host: Host,
    /// The port; 0 lets the kernel choose one.
    pub port: u16,
}

impl InetAddress {
    /// `address.is_wildcard()` — Whether the host is left out, 0.0.0.0 or `::`.
    pub const fn is_wildcard(&self) -> bool {
        match self.host {
            Host::Any => true,
            Host::V4(ip) => ip.is_unspecified(),
            Host::V6(ip, _) => ip.is_unspecified(),
        }
    }

    /// `address.with_port(port)` — The same host with another port.
    #[must_use]
    pub const fn with_port(self, port: u16) -> Self {
        Self {
            host: self.host,
            port,
        }
    }
}

/// The flow info is left out; a scope id other than 0 becomes [`Zone::Index`].
impl From<SocketAddr> for InetAddress {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: match address {
                SocketAddr::V4(v4) => Host::V4(*v4.ip()),
                SocketAddr::V6(v6) => Host::V6(*v6.ip(), Zone::from_scope_id(v6.scope_id())),
            },
            port: address.port(),
        }
    }
}

impl fmt::Display for InetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host {
            Host::Any => {}
            Host::V4(ip) => write_v4(f, ip.octets())?,
            Host::V6(ip, zone) => {
                f.write_char('[')?;
                write_v6(f, ip)?;
                match zone {
                    Zone::None => {}
                    Zone::Index(index) => {
                        f.write_char('%')?;
                        write_number::<10>(f, index.get())?;
                    }
                    Zone::Name(name) => {
                        f.write_char('%')?;
                        name.fmt(f)?;
                    }
                }
                f.write_char(']')?;
            }
        }
        f.write_char(':')?;
        write_number::<10>(f, u32::from(self.port))
    }
}

/// The host of an [`InetAddress`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Host {
    /// No host was given: all of the machine's addresses, of the families that the network has.
    Any,
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address and its zone.
    V6(Ipv6Addr, Zone),
}

/// The interface that an IPv6 address belongs to, which link-local ones need.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Zone {
    /// None was given, the scope id is 0.
    None,
    /// The interface with this index, the scope id.
    #[doc(alias = "sin6_scope_id")]
    Index(NonZeroU32),
    /// The interface of this name; whoever binds looks up its index.
    Name(InterfaceName),
}

impl Zone {
    fn from_scope_id(scope_id: u32) -> Self {
        NonZeroU32::new(scope_id).map_or(Self::None, Self::Index)
    }
}

/// The name of a network interface: 1 to 15 bytes of printable ASCII, kept inline.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct InterfaceName {
    // Padded with NULs, of which there is at least one.
    bytes: [u8; IFNAMSIZ],
}

impl InterfaceName {
    /// `InterfaceName::new(name)` — Checks the name of an interface, and keeps a copy.
    ///
    /// A name has 1 to 15 bytes of printable ASCII, without `/`, `:`, `%`, `[`, `]` and the space,
    /// is not `.` or `..`, and has something else than digits, because digits are an index. The
    /// kernel allows more; for an interface of such a name there is [`Zone::Index`].
    ///
    /// # Errors
    ///
    /// - [`AddressErrorKind::InvalidZone`]: it is no such name, from this byte on.
    ///
    /// # Examples
    ///
    /// ```
    /// use gracenet::addr::InterfaceName;
    ///
    /// assert_eq!(InterfaceName::new(b"eth0")?.as_str(), "eth0");
    /// assert_eq!(InterfaceName::new(b"wg-site.7")?.as_bytes(), b"wg-site.7");
    /// assert_eq!(InterfaceName::new(b"eth/0").unwrap_err().at(), 3);
    /// # Ok::<(), gracenet::addr::AddressError>(())
    /// ```
    ///
    /// # References
    ///
    /// - [`dev_valid_name` in Linux](https://github.com/torvalds/linux/blob/master/net/core/dev.c)
    /// - [`ifname_valid_full` in systemd](https://github.com/systemd/systemd/blob/main/src/basic/socket-util.c)
    pub fn new(name: &[u8]) -> Result<Self, AddressError> {
        let mut reader = Reader { text: name, at: 0 };
        let mut zone = Zone::None;
        let read = reader.zone(&mut zone);
        if name.iter().all(u8::is_ascii_digit) {
            // An index or none, but no name; too long for one, it is wrong only there.
            let too_long = name.len() >= IFNAMSIZ;
            reader.at = if too_long { IFNAMSIZ - 1 } else { 0 };
        }
        match (read, zone) {
            (Ok(()), Zone::Name(name)) => Ok(name),
            _ => Err(reader.error(AddressErrorKind::InvalidZone)),
        }
    }

    /// `name.as_bytes()` — The name, without a NUL.
    pub fn as_bytes(&self) -> &[u8] {
        until_nul(&self.bytes)
    }

    /// `name.as_str()` — The name.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_lossy(f, self.as_bytes())
    }
}

impl fmt::Debug for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InterfaceName(\"{self}\")")
    }
}

/// The address of a unix socket: a path, an abstract name, or nothing.
///
/// Two are equal when their kinds and all their bytes are. An address says nothing about the type
/// of the socket: a stream socket and a datagram socket of one path have equal addresses.
///
/// `Display` writes the path, `@` and the abstract name, or nothing at all. Bytes that are not
/// UTF-8 are shown as U+FFFD each. A path that begins with `@`, which [`parse`](Self::parse) never
/// returns, is written `./@…`, so as not to be taken for an abstract name.
#[doc(alias = "sockaddr_un")]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct UnixAddress {
    // As the kernel has it: nothing, or a NUL and the abstract name, or a path, which does not
    // begin with a NUL. All past `len` is 0, so that the derived comparison is right.
    sun_path: [u8; SUN_PATH_MAX],
    len: u8,
}

impl UnixAddress {
    /// The address of a socket that is bound to none.
    pub const UNNAMED: Self = Self {
        sun_path: [0; SUN_PATH_MAX],
        len: 0,
    };

    /// `UnixAddress::parse(text)` — Reads `@name` as an abstract name, and all else as a path.
    ///
    /// `@` alone is the abstract name of no bytes. A file whose name begins with `@` is `./@…`, or
    /// comes from [`from_path`](Self::from_path).
    ///
    /// # Errors
    ///
    /// Those of [`from_path`](Self::from_path) and [`from_abstract`](Self::from_abstract).
    ///
    /// # Examples
    ///
    /// ```
    /// use gracenet::addr::UnixAddress;
    ///
    /// let path = UnixAddress::parse(b"/run/app.sock")?;
    /// let name = UnixAddress::parse(b"@app")?;
    /// assert_eq!(path.as_path(), Some(&b"/run/app.sock"[..]));
    /// assert_eq!(name.as_abstract_name(), Some(&b"app"[..]));
    /// # Ok::<(), gracenet::addr::AddressError>(())
    /// ```
    pub fn parse(text: &[u8]) -> Result<Self, AddressError> {
        let mut reader = Reader { text, at: 0 };
        match reader.unix() {
            Ok(skip) => Ok(Self::filled(skip, reader.rest())),
            Err(kind) => Err(reader.error(kind)),
        }
    }

    /// `UnixAddress::from_path(path)` — The address with this path, of 1 to 107 bytes without NUL.
    ///
    /// # Errors
    ///
    /// - [`AddressErrorKind::EmptyPath`]: there is nothing.
    /// - [`AddressErrorKind::NulInPath`]: at the first NUL.
    /// - [`AddressErrorKind::TooLong`]: at the first byte too many.
    pub fn from_path(path: &[u8]) -> Result<Self, AddressError> {
        let mut reader = Reader { text: path, at: 0 };
        match reader.path() {
            Ok(()) => Ok(Self::filled(0, path)),
            Err(kind) => Err(reader.error(kind)),
        }
    }

    /// `UnixAddress::from_abstract(name)` — The address with this abstract name, of up to 107 bytes.
    ///
    /// A NUL in it is a byte like any other.
    ///
    /// # Errors
    ///
    /// - [`AddressErrorKind::TooLong`]: at the first byte too many.
    pub fn from_abstract(name: &[u8]) -> Result<Self, AddressError> {
        let mut reader = Reader { text: name, at: 0 };
        match reader.fits() {
            Ok(()) => Ok(Self::filled(1, name)),
            Err(kind) => Err(reader.error(kind)),
        }
    }

    /// `address.as_path()` — The path, without a NUL; `None` if it is something else.
    ///
    /// It has up to 107 bytes, or 108 when the kernel returned it.
    pub fn as_path(&self) -> Option<&[u8]> {
        match self.bytes() {
            [] | [0, ..] => None,
            path => Some(path),
        }
    }

    /// `address.as_abstract_name()` — The abstract name; `None` if it is something else.
    ///
    /// The NUL before it is no part of it, and one after it is.
    pub fn as_abstract_name(&self) -> Option<&[u8]> {
        match self.bytes() {
            [0, name @ ..] => Some(name),
            _ => None,
        }
    }

    /// `address.is_unnamed()` — Whether there is neither a path nor an abstract name.
    pub const fn is_unnamed(&self) -> bool {
        self.len == 0
    }

    /// `skip` NULs and `bytes`, which the caller has found to fit.
    // Inlined into each of its callers it costs 400 bytes more.
    #[inline(never)]
    fn filled(skip: u8, bytes: &[u8]) -> Self {
        let mut address = Self::UNNAMED;
        let room = address.sun_path.iter_mut().skip(usize::from(skip));
        for (to, from) in room.zip(bytes) {
            *to = *from;
        }
        address.len = skip.wrapping_add(bytes.len() as u8);
        address
    }

    fn bytes(&self) -> &[u8] {
        self.sun_path
            .get(..usize::from(self.len))
            .unwrap_or_default()
    }
}

impl fmt::Display for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, bytes) = match self.bytes() {
            [0, name @ ..] => ("@", name),
            path @ [b'@', ..] => ("./", path),
            path => ("", path),
        };
        f.write_str(before)?;
        write_lossy(f, bytes)
    }
}

impl fmt::Debug for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnixAddress(\"{}\")", self.bytes().escape_ascii())
    }
}

/// What is wrong with a network or an address, and at which byte.
///
/// `Display` writes `too many colons, an IPv6 address stands in brackets, at byte 1`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AddressError {
    kind: AddressErrorKind,
    // Not a usize, so that an error fits into a register, and a result with it.
    at: u32,
}

impl AddressError {
    pub(crate) const fn new(kind: AddressErrorKind, at: usize) -> Self {
        let at = if at < u32::MAX as usize {
            at as u32
        } else {
            u32::MAX
        };
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
    /// A host name other than `localhost`. Names are not resolved.
    HostName,
    /// A byte that neither an address nor a name can have.
    InvalidHost,
    /// A malformed IPv4 address, or an octet over 255.
    InvalidIpv4,
    /// A malformed IPv6 address.
    InvalidIpv6,
    /// A zone that is neither an index from 1 to 4294967295 nor the name of an interface.
    InvalidZone,
    /// A zone on something else than an IPv6 address.
    MisplacedZone,
    /// An IPv4 host for a network of IPv6 only, or the other way round.
    FamilyMismatch,
    /// A port by name. Names are not resolved.
    ServiceName,
    /// A port that is no decimal number.
    InvalidPort,
    /// A port over 65535.
    PortOutOfRange,
    /// A unix address with no byte at all.
    EmptyPath,
    /// A path with a NUL.
    NulInPath,
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
            Self::HostName => "host names are not resolved",
            Self::InvalidHost => "not an address",
            Self::InvalidIpv4 => "not an IPv4 address",
            Self::InvalidIpv6 => "not an IPv6 address",
            Self::InvalidZone => "not an interface",
            Self::MisplacedZone => "only an IPv6 address has a zone",
            Self::FamilyMismatch => "address is of another family than the network",
            Self::ServiceName => "service names are not resolved",
            Self::InvalidPort => "not a port",
            Self::PortOutOfRange => "port is out of range",
            Self::EmptyPath => "empty path",
            Self::NulInPath => "path has a NUL",
            Self::TooLong => "path or name is too long",
        }
    }
}

/// A text, and the byte of it that is looked at: where an error is returned, it is the one at
/// fault.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self) {
        self.at = self.at.wrapping_add(1);
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.skip();
        }
        found
    }

    /// On to the next such byte, or else to the end; whether there is one.
    #[inline(never)]
    fn skip_to(&mut self, byte: u8) -> bool {
        while let Some(found) = self.peek() {
            if found == byte {
                return true;
            }
            self.skip();
        }
        false
    }

    fn error(&self, kind: AddressErrorKind) -> AddressError {
        AddressError::new(kind, self.at)
    }

    /// An error that is at `at`.
    fn fail<T>(&mut self, at: usize, kind: AddressErrorKind) -> Result<T, AddressErrorKind> {
        self.at = at;
        Err(kind)
    }

    /// How many NULs stand before the path or the name, which is all that is left.
    fn unix(&mut self) -> Result<u8, AddressErrorKind> {
        if self.eat(b'@') {
            self.fits().map(|()| 1)
        } else {
            self.path().map(|()| 0)
        }
    }

    fn path(&mut self) -> Result<(), AddressErrorKind> {
        if self.text.is_empty() {
            return Err(AddressErrorKind::EmptyPath);
        }
        if self.skip_to(0) {
            return Err(AddressErrorKind::NulInPath);
        }
        self.at = 0;
        self.fits()
    }

    fn fits(&mut self) -> Result<(), AddressErrorKind> {
        if self.rest().len() > NAME_MAX {
            self.at = self.at.wrapping_add(NAME_MAX);
            return Err(AddressErrorKind::TooLong);
        }
        Ok(())
    }

    /// All the digits there are, 0 where there is none; more than `u32::MAX` when it is too much.
    #[inline(never)]
    fn number(&mut self) -> u64 {
        let mut value = 0_u64;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            if value <= u64::from(u32::MAX) {
                value = value.wrapping_mul(10).wrapping_add(u64::from(digit & 0xf));
            }
            self.skip();
        }
        value
    }

    fn inet(
        &mut self,
        network: Network,
        address: &mut InetAddress,
    ) -> Result<(), AddressErrorKind> {
        use AddressErrorKind::{MissingPort, TooManyColons, UnclosedBracket};

        let text = self.text;
        let bracket = self.eat(b'[');
        let host_at = self.at;
        let found = self.skip_to(if bracket { b']' } else { b':' });
        if bracket && !found {
            return self.fail(0, UnclosedBracket);
        }
        let host = text.get(..self.at).unwrap_or_default();
        self.at = self.at.wrapping_add(usize::from(bracket));
        if !self.eat(b':') {
            return Err(MissingPort);
        }
        let port_at = self.at;
        // Before the host is looked at: the `fe80` of `fe80::1:80` is no name.
        if self.skip_to(b':') {
            return Err(TooManyColons);
        }
        (self.text, self.at) = (host, host_at);
        self.host(network, &mut address.host)?;
        (self.text, self.at) = (text, port_at);
        self.port(&mut address.port)
    }

    fn port(&mut self, port: &mut u16) -> Result<(), AddressErrorKind> {
        use AddressErrorKind::{InvalidPort, PortOutOfRange, ServiceName};

        let start = self.at;
        let number = self.number();
        match (self.peek(), u16::try_from(number)) {
            (None, Ok(number)) => {
                *port = number;
                Ok(())
            }
            (None, Err(_)) => self.fail(start, PortOutOfRange),
            (Some(byte), _) if byte.is_ascii_alphabetic() && self.at == start => Err(ServiceName),
            (Some(_), _) => Err(InvalidPort),
        }
    }

    /// Where there is none, it is left as it is.
    fn host(&mut self, network: Network, host: &mut Host) -> Result<(), AddressErrorKind> {
        use AddressErrorKind::{FamilyMismatch, InvalidIpv4, MisplacedZone};

        let start = self.at;
        if self.peek().is_none() {
            return Ok(());
        }
        if self.rest() == b"localhost" {
            let local: &[u8] = if network.is_v6_only() {
                b"::1"
            } else {
                b"127.0.0.1"
            };
            (self.text, self.at) = (local, 0);
        }
        let begin = self.at;
        let v6 = self.skip_to(b':');
        self.at = begin;
        let mut zone = Zone::None;
        // An IPv4 address is a mapped one until the end.
        let mut ip = Octets::NONE;
        if v6 {
            self.v6(&mut ip)?;
            let percent = self.at;
            if self.eat(b'%') {
                self.zone(&mut zone)?;
                if ip.mapped().is_some() {
                    return self.fail(percent, MisplacedZone);
                }
            }
        } else {
            self.not_a_name()?;
            ip.push(0xff);
            ip.push(0xff);
            self.v4(&mut ip)?;
            if self.peek().is_some() {
                return Err(InvalidIpv4);
            }
        }
        if let Some(v4) = ip.mapped() {
            if network.is_v6_only() {
                return self.fail(start, FamilyMismatch);
            }
            *host = Host::V4(Ipv4Addr::from(v4));
        } else {
            if network.is_v4_only() {
                return self.fail(start, FamilyMismatch);
            }
            *host = Host::V6(Ipv6Addr::from(ip.bytes), zone);
        }
        Ok(())
    }

    /// Stays where it is unless something else than digits and dots is to come.
    fn not_a_name(&mut self) -> Result<(), AddressErrorKind> {
        use AddressErrorKind::{HostName, InvalidHost, MisplacedZone};

        let start = self.at;
        let mut numeric = true;
        while let Some(byte) = self.peek() {
            if !is_name_byte(byte) {
                return Err(if numeric && byte == b'%' {
                    MisplacedZone
                } else {
                    InvalidHost
                });
            }
            numeric &= byte.is_ascii_digit() || byte == b'.';
            self.skip();
        }
        self.at = start;
        if numeric { Ok(()) } else { Err(HostName) }
    }

    /// Four octets; what follows them is left.
    #[inline(never)]
    fn v4(&mut self, ip: &mut Octets) -> Result<(), AddressErrorKind> {
        use AddressErrorKind::InvalidIpv4;

        for index in 0..4 {
            if index != 0 && !self.eat(b'.') {
                return Err(InvalidIpv4);
            }
            let start = self.at;
            let zero = self.peek() == Some(b'0');
            let number = self.number();
            let digits = self.at.wrapping_sub(start);
            // `01` is 1 to some and octal to others.
            if digits == 0 || (zero && digits != 1) || number > 255 {
                return self.fail(start, InvalidIpv4);
            }
            ip.push(number as u8);
        }
        Ok(())
    }

    /// An IPv6 address up to the end or a `%`, which is left.
    #[inline(never)]
    fn v6(&mut self, ip: &mut Octets) -> Result<(), AddressErrorKind> {
        use AddressErrorKind::InvalidIpv6;

        let mut gap = false;
        let start = self.at;
        if self.eat(b':') && self.peek() != Some(b':') {
            return self.fail(start, InvalidIpv6);
        }
        loop {
            // After `::` the end may come; after `:` it may not.
            if self.peek() == Some(b':') {
                if gap {
                    return Err(InvalidIpv6);
                }
                self.skip();
                gap = true;
                ip.leave_gap();
                if self.at_end_or_percent() {
                    break;
                }
            }
            let start = self.at;
            let mut group = 0_u32;
            while let Some(digit) = self.peek().and_then(hex_digit) {
                if self.at.wrapping_sub(start) == 4 {
                    return Err(InvalidIpv6);
                }
                group = group << 4 | digit;
                self.skip();
            }
            if self.at == start {
                return Err(InvalidIpv6);
            }
            let v4_tail = self.peek() == Some(b'.');
            if v4_tail {
                self.at = start;
                self.v4(ip)?;
            } else {
                ip.push((group >> 8) as u8);
                ip.push(group as u8);
            }
            if ip.len > 16 {
                return self.fail(start, InvalidIpv6);
            }
            if self.at_end_or_percent() {
                break;
            }
            if v4_tail || !self.eat(b':') {
                return Err(InvalidIpv6);
            }
        }
        // All groups without a `::`, or at least one fewer with it.
        if gap == (ip.len == 16) {
            return Err(InvalidIpv6);
        }
        Ok(())
    }

    fn at_end_or_percent(&self) -> bool {
        matches!(self.peek(), None | Some(b'%'))
    }

    /// What follows a `%`: an index, or else a name.
    #[inline(never)]
    fn zone(&mut self, zone: &mut Zone) -> Result<(), AddressErrorKind> {
        use AddressErrorKind::InvalidZone;

        let start = self.at;
        let index = self.number();
        if self.peek().is_none() {
            let Some(index) = NonZeroU32::new(u32::try_from(index).unwrap_or(0)) else {
                return self.fail(start, InvalidZone);
            };
            *zone = Zone::Index(index);
            return Ok(());
        }
        self.at = start;
        let mut bytes = [0; IFNAMSIZ];
        while let Some(byte) = self.peek() {
            let at = self.at.wrapping_sub(start);
            let last = at >= IFNAMSIZ - 1;
            if last || !byte.is_ascii_graphic() || b"/:%[]".contains(&byte) {
                return Err(InvalidZone);
            }
            if let Some(to) = bytes.get_mut(at) {
                *to = byte;
            }
            self.skip();
        }
        if matches!(bytes, [b'.', 0, ..] | [b'.', b'.', 0, ..]) {
            return self.fail(start, InvalidZone);
        }
        *zone = Zone::Name(InterfaceName { bytes });
        Ok(())
    }
}

/// The bytes of an IPv6 address as they come in.
struct Octets {
    bytes: [u8; 16],
    /// How many have come.
    len: usize,
    /// How many of them stand before the `::`, and stay where they are.
    gap: usize,
}

impl Octets {
    const NONE: Self = Self {
        bytes: [0; 16],
        len: 0,
        gap: 0,
    };
    /// One more at the end, for which those after the gap move up.
    #[inline(never)]
    fn push(&mut self, mut byte: u8) {
        for to in self.bytes.iter_mut().skip(self.gap).rev() {
            byte = core::mem::replace(to, byte);
        }
        self.len = self.len.wrapping_add(1);
    }

    /// Moves up to the front what has come, and zeros after it.
    fn leave_gap(&mut self) {
        let len = self.len;
        for _ in len..16 {
            self.push(0);
        }
        (self.len, self.gap) = (len, len);
    }

    /// The IPv4 address that is mapped into it.
    fn mapped(&self) -> Option<[u8; 4]> {
        let (prefix, ip) = self.bytes.split_first_chunk::<12>()?;
        let mapped = *prefix == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
        ip.first_chunk().copied().filter(|_| mapped)
    }
}

/// Whether it can stand in a host name, not that it would be a good one.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | 0x80..)
}

fn hex_digit(byte: u8) -> Option<u32> {
    char::from(byte).to_digit(16)
}

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
pub(crate) const SUN_PATH_MAX: usize = 108;
/// The longest path that leaves room for its NUL, and the longest name after its own.
const NAME_MAX: usize = SUN_PATH_MAX - 1;

#[cfg(test)]
mod tests {
    extern crate std;

    use super::{AddressErrorKind as Kind, *};
    use core::num::NonZeroU32;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::format;
    use std::net::SocketAddrV6;
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

    fn inet(host: Host, port: u16) -> Address {
        Address::Inet(InetAddress { host, port })
    }

    fn v4(ip: &str) -> Host {
        Host::V4(ip.parse().unwrap())
    }

    fn v6(ip: &str) -> Host {
        Host::V6(ip.parse().unwrap(), Zone::None)
    }

    fn index(index: u32) -> Zone {
        Zone::Index(NonZeroU32::new(index).unwrap())
    }

    fn name(name: &str) -> Zone {
        Zone::Name(InterfaceName::new(name.as_bytes()).unwrap())
    }

    fn zoned(ip: &str, zone: Zone) -> Host {
        Host::V6(ip.parse().unwrap(), zone)
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
            ("127.0.0.1:80", v4("127.0.0.1"), 80),
            ("0.0.0.0:0", v4("0.0.0.0"), 0),
            ("255.255.255.255:65535", v4("255.255.255.255"), 65535),
            ("[127.0.0.1]:80", v4("127.0.0.1"), 80),
            (":80", Host::Any, 80),
            ("[]:80", Host::Any, 80),
            (":", Host::Any, 0),
            ("127.0.0.1:", v4("127.0.0.1"), 0),
            ("[::1]:", v6("::1"), 0),
            ("127.0.0.1:00080", v4("127.0.0.1"), 80),
            ("127.0.0.1:000000065535", v4("127.0.0.1"), 65535),
            ("[::]:80", v6("::"), 80),
            ("[::1]:80", v6("::1"), 80),
            ("[1:2:3:4:5:6:7:8]:9", v6("1:2:3:4:5:6:7:8"), 9),
            ("[1:2:3:4:5:6:7::]:9", v6("1:2:3:4:5:6:7:0"), 9),
            ("[::2:3:4:5:6:7:8]:9", v6("0:2:3:4:5:6:7:8"), 9),
            ("[1:2:3::6:7:8]:9", v6("1:2:3:0:0:6:7:8"), 9),
            ("[2001:DB8::aBcD]:9", v6("2001:db8::abcd"), 9),
            ("[64:ff9b::192.0.2.1]:9", v6("64:ff9b::c000:201"), 9),
            ("[1:2:3:4:5:6:1.2.3.4]:9", v6("1:2:3:4:5:6:102:304"), 9),
            ("[::1.2.3.4]:9", v6("::102:304"), 9),
            ("[fe80::1%2]:80", zoned("fe80::1", index(2)), 80),
            ("[fe80::1%007]:80", zoned("fe80::1", index(7)), 80),
            ("[::1%4294967295]:80", zoned("::1", index(u32::MAX)), 80),
            ("[fe80::1%eth0]:80", zoned("fe80::1", name("eth0")), 80),
            ("[fe80::%0x]:80", zoned("fe80::", name("0x")), 80),
            ("[::%lo]:80", zoned("::", name("lo")), 80),
            ("[::1.2.3.4%lo]:80", zoned("::102:304", name("lo")), 80),
            (
                "[::%a23456789012345]:8",
                zoned("::", name("a23456789012345")),
                8,
            ),
        ];
        for (text, host, port) in table {
            for network in NETWORKS.into_iter().filter(|network| !network.is_unix()) {
                let parsed = Address::parse(network, text.as_bytes());
                let right_family = match host {
                    Host::Any => true,
                    Host::V4(_) => !network.is_v6_only(),
                    Host::V6(..) => !network.is_v4_only(),
                };
                let expected = if right_family {
                    Ok(inet(host, port))
                } else {
                    let bracket = usize::from(text.starts_with('['));
                    Err(error(Kind::FamilyMismatch, bracket))
                };
                assert_eq!(parsed, expected, "{network} {text}");
            }
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
            (Tcp, "[::1:80", Kind::UnclosedBracket, 0),
            (Tcp, "[", Kind::UnclosedBracket, 0),
            (Tcp, "example.org:80", Kind::HostName, 0),
            (Tcp, "[example.org]:80", Kind::HostName, 1),
            (Tcp, "0x7f.1:80", Kind::HostName, 0),
            (Tcp, "1.2.3.4a:80", Kind::HostName, 0),
            (Tcp, "LOCALHOST:80", Kind::HostName, 0),
            (Tcp, "localhost.:80", Kind::HostName, 0),
            (Tcp, "bücher.example:80", Kind::HostName, 0),
            (Tcp, " 127.0.0.1:80", Kind::InvalidHost, 0),
            (Tcp, "127.0.0.1 :80", Kind::InvalidHost, 9),
            (Tcp, "example[0]:80", Kind::InvalidHost, 7),
            (Tcp, "*:80", Kind::InvalidHost, 0),
            (Tcp, "1.2.3\0.4:80", Kind::InvalidHost, 5),
            (Tcp, "eth0%1:80", Kind::InvalidHost, 4),
            (Tcp, "1.2.3:80", Kind::InvalidIpv4, 5),
            (Tcp, "1.2.3.:80", Kind::InvalidIpv4, 6),
            (Tcp, "1.2.3.4.5:80", Kind::InvalidIpv4, 7),
            (Tcp, "1.2.3.4.:80", Kind::InvalidIpv4, 7),
            (Tcp, ".1.2.3:80", Kind::InvalidIpv4, 0),
            (Tcp, "1..2.3:80", Kind::InvalidIpv4, 2),
            (Tcp, "1.2.256.4:80", Kind::InvalidIpv4, 4),
            (Tcp, "1.2.3.99999999999999999999:80", Kind::InvalidIpv4, 6),
            (Tcp, "1.2.03.4:80", Kind::InvalidIpv4, 4),
            (Tcp, "00.2.3.4:80", Kind::InvalidIpv4, 0),
            (Tcp, "2130706433:80", Kind::InvalidIpv4, 0),
            (Tcp, "[:]:80", Kind::InvalidIpv6, 1),
            (Tcp, "[:::]:80", Kind::InvalidIpv6, 3),
            (Tcp, "[1::2::3]:80", Kind::InvalidIpv6, 6),
            (Tcp, "[1:]:80", Kind::InvalidIpv6, 3),
            (Tcp, "[:1]:80", Kind::InvalidIpv6, 1),
            (Tcp, "[1:2:3]:80", Kind::InvalidIpv6, 6),
            (Tcp, "[12345::]:80", Kind::InvalidIpv6, 5),
            (Tcp, "[g::]:80", Kind::InvalidIpv6, 1),
            (Tcp, "[::-1]:80", Kind::InvalidIpv6, 3),
            (Tcp, "[::1 ]:80", Kind::InvalidIpv6, 4),
            (Tcp, "[[::1]:80", Kind::InvalidIpv6, 1),
            (Tcp, "[1:2:3:4:5:6:7:8:9]:80", Kind::InvalidIpv6, 17),
            (Tcp, "[1:2:3:4:5:6:7:8:]:80", Kind::InvalidIpv6, 17),
            (Tcp, "[1:2:3:4:5:6:7:8::]:80", Kind::InvalidIpv6, 18),
            (Tcp, "[1:2:3:4::5:6:7:8]:80", Kind::InvalidIpv6, 17),
            (Tcp, "[1:2:3:4:5:6:7:1.2.3.4]:80", Kind::InvalidIpv6, 15),
            (Tcp, "[1.2.3.4::]:80", Kind::InvalidIpv6, 8),
            (Tcp, "[::1.2.3.4:5]:80", Kind::InvalidIpv6, 10),
            (Tcp, "[::1.2.3]:80", Kind::InvalidIpv4, 8),
            (Tcp, "[::1.2.3.256]:80", Kind::InvalidIpv4, 9),
            (Tcp, "[::1.2.3.04]:80", Kind::InvalidIpv4, 9),
            (Tcp, "[::a.2.3.4]:80", Kind::InvalidIpv4, 3),
            (Tcp, "[fe80::1%]:80", Kind::InvalidZone, 9),
            (Tcp, "[fe80::1%0]:80", Kind::InvalidZone, 9),
            (Tcp, "[fe80::1%4294967296]:80", Kind::InvalidZone, 9),
            (
                Tcp,
                "[fe80::1%99999999999999999999]:80",
                Kind::InvalidZone,
                9,
            ),
            (Tcp, "[fe80::1%.]:80", Kind::InvalidZone, 9),
            (Tcp, "[fe80::1%..]:80", Kind::InvalidZone, 9),
            (Tcp, "[fe80::1%eth/0]:80", Kind::InvalidZone, 12),
            (Tcp, "[fe80::1%eth%0]:80", Kind::InvalidZone, 12),
            (Tcp, "[fe80::1%eth:0]:80", Kind::InvalidZone, 12),
            (Tcp, "[fe80::1%eth 0]:80", Kind::InvalidZone, 12),
            (Tcp, "[fe80::1%eth\0]:80", Kind::InvalidZone, 12),
            (Tcp, "[fe80::1%a234567890123456]:80", Kind::InvalidZone, 24),
            (Tcp, "127.0.0.1%lo:80", Kind::MisplacedZone, 9),
            (Tcp, "%lo:80", Kind::MisplacedZone, 0),
            (Tcp, "[::ffff:1.2.3.4%lo]:80", Kind::MisplacedZone, 15),
            (Tcp4, "[::1]:80", Kind::FamilyMismatch, 1),
            (Udp4, "[::]:80", Kind::FamilyMismatch, 1),
            (Tcp6, "127.0.0.1:80", Kind::FamilyMismatch, 0),
            (Udp6, "0.0.0.0:80", Kind::FamilyMismatch, 0),
            (Tcp, "127.0.0.1:http", Kind::ServiceName, 10),
            (Tcp, ":http", Kind::ServiceName, 1),
            (Tcp, "[::1]:http", Kind::ServiceName, 6),
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
            let host = if network.is_v6_only() {
                v6("::1")
            } else {
                v4("127.0.0.1")
            };
            let parsed = Address::parse(network, b"localhost:80");
            assert_eq!(parsed, Ok(inet(host, 80)), "{network}");

            let host_name = Address::parse(network, b"localhost.localdomain:80").unwrap_err();
            assert_eq!(
                host_name.to_string(),
                "host names are not resolved, at byte 0"
            );
            let service_name = Address::parse(network, b"localhost:http").unwrap_err();
            assert_eq!(
                service_name.to_string(),
                "service names are not resolved, at byte 10",
            );
        }
    }

    #[test]
    fn mapped_address_is_ipv4_as_in_go() {
        for text in ["[::ffff:192.0.2.1]:80", "[0:0:0:0:0:FFFF:c000:201]:80"] {
            let parse = |network| Address::parse(network, text.as_bytes());
            assert_eq!(parse(Network::Tcp), Ok(inet(v4("192.0.2.1"), 80)));
            assert_eq!(parse(Network::Udp4), Ok(inet(v4("192.0.2.1"), 80)));
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
        let mapped = inet(v6("::ffff:192.0.2.1"), 1);
        assert_eq!(mapped.to_string(), "[::ffff:192.0.2.1]:1");
    }

    #[test]
    fn width_of_the_caller_does_not_reach_the_numbers() {
        let address = inet(zoned("fe80::1", index(2)), 80);
        assert_eq!(format!("{address:08}"), "[fe80::1%2]:80");
        assert_eq!(format!("{:>8}", inet(v4("1.2.3.4"), 5)), "1.2.3.4:5");
    }

    #[test]
    fn wildcards_are_known() {
        let wildcard = |host| InetAddress { host, port: 80 }.is_wildcard();
        assert!(wildcard(Host::Any));
        assert!(wildcard(v4("0.0.0.0")));
        assert!(wildcard(v6("::")));
        assert!(!wildcard(v4("127.0.0.1")));
        assert!(!wildcard(v6("::1")));
        // A wildcard of the other family, mapped, is none that bind(2) takes for both.
        assert!(!wildcard(v6("::ffff:0.0.0.0")));
    }

    #[test]
    fn core_socket_address_becomes_ours() {
        let v6_address = SocketAddrV6::new("fe80::1".parse().unwrap(), 80, 7, 3);
        let zoned = inet(zoned("fe80::1", index(3)), 80);
        assert_eq!(Address::from(SocketAddr::V6(v6_address)), zoned);
        let plain: SocketAddr = "[::1]:80".parse().unwrap();
        assert_eq!(Address::from(plain), inet(v6("::1"), 80));
        let v4_address: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let ours = InetAddress::from(v4_address);
        assert_eq!(ours.host, v4("127.0.0.1"));
        assert_eq!(ours.with_port(81), InetAddress { port: 81, ..ours });
    }

    #[test]
    fn interface_name_is_checked() {
        for good in [
            "a",
            "lo",
            "eth0",
            "br-0a1b2c",
            "wg.7",
            "...",
            "a23456789012345",
            "7a",
        ] {
            let name = InterfaceName::new(good.as_bytes()).unwrap();
            assert_eq!(name.as_str(), good);
            assert_eq!(name.as_bytes(), good.as_bytes());
            assert_eq!(name.to_string(), good);
            assert_eq!(format!("{name:?}"), format!("InterfaceName(\"{good}\")"));
        }
        for (bad, at) in [
            ("", 0),
            ("7", 0),
            (".", 0),
            ("..", 0),
            ("a b", 1),
            ("a\tb", 1),
            ("a\0", 1),
            ("a]", 1),
            ("ä", 0),
            ("a234567890123456", 15),
        ] {
            let new = InterfaceName::new(bad.as_bytes());
            assert_eq!(new, Err(error(Kind::InvalidZone, at)), "{bad:?}");
        }
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
        let path = UnixAddress::parse(b"/run/app.sock").unwrap();
        assert_eq!(path.as_path(), Some(&b"/run/app.sock"[..]));
        assert_eq!(path.as_abstract_name(), None);
        assert!(!path.is_unnamed());

        let name = UnixAddress::parse(b"@app").unwrap();
        assert_eq!(name.as_path(), None);
        assert_eq!(name.as_abstract_name(), Some(&b"app"[..]));
        assert!(!name.is_unnamed());

        let empty_name = UnixAddress::parse(b"@").unwrap();
        assert_eq!(empty_name.as_abstract_name(), Some(&b""[..]));
        assert_eq!(empty_name.to_string(), "@");
        assert_ne!(empty_name, UnixAddress::UNNAMED);

        assert!(UnixAddress::UNNAMED.is_unnamed());
        assert_eq!(UnixAddress::UNNAMED.as_path(), None);
        assert_eq!(UnixAddress::UNNAMED.as_abstract_name(), None);
        assert_eq!(UnixAddress::UNNAMED.to_string(), "");
    }

    #[test]
    fn unix_errors_say_their_byte() {
        let parse = |text: &[u8]| Address::parse(Network::UnixPacket, text).unwrap_err();
        assert_eq!(parse(b""), error(Kind::EmptyPath, 0));
        assert_eq!(parse(b"/run\0/x"), error(Kind::NulInPath, 4));
        assert_eq!(parse(b"\0app"), error(Kind::NulInPath, 0));
        assert_eq!(parse(&[b'p'; 108]), error(Kind::TooLong, 107));
        assert_eq!(parse(&[b'@'; 109]), error(Kind::TooLong, 108));
    }

    /// Case C5.
    #[test]
    fn path_and_abstract_name_have_up_to_107_bytes() {
        for len in 1..=107 {
            let bytes = std::vec![b'p'; len];
            let path = UnixAddress::from_path(&bytes).unwrap();
            assert_eq!(path.as_path(), Some(&bytes[..]));
            let name = UnixAddress::from_abstract(&bytes).unwrap();
            assert_eq!(name.as_abstract_name(), Some(&bytes[..]));
            for address in [path, name] {
                let text = address.to_string();
                assert_eq!(UnixAddress::parse(text.as_bytes()), Ok(address));
            }
        }
        for len in [108, 109, 255, 256, 363, 65536] {
            let bytes = std::vec![b'p'; len];
            let too_long = Err(error(Kind::TooLong, 107));
            assert_eq!(UnixAddress::from_path(&bytes), too_long);
            assert_eq!(UnixAddress::from_abstract(&bytes), too_long);
        }
    }

    #[test]
    fn path_that_begins_with_at_is_not_shown_as_an_abstract_name() {
        let path = UnixAddress::from_path(b"@app").unwrap();
        assert_eq!(path.as_path(), Some(&b"@app"[..]));
        assert_eq!(path.to_string(), "./@app");
        assert_ne!(path, UnixAddress::parse(b"@app").unwrap());
    }

    #[test]
    fn each_byte_that_is_not_utf_8_is_shown_as_u_fffd() {
        let path = UnixAddress::from_path(b"/\xf0\x9f\x92/\xff\xc3\xa4").unwrap();
        assert_eq!(path.to_string(), "/\u{fffd}\u{fffd}\u{fffd}/\u{fffd}ä");
        let shown = format!("{path:?}");
        assert_eq!(shown, r#"UnixAddress("/\xf0\x9f\x92/\xff\xc3\xa4")"#);
        let name = UnixAddress::from_abstract(b"\xfe").unwrap();
        assert_eq!(name.to_string(), "@\u{fffd}");
        assert_eq!(format!("{name:?}"), r#"UnixAddress("\x00\xfe")"#);
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
        let decode = |sun_path: &[u8]| match Address::decode(&sockaddr_un(sun_path)) {
            Some(Address::Unix(address)) => address,
            other => panic!("{other:?}"),
        };

        // A path of 108 bytes has no NUL; with a large buffer, the kernel's length counts one.
        let long = [b'p'; 108];
        assert_eq!(decode(&long).as_path(), Some(&long[..]));
        assert_eq!(decode(&long).to_string().len(), 108);
        assert_eq!(decode(&[&long[..], b"\0"].concat()), decode(&long));

        let path = UnixAddress::from_path(b"/run/app.sock").unwrap();
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

        assert_eq!(decode(b""), UnixAddress::UNNAMED);

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
        assert_eq!(decode(0, 2), Some(inet(zoned("fe80::1", index(2)), 80)));
        assert_eq!(decode(0, 0), Some(inet(v6("fe80::1"), 80)));
        assert_eq!(decode(0x000f_ffff, 2), decode(0, 2));
        assert_ne!(decode(0, 2), decode(0, 3));
    }

    #[test]
    fn inet_addresses_of_the_kernel_keep_their_family() {
        let mut bytes = 2_u16.to_ne_bytes().to_vec();
        bytes.extend([0x1f, 0x90, 192, 0, 2, 1]);
        let v4_address = inet(v4("192.0.2.1"), 8080);
        assert_eq!(Address::decode(&bytes), Some(v4_address));
        assert_eq!(
            Address::decode(&[&bytes[..], &[0; 8]].concat()),
            Some(v4_address)
        );

        let mapped = sockaddr_in6(8080, 0, "::ffff:192.0.2.1", 0);
        let mapped = Address::decode(&mapped);
        assert_eq!(mapped, Some(inet(v6("::ffff:192.0.2.1"), 8080)));
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

    // Properties.

    fn any_network() -> impl Strategy<Value = Network> {
        proptest::sample::select(&NETWORKS[..])
    }

    /// Octets with many zeros, so that `::` has something to do.
    fn any_v6() -> impl Strategy<Value = Ipv6Addr> {
        let group = prop_oneof![Just(0), Just(0xffff), 0..16_u16, any::<u16>()];
        proptest::array::uniform8(group).prop_map(Ipv6Addr::from)
    }

    fn any_zone() -> impl Strategy<Value = Zone> {
        prop_oneof![
            Just(Zone::None),
            (1_u32..).prop_map(index),
            "[!-$&-.0-9;-Z^-~\\\\]{1,15}".prop_filter_map("digits or dots only", |text| {
                InterfaceName::new(text.as_bytes()).ok().map(Zone::Name)
            }),
        ]
    }

    /// An address of the kind that parsing for the network gives.
    fn any_address(network: Network) -> BoxedStrategy<Address> {
        if network.is_unix() {
            let path = "[^\0@][^\0]{0,25}".prop_map(|p| UnixAddress::from_path(p.as_bytes()));
            let name = "\\PC{0,26}".prop_map(|n| UnixAddress::from_abstract(n.as_bytes()));
            let with_nul = "(\0|a|\n){0,107}";
            let with_nul = with_nul.prop_map(|n| UnixAddress::from_abstract(n.as_bytes()));
            return prop_oneof![path, name, with_nul]
                .prop_map(|address| Address::Unix(address.unwrap()))
                .boxed();
        }
        let not_mapped = |ip: &Ipv6Addr| ip.to_ipv4_mapped().is_none();
        let v6 = (any_v6().prop_filter("mapped", not_mapped), any_zone())
            .prop_map(|(ip, zone)| Host::V6(ip, zone))
            .boxed();
        let v4 = any::<Ipv4Addr>().prop_map(Host::V4).boxed();
        let host = match network {
            _ if network.is_v4_only() => prop_oneof![Just(Host::Any), v4].boxed(),
            _ if network.is_v6_only() => prop_oneof![Just(Host::Any), v6].boxed(),
            _ => prop_oneof![Just(Host::Any), v4, v6].boxed(),
        };
        (host, any::<u16>())
            .prop_map(|(host, port)| inet(host, port))
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
            let exact = match address {
                Address::Unix(_) => true,
                Address::Inet(InetAddress { host, .. }) => {
                    !matches!(host, Host::Any | Host::V6(_, Zone::Name(_)))
                }
            };
            let encoded = SockAddr::encode(&address);
            let decoded = Address::decode(encoded.as_bytes());
            prop_assert!(decoded.is_some(), "{network} {address}");
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
                let exact = match address {
                    Address::Unix(unix) => {
                        network.is_unix()
                            && !text.contains('\u{fffd}')
                            && !unix.as_path().is_some_and(|path| path.starts_with(b"@"))
                    }
                    Address::Inet(InetAddress { host, .. }) => match host {
                        Host::V6(ip, _) => ip.to_ipv4_mapped().is_none(),
                        _ => true,
                    },
                };
                if let (true, Ok(parsed)) = (exact, Address::parse(network, text.as_bytes())) {
                    if matches!(parsed, Address::Unix(_)) == matches!(address, Address::Unix(_)) {
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
            prop_assert_eq!(ours, cores.map(|ip| inet(Host::V4(ip), 7)));
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
                Some(v4) => inet(Host::V4(v4), 7),
                None => inet(Host::V6(ip, Zone::None), 7),
            });
            prop_assert_eq!(ours, expected);
            if let Some(ip) = cores {
                let plain = inet(Host::V6(ip, Zone::None), 7);
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
            let _ = InterfaceName::new(&bytes);
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
