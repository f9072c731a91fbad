//! Somebody runs the daemon of examples/httpd: with wrong words, on an address that is taken, under
//! signals, with new programs that fail in every way, with clients that ask quickly and slowly. What
//! is seen are its log, its exit status, its fds, its pid file and what its clients get.

mod util;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, WaitStatus, getpid, kill_process, prlimit,
    set_child_subreaper, waitpid,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use util::{Done, Fds, httpd, in_time, until_gone};

const PATIENCE: Duration = Duration::from_secs(20);

/// No words.
const NOTHING: &[&str] = &[];

/// The daemon, whichever process it is by now.
struct Daemon {
    first: Child,
    log: std::process::ChildStderr,
    /// Lines that were not waited for.
    passed_over: Vec<String>,
    address: SocketAddr,
    /// Who serves.
    current: Pid,
}

/// A test that fails leaves nobody behind.
impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = kill_process(self.current, Signal::KILL);
        }
    }
}

impl Daemon {
    /// Starts `program` with these words, and `tcp` and an address behind them.
    fn start(program: &Path, words: &[impl AsRef<OsStr>]) -> Daemon {
        // Successors become ours when their predecessor ends.
        set_child_subreaper(Some(getpid())).unwrap();
        // A host of its own, so that the port is still free when the daemon binds it: no client's
        // and no other daemon's.
        static HOSTS: AtomicU32 = AtomicU32::new(1);
        let host = format!("127.9.{}.1:0", HOSTS.fetch_add(1, Ordering::Relaxed));
        let address = TcpListener::bind(host).unwrap().local_addr().unwrap();
        let mut first = Command::new(program)
            .args(words)
            .args(["tcp", &address.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = first.stderr.take().unwrap();
        let current = Pid::from_child(&first);
        Daemon {
            first,
            log,
            passed_over: Vec::new(),
            address,
            current,
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.first)
    }

    /// The next line of the log.
    fn line(&mut self) -> String {
        let mut line = Vec::new();
        loop {
            in_time(
                self.log.as_fd(),
                &format!("a line behind {:?}", String::from_utf8_lossy(&line)),
            );
            let mut byte = [0];
            if self.log.read(&mut byte).unwrap() == 0 || byte == *b"\n" {
                return String::from_utf8_lossy(&line).into_owned();
            }
            line.push(byte[0]);
        }
    }

    /// That these lines come next, of the process `pid`.
    fn says(&mut self, pid: Pid, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.line(), format!("gracenet-httpd[{pid}]: {line}"));
        }
    }

    /// Waits for a line that ends so, unless it has come while another one was waited for: two
    /// processes write. What stands between the pid of whoever says it and that.
    fn until(&mut self, end: &str) -> String {
        let mut at = self.passed_over.iter().position(|line| line.ends_with(end));
        while at.is_none() {
            let line = self.line();
            assert!(!line.is_empty(), "the log ended before {end:?}");
            if line.ends_with(end) {
                at = Some(self.passed_over.len());
            }
            self.passed_over.push(line);
        }
        let line = self.passed_over.remove(at.unwrap());
        let start = line.strip_suffix(end).unwrap();
        start.split("]: ").nth(1).unwrap_or_default().to_owned()
    }

    /// Waits for `successor PID started`, the PID of which is the answer.
    fn started(&mut self) -> Pid {
        let started = self.until(" started");
        let pid = started.strip_prefix("successor ").unwrap().parse();
        Pid::from_raw(pid.unwrap()).unwrap()
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    }

    /// An answer to one request on a connection of its own, head and body.
    fn ask(&self, request: &str) -> String {
        ask(&mut self.connect(), request)
    }

    fn get(&self, path: &str) -> String {
        let answer = self.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        ));
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// SIGUSR2. What was said before is of no account.
    fn begin_upgrade(&mut self, pid: Pid) {
        self.passed_over.clear();
        kill_process(pid, Signal::USR2).unwrap();
    }

    /// SIGUSR2, and the pid of the successor once it has taken over.
    fn upgrade(&mut self, pid: Pid) -> Pid {
        self.begin_upgrade(pid);
        self.current = self.started();
        self.until("drained");
        self.current
    }

    /// SIGUSR2, and the pid of the successor once it is ready, whatever is open.
    fn upgrade_while_open(&mut self, pid: Pid) -> Pid {
        self.begin_upgrade(pid);
        let next = self.started();
        self.current = next;
        self.until(&format!("successor {next} ready"));
        next
    }

    /// What `/status` says.
    fn status(&self) -> Value {
        serde_json::from_str(&self.get("/status")).unwrap()
    }

    /// SIGTERM to the present one, which exits with status 0, and reaps it.
    fn finish(&mut self, pid: Pid) {
        kill_process(pid, Signal::TERM).unwrap();
        assert_eq!(status(pid), Some(0));
    }
}

