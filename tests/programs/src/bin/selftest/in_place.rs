//! The program replaces itself: the process stays, as which of a machine it is PID 1.

use core::ffi::CStr;
use core::mem::MaybeUninit;

use gracenet::{Args, Changes, Deadline, Net, Operation, Program, StartError};
use heapless::format;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with,
};

use crate::heir::{Given, PING};
use crate::kernel;
use crate::report::{Report, Why, because, ensure, equal, readable};

const ADDRESS: &str = "@gracenet-selftest-in-place";

/// Returns only when nobody came in its place, and says why.
pub(crate) fn leave(program: &Program<'_>, report: &mut Report<'_>) -> Why {
    match prepare(program, report) {
        Ok((mut net, client)) => go(program, report, &mut net, &client),
        Err(why) => why,
    }
}

/// A listener, in whose queue a client waits who has said something.
fn prepare(program: &Program<'_>, report: &mut Report<'_>) -> Result<(Net<2>, OwnedFd), Why> {
    let mut net = Net::<2>::new();
    net.listen("unix", ADDRESS).map_err(because)?;
    let flags = SocketFlags::CLOEXEC;
    let client = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    let client = client.map_err(because)?;
    let name = ADDRESS
        .as_bytes()
        .split_first()
        .map_or(ADDRESS.as_bytes(), |(_, name)| name);
    connect(
        &client,
        &SocketAddrUnix::new_abstract_name(name).map_err(because)?,
    )
    .map_err(because)?;
    send(&client, PING, SendFlags::NOSIGNAL).map_err(because)?;
    report.check("what cannot be executed changes nothing", {
        let before = kernel::open_fds();
        let nowhere = Changes::new().path(c"/nowhere/at/all");
        let error = net.replace(program, &nowhere);
        let wanted = gracenet::Error::new(Operation::Execve, Errno::NOENT);
        equal(error, StartError::Failed(wanted)).and_then(|()| equal(kernel::open_fds(), before))
    });
    Ok((net, client))
}

fn go(program: &Program<'_>, report: &Report<'_>, net: &mut Net<2>, client: &OwnedFd) -> Why {
    let pid = rustix::process::getpid();
    let (passed, failed) = report.counts();
    let Ok(counts) = format!(64; "{pid} {passed} {failed}\0") else {
        return because("no room for the counts");
    };
    let Ok(counts) = CStr::from_bytes_with_nul(counts.as_bytes()) else {
        return because("no C string");
    };
    let args = [program.path().unwrap_or_default(), c"replaced", counts];
    let lent = [("client", client.as_fd())];
    match Changes::new().args(Args::new(&args)).lend(&lent) {
        Ok(changes) => because(net.replace(program, &changes)),
        Err(error) => because(error),
    }
}

/// In its place: what has been counted so far, and what is found.
pub(crate) fn arrive<'a>(program: &Program<'_>, given: &Given, counts: &[u8]) -> Report<'a> {
    let mut numbers = counts
        .split(|byte| *byte == b' ')
        .filter_map(|digits| core::str::from_utf8(digits).ok()?.parse::<u32>().ok());
    let mut next = || numbers.next().unwrap_or(0);
    let (pid, passed, failed) = (next(), next(), next());
    let mut report = Report::resume("in place", passed, failed);
    let own = rustix::process::getpid()
        .as_raw_nonzero()
        .get()
        .unsigned_abs();
    report.check("the pid is the same", equal(own, pid));
    report.check("its fds are the ones it should have, and no more", {
        // Standard streams, the socket, the client, the channel.
        let mut wanted = [0; 16];
        wanted[0] = 0b11_1111;
        equal(given.fds, wanted)
    });
    report.check("what was blocked is blocked", {
        equal(given.mask & kernel::START_MASK, kernel::START_MASK)
    });
    report.check("the client who waited is served", serve(program));
    report
}

fn serve(program: &Program<'_>) -> Result<(), Why> {
    // SAFETY: nothing else has been opened.
    let mut net = unsafe { Net::<2>::inherit(program.environ()) }.map_err(because)?;
    equal(net.generation(), 1)?;
    let gone = net.predecessor().map(|predecessor| predecessor.is_gone());
    equal(gone, Some(Ok(true)))?;
    let listener = net.listen("unix", ADDRESS).map_err(because)?;
    let client = net.claim("client").ok_or_else(|| because("no client"))?;
    let client = net.duplicate(client).map_err(because)?;
    net.ready().map_err(because)?;
    let connection = net.accept(listener).map_err(because)?;
    let mut buffer = [MaybeUninit::uninit(); 16];
    let said = recv(&connection, buffer.as_mut_slice(), RecvFlags::DONTWAIT).map_err(because)?;
    equal(&*said.0.0, PING)?;
    send(&connection, PING, SendFlags::NOSIGNAL).map_err(because)?;
    let mut buffer = [MaybeUninit::uninit(); 16];
    ensure(readable(&client, Deadline::after_ms(10_000))?, "no answer")?;
    let heard = recv(&client, buffer.as_mut_slice(), RecvFlags::DONTWAIT).map_err(because)?;
    equal(&*heard.0.0, PING)
}
