//! Networks that have nothing but what is put into them.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network of its own, which is gone when the last process in it is.
#[derive(Debug)]
pub(crate) struct Network {
    keeper: Child,
}

impl Network {
    /// `Network::new(commands)` — with `lo`, and what these lines for a shell put into it.
    pub(crate) fn new(commands: &str) -> Result<Self> {
        let script = format!("set -e\nip link set lo up\n{commands}\necho made\nexec cat");
        let mut keeper = Command::new("unshare");
        keeper
            .args(["--net", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let keeper = keeper.spawn().context("unshare")?;
        let mut network = Self { keeper };
        let output = network.keeper.stdout.take().context("no stdout")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line == "made\n", "a network cannot be made");
        Ok(network)
    }

    /// Moves this thread, and what it starts, into it.
    pub(crate) fn enter(&self) -> Result<()> {
        enter_of(&self.keeper.id().to_string())
    }

    /// Who is in it, beside the one that keeps it; threads of this process are not counted.
    pub(crate) fn processes(&self) -> Result<Vec<u32>> {
        let keeper = self.keeper.id();
        let of = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let network = of(keeper);
        let mut pids = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            if let Some(pid) = name.to_str().and_then(|name| name.parse().ok())
                && pid != keeper
                && of(pid) == network
            {
                pids.push(pid);
            }
        }
        Ok(pids)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// `enter_of(pid)` — moves this thread, and what it starts, into the network of a process.
pub(crate) fn enter_of(pid: &str) -> Result<()> {
    let network = File::open(format!("/proc/{pid}/ns/net"))?;
    let kind = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(network.as_fd(), kind).context("setns")
}
