//! The page: its sections in order, as HTML.

use super::classes;
use super::curves::{self, Throughput};
use super::embedding::{Embedding, Query};
use super::palette::{DISTINCT, dark_rules, hex, series};
use super::picture::Picture;
use super::plot::{self, Curves};
use super::results;
use super::subject::Subject;
use super::views::ViewedImage;
use clsa_data::Split;
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");
/// Nothing is loaded and nothing is run.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

/// The whole page.
pub(super) fn page(subjects: &[Subject]) -> String {
    let names: Vec<&str> = subjects.iter().map(|subject| subject.name.as_str()).collect();
    let title = names.join(" · ");
    let compared = subjects.len() > 1;
    let sets = results::by_data(subjects);
    let sections: [(&str, &str, Markup); 10] = [
        ("results", "Results", results::results(subjects, &sets)),
        ("summary", if compared { "The runs" } else { "The run" }, summary(subjects)),
        ("loss", "Loss and learning rate", loss(subjects)),
        ("knn", "k-NN during training", knn(subjects)),
        ("map", "Map of the features", each(subjects, |subject| part(&subject.embedding, |made| maps(made, subject)))),
        ("neighbours", "Nearest neighbours", each(subjects, |subject| part(&subject.embedding, neighbours))),
        ("classes", "Classes", classes::classes(&sets, compared)),
        ("views", "Views", each(subjects, |subject| part(&subject.views, |views| viewed(views)))),
        ("throughput", "Throughput", throughput(subjects)),
        ("configuration", "Configuration", configuration(subjects)),
    ];
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (title) " – CLSA report" }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) "@media (prefers-color-scheme:dark){" (PreEscaped(dark_rules())) "}" }
            }
            body {
                header {
                    p.kind { @if compared { "Comparison of " (subjects.len()) " CLSA runs" } @else { "Report of a CLSA run" } }
                    h1 { (title) }
                }
                nav aria-label="Contents" {
                    ol {
                        @for (id, heading, _) in &sections { li { a href={ "#" (id) } { (heading) } } }
                    }
                }
                main {
                    @for (id, heading, content) in sections { section id=(id) { h2 { (heading) } (content) } }
                }
            }
        }
    };
    page.into_string()
}

/// A figure with its caption; `alt` says what is seen.
pub(super) fn figure(alt: &str, svg: &str, caption: Markup) -> Markup {
    html! {
        figure.plot {
            div role="img" aria-label=(alt) { (PreEscaped(svg)) }
            figcaption { (caption) }
        }
    }
}

/// A table, with a caption where the text before it does not say what it shows; the first column are headings of the rows.
pub(super) fn table(caption: Option<&str>, headings: &[&str], rows: &[Vec<Markup>]) -> Markup {
    html! {
        div.table role="region" aria-label=(caption.unwrap_or("table")) tabindex="0" {
            table {
                @if let Some(caption) = caption { caption { (caption) } }
                thead { tr { @for heading in headings { th scope="col" { (heading) } } } }
                tbody {
                    @for row in rows {
                        tr { @for (column, cell) in row.iter().enumerate() { @if column == 0 { th scope="row" { (cell) } } @else { td { (cell) } } } }
                    }
                }
            }
        }
    }
}

/// A sentence whose commands are between backticks.
pub(super) fn command_text(sentence: &str) -> Markup {
    html! { @for (index, part) in sentence.split('`').enumerate() { @if index % 2 == 1 { code { (part) } } @else { (part) } } }
}

/// A number of things, in groups of three digits.
pub(super) fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A part of each run, under the run's name where there are several.
fn each(subjects: &[Subject], content: impl Fn(&Subject) -> Markup) -> Markup {
    html! {
        @for subject in subjects {
            @if subjects.len() > 1 { h3 { (subject.name) } }
            (content(subject))
        }
    }
}

fn part<T>(part: &Result<T, String>, content: impl Fn(&T) -> Markup) -> Markup {
    match part {
        Ok(made) => content(made),
        Err(reason) => html! { p.missing { (command_text(reason)) } },
    }
}

