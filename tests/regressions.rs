//! What was wrong once, each as what must be seen from outside.
//!
//! Two more are told where their like are told, in inherit.rs: a standard stream that is not
//! touched for a channel, and a raw socket that is no listener.
#![allow(unsafe_code)] // Numbers of fds, users and signals.

mod util;

use std::ffi::CStr;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::Duration;

use gracenet::notify::{Notify, Receiver, State};
use gracenet::{
    Args, Changes, Deadline, Environ, Errno, Error, Failure, InheritError, InheritOptions,
    ListenOptions, Net, Operation, Program, StartError,
};
use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};
use util::seccomp::{self, where_filtered, where_refused};
use util::{
    Done, Fds, Predecessor, Start, alone, bound, copy_witness, hear, in_process_of_its_own,
    listener, path, program, tell, until_gone, witness,
};

/// Long enough for what does happen.
fn soon() -> Deadline {
    Deadline::after_ms(10_000)
}

/// Case H1, H2. The shell gives its channel on, as any program does that knows nothing of it.
#[test]
fn a_dead_successor_is_noticed_while_its_child_holds_the_channel() {
    let _alone = alone();
    let mut predecessor = Predecessor::new();
    // The child ends with the report.
    let pid = predecessor.start_script("cat <&3 & exit 3");
    until_gone(pid);
    let successor = predecessor.net.successor().unwrap();
    let outcome = successor.try_wait(Deadline::NEVER);
    assert_eq!(outcome, Some(Err(Failure::Exited(3))));

    predecessor.start_script("cat <&3 & kill -KILL $$");
    let successor = predecessor.net.successor().unwrap();
    assert_eq!(successor.wait_ready(soon()), Err(Failure::Killed(9)));
}

/// Case A7. The directory of the start was opened under the first number that was free, and taken
/// for the socket that was not there.
#[test]
fn the_directory_is_not_taken_for_what_was_not_passed() {
    let _alone = alone();
    for (count, channel) in [("1", "GRACENET_FD=4,"), ("2", "GRACENET_FD=3,")] {
        let start = Start::new().count(count).variable_and_pid(channel);
        let puppet = start.run();
        let before = puppet.fds();
        let why = puppet.fails("inherit");
        assert_eq!(why, "inherited fd 3: os error 9", "{channel}");
        assert_eq!(puppet.fds(), before);
        let successor = puppet.start();
        let directory =
            |puppet: &util::Puppet| fs::read_link(format!("/proc/{}/cwd", puppet.pid()));
        assert_eq!(directory(&successor).unwrap(), directory(&puppet).unwrap());
    }
}

/// Case A7. The other way round: with nothing passed, but a channel that is not there.
#[test]
fn the_directory_is_not_taken_for_a_channel() {
    let _alone = alone();
    let start = Start::new().variable_and_pid("GRACENET_FD=3,");
    let puppet = start.run();
    let before = puppet.fds();
    assert!(!before.has(3), "{before:?}");
    assert_eq!(puppet.must("inherit"), "0 generation=0");
    assert_eq!(puppet.fds(), before);
    assert_eq!(puppet.succeed(&[]).must("iter"), "");
}

/// Case H1. The kernel says ECONNRESET once, and only then what was sent.
#[test]
fn ready_is_heard_of_a_successor_that_never_read_its_greeting() {
    let _alone = alone();
    let mut predecessor = Predecessor::new();
    predecessor
        .start_script("printf ready >&$c; eval \"exec $c>&-\"; printf closed >&3; cat <&3 >&2");
    assert_eq!(hear(&predecessor.report), "closed");
    let successor = predecessor.net.successor().unwrap();
    assert_eq!(successor.wait_ready(soon()), Ok(()));
    assert_eq!(successor.try_probation(Deadline::NEVER), None);
    predecessor.hang_up();
    let successor = predecessor.net.successor().unwrap();
    assert_eq!(successor.probation(soon()), Err(Failure::Exited(0)));
}

