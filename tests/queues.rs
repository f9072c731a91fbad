//! Clients have come, and nobody has accepted or read yet, when one process stops and its successor
//! goes on: each of them is served, none of them twice. And whoever watches a listener by an epoll
//! stops to hear of it only by saying so.

mod util;

use std::io::{ErrorKind, Read as _};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use gracenet::{Handle, Net};
use rustix::event::{Timespec, epoll};
use tempfile::TempDir;
use util::{Entry, Predecessor, Puppet, Start, alone, witness};

const CLIENTS: usize = 40;

fn connect(web: &Entry) -> Vec<TcpStream> {
    let connect = |_| TcpStream::connect(&web.address).unwrap();
    (0..CLIENTS).map(connect).collect()
}

#[track_caller]
fn is_answered(mut client: TcpStream, expected: &str) {
    let limit = Some(Duration::from_secs(20));
    client.set_read_timeout(limit).unwrap();
    let mut said = String::new();
    client.read_to_string(&mut said).unwrap();
    assert_eq!(said, expected);
}

/// Case L2. Also those that came before there was a successor, which the old one never accepts.
#[test]
fn clients_that_wait_when_the_old_process_ends_are_the_successors() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("admin");
    let orders = [
        "listen tcp 127.0.0.1:0".to_owned(),
        format!("listen unix {}", path.display()),
    ];
    let old = Start::new().run();
    let [web, _] = orders.each_ref().map(|order| old.gets(order));
    let before = connect(&web);
    let local: Vec<_> = (0..CLIENTS)
        .map(|_| UnixStream::connect(&path).unwrap())
        .collect();

    let new = old.start();
    new.must("inherit");
    let web = new.gets(format!("listen tcp {}", web.address));
    let admin = new.gets(&orders[1]);
    let between = connect(&web);
    new.must("ready");
    old.must("wait 20000");
    old.must("retire");
    let retired = connect(&web);
    old.exit();
    let after = connect(&web);

    for client in [before, between, retired, after].into_iter().flatten() {
        new.greets(&web, "new");
        is_answered(client, "new");
    }
    for mut client in local {
        new.greets(&admin, "new");
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        assert_eq!(said, "new");
    }
}

/// The control of the test before: a second socket of the same address has a queue of its own, and
/// what waits in the first one's is lost with it.
#[test]
fn clients_that_wait_at_a_twin_are_lost_with_it() {
    let old = Start::new().run();
    let web = old.gets("listen tcp 127.0.0.1:0 reuse-port");
    let twin = Start::new().run();
    let other = twin.gets(format!("listen tcp {} reuse-port", web.address));
    let clients = connect(&web);
    old.exit();
    let (lost, waiting): (Vec<_>, Vec<_>) = clients.into_iter().partition(is_reset);
    assert!(!lost.is_empty(), "the kernel has put all into one queue");
    for client in waiting {
        twin.greets(&other, "twin");
        is_answered(client, "twin");
    }
}

/// Whether the other side is no more there, by now.
fn is_reset(client: &TcpStream) -> bool {
    client.set_nonblocking(true).unwrap();
    let peeked = client.peek(&mut [0]);
    client.set_nonblocking(false).unwrap();
    match peeked {
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => true,
        other => panic!("{other:?}, and nobody has answered"),
    }
}

/// A listener that is watched by its number, whose successor has a copy.
struct Watched {
    predecessor: Predecessor,
    web: Handle,
    queue: OwnedFd,
}

impl Watched {
    fn new() -> Watched {
        let mut predecessor = Predecessor::new();
        let web = predecessor.net.listen("tcp", "127.0.0.1:0").unwrap();
        let queue = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let data = epoll::EventData::new_u64(7);
        let fd = predecessor.net.borrow(web).unwrap();
        epoll::add(&queue, fd, data, epoll::EventFlags::IN).unwrap();
        Watched {
            predecessor,
            web,
            queue,
        }
    }

    /// What the epoll says when a client comes after `close` was done with the table.
    fn hears_after(mut self, close: impl FnOnce(&mut Net<80>, Handle, &OwnedFd)) -> usize {
        let (web, queue) = (self.web, &self.queue);
        let address = util::address(&self.predecessor.net.duplicate(web).unwrap());
        let witness = witness();
        let pid = self.predecessor.start(&[&witness], &[]).pid;
        close(&mut self.predecessor.net, web, queue);
        // The successor has it.
        let _client = TcpStream::connect(address).unwrap();
        let heard = wait(queue);
        self.predecessor.hang_up();
        util::until_gone(pid);
        heard
    }
}

/// How many events there are now.
fn wait(queue: &OwnedFd) -> usize {
    let mut events = Vec::with_capacity(4);
    let now = Timespec::default();
    epoll::wait(
        queue,
        rustix::buffer::spare_capacity(&mut events),
        Some(&now),
    )
    .unwrap()
}

/// Case L3. What is taken out of the epoll before it is closed is not heard of any more; closed only,
/// it is, under a number that may be another file's by then.
#[test]
fn listener_is_taken_out_of_an_epoll_before_it_is_closed() {
    let _alone = alone();
    let heard = Watched::new().hears_after(|net, web, queue| {
        epoll::delete(queue, net.borrow(web).unwrap()).unwrap();
        net.close(web).unwrap();
    });
    assert_eq!(heard, 0);
    let heard = Watched::new().hears_after(|net, web, queue| {
        epoll::delete(queue, net.borrow(web).unwrap()).unwrap();
        net.retire();
    });
    assert_eq!(heard, 0);
    // The control: and nothing can be done about it.
    let heard = Watched::new().hears_after(|net, web, queue| {
        let number = net.duplicate(web).unwrap();
        net.close(web).unwrap();
        assert_eq!(wait(queue), 0);
        epoll::delete(queue, &number).unwrap_err();
    });
    assert_eq!(heard, 1);
}

/// Case L4. Whichever of the two asks first, before the old one ends and after it.
#[test]
fn datagram_is_read_by_exactly_one_generation() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("log");
    let orders = [
        "listen udp 127.0.0.1:0".to_owned(),
        format!("listen unixgram {}", path.display()),
    ];
    let old = Start::new().run();
    let [udp, log] = orders.each_ref().map(|order| old.gets(order));
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.connect(&udp.address).unwrap();
    let local = UnixDatagram::unbound().unwrap();
    local.connect(&path).unwrap();
    // A unix socket's queue takes some ten.
    let send = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            let number = number.to_string();
            sender.send(number.as_bytes()).unwrap();
            local.send(number.as_bytes()).unwrap();
        }
    };
    send(0..4);
    let new = old.start();
    new.must("inherit");
    let of_new = [
        new.gets(format!("listen udp {}", udp.address)),
        new.gets(&orders[1]),
    ];
    send(4..8);
    let both = [[&old, &new], [&new, &old]];
    for (from, next) in [&udp, &log].into_iter().zip(&of_new) {
        let number = |puppet: &Puppet| match std::ptr::eq(puppet, &old) {
            true => from.fd,
            false => next.fd,
        };
        for (expected, puppet) in (0..6).zip(both.iter().flatten().cycle()) {
            let read = puppet.must(format!("receive {}", number(puppet)));
            assert_eq!(read, expected.to_string());
        }
    }
    new.must("ready");
    old.must("wait 20000");
    old.must("retire");
    old.exit();
    send(8..10);
    for socket in &of_new {
        let order = format!("receive {}", socket.fd);
        for expected in 6..10 {
            assert_eq!(new.must(&order), expected.to_string());
        }
        assert_eq!(new.fails(&order), "os error 11");
    }
}
