//! A server is replaced in its own place by a program that comes to nothing, and is there again: the
//! same process with the same sockets, in whose queues clients have waited. What the new program can
//! do to be kept, and what cannot be gone back from, is shown as well.

#![allow(unsafe_code)] // Crashes and forks of this process; handlers.

mod util;

use std::env;
use std::fs::{self, File};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use gracenet::{Changes, Deadline, Guard, Net, StartError};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use util::{
    Entry, Fds, Puppet, Start, alone, in_process_of_its_own, in_time, program, strings,
    this_program, until_gone, word,
};

/// A puppet that serves on a TCP socket and a unix one and has a file by name, and two programs to be
/// executed instead of its own.
struct Site {
    puppet: Puppet,
    web: Entry,
    path: String,
    old: PathBuf,
    new: PathBuf,
    /// Others count the fds of this process.
    _alone: MutexGuard<'static, ()>,
}

/// All that is to be the same when the old program is there again.
#[derive(PartialEq, Debug)]
struct Looks {
    sockets: Vec<PathBuf>,
    environ: Vec<Vec<u8>>,
    cmdline: Vec<Vec<u8>>,
    directory: PathBuf,
    blocked: u64,
    ignored: u64,
    caught: u64,
    threads: String,
    fds: Vec<i32>,
    maps: usize,
}

impl Site {
    fn new() -> Site {
        let alone = alone();
        let start = Start::new().variable("A=1").variable("A=2");
        let start = start.variable_and_pid("WATCHDOG_PID=");
        let mut puppet = start.at(40, File::open("/dev/null").unwrap()).run();
        let [old, new] = ["old", "new"].map(|name| {
            let path = puppet.directory().join(name);
            fs::copy(program("puppet"), &path).unwrap();
            path
        });
        let web = puppet.gets("listen tcp 127.0.0.1:0");
        static NAMES: AtomicU32 = AtomicU32::new(0);
        let number = NAMES.fetch_add(1, Ordering::Relaxed);
        let path = format!("@gracenet-rollback-{}-{number}", std::process::id());
        puppet.must(format!("listen unix {path}"));
        puppet.must("insert state 40");
        // The program of which a file is this test's to delete.
        puppet.begin(&format!("replace path={}", word(&old)));
        puppet.comes_again();
        let mut site = Site {
            puppet,
            web,
            path,
            old,
            new,
            _alone: alone,
        };
        site.takes_over(1);
        site
    }

    /// Inherits all there is, and serves those who have waited.
    fn takes_over(&mut self, generation: u32) {
        let inherited = self.puppet.must("inherit");
        assert_eq!(inherited, format!("3 generation={generation}"));
        self.claims();
        self.puppet.must("ready");
    }

    fn claims(&mut self) -> [Entry; 3] {
        let web = self.puppet.gets(format!("listen tcp {}", self.web.address));
        let local = self.puppet.gets(format!("listen unix {}", self.path));
        let state = self.puppet.gets("claim state");
        assert!(web.inherited && local.inherited && state.inherited);
        self.web = web.clone();
        [web, local, state]
    }

    /// Replaces it by the other program, which has so many milliseconds.
    fn tries(&mut self, milliseconds: u64) {
        let new = word(&self.new);
        let order = format!("replace rollback={milliseconds} path={new}");
        self.puppet.begin(&order);
        self.puppet.comes_again();
        assert_eq!(self.puppet.exe(), self.new);
    }

    /// As [`tries`](Self::tries), and has it make its guard.
    fn is_guarded(&mut self, milliseconds: u64) {
        let generation = self.generation();
        self.tries(milliseconds);
        let inherited = self.puppet.must("inherit");
        assert_eq!(inherited, format!("3 generation={}", generation + 1));
        assert_eq!(self.puppet.must("guard"), "armed");
    }

