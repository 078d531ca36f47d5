//! The loader: order, content, memory, errors.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clsa_data::{
    DataError, Dataset, Label, Loader, LoaderConfig, OnError, Sample, SampleError, Source, Split, Transform,
};
use image::{Rgb, RgbImage};

/// Numbered images of one pixel; the ones listed are bad. Counts how many images were asked for.
struct Numbered {
    len: usize,
    bad: Vec<usize>,
    read: AtomicUsize,
    shards: Option<Vec<usize>>,
}

impl Numbered {
    fn new(len: usize, bad: &[usize]) -> Arc<Self> {
        Arc::new(Self { len, bad: bad.to_vec(), read: AtomicUsize::new(0), shards: None })
    }
}

impl Dataset for Numbered {
    fn len(&self) -> usize {
        self.len
    }

    fn class_names(&self) -> &[String] {
        &[]
    }

    fn label(&self, index: usize) -> Label {
        Label::Class(index as u32)
    }

    fn image(&self, index: usize) -> Result<RgbImage, SampleError> {
        self.read.fetch_add(1, Ordering::SeqCst);
        if self.bad.contains(&index) {
            return Err(SampleError::Decode { name: self.name(index), reason: "made bad".into() });
        }
        let bytes = (index as u32).to_le_bytes();
        Ok(RgbImage::from_pixel(1, 1, Rgb([bytes[0], bytes[1], bytes[2]])))
    }

    fn dimensions(&self, _index: usize) -> Result<(u32, u32), SampleError> {
        Ok((1, 1))
    }

    fn name(&self, index: usize) -> String {
        format!("number {index}")
    }

    fn shards(&self) -> Option<Vec<usize>> {
        self.shards.clone()
    }
}

/// Writes (index, epoch, first pixel) of each sample; counts the storages that were allocated.
#[derive(Default)]
struct Record {
    allocated: AtomicUsize,
    pause: Duration,
}

type Row = (usize, u64, [u8; 3]);

impl Transform for Record {
    type Batch = Vec<Row>;
    type Slot<'a> = &'a mut Row;

    fn allocate(&self, samples: usize) -> Vec<Row> {
        self.allocated.fetch_add(1, Ordering::SeqCst);
        vec![Row::default(); samples]
    }

    fn slots<'a>(&'a self, batch: &'a mut Vec<Row>) -> Vec<&'a mut Row> {
        batch.iter_mut().collect()
    }

    fn apply(&self, sample: &Sample<'_>, slot: &mut Row) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        std::thread::sleep(self.pause);
        *slot = (sample.index, sample.epoch, sample.image.get_pixel(0, 0).0);
        Ok(())
    }
}

fn config(batch_size: usize, threads: usize) -> LoaderConfig {
    LoaderConfig { batch_size, threads, seed: 7, ..LoaderConfig::default() }
}

fn loader(dataset: Arc<Numbered>, config: LoaderConfig) -> Loader<Record> {
    Loader::new(dataset, Arc::default(), config).unwrap().on_bad_sample(|_| ())
}

fn samples(loader: &Loader<Record>, epoch: u64, first: usize) -> Vec<Vec<usize>> {
    loader.epoch(epoch, first).map(|batch| batch.unwrap().samples.clone()).collect()
}

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
    let dataset = Numbered::new(800, &[]);
    let whole = samples(&loader(dataset.clone(), config(8, 2)), 2, 0);
    dataset.read.store(0, Ordering::SeqCst);
    let rest = samples(&loader(dataset.clone(), config(8, 2)), 2, 97);
    assert_eq!(rest, whole[97..]);
    assert_eq!(dataset.read.load(Ordering::SeqCst), 3 * 8);
}

#[test]
fn starting_after_the_last_batch_gives_none() {
    assert!(samples(&loader(Numbered::new(16, &[]), config(8, 1)), 0, 2).is_empty());
}

#[test]
fn ranks_share_each_global_batch_in_contiguous_parts() {
    let whole = samples(&loader(Numbered::new(100, &[]), LoaderConfig { drop_last: false, ..config(12, 1) }), 4, 0);
    for rank in 0..3 {
        let settings = LoaderConfig { rank, world_size: 3, drop_last: false, ..config(4, 1) };
        let part = samples(&loader(Numbered::new(100, &[]), settings), 4, 0);
        assert_eq!(part.len(), whole.len());
        for (part, whole) in part.iter().zip(&whole).take(8) {
            assert_eq!(part[..], whole[rank * 4..rank * 4 + 4]);
        }
        // The last global batch has 4 samples: two for the first rank, one for each of the others.
        let last = [0..2, 2..3, 3..4][rank].clone();
        assert_eq!(part[8][..], whole[8][last]);
    }
}

#[test]
fn a_slow_consumer_never_has_more_than_prefetch_batches_made_ahead() {
    let (batch_size, prefetch) = (4, 3);
    let dataset = Numbered::new(400, &[]);
    let settings = LoaderConfig { prefetch, ..config(batch_size, 2) };
    let loader = Loader::new(dataset.clone(), Arc::new(Record::default()), settings).unwrap();
    let mut taken = 0;
    for batch in loader.epoch(0, 0).take(10) {
        let batch = batch.unwrap();
        taken += 1;
        std::thread::sleep(Duration::from_millis(20));
        let read = dataset.read.load(Ordering::SeqCst);
        assert!(read <= (taken + prefetch) * batch_size, "{read} samples read when {taken} batches were taken");
        drop(batch);
    }
}

