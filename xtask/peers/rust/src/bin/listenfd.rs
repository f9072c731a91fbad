//! `listenfd ADDRESS`: a server of std alone that replaces itself on SIGUSR2, by listenfd.

use std::io::{self, BufRead, BufReader, PipeReader, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::time::Duration;
use std::{env, thread};

use listenfd::ListenFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{FdFlags, fcntl_setfd, retry_on_intr};
use signal_hook::consts::SIGUSR2;
use signal_hook::iterator::Signals;

fn main() -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGUSR2])?;
    let listener = match ListenFd::from_env().take_tcp_listener(0)? {
        Some(listener) => listener,
        None => TcpListener::bind(env::args().nth(1).unwrap_or_default())?,
    };
    listener.set_nonblocking(true)?;
    let (stopped, stop) = io::pipe()?;
    let accepting = {
        let listener = listener.try_clone()?;
        thread::spawn(move || accept(&listener, &stopped))
    };
    println!("ready");
    io::stdout().flush()?;
    for _ in signals.forever() {
        match replace(&listener) {
            Ok(()) => break,
            Err(why) => eprintln!("no successor: {why}"),
        }
    }
    drop(stop);
    accepting.join().expect("it does not panic")?;
    Ok(())
}

/// Starts the program anew, and waits until it is ready.
fn replace(listener: &TcpListener) -> io::Result<()> {
    let copy = listener.try_clone()?;
    fcntl_setfd(&copy, FdFlags::empty())?;
    let (answer, child_end) = io::pipe()?;
    Command::new(env::current_exe()?)
        .args(env::args().skip(1))
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDS_FIRST_FD", copy.as_raw_fd().to_string())
        .stdout(child_end)
        .spawn()?;
    let mut line = String::new();
    BufReader::new(answer).read_line(&mut line)?;
    match line.trim_end() {
        "ready" => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn accept(listener: &TcpListener, stopped: &PipeReader) -> io::Result<()> {
    let answer = peers::answer("listenfd");
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stopped.as_fd(), PollFlags::IN),
        ];
        retry_on_intr(|| poll(&mut fds, None))?;
        if !fds[1].revents().is_empty() {
            return Ok(());
        }
        // An error: the other process was quicker, or the client has gone.
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            let _ = peers::serve(&stream, &answer);
        }
    }
}
