//! A program starts successors of itself. What they find is looked at from outside, in /proc: the
//! sockets, the environment, the arguments, the signals; and so is what is left of the attempt in
//! the program that made it, whether it succeeded or failed.
#![allow(unsafe_code)] // Signal dispositions, which std has no safe door to.

mod util;

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use gracenet::{Args, Deadline, Environ, Failure, Net, Operation, Program, StartError};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use util::{
    Done, Fds, Predecessor, Witness, alone, copy_witness, path, program, witness, witness_in,
};

/// Case D1, D2, D5, E5, E7, E10.
#[test]
fn successor_gets_its_sockets_its_variables_and_nothing_more() {
    let _alone = alone();
    let mut predecessor = Predecessor::with_sockets();
    // As another thread or a careless library leaves it.
    let leaked = File::open("/dev/zero").unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    let before = Fds::of_self();

    let given = [
        c"A=1",
        c"LISTEN_PID=1",
        c"A=2",
        c"LISTEN_FDS=77",
        c"",
        c"NOVALUE",
        c"LISTEN_PIDFDID=12",
        c"B=\xff\xfe",
        c"LISTEN_FDNAMES=x:y",
        c"GRACENET_FD=9,1",
        c"LISTEN_FDS_EXTRA=kept",
        c"=odd",
    ];
    let witness_path = witness();
    let witness = predecessor.start(&[&witness_path, c"", c"--flag", c"\xff"], &given);

    let pid = witness.pid;
    let listen_pid = format!("LISTEN_PID={pid}");
    let channel = format!("GRACENET_FD=8,{pid}");
    let expected: [&[u8]; 11] = [
        b"A=1",
        b"A=2",
        b"",
        b"NOVALUE",
        b"B=\xff\xfe",
        b"LISTEN_FDS_EXTRA=kept",
        b"=odd",
        listen_pid.as_bytes(),
        b"LISTEN_FDS=5",
        b"LISTEN_FDNAMES=report:unknown:unknown:unknown:null",
        channel.as_bytes(),
    ];
    assert_eq!(witness.environ(), expected);
    let arguments: [&[u8]; 4] = [witness_path.to_bytes(), b"", b"--flag", b"\xff"];
    assert_eq!(witness.cmdline(), arguments);
    assert_eq!(witness.generation, 1);

    let mut fds = witness.fds();
    fds.forget("O_PATH directory", |fd| {
        fd.target == std::env::current_dir().unwrap()
    });
    assert_eq!(fds.numbers(), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(fds.all_cloexec_from(3), "{fds:?}");
    drop(fds);
    let ours: Vec<_> = predecessor
        .net
        .iter()
        .map(|entry| before.target(entry.as_fd().as_raw_fd()))
        .collect();
    let witness = Witness {
        pid,
        generation: 1,
        report: &predecessor.report,
    };
    let theirs: Vec<_> = (3..8).map(|fd| witness.fds().target(fd)).collect();
    assert_eq!(theirs, ours);

    // The channel and the pidfd are the only things that came to be.
    let mut after = Fds::of_self();
    after.forget("channel", |fd| !before.has(fd.number) && fd.is_socket());
    after.forget("pidfd", |fd| !before.has(fd.number) && fd.is_pidfd());
    assert_eq!(after, before);
    predecessor.give_up(0);
    drop(leaked);
}

/// Case D2, E10. No sockets: none of the variables, one fd more than the standard streams.
#[test]
fn successor_without_sockets_gets_no_variables_of_theirs() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let script = CString::new(format!(
        "tr '\\0' '\\n' </proc/$$/environ >{0}; ls /proc/$$/fd >>{0}; exit 3",
        out.display()
    ))
    .unwrap();
    let mut net: Net<2> = Net::new();
    let args = [c"/bin/sh", c"-c", &*script];
    let environ = [c"LISTEN_PID=1", c"LISTEN_FDS=2", c"PATH=/usr/bin:/bin"];
    let program = Program::new(Args::new(&args), Environ::new(&environ));
    let successor = net.start_process(&program).unwrap();
    let pid = successor.pid();
    let outcome = successor.wait_ready(Deadline::after_ms(10_000));
    // Case H1: no message is a failure, whatever the status.
    assert_eq!(outcome, Err(Failure::Exited(3)));
    let found = fs::read_to_string(&out).unwrap();
    assert!(
        found.starts_with(&format!("PATH=/usr/bin:/bin\nGRACENET_FD=3,{pid}\n")),
        "{found}"
    );
    // The shell has its own from 10 up.
    let numbers = found.lines().filter(|line| line.len() == 1);
    assert!(numbers.eq(["0", "1", "2", "3"]), "{found}");
    assert!(!found.contains("LISTEN_"), "{found}");
}

