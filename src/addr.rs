//! Networks and addresses, parsed from bytes and written back. Pure: no syscall, no `unsafe`.
//!
//! The forms are Go's, as `net.Listen` takes them:
//!
//! | network | address |
//! | --- | --- |
//! | `tcp`, `tcp4`, `tcp6`, `udp`, `udp4`, `udp6` | `127.0.0.1:80`, `[::1]:80`, `[fe80::1%eth0]:80`, `[fe80::1%2]:80`, `localhost:80`, `:80` |
//! | `unix`, `unixpacket`, `unixgram` | a path, or `@name` for an abstract name |
//!
//! Nothing is resolved: `localhost` is the one host name there is, and a port is a number.
//!
//! What is parsed can be written and parsed again: for every address `a` that
//! [`Address::parse`] returns for a network, parsing what its `Display` writes gives `a`. (A
//! path or an abstract name that is not UTF-8 is the exception: it is shown with U+FFFD.)
//!
//! The parsers and the formatters are this module's own, because those of [`core::net`]
//! contain panics and weigh more than a small daemon can pay.

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
        Ok(match name {
            b"tcp" => Self::Tcp,
            b"tcp4" => Self::Tcp4,
            b"tcp6" => Self::Tcp6,
            b"udp" => Self::Udp,
            b"udp4" => Self::Udp4,
            b"udp6" => Self::Udp6,
            b"unix" => Self::Unix,
            b"unixpacket" => Self::UnixPacket,
            b"unixgram" => Self::UnixGram,
            _ => return Err(AddressError::new(AddressErrorKind::UnknownNetwork, 0)),
        })
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
    /// - `host:port`, where an IPv6 host stands in brackets. The port is decimal, 0 to 65535; leading zeros
    ///   change nothing, and an empty port is port 0. The colon must be there, so an empty text is an error.
    /// - An empty host is [`Host::Any`]: the network says of which family.
    /// - `localhost` is 127.0.0.1, for `tcp6` and `udp6` ::1. No other name is known.
    /// - An octet of an IPv4 address has no leading zero.
    /// - A zone follows an IPv6 address: `%eth0` is an interface by name, `%2`, all digits, by index.
    /// - An IPv4 address mapped into IPv6, `[::ffff:192.0.2.1]`, is that IPv4 address: `tcp` and `tcp4` give
    ///   [`Host::V4`], `tcp6` refuses it, and it has no zone.
    ///
    /// # Errors
    ///
    /// The kind says what is wrong, and [`AddressError::at`] at which byte of `text`.
    ///
    /// - [`MissingPort`](AddressErrorKind::MissingPort), [`TooManyColons`](AddressErrorKind::TooManyColons),
    ///   [`UnclosedBracket`](AddressErrorKind::UnclosedBracket): it is not in the form `host:port`.
    /// - [`HostName`](AddressErrorKind::HostName), [`ServiceName`](AddressErrorKind::ServiceName): it would have to
    ///   be resolved.
    /// - [`FamilyMismatch`](AddressErrorKind::FamilyMismatch): an IPv6 host for `tcp4`, or the like.
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
    pub fn parse(network: Network, text: &[u8]) -> Result<Self, AddressError> {
        if network.is_unix() {
            UnixAddress::parse(text).map(Self::Unix)
        } else {
            parse_inet(network, text).map(Self::Inet)
        }
    }

    /// `Address::decode(sockaddr)` — Reads the bytes of a socket address, as getsockname(2) returned them.
    ///
    /// `sockaddr` is exactly as long as the kernel said, because for a unix socket the length is a part of the
    /// address. An IPv6 address stays one, even when an IPv4 address is mapped into it; flow info is left out. A path ends
    /// at the first NUL, or fills all 108 bytes without one.
    ///
    /// Returns `None` for another family than `AF_INET`, `AF_INET6` and `AF_UNIX`, and for an address that is cut
    /// short or too long.
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
            AF_UNIX => UnixAddress::decode(rest).map(Self::Unix),
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
/// `Display` writes `host:port`, an IPv6 host in brackets and as RFC 5952 has it. An IPv6 address with an IPv4 address mapped
/// into it, which [`Address::decode`] can return and [`Address::parse`] never does, is written `[::ffff:192.0.2.1]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct InetAddress {
    /// The host.
    pub host: Host,
    /// The port; 0 lets the kernel choose one.
    pub port: u16,
}

