//! What a check has come to, said aloud or to the one who asked.

use core::fmt::{self, Write as _};
use core::mem::MaybeUninit;

use gracenet::Deadline;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::net::{RecvFlags, SendFlags, recv, send};

/// Why a check failed.
pub(crate) type Why = heapless::String<160>;

type Line = heapless::String<320>;

pub(crate) fn because(why: impl fmt::Display) -> Why {
    let mut text = Why::new();
    let _ = write!(text, "{why}");
    text
}

pub(crate) fn ensure(condition: bool, why: &str) -> Result<(), Why> {
    if condition { Ok(()) } else { Err(because(why)) }
}

/// That two are equal; else both are said.
pub(crate) fn equal<T: PartialEq + fmt::Debug>(found: T, wanted: T) -> Result<(), Why> {
    if found == wanted {
        return Ok(());
    }
    let mut text = Why::new();
    let _ = write!(text, "{found:?}, not {wanted:?}");
    Err(text)
}

/// One line on the standard output.
pub(crate) fn say(parts: &[&[u8]]) {
    let mut line = heapless::Vec::<u8, 400>::new();
    for part in [b"selftest: ".as_slice()]
        .iter()
        .chain(parts)
        .chain(&[b"\n".as_slice()])
    {
        let _ = line.extend_from_slice(part);
    }
    // SAFETY: whoever started this has given it one, or the write fails.
    let stdout = unsafe { rustix::stdio::stdout() };
    let mut rest = line.as_slice();
    // A serial line takes what it can.
    while let Ok(written @ 1..) = rustix::io::write(stdout, rest) {
        rest = rest.get(written..).unwrap_or_default();
    }
}

/// Where checks go, and how many there were.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    scene: &'a str,
    /// Else the standard output.
    to: Option<&'a OwnedFd>,
    passed: u32,
    failed: u32,
}

const PASS: &str = "PASS ";
const FAIL: &str = "FAIL ";
const END: &[u8] = b"END";
const SEEN: &[u8] = b"SEEN";

/// Tells a process that reports here that it has been seen to be ready.
pub(crate) fn seen(reports: &OwnedFd) -> Result<(), Why> {
    let sent = send(reports, SEEN, SendFlags::NOSIGNAL).map_err(because)?;
    equal(sent, SEEN.len())
}

impl<'a> Report<'a> {
    pub(crate) fn new(scene: &'a str, to: Option<&'a OwnedFd>) -> Report<'a> {
        Report {
            scene,
            to,
            passed: 0,
            failed: 0,
        }
    }

    /// One that goes on with what was counted before.
    pub(crate) fn resume(scene: &'a str, passed: u32, failed: u32) -> Report<'a> {
        Report {
            passed,
            failed,
            ..Report::new(scene, None)
        }
    }

    pub(crate) fn scene(&mut self, scene: &'a str) {
        self.scene = scene;
    }

    pub(crate) fn counts(&self) -> (u32, u32) {
        (self.passed, self.failed)
    }

    pub(crate) fn check(&mut self, what: &str, outcome: Result<(), Why>) {
        let mut line = Line::new();
        let _ = match outcome {
            Ok(()) => write!(line, "{PASS}{what}"),
            Err(why) => write!(line, "{FAIL}{what}: {why}"),
        };
        self.tell(line.as_bytes());
    }

    fn tell(&mut self, line: &[u8]) {
        match line.starts_with(PASS.as_bytes()) {
            true => self.passed += 1,
            false => self.failed += 1,
        }
        match self.to {
            Some(to) => {
                let _ = send(to, line, SendFlags::NOSIGNAL);
            }
            None => {
                let (verdict, what) = line.split_at(PASS.len().min(line.len()));
                say(&[verdict, self.scene.as_bytes(), b": ", what]);
            }
        }
    }

    /// There is no more, says the other side.
    pub(crate) fn end(&self) {
        if let Some(to) = self.to {
            let _ = send(to, END, SendFlags::NOSIGNAL);
        }
    }

    /// Waits until the one who asked has [seen](seen) that this process is ready, which it must
    /// live for.
    pub(crate) fn wait_until_seen(&self) -> Result<(), Why> {
        let to = self.to.ok_or_else(|| because("nobody asked"))?;
        ensure(readable(to, Deadline::after_ms(30_000))?, "not seen")?;
        let mut buffer = [MaybeUninit::uninit(); 16];
        let received = recv(to, buffer.as_mut_slice(), RecvFlags::DONTWAIT);
        equal(&*received.map_err(because)?.0.0, SEEN)
    }

    /// Takes the lines of another process for our own, up to the last one.
    pub(crate) fn relay(&mut self, from: &OwnedFd, deadline: Deadline) -> Result<(), Why> {
        loop {
            let mut buffer = [MaybeUninit::uninit(); 320];
            ensure(readable(from, deadline)?, "silence")?;
            let received = recv(from, buffer.as_mut_slice(), RecvFlags::DONTWAIT);
            match &*received.map_err(because)?.0.0 {
                b"" => return Err(because("ended too early")),
                END => return Ok(()),
                line => self.tell(line),
            }
        }
    }
}

/// Whether there is something to read before the deadline.
pub(crate) fn readable(fd: &OwnedFd, deadline: Deadline) -> Result<bool, Why> {
    let ms = deadline.remaining_ms().unwrap_or(0);
    let time = Timespec {
        tv_sec: (ms / 1000) as _,
        tv_nsec: ((ms % 1000) * 1_000_000) as _,
    };
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    poll(&mut fds, Some(&time))
        .map(|ready| ready > 0)
        .map_err(because)
}
