//! Pure. A table of a fixed number of places, each with a deadline.
//!
//! It is made for a place in memory that the kernel fills on the first touch:
//! the lowest free place is always taken first, and a place that was never
//! taken is neither read nor written. Deadlines, which are looked through often,
//! lie together and apart from the things themselves.

use heapless::Vec;

/// How many places one word of a [`Set`] tells apart.
const WORD: usize = u64::BITS as usize;

/// The most places a table can have.
pub const PLACES: usize = 1024;

/// The deadline of what has none.
pub const NEVER: u64 = u64::MAX;

/// A thing in the table: its place, and which of those that had the place in
/// turn. The key of a thing that has been removed finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    place: u16,
    turn: u32,
}

impl Key {
    /// `key.to_bits()` — As a number, for epoll. It has fewer than 48 bits.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        (self.turn as u64) << 16 | self.place as u64
    }

    /// `Key::from_bits(bits)` — What [`Key::to_bits`] gave.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)]
    pub const fn from_bits(bits: u64) -> Self {
        Key {
            place: bits as u16,
            turn: (bits >> 16) as u32,
        }
    }
}

#[derive(Debug)]
struct Place<T> {
    turn: u32,
    thing: Option<T>,
}

/// Up to [`PLACES`] things.
#[derive(Debug)]
pub struct Table<T> {
    places: Vec<Place<T>, PLACES>,
    deadlines: Vec<u64, PLACES>,
    taken: Set,
    count: usize,
    /// No deadline is earlier.
    earliest: u64,
}

impl<T> Table<T> {
    /// `Table::new()` — An empty table, all zeros.
    #[must_use]
    pub const fn new() -> Self {
        Table {
            places: Vec::new(),
            deadlines: Vec::new(),
            taken: Set::new(),
            count: 0,
            // Until the first thing comes; all zeros means no bytes in the file.
            earliest: 0,
        }
    }

    /// `table.len()` — How many things there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// `table.is_empty()` — Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// `table.insert(thing, deadline)` — Puts it into the lowest free place.
    ///
    /// # Errors
    ///
    /// The thing itself, when all places are taken.
    pub fn insert(&mut self, thing: T, deadline: u64) -> Result<Key, T> {
        let Some(place) = self.taken.lowest_absent() else {
            return Err(thing);
        };
        if place == self.places.len() {
            // Both have room: there are as many places as the set has bits.
            let _ = self.places.push(Place {
                turn: 0,
                thing: None,
            });
            let _ = self.deadlines.push(NEVER);
        }
        let Some(free) = self.places.get_mut(place) else {
            return Err(thing);
        };
        free.thing = Some(thing);
        #[allow(clippy::cast_possible_truncation)]
        let key = Key {
            place: place as u16,
            turn: free.turn,
        };
        if self.count == 0 {
            self.earliest = NEVER;
        }
        self.count += 1;
        self.taken.insert(place);
        self.set_deadline(key, deadline);
        Ok(key)
    }

    /// `table.remove(key)` — Takes it out.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let index = usize::from(key.place);
        let place = self
            .places
            .get_mut(index)
            .filter(|place| place.turn == key.turn)?;
        let thing = place.thing.take()?;
        place.turn = place.turn.wrapping_add(1);
        if let Some(deadline) = self.deadlines.get_mut(index) {
            *deadline = NEVER;
        }
        self.count = self.count.saturating_sub(1);
        self.taken.remove(index);
        Some(thing)
    }

    /// `table.thing(key)` — The thing, as long as it is there.
    pub fn thing(&mut self, key: Key) -> Option<&mut T> {
        let place = self.places.get_mut(usize::from(key.place))?;
        if place.turn == key.turn {
            place.thing.as_mut()
        } else {
            None
        }
    }

    /// `table.set_deadline(key, deadline)` — When it is to come out of
    /// [`Table::next_expired`].
    pub fn set_deadline(&mut self, key: Key, deadline: u64) {
        if self.thing(key).is_none() {
            return;
        }
        if let Some(place) = self.deadlines.get_mut(usize::from(key.place)) {
            *place = deadline;
            self.earliest = self.earliest.min(deadline);
        }
    }

    /// `table.earliest()` — When to look for expired things, at the latest.
    #[must_use]
    pub fn earliest(&self) -> u64 {
        if self.count == 0 {
            NEVER
        } else {
            self.earliest
        }
    }

    /// `table.next_expired(now, after)` — The next thing whose deadline is not
    /// later than `now`, in places after `after`'s. Its deadline is not changed.
    /// To be called until it says `None`: then [`Table::earliest`] is right
    /// again, provided that each one has been given a later deadline or has been
    /// removed.
    pub fn next_expired(&mut self, now: u64, after: Option<Key>) -> Option<Key> {
        if after.is_none() && now < self.earliest() {
            return None;
        }
        let first = after.map_or(0, |key| usize::from(key.place) + 1);
        for (index, &deadline) in self.deadlines.iter().enumerate().skip(first) {
            if deadline <= now {
                return self.key_at(index);
            }
        }
        self.earliest = self.deadlines.iter().copied().min().unwrap_or(NEVER);
        None
    }

    /// `table.next_of(set, after)` — The next thing whose place is in the set, in
    /// places after `after`'s. There need not be a thing.
    #[must_use]
    pub fn next_of(&self, set: &Set, after: Option<Key>) -> Option<Key> {
        let first = after.map_or(0, |key| usize::from(key.place) + 1);
        self.key_at(set.next(first)?)
    }

    /// `table.next(after)` — The next thing of all, in places after `after`'s.
    #[must_use]
    pub fn next(&self, after: Option<Key>) -> Option<Key> {
        self.next_of(&self.taken, after)
    }

    fn key_at(&self, index: usize) -> Option<Key> {
        let place = self.places.get(index)?;
        #[allow(clippy::cast_possible_truncation)]
        Some(Key {
            place: index as u16,
            turn: place.turn,
        })
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A set of places.
#[derive(Clone, Copy, Debug)]
pub struct Set([u64; PLACES / WORD]);

impl Set {
    /// `Set::new()` — The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Set([0; PLACES / WORD])
    }

    fn lowest_absent(&self) -> Option<usize> {
        let (index, word) = self
            .0
            .iter()
            .enumerate()
            .find(|(_, word)| **word != u64::MAX)?;
        Some(index * WORD + word.trailing_ones() as usize)
    }

    fn next(&self, from: usize) -> Option<usize> {
        let mut mask = u64::MAX << (from % WORD);
        for (index, word) in self.0.iter().enumerate().skip(from / WORD) {
            let rest = word & mask;
            if rest != 0 {
                return Some(index * WORD + rest.trailing_zeros() as usize);
            }
            mask = u64::MAX;
        }
        None
    }

    /// `set.add(key)` — Puts the place of the thing into the set.
    pub fn add(&mut self, key: Key) {
        self.insert(usize::from(key.place));
    }

    /// `set.drop(key)` — Takes the place of the thing out of the set.
    pub fn drop(&mut self, key: Key) {
        self.remove(usize::from(key.place));
    }

    /// `set.is_empty()` — Whether no place is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    fn insert(&mut self, place: usize) {
        if let Some(word) = self.0.get_mut(place / WORD) {
            *word |= 1 << (place % WORD);
        }
    }

    fn remove(&mut self, place: usize) {
        if let Some(word) = self.0.get_mut(place / WORD) {
            *word &= !(1 << (place % WORD));
        }
    }
}

