//! Lines on stderr: one event, one line, one write(2).

use gracenet_words::report::Report;
use gracenet_words::text::Text;
use rustix::process::Pid;

use crate::sys;

/// The lines of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log {
    pid: u32,
}

impl Log {
    /// `Log::new(pid)` — Those of this process.
    pub(crate) const fn new(pid: u32) -> Log {
        Log { pid }
    }

    /// The beginning of a line; [`write`] ends it.
    #[inline(never)]
    pub(crate) fn begin(self, text: &str) -> Text {
        let mut line = Text::new();
        line.push("gracenet-init[").number(self.pid.into());
        line.push("]: ").push(text);
        line
    }

    /// Writes a line.
    pub(crate) fn say(self, text: &str) {
        write(&mut self.begin(text));
    }

    /// Writes a line with a number in it.
    #[inline(never)]
    pub(crate) fn number(self, before: &str, number: u64, behind: &str) {
        write(self.begin(before).number(number).push(behind));
    }

    /// Writes a line about a process.
    pub(crate) fn process(self, what: &str, pid: Pid) {
        self.number(what, pid.as_raw_nonzero().get().unsigned_abs().into(), "");
    }

    /// Writes a line about something that failed: what, and why.
    pub(crate) fn fail(self, what: &str, why: &impl Report) {
        let mut line = self.begin(what);
        why.put(&mut line);
        write(&mut line);
    }
}

/// Ends a line and writes it.
#[inline(never)]
pub(crate) fn write(line: &mut Text) {
    line.end_with(b'\n');
    sys::print(line.as_bytes());
}
