//! What `start_process` asks of the kernel besides clone and execve, step by step, each of which
//! can be added to the floor. The kernel's part of a start is the sum of them.
#![allow(unsafe_code)] // clone, and system calls with numbers and addresses.

use std::ffi::{c_int, c_long, c_uint, c_void};
use std::fmt;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::ptr;
use std::str::FromStr;
use std::time::Instant;

use crate::methods::{Outcome, Spawner, Stack, execute, reaped, succeeded};

/// Sockets that are open, and passed where they are.
pub(crate) const HELD: usize = 8;

/// In the order in which they are taken: words with plus signs between them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Steps(u16);

/// socketpair, a greeting, and close of the child's end.
const CHANNEL: Steps = Steps(1);
/// SO_COOKIE of each socket.
const COOKIES: Steps = Steps(1 << 1);
/// RLIMIT_NOFILE, F_GETFD of the standard streams, and all signals blocked and unblocked.
const LIMITS: Steps = Steps(1 << 2);
/// CLONE_PIDFD.
const PIDFD: Steps = Steps(1 << 3);
/// CLONE_FILES, and in the child the table cut behind what is passed.
const CUT: Steps = Steps(1 << 4);
/// In the child, fchdir.
const DIRECTORY: Steps = Steps(1 << 5);
/// In the child, a dup3 for each socket and the channel.
const MOVES: Steps = Steps(1 << 6);
/// In the child, close_range behind them.
const RANGE: Steps = Steps(1 << 7);
/// In the child, two dispositions, the mask and the pid.
const SIGNALS: Steps = Steps(1 << 8);

const NAMES: [(&str, Steps); 9] = [
    ("channel", CHANNEL),
    ("cookies", COOKIES),
    ("limits", LIMITS),
    ("pidfd", PIDFD),
    ("cut", CUT),
    ("directory", DIRECTORY),
    ("moves", MOVES),
    ("range", RANGE),
    ("signals", SIGNALS),
];

impl Steps {
    fn has(self, step: Steps) -> bool {
        self.0 & step.0 != 0
    }
}

impl FromStr for Steps {
    type Err = String;

    fn from_str(words: &str) -> Result<Steps, String> {
        let mut steps = Steps::default();
        for word in words.split('+').filter(|word| !word.is_empty()) {
            let known = NAMES.iter().find(|(name, _)| *name == word);
            let (_, step) = known.ok_or_else(|| format!("no such step: {word}"))?;
            steps.0 |= step.0;
        }
        Ok(steps)
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = NAMES.iter().filter(|(_, step)| self.has(*step));
        let names: Vec<_> = names.map(|(name, _)| *name).collect();
        f.write_str(&names.join("+"))
    }
}

/// What the child is told.
struct Job<'s> {
    spawner: *const Spawner<'s>,
    steps: Steps,
    fds: [c_int; HELD],
    directory: c_int,
}

/// Where the child's fds go: above all that is passed.
const MOVED: c_int = 50;

const CLOSE_RANGE_UNSHARE: c_uint = 2;

/// Starts the program with these steps, and waits for its end.
pub(crate) fn start(spawner: &Spawner<'_>, steps: Steps) -> Outcome {
    let sockets = listeners()?;
    let mut fds = [0; HELD];
    for (fd, socket) in fds.iter_mut().zip(&sockets) {
        *fd = socket.as_raw_fd();
    }
    let directory: OwnedFd = std::fs::File::open(".")?.into();
    let mut job = Job {
        spawner,
        steps,
        fds,
        directory: directory.as_raw_fd(),
    };
    if fds.iter().chain([&job.directory]).any(|fd| *fd >= MOVED) {
        return Err("an fd above what is cut".into());
    }
    let mut stack = Stack([0; 8192]);
    // SAFETY: one past the end of it.
    let end = unsafe { stack.0.as_mut_ptr().add(stack.0.len()) }.cast();
    let mut flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    for (step, flag) in [(PIDFD, libc::CLONE_PIDFD), (CUT, libc::CLONE_FILES)] {
        if steps.has(step) {
            flags |= flag;
        }
    }
    let argument = ptr::from_mut(&mut job).cast();
    let mut channel = [-1; 2];
    let mut pidfd: c_int = -1;

    let begun = Instant::now();
    let mut prepared = 0;
    if steps.has(CHANNEL) {
        prepared |= greet(&mut channel);
    }
    if steps.has(COOKIES) {
        prepared |= ask_cookies(&fds);
    }
    if steps.has(LIMITS) {
        prepared |= ask_limits();
    }
    // SAFETY: the stack and the job are the child's alone until it has executed the program or
    // ended, as CLONE_VFORK suspends this thread; the kernel writes a pidfd, if anything.
    let pid = unsafe { libc::clone(execute_with_steps, end, flags, argument, &raw mut pidfd) };
    if steps.has(CHANNEL) {
        // SAFETY: nobody else has it.
        prepared |= unsafe { libc::close(channel[1]) };
    }
    let returned = begun.elapsed();

    for fd in [channel[0], pidfd] {
        // SAFETY: nobody else has it; -1 is none.
        unsafe { libc::close(fd) };
    }
    succeeded(pid)?;
    succeeded(prepared)?;
    reaped(pid, begun, returned)
}

