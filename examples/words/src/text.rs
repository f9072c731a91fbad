//! Pure. Text in a buffer of fixed size, numbers in text, lists of words.

use heapless::Vec;

/// The longest text: a line of the log, an answer.
pub const LONGEST: usize = 512;

/// Up to [`LONGEST`] bytes of text; what does not fit is cut off.
///
/// It has one size, and what it does is not inlined: most of the program's lines
/// call it.
#[derive(Clone, Debug)]
pub struct Text(Vec<u8, LONGEST>);

impl Text {
    /// `Text::new()` — An empty text.
    #[must_use]
    pub const fn new() -> Self {
        Text(Vec::new())
    }

    /// `text.push(bytes)` — Appends.
    pub fn push(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.append(bytes.as_ref())
    }

    /// `text.number(n)` — Appends a number in decimal digits.
    #[inline(never)]
    pub fn number(&mut self, number: u64) -> &mut Self {
        if number >= 10 {
            self.number(number / 10);
        }
        self.append(&[b'0' + (number % 10) as u8])
    }

    /// `text.end_with(byte)` — Appends, if need be over the last byte.
    pub fn end_with(&mut self, byte: u8) {
        self.0.truncate(LONGEST - 1);
        self.append(&[byte]);
    }

    /// `text.clear()` — Takes away what has been appended.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// `text.as_bytes()` — What has been appended.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// `text.len()` — How many bytes that is.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// `text.is_empty()` — Whether nothing has been appended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[inline(never)]
    fn append(&mut self, bytes: &[u8]) -> &mut Self {
        for &byte in bytes {
            // What does not fit comes back.
            let _ = self.0.push(byte);
        }
        self
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::new()
    }
}

/// `decimal(text)` — The number that is written there in decimal digits and
/// nothing else.
#[must_use]
#[inline(never)]
pub fn decimal(text: &[u8]) -> Option<u64> {
    let mut number = None;
    for &byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = Some(
            number
                .unwrap_or(0_u64)
                .checked_mul(10)?
                .checked_add(digit.into())?,
        );
    }
    number
}

/// Words with commas between them.
///
/// As a table of strings, each of them would need an address and a length, and
/// to match on them takes code for each.
#[derive(Clone, Copy, Debug)]
pub struct List(&'static str);

impl List {
    /// `List::new("one,two")` — These words.
    #[must_use]
    pub const fn new(words: &'static str) -> Self {
        List(words)
    }

    /// `list.place_of(word)` — Which one it is, counted from 0. What is not in
    /// the list is behind all that are.
    #[must_use]
    #[inline(never)]
    pub fn place_of(self, word: &[u8]) -> usize {
        self.words()
            .position(|one| one == word)
            .unwrap_or(usize::MAX)
    }

    /// `list.at(place)` — The word there.
    #[must_use]
    #[inline(never)]
    pub fn at(self, place: usize) -> &'static [u8] {
        self.words().nth(place).unwrap_or_default()
    }

    /// `list.words()` — All of them, in their order.
    pub fn words(self) -> impl Iterator<Item = &'static [u8]> {
        self.0.as_bytes().split(|&byte| byte == b',')
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
            assert_eq!(decimal(text.as_bytes()), Some(number));
        }
    }

    #[test]
    fn only_digits_are_numbers() {
        assert_eq!(decimal(b"007"), Some(7));
        for text in [
            "",
            "-1",
            "+1",
            " 1",
            "1x",
            "1:",
            "1/",
            "18446744073709551616",
        ] {
            assert_eq!(decimal(text.as_bytes()), None, "{text:?}");
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

    #[test]
    fn words_have_places() {
        let list = List::new("one,,three");
        for (place, word) in ["one", "", "three"].into_iter().enumerate() {
            assert_eq!(list.place_of(word.as_bytes()), place);
            assert_eq!(list.at(place), word.as_bytes());
        }
        for word in ["thre", "threes", "one,", ","] {
            assert_eq!(list.place_of(word.as_bytes()), usize::MAX, "{word}");
        }
        assert_eq!(list.at(3), b"");
    }
}
