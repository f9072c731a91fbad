//! Counting what the clients saw.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Result, bail};

/// What can go wrong with a request, as its client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    /// No one listened: ECONNREFUSED, a unix path that is gone, a full queue.
    Refused,
    /// ECONNRESET, EPIPE, or an end before an answer.
    Reset,
    /// An answer that is cut short or is not what it must be.
    Wrong,
    /// No answer in time.
    TimedOut,
    /// Anything else, such as a client without a port.
    Other,
}

impl Failure {
    /// The failure that an error of a socket stands for.
    pub(crate) fn of_io(error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::ConnectionRefused | Kind::NotFound | Kind::WouldBlock => Self::Refused,
            Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::BrokenPipe
            | Kind::NotConnected
            | Kind::UnexpectedEof => Self::Reset,
            Kind::InvalidData => Self::Wrong,
            Kind::TimedOut => Self::TimedOut,
            _ => Self::Other,
        }
    }
}

/// Shared by all clients.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    requests: u64,
    failures: BTreeMap<Failure, u64>,
    /// The first few failures in words.
    examples: Vec<String>,
    /// Requests of each client that has ended one.
    by_client: BTreeMap<u32, u64>,
}

impl Tally {
    /// A request was answered as it should be.
    pub(crate) fn answered(&self) {
        self.lock().requests += 1;
    }

    /// A request failed.
    pub(crate) fn failed(&self, failure: Failure, what: &str) {
        const EXAMPLES: usize = 20;
        let mut state = self.lock();
        state.requests += 1;
        *state.failures.entry(failure).or_default() += 1;
        if state.examples.len() < EXAMPLES {
            state.examples.push(format!("{failure:?}: {what}"));
        }
    }

    /// The client has ended a request, in whichever way.
    pub(crate) fn ended(&self, client: u32) {
        *self.lock().by_client.entry(client).or_default() += 1;
        self.changed.notify_all();
    }

    /// Waits until each client has ended two more requests than now: the second
    /// was begun and ended after the call.
    pub(crate) fn wait_for_each(&self, clients: u32, deadline: Instant) -> Result<()> {
        let mut state = self.lock();
        let then = state.by_client.clone();
        let of = |counts: &BTreeMap<u32, u64>, client| counts.get(&client).copied().unwrap_or(0);
        while (0..clients).any(|client| of(&state.by_client, client) < of(&then, client) + 2) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("a client got no answers");
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        Ok(())
    }

    /// Requests so far, answered or failed.
    pub(crate) fn requests(&self) -> u64 {
        self.lock().requests
    }

    /// Failures of this kind so far.
    pub(crate) fn count(&self, failure: Failure) -> u64 {
        self.lock().failures.get(&failure).copied().unwrap_or(0)
    }

    /// The first few failures in words.
    pub(crate) fn examples(&self) -> Vec<String> {
        self.lock().examples.clone()
    }

    /// For the progress bar.
    pub(crate) fn summary(&self) -> String {
        let state = self.lock();
        let failed: u64 = state.failures.values().sum();
        format!("{} requests, {failed} failed", state.requests)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
