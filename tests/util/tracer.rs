//! Processes that go no further than they are let: from the entry of a system call to its exit,
//! from there to the next entry. What a process is held at, it can be killed at.
//!
//! Only the thread that seized a process, or whose process made it, may let it go on.
#![allow(unsafe_code)] // ptrace, waitpid.

use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::ptr;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

/// linux/ptrace.h; libc has it for some targets only.
const PTRACE_EVENT_STOP: i32 = 128;

/// Held from its making to its end, but for what [`step`](Tracee::step) lets happen. When the
/// thread ends that holds it, it is killed.
#[derive(Debug)]
pub struct Tracee {
    pub pid: Pid,
    /// The system call that it is in, or was in last.
    call: u64,
}

/// Where a process is held.
#[derive(Debug)]
pub enum Stop {
    /// Before this system call does anything.
    Enters(u64),
    /// It has done what it does, and this is the result.
    Leaves(u64, i64),
    /// In clone, with a child that is held before its first instruction.
    Clones(Tracee),
    /// In execve, as another program.
    Executes,
    /// Not held any more: gone, and this is its status.
    Ends(ExitStatus),
}

impl Tracee {
    /// Holds a process, wherever it is.
    pub fn seize(pid: Pid) -> Tracee {
        let options = libc::PTRACE_O_TRACESYSGOOD
            | libc::PTRACE_O_TRACEFORK
            | libc::PTRACE_O_TRACEVFORK
            | libc::PTRACE_O_TRACECLONE
            | libc::PTRACE_O_TRACEEXEC
            | libc::PTRACE_O_EXITKILL;
        let tracee = Tracee { pid, call: 0 };
        tracee.ask(libc::PTRACE_SEIZE, 0, options as usize);
        tracee.ask(libc::PTRACE_INTERRUPT, 0, 0);
        tracee.await_first_stop();
        tracee
    }

    /// Lets it go on to where it is held next. There is no deadline but that of a [`Leash`].
    pub fn step(&mut self) -> Stop {
        self.ask(libc::PTRACE_SYSCALL, 0, 0);
        let status = self.wait();
        let Some(signal) = status.stopped_signal() else {
            return Stop::Ends(status);
        };
        let event = event(status);
        if signal == libc::SIGTRAP | 0x80 {
            return self.at_call();
        }
        match event {
            libc::PTRACE_EVENT_CLONE | libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK => {
                let mut child: libc::c_ulong = 0;
                self.ask(
                    libc::PTRACE_GETEVENTMSG,
                    0,
                    (&raw mut child).expose_provenance(),
                );
                let child = Tracee {
                    pid: Pid::from_raw(child as i32).unwrap(),
                    call: self.call,
                };
                child.await_first_stop();
                Stop::Clones(child)
            }
            libc::PTRACE_EVENT_EXEC => Stop::Executes,
            _ => panic!("{}: stopped by signal {signal}, event {event}", self.pid),
        }
    }

    /// SIGKILL where it is held. As a child of somebody else it is theirs to reap.
    pub fn kill(self) {
        kill_process(self.pid, Signal::KILL).unwrap();
        let status = self.wait();
        assert_eq!(status.signal(), Some(libc::SIGKILL), "{}", self.pid);
    }

    /// Lets it go for good.
    pub fn release(self) {
        self.ask(libc::PTRACE_DETACH, 0, 0);
    }

    fn at_call(&mut self) -> Stop {
        // SAFETY: integers, of which zeros are a value.
        let mut info: libc::ptrace_syscall_info = unsafe { mem::zeroed() };
        let (size, place) = (size_of_val(&info), (&raw mut info).expose_provenance());
        let filled = self.ask(libc::PTRACE_GET_SYSCALL_INFO, size, place);
        assert!(filled >= 32, "{filled} bytes about a system call");
        match info.op {
            libc::PTRACE_SYSCALL_INFO_ENTRY => {
                // SAFETY: this is what an entry has.
                self.call = unsafe { info.u.entry }.nr;
                Stop::Enters(self.call)
            }
            // SAFETY: this is what an exit has.
            libc::PTRACE_SYSCALL_INFO_EXIT => Stop::Leaves(self.call, unsafe { info.u.exit }.sval),
            other => panic!("{}: neither entry nor exit: {other}", self.pid),
        }
    }

