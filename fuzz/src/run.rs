//! What a run is on disk.

use crate::file::with_file;
use clsa_run::{Checkpoint, Config, DataIdentity, Metrics, MetricsWriter, RunFolder};

/// A configuration, and behind each zero byte a setting like `--set` has.
pub fn config(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let mut parts = text.split('\0').map(str::to_owned);
    let text = parts.next().unwrap_or_default();
    let overrides: Vec<String> = parts.collect();
    if let Ok(config) = Config::parse("fuzz", &text, &overrides) {
        // What is not a number, and refused, equals nothing.
        let copy = Config::parse("copy", &config.to_toml(), &[]).expect("what was written is read");
        assert!(copy == config || config.validate().is_err());
    }
}

pub fn checkpoint(data: &[u8]) {
    with_file("step-00000001.safetensors", data, |path| {
        if let Err(error) = Checkpoint::load(path) {
            assert!(error.to_string().contains("step-00000001.safetensors"), "{error}");
        }
    });
}

/// The records of a run, which are read and then continued.
pub fn metrics(data: &[u8]) {
    with_file("data.json", data, |path| {
        let _ = DataIdentity::read(&RunFolder::at(path.parent().expect("it is in a folder")));
    });
    with_file("metrics.jsonl", data, |path| {
        let is_read = Metrics::read(path).is_ok();
        let run = RunFolder::at(path.parent().expect("it is in a folder"));
        MetricsWriter::open(&run, 5)
            .and_then(|mut writer| writer.settle())
            .expect("a file of any content is continued");
        if is_read {
            let kept = Metrics::read(path).expect("what was read is read again").steps;
            assert!(kept.is_sorted_by(|one, next| one.step < next.step));
            assert!(kept.iter().all(|record| record.step <= 5));
        }
    });
}
