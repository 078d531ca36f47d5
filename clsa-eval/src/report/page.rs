//! The page: its sections in order, as HTML.

use super::curves::{self, Throughput};
use super::embedding::{Embedding, Query};
use super::palette::{DISTINCT, dark_rules, hex, series};
use super::picture::Picture;
use super::plot::{self, Curves};
use super::results;
use super::subject::Subject;
use super::views::ViewedImage;
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");
/// Nothing is loaded and nothing is run.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

/// The whole page.
pub(super) fn page(subjects: &[Subject]) -> String {
    let names: Vec<&str> = subjects.iter().map(|subject| subject.name.as_str()).collect();
    let title = names.join(" · ");
    let sections: [(&str, &str, Markup); 9] = [
        ("summary", "Summary", summary(subjects)),
        ("results", "Evaluation", results::results(subjects)),
        ("loss", "Loss and learning rate", loss(subjects)),
        ("knn", "k-NN during training", knn(subjects)),
        ("map", "Map of the features", each(subjects, |subject| part(&subject.embedding, maps))),
        ("neighbours", "Nearest neighbours", each(subjects, |subject| part(&subject.embedding, neighbours))),
        ("confusion", "Confusions and classes", results::confusion(subjects)),
        ("views", "Views", each(subjects, |subject| part(&subject.views, |views| viewed(views)))),
        ("throughput", "Throughput", throughput(subjects)),
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
                    p.kind { @if subjects.len() == 1 { "Report of a CLSA run" } @else { "Comparison of " (subjects.len()) " CLSA runs" } }
                    h1 { (title) }
                }
                nav aria-label="Contents" {
                    ol {
                        @for (id, heading, _) in &sections { li { a href={ "#" (id) } { (heading) } } }
                        li { a href="#configuration" { "Configuration" } }
                    }
                }
                main {
                    @for (id, heading, content) in sections { section id=(id) { h2 { (heading) } (content) } }
                    section id="configuration" { h2 { "Configuration" } (configuration(subjects)) }
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

/// A table with a caption; the first column are headings of the rows.
pub(super) fn table(caption: &str, headings: &[&str], rows: &[Vec<Markup>]) -> Markup {
    html! {
        div.table role="region" aria-label=(caption) tabindex="0" {
            table {
                caption { (caption) }
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
        Err(reason) => html! { p.missing { (reason) } },
    }
}

fn summary(subjects: &[Subject]) -> Markup {
    html! {
        div.cards {
            @for subject in subjects {
                @let config = &subject.run.config;
                @let steps = &subject.metrics.steps;
                @let epochs = subject.tables.train.epochs;
                article.card {
                    @if subjects.len() > 1 { h3 { (subject.name) } }
                    dl.facts {
                        dt { "encoder" } dd { (config.model.arch.name()) ", width " (config.model.width) }
                        dt { "images" } dd { (config.data.source) }
                        dt { "trained" } dd {
                            @match steps.last() {
                                Some(last) => { (last.step) " steps, in epoch " (last.epoch + 1) " of " (epochs) },
                                None => "no step yet",
                            }
                            @if subject.metrics.cut_off { "; the last line of metrics.jsonl was cut off and is left out" }
                        }
                        @if let Some(last) = curves::loss(std::slice::from_ref(subject)).series[0].points.last() {
                            dt { "loss at the end" } dd { (format!("{:.3}", last.1)) }
                        }
                        @if let [first, .., last] = subject.metrics.knn.as_slice() {
                            dt { "k-NN during training" } dd { (format!("{:.1} % → {:.1} %", first.top1, last.top1)) }
                        }
                        @if let Ok(evaluation) = &subject.evaluation {
                            @for protocol in &evaluation.protocols {
                                @if let Some((columns, figure, _)) = protocol.results.iter().find(|r| r.encoder == "trained").and_then(|r| r.figures.cells()) {
                                    dt { (protocol.protocol) ", " (columns.0.trim_end_matches(" %")) }
                                    dd { (format!("{:.1} % ({:.1}–{:.1})", figure.value, figure.low, figure.high)) }
                                }
                            }
                        }
                        @if let Some(speed) = Throughput::of(subject) {
                            dt { "speed" } dd { (format!("{:.0} images/s", speed.median)) }
                        }
                    }
                }
            }
        }
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

const NO_STEPS: &str = "No training step is recorded yet; `cargo xtask pretrain --resume RUN` continues a run.";

fn loss(subjects: &[Subject]) -> Markup {
    let averaged = averaging(subjects);
    let mut figures: Vec<Markup> = Vec::new();
    figures.extend(curves(
        &curves::loss(subjects),
        "Loss by step",
        html! { "Loss: contrastive + α · DDM." (averaged) },
    ));
    if subjects.len() > 1 {
        let caption = html! { "Contrastive term (InfoNCE), summed over weak views." (averaged) };
        figures.extend(curves(&curves::contrastive(subjects), "Contrastive term by step", caption));
        let caption =
            html! { "DDM term, summed over pairs of weak and strong views, of the runs that have it." (averaged) };
        figures.extend(curves(&curves::ddm(subjects), "DDM term by step", caption));
    }
    figures.extend(curves(&curves::learning_rate(subjects), "Learning rate by step", html! { "Learning rate." }));
    html! { @if figures.is_empty() { p.missing { (NO_STEPS) } } @else { div.figures { @for figure in figures { (figure) } } } }
}

fn knn(subjects: &[Subject]) -> Markup {
    let drawn = curves::knn(subjects);
    let chance = if drawn.level.is_some() { " The dashed line is chance." } else { "" };
    let caption = html! { "Weighted k-NN accuracy of the frozen features on the run's subset of the images, from before the first step on." (chance) };
    html! {
        @for subject in subjects.iter().filter(|subject| subject.metrics.knn.is_empty()) {
            p.missing {
                @if subjects.len() > 1 { b { (subject.name) ": " } }
                "No k-NN evaluation is recorded: images without labels, no test images, or knn.every = 0. "
                code { "cargo xtask pretrain --set knn.every=1" } " measures after each epoch, "
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
                html! { (format!("{median:.0} ({:.0}–{:.0})", range.0, range.1)) },
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
            (table("Speed of training; in brackets the 5th and 95th percentile over steps", &["run", "images/s", "time in steps", "waiting for data"], &rows))
            div.figures { @for figure in [speed, waiting].into_iter().flatten() { (figure) } }
        }
    }
}

fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

fn maps(embedding: &Embedding) -> Markup {
    let Embedding { classes, labels, .. } = embedding;
    let many = classes.len() > DISTINCT;
    let draw = |points: &[[f64; 2]], how: &str, caption: Markup| {
        let alt = format!("{} test images in two dimensions by {how}, coloured by class", points.len());
        figure(&alt, &plot::map(points, labels, classes), caption)
    };
    let colours = if many { " Colours repeat after twelve classes." } else { "" };
    html! {
        div.figures {
            @match &embedding.pca {
                Ok(pca) => (draw(&pca.points, "principal components", html! {
                    "Principal components of the L2-normalised features of " (labels.len()) " test images: "
                    (format!("{:.0} % and {:.0} %", pca.explained[0], pca.explained[1])) " of the variance." (colours)
                })),
                Err(reason) => p.missing { (reason) },
            }
            @match &embedding.tsne {
                Ok(points) => (draw(points, "t-SNE", html! { "t-SNE of the same features by cosine; only who is near whom has a meaning." (colours) })),
                Err(reason) => p.missing { (reason) },
            }
        }
        @if !many && !classes.is_empty() {
            (legend(&classes.iter().enumerate().map(|(class, name)| (class, name.as_str())).collect::<Vec<_>>()))
        }
    }
}

fn neighbours(embedding: &Embedding) -> Markup {
    html! {
        p { "Random test images, and the training images whose features are most similar (cosine) among " (embedding.gallery) "; ✓ marks the same class, ✗ another." }
        div.queries { @for query in &embedding.queries { (nearest(query)) } }
    }
}

fn nearest(query: &Query) -> Markup {
    html! {
        figure.query {
            figcaption { b { (query.class) } }
            div.strip {
                div.cell.asked { (picture(&query.picture)) span { "query" } }
                @for neighbour in &query.neighbours {
                    div.cell {
                        (picture(&neighbour.picture))
                        span title=(neighbour.class) { @if neighbour.same { "✓ " } @else { "✗ " } (format!("{:.2}", neighbour.similarity)) }
                    }
                }
            }
        }
    }
}

fn viewed(images: &[ViewedImage]) -> Markup {
    html! {
        p { "Views of four training images, as the first epoch drew them from the run's seed." }
        @for image in images {
            figure.views {
                figcaption { (image.name) }
                div.strip {
                    div.cell.asked { (picture(&image.original)) span { "original" } }
                    @for view in &image.views {
                        div.cell { (picture(&view.picture)) span { (view.name) ", " (view.size) " px" } }
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

fn picture(picture: &Picture) -> Markup {
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
                (table(&format!("Configuration, table {name}"), &headings, &rows))
            }
        }
    }
}
