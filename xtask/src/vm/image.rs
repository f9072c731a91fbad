//! The initramfs: a cpio archive with a few files in it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use cpio::newc::{Builder, trailer};

/// A file that root may execute.
const MODE: u32 = 0o100_755;

/// `write(files, image)` — an archive of files by their names, of which /init is PID 1.
pub(crate) fn write(files: &[(&str, &Path)], image: &Path) -> io::Result<()> {
    let mut archive = BufWriter::new(File::create(image)?);
    for (name, path) in files {
        let content = fs::read(path)?;
        let size = u32::try_from(content.len()).map_err(io::Error::other)?;
        let mut entry = Builder::new(name).mode(MODE).write(archive, size);
        entry.write_all(&content)?;
        archive = entry.finish()?;
    }
    trailer(archive)?.flush()
}
