//! `gracenet-init` takes care of a program, as tini and dumb-init do: its end is the init's, signals
//! reach it, it has a process group of its own and the terminal, and orphans are reaped. Where the
//! three agree, tini and dumb-init are asked as well. What is seen are statuses, what the program
//! says that it has got, and /proc.

mod util;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group,
    setrlimit, waitid,
};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use tempfile::TempDir;
use util::{init, line, program, until_gone};

const PATIENCE: Duration = Duration::from_secs(20);

/// The words that a program comes behind.
#[derive(Clone, Debug)]
struct Init(Vec<OsString>);

/// `gracenet-init`, with these options.
fn ours(options: &[&str]) -> Init {
    let mut words = vec![init().into_os_string()];
    words.extend(options.iter().map(OsString::from));
    words.push("--".into());
    Init(words)
}

fn other(words: &[&str]) -> Init {
    Init(words.iter().map(OsString::from).collect())
}

/// Those that agree. tini says so when it is neither PID 1 nor a subreaper.
fn all() -> [Init; 3] {
    [
        ours(&[]),
        other(&["tini", "-s", "--"]),
        other(&["dumb-init", "--"]),
    ]
}

impl Init {
    fn command(&self, words: &[&str]) -> Command {
        self.command_behind(&[], words)
    }

    /// With other words before it.
    fn command_behind(&self, before: &[&str], words: &[&str]) -> Command {
        let mut all: Vec<OsString> = before.iter().map(OsString::from).collect();
        all.extend(self.0.iter().cloned());
        all.extend(words.iter().map(OsString::from));
        let mut command = Command::new(&all[0]);
        command.args(&all[1..]).stdin(Stdio::null());
        command
    }

    /// The status with which it ends when a ward does this.
    fn status(&self, task: &str, number: i32) -> Option<i32> {
        let ward = program("ward");
        let words = [ward.to_str().unwrap(), task, &number.to_string()];
        let mut command = self.command(&words);
        command.stderr(Stdio::null()).status().unwrap().code()
    }

    /// With a ward that says what it hears.
    fn start(&self, task: &str, number: usize) -> Started {
        self.start_behind(&[], Stdio::null(), task, number)
    }

    fn start_behind(&self, before: &[&str], stdin: Stdio, task: &str, number: usize) -> Started {
        let ward = program("ward");
        let words = [ward.to_str().unwrap(), task, &number.to_string()];
        let mut command = self.command_behind(before, &words);
        command.stdin(stdin).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = child.stdout.take().unwrap();
        Started { child, said }
    }
}

/// An init with a ward.
struct Started {
    child: Child,
    said: ChildStdout,
}

/// What a ward says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Up {
    pid: Pid,
    /// Of one from outside of the pid namespace it is none.
    group: Option<Pid>,
}

impl Started {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Sends it a signal by its number, of which std and rustix need not know.
    fn signal_by_number(&self, number: i32) {
        let kill = format!("kill -{number} {}", self.pid());
        let kill = Command::new("sh").args(["-c", &kill]).status();
        assert!(kill.unwrap().success());
    }

    /// The next line of the ward.
    fn says(&mut self, awaited: &str) -> String {
        line(&mut self.said, awaited)
    }

    #[track_caller]
    fn must_say(&mut self, expected: &str) {
        assert_eq!(self.says(expected), expected, "of {:?}", self.child);
    }

    fn up(&mut self) -> Up {
        let line = self.says("the program's start");
        let (pid, group) = line.strip_prefix("up ").unwrap().split_once(' ').unwrap();
        let [pid, group] = [pid, group].map(|it| Pid::from_raw(it.parse().unwrap()));
        Up {
            pid: pid.unwrap(),
            group,
        }
    }

    /// Its status at its end.
    fn status(&mut self) -> Option<i32> {
        until_gone(self.pid());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // Nothing else would end a program without its init.
            for child in children(self.pid()) {
                let _ = kill_process_group(child, Signal::KILL);
                let _ = kill_process(child, Signal::KILL);
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Those that unshare makes, in which whoever comes first is PID 1.
fn pid_namespace() -> Vec<&'static str> {
    let mut words = vec!["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    if !rustix::process::geteuid().is_root() {
        words.extend(["--user", "--map-root-user"]);
    }
    words
}

/// The pids of the children of a process, dead ones among them.
fn children(pid: Pid) -> Vec<Pid> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let pids = list.split_whitespace().map(|it| it.parse().unwrap());
    pids.map(|it| Pid::from_raw(it).unwrap()).collect()
}

/// Case I7.
#[test]
fn each_exit_status_is_passed_on() {
    for init in all() {
        for status in 0..=255 {
            assert_eq!(init.status("status", status), Some(status), "{init:?}");
        }
    }
}

/// Case I7.
#[test]
fn end_by_a_signal_is_128_and_its_number() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).unwrap();
    let fatal = [
        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 24, 25, 26, 27, 29, 30, 31,
    ];
    for init in all() {
        for signal in fatal {
            assert_eq!(init.status("die", signal), Some(128 + signal), "{init:?}");
        }
    }
}

