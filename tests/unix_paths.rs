//! Programs make unix sockets and close them, and others come after them or live beside them. What
//! must be seen of that in the file system: a path is there as long as anybody needs it, nobody
//! removes what is another's, and its mode is right from the first moment.

mod util;

use std::fs::{self, File};
use std::io::read_to_string;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use tempfile::TempDir;
use util::{Puppet, Start, bound, listener, word};

const IN_USE: &str = "bind: os error 98";

/// A directory, and a path in it where nothing is yet.
struct Place {
    _directory: TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Place {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("socket");
        Place {
            _directory: directory,
            path,
        }
    }

    /// A path of so many bytes.
    fn of_length(length: usize) -> Place {
        let mut place = Place::new();
        let mut path = place.path.into_os_string();
        while path.len() < length {
            path.push("x");
        }
        place.path = path.into();
        place
    }

    fn order(&self, network: &str, options: &str) -> String {
        format!("listen {network} {} {options}", word(&self.path))
    }

    /// A socket that nobody has open any more.
    fn leave_stale(&self, network: &str) {
        drop(bound(network, &self.path));
        assert!(self.exists());
    }

    fn exists(&self) -> bool {
        self.path.symlink_metadata().is_ok()
    }

    fn inode(&self) -> u64 {
        self.path.symlink_metadata().unwrap().ino()
    }

    fn mode(&self) -> u32 {
        self.path.metadata().unwrap().permissions().mode() & 0o7777
    }
}

/// Somebody who connects to `path` gets to `puppet`, which knows the socket by `order`'s answer.
#[track_caller]
fn reaches(path: &Path, puppet: &Puppet, entry: &util::Entry) {
    let client = UnixStream::connect(path).unwrap();
    puppet.greets(entry, "here");
    assert_eq!(read_to_string(client).unwrap(), "here");
}

/// Case C1.
#[test]
fn closing_leaves_the_path() {
    let place = Place::new();
    let puppet = Start::new().run();
    let socket = puppet.gets(place.order("unix", ""));
    puppet.must(format!("close {}", socket.handle()));
    assert!(place.exists());
    assert!(UnixStream::connect(&place.path).is_err());
}

/// Case C1. Were it removed by the first, clients of the second would get ENOENT.
#[test]
fn successor_stays_reachable_by_its_path_when_the_first_closes_and_ends() {
    let (place, packets) = (Place::new(), Place::new());
    let first = Start::new().run();
    let orders = [place.order("unix", ""), packets.order("unixpacket", "")];
    let socket = first.gets(&orders[0]);
    first.must(&orders[1]);
    let inode = place.inode();
    let second = first.succeed(&orders.each_ref().map(String::as_str));
    first.must(format!("close {}", socket.handle()));
    let entry = second.table()[0].clone();
    reaches(&place.path, &second, &entry);
    first.must("retire");
    reaches(&place.path, &second, &entry);
    first.exit();
    reaches(&place.path, &second, &entry);
    assert_eq!(place.inode(), inode);
    assert!(packets.exists());
}

/// Case C2.
#[test]
fn close_and_unlink_removes_the_path_that_it_made() {
    for network in ["unix", "unixpacket", "unixgram"] {
        let place = Place::new();
        let puppet = Start::new().run();
        let socket = puppet.gets(place.order(network, ""));
        assert!(place.exists());
        puppet.must(format!("close-and-unlink {}", socket.handle()));
        assert!(!place.exists(), "{network}");
        assert_eq!(puppet.table(), []);
    }
}

/// Case C2.
#[test]
fn close_and_unlink_keeps_what_has_come_to_the_path_since() {
    let puppet = Start::new().run();

    // Another process' socket.
    let place = Place::new();
    let socket = puppet.gets(place.order("unix", ""));
    fs::remove_file(&place.path).unwrap();
    let _other = UnixListener::bind(&place.path).unwrap();
    puppet.must(format!("close-and-unlink {}", socket.handle()));
    UnixStream::connect(&place.path).unwrap();

    // A file that was renamed to there.
    let place = Place::new();
    let socket = puppet.gets(place.order("unix", ""));
    fs::write(place.path.with_extension("new"), "text").unwrap();
    fs::rename(place.path.with_extension("new"), &place.path).unwrap();
    puppet.must(format!("close-and-unlink {}", socket.handle()));
    assert_eq!(fs::read_to_string(&place.path).unwrap(), "text");

    // Nothing.
    let place = Place::new();
    let socket = puppet.gets(place.order("unix", ""));
    fs::remove_file(&place.path).unwrap();
    puppet.must(format!("close-and-unlink {}", socket.handle()));

    assert_eq!(puppet.table(), []);
}

