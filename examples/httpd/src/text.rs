//! Pure. Text in a buffer of fixed size.

use core::fmt;

/// The longest text: a line of the log, an answer.
pub const LONGEST: usize = 512;

/// Up to [`LONGEST`] bytes of text; what does not fit is cut off.
///
/// It has one size, and what it does is not inlined: most of the program's lines
/// call it.
#[derive(Clone, Copy)]
pub struct Text {
    length: usize,
    bytes: [u8; LONGEST],
}

impl Text {
    /// `Text::new()` — An empty text.
    #[must_use]
    pub const fn new() -> Self {
        Text {
            length: 0,
            bytes: [0; LONGEST],
        }
    }

    /// `text.push(bytes)` — Appends.
    pub fn push(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.append(bytes.as_ref());
        self
    }

    /// `text.number(n)` — Appends a number in decimal digits.
    #[inline(never)]
    pub fn number(&mut self, mut number: u64) -> &mut Self {
        // u64::MAX has 20.
        let mut digits = [b'0'; 20];
        let mut first = digits.len();
        for digit in digits.iter_mut().rev() {
            *digit += (number % 10) as u8;
            number /= 10;
            first -= 1;
            if number == 0 {
                break;
            }
        }
        self.append(digits.get(first..).unwrap_or_default());
        self
    }

    /// `text.end_with(byte)` — Appends, if need be over the last byte.
    pub fn end_with(&mut self, byte: u8) {
        self.length = self.length.min(LONGEST - 1);
        self.append(&[byte]);
    }

    /// `text.as_bytes()` — What has been appended.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// `text.len()` — How many bytes that is.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// `text.is_empty()` — Whether nothing has been appended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    #[inline(never)]
    fn append(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if let Some(place) = self.bytes.get_mut(self.length) {
                *place = byte;
                self.length += 1;
            }
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.append(text.as_bytes());
        Ok(())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_digits() {
        for number in [0, 1, 9, 10, 99, 100, 8080, u64::from(u32::MAX), u64::MAX] {
            let mut text = Text::new();
            text.number(number);
            assert_eq!(text.as_bytes(), std::format!("{number}").as_bytes());
        }
    }

    #[test]
    fn what_does_not_fit_is_cut_off() {
        let mut text = Text::new();
        text.push([b'a'; LONGEST - 1])
            .push("bc")
            .push("d")
            .number(7);
        assert_eq!(text.len(), LONGEST);
        assert_eq!(text.as_bytes()[LONGEST - 2..], *b"ab");
        text.end_with(b'\n');
        assert_eq!(text.as_bytes()[LONGEST - 2..], *b"a\n");
        let mut text = Text::new();
        text.push("ab").end_with(b'\n');
        assert_eq!(text.as_bytes(), b"ab\n");
    }
}
