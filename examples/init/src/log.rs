//! Lines on stderr: one event, one line, one write(2).

use core::sync::atomic::{AtomicU32, Ordering};

use gracenet_words::report::Why;
use gracenet_words::text::Text;
use rustix::process::{Pid, getpid};

use crate::sys;

/// Whose lines they are.
static PID: AtomicU32 = AtomicU32::new(0);

/// The lines from now on are those of this process.
pub(crate) fn open() {
    PID.store(number(getpid()) as u32, Ordering::Relaxed);
}

/// As it is written.
pub(crate) fn number(pid: Pid) -> u64 {
    pid.as_raw_pid() as u64
}

/// The beginning of a line; [`write`] ends it.
pub(crate) fn begin(line: &mut Text) {
    line.put("gracenet-init[#]: ", PID.load(Ordering::Relaxed).into());
}

/// Writes a line: words, with the number where a `#` is, and why that is so, if that is to be said.
#[inline(never)]
pub(crate) fn say(words: &str, number: u64, why: Option<Why>) {
    let mut line = Text::new();
    begin(&mut line);
    line.put(words, number);
    if let Some(why) = why {
        why.put(&mut line);
    }
    write(&mut line);
}

/// Writes a line about something that failed: what, and why.
pub(crate) fn fail(what: &str, why: impl Into<Why>) {
    say(what, 0, Some(why.into()));
}

/// Ends a line and writes it.
#[inline(never)]
pub(crate) fn write(line: &mut Text) {
    line.end_with(b'\n');
    sys::print(line.as_bytes());
}
