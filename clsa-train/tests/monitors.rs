//! What is measured while a run trains: without labels, by an online probe, and at which epochs.

mod tiny;

use candle_core::{Device, Tensor};
use clsa_augment::{Augmenter, Layout, View, ViewId};
use clsa_data::{Limits, Source};
use clsa_model::{Arch, Compute, Encoder, Mode, ModelConfig, Stem};
use clsa_run::{Checkpoint, Config};
use clsa_train::LabelFreeMonitor;
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use tiny::{checkpoint, clsa, pretrain, records, refused, resume, stderr, tensors};

fn steps_of(run: &Path, kind: &str) -> Vec<u64> {
    records(run, kind).iter().map(|record| record["step"].as_u64().unwrap()).collect()
}

/// Checks that all tensors of the checkpoint `a` are those of `b` to the bit, which may have more.
fn same(a: &Path, b: &Path) {
    let b = tensors(b);
    for (name, bytes) in tensors(a) {
        assert!(b[&name] == bytes, "{name}");
    }
}

#[test]
fn a_run_stops_after_the_epoch_asked_for_and_goes_on_to_the_same_bits() {
    let folder = TempDir::new().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    pretrain(&whole, &["--epochs", "3"]).success();
    let first = stderr(&pretrain(&parts, &["--epochs", "3", "--until-epoch", "1"]).success());
    assert!(first.contains("epoch 1 of 3 is done; checkpoint") && first.contains("--until-epoch 0"), "{first}");
    assert_eq!(steps_of(&parts, "step"), [1, 2, 3, 4]);
    assert_eq!(steps_of(&parts, "knn"), [0, 4]);
    refused(resume(&parts, &[]), 2, &["is at epoch 1 and stops after epoch 1", "--until-epoch", "0 for all 3"]);
    refused(resume(&parts, &["--until-epoch", "4"]), 2, &["train.stop_epoch = 4", "use an epoch up to train.epochs"]);
    // Who was killed in the evaluation of that epoch is only to make it.
    let metrics = parts.join("metrics.jsonl");
    let text = fs::read_to_string(&metrics).unwrap();
    let last = text.lines().rfind(|line| line.contains("\"knn\"")).unwrap();
    fs::write(&metrics, text.replace(&format!("{last}\n"), "")).unwrap();
    resume(&parts, &[]).success();
    assert_eq!((steps_of(&parts, "step"), steps_of(&parts, "knn")), (vec![1, 2, 3, 4], vec![0, 4]));
    resume(&parts, &["--until-epoch", "2"]).success();
    resume(&parts, &["--until-epoch", "0"]).success();
    same(&checkpoint(&whole, 12), &checkpoint(&parts, 12));
    assert_eq!(records(&whole, "knn"), records(&parts, "knn"));
    assert_eq!(records(&whole, "label_free"), records(&parts, "label_free"));
}

#[test]
fn epochs_of_a_published_curve_are_evaluated_beside_the_regular_ones() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let knn = "knn={every=0, at=[1,3], k=5, train_samples=64, test_samples=16}";
    pretrain(&run, &["--epochs", "4", "--set", knn]).success();
    assert_eq!(steps_of(&run, "knn"), [0, 4, 12, 16], "and the untrained and the last");
}

#[test]
fn an_evaluation_that_a_kill_has_prevented_is_made_when_the_run_goes_on() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    pretrain(&run, &["--epochs", "3", "--until-epoch", "2"]).success();
    let before = records(&run, "knn");
    let metrics = run.join("metrics.jsonl");
    let text = fs::read_to_string(&metrics).unwrap();
    let kept: String =
        text.lines().filter(|line| !line.contains("\"step\":8,\"epoch\":2")).map(|l| format!("{l}\n")).collect();
    assert!(kept.len() < text.len());
    fs::write(&metrics, kept).unwrap();
    resume(&run, &["--until-epoch", "0"]).success();
    assert_eq!(steps_of(&run, "knn"), [0, 4, 8, 12]);
    assert_eq!(steps_of(&run, "label_free"), [0, 4, 8, 12]);
    assert_eq!(records(&run, "knn")[2], before[2]);
}

