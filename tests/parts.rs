//! Generations of a program leave each other more than sockets: state in a capsule, and the pid
//! file. What each of them found is asked at a socket that goes from one to the next; the folder
//! of the pid file and the fds are looked at from outside.

mod util;

use std::ffi::CString;
use std::fs::{self, File};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use gracenet::{Args, Capsule, Deadline, Environ, Net, Program};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use rustix::process::Pid;
use tempfile::TempDir;
use util::{Fds, in_time, program, until_gone};

/// The first predecessor, which is this test, and all that come after it.
struct Family {
    net: Net<8>,
    report: OwnedFd,
    folder: TempDir,
}

#[derive(Debug)]
struct Legatee {
    generation: u32,
    pid: Pid,
    state: String,
}

impl Family {
    fn new() -> Family {
        let (report, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let mut net = Net::new();
        net.insert("report", theirs).unwrap();
        net.listen("tcp", "127.0.0.1:0").unwrap();
        Family {
            net,
            report,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// The first legatee, which is left this `state`. It is ready when it is told to be.
    fn start(&mut self, state: Option<OwnedFd>) -> Legatee {
        if let Some(state) = state {
            self.net.insert("state", state).unwrap();
        }
        let (legatee, pid_file) = (path(&program("legatee")), path(&self.pid_file()));
        let args = [&*legatee, &*pid_file];
        let program = Program::new(Args::new(&args), Environ::new(&[]));
        self.net.start_process(&program).expect("a legatee");
        self.up()
    }

    /// As [`start`](Self::start), and it is ready.
    fn start_ready(&mut self) -> Legatee {
        let legatee = self.start(None);
        assert_eq!(self.ask("ready"), "ok");
        let successor = self.net.successor().unwrap();
        assert_eq!(successor.wait_ready(Deadline::after_ms(20_000)), Ok(()));
        // Its own socket is to be the only one of this kind that the heirs hear.
        self.net.retire();
        legatee
    }

    /// The next one, which is left this state.
    fn next(&self, version: u32, state: &str) -> Legatee {
        self.tell(&format!("next {version} {state}"));
        self.up()
    }

    /// It is ready and its predecessor has ended.
    fn ready(&self, old: &Legatee) {
        let mut said = [self.ask("ready"), self.hear()];
        said.sort();
        assert_eq!(said, ["gone", "ok"]);
        until_gone(old.pid);
    }

    fn up(&self) -> Legatee {
        let line = self.hear();
        let mut words = line.splitn(4, ' ');
        assert_eq!(words.next(), Some("up"), "{line}");
        Legatee {
            generation: words.next().unwrap().parse().unwrap(),
            pid: Pid::from_raw(words.next().unwrap().parse().unwrap()).unwrap(),
            state: words.next().unwrap().to_owned(),
        }
    }

    fn tell(&self, what: &str) {
        send(&self.report, what.as_bytes(), SendFlags::NOSIGNAL).unwrap();
    }

    fn hear(&self) -> String {
        in_time(self.report.as_fd(), "a message of a legatee");
        let mut buffer = [MaybeUninit::uninit(); 256];
        let received = recv(&self.report, buffer.as_mut_slice(), RecvFlags::DONTWAIT);
        let ((heard, _), _) = received.unwrap();
        assert!(!heard.is_empty(), "the legatee ended without a word");
        String::from_utf8(heard.to_vec()).unwrap()
    }

    fn ask(&self, what: &str) -> String {
        self.tell(what);
        self.hear()
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.path().join("server.pid")
    }

    /// What is in the pid file, which is all there is in its folder.
    fn pid_in_file(&self) -> String {
        let names: Vec<_> = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["server.pid"]);
        fs::read_to_string(self.pid_file()).unwrap()
    }

    fn folder_is_empty(&self) -> bool {
        fs::read_dir(self.folder.path()).unwrap().next().is_none()
    }
}

fn path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

fn line(pid: Pid) -> String {
    format!("{pid}\n")
}

#[test]
fn each_generation_reads_what_the_last_one_sealed_and_no_older_state() {
    let mut family = Family::new();
    let first = family.start_ready();
    assert_eq!((first.generation, first.state.as_str()), (1, "none"));
    let second = family.next(1, "hello, 12 served");
    assert_eq!(
        (second.generation, second.state.as_str()),
        (2, "hello, 12 served")
    );
    family.ready(&first);
    let fds = Fds::of(second.pid).numbers();
    // Not a second one of the same name.
    let third = family.next(1, "");
    assert_eq!((third.generation, third.state.as_str()), (3, ""));
    family.ready(&second);
    // The socket of this story is claimed; the capsule is not handed on.
    assert_eq!(Fds::of(third.pid).numbers(), fds);
    assert_eq!(family.ask("end"), "removed");
    until_gone(third.pid);
}

#[test]
fn state_of_an_unknown_version_is_told_and_the_successor_serves() {
    let mut family = Family::new();
    let first = family.start_ready();
    let second = family.next(9, "from the future");
    assert_eq!(second.state, "the capsule has the unknown version 9");
    family.ready(&first);
    let third = family.next(1, "known");
    assert_eq!(third.state, "known");
    family.ready(&second);
    assert_eq!(family.ask("end"), "removed");
}

#[test]
fn what_is_no_sealed_capsule_is_told_and_the_successor_serves() {
    let null = File::open("/dev/null").unwrap().into();
    let whole = Capsule::seal(1, &[b"state"]).unwrap();
    let mut bytes = [0; 37];
    assert_eq!(rustix::io::pread(&whole, &mut bytes, 0), Ok(37));
    let unsealed = memfd_create("state", MemfdFlags::CLOEXEC).unwrap();
    assert_eq!(rustix::io::pwrite(&unsealed, &bytes, 0), Ok(37));
    let (pipe, _writer) = rustix::pipe::pipe().unwrap();
    for (fd, expected) in [
        (null, "not a capsule"),
        (pipe, "not a capsule"),
        (unsealed, "the capsule is not sealed"),
        (whole, "state"),
    ] {
        let mut family = Family::new();
        let legatee = family.start(Some(fd));
        assert_eq!(legatee.state, expected);
        assert_eq!(family.ask("ready"), "ok");
        assert_eq!(family.ask("end"), "removed");
    }
}

/// The old one removes its own at its end; the new one writes its own as soon as it is ready.
/// However the two fall together, it is the new one's that is there.
#[test]
fn pid_file_is_always_that_of_the_last_one_that_was_ready() {
    let mut family = Family::new();
    let mut old = family.start_ready();
    assert_eq!(family.pid_in_file(), line(old.pid));
    for generation in 2..=30 {
        let new = family.next(1, "");
        assert_eq!(new.generation, generation);
        // Not ready: not yet.
        assert_eq!(family.pid_in_file(), line(old.pid));
        family.ready(&old);
        assert_eq!(family.pid_in_file(), line(new.pid));
        old = new;
    }
    assert_eq!(family.ask("end"), "removed");
    assert!(family.folder_is_empty());
}

#[test]
fn successor_that_fails_leaves_pid_file_and_fds_of_the_old_one_as_they_were() {
    let mut family = Family::new();
    let old = family.start_ready();
    let before = Fds::of(old.pid).numbers();
    for status in 1..=5 {
        let failing = family.next(1, "in vain");
        assert_eq!(failing.state, "in vain");
        let why = family.ask(&format!("die {status}"));
        assert!(why.ends_with(&format!(" {status}")), "{why}");
        assert_eq!(family.pid_in_file(), line(old.pid));
        // The channel and the pidfd of the last attempt may still be there, but not one more.
        let after = Fds::of(old.pid).numbers();
        assert!(after.len() <= before.len() + 1, "{before:?} {after:?}");
    }
    let new = family.next(1, "at last");
    assert_eq!((new.generation, new.state.as_str()), (2, "at last"));
    family.ready(&old);
    assert_eq!(family.ask("end"), "removed");
}

#[test]
fn pid_file_of_somebody_else_is_kept() {
    let mut family = Family::new();
    family.start_ready();
    fs::write(family.pid_file(), "1\n").unwrap();
    assert_eq!(family.ask("end"), "kept");
    assert_eq!(family.pid_in_file(), "1\n");
}
