//! Starting a successor: what the parent does before the clone and after it.
#![allow(unsafe_code)] // clone; the memory that the child reads.

mod child;

use core::ffi::{CStr, c_char, c_int, c_void};
use core::fmt;
use core::marker::PhantomData;
use core::mem::{MaybeUninit, offset_of};
use core::ptr;

use linux_raw_sys::general as raw;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::activation::{self, FIRST_FD, WATCHDOG_PID, write_decimal};
use crate::changes::Changes;
use crate::environ::{Args, Environ, value_of};
use crate::error::{Error, Operation};
use crate::fd_plan::{self, Move, Place};
use crate::program::{AtStart, Program};
use crate::seat;
use crate::slot::Slot;
use crate::socket::above_stdio;
use crate::sys;
use crate::time::Deadline;

use child::{EXECUTING, Plan};
pub(crate) use child::{PATH_MAX, Watch};

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
    /// The arguments, the environment and the names are too much for one process, one of the
    /// strings is too long for the kernel, or more is [lent](Changes::lend) than the table has room
    /// for.
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

/// The most scratch memory that a start takes, a stack frame of 128 KiB: for some 15,000 variables.
const MOST_WORDS: usize = 16_384;

/// A process that has executed the program.
pub(crate) struct Started {
    pub(crate) pid: Pid,
    pub(crate) pidfd: Option<OwnedFd>,
}

/// A word of scratch memory: a pointer, or a number.
type Word = MaybeUninit<usize>;

/// Scratch memory on the caller's stack, written once and read by the child: text, and words
/// behind it. What does not fit is left out and remembered; it has been counted before.
struct Scratch<'m> {
    text: *mut u8,
    text_left: usize,
    words: *mut usize,
    words_left: usize,
    overflow: bool,
    memory: PhantomData<&'m mut [Word]>,
}

