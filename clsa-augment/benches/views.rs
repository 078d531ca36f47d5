//! Time of each operation on a view of 224 pixels, and of all views of the paper's plans of a decoded photograph, on one
//! thread.

use std::hint::black_box;
use std::path::PathBuf;

use clsa_augment::{Augmenter, Layout, Normalize, Op, SampleId, ViewPlan, to_rgb};
use criterion::{Criterion, criterion_group, criterion_main};
use image::RgbImage;

/// A photograph of 640 x 427 pixels.
fn photo() -> RgbImage {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", "china.jpg"].iter().collect();
    to_rgb(&image::open(path).expect("the fixture is a JPEG file beside the crate"))
}

fn operations(criterion: &mut Criterion) {
    let photo = photo();
    let mut augmenter = Augmenter::new();
    let resize: Op = "crop_resize=100,50,400,300,224,224".parse().expect("the operation exists");
    let view = augmenter.apply(&photo, &[resize]).expect("the crop lies inside the photograph");
    let mut out = vec![0.0; 3 * 224 * 224];
    let mut group = criterion.benchmark_group("operation");
    // "identity" is what reading the image and writing the normalized values take; it is part of all others.
    for text in [
        "identity",
        "crop_resize=100,50,400,300,224,224",
        "autocontrast",
        "equalize",
        "invert",
        "posterize=5",
        "solarize=100",
        "solarize_add=40",
        "brightness=0.7",
        "contrast=0.7",
        "color=0.7",
        "hue=0.05",
        "grayscale",
        "sharpness=0.5",
        "gaussian_blur=0.5",
        "gaussian_blur=1.9",
        "hflip",
        "rotate=15",
        "shear_x=0.15",
        "shear_y=0.15",
        "translate_x=10",
        "translate_y=10",
        "cutout=10,10,50,50",
    ] {
        let op: Op = text.parse().expect("the operation exists");
        let image = if matches!(op, Op::CropResize { .. }) { &photo } else { &view };
        let ops = [op];
        group.bench_function(text, |bencher| {
            bencher.iter(|| {
                augmenter
                    .apply_into(black_box(image), &ops, &Normalize::IMAGENET, Layout::ChannelsLast, &mut out)
                    .expect("the operation suits the image");
            });
        });
    }
}

fn plans(criterion: &mut Criterion) {
    let photo = photo();
    let mut augmenter = Augmenter::new();
    let mut sample = 0;
    let mut all_views = |plan: &ViewPlan, image: &RgbImage, out: &mut [Vec<f32>]| {
        sample += 1;
        let mut out: Vec<_> = out.iter_mut().map(Vec::as_mut_slice).collect();
        let id = SampleId { seed: 0, epoch: 0, sample };
        augmenter.write_views(image, plan, id, Layout::ChannelsLast, &mut out).expect("the plan suits the photograph");
    };
    let mut group = criterion.benchmark_group("plan");
    group.sample_size(50);
    for (name, plan) in [("single", ViewPlan::single()), ("multi", ViewPlan::multi())] {
        let mut out: Vec<_> = plan.views().map(|view| vec![0.0; view.values()]).collect();
        group.bench_function(name, |bencher| {
            bencher.iter(|| all_views(&plan, black_box(&photo), &mut out));
        });
    }
}

criterion_group!(benches, operations, plans);
criterion_main!(benches);
