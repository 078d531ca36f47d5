//! `clsa pretrain` as a user runs it.

mod tiny;

use serde_json::Value;
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use tiny::{TINY, checkpoint, clsa, pretrain, records, refused, resume, stderr, tensors};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_run_leaves_configuration_metrics_events_and_checkpoints() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let assert = pretrain(&run, &[]).success();
    let text = stderr(&assert);
    assert!(text.contains(&format!("clsa eval --run {}", run.display())), "{text}");
    assert!(text.contains("% before"), "{text}");
    let config: toml::Table = fs::read_to_string(run.join("config.toml")).unwrap().parse().unwrap();
    assert_eq!(config["train"]["batch_size"].as_integer(), Some(16));
    let steps = records(&run, "step");
    assert_eq!(steps.len(), 8);
    for (i, step) in steps.iter().enumerate() {
        assert_eq!(step["step"], i as u64 + 1);
        assert_eq!(step["epoch"], i as u64 / 4);
        for field in ["lr", "loss", "contrastive", "ddm", "acc1", "images_per_s", "data_wait_s"] {
            assert!(step[field].is_f64(), "{field} in {step}");
        }
        let (loss, parts) = (&step["loss"], step["contrastive"].as_f64().unwrap() + step["ddm"].as_f64().unwrap());
        assert!((loss.as_f64().unwrap() - parts).abs() < 1e-4);
    }
    assert_eq!(steps[0]["lr"], 0.06);
    assert!((steps[4]["lr"].as_f64().unwrap() - 0.03).abs() < 1e-12, "cosine at half of the epochs");
    assert_eq!(records(&run, "knn").len(), 3);
    assert!(checkpoint(&run, 8).exists());
    let events = fs::read_dir(run.join("tensorboard")).unwrap().next().unwrap().unwrap();
    assert!(events.metadata().unwrap().len() > 8 * 7 * 30);
}

#[test]
fn a_resumed_run_ends_with_the_bits_of_an_uninterrupted_one() {
    let folder = TempDir::new().unwrap();
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    pretrain(&whole, &["--set", "checkpoint={every_steps=3, keep=10}"]).success();
    copy(&whole, &cut);
    for step in [4, 6, 8] {
        fs::remove_file(checkpoint(&cut, step)).unwrap();
    }
    // Step 3 is within the first epoch.
    let assert = resume(&cut, &[]).success();
    assert!(stderr(&assert).contains("at step 3"));
    assert_eq!(tensors(&checkpoint(&whole, 8)), tensors(&checkpoint(&cut, 8)));
    let losses = |run: &Path| records(run, "step").iter().map(|r| r["loss"].clone()).collect::<Vec<_>>();
    assert_eq!(losses(&whole), losses(&cut));
}

#[test]
fn a_bank_in_bf16_is_kept_and_resumed_as_such() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    pretrain(&run, &["--set", "compute.bank=bf16", "--set", "checkpoint={every_steps=3, keep=10}"]).success();
    let config: toml::Table = fs::read_to_string(run.join("config.toml")).unwrap().parse().unwrap();
    assert_eq!(config["compute"]["bank"].as_str(), Some("bf16"));
    let bytes = fs::read(checkpoint(&run, 3)).unwrap();
    let bank = safetensors::SafeTensors::deserialize(&bytes).unwrap().tensor("bank.rows").unwrap().dtype();
    assert_eq!(bank, safetensors::Dtype::BF16);
    let end = tensors(&checkpoint(&run, 8));
    resume(&checkpoint(&run, 3), &[]).success();
    assert!(end == tensors(&checkpoint(&run, 8)), "the resumed run ends with other bits");
    let single = folder.path().join("f32");
    pretrain(&single, &[]).success();
    let loss = |run: &Path| records(run, "step")[0]["loss"].as_f64().unwrap();
    let (single, half) = (loss(&single), loss(&run));
    assert!(single != half && (single / half - 1.0).abs() < 1e-2, "{single} with f32, {half} with bf16");
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let folder = TempDir::new().unwrap();
    let ends = ["1", "2", "5"].map(|threads| {
        let run = folder.path().join(threads);
        pretrain(&run, &["--threads", threads]).success();
        tensors(&checkpoint(&run, 8))
    });
    assert!(ends[0] == ends[1] && ends[1] == ends[2]);
}

