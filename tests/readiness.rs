//! A server starts successors that go wrong in every way, before they are ready and after, and
//! serves its clients all the while. Nothing is left of any of them: no fd, no zombie, and the
//! next one may be started. Then it is the server that is killed, and its successor that goes on.
#![allow(unsafe_code)] // Numbers of this thread's use of the processor.

mod util;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use gracenet::{Args, Deadline, Environ, Failure, Handle, ListenOptions, Net, Program, StartError};
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process, set_child_subreaper, waitid,
};
use util::{
    Fds, Predecessor, Witness, alone, hear, in_process_of_its_own, is_reaped, path, program,
    seccomp, tell, until_gone, witness, witness_in,
};

/// Long enough for what does happen.
fn soon() -> Deadline {
    Deadline::after_ms(10_000)
}

/// What happens next to nothing is not waited for any longer.
fn shortly() -> Deadline {
    Deadline::after_ms(20)
}

/// A predecessor that serves: one more socket than the report, so that scripts have the report at
/// 3 and it at 4.
struct Server {
    predecessor: Predecessor,
    web: Handle,
    address: SocketAddr,
}

impl Server {
    fn new() -> Server {
        let mut predecessor = Predecessor::new();
        let options = ListenOptions::new().name("web");
        let made = predecessor.net.listen_with("tcp", "127.0.0.1:0", &options);
        let web = made.unwrap();
        let address = util::address(&predecessor.net.duplicate(web).unwrap());
        Server {
            predecessor,
            web,
            address,
        }
    }

    /// Somebody connects, and is served by this process.
    fn serves(&self) {
        let client = TcpStream::connect(self.address).unwrap();
        let accepted = self.predecessor.net.accept(self.web).unwrap();
        rustix::io::write(&accepted, b"0").unwrap();
        drop(accepted);
        assert_eq!(answer(client), "0");
    }

    fn successor(&mut self) -> &mut gracenet::Successor {
        self.predecessor.net.successor().expect("a successor")
    }

    /// What comes of `script` when it has as long as that.
    fn wait(&mut self, script: &str, deadline: Deadline) -> (Pid, Result<(), Failure>) {
        let pid = self.predecessor.start_script(script);
        self.serves();
        let outcome = self.successor().wait_ready(deadline);
        self.serves();
        (pid, outcome)
    }

    /// `script` fails, in this way, and nothing is left of it.
    fn fails(&mut self, script: &str, deadline: Deadline, failure: Failure) {
        let before = Fds::of_self();
        let (pid, outcome) = self.wait(script, deadline);
        assert_eq!(outcome, Err(failure), "{script}");
        self.nothing_is_left(pid, failure, &before, script);
        self.may_start_another();
    }

    fn nothing_is_left(&mut self, pid: Pid, failure: Failure, before: &Fds, what: &str) {
        assert!(is_reaped(pid), "a zombie after {what}");
        assert_eq!(&Fds::of_self(), before, "fds after {what}");
        // It stays so, whatever is asked.
        let successor = self.successor();
        assert_eq!(successor.try_wait(Deadline::NEVER), Some(Err(failure)));
        assert_eq!(successor.wait_ready(Deadline::NEVER), Err(failure));
        assert_eq!(successor.try_probation(Deadline::NEVER), Some(Err(failure)));
        successor.kill();
        assert!(!successor.is_ready() && !successor.is_undecided());
        assert!(successor.channel().is_none() && successor.pidfd().is_none());
    }

    fn may_start_another(&mut self) {
        assert_eq!(self.predecessor.start(&[&witness()], &[]).generation, 1);
        let successor = self.successor();
        successor.kill();
        assert_eq!(successor.wait_ready(soon()), Err(Failure::GivenUp));
    }
}

fn nothing() -> Program<'static> {
    Program::new(Args::new(&[]), Environ::new(&[]))
}

/// All that a client is told.
fn answer(mut client: TcpStream) -> String {
    client
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    answer
}