/// Case E10. As many sockets as the table holds, in an order that is not that of their numbers.
#[test]
fn successor_gets_a_full_table_in_its_order() {
    let _alone = alone();
    let mut predecessor = Predecessor::new();
    let mut listeners: Vec<OwnedFd> = (0..79)
        .map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap().into())
        .collect();
    listeners.reverse();
    for (index, listener) in listeners.into_iter().enumerate() {
        predecessor
            .net
            .insert(format!("n{index}"), listener)
            .unwrap();
    }
    let refused = predecessor
        .net
        .insert("n79", File::open("/dev/null").unwrap().into());
    assert_eq!(
        refused.unwrap_err().to_string(),
        "the table is full, capacity 80"
    );
    let before = Fds::of_self();
    let ours: Vec<_> = predecessor
        .net
        .iter()
        .map(|entry| before.target(entry.as_fd().as_raw_fd()))
        .collect();
    let witness = predecessor.start(&[&witness()], &[]);
    let fds = witness.fds();
    let theirs: Vec<_> = (3..83).map(|fd| fds.target(fd)).collect();
    assert_eq!(theirs, ours);
    predecessor.give_up(0);
}

/// Case D3.
#[test]
fn a_hundred_generations_later_nothing_has_changed_but_the_pid() {
    let _alone = alone();
    let mut predecessor = Predecessor::with_sockets();
    let path = witness();
    let first = predecessor.start(&[&path, c"--one", c""], &[c"A=1", c"", c"PATH=/bin"]);
    assert_eq!(first.say("ready"), "ok");
    let pid_as = |strings: Vec<Vec<u8>>, pid: Pid| -> Vec<String> {
        let pid = pid.to_string();
        strings
            .iter()
            .map(|s| String::from_utf8_lossy(s).replace(&pid, "PID"))
            .collect()
    };
    let environ = pid_as(first.environ(), first.pid);
    let (cmdline, fds) = (first.cmdline(), first.fds());
    let mut witness = first;
    for generation in 2..=101 {
        witness = witness.next();
        assert_eq!(witness.generation, generation);
    }
    assert_eq!(pid_as(witness.environ(), witness.pid), environ);
    assert_eq!(witness.cmdline(), cmdline);
    // The channel is a new one each time.
    let channel = |fd: &util::Fd| fd.number == 8;
    let (mut then, mut now) = (fds, witness.fds());
    then.forget("channel", channel);
    now.forget("channel", channel);
    assert_eq!(now, then);
}

