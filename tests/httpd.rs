//! Somebody runs the daemon of examples/httpd: with wrong words, on an address that is taken, under
//! signals, with its file gone, with clients that ask quickly and slowly. What is seen are its log,
//! its exit status and what its clients get.

mod util;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid,
};
use util::{Done, httpd, in_time, until_gone};

const PATIENCE: Duration = Duration::from_secs(20);

/// The daemon, whichever process it is by now.
struct Daemon {
    first: Child,
    log: std::process::ChildStderr,
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
    fn start(program: &Path, words: &[&str]) -> Daemon {
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
                return String::from_utf8(line).unwrap();
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

    /// Waits for a line that ends so: what stands between the pid of whoever says it and that.
    fn until(&mut self, end: &str) -> String {
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "the log ended before {end:?}");
            if let Some(start) = line.strip_suffix(end) {
                return start.split("]: ").nth(1).unwrap_or_default().to_owned();
            }
        }
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

    /// SIGUSR2, and the pid of the successor once it has taken over.
    fn upgrade(&mut self, pid: Pid) -> Pid {
        kill_process(pid, Signal::USR2).unwrap();
        let started = self.until(" started");
        let next = started.strip_prefix("successor ").unwrap().parse().unwrap();
        self.current = Pid::from_raw(next).unwrap();
        self.until("drained");
        self.current
    }

    /// SIGTERM to the present one, which exits with status 0, and reaps it.
    fn finish(&mut self, pid: Pid) {
        kill_process(pid, Signal::TERM).unwrap();
        assert_eq!(status(pid), Some(0));
    }
}

/// The exit status of a child, or of an orphan that has become ours.
fn status(pid: Pid) -> Option<i32> {
    until_gone(pid);
    let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
    status.exit_status()
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
    let mut daemon = Daemon::start(&httpd(), &[]);
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
    let mut daemon = Daemon::start(&httpd(), &[]);
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
    let mut daemon = Daemon::start(&httpd(), &[]);
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
