//! The section of results: figures of every protocol on every data set.

use super::commands::Commands;
use super::data_sets::{EvaluationOfRun, EvaluationsOfDataSet};
use super::html::{command_text, grouped, pictured};
use super::measure_section::measure_section;
use super::provenance::{outdated, provenance};
use super::reported_run::ReportedRun;
use crate::evaluation::Measure;
use maud::{Markup, html};

/// Figures of all runs, for each data set one table and one picture for each measure.
pub(super) fn section(runs: &[ReportedRun], sets: &[EvaluationsOfDataSet], commands: &Commands) -> Markup {
    html! {
        @for run in runs {
            @if let Err(reason) = &run.evaluations {
                p.missing { @if runs.len() > 1 { b { (run.name) ": " } } (command_text(reason)) }
            }
        }
        @for set in sets {
            @let evaluation = set.first();
            @let compared = set.compared(runs.len());
            @if sets.len() > 1 { h3 { "On " (set.data) } }
            p {
                (grouped(evaluation.train_samples)) " training images and "
                @match evaluation.test_samples { 0 => "no", count => (grouped(count)) } " test images"
                @if !evaluation.classes.is_empty() { " of " (evaluation.classes.len()) " classes" }
                @if sets.len() == 1 { ", " (set.data) }
                "."
            }
            @for of in &set.of { (outdated(of, commands)) }
            @for measure in measures(set) { (measure_section(set, &measure, compared)) }
            @for of in &set.of { (retrieval_picture(of, compared.then(|| set.name_of(of)).as_deref())) }
            @for of in &set.of {
                details {
                    summary { "How this was measured" @if compared { ": " (set.name_of(of)) } }
                    (provenance(of.stored))
                }
            }
        }
    }
}

/// What is measured on a data set, in the order of the protocols.
fn measures(set: &EvaluationsOfDataSet) -> Vec<Measure> {
    let mut measures = Vec::new();
    for name in set.protocols() {
        let protocols = set.of.iter().flat_map(|of| &of.stored.evaluation.protocols);
        let results = protocols.filter(|protocol| protocol.protocol == name).flat_map(|protocol| &protocol.results);
        for figures in results.map(|result| &result.figures) {
            if figures.main().is_some() && !measures.contains(&figures.measure()) {
                measures.push(figures.measure());
            }
        }
    }
    measures
}

/// The picture that the protocol `retrieval` has written; `name` is that of the evaluation where there are several.
fn retrieval_picture(of: &EvaluationOfRun, name: Option<&str>) -> Markup {
    html! {
        @match &of.stored.picture {
            Some(Ok(sheet)) => figure.sheet {
                (pictured(&sheet.picture))
                figcaption {
                    @if let Some(name) = name { b { (name) ": " } }
                    "Retrieval: on the left random images, and beside each its nearest training images by cosine, nearest first."
                    @if of.stored.evaluation.chance.is_some() { " Green frames mark the same class, red ones another." }
                    @if sheet.cut { " All of it is in " code { (sheet.file) } "." }
                }
            },
            Some(Err(reason)) => p.missing { (reason) },
            None => {},
        }
    }
}
