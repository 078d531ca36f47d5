//! The section of results: figures of every protocol on every data set, in a table and a picture.

use super::page::{command_text, figure, grouped, pictured, table};
use super::plot::{Mark, Row, Shape, comparison};
use super::subject::{Evaluated, Subject};
use crate::{EncoderResult, Evaluation, Figure, ProtocolResult};
use maud::{Markup, PreEscaped, html};
use std::cmp::Ordering;

/// Kinds of protocols in the order of the page.
const ORDER: [&str; 6] = ["knn", "linear-features", "linear", "finetune", "voc07", "retrieval"];
/// What a protocol was applied to, in the order of the page.
const ENCODERS: [&str; 4] = ["trained", "untrained", "raw pixels", "chance"];

/// The evaluations of one data set, of all runs.
pub(super) struct OnData<'a> {
    /// The data set, as it was first named.
    pub data: &'a str,
    sha256: &'a str,
    /// Number of the run, which is also that of its colour; the run; its evaluation.
    pub of: Vec<(usize, &'a Subject, &'a Evaluated)>,
}

impl OnData<'_> {
    /// The evaluation that stands for what all of them have in common.
    pub(super) fn first(&self) -> &Evaluation {
        &self.of[0].2.evaluation
    }

    /// The run's name, with that of the file where the run has several evaluations of these images.
    fn named(&self, number: usize, subject: &Subject, file: &str) -> String {
        let several = self.of.iter().filter(|other| other.0 == number).count() > 1;
        if several { format!("{} ({file})", subject.name) } else { subject.name.clone() }
    }

    /// Names of protocols: frozen encoders first, then trained ones with few labels first.
    pub(super) fn protocols(&self) -> Vec<&str> {
        let all = self.of.iter().flat_map(|(.., evaluated)| &evaluated.evaluation.protocols);
        let mut names = distinct(all.map(|protocol| &*protocol.protocol));
        let rank = |name: &str| {
            let (kind, labels) = name.split_once(' ').unwrap_or((name, ""));
            let share = labels.trim_end_matches('%').parse::<f64>().unwrap_or(0.0);
            (ORDER.iter().position(|known| *known == kind).unwrap_or(ORDER.len()), share)
        };
        names.sort_by(|a, b| rank(a).partial_cmp(&rank(b)).unwrap_or(Ordering::Equal));
        names
    }
}

/// All evaluations by data set: the first run's own data first.
pub(super) fn by_data(subjects: &[Subject]) -> Vec<OnData<'_>> {
    let mut sets: Vec<OnData> = Vec::new();
    for (number, subject) in subjects.iter().enumerate() {
        for evaluated in subject.evaluations.iter().flatten() {
            let Evaluation { data, data_sha256: sha256, .. } = &evaluated.evaluation;
            let of = (number, subject, evaluated);
            match sets.iter_mut().find(|set| set.sha256 == sha256) {
                Some(set) => set.of.push(of),
                None => sets.push(OnData { data, sha256, of: vec![of] }),
            }
        }
    }
    sets
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    names.for_each(|name| {
        if !seen.contains(&name) {
            seen.push(name);
        }
    });
    seen
}

/// What a protocol measures, as the page speaks of it.
struct Measure {
    /// Of the first figure of [`crate::Figures::cells`].
    name: &'static str,
    /// Of its second figure.
    second: &'static str,
}

impl Measure {
    fn of(columns: (&str, &str)) -> Self {
        match columns.0 {
            "top-1 %" => Self { name: "Top-1 accuracy", second: "top-5" },
            "mAP %" => Self { name: "Mean average precision", second: "11-point" },
            _ => Self { name: "Share of the nearest neighbours that are of the image's class", second: "" },
        }
    }
}

/// Figures of all runs, for each data set one table and one picture for each kind of figure.
pub(super) fn results(subjects: &[Subject], sets: &[OnData]) -> Markup {
    html! {
        @for subject in subjects {
            @if let Err(reason) = &subject.evaluations {
                p.missing { @if subjects.len() > 1 { b { (subject.name) ": " } } (command_text(reason)) }
            }
        }
        @for set in sets {
            @let evaluation = set.first();
            @if sets.len() > 1 { h3 { "On " (set.data) } }
            p {
                (grouped(evaluation.train_samples)) " training images and "
                @match evaluation.test_samples { 0 => "no", count => (grouped(count)) } " test images"
                @if !evaluation.classes.is_empty() { " of " (evaluation.classes.len()) " classes" }
                @if sets.len() == 1 { ", " (set.data) }
                "."
            }
            @for (_, subject, evaluated) in &set.of { (outdated(subject, evaluated)) }
            @for columns in kinds(set) { (kind(set, columns, set.of.len() > 1 || subjects.len() > 1)) }
            @for (_, subject, evaluated) in &set.of {
                @if let Some(picture) = &evaluated.picture {
                    @match picture {
                        Ok(sheet) => figure.sheet {
                            (pictured(&sheet.picture))
                            figcaption {
                                @if subjects.len() > 1 { b { (subject.name) ": " } }
                                "Retrieval: on the left random images, and beside each its nearest training images by cosine, nearest first."
                                @if evaluated.evaluation.chance.is_some() { " Green frames mark the same class, red ones another." }
                                @if sheet.cut { " All rows are in " code { (sheet.file) } "." }
                            }
                        },
                        Err(reason) => p.missing { (reason) },
                    }
                }
            }
            @for (number, subject, evaluated) in &set.of {
                details {
                    summary { "How this was measured" @if set.of.len() > 1 || subjects.len() > 1 { ": " (set.named(*number, subject, &evaluated.file)) } }
                    (provenance(evaluated))
                }
            }
        }
    }
}

