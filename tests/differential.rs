//! The same environments and the same open fds, read by this crate and by libsystemd, in a process
//! each. Where they differ, it has been decided so, and each such decision is named here.
#![allow(unsafe_code)] // fork; libsystemd, by its symbols.

mod util;

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt;
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::ptr;

use gracenet::{Environ, Net};
use util::in_process_of_its_own;

/// How many fds there are at 3 and up, at most.
const FDS: i32 = 3;

/// What a reader makes of its environment.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Reading {
    Refused,
    /// The names of what it gets.
    Got(Vec<String>),
}

/// A value of LISTEN_PID, with the reader's own pid where a `@` stands.
#[derive(Clone, Copy, Debug)]
struct Case {
    pid: Option<&'static str>,
    count: Option<&'static str>,
    names: Option<&'static str>,
    open: i32,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case {
            pid,
            count,
            names,
            open,
        } = self;
        write!(
            f,
            "LISTEN_PID={pid:?} LISTEN_FDS={count:?} LISTEN_FDNAMES={names:?}, {open} open"
        )
    }
}

const PIDS: [Option<&str>; 14] = [
    Some("@"),
    None,
    Some("1"),
    Some(""),
    Some("0"),
    Some("-5"),
    Some("abc"),
    Some("@ "),
    Some(" @"),
    Some("+@"),
    Some("@x"),
    Some("4294967297"),
    Some("99999999999999999999"),
    Some("2147483647"),
];

const COUNTS: [Option<&str>; 21] = [
    None,
    Some("1"),
    Some("2"),
    Some("3"),
    Some(""),
    Some("0"),
    Some("01"),
    Some("-1"),
    Some("abc"),
    Some("1 "),
    Some(" 1"),
    Some("+1"),
    Some("0x1"),
    Some("0b1"),
    Some("1.0"),
    Some("4"),
    Some("1000000"),
    Some("2147483644"),
    Some("2147483647"),
    Some("4294967297"),
    Some("99999999999999999999"),
];

const NAMES: [Option<&str>; 17] = [
    None,
    Some(""),
    Some("a"),
    Some("a:b"),
    Some("a:b:c"),
    Some("a:b:c:d"),
    Some(":"),
    Some("::"),
    Some("a:"),
    Some(":a"),
    Some("a::c"),
    Some("a:a"),
    Some("with space:x"),
    Some("%d:$HOME"),
    Some("\"a:b\""),
    Some("a\\x2db"),
    Some("stored:connection:\u{fc}"),
];

/// Every count with every name and every number of open fds for the right pid; the other pids with
/// a few of them.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for pid in PIDS {
        let all = pid == Some("@");
        for (index, count) in COUNTS.into_iter().enumerate() {
            for names in NAMES.into_iter().take(if all { NAMES.len() } else { 3 }) {
                for open in 0..=FDS {
                    if all || (index < 5 && open % FDS == 0) {
                        cases.push(Case {
                            pid,
                            count,
                            names,
                            open,
                        });
                    }
                }
            }
        }
    }
    cases
}

/// Why they differ, where it was decided so.
fn decision(case: &Case, ours: &Reading, theirs: &Reading) -> Option<&'static str> {
    use Reading::{Got, Refused};
    let odd = |text: Option<&str>| {
        text.is_some_and(|text| {
            text.starts_with([' ', '+']) || text.starts_with("0x") || text.starts_with("0b")
        })
    };
    match (ours, theirs) {
        // Case A4.
        (Got(got), Refused) if got.is_empty() && matches!(case.count, Some("" | "0")) => {
            Some("LISTEN_FDS that is empty or 0 is no error")
        }
        // Case A3, A4.
        (Refused, _) if odd(case.count) || odd(case.pid) => {
            Some("a number has digits only: no space, no sign, no base")
        }
        // Case A10.
        (Got(got), Got(_) | Refused)
            if case.names.is_some_and(|names| names.contains('\\')) && got.len() == 1 =>
        {
            Some("a backslash in a name is one")
        }
        _ => None,
    }
}

type ListenFdsWithNames = unsafe extern "C" fn(c_int, *mut *mut *mut c_char) -> c_int;

fn libsystemd() -> ListenFdsWithNames {
    // SAFETY: a library whose initializers do nothing to us.
    let library = unsafe { libc::dlopen(c"libsystemd.so.0".as_ptr(), libc::RTLD_NOW) };
    assert!(!library.is_null(), "libsystemd0 is not installed");
    // SAFETY: a handle and a name.
    let symbol = unsafe { libc::dlsym(library, c"sd_listen_fds_with_names".as_ptr()) };
    assert!(!symbol.is_null());
    // SAFETY: this is its type, by sd-daemon.h.
    unsafe { std::mem::transmute(symbol) }
}

/// What libsystemd makes of the environment of this process.
fn their_reading(listen: ListenFdsWithNames) -> Reading {
    let mut names: *mut *mut c_char = ptr::null_mut();
    // SAFETY: a place for the names.
    let count = unsafe { listen(0, &raw mut names) };
    let Ok(count) = usize::try_from(count) else {
        return Reading::Refused;
    };
    let name = |index| {
        // SAFETY: as many names as it has said.
        let name = unsafe { names.add(index) };
        // SAFETY: as above.
        let name = unsafe { name.read() };
        // SAFETY: a C string.
        let name = unsafe { CStr::from_ptr(name) };
        String::from_utf8_lossy(name.to_bytes()).into_owned()
    };
    Reading::Got((0..count).map(name).collect())
}

