//! Counting open connections, and waiting until there are none.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::thread::futex;

use crate::error::{During, Error, Operation};
use crate::time::Deadline;

/// A counter of what is still open: connections, requests, jobs.
///
/// Any thread of the process raises and lowers it, without a lock; one or more of them can wait
/// until it is 0. Nothing but memory is touched as long as nobody waits: the bit that says that
/// somebody does lies in the same word as the count, so that the last one to leave learns of it
/// by leaving.
///
/// It owns no fd and makes no copy of anything; [`new`](Self::new) is `const`, so that a `static`
/// works. It serves one process: threads of another one that share the memory are not woken.
///
/// The order of things matters at the end. Who accepts raises it, and hands the connection to
/// another thread only then; and what accepts has stopped before the wait begins. Otherwise the
/// count may be 0 for a moment while a connection is on its way.
///
/// # Examples
///
/// ```
/// use gracenet::{Deadline, Drain};
///
/// static WEB: Drain = Drain::new();
/// static ADMIN: Drain = Drain::new();
///
/// let connection = WEB.enter(); // goes with the connection, to whatever thread
/// assert_eq!((WEB.count(), ADMIN.count()), (1, 0));
/// assert!(!WEB.wait(Deadline::after_ms(1))?); // still open
/// drop(connection);
/// assert!(WEB.wait(Deadline::NEVER)?);
/// assert!(ADMIN.wait(Deadline::NEVER)?);
/// # Ok::<(), gracenet::Error>(())
/// ```
pub struct Drain {
    word: AtomicU32,
}

/// One of those that a [`Drain`] counts, until it is dropped.
#[derive(Debug)]
#[must_use = "it counts only until it is dropped"]
pub struct Counted<'a>(&'a Drain);

impl Drain {
    /// The highest count. There are not as many fds in a process.
    ///
    /// Who raises it further has a leak: the counter stays there from then on, whatever is
    /// lowered, because it does not know any more. It never says that nothing is open while
    /// something is.
    pub const MAX: u32 = COUNT;

    /// `Drain::new()` — nothing is open.
    pub const fn new() -> Drain {
        Drain {
            word: AtomicU32::new(0),
        }
    }

    /// `drain.enter()` — one more, until the guard is dropped.
    pub fn enter(&self) -> Counted<'_> {
        self.raise();
        Counted(self)
    }

    /// `drain.raise()` — one more, until [`lower`](Self::lower) is called for it.
    ///
    /// For those that keep connections in a table of numbers, where a guard has no place.
    pub fn raise(&self) {
        raise(&self.word);
    }

    /// `drain.lower()` — one less: whether that was so.
    ///
    /// Where nothing is open it stays at 0, and the answer is no: something was lowered twice,
    /// or never raised. The one that lowers it to 0 wakes those that wait, with a system call.
    pub fn lower(&self) -> bool {
        lower(&self.word)
    }

    /// `drain.count()` — how many are open.
    pub fn count(&self) -> u32 {
        self.word.load(Ordering::Acquire) & COUNT
    }

    /// `drain.wait(deadline)` — waits until nothing is open: whether that came in time.
    ///
    /// What other threads did before they lowered it has happened, and can be seen, when this
    /// says yes. Signals do not end it early.
    ///
    /// # Errors
    ///
    /// - `futex: os error 38` (ENOSYS), `futex: os error 1` (EPERM): the kernel has none, or a
    ///   seccomp filter forbids it. Ask for the [`count`](Self::count) from time to time instead.
    ///
    /// # References
    ///
    /// - [futex(2)](https://man7.org/linux/man-pages/man2/futex.2.html)
    #[doc(alias = "futex")]
    pub fn wait(&self, deadline: Deadline) -> Result<bool, Error> {
        let remaining = || {
            deadline.remaining_ns().map(|left| Timespec {
                tv_sec: (left / 1_000_000_000) as _,
                tv_nsec: (left % 1_000_000_000) as _,
            })
        };
        wait(&self.word, remaining)
    }
}

impl Default for Drain {
    fn default() -> Drain {
        Drain::new()
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Drain").field(&self.count()).finish()
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.lower();
    }
}

