//! The machines, side by side.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use super::boot::Verdict;

/// `of(rows)` — a line for each machine, and below it what has failed.
pub(crate) fn of(rows: &[(String, Verdict)]) -> String {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN);
    table.set_header(["machine", "kernel", "passed", "failed", "s", ""]);
    for (name, verdict) in rows {
        table.add_row([
            name.clone(),
            verdict.kernel.clone(),
            verdict.passed.to_string(),
            verdict.failures.len().to_string(),
            format!("{:.1}", verdict.took.as_secs_f64()),
            verdict.word(),
        ]);
    }
    for index in 2..5 {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = table.to_string();
    for (name, verdict) in rows {
        for failure in &verdict.failures {
            text.push_str(&format!("\n{name}: {failure}"));
        }
    }
    text
}
