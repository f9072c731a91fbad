//! The successor: that it was given what it should, and nothing more. Then it has a successor of
//! its own.

use core::ffi::CStr;
use core::fmt::Write as _;
use core::mem::MaybeUninit;
use core::str;

use gracenet::{Capsule, Deadline, Net, NetView, Program};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::process::Signal;

use crate::kernel;
use crate::report::{Report, Why, because, ensure, equal, readable};

/// The names of the sockets that it is given, in this order at 3 and up.
pub(crate) const NAMES: &str = "web:local:file:datagram:capsule:report";

/// How many these are.
const SOCKETS: usize = 6;

/// What its environment has besides.
pub(crate) const MARK: &CStr = c"MARK=one=1";

/// What is in the capsule, and its version.
pub(crate) const STATE: (u32, &[u8]) = (3, b"what the predecessor knew");

/// What a client says.
pub(crate) const PING: &[u8] = b"ping";

/// The last one says nothing to a successor.
const LAST_GENERATION: u32 = 2;

/// What a process finds when it begins, looked at without anything that could change it.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) fds: [u64; 16],
    flags: [usize; SOCKETS + 1],
    pub(crate) mask: u64,
    dispositions: [usize; 65],
}

impl Given {
    pub(crate) fn look() -> Given {
        let mut fd = 2;
        let mut signal = -1;
        Given {
            fds: kernel::open_fds(),
            flags: [(); SOCKETS + 1].map(|()| {
                fd += 1;
                kernel::fd_flags(fd).unwrap_or(usize::MAX)
            }),
            mask: kernel::mask(),
            dispositions: [(); 65].map(|()| {
                signal += 1;
                kernel::disposition(signal)
            }),
        }
    }
}

pub(crate) fn run(program: &Program<'_>, given: Option<&Given>, others: &[u8]) -> i32 {
    let Some(given) = given else {
        return 5;
    };
    // SAFETY: nothing else has been opened.
    let Ok(mut net) = (unsafe { Net::<SOCKETS>::inherit(program.environ()) }) else {
        return 3;
    };
    let Some(Ok(to)) = net.claim("report").map(|it| net.duplicate(it)) else {
        return 4;
    };
    let mut report = Report::new("", Some(&to));
    let generation = net.generation();
    let mut check = |what: &str, outcome: Result<(), Why>| {
        let mut whole = heapless::String::<120>::new();
        let _ = write!(whole, "successor {generation}: {what}");
        report.check(&whole, outcome);
    };

    // Standard streams, sockets, the channel.
    check("its fds are the ones it should have, and no more", {
        let mut wanted = [0; 16];
        wanted[0] = (1 << (3 + SOCKETS + 1)) - 1;
        equal(given.fds, wanted)
    });
    check(
        "none of them is CLOEXEC",
        equal(given.flags, [0; SOCKETS + 1]),
    );
    check("it has the signal mask of the start", {
        equal(given.mask, kernel::START_MASK)
    });
    check(
        "no signal is handled, and those are ignored that were",
        dispositions(given),
    );
    check(
        "LISTEN_PID is its pid, and once there",
        own_pid(program, b"LISTEN_PID"),
    );
    check(
        "LISTEN_FDS counts its sockets",
        once(program, b"LISTEN_FDS", b"6"),
    );
    check("LISTEN_FDNAMES has their names", {
        once(program, b"LISTEN_FDNAMES", NAMES.as_bytes())
    });
    check("GRACENET_FD is the channel, and its pid", channel(program));
    check(
        "a variable that was set is there",
        once(program, b"MARK", b"one=1"),
    );
    check("no variable is lost, and none added", {
        let count = program.environ().for_others().count();
        let wanted = str::from_utf8(others).map_err(because);
        wanted
            .and_then(|text| text.parse().map_err(because))
            .and_then(|wanted: usize| equal(count, wanted))
    });
    check(
        "its arguments are the ones that were given",
        arguments(program, others),
    );
    check("it is in the directory of the start", {
        equal(kernel::working_directory(&mut [0; 256]), b"/")
    });
    check("the capsule has what was put into it", capsule(&mut net));
    check("its predecessor lives", {
        match net.predecessor().map(|it| it.is_gone()) {
            Some(Ok(gone)) => ensure(!gone, "it is gone"),
            Some(Err(error)) => Err(because(error)),
            None => Err(because("there is none")),
        }
    });
    check(
        "it serves what waits in the queues",
        serve(&mut net, generation),
    );
    check("it says that it is ready", net.ready().map_err(because));

    if generation < LAST_GENERATION {
        kernel::disturb_signals();
        let _ = rustix::process::chdir("/tmp");
        let outcome = match net.start_process(program) {
            Err(error) => Err(because(error)),
            Ok(successor) => successor
                .wait_ready(Deadline::after_ms(30_000))
                .map_err(because),
        };
        let has_ended = outcome.is_err();
        check("it has a successor of its own", outcome);
        if has_ended {
            report.end();
        }
        return i32::from(report.wait_until_seen().is_err());
    }
    let gone = net
        .predecessor()
        .map(|it| it.wait(Deadline::after_ms(30_000)));
    check(
        "it sees the end of its predecessor",
        equal(gone, Some(Ok(true))),
    );
    report.end();
    0
}

