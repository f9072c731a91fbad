//! In the place of `page`, for a build without `/status`: nobody asks for it.

use crate::around::Around;
use crate::sys::Errno;

/// There is none, and the compiler leaves out what would be done with it.
#[derive(Debug)]
pub(crate) enum Page {}

impl Page {
    pub(crate) fn of(_: &Around<'_>) -> Result<(Page, u64), Errno> {
        Err(Errno::PROTO)
    }

    pub(crate) fn read_at(&self, _: &mut [u8], _: usize) -> Result<u32, Errno> {
        match *self {}
    }
}