impl Default for Set {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn lowest_free_place_is_taken_first() {
        let mut table = Table::new();
        let keys: vec::Vec<_> = (0..5).map(|n| table.insert(n, NEVER).unwrap()).collect();
        assert_eq!(
            keys.iter().map(|key| key.place).collect::<vec::Vec<_>>(),
            [0, 1, 2, 3, 4]
        );
        table.remove(keys[3]);
        table.remove(keys[1]);
        assert_eq!(table.insert(9, NEVER).unwrap().place, 1);
        assert_eq!(table.insert(9, NEVER).unwrap().place, 3);
        assert_eq!(table.insert(9, NEVER).unwrap().place, 5);
        assert_eq!(table.places.len(), 6);
    }

    #[test]
    fn key_of_a_removed_thing_finds_nothing() {
        let mut table = Table::new();
        let old = table.insert('a', 10).unwrap();
        assert_eq!(table.remove(old), Some('a'));
        let new = table.insert('b', 20).unwrap();
        assert_eq!((old.place, new.place), (0, 0));
        table.set_deadline(old, 1);
        assert_eq!(table.thing(old), None);
        assert_eq!(table.remove(old), None);
        assert_eq!(table.thing(new), Some(&mut 'b'));
        assert_eq!(table.next_expired(19, None), None);
        assert_eq!(Key::from_bits(new.to_bits()), new);
    }

    #[test]
    fn full_table_gives_the_thing_back() {
        let mut table = Table::new();
        let mut keys = vec![];
        for n in 0..PLACES {
            keys.push(table.insert(n, NEVER).unwrap());
        }
        assert_eq!(table.insert(7, NEVER), Err(7));
        assert_eq!(table.remove(keys[700]), Some(700));
        assert_eq!(table.insert(7, NEVER).unwrap().place, 700);
        assert_eq!(table.len(), PLACES);
    }

    #[test]
    fn deadlines_come_when_they_are_due() {
        let mut table = Table::new();
        assert_eq!(table.earliest(), NEVER);
        let a = table.insert('a', 30).unwrap();
        let b = table.insert('b', 10).unwrap();
        let c = table.insert('c', 20).unwrap();
        assert_eq!(table.earliest(), 10);
        assert_eq!(table.next_expired(9, None), None);
        assert_eq!(table.next_expired(20, None), Some(b));
        table.set_deadline(b, 50);
        assert_eq!(table.next_expired(20, Some(b)), Some(c));
        table.remove(c);
        assert_eq!(table.next_expired(20, Some(c)), None);
        assert_eq!(table.earliest(), 30);
        table.remove(a);
        table.remove(b);
        assert_eq!((table.earliest(), table.is_empty()), (NEVER, true));
    }

    #[test]
    fn sets_are_walked_in_order() {
        let mut table = Table::new();
        let keys: vec::Vec<_> = (0..200).map(|n| table.insert(n, NEVER).unwrap()).collect();
        let mut set = Set::new();
        for place in [0, 63, 64, 65, 127, 199] {
            set.add(keys[place]);
        }
        set.drop(keys[65]);
        let mut after = None;
        let mut walked = vec![];
        while let Some(key) = table.next_of(&set, after) {
            walked.push(key.place);
            after = Some(key);
        }
        assert_eq!(walked, [0, 63, 64, 127, 199]);
        assert_eq!(table.next(Some(keys[199])), None);
        assert!(!set.is_empty());
    }
}
