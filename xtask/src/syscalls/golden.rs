//! The golden file: each syscall of a hand-over, and why it is made. Pure.

use std::fmt;

use anyhow::{Context, Result, bail};

use super::trace::Role;

/// What the golden file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Golden {
    lines: Vec<Line>,
}

#[derive(Debug, PartialEq, Eq)]
struct Line {
    role: Role,
    call: String,
    /// How many times in a row.
    times: usize,
    reason: String,
}

const HEADER: &str = "\
# The syscalls of one hand-over of gracenet-httpd with a tcp and a unix listener, in
# the order in which each process makes them; xN is N times in a row. What is not
# obvious has its reason behind it. `cargo xtask syscalls` compares this file with
# what happens, and `cargo xtask syscalls --bless` writes it anew. A call that was
# answered with EAGAIN is not listed: it is made again after the wait. Nor is a waitid
# that finds nobody.
";

const ROLES: [(Role, &str); 4] = [
    (
        Role::Predecessor,
        "[predecessor: from the signal to its end]",
    ),
    (Role::Child, "[child: between clone and execve]"),
    (
        Role::Successor,
        "[successor: from its start to its first connection]",
    ),
    (
        Role::Waiting,
        "[either, while it waits: as often as it takes]",
    ),
];

/// Needs no reason in a hand-over.
const OBVIOUS: [&str; 5] = ["accept", "accept4", "execve", "exit", "exit_group"];

impl Golden {
    /// `Golden::new(calls, old)` — these calls, with the reasons that the old file
    /// gives for the lines that both have.
    pub(crate) fn new(calls: Vec<(Role, String)>, old: &Self) -> Self {
        let mut lines: Vec<Line> = Vec::new();
        for (role, call) in calls {
            match lines.last_mut() {
                Some(last) if last.role == role && last.call == call => last.times += 1,
                _ => lines.push(Line {
                    role,
                    call,
                    times: 1,
                    reason: String::new(),
                }),
            }
        }
        for (new_index, old_index) in common(&lines, &old.lines) {
            lines[new_index]
                .reason
                .clone_from(&old.lines[old_index].reason);
        }
        Self { lines }
    }

    /// `Golden::parse(text)` — what [`fmt::Display`] wrote.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut lines = Vec::new();
        let mut role = None;
        for line in text.lines() {
            let (call, reason) = match line.split_once('#') {
                Some((call, reason)) => (call.trim(), reason.trim()),
                None => (line.trim(), ""),
            };
            if call.is_empty() {
                continue;
            }
            if call.starts_with('[') {
                let known = ROLES.iter().find(|(_, title)| *title == call);
                role = Some(known.with_context(|| format!("unknown part {call}"))?.0);
                continue;
            }
            let Some(role) = role else {
                bail!("{call} belongs to no part");
            };
            let (call, times) = match call.rsplit_once(" x") {
                Some((name, times)) if times.parse::<usize>().is_ok() => (name, times.parse()?),
                _ => (call, 1),
            };
            lines.push(Line {
                role,
                call: call.trim_end().to_owned(),
                times,
                reason: reason.to_owned(),
            });
        }
        Ok(Self { lines })
    }

    /// How many syscalls that are.
    pub(crate) fn calls(&self) -> usize {
        self.lines.iter().map(|line| line.times).sum()
    }

    /// The lines that need a reason and have none.
    pub(crate) fn unexplained(&self) -> Vec<String> {
        self.lines
            .iter()
            .filter(|line| line.reason.is_empty() && !OBVIOUS.contains(&line.call.as_str()))
            .map(|line| format!("  {:?}: {}", line.role, line.text()))
            .collect()
    }

    /// What the new one has more (`+`) and less (`-`), reasons aside.
    pub(crate) fn difference(&self, new: &Self) -> Option<String> {
        let mut text = String::new();
        let mut note = |sign: char, line: &Line| {
            text.push_str(&format!("{sign} {:?}: {}\n", line.role, line.text()));
        };
        let (mut old_at, mut new_at) = (0, 0);
        let pairs = common(&new.lines, &self.lines);
        for (new_index, old_index) in pairs {
            self.lines[old_at..old_index]
                .iter()
                .for_each(|line| note('-', line));
            new.lines[new_at..new_index]
                .iter()
                .for_each(|line| note('+', line));
            if self.lines[old_index].times != new.lines[new_index].times {
                note('-', &self.lines[old_index]);
                note('+', &new.lines[new_index]);
            }
            (old_at, new_at) = (old_index + 1, new_index + 1);
        }
        self.lines[old_at..].iter().for_each(|line| note('-', line));
        new.lines[new_at..].iter().for_each(|line| note('+', line));
        (!text.is_empty()).then_some(text)
    }
}

