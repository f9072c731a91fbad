//! What the README says of systemd, done word for word.

use std::fs;

use anyhow::{Context, Result, bail, ensure};

use super::stage::{PLACE, SERVICE, SOCKET, Stage, UNITS};
use crate::daemon::deploy;
use crate::readme;
use crate::story::Figures;

/// Where the commands are, and in which folder of the machine they are given.
const HEADING: &str = "Under systemd";
const CHECKOUT: &str = "/srv/gracenet";

/// What has been done here, and not in the machine, which has no toolchain.
const BUILD: &str = "cargo build --release -p gracenet-httpd --features systemd";

/// Each command succeeds, and shows the generation that the comment behind it promises. The
/// machine has the packages that are installed in the first one, as far as they are needed here: it
/// cannot reach a mirror.
pub(crate) fn word_for_word(stage: &Stage<'_>) -> Result<Figures> {
    if !stage.reload_waits {
        return Ok(Figures {
            remark: "is about a later version".to_owned(),
            ..Figures::default()
        });
    }
    let units = stage.path(UNITS);
    stage.systemctl(&["--quiet", "disable", SOCKET, SERVICE])?;
    for unit in [SOCKET, SERVICE] {
        fs::remove_file(units.join(unit))?;
    }
    fs::remove_file(stage.path(PLACE))?;
    let checkout = stage.path(CHECKOUT);
    let folder = checkout.join("examples/httpd/systemd");
    fs::create_dir_all(&folder)?;
    for unit in [SOCKET, SERVICE] {
        fs::copy(stage.parts.units.join(unit), folder.join(unit))?;
    }
    fs::create_dir_all(checkout.join("target/release"))?;
    deploy(
        &stage.parts.daemon,
        &checkout.join("target/release/gracenet-httpd"),
    )?;

    let text = fs::read_to_string(&stage.parts.readme)?;
    let commands =
        readme::commands(&text, HEADING).context("the README has no commands for systemd")?;
    let (mut requests, mut built) = (0, false);
    for line in commands.lines() {
        let (command, comment) = line.split_once('#').unwrap_or((line, ""));
        match command.split_whitespace().next() {
            Some("apt") | None => continue,
            Some("cargo") => {
                ensure!(command.trim_end() == BUILD, "{command}");
                built = true;
                continue;
            }
            Some("curl") => requests += 1,
            Some(_) => {}
        }
        let script = format!("cd {CHECKOUT} && {line}");
        let (succeeded, said) = stage.run(&["bash", "-c", &script])?;
        ensure!(succeeded, "{line}: {said}");
        if let Some(at) = comment.find("generation=") {
            let promised = comment[at..].trim_end();
            ensure!(said.contains(&format!("{promised} ")), "{line}: {said}");
        }
        if line.starts_with("systemctl show") {
            let expected = format!("MainPID={}\nStatusText=serving\n", stage.main_pid()?);
            ensure!(said == expected, "{line}: {said}");
        }
    }
    if !built || requests < 2 {
        bail!("the README does not build the daemon and ask it twice");
    }
    stage.systemctl(&["--quiet", "disable", "--now", SOCKET, SERVICE])?;
    Ok(Figures {
        requests,
        failures: 0,
        remark: String::new(),
    })
}
