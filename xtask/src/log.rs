//! What the daemon's generations write to stderr, which they all share.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

/// The lines so far, and an end: the kernel reports it when the last process
/// that holds the pipe is gone.
#[derive(Debug, Default)]
pub(crate) struct Log {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    ended: bool,
}

/// More is not kept: a daemon in a loop must not fill our memory.
const MOST_LINES: usize = 100_000;

impl Log {
    /// `Log::read(pipe)` — reads it to its end in a thread of its own.
    pub(crate) fn read(pipe: impl Read + Send + 'static) -> Arc<Self> {
        let log = Arc::new(Self::default());
        let shared = Arc::clone(&log);
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while matches!(pipe.read_until(b'\n', &mut line), Ok(length) if length > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                let mut state = shared.lock();
                if state.lines.len() < MOST_LINES {
                    state.lines.push(text);
                }
                shared.changed.notify_all();
                line.clear();
            }
            shared.lock().ended = true;
            shared.changed.notify_all();
        });
        log
    }

    /// `log.wait_for(text, deadline)` — whether a line ends with the text by
    /// then; false at once when no process is left to write it.
    pub(crate) fn wait_for(&self, text: &str, deadline: Instant) -> bool {
        self.wait(deadline, |state| {
            state.lines.iter().any(|line| line.ends_with(text))
        })
    }

    /// How many lines there are so far, for [`find`](Self::find).
    pub(crate) fn mark(&self) -> usize {
        self.lock().lines.len()
    }

    /// `log.find(mark, deadline, pick)` — what is picked of the first line from
    /// the mark on of which anything is, if that comes by then.
    pub(crate) fn find(
        &self,
        mark: usize,
        deadline: Instant,
        pick: impl Fn(&str) -> Option<&str>,
    ) -> Option<String> {
        let picked = |state: &State| {
            let lines = state.lines.iter().skip(mark);
            lines.map(String::as_str).find_map(&pick).map(str::to_owned)
        };
        self.wait(deadline, |state| picked(state).is_some());
        picked(&self.lock())
    }

    /// `log.all(pick)` — what is picked of every line so far.
    pub(crate) fn all(&self, pick: impl Fn(&str) -> Option<&str>) -> Vec<String> {
        let state = self.lock();
        let lines = state.lines.iter().map(String::as_str);
        lines.filter_map(pick).map(str::to_owned).collect()
    }

    /// `log.wait_for_end(deadline)` — whether all that could write are gone by
    /// then.
    pub(crate) fn wait_for_end(&self, deadline: Instant) -> bool {
        self.wait(deadline, |state| state.ended)
    }

    /// The last lines, for a report of a failure.
    pub(crate) fn tail(&self) -> String {
        const LINES: usize = 20;
        let state = self.lock();
        let first = state.lines.len().saturating_sub(LINES);
        state.lines[first..].join("\n")
    }

    fn wait(&self, deadline: Instant, done: impl Fn(&State) -> bool) -> bool {
        let mut state = self.lock();
        while !done(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.ended {
                return false;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
