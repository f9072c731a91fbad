//! Stories with real programs, and what became of them.

pub(crate) mod load;

use anyhow::Result;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};

/// What became of a story.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) story: String,
    pub(crate) outcome: Result<Figures>,
    /// Of one that failed.
    pub(crate) log: String,
}

/// What its clients saw.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) requests: u64,
    pub(crate) failures: u64,
    /// What else is to be said.
    pub(crate) remark: String,
}

impl Figures {
    /// Of a story without clients.
    pub(crate) fn remark(remark: impl Into<String>) -> Self {
        Self {
            remark: remark.into(),
            ..Self::default()
        }
    }
}

/// `report(rows)` — prints the table, and why a story failed; whether none has.
pub(crate) fn report(rows: &[Row]) -> bool {
    println!("{}", table(rows));
    let mut none = true;
    for row in rows {
        if let Err(why) = &row.outcome {
            none = false;
            eprintln!("{}: {why:#}\n{}", row.story, row.log);
        }
    }
    none
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    table.set_header(["story", "requests", "failures", ""]);
    for row in rows {
        match &row.outcome {
            Ok(figures) => table.add_row([
                &row.story,
                &figures.requests.to_string(),
                &figures.failures.to_string(),
                &figures.remark,
            ]),
            Err(_) => table.add_row([&row.story, "", "", "failed"]),
        };
    }
    for column in [1, 2] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