impl InetAddress {
    /// `address.is_wildcard()` — Whether it stands for all of the machine's addresses: no host, 0.0.0.0 or `::`.
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
    /// A name has 1 to 15 bytes of printable ASCII, without `/`, `:`, `%`, `[`, `]` and the space, and is not `.` or `..`. The
    /// kernel also allows bytes outside ASCII, and names of digits only. The latter would be an index in an address;
    /// use [`Zone::Index`] for an interface of such a name.
    ///
    /// # Errors
    ///
    /// - [`AddressErrorKind::InvalidZone`]: it is no such name; the byte is the first that may not be there.
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
        let error = |at| Err(AddressError::new(AddressErrorKind::InvalidZone, at));
        let mut bytes = [0; IFNAMSIZ];
        let mut digits = true;
        for (at, &byte) in name.iter().enumerate() {
            let last = at >= IFNAMSIZ - 1;
            if last || !byte.is_ascii_graphic() || b"/:%[]".contains(&byte) {
                return error(at);
            }
            digits &= byte.is_ascii_digit();
            if let Some(to) = bytes.get_mut(at) {
                *to = byte;
            }
        }
        // The empty name counts as digits only.
        if digits || name == b"." || name == b".." {
            return error(0);
        }
        Ok(Self { bytes })
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
/// Two are equal when their kinds and all their bytes are. An address says nothing about the type of the socket:
/// a stream socket and a datagram socket of one path have equal addresses.
///
/// `Display` writes the path, `@` and the abstract name, or nothing at all. Bytes that are not UTF-8 are shown as U+FFFD each. A path
/// that begins with `@`, which [`parse`](Self::parse) never returns, is written `./@…`, so as not to be taken for an
/// abstract name.
#[doc(alias = "sockaddr_un")]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct UnixAddress {
    // As the kernel has it: nothing, or a NUL and the abstract name, or a path, which begins with no NUL. All
    // past `len` is 0, so that the derived comparison is right.
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
    /// `@` alone is the abstract name of no bytes. A file whose name begins with `@` is `./@…`, or comes from
    /// [`from_path`](Self::from_path).
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
        match text.split_first() {
            Some((b'@', name)) => Self::from_abstract(name).map_err(|error| error.moved(1)),
            _ => Self::from_path(text),
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
        if path.is_empty() {
            return Err(AddressError::new(AddressErrorKind::EmptyPath, 0));
        }
        if let Some(at) = position(path, 0) {
            return Err(AddressError::new(AddressErrorKind::NulInPath, at));
        }
        if path.len() > NAME_MAX {
            return Err(AddressError::new(AddressErrorKind::TooLong, NAME_MAX));
        }
        Ok(Self::filled(0, path))
    }

