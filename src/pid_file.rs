//! A file with the pid of the process that serves, for those who look for it there.

use core::ffi::CStr;

use linux_raw_sys::general as raw;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags};
use rustix::io::{self, Errno};

use crate::activation::write_decimal;
use crate::error::{During, Error, Operation};
use crate::socket::above_stdio;
use crate::sys;

/// A pid file that this process has written.
///
/// A supervisor that follows it (systemd's `PIDFile=`, monit, a shell script) reads whole numbers
/// at any time: a new file is made under another name in the same folder, `.NAME.PID`, and takes
/// the place of the old one in a single step. So each generation writes its own over that of its
/// predecessor, once it is [ready](crate::NetView::ready); the predecessor's [`remove`] finds
/// that it is not its own any more, and leaves it.
///
/// It owns an fd of the folder, which is CLOEXEC and refers to no file that can be read (O_PATH):
/// a path that is not absolute, or leads through a symbolic link that changes with each release,
/// goes on meaning the same folder. Dropping it does not remove the file.
///
/// [`remove`]: PidFile::remove
///
/// # Examples
///
/// ```
/// use gracenet::{Net, PidFile};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("server.pid");
/// # let path = path.as_os_str().as_encoded_bytes();
/// let mut net: Net<8> = Net::new();
/// let web = net.listen("tcp", "127.0.0.1:0")?;
/// let admin = net.listen("unix", "@gracenet-pid-file-example")?;
/// net.ready()?;
/// let pid_file = PidFile::write(path)?; // b"/run/server.pid"
///
/// // The last connection has ended:
/// assert!(pid_file.remove()?); // no successor has written its own
/// # let _ = (web, admin);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PidFile<'p> {
    folder: OwnedFd,
    name: &'p [u8],
}

