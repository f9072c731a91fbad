//! A root tree, and the containers that are made of it one after the other.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use super::Programs;
use super::runtime::{Runtime, STORAGE, everybody};
use super::words::said;
use crate::daemon::deploy;
use crate::endpoint::Endpoint;
use crate::log::Log;
use crate::network::Network;
use crate::process::Process;
use crate::step;

/// How long a start, an end, or anything else may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Where programs are in a container.
pub(crate) const INIT: &str = "/gracenet-init";
pub(crate) const HTTPD: &str = "/gracenet-httpd";
pub(crate) const WARD: &str = "/ward";

/// What the daemon listens on.
pub(crate) const UNIX: &str = "/run/httpd.sock";

/// A root tree with the programs in it, and the network that its containers are in.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    runtime: Runtime,
    pub(crate) label: String,
    pub(crate) programs: &'a Programs,
    network: &'a Network,
    folder: TempDir,
    /// Of the last container.
    log: RefCell<Arc<Log>>,
}

impl<'a> Place<'a> {
    pub(crate) fn new(
        runtime: Runtime,
        programs: &'a Programs,
        network: &'a Network,
    ) -> Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        everybody(folder.path())?;
        let root = folder.path().join("root");
        // systemd-nspawn takes a tree with /usr for that of a system.
        for name in ["", "dev", "proc", "run", "sys", "tmp", "usr"] {
            fs::create_dir(root.join(name))?;
            everybody(&root.join(name))?;
        }
        for (program, path) in [
            (&programs.init, INIT),
            (&programs.httpd, HTTPD),
            (&programs.ward, WARD),
        ] {
            deploy(program, &beneath(&root, path))?;
        }
        runtime.prepare(folder.path())?;
        Ok(Self {
            runtime,
            label: runtime.label()?,
            programs,
            network,
            folder,
            log: RefCell::default(),
        })
    }

    /// Makes the tree what it was before the last container.
    pub(crate) fn clear(&self) -> Result<()> {
        let root = self.folder.path().join("root");
        deploy(&self.programs.init, &beneath(&root, INIT))?;
        deploy(&self.programs.httpd, &beneath(&root, HTTPD))?;
        match fs::remove_file(beneath(&root, UNIX)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The end of the last container's log.
    pub(crate) fn log(&self) -> String {
        self.log.borrow().tail()
    }

    /// `place.start(options, program, awaited)` — a container whose PID 1 has started this
    /// program, which has written a line with this in it.
    pub(crate) fn start(
        &self,
        options: &[&str],
        program: &[&str],
        awaited: &str,
    ) -> Result<Container<'_>> {
        let (child, log) = self.spawn(options, program)?;
        let mut container = Container {
            place: self,
            child,
            log,
            init: None,
            run: None,
        };
        let deadline = Instant::now() + PATIENCE;
        let line = container
            .log
            .find(0, deadline, |line| line.contains(awaited).then_some(line));
        ensure!(line.is_some(), "no line with {awaited:?}");
        let init = self.find_init()?;
        container.run = Some(File::open(format!("/proc/{}/root/run", init.pid))?);
        container.init = Some(init);
        Ok(container)
    }

    /// `place.run(options, program)` — the status of a container, whose program ends by itself.
    pub(crate) fn run(&self, options: &[&str], program: &[&str]) -> Result<i32> {
        let (child, log) = self.spawn(options, program)?;
        let container = Container {
            place: self,
            child,
            log,
            init: None,
            run: None,
        };
        container.wait()
    }

    fn spawn(&self, options: &[&str], program: &[&str]) -> Result<(Child, Arc<Log>)> {
        let init = match self.runtime {
            Runtime::OnHost => self.programs.init.to_str().context("no UTF-8")?,
            _ => INIT,
        };
        let words = [&[init], options, &["--"], program].concat();
        let mut command = self.runtime.command(self.folder.path(), &words)?;
        let (pipe, other_end) = io::pipe()?;
        let log = Log::read(pipe);
        *self.log.borrow_mut() = Arc::clone(&log);
        command
            .stdin(Stdio::null())
            .stdout(other_end.try_clone()?)
            .stderr(other_end);
        let child = command.spawn();
        let child = child.with_context(|| format!("cannot start {}", step::line(&command)))?;
        Ok((child, log))
    }

    /// Who is the first of a pid namespace, and in our network.
    fn find_init(&self) -> Result<Process> {
        for pid in self.network.processes()? {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            let pids: Vec<&str> = pids.unwrap_or_default().split_whitespace().collect();
            if pids.len() > 1 && pids.last() == Some(&"1") {
                return Process::open(pid);
            }
        }
        bail!("no PID 1 in the network");
    }

    /// Fails if a container has left a process, a mount, or a name.
    fn expect_nothing_left(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        for pid in self.network.processes()? {
            if let Ok(process) = Process::open(pid)
                && !process.wait_for_end(deadline)?
            {
                let name = fs::read_to_string(format!("/proc/{pid}/comm"))?;
                bail!("process {pid} is left, {}", name.trim_end());
            }
        }
        let folder = self.folder.path().to_str().context("no UTF-8")?;
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let of_container = |line: &&str| line.contains(folder) && !line.contains(STORAGE);
        if let Some(mount) = mounts.lines().find(of_container) {
            bail!("a mount is left: {mount}");
        }
        let containers = self.runtime.list(self.folder.path())?;
        ensure!(containers.is_empty(), "a container is left: {containers}");
        Ok(())
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(mut clean) = self.runtime.clean(self.folder.path()) {
            let _ = run(&mut clean);
        }
    }
}

