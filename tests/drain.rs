//! Threads enter and leave, and others wait until the last one has left: nobody waits in vain,
//! and nobody is let go too early.
#![allow(unsafe_code)] // Signals to a thread.

use std::mem;
use std::ptr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use gracenet::{Deadline, Drain};

/// Longer than any of this takes; a wake-up that is lost shows as this.
fn in_time() -> Deadline {
    Deadline::after_ms(20_000)
}

#[test]
fn last_one_to_leave_lets_all_go_that_wait() {
    const LEAVE: u32 = 3;
    const WAIT: usize = 2;
    const ROUNDS: usize = 20_000;
    let drain = Drain::new();
    // What was done before the leaving, which those that have waited must see.
    let done = AtomicU32::new(0);
    let (begin, end) = (
        Barrier::new(LEAVE as usize + WAIT),
        Barrier::new(LEAVE as usize + WAIT),
    );
    thread::scope(|scope| {
        for _ in 0..LEAVE {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    drain.raise();
                    begin.wait();
                    done.fetch_add(1, Ordering::Relaxed);
                    assert!(drain.lower());
                    end.wait();
                }
            });
        }
        for _ in 0..WAIT {
            scope.spawn(|| {
                for round in 1..=ROUNDS {
                    begin.wait();
                    let drained = drain.wait(in_time());
                    let seen = done.load(Ordering::Relaxed);
                    assert_eq!(drained, Ok(true), "round {round}");
                    assert_eq!(seen as usize, LEAVE as usize * round);
                    end.wait();
                }
            });
        }
    });
    assert_eq!(drain.count(), 0);
}

#[test]
fn those_that_come_and_go_meanwhile_do_not_let_the_others_go() {
    let drain = Drain::new();
    let (over, left) = (AtomicBool::new(false), AtomicBool::new(false));
    let stays = drain.enter();
    let (send, entered) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..2 {
            let (drain, over, send) = (&drain, &over, send.clone());
            scope.spawn(move || {
                let mut visits = 0;
                while !over.load(Ordering::Relaxed) {
                    drop(drain.enter());
                    visits += 1;
                    if visits == 1_000 {
                        send.send(()).unwrap();
                    }
                }
            });
        }
        let waits = scope.spawn(|| {
            let drained = drain.wait(in_time());
            (drained, left.load(Ordering::Relaxed))
        });
        for _ in 0..2 {
            entered.recv_timeout(Duration::from_secs(20)).unwrap();
        }
        over.store(true, Ordering::Relaxed);
        left.store(true, Ordering::Relaxed);
        drop(stays);
        assert_eq!(waits.join().unwrap(), (Ok(true), true));
    });
}

#[test]
fn deadline_ends_the_wait_and_not_before_its_time() {
    let drain = Drain::new();
    let _open = drain.enter();
    for milliseconds in [0, 1, 30] {
        let begun = Instant::now();
        assert_eq!(drain.wait(Deadline::after_ms(milliseconds)), Ok(false));
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(milliseconds), "{took:?}");
        assert!(took < Duration::from_secs(20), "{took:?}");
    }
    assert_eq!(drain.count(), 1);
}

/// A handler that runs in the thread that waits: it goes on waiting, up to the same deadline.
#[test]
fn signals_do_not_end_the_wait() {
    static CAUGHT: AtomicU32 = AtomicU32::new(0);
    extern "C" fn caught(_: libc::c_int) {
        CAUGHT.fetch_add(1, Ordering::Relaxed);
    }
    // None that queue up: there is a limit on those.
    let signal = libc::SIGUSR1;
    // SAFETY: zeros are a value: no flags, so that the system call is interrupted.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = caught as extern "C" fn(libc::c_int) as usize;
    // SAFETY: the handler does what a handler may.
    let done = unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
    assert_eq!(done, 0);

    let drain = Drain::new();
    let open = drain.enter();
    let ((send_thread, thread), (send_late, late)) = (mpsc::channel(), mpsc::channel());
    thread::scope(|scope| {
        let waits = scope.spawn(|| {
            // SAFETY: it is always there.
            send_thread.send(unsafe { libc::pthread_self() }).unwrap();
            send_late.send(drain.wait(Deadline::after_ms(100))).unwrap();
            drain.wait(in_time())
        });
        let thread = thread.recv().unwrap();
        let limit = Instant::now() + Duration::from_secs(20);
        let mut first = None;
        // As many in the second wait as in the first, more or less.
        let mut wanted = 100;
        while first.is_none() || CAUGHT.load(Ordering::Relaxed) < wanted {
            // SAFETY: it is not joined before the last of it.
            let done = unsafe { libc::pthread_kill(thread, signal) };
            assert_eq!(done, 0);
            if let Ok(outcome) = late.try_recv() {
                first = Some(outcome);
                wanted = CAUGHT.load(Ordering::Relaxed) + 100;
            }
            assert!(Instant::now() < limit, "waited 20 s for signals");
            thread::yield_now();
        }
        drop(open);
        assert_eq!(first, Some(Ok(false)));
        assert_eq!(waits.join().unwrap(), Ok(true));
    });
}
