//! Who is next: a bounded queue that is fair between askers. A pure data structure; the engine acts on it.

/// A request that waits.
#[derive(Debug)]
struct Entry<T> {
    id: u64,
    asker: u64,
    arrival: u64,
    /// The place that was last told.
    told: u32,
    item: T,
}

/// Why a request is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full {
    /// How many wait already.
    pub(crate) waiting: u32,
}

/// Requests in the order in which they will be served: first everyone's first request by arrival, then everyone's second,
/// and so on; a request that is being served counts as its asker's first. So someone with many questions waits for
/// others, never the other way round.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    entries: Vec<Entry<T>>,
    arrivals: u64,
    limit: usize,
    limit_per_asker: usize,
}

impl<T> Queue<T> {
    pub(crate) fn new(limit: usize, limit_per_asker: usize) -> Self {
        Self { entries: Vec::new(), arrivals: 0, limit, limit_per_asker }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes a request in.
    pub(crate) fn push(&mut self, id: u64, asker: u64, item: T) -> Result<(), Full> {
        let own = self.entries.iter().filter(|entry| entry.asker == asker).count();
        if self.entries.len() >= self.limit || own >= self.limit_per_asker {
            return Err(Full { waiting: u32::try_from(self.entries.len()).unwrap_or(u32::MAX) });
        }
        self.arrivals += 1;
        self.entries.push(Entry { id, asker, arrival: self.arrivals, told: 0, item });
        Ok(())
    }

    /// Takes a request out because its asker left.
    pub(crate) fn remove(&mut self, id: u64) -> Option<T> {
        let index = self.entries.iter().position(|entry| entry.id == id)?;
        Some(self.entries.remove(index).item)
    }

    /// Takes out the first request in order that may start, given the askers of those that run.
    pub(crate) fn next(&mut self, running: &[u64], may_start: impl Fn(&T) -> bool) -> Option<(u64, u64, T)> {
        self.sort(running);
        let index = self.entries.iter().position(|entry| may_start(&entry.item))?;
        let entry = self.entries.remove(index);
        Some((entry.id, entry.asker, entry.item))
    }

    /// The requests in order.
    pub(crate) fn items(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|entry| &entry.item)
    }

    /// Ids of the requests of a kind.
    pub(crate) fn ids(&self, which: impl Fn(&T) -> bool) -> Vec<u64> {
        self.entries.iter().filter(|entry| which(&entry.item)).map(|entry| entry.id).collect()
    }

    /// Requests whose place has changed since this was last asked, with their new place from 1.
    pub(crate) fn changed_places(&mut self, running: &[u64]) -> Vec<(u64, u32)> {
        self.sort(running);
        let mut changed = Vec::new();
        for (place, entry) in (1_u32..).zip(&mut self.entries) {
            if entry.told != place {
                entry.told = place;
                changed.push((entry.id, place));
            }
        }
        changed
    }

    fn sort(&mut self, running: &[u64]) {
        self.entries.sort_by_key(|entry| entry.arrival);
        let mut turns: Vec<(usize, u64, u64)> = Vec::with_capacity(self.entries.len());
        for (index, entry) in self.entries.iter().enumerate() {
            let earlier = self.entries.iter().take(index).filter(|other| other.asker == entry.asker).count();
            let served = running.iter().filter(|asker| **asker == entry.asker).count();
            turns.push((earlier + served, entry.arrival, entry.id));
        }
        turns.sort_unstable();
        let order = |id: u64| turns.iter().position(|(_, _, other)| *other == id);
        self.entries.sort_by_key(|entry| order(entry.id));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order(queue: &mut Queue<()>, running: &[u64]) -> Vec<u64> {
        let mut ids = Vec::new();
        let mut running = running.to_vec();
        while let Some((id, asker, ())) = queue.next(&running, |()| true) {
            ids.push(id);
            running.push(asker);
        }
        ids
    }

    #[test]
    fn someone_with_many_questions_waits_for_the_others() {
        let mut queue = Queue::new(10, 4);
        for (id, asker) in [(1, 7), (2, 7), (3, 7), (4, 8), (5, 9)] {
            queue.push(id, asker, ()).unwrap();
        }
        assert_eq!(order(&mut queue, &[]), [1, 4, 5, 2, 3]);
    }

    #[test]
    fn what_is_being_answered_counts() {
        let mut queue = Queue::new(10, 4);
        for (id, asker) in [(1, 7), (2, 8)] {
            queue.push(id, asker, ()).unwrap();
        }
        assert_eq!(order(&mut queue, &[7]), [2, 1]);
    }

    #[test]
    fn both_limits_hold() {
        let mut queue = Queue::new(3, 2);
        queue.push(1, 7, ()).unwrap();
        queue.push(2, 7, ()).unwrap();
        assert_eq!(queue.push(3, 7, ()), Err(Full { waiting: 2 }));
        queue.push(4, 8, ()).unwrap();
        assert_eq!(queue.push(5, 9, ()), Err(Full { waiting: 3 }));
    }

    #[test]
    fn places_are_told_once_and_again_when_they_change() {
        let mut queue = Queue::new(10, 4);
        for (id, asker) in [(1, 7), (2, 8), (3, 9)] {
            queue.push(id, asker, ()).unwrap();
        }
        assert_eq!(queue.changed_places(&[]), [(1, 1), (2, 2), (3, 3)]);
        assert_eq!(queue.changed_places(&[]), []);
        queue.remove(1);
        assert_eq!(queue.changed_places(&[]), [(2, 1), (3, 2)]);
    }

    #[test]
    fn what_may_not_start_yet_does_not_hold_up_the_rest() {
        let mut queue = Queue::new(10, 4);
        queue.push(1, 7, "loading").unwrap();
        queue.push(2, 8, "loaded").unwrap();
        assert_eq!(queue.next(&[], |model| *model == "loaded").map(|(id, _, _)| id), Some(2));
    }

    proptest! {
        /// Nobody is passed by more than one request of any other asker that came later.
        #[test]
        fn nobody_is_overtaken_twice(askers in prop::collection::vec(0_u64..4, 1..20)) {
            let mut queue = Queue::new(20, 20);
            for (id, asker) in (0_u64..).zip(&askers) {
                queue.push(id, *asker, ()).unwrap();
            }
            let served = order(&mut queue, &[]);
            prop_assert_eq!(served.len(), askers.len());
            for (position, id) in served.iter().enumerate() {
                let own_before = askers.iter().take(*id as usize).filter(|asker| **asker == askers[*id as usize]).count();
                for other in 0..4 {
                    let overtook = served[..position].iter().filter(|by| askers[**by as usize] == other).count();
                    prop_assert!(overtook <= own_before + 1);
                }
            }
        }
    }
}
