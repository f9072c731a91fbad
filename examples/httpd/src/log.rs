//! Lines on stderr: one event, one line, one write(2), so that the lines of two
//! generations do not mix.

use gracenet_httpd::text::Text;

use crate::sys::{self, Errno};

/// No number belongs to the text.
pub(crate) const NONE: u64 = u64::MAX;

/// The lines of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log {
    pub(crate) pid: u32,
}

impl Log {
    /// The beginning of a line; [`write`] ends it.
    #[inline(never)]
    pub(crate) fn begin(self) -> Text {
        let mut line = Text::new();
        line.push("gracenet-httpd[");
        line.number(self.pid.into()).push("]: ");
        line
    }

    /// Writes a line: a text, and a number unless it is [`NONE`].
    #[inline(never)]
    pub(crate) fn say(self, text: &str, number: u64) {
        self.fail(b"", "", text, number);
    }

    /// Writes a line about something that failed: what, of whom, why, and a number
    /// unless it is [`NONE`].
    #[inline(never)]
    pub(crate) fn fail(self, what: &[u8], whose: &str, why: &str, number: u64) {
        let mut line = self.begin();
        line.push(what).push(whose).push(why);
        if number != NONE {
            line.number(number);
        }
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
        match sys::write_to_stderr(text) {
            Ok(written) if written > 0 => text = text.get(written as usize..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            _ => return,
        }
    }
}