impl<'p> PidFile<'p> {
    /// `PidFile::write(path)` — writes this process' pid and a newline to `path`, in place of
    /// whatever is there.
    ///
    /// The file has mode 0644, of which the umask takes bits away. A symbolic link at `path` is
    /// replaced, not followed, and so is one under the name that is used meanwhile. Nothing is
    /// synced: after a crash of the machine a pid means nothing.
    ///
    /// # Errors
    ///
    /// What was at `path` stays as it was, and nothing else is left in the folder.
    /// - `open: os error 2` (ENOENT): the folder is not there; `20` (ENOTDIR): it is none.
    /// - `open: os error 13` (EACCES), `30` (EROFS): nothing can be written there.
    /// - `open: os error 36` (ENAMETOOLONG): the path is longer than 4095 bytes, or its last part
    ///   than 243, which leaves room for the pid.
    /// - `write: os error 28` (ENOSPC): the disk is full.
    /// - `rename: os error 21` (EISDIR): there is a folder at `path`.
    pub fn write(path: &'p (impl AsRef<[u8]> + ?Sized)) -> Result<PidFile<'p>, Error> {
        PidFile::write_as(path.as_ref(), sys::getpid())
    }

    /// `pid_file.write_again()` — writes this process' pid once more, in place of whatever is
    /// there: that of a successor which has failed after it was ready.
    ///
    /// # Errors
    ///
    /// As for [`write`](Self::write).
    pub fn write_again(&self) -> Result<(), Error> {
        self.put(sys::getpid())
    }

    /// `pid_file.remove()` — removes the file, if it still has this process' pid in it: whether
    /// that was so.
    ///
    /// That it is gone, or is another process' by now, is no error. The one that is removed is
    /// the one that was read, also when a successor replaces it in between.
    ///
    /// # Errors
    ///
    /// - `rename`, `unlink`: the file cannot be removed.
    /// - `open`, `read`: it cannot be read, and stays.
    pub fn remove(self) -> Result<bool, Error> {
        self.remove_as(sys::getpid())
    }

    fn write_as(path: &'p [u8], pid: u32) -> Result<PidFile<'p>, Error> {
        let (folder, name) = split(path);
        let folder = Text::<PATH_MAX>::new(&[folder]).during(Operation::Open)?;
        let folder = above_stdio(sys::open_directory(folder.as_c_str().to_bytes_with_nul())?)?;
        let pid_file = PidFile { folder, name };
        pid_file.put(pid)?;
        Ok(pid_file)
    }

    fn put(&self, pid: u32) -> Result<(), Error> {
        let place = Name::new(&[self.name]).during(Operation::Open)?;
        let name = aside(self.name, pid)?;
        InFolder::create(sys::lend(&self.folder), name, pid)?.rename(&place)
    }

    fn remove_as(&self, pid: u32) -> Result<bool, Error> {
        let place = Name::new(&[self.name]).during(Operation::Open)?;
        if !self.says(&place, pid)? {
            return Ok(false);
        }
        self.take(&place, pid)
    }

    /// Removes what is in its place if it is ours. It was, but a successor may have replaced it
    /// since: only under a name of its own is it safe from that.
    fn take(&self, place: &Name, pid: u32) -> Result<bool, Error> {
        let taken = InFolder {
            folder: sys::lend(&self.folder),
            name: aside(self.name, pid)?,
        };
        let (from, to) = (place.as_c_str(), taken.name.as_c_str());
        match fs::renameat(taken.folder, from, taken.folder, to) {
            Ok(()) => self.settle(taken, place, pid),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno).during(Operation::Rename),
        }
    }

    /// Removes what was taken out of its place if it is ours, else puts it back there, unless
    /// there is a newer one already.
    fn settle(&self, taken: InFolder<'_>, place: &Name, pid: u32) -> Result<bool, Error> {
        let ours = self.says(&taken.name, pid);
        if ours != Ok(true) {
            let (from, to) = (taken.name.as_c_str(), place.as_c_str());
            match fs::linkat(taken.folder, from, taken.folder, to, AtFlags::empty()) {
                Ok(()) | Err(Errno::EXIST) => {}
                // A file system without links: better an older one than none.
                Err(_) => return taken.rename(place).and(ours),
            }
        }
        taken.unlink()?;
        ours
    }

    /// Whether there is a file of that name, and this pid in it.
    fn says(&self, name: &Name, pid: u32) -> Result<bool, Error> {
        // NONBLOCK: it may be a FIFO, and then it is not ours.
        let flags = raw::O_RDONLY | raw::O_NOFOLLOW | raw::O_NONBLOCK;
        let fd = match sys::open_in(sys::lend(&self.folder), name.as_c_str(), flags, 0) {
            Ok(fd) => fd,
            // Gone, a symbolic link, or a socket.
            Err(error) if is_one_of(error, &[Errno::NOENT, Errno::LOOP, Errno::NXIO]) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let mut text = [0; ROOM];
        let mut length = 0;
        while let Some(rest) = text.get_mut(length..).filter(|rest| !rest.is_empty()) {
            match io::read(sys::lend(&fd), rest) {
                Ok(0) => break,
                Ok(read) => length = length.saturating_add(read),
                Err(Errno::INTR) => {}
                Err(Errno::ISDIR | Errno::AGAIN) => return Ok(false),
                Err(errno) => return Err(errno).during(Operation::Read),
            }
        }
        let digits = text.get(..length).and_then(|text| text.strip_suffix(b"\n"));
        Ok(digits == Some(write_decimal(&mut [0; 10], pid)))
    }
}

/// More than a pid and a newline take.
const ROOM: usize = 16;

/// The longest path, with its NUL.
const PATH_MAX: usize = 4096;

/// The name of a file, of up to 255 bytes (NAME_MAX).
type Name = Text<256>;

/// A C string, in place.
struct Text<const ROOM: usize> {
    bytes: [u8; ROOM],
}

impl<const ROOM: usize> Text<ROOM> {
    fn new(parts: &[&[u8]]) -> Result<Self, Errno> {
        let mut bytes = [0; ROOM];
        let mut free = bytes.iter_mut();
        for byte in parts.iter().copied().flatten() {
            match free.next() {
                _ if *byte == 0 => return Err(Errno::INVAL),
                Some(place) => *place = *byte,
                None => return Err(Errno::NAMETOOLONG),
            }
        }
        // For the NUL.
        free.next().ok_or(Errno::NAMETOOLONG)?;
        Ok(Text { bytes })
    }

    fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }
}

/// `.NAME.PID`, for a file that is not in its place yet, or not any more. It is no other process'
/// that sees this folder, but for one in another pid namespace.
fn aside(name: &[u8], pid: u32) -> Result<Name, Error> {
    if name.is_empty() {
        return Err(Error::new(Operation::Open, Errno::NOENT));
    }
    Name::new(&[b".", name, b".", write_decimal(&mut [0; 10], pid)]).during(Operation::Open)
}

fn is_one_of(error: Error, errnos: &[Errno]) -> bool {
    errnos.iter().any(|errno| error.is(*errno))
}

/// The folder of `path`, and the name in it.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        None => (b".", path),
        Some(0) => (b"/", path.get(1..).unwrap_or(b"")),
        Some(slash) => (
            path.get(..slash).unwrap_or(b""),
            path.get(slash.saturating_add(1)..).unwrap_or(b""),
        ),
    }
}

