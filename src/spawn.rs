//! Starting a successor: what the parent does before the clone and after it.
#![allow(unsafe_code)] // clone; the memory that the child reads.

mod child;

use core::ffi::{CStr, c_int};
use core::fmt;
use core::mem::{MaybeUninit, offset_of};
use core::ptr;
use core::slice;
use core::sync::atomic::{AtomicU32, Ordering};

use heapless::VecView;
use linux_raw_sys::general as raw;
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::activation::{self, FIRST_FD, WATCHDOG_PID, decimal};
use crate::changes::Changes;
use crate::environ::{Args, Environ, value_of};
use crate::error::{Error, Operation};
use crate::fd_plan::{self, Move, Place};
use crate::program::{AtStart, Program};
use crate::seat;
use crate::slot::Slot;
use crate::socket::{above_stdio, identity};
use crate::sys;
use crate::time::Deadline;

pub(crate) use child::Watch;
use child::{EXECUTING, Plan};

/// The kernel's limit for one string (MAX_ARG_STRLEN), with its NUL.
const STRING_MAX: usize = 128 * 1024;

/// Where a name without a slash is looked for when there is no `PATH`.
const DEFAULT_PATH: &[u8] = b"/usr/local/bin:/bin:/usr/bin";

/// Why no successor was started. The process is as it was before, and may try again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StartError {
    /// A successor is being started already, or has taken over.
    InProgress,
    /// There is no first argument to execute.
    NoProgram,
    /// The arguments, the environment, the names and the paths of a search are too much for one
    /// process, one of the strings is too long for the kernel, or more is [lent](Changes::lend) than
    /// the table has room for.
    TooLarge,
    /// The successor would need this fd number, which RLIMIT_NOFILE does not allow.
    FdLimit(u32),
    /// The fd of the socket at this place of the table was closed behind the table's back, and
    /// may be another file by now.
    NotOurs(u32),
    /// A system call failed, here or in the successor before its execve was done.
    Failed(Error),
    /// The successor was gone before its execve was done, and said nothing.
    Vanished,
}

// So that it fits into two registers, and a result with it.
const _: () = assert!(size_of::<StartError>() == 8);
const _: () = assert!(size_of::<Result<Pid, StartError>>() == 8);

impl From<Error> for StartError {
    fn from(error: Error) -> StartError {
        StartError::Failed(error)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, number) = match *self {
            StartError::InProgress => return f.write_str("a successor has been started already"),
            StartError::NoProgram => return f.write_str("there is no program to start"),
            StartError::TooLarge => {
                return f.write_str("the arguments and the environment are too large");
            }
            StartError::Vanished => return f.write_str("the successor vanished before execve"),
            StartError::Failed(error) => return error.fmt(f),
            StartError::FdLimit(fd) => ("the limit on open files forbids fd ", fd),
            StartError::NotOurs(index) => ("closed behind the table's back: socket ", index),
        };
        f.write_str(text)?;
        fmt::Display::fmt(&number, f)
    }
}

impl core::error::Error for StartError {}

/// The scratch memory that a start takes where there are few variables, which is the rule.
const FEW_WORDS: usize = 512;

/// The most scratch memory that a start takes, a stack frame of 128 KiB: for some 15,000 variables.
const MOST_WORDS: usize = 16_384;

/// A word of scratch memory: a pointer, or a number.
type Word = MaybeUninit<usize>;

/// Memory that is written once, and read by the child. What does not fit is left out and remembered.
#[repr(C)]
struct Scratch {
    at: *mut u8,
    left: usize,
    overflow: bool,
}

impl Scratch {
    /// The next so many bytes, or null.
    #[inline(never)]
    fn take(&mut self, size: usize) -> *mut u8 {
        if self.left < size {
            self.overflow = true;
            return ptr::null_mut();
        }
        let taken = self.at;
        // SAFETY: within the memory, or at its end.
        self.at = unsafe { taken.add(size) };
        self.left -= size;
        taken
    }

    #[inline(never)]
    fn push(&mut self, bytes: &[u8]) {
        let at = self.take(bytes.len());
        if !at.is_null() {
            // SAFETY: so many bytes were taken, of memory that nobody else has.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), at, bytes.len()) };
        }
    }

    #[inline(never)]
    fn push_byte(&mut self, byte: u8) {
        let at = self.take(1);
        if !at.is_null() {
            // SAFETY: it was taken.
            unsafe { at.write(byte) };
        }
    }

    /// From here on there are words, which are aligned.
    fn align(&mut self) {
        // The end is.
        self.take(self.left % size_of::<Word>());
    }

