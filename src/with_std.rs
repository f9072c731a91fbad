//! What programs that have std get besides: their arguments and environment, and sockets and
//! errors as std has them. Feature `std`.
#![allow(unsafe_code)] // Reads the array of variables that libc keeps.

extern crate std;

use core::ffi::{CStr, c_char};
use core::fmt;

use std::boxed::Box;
use std::env;
use std::ffi::CString;
use std::io::{self, ErrorKind};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::sync::OnceLock;

use rustix::fd::{AsFd as _, OwnedFd};

use crate::activation::VariableError;
use crate::addr::{AddressError, Network};
use crate::capsule::CapsuleError;
use crate::environ::{Args, Environ};
use crate::error::Error;
use crate::net::{Handle, InheritError, NetView, Refused};
use crate::program::{AtStart, Program};
use crate::ready::Failure;
use crate::socket::{self, Kind, ListenError, NameError};
use crate::spawn::StartError;

/// What this process has, copied once.
struct Copied {
    args: Box<[&'static CStr]>,
    environ: Box<[&'static CStr]>,
}

impl Program<'static> {
    /// `Program::from_env()` — as [`Program::new`], from the arguments and the environment that
    /// this process has.
    ///
    /// Call it first thing in `main`, when the environment is still that of the start. It is
    /// taken as it is, with strings without `=` and names that occur twice, which
    /// [`std::env::vars_os`] leaves out; /proc is not needed. The strings are copied once for
    /// the whole process and never freed; further calls give the same ones.
    ///
    /// std ignores SIGPIPE before `main`, and what it was before that is not known: successors
    /// get the default, as from [`std::process::Command`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use gracenet::{Deadline, Net, Program};
    ///
    /// let program = Program::from_env();
    /// // SAFETY: nothing else has been opened.
    /// let mut net: Net<8> = unsafe { Net::inherit(program.environ()) }?;
    /// let web = net.listen("tcp", ":8080")?;
    /// let admin = net.listen("unix", "/run/app/admin.sock")?;
    /// let (web, admin) = (net.tcp_listener(web)?, net.unix_listener(admin)?);
    /// net.ready()?;
    /// # let _ = (web, admin);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_env() -> Program<'static> {
        static COPIED: OnceLock<Copied> = OnceLock::new();
        let copied = COPIED.get_or_init(|| Copied {
            // An argument comes from C: there is no NUL in it.
            args: env::args_os()
                .filter_map(|argument| CString::new(argument.into_vec()).ok())
                .map(forever)
                .collect(),
            environ: variables().map(CString::from).map(forever).collect(),
        });
        let mut program = Program::new(Args::new(&copied.args), Environ::new(&copied.environ));
        program.at_start.ignored &= !AtStart::PIPE;
        program
    }
}

fn forever(string: CString) -> &'static CStr {
    Box::leak(string.into_boxed_c_str())
}

/// The variables of now, every one, as libc has them: std has no door to those it does not
/// understand, and /proc/self/environ may be missing, or be for root alone.
fn variables() -> impl Iterator<Item = &'static CStr> {
    unsafe extern "C" {
        /// environ(7), of every libc that std is built on.
        static mut environ: *const *const c_char;
    }
    // SAFETY: nobody changes it at the same time. Who could, by `set_var` or by C's setenv, has
    // promised that nobody reads it meanwhile by other means than std's, as this does.
    let array = unsafe { environ };
    let view = if array.is_null() {
        // As clearenv(3) leaves it.
        Environ::new(&[])
    } else {
        // SAFETY: 1. that is what it is. 2. as above, and the view is gone when `from_env` is.
        unsafe { Environ::from_raw(array) }
    };
    view.iter()
}