/// A file that is there under a name of its own. One of these two is its end.
#[must_use]
struct InFolder<'f> {
    folder: BorrowedFd<'f>,
    name: Name,
}

impl<'f> InFolder<'f> {
    /// A new file of this name, with a pid in it.
    fn create(folder: BorrowedFd<'f>, name: Name, pid: u32) -> Result<InFolder<'f>, Error> {
        let open = || {
            // EXCL: no symbolic link is followed, and nothing that is there is written to.
            let flags = raw::O_WRONLY | raw::O_CREAT | raw::O_EXCL;
            sys::open_in(folder, name.as_c_str(), flags, 0o644)
        };
        let fd = match open() {
            // Left behind by a process that was killed, and had our pid: as PID 1 always has.
            Err(error) if error.is(Errno::EXIST) => {
                match fs::unlinkat(folder, name.as_c_str(), AtFlags::empty()) {
                    Ok(()) => open()?,
                    Err(_) => return Err(error),
                }
            }
            opened => opened?,
        };
        let created = InFolder { folder, name };
        let mut line = [0; ROOM];
        let mut room = [0; 10];
        let digits = write_decimal(&mut room, pid);
        for (byte, digit) in line.iter_mut().zip(digits.iter().chain(b"\n")) {
            *byte = *digit;
        }
        let mut rest = line.get(..digits.len().saturating_add(1)).unwrap_or(b"");
        while !rest.is_empty() {
            let written = match io::write(sys::lend(&fd), rest) {
                Err(Errno::INTR) => continue,
                // Not an answer that the kernel gives, but this would go on for ever.
                Ok(0) => Err(Errno::IO),
                written => written,
            };
            match written.during(Operation::Write) {
                Ok(written) => rest = rest.get(written..).unwrap_or(b""),
                Err(error) => {
                    let _ = created.unlink();
                    return Err(error);
                }
            }
        }
        Ok(created)
    }

    /// Puts it in its place. If it cannot come there it is removed.
    fn rename(self, place: &Name) -> Result<(), Error> {
        let (from, to) = (self.name.as_c_str(), place.as_c_str());
        let renamed = fs::renameat(self.folder, from, self.folder, to);
        if renamed.is_err() {
            let _ = self.unlink();
        }
        renamed.during(Operation::Rename)
    }

    fn unlink(self) -> Result<(), Error> {
        fs::unlinkat(self.folder, self.name.as_c_str(), AtFlags::empty()).during(Operation::Unlink)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::ffi::OsStr;
    use std::fs as files;
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::{Path, PathBuf};
    use std::string::{String, ToString as _};
    use std::{format, thread};
    use tempfile::TempDir;

    struct Place {
        folder: TempDir,
        path: PathBuf,
    }

    impl Place {
        fn new() -> Place {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("server.pid");
            Place { folder, path }
        }

        fn bytes(&self) -> &[u8] {
            self.path.as_os_str().as_bytes()
        }

        fn text(&self) -> String {
            files::read_to_string(&self.path).unwrap()
        }

        /// What is in the folder.
        fn names(&self) -> std::vec::Vec<String> {
            names(self.folder.path())
        }
    }

    fn names(folder: &Path) -> std::vec::Vec<String> {
        let entries = files::read_dir(folder).unwrap();
        let name = |entry: files::DirEntry| entry.file_name().into_string().unwrap();
        let mut names: std::vec::Vec<_> = entries.map(|entry| name(entry.unwrap())).collect();
        names.sort();
        names
    }

    fn fails(path: &(impl AsRef<[u8]> + ?Sized)) -> String {
        PidFile::write(path).unwrap_err().to_string()
    }

    #[test]
    fn it_is_written_whole_and_removed() {
        let place = Place::new();
        let pid_file = PidFile::write(place.bytes()).unwrap();
        assert_eq!(place.text(), format!("{}\n", std::process::id()));
        assert_eq!(place.names(), ["server.pid"]);
        let mode = files::metadata(&place.path).unwrap().permissions().mode();
        // The umask is the machine's.
        assert_eq!(mode & 0o7133, 0, "{mode:o}");
        assert_eq!(mode & 0o600, 0o600, "{mode:o}");
        assert_eq!(pid_file.remove(), Ok(true));
        assert!(place.names().is_empty());
    }

    #[test]
    fn successors_file_stays() {
        let place = Place::new();
        let old = PidFile::write_as(place.bytes(), 1234).unwrap();
        let new = PidFile::write_as(place.bytes(), 123).unwrap();
        assert_eq!(old.remove_as(1234), Ok(false));
        assert_eq!(place.text(), "123\n");
        assert_eq!(new.remove_as(123), Ok(true));
        assert_eq!(new.remove_as(123), Ok(false));
        assert!(place.names().is_empty());
    }

    #[test]
    fn what_is_no_pid_file_of_ours_stays() {
        let place = Place::new();
        let pid_file = PidFile::write_as(place.bytes(), 42).unwrap();
        let other = place.folder.path().join("other");
        for text in [
            "",
            "4\n",
            "42",
            "42\n\n",
            "42\n43\n",
            "042\n",
            "42 0123456789012345\n",
        ] {
            files::write(&place.path, text).unwrap();
            assert_eq!(pid_file.remove_as(42), Ok(false), "{text:?}");
            assert_eq!(place.text(), text);
        }
        files::write(&other, "42\n").unwrap();
        files::remove_file(&place.path).unwrap();
        symlink(&other, &place.path).unwrap();
        assert_eq!(pid_file.remove_as(42), Ok(false));
        assert!(place.path.is_symlink() && other.exists());
        files::remove_file(&place.path).unwrap();
        files::create_dir(&place.path).unwrap();
        assert_eq!(pid_file.remove_as(42), Ok(false));
        files::remove_dir(&place.path).unwrap();
        assert_eq!(
            rustix::fs::mknodat(
                rustix::fs::CWD,
                &place.path,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RWXU,
                0
            ),
            Ok(())
        );
        assert_eq!(pid_file.remove_as(42), Ok(false));
        assert_eq!(place.names(), ["other", "server.pid"]);
    }

    #[test]
    fn symbolic_links_are_replaced_and_never_followed() {
        let place = Place::new();
        let victim = place.folder.path().join("victim");
        files::write(&victim, "precious").unwrap();
        let aside = place.folder.path().join(".server.pid.77");
        symlink(&victim, &aside).unwrap();
        symlink(&victim, &place.path).unwrap();
        let pid_file = PidFile::write_as(place.bytes(), 77).unwrap();
        assert_eq!(files::read_to_string(&victim).unwrap(), "precious");
        assert!(!place.path.is_symlink());
        assert_eq!(place.text(), "77\n");
        assert_eq!(place.names(), ["server.pid", "victim"]);
        assert_eq!(pid_file.remove_as(77), Ok(true));
    }

    /// As a process that is killed at the wrong moment leaves it, of which the pid comes again.
    #[test]
    fn leftover_of_the_same_pid_is_no_obstacle() {
        let place = Place::new();
        let aside = place.folder.path().join(".server.pid.1");
        files::write(&aside, "").unwrap();
        PidFile::write_as(place.bytes(), 1).unwrap();
        assert_eq!(place.text(), "1\n");
        assert_eq!(place.names(), ["server.pid"]);
        // What is no file is nobody's leftover.
        files::create_dir(&aside).unwrap();
        let error = PidFile::write_as(place.bytes(), 1).unwrap_err();
        assert_eq!(error, Error::new(Operation::Open, Errno::EXIST));
        assert_eq!(place.text(), "1\n");
    }

    #[test]
    fn errors_leave_nothing_behind() {
        let place = Place::new();
        let folder = place.folder.path();
        files::write(folder.join("file"), "").unwrap();
        files::create_dir(&place.path).unwrap();
        files::write(place.path.join("in it"), "").unwrap();
        let at = |name: &str| folder.join(name).into_os_string().into_vec();
        assert_eq!(fails(place.bytes()), "rename: os error 21");
        assert_eq!(fails(&at("none/server.pid")), "open: os error 2");
        assert_eq!(fails(&at("file/server.pid")), "open: os error 20");
        assert_eq!(fails(&at("")), "open: os error 2");
        assert_eq!(fails(""), "open: os error 2");
        assert_eq!(fails(&at("nul\0")), "open: os error 22");
        assert_eq!(fails(&at(&"n".repeat(254))), "open: os error 36");
        assert_eq!(
            fails(&[b"./".repeat(2050), at("x")].concat()),
            "open: os error 36"
        );
        assert_eq!(place.names(), ["file", "server.pid"]);
        let longest = at(&"n".repeat(243));
        let path = OsStr::from_bytes(&longest);
        let pid_file = PidFile::write_as(&longest, u32::MAX).unwrap();
        assert_eq!(files::read_to_string(path).unwrap(), "4294967295\n");
        assert_eq!(pid_file.remove_as(u32::MAX), Ok(true));
    }

    #[test]
    fn folder_is_the_one_of_the_start() {
        let place = Place::new();
        let (first, second) = (
            place.folder.path().join("release-1"),
            place.folder.path().join("release-2"),
        );
        files::create_dir(&first).unwrap();
        files::create_dir(&second).unwrap();
        let current = place.folder.path().join("current");
        symlink(&first, &current).unwrap();
        let path = current.join("server.pid");
        let old = PidFile::write_as(path.as_os_str().as_bytes(), 5).unwrap();
        files::remove_file(&current).unwrap();
        symlink(&second, &current).unwrap();
        files::write(&path, "5\n").unwrap();
        assert_eq!(old.put(5), Ok(()));
        assert_eq!(
            files::read_to_string(first.join("server.pid")).unwrap(),
            "5\n"
        );
        assert_eq!(old.remove_as(5), Ok(true));
        assert!(names(&first).is_empty());
        assert_eq!(names(&second), ["server.pid"]);
    }

    #[test]
    fn file_of_a_successor_that_comes_during_the_removal_is_not_lost() {
        let place = Place::new();
        // After it was found to be ours, and before it is taken away.
        let old = PidFile::write_as(place.bytes(), 1).unwrap();
        PidFile::write_as(place.bytes(), 2).unwrap();
        let name = Name::new(&[b"server.pid"]).unwrap();
        assert_eq!(old.take(&name, 1), Ok(false));
        assert_eq!(place.text(), "2\n");
        assert_eq!(place.names(), ["server.pid"]);

        // One after it was found to be ours, and one more after it was taken away.
        let taken = aside(b"server.pid", 1).unwrap();
        let taken = InFolder::create(sys::lend(&old.folder), taken, 2).unwrap();
        PidFile::write_as(place.bytes(), 3).unwrap();
        assert_eq!(old.settle(taken, &name, 1), Ok(false));
        assert_eq!(place.text(), "3\n");
        assert_eq!(place.names(), ["server.pid"]);

        // The file is gone.
        files::remove_file(&place.path).unwrap();
        assert_eq!(old.take(&name, 1), Ok(false));
        assert!(place.names().is_empty());
    }

    /// Many times, whatever falls together.
    #[test]
    fn removal_and_writing_at_the_same_time() {
        let place = Place::new();
        for _ in 0..500 {
            let old = PidFile::write_as(place.bytes(), 1).unwrap();
            thread::scope(|scope| {
                let new = scope.spawn(|| PidFile::write_as(place.bytes(), 2).unwrap());
                let _ = old.remove_as(1).unwrap();
                let new = new.join().unwrap();
                assert_eq!(place.text(), "2\n");
                assert_eq!(place.names(), ["server.pid"]);
                assert_eq!(new.remove_as(2), Ok(true));
            });
        }
    }
}