#[test]
fn an_evaluation_that_a_kill_has_cut_off_is_completed_when_the_run_goes_on() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    // The last epoch is evaluated, though none is due there.
    pretrain(&run, &["--epochs", "3", "--set", "knn.every=2", "--set", "probe.lr=0.1"]).success();
    let before = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let kinds = |text: &str| -> Vec<String> {
        let last = text.lines().filter(|line| line.contains("\"step\":12,\"epoch\":3"));
        last.map(|line| line.split('"').nth(3).unwrap().to_owned()).collect()
    };
    assert_eq!(kinds(&before), ["label_free", "probe", "knn"]);
    for cut in 1..=3 {
        let lines: Vec<&str> = before.lines().collect();
        let kept: String = lines[..lines.len() - cut].iter().map(|line| format!("{line}\n")).collect();
        fs::write(run.join("metrics.jsonl"), kept).unwrap();
        let log = stderr(&resume(&run, &[]).success());
        assert!(log.contains("after training"), "{log}");
        assert_eq!(fs::read_to_string(run.join("metrics.jsonl")).unwrap(), before, "without the last {cut}");
    }
}

#[test]
fn the_recorded_accuracy_is_that_of_an_evaluation_of_the_same_encoder() {
    let folder = TempDir::new().unwrap();
    // Where all training images vote, the temperature decides.
    let (all, few) = (["64", "0.01"], ["3", "0.2"]);
    for (stage, file, [k, t]) in [("backbone", "eval.json", all), ("embedding", "eval-embedding.json", few)] {
        let run = folder.path().join(stage);
        let knn =
            format!("knn={{every=1, k={k}, temperature={t}, stage='{stage}', train_samples=64, test_samples=160}}");
        let data = "data.source=procedural:classes=4,train=64,test=160,side=16";
        pretrain(&run, &["--set", data, "--set", &knn]).success();
        let of = ["--protocol", "knn", "--k", k, "--temperature", t, "--stage", stage, "--trained-only"];
        let said = stderr(&clsa().arg("eval").arg("--run").arg(&run).args(of).assert().success());
        assert!(!said.contains("of other features"), "{said}");
        let eval: serde_json::Value = serde_json::from_str(&fs::read_to_string(run.join(file)).unwrap()).unwrap();
        let expected = eval["protocols"][0]["results"][0]["top1"]["value"].as_f64().unwrap();
        let got = records(&run, "knn").pop().unwrap()["top1"].as_f64().unwrap();
        // Rounding may move one image.
        assert!((got - expected).abs() < 100.0 / 160.0 + 1e-9, "{stage}: {got}, evaluated {expected}");
    }
    let of_backbone = |protocol: &str| {
        let args = ["--protocol", protocol, "--trained-only"];
        stderr(&clsa().arg("eval").arg("--run").arg(folder.path().join("embedding")).args(args).assert().success())
    };
    let note = "note: the k-NN accuracies of this run's training are of other features than these; those are --stage embedding";
    assert!(of_backbone("knn").contains(note) && !of_backbone("linear-features").contains(note));
}

#[test]
fn a_folder_of_images_without_labels_gets_a_verdict() {
    let folder = TempDir::new().unwrap();
    let (images, run) = (folder.path().join("images"), folder.path().join("run"));
    fs::create_dir(&images).unwrap();
    for number in 0..40u32 {
        let picture = image::RgbImage::from_fn(24, 24, |x, y| {
            let wave = |k: u32| (((x * (number % 7 + 1) + y * (number % 5 + 1) + k * number) * 9) % 256) as u8;
            image::Rgb([wave(1), wave(3), (number * 6) as u8])
        });
        picture.save(images.join(format!("{number}.png"))).unwrap();
    }
    let log = stderr(&pretrain(&run, &["--data", &format!("flat:{}", images.display())]).success());
    let trained_on =
        "so there is no k-NN accuracy; effective rank and own-view retrieval are of images that are trained on";
    assert!(log.contains(trained_on), "{log}");
    // What is advised works.
    let advised = log.lines().find_map(|line| line.strip_prefix("evaluate it with: clsa ")).unwrap();
    assert!(advised.ends_with(" --protocol retrieval"), "{log}");
    clsa().args(advised.split(' ')).assert().success();
    assert!(records(&run, "knn").is_empty());
    assert_eq!(steps_of(&run, "label_free"), [0, 2, 4]);
    let verdict = log.lines().find(|line| line.contains("effective rank") && line.contains(" to "));
    assert!(verdict.is_some_and(|line| line.contains("learning")) || log.contains("collapsed"), "{log}");
    let last = &records(&run, "label_free")[2];
    assert_eq!(last["images"], 40);
    for figure in ["effective_rank", "alignment", "uniformity", "own_view_retrieval", "spread"] {
        assert!(last[figure].as_f64().unwrap().is_finite(), "{figure}");
    }
}

