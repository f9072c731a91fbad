//! One scene: all checks, under a kernel as it is or as a filter makes it look.

use core::ffi::CStr;
use core::fmt::Write as _;
use core::mem::MaybeUninit;

use gracenet::signal::{Signal, Signals};
use gracenet::{
    Args, Capsule, Changes, Deadline, Drain, Errno, Failure, ListenOptions, Net, NetView,
    Operation, PidFile, Program, StartError, monotonic_ms,
};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
    socketpair,
};
use rustix::process::WaitOptions;

use crate::heir::{MARK, PING, STATE};
use crate::kernel;
use crate::report::{self, Report, Why, because, ensure, equal, readable};

/// Of a successor that is told to exit.
pub(crate) const EXIT_STATUS: i32 = 7;

const FOLDER: &CStr = c"/tmp/gracenet-selftest";
const SOCKET: &CStr = c"/tmp/gracenet-selftest/socket";
const PID_FILE: &CStr = c"/tmp/gracenet-selftest/pid";

/// Files that cannot be executed, with what is in them and their modes.
const FILES: [(&CStr, &[u8], u32); 3] = [
    (c"/tmp/gracenet-selftest/plain", b"\x7fELF", 0o644),
    (c"/tmp/gracenet-selftest/text", b"no program\n", 0o755),
    (c"/tmp/gracenet-selftest/orphan", b"#!/nowhere\n", 0o755),
];

/// Programs that cannot be started, and why.
const IMPOSSIBLE: [(&str, &CStr, Errno); 6] = [
    ("nothing", c"/tmp/gracenet-selftest/nothing", Errno::NOENT),
    (
        "no executable",
        c"/tmp/gracenet-selftest/plain",
        Errno::ACCESS,
    ),
    ("a text", c"/tmp/gracenet-selftest/text", Errno::NOEXEC),
    (
        "a script without interpreter",
        c"/tmp/gracenet-selftest/orphan",
        Errno::NOENT,
    ),
    (
        "a file for a folder",
        c"/tmp/gracenet-selftest/plain/x",
        Errno::NOTDIR,
    ),
    (
        "a name that no folder has",
        c"gracenet-selftest-nothing",
        Errno::NOENT,
    ),
];

pub(crate) fn play(program: &Program<'_>, has_pidfds: bool, report: &mut Report<'_>) {
    report.check("there is a folder to work in", folder());
    report.check("the clock goes on, and deadlines pass", clock());
    report.check("a drain waits for its time and no longer", drain());
    let signals = Signals::new(&[Signal::USR2, Signal::CHILD]);
    report.check(
        "a signal is read, with its sender",
        match &signals {
            Ok(signals) => own_signal(signals),
            Err(error) => Err(because(error)),
        },
    );
    report.check("a pid file is written and removed", pid_file());
    report.check(
        "nothing is found that speaks against a start",
        preflight(program),
    );
    for (what, path, errno) in IMPOSSIBLE {
        let mut text = because("not started, and nothing left of it: ");
        let _ = write!(text, "{what}");
        report.check(&text, refused(program, path, errno));
    }
    kernel::disturb_signals();
    report.check("a successor that exits", {
        unready(program, c"exit", Failure::Exited(EXIT_STATUS), has_pidfds)
    });
    report.check("a successor that is killed", {
        unready(program, c"die", Failure::Killed(9), has_pidfds)
    });
    report.check("a successor that hangs", {
        unready(program, c"hang", Failure::TimedOut, has_pidfds)
    });
    report.check("a successor that closes its channel", {
        unready(program, c"close", Failure::ClosedChannel, has_pidfds)
    });
    report.check("a successor that is given up", given_up(program));
    report.check(
        "the end of a successor is a signal, with its pid",
        match &signals {
            Ok(signals) => child_signal(program, signals),
            Err(error) => Err(because(error)),
        },
    );
    report.check("a program is executed by its fd", by_fd(program));
    let _ = rustix::process::chdir("/tmp");
    let outcome = served(program, report);
    report.check("a successor takes over, and has one of its own", outcome);
}

/// A table with a socket on which another process reports, and the other end of it.
pub(crate) fn reported_net() -> Result<(OwnedFd, Net<6>), Why> {
    let mut net = Net::new();
    let ours = report_to(&mut net)?;
    Ok((ours, net))
}

fn report_to(net: &mut NetView) -> Result<OwnedFd, Why> {
    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, flags, None).map_err(because)?;
    net.insert("report", theirs)
        .map_err(|refused| because(refused.reason))?;
    Ok(ours)
}

fn folder() -> Result<(), Why> {
    for folder in [c"/tmp", FOLDER] {
        match rustix::fs::mkdir(folder, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(because(error)),
        }
    }
    for (path, text, mode) in FILES {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::from_bits_truncate(mode));
        let written = rustix::io::write(file.map_err(because)?, text).map_err(because)?;
        equal(written, text.len())?;
    }
    Ok(())
}

