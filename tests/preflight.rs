//! A server asks whether it could be replaced now. Each thing that speaks against it is found, and
//! all of them when there are several; each is then what a start says, too. Where nothing is found
//! a start works. Asking changes nothing.
#![allow(unsafe_code)] // Numbers of fds that are changed behind the table's back.

mod util;

use std::env;
use std::ffi::{CStr, CString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use gracenet::{
    Args, Changes, Deadline, Environ, Errno, Error, Failure, Operation, Program, StartError,
};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};
use util::{
    Fds, Predecessor, alone, copy_witness, in_process_of_its_own, path, put_in_place, seccomp,
    witness,
};

fn refused(errno: Errno) -> StartError {
    StartError::Failed(Error::new(Operation::Execve, errno))
}

/// What is found, which takes and leaves nothing.
fn find(
    predecessor: &mut Predecessor,
    program: &Program<'_>,
    changes: &Changes<'_>,
) -> Vec<StartError> {
    let before = Fds::of_self();
    let findings = predecessor.net.preflight(program, changes);
    assert_eq!(Fds::of_self(), before);
    assert_eq!(findings.more(), 0);
    assert_eq!(findings.is_empty(), findings.iter().next().is_none());
    findings.into_iter().copied().collect()
}

/// What a start says, after which nothing is left of it.
fn try_to_start(
    predecessor: &mut Predecessor,
    program: &Program<'_>,
    changes: &Changes<'_>,
) -> Result<Pid, StartError> {
    let successor = predecessor.net.start_process_with(program, changes)?;
    let pid = successor.pid();
    successor.kill();
    let outcome = successor.wait_ready(Deadline::after_ms(10_000));
    assert_eq!(outcome, Err(Failure::GivenUp));
    Ok(pid)
}

/// What is found is what a start says, whatever that is.
#[track_caller]
fn agrees(predecessor: &mut Predecessor, name: &CStr, what: &str) -> Result<(), StartError> {
    let args = [name];
    let program = Program::new(Args::new(&args), Environ::new(&[]));
    let found = find(predecessor, &program, &Changes::new());
    let started = try_to_start(predecessor, &program, &Changes::new()).map(drop);
    let expected: Vec<_> = started.err().into_iter().collect();
    assert_eq!(found, expected, "{what}");
    started
}

/// Finds this one thing, which is also what a start says.
#[track_caller]
fn finds_with(program: &Program<'_>, changes: &Changes<'_>, expected: StartError) {
    let mut predecessor = Predecessor::with_sockets();
    assert_eq!(find(&mut predecessor, program, changes), [expected]);
    assert_eq!(predecessor.fail_with(program, changes), expected);
    assert!(predecessor.net.successor().is_none());
}

#[track_caller]
fn finds(args: &[&CStr], environ: &[&CStr], expected: StartError) {
    let program = Program::new(Args::new(args), Environ::new(environ));
    finds_with(&program, &Changes::new(), expected);
}

/// Finds nothing, and a start works.
#[track_caller]
fn finds_nothing_with(program: &Program<'_>, changes: &Changes<'_>) {
    let mut predecessor = Predecessor::with_sockets();
    assert_eq!(find(&mut predecessor, program, changes), []);
    try_to_start(&mut predecessor, program, changes).unwrap();
    // It may be replaced again, and asking is not what made it so.
    assert_eq!(find(&mut predecessor, program, changes), []);
}

#[track_caller]
fn finds_nothing(args: &[&CStr], environ: &[&CStr]) {
    let program = Program::new(Args::new(args), Environ::new(environ));
    finds_nothing_with(&program, &Changes::new());
}

/// In another directory until it is dropped.
struct In(PathBuf);

impl In {
    fn directory(directory: &Path) -> In {
        let home = env::current_dir().unwrap();
        env::set_current_dir(directory).unwrap();
        In(home)
    }
}

impl Drop for In {
    fn drop(&mut self) {
        env::set_current_dir(&self.0).unwrap();
    }
}

fn make_executable(file: &Path, content: impl AsRef<[u8]>) -> CString {
    fs::write(file, content).unwrap();
    fs::set_permissions(file, Permissions::from_mode(0o755)).unwrap();
    path(file)
}

#[test]
fn nothing_is_found_where_a_start_works() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let static_program = copy_witness(&root.join("program"));
    finds_nothing(&[&static_program], &[]);
    finds_nothing(
        &[&static_program, c"", c"\xff"],
        &[c"A=1", c"", c"LISTEN_FDS=x"],
    );
    // One that can be executed and not read, as far as that keeps root.
    fs::set_permissions(root.join("program"), Permissions::from_mode(0o111)).unwrap();
    finds_nothing(&[&static_program], &[]);
    symlink("program", root.join("link")).unwrap();
    finds_nothing(&[&path(&root.join("link"))], &[]);
    // Dynamically linked; a script; a script with arguments, spaces and no newline.
    finds_nothing(&[c"/bin/true"], &[]);
    let script = make_executable(&root.join("script"), "#!/bin/sh\nexit 0\n");
    finds_nothing(&[&script], &[]);
    let script = make_executable(&root.join("script"), "#! \t /bin/sh\t-e \nexit 0\n");
    finds_nothing(&[&script], &[]);
    let script = make_executable(&root.join("script"), "#!/bin/true");
    finds_nothing(&[&script], &[]);
    // By name, and relative to the directory of the start.
    let search = format!("PATH=/no/such/place:/dev/null:{}", root.display());
    finds_nothing(&[c"program"], &[&CString::new(search).unwrap()]);
    finds_nothing(&[c"true"], &[]);
    let home = In::directory(&root);
    let args = [c"./program"];
    let program = Program::new(Args::new(&args), Environ::new(&[]));
    env::set_current_dir("/").unwrap();
    finds_nothing_with(&program, &Changes::new());
    drop(home);
}

