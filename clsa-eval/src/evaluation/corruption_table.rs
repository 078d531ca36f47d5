//! Accuracy by corruption and severity as tables of plain text.

use super::{EncoderKind, Evaluation, Figures, ProtocolResult};
use crate::metrics::{CorruptedAccuracy, CorruptionAccuracy};
use clsa_augment::Corruption;

impl Evaluation {
    /// Where images were corrupted: for each protocol a table with a row for each corruption. It has the trained encoder's
    /// accuracy at each severity, and the mean over the severities of every encoder. Otherwise empty.
    pub fn corruption_table(&self) -> String {
        self.protocols.iter().filter_map(table).collect()
    }
}

/// Accuracy on corrupted images as rows.
pub(crate) struct CorruptionRows {
    /// The encoders that have such figures, in their order; at least one.
    pub encoders: Vec<EncoderKind>,
    /// Without a corruption, with each, and the mean over all.
    pub rows: Vec<CorruptionRow>,
}

/// Accuracy on images with a corruption, percent.
pub(crate) struct CorruptionRow {
    /// `none`, the corruption, or `mean`.
    pub name: &'static str,
    /// The first encoder's, where it has severities.
    pub by_severity: Vec<f64>,
    /// Each encoder's over the severities.
    pub means: Vec<Option<f64>>,
}

impl CorruptionRows {
    /// None where a protocol has no such figures.
    pub fn of(protocol: &ProtocolResult) -> Option<Self> {
        let corrupted = protocol.results.iter().filter_map(|result| match &result.figures {
            Figures::CorruptedAccuracy(figures) => Some((result.encoder, figures)),
            Figures::Accuracy(_) | Figures::AveragePrecision(_) | Figures::SameClassShare(_) | Figures::Custom(_) => {
                None
            }
        });
        let (encoders, figures): (Vec<_>, Vec<&CorruptedAccuracy>) = corrupted.unzip();
        let first = figures.first()?;
        let row = |name, by_severity, of: &dyn Fn(&CorruptedAccuracy) -> Option<f64>| CorruptionRow {
            name,
            by_severity,
            means: figures.iter().map(|figures| of(figures)).collect(),
        };
        let mut rows = vec![row("none", Vec::new(), &|figures| Some(figures.clean.value))];
        for CorruptionAccuracy { corruption, by_severity } in &first.by_corruption {
            let mean = |figures: &CorruptedAccuracy| {
                figures.by_corruption.iter().find(|of| of.corruption == *corruption).map(CorruptionAccuracy::mean)
            };
            rows.push(row(corruption.name(), by_severity.to_vec(), &mean));
        }
        rows.push(row("mean", first.by_severity().to_vec(), &|figures| Some(figures.corrupted.value)));
        Some(Self { encoders, rows })
    }
}

fn table(protocol: &ProtocolResult) -> Option<String> {
    let CorruptionRows { encoders, rows } = CorruptionRows::of(protocol)?;
    let (name, first) = (&protocol.protocol, encoders.first()?);
    let mut table = format!("\n{name}, top-1 % by severity of {first}, and mean\n{:<17}", "corruption");
    Corruption::SEVERITIES.iter().for_each(|severity| table += &format!("{severity:>6}"));
    encoders.iter().for_each(|encoder| table += &format!("{encoder:>12}"));
    for CorruptionRow { name, by_severity, means } in rows {
        table += &format!("\n{name:<17}");
        let figures = (0..Corruption::SEVERITIES.len()).map(|at| by_severity.get(at));
        figures.for_each(|figure| table += &figure.map_or(" ".repeat(6), |figure| format!("{figure:>6.1}")));
        means.iter().for_each(|mean| table += &mean.map_or(" ".repeat(12), |mean| format!("{mean:>12.1}")));
    }
    Some(table + "\n")
}
