//! A server starts a successor that is not quite what it was itself: another program, other
//! arguments, other variables, other standard streams. What the successor got is looked at from
//! outside; all that was not to be different is the same.
#![allow(unsafe_code)] // Standard streams, by their numbers.

mod util;

use std::ffi::{CStr, CString};
use std::fs::{self, File, Permissions};
use std::io::pipe;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use gracenet::{Args, Changes, Deadline, Environ, Failure, Net, Program, StartError};
use rustix::fs::{Mode, OFlags};
use util::{
    Fds, Predecessor, alone, copy_witness, in_process_of_its_own, path, program, put_in_place,
    witness,
};

fn texts(strings: Vec<Vec<u8>>) -> Vec<String> {
    strings
        .iter()
        .map(|string| String::from_utf8_lossy(string).into_owned())
        .collect()
}

/// The variables of a successor, but for those that tell of its sockets.
fn variables(witness: &util::Witness<'_>) -> Vec<String> {
    let mut variables = texts(witness.environ());
    let sockets = [
        "LISTEN_PID=",
        "LISTEN_FDS=",
        "LISTEN_FDNAMES=",
        "GRACENET_FD=",
    ];
    let before = variables.len();
    variables.retain(|variable| !sockets.iter().any(|name| variable.starts_with(name)));
    assert_eq!(before - variables.len(), sockets.len(), "{variables:?}");
    variables
}

/// Nothing is different: as `start_process`.
#[test]
fn without_changes_all_is_as_it_was_at_the_start() {
    let _alone = alone();
    let mut predecessor = Predecessor::with_sockets();
    let path = witness();
    let args = [&*path, c"--flag"];
    let program = Program::new(Args::new(&args), Environ::new(&[c"A=1", c"A=1"]));
    let witness = predecessor.start_with(&program, &Changes::default());
    assert_eq!(witness.cmdline(), [path.to_bytes(), b"--flag"]);
    assert_eq!(variables(&witness), ["A=1", "A=1"]);
    predecessor.give_up(0);
}

/// Case F2, F5.
#[test]
fn another_path_is_executed_with_the_same_arguments() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    for name in ["old", "new"] {
        fs::create_dir(root.join(name)).unwrap();
        copy_witness(&root.join(name).join("server"));
    }
    let search = format!("PATH=/no/such/place:{}", root.join("new").display());
    let search = CString::new(search).unwrap();
    let environ = [&*search];
    let home = std::env::current_dir().unwrap();
    std::env::set_current_dir(&root).unwrap();
    let old = path(&root.join("old/server"));
    let args = [&*old, c"--verbose"];
    let program = Program::new(Args::new(&args), Environ::new(&environ));
    std::env::set_current_dir(home).unwrap();

    let absolute = path(&root.join("new/server"));
    for path in [&*absolute, c"new/server", c"./old/../new/server", c"server"] {
        let mut predecessor = Predecessor::new();
        let witness = predecessor.start_with(&program, &Changes::new().path(path));
        assert_eq!(witness.exe(), root.join("new/server"), "{path:?}");
        assert_eq!(witness.cmdline(), [old.to_bytes(), b"--verbose"]);
        predecessor.give_up(0);
    }
    // It is the PATH of the start, not the one that the successor gets.
    let mut predecessor = Predecessor::new();
    let changes = Changes::new()
        .path(c"server")
        .set(&[c"PATH=/no/such/place"]);
    let witness = predecessor.start_with(&program, &changes);
    assert_eq!(witness.exe(), root.join("new/server"));
    assert_eq!(variables(&witness), ["PATH=/no/such/place"]);
    predecessor.give_up(0);

    let mut predecessor = Predecessor::new();
    let mut fails = |path: &CStr| {
        let error = predecessor.fail_with(&program, &Changes::new().path(path));
        error.to_string()
    };
    assert_eq!(fails(c"/no/such/program"), "execve: os error 2");
    assert_eq!(fails(c"new"), "execve: os error 2");
    assert_eq!(fails(c"./new"), "execve: os error 13");
    let error = predecessor.fail_with(&program, &Changes::new().path(c""));
    assert_eq!(error, StartError::NoProgram);
    // What failed was the path: without it the next attempt works.
    assert_eq!(
        predecessor.start_program(&program).exe(),
        root.join("old/server")
    );
    predecessor.give_up(0);
}

