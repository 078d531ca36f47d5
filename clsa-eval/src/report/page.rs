//! The page: its sections in order.

use super::Part;
use super::commands::Commands;
use super::html::command_text;
use super::palette::dark_rules;
use super::reported_run::ReportedRun;
use super::{
    classes, configuration, corruptions, data_sets, label_free, maps, neighbors, results, summary, throughput,
    training, views,
};
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");
/// Nothing is loaded and nothing is run.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

/// The whole page.
pub(super) fn page(runs: &[ReportedRun], commands: &Commands) -> String {
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let title = names.join(" · ");
    let compared = runs.len() > 1;
    let sets = data_sets::by_data(runs);
    let mut sections: Vec<(&str, &str, Markup)> = vec![
        ("results", "Results", results::section(runs, &sets, commands)),
        ("summary", if compared { "The runs" } else { "The run" }, summary::section(runs, commands)),
        ("loss", "Loss and learning rate", training::loss_section(runs)),
        ("knn", "k-NN during training", training::knn_section(runs, commands)),
        ("label-free", "Without labels", label_free::section(runs, commands)),
        ("map", "Map of the features", each(runs, |run| part(&run.embedding, |made| maps::section(made, run)))),
        ("neighbors", "Nearest neighbors", each(runs, |run| part(&run.embedding, neighbors::section))),
        ("classes", "Classes", classes::section(&sets, runs.len(), commands)),
        ("corruptions", "Corruptions", corruptions::section(&sets, runs.len())),
        ("views", "Views", each(runs, |run| part(&run.views, |views| views::section(views)))),
        ("throughput", "Throughput", throughput::section(runs)),
        ("configuration", "Configuration", configuration::section(runs)),
    ];
    // Only few runs are evaluated on corrupted images.
    sections.retain(|(id, _, content)| *id != "corruptions" || !content.0.is_empty());
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (title) " – CLSA report" }
                // Without an icon of its own, a browser asks for one.
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) "@media (prefers-color-scheme:dark){" (PreEscaped(dark_rules())) "}" }
            }
            body {
                header {
                    p.kind { @if compared { "Comparison of " (runs.len()) " CLSA runs" } @else { "Report of a CLSA run" } }
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

/// A part of each run, under the run's name where there are several.
fn each(runs: &[ReportedRun], content: impl Fn(&ReportedRun) -> Markup) -> Markup {
    html! {
        @for run in runs {
            @if runs.len() > 1 { h3 { (run.name) } }
            (content(run))
        }
    }
}

/// A part that was made, or why it is missing.
fn part<T>(part: &Part<T>, content: impl Fn(&T) -> Markup) -> Markup {
    match part {
        Ok(made) => content(made),
        Err(reason) => html! { p.missing { (command_text(reason)) } },
    }
}
