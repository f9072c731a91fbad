//! What users of Go's gracenet rely on: the 20 scenarios that it tests of itself, one test each,
//! under its names. Sockets are passed as it passes them: a count, and neither a pid nor names.
//! Where we differ it is said.

mod util;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use tempfile::TempDir;
use util::{Puppet, Start, address, in_network_namespace, listener};

const IN_USE: &str = "bind: os error 98";

/// Started as gracenet starts it, with these sockets.
fn passing(sockets: impl IntoIterator<Item = OwnedFd>) -> Puppet {
    let start = sockets.into_iter().fold(Start::new(), Start::pass);
    start.without_pid().run()
}

/// A count with nothing behind it.
fn counting(count: &str) -> Puppet {
    Start::new().count(count).without_pid().run()
}

#[track_caller]
fn inherits(puppet: &Puppet, count: usize) {
    let answer = puppet.must("inherit missing-pid");
    assert_eq!(answer, format!("{count} generation=0"));
    assert!(puppet.table().iter().all(|entry| !entry.claimed));
}

/// `order` is answered with the inherited socket of this number.
#[track_caller]
fn claims(puppet: &Puppet, order: &str, number: i32) {
    let got = puppet.gets(order);
    assert!(got.inherited && got.claimed, "{got:?}");
    assert_eq!(got.fd, number, "{got:?}");
}

struct Path {
    _directory: TempDir,
    path: PathBuf,
    order: String,
}

fn path() -> Path {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("socket");
    Path {
        _directory: directory,
        order: format!("listen unix {}", path.display()),
        path,
    }
}

/// Scenario 1. Also without any variable.
#[test]
fn empty_count_env_variable() {
    inherits(&counting(""), 0);
    inherits(&Start::new().run(), 0);
}

/// Scenario 2.
#[test]
fn zero_count_env_variable() {
    inherits(&counting("0"), 0);
}

/// Scenario 3.
#[test]
fn invalid_count_env_variable() {
    let error = counting("a").fails("inherit missing-pid");
    assert_eq!(error, "LISTEN_FDS is not a number in range, at byte 0");
}

/// Scenario 4. There it is an error, for all the others too. Here it stops none of them, and is got by its
/// name or closed when the process is ready.
#[test]
fn invalid_file_inherit() {
    let web = listener("tcp", "127.0.0.1:0");
    let order = format!("listen tcp {}", address(&web));
    let file = File::open("/dev/null").unwrap();
    let puppet = passing([file.into(), web]);
    inherits(&puppet, 2);
    assert_eq!(puppet.table()[0].kind, "other");
    claims(&puppet, &order, 4);
    puppet.must("ready");
    assert_eq!(puppet.table().len(), 1);
    assert!(!puppet.fds().has(3));
}

/// Scenario 5. There the first listen says so, here the step before it.
#[test]
fn inherit_error_on_listen_tcp_with_invalid_count() {
    let web = listener("tcp", "127.0.0.1:0");
    let order = format!("listen tcp {}", address(&web));
    let puppet = Start::new().pass(web).count("a").without_pid().run();
    puppet.fails("inherit missing-pid");
    assert_eq!(puppet.fails(order), IN_USE);
}

/// Scenario 6.
#[test]
fn inherit_error_on_listen_unix_with_invalid_count() {
    let admin = path();
    let socket = listener("unix", &admin.path);
    let puppet = Start::new().pass(socket).count("a").without_pid().run();
    puppet.fails("inherit missing-pid");
    assert_eq!(puppet.fails(&admin.order), IN_USE);
}

/// Scenario 7.
#[test]
fn one_tcp_inherit() {
    let web = listener("tcp", "[::]:0");
    let order = format!("listen tcp {}", address(&web));
    let puppet = passing([web]);
    inherits(&puppet, 1);
    claims(&puppet, &order, 3);
    assert_eq!(puppet.table().len(), 1);
}

/// Scenario 8.
#[test]
fn second_tcp_listen() {
    let puppet = Start::new().run();
    let web = puppet.gets("listen tcp :0");
    let order = format!("listen tcp {}", web.address);
    assert_eq!(puppet.fails(order), IN_USE);
    assert_eq!(puppet.table(), [web]);
}

/// Scenario 9.
#[test]
fn second_tcp_listen_inherited() {
    let web = listener("tcp", "[::]:0");
    let order = format!("listen tcp {}", address(&web));
    let puppet = passing([web]);
    inherits(&puppet, 1);
    claims(&puppet, &order, 3);
    assert_eq!(puppet.fails(&order), IN_USE);
}

