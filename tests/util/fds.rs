//! The fd table of a process, as /proc shows it.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, getpid};

/// One fd: its number, what it refers to, and its flags.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fd {
    pub number: i32,
    pub target: PathBuf,
    /// Of the file and of the fd: O_NONBLOCK, O_CLOEXEC and the like.
    pub flags: u32,
}

impl Fd {
    pub fn is_socket(&self) -> bool {
        self.target.to_string_lossy().starts_with("socket:")
    }

    pub fn is_pidfd(&self) -> bool {
        let target = self.target.to_string_lossy();
        target.contains("pidfd")
    }

    pub fn is_cloexec(&self) -> bool {
        self.flags & 0o2_000_000 != 0
    }
}

/// The fds of a process, by their numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fds(Vec<Fd>);

impl Fds {
    pub fn of_self() -> Fds {
        Fds::of(getpid())
    }

    pub fn of(pid: Pid) -> Fds {
        let mut numbers: Vec<i32> = fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .map(|entry| {
                entry
                    .unwrap()
                    .file_name()
                    .to_str()
                    .unwrap()
                    .parse()
                    .unwrap()
            })
            .collect();
        numbers.sort_unstable();
        // What this function has open while it looks is gone by now.
        let fds = numbers.into_iter().filter_map(|number| {
            let target = fs::read_link(format!("/proc/{pid}/fd/{number}")).ok()?;
            let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
            let flags = u32::from_str_radix(flags.trim(), 8).ok()?;
            Some(Fd {
                number,
                target,
                flags,
            })
        });
        Fds(fds.collect())
    }

    pub fn numbers(&self) -> Vec<i32> {
        self.0.iter().map(|fd| fd.number).collect()
    }

    pub fn get(&self, number: i32) -> Option<&Fd> {
        self.0.iter().find(|fd| fd.number == number)
    }

    pub fn has(&self, number: i32) -> bool {
        self.get(number).is_some()
    }

    pub fn target(&self, number: i32) -> PathBuf {
        self.get(number)
            .map_or(Path::new("closed").into(), |fd| fd.target.clone())
    }

    pub fn is_nonblocking(&self, number: i32) -> bool {
        self.get(number).unwrap().flags & 0o4_000 != 0
    }

    pub fn all_cloexec_from(&self, first: i32) -> bool {
        self.0
            .iter()
            .filter(|fd| fd.number >= first)
            .all(Fd::is_cloexec)
    }

    /// Leaves out what is said to be there for a known reason, which is `what`.
    pub fn forget(&mut self, what: &str, which: impl Fn(&Fd) -> bool) {
        let before = self.0.len();
        self.0.retain(|fd| !which(fd));
        assert!(self.0.len() < before, "no {what} among {self:?}");
    }
}
