//! A program asks for addresses, as it does at each start, and has inherited sockets. From
//! outside must be seen that it goes on with those sockets that are bound to what it asks for,
//! and with no other.

mod util;

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, bind};
use tempfile::TempDir;
use util::{
    Puppet, Start, address, bound, in_network_namespace, listener, mptcp, reuse_port, socket,
    without_ipv6,
};

const IN_USE: &str = "bind: os error 98";

/// A port that is free for IPv4 and for IPv6, and stays so where only the test binds.
const PORT: u16 = 7000;

fn passing(sockets: impl IntoIterator<Item = OwnedFd>) -> Puppet {
    sockets
        .into_iter()
        .fold(Start::new(), Start::pass)
        .inherit()
}

/// The number of the inherited fd that `request` is answered with; `None` if it is a new one.
#[track_caller]
fn claimed(puppet: &Puppet, request: &str) -> Option<i32> {
    let got = puppet.gets(request);
    got.inherited.then_some(got.fd)
}

/// Reads what is sent to a new connection.
fn greeting(address: impl Into<SocketAddr>, puppet: &Puppet, request: &str) -> String {
    let socket = puppet.gets(request);
    let client = TcpStream::connect(address.into()).unwrap();
    puppet.greets(&socket, "hello");
    std::io::read_to_string(client).unwrap()
}

/// Case B1.
#[test]
fn an_address_is_the_same_however_it_is_written() {
    let web = listener("tcp", "127.0.0.1:0");
    let admin = listener("tcp6", "[::1]:0");
    let mapped = listener("tcp", "127.0.0.1:0");
    let (web_port, admin_port) = (address(&web).port(), address(&admin).port());
    let mapped_port = address(&mapped).port();
    let puppet = passing([web, admin, mapped]);
    let request = format!("listen tcp localhost:{web_port}");
    assert_eq!(claimed(&puppet, &request), Some(3));
    let request = format!("listen tcp6 [0:0:00:0::0001]:0{admin_port}");
    assert_eq!(claimed(&puppet, &request), Some(4));
    let request = format!("listen tcp [::ffff:127.0.0.1]:{mapped_port}");
    assert_eq!(claimed(&puppet, &request), Some(5));
}

/// Case B1.
#[test]
fn parsed_addresses_find_their_sockets_too() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("socket");
    let web = listener("tcp", "127.0.0.1:0");
    let address = address(&web);
    let puppet = passing([web, listener("unix", &path)]);
    assert_eq!(
        claimed(&puppet, &format!("listen-tcp tcp {address}")),
        Some(3)
    );
    let request = format!("listen-unix unix {}", path.display());
    assert_eq!(claimed(&puppet, &request), Some(4));
}

/// Case B1. Another host of the port, another port of the host, another path.
#[test]
fn a_socket_that_is_bound_elsewhere_is_not_taken() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("socket");
    let web = listener("tcp", "127.0.0.1:0");
    let port = address(&web).port();
    let puppet = passing([web, listener("unix", &path)]);
    for request in [
        format!("listen tcp 127.0.0.2:{port}"),
        format!("listen tcp [::1]:{port}"),
        format!("listen udp 127.0.0.1:{port}"),
        "listen tcp 127.0.0.1:0".to_owned(),
        format!("listen unix {}2", path.display()),
        format!("listen unix @{}", path.display()),
    ] {
        assert_eq!(claimed(&puppet, &request), None, "{request}");
    }
    assert!(puppet.table()[..2].iter().all(|entry| !entry.claimed));
}

/// Case B2.
#[test]
fn wildcards_of_both_families_each_get_their_own() {
    in_network_namespace("wildcards_of_both_families_each_get_their_own", || {
        let four = format!("listen tcp 0.0.0.0:{PORT}");
        for six in [
            "listen tcp6 [::]:7000",
            "listen tcp6 :7000",
            "listen tcp [::]:7000",
        ] {
            for four_first in [false, true] {
                for ask_four_first in [false, true] {
                    let v4 = listener("tcp", format!("0.0.0.0:{PORT}"));
                    let v6 = listener("tcp6", format!("[::]:{PORT}"));
                    let puppet = passing(if four_first { [v4, v6] } else { [v6, v4] });
                    let (fd4, fd6) = if four_first { (3, 4) } else { (4, 3) };
                    let mut requests = [(four.as_str(), fd4), (six, fd6)];
                    if !ask_four_first {
                        requests.reverse();
                    }
                    for (request, fd) in requests {
                        assert_eq!(claimed(&puppet, request), Some(fd), "{request}");
                    }
                }
            }
        }
    });
}

