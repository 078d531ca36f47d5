//! `voc2007:PATH`: the classification task of PASCAL VOC 2007, `VOCdevkit` or the folder `VOC2007` in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::spec::{Argument, Spec};
use crate::decode::Limits;
use crate::error::{DataError, Fault};
use crate::image_files::ImageFiles;
use crate::label::{Labels, Presence};
use crate::listing::Listing;
use crate::split::Split;
use crate::text::{MAX_LIST, decode_xml, read_at_most, read_text};

pub(super) static SPEC: Spec = Spec {
    name: "voc2007",
    argument: Argument::Place("PATH"),
    summary: "PASCAL VOC 2007, several labels for each image",
    details: "`VOCdevkit` or the folder `VOC2007` in it; objects marked difficult are neither present nor absent",
    feature: None,
    open: Some(|path, split, limits| Ok(Arc::new(open(Path::new(path), split, limits)?))),
};

const CLASSES: [&str; 20] = [
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
];

/// Most bytes of an annotation; the largest of the data set have some kilobytes.
const MAX_ANNOTATION: u64 = 1 << 20;

/// Opens `trainval` or `test`.
fn open(path: &Path, split: Split, limits: Limits) -> Result<ImageFiles, DataError> {
    let candidates = [path.to_path_buf(), path.join("VOC2007"), path.join("VOCdevkit").join("VOC2007")];
    let Some(root) = candidates.into_iter().find(|root| root.join("ImageSets").is_dir()) else {
        return Err(Fault::Layout.at(path, "has no folder ImageSets, nor VOC2007/ImageSets"));
    };
    let list = root.join("ImageSets").join("Main").join(match split {
        Split::Train => "trainval.txt",
        Split::Test => "test.txt",
    });
    if !list.exists() {
        return Err(DataError::no_split(split, list, format!("does not exist, and so there is no {split} split")));
    }
    let text = read_text(&list, MAX_LIST)?;
    let mut listing = Listing::new(&root.join("JPEGImages"));
    let mut labels = Vec::new();
    for id in text.split_whitespace() {
        if id.contains(['/', '\\']) || id.starts_with('.') {
            return Err(Fault::Damaged.at(list, format!("names `{id}`, which is no name of an image")));
        }
        let annotation: PathBuf = root.join("Annotations").join(format!("{id}.xml"));
        let xml = read_at_most(&annotation, MAX_ANNOTATION)?;
        let presence = decode_xml(&xml).and_then(|xml| parse_annotation(&xml));
        labels.push(presence.map_err(|reason| Fault::Damaged.at(&annotation, reason))?.into());
        listing.push(format!("{id}.jpg"))?;
    }
    if labels.is_empty() {
        return Err(Fault::Empty.at(list, "names no image"));
    }
    let classes = CLASSES.map(String::from).to_vec();
    Ok(ImageFiles { listing, classes, labels: Labels::Multi(labels), notes: Vec::new(), limits })
}

/// Which of the twenty classes an annotation shows. A class whose objects are all marked difficult is
/// [`Presence::Difficult`].
///
/// # Errors
/// The reason for which this text is no annotation.
pub fn parse_annotation(xml: &str) -> Result<Vec<Presence>, String> {
    let document = roxmltree::Document::parse(xml).map_err(|error| format!("is not well-formed XML: {error}"))?;
    let root = document.root_element();
    if root.tag_name().name() != "annotation" {
        return Err(format!("has <{}> at its top, not <annotation>", root.tag_name().name()));
    }
    let mut presence = vec![Presence::Absent; CLASSES.len()];
    for object in root.children().filter(|node| node.has_tag_name("object")) {
        let text = |tag| object.children().find(|node| node.has_tag_name(tag)).and_then(|node| node.text());
        let name = text("name").ok_or("has an object without a name")?.trim();
        let class = CLASSES
            .iter()
            .position(|class| *class == name)
            .ok_or_else(|| format!("has an object of the unknown class `{name}`"))?;
        match text("difficult").map(str::trim) {
            Some("1") if presence[class] == Presence::Absent => presence[class] = Presence::Difficult,
            Some("1") => {}
            Some("0") | None => presence[class] = Presence::Present,
            Some(other) => return Err(format!("has an object whose `difficult` is `{other}`, not 0 or 1")),
        }
    }
    Ok(presence)
}
