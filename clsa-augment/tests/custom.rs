//! Adds an operation from outside the crate: in a list of operations, and in the pool of a strong policy.

mod images;

use std::fmt;

use clsa_augment::rand::{Rng, RngExt};
use clsa_augment::{
    AugmentError, Augmenter, CustomOp, CustomStrongOp, Layout, Op, StrongOp, StrongPolicy, View, ViewId, ViewPlan,
};
use image::RgbImage;

/// Mixes every pixel with a color.
#[derive(Debug)]
struct Tint {
    color: [u8; 3],
    percent: u32,
}

impl fmt::Display for Tint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { color: [r, g, b], percent } = self;
        write!(f, "tint={r},{g},{b},{percent}")
    }
}

impl CustomOp for Tint {
    fn apply(&self, image: &mut RgbImage) {
        for pixel in image.pixels_mut() {
            for (value, color) in pixel.0.iter_mut().zip(self.color) {
                *value = ((u32::from(*value) * (100 - self.percent) + u32::from(color) * self.percent) / 100) as u8;
            }
        }
    }
}

/// Makes an image of another size.
#[derive(Debug)]
struct Enlarge(u32);

impl fmt::Display for Enlarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "enlarge={}", self.0)
    }
}

impl CustomOp for Enlarge {
    fn apply(&self, image: &mut RgbImage) {
        let (width, height) = (image.width() * self.0, image.height() * self.0);
        *image = RgbImage::from_fn(width, height, |x, y| image[(x / self.0, y / self.0)]);
    }
}

/// A tint of a random color, stronger at a higher level.
#[derive(Debug)]
struct RandomTint;

impl CustomStrongOp for RandomTint {
    fn name(&self) -> &str {
        "random_tint"
    }

    fn at_level(&self, level: u32, _side: u32, rng: &mut dyn Rng) -> Op {
        Op::custom(Tint { color: rng.random(), percent: 5 * level })
    }
}

fn green() -> Op {
    Op::custom(Tint { color: [0, 200, 0], percent: 30 })
}

fn tinted(mut image: RgbImage) -> RgbImage {
    Tint { color: [0, 200, 0], percent: 30 }.apply(&mut image);
    image
}

#[test]
fn it_is_applied_in_its_place_among_the_others() {
    let photo = images::read("flower.png");
    let mut augmenter = Augmenter::new();
    for others in [vec![Op::Invert, Op::Posterize(3)], vec![Op::Rotate(20.0)], vec![Op::Brightness(0.6)], vec![]] {
        let before = tinted(augmenter.apply(&photo, &others).unwrap());
        let ops = [others.clone(), vec![green()], others.clone()].concat();
        assert_eq!(augmenter.apply(&photo, &ops).unwrap(), augmenter.apply(&before, &others).unwrap(), "{others:?}");
    }
}

#[test]
fn it_may_change_the_size() {
    let photo = images::read("square.png");
    let mut augmenter = Augmenter::new();
    let ops = [
        Op::FlipHorizontal,
        Op::custom(Enlarge(3)),
        Op::FlipHorizontal,
        "crop_resize=100,100,92,92,46,46".parse().unwrap(),
    ];
    let enlarged = RgbImage::from_fn(192, 192, |x, y| photo[(x / 3, y / 3)]);
    assert_eq!(augmenter.apply(&photo, &ops[..3]).unwrap(), enlarged);
    let part = augmenter.apply(&enlarged, &ops[3..]).unwrap();
    assert_eq!(augmenter.apply(&photo, &ops).unwrap(), part);
    let mut values = vec![0.0; 3 * 46 * 46];
    let plain = clsa_augment::Normalize::NONE;
    augmenter.apply_into(&photo, &ops, &plain, Layout::ChannelsLast, &mut values).unwrap();
    assert!(values.iter().zip(part.as_raw()).all(|(value, &byte)| *value == f32::from(byte) / 255.0));
}

#[test]
fn a_size_without_pixels_is_refused() {
    let error = Augmenter::new().apply(&RgbImage::new(4, 2), &[Op::custom(Enlarge(0))]).unwrap_err();
    assert_eq!(error, AugmentError::Size { width: 4, height: 2, target_width: 0, target_height: 0 });
}

#[test]
fn it_has_a_text_form_that_tells_it_from_others() {
    assert_eq!(green().to_string(), "tint=0,200,0,30");
    assert_eq!(green(), green());
    assert_ne!(green(), Op::custom(Tint { color: [0, 200, 0], percent: 31 }));
    // What the text stands for is known to the program alone that has the operation.
    assert!("tint=0,200,0,30".parse::<Op>().is_err());
}

#[test]
fn it_is_drawn_from_the_pool_of_a_strong_policy() {
    let mut policy = StrongPolicy::default();
    policy.pool.push(StrongOp::custom(RandomTint));
    let view = View { strong: Some(policy), ..View::strong(96, (0.086, 0.429)) };
    let plan = ViewPlan { strong: vec![view.clone()], ..ViewPlan::single() };
    plan.validate().unwrap();
    assert_eq!(plan, plan.clone());
    assert_ne!(plan, ViewPlan::single());
    let photo = images::read("flower.png");
    let mut times = 0;
    for sample in 0..300 {
        let id = ViewId { seed: 0, epoch: 0, sample, view: 2 };
        let ops = view.draw(photo.width(), photo.height(), id).unwrap();
        assert_eq!(ops, view.draw(photo.width(), photo.height(), id).unwrap());
        times += ops.iter().filter(|op| op.to_string().starts_with("tint=")).count();
        let picture = Augmenter::new().image(&photo, &view, id).unwrap();
        assert_eq!(picture, Augmenter::new().apply(&photo, &ops).unwrap());
    }
    // Five draws of fifteen, applied half of the time: 50 are expected.
    assert!((25..75).contains(&times), "{times} tints");
}

#[test]
fn it_does_not_change_what_the_others_draw() {
    let alone = StrongPolicy {
        draws: 1,
        probability: 1.0,
        pool: vec![StrongOp::custom(RandomTint)],
        ..StrongPolicy::default()
    };
    let view = View { strong: Some(alone), ..View::crop_and_flip(32, (0.2, 1.0)) };
    let plain = View::crop_and_flip(32, (0.2, 1.0));
    for sample in 0..20 {
        let id = ViewId { seed: 0, epoch: 0, sample, view: 1 };
        let (with, without) = (view.draw(40, 30, id).unwrap(), plain.draw(40, 30, id).unwrap());
        assert_eq!(with[..with.len() - 1], without[..]);
        assert!(matches!(with.last(), Some(Op::Custom(_))));
    }
}

#[test]
fn a_pool_is_written_with_its_name_and_not_read_with_it() {
    let policy = StrongPolicy { pool: vec![StrongOp::Rotate, StrongOp::custom(RandomTint)], ..StrongPolicy::default() };
    let text = toml::to_string(&policy).unwrap();
    assert!(text.contains(r#"pool = ["rotate", "random_tint"]"#), "{text}");
    let error = toml::from_str::<StrongPolicy>(&text).unwrap_err().to_string();
    assert!(error.contains("`random_tint`") && error.contains("`rotate`"), "{error}");
}
