//! `clsa eval` as a user meets it: a run evaluated, and wrong requests refused.

#[path = "tiny/in_folder.rs"]
mod in_folder;

use assert_cmd::Command;
use candle_core::{Device, Tensor};
use clsa_data::{Source, Split};
use clsa_eval::evaluation::{EncoderKind, Evaluation, Figures};
use clsa_model::{Arch, Compute, Encoder, ModelConfig, Stem};
use clsa_run::{Config, DataIdentity, RunFolder};
use in_folder::walk;
use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

const DATA: &str = "procedural:classes=4,train=80,test=40,side=16";

fn model() -> ModelConfig {
    ModelConfig { arch: Arch::Resnet10, width: 0.125, stem: Stem::Cifar, ..ModelConfig::default() }
}

/// A run whose only checkpoint holds weights drawn from seed 7.
fn run(folder: &Path, model: &ModelConfig) {
    configure(folder);
    std::fs::create_dir_all(folder.join("checkpoints")).unwrap();
    let encoder = Encoder::new(model, Compute::default(), 7, &Device::Cpu).unwrap();
    let mut tensors: HashMap<String, Tensor> = HashMap::new();
    for (name, tensor) in encoder.state_dict().unwrap() {
        tensors.insert(format!("query.{name}"), tensor.clone());
        tensors.insert(format!("key.{name}"), tensor);
    }
    tensors.insert("bank.rows".into(), Tensor::zeros((16, 128), candle_core::DType::F32, &Device::Cpu).unwrap());
    let metadata = HashMap::from([("format".to_owned(), "clsa-checkpoint-1".to_owned())]);
    let file = folder.join("checkpoints/step-00000012.safetensors");
    std::fs::write(file, safetensors::serialize(&tensors, Some(metadata)).unwrap()).unwrap();
}

fn configure(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let overrides = [
        "model.width=0.125".to_owned(),
        "train.seed=3".to_owned(),
        format!("data.source={DATA}"),
        "eval={resize=16, crop=16}".to_owned(),
        "knn.k=20".to_owned(),
        "views={key={size=16}, weak=[{size=16}]}".to_owned(),
    ];
    std::fs::write(folder.join("config.toml"), Config::load("demo", &overrides).unwrap().to_toml()).unwrap();
}

fn eval(folder: &Path, args: &[&str]) -> (i32, String, String) {
    in_folder::clsa(folder, &[&["eval"], args].concat())
}

fn refused(folder: &Path, args: &[&str], what: &str) {
    in_folder::refused(folder, &[&["eval"], args].concat(), what);
}

#[test]
fn without_options_the_newest_run_is_evaluated_beside_its_baselines() {
    let folder = tempfile::tempdir().unwrap();
    run(&folder.path().join("runs/one"), &model());
    // Others are before and after it by name, and written earlier.
    for earlier in ["earlier", "two"] {
        let earlier = folder.path().join("runs").join(earlier);
        run(&earlier, &model());
        let checkpoint = earlier.join("checkpoints/step-00000012.safetensors");
        let checkpoint = std::fs::File::options().write(true).open(checkpoint).unwrap();
        checkpoint.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    }
    let (code, stdout, stderr) = eval(folder.path(), &[]);
    assert_eq!(code, 0, "{stderr}");
    for word in ["knn", "linear-features", "trained", "untrained", "raw pixels", "chance"] {
        assert!(stdout.contains(word), "{word}: {stdout}");
    }
    let path = folder.path().join("runs/one/eval.json");
    let evaluation = Evaluation::read(&path).unwrap();
    assert_eq!((evaluation.train_samples, evaluation.test_samples, evaluation.chance.unwrap().top1), (80, 40, 25.0));
    assert_eq!(evaluation.encoder_sha256.len(), 64);
    let names: Vec<_> = evaluation.protocols.iter().map(|p| p.protocol.as_str()).collect();
    assert_eq!(names, ["knn k=20 T=0.07", "linear-features"]);
    for protocol in &evaluation.protocols {
        assert_eq!(protocol.results.len(), 3);
        for result in &protocol.results {
            let accuracy = result.figures.accuracy().unwrap();
            let top1 = accuracy.top1;
            assert!(top1.low <= top1.value && top1.value <= top1.high && top1.high <= 100.0);
            assert_eq!(accuracy.per_class.len(), 4);
        }
    }

    let (code, _, stderr) = eval(folder.path(), &["--protocol", "linear", "--epochs", "1", "--lr", "0.1"]);
    assert_eq!(code, 0, "{stderr}");
    let names: Vec<_> = Evaluation::read(&path).unwrap().protocols.into_iter().map(|p| p.protocol).collect();
    assert_eq!(names, ["linear", "knn k=20 T=0.07", "linear-features"], "the other protocols stay");
}

