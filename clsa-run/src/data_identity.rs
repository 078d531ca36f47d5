//! What a run was trained on, by which other images are told from the same ones in another place.

use crate::folder::{RunError, RunFolder};
use clsa_data::{Dataset, Label, Presence};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::ErrorKind;

/// The images of a run's training split, by their number, names and labels; their content is not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataIdentity {
    /// Number of images.
    pub images: usize,
    /// Number of classes; 0 where the images have no labels.
    pub classes: usize,
    /// SHA-256 over the names of the classes and each image's label and name, without the part that all names begin with, so
    /// that a folder may be moved.
    pub names_sha256: String,
}

impl DataIdentity {
    /// That of a data set.
    pub fn of(dataset: &dyn Dataset) -> Self {
        let mut hash = Sha256::new();
        hash_names_and_labels(dataset, &mut hash);
        Self {
            images: dataset.len(),
            classes: dataset.class_names().len(),
            names_sha256: base16ct::lower::encode_string(&hash.finalize()),
        }
    }

    /// Reads that of a run; none where the run is of a version that did not write it.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub fn read(run: &RunFolder) -> Result<Option<Self>, RunError> {
        let path = run.data_file();
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(RunError::io(&path))?,
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| RunError::NotARun {
            reason: format!("this file is damaged ({error}); remove it if the images are those of the run"),
            path,
        })
    }

    /// Writes that of a run.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, run: &RunFolder) -> Result<(), RunError> {
        let path = run.data_file();
        let text = serde_json::to_string_pretty(self).expect("plain values");
        clsa_files::write_whole(&path, format!("{text}\n").as_bytes()).map_err(RunError::io(&path))
    }

    /// How a data set differs from that of a run, in a few words; none where it is the same, or where the run is of a version that
    /// did not write it.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn difference_from(&self, run: &RunFolder) -> Result<Option<String>, RunError> {
        Ok(Self::read(run)?.and_then(|own| own.difference(self)))
    }

    /// How another data set differs, in a few words; none where it is the same.
    pub fn difference(&self, other: &Self) -> Option<String> {
        if self.images != other.images {
            return Some(format!("{} images in place of {}", other.images, self.images));
        }
        if self.classes != other.classes {
            return Some(format!("{} classes in place of {}", other.classes, self.classes));
        }
        (self.names_sha256 != other.names_sha256).then(|| "images of other names, classes or order".to_owned())
    }
}

/// Hashes the number of samples, the names of the classes, and every sample's label and name without the part that all names
/// begin with.
pub fn hash_names_and_labels(dataset: &dyn Dataset, hash: &mut Sha256) {
    let len = dataset.len();
    hash.update((len as u64).to_le_bytes());
    dataset.class_names().iter().for_each(|name| update_text(hash, name));
    let common = common_prefix(dataset);
    for index in 0..len {
        update_text(hash, &dataset.name(index)[common..]);
        match dataset.label(index) {
            Label::None => hash.update([0]),
            Label::Class(class) => hash.update(class.to_le_bytes()),
            Label::Multi(classes) => {
                let presence = |p: &Presence| match p {
                    Presence::Absent => 0,
                    Presence::Difficult => 1,
                    Presence::Present => 2,
                };
                hash.update(classes.iter().map(presence).collect::<Vec<u8>>());
            }
        }
    }
}

/// A text and its length, so that two texts cannot be taken for two others.
fn update_text(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text);
}

/// Length of what all names begin with, up to the last folder, or file of many images: `cifar-10-binary.tar.gz#` and
/// `cifar-10-batches-bin#` stand before the same numbers.
fn common_prefix(dataset: &dyn Dataset) -> usize {
    const ENDS: [char; 2] = ['/', '#'];
    let first = dataset.name(0);
    let mut common = first.rfind(ENDS).map_or(0, |end| end + 1);
    for index in 1..dataset.len() {
        let name = dataset.name(index);
        while !name.starts_with(&first[..common]) {
            common = first[..common - 1].rfind(ENDS).map_or(0, |end| end + 1);
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;
    use clsa_data::{Source, Split};

    fn identity(source: &str) -> DataIdentity {
        DataIdentity::of(source.parse::<Source>().unwrap().open(Split::Train).unwrap().as_ref())
    }

    #[test]
    fn other_images_are_told_apart_and_the_same_ones_are_known_again() {
        let first = identity("procedural:classes=4,train=64,test=16,side=16");
        assert_eq!(first.difference(&identity("procedural:classes=4,train=64,test=16,side=16")), None);
        let fewer = first.difference(&identity("procedural:classes=4,train=16,test=16,side=16")).unwrap();
        assert_eq!(fewer, "16 images in place of 64");
        let classes = first.difference(&identity("procedural:classes=2,train=64,test=16,side=16")).unwrap();
        assert_eq!(classes, "2 classes in place of 4");
    }

    #[test]
    fn images_of_the_same_names_with_other_labels_or_classes_are_others() {
        let root = tempfile::tempdir().unwrap();
        let table = root.path().join("a.csv");
        let of = |rows: &str| {
            fs::write(&table, rows).unwrap();
            identity(&format!("list:{}", table.display()))
        };
        let first = of("a.png,cat\nb.png,dog\n");
        assert_eq!(first.difference(&of("a.png,cat\nb.png,dog\n")), None);
        for other in ["a.png,dog\nb.png,cat\n", "a.png,cat\nb.png,owl\n"] {
            let difference = first.difference(&of(other));
            assert_eq!(difference.as_deref(), Some("images of other names, classes or order"), "{other}");
        }
    }

    #[test]
    fn a_run_keeps_the_identity_of_its_data() {
        let root = tempfile::tempdir().unwrap();
        let run = RunFolder::at(root.path());
        assert_eq!(DataIdentity::read(&run).unwrap(), None);
        let data = identity("procedural:classes=4,train=64,test=16,side=16");
        data.write(&run).unwrap();
        assert_eq!(DataIdentity::read(&run).unwrap(), Some(data));
        fs::write(run.data_file(), "{").unwrap();
        let error = DataIdentity::read(&run).unwrap_err();
        assert!(error.is_request() && error.to_string().contains("data.json"), "{error}");
    }

    #[test]
    fn a_file_or_folder_of_many_images_may_have_another_name() {
        let root = tempfile::tempdir().unwrap();
        let of = |name: &str, label: u8| {
            let folder = root.path().join(name);
            fs::create_dir(&folder).unwrap();
            for batch in 1..=5 {
                let image = [vec![label], vec![batch; 3072]].concat();
                fs::write(folder.join(format!("data_batch_{batch}.bin")), image).unwrap();
            }
            identity(&format!("cifar-bin:{}", folder.display()))
        };
        let first = of("cifar-10-batches-bin", 3);
        assert_eq!(first, of("images", 3));
        assert_ne!(first, of("others", 4));
    }
}
