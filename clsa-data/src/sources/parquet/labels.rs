//! The labels of samples in parquet files: a class for each, or a list of classes.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{DataError, Fault};
use crate::label::{Labels, MAX_CLASSES, Presence};

/// Most presences of classes that lists of labels are kept as, for all samples whose lists differ.
const MOST_PRESENCES: usize = 1 << 28;

/// The labels of rows: those of a row group, of a file or of all files.
pub(super) enum RowLabels {
    /// One for each; -1 where there is none.
    One(Vec<i64>),
    /// A list for each.
    Lists(Vec<Vec<i64>>),
}

impl RowLabels {
    fn into_lists(self) -> Vec<Vec<i64>> {
        match self {
            Self::One(labels) => labels.into_iter().map(|label| vec![label]).collect(),
            Self::Lists(lists) => lists,
        }
    }

    /// The same for each image of the rows, which have so many.
    pub fn for_images(self, of_rows: &[usize]) -> Self {
        fn repeated<L: Clone>(labels: Vec<L>, of_rows: &[usize]) -> Vec<L> {
            labels.into_iter().zip(of_rows).flat_map(|(label, &images)| std::iter::repeat_n(label, images)).collect()
        }
        match self {
            Self::One(labels) => Self::One(repeated(labels, of_rows)),
            Self::Lists(lists) => Self::Lists(repeated(lists, of_rows)),
        }
    }

    /// These, and others behind them.
    pub fn with(self, others: Self) -> Self {
        match (self, others) {
            (Self::One(mut labels), Self::One(others)) => {
                labels.extend(others);
                Self::One(labels)
            }
            (these, others) => {
                let mut lists = these.into_lists();
                lists.extend(others.into_lists());
                Self::Lists(lists)
            }
        }
    }
}

/// Labels that were checked.
pub(super) struct Checked {
    pub labels: Labels,
    pub classes: Vec<String>,
    /// What a user should know of them.
    pub note: Option<String>,
}

impl Checked {
    /// Checks the labels, and names classes that have no names. Labels that are all -1, as those of hidden test sets, are none; lists
    /// of one label each are labels.
    pub fn of(rows: Option<RowLabels>, classes: Vec<String>, pattern: &str) -> Result<Self, DataError> {
        match rows {
            None => Ok(Self { labels: Labels::None, classes: Vec::new(), note: None }),
            Some(RowLabels::One(labels)) => Self::of_classes(labels, classes, pattern),
            Some(RowLabels::Lists(lists)) if lists.iter().all(|list| list.len() == 1) => {
                Self::of_classes(lists.concat(), classes, pattern)
            }
            Some(RowLabels::Lists(lists)) => Self::of_presences(&lists, classes, pattern),
        }
    }

    fn of_classes(labels: Vec<i64>, classes: Vec<String>, pattern: &str) -> Result<Self, DataError> {
        if labels.iter().all(|&label| label == -1) {
            let note = "without labels, because each row has the label -1 or none".to_owned();
            let note = (!labels.is_empty()).then_some(note);
            return Ok(Self { labels: Labels::None, classes: Vec::new(), note });
        }
        if let Some(row) = labels.iter().position(|label| !(0..MAX_CLASSES).contains(label)) {
            let reason = match labels[row] {
                -1 => format!("row {row} has no label, or -1, but other rows have one"),
                label => format!("row {row} has the label {label}, which is not in 0..{MAX_CLASSES}"),
            };
            return Err(Fault::Labels.at(pattern, reason));
        }
        let classes = named(classes, labels.iter().copied().max(), pattern)?;
        let labels = labels.into_iter().map(|label| label as u32).collect();
        Ok(Self { labels: Labels::Class(labels), classes, note: None })
    }

    fn of_presences(lists: &[Vec<i64>], classes: Vec<String>, pattern: &str) -> Result<Self, DataError> {
        if lists.iter().all(Vec::is_empty) {
            let note = Some("without labels, because the list of each row is empty".to_owned());
            return Ok(Self { labels: Labels::None, classes: Vec::new(), note });
        }
        for (row, list) in lists.iter().enumerate() {
            if let Some(label) = list.iter().find(|label| !(0..MAX_CLASSES).contains(*label)) {
                let reason = format!("row {row} has the label {label}, which is not in 0..{MAX_CLASSES}");
                return Err(Fault::Labels.at(pattern, reason));
            }
        }
        let classes = named(classes, lists.iter().flatten().copied().max(), pattern)?;
        let mut known: HashMap<&[i64], Arc<[Presence]>> = HashMap::new();
        let mut presences = Vec::with_capacity(lists.len());
        for list in lists {
            if !known.contains_key(&list[..]) {
                if (known.len() + 1) * classes.len() > MOST_PRESENCES {
                    let reason =
                        format!("has more lists of labels of {} classes than memory is taken for", classes.len());
                    return Err(Fault::Labels.at(pattern, reason));
                }
                let mut presence = vec![Presence::Absent; classes.len()];
                for &label in list {
                    presence[label as usize] = Presence::Present;
                }
                known.insert(list, presence.into());
            }
            presences.push(Arc::clone(&known[&list[..]]));
        }
        Ok(Self { labels: Labels::Multi(presences), classes, note: None })
    }
}

/// The names of the classes: their numbers where they have none.
fn named(classes: Vec<String>, largest: Option<i64>, pattern: &str) -> Result<Vec<String>, DataError> {
    let largest = largest.unwrap_or(0);
    if classes.is_empty() {
        return Ok((0..=largest).map(|class| class.to_string()).collect());
    }
    if largest as usize >= classes.len() {
        let names = classes.len();
        return Err(Fault::Labels.at(pattern, format!("has the label {largest}, but names for {names} classes")));
    }
    Ok(classes)
}