/// Signals that are the program's: all but those that no process can have or send, that of
/// children, and the faults; two of them end it.
fn forwarded() -> Vec<i32> {
    const LAST: [i32; 2] = [2, 15];
    const OTHERS: [i32; 10] = [9, 19, 17, 4, 5, 6, 7, 8, 11, 31];
    // The terminal's, of which each of the three thinks differently; and those of glibc, with
    // which the other two are linked.
    const DISPUTED: [i32; 5] = [20, 21, 22, 32, 33];
    let is_one = |signal: &i32| ![&LAST[..], &OTHERS, &DISPUTED].concat().contains(signal);
    (1..=64).filter(is_one).chain(LAST).collect()
}

#[test]
fn each_signal_is_forwarded() {
    let signals = forwarded();
    for init in all() {
        let mut started = init.start("hear", signals.len());
        started.up();
        for signal in &signals {
            started.signal_by_number(*signal);
            started.must_say(&format!("signal {signal}"));
        }
        assert_eq!(started.status(), Some(0), "{init:?}");
    }
}

/// Also what stops a program from its terminal, and those that glibc keeps for itself.
#[test]
fn ours_forwards_the_signals_that_others_do_not() {
    let signals = [20, 32, 33];
    let mut started = ours(&[]).start("hear", signals.len());
    started.up();
    for signal in signals {
        started.signal_by_number(signal);
        started.must_say(&format!("signal {signal}"));
    }
    assert_eq!(started.status(), Some(0));
}

#[test]
fn program_has_a_process_group_of_its_own() {
    for init in all() {
        let mut started = init.start("hear", 1);
        let up = started.up();
        assert_eq!(up.group, Some(up.pid), "{init:?}");
        started.signal(Signal::USR1);
        started.must_say("signal 10");
        assert_eq!(started.status(), Some(0), "{init:?}");
    }
}

/// A program and its child, in one process group.
fn start_family(init: &Init) -> (Started, Pid) {
    let mut started = init.start("family", 1);
    let both = [started.up(), started.up()];
    assert_eq!(both[0].group, both[1].group);
    let child = both.into_iter().find(|it| it.group != Some(it.pid));
    (started, child.expect("a child").pid)
}

#[test]
fn signal_goes_to_the_program_alone() {
    for init in [
        ours(&[]),
        other(&["tini", "-s", "--"]),
        other(&["dumb-init", "--single-child", "--"]),
    ] {
        let mut started = init.start("family", 1);
        let both = [started.up(), started.up()];
        let ward = children(started.pid());
        let [ward] = ward.as_slice() else {
            panic!("{ward:?} are its children");
        };
        let child = both.into_iter().find(|it| it.pid != *ward).unwrap();
        started.signal(Signal::USR1);
        started.must_say("signal 10");
        // The first that the child hears is this one.
        kill_process(child.pid, Signal::USR2).unwrap();
        started.must_say("child 12");
        assert_eq!(started.status(), Some(0), "{init:?}");
    }
}

#[test]
fn signal_goes_to_the_group_where_that_is_asked_for() {
    for init in [
        ours(&["--group"]),
        other(&["tini", "-s", "-g", "--"]),
        other(&["dumb-init", "--"]),
    ] {
        let (mut started, _) = start_family(&init);
        started.signal(Signal::USR1);
        let mut heard = [started.says("both"), started.says("both")];
        heard.sort();
        assert_eq!(heard, ["child 10", "signal 10"], "{init:?}");
        assert_eq!(started.status(), Some(0), "{init:?}");
    }
}

/// Waits until it has so many children.
fn until_children(pid: Pid, number: usize, awaited: &str) {
    let limit = Instant::now() + PATIENCE;
    while children(pid).len() != number {
        assert!(Instant::now() < limit, "waited 20 s for {awaited}");
        std::thread::yield_now();
    }
}

/// PID 1 of the namespace, which is the only child of the one that has made it.
fn first_of_namespace(started: &Started) -> Pid {
    match children(started.pid()).as_slice() {
        [first] => *first,
        others => panic!("{others:?} are its children"),
    }
}