#[test]
fn an_encoder_made_to_collapse_is_recognized() {
    let model = ModelConfig { arch: Arch::Resnet10, width: 0.125, stem: Stem::Cifar, ..ModelConfig::default() };
    let encoder = Encoder::new(&model, Compute::default(), 1, &Device::Cpu).unwrap();
    let source: Source = "procedural:classes=4,train=16,test=200,side=16".parse().unwrap();
    let images = source.open_splits(Limits::default()).unwrap().test.unwrap();
    let view = "views={key={size=16}, weak=[{size=16}]}".to_owned();
    let config = Config::load("demo", &[view]).unwrap();
    assert_eq!(config.views.key, View { size: 16, ..View::default() });
    let mut monitor = LabelFreeMonitor::new(&config, images.clone());
    let before = monitor.evaluate(&encoder, &mut |_| {}).unwrap();
    assert!(!before.is_collapsed() && before.images == 200, "{before:?}");
    // Of the key view and the weak view of each image, as they are made alone.
    let embeddings = |number: u32, view: &View| -> Vec<f32> {
        let pixels = |sample: usize| {
            let mut out = vec![0f32; view.values()];
            let id = ViewId { seed: config.train.seed, epoch: 0, sample: sample as u64, view: number };
            let image = images.image(sample).unwrap();
            Augmenter::new().write(&image, view, id, Layout::ChannelsFirst, &mut out).unwrap();
            out
        };
        let pixels: Vec<f32> = (0..images.len()).flat_map(pixels).collect();
        let side = view.size as usize;
        let pixels = Tensor::from_vec(pixels, (images.len(), 3, side, side), &Device::Cpu).unwrap();
        encoder.embed(&pixels, Mode::Eval).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    };
    let (keys, weak) = (embeddings(0, &config.views.key), embeddings(1, &config.views.weak[0]));
    let expected = clsa_eval::metrics::label_free(&keys, &weak, encoder.embedding_dim()).unwrap();
    assert!(before.alignment > 1e-3 && (before.alignment - expected.alignment).abs() < 1e-5, "{before:?} {expected:?}");
    assert!((before.effective_rank - expected.effective_rank).abs() < 1e-3, "{before:?} {expected:?}");
    assert!((before.own_view_retrieval - expected.own_view_retrieval).abs() <= 0.5, "{before:?} {expected:?}");
    assert_eq!(monitor.evaluate(&encoder, &mut |_| {}).unwrap(), before, "views are the same each time");
    for parameter in encoder.parameters().iter().filter(|parameter| parameter.name == "fc.2.weight") {
        parameter.var.set(&parameter.var.zeros_like().unwrap()).unwrap();
    }
    let after = monitor.evaluate(&encoder, &mut |_| {}).unwrap();
    assert!(after.is_collapsed() && after.effective_rank < 1.01 && after.spread < 1e-3, "{after:?}");
    assert_eq!(after.own_view_retrieval, 0.0);
}

