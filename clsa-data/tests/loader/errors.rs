//! Bad samples, transforms that fail, and settings out of range.

use std::sync::Arc;

use clsa_data::{DataError, Loader, LoaderConfig, OnError, Sample, Transform};

use crate::{Numbered, Record, config, loader, samples};

#[test]
fn a_bad_sample_is_replaced_by_the_next_good_one_of_the_order_and_reported_once() {
    let clean = samples(&loader(Numbered::new(200, &[]), config(8, 2)), 0, 0).concat();
    let reported = Arc::new(std::sync::Mutex::new(Vec::new()));
    let bad = [clean[10], clean[11]];
    let loader = Loader::new(Numbered::new(200, &bad), Arc::new(Record::default()), config(8, 2)).unwrap();
    let listener = reported.clone();
    let loader = loader.on_bad_sample(move |bad| listener.lock().unwrap().push(bad.clone()));
    let mut expected = clean.clone();
    expected[10] = clean[12];
    expected[11] = clean[12];
    assert_eq!(samples(&loader, 0, 0).concat(), expected);
    samples(&loader, 1, 0);
    let mut numbers: Vec<usize> = reported.lock().unwrap().iter().map(|bad| bad.index).collect();
    assert_eq!(numbers, bad);
    numbers.sort();
    assert_eq!(loader.bad_samples().iter().map(|bad| bad.index).collect::<Vec<_>>(), numbers);
    assert!(reported.lock().unwrap()[0].reason.contains(&format!("number {}", bad[0])));
}

#[test]
fn bad_samples_are_listed_without_a_handler_too() {
    let loader = loader(Numbered::new(200, &[5, 6]), config(8, 2));
    assert!(loader.bad_samples().is_empty());
    samples(&loader, 0, 0);
    assert_eq!(loader.bad_samples().iter().map(|bad| bad.index).collect::<Vec<_>>(), [5, 6]);
}

#[test]
fn a_bad_sample_stops_the_loader_where_that_is_asked_for() {
    let settings = LoaderConfig { on_error: OnError::Stop, ..config(8, 2) };
    let loader = loader(Numbered::new(200, &[17]), settings);
    let results: Vec<_> = loader.epoch(0, 0).collect();
    let last = results.last().unwrap().as_ref().map(|_| ()).unwrap_err();
    assert!(matches!(last, DataError::BadSample(_)) && !last.is_request());
    assert!(last.to_string().contains("number 17: cannot be decoded: made bad"), "{last}");
    assert!(results[..results.len() - 1].iter().all(Result::is_ok));
}

#[test]
fn one_percent_of_bad_samples_is_borne_and_more_is_not() {
    let run = |bad: &[usize]| {
        let loader = loader(Numbered::new(200, bad), config(8, 3));
        loader.epoch(0, 0).map(|batch| batch.map(|_| ())).collect::<Result<Vec<_>, _>>().map(|b| b.len())
    };
    assert_eq!(run(&[5, 6]).unwrap(), 25);
    let error = run(&[5, 6, 7]).unwrap_err();
    assert!(matches!(error, DataError::TooManyBad { bad: 3, samples: 200, .. }), "{error}");
}

#[test]
fn a_data_set_with_no_good_sample_ends_with_an_error() {
    let all: Vec<usize> = (0..20).collect();
    let settings = LoaderConfig { max_bad_fraction: 1.0, ..config(4, 2) };
    let error = loader(Numbered::new(20, &all), settings).epoch(0, 0).next().unwrap().map(|_| ()).unwrap_err();
    assert!(matches!(error, DataError::TooManyBad { .. }), "{error}");
}

/// Does something else than transforming.
struct Fails(fn() -> &'static str);

impl Transform for Fails {
    type Batch = Vec<()>;
    type Slot<'a> = ();

    fn allocate(&self, samples: usize) -> Vec<()> {
        vec![(); samples]
    }

    fn slots<'a>(&'a self, batch: &'a mut Vec<()>) -> Vec<()> {
        batch.clone()
    }

    fn apply(&self, _: &Sample<'_>, _: ()) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Err((self.0)().into())
    }
}

fn first_error(transform: Fails) -> DataError {
    let settings = LoaderConfig { shuffle: false, ..config(2, 1) };
    let loader = Loader::new(Numbered::new(4, &[]), Arc::new(transform), settings).unwrap();
    loader.epoch(0, 0).next().unwrap().map(|_| ()).unwrap_err()
}

#[test]
fn an_error_of_the_transform_names_the_sample() {
    assert_eq!(first_error(Fails(|| "too small")).to_string(), "number 0: too small");
}

#[test]
fn a_transform_that_panics_ends_with_an_error_not_a_hang() {
    let error = first_error(Fails(|| panic!("on purpose")));
    assert!(matches!(error, DataError::Panicked { batch: 0 }), "{error}");
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let refused = |config: LoaderConfig| {
        Loader::new(Numbered::new(10, &[]), Arc::new(Record::default()), config).map(|_| ()).unwrap_err().to_string()
    };
    let base = config(4, 1);
    assert!(refused(LoaderConfig { batch_size: 0, ..base.clone() }).starts_with("batch_size"));
    assert!(refused(LoaderConfig { prefetch: 0, ..base.clone() }).starts_with("prefetch"));
    assert!(refused(LoaderConfig { world_size: 0, ..base.clone() }).starts_with("world_size"));
    assert!(refused(LoaderConfig { rank: 1, ..base.clone() }).starts_with("rank"));
    assert!(refused(LoaderConfig { max_bad_fraction: 1.5, ..base.clone() }).starts_with("max_bad_fraction"));
    assert!(refused(LoaderConfig { batch_size: 11, ..base }).starts_with("batch_size"));
}