/// Case I2. However it ends; which is why it stays, and replaces itself in its own place.
#[test]
fn end_of_pid_1_is_the_end_of_all() {
    for init in all() {
        let mut started = init.start_behind(&pid_namespace(), Stdio::null(), "family", 9);
        started.up();
        started.up();
        let first = first_of_namespace(&started);
        let [ward] = *children(first) else {
            panic!("{:?} are its children", children(first));
        };
        let [child] = *children(ward) else {
            panic!("{:?} are the ward's children", children(ward));
        };
        kill_process(first, Signal::KILL).unwrap();
        until_gone(ward);
        until_gone(child);
        started.status();
    }
}

/// The control of the test before: without its init, which is not the first, a program runs on.
#[test]
fn end_of_an_init_that_is_not_the_first_is_its_own_alone() {
    for init in all() {
        let mut started = init.start("hear", 1);
        let up = started.up();
        started.signal(Signal::KILL);
        assert_eq!(started.status(), None);
        kill_process(up.pid, Signal::USR1).unwrap();
        started.must_say("signal 10");
        until_gone(up.pid);
    }
}

/// Case I5.
#[test]
fn orphans_of_a_pid_namespace_are_reaped() {
    const ORPHANS: usize = 500;
    for init in all() {
        let mut started = init.start_behind(&pid_namespace(), Stdio::null(), "orphans", ORPHANS);
        started.must_say(&format!("orphans {ORPHANS}"));
        let first = first_of_namespace(&started);
        until_children(first, 1, "orphans to be reaped");
        started.up();
        kill_process(first, Signal::USR1).unwrap();
        started.must_say("signal 10");
        assert_eq!(started.status(), Some(0), "{init:?}");
    }
}

/// The control of the test before.
#[test]
fn orphans_stay_where_nobody_reaps_them() {
    const ORPHANS: usize = 500;
    let nobody = Init(Vec::new());
    let mut started = nobody.start_behind(&pid_namespace(), Stdio::null(), "orphans", ORPHANS);
    started.must_say(&format!("orphans {ORPHANS}"));
    let first = first_of_namespace(&started);
    until_children(first, ORPHANS, "orphans");
    started.up();
    kill_process(first, Signal::USR1).unwrap();
    assert_eq!(started.status(), Some(0));
}

/// Those of the program become its own, also where it is not the first. Case I5.
#[test]
fn orphans_are_reaped_by_one_that_is_not_the_first() {
    const ORPHANS: usize = 100;
    for init in [ours(&[]), other(&["tini", "-s", "--"])] {
        let mut started = init.start("orphans", ORPHANS);
        started.must_say(&format!("orphans {ORPHANS}"));
        until_children(started.pid(), 1, "orphans to be reaped");
        let up = started.up();
        assert_eq!(children(started.pid()), [up.pid]);
        started.signal(Signal::USR1);
        assert_eq!(started.status(), Some(0), "{init:?}");
    }
}

#[test]
fn program_has_the_signals_of_the_start() {
    let signals = |mut command: Command| -> Vec<String> {
        let output = command.stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines();
        let of_signals =
            lines.filter(|it| ["SigBlk", "SigIgn"].iter().any(|at| it.starts_with(at)));
        of_signals.map(str::to_owned).collect()
    };
    // One is blocked, and one ignored.
    let before = ["env", "--block-signal=USR1", "--ignore-signal=HUP"];
    let words = ["cat", "/proc/self/status"];
    let nobody = Init(Vec::new());
    let expected = signals(nobody.command_behind(&before, &words));
    assert_ne!(expected, signals(nobody.command(&words)));
    for init in [ours(&[]), other(&["tini", "-s", "--"])] {
        assert_eq!(
            signals(init.command_behind(&before, &words)),
            expected,
            "{init:?}"
        );
    }
}

/// Whatever this process has besides, of its own and of whoever runs the tests. Case E5.
#[test]
fn program_has_no_fd_more() {
    let mut command = ours(&[]).command(&["ls", "/proc/self/fd"]);
    let output = command.output().unwrap();
    // The last is that of the folder.
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n1\n2\n3\n");
}

/// A terminal, and its other side.
fn terminal() -> (File, File) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let ours = openpt(flags | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let theirs = ioctl_tiocgptpeer(&ours, flags).unwrap();
    (File::from(ours), File::from(theirs))
}

const SESSION: &[&str] = &["setsid", "--ctty", "--wait"];

