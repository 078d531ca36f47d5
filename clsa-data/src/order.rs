//! The order of samples in an epoch: a pure function of seed, epoch and size, and the part of it that a rank reads.
//!
//! Shuffling is own code on purpose: an order must be the same with every version of `rand`, so that a run that is resumed
//! years later goes on with the samples that it has not seen.

use std::ops::Range;

use crate::random::{generator, shuffle};

/// Returns all of `0..len` in an order that depends on `seed` and `epoch` alone (Fisher-Yates).
///
/// # Examples
/// ```
/// use clsa_data::order::shuffled;
///
/// let mut order = shuffled(7, 0, 1000);
/// assert_eq!(order, shuffled(7, 0, 1000));
/// assert_ne!(order, shuffled(7, 1, 1000));
/// order.sort();
/// assert!(order.into_iter().eq(0..1000));
/// ```
pub fn shuffled(seed: u64, epoch: u64, len: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..len).collect();
    shuffle(&mut order, &mut generator(seed, epoch));
    order
}

/// Returns all samples in the order in which a reader with a shuffle buffer meets them: whole shards in random order, each
/// read from its beginning to its end, into a buffer of `buffer` samples that is emptied in random order whenever it is
/// full. So no sample waits for long, and what is read once need not be read again. `shards` gives the number of samples
/// of each shard; the order depends on `seed` and `epoch` beside it.
///
/// `world_size` ranks share global batches of `batch_size` samples each: every rank reads shards of its own, through a
/// buffer of its own. The shards in their random order are cut into one part for each rank, all of them equally long,
/// so that no sample is left out; where a cut goes through a shard, two ranks read it, each its samples. The order is
/// that of the whole epoch, of which [`Partition`] gives each rank its positions.
///
/// # Panics
/// If `batch_size` or `world_size` is 0.
///
/// # Examples
/// ```
/// use clsa_data::order::buffered_by_rank;
///
/// // One rank reads two shards of 3 and 2 samples one after the other.
/// let order = buffered_by_rank(7, 0, &[3, 2], 1, 1, 1);
/// assert!(order == [0, 1, 2, 3, 4] || order == [3, 4, 0, 1, 2]);
///
/// // Two shards of two samples: in each batch, the first rank has a sample of one shard, the second of the other.
/// let order = buffered_by_rank(7, 0, &[2, 2], 2, 1, 2);
/// assert!(order.chunks(2).all(|batch| batch[0] / 2 != batch[1] / 2));
/// assert_eq!(order[0] / 2, order[2] / 2);
/// ```
pub fn buffered_by_rank(
    seed: u64,
    epoch: u64,
    shards: &[usize],
    buffer: usize,
    batch_size: usize,
    world_size: usize,
) -> Vec<u32> {
    let mut generator = generator(seed, epoch);
    let starts: Vec<usize> = shards
        .iter()
        .scan(0, |start, len| {
            *start += len;
            Some(*start - len)
        })
        .collect();
    let mut shard_order: Vec<u32> = (0..shards.len() as u32).collect();
    shuffle(&mut shard_order, &mut generator);
    let samples = shards.iter().sum();
    let mut in_sequence = Vec::with_capacity(samples);
    for shard in shard_order {
        let shard = shard as usize;
        in_sequence.extend((starts[shard]..starts[shard] + shards[shard]).map(|sample| sample as u32));
    }
    // Each rank's part: its share of all full batches, and of the last one.
    let full = samples / (batch_size * world_size);
    let part = |rank| Partition { samples, batch_size, rank, world_size, drop_last: false };
    let mut rest = &mut in_sequence[..];
    let mut parts = Vec::with_capacity(world_size);
    for rank in 0..world_size {
        let (own, others) = rest.split_at_mut(full * batch_size + part(rank).positions(full).len());
        own.chunks_mut(buffer.max(1)).for_each(|filling| shuffle(filling, &mut generator));
        parts.push(&*own);
        rest = others;
    }
    let mut order = Vec::with_capacity(samples);
    for batch in 0..=full {
        for own in &parts {
            order.extend_from_slice(&own[batch * batch_size..own.len().min((batch + 1) * batch_size)]);
        }
    }
    order
}

