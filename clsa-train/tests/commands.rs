//! What is common to all commands, and the small ones among them.

#[path = "tiny/program.rs"]
mod program;

use program::{clsa, refused, stderr};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;

#[test]
fn replay_prints_the_trajectory_in_the_form_of_its_case() {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/single-r18-f32.json");
    let mut short: Value = serde_json::from_str(&fs::read_to_string(case).unwrap()).unwrap();
    for (key, value) in [("steps", Value::from(1)), ("key", Value::from(32)), ("weak", Value::from(vec![32]))] {
        short["config"][key] = value;
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("case.json");
    fs::write(&path, short.to_string()).unwrap();
    let replayed = |more: &[&str]| clsa().arg("replay").arg(&path).args(more).assert();
    let read =
        |more: &[&str]| -> Value { serde_json::from_slice(&replayed(more).success().get_output().stdout).unwrap() };
    let got = read(&["--precision", "f32"]);
    assert_eq!(got["steps"].as_array().unwrap().len(), 1);
    assert_eq!(got["queue_ptr"], 8);
    let names = |value: &Value| value["final"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&got), names(&short));

    // Double where nothing is said, single where it is and where the kernels are.
    let loss = |got: &Value| got["steps"][0]["loss"].as_f64().unwrap();
    let double = loss(&read(&[]));
    for single in [loss(&got), loss(&read(&["--backend", "cpu"]))] {
        assert!(single != double && (single - double).abs() < 1e-3, "{single} {double}");
    }
    refused(replayed(&["--backend", "cpu", "--precision", "f64"]), 2, &["backend is cpu: "]);
    let in_groups = replayed(&["--bn-splits", "2"]).success();
    assert!(stderr(&in_groups).contains("over 1 groups of the batch, and replayed over 2"), "{}", stderr(&in_groups));
    assert_ne!(loss(&serde_json::from_slice(&in_groups.get_output().stdout).unwrap()), double);
}

#[test]
fn views_draws_a_picture() {
    let folder = TempDir::new().unwrap();
    let (photo, out) = (folder.path().join("photo.png"), folder.path().join("grid.png"));
    image::RgbImage::from_fn(300, 260, |x, y| image::Rgb([x as u8, y as u8, 128])).save(&photo).unwrap();
    let run = |out: &Path| {
        let args = ["--preset", "imagenet-multi-200", "--seed", "1", "--rows", "1", "--out"];
        clsa().arg("views").arg(&photo).args(args).arg(out).assert().success();
        image::open(out).unwrap().to_rgb8()
    };
    let grid = run(&out);
    assert!(grid.width() > 224 + 2 * (224 + 192 + 160 + 128 + 96), "all eleven views and the original side by side");
    assert_eq!(grid, run(&folder.path().join("again.png")));
    refused(clsa().args(["views", "/no/such.jpg"]).assert(), 2, &["/no/such.jpg"]);
}

#[test]
fn a_picture_of_views_follows_its_seed_its_rows_and_its_settings() {
    let folder = TempDir::new().unwrap();
    let photo = image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([x as u8 * 4, y as u8 * 4, 128]));
    photo.save(folder.path().join("photo.png")).unwrap();
    let drawn = |more: &[&str]| {
        let args = ["views", "photo.png", "--preset", "demo", "--out", "grid.png"];
        clsa().current_dir(folder.path()).args(args).args(more).assert().success();
        image::open(folder.path().join("grid.png")).unwrap().to_rgb8()
    };
    let one = drawn(&["--rows", "1"]);
    assert!(drawn(&["--rows", "1", "--seed", "2"]) != one);
    assert!(drawn(&["--rows", "2"]).height() > one.height());
    assert!(drawn(&["--rows", "1", "--set", "views.strong=[]"]).width() < one.width());
}

