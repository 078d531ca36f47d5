//! `clsa convert` as a user runs it.

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use clsa_model::weights;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A file that PyTorch wrote (clsa-model/tests/fixtures/make_weights.py).
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../clsa-model/tests/fixtures").join(name)
}

fn convert(input: &Path, output: &Path, more: &[&str]) -> Assert {
    Command::cargo_bin("clsa").unwrap().arg("convert").arg(input).arg(output).args(more).assert()
}

/// Exit code 2, one sentence that holds all of `words`, and nothing left in the folder but what was there.
fn refused(input: &Path, output: &Path, more: &[&str], words: &[&str]) {
    let folder = output.parent().unwrap();
    let entries = || fs::read_dir(folder).map_or(0, Iterator::count);
    let before = entries();
    let assert = convert(input, output, more).code(2);
    let text = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    for word in words {
        assert!(text.contains(word), "{text:?} does not name {word:?}");
    }
    assert_eq!(entries(), before, "something was written");
}

fn values(file: &Path) -> Vec<(String, Vec<f32>)> {
    let tensors = weights::read(file).unwrap().tensors.into_iter();
    let as_f32 = |t: candle_core::Tensor| t.to_dtype(candle_core::DType::F32).unwrap().flatten_all().unwrap();
    let mut all: Vec<_> = tensors.map(|(name, t)| (name, as_f32(t).to_vec1().unwrap())).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[test]
fn a_checkpoint_goes_through_every_format_and_keeps_its_values() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let checkpoint = fixture("moco_zip.pth.tar");
    let assert = convert(&checkpoint, &at("a.safetensors"), &[]).success();
    let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    assert!(text.contains("a.safetensors: resnet10 of width 0.0625"), "{text}");
    convert(&at("a.safetensors"), &at("b.pth"), &["--to", "pth"]).success();
    convert(&at("b.pth"), &at("c.safetensors"), &[]).success();
    assert_eq!(values(&at("a.safetensors")), values(&checkpoint));
    assert_eq!(values(&at("c.safetensors")), values(&checkpoint));
    // Detectron2's pickle holds names and arrays; clsa-model's tests compare its bytes with one that Python read.
    convert(&at("b.pth"), &at("d.pkl"), &[]).success();
    let pickle = fs::read(at("d.pkl")).unwrap();
    assert!(pickle.windows(22).any(|w| w == b"res2.0.conv1.norm.bias"));
}

#[test]
fn either_encoder_of_a_checkpoint_can_be_taken() {
    let folder = TempDir::new().unwrap();
    let (query, key) = (folder.path().join("query.pth"), folder.path().join("key.pth"));
    convert(&fixture("moco_zip.pth.tar"), &query, &["--encoder", "query"]).success();
    convert(&fixture("moco_zip.pth.tar"), &key, &["--encoder", "key"]).success();
    assert_eq!(values(&query).len(), values(&key).len());
    assert_ne!(values(&query), values(&key));
    refused(&fixture("resnet10_zip.pth"), &folder.path().join("no.pth"), &["--encoder", "key"], &["no key encoder"]);
}

#[test]
fn a_run_means_its_newest_checkpoint() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let tiny = ["data.source=procedural:classes=4,train=32,test=16,side=16", "model.width=0.125", "method.bank=32"];
    let views = "views={key={size=16}, weak=[{size=16}], strong=[{size=16, strong=true}]}";
    let set = tiny.into_iter().chain([views, "eval={resize=16, crop=16}", "knn.every=0"]);
    let mut pretrain = Command::cargo_bin("clsa").unwrap();
    pretrain.args(["pretrain", "--epochs=2", "--batch-size=16", "--out"]).arg(&run);
    pretrain.args(set.flat_map(|set| ["--set", set])).assert().success();
    let out = folder.path().join("out.pth");
    convert(&run, &out, &[]).success();
    assert_eq!(values(&out), values(&run.join("checkpoints/step-00000004.safetensors")));
    refused(folder.path(), &folder.path().join("no.pth"), &[], &["is not a run", "config.toml"]);
}

#[test]
fn wrong_files_are_refused_with_what_is_wrong() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out.safetensors");
    let at = |name: &str| folder.path().join(name);
    refused(&at("none.pth"), &out, &[], &["none.pth"]);
    refused(
        &fixture("harmful_zip.pth"),
        &out,
        &[],
        &["harmful_zip.pth", "posix.system", "nothing in the file was run"],
    );
    refused(&fixture("views_zip.pth"), &out, &[], &["views_zip.pth", "conv1.weight is missing"]);
    let whole = fs::read(fixture("resnet10_legacy.pth")).unwrap();
    fs::write(at("cut.pth"), &whole[..whole.len() / 2]).unwrap();
    refused(&at("cut.pth"), &out, &[], &["cut.pth", "truncated"]);
    fs::write(at("wrong.safetensors"), &whole).unwrap();
    refused(&at("wrong.safetensors"), &out, &[], &["is a PyTorch file, not safetensors as its name says"]);

    let mut tensors = weights::read(&fixture("resnet10_zip.pth")).unwrap().tensors;
    tensors.remove("layer2.0.bn1.weight");
    tensors.insert("layer9.weight".to_owned(), tensors["bn1.bias"].clone());
    tensors.insert("bn1.bias".to_owned(), tensors["fc.2.bias"].clone());
    weights::write(&at("differs.pth"), &tensors, weights::Format::Pth).unwrap();
    let differences = ["layer2.0.bn1.weight is missing", "layer9.weight is unexpected", "bn1.bias has shape [8]"];
    refused(&at("differs.pth"), &out, &[], &[&["differs.pth"], &differences[..]].concat());
}

#[test]
fn an_output_is_neither_guessed_nor_written_over() {
    let folder = TempDir::new().unwrap();
    let (input, at) = (fixture("resnet10_zip.pth"), |name: &str| folder.path().join(name));
    refused(&input, &at("out.bin"), &[], &["out.bin", ".safetensors, .pth, or .pkl"]);
    refused(&input, &at("out.pth"), &["--to", "detectron2"], &["out.pth", "--to detectron2 writes a .pkl file"]);
    refused(&input, &at("no/out.pth"), &[], &["no/out.pth", "there is no folder"]);
    fs::write(at("there.pth"), b"precious").unwrap();
    refused(&input, &at("there.pth"), &[], &["there.pth", "exists already", "--force"]);
    assert_eq!(fs::read(at("there.pth")).unwrap(), b"precious");
    convert(&input, &at("there.pth"), &["--force"]).success();
    assert_eq!(values(&at("there.pth")), values(&input));
}