fn summary(subjects: &[Subject]) -> Markup {
    html! {
        div.cards {
            @for subject in subjects {
                @let config = &subject.run.config;
                article.card {
                    @if subjects.len() > 1 { h3 { (subject.name) } }
                    dl.facts {
                        dt { "encoder" } dd { (config.model.arch.name()) ", width " (config.model.width) }
                        dt { "images" } dd { (config.data.source) }
                        dt { "trained" } dd { (trained(subject)) }
                        @if let Some(last) = curves::loss(std::slice::from_ref(subject)).series[0].points.last() {
                            dt { "last loss" } dd { (format!("{:.3}", last.1)) }
                        }
                        @if let [first, .., last] = subject.metrics.knn.as_slice() {
                            dt { "k-NN in training" } dd { (format!("{:.1} % → {:.1} %", first.top1, last.top1)) }
                        }
                        @if let Some(speed) = Throughput::of(subject) {
                            dt { "speed" } dd { (grouped(speed.median.round() as usize)) " images/s" }
                        }
                    }
                }
            }
        }
    }
}

/// How far a run is.
fn trained(subject: &Subject) -> Markup {
    let epochs = subject.tables.train.epochs;
    html! {
        @match subject.metrics.steps.last() {
            Some(last) => {
                @let whole = last.epoch + 1 >= epochs && subject.checkpoint >= Some(last.step);
                (grouped(last.step as usize)) " steps, "
                @if whole { (epochs) " epochs" } @else {
                    "in epoch " (last.epoch + 1) " of " (epochs) "; where it does not run any more, "
                    code { "cargo xtask pretrain --resume " (subject.run.folder.display()) } " goes on"
                }
            },
            None => "no step yet",
        }
        @if subject.metrics.cut_off { "; the last line of metrics.jsonl was cut off and is left out" }
    }
}

/// Curves with a legend where there are several; what to say where there is nothing to draw.
fn curves(curves: &Curves, alt: &str, caption: Markup) -> Option<Markup> {
    let svg = curves.svg()?;
    let drawn: Vec<_> = curves.series.iter().filter(|series| !series.points.is_empty()).collect();
    let names: Vec<String> = drawn
        .iter()
        .map(|s| {
            let (first, last) = (s.points[0].1, s.points[s.points.len() - 1].1);
            format!("{} from {first:.4} to {last:.4}", s.name)
        })
        .collect();
    let items: Vec<(usize, &str)> = drawn.iter().map(|series| (series.color, series.name.as_str())).collect();
    let caption = html! { @if items.len() > 1 { (legend(&items)) } (caption) };
    Some(figure(&format!("{alt}: {}", names.join("; ")), &svg, caption))
}

fn legend(items: &[(usize, &str)]) -> Markup {
    html! {
        ul.legend {
            @for (color, name) in items {
                li {
                    svg viewBox="0 0 10 10" aria-hidden="true" { circle cx="5" cy="5" r="5" fill=(hex(series(*color))) {} }
                    (name)
                }
            }
        }
    }
}

/// How curves are averaged, where they are.
fn averaging(subjects: &[Subject]) -> String {
    match subjects.iter().map(curves::averaged_over).max() {
        Some(steps) if steps > 1 => format!(" Each point is the mean of up to {steps} steps."),
        _ => String::new(),
    }
}

const NO_STEPS: &str =
    "No training step is recorded yet; the curves begin with the first, when the report is made again.";

fn loss(subjects: &[Subject]) -> Markup {
    let averaged = averaging(subjects);
    let mut figures: Vec<Markup> = Vec::new();
    figures.extend(curves(
        &curves::loss(subjects),
        "Loss by step",
        html! { "Loss of each step: contrastive + α · DDM." (averaged) },
    ));
    if subjects.len() > 1 {
        let caption = html! { "Contrastive term (InfoNCE), summed over weak views." (averaged) };
        figures.extend(curves(&curves::contrastive(subjects), "Contrastive term by step", caption));
        let caption =
            html! { "DDM term, summed over pairs of weak and strong views, of the runs that have it." (averaged) };
        figures.extend(curves(&curves::ddm(subjects), "DDM term by step", caption));
    }
    figures.extend(curves(
        &curves::learning_rate(subjects),
        "Learning rate by step",
        html! { "Learning rate of each step." },
    ));
    html! { @if figures.is_empty() { p.missing { (NO_STEPS) } } @else { div.figures { @for figure in figures { (figure) } } } }
}