    fn generation(&self) -> u32 {
        let origin = self.puppet.must("origin");
        let generation = origin.split(' ').next().unwrap();
        generation
            .strip_prefix("generation=")
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Two clients that nobody has accepted.
    fn clients(&self) -> (TcpStream, UnixStream) {
        use std::os::linux::net::SocketAddrExt as _;
        let name = &self.path[1..];
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
        let tcp = TcpStream::connect(&self.web.address).unwrap();
        (tcp, UnixStream::connect_addr(&address).unwrap())
    }

    /// They are served now.
    fn serves(&self, (tcp, unix): (TcpStream, UnixStream)) {
        let table = self.puppet.table();
        self.puppet.greets(&table[0], "tcp");
        self.puppet.greets(&table[1], "unix");
        assert_eq!((answer(tcp), answer(unix)), ("tcp".into(), "unix".into()));
    }

    fn looks(&self) -> Looks {
        let proc = |name: &str| strings(&fs::read(self.file(name)).unwrap());
        let fds = self.puppet.fds();
        Looks {
            sockets: (3..6).map(|number| fds.target(number)).collect(),
            environ: proc("environ"),
            cmdline: proc("cmdline"),
            directory: fs::read_link(self.file("cwd")).unwrap(),
            blocked: self.puppet.signals("SigBlk"),
            ignored: self.puppet.signals("SigIgn"),
            caught: self.puppet.signals("SigCgt"),
            threads: self.puppet.status("Threads"),
            fds: fds.numbers(),
            maps: fs::read_to_string(self.file("maps"))
                .unwrap()
                .lines()
                .count(),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::new("/proc")
            .join(self.puppet.pid().to_string())
            .join(name)
    }

    /// The old program is there again, and `looks` as it did; then it serves.
    fn is_back(&mut self, generation: u32, looks: &Looks, clients: (TcpStream, UnixStream)) {
        self.puppet.comes_again();
        assert_eq!(self.puppet.exe(), self.old);
        let inherited = self.puppet.must("inherit");
        assert_eq!(inherited, format!("3 generation={generation}"));
        let origin = self.puppet.must("origin");
        assert_eq!(origin, format!("generation={generation} rolled-back"));
        // It was not told of a way back from itself.
        assert_eq!(self.puppet.must("guard"), "none");
        self.claims();
        self.puppet.must("ready");
        assert_eq!(&self.looks(), looks);
        self.serves(clients);
    }
}

fn answer(mut client: impl std::io::Read) -> String {
    let mut said = String::new();
    client.read_to_string(&mut said).unwrap();
    said
}

/// Case E8, I1. Again and again: each time it is one generation further, and nothing else changes.
#[test]
fn what_gives_up_is_gone_back_from() {
    let mut site = Site::new();
    let looks = site.looks();
    assert_eq!(looks.threads, "1");
    for (round, order) in ["roll-back", "drop-guard", "roll-back"].iter().enumerate() {
        let before = site.clients();
        site.is_guarded(60_000);
        site.puppet.begin(order);
        let generation = 3 + 2 * round as u32;
        site.is_back(generation, &looks, before);
    }
    // And then a good one takes its place for good.
    let waiting = site.clients();
    site.is_guarded(60_000);
    site.claims();
    site.puppet.must("ready");
    site.puppet.must("keep");
    site.serves(waiting);
    assert_eq!(site.puppet.exe(), site.new);
}

/// Clients come before it, in the middle and after it.
#[test]
fn what_hangs_is_gone_back_from_when_its_time_is_over() {
    let mut site = Site::new();
    let looks = site.looks();
    let begin = Instant::now();
    let mut all = vec![site.clients()];
    site.is_guarded(700);
    all.push(site.clients());
    // It waits for an order that does not come.
    site.puppet.comes_again();
    assert!(begin.elapsed() >= Duration::from_millis(700));
    assert_eq!(site.puppet.exe(), site.old);
    all.push(site.clients());
    site.takes_over(3);
    assert_eq!(site.puppet.must("origin"), "generation=3 rolled-back");
    assert_eq!(site.looks(), looks);
    for clients in all {
        site.serves(clients);
    }
}

/// Whether it is kept or its time is over first, it is one of the two, and there is nothing in between.
#[test]
fn deadline_and_keep_are_never_both() {
    let mut site = Site::new();
    let (mut kept, mut gone_back) = (0, 0);
    // Later and later, up to where it is too late, and around there again and again.
    let mut delay = 0_usize;
    for _ in 0..60 {
        let generation = site.generation();
        let clients = site.clients();
        site.puppet
            .begin(&format!("replace rollback=20 path={}", word(&site.new)));
        site.puppet.comes_again();
        let mut orders = vec!["origin"; delay];
        orders.splice(0..0, ["inherit", "guard"]);
        orders.push("keep");
        if orders
            .iter()
            .all(|order| site.puppet.ask_once(order).is_some())
        {
            delay += 1 + delay / 4;
            kept += 1;
            assert_eq!(site.puppet.exe(), site.new);
            assert_eq!(site.puppet.status("Threads"), "1");
            assert_eq!(site.generation(), generation + 1);
            // The next one goes back to this.
            std::mem::swap(&mut site.old, &mut site.new);
        } else {
            delay -= delay / 3;
            gone_back += 1;
            assert_eq!(site.puppet.exe(), site.old);
            site.puppet.must("inherit");
            let origin = format!("generation={} rolled-back", generation + 2);
            assert_eq!(site.puppet.must("origin"), origin);
        }
        site.claims();
        site.puppet.must("ready");
        site.serves(clients);
    }
    assert!(
        kept > 0 && gone_back > 0,
        "kept {kept} times, gone back from {gone_back} times"
    );
}

/// Even if it had no time at all.
#[test]
fn what_is_late_when_it_begins_is_gone_back_from() {
    let mut site = Site::new();
    let looks = site.looks();
    let clients = site.clients();
    site.tries(0);
    site.puppet.must("inherit");
    site.puppet.begin("guard");
    site.is_back(3, &looks, clients);
}

/// By each of the signals of a crash, and with no stack left to handle it on.
#[test]
fn what_crashes_is_gone_back_from() {
    let mut site = Site::new();
    let looks = site.looks();
    let mut generation = 1;
    for how in ["segv", "bus", "ill", "fpe", "abrt", "sys", "trap", "stack"] {
        let clients = site.clients();
        site.is_guarded(60_000);
        site.claims();
        site.puppet.begin(&format!("crash {how}"));
        generation += 2;
        site.is_back(generation, &looks, clients);
    }
}

/// Whatever it has done to its fds: the sockets are the same ones, and were open all the while.
#[test]
fn sockets_that_it_has_closed_are_there_again() {
    let mut site = Site::new();
    let looks = site.looks();
    let first = site.clients();
    site.is_guarded(60_000);
    // One is claimed and closed, one by its number, and the rest is claimed by nobody.
    let web = site.puppet.gets(format!("listen tcp {}", site.web.address));
    site.puppet.must(format!("close {}", web.handle()));
    site.puppet.must("close-fd 4");
    site.puppet.must("ready");
    assert_eq!(site.puppet.fds().target(3), Path::new("closed"));
    site.puppet.must("listen udp 127.0.0.1:0");
    assert_ne!(site.puppet.fds().target(3), looks.sockets[0]);
    let second = site.clients();
    site.puppet.begin("roll-back");
    site.is_back(3, &looks, first);
    site.serves(second);
}

/// Case G6, I4. What came while the new program did not listen waits for the old one.
#[test]
fn signals_that_wait_are_not_lost() {
    let mut site = Site::new();
    site.puppet.must("signals");
    let looks = site.looks();
    for (round, order) in ["crash segv", "roll-back"].iter().enumerate() {
        let clients = site.clients();
        site.is_guarded(60_000);
        assert_eq!(site.puppet.signals("SigBlk"), looks.blocked);
        kill_process(site.puppet.pid(), Signal::TERM).unwrap();
        kill_process(site.puppet.pid(), Signal::USR1).unwrap();
        site.puppet.begin(order);
        site.puppet.comes_again();
        site.takes_over(3 + 2 * round as u32);
        assert_eq!(site.puppet.signals("SigBlk"), looks.blocked);
        site.puppet.must("signals");
        let mut read = [(); 2].map(|()| site.puppet.must("read-signal"));
        read.sort();
        assert_eq!(read, [libc::SIGUSR1.to_string(), libc::SIGTERM.to_string()]);
        assert_eq!(site.looks(), looks);
        site.serves(clients);
    }
}

/// It is executed from the file that it was, whatever its path names by then.
#[test]
fn old_program_is_found_when_its_file_is_gone_or_another() {
    for put_another in [false, true] {
        let mut site = Site::new();
        let looks = site.looks();
        let deleted = PathBuf::from(format!("{} (deleted)", site.old.display()));
        site.is_guarded(60_000);
        fs::remove_file(&site.old).unwrap();
        if put_another {
            fs::copy(program("exit"), &site.old).unwrap();
        }
        site.old = deleted;
        let clients = site.clients();
        site.puppet.begin("roll-back");
        site.is_back(3, &looks, clients);
        // And it was gone already when it was replaced.
        let clients = site.clients();
        site.is_guarded(60_000);
        site.puppet.begin("crash ill");
        site.is_back(5, &looks, clients);
    }
}

/// A guard that is kept leaves nothing behind: it is as if there had never been one.
#[test]
fn what_is_kept_is_as_if_it_had_no_guard() {
    let mut unguarded = Site::new();
    unguarded.tries(60_000);
    unguarded.takes_over(2);
    let expected = unguarded.looks();
    drop(unguarded);

    let mut site = Site::new();
    site.is_guarded(60_000);
    let armed = site.looks();
    // The control: there is something to be left.
    assert_eq!(
        (armed.threads.as_str(), expected.threads.as_str()),
        ("2", "1")
    );
    let crashes = [4, 5, 6, 7, 8, 11, 31]
        .iter()
        .fold(0, |set, signal| set | 1_u64 << (signal - 1));
    assert_eq!((armed.caught, expected.caught), (crashes, 0));
    assert!(armed.maps > expected.maps);
    site.claims();
    site.puppet.must("ready");
    site.puppet.must("keep");
    let kept = site.looks();
    assert_eq!(kept.threads, "1");
    assert_eq!(kept.maps, expected.maps);
    assert_eq!(kept.fds, expected.fds);
    assert_eq!(
        (kept.caught, kept.blocked),
        (expected.caught, expected.blocked)
    );
    // Nor is it gone back from any more: it crashes as any other program.
    let clients = site.clients();
    site.serves(clients);
    site.puppet.begin("crash segv");
    assert_eq!(ended(&site.puppet), Err(libc::SIGSEGV));
}

/// A second guard is none, and the first one goes on to be one.
#[test]
fn second_guard_is_none() {
    let mut site = Site::new();
    let looks = site.looks();
    let clients = site.clients();
    site.is_guarded(60_000);
    // It takes the place of the first one, which gives up by that.
    site.puppet.begin("guard");
    site.is_back(3, &looks, clients);
}

/// How it has ended.
fn ended(puppet: &Puppet) -> Result<i32, i32> {
    in_time(puppet.pidfd(), "the end of a puppet");
    end_of(puppet.pid())
}

/// How a child has ended.
fn end_of(pid: Pid) -> Result<i32, i32> {
    until_gone(pid);
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let status = waitid(WaitId::Pid(pid), options).unwrap().unwrap();
    match status.exit_status() {
        Some(status) => Ok(status),
        None => Err(status.terminating_signal().unwrap()),
    }
}

/// What no guard helps against: an end before there is one, an exit, and SIGKILL.
#[test]
fn what_cannot_be_gone_back_from() {
    // Before it has a guard.
    for (order, end) in [("exit 3", Ok(3)), ("crash segv", Err(libc::SIGSEGV))] {
        let mut site = Site::new();
        site.tries(60_000);
        site.puppet.must("inherit");
        site.puppet.begin(order);
        assert_eq!(ended(&site.puppet), end);
    }
    // It exits by itself.
    let mut site = Site::new();
    site.is_guarded(60_000);
    site.puppet.begin("exit 4");
    assert_eq!(ended(&site.puppet), Ok(4));
    drop(site);
    let mut site = Site::new();
    site.is_guarded(60_000);
    kill_process(site.puppet.pid(), Signal::KILL).unwrap();
    assert_eq!(ended(&site.puppet), Err(libc::SIGKILL));
    drop(site);
    // It says that it is ready, and has made no guard.
    let mut site = Site::new();
    site.tries(200);
    site.takes_over(2);
    assert_eq!(site.puppet.must("guard"), "none");
    assert_eq!(site.puppet.exe(), site.new);
    drop(site);
    // It was replaced without a way back.
    let mut site = Site::new();
    site.puppet
        .begin(&format!("replace path={}", word(&site.new)));
    site.puppet.comes_again();
    site.takes_over(2);
    assert_eq!(site.puppet.must("guard"), "none");
}

/// Case F1. An old program that cannot be executed any more: whoever goes back goes on.
#[test]
fn what_cannot_be_executed_is_not_gone_back_to() {
    let mut site = Site::new();
    site.is_guarded(60_000);
    let before = site.puppet.status("Threads");
    assert_eq!(before, "2");
    let expected = {
        let permissions = |mode| {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&site.old, fs::Permissions::from_mode(mode)).unwrap();
        };
        permissions(0o644);
        site.puppet.fails("roll-back")
    };
    assert_eq!(expected, "execve: os error 13");
    site.claims();
    site.puppet.must("ready");
    assert_eq!(site.puppet.status("Threads"), "1");
    assert_eq!(site.puppet.signals("SigCgt"), 0);
    let clients = site.clients();
    site.serves(clients);
    assert_eq!(site.puppet.exe(), site.new);
    let mut fds: Fds = site.puppet.fds();
    fds.forget("line", |fd| fd.number == 100);
    assert!(fds.numbers().len() <= 9, "{fds:?}");
}

/// Replaces this process by the same test once more, which makes its guard and does `act`; then the
/// test is there a third time, rolled back, and has passed, unless the guard was kept.
fn guarded(name: &str, act: impl FnOnce(Guard)) {
    in_process_of_its_own(name, |_| {
        let program = this_program();
        // SAFETY: what was passed is nobody's yet.
        let mut net: Net<4> = unsafe { Net::inherit(program.environ()) }.unwrap();
        if net.was_rolled_back() {
            assert_eq!((net.generation(), net.len()), (2, 1));
            return;
        }
        if net.generation() == 0 {
            net.listen("tcp", "127.0.0.1:0").unwrap();
            let image = program.image().unwrap();
            let changes = Changes::new().rollback(image.as_fd(), Deadline::after_ms(60_000));
            panic!("not replaced: {}", net.replace(&program, &changes));
        }
        let guard = net.guard(&program).unwrap();
        assert!(guard.is_armed());
        act(guard);
    });
}

/// A program with std has handlers of its own for a stack that has overflowed. They are not blocked
/// in what it is replaced by, nor in the way of a guard there.
#[test]
fn std_program_that_crashes_is_gone_back_from() {
    guarded("std_program_that_crashes_is_gone_back_from", |guard| {
        write_to_nothing();
        drop(guard);
    });
}

fn write_to_nothing() {
    // SAFETY: none; nothing can be written there.
    unsafe { std::hint::black_box(std::ptr::null_mut::<u8>()).write_volatile(0) };
}

#[test]
fn std_program_whose_stack_overflows_is_gone_back_from() {
    let name = "std_program_whose_stack_overflows_is_gone_back_from";
    guarded(name, |guard| {
        #[allow(unconditional_recursion)]
        fn endless(frame: [u8; 1024]) -> u8 {
            let next = std::hint::black_box(frame);
            endless(next).wrapping_add(std::hint::black_box(next)[7])
        }
        std::hint::black_box(endless([1; 1024]));
        drop(guard);
    });
}

#[test]
fn std_program_that_panics_is_gone_back_from() {
    guarded("std_program_that_panics_is_gone_back_from", |_guard| {
        panic!("it gives up");
    });
}

/// Every thread's crash counts.
#[test]
fn std_program_of_which_another_thread_aborts_is_gone_back_from() {
    let name = "std_program_of_which_another_thread_aborts_is_gone_back_from";
    guarded(name, |guard| {
        let _ = std::thread::spawn(|| std::process::abort()).join();
        drop(guard);
    });
}

/// What a signal does, and the stack of this thread for handlers.
fn handlers() -> (Vec<usize>, (usize, i32)) {
    let handler = |signal| {
        let mut action = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: there is room for what is asked.
        let asked = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
        assert_eq!(asked, 0);
        // SAFETY: it was written.
        unsafe { action.assume_init() }.sa_sigaction
    };
    let mut stack = MaybeUninit::<libc::stack_t>::uninit();
    // SAFETY: there is room for what is asked.
    let asked = unsafe { libc::sigaltstack(std::ptr::null(), stack.as_mut_ptr()) };
    assert_eq!(asked, 0);
    // SAFETY: it was written.
    let stack = unsafe { stack.assume_init() };
    (
        CRASHES.map(handler).to_vec(),
        (stack.ss_sp as usize, stack.ss_flags),
    )
}

const CRASHES: [i32; 7] = [
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGSEGV,
    libc::SIGSYS,
];

/// The handlers of std are there again, in a thread with a stack for them, and in one without.
#[test]
fn handlers_are_as_they_were_when_a_guard_is_kept() {
    in_process_of_its_own("handlers_are_as_they_were_when_a_guard_is_kept", |_| {
        let program = this_program();
        // SAFETY: what was passed is nobody's yet.
        let mut net: Net<4> = unsafe { Net::inherit(program.environ()) }.unwrap();
        let generation = net.generation();
        if generation < 2 {
            let image = program.image().unwrap();
            let changes = Changes::new().rollback(image.as_fd(), Deadline::after_ms(60_000));
            if generation == 0 {
                panic!("not replaced: {}", net.replace(&program, &changes));
            }
            let before = handlers();
            assert_ne!(before.0[5], libc::SIG_DFL);
            assert_eq!(before.1.1, 0);
            let guard = net.guard(&program).unwrap();
            let armed = handlers();
            assert!(armed.0.iter().zip(&before.0).all(|(now, then)| now != then));
            assert_eq!(armed.1, before.1);
            guard.keep();
            assert_eq!(handlers(), before);
            panic!("not replaced: {}", net.replace(&program, &changes));
        }
        // SAFETY: the stack is std's, and is not needed as long as nothing overflows.
        let taken = unsafe {
            let none = libc::stack_t {
                ss_sp: std::ptr::null_mut(),
                ss_flags: libc::SS_DISABLE,
                ss_size: 0,
            };
            libc::sigaltstack(&none, std::ptr::null_mut())
        };
        assert_eq!(taken, 0);
        let before = handlers();
        let guard = net.guard(&program).unwrap();
        assert_eq!(handlers().1.1, 0);
        guard.keep();
        assert_eq!(handlers(), before);
    });
}

/// Handlers that the program has made since, and its stack for them, are its own and stay.
#[test]
fn handlers_that_were_made_since_stay_when_a_guard_is_kept() {
    let name = "handlers_that_were_made_since_stay_when_a_guard_is_kept";
    extern "C" fn reporter(_: i32) {}
    in_process_of_its_own(name, |_| {
        let program = this_program();
        // SAFETY: what was passed is nobody's yet.
        let mut net: Net<4> = unsafe { Net::inherit(program.environ()) }.unwrap();
        if net.generation() == 0 {
            let image = program.image().unwrap();
            let changes = Changes::new().rollback(image.as_fd(), Deadline::after_ms(60_000));
            panic!("not replaced: {}", net.replace(&program, &changes));
        }
        let set_stack = |memory: *mut u8, flags, size| {
            let stack = libc::stack_t {
                ss_sp: memory.cast(),
                ss_flags: flags,
                ss_size: size,
            };
            // SAFETY: memory that stays, or none.
            let set = unsafe { libc::sigaltstack(&stack, std::ptr::null_mut()) };
            assert_eq!(set, 0);
        };
        // So that the guard has one to bring.
        set_stack(std::ptr::null_mut(), libc::SS_DISABLE, 0);
        let before = handlers();
        let guard = net.guard(&program).unwrap();
        let memory = vec![0_u8; 65_536].leak();
        set_stack(memory.as_mut_ptr(), 0, memory.len());
        let reporter = reporter as *const () as libc::sighandler_t;
        // SAFETY: it does nothing.
        unsafe { libc::signal(libc::SIGSEGV, reporter) };
        guard.keep();
        let mut expected = before.0;
        expected[5] = reporter;
        assert_eq!(handlers(), (expected, (memory.as_ptr() as usize, 0)));
    });
}

/// A process that was forked off is another one: it ends as it would without a guard, which is none
/// of its business, and the guard is not its to decide.
#[test]
fn process_that_was_forked_off_does_not_go_back() {
    guarded("process_that_was_forked_off_does_not_go_back", |guard| {
        let guard = ManuallyDrop::new(guard);
        // SAFETY: never used twice in one process.
        let take = || unsafe { std::ptr::read(&*guard) };
        for (act, end) in [
            (
                &(|| -> () { std::process::abort() }) as &dyn Fn(),
                Err(libc::SIGABRT),
            ),
            (&write_to_nothing, Err(libc::SIGSEGV)),
            (&|| take().keep(), Ok(7)),
            (&|| drop(take()), Ok(7)),
            (
                &|| assert_eq!(take().roll_back(), StartError::NoProgram),
                Ok(7),
            ),
        ] {
            // SAFETY: the child does what is said, without a lock that another thread could have.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                // One that hangs ends with this test.
                // SAFETY: numbers.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                act();
                // SAFETY: it ends.
                unsafe { libc::_exit(7) };
            }
            let pid = Pid::from_raw(pid).unwrap();
            assert_eq!(end_of(pid), end);
        }
        // And this one goes back as before.
        drop(ManuallyDrop::into_inner(guard));
    });
}

