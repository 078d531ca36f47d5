//! `clsa reproduce`: requests that are wrong, the verdict on a run, and the page of what was found.

use assert_cmd::Command;
use clsa_augment::CenterCrop;
use clsa_eval::evaluation::{EncoderKind, EncoderResult, Evaluation, Figures, ProtocolResult};
use clsa_eval::metrics::{Accuracy, Predictions};
use clsa_model::FeatureStage;
use clsa_model::weights::checkpoint::FORMAT;
use clsa_run::{Config, LockedRun, Position};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A run of a recipe with k-NN accuracies by epoch.
fn run(folder: &Path, recipe: &str, changes: &[&str], knn: &[(u64, f64)]) {
    fs::create_dir_all(folder.join("checkpoints")).unwrap();
    let mut all = vec!["data.source=imagefolder:/data/cifar10".to_owned()];
    all.extend(changes.iter().map(|change| (*change).to_owned()));
    fs::write(folder.join("config.toml"), Config::load(recipe, &all).unwrap().to_toml()).unwrap();
    let line = |&(epoch, top1): &(u64, f64)| {
        format!("{{\"kind\":\"knn\",\"step\":{},\"epoch\":{epoch},\"top1\":{top1:?},\"top5\":90.0}}\n", 97 * epoch)
    };
    fs::write(folder.join("metrics.jsonl"), knn.iter().map(line).collect::<String>()).unwrap();
}

fn reproduce(folder: &Path, arguments: &[&str]) -> assert_cmd::assert::Assert {
    Command::cargo_bin("clsa").unwrap().current_dir(folder).arg("reproduce").args(arguments).assert()
}

