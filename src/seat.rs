//! A low fd number for the successor's end of the control channel.
//!
//! A successor's fd table is copied up to the highest number that it gets something from. The
//! sockets of a table have low ones, as they are made or passed before there are connections; the
//! channel is made at the restart and gets the first that is free, behind all of them. So a number
//! is kept from the beginning, and the channel lies there while the successor is started.
#![allow(unsafe_code)] // Another file at a number for a while.

use core::ffi::c_int;

use linux_raw_sys::net::{AF_UNIX, SOCK_SEQPACKET};
use rustix::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};

use crate::activation::FIRST_FD;
use crate::error::Error;
use crate::socket::above_stdio;
use crate::sys;

/// The size of the smallest fd table (NR_OPEN_DEFAULT on 64 bits). Below it there is nothing to
/// gain.
const SMALLEST_TABLE: i32 = 64;

/// Something that keeps a number and is good for nothing else. `None` where the kernel gives no
/// socket: then a start takes longer, and that is all.
#[inline(never)]
pub(crate) fn take() -> Option<OwnedFd> {
    above_stdio(sys::socket(AF_UNIX, SOCK_SEQPACKET).ok()?).ok()
}

/// Where the channel is to lie: at the seat, if its own number is a high one.
pub(crate) fn choose(seat: Option<BorrowedFd<'_>>, channel: c_int) -> c_int {
    match seat {
        Some(seat) if channel >= SMALLEST_TABLE => seat.as_raw_fd().min(channel),
        _ => channel,
    }
}

/// Puts a copy of the channel at the seat, if that is somewhere else: where what was there is
/// kept meanwhile.
///
/// # Errors
///
/// - fcntl, dup3: RLIMIT_NOFILE is reached, or was lowered below the seat. Nothing has changed.
///
/// # Safety
///
/// 1. Nobody uses what is at the seat until it has been put back.
pub(crate) unsafe fn occupy(seat: c_int, channel: c_int) -> Result<c_int, Error> {
    if seat == channel {
        return Ok(seat);
    }
    // SAFETY: it is open.
    let kept = sys::duplicate(unsafe { sys::borrow(seat) }, FIRST_FD)?;
    // SAFETY: 1. is the caller's duty.
    unsafe { sys::dup3(channel, seat, sys::O_CLOEXEC)? };
    Ok(kept.into_raw_fd())
}

/// Puts back what was there.
///
/// # Safety
///
/// 1. `kept` is what [`occupy`] has returned.
pub(crate) unsafe fn vacate(seat: c_int, kept: c_int) {
    if kept != seat {
        // Only a limit that somebody else has lowered just now could forbid it. The number stays
        // taken even then.
        // SAFETY: nobody needs the channel there any more.
        let _ = unsafe { sys::dup3(kept, seat, sys::O_CLOEXEC) };
        // SAFETY: nobody else knows of it.
        unsafe { sys::close(kept) };
    }
}
