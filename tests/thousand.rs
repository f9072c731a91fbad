//! An activator starts the daemon of examples/httpd with two sockets, and it is told a thousand times
//! to replace itself. For a third of that what is deployed is broken, each time in another way.
//! What is seen of a generation in /proc (its environment, its arguments, its fds) must be that of
//! the first but for the pid, and nothing may pile up: no zombie, no fd, no path. Clients connect
//! without a pause, and none of them notices anything.
//!
//! Which attempts fail, and how, is drawn anew each time. `GRACENET_SEED=…`, with the number that is
//! printed, draws the same again.

mod util;

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirEntryExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::getxattr;
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid,
};
use util::{Done, Fd, Fds, httpd, in_time, strings, until_gone};

const ATTEMPTS: usize = 1_000;
const FAULTS: usize = ATTEMPTS / 3;

/// How long a client waits, which never happens.
const PATIENCE: Duration = Duration::from_secs(20);

/// `--ready-timeout`: what hangs takes so long each time, and what is right must never.
const READY_MS: &str = "1000";

/// What each generation listens on, with the sockets of the first.
const TCP: i32 = 3;
const UNIX: i32 = 4;
/// The channel to its predecessor, where it has one.
const CHANNEL: i32 = 5;

/// What is wrong with a deployment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Fault {
    Empty,
    NotExecutable,
    CutInHalf,
    NoInterpreter,
    Missing,
    Busy,
    Directory,
    Exits,
    Crashes,
    Killed,
    ClosesItsChannel,
    Hangs,
}

/// Each with what the daemon may say of it.
const EVERY_FAULT: [(Fault, &[&str]); 12] = [
    (Fault::Empty, &["execve: os error 8"]),
    (Fault::NotExecutable, &["execve: os error 13"]),
    // The kernel finds out when it is too late for an errno.
    (
        Fault::CutInHalf,
        &["killed by signal 11", "killed by signal 7"],
    ),
    (Fault::NoInterpreter, &["execve: os error 2"]),
    (Fault::Missing, &["execve: os error 2"]),
    (Fault::Busy, &["execve: os error 26"]),
    (Fault::Directory, &["execve: os error 13"]),
    (Fault::Exits, &["exited with status 3"]),
    (Fault::Crashes, &["killed by signal 11"]),
    (Fault::Killed, &["killed by signal 9"]),
    (Fault::ClosesItsChannel, &["closed its channel"]),
    (Fault::Hangs, &["not ready in time"]),
];

/// These take as long as the daemon is patient, so that there are only a few of them.
const SLOW: [Fault; 2] = [Fault::ClosesItsChannel, Fault::Hangs];
const SLOW_TIMES: usize = 3;

/// What the symbolic link `server` leads to in turn. Everything is made before the daemon starts:
/// a file that was only just written may be busy for a moment, in a process that was cloned
/// meanwhile.
struct Builds {
    directory: PathBuf,
    server: PathBuf,
    /// Somebody is still writing it.
    _busy: File,
}

impl Builds {
    fn new(directory: &Path) -> Builds {
        let builds = directory.join("builds");
        fs::create_dir(&builds).unwrap();
        let whole = fs::read(httpd()).unwrap();
        let script = |line: &str| format!("#!/bin/sh\n{line}\n").into_bytes();
        let make = |fault: Fault, content: &[u8], mode: u32| {
            let path = builds.join(format!("{fault:?}"));
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            path
        };
        make(Fault::Empty, b"", 0o755);
        make(Fault::NotExecutable, &whole, 0o644);
        make(Fault::CutInHalf, &whole[..whole.len() / 2], 0o755);
        make(Fault::NoInterpreter, b"#!/nothing/here\n", 0o755);
        let busy = make(Fault::Busy, &whole, 0o755);
        fs::create_dir(builds.join(format!("{:?}", Fault::Directory))).unwrap();
        make(Fault::Exits, &script("exit 3"), 0o755);
        make(Fault::Crashes, &script("ulimit -c 0; kill -SEGV $$"), 0o755);
        make(Fault::Killed, &script("kill -KILL $$"), 0o755);
        let hangs = "exec sleep 60";
        let closes = format!("exec {CHANNEL}>&-; {hangs}");
        make(Fault::ClosesItsChannel, &script(&closes), 0o755);
        make(Fault::Hangs, &script(hangs), 0o755);
        let builds = Builds {
            directory: builds,
            server: directory.join("server"),
            _busy: OpenOptions::new().write(true).open(busy).unwrap(),
        };
        builds.repair();
        builds
    }

    fn deploy(&self, target: &Path) {
        let beside = self.server.with_extension("new");
        symlink(target, &beside).unwrap();
        fs::rename(beside, &self.server).unwrap();
    }

