//! Distributions of times, and tables of them.

use std::time::Duration;

use anyhow::{Context, Result};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use hdrhistogram::Histogram;
use serde::Serialize;

/// Times, to three digits.
#[derive(Debug, Clone)]
pub(crate) struct Times(Histogram<u64>);

/// What is told of them.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Micros {
    pub(crate) count: u64,
    pub(crate) median_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
}

impl Times {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(Histogram::new(3).context("histogram")?))
    }

    pub(crate) fn record(&mut self, time: Duration) -> Result<()> {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.record(nanos).context("histogram")
    }

    pub(crate) fn micros(&self) -> Micros {
        let at = |quantile| micros(self.0.value_at_quantile(quantile));
        Micros {
            count: self.0.len(),
            median_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: micros(self.0.max()),
        }
    }
}

#[allow(clippy::cast_precision_loss)] // Three digits are all that there are.
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1000.0
}

/// A table of this heading; all but the first columns so many are numbers.
pub(crate) fn table(heading: &[&str], texts: usize, rows: Vec<Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_header(heading);
    table.add_rows(rows);
    for column in table.column_iter_mut().skip(texts) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Three digits or all before the point.
pub(crate) fn digits(number: f64) -> String {
    match number {
        ..10.0 => format!("{number:.2}"),
        ..100.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}
