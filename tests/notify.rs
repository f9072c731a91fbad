//! A service tells its manager how it is, and a manager listens to what it has started. The other
//! side is a plain socket here, or libsystemd.
#![allow(unsafe_code)] // libsystemd, by its symbols.

mod util;

use std::env;
use std::ffi::{CStr, CString, c_char, c_int, c_uint};
use std::fs::{self, File};
use std::io::{IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::Command;
use std::sync::MutexGuard;
use std::time::Duration;

use gracenet::notify::{FDS_MAX, MESSAGE_MAX, Notify, NotifyAccess, NotifyError, Receiver, State};
use gracenet::{Args, Changes, Deadline, Environ, Errno, Failure, Net, Operation, Program};
use rustix::fs::fstat;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use util::{Fds, Predecessor, alone, in_process_of_its_own, in_time, until_gone};

/// A manager's socket, and the service's view of it.
struct Manager {
    socket: UnixDatagram,
    notify: Notify,
    _folder: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

fn notify(socket: &str) -> Notify {
    let variable = CString::new(format!("NOTIFY_SOCKET={socket}")).unwrap();
    let environ = [&*variable];
    Notify::new(Environ::new(&environ)).unwrap().unwrap()
}

impl Manager {
    fn new() -> Manager {
        let alone = alone();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Manager {
            socket,
            notify: notify(path.to_str().unwrap()),
            _folder: folder,
            _alone: alone,
        }
    }

    /// The next message, and the fds that come with it.
    fn hear(&self) -> (String, Vec<OwnedFd>) {
        in_time(self.socket.as_fd(), "a message");
        let mut bytes = [0; 2 * MESSAGE_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
        .unwrap();
        let fds = control
            .drain()
            .flat_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
                _ => Vec::new(),
            })
            .collect();
        let text = String::from_utf8(bytes[..received.bytes].to_vec()).unwrap();
        (text, fds)
    }
}

/// Case J1.
#[test]
fn a_service_is_heard_at_a_path_and_at_an_abstract_name() {
    let manager = Manager::new();
    manager
        .notify
        .send(&[State::Ready, State::Status(b"serving")])
        .unwrap();
    assert_eq!(manager.hear().0, "READY=1\nSTATUS=serving");

    let name = format!("gracenet-notify-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    notify(&format!("@{name}"))
        .send(&[State::Stopping])
        .unwrap();
    let mut bytes = [0; 64];
    let length = socket.recv(&mut bytes).unwrap();
    assert_eq!(&bytes[..length], b"STOPPING=1");
}

/// Case J1. This machine may have it or not; nobody listens there in either case.
#[test]
fn vsock_where_nobody_listens_is_an_error() {
    let _alone = alone();
    for scheme in ["vsock", "vsock-stream", "vsock-seqpacket", "vsock-dgram"] {
        let error = notify(&format!("{scheme}:1:4711")).send(&[State::Ready]);
        let Err(NotifyError::Failed(error)) = error else {
            panic!("{scheme}: {error:?}")
        };
        let operations = [Operation::Socket, Operation::Connect, Operation::Send];
        assert!(operations.contains(&error.operation()), "{error}");
    }
}

/// Case J4.
#[test]
fn fds_are_copied_to_the_manager() {
    let manager = Manager::new();
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, b"kept").unwrap();
    for count in [1, 2, 3, FDS_MAX] {
        let fds: Vec<BorrowedFd<'_>> = (0..count).map(|_| file.as_fd()).collect();
        let states = [
            State::FdStore,
            State::FdName(b"state"),
            State::FdPoll(false),
        ];
        let deadline = Deadline::after_ms(20_000);
        manager.notify.send_with(&states, &fds, deadline).unwrap();
        let (text, kept) = manager.hear();
        assert_eq!(text, "FDSTORE=1\nFDNAME=state\nFDPOLL=0");
        assert_eq!(kept.len(), count);
        for fd in kept {
            let mut bytes = [0; 8];
            assert_eq!(rustix::io::pread(&fd, &mut bytes, 0).unwrap(), 4);
            assert_eq!(&bytes[..4], b"kept");
        }
    }
    let fds = vec![file.as_fd(); FDS_MAX + 1];
    let refused = manager
        .notify
        .send_with(&[State::FdStore], &fds, Deadline::NEVER);
    assert_eq!(refused, Err(NotifyError::TooManyFds));
}

/// Case J5.
#[test]
fn what_cannot_be_said_in_lines_is_refused_and_nothing_is_told() {
    let manager = Manager::new();
    let refused = manager
        .notify
        .send(&[State::Ready, State::Status(b"two\nlines")]);
    assert_eq!(refused, Err(NotifyError::State(1)));
    let long = [b'x'; MESSAGE_MAX];
    let refused = manager.notify.send(&[State::Status(&long)]);
    assert_eq!(refused, Err(NotifyError::TooLong));
    manager.notify.send(&[State::Watchdog]).unwrap();
    assert_eq!(manager.hear().0, "WATCHDOG=1");
}

/// Case J4. It stands alone with one fd, which is closed when it has been read.
#[test]
fn a_barrier_waits_until_all_has_been_read() {
    let manager = Manager::new();
    manager.notify.send(&[State::Ready]).unwrap();
    let late = manager.notify.barrier(Deadline::after_ms(50));
    assert_eq!(late, Err(NotifyError::TimedOut));

    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut heard = vec![manager.hear(), manager.hear(), manager.hear()];
            let texts: Vec<_> = heard.iter().map(|(text, _)| text.clone()).collect();
            let fds: Vec<_> = heard.iter().map(|(_, fds)| fds.len()).collect();
            // Only now.
            heard.clear();
            (texts, fds)
        });
        let deadline = Deadline::after_ms(20_000);
        manager.notify.barrier(deadline).unwrap();
        let (texts, fds) = reader.join().unwrap();
        assert_eq!(texts, ["READY=1", "BARRIER=1", "BARRIER=1"]);
        assert_eq!(fds, [0, 1, 1]);
    });
}