/// The exit status of a child, or of an orphan that has become ours.
fn status(pid: Pid) -> Option<i32> {
    end(pid).exit_status()
}

fn end(pid: Pid) -> WaitStatus {
    until_gone(pid);
    let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
    status
}

fn ask(client: &mut TcpStream, request: &str) -> String {
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn wrong_words_are_answered_by_the_usage_and_status_two() {
    for words in [
        &[][..],
        &["tcp"],
        &["--drain", "x", "tcp", ":0"],
        &["--what"],
        &["ftp", ":0"],
    ] {
        let output = Command::new(httpd()).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("usage: gracenet-httpd"), "{words:?}: {text}");
    }
}

#[test]
fn an_address_in_use_is_one_line_and_status_one() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Command::new(httpd())
        .args(["tcp", &address])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.ends_with(&format!("cannot listen tcp {address}: bind: os error 98\n")),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn each_event_is_one_line_and_each_process_ends_with_status_zero() {
    let mut daemon = Daemon::start(&httpd(), &["--tag", "one"]);
    let (first, address) = (daemon.pid(), daemon.address);
    daemon.says(
        first,
        &[&format!("listening tcp {address} (fresh)"), "ready"],
    );
    assert_eq!(
        daemon.get("/"),
        format!("pid={first} generation=0 tag=one\n")
    );
    assert_eq!(daemon.get("/healthz"), "ok\n");

    kill_process(first, Signal::HUP).unwrap();
    // Two processes write, each in its own order.
    let lines: Vec<String> = (0..5).map(|_| daemon.line()).collect();
    let of_first = format!("gracenet-httpd[{first}]: ");
    let (old, new): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.starts_with(&of_first));
    let started = old[0].strip_prefix(&of_first).unwrap();
    let second = started
        .strip_prefix("successor ")
        .unwrap()
        .strip_suffix(" started")
        .unwrap();
    let second = Pid::from_raw(second.parse().unwrap()).unwrap();
    daemon.current = second;
    let said = |pid: Pid, line: &str| format!("gracenet-httpd[{pid}]: {line}");
    let inherited = format!("listening tcp {address} (inherited)");
    assert_eq!(new, [&said(second, &inherited), &said(second, "ready")]);
    assert_eq!(
        old[1..],
        [
            &said(first, &format!("successor {second} ready")),
            &said(first, "drained")
        ]
    );
    assert_eq!(
        daemon.get("/"),
        format!("pid={second} generation=1 tag=one\n")
    );
    assert_eq!(status(first), Some(0));

    let third = daemon.upgrade(second);
    assert_eq!(
        daemon.get("/"),
        format!("pid={third} generation=2 tag=one\n")
    );
    assert_eq!(status(second), Some(0));
    daemon.finish(third);
}

/// Case F1.
#[test]
fn a_program_that_is_gone_is_one_line_and_the_old_process_serves_on() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("gracenet-httpd");
    // No copy: it would be open for writing in what another thread starts meanwhile.
    symlink(httpd(), &program).unwrap();
    let mut daemon = Daemon::start(&program, &["--tag", "x"]);
    let pid = daemon.pid();
    daemon.until("ready");
    fs::rename(&program, directory.path().join("away")).unwrap();
    for _ in 0..3 {
        kill_process(pid, Signal::USR2).unwrap();
        daemon.says(pid, &["successor failed: execve: os error 2"]);
        assert_eq!(daemon.get("/"), format!("pid={pid} generation=0 tag=x\n"));
    }
    fs::rename(directory.path().join("away"), &program).unwrap();
    let next = daemon.upgrade(pid);
    assert_eq!(daemon.get("/"), format!("pid={next} generation=1 tag=x\n"));
    assert_eq!(status(pid), Some(0));
    daemon.finish(next);
}

