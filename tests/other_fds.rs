//! A program keeps more than listeners across its restarts: a file of state, a pipe, a connection.
//! It puts them into its table under names, and its successor must find under each name the very
//! same thing.

mod util;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::{MemfdFlags, memfd_create};
use util::{Start, address, listener};

/// Which file the puppet has at `fd`.
fn inode(puppet: &util::Puppet, fd: i32) -> u64 {
    let path = format!("/proc/{}/fd/{fd}", puppet.pid());
    fs::metadata(path).unwrap().ino()
}

#[test]
fn fds_of_any_kind_come_to_the_successor_by_their_names() {
    let mut state = File::from(memfd_create("state", MemfdFlags::CLOEXEC).unwrap());
    state.write_all(b"42").unwrap();
    let (pipe, writer) = rustix::pipe::pipe().unwrap();
    let web = listener("tcp", "127.0.0.1:0");
    let mut client = TcpStream::connect(address(&web)).unwrap();
    let served = rustix::net::accept(&web).unwrap();
    let first = Start::new().at(20, state).at(21, pipe).at(22, served).run();
    let inodes = [20, 21, 22].map(|fd| inode(&first, fd));
    first.must("insert state 20");
    first.must("listen tcp 127.0.0.1:0");
    first.must("insert pipe 21");
    first.must("insert client 22");

    let second = first.start();
    assert_eq!(second.must("inherit"), "4 generation=1");
    let claimed = ["state", "pipe", "client"].map(|name| second.gets(format!("claim {name}")));
    assert_eq!(claimed.each_ref().map(|it| inode(&second, it.fd)), inodes);
    assert_eq!(claimed[0].kind, "other");
    assert_eq!(claimed[2].kind, "stream:tcp4");
    second.must("ready");
    first.must("wait 20000");
    first.exit();

    let state = format!("/proc/{}/fd/{}", second.pid(), claimed[0].fd);
    assert_eq!(fs::read(state).unwrap(), b"42");
    second.must(format!("write {} hello", claimed[2].fd));
    let mut hello = [0; 5];
    client.read_exact(&mut hello).unwrap();
    assert_eq!(&hello, b"hello");
    assert_eq!(rustix::io::write(&writer, b"x").unwrap(), 1);
    // What was not claimed, the listener, was closed.
    assert_eq!(second.table().len(), 3);
}

/// It is CLOEXEC, low, and nothing is left at its old number.
#[test]
fn an_fd_that_is_inserted_is_the_tables() {
    let first = Start::new().at(40, File::open("/dev/null").unwrap()).run();
    let before = first.fds().numbers().len();
    let inserted = first.gets("insert null 40");
    let fds = first.fds();
    // The first one brings along what keeps a number for the channel.
    assert_eq!(fds.numbers().len(), before + 1);
    assert!(!fds.has(40));
    assert!(fds.get(inserted.fd).unwrap().is_cloexec());
    assert!(inserted.fd >= 3 && inserted.fd < 40);
    assert!(!inserted.inherited && inserted.claimed);
    first.must(format!("close {}", inserted.handle()));
    assert_eq!(first.fds().numbers().len(), before);
}

/// Else a successor would have it as its stdin.
#[test]
fn an_fd_below_3_is_moved_up() {
    let puppet = Start::new().run();
    let inserted = puppet.gets("insert stdin 0");
    assert!(inserted.fd >= 3);
    assert!(!puppet.fds().has(0));
    let successor = puppet.succeed(&["claim stdin"]);
    assert!(successor.fds().has(0) && successor.fds().has(2));
}

/// Case D4.
#[test]
fn a_name_that_cannot_be_passed_on_is_refused_when_it_is_given() {
    let puppet = Start::new().at(20, File::open("/dev/null").unwrap()).run();
    let before = puppet.fds();
    let reason = "not a name of up to 255 printable ASCII characters without a colon, at byte";
    let long = "x".repeat(256);
    for (name, at) in [("a:b", 1), ("ab\\x0a", 2), ("\\xc3\\xa9", 0), (&long, 255)] {
        let listen = puppet.fails(format!("listen tcp 127.0.0.1:0 name={name}"));
        assert_eq!(listen, format!("{reason} {at}"), "{name}");
        let insert = puppet.fails(format!("insert {name} 20"));
        // It is given back.
        assert_eq!(insert, format!("{reason} {at} fd=20"), "{name}");
    }
    assert_eq!(puppet.fds(), before);
    puppet.must(format!("insert {} 20", &long[1..]));
}

/// A full table gives back what it has no room for.
#[test]
fn a_full_table_gives_the_fd_back() {
    let puppet = Start::new().at(20, File::open("/dev/null").unwrap()).run();
    for _ in 0..8 {
        puppet.must("listen tcp 127.0.0.1:0");
    }
    let before = puppet.fds();
    let full = "the table is full, capacity 8";
    assert_eq!(puppet.fails("listen tcp 127.0.0.1:0"), full);
    assert_eq!(puppet.fails("insert null 20"), format!("{full} fd=20"));
    assert_eq!(puppet.fds(), before);
    puppet.must("close 0");
    puppet.must("insert null 20");
}
