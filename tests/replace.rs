//! A server executes its successor in its own place: the process stays, and with it its pid, its
//! queues and the signals that wait. What the new program gets is looked at from outside; and so is
//! what is left of an attempt that fails, which must be nothing.

mod util;

use std::ffi::{CStr, CString};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

use gracenet::{Args, Changes, Environ, Net, Program, StartError};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::getsockname;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, setrlimit};
use util::seccomp;
use util::{
    Done, Fds, Office, Predecessor, Puppet, Start, copy_witness, in_process_of_its_own, in_time,
    path, program, strings,
};

fn proc(pid: Pid, name: &str) -> Vec<Vec<u8>> {
    strings(&fs::read(format!("/proc/{pid}/{name}")).unwrap())
}

fn answer(mut client: impl std::io::Read) -> String {
    let mut said = String::new();
    client.read_to_string(&mut said).unwrap();
    said
}

/// A puppet with a TCP listener, a unix one, and a file by name.
struct Site {
    puppet: Puppet,
    web: String,
    path: String,
}

impl Site {
    fn new(start: Start) -> Site {
        let puppet = start.at(40, File::open("/dev/null").unwrap()).run();
        let web = puppet.gets("listen tcp 127.0.0.1:0").address;
        static NAMES: AtomicU32 = AtomicU32::new(0);
        let number = NAMES.fetch_add(1, Ordering::Relaxed);
        let path = format!("@gracenet-replace-{}-{number}", std::process::id());
        puppet.must(format!("listen unix {path}"));
        puppet.must("insert state 40");
        Site { puppet, web, path }
    }

    /// What waits in the queues is served by the one that comes after.
    fn replace(&mut self, generation: u32) {
        let tcp = TcpStream::connect(&self.web).unwrap();
        let unix = UnixStream::connect_addr(&self.address()).unwrap();
        self.puppet.replace();
        let inherited = self.puppet.must("inherit");
        assert_eq!(inherited, format!("3 generation={generation}"));
        let web = self.puppet.gets(format!("listen tcp {}", self.web));
        let local = self.puppet.gets(format!("listen unix {}", self.path));
        let state = self.puppet.gets("claim state");
        assert!(web.inherited && local.inherited && state.inherited);
        assert_eq!((web.fd, local.fd, state.fd), (3, 4, 5));
        self.puppet.must("ready");
        self.puppet.greets(&web, "tcp");
        self.puppet.greets(&local, "unix");
        assert_eq!(
            (answer(tcp).as_str(), answer(unix).as_str()),
            ("tcp", "unix")
        );
    }

    fn address(&self) -> std::os::unix::net::SocketAddr {
        use std::os::linux::net::SocketAddrExt as _;
        std::os::unix::net::SocketAddr::from_abstract_name(&self.path[1..]).unwrap()
    }
}

/// Case D3, E8, G6. Environment, arguments, working directory and fds stay as they are.
#[test]
fn the_process_stays_and_nothing_else_changes() {
    let mut site = Site::new(Start::new().variable("A=1").variable("A=2"));
    site.replace(1);
    let pid = site.puppet.pid();
    let environ = proc(pid, "environ");
    let cmdline = proc(pid, "cmdline");
    let fds = site.puppet.fds();
    assert!(environ.contains(&b"A=1".to_vec()) && environ.contains(&b"A=2".to_vec()));
    assert!(environ.contains(&format!("LISTEN_PID={pid}").into_bytes()));
    for generation in 2..12 {
        site.replace(generation);
        assert_eq!(proc(pid, "environ"), environ);
        assert_eq!(proc(pid, "cmdline"), cmdline);
        let mut now = site.puppet.fds();
        let mut then = fds.clone();
        // The line to the test, and the channel, whose other end is gone, are new ones.
        for fds in [&mut now, &mut then] {
            fds.forget("line", |fd| fd.number == 100);
            fds.forget("channel", |fd| fd.number == 6);
        }
        assert_eq!(now, then);
    }
    // And it starts a successor as ever.
    let next = site.puppet.succeed(&[&format!("listen tcp {}", site.web)]);
    assert_ne!(next.pid(), pid);
    assert_eq!(next.table().len(), 1);
    site.puppet.exit();
}

