//! Reading what `strace -f -o` wrote. Pure.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context, Result, bail};

/// Whose syscall it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// The running version, from the signal to its end.
    Predecessor,
    /// The next version between clone and execve.
    Child,
    /// The next version from its first instruction to the first connection it
    /// accepts.
    Successor,
    /// Either version while it waits for the other or for a client: how often
    /// these are made differs from run to run, so that each is told once.
    Waiting,
}

/// `hand_over(trace, predecessor, successor)` — the calls of one hand-over, by role
/// and in order, without anything that differs from run to run.
pub(crate) fn hand_over(
    trace: &str,
    predecessor: u32,
    successor: u32,
) -> Result<Vec<(Role, String)>> {
    let events = events(trace);
    let signal = events
        .iter()
        .position(|event| event.pid == predecessor && event.takes_the_signal())
        .context("the trace shows no SIGUSR2")?;

    let mut calls = Vec::new();
    let mut waiting = BTreeSet::new();
    let mut executed = false;
    let mut accepted = false;
    for event in &events[signal..] {
        let Some(call) = event.call() else { continue };
        let concerned = event.pid == predecessor || (event.pid == successor && !accepted);
        if concerned && event.waits() {
            waiting.insert(call);
        } else if event.result() == Some("-1") && event.text.contains(" EAGAIN ")
            // waitid's way to say it: nobody is described.
            || event.text.contains("waitid(") && event.text.contains("{}, WNOHANG")
        {
            // It came too early, and is made again after the wait.
        } else if event.pid == predecessor {
            calls.push((Role::Predecessor, call));
        } else if event.pid == successor && !accepted {
            let role = if executed {
                Role::Successor
            } else {
                Role::Child
            };
            calls.push((role, call));
            executed |= event.name().starts_with("execve") && event.result() == Some("0");
            accepted = event.name().starts_with("accept")
                && event
                    .result()
                    .is_some_and(|result| !result.starts_with('-'));
        }
    }
    if !executed || !accepted {
        bail!("the trace shows no successor that accepted a connection");
    }
    // Each role's calls in order; how the roles alternate differs.
    calls.sort_by_key(|(role, _)| *role);
    calls.extend(waiting.into_iter().map(|call| (Role::Waiting, call)));
    Ok(calls)
}

/// A line of the trace, with its two halves put together.
#[derive(Debug)]
struct Event {
    pid: u32,
    text: String,
}

impl Event {
    fn name(&self) -> &str {
        self.text.split('(').next().unwrap_or_default()
    }

    /// What follows the last ` = `, up to a space.
    fn result(&self) -> Option<&str> {
        self.text.rsplit_once(" = ")?.1.split(' ').next()
    }

    /// Whether with it the program learns of SIGUSR2: by a signalfd (signal 12 is
    /// a form feed), by waiting, or by a handler.
    fn takes_the_signal(&self) -> bool {
        match self.name() {
            "read" => self.text.contains("\"\\f\\0\\0\\0"),
            "rt_sigtimedwait" => self.text.contains("= 12 (SIGUSR2)"),
            _ => self.text.starts_with("--- SIGUSR2"),
        }
    }

    /// Whether it belongs to a loop that waits.
    fn waits(&self) -> bool {
        matches!(
            self.name(),
            "clock_gettime" | "epoll_pwait" | "epoll_pwait2" | "epoll_wait" | "poll" | "ppoll"
        )
    }

    /// The syscall's name, with the argument that says which of its many kinds it
    /// is; `None` for signals and ends.
    fn call(&self) -> Option<String> {
        if self.text.starts_with("---") || self.text.starts_with("+++") {
            return None;
        }
        let name = self.name();
        let telling = match name {
            "fcntl" | "epoll_ctl" | "ioctl" | "prctl" => 1,
            "getsockopt" | "setsockopt" => 2,
            "close_range" => 2,
            "rt_sigprocmask" => 0,
            _ => return Some(name.to_owned()),
        };
        let telling = if name == "prctl" { 0 } else { telling };
        match arguments(&self.text).get(telling) {
            Some(argument) => Some(format!("{name} {argument}")),
            None => Some(name.to_owned()),
        }
    }
}

