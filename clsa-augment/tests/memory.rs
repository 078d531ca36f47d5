//! What an augmenter that has seen its largest image still allocates. One test alone in this program: others would be
//! counted too.

use std::alloc::System;

use clsa_augment::{Augmenter, CenterCrop, Layout, SampleId, ViewPlan};
use image::RgbImage;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The smallest storage of pixels that any step needs: one plane of the smallest view.
const PLANE: usize = 96 * 96;

#[test]
fn memory_does_not_grow_and_storage_of_pixels_is_reused() {
    let photo = RgbImage::from_fn(500, 375, |x, y| image::Rgb([x as u8, y as u8, (x * y) as u8]));
    let (plan, center) = (ViewPlan::multi(), CenterCrop::default());
    let mut augmenter = Augmenter::new();
    let mut out = vec![0.0; 3 * 224 * 224];
    let mut most = 0;
    let mut make = |samples: std::ops::Range<u64>| {
        for sample in samples {
            for (id, view) in (SampleId { seed: 0, epoch: 0, sample }).views(&plan) {
                let region = Region::new(ALLOCATOR);
                augmenter.write(&photo, view, id, Layout::ChannelsLast, &mut out[..view.values()]).unwrap();
                most = most.max(region.change().bytes_allocated);
            }
            let region = Region::new(ALLOCATOR);
            center.write(&mut augmenter, &photo, Layout::ChannelsFirst, &mut out).unwrap();
            most = most.max(region.change().bytes_allocated);
        }
        std::mem::take(&mut most)
    };
    make(0..200);
    let region = Region::new(ALLOCATOR);
    let most = make(200..300);
    let change = region.change();
    let growth = change.bytes_allocated as isize - change.bytes_deallocated as isize;
    assert!(growth.unsigned_abs() < PLANE, "memory grew by {growth} bytes");
    assert!(most < PLANE, "{most} bytes were allocated for one view");
}
