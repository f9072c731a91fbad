//! The figures of restarts: tables, goals and a chart.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::{Round, WINDOW};
use crate::bench::chart::{Chart, Curve, Scale};
use crate::bench::figures::{Micros, Times, digits, table};
use crate::bench::goal::{self, Goal};
use crate::bench::peers::{LISTENFD, NotRun, OURS, TABLEFLIP};

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    rounds: u32,
    rows: Vec<Row>,
    not_run: Vec<NotRun>,
    pub(crate) goals: Vec<Goal>,
    #[serde(skip)]
    samples: Vec<Samples>,
}

/// Of one server.
#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    /// From the signal to the successor's first answer.
    first_answer: Micros,
    requests: usize,
    failed: usize,
    /// The first few in words.
    failures: Vec<String>,
    /// Requests that began and ended before the signal.
    steady: Micros,
    /// Requests that were open at the signal, or began soon after it.
    restart: Micros,
}

#[derive(Debug)]
struct Samples {
    name: &'static str,
    first_answer: Times,
    requests: usize,
    failed: usize,
    failures: Vec<String>,
    steady: Times,
    restart: Times,
    /// By the time from the signal, the longest of each round.
    bins: Vec<Times>,
}

/// What the chart shows, in milliseconds from the signal.
const FROM_MS: i32 = -10;
const TO_MS: i32 = 40;

impl Report {
    pub(crate) fn new(rounds: u32, not_run: Vec<NotRun>) -> Self {
        Self {
            rounds,
            rows: Vec::new(),
            not_run,
            goals: Vec::new(),
            samples: Vec::new(),
        }
    }

    pub(crate) fn record(&mut self, name: &'static str, round: Round) -> Result<()> {
        let known = self.samples.iter().position(|samples| samples.name == name);
        let index = match known {
            Some(index) => index,
            None => {
                self.samples.push(Samples::new(name)?);
                self.samples.len() - 1
            }
        };
        self.samples[index].record(round)
    }

    /// Rows and goals, of all that was recorded.
    pub(crate) fn complete(&mut self) {
        let row = |samples: &Samples| Row {
            name: samples.name,
            first_answer: samples.first_answer.micros(),
            requests: samples.requests,
            failed: samples.failed,
            failures: samples.failures.clone(),
            steady: samples.steady.micros(),
            restart: samples.restart.micros(),
        };
        self.rows = self.samples.iter().map(row).collect();
        self.goals = self.goals();
    }

    #[allow(clippy::cast_precision_loss)]
    fn goals(&self) -> Vec<Goal> {
        let row = |name| self.rows.iter().find(|row| row.name == name);
        let first = |name| row(name).map(|row| row.first_answer.median_us);
        let ratio = |other| Some(first(OURS)? / first(other)?);
        let ours = row(OURS);
        vec![
            Goal::at_most(
                "signal to first answer, against tableflip's",
                ratio(TABLEFLIP),
                0.2,
            ),
            Goal::at_most(
                "signal to first answer, against listenfd's",
                ratio(LISTENFD),
                0.5,
            ),
            Goal::at_most("failed requests", ours.map(|row| row.failed as f64), 0.0),
            Goal::at_most(
                "p99 through a restart, against the steady one",
                ours.map(|row| row.restart.p99_us / row.steady.p99_us),
                2.0,
            ),
        ]
    }

    /// For a person.
    pub(crate) fn tables(&self) -> String {
        const HEADING: [&str; 11] = [
            "server",
            "first answer, ms",
            "p99",
            "requests",
            "failed",
            "steady, µs",
            "p99",
            "p99.9",
            "restart, µs",
            "p99",
            "p99.9",
        ];
        let ms = |us: f64| digits(us / 1000.0);
        let row = |row: &Row| {
            vec![
                row.name.to_owned(),
                ms(row.first_answer.median_us),
                ms(row.first_answer.p99_us),
                row.requests.to_string(),
                row.failed.to_string(),
                digits(row.steady.median_us),
                digits(row.steady.p99_us),
                digits(row.steady.p999_us),
                digits(row.restart.median_us),
                digits(row.restart.p99_us),
                digits(row.restart.p999_us),
            ]
        };
        let rows = self.rows.iter().map(row).collect();
        let mut text = format!("{}\n", table(&HEADING, 1, rows));
        for row in &self.rows {
            for failure in &row.failures {
                let _ = writeln!(text, "{}: a request failed: {failure}", row.name);
            }
        }
        for NotRun { name, why } in &self.not_run {
            let _ = writeln!(text, "{name}: not run: {why}");
        }
        text + &goal::lines(&self.goals)
    }

    /// Latency against the time from the signal.
    pub(crate) fn chart(&self) -> Chart<'static> {
        let curve = |samples: &Samples| {
            let points = (FROM_MS..TO_MS).zip(&samples.bins);
            let points = points.map(|(ms, bin)| (f64::from(ms) + 0.5, bin.micros()));
            let points = points.filter(|(_, micros)| micros.count > 0);
            Curve {
                name: samples.name.to_owned(),
                points: points.map(|(ms, micros)| (ms, micros.median_us)).collect(),
            }
        };
        Chart {
            title: "Latency of requests through a restart",
            x: "time of the request's begin, ms from the signal",
            y: "longest of a millisecond, µs, median of the rounds",
            x_scale: Scale::Linear,
            y_scale: Scale::Logarithmic,
            curves: self.samples.iter().map(curve).collect(),
        }
    }
}

impl Samples {
    fn new(name: &'static str) -> Result<Self> {
        let bins = (FROM_MS..TO_MS).map(|_| Times::new());
        Ok(Self {
            name,
            first_answer: Times::new()?,
            requests: 0,
            failed: 0,
            failures: Vec::new(),
            steady: Times::new()?,
            restart: Times::new()?,
            bins: bins.collect::<Result<_>>()?,
        })
    }

    fn record(&mut self, round: Round) -> Result<()> {
        const FAILURES: usize = 3;
        self.first_answer.record(round.first_answer)?;
        let mut longest = vec![None; self.bins.len()];
        let (from, to) = (round.signalled - WINDOW, round.signalled + WINDOW);
        for request in round.requests {
            self.requests += 1;
            if let Some(failure) = request.failure {
                self.failed += 1;
                if self.failures.len() < FAILURES {
                    self.failures.push(failure);
                }
                continue;
            }
            let ended = request.begun + request.took;
            if request.begun >= from && ended <= round.signalled {
                self.steady.record(request.took)?;
            } else if ended > round.signalled && request.begun < to {
                self.restart.record(request.took)?;
            }
            if let Some(bin) = bin(request.begun, round.signalled) {
                longest[bin] = longest[bin].max(Some(request.took));
            }
        }
        for (bin, longest) in self.bins.iter_mut().zip(longest) {
            if let Some(longest) = longest {
                bin.record(longest)?;
            }
        }
        Ok(())
    }
}

/// In which millisecond of the chart.
fn bin(begun: std::time::Instant, signalled: std::time::Instant) -> Option<usize> {
    let start = Duration::from_millis(FROM_MS.unsigned_abs().into());
    let since = (begun + start).checked_duration_since(signalled)?;
    let bin = usize::try_from(since.as_millis()).ok()?;
    (bin < usize::try_from(TO_MS - FROM_MS).ok()?).then_some(bin)
}
