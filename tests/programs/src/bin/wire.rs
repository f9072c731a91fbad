//! `wire [MODULE.ko]... ADDRESS/LENGTH PROGRAM [ARGUMENT]...`: gives a machine that has nothing but
//! its kernel a network, and becomes the program.
//!
//! It loads the modules that eth0 takes, gives it the address and brings it up. Nobody could send
//! signals on such a machine: a child that stays behind does it for those who send `SIGNAL PID`
//! to its port 9, and answers what kill(2) has returned.
#![no_std]
#![no_main]
#![allow(unsafe_code)] // What the kernel left on the stack, and system calls.

use core::ffi::{CStr, c_char};
use core::fmt::Write as _;
use core::net::{Ipv4Addr, SocketAddrV4};
use core::str;

use gracenet::Program;
use linux_raw_sys::general as raw;
use linux_raw_sys::ioctl::{SIOCSIFADDR, SIOCSIFFLAGS, SIOCSIFNETMASK};
use rustix::fd::{AsRawFd as _, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, read};
use rustix::net::{AddressFamily, SendFlags, SocketType, accept, bind, listen, send, socket};

gracenet_start::main!(run);

type Line = heapless::String<64>;

const PORT: u16 = 9;

fn run(start: gracenet_start::Args) -> i32 {
    // SAFETY: what the kernel left on the stack, which nobody changes.
    let program = unsafe { Program::from_raw(start.argv, start.envp) };
    let mut before = 1;
    for word in program.args().iter().skip(1) {
        before += 1;
        let outcome = match word.to_bytes() {
            name if name.ends_with(b".ko") => load(word),
            address => {
                let done = up(address);
                if done.is_ok() {
                    break;
                }
                done
            }
        };
        if let Err(error) = outcome {
            let mut line = Line::new();
            let _ = writeln!(line, "wire: word {before}: {error}");
            // SAFETY: it is open for as long as this runs.
            let output = unsafe { rustix::stdio::stderr() };
            let _ = rustix::io::write(output, line.as_bytes());
            return 1;
        }
    }
    if fork() == 0 {
        let _ = pass_signals_on();
        return 0;
    }
    let argv: *const *const c_char = start.argv.wrapping_add(before);
    // SAFETY: as many words lie before the null pointer.
    let path = unsafe { argv.read() };
    let [path, argv, envp] = [
        path.expose_provenance(),
        argv.expose_provenance(),
        start.envp.expose_provenance(),
    ];
    // SAFETY: what the kernel left on the stack ends with null pointers.
    unsafe { gracenet_start::syscall(raw::__NR_execve, [path, argv, envp]) };
    127
}

fn check(result: isize) -> Result<isize, Errno> {
    match result {
        -4095..0 => Err(Errno::from_raw_os_error(-result as i32)),
        _ => Ok(result),
    }
}

/// 0 in the child, which has a copy of everything.
fn fork() -> isize {
    let child = raw::SIGCHLD as usize;
    // SAFETY: no memory is shared, and there is one thread.
    unsafe { gracenet_start::syscall(raw::__NR_clone, [child, 0, 0, 0, 0]) }
}

/// Also where it is there already.
fn load(path: &CStr) -> Result<(), Errno> {
    let file = open(path, OFlags::RDONLY, Mode::empty())?;
    let number = file.as_raw_fd() as usize;
    let parameters = c"".as_ptr().expose_provenance();
    let call = raw::__NR_finit_module;
    // SAFETY: the kernel reads the parameters up to their end.
    match check(unsafe { gracenet_start::syscall(call, [number, parameters, 0]) }) {
        Err(Errno::EXIST) => Ok(()),
        loaded => loaded.map(drop),
    }
}

/// `struct ifreq`, with the one of its values that is asked for.
#[repr(C)]
struct Request {
    name: [u8; 16],
    value: [u8; 24],
}

impl Request {
    fn new() -> Request {
        Request {
            name: *b"eth0\0\0\0\0\0\0\0\0\0\0\0\0",
            value: [0; 24],
        }
    }

    /// With a `struct sockaddr_in`.
    fn address(address: u32) -> Request {
        let mut request = Request::new();
        request.value[0] = raw_family();
        request.value[4..8].copy_from_slice(&address.to_be_bytes());
        request
    }

    fn set(&self, any: &OwnedFd, what: u32) -> Result<(), Errno> {
        let fd = any.as_raw_fd() as usize;
        let at = (&raw const *self).expose_provenance();
        let call = raw::__NR_ioctl;
        // SAFETY: the kernel reads the request.
        check(unsafe { gracenet_start::syscall(call, [fd, what as usize, at]) }).map(drop)
    }
}

/// Its low byte comes first on each of the processors.
fn raw_family() -> u8 {
    AddressFamily::INET.as_raw() as u8
}

fn up(word: &[u8]) -> Result<(), Errno> {
    let text = str::from_utf8(word).map_err(|_| Errno::INVAL)?;
    let (address, length) = text.split_once('/').ok_or(Errno::INVAL)?;
    let address: Ipv4Addr = address.parse().map_err(|_| Errno::INVAL)?;
    let length: u32 = length.parse().map_err(|_| Errno::INVAL)?;
    let mask = u32::MAX.checked_shl(32 - length.min(32)).unwrap_or(0);
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    Request::address(address.to_bits()).set(&any, SIOCSIFADDR)?;
    Request::address(mask).set(&any, SIOCSIFNETMASK)?;
    let mut flags = Request::new();
    // IFF_UP and IFF_RUNNING.
    flags.value[0] = 0x41;
    flags.set(&any, SIOCSIFFLAGS)
}

/// As long as nobody else does it.
fn pass_signals_on() -> Result<(), Errno> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT))?;
    listen(&socket, 8)?;
    loop {
        let Ok(connection) = accept(&socket) else {
            continue;
        };
        let mut buffer = [0; 32];
        let length = read(&connection, &mut buffer).unwrap_or(0);
        let words = str::from_utf8(&buffer[..length]).unwrap_or_default();
        let mut numbers = words.split(' ').map(str::parse);
        let (Some(Ok(signal)), Some(Ok(pid))) = (numbers.next(), numbers.next()) else {
            continue;
        };
        let (signal, pid): (usize, usize) = (signal, pid);
        // SAFETY: numbers only.
        let result = unsafe { gracenet_start::syscall(raw::__NR_kill, [pid, signal]) };
        let mut answer = Line::new();
        let _ = write!(answer, "{result}");
        let _ = send(&connection, answer.as_bytes(), SendFlags::NOSIGNAL);
    }
}
