//! The duties of pid 1, and of whoever has taken them on.

use linux_raw_sys::general::{
    LINUX_REBOOT_CMD_HALT, LINUX_REBOOT_CMD_POWER_OFF, LINUX_REBOOT_CMD_RESTART,
};
use rustix::fd::{AsRawFd as _, BorrowedFd};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use crate::error::Error;
pub use crate::ready::Exit;
use crate::sys::{self, Waited};

/// `reap()` — the next child that has ended, whichever it is, and how; `None` when there is none
/// just now. Never blocks.
///
/// It takes the status of *any* child of this process. One that a [`Successor`](crate::Successor) is
/// kept for is to be told to it ([`note_end`](crate::Successor::note_end));
/// [`NetView::reap`](crate::NetView::reap) and a [`Supervisor`](crate::supervisor::Supervisor) do so
/// themselves.
///
/// # Errors
///
/// - `waitid`: it is refused by a filter. That there are no children is no error.
///
/// # References
///
/// - [waitid(2)](https://man7.org/linux/man-pages/man2/waitid.2.html)
#[doc(alias = "waitid")]
pub fn reap() -> Result<Option<(Pid, Exit)>, Error> {
    let mut pid = 0;
    let exit = match sys::wait_any(&mut pid) {
        Waited::Exited(status) => Exit::Exited(status),
        Waited::Killed(signal) => Exit::Killed(signal),
        Waited::Unknown(error) if !error.is(Errno::CHILD) => return Err(error),
        _ => return Ok(None),
    };
    Ok(Pid::from_raw(pid as i32).map(|pid| (pid, exit)))
}

/// `become_subreaper()` — processes whose parents have ended become children of this one, as they do
/// of pid 1, and are to be [reaped](reap).
///
/// It holds for those that descend from this process, stays across [a
/// replacement](crate::NetView::replace), and is not passed on to children.
///
/// # Errors
///
/// - `prctl`: it is refused by a filter.
///
/// # Linux
///
/// Needs 3.4.
///
/// # References
///
/// - [PR_SET_CHILD_SUBREAPER(2const)](https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html)
#[doc(alias = "PR_SET_CHILD_SUBREAPER")]
pub fn become_subreaper() -> Result<(), Error> {
    sys::set_subreaper()
}

/// `signal_group(leader, signal)` — sends a signal to every process of the group that `leader` leads:
/// a child that was started with [`Changes::group`](crate::Changes::group) and has not been reaped.
///
/// # Errors
///
/// - ESRCH: nobody is in it any more.
/// - EPERM: all of them have become other users.
#[doc(alias = "killpg")]
pub fn signal_group(leader: Pid, signal: Signal) -> Result<(), Error> {
    let leader = leader.as_raw_nonzero().get().unsigned_abs();
    sys::kill_group(leader, signal.as_raw().unsigned_abs())
}

/// `set_foreground(terminal, leader)` — makes the group that `leader` leads the one that the terminal
/// speaks to. From the background this process must block SIGTTOU.
///
/// A child that is started with [`Changes::group`](crate::Changes::group) has done so itself; this is to
/// take the terminal back.
///
/// # Errors
///
/// - ENOTTY: it is no terminal, or not that of this session.
/// - EPERM: the group is none of this session.
#[doc(alias = "tcsetpgrp")]
pub fn set_foreground(terminal: BorrowedFd<'_>, leader: Pid) -> Result<(), Error> {
    let leader = leader.as_raw_nonzero().get().unsigned_abs();
    sys::set_foreground(terminal.as_raw_fd(), leader)
}

/// What becomes of a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Machine {
    /// It is switched off.
    PowerOff = LINUX_REBOOT_CMD_POWER_OFF,
    /// It starts anew.
    Reboot = LINUX_REBOOT_CMD_RESTART,
    /// It stops, and stays on.
    Halt = LINUX_REBOOT_CMD_HALT,
}

/// `end_machine(machine)` — writes to the disks what is still to be written, and switches the
/// machine off, or what is wanted. Returns only when that fails.
///
/// In a pid namespace that is not the machine's the kernel kills pid 1 instead (Linux 3.4).
/// Processes are not ended before, nor file systems unmounted.
///
/// # Errors
///
/// - `reboot: os error 1` (EPERM): CAP_SYS_BOOT is missing.
///
/// # References
///
/// - [reboot(2)](https://man7.org/linux/man-pages/man2/reboot.2.html)
#[doc(alias = "reboot")]
pub fn end_machine(machine: Machine) -> Result<(), Error> {
    sys::sync();
    sys::reboot(machine as u32)
}
