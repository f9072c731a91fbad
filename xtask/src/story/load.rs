//! Clients that are there while something is done with the daemon.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::Figures;
use crate::answer::Answer;
use crate::demo::clients::Clients;
use crate::demo::roster::Roster;
use crate::demo::tally::{Failure, Tally};
use crate::endpoint::Endpoint;

const CLIENTS: u32 = 6;

/// How long a request, or two of each client, may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// One request on a new connection.
pub(crate) fn ask(endpoint: &Endpoint) -> Result<Answer> {
    let body = endpoint
        .get("/", PATIENCE)
        .with_context(|| format!("GET / over {endpoint}"))?;
    Answer::parse(&body).with_context(|| format!("answer {:?}", String::from_utf8_lossy(&body)))
}

/// A request that takes some time, on a connection that the daemon has answered before.
#[derive(Debug)]
pub(crate) struct Slow(TcpStream);

impl Slow {
    pub(crate) fn ask(address: SocketAddr) -> Result<Self> {
        let mut connection = TcpStream::connect_timeout(&address, PATIENCE)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        write!(connection, "GET / HTTP/1.1\r\nHost: slow\r\n\r\n")?;
        let length = connection.read(&mut [0; 1024])?;
        ensure!(length > 0, "closed before an answer");
        let close = "Connection: close\r\n\r\n";
        write!(
            connection,
            "GET /sleep/300 HTTP/1.1\r\nHost: slow\r\n{close}"
        )?;
        Ok(Self(connection))
    }

    /// Waits for the answer.
    pub(crate) fn wait(mut self) -> Result<()> {
        let mut answer = String::new();
        self.0.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
        Ok(())
    }
}

/// Clients that are there until it [ends](Load::end).
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) roster: Arc<Roster>,
    tally: Arc<Tally>,
    clients: Clients,
}

impl Load {
    /// `Load::start(endpoints, roster)` — clients of all kinds, from now on; each has been answered
    /// when this returns.
    pub(crate) fn start(endpoints: [Endpoint; 2], roster: Roster) -> Result<Self> {
        let roster = Arc::new(roster);
        let tally = Arc::new(Tally::default());
        let clients = Clients::start(CLIENTS, endpoints, &roster, &tally)?;
        tally.wait_for_each(CLIENTS, Instant::now() + PATIENCE)?;
        Ok(Self {
            roster,
            tally,
            clients,
        })
    }

    /// Waits until each client has been answered twice more, which were asked after the call.
    pub(crate) fn goes_on(&self) -> Result<()> {
        self.tally.wait_for_each(CLIENTS, Instant::now() + PATIENCE)
    }

    /// Waits until each client has been answered twice more, and ends them; fails if any
    /// request has failed.
    pub(crate) fn end(mut self, remark: String) -> Result<Figures> {
        let waited = self.goes_on();
        self.clients.stop()?;
        waited?;
        let examples = self.tally.examples();
        if !examples.is_empty() {
            bail!("requests failed:\n{}", examples.join("\n"));
        }
        Ok(Figures {
            requests: self.tally.requests(),
            failures: 0,
            remark,
        })
    }
}

/// One new connection after the other, of which none may be refused; what was being answered by
/// a process that is killed is lost with it.
#[derive(Debug, Default)]
pub(crate) struct Knocks {
    pub(crate) answered: u64,
    pub(crate) cut_off: u64,
    pub(crate) refused: u64,
    pub(crate) last: Option<Answer>,
}

impl Knocks {
    /// Knocks once.
    pub(crate) fn knock(&mut self, endpoint: &Endpoint) -> Result<()> {
        match endpoint.get("/", Duration::from_secs(10)) {
            Ok(body) => {
                self.answered += 1;
                self.last = Some(Answer::parse(&body).context("no answer of the daemon")?);
            }
            Err(error) if Failure::of_io(&error) == Failure::Refused => self.refused += 1,
            Err(error) if Failure::of_io(&error) == Failure::Reset => self.cut_off += 1,
            Err(error) => bail!("{error}"),
        }
        Ok(())
    }

    /// Knocks until somebody else answers than this process.
    pub(crate) fn until_not(endpoint: &Endpoint, pid: u32) -> Result<Knocks> {
        let deadline = Instant::now() + PATIENCE;
        let mut knocks = Knocks::default();
        while Instant::now() < deadline {
            knocks.knock(endpoint)?;
            if knocks.last.as_ref().is_some_and(|answer| answer.pid != pid) {
                return Ok(knocks);
            }
        }
        bail!("nobody else answers")
    }
}
