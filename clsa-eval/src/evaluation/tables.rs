//! Evaluations as tables of plain text.

use super::{Chance, Evaluation, Measure};
use clsa_model::FeatureStage;

impl Evaluation {
    /// The figures, one table for each measure; before them, where features are taken, if that is not the backbone's last stage.
    pub fn table(&self) -> String {
        let mut tables: Vec<(Measure, String)> = Vec::new();
        let longest = self.protocols.iter().map(|protocol| protocol.protocol.chars().count()).max();
        let width = longest.unwrap_or(0).max(16) + 1;
        for protocol in &self.protocols {
            let mut name = protocol.protocol.as_str();
            for result in &protocol.results {
                let Some(main) = result.figures.main() else { continue };
                let measure = result.figures.measure();
                let at = tables.iter().position(|(present, _)| *present == measure).unwrap_or_else(|| {
                    let heading = measure.heading();
                    let heading = line(["protocol", "encoder"], width, [&heading, "95 %", measure.second_heading()]);
                    tables.push((measure, heading));
                    tables.len() - 1
                });
                let interval = format!("{:.1} to {:.1}", main.low, main.high);
                let second = result.figures.second().map_or(String::new(), |figure| format!("{:.1}", figure.value));
                tables[at].1 +=
                    &line([name, result.encoder.name()], width, [&format!("{:.1}", main.value), &interval, &second]);
                name = "";
            }
        }
        for (measure, table) in &mut tables {
            let of_second = |chance: Chance| match measure {
                Measure::Accuracy => Some(chance.top5),
                Measure::CorruptedAccuracy => Some(chance.top1),
                Measure::AveragePrecision | Measure::SameClassShare | Measure::Custom(_) => None,
            };
            if let Some((chance, second)) = self.chance.and_then(|chance| Some((chance, of_second(chance)?))) {
                let figures = [chance.top1, second].map(|figure| format!("{figure:.1}"));
                *table += &line(["chance", ""], width, [&figures[0], "", &figures[1]]);
            }
        }
        let stage = match &self.stage {
            FeatureStage::Backbone => String::new(),
            stage => format!("features: {stage}\n"),
        };
        stage + &tables.into_iter().map(|(_, table)| table).collect::<Vec<_>>().join("\n")
    }

    /// The name of a class: its number where it has no other.
    pub(crate) fn class_name(&self, class: usize) -> String {
        self.classes.get(class).cloned().unwrap_or_else(|| class.to_string())
    }

    /// The main figure of each class, one table for each protocol, one column for each encoder.
    pub fn per_class_table(&self) -> String {
        let mut table = String::new();
        for protocol in &self.protocols {
            let columns: Vec<_> = protocol.results.iter().map(|r| (r.encoder, r.figures.per_class())).collect();
            let mut classes: Vec<u32> =
                columns.iter().flat_map(|(_, figures)| figures.iter().map(|f| f.class)).collect();
            classes.sort_unstable();
            classes.dedup();
            if classes.is_empty() {
                continue;
            }
            table += &format!("\n{:<28}", format!("{}, % by class", protocol.protocol));
            columns.iter().for_each(|(encoder, _)| table += &format!("{encoder:>12}"));
            for class in classes {
                let name = self.class_name(class as usize);
                table += &format!("\n{name:<28}");
                for (_, figures) in &columns {
                    let figure = figures.iter().find(|figure| figure.class == class);
                    table += &figure.map_or(format!("{:>12}", ""), |figure| format!("{:>12.1}", figure.value));
                }
            }
            table += "\n";
        }
        table
    }
}

/// A line whose first column has `width` characters.
fn line([protocol, encoder]: [&str; 2], width: usize, [first, interval, second]: [&str; 3]) -> String {
    let line = format!("{protocol:<width$}{encoder:<12}{first:>13}  {interval:<16}{second:>8}");
    line.trim_end().to_owned() + "\n"
}