/// Case C2. Not of the activator, and not of the predecessor, which another may follow.
#[test]
fn close_and_unlink_keeps_a_path_that_came_from_outside() {
    let (given, made) = (Place::new(), Place::new());
    let first = Start::new().pass(listener("unix", &given.path)).inherit();
    let orders = [given.order("unix", ""), made.order("unix", "")];
    let socket = first.gets(&orders[0]);
    assert!(socket.inherited);
    first.must(&orders[1]);
    let second = first.succeed(&orders.each_ref().map(String::as_str));
    first.must(format!("close-and-unlink {}", socket.handle()));
    assert!(given.exists());
    for entry in second.table() {
        second.must(format!("close-and-unlink {}", entry.handle()));
    }
    assert!(given.exists() && made.exists());
}

/// Case C3.
#[test]
fn a_stale_path_is_in_use_unless_told() {
    for network in ["unix", "unixpacket", "unixgram"] {
        let place = Place::new();
        place.leave_stale(network);
        let inode = place.inode();
        let puppet = Start::new().run();
        assert_eq!(puppet.fails(place.order(network, "")), IN_USE);
        assert_eq!(place.inode(), inode);
    }
}

/// Case C3.
#[test]
fn a_stale_path_is_replaced_when_told() {
    for network in ["unix", "unixpacket", "unixgram"] {
        let place = Place::new();
        place.leave_stale(network);
        let puppet = Start::new().run();
        let socket = puppet.gets(place.order(network, "replace-stale"));
        match network {
            "unix" => reaches(&place.path, &puppet, &socket),
            "unixgram" => UnixDatagram::unbound()
                .and_then(|client| client.connect(&place.path))
                .unwrap(),
            _ => connect_packets(&place.path).unwrap(),
        }
        // The new one is its own.
        puppet.must(format!("close-and-unlink {}", socket.handle()));
        assert!(!place.exists());
    }
}

fn connect_packets(path: &Path) -> rustix::io::Result<()> {
    let flags = SocketFlags::CLOEXEC;
    let client = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    connect(&client, &SocketAddrUnix::new(path)?)
}

/// Case C3.
#[test]
fn a_live_socket_is_kept() {
    for network in ["unix", "unixpacket", "unixgram"] {
        let place = Place::new();
        let puppet = Start::new().run();
        let theirs = match network {
            "unixgram" => bound(network, &place.path),
            _ => listener(network, &place.path),
        };
        let inode = place.inode();
        // For whatever kind of socket it is asked.
        for asked in ["unix", "unixpacket", "unixgram"] {
            let order = place.order(asked, "replace-stale");
            assert_eq!(puppet.fails(order), IN_USE, "{asked} at a {network}");
            assert_eq!(place.inode(), inode, "{asked} at a {network}");
        }
        drop(theirs);
    }
}

/// Case C3. Its own one, too.
#[test]
fn a_path_asked_for_twice_is_in_use() {
    let place = Place::new();
    let puppet = Start::new().run();
    let socket = puppet.gets(place.order("unix", "replace-stale"));
    assert_eq!(puppet.fails(place.order("unix", "replace-stale")), IN_USE);
    // What asked whether it lives has knocked, and is gone.
    let knocked = puppet.must(format!("accept {}", socket.handle()));
    let fd = knocked.strip_prefix("fd=").unwrap();
    assert_eq!(puppet.fails(format!("write {fd} anybody?")), "os error 32");
    reaches(&place.path, &puppet, &socket);
}

/// Case C3. A busy listener does not refuse.
#[test]
fn a_live_listener_whose_queue_is_full_is_kept() {
    let place = Place::new();
    let theirs = bound("unix", &place.path);
    rustix::net::listen(&theirs, 0).unwrap();
    let _waiting = UnixStream::connect(&place.path).unwrap();
    let inode = place.inode();
    let puppet = Start::new().run();
    let order = place.order("unix", "replace-stale");
    assert_eq!(puppet.fails(order), IN_USE);
    assert_eq!(place.inode(), inode);
}

/// Case C3.
#[test]
fn what_is_no_socket_is_never_removed() {
    let puppet = Start::new().run();
    let make: [fn(&Path); 5] = [
        |path| fs::write(path, "text").unwrap(),
        |path| fs::create_dir(path).unwrap(),
        |path| symlink("/nonexistent", path).unwrap(),
        // Neither is the link removed, nor the stale socket behind it.
        |path| {
            drop(UnixListener::bind(path.with_extension("old")).unwrap());
            symlink(path.with_extension("old"), path).unwrap();
        },
        |path| drop(File::create(path).unwrap()),
    ];
    for make in make {
        let place = Place::new();
        make(&place.path);
        let inode = place.inode();
        let order = place.order("unix", "replace-stale");
        assert_eq!(puppet.fails(order), IN_USE);
        assert_eq!(place.inode(), inode);
        let old = place.path.with_extension("old");
        assert!(
            old.metadata()
                .map_or(true, |old| old.file_type().is_socket())
        );
    }
    assert_eq!(puppet.table(), []);
}