/// Of the kinds that a table has when it is measured.
fn listeners() -> io::Result<Vec<OwnedFd>> {
    let mut sockets: Vec<OwnedFd> = Vec::new();
    for nth in 0..HELD / 2 {
        sockets.push(TcpListener::bind("127.0.0.1:0")?.into());
        let name = format!("gracenet-spawner-{}-{nth}", std::process::id());
        let address = SocketAddr::from_abstract_name(name)?;
        sockets.push(UnixListener::bind_addr(&address)?.into());
    }
    Ok(sockets)
}

/// 0, or -1 when something failed.
fn greet(channel: &mut [c_int; 2]) -> c_int {
    let style = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: it fills in the array.
    let made = unsafe { libc::socketpair(libc::AF_UNIX, style, 0, channel.as_mut_ptr()) };
    let greeting = [0_u8; 16];
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: it reads the greeting.
    let sent = unsafe { libc::send(channel[0], greeting.as_ptr().cast(), greeting.len(), flags) };
    made | sent.min(0) as c_int
}

fn ask_cookies(fds: &[c_int; HELD]) -> c_int {
    let mut failed = 0;
    for fd in fds {
        let (mut cookie, mut length) = (0_u64, size_of::<u64>() as libc::socklen_t);
        let at: *mut c_void = (&raw mut cookie).cast();
        // SAFETY: there is room for as much as is said.
        failed |= unsafe {
            libc::getsockopt(*fd, libc::SOL_SOCKET, libc::SO_COOKIE, at, &raw mut length)
        };
    }
    failed
}

fn ask_limits() -> c_int {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: it fills in the limit.
    let mut failed = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    for fd in 0..3 {
        // SAFETY: numbers only.
        failed |= unsafe { libc::fcntl(fd, libc::F_GETFD) }.min(0);
    }
    let mut mask = !0_u64;
    for _ in 0..2 {
        let at = &raw mut mask;
        // The first blocks all, the second puts back what was there.
        // SAFETY: sets of the size that is said, read before they are written.
        failed |=
            unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, at, at, 8_usize) }
                as c_int;
    }
    failed
}

/// In the child.
extern "C" fn execute_with_steps(job: *mut c_void) -> c_int {
    // SAFETY: it is one, and outlives this process' use of the memory.
    let job = unsafe { &*job.cast::<Job<'_>>() };
    let mut failed: c_long = 0;
    if job.steps.has(CUT) {
        let from = MOVED as c_uint;
        // SAFETY: it closes fds of a copy of the table, in which nobody owns anything.
        failed |=
            unsafe { libc::syscall(libc::SYS_close_range, from, u32::MAX, CLOSE_RANGE_UNSHARE) };
        if failed != 0 {
            return 126;
        }
    }
    if job.steps.has(DIRECTORY) {
        // SAFETY: of this process alone.
        failed |= c_long::from(unsafe { libc::fchdir(job.directory) });
    }
    if job.steps.has(MOVES) {
        for (fd, to) in job.fds.iter().chain(job.fds.first()).zip(MOVED..) {
            // SAFETY: the table is this process' own.
            failed |= unsafe { libc::syscall(libc::SYS_dup3, *fd, to, 0) }.min(0);
        }
    }
    if job.steps.has(RANGE) {
        let from = MOVED as c_uint + HELD as c_uint + 1;
        // SAFETY: the table is this process' own.
        failed |= unsafe { libc::syscall(libc::SYS_close_range, from, u32::MAX, 0_u32) };
    }
    if job.steps.has(SIGNALS) {
        // The kernel's structure: the default, no flags, no mask.
        let default = [0_u64; 4];
        let none = ptr::null_mut::<c_void>();
        for signal in [libc::SIGPIPE, libc::SIGCHLD] {
            let at = default.as_ptr();
            // SAFETY: the handlers are this process' own.
            failed |= unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, at, none, 8_usize) };
        }
        let at = default.as_ptr();
        // SAFETY: a set of the size that is said.
        failed |= unsafe {
            libc::syscall(
                libc::SYS_rt_sigprocmask,
                libc::SIG_SETMASK,
                at,
                none,
                8_usize,
            )
        };
        // SAFETY: asks the kernel for a number.
        unsafe { libc::syscall(libc::SYS_getpid) };
    }
    if failed != 0 {
        return 125;
    }
    execute(job.spawner.cast_mut().cast())
}