fn knn(subjects: &[Subject]) -> Markup {
    let drawn = curves::knn(subjects);
    let chance = if drawn.level.is_some() { " The dashed line is chance." } else { "" };
    let caption = html! { "Weighted k-NN accuracy of the frozen features on a part of the images, before the first step and during training." (chance) };
    html! {
        @for subject in subjects.iter().filter(|subject| subject.metrics.knn.is_empty()) {
            p.missing {
                @if subjects.len() > 1 { b { (subject.name) ": " } }
                "No k-NN evaluation is recorded: there was no step yet, the images have no labels or no test split, or knn.every is 0. \
                 For images with one class each " code { "cargo xtask pretrain --set knn.every=1" } " measures after each epoch, "
                code { "cargo xtask eval --protocol knn --run " (subject.run.folder.display()) } " once now."
            }
        }
        @if let Some(figure) = curves(&drawn, "k-NN accuracy by step", caption) { div.figures { (figure) } }
    }
}

fn throughput(subjects: &[Subject]) -> Markup {
    let mut rows = Vec::new();
    for subject in subjects {
        if let Some(Throughput { median, range, seconds, waiting }) = Throughput::of(subject) {
            rows.push(vec![
                html! { (subject.name) },
                html! { (rounded(median)) " (" (rounded(range.0)) "–" (rounded(range.1)) ")" },
                html! { (duration(seconds)) },
                html! { (format!("{waiting:.1} %")) },
            ]);
        }
    }
    let averaged = averaging(subjects);
    let speed = curves(
        &curves::images_per_second(subjects),
        "Images per second by step",
        html! { "Images per second, waiting included." (averaged) },
    );
    let waiting = curves(
        &curves::waiting(subjects),
        "Share of time waiting for data by step",
        html! { "Share of the time that steps waited for their batch." (averaged) },
    );
    html! {
        @if rows.is_empty() { p.missing { (NO_STEPS) } } @else {
            (table(Some("Speed of training: the median over steps, and in brackets the 5th and the 95th percentile."), &["run", "images/s", "time in steps", "waiting for data"], &rows))
            div.figures { @for figure in [speed, waiting].into_iter().flatten() { (figure) } }
        }
    }
}

fn rounded(rate: f64) -> String {
    grouped(rate.round() as usize)
}

fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

fn maps(embedding: &Embedding, subject: &Subject) -> Markup {
    let Embedding { classes, labels, split, .. } = embedding;
    let many = classes.len() > DISTINCT;
    let coloured = labels.as_deref().filter(|_| !classes.is_empty());
    let draw = |points: &[[f64; 2]], how: &str, axes: Option<[String; 2]>, caption: Markup| {
        let by = if coloured.is_some() { ", coloured by class" } else { "" };
        let alt = format!("{} {split} images in two dimensions by {how}{by}", points.len());
        let labels = coloured.map(|labels| &labels[..points.len()]);
        figure(&alt, &plot::map(points, labels, classes, axes), caption)
    };
    let colours = match coloured {
        Some(_) if many => " Colours repeat after twelve classes.",
        Some(_) => "",
        None => " Without colours, because the images have not one class each.",
    };
    let step = subject.checkpoint.map(|step| format!(" after step {}", grouped(step as usize))).unwrap_or_default();
    let kind = if *split == Split::Test { "test" } else { "training" };
    html! {
        div.figures {
            @match &embedding.pca {
                Ok(pca) => (draw(&pca.points, "principal components", Some([0, 1].map(|axis| {
                    format!("component {}: {:.0} % of the variance", axis + 1, pca.explained[axis])
                })), html! {
                    "Each point is one of " (grouped(pca.points.len())) " random " (kind) " images: its L2-normalised feature" (step)
                    " on the first two principal components." (colours)
                })),
                Err(reason) => p.missing { (reason) },
            }
            @match (&embedding.tsne, &embedding.pca) {
                (Ok(points), Ok(pca)) => (draw(points, "t-SNE", None, html! {
                    "t-SNE of "
                    @if points.len() < pca.points.len() { "the first " (grouped(points.len())) " of these images, which keeps it quick," } @else { "the same features" }
                    " by cosine. Only who is near whom has a meaning, so that there are no axes."
                })),
                (Err(reason), Ok(_)) => p.missing { (reason) },
                (_, Err(_)) => {},
            }
        }
        @if !many && coloured.is_some() {
            (legend(&classes.iter().enumerate().map(|(class, name)| (class, name.as_str())).collect::<Vec<_>>()))
        }
    }
}