#[test]
fn the_trained_encoder_can_be_evaluated_without_baselines() {
    let folder = tempfile::tempdir().unwrap();
    run(&folder.path().join("runs/one"), &model());
    let protocols = "knn,linear-features,linear,corruptions,finetune,retrieval";
    let args = ["--protocol", protocols, "--epochs", "1", "--k", "5", "--corruption-images", "4", "--trained-only"];
    let (code, stdout, stderr) = eval(folder.path(), &args);
    assert_eq!(code, 0, "{stderr}");
    assert!(!stdout.contains("untrained") && !stdout.contains("raw pixels") && stdout.contains("chance"), "{stdout}");
    let evaluation = Evaluation::read(&folder.path().join("runs/one/eval.json")).unwrap();
    assert!(evaluation.protocols.len() >= 6, "{stdout}");
    for protocol in &evaluation.protocols {
        let encoders: Vec<EncoderKind> = protocol.results.iter().map(|result| result.encoder).collect();
        let wanted: &[_] = match protocol.name() {
            "retrieval" => &[EncoderKind::Trained, EncoderKind::Chance],
            _ => &[EncoderKind::Trained],
        };
        assert_eq!(encoders, wanted, "{}", protocol.protocol);
    }
    Command::cargo_bin("clsa").unwrap().current_dir(folder.path()).arg("report").assert().success();
    let (code, stdout, stderr) = eval(folder.path(), &["--protocol", "knn", "--k", "5"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("untrained") && stdout.contains("raw pixels"), "{stdout}");
}

#[test]
fn figures_are_written_though_nobody_reads_the_table() {
    let folder = tempfile::tempdir().unwrap();
    run(&folder.path().join("runs/one"), &model());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_clsa"));
    command.current_dir(folder.path()).args(["eval", "--protocol", "knn"]).stdout(writer);
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains("panicked") && output.status.code() != Some(101), "{text}");
    assert_eq!(Evaluation::read(&folder.path().join("runs/one/eval.json")).unwrap().protocols.len(), 1);
}

#[test]
fn figures_of_protocols_that_are_done_are_kept_where_a_later_one_fails() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("runs/one");
    run(&at, &model());
    let args = ["--trained-only", "--protocol", "knn,retrieval,finetune", "--epochs", "1", "--head-lr", "1e39"];
    let (code, stdout, stderr) = eval(folder.path(), &args);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("error: a loss or weight is not finite in epoch 0"), "{stderr}");
    assert!(stdout.contains("knn k=20 T=0.07") && stdout.contains("same class %"), "{stdout}");
    let evaluation = Evaluation::read(&at.join("eval.json")).unwrap();
    let names: Vec<_> = evaluation.protocols.iter().map(|p| p.protocol.as_str()).collect();
    assert_eq!(names, ["knn k=20 T=0.07", "retrieval"]);
    for file in ["eval.json", "eval.retrieval.png"] {
        assert!(at.join(file).is_file(), "{file}");
        let written = stderr.lines().filter(|line| line.starts_with("written: ") && line.ends_with(file));
        assert_eq!(written.count(), 1, "{file}: {stderr}");
    }
}

#[test]
fn files_that_cannot_be_written_are_told_beside_the_failure_of_a_later_protocol() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("runs/one");
    run(&at, &model());
    std::fs::create_dir(at.join("eval.retrieval.png")).unwrap();
    let args = ["--trained-only", "--protocol", "retrieval,finetune", "--epochs", "1", "--head-lr", "1e39"];
    let (code, _, stderr) = eval(folder.path(), &args);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("eval.retrieval.png: ") && stderr.contains("not finite"), "{stderr}");
}

