//! Accuracy by corruption and severity as tables of plain text.

use super::{EncoderKind, EncoderResult, Evaluation, Figures, ProtocolResult};
use crate::metrics::{CorruptedAccuracy, CorruptionAccuracy};
use clsa_augment::Corruption;

impl Evaluation {
    /// Where images were corrupted: for each protocol a table with a row for each corruption. It has the trained encoder's
    /// accuracy at each severity, and the mean over the severities of every encoder. Otherwise empty.
    pub fn corruption_table(&self) -> String {
        self.protocols.iter().filter_map(table).collect()
    }
}

fn table(protocol: &ProtocolResult) -> Option<String> {
    let found: Vec<(EncoderKind, &CorruptedAccuracy)> = protocol.results.iter().filter_map(corrupted).collect();
    let (first, by_severity) = found.first()?;
    let mut table = format!("\n{}, top-1 % by severity of {first}, and mean\n{:<17}", protocol.protocol, "corruption");
    Corruption::SEVERITIES.iter().for_each(|severity| table += &format!("{severity:>6}"));
    found.iter().for_each(|(encoder, _)| table += &format!("{encoder:>12}"));
    let mut row = |name: &str, by_severity: &[f64], of: &dyn Fn(&CorruptedAccuracy) -> Option<f64>| {
        table += &format!("\n{name:<17}");
        let figures = Corruption::SEVERITIES.iter().enumerate().map(|(at, _)| by_severity.get(at));
        figures.for_each(|figure| table += &figure.map_or(" ".repeat(6), |figure| format!("{figure:>6.1}")));
        let means = found.iter().map(|(_, figures)| of(figures));
        means.for_each(|mean| table += &mean.map_or(" ".repeat(12), |mean| format!("{mean:>12.1}")));
    };
    row("none", &[], &|figures| Some(figures.clean.value));
    for CorruptionAccuracy { corruption, by_severity } in &by_severity.by_corruption {
        let of = |figures: &CorruptedAccuracy| {
            figures.by_corruption.iter().find(|of| of.corruption == *corruption).map(CorruptionAccuracy::mean)
        };
        row(corruption.name(), by_severity, &of);
    }
    row("mean", &by_severity.by_severity(), &|figures| Some(figures.corrupted.value));
    Some(table + "\n")
}

fn corrupted(result: &EncoderResult) -> Option<(EncoderKind, &CorruptedAccuracy)> {
    match &result.figures {
        Figures::CorruptedAccuracy(figures) => Some((result.encoder, figures)),
        Figures::Accuracy(_) | Figures::AveragePrecision(_) | Figures::SameClassShare(_) | Figures::Custom(_) => None,
    }
}
