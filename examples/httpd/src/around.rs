//! What connections are told about everything else, and the page that tells it to
//! clients: `/status`.

use gracenet::{Handle, NetView};
use gracenet_httpd::args::Options;
use gracenet_httpd::http::Identity;
use gracenet_httpd::json::Json;
use gracenet_httpd::text::Text;

use rustix::fd::AsFd as _;

use crate::sys::{self, Errno, Memory};

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
    pub(crate) last_error: Text,
}

impl Around<'_> {
    /// The body of `/status` as things are now, and its length. It may be sent in
    /// pieces, between which they change, so that it has to be kept; and it is too
    /// long to be kept by each connection.
    #[inline(never)]
    pub(crate) fn page(&self) -> Result<(Memory, u64), Errno> {
        let memory = Memory::new()?;
        let mut kept = Ok(());
        let mut keep = |piece: &[u8]| kept = kept.and_then(|()| memory.append(piece));
        let mut json = Json::new(&mut keep);
        let identity = &self.identity;
        json.member("{\"generation\":", identity.generation.into())
            .member(",\"pid\":", identity.pid.into())
            .member(",\"uptime_ms\":", self.now - self.started)
            .member(",\"connections\":", self.connections as u64)
            .plain(",\"draining\":")
            .plain(boolean(self.draining))
            .member(",\"restarts\":{\"done\":", identity.generation.into())
            .member(",\"failed\":", self.failed)
            .plain(",\"last_error\":");
        if self.last_error.is_empty() {
            json.plain("null");
        } else {
            json.string(self.last_error.as_bytes());
        }
        json.plain("},\"sockets\":[");
        let mut before = "{\"name\":";
        for (&listener, (network, asked)) in self.listeners.iter().zip(&self.options.listeners) {
            let Some(entry) = self.net.get(listener) else {
                continue;
            };
            let mut address = Text::new();
            put_address(entry.local_port(), asked, &mut address);
            json.plain(before)
                .string(entry.name().as_bytes())
                .plain(",\"network\":")
                .string(network)
                .plain(",\"address\":")
                .string(address.as_bytes())
                .plain(",\"inherited\":")
                .plain(boolean(entry.is_inherited()))
                .plain(",\"accept_queue\":");
            if let Some((length, limit)) = sys::accept_queue(entry.as_fd()) {
                json.member("{\"length\":", length.into())
                    .member(",\"limit\":", limit.into())
                    .plain("}}");
            } else {
                json.plain("null}");
            }
            before = ",{\"name\":";
        }
        json.plain("]}\n");
        let length = json.end();
        kept.map(|()| (memory, length))
    }
}

fn boolean(it: bool) -> &'static str {
    if it { "true" } else { "false" }
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
