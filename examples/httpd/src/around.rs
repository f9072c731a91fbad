//! What connections are told about everything else.

use gracenet::{Handle, NetView};
use gracenet_httpd::args::Options;
use gracenet_httpd::http::Identity;
use gracenet_httpd::text::Text;

/// How much is read at a time.
pub(crate) const SCRATCH: usize = 4096;

/// What a connection is to be told.
#[derive(Debug)]
pub(crate) struct Around<'a> {
    /// CLOCK_MONOTONIC in milliseconds.
    pub(crate) now: u64,
    /// When it was that at the start.
    pub(crate) started: u64,
    /// Answers are to be the last ones.
    pub(crate) draining: bool,
    /// Who answers.
    pub(crate) identity: Identity<'a>,
    /// Room for what is read, of use only while it is being read.
    pub(crate) scratch: &'a mut [u8; SCRATCH],
    pub(crate) options: &'a Options<'a>,
    pub(crate) net: &'a mut NetView,
    /// In the order of the options.
    pub(crate) listeners: &'a [Handle],
    /// How many connections there are.
    pub(crate) connections: usize,
    /// How often no successor has come of a restart.
    pub(crate) failed: u64,
    /// Why the last time.
    pub(crate) last_error: &'a mut Text,
}

/// Where somebody listens, as it was asked for, but for the port: for port 0 only
/// the kernel knows which.
#[inline(never)]
pub(crate) fn put_address(port: Option<u16>, asked: &[u8], line: &mut Text) {
    let Some(port) = port else {
        line.push(asked);
        return;
    };
    let written = asked.iter().rev().take_while(|&&byte| byte != b':').count();
    line.push(asked.get(..asked.len() - written).unwrap_or_default());
    line.number(port.into());
}