fn error(assert: assert_cmd::assert::Assert, code: i32) -> String {
    let assert = assert.code(code);
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

#[test]
fn the_page_holds_every_run_beside_what_was_published() {
    let folder = TempDir::new().unwrap();
    let runs = folder.path().join("runs");
    run(&runs.join("b"), "moco-cifar10", &["train.seed=1", "train.stop_epoch=5"], &[(0, 20.0), (1, 32.9), (5, 41.0)]);
    run(&runs.join("a"), "moco-cifar10", &["compute.precision=bf16"], &[(0, 21.0), (1, 30.4)]);
    run(&folder.path().join("kept/c"), "clsa-cifar10", &[], &[(1, 35.0)]);
    run(&runs.join("other"), "moco-cifar10", &["optim.lr=0.3"], &[(1, 99.0)]);
    fs::create_dir(folder.path().join("docs")).unwrap();
    reproduce(folder.path(), &["--table", "--runs", "runs", "--runs", "kept"]).success();
    let page = fs::read_to_string(folder.path().join("docs/RESULTS.md")).unwrap();
    for line in [
        "## moco-cifar10",
        "k-NN with k = 200 and T = 0.1 on the embedding",
        "| epoch | published | seed 0, imagefolder, bf16 | seed 1, imagefolder |",
        "| 0 |  | 21.0 | 20.0 |",
        "| 1 | 31.98 ± 1.5 | 30.4 (-1.6, outside) | 32.9 (+0.9, inside) |",
        "| 5 | 37.95 ± 1.5 | | 41.0 (+3.0, outside) |",
        "| 200 | 82.58 ± 1.5 | | |",
        "cargo xtask reproduce moco-cifar10 --data imagefolder:PATH --precision bf16\n",
        "cargo xtask reproduce moco-cifar10 --data imagefolder:PATH --seed 1 --until-epoch 5\n",
        "## clsa-cifar10",
        "| 1 |  | 35.0 |",
    ] {
        assert!(page.contains(line), "{line:?} is not in\n{page}");
    }
    assert!(!page.contains("99.0"), "a run of other settings is no part of it");
}

#[test]
fn wrong_requests_name_what_to_do() {
    let folder = TempDir::new().unwrap();
    let text = error(reproduce(folder.path(), &["unheard-of"]), 2);
    assert!(text.contains("moco-cifar10"), "{text}");
    let text = error(reproduce(folder.path(), &[]), 2);
    assert!(text.contains("NAME"), "{text}");
    let text = error(reproduce(folder.path(), &["--table", "results.md"]), 2);
    assert!(text.contains("--table: there is neither runs nor docs/runs here"), "{text}");
    let text = error(reproduce(folder.path(), &["--table", "results.md", "--runs", "kept"]), 2);
    assert!(text.contains("--runs kept: "), "{text}");
    fs::create_dir(folder.path().join("runs")).unwrap();
    let text = error(reproduce(folder.path(), &["--table", "results.md"]), 2);
    assert!(text.contains("--runs runs: no run there follows an experiment"), "{text}");
    let text = error(reproduce(folder.path(), &["--table", "results.txt"]), 2);
    assert!(text.contains("--table results.txt: let the name end in .md"), "{text}");
    let text = error(reproduce(folder.path(), &["--table", "results.md", "--seed", "3"]), 2);
    assert!(text.contains("--seed") && text.contains("--table"), "{text}");
    run(&folder.path().join("runs/moco-cifar10-0"), "moco-cifar10", &["optim.lr=0.3"], &[]);
    let text = error(reproduce(folder.path(), &["moco-cifar10"]), 2);
    assert!(text.contains("does not follow moco-cifar10; name another folder"), "{text}");
    let text = error(reproduce(folder.path(), &["moco-cifar10", "--seed", "3"]), 2);
    assert!(text.contains("--data: the preset moco-cifar10 needs images"), "{text}");
    assert!(!folder.path().join("runs/moco-cifar10-3").exists());
    image::RgbImage::new(32, 32).save(folder.path().join("a.png")).unwrap();
    let text = error(reproduce(folder.path(), &["moco-cifar10", "--seed", "3", "--data", "flat:."]), 2);
    assert!(text.contains("--data flat:.: its figures need images with labels and a test split"), "{text}");
    assert!(!folder.path().join("runs/moco-cifar10-3").exists());
}

/// An image folder of so many classes, with so many images of each to train on and one to test with.
fn images(root: &Path, classes: u8, each: u8) {
    for (split, count) in [("train", each), ("test", 1)] {
        for class in 0..classes {
            let folder = root.join(split).join(format!("class{class}"));
            fs::create_dir_all(&folder).unwrap();
            for i in 0..count {
                let color = image::Rgb([20 * class, 4 * i, 90]);
                image::RgbImage::from_pixel(32, 32, color).save(folder.join(format!("{i}.png"))).unwrap();
            }
        }
    }
}

#[test]
fn images_of_other_classes_than_the_publications_are_refused_before_training() {
    let folder = TempDir::new().unwrap();
    images(folder.path(), 2, 1);
    let text = error(reproduce(folder.path(), &["mocov2plus-cifar100", "--data", "imagefolder:."]), 2);
    let words =
        "mocov2plus-cifar100 was published of CIFAR-100, and these are other images (2 classes in place of 100)";
    assert!(text.contains(words) && !folder.path().join("runs").exists(), "{text}");
    let path = folder.path().join("r");
    run(&path, "moco-cifar10", &[], &[]);
    fs::write(path.join("data.json"), json!({ "images": 9, "classes": 2, "names_sha256": "" }).to_string()).unwrap();
    let text = error(reproduce(folder.path(), &["moco-cifar10", "--out", "r"]), 2);
    assert!(text.contains("--out r: moco-cifar10 was published of CIFAR-10, and these are other images"), "{text}");
}

/// A process that ends with the test, whatever that finds.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_run_that_was_stopped_before_the_epoch_that_was_asked_for_has_not_succeeded() {
    let folder = TempDir::new().unwrap();
    // As many as a step takes, and no more.
    images(folder.path(), 10, 52);
    let log = folder.path().join("log");
    let running = std::process::Command::new(assert_cmd::cargo::cargo_bin("clsa"))
        .current_dir(folder.path())
        .args(["reproduce", "moco-cifar10", "--data", "imagefolder:."])
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut running = Running(running);
    let metrics = folder.path().join("runs/moco-cifar10-0/metrics.jsonl");
    let start = Instant::now();
    while !fs::read_to_string(&metrics).unwrap_or_default().contains("\"kind\":\"step\"") {
        let is_running = running.0.try_wait().unwrap().is_none();
        assert!(is_running && start.elapsed() < Duration::from_secs(180), "there is no step");
        std::thread::sleep(Duration::from_millis(20));
    }
    // The shell's own, because not every machine has it as a program.
    let kill = format!("kill -TERM {}", running.0.id());
    assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let code = running.0.wait().unwrap().code();
    let text = fs::read_to_string(&log).unwrap();
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("note: what was published of CIFAR-10 is of all its images, and these are 520 images"),
        "{text}"
    );
    assert!(text.contains(" of 200; the same command goes on"), "{text}");
    assert!(!text.contains("pretrain --resume") && !text.contains("no figure to compare"), "{text}");
}

