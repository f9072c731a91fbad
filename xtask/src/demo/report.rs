//! The figures of a demo, as a table and as JSON.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::chaos::ChaosReport;
use super::tally::{Failure, Tally};

/// What a demo came to.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) requests: u64,
    pub(crate) refused: u64,
    pub(crate) reset: u64,
    pub(crate) short_or_wrong: u64,
    pub(crate) timed_out: u64,
    pub(crate) other: u64,
    pub(crate) restarts: u32,
    /// From the signal to the successor's first answer.
    pub(crate) first_answer: Micros,
    pub(crate) clients: u32,
    pub(crate) binary_bytes: u64,
    pub(crate) next_binary_bytes: u64,
    /// The highest VmHWM of all generations.
    pub(crate) peak_memory_kib: u64,
    pub(crate) seconds: f64,
    /// What failed other than a request: a restart that did not happen, a
    /// generation that did not exit with status 0.
    pub(crate) problems: Vec<String>,
    /// The first few failed requests in words.
    pub(crate) examples: Vec<String>,
    /// Of `--chaos` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) chaos: Option<ChaosReport>,
}

/// A distribution in microseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Micros {
    min_us: u64,
    median_us: u64,
    p99_us: u64,
    max_us: u64,
}

impl Report {
    /// The part that was counted; the rest is for the caller to fill in.
    pub(crate) fn new(tally: &Tally, first_answers: &Histogram<u64>) -> Self {
        Self {
            requests: tally.requests(),
            refused: tally.count(Failure::Refused),
            reset: tally.count(Failure::Reset),
            short_or_wrong: tally.count(Failure::Wrong),
            timed_out: tally.count(Failure::TimedOut),
            other: tally.count(Failure::Other),
            restarts: 0,
            first_answer: Micros {
                min_us: first_answers.min(),
                median_us: first_answers.value_at_quantile(0.5),
                p99_us: first_answers.value_at_quantile(0.99),
                max_us: first_answers.max(),
            },
            clients: 0,
            binary_bytes: 0,
            next_binary_bytes: 0,
            peak_memory_kib: 0,
            seconds: 0.0,
            problems: Vec::new(),
            examples: tally.examples(),
            chaos: None,
        }
    }

    /// Whether nothing at all failed.
    pub(crate) fn is_clean(&self) -> bool {
        let failed = self.refused + self.reset + self.short_or_wrong + self.timed_out + self.other;
        failed == 0 && self.problems.is_empty() && self.requests > 0
    }

    /// The figures for a person.
    pub(crate) fn table(&self) -> Table {
        let milliseconds = |us: u64| format!("{}.{:02} ms", us / 1000, us % 1000 / 10);
        let times = &self.first_answer;
        let rows = [
            ("requests", self.requests.to_string()),
            ("refused", self.refused.to_string()),
            ("reset", self.reset.to_string()),
            ("short or wrong", self.short_or_wrong.to_string()),
            ("timed out", self.timed_out.to_string()),
            ("other failures", self.other.to_string()),
            ("restarts", self.restarts.to_string()),
            ("signal to first answer, min", milliseconds(times.min_us)),
            ("median", milliseconds(times.median_us)),
            ("p99", milliseconds(times.p99_us)),
            ("binary", format!("{} bytes", self.binary_bytes)),
            ("peak memory", format!("{} KiB", self.peak_memory_kib)),
            ("clients", self.clients.to_string()),
            ("time", format!("{:.1} s", self.seconds)),
        ];
        let mut table = Table::new();
        table.load_preset(UTF8_FULL_CONDENSED);
        for (what, figure) in rows {
            table.add_row([what.to_owned(), figure]);
        }
        for (what, figure) in self.chaos.iter().flat_map(ChaosReport::rows) {
            table.add_row([what, figure]);
        }
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// What failed, one line each.
    pub(crate) fn failures(&self) -> String {
        let lines = self.problems.iter().chain(&self.examples);
        lines.map(|line| format!("  {line}\n")).collect()
    }
}
