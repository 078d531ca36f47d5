//! The section of what can be said without labels.

use super::commands::Commands;
use super::curves;
use super::html::table;
use super::reported_run::ReportedRun;
use super::training::drawn;
use clsa_run::{LabelFree, Verdict};
use maud::{Markup, html};

/// The verdict on each run, and the figures that it follows from.
pub(super) fn section(runs: &[ReportedRun], commands: &Commands) -> Markup {
    let retrieval = html! {
        "Own-view retrieval: images whose key view has their own weak view as its nearest, among those of up to 1000 images: of \
         the test split, or, where there is none, of those that are trained on. Chance is one in as many images."
    };
    let rank = html! {
        "Effective rank of the embeddings (RankMe): how many directions they use, from 1 to the number of their components. It falls to \
         1 in a collapse."
    };
    let mut headings = vec!["epoch", "effective rank", "own-view retrieval, %", "alignment", "uniformity", "spread"];
    if runs.len() > 1 {
        headings.insert(0, "run");
    }
    let rows = rows(runs);
    let figures = [
        drawn(&curves::own_view_retrieval(runs), "Own-view retrieval by step", retrieval),
        drawn(&curves::effective_rank(runs), "Effective rank by step", rank),
    ];
    html! {
        @for run in runs {
            @match Verdict::of(&run.metrics.label_free) {
                Some(verdict) => p { @if runs.len() > 1 { b { (run.name) ": " } } (verdict) "." },
                None => p.missing {
                    @if runs.len() > 1 { b { (run.name) ": " } }
                    "There are not two evaluations of about as many images yet: the run has just begun, or gone on with other images, \
                     or knn.every is 0. "
                    code { (commands.pretrain("--set knn.every=1")) } " evaluates after each epoch."
                },
            }
        }
        div.figures { @for figure in figures.into_iter().flatten() { (figure) } }
        @if !rows.is_empty() {
            (table(Some("Figures of the embeddings at each evaluation."), &headings, &rows))
            p {
                "Alignment: mean squared distance of an image's two views. Uniformity: the lower, the more evenly images are spread \
                 (both Wang and Isola 2020). Spread: mean standard deviation of a component, 1 on an evenly covered sphere, 0 in a \
                 collapse."
            }
        }
    }
}

/// A row for each evaluation; with the run's name where there are several.
fn rows(runs: &[ReportedRun]) -> Vec<Vec<Markup>> {
    let mut rows = Vec::new();
    for run in runs {
        for record in &run.metrics.label_free {
            let LabelFree { effective_rank, own_view_retrieval, alignment, uniformity, spread, .. } = record.figures;
            let mut row = if runs.len() > 1 { vec![html! { (run.name) }] } else { Vec::new() };
            row.push(html! { (record.epoch) });
            row.extend([effective_rank, own_view_retrieval].map(|value| html! { (format!("{value:.1}")) }));
            row.extend([alignment, uniformity, spread].map(|value| html! { (format!("{value:.3}")) }));
            rows.push(row);
        }
    }
    rows
}
