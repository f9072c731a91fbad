//! The console by which a user-mode Linux is told what other machines are by their keys.
//!
//! See Documentation/virt/uml/user_mode_linux_howto_v2.rst of Linux, and arch/um/drivers/mconsole.h.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

const MAGIC: u32 = 0xcafe_babe;
const VERSION: u32 = 2;
const LONGEST: usize = 512;

const PATIENCE: Duration = Duration::from_secs(30);

/// `tell(console, command)` — fails unless it answers that it does that.
pub(crate) fn tell(console: &Path, command: &str) -> Result<()> {
    let socket = UnixDatagram::bind(console.with_file_name("answers"))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let length = u32::try_from(command.len())?;
    let mut request: Vec<u8> = [MAGIC, VERSION, length].map(u32::to_ne_bytes).concat();
    request.extend(command.as_bytes());
    request.resize(size_of::<u32>() * 3 + LONGEST, 0);
    let sent = socket.send_to(&request, console);
    sent.with_context(|| console.display().to_string())?;
    let mut answer = [0; size_of::<u32>() * 3 + LONGEST];
    let length = socket.recv(&mut answer)?;
    // An errno, whether more comes, how much text, and the text.
    let said = String::from_utf8_lossy(&answer[..length]);
    ensure!(answer.starts_with(&[0; 4]), "{command}: {said:?}");
    Ok(())
}