#[test]
fn a_picture_can_have_a_bare_name_and_is_refused_where_it_cannot_be() {
    let folder = TempDir::new().unwrap();
    image::RgbImage::from_pixel(64, 64, image::Rgb([9, 99, 199])).save(folder.path().join("photo.png")).unwrap();
    fs::create_dir(folder.path().join("out")).unwrap();
    let views = |more: &[&str]| {
        let args = ["views", "photo.png", "--preset", "demo", "--rows", "1"];
        clsa().current_dir(folder.path()).args(args).args(more).assert()
    };
    for (more, file) in
        [(&[][..], "views.png"), (&["--out", "grid.jpg"], "grid.jpg"), (&["--out", "out/v.png"], "out/v.png")]
    {
        views(more).success();
        assert!(folder.path().join(file).exists(), "{file}");
    }
    refused(views(&["--out", "none/v.png"]), 2, &["none/v.png", "there is no folder none"]);
    let photo = fs::read(folder.path().join("photo.png")).unwrap();
    refused(views(&["--out", "out/../photo.png"]), 2, &["this file is read by the command; name another"]);
    assert_eq!(fs::read(folder.path().join("photo.png")).unwrap(), photo);
    refused(views(&["--out", "v.tga"]), 2, &["--out v.tga: name a .png or .jpg file"]);
    refused(views(&["--out", "out"]), 2, &["--out out", "folder"]);
    refused(views(&["--out", "views.txt"]), 2, &["views.txt", ".png or .jpg"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_picture_that_cannot_be_written_is_named() {
    let folder = TempDir::new().unwrap();
    let photo = folder.path().join("photo.png");
    image::RgbImage::new(64, 64).save(&photo).unwrap();
    // Nobody, not even the superuser, can make a file there.
    let mut command = clsa();
    command.arg("views").arg(&photo).args(["--preset", "demo", "--rows", "1", "--out", "/proc/views.png"]);
    refused(command.assert(), 2, &["--out /proc/views.png: no file can be made there"]);
}

#[test]
fn a_file_that_is_no_image_is_a_wrong_request() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("notes.txt"), "no picture").unwrap();
    for command in [&["views"][..], &["bench", "augment"]] {
        let assert = clsa().current_dir(folder.path()).args(command).arg("notes.txt").assert();
        refused(assert, 2, &["notes.txt: cannot be decoded"]);
    }
}

#[cfg(unix)]
#[test]
fn help_and_hints_name_the_program_as_the_user_runs_it() {
    let help = |program: Option<&str>| {
        let mut command = clsa();
        command.args(["pretrain", "--help"]).env_remove("CLSA_RUN_AS");
        program.map(|program| command.env("CLSA_RUN_AS", program));
        String::from_utf8(command.assert().success().get_output().stdout.clone()).unwrap()
    };
    let (alone, built) = (help(None), help(Some("cargo xtask")));
    assert!(alone.contains("Usage: clsa pretrain") && alone.contains("  clsa pretrain --resume"), "{alone}");
    assert!(
        built.contains("Usage: cargo xtask pretrain") && built.contains("  cargo xtask pretrain --resume"),
        "{built}"
    );
}

/// Whether the kernel lets a process ask for its largest use of memory anew.
fn tells_peaks() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

#[test]
fn bench_prints_one_line_of_json() {
    let step = ["bench", "step", "--arch", "resnet18", "--stem", "cifar", "--width", "0.125", "--batch", "2", "--key"];
    let sizes = ["16", "--weak", "16", "--strong", "16", "--bank", "64", "--steps", "1", "--threads", "1", "--json"];
    let loss = ["bench", "loss", "--batch", "4", "--bank", "64", "--dim", "8", "--steps", "1", "--json"];
    let lines = [clsa().args(step).args(sizes).assert().success(), clsa().args(loss).assert().success()];
    for (assert, field) in lines.iter().zip(["peak_rss_mb", "extra_peak_mb"]) {
        let result: Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
        assert!(result["median_s"].as_f64().unwrap() > 0.0);
        assert!(result[field].is_f64() || field == "extra_peak_mb" && !tells_peaks());
    }
}

#[test]
fn numbers_that_no_machine_holds_are_refused_and_named() {
    let (most, huge) = ("18446744073709551615", "4294967295");
    for (arguments, words) in [
        (&["step", "--steps", most][..], "--steps 18446744073709551615: use 1 to"),
        (&["step", "--key", huge], "--key 4294967295: use 1 to 16384"),
        (&["step", "--weak", "32", huge], "--weak 4294967295: use 1 to 16384"),
        (&["loss", "--batch", most], "--batch 18446744073709551615: use 1 to"),
        (&["loss", "--strong", most], "--strong 18446744073709551615: use 1 to"),
        (&["ranks", "--key", most], "--key 18446744073709551615: use 1 to 16384"),
        (&["step", "--batch", "16777216", "--key", "16384"], "--batch 16777216 x --key 16384 x --key 16384: together"),
        (&["loss", "--batch", "16777216", "--dim", "16777216"], "--bank 65536 x --dim 16777216: together"),
        (&["loader", "procedural:classes=2,train=20,test=4,side=8", "--batch", "21"], "--batch 21: "),
    ] {
        refused(clsa().arg("bench").args(arguments).assert(), 2, &[words]);
    }
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/single-r18-f32.json");
    let whole: Value = serde_json::from_str(&fs::read_to_string(case).unwrap()).unwrap();
    let folder = TempDir::new().unwrap();
    for (key, value) in [("n", 1u64 << 63), ("k", 1 << 63), ("key", 1 << 63), ("key", 1_000_000_000), ("dim", 1 << 40)]
    {
        let mut case = whole.clone();
        case["config"][key] = value.into();
        let path = folder.path().join("case.json");
        fs::write(&path, case.to_string()).unwrap();
        refused(clsa().arg("replay").arg(&path).assert(), 2, &["more numbers than a case has"]);
    }
    for (key, value, words) in
        [("weak", Value::Array(Vec::new()), "weak view"), ("t", 0.into(), "temperature"), ("bn_splits", 3.into(), "3")]
    {
        let mut case = whole.clone();
        case["config"][key] = value;
        let path = folder.path().join("case.json");
        fs::write(&path, case.to_string()).unwrap();
        refused(clsa().arg("replay").arg(&path).assert(), 2, &[words]);
    }
}

#[test]
fn the_memory_of_the_loss_does_not_count_the_making_of_the_bank() {
    if !tells_peaks() {
        println!("not tested: the kernel does not tell how much memory was used since");
        return;
    }
    let loss = ["bench", "loss", "--batch", "2", "--weak", "1", "--strong", "1", "--bank", "200000", "--steps", "1"];
    for precision in ["f32", "bf16"] {
        let assert = clsa().args(loss).args(["--precision", precision, "--json"]).assert().success();
        let result: Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
        // The bank alone is 98 or 49 MB, and made from 98 MB of draws.
        let extra = result["extra_peak_mb"].as_f64().unwrap();
        assert!((0.0..30.0).contains(&extra), "{extra} MB with a bank in {precision}");
    }
}

#[test]
fn output_that_nobody_reads_or_that_finds_no_room_ends_a_command_with_one_sentence() {
    let photo = "procedural:classes=2,train=4,test=4,side=16";
    let bench = ["bench", "loss", "--batch", "2", "--bank", "64", "--dim", "8", "--steps", "1"];
    for args in [&bench[..], &["doctor"], &["data", "info", photo], &["data", "verify", photo, "--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        for out in [Stdio::from(writer), Stdio::from(full)] {
            let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("clsa"));
            let output = command.args(args).stdout(out).stderr(Stdio::piped()).output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(
                text.contains("error: standard output cannot be written: ") && !text.contains("panicked"),
                "{text}"
            );
            assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
        }
    }
}

