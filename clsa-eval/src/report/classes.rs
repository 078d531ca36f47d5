//! The section of classes: confusion matrices and the figure of each class.

use super::commands::Commands;
use super::data_sets::EvaluationsOfDataSet;
use super::html::{figure, percent, table};
use super::plot::heat_map;
use crate::evaluation::{ClassFigure, EncoderKind, Evaluation, ProtocolResult};
use crate::metrics::Accuracy;
use crate::protocols::PROTOCOLS;
use maud::{Markup, html};
use std::cmp::Reverse;

/// Classes above which a confusion matrix is not drawn; the pairs that are mistaken most are listed where they were counted.
const DRAWN: usize = 200;
/// Pairs of classes that are listed.
const PAIRS: usize = 8;

/// Confusion matrices, the pairs of classes that are mistaken most, and the figure of each class, of so many `runs`.
pub(super) fn section(sets: &[EvaluationsOfDataSet], runs: usize, commands: &Commands) -> Markup {
    html! {
        @if sets.is_empty() {
            p.missing { "What becomes of each class is seen in an evaluation; the section Results says how to make one." }
        } @else if sets.iter().all(|set| set.first().classes.is_empty()) {
            p.missing {
                "The images that were evaluated have no classes; "
                code { (commands.eval_run(&sets[0].of[0].run.folder, "--data SOURCE")) } " evaluates on others."
            }
        }
        @for set in sets.iter().filter(|set| !set.first().classes.is_empty()) {
            @let compared = set.compared(runs);
            @if sets.len() > 1 { h3 { "On " (set.data) } }
            div.figures {
                @for of in &set.of {
                    @let evaluation = &of.stored.evaluation;
                    @if let Some((protocol, accuracy)) = best(evaluation) {
                        div {
                            @if compared { h4 { (set.name_of(of)) } }
                            (matrix(evaluation, protocol, accuracy))
                        }
                    }
                }
            }
            @for protocol in set.protocols() { (by_class(set, protocol, compared)) }
        }
    }
}

/// The most thorough classification by the trained encoder as it is: the later in [`PROTOCOLS`] the more thorough, and one
/// that trains the encoder further, or is not in the table, only where there is no other.
fn best(evaluation: &Evaluation) -> Option<(&str, &Accuracy)> {
    let thorough = |protocol: &ProtocolResult| {
        PROTOCOLS.iter().position(|known| known.name() == protocol.name() && !known.trains_backbone())
    };
    let classified = evaluation.protocols.iter().filter_map(|protocol| {
        let trained = protocol.results.iter().find(|result| result.encoder == EncoderKind::Trained)?;
        Some((protocol, trained.figures.accuracy()?))
    });
    let best = classified.min_by_key(|(protocol, _)| Reverse(thorough(protocol)));
    best.map(|(protocol, accuracy)| (protocol.protocol.as_str(), accuracy))
}

fn matrix(evaluation: &Evaluation, protocol: &str, accuracy: &Accuracy) -> Markup {
    let counts = &accuracy.confusion;
    let name = |class: usize| evaluation.class_name(class);
    let mut pairs: Vec<(u32, usize, usize)> = Vec::new();
    for (truth, row) in counts.iter().enumerate() {
        pairs.extend(
            row.iter().enumerate().filter(|(named, n)| *named != truth && **n > 0).map(|(c, n)| (*n, truth, c)),
        );
    }
    pairs.sort_by(|a, b| b.0.cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    pairs.truncate(PAIRS);
    let rows: Vec<Vec<Markup>> = pairs
        .iter()
        .map(|&(count, truth, named)| {
            let of: u32 = counts[truth].iter().sum();
            vec![html! { (name(truth)) }, html! { (name(named)) }, html! { (count) " of " (of) }]
        })
        .collect();
    html! {
        @if counts.is_empty() {
            p { "Which of so many classes is taken for which other is not counted." }
        } @else if counts.len() <= DRAWN {
            (figure(
                &format!("Confusion matrix of {protocol} over {} classes; the pairs mistaken most are in the table below", counts.len()),
                &heat_map(counts, &evaluation.classes),
                html! { "Test images by true class (down) and by the class that " (protocol) " gives them (across); the fuller a cell's color, the larger its share of the true class." },
            ))
        }
        @if !rows.is_empty() {
            (table(Some(&format!("What {protocol} mistakes most often.")), &["true class", "taken for", "images"], &rows))
        }
    }
}

/// The figure of each class: of each encoder of a single evaluation, of the trained encoder of each of several.
fn by_class(set: &EvaluationsOfDataSet, name: &str, compared: bool) -> Markup {
    let mut columns: Vec<(String, Vec<ClassFigure>)> = Vec::new();
    let mut measure = None;
    for of in &set.of {
        let protocols = of.stored.evaluation.protocols.iter().filter(|protocol| protocol.protocol == name);
        for result in protocols.flat_map(|protocol| &protocol.results) {
            let figures = result.figures.per_class();
            if figures.is_empty() || (compared && result.encoder != EncoderKind::Trained) {
                continue;
            }
            measure = Some(result.figures.measure());
            columns.push((if compared { set.name_of(of) } else { result.encoder.name().to_owned() }, figures));
        }
    }
    let (Some(measure), Some((_, first))) = (measure, columns.first()) else { return html! {} };
    let headings: Vec<&str> =
        std::iter::once("class").chain(columns.iter().map(|(column, _)| column.as_str())).collect();
    let rows: Vec<Vec<Markup>> = first
        .iter()
        .map(|ClassFigure { class, .. }| {
            let figures = columns.iter().map(|(_, figures)| figures.iter().find(|figure| figure.class == *class));
            let figures = figures.map(|figure| html! { @if let Some(figure) = figure { (percent(figure.value)) } });
            std::iter::once(html! { (set.first().class_name(*class as usize)) }).chain(figures).collect()
        })
        .collect();
    let of = if compared { ", trained encoders" } else { "" };
    html! {
        details {
            summary { (name) " by class" }
            (table(Some(&format!("{} of {name} in percent, by class{of}.", measure.name_for_class())), &headings, &rows))
        }
    }
}
