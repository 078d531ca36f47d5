//! The random choices, counted over many draws. The generators are seeded, so that a test that passes once passes
//! always; the bounds are five standard deviations of what the stated probabilities give.

use std::collections::{HashMap, HashSet};
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
fn every_key_of_a_view_has_a_part_in_what_is_drawn() {
    let mut seen: Vec<(&str, Vec<Vec<Op>>)> = Vec::new();
    for text in [
        "",
        "size = 96",
        "scale = [0.5, 0.6]",
        "ratio = [1.9, 2.0]",
        "jitter = false",
        "jitter = { brightness = 0.1 }",
        "jitter = { contrast = 0.1 }",
        "jitter = { saturation = 0.1 }",
        "jitter = { hue = 0.05 }",
        "jitter = { probability = 0.1 }",
        "grayscale = 0.9",
        "blur = false",
        "blur = { sigma = [1.0, 1.5] }",
        "blur = { probability = 0.9 }",
        "flip = 0.9",
        "strong = true",
        "strong = { draws = 2 }",
        "strong = { probability = 0.9 }",
        "strong = { pool = 'extended' }",
        "strong = { levels = [9, 9] }",
    ] {
        let view: View = toml::from_str(text).unwrap();
        let drawn: Vec<Vec<Op>> = draws(&view).take(200).collect();
        let same = seen.iter().find(|(_, earlier)| *earlier == drawn).map(|(other, _)| *other);
        assert_eq!(same, None, "draws the same as `{text}`");
        seen.push((text, drawn));
    }
}

