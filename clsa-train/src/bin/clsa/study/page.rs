//! The page of a study.

use super::figures::{Figures, Mean};
use clsa_run::{Config, Study, Variant};

/// The page: the question, the table, and the command.
pub fn of(name: &str, study: &Study, figures: &Figures) -> String {
    let set: String = study.set.iter().map(|change| format!("\n- `{change}`")).collect();
    format!(
        "# {}\n\n\
         Written by `cargo xtask study {name}`. All variants are of the preset `{}` with{set}\n\n\
         Figures are k-NN accuracies{} after training, percent, means over seeds with their 95 % intervals (Student's distribution). \
         Differences are taken seed by seed: both trainings of a pair begin with the same weights and see the images in the same order. \
         A difference is in bold where its interval is on one side of zero; of many, one in twenty would be by chance.\n\n{}",
        study.question,
        study.preset,
        neighbors(study),
        table(study, figures)
    )
}

/// The settings of k-NN, if all variants have the same.
pub fn neighbors(study: &Study) -> String {
    let configs = study.variants.iter().filter_map(|variant| study.last_config(variant).ok());
    let mut settings = configs.map(|Config { knn, .. }| {
        format!(" (k = {}, T = {}, {} features)", knn.neighbors_among(usize::MAX), knn.temperature, knn.stage)
    });
    let of_all = settings.next().filter(|first| settings.all(|other| other == *first));
    of_all.unwrap_or_else(|| " (with settings that the variants change)".to_owned())
}

/// A row for each variant.
pub fn table(study: &Study, figures: &Figures) -> String {
    let mut table =
        "| variant | what it changes | by seed | mean | difference to |\n|---|---|---|--:|---|\n".to_owned();
    for variant in &study.variants {
        let of_seeds: Vec<String> = figures.of(&variant.name).iter().map(|top1| format!("{top1:.1}")).collect();
        let mean = figures.mean(&variant.name);
        let differences = variant.against.iter().filter_map(|against| {
            Some(format!("{against}: {}", difference(&figures.difference(&variant.name, against)?)))
        });
        table += &format!(
            "| {} | {} | {} | {} | {} |\n",
            variant.name,
            changes(variant),
            of_seeds.join(", "),
            mean.map_or(String::new(), |mean| format!("{:.1}{}", mean.mean, interval(&mean))),
            differences.collect::<Vec<_>>().join(", "),
        );
    }
    table
}

fn difference(mean: &Mean) -> String {
    // Without the sign of a zero.
    let rounded = (mean.mean * 10.0).round() / 10.0 + 0.0;
    let text = format!("{rounded:+.1}{}", interval(mean));
    if mean.is_told_from_zero() { format!("**{text}**") } else { text }
}

fn interval(mean: &Mean) -> String {
    mean.interval.map_or(String::new(), |interval| format!(" ± {interval:.1}"))
}

fn changes(variant: &Variant) -> String {
    let quoted = |set: &[String]| set.iter().map(|change| format!("`{change}`")).collect::<Vec<_>>().join(", ");
    let mut text = quoted(&variant.set);
    if let Some(then) = &variant.then {
        text += &format!("; after epoch {}: {}", then.after_epoch, quoted(&then.set));
    }
    // A bar would end the cell.
    text.replace('|', "\\|")
}
