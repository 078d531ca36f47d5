//! The random choices, counted over many draws. The generators are seeded, so that a test that passes once passes
//! always; the bounds are five standard deviations of what the stated probabilities give.

use std::collections::HashMap;
use std::mem::discriminant;

use clsa_augment::{Crop, Op, StrongOp, StrongPolicy, View, ViewId, random_crop};

const DRAWS: u64 = 40_000;

fn id(sample: u64) -> ViewId {
    ViewId { seed: 7, epoch: 3, sample, view: 1 }
}

fn draws(view: &View) -> impl Iterator<Item = Vec<Op>> {
    (0..DRAWS).map(|sample| view.draw(500, 375, id(sample)).unwrap())
}

/// Checks a count against a probability.
fn expect(name: &str, count: u64, trials: u64, probability: f64) {
    let mean = trials as f64 * probability;
    let deviation = (mean * (1.0 - probability)).sqrt();
    let off = (count as f64 - mean).abs();
    assert!(off <= 5.0 * deviation, "{name}: {count} of {trials}, but {mean:.0} ± {deviation:.0} are expected");
}

/// Checks that values are uniform over a range: inside it, and equally many in each tenth.
fn expect_uniform(name: &str, values: &[f64], low: f64, high: f64) {
    let mut tenths = [0; 10];
    for &value in values {
        assert!((low..=high).contains(&value), "{name}: {value} is outside {low}..={high}");
        tenths[(((value - low) / (high - low) * 10.0) as usize).min(9)] += 1;
    }
    for count in tenths {
        expect(name, count, values.len() as u64, 0.1);
    }
}

fn count(view: &View, is: impl Fn(&Op) -> bool) -> u64 {
    draws(view).filter(|ops| ops.iter().any(&is)).count() as u64
}

#[test]
fn weak_views_apply_each_part_at_its_rate() {
    let view = View::default();
    expect("jitter", count(&view, |op| matches!(op, Op::Hue(_))), DRAWS, 0.8);
    expect("grayscale", count(&view, |op| matches!(op, Op::Grayscale)), DRAWS, 0.2);
    expect("blur", count(&view, |op| matches!(op, Op::GaussianBlur(_))), DRAWS, 0.5);
    expect("flip", count(&view, |op| matches!(op, Op::FlipHorizontal)), DRAWS, 0.5);
}

#[test]
fn weak_views_keep_the_order_crop_jitter_grayscale_blur_flip() {
    for ops in draws(&View::default()) {
        let place = |op: &Op| match op {
            Op::CropResize { .. } => 0,
            Op::Brightness(_) | Op::Contrast(_) | Op::Color(_) | Op::Hue(_) => 1,
            Op::Grayscale => 2,
            Op::GaussianBlur(_) => 3,
            Op::FlipHorizontal => 4,
            other => panic!("{other} does not belong to a weak view"),
        };
        assert!(ops.is_sorted_by_key(place), "{ops:?}");
        assert!(matches!(ops[0], Op::CropResize { width: 224, height: 224, .. }));
    }
}

#[test]
fn jitter_factors_are_uniform() {
    let (mut brightness, mut contrast, mut color, mut hue, mut sigma) = (vec![], vec![], vec![], vec![], vec![]);
    for op in draws(&View::default()).flatten() {
        match op {
            Op::Brightness(factor) => brightness.push(factor),
            Op::Contrast(factor) => contrast.push(factor),
            Op::Color(factor) => color.push(factor),
            Op::Hue(turn) => hue.push(turn),
            Op::GaussianBlur(s) => sigma.push(s),
            _ => {}
        }
    }
    expect_uniform("brightness", &brightness, 0.6, 1.4);
    expect_uniform("contrast", &contrast, 0.6, 1.4);
    expect_uniform("saturation", &color, 0.6, 1.4);
    expect_uniform("hue", &hue, -0.1, 0.1);
    expect_uniform("sigma", &sigma, 0.1, 2.0);
}

#[test]
fn all_orders_of_the_jitter_are_equally_likely() {
    let mut orders: HashMap<Vec<_>, u64> = HashMap::new();
    for ops in draws(&View::default()).filter(|ops| ops.iter().any(|op| matches!(op, Op::Hue(_)))) {
        *orders.entry(ops[1..5].iter().map(discriminant).collect()).or_default() += 1;
    }
    let total = orders.values().sum();
    assert_eq!(orders.len(), 24);
    for count in orders.into_values() {
        expect("order", count, total, 1.0 / 24.0);
    }
}

#[test]
fn crop_area_and_aspect_ratio_are_uniform_where_all_crops_fit() {
    // With at most half the area of a square image, no aspect ratio up to 4/3 sticks out, so that nothing is redrawn.
    let (side, scale) = (3000, (0.2, 0.5));
    let (mut areas, mut ratios, mut xs, mut ys) = (vec![], vec![], vec![], vec![]);
    for sample in 0..DRAWS {
        let Crop { x, y, width, height } =
            random_crop(side, side, scale, (3.0 / 4.0, 4.0 / 3.0), &mut id(sample).rng());
        let (w, h) = (f64::from(width), f64::from(height));
        areas.push(w * h / f64::from(side).powi(2));
        ratios.push((w / h).ln());
        xs.push(f64::from(x) / f64::from(side - width));
        ys.push(f64::from(y) / f64::from(side - height));
    }
    let rounding = 0.001;
    let ratio = (4.0_f64 / 3.0).ln() + rounding;
    expect_uniform("area", &areas, 0.2 - rounding, 0.5 + rounding);
    expect_uniform("aspect ratio", &ratios, -ratio, ratio);
    expect_uniform("left edge", &xs, 0.0, 1.0);
    expect_uniform("upper edge", &ys, 0.0, 1.0);
}

