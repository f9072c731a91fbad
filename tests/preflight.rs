//! A server asks whether it could be replaced now. Each thing that speaks against it is found, and
//! all of them when there are several; each is then what a start says, too. Where nothing is found
//! a start works. Asking changes nothing.
#![allow(unsafe_code)] // Numbers of fds that are changed behind the table's back.

mod util;

use std::ffi::{CStr, CString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use gracenet::{
    Args, Changes, Deadline, Environ, Errno, Error, Failure, Findings, Operation, Program,
    StartError,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use util::{Fds, Predecessor, alone, copy_witness, path, put_in_place, seccomp, witness};

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
    predecessor
        .net
        .start_process_with(program, changes)
        .unwrap();
    let successor = predecessor.net.successor().unwrap();
    successor.kill();
    let outcome = successor.wait_ready(Deadline::after_ms(10_000));
    assert_eq!(outcome, Err(Failure::GivenUp));
    // It may be replaced again, and asking is not what made it so.
    assert_eq!(find(&mut predecessor, program, changes), []);
}

#[track_caller]
fn finds_nothing(args: &[&CStr], environ: &[&CStr]) {
    let program = Program::new(Args::new(args), Environ::new(environ));
    finds_nothing_with(&program, &Changes::new());
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
    let home = std::env::current_dir().unwrap();
    std::env::set_current_dir(&root).unwrap();
    let args = [c"./program"];
    let program = Program::new(Args::new(&args), Environ::new(&[]));
    std::env::set_current_dir("/").unwrap();
    finds_nothing_with(&program, &Changes::new());
    std::env::set_current_dir(home).unwrap();
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
    let channel = 3 + predecessor.net.len() as u64;
    let new = Changes::new();
    let mut preflight = |limit, changes: &Changes<'_>| -> Findings {
        with_limit(limit, || predecessor.net.preflight(&program, changes))
    };
    let too_low = StartError::FdLimit(channel as u32);
    let found = preflight(channel, &new);
    assert_eq!(found.iter().copied().collect::<Vec<_>>(), [too_low]);
    assert!(preflight(channel + 1, &new).is_empty());
    // What is executed by its fd takes one more.
    let file = File::open(util::program("witness")).unwrap();
    let executable = new.executable(file.as_fd());
    let found = preflight(channel + 1, &executable);
    let too_low = StartError::FdLimit(channel as u32 + 1);
    assert_eq!(found.iter().copied().collect::<Vec<_>>(), [too_low]);
    assert!(preflight(channel + 2, &executable).is_empty());
    // And so it is.
    let mut start = |limit, changes: &Changes<'_>| {
        with_limit(limit, || {
            let started = predecessor.net.start_process_with(&program, changes);
            started.map(|it| it.kill())
        })
    };
    assert_eq!(start(channel + 1, &executable), Err(too_low));
    assert_eq!(start(channel + 2, &executable), Ok(()));
    let outcome = predecessor
        .net
        .successor()
        .unwrap()
        .wait_ready(Deadline::NEVER);
    assert_eq!(outcome, Err(Failure::GivenUp));
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
