//! A program with very many open files starts successors: none of its fds but those that are
//! handed on is ever copied, which is seen in the size of the successor's fd table. The kernel
//! makes that as large as what was copied into it.

mod util;

use std::fs::{self, File};
use std::net::TcpStream;
use std::os::fd::OwnedFd;

use gracenet::{Args, Deadline, Environ, Failure, Program, StartError};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use util::{Fds, Predecessor, Start, in_process_of_its_own, until_gone, witness};

/// What the kernel gives everybody (NR_OPEN_DEFAULT); before Linux 6.11 the cut is made behind
/// the first 4096.
fn smallest_table() -> usize {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().unwrap().parse::<u32>().unwrap();
    if (next(), next()) >= (6, 11) {
        64
    } else {
        4096
    }
}

/// FDSize of /proc/PID/status.
fn table_size(pid: Pid) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let size = status
        .lines()
        .find_map(|line| line.strip_prefix("FDSize:"))
        .unwrap();
    size.trim().parse().unwrap()
}

/// As many fds as RLIMIT_NOFILE allows but for `room`.
fn fill(room: u64) -> Vec<OwnedFd> {
    let limit = getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let file = File::open("/dev/null").unwrap();
    let most = limit.maximum.unwrap().min(100_000) - room;
    let mut fds = Vec::new();
    while fds.last().map_or(0, number) + 1 < most {
        fds.push(fcntl_dupfd_cloexec(&file, 3).unwrap());
    }
    fds
}

/// Until there is no more room at all.
fn fill_up(fds: &mut Vec<OwnedFd>) {
    while let Ok(fd) = fcntl_dupfd_cloexec(&fds[0], 3) {
        fds.push(fd);
    }
}

fn number(fd: &OwnedFd) -> u64 {
    std::os::fd::AsRawFd::as_raw_fd(fd) as u64
}

/// Case E7. The channel lies behind all others, and is brought down for the start.
#[test]
fn no_fd_of_a_connection_is_copied() {
    in_process_of_its_own("no_fd_of_a_connection_is_copied", |_| {
        let path = witness();
        let args = [&*path];
        let program = Program::new(Args::new(&args), Environ::new(&[]));
        let mut predecessor = Predecessor::with_sockets();
        let connections = fill(16);
        assert!(connections.len() > 1_000);
        let before = Fds::of_self();
        for _ in 0..3 {
            let missing = predecessor.fail(&[c"/nowhere"], &[]);
            assert!(matches!(missing, StartError::Failed(why) if why.errno() == Errno::NOENT));

            let witness = predecessor.start_program(&program);
            assert_eq!(table_size(witness.pid), smallest_table());
            assert_eq!(witness.generation, 1);
            let pid = witness.pid;
            assert_eq!(witness.say("ready"), "ok");
            let successor = predecessor.net.successor().unwrap();
            assert_eq!(successor.wait_ready(Deadline::after_ms(10_000)), Ok(()));
            kill_process(pid, Signal::KILL).unwrap();
            until_gone(pid);
            let held_out = successor.try_probation(Deadline::NEVER);
            assert_eq!(held_out, Some(Err(Failure::Killed(9))));
            assert_eq!(Fds::of_self(), before);
        }
    });
}

/// Case E7. The channel's end is seen, as no other copy of it is left here.
#[test]
fn the_end_of_a_successor_is_seen_where_fds_are_dense() {
    let name = "the_end_of_a_successor_is_seen_where_fds_are_dense";
    in_process_of_its_own(name, |_| {
        let mut predecessor = Predecessor::with_sockets();
        let _connections = fill(16);
        // It lives on without the channel.
        let _ = predecessor.start_script("eval \"exec $c>&-\"; echo closed >&3; read wait <&3");
        let successor = predecessor.net.successor().unwrap();
        let outcome = successor.wait_ready(Deadline::after_ms(20_000));
        assert_eq!(outcome, Err(Failure::ClosedChannel));
    });
}

/// A start takes four fds of this process: both ends of the channel, what lies at the seat, and the
/// pidfd.
#[test]
fn no_room_for_the_channel_is_an_error() {
    in_process_of_its_own("no_room_for_the_channel_is_an_error", |_| {
        let path = witness();
        let args = [&*path];
        let program = Program::new(Args::new(&args), Environ::new(&[]));
        let mut predecessor = Predecessor::with_sockets();
        let mut connections = fill(0);
        fill_up(&mut connections);
        let all = connections.len();
        for free in 0..4 {
            connections.truncate(all - free);
            let outcome = predecessor.net.start_process(&program);
            let Err(StartError::Failed(error)) = outcome else {
                panic!("{free} free: {outcome:?}")
            };
            assert_eq!(error.errno(), Errno::MFILE, "{free} free: {error}");
            // As many are free as before.
            fill_up(&mut connections);
            assert_eq!(connections.len(), all);
        }
        connections.truncate(all - 4);
        let witness = predecessor.start_program(&program);
        assert_eq!(table_size(witness.pid), smallest_table());
        predecessor.give_up(0);
    });
}

/// In a successor the channel to its predecessor keeps the number.
#[test]
fn nor_is_one_in_later_generations() {
    let mut puppet = Start::new().run();
    for generation in 1..4 {
        let socket = puppet.gets("listen tcp 127.0.0.1:0");
        let clients: Vec<TcpStream> = (0..300)
            .map(|_| {
                let client = TcpStream::connect(&socket.address).unwrap();
                puppet.must(format!("accept {}", socket.handle()));
                client
            })
            .collect();
        let before = puppet.fds();
        let successor = puppet.succeed(&[&format!("listen tcp {}", socket.address)]);
        assert!(table_size(puppet.pid()) >= 512);
        // A puppet has the line to its test at 100.
        let smallest = smallest_table().max(128);
        assert_eq!(table_size(successor.pid()), smallest, "{generation}");
        let mut after = puppet.fds();
        after.forget("the channel and the pidfd", |fd| !before.has(fd.number));
        assert_eq!(after, before);
        drop(clients);
        puppet.exit();
        puppet = successor;
    }
}