#[test]
fn figures_of_a_protocol_are_in_the_file_while_the_next_one_is_at_work() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("runs/one");
    run(&at, &model());
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_clsa"));
    command.current_dir(folder.path()).args(["eval", "--trained-only", "--protocol", "knn,finetune"]);
    command.args(["--epochs", "100000"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    // The state of fine-tuning is kept there from its first epoch on.
    let (state, start) = (at.join("finetune"), Instant::now());
    while !state.exists() && start.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(state.exists(), "fine-tuning does not get going");
    let evaluation = Evaluation::read(&at.join("eval.json")).unwrap();
    let names: Vec<_> = evaluation.protocols.iter().map(|p| p.protocol.as_str()).collect();
    assert_eq!(names, ["knn k=20 T=0.07"]);
}

#[test]
fn a_weight_file_is_evaluated_on_named_data() {
    let folder = tempfile::tempdir().unwrap();
    run(&folder.path().join("runs/one"), &model());
    let weights = "runs/one/checkpoints/step-00000012.safetensors";
    let args = ["--weights", weights, "--data", DATA, "--protocol", "knn", "--out", "figures.json"];
    let (code, _, stderr) = eval(folder.path(), &args);
    assert_eq!(code, 0, "{stderr}");
    let evaluation = Evaluation::read(&folder.path().join("figures.json")).unwrap();
    assert_eq!(evaluation.protocols[0].settings["k"], 200);
    assert!(stderr.contains("k is 80"), "the cap is reported: {stderr}");
    assert!(stderr.contains(&format!("note: nothing says how images are prepared for {weights}; ")), "{stderr}");
}

#[test]
fn the_checkpoint_of_a_run_is_evaluated_on_images_cut_as_those_of_the_run_are() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let normalize = "normalize={mean=[0.5,0.4,0.3], std=[0.2,0.3,0.4]}";
    let views = format!("views={{key={{size=16, {normalize}}}, weak=[{{size=16, {normalize}}}], strong=[]}}");
    let set =
        ["model.width=0.125", "method.bank=32", "knn.every=0", "eval={resize=18, crop=16}", "train.seed=5", &views];
    let set = set.into_iter().flat_map(|set| ["--set", set]);
    let train = ["pretrain", "--data", DATA, "--epochs=1", "--batch-size=16", "--out", "run"];
    let (code, _, stderr) = in_folder::clsa(at, &train.into_iter().chain(set).collect::<Vec<_>>());
    assert_eq!(code, 0, "{stderr}");
    let evaluated = |of: &[&str]| {
        let protocol = ["--protocol", "knn", "--k", "5", "--out", "found.json"];
        let (code, _, stderr) = eval(at, &[of, &protocol].concat());
        assert!(code == 0 && !stderr.contains("nothing says how images are prepared"), "{stderr}");
        let Evaluation { transform, protocols, .. } = Evaluation::read(&at.join("found.json")).unwrap();
        std::fs::remove_file(at.join("found.json")).unwrap();
        (transform, serde_json::to_value(&protocols[0].results).unwrap())
    };
    let (transform, results) = evaluated(&["--run", "run"]);
    assert_eq!((transform.resize, transform.crop, transform.normalize.mean), (18, 16, [0.5, 0.4, 0.3]));
    // The untrained encoder is drawn from the run's seed, too.
    let of_file = evaluated(&["--weights", "run/checkpoints/step-00000005.safetensors", "--data", DATA]);
    assert_eq!(of_file, (transform, results));
}

