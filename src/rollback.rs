//! The way back of a program that took another's place.
//!
//! A thread waits with all that it takes to execute the old program again: fds of its own, as they
//! were at the beginning, and the plan of a start. It does so when it is told to, when the time is
//! over, or when this program crashes, which handlers for the signals of a crash tell it.
#![allow(unsafe_code)] // Memory that a thread and signal handlers use; the handlers.

use core::ffi::{c_int, c_void};
use core::mem::{MaybeUninit, offset_of};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};

use rustix::mm::{self, MapFlags, ProtFlags};

use crate::error::{During as _, Operation};
use crate::spawn::{self, Later, Start, StartError, Watch};
use crate::sys::{self, CRASH_SIGNALS, Handler};
use crate::time::Deadline;

/// The way back to the program that this one [replaced](crate::NetView::replace), as long as it is
/// not known that this one is well.
///
/// [`NetView::guard`](crate::NetView::guard) makes it. Where this process was replaced with
/// [`Changes::rollback`](crate::Changes::rollback), the old program is executed again, in the same process, with the sockets,
/// arguments and environment of this one:
///
/// - at the deadline, unless [`keep`](Self::keep) was called: this program hangs;
/// - when a thread of this program gets SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS or SIGTRAP by
///   its own doing, and does not block it: it crashes, or panics and aborts;
/// - when the guard is dropped, or [`roll_back`](Self::roll_back) is called: it gives up.
///
/// The old program finds that it [was rolled back](crate::NetView::was_rolled_back). Its sockets, and
/// what was lent to this one, are as they were when the guard was made, whatever has been closed
/// since; connections wait in their queues all the while.
///
/// There is no way back from a program that ends before it makes the guard (its dynamic
/// loader finds a library missing, it is no program that does so), that exits by itself, or that is
/// killed by SIGKILL, by the kernel for want of memory, or by one of the above while it blocks it or
/// has a handler of its own for it. That is what a [canary](crate::NetView::start_canary) is for: it
/// finds out before. Nor is undone what this program has done to files, or to other processes; a
/// timer that it has set (alarm(2)) goes on, as across any execve. A stack that overflows is
/// handled in the thread that has made the guard, and in those that have a stack for handlers.
///
/// The old program is executed from the file that it was, though its path may name another by now; a
/// file that was written over is not the old program any more. Signals for which this program has
/// a handler by then are blocked in it, as in any program that [replaces](crate::NetView::replace)
/// another; those of a crash that wait are thrown away.
///
/// A process that this one forks off has no guard, though it has the memory of one.
///
/// Elsewhere a guard does nothing.
///
/// # Linux
///
/// Until it is decided this process has one thread more, of which no libc knows: calls that want a
/// single thread (unshare(CLONE_NEWUSER)) fail, and setuid(2) does not reach it.
#[derive(Debug)]
#[must_use = "a guard that is dropped goes back to the old program"]
pub struct Guard {
    room: Option<NonNull<Room>>,
}

/// Enough for a handler with all of the registers that there are.
const HANDLER_STACK: usize = 32 * 1024;

/// What must stay where it is.
#[repr(C, align(16))]
struct Room {
    /// The process. One that it forks off has the memory and the handlers as well, and no thread.
    owner: u32,
    later: Later,
    /// What was there before.
    handlers: [Handler; CRASH_SIGNALS.len()],
    handler_stack: MaybeUninit<[u8; HANDLER_STACK]>,
}

/// Where the handlers find it. There can be only one at a time: signals are the process'.
static ARMED: AtomicPtr<Room> = AtomicPtr::new(ptr::null_mut());

impl Guard {
    /// A guard that does nothing.
    pub(crate) const NONE: Guard = Guard { room: None };

    /// Arms it, where it does nothing so far.
    #[inline(never)]
    pub(crate) fn arm(
        &mut self,
        start: &mut Start<'_>,
        deadline: Deadline,
    ) -> Result<(), StartError> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: new memory, wherever there is some.
        let room = unsafe {
            mm::mmap_anonymous(ptr::null_mut(), size_of::<Room>(), protection, flags)
                .during(Operation::Mmap)?
        };
        let room: *mut Room = room.cast();
        // SAFETY: it is new, and is unmapped only when the thread has ended.
        let armed = unsafe { arm(room, start, deadline) };
        match armed {
            Ok(()) => self.room = NonNull::new(room),
            // SAFETY: there is no thread, and nobody else knows of it.
            Err(_) => unsafe { give_back(room) },
        }
        armed
    }

    /// Whether there is a way back.
    pub const fn is_armed(&self) -> bool {
        self.room.is_some()
    }

    /// `guard.keep()` — this program stays: the old one is forgotten, and what the guard has taken is
    /// given back. Handlers that this program has set meanwhile stay.
    ///
    /// Does not return when the deadline passes at that very moment.
    pub fn keep(mut self) {
        if let Some(room) = self.take() {
            // SAFETY: it is armed. First, so that a crash from now on is one as it was before.
            unsafe { restore_handlers(room) };
            // SAFETY: as above.
            let watch = unsafe { watch(room) };
            watch.call_off();
            // SAFETY: as above; the thread has ended, or ends with this one.
            unsafe { leave(room, watch) };
        }
    }

    /// `guard.roll_back()` — goes back to the old program, and returns only when that fails, or
    /// where there is none, with the reason.
    pub fn roll_back(mut self) -> StartError {
        self.go_back()
    }

    /// What is to be decided, by this process.
    fn take(&mut self) -> Option<*mut Room> {
        let room = self.room.take()?.as_ptr();
        // SAFETY: it is armed.
        unsafe { is_owner(room) }.then_some(room)
    }

    fn go_back(&mut self) -> StartError {
        let Some(room) = self.take() else {
            return StartError::NoProgram;
        };
        // SAFETY: it is armed.
        let watch = unsafe { watch(room) };
        watch.go();
        watch.join();
        // SAFETY: as above, and the thread has ended.
        let error = unsafe { Later::error(later(room)) };
        // SAFETY: it is armed.
        unsafe { restore_handlers(room) };
        // SAFETY: as above, and the thread has ended.
        unsafe { leave(room, watch) };
        error
    }
}