fn clock() -> Result<(), Why> {
    let begun = monotonic_ms();
    ensure(begun > 0, "it stands at 0")?;
    let deadline = Deadline::after_ms(30);
    ensure(!deadline.has_passed(), "passed at once")?;
    ensure(!Deadline::NEVER.has_passed(), "never has passed")?;
    let mut turns = 0_u64;
    while !deadline.has_passed() {
        turns += 1;
        ensure(turns < 1 << 32, "it does not pass")?;
    }
    between(begun, 30, 10_000)
}

/// That so many milliseconds have passed.
fn between(begun: u64, at_least: u64, at_most: u64) -> Result<(), Why> {
    let passed = monotonic_ms().saturating_sub(begun);
    let mut text = Why::new();
    let _ = write!(text, "after {passed} ms, not {at_least} to {at_most}");
    ensure((at_least..at_most).contains(&passed), &text)
}

fn drain() -> Result<(), Why> {
    let drain = Drain::new();
    equal(drain.wait(Deadline::NEVER), Ok(true))?;
    let guard = drain.enter();
    let begun = monotonic_ms();
    equal(drain.wait(Deadline::after_ms(50)), Ok(false))?;
    between(begun, 50, 10_000)?;
    drop(guard);
    equal(drain.wait(Deadline::NEVER), Ok(true))
}

fn own_signal(signals: &Signals) -> Result<(), Why> {
    let own = rustix::process::getpid();
    rustix::process::kill_process(own, Signal::USR2).map_err(because)?;
    let received = signals.read().map_err(because)?;
    let received = received.map(|it| (it.signal, it.pid));
    equal(received, Some((Signal::USR2, own.as_raw_pid() as u32)))
}

fn child_signal(program: &Program<'_>, signals: &Signals) -> Result<(), Why> {
    while signals.read().map_err(because)?.is_some() {}
    let mut net = Net::<1>::new();
    let path = program.path().unwrap_or_default();
    let changes = Changes::new();
    let args = [path, c"exit"];
    let started = net.start_process_with(program, &changes.args(Args::new(&args)));
    let successor = started.map_err(because)?;
    let _ = successor.wait_ready(Deadline::after_ms(20_000));
    let received = signals.read().map_err(because)?;
    let received = received.map(|it| (it.signal, it.pid));
    equal(
        received,
        Some((Signal::CHILD, successor.pid().as_raw_pid() as u32)),
    )
}

fn pid_file() -> Result<(), Why> {
    let file = PidFile::write(PID_FILE.to_bytes()).map_err(because)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(PID_FILE, flags, Mode::empty()).map_err(because)?;
    let mut buffer = [0; 16];
    let length = rustix::io::read(opened, &mut buffer).map_err(because)?;
    let mut wanted = because(rustix::process::getpid());
    let _ = wanted.push('\n');
    equal(buffer.get(..length), Some(wanted.as_bytes()))?;
    equal(file.remove(), Ok(true))
}

fn preflight(program: &Program<'_>) -> Result<(), Why> {
    let mut net = Net::<1>::new();
    let findings = net.preflight(program, &Changes::new());
    if let Some(finding) = findings.iter().next() {
        return Err(because(finding));
    }
    let changes = Changes::new().path(c"/tmp/gracenet-selftest/nothing");
    let findings = net.preflight(program, &changes);
    ensure(
        !findings.is_empty(),
        "nor against that of a program that is not there",
    )
}

/// Neither fds nor children are more than they were.
fn nothing_left(fds: [u64; 16]) -> Result<(), Why> {
    equal(kernel::open_fds(), fds)?;
    let waited = rustix::process::wait(WaitOptions::NOHANG);
    equal(waited.err(), Some(Errno::CHILD))
}

fn refused(program: &Program<'_>, path: &CStr, errno: Errno) -> Result<(), Why> {
    let mut net = Net::<4>::new();
    net.listen("unix", "@").map_err(because)?;
    net.listen("tcp", "127.0.0.1:0").map_err(because)?;
    let fds = kernel::open_fds();
    let mask = kernel::mask();
    let changes = Changes::new().path(path);
    match net.start_process_with(program, &changes) {
        Err(StartError::Failed(error)) => {
            equal(
                (error.operation(), error.errno()),
                (Operation::Execve, errno),
            )?;
        }
        Err(other) => return Err(because(other)),
        Ok(_) => return Err(because("it was started")),
    }
    equal(kernel::mask(), mask)?;
    nothing_left(fds)
}

/// Of a successor that never becomes ready, nothing is left, and the next may be started.
fn unready(
    program: &Program<'_>,
    role: &CStr,
    wanted: Failure,
    has_pidfds: bool,
) -> Result<(), Why> {
    let mut net = Net::<1>::new();
    let path = program.path().unwrap_or_default();
    let args = [path, role];
    let changes = Changes::new().args(Args::new(&args));
    let fds = kernel::open_fds();
    // The table is free for another one then; waiting twice would say nothing more.
    let rounds = if matches!(wanted, Failure::Exited(_)) {
        2
    } else {
        1
    };
    for _ in 0..rounds {
        let begun = monotonic_ms();
        let started = net.start_process_with(program, &changes);
        let successor = started.map_err(because)?;
        equal(successor.pidfd().is_some(), has_pidfds)?;
        let ms = if wanted == Failure::TimedOut {
            300
        } else {
            20_000
        };
        let outcome = successor.wait_ready(Deadline::after_ms(ms));
        equal(outcome, Err(wanted))?;
        if wanted == Failure::TimedOut {
            between(begun, ms, 20_000)?;
        }
        nothing_left(fds)?;
    }
    Ok(())
}

