//! The ways to start a program.
#![allow(unsafe_code)] // clone, fork, execve, posix_spawn.

use std::error::Error;
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;
use std::str::FromStr;
use std::time::{Duration, Instant};
use std::{fmt, io, ptr};

use gracenet::{Args, Deadline, Environ, Failure, Net, Program, Successor};

use crate::steps::{self, Steps};

/// A way to start a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Method {
    /// clone with CLONE_VM and CLONE_VFORK on a stack of its own, and execve: what cannot be less.
    Floor,
    /// The same with a shared fd table, which the child cuts.
    Cut,
    /// The floor and some of what `start_process` does besides, with [as many sockets](steps::HELD).
    With(Steps),
    /// `start_process` with so many sockets.
    Gracenet(usize),
    /// glibc's.
    PosixSpawn,
    /// std's.
    Command,
    /// fork and execve, and a pipe that tells when that is done.
    Fork,
}

/// From the call to its return, and to the child's exit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) returned: Duration,
    pub(crate) exited: Duration,
}

impl FromStr for Method {
    type Err = String;

    fn from_str(word: &str) -> Result<Method, String> {
        if let Some(steps) = word.strip_prefix("floor+") {
            return steps.parse().map(Method::With);
        }
        let sockets = word.strip_prefix("gracenet-").map(str::parse);
        Ok(match (word, sockets) {
            ("floor", _) => Method::Floor,
            ("cut", _) => Method::Cut,
            ("posix_spawn", _) => Method::PosixSpawn,
            ("command", _) => Method::Command,
            ("fork", _) => Method::Fork,
            (_, Some(Ok(sockets))) => Method::Gracenet(sockets),
            _ => return Err(format!("no such method: {word}")),
        })
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Method::Floor => "floor",
            Method::Cut => "cut",
            Method::PosixSpawn => "posix_spawn",
            Method::Command => "command",
            Method::Fork => "fork",
            Method::Gracenet(sockets) => return write!(f, "gracenet-{sockets}"),
            Method::With(steps) => return write!(f, "floor+{steps}"),
        })
    }
}

/// No start takes as long.
const PATIENCE_MS: u64 = 60_000;

/// What is started.
#[derive(Debug)]
pub(crate) struct Spawner<'a> {
    path: &'a CStr,
    program: Program<'a>,
    /// Null pointers end both.
    argv: [*const c_char; 2],
    envp: Vec<*const c_char>,
}

/// The most sockets that a [`Method::Gracenet`] can have.
const MOST_SOCKETS: usize = 64;

pub(crate) type Outcome = Result<Sample, Box<dyn Error>>;