/// Case F1.
#[test]
fn a_program_that_is_not_there_is_found() {
    let _alone = alone();
    finds(&[], &[], StartError::NoProgram);
    finds(&[c""], &[], StartError::NoProgram);
    finds(&[c"/no/such/program"], &[], refused(Errno::NOENT));
    finds(&[c"/dev/null/program"], &[], refused(Errno::NOTDIR));
    finds(&[c"no-such-program"], &[], refused(Errno::NOENT));
    let search = [c"PATH=/no/such/place"];
    finds(&[c"true"], &search, refused(Errno::NOENT));
    let directory = tempfile::tempdir().unwrap();
    symlink("nowhere", directory.path().join("link")).unwrap();
    let link = path(&directory.path().join("link"));
    finds(&[&link], &[], refused(Errno::NOENT));
    symlink("loop", directory.path().join("loop")).unwrap();
    let link = path(&directory.path().join("loop"));
    finds(&[&link], &[], refused(Errno::LOOP));
    let long = CString::new([b'/'; 5_000]).unwrap();
    finds(&[&long], &[], refused(Errno::NAMETOOLONG));
}

/// Case F1, F5.
#[test]
fn a_program_that_may_not_be_executed_is_found() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("program");
    let name = copy_witness(&file);
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    finds(&[&name], &[], refused(Errno::ACCESS));
    let search = CString::new(format!(
        "PATH={}:/no/such/place",
        directory.path().display()
    ));
    finds(&[c"program"], &[&search.unwrap()], refused(Errno::ACCESS));
    // No regular files.
    finds(&[&path(directory.path())], &[], refused(Errno::ACCESS));
    finds(&[c"/dev/null"], &[], refused(Errno::ACCESS));
    finds(&[c"/"], &[], refused(Errno::ACCESS));
    let pipe = directory.path().join("pipe");
    let mode = rustix::fs::Mode::from_raw_mode(0o755);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    finds(&[&path(&pipe)], &[], refused(Errno::ACCESS));
}

/// Case F1. Before Linux 6.14 the kernel cannot be asked, and whether a program is open for
/// writing is not found.
#[test]
fn what_the_kernel_does_not_tell_is_looked_at() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("program");
    let name = copy_witness(&file);
    let check = 0x10000; // AT_EXECVE_CHECK
    let before_6_14 = vec![
        seccomp::step(seccomp::LOAD, seccomp::CALL, 0, 0),
        seccomp::step(seccomp::IF_EQUAL, libc::SYS_execveat as u32, 0, 3),
        seccomp::step(seccomp::LOAD, seccomp::FIFTH_ARGUMENT, 0, 0),
        seccomp::step(seccomp::IF_ANY_BIT, check, 0, 1),
        seccomp::step(seccomp::RETURN, seccomp::errno(libc::EINVAL), 0, 0),
        seccomp::step(seccomp::RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    seccomp::where_filtered(before_6_14, || {
        finds_nothing(&[&name], &[]);
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        finds(&[&name], &[], refused(Errno::ACCESS));
        finds(&[&path(directory.path())], &[], refused(Errno::ACCESS));
        finds(&[c"/dev/null"], &[], refused(Errno::ACCESS));
        fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
        finds_nothing(&[&name], &[]);
    });
}

/// Case F6.
#[test]
fn a_file_that_is_no_program_is_found() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("program");
    let no_programs = [
        "",
        "echo this is no program\n",
        "#",
        "#!\n",
        "#!  \t\n/bin/sh\n",
        "\x7fELF",
        "\x7fELF and a few words more, as long as it takes to be a header of any size there is.",
    ];
    for content in no_programs {
        let name = make_executable(&file, content);
        finds(&[&name], &[], refused(Errno::NOEXEC));
    }
}

/// A dynamically linked program whose interpreter is another: as long as its own.
fn with_interpreter(file: &Path, change: impl Fn(&mut [u8])) -> CString {
    let mut program = fs::read("/bin/true").unwrap();
    let word = |at: usize| u64::from_ne_bytes(program[at..at + 8].try_into().unwrap()) as usize;
    // elf(5): e_phoff, e_phnum; p_type, p_offset, p_filesz.
    let headers = u16::from_ne_bytes(program[56..58].try_into().unwrap()).into();
    let header = (0..headers)
        .map(|index: usize| word(32) + 56 * index)
        .find(|at| program[*at..*at + 4] == 3_u32.to_ne_bytes())
        .expect("a PT_INTERP in /bin/true");
    let (at, size) = (word(header + 8), word(header + 32));
    change(&mut program[at..at + size]);
    make_executable(file, program)
}

/// Case F1.
#[test]
fn a_missing_interpreter_is_found() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let file = root.join("program");
    for line in [
        "#!/no/such/interpreter",
        "#! /no/such/interpreter -x\n",
        "#!no-interpreter\n",
    ] {
        let name = make_executable(&file, line);
        finds(&[&name], &[], refused(Errno::NOENT));
    }
    let plain = root.join("plain");
    fs::write(&plain, "").unwrap();
    let name = make_executable(&file, format!("#!{}\n", plain.display()));
    finds(&[&name], &[], refused(Errno::ACCESS));
    let name = make_executable(&file, format!("#!{}\n", root.display()));
    finds(&[&name], &[], refused(Errno::ACCESS));

    // The control: with its own it works.
    let name = with_interpreter(&file, |_| {});
    finds_nothing(&[&name], &[]);
    let name = with_interpreter(&file, |interpreter| interpreter[1] = b'X');
    finds(&[&name], &[], refused(Errno::NOENT));
    let name = with_interpreter(&file, |interpreter| {
        interpreter.fill(0);
        interpreter[..4].copy_from_slice(b"/etc");
    });
    finds(&[&name], &[], refused(Errno::ACCESS));
}

/// Is the kernel of this release or a later one?
fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|char: char| !char.is_ascii_digit());
    let mut next = || -> u32 { numbers.next().unwrap().parse().unwrap() };
    (next(), next()) >= (major, minor)
}

/// Case F1. Older kernels cannot be asked.
#[test]
fn a_program_that_is_being_written_is_found() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("program");
    let name = copy_witness(&file);
    let args = [&*name];
    let program = Program::new(Args::new(&args), Environ::new(&[]));
    let writer = OpenOptions::new().append(true).open(&file).unwrap();
    let mut predecessor = Predecessor::with_sockets();
    let found = find(&mut predecessor, &program, &Changes::new());
    if kernel_is_at_least(6, 14) {
        assert_eq!(found, [refused(Errno::TXTBSY)]);
    } else {
        assert_eq!(found, []);
    }
    let error = predecessor.fail_with(&program, &Changes::new());
    assert_eq!(error, refused(Errno::TXTBSY));
    drop(writer);
    finds_nothing_with(&program, &Changes::new());
}