fn our_reading(environ: &[CString]) -> Reading {
    let environ: Vec<&CStr> = environ.iter().map(CString::as_c_str).collect();
    // SAFETY: nobody else has an fd at 3 or above.
    let net = unsafe { Net::<64>::inherit(Environ::new(&environ)) };
    match net {
        Err(_) => Reading::Refused,
        Ok(net) => {
            let names = net
                .iter()
                .map(|entry| String::from_utf8_lossy(entry.name().as_bytes()).into_owned());
            let names = names.collect();
            // The process ends with what it got.
            std::mem::forget(net);
            Reading::Got(names)
        }
    }
}

/// Runs a reader in a process of its own, with this environment and these fds: what it has got, and
/// which of the fds are CLOEXEC then.
fn read(case: &Case, reader: impl FnOnce(&[CString]) -> Reading) -> (Reading, Vec<bool>) {
    let (ours, theirs) = std::io::pipe().unwrap();
    // SAFETY: what the child does is up to the end of this function.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        // Out of the way of 3 and up.
        // SAFETY: numbers only.
        let answer = unsafe { libc::dup2(theirs.as_raw_fd(), 100) };
        // SAFETY: as above.
        let null = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        for fd in 3..3 + case.open {
            // SAFETY: as above.
            unsafe { libc::dup2(null, fd) };
        }
        for fd in (3 + case.open)..100 {
            // SAFETY: nobody needs them here.
            unsafe { libc::close(fd) };
        }
        // The last one first: its number may be one of those.
        for fd in 3..3 + case.open {
            // SAFETY: as above.
            unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
        }
        let own = std::process::id().to_string();
        let variables = [
            ("LISTEN_PID", case.pid.map(|pid| pid.replace('@', &own))),
            ("LISTEN_FDS", case.count.map(str::to_owned)),
            ("LISTEN_FDNAMES", case.names.map(str::to_owned)),
        ];
        let environ: Vec<CString> = variables
            .into_iter()
            .filter_map(|(name, value)| Some(CString::new(format!("{name}={}", value?)).unwrap()))
            .collect();
        // SAFETY: this process has one thread.
        unsafe { libc::clearenv() };
        for string in &environ {
            // SAFETY: it lives as long as the process.
            unsafe { libc::putenv(string.as_ptr().cast_mut()) };
        }
        let mut text = match reader(&environ) {
            Reading::Refused => "refused".to_owned(),
            Reading::Got(names) => format!(
                "got{}",
                names
                    .iter()
                    .map(|name| format!("\n{name}"))
                    .collect::<String>()
            ),
        };
        for fd in 3..3 + case.open {
            // SAFETY: numbers only.
            let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
            text.push_str(if flags == libc::FD_CLOEXEC {
                "\0y"
            } else {
                "\0n"
            });
        }
        // SAFETY: as many bytes as there are.
        unsafe { libc::write(answer, text.as_ptr().cast(), text.len()) };
        // SAFETY: nothing is left to be done.
        unsafe { libc::_exit(0) };
    }
    drop(theirs);
    let mut text = String::new();
    (&ours).read_to_string(&mut text).unwrap();
    let mut status = 0;
    // SAFETY: a child of this process.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "{case}");
    let mut parts = text.split('\0');
    let mut lines = parts.next().unwrap().split('\n');
    let reading = match lines.next() {
        Some("got") => Reading::Got(lines.map(str::to_owned).collect()),
        Some("refused") => Reading::Refused,
        other => panic!("{case}: {other:?}"),
    };
    (reading, parts.map(|flag| flag == "y").collect())
}

/// Cases A1 to A10, A15.
#[test]
fn libsystemd_reads_the_same_but_where_it_was_decided_otherwise() {
    let name = "libsystemd_reads_the_same_but_where_it_was_decided_otherwise";
    in_process_of_its_own(name, |_| {
        let listen = libsystemd();
        let mut differences: BTreeMap<&str, u32> = BTreeMap::new();
        let cases = cases();
        for case in &cases {
            let (ours, our_flags) = read(case, our_reading);
            let (theirs, _) = read(case, |_| their_reading(listen));
            if ours != theirs {
                let Some(decision) = decision(case, &ours, &theirs) else {
                    panic!("{case}: {ours:?}, but libsystemd: {theirs:?}")
                };
                *differences.entry(decision).or_default() += 1;
            }
            // Case A8, and A1, A2: what is got is CLOEXEC, and where nothing is, nothing is touched.
            if let Reading::Got(names) = &ours {
                let flagged = our_flags.iter().filter(|flag| **flag).count();
                assert_eq!(flagged, names.len(), "{case}");
            }
        }
        println!("{} environments", cases.len());
        for (decision, count) in &differences {
            println!("{count:5} differ: {decision}");
        }
        assert!(cases.len() > 1_000);
        assert_eq!(differences.len(), 3, "{differences:?}");
    });
}
