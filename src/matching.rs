//! Pure. Whether an inherited socket is the one that a `listen` asks for.
//!
//! The key is what the kernel says of a socket (family, type, protocol, the address it is bound
//! to, IPV6_V6ONLY), never a string.

use crate::addr::{Address, Network};

/// What a `listen` asks for, at an address whose zone has a number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) network: Network,
    pub(crate) address: &'a Address,
    pub(crate) name: Option<&'a [u8]>,
}

/// How well a socket matches: the smaller the better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Rank(u8);

impl Rank {
    pub(crate) const BEST: Rank = Rank(0);
    /// It is another one.
    pub(crate) const NONE: Rank = Rank(u8::MAX);
}

impl Request<'_> {
    /// How well a socket of the right transport matches that is bound to `found`, as getsockname
    /// says, is V6ONLY or not and was passed under `name`. `found` is used up.
    #[inline(never)]
    pub(crate) fn rank(&self, found: &mut Address, v6only: bool, name: &[u8]) -> Rank {
        let same_name = self.name == Some(name);
        // Any port is a fresh one, unless the socket is asked for by its name.
        if self.address.port() == Some(0) {
            if !same_name {
                return Rank::NONE;
            }
            found.set_any_port();
        }
        let kind = if *found == *self.address {
            // A network of one family has no hosts of the other.
            match (v6only, self.network.is_v6_only()) {
                (false, true) => return Rank::NONE,
                // The activator's word on IPV6_V6ONLY stands: a socket of our own could not be bound
                // beside this one.
                (true, false) => 1,
                _ => 0,
            }
        } else {
            // As Go binds 0.0.0.0 as [::], and as a machine without IPv6 binds [::] as 0.0.0.0.
            // Again a socket of our own could not be bound beside it. One of IPv4 is not V6ONLY.
            let both = self.network.has_both_families() && !v6only;
            if !both || !found.turn_wildcard() || *found != *self.address {
                return Rank::NONE;
            }
            2
        };
        let other_name = !same_name && self.name.is_some();
        Rank(kind * 2 + u8::from(other_name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(network: Network, address: &str) -> Address {
        Address::parse(network, address.as_bytes()).unwrap()
    }

    /// How well a socket that was passed under the name of `passed` matches.
    fn named(
        network: &str,
        address: &str,
        name: Option<&[u8]>,
        found: &Address,
        passed: &[u8],
    ) -> Rank {
        let network = Network::parse(network.as_bytes()).unwrap();
        let request = Request {
            network,
            address: &bound(network, address),
            name,
        };
        let mut found = *found;
        request.rank(&mut found, false, passed)
    }

    fn rank(network: &str, address: &str, found: &str, v6only: bool) -> Option<u8> {
        let network = Network::parse(network.as_bytes()).unwrap();
        let request = Request {
            network,
            address: &bound(network, address),
            name: None,
        };
        let mut found = bound(Network::Tcp, found);
        let rank = request.rank(&mut found, v6only, b"unknown");
        (rank != Rank::NONE).then_some(rank.0 / 2)
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
        let found = bound(Network::Tcp, "127.0.0.1:4711");
        let web: Option<&[u8]> = Some(b"web");
        let rank = |address, name, passed| named("tcp", address, name, &found, passed);
        assert_eq!(rank("127.0.0.1:0", web, b"web"), Rank::BEST);
        assert_eq!(rank("127.0.0.1:0", web, b"admin"), Rank::NONE);
        assert_eq!(rank("127.0.0.1:0", None, b"web"), Rank::NONE);
        assert_eq!(rank("127.0.0.2:0", web, b"web"), Rank::NONE);
    }

    /// Case B6. Of several equal addresses the one of the name that was asked for.
    #[test]
    fn the_name_decides_between_equals() {
        let found = bound(Network::Tcp, "127.0.0.1:80");
        let rank = |passed| named("tcp", "127.0.0.1:80", Some(b"b"), &found, passed);
        assert!(rank(b"b") < rank(b"a"));
        assert!(rank(b"a") < Rank::NONE);
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
        let found = bound(Network::Unix, "/run/a");
        let matches = |network, address| named(network, address, None, &found, b"") < Rank::NONE;
        assert!(matches("unix", "/run/a"));
        assert!(!matches("unix", "/run/b"));
        assert!(!matches("unix", "@/run/a"));
        assert!(!matches("tcp", ":80"));
    }
}
