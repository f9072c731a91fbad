//! An activator starts a program with sockets and variables that say whose they are and how many.
//! From outside, in /proc, must be seen which of them the program takes, and that it touches
//! nothing that is not meant for it.

mod util;

use std::fs::File;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::dup;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
use rustix::process::getpid;
use tempfile::TempDir;
use util::{Entry, Puppet, Start, address, bound, in_network_namespace, listener};

/// Two sockets of different kinds.
fn tcp_and_unix() -> (OwnedFd, OwnedFd) {
    (listener("tcp", "127.0.0.1:0"), abstract_listener())
}

fn abstract_listener() -> OwnedFd {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    listener("unix", format!("@gracenet-inherit-{}-{count}", getpid()))
}

fn passing_two() -> Start {
    let (web, admin) = tcp_and_unix();
    Start::new().pass(web).pass(admin)
}

/// It gets nothing, which is no error, and leaves its fds as they were: open and not CLOEXEC.
#[track_caller]
fn is_left_alone(puppet: &Puppet) {
    let before = puppet.fds();
    assert!(!before.get(3).unwrap().is_cloexec());
    assert_eq!(puppet.must("inherit"), "0 generation=0");
    assert_eq!(puppet.fds(), before);
    assert_eq!(puppet.table(), []);
}

/// It gets an error, and nothing has been touched by then.
#[track_caller]
fn refuses_untouched(puppet: &Puppet) -> String {
    let before = puppet.fds();
    let error = puppet.fails("inherit");
    assert_eq!(puppet.fds(), before, "after {error}");
    assert_eq!(puppet.table(), []);
    error
}

fn names(table: &[Entry]) -> Vec<&str> {
    table.iter().map(|entry| entry.name.as_str()).collect()
}

/// Case A1.
#[test]
fn without_a_pid_nothing_is_touched() {
    let puppet = passing_two().without_pid().names("web:admin").run();
    is_left_alone(&puppet);
}

/// Case A1.
#[test]
fn without_a_pid_sockets_are_taken_when_asked() {
    let puppet = passing_two().without_pid().names("web:admin").run();
    assert_eq!(puppet.must("inherit missing-pid"), "2 generation=0");
    assert!(puppet.fds().all_cloexec_from(3));
    assert_eq!(names(&puppet.table()), ["web", "admin"]);
}

/// Case A2.
#[test]
fn sockets_of_another_process_are_left_alone() {
    // The activator itself, as where a shell stands between it and the program; and init.
    for pid in [std::process::id(), 1] {
        let puppet = passing_two().pid(&pid.to_string()).run();
        is_left_alone(&puppet);
        // Asked to do without a pid is not asked to ignore one.
        assert_eq!(puppet.must("inherit missing-pid"), "0 generation=0");
        assert!(!puppet.fds().get(3).unwrap().is_cloexec());
    }
}

/// Case A3, A18.
#[test]
fn a_pid_that_is_none_is_an_error_that_names_the_variable() {
    for pid in ["0", "-5", "", "abc", "1 "] {
        let puppet = passing_two().pid(pid).run();
        let error = refuses_untouched(&puppet);
        assert!(error.starts_with("LISTEN_PID is not a number"), "{error}");
    }
}

/// Case A4.
#[test]
fn a_count_of_nothing_is_no_sockets_and_no_error() {
    for count in ["", "0", "00"] {
        is_left_alone(&passing_two().count(count).run());
    }
}

/// Case A4.
#[test]
fn leading_zeros_count_like_none() {
    let puppet = passing_two().count("0002").run();
    assert_eq!(puppet.must("inherit"), "2 generation=0");
}

/// Case A4, A18.
#[test]
fn a_count_that_is_none_is_an_error_before_anything_is_touched() {
    for count in ["-1", "abc", "1 ", " 1", "+1", "0x1", "12345678901234567890"] {
        let error = refuses_untouched(&passing_two().count(count).run());
        assert!(error.starts_with("LISTEN_FDS is not a number"), "{error}");
    }
}

