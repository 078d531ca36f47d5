//! Row groups that were read, of which the last ones are kept for the next samples.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use parquet::data_type::ByteArray;

/// The images of a row group.
pub(super) struct GroupImages {
    /// For each row, or each entry of its list, the bytes; `None` where it has none.
    pub rows: Vec<Option<ByteArray>>,
    /// Memory that they take.
    pub bytes: u64,
}

/// A row group that was read, or is being read. An error is a reason.
pub(super) type Slot = Arc<OnceLock<Result<GroupImages, String>>>;

/// The row groups that were read last, by their numbers.
pub(super) struct KeptGroups {
    most: u64,
    /// In the order in which they were asked for.
    groups: Mutex<VecDeque<(usize, Slot)>>,
}

impl KeptGroups {
    /// Keeps at most so many bytes, beside those in use and the row group that was read last.
    pub fn new(most: u64) -> Self {
        Self { most, groups: Mutex::default() }
    }

    /// A row group that is kept, or that `read` gives. Several threads may read at once, each another row group.
    pub fn get(&self, group: usize, read: impl FnOnce() -> Result<GroupImages, String>) -> Slot {
        let slot = {
            let mut groups = self.groups();
            match groups.iter().find(|(kept, _)| *kept == group) {
                Some((_, slot)) => slot.clone(),
                None => {
                    let slot = Slot::default();
                    groups.push_back((group, slot.clone()));
                    slot
                }
            }
        };
        let mut is_new = false;
        // Whoever comes first reads, outside the lock; others who want the same row group wait.
        slot.get_or_init(|| {
            is_new = true;
            read()
        });
        if is_new {
            self.let_go(group);
        }
        slot
    }

    fn groups(&self) -> MutexGuard<'_, VecDeque<(usize, Slot)>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of the oldest row groups where there are too many bytes, but not of the one that was read last.
    fn let_go(&self, last: usize) {
        // What a file states of a row group is not asked; how much one takes that is being read is not known yet.
        let size = |slot: &Slot| slot.get().and_then(|read| read.as_ref().ok()).map_or(0, |images| images.bytes);
        let mut groups = self.groups();
        let mut kept: u64 = groups.iter().map(|(_, slot)| size(slot)).sum();
        while kept > self.most {
            let Some(oldest) = groups.iter().position(|(group, slot)| *group != last && size(slot) > 0) else { break };
            kept -= groups.remove(oldest).map_or(0, |(_, slot)| size(&slot));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: u64) -> impl FnOnce() -> Result<GroupImages, String> {
        move || Ok(GroupImages { rows: Vec::new(), bytes })
    }

    fn numbers(kept: &KeptGroups) -> Vec<usize> {
        kept.groups().iter().map(|(group, _)| *group).collect()
    }

    #[test]
    fn the_oldest_row_groups_are_let_go_by_what_they_really_take() {
        let kept = KeptGroups::new(100);
        for group in 0..5 {
            kept.get(group, read(40));
        }
        assert_eq!(numbers(&kept), [3, 4]);
        kept.get(3, || panic!("it is kept"));
        kept.get(5, read(1000));
        assert_eq!(numbers(&kept), [5], "the last one stays, however large it is");
        kept.get(6, read(40));
        assert_eq!(numbers(&kept), [6]);
    }

    #[test]
    fn a_row_group_that_is_being_read_is_not_let_go() {
        let kept = KeptGroups::new(100);
        kept.get(0, || {
            kept.get(1, read(70));
            kept.get(2, read(70));
            read(20)()
        });
        assert_eq!(numbers(&kept), [0, 2]);
    }
}
