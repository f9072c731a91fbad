//! Capsules on machines that are not as usual: an older kernel, a limit on the size of files.
#![allow(unsafe_code)] // A filter of system calls.

use std::io;
use std::os::fd::AsFd as _;
use std::thread;

use gracenet::{Capsule, Errno, Operation};
use rustix::fs::{SealFlags, fcntl_get_seals};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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
