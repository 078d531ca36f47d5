//! The section of classes: confusion matrices and the figure of each class.

use super::page::{figure, table};
use super::plot::heat_map;
use super::results::{OnData, percent};
use super::subject::Evaluated;
use crate::{Accuracy, Evaluation, Figures};
use maud::{Markup, html};

/// Classes above which a confusion matrix is not drawn; the pairs that are mistaken most are listed for any number.
const DRAWN: usize = 200;
/// Pairs of classes that are listed.
const PAIRS: usize = 8;

/// Confusion matrices, the pairs of classes that are mistaken most, and the figure of each class.
pub(super) fn classes(sets: &[OnData], compared: bool) -> Markup {
    html! {
        @if sets.is_empty() {
            p.missing { "What becomes of each class is seen in an evaluation; " code { "cargo xtask eval" } " makes one." }
        } @else if sets.iter().all(|set| set.first().classes.is_empty()) {
            p.missing { "The images that were evaluated have no classes; " code { "cargo xtask eval --data SOURCE" } " evaluates on others." }
        }
        @for set in sets.iter().filter(|set| !set.first().classes.is_empty()) {
            @if sets.len() > 1 { h3 { "On " (set.data) } }
            div.figures {
                @for (_, subject, Evaluated { evaluation, .. }) in &set.of {
                    @if let Some((protocol, accuracy)) = best(evaluation) {
                        div {
                            @if compared { h4 { (subject.name) } }
                            (matrix(evaluation, protocol, accuracy))
                        }
                    }
                }
            }
            @for protocol in set.protocols() { (by_class(set, protocol, compared)) }
        }
    }
}

/// The most thorough classification of the trained encoder.
fn best(evaluation: &Evaluation) -> Option<(&str, &Accuracy)> {
    let thorough = |protocol: &str| ["linear", "linear-features", "knn"].iter().position(|name| *name == protocol);
    let classified = evaluation.protocols.iter().filter_map(|protocol| {
        let trained = protocol.results.iter().find(|result| result.encoder == "trained")?;
        Some((protocol.protocol.as_str(), trained.accuracy()?))
    });
    classified.min_by_key(|(protocol, _)| thorough(protocol).unwrap_or(usize::MAX))
}

fn class_name(evaluation: &Evaluation, class: usize) -> String {
    evaluation.classes.get(class).cloned().unwrap_or_else(|| class.to_string())
}

fn matrix(evaluation: &Evaluation, protocol: &str, accuracy: &Accuracy) -> Markup {
    let counts = &accuracy.confusion;
    let name = |class: usize| class_name(evaluation, class);
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
        @if counts.len() <= DRAWN {
            (figure(
                &format!("Confusion matrix of {protocol} over {} classes; the pairs mistaken most are in the table below", counts.len()),
                &heat_map(counts, &evaluation.classes),
                html! { "Test images by true class (down) and by the class that " (protocol) " gives them (across); the fuller a cell's colour, the larger its share of the true class." },
            ))
        }
        @if !rows.is_empty() {
            (table(Some(&format!("What {protocol} mistakes most often.")), &["true class", "taken for", "images"], &rows))
        }
    }
}

/// The figure of each class: of each encoder of a single run, of the trained encoder of each of several.
fn by_class(set: &OnData, name: &str, compared: bool) -> Markup {
    let mut columns: Vec<(&str, Vec<(u32, f64)>)> = Vec::new();
    let mut measure = "";
    for (_, subject, Evaluated { evaluation, .. }) in &set.of {
        for result in evaluation.protocols.iter().filter(|p| p.protocol == name).flat_map(|p| &p.results) {
            let figures = result.figures.per_class();
            if figures.is_empty() || (compared && result.encoder != "trained") {
                continue;
            }
            measure = match result.figures {
                Figures::AveragePrecision(_) => "Average precision",
                _ => "Top-1 accuracy",
            };
            columns.push((if compared { &subject.name } else { &result.encoder }, figures));
        }
    }
    let Some((_, first)) = columns.first() else { return html! {} };
    let headings: Vec<&str> = std::iter::once("class").chain(columns.iter().map(|(column, _)| *column)).collect();
    let rows: Vec<Vec<Markup>> = first
        .iter()
        .map(|(class, _)| {
            let figures = columns.iter().map(|(_, figures)| figures.iter().find(|figure| figure.0 == *class));
            let figures = figures.map(|figure| html! { @if let Some((_, value)) = figure { (percent(*value)) } });
            std::iter::once(html! { (class_name(set.first(), *class as usize)) }).chain(figures).collect()
        })
        .collect();
    html! {
        details {
            summary { (name) " by class" }
            (table(Some(&format!("{measure} of {name} in percent, by class{}.", if compared { ", trained encoders" } else { "" })), &headings, &rows))
        }
    }
}