    fn damage(&self, fault: Fault) {
        self.deploy(&self.directory.join(format!("{fault:?}")));
    }

    fn repair(&self) {
        self.deploy(&httpd());
    }
}

/// Which attempts fail, and how: each fault as often as the others, but for the slow ones.
fn plan(seed: u32) -> Vec<Option<(Fault, &'static [&'static str])>> {
    let (slow, quick): (Vec<_>, Vec<_>) = EVERY_FAULT
        .into_iter()
        .partition(|(fault, _)| SLOW.contains(fault));
    let slow = slow.iter().cycle().take(SLOW_TIMES * SLOW.len());
    let faults = slow.chain(quick.iter().cycle()).take(FAULTS);
    let mut plan: Vec<_> = faults.copied().map(Some).collect();
    plan.resize(ATTEMPTS, None);
    fastrand::Rng::with_seed(seed.into()).shuffle(&mut plan);
    plan
}

/// What became of an attempt, as the old process says.
enum Outcome {
    Replaced(Pid),
    Failed(String),
}

/// The generation that serves, and the log of all of them.
struct Daemon {
    pid: Pid,
    log: ChildStderr,
    /// What has been read of it and not been looked at.
    unread: Vec<u8>,
}

/// A test that fails leaves nobody behind.
impl Drop for Daemon {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = kill_process(self.pid, Signal::KILL);
        }
    }
}

impl Daemon {
    /// Starts it as an activator does.
    #[allow(clippy::zombie_processes)] // It is reaped like those that come after it.
    fn activate(server: &Path, web: OwnedFd, admin: OwnedFd, words: &[&str]) -> Daemon {
        // Successors become ours when their predecessor ends.
        set_child_subreaper(Some(getpid())).unwrap();
        // The sockets come as 0 and 1: only the shell's own redirections put them where nothing
        // else has been.
        let script = format!(
            "exec {TCP}<&0 {UNIX}>&1 </dev/null >/dev/null
             export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=web:admin
             exec \"$@\""
        );
        let mut first = Command::new("/bin/sh")
            .args(["-c", &script, "sh"])
            .arg(server)
            .args(words)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("EMPTY", "")
            .stdin(Stdio::from(web))
            .stdout(Stdio::from(admin))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut daemon = Daemon {
            pid: Pid::from_child(&first),
            log: first.stderr.take().unwrap(),
            unread: Vec::new(),
        };
        while daemon.says().1 != "ready" {}
        daemon
    }

    /// The next line of the log.
    fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.unread.drain(..=end).collect();
                line.pop();
                return String::from_utf8(line).unwrap();
            }
            in_time(self.log.as_fd(), "a line of the log");
            let mut bytes = [0; 4096];
            let count = self.log.read(&mut bytes).unwrap();
            assert!(count > 0, "the log has ended");
            self.unread.extend_from_slice(&bytes[..count]);
        }
    }

    /// The next line of any process: whose it is, and what it says.
    fn says(&mut self) -> (Pid, String) {
        let line = self.line();
        let parts = line
            .strip_prefix("gracenet-httpd[")
            .and_then(|rest| rest.split_once("]: "));
        let (pid, what) = parts.unwrap_or_else(|| panic!("somebody says {line:?}"));
        (
            Pid::from_raw(pid.parse().unwrap()).unwrap(),
            what.to_owned(),
        )
    }

    /// SIGUSR2, and what comes of it. Who has been replaced has ended content when this returns.
    fn upgrade(&mut self) -> Outcome {
        let old = self.pid;
        kill_process(old, Signal::USR2).unwrap();
        let (mut started, mut says_ready, mut is_ready) = (None, None, false);
        while !is_ready || says_ready != started {
            let (who, what) = self.says();
            if who != old {
                // Or it is the last word of the one before.
                if what == "ready" {
                    says_ready = Some(who);
                }
            } else if let Some(why) = what.strip_prefix("successor failed: ") {
                // It is not only dead: nobody has to reap it any more.
                if let Some(pid) = started {
                    assert!(!is_there(pid), "{why}: {pid} is still there");
                }
                return Outcome::Failed(why.to_owned());
            } else if let Some(pid) = successor(&what, " started") {
                started = Some(pid);
            } else if let Some(pid) = successor(&what, " ready") {
                assert_eq!(started, Some(pid));
                is_ready = true;
            }
        }
        self.pid = started.unwrap();
        assert_eq!(status(old), Some(0), "of {old}, which was replaced");
        Outcome::Replaced(self.pid)
    }
}

fn successor(line: &str, end: &str) -> Option<Pid> {
    let pid = line.strip_prefix("successor ")?.strip_suffix(end)?;
    Pid::from_raw(pid.parse().ok()?)
}

/// The exit status of a child, or of an orphan that has become ours.
fn status(pid: Pid) -> Option<i32> {
    until_gone(pid);
    let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
    status.exit_status()
}

