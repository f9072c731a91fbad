//! Pure. A table of a fixed number of places, each with a time at which it is to
//! be looked after.
//!
//! It is made for a place in memory that the kernel fills on the first touch:
//! the lowest free place is always taken first, and a place that was never
//! taken is neither read nor written.

use heapless::Vec;

/// The most places a table can have.
pub const PLACES: usize = 1024;

/// The time that never comes.
pub const NEVER: u64 = u64::MAX;

#[derive(Debug)]
struct Place<T> {
    due: u64,
    thing: Option<T>,
}

/// Up to [`PLACES`] things.
#[derive(Debug)]
pub struct Table<T> {
    places: Vec<Place<T>, PLACES>,
    count: usize,
}

impl<T> Table<T> {
    /// `Table::new()` — An empty table, all zeros, which take no room in the file.
    #[must_use]
    pub const fn new() -> Self {
        Table {
            places: Vec::new(),
            count: 0,
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

    /// `table.insert(thing)` — Puts it into the lowest free place, which is the
    /// answer. When all places are taken, the thing is dropped. It is due at no
    /// time.
    pub fn insert(&mut self, thing: T) -> Option<usize> {
        let free = self.places.iter().position(|place| place.thing.is_none());
        let index = free.unwrap_or(self.places.len());
        if free.is_none() {
            let place = Place {
                due: NEVER,
                thing: None,
            };
            self.places.push(place).ok()?;
        }
        self.places.get_mut(index)?.thing = Some(thing);
        self.count += 1;
        Some(index)
    }

    /// `table.remove(index)` — Drops the thing that is there.
    pub fn remove(&mut self, index: usize) {
        if let Some(place) = self.places.get_mut(index)
            && place.thing.take().is_some()
        {
            place.due = NEVER;
            self.count -= 1;
        }
    }

    /// `table.thing(index)` — The thing that is there, if there is one.
    pub fn thing(&mut self, index: usize) -> Option<&mut T> {
        self.places.get_mut(index)?.thing.as_mut()
    }

    /// `table.set_due(index, time)` — When the thing there is to be looked after.
    pub fn set_due(&mut self, index: usize, time: u64) {
        if let Some(place) = self.places.get_mut(index) {
            place.due = time;
        }
    }

    /// `table.next_due(now, from)` — The first place of these and later ones where
    /// something is due.
    #[must_use]
    pub fn next_due(&self, now: u64, from: usize) -> Option<usize> {
        let rest = self.places.get(from..)?;
        Some(from + rest.iter().position(|place| place.due <= now)?)
    }

    /// `table.earliest()` — When something is due.
    #[must_use]
    pub fn earliest(&self) -> u64 {
        self.places
            .iter()
            .fold(NEVER, |time, place| time.min(place.due))
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowest_free_place_is_taken_first() {
        let mut table = Table::new();
        for n in 0..5 {
            assert_eq!(table.insert(n), Some(n));
        }
        table.remove(3);
        table.remove(1);
        assert_eq!(table.thing(1), None);
        assert_eq!(table.len(), 3);
        for place in [1, 3, 5] {
            assert_eq!(table.insert(9), Some(place));
        }
        assert_eq!(table.places.len(), 6);
    }

    #[test]
    fn what_has_been_removed_is_dropped_and_counted_once() {
        let thing = std::rc::Rc::new(());
        let mut table = Table::new();
        table.insert(thing.clone());
        table.remove(0);
        table.remove(0);
        table.remove(1);
        assert_eq!(std::rc::Rc::strong_count(&thing), 1);
        assert!(table.is_empty());
        assert_eq!(table.thing(0), None);
        assert_eq!(table.thing(PLACES), None);
    }

    #[test]
    fn full_table_takes_no_more() {
        let mut table = Table::new();
        for n in 0..PLACES {
            assert_eq!(table.insert(n), Some(n));
        }
        assert_eq!(table.insert(7), None);
        assert_eq!(table.len(), PLACES);
        table.remove(700);
        assert_eq!(table.insert(7), Some(700));
        assert_eq!(table.thing(700), Some(&mut 7));
    }

    #[test]
    fn things_are_due_in_their_time() {
        let mut table = Table::new();
        assert_eq!(table.earliest(), NEVER);
        for time in [30, 10, 20] {
            let place = table.insert(()).unwrap();
            table.set_due(place, time);
        }
        assert_eq!((table.earliest(), table.next_due(9, 0)), (10, None));
        assert_eq!(table.next_due(20, 0), Some(1));
        assert_eq!(table.next_due(20, 2), Some(2));
        assert_eq!(table.next_due(20, 3), None);
        assert_eq!(table.next_due(20, 4), None);
        table.remove(1);
        assert_eq!((table.earliest(), table.next_due(20, 0)), (20, Some(2)));
        // The next one there is not due before it says so.
        assert_eq!(table.insert(()), Some(1));
        assert_eq!(table.earliest(), 20);
    }
}