#[test]
fn an_online_probe_touches_nothing_and_goes_on_to_the_same_bits() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let probe = ["--epochs", "4", "--set", "probe.lr=0.5"];
    pretrain(&path("without"), &["--epochs", "4"]).success();
    let log = stderr(&pretrain(&path("with"), &probe).success());
    assert!(log.contains("epoch 4: linear probe accuracy"), "{log}");
    same(&checkpoint(&path("without"), 16), &checkpoint(&path("with"), 16));
    let probes = records(&path("with"), "probe");
    assert_eq!(steps_of(&path("with"), "probe"), [0, 4, 8, 12, 16]);
    let weights = tensors(&checkpoint(&path("with"), 16));
    let value = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
    let moved: f32 = weights["probe.fc.bias"].chunks_exact(4).map(|bytes| value(bytes).abs()).sum();
    assert!(moved > 1e-3, "the bias starts at 0 and has learned: {moved}");

    pretrain(&path("parts"), &[&probe[..], &["--until-epoch", "2"]].concat()).success();
    resume(&path("parts"), &["--until-epoch", "0"]).success();
    same(&checkpoint(&path("with"), 16), &checkpoint(&path("parts"), 16));
    assert_eq!(probes, records(&path("parts"), "probe"));
    // The checkpoint is one for every reader, and a run may begin or end a probe on the way.
    Checkpoint::load(&checkpoint(&path("with"), 16)).unwrap();
    clsa().arg("eval").arg("--run").arg(path("with")).args(["--protocol", "knn", "--k", "3"]).assert().success();
    pretrain(&path("later"), &["--epochs", "2", "--until-epoch", "1"]).success();
    resume(&path("later"), &["--until-epoch", "0", "--set", "probe.lr=0.5"]).success();
    assert_eq!(steps_of(&path("later"), "probe"), [8]);
}

#[test]
fn a_probe_of_images_without_classes_is_refused() {
    let folder = TempDir::new().unwrap();
    let images = folder.path().join("images");
    fs::create_dir(&images).unwrap();
    for number in 0..20u8 {
        image::RgbImage::from_pixel(20, 20, image::Rgb([number * 9, 80, 200]))
            .save(images.join(format!("{number}.png")))
            .unwrap();
    }
    let run = folder.path().join("run");
    let source = format!("flat:{}", images.display());
    let assert = pretrain(&run, &["--data", &source, "--set", "probe.lr=0.1"]);
    assert!(!stderr(&assert).contains("is trained, but not evaluated"), "{}", stderr(&assert));
    refused(assert, 2, &["probe.lr = 0.1", "no classes", "use 0"]);
    assert!(!run.exists());
}

#[test]
fn a_probe_that_no_test_images_evaluate_is_told() {
    let folder = TempDir::new().unwrap();
    let (images, run) = (folder.path().join("images"), folder.path().join("run"));
    pictures(&images, &[("train/a", 20), ("train/b", 20)]);
    let data = format!("imagefolder:{}", images.display());
    let log = stderr(&pretrain(&run, &["--data", &data, "--set", "probe.lr=0.1", "--set", "knn.every=0"]).success());
    assert_eq!(log.matches("so the probe of probe.lr is trained, but not evaluated").count(), 1, "{log}");
    assert!(records(&run, "probe").is_empty());
}

#[test]
fn a_probe_learns_by_the_schedule_of_the_encoder() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let optim = "optim={lr=0.08, warmup_epochs=1, schedule='step'}";
    let steps = "checkpoint={every_steps=1, keep=9}";
    pretrain(&run, &["--set", "probe.lr=0.5", "--set", optim, "--set", steps]).success();
    let has_learned = |step: u64| {
        let bias = tensors(&checkpoint(&run, step)).remove("probe.fc.bias").unwrap();
        bias.chunks_exact(4).any(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()) != 0.0)
    };
    assert_eq!([1, 2].map(has_learned), [false, true], "the first step has the rate 0");
}

#[test]
fn the_learning_rate_warms_up_by_step_and_the_keys_momentum_grows() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let optim = "optim={lr=0.08, warmup_epochs=1, schedule='step', final_lr=0.01}";
    pretrain(&run, &["--epochs", "2", "--set", optim, "--set", "method.final_momentum=1.0"]).success();
    let lr: Vec<f64> = records(&run, "step").iter().map(|record| record["lr"].as_f64().unwrap()).collect();
    let expected = [0.0, 0.02, 0.04, 0.06, 0.08];
    assert!(lr.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-12), "{lr:?}");
    assert!((lr[6] - 0.045).abs() < 1e-12 && lr[7] > 0.01, "{lr:?}");
    // The first step has the momentum that both begin with, and from the second on the keys are others.
    let key_after = |step: u64, more: &[&str]| {
        let run = folder.path().join(format!("{step}-{}", more.len()));
        let fixed = [
            "--epochs",
            "2",
            "--set",
            "method.momentum=0.5",
            "--set",
            "checkpoint.every_steps=1",
            "--set",
            "checkpoint.keep=9",
        ];
        pretrain(&run, &[&fixed, more].concat()).success();
        tensors(&checkpoint(&run, step)).remove("key.conv1.weight").unwrap()
    };
    for (step, same) in [(1, true), (2, false), (8, false)] {
        let grown = key_after(step, &["--set", "method.final_momentum=1.0"]);
        assert_eq!(grown == key_after(step, &[]), same, "step {step}");
    }
}

