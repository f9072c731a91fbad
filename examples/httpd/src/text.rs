//! Pure. Text in a buffer of fixed size.

use core::fmt;

/// Up to `N` bytes of text; what does not fit is cut off.
#[derive(Clone, Copy)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Text<N> {
    /// `Text::new()` — An empty text.
    #[must_use]
    pub const fn new() -> Self {
        Text {
            bytes: [0; N],
            length: 0,
        }
    }

    /// `text.push(bytes)` — Appends.
    pub fn push(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.append(bytes.as_ref());
        self
    }

    /// `text.number(n)` — Appends a number in decimal digits.
    pub fn number(&mut self, number: u64) -> &mut Self {
        number_of(&mut self.bytes, &mut self.length, number);
        self
    }

    /// `text.end_with(byte)` — Appends, if need be over the last byte.
    pub fn end_with(&mut self, byte: u8) {
        if self.length >= N {
            self.length = N.saturating_sub(1);
        }
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

    fn append(&mut self, bytes: &[u8]) {
        append(&mut self.bytes, &mut self.length, bytes);
    }
}

// One body for all sizes of text, and not one at each place that writes.
#[inline(never)]
fn append(text: &mut [u8], length: &mut usize, bytes: &[u8]) {
    let room = text.get_mut(*length..).unwrap_or_default();
    let taken = room.len().min(bytes.len());
    if let (Some(room), Some(bytes)) = (room.get_mut(..taken), bytes.get(..taken)) {
        room.copy_from_slice(bytes);
        *length += taken;
    }
}

#[inline(never)]
fn number_of(text: &mut [u8], length: &mut usize, mut number: u64) {
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
    append(text, length, digits.get(first..).unwrap_or_default());
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.append(text.as_bytes());
        Ok(())
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
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
            let mut text = Text::<20>::new();
            text.number(number);
            assert_eq!(text.as_bytes(), std::format!("{number}").as_bytes());
        }
    }

    #[test]
    fn what_does_not_fit_is_cut_off() {
        let mut text = Text::<4>::new();
        text.push("abc").push("def").push("g").number(7);
        assert_eq!(text.as_bytes(), b"abcd");
        assert_eq!(text.len(), 4);
        text.end_with(b'\n');
        assert_eq!(text.as_bytes(), b"abc\n");
        assert_eq!(Text::<4>::new().push("ab").as_bytes(), b"ab");
    }
}
