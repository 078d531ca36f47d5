//! The evaluations of all runs, by the images that they are of.

use super::reported_run::ReportedRun;
use super::stored_evaluation::StoredEvaluation;
use crate::evaluation::Evaluation;
use crate::protocols::PROTOCOLS;
use clsa_model::FeatureStage;
use std::cmp::Ordering;

/// The evaluations of one data set, of all runs.
pub(super) struct EvaluationsOfDataSet<'a> {
    /// The data set, as it was first named.
    pub data: &'a str,
    sha256: &'a str,
    pub of: Vec<EvaluationOfRun<'a>>,
}

/// An evaluation of a run.
pub(super) struct EvaluationOfRun<'a> {
    /// Number of the run, which is also that of its color.
    pub number: usize,
    pub run: &'a ReportedRun,
    pub stored: &'a StoredEvaluation,
}

impl<'a> EvaluationsOfDataSet<'a> {
    /// The evaluation that stands for what all of them have in common.
    pub(super) fn first(&self) -> &'a Evaluation {
        &self.of[0].stored.evaluation
    }

    /// Whether there is more than one evaluation to tell apart; `runs` is how many runs the page shows.
    pub(super) fn compared(&self, runs: usize) -> bool {
        self.of.len() > 1 || runs > 1
    }

    /// The run's name, with the stage where features are not the backbone's, and with the file's name where the run has several
    /// evaluations of these images.
    pub(super) fn name_of(&self, evaluation: &EvaluationOfRun) -> String {
        let EvaluationOfRun { number, run, stored } = evaluation;
        let mut name = run.name.clone();
        if stored.evaluation.stage != FeatureStage::Backbone {
            name += &format!(", {}", stored.evaluation.stage);
        }
        if self.of.iter().filter(|other| other.number == *number).count() > 1 {
            name += &format!(" ({})", stored.file);
        }
        name
    }

    /// Names of protocols with their variants, in the order of [`PROTOCOLS`], and variants with few labels first.
    pub(super) fn protocols(&self) -> Vec<&'a str> {
        let mut names: Vec<&str> = Vec::new();
        for protocol in self.of.iter().flat_map(|of| &of.stored.evaluation.protocols) {
            if !names.contains(&&*protocol.protocol) {
                names.push(&protocol.protocol);
            }
        }
        let rank = |name: &str| {
            let (kind, labels) = name.split_once(' ').unwrap_or((name, ""));
            let share = labels.trim_end_matches('%').parse::<f64>().unwrap_or(0.0);
            (PROTOCOLS.iter().position(|known| known.name() == kind).unwrap_or(PROTOCOLS.len()), share)
        };
        names.sort_by(|a, b| rank(a).partial_cmp(&rank(b)).unwrap_or(Ordering::Equal));
        names
    }
}

/// All evaluations by data set: the first run's own data first.
pub(super) fn by_data(runs: &[ReportedRun]) -> Vec<EvaluationsOfDataSet<'_>> {
    let mut sets: Vec<EvaluationsOfDataSet> = Vec::new();
    for (number, run) in runs.iter().enumerate() {
        for stored in run.evaluations.iter().flatten() {
            let Evaluation { data, data_sha256: sha256, .. } = &stored.evaluation;
            let of = EvaluationOfRun { number, run, stored };
            match sets.iter_mut().find(|set| set.sha256 == sha256) {
                Some(set) => set.of.push(of),
                None => sets.push(EvaluationsOfDataSet { data, sha256, of: vec![of] }),
            }
        }
    }
    sets
}