fn events(trace: &str) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    let mut unfinished: HashMap<u32, usize> = HashMap::new();
    for line in trace.lines() {
        let Some((pid, rest)) = line.split_once(' ') else {
            continue;
        };
        let Ok(pid) = pid.parse() else { continue };
        let rest = rest.trim_start();
        if rest.starts_with("<... ") {
            let tail = rest.split_once("resumed>").map_or("", |(_, tail)| tail);
            if let Some(index) = unfinished.remove(&pid) {
                events[index].text.push_str(tail);
            }
            continue;
        }
        let text = match rest.strip_suffix("<unfinished ...>") {
            Some(head) => {
                unfinished.insert(pid, events.len());
                head.trim_end()
            }
            None => rest,
        };
        events.push(Event {
            pid,
            text: text.to_owned(),
        });
    }
    events
}

/// The arguments of a call, split at the commas of the outermost level.
fn arguments(text: &str) -> Vec<&str> {
    let Some(open) = text.find('(') else {
        return Vec::new();
    };
    let text = &text[open + 1..];
    let mut arguments = Vec::new();
    let (mut depth, mut quoted, mut escaped, mut begin) = (0_u32, false, false, 0);
    for (index, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => depth += 1,
            ')' if depth == 0 => {
                arguments.push(text[begin..index].trim());
                break;
            }
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                arguments.push(text[begin..index].trim());
                begin = index + 1;
            }
            _ => {}
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::{Role, arguments, hand_over};

    const TRACE: &str = r#"10 epoll_pwait(4, [{events=EPOLLIN}], 8, -1, NULL, 8) = 1
10 read(5, "\f\0\0\0\0\0"..., 128) = 128
10 clone(child_stack=0x7ffe, flags=CLONE_VM|CLONE_VFORK) = 11 <unfinished ...>
11 fcntl(6, F_SETFD, 0)              = 0
11 execve("/x/gracenet-httpd", ["a", ")"], 0x7ff /* 3 vars */ <unfinished ...>
10 <... clone resumed>)              = 11
11 <... execve resumed>)             = 0
10 recvfrom(6, 0x1, 8, MSG_DONTWAIT, NULL, NULL) = -1 EAGAIN (Resource temporarily unavailable)
10 epoll_pwait(4, [{events=EPOLLIN}], 8, -1, NULL, 8) = 1
10 recvfrom(6, "r", 8, MSG_DONTWAIT, NULL, NULL) = 1
10 close(6)                          = 0
11 setsockopt(3, SOL_SOCKET, SO_REUSEADDR, [1], 4) = 0
11 accept4(3, NULL, NULL, SOCK_CLOEXEC) = -1 EAGAIN (Resource temporarily unavailable)
10 +++ exited with 0 +++
11 accept4(3, NULL, NULL, SOCK_CLOEXEC) = 7
11 read(7, "GET /", 1024)            = 5
"#;

    #[test]
    fn a_hand_over_is_told_by_role() {
        let calls = hand_over(TRACE, 10, 11).unwrap();
        let expected = [
            (Role::Predecessor, "read"),
            (Role::Predecessor, "clone"),
            (Role::Predecessor, "recvfrom"),
            (Role::Predecessor, "close"),
            (Role::Child, "fcntl F_SETFD"),
            (Role::Child, "execve"),
            (Role::Successor, "setsockopt SO_REUSEADDR"),
            (Role::Successor, "accept4"),
            (Role::Waiting, "epoll_pwait"),
        ];
        let calls: Vec<_> = calls
            .iter()
            .map(|(role, call)| (*role, call.as_str()))
            .collect();
        assert_eq!(calls, expected);
    }

    #[test]
    fn a_trace_without_the_signal_is_refused() {
        assert!(hand_over("10 close(3) = 0\n", 10, 11).is_err());
        assert!(hand_over("", 10, 11).is_err());
    }

    #[test]
    fn arguments_end_where_they_end() {
        assert_eq!(
            arguments(r#"f(1, "a,)\"", {x=1, y=2}, [3]) = 0"#),
            ["1", r#""a,)\"""#, "{x=1, y=2}", "[3]"]
        );
        assert_eq!(arguments("f()"), [""]);
        assert_eq!(arguments("+++ exited +++"), Vec::<&str>::new());
    }
}