/// Goes back to the old program.
impl Drop for Guard {
    fn drop(&mut self) {
        if self.room.is_some() {
            self.go_back();
        }
    }
}

// The parts of a room, which are never borrowed together.

fn later(room: *mut Room) -> *mut Later {
    room.wrapping_byte_add(offset_of!(Room, later)).cast()
}

fn handler_stack(room: *mut Room) -> *mut c_void {
    room.wrapping_byte_add(offset_of!(Room, handler_stack))
        .cast()
}

fn owner(room: *mut Room) -> *mut u32 {
    room.wrapping_byte_add(offset_of!(Room, owner)).cast()
}

/// What the first of the signals of a crash did before, and behind it the others.
fn handlers(room: *mut Room) -> *mut Handler {
    room.wrapping_byte_add(offset_of!(Room, handlers)).cast()
}

/// # Safety
///
/// 1. The room is armed, and not left.
unsafe fn is_owner(room: *mut Room) -> bool {
    // SAFETY: 1. is the caller's duty.
    unsafe { owner(room).read() == sys::getpid() }
}

/// # Safety
///
/// 1. The room is armed, and not left.
unsafe fn watch<'a>(room: *mut Room) -> &'a Watch {
    // SAFETY: 1. is the caller's duty.
    unsafe { Later::watch(later(room)) }
}

/// # Safety
///
/// 1. The room is mapped, nobody else uses it, and it stays until the thread has ended.
unsafe fn arm(
    room: *mut Room,
    start: &mut Start<'_>,
    deadline: Deadline,
) -> Result<(), StartError> {
    let (none, acquire) = (ptr::null_mut(), Ordering::Acquire);
    let taken = ARMED.compare_exchange(none, room, Ordering::AcqRel, acquire);
    taken.map_err(|_| StartError::InProgress)?;
    // SAFETY: 1. is the caller's duty.
    unsafe { spawn::arm(start, later(room), deadline)? };
    // SAFETY: 1. is the caller's duty.
    unsafe { owner(room).write(sys::getpid()) };
    // SAFETY: 1. is the caller's duty.
    unsafe { set_handlers(room) };
    Ok(())
}

/// # Safety
///
/// 1. The room is armed, its handlers are restored, and nobody uses it any more but the thread, which
///    ends.
unsafe fn leave(room: *mut Room, watch: &Watch) {
    watch.join();
    // SAFETY: 1. is the caller's duty, and the thread has ended.
    unsafe { give_back(room) };
}

/// # Safety
///
/// 1. Nobody uses the room any more.
unsafe fn give_back(room: *mut Room) {
    let (none, relaxed) = (ptr::null_mut(), Ordering::Relaxed);
    // Another is there where this one has never been armed.
    let _ = ARMED.compare_exchange(room, none, Ordering::Release, relaxed);
    // SAFETY: 1. is the caller's duty; it was mapped as one.
    let _ = unsafe { mm::munmap(room.cast(), size_of::<Room>()) };
}

/// # Safety
///
/// 1. The room is mapped, and nobody else uses its handlers and their stack.
unsafe fn set_handlers(room: *mut Room) {
    // A stack that has overflowed has no room for a handler.
    // SAFETY: 1. is the caller's duty; it is given back before the room is.
    unsafe { sys::set_handler_stack(handler_stack(room), HANDLER_STACK) };
    let mut before = handlers(room);
    for signal in &CRASH_SIGNALS {
        // SAFETY: 1. is the caller's duty. It never returns to what has crashed.
        unsafe { sys::set_handler(*signal, crashed, before) };
        before = before.wrapping_add(1);
    }
}

/// # Safety
///
/// 1. The room is armed.
unsafe fn restore_handlers(room: *mut Room) {
    let mut before = handlers(room);
    for signal in &CRASH_SIGNALS {
        // SAFETY: 1. is the caller's duty.
        unsafe { sys::restore_handler(*signal, crashed, before) };
        before = before.wrapping_add(1);
    }
    sys::no_handler_stack(handler_stack(room));
}

/// Runs in the thread that has crashed. What it has left behind is nobody's any more.
extern "C" fn crashed(signal: c_int) {
    let room = ARMED.load(Ordering::Acquire);
    if !room.is_null() {
        // SAFETY: it is armed as long as it is there; handlers are restored before it is left.
        if !unsafe { is_owner(room) } {
            // SAFETY: as above.
            unsafe { restore_handlers(room) };
            crash_again(signal as u32);
        }
        // SAFETY: as above, and nothing is unblocked before.
        unsafe { Later::go_on_if_here(later(room)) };
        // SAFETY: as above.
        let watch = unsafe { watch(room) };
        if watch.go() {
            watch.join();
        }
    }
    // The old program could not be executed. As pid 1 this process is not ended by a signal that
    // has no handler.
    sys::exit(signal.wrapping_add(128));
}

/// Ends this process as it would have without a guard, be it that the handler of before returns.
fn crash_again(signal: u32) {
    for _ in 0..2 {
        let _ = sys::kill(sys::getpid(), None, signal);
        sys::set_signal_mask(!sys::set_with(signal));
    }
}