    #[inline(never)]
    fn push_word(&mut self, word: usize) {
        self.push(&word.to_ne_bytes());
    }
}

/// The variables that are written anew, with room for numbers, and a NUL behind each.
#[repr(C)]
struct Variables {
    watchdog: [u8; 13],
    watchdog_pid: Number,
    listen: [u8; 11],
    listen_pid: Number,
    fds: [u8; 11],
    fds_count: Number,
    channel: [u8; 12],
    /// Two of them, with a comma in between.
    channel_fd: [Number; 2],
    /// What comes behind it lies behind all of this.
    names: [u8; 14],
}

/// Ten digits and a NUL.
type Number = [u8; 11];

impl Variables {
    const NEW: Variables = Variables {
        watchdog: *b"WATCHDOG_PID=",
        watchdog_pid: [0; 11],
        listen: *b"LISTEN_PID=",
        listen_pid: [0; 11],
        fds: *b"LISTEN_FDS=",
        fds_count: [0; 11],
        channel: *b"GRACENET_FD=",
        channel_fd: [[0; 11]; 2],
        names: *b"LISTEN_FDNAMES",
    };
}

/// Starts a successor. Its end of the control channel lies at the seat while that is done, if there
/// is one and it is of use.
///
/// All that it needs lies on this thread's stack, which is suspended until the successor has
/// executed its program. How much that is depends on the environment: a small one, which is the
/// rule, takes 4 KiB.
///
/// In place, it is executed instead of this program, and only ever returns an error, after which
/// everything is as it was.
#[inline(never)]
pub(crate) fn start(start: &mut Start<'_>, seat: Option<BorrowedFd<'_>>) -> Result<(), StartError> {
    let channel = start.channel;
    let seat = seat::choose(seat, channel);
    start.channel = seat;
    start.check()?;
    // SAFETY: the seat belongs to a table that is borrowed mutably.
    let kept = unsafe { seat::occupy(seat, channel)? };
    start.lay_out_on_stack(&mut |start| start.launch());
    // SAFETY: as it was kept.
    unsafe { seat::vacate(seat, kept) };
    start.found
}

/// What preflight asks: everything that speaks against a start, as far as it can be told from
/// here without looking at the program; and how much its strings are.
pub(crate) fn check(start: &mut Start<'_>) -> Option<Load> {
    let mut load = None;
    let _ = start.check();
    start.lay_out_on_stack(&mut |start| load = Some(start.weigh()));
    load
}

/// How much the strings of a start are, without the name of the file.
pub(crate) struct Load {
    /// How many there are.
    pub(crate) count: usize,
    /// Their bytes, NULs and all, with the longest pid there can be.
    pub(crate) bytes: usize,
    /// Those of the first argument.
    pub(crate) first: usize,
    /// The number of the last fd: of what is executed, where that is one.
    pub(crate) last_fd: u32,
}

/// The digits of the last pid of 64-bit kernels (PID_MAX_LIMIT).
const LONGEST_PID: usize = 7;

/// What is to be started, and what has come of it.
#[repr(C)] // What is used most lies in front.
pub(crate) struct Start<'a> {
    scratch: Scratch,
    /// One of the strings is.
    too_long: bool,
    /// What the successor gets behind the sockets, unless it is a foreign one. Where it is only
    /// asked whether a start is possible it may be no fd.
    pub(crate) channel: c_int,
    pub(crate) changes: &'a Changes<'a>,
    pub(crate) program: &'a Program<'a>,
    /// What the successor gets from 3 up, before what is lent to it.
    pub(crate) sockets: &'a VecView<Slot>,
    plan: Plan,
    pub(crate) at_start: &'a AtStart,
    path: &'a CStr,
    /// The first thing that speaks against it.
    found: Result<(), StartError>,
    /// Who wants to know all of them.
    pub(crate) findings: Option<&'a mut dyn FnMut(StartError)>,
    /// The process that has executed the program.
    pub(crate) pid: Option<Pid>,
    pub(crate) pidfd: Option<OwnedFd>,
    /// Of its channel.
    pub(crate) our_end: Option<OwnedFd>,
    pub(crate) their_end: Option<OwnedFd>,
}