/// It is waited for as long as was said; its queue is full after some messages.
#[test]
fn a_manager_that_does_not_read_is_an_error_in_time() {
    let manager = Manager::new();
    let before = Fds::of_self();
    let mut sent = 0;
    let error = loop {
        let deadline = Deadline::after_ms(0);
        match manager.notify.send_with(&[State::Watchdog], &[], deadline) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 100_000);
    };
    let NotifyError::Failed(error) = error else {
        panic!("{error}")
    };
    assert_eq!(
        (error.operation(), error.errno()),
        (Operation::Send, Errno::AGAIN)
    );
    assert_eq!(Fds::of_self(), before);
    // Once it reads, a message that waits is through.
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| manager.notify.send(&[State::Ready]));
        for _ in 0..sent {
            assert_eq!(manager.hear().0, "WATCHDOG=1");
        }
        waiting.join().unwrap().unwrap();
        assert_eq!(manager.hear().0, "READY=1");
    });
}

#[test]
fn nobody_at_the_socket_is_an_error() {
    let manager = Manager::new();
    drop(manager.socket);
    let refused = manager.notify.send(&[State::Ready]);
    let Err(NotifyError::Failed(error)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(error.to_string(), "connect: os error 111");
    drop(manager._folder);
    let missing = manager.notify.send(&[State::Ready]);
    assert_eq!(missing.unwrap_err().to_string(), "connect: os error 2");
}

/// Case J3. The inode of the pidfd goes along where it is one of its own.
#[test]
fn the_old_process_says_who_is_the_service_now() {
    let manager = Manager::new();
    let mut predecessor = Predecessor::new();
    // A shell that ends when nobody talks to it any more.
    let pid = predecessor.start_script("printf ready >&$c; read x <&3; exit 3");
    let successor = predecessor.net.successor().unwrap();
    successor.wait_ready(Deadline::after_ms(20_000)).unwrap();
    manager.notify.handed_over(successor, b"serving").unwrap();
    let refused = manager.notify.handed_over(successor, b"two\nlines");
    assert!(matches!(refused, Err(NotifyError::State(_))), "{refused:?}");

    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.');
    let mut number = || numbers.next().unwrap().parse::<u32>().unwrap();
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    let named = match (number(), number()) >= (6, 9) {
        true => format!("\nMAINPIDFDID={}", fstat(pidfd).unwrap().st_ino),
        false => String::new(),
    };
    let expected = format!("MAINPID={pid}{named}\nREADY=1\nWATCHDOG=1\nSTATUS=serving");
    assert_eq!(manager.hear().0, expected);

    predecessor.hang_up();
    let successor = predecessor.net.successor().unwrap();
    let outcome = successor.probation(Deadline::after_ms(20_000));
    assert_eq!(outcome, Err(Failure::Exited(3)));
}

/// What another process says has its pid, and fds that come along are closed.
#[test]
fn a_program_that_is_started_says_that_it_is_ready() {
    let _alone = alone();
    let before = Fds::of_self();
    let receiver = Receiver::new().unwrap();
    let mut buffer = [0; MESSAGE_MAX];
    assert_eq!(receiver.receive(&mut buffer), Ok(None));
    let (name, value) = receiver
        .variable()
        .to_str()
        .unwrap()
        .split_once('=')
        .unwrap();
    assert!(value.starts_with('@') && value.len() == 6, "{value}");

    let script = "import os, socket\n\
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
        s.connect('\\0' + os.environ['NOTIFY_SOCKET'][1:])\n\
        s.send(b'STATUS=up\\nREADY=1')\n\
        s.send(b'READY=0\\nREADY=1')\n\
        s.send(b'READY=11\\nXREADY=1\\nREADY=1 ')\n\
        socket.send_fds(s, [b'FDSTORE=1'], [0, 1, 2])\n\
        r, w = os.pipe()\n\
        socket.send_fds(s, [b'BARRIER=1'], [w])\n\
        os.close(w)\n\
        assert os.read(r, 1) == b''\n\
        s.send(b'x' * 5000)\n";
    let mut child = Command::new("python3")
        .args(["-c", script])
        .env(name, value)
        .spawn()
        .unwrap();
    for (expected, ready) in [
        ("STATUS=up\nREADY=1", true),
        ("READY=0\nREADY=1", true),
        ("READY=11\nXREADY=1\nREADY=1 ", false),
        ("FDSTORE=1", false),
        ("BARRIER=1", false),
    ] {
        in_time(receiver.as_fd(), expected);
        let message = receiver.receive(&mut buffer).unwrap().unwrap();
        assert_eq!(message.message, expected.as_bytes());
        assert_eq!(message.pid, child.id());
        assert_eq!(message.uid, rustix::process::getuid().as_raw());
        assert_eq!((message.is_ready(), message.truncated), (ready, false));
    }
    in_time(receiver.as_fd(), "a long message");
    let message = receiver.receive(&mut buffer).unwrap().unwrap();
    assert!(message.truncated && message.message.len() == MESSAGE_MAX);
    assert!(child.wait().unwrap().success());
    drop(receiver);
    assert_eq!(Fds::of_self(), before);
}

/// `sd_pid_notify_with_fds` of libsystemd.
type PidNotifyWithFds =
    unsafe extern "C" fn(c_int, c_int, *const c_char, *const c_int, c_uint) -> c_int;

fn libsystemd() -> PidNotifyWithFds {
    // SAFETY: a library whose initializers do nothing to us.
    let library = unsafe { libc::dlopen(c"libsystemd.so.0".as_ptr(), libc::RTLD_NOW) };
    assert!(!library.is_null(), "libsystemd0 is not installed");
    // SAFETY: a handle and a name.
    let symbol = unsafe { libc::dlsym(library, c"sd_pid_notify_with_fds".as_ptr()) };
    assert!(!symbol.is_null());
    // SAFETY: this is its type, by sd-daemon.h.
    unsafe { std::mem::transmute(symbol) }
}

/// Byte for byte, and fd for fd.
#[test]
fn libsystemd_would_say_the_same() {
    in_process_of_its_own("libsystemd_would_say_the_same", |folder: &Path| {
        let sd_notify = libsystemd();
        let path = folder.join("notify");
        let manager = Manager {
            socket: UnixDatagram::bind(&path).unwrap(),
            notify: notify(path.to_str().unwrap()),
            _folder: tempfile::tempdir().unwrap(),
            _alone: alone(),
        };
        // SAFETY: this process has one thread that looks at it.
        unsafe { env::set_var("NOTIFY_SOCKET", &path) };
        let file = File::open("/dev/null").unwrap();
        let pid = Pid::from_raw(4711).unwrap();
        let long = "s".repeat(MESSAGE_MAX - "STATUS=".len());
        let cases: &[(&str, &[State<'_>], usize)] = &[
            ("READY=1", &[State::Ready], 0),
            (
                "STOPPING=1\nSTATUS=50 % = half",
                &[State::Stopping, State::Status(b"50 % = half")],
                0,
            ),
            (
                "ERRNO=2\nBUSERROR=org.example.Broken\nEXIT_STATUS=3",
                &[
                    State::Errno(Errno::NOENT),
                    State::BusError(b"org.example.Broken"),
                    State::ExitStatus(3),
                ],
                0,
            ),
            (
                "MAINPID=4711\nREADY=1",
                &[State::MainPid(pid), State::Ready],
                0,
            ),
            (
                "MAINPIDFDID=99\nMAINPIDFD=1",
                &[State::MainPidFdId(99), State::MainPidFd],
                1,
            ),
            ("WATCHDOG=1", &[State::Watchdog], 0),
            ("WATCHDOG=trigger", &[State::WatchdogTrigger], 0),
            (
                "WATCHDOG_USEC=20000000",
                &[State::WatchdogUsec(20_000_000)],
                0,
            ),
            (
                "EXTEND_TIMEOUT_USEC=5000000",
                &[State::ExtendTimeoutUsec(5_000_000)],
                0,
            ),
            (
                "NOTIFYACCESS=all",
                &[State::NotifyAccess(NotifyAccess::All)],
                0,
            ),
            (
                "FDSTORE=1\nFDNAME=web\nFDPOLL=1",
                &[State::FdStore, State::FdName(b"web"), State::FdPoll(true)],
                3,
            ),
            ("FDSTORE=1", &[State::FdStore], FDS_MAX),
            (
                "FDSTOREREMOVE=1\nFDNAME=web",
                &[State::FdStoreRemove, State::FdName(b"web")],
                0,
            ),
            (
                "X_GRACENET=\u{fc}",
                &[State::Other(b"X_GRACENET", "\u{fc}".as_bytes())],
                0,
            ),
            (
                &format!("STATUS={long}"),
                &[State::Status(long.as_bytes())],
                0,
            ),
        ];
        for (text, states, count) in cases {
            let raw = vec![file.as_raw_fd(); *count];
            let theirs = CString::new(*text).unwrap();
            let (at, length) = (raw.as_ptr(), *count as c_uint);
            // SAFETY: a C string, and as many fds as is said.
            let result = unsafe { sd_notify(0, 0, theirs.as_ptr(), at, length) };
            assert!(result > 0, "{text}: {result}");
            let (expected, expected_fds) = manager.hear();
            assert_eq!(expected, *text);

            let fds = vec![file.as_fd(); *count];
            let deadline = Deadline::after_ms(20_000);
            manager.notify.send_with(states, &fds, deadline).unwrap();
            let (said, said_fds) = manager.hear();
            assert_eq!(said, expected);
            assert_eq!(said_fds.len(), expected_fds.len(), "{text}");
        }

        // Case J2. The time is between those before and after.
        let before = gracenet::monotonic_ms();
        manager.notify.send(&[State::Reloading]).unwrap();
        let after = gracenet::monotonic_ms();
        let (text, _) = manager.hear();
        let time: u64 = text
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .unwrap()
            .parse()
            .unwrap();
        let time = time / 1_000;
        assert!((before..=after).contains(&time), "{before} {time} {after}");
    });
}

/// Case J1. What libsystemd takes for an address and what not.
#[test]
fn libsystemd_refuses_the_same_addresses() {
    in_process_of_its_own("libsystemd_refuses_the_same_addresses", |_| {
        let sd_notify = libsystemd();
        for address in [
            "",
            "relative",
            "@",
            "unix:/x",
            &format!("/{}", "x".repeat(120)),
        ] {
            // SAFETY: this process has one thread that looks at it.
            unsafe { env::set_var("NOTIFY_SOCKET", address) };
            // SAFETY: a C string, and no fds.
            let theirs = unsafe { sd_notify(0, 0, c"READY=1".as_ptr(), std::ptr::null(), 0) };
            assert!(theirs < 0, "{address:?}: {theirs}");
            let variable = CString::new(format!("NOTIFY_SOCKET={address}")).unwrap();
            let environ: [&CStr; 1] = [&variable];
            assert!(Notify::new(Environ::new(&environ)).is_err(), "{address:?}");
        }
    });
}

/// A program that knows systemd's protocols and nothing of this crate takes over.
#[test]
fn a_foreign_successor_is_ready_when_it_says_so_as_systemd_wants_it() {
    let _alone = alone();
    let before = Fds::of_self();
    {
        let mut net: Net<4> = Net::new();
        let web = net.listen("tcp", "127.0.0.1:0").unwrap();
        let address = net.get(web).unwrap().local_address().unwrap().unwrap();
        let script = "import os, socket, sys\n\
            assert 'GRACENET_FD' not in os.environ\n\
            assert int(os.environ['LISTEN_PID']) == os.getpid()\n\
            assert os.environ['LISTEN_FDS'] == '1'\n\
            assert sorted(map(int, os.listdir('/proc/self/fd')))[:5] == [0, 1, 2, 3, 4]\n\
            s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
            s.connect('\\0' + os.environ['NOTIFY_SOCKET'][1:])\n\
            if os.fork() == 0:\n\
            \x20   s.send(b'STATUS=a child\\nREADY=1')\n\
            \x20   os._exit(0)\n\
            os.wait()\n\
            if len(sys.argv) > 1: sys.exit(3)\n\
            s.send(b'READY=1')\n\
            s.send(b'STATUS=serving')\n\
            l = socket.socket(fileno=3)\n\
            c, _ = l.accept()\n\
            c.send(b'foreign')\n\
            c.recv(1)\n";
        let script = CString::new(script).unwrap();
        let receiver = Receiver::new().unwrap();
        let variables = [receiver.variable()];
        let environ = [c"PATH=/usr/local/bin:/usr/bin:/bin"];
        let changes = Changes::new().foreign().set(&variables);

        // What its children say does not count, and its end does.
        let args = [c"python3", c"-c", &*script, c"fail"];
        let program = Program::new(Args::new(&args), Environ::new(&environ));
        let successor = net.start_process_with(&program, &changes).unwrap();
        assert!(successor.channel().is_none());
        let outcome = receiver.wait_ready(successor, Deadline::after_ms(20_000));
        assert_eq!(outcome, Err(Failure::Exited(3)));

        // Nor does its silence: the caller's deadline ends it.
        let args = [c"sleep", c"60"];
        let program = Program::new(Args::new(&args), Environ::new(&environ));
        let successor = net.start_process_with(&program, &changes).unwrap();
        let outcome = receiver.wait_ready(successor, Deadline::after_ms(50));
        assert_eq!(outcome, Err(Failure::TimedOut));

        // Or it is trusted, if it is still there.
        let successor = net.start_process_with(&program, &changes).unwrap();
        assert_eq!(successor.try_wait(Deadline::after_ms(20_000)), None);
        successor.declare_ready();
        assert_eq!(successor.try_wait(Deadline::NEVER), Some(Ok(())));
        kill_process(successor.pid(), Signal::KILL).unwrap();
        let held_out = successor.probation(Deadline::after_ms(20_000));
        assert_eq!(held_out, Err(Failure::Killed(9)));
        let args = [c"true"];
        let program = Program::new(Args::new(&args), Environ::new(&environ));
        let successor = net.start_process_with(&program, &changes).unwrap();
        until_gone(successor.pid());
        successor.declare_ready();
        assert_eq!(
            successor.try_wait(Deadline::NEVER),
            Some(Err(Failure::Exited(0)))
        );

        let args = [c"python3", c"-c", &*script];
        let program = Program::new(Args::new(&args), Environ::new(&environ));
        let successor = net.start_process_with(&program, &changes).unwrap();
        let mut client = TcpStream::connect(address.to_string()).unwrap();
        let mut said = [0; 7];
        client.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"foreign");
        let outcome = receiver.wait_ready(successor, Deadline::after_ms(20_000));
        assert_eq!(outcome, Ok(()));
        // What comes behind that is left for whoever wants to know it.
        let mut buffer = [0; MESSAGE_MAX];
        let message = receiver.receive(&mut buffer).unwrap().unwrap();
        assert_eq!(message.message, b"STATUS=serving");
        net.retire();
        drop(client);
        let ended = net
            .successor()
            .unwrap()
            .probation(Deadline::after_ms(20_000));
        assert_eq!(ended, Err(Failure::Exited(0)));
    }
    assert_eq!(Fds::of_self(), before);
}

/// Only a socket that has its name from the kernel is what another program's receiver was.
#[test]
fn receiver_is_made_of_one_and_of_nothing_else() {
    let _alone = alone();
    let receiver = Receiver::new().unwrap();
    let again = Receiver::from_fd(receiver.as_fd().try_clone_to_owned().unwrap()).unwrap();
    assert_eq!(again.variable(), receiver.variable());
    drop(receiver);
    let environ = [again.variable()];
    let notify = Notify::new(Environ::new(&environ)).unwrap().unwrap();
    notify.send(&[State::Ready]).unwrap();
    let mut buffer = [0; 64];
    assert!(again.receive(&mut buffer).unwrap().unwrap().is_ready());

    let directory = tempfile::tempdir().unwrap();
    for other in [
        util::bound("udp", "127.0.0.1:0"),
        util::bound("udp6", "[::1]:0"),
        util::bound("unixgram", directory.path().join("notify")),
        util::bound("unixgram", "@gracenet-notify-by-name"),
        util::socket("unixgram", rustix::net::AddressFamily::UNIX),
        std::fs::File::open("/dev/null").unwrap().into(),
    ] {
        Receiver::from_fd(other).map(drop).unwrap_err();
    }
}

/// Those of a message that has waited since before the socket was a receiver's, too.
#[test]
fn fds_that_come_with_a_message_are_closed() {
    let _alone = alone();
    let socket = util::socket("unixgram", rustix::net::AddressFamily::UNIX);
    let unnamed = libc::AF_UNIX as libc::sa_family_t;
    // SAFETY: an address of two bytes, for which the kernel chooses a name.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const unnamed).cast(), 2) };
    assert_eq!(bound, 0);
    let socket = UnixDatagram::from(socket);
    let name = socket.local_addr().unwrap();
    let name = str::from_utf8(name.as_abstract_name().unwrap()).unwrap();
    let notify = notify(&format!("@{name}"));
    let null = File::open("/dev/null").unwrap();
    let before = Fds::of_self();
    let fds = [null.as_fd(); FDS_MAX];
    let deadline = Deadline::after_ms(20_000);
    let send = |count: usize| {
        let sent = notify.send_with(&[State::FdStore], &fds[..count], deadline);
        sent.unwrap();
    };
    send(FDS_MAX);
    send(1);
    let receiver = Receiver::from_fd(socket.into()).unwrap();
    send(1);
    send(4);
    send(FDS_MAX);
    let own = std::process::id();
    // Of the first two nobody has written down from whom they are.
    for pid in [0, 0, own, own, own] {
        let mut buffer = [0; 64];
        let message = receiver.receive(&mut buffer).unwrap().unwrap();
        assert_eq!(message.pid, pid);
        assert!(!message.truncated && message.message.starts_with(b"FDSTORE=1"));
        assert_eq!(Fds::of_self(), before);
    }
    assert_eq!(receiver.receive(&mut [0; 64]).unwrap(), None);
}