    fn await_first_stop(&self) {
        let status = self.wait();
        assert!(
            status.stopped_signal().is_some() && event(status) == PTRACE_EVENT_STOP,
            "{}: {status}",
            self.pid
        );
    }

    fn wait(&self) -> ExitStatus {
        let mut status = 0;
        let pid = self.pid.as_raw_nonzero().get();
        // SAFETY: the status is a place for one.
        while unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) } != pid {
            let error = io::Error::last_os_error();
            assert_eq!(error.kind(), io::ErrorKind::Interrupted, "{pid}: {error}");
        }
        ExitStatus::from_raw(status)
    }

    fn ask(&self, request: libc::c_uint, address: usize, data: usize) -> usize {
        let pid = self.pid.as_raw_nonzero().get();
        let (address, data) = (
            ptr::without_provenance_mut::<()>(address),
            ptr::with_exposed_provenance_mut::<()>(data),
        );
        // SAFETY: what the callers pass as an address is one, of as much room as is needed.
        let answer = unsafe { libc::ptrace(request, pid, address, data) };
        let error = io::Error::last_os_error();
        assert!(answer >= 0, "ptrace {request:#x} of {pid}: {error}");
        answer as usize
    }
}

/// What a stopped process has to tell besides the signal: PTRACE_EVENT_STOP and the like.
fn event(status: ExitStatus) -> i32 {
    status.into_raw() >> 16
}

/// Kills the processes that are on it when it has not been dropped in time, and when it is dropped
/// by a test that fails. What waits for one of them then sees its end.
#[derive(Debug)]
pub struct Leash {
    processes: Arc<Mutex<Vec<OwnedFd>>>,
    /// Dropped at the end, which the watch hears.
    end: Option<mpsc::Sender<()>>,
    watch: Option<JoinHandle<()>>,
}

impl Leash {
    pub fn new(length: Duration) -> Leash {
        let processes = Arc::new(Mutex::new(Vec::new()));
        let (end, ended) = mpsc::channel();
        let on_it = Arc::clone(&processes);
        let watch = thread::spawn(move || {
            if ended.recv_timeout(length) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("not done in {length:?}: killed");
                kill_all(&on_it);
            }
        });
        Leash {
            processes,
            end: Some(end),
            watch: Some(watch),
        }
    }

    /// A process that has not been reaped.
    pub fn add(&self, pid: Pid) {
        let process = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        self.processes.lock().unwrap().push(process);
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.end = None;
        if let Some(watch) = self.watch.take() {
            let _ = watch.join();
        }
        if thread::panicking() {
            kill_all(&self.processes);
        }
    }
}

fn kill_all(processes: &Mutex<Vec<OwnedFd>>) {
    for process in processes.lock().unwrap().iter() {
        let _ = pidfd_send_signal(process, Signal::KILL);
    }
}

/// What strace calls it.
pub fn call_name(number: u64) -> String {
    macro_rules! known {
        ($($name:ident = $number:ident),* $(,)?) => {
            match number as libc::c_long {
                $(libc::$number => stringify!($name).to_owned(),)*
                other => format!("call {other}"),
            }
        };
    }
    known!(
        accept4 = SYS_accept4,
        clock_gettime = SYS_clock_gettime,
        clone3 = SYS_clone3,
        close = SYS_close,
        close_range = SYS_close_range,
        dup3 = SYS_dup3,
        epoll_create1 = SYS_epoll_create1,
        epoll_ctl = SYS_epoll_ctl,
        epoll_pwait = SYS_epoll_pwait,
        execve = SYS_execve,
        exit_group = SYS_exit_group,
        fchdir = SYS_fchdir,
        fcntl = SYS_fcntl,
        getpid = SYS_getpid,
        getsockname = SYS_getsockname,
        getsockopt = SYS_getsockopt,
        openat = SYS_openat,
        prlimit64 = SYS_prlimit64,
        read = SYS_read,
        recvfrom = SYS_recvfrom,
        rt_sigaction = SYS_rt_sigaction,
        rt_sigprocmask = SYS_rt_sigprocmask,
        sendto = SYS_sendto,
        shutdown = SYS_shutdown,
        signalfd4 = SYS_signalfd4,
        socketpair = SYS_socketpair,
        uname = SYS_uname,
        waitid = SYS_waitid,
        write = SYS_write,
    )
}
