//! Lines on stderr: one event, one line, one write(2), so that the lines of two
//! generations do not mix.

use gracenet_httpd::text::Text;
use gracenet_words::report::Why;

use crate::sys::{self, Errno};

/// The lines of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log {
    pub(crate) pid: u32,
}

impl Log {
    /// The beginning of a line; [`write`] ends it.
    #[inline(never)]
    pub(crate) fn begin(self, text: &str) -> Text {
        let mut line = Text::new();
        line.push("gracenet-httpd[").number(self.pid.into());
        line.push("]: ").push(text);
        line
    }

    /// Writes a line.
    #[inline(never)]
    pub(crate) fn say(self, text: &str) {
        write(&mut self.begin(text));
    }

    /// Writes a line about something that failed: what, and why.
    pub(crate) fn fail(self, what: &str, why: impl Into<Why>) {
        self.fail_with(what, why.into());
    }

    #[inline(never)]
    fn fail_with(self, what: &str, why: Why) {
        let mut line = self.begin(what);
        why.put(&mut line);
        write(&mut line);
    }
}

/// Ends a line and writes it.
#[inline(never)]
pub(crate) fn write(line: &mut Text) {
    line.end_with(b'\n');
    print(line.as_bytes());
}

/// Writes to stderr. When nobody takes it there is nobody to tell.
#[inline(never)]
pub(crate) fn print(mut text: &[u8]) {
    while !text.is_empty() {
        match sys::write(2, text) {
            Ok(written) if written > 0 => text = text.get(written as usize..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            _ => return,
        }
    }
}