/// Case D6.
#[test]
fn what_is_too_large_is_found() {
    let _alone = alone();
    let path = witness();
    let string = |length: usize| CString::new(vec![b'x'; length]).unwrap();
    let (fits, too_long) = (string(128 * 1024 - 1), string(128 * 1024));
    finds_nothing(&[&path, &fits], &[&fits]);
    finds(&[&path, &too_long], &[], StartError::TooLarge);
    finds(&[&path], &[&too_long], StartError::TooLarge);
    finds(&[&path], &vec![c"A=1"; 20_000], StartError::TooLarge);
    finds(&vec![&*path; 20_000], &[], StartError::TooLarge);
    let set = [&*too_long];
    let args = [&*path];
    let program = Program::new(Args::new(&args), Environ::new(&[]));
    finds_with(&program, &Changes::new().set(&set), StartError::TooLarge);
}

/// With so many fds allowed.
fn with_limit<T>(fds: u64, body: impl FnOnce() -> T) -> T {
    let limit = getrlimit(Resource::Nofile);
    let current = Some(fds);
    setrlimit(Resource::Nofile, Rlimit { current, ..limit }).unwrap();
    let value = body();
    setrlimit(Resource::Nofile, limit).unwrap();
    value
}

/// A predecessor with sockets up to a high number, and free numbers below.
fn crowded() -> Predecessor {
    let mut predecessor = Predecessor::new();
    for _ in 0..60 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        predecessor.net.insert("web", listener.into()).unwrap();
    }
    for _ in 0..8 {
        let second = predecessor.net.iter().nth(1).unwrap().handle();
        predecessor.net.close(second).unwrap();
    }
    predecessor
}

/// Case E4.
#[test]
fn a_limit_on_fds_that_is_too_low_is_found() {
    let _alone = alone();
    let path = witness();
    let args = [&*path];
    let program = Program::new(Args::new(&args), Environ::new(&[]));
    let mut predecessor = crowded();
    let channel = 3 + predecessor.net.len() as u32;
    let new = Changes::new();
    let file = File::open(util::program("witness")).unwrap();
    // What is executed by its fd takes one more.
    let executable = new.executable(file.as_fd());
    for (changes, last) in [(new, channel), (executable, channel + 1)] {
        let mut most = 0;
        for limit in last - 1..last + 24 {
            let (found, started) = with_limit(limit.into(), || {
                let found = predecessor.net.preflight(&program, &changes);
                let started = try_to_start(&mut predecessor, &program, &changes);
                (found, started)
            });
            let found: Vec<_> = found.iter().copied().collect();
            let expected: Vec<_> = started.err().into_iter().collect();
            assert_eq!(found, expected, "with a limit of {limit} for {last}");
            if let Some(StartError::FdLimit(fd)) = started.err() {
                assert!(fd >= limit && fd >= last, "{fd} with {limit} for {last}");
                most = limit;
            } else {
                assert!(started.is_ok(), "{started:?} with {limit}");
                assert!(limit > last);
            }
        }
        assert!(most >= last, "nothing was found at {last}");
    }
}

/// Leaves so many numbers free below `limit`, the last ones, and maybe the first instead of one.
fn with_free<T>(free: usize, first: bool, limit: u64, body: impl FnOnce() -> T) -> T {
    let null = File::open("/dev/null").unwrap();
    let mut taken: Vec<OwnedFd> = Vec::new();
    with_limit(limit, || {
        while let Ok(fd) = rustix::io::fcntl_dupfd_cloexec(&null, 0) {
            taken.push(fd);
        }
        taken.truncate(taken.len() - free + usize::from(first));
        if first {
            taken.remove(0);
        }
        body()
    })
}

/// Case E3. A start needs a few fds of this process for itself.
#[test]
fn too_few_free_fds_are_found() {
    let _alone = alone();
    let path = witness();
    let args = [&*path];
    let program = Program::new(Args::new(&args), Environ::new(&[]));
    let mut predecessor = Predecessor::with_sockets();
    // The channel has a low number, or lies at the number that is kept for it.
    for (limit, needed) in [(60, 3), (90, 4)] {
        for free in 0..6 {
            let (found, started) = with_free(free, false, limit, || {
                let found = predecessor.net.preflight(&program, &Changes::new());
                let started = try_to_start(&mut predecessor, &program, &Changes::new());
                (found, started)
            });
            let found: Vec<_> = found.iter().copied().collect();
            let expected: Vec<_> = started.err().into_iter().collect();
            assert_eq!(found, expected, "{free} of {limit}");
            assert_eq!(started.is_ok(), free >= needed, "{free} of {limit}");
        }
    }
    // A foreign program has no channel.
    let foreign = Changes::new().foreign();
    for free in 0..3 {
        let (found, started) = with_free(free, false, 90, || {
            let found = predecessor.net.preflight(&program, &foreign);
            let started = try_to_start(&mut predecessor, &program, &foreign);
            (found, started)
        });
        let found: Vec<_> = found.iter().copied().collect();
        let expected: Vec<_> = started.err().into_iter().collect();
        assert_eq!(found, expected, "{free} for a foreign program");
        assert_eq!(started.is_ok(), free >= 1, "{free} for a foreign program");
    }
}

/// Case E3. Those of the standard streams do for some of it.
#[test]
fn too_few_free_fds_are_found_without_a_standard_input() {
    in_process_of_its_own(
        "too_few_free_fds_are_found_without_a_standard_input",
        |_| {
            let path = witness();
            let args = [&*path];
            let program = Program::new(Args::new(&args), Environ::new(&[]));
            let mut predecessor = Predecessor::with_sockets();
            let mut outcomes = Vec::new();
            // SAFETY: nobody reads from it.
            unsafe { libc::close(0) };
            for free in 1..6 {
                let (found, started) = with_free(free, true, 60, || {
                    let found = predecessor.net.preflight(&program, &Changes::new());
                    let started = try_to_start(&mut predecessor, &program, &Changes::new());
                    (found, started)
                });
                let expected: Vec<_> = started.err().into_iter().collect();
                assert_eq!(found.iter().copied().collect::<Vec<_>>(), expected);
                outcomes.push(started.is_ok());
            }
            assert_eq!(outcomes, [false, false, true, true, true]);
        },
    );
}

