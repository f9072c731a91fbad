//! `puppet [SOCKET]`: a program that does with its `Net` what it is told, a line at a time, and
//! answers each with one line, `ok …` or `error …`.
//!
//! Lines come from stdin and answers go to stdout, unless it is given the path of a seqpacket
//! socket: then it connects there, and so does every successor of it, each for itself.
//!
//! A word is bytes, of which `\xNN` is one in hexadecimal; `''` is the empty word. `H` is the
//! number of a handle, counted from 0 in the order in which this process got them.
//!
//! ```text
//! inherit [missing-pid]                   adopt
//! listen NETWORK ADDRESS [OPTION]...      backlog=N mode=OCTAL name=WORD nonblocking[=no]
//! listen-tcp NETWORK ADDRESS [OPTION]...  replace-stale reuse-port
//! listen-unix NETWORK PATH [OPTION]...
//! insert NAME FD      claim NAME          iter
//! accept H            write FD WORD       close-fd FD
//! receive FD
//! close H             close-and-unlink H  retire
//! ready [keep]        start               wait MILLISECONDS
//! origin              canary [path=WORD]  replace [path=WORD] [rollback=MILLISECONDS]
//! guard               keep                roll-back
//! drop-guard          crash HOW           notify
//! signals             block SIGNAL        read-signal
//! exit STATUS
//! ```
//!
//! HOW is `segv`, `bus`, `ill`, `fpe`, `trap` or `stack`, which are done, or `abrt` or `sys`, which
//! it sends itself.
//!
//! A socket is described as `H fd=N name=WORD KIND ADDRESS inherited|fresh claimed|unclaimed`,
//! with `-` for a handle that this process never got, and for an address where there is none. A
//! space within a word is `\x20`.
#![no_std]
#![no_main]
#![allow(unsafe_code)] // What the kernel left on the stack; fds that are named by their numbers; crashes.

use core::ffi::CStr;
use core::fmt::{self, Write as _};
use core::hint::black_box;
use core::mem::MaybeUninit;
use core::net::SocketAddr;
use core::{mem, ptr, str};

use gracenet::notify::{Notify, State};
use gracenet::signal::{Signal, Signals};
use gracenet::{
    Changes, Deadline, Entry, Errno, Guard, Handle, InheritOptions, Kind, ListenOptions, Net,
    Program, Unclaimed,
};
use heapless::{String, Vec};
use rustix::fd::{
    AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd, RawFd,
};
use rustix::{fs, io, mm, net, process};

gracenet_start::main!(run);

/// What a table has room for here.
const CAPACITY: usize = 8;

type Line = Vec<u8, 1024>;
type Answer = String<8192>;
type Word = Vec<u8, 512>;

/// What is answered when something is wrong.
enum Wrong {
    /// The command: this is no word of the language, or one too few.
    Command,
    /// What was commanded: the answer says why.
    Failed,
}

impl From<fmt::Error> for Wrong {
    fn from(_: fmt::Error) -> Wrong {
        Wrong::Command
    }
}

fn run(start: gracenet_start::Args) -> i32 {
    // SAFETY: what the kernel left on the stack, which nobody changes.
    let program = unsafe { Program::from_raw(start.argv, start.envp) };
    let orders = match program.args().iter().nth(1) {
        None => Orders::Stdio,
        Some(path) => match connect(path.to_bytes()) {
            Ok(socket) => Orders::Socket(socket),
            Err(_) => return 120,
        },
    };
    let mut puppet = Puppet {
        program,
        net: Net::new(),
        handles: Vec::new(),
        signals: None,
        guard: None,
    };
    let mut line = Line::new();
    while orders.read(&mut line) {
        let mut answer = Answer::new();
        let _ = answer.push_str("ok");
        match puppet.obey(&line, &mut answer) {
            Ok(None) | Err(Wrong::Failed) => {}
            Ok(Some(status)) => return status,
            Err(Wrong::Command) => {
                answer.clear();
                let _ = answer.push_str("error no such command");
            }
        }
        orders.answer(answer);
    }
    0
}

