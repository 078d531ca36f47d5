//! What the figures without labels of a run say together.

use crate::label_free::LabelFree;
use crate::metrics::LabelFreeRecord;
use std::fmt;

/// What the figures of a run say together.
///
/// # Examples
/// ```
/// use clsa_run::{LabelFree, LabelFreeRecord, Verdict};
///
/// let figures = LabelFree {
///     images: 1000,
///     effective_rank: 41.0,
///     alignment: 0.9,
///     uniformity: -2.0,
///     own_view_retrieval: 12.0,
///     spread: 0.8,
/// };
/// let before = LabelFreeRecord { step: 0, epoch: 0, figures };
/// let figures = LabelFree { effective_rank: 118.0, own_view_retrieval: 71.0, ..figures };
/// let after = LabelFreeRecord { step: 970, epoch: 10, figures };
/// let verdict = Verdict::of(&[before, after]).expect("there are two");
/// assert_eq!(verdict.to_string(), "learning: effective rank 41 to 118, own-view retrieval 12 to 71 %");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// Views of an image are found more often than at first, by more than two standard errors, or nearly always.
    Learning {
        /// The first figures.
        from: LabelFree,
        /// The last figures.
        to: LabelFree,
    },
    /// They are not.
    NotLearning {
        /// The first figures.
        from: LabelFree,
        /// The last figures.
        to: LabelFree,
    },
    /// All images have nearly the same embedding, or their views are found by chance only, and were found before.
    Collapsed {
        /// The epoch since which it has been so.
        since: u64,
    },
}

impl Verdict {
    /// Nearly all own views, percent: it cannot get much better.
    const NEARLY_ALL: f64 = 99.0;

    /// The verdict on records in the order of training, from the first of about as many images as the last; none before there are two.
    pub fn of(records: &[LabelFreeRecord]) -> Option<Self> {
        // Among fewer images, views are found more often. A few may be left out in the middle of a run.
        let images = records.last()?.figures.images;
        let others = records.iter().rposition(|record| record.figures.images.abs_diff(images) > images / 10);
        let records = &records[others.map_or(0, |last| last + 1)..];
        let [first, .., last] = records else { return None };
        let since = |is: fn(&LabelFree) -> bool| records.iter().rev().take_while(|record| is(&record.figures)).last();
        let (from, to) = (first.figures, last.figures);
        // That views were never found is no collapse, nor that one or two fewer are.
        let were_found = records.iter().any(|record| record.figures.finds_more_than(&to));
        let collapsed = since(LabelFree::is_collapsed).filter(|since| since.step > first.step && were_found);
        let collapsed = collapsed.or_else(|| since(LabelFree::is_alike));
        // Of a few images all are found by chance.
        let keeps_nearly_all =
            to.images >= LabelFree::VERY_FEW && to.own_view_retrieval >= Self::NEARLY_ALL && !from.finds_more_than(&to);
        Some(match collapsed {
            Some(since) => Self::Collapsed { since: since.epoch },
            None if to.finds_more_than(&from) || keeps_nearly_all => Self::Learning { from, to },
            None => Self::NotLearning { from, to },
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, from, to) = match self {
            Self::Collapsed { since: 0 } => return f.write_str("collapsed since the beginning"),
            Self::Collapsed { since } => return write!(f, "collapsed since epoch {since}"),
            Self::Learning { from, to } => ("learning", from, to),
            Self::NotLearning { from, to } => ("not learning so far", from, to),
        };
        write!(
            f,
            "{word}: effective rank {:.0} to {:.0}, own-view retrieval {:.0} to {:.0} %",
            from.effective_rank, to.effective_rank, from.own_view_retrieval, to.own_view_retrieval
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(epoch: u64, effective_rank: f64, own_view_retrieval: f64) -> LabelFreeRecord {
        let figures = LabelFree {
            images: 1000,
            effective_rank,
            alignment: 1.0,
            uniformity: -2.0,
            own_view_retrieval,
            spread: 0.5,
        };
        LabelFreeRecord { step: 10 * epoch, epoch, figures }
    }

    fn verdict(records: &[LabelFreeRecord]) -> String {
        Verdict::of(records).map_or("none".to_owned(), |verdict| verdict.to_string())
    }

    #[test]
    fn a_collapse_is_told_with_the_epoch_since_which_it_lasts() {
        let (sound, gone) = (|epoch| record(epoch, 40.0, 30.0), |epoch| record(epoch, 1.1, 0.1));
        assert_eq!(verdict(&[sound(0), sound(1), gone(3), gone(5)]), "collapsed since epoch 3");
        assert_eq!(
            verdict(&[sound(0), gone(3), sound(5)]),
            "not learning so far: effective rank 40 to 40, own-view retrieval 30 to 30 %"
        );
        assert_eq!(verdict(&[gone(0), gone(1)]), "collapsed since the beginning");
    }

    #[test]
    fn views_that_were_never_found_are_no_collapse_where_embeddings_differ_and_views_lost_are() {
        let lost = |epoch| record(epoch, 8.0, 0.1);
        let told = "not learning so far: effective rank 8 to 8, own-view retrieval 0 to 0 %";
        assert_eq!(verdict(&[lost(0), lost(1)]), told);
        assert_eq!(verdict(&[record(0, 8.0, 30.0), lost(1), lost(2)]), "collapsed since epoch 1");
        let alike = |epoch| record(epoch, 1.1, 0.1);
        assert_eq!(verdict(&[lost(0), alike(1), alike(2)]), "collapsed since epoch 1");
    }

    /// A record of embeddings that differ, whose own views are found for some of the images.
    fn found(epoch: u64, found: usize, images: usize) -> LabelFreeRecord {
        let mut record = record(epoch, 20.0, 100.0 * found as f64 / images as f64);
        record.figures.images = images;
        record
    }

    #[test]
    fn a_view_found_more_or_less_is_neither_learning_nor_a_collapse() {
        for records in [[found(0, 3, 100), found(1, 2, 100)], [found(0, 300, 1000), found(1, 301, 1000)]] {
            assert!(verdict(&records).starts_with("not learning so far"), "{}", verdict(&records));
        }
        assert_eq!(verdict(&[found(0, 30, 100), found(1, 2, 100)]), "collapsed since epoch 1");
    }

    #[test]
    fn views_that_are_all_found_from_the_beginning_are_no_failure_to_learn() {
        assert!(verdict(&[found(0, 40, 40), found(1, 40, 40)]).starts_with("learning"));
        for records in [[found(0, 1, 1), found(1, 1, 1)], [found(0, 1000, 1000), found(1, 990, 1000)]] {
            assert!(verdict(&records).starts_with("not learning so far"), "{}", verdict(&records));
        }
    }

    #[test]
    fn figures_of_far_fewer_images_are_not_compared_and_those_of_a_few_left_out_are() {
        assert_eq!(verdict(&[found(0, 100, 1000), found(1, 18, 40)]), "none");
        let resumed = [found(0, 100, 1000), found(1, 18, 40), found(2, 36, 40)];
        assert_eq!(verdict(&resumed), "learning: effective rank 20 to 20, own-view retrieval 45 to 90 %");
        assert!(verdict(&[found(0, 13, 1000), found(1, 61, 998)]).starts_with("learning"));
    }

    #[test]
    fn a_single_evaluation_gives_no_verdict() {
        assert_eq!(verdict(&[record(0, 40.0, 30.0)]), "none");
        assert_eq!(verdict(&[]), "none");
    }
}
