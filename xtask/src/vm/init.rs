//! `gracenet-init` as /init of a machine, in front of the daemon: it serves, is replaced in place
//! under load, sees its program crash, and switches the machine off.
//!
//! One machine is user-mode Linux, which is a program, and has its network by a tap device; the
//! other one is QEMU with a kernel of Debian's, whose network card takes modules.

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

use super::{image, kernel};
use crate::demo::roster::Roster;
use crate::endpoint::Endpoint;
use crate::log::Log;
use crate::network::Network;
use crate::pid1::words::{self, said};
use crate::process::Process;
use crate::step::{self, Outcome};
use crate::story::load::{Knocks, Load, ask};
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
                let version = step::output(Command::new("linux.uml").arg("--version"))?;
                format!("user-mode Linux {}", version.trim_end())
            }
            Self::Qemu => format!("QEMU, Linux {}", kernel::release(kernel)?),
        })
    }
}

const KERNEL: kernel::Source = kernel::Source::new("bookworm", "linux-image-cloud-amd64");

const QEMU: &str = "qemu-system-x86_64";

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

/// How long anything may take once the machine is up.
const PATIENCE: Duration = Duration::from_secs(30);

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
    let init = workspace.build_release("gracenet-init", "gracenet-init")?;
    let wire = workspace.build_release("gracenet-test-programs", "wire")?;
    let mut files = vec![
        ("init", init),
        ("wire", wire),
        ("gracenet-httpd", workspace.build_httpd()?),
    ];
    let mut kernel = PathBuf::new();
    if machine == Machine::Qemu {
        let Some(found) = kernel::find_with(workspace, "amd64", &[KERNEL], &MODULES)? else {
            return Ok(Outcome::Undelivered("a kernel".to_owned()));
        };
        files.extend(MODULES.map(|name| (name, found.with_file_name(name))));
        kernel = found;
    }
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let image = folder.path().join("image");
    let named: Vec<(&str, &Path)> = files.iter().map(|(name, path)| (*name, &**path)).collect();
    image::write(&named, &image)?;
    println!("{}", machine.label(&kernel)?);
    let tell = || -> Result<Vec<Row>> {
        let network = Network::new(if machine == Machine::Uml { TAP } else { "" })?;
        network.enter()?;
        let command = command(machine, folder.path(), &kernel, &image);
        let begun = Instant::now();
        let guest = Guest::boot(machine, command, &network, begun + limit)?;
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
fn words(machine: Machine) -> Vec<String> {
    let mut words: Vec<String> = [
        "--",
        "--socket",
        "web=tcp::8080",
        "--ready",
        "channel",
        "/wire",
    ]
    .map(str::to_owned)
    .into();
    if machine == Machine::Qemu {
        words.extend(MODULES.map(|name| format!("/{name}")));
    }
    words.push(format!("{GUEST}/24"));
    words.extend(["/gracenet-httpd", "tcp", ":8080"].map(str::to_owned));
    words
}

fn command(machine: Machine, folder: &Path, kernel: &Path, image: &Path) -> Command {
    let option = |name: &str, value: &Path| {
        let mut option = OsString::from(name);
        option.push(value);
        option
    };
    let mut command;
    match machine {
        Machine::Uml => {
            command = Command::new("linux.uml");
            command
                .arg(option("initrd=", image))
                .arg(option("uml_dir=", folder));
            // Without these two it adds them, behind the words of PID 1.
            command.args([
                "umid=gracenet",
                "mem=64M",
                "root=/dev/ram0",
                "console=tty0",
                "panic=-1",
                "quiet",
            ]);
            command.args(["con=null", "con0=null,fd:2", "con1=fd:0,fd:1", "ssl=null"]);
            command.arg("eth0=tuntap,tap0").args(words(machine));
            command.env("TMPDIR", folder);
        }
        Machine::Qemu => {
            command = Command::new(QEMU);
            command.args([
                "-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", "256", "-smp", "1",
            ]);
            command.args([
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-no-reboot",
            ]);
            command.args([
                "-serial",
                "stdio",
                "-device",
                "virtio-net-pci,romfile=,netdev=n0",
            ]);
            let forward = |port: u16| format!("hostfwd=tcp:127.0.0.1:{port}-:{port}");
            command.arg("-netdev").arg(format!(
                "user,id=n0,restrict=on,{},{}",
                forward(HTTP),
                forward(SIGNALS)
            ));
            command.arg("-kernel").arg(kernel).arg("-initrd").arg(image);
            command.arg("-append");
            command.arg(format!(
                "console=ttyS0 panic=-1 quiet {}",
                words(machine).join(" ")
            ));
        }
    }
    command
}

type Story<'a> = fn(&mut Guest<'a>) -> Result<Figures>;

/// A machine that runs; it is ended when it is dropped.
struct Guest<'a> {
    child: Child,
    network: &'a Network,
    log: Arc<Log>,
    host: Ipv4Addr,
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
        let stories: [(&str, Story<'a>); 4] = [
            ("it serves", Self::serves),
            ("replaced in place ten times", Self::in_place),
            ("the program crashes", Self::crash),
            ("switched off", Self::power_off),
        ];
        for (story, tell) in stories {
            let mut outcome = tell(&mut self);
            if let (Ok(figures), true) = (&mut outcome, rows.is_empty()) {
                let seconds = booted.as_secs_f64();
                figures.remark = format!("{seconds:.1} s after the start, {files} files");
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
        write!(connection, "{} {pid}", signal.as_raw())?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        ensure!(answer == "0", "kill({pid}, {signal:?}): {answer}");
        Ok(())
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
            let words = format!("{}{generation}", words::TAKEN_OVER);
            let taken = self
                .log
                .find(0, begun + PATIENCE, |line| said(line, &words));
            ensure!(taken.is_some(), "it never says {words:?}");
            longest = longest.max(begun.elapsed());
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

    fn power_off(&mut self) -> Result<Figures> {
        let begun = Instant::now();
        self.signal(Signal::TERM, 1)?;
        let process = Process::open(self.child.id())?;
        let ended = process.wait_for_end(begun + PATIENCE)?;
        ensure!(ended, "it stays on");
        let status = self.child.wait()?;
        ensure!(status.success(), "it ends otherwise: {status}");
        let left = self.network.processes()?;
        ensure!(left.is_empty(), "processes are left: {left:?}");
        Ok(Figures::remark(format!(
            "after {} ms",
            begun.elapsed().as_millis()
        )))
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
