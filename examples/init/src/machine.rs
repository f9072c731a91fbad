//! What the first process of a machine finds missing.

use core::ffi::CStr;

use rustix::fs::{Access, AtFlags, CWD, Mode, accessat, mkdirat};
use rustix::mount::{MountFlags, mount};
use rustix::process::getpid;
use rustix::system::{RebootCommand, reboot};

use crate::sys;

/// The first thread of the kernel.
const KTHREADD: usize = 2;

/// Whether this is pid 1 of the machine itself, and not of a container.
pub(crate) fn is_ours() -> bool {
    getpid().is_init() && sys::is_kernel_thread(KTHREADD)
}

/// Mounts what is missing, brings the loopback interface up, and takes the console for what standard
/// streams there are none. What fails is told by what the program cannot do then.
pub(crate) fn set_up() {
    // No devices, and no programs.
    let plain = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount_missing(c"proc", c"/proc", c"/proc/self", plain);
    mount_missing(c"sysfs", c"/sys", c"/sys/kernel", plain);
    mount_missing(c"devtmpfs", c"/dev", c"/dev/null", MountFlags::NOSUID);
    sys::bring_loopback_up();
    // Ctrl-Alt-Del is SIGINT from now on, and not the end of everything at once.
    let _ = reboot(RebootCommand::CadOff);
}

/// Mounts a file system of the kernel's own, unless something shows that it is there.
#[inline(never)]
fn mount_missing(kind: &CStr, path: &CStr, shown_by: &CStr, flags: MountFlags) {
    if accessat(CWD, shown_by, Access::EXISTS, AtFlags::empty()).is_err() {
        let _ = mkdirat(CWD, path, Mode::from_raw_mode(0o755));
        let _ = mount(kind, path, kind, flags, None);
    }
}

/// Puts something at 0, 1 and 2 where nothing is: the console, or what takes anything.
pub(crate) fn open_standard_fds() {
    for number in 0..3 {
        // The lowest free number is this one.
        if !sys::is_open(number) && !sys::open(c"/dev/console") && !sys::open(c"/dev/null") {
            sys::duplicate(number.wrapping_sub(1));
        }
    }
}