/// Case D6.
#[test]
fn an_environment_too_large_is_an_error_before_anything_happens() {
    let _alone = alone();
    let mut predecessor = Predecessor::with_sockets();
    let path = witness();
    let long = CString::new([b"L=".as_slice(), &[b'x'; 128 * 1024 - 3]].concat()).unwrap();
    let too_long = CString::new([b"L=".as_slice(), &[b'x'; 128 * 1024 - 2]].concat()).unwrap();
    assert_eq!(
        predecessor.fail(&[&path], &[&too_long]),
        StartError::TooLarge
    );
    assert_eq!(
        predecessor.fail(&[&path, &too_long], &[]),
        StartError::TooLarge
    );
    assert_eq!(
        predecessor.fail(&[&path], &vec![c"A=1"; 20_000]),
        StartError::TooLarge
    );
    // What passes our checks and is too much for the kernel.
    let error = predecessor.fail(&[&path], &vec![&*long; 40]);
    assert_eq!(error.to_string(), "execve: os error 7");
    // As much as there may be: each size of the plan.
    for count in [1, 400, 600, 8_000, 15_000] {
        let witness = predecessor.start(&[&path], &vec![c"A=1"; count]);
        assert_eq!(witness.environ().len(), count + 4);
        predecessor.give_up(0);
        predecessor = Predecessor::with_sockets();
    }
    assert_eq!(
        predecessor
            .start(&[&path], &[&long])
            .environ()
            .first()
            .unwrap(),
        long.to_bytes()
    );
    predecessor.give_up(0);
}

/// Case D7.
#[test]
fn watchdog_of_this_process_becomes_the_successors() {
    let _alone = alone();
    let mut predecessor = Predecessor::new();
    let own = CString::new(format!("WATCHDOG_PID={}", std::process::id())).unwrap();
    let path = witness();
    let environ = [
        c"NOTIFY_SOCKET=/run/notify",
        &*own,
        c"WATCHDOG_USEC=5",
        &*own,
    ];
    let witness = predecessor.start(&[&path], &environ);
    let new = format!("WATCHDOG_PID={}", witness.pid);
    assert_eq!(
        witness.environ()[..4],
        [
            b"NOTIFY_SOCKET=/run/notify".as_slice(),
            new.as_bytes(),
            b"WATCHDOG_USEC=5",
            own.to_bytes()
        ]
    );
    predecessor.give_up(0);
    let mut predecessor = Predecessor::new();
    let witness = predecessor.start(&[&path], &[c"WATCHDOG_PID=1"]);
    assert_eq!(witness.environ()[0], b"WATCHDOG_PID=1");
    predecessor.give_up(0);
}

/// Case E3, E6.
#[test]
fn closed_standard_streams_are_neither_sockets_nor_nothing() {
    let _alone = alone();
    let saved = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 100).unwrap();
    // SAFETY: nobody in this process reads it, and it is put back below.
    unsafe { rustix::io::close(0) };
    let mut predecessor = Predecessor::with_sockets();
    let lowest = predecessor
        .net
        .iter()
        .map(|entry| entry.as_fd().as_raw_fd())
        .min();
    let witness = predecessor.start(&[&witness()], &[]);
    let fds = witness.fds();
    assert_eq!(fds.target(0), Path::new("/dev/null"));
    assert_eq!(fds.target(1), Fds::of_self().target(1));
    assert!(fds.target(3).to_str().unwrap().starts_with("socket:"));
    assert!(lowest >= Some(3), "{lowest:?}");
    predecessor.give_up(0);
    drop(predecessor);
    rustix::stdio::dup2_stdin(&saved).unwrap();
}

/// Case E4, E7.
#[test]
fn limit_on_fds_too_low_is_an_error_before_anything_happens() {
    let _alone = alone();
    let mut predecessor = Predecessor::new();
    for _ in 0..60 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        predecessor.net.insert("web", listener.into()).unwrap();
    }
    // Low numbers for what a start opens here; what is too high is the successor's.
    for _ in 0..5 {
        let second = predecessor.net.iter().nth(1).unwrap().handle();
        predecessor.net.close(second).unwrap();
    }
    let path = witness();
    let args = [&*path];
    let program = Program::new(Args::new(&args), Environ::new(&[]));
    let channel = 3 + predecessor.net.len() as u64;
    let before = Fds::of_self();
    let limit = getrlimit(Resource::Nofile);
    let mut start_with = |fds| {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(fds),
                ..limit
            },
        )
        .unwrap();
        let outcome = predecessor.net.start_process(&program).map(|it| it.pid());
        setrlimit(Resource::Nofile, limit).unwrap();
        outcome
    };
    assert_eq!(
        start_with(channel),
        Err(StartError::FdLimit(channel as u32))
    );
    assert_eq!(Fds::of_self(), before);
    assert_eq!(start_with(channel + 1).map(drop), Ok(()));
    Witness::up(&predecessor.report);
    predecessor.give_up(0);
}

