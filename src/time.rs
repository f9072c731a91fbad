//! Points in time, as system calls that wait want them.

use core::time::Duration;

use crate::sys;

/// A point in time up to which something may take, on CLOCK_MONOTONIC.
///
/// # Examples
///
/// ```
/// use gracenet::Deadline;
///
/// assert!(Deadline::after_ms(0).has_passed());
/// assert!(!Deadline::after_ms(60_000).has_passed());
/// assert!(!Deadline::NEVER.has_passed());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(transparent)]
pub struct Deadline(u64);

impl Deadline {
    /// No end.
    pub const NEVER: Deadline = Deadline(u64::MAX);

    /// `Deadline::after_ms(milliseconds)` — that long from now.
    #[inline(never)]
    pub fn after_ms(milliseconds: u64) -> Deadline {
        let span = milliseconds.saturating_mul(1_000_000);
        Deadline(sys::monotonic_nanoseconds().saturating_add(span))
    }

    /// `Deadline::after(duration)` — that long from now.
    pub fn after(duration: Duration) -> Deadline {
        let span = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Deadline(sys::monotonic_nanoseconds().saturating_add(span))
    }

    /// `deadline.has_passed()` — whether the time is over.
    pub fn has_passed(self) -> bool {
        self.remaining_ns() == Some(0)
    }

    /// `deadline.remaining_ms()` — milliseconds from now, rounded up so that who waits for them
    /// does not wake too early; `None` without end. As a timeout for poll(2) and epoll_wait(2).
    pub fn remaining_ms(self) -> Option<u64> {
        self.remaining_ns().map(|ns| ns.div_ceil(1_000_000))
    }

    /// For another program on this machine.
    pub(crate) const fn to_ns(self) -> u64 {
        self.0
    }

    /// From [`Deadline::to_ns`].
    pub(crate) const fn from_ns(ns: u64) -> Deadline {
        Deadline(ns)
    }

    pub(crate) fn remaining_ns(self) -> Option<u64> {
        match self {
            Deadline::NEVER => None,
            Deadline(at) => Some(at.saturating_sub(sys::monotonic_nanoseconds())),
        }
    }
}

/// `monotonic_ms()` — CLOCK_MONOTONIC in milliseconds, by a system call of its own.
///
/// For event loops that keep their timers themselves. It does not go through the vDSO: no parser
/// of its tables is linked.
#[doc(alias = "clock_gettime")]
pub fn monotonic_ms() -> u64 {
    sys::monotonic_nanoseconds() / 1_000_000
}