#[test]
fn the_page_leaves_out_what_is_no_run_on_these_images_and_what_cannot_be_read_and_has_each_run_once() {
    let folder = TempDir::new().unwrap();
    let (runs, kept) = (folder.path().join("runs"), folder.path().join("docs/runs"));
    run(&runs.join("a"), "moco-cifar10", &[], &[(1, 31.5)]);
    run(&kept.join("b"), "moco-cifar10", &["data.source=imagefolder:CIFAR10"], &[(1, 31.5)]);
    run(&runs.join("few"), "moco-cifar10", &["train.seed=1"], &[(1, 77.7)]);
    let few = json!({ "images": 2000, "classes": 10, "names_sha256": "" }).to_string();
    fs::write(runs.join("few/data.json"), few).unwrap();
    run(&runs.join("damaged"), "moco-cifar10", &["train.seed=2"], &[(1, 88.8)]);
    fs::write(runs.join("damaged/metrics.jsonl"), "{\"kind\":\n{}\n").unwrap();
    run(&runs.join("without"), "moco-cifar10", &["train.seed=3"], &[]);
    fs::remove_file(runs.join("without/metrics.jsonl")).unwrap();
    let assert = reproduce(folder.path(), &["--table"]).success();
    let text = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(text.contains("few follows moco-cifar10, but not on CIFAR-10 (2000 images in place of 50000)"), "{text}");
    assert!(text.contains("damaged/metrics.jsonl") && text.contains("this run is left out"), "{text}");
    let page = fs::read_to_string(folder.path().join("docs/RESULTS.md")).unwrap();
    assert!(page.contains("| epoch | published | seed 0, imagefolder |\n"), "{page}");
}

#[test]
fn the_page_of_results_is_that_of_the_records_that_are_kept() {
    let folder = TempDir::new().unwrap();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs");
    let records = docs.join("runs").display().to_string();
    reproduce(folder.path(), &["--table", "page.md", "--runs", &records]).success();
    let page = fs::read_to_string(folder.path().join("page.md")).unwrap();
    assert_eq!(page, fs::read_to_string(docs.join("RESULTS.md")).unwrap());
}