/// What is executed stays.
#[test]
fn another_argument_list_is_given_to_the_same_program() {
    let _alone = alone();
    let path = witness();
    let args = [&*path, c"--flag"];
    let program = Program::new(Args::new(&args), Environ::new(&[]));
    let lists: [&[&CStr]; 3] = [&[c"server", c"", c"\xff", c"--flag"], &[c""], &[&path]];
    for list in lists {
        let mut predecessor = Predecessor::new();
        let changes = Changes::new().args(Args::new(list));
        let witness = predecessor.start_with(&program, &changes);
        let expected: Vec<_> = list.iter().map(|argument| argument.to_bytes()).collect();
        assert_eq!(witness.cmdline(), expected);
        assert_eq!(
            witness.exe(),
            fs::canonicalize(self::program("witness")).unwrap()
        );
        predecessor.give_up(0);
    }
    // A list of a thousand, and one that is too long.
    let mut predecessor = Predecessor::new();
    let many = vec![c"x"; 1_000];
    let changes = Changes::new().args(Args::new(&many));
    assert_eq!(
        predecessor.start_with(&program, &changes).cmdline().len(),
        1_000
    );
    predecessor.give_up(0);
    let too_many = vec![c"x"; 20_000];
    let changes = Changes::new().args(Args::new(&too_many));
    let error = predecessor.fail_with(&program, &changes);
    assert_eq!(error, StartError::TooLarge);
}

/// Case D8.
#[test]
fn variables_are_added_replaced_and_removed() {
    let _alone = alone();
    let path = witness();
    let args = [&*path];
    let environ = [
        c"A=1", c"B=2", c"A=3", c"", c"ODD", c"AB=4", c"C=5", c"=D=6",
    ];
    let program = Program::new(Args::new(&args), Environ::new(&environ));
    let got = |changes: Changes<'_>| {
        let mut predecessor = Predecessor::with_sockets();
        let got = variables(&predecessor.start_with(&program, &changes));
        predecessor.give_up(0);
        got
    };
    let new = Changes::new();
    assert_eq!(
        got(new.set(&[c"NEW=x", c"EMPTY="])),
        [
            "A=1", "B=2", "A=3", "", "ODD", "AB=4", "C=5", "=D=6", "NEW=x", "EMPTY="
        ]
    );
    // Every one of the name, and no other.
    assert_eq!(
        got(new.set(&[c"A=7=8"])),
        ["B=2", "", "ODD", "AB=4", "C=5", "=D=6", "A=7=8"]
    );
    assert_eq!(
        got(new.unset(&["A", "C", "NONE", "ODD"])),
        ["B=2", "", "ODD", "AB=4", "=D=6"]
    );
    // What is set is there, also if it is to be removed.
    assert_eq!(
        got(new.set(&[c"B=9", c"N=1"]).unset(&["B", "AB"])),
        ["A=1", "A=3", "", "ODD", "C=5", "=D=6", "B=9", "N=1"]
    );
    // The next one gets what the start had.
    assert_eq!(got(new).len(), environ.len());
}

/// Case D2, D8. What tells of sockets is the table's.
#[test]
fn variables_of_sockets_cannot_be_set_or_removed() {
    let _alone = alone();
    let path = witness();
    let args = [&*path];
    let program = Program::new(Args::new(&args), Environ::new(&[c"LISTEN_FDS=4"]));
    let changes = Changes::new()
        .set(&[
            c"LISTEN_FDS=9",
            c"LISTEN_PID=1",
            c"LISTEN_FDNAMES=x",
            c"GRACENET_FD=3,1",
            c"A=1",
        ])
        .unset(&[
            "LISTEN_FDS",
            "LISTEN_PID",
            "LISTEN_FDNAMES",
            "GRACENET_FD",
            "LISTEN_PIDFDID",
        ]);
    let mut predecessor = Predecessor::with_sockets();
    let witness = predecessor.start_with(&program, &changes);
    assert_eq!(variables(&witness), ["A=1"]);
    assert_eq!(witness.generation, 1);
    let pid = format!("LISTEN_PID={}", witness.pid);
    let variables = texts(witness.environ());
    assert!(variables.contains(&pid), "{variables:?}");
    assert!(
        variables.contains(&"LISTEN_FDS=5".to_owned()),
        "{variables:?}"
    );
    predecessor.give_up(0);
}

/// Case D7, D8.
#[test]
fn a_watchdog_that_is_set_to_this_process_becomes_the_successors() {
    let _alone = alone();
    let path = witness();
    let args = [&*path];
    let program = Program::new(Args::new(&args), Environ::new(&[c"WATCHDOG_PID=1"]));
    let own = CString::new(format!("WATCHDOG_PID={}", std::process::id())).unwrap();
    let set = [&*own];
    let mut predecessor = Predecessor::new();
    let witness = predecessor.start_with(&program, &Changes::new().set(&set));
    assert_eq!(
        variables(&witness),
        [format!("WATCHDOG_PID={}", witness.pid)]
    );
    predecessor.give_up(0);
}

