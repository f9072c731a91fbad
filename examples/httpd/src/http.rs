//! Pure. HTTP/1.1 (RFC 9112): request heads in, answers out.
//!
//! [`Parser`] takes a head byte by byte and keeps only what the answer depends
//! on. So a connection needs no buffer, a head may come in any number of
//! pieces, and a client that sends it slowly costs no more than one that does
//! not. An answer is likewise never kept: [`Reply::render`] makes it again when
//! the rest of it has to be sent.

use crate::text::Text;

/// The longest head, from its first byte to the empty line's end.
pub const LONGEST_HEAD: u16 = 8192;

/// The longest request body that is skipped, so that the connection can go on.
pub const LONGEST_BODY: u64 = 64 * 1024;

/// The longest sleep that can be asked for, in milliseconds.
pub const LONGEST_SLEEP: u32 = 60_000;

/// The longest word that means something, `transfer-encoding`, and some room
/// for the digits of `/sleep/`.
const WORD: usize = 24;

/// The status of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Go on and send the body; the answer follows.
    Continue,
    /// As asked.
    Ok,
    /// What came is no HTTP, or must not be answered otherwise.
    BadRequest,
    /// There is nothing of this name.
    NotFound,
    /// Only `GET` and `HEAD`.
    MethodNotAllowed,
    /// The head or the body took too long.
    RequestTimeout,
    /// A body over [`LONGEST_BODY`].
    ContentTooLarge,
    /// A request line over [`LONGEST_HEAD`].
    UriTooLong,
    /// An expectation other than `100-continue`.
    ExpectationFailed,
    /// A head over [`LONGEST_HEAD`].
    HeaderFieldsTooLarge,
    /// A method that is none of HTTP's, or a transfer coding.
    NotImplemented,
    /// Another HTTP than 1.
    VersionNotSupported,
}

impl Status {
    /// Number and reason, as the status line has them.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Continue => "100 Continue",
            Status::Ok => "200 OK",
            Status::BadRequest => "400 Bad Request",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::RequestTimeout => "408 Request Timeout",
            Status::ContentTooLarge => "413 Content Too Large",
            Status::UriTooLong => "414 URI Too Long",
            Status::ExpectationFailed => "417 Expectation Failed",
            Status::HeaderFieldsTooLarge => "431 Request Header Fields Too Large",
            Status::NotImplemented => "501 Not Implemented",
            Status::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }
}

/// The method of a request, as far as it makes a difference here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`: as `GET`, without the body.
    Head,
    /// `CONNECT`, whose target is no path.
    Connect,
    /// Another one that HTTP defines.
    Other,
    /// One that it does not.
    Unknown,
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// `/`
    Info,
    /// `/healthz`
    Health,
    /// `/sleep/<ms>`
    Sleep(u32),
    /// `/sleep/<ms>` with more than [`LONGEST_SLEEP`].
    LongSleep,
    /// Any other path.
    Nothing,
    /// The server itself: `*`, or what CONNECT names.
    Server,
}

/// A whole request head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The target, without its query.
    pub target: Target,
    /// The connection is to be kept after the answer.
    pub keep: bool,
    /// It is HTTP/1.0.
    pub old: bool,
    /// Bytes of the body that follow.
    pub length: u64,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

impl Request {
    /// `request.reply()` — The answer, and how long to wait with it, in
    /// milliseconds.
    #[must_use]
    pub fn reply(&self) -> (Reply, u32) {
        let (status, page, delay) = match (self.method, self.target) {
            (Method::Unknown, _) => (Status::NotImplemented, Page::Status, 0),
            (_, Target::Nothing) => (Status::NotFound, Page::Status, 0),
            (Method::Connect | Method::Other, _) => (Status::MethodNotAllowed, Page::Status, 0),
            (_, Target::Info) => (Status::Ok, Page::Info, 0),
            (_, Target::Health) => (Status::Ok, Page::Health, 0),
            (_, Target::Sleep(delay)) => (Status::Ok, Page::Info, delay),
            (_, Target::LongSleep | Target::Server) => (Status::BadRequest, Page::Status, 0),
        };
        // A client that waits for leave to send its body, and is refused, may
        // send it or not: only the connection's end tells where a next request
        // would begin.
        let refused = self.expects_continue && status != Status::Ok;
        let reply = Reply {
            status,
            page,
            head_only: self.method == Method::Head,
            close: refused || !self.keep,
            old: self.old,
        };
        (reply, delay)
    }
}

