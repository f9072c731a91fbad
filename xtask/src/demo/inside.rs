//! What a process has of the kernel, as /proc shows it: what must not change when a successor fails.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result};
use procfs::net::{TcpState, UnixState};
use procfs::process::{FDTarget, Process};

use crate::endpoint::Endpoint;

/// The TCP socket that clients come by, whoever has it.
#[derive(Debug)]
pub(crate) struct TcpListener {
    inode: u64,
}

impl TcpListener {
    /// `TcpListener::find(endpoint)` — looks it up. Later it would take long: the kernel's table
    /// has every connection of the last minute.
    pub(crate) fn find(endpoint: &Endpoint) -> Result<Self> {
        let mut sockets = procfs::net::tcp()?.into_iter();
        let socket = sockets.find(|socket| {
            socket.state == TcpState::Listen
                && matches!(endpoint, Endpoint::Tcp(address) if *address == socket.local_address)
        });
        let inode = socket.context("no socket listens there")?.inode;
        Ok(Self { inode })
    }
}

/// Its fds and its children.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Inside {
    /// By number; without the connections of clients, which come and go.
    fds: BTreeMap<i32, String>,
    /// Those that live and those that nobody has reaped.
    children: Vec<u32>,
}

impl Inside {
    /// `Inside::of(pid, tcp)` — how it is now.
    pub(crate) fn of(pid: u32, tcp: &TcpListener) -> Result<Self> {
        let process = i32::try_from(pid).context("pid").and_then(|pid| {
            Process::new(pid).with_context(|| format!("process {pid} cannot be looked into"))
        })?;
        let mut fds = BTreeMap::new();
        let mut sockets = BTreeMap::new();
        // What was closed meanwhile is an error, and a connection.
        for fd in process.fd()?.flatten() {
            match fd.target {
                FDTarget::Socket(inode) if inode != tcp.inode => {
                    sockets.insert(inode, fd.fd);
                }
                target => {
                    fds.insert(fd.fd, format!("{target:?}"));
                }
            }
        }
        // A client's connection is a TCP socket, or has the path of the listener that it came by.
        // What is left over of a hand-over would be a channel, which has none.
        for socket in procfs::net::unix()? {
            if let Some(fd) = sockets.get(&socket.inode) {
                if socket.path.is_none() {
                    fds.insert(*fd, format!("Channel({})", socket.inode));
                } else if socket.state == UnixState::UNCONNECTED {
                    fds.insert(*fd, format!("Listener({})", socket.inode));
                }
            }
        }
        let mut children = Vec::new();
        for task in process.tasks()? {
            children.extend(task?.children()?);
        }
        Ok(Self { fds, children })
    }
}

impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fds {:?}, children {:?}", self.fds, self.children)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::Ipv4Addr;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};

    use super::{Inside, TcpListener};
    use crate::daemon::PATIENCE;
    use crate::endpoint::Endpoint;

    #[test]
    fn the_listener_is_found_by_its_address() {
        let first = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let second = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        for listener in [first, second] {
            let address = listener.local_addr().unwrap();
            let found = TcpListener::find(&Endpoint::Tcp(address)).unwrap();
            let link = format!("/proc/self/fd/{}", listener.as_raw_fd());
            let link = std::fs::read_link(link).unwrap();
            assert_eq!(link.to_string_lossy(), format!("socket:[{}]", found.inode));
        }
    }

    #[test]
    fn a_file_a_channel_and_a_zombie_that_are_left_over_are_seen() {
        // What the shell does in turn; 0 is one end of a channel.
        let turns = [
            "exec 7</dev/null",
            "exec 7<&-",
            "exec 8<&0",
            "exec 8<&-",
            "true &",
        ];
        let script = format!(
            "echo; {}",
            turns.map(|turn| format!("read x; {turn}\necho")).join("; ")
        );
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        let theirs = OwnedFd::from(theirs);
        let mut shell = Command::new("/bin/sh")
            .args(["-c", &format!("{script}; read x")])
            .stdin(theirs.try_clone().unwrap())
            .stdout(Stdio::from(theirs))
            .spawn()
            .unwrap();
        let nobody = TcpListener { inode: 0 };
        let mut look = || {
            ours.read_exact(&mut [0]).unwrap();
            let inside = Inside::of(shell.id(), &nobody).unwrap();
            ours.write_all(b"\n").unwrap();
            inside
        };
        let before = look();
        for changed in [true, false, true, false, true] {
            assert_eq!(look() != before, changed);
        }
        assert!(shell.wait().unwrap().success());
    }
}
