//! Where the daemon listens, and one plain request to it.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// One of the daemon's listeners.
#[derive(Debug, Clone)]
pub(crate) enum Endpoint {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Endpoint {
    /// As it stands on a command line, behind what [`Display`](fmt::Display) writes.
    pub(crate) fn address(&self) -> String {
        match self {
            Self::Tcp(address) => address.to_string(),
            Self::Unix(path) => path.display().to_string(),
        }
    }

    /// `endpoint.get(path, limit)` — one request on a connection of its own, read
    /// to the end of what the server sends; the body, when the answer is
    /// well-formed.
    ///
    /// # Errors
    ///
    /// - the error of connect, write or read
    /// - `UnexpectedEof` for an end before the first byte of an answer
    /// - `InvalidData` for everything else than one answer with status 200 and
    ///   as many bytes as its Content-Length says
    pub(crate) fn get(&self, path: &str, limit: Duration) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + limit;
        match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, limit)?;
                stream.set_write_timeout(Some(limit))?;
                exchange(&stream, path, deadline, |left| {
                    stream.set_read_timeout(Some(left))
                })
            }
            Self::Unix(socket) => {
                let stream = UnixStream::connect(socket)?;
                stream.set_write_timeout(Some(limit))?;
                exchange(&stream, path, deadline, |left| {
                    stream.set_read_timeout(Some(left))
                })
            }
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(_) => f.write_str("tcp"),
            Self::Unix(_) => f.write_str("unix"),
        }
    }
}

/// More than any answer of the daemon has.
const LONGEST_ANSWER: usize = 4096;

fn exchange<S>(
    stream: &S,
    path: &str,
    deadline: Instant,
    mut set_timeout: impl FnMut(Duration) -> io::Result<()>,
) -> io::Result<Vec<u8>>
where
    for<'a> &'a S: Read + Write,
{
    let mut stream = stream;
    let request = format!("GET {path} HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        set_timeout(left)?;
        match stream.read(&mut buffer) {
            Ok(0) if answer.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(0) => break,
            Ok(length) if answer.len() + length <= LONGEST_ANSWER => {
                answer.extend_from_slice(&buffer[..length]);
            }
            Ok(_) => return Err(invalid("answer too long")),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        }
    }
    body(&answer).map(<[u8]>::to_vec)
}

/// The body of exactly one answer with status 200. Pure.
fn body(answer: &[u8]) -> io::Result<&[u8]> {
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .ok_or_else(|| invalid("no end of the header"))?;
    let head = std::str::from_utf8(&answer[..end]).map_err(|_| invalid("header is no text"))?;
    let body = &answer[end + 4..];
    let mut lines = head.split("\r\n");
    if !lines
        .next()
        .is_some_and(|line| line.starts_with("HTTP/1.1 200 "))
    {
        return Err(invalid("status is not 200"));
    }
    let mut length = None;
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| invalid("bad header"))?;
        if name.eq_ignore_ascii_case("content-length") {
            let value = value.trim().parse::<usize>().ok();
            if length.is_some() || value.is_none() {
                return Err(invalid("bad Content-Length"));
            }
            length = value;
        }
    }
    if length != Some(body.len()) {
        return Err(invalid("Content-Length is not the body's length"));
    }
    Ok(body)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::body;

    #[test]
    fn one_whole_answer_has_a_body() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
        assert_eq!(body(answer).unwrap(), b"abc");
    }

    #[test]
    fn short_long_and_odd_answers_have_none() {
        for answer in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Len",
            b"",
        ] {
            assert!(body(answer).is_err(), "{answer:?}");
        }
    }
}