/// How an epoch is cut into global batches, and these into the parts of the ranks.
///
/// # Examples
/// ```
/// use clsa_data::order::Partition;
///
/// let rank = |rank| Partition { samples: 10, batch_size: 2, rank, world_size: 2, drop_last: false };
/// // The first global batch has the positions 0 to 3 of the order, the last one has 8 and 9.
/// assert_eq!((rank(0).positions(0), rank(1).positions(0)), (0..2, 2..4));
/// assert_eq!((rank(0).positions(2), rank(1).positions(2)), (8..9, 9..10));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Samples of an epoch.
    pub samples: usize,
    /// Samples of one batch of one rank, at least 1.
    pub batch_size: usize,
    /// This rank, below `world_size`.
    pub rank: usize,
    /// Number of ranks, at least 1.
    pub world_size: usize,
    /// Whether a last global batch that is not full is left out.
    pub drop_last: bool,
}

impl Partition {
    /// Batches of an epoch; the same for every rank.
    ///
    /// # Panics
    /// If `batch_size` or `world_size` is 0.
    pub fn batches(&self) -> usize {
        let global = self.batch_size * self.world_size;
        if self.drop_last { self.samples / global } else { self.samples.div_ceil(global) }
    }

    /// The positions in the order of the epoch that make up batch `index` of this rank. Rank r of a full global batch of
    /// G = `batch_size`·`world_size` samples has positions `index·G + r·batch_size ..` of it; a last batch that is not
    /// full is dealt out in contiguous parts whose sizes differ by at most one, so that some may be empty.
    ///
    /// # Panics
    /// If `world_size` is 0.
    pub fn positions(&self, index: usize) -> Range<usize> {
        let global = self.batch_size * self.world_size;
        let start = (index * global).min(self.samples);
        let size = (self.samples - start).min(global);
        let (share, rest) = (size / self.world_size, size % self.world_size);
        let begin = start + self.rank * share + self.rank.min(rest);
        begin..begin + share + usize::from(self.rank < rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn orders_are_those_of_every_version() {
        // From splitmix64, xoshiro256++ and Fisher-Yates, written in Python.
        assert_eq!(shuffled(7, 0, 10), [5, 6, 0, 7, 8, 2, 4, 9, 3, 1]);
        assert_eq!(shuffled(7, 1, 10), [8, 1, 5, 2, 0, 7, 4, 3, 9, 6]);
        assert_eq!(buffered_by_rank(7, 0, &[5, 4, 3], 3, 4, 1), [7, 6, 5, 8, 10, 9, 0, 1, 11, 3, 2, 4]);
    }

    proptest! {
        #[test]
        fn every_rank_reads_its_own_part_of_the_shards_from_one_end_to_the_other(
            shards in prop::collection::vec(0usize..40, 1..12),
            (seed, epoch) in (any::<u64>(), 0u64..5),
            (buffer, batch_size, world_size) in (1usize..30, 1usize..6, 1usize..5),
        ) {
            let samples: usize = shards.iter().sum();
            let order = buffered_by_rank(seed, epoch, &shards, buffer, batch_size, world_size);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert!(sorted.into_iter().eq(0..samples as u32), "every sample once");
            let shard_of = |sample: u32| {
                let mut first = 0;
                shards.iter().position(|len| {
                    first += len;
                    (sample as usize) < first
                })
            };
            // The shards in the order in which each rank comes to them: two ranks have at most one in common.
            let mut readers = vec![0; shards.len()];
            for rank in 0..world_size {
                let partition = Partition { samples, batch_size, rank, world_size, drop_last: false };
                let own: Vec<u32> =
                    (0..partition.batches()).flat_map(|batch| &order[partition.positions(batch)]).copied().collect();
                let mut of_rank: Vec<usize> = own.iter().filter_map(|&sample| shard_of(sample)).collect();
                of_rank.sort_unstable();
                of_rank.dedup();
                of_rank.into_iter().for_each(|shard| readers[shard] += 1);
                // A buffer of one sample leaves the shards one after the other.
                if buffer == 1 {
                    let changes = own.windows(2).filter(|pair| shard_of(pair[0]) != shard_of(pair[1])).count();
                    prop_assert!(changes < shards.len());
                }
            }
            let shared: usize = readers.iter().map(|&readers: &usize| readers.saturating_sub(1)).sum();
            prop_assert!(shared < world_size, "{} shards are read by more than one rank", shared);
        }
    }
}