/// Case C4.
#[test]
fn a_mode_is_the_mode_of_the_path() {
    for network in ["unix", "unixpacket", "unixgram"] {
        for (umask, option, mode) in [
            (0o022, "mode=600", 0o600),
            (0o000, "mode=666", 0o666),
            // Set before there is a path, so that the umask still counts.
            (0o027, "mode=777", 0o750),
            (0o022, "", 0o755),
        ] {
            let place = Place::new();
            let puppet = Start::new().umask(umask).run();
            puppet.must(place.order(network, option));
            assert_eq!(place.mode(), mode, "{network} {option}");
            let status = fs::read_to_string(format!("/proc/{}/status", puppet.pid())).unwrap();
            let umask = format!("Umask:\t{umask:04o}\n");
            assert!(status.contains(&umask), "{status}");
        }
    }
}

/// Case C4. Together with a stale path, whose mode is another.
#[test]
fn a_mode_is_that_of_the_path_that_replaces_a_stale_one() {
    let place = Place::new();
    place.leave_stale("unix");
    fs::set_permissions(&place.path, fs::Permissions::from_mode(0o777)).unwrap();
    let puppet = Start::new().run();
    puppet.must(place.order("unix", "mode=640 replace-stale"));
    assert_eq!(place.mode(), 0o640);
}

/// Case C4. It belongs to whoever made it.
#[test]
fn a_mode_changes_nothing_of_an_inherited_path() {
    let place = Place::new();
    let theirs = listener("unix", &place.path);
    fs::set_permissions(&place.path, fs::Permissions::from_mode(0o666)).unwrap();
    let puppet = Start::new().pass(theirs).inherit();
    assert!(puppet.gets(place.order("unix", "mode=600")).inherited);
    assert_eq!(place.mode(), 0o666);
}

/// Case C5.
#[test]
fn a_path_of_107_bytes_works() {
    let place = Place::of_length(107);
    let first = Start::new().run();
    let socket = first.gets(place.order("unix", ""));
    assert_eq!(socket.address.len(), 107);
    reaches(&place.path, &first, &socket);
    let second = first.succeed(&[&place.order("unix", "")]);
    assert!(second.table()[0].inherited);
    first.must(format!("close-and-unlink {}", socket.handle()));
    assert!(!place.exists());
}

/// Case C5.
#[test]
fn a_path_of_108_bytes_is_an_error_before_anything_is_tried() {
    let puppet = Start::new().run();
    let before = puppet.fds();
    for length in [108, 109, 400] {
        let place = Place::of_length(length);
        for network in ["unix", "unixpacket", "unixgram"] {
            let error = puppet.fails(place.order(network, "replace-stale"));
            assert_eq!(error, "path or name is too long, at byte 107");
        }
        assert!(!place.exists());
    }
    // Else the kernel's word were that there is no such directory.
    let error = puppet.fails(format!("listen unix /nonexistent/{}", "x".repeat(108)));
    assert_eq!(error, "path or name is too long, at byte 107");
    assert_eq!(puppet.fds(), before);
    let missing = puppet.fails("listen unix /nonexistent/socket");
    assert_eq!(missing, "bind: os error 2");
}

/// Case C5.
#[test]
fn an_abstract_name_of_107_bytes_works_and_touches_no_file() {
    let name = format!("{:x<107}", format!("gracenet-{}-", std::process::id()));
    let puppet = Start::new().run();
    let before = fs::read_dir(".").unwrap().count();
    let socket = puppet.gets(format!("listen unix @{name} mode=600 replace-stale"));
    assert_eq!(socket.address, format!("@{name}"));
    connect_abstract(&name).unwrap();
    let twice = puppet.fails(format!("listen unix @{name} replace-stale"));
    assert_eq!(twice, IN_USE);
    let second = puppet.succeed(&[&format!("listen unix @{name}")]);
    assert!(second.table()[0].inherited);
    let longer = puppet.fails(format!("listen unix @{name}x"));
    assert_eq!(longer, "path or name is too long, at byte 108");

    // The name lives as long as a socket has it.
    puppet.must(format!("close-and-unlink {}", socket.handle()));
    connect_abstract(&name).unwrap();
    second.must("close-and-unlink 0");
    connect_abstract(&name).unwrap_err();
    assert_eq!(fs::read_dir(".").unwrap().count(), before);
}

fn connect_abstract(name: &str) -> rustix::io::Result<()> {
    let flags = SocketFlags::CLOEXEC;
    let client = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(
        &client,
        &SocketAddrUnix::new_abstract_name(name.as_bytes())?,
    )
}
