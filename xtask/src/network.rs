//! The networks of others.

use std::fs::File;
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// `enter_of(pid)` — moves this thread, and what it starts, into the network of a process.
pub(crate) fn enter_of(pid: &str) -> Result<()> {
    let network = File::open(format!("/proc/{pid}/ns/net"))?;
    let kind = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(network.as_fd(), kind).context("setns")
}