#[test]
fn a_head_of_another_method_is_named_once_and_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let encoder = Encoder::new(&model(), Compute::default(), 7, &Device::Cpu).unwrap();
    let backbone = encoder.state_dict().unwrap().into_iter().filter(|(name, _)| !name.starts_with("fc."));
    let mut tensors: HashMap<String, Tensor> = backbone.map(|(name, t)| (format!("backbone.{name}"), t)).collect();
    for name in ["projector.0.weight", "projector.3.weight"] {
        let tensor = Tensor::zeros((8, 8), candle_core::DType::F32, &Device::Cpu).unwrap();
        tensors.insert(name.to_owned(), tensor);
    }
    std::fs::write(folder.path().join("other.safetensors"), safetensors::serialize(&tensors, None).unwrap()).unwrap();
    let args = ["--weights", "other.safetensors", "--data", DATA, "--protocol", "knn"];
    let (code, _, stderr) = eval(folder.path(), &args);
    let note = "note: other.safetensors: projector.0.weight and the like are none of CLSA's and are left out";
    assert_eq!((code, stderr.matches(note).count()), (0, 1), "{stderr}");
    let mut convert = Command::cargo_bin("clsa").unwrap();
    let output = convert.current_dir(&folder).args(["convert", "other.safetensors", "out.pth"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains(note), "{output:?}");
    run(&folder.path().join("runs/one"), &model());
    let (code, _, stderr) = eval(folder.path(), &["--protocol", "knn"]);
    assert!(code == 0 && !stderr.contains("is left out"), "its own head is none of another method: {stderr}");
}

#[test]
fn finetune_and_retrieval_write_figures_and_a_picture_and_features_are_reused_or_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    run(&folder.path().join("runs/one"), &model());
    let at = folder.path().join("runs/one");
    let args = ["--protocol", "finetune,retrieval", "--labels", "50%", "--epochs", "1"];
    let (code, stdout, stderr) = eval(folder.path(), &args);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("finetune 50%") && stdout.contains("same class %"), "{stdout}");
    image::open(at.join("eval.retrieval.png")).unwrap();
    let features: Vec<_> = walk(&at.join("features"));
    assert_eq!(features.len(), 6);
    let times = || features.iter().map(|f| f.metadata().unwrap().modified().unwrap()).collect::<Vec<_>>();
    let before = times();
    let (code, _, stderr) = eval(folder.path(), &["--protocol", "knn"]);
    assert_eq!((code, times()), (0, before.clone()), "{stderr}");
    let mut bytes = std::fs::read(&features[0]).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&features[0], &bytes).unwrap();
    let (code, _, stderr) = eval(folder.path(), &["--protocol", "knn"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("warning") && stderr.contains("made anew"), "{stderr}");
    assert_ne!(std::fs::read(&features[0]).unwrap(), bytes);
    let names: Vec<_> =
        Evaluation::read(&at.join("eval.json")).unwrap().protocols.into_iter().map(|p| p.protocol).collect();
    assert_eq!(names, ["knn k=20 T=0.07", "finetune 50%", "retrieval"]);
}

#[test]
fn seed_batch_size_labeled_images_and_cache_are_those_given_and_classes_are_shown_where_they_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    run(&at.join("good"), &model());
    let labeled: String = (0..8).map(|sample| format!("procedural/train#{sample}\n")).collect();
    std::fs::write(at.join("labeled.txt"), labeled).unwrap();
    let args = ["--run", "good", "--trained-only", "--protocol", "linear,finetune", "--epochs", "1", "--lr", "0.1"];
    let given = ["--batch-size", "16", "--label-list", "labeled.txt", "--cache", "kept"];
    let evaluated = |more: &[&str]| {
        let (code, stdout, stderr) = eval(at, &[&args[..], &given, more].concat());
        assert_eq!(code, 0, "{stderr}");
        // 80 images in batches of 16, and those of the list in one.
        for batches in ["linear, trained: 5/5 batches", "finetune, trained: 1/1 batches"] {
            assert!(stderr.contains(batches), "{stderr}");
        }
        (stdout, Evaluation::read(&at.join("good/eval.json")).unwrap())
    };
    let (plain, of_seed_0) = evaluated(&[]);
    let (by_class, of_seed_5) = evaluated(&["--seed", "5", "--per-class"]);
    for (first, second) in of_seed_0.protocols.iter().zip(&of_seed_5.protocols) {
        assert_eq!([first, second].map(|protocol| protocol.settings["seed"].as_u64()), [Some(0), Some(5)]);
        assert_eq!(second.settings["batch_size"], 16);
        let [first, second] = [first, second].map(|protocol| &protocol.results[0].details["train_loss"]);
        assert_ne!(first, second);
    }
    let finetuned = of_seed_5.protocols.iter().find(|protocol| protocol.name() == "finetune").unwrap();
    assert_eq!(finetuned.settings["labelled_samples"], 8);
    for class in &of_seed_5.classes {
        let shown = |table: &str| table.lines().filter(|line| line.starts_with(class.as_str())).count();
        assert_eq!((shown(&plain), shown(&by_class)), (0, 2), "{class}: {by_class}");
    }
    for protocol in ["linear", "finetune"] {
        assert_eq!(walk(&at.join("kept").join(protocol)).len(), 2, "a state of each seed");
        assert!(!at.join("good").join(protocol).exists());
    }
}

