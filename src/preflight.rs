//! Whether a program could be executed, found out without executing it.
#![allow(unsafe_code)] // The kernel's own check is asked for by a raw system call.

use core::ffi::{CStr, c_char};
use core::ptr;

use heapless::Vec;
use linux_raw_sys::general as raw;
use linux_raw_sys::net::{AF_UNIX, SOCK_SEQPACKET};
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use rustix::fs::{self, CWD};
use rustix::io::{self, Errno};
use rustix::process::{Resource, getrlimit};

use crate::activation::{FIRST_FD, write_decimal};
use crate::changes::Changes;
use crate::error::{Error, Operation};
use crate::program::Program;
use crate::ready::{self, Told};
use crate::seat;
use crate::spawn::{Load, StartError, search_path};
use crate::sys;

/// How many findings are told apart.
const MOST: usize = 16;

/// How much of a file the kernel looks at to know its kind (BINPRM_BUF_SIZE, from Linux 5.1 on).
const HEAD: usize = 256;

/// The beginning of a file, with zeros behind a shorter one.
type Head = [u8; HEAD];

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

/// Takes all the fds that a start takes in this process, and gives them back: where a successor's
/// end of the channel would lie, if it gets one.
///
/// Goes with what [`NetView::start_process_with`](crate::NetView::start_process_with),
/// [`seat::occupy`] and the clone of [`crate::spawn`] do, in the same order.
pub(crate) fn check_fds(
    seat: Option<BorrowedFd<'_>>,
    foreign: bool,
    found: &mut dyn FnMut(StartError),
) -> Option<RawFd> {
    if foreign {
        if let Err(error) = take_pidfd() {
            found(error.into());
        }
        return None;
    }
    let taken = take_fds(seat);
    if let Err(error) = taken {
        found(error.into());
    }
    taken.ok()
}

fn take_fds(seat: Option<BorrowedFd<'_>>) -> Result<RawFd, Error> {
    let (_ours, theirs) = ready::channel(&Told::default())?;
    let channel = sys::lend(&theirs);
    let seat = seat::choose(seat, channel.as_raw_fd());
    let _kept = match seat == channel.as_raw_fd() {
        true => None,
        false => Some(sys::duplicate(channel, FIRST_FD)?),
    };
    take_pidfd()?;
    Ok(seat)
}

/// The child's, which comes with the clone from Linux 5.2 on.
fn take_pidfd() -> Result<(), Error> {
    let pidfd = match sys::pidfd_open(sys::getpid()) {
        // Where only this way to it is refused it is a number all the same.
        Err(error) if !is_lack(error.errno()) && sys::kernel_is_at_least(5, 2) => {
            sys::socket(AF_UNIX, SOCK_SEQPACKET)
        }
        opened => opened,
    };
    match pidfd {
        Err(error) if is_lack(error.errno()) => Err(Error::new(Operation::Clone, error.errno())),
        _ => Ok(()),
    }
}

/// The process or the machine has no more of it.
fn is_lack(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM)
}

