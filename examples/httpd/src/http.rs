//! Pure. HTTP/1.1 (RFC 9112): request heads in, answers out.
//!
//! [`Parser`] takes a head byte by byte and keeps only what the answer depends
//! on. So a connection needs no buffer, a head may come in any number of
//! pieces, and a client that sends it slowly costs no more than one that does
//! not. An answer is likewise never kept: [`Reply::render`] makes it again when
//! the rest of it has to be sent. The one whose body changes from one moment to
//! the next has its body elsewhere.

use crate::FULL;
use crate::text::{List, Text, decimal};

/// The longest head, from its first byte to the empty line's end.
pub const LONGEST_HEAD: u16 = 8192;

/// The longest request body that is skipped, so that the connection can go on.
pub const LONGEST_BODY: u64 = 64 * 1024;

/// The longest sleep that can be asked for, in milliseconds.
pub const LONGEST_SLEEP: u64 = 60_000;

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
    /// There is no room for the answer.
    ServiceUnavailable,
    /// Another HTTP than 1.
    VersionNotSupported,
}

impl Status {
    /// Number and reason, as the status line has them.
    #[must_use]
    pub fn text(self) -> &'static [u8] {
        STATUSES.at(self as usize)
    }
}

/// In the order of [`Status`].
const STATUSES: List = List::new(
    "100 Continue,200 OK,400 Bad Request,404 Not Found,405 Method Not Allowed,\
     408 Request Timeout,413 Content Too Large,414 URI Too Long,417 Expectation Failed,\
     431 Request Header Fields Too Large,501 Not Implemented,\
     503 Service Unavailable,505 HTTP Version Not Supported",
);

/// The method of a request, as far as it makes a difference here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// One that HTTP does not define.
    Unknown,
    /// `GET`
    Get,
    /// `HEAD`: as `GET`, without the body.
    Head,
    /// `CONNECT`, whose target is no path.
    Connect,
    /// Another one that HTTP defines.
    Other,
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Any path that is none of the others.
    Nothing,
    /// `/` and `/sleep/<ms>`
    Info,
    /// `/healthz`
    Health,
    /// `/status`
    Status,
    /// The server itself, which is `*` or what CONNECT names; and `/sleep/<ms>`
    /// with more than [`LONGEST_SLEEP`].
    Impossible,
}

/// A request head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The target, without its query.
    pub target: Target,
    /// How long to wait with the answer, in milliseconds.
    pub delay: u32,
    /// The connection is to be kept after the answer.
    pub keep: bool,
    /// It is HTTP/1.0.
    pub old: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Bytes of the body that follow.
    pub length: u64,
}

impl Request {
    /// `request.reply()` — The answer.
    #[must_use]
    pub fn reply(&self) -> Reply {
        let status = match (self.method, self.target) {
            (Method::Unknown, _) => Status::NotImplemented,
            (_, Target::Nothing) => Status::NotFound,
            (Method::Connect | Method::Other, _) => Status::MethodNotAllowed,
            (_, Target::Impossible) => Status::BadRequest,
            _ => Status::Ok,
        };
        // A client that waits for leave to send its body, and is refused, may
        // send it or not: only the connection's end tells where a next request
        // would begin.
        let refused = self.expects_continue && status != Status::Ok;
        Reply {
            status,
            target: self.target,
            length: 0,
            head_only: self.method == Method::Head,
            close: refused || !self.keep,
            old: self.old,
        }
    }
}

/// What a piece of a head has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The head is not at its end.
    More,
    /// It is: [`Parser::request`] has it.
    Request,
    /// It cannot be one; nothing that follows can be understood.
    Refused(Status),
}

/// Where in a head the parser is: what the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
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

/// What a byte leads to, beside another place.
#[derive(Clone, Copy)]
enum Act {
    Skip,
    /// Adds the byte to the word, as it is or in lower case.
    Keep,
    KeepLower,
    /// The word is what it says.
    Method,
    Scheme,
    Path,
    Version,
    Name,
    /// The target is the server.
    Server,
    /// A byte of a value, white space in it, and its end.
    Value,
    Gap,
    ValueEnd,
    /// The head's end.
    End,
}

/// What methods and field names are made of: a class of bytes, as the next two.
/// No rule is about a single byte over 0x7f.
const TOKEN: u8 = 0x80;

/// What may stand in a request line between its spaces.
const TARGET: u8 = 0x81;

/// What a value is made of, beside white space.
const VALUE: u8 = 0x82;

