//! Pieces of HTML that the page's sections are made of.

use super::palette::{hex, series};
use super::picture::Picture;
use maud::{Markup, PreEscaped, html};

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

/// A legend of colored names.
pub(super) fn legend(items: &[(usize, &str)]) -> Markup {
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

/// A picture. Small ones are not smoothed where the page enlarges them.
pub(super) fn pictured(picture: &Picture) -> Markup {
    let small = picture.width.max(picture.height) <= 64;
    html! { img src=(picture.uri) width=(picture.width) height=(picture.height) alt=(picture.alt) class=[small.then_some("small")]; }
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

/// A figure in percent, without the sign.
pub(super) fn percent(value: f64) -> String {
    format!("{value:.1}")
}
