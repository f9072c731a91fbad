//! `cargo xtask demo`: a daemon under load replaces itself many times, half-way
//! by another build, and every answer of every client is checked. With
//! `--chaos`, every other attempt is made with a build that is broken.

mod chaos;
pub(crate) mod clients;
mod inside;
mod report;
pub(crate) mod roster;
pub(crate) mod tally;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::Signal;

use crate::answer::Answer;
use crate::daemon::{Daemon, PATIENCE, deploy};
use crate::process::{self, Process};
use crate::step::Outcome;
use crate::workspace::Workspace;
use chaos::Chaos;
use clients::Clients;
use report::Report;
use roster::Roster;
use tally::{Failure, Tally};

/// What `cargo xtask demo` can be told.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How many times the daemon replaces itself.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) restarts: u32,
    /// How many clients at a time; six share the kinds evenly.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) clients: u32,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Run this program instead of building the daemon.
    #[arg(long, value_name = "PATH", requires = "next_binary")]
    pub(crate) binary: Option<PathBuf>,
    /// With `--binary`: the program that is put in its place half-way.
    #[arg(long, value_name = "PATH", requires = "binary")]
    pub(crate) next_binary: Option<PathBuf>,
    /// Before each restart, deploy something broken and try to restart: nothing may change.
    #[arg(long)]
    pub(crate) chaos: bool,
    /// With `--chaos`: the order of what is broken, as an earlier run printed it.
    #[arg(long, value_name = "NUMBER", requires = "chaos")]
    pub(crate) seed: Option<u32>,
}

/// What is deployed, and where.
#[derive(Debug)]
struct Builds {
    first: PathBuf,
    next: PathBuf,
    place: PathBuf,
}

/// The tag of the build that is put in place half-way.
const NEXT_TAG: &str = "deployed-half-way";

/// Generations that may still be draining when the next restart begins: slow
/// requests then span several restarts.
const DRAINING: usize = 2;

/// Runs the demo; fails when any client noticed anything.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<Outcome> {
    let (first, next) = match (&options.binary, &options.next_binary) {
        (Some(first), Some(next)) => (first.clone(), next.clone()),
        _ => (
            workspace.build_httpd()?,
            workspace.build_httpd_tagged(NEXT_TAG)?,
        ),
    };
    process::become_subreaper()?;
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let place = folder.path().join("gracenet-httpd");
    let builds = Builds { first, next, place };
    deploy(&builds.first, &builds.place)?;
    let words = if options.chaos { chaos::WORDS } else { &[] };
    let daemon = Daemon::start_with(&[], &builds.place, words, folder.path())?;
    let log = Arc::clone(&daemon.log);
    let mut chaos = if options.chaos {
        Some(Chaos::new(options.seed, options.restarts, &daemon)?)
    } else {
        None
    };

    let mut demo = Demo::begin(daemon, options)?;
    let result = demo.restart_all(options, &builds, chaos.as_mut());
    let report = demo.end(result, |report| {
        report.binary_bytes = size_of(&builds.first);
        report.next_binary_bytes = size_of(&builds.next);
        report.clients = options.clients;
        if let Some(chaos) = chaos {
            let chaos = chaos.report(report.restarts);
            if report.problems.is_empty() {
                report.problems = chaos.missing();
            }
            report.chaos = Some(chaos);
        }
    });
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{}", report.table());
    }
    if !report.is_clean() {
        eprintln!("{}", report.failures());
        eprintln!("the daemon's last lines:\n{}", log.tail());
        bail!("the demo failed");
    }
    Ok(Outcome::Done)
}

/// A demo under way.
#[derive(Debug)]
struct Demo {
    daemon: Daemon,
    roster: Arc<Roster>,
    tally: Arc<Tally>,
    clients: Clients,
    /// Each generation by its number.
    generations: Vec<Process>,
    first_answers: Histogram<u64>,
    peak_kib: u64,
    /// Generations that may still be there when the next restart begins.
    draining: usize,
    begun: Instant,
    bar: ProgressBar,
}

impl Demo {
    fn begin(daemon: Daemon, options: &Options) -> Result<Self> {
        let answer = daemon.ask()?;
        if answer.generation != 0 {
            bail!(
                "the first process says that it is generation {}",
                answer.generation
            );
        }
        let first = Process::open(answer.pid)?;
        let roster = Arc::new(Roster::new(&answer));
        let tally = Arc::new(Tally::default());
        let endpoints = daemon.endpoints().map(Clone::clone);
        let clients = Clients::start(options.clients, endpoints, &roster, &tally)?;
        let bar = ProgressBar::new(u64::from(options.restarts)).with_style(
            ProgressStyle::with_template("{bar:40} {pos}/{len} restarts, {msg}")
                .context("progress bar")?,
        );
        Ok(Self {
            daemon,
            roster,
            tally,
            clients,
            generations: vec![first],
            first_answers: Histogram::new(3).context("histogram")?,
            peak_kib: 0,
            // As long as a predecessor may accept again, its successor must stay.
            draining: if options.chaos { 0 } else { DRAINING },
            begun: Instant::now(),
            bar,
        })
    }

