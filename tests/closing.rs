//! A program closes one of its listeners and goes on with the others. What must be seen: the next
//! successor gets exactly the others, starting it succeeds, and what a successor already has is
//! not harmed. (In the Go original a closed listener makes every later start fail.)

mod util;

use std::io::{ErrorKind, Read as _, read_to_string};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use util::{Entry, Puppet, Start};

const STALE: &str = "accept4: os error 9";

/// A program with two TCP listeners and two unix ones.
struct Site {
    _directory: TempDir,
    path: PathBuf,
    puppet: Puppet,
    orders: [String; 4],
    sockets: Vec<Entry>,
}

impl Site {
    fn open() -> Site {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("admin");
        let packets = directory.path().join("packets");
        let orders = [
            "listen tcp 127.0.0.1:0 name=web".to_owned(),
            format!("listen unix {} name=admin", path.display()),
            "listen tcp 127.0.0.1:0 name=status".to_owned(),
            format!("listen unixpacket {} name=packets", packets.display()),
        ];
        let puppet = Start::new().run();
        let sockets = orders.iter().map(|order| puppet.gets(order)).collect();
        Site {
            _directory: directory,
            path,
            puppet,
            orders,
            sockets,
        }
    }

    fn handle(&self, index: usize) -> u32 {
        self.sockets[index].handle()
    }

    fn address(&self, index: usize) -> SocketAddr {
        self.sockets[index].address.parse().unwrap()
    }

    /// A successor that asks for these.
    #[track_caller]
    fn succeed(&self, indices: &[usize]) -> Puppet {
        let orders: Vec<&str> = indices.iter().map(|at| &*self.orders[*at]).collect();
        self.puppet.succeed(&orders)
    }
}

fn names(puppet: &Puppet) -> Vec<String> {
    puppet.table().into_iter().map(|entry| entry.name).collect()
}

/// Case K1.
#[test]
fn successor_gets_the_others_in_order_and_by_their_names() {
    for closed in 0..4 {
        let site = Site::open();
        site.puppet.must(format!("close {}", site.handle(closed)));
        let rest: Vec<usize> = (0..4).filter(|at| *at != closed).collect();
        let successor = site.succeed(&rest);
        let expected: Vec<String> = rest
            .iter()
            .map(|at| site.sockets[*at].name.clone())
            .collect();
        assert_eq!(names(&successor), expected);
        for (place, (entry, at)) in successor.table().iter().zip(rest).enumerate() {
            let made = &site.sockets[at];
            assert_eq!((&entry.kind, &entry.address), (&made.kind, &made.address));
            assert!(entry.inherited && entry.fd == 3 + place as i32);
        }
    }
}

/// Case K1. Not only the first successor after it.
#[test]
fn successors_are_started_again_and_again_after_a_close() {
    let site = Site::open();
    site.puppet.must(format!("close {}", site.handle(0)));
    let second = site.succeed(&[1, 2, 3]);
    site.puppet.must("retire");
    let at_2 = second.table()[1].handle();
    second.must(format!("close {at_2}"));
    let third = second.succeed(&[&site.orders[1], &site.orders[3]]);
    assert_eq!(names(&third), ["admin", "packets"]);
    let admin = third.table()[0].clone();
    let client = UnixStream::connect(&site.path).unwrap();
    third.greets(&admin, "third");
    assert_eq!(read_to_string(client).unwrap(), "third");
}

/// Case K1, E10. With none left.
#[test]
fn a_successor_of_a_program_that_closed_all_gets_none() {
    let site = Site::open();
    for at in 0..4 {
        site.puppet.must(format!("close {}", site.handle(at)));
    }
    let successor = site.succeed(&[]);
    assert_eq!(successor.table(), []);
    let environ = std::fs::read(format!("/proc/{}/environ", successor.pid())).unwrap();
    assert!(!String::from_utf8_lossy(&environ).contains("LISTEN_"));
}

/// Case K2.
#[test]
fn a_number_that_is_a_clients_connection_by_now_is_never_handed_on() {
    let site = Site::open();
    // Behind the crate's back; the next that is accepted gets the number.
    let fd = site.sockets[1].fd;
    site.puppet.must(format!("close-fd {fd}"));
    let mut client = TcpStream::connect(site.address(0)).unwrap();
    let accepted = site.puppet.must(format!("accept {}", site.handle(0)));
    assert_eq!(accepted, format!("fd={fd}"));

    let why = site.puppet.fails("start");
    assert_eq!(why, "closed behind the table's back: socket 1");
    // Twice, and the connection is served all the while.
    assert_eq!(site.puppet.fails("start"), why);
    site.puppet.must(format!("write {fd} served"));
    let mut served = [0; 6];
    client.read_exact(&mut served).unwrap();
    assert_eq!(&served, b"served");
}

/// Case K2. The number is the table's no more: to close the socket is all that is left to do about
/// it, and must not cut off the client.
#[test]
fn closing_a_socket_whose_number_is_a_clients_by_now_leaves_the_client_alone() {
    for order in ["close 1", "close-and-unlink 1", "retire"] {
        let site = Site::open();
        let fd = site.sockets[1].fd;
        site.puppet.must(format!("close-fd {fd}"));
        let mut client = TcpStream::connect(site.address(0)).unwrap();
        site.puppet.must(format!("accept {}", site.handle(0)));
        site.puppet.must(order);
        site.puppet.must(format!("write {fd} served"));
        let mut served = [0; 6];
        client.read_exact(&mut served).unwrap();
        assert_eq!(&served, b"served", "after {order}");
    }
}