impl<'a> Spawner<'a> {
    pub(crate) fn new(path: &'a CStr, environ: &'a [&'a CStr]) -> Spawner<'a> {
        let args: &'a [&'a CStr] = Box::leak(Box::new([path]));
        let envp = environ.iter().map(|string| string.as_ptr());
        Spawner {
            path,
            program: Program::new(Args::new(args), Environ::new(environ)),
            argv: [path.as_ptr(), ptr::null()],
            envp: envp.chain([ptr::null()]).collect(),
        }
    }

    /// Starts the program, and waits for its end.
    pub(crate) fn start(&self, method: Method) -> Outcome {
        match method {
            Method::Floor => self.clone(libc::CLONE_VM | libc::CLONE_VFORK),
            Method::Cut => self.clone(libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES),
            Method::With(steps) => steps::start(self, steps),
            Method::Gracenet(sockets) => self.gracenet(sockets),
            Method::PosixSpawn => self.posix_spawn(),
            Method::Command => self.command(),
            Method::Fork => self.fork(),
        }
    }

    fn clone(&self, flags: c_int) -> Outcome {
        let mut stack = Stack([0; 8192]);
        // SAFETY: one past the end of it.
        let end = unsafe { stack.0.as_mut_ptr().add(stack.0.len()) }.cast();
        let entry = if flags & libc::CLONE_FILES != 0 {
            cut_and_execute
        } else {
            execute
        };
        let argument = ptr::from_ref(self).cast_mut().cast();
        let begun = Instant::now();
        // SAFETY: the stack is the child's alone until it has executed the program or ended, as
        // CLONE_VFORK suspends this thread; so long lives what the argument points to.
        let pid = unsafe { libc::clone(entry, end, flags | libc::SIGCHLD, argument) };
        let returned = begun.elapsed();
        succeeded(pid)?;
        reaped(pid, begun, returned)
    }

    fn gracenet(&self, sockets: usize) -> Outcome {
        let mut net = table(sockets)?;
        let begun = Instant::now();
        let successor = net.start_process(&self.program);
        let returned = begun.elapsed();
        wait_for_exit(successor?)?;
        let exited = begun.elapsed();
        Ok(Sample { returned, exited })
    }

    /// A start with so many sockets, with something done just before it and just after it.
    pub(crate) fn started(&self, sockets: usize, mark: impl Fn()) -> Result<(), Box<dyn Error>> {
        let mut net = table(sockets)?;
        mark();
        let successor = net.start_process(&self.program);
        mark();
        wait_for_exit(successor?)
    }

    fn posix_spawn(&self) -> Outcome {
        let mut pid = 0;
        let (argv, envp) = (self.argv.as_ptr(), self.envp.as_ptr());
        let begun = Instant::now();
        // SAFETY: a C string, and arrays of them that end in null pointers. They are not changed.
        let error = unsafe {
            libc::posix_spawn(
                &raw mut pid,
                self.path.as_ptr(),
                ptr::null(),
                ptr::null(),
                argv.cast(),
                envp.cast(),
            )
        };
        let returned = begun.elapsed();
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error).into());
        }
        reaped(pid, begun, returned)
    }

    fn command(&self) -> Outcome {
        let mut command = Command::new(OsStr::from_bytes(self.path.to_bytes()));
        let begun = Instant::now();
        let child = command.spawn();
        let returned = begun.elapsed();
        let status = child?.wait()?;
        let exited = begun.elapsed();
        if !status.success() {
            return Err(status.to_string().into());
        }
        Ok(Sample { returned, exited })
    }

    fn fork(&self) -> Outcome {
        let begun = Instant::now();
        let mut pipe = [-1; 2];
        // SAFETY: it fills in the array.
        succeeded(unsafe { libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC) })?;
        // SAFETY: there is one thread, and the child does nothing but execute.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            execute(ptr::from_ref(self).cast_mut().cast());
            // SAFETY: it takes a number.
            unsafe { libc::_exit(127) };
        }
        // SAFETY: the pipe's end, which nobody else has.
        unsafe { libc::close(pipe[1]) };
        let mut byte = 0u8;
        // Its end: the child has executed the program, or is gone.
        // SAFETY: there is room for the byte.
        unsafe { libc::read(pipe[0], (&raw mut byte).cast(), 1) };
        // SAFETY: the pipe's end, which nobody else has.
        unsafe { libc::close(pipe[0]) };
        let returned = begun.elapsed();
        succeeded(pid)?;
        reaped(pid, begun, returned)
    }
}

/// Of a child.
#[repr(align(16))]
pub(crate) struct Stack(pub(crate) [u8; 8192]);

fn table(sockets: usize) -> Result<Net<MOST_SOCKETS>, Box<dyn Error>> {
    let mut net = Net::new();
    for nth in 0..sockets {
        if nth % 2 == 0 {
            net.listen("tcp", "127.0.0.1:0")?;
        } else {
            let name = format!("@gracenet-spawner-{}-{nth}", std::process::id());
            net.listen("unix", name)?;
        }
    }
    Ok(net)
}

fn wait_for_exit(successor: &mut Successor) -> Result<(), Box<dyn Error>> {
    match successor.wait_ready(Deadline::after_ms(PATIENCE_MS)) {
        Err(Failure::Exited(0)) => Ok(()),
        outcome => Err(format!("the successor: {outcome:?}").into()),
    }
}

/// In the child.
pub(crate) extern "C" fn execute(spawner: *mut c_void) -> c_int {
    // SAFETY: it is one, and outlives this process' use of the memory.
    let spawner = unsafe { &*spawner.cast::<Spawner<'_>>() };
    let (argv, envp) = (spawner.argv.as_ptr(), spawner.envp.as_ptr());
    // SAFETY: a C string, and arrays of them that end in null pointers.
    unsafe { libc::execve(spawner.path.as_ptr(), argv, envp) };
    127
}

/// In the child: of the fd table, what lies above the standard streams is not copied.
extern "C" fn cut_and_execute(spawner: *mut c_void) -> c_int {
    const CLOSE_RANGE_UNSHARE: c_int = 2;
    let from: libc::c_uint = 3;
    // SAFETY: it closes fds of a copy of the table, in which nobody owns anything.
    let cut = unsafe { libc::syscall(libc::SYS_close_range, from, u32::MAX, CLOSE_RANGE_UNSHARE) };
    if cut != 0 {
        return 126;
    }
    execute(spawner)
}

pub(crate) fn reaped(pid: libc::pid_t, begun: Instant, returned: Duration) -> Outcome {
    let mut status = 0;
    // SAFETY: it fills in the status.
    succeeded(unsafe { libc::waitpid(pid, &raw mut status, 0) })?;
    let exited = begun.elapsed();
    if status != 0 {
        return Err(format!("the child's status is {status:#x}").into());
    }
    Ok(Sample { returned, exited })
}

pub(crate) fn succeeded(result: c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