/// Case H4.
#[test]
fn a_start_that_nobody_waited_for_does_not_stand_in_the_way() {
    let _alone = alone();
    let before = Fds::of_self();
    let mut net: Net<2> = Net::new();
    let args = [c"/bin/false"];
    let program = Program::new(Args::new(&args), Environ::new(&[]));
    for _ in 0..5 {
        let pid = net.start_process(&program).unwrap().pid();
        until_gone(pid);
    }
    let successor = net.successor().unwrap();
    assert_eq!(successor.wait_ready(soon()), Err(Failure::Exited(1)));
    drop((net, program));
    assert_eq!(Fds::of_self(), before);
}

/// Root can become anybody; where the tests are not root's there is nobody to become.
fn is_root() -> bool {
    let root = geteuid().is_root();
    assert!(root || std::env::var_os("CI").is_none(), "CI is not root");
    root
}

/// Nobody, for good.
fn drop_privileges() {
    // SAFETY: a number.
    assert_eq!(unsafe { libc::setuid(65_534) }, 0);
}

/// Case H3. It has become another user, whom this process may not send a signal.
#[test]
fn a_successor_that_cannot_be_killed_holds_nobody_up() {
    let name = "a_successor_that_cannot_be_killed_holds_nobody_up";
    in_process_of_its_own(name, |directory| {
        if !is_root() {
            return;
        }
        let heir = directory.join("heir");
        fs::copy(program("heir"), &heir).unwrap();
        fs::set_permissions(&heir, Permissions::from_mode(0o4755)).unwrap();
        let heir = path(&heir);
        drop_privileges();

        let mut predecessor = Predecessor::new();
        let refused = Failure::Failed(Error::new(Operation::Kill, Errno::PERM));
        for _ in 0..2 {
            let witness = predecessor.start(&[&heir], &[]);
            let pid = witness.pid;
            assert_eq!(witness.say("setuid"), "ok", "a file system that is nosuid");
            let successor = predecessor.net.successor().unwrap();
            let outcome = successor.wait_ready(Deadline::after_ms(20));
            assert_eq!(outcome, Err(refused));
            assert_eq!(successor.try_wait(Deadline::NEVER), Some(Err(refused)));
            predecessor = Predecessor::new();
            until_gone(pid);
        }
        // Nor where it is given up.
        let witness = predecessor.start(&[&heir], &[]);
        assert_eq!(witness.say("setuid"), "ok");
        let successor = predecessor.net.successor().unwrap();
        successor.kill();
        assert_eq!(successor.wait_ready(Deadline::NEVER), Err(refused));
        // Another may be started, while it lives.
        let program = Program::new(Args::new(&[]), Environ::new(&[]));
        let again = predecessor.net.start_process(&program).map(|it| it.pid());
        assert_eq!(again, Err(StartError::NoProgram));
    });
}

/// Case F2, F7.
#[test]
fn a_directory_that_can_no_longer_be_searched_is_kept() {
    let name = "a_directory_that_can_no_longer_be_searched_is_kept";
    in_process_of_its_own(name, |directory| {
        let witness = copy_witness(&directory.join("witness"));
        let private = directory.join("private");
        fs::create_dir(&private).unwrap();
        std::env::set_current_dir(&private).unwrap();
        let args = [&*witness];
        let program = Program::new(Args::new(&args), Environ::new(&[]));
        let relative = [c"../witness"];
        let relative = Program::new(Args::new(&relative), Environ::new(&[]));
        fs::set_permissions(&private, Permissions::from_mode(0o000)).unwrap();
        if is_root() {
            drop_privileges();
        }
        let gone = fs::metadata(".").map(drop).map_err(|error| error.kind());
        assert_eq!(gone, Err(io::ErrorKind::PermissionDenied));

        let mut predecessor = Predecessor::new();
        let error = predecessor.net.start_process(&relative).map(|it| it.pid());
        assert_eq!(error.unwrap_err().to_string(), "execve: os error 13");
        assert_eq!(predecessor.start_program(&program).generation, 1);
        predecessor.give_up(0);
    });
}

