//! Starting a successor: what the parent does before the clone and after it.
#![allow(unsafe_code)] // clone; the memory that the child reads.

mod child;

use core::ffi::{CStr, c_char, c_int, c_void};
use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr;

use linux_raw_sys::general as raw;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::activation::{self, FIRST_FD, WATCHDOG_PID, write_decimal};
use crate::changes::Changes;
use crate::environ::{Args, value_of};
use crate::error::{Error, Operation};
use crate::fd_plan::{self, Move};
use crate::program::Program;
use crate::slot::Slot;
use crate::socket::above_stdio;
use crate::sys;

pub(crate) use child::PATH_MAX;
use child::{Plan, Report, Stage};

/// The kernel's limit for one string (MAX_ARG_STRLEN), with its NUL.
const STRING_MAX: usize = 128 * 1024;

/// Where a name without a slash is looked for when there is no `PATH`.
const DEFAULT_PATH: &CStr = c"/usr/local/bin:/bin:/usr/bin";

/// Why no successor was started. The process is as it was before, and may try again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StartError {
    /// A successor is being started already, or has taken over.
    InProgress,
    /// There is no first argument to execute.
    NoProgram,
    /// The arguments, the environment and the names are too much for one process, or one of the
    /// strings is too long for the kernel.
    TooLarge,
    /// The successor would need this fd number, which RLIMIT_NOFILE does not allow.
    FdLimit(u32),
    /// The fd of the socket at this place of the table was closed behind the table's back, and
    /// may be another file by now.
    NotOurs(usize),
    /// A system call failed, here or in the successor before its execve was done.
    Failed(Error),
    /// The successor was gone before its execve was done, and said nothing.
    Vanished,
}

impl From<Error> for StartError {
    fn from(error: Error) -> StartError {
        StartError::Failed(error)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, number) = match self {
            StartError::InProgress => return f.write_str("a successor has been started already"),
            StartError::NoProgram => return f.write_str("there is no program to start"),
            StartError::TooLarge => {
                return f.write_str("the arguments and the environment are too large");
            }
            StartError::Vanished => return f.write_str("the successor vanished before execve"),
            StartError::Failed(error) => return error.fmt(f),
            StartError::FdLimit(fd) => ("the limit on open files forbids fd ", *fd as usize),
            StartError::NotOurs(index) => ("closed behind the table's back: socket ", *index),
        };
        f.write_str(text)?;
        fmt::Display::fmt(&number, f)
    }
}

impl core::error::Error for StartError {}

/// The most scratch memory that a start takes: half a megabyte, for some 60,000 variables.
const MOST_WORDS: usize = 65_536;

/// A process that has executed the program.
pub(crate) struct Started {
    pub(crate) pid: Pid,
    pub(crate) pidfd: Option<OwnedFd>,
}

/// A word of scratch memory: a pointer, two ints or eight bytes, whatever is put there.
type Word = MaybeUninit<u64>;

/// Scratch memory on the caller's stack: what the child reads, and nobody frees.
struct Scratch<'m> {
    free: &'m mut [Word],
}

impl<'m> Scratch<'m> {
    fn words(&mut self, count: usize) -> Result<&'m mut [Word], StartError> {
        let free = core::mem::take(&mut self.free);
        let (taken, free) = free
            .split_at_mut_checked(count)
            .ok_or(StartError::TooLarge)?;
        self.free = free;
        Ok(taken)
    }

    fn bytes(&mut self, count: usize) -> Result<Text<'m>, StartError> {
        let words = self.words(count.div_ceil(size_of::<Word>()))?;
        Ok(Text {
            at: words.as_mut_ptr().cast(),
            left: size_of_val(words),
            memory: PhantomData,
        })
    }
}

/// Bytes that are written one behind the other, and read by the child: through pointers only.
struct Text<'m> {
    at: *mut u8,
    left: usize,
    memory: PhantomData<&'m mut [Word]>,
}

