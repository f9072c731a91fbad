//! The figures of starts: tables, goals and charts.

use std::fmt::Write as _;

use anyhow::Result;
use serde::Serialize;

use super::spawner::Sample;
use super::{FLOOR, SMALLEST, STEPS, Size};
use crate::bench::chart::{Chart, Curve, Scale};
use crate::bench::figures::{Micros, Times, digits, table};
use crate::bench::goal::{self, Goal};

/// What the goals are about.
const OURS: &str = "gracenet-8";

/// How the names of the steps begin, and the name of what they are added to.
const STEP: &str = "floor+";

/// What was measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    rows: Vec<Row>,
    spent: Vec<Spent>,
    not_run: Vec<NotRun>,
    pub(crate) goals: Vec<Goal>,
    #[serde(skip)]
    samples: Vec<(Size, String, Times, Times)>,
}

/// Starts of one kind in a process of one size.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    size: Size,
    method: String,
    /// From the call to its return.
    returned: Micros,
    /// From the call to the child's exit.
    exited: Micros,
    /// The median to the return against the floor's, and against its own in the smallest process.
    to_floor: f64,
    to_smallest: f64,
}

/// What a part of a start takes in the smallest process, over the floor.
#[derive(Debug, Serialize)]
struct Spent {
    what: &'static str,
    median_us: f64,
}

#[derive(Debug, Serialize)]
struct NotRun {
    #[serde(flatten)]
    size: Size,
    why: &'static str,
}

impl Report {
    pub(crate) fn not_run(&mut self, size: Size, why: &'static str) {
        self.not_run.push(NotRun { size, why });
    }

    pub(crate) fn record(&mut self, size: Size, sample: &Sample) -> Result<()> {
        let known = self
            .samples
            .iter()
            .position(|(of, method, ..)| *of == size && *method == sample.method);
        let index = match known {
            Some(index) => index,
            None => {
                let new = (size, sample.method.clone(), Times::new()?, Times::new()?);
                self.samples.push(new);
                self.samples.len() - 1
            }
        };
        self.samples[index].2.record(sample.returned)?;
        self.samples[index].3.record(sample.exited)
    }

    /// Rows and goals, of all that was recorded.
    pub(crate) fn complete(&mut self) {
        let mut samples = std::mem::take(&mut self.samples);
        samples.sort_by_key(|(size, ..)| (size.memory_mib, size.fds));
        for (size, method, returned, exited) in samples {
            self.rows.push(Row {
                size,
                method,
                returned: returned.micros(),
                exited: exited.micros(),
                to_floor: f64::NAN,
                to_smallest: f64::NAN,
            });
        }
        for index in 0..self.rows.len() {
            let Row { size, method, .. } = &self.rows[index];
            let returned = self.rows[index].returned.median_us;
            let to = |other: Option<f64>| other.map_or(f64::NAN, |other| returned / other);
            let to_floor = to(self.median(*size, FLOOR));
            let to_smallest = to(self.median(SMALLEST, method));
            self.rows[index].to_floor = to_floor;
            self.rows[index].to_smallest = to_smallest;
        }
        self.goals = self.goals();
        self.spent = self.spent();
        self.rows.retain(|row| !row.method.starts_with(STEP));
    }

    /// Where the time over the floor goes: to the kernel, and what is left.
    fn spent(&self) -> Vec<Spent> {
        let median = |method| self.median(SMALLEST, method);
        let over = |method| Some(median(method)? - median(STEP)?);
        let mut spent: Vec<_> = STEPS
            .iter()
            .filter(|(method, _)| *method != STEP)
            .filter_map(|&(method, what)| {
                let median_us = over(method)?;
                Some(Spent { what, median_us })
            })
            .collect();
        let (Some(all), Some(ours)) = (spent.last().map(|all| all.median_us), over(OURS)) else {
            return Vec::new();
        };
        spent.push(Spent {
            what: "start_process, 8 sockets",
            median_us: ours,
        });
        spent.push(Spent {
            what: "of which is none of these",
            median_us: ours - all,
        });
        spent
    }

    /// Of the times to the return.
    fn median(&self, size: Size, method: &str) -> Option<f64> {
        let row = |row: &&Row| row.size == size && row.method == method;
        self.rows.iter().find(row).map(|row| row.returned.median_us)
    }

