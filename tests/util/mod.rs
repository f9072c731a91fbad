//! What the stories share.
#![allow(dead_code, missing_docs, unreachable_pub, unused_imports)] // Each story uses a part.

mod descendants;
mod fds;
mod netns;
mod puppet;
pub mod seccomp;
mod socket;
mod tracer;
mod witness;

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

pub use descendants::Descendants;
pub use fds::{Fd, Fds};
pub use netns::{add_link_local_to_lo, in_network_namespace, without_ipv6};
pub use puppet::{Entry, Office, Puppet, Start, word};
pub use socket::{address, bind_to_bytes, bound, listener, mptcp, reuse_port, socket};
pub use tracer::{Leash, Stop, Tracee, call_name};
pub use witness::{
    Predecessor, Witness, alone, copy_witness, hear, in_process_of_its_own, in_process_with,
    is_reaped, path, put_in_place, report, strings, tell, this_program, witness, witness_in,
};

/// The static program `name` of tests/programs, which is built first.
pub fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| build("gracenet-test-programs"))
        .join(name)
}

/// The daemon of examples/httpd, which is built first.
pub fn httpd() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| build("gracenet-httpd"))
        .join("gracenet-httpd")
}

/// The init of examples/init, which is built first.
pub fn init() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| build("gracenet-init"))
        .join("gracenet-init")
}

/// Builds the programs of a package: where they are.
fn build(package: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("programs");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--package", package])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("GRACENET_HTTPD_TAG")
        .status()
        .unwrap();
    assert!(status.success(), "{package} cannot be built");
    target.join("release")
}

/// Waits until `fd` is readable, and says what was awaited when that takes too long.
pub fn in_time(fd: BorrowedFd<'_>, awaited: &str) {
    let limit = Timespec {
        tv_sec: 20,
        tv_nsec: 0,
    };
    let ready =
        rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)))
            .unwrap();
    assert!(ready > 0, "waited 20 s for {awaited}");
}

/// A line, byte by byte: what comes behind it is left for others.
pub fn line(from: &mut (impl Read + AsFd), awaited: &str) -> String {
    let mut text = Vec::new();
    loop {
        in_time(from.as_fd(), awaited);
        let mut byte = [0];
        assert_eq!(from.read(&mut byte).unwrap(), 1, "an end, not {awaited}");
        if byte == *b"\n" {
            return String::from_utf8_lossy(&text).into_owned();
        }
        text.push(byte[0]);
    }
}

/// Waits until the process has ended, be it reaped or not.
pub fn until_gone(pid: Pid) {
    if let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) {
        in_time(pidfd.as_fd(), &format!("the end of process {pid}"));
    }
}

/// Says that it is over when it is dropped, also by a test that fails: threads that go on until
/// then must not outlive it.
#[derive(Debug, Default)]
pub struct Done(AtomicBool);

impl Done {
    pub fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Over when the answer is dropped.
    pub fn at_the_end(&self) -> impl Drop + '_ {
        struct End<'a>(&'a Done);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.0.store(true, Ordering::Relaxed);
            }
        }
        End(self)
    }
}
