//! `clsa export` as a user meets it: what is in the folder, whether it computes our features, and what is refused.

mod onnx;
#[path = "../tiny/mod.rs"]
mod tiny;

use candle_core::{DType, Device, Tensor};
use clsa_augment::{Augmenter, CenterCrop, Layout};
use clsa_model::weights::{self, Format};
use clsa_model::{Arch, Compute, Encoder, ModelConfig, Stem};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tiny::{clsa, pretrain, refused, stderr};

fn model(arch: Arch, width: f64, stem: Stem) -> ModelConfig {
    ModelConfig { arch, width, stem, ..ModelConfig::default() }
}

/// An encoder whose batch norms do something in evaluation, and its weights in a file.
fn encoder(model: &ModelConfig, file: &Path) -> Encoder {
    let encoder = Encoder::new(model, Compute::default(), 5, &Device::Cpu).unwrap();
    let mut state = encoder.state_dict().unwrap();
    for (name, tensor) in &mut state {
        let (base, by) = match name.rsplit('.').next().unwrap() {
            "running_mean" => (0.0, 0.3),
            "running_var" => (1.0, 0.5),
            "bias" => (0.0, 0.2),
            "weight" if tensor.rank() == 1 => (1.0, 0.4),
            _ => continue,
        };
        let values = (0..tensor.elem_count()).map(|i| base + by * ((i * 7 + name.len()) as f32).sin());
        *tensor = Tensor::from_iter(values, &Device::Cpu).unwrap();
    }
    weights::write(file, &state, Format::Safetensors).unwrap();
    encoder.load_state_dict(&weights::read(file).unwrap().tensors).unwrap();
    encoder
}

/// Two images of odd sides.
fn images() -> Tensor {
    let values = (0..2 * 3 * 45 * 60).map(|i| (i as f32 * 0.37).sin() + (i as f32 * 0.0113).cos());
    Tensor::from_iter(values, &Device::Cpu).unwrap().reshape((2, 3, 45, 60)).unwrap()
}

/// The largest difference, as a share of the largest value.
fn difference(found: &Tensor, expected: &Tensor) -> f32 {
    assert_eq!(found.dims(), expected.dims());
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (found, expected) = (flat(found), flat(expected));
    let highest = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
    let differences = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
    // `max` of a number and NaN is the number, which would hide the NaN.
    differences.fold(0f32, |m, d| if d.is_nan() { f32::INFINITY } else { m.max(d) }) / highest
}

fn export(weights: &Path, to: &str, folder: &Path, more: &[&str]) -> assert_cmd::assert::Assert {
    clsa().args(["export", "--to", to, "--weights"]).arg(weights).arg(folder).args(more).assert()
}

