//! `selftest`: what the crate does with a kernel, on a machine that runs nothing else.
//!
//! It is the only file of a machine, as /init, or any program elsewhere. It says on its standard
//! output, one line each:
//!
//! - `selftest: kernel RELEASE MACHINE`
//! - `selftest: PASS SCENE: WHAT`, or `selftest: FAIL SCENE: WHAT: WHY`, one for each check
//! - `selftest: done PASSED FAILED`, after which a machine is powered off
//!
//! The scenes are three: the kernel as it is, one that refuses clone3 as a container's filter
//! does, and one that knows nothing that is younger than Linux 4.19. In the end the program replaces
//! itself in its own place, and says the rest from there.
#![no_std]
#![no_main]
#![allow(unsafe_code)] // What the kernel left on the stack, and the inherited fds.
#![allow(clippy::result_large_err)] // A reason is a line, and there is no allocator to box it.

mod heir;
mod in_place;
mod kernel;
mod report;
mod scene;

use core::ffi::CStr;

use gracenet::{Args, Changes, Deadline, Failure, Net, Program};
use heapless::format;
use rustix::mount::{MountFlags, mount};
use rustix::process::{Pid, WaitOptions};
use rustix::system::{RebootCommand, reboot, uname};

use crate::kernel::Filter;
use crate::report::{Report, Why, because, ensure, equal};

gracenet_start::main!(run);

fn run(start: gracenet_start::Args) -> i32 {
    // What a successor is given, before anything is opened.
    let given = (start.argc > 2).then(heir::Given::look);
    if start.argc < 2 {
        kernel::prepare_signals();
    }
    // SAFETY: what the kernel left on the stack, which nobody changes.
    let program = unsafe { Program::from_raw(start.argv, start.envp) };
    let mut arguments = program.args().iter().skip(1).map(CStr::to_bytes);
    match (arguments.next(), arguments.next()) {
        (None, _) => first(&program),
        (Some(b"scene"), Some(name)) => in_scene(&program, name),
        (Some(b"heir"), Some(others)) => heir::run(&program, given.as_ref(), others),
        (Some(b"replaced"), Some(counts)) => match given {
            Some(given) => end(in_place::arrive(&program, &given, counts)),
            None => 6,
        },
        (Some(b"exit"), _) => scene::EXIT_STATUS,
        (Some(b"hang"), _) => kernel::sleep_ms(60_000),
        (Some(b"die"), _) => kernel::kill_self(),
        (Some(b"close"), _) => {
            // SAFETY: the channel, as there are no sockets; of which nothing is made.
            unsafe { rustix::io::close(3) };
            kernel::sleep_ms(60_000)
        }
        _ => 2,
    }
}

/// The scenes that need another process, as a filter cannot be taken off.
const FILTERED: [(&CStr, &str); 2] = [(c"clone3", "clone3 refused"), (c"4.19", "as of Linux 4.19")];

fn first(program: &Program<'_>) -> i32 {
    let is_machine = rustix::process::getpid() == Pid::INIT;
    let name = uname();
    let [release, machine] = [name.release(), name.machine()].map(CStr::to_bytes);
    report::say(&[b"kernel ", release, b" ", machine]);

    let mut report = Report::new("machine", None);
    if is_machine {
        report.check("/proc can be mounted", mount_proc());
        report.check("/dev/fd names the fds", name_fds());
        report.check("the loopback interface comes up", kernel::loopback_up());
    }
    report.scene("as it is");
    scene::play(program, true, &mut report);
    for (argument, name) in FILTERED {
        report.scene(name);
        let outcome = play_elsewhere(program, argument, &mut report);
        report.check("the scene is played to its end", outcome);
    }
    report.scene("in place");
    let why = in_place::leave(program, &mut report);
    report.check("the program is replaced", Err(why));
    end(report)
}

/// The last checks, the counts, and the end of a machine.
fn end(mut report: Report<'_>) -> i32 {
    let is_machine = rustix::process::getpid() == Pid::INIT;
    report.scene("machine");
    if is_machine {
        report.check("orphans are reaped", reap_orphans());
    }
    let (passed, failed) = report.counts();
    if let Ok(line) = format!(64; "done {passed} {failed}") {
        report::say(&[line.as_bytes()]);
    }
    if is_machine {
        rustix::fs::sync();
        for how in [RebootCommand::PowerOff, RebootCommand::Restart] {
            let _ = reboot(how);
        }
    }
    i32::from(failed > 0)
}

fn mount_proc() -> Result<(), Why> {
    let _ = rustix::fs::mkdir("/proc", rustix::fs::Mode::RWXU);
    mount(c"proc", c"/proc", c"proc", MountFlags::empty(), None).map_err(because)
}

/// As every system has it. TOMOYO wants it for a program that is executed by its fd.
fn name_fds() -> Result<(), Why> {
    let _ = rustix::fs::mkdir("/dev", rustix::fs::Mode::RWXU);
    rustix::fs::symlink("/proc/self/fd", "/dev/fd").map_err(because)
}

/// A scene in a process of its own, whose lines are taken for ours.
fn play_elsewhere(
    program: &Program<'_>,
    argument: &CStr,
    report: &mut Report<'_>,
) -> Result<(), Why> {
    let (ours, mut net) = scene::reported_net()?;
    let path = program.path().unwrap_or_default();
    let args = [path, c"scene", argument];
    let changes = Changes::new().args(Args::new(&args));
    let started = net.start_process_with(program, &changes);
    let successor = started.map_err(because)?;
    let deadline = Deadline::after_ms(90_000);
    let ended = report.relay(&ours, deadline);
    successor.wait_ready(deadline).map_err(because)?;
    report::seen(&ours)?;
    equal(successor.probation(deadline), Err(Failure::Exited(0)))?;
    ended
}

fn in_scene(program: &Program<'_>, name: &[u8]) -> i32 {
    // SAFETY: nothing else has been opened.
    let Ok(mut net) = (unsafe { Net::<1>::inherit(program.environ()) }) else {
        return 3;
    };
    let Some(Ok(to)) = net.claim("report").map(|it| net.duplicate(it)) else {
        return 4;
    };
    let filter = match name {
        b"clone3" => Filter::Clone3,
        _ => Filter::Linux4_19,
    };
    let mut report = Report::new("", Some(&to));
    report.check("the filter is installed", filter.install().map_err(because));
    scene::play(program, filter == Filter::Clone3, &mut report);
    report.end();
    if net.ready().is_err() || report.wait_until_seen().is_err() {
        return 5;
    }
    0
}

/// What our children have left behind is ours.
fn reap_orphans() -> Result<(), Why> {
    let deadline = Deadline::after_ms(20_000);
    let mut reaped = 0;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => reaped += 1,
            Ok(None) => {
                ensure(!deadline.has_passed(), "one of them lives on")?;
                kernel::sleep_ms(10);
            }
            Err(rustix::io::Errno::CHILD) => break,
            Err(error) => return Err(because(error)),
        }
    }
    ensure(reaped > 0, "there were none")
}
