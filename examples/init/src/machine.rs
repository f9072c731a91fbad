//! What the first process of a machine finds missing.

use core::ffi::CStr;

use linux_raw_sys::general::{MS_NODEV, MS_NOEXEC, MS_NOSUID};

use crate::sys;

/// The kernel's file systems: their kind, where they belong, what shows that they are there.
const FILE_SYSTEMS: [(&CStr, &CStr, &CStr, u32); 3] = [
    (
        c"proc",
        c"/proc",
        c"/proc/self",
        MS_NOSUID | MS_NODEV | MS_NOEXEC,
    ),
    (
        c"sysfs",
        c"/sys",
        c"/sys/kernel",
        MS_NOSUID | MS_NODEV | MS_NOEXEC,
    ),
    (c"devtmpfs", c"/dev", c"/dev/null", MS_NOSUID),
];

/// The first thread of the kernel.
const KTHREADD: usize = 2;

/// Whether this is pid 1 of the machine itself, and not of a container.
pub(crate) fn is_ours() -> bool {
    sys::pid() == 1 && sys::is_kernel_thread(KTHREADD)
}

/// Mounts what is missing, brings the loopback interface up, and takes the console for what standard
/// streams there are none. What fails is told by what the program cannot do then.
pub(crate) fn set_up() {
    for (kind, path, shown_by, flags) in FILE_SYSTEMS {
        if !sys::exists(shown_by) {
            sys::make_directory(path);
            let _ = sys::mount(kind, path, flags);
        }
    }
    let _ = sys::bring_up(b"lo");
}

/// Puts something at 0, 1 and 2 where nothing is: the console, or what takes anything.
pub(crate) fn open_standard_fds() {
    for number in 0..3 {
        // The lowest free number is this one.
        if !sys::is_open(number) {
            let _ = sys::open(c"/dev/console")
                .or_else(|_| sys::open(c"/dev/null"))
                .or_else(|_| sys::duplicate(number.wrapping_sub(1)));
        }
    }
}