#[test]
fn variants_of_the_method_train() {
    let folder = TempDir::new().unwrap();
    let variants = [
        ("shuffle_bn", "compute.bn_splits=4"),
        ("symmetric", "method.symmetric=true"),
        ("moco_v2", "views.strong=[]"),
        ("strong_infonce", "method.strong_loss=info_nce"),
    ];
    for (name, variant) in variants {
        let run = folder.path().join(name);
        pretrain(&run, &["--set", variant]).success();
        let steps = records(&run, "step");
        assert_eq!(steps.len(), 8, "{variant}");
        assert_eq!(steps.iter().all(|s| s["ddm"] == 0.0), name == "moco_v2" || name == "strong_infonce", "{variant}");
    }
}

#[test]
fn another_seed_gives_another_run() {
    let folder = TempDir::new().unwrap();
    let ends = ["1", "2"].map(|seed| {
        let run = folder.path().join(seed);
        pretrain(&run, &["--seed", seed]).success();
        tensors(&checkpoint(&run, 8))
    });
    assert!(ends[0] != ends[1]);
}

#[test]
fn damaged_checkpoints_are_refused_by_name_and_the_one_before_is_used() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    pretrain(&run, &["--set", "checkpoint.keep=2"]).success();
    let (older, newer) = (checkpoint(&run, 4), checkpoint(&run, 8));
    let whole = fs::read(&newer).unwrap();
    let mut altered = whole.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    for (bytes, reason) in [(&altered, "altered"), (&whole[..middle].to_vec(), "truncated"), (&Vec::new(), "truncated")]
    {
        fs::write(&newer, bytes).unwrap();
        refused(resume(&newer, &[]), 2, &[&newer.display().to_string(), reason]);
        let cut = folder.path().join(format!("{reason}-{}", bytes.len()));
        copy(&run, &cut);
        let text = stderr(&resume(&cut, &[]).success());
        assert!(text.contains(&checkpoint(&cut, 8).display().to_string()) && text.contains(reason), "{text}");
        assert!(text.contains("at step 4"), "{text}");
    }
    assert!(older.exists());
}

#[test]
fn the_monitor_leaves_out_bad_images_or_ends_the_run_as_asked() {
    let root = TempDir::new().unwrap();
    for (folder, images) in [("train/a", 32), ("train/b", 32), ("test/a", 10), ("test/b", 10)] {
        let folder = root.path().join("images").join(folder);
        fs::create_dir_all(&folder).unwrap();
        for at in 0..images {
            let image = image::RgbImage::from_fn(16, 16, |x, y| image::Rgb([x as u8 * at, y as u8 * 9, at]));
            image.save(folder.join(format!("{at:02}.png"))).unwrap();
        }
    }
    fs::write(root.path().join("images/test/a/03.png"), "garbage").unwrap();
    let source = format!("data.source=imagefolder:{}", root.path().join("images").display());
    let run = |out: &str, more: &[&str]| {
        pretrain(&root.path().join(out), &[&["--set", &source, "--set", "knn.test_samples=20"], more].concat())
    };
    let skipped = run("skip", &["--set", "data.max_bad_fraction=0.1"]).success();
    let warnings = stderr(&skipped).matches("warning: left out of the k-NN monitor").count();
    assert_eq!(warnings, 1, "{}", stderr(&skipped));
    assert_eq!(records(&root.path().join("skip"), "knn").len(), 3);
    refused(run("many", &[]), 1, &["1 of the 20 images", "data.max_bad_fraction"]);
    refused(run("stop", &["--set", "data.on_error=stop"]), 1, &["test/a/03.png"]);
}

#[test]
fn images_of_which_none_can_be_read_are_refused_with_the_reason_of_the_first() {
    let root = TempDir::new().unwrap();
    let images = root.path().join("images");
    fs::create_dir_all(images.join("train/a")).unwrap();
    for at in 0..16 {
        fs::write(images.join(format!("train/a/{at:02}.png")), "garbage").unwrap();
    }
    let assert = pretrain(&root.path().join("run"), &["--data", &format!("imagefolder:{}", images.display())]);
    refused(assert, 2, &["none of the images looked at could be read (", "a/00.png: cannot be", "name others"]);
}

