//! Accuracy by corruption and severity.

use super::data_sets::EvaluationsOfDataSet;
use super::html::{percent, table};
use crate::evaluation::{CorruptionRow, CorruptionRows, ProtocolResult};
use clsa_augment::Corruption;
use maud::{Markup, html};

/// Tables by corruption of every evaluation that has such figures, of so many `runs`; nothing where there are none.
pub(super) fn section(sets: &[EvaluationsOfDataSet], runs: usize) -> Markup {
    let has_some = |set: &&EvaluationsOfDataSet| {
        set.of
            .iter()
            .any(|of| of.stored.evaluation.protocols.iter().any(|protocol| CorruptionRows::of(protocol).is_some()))
    };
    html! {
        @for set in sets.iter().filter(has_some) {
            @if sets.len() > 1 { h3 { "On " (set.data) } }
            @for of in &set.of {
                @for protocol in &of.stored.evaluation.protocols {
                    (table_of(protocol, set.compared(runs).then(|| set.name_of(of)).as_deref()))
                }
            }
        }
    }
}

/// The trained encoder's accuracy at each severity, and every encoder's mean over them. `evaluation` names it where there are
/// several.
fn table_of(protocol: &ProtocolResult, evaluation: Option<&str>) -> Markup {
    let Some(CorruptionRows { encoders, rows }) = CorruptionRows::of(protocol) else { return html! {} };
    let severities = Corruption::SEVERITIES.map(|severity| severity.to_string());
    let headings = std::iter::once("corruption").chain(severities.iter().map(String::as_str));
    let headings: Vec<&str> = headings.chain(encoders.iter().map(|encoder| encoder.name())).collect();
    let figure = |figure: Option<f64>| html! { @if let Some(figure) = figure { (percent(figure)) } };
    let cells = |CorruptionRow { name, by_severity, means }: &CorruptionRow| -> Vec<Markup> {
        let at_severities = (0..severities.len()).map(|at| figure(by_severity.get(at).copied()));
        let means = means.iter().map(|mean| figure(*mean));
        std::iter::once(html! { (name) }).chain(at_severities).chain(means).collect()
    };
    let rows: Vec<Vec<Markup>> = rows.iter().map(cells).collect();
    let name = &protocol.protocol;
    let of = evaluation.map(|name| format!(" of {name}")).unwrap_or_default();
    let caption = format!(
        "Top-1 accuracy by {name}{of} in percent: of the {} encoder at severities 1 to 5, then the mean over them of each \
         encoder; without a corruption that of the same images as they are.",
        encoders[0]
    );
    table(Some(&caption), &headings, &rows)
}