impl Text<'_> {
    fn push(&mut self, bytes: &[u8]) -> Result<(), StartError> {
        self.left = self
            .left
            .checked_sub(bytes.len())
            .ok_or(StartError::TooLarge)?;
        // SAFETY: so many bytes are left, in memory that nobody else has.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.at, bytes.len()) };
        // SAFETY: within the same memory, or at its end.
        self.at = unsafe { self.at.add(bytes.len()) };
        Ok(())
    }

    fn push_decimal(&mut self, number: u32) -> Result<(), StartError> {
        self.push(write_decimal(&mut [0; 10], number))
    }
}

/// An array of pointers to C strings that ends in a null pointer, read by the child.
struct Pointers<'m> {
    start: *mut *const c_char,
    length: usize,
    capacity: usize,
    memory: PhantomData<&'m mut [Word]>,
}

impl<'m> Pointers<'m> {
    fn new(words: &'m mut [Word]) -> Pointers<'m> {
        Pointers {
            start: words.as_mut_ptr().cast(),
            length: 0,
            capacity: words.len(),
            memory: PhantomData,
        }
    }

    fn push(&mut self, string: *const c_char) -> Result<(), StartError> {
        if self.length == self.capacity {
            return Err(StartError::TooLarge);
        }
        // SAFETY: within the words, each of which has room for a pointer.
        let at = unsafe { self.start.add(self.length) };
        // SAFETY: as above.
        unsafe { at.write(string) };
        self.length = self.length.wrapping_add(1);
        Ok(())
    }
}

/// Starts a successor with these sockets, from 3 up, and its end of the control channel behind
/// them.
///
/// All that it needs lies on this thread's stack, which is suspended until the successor has
/// executed its program. How much that is depends on the environment: a small one, which is the
/// rule, takes 4 KiB.
pub(crate) fn start(
    program: &Program<'_>,
    changes: &Changes<'_>,
    sockets: &[Slot],
    channel: BorrowedFd<'_>,
) -> Result<Started, StartError> {
    let mut found = None;
    let start = Start::new(program, changes, sockets, Some(channel), &mut |error| {
        found.get_or_insert(error);
    });
    if let Some(error) = found {
        return Err(error);
    }
    match start.words() {
        0..=512 => on_stack::<512>(&start),
        513..=8_192 => on_stack::<8_192>(&start),
        8_193..=MOST_WORDS => on_stack::<MOST_WORDS>(&start),
        _ => Err(StartError::TooLarge),
    }
}

#[inline(never)] // The frame is what it is for.
fn on_stack<const WORDS: usize>(start: &Start<'_>) -> Result<Started, StartError> {
    let mut memory = [const { Word::uninit() }; WORDS];
    start.launch(Scratch { free: &mut memory })
}

/// What preflight asks: everything that speaks against a start, as far as it can be told from
/// here without looking at the program.
pub(crate) fn check(
    program: &Program<'_>,
    changes: &Changes<'_>,
    sockets: &[Slot],
    found: &mut dyn FnMut(StartError),
) {
    let start = Start::new(program, changes, sockets, None, found);
    if start.words() > MOST_WORDS {
        found(StartError::TooLarge);
    }
    let highest = start.moves().map(|(_, to)| to as u32).max().unwrap_or(0);
    if highest >= start.limit {
        found(StartError::FdLimit(highest));
    }
}

/// What is to be started.
struct Start<'a> {
    program: &'a Program<'a>,
    changes: &'a Changes<'a>,
    path: &'a CStr,
    /// The directories to search, where the path has no slash.
    search: Option<*const c_char>,
    sockets: &'a [Slot],
    /// None where it is only asked whether a start is possible.
    channel: Option<BorrowedFd<'a>>,
    arguments: usize,
    variables: usize,
    names: usize,
    watchdog: bool,
    limit: u32,
}

/// The variables that are written anew.
const OWN_VARIABLES: usize = 5;

/// Room for the variables that are written anew, without the names: their text, two numbers in
/// one of them, a NUL, and the rounding up to words.
const OWN_BYTES: usize = OWN_VARIABLES * 48;

