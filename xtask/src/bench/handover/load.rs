//! Clients that ask again and again, each request on a connection of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::answer::Answer;
use crate::endpoint::Endpoint;

/// One request, as its client saw it.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) begun: Instant,
    pub(crate) took: Duration,
    /// What failed.
    pub(crate) failure: Option<String>,
}

/// Two clients, each in a thread of its own.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Vec<Request>>>,
}

#[derive(Debug)]
struct Shared {
    endpoint: Endpoint,
    stop: AtomicBool,
    /// The first answer of each process: whose, and when it was there.
    seen: Mutex<Vec<(u32, Instant)>>,
    changed: Condvar,
}

const CLIENTS: usize = 2;

/// No answer for so long is a failure.
const LIMIT: Duration = Duration::from_secs(5);

/// A client ends by itself after so many.
const MOST_REQUESTS: usize = 1_000_000;

impl Load {
    pub(crate) fn start(endpoint: &Endpoint) -> Self {
        let shared = Arc::new(Shared {
            endpoint: endpoint.clone(),
            stop: AtomicBool::new(false),
            seen: Mutex::new(Vec::new()),
            changed: Condvar::new(),
        });
        let client = |_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.ask_on())
        };
        Self {
            clients: (0..CLIENTS).map(client).collect(),
            shared,
        }
    }

    /// Waits for an answer of another process than these.
    pub(crate) fn wait_for_another(
        &self,
        than: &[u32],
        deadline: Instant,
    ) -> Option<(u32, Instant)> {
        let left = deadline.saturating_duration_since(Instant::now());
        let another = |seen: &[(u32, Instant)]| {
            let mut others = seen.iter().filter(|(pid, _)| !than.contains(pid));
            others.next().copied()
        };
        let seen = self.shared.seen.lock();
        let seen = seen.unwrap_or_else(PoisonError::into_inner);
        let changed = &self.shared.changed;
        let waited = changed.wait_timeout_while(seen, left, |seen| another(seen).is_none());
        another(&waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// `Load::stop_all(loads)` — how many requests there were, and what has failed of them.
    pub(crate) fn stop_all(loads: impl IntoIterator<Item = Self>) -> Result<(u64, Vec<String>)> {
        let (mut count, mut failures) = (0, Vec::new());
        for load in loads {
            for request in load.stop()? {
                count += 1;
                failures.extend(request.failure);
            }
        }
        Ok((count, failures))
    }

    /// All requests, once each client has ended its last.
    pub(crate) fn stop(self) -> Result<Vec<Request>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut requests = Vec::new();
        for client in self.clients {
            requests.extend(client.join().map_err(|_| anyhow!("a client panicked"))?);
        }
        Ok(requests)
    }
}

impl Shared {
    fn ask_on(&self) -> Vec<Request> {
        let mut requests = Vec::new();
        while !self.stop.load(Ordering::Relaxed) && requests.len() < MOST_REQUESTS {
            let begun = Instant::now();
            let got = self.endpoint.get("/", LIMIT);
            let took = begun.elapsed();
            let answer = got
                .map_err(|error| error.to_string())
                .and_then(|body| Answer::parse(&body).ok_or("another answer".to_owned()));
            let failure = match answer {
                Ok(answer) => {
                    self.is_seen(answer.pid, begun + took);
                    None
                }
                Err(why) => Some(why),
            };
            requests.push(Request {
                begun,
                took,
                failure,
            });
        }
        requests
    }

    fn is_seen(&self, pid: u32, at: Instant) {
        let seen = self.seen.lock();
        let mut seen = seen.unwrap_or_else(PoisonError::into_inner);
        if !seen.iter().any(|(known, _)| *known == pid) {
            seen.push((pid, at));
            self.changed.notify_all();
        }
    }
}
