//! What runs between clone and execve, and nothing else.
//!
//! The child shares the parent's memory, and at first its fd table, while the thread that made
//! it is suspended and all others run on. Hence: no allocation, no lock, no panic, no
//! thread-local, no call that is not in `crate::sys`; nothing is written but the child's own
//! stack and what the plan points to; no fd is touched before the table is its own; all signals
//! are blocked until no handler is left.
#![allow(unsafe_code)] // Raw pointers into the plan; fds that nobody owns.

use core::ffi::{c_char, c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::program::KEPT;
use crate::sys::{self, Errno, Error, Operation, SigSet};

/// In the report, in place of an error: all is done but the execve.
pub(super) const EXECUTING: u32 = u32::MAX;

/// All that the child does, prepared by the parent in full. Everything it points to outlives the
/// child's use of the parent's memory.
#[derive(Debug)]
#[repr(C)] // Without a gap, so that it is made in one go.
pub(super) struct Plan {
    /// Where the parent looks for the outcome: [`EXECUTING`], an error as a word, or still 0, when
    /// the child did not come to say anything.
    pub(super) report: AtomicU32,
    /// It is a thread of the process that is to become the successor.
    pub(super) in_place: bool,
    /// The fd table is the parent's until it is cut.
    pub(super) shares_files: bool,
    /// The kernel has reset the handlers (CLONE_CLEAR_SIGHAND).
    pub(super) handlers_cleared: bool,
    /// It gets a process group of its own, and the terminal.
    pub(super) leads_group: bool,
    /// Behind `path` lie others that are executed if it is not there, and an empty one.
    pub(super) searches: bool,
    /// Signals of a crash that wait are none of the successor's.
    pub(super) discards_crashes: bool,
    /// Which of [`KEPT`] are ignored, a bit for each.
    pub(super) ignored: u8,
    /// Bit n: there is nothing at fd n that survives an execve.
    pub(super) missing_stdio: u8,
    /// The first fd that is no source of a step: what lies from here on is never copied.
    pub(super) cut: u32,
    /// The first fd that the successor does not get.
    pub(super) close_from: u32,
    /// One past the largest fd there can be, where close_range is refused.
    pub(super) limit: u32,
    /// The working directory, or -1 to stay.
    pub(super) directory: c_int,
    /// What is executed instead of `path`, or -1. It is one of the targets of the steps.
    pub(super) executable: c_int,
    /// Of a process that is replaced in place: what it gets at its parent's end, or 0.
    pub(super) death_signal: c_int,
    pub(super) step_count: u32,
    pub(super) steps: *const [c_int; 2],
    pub(super) mask: SigSet,
    pub(super) path: *const c_char,
    pub(super) argv: *const *const c_char,
    pub(super) envp: *const *const c_char,
    /// Where the pid is written in decimal, with a NUL behind it: ten digits and one byte each.
    pub(super) pids: [*mut u8; 3],
    // What only the parent looks at, until all is laid out.
    /// Takes the place of the first variable that tells this process of its watchdog.
    pub(super) watchdog: *const u8,
    /// The last fd that the successor gets something from, by its number here.
    pub(super) last: c_int,
    /// The last one that is overwritten.
    pub(super) highest: u32,
    /// RLIMIT_NOFILE, soft and hard.
    pub(super) limits: [u64; 2],
}

impl Plan {
    pub(super) const fn new() -> Plan {
        Plan {
            report: AtomicU32::new(0),
            in_place: false,
            shares_files: false,
            handlers_cleared: false,
            leads_group: false,
            searches: false,
            discards_crashes: false,
            ignored: 0,
            missing_stdio: 0,
            cut: 0,
            close_from: 0,
            limit: 0,
            directory: 0,
            executable: 0,
            death_signal: 0,
            step_count: 0,
            steps: ptr::null(),
            mask: 0,
            path: ptr::null(),
            argv: ptr::null(),
            envp: ptr::null(),
            pids: [ptr::null_mut(); 3],
            watchdog: ptr::null(),
            last: 0,
            highest: 0,
            limits: [0; 2],
        }
    }
}

/// Carries out the [`Plan`] at `plan`, and executes the successor or ends.
///
/// # Safety
///
/// 1. `plan` points to a `Plan` of which every pointer is valid, and which nobody else uses until
///    this process has executed another program or ended, or this thread has ended.
/// 2. The process is a new one, of which nothing but this runs, with all signals blocked. In place: the
///    thread is, with a working directory of its own, and with fds of its own or that it is to get.
pub(super) unsafe extern "C" fn run(plan: *mut c_void) -> ! {
    // SAFETY: 1. is the caller's duty; nobody writes to the plan.
    let plan = unsafe { &*plan.cast::<Plan>() };
    // SAFETY: 1. is the caller's duty.
    let failed = match unsafe { prepare(plan) } {
        Ok(()) => {
            // Said first, as nobody is left to say it when it succeeds.
            plan.report.store(EXECUTING, Ordering::Release);
            // SAFETY: 1. is the caller's duty.
            unsafe { execute(plan) }
        }
        Err(error) => error,
    };
    plan.report.store(failed.to_word(), Ordering::Release);
    if !plan.in_place {
        sys::exit(127)
    }
    if failed.operation() != Operation::Unshare {
        // SAFETY: the table is this thread's own, in which nobody owns anything.
        unsafe { close_before_the_end(plan) };
    }
    sys::exit_thread()
}

/// Closes what a thread in place has. The kernel lets the other thread go on first, and closes then;
/// but by that time an address is to be free again.
///
/// # Safety
///
/// 1. Nobody owns anything in this thread's table.
unsafe fn close_before_the_end(plan: &Plan) {
    // From where the steps took and to where they put; the number behind may have been used.
    let limit = plan.cut.max(plan.close_from.wrapping_add(1));
    // SAFETY: 1. is the caller's duty.
    unsafe { close_from(0, limit) };
}

/// What a thread waits for that executes a program later, if at all.
#[derive(Debug)]
pub(crate) struct Watch {
    /// One of the following.
    state: AtomicU32,
    /// 0 when the thread has ended, which the kernel writes.
    thread: AtomicU32,
    plan: *const Plan,
    /// On CLOCK_MONOTONIC, in nanoseconds.
    deadline: u64,
}

const WAITING: u32 = 0;
/// The thread ends, and nothing comes of it.
const CALLED_OFF: u32 = 1;
/// The program is executed.
const GO: u32 = 2;

impl Watch {
    pub(super) const fn new(plan: *const Plan, deadline: u64) -> Watch {
        Watch {
            state: AtomicU32::new(WAITING),
            thread: AtomicU32::new(1),
            plan,
            deadline,
        }
    }

    /// Lets the program be executed, unless that was called off.
    pub(crate) fn go(&self) -> bool {
        self.decide(GO)
    }

    /// Lets nothing come of it, unless it is too late.
    pub(crate) fn call_off(&self) -> bool {
        self.decide(CALLED_OFF)
    }

    fn decide(&self, state: u32) -> bool {
        let decided =
            self.state
                .compare_exchange(WAITING, state, Ordering::AcqRel, Ordering::Acquire);
        sys::futex_wake(&self.state);
        decided.is_ok() || decided == Err(state)
    }

    /// Waits until the thread has ended, which it does not when the program is executed: then this
    /// one ends.
    pub(crate) fn join(&self) {
        loop {
            match self.thread.load(Ordering::Acquire) {
                0 => return,
                running => sys::futex_wait(&self.thread, running, None),
            }
        }
    }

    /// Waits for what is decided; at the deadline that is [`GO`].
    fn wait(&self) -> u32 {
        loop {
            match self.state.load(Ordering::Acquire) {
                WAITING => {}
                decided => return decided,
            }
            let left = match self.deadline {
                u64::MAX => None,
                deadline => Some(deadline.saturating_sub(sys::monotonic_nanoseconds())),
            };
            if left == Some(0) {
                self.go();
            } else {
                sys::futex_wait(&self.state, WAITING, left);
            }
        }
    }
}

/// As [`run`] in place, when the [`Watch`] at `watch` says so.
///
/// # Safety
///
/// 1. `watch` points to a `Watch` that lives until the thread has ended, and its plan to a `Plan` as
///    for [`run`].
/// 2. As for [`run`] in place, with fds that are its own already.
pub(super) unsafe extern "C" fn run_later(watch: *mut c_void) -> ! {
    // SAFETY: 1. is the caller's duty.
    let watch = unsafe { &*watch.cast::<Watch>() };
    sys::tell_end_of_thread(&watch.thread);
    if watch.wait() == GO {
        // SAFETY: 1. and 2. are the caller's duties.
        unsafe { run(watch.plan.cast_mut().cast()) }
    }
    // SAFETY: 1. is the caller's duty.
    let plan = unsafe { &*watch.plan };
    // SAFETY: 2. is the caller's duty.
    unsafe { close_before_the_end(plan) };
    sys::exit_thread()
}

/// All up to the execve; else what failed.
///
/// # Safety
///
/// 1. As for [`run`].
#[inline(always)]
unsafe fn prepare(plan: &Plan) -> Result<(), Error> {
    if plan.shares_files {
        // SAFETY: the range is cut off a copy: the parent's table keeps its fds.
        let cut = unsafe { sys::close_range(plan.cut, u32::MAX, sys::CLOSE_RANGE_UNSHARE) };
        if cut.is_err() {
            // Before Linux 5.9, or refused by a filter: the whole table is copied.
            sys::unshare_files()?;
        }
    }

    if plan.directory >= 0 {
        if let Err(error) = sys::fchdir(plan.directory) {
            // Without the permission to go where this process is already.
            if !error.is(Errno::ACCESS) || !sys::is_working_directory(plan.directory) {
                return Err(error);
            }
        }
    }

    for index in 0..plan.step_count {
        // SAFETY: there are `step_count` steps, by 1.
        let step = unsafe { plan.steps.add(index as usize) };
        // SAFETY: as above.
        let [from, to] = unsafe { step.read() };
        if from == to {
            sys::set_fd_flags(to, 0)?;
        } else {
            // SAFETY: the table is this process' own, in which nobody owns anything.
            unsafe { sys::dup3(from, to, 0)? };
        }
    }

    if plan.executable >= 0 {
        sys::set_fd_flags(plan.executable, sys::FD_CLOEXEC)?;
    }

    for fd in 0..3 {
        if plan.missing_stdio & (1 << fd) != 0 {
            fill(fd)?;
        }
    }

    // SAFETY: the table is this process' own, in which nobody owns anything.
    unsafe { close_from(plan.close_from, plan.limit) };

    if plan.leads_group && !plan.in_place {
        sys::lead_group()?;
        // Where it is no terminal, or not this session's, there is nothing to have. SIGTTOU, which
        // is what a process in the background gets for it, is blocked.
        let _ = sys::set_foreground(0, sys::getpid());
    }

    let mask = settle_handlers(plan);
    if plan.in_place {
        if plan.death_signal != 0 {
            sys::set_death_signal(plan.death_signal);
        }
    } else {
        let mut ignored = plan.ignored;
        for signal in &KEPT {
            let ignore = ignored & 1 != 0;
            ignored >>= 1;
            // SAFETY: the dispositions are this process' own.
            unsafe { sys::set_disposition(*signal, ignore)? };
        }
    }

    let pid = sys::getpid();
    for digits in &plan.pids {
        // SAFETY: there is room for a pid and a NUL, by 1.
        unsafe { write_decimal(*digits, pid) };
    }

    if plan.discards_crashes {
        sys::discard_signals(sys::CRASHES);
    }
    // Last, as a handler goes on from here. A signal that arrives from here on does what it does by
    // default, to this process alone.
    sys::set_signal_mask(mask);
    Ok(())
}

/// Closes all fds from `first` on, where there is no close_range those below `limit`.
///
/// # Safety
///
/// 1. Nobody owns them.
#[inline(never)]
unsafe fn close_from(first: u32, limit: u32) {
    // SAFETY: 1. is the caller's duty.
    if unsafe { sys::close_range(first, u32::MAX, 0) }.is_err() {
        for fd in first..limit {
            // SAFETY: 1. is the caller's duty.
            unsafe { sys::close(fd as c_int) };
        }
    }
}

/// Sees to it that no handler runs on the small stack: the mask with which that is so.
///
/// In a process of its own there are none any more. In place they are everybody's, and end by
/// themselves; a signal that has one must neither be lost nor do what it does by default, and is
/// blocked. Those of a crash do not come by themselves, and blocked they would be nobody's to handle
/// in the successor either.
#[inline(never)]
fn settle_handlers(plan: &Plan) -> SigSet {
    let mut mask = plan.mask;
    if plan.handlers_cleared {
        return mask;
    }
    for number in 0..sys::SIGNALS {
        let (signal, bit) = (number + 1, 1 << number);
        let is_crash = bit & sys::CRASHES != 0;
        if plan.in_place && is_crash || sys::disposition(signal) != sys::Disposition::Handled {
            continue;
        }
        if plan.in_place {
            mask |= bit;
        } else {
            // SIGKILL and SIGSTOP cannot be changed, and an ignored signal stays ignored.
            // SAFETY: the handlers are for the parent.
            let _ = unsafe { sys::set_disposition(signal, false) };
        }
    }
    mask
}

/// In a handler for a signal of a crash that somebody has sent, and that has interrupted
/// [`run_later`] when all was prepared: executes the program, which has these signals blocked then.
///
/// # Safety
///
/// 1. As for [`run`] in place.
pub(super) unsafe fn go_on(plan: *const Plan) -> ! {
    // SAFETY: 1. is the caller's duty; nobody writes to the plan.
    let plan = unsafe { &*plan };
    sys::set_signal_mask(settle_handlers(plan) | sys::CRASHES);
    // SAFETY: 1. is the caller's duty.
    let error = unsafe { execute(plan) };
    plan.report.store(error.to_word(), Ordering::Release);
    // SAFETY: the table is this thread's own, in which nobody owns anything.
    unsafe { close_before_the_end(plan) };
    sys::exit_thread()
}

/// Puts something harmless at `fd`, of which nothing would be left, as the lowest that is free:
/// /dev/null, or where there is none the root directory, of which nothing can be read and to which
/// nothing can be written.
fn fill(fd: c_int) -> Result<(), Error> {
    // SAFETY: the table is this process' own, in which nobody owns anything.
    unsafe { sys::close(fd) };
    match sys::open_lowest(b"/dev/null\0", sys::O_RDWR) {
        Ok(()) => Ok(()),
        Err(_) => sys::open_lowest(b"/\0", sys::O_PATH),
    }
}

/// Left-aligned, as a reader may take zeros in front for octal, and with a NUL behind it: where that
/// is.
///
/// # Safety
///
/// 1. `at` has room for eleven bytes.
#[inline(never)]
pub(super) unsafe fn write_decimal(at: *mut u8, number: u32) -> *mut u8 {
    let mut digits = 1;
    let mut rest = number / 10;
    while rest > 0 {
        digits += 1;
        rest /= 10;
    }
    // SAFETY: the byte behind at most ten digits, by 1.
    let end = unsafe { at.add(digits) };
    // SAFETY: as above.
    unsafe { end.write(0) };
    let mut rest = number;
    let mut digit = end;
    while digit != at {
        // SAFETY: not before the first digit.
        digit = unsafe { digit.sub(1) };
        // SAFETY: as above.
        unsafe { digit.write(b'0'.wrapping_add((rest % 10) as u8)) };
        rest /= 10;
    }
    end
}

/// Only ever returns an error.
///
/// # Safety
///
/// 1. As for [`run`].
unsafe fn execute(plan: &Plan) -> Error {
    if plan.executable >= 0 {
        // SAFETY: arrays of C strings, by 1; of this process nothing else is needed.
        let executed = unsafe { sys::execveat(plan.executable, plan.argv, plan.envp, 0) };
        return executed.err().unwrap_or(NOT_FOUND);
    }
    let mut path = plan.path;
    let mut found = NOT_FOUND;
    loop {
        // SAFETY: C strings and arrays of them, by 1.
        let error = unsafe { sys::execve(path, plan.argv, plan.envp) };
        if error.is(Errno::ACCESS) {
            found = error;
        } else if !(error.is(Errno::NOENT)
            || error.is(Errno::NOTDIR)
            || error.is(Errno::NAMETOOLONG))
        {
            return error;
        }
        if !plan.searches {
            return error;
        }
        // SAFETY: a C string, by 1., behind which there is another.
        path = unsafe { behind(path) };
        // SAFETY: as above.
        if (unsafe { path.read() }) == 0 {
            return found;
        }
    }
}

/// What a search says that has found nothing.
const NOT_FOUND: Error = Error::new(Operation::Execve, Errno::NOENT);

/// What lies behind the NUL of a string.
///
/// # Safety
///
/// 1. A C string, behind which there is something.
unsafe fn behind(mut string: *const c_char) -> *const c_char {
    loop {
        // SAFETY: not past the NUL, by 1. Volatile: else it would become a call of strlen, which may
        // be anywhere.
        let byte = unsafe { string.read_volatile() };
        // SAFETY: there is something behind the NUL as well, by 1.
        string = unsafe { string.add(1) };
        if byte == 0 {
            return string;
        }
    }
}
