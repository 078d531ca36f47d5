//! The order of samples in an epoch: a pure function of seed, epoch and size, and the part of it that a rank reads.

use std::ops::Range;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// Mixes two words into one (the finaliser of splitmix64), so that neighbouring seeds and epochs share nothing.
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let mut z = a.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(b).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A generator for the words `a` and `b`.
pub(crate) fn generator(a: u64, b: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(mix(a, b))
}

/// Uniform in `0..bound` (Lemire's multiplication; its bias is below 2⁻³² for the sizes met here).
fn below(generator: &mut Xoshiro256PlusPlus, bound: usize) -> usize {
    ((u128::from(generator.next_u64()) * bound as u128) >> 64) as usize
}

fn shuffle(values: &mut [u32], generator: &mut Xoshiro256PlusPlus) {
    for last in (1..values.len()).rev() {
        values.swap(last, below(generator, last + 1));
    }
}

/// All of `0..len` in an order that depends on `seed` and `epoch` alone (Fisher-Yates).
pub fn shuffled(seed: u64, epoch: u64, len: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..len).collect();
    shuffle(&mut order, &mut generator(seed, epoch));
    order
}

/// All samples in the order in which a reader with a shuffle buffer meets them: whole shards in random order, each read
/// from its beginning to its end, into a buffer of `buffer` samples that is emptied in random order whenever it is full. So
/// no sample waits for long, and what is read once need not be read again. `shards` gives the number of samples of each
/// shard.
pub fn buffered(seed: u64, epoch: u64, shards: &[usize], buffer: usize) -> Vec<u32> {
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
    let mut order = Vec::with_capacity(shards.iter().sum());
    for shard in shard_order {
        let shard = shard as usize;
        order.extend((starts[shard]..starts[shard] + shards[shard]).map(|sample| sample as u32));
    }
    order.chunks_mut(buffer.max(1)).for_each(|filling| shuffle(filling, &mut generator));
    order
}

/// How an epoch is cut into global batches, and these into the parts of the ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Samples of an epoch.
    pub samples: usize,
    /// Samples of one batch of one rank.
    pub batch_size: usize,
    /// This rank.
    pub rank: usize,
    /// Number of ranks.
    pub world_size: usize,
    /// Whether a last global batch that is not full is left out.
    pub drop_last: bool,
}

impl Partition {
    /// Batches of an epoch; the same for every rank.
    pub fn batches(&self) -> usize {
        let global = self.batch_size * self.world_size;
        if self.drop_last { self.samples / global } else { self.samples.div_ceil(global) }
    }

    /// The positions in the order of the epoch that make up batch `index` of this rank. Rank r of a full global batch of
    /// G = `batch_size`·`world_size` samples has positions `index·G + r·batch_size ..` of it; a last batch that is not
    /// full is dealt out in contiguous parts whose sizes differ by at most one, so that some may be empty.
    pub fn positions(&self, index: usize) -> Range<usize> {
        let global = self.batch_size * self.world_size;
        let start = (index * global).min(self.samples);
        let size = (self.samples - start).min(global);
        let (share, rest) = (size / self.world_size, size % self.world_size);
        let begin = start + self.rank * share + self.rank.min(rest);
        begin..begin + share + usize::from(self.rank < rest)
    }
}
