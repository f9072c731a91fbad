//! What a process has of the kernel, as /proc shows it: what must not change when a successor fails.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result};
use procfs::net::{TcpState, UnixState};
use procfs::process::{FDTarget, Process};
use rustix::fs::getxattr;

use crate::endpoint::Endpoint;

/// The sockets that clients come by, whoever has them.
#[derive(Debug)]
pub(crate) struct Listeners {
    inodes: Vec<u64>,
}

impl Listeners {
    /// `Listeners::find(endpoints)` — looks them up; to be called before clients come. Later the
    /// kernel's tables have every connection of the last minute, and change while they are read.
    pub(crate) fn find(endpoints: [&Endpoint; 2]) -> Result<Self> {
        let (tcp, unix) = (procfs::net::tcp()?, procfs::net::unix()?);
        let inode = |endpoint: &Endpoint| match endpoint {
            Endpoint::Tcp(address) => tcp
                .iter()
                .find(|socket| socket.state == TcpState::Listen && socket.local_address == *address)
                .map(|socket| socket.inode),
            Endpoint::Unix(path) => unix
                .iter()
                .find(|socket| {
                    socket.state == UnixState::UNCONNECTED && socket.path.as_ref() == Some(path)
                })
                .map(|socket| socket.inode),
        };
        let inodes = endpoints.into_iter().map(inode).collect::<Option<_>>();
        let inodes = inodes.context("nobody listens there")?;
        Ok(Self { inodes })
    }
}

/// Its fds and its children.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Inside {
    /// By number; without the connections of clients, which come and go.
    fds: BTreeMap<i32, FDTarget>,
    /// Those that live and those that nobody has reaped.
    children: Vec<u32>,
}

impl Inside {
    /// `Inside::of(pid, listeners)` — how it is now.
    pub(crate) fn of(pid: u32, listeners: &Listeners) -> Result<Self> {
        let process = i32::try_from(pid).context("pid").and_then(|pid| {
            Process::new(pid).with_context(|| format!("process {pid} cannot be looked into"))
        })?;
        let mut fds = BTreeMap::new();
        // What was closed meanwhile is an error, and was a connection.
        for fd in process.fd()?.flatten() {
            let stays = match fd.target {
                FDTarget::Socket(inode) => {
                    listeners.inodes.contains(&inode) || is_channel(pid, fd.fd)
                }
                _ => true,
            };
            if stays {
                fds.insert(fd.fd, fd.target);
            }
        }
        let mut children = Vec::new();
        for task in process.tasks()? {
            children.extend(task?.children()?);
        }
        Ok(Self { fds, children })
    }
}

/// Whether it is a unix socket that is no stream, as the channel between two generations is.
/// Clients have `TCP`, or since Linux 5.15 `UNIX-STREAM`.
fn is_channel(pid: u32, fd: i32) -> bool {
    let mut name = [0; 16];
    let path = format!("/proc/{pid}/fd/{fd}");
    getxattr(path, "system.sockprotoname", &mut name)
        .is_ok_and(|length| name.get(..length) == Some(b"UNIX\0"))
}

impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fds {:?}, children {:?}", self.fds, self.children)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{Ipv4Addr, TcpListener};
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::os::unix::net::UnixListener;
    use std::process::{Command, Stdio};

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::{Inside, Listeners};
    use crate::endpoint::Endpoint;

    #[test]
    fn listeners_are_found_by_their_addresses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let unix = UnixListener::bind(&path).unwrap();
        let endpoints = [
            Endpoint::Tcp(tcp.local_addr().unwrap()),
            Endpoint::Unix(path),
        ];
        let found = Listeners::find([&endpoints[0], &endpoints[1]]).unwrap();
        for (fd, inode) in [tcp.as_raw_fd(), unix.as_raw_fd()].iter().zip(found.inodes) {
            let link = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
            assert_eq!(link.to_string_lossy(), format!("socket:[{inode}]"));
        }
        drop(unix);
        assert!(Listeners::find([&endpoints[0], &endpoints[1]]).is_err());
    }

    #[test]
    fn a_file_a_channel_and_a_zombie_that_are_left_over_are_seen() {
        // What the shell does in turn; 2 is one end of a channel.
        let turns = [
            "exec 7</dev/null",
            "exec 7<&-",
            "exec 8<&2",
            "exec 8<&-",
            "true &",
        ];
        let turns = turns.map(|turn| format!("read x; {turn}\necho"));
        let script = format!("echo; {}; read x", turns.join("; "));
        let flags = SocketFlags::CLOEXEC;
        let channel = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
        let (_ours, theirs): (OwnedFd, OwnedFd) = channel.unwrap();
        let mut shell = Command::new("/bin/sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(theirs)
            .spawn()
            .unwrap();
        let mut orders = shell.stdin.take().unwrap();
        let mut done = BufReader::new(shell.stdout.take().unwrap()).lines();
        let nobody = Listeners { inodes: Vec::new() };
        let mut look = || {
            done.next().unwrap().unwrap();
            let inside = Inside::of(shell.id(), &nobody).unwrap();
            orders.write_all(b"\n").unwrap();
            inside
        };
        let before = look();
        for changed in [true, false, true, false, true] {
            assert_eq!(look() != before, changed);
        }
        assert!(shell.wait().unwrap().success());
    }
}
