//! `clsa reproduce`: requests that are wrong, and the page of what was found.

use assert_cmd::Command;
use clsa_run::Config;
use std::fs;
use std::path::Path;
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
    assert!(text.contains("--runs runs"), "{text}");
    fs::create_dir(folder.path().join("runs")).unwrap();
    let text = error(reproduce(folder.path(), &["--table", "results.md"]), 2);
    assert!(text.contains("--runs runs: no run there follows an experiment"), "{text}");
    run(&folder.path().join("runs/moco-cifar10-0"), "moco-cifar10", &["optim.lr=0.3"], &[]);
    let text = error(reproduce(folder.path(), &["moco-cifar10"]), 2);
    assert!(text.contains("does not follow moco-cifar10; name another folder"), "{text}");
    let text = error(reproduce(folder.path(), &["moco-cifar10", "--seed", "3"]), 2);
    assert!(text.contains("--data: the preset moco-cifar10 needs images"), "{text}");
    assert!(!folder.path().join("runs/moco-cifar10-3").exists());
}