#[test]
fn storage_is_reused_so_that_an_epoch_allocates_no_more_than_prefetch_plus_two_batches() {
    let transform = Arc::new(Record::default());
    let loader = Loader::new(Numbered::new(4000, &[]), transform.clone(), config(4, 2)).unwrap();
    for epoch in 0..2 {
        loader.epoch(epoch, 0).for_each(|batch| assert_eq!(batch.unwrap().len(), 4));
    }
    let allocated = transform.allocated.load(Ordering::SeqCst);
    assert!(allocated <= LoaderConfig::default().prefetch + 2, "{allocated} storages");
}

#[test]
fn a_consumer_may_hold_all_batches_of_an_epoch() {
    let loader = loader(Numbered::new(64, &[]), config(4, 2));
    let held: Vec<_> = loader.epoch(0, 0).collect::<Result<_, _>>().unwrap();
    assert_eq!(held.len(), 16);
}

#[test]
fn dropping_the_iterator_stops_the_work() {
    let dataset = Numbered::new(10_000, &[]);
    let transform = Record { pause: Duration::from_millis(20), ..Record::default() };
    let loader = Loader::new(dataset.clone(), Arc::new(transform), config(1000, 2)).unwrap();
    let batches = loader.epoch(0, 0);
    std::thread::sleep(Duration::from_millis(50));
    let start = Instant::now();
    drop(batches);
    assert!(start.elapsed() < Duration::from_secs(2), "took {:?}", start.elapsed());
    let read = dataset.read.load(Ordering::SeqCst);
    assert!(read < 100, "{read} samples read");
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(dataset.read.load(Ordering::SeqCst), read);
}

#[test]
fn the_wait_that_a_batch_states_is_what_the_consumer_waited() {
    let transform = Record { pause: Duration::from_millis(30), ..Record::default() };
    let loader = Loader::new(Numbered::new(8, &[]), Arc::new(transform), config(2, 1)).unwrap();
    let mut batches = loader.epoch(0, 0);
    let first = batches.next().unwrap().unwrap();
    assert!(first.wait > Duration::from_millis(40), "{:?}", first.wait);
    std::thread::sleep(Duration::from_millis(200));
    let second = batches.next().unwrap().unwrap();
    assert!(second.wait < Duration::from_millis(20), "{:?}", second.wait);
}

#[test]
fn a_bad_sample_is_replaced_by_the_next_good_one_of_the_order_and_reported_once() {
    let clean = samples(&loader(Numbered::new(200, &[]), config(8, 2)), 0, 0).concat();
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let bad = [clean[10], clean[11]];
    let loader = Loader::new(Numbered::new(200, &bad), Arc::new(Record::default()), config(8, 2)).unwrap();
    let listener = told.clone();
    let loader = loader.on_bad_sample(move |bad| listener.lock().unwrap().push(bad.clone()));
    let mut expected = clean.clone();
    expected[10] = clean[12];
    expected[11] = clean[12];
    assert_eq!(samples(&loader, 0, 0).concat(), expected);
    samples(&loader, 1, 0);
    let mut numbers: Vec<usize> = told.lock().unwrap().iter().map(|bad| bad.index).collect();
    assert_eq!(numbers, bad);
    numbers.sort();
    assert_eq!(loader.bad_samples().iter().map(|bad| bad.index).collect::<Vec<_>>(), numbers);
    assert!(told.lock().unwrap()[0].reason.contains(&format!("number {}", bad[0])));
}

#[test]
fn a_bad_sample_stops_the_loader_where_that_is_asked_for() {
    let settings = LoaderConfig { on_error: OnError::Stop, ..config(8, 2) };
    let loader = loader(Numbered::new(200, &[17]), settings);
    let results: Vec<_> = loader.epoch(0, 0).collect();
    let last = results.last().unwrap().as_ref().map(|_| ()).unwrap_err();
    assert!(matches!(last, DataError::BadSample(_)));
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

#[test]
fn a_shuffle_buffer_keeps_the_reader_within_a_shard_and_the_buffer() {
    let shards = vec![40, 30, 30];
    let dataset = Arc::new(Numbered { len: 100, bad: Vec::new(), read: AtomicUsize::new(0), shards: Some(shards) });
    let settings = LoaderConfig { shuffle_buffer: Some(10), ..config(10, 2) };
    let loader = loader(dataset, settings);
    let mut order = samples(&loader, 0, 0).concat();
    assert_ne!(order, samples(&loader, 1, 0).concat());
    // The first 20 samples come from the beginning of one shard, at most 30 samples into it.
    let shard = |sample: usize| [0..40, 40..70, 70..100].iter().position(|range| range.contains(&sample)).unwrap();
    assert!(order[..20].iter().all(|&sample| shard(sample) == shard(order[0])), "{order:?}");
    // Any batch can be the first, as without a buffer.
    let rest = samples(&loader, 0, 7).concat();
    assert_eq!(rest, order[70..]);
    order.sort();
    assert_eq!(order, (0..100).collect::<Vec<_>>());
}