/// Somebody waits, or has waited.
const WAITED: u32 = 1 << 31;

/// The other bits.
const COUNT: u32 = !WAITED;

/// What the algorithm wants of its one word. The tests have another, which lets them choose whose
/// turn it is between any two of these.
trait Word {
    fn load(&self) -> u32;
    /// Stores `new` where `old` is found; else what is found. May fail for no reason.
    fn exchange(&self, old: u32, new: u32) -> Result<(), u32>;
    /// Sleeps if `expected` is found, which is looked at and slept upon as one.
    fn sleep(&self, expected: u32, timeout: Option<&Timespec>) -> Result<(), Errno>;
    /// Wakes all that sleep.
    fn wake(&self);
}

impl Word for AtomicU32 {
    fn load(&self) -> u32 {
        AtomicU32::load(self, Ordering::Acquire)
    }

    fn exchange(&self, old: u32, new: u32) -> Result<(), u32> {
        self.compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Acquire)
            .map(drop)
    }

    fn sleep(&self, expected: u32, timeout: Option<&Timespec>) -> Result<(), Errno> {
        futex::wait(self, futex::Flags::PRIVATE, expected, timeout)
    }

    fn wake(&self) {
        // The kernel counts in ints. It fails only where sleeping fails too.
        let _ = futex::wake(self, futex::Flags::PRIVATE, i32::MAX as u32);
    }
}

fn raise(word: &impl Word) {
    let mut found = word.load();
    while found & COUNT != COUNT {
        // The bit stays as it is: who waits goes on waiting for this one as well.
        match word.exchange(found, found.wrapping_add(1)) {
            Ok(()) => return,
            Err(other) => found = other,
        }
    }
}

fn lower(word: &impl Word) -> bool {
    let mut found = word.load();
    loop {
        let left = match found & COUNT {
            0 => return false,
            // It has been higher, nobody knows by how much.
            COUNT => return true,
            count => count.wrapping_sub(1),
        };
        // At 0 the bit goes as well: all are woken, and who waits again sets it again.
        let new = if left == 0 { 0 } else { found & WAITED | left };
        match word.exchange(found, new) {
            Ok(()) if left == 0 && found & WAITED != 0 => {
                word.wake();
                return true;
            }
            Ok(()) => return true,
            Err(other) => found = other,
        }
    }
}

