//! Puppets: processes that do what a story says. What they are started with is made here to the
//! letter, fd numbers, variables and flags, because that is what the stories are about.
#![allow(unsafe_code)] // What happens between fork and execve.

use std::cell::Cell;
use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with,
    bind, listen, recv, send, socket_with, sockopt,
};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tempfile::TempDir;

use super::{Fds, in_time, program};

/// Where the fds of the test itself begin. What lies below is kept busy, so that no fd that std
/// needs between fork and execve lies where the puppet's are put.
const OURS: RawFd = 64;

/// What a puppet is started with. Without anything said, that is nothing.
#[derive(Default)]
pub struct Start {
    passed: Vec<(RawFd, OwnedFd)>,
    sockets: RawFd,
    variables: Vec<Variable>,
    pid: Option<Variable>,
    count: Option<String>,
    says_nothing: bool,
    before: Vec<Hook>,
}

type Hook = Box<dyn FnMut() -> io::Result<()> + Send + Sync>;

enum Variable {
    Text(CString),
    /// This, and the puppet's pid behind it.
    Pid(&'static str),
    /// The inode of the puppet's pidfd.
    PidfdId,
}

impl Start {
    pub fn new() -> Start {
        Start::default()
    }

    /// Passes a socket, or whatever it is, under the next number from 3 up.
    pub fn pass(mut self, fd: impl Into<OwnedFd>) -> Start {
        let number = 3 + self.sockets;
        self.sockets += 1;
        self.at(number, fd)
    }

    /// An fd under this number, of which `LISTEN_FDS` says nothing.
    pub fn at(mut self, number: RawFd, fd: impl Into<OwnedFd>) -> Start {
        assert!((3..OURS).contains(&number));
        self.passed.push((number, fd.into()));
        self
    }

    /// `LISTEN_FDNAMES`.
    pub fn names(self, names: &str) -> Start {
        self.variable(&format!("LISTEN_FDNAMES={names}"))
    }

    /// Another `LISTEN_FDS` than what is passed.
    pub fn count(mut self, count: &str) -> Start {
        self.count = Some(count.to_owned());
        self
    }

    /// Another `LISTEN_PID` than the puppet's.
    pub fn pid(mut self, pid: &str) -> Start {
        self.pid = Some(text(&format!("LISTEN_PID={pid}")));
        self
    }

    /// No `LISTEN_PID`.
    pub fn without_pid(mut self) -> Start {
        self.says_nothing = true;
        self
    }

    /// The right `LISTEN_PIDFDID`.
    pub fn pidfd_id(mut self) -> Start {
        self.variables.push(Variable::PidfdId);
        self
    }

    /// `NAME=value`, or any other string; before those that tell of sockets.
    pub fn variable(mut self, string: &str) -> Start {
        self.variables.push(text(string));
        self
    }

    /// As [`variable`](Self::variable), with the puppet's pid behind it.
    pub fn variable_and_pid(mut self, before: &'static str) -> Start {
        self.variables.push(Variable::Pid(before));
        self
    }

    /// Done in the new process, before anything else.
    pub fn before(mut self, hook: impl FnMut() -> io::Result<()> + Send + Sync + 'static) -> Start {
        self.before.push(Box::new(hook));
        self
    }

    pub fn umask(self, mask: u32) -> Start {
        self.before(move || {
            // SAFETY: a number, of which the kernel takes nine bits.
            unsafe { libc::umask(mask) };
            Ok(())
        })
    }

    /// Starts the puppet and waits until it listens to orders.
    pub fn run(self) -> Puppet {
        let office = Rc::new(Office::open());
        let child = self.spawn(&office.path());
        Puppet::hired(office, Some(child))
    }

    /// Starts it and has it inherit all that is passed.
    #[track_caller]
    pub fn inherit(self) -> Puppet {
        let passed = self.sockets;
        self.inherit_some(passed)
    }

    /// Starts it and has it inherit so many.
    #[track_caller]
    pub fn inherit_some(self, passed: RawFd) -> Puppet {
        let puppet = self.run();
        assert_eq!(puppet.must("inherit"), format!("{passed} generation=0"));
        puppet
    }

