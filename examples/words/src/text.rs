//! Pure. Text in a buffer of fixed size, numbers in text, lists of words.

use gracenet::activation;
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

    /// `text.put("exited with status #", n)` — Appends words, with the number where a `#` is.
    pub fn put(&mut self, words: impl AsRef<[u8]>, number: u64) -> &mut Self {
        self.append_with(words.as_ref(), number)
    }

    /// `text.number(n)` — Appends a number in decimal digits.
    #[inline(never)]
    pub fn number(&mut self, number: u64) -> &mut Self {
        let (more, digit) = (number / 10, number % 10);
        if more > 0 {
            self.number(more);
        }
        self.append_byte(b'0' + digit as u8)
    }

    /// `text.end_with(byte)` — Appends, if need be over the last byte.
    pub fn end_with(&mut self, byte: u8) {
        self.0.truncate(LONGEST - 1);
        self.append_byte(byte);
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

    #[inline(never)]
    fn append_with(&mut self, words: &[u8], number: u64) -> &mut Self {
        for &byte in words {
            if byte == b'#' {
                self.number(number);
            } else {
                self.append_byte(byte);
            }
        }
        self
    }

    #[inline(never)]
    fn append_byte(&mut self, byte: u8) -> &mut Self {
        let _ = self.0.push(byte);
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
pub fn decimal(text: &[u8]) -> Option<u64> {
    activation::decimal(text, u64::MAX).ok()
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
    pub fn place_of(self, word: &[u8]) -> usize {
        activation::place_of(word, self.0).unwrap_or(usize::MAX)
    }

    /// `list.at(place)` — The word there.
    #[must_use]
    #[inline(never)]
    pub fn at(self, mut place: usize) -> &'static [u8] {
        let mut words = self.0.as_bytes();
        while let (1.., Some((byte, behind))) = (place, words.split_first()) {
            place -= usize::from(*byte == b',');
            words = behind;
        }
        before(words, b',')
    }

    /// `list.words()` — All of them, in their order.
    pub fn words(self) -> impl Iterator<Item = &'static [u8]> {
        self.0.as_bytes().split(|&byte| byte == b',')
    }
}

/// `before(text, byte)` — What comes before the first such byte, or all of it.
#[must_use]
#[inline(never)]
pub fn before(text: &[u8], byte: u8) -> &[u8] {
    let at = text.iter().position(|&other| other == byte);
    at.and_then(|at| text.get(..at)).unwrap_or(text)
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
    fn number_is_where_it_belongs() {
        for (words, text) in [
            ("", ""),
            ("#", "12"),
            ("started #", "started 12"),
            ("in # ms", "in 12 ms"),
            ("none", "none"),
        ] {
            assert_eq!(Text::new().put(words, 12).as_bytes(), text.as_bytes());
        }
        // What is no words of ours has no number.
        assert_eq!(Text::new().push("/run/#").as_bytes(), b"/run/#");
    }

    #[test]
    fn what_comes_before_a_byte_is_all_where_it_is_not() {
        for (text, expected) in [("a=b=c", "a"), ("=", ""), ("abc", "abc"), ("", "")] {
            assert_eq!(before(text.as_bytes(), b'='), expected.as_bytes());
        }
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