#[test]
fn wrong_requests_end_with_one_sentence_and_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    refused(at, &[], "no run in this folder; pretrain one");
    refused(at, &["--run", "nowhere"], "nowhere");
    configure(&at.join("runs/empty"));
    refused(at, &[], "no checkpoint");
    run(&at.join("good"), &model());
    run(&at.join("other"), &ModelConfig { arch: Arch::Resnet18, ..model() });
    refused(at, &["--run", "other"], "step-00000012.safetensors");
    std::fs::create_dir_all(at.join("broken/checkpoints")).unwrap();
    configure(&at.join("broken"));
    std::fs::write(at.join("broken/checkpoints/step-00000001.safetensors"), b"nonsense").unwrap();
    refused(at, &["--run", "broken"], "step-00000001.safetensors");
    refused(at, &["--run", "good", "--k", "81"], "80 training images");
    refused(at, &["--run", "good", "--crop", "17"], "--crop 17");
    refused(at, &["--run", "good", "--data", "imagefolder:missing"], "missing");
    refused(at, &["--run", "good", "--data", "nonsense"], "nonsense");
    refused(at, &["--run", "good", "--device", "tpu"], "use cpu, cuda or cuda:N");
    refused(at, &["--run", "good", "--protocol", "voc07"], "voc2007:PATH");
    refused(at, &["--run", "good", "--protocol", "unheard-of"], "unheard-of");
    refused(at, &["--run", "good", "--protocol", "linear,finetune", "--lr", "1,3"], "--lr");
    refused(at, &["--run", "good", "--epochs", "0"], "use a whole number, at least 1");
    refused(at, &["--run", "good", "--temperature", "-1"], "use a positive number");
    refused(at, &["--run", "good", "--protocol", "retrieval", "--queries", "20000"], "--queries 20000");
    refused(at, &["--run", "good", "--out", "nowhere/figures.json"], "--out nowhere/figures.json");
    refused(at, &["--run", "good", "--labels", "1%"], "--labels: only finetune reads it; add --protocol finetune");
    refused(at, &["--run", "good", "--epochs", "5"], "--epochs: only linear, finetune, voc07 read it");
    let voc07 = ["--run", "good", "--protocol", "voc07"];
    refused(at, &[&voc07[..], &["--resize", "256"]].concat(), "--resize 256: voc07 cuts crops of 300 pixels");
    refused(at, &[&voc07[..], &["--crop", "21", "--resize", "20"]].concat(), "--crop 21: voc07 cuts");
    // Its own default, which is more than the run resizes images to for other protocols.
    refused(at, &[&voc07[..], &["--crop", "300", "--data", "voc2007:missing"]].concat(), "missing");
    refused(at, &["--run", "good", "--protocol", "finetune", "--labels", "0%"], "--labels 0%");
    refused(at, &["--run", "good", "--protocol", "finetune", "--label-list", "no.txt"], "no.txt");

    let image = |path: &str| {
        let path = at.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbImage::new(16, 16).save(path).unwrap();
    };
    for split in ["train", "test"] {
        image(&format!("one/{split}/cat/a.png"));
        image(&format!("unknown/{split}/cat/a.png"));
        image(&format!("flat/{split}/a.png"));
    }
    image("unknown/train/dog/a.png");
    image("unknown/test/eel/a.png");
    let few = ["--run", "good", "--data", "procedural:classes=4,train=4,test=8,side=16"];
    refused(at, &few, "no class has two training images, one of which could be held out to choose by");
    refused(at, &["--run", "good", "--out", "figures.json/"], "--out figures.json/: this is a folder");
    refused(at, &["--run", "good", "--data", "imagefolder:one"], "one class");
    refused(at, &["--run", "good", "--data", "imagefolder:unknown"], "eel");
    refused(at, &["--run", "good", "--data", "flat:flat"], "only retrieval");
}