/// Scenario 10.
#[test]
fn invalid_network() {
    let puppet = Start::new().run();
    let error = "unknown network, at byte 0";
    assert_eq!(puppet.fails("listen foo ''"), error);
    assert_eq!(puppet.fails("listen-tcp foo 127.0.0.1:0"), error);
    // A network, but another method's.
    assert_eq!(puppet.fails("listen-tcp unix 127.0.0.1:0"), error);
}

/// Scenario 11.
#[test]
fn invalid_network_unix() {
    let puppet = Start::new().run();
    let error = "unknown network, at byte 0";
    assert_eq!(puppet.fails("listen invalid_unix_net_for_test ''"), error);
    assert_eq!(puppet.fails("listen-unix unixx @a"), error);
    assert_eq!(puppet.fails("listen-unix tcp @a"), error);
}

/// Scenario 12.
#[test]
fn with_tcp_0000() {
    let web = listener("tcp", "0.0.0.0:0");
    let order = format!("listen tcp {}", address(&web));
    assert!(order.contains(" 0.0.0.0:"));
    let puppet = passing([web]);
    inherits(&puppet, 1);
    claims(&puppet, &order, 3);
}

/// Scenario 12. As Go makes it: for 0.0.0.0 it binds a dual-stack socket.
#[test]
fn with_tcp_0000_as_go_binds_it() {
    in_network_namespace("with_tcp_0000_as_go_binds_it", || {
        let puppet = passing([listener("tcp", "[::]:7000")]);
        inherits(&puppet, 1);
        claims(&puppet, "listen tcp 0.0.0.0:7000", 3);
    });
}

/// Scenario 13.
#[test]
fn with_tcp_ipv6_local() {
    let web = listener("tcp", "[::]:0");
    let order = format!("listen tcp {}", address(&web));
    assert!(order.contains(" [::]:"));
    let puppet = passing([web]);
    inherits(&puppet, 1);
    claims(&puppet, &order, 3);
}

/// Scenario 14.
#[test]
fn one_unix_inherit() {
    let admin = path();
    let puppet = passing([listener("unix", &admin.path)]);
    inherits(&puppet, 1);
    claims(&puppet, &admin.order, 3);
    assert_eq!(puppet.table().len(), 1);
}

/// Scenario 15. Our error says at which byte, and leaves it to the caller to say of what.
#[test]
fn invalid_tcp_addr() {
    let puppet = Start::new().run();
    for (address, error) in [
        ("abc", "missing port, at byte 3"),
        ("''", "missing port, at byte 0"),
        ("127.0.0.1:65536", "port is out of range, at byte 10"),
        (
            "::1:80",
            "too many colons, an IPv6 address stands in brackets, at byte 1",
        ),
    ] {
        assert_eq!(puppet.fails(format!("listen tcp {address}")), error);
    }
    assert_eq!(puppet.table(), []);
}

/// Scenario 16.
#[test]
fn two_tcp() {
    let (web, admin) = (listener("tcp", "[::]:0"), listener("tcp", "[::]:0"));
    let [first, second] = [&web, &admin].map(|it| format!("listen tcp :{}", address(it).port()));
    let puppet = passing([web, admin]);
    inherits(&puppet, 2);
    claims(&puppet, &first, 3);
    assert!(!puppet.table()[1].claimed);
    claims(&puppet, &second, 4);
}

/// Scenario 17. In the other order than they were passed.
#[test]
fn one_unix_and_one_tcp_inherit() {
    let admin = path();
    let web = listener("tcp", "[::]:0");
    let order = format!("listen tcp :{}", address(&web).port());
    let puppet = passing([web, listener("unix", &admin.path)]);
    inherits(&puppet, 2);
    claims(&puppet, &admin.order, 4);
    assert!(!puppet.table()[0].claimed);
    claims(&puppet, &order, 3);
}

/// Scenario 18.
#[test]
fn second_unix_listen() {
    let admin = path();
    let puppet = Start::new().run();
    let made = puppet.gets(&admin.order);
    assert_eq!(puppet.fails(&admin.order), IN_USE);
    assert_eq!(puppet.table(), [made]);
}

/// Scenario 19.
#[test]
fn second_unix_listen_inherited() {
    let admin = path();
    let puppet = passing([listener("unix", &admin.path)]);
    inherits(&puppet, 1);
    claims(&puppet, &admin.order, 3);
    assert_eq!(puppet.fails(&admin.order), IN_USE);
}

/// Scenario 20.
#[test]
fn port_zero_twice() {
    let puppet = Start::new().run();
    let [first, second] = ["listen tcp :0"; 2].map(|order| puppet.gets(order));
    assert_ne!(first.port(), second.port());
    assert_eq!(puppet.table(), [first, second]);
}
