//! `ward`: a program in the care of an init. It does one thing, and says on its standard output what
//! comes of it, one line each:
//!
//! - `ward status N`: ends with this status
//! - `ward die N`: ends by this signal
//! - `ward hear N`: `up PID PGID`, then `signal N` for each signal that it gets, and ends with
//!   status 0 after so many
//! - `ward family N`: the same of it and of a child, which says `child N` instead
//! - `ward tty N`: as `hear`, after `foreground`, `background` or `no terminal`, which its standard
//!   input is for it
//! - `ward orphans N`: makes so many, whose parents end before them or after them; `orphans N`, and
//!   waits for a signal
//! - `ward serve MS`: answers those who come to the inherited socket `web` as the daemon does, and is
//!   killed after so long
#![no_std]
#![no_main]
#![allow(unsafe_code)] // What the kernel left on the stack, the inherited fds, and system calls.

use core::fmt::Write as _;
use core::str;

use gracenet::{Deadline, Net, Program};
use linux_raw_sys::general as raw;
use linux_raw_sys::ioctl::TIOCGPGRP;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd as _;
use rustix::process::{Pid, WaitOptions, getpid, waitpid};

gracenet_start::main!(run);

type Line = heapless::String<256>;

fn run(start: gracenet_start::Args) -> i32 {
    // SAFETY: what the kernel left on the stack, which nobody changes.
    let program = unsafe { Program::from_raw(start.argv, start.envp) };
    let mut words = program.args().iter().skip(1);
    let [task, number] = [words.next(), words.next()].map(|word| word.unwrap_or(c"").to_bytes());
    let number = str::from_utf8(number).ok().and_then(|it| it.parse().ok());
    let Some(number) = number else { return 2 };
    match task {
        b"status" => number as i32,
        b"die" => die(number),
        b"hear" => hear("signal", number),
        b"family" => match fork() {
            0 => hear("child", number),
            _ => hear("signal", number),
        },
        b"tty" => {
            say(terminal());
            hear("signal", number)
        }
        b"orphans" => orphans(number),
        b"serve" => serve(&program, number).unwrap_or(1),
        _ => 2,
    }
}

fn hear(what: &str, number: u32) -> i32 {
    let every = [u32::MAX; 2];
    let set = every.as_ptr().expose_provenance();
    let how = raw::SIG_BLOCK as usize;
    // SAFETY: the kernel reads the set, of the size given.
    unsafe { gracenet_start::syscall(raw::__NR_rt_sigprocmask, [how, set, 0, 8]) };
    // Of a group from outside of the pid namespace it is 0.
    tell(format_args!("up {} {}", getpid(), group()));
    for _ in 0..number {
        // SAFETY: the kernel reads the set, of the size given.
        let signal = unsafe { gracenet_start::syscall(raw::__NR_rt_sigtimedwait, [set, 0, 0, 8]) };
        tell(format_args!("{what} {signal}"));
    }
    0
}

/// By the kernel, as long as the signal is neither blocked nor ignored.
fn die(signal: u32) -> i32 {
    let pid = getpid().as_raw_pid() as usize;
    // SAFETY: numbers only.
    unsafe { gracenet_start::syscall(raw::__NR_kill, [pid, signal as usize]) };
    3
}

fn group() -> isize {
    // SAFETY: a number only.
    unsafe { gracenet_start::syscall(raw::__NR_getpgid, [0]) }
}

fn terminal() -> &'static str {
    let mut leader = 0_u32;
    let at = (&raw mut leader).expose_provenance();
    // SAFETY: the kernel writes a number.
    let result = unsafe { gracenet_start::syscall(raw::__NR_ioctl, [0, TIOCGPGRP as usize, at]) };
    match result {
        0 if leader == group() as u32 => "foreground",
        0 => "background",
        _ => "no terminal",
    }
}

fn orphans(number: u32) -> i32 {
    for _ in 0..number {
        match fork() {
            0 => {
                fork();
                return 0;
            }
            child => {
                let child = Pid::from_raw(child as i32);
                while waitpid(child, WaitOptions::empty()).is_err() {}
            }
        }
    }
    tell(format_args!("orphans {number}"));
    hear("signal", 1)
}

/// 0 in the child, which has a copy of everything.
fn fork() -> isize {
    let child = raw::SIGCHLD as usize;
    // SAFETY: no memory is shared, and there is one thread.
    unsafe { gracenet_start::syscall(raw::__NR_clone, [child, 0, 0, 0, 0]) }
}

fn serve(program: &Program<'_>, ms: u32) -> Option<i32> {
    let end = Deadline::after_ms(ms.into());
    // SAFETY: nothing else has been opened.
    let mut net = unsafe { Net::<8>::inherit(program.environ()) }.ok()?;
    let web = net.claim("web")?;
    let listener = net.duplicate(web).ok()?;
    let mut body = Line::new();
    writeln!(body, "pid={} generation=0 tag=ward", getpid()).ok()?;
    let mut answer = Line::new();
    let length = body.len();
    write!(
        answer,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .ok()?;
    while readable(&listener, end) {
        let connection = net.accept(web).ok()?;
        let mut request = [0; 1024];
        if readable(&connection, end) && rustix::io::read(&connection, &mut request).is_ok() {
            let _ = rustix::io::write(&connection, answer.as_bytes());
        }
    }
    Some(die(raw::SIGKILL))
}

/// Whether it is by then.
fn readable(fd: &rustix::fd::OwnedFd, end: Deadline) -> bool {
    let left = end.remaining_ms().unwrap_or(0);
    let time = Timespec {
        tv_sec: (left / 1000) as _,
        tv_nsec: (left % 1000 * 1_000_000) as _,
    };
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
    matches!(poll(&mut fds, Some(&time)), Ok(1..))
}

fn tell(line: core::fmt::Arguments<'_>) {
    let mut text = Line::new();
    let _ = text.write_fmt(line);
    say(&text);
}

/// With one call, so that lines of several stay whole.
fn say(line: &str) {
    let mut text = Line::new();
    let _ = writeln!(text, "{line}");
    // SAFETY: it is open for as long as this runs.
    let output = unsafe { rustix::stdio::stdout() };
    let _ = rustix::io::write(output, text.as_bytes());
}