#[test]
fn doctor_names_the_kernels() {
    let assert = clsa().arg("doctor").assert().success();
    let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    let kernels = text.lines().find(|line| line.starts_with("CPU kernels")).unwrap();
    assert!(kernels.contains("model ") && kernels.contains("loss ") && !kernels.contains("todo"), "{text}");
    for feature in ["cuda ", "parquet ", "fetch "] {
        assert!(text.lines().any(|line| line.starts_with(feature)), "{feature}: {text}");
    }
    let scalar = clsa().arg("doctor").env("CLSA_KERNELS", "scalar").assert().success();
    let text = String::from_utf8(scalar.get_output().stdout.clone()).unwrap();
    assert!(text.contains("model scalar, loss scalar"), "{text}");
}

#[test]
fn every_command_has_help_with_an_example() {
    let all = clsa().arg("--help").assert().success();
    let all = String::from_utf8(all.get_output().stdout.clone()).unwrap();
    let listed = all.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| line.starts_with("  "));
    let commands: Vec<&str> = listed.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.len() > 13 && commands.contains(&"pretrain"), "{all}");
    for command in commands.into_iter().filter(|command| *command != "help") {
        let assert = clsa().args([command, "--help"]).assert().success();
        let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
        assert!(text.contains("Example"), "{command}: {text}");
    }
}
