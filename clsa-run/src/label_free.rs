//! What embeddings say without labels.

use serde::{Deserialize, Serialize};

/// Figures of the embeddings (unit vectors of `d` components) of two views of each of some images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelFree {
    /// Images.
    pub images: usize,
    /// RankMe (Garrido et al. 2023): the exponential of the entropy of the singular values, from 1 (all embeddings are parallel) to
    /// `d`, or to the number of images where that is less.
    pub effective_rank: f64,
    /// Mean squared distance of the two views of an image, from 0 to 4 (Wang and Isola 2020).
    pub alignment: f64,
    /// Logarithm of the mean of `exp(-2 · squared distance)` over pairs of images, at most 0, the lower the more evenly they are
    /// spread (Wang and Isola 2020).
    pub uniformity: f64,
    /// Images whose first view has the second one of the same image as its nearest, percent.
    pub own_view_retrieval: f64,
    /// Mean standard deviation of a component times the square root of `d`: 1 where embeddings are spread evenly over the sphere, 0
    /// where they are all the same (Chen and He 2021).
    pub spread: f64,
}

impl LabelFree {
    /// Fewer images than these say nothing of retrieval.
    const FEW: usize = 100;
    /// Fewer images than these say nothing of rank and spread either.
    pub(crate) const VERY_FEW: usize = 8;

    /// Whether embeddings are so alike that nothing can be told from them, or views of an image are found no more often than by
    /// chance. The latter is a collapse only where they have been found before: an untrained encoder of few images may not find any.
    pub fn is_collapsed(&self) -> bool {
        let by_chance = 100.0 / self.images.max(1) as f64;
        let finds_nothing = self.images >= Self::FEW && self.own_view_retrieval <= 2.0 * by_chance;
        self.is_alike() || finds_nothing
    }

    /// Whether views are found more often than elsewhere, by more than two standard errors of the difference, as if it were of other
    /// images: which of them were found is not recorded.
    pub(crate) fn finds_more_than(&self, other: &Self) -> bool {
        let variance = |of: &Self| {
            let share = of.own_view_retrieval / 100.0;
            share * (1.0 - share) / of.images.max(1) as f64
        };
        self.own_view_retrieval - other.own_view_retrieval > 200.0 * (variance(self) + variance(other)).sqrt()
    }

    /// Whether all embeddings are nearly the same, or lie on a line.
    pub(crate) fn is_alike(&self) -> bool {
        self.images >= Self::VERY_FEW && (self.effective_rank < 1.5 || self.spread < 0.02)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_rank_spread_and_retrieval_tells_a_collapse_alone() {
        let sound = LabelFree {
            images: 1000,
            effective_rank: 40.0,
            alignment: 1.0,
            uniformity: -2.0,
            own_view_retrieval: 30.0,
            spread: 0.5,
        };
        assert!(!sound.is_collapsed());
        assert!(LabelFree { effective_rank: 1.2, ..sound }.is_collapsed());
        assert!(LabelFree { spread: 0.01, ..sound }.is_collapsed());
        assert!(LabelFree { own_view_retrieval: 0.2, ..sound }.is_collapsed());
        assert!(
            !LabelFree { own_view_retrieval: 12.5, images: 16, ..sound }.is_collapsed(),
            "too few images to say so"
        );
        assert!(!LabelFree { effective_rank: 1.0, spread: 0.0, images: 1, ..sound }.is_collapsed(), "one has rank 1");
    }
}
