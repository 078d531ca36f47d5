//! A protocol from outside the crate, with a measure of its own: run, written, read, and shown.

mod small;

use clsa_augment::CenterCrop;
use clsa_data::{Limits, Source, Splits};
use clsa_eval::evaluation::{ClassFigure, CustomFigures, EncoderKind, EncoderResult, Evaluation, Figures, Measure};
use clsa_eval::features::Labeled;
use clsa_eval::metrics::Estimate;
use clsa_eval::protocols::{
    EvalData, Knn, LabelKind, Needs, Outcome, Protocol, SettingValue, Settings, Workbench, WorkbenchConfig, check,
};
use clsa_eval::{EvalError, Silent};
use serde_json::json;
use small::encoder;
use std::path::Path;

const MEASURE: &str = "Balanced accuracy";

/// Names the class whose mean feature is nearest; the figure is the mean of the classes' accuracies.
struct NearestMean;

impl Protocol for NearestMean {
    fn name(&self) -> &str {
        "nearest-mean"
    }

    fn about(&self) -> &str {
        "the class whose mean feature is nearest"
    }

    fn needs(&self) -> Needs {
        Needs { features: true, labels: LabelKind::OneClass, test_images: true }
    }

    fn check_settings(&self, settings: &Settings) -> Result<(), EvalError> {
        match settings.number("power")? {
            Some(power) if power > 9.0 => Err(EvalError::setting("power", power, "use at most 9")),
            Some(_) | None => Ok(()),
        }
    }

    fn run(&self, bench: &Workbench) -> Result<Outcome, EvalError> {
        let power = bench.settings().number("power")?.unwrap_or(2.0);
        let progress = bench.observer().begin(self.name(), "encoders");
        let mut outcome = Outcome { settings: json!({ "power": power }), ..Outcome::default() };
        for set in bench.labeled_features()? {
            let per_class = accuracies(set.train, set.test, bench.data().classes(), power)?;
            let shares: Vec<f64> = per_class.iter().map(|figure| figure.value / 100.0).collect();
            let figure = Estimate::mean(&shares, bench.settings().seed());
            let figures = Figures::Custom(CustomFigures { measure: MEASURE.to_owned(), figure, per_class });
            outcome.results.push(EncoderResult { encoder: set.kind, details: json!({}), figures });
            progress(outcome.results.len() as u64, 3);
        }
        Ok(outcome)
    }
}

/// The accuracy of each class of the test images, percent.
fn accuracies(train: Labeled, test: Labeled, classes: usize, power: f64) -> Result<Vec<ClassFigure>, EvalError> {
    let dim = train.rows.dim();
    let mut means = vec![vec![0.0; dim]; classes];
    for (row, &class) in train.rows.rows(0..train.labels.len())?.chunks_exact(dim).zip(train.labels) {
        let of_class = train.labels.iter().filter(|other| **other == class).count();
        means[class as usize].iter_mut().zip(row).for_each(|(mean, x)| *mean += f64::from(*x) / of_class as f64);
    }
    let distance = |mean: &[f64], row: &[f32]| {
        mean.iter().zip(row).map(|(mean, x)| (mean - f64::from(*x)).abs().powf(power)).sum::<f64>()
    };
    let mut hits = vec![(0, 0); classes];
    for (row, &class) in test.rows.rows(0..test.labels.len())?.chunks_exact(dim).zip(test.labels) {
        let named = (0..classes).min_by(|a, b| distance(&means[*a], row).total_cmp(&distance(&means[*b], row)));
        let (right, all) = &mut hits[class as usize];
        *right += usize::from(named == Some(class as usize));
        *all += 1;
    }
    let figure = |(class, (right, all))| ClassFigure { class: class as u32, value: 100.0 * right as f64 / all as f64 };
    Ok(hits.into_iter().enumerate().map(figure).collect())
}