/// Case E9.
#[test]
fn sockets_block_or_not_as_they_did() {
    let _alone = alone();
    let mut predecessor = Predecessor::new();
    let blocking = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nonblocking = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    nonblocking.set_nonblocking(true).unwrap();
    predecessor.net.insert("blocking", blocking.into()).unwrap();
    predecessor
        .net
        .insert("nonblocking", nonblocking.into())
        .unwrap();
    let witness = predecessor.start(&[&witness()], &[]);
    let fds = witness.fds();
    assert!(!fds.is_nonblocking(4));
    assert!(fds.is_nonblocking(5));
    predecessor.give_up(0);
}

/// Case F1, F6, E7. Each time with the file mended the next attempt works.
#[test]
fn what_cannot_be_executed_is_an_error_and_the_next_attempt_works() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("program");
    let name = path(&file);
    let mut predecessor = Predecessor::with_sockets();
    let mut try_again = |broken: &str, errno: Errno, mend: &dyn Fn()| {
        let error = predecessor.fail(&[&name], &[]);
        assert_eq!(
            error,
            StartError::Failed(gracenet::Error::new(Operation::Execve, errno))
        );
        mend();
        let witness = predecessor.start(&[&name], &[]);
        assert_eq!(witness.say("ready"), "ok", "{broken}");
        let successor = predecessor.net.successor().unwrap();
        assert_eq!(successor.wait_ready(Deadline::after_ms(10_000)), Ok(()));
        predecessor = Predecessor::with_sockets();
        fs::remove_file(&file).unwrap();
    };
    let mend = || drop(copy_witness(&file));
    try_again("missing", Errno::NOENT, &mend);

    copy_witness(&file);
    fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    try_again("not executable", Errno::ACCESS, &|| {
        fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    });

    fs::write(&file, "echo this is no program\n").unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    try_again("no format", Errno::NOEXEC, &mend);

    fs::write(&file, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    try_again("no interpreter", Errno::NOENT, &|| {
        fs::remove_file(&file).unwrap();
        mend();
    });

    copy_witness(&file);
    let writer = Mutex::new(Some(OpenOptions::new().append(true).open(&file).unwrap()));
    try_again("being written", Errno::TXTBSY, &|| {
        drop(writer.lock().unwrap().take())
    });

    assert_eq!(Predecessor::new().fail(&[], &[]), StartError::NoProgram);
    assert_eq!(Predecessor::new().fail(&[c""], &[]), StartError::NoProgram);
}

/// Case F2.
#[test]
fn a_relative_path_is_that_of_the_start() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    copy_witness(&directory.path().join("program"));
    let home = std::env::current_dir().unwrap();
    std::env::set_current_dir(directory.path()).unwrap();
    let args = [c"./program"];
    let program = Program::new(Args::new(&args), Environ::new(&[]));
    std::env::set_current_dir("/").unwrap();
    let mut predecessor = Predecessor::new();
    let witness = predecessor.start_program(&program);
    assert_eq!(
        witness.exe(),
        directory.path().canonicalize().unwrap().join("program")
    );
    let cwd = fs::read_link(witness.proc("cwd")).unwrap();
    assert_eq!(cwd, directory.path().canonicalize().unwrap());
    predecessor.give_up(0);
    std::env::set_current_dir(home).unwrap();
}