fn export_run(run: &Path, to: &str, folder: &Path, more: &[&str]) -> assert_cmd::assert::Assert {
    clsa().args(["export", "--to", to, "--run"]).arg(run).arg(folder).args(more).assert()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn card(folder: &Path) -> String {
    fs::read_to_string(folder.join("README.md")).unwrap()
}

fn json_of(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn values(path: &Path) -> Vec<(String, Vec<f32>)> {
    let tensors = weights::read(path).unwrap().tensors.into_iter();
    let flat = |t: Tensor| t.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let mut all: Vec<_> = tensors.map(|(name, t)| (name, flat(t))).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[test]
fn every_target_is_a_folder_of_weights_and_a_card() {
    let root = TempDir::new().unwrap();
    let file = root.path().join("resnet10.safetensors");
    encoder(&model(Arch::Resnet10, 1.0, Stem::Imagenet), &file);
    let targets: [(&str, &[&str]); 5] = [
        ("safetensors", &["README.md", "model.safetensors"]),
        ("torch", &["README.md", "model.pth"]),
        ("timm", &["README.md", "config.json", "model.safetensors"]),
        ("hf", &["README.md", "config.json", "model.safetensors"]),
        ("onnx", &["README.md", "model.onnx"]),
    ];
    for (target, files) in targets {
        let folder = root.path().join("exported").join(target);
        let assert = export(&file, target, &folder, &[]).success();
        let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
        assert!(text.contains(&format!("{}: resnet10 for ", folder.display())), "{text}");
        assert_eq!(names(&folder), files, "{target}");
        let card = card(&folder);
        let said = [
            "resnet10",
            "the file `resnet10.safetensors`",
            "512, the mean of the last stage",
            "```python",
            "SHA-256 of `",
        ];
        for words in said.iter().chain(&["resized to 256 pixels", "[0.485, 0.456, 0.406]", "[0.229, 0.224, 0.225]"]) {
            assert!(card.contains(words), "{target} lacks {words}: {card}");
        }
        assert!(!card.contains(root.path().to_str().unwrap()), "{card}");
        let front = card.starts_with("---\nlibrary_name: timm\n") && !card.contains("license");
        assert_eq!(front, matches!(target, "timm" | "hf"), "{card}");
        // Nothing is claimed that the file does not say.
        for words in ["clsa\n", "self-supervised", "query", "## Training", "## Figures"] {
            assert!(!card.contains(words), "{target} says {words}: {card}");
        }
    }
    assert_eq!(names(&root.path().join("exported")).len(), 5, "nothing is left beside them");
    let at = |name: &str| root.path().join("exported").join(name);
    let all = values(&file);
    assert_eq!(values(&at("safetensors/model.safetensors")), all);
    assert_eq!(values(&at("torch/model.pth")), all);
    let backbone: Vec<_> = all.into_iter().filter(|(name, _)| !name.starts_with("fc.")).collect();
    assert_eq!(values(&at("timm/model.safetensors")), backbone);
}

#[test]
fn the_configuration_of_timm_says_how_the_network_and_its_images_are_made() {
    let root = TempDir::new().unwrap();
    let file = root.path().join("resnet10.safetensors");
    encoder(&model(Arch::Resnet10, 1.0, Stem::Imagenet), &file);
    let folder = root.path().join("timm");
    export(&file, "timm", &folder, &[]).success();
    let expected = json!({
        "architecture": "resnet18",
        "model_args": { "layers": [1, 1, 1, 1] },
        "num_classes": 0,
        "num_features": 512,
        "pretrained_cfg": {
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "input_size": [3, 224, 224],
            "fixed_input_size": false,
            "interpolation": "bilinear",
            "crop_pct": 0.875,
            "crop_mode": "center",
            "num_classes": 0,
            "pool_size": [7, 7],
            "first_conv": "conv1",
            "classifier": "fc",
        },
    });
    assert_eq!(json_of(&folder.join("config.json")), expected);
    // What it says is how images are prepared for the weights in that folder.
    let (config, again) = (folder.join("config.json"), root.path().join("again"));
    fs::write(&config, fs::read_to_string(&config).unwrap().replace("0.875", "0.5")).unwrap();
    export(&folder, "onnx", &again, &[]).success();
    assert!(card(&folder).contains("The file does not say how") && card(&folder).contains("resized to 256 pixels"));
    assert!(!card(&again).contains("The file does not say how") && card(&again).contains("resized to 448 pixels"));
    let file = root.path().join("resnet18.safetensors");
    encoder(&model(Arch::Resnet18, 1.0, Stem::Imagenet), &file);
    export(&file, "hf", &root.path().join("hf"), &[]).success();
    let config = json_of(&root.path().join("hf/config.json"));
    assert_eq!((&config["architecture"], config.get("model_args")), (&json!("resnet18"), None));
}

#[test]
fn the_graph_of_onnx_computes_our_features() {
    let root = TempDir::new().unwrap();
    let models = [
        model(Arch::Resnet10, 0.125, Stem::Cifar),
        model(Arch::Resnet34, 0.125, Stem::Imagenet),
        model(Arch::Resnet50, 0.125, Stem::Imagenet),
        model(Arch::WideResnet50x2, 0.0625, Stem::Cifar),
    ];
    for model in models {
        let name = format!("{}-{}", model.arch.name(), model.width);
        let file = root.path().join(format!("{name}.safetensors"));
        let encoder = encoder(&model, &file);
        let folder = root.path().join(&name);
        export(&file, "onnx", &folder, &[]).success();
        let graph = onnx::read(&folder.join("model.onnx"));
        for images in [images(), images().narrow(0, 1, 1).unwrap().narrow(2, 3, 33).unwrap()] {
            let images = images.contiguous().unwrap();
            let found = difference(&onnx::features(&graph, &images), &encoder.features(&images).unwrap());
            assert!(found < 1e-5, "{name}: features differ by {found:e}");
        }
    }
}

#[test]
fn what_a_target_cannot_express_is_refused_with_what_can() {
    let root = TempDir::new().unwrap();
    let refused_for = |model: ModelConfig, target: &str, words: &[&str]| {
        let file = root.path().join("weights.safetensors");
        encoder(&model, &file);
        let folder = root.path().join("no");
        refused(export(&file, target, &folder, &[]), 2, &[words, &["use --to onnx or --to torch"]].concat());
        assert!(!folder.exists(), "{target}");
    };
    let narrow = model(Arch::Resnet50, 0.125, Stem::Imagenet);
    refused_for(narrow, "timm", &["--to timm", "resnet50 of width 1 alone", "0.125"]);
    refused_for(model(Arch::Resnet18, 1.0, Stem::Cifar), "hf", &["--to hf", "7x7", "3x3"]);
    refused_for(model(Arch::Resnet10, 1.0, Stem::Imagenet), "detectron2", &["no resnet10"]);
    refused_for(model(Arch::Resnet18, 1.0, Stem::Cifar), "detectron2", &["7x7", "3x3"]);
    refused_for(model(Arch::Resnet34, 0.5, Stem::Imagenet), "detectron2", &["resnet34 of width 1 alone", "0.5"]);
}

#[test]
fn a_backbone_is_configured_for_detectron2_as_for_moco() {
    let root = TempDir::new().unwrap();
    let file = root.path().join("weights.safetensors");
    encoder(&model(Arch::WideResnet50x2, 0.125, Stem::Imagenet), &file);
    let folder = root.path().join("detection");
    export(&file, "detectron2", &folder, &[]).success();
    let config = fs::read_to_string(folder.join("faster_rcnn_R_50_C4.yaml")).unwrap();
    for line in [
        "DEPTH: 50",
        "NORM: SyncBN",
        "STRIDE_IN_1X1: false",
        "STEM_OUT_CHANNELS: 8",
        "RES2_OUT_CHANNELS: 32",
        "WIDTH_PER_GROUP: 16",
        "FORMAT: RGB",
        "PIXEL_MEAN: [123.675, 116.28, 103.53]",
        "PIXEL_STD: [58.395, 57.12, 57.375]",
        "WEIGHTS: backbone.pkl",
    ] {
        assert!(config.lines().any(|found| found.trim() == line), "{line}: {config}");
    }
    assert_eq!(names(&folder), ["README.md", "backbone.pkl", "faster_rcnn_R_50_C4.yaml"]);
    assert!(card(&folder).contains("merge_from_file(\"faster_rcnn_R_50_C4.yaml\")"), "{}", card(&folder));

    // Detectron2's C4 head has bottlenecks, so basic blocks have the pyramid.
    encoder(&model(Arch::Resnet18, 1.0, Stem::Imagenet), &file);
    let folder = root.path().join("pyramid");
    export(&file, "detectron2", &folder, &[]).success();
    let config = fs::read_to_string(folder.join("faster_rcnn_R_18_FPN.yaml")).unwrap();
    for line in ["DEPTH: 18", "RES2_OUT_CHANNELS: 64", "NAME: build_resnet_fpn_backbone"] {
        assert!(config.lines().any(|found| found.trim() == line), "{line}: {config}");
    }
}

#[test]
fn a_folder_that_is_not_empty_is_left_alone_unless_forced() {
    let root = TempDir::new().unwrap();
    let file = root.path().join("weights.safetensors");
    encoder(&model(Arch::Resnet10, 0.125, Stem::Cifar), &file);
    let folder = root.path().join("there");
    fs::create_dir(&folder).unwrap();
    export(&file, "torch", &folder, &[]).success();
    fs::write(folder.join("mine.txt"), "precious").unwrap();
    fs::write(folder.join("README.md"), "earlier").unwrap();
    refused(export(&file, "torch", &folder, &[]), 2, &["there: this folder is not empty", "--force"]);
    // The folder of a run stays one, even where that is forced.
    let run = root.path().join("run");
    fs::create_dir(&run).unwrap();
    fs::write(run.join("config.toml"), "").unwrap();
    refused(export(&file, "torch", &run, &["--force"]), 2, &["run: this is a run; name it by --run"]);
    assert_eq!(names(&run), ["config.toml"]);
    assert_eq!(card(&folder), "earlier");
    export(&file, "torch", &folder, &["--force"]).success();
    assert_eq!(names(&folder), ["README.md", "mine.txt", "model.pth"]);
    assert!(card(&folder).contains("SHA-256") && fs::read(folder.join("mine.txt")).unwrap() == b"precious");

    refused(export(&file, "torch", &file, &["--force"]), 2, &["weights.safetensors: this is not a folder"]);
    refused(export(&file, "torch", &file.join("below"), &[]), 2, &["weights.safetensors is a file; name another"]);
    fs::create_dir(folder.join("model.onnx")).unwrap();
    refused(export(&file, "onnx", &folder, &["--force"]), 2, &["there: a folder has the name of one of the files"]);
    assert!(card(&folder).contains("SHA-256 of `model.pth`"), "the earlier export is whole");
    let none = root.path().join("none.pth");
    refused(export(&none, "torch", &root.path().join("no"), &[]), 2, &["none.pth"]);
    refused(export_run(root.path(), "torch", &root.path().join("no"), &[]), 2, &["is not a run"]);
    refused(export(&file, "torch", &root.path().join("no"), &["--encoder", "key"]), 2, &["has no key encoder"]);
    assert!(!root.path().join("no").exists());
    export(&file, "keras", &folder, &[]).code(2);
}

#[cfg(unix)]
#[test]
fn what_a_killed_export_has_left_does_not_count() {
    let root = TempDir::new().unwrap();
    let file = root.path().join("weights.safetensors");
    encoder(&model(Arch::Resnet10, 0.125, Stem::Cifar), &file);
    let folder = root.path().join("there");
    fs::create_dir_all(folder.join(".clsa-writing-abcABC")).unwrap();
    fs::write(folder.join(".clsa-writing-abcABC/model.pth"), "half").unwrap();
    fs::create_dir(root.path().join(".clsa-writing-defDEF")).unwrap();
    export(&file, "torch", &folder, &[]).success();
    assert_eq!(names(&folder), ["README.md", "model.pth"]);
    assert_eq!(names(root.path()), ["there", "weights.safetensors"]);
}

#[test]
fn a_run_leaves_its_encoder_and_the_card_says_how_it_was_trained_and_how_good_it_is() {
    let root = TempDir::new().unwrap();
    let run = root.path().join("run");
    let text = stderr(&pretrain(&run, &["--epochs=1"]).success());
    let folder = run.join("export");
    assert!(text.contains(&format!("for use elsewhere, is in {}", folder.display())), "{text}");
    assert_eq!(names(&folder), ["README.md", "model.safetensors"]);
    assert!(card(&folder).contains("| epochs | 1 of 1, 4 steps |"), "{}", card(&folder));
    let few = root.path().join("few");
    pretrain(&few, &["--epochs=1", "--set", "knn={every=1, k=200}"]).success();
    assert!(card(&few.join("export")).contains("| knn k=64 T=0.07 during training"), "{}", card(&few.join("export")));
    // A longer run replaces it.
    clsa().args(["pretrain", "--epochs=2", "--resume"]).arg(&run).assert().success();
    assert_eq!(names(&folder), ["README.md", "model.safetensors"]);
    let checkpoint = tiny::checkpoint(&run, 8);
    assert_eq!(values(&folder.join("model.safetensors")), values(&checkpoint));
    let before = card(&folder);
    for row in [
        "# resnet10 of width 0.125 with a 3x3 stem",
        "| images | 64 of procedural, of 4 classes that training did not see |",
        "| epochs | 2 of 2, 8 steps |",
        "| weak views | 16 pixels of 0.2 to 1 of the area; color jitter, grayscale, blur, flip |",
        "| strong views | 16 pixels of 0.2 to 1 of the area; color jitter, grayscale, blur, flip, stronger augmentations |",
        "| loss of weak views | InfoNCE, temperature 0.2 |",
        "| loss of strong views | distributional divergence, temperature 0.2, weight 1 |",
        "| negatives | 32 keys of a memory bank and those of the batch |",
        "| batch | 16 images |",
        "| knn k=5 T=0.07 during training, on backbone features | Top-1 accuracy |",
        "resized to 16 pixels",
    ] {
        assert!(before.contains(row), "{row}: {before}");
    }
    let monitored = tiny::records(&run, "knn").pop().unwrap()["top1"].as_f64().unwrap();
    assert!(before.contains(&format!("| {monitored:.1} |  | up to 16 of procedural |")), "{before}");
    assert!(!before.contains("| knn k=5 T=0.07 | Top-1"), "{before}");

    clsa().args(["eval", "--protocol", "knn", "--run"]).arg(&run).assert().success();
    let again = root.path().join("again");
    export_run(&run, "onnx", &again, &[]).success();
    let evaluation = json_of(&run.join("eval.json"));
    let top1 = &evaluation["protocols"][0]["results"][0]["top1"];
    let figure = |key: &str| format!("{:.1}", top1[key].as_f64().unwrap());
    let row = format!(
        "| knn k=5 T=0.07 | Top-1 accuracy | {} | {} to {} | 16 of procedural |",
        figure("value"),
        figure("low"),
        figure("high")
    );
    assert!(card(&again).contains(&row), "{row}: {}", card(&again));
    assert!(!card(&again).contains(root.path().to_str().unwrap()));
    assert!(card(&again).contains("| encoder | query encoder, which was trained by gradients |"), "{}", card(&again));

    // Of the test images a part is corrupted.
    let part = ["eval", "--protocol", "corruptions", "--corruption-images", "8", "--trained-only", "--run"];
    clsa().args(part).arg(&run).assert().success();
    let corrupted = root.path().join("corrupted");
    export_run(&run, "onnx", &corrupted, &[]).success();
    let text = card(&corrupted);
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| corruptions ")).collect();
    assert!(rows.len() == 2 && rows.iter().all(|row| row.ends_with("| 8 of procedural |")), "{text}");
    assert!(text.contains(&row) && text.contains("| 95 % over test images |"), "{row}: {text}");

    let smaller = ["eval", "--protocol", "knn", "--resize", "14", "--crop", "12", "--run"];
    clsa().args(smaller).arg(&run).assert().success();
    let cut = root.path().join("cut");
    export_run(&run, "onnx", &cut, &[]).success();
    assert!(card(&cut).contains("| 16 of procedural, resized to 14 and cut to 12 pixels |"), "{}", card(&cut));

    // The key encoder has other weights, which nobody has evaluated.
    let key = root.path().join("key");
    export_run(&run, "safetensors", &key, &["--encoder", "key"]).success();
    assert!(card(&key).contains("the moving average") && card(&key).contains("were not evaluated"), "{}", card(&key));
    let stored = weights::read(&checkpoint).unwrap().key.unwrap();
    let found = weights::read(&key.join("model.safetensors")).unwrap().tensors;
    assert!(difference(&found["conv1.weight"], &stored["conv1.weight"]) == 0.0);
    assert!(values(&key.join("model.safetensors")) != values(&folder.join("model.safetensors")));
}

#[test]
fn a_checkpoint_that_does_not_say_its_epoch_has_a_card_without_it() {
    let root = TempDir::new().unwrap();
    let run = root.path().join("run");
    pretrain(&run, &[]).success();
    let checkpoint = tiny::checkpoint(&run, 8);
    let bytes = fs::read(&checkpoint).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let format = HashMap::from([("format".to_owned(), "clsa-checkpoint-1".to_owned())]);
    fs::write(&checkpoint, safetensors::serialize(tensors.tensors(), Some(format)).unwrap()).unwrap();
    let folder = root.path().join("exported");
    export_run(&run, "torch", &folder, &[]).success();
    assert!(card(&folder).contains("| batch | 16 images |") && !card(&folder).contains("| epochs |"));
}

#[test]
fn an_export_that_fails_at_the_end_of_a_run_is_a_warning() {
    let root = TempDir::new().unwrap();
    let run = root.path().join("run");
    fs::create_dir(&run).unwrap();
    fs::write(run.join("export"), "a file").unwrap();
    let text = stderr(&pretrain(&run, &[]).success());
    let warning = format!("warning: {}: ", run.join("export").display());
    assert!(text.contains(&warning) && text.contains("evaluate it with"), "{text}");
    assert_eq!(fs::read(run.join("export")).unwrap(), b"a file");
}

/// The Python to check with; none where the environment names none.
fn python() -> Option<PathBuf> {
    std::env::var_os("CLSA_PYTHON").map(PathBuf::from)
}

#[test]
fn python_loads_every_export_and_computes_our_features() {
    let Some(python) = python() else {
        eprintln!(
            "skipped: CLSA_PYTHON names no Python with torch, torchvision, timm, onnx, onnxruntime and safetensors"
        );
        return;
    };
    let root = TempDir::new().unwrap();
    let photo = root.path().join("photo.png");
    let pixel = |x: u32, y: u32| image::Rgb([(x * 3) as u8, (y * 5) as u8, (x * y / 7) as u8]);
    let picture = image::RgbImage::from_fn(300, 211, pixel);
    picture.save(&photo).unwrap();
    let prepared = |resize: u32, crop: u32| {
        let transform = CenterCrop::new(resize, crop);
        let mut pixels = vec![0f32; transform.values()];
        transform.write(&mut Augmenter::new(), &picture, Layout::ChannelsFirst, &mut pixels).unwrap();
        Tensor::from_vec(pixels, (1, 3, crop as usize, crop as usize), &Device::Cpu).unwrap()
    };

    let all: &[&str] = &["safetensors", "torch", "timm", "hf", "onnx"];
    let plain: &[&str] = &["safetensors", "torch", "onnx"];
    let detection: &[&str] = &["safetensors", "torch", "onnx", "detectron2"];
    let models = [
        (model(Arch::Resnet10, 1.0, Stem::Imagenet), all),
        (model(Arch::Resnet18, 1.0, Stem::Imagenet), &["timm", "torch", "detectron2"]),
        (model(Arch::Resnet18, 1.0, Stem::Cifar), plain),
        (model(Arch::Resnet10, 0.125, Stem::Cifar), plain),
        (model(Arch::Resnet50, 0.125, Stem::Imagenet), detection),
        (model(Arch::WideResnet50x2, 0.0625, Stem::Imagenet), detection),
        (model(Arch::WideResnet50x2, 0.125, Stem::Cifar), plain),
    ];
    for (number, (model, targets)) in models.into_iter().enumerate() {
        let file = root.path().join("weights.safetensors");
        let encoder = encoder(&model, &file);
        let inputs = root.path().join("inputs.safetensors");
        let photo_tensor = if model.stem == Stem::Cifar { prepared(32, 32) } else { prepared(256, 224) };
        let tensors = HashMap::from([
            ("images", images()),
            ("features", encoder.features(&images()).unwrap()),
            ("photo", photo_tensor),
        ]);
        candle_core::safetensors::save(&tensors, &inputs).unwrap();
        let folders: Vec<PathBuf> =
            targets.iter().map(|target| root.path().join(format!("{number}-{target}"))).collect();
        for (target, folder) in targets.iter().zip(&folders) {
            export(&file, target, folder, &[]).success();
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/check_export.py");
        let mut command = assert_cmd::Command::new(&python);
        let assert = command.arg(script).arg(&inputs).arg(&photo).args(&folders).assert().success();
        println!("{}", String::from_utf8_lossy(&assert.get_output().stdout));
    }
}