/// Case K2. A number that is nothing at all.
#[test]
fn a_number_that_was_closed_is_an_error_until_the_socket_is_closed_as_well() {
    let site = Site::open();
    site.puppet.must(format!("close-fd {}", site.sockets[1].fd));
    let why = site.puppet.fails("start");
    assert_eq!(why, "closed behind the table's back: socket 1");
    site.puppet.must(format!("close {}", site.handle(1)));
    let successor = site.succeed(&[0, 2, 3]);
    assert_eq!(names(&successor), ["web", "status", "packets"]);
}

/// Case K3, K5. A shutdown would be felt by the successor, which has the same socket.
#[test]
fn a_copy_in_the_successor_works_on_when_the_first_closes_its_own() {
    let site = Site::open();
    let successor = site.succeed(&[0, 1, 2, 3]);
    site.puppet.must(format!("close {}", site.handle(0)));
    site.puppet
        .must(format!("close-and-unlink {}", site.handle(2)));
    let sockets = successor.table();
    for at in [0, 2] {
        let client = TcpStream::connect(site.address(at)).unwrap();
        successor.greets(&sockets[at], "successor");
        assert_eq!(read_to_string(client).unwrap(), "successor");
    }
    site.puppet.must("retire");
    let client = UnixStream::connect(&site.path).unwrap();
    successor.greets(&sockets[1], "successor");
    assert_eq!(read_to_string(client).unwrap(), "successor");
}

/// Case K3, K5. A successor that is stuck in accept is not thrown out of it.
#[test]
fn a_successor_that_waits_in_accept_goes_on_waiting_when_the_first_closes() {
    let site = Site::open();
    let successor = site.succeed(&[0, 1, 2, 3]);
    let waiting = format!("accept {}", successor.table()[1].handle());
    successor.begin(&waiting);
    for at in 0..4 {
        site.puppet.must(format!("close {}", site.handle(at)));
    }
    let _client = UnixStream::connect(&site.path).unwrap();
    successor.answer(&waiting).unwrap();
}

/// Case K5. What was accepted by the first is not the successor's, and ends with the first.
#[test]
fn connections_stay_with_the_one_that_accepted_them() {
    let site = Site::open();
    let mut client = TcpStream::connect(site.address(0)).unwrap();
    let accepted = site.puppet.must(format!("accept {}", site.handle(0)));
    let fd = accepted.strip_prefix("fd=").unwrap();
    let successor = site.succeed(&[0, 1, 2, 3]);
    site.puppet.must("retire");
    site.puppet.must(format!("write {fd} first"));
    let mut read = [0; 5];
    client.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"first");
    site.puppet.must(format!("close-fd {fd}"));
    // Nobody else has it: the client sees its end.
    client
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    assert_eq!(read_to_string(client).unwrap(), "");
    drop(successor);
}

/// Case K4.
#[test]
fn an_address_can_be_listened_on_again_after_a_close() {
    let site = Site::open();
    for at in [0, 2] {
        site.puppet.must(format!("close {}", site.handle(at)));
        let refused = TcpStream::connect(site.address(at)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let again = site.puppet.gets(format!("listen tcp {}", site.address(at)));
        let client = TcpStream::connect(site.address(at)).unwrap();
        site.puppet.greets(&again, "again");
        assert_eq!(read_to_string(client).unwrap(), "again");
    }
    site.puppet
        .must(format!("close-and-unlink {}", site.handle(1)));
    let again = site.puppet.gets(&site.orders[1]);
    let client = UnixStream::connect(&site.path).unwrap();
    site.puppet.greets(&again, "again");
    assert_eq!(read_to_string(client).unwrap(), "again");
}

/// Case K4. Also with a connection that was accepted and is still open.
#[test]
fn an_address_can_be_listened_on_again_while_a_connection_lives() {
    let site = Site::open();
    let _client = TcpStream::connect(site.address(0)).unwrap();
    site.puppet.must(format!("accept {}", site.handle(0)));
    site.puppet.must(format!("close {}", site.handle(0)));
    site.puppet.must(format!("listen tcp {}", site.address(0)));
}

/// Case K4.
#[test]
fn a_stale_handle_is_an_error_and_not_another_socket() {
    let site = Site::open();
    let stale = site.handle(0);
    site.puppet.must(format!("close {stale}"));
    // The place in the table and the number of the fd are used again.
    let again = site.puppet.gets(format!("listen tcp {}", site.address(0)));
    assert_eq!(again.fd, site.sockets[0].fd);
    let before = site.puppet.table();
    let _client = TcpStream::connect(site.address(0)).unwrap();
    assert_eq!(site.puppet.fails(format!("accept {stale}")), STALE);
    let closed = "close: os error 9";
    assert_eq!(site.puppet.fails(format!("close {stale}")), closed);
    let order = format!("close-and-unlink {stale}");
    assert_eq!(site.puppet.fails(order), closed);
    assert_eq!(site.puppet.table(), before);
    site.puppet.greets(&again, "again");
}

/// Case K4. All of them are stale after it.
#[test]
fn handles_are_stale_after_retiring() {
    let site = Site::open();
    let before = site.puppet.fds().numbers().len();
    site.puppet.must("retire");
    assert_eq!(site.puppet.fds().numbers().len(), before - 4);
    for at in 0..4 {
        let order = format!("accept {}", site.handle(at));
        assert_eq!(site.puppet.fails(order), STALE);
    }
    site.puppet.must(format!("listen tcp {}", site.address(0)));
}