/// Case E8, F1, G6. Each time with the file mended the next attempt works.
#[test]
fn what_cannot_be_executed_changes_nothing() {
    in_process_of_its_own("what_cannot_be_executed_changes_nothing", fail);
}

fn fail(directory: &Path) {
    let place = directory.join("program");
    let path = copy_witness(&place);
    let args = [&*path];
    let mut predecessor = Predecessor::with_sockets();
    let program = Program::new(Args::new(&args), Environ::new(&[]));
    let before = (Fds::of_self(), std::env::current_dir().unwrap());
    let mode = |mode| fs::set_permissions(&place, fs::Permissions::from_mode(mode)).unwrap();
    let attempt = |predecessor: &mut Predecessor, errno: i32| {
        for _ in 0..20 {
            let error = predecessor.net.replace(&program, &Changes::new());
            assert_eq!(error.to_string(), format!("execve: os error {errno}"));
            let now = (Fds::of_self(), std::env::current_dir().unwrap());
            assert_eq!(now, before);
        }
    };
    mode(0o644);
    attempt(&mut predecessor, libc::EACCES);
    mode(0o755);
    let busy = OpenOptions::new().append(true).open(&place).unwrap();
    let error = predecessor.net.replace(&program, &Changes::new());
    assert_eq!(error.to_string(), "execve: os error 26");
    drop(busy);
    fs::remove_file(&place).unwrap();
    attempt(&mut predecessor, libc::ENOENT);
    fs::write(&place, "no program").unwrap();
    mode(0o755);
    attempt(&mut predecessor, libc::ENOEXEC);
    fs::write(&place, "#!/nowhere/to/be/found\n").unwrap();
    attempt(&mut predecessor, libc::ENOENT);

    // One that is being started is in the way.
    let good = util::witness();
    let args = [&*good];
    let program = Program::new(Args::new(&args), Environ::new(&[]));
    let _ = predecessor.start_program(&program);
    let error = predecessor.net.replace(&program, &Changes::new());
    assert_eq!(error, StartError::InProgress);
    predecessor.give_up(0);
    // What is lent is no more in the table after it.
    let null = File::open("/dev/null").unwrap();
    let lent = [("lent", null.as_fd())];
    let length = predecessor.net.len();
    let changes = Changes::new().path(c"/nowhere").lend(&lent).unwrap();
    let error = predecessor.net.replace(&program, &changes);
    assert_eq!(error.to_string(), "execve: os error 2");
    assert_eq!(predecessor.net.len(), length);
}

/// Case K4. What the attempt had of the sockets is gone when it has failed.
#[test]
fn an_address_is_free_again_after_an_attempt_that_failed() {
    let name = "an_address_is_free_again_after_an_attempt_that_failed";
    in_process_of_its_own(name, |_| {
        let attempts = |count| {
            let args = [c"/nowhere"];
            let program = Program::new(Args::new(&args), Environ::new(&[]));
            let mut net: Net<2> = Net::new();
            let mut web = net.listen("tcp", "127.0.0.1:0").unwrap();
            let address = getsockname(net.borrow(web).unwrap()).unwrap();
            let address = SocketAddr::try_from(address).unwrap().to_string();
            for attempt in 0..count {
                let error = net.replace(&program, &Changes::new());
                assert_eq!(error.to_string(), "execve: os error 2");
                net.close(web).unwrap();
                let again = net.listen("tcp", &address);
                web = again.unwrap_or_else(|error| panic!("attempt {attempt}: {error}"));
            }
        };
        attempts(2000);
        let close_range = [(libc::SYS_close_range, libc::ENOSYS)];
        seccomp::where_refused(&close_range, || attempts(50));
        let unshare = [close_range[0], (libc::SYS_unshare, libc::EPERM)];
        seccomp::where_refused(&unshare, || attempts(50));
    });
}

