//! Servers that replace themselves: ours, and what else there is. All of them restart on SIGUSR2
//! and answer as the daemon does.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::answer::Answer;
use crate::daemon::PATIENCE;
use crate::endpoint::Endpoint;
use crate::process::Process;
use crate::step;
use crate::workspace::Workspace;

/// A server, built.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
}

/// One that could not be built: the text completes "not run: ".
#[derive(Debug, serde::Serialize)]
pub(crate) struct NotRun {
    pub(crate) name: &'static str,
    pub(crate) why: String,
}

/// The one that is ours.
pub(crate) const OURS: &str = "gracenet";
pub(crate) const TABLEFLIP: &str = "tableflip";
pub(crate) const LISTENFD: &str = "listenfd";
const NGINX: &str = "nginx";

const RUST: [&str; 3] = ["ecdysis", LISTENFD, "shellflip"];

/// The program, and the folder in which Debian puts the package that it imports.
const GO: [(&str, &str); 2] = [GRACE, (TABLEFLIP, "github.com/cloudflare/tableflip")];

pub(crate) const GRACE: (&str, &str) = ("grace", "github.com/facebookgo/grace");

/// Where Debian's Go packages are.
const GO_SOURCES: &str = "/usr/share/gocode";

/// Builds them all; ours is the first.
pub(crate) fn build(workspace: &Workspace) -> Result<(Vec<Peer>, Vec<NotRun>)> {
    let ours = Peer {
        name: OURS,
        program: workspace.build_httpd()?,
    };
    let target = super::folder(workspace)?.join("peers");
    let sources = workspace.root.join("xtask/peers");
    let mut peers = vec![ours];
    let mut missing = Vec::new();
    let mut add = |name, built: Result<PathBuf, String>| match built {
        Ok(program) => peers.push(Peer { name, program }),
        Err(why) => missing.push(NotRun { name, why }),
    };
    for (name, package) in GO {
        add(name, build_go(&sources.join("go"), &target, name, package));
    }
    let rust = build_rust(workspace, &sources.join("rust"), &target);
    for name in RUST {
        let folder = rust.as_ref().map_err(Clone::clone);
        add(name, folder.map(|folder| folder.join(name)));
    }
    add(NGINX, find(NGINX));
    Ok((peers, missing))
}

/// Names are looked for where daemons are, too.
fn find(name: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path).collect();
    folders.push("/usr/sbin".into());
    let found = folders.iter().map(|folder| folder.join(name));
    found
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| format!("{name} is missing; ci/setup-bench installs it"))
}

/// `build_go(sources, target, name, package)` — the program of that name, which imports a package
/// of Debian's; or why there is none.
pub(crate) fn build_go(
    sources: &Path,
    target: &Path,
    name: &str,
    package: &str,
) -> Result<PathBuf, String> {
    let go = find("go")?;
    if !Path::new(GO_SOURCES).join("src").join(package).is_dir() {
        return Err(format!("{package} is missing; ci/setup-bench installs it"));
    }
    let program = target.join(name);
    let mut command = Command::new(go);
    command
        .args(["build", "-o"])
        .arg(&program)
        .arg("main.go")
        .current_dir(sources.join(name))
        .env("GO111MODULE", "off")
        .env("GOPATH", GO_SOURCES)
        .env("GOCACHE", target.join("go-cache"));
    step::run(&mut command).map_err(|why| format!("{why:#}"))?;
    Ok(program)
}

fn build_rust(workspace: &Workspace, sources: &Path, target: &Path) -> Result<PathBuf, String> {
    let mut command = workspace.cargo(["build", "--quiet", "--release", "--locked"]);
    command.current_dir(sources).env("CARGO_TARGET_DIR", target);
    step::run(&mut command).map_err(|why| format!("{why:#}"))?;
    Ok(target.join("release"))
}

/// A server under way, with the process that is to be signalled.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) endpoint: Endpoint,
    /// Of the process that answers.
    pub(crate) answers: u32,
    pub(crate) process: Process,
    /// nginx alone: what says who its master is.
    pid_file: Option<PathBuf>,
    log: PathBuf,
}

impl Server {
    /// Starts it, behind the words of another command line where there are some, and waits for an
    /// answer.
    pub(crate) fn start(peer: &Peer, before: &[&std::ffi::OsStr], folder: &Path) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
        let address = listener.local_addr()?;
        drop(listener);
        let folder = folder.join(peer.name);
        fs::create_dir_all(&folder)?;
        let log = folder.join("log");
        let mut words = before
            .iter()
            .map(std::ffi::OsString::from)
            .collect::<Vec<_>>();
        words.push(peer.program.clone().into());
        let mut pid_file = None;
        match peer.name {
            OURS => words.extend(["tcp".into(), address.to_string().into()]),
            NGINX => {
                let path = folder.join("nginx.conf");
                fs::write(&path, nginx(address, &folder))?;
                words.extend(["-c".into(), path.into()]);
                pid_file = Some(folder.join("pid"));
            }
            _ => words.push(address.to_string().into()),
        }
        Command::new(&words[0])
            .args(&words[1..])
            .env_clear()
            .envs([("PATH", "/usr/bin:/bin"), ("LANG", "C.UTF-8")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {}", peer.name))?;
        let endpoint = Endpoint::Tcp(address);
        let answers =
            first_answer(&endpoint).with_context(|| format!("{}: {}", peer.name, tail(&log)))?;
        let pid = match &pid_file {
            Some(path) => read_pid(path)?,
            None => answers,
        };
        Ok(Self {
            endpoint,
            answers,
            process: Process::open(pid)?,
            pid_file,
            log,
        })
    }

    /// Asks for a restart.
    pub(crate) fn restart(&self) -> Result<()> {
        self.process.signal(Signal::USR2)
    }

    /// `server.replaced_by(pid)` — once another process answers: ends the old one where it does not
    /// by itself, and waits for its end.
    pub(crate) fn replaced_by(&mut self, answers: u32) -> Result<()> {
        let mut pid = answers;
        if let Some(path) = &self.pid_file {
            pid = read_pid(path)?;
            self.process.signal(Signal::QUIT)?;
        }
        let new = Process::open(pid)?;
        let mut old = std::mem::replace(&mut self.process, new);
        self.answers = answers;
        if !old.wait_for_end(Instant::now() + PATIENCE)? {
            bail!("process {} does not end: {}", old.pid, tail(&self.log));
        }
        // With which status is its own matter.
        let _ = old.expect_exit_0(Instant::now() + PATIENCE);
        Ok(())
    }
}

/// One that waits for its start.
pub(crate) fn first_answer(endpoint: &Endpoint) -> Result<u32> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let why = match endpoint.get("/", PATIENCE) {
            Ok(body) => {
                let answer = Answer::parse(&body);
                return Ok(answer.context("not the answer that was expected")?.pid);
            }
            Err(why) => why,
        };
        if Instant::now() > deadline {
            bail!("no answer: {why}");
        }
        // It says nowhere when it listens.
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn read_pid(path: &Path) -> Result<u32> {
    let text = fs::read_to_string(path).with_context(|| format!("no {}", path.display()))?;
    text.trim().parse().context("no pid")
}

fn tail(log: &Path) -> String {
    fs::read_to_string(log).unwrap_or_default()
}

fn nginx(address: SocketAddr, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {address};
        location / {{ return 200 \"pid=$pid generation=0 tag=nginx\\n\"; }}
    }}
}}
"
    )
}