impl Line {
    fn text(&self) -> String {
        match self.times {
            1 => self.call.clone(),
            times => format!("{} x{times}", self.call),
        }
    }

    /// The same call of the same process, however many times.
    fn is_like(&self, other: &Self) -> bool {
        self.role == other.role && self.call == other.call
    }
}

impl fmt::Display for Golden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEADER)?;
        for (role, title) in ROLES {
            writeln!(f, "\n{title}")?;
            for line in self.lines.iter().filter(|line| line.role == role) {
                match line.reason.as_str() {
                    "" => writeln!(f, "{}", line.text())?,
                    reason => writeln!(f, "{:<32}# {reason}", line.text())?,
                }
            }
        }
        Ok(())
    }
}

/// The longest common sequence of like lines: pairs of indices, ascending.
fn common(left: &[Line], right: &[Line]) -> Vec<(usize, usize)> {
    let width = right.len() + 1;
    // Of the rests that begin at (i, j), the length of the longest.
    let mut lengths = vec![0_usize; (left.len() + 1) * width];
    for i in (0..left.len()).rev() {
        for j in (0..right.len()).rev() {
            lengths[i * width + j] = if left[i].is_like(&right[j]) {
                lengths[(i + 1) * width + j + 1] + 1
            } else {
                lengths[(i + 1) * width + j].max(lengths[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < left.len() && j < right.len() {
        if left[i].is_like(&right[j]) {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if lengths[(i + 1) * width + j] >= lengths[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::{Golden, Role};

    fn calls(names: &[&str]) -> Vec<(Role, String)> {
        let split = names.len() / 2;
        let role = |index| {
            if index < split {
                Role::Predecessor
            } else {
                Role::Successor
            }
        };
        let names = names.iter().enumerate();
        names
            .map(|(index, name)| (role(index), (*name).to_owned()))
            .collect()
    }

    fn explained() -> Golden {
        let mut golden = Golden::new(calls(&["a", "b", "b", "c", "d", "e"]), &Golden::default());
        for line in &mut golden.lines {
            line.reason = format!("because of {}", line.call);
        }
        golden
    }

    #[test]
    fn what_was_written_is_read_back() {
        let golden = explained();
        assert_eq!(Golden::parse(&golden.to_string()).unwrap(), golden);
        assert_eq!(golden.calls(), 6);
        assert!(golden.unexplained().is_empty());
    }

    #[test]
    fn reasons_stay_with_the_lines_that_stay() {
        let old = explained();
        let new = Golden::new(calls(&["a", "x", "b", "c", "e", "e"]), &old);
        let reasons: Vec<_> = new.lines.iter().map(|line| line.reason.as_str()).collect();
        assert_eq!(
            reasons,
            [
                "because of a",
                "",
                "because of b",
                "because of c",
                "because of e"
            ]
        );
        assert_eq!(new.unexplained(), ["  Predecessor: x"]);
    }

    #[test]
    fn a_difference_names_what_came_and_what_went() {
        let old = explained();
        assert_eq!(old.difference(&explained()), None);
        let new = Golden::new(calls(&["a", "x", "b", "c", "e", "e"]), &old);
        let difference = old.difference(&new).unwrap();
        assert_eq!(
            difference,
            "+ Predecessor: x\n- Predecessor: b x2\n+ Predecessor: b\n\
             - Successor: d\n- Successor: e\n+ Successor: e x2\n"
        );
    }

    #[test]
    fn a_line_outside_of_every_part_is_refused() {
        assert!(Golden::parse("close # why\n").is_err());
        assert!(Golden::parse("[nobody]\nclose\n").is_err());
    }
}