    /// Restarts as often as it was told, or up to the first restart that does
    /// not happen.
    fn restart_all(
        &mut self,
        options: &Options,
        builds: &Builds,
        mut chaos: Option<&mut Chaos>,
    ) -> Result<()> {
        let limit = Duration::from_secs(30) + Duration::from_secs(1) * options.restarts;
        let mut build = &builds.first;
        let deadline = self.begun + limit;
        // Every client sees the first generation before it goes.
        self.tally
            .wait_for_each(options.clients, Instant::now() + PATIENCE)?;
        for restart in 1..=options.restarts {
            if restart == options.restarts / 2 + 1 {
                build = &builds.next;
                deploy(build, &builds.place)?;
                self.roster.deployed_for(restart);
            }
            if let Some(chaos) = chaos.as_deref_mut() {
                self.fail(restart, chaos, build, &builds.place)
                    .with_context(|| format!("the attempt before restart {restart}"))?;
            }
            self.restart(restart)
                .with_context(|| format!("restart {restart}"))?;
            self.bar.set_message(self.tally.summary());
            self.bar.inc(1);
            if Instant::now() > deadline {
                bail!("{restart} restarts took longer than {limit:?}");
            }
        }
        // And every client sees the last one.
        self.tally
            .wait_for_each(options.clients, Instant::now() + PATIENCE)
    }

    /// One attempt that fails, after which the same generation serves, on both
    /// listeners.
    fn fail(&self, restart: u32, chaos: &mut Chaos, build: &Path, place: &Path) -> Result<()> {
        let current = self.generations.last().context("no generation")?;
        chaos.fail_before(restart, current, &self.daemon.log, build, place)?;
        for endpoint in self.daemon.endpoints() {
            let asked = self.roster.now();
            let body = endpoint
                .get("/", PATIENCE)
                .with_context(|| format!("GET / over {endpoint}"))?;
            let answer = self
                .roster
                .check(&body, asked)
                .map_err(anyhow::Error::msg)?;
            self.tally.answered();
            if answer.pid != current.pid {
                bail!("{answer} instead of process {}", current.pid);
            }
        }
        Ok(())
    }

    /// One restart: from the signal to an answer of the successor, then to the
    /// end of the generations that need not drain any longer.
    fn restart(&mut self, generation: u32) -> Result<()> {
        let current = self.generations.last().context("no generation")?;
        self.peak_kib = self.peak_kib.max(current.peak_kib().unwrap_or(0));
        self.roster.signalled(generation);
        let signalled = Instant::now();
        current.signal(Signal::USR2)?;
        let answer = self.first_answer(generation, signalled + PATIENCE)?;
        let micros = u64::try_from(signalled.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.first_answers.record(micros).context("histogram")?;

        let successor = Process::open(answer.pid)?;
        self.peak_kib = self
            .peak_kib
            .max(current.peak_kib().unwrap_or(0))
            .max(successor.peak_kib().unwrap_or(0));
        self.generations.push(successor);
        let last = self.generations.len() - 1;
        self.end_up_to(last - self.draining.min(last))
    }

    /// Connects again and again, to both listeners in turn, until the generation
    /// answers.
    fn first_answer(&self, generation: u32, deadline: Instant) -> Result<Answer> {
        for endpoint in self.daemon.endpoints().iter().cycle() {
            let asked = self.roster.now();
            match endpoint.get("/", PATIENCE) {
                Ok(body) => match self.roster.check(&body, asked) {
                    Ok(answer) => {
                        self.tally.answered();
                        if answer.generation == generation {
                            return Ok(answer);
                        }
                    }
                    Err(why) => self
                        .tally
                        .failed(Failure::Wrong, &format!("probe {endpoint}: {why}")),
                },
                Err(error) => self.tally.failed(
                    Failure::of_io(&error),
                    &format!("probe {endpoint}: {error}"),
                ),
            }
            if Instant::now() > deadline {
                break;
            }
        }
        bail!("no answer of generation {generation} within {PATIENCE:?}")
    }

    /// Waits until the generations before this index have exited with status 0.
    fn end_up_to(&mut self, index: usize) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        for (number, process) in self.generations.iter_mut().enumerate().take(index) {
            if !process.has_ended() {
                process.expect_exit_0(deadline)?;
                self.roster.ended(number);
            }
        }
        Ok(())
    }

    /// Ends the clients, then the daemon, and adds it all up.
    fn end(mut self, result: Result<()>, complete: impl FnOnce(&mut Report)) -> Report {
        self.bar.finish_and_clear();
        let mut problems = Vec::new();
        let mut note = |result: Result<()>| {
            if let Err(why) = result {
                problems.push(format!("{why:#}"));
            }
        };
        let whole = result.is_ok();
        note(result);
        note(self.clients.stop());
        if whole {
            let last = self.generations.len() - 1;
            note(self.end_up_to(last));
            let peak = self.generations[last].peak_kib().unwrap_or(0);
            self.peak_kib = self.peak_kib.max(peak);
            note(self.daemon.finish(&mut self.generations[last]));
        }
        let mut report = Report::new(&self.tally, &self.first_answers);
        report.restarts = u32::try_from(self.generations.len() - 1).unwrap_or(u32::MAX);
        report.peak_memory_kib = self.peak_kib;
        report.seconds = self.begun.elapsed().as_secs_f64();
        report.problems = problems;
        complete(&mut report);
        report
    }
}

fn size_of(path: &PathBuf) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}