/// Above all numbers that a test gives sockets.
const OUT_OF_THE_WAY: RawFd = 100;

fn connect(path: &[u8]) -> Result<OwnedFd, Errno> {
    let socket = {
        let low = net::socket_with(
            net::AddressFamily::UNIX,
            net::SocketType::SEQPACKET,
            net::SocketFlags::CLOEXEC,
            None,
        )?;
        io::fcntl_dupfd_cloexec(&low, OUT_OF_THE_WAY)?
    };
    // Last: from here on the test looks at what this process has open.
    net::connect(&socket, &net::SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Where orders come from.
enum Orders {
    Stdio,
    Socket(OwnedFd),
}

impl Orders {
    /// Reads a line; whether there is one.
    fn read(&self, line: &mut Line) -> bool {
        line.clear();
        match self {
            Orders::Socket(socket) => {
                let mut buffer = [MaybeUninit::uninit(); 1024];
                match net::recv(socket, buffer.as_mut_slice(), net::RecvFlags::empty()) {
                    Ok(((bytes, _), _)) => {
                        !bytes.is_empty() && line.extend_from_slice(bytes).is_ok()
                    }
                    Err(_) => false,
                }
            }
            Orders::Stdio => loop {
                let mut byte = [0];
                match io::read(standard(0), &mut byte) {
                    Ok(1) if byte == *b"\n" => return true,
                    Ok(1) if line.extend_from_slice(&byte).is_ok() => {}
                    Err(Errno::INTR) => {}
                    _ => return false,
                }
            },
        }
    }

    fn answer(&self, mut answer: Answer) {
        let _ = match self {
            Orders::Socket(socket) => {
                net::send(socket, answer.as_bytes(), net::SendFlags::NOSIGNAL)
            }
            Orders::Stdio => {
                if answer.push('\n').is_err() {
                    answer.clear();
                    let _ = answer.push_str("error the answer is too long\n");
                }
                io::write(standard(1), answer.as_bytes())
            }
        };
    }
}

fn standard(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: whoever starts a puppet gives it a stdin and a stdout, and nothing here closes them.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

struct Puppet {
    program: Program<'static>,
    net: Net<CAPACITY>,
    handles: Vec<Handle, 64>,
    signals: Option<Signals>,
    guard: Option<Guard>,
}

impl Puppet {
    /// Does what `line` says and answers; the exit status, if it was `exit`.
    fn obey(&mut self, line: &[u8], answer: &mut Answer) -> Result<Option<i32>, Wrong> {
        let mut words = line
            .split(|byte| *byte == b' ')
            .filter(|word| !word.is_empty());
        let command = words.next().ok_or(Wrong::Command)?;
        let mut next = || unescape(words.next().ok_or(Wrong::Command)?);
        match command {
            b"inherit" => {
                let accept_missing_pid = next().is_ok_and(|word| word == b"missing-pid");
                let options = InheritOptions { accept_missing_pid };
                // SAFETY: nobody here owns the fds from 3 up before this.
                match unsafe { Net::inherit_with(self.program.environ(), options) } {
                    Ok(net) => {
                        self.net = net;
                        let (count, generation) = (self.net.len(), self.net.generation());
                        write!(answer, " {count} generation={generation}")?;
                    }
                    Err(error) => return failed(answer, &error),
                }
            }
            b"adopt" => {
                // SAFETY: nobody here owns what was passed, though there may be other fds by now.
                let adopted = unsafe { self.net.adopt(self.program.environ(), Default::default()) };
                match adopted {
                    Ok(()) => write!(answer, " {}", self.net.len())?,
                    Err(error) => return failed(answer, &error),
                }
            }
            b"listen" | b"listen-tcp" | b"listen-unix" => {
                let (network, address) = (next()?, next()?);
                let mut name = Word::new();
                let mut options = ListenOptions::new();
                while let Ok(word) = next() {
                    if let Some(word) = word.strip_prefix(b"name=") {
                        name = Word::from_slice(word).map_err(|_| Wrong::Command)?;
                        continue;
                    }
                    options = match option(&word)? {
                        Choice::Backlog(backlog) => options.backlog(backlog),
                        Choice::Mode(mode) => options.mode(mode),
                        Choice::Nonblocking(nonblocking) => options.nonblocking(nonblocking),
                        Choice::ReplaceStale => options.replace_stale(true),
                        Choice::ReusePort => options.reuse_port(true),
                    }
                }
                if !name.is_empty() {
                    options = options.name(&name);
                }
                let listening = match command {
                    b"listen" => self.net.listen_with(&network, &address, &options),
                    b"listen-tcp" => {
                        let address: SocketAddr = parse(&address)?;
                        self.net.listen_tcp_with(&network, address, &options)
                    }
                    _ => self.net.listen_unix_with(&network, &address, &options),
                };
                match listening {
                    Ok(handle) => self.got(handle, answer)?,
                    Err(error) => return failed(answer, &error),
                }
            }
            b"insert" => {
                let (name, fd) = (next()?, parse(&next()?)?);
                // SAFETY: the test says that it is there, and for the table to own.
                let fd = unsafe { OwnedFd::from_raw_fd(fd) };
                match self.net.insert(&name, fd) {
                    Ok(handle) => self.got(handle, answer)?,
                    Err(refused) => {
                        let _ = failed::<()>(answer, &refused);
                        write!(answer, " fd={}", refused.fd.into_raw_fd())?;
                        return Err(Wrong::Failed);
                    }
                }
            }
            b"claim" => match self.net.claim(next()?) {
                Some(handle) => self.got(handle, answer)?,
                None => return failed(answer, &"nobody has that name"),
            },
            b"iter" => {
                for (index, entry) in self.net.iter().enumerate() {
                    answer.write_str(if index == 0 { " " } else { " | " })?;
                    describe(&entry, &self.handles, answer)?;
                }
            }
            b"accept" => match self.net.accept(self.handle(&next()?)?) {
                Ok(connection) => write!(answer, " fd={}", connection.into_raw_fd())?,
                Err(error) => return failed(answer, &error),
            },
            b"write" => {
                let (fd, text) = (parse(&next()?)?, next()?);
                // SAFETY: open, as `accept` has said.
                let fd = unsafe { BorrowedFd::borrow_raw(fd) };
                if let Err(errno) = net::send(fd, &text, net::SendFlags::NOSIGNAL) {
                    return failed(answer, &errno);
                }
            }
            b"receive" => {
                // SAFETY: one of the table's, says the test.
                let fd = unsafe { BorrowedFd::borrow_raw(parse(&next()?)?) };
                let mut buffer = [MaybeUninit::uninit(); 512];
                match net::recv(fd, buffer.as_mut_slice(), net::RecvFlags::DONTWAIT) {
                    Ok(((bytes, _), _)) => match str::from_utf8(bytes) {
                        Ok(text) => write!(answer, " {text}")?,
                        Err(error) => return failed(answer, &error),
                    },
                    Err(errno) => return failed(answer, &errno),
                }
            }
            // SAFETY: this is what the tests do behind the table's back.
            b"close-fd" => unsafe { io::close(parse(&next()?)?) },
            b"close" => {
                let handle = self.handle(&next()?)?;
                if let Err(error) = self.net.close(handle) {
                    return failed(answer, &error);
                }
            }
            b"close-and-unlink" => {
                let handle = self.handle(&next()?)?;
                if let Err(error) = self.net.close_and_unlink(handle) {
                    return failed(answer, &error);
                }
            }
            b"retire" => self.net.retire(),
            b"ready" => {
                let keep = next().is_ok_and(|word| word == b"keep");
                let unclaimed = if keep {
                    Unclaimed::Keep
                } else {
                    Unclaimed::Close
                };
                if let Err(error) = self.net.ready_with(unclaimed) {
                    return failed(answer, &error);
                }
            }
            b"start" => match self.net.start_process(&self.program) {
                Ok(successor) => write!(answer, " pid={}", successor.pid())?,
                Err(error) => return failed(answer, &error),
            },
            b"canary" => {
                let mut path = Word::new();
                let mut changes = Changes::new();
                if let Ok(word) = next() {
                    changes = changes.path(path_of(&word, &mut path)?);
                }
                match self.net.start_canary(&self.program, &changes) {
                    Ok(successor) => write!(answer, " pid={}", successor.pid())?,
                    Err(error) => return failed(answer, &error),
                }
            }
            b"replace" => {
                let mut path = Word::new();
                let mut time: Option<u64> = None;
                let mut changes = Changes::new();
                while let Ok(word) = next() {
                    match word.strip_prefix(b"rollback=") {
                        Some(milliseconds) => time = Some(parse(milliseconds)?),
                        None => path = word,
                    }
                }
                let mut string = Word::new();
                if !path.is_empty() {
                    changes = changes.path(path_of(&path, &mut string)?);
                }
                let image = match self.program.image() {
                    Ok(image) => image,
                    Err(error) => return failed(answer, &error),
                };
                if let Some(time) = time {
                    changes = changes.rollback(image.as_fd(), Deadline::after_ms(time));
                }
                let error = self.net.replace(&self.program, &changes);
                return failed(answer, &error);
            }
            b"origin" => {
                write!(answer, " generation={}", self.net.generation())?;
                if self.net.is_canary() {
                    answer.write_str(" canary")?;
                }
                if self.net.was_rolled_back() {
                    answer.write_str(" rolled-back")?;
                }
            }
            b"guard" => match self.net.guard(&self.program) {
                Ok(guard) => {
                    answer.write_str(if guard.is_armed() { " armed" } else { " none" })?;
                    self.guard = Some(guard);
                }
                Err(error) => return failed(answer, &error),
            },
            b"keep" => self.guard.take().ok_or(Wrong::Command)?.keep(),
            b"roll-back" => {
                let error = self.guard.take().ok_or(Wrong::Command)?.roll_back();
                return failed(answer, &error);
            }
            b"drop-guard" => drop(self.guard.take()),
            b"crash" => crash(&next()?)?,
            b"notify" => match Notify::new(self.program.environ()) {
                Ok(Some(notify)) => {
                    if let Err(error) = notify.send(&[State::Ready]) {
                        return failed(answer, &error);
                    }
                }
                Ok(None) => return failed(answer, &"nobody asks"),
                Err(error) => return failed(answer, &error),
            },
            b"replace-by-nothing" => {
                let changes = Changes::new().foreign().path(c"/no/such/program");
                let error = self.net.replace(&self.program, &changes);
                return failed(answer, &error);
            }
            b"signals" => match Signals::new(&[Signal::USR1, Signal::TERM]) {
                Ok(signals) => self.signals = Some(signals),
                Err(error) => return failed(answer, &error),
            },
            b"block" => {
                // SAFETY: one of a signal that there is.
                let signal = unsafe { Signal::from_raw_unchecked(parse(&next()?)?) };
                match Signals::new(&[signal]) {
                    Ok(signals) => self.signals = Some(signals),
                    Err(error) => return failed(answer, &error),
                }
            }
            b"read-signal" => match self.signals.as_ref().map(Signals::read) {
                Some(Ok(Some(received))) => write!(answer, " {}", received.signal.as_raw())?,
                Some(Err(error)) => return failed(answer, &error),
                _ => return failed(answer, &"no signal has come"),
            },
            b"wait" => {
                let deadline = Deadline::after_ms(parse(&next()?)?);
                match self.net.successor().map(|it| it.wait_ready(deadline)) {
                    Some(Ok(())) => {}
                    Some(Err(failure)) => return failed(answer, &failure),
                    None => return failed(answer, &"there is no successor"),
                }
            }
            b"exit" => {
                // Not dropped: as a program that ends where it is.
                mem::forget(self.guard.take());
                return parse(&next()?).map(Some);
            }
            _ => return Err(Wrong::Command),
        }
        Ok(None)
    }

    fn got(&mut self, handle: Handle, answer: &mut Answer) -> Result<(), Wrong> {
        self.handles.push(handle).map_err(|_| Wrong::Command)?;
        let entry = self.net.get(handle).ok_or(Wrong::Command)?;
        answer.write_str(" ")?;
        describe(&entry, &self.handles, answer)?;
        Ok(())
    }

    fn handle(&self, number: &[u8]) -> Result<Handle, Wrong> {
        let number: usize = parse(number)?;
        self.handles.get(number).copied().ok_or(Wrong::Command)
    }
}

fn failed<T>(answer: &mut Answer, why: &dyn fmt::Display) -> Result<T, Wrong> {
    answer.clear();
    write!(answer, "error {why}")?;
    Err(Wrong::Failed)
}

fn describe(entry: &Entry<'_>, handles: &[Handle], answer: &mut Answer) -> fmt::Result {
    match handles.iter().position(|handle| *handle == entry.handle()) {
        Some(number) => write!(answer, "{number}")?,
        None => answer.write_str("-")?,
    }
    write!(answer, " fd={} name=", entry.as_fd().as_raw_fd())?;
    write!(WithoutSpaces(answer), "{}", entry.name())?;
    match entry.kind() {
        Ok(Kind::Listener(network)) => write!(answer, " listener:{network} ")?,
        Ok(Kind::Datagram(network)) => write!(answer, " datagram:{network} ")?,
        Ok(Kind::Stream(network)) => write!(answer, " stream:{network} ")?,
        Ok(_) => answer.write_str(" other ")?,
        Err(error) => write!(answer, " kind:{} ", error.errno())?,
    }
    match entry.local_address() {
        Ok(Some(address)) => write!(WithoutSpaces(answer), "{address}")?,
        Ok(None) => answer.write_str("-")?,
        Err(error) => write!(answer, "address:{}", error.errno())?,
    }
    answer.write_str(if entry.is_inherited() {
        " inherited"
    } else {
        " fresh"
    })?;
    answer.write_str(if entry.is_claimed() {
        " claimed"
    } else {
        " unclaimed"
    })
}

/// Writes spaces so that words are told apart.
struct WithoutSpaces<'a>(&'a mut Answer);

impl fmt::Write for WithoutSpaces<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|char| match char {
            ' ' => self.0.write_str("\\x20"),
            other => self.0.write_char(other),
        })
    }
}