/// Case D8.
#[test]
fn children_that_are_no_successors_get_what_tells_of_no_sockets() {
    let environ = [
        c"A=1",
        c"LISTEN_PID=7",
        c"",
        c"LISTEN_PIDFDID=8",
        c"LISTEN_FDS=2",
        c"LISTEN_FDS_EXTRA=3",
        c"LISTEN_FDNAMES=a:b",
        c"GRACENET_FD=5,7",
        c"XGRACENET_FD=5,7",
        c"LISTEN_FDS",
        c"NOTIFY_SOCKET=/run/notify",
        c"LISTEN_FDS=3",
        c"B=\xff",
    ];
    let others = Environ::new(&environ).for_others();
    let expected = [
        c"A=1",
        c"",
        c"LISTEN_FDS_EXTRA=3",
        c"XGRACENET_FD=5,7",
        c"LISTEN_FDS",
        c"NOTIFY_SOCKET=/run/notify",
        c"B=\xff",
    ];
    assert!(
        others.clone().eq(expected),
        "{:?}",
        others.collect::<Vec<_>>()
    );
}

fn open_path(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

/// Case F8, E3, E5.
#[test]
fn what_was_opened_is_what_runs() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let file = root.join("server");
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    let name = copy_witness(&file);
    let verified = inode(&file);
    let opened = [open_path(&file), File::open(&file).unwrap().into()];
    // Something else, in its place.
    fs::write(root.join("other"), "#!/bin/sh\nexit 66\n").unwrap();
    fs::set_permissions(root.join("other"), Permissions::from_mode(0o755)).unwrap();
    fs::rename(root.join("other"), &file).unwrap();

    let args = [&*name, c"--flag"];
    let program = Program::new(Args::new(&args), Environ::new(&[c"A=1"]));
    for opened in &opened {
        let mut predecessor = Predecessor::with_sockets();
        let before = Fds::of_self();
        let changes = Changes::new().executable(opened.as_fd());
        let witness = predecessor.start_with(&program, &changes);
        assert_eq!(inode(&witness.proc("exe")), verified);
        assert_eq!(witness.cmdline(), [name.to_bytes(), b"--flag"]);
        assert_eq!(variables(&witness), ["A=1"]);
        // It has it no more; the last is its directory.
        assert_eq!(witness.fds().numbers(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(witness.fds().target(9), std::env::current_dir().unwrap());
        // Nor is ours another.
        let after = Fds::of_self();
        let number = opened.as_raw_fd();
        assert_eq!(after.get(number), before.get(number));
        predecessor.give_up(0);
    }
    // Without a path and arguments it runs all the same.
    let mut predecessor = Predecessor::new();
    let nothing = Program::new(Args::new(&[]), Environ::new(&[]));
    let changes = Changes::new().executable(opened[0].as_fd());
    let args = [c"server"];
    let witness = predecessor.start_with(&nothing, &changes.args(Args::new(&args)));
    assert_eq!(inode(&witness.proc("exe")), verified);
    predecessor.give_up(0);
}

/// Case F8, F1.
#[test]
fn what_was_opened_and_is_no_program_is_an_error() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("server");
    let name = path(&file);
    let args = [&*name];
    let program = Program::new(Args::new(&args), Environ::new(&[]));
    let mut predecessor = Predecessor::with_sockets();
    let mut fails = |fd: BorrowedFd<'_>| {
        let error = predecessor.fail_with(&program, &Changes::new().executable(fd));
        error.to_string()
    };
    // The interpreter could not open it.
    fs::write(&file, "#!/bin/sh\nexit 66\n").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
    assert_eq!(fails(open_path(&file).as_fd()), "execve: os error 2");
    fs::write(&file, "no program").unwrap();
    assert_eq!(fails(open_path(&file).as_fd()), "execve: os error 8");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    assert_eq!(fails(open_path(&file).as_fd()), "execve: os error 13");
    assert_eq!(
        fails(open_path(directory.path()).as_fd()),
        "execve: os error 13"
    );
    let (read, _write) = pipe().unwrap();
    assert_eq!(fails(read.as_fd()), "execve: os error 13");
    // The next attempt works.
    let opened = open_path(&self::program("witness"));
    let changes = Changes::new().executable(opened.as_fd());
    assert_eq!(predecessor.start_with(&program, &changes).generation, 1);
    predecessor.give_up(0);
}

