//! What clients send, whole and in pieces.

use super::*;
use std::{format, string::String, vec, vec::Vec};

/// Feeds pieces; says how many bytes the head had, what it was, and what it
/// said if it was a request.
fn feed(pieces: &[&[u8]]) -> (usize, Progress, Option<Request>) {
    let mut parser = Parser::new();
    let mut total = 0;
    for piece in pieces {
        let (used, progress) = parser.feed(piece);
        total += used;
        if progress != Progress::More {
            let whole = progress == Progress::Request;
            return (total, progress, whole.then(|| *parser.request()));
        }
        assert_eq!(used, piece.len());
    }
    (total, Progress::More, None)
}

fn request(head: &str) -> Request {
    match feed(&[head.as_bytes()]) {
        (_, Progress::Request, Some(request)) => request,
        (_, other, _) => panic!("{other:?}: {head:?}"),
    }
}

fn refused(head: &str) -> Status {
    match feed(&[head.as_bytes()]).1 {
        Progress::Refused(status) => status,
        other => panic!("{other:?}: {head:?}"),
    }
}

fn status(head: &str) -> Status {
    request(head).reply().status
}

/// A request with some fields.
fn with(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

#[test]
fn plain_request_is_understood() {
    let asked = request("GET / HTTP/1.1\r\nHost: example\r\nUser-Agent: x (y; z)\r\n\r\n");
    assert_eq!(
        asked,
        Request {
            method: Method::Get,
            target: Target::Info,
            delay: 0,
            keep: true,
            old: false,
            expects_continue: false,
            length: 0,
        }
    );
    assert_eq!(
        status("HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n"),
        Status::Ok
    );
}

#[test]
fn targets_are_told_apart() {
    let status = if crate::FULL {
        Target::Status
    } else {
        Target::Nothing
    };
    for (target, meant, delay) in [
        ("/", Target::Info, 0),
        ("/?x=/sleep/5", Target::Info, 0),
        ("/healthz", Target::Health, 0),
        ("/healthz?", Target::Health, 0),
        ("/healthz/", Target::Nothing, 0),
        ("/status", status, 0),
        ("/status?x", status, 0),
        ("/Status", Target::Nothing, 0),
        ("http://a/status", status, 0),
        ("/sleep/0", Target::Info, 0),
        ("/sleep/007", Target::Info, 7),
        ("/sleep/60000", Target::Info, 60_000),
        ("/sleep/60001", Target::Impossible, 0),
        ("/sleep/4294967296", Target::Impossible, 0),
        ("/sleep/18446744073709551", Target::Impossible, 0),
        ("/sleep/184467440737095516", Target::Impossible, 0),
        ("/sleep/1844674407370955161", Target::Nothing, 0),
        ("/sleep/", Target::Nothing, 0),
        ("/sleep", Target::Nothing, 0),
        ("/sleep/-1", Target::Nothing, 0),
        ("/sleep/1x", Target::Nothing, 0),
        ("/favicon.ico", Target::Nothing, 0),
        ("//", Target::Nothing, 0),
        ("/%2e%2e/etc/passwd", Target::Nothing, 0),
        ("http://a", Target::Info, 0),
        ("http://a/", Target::Info, 0),
        ("HTTP://a:80/healthz", Target::Health, 0),
        ("https://[::1]:80/sleep/3?x", Target::Info, 3),
        ("http://a?x", Target::Info, 0),
        ("*", Target::Impossible, 0),
    ] {
        let asked = request(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!((asked.target, asked.delay), (meant, delay), "{target}");
    }
    for target in [
        "", "x", "ftp://a/", "http:/a", "http:a", "**", "/a#b", "/\x7f", "/ö", "a:80",
    ] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(refused(&head), Status::BadRequest, "{target}");
    }
}

#[test]
fn answers_have_the_status_that_belongs_there() {
    for (line, answer) in [
        ("GET / HTTP/1.1", Status::Ok),
        ("GET /x HTTP/1.1", Status::NotFound),
        ("POST /x HTTP/1.1", Status::NotFound),
        ("POST / HTTP/1.1", Status::MethodNotAllowed),
        ("DELETE /healthz HTTP/1.1", Status::MethodNotAllowed),
        ("OPTIONS * HTTP/1.1", Status::MethodNotAllowed),
        ("CONNECT a:80 HTTP/1.1", Status::MethodNotAllowed),
        ("TRACE / HTTP/1.1", Status::MethodNotAllowed),
        ("BREW / HTTP/1.1", Status::NotImplemented),
        ("get / HTTP/1.1", Status::NotImplemented),
        (
            "AVERYLONGMETHODTHATNOBODYHASEVERSEEN / HTTP/1.1",
            Status::NotImplemented,
        ),
        ("GET * HTTP/1.1", Status::BadRequest),
        ("GET /sleep/60001 HTTP/1.1", Status::BadRequest),
    ] {
        assert_eq!(
            status(&format!("{line}\r\nHost: a\r\n\r\n")),
            answer,
            "{line}"
        );
    }
}

#[test]
fn versions_are_told_apart() {
    assert!(request("GET / HTTP/1.0\r\n\r\n").old);
    assert!(!request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").old);
    assert!(!request("GET / HTTP/1.9\r\nHost: a\r\n\r\n").old);
    assert_eq!(refused("PRI * HTTP/2.0\r\n"), Status::VersionNotSupported);
    assert_eq!(refused("GET / HTTP/0.9\r\n"), Status::VersionNotSupported);
    for version in [
        "",
        "HTTP/1",
        "HTTP/1.",
        "HTTP/1.10",
        "HTTP/11",
        "http/1.1",
        "HTTP/x.1",
        "HTTP/1.1 ",
    ] {
        assert_eq!(
            refused(&format!("GET / {version}\r\n")),
            Status::BadRequest,
            "{version}"
        );
    }
    assert_eq!(refused("GET /\r\n"), Status::BadRequest);
    assert_eq!(refused("GET  / HTTP/1.1\r\n"), Status::BadRequest);
    assert_eq!(refused(" GET / HTTP/1.1\r\n"), Status::BadRequest);
}

#[test]
fn connection_options_have_no_case_and_may_be_in_a_list() {
    for (fields, keep) in [
        ("", true),
        ("Connection: close\r\n", false),
        ("connection:CLOSE\r\n", false),
        ("CONNECTION: \t Close \t \r\n", false),
        ("Connection: TE, close\r\n", false),
        ("Connection: ,close,,TE\r\n", false),
        ("Connection: keep-alive, close\r\n", false),
        ("Connection: keep-alive\r\nConnection: close\r\n", false),
        ("Connection: closed\r\n", true),
        ("Connection: clo se\r\n", true),
        ("Connection: not-close\r\n", true),
        ("Connection:\r\n", true),
        ("Connexion: close\r\n", true),
        ("X-Connection-That-Is-Rather-Long: close\r\n", true),
    ] {
        assert_eq!(request(&with(fields)).keep, keep, "{fields:?}");
    }
    let old = |fields| request(&format!("GET / HTTP/1.0\r\n{fields}\r\n")).keep;
    assert!(!old(""));
    assert!(!old("Connection: close\r\n"));
    assert!(old("Connection: Keep-Alive\r\n"));
    assert!(!old("Connection: Keep-Alive, close\r\n"));
}

#[test]
fn body_lengths_are_numbers_and_come_once() {
    assert_eq!(request(&with("Content-Length: 5\r\n")).length, 5);
    assert_eq!(
        request(&with("content-length:\t00065536 \r\n")).length,
        65_536
    );
    assert_eq!(
        refused(&with("Content-Length: 65537\r\n")),
        Status::ContentTooLarge
    );
    for value in [
        "",
        " ",
        "-1",
        "+1",
        "0x1",
        "1 2",
        "1,1",
        "18446744073709551616",
        "1e3",
        "five",
        "0000000000000000000000001",
    ] {
        let head = with(&format!("Content-Length: {value}\r\n"));
        assert_eq!(refused(&head), Status::BadRequest, "{value:?}");
    }
    let twice = with("Content-Length: 1\r\nContent-Length: 1\r\n");
    assert_eq!(refused(&twice), Status::BadRequest);
}

#[test]
fn transfer_codings_are_refused_and_never_mixed_with_a_length() {
    assert_eq!(
        refused(&with("Transfer-Encoding: chunked\r\n")),
        Status::NotImplemented
    );
    for fields in [
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\ntransfer-encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Content-Length : 3\r\n",
    ] {
        assert_eq!(refused(&with(fields)), Status::BadRequest, "{fields:?}");
    }
    let old = "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(refused(old), Status::BadRequest);
}

#[test]
fn host_is_wanted_once() {
    assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), Status::BadRequest);
    assert_eq!(refused(&with("Host: b\r\n")), Status::BadRequest);
    assert_eq!(
        refused("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        Status::BadRequest
    );
    assert_eq!(status("GET / HTTP/1.1\r\nHost:\r\n\r\n"), Status::Ok);
    assert_eq!(status("GET / HTTP/1.0\r\n\r\n"), Status::Ok);
}

#[test]
fn only_a_body_is_waited_for() {
    let asked = request(&with("Expect: 100-Continue\r\nContent-Length: 3\r\n"));
    assert!(asked.expects_continue);
    assert!(!asked.reply().close);
    assert!(!request(&with("Expect: 100-continue\r\n")).expects_continue);
    assert_eq!(
        refused(&with("Expect: the-unexpected\r\n")),
        Status::ExpectationFailed
    );
    assert_eq!(refused(&with("Expect:\r\n")), Status::ExpectationFailed);
    let old = "GET / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    assert!(!request(old).expects_continue);
    let post = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    let reply = request(post).reply();
    assert_eq!(
        (reply.status, reply.close),
        (Status::MethodNotAllowed, true)
    );
}

#[test]
fn lines_may_end_without_a_carriage_return() {
    assert_eq!(
        status("GET / HTTP/1.1\nHost: a\nConnection: close\n\n"),
        Status::Ok
    );
    assert_eq!(status("GET / HTTP/1.1\r\nHost: a\n\r\n"), Status::Ok);
    assert_eq!(
        refused("GET / HTTP/1.1\rHost: a\r\n\r\n"),
        Status::BadRequest
    );
    assert_eq!(
        refused("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"),
        Status::BadRequest
    );
    assert_eq!(
        refused("GET / HTTP/1.1\r\nHost: a\r\n\rX"),
        Status::BadRequest
    );
}

#[test]
fn empty_lines_before_a_request_are_skipped() {
    assert_eq!(
        status("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        Status::Ok
    );
    assert_eq!(status("\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), Status::Ok);
    let mut parser = Parser::new();
    assert_eq!(parser.feed(b"\r\n\r"), (3, Progress::More));
    assert!(parser.is_idle());
    assert_eq!(parser.feed(b"\nG"), (2, Progress::More));
    assert!(!parser.is_idle());
}

#[test]
fn lines_that_go_on_and_bytes_that_have_no_place_are_refused() {
    for fields in [
        "A: b\r\n c\r\n",
        "A: b\r\n\tc\r\n",
        "A: b\0c\r\n",
        "A: b\x08\r\n",
        "A: b\x7f\r\n",
        "A\r\n",
        ": b\r\n",
        "A b: c\r\n",
        "A(: c\r\n",
        "Ä: c\r\n",
    ] {
        assert_eq!(refused(&with(fields)), Status::BadRequest, "{fields:?}");
    }
    assert_eq!(
        refused("GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
        Status::BadRequest
    );
    assert_eq!(status(&with("A: ä\tö\r\n")), Status::Ok);
    assert_eq!(
        feed(&[b"\x16\x03\x01\x02\x00"]),
        (1, Progress::Refused(Status::BadRequest), None)
    );
}

#[test]
fn heads_have_a_longest_length() {
    let longest = usize::from(LONGEST_HEAD);
    let fixed = with("A: \r\n").len();
    let head = with(&format!("A: {}\r\n", "x".repeat(longest - fixed)));
    assert_eq!(head.len(), longest);
    assert_eq!(status(&head), Status::Ok);
    let head = with(&format!("A: {}\r\n", "x".repeat(longest - fixed + 1)));
    assert_eq!(refused(&head), Status::HeaderFieldsTooLarge);
    assert_eq!(
        refused(&with(&"A: b\r\n".repeat(2000))),
        Status::HeaderFieldsTooLarge
    );
    assert_eq!(
        refused(&with(&"A".repeat(9000))),
        Status::HeaderFieldsTooLarge
    );
    assert_eq!(
        refused(&format!("GET /{}", "x".repeat(9000))),
        Status::UriTooLong
    );
    assert_eq!(
        refused(&format!("GET /?{}", "x".repeat(9000))),
        Status::UriTooLong
    );
    assert_eq!(refused(&"G".repeat(9000)), Status::BadRequest);
    assert_eq!(refused(&"\r\n".repeat(9000)), Status::BadRequest);
}

/// Heads of every kind, with what follows them.
const HEADS: [&str; 12] = [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "\r\nHEAD /sleep/12?x HTTP/1.1\r\nhost:a\r\nConnection: TE , Close\r\n\r\nGET",
    "GET http://a/healthz HTTP/1.0\nConnection:keep-alive\n\n\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
    "GET / HTTP/3.0\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "GET /\0 HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
];

#[test]
fn pieces_make_no_difference() {
    for head in HEADS {
        let bytes = head.as_bytes();
        let whole = feed(&[bytes]);
        assert_ne!(whole.1, Progress::More, "{head:?}");
        for at in 0..=bytes.len() {
            assert_eq!(
                feed(&[&bytes[..at], &bytes[at..]]),
                whole,
                "{head:?} split at {at}"
            );
        }
        let single: Vec<_> = bytes.chunks(1).collect();
        assert_eq!(feed(&single), whole, "{head:?} byte by byte");
    }
}

#[test]
fn what_follows_a_head_is_left_alone() {
    let two = "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let (first, _, asked) = feed(&[two.as_bytes()]);
    assert_eq!(asked.unwrap().target, Target::Info);
    assert_eq!(request(&two[first..]).target, Target::Health);
}

/// Changed and made-up heads: whatever comes, the parser takes what it says it
/// takes, and in pieces the same as in one.
#[test]
fn garbage_leads_to_an_answer_or_to_more() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for round in 0..50_000 {
        let mut bytes = if round % 8 == 0 {
            vec![b' '; random(64) + 1]
        } else {
            HEADS[random(HEADS.len())].as_bytes().to_vec()
        };
        for _ in 0..=random(4) {
            let at = random(bytes.len());
            match random(4) {
                0 => bytes[at] = random(256) as u8,
                1 => bytes.insert(at, b" \r\n\t:,/\0"[random(8)]),
                2 if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => bytes.truncate(at + 1),
            }
        }
        let whole = feed(&[&bytes]);
        let at = random(bytes.len() + 1);
        assert_eq!(feed(&[&bytes[..at], &bytes[at..]]), whole);
        if let Some(request) = whole.2 {
            assert!(request.length <= LONGEST_BODY);
            let _ = request.reply();
        }
    }
}

const IDENTITY: Identity<'static> = Identity {
    pid: u32::MAX,
    generation: u32::MAX,
    tag: &[b't'; crate::args::TAG],
};

fn render(reply: Reply, identity: &Identity<'_>) -> String {
    let mut text = Text::new();
    reply.render(identity, &mut text);
    String::from_utf8(text.as_bytes().to_vec()).unwrap()
}

#[test]
fn answers_are_exactly_as_promised() {
    let identity = Identity {
        pid: 12,
        generation: 3,
        tag: b"two words",
    };
    let reply = request("GET /sleep/5 HTTP/1.1\r\nHost: a\r\n\r\n").reply();
    assert_eq!(
        render(reply, &identity),
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 34\r\n\r\n\
         pid=12 generation=3 tag=two words\n"
    );
    let reply = request("HEAD /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").reply();
    assert_eq!(
        render(reply, &identity),
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n\
         Connection: keep-alive\r\n\r\n"
    );
    let reply = request("PUT / HTTP/1.0\r\n\r\n").reply();
    let text = render(reply, &identity);
    assert!(text.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"));
    assert!(text.contains("\r\nAllow: GET, HEAD\r\n"));
    assert!(text.contains("\r\nConnection: close\r\n"));
    assert!(text.ends_with("\r\n\r\n405 Method Not Allowed\n"));
    assert_eq!(
        render(Reply::last(Status::Continue, false), &identity),
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
}

/// Its body is the caller's.
#[cfg(feature = "full")]
#[test]
fn answer_with_a_page_is_a_head_with_its_length() {
    let identity = IDENTITY;
    for method in ["GET", "HEAD"] {
        let mut reply = request(&format!("{method} /status HTTP/1.1\r\nHost: a\r\n\r\n")).reply();
        assert!(reply.has_page());
        reply.length = 12_345;
        assert_eq!(
            render(reply, &identity),
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12345\r\n\r\n"
        );
    }
    let mut reply = request("GET /status HTTP/1.1\r\nHost: a\r\n\r\n").reply();
    reply.status = Status::ServiceUnavailable;
    assert!(!reply.has_page());
    assert!(render(reply, &identity).ends_with("\r\n\r\n503 Service Unavailable\n"));
    assert!(
        !request("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .reply()
            .has_page()
    );
}

/// A body that is cut off would not have the length that its head says.
#[test]
fn longest_answers_fit() {
    for status in [
        Status::Ok,
        Status::MethodNotAllowed,
        Status::HeaderFieldsTooLarge,
    ] {
        for target in [Target::Health, Target::Info] {
            for close in [true, false] {
                let reply = Reply {
                    status,
                    target,
                    length: 0,
                    head_only: false,
                    close,
                    old: true,
                };
                let text = render(reply, &IDENTITY);
                let (head, body) = text.split_once("\r\n\r\n").unwrap();
                assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
                assert!(body.ends_with('\n'));
            }
        }
    }
}