fn neighbours(embedding: &Embedding) -> Markup {
    let marked = embedding.queries.iter().flat_map(|query| &query.neighbours).any(|near| near.same.is_some());
    html! {
        p {
            "Random " @if embedding.split == Split::Test { "test" } @else { "training" } " images (framed), and to the right of each the training images, of "
            (grouped(embedding.gallery)) ", whose features are most similar. The figure is the cosine"
            @if marked { "; ✓ marks the same class, ✗ another" } "."
        }
        div.queries { @for query in &embedding.queries { (nearest(query)) } }
    }
}

fn nearest(query: &Query) -> Markup {
    html! {
        figure.query {
            figcaption { b { (query.name) } }
            div.strip {
                div.cell.asked { (pictured(&query.picture)) span { "query" } }
                @for neighbour in &query.neighbours {
                    div.cell {
                        (pictured(&neighbour.picture))
                        span title=(neighbour.name) {
                            @match neighbour.same { Some(true) => "✓ ", Some(false) => "✗ ", None => "" }
                            (format!("{:.2}", neighbour.similarity))
                        }
                    }
                }
            }
        }
    }
}

fn viewed(images: &[ViewedImage]) -> Markup {
    html! {
        p { "Training images and the views of them that the first epoch drew from the run's seed." }
        div.viewed {
            @for image in images {
                figure.views {
                    figcaption { (image.name) }
                    div.strip {
                        div.cell.asked { (pictured(&image.original)) span { "original" } }
                        @for view in &image.views {
                            div.cell { (pictured(&view.picture)) span { (view.name) br; (view.size) " px" } }
                        }
                    }
                    details {
                        summary { "Operations that were drawn" }
                        dl.facts { @for view in &image.views { dt { (view.name) } dd { (view.operations.join(" · ")) } } }
                    }
                }
            }
        }
    }
}

pub(super) fn pictured(picture: &Picture) -> Markup {
    let small = picture.width.max(picture.height) <= 64;
    html! { img src=(picture.uri) width=(picture.width) height=(picture.height) alt=(picture.alt) class=[small.then_some("small")]; }
}

/// Every table of the configuration, a column for each run; values that differ are marked.
fn configuration(subjects: &[Subject]) -> Markup {
    let mut tables: Vec<&str> = Vec::new();
    for table in subjects.iter().flat_map(|subject| &subject.config) {
        if !tables.contains(&table.name.as_str()) {
            tables.push(&table.name);
        }
    }
    let value = |subject: &Subject, table: &str, key: &str| -> Option<String> {
        let rows = &subject.config.iter().find(|t| t.name == table)?.rows;
        rows.iter().find(|row| row.0 == key).map(|row| row.1.clone())
    };
    let headings: Vec<&str> = if subjects.len() == 1 {
        vec!["key", "value"]
    } else {
        std::iter::once("key").chain(subjects.iter().map(|s| s.name.as_str())).collect()
    };
    html! {
        @if subjects.len() > 1 { p { "Keys in which the runs differ are " mark { "marked" } "." } }
        div.tables[subjects.len() == 1] {
        @for name in tables {
            @let keys = {
                let mut keys: Vec<&str> = Vec::new();
                for row in subjects.iter().flat_map(|s| &s.config).filter(|t| t.name == name).flat_map(|t| &t.rows) {
                    if !keys.contains(&row.0.as_str()) { keys.push(&row.0); }
                }
                keys
            };
            @let rows: Vec<Vec<Markup>> = keys.iter().map(|key| {
                let values: Vec<_> = subjects.iter().map(|subject| value(subject, name, key)).collect();
                let differs = values.iter().any(|value| *value != values[0]);
                let key = html! { @if differs { mark { (key) } } @else { (key) } };
                std::iter::once(key).chain(values.iter().map(|value| html! { (value.as_deref().unwrap_or("–")) })).collect()
            }).collect();
            details open[keys.len() <= 12] {
                summary { "[" (name) "]" }
                (table(None, &headings, &rows))
            }
        }
        }
    }
}