/// Case H1, H4, E7.
#[test]
fn successor_that_exits_leaves_its_predecessor_serving() {
    let _alone = alone();
    let mut server = Server::new();
    for status in [0, 7, 255] {
        let script = format!("exit {status}");
        server.fails(&script, soon(), Failure::Exited(status));
        server.fails(&script, Deadline::NEVER, Failure::Exited(status));
    }
}

/// Case H1, H4, E7.
#[test]
fn successor_that_is_killed_leaves_its_predecessor_serving() {
    let _alone = alone();
    let mut server = Server::new();
    for signal in [Signal::KILL, Signal::TERM, Signal::USR1] {
        let number = signal.as_raw();
        let script = format!("kill -{number} $$");
        server.fails(&script, soon(), Failure::Killed(number));
    }
}

/// Case H3, H4, E7.
#[test]
fn successor_that_hangs_is_killed_in_time() {
    let _alone = alone();
    let mut server = Server::new();
    let hanging = [
        "cat <&3",
        "kill -STOP $$",
        "trap '' HUP INT TERM; cat <&3",
        // It talks, and not of being ready.
        "printf hello >&$c; printf READY >&$c; printf read >&$c; cat <&3",
        "printf 'ready ' >&$c; cat <&3",
    ];
    for script in hanging {
        server.fails(script, shortly(), Failure::TimedOut);
    }
    server.fails("cat <&3", Deadline::after_ms(0), Failure::TimedOut);
}

/// Case H1, E7.
#[test]
fn successor_that_closes_its_channel_and_lives_on_is_killed() {
    let _alone = alone();
    let mut server = Server::new();
    let before = Fds::of_self();
    let close = "eval \"exec $c>&-\"; printf closed >&3; cat <&3";
    let pid = server.predecessor.start_script(close);
    assert_eq!(hear(&server.predecessor.report), "closed");
    let successor = server.successor();
    assert_eq!(successor.wake_by(Deadline::NEVER), Deadline::NEVER);
    // Its end may come behind the channel's. It is waited for, and not for ever.
    assert_eq!(successor.try_wait(Deadline::NEVER), None);
    assert!(successor.channel().is_none());
    let last_moment = successor.wake_by(Deadline::NEVER);
    assert!(last_moment <= Deadline::after_ms(1_000));
    let earlier = Deadline::after_ms(1);
    assert!(successor.wake_by(earlier) <= earlier);
    let outcome = successor.wait_ready(earlier);
    assert_eq!(outcome, Err(Failure::ClosedChannel));
    server.nothing_is_left(pid, Failure::ClosedChannel, &before, close);
    server.serves();
    server.may_start_another();

    let close = "eval \"exec $c>&-\"; ";
    let lives = format!("{close} cat <&3");
    server.fails(&lives, Deadline::NEVER, Failure::ClosedChannel);
    let ends = format!("{close} exit 6");
    server.fails(&ends, Deadline::NEVER, Failure::Exited(6));
}

/// Case H3, H4.
#[test]
fn successor_that_is_given_up_is_killed() {
    let _alone = alone();
    let mut server = Server::new();
    let before = Fds::of_self();
    let pid = server.predecessor.start_script("cat <&3");
    let again = server.predecessor.net.start_process(&nothing());
    assert_eq!(again.map(drop), Err(StartError::InProgress));
    let successor = server.successor();
    successor.kill();
    successor.kill();
    assert!(successor.is_undecided());
    assert_eq!(successor.wait_ready(Deadline::NEVER), Err(Failure::GivenUp));
    server.nothing_is_left(pid, Failure::GivenUp, &before, "kill");
    server.serves();
    server.may_start_another();

    // One that is ready is not killed.
    let (pid, outcome) = server.wait("printf ready >&$c; cat <&3", soon());
    assert_eq!(outcome, Ok(()));
    let successor = server.successor();
    successor.kill();
    assert_eq!(successor.wait_ready(soon()), Ok(()));
    assert_eq!(successor.probation(shortly()), Ok(()));
    server.predecessor.hang_up();
    let outcome = server.successor().probation(soon());
    assert_eq!(outcome, Err(Failure::Exited(0)));
    assert!(is_reaped(pid));
}