/// Case B3.
#[test]
fn tcp4_and_tcp6_take_only_sockets_of_one_family() {
    in_network_namespace("tcp4_and_tcp6_take_only_sockets_of_one_family", || {
        let dual_stack = || listener("tcp", format!("[::]:{PORT}"));
        let four_only = || listener("tcp", format!("0.0.0.0:{PORT}"));
        let six_only = || listener("tcp6", format!("[::]:{PORT}"));
        for (socket, request, taken) in [
            (
                dual_stack as fn() -> OwnedFd,
                "listen tcp4 :7000",
                Err(IN_USE),
            ),
            (dual_stack, "listen tcp4 0.0.0.0:7000", Err(IN_USE)),
            (dual_stack, "listen tcp6 :7000", Err(IN_USE)),
            (dual_stack, "listen tcp :7000", Ok(Some(3))),
            (four_only, "listen tcp4 :7000", Ok(Some(3))),
            (four_only, "listen tcp6 :7000", Ok(None)),
            (six_only, "listen tcp4 :7000", Ok(None)),
            (six_only, "listen tcp6 :7000", Ok(Some(3))),
        ] {
            let puppet = passing([socket()]);
            match taken {
                Ok(fd) => assert_eq!(claimed(&puppet, request), fd, "{request}"),
                Err(why) => assert_eq!(puppet.fails(request), why, "{request}"),
            }
        }
    });
}

/// Case B4. What Go binds as 0.0.0.0 is dual-stack, and so is what systemd binds as a port.
#[test]
fn wildcards_of_the_other_family_are_taken_where_no_other_matches() {
    let name = "wildcards_of_the_other_family_are_taken_where_no_other_matches";
    in_network_namespace(name, || {
        let puppet = passing([listener("tcp", format!("[::]:{PORT}"))]);
        let request = format!("listen tcp 0.0.0.0:{PORT}");
        assert_eq!(claimed(&puppet, &request), Some(3));
        drop(puppet);
        for host in ["", "[::]"] {
            let puppet = passing([listener("tcp", format!("0.0.0.0:{PORT}"))]);
            let request = format!("listen tcp {host}:{PORT}");
            assert_eq!(claimed(&puppet, &request), Some(3));
        }
        // A host is not a wildcard.
        let puppet = passing([listener("tcp", format!("[::]:{PORT}"))]);
        let request = format!("listen tcp 127.0.0.1:{PORT}");
        assert_eq!(puppet.fails(request), IN_USE);
    });
}

/// Case B5.
#[test]
fn port_0_is_a_new_socket_each_time() {
    let web = listener("tcp", "127.0.0.1:0");
    let puppet = passing([web, bound("udp", "127.0.0.1:0")]);
    let first = puppet.gets("listen tcp 127.0.0.1:0");
    let second = puppet.gets("listen tcp 127.0.0.1:0");
    let datagrams = puppet.gets("listen udp 127.0.0.1:0");
    assert!(!first.inherited && !second.inherited && !datagrams.inherited);
    assert_ne!(first.port(), second.port());
}

/// Case B5.
#[test]
fn port_0_with_a_name_keeps_its_port_across_restarts() {
    let puppet = Start::new().run();
    let orders = [
        "listen tcp 127.0.0.1:0 name=admin",
        "listen tcp 127.0.0.1:0 name=web",
        "listen udp 127.0.0.1:0 name=web",
    ];
    let ports = orders.map(|order| puppet.gets(order).port());
    let second = puppet.succeed(&orders);
    let third = second.succeed(&orders);
    for successor in [second, third] {
        let table = successor.table();
        assert!(table.iter().all(|entry| entry.inherited), "{table:?}");
        assert_eq!([0, 1, 2].map(|at: usize| table[at].port()), ports);
        // There is no second one of the name.
        assert!(!successor.gets("listen tcp 127.0.0.1:0 name=web").inherited);
    }
}