/// Folders of so many small pictures each.
fn pictures(root: &Path, folders: &[(&str, u32)]) {
    for (folder, count) in folders {
        fs::create_dir_all(root.join(folder)).unwrap();
        for number in 0..*count {
            let shade = |x: u32, y: u32| image::Rgb([(x * 9 + number) as u8, (y * 7) as u8, folder.len() as u8 * 20]);
            image::RgbImage::from_fn(20, 20, shade).save(root.join(folder).join(format!("{number}.png"))).unwrap();
        }
    }
}

#[test]
fn test_images_of_classes_that_the_subset_lacks_are_left_out_and_training_goes_on() {
    let folder = TempDir::new().unwrap();
    let (images, run) = (folder.path().join("images"), folder.path().join("run"));
    pictures(&images, &[("train/a", 30), ("train/b", 30), ("train/rare", 1)]);
    pictures(&images, &[("test/a", 2), ("test/b", 2), ("test/rare", 2)]);
    let knn = "knn={every=1, k=2, train_samples=6, test_samples=6}";
    let data = format!("imagefolder:{}", images.display());
    let log = stderr(&pretrain(&run, &["--data", &data, "--set", knn, "--seed", "2"]).success());
    let sentence =
        "2 of 6 test images have classes that none of the 6 training images that the k-NN monitor looks at has";
    assert_eq!(log.matches(sentence).count(), 1, "{log}");
    assert_eq!(records(&run, "knn").len(), 3);
}

#[test]
fn images_of_one_class_are_trained_on_without_an_accuracy() {
    let folder = TempDir::new().unwrap();
    let (images, run) = (folder.path().join("images"), folder.path().join("run"));
    pictures(&images, &[("train/a", 20), ("test/a", 4)]);
    let data = format!("imagefolder:{}", images.display());
    let log = stderr(&pretrain(&run, &["--data", &data]).success());
    assert_eq!(log.matches("are all of one class, so there is no k-NN accuracy").count(), 1, "{log}");
    assert!(records(&run, "knn").is_empty() && records(&run, "label_free").len() == 3);
}

#[test]
fn an_image_that_is_too_long_to_be_resized_is_left_out_like_one_that_cannot_be_read() {
    let folder = TempDir::new().unwrap();
    let (images, run) = (folder.path().join("images"), folder.path().join("run"));
    pictures(folder.path(), &[("images", 30)]);
    image::RgbImage::new(1, 2000).save(images.join("tall.png")).unwrap();
    let data = format!("flat:{}", images.display());
    let more = ["--set", "data.allow_upscaling=true", "--set", "data.max_bad_fraction=0.1"];
    let log = stderr(&pretrain(&run, &[&["--data", &data][..], &more].concat()).success());
    let left_out = log.lines().find(|line| line.contains("left out of the embedding projector"));
    assert!(left_out.is_some_and(|line| line.contains("tall.png: 1x2000 pixels")), "{log}");
    let embed = |more: &[&str]| {
        let out = folder.path().join("features.npy");
        clsa().args(["embed", "--run"]).arg(&run).arg("--out").arg(out).args(more).assert()
    };
    refused(embed(&[]), 2, &["tall.png", "add --skip-bad to leave out such images"]);
    let log = stderr(&embed(&["--skip-bad"]).success());
    assert!(log.contains("left out") && log.contains("tall.png"), "{log}");
    assert_eq!(fs::read_to_string(folder.path().join("features.names.txt")).unwrap().lines().count(), 30);
}
