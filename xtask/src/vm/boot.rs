//! One boot: the serial line is read until the self-test is done or the time is
//! over.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Machine;
use crate::step;

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// The kernel's release and the machine, as it says itself.
    pub(crate) kernel: String,
    pub(crate) passed: u32,
    pub(crate) failures: Vec<String>,
    pub(crate) took: Duration,
    /// How many passed and failed, as the machine has counted.
    done: Option<(u32, u32)>,
    /// Why it ended before that.
    broken: Option<String>,
}

impl Verdict {
    /// Whether all checks were made, and passed.
    pub(crate) fn is_good(&self) -> bool {
        self.passed > 0 && self.failures.is_empty() && self.done == Some((self.passed, 0))
    }

    /// In a word.
    pub(crate) fn word(&self) -> String {
        match (&self.broken, self.done) {
            (Some(why), _) => why.clone(),
            (None, _) if self.is_good() => "passed".to_owned(),
            (None, Some((passed, failed)))
                if (passed, failed as usize) != (self.passed, self.failures.len()) =>
            {
                "lines were lost".to_owned()
            }
            (None, _) => "failed".to_owned(),
        }
    }

    pub(crate) fn summary(&self) -> String {
        let (passed, failed) = (self.passed, self.failures.len());
        let seconds = self.took.as_secs_f64();
        format!(
            "{}: {passed} passed, {failed} failed, {seconds:.1} s: {}",
            self.kernel,
            self.word()
        )
    }

    /// Takes in a line of the self-test: whether it was the last one.
    fn hear(&mut self, line: &str) -> bool {
        if let Some(kernel) = line.strip_prefix("kernel ") {
            kernel.clone_into(&mut self.kernel);
        } else if line.starts_with("PASS ") {
            self.passed += 1;
        } else if let Some(failure) = line.strip_prefix("FAIL ") {
            self.failures.push(failure.to_owned());
        } else if let Some(counts) = line.strip_prefix("done ") {
            let mut counts = counts.split(' ').map(str::parse);
            if let (Some(Ok(passed)), Some(Ok(failed))) = (counts.next(), counts.next()) {
                self.done = Some((passed, failed));
                return true;
            }
        }
        false
    }
}

/// What the self-test's lines begin with.
const MARK: &str = "selftest: ";

/// `run(machine, kernel, image, limit)` — boots it, and takes it down after that
/// time whatever it does.
pub(crate) fn run(
    machine: &Machine,
    kernel: &Path,
    image: &Path,
    limit: Duration,
) -> Result<Verdict> {
    let mut qemu = Command::new(machine.emulator());
    qemu.args(machine.options)
        .args(["-accel", "tcg", "-m", "256", "-smp", "1", "-nodefaults"])
        .args(["-no-user-config", "-display", "none", "-no-reboot"])
        .args(["-serial", "stdio", "-kernel"])
        .arg(kernel)
        .arg("-initrd")
        .arg(image)
        .arg("-append")
        // A panic is a restart, which is the end of the machine.
        .arg(format!("console={} panic=-1 quiet", machine.console));
    eprintln!("$ {}", step::line(&qemu));
    let begun = Instant::now();
    let child = qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = Guest(child.with_context(|| machine.emulator())?);
    let serial = child.0.stdout.take().context("qemu has no stdout")?;
    let (sender, lines) = mpsc::channel();
    // It ends with the line's other end.
    thread::spawn(move || {
        for line in BufReader::new(serial).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let mut verdict = Verdict::default();
    loop {
        let left = limit.saturating_sub(begun.elapsed());
        match lines.recv_timeout(left) {
            Ok(line) => {
                eprintln!("{:7.1} s  {line}", begun.elapsed().as_secs_f64());
                // The kernel may have left a line without its end.
                if let Some(at) = line.find(MARK)
                    && verdict.hear(&line[at + MARK.len()..])
                {
                    break;
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                verdict.broken = Some(format!("not done after {} s", limit.as_secs()));
                break;
            }
            Err(RecvTimeoutError::Disconnected) => {
                verdict.broken = Some("ended before it was done".to_owned());
                break;
            }
        }
    }
    // Done, it powers itself off, which is part of the test.
    if verdict.done.is_some() && !child.has_ended_by(&lines, begun + limit) {
        verdict.broken = Some("did not power off".to_owned());
    }
    verdict.took = begun.elapsed();
    Ok(verdict)
}

/// An emulator, which does not outlive its test.
struct Guest(Child);

impl Guest {
    /// Whether the serial line was closed, and the emulator with it.
    fn has_ended_by(&mut self, lines: &mpsc::Receiver<String>, deadline: Instant) -> bool {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match lines.recv_timeout(left) {
                Ok(line) => eprintln!("           {line}"),
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => {
                    return self.0.wait().is_ok_and(|status| status.success());
                }
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict;

    fn heard(lines: &[&str]) -> Verdict {
        let mut verdict = Verdict::default();
        for line in lines {
            verdict.hear(line);
        }
        verdict
    }

    #[test]
    fn only_a_machine_that_was_heard_to_the_end_has_passed() {
        assert!(heard(&["kernel 6.1 x", "PASS a: b", "done 1 0"]).is_good());
        assert!(!heard(&["kernel 6.1 x", "PASS a: b"]).is_good());
        assert!(!heard(&["kernel 6.1 x", "done 0 0"]).is_good());
        assert!(!heard(&["PASS a: b", "done 2 0"]).is_good());
        assert!(!heard(&["PASS a: b", "FAIL a: c: d", "done 1 1"]).is_good());
        assert!(!heard(&["PASS a: b", "FAIL a: c: d", "done 1 0"]).is_good());
    }
}
