//! How often neighbors share a class.

use super::Estimate;
use serde::{Deserialize, Serialize};

/// How often the nearest training images are of a test image's class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SameClassShare {
    /// Neighbors of each test image that are looked at.
    #[serde(rename = "neighbours")]
    pub neighbors: usize,
    /// Share of them that are of its class, percent; none where images have not one class.
    #[serde(rename = "precision")]
    pub share: Option<Estimate>,
}

impl SameClassShare {
    /// What the share would be if `neighbors` training images were drawn at random: the chance that a training image is
    /// of a test image's class.
    pub fn of_chance(train: &[u32], test: &[u32], neighbors: usize) -> Self {
        let classes = train.iter().chain(test).max().map_or(0, |&class| class as usize + 1);
        let shares = |labels: &[u32]| {
            let mut counts = vec![0.0; classes];
            labels.iter().for_each(|&class| counts[class as usize] += 1.0 / labels.len() as f64);
            counts
        };
        let value = 100.0 * shares(train).iter().zip(shares(test)).map(|(a, b)| a * b).sum::<f64>();
        Self { neighbors: neighbors.min(train.len()), share: Some(Estimate::exact(value)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_that_of_any_image_to_be_of_the_class() {
        let chance = SameClassShare::of_chance(&[0, 0, 0, 1], &[0, 1], 9);
        let value = chance.share.unwrap().value;
        assert!((value - 100.0 * (0.75 * 0.5 + 0.25 * 0.5)).abs() < 1e-9 && chance.neighbors == 4);
    }
}