/// All that a shell writes, of which the streams are changed.
fn shell(net: &mut Net<2>, script: &CStr, changes: &Changes<'_>) {
    let args = [c"/bin/sh", c"-c", script];
    let program = Program::new(Args::new(&args), Environ::new(&[c"PATH=/usr/bin:/bin"]));
    let successor = net.start_process_with(&program, changes).unwrap();
    let outcome = successor.wait_ready(Deadline::after_ms(10_000));
    assert_eq!(outcome, Err(Failure::Exited(0)));
}

fn all(mut from: impl std::io::Read) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).unwrap();
    text
}

/// Case E7.
#[test]
fn standard_streams_are_others_in_the_successor_only() {
    let _alone = alone();
    let mut net: Net<2> = Net::new();
    let directory = tempfile::tempdir().unwrap();
    let input = directory.path().join("input");
    fs::write(&input, "from the file\n").unwrap();
    let input = File::open(input).unwrap();
    let (out, out_of_it) = pipe().unwrap();
    let (err, err_of_it) = pipe().unwrap();
    let before = Fds::of_self();
    let changes = Changes::new()
        .stdin(input.as_fd())
        .stdout(out_of_it.as_fd())
        .stderr(err_of_it.as_fd());
    shell(&mut net, c"cat; echo to stderr >&2", &changes);
    // Ours are as they were.
    assert_eq!(Fds::of_self(), before);
    drop((out_of_it, err_of_it));
    assert_eq!(all(out), "from the file\n");
    assert_eq!(all(err), "to stderr\n");

    // One for two, in any order; and only those.
    let (out, out_of_it) = pipe().unwrap();
    let null = File::open("/dev/null").unwrap();
    let changes = Changes::new()
        .stderr(out_of_it.as_fd())
        .stdin(null.as_fd())
        .stdout(out_of_it.as_fd());
    let script = c"cat; echo one; echo two >&2; readlink /proc/$$/fd/0";
    shell(&mut net, script, &changes);
    drop(out_of_it);
    assert_eq!(all(out), "one\ntwo\n/dev/null\n");
}