/// What a piece of a head has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The head is not at its end.
    More,
    /// It is.
    Request(Request),
    /// It cannot be one; nothing that follows can be understood.
    Refused(Status),
}

/// Where in a head the parser is: what the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// The first byte of a request, or of an empty line before it.
    Start,
    /// The line feed of such an empty line.
    StartFeed,
    Method,
    /// The first byte of the target.
    Target,
    /// The scheme of an absolute target with its colon, and its two slashes.
    Scheme,
    Slash,
    SlashSlash,
    /// Host and port of an absolute target.
    Authority,
    Path,
    Query,
    /// The space after `*`.
    Star,
    /// The first byte of whom CONNECT names, and the rest.
    PeerStart,
    Peer,
    Version,
    /// The line feed of a line.
    LineFeed,
    /// The first byte of a line.
    Line,
    Name,
    /// A value, and white space around it.
    Value,
    /// The line feed of the empty line.
    LastFeed,
    /// After the end, or after a refusal.
    Done,
}

/// What may stand at a place, beside the bytes that end something there; what
/// of it is kept; where it leads.
struct Rule {
    may: u8,
    keep: Keep,
    next: At,
}

#[derive(Clone, Copy)]
enum Keep {
    Nothing,
    Byte,
    Lower,
    Value,
}

const fn rule(may: u8, keep: Keep, next: At) -> Rule {
    Rule { may, keep, next }
}

/// In the order of [`At`].
const RULES: [Rule; At::Done as usize + 1] = [
    rule(TOKEN, Keep::Byte, At::Method),
    rule(0, Keep::Nothing, At::Done),
    rule(TOKEN, Keep::Byte, At::Method),
    rule(LETTER, Keep::Lower, At::Scheme),
    rule(LETTER, Keep::Lower, At::Scheme),
    rule(0, Keep::Nothing, At::Done),
    rule(0, Keep::Nothing, At::Done),
    rule(TARGET, Keep::Nothing, At::Authority),
    rule(TARGET, Keep::Byte, At::Path),
    rule(TARGET, Keep::Nothing, At::Query),
    rule(0, Keep::Nothing, At::Done),
    rule(TARGET, Keep::Nothing, At::Peer),
    rule(TARGET, Keep::Nothing, At::Peer),
    rule(TARGET, Keep::Byte, At::Version),
    rule(0, Keep::Nothing, At::Done),
    rule(TOKEN, Keep::Lower, At::Name),
    rule(TOKEN, Keep::Lower, At::Name),
    rule(VALUE, Keep::Value, At::Value),
    rule(0, Keep::Nothing, At::Done),
    rule(0, Keep::Nothing, At::Done),
];

/// What methods and field names are made of.
const TOKEN: u8 = 1;

/// What may stand in a request line between its spaces.
const TARGET: u8 = 2;

/// What a value is made of, beside white space.
const VALUE: u8 = 4;

/// What a scheme that is known is made of.
const LETTER: u8 = 8;

/// To which of them a byte belongs.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte <= u8::MAX as usize {
        #[allow(clippy::cast_possible_truncation)]
        let this = byte as u8;
        if this.is_ascii_graphic() && this != b'#' {
            classes[byte] |= TARGET;
        }
        if this > b' ' && this != 0x7f {
            classes[byte] |= VALUE;
        }
        if this.is_ascii_alphabetic() {
            classes[byte] |= LETTER;
        }
        let special = matches!(
            this,
            b'"' | b'(' | b')' | b',' | b'/' | b':'..=b'@' | b'[' | b'\\' | b']' | b'{' | b'}'
        );
        if this.is_ascii_graphic() && !special {
            classes[byte] |= TOKEN;
        }
        byte += 1;
    }
    classes
};

/// The fields that make a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Host,
    Connection,
    ContentLength,
    TransferEncoding,
    Expect,
    Other,
}

/// Takes a request head in pieces of any size.
#[derive(Clone, Debug)]
pub struct Parser {
    at: At,
    method: Method,
    target: Target,
    field: Field,
    old: bool,
    seen: u8,
    /// Bytes of this head so far.
    taken: u16,
    /// The word that is being read, in lower case where case makes no
    /// difference; a longer one than any that means something stays at
    /// `WORD + 1`.
    word: [u8; WORD],
    word_length: u8,
    /// White space has followed the word.
    gap: bool,
    length: u64,
}

