//! The views of a few training images, as the run's first epoch drew them.

use super::picture::Picture;
use crate::EvalError;
use clsa_augment::{Augmenter, ViewId, ViewPlan};
use clsa_data::{Dataset, Split};

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

/// The views of images spread over the training set. An image that cannot be read gives way to the next one.
pub(super) fn views(train: &dyn Dataset, plan: &ViewPlan, seed: u64) -> Result<Vec<ViewedImage>, EvalError> {
    let mut augmenter = Augmenter::new();
    let part = train.len().div_ceil(IMAGES);
    let mut shown = Vec::new();
    for start in (0..train.len()).step_by(part) {
        let mut images = (start..(start + part).min(train.len())).take(20).map(|i| (i, train.image(i)));
        let Some((index, Ok(image))) = images.find(|(_, image)| image.is_ok()) else { continue };
        let name = named(train, Split::Train, index);
        let mut views = Vec::new();
        for (number, (kind, view)) in kinds(plan).zip(plan.views()).enumerate() {
            let id = ViewId { seed, epoch: 0, sample: index as u64, view: number as u32 };
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

/// How the page speaks of a sample: its class where it has one, its split and its name.
pub(super) fn named(data: &dyn Dataset, split: Split, index: usize) -> String {
    let name = format!("{split} image {}", data.name(index));
    let class = data.label(index).class().and_then(|class| data.class_names().get(class as usize));
    class.map_or_else(|| name.clone(), |class| format!("{class} ({name})"))
}