/// Case B6.
#[test]
fn equal_addresses_are_got_one_by_one_in_their_order() {
    let first = reuse_port("127.0.0.1:0");
    let address = address(&first).to_string();
    let puppet = passing([first, reuse_port(&address), reuse_port(&address)]);
    let request = format!("listen tcp {address}");
    assert_eq!(claimed(&puppet, &request), Some(3));
    assert_eq!(claimed(&puppet, &request), Some(4));
    assert_eq!(claimed(&puppet, &request), Some(5));
    assert_eq!(puppet.fails(&request), IN_USE);
    let one_more = puppet.gets(format!("{request} reuse-port"));
    assert!(!one_more.inherited);
    // All four, and in this order, are what the next one gets.
    let requests = [request.as_str(); 4];
    let successor = puppet.succeed(&requests);
    let fds: Vec<i32> = successor.table().iter().map(|entry| entry.fd).collect();
    assert_eq!(fds, [3, 4, 5, 6]);
}

/// Case B6.
#[test]
fn of_equal_addresses_the_one_of_the_name_is_got() {
    let first = reuse_port("127.0.0.1:0");
    let address = address(&first).to_string();
    let puppet = Start::new()
        .pass(first)
        .pass(reuse_port(&address))
        .names("a:b")
        .inherit();
    assert_eq!(
        claimed(&puppet, &format!("listen tcp {address} name=b")),
        Some(4)
    );
    assert_eq!(
        claimed(&puppet, &format!("listen tcp {address} name=c")),
        Some(3)
    );
    assert_eq!(puppet.table()[0].name, "c");
}

/// Case B6.
#[test]
fn an_address_is_claimed_once() {
    let web = listener("tcp", "127.0.0.1:0");
    let request = format!("listen tcp {}", address(&web));
    let puppet = passing([web, listener("tcp", "127.0.0.1:0")]);
    assert_eq!(claimed(&puppet, &request), Some(3));
    assert_eq!(puppet.fails(&request), IN_USE);
    assert_eq!(puppet.table().len(), 2);
}

/// Case B7.
#[test]
fn zones_tell_link_local_addresses_apart() {
    in_network_namespace("zones_tell_link_local_addresses_apart", || {
        util::add_link_local_to_lo();
        let web = listener("tcp6", format!("[fe80::1%1]:{PORT}"));
        let puppet = passing([web, listener("tcp6", format!("[::1]:{PORT}"))]);
        // There is no second interface, so that nothing can be bound; but nothing is taken either.
        let other = format!("listen tcp6 [fe80::1%2]:{PORT}");
        assert_eq!(puppet.fails(other), "bind: os error 19");
        let none = format!("listen tcp6 [fe80::1]:{PORT}");
        assert_eq!(puppet.fails(none), "bind: os error 22");
        let by_name = format!("listen tcp6 [fe80::1%lo]:{PORT}");
        assert_eq!(claimed(&puppet, &by_name), Some(3));
        drop(puppet);
        let puppet = passing([listener("tcp6", format!("[fe80::1%1]:{PORT}"))]);
        let by_number = format!("listen tcp6 [fe80::1%1]:{PORT}");
        assert_eq!(claimed(&puppet, &by_number), Some(3));
        let unknown = format!("listen tcp6 [fe80::1%nowhere]:{PORT}");
        assert_eq!(puppet.fails(unknown), "ioctl: os error 19");
    });
}

/// Case B7. The kernel keeps a zone for link-local addresses only.
#[test]
fn a_zone_where_none_belongs_does_not_lose_the_socket() {
    for zone in ["lo", "1"] {
        let puppet = Start::new().run();
        let order = format!("listen tcp6 [::1%{zone}]:0 name=web");
        let port = puppet.gets(&order).port();
        let successor = puppet.start();
        successor.must("inherit");
        let order = format!("listen tcp6 [::1%{zone}]:{port}");
        assert_eq!(successor.ask(&order).map(drop), Ok(()), "{order}");
        assert!(successor.table()[0].claimed, "{:?}", successor.table());
    }
}

