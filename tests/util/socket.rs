//! Sockets as an activator makes them: of any kind, with any option, listening or not.
#![allow(unsafe_code)] // bind, of what rustix does not bind.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::net::{
    AddressFamily, Protocol, SocketAddrUnix, SocketFlags, SocketType, bind, getsockname, ipproto,
    socket_with, sockopt,
};

/// `network` is one of the crate's; a `tcp6` or `udp6` socket is V6ONLY.
pub fn socket(network: &str, family: AddressFamily) -> OwnedFd {
    let style = match network {
        "tcp" | "tcp4" | "tcp6" | "unix" => SocketType::STREAM,
        "udp" | "udp4" | "udp6" | "unixgram" => SocketType::DGRAM,
        "unixpacket" => SocketType::SEQPACKET,
        other => panic!("no network: {other}"),
    };
    let fd = socket_with(family, style, SocketFlags::CLOEXEC, None).unwrap();
    if family == AddressFamily::INET6 {
        sockopt::set_ipv6_v6only(&fd, network.ends_with('6')).unwrap();
    }
    fd
}

/// A socket that is bound, and does not listen.
pub fn bound(network: &str, address: impl AsRef<OsStr>) -> OwnedFd {
    let address = address.as_ref();
    if network.starts_with("unix") {
        let fd = socket(network, AddressFamily::UNIX);
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name),
            path => SocketAddrUnix::new(path),
        };
        bind(&fd, &address.unwrap()).unwrap();
        return fd;
    }
    let address: SocketAddr = address.to_str().unwrap().parse().unwrap();
    let fd = socket(network, family(&address));
    bind(&fd, &address).unwrap();
    fd
}

/// A socket that listens.
pub fn listener(network: &str, address: impl AsRef<OsStr>) -> OwnedFd {
    let fd = bound(network, address);
    rustix::net::listen(&fd, 16).unwrap();
    fd
}

/// One of several TCP listeners of one address.
pub fn reuse_port(address: &str) -> OwnedFd {
    let address: SocketAddr = address.parse().unwrap();
    let fd = socket("tcp", family(&address));
    sockopt::set_socket_reuseport(&fd, true).unwrap();
    bind(&fd, &address).unwrap();
    rustix::net::listen(&fd, 16).unwrap();
    fd
}

/// A listener of Multipath TCP.
pub fn mptcp(address: &str) -> OwnedFd {
    let address: SocketAddr = address.parse().unwrap();
    let protocol: Option<Protocol> = Some(ipproto::MPTCP);
    let flags = SocketFlags::CLOEXEC;
    let fd = socket_with(family(&address), SocketType::STREAM, flags, protocol)
        .expect("a kernel with net.mptcp.enabled");
    bind(&fd, &address).unwrap();
    rustix::net::listen(&fd, 16).unwrap();
    fd
}

/// The address of a TCP or UDP socket.
pub fn address(fd: &OwnedFd) -> SocketAddr {
    getsockname(fd).unwrap().try_into().unwrap()
}

fn family(address: &SocketAddr) -> AddressFamily {
    match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    }
}

/// bind(2) to a path that may fill the whole address, without the NUL that ends others.
pub fn bind_to_bytes(fd: &OwnedFd, path: &[u8]) -> std::io::Result<()> {
    // SAFETY: integers and arrays of them, of which zeros are a value.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as _;
    for (to, from) in address.sun_path.iter_mut().zip(path) {
        *to = *from as _;
    }
    let length = 2 + path.len() as libc::socklen_t;
    // SAFETY: an address, of which at most as many bytes are read as it has.
    match unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