#[test]
fn a_run_of_other_options_than_those_that_are_given_is_refused() {
    let folder = TempDir::new().unwrap();
    run(&folder.path().join("r"), "moco-cifar10", &["train.seed=3"], &[]);
    for (option, value, words) in [
        ("--seed", "5", "--seed 5: the run in r has the seed 3; name another folder with --out"),
        ("--precision", "bf16", "--precision bf16: the run in r has another; name another folder with --out"),
        ("--until-epoch", "1", "the run in r was ended, or diverged, before its first checkpoint; remove it"),
    ] {
        let text = error(reproduce(folder.path(), &["moco-cifar10", "--out", "r", option, value]), 2);
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn a_run_that_another_process_trains_is_not_called_ended() {
    let folder = TempDir::new().unwrap();
    let held = LockedRun::begin(&folder.path().join("r")).unwrap();
    held.write_config(&Config::load("moco-cifar10", &["data.source=imagefolder:/data".to_owned()]).unwrap()).unwrap();
    let text = error(reproduce(folder.path(), &["moco-cifar10", "--out", "r", "--until-epoch", "1"]), 2);
    let holder = format!("r: this run is in use by process {}", std::process::id());
    assert!(text.contains(&holder) && !text.contains("remove it"), "{text}");
}

#[test]
fn a_figure_outside_its_band_fails_the_command_and_one_inside_does_not() {
    let folder = TempDir::new().unwrap();
    let reproduced = |top1: f64| {
        run(&folder.path().join("r"), "moco-cifar10", &[], &[(0, 20.0), (1, top1)]);
        // Of the checkpoint of a run that need not go on, the head alone is read.
        let position = serde_json::to_string(&Position { epoch: 1, step: 97, ..Position::default() }).unwrap();
        let head = json!({ "__metadata__": { "format": FORMAT, "position": position } }).to_string();
        let checkpoint = [&(head.len() as u64).to_le_bytes()[..], head.as_bytes()].concat();
        fs::write(folder.path().join("r/checkpoints/step-00000097.safetensors"), checkpoint).unwrap();
        reproduce(folder.path(), &["moco-cifar10", "--out", "r", "--until-epoch", "1"])
    };
    let assert = reproduced(32.9).success();
    let printed = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    assert!(printed.contains("epoch 1: 32.9, published 32.0, band ±1.5: inside"), "{printed}");
    let text = error(reproduced(30.4), 1);
    assert!(text.contains("1 of 1 figures are outside their band"), "{text}");
}

#[test]
fn a_linear_figure_is_compared_where_it_is_of_the_last_epoch_and_made_as_the_published_one() {
    let folder = TempDir::new().unwrap();
    let kept = folder.path().join("kept/r");
    run(&kept, "imagenet-single-200", &[], &[]);
    let steps = [(9, 1), (10, 199)].map(|(step, epoch)| {
        format!(
            "{{\"kind\":\"step\",\"step\":{step},\"epoch\":{epoch},\"lr\":0.1,\"loss\":1.0,\"contrastive\":1.0,\"ddm\":0.0,\
             \"acc1\":1.0,\"images_per_s\":1.0,\"data_wait_s\":0.0}}\n"
        )
    });
    fs::write(kept.join("metrics.jsonl"), steps.concat()).unwrap();
    let accuracy = Accuracy::of(&Predictions { ranked: vec![vec![0, 1], vec![1, 0]] }, &[0, 0], 2, 0);
    let result = |figures| EncoderResult { encoder: EncoderKind::Trained, details: json!({}), figures };
    let linear = ProtocolResult {
        protocol: "linear".to_owned(),
        settings: json!({}),
        results: vec![result(Figures::Accuracy(accuracy))],
        wall_time_s: 1.0,
    };
    let (none, compared) = ("| 200 | 69.40 ± 1.0 | |", "| 200 | 69.40 ± 1.0 | 50.0 (-19.4, outside) |");
    for (step, settings, resize, stage, row) in [
        (9, json!({}), 256, FeatureStage::Backbone, none),
        (10, json!({}), 256, FeatureStage::Backbone, compared),
        (10, json!({ "seed": 3 }), 256, FeatureStage::Backbone, compared),
        (10, json!({ "epochs": 10 }), 256, FeatureStage::Backbone, none),
        (10, json!({ "lr": [1.0, 10.0] }), 256, FeatureStage::Backbone, none),
        (10, json!({}), 232, FeatureStage::Backbone, none),
        (10, json!({}), 256, FeatureStage::Embedding, none),
    ] {
        let evaluation = Evaluation {
            weights: format!("runs/r/checkpoints/step-{step:08}.safetensors"),
            encoder_sha256: String::new(),
            stage,
            data: "imagefolder:/data/imagenet".to_owned(),
            data_sha256: String::new(),
            classes: vec!["a".to_owned(), "b".to_owned()],
            train_samples: 2,
            test_samples: 2,
            transform: CenterCrop::new(resize, 224),
            chance: None,
            protocols: vec![ProtocolResult { settings, ..linear.clone() }],
        };
        evaluation.write(&kept.join("eval.json")).unwrap();
        reproduce(folder.path(), &["--table", "page.md", "--runs", "kept"]).success();
        let page = fs::read_to_string(folder.path().join("page.md")).unwrap();
        assert!(page.contains(row), "{row} is not in\n{page}");
    }
}