/// Case A5.
#[test]
fn a_huge_count_fails_at_the_first_fd_that_is_not_there() {
    for count in ["2147483645", "2147483646", "2147483648", "4294967295"] {
        let puppet = Start::new().pass(abstract_listener()).count(count).run();
        // In time, or this says so: a loop to the end takes minutes.
        assert_eq!(puppet.fails("inherit"), "inherited fd 4: os error 9");
        assert_eq!(puppet.table(), []);
    }
}

/// Case A6.
#[test]
fn more_than_fit_are_an_error_that_says_how_many() {
    let mut start = Start::new();
    for _ in 0..5 {
        let (web, admin) = tcp_and_unix();
        start = start.pass(web).pass(admin);
    }
    let puppet = start.run();
    let before = puppet.fds().numbers();
    let error = puppet.fails("inherit");
    assert_eq!(error, "10 sockets were passed, and 8 fit");
    assert_eq!(puppet.fds().numbers(), before);
    assert!(puppet.fds().all_cloexec_from(3));
    assert_eq!(puppet.table(), []);
}

/// Case E10. As many as fit.
#[test]
fn as_many_as_fit_are_taken() {
    let mut start = Start::new();
    for _ in 0..4 {
        let (web, admin) = tcp_and_unix();
        start = start.pass(web).pass(admin);
    }
    let puppet = start.inherit();
    assert_eq!(puppet.table().len(), 8);
    let full = puppet.fails("listen tcp 127.0.0.1:0");
    assert_eq!(full, "the table is full, capacity 8");
}

/// Case A7.
#[test]
fn one_fd_that_is_not_there_and_none_is_owned() {
    let (web, admin) = tcp_and_unix();
    let last_is_missing = Start::new().pass(abstract_listener()).count("2").run();
    let middle_is_missing = Start::new().at(3, web).at(5, admin).count("3").run();
    for puppet in [last_is_missing, middle_is_missing] {
        let before = puppet.fds().numbers();
        assert_eq!(puppet.fails("inherit"), "inherited fd 4: os error 9");
        assert_eq!(puppet.fds().numbers(), before);
        assert_eq!(puppet.table(), []);
    }
}

/// Case A8.
#[test]
fn all_that_was_passed_is_cloexec() {
    let (web, admin) = tcp_and_unix();
    let null = File::open("/dev/null").unwrap();
    let puppet = Start::new().pass(web).pass(null).pass(admin).run();
    assert!((3..6).all(|fd| !puppet.fds().get(fd).unwrap().is_cloexec()));
    puppet.must("inherit");
    assert!((3..6).all(|fd| puppet.fds().get(fd).unwrap().is_cloexec()));
}

/// Case A8. What lies behind the sockets was not meant for it.
#[test]
fn an_fd_behind_the_last_is_not_touched() {
    let null = File::open("/dev/null").unwrap();
    let puppet = passing_two().at(5, null).inherit();
    assert_eq!(puppet.table().len(), 2);
    assert!(!puppet.fds().get(5).unwrap().is_cloexec());
}

/// Case A9.
#[test]
fn sockets_without_names_are_called_unknown() {
    let puppet = passing_two().inherit();
    assert_eq!(names(&puppet.table()), ["unknown", "unknown"]);
}

/// Case A10.
#[test]
fn names_are_split_at_each_colon_and_come_through_unchanged() {
    // A puppet writes a space as \x20, and a backslash twice.
    for (said, expected) in [
        ("a:", vec!["a", ""]),
        (":", vec!["", ""]),
        ("", vec![""]),
        ("x::z", vec!["x", "", "z"]),
        (
            "100%:a\\x2db:two words",
            vec!["100%", "a\\\\x2db", "two\\x20words"],
        ),
    ] {
        let mut start = Start::new().names(said);
        for _ in &expected {
            start = start.pass(abstract_listener());
        }
        assert_eq!(names(&start.inherit().table()), expected, "{said:?}");
    }
}

/// Case A10.
#[test]
fn another_number_of_names_is_an_error() {
    for (said, number) in [("web", 1), ("web:admin:", 3), ("", 1)] {
        let puppet = passing_two().names(said).run();
        let before = puppet.fds().numbers();
        assert_eq!(
            puppet.fails("inherit"),
            format!("LISTEN_FDNAMES has {number} names for 2 sockets")
        );
        assert_eq!(puppet.fds().numbers(), before);
        assert!(puppet.fds().all_cloexec_from(3));
    }
}

