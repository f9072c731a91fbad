//! The body of `/status`.
//!
//! It may be sent in pieces, between which what it says changes, so that it has to
//! be kept; and it is too long to be kept by each connection.

use gracenet_httpd::json::Json;
use gracenet_httpd::text::Text;
use rustix::fd::AsFd as _;

use crate::around::{Around, put_address};
use crate::sys::{self, Errno, Memory};

/// What the kernel keeps for us.
#[derive(Debug)]
pub(crate) struct Page(Memory);

impl Page {
    /// What there is to be said now, and its length.
    #[inline(never)]
    pub(crate) fn of(around: &Around<'_>) -> Result<(Page, u64), Errno> {
        let memory = Memory::new()?;
        let mut kept = Ok(());
        let mut keep = |piece: &[u8]| kept = kept.and_then(|()| memory.append(piece));
        let mut json = Json::new(&mut keep);
        let identity = &around.identity;
        json.member("{\"generation\":", identity.generation.into())
            .member(",\"pid\":", identity.pid.into())
            .member(",\"uptime_ms\":", around.now - around.started)
            .member(",\"connections\":", around.connections as u64)
            .plain(",\"draining\":")
            .plain(boolean(around.draining))
            .member(",\"restarts\":{\"done\":", identity.generation.into())
            .member(",\"failed\":", around.failed)
            .plain(",\"last_error\":");
        if around.last_error.is_empty() {
            json.plain("null");
        } else {
            json.string(around.last_error.as_bytes());
        }
        json.plain("},\"sockets\":[");
        let mut before = "{\"name\":";
        for (&listener, (network, asked)) in around.listeners.iter().zip(&around.options.listeners)
        {
            let Some(entry) = around.net.get(listener) else {
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
        kept.map(|()| (Page(memory), length))
    }

    /// How many bytes are there from this one on, up to as many as there is room for.
    pub(crate) fn read_at(&self, room: &mut [u8], offset: usize) -> Result<u32, Errno> {
        self.0.read_at(room, offset)
    }
}

fn boolean(it: bool) -> &'static str {
    if it { "true" } else { "false" }
}