/// Case F3, F4.
#[test]
fn successor_is_what_the_path_names_now() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());

    let name = copy_witness(&root.join("program"));
    let mut predecessor = Predecessor::new();
    let first = predecessor.start(&[&name], &[]);
    assert_eq!(first.say("ready"), "ok");
    copy_witness(&root.join("new"));
    let new = inode(&root.join("new"));
    fs::rename(root.join("new"), root.join("program")).unwrap();
    let next = first.next();
    assert_eq!(inode(&next.proc("exe")), new);
    assert_eq!(next.exe(), root.join("program"));
    drop(predecessor);

    for release in ["1", "2"] {
        fs::create_dir(root.join(release)).unwrap();
        copy_witness(&root.join(release).join("program"));
    }
    symlink("1", root.join("current")).unwrap();
    let name = path(&root.join("current/program"));
    let mut predecessor = Predecessor::new();
    let first = predecessor.start(&[&name], &[]);
    assert_eq!(first.exe(), root.join("1/program"));
    assert_eq!(first.say("ready"), "ok");
    symlink("2", root.join("next")).unwrap();
    fs::rename(root.join("next"), root.join("current")).unwrap();
    assert_eq!(first.next().exe(), root.join("2/program"));
}

/// Case F5.
#[test]
fn a_name_without_a_slash_is_searched_in_path() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    for name in ["empty", "refused", "good"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    fs::write(root.join("file"), "").unwrap();
    copy_witness(&root.join("refused/program"));
    fs::set_permissions(
        root.join("refused/program"),
        PermissionsExt::from_mode(0o644),
    )
    .unwrap();
    copy_witness(&root.join("good/program"));
    let search = |directories: &[&str]| {
        let joined = directories.iter().map(|name| match *name {
            "" => String::new(),
            name => root.join(name).display().to_string(),
        });
        CString::new(format!("PATH={}", joined.collect::<Vec<_>>().join(":"))).unwrap()
    };
    let mut predecessor = Predecessor::new();
    let mut errno =
        |directories: &[&str]| match predecessor.fail(&[c"program"], &[&search(directories)]) {
            StartError::Failed(error) => error.errno(),
            other => panic!("{other}"),
        };
    assert_eq!(errno(&["missing", "file", "empty"]), Errno::NOENT);
    assert_eq!(errno(&["refused"]), Errno::ACCESS);
    assert_eq!(errno(&["refused", "empty", "file"]), Errno::ACCESS);
    let long = "x".repeat(5_000);
    assert_eq!(errno(&[&long]), Errno::NOENT);

    for directories in [["missing", "file", "good"], ["refused", &long, "good"]] {
        let mut predecessor = Predecessor::new();
        let witness = predecessor.start(&[c"program"], &[&search(&directories)]);
        assert_eq!(witness.exe(), root.join("good/program"));
        assert_eq!(witness.cmdline(), [b"program"]);
        predecessor.give_up(0);
    }
    // Empty is the working directory of the start.
    let home = std::env::current_dir().unwrap();
    std::env::set_current_dir(root.join("good")).unwrap();
    let environ = [search(&["missing", "", "refused"])];
    let environ = [&*environ[0]];
    let args = [c"program"];
    let program = Program::new(Args::new(&args), Environ::new(&environ));
    std::env::set_current_dir(home).unwrap();
    let mut predecessor = Predecessor::new();
    assert_eq!(
        predecessor.start_program(&program).exe(),
        root.join("good/program")
    );
    predecessor.give_up(0);
}

