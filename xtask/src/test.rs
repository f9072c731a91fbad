//! `cargo xtask test`: unit, doc and story tests. The stories build the programs
//! that they start themselves.

use anyhow::Result;

use crate::step::{self, Outcome};
use crate::workspace::Workspace;

/// Runs every test that there is.
pub(crate) fn run(workspace: &Workspace) -> Result<Outcome> {
    for package in ["gracenet", "xtask", "gracenet-spawner"] {
        step::run(workspace.cargo(["test", "-p"]).arg(package))?;
    }
    // What the feature adds. That it changes nothing of the rest is shown by the units.
    for targets in [["--lib", "--test", "std_server"].as_slice(), &["--doc"]] {
        let mut test = workspace.cargo(["test", "-p", "gracenet", "--features", "std"]);
        step::run(test.args(targets))?;
    }
    // Alone, each: what one program wants of a dependency must not reach another.
    for program in workspace.programs() {
        for target in program.test_targets() {
            let mut test = workspace.cargo(["test", "-p"]);
            step::run(test.arg(&program.name).args(target))?;
        }
    }
    // And what the daemon has for systemd alone.
    let mut test = workspace.cargo(["test", "-p", "gracenet-httpd", "--lib"]);
    step::run(test.args(["--features", "systemd"]))?;
    Ok(Outcome::Done)
}