    fn spawn(self, orders: &Path) -> Child {
        keep_busy();
        let passed: Vec<(RawFd, OwnedFd)> = self
            .passed
            .into_iter()
            .map(|(number, fd)| (number, fcntl_dupfd_cloexec(fd, OURS).unwrap()))
            .collect();
        let mut variables = self.variables;
        if self.sockets > 0 || self.count.is_some() || self.pid.is_some() {
            if !self.says_nothing {
                variables.push(self.pid.unwrap_or(Variable::Pid("LISTEN_PID=")));
            }
            let count = self.count.unwrap_or_else(|| self.sockets.to_string());
            variables.push(text(&format!("LISTEN_FDS={count}")));
        }
        let mut block = Block::new(&variables);
        let puppet = CString::new(program("puppet").as_os_str().as_bytes()).unwrap();
        let orders = CString::new(orders.as_os_str().as_bytes()).unwrap();
        let mut hooks = self.before;

        let mut command = Command::new("this is never looked for");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let run = move || {
            for hook in &mut hooks {
                hook()?;
            }
            // Whatever this test has open, and std for itself, ends at the execve.
            let all = libc::CLOSE_RANGE_CLOEXEC;
            // SAFETY: a flag of each fd, which nobody relies on in this process.
            checked(unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, all) })?;
            for (number, fd) in &passed {
                // SAFETY: below OURS nothing is open that is still wanted.
                checked(unsafe { libc::dup2(fd.as_raw_fd(), *number) }.into())?;
            }
            let argv = [puppet.as_ptr(), orders.as_ptr(), std::ptr::null()];
            let envp = block.complete()?;
            // SAFETY: C strings and arrays of them that end in null pointers.
            unsafe { libc::execve(puppet.as_ptr(), argv.as_ptr(), envp) };
            Err(io::Error::last_os_error())
        };
        // SAFETY: after the fork it makes system calls only; nothing is allocated but on failure.
        unsafe { command.pre_exec(run) };
        command.spawn().expect("the puppet")
    }
}

fn text(string: &str) -> Variable {
    Variable::Text(CString::new(string).unwrap())
}

fn checked(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

fn keep_busy() {
    while let Ok(null) = File::open("/dev/null") {
        if null.as_raw_fd() >= OURS {
            break;
        }
        std::mem::forget(null);
    }
}

/// An environment in which some numbers are only known in the new process.
struct Block {
    strings: Vec<Vec<u8>>,
    /// Which string, and from which byte on.
    pid: Vec<(usize, usize)>,
    pidfd_id: Vec<(usize, usize)>,
    pointers: Vec<*const libc::c_char>,
}

// SAFETY: the pointers are to the strings beside them.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    fn new(variables: &[Variable]) -> Block {
        let (mut pid, mut pidfd_id) = (Vec::new(), Vec::new());
        let mut strings = Vec::new();
        for (index, variable) in variables.iter().enumerate() {
            let number = |name: &[u8], places: &mut Vec<(usize, usize)>| {
                places.push((index, name.len()));
                [name, &[0; 24]].concat()
            };
            strings.push(match variable {
                Variable::Text(text) => text.as_bytes_with_nul().to_vec(),
                Variable::Pid(before) => number(before.as_bytes(), &mut pid),
                Variable::PidfdId => number(b"LISTEN_PIDFDID=", &mut pidfd_id),
            });
        }
        let pointers = vec![std::ptr::null(); strings.len() + 1];
        Block {
            strings,
            pid,
            pidfd_id,
            pointers,
        }
    }

    /// Writes what is known now. Allocates nothing.
    fn complete(&mut self) -> io::Result<*const *const libc::c_char> {
        let own = std::process::id();
        for (index, at) in &self.pid {
            decimal(&mut self.strings[*index][*at..], own.into());
        }
        if !self.pidfd_id.is_empty() {
            // SAFETY: numbers only.
            let pidfd = checked(unsafe { libc::syscall(libc::SYS_pidfd_open, own, 0) })?;
            let mut stat = MaybeUninit::<libc::stat>::uninit();
            // SAFETY: there is room for what the kernel writes.
            checked(unsafe { libc::fstat(pidfd as RawFd, stat.as_mut_ptr()) }.into())?;
            // SAFETY: the kernel has written it. It leaves the pidfd CLOEXEC.
            let inode = unsafe { stat.assume_init() }.st_ino;
            for (index, at) in &self.pidfd_id {
                decimal(&mut self.strings[*index][*at..], inode);
            }
        }
        for (pointer, string) in self.pointers.iter_mut().zip(&self.strings) {
            *pointer = string.as_ptr().cast();
        }
        Ok(self.pointers.as_ptr())
    }
}