/// Case F7.
#[test]
fn successor_needs_neither_proc_nor_dev_nor_its_directory() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    copy_witness(&directory.path().join("witness"));
    let exec = format!(
        "exec unshare --map-root-user --root={} /witness",
        directory.path().display()
    );
    let (mut child, report) = witness_in(directory.path(), &exec);
    let first = Witness::up(&report);
    assert_eq!(first.say("ready"), "ok");
    let second = first.next();
    assert_eq!(second.fds().numbers(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(second.next().generation, 2);
    drop(report);
    child.wait().unwrap();

    let directory = tempfile::tempdir().unwrap();
    let (mut child, report) = witness_in(
        directory.path(),
        &format!("exec {}", program("witness").display()),
    );
    let first = Witness::up(&report);
    fs::remove_dir(directory.path()).unwrap();
    assert_eq!(first.next().next().generation, 2);
    drop(report);
    child.wait().unwrap();
}

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// Case G1.
#[test]
fn successor_starts_with_the_signals_of_the_start() {
    let _alone = alone();
    let set = |signal, disposition| {
        // SAFETY: no handler is installed or relied on.
        unsafe { libc::signal(signal, disposition) }
    };
    let path = witness();
    let args = [&*path];
    let was = set(libc::SIGPIPE, libc::SIG_DFL);
    let program = Program::new(Args::new(&args), Environ::new(&[]));
    set(libc::SIGPIPE, libc::SIG_IGN);
    let ignoring = Program::new(Args::new(&args), Environ::new(&[]));
    set(libc::SIGPIPE, libc::SIG_DFL);
    set(libc::SIGCHLD, libc::SIG_IGN);
    let signals = gracenet::signal::Signals::new(&[Signal::USR2, Signal::TERM]).unwrap();

    let mut predecessor = Predecessor::new();
    let witness = predecessor.start_program(&program);
    assert_eq!(witness.signals("SigBlk"), 0);
    assert_eq!(witness.signals("SigCgt"), 0);
    assert_eq!(
        witness.signals("SigIgn") & (bit(libc::SIGPIPE) | bit(libc::SIGCHLD)),
        0
    );
    drop(predecessor);
    let mut predecessor = Predecessor::new();
    let witness = predecessor.start_program(&ignoring);
    assert_eq!(
        witness.signals("SigIgn") & bit(libc::SIGPIPE),
        bit(libc::SIGPIPE)
    );
    drop((predecessor, signals));

    set(libc::SIGPIPE, was);
    set(libc::SIGCHLD, libc::SIG_DFL);
    unblock_all();
}

fn unblock_all() {
    let mut none = MaybeUninit::uninit();
    // SAFETY: room for a set.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: the empty set.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut()) };
}

static OWN_PID: AtomicU32 = AtomicU32::new(0);
static HANDLED: AtomicU32 = AtomicU32::new(0);
static HANDLED_ELSEWHERE: AtomicU32 = AtomicU32::new(0);

/// The child shares the memory, so that this process sees what a handler does there.
extern "C" fn count(_: libc::c_int) {
    // SAFETY: asks the kernel for a number.
    let pid = unsafe { libc::syscall(libc::SYS_getpid) } as u32;
    let counter = if pid == OWN_PID.load(Ordering::Relaxed) {
        &HANDLED
    } else {
        &HANDLED_ELSEWHERE
    };
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Case G2. The whole process group is bombarded while successors are started.
#[test]
fn no_handler_of_ours_runs_in_the_child() {
    let _alone = alone();
    OWN_PID.store(std::process::id(), Ordering::Relaxed);
    let handler = count as extern "C" fn(libc::c_int);
    // SIGURG: by default it is ignored, which the rest of the group does.
    // SAFETY: the handler only counts.
    unsafe { libc::signal(libc::SIGURG, handler as libc::sighandler_t) };
    let done = Done::default();
    std::thread::scope(|scope| {
        let _end = done.at_the_end();
        scope.spawn(|| {
            let group = rustix::process::getpgrp();
            while !done.is_over() {
                let _ = rustix::process::kill_process_group(group, Signal::URG);
            }
        });
        let path = witness();
        let args = [&*path];
        let program = Program::new(Args::new(&args), Environ::new(&[]));
        for _ in 0..300 {
            let mut predecessor = Predecessor::new();
            assert!(predecessor.start_program(&program).generation == 1);
            predecessor.give_up(0);
        }
    });
    assert!(HANDLED.load(Ordering::Relaxed) > 1_000, "{HANDLED:?}");
    assert_eq!(HANDLED_ELSEWHERE.load(Ordering::Relaxed), 0);
    // SAFETY: no handler is left.
    unsafe { libc::signal(libc::SIGURG, libc::SIG_DFL) };
}

/// Case G3.
#[test]
fn outcome_is_right_where_nobody_keeps_the_status_of_children() {
    let _alone = alone();
    // SAFETY: no handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let path = witness();
    let mut predecessor = Predecessor::new();
    assert_eq!(predecessor.start(&[&path], &[]).say("ready"), "ok");
    let successor = predecessor.net.successor().unwrap();
    assert_eq!(successor.wait_ready(Deadline::after_ms(10_000)), Ok(()));

    let mut predecessor = Predecessor::new();
    let witness = predecessor.start(&[&path], &[]);
    kill_process(witness.pid, Signal::KILL).unwrap();
    let successor = predecessor.net.successor().unwrap();
    assert_eq!(
        successor.wait_ready(Deadline::after_ms(10_000)),
        Err(Failure::Ended)
    );
    let error = predecessor.fail(&[c"/no/such/program"], &[]);
    assert_eq!(error.to_string(), "execve: os error 2");
    // SAFETY: no handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Case H4. Asked twice it refuses, and after a failure it works; asked again after that it works.
#[test]
fn one_successor_at_a_time_and_another_after_it_failed() {
    let _alone = alone();
    let path = witness();
    let args = [&*path];
    let program = Program::new(Args::new(&args), Environ::new(&[]));
    let mut predecessor = Predecessor::with_sockets();
    for _ in 0..5 {
        let witness = predecessor.start_program(&program);
        assert_eq!(witness.generation, 1);
        let again = predecessor.net.start_process(&program).map(|it| it.pid());
        assert_eq!(again, Err(StartError::InProgress));
        let successor = predecessor.net.successor().unwrap();
        assert_eq!(successor.try_wait(Deadline::after_ms(60_000)), None);
        let outcome = successor.wait_ready(Deadline::after_ms(0));
        assert_eq!(outcome, Err(Failure::TimedOut));
    }
    let witness = predecessor.start_program(&program);
    let pid = witness.pid;
    assert_eq!(witness.say("ready"), "ok");
    let successor = predecessor.net.successor().unwrap();
    assert_eq!(successor.wait_ready(Deadline::NEVER), Ok(()));
    // It has taken over.
    let again = predecessor.net.start_process(&program).map(|it| it.pid());
    assert_eq!(again, Err(StartError::InProgress));
    // Case H9: until it dies.
    kill_process(pid, Signal::KILL).unwrap();
    util::until_gone(pid);
    let witness = predecessor.start_program(&program);
    assert_eq!(witness.generation, 1);
    predecessor.give_up(0);
}

/// Case E5, F9 in small: other threads open, close and keep fds that are not CLOEXEC, and there
/// is memory to copy for whoever would copy it.
#[test]
fn fds_of_other_threads_reach_no_successor() {
    let _alone = alone();
    let before = Fds::of_self();
    let memory = vec![1_u8; 64 << 20];
    let done = Done::default();
    let path = witness();
    let args = [&*path];
    let program = Program::new(Args::new(&args), Environ::new(&[]));
    std::thread::scope(|scope| {
        let _end = done.at_the_end();
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.is_over() {
                    let mut kept = Vec::new();
                    for _ in 0..200 {
                        let file = File::open("/dev/zero").unwrap();
                        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
                        kept.push(file);
                    }
                    let mut byte = [1];
                    kept[77].read_exact(&mut byte).unwrap();
                    assert_eq!(byte, [0], "an fd of this thread is another's");
                }
            });
        }
        for _ in 0..200 {
            let mut predecessor = Predecessor::with_sockets();
            let witness = predecessor.start_program(&program);
            let mut fds = witness.fds();
            fds.forget("directory", |fd| fd.number == 9);
            assert_eq!(fds.numbers(), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
            predecessor.give_up(0);
        }
    });
    drop(program);
    assert_eq!(Fds::of_self(), before);
    assert!(memory.iter().all(|byte| *byte == 1));
    std::io::stderr().flush().unwrap();
}