/// One that runs; it is ended when it is dropped.
#[derive(Debug)]
pub(crate) struct Container<'a> {
    place: &'a Place<'a>,
    /// What has made it, and waits for its end.
    child: Child,
    pub(crate) log: Arc<Log>,
    init: Option<Process>,
    /// Its /run. While PID 1 executes a program, paths by way of its pid do not always lead anywhere.
    run: Option<File>,
}

impl Container<'_> {
    /// Its PID 1, as it is seen from here.
    pub(crate) fn init(&self) -> Result<&Process> {
        self.init.as_ref().context("no PID 1")
    }

    /// Where a path of its PID 1 is for us.
    pub(crate) fn path(&self, path: &str) -> Result<PathBuf> {
        Ok(format!("/proc/{}/root{path}", self.init()?.pid).into())
    }

    /// Both listeners of the daemon.
    pub(crate) fn endpoints(&self) -> Result<[Endpoint; 2]> {
        let tcp = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
        let run = self.run.as_ref().context("no /run")?.as_raw_fd();
        let unix = UNIX.replace("/run", &format!("/proc/self/fd/{run}"));
        Ok([Endpoint::Tcp(tcp), Endpoint::Unix(unix.into())])
    }

    /// Puts a program in the place of another.
    pub(crate) fn deploy(&self, program: &Path, place: &str) -> Result<()> {
        deploy(program, &self.path(place)?)
    }

    /// Sends PID 1 a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let folder = self.place.folder.path();
        match self.place.runtime.kill(folder, signal.as_raw()) {
            Some(mut kill) => run(&mut kill),
            None => self.init()?.signal(signal),
        }
    }

    /// The children of PID 1, dead ones among them, by their pids for us.
    pub(crate) fn children(&self) -> Result<Vec<u32>> {
        let pid = self.init()?.pid;
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let pids = children.split_whitespace().map(str::parse);
        pids.collect::<Result<_, _>>().context("no pid")
    }

    /// How many fds it has open.
    pub(crate) fn fds(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.init()?.pid))?.count())
    }

    /// `container.until(mark, words)` — what PID 1 says behind these words, in a line from the
    /// mark on.
    pub(crate) fn until(&self, mark: usize, words: &str) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        let found = self.log.find(mark, deadline, |line| said(line, words));
        found.with_context(|| format!("it never says {words:?}"))
    }

    /// As [`until`](Self::until), when it is a pid that is said.
    pub(crate) fn until_pid(&self, mark: usize, words: &str) -> Result<u32> {
        let pid = self.until(mark, words)?;
        pid.parse().with_context(|| format!("{words}{pid}"))
    }

    /// Stops it as one does with such a container, and [waits](Self::wait).
    pub(crate) fn stop(self) -> Result<i32> {
        match self.place.runtime.stop(self.place.folder.path()) {
            Some(mut stop) => run(&mut stop)?,
            None => self.init()?.signal(Signal::TERM)?,
        }
        self.wait()
    }

    /// Waits for its end: its status, as a shell would give it. Fails if anything is left of it.
    pub(crate) fn wait(mut self) -> Result<i32> {
        use std::os::unix::process::ExitStatusExt as _;
        let process = Process::open(self.child.id())?;
        let ended = process.wait_for_end(Instant::now() + PATIENCE)?;
        ensure!(ended, "it does not end");
        let status = self.child.wait()?;
        self.place.expect_nothing_left()?;
        let by_signal = status.signal().map(|signal| 128 + signal);
        status.code().or(by_signal).context("no status")
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let waited = self.child.try_wait();
        if matches!(waited, Ok(None)) {
            if let Some(init) = &self.init {
                let _ = init.signal(Signal::KILL);
            }
            let remove = self.place.runtime.remove(self.place.folder.path());
            let _ = remove.map(|mut remove| run(&mut remove));
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// `run(command)` — one that has something to say only when it fails.
fn run(command: &mut Command) -> Result<()> {
    step::output(command).map(drop)
}

fn beneath(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}