/// Case H1. A later version may have more to say.
#[test]
fn what_is_not_known_is_passed_over() {
    let _alone = alone();
    let mut server = Server::new();
    let talk = "i=0; while [ $i -lt 50 ]; do printf hello >&$c; i=$((i+1)); done; ";
    let (_, outcome) = server.wait(&format!("{talk} printf ready >&$c; cat <&3"), soon());
    assert_eq!(outcome, Ok(()));
    server.predecessor.hang_up();
    let outcome = server.successor().probation(soon());
    assert_eq!(outcome, Err(Failure::Exited(0)));
    let mut server = Server::new();
    server.fails(&format!("{talk} exit 2"), soon(), Failure::Exited(2));
}

/// Case H9, H4, E7.
#[test]
fn predecessor_serves_again_when_a_ready_successor_dies() {
    let _alone = alone();
    let mut server = Server::new();
    let before = Fds::of_self();
    // It dies when it is told to.
    let script = "printf ready >&$c; head -c1 <&3 >/dev/null; exit 5";
    let (pid, outcome) = server.wait(script, soon());
    assert_eq!(outcome, Ok(()));
    let again = server.predecessor.net.start_process(&nothing());
    assert_eq!(again.map(drop), Err(StartError::InProgress));
    let successor = server.successor();
    assert_eq!(successor.try_probation(soon()), None);
    assert_eq!(successor.probation(shortly()), Ok(()));
    assert_eq!(successor.try_probation(shortly()), None);
    // Clients wait for whoever accepts.
    let client = TcpStream::connect(server.address).unwrap();
    tell(&server.predecessor.report, "x");
    let outcome = server.successor().probation(Deadline::NEVER);
    assert_eq!(outcome, Err(Failure::Exited(5)));
    let mut accepted = TcpStream::from(server.predecessor.net.accept(server.web).unwrap());
    accepted.write_all(b"again").unwrap();
    drop(accepted);
    assert_eq!(answer(client), "again");
    server.nothing_is_left(pid, Failure::Exited(5), &before, script);
    server.serves();
    server.may_start_another();

    // It is dead before anybody looks: what it has said is worth nothing.
    let pid = server
        .predecessor
        .start_script("printf ready >&$c; kill -KILL $$");
    until_gone(pid);
    let successor = server.successor();
    let outcome = successor.try_wait(Deadline::NEVER);
    assert_eq!(outcome, Some(Err(Failure::Killed(9))));
    let outcome = successor.try_probation(Deadline::NEVER);
    assert_eq!(outcome, Some(Err(Failure::Killed(9))));
    server.nothing_is_left(pid, Failure::Killed(9), &before, "ready and dead");
    // And nobody looked at all.
    let pid = server
        .predecessor
        .start_script("printf ready >&$c; kill -KILL $$");
    until_gone(pid);
    server.may_start_another();
    assert!(is_reaped(pid));
}

/// Case H9. That it is to hold out says nothing of one that is not ready.
#[test]
fn probation_of_a_successor_that_is_not_ready_is_not_waited_for() {
    let _alone = alone();
    let mut server = Server::new();
    server.predecessor.start_script("cat <&3");
    let successor = server.successor();
    assert_eq!(successor.try_probation(Deadline::NEVER), None);
    assert_eq!(successor.probation(Deadline::NEVER), Ok(()));
    assert!(successor.is_undecided());
    assert_eq!(successor.wait_ready(shortly()), Err(Failure::TimedOut));
}

/// Case G3. Another part of the program waits for any child.
#[test]
fn successor_whose_status_somebody_else_took_has_ended() {
    let _alone = alone();
    let mut server = Server::new();
    let before = Fds::of_self();
    let pid = server.predecessor.start_script("exit 3");
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED).unwrap();
    let outcome = server.successor().wait_ready(Deadline::NEVER);
    assert_eq!(outcome, Err(Failure::Ended));
    server.nothing_is_left(pid, Failure::Ended, &before, "a status that was taken");

    let (pid, outcome) = server.wait("printf ready >&$c; head -c1 <&3 >/dev/null", soon());
    assert_eq!(outcome, Ok(()));
    tell(&server.predecessor.report, "x");
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED).unwrap();
    let outcome = server.successor().probation(Deadline::NEVER);
    assert_eq!(outcome, Err(Failure::Ended));
    server.may_start_another();
}