impl NetView {
    /// `net.tcp_listener(handle)` — a second fd of the socket, as std has it.
    ///
    /// As [`duplicate`](Self::duplicate): it is CLOEXEC and the caller's, the table keeps its
    /// own, and O_NONBLOCK is common to both, and to those of other processes. Dropping it closes
    /// nothing but itself.
    ///
    /// # Errors
    ///
    /// - [`KindError::Other`]: it is no TCP socket that listens. The kernel is asked, not the
    ///   name.
    /// - [`KindError::Failed`] with EMFILE: RLIMIT_NOFILE is reached.
    /// - [`KindError::Failed`] with EBADF: the handle is stale.
    pub fn tcp_listener(&self, handle: Handle) -> Result<TcpListener, KindError> {
        let fits = |kind| matches!(kind, Kind::Listener(network) if network.is_tcp());
        self.duplicate_if(handle, fits).map(TcpListener::from)
    }

    /// `net.unix_listener(handle)` — as [`tcp_listener`](Self::tcp_listener), for a unix stream
    /// socket that listens.
    ///
    /// # Errors
    ///
    /// As for [`tcp_listener`](Self::tcp_listener). A `unixpacket` socket is another kind, for
    /// which std has no type.
    pub fn unix_listener(&self, handle: Handle) -> Result<UnixListener, KindError> {
        let fits = |kind| kind == Kind::Listener(Network::Unix);
        self.duplicate_if(handle, fits).map(UnixListener::from)
    }

    /// `net.udp_socket(handle)` — as [`tcp_listener`](Self::tcp_listener), for a UDP socket.
    ///
    /// # Errors
    ///
    /// As for [`tcp_listener`](Self::tcp_listener).
    pub fn udp_socket(&self, handle: Handle) -> Result<UdpSocket, KindError> {
        let fits = |kind| matches!(kind, Kind::Datagram(network) if !network.is_unix());
        self.duplicate_if(handle, fits).map(UdpSocket::from)
    }

    /// `net.unix_datagram(handle)` — as [`tcp_listener`](Self::tcp_listener), for a unix datagram
    /// socket.
    ///
    /// # Errors
    ///
    /// As for [`tcp_listener`](Self::tcp_listener).
    pub fn unix_datagram(&self, handle: Handle) -> Result<UnixDatagram, KindError> {
        let fits = |kind| kind == Kind::Datagram(Network::UnixGram);
        self.duplicate_if(handle, fits).map(UnixDatagram::from)
    }

    fn duplicate_if(
        &self,
        handle: Handle,
        fits: impl Fn(Kind) -> bool,
    ) -> Result<OwnedFd, KindError> {
        let fd = self.duplicate(handle)?;
        match socket::kind(fd.as_fd())? {
            kind if fits(kind) => Ok(fd),
            kind => Err(KindError::Other(kind)),
        }
    }
}

/// Why a socket cannot be had as a type of std.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum KindError {
    /// It is something else: what.
    Other(Kind),
    /// A system call failed.
    Failed(Error),
}

impl From<Error> for KindError {
    fn from(error: Error) -> KindError {
        KindError::Failed(error)
    }
}

impl fmt::Display for KindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, network) = match self {
            KindError::Failed(error) => return error.fmt(f),
            KindError::Other(Kind::Listener(network)) => ("listens, with network ", network),
            KindError::Other(Kind::Datagram(network)) => ("for datagrams, with network ", network),
            KindError::Other(Kind::Stream(network)) => ("does not listen, network ", network),
            KindError::Other(_) => return f.write_str("another kind of fd: no such socket"),
        };
        f.write_str("another kind of socket: ")?;
        f.write_str(text)?;
        network.fmt(f)
    }
}

impl core::error::Error for KindError {}

/// The number of the system's error stays; which call failed is lost.
impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        io::Error::from_raw_os_error(error.raw_os_error())
    }
}

impl From<ListenError> for io::Error {
    fn from(error: ListenError) -> io::Error {
        match error {
            ListenError::Failed(error) => error.into(),
            ListenError::Full(_) => io::Error::new(ErrorKind::QuotaExceeded, error),
            _ => io::Error::new(ErrorKind::InvalidInput, error),
        }
    }
}