/// Case I4. Signals that came while nobody could read them are read by the one that comes after;
/// and its successors start with the mask of the start again.
#[test]
fn signals_wait_for_the_new_program() {
    let mut site = Site::new(Start::new());
    let blocked = |pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
        u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
    };
    let pid = site.puppet.pid();
    let at_start = blocked(pid);
    let ours = 1 << (libc::SIGUSR1 - 1) | 1 << (libc::SIGTERM - 1);
    assert_eq!(at_start & ours, 0);
    site.puppet.must("signals");
    assert_eq!(blocked(pid), at_start | ours);
    for generation in 1..4 {
        kill_process(pid, Signal::TERM).unwrap();
        kill_process(pid, Signal::USR1).unwrap();
        site.replace(generation);
        // Before it has asked for any.
        assert_eq!(blocked(pid), at_start | ours);
        site.puppet.must("signals");
        let mut read = [
            site.puppet.must("read-signal"),
            site.puppet.must("read-signal"),
        ];
        read.sort();
        assert_eq!(read, [libc::SIGUSR1.to_string(), libc::SIGTERM.to_string()]);
        site.puppet.fails("read-signal");
    }
    let next = site.puppet.start();
    assert_eq!(blocked(next.pid()), at_start);
}

/// Case G6. A foreign program is to have the mask of the start; when there is none, this one still
/// reads what had come, and does not end by it.
#[test]
fn signals_outlive_a_foreign_program_that_cannot_be_executed() {
    let puppet = Start::new().run();
    puppet.must("signals");
    for signal in [Signal::USR1, Signal::TERM] {
        kill_process(puppet.pid(), signal).unwrap();
        assert_eq!(puppet.fails("replace-by-nothing"), "execve: os error 2");
        let read = puppet.must("read-signal");
        assert_eq!(read, signal.as_raw().to_string());
    }
    puppet.exit();
}

/// Replaces the process of a test by a shell, which says what the harness waits for when it is the
/// only thread and finds nothing but its standard streams, one socket, the channel, and the folder
/// in which it reads that.
fn by_a_shell(predecessor: &mut Predecessor) -> StartError {
    // No pipe, of which the shell could still have the other end while it looks.
    let script = "cd /proc/$$/fd && set -- *; \
        test \"$*\" = '0 1 2 3 4 5' && \
        grep -q '^Threads:.1$' /proc/$$/status && test $$ = $LISTEN_PID && \
        echo 1 passed || { echo \"$*\"; cat /proc/$$/status; exit 1; }";
    let script = CString::new(script).unwrap();
    let args = [c"/bin/sh", c"-c", &*script];
    let program = Program::new(Args::new(&args), Environ::new(&[c"PATH=/usr/bin:/bin"]));
    for _ in 0..500 {
        let nowhere = Changes::new().path(c"/nowhere");
        let error = predecessor.net.replace(&program, &nowhere);
        assert_eq!(error.to_string(), "execve: os error 2");
    }
    predecessor.net.replace(&program, &Changes::new())
}

/// The whole process is the new program, whatever its other threads were doing: their fds, which
/// are not CLOEXEC, are gone. As long as it fails, they go on.
#[test]
fn other_threads_end() {
    in_process_of_its_own("other_threads_end", |_| {
        let threads = Done::default();
        let mut predecessor = Predecessor::new();
        std::thread::scope(|scope| {
            let _end = threads.at_the_end();
            for _ in 0..4 {
                scope.spawn(|| {
                    while !threads.is_over() {
                        let open = |_| File::open("/dev/zero").unwrap();
                        let files: Vec<_> = (0..50).map(open).collect();
                        for file in &files {
                            fcntl_setfd(file, FdFlags::empty()).unwrap();
                        }
                        let mut byte = [1];
                        (&files[7]).read_exact(&mut byte).unwrap();
                        assert_eq!(byte, [0]);
                    }
                });
            }
            panic!("not replaced: {}", by_a_shell(&mut predecessor));
        });
    });
}

/// Where the kernel or a container refuses what makes it cheap, it works all the same.
fn where_refused(name: &str, calls: &[(libc::c_long, i32)]) {
    in_process_of_its_own(name, |_| {
        // Where fds are closed one by one, there are not too many of them.
        let few = Rlimit {
            current: Some(1000),
            maximum: Some(1000),
        };
        setrlimit(Resource::Nofile, few).unwrap();
        let mut predecessor = Predecessor::new();
        seccomp::where_refused(calls, || {
            panic!("not replaced: {}", by_a_shell(&mut predecessor));
        });
    });
}

#[test]
fn it_works_without_clone3() {
    where_refused(
        "it_works_without_clone3",
        &[(libc::SYS_clone3, libc::ENOSYS)],
    );
}