fn decimal(to: &mut [u8], number: u64) {
    let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
    let mut rest = number;
    for byte in to[..digits].iter_mut().rev() {
        *byte = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// Where puppets come for their orders.
pub struct Office {
    directory: TempDir,
    door: OwnedFd,
}

impl Office {
    pub fn open() -> Office {
        let directory = TempDir::new().unwrap();
        let flags = SocketFlags::CLOEXEC;
        let door = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let address = SocketAddrUnix::new(directory.path().join("orders")).unwrap();
        bind(&door, &address).unwrap();
        listen(&door, 8).unwrap();
        Office { directory, door }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("orders")
    }

    /// A puppet that somebody else has started, and that has inherited nothing yet.
    pub fn hire(self: &Rc<Office>) -> Puppet {
        Puppet::hired(Rc::clone(self), None)
    }

    /// The next puppet that comes, and who it is.
    fn answer_the_door(&self) -> (OwnedFd, Pid) {
        in_time(self.door.as_fd(), "a puppet that comes for its orders");
        let orders = accept_with(&self.door, SocketFlags::CLOEXEC).unwrap();
        let pid = sockopt::socket_peercred(&orders).unwrap().pid;
        (orders, pid)
    }
}

/// A puppet that runs, and is killed when it is dropped.
pub struct Puppet {
    office: Rc<Office>,
    orders: OwnedFd,
    pid: Pid,
    pidfd: OwnedFd,
    /// A successor is not ours.
    child: Cell<Option<Child>>,
}

impl Puppet {
    fn hired(office: Rc<Office>, child: Option<Child>) -> Puppet {
        let (orders, pid) = office.answer_the_door();
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        Puppet {
            office,
            orders,
            pid,
            pidfd,
            child: Cell::new(child),
        }
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    pub fn fds(&self) -> Fds {
        Fds::of(self.pid)
    }

    /// Gives an order; what was answered.
    pub fn ask(&self, order: impl AsRef<str>) -> Result<String, String> {
        self.begin(order.as_ref());
        self.answer(order.as_ref())
    }

    /// Gives an order that is not yet answered.
    pub fn begin(&self, order: &str) {
        send(&self.orders, order.as_bytes(), SendFlags::NOSIGNAL).expect(order);
    }

    /// The answer to an order that was begun.
    pub fn answer(&self, order: &str) -> Result<String, String> {
        in_time(self.orders.as_fd(), &format!("an answer to `{order}`"));
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let ((answer, _), _) = recv(&self.orders, buffer.as_mut_slice(), RecvFlags::empty())
            .unwrap_or_else(|errno| panic!("`{order}`: {errno}"));
        let answer = String::from_utf8_lossy(answer);
        match answer.split_once(' ') {
            Some(("ok", answer)) => Ok(answer.to_owned()),
            None if answer == "ok" => Ok(String::new()),
            Some(("error", why)) if why != "no such command" => Err(why.to_owned()),
            _ => panic!("`{order}` was answered by {answer:?}"),
        }
    }

    /// An order that is carried out.
    #[track_caller]
    pub fn must(&self, order: impl AsRef<str>) -> String {
        let order = order.as_ref();
        self.ask(order)
            .unwrap_or_else(|why| panic!("`{order}`: {why}"))
    }

    /// An order that fails, and why.
    #[track_caller]
    pub fn fails(&self, order: impl AsRef<str>) -> String {
        let order = order.as_ref();
        match self.ask(order) {
            Err(why) => why,
            Ok(answer) => panic!("`{order}` succeeded: {answer}"),
        }
    }

    /// An order that is answered with a socket.
    #[track_caller]
    pub fn gets(&self, order: impl AsRef<str>) -> Entry {
        Entry::parse(&self.must(order))
    }

    /// All that is in its table.
    #[track_caller]
    pub fn table(&self) -> Vec<Entry> {
        let table = self.must("iter");
        table
            .split(" | ")
            .filter(|entry| !entry.is_empty())
            .map(Entry::parse)
            .collect()
    }

    /// Accepts a connection that waits, and says who it is: `word`.
    #[track_caller]
    pub fn greets(&self, socket: &Entry, word: &str) {
        let accepted = self.must(format!("accept {}", socket.handle()));
        let fd = accepted.strip_prefix("fd=").unwrap();
        self.must(format!("write {fd} {word}"));
        self.must(format!("close-fd {fd}"));
    }

    /// Starts its successor, which has inherited nothing yet.
    #[track_caller]
    pub fn start(&self) -> Puppet {
        let started = self.must("start");
        let successor = Puppet::hired(Rc::clone(&self.office), None);
        assert_eq!(started, format!("pid={}", successor.pid));
        successor
    }

    /// Starts its canary, which has inherited nothing yet.
    #[track_caller]
    pub fn start_canary(&self, order: &str) -> Puppet {
        let started = self.must(order);
        let canary = Puppet::hired(Rc::clone(&self.office), None);
        assert_eq!(started, format!("pid={}", canary.pid));
        canary
    }

    /// Has it executed another program in its own place, which has inherited nothing yet.
    #[track_caller]
    pub fn replace(&mut self) {
        self.begin("replace");
        self.comes_again();
    }

    /// The process is another program by now, or soon, and comes for its orders.
    #[track_caller]
    pub fn comes_again(&mut self) {
        let (orders, pid) = self.office.answer_the_door();
        assert_eq!(pid, self.pid);
        self.orders = orders;
    }

    /// The answer to an order, unless it becomes another program meanwhile, or that one's order has
    /// not been read.
    pub fn ask_once(&mut self, order: &str) -> Option<Result<String, String>> {
        if send(&self.orders, order.as_bytes(), SendFlags::NOSIGNAL).is_ok() {
            in_time(
                self.orders.as_fd(),
                &format!("an answer to `{order}`, or none"),
            );
            let mut end = [0];
            let peek = RecvFlags::PEEK | RecvFlags::DONTWAIT;
            if recv(&self.orders, &mut end, peek).is_ok_and(|(length, _)| length > 0) {
                return Some(self.answer(order));
            }
        }
        self.comes_again();
        None
    }

    /// Readable when it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// A set of signals from its status: SigBlk, SigIgn, SigCgt.
    pub fn signals(&self, name: &str) -> u64 {
        u64::from_str_radix(&self.status(name), 16).unwrap()
    }

    /// A line of its status.
    pub fn status(&self, name: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let value = |line: &str| {
            Some(
                line.strip_prefix(name)?
                    .strip_prefix(':')?
                    .trim()
                    .to_owned(),
            )
        };
        status.lines().find_map(value).unwrap()
    }

    /// What it executes.
    pub fn exe(&self) -> PathBuf {
        fs::read_link(format!("/proc/{}/exe", self.pid)).unwrap()
    }

    /// A successor that has inherited, and is ready when it has got what `orders` say; this one
    /// knows it. What was not claimed is closed.
    #[track_caller]
    pub fn succeed(&self, orders: &[&str]) -> Puppet {
        let successor = self.start();
        successor.must("inherit");
        for order in orders {
            successor.must(order);
        }
        successor.must("ready");
        self.must("wait 20000");
        successor
    }

    /// Ends it, and waits for that.
    pub fn exit(self) {
        self.begin("exit 0");
        in_time(self.pidfd.as_fd(), "the end of a puppet");
    }

    /// Where a test can put what the puppet is to find.
    pub fn directory(&self) -> &Path {
        self.office.directory.path()
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }
}

/// A socket as a puppet describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    handle: Option<u32>,
    pub fd: RawFd,
    pub name: String,
    /// `listener:tcp4`, `other` and the like.
    pub kind: String,
    pub address: String,
    pub inherited: bool,
    pub claimed: bool,
}

impl Entry {
    fn parse(description: &str) -> Entry {
        let words: Vec<&str> = description.split(' ').collect();
        let [handle, fd, name, kind, address, inherited, claimed] = *words else {
            panic!("no description of a socket: {description:?}")
        };
        Entry {
            handle: handle.parse().ok(),
            fd: fd.strip_prefix("fd=").unwrap().parse().unwrap(),
            name: name.strip_prefix("name=").unwrap().to_owned(),
            kind: kind.to_owned(),
            address: address.to_owned(),
            inherited: inherited == "inherited",
            claimed: claimed == "claimed",
        }
    }

    /// The number by which orders name it.
    pub fn handle(&self) -> u32 {
        self.handle.expect("a socket that was claimed")
    }

    pub fn port(&self) -> u16 {
        let (_, port) = self.address.rsplit_once(':').unwrap();
        port.parse().unwrap()
    }
}

/// A path as a word of an order.
pub fn word(path: impl AsRef<OsStr>) -> String {
    path.as_ref()
        .as_bytes()
        .iter()
        .map(|byte| match byte {
            b'!'..=b'[' | b']'..=b'~' => char::from(*byte).to_string(),
            _ => format!("\\x{byte:02x}"),
        })
        .collect()
}