/// Case H7.
#[test]
fn ready_is_said_once() {
    let _alone = alone();
    let mut predecessor = Predecessor::new();
    let heir = predecessor.start(&[&path(&program("heir"))], &[]);
    assert_eq!(heir.say("ready"), "ok");
    assert_eq!(heir.say("ready"), "ok");
    let successor = predecessor.net.successor().unwrap();
    assert_eq!(successor.wait_ready(soon()), Ok(()));
    assert_eq!(successor.wait_ready(Deadline::NEVER), Ok(()));
    // There is nothing behind it.
    let mut buffer = [0; 64];
    let channel = successor.channel().unwrap();
    let second = recv(channel, &mut buffer, RecvFlags::DONTWAIT);
    assert_eq!(second.map(|(length, _)| length), Err(Errno::AGAIN));
    predecessor.hang_up();
    let outcome = predecessor.net.successor().unwrap().probation(soon());
    assert_eq!(outcome, Err(Failure::Exited(0)));
}

/// Case H7.
#[test]
fn ready_of_a_process_that_is_no_successor_does_nothing() {
    let _alone = alone();
    let before = Fds::of_self();
    let mut net: Net<2> = Net::new();
    assert_eq!(net.ready(), Ok(()));
    assert_eq!(net.ready(), Ok(()));
    assert!(net.predecessor().is_none());
    assert_eq!(Fds::of_self(), before);

    // Nor one that finds what is meant for another.
    let directory = tempfile::tempdir().unwrap();
    for variable in [
        "",
        "GRACENET_FD=3,1",
        "GRACENET_FD=9,$$",
        "GRACENET_FD=ready",
    ] {
        let heir = program("heir");
        let exec = format!("export X=1 {variable}; exec {}", heir.display());
        let (mut child, report) = witness_in(directory.path(), &exec);
        let heir = Witness::up(&report);
        assert_eq!(heir.generation, 0);
        let before = heir.fds();
        assert_eq!(heir.say("gone"), "none", "{variable}");
        assert_eq!(heir.say("ready"), "ok", "{variable}");
        assert_eq!(heir.say("ready"), "ok", "{variable}");
        assert_eq!(heir.fds(), before, "{variable}");
        drop(report);
        child.wait().unwrap();
    }
}

/// What an epoll says of two fds: which of them are ready, in time.
fn events(queue: &OwnedFd, timeout_ms: i64) -> Vec<u64> {
    let timeout = Timespec {
        tv_sec: timeout_ms / 1_000,
        tv_nsec: timeout_ms % 1_000 * 1_000_000,
    };
    let mut events = [epoll::Event {
        flags: epoll::EventFlags::empty(),
        data: epoll::EventData::new_u64(0),
    }; 4];
    let ready = epoll::wait(queue, &mut events, Some(&timeout)).unwrap();
    let mut ready: Vec<_> = events[..ready]
        .iter()
        .map(|event| event.data.u64())
        .collect();
    ready.sort_unstable();
    ready
}

const CHANNEL: u64 = 1;
const PIDFD: u64 = 2;

