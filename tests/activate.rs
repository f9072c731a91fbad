//! `systemd-socket-activate` listens, and starts a program when somebody comes: the daemon of
//! examples/httpd, or one that does what it is told. What it passes is not ours: fds that block,
//! and names that it makes up.

mod util;

use std::fs::File;
use std::io::Write as _;
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with,
};
use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Signal, WaitOptions, getpid, kill_process, pidfd_getfd,
    pidfd_open, set_child_subreaper, waitpid,
};
use tempfile::TempDir;
use util::{httpd, in_time, line, program};

/// The activator, which becomes the program: its pid stays.
struct Activated {
    child: Child,
    log: File,
    /// Ends with this, too, if there is one.
    successor: Option<Pid>,
}

impl Activated {
    /// Starts `program` behind it, and waits until it listens on so many.
    fn start(options: &[&str], program: &Path, words: &[&str], listeners: usize) -> Activated {
        let mut child = Command::new("systemd-socket-activate")
            .args(options)
            .arg(program)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("systemd-socket-activate");
        let log = File::from(OwnedFd::from(child.stderr.take().unwrap()));
        let mut activated = Activated {
            child,
            log,
            successor: None,
        };
        for _ in 0..listeners {
            activated.until("Listening on ");
        }
        activated
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The next line of the log that has this in it.
    fn until(&mut self, part: &str) -> String {
        const MOST_LINES: usize = 100;
        for _ in 0..MOST_LINES {
            let line = line(&mut self.log, part);
            if line.contains(part) {
                return line;
            }
        }
        panic!("no line with {part:?}");
    }

    /// Tells the puppet to do something: what it answers.
    fn must(&mut self, order: &str) -> String {
        let orders = self.child.stdin.as_mut().unwrap();
        writeln!(orders, "{order}").unwrap();
        let answer = line(self.child.stdout.as_mut().unwrap(), order);
        match answer.strip_prefix("ok") {
            Some(answer) => answer.trim().to_owned(),
            None => panic!("`{order}` was answered by {answer:?}"),
        }
    }

    /// Words of the description that the order is answered by: fd, name, and whether it was
    /// inherited.
    fn gets(&mut self, order: &str) -> [String; 3] {
        let description = self.must(order);
        let words: Vec<&str> = description.split(' ').collect();
        let [_, fd, name, _, _, inherited, _] = *words else {
            panic!("no description of a socket: {description:?}")
        };
        [fd, name, inherited].map(str::to_owned)
    }
}

impl Drop for Activated {
    fn drop(&mut self) {
        // They may have ended by themselves, but were not reaped.
        for pid in [Some(self.pid()), self.successor].into_iter().flatten() {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// On a host of its own, so that nobody else takes the port before it is bound.
fn free_address() -> SocketAddr {
    static HOSTS: AtomicU32 = AtomicU32::new(1);
    let host = format!("127.14.{}.1:0", HOSTS.fetch_add(1, Ordering::Relaxed));
    TcpListener::bind(host).unwrap().local_addr().unwrap()
}

/// A path for a socket, in a folder that is there as long as it.
fn place() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("socket");
    (folder, path)
}

fn get(mut stream: impl std::io::Read + std::io::Write + AsFd) -> String {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    in_time(stream.as_fd(), "an answer");
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").expect(&answer);
    body.to_owned()
}

/// The first client is served, although nobody ran when it came, and a successor has the sockets
/// as well.
#[test]
fn the_daemon_is_started_by_its_first_client() {
    set_child_subreaper(Some(getpid())).unwrap();
    let (_folder, path) = place();
    let (path, address) = (path.to_str().unwrap(), free_address().to_string());
    let options = [&*format!("--listen={address}"), &format!("--listen={path}")];
    let words = ["--tag", "one", "unix", path, "tcp", &address];
    let mut daemon = Activated::start(&options, &httpd(), &words, 2);
    let pid = daemon.pid().as_raw_nonzero();

    let answer = get(TcpStream::connect(&address).unwrap());
    assert_eq!(answer, format!("pid={pid} generation=0 tag=one\n"));
    let answer = get(UnixStream::connect(path).unwrap());
    assert_eq!(answer, format!("pid={pid} generation=0 tag=one\n"));
    assert!(daemon.until("listening unix").ends_with(" (inherited)"));
    assert!(daemon.until("listening tcp").ends_with(" (inherited)"));

    kill_process(daemon.pid(), Signal::USR2).unwrap();
    let started = daemon.until(": successor ");
    let number = started.split(' ').nth(2).unwrap();
    let successor = Pid::from_raw(number.parse().unwrap()).unwrap();
    daemon.successor = Some(successor);
    daemon.until("drained");
    assert!(daemon.child.wait().unwrap().success());
    for answer in [
        get(TcpStream::connect(&address).unwrap()),
        get(UnixStream::connect(path).unwrap()),
    ] {
        assert_eq!(answer, format!("pid={number} generation=1 tag=one\n"));
    }
    let pidfd = pidfd_open(successor, PidfdFlags::empty()).unwrap();
    kill_process(successor, Signal::TERM).unwrap();
    in_time(pidfd.as_fd(), "the end of the successor");
    daemon.successor = None;
    let (_, status) = waitpid(Some(successor), WaitOptions::empty())
        .unwrap()
        .unwrap();
    assert_eq!(status.exit_status(), Some(0));
}

/// `--seqpacket`: a connection that was made before the program was there is accepted by it.
#[test]
fn a_seqpacket_socket_is_found_by_its_path() {
    let (_folder, path) = place();
    let path = path.to_str().unwrap();
    let options = ["--seqpacket", &format!("--listen={path}")];
    let mut puppet = Activated::start(&options, &program("puppet"), &[], 1);

    let flags = SocketFlags::CLOEXEC;
    let client = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    connect(&client, &SocketAddrUnix::new(path).unwrap()).unwrap();
    assert_eq!(puppet.must("inherit"), "1 generation=0");
    // The same path as a stream's is another socket.
    let got = puppet.gets(&format!("listen unixpacket {path}"));
    assert_eq!(got, ["fd=3", "name=unknown", "inherited"]);
    let accepted = puppet.must("accept 0");
    let fd = accepted.strip_prefix("fd=").unwrap();
    puppet.must(&format!("write {fd} hello"));
    in_time(client.as_fd(), "a message");
    let mut buffer = [MaybeUninit::uninit(); 16];
    let ((message, _), _) = recv(&client, buffer.as_mut_slice(), RecvFlags::empty()).unwrap();
    assert_eq!(message, b"hello");
}

/// `--datagram`: the datagram that had it started is still there for whoever has the socket.
#[test]
fn datagram_sockets_are_found_by_their_addresses() {
    let (_folder, path) = place();
    let (path, address) = (path.to_str().unwrap(), free_address().to_string());
    let udp = format!("--listen={address}");
    let unix = format!("--listen={path}");
    let mut puppet = Activated::start(&["--datagram", &udp, &unix], &program("puppet"), &[], 2);

    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"first", &address).unwrap();
    assert_eq!(puppet.must("inherit"), "2 generation=0");
    let got = puppet.gets(&format!("listen unixgram {path}"));
    assert_eq!(got, ["fd=4", "name=unknown", "inherited"]);
    let got = puppet.gets(&format!("listen udp {address}"));
    assert_eq!(got, ["fd=3", "name=unknown", "inherited"]);

    let flags = SocketFlags::CLOEXEC;
    let client = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None).unwrap();
    connect(&client, &SocketAddrUnix::new(path).unwrap()).unwrap();
    send(&client, b"second", SendFlags::empty()).unwrap();
    let pidfd = pidfd_open(puppet.pid(), PidfdFlags::empty()).unwrap();
    for (fd, expected) in [(3, b"first".as_slice()), (4, b"second")] {
        let socket = pidfd_getfd(&pidfd, fd, PidfdGetfdFlags::empty()).unwrap();
        in_time(socket.as_fd(), "a datagram");
        let mut buffer = [MaybeUninit::uninit(); 16];
        let ((datagram, _), _) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty()).unwrap();
        assert_eq!(datagram, expected);
    }
}

/// `--fdname`: each by its name and by its address, and the names go on to a successor.
#[test]
fn names_are_those_of_the_command_line() {
    let (_folder, path) = place();
    let (path, address) = (path.to_str().unwrap(), free_address().to_string());
    let other = free_address().to_string();
    let options = [
        "--fdname=web:admin:web",
        &format!("--listen={address}"),
        &format!("--listen={path}"),
        &format!("--listen={other}"),
    ];
    let mut puppet = Activated::start(&options, &program("puppet"), &[], 3);
    let _client = UnixStream::connect(path).unwrap();
    assert_eq!(puppet.must("inherit"), "3 generation=0");
    let got = puppet.gets(&format!("listen tcp {other}"));
    assert_eq!(got, ["fd=5", "name=web", "inherited"]);
    // The first that nobody has yet.
    let got = puppet.gets("claim web");
    assert_eq!(got, ["fd=3", "name=web", "inherited"]);
    let got = puppet.gets(&format!("listen unix {path}"));
    assert_eq!(got, ["fd=4", "name=admin", "inherited"]);
    puppet.must("ready");
    assert_eq!(puppet.must("iter").matches(" claimed").count(), 3);
}