impl<'a> Start<'a> {
    /// Checks what can be checked here, and tells all that it finds.
    fn new(
        program: &'a Program<'a>,
        changes: &'a Changes<'a>,
        sockets: &'a [Slot],
        channel: Option<BorrowedFd<'a>>,
        found: &mut dyn FnMut(StartError),
    ) -> Start<'a> {
        let path = match changes
            .path
            .or(program.path())
            .filter(|path| !path.is_empty())
        {
            Some(path) => path,
            None => {
                if changes.executable.is_none() {
                    found(StartError::NoProgram);
                }
                c""
            }
        };
        for (index, slot) in sockets.iter().enumerate() {
            if !slot.is_intact() {
                found(StartError::NotOurs(index));
            }
        }
        let mut start = Start {
            program,
            changes,
            path,
            search: None,
            sockets,
            channel,
            arguments: 0,
            variables: 0,
            names: 0,
            watchdog: false,
            limit: sys::fd_limit(),
        };
        if changes.executable.is_none() && !path.to_bytes().contains(&b'/') {
            start.search = Some(search_path(program));
        }
        let mut fits = path.count_bytes() < STRING_MAX;
        for argument in start.args().iter() {
            start.arguments = start.arguments.saturating_add(1);
            fits &= argument.count_bytes() < STRING_MAX;
        }
        let (mut variables, mut watchdog) = (0_usize, false);
        for string in start.variables() {
            variables = variables.saturating_add(1);
            fits &= string.count_bytes() < STRING_MAX;
            watchdog |= is_own_watchdog(string.to_bytes());
        }
        (start.variables, start.watchdog) = (variables, watchdog);
        for slot in sockets {
            let length = slot.name.as_bytes().len().saturating_add(1);
            start.names = start.names.saturating_add(length);
        }
        if !fits || start.names > STRING_MAX - OWN_BYTES {
            found(StartError::TooLarge);
        }
        start
    }

    fn args(&self) -> Args<'a> {
        self.changes.args.unwrap_or(self.program.args)
    }

    /// The variables of the start that stay, and those that are added. None of them tells of
    /// sockets.
    fn variables(&self) -> impl Iterator<Item = &'a CStr> + use<'a> {
        let changes = self.changes;
        let kept = self
            .program
            .environ
            .iter()
            .filter(|string| changes.keeps(string.to_bytes()));
        kept.chain(changes.set.iter().copied())
            .filter(|string| !activation::is_ours(string.to_bytes()))
    }

    /// Which fd is wanted where: the sockets from 3 up, the channel behind them, behind that what
    /// is to be executed, and other standard streams.
    fn moves(&self) -> impl Iterator<Item = (c_int, c_int)> + Clone {
        let sockets = self
            .sockets
            .iter()
            .map(|slot| slot.as_fd().as_raw_fd())
            .zip(FIRST_FD..);
        let channel = self.channel.map_or(-1, |fd| fd.as_raw_fd());
        let executable = self
            .changes
            .executable
            .map(|fd| (fd.as_raw_fd(), self.executable_fd()));
        let stdio = self.changes.stdio.iter().zip(0..);
        let stdio = stdio.filter_map(|(fd, to)| fd.as_ref().map(|fd| (fd.as_raw_fd(), to)));
        sockets
            .chain([(channel, self.channel_fd())])
            .chain(executable)
            .chain(stdio)
    }

    /// How much scratch memory it takes.
    fn words(&self) -> usize {
        let moves = self.moves().count();
        let candidate = if self.search.is_some() { PATH_MAX } else { 0 };
        let bytes = OWN_BYTES
            .saturating_add(self.names)
            .saturating_add(candidate);
        [
            self.arguments,
            self.variables,
            OWN_VARIABLES + 2,
            moves,
            fd_plan::max_steps(moves),
            // Each of the three texts is rounded up.
            bytes.div_ceil(size_of::<Word>()) + 3,
        ]
        .iter()
        .fold(0, |sum, part| sum.saturating_add(*part))
    }

    /// Where the channel goes: behind the sockets.
    fn channel_fd(&self) -> i32 {
        i32::try_from(self.sockets.len())
            .unwrap_or(i32::MAX)
            .saturating_add(FIRST_FD)
    }

    fn executable_fd(&self) -> i32 {
        self.channel_fd().saturating_add(1)
    }

    fn launch(&self, mut scratch: Scratch<'_>) -> Result<Started, StartError> {
        let mut argv = Pointers::new(scratch.words(self.arguments.saturating_add(1))?);
        for argument in self.args().iter() {
            argv.push(argument.as_ptr())?;
        }
        argv.push(ptr::null())?;

        let mut text = scratch.bytes(OWN_BYTES.saturating_add(self.names))?;
        let mut envp = Pointers::new(
            scratch.words(
                self.variables
                    .saturating_add(OWN_VARIABLES)
                    .saturating_add(1),
            )?,
        );
        let mut pids = [ptr::null_mut(); 3];
        self.environment(&mut text, &mut envp, &mut pids)?;

        let moves = self.moves().count();
        let pending = scratch.words(moves)?;
        let steps = scratch.words(fd_plan::max_steps(moves))?;
        let fds = self.fds(pending, steps)?;
        let candidate = match self.search {
            Some(_) => scratch.bytes(PATH_MAX)?.at,
            None => ptr::null_mut(),
        };

        let mut plan = Plan {
            report: ptr::null_mut(),
            shares_files: true,
            handlers_cleared: false,
            cut: fds.cut,
            close_from: fds.close_from,
            limit: self.limit.max(fds.cut).min(MAX_CLOSED_ONE_BY_ONE),
            directory: self
                .program
                .directory
                .as_ref()
                .map_or(-1, AsRawFd::as_raw_fd),
            steps: fds.steps,
            step_count: fds.step_count,
            missing_stdio: missing_stdio(&self.changes.stdio),
            executable: self.changes.executable.map_or(-1, |_| self.executable_fd()),
            ignored: self.program.ignored,
            mask: self.program.mask,
            pids,
            path: self.path.as_ptr(),
            search: self.search.unwrap_or(ptr::null()),
            candidate,
            argv: argv.start.cast_const(),
            envp: envp.start.cast_const(),
        };
        let started = launch(&mut plan);
        match started {
            // Neither the whole table nor a part of it could be copied in the child.
            Err(StartError::Failed(error)) if error.operation() == Operation::Unshare => {
                plan.shares_files = false;
                launch(&mut plan)
            }
            started => started,
        }
    }

    /// The variables of the start but for those that told of our own sockets, and behind them
    /// those that tell the successor of its.
    fn environment(
        &self,
        text: &mut Text<'_>,
        envp: &mut Pointers<'_>,
        pids: &mut [*mut u8; 3],
    ) -> Result<(), StartError> {
        const PID: &[u8] = &[0; 11];
        let [listen_pid, channel_pid, watchdog_pid] = pids;
        for string in self.variables() {
            if self.watchdog && watchdog_pid.is_null() && is_own_watchdog(string.to_bytes()) {
                envp.push(text.at.cast())?;
                text.push(b"WATCHDOG_PID=")?;
                *watchdog_pid = text.at;
                text.push(PID)?;
            } else {
                envp.push(string.as_ptr())?;
            }
        }
        if !self.sockets.is_empty() {
            envp.push(text.at.cast())?;
            text.push(b"LISTEN_PID=")?;
            *listen_pid = text.at;
            text.push(PID)?;

            envp.push(text.at.cast())?;
            text.push(b"LISTEN_FDS=")?;
            text.push_decimal(self.sockets.len() as u32)?;
            text.push(b"\0")?;

            envp.push(text.at.cast())?;
            text.push(b"LISTEN_FDNAMES=")?;
            for (index, slot) in self.sockets.iter().enumerate() {
                if index > 0 {
                    text.push(b":")?;
                }
                text.push(slot.name.as_bytes())?;
            }
            text.push(b"\0")?;
        }
        envp.push(text.at.cast())?;
        text.push(b"GRACENET_FD=")?;
        text.push_decimal(self.channel_fd() as u32)?;
        text.push(b",")?;
        *channel_pid = text.at;
        text.push(PID)?;
        envp.push(ptr::null())
    }

    /// Which fd moves where.
    fn fds(&self, pending: &mut [Word], steps: &mut [Word]) -> Result<Fds, StartError> {
        for (word, (from, to)) in pending.iter_mut().zip(self.moves()) {
            let at: *mut Move = ptr::from_mut(word).cast();
            // SAFETY: a word has room for two ints, and their alignment.
            unsafe { at.write(Move { from, to }) };
        }
        let (start, count) = (pending.as_mut_ptr().cast::<Move>(), pending.len());
        // SAFETY: as many were written as there are words: the caller has counted the moves.
        let pending = unsafe { core::slice::from_raw_parts_mut(start, count) };

        let first = steps.as_mut_ptr().cast::<[c_int; 2]>();
        let most = steps.len();
        let close_from = match self.changes.executable {
            Some(_) => self.executable_fd().saturating_add(1),
            None => self.executable_fd(),
        };
        let sources = self.moves().map(|(from, _)| from);
        let Some(aside) = (close_from..).find(|fd| sources.clone().all(|source| source != *fd))
        else {
            return Err(StartError::TooLarge);
        };
        let mut step_count: usize = 0;
        let mut highest = 0;
        fd_plan::plan(pending, aside, &mut |step| {
            if step_count == most {
                return;
            }
            // SAFETY: within the words, each of which has room for two ints.
            let at = unsafe { first.add(step_count) };
            // SAFETY: as above.
            unsafe { at.write([step.from, step.to]) };
            step_count = step_count.wrapping_add(1);
            if !step.stays() {
                highest = highest.max(step.to as u32);
            }
        });
        if highest >= self.limit {
            return Err(StartError::FdLimit(highest));
        }
        let directory = self
            .program
            .directory
            .as_ref()
            .map_or(-1, AsRawFd::as_raw_fd);
        let last = sources.chain([2, directory]).max().unwrap_or(2);
        let mut cut = (last as u32).saturating_add(1);
        if !self.program.cuts_anywhere {
            cut = cut.next_multiple_of(WHOLE_BITMAP_WORD);
        }
        Ok(Fds {
            cut,
            close_from: close_from as u32,
            steps: first,
            step_count,
        })
    }
}

