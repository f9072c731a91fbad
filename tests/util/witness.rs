//! A predecessor within the test itself, and successors that tell it what they see: the programs
//! `witness` and `heir`, or a few lines of shell.
#![allow(unsafe_code)] // alarm.

use std::env;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};

use gracenet::{Args, Changes, Deadline, Environ, Failure, Net, Program, StartError};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::{Fds, in_time, program, until_gone};

/// For tests that look at the fd table of the process they share, or change what is common to it.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// What a successor is started with, and where it reports.
pub struct Predecessor {
    pub net: Net<80>,
    pub report: OwnedFd,
}

/// A successor that runs, and that ends with this.
pub struct Witness<'a> {
    pub pid: Pid,
    pub generation: u32,
    pub report: &'a OwnedFd,
}

/// The test's end of the line on which a witness reports, and the witness'.
pub fn report() -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::CLOEXEC;
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
}

impl Predecessor {
    pub fn new() -> Predecessor {
        let (report, theirs) = report();
        let mut net = Net::new();
        net.insert("report", theirs).unwrap();
        Predecessor { net, report }
    }

    /// A TCP listener and a unix one, a datagram socket and a file that is none.
    pub fn with_sockets() -> Predecessor {
        let mut predecessor = Predecessor::new();
        predecessor.add_sockets();
        predecessor
    }

    pub fn add_sockets(&mut self) {
        let net = &mut self.net;
        net.listen("tcp", "127.0.0.1:0").unwrap();
        static NAMES: AtomicU32 = AtomicU32::new(0);
        let number = NAMES.fetch_add(1, Ordering::Relaxed);
        let name = format!("@gracenet-spawn-{}-{number}", std::process::id());
        net.listen("unix", name).unwrap();
        net.listen("udp", "127.0.0.1:0").unwrap();
        net.insert("null", File::open("/dev/null").unwrap().into())
            .unwrap();
    }

    /// Starts what `args` and `environ` say and waits until it reports.
    pub fn start(&mut self, args: &[&CStr], environ: &[&CStr]) -> Witness<'_> {
        let program = Program::new(Args::new(args), Environ::new(environ));
        self.start_program(&program)
    }

    pub fn start_program(&mut self, program: &Program<'_>) -> Witness<'_> {
        self.start_with(program, &Changes::new())
    }

    pub fn start_with(&mut self, program: &Program<'_>, changes: &Changes<'_>) -> Witness<'_> {
        let started = self.net.start_process_with(program, changes);
        let pid = started.expect("a successor").pid();
        let witness = Witness::up(&self.report);
        assert_eq!(witness.pid, pid);
        witness
    }

    /// Starts a shell that carries out `script`. The report is fd 3, and `$c` the number of the
    /// control channel.
    pub fn start_script(&mut self, script: &str) -> Pid {
        let script = CString::new(format!("c=${{GRACENET_FD%,*}}; {script}")).unwrap();
        let args = [c"/bin/sh", c"-c", &*script];
        let environ = [c"PATH=/usr/bin:/bin"];
        let program = Program::new(Args::new(&args), Environ::new(&environ));
        self.net.start_process(&program).expect("a successor").pid()
    }

    /// Starts what cannot be started.
    pub fn fail(&mut self, args: &[&CStr], environ: &[&CStr]) -> StartError {
        let program = Program::new(Args::new(args), Environ::new(environ));
        self.fail_with(&program, &Changes::new())
    }

    pub fn fail_with(&mut self, program: &Program<'_>, changes: &Changes<'_>) -> StartError {
        let before = Fds::of_self();
        let started = self.net.start_process_with(program, changes);
        let error = started.map(|it| it.pid()).unwrap_err();
        assert_eq!(Fds::of_self(), before, "fds after {error}");
        error
    }

    /// The successor ends before it was ready.
    pub fn give_up(&mut self, status: i32) {
        self.hang_up();
        let successor = self.net.successor().expect("a successor");
        let outcome = successor.wait_ready(Deadline::after_ms(10_000));
        assert_eq!(outcome, Err(Failure::Exited(status)));
    }

    /// A witness ends when nobody hears it any more.
    pub fn hang_up(&mut self) {
        drop(std::mem::replace(&mut self.report, report().0));
    }
}

impl<'a> Witness<'a> {
    pub fn up(report: &'a OwnedFd) -> Witness<'a> {
        let line = hear(report);
        let mut words = line.split(' ');
        assert_eq!(words.next(), Some("up"), "{line}");
        let generation = words.next().unwrap().parse().unwrap();
        let pid = Pid::from_raw(words.next().unwrap().parse().unwrap()).unwrap();
        Witness {
            pid,
            generation,
            report,
        }
    }

    pub fn say(&self, what: &str) -> String {
        tell(self.report, what);
        hear(self.report)
    }

    /// Its own successor, which is ready when this returns, as this one has ended.
    pub fn next(self) -> Witness<'a> {
        tell(self.report, "next");
        let next = Witness::up(self.report);
        assert_eq!(next.say("ready"), "ok");
        // One that hears of it only when the next has ended, too, takes that for a failure.
        until_gone(self.pid);
        next
    }

