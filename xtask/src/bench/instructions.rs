//! `cargo xtask bench instructions`: how many instructions the parent executes for a
//! `start_process`, compared with a golden file. They are the same at each run, so that a few more
//! are seen where a few more nanoseconds are not.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::bench::figures::table;
use crate::step::{self, Outcome};
use crate::workspace::Workspace;

/// What `cargo xtask bench instructions` can be told.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
    /// Write the golden file anew.
    #[arg(long)]
    bless: bool,
}

/// Relative to the workspace.
const GOLDEN: &str = "ci/golden/instructions.txt";

const SOCKETS: [u64; 3] = [1, 8, 64];

/// More than by this is a regression; a compiler may be that much better or worse.
const TOLERANCE_PERCENT: u64 = 2;

#[derive(Debug, Serialize)]
struct Row {
    sockets: u64,
    instructions: u64,
    golden: Option<u64>,
}

/// Counts, prints and compares.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<Outcome> {
    if !cfg!(target_arch = "x86_64") {
        let why = "the golden file is of another processor";
        return Ok(Outcome::NotRun(why.to_owned()));
    }
    let path = workspace.root.join(GOLDEN);
    let golden = fs::read_to_string(&path).unwrap_or_default();
    let rows = count(workspace, &golden)?;
    if options.json {
        println!("{}", serde_json::to_string(&rows)?);
    } else {
        println!(
            "{}",
            table(&["sockets", "instructions", "golden"], 0, cells(&rows))
        );
    }
    if options.bless {
        fs::write(&path, write(&rows)).with_context(|| format!("cannot write {GOLDEN}"))?;
        eprintln!("{GOLDEN} is written");
        return Ok(Outcome::Done);
    }
    for row in &rows {
        let (sockets, now) = (row.sockets, row.instructions);
        let Some(golden) = row.golden else {
            bail!("{GOLDEN} has no line for {sockets} sockets: --bless writes it");
        };
        if now * 100 > golden * (100 + TOLERANCE_PERCENT) {
            bail!("{sockets} sockets: {now} instructions, and {GOLDEN} has {golden}");
        }
        if now * 100 < golden * (100 - TOLERANCE_PERCENT) {
            eprintln!("{sockets} sockets: fewer than in {GOLDEN}; --bless keeps it so");
        }
    }
    Ok(Outcome::Done)
}

fn count(workspace: &Workspace, golden: &str) -> Result<Vec<Row>> {
    let program = workspace.build_release("gracenet-test-programs", "exit")?;
    let spawner = workspace.build_release("gracenet-spawner", "gracenet-spawner")?;
    // The same path wherever this runs: its length counts.
    let mut command = Command::new(spawner);
    command
        .args(["./exit", "instructions"])
        .args(SOCKETS.map(|sockets| sockets.to_string()))
        .current_dir(program.parent().context("no folder")?);
    let text = step::output(&mut command)?;
    let mut rows = Vec::new();
    for (sockets, line) in SOCKETS.into_iter().zip(text.lines()) {
        rows.push(Row {
            sockets,
            instructions: line.parse().with_context(|| format!("line {line:?}"))?,
            golden: read(golden, sockets),
        });
    }
    Ok(rows)
}

fn cells(rows: &[Row]) -> Vec<Vec<String>> {
    let cells = |row: &Row| {
        vec![
            row.sockets.to_string(),
            row.instructions.to_string(),
            row.golden
                .map_or("-".to_owned(), |golden| golden.to_string()),
        ]
    };
    rows.iter().map(cells).collect()
}

fn read(golden: &str, sockets: u64) -> Option<u64> {
    let lines = golden.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(' '))
        .find(|(first, _)| first.parse() == Ok(sockets))
        .and_then(|(_, count)| count.trim().parse().ok())
}

fn write(rows: &[Row]) -> String {
    let mut text = format!(
        "# How many sockets, and how many instructions the parent executes for a start_process:
# x86_64, the release profile. `cargo xtask bench instructions` fails at {TOLERANCE_PERCENT} % more;
# with --bless it writes this anew.
"
    );
    for row in rows {
        let _ = writeln!(text, "{} {}", row.sockets, row.instructions);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Row, read, write};

    #[test]
    fn what_was_written_is_read_back() {
        let rows = [(1, 4000), (8, 7000)].map(|(sockets, instructions)| Row {
            sockets,
            instructions,
            golden: None,
        });
        let text = write(&rows);
        assert_eq!(read(&text, 1), Some(4000));
        assert_eq!(read(&text, 8), Some(7000));
        assert_eq!(read(&text, 64), None);
    }
}