/// Bits of `seen`.
mod seen {
    pub(super) const HOST: u8 = 1;
    pub(super) const LENGTH: u8 = 2;
    pub(super) const CODING: u8 = 4;
    pub(super) const CLOSE: u8 = 8;
    pub(super) const KEEP: u8 = 16;
    pub(super) const CONTINUE: u8 = 32;
    pub(super) const EXPECT: u8 = 64;
}

impl Parser {
    /// `Parser::new()` — Ready for a first byte.
    #[must_use]
    pub const fn new() -> Self {
        Parser {
            at: At::Start,
            method: Method::Unknown,
            target: Target::Nothing,
            field: Field::Other,
            old: false,
            seen: 0,
            taken: 0,
            word: [0; WORD],
            word_length: 0,
            gap: false,
            length: 0,
        }
    }

    /// `parser.is_idle()` — Whether no byte of a request has come, empty lines
    /// before it aside.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.at, At::Start | At::StartFeed)
    }

    /// `parser.is_head()` — Whether the request's method is HEAD, so that no
    /// answer to it has a body.
    #[must_use]
    pub fn is_head(&self) -> bool {
        self.method == Method::Head
    }

    /// `parser.feed(bytes)` — How many of the bytes belong to this head, and what
    /// they have led to.
    ///
    /// After another answer than [`Progress::More`] the next head wants a new
    /// parser.
    #[inline(never)]
    pub fn feed(&mut self, bytes: &[u8]) -> (usize, Progress) {
        let mut used = 0;
        for &byte in bytes {
            used += 1;
            let progress = if self.taken < LONGEST_HEAD {
                self.taken += 1;
                match self.step(byte) {
                    Ok(next) => {
                        self.at = next;
                        if next == At::Done {
                            self.finish()
                        } else {
                            Progress::More
                        }
                    }
                    Err(status) => Progress::Refused(status),
                }
            } else {
                Progress::Refused(self.too_long())
            };
            if progress != Progress::More {
                self.at = At::Done;
                return (used, progress);
            }
        }
        (used, Progress::More)
    }

    fn too_long(&self) -> Status {
        match self.at {
            At::Start | At::StartFeed | At::Method | At::Done => Status::BadRequest,
            At::Line | At::Name | At::Value | At::LineFeed | At::LastFeed => {
                Status::HeaderFieldsTooLarge
            }
            _ => Status::UriTooLong,
        }
    }

    /// Where the next byte belongs, after this one.
    ///
    /// The few bytes that end something come first; what else may stand at a
    /// place, and whether it is kept, is in [`RULES`].
    fn step(&mut self, byte: u8) -> Result<At, Status> {
        let next = match (byte, self.at) {
            (b'\n', At::Start | At::StartFeed) => At::Start,
            (b'\r', At::Start) => At::StartFeed,
            (b' ', At::Method) => {
                self.method = match self.take_word_of(&METHODS) {
                    0 => Method::Get,
                    1 => Method::Head,
                    2 => Method::Connect,
                    3..=8 => Method::Other,
                    _ => Method::Unknown,
                };
                if self.method == Method::Connect {
                    At::PeerStart
                } else {
                    At::Target
                }
            }
            (b'/', At::Target | At::Authority) => At::Path,
            (b'/', At::Slash) => At::SlashSlash,
            (b'/', At::SlashSlash) => At::Authority,
            (b'*', At::Target) => {
                self.target = Target::Server;
                At::Star
            }
            (b':', At::Scheme) if self.take_word_of(&SCHEMES) < SCHEMES.len() => At::Slash,
            (b' ' | b'?', At::Authority | At::Path) => {
                self.target = self.take_word().map_or(Target::Nothing, path_target);
                if byte == b'?' { At::Query } else { At::Version }
            }
            (b' ', At::Query | At::Star) => At::Version,
            (b' ', At::Peer) => {
                self.target = Target::Server;
                At::Version
            }
            (b'\r' | b'\n', At::Version | At::Value) => {
                if self.at == At::Version {
                    self.version()?;
                } else {
                    self.end_field()?;
                }
                if byte == b'\r' {
                    At::LineFeed
                } else {
                    At::Line
                }
            }
            (b'\n', At::LineFeed) => At::Line,
            (b'\r', At::Line) => At::LastFeed,
            (b'\n', At::Line | At::LastFeed) => At::Done,
            (b':', At::Name) => {
                self.begin_field()?;
                At::Value
            }
            (b' ' | b'\t', At::Value) => {
                self.gap = self.word_length > 0;
                At::Value
            }
            (_, at) => {
                let rule = RULES.get(at as usize).ok_or(Status::BadRequest)?;
                if CLASSES
                    .get(usize::from(byte))
                    .is_none_or(|class| class & rule.may == 0)
                {
                    return Err(Status::BadRequest);
                }
                match rule.keep {
                    Keep::Nothing => {}
                    Keep::Byte => self.add(byte),
                    Keep::Lower => self.add(byte.to_ascii_lowercase()),
                    Keep::Value => self.value(byte)?,
                }
                rule.next
            }
        };
        Ok(next)
    }

    /// The request line's last word.
    fn version(&mut self) -> Result<(), Status> {
        let version = self
            .take_word()
            .and_then(|word| word.strip_prefix(b"HTTP/"));
        let Some(&[major, b'.', minor]) = version else {
            return Err(Status::BadRequest);
        };
        if !major.is_ascii_digit() || !minor.is_ascii_digit() {
            return Err(Status::BadRequest);
        }
        if major != b'1' {
            return Err(Status::VersionNotSupported);
        }
        self.old = minor == b'0';
        Ok(())
    }

    /// A field's name has been read. Fields that say where the message ends, or
    /// for whom it is, must not come twice: two readers could differ on which
    /// one counts.
    fn begin_field(&mut self) -> Result<(), Status> {
        self.field = match self.take_word_of(&FIELDS) {
            0 => Field::Host,
            1 => Field::Connection,
            2 => Field::ContentLength,
            3 => Field::TransferEncoding,
            4 => Field::Expect,
            _ => Field::Other,
        };
        let once = match self.field {
            Field::Host => seen::HOST,
            Field::ContentLength => seen::LENGTH,
            Field::TransferEncoding => seen::CODING,
            _ => 0,
        };
        if self.seen & once != 0 {
            return Err(Status::BadRequest);
        }
        self.seen |= once;
        Ok(())
    }

    /// A byte of the value, other than white space.
    fn value(&mut self, byte: u8) -> Result<(), Status> {
        match self.field {
            Field::Connection if byte == b',' => {
                self.connection_option();
                return Ok(());
            }
            Field::ContentLength => {
                let digit = match byte {
                    b'0'..=b'9' if !self.gap => u64::from(byte - b'0'),
                    _ => return Err(Status::BadRequest),
                };
                self.length = self
                    .length
                    .checked_mul(10)
                    .and_then(|length| length.checked_add(digit))
                    .ok_or(Status::BadRequest)?;
            }
            Field::Host if self.gap => return Err(Status::BadRequest),
            _ => {}
        }
        if self.gap {
            self.gap = false;
            self.add(b' ');
        }
        self.add(byte.to_ascii_lowercase());
        Ok(())
    }

    /// A field's line is at its end.
    fn end_field(&mut self) -> Result<(), Status> {
        match self.field {
            Field::Connection => self.connection_option(),
            Field::ContentLength if self.word_length == 0 => return Err(Status::BadRequest),
            Field::Expect => {
                self.seen |= match self.take_word_of(&EXPECT) {
                    0 => seen::CONTINUE,
                    _ => seen::EXPECT,
                };
            }
            _ => {}
        }
        self.take_word();
        Ok(())
    }

    fn connection_option(&mut self) {
        self.seen |= match self.take_word_of(&CONNECTION) {
            0 => seen::CLOSE,
            1 => seen::KEEP,
            _ => 0,
        };
    }

    /// The empty line has come.
    fn finish(&mut self) -> Progress {
        let has = |bit| self.seen & bit != 0;
        if has(seen::CODING) {
            // Whoever has read it another way may see another message.
            let unclear = self.old || has(seen::LENGTH);
            return Progress::Refused(if unclear {
                Status::BadRequest
            } else {
                Status::NotImplemented
            });
        }
        if !self.old && !has(seen::HOST) {
            return Progress::Refused(Status::BadRequest);
        }
        if !self.old && has(seen::EXPECT) {
            return Progress::Refused(Status::ExpectationFailed);
        }
        if self.length > LONGEST_BODY {
            return Progress::Refused(Status::ContentTooLarge);
        }
        Progress::Request(Request {
            method: self.method,
            target: self.target,
            keep: !has(seen::CLOSE) && (!self.old || has(seen::KEEP)),
            old: self.old,
            length: self.length,
            expects_continue: !self.old && has(seen::CONTINUE) && self.length > 0,
        })
    }

    /// Adds a byte to the word.
    #[inline(never)]
    fn add(&mut self, byte: u8) {
        if let Some(place) = self.word.get_mut(usize::from(self.word_length)) {
            *place = byte;
            self.word_length += 1;
        } else {
            self.word_length = WORD as u8 + 1;
        }
    }

    /// The word, unless it is longer than any that means something. The next
    /// byte begins a new one.
    #[inline(never)]
    fn take_word(&mut self) -> Option<&[u8]> {
        let length = usize::from(core::mem::take(&mut self.word_length));
        self.gap = false;
        self.word.get(..length)
    }

    /// Which of these the word is; another one is none of them.
    #[inline(never)]
    fn take_word_of(&mut self, words: &[&str]) -> usize {
        let Some(word) = self.take_word() else {
            return words.len();
        };
        words
            .iter()
            .position(|known| known.as_bytes() == word)
            .unwrap_or(words.len())
    }
}