#[test]
fn views_keep_the_order_crop_jitter_grayscale_blur_flip_strong() {
    let jitter = |op: &Op| matches!(op, Op::Brightness(_) | Op::Contrast(_) | Op::Color(_) | Op::Hue(_));
    let mut all_parts = 0;
    for (view, side) in [(View::default(), 224), (View::strong(96, (0.086, 0.429)), 96)] {
        for ops in draws(&view) {
            assert!(matches!(ops[0], Op::CropResize { width, height, .. } if (width, height) == (side, side)));
            let mut rest = &ops[1..];
            let jittered =
                rest.len() >= 4 && rest[..4].iter().all(jitter) && rest[..4].iter().any(|op| matches!(op, Op::Hue(_)));
            rest = &rest[if jittered { 4 } else { 0 }..];
            let parts = [Op::Grayscale, Op::GaussianBlur(0.0), Op::FlipHorizontal].map(|part| {
                let found = rest.first().is_some_and(|op| discriminant(op) == discriminant(&part));
                rest = &rest[usize::from(found)..];
                found
            });
            // Nothing but draws from the pool is left, which has none of the parts above but three of the jitter's four.
            let strong = |op: &Op| {
                !matches!(
                    op,
                    Op::CropResize { .. } | Op::Hue(_) | Op::Grayscale | Op::GaussianBlur(_) | Op::FlipHorizontal
                )
            };
            assert!(rest.iter().all(strong), "{ops:?}");
            assert!(view.strong.is_some() || rest.is_empty(), "{ops:?}");
            all_parts += usize::from(jittered && parts == [true; 3] && rest.len() >= 3);
        }
    }
    assert!(all_parts > 100, "{all_parts} views with every part are too few to tell their order");
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
fn crop_area_and_aspect_ratio_are_those_of_width_over_height_where_the_image_is_not_square() {
    // The widest crop is √(0.12 · 4000 · 2000 · 3) = 1697 pixels wide, the narrowest √(0.12 · 8e6 / 1.5) = 800 high: all fit.
    let (width, height, ratio) = (4000, 2000, (1.5_f64, 3.0_f64));
    let (mut areas, mut ratios) = (vec![], vec![]);
    for sample in 0..DRAWS {
        let crop = random_crop(width, height, (0.05, 0.12), ratio, &mut id(sample).rng());
        let (w, h) = (f64::from(crop.width), f64::from(crop.height));
        areas.push(w * h / (f64::from(width) * f64::from(height)));
        ratios.push((w / h).ln());
    }
    let rounding = 0.001;
    expect_uniform("area", &areas, 0.05 - rounding * 0.1, 0.12 + rounding * 0.1);
    expect_uniform("aspect ratio", &ratios, ratio.0.ln() - 2.0 * rounding, ratio.1.ln() + 2.0 * rounding);
}

#[test]
fn a_crop_is_tried_ten_times() {
    let (side, scale, ratio) = (1000, (0.9, 1.0), (0.5, 1.0));
    let fits = |sample| {
        let crop = random_crop(side, side, scale, ratio, &mut id(sample).rng());
        (crop.width, crop.height) != (side, side)
    };
    let fallbacks = (0..DRAWS).filter(|&sample| !fits(sample)).count() as u64;
    // A crop of area a and ratio r is √(a/r) high, and fits where r ≥ a: where ln r, in [ln ½, 0], is in [ln a, 0].
    let fit = (0..100_000).map(|i| -(0.9 + 0.1 * (f64::from(i) + 0.5) / 1e5_f64).ln() / 2_f64.ln()).sum::<f64>() / 1e5;
    expect("the whole image", fallbacks, DRAWS, (1.0 - fit).powi(10));
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

#[test]
fn strong_draws_are_made_with_replacement() {
    let policy = StrongPolicy { probability: 1.0, ..StrongPolicy::default() };
    let distinct = |sample| {
        let mut ops = Vec::new();
        policy.draw(96, &mut id(sample).rng(), &mut ops);
        let kinds: HashSet<_> = ops.iter().map(discriminant).collect();
        kinds.len() == 5
    };
    let count = (0..DRAWS).filter(|&sample| distinct(sample)).count() as u64;
    expect("five different operations", count, DRAWS, 14.0 * 13.0 * 12.0 * 11.0 * 10.0 / 14_f64.powi(5));
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
fn strong_views_translate_by_a_part_of_the_view_and_not_of_the_image() {
    let pool = vec![StrongOp::TranslateX];
    let strong = StrongPolicy { pool, draws: 1, probability: 1.0, levels: (9, 9) };
    let view = View { strong: Some(strong), ..View::crop_and_flip(96, (0.2, 1.0)) };
    for ops in draws(&view).take(100) {
        // The integer below 0.03 · 9 · 96.
        assert!(matches!(ops.last(), Some(Op::TranslateX(by)) if by.abs() == 25.0), "{ops:?}");
    }
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
    let factors = [14, 23, 32, 41, 50, 59, 68, 77, 86];
    let pixels = [600, 1300, 2000, 2600, 3300, 4000, 4700, 5300, 6000];
    let tables: [(StrongOp, [i64; 9], bool); 12] = [
        (StrongOp::Brightness, factors, false),
        (StrongOp::Color, factors, false),
        (StrongOp::Contrast, factors, false),
        (StrongOp::Sharpness, factors, false),
        (StrongOp::Posterize, [400, 400, 500, 500, 600, 600, 600, 700, 700], false),
        (StrongOp::Rotate, [300, 600, 900, 1200, 1500, 1800, 2100, 2400, 2700], true),
        (StrongOp::ShearX, [3, 6, 9, 12, 15, 18, 21, 24, 27], true),
        (StrongOp::Solarize, [23100, 20500, 18000, 15400, 12800, 10300, 7700, 5200, 2600], false),
        (StrongOp::ShearY, [3, 6, 9, 12, 15, 18, 21, 24, 27], true),
        (StrongOp::TranslateX, pixels, true),
        (StrongOp::TranslateY, pixels, true),
        (StrongOp::SolarizeAdd, [1100, 2200, 3300, 4400, 5500, 6600, 7700, 8800, 9900], true),
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
        for drawn in single_draws(&pool(op.clone()), 224) {
            let argument = match (&op, drawn) {
                (StrongOp::Brightness, Op::Brightness(x))
                | (StrongOp::Color, Op::Color(x))
                | (StrongOp::Contrast, Op::Contrast(x))
                | (StrongOp::Sharpness, Op::Sharpness(x))
                | (StrongOp::Rotate, Op::Rotate(x))
                | (StrongOp::ShearX, Op::ShearX(x))
                | (StrongOp::ShearY, Op::ShearY(x))
                | (StrongOp::TranslateX, Op::TranslateX(x))
                | (StrongOp::TranslateY, Op::TranslateY(x)) => x,
                (StrongOp::Posterize, Op::Posterize(x)) | (StrongOp::Solarize, Op::Solarize(x)) => f64::from(x),
                (StrongOp::SolarizeAdd, Op::SolarizeAdd(x)) => f64::from(x),
                (_, other) => panic!("{op:?} gave {other}"),
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
fn levels_are_drawn_from_the_policys_own_range() {
    let policy = |levels| StrongPolicy { levels, pool: vec![StrongOp::ShearY], ..StrongPolicy::default() };
    // The magnitudes in hundredths at levels 0 to 10.
    for (levels, magnitudes) in [((0, 2), vec![0, 3, 6]), ((9, 10), vec![27, 30]), ((4, 4), vec![12])] {
        let mut counts: HashMap<i64, u64> = HashMap::new();
        for drawn in single_draws(&policy(levels), 96) {
            let Op::ShearY(by) = drawn else { panic!("{drawn}") };
            *counts.entry((100.0 * by).round().abs() as i64).or_default() += 1;
        }
        assert_eq!(counts.len(), magnitudes.len(), "{counts:?}");
        for magnitude in &magnitudes {
            expect(&format!("{levels:?} {magnitude}"), counts[magnitude], DRAWS, 1.0 / magnitudes.len() as f64);
        }
    }
}

#[test]
fn cutouts_have_the_side_of_their_level_and_a_uniform_place() {
    let policy = StrongPolicy { pool: vec![StrongOp::Cutout], ..StrongPolicy::default() };
    let side = 200_i64;
    // ⌊0.02 · v · 200⌋ at levels 1 to 9, the longest 36: a square of any level lies as it was drawn within this middle part.
    let lengths = [4, 8, 12, 16, 20, 24, 28, 32, 36];
    let middle = 36..side - 36;
    let (mut counts, mut places, mut whole) = (HashMap::<i64, u64>::new(), [vec![], vec![]], 0);
    for op in single_draws(&policy, side as u32) {
        let Op::Cutout { x0, y0, x1, y1 } = op else { panic!("{op} is not in the pool") };
        let (width, height) = (x1 - x0 + 1, y1 - y0 + 1);
        assert!(0 <= x0 && x1 < side && 0 <= y0 && y1 < side && width > 0 && height > 0, "{op}");
        let center = [x0 + width / 2, y0 + height / 2];
        if center.iter().all(|place| middle.contains(place)) {
            assert_eq!(width, height, "{op}");
            *counts.entry(width).or_default() += 1;
            whole += 1;
            for (places, place) in places.iter_mut().zip(center) {
                places.push(place as f64);
            }
        }
    }
    expect("in the middle", whole, DRAWS, ((side - 72) as f64 / side as f64).powi(2));
    assert_eq!(counts.len(), lengths.len(), "{counts:?}");
    for length in lengths {
        expect(&format!("a side of {length}"), counts[&length], whole, 1.0 / 9.0);
    }
    for (axis, places) in ["across", "down"].iter().zip(&places) {
        expect_uniform(axis, places, 36.0 - 0.5, (side - 37) as f64 + 0.5);
    }
    // Where the side would be 0, it is 1.
    for op in single_draws(&policy, 5) {
        assert!(matches!(op, Op::Cutout { x0, y0, x1, y1 } if x0 == x1 && y0 == y1), "{op}");
    }
}