#[test]
fn it_works_without_close_range() {
    let calls = [(libc::SYS_close_range, libc::ENOSYS)];
    where_refused("it_works_without_close_range", &calls);
}

#[test]
fn it_works_where_no_fd_table_can_be_unshared() {
    let calls = [
        (libc::SYS_close_range, libc::EPERM),
        (libc::SYS_unshare, libc::EPERM),
    ];
    where_refused("it_works_where_no_fd_table_can_be_unshared", &calls);
}

/// A puppet that another program starts.
struct Bare {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Bare {
    fn new(command: &mut Command) -> Bare {
        let mut child = command
            .arg(program("puppet"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Bare {
            orders: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn ask(&mut self, order: &str) -> String {
        writeln!(self.orders, "{order}").unwrap();
        in_time(self.answers.get_ref().as_fd(), order);
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.strip_prefix("ok ").unwrap_or(&line).trim().to_owned()
    }
}

/// Case I1. The first process of a pid namespace stays that: without it all others would be killed.
#[test]
fn pid_1_stays_pid_1() {
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.arg("-Ur");
    }
    let mut namespace = Bare::new(unshare.args(["-pf", "--kill-child"]));
    let unshare = namespace.child.id();
    let mut ask = |order: &str| namespace.ask(order);
    let listening = ask("listen tcp 127.0.0.1:0");
    let web = listening.split(' ').nth(4).unwrap().to_owned();
    let init = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).unwrap();
    let init = init.trim();
    for generation in 1..6 {
        let client = TcpStream::connect(&web).unwrap();
        // It is not answered, and the next order is the new program's.
        let inherited = ask("replace\ninherit");
        assert_eq!(inherited, format!("1 generation={generation}"));
        let claimed = ask(&format!("listen tcp {web}"));
        assert!(claimed.contains("inherited"), "{claimed}");
        ask("ready");
        let accepted = ask("accept 0");
        let fd = accepted.strip_prefix("fd=").unwrap();
        ask(&format!("write {fd} one"));
        ask(&format!("close-fd {fd}"));
        assert_eq!(answer(client), "one");
        let status = fs::read_to_string(format!("/proc/{init}/status")).unwrap();
        let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        assert_eq!(pids.unwrap().split_whitespace().last(), Some("1"));
        let cmdline = fs::read_to_string(format!("/proc/{init}/environ")).unwrap();
        assert!(cmdline.contains("LISTEN_PID=1\0"));
    }
    drop(namespace.orders);
    assert!(namespace.child.wait().unwrap().success());
}

/// Case I2. What it starts beside itself, as a process that is not the first would, is killed when it
/// ends: it has to stay.
#[test]
fn successor_of_pid_1_does_not_outlive_it() {
    let office = Rc::new(Office::open());
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.arg("-Ur");
    }
    unshare.args(["-pf", "--kill-child"]).arg(program("puppet"));
    let mut unshare = unshare.arg(office.path()).spawn().unwrap();
    let first = office.hire();
    let web = first.gets("listen tcp 127.0.0.1:0").address;
    first.must("start");
    let next = office.hire();
    next.must("inherit");
    let listener = next.gets(format!("listen tcp {web}"));
    next.must("ready");
    first.must("wait 20000");
    let client = TcpStream::connect(&web).unwrap();
    next.greets(&listener, "next");
    assert_eq!(answer(client), "next");
    first.exit();
    // It waits for orders, and has no reason of its own.
    in_time(next.pidfd(), "the end of the successor");
    unshare.wait().unwrap();
    let refused = TcpStream::connect(&web).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

/// A supervisor that does not want it to outlive itself need not say so again. The kernel keeps
/// that for each thread, and it is the thread that ends which counts as the parent.
#[test]
fn it_still_ends_with_its_parent() {
    let parent = std::thread::spawn(|| {
        let mut server = Bare::new(Command::new("setpriv").args(["--pdeathsig", "KILL"]));
        for generation in 1..4 {
            let inherited = server.ask("replace\ninherit");
            assert_eq!(inherited, format!("0 generation={generation}"));
        }
        server
    });
    let mut server = parent.join().unwrap();
    util::until_gone(Pid::from_child(&server.child));
    assert_eq!(server.child.wait().unwrap().signal(), Some(libc::SIGKILL));
}

/// Replaces the process of a test by a shell that says what the harness waits for, if `script` is true.
fn by_a_shell_that_is(
    name: &str,
    script: &str,
    replace: impl FnOnce(&Path, &mut Predecessor, &[&CStr]) -> StartError,
) {
    in_process_of_its_own(name, |directory| {
        std::env::set_current_dir(directory).unwrap();
        let script = CString::new(format!("{script} && echo 1 passed")).unwrap();
        let mut predecessor = Predecessor::with_sockets();
        let why = replace(directory, &mut predecessor, &[c"-c", &script]);
        panic!("not replaced: {why}");
    });
}

/// Case F2, F4. A path is looked up where this process was started, and anew at each attempt.
#[test]
fn relative_path_is_that_of_the_start() {
    let name = "relative_path_is_that_of_the_start";
    by_a_shell_that_is(name, "test -e mark", |directory, predecessor, rest| {
        let args = [[c"current/program"].as_slice(), rest].concat();
        let program = Program::new(Args::new(&args), Environ::new(&[]));
        File::create("mark").unwrap();
        for release in ["first", "second"] {
            fs::create_dir(release).unwrap();
        }
        fs::write("first/program", "no program").unwrap();
        fs::set_permissions("first/program", fs::Permissions::from_mode(0o755)).unwrap();
        symlink("/bin/sh", "second/program").unwrap();
        symlink("first", "current").unwrap();
        std::env::set_current_dir("/").unwrap();
        let error = predecessor.net.replace(&program, &Changes::new());
        assert_eq!(error.to_string(), "execve: os error 8");
        symlink("second", directory.join("next")).unwrap();
        fs::rename(directory.join("next"), directory.join("current")).unwrap();
        predecessor.net.replace(&program, &Changes::new())
    });
}

/// Case F5.
#[test]
fn name_without_a_slash_is_searched_in_path() {
    let name = "name_without_a_slash_is_searched_in_path";
    by_a_shell_that_is(name, "true", |directory, predecessor, rest| {
        let args = [[c"found-in-path"].as_slice(), rest].concat();
        symlink("/bin/sh", "found-in-path").unwrap();
        let path = format!("PATH=/nowhere:/etc/passwd:{}:/bin", directory.display());
        let path = CString::new(path).unwrap();
        let environ = [&*path];
        let program = Program::new(Args::new(&args), Environ::new(&environ));
        let elsewhere = Program::new(Args::new(&args), Environ::new(&[c"PATH=/nowhere:/etc"]));
        let error = predecessor.net.replace(&elsewhere, &Changes::new());
        assert_eq!(error.to_string(), "execve: os error 2");
        predecessor.net.replace(&program, &Changes::new())
    });
}

/// Case F7.
#[test]
fn working_directory_may_be_gone() {
    let name = "working_directory_may_be_gone";
    by_a_shell_that_is(name, "true", |directory, predecessor, rest| {
        let args = [[c"/bin/sh"].as_slice(), rest].concat();
        fs::create_dir("gone").unwrap();
        std::env::set_current_dir("gone").unwrap();
        let program = Program::new(Args::new(&args), Environ::new(&[]));
        fs::remove_dir(directory.join("gone")).unwrap();
        predecessor.net.replace(&program, &Changes::new())
    });
}

/// Case F3, F8. What was opened is what runs, whatever its path names by then; and by its path it is
/// what is there now.
#[test]
fn what_is_open_is_what_is_executed() {
    let name = "what_is_open_is_what_is_executed";
    by_a_shell_that_is(name, "true", |directory, predecessor, rest| {
        let place = path(&directory.join("program"));
        let args = [[&*place].as_slice(), rest].concat();
        fs::copy("/bin/sh", "program").unwrap();
        let program = Program::new(Args::new(&args), Environ::new(&[]));
        let shell = File::open("program").unwrap();
        fs::write("other", "no program").unwrap();
        fs::set_permissions("other", fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename("other", "program").unwrap();
        let error = predecessor.net.replace(&program, &Changes::new());
        assert_eq!(error.to_string(), "execve: os error 8");
        let changes = Changes::new().executable(shell.as_fd());
        predecessor.net.replace(&program, &changes)
    });
}