/// Where a head is, which byte comes, what it leads to, and where the next one
/// belongs. The first rule that fits counts; where none does, it is no HTTP.
/// What is needed for the most bytes stands first.
const RULES: [(At, u8, Act, At); 41] = [
    (At::Value, VALUE, Act::Value, At::Value),
    (At::Value, b' ', Act::Gap, At::Value),
    (At::Value, b'\t', Act::Gap, At::Value),
    (At::Value, b'\r', Act::ValueEnd, At::LineFeed),
    (At::Value, b'\n', Act::ValueEnd, At::Line),
    (At::Name, TOKEN, Act::KeepLower, At::Name),
    (At::Name, b':', Act::Name, At::Value),
    (At::LineFeed, b'\n', Act::Skip, At::Line),
    (At::Line, TOKEN, Act::KeepLower, At::Name),
    (At::Line, b'\r', Act::Skip, At::LastFeed),
    (At::Line, b'\n', Act::End, At::Done),
    (At::LastFeed, b'\n', Act::End, At::Done),
    (At::Start, TOKEN, Act::Keep, At::Method),
    (At::Start, b'\r', Act::Skip, At::StartFeed),
    (At::Start, b'\n', Act::Skip, At::Start),
    (At::StartFeed, b'\n', Act::Skip, At::Start),
    (At::Method, TOKEN, Act::Keep, At::Method),
    (At::Method, b' ', Act::Method, At::Target),
    (At::Target, b'/', Act::Skip, At::Path),
    (At::Target, b'*', Act::Server, At::Star),
    (At::Target, TOKEN, Act::KeepLower, At::Scheme),
    (At::Path, b' ', Act::Path, At::Version),
    (At::Path, b'?', Act::Path, At::Query),
    (At::Path, TARGET, Act::Keep, At::Path),
    (At::Query, TARGET, Act::Skip, At::Query),
    (At::Query, b' ', Act::Skip, At::Version),
    (At::Star, b' ', Act::Skip, At::Version),
    (At::Scheme, TOKEN, Act::KeepLower, At::Scheme),
    (At::Scheme, b':', Act::Scheme, At::Slash),
    (At::Slash, b'/', Act::Skip, At::SlashSlash),
    (At::SlashSlash, b'/', Act::Skip, At::Authority),
    (At::Authority, b'/', Act::Skip, At::Path),
    (At::Authority, b' ', Act::Path, At::Version),
    (At::Authority, b'?', Act::Path, At::Query),
    (At::Authority, TARGET, Act::Skip, At::Authority),
    (At::PeerStart, TARGET, Act::Server, At::Peer),
    (At::Peer, TARGET, Act::Skip, At::Peer),
    (At::Peer, b' ', Act::Skip, At::Version),
    (At::Version, TARGET, Act::Keep, At::Version),
    (At::Version, b'\r', Act::Version, At::LineFeed),
    (At::Version, b'\n', Act::Version, At::Line),
];

/// Which bytes a token has, a bit for each.
const TOKENS: [u32; 4] = {
    let mut bits = [0; 4];
    let mut byte = b'!';
    while byte < 0x7f {
        let special = matches!(
            byte,
            b'"' | b'(' | b')' | b',' | b'/' | b':'..=b'@' | b'[' | b'\\' | b']' | b'{' | b'}'
        );
        if !special {
            bits[(byte / 32) as usize] |= 1 << (byte % 32);
        }
        byte += 1;
    }
    bits
};

/// Whether a byte is what a rule is about: itself, or one of a class.
#[inline(never)]
fn fits(byte: u8, rule: u8) -> bool {
    match rule {
        TOKEN => {
            let bits = TOKENS.get(usize::from(byte / 32)).unwrap_or(&0);
            bits >> (byte % 32) & 1 != 0
        }
        TARGET => byte.is_ascii_graphic() && byte != b'#',
        VALUE => byte > b' ' && byte != 0x7f,
        _ => byte == rule,
    }
}

/// Takes a request head in pieces of any size.
#[derive(Clone, Debug)]
pub struct Parser {
    request: Request,
    at: At,
    /// The place of the field's name in [`FIELDS`].
    field: usize,
    seen: u16,
    /// Bytes of this head so far.
    taken: u16,
    /// The word that is being read, in lower case where case makes no
    /// difference; a longer one than any that means something stays at
    /// `WORD + 1`.
    word: [u8; WORD],
    word_length: u8,
    /// White space has followed the word.
    gap: bool,
}

const METHODS: List = List::new("GET,HEAD,CONNECT,POST,PUT,DELETE,OPTIONS,TRACE,PATCH");

/// The last one begins a path.
const PATHS: List = List::new(",healthz,status,sleep/");

const VERSION: List = List::new("HTTP/");

const SCHEMES: List = List::new("http,https");

/// The fields that make a difference. The first three say where the message
/// ends, or for whom it is, and must not come twice: two readers could differ on
/// which one counts.
const FIELDS: List = List::new("host,content-length,transfer-encoding,connection,expect");
const HOST: usize = 0;
const LENGTH: usize = 1;
const CODING: usize = 2;
const CONNECTION: usize = 3;
const EXPECT: usize = 4;

