//! The section of neighbors: random images, and the training images nearest to them.

use super::embedding::Embedding;
use super::html::{grouped, pictured};
use super::queries::Query;
use clsa_data::Split;
use maud::{Markup, html};

/// A row of pictures for each query.
pub(super) fn section(embedding: &Embedding) -> Markup {
    let marked = embedding.queries.iter().flat_map(|query| &query.neighbors).any(|near| near.same.is_some());
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
                @for neighbor in &query.neighbors {
                    div.cell {
                        (pictured(&neighbor.picture))
                        span title=(neighbor.name) {
                            @match neighbor.same { Some(true) => "✓ ", Some(false) => "✗ ", None => "" }
                            (format!("{:.2}", neighbor.similarity))
                        }
                    }
                }
            }
        }
    }
}