    fn goals(&self) -> Vec<Goal> {
        let connections = Size {
            fds: 19_000,
            ..SMALLEST
        };
        let memory = Size {
            memory_mib: 8192,
            ..SMALLEST
        };
        let ratio = |of: (Size, &str), to: (Size, &str)| {
            Some(self.median(of.0, of.1)? / self.median(to.0, to.1)?)
        };
        vec![
            Goal::at_most(
                "8 sockets, to the return, against the floor",
                ratio((SMALLEST, OURS), (SMALLEST, FLOOR)),
                1.25,
            ),
            Goal::at_most(
                "8 sockets, 19,000 fds against 10",
                ratio((connections, OURS), (SMALLEST, OURS)),
                1.15,
            ),
            Goal::at_most(
                "8 sockets, 8 GiB against 1 MiB",
                ratio((memory, OURS), (SMALLEST, OURS)),
                1.15,
            ),
            Goal::at_least(
                "19,000 fds, posix_spawn against 8 sockets",
                ratio((connections, "posix_spawn"), (connections, OURS)),
                5.0,
            ),
        ]
    }

    /// For a person.
    pub(crate) fn tables(&self) -> String {
        const HEADING: [&str; 10] = [
            "memory",
            "fds",
            "how",
            "starts",
            "to return, µs",
            "p99",
            "to exit, µs",
            "p99",
            "to floor",
            "to smallest",
        ];
        let mut text = String::new();
        let mut sizes: Vec<Size> = self.rows.iter().map(|row| row.size).collect();
        sizes.dedup();
        let mut rows = Vec::new();
        for size in sizes {
            for row in self.rows.iter().filter(|row| row.size == size) {
                rows.push(vec![
                    memory(size.memory_mib),
                    size.fds.to_string(),
                    name(&row.method).to_owned(),
                    row.returned.count.to_string(),
                    digits(row.returned.median_us),
                    digits(row.returned.p99_us),
                    digits(row.exited.median_us),
                    digits(row.exited.p99_us),
                    digits(row.to_floor),
                    digits(row.to_smallest),
                ]);
            }
        }
        let _ = writeln!(text, "{}", table(&HEADING, 3, rows));
        for NotRun { size, why } in &self.not_run {
            let (memory, fds) = (memory(size.memory_mib), size.fds);
            let _ = writeln!(text, "not run: {memory} and {fds} fds: {why}");
        }
        let spent = |spent: &Spent| vec![spent.what.to_owned(), format!("{:.2}", spent.median_us)];
        let rows = self.spent.iter().map(spent).collect();
        let _ = writeln!(text, "{}", table(&["over the floor", "µs"], 1, rows));
        text + &goal::lines(&self.goals)
    }

    /// Time against memory, and against fds, by the names of their files.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn charts(&self) -> [(&'static str, Chart<'static>); 2] {
        let by_memory = Chart {
            title: "Time of a start against memory (10 open fds)",
            x: "touched memory, MiB",
            y: "call to return, µs, median",
            x_scale: Scale::Logarithmic,
            y_scale: Scale::Logarithmic,
            curves: self
                .curves(|size| (size.fds == SMALLEST.fds).then_some(size.memory_mib as f64)),
        };
        let by_fds = Chart {
            title: "Time of a start against open fds (1 MiB of memory)",
            x: "open fds",
            y: "call to return, µs, median",
            x_scale: Scale::Logarithmic,
            y_scale: Scale::Logarithmic,
            curves: self
                .curves(|size| (size.memory_mib == SMALLEST.memory_mib).then_some(size.fds as f64)),
        };
        [("spawn-memory", by_memory), ("spawn-fds", by_fds)]
    }

    /// A curve for each method, over the sizes that have a place on the axis.
    fn curves(&self, x: impl Fn(Size) -> Option<f64>) -> Vec<Curve> {
        let mut curves: Vec<Curve> = Vec::new();
        for method in DRAWN {
            let rows = self.rows.iter().filter(|row| row.method == method);
            let point = |row: &Row| Some((x(row.size)?, row.returned.median_us));
            curves.push(Curve {
                name: name(method).to_owned(),
                points: rows.filter_map(point).collect(),
            });
        }
        curves
    }
}

/// The one that is ours first.
const DRAWN: [&str; 6] = [
    "gracenet-8",
    FLOOR,
    "posix_spawn",
    "command",
    "fork",
    "gracenet-64",
];

fn name(method: &str) -> &str {
    match method {
        FLOOR => "clone, execve: the floor",
        "cut" => "the floor, fd table cut",
        "gracenet-1" => "gracenet, 1 socket",
        "gracenet-8" => "gracenet, 8 sockets",
        "gracenet-64" => "gracenet, 64 sockets",
        "command" => "std::process::Command",
        "fork" => "fork, execve",
        other => other,
    }
}

fn memory(mib: u64) -> String {
    match mib {
        ..1024 => format!("{mib} MiB"),
        _ => format!("{} GiB", mib / 1024),
    }
}
