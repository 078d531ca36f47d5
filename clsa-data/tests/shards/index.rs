//! The index of a shard.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use clsa_data::fuzzing::ShardIndex;
use clsa_data::shard_index::{IndexReport, write_index, write_indexes};
use clsa_data::{Fault, Split};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::{fault, png, refusal, source, tar, two_shards};

#[test]
fn an_index_file_gives_the_same_samples_as_the_headers() {
    let root = two_shards();
    let text = format!("wds:{}", root.path().display());
    let read = || {
        let train = source(&text).open(Split::Train).unwrap();
        (0..train.len()).map(|i| (train.name(i), train.label(i), train.encoded(i).unwrap())).collect::<Vec<_>>()
    };
    let scanned = read();
    for shard in ["train-000.tar", "train-001.tar"] {
        write_index(&root.path().join(shard), &[]).unwrap();
    }
    assert_eq!(read(), scanned);
}

#[test]
fn indexes_are_written_for_every_shard_of_every_split_and_stale_ones_replaced() {
    let root = two_shards();
    let stale = root.path().join("train-000.tar.idx");
    fs::write(&stale, "of another shard").unwrap();
    assert!(refusal(&format!("wds:{}", root.path().display())).contains("train-000.tar.idx"));
    let most_done = AtomicU64::new(0);
    let pattern = root.path().display().to_string();
    let report = write_indexes(&pattern, &|done, of| {
        most_done.fetch_max(done, Ordering::Relaxed);
        assert_eq!(of, 3);
    });
    assert_eq!(report.unwrap(), IndexReport { shards: 3, samples: 4 });
    assert_eq!(most_done.into_inner(), 3);
    for name in ["train-000", "train-001", "val-000"] {
        let bytes = fs::read(root.path().join(format!("{name}.tar.idx"))).unwrap();
        assert!(ShardIndex::from_bytes(&bytes).is_ok(), "{name}");
    }
    assert_eq!(source(format!("wds:{pattern}")).open(Split::Train).unwrap().len(), 3);
}

#[test]
fn a_shard_that_is_cut_short_gets_no_index_and_is_named() {
    let root = two_shards();
    let cut = root.path().join("train-001.tar");
    let bytes = fs::read(&cut).unwrap();
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let error = write_indexes(&root.path().display().to_string(), &|_, _| ()).unwrap_err().to_string();
    assert!(error.contains("train-001.tar: is cut short"), "{error}");
    let names: Vec<_> = fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let of_the_cut_one =
        |name: &str| name.starts_with('.') || (name.starts_with("train-001") && name != "train-001.tar");
    assert!(!names.iter().any(|name| of_the_cut_one(&name.to_string_lossy())), "{names:?}");
}

#[test]
fn a_shard_shorter_than_its_index_says_is_refused() {
    let root = two_shards();
    let path = root.path().join("train-000.tar");
    write_index(&path, &[]).unwrap();
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let error = refusal(&format!("wds:{}", path.display()));
    assert!(error.contains("its index was made for"), "{error}");
    assert_eq!(fault(&format!("wds:{}", path.display())), Fault::Index);
    fs::write(root.path().join("train-000.tar.idx"), b"CLSAIDX1 and then nothing of use").unwrap();
    assert!(refusal(&format!("wds:{}", path.display())).contains("cut short or altered"));
    assert_eq!(fault(&format!("wds:{}", path.display())), Fault::Index);
}

proptest! {
    #[test]
    fn an_index_that_is_cut_or_altered_is_refused(
        place in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<prop::sample::Index>(),
    ) {
        let root = TempDir::new().unwrap();
        tar(&root.path().join("a.tar"), &[("1.png", png(1)), ("1.cls", b"4".to_vec()), ("2.png", png(2)), ("2.cls", b"0".to_vec())]);
        write_index(&root.path().join("a.tar"), &[]).unwrap();
        let bytes = fs::read(root.path().join("a.tar.idx")).unwrap();
        prop_assert_eq!(ShardIndex::from_bytes(&bytes).unwrap().to_bytes(), bytes.clone());
        prop_assert!(ShardIndex::from_bytes(&bytes[..cut.index(bytes.len())]).is_err());
        let mut altered = bytes.clone();
        altered[place.index(bytes.len())] ^= 1 << bit;
        prop_assert!(ShardIndex::from_bytes(&altered).is_err());
    }
}