/// Case B8.
#[test]
fn unix_sockets_of_one_path_are_told_apart_by_their_kind() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("socket");
    // What is bound stays so, with its name, when the path is removed.
    let sockets = ["unixgram", "unixpacket", "unix"].map(|network| {
        let _ = fs::remove_file(&path);
        let socket = bound(network, &path);
        if network != "unixgram" {
            rustix::net::listen(&socket, 8).unwrap();
        }
        socket
    });
    let puppet = passing(sockets);
    let path = path.display();
    assert_eq!(claimed(&puppet, &format!("listen unix {path}")), Some(5));
    assert_eq!(
        claimed(&puppet, &format!("listen unixpacket {path}")),
        Some(4)
    );
    assert_eq!(
        claimed(&puppet, &format!("listen unixgram {path}")),
        Some(3)
    );
}

/// Case B8.
#[test]
fn a_path_that_fills_the_address_has_no_nul() {
    let directory = TempDir::new().unwrap();
    let mut path = directory
        .path()
        .join("x")
        .into_os_string()
        .into_string()
        .unwrap();
    while path.len() < 108 {
        path.push('x');
    }
    let socket = socket("unix", AddressFamily::UNIX);
    util::bind_to_bytes(&socket, path.as_bytes()).unwrap();
    rustix::net::listen(&socket, 8).unwrap();
    let web = listener("tcp", "127.0.0.1:0");
    let address = address(&web);
    let puppet = Start::new()
        .pass(socket)
        .pass(web)
        .names("long:web")
        .inherit();
    assert_eq!(puppet.table()[0].address, path);
    // It is looked at on the way to the one behind it.
    assert_eq!(claimed(&puppet, &format!("listen tcp {address}")), Some(4));
    let shorter = puppet.gets(format!("listen unix {}", &path[..107]));
    assert!(!shorter.inherited);
    let long = puppet.gets("claim long");
    assert_eq!((long.fd, long.kind.as_str()), (3, "listener:unix"));
    // And it goes on to successors.
    let successor = puppet.succeed(&["claim long"]);
    assert_eq!(successor.table()[0].address, path);
}

/// Case B8.
#[test]
fn abstract_names_match_byte_for_byte() {
    let id = std::process::id();
    let with_nul = listener("unix", format!("@gracenet\0{id}"));
    let trailing = listener("unix", format!("@gracenet{id}\0"));
    let unbound = socket("unix", AddressFamily::UNIX);
    // Five bytes of the kernel's choice.
    bind(&unbound, &SocketAddrUnix::new_unnamed()).unwrap();
    rustix::net::listen(&unbound, 8).unwrap();
    let puppet = passing([with_nul, trailing, unbound]);
    let chosen = puppet.table()[2].address.clone();
    assert_eq!(chosen.len(), 6, "{chosen:?}");

    assert_eq!(
        claimed(&puppet, &format!("listen unix @gracenet{id}")),
        None
    );
    let request = format!("listen unix @gracenet{id}\\x00");
    assert_eq!(claimed(&puppet, &request), Some(4));
    let request = format!("listen unix @gracenet\\x00{id}");
    assert_eq!(claimed(&puppet, &request), Some(3));
    assert_eq!(claimed(&puppet, &format!("listen unix {chosen}")), Some(5));
}

/// Case B9.
#[test]
fn a_multipath_listener_is_a_tcp_listener() {
    let web = mptcp("127.0.0.1:0");
    let address = address(&web);
    let puppet = passing([bound("udp", address.to_string()), web]);
    let request = format!("listen tcp {address}");
    assert_eq!(greeting(address, &puppet, &request), "hello");
    let web = &puppet.table()[1];
    assert_eq!((web.kind.as_str(), web.claimed), ("listener:tcp4", true));
}

/// Case B10.
#[test]
fn names_are_not_resolved_but_for_localhost() {
    let puppet = Start::new().run();
    let host = "not an IP address, and names are not resolved, at byte ";
    let port = "not a port number, and names are not resolved, at byte ";
    for (request, error, at) in [
        ("tcp example.com:80", host, 0),
        ("udp localhos:80", host, 0),
        ("tcp 127.0.0.1:http", port, 10),
        ("tcp :https", port, 1),
    ] {
        assert_eq!(
            puppet.fails(format!("listen {request}")),
            format!("{error}{at}"),
            "{request}"
        );
    }
    assert_eq!(puppet.table(), []);
    for (network, host) in [
        ("tcp", "127.0.0.1"),
        ("tcp4", "127.0.0.1"),
        ("tcp6", "[::1]"),
    ] {
        let got = puppet.gets(format!("listen {network} localhost:0"));
        assert_eq!(got.address, format!("{host}:{}", got.port()));
    }
}

