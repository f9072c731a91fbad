//! `gracenet-init` as /init of a machine, in front of the daemon: it serves, is replaced in place
//! under load, replaces its program and sees it crash, and has the machine start anew and switched off.
//!
//! All that the machine has is that one file, in which the daemon is as well: with nothing else there,
//! `/init` is also the program that `/init` starts. See tests/appliance.
//!
//! One machine is user-mode Linux, which is a program, and has its network by a tap device; the
//! other one is QEMU with a kernel of Debian's, whose network card takes modules. Those are files, and
//! there is no kernel of Debian's that has the driver of any card in it.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::Signal;

use super::{console, image, kernel};
use crate::demo::roster::Roster;
use crate::endpoint::Endpoint;
use crate::log::Log;
use crate::network::Network;
use crate::pid1::words::{self, exited, said};
use crate::process::Process;
use crate::step::{self, Outcome};
use crate::story::load::{Knocks, Load, Slow, ask};
use crate::story::{self, Figures, Row};
use crate::workspace::Workspace;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Machine {
    Uml,
    Qemu,
}

impl Machine {
    /// What it is, and the version of its kernel.
    fn label(self, kernel: &Path) -> Result<String> {
        Ok(match self {
            Self::Uml => {
                let version = step::output(Command::new(UML).arg("--version"))?;
                format!("user-mode Linux {}", version.trim_end())
            }
            Self::Qemu => format!("QEMU, Linux {}", kernel::release(kernel)?),
        })
    }
}

const KERNEL: kernel::Source = kernel::Source::new("bookworm", "linux-image-cloud-amd64");

const QEMU: &str = "qemu-system-x86_64";
const UML: &str = "linux.uml";
const UMID: &str = "gracenet";

/// What its network card takes, in this order.
const MODULES: [&str; 8] = [
    "virtio_ring.ko",
    "virtio.ko",
    "virtio_pci_modern_dev.ko",
    "virtio_pci_legacy_dev.ko",
    "virtio_pci.ko",
    "failover.ko",
    "net_failover.ko",
    "virtio_net.ko",
];

/// What user-mode Linux has its network by.
const TAP: &str = "ip tuntap add tap0 mode tap
ip addr add 10.0.2.1/24 dev tap0
ip link set tap0 up";

/// Where the daemon is, and who sends signals, by the names of the machine itself.
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const HTTP: u16 = 8080;
const SIGNALS: u16 = 9;

const TIMES: u32 = 10;

/// What a kernel says last of all, and a machine that panics does not.
const RESTARTING: &str = "reboot: Restarting system";

/// How long anything may take once the machine is up, and how long until it is up again.
const PATIENCE: Duration = Duration::from_secs(30);
const BOOT: Duration = Duration::from_secs(60);

/// Tells the story; fails if it ends otherwise.
pub(crate) fn run(workspace: &Workspace, machine: Machine, limit: Duration) -> Result<Outcome> {
    if let Err(outcome) = step::by_root()? {
        return Ok(outcome);
    }
    match machine {
        Machine::Uml => {
            if let Err(outcome) = workspace.set_up("ci/setup-containers", &[])? {
                return Ok(outcome);
            }
        }
        Machine::Qemu => {
            for program in [QEMU, "tar"] {
                if step::find(program).is_none() {
                    bail!("{program} is missing; ci/setup-vm installs it");
                }
            }
        }
    }
    let init = workspace.build_release("gracenet-appliance", "appliance")?;
    let mut files = vec![("init", init)];
    let mut kernel = PathBuf::new();
    if machine == Machine::Qemu {
        let Some(found) = kernel::find_with(workspace, "amd64", &[KERNEL], &MODULES)? else {
            return Ok(Outcome::Undelivered("a kernel".to_owned()));
        };
        files.extend(MODULES.map(|name| (name, found.with_file_name(name))));
        kernel = found;
    }
    let sse = workspace.build_release("gracenet-test-programs", "sse")?;
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let image = folder.path().join("image");
    let named: Vec<(&str, &Path)> = files.iter().map(|(name, path)| (*name, &**path)).collect();
    image::write(&named, &image)?;
    println!("{}", machine.label(&kernel)?);
    let tell = || -> Result<Vec<Row>> {
        let network = Network::new(if machine == Machine::Uml { TAP } else { "" })?;
        network.enter()?;
        let command = match machine {
            Machine::Uml => {
                let linux = step::find(UML).context(UML)?;
                uml(&sse, &linux, folder.path(), &image)
            }
            Machine::Qemu => qemu(&kernel, &image),
        };
        let begun = Instant::now();
        let mut guest = Guest::boot(machine, command, &network, begun + limit)?;
        guest.console =
            (machine == Machine::Uml).then(|| folder.path().join(UMID).join("mconsole"));
        Ok(guest.tell(begun.elapsed(), files.len()))
    };
    // A thread of its own: this one's network stays what it is.
    let rows = thread::scope(|scope| scope.spawn(tell).join());
    let rows = rows.map_err(|_| anyhow!("a story panicked"))??;
    ensure!(story::report(&rows), "a story ends otherwise");
    Ok(Outcome::Done)
}

