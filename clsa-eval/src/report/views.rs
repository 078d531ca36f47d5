//! The section of views: a few training images, and their views as the run's first epoch drew them.

use super::html::pictured;
use super::picture::Picture;
use super::sample_names::full_name;
use crate::{EvalError, random_subset};
use clsa_augment::{Augmenter, SampleId, ViewPlan};
use clsa_data::{Dataset, Split};
use maud::{Markup, html};

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

/// The views of random training images, by the `plan` of the epoch. An image that cannot be read gives way to the next one.
pub(super) fn views(train: &dyn Dataset, plan: &ViewPlan, seed: u64) -> Result<Vec<ViewedImage>, EvalError> {
    let mut augmenter = Augmenter::new();
    let mut shown = Vec::new();
    let mut unreadable = None;
    for index in random_subset(train.len(), 20 * IMAGES, seed) {
        if shown.len() == IMAGES {
            break;
        }
        let image = match train.image(index) {
            Ok(image) => image,
            Err(error) if error.is_of_store() => return Err(error.into()),
            Err(error) => {
                unreadable = Some(error);
                continue;
            }
        };
        let name = full_name(train, Split::Train, index);
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
    match unreadable {
        Some(error) if shown.is_empty() => Err(error.into()),
        _ => Ok(shown),
    }
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

/// Each image with its views, and the operations that were drawn.
pub(super) fn section(images: &[ViewedImage]) -> Markup {
    html! {
        p { "Training images and the views of them that the first epoch drew from the run's seed." }
        div.viewed {
            @for image in images {
                figure.views {
                    figcaption { (image.name) }
                    div.strip {
                        div.cell.asked { (pictured(&image.original)) span { "original" } }
                        @for view in &image.views {
                            div.cell { (pictured(&view.picture)) span { (view.name) br; (view.size) " px" } }
                        }
                    }
                    details {
                        summary { "Operations that were drawn" }
                        dl.facts { @for view in &image.views { dt { (view.name) } dd { (view.operations.join(" · ")) } } }
                    }
                }
            }
        }
    }
}