/// Runs `knn` and the protocol from outside.
fn evaluate(cache: &Path, settings: Settings) -> Evaluation {
    let source: Source = "procedural:classes=3,train=60,test=30,side=16".parse().unwrap();
    let Splits { train, test } = source.open_splits(Limits::default()).unwrap();
    let (data, transform) = (EvalData::new(train, test.ok()), CenterCrop::new(16, 16));
    NearestMean.check_settings(&settings).unwrap();
    check(&[&Knn, &NearestMean], &data, &settings).unwrap();
    let (trained, untrained) = (encoder(7), encoder(0));
    let cache = cache.to_owned();
    let config = WorkbenchConfig { trained: &trained, untrained: Some(&untrained), data, transform, settings, cache };
    let bench = Workbench::new(config, &Silent).unwrap();
    let mut evaluation = bench.evaluation("checkpoints/step-00000001.safetensors", &source.to_string());
    for protocol in [&Knn as &dyn Protocol, &NearestMean] {
        evaluation.protocols.extend(bench.run(protocol).unwrap().results);
    }
    evaluation
}

#[test]
fn its_figures_stand_in_the_table_under_their_own_heading_and_survive_being_written() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::new(3).with("power", SettingValue::Number(1.0));
    let evaluation = evaluate(folder.path(), settings);
    let own = &evaluation.protocols[1];
    assert_eq!((own.protocol.as_str(), &own.settings), ("nearest-mean", &json!({ "power": 1.0 })));
    let kinds: Vec<EncoderKind> = own.results.iter().map(|result| result.encoder).collect();
    assert_eq!(kinds, [EncoderKind::Trained, EncoderKind::Untrained, EncoderKind::RawPixels]);
    let values: Vec<f64> = own.results.iter().map(|result| result.figures.main().unwrap().value).collect();
    assert!(
        values.iter().any(|value| *value > 100.0 / 3.0),
        "none tells the classes apart better than chance: {values:?}"
    );
    for result in &own.results {
        assert_eq!(result.figures.measure(), Measure::Custom(MEASURE.to_owned()));
    }
    let table = evaluation.table();
    let (accuracies, balanced) = table.split_once("\n\n").unwrap();
    assert!(accuracies.contains("top-1 %") && !accuracies.contains("nearest-mean"), "{table}");
    assert!(balanced.contains("Balanced accuracy %") && balanced.contains("nearest-mean"), "{table}");
    assert!(evaluation.per_class_table().contains("nearest-mean, % by class"));

    let path = folder.path().join("eval.json");
    evaluation.write(&path).unwrap();
    assert_eq!(Evaluation::read(&path).unwrap(), evaluation);
    let wrong = Settings::new(0).with("power", SettingValue::Number(10.0));
    let error = NearestMean.check_settings(&wrong).unwrap_err();
    assert!(error.is_request() && error.to_string() == "power is 10: use at most 9", "{error}");
}

#[cfg(feature = "report")]
#[test]
fn the_report_shows_its_figures_under_its_own_measures_name() {
    use clsa_eval::report::{Report, ReportOptions};
    use clsa_run::{Config, LockedRun};

    let folder = tempfile::tempdir().unwrap();
    let new = LockedRun::begin(&folder.path().join("run")).unwrap();
    new.write_config(&Config::load("demo", &[]).unwrap()).unwrap();
    let run = new.folder();
    evaluate(run.path(), Settings::new(0)).write(&run.evaluation_file()).unwrap();
    let page = Report::of(&[run.path().to_owned()], &ReportOptions::default(), &Silent).unwrap().html();
    let results = page.split("<section id=\"results\"").nth(1).unwrap().split("</section>").next().unwrap();
    for text in ["Top-1 accuracy in percent", "Balanced accuracy in percent", "nearest-mean", "power 2"] {
        assert!(results.contains(text), "{text}");
    }
    assert!(!results.contains("nearest neighbors"), "no figure is taken for that of another measure");
    assert!(page.contains("Balanced accuracy of nearest-mean in percent, by class"));
}