/// Looks at what would be executed, with strings of which there are so many.
pub(crate) fn check(
    program: &Program<'_>,
    changes: &Changes<'_>,
    load: Option<&Load>,
    found: &mut dyn FnMut(StartError),
) {
    let mut refuse = |errno| {
        let operation = match is_lack(errno) {
            // A start takes fewer than looking does, and is not known to fail.
            true if changes.foreign => return,
            // A start would not come so far: it needs one for its channel first.
            true => Operation::Socketpair,
            false => Operation::Execve,
        };
        found(StartError::Failed(Error::new(operation, errno)));
    };
    let directory = program.directory.as_ref().map_or(CWD, sys::lend);
    let path = changes.path.or(program.path()).unwrap_or(c"");
    let mut room = Room::new(load);
    if let Some(executable) = changes.executable {
        let mut name = *b"/dev/fd/\0\0\0\0\0\0\0\0\0\0\0";
        let fd = load.map_or(0, |load| load.last_fd);
        let name = with_number(&mut name, fd);
        match sys::duplicate(executable, 0) {
            Ok(file) => follow(File::open_as(file), name, directory, &mut room, &mut refuse),
            Err(error) => refuse(error.errno()),
        }
    } else if path.to_bytes().contains(&b'/') {
        match File::open(directory, path) {
            Ok(file) => follow(file, path, directory, &mut room, &mut refuse),
            Err(errno) => refuse(errno),
        }
    } else if !path.is_empty() {
        let mut candidate = Vec::new();
        match search(program, directory, path, &mut candidate) {
            Ok(file) => {
                let path = CStr::from_bytes_until_nul(&candidate).unwrap_or(c"");
                follow(file, path, directory, &mut room, &mut refuse);
            }
            Err(errno) => refuse(errno),
        }
    }
    // That there is no path at all is told by the caller.
    if room.is_exceeded {
        refuse(Errno::TOOBIG);
    }
}

/// A file to be looked at and not read: it may be executable and not readable.
struct File {
    fd: OwnedFd,
    /// What is given out again by a start, not by its path but as an fd that is closed by then.
    is_open: bool,
}

impl File {
    fn open(directory: BorrowedFd<'_>, path: &CStr) -> Result<File, Errno> {
        if path.is_empty() {
            // Of an interpreter: to the kernel itself, that is the working directory.
            return Err(Errno::ACCESS);
        }
        Ok(File {
            fd: open(directory, path, raw::O_PATH)?,
            is_open: false,
        })
    }

    fn open_as(fd: OwnedFd) -> File {
        File { fd, is_open: true }
    }

    /// A regular file that may be executed by us. Before Linux 5.8 nobody says the latter.
    fn may_execute(&self) -> bool {
        let file = sys::lend(&self.fd);
        let refused = matches!(sys::check_executable(file), Err(error) if error.is(Errno::ACCESS));
        !refused && sys::file(file).is_regular()
    }

    /// Whether it could be opened to be executed.
    fn check(&self) -> Result<(), Errno> {
        if !self.may_execute() {
            return Err(Errno::ACCESS);
        }
        match kernels_check(&self.fd) {
            Err(errno @ (Errno::TXTBSY | Errno::ACCESS | Errno::PERM)) => Err(errno),
            _ => Ok(()),
        }
    }

    /// Opened once more, to be read. What cannot be read can be executed all the same, so that
    /// why it cannot is of no interest, but for one thing.
    fn reopen(&self, directory: BorrowedFd<'_>, path: &CStr) -> Result<Option<OwnedFd>, Errno> {
        let mut link = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0";
        let link = with_number(&mut link, self.fd.as_raw_fd() as u32);
        let opened = match open(CWD, link, raw::O_NONBLOCK) {
            // There is no /proc. It may be another file by now.
            Err(Errno::NOENT) => open(directory, path, raw::O_NONBLOCK),
            opened => opened,
        };
        match opened {
            Ok(opened) => {
                let same = sys::file(sys::lend(&opened)) == sys::file(sys::lend(&self.fd));
                Ok(Some(opened).filter(|_| same))
            }
            Err(errno) if is_lack(errno) => Err(errno),
            Err(_) => Ok(None),
        }
    }
}

/// Opened for reading, unless it is O_PATH.
fn open(directory: BorrowedFd<'_>, path: &CStr, flags: u32) -> Result<OwnedFd, Errno> {
    sys::open_in(directory, path.to_bytes_with_nul(), flags, 0).map_err(Errno::from)
}

/// `text` ends in eleven zeros, of which those in front become the digits.
fn with_number<const N: usize>(text: &mut [u8; N], number: u32) -> &CStr {
    let mut digits = [0; 10];
    let digits = write_decimal(&mut digits, number);
    for (to, from) in text.iter_mut().skip(N.saturating_sub(11)).zip(digits) {
        *to = *from;
    }
    CStr::from_bytes_until_nul(text).unwrap_or(c"")
}

