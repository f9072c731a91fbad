//! `cargo xtask size`: the limits of the daemon and of the init as an appliance's programs.

mod init;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use object::elf::{FileHeader64, PT_DYNAMIC, PT_INTERP};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSymbol};

use crate::answer::Answer;
use crate::daemon::{Daemon, PATIENCE, deploy};
use crate::endpoint::Endpoint;
use crate::process::{self, Process};
use crate::step::{self, Outcome};
use crate::workspace::Workspace;

/// Of the daemon as it is built by default, and without its features.
const MOST_BYTES: u64 = 38 * 1024;
const MOST_BYTES_SMALL: u64 = 32 * 1024;
/// With what it can tell systemd, and what foreign successors can tell it.
const MOST_BYTES_FOR_SYSTEMD: u64 = 46 * 1024;
const MOST_MEMORY_KIB: u64 = 128;
const CONNECTIONS: usize = 64;

/// Symbols that only an allocator or a libc brings along.
const UNWANTED: [&str; 4] = [
    "__rust_alloc",
    "__rust_no_alloc_shim",
    "malloc",
    "__libc_start",
];

/// Measures, prints, and fails where a limit is passed.
pub(crate) fn run(workspace: &Workspace) -> Result<Outcome> {
    let binary = workspace.build_httpd()?;
    let bytes = fs::metadata(&binary)?.len();
    println!("binary       {bytes} bytes of at most {MOST_BYTES}");
    let small = fs::metadata(build_small(workspace)?)?.len();
    println!("small        {small} bytes of at most {MOST_BYTES_SMALL}, without features");
    let for_systemd = fs::metadata(workspace.build_httpd_for_systemd()?)?.len();
    println!("for systemd  {for_systemd} bytes of at most {MOST_BYTES_FOR_SYSTEMD}");
    check_static(&binary)?;
    println!("linkage      static: no interpreter, no dynamic section");

    let symbols = check_symbols(&workspace.build_unstripped("gracenet-httpd")?)?;
    println!("symbols      {symbols} in the unstripped build, none of an allocator or a libc");

    for features in ["", "systemd,"] {
        let features = format!("{features}gracenet-start/panic-is-a-link-error");
        workspace.link_without_panics("gracenet-httpd", &features)?;
    }
    println!("panics       none can be reached: it links without a panic handler");

    // Every figure is told before the first that is too large.
    let peak = peak_memory(&binary)?;
    println!(
        "peak memory  {peak} KiB of at most {MOST_MEMORY_KIB}, with {CONNECTIONS} connections"
    );
    let init = init::run(workspace);
    ensure!(
        bytes <= MOST_BYTES,
        "the daemon is larger than {MOST_BYTES} bytes"
    );
    ensure!(
        small <= MOST_BYTES_SMALL,
        "the daemon without features is larger than {MOST_BYTES_SMALL} bytes"
    );
    ensure!(
        for_systemd <= MOST_BYTES_FOR_SYSTEMD,
        "the daemon for systemd is larger than {MOST_BYTES_FOR_SYSTEMD} bytes"
    );
    ensure!(
        peak <= MOST_MEMORY_KIB,
        "the daemon needs more than {MOST_MEMORY_KIB} KiB"
    );
    init?;
    Ok(Outcome::Done)
}

/// Builds the daemon without its features, in a target folder of its own.
fn build_small(workspace: &Workspace) -> Result<PathBuf> {
    let target = workspace.target.join("small");
    let arguments = ["build", "--release", "-p", "gracenet-httpd"];
    let mut command = workspace.cargo(arguments);
    command
        .arg("--no-default-features")
        .env_remove("GRACENET_HTTPD_TAG")
        .env("CARGO_TARGET_DIR", &target);
    step::run(&mut command)?;
    Ok(target.join("release").join("gracenet-httpd"))
}

fn check_static(binary: &Path) -> Result<()> {
    let data = fs::read(binary)?;
    let header = FileHeader64::<Endianness>::parse(&*data).context("no 64-bit ELF file")?;
    let endian = header.endian()?;
    for segment in header.program_headers(endian, &*data)? {
        match segment.p_type(endian) {
            PT_INTERP => bail!("the program asks for an interpreter"),
            PT_DYNAMIC => bail!("the program has a dynamic section"),
            _ => {}
        }
    }
    Ok(())
}

/// How many symbols there are, when none is unwanted.
fn check_symbols(binary: &Path) -> Result<usize> {
    let data = fs::read(binary)?;
    let file = ElfFile64::<Endianness>::parse(&*data)?;
    let names: Vec<&str> = file
        .symbols()
        .filter_map(|symbol| symbol.name().ok())
        .collect();
    // Without a symbol that must be there, the absence of others says nothing.
    ensure!(
        names.contains(&"_start"),
        "the unstripped build has no symbols"
    );
    for name in &names {
        if let Some(unwanted) = UNWANTED.iter().find(|unwanted| name.contains(**unwanted)) {
            bail!("the program links {name}, which is of {unwanted}");
        }
    }
    Ok(names.len())
}

/// VmHWM with all connections open, each of them served.
fn peak_memory(binary: &Path) -> Result<u64> {
    process::become_subreaper()?;
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let place = folder.path().join("gracenet-httpd");
    deploy(binary, &place)?;
    let daemon = Daemon::start(&[], &place, folder.path())?;
    let mut process = Process::open(daemon.ask()?.pid)?;
    let mut connections: Vec<Box<dyn Connection>> = Vec::new();
    for (number, endpoint) in (0..CONNECTIONS).zip(daemon.endpoints().into_iter().cycle()) {
        let mut connection = connect(endpoint)?;
        let answer = serve_once(&mut *connection);
        answer.with_context(|| format!("connection {number} over {endpoint}"))?;
        ask_status(&mut *connection)?;
        connections.push(connection);
    }
    let peak = process.peak_kib().context("the daemon's VmHWM")?;
    drop(connections);
    daemon.finish(&mut process)?;
    Ok(peak)
}

trait Connection: Read + Write {}

impl<C: Read + Write> Connection for C {}

fn connect(endpoint: &Endpoint) -> Result<Box<dyn Connection>> {
    Ok(match endpoint {
        Endpoint::Tcp(address) => {
            let stream = TcpStream::connect_timeout(address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Box::new(stream)
        }
        Endpoint::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Box::new(stream)
        }
    })
}

/// The answer that takes most, on a connection that stays open.
fn ask_status(connection: &mut dyn Connection) -> Result<()> {
    connection.write_all(b"GET /status HTTP/1.1\r\nHost: size\r\n\r\n")?;
    let mut received = Vec::new();
    let mut buffer = [0; 1024];
    while !received.ends_with(b"]}\n") {
        let length = connection.read(&mut buffer)?;
        ensure!(length > 0, "closed before the end of /status");
        received.extend_from_slice(&buffer[..length]);
    }
    Ok(())
}

/// One request on a connection that stays open.
fn serve_once(connection: &mut dyn Connection) -> Result<Answer> {
    connection.write_all(b"GET / HTTP/1.1\r\nHost: size\r\n\r\n")?;
    let mut received = Vec::new();
    let mut buffer = [0; 1024];
    while received.len() < 4096 {
        let length = connection.read(&mut buffer)?;
        ensure!(length > 0, "closed before an answer");
        received.extend_from_slice(&buffer[..length]);
        let body = received.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(answer) = body.and_then(|end| Answer::parse(&received[end + 4..])) {
            return Ok(answer);
        }
    }
    bail!("no answer in {} bytes", received.len());
}