impl<'a> Start<'a> {
    pub(crate) fn new(
        program: &'a Program<'a>,
        at_start: &'a AtStart,
        changes: &'a Changes<'a>,
        sockets: &'a VecView<Slot>,
    ) -> Start<'a> {
        Start {
            scratch: Scratch {
                at: ptr::null_mut(),
                left: 0,
                overflow: false,
            },
            too_long: false,
            channel: -1,
            changes,
            program,
            at_start,
            sockets,
            path: c"",
            found: Ok(()),
            findings: None,
            pid: None,
            pidfd: None,
            our_end: None,
            their_end: None,
            plan: const { Plan::new() },
        }
    }

    /// It is to take the place of this program.
    pub(crate) const fn in_place(&mut self, in_place: bool) {
        self.plan.in_place = in_place;
    }

    #[inline(never)]
    fn find(&mut self, error: StartError) {
        if self.found.is_ok() {
            self.found = Err(error);
        }
        if let Some(findings) = &mut self.findings {
            findings(error);
        }
    }

    /// What can be found out before anything is laid out.
    #[inline(never)]
    fn check(&mut self) -> Result<(), StartError> {
        let changes = self.changes;
        if self.sockets.len() + changes.lent.len() > self.sockets.capacity() {
            self.find(StartError::TooLarge);
        }
        for (_, fd) in changes.lent {
            if let Err(error) = identity(*fd).known() {
                self.find(error.into());
            }
        }
        self.path = changes.path.or(self.program.path()).unwrap_or(c"");
        if self.path.is_empty() && changes.executable.is_none() {
            self.find(StartError::NoProgram);
        }
        for (index, slot) in self.sockets.iter().enumerate() {
            if !slot.is_intact() {
                self.find(StartError::NotOurs(index as u32));
            }
        }
        sys::fd_limits(&mut self.plan.limits);
        self.found
    }

    /// Lays out all that the child needs on the stack, and does something with it.
    fn lay_out_on_stack(&mut self, then: &mut dyn FnMut(&mut Start<'_>)) {
        if !on_stack::<FEW_WORDS>(self, then) && !on_stack::<MOST_WORDS>(self, then) {
            self.find(StartError::TooLarge);
        }
    }

    /// Lays out all that the child needs in this memory; whether there is room for it.
    #[inline(never)]
    fn lay_out(&mut self, memory: &mut [Word]) -> bool {
        let changes = self.changes;
        let count = (self.sockets.len() + changes.lent.len()) as u32;
        self.scratch = Scratch {
            at: memory.as_mut_ptr().cast(),
            left: size_of_val(memory),
            overflow: false,
        };

        // Text.
        let variables: *mut Variables = self.scratch.take(size_of::<Variables>()).cast();
        if variables.is_null() {
            return false;
        }
        // SAFETY: it was taken, and is made of bytes.
        unsafe { variables.write(Variables::NEW) };
        // Where one of them is, or its number.
        let part = |offset| variables.wrapping_byte_add(offset).cast::<u8>();
        // SAFETY: a number has room there.
        unsafe { child::write_decimal(part(offset_of!(Variables, fds_count)), count) };
        let channel_fd = part(offset_of!(Variables, channel_fd));
        // SAFETY: two of them have.
        let comma = unsafe { child::write_decimal(channel_fd, FIRST_FD as u32 + count) };
        // SAFETY: as above.
        unsafe { comma.write(b',') };
        self.plan.pids = [
            part(offset_of!(Variables, watchdog_pid)),
            part(offset_of!(Variables, listen_pid)),
            comma.wrapping_add(1),
        ];
        let mut before = b'=';
        for slot in self.sockets {
            self.scratch.push_byte(before);
            self.scratch.push(slot.name.as_bytes());
            before = b':';
        }
        for (name, _) in changes.lent {
            self.scratch.push_byte(before);
            self.scratch.push(name.as_bytes());
            before = b':';
        }
        self.scratch.push_byte(0);
        self.lay_out_path();

        // Pointers.
        self.scratch.align();
        self.plan.argv = self.scratch.at.cast();
        for argument in self.args().iter() {
            self.push_string(argument);
        }
        self.scratch.push_word(0);
        self.plan.watchdog = part(offset_of!(Variables, watchdog));
        self.plan.envp = self.scratch.at.cast();
        for string in self.program.environ.iter() {
            if changes.keeps(string.to_bytes()) {
                self.push_variable(string);
            }
        }
        for string in changes.set {
            self.push_variable(string);
        }
        let push = |start: &mut Start<'_>, offset| {
            start.scratch.push_word(part(offset).expose_provenance());
        };
        if count > 0 {
            push(self, offset_of!(Variables, listen));
            push(self, offset_of!(Variables, fds));
            push(self, offset_of!(Variables, names));
        }
        if !changes.foreign {
            push(self, offset_of!(Variables, channel));
        }
        self.scratch.push_word(0);

        self.lay_out_fds();
        if self.scratch.overflow {
            return false;
        }
        if self.too_long {
            self.find(StartError::TooLarge);
        }
        let [limit, _] = self.plan.limits;
        if u64::from(self.plan.highest) >= limit {
            self.find(StartError::FdLimit(self.plan.highest));
        }
        self.plan.mask = self.at_start.mask;
        self.plan.ignored = self.at_start.ignored;
        self.plan.leads_group = changes.group;
        self.plan.missing_stdio = missing_stdio(&changes.stdio);
        true
    }

    /// The path, or all that are to be tried.
    fn lay_out_path(&mut self) {
        let name = self.path.to_bytes_with_nul();
        self.plan.path = self.path.as_ptr();
        let is_name = name.iter().all(|byte| *byte != b'/');
        self.plan.searches = is_name && self.changes.executable.is_none();
        if !self.plan.searches {
            return;
        }
        self.plan.path = self.scratch.at.cast();
        let mut path = search_path(self.program).iter();
        // An empty directory is the working directory.
        let mut is_empty = true;
        loop {
            match path.next() {
                Some(byte) if *byte != b':' => {
                    self.scratch.push_byte(*byte);
                    is_empty = false;
                }
                end => {
                    if !is_empty {
                        self.scratch.push_byte(b'/');
                    }
                    self.scratch.push(name);
                    is_empty = true;
                    if end.is_none() {
                        break;
                    }
                }
            }
        }
        self.scratch.push_byte(0);
    }

    #[inline(never)]
    fn push_string(&mut self, string: &CStr) {
        self.too_long |= string.count_bytes() >= STRING_MAX;
        self.scratch.push_word(string.as_ptr().expose_provenance());
    }

    #[inline(never)]
    fn push_variable(&mut self, string: &CStr) {
        let bytes = string.to_bytes();
        if activation::is_ours(bytes) {
            return;
        }
        // The first of them counts.
        if !self.plan.watchdog.is_null() && is_own_watchdog(bytes) {
            self.scratch
                .push_word(self.plan.watchdog.expose_provenance());
            self.plan.watchdog = ptr::null();
        } else {
            self.push_string(string);
        }
    }

    fn args(&self) -> Args<'a> {
        *self.changes.args.as_ref().unwrap_or(&self.program.args)
    }

    /// Which fd moves where, in an order in which nothing is overwritten that is still needed: the
    /// sockets from 3 up, the channel behind them, behind that what is executed if it comes to
    /// nothing and what is to be executed, and other standard streams.
    fn lay_out_fds(&mut self) {
        let changes = self.changes;
        self.plan.directory = match &self.program.directory {
            Some(directory) => directory.as_raw_fd(),
            None => -1,
        };
        self.plan.last = self.plan.directory.max(2);
        self.plan.close_from = 0;
        let places = self.scratch.at.cast::<Place>();
        for fd in &changes.stdio {
            self.push_place(fd.map_or(fd_plan::NOTHING, |fd| fd.as_raw_fd()));
        }
        for slot in self.sockets {
            self.push_place(slot.raw_fd());
        }
        for (_, fd) in changes.lent {
            self.push_place(fd.as_raw_fd());
        }
        if !changes.foreign {
            self.push_place(self.channel);
            if let (true, Some((image, _))) = (self.plan.in_place, changes.rollback) {
                self.push_place(image.as_raw_fd());
            }
        }
        self.plan.executable = -1;
        if let Some(executable) = changes.executable {
            self.plan.executable = self.plan.close_from as c_int;
            self.push_place(executable.as_raw_fd());
        }
        self.plan.cut = self.plan.last as u32 + 1;
        if !self.program.cuts_anywhere {
            self.plan.cut = self.plan.cut.next_multiple_of(WHOLE_BITMAP_WORD);
        }
        let [_, limit] = self.plan.limits;
        self.plan.limit = limit.min(MAX_CLOSED_ONE_BY_ONE) as u32;
        if self.scratch.overflow {
            return;
        }
        // SAFETY: so many have been written, of which nobody else knows.
        let places = unsafe { slice::from_raw_parts_mut(places, self.plan.close_from as usize) };
        self.plan.steps = self.scratch.at.cast_const().cast();
        self.plan.step_count = 0;
        fd_plan::plan(places, &mut |step| self.push_step(step));
    }

    #[inline(never)]
    fn push_place(&mut self, fd: c_int) {
        let at = self.scratch.take(size_of::<Place>()).cast::<Place>();
        if !at.is_null() {
            // SAFETY: it was taken, and is aligned as a word is.
            unsafe { at.write(Place::of(fd)) };
        }
        self.plan.last = self.plan.last.max(fd);
        self.plan.close_from += 1;
    }

    fn push_step(&mut self, step: Move) {
        let at = self.scratch.take(size_of::<Move>()).cast::<Move>();
        if !at.is_null() {
            // SAFETY: as above.
            unsafe { at.write(step) };
        }
        self.plan.step_count += 1;
        if !step.stays() {
            self.plan.highest = self.plan.highest.max(step.to as u32);
        }
    }

    /// Executes what was laid out, in a process of its own or in place.
    fn launch(&mut self) {
        self.plan.shares_files = true;
        while self.found.is_ok() {
            match self.clone_and_wait() {
                Ok(()) => return,
                // Neither the whole table nor a part of it could be copied in the child.
                Err(StartError::Failed(error))
                    if error.operation() == Operation::Unshare && self.plan.shares_files =>
                {
                    self.plan.shares_files = false;
                }
                Err(error) => self.find(error),
            }
        }
    }

    /// Clones, and waits until the child has executed its program or is gone.
    ///
    /// In place the child is a thread: when it succeeds, the whole process is the program, under the
    /// same pid, and every other thread has ended. The thread has an fd table, a working directory
    /// and a mask of its own, so that nothing needs to be put back when it fails. What it shares are
    /// memory and signal handlers, which it leaves alone.
    fn clone_and_wait(&mut self) -> Result<(), StartError> {
        self.plan.report = AtomicU32::new(0);
        // No handler of ours may run in the child, which shares our memory.
        let mask = sys::set_signal_mask(!0);
        if self.plan.in_place {
            self.plan.mask = match self.changes.foreign {
                // What comes from now on waits for the new program, which has this mask of the
                // start told to it.
                false => mask,
                // What waits already would do what it does by default, to this program.
                true => self.plan.mask | mask & sys::pending_signals(),
            };
            self.plan.death_signal = sys::death_signal();
        }
        let cloned = self.clone();
        sys::set_signal_mask(mask);
        let pid = cloned?;

        let report = self.plan.report.load(Ordering::Acquire);
        if !self.plan.in_place {
            if report == EXECUTING {
                self.pid = Some(pid);
                return Ok(());
            }
            let pidfd = self.pidfd.as_ref().map(sys::lend);
            let raw_pid = pid.as_raw_nonzero().get() as u32;
            if report == 0 {
                // It was killed; or this is no real kernel, vfork was a fork, and it runs on
                // elsewhere.
                let _ = sys::kill(raw_pid, pidfd, raw::SIGKILL);
            }
            // Whatever this says, it is gone.
            let _ = sys::wait(raw_pid, pidfd, true);
        }
        Err(failed(report))
    }

    /// clone3, or clone where that is refused: the child's pid, and its pidfd; in place only the
    /// former. Returns when the child has executed another program or is gone.
    fn clone(&mut self) -> Result<Pid, Error> {
        let mut stack = Stack(MaybeUninit::uninit());
        let mut pidfd: c_int = -1;
        let mut flags = raw::CLONE_VM | raw::CLONE_VFORK;
        if self.plan.shares_files {
            flags |= raw::CLONE_FILES;
        }
        let cloned = 'cloned: {
            if self.plan.in_place {
                flags |= raw::CLONE_THREAD | raw::CLONE_SIGHAND | raw::CLONE_SYSVSEM;
            } else {
                flags |= self.changes.namespaces;
                let args = raw::clone_args {
                    flags: u64::from(flags | raw::CLONE_PIDFD) | raw::CLONE_CLEAR_SIGHAND,
                    pidfd: &raw mut pidfd as u64,
                    child_tid: 0,
                    parent_tid: 0,
                    exit_signal: u64::from(raw::SIGCHLD),
                    stack: &raw mut stack as u64,
                    stack_size: size_of::<Stack>() as u64,
                    tls: 0,
                    set_tid: 0,
                    set_tid_size: 0,
                    cgroup: 0,
                };
                self.plan.handlers_cleared = true;
                let plan: *mut Plan = &raw mut self.plan;
                // SAFETY: the stack is free, aligned, and lives until the child has left it, because
                // CLONE_VFORK suspends this thread until then; so does the plan, which nobody else
                // uses. All signals are blocked, by the caller.
                let cloned = unsafe { sys::clone3(&args, child::run, plan.cast()) };
                if !cloned.is_err_and(|error| !is_lack(error.errno())) {
                    break 'cloned cloned;
                }
                // Refused by a filter, with whatever errno it likes, or before Linux 5.5.
                self.plan.handlers_cleared = false;
                flags |= raw::CLONE_PIDFD | raw::SIGCHLD;
            }
            let plan: *mut Plan = &raw mut self.plan;
            // SAFETY: one past the end of the stack.
            let end = unsafe { (&raw mut stack).add(1) };
            loop {
                // What failed late may have left a number that is nobody's.
                pidfd = -1;
                let (stack, pidfd) = (end.cast(), &raw mut pidfd);
                // SAFETY: as for clone3.
                let cloned =
                    unsafe { sys::clone(flags as usize, stack, pidfd, child::run, plan.cast()) };
                if flags & raw::CLONE_PIDFD == 0
                    || !cloned.is_err_and(|error| error.is(Errno::INVAL))
                {
                    break cloned;
                }
                flags &= !raw::CLONE_PIDFD;
            }
        };
        let pid = cloned? as i32;
        let pid = Pid::from_raw(pid).ok_or(Error::new(Operation::Clone, Errno::CHILD))?;
        if !self.plan.in_place {
            let pidfd = if pidfd >= 0 {
                // SAFETY: the kernel has just made it for this process.
                above_stdio(unsafe { sys::own(pidfd) })
            } else {
                // Before Linux 5.2, where the flag is not known. The child is ours to reap, so that
                // its pid is still its own.
                sys::pidfd_open(pid.as_raw_nonzero().get() as u32)
            };
            self.pidfd = pidfd.ok();
        }
        Ok(pid)
    }

    fn weigh(&self) -> Load {
        for digits in self.plan.pids {
            // SAFETY: there is room for more digits, and zeros are behind them.
            unsafe { digits.write_bytes(b'9', LONGEST_PID) };
        }
        // SAFETY: an array of C strings in the memory, or that outlive it.
        let strings = unsafe { Environ::from_raw(self.plan.envp) }.iter();
        let sizes = self.args().iter().chain(strings);
        let (mut count, mut bytes) = (0, 0);
        for string in sizes {
            count += 1;
            bytes += string.count_bytes() + 1;
        }
        let first = self.args().iter().next();
        if first.is_none() {
            // An empty one takes its place (Linux 5.18).
            count += 1;
            bytes += 1;
        }
        Load {
            count,
            bytes,
            first: first.map_or(1, |first| first.count_bytes() + 1),
            last_fd: self.plan.close_from - 1,
        }
    }
}