const METHODS: [&str; 9] = [
    "GET", "HEAD", "CONNECT", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH",
];

const SCHEMES: [&str; 2] = ["http", "https"];

const FIELDS: [&str; 5] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "expect",
];

const CONNECTION: [&str; 2] = ["close", "keep-alive"];

const EXPECT: [&str; 1] = ["100-continue"];

impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
}

/// A path, without its first slash.
fn path_target(path: &[u8]) -> Target {
    if path.is_empty() {
        return Target::Info;
    }
    if path == b"healthz" {
        return Target::Health;
    }
    let Some(digits) = path.strip_prefix(b"sleep/") else {
        return Target::Nothing;
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Target::Nothing;
    }
    let milliseconds = digits.iter().fold(0_u32, |number, digit| {
        number
            .saturating_mul(10)
            .saturating_add(u32::from(digit - b'0'))
    });
    if milliseconds > LONGEST_SLEEP {
        Target::LongSleep
    } else {
        Target::Sleep(milliseconds)
    }
}

/// What the body of an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// The status.
    Status,
    /// `ok`
    Health,
    /// Who answers.
    Info,
}

/// Who answers.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The process.
    pub pid: u32,
    /// How many predecessors it has.
    pub generation: u32,
    /// The build, or what the command line says.
    pub tag: &'a [u8],
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: Status,
    /// The body.
    pub page: Page,
    /// The request is HEAD: the length is said, the body is not sent.
    pub head_only: bool,
    /// The connection ends after this answer.
    pub close: bool,
    /// The request is HTTP/1.0, so that keeping the connection must be said.
    pub old: bool,
}

