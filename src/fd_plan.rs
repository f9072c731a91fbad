//! Pure. Which fd moves where in a successor, so that nothing is overwritten that is still needed.

/// The fd `from` is to be found under the number `to`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub(crate) struct Move {
    pub(crate) from: i32,
    pub(crate) to: i32,
}

impl Move {
    /// Carried out, and looked at no more.
    const DONE: Move = Move { from: -1, to: -1 };

    fn is_done(self) -> bool {
        self == Move::DONE
    }

    /// It overwrites nothing and only loses its CLOEXEC flag. dup2 of an fd onto itself leaves
    /// the flag, and dup3 refuses.
    pub(crate) fn stays(self) -> bool {
        self.from == self.to
    }
}

/// How many steps [`plan`] emits for `moves` moves at most: each ring needs one more than it has
/// members, and has two.
pub(crate) const fn max_steps(moves: usize) -> usize {
    moves + moves / 2
}

/// Orders `pending` so that each step, done by dup3 or where it [stays](Move::stays) by clearing
/// CLOEXEC, finds its source untouched.
///
/// Targets are distinct; several moves may have one source. `scratch` is a number that is neither
/// source nor target, and is left open when it was needed. `pending` is used up.
pub(crate) fn plan(pending: &mut [Move], scratch: i32, emit: &mut dyn FnMut(Move)) {
    loop {
        let mut left = None;
        let mut progress = false;
        for index in 0..pending.len() {
            let Some(next) = pending.get(index).copied().filter(|next| !next.is_done()) else {
                continue;
            };
            let still_needed =
                |other: &Move| !other.is_done() && !other.stays() && other.from == next.to;
            if next.stays() || !pending.iter().any(still_needed) {
                emit(next);
                if let Some(done) = pending.get_mut(index) {
                    *done = Move::DONE;
                }
                progress = true;
            } else {
                left = Some(next.from);
            }
        }
        let Some(source) = left else { return };
        if !progress {
            // Only rings are left. One of their fds steps aside.
            emit(Move {
                from: source,
                to: scratch,
            });
            for other in pending.iter_mut().filter(|other| other.from == source) {
                other.from = scratch;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    /// A table: which file each number has, and whether it is CLOEXEC.
    #[derive(Clone, PartialEq, Debug)]
    struct Table(Vec<Option<(usize, bool)>>);

    impl Table {
        fn carry_out(&mut self, step: Move) {
            let (file, _) = self.0[step.from as usize].expect("source of a step is open");
            self.0[step.to as usize] = Some((file, false));
        }
    }

    const SCRATCH: i32 = 20;

    fn run(sources: &[i32], first: i32) -> usize {
        let mut table = Table(std::vec![None; SCRATCH as usize + 1]);
        for (file, fd) in sources.iter().enumerate() {
            // The same number twice is the same file twice.
            if table.0[*fd as usize].is_none() {
                table.0[*fd as usize] = Some((file, true));
            }
        }
        let wanted: Vec<_> = sources
            .iter()
            .map(|fd| table.0[*fd as usize].unwrap().0)
            .collect();
        let mut moves: Vec<Move> = sources
            .iter()
            .zip(first..)
            .map(|(from, to)| Move { from: *from, to })
            .collect();
        let mut steps = Vec::new();
        plan(&mut moves, SCRATCH, &mut |step| steps.push(step));
        assert!(
            steps.len() <= max_steps(sources.len()),
            "{sources:?}: {steps:?}"
        );
        for step in &steps {
            table.carry_out(*step);
        }
        for (fd, file) in (first..).zip(wanted) {
            assert_eq!(
                table.0[fd as usize],
                Some((file, false)),
                "fd {fd} of {sources:?}: {steps:?}"
            );
        }
        steps.len()
    }

    /// Every sequence of `length` distinct numbers of 0..=9.
    fn arrangements(length: usize, chosen: &mut Vec<i32>, visit: &mut impl FnMut(&[i32])) {
        if chosen.len() == length {
            return visit(chosen);
        }
        for fd in (0..=9)
            .filter(|fd| !chosen.contains(fd))
            .collect::<Vec<_>>()
        {
            chosen.push(fd);
            arrangements(length, chosen, visit);
            chosen.pop();
        }
    }

    /// Case E1, E2, E10.
    #[test]
    fn every_arrangement_of_up_to_six_sockets_over_ten_numbers() {
        let mut tried = 0_u32;
        for length in 0..=6 {
            arrangements(length, &mut Vec::new(), &mut |sources| {
                run(sources, 3);
                tried += 1;
            });
        }
        // 1 + 10 + 90 + 720 + 5,040 + 30,240 + 151,200
        assert_eq!(tried, 187_301);
    }

    /// Case E1. Two numbers may hold one file, and a file may be wanted twice.
    #[test]
    fn one_source_for_several_targets() {
        for a in 0..8 {
            for b in 0..8 {
                for c in 0..8 {
                    for d in 0..8 {
                        run(&[a, b, c, d], 3);
                    }
                }
            }
        }
    }

    #[test]
    fn rings_cost_one_step_each() {
        assert_eq!(run(&[3, 4, 5], 3), 3);
        assert_eq!(run(&[4, 3], 3), 3);
        assert_eq!(run(&[4, 3, 6, 5], 3), 6);
        assert_eq!(run(&[4, 5, 3], 3), 4);
    }
}
