//! Capsules on machines that are not as usual: an older kernel, a limit on the size of files. And a
//! server that lends one to each successor that it starts: that one gets it and no other, whatever
//! becomes of it.
#![allow(unsafe_code)] // A filter of system calls.

mod util;

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::thread;

use gracenet::{
    Args, Capsule, Changes, Deadline, Environ, Errno, Failure, NameError, Operation, Program,
    StartError,
};
use rustix::fs::{SealFlags, fcntl_get_seals};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use util::{Fds, Predecessor, alone, hear, path, program, tell, witness};

const MFD_NOEXEC_SEAL: u32 = 8;

/// From now on, in this thread, memfd_create fails with `errno` where one of `flags` is set.
fn refuse_memfd_create(flags: u32, errno: i32) {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const IF_ANY: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let step = |code: u32, k: u32, jt, jf| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    // struct seccomp_data: the number of the call, and, little endian, its second argument.
    let mut steps = [
        step(LOAD, 0, 0, 0),
        step(IF_EQUAL, libc::SYS_memfd_create as u32, 0, 3),
        step(LOAD, 24, 0, 0),
        step(IF_ANY, flags, 0, 1),
        step(RETURN, libc::SECCOMP_RET_ERRNO | errno as u32, 0, 0),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: steps.len() as u16,
        filter: steps.as_mut_ptr(),
    };
    // SAFETY: numbers only.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: a program of as many steps as it says.
    let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &program, 0, 0) };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
}

fn in_a_thread(body: impl FnOnce() + Send) {
    thread::scope(|scope| scope.spawn(body).join()).unwrap();
}

/// Before Linux 6.3, which does not know that a file in memory can be kept from being executed.
#[test]
fn capsule_is_sealed_where_the_kernel_has_fewer_seals() {
    let _alone = alone();
    in_a_thread(|| {
        refuse_memfd_create(MFD_NOEXEC_SEAL, libc::EINVAL);
        let fd = Capsule::seal(1, &[b"state"]).unwrap();
        let seals = fcntl_get_seals(&fd).unwrap();
        let expected = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        assert_eq!(seals, expected);
        let mut buffer = [0; 8];
        let capsule = Capsule::open(fd.as_fd()).unwrap();
        assert_eq!(capsule.read(&mut buffer).unwrap(), b"state");
    });
}

/// Before Linux 3.17, or where a filter forbids it: it is tried no further.
#[test]
fn kernel_without_files_in_memory_is_told() {
    let _alone = alone();
    for errno in [libc::ENOSYS, libc::EPERM] {
        in_a_thread(move || {
            refuse_memfd_create(!0, errno);
            let error = Capsule::seal(1, &[b"state"]).unwrap_err();
            assert_eq!(error.operation(), Operation::MemfdCreate);
            assert_eq!(error.errno().raw_os_error(), errno);
        });
    }
}

/// Without a signal: SIGXFSZ would end this very process.
#[test]
fn capsule_over_the_limit_on_files_is_refused() {
    let _alone = alone();
    let before = getrlimit(Resource::Fsize);
    let limit = Rlimit {
        current: Some(64 << 20),
        ..before
    };
    setrlimit(Resource::Fsize, limit).unwrap();
    let large = vec![0; 33 << 20];
    let refused = Capsule::seal(1, &[&large, &large]).unwrap_err();
    let fits = Capsule::seal(1, &[b"small"]).map(drop);
    setrlimit(Resource::Fsize, before).unwrap();
    assert_eq!(refused.errno(), Errno::FBIG);
    assert_eq!(fits, Ok(()));
}

fn names(predecessor: &Predecessor) -> Vec<String> {
    let names = predecessor.net.iter().map(|entry| entry.name().to_string());
    names.collect()
}

/// Case D3, E7, H4.
#[test]
fn capsule_goes_to_the_successor_that_it_is_lent_to_and_to_no_other() {
    let _alone = alone();
    let mut predecessor = Predecessor::with_sockets();
    let (fds, table) = (Fds::of_self(), names(&predecessor));
    let seal = |state: &[u8]| Capsule::seal(1, &[state]).unwrap();

    // The first one sees it, at the end, and fails.
    let script = c"printf %s:%s $LISTEN_FDNAMES $LISTEN_FDS >&3; tail -c+33 <&8 >&3; exit 7";
    let args = [c"/bin/sh", c"-c", script];
    let environ = [c"PATH=/usr/bin:/bin"];
    let failing = Program::new(Args::new(&args), Environ::new(&environ));
    let first = seal(b"the first state");
    let lent = [("state", first.as_fd())];
    let changes = Changes::new().lend(&lent).unwrap();
    assert!(predecessor.net.preflight(&failing, &changes).is_empty());
    let started = predecessor.net.start_process_with(&failing, &changes);
    let outcome = started.unwrap().wait_ready(Deadline::after_ms(10_000));
    assert_eq!(outcome, Err(Failure::Exited(7)));
    assert_eq!(
        hear(&predecessor.report),
        format!("{}:state:6", table.join(":"))
    );
    assert_eq!(hear(&predecessor.report), "the first state");
    drop(first);
    drop(failing);
    assert_eq!(names(&predecessor), table);
    assert_eq!(Fds::of_self(), fds);

    // One that cannot be started leaves nothing, either.
    let second = seal(b"the second state");
    let lent = [("state", second.as_fd())];
    let changes = Changes::new().lend(&lent).unwrap();
    let nothing = Program::new(Args::new(&[c"/no/such/program"]), Environ::new(&[]));
    predecessor.fail_with(&nothing, &changes);
    assert_eq!(names(&predecessor), table);

    // The next one gets what is lent to it, and its own successors what it leaves them.
    let folder = tempfile::tempdir().unwrap();
    let (legatee, pid_file) = (path(&program("legatee")), path(&folder.path().join("pid")));
    let args = [&*legatee, &*pid_file];
    let program = Program::new(Args::new(&args), Environ::new(&[]));
    let mut start = |changes: &Changes<'_>| {
        let started = predecessor.net.start_process_with(&program, changes);
        let pid = started.unwrap().pid();
        let up = hear(&predecessor.report);
        let state = up.strip_prefix(&format!("up 1 {pid} ")).unwrap().to_owned();
        tell(&predecessor.report, "die 3");
        let successor = predecessor.net.successor().unwrap();
        let outcome = successor.wait_ready(Deadline::after_ms(10_000));
        assert_eq!(outcome, Err(Failure::Exited(3)));
        state
    };
    assert_eq!(start(&changes), "the second state");
    // Nobody else's is nobody's.
    assert_eq!(start(&Changes::new()), "none");
    assert_eq!(start(&changes), "the second state");
    drop((second, program, nothing));
    assert_eq!(names(&predecessor), table);
    assert_eq!(Fds::of_self(), fds);
}