impl Reply {
    /// `Reply::last(status, head_only)` — What is said before the connection
    /// ends.
    #[must_use]
    pub const fn last(status: Status, head_only: bool) -> Self {
        Reply {
            status,
            page: Page::Status,
            head_only,
            close: true,
            old: false,
        }
    }

    /// `Reply::go_on()` — `100 Continue`, which is followed by the answer.
    #[must_use]
    pub const fn go_on() -> Self {
        Reply {
            status: Status::Continue,
            page: Page::Status,
            head_only: true,
            close: false,
            old: false,
        }
    }

    /// `reply.render(identity)` — All of its bytes; the same each time.
    #[must_use]
    #[inline(never)]
    pub fn render(&self, identity: &Identity<'_>) -> Text {
        let mut answer = Text::new();
        answer
            .push("HTTP/1.1 ")
            .push(self.status.as_str())
            .push("\r\n");
        if self.status == Status::Continue {
            answer.push("\r\n");
            return answer;
        }
        let mut body = Text::new();
        match self.page {
            Page::Status => body.push(self.status.as_str()).push("\n"),
            Page::Health => body.push("ok\n"),
            Page::Info => body
                .push("pid=")
                .number(identity.pid.into())
                .push(" generation=")
                .number(identity.generation.into())
                .push(" tag=")
                .push(identity.tag)
                .push("\n"),
        };
        answer.push("Content-Type: text/plain; charset=utf-8\r\nContent-Length: ");
        answer.number(body.len() as u64).push("\r\n");
        if self.status == Status::MethodNotAllowed {
            answer.push("Allow: GET, HEAD\r\n");
        }
        if self.close {
            answer.push("Connection: close\r\n");
        } else if self.old {
            answer.push("Connection: keep-alive\r\n");
        }
        answer.push("\r\n");
        if !self.head_only {
            answer.push(body.as_bytes());
        }
        answer
    }
}

#[cfg(test)]
mod tests;