/// Case K2.
#[test]
fn a_socket_that_was_closed_behind_the_tables_back_is_found() {
    let _alone = alone();
    let path = witness();
    let args = [&*path];
    let program = Program::new(Args::new(&args), Environ::new(&[]));
    let mut predecessor = Predecessor::with_sockets();
    let fd_of = |predecessor: &Predecessor, index| {
        let entry = predecessor.net.iter().nth(index).unwrap();
        entry.as_fd().as_raw_fd()
    };
    let (web, null) = (fd_of(&predecessor, 1), fd_of(&predecessor, 4));
    let new = Changes::new();
    // A client's by now.
    let client = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    put_in_place(&client, web);
    let found = find(&mut predecessor, &program, &new);
    assert_eq!(found, [StartError::NotOurs(1)]);
    assert_eq!(predecessor.fail_with(&program, &new), found[0]);
    // Not even open.
    let zero = File::open("/dev/zero").unwrap();
    // SAFETY: as above; it is opened again below.
    unsafe { libc::close(null) };
    let found = find(&mut predecessor, &program, &new);
    assert_eq!(found, [StartError::NotOurs(1), StartError::NotOurs(4)]);
    put_in_place(&zero, null);
    let found = find(&mut predecessor, &program, &new);
    assert_eq!(found, [StartError::NotOurs(1), StartError::NotOurs(4)]);
    // Without them it works.
    for index in [4, 1] {
        let handle = predecessor.net.iter().nth(index).unwrap().handle();
        predecessor.net.close(handle).unwrap();
    }
    assert_eq!(find(&mut predecessor, &program, &new), []);
    assert_eq!(predecessor.start_program(&program).generation, 1);
    predecessor.give_up(0);
}

/// Case H4, H9.
#[test]
fn a_successor_that_was_started_is_found() {
    let _alone = alone();
    let path = witness();
    let args = [&*path];
    let program = Program::new(Args::new(&args), Environ::new(&[]));
    let new = Changes::new();
    let mut predecessor = Predecessor::with_sockets();
    let witness = predecessor.start_program(&program);
    let pid = witness.pid;
    let found = find(&mut predecessor, &program, &new);
    assert_eq!(found, [StartError::InProgress]);
    // It is the same one that goes on.
    util::tell(&predecessor.report, "ready");
    assert_eq!(util::hear(&predecessor.report), "ok");
    let successor = predecessor.net.successor().unwrap();
    assert_eq!(successor.pid(), pid);
    assert_eq!(successor.wait_ready(Deadline::after_ms(10_000)), Ok(()));
    let found = find(&mut predecessor, &program, &new);
    assert_eq!(found, [StartError::InProgress]);
    predecessor.hang_up();
    util::until_gone(pid);
    // Reaping it closes what was its.
    predecessor.net.preflight(&program, &new);
    assert_eq!(find(&mut predecessor, &program, &new), []);
}

/// What is executed by its fd is what is looked at.
#[test]
fn an_open_program_is_looked_at_and_not_its_path() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("program");
    copy_witness(&file);
    let opened = File::open(&file).unwrap();
    let program = Program::new(Args::new(&[c"/no/such/program"]), Environ::new(&[]));
    finds_nothing_with(&program, &Changes::new().executable(opened.as_fd()));
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let executable = Changes::new().executable(opened.as_fd());
    finds_with(&program, &executable, refused(Errno::ACCESS));
    // The interpreter of a script could not open it.
    let script = directory.path().join("script");
    make_executable(&script, "#!/bin/sh\n");
    let script = File::open(script).unwrap();
    let executable = Changes::new().executable(script.as_fd());
    finds_with(&program, &executable, refused(Errno::NOENT));
    let directory = File::open(directory.path()).unwrap();
    let executable = Changes::new().executable(directory.as_fd());
    finds_with(&program, &executable, refused(Errno::ACCESS));
    // Another path than that of the start.
    finds_nothing_with(&program, &Changes::new().path(&witness()));
    let args = [&*witness()];
    let good = Program::new(Args::new(&args), Environ::new(&[]));
    let missing = Changes::new().path(c"/no/such/program");
    finds_with(&good, &missing, refused(Errno::NOENT));
}

/// Several things at once, in any number.
#[test]
fn all_is_found_and_not_only_the_first() {
    let _alone = alone();
    let mut predecessor = crowded();
    let path = witness();
    let args = [&*path];
    let good = Program::new(Args::new(&args), Environ::new(&[]));
    predecessor.start_program(&good);
    let entries: Vec<_> = predecessor
        .net
        .iter()
        .map(|it| it.as_fd().as_raw_fd())
        .collect();
    let channel = 3 + entries.len() as u32;
    let too_long = CString::new(vec![b'x'; 128 * 1024]).unwrap();
    let args = [c"/no/such/program", &*too_long];
    let program = Program::new(Args::new(&args), Environ::new(&[]));
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for fd in &entries[5..7] {
        put_in_place(&other, *fd);
    }
    let found = with_limit(channel.into(), || {
        predecessor.net.preflight(&program, &Changes::new())
    });
    let found: Vec<_> = found.iter().copied().collect();
    let expected = [
        StartError::InProgress,
        StartError::NotOurs(5),
        StartError::NotOurs(6),
        StartError::TooLarge,
        StartError::FdLimit(channel),
        refused(Errno::NOENT),
    ];
    for finding in expected {
        assert!(found.contains(&finding), "{finding} in {found:?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:?}");

    // More than there is room for are counted.
    for fd in &entries[7..] {
        put_in_place(&other, *fd);
    }
    let found = predecessor.net.preflight(&program, &Changes::new());
    let all = 3 + entries.len() - 5;
    assert_eq!(found.iter().count() + found.more(), all);
    assert!(found.more() > 0);
    predecessor.give_up(0);
}

/// A limit on the stack, of which the kernel gives a quarter to the strings.
fn with_stack<T>(bytes: Option<u64>, body: impl FnOnce() -> T) -> T {
    let limit = getrlimit(Resource::Stack);
    let current = bytes;
    setrlimit(Resource::Stack, Rlimit { current, ..limit }).unwrap();
    let value = body();
    setrlimit(Resource::Stack, limit).unwrap();
    value
}

/// Strings of which there are so many bytes, NULs and all.
fn filler(mut bytes: usize) -> Vec<CString> {
    let mut strings = Vec::new();
    while bytes > 0 {
        let size = bytes.min(100_000);
        strings.push(CString::new(vec![b'x'; size - 1]).unwrap());
        bytes -= size;
    }
    strings
}

/// What is started with `bytes` in the last variable.
struct Load<'a> {
    args: Vec<&'a CStr>,
    environ: Vec<&'a CStr>,
    changes: Changes<'a>,
}

