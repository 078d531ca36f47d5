//! `pretrain --init`: what training takes from a weight file, and which files it refuses.

mod tiny;

use clsa_loss::candle_core::{Device, Tensor};
use clsa_model::weights::{self, Format};
use clsa_model::{Arch, Compute, Encoder, ModelConfig, Stem};
use clsa_run::{Config, RunFolder};
use clsa_train::{InitialWeights, SingleProcess, Taken, build};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use tiny::{checkpoint, clsa, pretrain, records, refused, resume, settings, stderr};

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn same(ours: &HashMap<String, Tensor>, theirs: &HashMap<String, Tensor>, wanted: impl Fn(&str) -> bool) -> bool {
    let mut names = theirs.iter().filter(|(name, tensor)| wanted(name) && tensor.dtype().is_float());
    names.all(|(name, tensor)| values(&ours[name]) == values(tensor))
}

fn is_head(name: &str) -> bool {
    name.starts_with("fc")
}

/// The tiny configuration, and a run of it.
fn config(changes: &[&str]) -> Config {
    let changes = changes.iter().map(|change| (*change).to_owned());
    Config::load("demo", &settings().map(str::to_owned).chain(changes).collect::<Vec<_>>()).unwrap()
}

/// What training of a configuration takes from a file, and the state it then begins with: query, key and bank.
fn taken(file: &Path, changes: &[&str]) -> (Taken, [HashMap<String, Tensor>; 2], Tensor) {
    let mut clsa = build(&config(changes), &Device::Cpu, Arc::new(SingleProcess)).unwrap();
    let taken = InitialWeights::read(file).unwrap().load(&mut clsa).unwrap();
    let [query, key] = [&clsa.pair.query, &clsa.pair.key].map(|encoder| encoder.state_dict().unwrap());
    (taken, [query, key], clsa.bank.rows().clone())
}

#[test]
fn all_that_fits_is_taken_from_a_checkpoint_and_the_rest_is_new() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    pretrain(&run, &["--epochs=1"]).success();
    let file = checkpoint(&run, 4);
    let theirs = weights::read(&file).unwrap();
    let key_theirs = theirs.key.as_ref().unwrap();

    let (all, [query, key], bank) = taken(&file, &[]);
    assert_eq!(all, Taken { key: true, head: true, bank: true });
    assert_eq!(all.to_string(), "backbone, key encoder, projection head, memory bank of the file");
    assert!(same(&query, &theirs.tensors, |_| true) && same(&key, key_theirs, |_| true));
    assert!(!same(&query, &key, |_| true), "the two encoders of a run differ");
    assert_eq!(values(&bank), values(theirs.bank.as_ref().unwrap()));

    let (some, _, bank) = taken(&file, &["method.bank=48"]);
    assert_eq!((some, bank.dims()), (Taken { key: true, head: true, bank: false }, &[48, 128][..]));
    assert_eq!(some.to_string(), "backbone, key encoder, projection head of the file; memory bank new");

    let (some, [query, key], bank) = taken(&file, &["model.dim=64"]);
    assert_eq!((some, bank.dims()), (Taken { key: true, head: false, bank: false }, &[32, 64][..]));
    assert!(same(&query, &theirs.tensors, |name| !is_head(name)) && same(&key, key_theirs, |name| !is_head(name)));
    assert!(same(&query, &key, is_head), "a new head is the same in both");
}

#[test]
fn a_single_network_gives_both_encoders_and_a_classifier_is_no_head() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("network.pth");
    let model = ModelConfig { dim: 10, head: clsa_model::HeadConfig::Linear, ..config(&[]).model };
    let theirs = Encoder::new(&model, Compute::default(), 5, &Device::Cpu).unwrap().state_dict().unwrap();
    weights::write(&file, &theirs, Format::Pth).unwrap();
    let (some, [query, key], _) = taken(&file, &[]);
    assert_eq!(some, Taken { key: false, head: false, bank: false });
    assert_eq!(
        some.to_string(),
        "backbone of the file; key encoder copied from the query encoder; projection head new; memory bank new"
    );
    assert!(same(&query, &theirs, |name| !is_head(name)) && same(&key, &query, |_| true));
}

#[test]
fn weights_fit_every_width_that_gives_as_many_channels() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("weights.safetensors");
    let [model, other] = ["model.width=0.1", "model.width=0.11"].map(|change| config(&[change]).model);
    assert_eq!([model.base_width(), other.base_width()], [6, 7]);
    let tensors = Encoder::new(&model, Compute::default(), 0, &Device::Cpu).unwrap().state_dict().unwrap();
    weights::write(&file, &tensors, Format::Safetensors).unwrap();
    let initial = InitialWeights::read(&file).unwrap();
    initial.check(&model).unwrap();
    let error = initial.check(&other).unwrap_err().to_string();
    assert!(error.contains("model.width is 0.09375 in the file and 0.11 in the configuration"), "{error}");
}

