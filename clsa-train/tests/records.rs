//! What a run records beside `metrics.jsonl`: a table, pictures and the embedding projector's files.

mod tiny;

use clsa_augment::{Augmenter, SampleId};
use clsa_data::{Source, Split, order};
use clsa_run::RunFolder;
use image::imageops::{FilterType, crop_imm, resize};
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
    let checked = || {
        let all = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        let all: Vec<Value> = all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let whole = table(&run);
        assert_eq!(whole.len(), all.len());
        for (row, record) in whole.iter().zip(&all) {
            let value = |key: &str| record[key].as_f64().unwrap();
            assert_eq!((row["step"], row["epoch"]), (value("step"), value("epoch")));
            match record["kind"].as_str().unwrap() {
                "step" => {
                    assert_eq!((row["train/loss"], row.len()), (value("loss"), 9));
                    // What a step took tells one attempt from another.
                    assert_eq!(row["train/images_per_s"], value("images_per_s"));
                }
                "knn" => assert_eq!((row["knn/top1"], row.len()), (value("top1"), 4)),
                "label_free" => assert_eq!(row["label_free/alignment"], value("alignment")),
                other => panic!("{other}"),
            }
        }
        whole
    };
    let whole = checked();
    // The second epoch again: its rows are there once.
    resume(&checkpoint(&run, 4), &[]).success();
    let again = checked();
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
    pretrain(&run, &["--seed", "3"]).success();
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
    // Images and views are of 16 pixels, so that each fills its cell.
    let config = RunFolder::at(&run).config().unwrap();
    let (seed, sheet) = (config.train.seed, sheet.to_rgb8());
    let data = config.data.source.parse::<Source>().unwrap().open(Split::Train).unwrap();
    for (row, sample) in (0..8).zip(order::shuffled(seed, 0, 64)) {
        let image = data.image(sample as usize).unwrap();
        let id = SampleId { seed, epoch: 0, sample: sample.into() };
        let views = Augmenter::new().views(&image, &config.views, id).unwrap();
        for (column, picture) in (0..).zip([vec![image], views].concat()) {
            let cell = crop_imm(&sheet, 96 * column, 96 * row, 96, 96).to_image();
            assert!(cell == resize(&picture, 96, 96, FilterType::Triangle), "row {row}, column {column}");
        }
    }

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
