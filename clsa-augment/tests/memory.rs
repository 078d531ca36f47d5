//! What an augmenter that has seen its largest image still allocates. One test alone in this program: others would be
//! counted too.

use std::alloc::System;

use clsa_augment::{Augmenter, CenterCrop, Layout, ViewId, ViewPlan};
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
    let mut views = 0;
    let mut make = |samples: std::ops::Range<u64>| {
        for sample in samples {
            for (index, view) in plan.views().enumerate() {
                let id = ViewId { seed: 0, epoch: 0, sample, view: index as u32 };
                augmenter.write(&photo, view, id, Layout::ChannelsLast, &mut out[..view.values()]).unwrap();
                views += 1;
            }
            center.write(&mut augmenter, &photo, Layout::ChannelsFirst, &mut out).unwrap();
            views += 1;
        }
        std::mem::take(&mut views)
    };
    make(0..200);
    let region = Region::new(ALLOCATOR);
    let views: usize = make(200..300);
    let change = region.change();
    let growth = change.bytes_allocated as isize - change.bytes_deallocated as isize + change.bytes_reallocated;
    assert!(growth.unsigned_abs() < PLANE, "memory grew by {growth} bytes over {views} views");
    let each = change.bytes_allocated / views;
    assert!(each < PLANE, "{each} bytes were allocated for each view");
}
