//! The daemon as a service of the machine, its clients, and what systemd says of it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};

use super::Parts;
use super::machine::{Machine, PATIENCE};
use crate::answer::Answer;
use crate::daemon::deploy;
use crate::demo::roster::Roster;
use crate::endpoint::Endpoint;
use crate::story::load::{Load, ask};

pub(crate) const SERVICE: &str = "gracenet-httpd.service";
pub(crate) const SOCKET: &str = "gracenet-httpd.socket";

/// Where units are, and where the daemon is.
pub(crate) const UNITS: &str = "/etc/systemd/system";
pub(crate) const PLACE: &str = "/usr/local/bin/gracenet-httpd";

/// A machine in which the daemon is installed.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    machine: &'a Machine,
    pub(crate) parts: &'a Parts,
    /// systemd has `Type=notify-reload`: `systemctl reload` waits until it is done.
    pub(crate) reload_waits: bool,
    /// It has `FileDescriptorStorePreserve=`.
    pub(crate) store_stays: bool,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(machine: &'a Machine, parts: &'a Parts) -> Result<Self> {
        let version = machine.version_number()?;
        fs::create_dir_all(machine.path("/usr/local/bin"))?;
        Ok(Self {
            machine,
            parts,
            reload_waits: version >= 253,
            store_stays: version >= 254,
        })
    }

    /// Stops and forgets everything, and puts units and the build in place.
    pub(crate) fn clear(&self) -> Result<()> {
        self.machine.run(&["systemctl", "stop", SOCKET, SERVICE])?;
        self.machine
            .run(&["systemctl", "clean", "--what=fdstore", SERVICE])?;
        self.machine
            .run(&["systemctl", "reset-failed", SOCKET, SERVICE])?;
        let drop_ins = self.drop_ins();
        if drop_ins.exists() {
            fs::remove_dir_all(&drop_ins)?;
        }
        fs::create_dir_all(&drop_ins)?;
        for unit in [SOCKET, SERVICE] {
            fs::copy(
                self.parts.units.join(unit),
                self.machine.path(UNITS).join(unit),
            )?;
        }
        if !self.reload_waits {
            self.copy_drop_in("before-253.conf")?;
        }
        self.deploy()?;
        // Which also makes systemd read them; and before version 261 it forgets what it keeps for a
        // unit that nobody wants.
        self.systemctl(&["--quiet", "enable", SERVICE])?;
        self.systemctl(&["daemon-reload"])
    }

    fn drop_ins(&self) -> PathBuf {
        self.machine.path(UNITS).join(format!("{SERVICE}.d"))
    }

    fn copy_drop_in(&self, name: &str) -> Result<()> {
        fs::copy(self.parts.units.join(name), self.drop_ins().join(name))
            .map(drop)
            .with_context(|| format!("cannot copy {name}"))
    }

    /// Adds one of the drop-ins that are beside the units.
    pub(crate) fn add_drop_in(&self, name: &str) -> Result<()> {
        self.copy_drop_in(name)?;
        self.machine.must(&["systemctl", "daemon-reload"]).map(drop)
    }

    /// Adds one with these lines for `[Service]`.
    pub(crate) fn add_lines(&self, lines: &str) -> Result<()> {
        let place = self.drop_ins().join("zz-story.conf");
        fs::write(place, format!("[Service]\n{lines}\n"))?;
        self.machine.must(&["systemctl", "daemon-reload"]).map(drop)
    }

    /// Puts the build in its place, as deployments do.
    pub(crate) fn deploy(&self) -> Result<()> {
        deploy(&self.parts.daemon, &self.machine.path(PLACE))
    }

    /// Puts a script there instead.
    pub(crate) fn deploy_script(&self, script: &str) -> Result<()> {
        let place = self.machine.path(PLACE);
        let beside = place.with_extension("new");
        fs::write(&beside, script)?;
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o755))?;
        fs::rename(&beside, &place).context("cannot replace the build")
    }

    /// `stage.systemctl(words)` — fails unless it succeeds.
    pub(crate) fn systemctl(&self, words: &[&str]) -> Result<()> {
        let words = [&["systemctl"], words].concat();
        self.machine.must(&words).map(drop)
    }

    /// A command in the machine: whether it succeeded, and what it wrote.
    pub(crate) fn run(&self, words: &[&str]) -> Result<(bool, String)> {
        self.machine.run(words)
    }

    /// Sends a signal to a process of the machine.
    pub(crate) fn signal(&self, signal: &str, pid: u32) -> Result<()> {
        let script = format!("kill -{signal} {pid}");
        self.machine.must(&["bash", "-c", &script]).map(drop)
    }

    /// `stage.show(property)` — what systemd has of the service.
    pub(crate) fn show(&self, property: &str) -> Result<String> {
        self.show_of(SERVICE, property)
    }

    /// `stage.show_of(unit, property)` — what systemd has of any unit.
    pub(crate) fn show_of(&self, unit: &str, property: &str) -> Result<String> {
        let words = ["systemctl", "show", "--value", "--property", property];
        let text = self.machine.must(&[&words[..], &[unit]].concat())?;
        Ok(text.trim_end().to_owned())
    }

    pub(crate) fn main_pid(&self) -> Result<u32> {
        let text = self.show("MainPID")?;
        text.parse().with_context(|| format!("MainPID={text}"))
    }

    /// Fails unless systemd has this of the service.
    pub(crate) fn expect(&self, property: &str, expected: &str) -> Result<()> {
        let found = self.show(property)?;
        ensure!(
            found == expected,
            "{property} is {found:?} and not {expected:?}"
        );
        Ok(())
    }

    /// Waits until systemd has something of the service that is wanted, which is the answer.
    pub(crate) fn until(&self, property: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.show(property)?;
            if wanted(&found) {
                return Ok(found);
            }
            ensure!(Instant::now() < deadline, "{property} stays {found:?}");
        }
    }

    pub(crate) fn tcp(&self) -> Endpoint {
        Endpoint::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)))
    }

    /// Where a path of the machine is for us.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.machine.path(path)
    }

    /// The unix socket, by its path in the machine.
    pub(crate) fn unix(&self, path: &str) -> Endpoint {
        Endpoint::Unix(self.machine.path(path))
    }

    /// `stage.slow(scope, ms, pid)` — a request that takes so long, which is under way; what waits for its
    /// answer, by this process.
    pub(crate) fn slow<'s>(
        &'s self,
        scope: &'s thread::Scope<'s, '_>,
        ms: u32,
        pid: u32,
    ) -> Result<impl FnOnce() -> Result<()> + 's> {
        let endpoint = self.tcp();
        let before = self.connections(&endpoint)?;
        let asked = endpoint.clone();
        let client = scope.spawn(move || asked.get(&format!("/sleep/{ms}"), PATIENCE));
        let deadline = Instant::now() + PATIENCE;
        while self.connections(&endpoint)? <= before {
            ensure!(Instant::now() < deadline, "the request does not arrive");
        }
        Ok(move || {
            let body = client.join().map_err(|_| anyhow!("a client panicked"))??;
            let answer = Answer::parse(&body).context("no answer of the daemon")?;
            ensure!(answer.pid == pid, "{answer}");
            Ok(())
        })
    }

    /// How many are open, that of the question among them.
    fn connections(&self, endpoint: &Endpoint) -> Result<u64> {
        let body = endpoint.get("/status", PATIENCE)?;
        let status: serde_json::Value = serde_json::from_slice(&body)?;
        status["connections"].as_u64().context("no connections")
    }

    /// Fails unless this generation serves, and is the main process for systemd.
    pub(crate) fn expect_generation(&self, generation: u32) -> Result<Answer> {
        let answer = ask(&self.tcp())?;
        let main = self.main_pid()?;
        ensure!(
            (answer.generation, answer.pid) == (generation, main),
            "process {} of generation {} answers; MainPID is {main}, and {generation} was expected",
            answer.pid,
            answer.generation
        );
        Ok(answer)
    }

    /// `systemctl reload`, and the generation that it is to lead to. Where it does not wait, this
    /// does.
    pub(crate) fn reload(&self, generation: u32) -> Result<Answer> {
        self.systemctl(&["reload", SERVICE])?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.expect_generation(generation) {
                Err(_) if !self.reload_waits && Instant::now() < deadline => {}
                answer => return answer,
            }
        }
    }

    /// Clients of all kinds, from now on.
    pub(crate) fn load(&self, unix: &str) -> Result<Load> {
        let first = ask(&self.tcp())?;
        Load::start([self.tcp(), self.unix(unix)], Roster::new(&first))
    }

    /// `stage.variables(pid, name)` — the values that a process was given of a variable.
    pub(crate) fn variables(&self, pid: u32, name: &str) -> Result<Vec<String>> {
        let environ = fs::read(self.path(&format!("/proc/{pid}/environ")))?;
        let environ = String::from_utf8_lossy(&environ);
        let value = |string: &str| {
            string
                .strip_prefix(name)?
                .strip_prefix('=')
                .map(str::to_owned)
        };
        Ok(environ.split('\0').filter_map(value).collect())
    }

    /// Whether there is a process of the daemon in the machine.
    pub(crate) fn is_running(&self) -> Result<bool> {
        for entry in fs::read_dir(self.machine.path("/proc"))? {
            let name = fs::read_to_string(entry?.path().join("comm"));
            if name.is_ok_and(|name| name.trim_end() == "gracenet-httpd") {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What the journal has of a process of the service; of all of them without one.
    pub(crate) fn log_of(&self, pid: Option<u32>) -> Result<String> {
        self.machine.must(&["journalctl", "--sync"])?;
        let process = pid.map(|pid| format!("_PID={pid}"));
        let mut words = vec!["journalctl", "--output=cat", "--unit", SERVICE];
        words.extend(process.as_deref());
        self.machine.must(&words)
    }

    /// The end of the journal, for a report of a failure.
    pub(crate) fn journal(&self) -> String {
        let words = [
            "journalctl",
            "--no-pager",
            "--lines=40",
            "--output=short-monotonic",
        ];
        match self.machine.run(&words) {
            Ok((_, text)) => text,
            Err(error) => format!("no journal: {error:#}"),
        }
    }
}