/// Case B11.
#[test]
fn what_nobody_claimed_is_listed_and_closed_when_ready() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("admin");
    let (web, old) = (
        listener("tcp", "127.0.0.1:0"),
        listener("tcp", "127.0.0.1:0"),
    );
    let (web_address, old_address) = (address(&web), address(&old));
    let puppet = Start::new()
        .pass(old)
        .pass(web)
        .pass(listener("unix", &path))
        .names("old:web:admin")
        .inherit();
    puppet.must(format!("listen tcp {web_address}"));
    let unclaimed: Vec<String> = puppet
        .table()
        .iter()
        .filter(|entry| !entry.claimed)
        .map(|entry| format!("{} {} {}", entry.name, entry.kind, entry.address))
        .collect();
    let admin = format!("admin listener:unix {}", path.display());
    assert_eq!(
        unclaimed,
        [format!("old listener:tcp4 {old_address}"), admin]
    );
    // Until then they wait: a client is not refused while the program starts.
    TcpStream::connect(old_address).unwrap();

    puppet.must("ready");
    assert_eq!(puppet.fds().target(3), std::path::Path::new("closed"));
    let refused = std::io::ErrorKind::ConnectionRefused;
    assert_eq!(TcpStream::connect(old_address).unwrap_err().kind(), refused);
    assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), refused);
    TcpStream::connect(web_address).unwrap();
    assert_eq!(puppet.table().len(), 1);
}

/// Case B11.
#[test]
fn what_nobody_claimed_is_handed_on_when_asked() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("admin");
    let (web, old) = (
        listener("tcp", "127.0.0.1:0"),
        listener("tcp", "127.0.0.1:0"),
    );
    let request = format!("listen tcp {}", address(&web));
    let old_address = address(&old);
    let first = Start::new()
        .pass(old)
        .pass(web)
        .pass(listener("unix", &path))
        .names("old:web:admin")
        .inherit();
    first.must(&request);
    first.must("ready keep");
    let second = first.start();
    second.must("inherit");
    second.must(&request);
    second.must("ready keep");
    first.must("wait 20000");
    first.exit();
    let third = second.start();
    assert_eq!(third.must("inherit"), "3 generation=2");
    second.exit();

    let names: Vec<String> = third.table().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["old", "web", "admin"]);
    let old = third.gets("claim old");
    let client = TcpStream::connect(old_address).unwrap();
    third.greets(&old, "third");
    assert_eq!(std::io::read_to_string(client).unwrap(), "third");
    let admin = third.gets(format!("listen unix {}", path.display()));
    let client = UnixStream::connect(&path).unwrap();
    third.greets(&admin, "third");
    assert_eq!(std::io::read_to_string(client).unwrap(), "third");
}

/// Datagram sockets are inherited as well, with what waits in them.
#[test]
fn datagram_sockets_are_matched_beside_listeners_of_the_same_port() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("log");
    let tcp = TcpListener::bind("127.5.1.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(address).unwrap();
    let log = UnixDatagram::bind(&path).unwrap();
    let puppet = passing([tcp.into(), udp.into(), log.into()]);
    assert_eq!(claimed(&puppet, &format!("listen udp {address}")), Some(4));
    assert_eq!(
        claimed(&puppet, &format!("listen unixgram {}", path.display())),
        Some(5)
    );
    assert_eq!(claimed(&puppet, &format!("listen tcp {address}")), Some(3));
    let kinds: Vec<String> = puppet.table().into_iter().map(|entry| entry.kind).collect();
    assert_eq!(
        kinds,
        ["listener:tcp4", "datagram:udp4", "datagram:unixgram"]
    );
}