#[test]
fn program_has_the_terminal_and_control_c_reaches_it() {
    for init in all() {
        let (mut ours, theirs) = terminal();
        let stdin = Stdio::from(OwnedFd::from(theirs));
        let mut started = init.start_behind(SESSION, stdin, "tty", 2);
        started.must_say("foreground");
        let up = started.up();
        assert_eq!(up.group, Some(up.pid), "{init:?}");
        ours.write_all(b"\x03").unwrap();
        started.must_say("signal 2");
        ours.write_all(b"\x1c").unwrap();
        started.must_say("signal 3");
        assert_eq!(started.status(), Some(0), "{init:?}");
    }
}

/// The control of the test before: a program that takes nothing from the terminal is not in its
/// foreground, once it has a group of its own.
#[test]
fn program_without_a_terminal_has_none() {
    for init in all() {
        let mut started = init.start_behind(&[], Stdio::null(), "tty", 1);
        started.must_say("no terminal");
        started.up();
        started.signal(Signal::USR1);
        assert_eq!(started.status(), Some(0), "{init:?}");
    }
}

/// Case I7.
#[test]
fn program_that_does_not_heed_term_is_killed_with_its_group() {
    let mut started = ours(&["--grace", "200"]).start("family", 9);
    started.up();
    started.up();
    let begun = Instant::now();
    started.signal(Signal::TERM);
    started.must_say("signal 15");
    assert_eq!(started.status(), Some(128 + 9));
    assert!(begun.elapsed() >= Duration::from_millis(200));
    // Nobody is left who could say anything.
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut started.said, &mut rest).unwrap();
    assert_eq!(rest, "");
}

/// What a shell says of them.
#[test]
fn program_that_cannot_be_started_is_126_or_127() {
    for init in [ours(&[]), other(&["tini", "-s", "--"])] {
        for (path, expected) in [("/no/such/program", 127), ("/etc/passwd", 126)] {
            let mut command = init.command(&[path]);
            let output = command.output().unwrap();
            assert_eq!(output.status.code(), Some(expected), "{init:?}");
            assert!(!output.stderr.is_empty(), "{init:?}");
        }
    }
}

#[test]
fn program_is_searched_in_path() {
    for init in all() {
        let ward = program("ward");
        let folders = [Path::new("/usr/bin"), ward.parent().unwrap()];
        let path = std::env::join_paths(folders).unwrap();
        let path = format!("PATH={}", path.to_str().unwrap());
        let mut command = init.command_behind(&["env", &path], &["ward", "status", "7"]);
        assert_eq!(command.status().unwrap().code(), Some(7), "{init:?}");
    }
}

#[test]
fn wrong_words_are_answered_by_the_usage() {
    for words in [
        &[][..],
        &["--what"],
        &["--grace"],
        &["--grace", "x", "--", "true"],
        &["--socket", "web", "--", "true"],
        &["--restart", "perhaps", "--", "true"],
        &["--"],
    ] {
        let output = Command::new(init()).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("gracenet-init"), "{words:?}: {text}");
    }
}

/// The log of an init that is ended when this is dropped.
struct Logged {
    child: Child,
    log: std::process::ChildStderr,
}

impl Logged {
    fn start(options: &[&str], words: &[&str]) -> Logged {
        Logged::spawn(&mut ours(options).command(words))
    }

    fn spawn(command: &mut Command) -> Logged {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = child.stderr.take().unwrap();
        Logged { child, log }
    }

    /// What comes behind these words, in the next line that has them.
    fn until(&mut self, words: &str) -> String {
        const MOST_LINES: usize = 1000;
        for _ in 0..MOST_LINES {
            let line = line(&mut self.log, words);
            if let Some((_, rest)) = line.split_once(words) {
                return rest.to_owned();
            }
        }
        panic!("no line with {words:?}");
    }