fn dispositions(given: &Given) -> Result<(), Why> {
    for (signal, found) in (0..).zip(given.dispositions).skip(1) {
        let ignored = [Signal::PIPE.as_raw(), Signal::HUP.as_raw()].contains(&signal);
        let wanted = if ignored {
            kernel::IGNORED
        } else {
            kernel::DEFAULT
        };
        equal((signal, found), (signal, wanted))?;
    }
    Ok(())
}

/// That there is one variable of that name, with that value.
fn once(program: &Program<'_>, name: &[u8], value: &[u8]) -> Result<(), Why> {
    let strings = program.environ().iter().map(CStr::to_bytes);
    let of_the_name = |string: &&[u8]| {
        string
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(b"="))
    };
    equal(strings.filter(of_the_name).count(), 1)?;
    equal(program.environ().var(name), Some(value))
}

fn own_pid(program: &Program<'_>, name: &[u8]) -> Result<(), Why> {
    let pid = because(rustix::process::getpid());
    once(program, name, pid.as_bytes())
}

fn channel(program: &Program<'_>) -> Result<(), Why> {
    let mut value = because(3 + SOCKETS);
    let _ = write!(value, ",{}", rustix::process::getpid());
    once(program, b"GRACENET_FD", value.as_bytes())
}

fn arguments(program: &Program<'_>, others: &[u8]) -> Result<(), Why> {
    let mut args = program.args().iter().map(CStr::to_bytes).skip(1);
    equal(args.next(), Some(b"heir".as_slice()))?;
    equal(args.next(), Some(others))?;
    equal(args.next(), None)
}

fn capsule(net: &mut NetView) -> Result<(), Why> {
    let handle = net.claim("capsule").ok_or_else(|| because("none"))?;
    let fd = net.borrow(handle).map_err(because)?;
    let capsule = Capsule::open(fd).map_err(because)?;
    let mut buffer = [0; 64];
    let found = capsule.read(&mut buffer).map_err(because)?;
    equal((capsule.version(), &*found), STATE)
}

/// Each client gets back what it has said. The second generation finds none.
fn serve(net: &mut NetView, generation: u32) -> Result<(), Why> {
    for name in ["web", "local", "file"] {
        let handle = net.claim(name).ok_or_else(|| because(name))?;
        if generation > 1 {
            continue;
        }
        let client = net.accept(handle).map_err(because)?;
        let mut buffer = [MaybeUninit::uninit(); 16];
        ensure(readable(&client, Deadline::after_ms(10_000))?, name)?;
        let received = recv(&client, buffer.as_mut_slice(), RecvFlags::empty());
        let said = received.map_err(because)?;
        send(&client, &*said.0.0, SendFlags::NOSIGNAL).map_err(because)?;
    }
    let handle = net.claim("datagram").ok_or_else(|| because("datagram"))?;
    if generation > 1 {
        return Ok(());
    }
    let mut buffer = [MaybeUninit::uninit(); 16];
    let fd = net.borrow(handle).map_err(because)?;
    let received = recv(fd, buffer.as_mut_slice(), RecvFlags::DONTWAIT);
    equal(&*received.map_err(because)?.0.0, PING)
}