/// Case D3, E1. Wherever they lie, and be it where others are to go.
#[test]
fn what_is_lent_comes_behind_the_table_in_order() {
    let _alone = alone();
    let witness = witness();
    let args = [&*witness];
    let program = Program::new(Args::new(&args), Environ::new(&[]));
    // Numbers below those of the table, which are those that its own are to have.
    let mut low: Vec<OwnedFd> = Vec::new();
    for name in ["/dev/null", "/dev/zero", "/dev/full", "/dev/urandom"] {
        low.push(File::open(name).unwrap().into());
    }
    let mut predecessor = Predecessor::with_sockets();
    let table = names(&predecessor);
    let before = Fds::of_self();
    let sockets: Vec<_> = predecessor
        .net
        .iter()
        .map(|it| it.as_fd().as_raw_fd())
        .collect();
    let copy = predecessor.net.iter().nth(2).unwrap().handle();
    let copy = predecessor.net.duplicate(copy).unwrap();
    for turn in 0..low.len() {
        low.rotate_left(turn);
        let mut lent: Vec<_> = low.iter().map(|fd| ("low", fd.as_fd())).collect();
        lent[1].0 = "";
        // What is in the table already, and the same twice.
        lent.extend([("copy", copy.as_fd()), ("again", low[0].as_fd())]);
        let changes = Changes::new().lend(&lent).unwrap();
        assert!(predecessor.net.preflight(&program, &changes).is_empty());
        let successor = predecessor.start_with(&program, &changes);
        let mut fds = successor.fds();
        fds.forget("working directory", |fd| fd.target.is_dir());
        let sources = sockets
            .iter()
            .copied()
            .chain(lent.iter().map(|(_, fd)| fd.as_raw_fd()));
        let mut last = 2;
        for (to, from) in (3..).zip(sources) {
            let copy = copy.as_raw_fd();
            let target = match from == copy {
                true => before.target(sockets[2]),
                false => before.target(from),
            };
            assert_eq!(fds.target(to), target, "{to} in turn {turn}");
            last = to;
        }
        // And the channel.
        let expected: Vec<_> = (0..=last + 1).collect();
        assert_eq!(fds.numbers(), expected);
        let environ = successor.environ();
        let given = [table.join(":"), "low::low:low:copy:again".to_owned()].join(":");
        assert!(environ.contains(&format!("LISTEN_FDNAMES={given}").into_bytes()));
        let count = sockets.len() + lent.len();
        assert!(environ.contains(&format!("LISTEN_FDS={count}").into_bytes()));
        let successor = predecessor.net.successor().unwrap();
        successor.kill();
        let outcome = successor.wait_ready(Deadline::after_ms(10_000));
        assert_eq!(outcome, Err(Failure::GivenUp));
        assert_eq!(names(&predecessor), table);
    }
}

/// Case D4. A name is refused when it is given, and what there is no room for at the start.
#[test]
fn what_cannot_be_lent_is_refused() {
    let _alone = alone();
    let file = File::open("/dev/null").unwrap();
    let long = "x".repeat(256);
    let refused = |name: &str| {
        let lent = [("state", file.as_fd()), (name, file.as_fd())];
        Changes::new().lend(&lent).map(drop)
    };
    assert!(refused("a:b").is_err() && refused("\n").is_err() && refused("\u{e9}").is_err());
    let error: Result<(), NameError> = refused(&long);
    assert!(error.is_err());
    assert_eq!(refused(&long[1..]), Ok(()));

    let witness = witness();
    let args: [&CString; 1] = [&witness];
    let args = args.map(|arg| &**arg);
    let program = Program::new(Args::new(&args), Environ::new(&[]));
    let mut predecessor = Predecessor::with_sockets();
    let room = predecessor.net.capacity() - predecessor.net.len();
    let lent = vec![("x", file.as_fd()); room + 1];
    let too_many = Changes::new().lend(&lent).unwrap();
    let found = predecessor.net.preflight(&program, &too_many);
    let found: Vec<_> = found.iter().copied().collect();
    assert_eq!(found, [StartError::TooLarge]);
    let table = names(&predecessor);
    let error = predecessor.fail_with(&program, &too_many);
    assert_eq!(error, StartError::TooLarge);
    assert_eq!(names(&predecessor), table);
    let lent = &lent[1..];
    let enough = Changes::new().lend(lent).unwrap();
    assert!(predecessor.net.preflight(&program, &enough).is_empty());
    predecessor.start_with(&program, &enough);
    predecessor.give_up(0);
    assert_eq!(names(&predecessor), table);
}