/// Takes 0, 1 and 2 from this process, and puts them back when it is dropped.
struct WithoutStdio([OwnedFd; 3]);

impl WithoutStdio {
    fn new() -> WithoutStdio {
        let saved = [0, 1, 2].map(|fd| {
            // SAFETY: open, and nobody closes it but this.
            let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
            rustix::io::fcntl_dupfd_cloexec(fd, 100).unwrap()
        });
        for fd in 0..3 {
            // SAFETY: nobody uses it until it is put back.
            unsafe { libc::close(fd) };
        }
        WithoutStdio(saved)
    }
}

impl Drop for WithoutStdio {
    fn drop(&mut self) {
        for (fd, saved) in (0..).zip(&self.0) {
            // SAFETY: as it was.
            unsafe { libc::dup2(saved.as_raw_fd(), fd) };
        }
    }
}

/// Case E3, E6.
#[test]
fn nothing_of_ours_takes_the_place_of_a_standard_stream() {
    let name = "nothing_of_ours_takes_the_place_of_a_standard_stream";
    in_process_of_its_own(name, |_| {
        let witness_path = witness();
        let mut predecessor = Predecessor::new();
        let closed = WithoutStdio::new();
        predecessor.add_sockets();
        let args = [&*witness_path];
        let program = Program::new(Args::new(&args), Environ::new(&[]));
        let signals = gracenet::signal::Signals::new(&[]).unwrap();
        let witness = predecessor.start_program(&program);
        let theirs = witness.fds();
        let ours = Fds::of_self();
        let successor = predecessor.net.successor().unwrap();
        let channel = successor.channel().unwrap().as_raw_fd();
        let pidfd = successor.pidfd().unwrap().as_raw_fd();
        let entries = predecessor.net.iter();
        let lowest = entries.map(|entry| entry.as_fd().as_raw_fd()).min();
        predecessor.give_up(0);
        drop((predecessor, program, signals));
        drop(closed);

        assert_eq!(ours.numbers().first(), Some(&3), "{ours:?}");
        assert!(channel >= 3 && pidfd >= 3, "{channel}, {pidfd}");
        assert!(lowest >= Some(3), "{lowest:?}");
        for fd in 0..3 {
            assert_eq!(theirs.target(fd), Path::new("/dev/null"));
        }
        // The last is the witness' directory.
        assert_eq!(theirs.numbers(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    });
}

/// Case A13, B1.
#[test]
fn an_inherited_fd_that_was_closed_stops_no_other_listen() {
    let _alone = alone();
    let (first, second) = (
        listener("tcp", "127.0.0.1:0"),
        listener("tcp", "127.0.0.1:0"),
    );
    let addresses = [util::address(&first), util::address(&second)];
    let puppet = Start::new().pass(first).pass(second).inherit();
    puppet.must("close-fd 3");
    let inherited = puppet.gets(format!("listen tcp {}", addresses[1]));
    assert!(inherited.inherited);
    assert_eq!(inherited.fd, 4);
    let fresh = puppet.gets("listen tcp 127.0.0.1:0");
    assert!(!fresh.inherited);
    let local = puppet.gets("listen unix @");
    assert!(!local.inherited);
}

/// Case C3.
#[test]
fn of_several_that_replace_a_stale_path_one_gets_it() {
    let _alone = alone();
    const THREADS: usize = 4;
    let directory = tempfile::tempdir().unwrap();
    let stale = directory.path().join("stale");
    let (begin, end) = (Barrier::new(THREADS + 1), Barrier::new(THREADS + 1));
    let (got, found) = (AtomicU32::new(0), std::sync::Mutex::new(Vec::new()));
    const ROUNDS: u32 = 600;
    let mut wrong = Vec::new();
    let done = Done::default();
    std::thread::scope(|scope| {
        let _end = done.at_the_end();
        for _ in 0..THREADS {
            // So that each is interrupted where it is worst.
            scope.spawn(|| while !done.is_over() {});
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let mut net: Net<1> = Net::new();
                    begin.wait();
                    let options = ListenOptions::new().replace_stale(true);
                    let made =
                        net.listen_with("unix", stale.as_os_str().as_encoded_bytes(), &options);
                    match made {
                        Ok(_) => drop(got.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => found.lock().unwrap().push(error.to_string()),
                    }
                    end.wait();
                    // The one that has it keeps it until it was tried.
                    end.wait();
                    drop(net);
                }
            });
        }
        for round in 0..ROUNDS {
            drop(bound("unix", &stale));
            begin.wait();
            end.wait();
            let reached = std::os::unix::net::UnixStream::connect(&stale).is_ok();
            end.wait();
            let _ = fs::remove_file(&stale);
            let got = got.swap(0, Ordering::Relaxed);
            let refused = std::mem::take(&mut *found.lock().unwrap());
            // Told when the threads have ended, which would wait for this one.
            if got != 1 || !reached || refused != ["bind: os error 98"; THREADS - 1] {
                wrong.push((round, got, reached, refused));
            }
        }
    });
    assert!(wrong.is_empty(), "{wrong:?}");
}

