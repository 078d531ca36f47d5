//! Random numbers by xorshift.

use std::time::Duration;

/// A generator.
pub struct Chance(u64);

impl Chance {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    /// A number in 0..1.
    fn part(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A time up to one and a half of a time, so that some runs end before.
    pub fn up_to(&mut self, time: Duration) -> Duration {
        time.mul_f64(self.part() * 1.5)
    }

    /// A number below another.
    pub fn below(&mut self, end: u64) -> u64 {
        (self.part() * end as f64) as u64
    }
}
