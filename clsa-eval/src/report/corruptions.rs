//! Accuracy by corruption and severity.

use super::data_sets::EvaluationsOfDataSet;
use super::html::{percent, table};
use crate::evaluation::{EncoderKind, Figures, ProtocolResult};
use crate::metrics::{CorruptedAccuracy, CorruptionAccuracy};
use clsa_augment::Corruption;
use maud::{Markup, html};

/// Tables by corruption of every evaluation that has such figures, of so many `runs`; nothing where there are none.
pub(super) fn section(sets: &[EvaluationsOfDataSet], runs: usize) -> Markup {
    let has_some = |set: &&EvaluationsOfDataSet| {
        set.of.iter().any(|of| of.stored.evaluation.protocols.iter().any(|protocol| !found(protocol).is_empty()))
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

/// The figures of a protocol on corrupted images.
fn found(protocol: &ProtocolResult) -> Vec<(EncoderKind, &CorruptedAccuracy)> {
    let corrupted = protocol.results.iter().filter_map(|result| match &result.figures {
        Figures::CorruptedAccuracy(figures) => Some((result.encoder, figures)),
        Figures::Accuracy(_) | Figures::AveragePrecision(_) | Figures::SameClassShare(_) | Figures::Custom(_) => None,
    });
    corrupted.collect()
}

/// The trained encoder's accuracy at each severity, and every encoder's mean over them. `evaluation` names it where there are
/// several.
fn table_of(protocol: &ProtocolResult, evaluation: Option<&str>) -> Markup {
    let found = found(protocol);
    let Some((first, by_severity)) = found.first() else { return html! {} };
    let severities = Corruption::SEVERITIES.map(|severity| severity.to_string());
    let headings = std::iter::once("corruption").chain(severities.iter().map(String::as_str));
    let headings: Vec<&str> = headings.chain(found.iter().map(|(encoder, _)| encoder.name())).collect();
    let figure = |figure: Option<f64>| html! { @if let Some(figure) = figure { (percent(figure)) } };
    let row = |name: Markup, by_severity: &[f64], of: &dyn Fn(&CorruptedAccuracy) -> Option<f64>| -> Vec<Markup> {
        let at_severities = (0..severities.len()).map(|at| figure(by_severity.get(at).copied()));
        std::iter::once(name).chain(at_severities).chain(found.iter().map(|(_, figures)| figure(of(figures)))).collect()
    };
    let mut rows = vec![row(html! { "none" }, &[], &|figures| Some(figures.clean.value))];
    for CorruptionAccuracy { corruption, by_severity } in &by_severity.by_corruption {
        let mean = |figures: &CorruptedAccuracy| {
            figures.by_corruption.iter().find(|of| of.corruption == *corruption).map(CorruptionAccuracy::mean)
        };
        rows.push(row(html! { (corruption) }, by_severity, &mean));
    }
    rows.push(row(html! { "mean" }, &by_severity.by_severity(), &|figures| Some(figures.corrupted.value)));
    let name = &protocol.protocol;
    let of = evaluation.map(|name| format!(" of {name}")).unwrap_or_default();
    let caption = format!(
        "Top-1 accuracy by {name}{of} in percent: of the {first} encoder at severities 1 to 5, then the mean over them of each \
         encoder; without a corruption that of the same images as they are."
    );
    table(Some(&caption), &headings, &rows)
}
