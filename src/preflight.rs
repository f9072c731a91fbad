//! Whether a program could be executed, found out without executing it.
#![allow(unsafe_code)] // The kernel's own check is asked for by a raw system call.

use core::ffi::{CStr, c_char};
use core::ptr;

use heapless::Vec;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, CWD, Mode, OFlags};
use rustix::io::{self, Errno};

use crate::changes::Changes;
use crate::error::{Error, Operation};
use crate::program::Program;
use crate::spawn::{PATH_MAX, StartError, search_path};
use crate::sys;

/// How many findings are told apart.
const MOST: usize = 16;

/// How much of a file is looked at, as execve does: enough for its kind and its interpreter.
const HEAD: usize = 256;

/// What [`Net::preflight`](crate::NetView::preflight) found. Nothing: it can be started.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    found: Vec<StartError, MOST>,
    more: usize,
}

impl Findings {
    pub(crate) fn add(&mut self, finding: StartError) {
        if !self.found.contains(&finding) && self.found.push(finding).is_err() {
            self.more = self.more.saturating_add(1);
        }
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The findings.
    pub fn iter(&self) -> core::slice::Iter<'_, StartError> {
        self.found.iter()
    }

    /// How many more there are than [`iter`](Self::iter) has room for.
    pub const fn more(&self) -> usize {
        self.more
    }
}