impl Load<'_> {
    fn with<T>(&self, bytes: usize, body: impl FnOnce(&Program<'_>) -> T) -> T {
        let last = CString::new(vec![b'x'; bytes]).unwrap();
        let mut environ = self.environ.clone();
        environ.push(&last);
        body(&Program::new(Args::new(&self.args), Environ::new(&environ)))
    }

    fn finds(&self, predecessor: &mut Predecessor, bytes: usize) -> Vec<StartError> {
        self.with(bytes, |program| {
            let found = predecessor.net.preflight(program, &self.changes);
            found.iter().copied().collect()
        })
    }

    fn starts(&self, predecessor: &mut Predecessor, bytes: usize) -> Result<Pid, StartError> {
        self.with(bytes, |program| {
            try_to_start(predecessor, program, &self.changes)
        })
    }

    /// How many bytes there can be at most, by what is found, after a start has shown that they
    /// are: so many work, with a pid as long as there can be one, and one more does not.
    #[track_caller]
    fn most(&self, predecessor: &mut Predecessor) -> usize {
        let too_big = refused(Errno::TOOBIG);
        let (mut fits, mut over) = (0, 128 * 1024 - 1);
        assert_eq!(self.finds(predecessor, fits), []);
        assert_eq!(self.finds(predecessor, over), [too_big]);
        while over - fits > 1 {
            let middle = fits.midpoint(over);
            match &*self.finds(predecessor, middle) {
                [] => fits = middle,
                found => {
                    assert_eq!(found, [too_big]);
                    over = middle;
                }
            }
        }
        // Its pid is in two variables, and it may have seven digits. Another one may have another
        // number of them, so it is tried again.
        for _ in 0..5 {
            let pid = self.starts(predecessor, fits).unwrap();
            let digits = |pid: Pid| pid.to_string().len();
            let shorter = 2 * (7 - digits(pid));
            let started = self.starts(predecessor, fits + shorter);
            if started.map(digits) != Ok(digits(pid)) {
                continue;
            }
            let error = self.starts(predecessor, fits + shorter + 1);
            assert_eq!(error.map(drop), Err(too_big));
            return fits;
        }
        panic!("no exact end at {fits}");
    }
}

/// Case D6. To the byte: strings, pointers, and the name of the file.
#[test]
fn what_is_too_much_for_the_kernel_is_found() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let witness = copy_witness(&root.join("witness"));
    let mut predecessor = Predecessor::with_sockets();
    let predecessor = &mut predecessor;
    let mib = 1 << 20;
    // A quarter of the stack, but not more than this and not less than that.
    for (stack, room) in [
        (Some(8 * mib), 2 * mib),
        (Some(4 * mib + 4), mib + 1),
        (Some(256 << 10), 128 << 10),
        (Some(512 << 10), 128 << 10),
        (Some(25 * mib), 6 * mib),
        (None, 6 * mib),
    ] {
        if stack.is_none() && getrlimit(Resource::Stack).maximum.is_some() {
            continue;
        }
        let filler = filler(room as usize - 120_000);
        let mut environ: Vec<_> = filler.iter().map(|string| &**string).collect();
        let args = vec![&*witness];
        let changes = Changes::new();
        let plain = Load {
            args: args.clone(),
            environ: environ.clone(),
            changes,
        };
        with_stack(stack, || {
            let most = plain.most(predecessor);
            // Nothing is left out: what the process has, and what is written anew.
            let strings = most + 1 + (room as usize - 120_000) + 2 * witness.count_bytes() + 2;
            let names = predecessor
                .net
                .iter()
                .map(|it| it.name().as_bytes().len() + 1);
            let own = "LISTEN_PID=1234567.LISTEN_FDS=5.LISTEN_FDNAMES=.GRACENET_FD=8,1234567.";
            let pointers = 8 * (1 + environ.len() + 1 + 4);
            let all = strings + names.sum::<usize>() - 1 + own.len() + pointers;
            assert_eq!(all, room as usize, "with a stack of {stack:?}");

            // One variable more is a byte and a pointer more; so is an argument.
            environ.push(c"");
            let variable = Load {
                args: args.clone(),
                environ: environ.clone(),
                changes,
            };
            assert_eq!(variable.most(predecessor), most - 9);
            let argument = Load {
                args: vec![&witness, c""],
                environ: plain.environ.clone(),
                changes,
            };
            assert_eq!(argument.most(predecessor), most - 9);
        });
    }
}

