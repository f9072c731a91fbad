//! The end of all that a test has started, for one that fails as well.

use std::fs;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process, set_child_subreaper, waitid,
};

/// Whoever descends from this process is killed when this is dropped, be it a child, a grandchild or
/// an orphan. Only for tests that are [`alone`](super::alone): it cannot tell whose they are.
///
/// A test that passes leaves nobody, or fails by this.
#[derive(Debug)]
pub struct Descendants(());

impl Descendants {
    /// From now on orphans are this process' children.
    pub fn watch() -> Descendants {
        set_child_subreaper(Some(getpid())).unwrap();
        Descendants(())
    }
}

impl Drop for Descendants {
    /// Each by its own pid, which is its own until it is reaped here.
    fn drop(&mut self) {
        // With each that ends its children come.
        const ROUNDS: usize = 1000;
        for _ in 0..ROUNDS {
            let children = children();
            if children.is_empty() {
                break;
            }
            for child in children {
                let _ = kill_process(child, Signal::KILL);
                let _ = waitid(WaitId::Pid(child), WaitIdOptions::EXITED);
            }
        }
        let _ = set_child_subreaper(None);
    }
}

/// The children of this process, whichever of its threads has started them.
fn children() -> Vec<Pid> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let lists =
        tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    let text: Vec<String> = lists.collect();
    let pids = text.iter().flat_map(|list| list.split_whitespace());
    pids.filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
        .collect()
}
