//! The section of configurations: every table of `config.toml`, runs side by side.

use super::html::table;
use super::reported_run::ReportedRun;
use clsa_run::Config;
use maud::{Markup, html};
use serde_json::Value;

/// A table of a configuration.
struct ConfigTable {
    name: String,
    /// Keys, dotted where they are nested, and values.
    rows: Vec<(String, String)>,
}

/// The tables of a configuration, by name.
fn tables(config: &Config) -> Vec<ConfigTable> {
    // By way of text, which has single precision in as few digits as the file.
    let text = serde_json::to_string(config).expect("a configuration has only string keys and plain values");
    let Ok(Value::Object(document)) = serde_json::from_str(&text) else { return Vec::new() };
    let shown = document.into_iter().map(|(name, value)| {
        let mut rows = Vec::new();
        flatten(String::new(), value, &mut rows);
        ConfigTable { name, rows }
    });
    shown.collect()
}

fn flatten(key: String, value: Value, rows: &mut Vec<(String, String)>) {
    let below = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
    match value {
        Value::Object(table) => table.into_iter().for_each(|(name, value)| flatten(below(&name), value, rows)),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, value) in items.into_iter().enumerate() {
                flatten(format!("{key}[{index}]"), value, rows);
            }
        }
        // As TOML has it: what is not there has no key, and an array has room between its items.
        Value::Null => {}
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(ToString::to_string).collect();
            rows.push((key, format!("[{}]", items.join(", "))));
        }
        Value::String(text) => rows.push((key, text)),
        value @ (Value::Bool(_) | Value::Number(_)) => rows.push((key, value.to_string())),
    }
}

/// Every table of the configurations, a column for each run; values that differ are marked.
pub(super) fn section(runs: &[ReportedRun]) -> Markup {
    let tables_of: Vec<Vec<ConfigTable>> = runs.iter().map(|run| tables(&run.config)).collect();
    let names = distinct(tables_of.iter().flatten().map(|table| table.name.as_str()));
    let headings: Vec<&str> = if runs.len() == 1 {
        vec!["key", "value"]
    } else {
        std::iter::once("key").chain(runs.iter().map(|run| run.name.as_str())).collect()
    };
    html! {
        @if runs.len() > 1 { p { "Keys in which the runs differ are " mark { "marked" } "." } }
        div.tables[runs.len() == 1] {
            @for name in names {
                @let rows = compared_rows(&tables_of, name);
                details open[rows.len() <= 12] {
                    summary { "[" (name) "]" }
                    (table(None, &headings, &rows))
                }
            }
        }
    }
}

/// The rows of one table: the key, then its value in each run.
fn compared_rows(tables_of: &[Vec<ConfigTable>], name: &str) -> Vec<Vec<Markup>> {
    let of_run = |tables: &'_ [ConfigTable]| tables.iter().position(|table| table.name == name);
    let rows: Vec<&[(String, String)]> =
        tables_of.iter().map(|tables| of_run(tables).map_or(&[][..], |at| &tables[at].rows)).collect();
    let keys = distinct(rows.iter().copied().flatten().map(|(key, _)| key.as_str()));
    let row = |key: &str| {
        let values: Vec<Option<&str>> =
            (rows.iter()).map(|rows| rows.iter().find(|row| row.0 == key).map(|row| row.1.as_str())).collect();
        let differs = values.iter().any(|value| *value != values[0]);
        let key = html! { @if differs { mark { (key) } } @else { (key) } };
        std::iter::once(key).chain(values.iter().map(|value| html! { (value.unwrap_or("–")) })).collect()
    };
    keys.into_iter().map(row).collect()
}

/// Each text once, in the order of the first.
fn distinct<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for text in texts {
        if !seen.contains(&text) {
            seen.push(text);
        }
    }
    seen
}
