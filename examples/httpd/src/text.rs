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
    pub fn number(&mut self, mut number: u64) -> &mut Self {
        // u64::MAX has 20.
        let mut digits = [b'0'; 20];
        let mut used = 0;
        for digit in digits.iter_mut().rev() {
            *digit += (number % 10) as u8;
            number /= 10;
            used += 1;
            if number == 0 {
                break;
            }
        }
        self.append(digits.get(20 - used..).unwrap_or_default());
        self
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
        let room = self.bytes.get_mut(self.length..).unwrap_or_default();
        let mut taken = 0;
        for (place, &byte) in room.iter_mut().zip(bytes) {
            *place = byte;
            taken += 1;
        }
        self.length += taken;
    }
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
    }
}