enum Choice {
    Backlog(i32),
    Mode(u32),
    Nonblocking(bool),
    ReplaceStale,
    ReusePort,
}

fn option(word: &Word) -> Result<Choice, Wrong> {
    let mut parts = word.splitn(2, |byte| *byte == b'=');
    let (key, value) = (parts.next(), parts.next().unwrap_or(b""));
    Ok(match key {
        Some(b"backlog") => Choice::Backlog(parse(value)?),
        Some(b"mode") => {
            let digits = str::from_utf8(value).map_err(|_| Wrong::Command)?;
            Choice::Mode(u32::from_str_radix(digits, 8).map_err(|_| Wrong::Command)?)
        }
        Some(b"nonblocking") => Choice::Nonblocking(value != b"no"),
        Some(b"replace-stale") => Choice::ReplaceStale,
        Some(b"reuse-port") => Choice::ReusePort,
        _ => return Err(Wrong::Command),
    })
}

/// `path=WORD` as a C string.
fn path_of<'a>(word: &[u8], path: &'a mut Word) -> Result<&'a CStr, Wrong> {
    let word = word.strip_prefix(b"path=").ok_or(Wrong::Command)?;
    path.extend_from_slice(word).map_err(|_| Wrong::Command)?;
    path.push(0).map_err(|_| Wrong::Command)?;
    CStr::from_bytes_with_nul(path).map_err(|_| Wrong::Command)
}

