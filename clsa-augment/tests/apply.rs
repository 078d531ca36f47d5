//! The example `apply` as a user runs it. `cargo test` builds the examples, but `cargo test --test apply` does not: after a
//! change of the example, run all tests of the crate.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use clsa_data::Limits;
use tempfile::TempDir;

fn apply() -> Command {
    Command::cargo_bin("examples/apply").unwrap()
}

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", name].iter().collect()
}

/// Runs operations on a fixture; the output goes to `out.png` of the folder.
fn run(ops: &[&str], input: &str, folder: &TempDir) -> Assert {
    apply().args(ops).arg(fixture(input)).arg(folder.path().join("out.png")).assert()
}

fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Checks that a run ended with this code and one line on standard error that has all words, and printed nothing else.
fn refused(assert: Assert, code: i32, words: &[&str]) {
    let assert = assert.code(code).stdout("");
    let message = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert_eq!(message.trim_end().lines().count(), 1, "{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
}

/// Checks that a request is refused, and that nothing was written.
fn wrong_request(ops: &[&str], words: &[&str]) {
    let folder = TempDir::new().unwrap();
    refused(run(ops, "china.png", &folder), 2, words);
    assert!(names(folder.path()).is_empty(), "{ops:?} wrote {:?}", names(folder.path()));
}

#[test]
fn help_names_every_operation_and_shows_an_example() {
    for option in ["--help", "-h"] {
        let assert = apply().arg(option).assert().code(0).stderr("");
        let help = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
        for name in [
            "autocontrast",
            "equalize",
            "identity",
            "invert",
            "grayscale",
            "hflip",
            "posterize=",
            "solarize=",
            "solarize_add=",
            "brightness=",
            "color=",
            "contrast=",
            "sharpness=",
            "hue=",
            "rotate=",
            "gaussian_blur=",
            "shear_x=",
            "shear_y=",
            "translate_x=",
            "translate_y=",
            "cutout=",
            "crop_resize=",
        ] {
            assert!(help.contains(name), "{name} is not in {help}");
        }
        assert!(help.contains("example: apply "), "{help}");
    }
}

#[test]
fn the_example_of_the_help_works() {
    let help = apply().arg("--help").output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let example = help.lines().find_map(|line| line.strip_prefix("example: apply ")).unwrap();
    let folder = TempDir::new().unwrap();
    fs::copy(fixture("china.jpg"), folder.path().join("in.jpg")).unwrap();
    apply().args(example.split(' ')).current_dir(&folder).assert().code(0);
    assert_eq!(image::image_dimensions(folder.path().join("out.png")).unwrap(), (224, 224));
}

#[test]
fn chains_of_operations_write_pillow_bytes() {
    let text = fs::read_to_string(fixture("operations.txt")).unwrap();
    let chains: Vec<[&str; 3]> = text
        .lines()
        .map(|line| <[&str; 3]>::try_from(line.split(" | ").collect::<Vec<_>>()).unwrap())
        .filter(|[_, ops, _]| ops.contains(' '))
        .collect();
    let folder = TempDir::new().unwrap();
    // Every 17th, so that each input comes up and a run takes a fraction of a second.
    let mut count = 0;
    for [input, ops, result] in chains.into_iter().step_by(17) {
        run(&ops.split(' ').collect::<Vec<_>>(), &format!("{input}.png"), &folder).code(0).stdout("").stderr("");
        let written = image::open(folder.path().join("out.png")).unwrap();
        assert_eq!(written.color(), image::ColorType::Rgb8);
        let crc = crc32fast::hash(written.as_bytes());
        assert_eq!(format!("{} {} {crc:08x}", written.width(), written.height()), result, "{input}: {ops}");
        count += 1;
    }
    assert!(count >= 20, "only {count} chains were found");
    assert_eq!(names(folder.path()), ["out.png"]);
}

#[test]
fn other_pixel_formats_are_converted_as_pillow_does() {
    let folder = TempDir::new().unwrap();
    for name in [
        "convert_grey16.png",
        "convert_grey16_transparent.png",
        "convert_palette.gif",
        "convert_rgba.webp",
        "convert_cmyk.jpg",
    ] {
        run(&["identity"], name, &folder).code(0);
        let written = fs::read(folder.path().join("out.png")).unwrap();
        let pillow = fs::read(fixture(&format!("{name}.rgb.png"))).unwrap();
        let pixels = |png: &[u8]| clsa_data::decode(png, name, &Limits::default()).unwrap();
        assert_eq!(pixels(&written), pixels(&pillow), "{name}");
    }
}

#[test]
fn the_input_may_be_the_output() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("image.png");
    fs::copy(fixture("tiny_3x2.png"), &file).unwrap();
    for _ in 0..2 {
        apply().arg("invert").args([&file, &file]).assert().code(0);
    }
    assert_eq!(image::open(&file).unwrap(), image::open(fixture("tiny_3x2.png")).unwrap());
    assert_eq!(names(folder.path()), ["image.png"]);
}

