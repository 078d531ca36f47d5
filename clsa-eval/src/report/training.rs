//! The sections of training: loss, learning rate, and accuracy.

use super::commands::Commands;
use super::curves;
use super::html::{figure, legend};
use super::plot::{Curves, number};
use super::reported_run::ReportedRun;
use maud::{Markup, html};

/// What stands where there are no curves.
pub(super) const NO_STEPS: &str =
    "No training step is recorded yet; the curves begin with the first, when the report is made again.";

/// Curves with a legend where there are several; none where there is nothing to draw.
pub(super) fn drawn(curves: &Curves, alt: &str, caption: Markup) -> Option<Markup> {
    let svg = curves.svg()?;
    let drawn: Vec<_> = curves.series.iter().filter(|series| !series.points.is_empty()).collect();
    let names: Vec<String> = drawn
        .iter()
        .map(|s| {
            let (first, last) = (s.points[0].1, s.points[s.points.len() - 1].1);
            format!("{} from {} to {}", s.name, number(first), number(last))
        })
        .collect();
    let items: Vec<(usize, &str)> = drawn.iter().map(|series| (series.color, series.name.as_str())).collect();
    let caption = html! { @if items.len() > 1 { (legend(&items)) } (caption) };
    Some(figure(&format!("{alt}: {}", names.join("; ")), &svg, caption))
}

/// How curves are averaged, where they are.
pub(super) fn averaging(runs: &[ReportedRun]) -> String {
    match runs.iter().map(|run| curves::averaged_over(&run.metrics.steps)).max() {
        Some(steps) if steps > 1 => format!(" Each point is the mean of up to {steps} steps."),
        Some(_) | None => String::new(),
    }
}

/// Loss, its terms where several runs are compared, and learning rate.
pub(super) fn loss_section(runs: &[ReportedRun]) -> Markup {
    let averaged = averaging(runs);
    let mut figures: Vec<Markup> = Vec::new();
    figures.extend(drawn(
        &curves::loss(runs),
        "Loss by step",
        html! { "Loss of each step: contrastive + α · DDM." (averaged) },
    ));
    if runs.len() > 1 {
        let caption = html! {
            "Contrastive term (InfoNCE), summed over weak views, over strong ones too where they are in InfoNCE, and over both \
             directions where the loss is symmetric." (averaged)
        };
        figures.extend(drawn(&curves::contrastive(runs), "Contrastive term by step", caption));
        let caption =
            html! { "DDM term, summed over pairs of weak and strong views, of the runs that have it." (averaged) };
        figures.extend(drawn(&curves::ddm(runs), "DDM term by step", caption));
    }
    figures.extend(drawn(
        &curves::learning_rate(runs),
        "Learning rate by step",
        html! { "Learning rate of each step." },
    ));
    html! { @if figures.is_empty() { p.missing { (NO_STEPS) } } @else { div.figures { @for figure in figures { (figure) } } } }
}

/// The settings of the k-NN evaluations, by run where they differ.
fn knn_settings(runs: &[ReportedRun]) -> String {
    let evaluated = || runs.iter().filter(|run| !run.metrics.knn.is_empty());
    let mut settings: Vec<String> = evaluated().map(ReportedRun::knn_settings).collect();
    settings.dedup();
    match settings.as_slice() {
        [of_all] => of_all.clone(),
        _ => evaluated().map(|run| format!("{}: {}", run.name, run.knn_settings())).collect::<Vec<_>>().join("; "),
    }
}

/// k-NN accuracy during training.
pub(super) fn knn_section(runs: &[ReportedRun], commands: &Commands) -> Markup {
    let curves = curves::knn(runs);
    let chance = if curves.level.is_some() { " The dashed line is chance." } else { "" };
    let caption = html! {
        "Weighted k-NN accuracy (" (knn_settings(runs)) ") on as many images as [knn] in the configuration says, before the first step \
         and during training." (chance)
    };
    // That of a single run is among the curves above.
    let several = if runs.len() > 1 { runs } else { &[] };
    let probes = drawn(
        &curves::probe(several),
        "Accuracy of the online probe by step",
        html! { "Accuracy of a linear classifier that is trained beside the encoder, of the runs that have one." },
    );
    html! {
        @for run in runs.iter().filter(|run| run.metrics.knn.is_empty()) {
            p.missing {
                @if runs.len() > 1 { b { (run.name) ": " } }
                "No k-NN evaluation is recorded: there was no step yet, the images have no labels or no test split, or knn.every is 0. \
                 For images with one class each " code { (commands.pretrain("--set knn.every=1")) } " measures after each epoch, "
                code { (commands.eval_run(&run.folder, "--protocol knn")) } " once now."
            }
        }
        @if let Some(figure) = drawn(&curves, "k-NN accuracy by step", caption) { div.figures { (figure) } }
        @if let Some(figure) = probes { div.figures { (figure) } }
    }
}