/// Does not return, unless there is something that catches it.
fn crash(how: &[u8]) -> Result<(), Wrong> {
    match how {
        // SAFETY: none; nothing can be written there.
        b"segv" => unsafe { black_box(ptr::null_mut::<u8>()).write_volatile(0) },
        b"bus" => behind_the_end_of_a_file().map_err(|_| Wrong::Command)?,
        b"stack" => {
            black_box(endless(black_box([1; 1024])));
        }
        b"ill" | b"fpe" | b"trap" => by_an_instruction(how),
        b"abrt" => send_oneself(Signal::ABORT),
        b"sys" => send_oneself(Signal::SYS),
        _ => return Err(Wrong::Command),
    }
    Ok(())
}

fn send_oneself(signal: Signal) {
    let _ = process::kill_process(process::getpid(), signal);
}

/// On other processors than this it is sent.
#[cfg(not(target_arch = "x86_64"))]
fn by_an_instruction(how: &[u8]) {
    send_oneself(match how {
        b"ill" => Signal::ILL,
        b"fpe" => Signal::FPE,
        _ => Signal::TRAP,
    });
}

#[cfg(target_arch = "x86_64")]
fn by_an_instruction(how: &[u8]) {
    use core::arch::asm;
    match how {
        // SAFETY: it is not executed to its end.
        b"ill" => unsafe { asm!("ud2") },
        // SAFETY: as above.
        b"trap" => unsafe { asm!("int3") },
        // SAFETY: as above.
        _ => unsafe { asm!("xor ecx, ecx", "div ecx", out("ecx") _, out("eax") _, out("edx") _) },
    }
}