fn is_there(pid: Pid) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// The children of a process: those who live, and the zombies.
fn children(pid: Pid) -> Vec<Pid> {
    let of_threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    of_threads
        // A thread may end meanwhile; its children are another's then.
        .filter_map(|thread| fs::read_to_string(thread.unwrap().path().join("children")).ok())
        .flat_map(|line| {
            let pids = line.split_whitespace();
            pids.map(|pid| Pid::from_raw(pid.parse().unwrap()).unwrap())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// What a generation has of its predecessor, and what it hands on, with the pid left out.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Generation {
    environ: Vec<String>,
    cmdline: Vec<Vec<u8>>,
    /// Their numbers, what they refer to, and their flags.
    fds: Vec<Fd>,
}

impl Generation {
    fn of(pid: Pid) -> Generation {
        let read = |name: &str| strings(&fs::read(format!("/proc/{pid}/{name}")).unwrap());
        let without_pid = |string: Vec<u8>| {
            let string = String::from_utf8(string).unwrap();
            for before in ["LISTEN_PID=".to_owned(), format!("GRACENET_FD={CHANNEL},")] {
                if let Some(digits) = string.strip_prefix(&before) {
                    assert_eq!(digits, pid.to_string(), "{string}");
                    return before + "PID";
                }
            }
            string
        };
        Generation {
            environ: read("environ").into_iter().map(without_pid).collect(),
            cmdline: read("cmdline"),
            fds: fds(pid),
        }
    }

    /// What of an environment does not depend on who made it: its order does, and the crate's own
    /// variable is in none that an activator has made.
    fn variables(&self) -> Vec<&str> {
        let strings = self.environ.iter().map(String::as_str);
        let mut variables: Vec<&str> = strings
            .filter(|string| !string.starts_with("GRACENET_FD="))
            .collect();
        variables.sort_unstable();
        variables
    }

    fn numbers(&self) -> Vec<i32> {
        self.fds.iter().map(|fd| fd.number).collect()
    }

    /// What its fds refer to, in their order, and their flags; without the channel.
    fn files(&self) -> Vec<(&Path, u32)> {
        let files = self.fds.iter().map(|fd| (fd.target.as_path(), fd.flags));
        files
            .filter(|file| file.0 != Path::new("channel"))
            .collect()
    }
}

/// The fds of a process but for the connections of its clients. There is a new channel each time,
/// so that it stands for itself.
fn fds(pid: Pid) -> Vec<Fd> {
    let fds = Fds::of(pid);
    let mut found = Vec::new();
    for number in fds.numbers() {
        let Some(fd) = fds.get(number) else { continue };
        let mut fd = fd.clone();
        if is_channel(pid, &fd) {
            fd.target = "channel".into();
        }
        if !fd.is_socket() || [TCP, UNIX].contains(&number) {
            found.push(fd);
        }
    }
    found
}

/// Whether it is a unix socket that is no stream: clients and listeners are `UNIX-STREAM`, since
/// Linux 5.15. The list in /proc/net/unix would not do: one that others change while it is read
/// leaves some out.
fn is_channel(pid: Pid, fd: &Fd) -> bool {
    let path = format!("/proc/{pid}/fd/{}", fd.number);
    let mut name = [0; 16];
    fd.is_socket()
        && getxattr(path, "system.sockprotoname", &mut name)
            .is_ok_and(|length| name.starts_with(b"UNIX\0") && length == 5)
}

/// Every path in the directory, with its inode.
fn paths(directory: &Path) -> BTreeMap<PathBuf, u64> {
    let mut paths = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            }
            paths.insert(entry.path(), entry.ino());
        }
    }
    paths
}

/// One connection after the other until it is over.
fn ask_all_along<S: Read + Write>(done: &Done, answered: &AtomicU32, connect: impl Fn() -> S) {
    while !done.is_over() {
        ask_twice(connect(), answered);
    }
}

/// Two requests on a connection, or only one if the daemon says that it is the last.
fn ask_twice(client: impl Read + Write, answered: &AtomicU32) {
    let mut client = BufReader::new(client);
    for headers in ["", "Connection: close\r\n"] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        client.get_mut().write_all(request.as_bytes()).unwrap();
        let mut head: Vec<String> = Vec::new();
        while head.last().is_none_or(|line| line != "\r\n") {
            let mut line = String::new();
            let length = client.read_line(&mut line).unwrap();
            assert!(length > 0, "cut short behind {head:?}");
            head.push(line);
        }
        assert_eq!(head[0], "HTTP/1.1 200 OK\r\n");
        let mut body = String::new();
        client.read_line(&mut body).unwrap();
        assert!(body.starts_with("pid=") && body.ends_with("\n"), "{body}");
        answered.fetch_add(1, Ordering::Relaxed);
        if head.iter().any(|line| line == "Connection: close\r\n") {
            break;
        }
    }
}

