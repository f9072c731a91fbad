//! What is known of the generations: which answers may be given, and by whom.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::answer::Answer;

/// Every generation that was asked for, and what its answers must say.
#[derive(Debug)]
pub(crate) struct Roster {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Generations are counted here, and not by themselves.
    by_pid: bool,
    first_tag: String,
    /// The first generation of the other build, and its tag once it has
    /// answered.
    next_from: Option<u32>,
    next_tag: Option<String>,
    /// The newest generation that can be there.
    newest: u32,
    /// The pids that have answered, by generation.
    pids: Vec<Option<u32>>,
    /// Every generation before this one has exited.
    oldest_alive: u32,
}

/// A moment in the life of the generations.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    oldest_alive: u32,
}

impl Roster {
    /// A roster with the generation that gave this answer.
    pub(crate) fn new(first: &Answer) -> Self {
        Self::counted(first, false)
    }

    /// A roster of processes that know nothing of each other: each new pid is a generation,
    /// whatever it says.
    pub(crate) fn by_pid(first: &Answer) -> Self {
        Self::counted(first, true)
    }

    fn counted(first: &Answer, by_pid: bool) -> Self {
        Self {
            state: Mutex::new(State {
                by_pid,
                first_tag: first.tag.clone(),
                next_from: None,
                next_tag: None,
                newest: 0,
                pids: vec![Some(first.pid)],
                oldest_alive: 0,
            }),
        }
    }

    /// The signal for this generation is about to be sent.
    pub(crate) fn signalled(&self, generation: u32) {
        self.lock().newest = generation;
    }

    /// The other build is in place, for this generation and all later ones.
    pub(crate) fn deployed_for(&self, generation: u32) {
        self.lock().next_from = Some(generation);
    }

    /// This generation has exited: who asks from now on cannot get its answer.
    pub(crate) fn ended(&self, generation: usize) {
        let after = u32::try_from(generation + 1).unwrap_or(u32::MAX);
        let mut state = self.lock();
        state.oldest_alive = state.oldest_alive.max(after);
    }

    /// To be taken before a request is sent, for [`Roster::check`].
    pub(crate) fn now(&self) -> Moment {
        Moment {
            oldest_alive: self.lock().oldest_alive,
        }
    }

    /// `roster.check(body, asked)` — the answer, or what is wrong with it.
    pub(crate) fn check(&self, body: &[u8], asked: Moment) -> Result<Answer, String> {
        let answer = Answer::parse(body)
            .ok_or_else(|| format!("not an answer: {:?}", String::from_utf8_lossy(body)))?;
        let mut state = self.lock();
        let generation = match state.by_pid {
            true => state.generation_of(answer.pid),
            false => answer.generation,
        };
        if generation > state.newest {
            return Err(format!("generation {generation} was never asked for"));
        }
        if generation < asked.oldest_alive {
            return Err(format!("generation {generation} had exited"));
        }
        state.check_tag(generation, &answer.tag)?;
        let index = usize::try_from(generation).unwrap_or(usize::MAX);
        if state.pids.len() <= index {
            state.pids.resize(index + 1, None);
        }
        match state.pids[index] {
            Some(pid) if pid != answer.pid => Err(format!(
                "generation {generation} is process {pid}, and answered as {}",
                answer.pid
            )),
            Some(_) => Ok(answer),
            None if state.is_alive(answer.pid) => Err(format!(
                "generation {generation} answered with the pid of another, {}",
                answer.pid
            )),
            None => {
                state.pids[index] = Some(answer.pid);
                Ok(answer)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// That of the process, or the next one.
    fn generation_of(&self, pid: u32) -> u32 {
        let mut pids = self.pids.iter();
        let known = pids.rposition(|known| *known == Some(pid));
        u32::try_from(known.unwrap_or(self.pids.len())).unwrap_or(u32::MAX)
    }

    fn check_tag(&mut self, generation: u32, tag: &str) -> Result<(), String> {
        let right = match self.next_from {
            Some(from) if generation >= from => {
                let next = self.next_tag.get_or_insert_with(|| tag.to_owned());
                next == tag && tag != self.first_tag
            }
            _ => tag == self.first_tag,
        };
        if right {
            Ok(())
        } else {
            Err(format!("generation {generation} has the tag {tag}"))
        }
    }

    fn is_alive(&self, pid: u32) -> bool {
        let first = usize::try_from(self.oldest_alive).unwrap_or(usize::MAX);
        self.pids
            .iter()
            .skip(first)
            .any(|known| *known == Some(pid))
    }
}

#[cfg(test)]
mod tests {
    use super::Roster;
    use crate::answer::Answer;

    fn roster() -> Roster {
        Roster::new(&Answer::parse(b"pid=10 generation=0 tag=old\n").unwrap())
    }

    fn check(roster: &Roster, body: &str) -> Result<Answer, String> {
        roster.check(body.as_bytes(), roster.now())
    }

    #[test]
    fn a_generation_answers_only_once_it_was_asked_for() {
        let roster = roster();
        assert!(check(&roster, "pid=11 generation=1 tag=old\n").is_err());
        roster.signalled(1);
        assert!(check(&roster, "pid=11 generation=1 tag=old\n").is_ok());
    }

    #[test]
    fn a_generation_keeps_its_pid_and_shares_it_with_no_other() {
        let roster = roster();
        roster.signalled(1);
        assert!(check(&roster, "pid=10 generation=1 tag=old\n").is_err());
        assert!(check(&roster, "pid=11 generation=1 tag=old\n").is_ok());
        assert!(check(&roster, "pid=12 generation=1 tag=old\n").is_err());
    }

    #[test]
    fn the_dead_do_not_answer_those_who_ask_after_their_end() {
        let roster = roster();
        roster.signalled(1);
        let before = roster.now();
        roster.ended(0);
        assert!(
            roster
                .check(b"pid=10 generation=0 tag=old\n", before)
                .is_ok()
        );
        assert!(check(&roster, "pid=10 generation=0 tag=old\n").is_err());
    }

    #[test]
    fn the_tag_changes_exactly_where_the_build_was_deployed() {
        let roster = roster();
        roster.signalled(1);
        assert!(check(&roster, "pid=11 generation=1 tag=new\n").is_err());
        roster.deployed_for(2);
        roster.signalled(3);
        assert!(check(&roster, "pid=11 generation=1 tag=old\n").is_ok());
        assert!(check(&roster, "pid=12 generation=2 tag=new\n").is_ok());
        assert!(check(&roster, "pid=13 generation=3 tag=old\n").is_err());
        assert!(check(&roster, "pid=13 generation=3 tag=other\n").is_err());
        assert!(check(&roster, "pid=13 generation=3 tag=new\n").is_ok());
    }

    #[test]
    fn by_their_pids_processes_are_generations_whatever_they_say() {
        let roster = Roster::by_pid(&Answer::parse(b"pid=10 generation=0 tag=old\n").unwrap());
        let next = "pid=11 generation=0 tag=old\n";
        assert!(check(&roster, "pid=10 generation=0 tag=old\n").is_ok());
        assert!(check(&roster, next).is_err());
        roster.signalled(1);
        assert!(check(&roster, next).is_ok());
        assert!(check(&roster, next).is_ok());
        assert!(check(&roster, "pid=12 generation=0 tag=old\n").is_err());
        roster.ended(0);
        assert!(check(&roster, "pid=10 generation=0 tag=old\n").is_err());
    }
}