/// The part of a [`Plan`] that is about fds.
struct Fds {
    cut: u32,
    close_from: u32,
    steps: *const [c_int; 2],
    step_count: usize,
}

/// How many fds one word of the kernel's second bitmap of them stands for (64 times 64). Before
/// Linux 6.11, and its stable releases of summer 2024, a table that was cut within these kept
/// marks for numbers that had been in use behind the cut, and its owner could not open them.
const WHOLE_BITMAP_WORD: u32 = 4096;

/// Up to where fds are closed one by one where the kernel has no close_range (before Linux 5.9):
/// its own ceiling for a process (fs.nr_open), as it is unless somebody raised it.
const MAX_CLOSED_ONE_BY_ONE: u32 = 1024 * 1024;

/// Does the watchdog of systemd watch this very process?
fn is_own_watchdog(string: &[u8]) -> bool {
    value_of(string, WATCHDOG_PID)
        .is_some_and(|pid| pid == write_decimal(&mut [0; 10], sys::getpid()))
}

/// The value of PATH, as a C string.
pub(crate) fn search_path(program: &Program<'_>) -> *const c_char {
    const NAME: &[u8] = b"PATH";
    let variable = program
        .environ
        .iter()
        .find(|string| value_of(string.to_bytes(), NAME).is_some());
    match variable {
        // SAFETY: behind the name and the equals sign there is at least the NUL.
        Some(variable) => unsafe { variable.as_ptr().add(NAME.len() + 1) },
        None => DEFAULT_PATH.as_ptr(),
    }
}