/// The bit is set in the very word that is slept upon. Whoever lowers it to 0 either has done so
/// before, and then the word is not what is expected and nobody sleeps, or sees the bit, and
/// wakes. So no wake-up is lost; what wakes for nothing looks again.
fn wait(word: &impl Word, remaining: impl Fn() -> Option<Timespec>) -> Result<bool, Error> {
    loop {
        let found = word.load();
        if found & COUNT == 0 {
            return Ok(true);
        }
        let timeout = remaining();
        if timeout.is_some_and(|left| left.tv_sec == 0 && left.tv_nsec == 0) {
            return Ok(false);
        }
        let expected = found | WAITED;
        if found != expected && word.exchange(found, expected).is_err() {
            continue;
        }
        match word.sleep(expected, timeout.as_ref()) {
            // Woken, perhaps for nothing; changed before it slept; a signal; too late, or nearly.
            Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => {}
            Err(errno) => return Err(errno).during(Operation::Futex),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::boxed::Box;
    use std::sync::{Condvar, Mutex, MutexGuard};
    use std::thread;
    use std::vec::Vec;

    /// A word between any two steps on which it is chosen whose turn it is.
    struct Stage {
        act: Mutex<Act>,
        changed: Condvar,
    }

    struct Act {
        word: u32,
        actors: Vec<Actor>,
        turn: Option<usize>,
        wakes: usize,
        /// Nobody can go on, and somebody sleeps.
        lost: bool,
    }

    impl Act {
        fn rouse(&mut self) {
            for actor in &mut self.actors {
                if *actor == Actor::Asleep {
                    *actor = Actor::Thinks;
                }
            }
        }
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Actor {
        Thinks,
        Ready,
        Asleep,
        Gone,
    }

    /// The word as one thread has it.
    struct Seen<'a> {
        stage: &'a Stage,
        me: usize,
    }

    impl Seen<'_> {
        fn step<T>(&self, action: impl FnOnce(&mut Act) -> T) -> (T, MutexGuard<'_, Act>) {
            let mut act = self.stage.act.lock().unwrap();
            act.actors[self.me] = Actor::Ready;
            self.stage.changed.notify_all();
            while act.turn != Some(self.me) {
                act = self.stage.changed.wait(act).unwrap();
            }
            act.turn = None;
            act.actors[self.me] = Actor::Thinks;
            (action(&mut act), act)
        }
    }

    impl Drop for Seen<'_> {
        fn drop(&mut self) {
            self.stage.act.lock().unwrap().actors[self.me] = Actor::Gone;
            self.stage.changed.notify_all();
        }
    }

    impl Word for Seen<'_> {
        fn load(&self) -> u32 {
            self.step(|act| act.word).0
        }

        fn exchange(&self, old: u32, new: u32) -> Result<(), u32> {
            let exchange = |act: &mut Act| match act.word {
                found if found == old => {
                    act.word = new;
                    Ok(())
                }
                found => Err(found),
            };
            self.step(exchange).0
        }

        fn sleep(&self, expected: u32, _: Option<&Timespec>) -> Result<(), Errno> {
            let (found, mut act) = self.step(|act| act.word);
            if found != expected {
                return Err(Errno::AGAIN);
            }
            act.actors[self.me] = Actor::Asleep;
            self.stage.changed.notify_all();
            while act.actors[self.me] == Actor::Asleep {
                act = self.stage.changed.wait(act).unwrap();
            }
            if act.lost { Err(Errno::NOSYS) } else { Ok(()) }
        }

        fn wake(&self) {
            let (_, act) = self.step(|act| {
                act.wakes += 1;
                act.rouse();
            });
            drop(act);
            self.stage.changed.notify_all();
        }
    }

    type Part = Box<dyn Fn(&Seen<'_>) + Sync>;

    /// How one run ended: the word, and how often somebody was woken. `None` where nobody could
    /// go on.
    type End = Option<(u32, usize)>;

    /// Plays the parts, each in a thread, with `choices` for whose turn it is at first and the
    /// first that can go on after that. Says what could have been chosen each time.
    fn play(word: u32, parts: &[Part], choices: &[usize]) -> (End, Vec<(usize, usize)>) {
        let stage = Stage {
            act: Mutex::new(Act {
                word,
                actors: parts.iter().map(|_| Actor::Thinks).collect(),
                turn: None,
                wakes: 0,
                lost: false,
            }),
            changed: Condvar::new(),
        };
        let mut taken = Vec::new();
        thread::scope(|scope| {
            for (me, part) in parts.iter().enumerate() {
                let stage = &stage;
                scope.spawn(move || part(&Seen { stage, me }));
            }
            let mut act = stage.act.lock().unwrap();
            loop {
                while act.turn.is_some() || act.actors.contains(&Actor::Thinks) {
                    act = stage.changed.wait(act).unwrap();
                }
                let ready = |(me, actor): (usize, &Actor)| (*actor == Actor::Ready).then_some(me);
                let ready: Vec<usize> = act.actors.iter().enumerate().filter_map(ready).collect();
                if ready.is_empty() {
                    if !act.actors.contains(&Actor::Asleep) {
                        break;
                    }
                    act.lost = true;
                    act.rouse();
                } else {
                    let choice = choices.get(taken.len()).copied().unwrap_or(0);
                    taken.push((choice, ready.len()));
                    act.turn = Some(ready[choice]);
                }
                stage.changed.notify_all();
            }
        });
        let act = stage.act.into_inner().unwrap();
        ((!act.lost).then_some((act.word, act.wakes)), taken)
    }

    /// Every order in which the steps of the parts can happen: how each ended.
    fn every_order(word: u32, parts: &[Part]) -> Vec<End> {
        let mut ends = Vec::new();
        let mut choices = Vec::new();
        loop {
            let (end, mut taken) = play(word, parts, &choices);
            ends.push(end);
            while taken.last().is_some_and(|(choice, of)| choice + 1 == *of) {
                taken.pop();
            }
            let Some((last, _)) = taken.last_mut() else {
                return ends;
            };
            *last += 1;
            choices = taken.into_iter().map(|(choice, _)| choice).collect();
        }
    }

    fn part(part: impl Fn(&Seen<'_>) + Sync + 'static) -> Part {
        Box::new(part)
    }

    fn waiter() -> Part {
        part(|word| {
            let _ = wait(word, || None);
        })
    }

    fn leaver() -> Part {
        part(|word| assert!(lower(word)))
    }

    #[test]
    fn no_wake_up_is_lost_in_any_order_of_the_steps() {
        for (word, parts) in [
            (1, [waiter(), leaver()].as_slice()),
            (2, &[waiter(), leaver(), leaver()]),
            (1, &[waiter(), waiter(), leaver()]),
        ] {
            let ends = every_order(word, parts);
            assert!(ends.len() > 5, "{} orders", ends.len());
            for end in ends {
                let (left, wakes) = end.expect("nobody sleeps for ever");
                assert_eq!(left, 0);
                assert!(wakes <= 1, "{wakes} wake-ups");
            }
        }
    }

    /// One who comes while it is waited for is waited for as well; what is left in between is not
    /// mistaken for the end of the wait, nor is it lost.
    #[test]
    fn no_wake_up_is_lost_when_another_one_enters_meanwhile() {
        let visitor = part(|word| {
            raise(word);
            assert!(lower(word));
        });
        for end in every_order(1, &[waiter(), visitor]) {
            // Somebody else has not left.
            assert_eq!(end, None);
        }
        let changes = part(|word| {
            raise(word);
            assert!(lower(word));
            assert!(lower(word));
        });
        for end in every_order(1, &[waiter(), changes]) {
            assert_eq!(end.expect("nobody sleeps for ever").0, 0);
        }
    }

    /// The control: these orders find the wake-up that is lost by one who looks at the word, says
    /// that it waits, and then sleeps on whatever the word is.
    #[test]
    fn careless_wait_loses_a_wake_up() {
        let careless = part(|word| {
            loop {
                let found = word.load();
                if found & COUNT == 0 || word.sleep(word.load(), None) == Err(Errno::NOSYS) {
                    return;
                }
            }
        });
        assert!(every_order(1, &[careless, leaver()]).contains(&None));
    }

    #[test]
    fn nobody_is_woken_when_nobody_waits() {
        let visitor = || {
            part(|word| {
                raise(word);
                assert!(lower(word));
            })
        };
        for end in every_order(0, &[visitor(), visitor()]) {
            assert_eq!(end, Some((0, 0)));
        }
    }

    #[test]
    fn lowering_stops_at_nothing_and_raising_at_the_highest() {
        let drain = Drain::new();
        assert!(!drain.lower());
        assert_eq!(drain.count(), 0);
        drain.raise();
        assert!(drain.lower());
        assert!(!drain.lower());

        let drain = Drain {
            word: AtomicU32::new(WAITED | (Drain::MAX - 1)),
        };
        drain.raise();
        assert_eq!(drain.count(), Drain::MAX);
        drain.raise();
        drain.lower();
        assert_eq!(drain.count(), Drain::MAX);
        assert_eq!(drain.word.load(Ordering::Relaxed), WAITED | Drain::MAX);
    }

    #[test]
    fn guards_count_until_they_are_dropped() {
        static DRAIN: Drain = Drain::new();
        let first = DRAIN.enter();
        let second = DRAIN.enter();
        assert_eq!(DRAIN.count(), 2);
        thread::spawn(move || drop(first)).join().unwrap();
        assert_eq!(DRAIN.count(), 1);
        assert_eq!(DRAIN.wait(Deadline::after_ms(1)), Ok(false));
        drop(second);
        assert_eq!(DRAIN.wait(Deadline::after_ms(0)), Ok(true));
        assert_eq!(std::format!("{DRAIN:?}"), "Drain(0)");
    }
}