/// Case A10. systemd allows no longer ones.
#[test]
fn a_name_of_more_than_255_bytes_is_an_error() {
    let (longest, longer) = ("x".repeat(255), "x".repeat(256));
    let puppet = passing_two().names(&format!("web:{longest}")).inherit();
    assert_eq!(names(&puppet.table()), ["web", &longest]);
    let puppet = passing_two().names(&format!("web:{longer}")).run();
    let error = "LISTEN_FDNAMES: name 1 is longer than 255 bytes";
    assert_eq!(puppet.fails("inherit"), error);
    assert!(puppet.fds().has(3) && puppet.fds().all_cloexec_from(3));
    assert_eq!(puppet.table(), []);
}

/// Case A11.
#[test]
fn equal_names_are_claimed_in_their_order() {
    let (web, admin) = tcp_and_unix();
    let puppet = Start::new()
        .pass(web)
        .pass(File::open("/dev/null").unwrap())
        .pass(admin)
        .names("twin:other:twin")
        .inherit();
    assert_eq!(puppet.gets("claim twin").fd, 3);
    assert_eq!(puppet.gets("claim twin").fd, 5);
    assert_eq!(puppet.fails("claim twin"), "nobody has that name");
    let claimed: Vec<bool> = puppet.table().iter().map(|entry| entry.claimed).collect();
    assert_eq!(claimed, [true, false, true]);
}

/// Case A12.
#[test]
fn what_is_no_listener_is_inherited_beside_those_that_are() {
    let directory = TempDir::new().unwrap();
    let web = listener("tcp", "127.0.0.1:0");
    let client = TcpStream::connect(address(&web)).unwrap();
    let (fifo, _writer) = rustix::pipe::pipe().unwrap();
    let netlink = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    );
    let address = address(&web);
    let puppet = Start::new()
        .pass(fifo)
        .pass(File::open("/dev/null").unwrap())
        .pass(File::create(directory.path().join("file")).unwrap())
        .pass(memfd_create("state", MemfdFlags::CLOEXEC).unwrap())
        .pass(bound("udp", "127.0.0.1:0"))
        .pass(netlink.unwrap())
        .pass(client)
        .pass(web)
        .names("fifo:device:file:memfd:udp:netlink:client:web")
        .inherit();

    let listened = puppet.gets(format!("listen tcp {address}"));
    assert_eq!((listened.fd, listened.inherited), (10, true));
    for (name, fd, kind) in [
        ("memfd", 6, "other"),
        ("fifo", 3, "other"),
        ("netlink", 8, "other"),
        ("client", 9, "stream:tcp4"),
        ("udp", 7, "datagram:udp4"),
        ("device", 4, "other"),
        ("file", 5, "other"),
    ] {
        let claimed = puppet.gets(format!("claim {name}"));
        assert_eq!((claimed.fd, claimed.kind.as_str()), (fd, kind), "{name}");
    }
}

/// Case A12. A connection that was accepted has the address of its listener.
#[test]
fn a_connection_is_not_taken_for_the_listener_it_came_from() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("socket");
    let unix = UnixListener::bind(&path).unwrap();
    let _unix_client = UnixStream::connect(&path).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let _tcp_client = TcpStream::connect(address).unwrap();
    let puppet = Start::new()
        .pass(unix.accept().unwrap().0)
        .pass(tcp.accept().unwrap().0)
        .pass(unix)
        .pass(tcp)
        .inherit();
    let listened = puppet.gets(format!("listen tcp {address}"));
    assert_eq!(listened.fd, 6, "{:?}", puppet.table());
    let listened = puppet.gets(format!("listen unix {}", path.display()));
    assert_eq!(listened.fd, 5, "{:?}", puppet.table());
}

