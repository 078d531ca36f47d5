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
    /// Views of an image are found better than at first.
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
    /// The verdict on records in the order of training; none before there are two.
    pub fn of(records: &[LabelFreeRecord]) -> Option<Self> {
        let [first, .., last] = records else { return None };
        let since = |is: fn(&LabelFree) -> bool| records.iter().rev().take_while(|record| is(&record.figures)).last();
        let (from, to) = (first.figures, last.figures);
        // That views were never found is no collapse.
        let collapsed = since(LabelFree::is_collapsed).filter(|since| since.step > first.step);
        let collapsed = collapsed.or_else(|| since(LabelFree::is_alike));
        Some(match collapsed {
            Some(since) => Self::Collapsed { since: since.epoch },
            None if to.own_view_retrieval > from.own_view_retrieval => Self::Learning { from, to },
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

    #[test]
    fn a_single_evaluation_gives_no_verdict() {
        assert_eq!(verdict(&[record(0, 40.0, 30.0)]), "none");
        assert_eq!(verdict(&[]), "none");
    }
}