impl<'m> Scratch<'m> {
    /// With room for so many bytes of text.
    fn new(memory: &'m mut [Word], text: usize) -> Scratch<'m> {
        let text_words = text.div_ceil(size_of::<Word>()).min(memory.len());
        let start = memory.as_mut_ptr().cast::<usize>();
        Scratch {
            text: start.cast(),
            text_left: text_words * size_of::<Word>(),
            // SAFETY: within the memory, or at its end.
            words: unsafe { start.add(text_words) },
            words_left: memory.len() - text_words,
            overflow: false,
            memory: PhantomData,
        }
    }

    #[inline(never)]
    fn push(&mut self, bytes: &[u8]) {
        if self.text_left < bytes.len() {
            self.overflow = true;
            return;
        }
        // SAFETY: so many bytes are left, in memory that nobody else has.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.text, bytes.len()) };
        // SAFETY: within the same memory, or at its end.
        self.text = unsafe { self.text.add(bytes.len()) };
        self.text_left -= bytes.len();
    }

    /// Another variable: the next text, up to the next NUL. Where its value begins.
    #[inline(never)]
    fn push_variable(&mut self, name: &[u8]) -> *mut u8 {
        self.push_word(self.text.expose_provenance());
        self.push(name);
        self.text
    }

    fn push_decimal(&mut self, number: u32) {
        self.push(write_decimal(&mut [0; 10], number));
    }

    /// Where the next text is written, or the next word.
    #[inline(never)]
    fn push_word(&mut self, word: usize) {
        let at = self.take_words(1);
        if !at.is_null() {
            // SAFETY: a word of the memory.
            unsafe { at.write(word) };
        }
    }

    /// Words in a row, or null.
    #[inline(never)]
    fn take_words(&mut self, count: usize) -> *mut usize {
        if self.words_left < count {
            self.overflow = true;
            return ptr::null_mut();
        }
        let taken = self.words;
        // SAFETY: within the memory, or at its end.
        self.words = unsafe { taken.add(count) };
        self.words_left -= count;
        taken
    }
}

/// Starts a successor with these sockets, from 3 up, and its end of the control channel behind
/// them, unless it is a foreign one. The channel lies at the seat while that is done, if there is
/// one and it is of use.
///
/// All that it needs lies on this thread's stack, which is suspended until the successor has
/// executed its program. How much that is depends on the environment: a small one, which is the
/// rule, takes 4 KiB.
///
/// In place, it is executed instead of this program, and only ever returns an error, after which
/// everything is as it was.
pub(crate) fn start(
    in_place: bool,
    program: &Program<'_>,
    at_start: &AtStart,
    changes: &Changes<'_>,
    sockets: &[Slot],
    channel: Option<BorrowedFd<'_>>,
    seat: Option<BorrowedFd<'_>>,
) -> Result<Started, StartError> {
    let mut found = None;
    let channel = channel.map_or(NO_CHANNEL, |channel| channel.as_raw_fd());
    let seat = seat::choose(seat, channel);
    let mut start = Start::new(program, at_start, changes, sockets, seat, &mut |error| {
        found.get_or_insert(error);
    });
    if let Some(error) = found {
        return Err(error);
    }
    if in_place {
        start.execute = launch_in_place;
        if start.has_channel() {
            start.image = changes.rollback.map(|(image, _)| image.as_raw_fd());
        }
    }
    // SAFETY: the seat belongs to a table that is borrowed mutably.
    let kept = unsafe { seat::occupy(seat, channel)? };
    let started = match start.words() {
        0..=512 => on_stack::<512>(&start),
        513..=MOST_WORDS => on_stack::<MOST_WORDS>(&start),
        _ => Err(StartError::TooLarge),
    };
    // SAFETY: as it was kept.
    unsafe { seat::vacate(seat, kept) };
    started
}

#[inline(never)] // The frame is what it is for.
fn on_stack<const WORDS: usize>(start: &Start<'_>) -> Result<Started, StartError> {
    let mut memory = [const { Word::uninit() }; WORDS];
    start.launch(&mut memory)
}

/// What preflight asks: everything that speaks against a start, as far as it can be told from
/// here without looking at the program, with a channel that would lie there; and how much its
/// strings are.
pub(crate) fn check(
    program: &Program<'_>,
    changes: &Changes<'_>,
    sockets: &[Slot],
    channel: Option<c_int>,
    found: &mut dyn FnMut(StartError),
) -> Option<Load> {
    let channel = channel.unwrap_or(NO_CHANNEL);
    let start = Start::new(program, &program.at_start, changes, sockets, channel, found);
    let weighed = match start.words() {
        0..=512 => weigh_on_stack::<512>(&start),
        513..=MOST_WORDS => weigh_on_stack::<MOST_WORDS>(&start),
        _ => Err(StartError::TooLarge),
    };
    match weighed {
        Ok(load) => Some(load),
        Err(error) => {
            found(error);
            None
        }
    }
}

#[inline(never)] // The frame is what it is for.
fn weigh_on_stack<const WORDS: usize>(start: &Start<'_>) -> Result<Load, StartError> {
    let mut memory = [const { Word::uninit() }; WORDS];
    start.weigh(&mut memory)
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

/// In place of a channel, where nothing is moved.
const NO_CHANNEL: c_int = -1;

/// Executes what a plan says, in a process of its own or in place; the flag says that the program is
/// a foreign one.
type Execute = fn(&mut Plan, bool) -> Result<Started, StartError>;

/// What is to be started.
struct Start<'a> {
    program: &'a Program<'a>,
    at_start: &'a AtStart,
    changes: &'a Changes<'a>,
    path: &'a CStr,
    /// The directories to search, where the path has no slash.
    search: Option<*const c_char>,
    sockets: &'a [Slot],
    /// [`NO_CHANNEL`] where it is only asked whether a start is possible.
    channel: c_int,
    /// In which way it is executed.
    execute: Execute,
    /// What is executed if it takes the place of this program, and comes to nothing.
    image: Option<c_int>,
    /// How many strings there are.
    arguments: usize,
    variables: usize,
    /// How many bytes are written anew.
    text: usize,
    /// RLIMIT_NOFILE, soft and hard.
    limits: (u32, u32),
}

/// The variables that are written anew.
const OWN_VARIABLES: usize = 5;

/// Room for the variables that are written anew, without the names: their text, two numbers in
/// one of them, a NUL, and the rounding up to words.
const OWN_BYTES: usize = OWN_VARIABLES * 48;

impl<'a> Start<'a> {
    /// Checks what can be checked here, and tells all that it finds.
    #[inline(never)]
    fn new(
        program: &'a Program<'a>,
        at_start: &'a AtStart,
        changes: &'a Changes<'a>,
        sockets: &'a [Slot],
        channel: c_int,
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
        let mut names = 0;
        for (index, slot) in (0..).zip(sockets) {
            names += slot.name.as_bytes().len() + 1;
            if !slot.is_intact() {
                found(StartError::NotOurs(index));
            }
        }
        let mut start = Start {
            program,
            at_start,
            changes,
            path,
            search: None,
            sockets,
            channel,
            execute: launch,
            image: None,
            arguments: 0,
            variables: 0,
            text: OWN_BYTES + names,
            limits: sys::fd_limits(),
        };
        let is_name = activation::split_at_byte(path.to_bytes(), b'/').1.is_none();
        if changes.executable.is_none() && is_name {
            start.search = Some(search_path(program));
        }
        let mut longest = path.count_bytes();
        let mut count = 0;
        for argument in start.args().iter() {
            count += 1;
            longest = longest.max(argument.count_bytes());
        }
        start.arguments = count;
        count = 0;
        start.each_variable(&mut |variable| {
            count += 1;
            longest = longest.max(variable.count_bytes());
        });
        start.variables = count;
        if longest.max(start.text) >= STRING_MAX {
            found(StartError::TooLarge);
        }
        start
    }