/// Case D6. Whatever is executed, and by what name.
#[test]
fn what_is_too_much_for_the_kernel_is_found_of_any_program() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let witness = copy_witness(&root.join("witness"));
    let length = witness.count_bytes();
    let mut predecessor = Predecessor::with_sockets();
    let predecessor = &mut predecessor;
    let filler = filler(2_000_000);
    let environ: Vec<_> = filler.iter().map(|string| &**string).collect();
    let new = Changes::new();
    let most = |predecessor: &mut _, args: &[&CStr], more: &[&CStr], changes: Changes<'_>| {
        let load = Load {
            args: args.to_vec(),
            environ: [&environ, more].concat(),
            changes,
        };
        load.most(predecessor)
    };
    with_stack(Some(8 << 20), || {
        let plain = most(predecessor, &[&witness], &[], new);
        // By its fd, which is 9: behind five sockets and the channel.
        let file = File::open(root.join("witness")).unwrap();
        let executable = new.executable(file.as_fd());
        let by_fd = most(predecessor, &[&witness], &[], executable);
        assert_eq!(by_fd, plain + length - "/dev/fd/9".len());
        // By its name: what is in front of it does not count, and the variable does.
        let search = format!("PATH=/no/such/place:{}:/bin", root.display());
        let search = CString::new(search).unwrap();
        let by_name = most(predecessor, &[c"witness"], &[&search], new);
        let more = search.count_bytes() + 1 + 8;
        assert_eq!(by_name, plain + length - "witness".len() - more);

        // A script has its interpreter, an argument for it and its own path in place of the first
        // argument.
        let script = root.join("script");
        let line = format!("#! {} -x  -y \n", witness.to_str().unwrap());
        let name = make_executable(&script, line);
        let size = name.count_bytes() + 1;
        let by_script = most(predecessor, &[&name], &[], new);
        let strings = 2 * size + "-x  -y".len() + 1 + length + 1;
        assert_eq!(by_script, plain + 2 * (length + 1) - strings);
        // The first argument was there before, and may be longer than all that.
        let long = CString::new([b'x'; 1_000]).unwrap();
        let by_script = most(predecessor, &[&long], &[], new.path(&name));
        assert_eq!(by_script, plain + 2 * (length + 1) - size - 1_001);
        // One script's interpreter is another.
        let second = root.join("second");
        let line = format!("#!{} arg\n", name.to_str().unwrap());
        let second = make_executable(&second, line);
        let by_two = most(predecessor, &[&second], &[], new);
        let strings = 2 * (second.count_bytes() + 1) + "arg".len() + 1 + size;
        let strings = strings + "-x  -y".len() + 1 + length + 1;
        assert_eq!(by_two, plain + 2 * (length + 1) - strings);
        // None of its own is an empty one.
        let none = most(predecessor, &[], &[], new.path(&witness));
        assert_eq!(none, plain + length);
    });
}

/// Case F1. One interpreter after the other, as far as the kernel goes.
#[test]
fn interpreters_of_interpreters_are_looked_at() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let witness = copy_witness(&root.join("witness"));
    let mut predecessor = Predecessor::with_sockets();
    let plain = path(&root.join("plain"));
    fs::write(root.join("plain"), "#!/bin/sh\n").unwrap();
    let text = make_executable(&root.join("text"), "no program\n");
    let itself = root.join("itself");
    let itself = make_executable(&itself, format!("#!{}\n", itself.display()));
    let not = refused;
    for (end, outcome, too_many) in [
        (&*witness, Ok(()), not(Errno::LOOP)),
        (
            c"/no/such/program",
            Err(not(Errno::NOENT)),
            not(Errno::NOENT),
        ),
        (&*plain, Err(not(Errno::ACCESS)), not(Errno::ACCESS)),
        (&*path(&root), Err(not(Errno::ACCESS)), not(Errno::ACCESS)),
        (&*text, Err(not(Errno::NOEXEC)), not(Errno::LOOP)),
        (&*itself, Err(not(Errno::LOOP)), not(Errno::LOOP)),
    ] {
        let mut next = end.to_owned();
        for level in 1..=8 {
            let script = root.join(format!("script-{level}"));
            let line = format!("#!{}\n", next.to_str().unwrap());
            next = make_executable(&script, line);
            let what = format!("{level} scripts in front of {end:?}");
            let started = agrees(&mut predecessor, &next, &what);
            // Those at the end of six and more are not come to.
            let expected = match level {
                1..=5 => outcome,
                6 => Err(too_many),
                _ => Err(not(Errno::LOOP)),
            };
            assert_eq!(started, expected, "{what}");
        }
    }
}

/// Case F1. A first line of every kind, and what the kernel makes of it.
#[test]
fn first_lines_are_read_as_the_kernel_reads_them() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    copy_witness(&root.join("w"));
    let _home = In::directory(&root);
    let mut predecessor = Predecessor::with_sockets();
    let mut outcomes = [0; 3];
    let mut try_it = |content: &[u8]| {
        let name = make_executable(&root.join("script"), content);
        let what = String::from_utf8_lossy(content).escape_debug().to_string();
        match agrees(&mut predecessor, &name, &what) {
            Ok(()) => outcomes[0] += 1,
            Err(error) if error == refused(Errno::NOEXEC) => outcomes[1] += 1,
            Err(_) => outcomes[2] += 1,
        }
    };
    for content in [
        "#!",
        "#!w",
        "#!\0w\n",
        "#!w\0\n",
        "#!w \0\n",
        "#! \0w\n",
        "#!w \0x\n",
    ] {
        try_it(content.as_bytes());
    }
    // Around the last byte that is looked at.
    for length in 252..=258 {
        for end in ["", "\n", " ", "\0", "w\n", " \n", " x\n", "x"] {
            let of = |middle: &str| middle.repeat(length - 5);
            try_it(format!("#!./{}w{end}", of("/")).as_bytes());
            try_it(format!("#!./{}w{end}", of(" ")).as_bytes());
            try_it(format!("#!{}  w{end}", of("\t")).as_bytes());
            try_it(format!("#!w {}x{end}", of("x")).as_bytes());
        }
    }
    // The same ones at each run.
    let mut state = 1_u64;
    let mut choose = |count: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % count
    };
    for _ in 0..200 {
        let mut content = b"#!".to_vec();
        for _ in 0..choose(8) {
            content.push(b" \t\n\0w./x"[choose(8)]);
        }
        try_it(&content);
    }
    assert!(outcomes.iter().all(|count| *count > 30), "{outcomes:?}");
}

/// A program with other bytes there, and what the kernel makes of it.
struct Changed {
    predecessor: Predecessor,
    file: PathBuf,
    program: Vec<u8>,
}

impl Changed {
    fn new(file: PathBuf, program: Vec<u8>) -> Changed {
        Changed {
            predecessor: Predecessor::with_sockets(),
            file,
            program,
        }
    }

