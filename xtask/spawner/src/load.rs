//! Memory and fds, as a server has them.
#![allow(unsafe_code)] // mmap, and limits.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::ptr;

/// They stay until it is dropped.
#[derive(Debug)]
pub(crate) struct Load {
    memory: *mut libc::c_void,
    bytes: usize,
    _fds: Vec<OwnedFd>,
}

/// Fds below this are for what a server opens first, its listeners: these are made and closed again
/// at each start. Connections come later, and lie above.
const FIRST_CONNECTION: RawFd = 128;

/// With no more than this, there are no connections.
const FEW: usize = 10;

/// More than all that is opened besides.
const MARGIN: usize = 200;

impl Load {
    /// Touches so many bytes, and opens fds up to this number of them: unix sockets.
    pub(crate) fn new(bytes: usize, fds: usize) -> io::Result<Load> {
        raise_limit(fds + MARGIN)?;
        let mut load = Load {
            memory: ptr::null_mut(),
            bytes,
            _fds: Vec::new(),
        };
        load.touch()?;
        let open = std::fs::read_dir("/proc/self/fd")?.count() - 1;
        for nth in open..fds {
            let low = socket()?;
            let fd = if nth < FEW {
                low
            } else {
                // SAFETY: fcntl on an fd of ours.
                let high = unsafe {
                    libc::fcntl(low.as_raw_fd(), libc::F_DUPFD_CLOEXEC, FIRST_CONNECTION)
                };
                owned(high)?
            };
            load._fds.push(fd);
        }
        Ok(load)
    }

    /// In the smallest pages: those are what a fork copies the tables of.
    fn touch(&mut self) -> io::Result<()> {
        const PAGE: usize = 4096;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping.
        let memory = unsafe { libc::mmap(ptr::null_mut(), self.bytes, protection, flags, -1, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        self.memory = memory;
        // SAFETY: the mapping, whole.
        if unsafe { libc::madvise(memory, self.bytes, libc::MADV_NOHUGEPAGE) } != 0 {
            return Err(io::Error::last_os_error());
        }
        for offset in (0..self.bytes).step_by(PAGE) {
            // SAFETY: within the mapping.
            let byte = unsafe { memory.cast::<u8>().add(offset) };
            // SAFETY: as above. Volatile: nobody reads it.
            unsafe { byte.write_volatile(1) };
        }
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if !self.memory.is_null() {
            // SAFETY: the mapping, whole; nobody else knows of it.
            unsafe { libc::munmap(self.memory, self.bytes) };
        }
    }
}

fn socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: it takes numbers.
    owned(unsafe { libc::socket(libc::AF_UNIX, kind, 0) })
}

fn owned(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Up to the hard limit, which must have room for so many.
pub(crate) fn raise_limit(fds: usize) -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: it fills in the structure.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if (fds as u64) > limit.rlim_max {
        let text = format!("{fds} fds are more than the limit of {}", limit.rlim_max);
        return Err(io::Error::other(text));
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: it reads the structure.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