#[test]
fn a_second_term_ends_it_at_once() {
    let mut daemon = Daemon::start(&httpd(), NOTHING);
    let pid = daemon.pid();
    daemon.until("ready");
    // A request that would take a minute.
    let mut slow = daemon.connect();
    slow.write_all(b"GET /sleep/60000 HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    // It has been read once a later connection is served.
    daemon.get("/healthz");
    kill_process(pid, Signal::TERM).unwrap();
    daemon.until("terminating");
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(status(pid), Some(0));
}

#[test]
fn requests_are_answered_as_http_has_it() {
    let mut daemon = Daemon::start(&httpd(), NOTHING);
    let pid = daemon.pid();
    daemon.until("ready");
    let close = "Host: a\r\nConnection: close\r\n\r\n";
    for (request, status) in [
        (format!("GET /nothing HTTP/1.1\r\n{close}"), "404 Not Found"),
        (
            format!("POST / HTTP/1.1\r\n{close}"),
            "405 Method Not Allowed",
        ),
        (
            format!("GET / HTTP/1.1\r\nX: {}\r\n{close}", "x".repeat(9_000)),
            "431 ",
        ),
        ("nonsense\r\n\r\n".to_owned(), "400 Bad Request"),
    ] {
        let answer = daemon.ask(&request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request:.40}: {answer}"
        );
    }
    // HEAD has the length and no body; three in one packet are answered in their order.
    let answer = daemon.ask(&format!(
        "HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /x HTTP/1.1\r\n{close}"
    ));
    let parts: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).collect();
    assert_eq!(parts.len(), 3, "{answer}");
    assert!(
        parts[0].contains("Content-Length: 3\r\n") && parts[0].ends_with("\r\n\r\n"),
        "{answer}"
    );
    assert!(
        parts[1].starts_with("200 OK") && parts[1].ends_with("\r\n\r\nok\n"),
        "{answer}"
    );
    assert!(parts[2].starts_with("404 "), "{answer}");
    daemon.finish(pid);
}