/// Says where the encoder has trained on since it was evaluated.
fn outdated(subject: &Subject, evaluated: &Evaluated) -> Markup {
    let folder = subject.run.folder.display();
    let Evaluation { data, .. } = &evaluated.evaluation;
    let own = if *data == subject.run.config.data.source { String::new() } else { format!(" --data {data}") };
    html! {
        @if let (Some(step), Some(newest)) = (evaluated.step, subject.checkpoint) {
            @if step != newest {
                p.missing {
                    b { (subject.name) } " was evaluated after step " (grouped(step as usize)) ", and its newest checkpoint is of step "
                    (grouped(newest as usize)) "; " code { "cargo xtask eval --run " (folder) (own) } " evaluates that."
                }
            }
        }
    }
}

/// Kinds of figures that a data set has, by the headings of their tables.
fn kinds(set: &OnData) -> Vec<(&'static str, &'static str)> {
    let mut kinds = Vec::new();
    for result in set.of.iter().flat_map(|(.., e)| &e.evaluation.protocols).flat_map(|protocol| &protocol.results) {
        if let Some((columns, ..)) = result.figures.cells().filter(|cells| !kinds.contains(&cells.0)) {
            kinds.push(columns);
        }
    }
    kinds
}

/// A protocol of a run whose figures are of one kind.
struct Line<'a> {
    protocol: &'a str,
    run: String,
    color: usize,
    /// Encoder, first and second figure.
    figures: Vec<(&'a str, Figure, Option<Figure>)>,
}

impl Line<'_> {
    fn value(&self, encoder: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.0 == encoder).map(|figure| figure.1.value)
    }
}

fn lines<'a>(set: &OnData<'a>, columns: (&str, &str)) -> Vec<Line<'a>> {
    let mut lines = Vec::new();
    for name in set.protocols() {
        for (color, subject, Evaluated { file, evaluation, .. }) in &set.of {
            let run = set.named(*color, subject, file);
            for ProtocolResult { protocol, results, .. } in evaluation.protocols.iter().filter(|p| p.protocol == name) {
                let cells = |result: &'a EncoderResult| {
                    let (_, first, second) = result.figures.cells().filter(|cells| cells.0 == columns)?;
                    Some((result.encoder.as_str(), first, second))
                };
                let mut figures: Vec<_> = results.iter().filter_map(cells).collect();
                if let (false, Some(chance), "top-1 %") = (figures.is_empty(), evaluation.chance, columns.0) {
                    let value = chance.top1;
                    figures.push(("chance", Figure { value, low: value, high: value }, None));
                }
                if !figures.is_empty() {
                    lines.push(Line { protocol, run: run.clone(), color: *color, figures });
                }
            }
        }
    }
    lines
}

fn shape(encoder: &str) -> Shape {
    match encoder {
        "trained" => Shape::Disc,
        "untrained" => Shape::Ring,
        "chance" => Shape::Bar,
        _ => Shape::Diamond,
    }
}

