//! The table of protocols.

use super::corruptions::Corruptions;
use super::finetune::Finetune;
use super::knn::Knn;
use super::linear::Linear;
use super::linear_features::LinearFeatures;
use super::protocol::{LabelKind, Protocol};
use super::retrieval::Retrieval;
use super::voc07::Voc07;
use clsa_data::Dataset;

/// All protocols of this crate: those on frozen features first, from the quickest to the most thorough.
pub const PROTOCOLS: [&'static dyn Protocol; 7] =
    [&Knn, &LinearFeatures, &Linear, &Corruptions, &Finetune, &Voc07, &Retrieval];

/// The protocols that are run where none is named: quick ones, for images with one class each.
pub const DEFAULT_PROTOCOLS: [&'static dyn Protocol; 2] = [&Knn, &LinearFeatures];

/// The protocol of this name.
///
/// # Examples
/// ```
/// use clsa_eval::protocols::{PROTOCOLS, named};
///
/// for protocol in PROTOCOLS {
///     println!("{}: {}", protocol.name(), protocol.about());
/// }
/// assert!(named("knn").is_some_and(|knn| knn.needs().features));
/// assert!(named("unheard-of").is_none());
/// ```
pub fn named(name: &str) -> Option<&'static dyn Protocol> {
    PROTOCOLS.into_iter().find(|protocol| protocol.name() == name)
}

/// A protocol that suits images where those of [`DEFAULT_PROTOCOLS`] do not; none where they do. The first image of each split tells
/// of all.
///
/// # Examples
/// ```
/// use clsa_data::{Limits, Source};
/// use clsa_eval::protocols::suitable_instead;
///
/// let labeled: Source = "procedural:classes=2,train=20,test=4".parse()?;
/// let splits = labeled.open_splits(Limits::default())?;
/// let train = splits.train.as_ref();
/// assert!(suitable_instead(train, splits.test.as_deref().ok()).is_none());
/// assert_eq!(suitable_instead(train, None).map(|protocol| protocol.name()), Some("retrieval"));
/// # Ok::<(), clsa_data::DataError>(())
/// ```
pub fn suitable_instead(train: &dyn Dataset, test: Option<&dyn Dataset>) -> Option<&'static dyn Protocol> {
    let suits = |protocol: &&'static dyn Protocol| {
        let needs = protocol.needs();
        let is_labeled = |images: &dyn Dataset| needs.labels.suits(&images.label(0));
        let is_told_apart = needs.labels != LabelKind::OneClass || train.class_names().len() > 1;
        is_labeled(train) && is_told_apart && test.map_or(!needs.test_images, is_labeled)
    };
    if DEFAULT_PROTOCOLS.iter().all(suits) { None } else { PROTOCOLS.into_iter().find(suits) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clsa_data::{Source, Split};

    #[test]
    fn images_are_retrieved_where_those_of_either_split_have_no_labels_or_all_one_class() {
        let open = |source: &str| source.parse::<Source>().unwrap().open(Split::Train).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let list = |text: &str| {
            let table = folder.path().join("table.csv");
            std::fs::write(&table, text).unwrap();
            open(&format!("list:{}", table.display()))
        };
        let labeled = list("path,label\na.png,cat\nb.png,dog\n");
        let (unlabeled, one) = (list("path\na.png\n"), list("path,label\na.png,cat\n"));
        let name = |train: &dyn Dataset, test| suitable_instead(train, test).map(|protocol| protocol.name());
        assert_eq!(name(&*labeled, Some(&*labeled)), None);
        for (train, test) in [(&labeled, &unlabeled), (&unlabeled, &labeled), (&one, &one)] {
            assert_eq!(name(&**train, Some(&**test)), Some("retrieval"));
        }
    }

    #[test]
    fn names_differ_and_settings_of_one_name_are_of_one_kind() {
        let mut settings = std::collections::HashMap::new();
        for (at, protocol) in PROTOCOLS.iter().enumerate() {
            let name = protocol.name();
            assert!(!name.contains(' ') && PROTOCOLS[..at].iter().all(|other| other.name() != name), "{name}");
            for setting in protocol.settings() {
                let known = settings.insert(setting.name, (setting.kind, setting.placeholder));
                assert!(known.is_none_or(|known| known == (setting.kind, setting.placeholder)), "{}", setting.name);
            }
        }
    }
}
