//! The section of evaluations: figures of every protocol, accuracy by class, confusion.

use super::page::{figure, table};
use super::plot::{Interval, heat_map, intervals};
use super::subject::Subject;
use crate::{Accuracy, Evaluation, Figure, ProtocolResult};
use maud::{Markup, html};

/// Classes above which a confusion matrix is not drawn; the pairs that are mistaken most are listed for any number.
const DRAWN: usize = 200;
/// Pairs of classes that are listed.
const PAIRS: usize = 8;

/// Figures of all runs, one table for each kind, and a picture of their intervals.
pub(super) fn results(subjects: &[Subject]) -> Markup {
    let evaluated: Vec<(&Subject, &Evaluation)> = with_evaluation(subjects).collect();
    let mut kinds = Vec::new();
    for protocol in evaluated.iter().flat_map(|(_, evaluation)| &evaluation.protocols) {
        for (columns, ..) in protocol.results.iter().filter_map(|result| result.figures.cells()) {
            if !kinds.contains(&columns) {
                kinds.push(columns);
            }
        }
    }
    html! {
        @for subject in subjects {
            @if let Err(reason) = &subject.evaluation { p.missing { @if subjects.len() > 1 { b { (subject.name) ": " } } (reason) } }
        }
        @for columns in kinds {
            (kind(&evaluated, columns, subjects.len() > 1))
        }
        @for (subject, evaluation) in &evaluated {
            details {
                summary { "How " (subject.name) " was evaluated" }
                (provenance(evaluation))
            }
        }
    }
}

fn with_evaluation(subjects: &[Subject]) -> impl Iterator<Item = (&Subject, &Evaluation)> {
    subjects.iter().filter_map(|subject| Some((subject, subject.evaluation.as_ref().ok()?)))
}

/// Table and picture of the protocols with the same kind of figures.
fn kind(evaluated: &[(&Subject, &Evaluation)], columns: (&str, &str), compared: bool) -> Markup {
    let mut rows: Vec<(String, String, usize, Figure, Option<Figure>)> = Vec::new();
    let mut protocols: Vec<&str> = Vec::new();
    for protocol in evaluated.iter().flat_map(|(_, evaluation)| &evaluation.protocols) {
        if !protocols.contains(&protocol.protocol.as_str()) {
            protocols.push(&protocol.protocol);
        }
    }
    for name in protocols {
        for (color, (subject, evaluation)) in evaluated.iter().enumerate() {
            let own = evaluation.protocols.iter().filter(|protocol| protocol.protocol == name);
            for result in own.flat_map(|protocol| &protocol.results) {
                let Some((_, first, second)) = result.figures.cells().filter(|cells| cells.0 == columns) else {
                    continue;
                };
                let encoder =
                    if compared { format!("{}, {}", subject.name, result.encoder) } else { result.encoder.clone() };
                let shade = if compared { color } else { usize::from(result.encoder != "trained") * 9 };
                rows.push((name.to_owned(), encoder, shade, first, second));
            }
        }
    }
    let with_chance = columns.0 == "top-1 %";
    let chances: Vec<_> = evaluated.iter().map(|(_, evaluation)| evaluation.chance).collect();
    let chance = chances
        .first()
        .copied()
        .flatten()
        .filter(|first| with_chance && chances.iter().all(|chance| *chance == Some(*first)));
    let of = |figure: Figure| html! { b { (percent(figure.value)) } " " span.interval { (percent(figure.low)) "–" (percent(figure.high)) } };
    let mut cells: Vec<Vec<Markup>> = Vec::new();
    for (index, (protocol, encoder, _, first, second)) in rows.iter().enumerate() {
        let repeated = index > 0 && rows[index - 1].0 == *protocol;
        let mut row = vec![html! { @if !repeated { (protocol) } }, html! { (encoder) }, of(*first)];
        if !columns.1.is_empty() {
            row.push(second.map_or_else(|| html! {}, of));
        }
        cells.push(row);
    }
    if let Some(chance) = chance {
        cells.push(vec![
            html! { "chance" },
            html! {},
            html! { (percent(chance.top1)) },
            html! { (percent(chance.top5)) },
        ]);
    }
    let mut headings = vec!["protocol", "encoder", columns.0];
    if !columns.1.is_empty() {
        headings.push(columns.1);
    }
    let drawn: Vec<Interval> = rows
        .iter()
        .map(|(protocol, encoder, color, first, _)| Interval {
            name: format!("{protocol}, {encoder}"),
            value: first.value,
            low: first.low,
            high: first.high,
            color: *color,
        })
        .collect();
    let measure = columns.0.trim_end_matches(" %");
    let caption = format!(
        "{measure} with 95 % bootstrap intervals over the test images{}.",
        if chance.is_some() { "; the dashed line is chance" } else { "" }
    );
    html! {
        (table("Figures in percent, each with its 95 % interval", &headings, &cells))
        (figure(&format!("{measure} of each protocol and encoder, as in the table above"), &intervals(&drawn, chance.map(|c| c.top1)), html! { (caption) }))
    }
}

