//! Pure. Whether an inherited socket is the one that a `listen` asks for.
//!
//! The key is what the kernel says of a socket (family, type, protocol, the address it is bound
//! to, IPV6_V6ONLY), never a string.

use crate::addr::{AF_INET6, Address, Host, InetAddress, Network, SockAddr, family, port_and_host};

/// SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Style {
    Stream,
    SeqPacket,
    Datagram,
}

/// What a socket speaks, where more than one protocol fits family and type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Transport {
    /// TCP, and MPTCP, which is TCP to whoever speaks only that.
    Tcp,
    Udp,
    Unix(Style),
}

impl Transport {
    pub(crate) const fn of(network: Network) -> Transport {
        match network {
            Network::Tcp | Network::Tcp4 | Network::Tcp6 => Transport::Tcp,
            Network::Udp | Network::Udp4 | Network::Udp6 => Transport::Udp,
            Network::Unix => Transport::Unix(Style::Stream),
            Network::UnixPacket => Transport::Unix(Style::SeqPacket),
            Network::UnixGram => Transport::Unix(Style::Datagram),
        }
    }

    /// Does it listen and accept?
    pub(crate) const fn accepts(self) -> bool {
        !matches!(self, Transport::Udp | Transport::Unix(Style::Datagram))
    }
}

/// What a `listen` asks for, with the unwritten host written out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) network: Network,
    pub(crate) sockaddr: SockAddr,
    pub(crate) name: Option<&'a [u8]>,
}

/// How well a socket matches: the smaller the better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Rank(u8);

impl Rank {
    pub(crate) const BEST: Rank = Rank(0);
}

impl<'a> Request<'a> {
    /// Of an address whose zone has a number. Where no host is written, it is the one that
    /// `network` means.
    pub(crate) fn new(network: Network, address: &Address, name: Option<&'a [u8]>) -> Request<'a> {
        let mut sockaddr = SockAddr::encode(address);
        if let Address::Inet(InetAddress {
            host: Host::Any, ..
        }) = address
        {
            sockaddr.set_wildcard_family(!network.is_v4_only());
        }
        Request {
            network,
            sockaddr,
            name,
        }
    }

    /// All addresses of IPv6, and perhaps of IPv4 as well?
    pub(crate) fn is_v6_wildcard(&self) -> bool {
        let sockaddr = self.sockaddr.as_bytes();
        let host = port_and_host(sockaddr).map_or(sockaddr, |(_, host)| host);
        family(sockaddr) == Some(AF_INET6) && is_zero(host)
    }

    /// How well a socket of the right transport matches that is bound to `found`, as getsockname
    /// says, is V6ONLY or not and was passed under `name`; `None` if it is another one.
    #[inline(never)]
    pub(crate) fn rank(&self, found: &[u8], v6only: bool, name: &[u8]) -> Option<Rank> {
        let same_name = self.name == Some(name);
        let wanted = self.sockaddr.as_bytes();
        let kind = match port_and_host(wanted) {
            // Of a unix socket the bytes are the address, their number included.
            None => (wanted == found).then_some(0),
            Some((wanted_port, wanted_host)) => {
                let (port, host) = port_and_host(found)?;
                // Any port is a fresh one, unless the socket is asked for by its name.
                let same_port = if is_zero(wanted_port) {
                    same_name
                } else {
                    wanted_port == port
                };
                if same_port {
                    self.rank_host(wanted_host, host, v6only)
                } else {
                    None
                }
            }
        };
        let other_name = !same_name && self.name.is_some();
        kind.map(|kind| Rank(kind * 2 + u8::from(other_name)))
    }

    /// The lengths of the hosts tell their families.
    fn rank_host(&self, wanted: &[u8], found: &[u8], v6only: bool) -> Option<u8> {
        // Which families the network has.
        let (v4, v6) = (!self.network.is_v6_only(), !self.network.is_v4_only());
        if wanted.len() != found.len() {
            // As Go binds 0.0.0.0 as [::], and as a machine without IPv6 binds [::] as 0.0.0.0.
            // A socket of our own could not be bound beside it. One of IPv4 is not V6ONLY.
            let both = v4 && v6 && !v6only;
            return (both && is_zero(wanted) && is_zero(found)).then_some(2);
        }
        let is_v6 = wanted.len() > 4;
        if wanted != found || !(if is_v6 { v6 } else { v4 }) {
            None
        } else if !is_v6 || v6only != v4 {
            Some(0)
        } else {
            // The activator's word on IPV6_V6ONLY stands: again a socket of our own could not be
            // bound beside this one.
            v4.then_some(1)
        }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request<'a>(network: &str, address: &str, name: Option<&'a [u8]>) -> Request<'a> {
        let network = Network::parse(network.as_bytes()).unwrap();
        Request::new(
            network,
            &Address::parse(network, address.as_bytes()).unwrap(),
            name,
        )
    }

