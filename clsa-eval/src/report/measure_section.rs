//! The figures of one measure on one data set: a table and a picture.

use super::data_sets::EvaluationsOfDataSet;
use super::html::{figure, percent, table};
use super::plot::{Mark, Row, Shape, comparison};
use crate::evaluation::{EncoderKind, Measure};
use crate::metrics::Estimate;
use maud::{Markup, PreEscaped, html};

/// A protocol of a run.
struct Line<'a> {
    protocol: &'a str,
    run: String,
    color: usize,
    figures: Vec<Cell>,
}

/// The figures of an encoder.
struct Cell {
    encoder: EncoderKind,
    main: Estimate,
    second: Option<Estimate>,
}

impl Line<'_> {
    fn cell(&self, encoder: EncoderKind) -> Option<&Cell> {
        self.figures.iter().find(|cell| cell.encoder == encoder)
    }
}

fn lines<'a>(set: &EvaluationsOfDataSet<'a>, measure: &Measure) -> Vec<Line<'a>> {
    let mut lines = Vec::new();
    for name in set.protocols() {
        for of in &set.of {
            let evaluation = &of.stored.evaluation;
            for protocol in evaluation.protocols.iter().filter(|protocol| protocol.protocol == name) {
                let mut figures = Vec::new();
                for result in protocol.results.iter().filter(|result| result.figures.measure() == *measure) {
                    let (encoder, second) = (result.encoder, result.figures.second());
                    figures.extend(result.figures.main().map(|main| Cell { encoder, main, second }));
                }
                let guessed = matches!(measure, Measure::Accuracy | Measure::CorruptedAccuracy);
                if let (false, Some(chance), true) = (figures.is_empty(), evaluation.chance, guessed) {
                    let main = Estimate::exact(chance.top1);
                    figures.push(Cell { encoder: EncoderKind::Chance, main, second: None });
                }
                if !figures.is_empty() {
                    lines.push(Line { protocol: name, run: set.name_of(of), color: of.number, figures });
                }
            }
        }
    }
    lines
}

/// Table and picture of the protocols that have this measure.
pub(super) fn measure_section(set: &EvaluationsOfDataSet, measure: &Measure, compared: bool) -> Markup {
    let lines = lines(set, measure);
    let present = |encoder: &EncoderKind| lines.iter().any(|line| line.cell(*encoder).is_some());
    let drawn: Vec<EncoderKind> = EncoderKind::ALL.into_iter().filter(present).collect();
    // A chance level that is the same for all is written once, above the table.
    let chances = lines.iter().map(|line| line.cell(EncoderKind::Chance).map(|cell| cell.main.value));
    let chances: Vec<Option<f64>> = chances.collect();
    let chance = chances.first().copied().flatten().filter(|first| chances.iter().all(|c| *c == Some(*first)));
    let is_column = |encoder: &EncoderKind| *encoder != EncoderKind::Chance || chance.is_none();
    let columns: Vec<EncoderKind> = drawn.iter().copied().filter(is_column).collect();
    // Five of five classes are always right.
    let says_something = *measure != Measure::Accuracy || set.first().classes.len() > 5;
    let second = measure.second_name().filter(|_| says_something);
    let name = measure.name();
    let what = match (measure, second) {
        (Measure::Accuracy, Some(_)) => "; top-5 is that of the trained encoder",
        (Measure::AveragePrecision, Some(_)) => "; 11-point is the trained encoder's by the rule of VOC 2007",
        (Measure::CorruptedAccuracy, Some(_)) => {
            "; clean is that of the trained encoder on the same images as they are"
        }
        (Measure::SameClassShare | Measure::Custom(_), Some(_)) | (_, None) => "",
    };
    let level = chance.map(|chance| format!(" Chance is {} %.", percent(chance))).unwrap_or_default();
    let seeds =
        if compared { " The interval says nothing of how far another seed of the training would be." } else { "" };
    let caption = format!(
        "{name} in percent, with its 95 % interval over test images for the trained encoder{what}.{level}{seeds}"
    );
    let legend = html! {
        ul.legend {
            @for &encoder in &drawn {
                li { (sign(shape(encoder))) (encoder) @if encoder == EncoderKind::Trained { ", 95 % interval" } }
            }
        }
        (name) ", percent."
    };
    html! {
        div.figures {
            (table_of(&lines, &columns, second, compared, &caption))
            (figure(
                &format!("{name} of each protocol and encoder, as in the table above"),
                &comparison(&rows_of_picture(&lines, compared)),
                legend,
            ))
        }
    }
}

fn table_of(
    lines: &[Line],
    columns: &[EncoderKind],
    second: Option<&'static str>,
    compared: bool,
    caption: &str,
) -> Markup {
    let mut headings = vec!["protocol"];
    if compared {
        headings.push("run");
    }
    for encoder in columns {
        headings.push(encoder.name());
        if *encoder == EncoderKind::Trained {
            headings.extend(second);
        }
    }
    let plain = |figure: Option<Estimate>| html! { @if let Some(figure) = figure { (percent(figure.value)) } };
    let mut rows: Vec<Vec<Markup>> = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let repeated = index > 0 && lines[index - 1].protocol == line.protocol;
        let mut row = vec![html! { @if !repeated { (line.protocol) } }];
        if compared {
            row.push(html! { (line.run) });
        }
        for &encoder in columns {
            let cell = line.cell(encoder);
            let main = cell.map(|cell| cell.main);
            if encoder == EncoderKind::Trained {
                row.push(html! { @if let Some(main) = main { b { (percent(main.value)) } " " (interval(main)) } });
                if second.is_some() {
                    row.push(plain(cell.and_then(|cell| cell.second)));
                }
            } else {
                row.push(plain(main));
            }
        }
        rows.push(row);
    }
    table(Some(caption), &headings, &rows)
}

/// A line for each protocol; of several runs one for each run under the protocol's name.
fn rows_of_picture(lines: &[Line], compared: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if compared && (index == 0 || lines[index - 1].protocol != line.protocol) {
            rows.push(Row::Heading(line.protocol.to_owned()));
        }
        let mark = |cell: &Cell| {
            let Estimate { value, low, high } = cell.main;
            Mark { shape: shape(cell.encoder), value, low, high }
        };
        let name = if compared { &line.run } else { line.protocol };
        let marks = line.figures.iter().map(mark).collect();
        rows.push(Row::Marks { name: name.to_owned(), color: if compared { line.color } else { 0 }, marks });
    }
    rows
}

fn shape(encoder: EncoderKind) -> Shape {
    match encoder {
        EncoderKind::Trained => Shape::Disc,
        EncoderKind::Untrained => Shape::Ring,
        EncoderKind::RawPixels => Shape::Diamond,
        EncoderKind::Chance => Shape::Bar,
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

fn interval(figure: Estimate) -> Markup {
    html! { span.interval { (percent(figure.low)) "–" (percent(figure.high)) } }
}
