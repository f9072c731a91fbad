//! The clients: new connections, keep-alive, and slow requests, over TCP and
//! over the unix socket. They hide nothing: there is no retry, and a connection
//! is opened again only after the server announced its end.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::timeout;

use super::roster::Roster;
use super::tally::{Failure, Tally};
use crate::endpoint::Endpoint;

/// All clients of a demo.
#[derive(Debug)]
pub(crate) struct Clients {
    runtime: Runtime,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// No answer for so long is a failure.
const LIMIT: Duration = Duration::from_secs(10);

/// A client ends by itself after so many requests.
const MOST_REQUESTS: u64 = 10_000_000;

/// How long the slow requests take: around the time between two restarts, and
/// several times as long.
const SLOW_MS: [u64; 6] = [30, 120, 5, 250, 60, 180];

impl Clients {
    /// `Clients::start(count, endpoints, roster, tally)` — clients of all kinds in
    /// turn, each to the endpoints in turn.
    pub(crate) fn start(
        count: u32,
        endpoints: [Endpoint; 2],
        roster: &Arc<Roster>,
        tally: &Arc<Tally>,
    ) -> Result<Self> {
        // One thread for the clients; the other processor is the daemon's.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("no runtime")?;
        let (stop, stopped) = watch::channel(false);
        let mut tasks = Vec::new();
        for (number, (kind, endpoint)) in (0..count).zip(kinds(endpoints).cycle()) {
            let client = Client {
                number,
                kind,
                endpoint,
                roster: Arc::clone(roster),
                tally: Arc::clone(tally),
                stopped: stopped.clone(),
            };
            tasks.push(runtime.spawn(client.run()));
        }
        Ok(Self {
            runtime,
            stop,
            tasks,
        })
    }

    /// Lets each client end the request that it is in, and waits for them.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.stop.send_replace(true);
        let tasks = std::mem::take(&mut self.tasks);
        self.runtime.block_on(async {
            for task in tasks {
                match timeout(LIMIT * 2, task).await {
                    Ok(ended) => ended.context("a client panicked")?,
                    Err(_) => bail!("a client did not end"),
                }
            }
            Ok(())
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A connection for each request.
    Fresh,
    /// One connection for as long as the server keeps it.
    KeepAlive,
    /// Requests that take a while; two on a connection.
    Slow,
}

fn kinds(endpoints: [Endpoint; 2]) -> impl Iterator<Item = (Kind, Endpoint)> + Clone {
    [Kind::Fresh, Kind::KeepAlive, Kind::Slow]
        .into_iter()
        .flat_map(move |kind| endpoints.clone().map(|endpoint| (kind, endpoint)))
}

/// One client.
#[derive(Debug)]
struct Client {
    number: u32,
    kind: Kind,
    endpoint: Endpoint,
    roster: Arc<Roster>,
    tally: Arc<Tally>,
    stopped: watch::Receiver<bool>,
}

type Problem = (Failure, String);

type Connection = SendRequest<Empty<Bytes>>;

impl Client {
    async fn run(self) {
        let mut connection = None;
        for request in 0..MOST_REQUESTS {
            if *self.stopped.borrow() {
                break;
            }
            match timeout(LIMIT, self.request(request, &mut connection)).await {
                Ok(Ok(())) => self.tally.answered(),
                Ok(Err((failure, why))) => {
                    connection = None;
                    self.failed(failure, &why);
                }
                Err(_) => {
                    connection = None;
                    self.failed(Failure::TimedOut, "no answer");
                }
            }
            self.tally.ended(self.number);
            // What fails at once never waits: without this, nobody else would run.
            yield_now().await;
        }
    }

    fn failed(&self, failure: Failure, why: &str) {
        let what = format!("{:?} over {}: {why}", self.kind, self.endpoint);
        self.tally.failed(failure, &what);
    }

    /// One request, on the connection that is kept or on a new one; keeps the
    /// connection unless one side said `Connection: close`.
    async fn request(&self, number: u64, kept: &mut Option<Connection>) -> Result<(), Problem> {
        let asked = self.roster.now();
        let last = match self.kind {
            Kind::Fresh => true,
            Kind::KeepAlive => false,
            Kind::Slow => number % 2 == 1,
        };
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        connection
            .ready()
            .await
            .map_err(|error| at("closed unannounced", &error))?;
        let mut request = Request::get(self.path(number)).header(HOST, "demo");
        // Of those who close, one half says so beforehand.
        if last && (number / 2).is_multiple_of(2) {
            request = request.header(CONNECTION, "close");
        }
        let request = request
            .body(Empty::new())
            .map_err(|error| (Failure::Other, error.to_string()))?;
        let response = connection
            .send_request(request)
            .await
            .map_err(|error| at("answer", &error))?;
        let announced = says_close(&response);
        let body = body(response).await?;
        self.roster
            .check(&body, asked)
            .map_err(|why| (Failure::Wrong, why))?;
        if !announced && !last {
            *kept = Some(connection);
        }
        Ok(())
    }

    async fn connect(&self) -> Result<Connection, Problem> {
        let stream = connect(&self.endpoint)
            .await
            .map_err(|error| (Failure::of_io(&error), format!("connect: {error}")))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| at("handshake", &error))?;
        // Its error reaches the request as well.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }

    fn path(&self, number: u64) -> String {
        if self.kind != Kind::Slow {
            return "/".to_owned();
        }
        let turn = number.wrapping_add(u64::from(self.number)) % SLOW_MS.len() as u64;
        let ms = usize::try_from(turn).map_or(0, |turn| SLOW_MS[turn]);
        format!("/sleep/{ms}")
    }
}

/// The whole body of an answer with status 200 and the right Content-Length.
async fn body<B>(response: Response<B>) -> Result<Bytes, Problem>
where
    B: hyper::body::Body<Data = Bytes, Error = hyper::Error>,
{
    let wrong = |what: String| (Failure::Wrong, what);
    if response.status() != StatusCode::OK {
        return Err(wrong(format!("status {}", response.status())));
    }
    let mut lengths = response.headers().get_all(CONTENT_LENGTH).iter();
    let length = match (lengths.next(), lengths.next()) {
        (Some(length), None) => length.clone(),
        _ => return Err(wrong("not one Content-Length".to_owned())),
    };
    let body = response.into_body().collect().await;
    let body = body
        .map_err(|error| wrong(format!("body: {error}")))?
        .to_bytes();
    if length.as_bytes() != body.len().to_string().as_bytes() {
        return Err(wrong(format!(
            "Content-Length {length:?} of {}",
            body.len()
        )));
    }
    Ok(body)
}

fn says_close<B>(response: &Response<B>) -> bool {
    response
        .headers()
        .get_all(CONNECTION)
        .iter()
        .any(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}

fn at(what: &str, error: &hyper::Error) -> Problem {
    let io = error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>());
    let failure = if let Some(io) = io {
        Failure::of_io(io)
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        Failure::Reset
    } else if error.is_parse() {
        Failure::Wrong
    } else {
        Failure::Other
    };
    match io {
        Some(io) => (failure, format!("{what}: {error}: {io}")),
        None => (failure, format!("{what}: {error}")),
    }
}

/// A stream of either kind.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn connect(endpoint: &Endpoint) -> io::Result<Box<dyn Stream>> {
    Ok(match endpoint {
        Endpoint::Tcp(address) => Box::new(TcpStream::connect(address).await?),
        Endpoint::Unix(path) => Box::new(UnixStream::connect(path).await?),
    })
}