/// Case H8.
#[test]
fn successor_is_waited_for_in_an_event_loop() {
    let _alone = alone();
    let mut server = Server::new();
    let watch = |successor: &gracenet::Successor| {
        let queue = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        for (fd, data) in [(successor.channel(), CHANNEL), (successor.pidfd(), PIDFD)] {
            let data = epoll::EventData::new_u64(data);
            epoll::add(&queue, fd.unwrap(), data, epoll::EventFlags::IN).unwrap();
        }
        queue
    };
    let told = "head -c1 <&3 >/dev/null; ";
    let script = format!("{told} printf ready >&$c; {told} exit 0");
    server.predecessor.start_script(&script);
    let successor = server.successor();
    let queue = watch(successor);
    assert_eq!(events(&queue, 20), []);
    assert_eq!(successor.try_wait(Deadline::NEVER), None);
    assert_eq!(successor.wake_by(Deadline::NEVER), Deadline::NEVER);
    tell(&server.predecessor.report, "x");
    assert_eq!(events(&queue, 10_000), [CHANNEL]);
    let successor = server.successor();
    assert_eq!(successor.try_wait(Deadline::NEVER), Some(Ok(())));
    assert_eq!(events(&queue, 0), []);
    let pidfd = successor.pidfd().unwrap().as_raw_fd();
    tell(&server.predecessor.report, "x");
    // Its channel ends just before it does.
    while !events(&queue, 10_000).contains(&PIDFD) {}
    let successor = server.successor();
    assert_eq!(successor.pidfd().map(|fd| fd.as_raw_fd()), Some(pidfd));
    let outcome = successor.try_probation(Deadline::NEVER);
    assert_eq!(outcome, Some(Err(Failure::Exited(0))));

    // One that fails.
    server.predecessor.start_script(&format!("{told} exit 3"));
    let successor = server.successor();
    let queue = watch(successor);
    assert_eq!(events(&queue, 0), []);
    tell(&server.predecessor.report, "x");
    let outcome = loop {
        assert_ne!(events(&queue, 10_000), [], "waited 10 s for an event");
        let outcome = server.successor().try_wait(Deadline::NEVER);
        if let Some(outcome) = outcome {
            break outcome;
        }
    };
    assert_eq!(outcome, Err(Failure::Exited(3)));

    // One that is late.
    server.predecessor.start_script("cat <&3");
    let successor = server.successor();
    let queue = watch(successor);
    let deadline = shortly();
    assert_eq!(successor.wake_by(deadline), deadline);
    let timeout = successor.wake_by(deadline).remaining_ms().unwrap();
    assert_eq!(events(&queue, timeout as i64), []);
    assert_eq!(
        successor.try_wait(deadline),
        None,
        "it is killed, and not reaped yet"
    );
    assert_eq!(successor.wake_by(deadline), Deadline::NEVER);
    assert_eq!(events(&queue, 10_000), [PIDFD]);
    let outcome = server.successor().try_wait(deadline);
    assert_eq!(outcome, Some(Err(Failure::TimedOut)));
    server.serves();
}

/// Case H5, H6, G4, G5, H4. Clients that waited when it died are served, too.
#[test]
fn successor_goes_on_when_its_predecessor_is_killed() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let exec = format!("exec {}", program("heir").display());
    let (mut child, report) = witness_in(directory.path(), &exec);
    let first = Witness::up(&report);
    assert_eq!((first.generation, &*first.say("gone")), (0, "none"));
    let address: SocketAddr = first.say("listen").parse().unwrap();
    tell(&report, "next");

    let second = Witness::up(&report);
    assert_eq!(second.generation, 1);
    // The default of SIGPIPE would end it.
    assert_eq!(second.signals("SigIgn") & (1 << (libc::SIGPIPE - 1)), 0);
    assert_eq!(second.say("gone"), "no");
    assert_eq!(second.say("outlive 20"), "no");
    let waiting = TcpStream::connect(address).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let late = TcpStream::connect(address).unwrap();
    assert_eq!(second.say("gone"), "yes");
    assert_eq!(second.say("outlive 0"), "yes");
    assert_eq!(second.say("ready"), "ok");
    assert_eq!(second.say("ready"), "ok");
    for client in [waiting, late] {
        assert_eq!(second.say("serve"), "ok");
        assert_eq!(answer(client), "1");
    }
    // It has successors of its own.
    let (pid, third) = (second.pid, second.next());
    assert_eq!(third.say("outlive 20000"), "yes");
    until_gone(pid);
    let client = TcpStream::connect(address).unwrap();
    assert_eq!(third.say("serve"), "ok");
    assert_eq!(answer(client), "2");
}

