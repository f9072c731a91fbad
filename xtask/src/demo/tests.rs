//! The clients against servers with one flaw each: what they cannot see, the demo
//! cannot prove.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::clients::Clients;
use super::roster::Roster;
use super::tally::{Failure, Tally};
use crate::answer::Answer;
use crate::daemon::PATIENCE;
use crate::endpoint::Endpoint;

/// What a server sends in answer to one request; the connection is closed after
/// it when it is the last.
struct Sent {
    bytes: Vec<u8>,
    last: bool,
}

type Behaviour = fn() -> Sent;

const BODY: &str = "pid=7 generation=0 tag=whole\n";

fn answer(header: &str, body: &str, last: bool) -> Sent {
    let bytes = format!("HTTP/1.1 200 OK\r\n{header}\r\n{body}").into_bytes();
    Sent { bytes, last }
}

fn with_length(body: &str, last: bool) -> Sent {
    answer(&format!("Content-Length: {}\r\n", body.len()), body, last)
}

/// Serves every connection in a thread of its own, as long as the test runs.
fn serve<C: Read + Write + Send + 'static>(
    connections: impl Iterator<Item = C> + Send + 'static,
    behaviour: Behaviour,
) {
    thread::spawn(move || {
        for mut connection in connections {
            thread::spawn(move || {
                let mut buffer = [0; 1024];
                // One read is one request: the clients do not pipeline.
                while matches!(connection.read(&mut buffer), Ok(length) if length > 0) {
                    let sent = behaviour();
                    if connection.write_all(&sent.bytes).is_err() || sent.last {
                        break;
                    }
                }
            });
        }
    });
}

/// Lets six clients, one of each kind and endpoint, make their requests.
fn tally_of(endpoints: [Endpoint; 2]) -> Tally {
    let first = Answer::parse(BODY.as_bytes()).unwrap();
    let roster = Arc::new(Roster::new(&first));
    let tally = Arc::new(Tally::default());
    let mut clients = Clients::start(6, endpoints, &roster, &tally).unwrap();
    tally.wait_for_each(6, Instant::now() + PATIENCE).unwrap();
    clients.stop().unwrap();
    drop(clients);
    Arc::into_inner(tally).unwrap()
}

fn tally_with(behaviour: Behaviour) -> Tally {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let unix = UnixListener::bind(&path).unwrap();
    let address = tcp.local_addr().unwrap();
    let accept = move || tcp.accept().ok().map(|(connection, _)| connection);
    serve(std::iter::from_fn(accept), behaviour);
    let accept = move || unix.accept().ok().map(|(connection, _)| connection);
    serve(std::iter::from_fn(accept), behaviour);
    tally_of([Endpoint::Tcp(address), Endpoint::Unix(path)])
}

/// All requests failed, and all in this way.
fn assert_all(failure: Failure, tally: &Tally) {
    assert!(tally.requests() >= 12);
    assert_eq!(
        tally.count(failure),
        tally.requests(),
        "{:?}",
        tally.examples()
    );
}

#[test]
fn a_server_that_answers_as_it_should_has_no_failures() {
    for behaviour in [(|| with_length(BODY, false)) as Behaviour, || {
        let header = format!("Content-Length: {}\r\nConnection: close\r\n", BODY.len());
        answer(&header, BODY, true)
    }] {
        let tally = tally_with(behaviour);
        assert!(tally.requests() >= 12);
        assert_eq!(tally.examples(), Vec::<String>::new());
    }
}

#[test]
fn nobody_listening_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let gone = folder.path().join("gone");
    assert_all(
        Failure::Refused,
        &tally_of([Endpoint::Tcp(address), Endpoint::Unix(gone)]),
    );
    let stale = folder.path().join("stale");
    drop(UnixListener::bind(&stale).unwrap());
    assert_all(
        Failure::Refused,
        &tally_of([Endpoint::Tcp(address), Endpoint::Unix(stale)]),
    );
}

#[test]
fn an_end_before_an_answer_is_a_reset() {
    let nothing: Behaviour = || Sent {
        bytes: Vec::new(),
        last: true,
    };
    assert_all(Failure::Reset, &tally_with(nothing));
}

#[test]
fn an_end_that_was_not_announced_is_a_reset_for_those_who_keep_the_connection() {
    let tally = tally_with(|| with_length(BODY, true));
    assert!(tally.count(Failure::Reset) > 0);
}

#[test]
fn an_answer_that_is_cut_short_is_wrong() {
    assert_all(
        Failure::Wrong,
        &tally_with(|| answer("Content-Length: 40\r\n", BODY, true)),
    );
}

#[test]
fn an_answer_that_is_not_the_promised_one_is_wrong() {
    for behaviour in [
        (|| with_length("pid=7 generation=0 tag=whole", false)) as Behaviour,
        || with_length("pid=8 generation=0 tag=whole\n", false),
        || with_length("pid=7 generation=1 tag=whole\n", false),
        || with_length("pid=7 generation=0 tag=other\n", false),
        || with_length("", false),
        || answer("Transfer-Encoding: chunked\r\n", "0\r\n\r\n", false),
        || Sent {
            bytes: b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".to_vec(),
            last: false,
        },
        || Sent {
            bytes: b"hello, this is no HTTP at all\r\n\r\n".to_vec(),
            last: true,
        },
    ] {
        assert_all(Failure::Wrong, &tally_with(behaviour));
    }
}