#[test]
fn a_file_that_is_no_evaluation_is_refused_before_the_work_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    run(&at.join("good"), &model());
    std::fs::write(at.join("weights.bin"), b"\xff\xfe").unwrap();
    refused(at, &["--run", "good", "--out", "weights.bin"], "weights.bin: this is not an eval.json");
    std::fs::write(at.join("good/eval.json"), "{").unwrap();
    refused(at, &["--run", "good"], "eval.json: this is not an eval.json");

    // The name with a hash, which is taken where the usual file is of other images.
    let weights = "good/checkpoints/step-00000012.safetensors";
    let of = ["--weights", weights, "--protocol", "knn", "--trained-only", "--data"];
    let other = format!("{DATA},seed=1");
    for data in [DATA, &other] {
        assert_eq!(eval(at, &[&of[..], &[data]].concat()).0, 0);
    }
    let named = "step-00000012.safetensors.eval-";
    let hashed = walk(at).into_iter().find(|path| path.file_name().unwrap().to_string_lossy().starts_with(named));
    std::fs::write(hashed.unwrap(), "{").unwrap();
    refused(at, &[&of[..], &[&other]].concat(), "this is not an eval.json");
}

#[test]
fn corrupted_images_give_a_row_for_each_classifier_and_a_table_by_corruption() {
    let folder = tempfile::tempdir().unwrap();
    run(&folder.path().join("good"), &model());
    let arguments = ["--run", "good", "--protocol", "knn,corruptions", "--corruption-images", "20", "--threads", "2"];
    let (code, stdout, stderr) = eval(folder.path(), &arguments);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("corruptions, trained: 1200/1200 images"), "{stderr}");
    let by_knn = "corruptions knn k=20 T=0.07";
    for text in ["corrupted %", by_knn, "corruptions linear-features", "by severity of trained", "shot_noise"] {
        assert!(stdout.contains(text), "{text}: {stdout}");
    }
    let path = folder.path().join("good/eval.json");
    let evaluation = Evaluation::read(&path).unwrap();
    let names: Vec<_> = evaluation.protocols.iter().map(|p| p.protocol.as_str()).collect();
    assert_eq!(names, ["knn k=20 T=0.07", by_knn, "corruptions linear-features"]);
    // The run's k, as for knn.
    assert_eq!(evaluation.protocols[1].settings["k"], 20);
    // Both stay beside what is evaluated later.
    let (code, _, stderr) = eval(folder.path(), &["--run", "good", "--protocol", "linear-features"]);
    assert_eq!((code, Evaluation::read(&path).unwrap().protocols.len()), (0, 4), "{stderr}");
}

