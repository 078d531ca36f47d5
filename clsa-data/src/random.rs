//! Random numbers that stay the same: generators seeded by two words, and what is drawn from them.
//!
//! The order of an epoch and the procedural images must not change when a dependency is updated: a resumed run would go
//! on with other samples, and earlier figures would be of other images. The crate `rand` keeps its generators stable, but
//! says that its `shuffle` and `random_range` may give other values in a new version. So only the generator is taken from
//! a crate, and the few lines from its words to a number or an order are here.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// Mixes two words into one (the finalizer of splitmix64), so that neighboring seeds and epochs share nothing.
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

/// Uniform in 0..1.
pub(crate) fn uniform(generator: &mut Xoshiro256PlusPlus) -> f32 {
    (generator.next_u64() >> 40) as f32 / (1u64 << 24) as f32
}

/// Uniform in `0..bound` (Lemire's multiplication; its bias is below 2⁻³² for the sizes met here).
fn below(generator: &mut Xoshiro256PlusPlus, bound: usize) -> usize {
    ((u128::from(generator.next_u64()) * bound as u128) >> 64) as usize
}

/// Puts `values` in random order (Fisher-Yates).
pub(crate) fn shuffle(values: &mut [u32], generator: &mut Xoshiro256PlusPlus) {
    for last in (1..values.len()).rev() {
        values.swap(last, below(generator, last + 1));
    }
}
