//! State that a process leaves to its successor: bytes in memory that cannot change any more.

use core::ffi::CStr;
use core::fmt;

use linux_raw_sys::general::{MFD_ALLOW_SEALING, MFD_NOEXEC_SEAL};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{self, SealFlags};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::error::{During, Error, Operation};
use crate::socket::above_stdio;
use crate::sys;

/// Bytes of a known version and length, in a file in memory (memfd) that is sealed.
///
/// It travels as any other fd, by its name: the predecessor makes one with [`seal`](Self::seal) and
/// [`lend`](crate::Changes::lend)s it to the successor that it starts, which
/// [`claim`](crate::NetView::claim)s it and closes it when it has read it. The predecessor drops
/// its own when the start is done, whatever became of the successor; the next one gets another.
/// One that is to go to every successor is [`insert`](crate::NetView::insert)ed into the table.
///
/// What the bytes mean is the program's affair; a new program can find the state of an older or,
/// after a step back, of a newer one. Hence the version: one that is not known is told by
/// [`check_version`](Self::check_version), and is no reason to end.
///
/// The fd is borrowed. Nothing is allocated, nothing mapped, and the offset of the file, which
/// all its copies share, stays at 0: it can be read from several threads and processes at once.
/// Who has no crate for it reads 32 bytes first: `gracenet capsule`, the version in four bytes,
/// four that are 0, and the length of the rest in eight; numbers are little-endian.
///
/// # Examples
///
/// ```
/// use std::os::fd::AsFd as _;
///
/// use gracenet::{Capsule, Changes, Net};
///
/// let mut net: Net<8> = Net::new();
/// let web = net.listen("tcp", "127.0.0.1:0")?;
/// // In the predecessor, for this start only:
/// let state = Capsule::seal(2, &[b"served ", b"1234"])?;
/// let lent = [("state", state.as_fd())];
/// let changes = Changes::new().lend(&lent)?;
/// // net.start_process_with(&program, &changes)?;
/// # let _ = changes;
/// # let state = net.insert("state", state)?;
///
/// // In the successor, where `state` is `net.claim("state")`:
/// let capsule = Capsule::open(net.borrow(state)?)?;
/// let mut buffer = [0; 64];
/// match capsule.version() {
///     2 => assert_eq!(capsule.read(&mut buffer)?, b"served 1234"),
///     other => eprintln!("state of version {other}: starting without"),
/// }
/// net.close(state)?;
/// # let _ = web;
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Capsule<'fd> {
    fd: BorrowedFd<'fd>,
    version: u32,
    length: u64,
}

impl<'fd> Capsule<'fd> {
    /// `Capsule::seal(version, parts)` — these bytes, one part behind the other, for good.
    ///
    /// The fd is the caller's. It is CLOEXEC and no standard stream; the memory is freed with its
    /// last copy, in whatever process. It counts as this process' memory, for a cgroup too.
    ///
    /// # Errors
    ///
    /// Nothing is left of it.
    /// - `memfd_create: os error 24` (EMFILE): RLIMIT_NOFILE is reached.
    /// - `memfd_create: os error 38` (ENOSYS): the kernel is too old.
    /// - `pwrite: os error 12`, `28` (ENOMEM, ENOSPC): there is not so much memory.
    /// - `pwrite: os error 27` (EFBIG): RLIMIT_FSIZE, which holds for memory too. It is looked at
    ///   before, so that there is no SIGXFSZ.
    ///
    /// # Linux
    ///
    /// Needs 3.17. From 6.3 on the file can never be made executable (MFD_NOEXEC_SEAL), as
    /// machines with `vm.memfd_noexec` want it.
    ///
    /// # References
    ///
    /// - [memfd_create(2)](https://man7.org/linux/man-pages/man2/memfd_create.2.html)
    /// - [F_ADD_SEALS(2const)](https://man7.org/linux/man-pages/man2/F_ADD_SEALS.2const.html)
    #[doc(alias = "memfd_create")]
    #[doc(alias = "F_ADD_SEALS")]
    pub fn seal(version: u32, parts: &[&[u8]]) -> Result<OwnedFd, Error> {
        let lengths = parts.iter().map(|part| part.len() as u64);
        let length = lengths.fold(0_u64, u64::saturating_add);
        let size = length.saturating_add(HEADER as u64);
        if getrlimit(Resource::Fsize)
            .current
            .is_some_and(|limit| size > limit)
        {
            return Err(Error::new(Operation::Pwrite, Errno::FBIG));
        }
        let fd = above_stdio(create()?)?;
        let header = header(version, length);
        let mut at = 0;
        write_at(sys::lend(&fd), &mut at, header.as_flattened())?;
        for part in parts {
            write_at(sys::lend(&fd), &mut at, part)?;
        }
        fs::fcntl_add_seals(sys::lend(&fd), SEALS | SealFlags::SEAL).during(Operation::Fcntl)?;
        Ok(fd)
    }

