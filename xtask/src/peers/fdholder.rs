//! s6-fdholder-daemon as the one who keeps the sockets.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::Signal;

use super::builds::Builds;
use super::{NAMES, expect_names};
use crate::answer::Answer;
use crate::daemon::{PATIENCE, deploy};
use crate::endpoint::Endpoint;
use crate::log::Log;
use crate::process::Process;
use crate::step;
use crate::story::Figures;

const CRASHES: u64 = 5;

/// Those who come while nobody runs wait for the next process, which gets the sockets by their
/// names.
pub(crate) fn killed(builds: &Builds) -> Result<Figures> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let place = folder.path().join("gracenet-httpd");
    deploy(&builds.daemon, &place)?;
    let holder = Holder::start(folder.path())?;
    let tcp = TcpListener::bind("127.0.0.1:0").context("no port")?;
    let path = folder.path().join("socket");
    let unix = UnixListener::bind(&path).context("no socket")?;
    let endpoints = [Endpoint::Tcp(tcp.local_addr()?), Endpoint::Unix(path)];
    holder.store(NAMES[0], tcp)?;
    holder.store(NAMES[1], unix)?;

    let mut requests = 0;
    for _ in 0..CRASHES {
        let deadline = Instant::now() + PATIENCE;
        // There is nobody but the holder.
        knock(&endpoints)?;
        let mut first = thread::scope(|scope| -> Result<Started> {
            let client = |endpoint| scope.spawn(move || ask(endpoint));
            let clients = endpoints.each_ref().map(client);
            let first = holder.run(builds, &place, &endpoints)?;
            for client in clients {
                let answer = client.join().map_err(|_| anyhow!("a client panicked"))??;
                ensure!(answer.pid == first.process.pid, "{answer}");
            }
            Ok(first)
        })?;
        expect_names(&endpoints)?;

        // Its successor has them under the same names.
        first.process.signal(Signal::USR2)?;
        let ended = first.process.expect_exit_0(deadline);
        ended.with_context(|| first.log.tail())?;
        expect_names(&endpoints)?;
        let answer = ask(&endpoints[0])?;
        ensure!(answer.generation == 1, "{answer}");
        requests += 5;

        let successor = Process::open(answer.pid)?;
        successor.signal(Signal::KILL)?;
        ensure!(successor.wait_for_end(deadline)?, "it does not end");
    }
    holder.end()?;
    Ok(Figures {
        requests,
        failures: 0,
        remark: format!("{CRASHES} times; asked while nobody ran"),
    })
}

/// Fails unless one can connect to both.
fn knock(endpoints: &[Endpoint; 2]) -> Result<()> {
    for endpoint in endpoints {
        let connected = match endpoint {
            Endpoint::Tcp(address) => TcpStream::connect(address).map(drop),
            Endpoint::Unix(path) => UnixStream::connect(path).map(drop),
        };
        connected.with_context(|| format!("nobody has the {endpoint} socket"))?;
    }
    Ok(())
}

fn ask(endpoint: &Endpoint) -> Result<Answer> {
    let body = endpoint
        .get("/", PATIENCE)
        .with_context(|| format!("GET / over {endpoint}"))?;
    Answer::parse(&body).context("no answer")
}

/// The holder under way.
#[derive(Debug)]
struct Holder {
    socket: PathBuf,
    process: Process,
}

/// A daemon that was started by `xtask/peers/fdholder/run`.
#[derive(Debug)]
struct Started {
    process: Process,
    log: Arc<Log>,
}

impl Holder {
    fn start(folder: &Path) -> Result<Self> {
        // Nobody may do anything unless it is said.
        let uid = rustix::process::geteuid();
        let rules = folder.join("rules");
        let own = rules.join(format!("uid/{uid}"));
        fs::create_dir_all(own.join("env"))?;
        fs::write(own.join("allow"), "")?;
        for name in ["STORE", "RETRIEVE"] {
            let place = own.join(format!("env/S6_FDHOLDER_{name}_REGEX"));
            fs::write(place, "^(web|admin)$\n")?;
        }
        let socket = folder.join("holder");
        let mut child = Command::new("s6-fdholder-daemon")
            .args(["-1", "-i"])
            .arg(&rules)
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("s6-fdholder-daemon")?;
        let stdout = child.stdout.take().context("no stdout")?;
        // An empty line, when it listens.
        let ready = Log::read(stdout).wait_for("", Instant::now() + PATIENCE);
        ensure!(ready, "s6-fdholder-daemon does not become ready");
        let process = Process::open(child.id())?;
        Ok(Self { socket, process })
    }

    /// It gets a copy, and ours is closed.
    fn store(&self, name: &str, socket: impl Into<OwnedFd>) -> Result<()> {
        let mut command = Command::new("s6-fdholder-store");
        command.arg(&self.socket).arg(name);
        command.stdin(Stdio::from(socket.into()));
        step::run(&mut command)
    }

    /// Starts the daemon with what is stored.
    fn run(&self, builds: &Builds, place: &Path, endpoints: &[Endpoint; 2]) -> Result<Started> {
        let (pipe, other_end) = std::io::pipe()?;
        let log = Log::read(pipe);
        let mut command = Command::new(&builds.run);
        command.arg(&self.socket).arg(place);
        for endpoint in endpoints {
            command.args([endpoint.to_string(), endpoint.address()]);
        }
        let child = command
            .env_remove("LISTEN_FDS")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(other_end)
            .spawn()
            .context("cannot start the daemon")?;
        drop(command);
        let ready = log.wait_for(": ready", Instant::now() + PATIENCE);
        ensure!(ready, "the daemon does not become ready:\n{}", log.tail());
        Ok(Started {
            process: Process::open(child.id())?,
            log,
        })
    }

    fn end(self) -> Result<()> {
        self.process.signal(Signal::TERM)?;
        let ended = self.process.wait_for_end(Instant::now() + PATIENCE)?;
        ensure!(ended, "s6-fdholder-daemon does not end");
        Ok(())
    }
}