/// PID 1's words, which come last of the kernel's. The kernel keeps to itself what comes behind
/// another `--`.
fn words(modules: &[&str]) -> Vec<String> {
    const OPTIONS: [&str; 5] = ["--", "--socket", "web=tcp::8080", "--ready", "channel"];
    let mut words: Vec<String> = OPTIONS.map(str::to_owned).into();
    words.extend(["/init", "httpd"].map(str::to_owned));
    words.extend(modules.iter().map(|name| format!("/{name}")));
    words.push(format!("{GUEST}/24"));
    words.extend(["tcp", ":8080"].map(str::to_owned));
    words
}

fn uml(sse: &Path, linux: &Path, folder: &Path, image: &Path) -> Command {
    let option = |name: &str, value: &Path| {
        let mut option = OsString::from(name);
        option.push(value);
        option
    };
    let mut command = Command::new(sse);
    command.arg(linux);
    command
        .arg(option("initrd=", image))
        .arg(option("uml_dir=", folder));
    // Without these two it adds them, behind the words of PID 1.
    command.args(["root=/dev/ram0", "console=tty0"]);
    command.arg(format!("umid={UMID}"));
    command.args(["mem=64M", "panic=-1", "quiet"]);
    command.args(["con=null", "con0=null,fd:2", "con1=fd:0,fd:1", "ssl=null"]);
    command.arg("eth0=tuntap,tap0").args(words(&[]));
    command.env("TMPDIR", folder);
    command
}

fn qemu(kernel: &Path, image: &Path) -> Command {
    let mut command = Command::new(QEMU);
    command.args(["-M", "q35", "-accel", "tcg", "-cpu", "max"]);
    command.args(["-m", "256", "-smp", "1"]);
    command.args(["-nodefaults", "-no-user-config", "-display", "none"]);
    command.args(["-serial", "stdio"]);
    command.args(["-device", "virtio-net-pci,romfile=,netdev=n0"]);
    let forward = |port: u16| format!("hostfwd=tcp:127.0.0.1:{port}-:{port}");
    command.arg("-netdev").arg(format!(
        "user,id=n0,restrict=on,{},{}",
        forward(HTTP),
        forward(SIGNALS)
    ));
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(image);
    let words = words(&MODULES).join(" ");
    command.arg("-append");
    command.arg(format!("console=ttyS0 panic=-1 quiet {words}"));
    command
}

type Story<'a> = fn(&mut Guest<'a>) -> Result<Figures>;

/// A machine that runs; it is ended when it is dropped.
struct Guest<'a> {
    child: Child,
    network: &'a Network,
    log: Arc<Log>,
    host: Ipv4Addr,
    /// Of user-mode Linux: where it can be told what others are by keys.
    console: Option<PathBuf>,
}