/// A signal for which the new program has a handler, and which comes in the very moment: the handler
/// does not run where there is neither its stack nor its thread, and the signal waits.
#[test]
fn handlers_of_the_program_that_is_given_up_do_not_run() {
    let name = "handlers_of_the_program_that_is_given_up_do_not_run";
    extern "C" fn handler(_: i32) {
        // SAFETY: it ends.
        unsafe { libc::_exit(99) };
    }
    let signal = Signal::USR2.as_raw();
    let set = |how: i32| {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: there is room for a set.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: it was written.
        unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
        // SAFETY: as above.
        unsafe { libc::pthread_sigmask(how, set.as_ptr(), std::ptr::null_mut()) };
    };
    let handle = |handler: libc::sighandler_t| {
        // SAFETY: nobody here relies on what it did.
        unsafe { libc::signal(signal, handler) };
    };
    in_process_of_its_own(name, |_| {
        let program = this_program();
        // SAFETY: what was passed is nobody's yet.
        let mut net: Net<4> = unsafe { Net::inherit(program.environ()) }.unwrap();
        match net.generation() {
            0 => {
                let image = program.image().unwrap();
                let changes = Changes::new().rollback(image.as_fd(), Deadline::after_ms(60_000));
                // No thread is there for it in the next one.
                set(libc::SIG_BLOCK);
                panic!("not replaced: {}", net.replace(&program, &changes));
            }
            1 => {
                set(libc::SIG_UNBLOCK);
                let guard = net.guard(&program).unwrap();
                set(libc::SIG_BLOCK);
                handle(handler as *const () as libc::sighandler_t);
                kill_process(rustix::process::getpid(), Signal::USR2).unwrap();
                panic!("not rolled back: {}", guard.roll_back());
            }
            _ => {
                let status = fs::read_to_string("/proc/self/status").unwrap();
                let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
                let pending = u64::from_str_radix(pending.unwrap().trim(), 16).unwrap();
                assert_eq!(pending, 1 << (signal - 1));
            }
        }
    });
}