    fn args(&self) -> Args<'a> {
        self.changes.args.unwrap_or(self.program.args)
    }

    /// The variables of the start that stay, and those that are added. None of them tells of
    /// sockets.
    #[inline(never)]
    fn each_variable(&self, visit: &mut dyn FnMut(&'a CStr)) {
        for string in self.program.environ.iter() {
            let bytes = string.to_bytes();
            if self.changes.keeps(bytes) && !activation::is_ours(bytes) {
                visit(string);
            }
        }
        for string in self.changes.set {
            if !activation::is_ours(string.to_bytes()) {
                visit(string);
            }
        }
    }

    /// Which fd is wanted where: the sockets from 3 up, the channel behind them, behind that what
    /// is executed if it comes to nothing and what is to be executed, and other standard streams.
    #[inline(never)]
    fn each_move(&self, visit: &mut dyn FnMut(c_int, c_int)) {
        let mut to = FIRST_FD;
        for slot in self.sockets {
            visit(slot.raw_fd(), to);
            to += 1;
        }
        if self.has_channel() {
            visit(self.channel, to);
            to += 1;
        }
        if let Some(image) = self.image {
            visit(image, to);
            to += 1;
        }
        if let Some(executable) = self.changes.executable {
            visit(executable.as_raw_fd(), to);
        }
        for (fd, to) in self.changes.stdio.iter().zip(0..) {
            if let Some(fd) = fd {
                visit(fd.as_raw_fd(), to);
            }
        }
    }

    /// How much scratch memory it takes.
    fn words(&self) -> usize {
        // The null pointers at the ends, and the text rounded up.
        let ends = OWN_VARIABLES + 3;
        let path = if self.search.is_some() {
            PATH_MAX / size_of::<Word>()
        } else {
            0
        };
        let places = self.close_from() as usize;
        let fds = MOVE_WORDS * (places + fd_plan::max_steps(places));
        self.arguments + self.variables + ends + path + fds + self.text / size_of::<Word>()
    }

    /// Where the channel goes: behind the sockets.
    fn channel_fd(&self) -> u32 {
        FIRST_FD as u32 + self.sockets.len() as u32
    }

    /// The first fd that a successor does not get.
    fn close_from(&self) -> u32 {
        self.channel_fd()
            + u32::from(self.has_channel())
            + u32::from(self.image.is_some())
            + u32::from(self.changes.executable.is_some())
    }

    fn has_channel(&self) -> bool {
        !self.changes.foreign
    }

    /// Lays out all that the child needs in this memory, and does something with it.
    #[inline(never)]
    fn lay_out(
        &self,
        memory: &mut [Word],
        then: &mut dyn FnMut(&mut Plan) -> Result<(), StartError>,
    ) -> Result<(), StartError> {
        let mut scratch = Scratch::new(memory, self.text);
        let argv = scratch.words.cast_const().cast();
        for argument in self.args().iter() {
            scratch.push_word(argument.as_ptr().expose_provenance());
        }
        scratch.push_word(0);
        let envp = scratch.words.cast_const().cast();
        let pids = self.environment(&mut scratch);
        let mut candidate = ptr::null_mut();
        if self.search.is_some() {
            candidate = scratch.take_words(PATH_MAX / size_of::<Word>()).cast();
        }
        let mut plan = Plan {
            report: ptr::null_mut(),
            in_place: false,
            shares_files: true,
            handlers_cleared: false,
            cut: 0,
            close_from: self.close_from(),
            limit: 0,
            directory: self.directory(),
            steps: ptr::null(),
            step_count: 0,
            missing_stdio: missing_stdio(&self.changes.stdio),
            executable: match self.changes.executable {
                Some(_) => self.close_from() as c_int - 1,
                None => -1,
            },
            discarded: 0,
            ignored: self.at_start.ignored,
            leads_group: self.changes.group,
            namespaces: self.changes.namespaces,
            death_signal: 0,
            mask: self.at_start.mask,
            pids,
            path: self.path.as_ptr(),
            search: self.search.unwrap_or(ptr::null()),
            candidate,
            argv,
            envp,
        };
        self.fds(&mut scratch, &mut plan)?;
        if scratch.overflow {
            return Err(StartError::TooLarge);
        }
        then(&mut plan)
    }

    #[inline(never)]
    fn launch(&self, memory: &mut [Word]) -> Result<Started, StartError> {
        let mut started = Err(StartError::Vanished);
        self.lay_out(memory, &mut |plan| {
            loop {
                started = (self.execute)(plan, self.changes.foreign);
                match started {
                    // Neither the whole table nor a part of it could be copied in the child.
                    Err(StartError::Failed(error))
                        if error.operation() == Operation::Unshare && plan.shares_files =>
                    {
                        plan.shares_files = false;
                    }
                    _ => return Ok(()),
                }
            }
        })?;
        started
    }

    fn directory(&self) -> c_int {
        self.program
            .directory
            .as_ref()
            .map_or(-1, AsRawFd::as_raw_fd)
    }

    fn weigh(&self, memory: &mut [Word]) -> Result<Load, StartError> {
        let mut envp = ptr::null();
        self.lay_out(memory, &mut |plan| {
            for digits in plan.pids {
                if !digits.is_null() {
                    // SAFETY: there is room for more digits, and zeros are behind them.
                    unsafe { digits.write_bytes(b'9', LONGEST_PID) };
                }
            }
            envp = plan.envp;
            Ok(())
        })?;
        // SAFETY: an array of C strings in the memory, or that outlive it.
        let strings = unsafe { Environ::from_raw(envp) }.iter();
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
        Ok(Load {
            count,
            bytes,
            first: first.map_or(1, |first| first.count_bytes() + 1),
            last_fd: self.close_from() - 1,
        })
    }

    /// The variables of the start but for those that told of our own sockets, and behind them
    /// those that tell the successor of its; where its pid is to be written.
    fn environment(&self, scratch: &mut Scratch<'_>) -> [*mut u8; 3] {
        let mut watchdog_pid: *mut u8 = ptr::null_mut();
        self.each_variable(&mut |string| {
            // The first of them counts.
            if watchdog_pid.is_null() && is_own_watchdog(string.to_bytes()) {
                watchdog_pid = scratch.push_variable(b"WATCHDOG_PID=");
                scratch.push(PID);
            } else {
                scratch.push_word(string.as_ptr().expose_provenance());
            }
        });
        let mut listen_pid = ptr::null_mut();
        if !self.sockets.is_empty() {
            listen_pid = scratch.push_variable(b"LISTEN_PID=");
            scratch.push(PID);

            scratch.push_variable(b"LISTEN_FDS=");
            scratch.push_decimal(self.sockets.len() as u32);

            scratch.push(b"\0");
            scratch.push_variable(b"LISTEN_FDNAMES=");
            let mut colon: &[u8] = b"";
            for slot in self.sockets {
                scratch.push(colon);
                scratch.push(slot.name.as_bytes());
                colon = b":";
            }
            scratch.push(b"\0");
        }
        let mut channel_pid = ptr::null_mut();
        if self.has_channel() {
            scratch.push_variable(b"GRACENET_FD=");
            scratch.push_decimal(self.channel_fd());
            scratch.push(b",");
            channel_pid = scratch.text;
            scratch.push(PID);
        }
        scratch.push_word(0);
        [listen_pid, channel_pid, watchdog_pid]
    }

    /// Which fd moves where, in an order in which nothing is overwritten that is still needed.
    #[inline(never)]
    fn fds(&self, scratch: &mut Scratch<'_>, plan: &mut Plan) -> Result<(), StartError> {
        let count = self.close_from() as usize;
        let most = fd_plan::max_steps(count);
        let places = scratch
            .take_words(MOVE_WORDS * (count + most))
            .cast::<Place>();
        if places.is_null() {
            return Err(StartError::TooLarge);
        }
        // SAFETY: within what was taken.
        let steps = unsafe { places.add(count) }.cast::<Move>();
        for number in 0..count {
            // SAFETY: there is room for so many.
            let at = unsafe { places.add(number) };
            // SAFETY: as above, and aligned as a word is.
            unsafe { at.write(Place::EMPTY) };
        }
        // SAFETY: so many have been written.
        let places = unsafe { core::slice::from_raw_parts_mut(places, count) };
        let mut last = self.directory().max(2);
        self.each_move(&mut |from, to| {
            if let Some(place) = places.get_mut(to as usize) {
                *place = Place::of(from);
                last = last.max(from);
            }
        });
        let mut highest = 0;
        fd_plan::plan(places, &mut |step| {
            if plan.step_count < most {
                // SAFETY: there is room for so many.
                let at = unsafe { steps.add(plan.step_count) };
                // SAFETY: as above, and aligned as a word is.
                unsafe { at.write(step) };
                plan.step_count += 1;
            }
            if !step.stays() {
                highest = highest.max(step.to as u32);
            }
        });
        if highest >= self.limits.0 {
            return Err(StartError::FdLimit(highest));
        }
        plan.steps = steps.cast_const().cast();
        plan.cut = last as u32 + 1;
        if !self.program.cuts_anywhere {
            plan.cut = plan.cut.next_multiple_of(WHOLE_BITMAP_WORD);
        }
        plan.limit = self.limits.1.min(MAX_CLOSED_ONE_BY_ONE);
        Ok(())
    }
}

/// How many words a [`Move`] takes, or a [`Place`].
const MOVE_WORDS: usize = size_of::<Move>() / size_of::<Word>();
const _: () = assert!(size_of::<Place>() == size_of::<Move>());

/// Where the child writes its pid: ten digits, and a NUL behind the last.
const PID: &[u8] = &[0; 11];

/// How many fds one word of the kernel's second bitmap of them stands for (64 times 64). Before
/// Linux 6.11, and its stable releases of summer 2024, a table that was cut within these kept
/// marks for numbers that had been in use behind the cut, and its owner could not open them.
const WHOLE_BITMAP_WORD: u32 = 4096;

/// Up to where fds are closed one by one where the kernel has no close_range (before Linux 5.9):
/// its own ceiling for a process (fs.nr_open), as it is unless somebody raised it.
const MAX_CLOSED_ONE_BY_ONE: u32 = 1024 * 1024;

/// Does the watchdog of systemd watch this very process?
#[inline(never)]
fn is_own_watchdog(string: &[u8]) -> bool {
    value_of(string, WATCHDOG_PID)
        .is_some_and(|pid| pid == write_decimal(&mut [0; 10], sys::getpid()))
}

/// The value of PATH, as a C string.
pub(crate) fn search_path(program: &Program<'_>) -> *const c_char {
    const NAME: &[u8] = b"PATH";
    match program.environ.find(NAME) {
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
fn launch(plan: &mut Plan, _: bool) -> Result<Started, StartError> {
    let mut report = 0;
    plan.report = &raw mut report;
    // No handler of ours may run in the child, which shares our memory.
    let mask = sys::set_signal_mask(!0);
    let cloned = clone(plan);
    sys::set_signal_mask(mask);
    let (pid, pidfd) = cloned?;

    // SAFETY: it lives. Volatile: it was written by another process.
    let report = unsafe { plan.report.read_volatile() };
    if report == EXECUTING {
        return Ok(Started { pid, pidfd });
    }
    let raw_pid = pid.as_raw_nonzero().get() as u32;
    let failed = Error::from_word(report);
    if failed.is_none() {
        // It was killed; or this is no real kernel, vfork was a fork, and it runs on elsewhere.
        let _ = sys::kill(raw_pid, pidfd.as_ref().map(sys::lend), raw::SIGKILL);
    }
    // Whatever this says, it is gone.
    let _ = sys::wait(raw_pid, pidfd.as_ref().map(sys::lend), true);
    Err(failed.map_or(StartError::Vanished, StartError::Failed))
}

/// Makes a thread that executes the program, and waits for it: when that succeeds, the whole
/// process is the program, under the same pid, and every other thread has ended.
///
/// The thread has an fd table, a working directory and a mask of its own, so that nothing needs to
/// be put back when it fails. What it shares are memory and signal handlers, which it leaves
/// alone.
fn launch_in_place(plan: &mut Plan, foreign: bool) -> Result<Started, StartError> {
    plan.in_place = true;
    plan.leads_group = false;
    let mut report = 0;
    plan.report = &raw mut report;
    let mask = sys::set_signal_mask(!0);
    plan.mask = match foreign {
        // What comes from now on waits for the new program, which has this mask of the start
        // told to it.
        false => mask,
        // What waits already would do what it does by default, to this program.
        true => plan.mask | mask & sys::pending_signals(),
    };
    plan.death_signal = sys::death_signal();
    let cloned = clone_thread(plan);
    sys::set_signal_mask(mask);
    cloned?;

    // SAFETY: it lives.
    Err(unsafe { failed_in_place(plan.report) })
}

/// clone: a thread, which has ended when this returns.
fn clone_thread(plan: &mut Plan) -> Result<u32, Error> {
    let mut stack = Stack(MaybeUninit::uninit());
    let mut flags = raw::CLONE_VM | raw::CLONE_VFORK;
    flags |= raw::CLONE_THREAD | raw::CLONE_SIGHAND | raw::CLONE_SYSVSEM;
    if plan.shares_files {
        flags |= raw::CLONE_FILES;
    }
    let argument: *mut c_void = ptr::from_mut(plan).cast();
    // SAFETY: one past the end of the stack.
    let end = unsafe { (&raw mut stack).add(1) }.cast();
    // SAFETY: as for a process: the stack is free, aligned, and lives until the thread has left
    // it, as this one is suspended until then; so does the plan, which nobody else uses.
    unsafe { sys::clone(flags as usize, end, ptr::null_mut(), child::run, argument) }
}

/// A thread that executes a program in place of this one later: when it is woken, or when the time
/// is over.
#[repr(C)]
pub(crate) struct Later {
    stack: Stack,
    watch: Watch,
    plan: Plan,
    report: u32,
    /// At the end, as most of it is never touched.
    scratch: [Word; MOST_WORDS],
}

/// Lays out all that [`replace`] would do with these sockets and this channel, and makes a thread
/// that waits to do it, with fds of its own.
///
/// # Errors
///
/// There is no thread.
///
/// # Safety
///
/// 1. `later` is writable, of no one else, and stays so until the thread has ended, as
///    [`Later::has_ended`] says; so do the strings of the program.
pub(crate) unsafe fn arm(
    later: *mut Later,
    deadline: Deadline,
    program: &Program<'_>,
    at_start: &AtStart,
    changes: &Changes<'_>,
    sockets: &[Slot],
    channel: BorrowedFd<'_>,
) -> Result<(), StartError> {
    let mut found = None;
    let channel = channel.as_raw_fd();
    let start = Start::new(program, at_start, changes, sockets, channel, &mut |error| {
        found.get_or_insert(error);
    });
    if let Some(error) = found {
        return Err(error);
    }
    let part = |offset| later.wrapping_byte_add(offset);
    let stack: *mut Stack = part(offset_of!(Later, stack)).cast();
    let watch: *mut Watch = part(offset_of!(Later, watch)).cast();
    let place: *mut Plan = part(offset_of!(Later, plan)).cast();
    let report: *mut u32 = part(offset_of!(Later, report)).cast();
    let scratch: *mut Word = part(offset_of!(Later, scratch)).cast();
    // SAFETY: 1. is the caller's duty.
    let scratch = unsafe { core::slice::from_raw_parts_mut(scratch, MOST_WORDS) };
    start.lay_out(scratch, &mut |plan| {
        plan.report = report;
        plan.in_place = true;
        // Those of the thread are its own.
        plan.shares_files = false;
        // A crash that waits was for the program that is given up.
        plan.discarded = sys::CRASHES;
        // As they were when the program began whose place it takes.
        plan.mask = sys::current_signal_mask();
        plan.death_signal = sys::death_signal();
        // SAFETY: 1. is the caller's duty.
        unsafe { place.write(*plan) };
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
    })
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
        let report: *const u32 = later.wrapping_byte_add(offset_of!(Later, report)).cast();
        // SAFETY: 1. is the caller's duty.
        unsafe { failed_in_place(report) }
    }
}

/// What a thread has reported that did not become the program.
///
/// # Safety
///
/// 1. `report` is readable, and the thread has ended.
unsafe fn failed_in_place(report: *const u32) -> StartError {
    // SAFETY: 1. is the caller's duty. Volatile: it was written by another thread.
    let report = unsafe { report.read_volatile() };
    let failed = Error::from_word(report).filter(|_| report != EXECUTING);
    failed.map_or(StartError::Vanished, StartError::Failed)
}

/// The child's stack: its calls go three deep, and no signal is delivered on it. Its size keeps
/// the end aligned, too.
#[repr(C, align(16))]
struct Stack(MaybeUninit<[u8; 8192]>);

/// clone3, or clone where that is refused: the child's pid and pidfd. Returns when the child has
/// executed another program or is gone.
fn clone(plan: &mut Plan) -> Result<(Pid, Option<OwnedFd>), Error> {
    let mut stack = Stack(MaybeUninit::uninit());
    let mut pidfd: c_int = -1;
    let mut flags = raw::CLONE_VM | raw::CLONE_VFORK | plan.namespaces;
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
    let kept = [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE];
    if cloned.is_err_and(|error| !kept.iter().any(|errno| error.is(*errno))) {
        // Refused by a filter, with whatever errno it likes, or before Linux 5.5.
        plan.handlers_cleared = false;
        let argument: *mut c_void = ptr::from_mut(plan).cast();
        let flags = flags | raw::SIGCHLD;
        // SAFETY: one past the end of the stack.
        let end = unsafe { (&raw mut stack).add(1) }.cast();
        let with_pidfd = (flags | raw::CLONE_PIDFD) as usize;
        // What failed late may have left a number that is nobody's.
        pidfd = -1;
        // SAFETY: as for clone3.
        cloned = unsafe { sys::clone(with_pidfd, end, &raw mut pidfd, child::run, argument) };
        if cloned.is_err_and(|error| error.is(Errno::INVAL)) {
            pidfd = -1;
            // SAFETY: as for clone3.
            cloned =
                unsafe { sys::clone(flags as usize, end, &raw mut pidfd, child::run, argument) };
        }
    }
    let pid = Pid::from_raw(cloned? as i32).ok_or(Error::new(Operation::Clone, Errno::CHILD))?;
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