    /// `Capsule::open(fd)` — looks whether `fd` is a capsule, whole, and sealed so that nobody
    /// can change it while it is read.
    ///
    /// # Errors
    ///
    /// [`CapsuleError`]; the fd is as it was.
    pub fn open(fd: BorrowedFd<'fd>) -> Result<Capsule<'fd>, CapsuleError> {
        // First: what is sealed now stays so, and what is read after this can be relied upon.
        let seals = match fs::fcntl_get_seals(fd) {
            Ok(seals) => seals,
            // No file in memory.
            Err(Errno::INVAL) => return Err(CapsuleError::NoCapsule),
            Err(errno) => return Err(Error::new(Operation::Fcntl, errno).into()),
        };
        let size = fs::fstat(fd).during(Operation::Stat)?.st_size as u64;
        let mut header = [[0; 8]; HEADER / 8];
        let mut found = 0;
        read_at(fd, &mut found, header.as_flattened_mut())?;
        let (magic, version, length) = fields(header);
        let version = match u32::try_from(version) {
            Ok(version) if found >= size_of_val(&MAGIC) as u64 && magic == MAGIC => version,
            _ => return Err(CapsuleError::NoCapsule),
        };
        if !seals.contains(SEALS) {
            return Err(CapsuleError::Unsealed);
        }
        match size.checked_sub(HEADER as u64) {
            Some(behind) if behind == length => Ok(Capsule {
                fd,
                version,
                length,
            }),
            behind => Err(CapsuleError::Length {
                said: length,
                found: behind.unwrap_or(0),
            }),
        }
    }

    /// What [`seal`](Self::seal) was told: which form the bytes have.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// `capsule.check_version(version)` — the capsule, if it has this version.
    ///
    /// # Errors
    ///
    /// [`CapsuleError::Version`], which says what it has.
    pub const fn check_version(self, version: u32) -> Result<Capsule<'fd>, CapsuleError> {
        if self.version == version {
            Ok(self)
        } else {
            Err(CapsuleError::Version {
                found: self.version,
            })
        }
    }

    /// How many bytes there are.
    pub const fn len(&self) -> u64 {
        self.length
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// `capsule.read_at(offset, buffer)` — the bytes from there on: how many of them.
    ///
    /// It is less than the buffer holds only where the capsule ends, and 0 behind its end.
    ///
    /// # Errors
    ///
    /// - `pread`: the fd cannot be read.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        if offset >= self.length {
            return Ok(0);
        }
        let begin = offset.saturating_add(HEADER as u64);
        let mut end = begin;
        read_at(self.fd, &mut end, buffer)?;
        Ok(end.wrapping_sub(begin) as usize)
    }

    /// `capsule.read(buffer)` — all of it, in the first part of the buffer.
    ///
    /// # Errors
    ///
    /// - [`CapsuleError::TooLong`]: it does not fit. Nothing has been read.
    /// - [`CapsuleError::Failed`]: the fd cannot be read.
    pub fn read<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b mut [u8], CapsuleError> {
        let (length, room) = (self.length, buffer.len());
        let fits = usize::try_from(length)
            .ok()
            .and_then(|length| buffer.get_mut(..length));
        let buffer = fits.ok_or(CapsuleError::TooLong { length, room })?;
        self.read_exact(buffer)?;
        Ok(buffer)
    }

    /// `capsule.read_exact(buffer)` — all of it, which is as long as the buffer.
    ///
    /// # Errors
    ///
    /// - [`CapsuleError::Length`]: it has another length. Nothing has been read.
    /// - [`CapsuleError::Failed`]: the fd cannot be read.
    pub fn read_exact(&self, buffer: &mut [u8]) -> Result<(), CapsuleError> {
        let said = buffer.len() as u64;
        let mut found = self.length;
        if found == said {
            let mut end = HEADER as u64;
            read_at(self.fd, &mut end, buffer)?;
            found = end.wrapping_sub(HEADER as u64);
        }
        match found == said {
            true => Ok(()),
            false => Err(CapsuleError::Length { said, found }),
        }
    }
}

/// Why there is no state to be had of an fd.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CapsuleError {
    /// It is something else: no file in memory, or one without the mark of a capsule.
    NoCapsule,
    /// It is one, but is not sealed: it could change while it is read.
    Unsealed,
    /// It is one, but not whole, or more than that.
    Length {
        /// How many bytes it says it has, or is to have.
        said: u64,
        /// How many there are.
        found: u64,
    },
    /// It is one of another version.
    Version {
        /// Which.
        found: u32,
    },
    /// It does not fit where it should be read to.
    TooLong {
        /// How many bytes it has.
        length: u64,
        /// How many there is room for.
        room: usize,
    },
    /// A system call failed.
    Failed(Error),
}