/// Another attempt would have no more of it.
fn is_lack(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE
    )
}

/// Whether there was room for it.
#[inline(never)] // The frame is what it is for.
fn on_stack<const WORDS: usize>(
    start: &mut Start<'_>,
    then: &mut dyn FnMut(&mut Start<'_>),
) -> bool {
    let mut memory = [const { Word::uninit() }; WORDS];
    let fits = start.lay_out(&mut memory);
    if fits {
        then(start);
    }
    fits
}

// Both are laid out among the words, and no word is left half.
const _: () = assert!(align_of::<Move>() <= align_of::<Word>());
const _: () = assert!(align_of::<Place>() <= align_of::<Word>());
const _: () = assert!(size_of::<Move>() == 8 && size_of::<Place>() == 8);

/// How many fds one word of the kernel's second bitmap of them stands for (64 times 64). Before
/// Linux 6.11, and its stable releases of summer 2024, a table that was cut within these kept
/// marks for numbers that had been in use behind the cut, and its owner could not open them.
const WHOLE_BITMAP_WORD: u32 = 4096;

/// Up to where fds are closed one by one where the kernel has no close_range (before Linux 5.9):
/// its own ceiling for a process (fs.nr_open), as it is unless somebody raised it.
const MAX_CLOSED_ONE_BY_ONE: u64 = 1024 * 1024;

/// Does the watchdog of systemd watch this very process?
fn is_own_watchdog(string: &[u8]) -> bool {
    let pid = value_of(string, WATCHDOG_PID).map(|pid| decimal(pid, u64::from(u32::MAX)));
    pid.is_some_and(|pid| pid == Ok(u64::from(sys::getpid())))
}

/// Where a name without a slash is looked for.
pub(crate) fn search_path<'a>(program: &Program<'a>) -> &'a [u8] {
    program.environ.var(b"PATH").unwrap_or(DEFAULT_PATH)
}

