//! The daemon's answer, parsed as strictly as it is promised. Pure.

use std::fmt;

/// `pid=<pid> generation=<n> tag=<text>\n`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) pid: u32,
    pub(crate) generation: u32,
    pub(crate) tag: String,
}

impl Answer {
    /// `Answer::parse(body)` — `None` for everything but exactly the promised
    /// line: an answer that is cut short or followed by more is none.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        let rest = text.strip_prefix("pid=")?;
        let (pid, rest) = rest.split_once(" generation=")?;
        let (generation, rest) = rest.split_once(" tag=")?;
        let tag = rest.strip_suffix('\n')?;
        let answer = Self {
            pid: pid.parse().ok()?,
            generation: generation.parse().ok()?,
            tag: tag.to_owned(),
        };
        // Leading zeros, signs and line breaks do not survive this.
        (answer.to_string() == text && !tag.contains('\n')).then_some(answer)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "pid={} generation={} tag={}",
            self.pid, self.generation, self.tag
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Answer;

    #[test]
    fn the_promised_line_is_read_back() {
        let answer = Answer::parse(b"pid=12 generation=0 tag=a b=c\n").unwrap();
        assert_eq!((answer.pid, answer.generation), (12, 0));
        assert_eq!(answer.tag, "a b=c");
    }

    #[test]
    fn anything_else_is_no_answer() {
        let whole = b"pid=12 generation=3 tag=blue\n";
        for end in 0..whole.len() {
            assert_eq!(Answer::parse(&whole[..end]), None, "cut at {end}");
        }
        for body in [
            &b"pid=012 generation=3 tag=blue\n"[..],
            b"pid=+12 generation=3 tag=blue\n",
            b"pid=12 generation=3 tag=blue\n\n",
            b"pid=12 generation=3 tag=blue\nx",
            b" pid=12 generation=3 tag=blue\n",
            b"pid=12  generation=3 tag=blue\n",
            b"pid=12 generation=99999999999 tag=blue\n",
            b"pid=12 generation=3 tag=\xff\n",
        ] {
            assert_eq!(Answer::parse(body), None, "{body:?}");
        }
    }
}
