//! When a service has to say that it is alive.

use core::time::Duration;

use crate::activation::{Variable, VariableError, WATCHDOG_PID, decimal};
use crate::environ::Environ;
use crate::sys;
use crate::time::Deadline;

use super::{Notify, NotifyError, State};

/// The manager's watchdog: it ends a service that does not say in time that all is well.
///
/// ```
/// use gracenet::Environ;
/// use gracenet::notify::Watchdog;
///
/// let environ = Environ::new(&[c"WATCHDOG_USEC=20000000"]);
/// let watchdog = Watchdog::new(environ)?.unwrap();
/// // In an event loop: wait until then at most, and ping.
/// assert!(watchdog.due().remaining_ms() <= Some(10_000));
/// # Ok::<(), gracenet::activation::VariableError>(())
/// ```
///
/// # References
///
/// - [sd_watchdog_enabled(3)](https://www.freedesktop.org/software/systemd/man/latest/sd_watchdog_enabled.html)
#[derive(Clone, Copy, Debug)]
#[doc(alias = "sd_watchdog_enabled")]
pub struct Watchdog {
    timeout_us: u64,
    due: Deadline,
}

impl Watchdog {
    /// `Watchdog::new(environ)` — the one that `WATCHDOG_USEC` tells of; `None` where there is
    /// none, or where `WATCHDOG_PID` says that it is another process'.
    ///
    /// # Errors
    ///
    /// [`VariableError`]: one of them is no number, or there are 0 microseconds.
    pub fn new(environ: Environ<'_>) -> Result<Option<Watchdog>, VariableError> {
        let Some(text) = environ.var(b"WATCHDOG_USEC") else {
            return Ok(None);
        };
        let timeout_us = match decimal(text, u64::MAX - 1) {
            Ok(0) => return Err(VariableError::new(Variable::WatchdogUsec, 0)),
            Ok(timeout) => timeout,
            Err(at) => return Err(VariableError::new(Variable::WatchdogUsec, at)),
        };
        if let Some(text) = environ.var(WATCHDOG_PID) {
            match decimal(text, i32::MAX as u64) {
                Ok(pid) if pid == u64::from(sys::getpid()) => {}
                Ok(_) => return Ok(None),
                Err(at) => return Err(VariableError::new(Variable::WatchdogPid, at)),
            }
        }
        let mut watchdog = Watchdog {
            timeout_us,
            due: Deadline::NEVER,
        };
        watchdog.put_off();
        Ok(Some(watchdog))
    }

    /// Within which time the manager wants to hear something.
    pub const fn timeout(&self) -> Duration {
        Duration::from_micros(self.timeout_us)
    }

    /// When the next [`ping`](Self::ping) is due: half of that time after the last one, as
    /// systemd recommends.
    pub const fn due(&self) -> Deadline {
        self.due
    }

    /// `watchdog.ping(notify)` — says that all is well, if that is due by now.
    ///
    /// # Errors
    ///
    /// [`NotifyError`]: it was not said, and is still due.
    pub fn ping(&mut self, notify: &Notify) -> Result<(), NotifyError> {
        if self.due.has_passed() {
            notify.send(&[State::Watchdog])?;
            self.put_off();
        }
        Ok(())
    }

    fn put_off(&mut self) {
        self.due = Deadline::after(Duration::from_micros(self.timeout_us / 2));
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use core::ffi::CStr;
    use std::ffi::CString;

    fn watchdog(variables: &[&CStr]) -> Result<Option<u64>, (&'static str, usize)> {
        match Watchdog::new(Environ::new(variables)) {
            Ok(found) => Ok(found.map(|found| found.timeout_us)),
            Err(error) => Err((error.name(), error.at())),
        }
    }

    #[test]
    fn it_is_ours_when_no_pid_or_our_own_is_named() {
        let own = CString::new(std::format!("WATCHDOG_PID={}", std::process::id())).unwrap();
        assert_eq!(watchdog(&[]), Ok(None));
        assert_eq!(watchdog(&[&own]), Ok(None));
        assert_eq!(watchdog(&[c"WATCHDOG_USEC=5"]), Ok(Some(5)));
        assert_eq!(watchdog(&[c"WATCHDOG_USEC=5", &own]), Ok(Some(5)));
        assert_eq!(watchdog(&[c"WATCHDOG_USEC=5", c"WATCHDOG_PID=1"]), Ok(None));
    }

    #[test]
    fn what_is_no_number_is_an_error() {
        for (text, at) in [
            (c"WATCHDOG_USEC=", 0),
            (c"WATCHDOG_USEC=0", 0),
            (c"WATCHDOG_USEC=-1", 0),
            (c"WATCHDOG_USEC=20s", 2),
            (c"WATCHDOG_USEC=18446744073709551615", 19),
        ] {
            assert_eq!(watchdog(&[text]), Err(("WATCHDOG_USEC", at)), "{text:?}");
        }
        let variables = [c"WATCHDOG_USEC=5", c"WATCHDOG_PID=x"];
        assert_eq!(watchdog(&variables), Err(("WATCHDOG_PID", 0)));
    }

    /// Half of the time, from the last one on.
    #[test]
    fn a_ping_is_due_in_half_of_the_time() {
        let mut watchdog = Watchdog::new(Environ::new(&[c"WATCHDOG_USEC=40000000"]))
            .unwrap()
            .unwrap();
        let left = watchdog.due().remaining_ms().unwrap();
        assert!((19_000..=20_000).contains(&left), "{left}");
        assert_eq!(watchdog.timeout(), Duration::from_secs(40));
        watchdog.timeout_us = 0;
        watchdog.put_off();
        assert!(watchdog.due().has_passed());
    }
}