#[test]
fn a_run_begins_where_the_weights_are_records_them_and_goes_on_without_the_file() {
    let folder = TempDir::new().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    pretrain(&first, &[]).success();
    let file = folder.path().join("weights.safetensors");
    fs::copy(checkpoint(&first, 8), &file).unwrap();
    let init = file.display().to_string();
    let sha256: String = Sha256::digest(fs::read(&file).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect();
    let digest = format!("init.sha256={sha256}");
    let begin = ["--init", &init, "--set", &digest, "--until-epoch", "1", "--set", "optim.lr=0.001"];
    let assert = pretrain(&second, &begin).success();
    let text = stderr(&assert);
    assert!(
        text.contains(&format!("begins with {init}: backbone, key encoder, projection head, memory bank")),
        "{text}"
    );
    let figures =
        |record: &serde_json::Value| ["effective_rank", "alignment", "uniformity"].map(|key| record[key].clone());
    let (before, after) = (records(&first, "label_free"), records(&second, "label_free"));
    assert_eq!(figures(before.last().unwrap()), figures(&after[0]), "training begins where the other ended");

    let config = fs::read_to_string(second.join("config.toml")).unwrap();
    assert!(config.contains(&format!("weights = \"{init}\"")) && config.contains(&sha256), "{config}");
    fs::remove_file(&file).unwrap();
    resume(&second, &["--until-epoch", "0"]).success();
    let change = ["--set", "init.weights=other.pth"];
    refused(resume(&second, &change), 2, &["init"]);
}

#[test]
fn a_run_that_is_begun_with_gives_its_settings_unless_a_preset_is_named() {
    let folder = TempDir::new().unwrap();
    let first = folder.path().join("first");
    pretrain(&first, &["--until-epoch", "1"]).success();
    let begin = |out: &str, more: &[&str]| {
        let mut command = clsa();
        command.current_dir(folder.path()).args(["pretrain", "--init", "first", "--out", out]).args(more);
        command.assert()
    };
    begin("second", &["--epochs=1", "--set", "method.bank=64"]).success();
    let config = Config::load(&folder.path().join("second/config.toml").display().to_string(), &[]).unwrap();
    assert_eq!((config.method.bank, config.train.batch_size, config.train.stop_epoch), (64, 16, 0));
    assert!(config.init.unwrap().weights.ends_with("step-00000004.safetensors"));
    refused(begin("third", &["--preset", "demo"]), 2, &["model.width is 0.125 in the file and "]);

    // What is asked for of a rank is so of the ranks that there are now, whatever the run had.
    let file = folder.path().join("first/config.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("batch_size = 16\n", "batch_size = 16\nranks = 4\n")).unwrap();
    begin("fourth", &["--epochs=1", "--set", "method.bank=64"]).success();
    begin("fifth", &["--epochs=1", "--batch-size=8", "--set", "compute.bn_splits=1"]).success();
    // Parts of a batch that are asked for are not replaced by others.
    let in_parts = begin("sixth", &["--set", "method.bank=64", "--set", "train.accumulate=3"]);
    refused(in_parts, 2, &["train.accumulate = 3: use a divisor of compute.bn_splits, which is 4"]);
    let batch = |run: &str| RunFolder::at(&folder.path().join(run)).config().unwrap().train.batch_size;
    assert_eq!((batch("fourth"), batch("fifth")), (64, 8));
    assert!(!folder.path().join("third").exists());
}

#[test]
fn weights_that_do_not_fit_or_are_not_those_named_are_refused_before_a_run_begins() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let write = |name: &str, model: &ModelConfig, change: fn(&mut HashMap<String, Tensor>)| {
        let mut tensors = Encoder::new(model, Compute::default(), 0, &Device::Cpu).unwrap().state_dict().unwrap();
        change(&mut tensors);
        weights::write(Path::new(&at(name)), &tensors, Format::Safetensors).unwrap();
    };
    let model = config(&[]).model;
    write("good.safetensors", &model, |_| {});
    write("other.safetensors", &ModelConfig { arch: Arch::Resnet18, stem: Stem::Imagenet, ..model.clone() }, |_| {});
    write("damaged.safetensors", &model, |tensors| {
        let bad = (tensors["bn1.bias"].ones_like().unwrap() * f64::NAN).unwrap();
        tensors.insert("bn1.bias".to_owned(), bad);
    });
    write("incomplete.safetensors", &model, |tensors| _ = tensors.remove("layer2.0.bn1.weight").unwrap());
    let out = folder.path().join("run");
    let init = |name: &str, more: &[&str]| pretrain(&out, &[&["--init", &at(name)], more].concat());
    let differences = ["model.arch is resnet18 in the file", "model.stem is imagenet in the file and cifar"];
    refused(init("other.safetensors", &[]), 2, &[&[&at("other.safetensors")[..]], &differences[..]].concat());
    refused(init("damaged.safetensors", &[]), 2, &["bn1.bias", "not a number"]);
    refused(init("incomplete.safetensors", &[]), 2, &["incomplete.safetensors", "layer2.0.bn1.weight"]);
    refused(init("none.safetensors", &[]), 2, &["none.safetensors"]);
    let other_content = format!("init={{weights=\"{}\", sha256=\"00ff\"}}", at("good.safetensors"));
    refused(pretrain(&out, &["--set", &other_content]), 2, &["good.safetensors", "SHA-256", "00ff"]);
    refused(init("good.safetensors", &["--set", "init.sha256=00ff"]), 2, &["good.safetensors", "SHA-256", "00ff"]);
    let another = init("good.safetensors", &["--set", "init.weights=other.pth"]);
    refused(another, 2, &[&format!("--init {}: --set init.weights=other.pth names", at("good.safetensors"))]);
    assert!(!out.exists());
}
