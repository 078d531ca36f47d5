//! Operations as text: what is read, what is refused and with which words, and the README's table of them.

use clsa_augment::{AugmentError, Augmenter, OPS, Op, StrongOp};
use image::RgbImage;

/// Reads operations and applies them to an image of 240 x 180 pixels; returns the message of the failure.
fn refused(ops: &[&str]) -> String {
    let ops: Result<Vec<Op>, AugmentError> = ops.iter().map(|text| text.parse()).collect();
    let image = RgbImage::new(240, 180);
    let error = ops.and_then(|ops| Augmenter::new().apply(&image, &ops)).unwrap_err();
    assert!(error.is_request(), "{error}");
    error.to_string()
}

fn expect_refusal(ops: &[&str], words: &[&str]) {
    let message = refused(ops);
    assert_eq!(message.lines().count(), 1, "{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
}

#[test]
fn an_operation_that_does_not_exist_is_refused_with_those_that_do() {
    expect_refusal(&["sharpen=2"], &["sharpen", "sharpness=F"]);
    expect_refusal(&["invert", "Equalize"], &["Equalize", "equalize"]);
    expect_refusal(&["--quality"], &["--quality"]);
    expect_refusal(&[""], &["sharpness=F"]);
    let message = refused(&["in.png"]);
    for spec in OPS {
        assert!(message.contains(&spec.to_string()), "{spec} is not in {message}");
    }
}

#[test]
fn an_argument_that_is_out_of_range_is_refused_with_its_range() {
    expect_refusal(&["posterize=0"], &["posterize", "0", "from 1 to 8"]);
    expect_refusal(&["posterize=9"], &["posterize", "9", "from 1 to 8"]);
    expect_refusal(&["hue=-0.51"], &["hue", "-0.51", "from -0.5 to 0.5"]);
    expect_refusal(&["hue=0.6"], &["hue", "0.6", "from -0.5 to 0.5"]);
    expect_refusal(&["invert", "gaussian_blur=-1"], &["gaussian_blur", "-1", "from 0"]);
    expect_refusal(&["brightness=inf"], &["brightness", "inf"]);
    expect_refusal(&["rotate=inf"], &["rotate", "inf"]);
    expect_refusal(&["cutout=5,0,4,1"], &["cutout", "5,0,4,1", "X0 <= X1"]);
    // What does not lie inside the image, or no longer does after another operation.
    expect_refusal(&["crop_resize=200,0,100,50,10,10"], &["100x50", "(200, 0)", "240x180"]);
    expect_refusal(&["crop_resize=0,0,9,9,9,9", "crop_resize=0,0,10,9,5,5"], &["10x9", "9x9"]);
    expect_refusal(&["crop_resize=0,0,9,9,0,5"], &["9x9", "0x5"]);
}

#[test]
fn an_argument_that_is_no_number_or_not_as_many_as_needed_is_refused() {
    expect_refusal(&["rotate=left"], &["rotate", "left", "one number"]);
    expect_refusal(&["brightness=NaN"], &["brightness", "NaN"]);
    expect_refusal(&["posterize=4.5"], &["posterize", "4.5", "a whole number"]);
    expect_refusal(&["solarize"], &["solarize", "a whole number"]);
    expect_refusal(&["solarize=1,2"], &["solarize", "1,2", "a whole number"]);
    expect_refusal(&["crop_resize=1,2,3"], &["crop_resize", "1,2,3", "six whole numbers"]);
    expect_refusal(&["equalize=1"], &["equalize", "no argument"]);
    expect_refusal(&["equalize="], &["equalize", "no argument"]);
}

#[test]
fn every_operation_of_the_table_is_written_as_it_is_read() {
    for spec in OPS {
        // Numbers that all operations accept as one, four or six arguments.
        let arguments = match spec.arguments.split(',').count() {
            1 => "0.5",
            4 => "-3,2,10,20",
            _ => "1,2,30,40,5,6",
        };
        let whole = spec.needs.contains("a whole number");
        let text = match (spec.arguments, whole) {
            ("", _) => spec.name.to_owned(),
            (_, true) => format!("{}=4", spec.name),
            _ => format!("{}={arguments}", spec.name),
        };
        assert_eq!(text.parse::<Op>().unwrap().to_string(), text);
        // One argument too many.
        let equal_sign = if spec.arguments.is_empty() { '=' } else { ',' };
        assert!(format!("{text}{equal_sign}1").parse::<Op>().is_err(), "{text}");
    }
}

#[test]
fn names_are_given_once() {
    let mut names: Vec<_> = OPS.iter().map(|spec| spec.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), OPS.len());
    let mut names: Vec<_> = StrongOp::EXTENDED.iter().map(StrongOp::name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 17);
    assert_eq!(StrongOp::PAPER, &StrongOp::EXTENDED[..14]);
}

#[test]
fn the_readme_lists_every_operation() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let rows = OPS.iter().map(|spec| format!("| `{spec}` | {} | {} |\n", spec.needs, spec.equals));
    let table = format!("| operation | it needs | same bytes as |\n|---|---|---|\n{}\n", rows.collect::<String>());
    assert!(readme.contains(&table), "README.md must have this table:\n\n{table}");
}