/// Cases D3, F1, F4 and L1.
#[test]
fn a_thousand_restarts_a_third_of_which_fails_change_nothing_but_the_pid() {
    let seed = match env::var("GRACENET_SEED") {
        Ok(seed) => seed.parse().expect("a number as GRACENET_SEED"),
        Err(_) => fastrand::u32(..),
    };
    println!("GRACENET_SEED={seed}");
    let our_fds = Fds::of_self();
    let directory = tempfile::tempdir().unwrap();
    let builds = Builds::new(directory.path());
    let socket = directory.path().join("httpd.sock");
    let pid_file = directory.path().join("httpd.pid");
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = web.local_addr().unwrap();
    let admin = UnixListener::bind(&socket).unwrap();
    let mut daemon = Daemon::activate(
        &builds.server,
        web.into(),
        admin.into(),
        &[
            "--ready-timeout",
            READY_MS,
            "--pid-file",
            pid_file.to_str().unwrap(),
            "tcp",
            &address.to_string(),
            "unix",
            socket.to_str().unwrap(),
        ],
    );
    // It says that it is ready, then writes its pid file, and only then does it answer.
    let ask = || {
        let (client, answered) = (TcpStream::connect(address).unwrap(), AtomicU32::new(0));
        ask_twice(client, &answered);
        assert_eq!(answered.into_inner(), 2);
    };
    ask();
    let before = paths(directory.path());
    let mut first = Generation::of(daemon.pid);
    // What the test was given itself by whoever runs it goes to the first, and no further.
    let strays = |fd: &Fd| fd.number > 2 && our_fds.get(fd.number) == Some(fd);
    first.fds.retain(|fd| !strays(fd));

    let (done, over_tcp, over_unix) = (Done::default(), AtomicU32::new(0), AtomicU32::new(0));
    let mut handed_on: Option<Generation> = None;
    let mut replaced = 0;
    thread::scope(|scope| {
        let _end = done.at_the_end();
        scope.spawn(|| {
            ask_all_along(&done, &over_tcp, || {
                let client = TcpStream::connect(address).unwrap();
                client.set_read_timeout(Some(PATIENCE)).unwrap();
                client
            });
        });
        scope.spawn(|| {
            ask_all_along(&done, &over_unix, || {
                let client = UnixStream::connect(&socket).unwrap();
                client.set_read_timeout(Some(PATIENCE)).unwrap();
                client
            });
        });
        for (attempt, fault) in plan(seed).into_iter().enumerate() {
            let old = daemon.pid;
            let at = format!("attempt {attempt}, {fault:?}, seed {seed}");
            match fault {
                Some((fault, reasons)) => {
                    let before = fds(old);
                    builds.damage(fault);
                    let Outcome::Failed(why) = daemon.upgrade() else {
                        panic!("replaced all the same: {at}");
                    };
                    assert!(reasons.contains(&why.as_str()), "{why}: {at}");
                    builds.repair();
                    assert_eq!(fds(old), before, "{at}");
                    assert_eq!(children(old), [], "{at}");
                }
                None => {
                    let Outcome::Replaced(pid) = daemon.upgrade() else {
                        panic!("no successor: {at}");
                    };
                    replaced += 1;
                    ask();
                    let next = Generation::of(pid);
                    assert_eq!(&next, handed_on.get_or_insert_with(|| next.clone()), "{at}");
                }
            }
        }
    });

    assert_eq!(replaced, ATTEMPTS - FAULTS);
    let last = handed_on.unwrap();
    assert_eq!(last.variables(), first.variables());
    assert_eq!(last.cmdline, first.cmdline);
    // The first keeps a number for the channels to its successors, one further.
    assert_eq!(last.numbers(), first.numbers());
    assert_eq!(last.files(), first.files());

    assert_eq!(children(getpid()), [daemon.pid]);
    assert_eq!(children(daemon.pid), []);
    let pid = daemon.pid;
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), format!("{pid}\n"));
    let mut after = paths(directory.path());
    for replaced in [&pid_file, &builds.server] {
        after.insert(replaced.clone(), before[replaced]);
    }
    assert_eq!(after, before);

    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(status(pid), Some(0));
    assert_eq!(children(getpid()), []);
    drop((daemon, builds));
    assert_eq!(Fds::of_self(), our_fds);

    let (over_tcp, over_unix) = (over_tcp.into_inner(), over_unix.into_inner());
    println!("{replaced} restarts, {over_tcp} requests over TCP, {over_unix} over the unix socket");
    assert!(
        over_tcp > 1_000 && over_unix > 1_000,
        "{over_tcp}, {over_unix}"
    );
}
