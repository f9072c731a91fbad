//! The network of a machine that has nothing but its kernel.
//!
//! The modules that eth0 takes are loaded, it gets an address and is brought up. Nobody could send
//! signals on such a machine: a child that stays behind does it for those who send `SIGNAL PID`
//! to its port 9, after it has answered what kill(2) says of that pid.

use core::ffi::CStr;
use core::fmt::Write as _;
use core::net::{Ipv4Addr, SocketAddrV4};
use core::str;

use gracenet_start::syscall;
use linux_raw_sys::general as raw;
use linux_raw_sys::ioctl::{SIOCSIFADDR, SIOCSIFFLAGS, SIOCSIFNETMASK};
use rustix::fd::{AsRawFd as _, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, read};
use rustix::net::{AddressFamily, SendFlags, SocketType, accept, bind, listen, send, socket};

type Line = heapless::String<64>;

const PORT: u16 = 9;

/// `up(word)` — Does what the words say, up to the address: how many they were, or the status with
/// which to end. Where it was done before, nothing changes.
pub(crate) fn up(word: impl Fn(usize) -> Option<&'static CStr>) -> Result<i32, i32> {
    let mut words = 0;
    loop {
        let done = match word(words) {
            None => Err(Errno::INVAL),
            Some(word) if word.to_bytes().ends_with(b".ko") => load(word).map(|()| false),
            Some(word) => address(word.to_bytes()).map(|()| true),
        };
        words += 1;
        match done {
            Ok(false) => {}
            Ok(true) => break,
            Err(error) => {
                let mut line = Line::new();
                let _ = writeln!(line, "wire: word {words}: {error}");
                // SAFETY: it is open for as long as this runs.
                let output = unsafe { rustix::stdio::stderr() };
                let _ = rustix::io::write(output, line.as_bytes());
                return Err(1);
            }
        }
    }
    // Whoever was started first does it already.
    if let Ok(listener) = listen_for_signals()
        && fork() == 0
    {
        pass_signals_on(&listener);
    }
    Ok(words as i32)
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
    unsafe { syscall(raw::__NR_clone, [child, 0, 0, 0, 0]) }
}

/// Also where it is there already.
fn load(path: &CStr) -> Result<(), Errno> {
    let file = open(path, OFlags::RDONLY, Mode::empty())?;
    let number = file.as_raw_fd() as usize;
    let parameters = c"".as_ptr().expose_provenance();
    let call = raw::__NR_finit_module;
    // SAFETY: the kernel reads the parameters up to their end.
    match check(unsafe { syscall(call, [number, parameters, 0]) }) {
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
        check(unsafe { syscall(call, [fd, what as usize, at]) }).map(drop)
    }
}

/// Its low byte comes first on each of the processors.
fn raw_family() -> u8 {
    AddressFamily::INET.as_raw() as u8
}

fn address(word: &[u8]) -> Result<(), Errno> {
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

fn listen_for_signals() -> Result<OwnedFd, Errno> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT))?;
    listen(&socket, 8)?;
    Ok(socket)
}

fn pass_signals_on(listener: &OwnedFd) -> ! {
    // What the daemon was given ends with the daemon.
    let own = listener.as_raw_fd() as usize;
    for [first, last] in [[3, own - 1], [own + 1, u32::MAX as usize]] {
        // SAFETY: of what is closed nothing is used here.
        unsafe { syscall(raw::__NR_close_range, [first, last, 0]) };
    }
    loop {
        let Ok(connection) = accept(listener) else {
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
        let result = unsafe { syscall(raw::__NR_kill, [pid, 0]) };
        let mut answer = Line::new();
        let _ = write!(answer, "{result}");
        // Before: it may be what ends the machine.
        let _ = send(&connection, answer.as_bytes(), SendFlags::NOSIGNAL);
        drop(connection);
        // SAFETY: numbers only.
        unsafe { syscall(raw::__NR_kill, [pid, signal]) };
    }
}