    /// `UnixAddress::from_abstract(name)` — The address with this abstract name, of up to 107 bytes of any value.
    ///
    /// # Errors
    ///
    /// - [`AddressErrorKind::TooLong`]: at the first byte too many.
    pub fn from_abstract(name: &[u8]) -> Result<Self, AddressError> {
        if name.len() > NAME_MAX {
            return Err(AddressError::new(AddressErrorKind::TooLong, NAME_MAX));
        }
        Ok(Self::filled(1, name))
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

    /// `address.as_abstract_name()` — The abstract name, without the NUL before it; `None` if it is something else.
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

    /// What follows the family in a `sockaddr_un`, up to the length that the kernel gave.
    fn decode(sun_path: &[u8]) -> Option<Self> {
        let bytes = match sun_path {
            [] | [0, ..] => sun_path,
            path => until_nul(path),
        };
        (bytes.len() <= SUN_PATH_MAX).then(|| Self::filled(0, bytes))
    }

    /// `skip` NULs and `bytes`, which the caller has found to fit.
    fn filled(skip: u8, bytes: &[u8]) -> Self {
        let mut address = Self::UNNAMED;
        address.len = skip;
        let room = address.sun_path.iter_mut().skip(usize::from(skip));
        for (to, from) in room.zip(bytes) {
            *to = *from;
            address.len = address.len.wrapping_add(1);
        }
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
    at: usize,
}

impl AddressError {
    const fn new(kind: AddressErrorKind, at: usize) -> Self {
        Self { kind, at }
    }

    /// The same in a text that has so many bytes more at its start.
    const fn moved(self, by: usize) -> Self {
        Self::new(self.kind, self.at.wrapping_add(by))
    }

    /// `error.kind()` — What is wrong.
    pub const fn kind(&self) -> AddressErrorKind {
        self.kind
    }

    /// `error.at()` — The byte where it is, counted from 0; the length of the text where something is missing at its end.
    pub const fn at(&self) -> usize {
        self.at
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        f.write_str(", at byte ")?;
        write_number::<10>(f, u32::try_from(self.at).unwrap_or(u32::MAX))
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

fn parse_inet(network: Network, text: &[u8]) -> Result<InetAddress, AddressError> {
    use AddressErrorKind::{MissingPort, TooManyColons, UnclosedBracket};

    // Where a slice begins that ends with the text.
    let start = |rest: &[u8]| text.len().wrapping_sub(rest.len());

    let (host_at, host, port) = if let [b'[', rest @ ..] = text {
        let Some((host, rest)) = split_once(rest, b']') else {
            return Err(AddressError::new(UnclosedBracket, 0));
        };
        let [b':', port @ ..] = rest else {
            return Err(AddressError::new(MissingPort, start(rest)));
        };
        (1, host, port)
    } else {
        let Some((host, port)) = split_once(text, b':') else {
            return Err(AddressError::new(MissingPort, text.len()));
        };
        (0, host, port)
    };
    // Before the host is looked at: the `fe80` of `fe80::1:80` is no name.
    if let Some(at) = position(port, b':') {
        return Err(AddressError::new(TooManyColons, at).moved(start(port)));
    }
    Ok(InetAddress {
        host: parse_host(network, Reader::new(host, host_at))?,
        port: Reader::new(port, start(port)).port()?,
    })
}

fn parse_host(network: Network, mut host: Reader<'_>) -> Result<Host, AddressError> {
    use AddressErrorKind::{FamilyMismatch, HostName, InvalidHost, InvalidIpv4, MisplacedZone};

    let start = host;
    if host.rest.is_empty() {
        return Ok(Host::Any);
    }
    let parsed = if host.rest == b"localhost" {
        if network.is_v6_only() {
            Host::V6(Ipv6Addr::LOCALHOST, Zone::None)
        } else {
            Host::V4(Ipv4Addr::LOCALHOST)
        }
    } else if position(host.rest, b':').is_some() {
        let ip = host.v6()?;
        let percent = host;
        let zone = host.zone()?;
        match ip.octets() {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, octets @ ..] => {
                if zone != Zone::None {
                    return Err(percent.error(MisplacedZone));
                }
                Host::V4(Ipv4Addr::from(octets))
            }
            _ => Host::V6(ip, zone),
        }
    } else {
        while host.peek().is_some_and(|b| b.is_ascii_digit() || b == b'.') {
            host.skip();
        }
        match host.peek() {
            Some(b'%') => return Err(host.error(MisplacedZone)),
            Some(_) => {
                while host.peek().is_some_and(is_name_byte) {
                    host.skip();
                }
                return Err(match host.peek() {
                    Some(_) => host.error(InvalidHost),
                    None => start.error(HostName),
                });
            }
            None => {}
        }
        host = start;
        let octets = host.v4()?;
        if host.peek().is_some() {
            return Err(host.error(InvalidIpv4));
        }
        Host::V4(Ipv4Addr::from(octets))
    };
    match parsed {
        Host::V4(_) if network.is_v6_only() => Err(start.error(FamilyMismatch)),
        Host::V6(..) if network.is_v4_only() => Err(start.error(FamilyMismatch)),
        _ => Ok(parsed),
    }
}

/// What is left of a text, and at which byte of the whole it begins.
#[derive(Clone, Copy)]
struct Reader<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(rest: &'a [u8], at: usize) -> Self {
        Self { rest, at }
    }

    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn skip(&mut self) {
        if let [_, rest @ ..] = self.rest {
            self.rest = rest;
            self.at = self.at.wrapping_add(1);
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.skip();
        }
        found
    }

    fn error(&self, kind: AddressErrorKind) -> AddressError {
        AddressError::new(kind, self.at)
    }

    /// All the digits there are, 0 where there is none, `None` when it is too much.
    fn number(&mut self) -> Option<u32> {
        let mut value = Some(0_u32);
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            let digit = u32::from(digit & 0xf);
            value = value
                .and_then(|v| v.checked_mul(10))
                .and_then(|v| v.checked_add(digit));
            self.skip();
        }
        value
    }

    fn port(&mut self) -> Result<u16, AddressError> {
        let start = *self;
        let port = self.number();
        match self.peek() {
            Some(byte) if byte.is_ascii_alphabetic() && start.at == self.at => {
                Err(self.error(AddressErrorKind::ServiceName))
            }
            Some(_) => Err(self.error(AddressErrorKind::InvalidPort)),
            None => port
                .and_then(|port| u16::try_from(port).ok())
                .ok_or(start.error(AddressErrorKind::PortOutOfRange)),
        }
    }

    /// Four octets; what follows them is left.
    fn v4(&mut self) -> Result<[u8; 4], AddressError> {
        let mut octets = [0; 4];
        for (index, octet) in octets.iter_mut().enumerate() {
            if index != 0 && !self.eat(b'.') {
                return Err(self.error(AddressErrorKind::InvalidIpv4));
            }
            let start = *self;
            let number = self.number().and_then(|number| u8::try_from(number).ok());
            // `01` is 1 to some and octal to others.
            let ambiguous = matches!(start.rest, [b'0', b'0'..=b'9', ..]);
            *octet = match number {
                Some(number) if !ambiguous && start.at != self.at => number,
                _ => return Err(start.error(AddressErrorKind::InvalidIpv4)),
            };
        }
        Ok(octets)
    }

    /// An IPv6 address up to the end or a `%`, which is left.
    fn v6(&mut self) -> Result<Ipv6Addr, AddressError> {
        use AddressErrorKind::InvalidIpv6;

        let mut groups = [0_u16; 8];
        let mut count = 0_usize;
        // How many groups stand before the `::`.
        let mut gap = None;
        if let [b':', b':', ..] = self.rest {
            self.skip();
            self.skip();
            gap = Some(0);
        }
        // After `::` the end may come; after `:` it may not.
        let mut may_end = gap.is_some();
        while !(may_end && self.at_end_or_percent()) {
            let start = *self;
            let mut group = 0_u16;
            let mut digits = 0_u8;
            while let Some(digit) = self.peek().and_then(hex_digit) {
                if digits == 4 {
                    return Err(self.error(InvalidIpv6));
                }
                group = group << 4 | digit;
                digits = digits.wrapping_add(1);
                self.skip();
            }
            if digits == 0 {
                return Err(self.error(InvalidIpv6));
            }
            let v4_tail = self.peek() == Some(b'.');
            if v4_tail {
                *self = start;
                let [a, b, c, d] = self.v4()?;
                let Some(to) = groups.get_mut(count) else {
                    return Err(start.error(InvalidIpv6));
                };
                *to = u16::from_be_bytes([a, b]);
                count = count.wrapping_add(1);
                group = u16::from_be_bytes([c, d]);
            }
            let Some(to) = groups.get_mut(count) else {
                return Err(start.error(InvalidIpv6));
            };
            *to = group;
            count = count.wrapping_add(1);

            if self.at_end_or_percent() {
                break;
            }
            if v4_tail || !self.eat(b':') {
                return Err(self.error(InvalidIpv6));
            }
            may_end = self.peek() == Some(b':');
            if may_end {
                if gap.is_some() {
                    return Err(self.error(InvalidIpv6));
                }
                gap = Some(count);
                self.skip();
            }
        }

        let zeros = groups.len().saturating_sub(count);
        // All groups without a `::`, or at least one fewer with it.
        if (zeros != 0) != gap.is_some() {
            return Err(self.error(InvalidIpv6));
        }
        let gap = gap.unwrap_or(count);
        let mut octets = [0; 16];
        for (index, to) in octets.chunks_exact_mut(2).enumerate() {
            let from = if index < gap {
                index
            } else if index.wrapping_sub(gap) < zeros {
                continue;
            } else {
                index.wrapping_sub(zeros)
            };
            if let (Some(&group), [high, low]) = (groups.get(from), to) {
                [*high, *low] = group.to_be_bytes();
            }
        }
        Ok(Ipv6Addr::from(octets))
    }

    fn at_end_or_percent(&self) -> bool {
        matches!(self.rest, [] | [b'%', ..])
    }

    /// Nothing, or `%` and all that follows.
    fn zone(&mut self) -> Result<Zone, AddressError> {
        if !self.eat(b'%') {
            return Ok(Zone::None);
        }
        let start = *self;
        let index = self.number();
        if self.rest.is_empty() {
            index
                .and_then(NonZeroU32::new)
                .map(Zone::Index)
                .ok_or(start.error(AddressErrorKind::InvalidZone))
        } else {
            InterfaceName::new(start.rest)
                .map(Zone::Name)
                .map_err(|error| error.moved(start.at))
        }
    }
}

/// Whether it can stand in a host name, not that it would be a good one.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | 0x80..)
}

fn hex_digit(byte: u8) -> Option<u16> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u16::try_from(digit).ok())
}

fn position(bytes: &[u8], wanted: u8) -> Option<usize> {
    bytes.iter().position(|&byte| byte == wanted)
}

fn split_once(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let (before, rest) = text.split_at_checked(position(text, separator)?)?;
    let (_, after) = rest.split_first()?;
    Some((before, after))
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    split_once(bytes, 0).map_or(bytes, |(before, _)| before)
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
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IFNAMSIZ: usize = 16;
const SUN_PATH_MAX: usize = 108;
/// The longest path that leaves room for its NUL, and the longest name after its own.
const NAME_MAX: usize = SUN_PATH_MAX - 1;