#[test]
fn help_shows_an_example_and_every_protocol_with_its_settings() {
    let folder = tempfile::tempdir().unwrap();
    let (code, stdout, _) = eval(folder.path(), &["--help"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("clsa eval --run runs/demo"), "{stdout}");
    assert!(stdout.contains("knn, corruptions: k and temperature of a publication"), "{stdout}");
    for protocol in clsa_eval::protocols::PROTOCOLS {
        assert!(stdout.contains(&format!("- {}:", protocol.name())), "{stdout}");
        for setting in protocol.settings() {
            assert!(stdout.contains(&format!("--{} <", setting.name)), "{}: {stdout}", setting.name);
        }
    }
}

/// Two classes of VOC in plain colors: people are red, cars blue, and some images show both.
fn write_voc(root: &Path) {
    let base = root.join("VOC2007");
    for folder in ["Annotations", "JPEGImages", "ImageSets/Main"] {
        std::fs::create_dir_all(base.join(folder)).unwrap();
    }
    for (set, first, count) in [("trainval", 0, 24), ("test", 100, 12)] {
        let mut names = String::new();
        for image in first..first + count {
            let name = format!("{image:06}");
            let shown: &[&str] = [&["person"][..], &["car"], &["person", "car"]][image % 3];
            let objects: String = (shown.iter())
                .map(|name| format!("<object><name>{name}</name><difficult>0</difficult></object>"))
                .collect();
            let xml = format!("<annotation><filename>{name}.jpg</filename>{objects}</annotation>");
            std::fs::write(base.join(format!("Annotations/{name}.xml")), xml).unwrap();
            let [red, blue] = ["person", "car"].map(|class| if shown.contains(&class) { 220 } else { 30 });
            let shade = (image % 7) as u8 * 4;
            image::RgbImage::from_fn(40, 32, |x, _| image::Rgb([red - shade, (x * 3) as u8, blue - shade]))
                .save(base.join(format!("JPEGImages/{name}.jpg")))
                .unwrap();
            names += &format!("{name}\n");
        }
        std::fs::write(base.join(format!("ImageSets/Main/{set}.txt")), names).unwrap();
    }
}

#[test]
fn the_command_evaluates_a_data_set_of_vocs_form_and_reports_its_progress() {
    let folder = tempfile::tempdir().unwrap();
    write_voc(folder.path());
    let encoder = Encoder::new(&model(), Compute::default(), 7, &Device::Cpu).unwrap();
    let tensors = encoder.state_dict().unwrap().into_iter().collect();
    candle_core::safetensors::save::<String, _>(&tensors, folder.path().join("encoder.safetensors")).unwrap();
    let output = Command::cargo_bin("clsa")
        .unwrap()
        .current_dir(folder.path())
        .args(["eval", "--weights", "encoder.safetensors", "--data", "voc2007:.", "--protocol", "voc07"])
        .args(["--crop", "16", "--resize", "20", "--epochs", "30", "--out", "figures.json"])
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stdout.contains("mAP %") && stderr.contains("voc07, trained: 210/210 epochs"), "{stdout}{stderr}");
    let evaluation = Evaluation::read(&folder.path().join("figures.json")).unwrap();
    let figure = |encoder: EncoderKind| {
        let result = evaluation.protocols[0].results.iter().find(|result| result.encoder == encoder).unwrap();
        let Figures::AveragePrecision(precision) = &result.figures else { panic!("no average precision") };
        assert_eq!(precision.per_class.len(), 2, "person and car are present");
        precision.mean.value
    };
    assert!(
        figure(EncoderKind::Trained) > figure(EncoderKind::Chance) + 5.0,
        "{} and {}",
        figure(EncoderKind::Trained),
        figure(EncoderKind::Chance)
    );
}

#[test]
fn features_of_another_stage_have_figures_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let one = folder.path().join("runs/one");
    run(&one, &model());
    let stages = [("embedding", "eval-embedding.json", 128), ("layer2", "eval-layer2.json", 16)];
    let mut hashes = Vec::new();
    for (stage, file, dim) in stages {
        let (code, stdout, stderr) = eval(folder.path(), &["--protocol", "knn", "--knn", "moco", "--stage", stage]);
        assert_eq!(code, 0, "{stderr}");
        assert!(stdout.starts_with(&format!("features: {stage}\n")) && stdout.contains("knn k=80 T=0.1 "), "{stdout}");
        let evaluation = Evaluation::read(&one.join(file)).unwrap();
        assert_eq!(evaluation.stage.to_string(), stage);
        hashes.push(evaluation.encoder_sha256);
        let sizes = walk(&one.join("features")).into_iter().map(|path| std::fs::read(path).unwrap());
        assert!(
            sizes.into_iter().any(|bytes| String::from_utf8_lossy(&bytes[8..600]).contains(&format!("[80,{dim}]")))
        );
    }
    assert!(!one.join("eval.json").exists(), "the usual evaluation is not touched");
    let (code, _, stderr) = eval(folder.path(), &["--protocol", "knn", "--knn", "dino", "--k", "7"]);
    assert_eq!(code, 0, "{stderr}");
    let usual = Evaluation::read(&one.join("eval.json")).unwrap();
    assert_eq!(usual.protocols[0].protocol, "knn k=7 T=0.07", "what is given counts before what is named");
    assert!(!hashes.contains(&usual.encoder_sha256) && hashes[0] != hashes[1]);

    refused(folder.path(), &["--stage", "layer9"], "--stage layer9: use backbone, embedding, layer1");
    refused(
        folder.path(),
        &["--protocol", "knn", "--knn", "unheard-of"],
        "--knn unheard-of: use instance-discrimination",
    );
    refused(folder.path(), &["--protocol", "finetune", "--stage", "layer2"], "finetune trains the whole backbone");
    let backbone = folder.path().join("backbone.safetensors");
    let weights: HashMap<String, Tensor> = Encoder::new(&model(), Compute::default(), 7, &Device::Cpu)
        .unwrap()
        .state_dict()
        .unwrap()
        .into_iter()
        .filter(|(name, _)| !name.starts_with("fc."))
        .collect();
    candle_core::safetensors::save(&weights, &backbone).unwrap();
    let args = ["--weights", "backbone.safetensors", "--data", DATA, "--protocol", "knn", "--stage", "embedding"];
    refused(folder.path(), &args, "has no projection head; use backbone or a stage");
}

