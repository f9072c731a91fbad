//! Pure. JSON (RFC 8259), written into a text that is given away whenever it is
//! full.

use crate::text::{LONGEST, Text};

/// JSON of any length.
///
/// What is between strings and numbers is written as it stands: braces, names,
/// colons and commas are the caller's.
pub struct Json<'a> {
    text: Text,
    length: u64,
    give_away: &'a mut dyn FnMut(&[u8]),
}

impl<'a> Json<'a> {
    /// `Json::new(give_away)` — Nothing yet. The pieces come in their order, and the
    /// last one with [`end`](Self::end).
    pub fn new(give_away: &'a mut dyn FnMut(&[u8])) -> Self {
        Json {
            text: Text::new(),
            length: 0,
            give_away,
        }
    }

    /// `json.plain(text)` — Writes it as it stands.
    pub fn plain(&mut self, text: &str) -> &mut Self {
        for &byte in text.as_bytes() {
            self.byte(byte);
        }
        self
    }

    /// `json.member(before, number)` — Writes what stands before a number, and the
    /// number.
    pub fn member(&mut self, before: &str, number: u64) -> &mut Self {
        let mut digits = Text::new();
        digits.number(number);
        self.plain(before);
        for &byte in digits.as_bytes() {
            self.byte(byte);
        }
        self
    }

    /// `json.string(bytes)` — Writes a string. Each byte that is no part of UTF-8
    /// becomes U+FFFD.
    pub fn string(&mut self, bytes: &[u8]) -> &mut Self {
        self.byte(b'"');
        let mut rest = bytes;
        while let Some(&first) = rest.first() {
            let (character, behind) = match rest.split_at_checked(length(rest)) {
                Some(split) if !split.0.is_empty() => split,
                _ => {
                    self.plain("\u{fffd}");
                    rest = rest.get(1..).unwrap_or_default();
                    continue;
                }
            };
            rest = behind;
            if first < b' ' {
                self.plain(if first < 16 { "\\u000" } else { "\\u001" });
                let low = first & 15;
                self.byte(if low < 10 { b'0' } else { b'a' - 10 } + low);
                continue;
            }
            if first == b'"' || first == b'\\' {
                self.byte(b'\\');
            }
            for &byte in character {
                self.byte(byte);
            }
        }
        self.byte(b'"');
        self
    }

    /// `json.end()` — Gives the rest away: how many bytes all of it has.
    pub fn end(mut self) -> u64 {
        self.flush();
        self.length
    }

    #[inline(never)]
    fn byte(&mut self, byte: u8) {
        if self.text.len() == LONGEST {
            self.flush();
        }
        self.text.push([byte]);
    }

    #[inline(never)]
    fn flush(&mut self) {
        self.length += self.text.len() as u64;
        (self.give_away)(self.text.as_bytes());
        self.text = Text::new();
    }
}

/// How many bytes of UTF-8 the first character has; 0 if it is none.
///
/// What `core` has for this is 400 bytes more.
fn length(bytes: &[u8]) -> usize {
    let mut bytes = bytes.iter();
    let first = bytes.next().copied().unwrap_or(0xff);
    let length = match first.leading_ones() {
        0 => return 1,
        ones @ 2..=4 => ones as usize,
        _ => return 0,
    };
    let mut code = u32::from(first) & (0x7f >> length);
    for _ in 1..length {
        match bytes.next() {
            Some(&byte) if byte & 0xc0 == 0x80 => code = code << 6 | u32::from(byte & 0x3f),
            _ => return 0,
        }
    }
    // Neither a surrogate nor written longer than it must be.
    match char::from_u32(code) {
        Some(character) if character.len_utf8() == length => length,
        _ => 0,
    }
}

impl core::fmt::Debug for Json<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Json").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;
    use std::{format, vec};

    /// What has been given away, and in how many pieces.
    fn written(write: impl FnOnce(&mut Json<'_>)) -> (String, usize) {
        let (mut all, mut pieces) = (Vec::new(), 0);
        let mut give_away = |piece: &[u8]| {
            all.extend_from_slice(piece);
            pieces += 1;
        };
        let mut json = Json::new(&mut give_away);
        write(&mut json);
        let length = json.end();
        assert_eq!(length, all.len() as u64);
        (String::from_utf8(all).unwrap(), pieces)
    }

    #[test]
    fn strings_are_escaped() {
        for (bytes, text) in [
            (&b""[..], r#""""#),
            (b"/run/a b.sock", r#""/run/a b.sock""#),
            (b"a\"b\\c", r#""a\"b\\c""#),
            (
                b"\0\n\x1b\x1f \x7f",
                "\"\\u0000\\u000a\\u001b\\u001f \x7f\"",
            ),
            (
                "\u{fc}\u{20ac}\u{1f600}".as_bytes(),
                "\"\u{fc}\u{20ac}\u{1f600}\"",
            ),
            (b"\xff", "\"\u{fffd}\""),
            (b"a\xc3(\xe2\x82", "\"a\u{fffd}(\u{fffd}\u{fffd}\""),
            (
                b"\xed\xa0\x80\xc0\"",
                "\"\u{fffd}\u{fffd}\u{fffd}\u{fffd}\\\"\"",
            ),
        ] {
            let (json, _) = written(|json| {
                json.string(bytes);
            });
            assert_eq!(json, text, "{bytes:?}");
        }
    }

    /// Whatever is UTF-8 for std is it here, and nothing else.
    #[test]
    fn characters_are_those_of_std() {
        for first in 0..=255 {
            for second in 0..=255 {
                for rest in [b"\x80\x80", b"\xbf\xbf", b"\x80a", b"ab"] {
                    let bytes = [first, second, rest[0], rest[1]];
                    let first = bytes.utf8_chunks().next().unwrap();
                    let whole = first.valid().chars().next();
                    let expected = whole.map_or(0, char::len_utf8);
                    assert_eq!(length(&bytes), expected, "{bytes:x?}");
                }
            }
        }
        assert_eq!(length(b"\xe2\x82"), 0);
        assert_eq!(length(b""), 0);
    }

    #[test]
    fn nothing_is_cut_off() {
        for length in [0, 1, LONGEST - 2, LONGEST - 1, LONGEST, 5_000] {
            for byte in [b'a', 0, b'"'] {
                let bytes = vec![byte; length];
                let (json, pieces) = written(|json| {
                    json.plain("[")
                        .string(&bytes)
                        .member(",", u64::MAX)
                        .plain("]");
                });
                let escaped = match byte {
                    0 => "\\u0000",
                    b'"' => "\\\"",
                    _ => "a",
                };
                let string = escaped.repeat(length);
                assert_eq!(json, format!("[\"{string}\",{}]", u64::MAX));
                assert_eq!(pieces, json.len().div_ceil(LONGEST));
            }
        }
    }
}