impl From<Error> for CapsuleError {
    fn from(error: Error) -> CapsuleError {
        CapsuleError::Failed(error)
    }
}

impl fmt::Display for CapsuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CapsuleError::NoCapsule => f.write_str("not a capsule"),
            CapsuleError::Unsealed => f.write_str("the capsule is not sealed"),
            CapsuleError::Length { said, found } => {
                write!(f, "the capsule has {found} bytes of {said}")
            }
            CapsuleError::Version { found } => {
                write!(f, "the capsule has the unknown version {found}")
            }
            CapsuleError::TooLong { length, room } => {
                write!(f, "the capsule has {length} bytes, and {room} fit")
            }
            CapsuleError::Failed(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for CapsuleError {}

const MAGIC: [[u8; 8]; 2] = [*b"gracenet", *b" capsule"];

/// The magic, the version, four bytes for later, and the length of what follows.
const HEADER: usize = 32;

/// Without which a capsule could change under its reader.
const SEALS: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::WRITE);

/// Goes with [`fields`].
fn header(version: u32, length: u64) -> [[u8; 8]; HEADER / 8] {
    let [first, second] = MAGIC;
    let version = u64::from(version).to_le_bytes();
    [first, second, version, length.to_le_bytes()]
}

/// Goes with [`header`]: the magic, the version and what is reserved, the length.
fn fields([first, second, version, length]: [[u8; 8]; HEADER / 8]) -> ([[u8; 8]; 2], u64, u64) {
    let (version, length) = (u64::from_le_bytes(version), u64::from_le_bytes(length));
    ([first, second], version, length)
}

fn create() -> Result<OwnedFd, Error> {
    const NAME: &CStr = c"gracenet-capsule";
    match sys::memfd(NAME, MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL) {
        // Before Linux 6.3.
        Err(error) if error.is(Errno::INVAL) => sys::memfd(NAME, MFD_ALLOW_SEALING),
        created => created,
    }
}

/// Writes all of it, and moves on to where it ends. The offset of the file stays.
#[inline(never)]
fn write_at(fd: BorrowedFd<'_>, at: &mut u64, mut bytes: &[u8]) -> Result<(), Error> {
    while !bytes.is_empty() {
        let written = sys::write_at(fd, bytes, *at)?;
        if written == 0 {
            // Not an answer that the kernel gives, but one on which this would go on for ever.
            return Err(Error::new(Operation::Pwrite, Errno::IO));
        }
        bytes = bytes.get(written..).unwrap_or(&[]);
        *at = at.wrapping_add(written as u64);
    }
    Ok(())
}