/// Case E3. Each other's, and one that is itself.
#[test]
fn standard_streams_are_exchanged() {
    let _alone = alone();
    let mut predecessor = Predecessor::with_sockets();
    let ours = Fds::of_self();
    let path = witness();
    let args = [&*path];
    let program = Program::new(Args::new(&args), Environ::new(&[]));
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let new = Changes::new();
    let (zero, one, two) = (stdin.as_fd(), stdout.as_fd(), stderr.as_fd());
    for (changes, expected) in [
        (new.stdout(two).stderr(one), [0, 2, 1]),
        (new.stdin(two).stdout(zero).stderr(one), [2, 0, 1]),
        (new.stdin(zero).stdout(one).stderr(two), [0, 1, 2]),
        (new.stdout(zero), [0, 0, 2]),
    ] {
        let witness = predecessor.start_with(&program, &changes);
        let fds = witness.fds();
        assert_eq!(fds.numbers(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let theirs = [0, 1, 2].map(|fd| fds.target(fd));
        assert_eq!(theirs, expected.map(|fd| ours.target(fd)), "{expected:?}");
        predecessor.give_up(0);
        predecessor = Predecessor::with_sockets();
    }
}

/// Case F8, E1, E3. All at once, with sockets in the way.
#[test]
fn all_changes_at_once() {
    let _alone = alone();
    let mut predecessor = Predecessor::with_sockets();
    let opened = open_path(&program("witness"));
    let (_out, out_of_it) = pipe().unwrap();
    let null = File::open("/dev/null").unwrap();
    let before = Fds::of_self();
    let old = Program::new(Args::new(&[c"/no/such/program"]), Environ::new(&[c"A=1"]));
    let args = [c"server", c"--new"];
    let changes = Changes::new()
        .executable(opened.as_fd())
        .path(c"/no/such/program/either")
        .args(Args::new(&args))
        .set(&[c"B=2"])
        .unset(&["A"])
        .stdin(null.as_fd())
        .stdout(out_of_it.as_fd());
    // A socket of the table is lent as well.
    let web = predecessor.net.iter().nth(1).unwrap().handle();
    let web = predecessor.net.duplicate(web).unwrap();
    let witness = predecessor.start_with(&old, &changes.stderr(web.as_fd()));
    assert_eq!(witness.cmdline(), [b"server".as_slice(), b"--new"]);
    assert_eq!(variables(&witness), ["B=2"]);
    let fds = witness.fds();
    assert_eq!(fds.numbers(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(fds.target(0), Path::new("/dev/null"));
    assert_eq!(fds.target(1), before.target(out_of_it.as_raw_fd()));
    assert_eq!(fds.target(2), fds.target(4));
    // The other four of the table are where they are without changes.
    assert!(fds.get(3).unwrap().is_socket() && fds.get(5).unwrap().is_socket());
    assert_eq!(fds.target(7), Path::new("/dev/null"));
    predecessor.give_up(0);
}

/// Case E6, E3. With every combination of closed standard streams and of those that are given.
#[test]
fn streams_that_are_given_and_streams_that_are_closed() {
    let name = "streams_that_are_given_and_streams_that_are_closed";
    in_process_of_its_own(name, |_| {
        let path = witness();
        let args = [&*path];
        let saved: Vec<OwnedFd> = (0..3)
            .map(|fd| {
                // SAFETY: it is open.
                let fd = unsafe { BorrowedFd::borrow_raw(fd) };
                rustix::io::fcntl_dupfd_cloexec(fd, 100).unwrap()
            })
            .collect();
        let zero = File::open("/dev/zero").unwrap();
        let zero = rustix::io::fcntl_dupfd_cloexec(&zero, 90).unwrap();
        let mut wrong = Vec::new();
        for closed in 0..8 {
            for given in 0..8 {
                // Made before, under higher numbers.
                let (report, theirs) = util::report();
                let report = rustix::io::fcntl_dupfd_cloexec(&report, 80).unwrap();
                let mut net = Net::new();
                net.insert("report", theirs).unwrap();
                let mut predecessor = Predecessor { net, report };
                for fd in (0..3).filter(|fd| closed & (1 << fd) != 0) {
                    // SAFETY: nobody uses it until it is put back.
                    unsafe { libc::close(fd) };
                }
                predecessor.add_sockets();
                let program = Program::new(Args::new(&args), Environ::new(&[]));
                let mut changes = Changes::new();
                if given & 1 != 0 {
                    changes = changes.stdin(zero.as_fd());
                }
                if given & 2 != 0 {
                    changes = changes.stdout(zero.as_fd());
                }
                if given & 4 != 0 {
                    changes = changes.stderr(zero.as_fd());
                }
                let witness = predecessor.start_with(&program, &changes);
                let fds = witness.fds();
                let successor = predecessor.net.successor().unwrap();
                successor.kill();
                let outcome = successor.wait_ready(Deadline::after_ms(10_000));
                let report = std::mem::replace(&mut predecessor.report, util::report().0);
                drop((report, predecessor, program));
                for (fd, saved) in (0..).zip(&saved) {
                    // SAFETY: as it was.
                    unsafe { libc::dup2(saved.as_raw_fd(), fd) };
                }

                let ours = Fds::of_self();
                let expected = [0, 1, 2].map(|fd| match (given & (1 << fd), closed & (1 << fd)) {
                    (0, 0) => ours.target(fd),
                    (0, _) => "/dev/null".into(),
                    _ => "/dev/zero".into(),
                });
                let got = [0, 1, 2].map(|fd| fds.target(fd));
                let numbers = fds.numbers();
                if got != expected
                    || numbers != [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
                    || outcome != Err(Failure::GivenUp)
                {
                    wrong.push((closed, given, fds, outcome));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:?}");
    });
}

/// Case E6. What is given lies itself at the number of a stream that is closed.
#[test]
fn a_stream_that_is_given_may_lie_where_another_was() {
    let name = "a_stream_that_is_given_may_lie_where_another_was";
    in_process_of_its_own(name, |_| {
        let path = witness();
        let args = [&*path];
        let mut predecessor = Predecessor::new();
        let program = Program::new(Args::new(&args), Environ::new(&[]));
        let stdin = std::io::stdin();
        let saved = rustix::io::fcntl_dupfd_cloexec(&stdin, 100).unwrap();
        // CLOEXEC, as std opens it.
        let zero = File::open("/dev/zero").unwrap();
        put_in_place(&zero, 0);
        let changes = Changes::new().stdout(stdin.as_fd());
        let fds = predecessor.start_with(&program, &changes).fds();
        rustix::stdio::dup2_stdin(&saved).unwrap();
        assert_eq!(fds.target(0), Path::new("/dev/null"));
        assert_eq!(fds.target(1), Path::new("/dev/zero"));
        assert_eq!(fds.numbers(), [0, 1, 2, 3, 4, 5]);
        predecessor.give_up(0);
    });
}