/// Case A12, A13, B1. It has the protocol of a listener, and its number for a port.
#[test]
fn a_raw_socket_is_not_taken_for_a_listener() {
    in_network_namespace("a_raw_socket_is_not_taken_for_a_listener", || {
        let raw = |protocol| {
            let flags = SocketFlags::CLOEXEC;
            socket_with(AddressFamily::INET, SocketType::RAW, flags, Some(protocol)).unwrap()
        };
        let puppet = Start::new()
            .pass(raw(ipproto::TCP))
            .pass(raw(ipproto::UDP))
            .inherit();
        let kinds: Vec<String> = puppet.table().into_iter().map(|it| it.kind).collect();
        assert_eq!(kinds, ["other", "other"], "{:?}", puppet.table());
        assert!(!puppet.gets("listen tcp 0.0.0.0:6").inherited);
        assert!(!puppet.gets("listen udp 0.0.0.0:17").inherited);
    });
}

/// Case A13.
#[test]
fn a_socket_is_judged_by_what_it_is_and_not_by_its_name() {
    // An address of its own: the port is TCP's as well, and free there.
    let datagrams = UdpSocket::bind("127.5.0.1:0").unwrap();
    let address = datagrams.local_addr().unwrap();
    let puppet = Start::new()
        .pass(datagrams)
        .pass(abstract_listener())
        .names("web:web")
        .inherit();
    // Neither is a TCP listener at that address, whatever it is called.
    let fresh = puppet.gets(format!("listen tcp {address} name=web"));
    assert!(!fresh.inherited);
    assert_eq!(fresh.kind, "listener:tcp4");
    let udp = puppet.gets(format!("listen udp {address}"));
    assert_eq!((udp.fd, udp.kind.as_str()), (3, "datagram:udp4"));
}

/// Case A13.
#[test]
fn a_socket_that_does_not_listen_yet_is_made_to() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("socket");
    let (tcp, unix) = (bound("tcp", "127.0.0.1:0"), bound("unix", &path));
    let address = address(&tcp);
    let puppet = Start::new().pass(tcp).pass(unix).inherit();
    assert_eq!(puppet.table()[0].kind, "stream:tcp4");
    TcpStream::connect(address).expect_err("nobody listens");

    let web = puppet.gets(format!("listen tcp {address}"));
    let admin = puppet.gets(format!("listen unix {}", path.display()));
    assert_eq!((web.fd, web.kind.as_str()), (3, "listener:tcp4"));
    assert_eq!((admin.fd, admin.kind.as_str()), (4, "listener:unix"));
    TcpStream::connect(address).unwrap();
    UnixStream::connect(&path).unwrap();
}

/// Case A14.
#[test]
fn what_is_claimed_is_not_claimed_again() {
    let (web, admin) = tcp_and_unix();
    let address = address(&web);
    let puppet = Start::new()
        .pass(web)
        .pass(admin)
        .names("web:admin")
        .inherit();
    assert_eq!(puppet.gets(format!("listen tcp {address}")).fd, 3);
    assert_eq!(puppet.gets("claim admin").fd, 4);
    assert_eq!(puppet.fails("claim web"), "nobody has that name");
    let again = puppet.table()[1].address.clone();
    for taken in [
        format!("listen tcp {address}"),
        format!("listen tcp {address} name=web"),
        format!("listen unix {again}"),
    ] {
        assert_eq!(puppet.fails(taken), "bind: os error 98");
    }
    assert_eq!(puppet.table().len(), 2);
}

/// Case A15.
#[test]
fn the_first_of_two_variables_counts() {
    let puppet = passing_two()
        .variable("LISTEN_FDS")
        .variable("LISTEN_FDS_EXTRA=7")
        .variable("XLISTEN_FDS=8")
        .variable("LISTEN_FDS=1")
        .variable("LISTEN_FDNAMES=web")
        .variable("LISTEN_FDNAMES=web:admin")
        .inherit_some(1);
    assert_eq!(names(&puppet.table()), ["web"]);
    assert!(!puppet.fds().get(4).unwrap().is_cloexec());
}

/// Case A16.
#[test]
fn a_pidfd_id_must_be_our_own_where_the_kernel_has_them() {
    let own = passing_two().pidfd_id().inherit();
    assert_eq!(own.table().len(), 2);
    let stale = passing_two().variable("LISTEN_PIDFDID=1").run();
    if kernel_has_pidfs() {
        is_left_alone(&stale);
    } else {
        assert_eq!(stale.must("inherit"), "2 generation=0");
    }
}

