//! Labels of data sets, and whether two splits can be learned from and tested on by them.

use crate::EvalError;
use clsa_data::{Dataset, Label, Presence};
use std::sync::Arc;

/// The class of each of the samples `indices`.
///
/// # Errors
/// A sample has not exactly one class.
pub fn labels(dataset: &dyn Dataset, indices: &[usize]) -> Result<Vec<u32>, EvalError> {
    let label = |&i: &usize| dataset.label(i).class().ok_or_else(|| EvalError::NoClass { sample: dataset.name(i) });
    indices.iter().map(label).collect()
}

/// The class of every sample.
pub(crate) fn all_labels(dataset: &dyn Dataset) -> Result<Vec<u32>, EvalError> {
    labels(dataset, &(0..dataset.len()).collect::<Vec<_>>())
}

/// Checks two splits by their labels alone, before any image is read; gives the number of classes.
///
/// # Errors
/// A sample has no class, the training images are all of one class, or a test class is not among theirs.
pub fn check_labels(train: &dyn Dataset, test: &dyn Dataset) -> Result<usize, EvalError> {
    check_classes(&all_labels(train)?, &all_labels(test)?).map_err(|error| match error {
        EvalError::UnknownClass { class, .. } => {
            EvalError::UnknownClass { class, name: test.class_names().get(class as usize).cloned() }
        }
        other => other,
    })
}

/// Checks that there are two training classes or more and no other test classes; gives the number of classes, one more
/// than the largest.
pub(super) fn check_classes(train: &[u32], test: &[u32]) -> Result<usize, EvalError> {
    let classes = train.iter().max().map_or(0, |&class| class as usize + 1);
    let mut known = vec![false; classes];
    train.iter().for_each(|&class| known[class as usize] = true);
    if known.iter().filter(|&&known| known).count() < 2 {
        return Err(EvalError::OneClass);
    }
    match test.iter().find(|&&class| !known.get(class as usize).is_some_and(|&known| known)) {
        Some(&class) => Err(EvalError::UnknownClass { class, name: None }),
        None => Ok(classes),
    }
}

/// Names of a sample's classes: one, or all that are present. None where it has no label.
pub fn class_names_of(dataset: &dyn Dataset, index: usize) -> Option<Vec<String>> {
    let name = |class: usize| dataset.class_names().get(class).cloned().unwrap_or_else(|| class.to_string());
    match dataset.label(index) {
        Label::None => None,
        Label::Class(class) => Some(vec![name(class as usize)]),
        Label::Multi(classes) => {
            let present = classes.iter().enumerate().filter(|(_, presence)| **presence == Presence::Present);
            Some(present.map(|(class, _)| name(class)).collect())
        }
    }
}

/// The presence of every class in each sample.
///
/// # Errors
/// A sample is not labeled so.
pub fn presences(dataset: &dyn Dataset) -> Result<Vec<Arc<[Presence]>>, EvalError> {
    let presence = |index: usize| match dataset.label(index) {
        Label::Multi(presence) => Ok(presence),
        Label::None | Label::Class(_) => Err(EvalError::NotMultiLabel { sample: dataset.name(index) }),
    };
    (0..dataset.len()).map(presence).collect()
}

/// Checks two splits by the presence of the classes `names` alone.
///
/// # Errors
/// A sample is labeled for another number of classes, no class is present in a test image, or one is that is in no training image.
pub fn check_presences(train: &[Arc<[Presence]>], test: &[Arc<[Presence]>], names: &[String]) -> Result<(), EvalError> {
    let classes = names.len();
    for (split, labels) in [("training", train), ("test", test)] {
        if let Some(other) = labels.iter().find(|labels| labels.len() != classes) {
            return Err(EvalError::ClassCount { split, labels: other.len(), classes });
        }
    }
    let present = |labels: &[Arc<[Presence]>], class: usize| labels.iter().any(|l| l[class] == Presence::Present);
    match (0..names.len()).find(|&class| present(test, class) && !present(train, class)) {
        Some(class) => Err(EvalError::UnknownClass { class: class as u32, name: Some(names[class].clone()) }),
        None if (0..names.len()).any(|class| present(test, class)) => Ok(()),
        None => Err(EvalError::Empty("positive test")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Presence::{Absent, Present};

    #[test]
    fn labels_of_another_number_of_classes_are_refused_by_split() {
        let of = |classes: usize| -> Vec<Arc<[Presence]>> {
            vec![vec![Present; classes].into(), vec![Absent; classes].into()]
        };
        let names = ["a", "b"].map(str::to_owned);
        assert!(check_presences(&of(2), &of(2), &names).is_ok());
        let error = check_presences(&of(2), &of(1), &names).unwrap_err();
        assert!(error.to_string().starts_with("the test images are labeled for 1 classes, where"), "{error}");
        assert!(error.is_request() && check_presences(&of(3), &of(3), &names).is_err());
    }
}