/// The first file of that name along `PATH` that could be executed, or, if none can, why not: as
/// the successor would. Its path is in `candidate`.
fn search(
    program: &Program<'_>,
    directory: BorrowedFd<'_>,
    name: &CStr,
    candidate: &mut PathBuf,
) -> Result<File, Errno> {
    let mut refused = Errno::NOENT;
    for folder in search_path(program).split(|byte| *byte == b':') {
        candidate.clear();
        let slash: &[u8] = if folder.is_empty() { b"" } else { b"/" };
        let parts = [folder, slash, name.to_bytes_with_nul()];
        if parts
            .iter()
            .any(|part| candidate.extend_from_slice(part).is_err())
        {
            continue;
        }
        let Ok(candidate) = CStr::from_bytes_until_nul(candidate) else {
            continue;
        };
        match File::open(directory, candidate) {
            Ok(file) if file.may_execute() => return Ok(file),
            Ok(_) | Err(Errno::ACCESS) => refused = Errno::ACCESS,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(refused)
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

/// The room that the kernel has for the strings of a new process, and how much of it is used, as
/// Linux counts it from 5.1 on: a pointer for each argument and variable, their bytes, and the name
/// of the file.
struct Room {
    limit: usize,
    used: usize,
    /// Of the first argument, which is another for the interpreter of a script.
    first: usize,
    is_exceeded: bool,
}

impl Room {
    fn new(load: Option<&Load>) -> Room {
        let Some(load) = load else {
            // What is known to be too much already.
            return Room {
                limit: usize::MAX,
                used: 0,
                first: 0,
                is_exceeded: false,
            };
        };
        let stack = getrlimit(Resource::Stack).current.unwrap_or(u64::MAX);
        let limit = (stack / 4).clamp(STRINGS_MIN, STRINGS_MAX) as usize;
        let mut room = Room {
            limit,
            used: 0,
            first: load.first,
            is_exceeded: false,
        };
        room.add(load.count.saturating_mul(size_of::<usize>()));
        room.add(load.bytes);
        room
    }

    fn add(&mut self, bytes: usize) {
        self.used = self.used.saturating_add(bytes);
        self.is_exceeded |= self.used > self.limit;
    }

    /// A script's: in place of the first argument come its interpreter, that one's argument, if
    /// there is one, and the path of the script. The pointers are counted no more.
    fn rewrite(&mut self, script: &CStr, interpreter: &CStr, argument: Option<usize>) {
        self.used = self.used.saturating_sub(self.first);
        self.add(script.count_bytes().saturating_add(1));
        if let Some(length) = argument {
            self.add(length.saturating_add(1));
        }
        self.first = interpreter.count_bytes().saturating_add(1);
        self.add(self.first);
    }
}

/// Three quarters of _STK_LIM, and ARG_MAX.
const STRINGS_MAX: u64 = 6 << 20;
const STRINGS_MIN: u64 = 128 << 10;

/// How many files the kernel looks at, one the interpreter of the other, before it is ELOOP.
const MOST_FILES: usize = 6;

/// Looks at a file, and at the interpreters that it names, as execve does.
fn follow(
    mut file: File,
    path: &CStr,
    directory: BorrowedFd<'_>,
    room: &mut Room,
    refuse: &mut dyn FnMut(Errno),
) {
    room.add(path.count_bytes().saturating_add(1));
    let mut path = match with_nul(path.to_bytes()) {
        Ok(path) => path,
        Err(errno) => return refuse(errno),
    };
    for _ in 0..MOST_FILES {
        let name = CStr::from_bytes_until_nul(&path).unwrap_or(c"");
        if let Err(errno) = file.check() {
            refuse(errno);
            // What is in it can be looked at all the same, unless nobody may execute it at all.
            if errno != Errno::TXTBSY {
                return;
            }
        }
        match look(&file, name, directory, room) {
            Ok(None) => return,
            Ok(Some((interpreter, next))) => {
                path = next;
                file = interpreter;
            }
            // Another than the kernel's own might know what to do with it.
            Err(Errno::NOEXEC) if has_handlers() => return,
            Err(errno) => return refuse(errno),
        }
    }
    match file.check() {
        Err(errno) => refuse(errno),
        Ok(()) => refuse(Errno::LOOP),
    }
}

/// The interpreter of a script, and its path; nothing of a program, or of what cannot be read.
fn look(
    file: &File,
    path: &CStr,
    directory: BorrowedFd<'_>,
    room: &mut Room,
) -> Result<Option<(File, PathBuf)>, Errno> {
    let Some(readable) = file.reopen(directory, path)? else {
        return Ok(None);
    };
    let head = read_head(&readable)?;
    if head.starts_with(b"#!") {
        let (interpreter, argument) = script_line(&head).ok_or(Errno::NOEXEC)?;
        // It would be given a name for the fd, which is closed by then.
        if file.is_open {
            return Err(Errno::NOENT);
        }
        let next = with_nul(interpreter)?;
        let interpreter = CStr::from_bytes_until_nul(&next).unwrap_or(c"");
        room.rewrite(path, interpreter, argument);
        let file = File::open(directory, interpreter)?;
        return Ok(Some((file, next)));
    }
    let Some(interpreter) = elf(&readable, &head) else {
        return Err(Errno::NOEXEC);
    };
    if let Some((at, length)) = interpreter {
        check_linker(&readable, at, length, directory)?;
    }
    Ok(None)
}

/// The longest path that the kernel takes, with its NUL.
const PATH_MAX: usize = 4096;

/// A path, with its NUL.
type PathBuf = Vec<u8, PATH_MAX>;

fn with_nul(path: &[u8]) -> Result<PathBuf, Errno> {
    let mut owned = Vec::from_slice(path).map_err(|_| Errno::NAMETOOLONG)?;
    owned.push(0).map_err(|_| Errno::NAMETOOLONG)?;
    Ok(owned)
}

/// Reads until the buffer is full or the file ends: how much.
fn read_at(file: &OwnedFd, buffer: &mut [u8], at: u64) -> Result<usize, Errno> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let at = at.saturating_add(done as u64);
        match io::retry_on_intr(|| io::pread(sys::lend(file), &mut *rest, at))? {
            0 => break,
            read => done = done.saturating_add(read),
        }
    }
    Ok(done)
}

fn read_head(file: &OwnedFd) -> Result<Head, Errno> {
    let mut head = [0; HEAD];
    read_at(file, &mut head, 0)?;
    Ok(head)
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Without the blanks in front.
fn skip_blanks(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    text
}

/// The interpreter that a script names, and how long the argument for it is, if there is one.
/// Nothing where there is none, or where it may be cut off.
///
/// A NUL ends the name, as well as the argument, and either may be empty then.
fn script_line(head: &Head) -> Option<(&[u8], Option<usize>)> {
    let rest = head.get(2..)?;
    let end = rest.iter().position(|byte| matches!(byte, b'\n' | 0));
    let mut line = match end {
        Some(end) if rest.get(end) == Some(&b'\n') => rest.get(..end)?,
        _ => {
            let begin = skip_blanks(rest).iter();
            if !begin.copied().any(|byte| is_blank(byte) || byte == 0) {
                return None;
            }
            rest.get(..HEAD - 3)?
        }
    };
    while let [shorter @ .., b' ' | b'\t'] = line {
        line = shorter;
    }
    let line = skip_blanks(line);
    if line.is_empty() {
        return None;
    }
    let mut bytes = line.iter().copied();
    let end = bytes.position(|byte| is_blank(byte) || byte == 0);
    let (interpreter, rest) = line.split_at_checked(end.unwrap_or(line.len()))?;
    let argument = match rest.first() {
        Some(byte) if is_blank(*byte) => {
            let rest = skip_blanks(rest);
            let end = rest.iter().position(|byte| *byte == 0);
            Some(end.unwrap_or(rest.len()))
        }
        _ => None,
    };
    Some((interpreter, argument))
}

/// Where an ELF file has what is looked at, as elf(5) lays it out.
struct Layout {
    /// The size of the header, and of a program header.
    header: usize,
    entry: usize,
    /// Of the header: where the program headers are, the size of one, and their number.
    table: usize,
    entry_size: usize,
    count: usize,
    /// Of a program header: where its part begins in the file, and how long that is.
    offset: usize,
    length: usize,
    /// Whether such numbers have eight bytes, and not four.
    is_wide: bool,
}

const WIDE: Layout = Layout {
    header: 64,
    entry: 56,
    table: 32,
    entry_size: 54,
    count: 56,
    offset: 8,
    length: 32,
    is_wide: true,
};

const NARROW: Layout = Layout {
    header: 52,
    entry: 32,
    table: 28,
    entry_size: 42,
    count: 44,
    offset: 4,
    length: 16,
    is_wide: false,
};

/// The processors of elf(5) whose programs this one executes: of its own, and of a narrower one
/// where the kernel has been built for them, which nobody can tell without trying. Nor can a
/// program of the narrower one tell that its kernel does not execute the other.
const PROCESSORS: (u16, &[u16]) = if cfg!(any(target_arch = "aarch64", target_arch = "arm")) {
    // EM_AARCH64; EM_ARM.
    (183, &[40])
} else if cfg!(target_arch = "riscv64") {
    // EM_RISCV is both.
    (243, &[243])
} else {
    // EM_X86_64; EM_386, EM_486, and x32.
    (62, &[3, 6, 62])
};

const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const PT_INTERP: u32 = 3;

/// The most that all program headers may have.
const MOST_HEADERS: u64 = 65_536;

/// Some program headers of either layout, each of them whole.
const CHUNK: usize = 4 * WIDE.entry * NARROW.entry / 8;

/// Where an interpreter is named, and in how many bytes.
type Named = (u64, u64);

/// Of an ELF program that the kernel would load: where it names its interpreter, if it does.
///
/// The kernel goes by the type, the processor and the program headers, and does not look at the
/// class and the byte order that the file says it has.
fn elf(file: &OwnedFd, head: &Head) -> Option<Option<Named>> {
    let (own, narrower) = PROCESSORS;
    let kind = u16::from_ne_bytes(field(head, 16)?);
    let processor = u16::from_ne_bytes(field(head, 18)?);
    if !head.starts_with(b"\x7fELF") || !matches!(kind, ET_EXEC | ET_DYN) {
        return None;
    }
    // This one does look at it.
    let is_other_class = cfg!(target_arch = "riscv64") && head.get(4) != Some(&2);
    if processor == own && !is_other_class {
        if let Some(found) = WIDE.interpreter(file, head) {
            return Some(found);
        }
    }
    match narrower.contains(&processor) {
        true => NARROW.interpreter(file, head),
        false => None,
    }
}

impl Layout {
    /// Goes through all program headers, each of which must be there.
    fn interpreter(&self, file: &OwnedFd, head: &Head) -> Option<Option<Named>> {
        let size = u16::from_ne_bytes(field(head, self.entry_size)?);
        let count = u16::from_ne_bytes(field(head, self.count)?);
        let mut left = u64::from(count).saturating_mul(self.entry as u64);
        if usize::from(size) != self.entry || left == 0 || left > MOST_HEADERS {
            return None;
        }
        let mut at = self.number(head, self.table)?;
        let mut found = None;
        while left > 0 {
            let mut chunk = [0; CHUNK];
            let length = left.min(CHUNK as u64);
            let chunk = chunk.get_mut(..length as usize)?;
            if read_at(file, chunk, at) != Ok(chunk.len()) {
                return None;
            }
            let mut headers = &*chunk;
            while let Some((header, rest)) = headers.split_at_checked(self.entry) {
                if found.is_none() && u32::from_ne_bytes(field(header, 0)?) == PT_INTERP {
                    let place = self.number(header, self.offset)?;
                    found = Some((place, self.number(header, self.length)?));
                }
                headers = rest;
            }
            at = at.checked_add(length)?;
            left = left.saturating_sub(length);
        }
        Some(found)
    }

    fn number(&self, bytes: &[u8], at: usize) -> Option<u64> {
        match self.is_wide {
            true => field(bytes, at).map(u64::from_ne_bytes),
            false => field(bytes, at).map(|bytes| u64::from(u32::from_ne_bytes(bytes))),
        }
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// The interpreter of an ELF program, which is one itself.
fn check_linker(
    file: &OwnedFd,
    at: u64,
    length: u64,
    directory: BorrowedFd<'_>,
) -> Result<(), Errno> {
    let mut path = [0; PATH_MAX];
    let path = match usize::try_from(length) {
        Ok(0 | 1) | Err(_) => None,
        Ok(length) => path.get_mut(..length),
    };
    let path = path.ok_or(Errno::NOEXEC)?;
    if read_at(file, path, at)? < path.len() {
        return Err(Errno::IO);
    }
    if path.last() != Some(&0) {
        return Err(Errno::NOEXEC);
    }
    let path = CStr::from_bytes_until_nul(path).unwrap_or(c"");
    let linker = File::open(directory, path)?;
    linker.check()?;
    let Some(readable) = linker.reopen(directory, path)? else {
        return Ok(());
    };
    let mut head = [0; HEAD];
    let length = read_at(&readable, &mut head, 0)?;
    if length < NARROW.header {
        return Err(Errno::IO);
    }
    match elf(&readable, &head) {
        Some(_) => Ok(()),
        None if length < WIDE.header => Err(Errno::IO),
        None => Err(Errno::LIBBAD),
    }
}

/// Whether somebody has told the kernel of other kinds of programs, by binfmt_misc.
///
/// Where that is not mounted nobody knows. Nothing is mounted by looking.
fn has_handlers() -> bool {
    let Ok(folder) = open(CWD, c"/proc/sys/fs/binfmt_misc", raw::O_PATH) else {
        return false;
    };
    let folder = sys::lend(&folder);
    if !fs::fstatfs(folder).is_ok_and(|found| found.f_type as u32 == BINFMTFS_MAGIC) {
        return false;
    }
    let mut status = [0; 8];
    let is_off = open(folder, c"status", 0)
        .is_ok_and(|file| read_at(&file, &mut status, 0).is_ok() && status == *b"disabled");
    let Ok(folder) = open(folder, c".", raw::O_DIRECTORY) else {
        return false;
    };
    let mut buffer = [0; 1024];
    let length = sys::entries(sys::lend(&folder), &mut buffer).unwrap_or(0);
    // `struct linux_dirent64`: its length at 16, its name at 19. Those that are always there come
    // first, or there is one among them that is not.
    let mut rest = buffer.get(..length).unwrap_or(&[]);
    while let Some(size) = field(rest, 16).map(u16::from_ne_bytes) {
        let Some((entry, behind)) = rest.split_at_checked(size.into()) else {
            break;
        };
        let name = entry.get(19..).map(CStr::from_bytes_until_nul);
        if !matches!(name, Some(Ok(name)) if NO_HANDLERS.contains(&name)) {
            return !is_off;
        }
        rest = behind;
    }
    false
}

const BINFMTFS_MAGIC: u32 = 0x4249_4e4d;

const NO_HANDLERS: [&CStr; 4] = [c".", c"..", c"status", c"register"];