/// Table and picture of the protocols with the same kind of figures.
fn kind(set: &OnData, columns: (&str, &str), compared: bool) -> Markup {
    let Measure { name, second } = Measure::of(columns);
    let lines = lines(set, columns);
    let present = |encoder: &&str| lines.iter().flat_map(|line| &line.figures).any(|figure| figure.0 == *encoder);
    let drawn_encoders: Vec<&str> = ENCODERS.into_iter().filter(present).collect();
    // A level that is the same for all is said once, above the table.
    let chances: Vec<Option<f64>> = lines.iter().map(|line| line.value("chance")).collect();
    let chance = chances.first().copied().flatten().filter(|first| chances.iter().all(|c| *c == Some(*first)));
    let encoders: Vec<&str> = drawn_encoders.iter().copied().filter(|e| *e != "chance" || chance.is_none()).collect();
    // Five of five classes are always right.
    let second = if second == "top-5" && set.first().classes.len() <= 5 { "" } else { second };
    let mut headings = vec!["protocol"];
    if compared {
        headings.push("run");
    }
    for &encoder in &encoders {
        headings.push(encoder);
        if encoder == "trained" && !second.is_empty() {
            headings.push(second);
        }
    }
    let plain = |figure: Option<Figure>| html! { @if let Some(figure) = figure { (percent(figure.value)) } };
    let mut rows: Vec<Vec<Markup>> = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let repeated = index > 0 && lines[index - 1].protocol == line.protocol;
        let mut row = vec![html! { @if !repeated { (line.protocol) } }];
        if compared {
            row.push(html! { (line.run) });
        }
        for &encoder in &encoders {
            let own = line.figures.iter().find(|figure| figure.0 == encoder);
            let first = own.map(|figure| figure.1);
            if encoder == "trained" {
                row.push(html! { @if let Some(first) = first { b { (percent(first.value)) } " " (interval(first)) } });
                if !second.is_empty() {
                    row.push(plain(own.and_then(|figure| figure.2)));
                }
            } else {
                row.push(plain(first));
            }
        }
        rows.push(row);
    }
    let mut drawn = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if compared && (index == 0 || lines[index - 1].protocol != line.protocol) {
            drawn.push(Row::Heading(line.protocol.to_owned()));
        }
        let mark = |(encoder, figure, _): &(&str, Figure, Option<Figure>)| Mark {
            shape: shape(encoder),
            value: figure.value,
            low: figure.low,
            high: figure.high,
        };
        let name = if compared { &line.run } else { line.protocol };
        let marks = line.figures.iter().map(mark).collect();
        drawn.push(Row::Marks { name: name.to_owned(), color: if compared { line.color } else { 0 }, marks });
    }
    let what = match second {
        "top-5" => "; top-5 is that of the trained encoder",
        "11-point" => "; 11-point is the trained encoder's by the rule of VOC 2007",
        _ => "",
    };
    let level = chance.map(|chance| format!(" Chance is {} %.", percent(chance))).unwrap_or_default();
    html! {
        div.figures {
        (table(Some(&format!("{name} in percent, with its 95 % interval for the trained encoder{what}.{level}")), &headings, &rows))
        (figure(
            &format!("{name} of each protocol and encoder, as in the table above"),
            &comparison(&drawn),
            html! {
                ul.legend { @for &encoder in &drawn_encoders { li { (sign(shape(encoder))) (encoder) @if encoder == "trained" { ", 95 % interval" } } } }
                (name) ", percent."
            },
        ))
        }
    }
}

/// A mark of the legend.
fn sign(shape: Shape) -> Markup {
    let drawn = match shape {
        Shape::Disc => r#"<path d="M0 5H10" stroke-width="1.6"/><circle cx="5" cy="5" r="3.2" fill="currentColor"/>"#,
        Shape::Ring => r#"<circle cx="5" cy="5" r="3.6" fill="none" stroke-width="1.8"/>"#,
        Shape::Diamond => r#"<path d="M5 .8 9.2 5 5 9.2 .8 5Z" fill="none" stroke-width="1.6"/>"#,
        Shape::Bar => r#"<path d="M5 0V10" stroke-width="2"/>"#,
    };
    html! { svg viewBox="0 0 10 10" aria-hidden="true" stroke="currentColor" { (PreEscaped(drawn)) } }
}

fn interval(figure: Figure) -> Markup {
    html! { span.interval { (percent(figure.low)) "–" (percent(figure.high)) } }
}

pub(super) fn percent(value: f64) -> String {
    format!("{value:.1}")
}

fn provenance(Evaluated { file, evaluation, .. }: &Evaluated) -> Markup {
    let transform = &evaluation.transform;
    html! {
        dl.facts {
            dt { "file" } dd { (file) }
            dt { "weights" } dd { (evaluation.weights) }
            dt { "SHA-256 of the encoder" } dd { code { (evaluation.encoder_sha256) } }
            dt { "images" } dd { (evaluation.data) ", short side " (transform.resize) ", centre crop " (transform.crop) " pixels" }
            @for ProtocolResult { protocol, settings, results, wall_time_s } in &evaluation.protocols {
                dt { (protocol) }
                dd {
                    (format!("{wall_time_s:.1} s; ")) (inline(settings))
                    @for EncoderResult { encoder, details, .. } in results {
                        @let details = inline(details);
                        @if !details.is_empty() { br; (encoder) ": " (details) }
                    }
                }
            }
        }
    }
}

/// `key value, key value` of an object of plain values. What `retrieval` found is in its picture.
fn inline(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(object) => {
            let shown = object.iter().filter(|(key, value)| !value.is_null() && key.as_str() != "retrieved");
            shown
                .map(|(key, value)| format!("{} {}", key.replace('_', " "), inline(value)))
                .collect::<Vec<_>>()
                .join(", ")
        }
        serde_json::Value::Array(items) => items.iter().map(inline).collect::<Vec<_>>().join(" / "),
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(number) => match number.as_f64() {
            Some(value) if number.is_f64() && value != 0.0 && value.abs() < 1e-3 => format!("{value:.3e}"),
            Some(value) if number.is_f64() => {
                format!("{value:.4}").trim_end_matches('0').trim_end_matches('.').to_owned()
            }
            _ => number.to_string(),
        },
        serde_json::Value::Null => String::new(),
        serde_json::Value::Bool(flag) => flag.to_string(),
    }
}