/// Case I3. It is 1 while the predecessor lives, which is the first of its namespace, and another
/// number when it is gone, where somebody else takes in orphans.
#[test]
fn whose_child_it_is_says_nothing_of_a_predecessor() {
    let name = "whose_child_it_is_says_nothing_of_a_predecessor";
    in_process_of_its_own(name, |directory| {
        let heir = program("heir").display().to_string();
        let user = match rustix::process::geteuid().is_root() {
            true => "",
            false => "-Ur",
        };
        let exec = format!("export LISTEN_PID=1; exec unshare {user} -pf --kill-child {heir}");
        let (mut child, report) = witness_in(directory, &exec);
        let first = Witness::up(&report);
        assert_eq!((first.pid.as_raw_pid(), &*first.say("gone")), (1, "none"));
        tell(&report, "next");
        let second = Witness::up(&report);
        assert_eq!((second.generation, &*second.say("parent")), (1, "1"));
        assert_eq!(second.say("gone"), "no");
        assert_eq!(second.say("outlive 20"), "no");
        // The others are killed with it.
        child.kill().unwrap();
        child.wait().unwrap();

        set_child_subreaper(Some(getpid())).unwrap();
        let (mut child, report) = witness_in(directory, &format!("exec {heir}"));
        Witness::up(&report);
        tell(&report, "next");
        let second = Witness::up(&report);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(second.say("gone"), "yes");
        assert_eq!(second.say("parent"), getpid().to_string());
        let pid = second.pid;
        drop(report);
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED).unwrap();
    });
}

/// Case H5. It waits for the end, which comes while it waits.
#[test]
fn successor_waits_for_the_end_of_its_predecessor() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let exec = format!("exec {}", program("heir").display());
    let (mut child, report) = witness_in(directory.path(), &exec);
    let first = Witness::up(&report);
    assert_eq!(first.say("outlive 1"), "none");
    tell(&report, "next");
    let second = Witness::up(&report);
    tell(&report, "outlive 20000");
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    assert_eq!(hear(&report), "yes");
    child.wait().unwrap();
    assert_eq!(second.say("gone"), "yes");
}

/// Case G4, H6. The greeting outlives who sent it.
#[test]
fn successor_of_a_predecessor_that_is_gone_at_its_start_is_one() {
    let _alone = alone();
    let mut predecessor = Predecessor::new();
    let heir = program("heir");
    let script = format!("head -c1 <&3 >/dev/null; exec {}", heir.display());
    let pid = predecessor.start_script(&script);
    let Predecessor { net, report } = predecessor;
    drop(net);
    tell(&report, "x");
    let heir = Witness::up(&report);
    assert_eq!((heir.pid, heir.generation), (pid, 1));
    assert_eq!(heir.say("gone"), "yes");
    assert_eq!(heir.say("ready"), "ok");
    assert_eq!(heir.say("gone"), "yes");
    drop(report);
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED).unwrap();
}

/// Runs `body` where there are no pidfds, neither from clone nor otherwise: before Linux 5.2.
fn without_pidfds(body: impl FnOnce() + Send) {
    let with_pidfd = libc::CLONE_PIDFD as u32;
    seccomp::where_filtered(
        vec![
            seccomp::step(seccomp::LOAD, seccomp::CALL, 0, 0),
            seccomp::step(seccomp::IF_EQUAL, libc::SYS_clone3 as u32, 1, 0),
            seccomp::step(seccomp::IF_EQUAL, libc::SYS_pidfd_open as u32, 0, 1),
            seccomp::step(seccomp::RETURN, seccomp::errno(libc::ENOSYS), 0, 0),
            seccomp::step(seccomp::IF_EQUAL, libc::SYS_clone as u32, 0, 3),
            seccomp::step(seccomp::LOAD, seccomp::ARGUMENTS[0], 0, 0),
            seccomp::step(seccomp::IF_ANY_BIT, with_pidfd, 0, 1),
            seccomp::step(seccomp::RETURN, seccomp::errno(libc::EINVAL), 0, 0),
            seccomp::step(seccomp::RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
        ],
        body,
    );
}

/// How often this thread has gone to sleep.
fn sleeps() -> i64 {
    // SAFETY: numbers, of which zeros are values.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the usage is writable.
    let done = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &mut usage) };
    assert_eq!(done, 0);
    usage.ru_nvcsw
}

