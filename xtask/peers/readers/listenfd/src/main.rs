//! An HTTP server on the sockets that listenfd finds, which has no names for them. It says READY=1
//! when it has them, and tells at /status what they are.

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::time::Duration;
use std::{env, process};

use listenfd::ListenFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

fn main() -> io::Result<()> {
    let line = format!("pid={} generation=0 tag=listenfd\n", process::id());
    let mut status = line.clone();
    let mut fds = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..fds.len() {
        // What is another kind is there again for the next question.
        if let Ok(Some(listener)) = fds.take_tcp_listener(index) {
            status += &format!("- tcp {}\n", listener.local_addr()?);
            listeners.push(Listener::Tcp(listener));
        } else if let Some(listener) = fds.take_unix_listener(index)? {
            let address = listener.local_addr()?;
            let path = address.as_pathname().unwrap_or("".as_ref());
            status += &format!("- unix {}\n", path.display());
            listeners.push(Listener::Unix(listener));
        }
    }
    say_ready()?;
    loop {
        let mut fds: Vec<PollFd<'_>> = listeners
            .iter()
            .map(|listener| PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN))
            .collect();
        retry_on_intr(|| poll(&mut fds, None))?;
        for (listener, fd) in listeners.iter().zip(&fds) {
            if !fd.revents().is_empty() {
                // Of a client that goes away, or that the predecessor has.
                let _ = listener.serve(&line, &status);
            }
        }
    }
}

/// listenfd has no word for it.
fn say_ready() -> io::Result<()> {
    let name = env::var("NOTIFY_SOCKET").map_err(io::Error::other)?;
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.send(b"READY=1").map(drop)
}

impl Listener {
    /// Accepts somebody, and serves them alone. The listener does not wait, as the predecessor has
    /// set it so.
    fn serve(&self, line: &str, status: &str) -> io::Result<()> {
        const LIMIT: Option<Duration> = Some(Duration::from_secs(1));
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_read_timeout(LIMIT)?;
                answer(stream, line, status)
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_read_timeout(LIMIT)?;
                answer(stream, line, status)
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

fn answer(mut stream: impl Read + Write, line: &str, status: &str) -> io::Result<()> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => request.extend_from_slice(&buffer[..length]),
        }
    }
    let body = match request.starts_with(b"GET /status ") {
        true => status,
        false => line,
    };
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all((head + body).as_bytes())
}