/// Quick requests on new connections, quick ones on kept connections, and slow ones, from the first
/// process to the last of several.
#[test]
fn slow_and_quick_requests_span_several_restarts() {
    const RESTARTS: u32 = 10;
    let mut daemon = Daemon::start(&httpd(), NOTHING);
    let mut pid = daemon.pid();
    daemon.until("ready");
    let address = daemon.address;
    let (done, served, slow) = (Done::default(), AtomicU32::new(0), AtomicU32::new(0));
    // One answer of a connection that may be kept: whether it is.
    let one = |client: &mut BufReader<TcpStream>, path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        client.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut head, mut body) = (Vec::new(), String::new());
        while head.last().is_none_or(|line: &String| line != "\r\n") {
            let mut line = String::new();
            assert!(
                client.read_line(&mut line).unwrap() > 0,
                "cut short behind {head:?}"
            );
            head.push(line);
        }
        assert_eq!(head[0], "HTTP/1.1 200 OK\r\n");
        client.read_line(&mut body).unwrap();
        assert!(body.starts_with("pid=") && body.ends_with("\n"), "{body}");
        head.iter().all(|line| line != "Connection: close\r\n")
    };
    let open = || {
        let client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        BufReader::new(client)
    };
    std::thread::scope(|scope| {
        let _end = done.at_the_end();
        scope.spawn(|| {
            while !done.is_over() {
                one(&mut open(), "/");
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            while !done.is_over() {
                let mut client = open();
                while !done.is_over() && one(&mut client, "/") {
                    served.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.is_over() {
                    one(&mut open(), "/sleep/150");
                    slow.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..RESTARTS {
            let next = daemon.upgrade(pid);
            assert_eq!(status(pid), Some(0));
            pid = next;
        }
    });
    assert!(daemon.get("/").contains(&format!("generation={RESTARTS} ")));
    let (served, slow) = (served.into_inner(), slow.into_inner());
    assert!(
        served > 200 && slow > 5,
        "{served} quick and {slow} slow requests"
    );
    daemon.finish(pid);
}

/// Where programs are deployed.
struct Site {
    directory: TempDir,
}

impl Site {
    /// With the daemon.
    fn new() -> Site {
        let site = Site {
            directory: tempfile::tempdir().unwrap(),
        };
        site.deploy(&httpd());
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn program(&self) -> PathBuf {
        self.path("gracenet-httpd")
    }

    /// Puts a symbolic link to it in the place of the present program, in one step.
    fn deploy(&self, program: &Path) {
        let beside = self.path("beside");
        symlink(program, &beside).unwrap();
        fs::rename(&beside, self.program()).unwrap();
    }

    /// Makes a file by a command that gets its path as `$1`, and deploys it. This process has it
    /// never open for writing: another thread's child could inherit that.
    fn make(&self, command: &str) -> PathBuf {
        let path = self.path("made");
        let made = Command::new("/bin/sh")
            .args(["-euc", &format!("rm -f \"$1\"; {command}"), "sh"])
            .arg(&path)
            .status();
        assert!(made.unwrap().success(), "{command}");
        self.deploy(&path);
        path
    }

    /// Deploys a shell script. `$HTTPD` is the daemon in it, and `$C` the number of the control
    /// channel.
    fn script(&self, script: &str) {
        let httpd = httpd();
        let httpd = httpd.display();
        self.make(&format!(
            "cat >\"$1\" <<'E'\n#!/bin/sh\nHTTPD='{httpd}' C=${{GRACENET_FD%,*}}\n{script}\nE\n\
             chmod 755 \"$1\""
        ));
    }
}

/// One connection that is kept, by which a process is watched.
struct Control<S = TcpStream>(BufReader<S>);

impl Control {
    fn new(daemon: &Daemon) -> Control {
        Control(BufReader::new(daemon.connect()))
    }
}

impl<S: std::io::Read + std::io::Write> Control<S> {
    /// Head and body of the next answer. That of a HEAD has none.
    fn answer(&mut self, has_body: bool) -> (String, String) {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(self.0.read_line(&mut head).unwrap() > 0, "{head:?}");
        }
        let length = head.split_once("\r\nContent-Length: ").unwrap().1;
        let length: usize = length.split_once('\r').unwrap().0.parse().unwrap();
        let mut body = vec![0; if has_body { length } else { 0 }];
        self.0.read_exact(&mut body).unwrap();
        (head, String::from_utf8(body).unwrap())
    }

    fn send(&mut self, request: &str) {
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
    }

    fn get(&mut self, path: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let (head, body) = self.answer(true);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        body
    }

    fn status(&mut self) -> Value {
        serde_json::from_str(&self.get("/status")).unwrap()
    }

    /// Waits until there are so many connections.
    fn until_open(&mut self, connections: u32) {
        let end = Instant::now() + PATIENCE;
        while self.status()["connections"] != connections {
            assert!(Instant::now() < end, "waited for {connections} connections");
        }
    }

    /// The fds of the process once this is its only connection.
    fn fds(&mut self, pid: Pid) -> Fds {
        self.until_open(1);
        // What it had open for the last answer is closed when it gives another one.
        self.get("/healthz");
        Fds::of(pid)
    }
}

/// Calls `body` while others connect again and again and ask, each of whom gets an answer.
fn under_clients(daemon: &mut Daemon, body: impl FnOnce(&mut Daemon)) {
    let (done, served, address) = (Done::default(), AtomicU32::new(0), daemon.address);
    std::thread::scope(|scope| {
        let _end = done.at_the_end();
        for path in ["/", "/sleep/20"] {
            let (done, served) = (&done, &served);
            scope.spawn(move || {
                let request =
                    format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
                while !done.is_over() {
                    let mut client = TcpStream::connect(address).unwrap();
                    client.set_read_timeout(Some(PATIENCE)).unwrap();
                    let answer = ask(&mut client, &request);
                    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let more = |than| {
            let end = Instant::now() + PATIENCE;
            while served.load(Ordering::Relaxed) <= than {
                assert!(Instant::now() < end, "waited for clients");
                std::thread::yield_now();
            }
        };
        more(1);
        body(daemon);
        more(served.load(Ordering::Relaxed) + 2);
    });
}

/// Cases H1, H3, F1, F2. What becomes of the new program, and what the old process says.
#[test]
fn whatever_happens_to_a_successor_the_old_process_serves_on() {
    type Deploy = fn(&Site) -> Option<fs::File>;
    let cases: [(&str, &[&str], Deploy); 9] = [
        ("exited with status 7", &[], |site| {
            site.script("exit 7");
            None
        }),
        ("exited with status 3", &[], |site| {
            site.script("exec \"$HTTPD\" --fail-start 3 \"$@\"");
            None
        }),
        ("not ready in time", &["--ready-timeout", "300"], |site| {
            site.script("exec \"$HTTPD\" --start-delay 60000 \"$@\"");
            None
        }),
        ("killed by signal 9", &["--probation", "60000"], |site| {
            site.script("kill -KILL $$");
            None
        }),
        ("execve: os error 2", &[], |site| {
            fs::remove_file(site.program()).unwrap();
            None
        }),
        ("execve: os error 2", &[], |site| {
            site.make("printf '#!/nowhere/sh\\n' >\"$1\"; chmod 755 \"$1\"");
            None
        }),
        ("execve: os error 13", &[], |site| {
            site.make("cp /bin/true \"$1\"; chmod 644 \"$1\"");
            None
        }),
        ("execve: os error 8", &[], |site| {
            site.make("echo nonsense >\"$1\"; chmod 755 \"$1\"");
            None
        }),
        ("execve: os error 26", &[], |site| {
            let path = site.make("cp /bin/true \"$1\"; chmod 755 \"$1\"");
            Some(fs::File::options().append(true).open(path).unwrap())
        }),
    ];
    for (why, words, deploy) in cases {
        let site = Site::new();
        let mut daemon = Daemon::start(&site.program(), words);
        let pid = daemon.pid();
        daemon.until("ready");
        let mut control = Control::new(&daemon);
        let before = control.fds(pid);
        let kept = deploy(&site);
        for attempt in 1..=2 {
            under_clients(&mut daemon, |daemon| {
                kill_process(pid, Signal::USR2).unwrap();
                assert_eq!(daemon.until(&format!("failed: {why}")), "successor ");
            });
            assert_eq!(control.fds(pid), before, "{why}");
            assert_eq!(
                control.status()["restarts"],
                json!({"done": 0, "failed": attempt, "last_error": why})
            );
        }
        drop(kept);
        site.deploy(&httpd());
        let mut next = pid;
        under_clients(&mut daemon, |daemon| {
            daemon.begin_upgrade(pid);
            next = daemon.started();
            daemon.current = next;
            if words.contains(&"--probation") {
                daemon.until(&format!("successor {next} ready"));
                kill_process(pid, Signal::TERM).unwrap();
            }
            drop(control);
            daemon.until("drained");
        });
        assert_eq!(status(pid), Some(0));
        assert_eq!(
            daemon.status()["restarts"],
            json!({"done": 1, "failed": 0, "last_error": null})
        );
        daemon.finish(next);
    }
}

/// Case H9. It says that it is ready, and ends after all.
#[test]
fn when_a_successor_fails_on_probation_the_old_process_accepts_again() {
    for (script, serves, signal, why) in [
        (
            "trap 'kill $!; exit 5' TERM; sleep 60 & printf ready >&$C; wait",
            false,
            Signal::TERM,
            "failed: exited with status 5",
        ),
        (
            "exec \"$HTTPD\" \"$@\"",
            true,
            Signal::TERM,
            "failed: exited with status 0",
        ),
        (
            "exec \"$HTTPD\" \"$@\"",
            true,
            Signal::KILL,
            "failed: killed by signal 9",
        ),
    ] {
        let site = Site::new();
        let pid_file = site.path("pid");
        let words = [
            "--probation",
            "60000",
            "--pid-file",
            pid_file.to_str().unwrap(),
        ];
        let mut daemon = Daemon::start(&site.program(), &words);
        let pid = daemon.pid();
        daemon.until("ready");
        let mut control = Control::new(&daemon);
        let before = control.fds(pid);
        site.script(script);
        let upgrade = |daemon: &mut Daemon| {
            daemon.begin_upgrade(pid);
            let next = daemon.started();
            daemon.until(&format!("successor {next} ready"));
            if serves {
                for _ in 0..20 {
                    assert_eq!(
                        daemon.get("/"),
                        format!("pid={next} generation=1 tag=gracenet\n")
                    );
                }
                kill_process(pid, Signal::USR2).unwrap();
                daemon.until("successor already in progress");
                kill_process(next, Signal::HUP).unwrap();
                daemon.until("predecessor has not ended");
                assert_eq!(read(&pid_file), format!("{next}\n"));
            }
            kill_process(next, signal).unwrap();
            assert_eq!(daemon.until(why), "accepting again, successor ");
        };
        // Whom a killed process was just about to answer gets no answer.
        if signal == Signal::KILL {
            upgrade(&mut daemon);
            under_clients(&mut daemon, |_| {});
        } else {
            under_clients(&mut daemon, upgrade);
        }
        assert_eq!(control.fds(pid), before, "{why}");
        assert_eq!(read(&pid_file), format!("{pid}\n"));
        let restarts = control.status()["restarts"].take();
        let last = why.strip_prefix("failed: ").unwrap();
        assert_eq!(
            restarts,
            json!({"done": 0, "failed": 1, "last_error": last})
        );
        drop(control);

        // And the next one.
        site.deploy(&httpd());
        daemon.begin_upgrade(pid);
        let next = daemon.started();
        daemon.current = next;
        daemon.until(&format!("successor {next} ready"));
        // It has written its pid when it answers.
        daemon.get("/");
        kill_process(pid, Signal::TERM).unwrap();
        assert_eq!(status(pid), Some(0));
        assert_eq!(read(&pid_file), format!("{next}\n"));
        daemon.finish(next);
        assert!(!pid_file.exists());
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// Case H9.
#[test]
fn when_probation_is_over_the_old_process_ends() {
    let mut daemon = Daemon::start(&httpd(), &["--probation", "200"]);
    let mut pid = daemon.pid();
    daemon.until("ready");
    under_clients(&mut daemon, |daemon| {
        for _ in 0..3 {
            let next = daemon.upgrade(pid);
            assert_eq!(status(pid), Some(0));
            pid = next;
        }
    });
    assert_eq!(daemon.status()["generation"], 3);
    daemon.finish(pid);
}

#[test]
fn a_second_signal_during_an_upgrade_starts_nobody() {
    let site = Site::new();
    let mut daemon = Daemon::start(&site.program(), NOTHING);
    let pid = daemon.pid();
    daemon.until("ready");
    site.script("exec \"$HTTPD\" --start-delay 500 \"$@\"");
    let mut next = pid;
    under_clients(&mut daemon, |daemon| {
        daemon.begin_upgrade(pid);
        next = daemon.started();
        daemon.current = next;
        kill_process(pid, Signal::USR2).unwrap();
        daemon.until("successor already in progress");
        daemon.until("drained");
    });
    assert_eq!(status(pid), Some(0));
    assert_eq!(daemon.status()["restarts"]["done"], 1);
    daemon.finish(next);
}

/// Whoever has connected by then is served, and nobody is left.
#[test]
fn term_during_an_upgrade_ends_both() {
    let site = Site::new();
    let mut daemon = Daemon::start(&site.program(), NOTHING);
    let pid = daemon.pid();
    daemon.until("ready");
    site.script("exec \"$HTTPD\" --start-delay 60000 \"$@\"");
    let mut slow = daemon.connect();
    slow.write_all(b"GET /sleep/300 HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    daemon.begin_upgrade(pid);
    let next = daemon.started();
    daemon.until("(inherited)");
    let mut late = daemon.connect();
    kill_process(pid, Signal::TERM).unwrap();
    daemon.until("terminating");
    assert!(ask(&mut late, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").contains("generation=0"));
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(status(pid), Some(0));
    assert_eq!(end(next).terminating_signal(), Some(Signal::KILL.as_raw()));
}

#[test]
fn term_on_probation_ends_the_old_process_only() {
    let mut daemon = Daemon::start(&httpd(), &["--probation", "60000"]);
    let pid = daemon.pid();
    daemon.until("ready");
    let mut next = pid;
    under_clients(&mut daemon, |daemon| {
        daemon.begin_upgrade(pid);
        next = daemon.started();
        daemon.current = next;
        daemon.until(&format!("successor {next} ready"));
        kill_process(pid, Signal::TERM).unwrap();
        daemon.until("terminating");
        assert_eq!(status(pid), Some(0));
    });
    daemon.finish(next);
}

/// Case H5. Killed while its successor starts, and on probation.
#[test]
fn when_the_old_process_is_killed_its_successor_goes_on() {
    let site = Site::new();
    let mut daemon = Daemon::start(&site.program(), NOTHING);
    let pid = daemon.pid();
    daemon.until("ready");
    site.script("exec \"$HTTPD\" --start-delay 300 \"$@\"");
    daemon.begin_upgrade(pid);
    let next = daemon.started();
    daemon.current = next;
    daemon.until("(inherited)");
    kill_process(pid, Signal::KILL).unwrap();
    assert_eq!(end(pid).terminating_signal(), Some(Signal::KILL.as_raw()));
    // Nobody accepts for a while.
    under_clients(&mut daemon, |daemon| {
        assert!(daemon.get("/").contains("generation=1"));
    });
    daemon.finish(next);

    let mut daemon = Daemon::start(&httpd(), &["--probation", "60000"]);
    let pid = daemon.pid();
    daemon.until("ready");
    daemon.begin_upgrade(pid);
    let mut next = daemon.started();
    daemon.current = next;
    daemon.until(&format!("successor {next} ready"));
    under_clients(&mut daemon, |daemon| {
        kill_process(pid, Signal::KILL).unwrap();
        assert_eq!(end(pid).terminating_signal(), Some(Signal::KILL.as_raw()));
        // It has no predecessor any more for which it would have to wait.
        daemon.begin_upgrade(next);
        let last = daemon.started();
        daemon.until(&format!("successor {last} ready"));
        kill_process(next, Signal::TERM).unwrap();
        assert_eq!(status(next), Some(0));
        next = last;
        daemon.current = last;
    });
    daemon.finish(next);
}

/// Whether there is something to read, after up to 100 ms.
fn hears(client: &TcpStream) -> bool {
    let limit = Timespec {
        tv_sec: 0,
        tv_nsec: 100_000_000,
    };
    poll(&mut [PollFd::new(client, PollFlags::IN)], Some(&limit)).unwrap() > 0
}

#[test]
fn nobody_is_served_before_the_start_delay_is_over() {
    // The daemon counts whole milliseconds, and begins within one.
    const DELAY: Duration = Duration::from_millis(399);
    let begun = Instant::now();
    let mut daemon = Daemon::start(&httpd(), &["--start-delay", "400"]);
    let pid = daemon.pid();
    daemon.until("(fresh)");
    let mut client = daemon.connect();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    kill_process(pid, Signal::USR2).unwrap();
    daemon.until("not ready yet");
    let answered = hears(&client);
    assert!(!answered || begun.elapsed() >= DELAY);
    daemon.until(": ready");
    assert!(begun.elapsed() >= DELAY);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    daemon.finish(pid);
}

#[test]
fn term_ends_a_process_that_is_not_ready_yet() {
    let mut daemon = Daemon::start(&httpd(), &["--start-delay", "60000"]);
    let pid = daemon.pid();
    daemon.until("(fresh)");
    daemon.finish(pid);

    let site = Site::new();
    let mut daemon = Daemon::start(&site.program(), NOTHING);
    let pid = daemon.pid();
    daemon.until("ready");
    site.script("exec \"$HTTPD\" --start-delay 60000 \"$@\"");
    under_clients(&mut daemon, |daemon| {
        daemon.begin_upgrade(pid);
        let next = daemon.started();
        daemon.until("(inherited)");
        kill_process(next, Signal::TERM).unwrap();
        daemon.until("successor failed: exited with status 0");
    });
    daemon.finish(pid);
}

#[test]
fn a_start_that_is_to_fail_has_that_status() {
    for status in ["0", "1", "255"] {
        let mut daemon = Daemon::start(&httpd(), &["--fail-start", status]);
        let pid = daemon.pid();
        daemon.until("failing, as asked");
        assert_eq!(end(pid).exit_status(), Some(status.parse().unwrap()));
    }
}

#[test]
fn pid_file_is_that_of_who_serves() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pid");
    let words = ["--pid-file", path.to_str().unwrap()];
    let mut daemon = Daemon::start(&httpd(), &words);
    let mut pid = daemon.pid();
    daemon.until("ready");
    for _ in 0..3 {
        // It is written before the first request is answered.
        daemon.get("/");
        assert_eq!(read(&path), format!("{pid}\n"));
        let next = daemon.upgrade(pid);
        assert_eq!(status(pid), Some(0));
        pid = next;
    }
    daemon.get("/");
    assert_eq!(read(&path), format!("{pid}\n"));
    // It is another's by now.
    fs::write(&path, "1\n").unwrap();
    daemon.finish(pid);
    assert_eq!(read(&path), "1\n");

    let nowhere = directory.path().join("none/pid");
    let mut daemon = Daemon::start(&httpd(), &["--pid-file", nowhere.to_str().unwrap()]);
    let pid = daemon.pid();
    daemon.until("pid file: open: os error 2");
    daemon.get("/");
    daemon.finish(pid);
}

#[test]
fn status_says_what_there_is() {
    let directory = tempfile::tempdir().unwrap();
    // As long as paths can be, and of bytes that JSON has not as they are.
    let paths: Vec<PathBuf> = (0..7)
        .map(|number| {
            let mut path = directory.path().join(format!("{number}")).into_os_string();
            path.push(OsString::from_vec(b"\"\\\n\x01\xc3\xbc\xff".to_vec()));
            while path.len() < 107 {
                path.push("\x02");
            }
            path.into()
        })
        .collect();
    let mut words: Vec<OsString> = vec!["--max-connections".into(), "2".into()];
    for path in &paths {
        words.extend(["unix".into(), path.clone().into()]);
    }
    let mut daemon = Daemon::start(&httpd(), &words);
    let (pid, address) = (daemon.pid(), daemon.address);
    daemon.until("ready");
    let mut control = Control::new(&daemon);
    let first = control.status();
    let text = |path: &PathBuf| {
        let bytes = path.as_os_str().as_bytes();
        String::from_utf8_lossy(bytes).into_owned()
    };
    let backlog = read(Path::new("/proc/sys/net/core/somaxconn"));
    let backlog: u32 = backlog.trim().parse().unwrap();
    let sockets = |inherited: bool| -> Vec<Value> {
        let of = |network, address: &str, queue: Value| {
            json!({
                "name": "unknown",
                "network": network,
                "address": address,
                "inherited": inherited,
                "accept_queue": queue,
            })
        };
        let tcp = of(
            "tcp",
            &address.to_string(),
            json!({"length": 0, "limit": backlog}),
        );
        let unix = paths
            .iter()
            .map(|path| of("unix", &text(path), Value::Null));
        unix.chain([tcp]).collect()
    };
    assert_eq!(first["sockets"], Value::from(sockets(false)));
    assert_eq!(first["pid"], pid.as_raw_nonzero().get());
    assert_eq!(first["generation"], 0);
    assert_eq!(first["connections"], 1);
    assert_eq!(first["draining"], false);
    assert_eq!(
        first["restarts"],
        json!({"done": 0, "failed": 0, "last_error": null})
    );
    let uptime = |status: &Value| status["uptime_ms"].as_u64().unwrap();
    assert!(uptime(&first) < 60_000);

    // One is accepted, and two wait: for whom there is no room.
    let second = UnixStream::connect(&paths[3]).unwrap();
    control.until_open(2);
    let waiting = [daemon.connect(), daemon.connect()];
    let status = control.status();
    assert_eq!(status["connections"], 2);
    let queue = &status["sockets"][7]["accept_queue"];
    assert_eq!(queue, &json!({"length": 2, "limit": backlog}));
    assert!(uptime(&status) >= uptime(&first));
    drop(second);
    drop(waiting);

    // A head says how long the page is, and the connection is kept.
    control.send(
        "HEAD /status HTTP/1.1\r\nHost: a\r\n\r\nGET /status HTTP/1.0\r\n\
         Connection: keep-alive\r\n\r\n",
    );
    let (head, _) = control.answer(false);
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"),
        "{head}"
    );
    let (head, body) = control.answer(true);
    assert!(head.contains("\r\nConnection: keep-alive\r\n"), "{head}");
    serde_json::from_str::<Value>(&body).unwrap();
    drop(control);

    let next = daemon.upgrade(pid);
    assert_eq!(self::status(pid), Some(0));
    let last = daemon.status();
    assert_eq!(last["sockets"], Value::from(sockets(true)));
    assert_eq!(
        (&last["generation"], &last["restarts"]["done"]),
        (&json!(1), &json!(1))
    );
    daemon.finish(next);
}

/// More answers than fit into the socket, while what they say changes.
#[test]
fn status_is_whole_for_a_client_that_reads_late() {
    const ANSWERS: usize = 400;
    let directory = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..7)
        .map(|number| {
            directory
                .path()
                .join(format!("{number}{}", "\x01".repeat(60)))
        })
        .collect();
    let words: Vec<OsString> = paths
        .iter()
        .flat_map(|path| ["unix".into(), path.clone().into()])
        .collect();
    let mut daemon = Daemon::start(&httpd(), &words);
    let pid = daemon.pid();
    daemon.until("ready");
    let mut control = Control::new(&daemon);
    let before = control.fds(pid);
    let late = UnixStream::connect(&paths[2]).unwrap();
    late.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut late = Control(BufReader::new(late));
    late.send(&"GET /status HTTP/1.1\r\nHost: a\r\n\r\n".repeat(ANSWERS));
    // Until it cannot send any more: it has kept what it could not send.
    let end = Instant::now() + PATIENCE;
    let keeps = |fds: Fds| {
        let mut numbers = fds.numbers().into_iter();
        numbers.any(|number| fds.target(number).to_string_lossy().contains("memfd:"))
    };
    while !keeps(Fds::of(pid)) {
        assert!(Instant::now() < end, "waited for an answer in pieces");
    }
    for _ in 0..50 {
        let others: Vec<_> = (0..5).map(|_| daemon.connect()).collect();
        control.status();
        drop(others);
    }
    for number in 0..ANSWERS {
        let status: Value = serde_json::from_str(&late.answer(true).1).unwrap();
        assert_eq!(status["sockets"].as_array().unwrap().len(), 8, "{number}");
    }
    drop(late);
    assert_eq!(control.fds(pid), before);

    // Where there is no fd for it.
    let limit = |soft| {
        let limits = Rlimit {
            current: Some(soft),
            maximum: Some(1024),
        };
        prlimit(Some(pid), Resource::Nofile, limits).unwrap()
    };
    limit(3);
    control.send("GET /status HTTP/1.1\r\nHost: a\r\n\r\n");
    let (head, body) = control.answer(true);
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert_eq!(body, "503 Service Unavailable\n");
    limit(1024);
    assert_eq!(control.status()["connections"], 1);

    // On an old connection of a process that is about to end.
    let mut slow = daemon.connect();
    slow.write_all(b"GET /sleep/300 HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    control.until_open(2);
    daemon.current = daemon.upgrade_while_open(pid);
    let status = control.status();
    assert_eq!(
        (&status["draining"], &status["sockets"]),
        (&json!(true), &json!([]))
    );
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert_eq!(self::status(pid), Some(0));
    let current = daemon.current;
    daemon.finish(current);
}