    pub fn proc(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.pid).into()
    }

    pub fn environ(&self) -> Vec<Vec<u8>> {
        strings(&fs::read(self.proc("environ")).unwrap())
    }

    pub fn cmdline(&self) -> Vec<Vec<u8>> {
        strings(&fs::read(self.proc("cmdline")).unwrap())
    }

    pub fn exe(&self) -> PathBuf {
        fs::read_link(self.proc("exe")).unwrap()
    }

    pub fn fds(&self) -> Fds {
        Fds::of(self.pid)
    }

    /// A set of signals from its status: SigBlk, SigIgn, SigCgt.
    pub fn signals(&self, name: &str) -> u64 {
        let status = fs::read_to_string(self.proc("status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
    }
}

pub fn tell(report: &OwnedFd, what: &str) {
    send(report, what.as_bytes(), SendFlags::NOSIGNAL).unwrap();
}

pub fn hear(report: &OwnedFd) -> String {
    in_time(report.as_fd(), "a message of the witness");
    let mut buffer = [MaybeUninit::uninit(); 256];
    let received = recv(report, buffer.as_mut_slice(), RecvFlags::DONTWAIT);
    let ((heard, _), _) = received.unwrap();
    assert!(!heard.is_empty(), "the witness ended without a word");
    String::from_utf8(heard.to_vec()).unwrap()
}

pub fn strings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

pub fn path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

pub fn witness() -> CString {
    path(&program("witness"))
}

pub fn copy_witness(to: &Path) -> CString {
    fs::copy(program("witness"), to).unwrap();
    path(to)
}

/// A witness that is the first of its line, in a root directory of its own, and its report.
pub fn witness_in(root: &Path, exec: &str) -> (Child, OwnedFd) {
    let (report, theirs) = report();
    // The shell's own redirection puts it at 3, where nothing else is of the same number.
    let script = format!(
        "exec 3<&0 0</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=report; {exec}"
    );
    let child = Command::new("/bin/sh")
        .args(["-c", &script])
        .current_dir(root)
        .stdin(Stdio::from(theirs))
        .spawn()
        .unwrap();
    (child, report)
}

/// Puts another file under the number `at`, behind the back of whoever owns it. It is CLOEXEC.
pub fn put_in_place(file: &impl AsRawFd, at: RawFd) {
    // SAFETY: what the test is about; the number stays open for its owner to close.
    let put = unsafe { libc::dup3(file.as_raw_fd(), at, libc::O_CLOEXEC) };
    assert_eq!(put, at);
}

/// Whether a child has been reaped, and is not a zombie.
pub fn is_reaped(pid: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(pid), options).err() == Some(Errno::CHILD)
}

/// Runs `body` in a process of its own, which it may change for good; for that the test `name` is
/// run once more. It gets a directory that everybody may search.
pub fn in_process_of_its_own(name: &str, body: impl FnOnce(&Path)) {
    in_process_with(name, || (), body);
}

/// As [`in_process_of_its_own`], with something that the one which waits has for as long.
pub fn in_process_with<T>(name: &str, guard: impl FnOnce() -> T, body: impl FnOnce(&Path)) {
    const DIRECTORY: &str = "GRACENET_TEST_DIRECTORY";
    if let Some(directory) = env::var_os(DIRECTORY) {
        // What hangs ends all the same, and says so by its status.
        // SAFETY: a number.
        unsafe { libc::alarm(30) };
        return body(Path::new(&directory));
    }
    let _alone = alone();
    let _guard = guard();
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
    // Files: the end of a pipe may be held by whoever is left behind.
    let [out, err] = ["out", "err"].map(|name| File::create(directory.path().join(name)).unwrap());
    let status = Command::new(env::current_exe().unwrap())
        .args(["--exact", name])
        .env(DIRECTORY, directory.path())
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .status()
        .unwrap();
    let said = |name| fs::read(directory.path().join(name)).unwrap();
    let [out, err] = ["out", "err"].map(said);
    let (out, err) = (String::from_utf8_lossy(&out), String::from_utf8_lossy(&err));
    assert!(
        status.success() && out.contains("1 passed"),
        "in a process of its own, {status}:\n{out}{err}"
    );
}

fn leak(string: CString) -> &'static CStr {
    Box::leak(Box::new(string))
}

/// This very process as a program: the test, with what it was started with.
pub fn this_program() -> Program<'static> {
    let strings = |strings: Vec<OsString>| -> &'static [&'static CStr] {
        let string = |string: OsString| leak(CString::new(string.into_vec()).unwrap());
        strings.into_iter().map(string).collect::<Vec<_>>().leak()
    };
    let variable = |(name, value): (OsString, OsString)| [name, value].join(OsStr::new("="));
    let args = strings(env::args_os().collect());
    let environ = strings(env::vars_os().map(variable).collect());
    let path = CString::new(env::current_exe().unwrap().into_os_string().into_vec());
    let mut args = args.to_vec();
    args[0] = leak(path.unwrap());
    Program::new(Args::new(args.leak()), Environ::new(environ))
}