    #[track_caller]
    fn with(&mut self, at: usize, bytes: &[u8]) -> Result<(), StartError> {
        let mut program = self.program.clone();
        program[at..at + bytes.len()].copy_from_slice(bytes);
        self.is(&program, &format!("{bytes:?} at {at}"))
    }

    #[track_caller]
    fn is(&mut self, program: &[u8], what: &str) -> Result<(), StartError> {
        let name = make_executable(&self.file, program);
        agrees(&mut self.predecessor, &name, what)
    }
}

// elf(5), of 64 bits.
const E_TYPE: usize = 16;
const E_MACHINE: usize = 18;
const E_PHOFF: usize = 32;
const E_PHENTSIZE: usize = 54;
const E_PHNUM: usize = 56;

/// Case F6. Of another processor, cut off, or spoiled.
#[test]
fn a_program_that_the_kernel_would_not_load_is_found() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let no_program = Err(refused(Errno::NOEXEC));
    for program in [util::program("witness"), "/bin/true".into()] {
        let program = fs::read(program).unwrap();
        let headers = usize::from(program[E_PHNUM]);
        let mut changed = Changed::new(directory.path().join("program"), program.clone());
        assert_eq!(changed.with(0, b"\x7fELF"), Ok(()));
        assert_eq!(changed.with(1, b"elf"), no_program);
        for (kind, loads) in [
            (0, false),
            (1, false),
            (2, true),
            (3, true),
            (4, false),
            (0x203, false),
        ] {
            let started = changed.with(E_TYPE, &u16::to_ne_bytes(kind));
            assert_eq!(started.is_ok(), loads, "type {kind}");
        }
        // MIPS, PowerPC of 64 bits, S/390 and that of the other byte order, SPARC, and the others
        // that this crate is for.
        let own = program[E_MACHINE];
        for machine in [8_u16, 21, 22, 22 << 8, 43, 62, 183, 243, 0, 0xffff] {
            if machine != own.into() {
                let started = changed.with(E_MACHINE, &machine.to_ne_bytes());
                assert_eq!(started, no_program, "machine {machine}");
            }
        }
        // The class and the byte order that it says it has are of no interest to the kernel.
        for at in [4, 5, 6] {
            for value in [0, 1, 2, 3, 0xff] {
                let started = changed.with(at, &[value]);
                if cfg!(target_arch = "x86_64") {
                    assert_eq!(started, Ok(()), "{value} at {at}");
                }
            }
        }
        for size in [0_u16, 1, 32, 55, 57, 56 << 8, 0xffff] {
            assert_eq!(changed.with(E_PHENTSIZE, &size.to_ne_bytes()), no_program);
        }
        for count in [0_u16, 1171, 0x7fff, 0xffff] {
            assert_eq!(changed.with(E_PHNUM, &count.to_ne_bytes()), no_program);
        }
        let end = program.len() as u64;
        let table = 56 * headers as u64;
        for at in [
            end,
            end - table + 1,
            end + 1,
            1 << 40,
            i64::MAX as u64,
            1 << 63,
            u64::MAX,
        ] {
            assert_eq!(changed.with(E_PHOFF, &at.to_ne_bytes()), no_program, "{at}");
        }
        for length in [
            4,
            5,
            15,
            16,
            18,
            52,
            56,
            63,
            64,
            65,
            64 + table as usize - 1,
        ] {
            let cut = changed.is(&program[..length], &format!("{length} bytes"));
            assert_eq!(cut, no_program, "{length} bytes");
        }
    }
}

/// Case F1. The interpreter of a program, which is one itself.
#[test]
fn an_interpreter_that_the_kernel_would_not_load_is_found() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let program = fs::read("/bin/true").unwrap();
    let linker = directory.path().join("ld");
    let word = |at: usize| u64::from_ne_bytes(program[at..at + 8].try_into().unwrap()) as usize;
    let header = (0..usize::from(program[E_PHNUM]))
        .map(|index| word(E_PHOFF) + 56 * index)
        .find(|at| program[*at..*at + 4] == 3_u32.to_ne_bytes())
        .expect("a PT_INTERP in /bin/true");
    let (offset, length) = (header + 8, header + 32);
    let mut changed = Changed::new(directory.path().join("program"), program.clone());
    for (size, errno) in [
        (0, Errno::NOEXEC),
        (1, Errno::NOEXEC),
        (2, Errno::NOEXEC),
        (word(length) as u64 - 1, Errno::NOEXEC),
        (4097, Errno::NOEXEC),
        (u64::MAX, Errno::NOEXEC),
        (1 << 63, Errno::NOEXEC),
    ] {
        let started = changed.with(length, &u64::to_ne_bytes(size));
        assert_eq!(started, Err(refused(errno)), "{size}");
    }
    for (at, errno) in [
        (program.len() as u64, Errno::IO),
        (program.len() as u64 - 4, Errno::IO),
        (1 << 40, Errno::IO),
        (u64::MAX, Errno::INVAL),
    ] {
        let started = changed.with(offset, &at.to_ne_bytes());
        assert_eq!(started, Err(refused(errno)), "{at}");
    }

    // One of our own, behind the end of the program.
    let own = linker.as_os_str().as_bytes();
    let mut named = program.clone();
    named.extend_from_slice(own);
    named.push(0);
    named[offset..offset + 8].copy_from_slice(&program.len().to_ne_bytes());
    named[length..length + 8].copy_from_slice(&(own.len() + 1).to_ne_bytes());
    changed.program = named;
    let real = fs::canonicalize(
        CStr::from_bytes_until_nul(&program[word(offset)..])
            .unwrap()
            .to_str()
            .unwrap(),
    );
    let real = fs::read(real.unwrap()).unwrap();
    let mut other = real.clone();
    other[E_MACHINE] = 8;
    let mut spoiled = real.clone();
    spoiled[E_PHNUM] = 0;
    let script =
        "#!/bin/sh\n# which is an interpreter of scripts and of nothing else, however long";
    let none = directory.path().join("none");
    for (content, outcome) in [
        (&*real, Ok(())),
        (b"", Err(refused(Errno::IO))),
        (b"#!/bin/sh\n", Err(refused(Errno::IO))),
        (&real[..63], Err(refused(Errno::IO))),
        (&real[..64], Err(refused(Errno::LIBBAD))),
        (script.as_bytes(), Err(refused(Errno::LIBBAD))),
        (&other, Err(refused(Errno::LIBBAD))),
        (&spoiled, Err(refused(Errno::LIBBAD))),
    ] {
        make_executable(&linker, content);
        assert_eq!(changed.with(0, b"\x7f"), outcome, "{} bytes", content.len());
    }
    make_executable(&linker, &real);
    fs::set_permissions(&linker, Permissions::from_mode(0o644)).unwrap();
    assert_eq!(changed.with(0, b"\x7f"), Err(refused(Errno::ACCESS)));
    fs::rename(&linker, none).unwrap();
    assert_eq!(changed.with(0, b"\x7f"), Err(refused(Errno::NOENT)));
}

