//! Which view of which sample is made, and the random generator that follows from it.

use rand::{Rng, SeedableRng};
use rand_xoshiro::{SplitMix64, Xoshiro256PlusPlus};

/// Says which sample's views are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SampleId {
    /// Seed of the run.
    pub seed: u64,
    /// Epoch, counted from 0.
    pub epoch: u64,
    /// Index of the sample in its data set.
    pub sample: u64,
}

/// Says which view of which sample is made. A view's random choices depend on these four numbers and on the size of
/// the image, on nothing else: not on the other views, the thread, or what was made before.
///
/// # Examples
/// ```
/// use clsa_augment::ViewId;
/// use clsa_augment::rand::RngExt;
///
/// let id = ViewId { seed: 0, epoch: 3, sample: 17, view: 1 };
/// assert_eq!(id.rng().random::<u64>(), id.rng().random::<u64>());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ViewId {
    /// Seed of the run.
    pub seed: u64,
    /// Epoch, counted from 0.
    pub epoch: u64,
    /// Index of the sample in its data set.
    pub sample: u64,
    /// Index of the view in the order of [`ViewPlan::views`](crate::ViewPlan::views): key 0, then weak, then strong.
    pub view: u32,
}

impl ViewId {
    /// The generator of this view's random choices.
    pub fn rng(&self) -> Xoshiro256PlusPlus {
        let mut state = 0;
        for word in [self.seed, self.epoch, self.sample, u64::from(self.view)] {
            state = splitmix64(state ^ word);
        }
        Xoshiro256PlusPlus::seed_from_u64(state)
    }
}

/// One step of SplitMix64 (Steele, Lea and Flood 2014): a bijection that spreads neighboring inputs.
pub(crate) fn splitmix64(x: u64) -> u64 {
    SplitMix64::seed_from_u64(x).next_u64()
}
