//! What the hash of a data set tells apart.

use clsa_data::{Dataset, Source, Split};
use clsa_eval::hashes::{data_hash, joined_hash};
use image::{Rgb, RgbImage};
use std::path::Path;
use std::sync::Arc;

fn open(source: &str) -> Arc<dyn Dataset> {
    source.parse::<Source>().unwrap().open(Split::Train).unwrap()
}

fn hash(folder: &Path) -> String {
    data_hash(open(&format!("imagefolder:{}", folder.display())).as_ref(), &|_, _| {}).unwrap()
}

fn write(folder: &Path, class: &str, name: usize, value: u8) {
    let folder = folder.join("train").join(class);
    std::fs::create_dir_all(&folder).unwrap();
    RgbImage::from_pixel(2, 2, Rgb([value, name as u8, (name >> 8) as u8]))
        .save(folder.join(format!("{name:04}.png")))
        .unwrap();
}

#[test]
fn every_image_counts_and_the_place_of_the_folder_does_not() {
    let root = tempfile::tempdir().unwrap();
    let (one, other) = (root.path().join("one"), root.path().join("elsewhere/other"));
    for name in 0..1100 {
        for folder in [&one, &other] {
            write(folder, if name % 2 == 0 { "cat" } else { "dog" }, name, 7);
        }
    }
    let whole = hash(&one);
    assert_eq!(whole.len(), 64);
    assert_eq!(whole, hash(&other));
    for name in [0, 1, 555, 1098, 1099] {
        let class = if name % 2 == 0 { "cat" } else { "dog" };
        write(&other, class, name, 8);
        assert_ne!(whole, hash(&other), "image {name} was changed");
        write(&other, class, name, 7);
    }
    assert_eq!(whole, hash(&other));
    // Another class or name is another data set.
    std::fs::rename(other.join("train/cat/0000.png"), other.join("train/dog/0000.png")).unwrap();
    assert_ne!(whole, hash(&other));
}

#[test]
fn bare_pixels_count_and_progress_is_reported() {
    let of = |seed: u64| {
        let reported = std::cell::RefCell::new(vec![]);
        let data = open(&format!("procedural:classes=3,train=30,test=3,side=16,seed={seed}"));
        let hash = data_hash(data.as_ref(), &|done, of| reported.borrow_mut().push((done, of))).unwrap();
        assert_eq!(reported.into_inner(), [(30, 30)]);
        hash
    };
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
    assert_ne!(joined_hash([&of(1), &of(2)]), joined_hash([&of(2), &of(1)]));
}
