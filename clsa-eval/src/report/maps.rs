//! The section of maps: features in two dimensions.

use super::embedding::Embedding;
use super::html::{figure, grouped, legend};
use super::palette::DISTINCT;
use super::plot;
use super::reported_run::ReportedRun;
use clsa_data::Split;
use maud::{Markup, html};

/// Principal components and t-SNE, colored by class.
pub(super) fn section(embedding: &Embedding, run: &ReportedRun) -> Markup {
    let Embedding { classes, labels, split, .. } = embedding;
    let many = classes.len() > DISTINCT;
    let colored = labels.as_deref().filter(|_| !classes.is_empty());
    let draw = |points: &[[f64; 2]], how: &str, axes: Option<[String; 2]>, caption: Markup| {
        let by = if colored.is_some() { ", colored by class" } else { "" };
        let alt = format!("{} {split} images in two dimensions by {how}{by}", points.len());
        let labels = colored.map(|labels| &labels[..points.len()]);
        figure(&alt, &plot::map(points, labels, classes, axes), caption)
    };
    let colors = match colored {
        Some(_) if many => " Colors repeat after twelve classes.",
        Some(_) => "",
        None => " Without colors, because the images have not one class each.",
    };
    let step = run.checkpoint.map(|step| format!(" after step {}", grouped(step as usize))).unwrap_or_default();
    let kind = if *split == Split::Test { "test" } else { "training" };
    html! {
        div.figures {
            @match &embedding.pca {
                Ok(pca) => (draw(&pca.points, "principal components", Some([0, 1].map(|axis| {
                    format!("component {}: {:.0} % of the variance", axis + 1, pca.explained[axis])
                })), html! {
                    "Each point is one of " (grouped(pca.points.len())) " random " (kind) " images: its L2-normalized feature" (step)
                    " on the first two principal components." (colors)
                })),
                Err(reason) => p.missing { (reason) },
            }
            @match (&embedding.tsne, &embedding.pca) {
                (Ok(points), Ok(pca)) => (draw(points, "t-SNE", None, html! {
                    "t-SNE of "
                    @if points.len() < pca.points.len() { "the first " (grouped(points.len())) " of these images, which keeps it quick," } @else { "the same features" }
                    " by cosine. Only distances between neighbors are meaningful; there are no axes."
                })),
                (Err(reason), Ok(_)) => p.missing { (reason) },
                (_, Err(_)) => {},
            }
        }
        @if !many && colored.is_some() {
            (legend(&classes.iter().enumerate().map(|(class, name)| (class, name.as_str())).collect::<Vec<_>>()))
        }
    }
}
