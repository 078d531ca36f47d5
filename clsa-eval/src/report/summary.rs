//! The section of the runs: what each is, and how far it is.

use super::commands::Commands;
use super::curves;
use super::html::grouped;
use super::reported_run::ReportedRun;
use super::throughput::Throughput;
use maud::{Markup, html};

/// A card for each run.
pub(super) fn section(runs: &[ReportedRun], commands: &Commands) -> Markup {
    html! {
        div.cards {
            @for run in runs {
                article.card {
                    @if runs.len() > 1 { h3 { (run.name) } }
                    dl.facts {
                        dt { "encoder" } dd { (run.config.model.arch.name()) ", width " (run.config.model.width) }
                        dt { "images" } dd { (run.config.data.source) }
                        dt { "trained" } dd { (trained(run, commands)) }
                        @if let Some(last) = curves::loss(std::slice::from_ref(run)).series[0].points.last() {
                            dt { "last loss" } dd { (format!("{:.3}", last.1)) }
                        }
                        @if let [first, .., last] = run.metrics.knn.as_slice() {
                            dt { "k-NN in training" }
                            dd { (format!("{:.1} % → {:.1} % ({})", first.top1, last.top1, run.knn_settings())) }
                        }
                        @if let Some(speed) = Throughput::of(run) {
                            dt { "speed" } dd { (grouped(speed.median.round() as usize)) " images/s" }
                        }
                    }
                }
            }
        }
    }
}

/// How far a run is.
fn trained(run: &ReportedRun, commands: &Commands) -> Markup {
    let epochs = run.config.train.epochs;
    html! {
        @match run.metrics.steps.last() {
            Some(last) => {
                // Records that end before the checkpoint are of an attempt to go back that came to none.
                @let whole = run.epochs_done >= epochs && run.checkpoint <= Some(last.step);
                (grouped(last.step as usize)) " steps, "
                @if whole { (epochs) " epochs" } @else {
                    "in epoch " (last.epoch + 1) " of " (epochs) "; where it does not run any more, "
                    code { (commands.resume(&run.folder)) } " goes on"
                }
            },
            None => "no step yet",
        }
        @if run.metrics.cut_off { "; the last line of metrics.jsonl was cut off and is left out" }
    }
}