const NOSYS: i32 = libc::ENOSYS;
const PERM: i32 = libc::EPERM;

/// Starts a witness with five sockets and looks at what it got.
fn starts_exactly(what: &str) {
    let mut predecessor = Predecessor::with_sockets();
    let before = Fds::of_self();
    let targets: Vec<_> = predecessor
        .net
        .iter()
        .map(|entry| before.target(entry.as_fd().as_raw_fd()))
        .collect();
    let witness = predecessor.start(&[&witness()], &[c"A=1"]);
    assert_eq!(witness.generation, 1, "{what}");
    assert_eq!(witness.signals("SigCgt"), 0, "{what}");
    assert_eq!(witness.signals("SigBlk"), 0, "{what}");
    let fds = witness.fds();
    // The last is the witness' directory.
    assert_eq!(fds.numbers(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], "{what}");
    let theirs: Vec<_> = (3..8).map(|fd| fds.target(fd)).collect();
    assert_eq!(theirs, targets, "{what}");
    assert_eq!(fds.target(9), std::env::current_dir().unwrap(), "{what}");
    predecessor.give_up(0);
    let error = predecessor.fail(&[c"/no/such/program"], &[]);
    assert_eq!(error.to_string(), "execve: os error 2", "{what}");
}

/// An fd from this number up that is not CLOEXEC, as a careless library leaves it.
fn leak(number: RawFd) -> OwnedFd {
    let file = File::open("/dev/zero").unwrap();
    let leaked = rustix::io::fcntl_dupfd_cloexec(&file, number).unwrap();
    assert!(leaked.as_raw_fd() >= number);
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    leaked
}

/// Case E5. Each remedy has its fallback, alone and together, whatever the errno.
#[test]
fn a_successor_is_the_same_where_calls_are_refused() {
    let _alone = alone();
    let _leaked = [leak(40), leak(400)];
    let none = 0;
    for clone3 in [none, NOSYS, PERM] {
        for close_range in [none, NOSYS, PERM] {
            for unshare in [none, NOSYS, PERM] {
                let calls = [
                    (libc::SYS_clone3, clone3),
                    (libc::SYS_close_range, close_range),
                    (libc::SYS_unshare, unshare),
                ];
                let refused: Vec<_> = calls.into_iter().filter(|call| call.1 != none).collect();
                where_refused(&refused, || starts_exactly(&format!("{refused:?}")));
            }
        }
    }
}

