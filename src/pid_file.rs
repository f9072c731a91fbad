//! A file with the pid of the process that serves, for those who look for it there.

use linux_raw_sys::general as raw;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::Errno;

use crate::activation::write_decimal;
use crate::error::{Error, Operation};
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
        if name.is_empty() {
            return Err(Error::new(Operation::Open, Errno::NOENT));
        }
        let mut bytes = [0; PATH_MAX];
        fill(&mut bytes, &[folder])?;
        let folder = above_stdio(sys::open_directory(&bytes)?)?;
        let pid_file = PidFile { folder, name };
        pid_file.put(pid)?;
        Ok(pid_file)
    }

    fn put(&self, pid: u32) -> Result<(), Error> {
        let (place, aside) = (self.place()?, self.aside(pid)?);
        let folder = sys::lend(&self.folder);
        let created =
            write_new(folder, &aside, pid).and_then(|()| sys::rename(folder, &aside, &place));
        if created.is_err() {
            let _ = sys::unlink_in(folder, &aside);
        }
        created
    }

    fn remove_as(&self, pid: u32) -> Result<bool, Error> {
        if !self.says(&self.place()?, pid)? {
            return Ok(false);
        }
        self.take(pid)
    }

    /// Removes what is in its place if it is ours. It was, but a successor may have replaced it
    /// since: only under a name of its own is it safe from that.
    fn take(&self, pid: u32) -> Result<bool, Error> {
        match sys::rename(sys::lend(&self.folder), &self.place()?, &self.aside(pid)?) {
            Ok(()) => self.settle(pid),
            Err(error) if error.is(Errno::NOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes what was taken out of its place if it is ours, else puts it back there, unless
    /// there is a newer one already.
    fn settle(&self, pid: u32) -> Result<bool, Error> {
        let (place, aside) = (self.place()?, self.aside(pid)?);
        let folder = sys::lend(&self.folder);
        let ours = self.says(&aside, pid);
        if ours != Ok(true) {
            match sys::link(folder, &aside, &place) {
                Err(error) if !error.is(Errno::EXIST) => {
                    // A file system without links: better an older one than none.
                    return sys::rename(folder, &aside, &place).and(ours);
                }
                _ => {}
            }
        }
        sys::unlink_in(folder, &aside)?;
        ours
    }

    /// Whether there is a file of that name, and this pid in it.
    fn says(&self, name: &Name, pid: u32) -> Result<bool, Error> {
        // NONBLOCK: it may be a FIFO, and then it is not ours.
        let flags = raw::O_RDONLY | raw::O_NOFOLLOW | raw::O_NONBLOCK;
        let mut text = [0; ROOM];
        let read = sys::open_in(sys::lend(&self.folder), name, flags, 0)
            .and_then(|fd| sys::read(sys::lend(&fd), &mut text));
        match read {
            Ok(length) => Ok(text.get(..length) == Some(line(&mut [0; ROOM], pid))),
            // Gone, a symbolic link, a socket, a folder, a FIFO.
            Err(error) if OTHERS.iter().any(|errno| error.is(*errno)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn place(&self) -> Result<Name, Error> {
        name(&[self.name])
    }

    /// `.NAME.PID`, for a file that is not in its place yet, or not any more. It is no other
    /// process' that sees this folder, but for one in another pid namespace.
    fn aside(&self, pid: u32) -> Result<Name, Error> {
        name(&[b".", self.name, b".", write_decimal(&mut [0; 10], pid)])
    }
}

/// What a file is not ours for that cannot be opened or read.
const OTHERS: [Errno; 5] = [
    Errno::NOENT,
    Errno::LOOP,
    Errno::NXIO,
    Errno::ISDIR,
    Errno::AGAIN,
];

/// More than a pid and a newline take.
const ROOM: usize = 16;

/// The longest path, with its NUL.
const PATH_MAX: usize = 4096;

/// The name of a file, of up to 255 bytes (NAME_MAX), and NULs.
type Name = [u8; 256];

#[inline(never)]
fn name(parts: &[&[u8]]) -> Result<Name, Error> {
    let mut name = [0; 256];
    fill(&mut name, parts)?;
    Ok(name)
}

/// Puts the parts into zeros, of which at least one remains.
#[inline(never)]
fn fill(room: &mut [u8], parts: &[&[u8]]) -> Result<(), Error> {
    let mut free = room.iter_mut();
    for byte in parts.iter().copied().flatten() {
        match free.next() {
            _ if *byte == 0 => return Err(Error::new(Operation::Open, Errno::INVAL)),
            Some(place) if free.len() > 0 => *place = *byte,
            _ => return Err(Error::new(Operation::Open, Errno::NAMETOOLONG)),
        }
    }
    Ok(())
}

/// What stands in the file.
fn line(room: &mut [u8; ROOM], pid: u32) -> &[u8] {
    let mut digits = [0; 10];
    let digits = write_decimal(&mut digits, pid);
    for (byte, digit) in room.iter_mut().zip(digits.iter().chain(b"\n")) {
        *byte = *digit;
    }
    room.get(..digits.len().saturating_add(1)).unwrap_or(b"")
}

/// A new file with a pid in it.
fn write_new(folder: BorrowedFd<'_>, name: &Name, pid: u32) -> Result<(), Error> {
    // Left behind by a process that was killed, and had our pid: as PID 1 always has.
    let _ = sys::unlink_in(folder, name);
    // EXCL: no symbolic link is followed, and nothing that is there is written to.
    let flags = raw::O_WRONLY | raw::O_CREAT | raw::O_EXCL;
    let fd = sys::open_in(folder, name, flags, 0o644)?;
    let mut room = [0; ROOM];
    let text = line(&mut room, pid);
    match sys::write(sys::lend(&fd), text)? {
        written if written == text.len() => Ok(()),
        _ => Err(Error::new(Operation::Write, Errno::NOSPC)),
    }
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
        assert_eq!(old.take(1), Ok(false));
        assert_eq!(place.text(), "2\n");
        assert_eq!(place.names(), ["server.pid"]);

        // One after it was found to be ours, and one more after it was taken away.
        write_new(sys::lend(&old.folder), &old.aside(1).unwrap(), 2).unwrap();
        PidFile::write_as(place.bytes(), 3).unwrap();
        assert_eq!(old.settle(1), Ok(false));
        assert_eq!(place.text(), "3\n");
        assert_eq!(place.names(), ["server.pid"]);

        // The file is gone.
        files::remove_file(&place.path).unwrap();
        assert_eq!(old.take(1), Ok(false));
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
