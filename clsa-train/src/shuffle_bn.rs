//! ShuffleBN (He et al. 2019, section 3.3): the key encoder sees the global batch in another order, so that a query and
//! its key never share batch statistics.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;

/// A permutation of the global batch and its inverse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shuffle {
    /// Place `i` of the shuffled batch holds sample `order[i]`.
    pub order: Vec<u32>,
    /// Sample `i` is at place `restore[i]` of the shuffled batch.
    pub restore: Vec<u32>,
}

impl Shuffle {
    /// The permutation of `samples` samples at a step: the same on every rank, another at every step.
    pub fn new(samples: usize, seed: u64, step: u64) -> Self {
        // Distant streams for neighboring steps: the golden ratio's multiples are spread over all 64 bits.
        let stream = seed ^ step.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut order: Vec<u32> = (0..samples as u32).collect();
        order.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(stream));
        let mut restore = vec![0; samples];
        for (place, &sample) in order.iter().enumerate() {
            restore[sample as usize] = place as u32;
        }
        Self { order, restore }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn restoring_a_shuffled_batch_gives_the_batch(n in 1usize..300, seed: u64, step in 0u64..1000) {
            let shuffle = Shuffle::new(n, seed, step);
            for sample in 0..n {
                prop_assert_eq!(shuffle.order[shuffle.restore[sample] as usize] as usize, sample);
            }
        }
    }

    #[test]
    fn steps_have_different_permutations() {
        assert_ne!(Shuffle::new(64, 7, 0), Shuffle::new(64, 7, 1));
        assert_ne!(Shuffle::new(64, 7, 0), Shuffle::new(64, 8, 0));
    }
}