#[test]
fn the_runs_images_are_the_same_however_they_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    run(&at.join("good"), &model());
    let files = |data: &str| {
        let evaluated = eval(at, &["--run", "good", "--protocol", "knn", "--trained-only", "--data", data]);
        assert_eq!(evaluated.0, 0, "{}", evaluated.2);
        let entries = std::fs::read_dir(at.join("good")).unwrap().map(|entry| entry.unwrap().file_name());
        let mut files: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
        files.retain(|name| name.starts_with("eval"));
        files.sort();
        files
    };
    assert_eq!(files(&format!("{DATA},seed=0")), ["eval.json"]);
    assert_eq!(files("procedural:classes=4,train=80,test=40,side=16,seed=1").len(), 2);
}

#[test]
fn other_images_than_those_of_the_run_are_refused_unless_they_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    for (at, count) in [(&first, 4), (&second, 3)] {
        for class in ["train/cat", "train/dog", "test/cat", "test/dog"].map(|class| at.join("pictures").join(class)) {
            std::fs::create_dir_all(&class).unwrap();
            for number in 0..count {
                image::RgbImage::new(16, 16).save(class.join(format!("{number}.png"))).unwrap();
            }
        }
    }
    let one = first.join("one");
    run(&one, &model());
    let config = one.join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace(DATA, "imagefolder:pictures")).unwrap();
    let images: Source = format!("imagefolder:{}", first.join("pictures").display()).parse().unwrap();
    DataIdentity::of(images.open(Split::Train).unwrap().as_ref()).write(&RunFolder::at(&one)).unwrap();

    let knn = ["--protocol", "knn", "--k", "2", "--trained-only", "--run"];
    let (before, elsewhere) = (walk(&first), [&knn[..], &["../first/one"]].concat());
    let why = "not those that this run was trained on (6 images in place of 8); name those with --data";
    let own_name = ["--data", "imagefolder:pictures"];
    refused(&second, &elsewhere, why);
    refused(&second, &[&elsewhere[..], &own_name].concat(), why);
    assert_eq!(walk(&first), before);
    for (at, args) in [
        (&second, [&elsewhere[..], &own_name, &["--out", "named.json"]].concat()),
        (&first, [&knn[..], &["one"]].concat()),
    ] {
        let (code, _, stderr) = eval(at, &args);
        assert_eq!(code, 0, "{stderr}");
    }
}

#[test]
fn more_queries_and_neighbors_than_images_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    run(&at.join("good"), &model());
    let more = ["--run", "good", "--protocol", "retrieval", "--queries", "41", "--neighbors", "81", "--trained-only"];
    let (code, _, stderr) = eval(at, &more);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("queries are 40, the number of images, not 41"), "{stderr}");
    assert!(stderr.contains("neighbors are 80, the number of images, not 81"), "{stderr}");
}