/// Far less than the time that is allowed.
fn at_once<T>(body: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let value = body();
    let taken = begin.elapsed();
    assert!(taken < Duration::from_secs(5), "it took {taken:?}");
    value
}

/// Case H9. It wakes now and then, and neither at the end alone nor all the time.
#[test]
fn death_on_probation_is_noticed_without_a_pidfd() {
    let _alone = alone();
    without_pidfds(|| {
        let mut server = Server::new();
        let before = Fds::of_self();
        let script = "printf ready >&$c; head -c1 <&3 >/dev/null; exit 5";
        let (pid, outcome) = server.wait(script, soon());
        assert_eq!(outcome, Ok(()));
        let successor = server.successor();
        assert!(successor.pidfd().is_none());
        // One that lives holds out to the end, and not much of the processor is spent on it.
        let (begin, slept) = (Instant::now(), sleeps());
        assert_eq!(successor.probation(Deadline::after_ms(300)), Ok(()));
        assert!(begin.elapsed() >= Duration::from_millis(300));
        let slept = sleeps() - slept;
        assert!((3..=40).contains(&slept), "slept {slept} times");
        let wake_by = successor.wake_by(Deadline::NEVER);
        assert!(wake_by <= Deadline::after_ms(10));
        assert_eq!(successor.try_probation(soon()), None);
        tell(&server.predecessor.report, "x");
        let outcome = at_once(|| server.successor().probation(soon()));
        assert_eq!(outcome, Err(Failure::Exited(5)));
        server.nothing_is_left(pid, Failure::Exited(5), &before, script);
        assert_eq!(server.successor().wake_by(Deadline::NEVER), Deadline::NEVER);
        server.serves();
        server.may_start_another();
    });
}

/// Case H1. The channel tells of the end of all who have it, and a child of the successor may.
#[test]
fn death_behind_an_open_channel_is_noticed_without_a_pidfd() {
    let _alone = alone();
    without_pidfds(|| {
        for (end, failure) in [
            ("exit 3", Failure::Exited(3)),
            ("kill -KILL $$", Failure::Killed(9)),
        ] {
            let mut server = Server::new();
            let before = Fds::of_self();
            // The child ends when nobody hears it any more.
            let script = format!("(printf up >&3; head -c1 <&3 >/dev/null) & {end}");
            let pid = server.predecessor.start_script(&script);
            assert_eq!(hear(&server.predecessor.report), "up");
            let successor = server.successor();
            assert!(successor.pidfd().is_none() && successor.channel().is_some());
            let outcome = at_once(|| successor.wait_ready(soon()));
            assert_eq!(outcome, Err(failure));
            server.nothing_is_left(pid, failure, &before, &script);
            server.serves();

            // In an event loop, in which nothing becomes ready either.
            let mut server = Server::new();
            let pid = server.predecessor.start_script(&script);
            assert_eq!(hear(&server.predecessor.report), "up");
            let outcome = at_once(|| {
                loop {
                    if let Some(outcome) = server.successor().try_wait(soon()) {
                        break outcome;
                    }
                    let successor = server.successor();
                    let queue = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
                    let data = epoll::EventData::new_u64(CHANNEL);
                    let channel = successor.channel().unwrap();
                    epoll::add(&queue, channel, data, epoll::EventFlags::IN).unwrap();
                    let timeout = successor.wake_by(soon()).remaining_ms().unwrap();
                    assert!(timeout <= 10);
                    assert_eq!(events(&queue, timeout as i64), []);
                }
            });
            assert_eq!(outcome, Err(failure));
            assert!(is_reaped(pid));
        }
    });
}