fn given_up(program: &Program<'_>) -> Result<(), Why> {
    let mut net = Net::<1>::new();
    let path = program.path().unwrap_or_default();
    let args = [path, c"hang"];
    let changes = Changes::new().args(Args::new(&args));
    let fds = kernel::open_fds();
    let started = net.start_process_with(program, &changes);
    let successor = started.map_err(because)?;
    equal(successor.try_wait(Deadline::NEVER), None)?;
    successor.kill();
    let outcome = successor.wait_ready(Deadline::after_ms(20_000));
    equal(outcome, Err(Failure::GivenUp))?;
    nothing_left(fds)
}

fn by_fd(program: &Program<'_>) -> Result<(), Why> {
    let path = program.path().unwrap_or_default();
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(because)?;
    let args = [c"some other name", c"exit"];
    let changes = Changes::new().args(Args::new(&args));
    let changes = changes.executable(rustix::fd::AsFd::as_fd(&file));
    let mut net = Net::<1>::new();
    let started = net.start_process_with(program, &changes);
    let successor = started.map_err(because)?;
    let outcome = successor.wait_ready(Deadline::after_ms(20_000));
    equal(outcome, Err(Failure::Exited(EXIT_STATUS)))
}

/// What clients get from the one that takes over.
fn served(program: &Program<'_>, report: &mut Report<'_>) -> Result<(), Why> {
    let mut net = Net::<6>::new();
    let options = ListenOptions::new();
    let mut listen = |network: &str, address: &[u8], name: &str| {
        let options = options.name(name);
        net.listen_with(network, address, &options).map_err(because)
    };
    let web = listen("tcp", b"127.0.0.1:0", "web")?;
    let local = listen("unix", b"@gracenet-selftest", "local")?;
    let file = listen("unix", SOCKET.to_bytes(), "file")?;
    let datagram = listen("udp", b"127.0.0.1:0", "datagram")?;
    let (version, text) = STATE;
    let capsule = Capsule::seal(version, &[text]).map_err(because)?;
    net.insert("capsule", capsule)
        .map_err(|refused| because(refused.reason))?;
    let reports = report_to(&mut net)?;

    let mut clients = [None, None, None];
    for (client, handle) in clients.iter_mut().zip([web, local, file]) {
        let connected = rustix::net::getsockname(net.borrow(handle).map_err(because)?);
        let address = connected.map_err(because)?;
        let (family, flags) = (address.address_family(), SocketFlags::CLOEXEC);
        let socket = socket_with(family, SocketType::STREAM, flags, None).map_err(because)?;
        connect(&socket, &address).map_err(because)?;
        send(&socket, PING, SendFlags::NOSIGNAL).map_err(because)?;
        *client = Some(socket);
    }
    let address = rustix::net::getsockname(net.borrow(datagram).map_err(because)?);
    let (kind, flags) = (SocketType::DGRAM, SocketFlags::CLOEXEC);
    let sender = socket_with(AddressFamily::INET, kind, flags, None).map_err(because)?;
    let address = address.map_err(because)?;
    rustix::net::sendto(&sender, PING, SendFlags::NOSIGNAL, &address).map_err(because)?;

    let path = program.path().unwrap_or_default();
    let mut others = because(program.environ().for_others().count() + 1);
    let _ = others.push('\0');
    let others = CStr::from_bytes_until_nul(others.as_bytes()).map_err(because)?;
    let args = [path, c"heir", others];
    let changes = Changes::new().args(Args::new(&args));
    let changes = changes.set(&[MARK]);
    let deadline = Deadline::after_ms(60_000);
    let started = net.start_process_with(program, &changes);
    let successor = started.map_err(because)?;
    if let Err(failure) = successor.wait_ready(deadline) {
        // What it had to say before that.
        let _ = report.relay(&reports, Deadline::after_ms(0));
        return Err(because(failure));
    }
    equal(successor.wait_ready(deadline), Ok(()))?;
    // As long as it lives, which it does until it has been seen.
    let again = net.start_process_with(program, &changes).map(drop);
    equal(again, Err(StartError::InProgress))?;
    report::seen(&reports)?;
    for client in clients.iter().flatten() {
        let mut buffer = [MaybeUninit::uninit(); 16];
        ensure(readable(client, deadline)?, "a client waits")?;
        let received = recv(client, buffer.as_mut_slice(), RecvFlags::DONTWAIT);
        equal(&*received.map_err(because)?.0.0, PING)?;
    }
    report.relay(&reports, deadline)?;
    let unlinked = net.close_and_unlink(file).map_err(because);
    net.retire();
    // The first has exited, with a successor that lives on until it has seen that.
    let ended = net.successor().map(|it| it.probation(deadline));
    equal(ended, Some(Err(Failure::Exited(0))))?;
    unlinked
}
