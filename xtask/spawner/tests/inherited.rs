//! Somebody runs it from a shell in whatever state: its fds, its limit, its signals and the number
//! of instructions of a start are what they always are.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

/// What is said in front of its name in the shell.
const STATES: [&str; 9] = [
    "exec 3</dev/null; exec",
    "exec 3</dev/null 4</dev/null 6</dev/null 9</dev/null; exec",
    "exec 2>&-; exec",
    "ulimit -S -n 20; exec",
    "trap '' CHLD; exec",
    "LISTEN_FDS=1 NAME=value exec",
    "unset PATH; exec",
    "exec env -i",
    "exec env --block-signal",
];

fn in_shell(before: &str, arguments: &str) -> Command {
    let script = format!("{before} \"$0\" /bin/true {arguments}");
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_gracenet-spawner")]);
    shell
}

#[test]
fn fds_limit_and_signals_are_the_same_whatever_is_inherited() {
    let plain = state("exec");
    assert!(plain.ends_with("\n7\n8\n9\n"), "{plain}");
    for before in STATES {
        assert_eq!(state(before), plain, "{before}");
    }
}

/// Of the process, when it has opened what it is to have: its limit, what signals it
/// blocks and ignores, and its fds.
fn state(before: &str) -> String {
    let mut shell = in_shell(before, "1 10");
    shell.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut spawner = shell.spawn().expect("a shell");
    let mut answers = BufReader::new(spawner.stdout.take().expect("its stdout"));
    let mut line = String::new();
    answers.read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n", "{before}");

    let proc = format!("/proc/{}", spawner.id());
    let mut state = String::new();
    for (file, start) in [
        ("limits", "Max open files"),
        ("status", "SigBlk"),
        ("status", "SigIgn"),
    ] {
        let text = fs::read_to_string(format!("{proc}/{file}")).expect("its state");
        let line = text.lines().find(|line| line.starts_with(start));
        state += &format!("{}\n", line.expect("a line of it"));
    }
    let fds = fs::read_dir(format!("{proc}/fd")).expect("its fds");
    let names = fds.map(|fd| fd.expect("an fd").file_name().into_string());
    let mut fds: Vec<u32> = names
        .map(|name| name.expect("text").parse().expect("a number"))
        .collect();
    fds.sort_unstable();
    for fd in fds {
        state += &format!("{fd}\n");
    }

    drop(spawner.stdin.take());
    let status = spawner.wait().expect("its end");
    assert!(status.success(), "{before}: {status}");
    state
}

#[test]
fn count_is_the_same_whatever_is_inherited() {
    let plain = count("exec");
    for before in STATES.into_iter().chain(["exec 0<&-; exec"]) {
        let now = count(before);
        // Where the kernel puts the stack is another matter; a variable more is 2 %.
        let difference = now.abs_diff(plain);
        assert!(difference * 200 <= plain, "{before}: {now}, and {plain}");
    }
}

/// Of the instructions with one socket.
fn count(before: &str) -> u64 {
    let output = in_shell(before, "instructions 1").output();
    let output = output.expect("a shell");
    assert!(output.status.success(), "{before}: {output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.trim_end().parse().expect("a number")
}