#[test]
fn a_shuffle_buffer_gives_another_order_that_threads_do_not_change() {
    let root = TempDir::new().unwrap();
    let shards = root.path().join("shards");
    let packed = ["data", "pack", "procedural:classes=4,train=64,test=16,side=16", shards.to_str().unwrap()];
    clsa().args(packed).assert().success();
    let source = format!("data.source=wds:{}", shards.display());
    let losses = |out: &str, buffer: &str, threads: &str| -> Vec<Value> {
        let out = root.path().join(out);
        pretrain(&out, &["--set", &source, "--set", buffer, "--threads", threads]).success();
        records(&out, "step").iter().map(|record| record["loss"].clone()).collect()
    };
    let buffered = losses("one", "data.shuffle_buffer=8", "1");
    assert_eq!(buffered.len(), 8);
    assert_eq!(buffered, losses("two", "data.shuffle_buffer=8", "2"));
    assert_ne!(buffered, losses("whole", "data.shuffle_buffer=0", "2"));
}

#[test]
fn only_as_many_checkpoints_stay_as_asked() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    pretrain(&run, &["--set", "checkpoint={every_steps=1, keep=2}"]).success();
    let mut names: Vec<_> =
        fs::read_dir(run.join("checkpoints")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["step-00000007.safetensors", "step-00000008.safetensors"]);
}

#[test]
fn a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_checkpoint() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let assert = pretrain(&run, &["--set", "optim.lr=1e30", "--set", "checkpoint.every_steps=1"]);
    refused(assert, 1, &["step ", "1000000000000000000000000000000", "view 0 is not finite"]);
    let kept = fs::read_dir(run.join("checkpoints")).unwrap().count();
    for entry in fs::read_dir(run.join("checkpoints")).unwrap() {
        for (name, bytes) in tensors(&entry.unwrap().path()) {
            let finite = bytes.chunks_exact(4).all(|b| f32::from_le_bytes(b.try_into().unwrap()).is_finite());
            assert!(finite || name.ends_with("num_batches_tracked"), "{name}");
        }
    }
    assert!((1..=3).contains(&kept), "{kept}");
}

#[test]
fn wrong_requests_end_at_once_with_one_sentence() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let refuse = |more: &[&str], words: &[&str]| {
        refused(pretrain(&run, more), 2, words);
        assert!(!run.exists(), "{more:?} left a run behind");
    };
    refuse(&["--set", "optim.learning_rate=0.1"], &["optim.learning_rate", "unknown field", "lr"]);
    refuse(&["--set", "colour=red"], &["colour"]);
    refuse(&["--set", "optim.lr"], &["--set optim.lr", "KEY=VALUE"]);
    refuse(&["--set", "train.ranks=2"], &["--set train.ranks=2", "start as many processes"]);
    refuse(&["--set", "optim.lr=fast"], &["--set optim.lr=fast"]);
    refuse(&["--set", "compute.bn_splits=0"], &["compute.bn_splits = 0"]);
    refuse(&["--set", "optim.lr=-1"], &["optim.lr", "-1"]);
    refuse(&["--set", "method.bank=8"], &["method.bank = 8", "16"]);
    refuse(&["--set", "method.temperature=0"], &["method.temperature"]);
    refuse(&["--set", "compute.bn_splits=3"], &["compute.bn_splits = 3", "16"]);
    refuse(&["--set", "compute.backend=cuda"], &["compute.backend = cuda: ", "use portable"]);
    refuse(&["--set", "compute.bank=f16"], &["--set compute.bank=f16", "f32", "bf16"]);
    let double = ["--set", "compute.precision=f64", "--set", "compute.backend=portable"];
    refuse(
        &[&double[..], &["--set", "compute.bank=bf16"]].concat(),
        &["compute.bank = bf16", "compute.precision = f64"],
    );
    refuse(&["--set", "views.weak=[]"], &["views.weak"]);
    refuse(&["--epochs", "0"], &["train.epochs"]);
    refuse(&["--batch-size", "65", "--set", "method.bank=65"], &["train.batch_size = 65", "64"]);
    refuse(&["--set", "views.key.size=64"], &["views.key: a view of 64 pixels", "16", "data.allow_upscaling"]);
    let views = ["--set", "views.weak=[{size=16}, {size=24}]", "--set", "views.strong=[{size=24}]"];
    refuse(&views, &["views.weak[1]: a view of 24 pixels"]);
    refuse(&["--data", "imagefolder:/no/such/folder"], &["/no/such/folder"]);
    refuse(&["--data", "tape:/dev/st0"], &["tape"]);
    refuse(&["--preset", "imagenet-single-300"], &["imagenet-single-300", "imagenet-single-200"]);
    refuse(&["--device", "tpu"], &["tpu", "cuda:N"]);
}