#[test]
fn a_missing_file_is_a_wrong_request_that_names_it() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("none.jpg");
    let assert = apply().arg("invert").arg(&missing).arg(folder.path().join("out.png")).assert();
    refused(assert, 2, &["there is no file", missing.to_str().unwrap()]);
    assert!(names(folder.path()).is_empty());
}

#[test]
fn too_few_or_too_many_arguments_are_refused() {
    refused(apply().assert(), 2, &["--help"]);
    refused(apply().arg("in.png").assert(), 2, &["--help"]);
    refused(apply().args(["in.png", "out.png"]).assert(), 2, &["an operation is needed", "--help"]);
    let folder = TempDir::new().unwrap();
    let surplus = folder.path().join("surplus.png");
    let assert =
        apply().arg("invert").arg(fixture("china.png")).arg(folder.path().join("out.png")).arg(&surplus).assert();
    refused(assert, 2, &["china.png", "only the last two arguments"]);
    assert!(names(folder.path()).is_empty());
}

#[test]
fn an_operation_that_does_not_exist_is_refused_with_those_that_do() {
    wrong_request(&["sharpen=2"], &["sharpen", "sharpness=F"]);
    wrong_request(&["invert", "Equalize"], &["Equalize", "equalize"]);
    wrong_request(&["--quality"], &["--quality"]);
}

#[test]
fn an_argument_that_is_out_of_range_is_refused_with_its_range() {
    wrong_request(&["posterize=9"], &["posterize", "9", "from 1 to 8"]);
    wrong_request(&["hue=-0.51"], &["hue", "-0.51", "from -0.5 to 0.5"]);
    wrong_request(&["invert", "gaussian_blur=-1"], &["gaussian_blur", "-1", "from 0"]);
    wrong_request(&["brightness=inf"], &["brightness", "inf"]);
    wrong_request(&["cutout=5,0,4,1"], &["cutout", "5,0,4,1", "X0 <= X1"]);
    // What does not lie inside the image, or no longer does after another operation.
    wrong_request(&["crop_resize=200,0,100,50,10,10"], &["100x50", "(200, 0)", "240x180"]);
    wrong_request(&["crop_resize=0,0,9,9,9,9", "crop_resize=0,0,10,9,5,5"], &["10x9", "9x9"]);
    wrong_request(&["crop_resize=0,0,9,9,0,5"], &["9x9", "0x5"]);
}

#[test]
fn an_argument_that_is_no_number_or_not_as_many_as_needed_is_refused() {
    wrong_request(&["rotate=left"], &["rotate", "left", "one number"]);
    wrong_request(&["brightness=NaN"], &["brightness", "NaN"]);
    wrong_request(&["posterize=4.5"], &["posterize", "4.5", "a whole number"]);
    wrong_request(&["solarize"], &["solarize", "a whole number"]);
    wrong_request(&["crop_resize=1,2,3"], &["crop_resize", "1,2,3", "six whole numbers"]);
    wrong_request(&["equalize=1"], &["equalize", "no argument"]);
}

#[test]
fn an_output_that_would_not_keep_every_byte_is_refused() {
    let folder = TempDir::new().unwrap();
    for name in ["out.jpg", "out", "png"] {
        let assert = apply().arg("invert").arg(fixture("black.png")).arg(folder.path().join(name)).assert();
        refused(assert, 2, &[name, ".png"]);
    }
    assert!(names(folder.path()).is_empty());
}

#[test]
fn an_input_that_is_no_image_fails_and_leaves_an_older_output_as_it_was() {
    let folder = TempDir::new().unwrap();
    let (input, output) = (folder.path().join("in.png"), folder.path().join("out.png"));
    fs::write(&output, "older").unwrap();
    let whole = fs::read(fixture("china.png")).unwrap();
    for bytes in [&b"no image at all"[..], b"", &whole[..whole.len() / 2]] {
        fs::write(&input, bytes).unwrap();
        refused(apply().arg("invert").args([&input, &output]).assert(), 1, &["cannot be decoded", "in.png"]);
        assert_eq!(fs::read(&output).unwrap(), b"older");
    }
    assert_eq!(names(folder.path()).len(), 2);
}

#[test]
fn a_file_that_cannot_be_read_or_written_fails_and_leaves_nothing_behind() {
    let folder = TempDir::new().unwrap();
    let output = folder.path().join("out.png");
    refused(apply().arg("invert").args([folder.path(), &output]).assert(), 1, &["cannot read"]);
    assert!(names(folder.path()).is_empty());
    let nowhere = folder.path().join("none/out.png");
    refused(apply().arg("invert").args([fixture("black.png"), nowhere]).assert(), 1, &["cannot write", "none"]);
    // A folder in the place of the output: the picture is written beside it, cannot be renamed and is removed.
    fs::create_dir(&output).unwrap();
    refused(apply().arg("invert").args([fixture("black.png"), output]).assert(), 1, &["cannot write", "out.png"]);
    assert_eq!(names(folder.path()), ["out.png"]);
}
