//! Machines that are made for a test: a network namespace of its own, a kernel without IPv6.
#![allow(unsafe_code)] // ioctl and prctl.

use std::env;
use std::io;
use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

const INSIDE: &str = "GRACENET_TEST_INSIDE";

/// Runs `body` in a network namespace of its own, in which there is only `lo` and all ports are
/// free. For that the test `name` is run once more, in a process of its own.
pub fn in_network_namespace(name: &str, body: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        bring_up_lo();
        return body();
    }
    let mut unshare = Command::new("unshare");
    unshare.arg("--net");
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    let output = unshare
        .arg(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare, of util-linux");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success() && out.contains("1 passed"),
        "in a network namespace:\n{out}{err}"
    );
}

fn bring_up_lo() {
    // SAFETY: numbers only.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    assert!(socket >= 0);
    // SAFETY: integers and arrays of them, of which zeros are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as _;
    request.ifr_name[1] = b'o' as _;
    request.ifr_ifru.ifru_flags = libc::IFF_UP as _;
    // SAFETY: the request is one.
    let done = unsafe { libc::ioctl(socket, libc::SIOCSIFFLAGS as _, &request) };
    assert_eq!(done, 0, "lo: {}", io::Error::last_os_error());
    // SAFETY: made above, and no one else's.
    unsafe { libc::close(socket) };
}

/// For [`Start::before`](super::Start::before): a kernel that was built or booted without IPv6.
pub fn without_ipv6() -> io::Result<()> {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let step = |code: u32, k: u32, jt, jf| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    // struct seccomp_data: the number of the call, and, little endian, its first argument.
    let mut program = [
        step(LOAD, 0, 0, 0),
        step(IF_EQUAL, libc::SYS_socket as u32, 0, 3),
        step(LOAD, 16, 0, 0),
        step(IF_EQUAL, libc::AF_INET6 as u32, 0, 1),
        step(
            RETURN,
            libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT as u32,
            0,
            0,
        ),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: numbers only.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: a program of as many steps as it says.
    if unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &program, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// fe80::1 on the interface 1, which is `lo`.
pub fn add_link_local_to_lo() {
    // struct in6_ifreq.
    #[repr(C)]
    struct Request {
        address: [u8; 16],
        prefix: u32,
        interface: i32,
    }
    let request = Request {
        address: std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).octets(),
        prefix: 64,
        interface: 1,
    };
    // SAFETY: numbers only.
    let socket = unsafe { libc::socket(libc::AF_INET6, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    assert!(socket >= 0);
    // SAFETY: the request is one.
    let done = unsafe { libc::ioctl(socket, libc::SIOCSIFADDR as _, &request) };
    assert_eq!(done, 0, "fe80::1: {}", io::Error::last_os_error());
    // SAFETY: made above, and no one else's.
    unsafe { libc::close(socket) };
    // The kernel finds out by itself, a little later, that nobody else can have the address.
    let limit = Instant::now() + Duration::from_secs(20);
    while UdpSocket::bind("[fe80::1%1]:0").is_err() {
        assert!(Instant::now() < limit, "waited 20 s for fe80::1 on lo");
        std::thread::yield_now();
    }
}
