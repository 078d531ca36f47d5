//! The procedural data set: deterministic, balanced, fast, and not to be told apart by its pixels.

use clsa_data::{Dataset, Label, Procedural, ProceduralOptions, Source, Split};

fn options(text: &str) -> Source {
    format!("procedural:{text}").parse().unwrap()
}

#[test]
fn images_depend_on_seed_split_and_number_alone() {
    let open = |text: &str, split| options(text).open(split).unwrap();
    let (a, b) = (open("seed=3", Split::Train), open("seed=3,train=200", Split::Train));
    for index in [0, 17, 199] {
        assert_eq!(a.image(index).unwrap(), b.image(index).unwrap());
    }
    assert_ne!(a.image(5).unwrap(), open("seed=4", Split::Train).image(5).unwrap());
    assert_ne!(a.image(5).unwrap(), open("seed=3", Split::Test).image(5).unwrap());
    assert_ne!(a.image(0).unwrap(), a.image(12).unwrap());
}

#[test]
fn classes_are_balanced_and_sizes_as_asked() {
    let dataset = options("classes=5,train=103,side=48").open(Split::Train).unwrap();
    let mut counts = [0; 5];
    for index in 0..dataset.len() {
        let Label::Class(class) = dataset.label(index) else { panic!("no class") };
        counts[class as usize] += 1;
    }
    assert_eq!(counts, [21, 21, 21, 20, 20]);
    assert_eq!(dataset.image(0).unwrap().dimensions(), (48, 48));
    assert_eq!(dataset.class_names().len(), 5);
}

/// Pixels of every image less the mean over the training images, at length 1.
fn pixels(dataset: &Procedural, mean: &[f32]) -> Vec<Vec<f32>> {
    (0..dataset.len())
        .map(|index| {
            let image = dataset.image(index).unwrap();
            let values: Vec<f32> =
                image.as_raw().iter().zip(mean).map(|(&value, mean)| f32::from(value) - mean).collect();
            let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
            values.into_iter().map(|value| value / length).collect()
        })
        .collect()
}

#[test]
fn nearest_neighbors_by_pixels_are_right_for_less_than_40_percent() {
    let options = ProceduralOptions { train: 2400, test: 600, ..ProceduralOptions::default() };
    let (train, test) = (Procedural::new(&options, Split::Train), Procedural::new(&options, Split::Test));
    let mut mean = vec![0f32; 3 * 32 * 32];
    for index in 0..train.len() {
        let image = train.image(index).unwrap();
        mean.iter_mut().zip(image.as_raw()).for_each(|(mean, &value)| *mean += f32::from(value) / 2400.0);
    }
    let (known, asked) = (pixels(&train, &mean), pixels(&test, &mean));
    let mut right = 0;
    for (index, image) in asked.iter().enumerate() {
        let similarity = |other: &Vec<f32>| other.iter().zip(image).map(|(a, b)| a * b).sum::<f32>();
        let mut near: Vec<(f32, usize)> = known.iter().map(similarity).zip(0..).collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut votes = [0f32; 12];
        near[..20].iter().for_each(|(similarity, at)| votes[at % 12] += (similarity / 0.07).exp());
        let best = (0..12).max_by(|&a, &b| votes[a].total_cmp(&votes[b])).unwrap();
        right += usize::from(best == index % 12);
    }
    let percent = 100.0 * right as f64 / asked.len() as f64;
    assert!((8.0..40.0).contains(&percent), "{percent} %");
}
