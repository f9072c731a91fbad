//! `keeper ADDRESS PATH`: a service of systemd that counts its requests, and loses neither the
//! count nor its sockets when it is killed: systemd keeps them in its fd store.
//!
//! It serves HTTP on a TCP address and a unix socket, one client at a time, whatever they ask:
//! `pid=<pid> generation=<count> tag=<names>`. The count is that of all requests ever, and the
//! names are those of the fds that it was started with, in their order and with commas between.
//!
//! The count is in a capsule, of which there are two names in turn: the new one is in the store
//! before the old one is taken out, and only then is the request answered.
#![no_std]
#![no_main]
#![allow(unsafe_code)] // What the kernel left on the stack, and the inherited fds.

use core::fmt::Write as _;

use gracenet::notify::{Notify, State};
use gracenet::{Capsule, CapsuleError, Deadline, Handle, ListenOptions, Net, Program};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::io::{read, retry_on_intr};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{SendFlags, send};

gracenet_start::main!(run);

/// Of the capsule.
const VERSION: u32 = 1;

/// The names that the count has in turn.
const COUNTS: [&str; 2] = ["even", "odd"];

type Line = heapless::String<256>;

/// An exit status, which says where something went wrong.
type Status = i32;

fn run(start: gracenet_start::Args) -> i32 {
    // SAFETY: what the kernel left on the stack, which nobody changes.
    let program = unsafe { Program::from_raw(start.argv, start.envp) };
    // SAFETY: nothing else has been opened.
    let Ok(net) = (unsafe { Net::inherit(program.environ()) }) else {
        return 2;
    };
    let Ok(Some(notify)) = Notify::new(program.environ()) else {
        return 3;
    };
    let mut names = Line::new();
    for entry in net.iter() {
        let comma = if names.is_empty() { "" } else { "," };
        let _ = write!(names, "{comma}{}", entry.name());
    }
    let mut keeper = Keeper {
        net,
        notify,
        count: 0,
        names,
    };
    let mut words = program.args().iter().skip(1);
    let (Some(address), Some(path)) = (words.next(), words.next()) else {
        return 4;
    };
    match keeper.serve(address.to_bytes(), path.to_bytes()) {
        Ok(()) => 0,
        Err(status) => status,
    }
}

struct Keeper {
    net: Net<8>,
    notify: Notify,
    count: u64,
    names: Line,
}

impl Keeper {
    fn serve(&mut self, address: &[u8], path: &[u8]) -> Result<(), Status> {
        self.take_count()?;
        let web = self.listen("tcp", address, "web")?;
        let admin = self.listen("unix", path, "admin")?;
        self.net.ready().map_err(|_| 10)?;
        self.notify.send(&[State::Ready]).map_err(|_| 11)?;
        loop {
            let fds = [web, admin].map(|handle| self.net.borrow(handle));
            let [Ok(web_fd), Ok(admin_fd)] = fds else {
                return Err(12);
            };
            let mut fds = [
                PollFd::from_borrowed_fd(web_fd, PollFlags::IN),
                PollFd::from_borrowed_fd(admin_fd, PollFlags::IN),
            ];
            retry_on_intr(|| poll(&mut fds, None)).map_err(|_| 13)?;
            let ready = fds.map(|fd| !fd.revents().is_empty());
            for (handle, ready) in [web, admin].into_iter().zip(ready) {
                if ready && let Ok(client) = self.net.accept(handle) {
                    self.answer(&client)?;
                }
            }
        }
    }

    /// The greater one of those that are there, which none is at the first start.
    fn take_count(&mut self) -> Result<(), Status> {
        for name in COUNTS {
            while let Some(state) = self.net.claim(name) {
                self.count = self.count.max(self.read(state).map_err(|_| 20)?);
                self.net.close(state).map_err(|_| 21)?;
            }
        }
        self.forget_other()
    }

    fn read(&self, state: Handle) -> Result<u64, CapsuleError> {
        let mut count = [0; 8];
        let capsule = Capsule::open(self.net.borrow(state)?)?.check_version(VERSION)?;
        capsule.read(&mut count)?;
        Ok(u64::from_le_bytes(count))
    }

    /// The count that is behind the present one.
    fn forget_other(&self) -> Result<(), Status> {
        let name = COUNTS[usize::from(self.count.is_multiple_of(2))];
        let forget = [State::FdStoreRemove, State::FdName(name.as_bytes())];
        self.notify.send(&forget).map_err(|_| 22)
    }

    fn keep_count(&self) -> Result<(), Status> {
        let name = COUNTS[usize::from(!self.count.is_multiple_of(2))];
        let capsule = Capsule::seal(VERSION, &[&self.count.to_le_bytes()]).map_err(|_| 23)?;
        self.store(name, capsule.as_fd())?;
        self.forget_other()?;
        let read = self.notify.barrier(Deadline::after_ms(20_000));
        read.map_err(|_| 24)
    }

    fn listen(&mut self, network: &str, address: &[u8], name: &str) -> Result<Handle, Status> {
        let how = ListenOptions::new().nonblocking(true).name(name);
        let listening = self.net.listen_with(network, address, &how);
        let handle = listening.map_err(|_| 30)?;
        let socket = self.net.borrow(handle).map_err(|_| 31)?;
        self.store(name, socket)?;
        Ok(handle)
    }

    /// Those that are there already are not taken twice.
    fn store(&self, name: &str, fd: BorrowedFd<'_>) -> Result<(), Status> {
        let name = State::FdName(name.as_bytes());
        let states = [State::FdStore, name, State::FdPoll(false)];
        let deadline = Deadline::after_ms(20_000);
        let sent = self.notify.send_with(&states, &[fd], deadline);
        sent.map_err(|_| 32)
    }

    /// A client that goes away is no reason to end.
    fn answer(&mut self, client: &OwnedFd) -> Result<(), Status> {
        const LIMIT: Option<core::time::Duration> = Some(core::time::Duration::from_secs(1));
        if set_socket_timeout(client, Timeout::Recv, LIMIT).is_err() || !hear(client) {
            return Ok(());
        }
        self.count += 1;
        self.keep_count()?;
        let (mut body, mut head) = (Line::new(), Line::new());
        let (pid, count, names) = (rustix::process::getpid(), self.count, &self.names);
        let written = writeln!(body, "pid={pid} generation={count} tag={names}").and_then(|()| {
            let length = body.len();
            write!(
                head,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
            )
        });
        written.map_err(|_| 33)?;
        let _ = send(client, head.as_bytes(), SendFlags::NOSIGNAL);
        Ok(())
    }
}

/// Reads a request: whether there was one.
fn hear(client: &OwnedFd) -> bool {
    let mut request = heapless::Vec::<u8, 1024>::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut buffer = [0; 256];
        match read(client, &mut buffer) {
            Ok(length) if length > 0 => {
                if request.extend_from_slice(&buffer[..length]).is_err() {
                    return false;
                }
            }
            _ => return false,
        }
    }
    true
}