    fn rank(network: &str, address: &str, found: &str, v6only: bool) -> Option<u8> {
        let found = SockAddr::encode(&Address::parse(Network::Tcp, found.as_bytes()).unwrap());
        request(network, address, None)
            .rank(found.as_bytes(), v6only, b"unknown")
            .map(|rank| rank.0 / 2)
    }

    /// Case B1, B2.
    #[test]
    fn an_exact_match_wins() {
        // A V6ONLY [::]:80 and a 0.0.0.0:80 each get their own.
        assert_eq!(rank("tcp", "0.0.0.0:80", "0.0.0.0:80", false), Some(0));
        assert_eq!(rank("tcp", "0.0.0.0:80", "[::]:80", true), None);
        assert_eq!(rank("tcp6", "[::]:80", "[::]:80", true), Some(0));
        assert_eq!(rank("tcp6", "[::]:80", "0.0.0.0:80", false), None);
        assert!(rank("tcp", ":80", "[::]:80", true) < rank("tcp", ":80", "0.0.0.0:80", false));
        assert_eq!(rank("tcp", ":80", "[::]:80", false), Some(0));
        assert_eq!(rank("tcp", "127.0.0.1:80", "127.0.0.1:81", false), None);
        assert_eq!(rank("tcp", "127.0.0.1:80", "127.0.0.2:80", false), None);
        assert_eq!(rank("tcp", "127.0.0.1:80", "0.0.0.0:80", false), None);
    }

    /// Case B3.
    #[test]
    fn a_network_of_one_family_gets_only_that() {
        assert_eq!(rank("tcp4", ":80", "[::]:80", false), None);
        assert_eq!(rank("tcp4", ":80", "0.0.0.0:80", false), Some(0));
        assert_eq!(rank("tcp6", ":80", "0.0.0.0:80", false), None);
        assert_eq!(rank("tcp6", ":80", "[::]:80", false), None);
        assert_eq!(rank("tcp6", "[::1]:80", "[::1]:80", false), None);
        assert_eq!(rank("tcp6", ":80", "[::]:80", true), Some(0));
    }

    /// Case B4.
    #[test]
    fn wildcards_of_the_other_family_come_last() {
        assert_eq!(rank("tcp", ":80", "0.0.0.0:80", false), Some(2));
        assert_eq!(rank("tcp", "[::]:80", "0.0.0.0:80", false), Some(2));
        assert_eq!(rank("tcp", "0.0.0.0:80", "[::]:80", false), Some(2));
        assert_eq!(rank("tcp", "[::1]:80", "0.0.0.0:80", false), None);
        assert_eq!(rank("tcp", "0.0.0.0:80", "127.0.0.1:80", false), None);
    }

    /// Case B5.
    #[test]
    fn any_port_is_inherited_by_name_only() {
        let found = SockAddr::encode(&Address::parse(Network::Tcp, b"127.0.0.1:4711").unwrap());
        let named = request("tcp", "127.0.0.1:0", Some(b"web"));
        assert_eq!(
            named.rank(found.as_bytes(), false, b"web"),
            Some(Rank::BEST)
        );
        assert_eq!(named.rank(found.as_bytes(), false, b"admin"), None);
        assert_eq!(
            request("tcp", "127.0.0.1:0", None).rank(found.as_bytes(), false, b"web"),
            None
        );
        assert_eq!(
            request("tcp", "127.0.0.2:0", Some(b"web")).rank(found.as_bytes(), false, b"web"),
            None
        );
    }

    /// Case B6. Of several equal addresses the one of the name that was asked for.
    #[test]
    fn the_name_decides_between_equals() {
        let found = SockAddr::encode(&Address::parse(Network::Tcp, b"127.0.0.1:80").unwrap());
        let named = request("tcp", "127.0.0.1:80", Some(b"b"));
        assert!(
            named.rank(found.as_bytes(), false, b"b") < named.rank(found.as_bytes(), false, b"a")
        );
        assert!(named.rank(found.as_bytes(), false, b"a").is_some());
    }

    /// Case B7.
    #[test]
    fn zones_tell_addresses_apart() {
        assert_eq!(
            rank("tcp", "[fe80::1%2]:80", "[fe80::1%2]:80", false),
            Some(0)
        );
        assert_eq!(rank("tcp", "[fe80::1%2]:80", "[fe80::1%3]:80", false), None);
    }

    /// Case B8.
    #[test]
    fn unix_addresses_match_byte_for_byte() {
        let found = SockAddr::encode(&Address::parse(Network::Unix, b"/run/a").unwrap());
        assert!(
            request("unix", "/run/a", None)
                .rank(found.as_bytes(), false, b"")
                .is_some()
        );
        assert!(
            request("unix", "/run/b", None)
                .rank(found.as_bytes(), false, b"")
                .is_none()
        );
        assert!(
            request("unix", "@/run/a", None)
                .rank(found.as_bytes(), false, b"")
                .is_none()
        );
        assert!(
            request("tcp", ":80", None)
                .rank(found.as_bytes(), false, b"")
                .is_none()
        );
    }
}