impl<'a> Guest<'a> {
    /// Waits until the daemon serves.
    fn boot(
        machine: Machine,
        mut command: Command,
        network: &'a Network,
        deadline: Instant,
    ) -> Result<Self> {
        let (pipe, other_end) = io::pipe()?;
        command
            .stdin(Stdio::null())
            .stdout(other_end.try_clone()?)
            .stderr(other_end);
        eprintln!("$ {}", step::line(&command));
        let child = command.spawn().with_context(|| step::line(&command))?;
        drop(command);
        let guest = Self {
            child,
            network,
            log: Log::read(pipe),
            host: match machine {
                Machine::Uml => GUEST,
                Machine::Qemu => Ipv4Addr::LOCALHOST,
            },
            console: None,
        };
        let ready = guest.log.find(0, deadline, |line| said(line, words::READY));
        if ready.is_none() {
            bail!("the program did not become ready:\n{}", guest.log.tail());
        }
        Ok(guest)
    }

    /// Each story goes on where the last one has ended.
    fn tell(mut self, booted: Duration, files: usize) -> Vec<Row> {
        let mut rows = Vec::new();
        let stories: [(&str, Story<'a>); 7] = [
            ("it serves", Self::serves),
            ("replaced in place ten times", Self::in_place),
            ("ten new programs", Self::new_programs),
            ("the program crashes", Self::crash),
            ("started anew", Self::reboot),
            ("Ctrl-Alt-Del", Self::ctrl_alt_del),
            ("switched off", Self::power_off),
        ];
        // Whose keyboard there is.
        let has_keys = self.console.is_some();
        let stories = stories.into_iter();
        for (story, tell) in stories.filter(|(story, _)| has_keys || *story != "Ctrl-Alt-Del") {
            let mut outcome = tell(&mut self);
            if let (Ok(figures), true) = (&mut outcome, rows.is_empty()) {
                let seconds = booted.as_secs_f64();
                let files = match files {
                    1 => "one file".to_owned(),
                    _ => format!("{files} files"),
                };
                figures.remark = format!("{seconds:.1} s after the start, {files}");
            }
            let failed = outcome.is_err();
            rows.push(Row {
                story: story.to_owned(),
                outcome,
                log: self.log.tail(),
            });
            if failed {
                break;
            }
        }
        rows
    }

    fn http(&self) -> Endpoint {
        Endpoint::Tcp(SocketAddr::from((self.host, HTTP)))
    }

    /// Has a signal sent to a process of the machine.
    fn signal(&self, signal: Signal, pid: u32) -> Result<()> {
        let address = SocketAddr::from((self.host, SIGNALS));
        let mut connection = TcpStream::connect_timeout(&address, PATIENCE)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        // At once: it is read once.
        let words = format!("{} {pid}", signal.as_raw());
        connection.write_all(words.as_bytes())?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        ensure!(answer == "0", "kill({pid}, {signal:?}): {answer}");
        Ok(())
    }

    /// What PID 1 says behind these words, in a line from the mark on.
    fn until(&self, mark: usize, words: &str) -> Result<String> {
        self.until_line(mark, PATIENCE, words, |line| said(line, words))
    }

    fn until_line(
        &self,
        mark: usize,
        patience: Duration,
        awaited: &str,
        pick: impl Fn(&str) -> Option<&str>,
    ) -> Result<String> {
        let found = self.log.find(mark, Instant::now() + patience, pick);
        found.with_context(|| format!("no line with {awaited:?}"))
    }

    fn serves(&mut self) -> Result<Figures> {
        ask(&self.http())?;
        Ok(Figures {
            requests: 1,
            ..Figures::default()
        })
    }

    fn in_place(&mut self) -> Result<Figures> {
        let first = ask(&self.http())?;
        let load = Load::start([self.http(), self.http()], Roster::by_pid(&first))?;
        let mut longest = Duration::ZERO;
        for generation in 1..=TIMES {
            let begun = Instant::now();
            self.signal(Signal::USR2, 1)?;
            self.until(0, &format!("{}{generation}", words::TAKEN_OVER))?;
            longest = longest.max(begun.elapsed());
            load.goes_on()?;
        }
        load.end(format!("longest {} ms", longest.as_millis()))
    }

    fn new_programs(&mut self) -> Result<Figures> {
        let first = ask(&self.http())?;
        let load = Load::start([self.http(), self.http()], Roster::by_pid(&first))?;
        let (mut current, mut longest) = (first.pid, Duration::ZERO);
        for generation in 1..=TIMES {
            load.roster.signalled(generation);
            let (mark, begun) = (self.log.mark(), Instant::now());
            self.signal(Signal::HUP, 1)?;
            let next = self.until(mark, words::READY)?.parse()?;
            longest = longest.max(begun.elapsed());
            self.until(mark, &exited(current, 0))?;
            load.roster.ended(usize::try_from(generation - 1)?);
            let answer = ask(&self.http())?;
            ensure!(answer.pid == next, "{next} is ready: {answer}");
            load.goes_on()?;
            current = next;
        }
        load.end(format!("longest {} ms", longest.as_millis()))
    }

    /// Whoever comes meanwhile waits.
    fn crash(&mut self) -> Result<Figures> {
        let first = ask(&self.http())?;
        let http = self.http();
        let knocks = thread::scope(|scope| {
            let client = scope.spawn(|| Knocks::until_not(&http, first.pid));
            let signalled = self.signal(Signal::KILL, first.pid);
            let knocks = client.join().map_err(|_| anyhow!("a client panicked"))?;
            signalled.and(knocks)
        })?;
        ensure!(knocks.refused == 0, "{knocks:?}");
        Ok(Figures {
            requests: knocks.answered + knocks.cut_off,
            failures: knocks.cut_off,
            remark: "none refused".to_owned(),
        })
    }

    /// Who has asked is answered before, and the machine is the same after: in QEMU the emulator goes on,
    /// and in user-mode Linux the kernel executes itself.
    fn reboot(&mut self) -> Result<Figures> {
        self.start_anew(|guest| guest.signal(Signal::INT, 1))
    }

    /// The kernel leaves to PID 1 what comes of it, as that one wants it.
    fn ctrl_alt_del(&mut self) -> Result<Figures> {
        self.start_anew(|guest| {
            let console = guest.console.as_ref().context("no console")?;
            console::tell(console, "cad")
        })
    }

    fn start_anew(&self, how: impl FnOnce(&Self) -> Result<()>) -> Result<Figures> {
        let slow = Slow::ask(SocketAddr::from((self.host, HTTP)))?;
        let (mark, begun) = (self.log.mark(), Instant::now());
        how(self)?;
        self.until(mark, words::TERMINATING)?;
        slow.wait()?;
        self.until_line(mark, PATIENCE, RESTARTING, |line| {
            line.ends_with(RESTARTING).then_some(line)
        })?;
        let mark = self.log.mark();
        self.until_line(mark, BOOT, words::READY, |line| said(line, words::READY))?;
        let seconds = begun.elapsed().as_secs_f64();
        let answer = ask(&self.http())?;
        ensure!(answer.generation == 0, "{answer}");
        Ok(Figures {
            requests: 2,
            failures: 0,
            remark: format!("serves again after {seconds:.1} s"),
        })
    }

    fn power_off(&mut self) -> Result<Figures> {
        let begun = Instant::now();
        self.signal(Signal::TERM, 1)?;
        let process = Process::open(self.child.id())?;
        let ended = process.wait_for_end(begun + PATIENCE)?;
        ensure!(ended, "it stays on");
        let status = self.child.wait()?;
        ensure!(status.success(), "it ends otherwise: {status}");
        let mut remark = format!("after {} ms", begun.elapsed().as_millis());
        // User-mode Linux has a process of the host for each one of its own, and at times loses one
        // that has ended: that is no matter of what runs in it. They are ended with the guest.
        let left = self.network.processes()?.len();
        if left > 0 {
            remark.push_str(&format!("; {left} of the kernel's own are left"));
        }
        Ok(Figures::remark(remark))
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // User-mode Linux is several of them.
        for pid in self.network.processes().unwrap_or_default() {
            if let Ok(process) = Process::open(pid) {
                let _ = process.signal(Signal::KILL);
            }
        }
    }
}
