//! State in the fd store: a service that counts its requests, `tests/programs/src/bin/keeper.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Result, ensure};

use super::stage::{Stage, UNITS};
use crate::answer::Answer;
use crate::daemon::deploy;
use crate::endpoint::Endpoint;
use crate::story::Figures;
use crate::story::load::ask;

const KEEPER: &str = "keeper.service";

const PLACE: &str = "/usr/local/bin/keeper";

const PORT: u16 = 8081;

const SOCKET: &str = "/run/keeper.sock";

const CRASHES: usize = 10;

/// An odd number, so that the count has each of its names in turn when it is killed.
const REQUESTS: usize = 3;

/// What the service has said.
#[derive(Debug, Default)]
struct Seen {
    count: u32,
    /// The process that has answered last.
    pid: u32,
    /// Those in which its processes were given their fds.
    orders: BTreeSet<String>,
}

/// Its three fds come back in whatever order systemd passes them, and are taken by their names: the
/// count of its requests goes on, and those who come meanwhile wait. After a stop, too, unless the
/// version keeps nothing then.
pub(crate) fn state_is_kept(stage: &Stage<'_>) -> Result<Figures> {
    let preserve = match stage.store_stays {
        true => "FileDescriptorStorePreserve=yes\n",
        false => "",
    };
    let unit = format!(
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=notify\n\
         ExecStart={PLACE} 127.0.0.1:{PORT} {SOCKET}\nRestart=always\nRestartSec=0\n\
         FileDescriptorStoreMax=16\n{preserve}[Install]\nWantedBy=multi-user.target\n"
    );
    deploy(&stage.parts.keeper, &stage.path(PLACE))?;
    fs::write(stage.path(UNITS).join(KEEPER), unit)?;
    // As for the daemon: before version 261 nothing is kept for a unit that nobody wants.
    stage.systemctl(&["--quiet", "enable", "--now", KEEPER])?;
    let endpoints = [
        Endpoint::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))),
        stage.unix(SOCKET),
    ];

    let mut seen = Seen::default();
    seen.ask(&endpoints, "")?;
    for crash in 0..CRASHES {
        // Which turns their order round.
        if crash % 2 == 1 {
            stage.systemctl(&["daemon-reload"])?;
        }
        stage.signal("KILL", seen.pid)?;
        seen.ask(&endpoints, expected_state(seen.count))?;
    }
    let orders = seen.orders.len();
    ensure!(
        orders > 1,
        "they always have the same order: {:?}",
        seen.orders
    );
    let mut requests = seen.count;

    stage.systemctl(&["stop", KEEPER])?;
    let kept = stage.show_of(KEEPER, "NFileDescriptorStore")?;
    let remark = match stage.store_stays {
        true => {
            ensure!(kept == "3", "{kept} are kept");
            "goes on after a stop"
        }
        false => {
            ensure!(kept == "0", "{kept} are kept");
            fs::remove_file(stage.path(SOCKET))?;
            seen.count = 0;
            "begins anew after a stop"
        }
    };
    stage.systemctl(&["start", KEEPER])?;
    let state = match stage.store_stays {
        true => expected_state(seen.count),
        false => "",
    };
    seen.ask(&endpoints, state)?;
    requests += REQUESTS as u32;

    stage.systemctl(&["--quiet", "disable", "--now", KEEPER])?;
    Ok(Figures {
        requests: requests.into(),
        failures: 0,
        remark: format!("killed {CRASHES} times, {orders} orders of 3 fds; {remark}"),
    })
}

/// The name that this count has.
fn expected_state(count: u32) -> &'static str {
    match count % 2 {
        0 => "even",
        _ => "odd",
    }
}

impl Seen {
    /// Asks some times over both sockets; fails unless it is another process than before, which was
    /// given both sockets and the count under this name, if any, and goes on to count.
    fn ask(&mut self, endpoints: &[Endpoint], state: &str) -> Result<()> {
        let before = self.pid;
        for endpoint in endpoints.iter().cycle().take(REQUESTS) {
            let Answer {
                pid,
                generation,
                tag,
            } = ask(endpoint)?;
            self.count += 1;
            ensure!(
                generation == self.count,
                "{generation} after {}",
                self.count - 1
            );
            ensure!(pid != before, "process {pid} answers again");
            let mut names: Vec<&str> = tag.split(',').collect();
            names.sort_unstable();
            let expected = match state {
                "" => vec![""],
                state => vec!["admin", state, "web"],
            };
            ensure!(
                names == expected,
                "it was given {names:?}, not {expected:?}"
            );
            self.pid = pid;
            if !state.is_empty() {
                self.orders.insert(tag.replace(state, "count"));
            }
        }
        Ok(())
    }
}
