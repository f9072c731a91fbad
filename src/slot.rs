//! One place of the table: an fd and what is known of it.
#![allow(unsafe_code)] // An fd that is closed, or not.

use core::fmt;
use core::mem::ManuallyDrop;

use heapless::Vec;
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};

use crate::activation::NAME_MAX;
use crate::socket::identity;
use crate::sys::{self, FileId};

/// Under which name a socket was passed, or will be: bytes as they are, up to 255.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Name(Vec<u8, NAME_MAX, u8>);

impl Name {
    /// Where it is too long, none.
    pub(crate) fn set(&mut self, name: &[u8]) {
        self.0.clear();
        let _ = self.0.extend_from_slice(name);
    }

    /// The bytes. What was inherited may be other than printable ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Printable ASCII as it is, anything else as `\xff` or the like.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.escape_ascii(), f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

/// What the table keeps for each fd. It owns the fd.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) id: u32,
    fd: ManuallyDrop<OwnedFd>,
    pub(crate) identity: FileId,
    pub(crate) name: Name,
    pub(crate) inherited: bool,
    pub(crate) claimed: bool,
    /// The path that this process bound, if it did.
    pub(crate) path: FileId,
}

impl Slot {
    /// One that was made here, without a name.
    pub(crate) const fn new(id: u32, fd: OwnedFd, identity: FileId) -> Slot {
        Slot {
            id,
            fd: ManuallyDrop::new(fd),
            identity,
            name: Name(Vec::new()),
            inherited: false,
            claimed: true,
            path: FileId::NONE,
        }
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        sys::lend(&self.fd)
    }

    pub(crate) fn raw_fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    /// The fd is another's from now on, and stays open.
    pub(crate) fn give_up(&mut self) {
        self.identity = FileId::NONE;
    }

    /// Whether the fd is still what was put here. It was closed behind the table's back if not,
    /// and its number may be another's.
    pub(crate) fn is_intact(&self) -> bool {
        identity(self.as_fd()) == self.identity
    }
}

/// Closes the fd, unless it is another's by now.
impl Drop for Slot {
    fn drop(&mut self) {
        if self.is_intact() {
            // SAFETY: dropped here and nowhere else.
            unsafe { ManuallyDrop::drop(&mut self.fd) };
        }
    }
}