/// What is bound is what is written.
#[test]
fn each_network_binds_the_families_it_says() {
    in_network_namespace("each_network_binds_the_families_it_says", || {
        let (four, six) = (format!("127.0.0.1:{PORT}"), format!("[::1]:{PORT}"));
        for (request, reaches) in [
            ("tcp :7000", [true, true]),
            ("tcp [::]:7000", [true, true]),
            ("tcp 0.0.0.0:7000", [true, false]),
            ("tcp4 :7000", [true, false]),
            ("tcp6 :7000", [false, true]),
            ("tcp6 [::]:7000", [false, true]),
            ("tcp [::1]:7000", [false, true]),
        ] {
            let puppet = Start::new().run();
            puppet.must(format!("listen {request}"));
            let reached = [&four, &six].map(|address| TcpStream::connect(address).is_ok());
            assert_eq!(reached, reaches, "{request}");
        }
    });
}

/// The word of the machine on IPV6_V6ONLY is not asked.
#[test]
fn a_machine_that_binds_v6_only_changes_nothing() {
    in_network_namespace("a_machine_that_binds_v6_only_changes_nothing", || {
        fs::write("/proc/sys/net/ipv6/bindv6only", "1").unwrap();
        let puppet = Start::new().run();
        let web = puppet.gets("listen tcp :0");
        let port = web.port();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        TcpStream::connect(("::1", port)).unwrap();
        let successor = puppet.succeed(&[&format!("listen tcp :{port}")]);
        assert!(successor.table()[0].inherited);
    });
}

#[test]
fn without_ipv6_all_addresses_are_those_of_ipv4() {
    let puppet = Start::new().before(without_ipv6).run();
    for (request, host) in [
        ("tcp :0", "0.0.0.0"),
        ("tcp [::]:0", "0.0.0.0"),
        ("udp :0", "0.0.0.0"),
        ("tcp 127.0.0.1:0", "127.0.0.1"),
    ] {
        let got = puppet.gets(format!("listen {request}"));
        assert_eq!(got.address, format!("{host}:{}", got.port()), "{request}");
        assert!(got.kind.ends_with('4'));
    }
    for request in ["tcp6 :0", "tcp [::1]:0"] {
        let error = puppet.fails(format!("listen {request}"));
        assert_eq!(error, "socket: os error 97", "{request}");
    }
    // The successor asks for the same, and must know its socket again.
    let web = &puppet.table()[0];
    let datagrams = &puppet.table()[2];
    let orders = [
        format!("listen tcp :{}", web.port()),
        format!("listen udp [::]:{}", datagrams.port()),
    ];
    let successor = puppet.succeed(&orders.each_ref().map(String::as_str));
    let table = successor.table();
    assert_eq!((table[0].fd, &table[0].address), (3, &web.address));
    assert_eq!((table[1].fd, &table[1].address), (5, &datagrams.address));
}

#[test]
fn with_ipv6_turned_off_all_addresses_still_means_all() {
    in_network_namespace("with_ipv6_turned_off_all_addresses_still_means_all", || {
        fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").unwrap();
        let puppet = Start::new().run();
        let port = puppet.gets("listen tcp :0").port();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        let error = puppet.fails("listen tcp [::1]:0");
        assert_eq!(error, "bind: os error 99");
        let successor = puppet.succeed(&[&format!("listen tcp :{port}")]);
        assert!(successor.table()[0].inherited);
    });
}

/// SO_REUSEPORT is asked for by both, and the backlog is the one that was asked for.
#[test]
fn options_are_those_that_were_asked_for() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("socket");
    let puppet = Start::new().run();
    let first = puppet.gets("listen tcp 127.0.0.1:0 reuse-port nonblocking");
    let request = format!("listen tcp {}", first.address);
    assert_eq!(puppet.fails(&request), IN_USE);
    let second = puppet.gets(format!("{request} reuse-port"));
    assert!(puppet.fds().is_nonblocking(first.fd));
    assert!(!puppet.fds().is_nonblocking(second.fd));

    puppet.must(format!("listen unix {} backlog=1", path.display()));
    let _waiting = [(); 2].map(|()| connect_at_once(&path).unwrap());
    assert_eq!(connect_at_once(&path).unwrap_err(), Errno::AGAIN);
}

fn connect_at_once(path: &std::path::Path) -> rustix::io::Result<OwnedFd> {
    let client = socket("unix", AddressFamily::UNIX);
    rustix::io::ioctl_fionbio(&client, true)?;
    rustix::net::connect(&client, &SocketAddrUnix::new(path)?)?;
    Ok(client)
}