fn behind_the_end_of_a_file() -> Result<(), Errno> {
    let file = fs::memfd_create(c"empty", fs::MemfdFlags::CLOEXEC)?;
    let (protection, flags) = (mm::ProtFlags::WRITE, mm::MapFlags::SHARED);
    // SAFETY: new memory, wherever there is some.
    let page = unsafe { mm::mmap(ptr::null_mut(), 4096, protection, flags, &file, 0)? };
    // SAFETY: none; nothing can be written there.
    unsafe { page.cast::<u8>().write_volatile(0) };
    Ok(())
}

#[allow(unconditional_recursion)] // That is what it is for.
fn endless(frame: [u8; 1024]) -> u8 {
    let next = black_box(frame);
    endless(next).wrapping_add(black_box(next)[7])
}

fn parse<T: str::FromStr>(word: &[u8]) -> Result<T, Wrong> {
    let text = str::from_utf8(word).map_err(|_| Wrong::Command)?;
    text.parse().map_err(|_| Wrong::Command)
}

fn unescape(word: &[u8]) -> Result<Word, Wrong> {
    let mut bytes = Word::new();
    let mut rest = if word == b"''" { b"".as_slice() } else { word };
    while let Some((first, behind)) = rest.split_first() {
        let byte = match (first, behind) {
            (b'\\', [b'x', high, low, behind @ ..]) => {
                rest = behind;
                let digit = |digit: &u8| (*digit as char).to_digit(16).ok_or(Wrong::Command);
                (digit(high)? * 16 + digit(low)?) as u8
            }
            _ => {
                rest = behind;
                *first
            }
        };
        bytes.push(byte).map_err(|_| Wrong::Command)?;
    }
    Ok(bytes)
}
