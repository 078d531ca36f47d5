//! Some of the samples of a data set, drawn by a seed.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;

/// Up to `count` different numbers below `len`, in an order drawn by the seed.
///
/// # Examples
/// ```
/// let drawn = clsa_eval::random_subset(100, 3, 7);
/// assert_eq!(drawn.len(), 3);
/// assert_eq!(drawn, clsa_eval::random_subset(100, 5, 7)[..3]);
/// assert_eq!(clsa_eval::random_subset(2, 3, 7).len(), 2);
/// ```
pub fn random_subset(len: usize, count: usize, seed: u64) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..len).collect();
    indices.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(seed));
    indices.truncate(count);
    indices
}