/// The fd is inside, and is closed with the error.
impl From<Refused> for io::Error {
    fn from(refused: Refused) -> io::Error {
        match refused.reason {
            ListenError::Failed(error) => error.into(),
            reason => io::Error::new(io::Error::from(reason).kind(), refused),
        }
    }
}

impl From<InheritError> for io::Error {
    fn from(error: InheritError) -> io::Error {
        match error {
            InheritError::Failed(error) => error.into(),
            InheritError::BadFd { error, .. } => error.into(),
            InheritError::TooMany { .. } => io::Error::new(ErrorKind::QuotaExceeded, error),
            _ => io::Error::new(ErrorKind::InvalidData, error),
        }
    }
}

impl From<StartError> for io::Error {
    fn from(error: StartError) -> io::Error {
        let kind = match error {
            StartError::Failed(error) => return error.into(),
            StartError::InProgress => ErrorKind::ResourceBusy,
            StartError::NoProgram => ErrorKind::InvalidInput,
            StartError::TooLarge => ErrorKind::ArgumentListTooLong,
            StartError::FdLimit(_) => ErrorKind::QuotaExceeded,
            _ => ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> io::Error {
        match failure {
            Failure::Failed(error) => error.into(),
            Failure::TimedOut => io::Error::new(ErrorKind::TimedOut, failure),
            _ => io::Error::other(failure),
        }
    }
}

impl From<CapsuleError> for io::Error {
    fn from(error: CapsuleError) -> io::Error {
        match error {
            CapsuleError::Failed(error) => error.into(),
            CapsuleError::TooLong { .. } => io::Error::new(ErrorKind::InvalidInput, error),
            _ => io::Error::new(ErrorKind::InvalidData, error),
        }
    }
}

impl From<KindError> for io::Error {
    fn from(error: KindError) -> io::Error {
        match error {
            KindError::Failed(error) => error.into(),
            KindError::Other(_) => io::Error::new(ErrorKind::InvalidInput, error),
        }
    }
}

impl From<AddressError> for io::Error {
    fn from(error: AddressError) -> io::Error {
        io::Error::new(ErrorKind::InvalidInput, error)
    }
}

impl From<NameError> for io::Error {
    fn from(error: NameError) -> io::Error {
        io::Error::new(ErrorKind::InvalidInput, error)
    }
}

impl From<VariableError> for io::Error {
    fn from(error: VariableError) -> io::Error {
        io::Error::new(ErrorKind::InvalidData, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Operation;
    use crate::net::Net;
    use rustix::io::Errno;
    use std::fs::File;
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::net::UnixStream;
    use std::string::{String, ToString as _};
    use std::vec::Vec;

    #[test]
    fn systems_errors_keep_their_numbers_through_every_error() {
        let error = Error::new(Operation::Bind, Errno::ADDRINUSE);
        let refused = Refused {
            fd: File::open("/dev/null").unwrap().into(),
            reason: error.into(),
        };
        let bad = InheritError::BadFd { fd: 3, error };
        for error in [
            io::Error::from(error),
            ListenError::from(error).into(),
            refused.into(),
            InheritError::Failed(error).into(),
            bad.into(),
            StartError::from(error).into(),
            Failure::Failed(error).into(),
            CapsuleError::from(error).into(),
            KindError::from(error).into(),
        ] {
            assert_eq!(error.raw_os_error(), Some(98), "{error}");
            assert_eq!(error.kind(), ErrorKind::AddrInUse);
        }
    }

    #[test]
    fn other_errors_stay_inside() {
        let error = io::Error::from(Failure::Exited(3));
        assert_eq!(error.to_string(), Failure::Exited(3).to_string());
        let inside = error.get_ref().and_then(|it| it.downcast_ref::<Failure>());
        assert_eq!(inside, Some(&Failure::Exited(3)));
        assert_eq!(
            io::Error::from(Failure::TimedOut).kind(),
            ErrorKind::TimedOut
        );

        let mut net: Net<1> = Net::new();
        let listen = |net: &mut Net<1>, address: &str| -> io::Result<Handle> {
            Ok(net.listen("unix", address)?)
        };
        let kind = |result: io::Result<Handle>| result.unwrap_err().kind();
        assert_eq!(kind(listen(&mut net, "")), ErrorKind::InvalidInput);
        net.insert("null", File::open("/dev/null").unwrap().into())
            .unwrap();
        assert_eq!(kind(listen(&mut net, "@full")), ErrorKind::QuotaExceeded);
        let file = File::open("/dev/null").unwrap();
        let refused = net.insert("no:name", file.into()).unwrap_err();
        assert_eq!(io::Error::from(refused).kind(), ErrorKind::InvalidInput);
    }

    /// Each socket becomes what it is, and nothing else. Case A13.
    #[test]
    fn sockets_are_had_as_what_they_are() {
        let mut net: Net<16> = Net::new();
        let name = |what| std::format!("@gracenet-std-{}-{what}", std::process::id());
        let file = File::open("/dev/null").unwrap();
        let (connected, _peer) = UnixStream::pair().unwrap();
        let handles = [
            net.listen("tcp4", "127.0.0.1:0").unwrap(),
            net.listen("unix", name("stream")).unwrap(),
            net.listen("udp", "127.0.0.1:0").unwrap(),
            net.listen("unixgram", name("datagram")).unwrap(),
            net.listen("unixpacket", name("packet")).unwrap(),
            net.insert("null", file.into()).unwrap(),
            net.insert("connected", connected.into()).unwrap(),
        ];
        for (index, handle) in handles.into_iter().enumerate() {
            let had = [
                net.tcp_listener(handle).is_ok(),
                net.unix_listener(handle).is_ok(),
                net.udp_socket(handle).is_ok(),
                net.unix_datagram(handle).is_ok(),
            ];
            let expected: Vec<bool> = (0..4).map(|which| which == index).collect();
            assert_eq!(had.as_slice(), expected, "{index}");
        }
        let [web, _, udp, _, packet, null, connected] = handles;
        let why = |net: &NetView, handle| net.tcp_listener(handle).unwrap_err().to_string();
        assert_eq!(
            why(&net, udp),
            "another kind of socket: for datagrams, with network udp4"
        );
        assert_eq!(
            why(&net, packet),
            "another kind of socket: listens, with network unixpacket"
        );
        assert_eq!(
            why(&net, connected),
            "another kind of socket: does not listen, network unix"
        );
        assert_eq!(why(&net, null), "another kind of fd: no such socket");
        net.close(null).unwrap();
        assert_eq!(why(&net, null), "fcntl: os error 9");

        // It is the same socket, under another number, and the table keeps its own.
        let listener = net.tcp_listener(web).unwrap();
        let ours = net.borrow(web).unwrap();
        assert_ne!(listener.as_raw_fd(), ours.as_raw_fd());
        assert_eq!(
            rustix::io::fcntl_getfd(&listener),
            Ok(rustix::io::FdFlags::CLOEXEC)
        );
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        listener.accept().unwrap().0.write_all(b"hello").unwrap();
        drop(listener);
        let mut heard = String::new();
        client.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "hello");
        assert!(TcpStream::connect(address).is_ok());
    }

    #[test]
    fn arguments_and_variables_are_those_of_the_process() {
        let program = Program::from_env();
        let args: Vec<_> = program.args().iter().map(CStr::to_bytes).collect();
        let theirs: Vec<_> = env::args_os().map(|it| it.into_vec()).collect();
        assert_eq!(args, theirs);
        // What std knows is there, in the order in which it is.
        let variables: Vec<_> = program.environ().iter().map(CStr::to_bytes).collect();
        let mut rest = variables.iter();
        for (name, value) in env::vars_os() {
            let string = [name.into_vec(), b"=".to_vec(), value.into_vec()].concat();
            assert!(rest.any(|it| **it == *string), "{string:?}");
        }
        // The same strings, not copies of them.
        let again = Program::from_env();
        let first = |program: &Program<'static>| program.args().iter().next().map(CStr::as_ptr);
        assert_eq!(first(&program), first(&again));
    }
}
