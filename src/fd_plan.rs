//! Pure. Which fd moves where in a successor, so that nothing is overwritten that is still needed.

/// The fd `from` is to be found under the number `to`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub(crate) struct Move {
    pub(crate) from: i32,
    pub(crate) to: i32,
}

impl Move {
    /// It overwrites nothing and only loses its CLOEXEC flag. dup2 of an fd onto itself leaves
    /// the flag, and dup3 refuses.
    pub(crate) fn stays(self) -> bool {
        self.from == self.to
    }
}

/// What is to be found at one number in a successor.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Place {
    /// The fd that is to be here, or [`NOTHING`].
    from: i32,
    /// How many other places still want what is here now.
    wanted_by: u32,
}

impl Place {
    pub(crate) const fn of(from: i32) -> Place {
        Place { from, wanted_by: 0 }
    }
}

/// In place of an fd, where none is to be.
pub(crate) const NOTHING: i32 = i32::MIN;

/// Orders what fills `places`, of which the first is number 0, so that each step, done by dup3 or
/// where it [stays](Move::stays) by clearing CLOEXEC, finds its source untouched.
///
/// Several places may have one source. The number behind the last place is overwritten and left
/// open where that is needed. `places` is used up. The work grows with their number, and no faster, and
/// so do the steps: each ring needs one more than it has members, and has two.
pub(crate) fn plan(places: &mut [Place], emit: &mut dyn FnMut(Move)) {
    let aside = places.len() as i32;
    for to in 0..aside {
        let Some(place) = at(places, to) else { return };
        let from = place.from;
        if from == to {
            place.from = NOTHING;
            emit(Move { from, to });
        } else if let Some(source) = at(places, from) {
            source.wanted_by = source.wanted_by.wrapping_add(1);
        }
    }
    for turn in 0..2 * aside {
        // In the second round only rings are left, all of their members wanted by one other.
        let may_step_aside = turn >= aside;
        let mut to = if may_step_aside { turn - aside } else { turn };
        // Each step frees its source, once nobody else wants it.
        while let Some(place) = at(places, to) {
            let from = place.from;
            let steps_aside = place.wanted_by != 0;
            if from == NOTHING || steps_aside && !may_step_aside {
                break;
            }
            (place.from, to) = if steps_aside {
                (aside, aside)
            } else {
                (NOTHING, to)
            };
            emit(Move { from, to });
            to = from;
            if let Some(source) = at(places, from) {
                source.wanted_by = source.wanted_by.wrapping_sub(1);
            }
        }
    }
}

fn at(places: &mut [Place], number: i32) -> Option<&mut Place> {
    #[cfg(test)]
    tests::LOOKS.set(tests::LOOKS.get() + 1);
    places.get_mut(number as usize)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::cell::Cell;
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

    std::thread_local! {
        /// How often a place was looked at.
        pub(super) static LOOKS: Cell<usize> = const { Cell::new(0) };
    }

    const fn max_steps(places: usize) -> usize {
        places + places / 2
    }

    /// What fills a table from `first` on with these.
    fn steps(sources: &[i32], first: usize) -> Vec<Move> {
        let mut places = std::vec![Place::of(NOTHING); first];
        places.extend(sources.iter().copied().map(Place::of));
        let mut steps = Vec::new();
        LOOKS.set(0);
        plan(&mut places, &mut |step| steps.push(step));
        assert!(steps.len() <= max_steps(places.len()), "{steps:?}");
        // Two of each place to count who wants it, two to end a chain there, and two for each step.
        let looks = LOOKS.get();
        assert!(looks <= 7 * places.len(), "{looks} looks: {sources:?}");
        steps
    }

    fn run(sources: &[i32], first: usize) -> usize {
        let mut table = Table(std::vec![None; 21]);
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
        let steps = steps(sources, first);
        for step in &steps {
            table.carry_out(*step);
        }
        for (fd, file) in (first..).zip(wanted) {
            assert_eq!(
                table.0[fd],
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

    /// What is behind the last place is wanted first, and overwritten then.
    #[test]
    fn ring_steps_aside_to_where_another_came_from() {
        assert_eq!(run(&[4, 3, 6], 3), 4);
        assert_eq!(run(&[6, 5, 4], 3), 4);
    }

    #[test]
    fn work_grows_with_the_places_and_no_faster() {
        const COUNT: usize = 10_000;
        let last = COUNT - 1;
        let arranged = |from: &dyn Fn(usize) -> usize| {
            let sources: Vec<_> = (0..COUNT).map(|to| from(to) as i32).collect();
            steps(&sources, 0).len()
        };
        assert_eq!(arranged(&|to| to), COUNT);
        assert_eq!(arranged(&|to| to + 1), COUNT);
        assert_eq!(arranged(&|to| to + COUNT), COUNT);
        assert_eq!(arranged(&|to| to.saturating_sub(1)), COUNT);
        assert_eq!(arranged(&|_| last), COUNT);
        assert_eq!(arranged(&|to| to / 2), COUNT);
        assert_eq!(arranged(&|to| (to + 1) % COUNT), COUNT + 1);
        assert_eq!(arranged(&|to| (to + last) % COUNT), COUNT + 1);
        assert_eq!(arranged(&|to| (to + 100) % COUNT), COUNT + 100);
        assert_eq!(arranged(&|to| last - to), max_steps(COUNT));
    }
}
