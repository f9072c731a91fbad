//! `threads [ADDRESS]`: a TCP server with a thread for each connection, which it answers with
//! `PID GENERATION`, and which replaces itself on SIGUSR2.
//!
//! Put a new build in place of the old one and send the signal: the new one takes over, the old
//! one ends when its last connection has, and clients see no more of it than another pid.
#![allow(unsafe_code)] // Inherited fds.

use std::error::Error;
use std::io::{self, PipeReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::{env, process, thread};

use gracenet::signal::{Signal, Signals};
use gracenet::{Deadline, Drain, ListenOptions, Net, Program};
use rustix::event::{PollFd, PollFlags, poll};

static OPEN: Drain = Drain::new();

fn main() -> Result<(), Box<dyn Error>> {
    let program = Program::from_env();
    let signals = Signals::new(&[Signal::USR2, Signal::TERM])?; // before there are threads
    // SAFETY: nobody owns what a predecessor may have passed, from 3 up.
    let mut net: Net<8> = unsafe { Net::inherit(program.environ()) }?;
    let address = env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    // It has a name, so that port 0 is found again. Two processes accept: none may block in it.
    let options = ListenOptions::new().name("web").nonblocking(true);
    let web = net.listen_with("tcp", address, &options)?;

    let (listener, generation) = (net.tcp_listener(web)?, net.generation());
    println!("{} listens at {}", process::id(), listener.local_addr()?);
    let (stopped, stop) = io::pipe()?;
    let accepting = thread::spawn(move || accept(&listener, &stopped, generation));
    net.ready()?;
    loop {
        readable([signals.as_fd()])?;
        match signals.read()?.map(|received| received.signal) {
            Some(Signal::TERM) => break,
            Some(Signal::USR2) => {}
            _ => continue,
        }
        let started = net.start_process(&program).map_err(io::Error::from);
        // The other thread accepts all the while.
        match started.and_then(|it| Ok(it.wait_ready(Deadline::after_ms(10_000))?)) {
            Ok(()) => break,
            Err(why) => eprintln!("no successor, serving on: {why}"),
        }
    }
    net.retire();
    drop(stop);
    accepting.join().expect("it does not panic")?;
    if !OPEN.wait(Deadline::after_ms(30_000))? {
        eprintln!("{} connections are still open", OPEN.count());
    }
    Ok(())
}

fn accept(listener: &TcpListener, stopped: &PipeReader, generation: u32) -> io::Result<()> {
    while let [_, false] = readable([listener.as_fd(), stopped.as_fd()])? {
        // An error: the other process was quicker, or the client has gone.
        let Ok((connection, _)) = listener.accept() else {
            continue;
        };
        let open = OPEN.enter(); // here: the thread may take a while to begin
        thread::spawn(move || (answer(connection, generation).ok(), drop(open)));
    }
    Ok(())
}

fn answer(mut connection: TcpStream, generation: u32) -> io::Result<()> {
    writeln!(connection, "{} {generation}", process::id())
}

/// Waits until one of them is: which are.
fn readable<const N: usize>(fds: [BorrowedFd<'_>; N]) -> io::Result<[bool; N]> {
    let mut fds = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
    Ok(fds.map(|fd| !fd.revents().is_empty()))
}
