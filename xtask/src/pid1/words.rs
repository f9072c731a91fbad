//! Pure. What `gracenet-init` says on its stderr, each as it follows `gracenet-init[PID]: `.

/// And the pid of a program.
pub(crate) const STARTED: &str = "started ";
pub(crate) const READY: &str = "ready ";
/// And the pid of one that did not end in time.
pub(crate) const KILLING: &str = "killing ";
/// And the number of the image, which was the first.
pub(crate) const TAKEN_OVER: &str = "taken over in place, generation ";
/// And the number of the image that has come back.
pub(crate) const ROLLED_BACK: &str = "rolled back, generation ";
/// And why, of itself.
pub(crate) const NOT_REPLACED: &str = "not replaced: ";
/// And milliseconds.
pub(crate) const RESTARTING: &str = "restarting in ";
pub(crate) const WAITING: &str = "waiting for a connection";
pub(crate) const TERMINATING: &str = "terminating";

/// `exited(pid, status)` — of a program.
pub(crate) fn exited(pid: u32, status: i32) -> String {
    format!("{pid} exited with status {status}")
}

/// `said(line, words)` — what comes behind these words, where it is they that it says in this line.
pub(crate) fn said<'a>(line: &'a str, words: &str) -> Option<&'a str> {
    // A kernel may have left a line without its end.
    let (_, line) = line.split_once("gracenet-init[")?;
    line.split_once("]: ")?.1.strip_prefix(words)
}