const OPTIONS: List = List::new("close,keep-alive");

const EXPECTATIONS: List = List::new("100-continue");

/// Bits of `seen`, above those of [`FIELDS`].
mod seen {
    pub(super) const CLOSE: u16 = 0x100;
    pub(super) const KEEP: u16 = 0x200;
    pub(super) const CONTINUE: u16 = 0x400;
    pub(super) const UNMET: u16 = 0x800;
}

impl Parser {
    /// `Parser::new()` — Ready for a first byte.
    #[must_use]
    pub const fn new() -> Self {
        Parser {
            request: Request {
                method: Method::Unknown,
                target: Target::Nothing,
                delay: 0,
                keep: false,
                old: false,
                expects_continue: false,
                length: 0,
            },
            at: At::Start,
            field: 0,
            seen: 0,
            taken: 0,
            word: [0; WORD],
            word_length: 0,
            gap: false,
        }
    }

    /// `parser.is_idle()` — Whether no byte of a request has come, empty lines
    /// before it aside.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.at <= At::StartFeed
    }

    /// `parser.request()` — What has come so far; after [`Progress::Request`] it
    /// is whole.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
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
            let progress = match self.step(byte) {
                Ok(()) if self.at != At::Done => continue,
                Ok(()) => Progress::Request,
                Err(status) => Progress::Refused(status),
            };
            self.at = At::Done;
            return (used, progress);
        }
        (used, Progress::More)
    }

    /// What a head is told that goes on here and must not.
    fn too_long(&self) -> Status {
        if self.at <= At::Method {
            Status::BadRequest
        } else if self.at < At::LineFeed {
            Status::UriTooLong
        } else {
            Status::HeaderFieldsTooLarge
        }
    }

    #[inline(never)]
    fn step(&mut self, byte: u8) -> Result<(), Status> {
        if self.taken == LONGEST_HEAD {
            return Err(self.too_long());
        }
        self.taken += 1;
        let &(_, _, act, next) = RULES
            .iter()
            .find(|rule| rule.0 == self.at && fits(byte, rule.1))
            .ok_or(Status::BadRequest)?;
        self.at = next;
        match act {
            Act::Skip => {}
            Act::Keep => self.add(byte),
            Act::KeepLower => self.add(byte.to_ascii_lowercase()),
            Act::Method => {
                self.request.method = match self.take_place(METHODS) {
                    0 => Method::Get,
                    1 => Method::Head,
                    2 => {
                        self.at = At::PeerStart;
                        Method::Connect
                    }
                    3..=8 => Method::Other,
                    _ => Method::Unknown,
                };
            }
            Act::Scheme => {
                if self.take_place(SCHEMES) > 1 {
                    return Err(Status::BadRequest);
                }
            }
            Act::Path => self.path(),
            Act::Server => self.request.target = Target::Impossible,
            Act::Version => return self.version(),
            Act::Name => return self.name(),
            Act::Value => return self.value(byte),
            Act::Gap => self.gap = self.word_length > 0,
            Act::ValueEnd => return self.value_end(),
            Act::End => return self.end(),
        }
        Ok(())
    }

    /// The path has been read, without its first slash.
    fn path(&mut self) {
        let Some(path) = self.take_word() else { return };
        let (mut target, mut delay) = (Target::Nothing, 0);
        match PATHS.place_of(path) {
            0 => target = Target::Info,
            1 => target = Target::Health,
            2 if FULL => target = Target::Status,
            _ => {
                let (sleep, digits) = path.split_at_checked(6).unwrap_or_default();
                if PATHS.place_of(sleep) == 3
                    && let Some(milliseconds) = decimal(digits)
                {
                    target = Target::Impossible;
                    if milliseconds <= LONGEST_SLEEP {
                        target = Target::Info;
                        delay = milliseconds as u32;
                    }
                }
            }
        }
        self.request.target = target;
        self.request.delay = delay;
    }

    /// The request line's last word: `HTTP/`, a digit, a dot, a digit.
    fn version(&mut self) -> Result<(), Status> {
        let word = self.take_word().unwrap_or_default();
        let (name, version) = word.split_at_checked(5).unwrap_or_default();
        let &[major, b'.', minor] = version else {
            return Err(Status::BadRequest);
        };
        if VERSION.place_of(name) != 0 || !major.is_ascii_digit() || !minor.is_ascii_digit() {
            return Err(Status::BadRequest);
        }
        if major != b'1' {
            return Err(Status::VersionNotSupported);
        }
        self.request.old = minor == b'0';
        Ok(())
    }

    /// A field's name has been read.
    fn name(&mut self) -> Result<(), Status> {
        self.field = self.take_place(FIELDS);
        if self.field <= CODING {
            if self.has(1 << self.field) {
                return Err(Status::BadRequest);
            }
            self.seen |= 1 << self.field;
        }
        Ok(())
    }

    /// A byte of the value, other than white space.
    fn value(&mut self, byte: u8) -> Result<(), Status> {
        if self.field == CONNECTION && byte == b',' {
            self.connection_option();
            return Ok(());
        }
        if self.gap {
            if self.field == HOST {
                return Err(Status::BadRequest);
            }
            self.gap = false;
            self.add(b' ');
        }
        self.add(byte.to_ascii_lowercase());
        Ok(())
    }

    /// A field's line is at its end.
    fn value_end(&mut self) -> Result<(), Status> {
        match self.field {
            LENGTH => {
                let length = self.take_word().and_then(decimal);
                self.request.length = length.ok_or(Status::BadRequest)?;
            }
            CONNECTION => self.connection_option(),
            EXPECT => {
                self.seen |= match self.take_place(EXPECTATIONS) {
                    0 => seen::CONTINUE,
                    _ => seen::UNMET,
                };
            }
            _ => {
                self.take_word();
            }
        }
        Ok(())
    }

    fn connection_option(&mut self) {
        self.seen |= match self.take_place(OPTIONS) {
            0 => seen::CLOSE,
            1 => seen::KEEP,
            _ => 0,
        };
    }

    /// The empty line has come.
    #[inline(never)]
    fn end(&mut self) -> Result<(), Status> {
        let old = self.request.old;
        if self.has(1 << CODING) {
            // Whoever has read it another way may see another message.
            let unclear = old || self.has(1 << LENGTH);
            return Err(if unclear {
                Status::BadRequest
            } else {
                Status::NotImplemented
            });
        }
        if !old && !self.has(1 << HOST) {
            return Err(Status::BadRequest);
        }
        if !old && self.has(seen::UNMET) {
            return Err(Status::ExpectationFailed);
        }
        if self.request.length > LONGEST_BODY {
            return Err(Status::ContentTooLarge);
        }
        self.request.keep = !self.has(seen::CLOSE) && (!old || self.has(seen::KEEP));
        self.request.expects_continue = !old && self.has(seen::CONTINUE) && self.request.length > 0;
        Ok(())
    }

    fn has(&self, bits: u16) -> bool {
        self.seen & bits != 0
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
    fn take_word(&mut self) -> Option<&[u8]> {
        let length = usize::from(core::mem::take(&mut self.word_length));
        self.gap = false;
        self.word.get(..length)
    }

    /// The word's place in a list.
    #[inline(never)]
    fn take_place(&mut self, list: List) -> usize {
        self.take_word()
            .map_or(usize::MAX, |word| list.place_of(word))
    }
}

impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
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
    /// The status. The body says it, unless it is 200.
    pub status: Status,
    /// What a body is about that does not say the status.
    pub target: Target,
    /// Bytes of the body of [`Target::Status`], which the caller has.
    pub length: u64,
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
            target: Target::Nothing,
            length: 0,
            head_only,
            close: true,
            old: false,
        }
    }

    /// `reply.has_page()` — Whether the caller has the body.
    #[must_use]
    pub fn has_page(&self) -> bool {
        FULL && self.status == Status::Ok && self.target == Target::Status
    }

    /// `reply.render(identity, text)` — Appends all of its bytes, which are the same
    /// each time, except for a body that the caller has.
    #[inline(never)]
    pub fn render(&self, identity: &Identity<'_>, answer: &mut Text) {
        let status = self.status.text();
        answer.push("HTTP/1.1 ").push(status);
        if self.status != Status::Continue {
            let mut body = Text::new();
            let mut kind = "text/plain; charset=utf-8";
            let mut length = self.length;
            if self.has_page() {
                kind = "application/json";
            } else {
                if self.status != Status::Ok {
                    body.push(status);
                } else if self.target == Target::Health {
                    body.push("ok");
                } else {
                    body.push("pid=").number(identity.pid.into());
                    body.push(" generation=").number(identity.generation.into());
                    body.push(" tag=").push(identity.tag);
                }
                length = body.push("\n").len() as u64;
            }
            answer.push("\r\nContent-Type: ").push(kind);
            answer.push("\r\nContent-Length: ").number(length);
            if self.status == Status::MethodNotAllowed {
                answer.push("\r\nAllow: GET, HEAD");
            }
            if self.close {
                answer.push("\r\nConnection: close");
            } else if self.old {
                answer.push("\r\nConnection: keep-alive");
            }
            answer.push(END);
            if !self.head_only {
                answer.push(body.as_bytes());
            }
        } else {
            answer.push(END);
        }
    }
}

/// Ends a head.
const END: &str = "\r\n\r\n";

#[cfg(test)]
mod tests;
