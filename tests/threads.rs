//! A program with threads starts successors, ten thousand of them. Its other threads go on all the
//! while, as a successor shares their memory and their fd table until it executes its program:
//! they open, copy and close fds, map and unmap memory, and take signals. Nothing of theirs reaches
//! a successor, and nothing of theirs breaks.
#![allow(unsafe_code)] // mmap, signals.

mod util;

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use gracenet::{Args, Deadline, Environ, Failure, Program};
use rustix::io::{FdFlags, dup, fcntl_setfd, pread};
use util::seccomp::where_refused;
use util::{Done, Fds, Predecessor, alone, witness};

const STARTS: u32 = 10_000;

/// What the other threads have done, so that none of them stood still.
#[derive(Default)]
struct Work {
    fds: AtomicU64,
    mappings: AtomicU64,
}

static HANDLED: AtomicU64 = AtomicU64::new(0);
static HANDLED_ELSEWHERE: AtomicU64 = AtomicU64::new(0);
static OWN_PID: AtomicU64 = AtomicU64::new(0);

/// A successor would count here as well: it has the same memory.
extern "C" fn count(_: libc::c_int) {
    // SAFETY: asks the kernel for a number.
    let pid = unsafe { libc::syscall(libc::SYS_getpid) } as u64;
    let counter = if pid == OWN_PID.load(Ordering::Relaxed) {
        &HANDLED
    } else {
        &HANDLED_ELSEWHERE
    };
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Opens files that are not CLOEXEC, so that they would reach whoever gets the table, copies and
/// closes them, and finds in each what is in it.
fn open_and_close(content: &File, done: &Done, work: &Work) {
    while !done.is_over() {
        let mut kept: Vec<OwnedFd> = Vec::new();
        for _ in 0..64 {
            kept.push(dup(content).unwrap());
            let copy = kept[kept.len() / 2].try_clone().unwrap();
            fcntl_setfd(&copy, FdFlags::empty()).unwrap();
            kept.push(copy);
        }
        for fd in &kept {
            let mut byte = [0];
            assert_eq!(pread(fd, &mut byte, 3).unwrap(), 1);
            assert_eq!(byte, *b"!", "fd {} is another's", fd.as_raw_fd());
        }
        work.fds.fetch_add(kept.len() as u64, Ordering::Relaxed);
    }
}

/// Maps memory, writes to it and reads it again, and unmaps it.
fn map_and_unmap(done: &Done, work: &Work) {
    const LENGTH: usize = 256 * 1024;
    let mut round = 0_u8;
    while !done.is_over() {
        round = round.wrapping_add(1);
        let (read_write, private) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: new memory, anywhere.
        let at = unsafe { libc::mmap(ptr::null_mut(), LENGTH, read_write, private, -1, 0) };
        assert_ne!(at, libc::MAP_FAILED);
        // SAFETY: it is this function's, and as long.
        let memory = unsafe { std::slice::from_raw_parts_mut(at.cast::<u8>(), LENGTH) };
        assert!(memory.iter().step_by(4096).all(|byte| *byte == 0));
        memory.fill(round);
        std::thread::yield_now();
        assert!(memory.iter().all(|byte| *byte == round));
        // SAFETY: nobody has it any more.
        assert_eq!(unsafe { libc::munmap(at, LENGTH) }, 0);
        work.mappings.fetch_add(1, Ordering::Relaxed);
    }
}

/// Sends signals to the process group, of which a successor is one as soon as there is one: any of
/// our threads takes those for this process. Everybody else ignores this signal by default.
fn send_signals(done: &Done) {
    let group = rustix::process::getpgrp();
    while !done.is_over() {
        rustix::process::kill_process_group(group, rustix::process::Signal::URG).unwrap();
        std::thread::yield_now();
    }
}

fn start(predecessor: &mut Predecessor, program: &Program<'_>, starts: u32) {
    for _ in 0..starts {
        let witness = predecessor.start_program(program);
        let mut fds = witness.fds();
        // A witness has a directory of its own.
        fds.forget("directory", |fd| fd.number == 9);
        assert_eq!(fds.numbers(), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let successor = predecessor.net.successor().unwrap();
        successor.kill();
        let outcome = successor.wait_ready(Deadline::after_ms(20_000));
        assert_eq!(outcome, Err(Failure::GivenUp));
    }
}

/// Case E5, F9, G2.
#[test]
fn ten_thousand_starts_beside_busy_threads() {
    let _alone = alone();
    OWN_PID.store(std::process::id().into(), Ordering::Relaxed);
    let handler = count as extern "C" fn(libc::c_int);
    // SAFETY: the handler only counts.
    unsafe { libc::signal(libc::SIGURG, handler as libc::sighandler_t) };
    let mut content = tempfile::tempfile().unwrap();
    content.write_all(b"abc!").unwrap();

    let before = Fds::of_self();
    let mut predecessor = Predecessor::with_sockets();
    let path = witness();
    let args = [&*path];
    let program = Program::new(Args::new(&args), Environ::new(&[]));
    let table = Fds::of_self();
    let (done, work) = (Done::default(), Work::default());
    std::thread::scope(|scope| {
        let _end = done.at_the_end();
        scope.spawn(|| open_and_close(&content, &done, &work));
        scope.spawn(|| map_and_unmap(&done, &work));
        scope.spawn(|| send_signals(&done));
        start(&mut predecessor, &program, STARTS / 2);
        // Where the kernel does not take the handlers away at once, only the mask is in their way.
        let refused = [(libc::SYS_clone3, libc::ENOSYS)];
        where_refused(&refused, || start(&mut predecessor, &program, STARTS / 2));
    });
    assert_eq!(Fds::of_self(), table);
    drop((predecessor, program));
    assert_eq!(Fds::of_self(), before);
    let (fds, mappings) = (work.fds.into_inner(), work.mappings.into_inner());
    let handled = HANDLED.load(Ordering::Relaxed);
    println!("{STARTS} starts; {fds} fds, {mappings} mappings, {handled} signals meanwhile");
    assert!(fds > 10_000 && mappings > 100 && handled > 1_000);
    assert_eq!(HANDLED_ELSEWHERE.load(Ordering::Relaxed), 0);
    // SAFETY: no handler is left.
    unsafe { libc::signal(libc::SIGURG, libc::SIG_DFL) };
}
