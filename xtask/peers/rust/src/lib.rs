//! What the peers have in common: an answer to whatever is asked.

use std::io;
use std::io::{Read, Write};
use std::process;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// More than any request of the benchmarks has.
const LONGEST: usize = 4096;

/// The whole answer of this process, which ends with the connection.
pub fn answer(tag: &str) -> Vec<u8> {
    let body = format!("pid={} generation=0 tag={tag}\n", process::id());
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
        .into_bytes()
}

fn is_whole(request: &[u8]) -> bool {
    request.ends_with(b"\r\n\r\n")
}

/// Reads a request, and answers it.
pub fn serve(mut stream: impl Read + Write, answer: &[u8]) -> io::Result<()> {
    let mut request = [0; LONGEST];
    let mut length = 0;
    while !is_whole(&request[..length]) && length < LONGEST {
        match stream.read(&mut request[length..])? {
            0 => return Ok(()),
            more => length += more,
        }
    }
    stream.write_all(answer)
}

/// As [`serve`].
pub async fn serve_async(
    mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin,
    answer: &[u8],
) -> io::Result<()> {
    let mut request = [0; LONGEST];
    let mut length = 0;
    while !is_whole(&request[..length]) && length < LONGEST {
        match stream.read(&mut request[length..]).await? {
            0 => return Ok(()),
            more => length += more,
        }
    }
    stream.write_all(answer).await
}