/// Reads until the buffer is full or the file ends, and moves on to there. The offset of the file
/// stays.
#[inline(never)]
fn read_at(fd: BorrowedFd<'_>, at: &mut u64, mut buffer: &mut [u8]) -> Result<(), Error> {
    while !buffer.is_empty() {
        let read = sys::read_at(fd, buffer, *at)?;
        if read == 0 {
            break;
        }
        buffer = buffer.get_mut(read..).unwrap_or_default();
        *at = at.wrapping_add(read as u64);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use rustix::fd::AsFd as _;
    use rustix::io;
    use std::string::ToString as _;
    use std::vec::Vec;

    /// A file in memory with these bytes and these seals.
    fn memfd(bytes: &[u8], seals: SealFlags) -> OwnedFd {
        let fd = create().unwrap();
        write_at(fd.as_fd(), &mut 0, bytes).unwrap();
        fs::fcntl_add_seals(&fd, seals).unwrap();
        fd
    }

    fn refused(fd: OwnedFd) -> CapsuleError {
        Capsule::open(fd.as_fd()).unwrap_err()
    }

    #[test]
    fn what_was_sealed_is_read_back_and_the_offset_stays() {
        let fd = Capsule::seal(7, &[b"one", b"", b" and two"]).unwrap();
        let capsule = Capsule::open(fd.as_fd()).unwrap();
        assert_eq!(capsule.version(), 7);
        assert_eq!((capsule.len(), capsule.is_empty()), (11, false));
        for _ in 0..2 {
            let mut buffer = [b'x'; 16];
            assert_eq!(capsule.read(&mut buffer).unwrap(), b"one and two");
            assert_eq!(&buffer[11..], b"xxxxx");
        }
        let mut buffer = [0; 4];
        assert_eq!(capsule.read_at(4, &mut buffer), Ok(4));
        assert_eq!(&buffer, b"and ");
        assert_eq!(capsule.read_at(8, &mut buffer), Ok(3));
        assert_eq!(&buffer[..3], b"two");
        for end in [11, 12, u64::MAX] {
            assert_eq!(capsule.read_at(end, &mut buffer), Ok(0));
        }
        assert_eq!(fs::seek(&fd, fs::SeekFrom::Current(0)), Ok(0));
    }

    #[test]
    fn capsule_without_bytes_and_one_with_many() {
        let fd = Capsule::seal(0, &[]).unwrap();
        let capsule = Capsule::open(fd.as_fd()).unwrap();
        assert!(capsule.is_empty());
        assert_eq!(capsule.read(&mut []).unwrap(), b"");

        let part: Vec<u8> = (0..1_000_003_u32)
            .map(|index| (index % 251) as u8)
            .collect();
        let fd = Capsule::seal(u32::MAX, &[&part, &part]).unwrap();
        let capsule = Capsule::open(fd.as_fd()).unwrap();
        let mut buffer = std::vec![0; 3_000_000];
        let read = capsule.read(&mut buffer).unwrap();
        assert!(*read == [part.as_slice(), &part].concat());
        let mut byte = [0];
        assert_eq!(capsule.read_at(1_000_003 + 250, &mut byte), Ok(1));
        assert_eq!(byte, [250]);
    }

    #[test]
    fn nobody_can_change_a_capsule() {
        let fd = Capsule::seal(1, &[b"state"]).unwrap();
        assert_eq!(io::pwrite(&fd, b"x", 40), Err(Errno::PERM));
        assert_eq!(fs::ftruncate(&fd, 0), Err(Errno::PERM));
        assert_eq!(fs::ftruncate(&fd, 4096), Err(Errno::PERM));
        assert_eq!(
            fs::fcntl_add_seals(&fd, SealFlags::FUTURE_WRITE),
            Err(Errno::PERM)
        );
        assert_eq!(io::fcntl_getfd(&fd), Ok(io::FdFlags::CLOEXEC));
    }

    #[test]
    fn unknown_version_is_told() {
        let fd = Capsule::seal(3, &[b"state"]).unwrap();
        let capsule = Capsule::open(fd.as_fd()).unwrap();
        assert_eq!(
            capsule.check_version(2).unwrap_err(),
            CapsuleError::Version { found: 3 }
        );
        let capsule = capsule.check_version(3).unwrap();
        let error = capsule.read(&mut [0; 4]).unwrap_err();
        assert_eq!(error, CapsuleError::TooLong { length: 5, room: 4 });
        assert_eq!(error.to_string(), "the capsule has 5 bytes, and 4 fit");

        let mut state = [0; 6];
        for size in [4, 6] {
            let error = capsule.read_exact(&mut state[..size]).unwrap_err();
            let length = CapsuleError::Length {
                said: size as u64,
                found: 5,
            };
            assert_eq!((error, state), (length, [0; 6]));
        }
        capsule.read_exact(&mut state[..5]).unwrap();
        assert_eq!(&state, b"state\0");
    }

    #[test]
    fn what_is_no_capsule_is_told_apart_from_one_that_is_damaged() {
        let whole = [header(1, 5).as_flattened(), b"state"].concat();
        let all = SEALS | SealFlags::SEAL;
        assert!(Capsule::open(memfd(&whole, SEALS).as_fd()).is_ok());

        // No file in memory; none with the mark; one that is to be understood later.
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        assert_eq!(refused(reader), CapsuleError::NoCapsule);
        drop(writer);
        let null = fs::open("/dev/null", fs::OFlags::RDONLY, fs::Mode::empty()).unwrap();
        assert_eq!(refused(null), CapsuleError::NoCapsule);
        assert_eq!(refused(memfd(b"", all)), CapsuleError::NoCapsule);
        assert_eq!(refused(memfd(&[0; 64], all)), CapsuleError::NoCapsule);
        assert_eq!(refused(memfd(&whole[1..], all)), CapsuleError::NoCapsule);
        assert_eq!(
            refused(memfd(&MAGIC.as_flattened()[..15], all)),
            CapsuleError::NoCapsule
        );
        let mut later = whole.clone();
        later[20] = 1;
        assert_eq!(refused(memfd(&later, all)), CapsuleError::NoCapsule);

        for missing in [SealFlags::SHRINK, SealFlags::GROW, SealFlags::WRITE] {
            let fd = memfd(&whole, all - missing);
            assert_eq!(refused(fd), CapsuleError::Unsealed);
        }

        let length = |said, found| CapsuleError::Length { said, found };
        for (cut, expected) in [
            (&whole[..36], length(5, 4)),
            (&whole[..32], length(5, 0)),
            (&whole[..24], length(0, 0)),
            (&whole[..16], length(0, 0)),
            (&[whole.as_slice(), b"!"].concat(), length(5, 6)),
        ] {
            assert_eq!(refused(memfd(cut, all)), expected);
        }
        let huge = header(1, u64::MAX);
        assert_eq!(
            refused(memfd(huge.as_flattened(), all)),
            length(u64::MAX, 0)
        );
    }
}
