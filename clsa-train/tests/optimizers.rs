//! The optimizers against torch's and against LARS as MoCo v3 has it (fixtures/optimizers.json, written by make_optimizers.py), and
//! a run that goes on with each.

mod tiny;

use clsa_model::candle_core::{DType, Device, Tensor, Var};
use clsa_model::{Gradients, Parameter};
use clsa_run::OptimConfig;
use clsa_train::Optimizer;
use serde::Deserialize;
use tempfile::TempDir;
use tiny::{checkpoint, pretrain, records, refused, resume, stderr, tensors};

#[derive(Deserialize)]
struct Fixture {
    shapes: Vec<Vec<usize>>,
    initial: Vec<Vec<f64>>,
    /// By step, then parameter.
    gradients: Vec<Vec<Vec<f64>>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    optim: OptimConfig,
    /// After each step.
    weights: Vec<Vec<Vec<f64>>>,
}

/// The largest difference of the weights to a case's after any step, in this type.
fn difference(fixture: &Fixture, case: &Case, dtype: DType) -> f64 {
    let tensor = |values: &Vec<f64>, shape: &Vec<usize>| {
        Tensor::from_vec(values.clone(), shape.as_slice(), &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
    };
    let parameters: Vec<Parameter> = fixture
        .initial
        .iter()
        .zip(&fixture.shapes)
        .enumerate()
        .map(|(index, (values, shape))| Parameter {
            name: format!("parameter {index}"),
            index,
            var: Var::from_tensor(&tensor(values, shape)).unwrap(),
        })
        .collect();
    let mut optimizer = Optimizer::new(&parameters, &case.optim).unwrap();
    let mut worst = 0.0f64;
    for (step, (gradients, expected)) in fixture.gradients.iter().zip(&case.weights).enumerate() {
        let mut all = Gradients::new(parameters.len());
        for (index, (values, shape)) in gradients.iter().zip(&fixture.shapes).enumerate() {
            all.set(index, tensor(values, shape));
        }
        optimizer.step(&parameters, &all, 0.1 / (step + 1) as f64, step as u64).unwrap();
        for (parameter, expected) in parameters.iter().zip(expected) {
            let values = parameter.var.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
            assert_eq!(values.len(), expected.len());
            // `max` of a number and NaN is the number, which would hide the NaN.
            let differences = values.iter().zip(expected).map(|(a, b)| (a - b).abs());
            worst = differences.fold(worst, |m, d| if d.is_nan() { f64::INFINITY } else { m.max(d) });
        }
    }
    worst
}

#[test]
fn every_optimizer_leaves_the_weights_that_pytorchs_leaves() {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/optimizers.json")).unwrap();
    assert_eq!(fixture.cases.len(), 7);
    for case in &fixture.cases {
        let (f64, f32) = (difference(&fixture, case, DType::F64), difference(&fixture, case, DType::F32));
        assert!(f64 < 1e-13 && f32 < 2e-6, "{:?}: {f64:e} {f32:e}", case.optim);
    }
}

#[test]
fn momentum_is_the_part_of_the_velocity_that_stays() {
    let optim: OptimConfig = toml::from_str("momentum = 0.5\nweight_decay = 0.0").unwrap();
    let full = |value: f64| Tensor::full(value, (2, 2), &Device::Cpu).unwrap();
    let parameters = [Parameter { name: "0".to_owned(), index: 0, var: Var::from_tensor(&full(1.0)).unwrap() }];
    let mut optimizer = Optimizer::new(&parameters, &optim).unwrap();
    let mut gradients = Gradients::new(1);
    gradients.set(0, full(3.0));
    // 1 - 0.1 · 3, and then less 0.1 · (0.5 · 3 + 3).
    for (steps, expected) in [(0, 0.7), (1, 0.25)] {
        optimizer.step(&parameters, &gradients, 0.1, steps).unwrap();
        let value = parameters[0].var.flatten_all().unwrap().to_vec1::<f64>().unwrap()[0];
        assert!((value - expected).abs() < 1e-12, "after step {steps}: {value}");
    }
}

#[test]
fn a_parameter_without_gradient_is_left_as_it_is() {
    for kind in ["sgd", "lars", "adamw"] {
        let optim: OptimConfig = toml::from_str(&format!("kind = \"{kind}\"\nclip_norm = 1.0")).unwrap();
        let var = |value: f64| Var::from_tensor(&Tensor::full(value, (2, 2), &Device::Cpu).unwrap()).unwrap();
        let parameters = [0, 1].map(|index| Parameter { name: index.to_string(), index, var: var(1.0) });
        let mut optimizer = Optimizer::new(&parameters, &optim).unwrap();
        let mut gradients = Gradients::new(2);
        gradients.set(1, var(3.0).as_detached_tensor());
        optimizer.step(&parameters, &gradients, 0.1, 0).unwrap();
        let values = parameters.map(|parameter| parameter.var.flatten_all().unwrap().to_vec1::<f64>().unwrap()[0]);
        assert!(values[0] == 1.0 && values[1] < 1.0, "{kind}: {values:?}");
    }
}

#[test]
fn a_run_with_each_optimizer_goes_on_to_the_same_bits() {
    let folder = TempDir::new().unwrap();
    for kind in ["lars", "adamw"] {
        let settings = [
            "--set",
            &format!("optim.kind={kind}"),
            "--set",
            "optim.lr=0.002",
            "--set",
            "optim.clip_norm=5.0",
            "--set",
            "optim.exclude_norm_and_bias=true",
            "--set",
            "optim.scale_lr=true",
        ]
        .map(str::to_owned);
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let (whole, parted) =
            (folder.path().join(format!("{kind}-whole")), folder.path().join(format!("{kind}-parted")));
        let log = stderr(&pretrain(&whole, &settings).success());
        assert!(log.contains("the learning rate is 0.002 x 16 / 256 = 0.000125"), "{log}");
        assert_eq!(records(&whole, "step")[0]["lr"], 0.000125);
        pretrain(&parted, &[&settings[..], &["--until-epoch", "1"]].concat()).success();
        resume(&parted, &["--until-epoch", "0"]).success();
        let losses =
            |run: &std::path::Path| records(run, "step").iter().map(|step| step["loss"].clone()).collect::<Vec<_>>();
        assert_eq!(losses(&whole), losses(&parted), "{kind}");
        let whole = tensors(&checkpoint(&whole, 8));
        assert!(whole == tensors(&checkpoint(&parted, 8)), "{kind}");
        let states = whole.keys().filter(|name| name.ends_with(".exp_avg_sq")).count();
        assert_eq!(states > 0, kind == "adamw");
    }
    let run = folder.path().join("lars-whole");
    let change = ["--epochs", "3", "--set", "optim.kind=sgd"];
    refused(resume(&run, &change), 2, &["optim.kind"]);
    refused(pretrain(&folder.path().join("new"), &["--set", "optim.betas=[0.9, 1.0]"]), 2, &["optim.betas"]);
}
