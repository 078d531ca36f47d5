//! Which samples an epoch has, in which order, and what becomes of them.

use std::sync::Arc;

use clsa_data::{Label, Loader, LoaderConfig, Source, Split};

use crate::{Numbered, Record, Row, config, loader, samples};

#[test]
fn content_is_the_same_for_1_2_and_5_threads() {
    let source: Source = "procedural:train=200".parse().unwrap();
    let dataset = source.open(Split::Train).unwrap();
    let read = |threads| -> Vec<(Vec<Row>, Vec<Label>)> {
        let loader = Loader::new(dataset.clone(), Arc::new(Record::default()), config(16, threads)).unwrap();
        loader.epoch(3, 0).map(|batch| batch.map(|b| (b.to_vec(), b.labels.clone())).unwrap()).collect()
    };
    let one = read(1);
    assert_eq!(one.len(), 200 / 16);
    assert_eq!(one, read(2));
    assert_eq!(one, read(5));
}

#[test]
fn content_with_bad_samples_is_the_same_for_1_2_and_5_threads() {
    let read = |threads| {
        let settings = LoaderConfig { max_bad_fraction: 0.2, ..config(8, threads) };
        samples(&loader(Numbered::new(100, &[3, 4, 5, 50, 99]), settings), 1, 0)
    };
    let one = read(1);
    assert_eq!(one, read(2));
    assert_eq!(one, read(5));
}

#[test]
fn an_epoch_has_every_sample_once_and_differs_from_the_next() {
    let loader = loader(Numbered::new(96, &[]), config(8, 2));
    let [mut first, second] = [0, 1].map(|epoch| samples(&loader, epoch, 0).concat());
    assert_ne!(first, second);
    first.sort();
    assert_eq!(first, (0..96).collect::<Vec<_>>());
}

#[test]
fn every_slot_holds_the_sample_that_the_batch_names() {
    let loader = loader(Numbered::new(50, &[]), LoaderConfig { drop_last: false, ..config(8, 3) });
    let mut seen = 0;
    for batch in loader.epoch(5, 0) {
        let batch = batch.unwrap();
        for (row, (&sample, label)) in batch.iter().zip(batch.samples.iter().zip(&batch.labels)) {
            let bytes = (sample as u32).to_le_bytes();
            assert_eq!(*row, (sample, 5, [bytes[0], bytes[1], bytes[2]]));
            assert_eq!(*label, Label::Class(sample as u32));
            seen += 1;
        }
    }
    assert_eq!(seen, 50);
}

#[test]
fn the_last_batch_is_dropped_or_kept_as_asked() {
    let sizes = |drop_last| -> Vec<usize> {
        let settings = LoaderConfig { drop_last, ..config(8, 2) };
        samples(&loader(Numbered::new(20, &[]), settings), 0, 0).iter().map(Vec::len).collect()
    };
    assert_eq!(sizes(true), [8, 8]);
    assert_eq!(sizes(false), [8, 8, 4]);
}

#[test]
fn starting_at_a_batch_gives_the_rest_of_the_epoch_and_reads_nothing_before_it() {
    let whole = samples(&loader(Numbered::new(800, &[]), config(8, 2)), 2, 0);
    let dataset = Numbered::new(800, &[]);
    let rest = samples(&loader(dataset.clone(), config(8, 2)), 2, 97);
    assert_eq!(rest, whole[97..]);
    assert_eq!(dataset.read.get(), 3 * 8);
}

#[test]
fn starting_after_the_last_batch_gives_none() {
    assert!(samples(&loader(Numbered::new(16, &[]), config(8, 1)), 0, 2).is_empty());
}

#[test]
fn a_shuffle_buffer_keeps_the_reader_within_a_shard_and_the_buffer() {
    let settings = LoaderConfig { shuffle_buffer: Some(10), ..config(10, 2) };
    let loader = loader(Numbered::in_shards(&[40, 30, 30]), settings);
    let mut order = samples(&loader, 0, 0).concat();
    assert_ne!(order, samples(&loader, 1, 0).concat());
    // The first 20 samples are the first ten of one shard in another order, then the next ten.
    let shard = [0..40, 40..70, 70..100].into_iter().find(|shard| shard.contains(&order[0])).unwrap();
    for (filling, samples) in order[..20].chunks(10).enumerate() {
        let first = shard.start + 10 * filling;
        let own = first..first + 10;
        assert!(!samples.is_sorted() && samples.iter().all(|sample| own.contains(sample)), "{order:?}");
    }
    // Any batch can be the first, as without a buffer.
    let rest = samples(&loader, 0, 7).concat();
    assert_eq!(rest, order[70..]);
    order.sort();
    assert_eq!(order, (0..100).collect::<Vec<_>>());
}