    fn status(&mut self) -> Option<i32> {
        until_gone(Pid::from_child(&self.child));
        self.child.wait().unwrap().code()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            for child in children(Pid::from_child(&self.child)) {
                let _ = kill_process(child, Signal::KILL);
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn ward() -> String {
    let path: &Path = &program("ward");
    path.to_str().unwrap().to_owned()
}

#[test]
fn program_is_started_again_as_often_as_was_asked_for() {
    const OFTEN: usize = 3;
    for (restart, status) in [("on-failure", "3"), ("always", "0")] {
        let mut logged = Logged::start(&["--restart", restart], &[&ward(), "status", status]);
        for _ in 0..OFTEN {
            logged.until("]: started ");
            let ended = logged.until(" exited with status ");
            assert_eq!(ended, status);
            assert!(logged.until("]: restarting in ").ends_with(" ms"));
        }
        kill_process(Pid::from_child(&logged.child), Signal::TERM).unwrap();
        logged.status();
    }
    for (restart, status) in [("on-failure", 0), ("no", 3)] {
        let status_word = status.to_string();
        let words = [&*ward(), "status", &status_word];
        let mut logged = Logged::start(&["--restart", restart], &words);
        assert_eq!(logged.status(), Some(status));
    }
}

/// A canary that waits until it may go on, of an init that waits for it, in front of a ward that hears
/// one signal.
struct Canary {
    folder: TempDir,
    logged: Logged,
    pid: Pid,
    program: Pid,
    canary: Pid,
    gate: File,
}

impl Canary {
    fn start() -> Canary {
        let folder = tempfile::tempdir().unwrap();
        let [place, real, gate, socket] =
            ["init", "real", "gate", "socket"].map(|name| folder.path().join(name));
        fs::copy(init(), &place).unwrap();
        fs::copy(init(), &real).unwrap();
        mknodat(CWD, &gate, FileType::Fifo, Mode::RWXU, 0).unwrap();
        let option = format!("local=unix:{}", socket.display());
        let mut command = Command::new(&place);
        command.args(["--socket", &option, "--ready", "1", "--"]);
        let mut logged = Logged::spawn(command.args([&*ward(), "hear", "1"]));
        let pid = Pid::from_child(&logged.child);
        let ready = logged.until("]: ready ");
        let program = Pid::from_raw(ready.parse().unwrap()).unwrap();

        let script = format!(
            "#!/bin/sh\nread x <{}\nexec {} \"$@\"\n",
            gate.display(),
            real.display()
        );
        deploy(script.as_bytes(), &place);
        kill_process(pid, Signal::USR2).unwrap();
        let gate = open_with_reader(&gate);
        let canary = children(pid).into_iter().find(|it| *it != program).unwrap();
        Canary {
            folder,
            logged,
            pid,
            program,
            canary,
            gate,
        }
    }

    /// The canary goes on.
    fn let_go(&mut self) {
        self.gate.write_all(b"\n").unwrap();
    }
}

/// A FIFO, once somebody waits at its other end.
fn open_with_reader(path: &Path) -> File {
    let limit = Instant::now() + PATIENCE;
    loop {
        match open(path, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()) {
            Ok(gate) => return File::from(gate),
            Err(error) => assert_eq!(error, Errno::NXIO),
        }
        assert!(Instant::now() < limit, "waited 20 s for a reader");
        std::thread::yield_now();
    }
}

/// Puts a program in the place of another.
fn deploy(program: &[u8], place: &Path) {
    let beside = place.with_extension("new");
    fs::write(&beside, program).unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&beside, place).unwrap();
}

/// What a supervisor knows of its program's end is not lost when a canary has ended at the same time.
#[test]
fn program_that_ends_beside_a_canary_has_its_status() {
    let mut test = Canary::start();
    // Both end while it cannot look.
    kill_process(test.pid, Signal::STOP).unwrap();
    let options = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(test.pid), options).unwrap();
    test.let_go();
    until_gone(test.canary);
    kill_process(test.program, Signal::USR1).unwrap();
    until_gone(test.program);
    kill_process(test.pid, Signal::CONT).unwrap();
    assert_eq!(test.logged.until(" exited with status "), "0");
    assert_eq!(test.logged.status(), Some(0));
}

/// What comes into its place after the canary was started has a canary of its own; so, too, where it was
/// asked for while the first one was at work.
#[test]
fn what_the_canary_was_not_does_not_run() {
    for asked_again in [false, true] {
        let mut test = Canary::start();
        let bad = fs::read(program("ward")).unwrap();
        deploy(&bad, &test.folder.path().join("init"));
        if asked_again {
            kill_process(test.pid, Signal::USR2).unwrap();
            until_taken(test.pid, Signal::USR2);
        }
        test.let_go();
        assert_eq!(
            test.logged.until("]: not replaced: "),
            "exited with status 2"
        );
        assert_eq!(children(test.pid), [test.program]);
        kill_process(test.program, Signal::USR1).unwrap();
        assert_eq!(test.logged.status(), Some(0));
    }
}

/// Until a signal does not wait for the process any more, which has nothing else to do.
fn until_taken(pid: Pid, signal: Signal) {
    let limit = Instant::now() + PATIENCE;
    loop {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name));
        let waits = u64::from_str_radix(field("ShdPnd:\t").unwrap(), 16).unwrap();
        let sleeps = field("State:\t").unwrap().starts_with('S');
        if waits >> (signal.as_raw() - 1) & 1 == 0 && sleeps {
            return;
        }
        assert!(Instant::now() < limit, "waited 20 s for {signal:?}");
        std::thread::yield_now();
    }
}
