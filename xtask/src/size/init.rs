//! The limits of `gracenet-init`.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::{MOST_MEMORY_KIB, check_static, check_symbols};
use crate::daemon::PATIENCE;
use crate::log::Log;
use crate::pid1::words::{self, said};
use crate::process::{self, Process};
use crate::workspace::Workspace;

const PACKAGE: &str = "gracenet-init";
const MOST_BYTES: u64 = 32 * 1024;

/// How often its program and it itself are replaced before its memory is looked at.
const TIMES: u32 = 5;

/// Measures, prints, and fails where a limit is passed.
pub(super) fn run(workspace: &Workspace) -> Result<()> {
    let binary = workspace.build_release(PACKAGE, PACKAGE)?;
    let bytes = binary.metadata()?.len();
    println!("init         {bytes} bytes of at most {MOST_BYTES}");
    check_static(&binary)?;
    let symbols = check_symbols(&workspace.build_unstripped(PACKAGE)?)?;
    workspace.link_without_panics(PACKAGE, "gracenet-start/panic-is-a-link-error")?;
    println!("             static, no panic, none of {symbols} symbols is unwanted");
    let peak = peak_memory(&binary, &workspace.build_httpd()?)?;
    println!(
        "             {peak} KiB of at most {MOST_MEMORY_KIB}, {TIMES} programs and {TIMES} replacements later"
    );
    ensure!(
        bytes <= MOST_BYTES,
        "gracenet-init is larger than {MOST_BYTES} bytes"
    );
    ensure!(
        peak <= MOST_MEMORY_KIB,
        "gracenet-init needs more than {MOST_MEMORY_KIB} KiB"
    );
    Ok(())
}

/// The highest VmHWM of it and of those that it was replaced by.
fn peak_memory(binary: &Path, httpd: &Path) -> Result<u64> {
    process::become_subreaper()?;
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let socket = folder.path().join("httpd.sock");
    let mut option = OsStr::new("local=unix:").to_owned();
    option.push(&socket);
    let (pipe, other_end) = io::pipe()?;
    let log = Log::read(pipe);
    let mut command = Command::new(binary);
    command.arg("--socket").arg(option);
    command.args(["--ready", "channel", "--"]).arg(httpd);
    command.arg("unix").arg(&socket);
    command.stdin(Stdio::null()).stderr(other_end);
    let child = command.spawn().context("gracenet-init")?;
    drop(command);
    let mut process = Process::open(child.id())?;
    let end = End;
    let until = |mark: usize, words: &str| {
        let found = log.find(mark, Instant::now() + PATIENCE, |line| said(line, words));
        found.with_context(|| format!("it never says {words:?}:\n{}", log.tail()))
    };
    until(0, words::READY)?;
    let mut peak = 0;
    for generation in 1..=TIMES {
        let mark = log.mark();
        process.signal(Signal::HUP)?;
        until(mark, words::READY)?;
        peak = peak.max(process.peak_kib().context("no VmHWM")?);
        process.signal(Signal::USR2)?;
        until(mark, &format!("{}{generation}", words::TAKEN_OVER))?;
        peak = peak.max(process.peak_kib().context("no VmHWM")?);
    }
    process.signal(Signal::TERM)?;
    process.expect_exit_0(Instant::now() + PATIENCE)?;
    drop(end);
    Ok(peak)
}

/// Whatever happens, no process is left.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        process::end_children();
    }
}