/// Before Linux 6.9 all pidfds have one inode, on a file system that has none.
fn kernel_has_pidfs() -> bool {
    use rustix::process::{PidfdFlags, pidfd_open};
    let pidfd = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    rustix::fs::fstatfs(&pidfd).unwrap().f_type == 0x5049_4446
}

/// Case A16, A18.
#[test]
fn a_pidfd_id_that_is_none_is_an_error() {
    for junk in ["", "abc", "-1", "1 "] {
        let puppet = passing_two()
            .variable(&format!("LISTEN_PIDFDID={junk}"))
            .run();
        let error = refuses_untouched(&puppet);
        assert!(
            error.starts_with("LISTEN_PIDFDID is not a number"),
            "{error}"
        );
    }
}

/// Case A17.
#[test]
fn an_error_of_inheritance_is_not_forgotten() {
    let (web, admin) = tcp_and_unix();
    let address = address(&web);
    let puppet = Start::new().pass(web).pass(admin).count("3").run();
    let error = puppet.fails("inherit");
    assert_eq!(puppet.fails("inherit"), error);
    // Neither is a part of the sockets used from now on.
    assert_eq!(puppet.fails("claim unknown"), "nobody has that name");
    assert_eq!(
        puppet.fails(format!("listen tcp {address}")),
        "bind: os error 98"
    );
}

/// Case E9.
#[test]
fn inherited_sockets_keep_their_mode_unless_told() {
    let (web, admin) = tcp_and_unix();
    rustix::io::ioctl_fionbio(&admin, true).unwrap();
    let (web_address, ours) = (address(&web), dup(&admin).unwrap());
    let puppet = Start::new().pass(web).pass(admin).inherit();
    let admin = puppet.table()[1].address.clone();
    assert_eq!(puppet.gets(format!("listen tcp {web_address}")).fd, 3);
    assert_eq!(puppet.gets(format!("listen unix {admin}")).fd, 4);
    assert!(!puppet.fds().is_nonblocking(3));
    assert!(puppet.fds().is_nonblocking(4));
    drop(puppet);

    let web = listener("tcp", "127.0.0.1:0");
    let address = address(&web);
    let puppet = Start::new().pass(web).pass(ours).inherit();
    puppet.must(format!("listen tcp {address} nonblocking"));
    puppet.must(format!("listen unix {admin} nonblocking=no"));
    assert!(puppet.fds().is_nonblocking(3));
    assert!(!puppet.fds().is_nonblocking(4));
}

/// A table that has adopted nothing has no predecessor, which learns of it and serves on.
#[test]
fn a_table_that_cannot_adopt_does_not_take_over() {
    let predecessor = passing_two().inherit();
    let successor = predecessor.start();
    for _ in 0..7 {
        successor.gets("listen tcp 127.0.0.1:0");
    }
    let error = successor.fails("adopt");
    assert_eq!(error, "2 sockets were passed, and 1 fit");
    assert_eq!(successor.table().len(), 7);
    assert_eq!(successor.must("origin"), "generation=0");
    successor.must("ready");
    let failure = predecessor.fails("wait 10000");
    assert_eq!(failure, "closed its channel and lived on");
    assert_eq!(predecessor.table().len(), 2);
}

/// A channel to a predecessor was never made there.
#[test]
fn a_standard_stream_is_not_touched_for_a_channel() {
    for before in ["GRACENET_FD=0,", "GRACENET_FD=2,"] {
        let puppet = passing_two().variable_and_pid(before).run();
        let standard = |fd| puppet.fds().get(fd).cloned();
        let before = [0, 1, 2].map(standard);
        assert_eq!(puppet.must("inherit"), "2 generation=0");
        assert_eq!([0, 1, 2].map(standard), before);
    }
}

/// A socket that was passed is no channel either, and neither is a file.
#[test]
fn what_is_no_channel_is_not_taken_for_one() {
    let puppet = passing_two().variable_and_pid("GRACENET_FD=3,").inherit();
    assert_eq!(puppet.table().len(), 2);
    assert!(puppet.fds().has(3));
    let null = File::open("/dev/null").unwrap();
    let puppet = passing_two()
        .at(20, null)
        .variable_and_pid("GRACENET_FD=20,")
        .inherit();
    assert_eq!(puppet.must("ready"), "");
}
