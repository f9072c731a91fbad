//! A server is replaced in its own place by a program that comes to nothing, and is there again: the
//! same process with the same sockets, in whose queues clients have waited. What the new program can
//! do to be kept, and what cannot be gone back from, is shown as well.

mod util;

use std::fs::{self, File};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Signal, WaitId, WaitIdOptions, kill_process, waitid};
use util::{Entry, Fds, Puppet, Start, alone, in_time, program, strings, word};

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
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let status = waitid(WaitId::Pid(puppet.pid()), options).unwrap().unwrap();
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