#[test]
fn images_that_are_smaller_than_a_view_are_trained_on_where_that_is_allowed() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let larger = ["--epochs", "1", "--set", "views.key.size=24"];
    refused(pretrain(&run, &larger), 2, &["views.key: a view of 24 pixels", "data.allow_upscaling"]);
    pretrain(&run, &[&larger[..], &["--set", "data.allow_upscaling=true"]].concat()).success();
}

#[test]
fn a_run_in_parts_is_the_run_of_whole_batches() {
    let folder = TempDir::new().unwrap();
    let losses = |parts: &str| -> Vec<f64> {
        let run = folder.path().join(parts);
        let mut changes = vec!["compute.precision=f64".to_owned(), "compute.backend=portable".to_owned()];
        changes.extend(["compute.bn_splits=4".to_owned(), format!("train.accumulate={parts}")]);
        let set: Vec<String> = changes.iter().map(|change| format!("--set={change}")).collect();
        pretrain(&run, &set.iter().map(String::as_str).collect::<Vec<_>>()).success();
        records(&run, "step").iter().map(|step| step["loss"].as_f64().unwrap()).collect()
    };
    let (whole, parts) = (losses("1"), losses("2"));
    assert_eq!(whole.len(), 8);
    assert!(whole.iter().zip(&parts).all(|(a, b)| (a - b).abs() < 1e-9 * a.abs()), "{whole:?} {parts:?}");
}

#[test]
fn a_state_that_is_not_finite_is_not_written() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let changes = ["--set", "optim.lr=1e300", "--set", "checkpoint.every_steps=1"];
    refused(pretrain(&run, &changes), 1, &["step-00000001.safetensors", "not finite"]);
    assert_eq!(fs::read_dir(run.join("checkpoints")).unwrap().count(), 0);
}

#[test]
fn a_run_that_cannot_begin_leaves_no_folder() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    refused(pretrain(&run, &["--set", "method.bank=1000000000000000"]), 1, &["1000000000000000"]);
    assert!(!run.exists());
}

#[test]
fn a_run_without_checkpoints_is_not_resumed() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    fs::create_dir(&run).unwrap();
    fs::write(run.join("config.toml"), "").unwrap();
    refused(resume(&run, &[]), 2, &[&run.display().to_string(), "no checkpoint", "--out"]);
    fs::create_dir(run.join("checkpoints")).unwrap();
    refused(resume(&run, &[]), 2, &[&run.display().to_string(), "no checkpoint", "--out"]);
}

#[test]
fn a_preset_without_data_asks_for_them() {
    let assert = clsa().args(["pretrain", "--preset", "imagenet-single-200"]).assert();
    refused(assert, 2, &["--data", "imagenet-single-200"]);
}

#[test]
fn a_run_is_not_written_over() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    pretrain(&run, &["--epochs", "1"]).success();
    refused(pretrain(&run, &[]), 2, &["--resume", &run.display().to_string()]);
}

#[cfg(unix)]
#[test]
fn files_of_a_run_follow_the_umask() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    let (run, plain) = (folder.path().join("run"), folder.path().join("plain"));
    pretrain(&run, &["--epochs", "1"]).success();
    fs::write(&plain, "").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    for file in [run.join("config.toml"), run.join("metrics.jsonl"), checkpoint(&run, 4)] {
        assert_eq!(mode(&file), mode(&plain), "{}", file.display());
    }
}

#[test]
fn lower_kernels_train_too_and_unknown_ones_are_refused_before_anything_is_made() {
    let folder = TempDir::new().unwrap();
    for kernels in ["scalar", "avx2"] {
        let run = folder.path().join(kernels);
        let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        if kernels == "scalar" || text.contains("avx2") {
            clsa().arg("pretrain").args(TINY).arg("--out").arg(&run).env("CLSA_KERNELS", kernels).assert().success();
            assert!(checkpoint(&run, 8).exists());
        }
    }
    let run = folder.path().join("none");
    let mut pretrain = clsa();
    pretrain.arg("pretrain").args(TINY).arg("--out").arg(&run);
    let [mut doctor, mut step, mut loss] = [clsa(), clsa(), clsa()];
    doctor.arg("doctor");
    step.args(["bench", "step", "--arch", "resnet10", "--stem", "cifar", "--batch=2", "--key=8", "--weak=8"]);
    loss.args(["bench", "loss", "--batch=2", "--bank=8"]);
    for mut command in [pretrain, doctor, step, loss] {
        refused(command.env("CLSA_KERNELS", "sse9").assert(), 2, &["CLSA_KERNELS", "sse9", "avx512, avx2 or scalar"]);
    }
    assert!(!run.exists());
}
