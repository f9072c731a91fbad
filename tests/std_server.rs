//! The threaded server of examples/threads.rs replaces itself twenty times while clients connect
//! without a pause. Each of them gets a whole answer every time, from the old one or from the new
//! one; at the end one process is left, and then none.

mod util;

use std::collections::HashSet;
use std::ffi::CString;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use gracenet::{Args, Deadline, Environ, Errno, ListenOptions, Net, Program};
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, kill_process_group, set_child_subreaper,
    waitpid,
};
use util::{Done, Fds, until_gone};

const RESTARTS: u32 = 20;
const CLIENTS: usize = 4;

/// What is heard between two restarts, at least.
const ANSWERS: usize = 50;

/// Whoever serves now. Those that come after it become children of this process.
struct Server {
    /// The group of all of them.
    group: Pid,
    pid: Pid,
    generation: u32,
    address: SocketAddr,
    /// They all write to it, and none could without a reader.
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    #[allow(clippy::zombie_processes)] // It is reaped like those that come after it.
    fn start() -> Server {
        set_child_subreaper(Some(getpid())).unwrap();
        let mut first = Command::new(threads())
            .arg("127.0.0.1:0")
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(first.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let pid = Pid::from_child(&first);
        Server {
            group: pid,
            pid,
            generation: 0,
            address: line.trim().rsplit(' ').next().unwrap().parse().unwrap(),
            _stdout: stdout,
        }
    }

    /// The old one has ended with status 0, and another one answers.
    fn restart(&mut self) {
        let old = self.pid;
        self.signal_and_reap(Signal::USR2);
        let (pid, generation) = ask(self.address);
        assert_ne!(pid, old);
        assert_eq!(generation, self.generation + 1);
        (self.pid, self.generation) = (pid, generation);
    }

    fn signal_and_reap(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
        until_gone(self.pid);
        let (_, status) = waitpid(Some(self.pid), WaitOptions::NOHANG)
            .unwrap()
            .expect("it has ended");
        assert_eq!(status.exit_status(), Some(0));
    }

    fn cmdline(&self) -> Vec<u8> {
        fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = kill_process_group(self.group, Signal::KILL);
        }
    }
}

/// The example, with the feature that it needs, beside the other things of this build.
fn threads() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "gracenet"])
        .args(["--features", "std", "--example", "threads"])
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(status.success(), "the example cannot be built");
    target.join("debug/examples/threads")
}

/// One connection: who has answered.
fn ask(address: SocketAddr) -> (Pid, u32) {
    let mut connection = TcpStream::connect(address).expect("not refused");
    connection
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("not reset");
    let words = answer.strip_suffix('\n').expect("not cut short");
    let (pid, generation) = words.split_once(' ').expect("not cut short");
    let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
    (pid, generation.parse().unwrap())
}

fn ask_until(done: &Done, address: SocketAddr, answers: &Sender<(Pid, u32)>) {
    while !done.is_over() {
        let _ = answers.send(ask(address));
    }
}

/// The tests here are over when this process has no child left.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What std leaves out of its view of the environment is there all the same. Case D3, D5.
#[test]
fn std_server_passes_on_arguments_and_variables_that_std_does_not_understand() {
    let _alone = alone();
    set_child_subreaper(Some(getpid())).unwrap();
    let mut net: Net<2> = Net::new();
    let web = ListenOptions::new().name("web");
    let web = net.listen_with("tcp", "127.0.0.1:0", &web).unwrap();
    let address = net.tcp_listener(web).unwrap().local_addr().unwrap();
    let path = CString::new(threads().into_os_string().into_vec()).unwrap();
    let args = [&*path, c"127.0.0.1:0", c"", c"\xff"];
    let environ = [c"A=1", c"NOVALUE", c"A=2", c"", c"=odd", c"B=\xff"];
    let program = Program::new(Args::new(&args), Environ::new(&environ));
    let first = net.start_process(&program).unwrap();
    assert_eq!(first.wait_ready(Deadline::after_ms(20_000)), Ok(()));
    let first = first.pid();
    net.retire();

    kill_process(first, Signal::USR2).unwrap();
    until_gone(first);
    let (second, generation) = ask(address);
    assert_eq!(generation, 2);
    let read = |name| fs::read(format!("/proc/{second}/{name}")).unwrap();
    let strings = |bytes: &[u8]| -> Vec<Vec<u8>> {
        let bytes = bytes.strip_suffix(b"\0").unwrap();
        bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
    };
    assert_eq!(
        strings(&read("cmdline")),
        args.map(|it| it.to_bytes().to_vec())
    );
    let found = strings(&read("environ"));
    let (given, added) = found.split_at(environ.len());
    assert_eq!(given, environ.map(|it| it.to_bytes().to_vec()));
    let pid = format!("LISTEN_PID={second}").into_bytes();
    assert!(added.len() == 4 && added.contains(&pid), "{added:?}");

    kill_process(second, Signal::TERM).unwrap();
    until_gone(second);
    for pid in [first, second] {
        let (_, status) = waitpid(Some(pid), WaitOptions::NOHANG).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0));
    }
}

/// Case L1, D3.
#[test]
fn std_server_restarts_under_load_and_nobody_notices() {
    let _alone = alone();
    let mut server = Server::start();
    server.restart();
    let (fds, cmdline) = (Fds::of(server.pid).numbers(), server.cmdline());
    let mut generations = HashSet::from([(server.pid, server.generation)]);
    let mut heard = HashSet::new();

    let done = Done::default();
    thread::scope(|scope| {
        let _end = done.at_the_end();
        let (send, answers) = channel();
        for _ in 0..CLIENTS {
            let (send, done, address) = (send.clone(), &done, server.address);
            scope.spawn(move || ask_until(done, address, &send));
        }
        drop(send);
        for _ in 0..RESTARTS {
            for _ in 0..ANSWERS {
                let answer = answers.recv_timeout(Duration::from_secs(20));
                heard.insert(answer.expect("clients that are answered"));
            }
            heard.extend(answers.try_iter());
            server.restart();
            generations.insert((server.pid, server.generation));
        }
        drop(_end);
        heard.extend(answers);
    });

    assert_eq!(server.generation, RESTARTS + 1);
    assert!(heard.is_subset(&generations), "{heard:?} {generations:?}");
    assert!(heard.len() > RESTARTS as usize / 2, "{heard:?}");
    assert_eq!(Fds::of(server.pid).numbers(), fds);
    assert_eq!(server.cmdline(), cmdline);
    server.signal_and_reap(Signal::TERM);
    // No child is left, nor a child of one: they would be ours.
    assert_eq!(
        waitpid(None, WaitOptions::NOHANG).unwrap_err(),
        Errno::CHILD
    );
}