/// Case E5. Before Linux 5.9 the child copies the whole table, and the process itself does not.
#[test]
fn the_fd_table_is_shared_where_it_cannot_be_cut() {
    let _alone = alone();
    let files = libc::CLONE_FILES as u32;
    let only_shared = vec![
        seccomp::step(seccomp::LOAD, seccomp::CALL, 0, 0),
        seccomp::step(seccomp::IF_EQUAL, libc::SYS_clone3 as u32, 1, 0),
        seccomp::step(seccomp::IF_EQUAL, libc::SYS_close_range as u32, 0, 1),
        seccomp::step(seccomp::RETURN, seccomp::errno(NOSYS), 0, 0),
        seccomp::step(seccomp::IF_EQUAL, libc::SYS_clone as u32, 0, 3),
        seccomp::step(seccomp::LOAD, seccomp::ARGUMENTS[0], 0, 0),
        seccomp::step(seccomp::IF_ANY_BIT, files, 1, 0),
        seccomp::step(seccomp::RETURN, seccomp::errno(libc::ENOMEM), 0, 0),
        seccomp::step(seccomp::RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let _leaked = [leak(40), leak(400)];
    where_filtered(only_shared, || starts_exactly("no close_range"));
}

/// Case E5. Before Linux 5.2 clone knows no pidfd, and before 5.3 there is none at all.
#[test]
fn a_successor_is_the_same_where_there_are_no_pidfds() {
    let _alone = alone();
    let with_pidfd = libc::CLONE_PIDFD as u32;
    let before_5_2 = vec![
        seccomp::step(seccomp::LOAD, seccomp::CALL, 0, 0),
        seccomp::step(seccomp::IF_EQUAL, libc::SYS_clone3 as u32, 0, 1),
        seccomp::step(seccomp::RETURN, seccomp::errno(NOSYS), 0, 0),
        seccomp::step(seccomp::IF_EQUAL, libc::SYS_clone as u32, 0, 3),
        seccomp::step(seccomp::LOAD, seccomp::ARGUMENTS[0], 0, 0),
        seccomp::step(seccomp::IF_ANY_BIT, with_pidfd, 0, 1),
        seccomp::step(seccomp::RETURN, seccomp::errno(libc::EINVAL), 0, 0),
        seccomp::step(seccomp::RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    where_filtered(before_5_2.clone(), || {
        starts_exactly("no CLONE_PIDFD");
        let mut predecessor = Predecessor::new();
        let pid = predecessor.start_script("exit 3");
        let successor = predecessor.net.successor().unwrap();
        assert!(successor.pidfd().is_some());
        assert_eq!(successor.wait_ready(soon()), Err(Failure::Exited(3)));
        assert!(util::is_reaped(pid));
        let opened = [(libc::SYS_pidfd_open, NOSYS)];
        where_refused(&opened, || {
            starts_exactly("no pidfds");
            let mut predecessor = Predecessor::new();
            let pid = predecessor.start_script("kill -KILL $$");
            let successor = predecessor.net.successor().unwrap();
            assert!(successor.pidfd().is_none());
            assert_eq!(successor.wait_ready(soon()), Err(Failure::Killed(9)));
            assert!(util::is_reaped(pid));

            let pid = predecessor.start_script("cat <&3");
            let successor = predecessor.net.successor().unwrap();
            let outcome = successor.wait_ready(Deadline::after_ms(20));
            assert_eq!(outcome, Err(Failure::TimedOut));
            assert!(util::is_reaped(pid));

            // Another one: that cat still reads what the last one is told.
            let mut predecessor = Predecessor::new();
            let script = "printf ready >&$c; head -c1 <&3 >/dev/null; exit 4";
            let pid = predecessor.start_script(script);
            let successor = predecessor.net.successor().unwrap();
            assert_eq!(successor.wait_ready(soon()), Ok(()));
            tell(&predecessor.report, "x");
            let outcome = successor.probation(soon());
            assert_eq!(outcome, Err(Failure::Exited(4)));
            assert!(util::is_reaped(pid));
        });
    });
}

/// Case H1. Before Linux 5.4 a pidfd is not what can be waited for.
#[test]
fn a_successor_is_reaped_where_nobody_can_wait_by_a_pidfd() {
    let _alone = alone();
    let before_5_4 = vec![
        seccomp::step(seccomp::LOAD, seccomp::CALL, 0, 0),
        seccomp::step(seccomp::IF_EQUAL, libc::SYS_waitid as u32, 0, 3),
        seccomp::step(seccomp::LOAD, seccomp::ARGUMENTS[0], 0, 0),
        seccomp::step(seccomp::IF_EQUAL, libc::P_PIDFD, 0, 1),
        seccomp::step(seccomp::RETURN, seccomp::errno(libc::EINVAL), 0, 0),
        seccomp::step(seccomp::RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    where_filtered(before_5_4, || {
        starts_exactly("no P_PIDFD");
        let mut predecessor = Predecessor::new();
        let pid = predecessor.start_script("kill -KILL $$");
        let successor = predecessor.net.successor().unwrap();
        assert!(successor.pidfd().is_some());
        assert_eq!(successor.wait_ready(soon()), Err(Failure::Killed(9)));
        assert!(util::is_reaped(pid));
    });
}

/// Case H3. Containers of before 2020 let clone make a pidfd, and refuse to send a signal by it.
#[test]
fn a_successor_is_killed_where_no_signal_can_be_sent_by_a_pidfd() {
    let _alone = alone();
    for errno in [NOSYS, PERM] {
        where_refused(&[(libc::SYS_pidfd_send_signal, errno)], || {
            let mut predecessor = Predecessor::new();
            let pid = predecessor.start_script("cat <&3");
            let successor = predecessor.net.successor().unwrap();
            assert!(successor.pidfd().is_some());
            assert_eq!(successor.try_wait(Deadline::after_ms(0)), None);
            util::until_gone(pid);
            assert_eq!(successor.try_wait(soon()), Some(Err(Failure::TimedOut)));
            assert!(util::is_reaped(pid));
        });
    }
}

/// Case E5. The limit was lowered when they were open already.
#[test]
fn fds_above_a_limit_that_was_lowered_do_not_leak() {
    let name = "fds_above_a_limit_that_was_lowered_do_not_leak";
    in_process_of_its_own(name, |_| {
        let _leaked = [leak(40), leak(200), leak(900)];
        let limit = getrlimit(Resource::Nofile);
        let lowered = Rlimit {
            current: Some(100),
            ..limit
        };
        witness();
        setrlimit(Resource::Nofile, lowered).unwrap();
        starts_exactly("nothing is refused");
        let close_range = [(libc::SYS_close_range, NOSYS)];
        where_refused(&close_range, || starts_exactly("no close_range"));
        let unshare = [(libc::SYS_close_range, NOSYS), (libc::SYS_unshare, PERM)];
        where_refused(&unshare, || {
            starts_exactly("neither close_range nor unshare")
        });
    });
}

/// Case E5. Before Linux 6.11 a table that was cut within one word of the kernel's second bitmap
/// kept marks behind the cut. Such a kernel is not had here, but one that calls itself older is
/// (UNAME26); any cut that is not a multiple of 4096 is the end of the child.
#[test]
fn the_fd_table_is_cut_between_words_of_the_bitmap_on_older_kernels() {
    let _alone = alone();
    let unshare = 2; // CLOSE_RANGE_UNSHARE
    let only_multiples = vec![
        seccomp::step(seccomp::LOAD, seccomp::CALL, 0, 0),
        seccomp::step(seccomp::IF_EQUAL, libc::SYS_close_range as u32, 0, 5),
        seccomp::step(seccomp::LOAD, seccomp::ARGUMENTS[2], 0, 0),
        seccomp::step(seccomp::IF_EQUAL, unshare, 0, 3),
        seccomp::step(seccomp::LOAD, seccomp::ARGUMENTS[0], 0, 0),
        seccomp::step(seccomp::IF_ANY_BIT, 4095, 0, 1),
        seccomp::step(seccomp::RETURN, libc::SECCOMP_RET_KILL_PROCESS, 0, 0),
        seccomp::step(seccomp::RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let _leaked = [leak(40), leak(4095), leak(4096), leak(5000)];
    where_filtered(only_multiples, || {
        // The control: this kernel cuts anywhere.
        let error = Predecessor::new().fail(&[&witness()], &[]);
        assert_eq!(error, StartError::Vanished);
        let uname26 = 0x0002_0000;
        // SAFETY: a number. It is this thread's, and ends with it.
        assert!(unsafe { libc::personality(uname26) } >= 0);
        starts_exactly("a kernel that calls itself 2.6");
    });
}

/// Case J1. A connection that is not taken can be written to, says the kernel, and is none.
#[test]
fn a_manager_that_takes_no_connection_is_given_up_in_time() {
    let _alone = alone();
    let (done, outcome) = mpsc::channel();
    // It would go on and on, and ends with this process.
    let thread = thread::spawn(move || {
        let receiver = Receiver::new().unwrap();
        let environ = [receiver.variable()];
        let notify = Notify::new(Environ::new(&environ)).unwrap().unwrap();
        let errors = [0, 50].map(|ms| {
            where_refused(&[(libc::SYS_sendmsg, libc::ENOTCONN)], || {
                notify.send_with(&[State::Ready], &[], Deadline::after_ms(ms))
            })
        });
        done.send(errors).unwrap();
    });
    let errors = outcome.recv_timeout(Duration::from_secs(20)).unwrap();
    thread.join().unwrap();
    for error in errors {
        assert_eq!(error.unwrap_err().to_string(), "send: os error 107");
    }
}

/// Case J1. A filter answers in place of the kernel: there is always one more message.
#[test]
fn messages_without_end_do_not_put_off_the_deadline() {
    let _alone = alone();
    let (done, outcome) = mpsc::channel();
    // It would go on and on, and ends with this process.
    let thread = thread::spawn(move || {
        let receiver = Receiver::new().unwrap();
        let args = [c"/bin/sleep", c"60"];
        let program = Program::new(Args::new(&args), Environ::new(&[]));
        let mut net: Net<2> = Net::new();
        let successor = net
            .start_process_with(&program, &Changes::new().foreign())
            .unwrap();
        let failure = where_refused(&[(libc::SYS_recvmsg, 0)], || {
            receiver.wait_ready(successor, Deadline::after_ms(50))
        });
        done.send(failure).unwrap();
    });
    let failure = outcome.recv_timeout(Duration::from_secs(20)).unwrap();
    thread.join().unwrap();
    assert_eq!(failure, Err(Failure::TimedOut));
}

/// What is in the table already takes room, too: all or nothing, and nothing is renamed.
#[test]
fn passed_to_a_table_that_has_something_already() {
    let name = "passed_to_a_table_that_has_something_already";
    in_process_of_its_own(name, |_| {
        // Whatever the harness has there is not used any more.
        for number in [3, 4] {
            let passed = listener("tcp", "127.0.0.1:0");
            let passed = rustix::io::fcntl_dupfd_cloexec(passed, 10).unwrap();
            // SAFETY: as above.
            assert_eq!(unsafe { libc::dup3(passed.as_raw_fd(), number, 0) }, number);
        }
        let pid = format!("LISTEN_PID={}\0", std::process::id());
        let pid = CStr::from_bytes_with_nul(pid.as_bytes()).unwrap();
        let environ = [pid, c"LISTEN_FDS=2", c"LISTEN_FDNAMES=first:second"];
        let mut net: Net<2> = Net::new();
        let own = net.listen("tcp", "127.0.0.1:0").unwrap();
        // SAFETY: nobody has 3 and 4.
        let adopted = unsafe { net.adopt(Environ::new(&environ), InheritOptions::default()) };
        let (count, capacity) = (2, 1);
        assert_eq!(adopted, Err(InheritError::TooMany { count, capacity }));
        assert_eq!(net.len(), 1);
        assert!(!net.get(own).unwrap().is_inherited());

        let mut net: Net<3> = Net::new();
        let own = net.listen("tcp", "127.0.0.1:0").unwrap();
        // SAFETY: as above: it has taken none.
        let adopted = unsafe { net.adopt(Environ::new(&environ), InheritOptions::default()) };
        adopted.unwrap();
        let names: Vec<_> = net.iter().map(|entry| entry.name().to_string()).collect();
        assert_eq!(names, ["unknown", "first", "second"]);
        assert!(net.get(own).unwrap().is_claimed());
    });
}
