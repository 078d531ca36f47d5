//! Where figures come from: weights, images, settings, and whether they are of the newest checkpoint.

use super::commands::Commands;
use super::data_sets::EvaluationOfRun;
use super::html::grouped;
use super::stored_evaluation::StoredEvaluation;
use crate::evaluation::{EncoderResult, Evaluation, ProtocolResult};
use crate::protocols::named;
use clsa_data::are_same;
use clsa_model::FeatureStage;
use clsa_run::shell_word;
use maud::{Markup, html};
use serde_json::Value;

/// Says where the encoder has trained on since it was evaluated.
pub(super) fn outdated(of: &EvaluationOfRun, commands: &Commands) -> Markup {
    let EvaluationOfRun { run, stored, .. } = of;
    html! {
        @if let (Some(step), Some(newest)) = (stored.evaluation.step(), run.checkpoint) {
            @if step != newest {
                p.missing {
                    b { (run.name) } " was evaluated after step " (grouped(step as usize)) ", and its newest checkpoint is of step "
                    (grouped(newest as usize)) "; " code { (commands.eval_run(&run.folder, &options(of))) } " evaluates that."
                }
            }
        }
    }
}

/// The options that repeat an evaluation on the newest checkpoint.
fn options(EvaluationOfRun { run, stored, .. }: &EvaluationOfRun) -> String {
    let Evaluation { data, stage, protocols, .. } = &stored.evaluation;
    let mut options = Vec::new();
    if !are_same(data, &run.config.data.source) {
        options.push(format!("--data {}", shell_word(data)));
    }
    if *stage != FeatureStage::Backbone {
        options.push(format!("--stage {stage}"));
    }
    let mut names: Vec<&str> = Vec::new();
    // The command knows no protocols from outside this crate.
    for name in protocols.iter().map(ProtocolResult::name).filter(|name| named(name).is_some()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if !names.is_empty() {
        options.push(format!("--protocol {}", names.join(",")));
    }
    options.join(" ")
}

/// How an evaluation was made.
pub(super) fn provenance(StoredEvaluation { file, evaluation, .. }: &StoredEvaluation) -> Markup {
    let transform = &evaluation.transform;
    html! {
        dl.facts {
            dt { "file" } dd { (file) }
            dt { "weights" } dd { (evaluation.weights) }
            dt { "SHA-256 of the encoder" } dd { code { (evaluation.encoder_sha256) } }
            dt { "features" } dd { (evaluation.stage) }
            dt { "images" } dd { (evaluation.data) ", short side " (transform.resize) ", center crop " (transform.crop) " pixels" }
            @for ProtocolResult { protocol, settings, results, wall_time_s } in &evaluation.protocols {
                dt { (protocol) }
                dd {
                    (format!("{wall_time_s:.1} s; ")) (inline(settings))
                    @for EncoderResult { encoder, details, .. } in results {
                        @let details = inline(details);
                        @if !details.is_empty() { br; (encoder) ": " (details) }
                    }
                }
            }
        }
    }
}

/// `key value, key value` of an object of plain values. What `retrieval` found is in its picture.
fn inline(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let shown = object.iter().filter(|(key, value)| !value.is_null() && key.as_str() != "retrieved");
            shown
                .map(|(key, value)| format!("{} {}", key.replace('_', " "), inline(value)))
                .collect::<Vec<_>>()
                .join(", ")
        }
        Value::Array(items) => items.iter().map(inline).collect::<Vec<_>>().join(" / "),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(value) if number.is_f64() && value != 0.0 && value.abs() < 1e-3 => format!("{value:.3e}"),
            Some(value) if number.is_f64() => {
                format!("{value:.4}").trim_end_matches('0').trim_end_matches('.').to_owned()
            }
            Some(_) | None => number.to_string(),
        },
        Value::Null => String::new(),
        Value::Bool(flag) => flag.to_string(),
    }
}