/// A crash that somebody else has ordered, and that has not happened yet, is none of the old
/// program: a watchdog that has lost its patience with the new one, say.
#[test]
fn crash_that_waits_is_not_the_old_programs() {
    let mut site = Site::new();
    let looks = site.looks();
    for (generation, signal) in [(3, Signal::ABORT), (5, Signal::SEGV)] {
        let clients = site.clients();
        site.is_guarded(60_000);
        site.puppet.must(format!("block {}", signal.as_raw()));
        kill_process(site.puppet.pid(), signal).unwrap();
        site.puppet.begin("roll-back");
        site.is_back(generation, &looks, clients);
    }
}

/// Somebody sends one crash after the other, while the old program is executed. One that comes when its
/// handlers are gone kills it, as it would at any other time; but none makes it wait for itself.
#[test]
fn crashes_that_are_sent_do_not_make_it_hang() {
    const ALONE: &str = "GRACENET_TEST_DIRECTORY";
    let name = "crashes_that_are_sent_do_not_make_it_hang";
    if env::var_os(ALONE).is_none() {
        let _alone = alone();
        let mut gone_back = 0;
        for _ in 0..20 {
            let mut test = Command::new(env::current_exe().unwrap());
            let output = test
                .args(["--exact", name])
                .env(ALONE, "/")
                .output()
                .unwrap();
            gone_back += u32::from(output.status.success());
            let killed = output.status.signal() == Some(libc::SIGABRT);
            assert!(output.status.success() || killed, "{output:?}");
        }
        assert!(gone_back > 0);
        return;
    }
    guarded(name, |guard| {
        let tid = |entry: std::io::Result<fs::DirEntry>| -> i32 {
            entry
                .unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .parse()
                .unwrap()
        };
        // The last one that was made.
        let waiting = fs::read_dir("/proc/self/task")
            .unwrap()
            .map(tid)
            .max()
            .unwrap();
        for _ in 0..2 {
            std::thread::spawn(move || {
                loop {
                    let pid = std::process::id();
                    // SAFETY: numbers; what it does is what this is about.
                    unsafe { libc::syscall(libc::SYS_tgkill, pid, waiting, libc::SIGABRT) };
                }
            });
        }
        panic!("not rolled back: {}", guard.roll_back());
    });
}
