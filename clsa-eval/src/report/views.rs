//! The views of a few training images, as the run's first epoch drew them.

use super::drawn;
use super::picture::Picture;
use crate::EvalError;
use clsa_augment::{Augmenter, SampleId, ViewPlan};
use clsa_data::{Dataset, Label, Presence, Split};

/// Images whose views are shown.
const IMAGES: usize = 4;
/// Views are shown up to this side; pixels.
const SIDE: u32 = 224;

/// An image and its views.
#[derive(Clone, Debug)]
pub(super) struct ViewedImage {
    /// Name of the sample, and its class where it has one.
    pub name: String,
    pub original: Picture,
    /// Key, weak and strong views in the order of the plan.
    pub views: Vec<View>,
}

/// One view.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// `key`, `weak 1`, `strong 1` and so on.
    pub name: String,
    /// Side in pixels.
    pub size: u32,
    pub picture: Picture,
    /// The operations that were drawn, in order.
    pub operations: Vec<String>,
}

/// The views of random training images. An image that cannot be read gives way to the next one.
pub(super) fn views(train: &dyn Dataset, plan: &ViewPlan, seed: u64) -> Result<Vec<ViewedImage>, EvalError> {
    let mut augmenter = Augmenter::new();
    let mut shown = Vec::new();
    for index in drawn(train.len(), 20 * IMAGES, seed) {
        if shown.len() == IMAGES {
            break;
        }
        let Ok(image) = train.image(index) else { continue };
        let name = named(train, Split::Train, index);
        let mut views = Vec::new();
        let id = SampleId { seed, epoch: 0, sample: index as u64 };
        for (kind, (id, view)) in kinds(plan).zip(id.views(plan)) {
            let failed = |source| EvalError::Transform { sample: train.name(index), source };
            let operations = view.draw(image.width(), image.height(), id).map_err(failed)?;
            let made = augmenter.apply(&image, &operations).map_err(failed)?;
            let picture = Picture::of(&made, SIDE, format!("{kind} view of {name}"));
            let operations = operations.iter().map(readable).collect();
            views.push(View { name: kind, size: view.size, picture, operations });
        }
        let original = Picture::of(&image, SIDE, format!("original of {name}"));
        shown.push(ViewedImage { name, original, views });
    }
    if shown.is_empty() {
        let sample = train.name(0);
        return Err(train.image(0).map_or_else(EvalError::from, |_| EvalError::NoClass { sample }));
    }
    Ok(shown)
}

fn kinds(plan: &ViewPlan) -> impl Iterator<Item = String> {
    let numbered = |kind: &'static str, count: usize| {
        (1..=count).map(move |i| if count == 1 { kind.to_owned() } else { format!("{kind} {i}") })
    };
    std::iter::once("key".to_owned())
        .chain(numbered("weak", plan.weak.len()))
        .chain(numbered("strong", plan.strong.len()))
}

/// An operation with its numbers cut to what can be read.
fn readable(operation: &clsa_augment::Op) -> String {
    let text = operation.to_string();
    let Some((name, arguments)) = text.split_once('=') else { return text };
    let short = |argument: &str| match argument.parse::<f64>() {
        Ok(value) if argument.contains('.') => format!("{value:.2}"),
        _ => argument.to_owned(),
    };
    format!("{name} {}", arguments.split(',').map(short).collect::<Vec<_>>().join(" "))
}

/// How the page speaks of a sample: its classes where it has some, its split and its name.
pub(super) fn named(data: &dyn Dataset, split: Split, index: usize) -> String {
    let kind = if split == Split::Test { "test" } else { "training" };
    let name = data.name(index);
    // The folder of the image tells enough; what is above it is the same for all.
    let start = name.rmatch_indices('/').nth(1).map_or(0, |(slash, _)| slash + 1);
    let name = format!("{kind} image {}", &name[start..]);
    let classes = classes_of(data, index);
    if classes.is_empty() { name } else { format!("{} ({name})", classes.join(", ")) }
}

/// Names of a sample's classes: none, one, or all that are present.
pub(super) fn classes_of(data: &dyn Dataset, index: usize) -> Vec<String> {
    let name = |class: usize| data.class_names().get(class).cloned().unwrap_or_else(|| class.to_string());
    match data.label(index) {
        Label::None => Vec::new(),
        Label::Class(class) => vec![name(class as usize)],
        Label::Multi(classes) => {
            let present = classes.iter().enumerate().filter(|(_, presence)| **presence == Presence::Present);
            present.map(|(class, _)| name(class)).collect()
        }
    }
}