/// Which of 0, 1 and 2 would be closed in a successor: bit n for fd n.
fn missing_stdio(given: &[Option<BorrowedFd<'_>>; 3]) -> u32 {
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

/// Clones, waits until the child has executed its program or is gone, and says which.
fn launch(plan: &mut Plan) -> Result<Started, StartError> {
    let mut report = Report {
        stage: Stage::Clone,
        errno: 0,
    };
    plan.report = &raw mut report;
    // No handler of ours may run in the child, which shares our memory.
    let mask = sys::set_signal_mask(!0);
    let cloned = clone(plan);
    sys::set_signal_mask(mask);
    let (pid, pidfd) = cloned.map_err(|errno| Error::new(Operation::Clone, errno))?;

    // SAFETY: it lives. Volatile: it was written by another process.
    let report = unsafe { plan.report.read_volatile() };
    if report
        == (Report {
            stage: Stage::Execve,
            errno: 0,
        })
    {
        return Ok(Started { pid, pidfd });
    }
    let raw_pid = pid.as_raw_nonzero().get() as u32;
    if report.errno == 0 {
        // It was killed; or this is no real kernel, vfork was a fork, and it runs on elsewhere.
        let _ = sys::kill(raw_pid, pidfd.as_ref().map(AsFd::as_fd), raw::SIGKILL);
    }
    // Whatever this says, it is gone.
    let _ = sys::wait(raw_pid, pidfd.as_ref().map(AsFd::as_fd), true);
    if report.errno == 0 {
        return Err(StartError::Vanished);
    }
    let operation = match report.stage {
        Stage::Clone => Operation::Clone,
        Stage::Unshare => Operation::Unshare,
        Stage::Chdir => Operation::Chdir,
        Stage::Dup => Operation::Dup,
        Stage::Open => Operation::Open,
        Stage::Sigaction => Operation::Sigaction,
        Stage::Execve => Operation::Execve,
    };
    let packed = (operation as u32) << 16;
    Err(Error::from_packed(packed, report.errno as u32).into())
}

/// The child's stack, in units of its alignment: its calls go three deep, and no signal is
/// delivered on it.
type Stack = [MaybeUninit<u128>; 512];

/// clone3, or clone where that is refused: the child's pid and pidfd. Returns when the child has
/// executed another program or is gone.
fn clone(plan: &mut Plan) -> Result<(Pid, Option<OwnedFd>), Errno> {
    let mut stack: Stack = [const { MaybeUninit::uninit() }; 512];
    let mut pidfd: c_int = -1;
    let mut flags = raw::CLONE_VM | raw::CLONE_VFORK;
    if plan.shares_files {
        flags |= raw::CLONE_FILES;
    }
    plan.handlers_cleared = true;
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
    let argument: *mut c_void = ptr::from_mut(plan).cast();
    // SAFETY: the stack is free, aligned, and lives until the child has left it, because
    // CLONE_VFORK suspends this thread until then; so does the plan, which nobody else uses. All
    // signals are blocked, by the caller.
    let mut cloned = unsafe { sys::clone3(&args, child::run, argument) };
    if !matches!(
        cloned,
        Ok(_) | Err(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE)
    ) {
        // Refused by a filter, with whatever errno it likes, or before Linux 5.5.
        plan.handlers_cleared = false;
        let argument: *mut c_void = ptr::from_mut(plan).cast();
        let flags = flags | raw::SIGCHLD;
        // SAFETY: one past the end of the stack.
        let end = unsafe { stack.as_mut_ptr().add(stack.len()) }.cast();
        let with_pidfd = (flags | raw::CLONE_PIDFD) as usize;
        // SAFETY: as for clone3.
        cloned = unsafe { sys::clone(with_pidfd, end, &raw mut pidfd, child::run, argument) };
        if let Err(Errno::INVAL) = cloned {
            // SAFETY: as for clone3.
            cloned =
                unsafe { sys::clone(flags as usize, end, &raw mut pidfd, child::run, argument) };
        }
    }
    let pid = Pid::from_raw(cloned? as i32).ok_or(Errno::CHILD)?;
    let pidfd = if pidfd >= 0 {
        // SAFETY: the kernel has just made it for this process.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        above_stdio(pidfd).ok()
    } else {
        // Before Linux 5.2, where the flag is not known. The child is ours to reap, so that its
        // pid is still its own.
        sys::pidfd_open(pid.as_raw_nonzero().get() as u32).ok()
    };
    Ok((pid, pidfd))
}