impl<'a> IntoIterator for &'a Findings {
    type Item = &'a StartError;
    type IntoIter = core::slice::Iter<'a, StartError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Looks at what would be executed.
pub(crate) fn check(
    program: &Program<'_>,
    changes: &Changes<'_>,
    found: &mut dyn FnMut(StartError),
) {
    let mut refuse = |errno| found(StartError::Failed(Error::new(Operation::Execve, errno)));
    let directory = program.directory.as_ref().map_or(CWD, AsFd::as_fd);
    let path = changes.path.or(program.path()).unwrap_or(c"");
    let opened = match changes.executable {
        Some(fd) => io::fcntl_dupfd_cloexec(fd, 0),
        // That there is none is told by the caller.
        None if path.is_empty() => return,
        None if path.to_bytes().contains(&b'/') => open(directory, path),
        None => search(program, directory, path),
    };
    match opened {
        Ok(file) => {
            check_file(&file, directory, &mut refuse);
            // Its interpreter is given a name for the fd, which is closed by then.
            if changes.executable.is_some() && is_script(&file) {
                refuse(Errno::NOENT);
            }
        }
        Err(errno) => refuse(errno),
    }
}

/// A file to be looked at and not read: it may be executable and not readable.
fn open(directory: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    fs::openat(
        directory,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// The first file of that name along `PATH` that could be executed, or, if none can, why not: as
/// the successor would.
fn search(program: &Program<'_>, directory: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    // SAFETY: a C string, of the environment or our own.
    let path = unsafe { CStr::from_ptr(search_path(program)) };
    let mut refused = Errno::NOENT;
    for folder in path.to_bytes().split(|byte| *byte == b':') {
        let mut candidate: PathBuf = Vec::new();
        let slash: &[u8] = if folder.is_empty() { b"" } else { b"/" };
        let parts = [folder, slash, name.to_bytes_with_nul()];
        if parts
            .iter()
            .any(|part| candidate.extend_from_slice(part).is_err())
        {
            continue;
        }
        let Ok(candidate) = CStr::from_bytes_until_nul(&candidate) else {
            continue;
        };
        match open(directory, candidate) {
            Ok(file) if may_execute(&file) => return Ok(file),
            Ok(_) | Err(Errno::ACCESS) => refused = Errno::ACCESS,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(refused)
}

/// A regular file that may be executed by us. Before Linux 5.8 nobody says the latter.
fn may_execute(file: &OwnedFd) -> bool {
    let file = sys::lend(file);
    let refused = matches!(sys::check_executable(file), Err(error) if error.is(Errno::ACCESS));
    !refused && sys::file(file).is_ok_and(|file| file.is_regular())
}

fn check_file(file: &OwnedFd, directory: BorrowedFd<'_>, refuse: &mut dyn FnMut(Errno)) {
    if !may_execute(file) {
        return refuse(Errno::ACCESS);
    }
    if let Err(errno @ (Errno::TXTBSY | Errno::ACCESS | Errno::PERM)) = kernels_check(file) {
        refuse(errno);
    }
    let Some(readable) = reopen(file) else { return };
    match interpreter(&readable) {
        Ok(None) => {}
        Ok(Some(path)) => {
            let interpreter = CStr::from_bytes_until_nul(&path).unwrap_or(c"");
            match open(directory, interpreter) {
                Ok(file) if may_execute(&file) => {}
                Ok(_) => refuse(Errno::ACCESS),
                Err(errno) => refuse(errno),
            }
        }
        Err(errno) => refuse(errno),
    }
}

/// A file that was opened to be looked at, opened once more to be read. What cannot be read can be
/// executed all the same.
fn reopen(file: &OwnedFd) -> Option<OwnedFd> {
    let mut link = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0";
    let mut digits = [0; 10];
    let number = crate::activation::write_decimal(&mut digits, file.as_raw_fd() as u32);
    for (to, from) in link.iter_mut().skip(14).zip(number) {
        *to = *from;
    }
    sys::open_to_read(&link).ok()
}

fn is_script(file: &OwnedFd) -> bool {
    let mut head = [0; 2];
    reopen(file).is_some_and(|file| read_at(&file, &mut head, 0) == Ok(2)) && head == *b"#!"
}

/// AT_EXECVE_CHECK; nothing where the kernel does not know it.
fn kernels_check(file: &OwnedFd) -> Result<(), Errno> {
    let argv: [*const c_char; 2] = [c"".as_ptr(), ptr::null()];
    let envp: [*const c_char; 1] = [ptr::null()];
    // SAFETY: arrays of C strings; with the flag nothing is executed, and a kernel without it
    // refuses (EINVAL).
    unsafe {
        sys::execveat(
            file.as_raw_fd(),
            argv.as_ptr(),
            envp.as_ptr(),
            sys::AT_EXECVE_CHECK,
        )
    }
    .map_err(Errno::from)
}

/// A path, with its NUL.
type PathBuf = Vec<u8, PATH_MAX>;

/// The interpreter that a file names, if any. Reads its head as execve does: of a script, or of an ELF program.
fn interpreter(file: &OwnedFd) -> Result<Option<PathBuf>, Errno> {
    let mut head = [0; HEAD];
    let length = read_at(file, &mut head, 0)?;
    let head = head.get(..length).unwrap_or(&[]);
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or(&[]);
        let mut words = line.split(|byte| matches!(byte, b' ' | b'\t' | 0));
        let path = words.find(|word| !word.is_empty()).ok_or(Errno::NOEXEC)?;
        return with_nul(path).map(Some);
    }
    if !head.starts_with(b"\x7fELF") {
        return Err(Errno::NOEXEC);
    }
    // Of another word size, such as i386 on x86-64: not looked into.
    let Some(elf) = Elf::parse(head) else {
        return Ok(None);
    };
    for index in 0..elf.program_headers.min(128) {
        let mut header = [0; ELF_PROGRAM_HEADER];
        let at = elf
            .program_header_size
            .saturating_mul(index)
            .saturating_add(elf.program_header_at);
        if read_at(file, &mut header, at)? < header.len() {
            return Err(Errno::NOEXEC);
        }
        if field::<4>(&header, 0).map(u32::from_ne_bytes) != Some(PT_INTERP) {
            continue;
        }
        let (at, size) = ELF_OFFSET_AND_SIZE;
        let at = field::<WORD>(&header, at).map_or(0, |bytes| usize::from_ne_bytes(bytes) as u64);
        let size = field::<WORD>(&header, size).map_or(0, usize::from_ne_bytes);
        let mut path = [0; PATH_MAX];
        let path = path.get_mut(..size).ok_or(Errno::NOEXEC)?;
        let length = read_at(file, path, at)?;
        let path = path.get(..length).unwrap_or(&[]);
        return with_nul(path.split(|byte| *byte == 0).next().unwrap_or(&[])).map(Some);
    }
    Ok(None)
}

fn with_nul(path: &[u8]) -> Result<PathBuf, Errno> {
    let mut owned = Vec::from_slice(path).map_err(|_| Errno::NAMETOOLONG)?;
    owned.push(0).map_err(|_| Errno::NAMETOOLONG)?;
    Ok(owned)
}

fn read_at(file: &OwnedFd, buffer: &mut [u8], at: u64) -> Result<usize, Errno> {
    io::retry_on_intr(|| io::pread(file, &mut *buffer, at))
}

/// Where an ELF file has its program headers. The layout is that of elf(5) for this processor.
struct Elf {
    program_header_at: u64,
    program_header_size: u64,
    program_headers: u64,
}

const WORD: usize = size_of::<usize>();
const WIDE: bool = WORD == 8;
const ELF_CLASS: u8 = if WIDE { 2 } else { 1 };
const ELF_PROGRAM_HEADER: usize = if WIDE { 56 } else { 32 };
/// Of a program header: where its part begins in the file, and how long that is.
const ELF_OFFSET_AND_SIZE: (usize, usize) = if WIDE { (8, 32) } else { (4, 16) };
const PT_INTERP: u32 = 3;

impl Elf {
    fn parse(head: &[u8]) -> Option<Elf> {
        let (table, size, count) = if WIDE { (32, 54, 56) } else { (28, 42, 44) };
        if head.get(4) != Some(&ELF_CLASS) {
            return None;
        }
        Some(Elf {
            program_header_at: usize::from_ne_bytes(field(head, table)?) as u64,
            program_header_size: u64::from(u16::from_ne_bytes(field(head, size)?)),
            program_headers: u64::from(u16::from_ne_bytes(field(head, count)?)),
        })
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}
