//! The initramfs: a cpio archive with one file in it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use cpio::newc::{Builder, trailer};

/// A file that root may execute.
const MODE: u32 = 0o100_755;

/// `write(program, image)` — an archive in which the program is /init.
pub(crate) fn write(program: &Path, image: &Path) -> io::Result<()> {
    let program = fs::read(program)?;
    let size = u32::try_from(program.len()).map_err(io::Error::other)?;
    let archive = BufWriter::new(File::create(image)?);
    let mut entry = Builder::new("init").mode(MODE).write(archive, size);
    entry.write_all(&program)?;
    trailer(entry.finish()?)?.flush()
}
