//! What a run records beside `metrics.jsonl`: a table, pictures and the embedding projector's files.

mod tiny;

use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use tiny::{checkpoint, pretrain, records, refused, resume};

/// The rows of `metrics.csv`, of each the columns that hold something.
fn table(run: &Path) -> Vec<HashMap<String, f64>> {
    let text = fs::read_to_string(run.join("metrics.csv")).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<&str>>());
    let heading = lines.next().unwrap();
    assert_eq!(heading[..3], ["step", "epoch", "train/lr"]);
    let row = |fields: Vec<&str>| {
        assert_eq!(fields.len(), heading.len());
        let filled = heading.iter().zip(fields).filter(|(_, value)| !value.is_empty());
        filled.map(|(name, value)| ((*name).to_owned(), value.parse().unwrap())).collect()
    };
    lines.map(row).collect()
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_table_has_a_row_for_each_record_also_after_the_run_has_gone_back() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    pretrain(&run, &["--set", "log.csv=true"]).success();
    let all = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let all: Vec<Value> = all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let whole = table(&run);
    assert_eq!(whole.len(), all.len());
    for (row, record) in whole.iter().zip(&all) {
        assert_eq!((row["step"], row["epoch"]), (record["step"].as_f64().unwrap(), record["epoch"].as_f64().unwrap()));
        match record["kind"].as_str().unwrap() {
            "step" => assert_eq!((row["train/loss"], row.len()), (record["loss"].as_f64().unwrap(), 9)),
            "knn" => assert_eq!((row["knn/top1"], row.len()), (record["top1"].as_f64().unwrap(), 4)),
            "label_free" => assert_eq!(row["label_free/alignment"], record["alignment"].as_f64().unwrap()),
            other => panic!("{other}"),
        }
    }
    // The second epoch again: its rows are there once.
    resume(&checkpoint(&run, 4), &[]).success();
    let again = table(&run);
    let steps = |table: &[HashMap<String, f64>]| table.iter().map(|row| row["step"]).collect::<Vec<f64>>();
    assert_eq!(steps(&again), steps(&whole));
    let losses = |table: &[HashMap<String, f64>]| -> Vec<f64> {
        table.iter().filter_map(|row| row.get("train/loss").copied()).collect()
    };
    assert_eq!(losses(&again), losses(&whole));
}

#[test]
fn without_the_key_there_is_no_table() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    pretrain(&run, &["--epochs", "1"]).success();
    assert!(run.join("metrics.jsonl").exists() && !run.join("metrics.csv").exists());
    refused(pretrain(&folder.path().join("other"), &["--set", "log.csv=maybe"]), 2, &["log", "maybe"]);
}

#[test]
fn tensorboard_has_the_first_batchs_views_and_the_projectors_files() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    pretrain(&run, &[]).success();
    let tensorboard = run.join("tensorboard");

    let mut events = Vec::new();
    for entry in fs::read_dir(&tensorboard).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("events.") {
            events.extend(fs::read(path).unwrap());
        }
    }
    let count = |needle: &[u8]| events.windows(needle.len()).filter(|window| *window == needle).count();
    assert_eq!(count(b"first batch: image, key, weak and strong views"), 1);
    let start = events.windows(8).position(|window| window == b"\x89PNG\r\n\x1a\n").unwrap();
    let sheet = image::load_from_memory(&events[start..]).unwrap();
    // Eight images, each with a key, a weak and a strong view.
    assert_eq!((sheet.width(), sheet.height()), (4 * 96, 8 * 96));

    // All 16 test images.
    let config = fs::read_to_string(tensorboard.join("projector_config.pbtxt")).unwrap();
    for file in ["projector/features.tsv", "projector/images.tsv", "projector/thumbnails.png"] {
        assert!(config.contains(&format!("\"{file}\"")) && tensorboard.join(file).exists(), "{file}");
    }
    let features = lines(&tensorboard.join("projector/features.tsv"));
    assert_eq!(features.len(), 16);
    for row in &features {
        let values: Vec<f32> = row.split('\t').map(|value| value.parse().unwrap()).collect();
        assert_eq!(values.len(), 64, "an eighth of 512");
        assert!(values.iter().all(|value| value.is_finite()) && values.iter().any(|value| *value != 0.0));
    }
    let images = lines(&tensorboard.join("projector/images.tsv"));
    assert_eq!((images[0].as_str(), images.len()), ("image\tclass", 17));
    assert!(images.iter().all(|line| line.split('\t').count() == 2));
    let thumbnails = image::open(tensorboard.join("projector/thumbnails.png")).unwrap();
    assert_eq!((thumbnails.width(), thumbnails.height()), (4 * 32, 4 * 32));
    assert_eq!(records(&run, "step").len(), 8);
}