/// Which of 0, 1 and 2 would be closed in a successor: bit n for fd n.
fn missing_stdio(given: &[Option<BorrowedFd<'_>>; 3]) -> u8 {
    let mut missing = 0;
    for (fd, given) in (0..).zip(given) {
        match sys::fd_flags(fd) {
            _ if given.is_some() => {}
            Ok(flags) if flags & raw::FD_CLOEXEC == 0 => {}
            _ => missing |= 1 << fd,
        }
    }
    missing
}

/// A thread that executes a program in place of this one later: when it is woken, or when the time
/// is over.
#[repr(C)]
pub(crate) struct Later {
    watch: Watch,
    plan: Plan,
    stack: Stack,
    /// At the end, as most of it is never touched.
    scratch: [Word; MOST_WORDS],
}

/// Lays out all that a start in place would do, and makes a thread that waits to do it, with fds of
/// its own.
///
/// # Errors
///
/// There is no thread.
///
/// # Safety
///
/// 1. `later` is writable, of no one else, and stays so until the thread has ended, as
///    [`Watch::join`] says; so do the strings of the program.
pub(crate) unsafe fn arm(
    start: &mut Start<'_>,
    later: *mut Later,
    deadline: Deadline,
) -> Result<(), StartError> {
    start.check()?;
    let part = |offset| later.wrapping_byte_add(offset);
    let stack: *mut Stack = part(offset_of!(Later, stack)).cast();
    let watch: *mut Watch = part(offset_of!(Later, watch)).cast();
    let place: *mut Plan = part(offset_of!(Later, plan)).cast();
    let scratch: *mut Word = part(offset_of!(Later, scratch)).cast();
    // SAFETY: 1. is the caller's duty.
    let scratch = unsafe { slice::from_raw_parts_mut(scratch, MOST_WORDS) };
    if !start.lay_out(scratch) {
        return Err(StartError::TooLarge);
    }
    start.found?;
    let plan = &mut start.plan;
    // Those of the thread are its own.
    plan.shares_files = false;
    // A crash that waits was for the program that is given up.
    plan.discards_crashes = true;
    // As they were when the program began whose place it takes.
    plan.mask = sys::current_signal_mask();
    plan.death_signal = sys::death_signal();
    // SAFETY: 1. is the caller's duty, and the plan is the thread's from here on.
    unsafe { ptr::copy_nonoverlapping(plan, place, 1) };
    let made = Watch::new(place, deadline.to_ns());
    // SAFETY: 1. is the caller's duty.
    unsafe { watch.write(made) };
    let mask = sys::set_signal_mask(!0);
    // SAFETY: one past the end of the stack.
    let end = unsafe { stack.add(1) }.cast();
    let flags = raw::CLONE_VM | raw::CLONE_THREAD | raw::CLONE_SIGHAND | raw::CLONE_SYSVSEM;
    // SAFETY: the stack is free, aligned, and lives until the thread has left it, by 1.; so
    // does all that it looks at.
    let cloned = unsafe {
        sys::clone(
            flags as usize,
            end,
            ptr::null_mut(),
            child::run_later,
            watch.cast(),
        )
    };
    sys::set_signal_mask(mask);
    cloned?;
    Ok(())
}

impl Later {
    /// What the thread and those who wake it share.
    ///
    /// # Safety
    ///
    /// 1. `later` was [armed](arm).
    pub(crate) unsafe fn watch<'a>(later: *const Later) -> &'a Watch {
        let watch: *const Watch = later.wrapping_byte_add(offset_of!(Later, watch)).cast();
        // SAFETY: 1. is the caller's duty; what is written to it is atomic.
        unsafe { &*watch }
    }

    /// Executes the program in a handler that has interrupted the thread, if that is what runs here.
    ///
    /// # Safety
    ///
    /// 1. `later` was [armed](arm), and the handler is for a signal that is blocked until all is
    ///    prepared.
    pub(crate) unsafe fn go_on_if_here(later: *const Later) {
        let here = 0_u8;
        let stack = later as usize + offset_of!(Later, stack);
        if (&raw const here as usize).wrapping_sub(stack) < size_of::<Stack>() {
            let plan = later.wrapping_byte_add(offset_of!(Later, plan)).cast();
            // SAFETY: 1. is the caller's duty.
            unsafe { child::go_on(plan) }
        }
    }

    /// Why the program was not executed, once the thread has ended.
    ///
    /// # Safety
    ///
    /// 1. `later` was [armed](arm), and the thread has ended.
    pub(crate) unsafe fn error(later: *const Later) -> StartError {
        let plan: *const Plan = later.wrapping_byte_add(offset_of!(Later, plan)).cast();
        // SAFETY: 1. is the caller's duty.
        failed(unsafe { &*plan }.report.load(Ordering::Acquire))
    }
}

/// What a child has reported that did not become the program.
fn failed(report: u32) -> StartError {
    let failed = Error::from_word(report).filter(|_| report != EXECUTING);
    failed.map_or(StartError::Vanished, StartError::Failed)
}

/// The child's stack: its calls go three deep, and no signal is delivered on it. Its size keeps
/// the end aligned, too.
#[repr(C, align(16))]
struct Stack(MaybeUninit<[u8; 8192]>);

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use rustix::fd::AsFd as _;
    use std::fs::File;
    use std::vec::Vec;

    /// In memory of any size nothing is written behind its end; and what has room is there.
    #[test]
    fn what_is_laid_out_stays_within_its_memory() {
        const GUARD: usize = 0x5a5a_5a5a;
        const MOST: usize = 400;
        let args = [c"/program", c"", c"argument"];
        let (environ, path) = (
            [c"A=1", c"PATH=/bin::relative:", c"WATCHDOG_PID=1"],
            c"name",
        );
        let program = Program::new(Args::new(&args), Environ::new(&environ));
        let file = File::open("/dev/null").unwrap();
        let lent = [("one", file.as_fd()), ("another", file.as_fd())];
        let changes = Changes::new().path(path).lend(&lent).unwrap();
        let changes = changes.set(&[c"B=2"]);
        let slots = heapless::Vec::<Slot, 4>::new();

        let mut start = Start::new(&program, &program.at_start, &changes, &slots);
        start.channel = file.as_raw_fd();
        start.check().unwrap();
        let mut least = None;
        for size in 0..MOST {
            let mut memory = [Word::new(GUARD); MOST + 1];
            let fits = start.lay_out(&mut memory[..size]);
            for word in &memory[size..] {
                // SAFETY: all of them were written.
                assert_eq!(unsafe { word.assume_init() }, GUARD, "{size} words");
            }
            assert!(
                fits || least.is_none(),
                "{size} words, {least:?} are enough"
            );
            if !fits {
                continue;
            }
            least = least.or(Some(size));
            assert_eq!(start.found, Ok(()));
            // SAFETY: what was laid out, in memory that lives.
            let strings = |array| unsafe { Environ::from_raw(array) }.iter();
            let argv: Vec<_> = strings(start.plan.argv).collect();
            assert_eq!(argv, args);
            let names: Vec<_> = strings(start.plan.envp).map(CStr::to_bytes).collect();
            let expected: [&[u8]; 8] = [
                b"A=1",
                b"PATH=/bin::relative:",
                b"WATCHDOG_PID=1",
                b"B=2",
                b"LISTEN_PID=",
                b"LISTEN_FDS=2",
                b"LISTEN_FDNAMES=one:another",
                b"GRACENET_FD=5,",
            ];
            assert_eq!(names, expected);
            let mut candidate = start.plan.path;
            let mut candidates = Vec::new();
            loop {
                // SAFETY: as above, up to an empty one.
                let found = unsafe { CStr::from_ptr(candidate) };
                if found.is_empty() {
                    break;
                }
                candidates.push(found);
                candidate = candidate.wrapping_add(found.to_bytes_with_nul().len());
            }
            assert_eq!(
                candidates,
                [c"/bin/name", c"name", c"relative/name", c"name"]
            );
            let mut steps = Vec::new();
            for index in 0..start.plan.step_count {
                // SAFETY: there are so many.
                let step = unsafe { start.plan.steps.add(index as usize) };
                // SAFETY: as above.
                steps.push(unsafe { step.read() });
            }
            let from = file.as_raw_fd();
            assert!((3..6).all(|to| steps.contains(&[from, to])), "{steps:?}");
        }
        assert!(least.is_some());
    }

    /// As many digits as there can be, and the NUL: within the bytes that are given.
    #[test]
    fn decimals_are_left_aligned_and_end_in_a_nul() {
        for number in [0, 9, 10, 4_194_304, 999_999_999, 1_000_000_000, u32::MAX] {
            let mut room = [b'x'; 12];
            // SAFETY: there is room for eleven bytes.
            let end = unsafe { child::write_decimal(room.as_mut_ptr(), number) };
            assert_eq!(room[11], b'x');
            let text = CStr::from_bytes_until_nul(&room).unwrap();
            assert_eq!(text.to_str().unwrap(), std::format!("{number}"));
            assert_eq!(end as usize - room.as_ptr() as usize, text.count_bytes());
        }
    }
}