#[test]
fn a_crop_that_never_fits_is_the_central_one_of_the_nearest_ratio() {
    let mut rng = id(0).rng();
    let ratio = (3.0 / 4.0, 4.0 / 3.0);
    let wide = random_crop(1000, 30, (0.9, 1.0), ratio, &mut rng);
    assert_eq!(wide, Crop { x: 480, y: 0, width: 40, height: 30 });
    let high = random_crop(30, 1000, (0.9, 1.0), ratio, &mut rng);
    assert_eq!(high, Crop { x: 0, y: 480, width: 30, height: 40 });
}

#[test]
fn strong_draws_are_applied_half_of_the_time() {
    let policy = StrongPolicy::default();
    let mut numbers = [0_u64; 6];
    for sample in 0..DRAWS {
        let mut ops = Vec::new();
        policy.draw(96, &mut id(sample).rng(), &mut ops);
        numbers[ops.len()] += 1;
    }
    for (number, (count, ways)) in numbers.into_iter().zip([1.0, 5.0, 10.0, 10.0, 5.0, 1.0]).enumerate() {
        expect(&format!("{number} applied"), count, DRAWS, ways / 32.0);
    }
}

/// All operations that one draw with probability 1 gives.
fn single_draws(policy: &StrongPolicy, side: u32) -> Vec<Op> {
    let policy = StrongPolicy { draws: 1, probability: 1.0, ..policy.clone() };
    let mut ops = Vec::new();
    for sample in 0..DRAWS {
        policy.draw(side, &mut id(sample).rng(), &mut ops);
    }
    ops
}

#[test]
fn every_operation_of_a_pool_is_equally_likely() {
    for (policy, pool) in [(StrongPolicy::default(), 14), (StrongPolicy::extended(), 17)] {
        let mut counts: HashMap<_, u64> = HashMap::new();
        for op in single_draws(&policy, 96) {
            *counts.entry(discriminant(&op)).or_default() += 1;
        }
        assert_eq!(counts.len(), pool);
        for count in counts.into_values() {
            expect("operation", count, DRAWS, 1.0 / pool as f64);
        }
    }
}

#[test]
fn strong_levels_and_signs_are_uniform_and_give_the_papers_arguments() {
    let pool = |op: StrongOp| StrongPolicy { pool: vec![op], ..StrongPolicy::default() };
    // The arguments in hundredths at levels 1 to 9, for a side of 224.
    let tables: [(StrongOp, [i64; 9], bool); 6] = [
        (StrongOp::Brightness, [14, 23, 32, 41, 50, 59, 68, 77, 86], false),
        (StrongOp::Posterize, [400, 400, 500, 500, 600, 600, 600, 700, 700], false),
        (StrongOp::Rotate, [300, 600, 900, 1200, 1500, 1800, 2100, 2400, 2700], true),
        (StrongOp::ShearX, [3, 6, 9, 12, 15, 18, 21, 24, 27], true),
        (StrongOp::Solarize, [23100, 20500, 18000, 15400, 12800, 10300, 7700, 5200, 2600], false),
        (StrongOp::TranslateY, [600, 1300, 2000, 2600, 3300, 4000, 4700, 5300, 6000], true),
    ];
    for (op, arguments, signed) in tables {
        let mut expected: HashMap<i64, f64> = HashMap::new();
        for argument in arguments {
            if signed {
                *expected.entry(argument).or_default() += 1.0 / 18.0;
                *expected.entry(-argument).or_default() += 1.0 / 18.0;
            } else {
                *expected.entry(argument).or_default() += 1.0 / 9.0;
            }
        }
        let mut counts: HashMap<i64, u64> = HashMap::new();
        for op in single_draws(&pool(op), 224) {
            let argument = match op {
                Op::Brightness(x) | Op::Rotate(x) | Op::ShearX(x) | Op::TranslateY(x) => x,
                Op::Posterize(x) | Op::Solarize(x) => f64::from(x),
                other => panic!("{other} is not in the pool"),
            };
            *counts.entry((100.0 * argument).round() as i64).or_default() += 1;
        }
        assert_eq!(counts.len(), expected.len(), "{op:?}: {counts:?}");
        for (argument, probability) in expected {
            expect(&format!("{op:?} {argument}"), counts[&argument], DRAWS, probability);
        }
    }
}

#[test]
fn cutouts_lie_inside_the_view_and_reach_every_pixel() {
    let policy = StrongPolicy { pool: vec![StrongOp::Cutout], ..StrongPolicy::default() };
    let (mut covered, side) = ([0_u64; 32], 32);
    for op in single_draws(&policy, side) {
        let Op::Cutout { x0, y0, x1, y1 } = op else { panic!("{op} is not in the pool") };
        let inside = |low: i64, high: i64| 0 <= low && low <= high && high < i64::from(side) && high - low < 6;
        assert!(inside(x0, x1) && inside(y0, y1), "{op}");
        (x0..=x1).for_each(|x| covered[x as usize] += 1);
    }
    assert!(covered.iter().all(|&count| count > DRAWS / 64), "{covered:?}");
}