/// A program of i386 that exits, with an interpreter if it is given one.
fn i386(interpreter: Option<&[u8]>) -> Vec<u8> {
    let address = 0x40_0000_u32;
    let word = u32::to_le_bytes;
    let mut program = b"\x7fELF\x01\x01\x01".to_vec();
    program.resize(16, 0);
    // An executable, of EM_386, version 1.
    program.extend([2, 0, 3, 0, 1, 0, 0, 0]);
    program.extend([word(address + 116), word(52), word(0), word(0)].concat());
    let headers = 1 + u8::from(interpreter.is_some());
    program.extend([52, 0, 32, 0, headers, 0, 40, 0, 0, 0, 0, 0]);
    let code = b"\xb8\x01\0\0\0\xbb\x07\0\0\0\xcd\x80";
    let end = 116 + code.len() as u32;
    // PT_LOAD of the whole file, readable and executable.
    let load = [1, 0, address, address, end, end, 5, 0x1000];
    program.extend(load.map(word).concat());
    if let Some(interpreter) = interpreter {
        let length = interpreter.len() as u32;
        let named = [3, end, 0, 0, length, length, 4, 1];
        program.extend(named.map(word).concat());
    }
    program.resize(116, 0);
    program.extend(code);
    program.extend(interpreter.unwrap_or(b""));
    program
}

/// Case F6. Whether the kernel has a loader for them nobody can tell; but some have no chance.
#[test]
#[cfg(target_arch = "x86_64")]
fn a_program_of_the_narrower_processor_is_found_where_no_kernel_would_load_it() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("program");
    let mut predecessor = Predecessor::with_sockets();
    let mut outcomes = |program: &[u8]| {
        let name = make_executable(&file, program);
        let args = [&*name];
        let program = Program::new(Args::new(&args), Environ::new(&[]));
        let found = find(&mut predecessor, &program, &Changes::new());
        let started = try_to_start(&mut predecessor, &program, &Changes::new());
        (found, started.map(drop))
    };
    let no_program = refused(Errno::NOEXEC);
    let (found, here) = outcomes(&i386(None));
    assert_eq!(found, []);
    assert!(here.is_ok() || here == Err(no_program), "{here:?}");
    for (at, value) in [(16, 1), (42, 33), (44, 0), (45, 0xff), (30, 0xff)] {
        let mut program = i386(None);
        program[at] = value;
        let (found, started) = outcomes(&program);
        assert_eq!(found, [no_program], "{value} at {at}");
        assert_eq!(started, Err(no_program), "{value} at {at}");
    }
    let interpreter = Some(b"/no/such/linker\0".as_slice());
    let (found, started) = outcomes(&i386(interpreter));
    assert_eq!(found, [refused(Errno::NOENT)]);
    // Where there is no loader, it is refused earlier.
    let expected = if here.is_ok() { found[0] } else { no_program };
    assert_eq!(started, Err(expected));
}

/// Case F6. With binfmt_misc anything can be a program, which only the kernel knows. In a user
/// namespace, which has handlers of its own (Linux 6.7).
#[test]
fn what_a_handler_might_execute_is_not_found() {
    const NAME: &str = "what_a_handler_might_execute_is_not_found";
    const INSIDE: &str = "GRACENET_TEST_HANDLERS";
    let _alone = alone();
    if env::var_os(INSIDE).is_none() {
        if !kernel_is_at_least(6, 7) {
            return;
        }
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount"])
            .arg(env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(INSIDE, "1")
            .output()
            .expect("unshare, of util-linux");
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(
            output.status.success() && out.contains("1 passed"),
            "{out}{err}"
        );
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let folder = Path::new("/proc/sys/fs/binfmt_misc");
    let odd = make_executable(&directory.path().join("odd"), "odd program\n");
    let name = make_executable(&directory.path().join("even"), "even program\n");
    let no_program = refused(Errno::NOEXEC);
    finds(&[&odd], &[], no_program);
    let (kind, at) = (c"binfmt_misc".as_ptr(), path(folder));
    // SAFETY: C strings.
    let mounted = unsafe { libc::mount(c"none".as_ptr(), at.as_ptr(), kind, 0, std::ptr::null()) };
    assert_eq!(mounted, 0, "{}", std::io::Error::last_os_error());
    finds(&[&odd], &[], no_program);
    let register = |line: &str| fs::write(folder.join("register"), line).unwrap();
    register(&format!(":odd:M::odd::{}:", witness().to_str().unwrap()));
    finds_nothing(&[&odd], &[]);
    // Not known to have none, either.
    let mut predecessor = Predecessor::with_sockets();
    let args = [&*name];
    let program = Program::new(Args::new(&args), Environ::new(&[]));
    assert_eq!(find(&mut predecessor, &program, &Changes::new()), []);
    assert_eq!(predecessor.fail_with(&program, &Changes::new()), no_program);
    // What else there is to be said of them is said.
    finds(&[c"/no/such/program"], &[], refused(Errno::NOENT));
    fs::write(folder.join("status"), "0").unwrap();
    finds(&[&odd], &[], no_program);
    fs::write(folder.join("status"), "1").unwrap();
    finds_nothing(&[&odd], &[]);
    fs::write(folder.join("odd"), "-1").unwrap();
    finds(&[&odd], &[], no_program);
}