/// Encoder, data and settings of an evaluation.
fn provenance(evaluation: &Evaluation) -> Markup {
    let transform = &evaluation.transform;
    html! {
        dl.facts {
            dt { "weights" } dd { (evaluation.weights) }
            dt { "SHA-256 of the encoder" } dd { code { (evaluation.encoder_sha256) } }
            dt { "images" } dd {
                (evaluation.data) ": " (evaluation.train_samples) " training and " (evaluation.test_samples) " test images, "
                "short side " (transform.resize) ", centre crop " (transform.crop) " pixels"
            }
            @for ProtocolResult { protocol, settings, results, wall_time_s } in &evaluation.protocols {
                dt { (protocol) }
                dd {
                    (format!("{wall_time_s:.1} s; ")) (inline(settings))
                    @for result in results { @if !inline(&result.details).is_empty() { br; (result.encoder) ": " (inline(&result.details)) } }
                }
            }
        }
    }
}

/// `key value, key value` of an object of plain values.
fn inline(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(object) => {
            let shown = object.iter().filter(|(_, value)| !value.is_null());
            shown
                .map(|(key, value)| format!("{} {}", key.replace('_', " "), inline(value)))
                .collect::<Vec<_>>()
                .join(", ")
        }
        serde_json::Value::Array(items) => items.iter().map(inline).collect::<Vec<_>>().join(" "),
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(number) => match number.as_f64() {
            Some(value) if number.is_f64() => {
                format!("{value:.4}").trim_end_matches('0').trim_end_matches('.').to_owned()
            }
            _ => number.to_string(),
        },
        serde_json::Value::Null => String::new(),
        serde_json::Value::Bool(flag) => flag.to_string(),
    }
}

fn percent(value: f64) -> String {
    format!("{value:.1}")
}

/// The most thorough classification of the trained encoder.
fn best(evaluation: &Evaluation) -> Option<(&ProtocolResult, &Accuracy)> {
    let thorough = |protocol: &str| ["linear", "linear-features", "knn"].iter().position(|name| *name == protocol);
    let classified = evaluation.protocols.iter().filter_map(|protocol| {
        let trained = protocol.results.iter().find(|result| result.encoder == "trained")?;
        Some((protocol, trained.accuracy()?))
    });
    classified.min_by_key(|(protocol, _)| thorough(&protocol.protocol).unwrap_or(usize::MAX))
}

/// Confusion matrix, the pairs of classes that are mistaken most, and the figure of each class.
pub(super) fn confusion(subjects: &[Subject]) -> Markup {
    html! {
        @for (subject, evaluation) in with_evaluation(subjects) {
            @if subjects.len() > 1 { h3 { (subject.name) } }
            @match best(evaluation) {
                Some((protocol, accuracy)) => (matrix(evaluation, &protocol.protocol, accuracy)),
                None => p.missing { "No protocol that names one class for each image was evaluated; `cargo xtask eval --protocol knn` is one." },
            }
            (by_class(evaluation))
        }
        @if with_evaluation(subjects).next().is_none() {
            p.missing { "Confusions come with an evaluation; `cargo xtask eval` makes one." }
        }
    }
}

fn matrix(evaluation: &Evaluation, protocol: &str, accuracy: &Accuracy) -> Markup {
    let counts = &accuracy.confusion;
    let classes = &evaluation.classes;
    let name = |class: usize| classes.get(class).cloned().unwrap_or_else(|| class.to_string());
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
                &heat_map(counts, classes),
                html! { "Confusion matrix of " (protocol) ", trained encoder: true classes down, predicted classes across; the darker a cell, the larger its share of the true class." },
            ))
        }
        @if !rows.is_empty() {
            (table("Classes mistaken for another most often", &["true class", "predicted", "images"], &rows))
        }
    }
}

fn by_class(evaluation: &Evaluation) -> Markup {
    html! {
        @for protocol in &evaluation.protocols {
            @let columns: Vec<_> = protocol.results.iter().map(|result| (&result.encoder, result.figures.per_class())).filter(|(_, figures)| !figures.is_empty()).collect();
            @if !columns.is_empty() {
                @let headings: Vec<&str> = std::iter::once("class").chain(columns.iter().map(|(encoder, _)| encoder.as_str())).collect();
                @let rows: Vec<Vec<Markup>> = columns[0].1.iter().map(|(class, _)| {
                    let name = evaluation.classes.get(*class as usize).cloned().unwrap_or_else(|| class.to_string());
                    let figures = columns.iter().map(|(_, figures)| figures.iter().find(|figure| figure.0 == *class));
                    let figures = figures.map(|figure| html! { @if let Some((_, value)) = figure { (percent(*value)) } });
                    std::iter::once(html! { (name) }).chain(figures).collect()
                }).collect();
                details {
                    summary { (protocol.protocol) " by class" }
                    (table(&format!("{}, percent of each class", protocol.protocol), &headings, &rows))
                }
            }
        }
    }
}
