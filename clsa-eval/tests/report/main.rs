//! The report as a user meets it: what the page says, what is refused, and how a browser shows it.

mod browser;
mod run;

use assert_cmd::Command;
use browser::Browser;
use clsa_data::{Source, Split};
use clsa_eval::{EvalTransform, FeatureFile, Run, center_crops, data_hash, encoder_hash};
use clsa_model::{Compute, Encoder, weights};
use run::{HOSTILE, checkpoint, configure, evaluate, evaluate_elsewhere, record, whole};
use std::fs;
use std::path::Path;

fn report(folder: &Path, args: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clsa-eval"));
    let output = command.current_dir(folder).arg("report").args(args).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_newest_run_gives_a_page_with_every_section_that_loads_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("runs/one");
    whole(&run, 7);
    let (code, stderr) = report(folder.path(), &[]);
    assert_eq!(code, 0, "{stderr}");
    assert!(!stderr.contains("note:"), "{stderr}");
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    for id in
        ["results", "summary", "loss", "knn", "map", "neighbours", "classes", "views", "throughput", "configuration"]
    {
        assert!(page.contains(&format!("<section id=\"{id}\"")), "{id}");
    }
    assert!(!page.contains("class=\"missing\""));
    assert!(!page.contains("<script") && !page.contains(HOSTILE) && page.contains("&lt;script&gt;alert("));
    let loaded = page.split(" src=\"").skip(1).chain(page.split(" href=\"").skip(1));
    assert!(loaded.into_iter().all(|rest| rest.starts_with("data:") || rest.starts_with('#')));
    // 31 of 40 right by linear-features, beside 4 classes of chance.
    for text in ["77.5", "25.0", "untrained", "raw pixels", "batch_size", "strong<br>24 px", "t-SNE"] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn the_same_run_gives_the_same_bytes_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    whole(&folder.path().join("one"), 7);
    for threads in ["1", "3"] {
        let (code, stderr) = report(folder.path(), &["one", "--out", threads, "--threads", threads]);
        assert_eq!(code, 0, "{stderr}");
    }
    assert_eq!(fs::read(folder.path().join("1")).unwrap(), fs::read(folder.path().join("3")).unwrap());
}

#[test]
fn several_runs_stand_side_by_side_and_their_differences_are_marked() {
    let folder = tempfile::tempdir().unwrap();
    whole(&folder.path().join("runs/one"), 7);
    whole(&folder.path().join("runs/two"), 8);
    let (code, stderr) = report(folder.path(), &["runs/one", "runs/two"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(!folder.path().join("runs/one/report.html").exists());
    let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(page.contains("<mark>seed</mark>") && !page.contains("<mark>batch_size</mark>"));
    assert!(page.contains("<td>one</td>") && page.contains("<td>two</td>"));
}

#[test]
fn every_evaluation_of_a_run_is_shown_under_its_data_set() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    whole(&run, 7);
    evaluate_elsewhere(&run);
    let (code, stderr) = report(folder.path(), &["run"]);
    assert_eq!(code, 0, "{stderr}");
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    let results = page.split("<section id=\"results\"").nth(1).unwrap().split("</section>").next().unwrap();
    let place = |text: &str| results.find(text).unwrap_or_else(|| panic!("{text}"));
    // The run's own data come first.
    assert!(place("On procedural<") < place("On flat:photographs<"));
    assert!(place("On flat:photographs<") < place("On voc2007:VOCdevkit<"));
    assert!(place("Mean average precision in percent") > place("On voc2007:VOCdevkit<"));
    for text in ["no test images", "weight decay 1.000e-6", "11-point", "data:image/jpeg;base64,"] {
        place(text);
    }
    assert!(!page.contains("77777"), "numbers of images are no reading");
    // The checkpoint of step 15 is newer than the evaluation of the photographs.
    assert!(results.contains("cargo xtask eval --run run --data flat:photographs"));
    assert!(!results.contains("cargo xtask eval --run run --data voc2007"));
    let (classes, voc07) = (page.find("<section id=\"classes\"").unwrap(), page.find("voc07 by class").unwrap());
    assert!(voc07 > classes && page.contains("Average precision of voc07 in percent, by class."));

    fs::remove_file(run.join("eval-flat-photographs.retrieval.png")).unwrap();
    let (code, stderr) = report(folder.path(), &["run"]);
    assert_eq!(code, 0, "{stderr}");
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains("The picture of retrieval, eval-flat-photographs.retrieval.png, cannot be shown"));
}

#[test]
fn a_run_on_images_without_labels_has_its_map_and_neighbours() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    fs::create_dir(folder.path().join("photographs")).unwrap();
    let source: Source = "procedural:classes=4,train=40,test=10,side=32".parse().unwrap();
    let images = source.open(Split::Train).unwrap();
    for index in 0..40 {
        images.image(index).unwrap().save(folder.path().join(format!("photographs/image-{index}.png"))).unwrap();
    }
    configure(&run, 7);
    let config = fs::read_to_string(run.join("config.toml")).unwrap();
    let config = config.replace("procedural:classes=4,train=80,test=40,side=32", "flat:photographs");
    fs::write(run.join("config.toml"), config).unwrap();
    record(&run);
    checkpoint(&run, 7);
    let (code, stderr) = report(folder.path(), &["run"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("cargo xtask eval --run run --protocol retrieval"), "{stderr}");
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    for text in ["40 random training images", "t-SNE of the same features", "Without colours", ">image-"] {
        assert!(page.contains(text), "{text}");
    }
    assert!(!page.contains('✓') && !page.contains('✗'));
    let neighbours = page.split("<section id=\"neighbours\"").nth(1).unwrap().split("</section>").next().unwrap();
    assert_eq!(neighbours.matches("<img ").count(), 8 * 7);
    // No query is its own neighbour: no row shows a picture twice.
    for row in neighbours.split("<figure").skip(1) {
        let mut pictures: Vec<&str> =
            row.split(" src=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        pictures.sort_unstable();
        pictures.dedup();
        assert_eq!(pictures.len(), 7);
    }
}

#[test]
fn features_that_an_evaluation_has_kept_are_used_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    whole(&run, 7);
    let page = || {
        let (code, stderr) = report(folder.path(), &["run", "--out", "page.html", "--samples", "30"]);
        assert_eq!(code, 0, "{stderr}");
        fs::read_to_string(folder.path().join("page.html")).unwrap()
    };
    let made = page();
    let mut command = Command::new(env!("CARGO_BIN_EXE_clsa-eval"));
    let args = ["eval", "--run", "run", "--protocol", "knn", "--out", "elsewhere.json"];
    command.current_dir(folder.path()).args(args).assert().success();
    assert_eq!(page(), made);
    let kept = || fs::read_dir(run.join("features")).unwrap().map(|entry| entry.unwrap().path());
    for file in kept() {
        let mut bytes = fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&file, bytes).unwrap();
    }
    assert_eq!(page(), made, "damaged files are passed over");

    // Files of features that only name the class: every neighbour is then of the query's class.
    fs::remove_dir_all(run.join("features")).unwrap();
    let opened = Run::open(&run).unwrap();
    let encoder = Encoder::new(&opened.config.model, Compute::default(), 7, &candle_core::Device::Cpu).unwrap();
    encoder.load_backbone(&weights::read(&opened.checkpoint().unwrap()).unwrap().tensors).unwrap();
    let transform = EvalTransform { normalize: opened.config.views.key.normalize, ..EvalTransform::new(32, 32) };
    let source: Source = opened.config.data.source.parse().unwrap();
    let dim = encoder.config().feature_dim();
    for split in [Split::Train, Split::Test] {
        let data = source.open(split).unwrap();
        let data_sha256 = data_hash(data.as_ref(), &|_| {}).unwrap();
        let of = center_crops(&transform, &data_sha256, &encoder_hash(&encoder).unwrap());
        let one_hot = |class: usize| (0..dim).map(move |at| f32::from(u8::from(at == class)));
        let values: Vec<f32> = (0..data.len()).flat_map(|i| one_hot(data.label(i).class().unwrap() as usize)).collect();
        let folder = run.join("features");
        FeatureFile::open_or_make(&folder, &of, [data.len(), dim], &|error| panic!("{error}"), |sink| sink(&values))
            .unwrap();
    }
    let named = page();
    assert_eq!(named.matches("✓ 1.00").count(), 8 * 6);
    assert!(made.matches("✓ 1.00").count() < 8 * 6);
}

#[test]
fn a_bare_run_gives_a_page_that_says_what_is_missing_and_what_makes_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("bare");
    configure(&run, 7);
    let (code, stderr) = report(folder.path(), &["bare"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("note: bare: ") && stderr.contains("cargo xtask eval --run bare"), "{stderr}");
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    for text in ["cargo xtask eval --run bare", "no checkpoint yet", "No training step", "knn.every=1"] {
        assert!(page.contains(text), "{text}");
    }

    // Data that have moved take away the pictures only.
    let config = fs::read_to_string(run.join("config.toml")).unwrap();
    let config = config.replace("procedural:classes=4,train=80,test=40,side=32", "imagefolder:gone");
    fs::write(run.join("config.toml"), config).unwrap();
    record(&run);
    checkpoint(&run, 7);
    evaluate(&run);
    let (code, stderr) = report(folder.path(), &["bare"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("--data"), "{stderr}");
    let (code, stderr) = report(folder.path(), &["bare", "--data", "procedural:classes=4,train=80,test=40,side=32"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(!stderr.contains("note:"), "{stderr}");
}

#[test]
fn wrong_requests_end_with_one_sentence_and_code_2_and_write_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let refused = |args: &[&str], what: &str| {
        let (code, stderr) = report(at, args);
        assert_eq!(code, 2, "{args:?}: {stderr}");
        let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(errors.len() == 1 && errors[0].contains(what), "{args:?}: {stderr}");
        let written = walk(at).into_iter().find(|path| path.extension().is_some_and(|e| e == "html"));
        assert_eq!(written, None, "{args:?}");
    };
    refused(&[], "cargo xtask pretrain");
    refused(&["nowhere"], "nowhere: there is no such folder");
    fs::create_dir(at.join("empty")).unwrap();
    refused(&["empty"], "empty: this folder is not a run, because it has no config.toml");
    whole(&at.join("good"), 7);
    whole(&at.join("damaged"), 7);
    let metrics = fs::read_to_string(at.join("damaged/metrics.jsonl")).unwrap();
    fs::write(at.join("damaged/metrics.jsonl"), metrics.replacen("\"step\":3,", "\"st", 1)).unwrap();
    refused(&["damaged"], "line 4 is damaged");
    refused(&["good", "damaged"], "line 4 is damaged");
    whole(&at.join("evaluated"), 7);
    fs::write(at.join("evaluated/eval.json"), "{").unwrap();
    refused(&["evaluated"], "eval.json");
    whole(&at.join("configured"), 7);
    fs::write(at.join("configured/config.toml"), "[views]\n").unwrap();
    refused(&["configured"], "config.toml");
    refused(&["good", "./good"], "named twice");
    refused(&["good", "--samples", "0"], "--samples");
    refused(&["good", "--data", "nonsense"], "nonsense");
    refused(&["good", "--out", "good"], "--out good");
}

#[test]
fn a_killed_run_whose_last_line_was_cut_off_is_reported_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("killed");
    whole(&run, 7);
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    fs::write(run.join("metrics.jsonl"), &metrics[..metrics.len() - 20]).unwrap();
    let (code, stderr) = report(folder.path(), &["killed"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(fs::read_to_string(run.join("report.html")).unwrap().contains("was cut off"));
}

#[test]
fn help_shows_an_example() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clsa-eval"));
    let output = command.args(["report", "--help"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("cargo xtask report runs/clsa runs/mocov2"));
}

#[test]
fn a_browser_shows_the_page_without_errors_and_without_scrolling_sideways() {
    let Some(browser) = Browser::start() else {
        eprintln!("skipped: chromium and chromedriver (Debian's chromium and chromium-driver) are not installed");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    whole(&at.join("one"), 7);
    evaluate_elsewhere(&at.join("one"));
    whole(&at.join("two-with-a-rather-long-name-20260101-120000"), 8);
    configure(&at.join("bare"), 7);
    for (args, pictures) in [
        (&["one", "--out", "one.html"][..], 4 * 4 + 7 * 8 + 1),
        (&["one", "two-with-a-rather-long-name-20260101-120000", "bare", "--out", "all.html"], 3 * 16 + 2 * 56 + 1),
    ] {
        let (code, stderr) = report(at, args);
        assert_eq!(code, 0, "{stderr}");
        let page = args[args.len() - 1];
        for width in [390, 1280] {
            for scheme in ["light", "dark"] {
                browser.prefer(scheme);
                browser.open(&at.join(page), width);
                let shown = format!("{page} at {width} pixels, {scheme}");
                browser.value("document.querySelectorAll('details').forEach(part => part.open = true)");
                assert_eq!(browser.value("innerWidth"), width, "{shown}");
                let beyond = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
                assert_eq!(browser.value(beyond), 0, "{shown}");
                let loaded = "[...document.images].filter(i => i.complete && i.naturalWidth > 0).length";
                assert_eq!(browser.value(loaded), pictures, "{shown}");
                assert_eq!(browser.value("document.images.length"), pictures, "{shown}");
                let unnamed = "[...document.images].filter(i => !i.alt).length + \
                               [...document.querySelectorAll('[role=img]')].filter(i => !i.ariaLabel).length";
                assert_eq!(browser.value(unnamed), 0, "{shown}");
                let flat = "[...document.querySelectorAll('.plot > div > svg')].filter(s => \
                            s.getBoundingClientRect().height < 50).length";
                assert_eq!(browser.value(flat), 0, "{shown}");
                // Text of a figure is within it, but for the room above its letters, and none is written over another.
                let texts = "[...document.querySelectorAll('.plot > div > svg')].flatMap(s => \
                             { const f = s.getBoundingClientRect(); return [...s.querySelectorAll('text')].map(t => \
                             { const r = t.getBoundingClientRect(); return [t, r, f]; }); })";
                let cut = format!(
                    "{texts}.filter(([t, r, f]) => {{ const e = 0.35 * Math.min(r.width, r.height); return r.left < f.left - e || \
                     r.right > f.right + e || r.top < f.top - e || r.bottom > f.bottom + e; }}).map(([t]) => t.textContent)"
                );
                assert_eq!(browser.value(&cut), serde_json::json!([]), "{shown}");
                let over = format!(
                    "{texts}.flatMap(([t, r], i, all) => all.slice(i + 1).filter(([u, q]) => t.parentNode === u.parentNode \
                     && Math.min(r.right, q.right) - Math.max(r.left, q.left) > 1 && Math.min(r.bottom, q.bottom) - \
                     Math.max(r.top, q.top) > 0.4 * Math.min(r.height, q.height)).map(([u]) => t.textContent + ' / ' + \
                     u.textContent))"
                );
                assert_eq!(browser.value(&over), serde_json::json!([]), "{shown}");
                let wide = "[...document.querySelectorAll('#results .table')].filter(t => t.scrollWidth > \
                            t.clientWidth).length";
                assert!(page == "all.html" || browser.value(wide) == 0, "{shown}");
                assert_eq!(browser.console(), Vec::<String>::new(), "{shown}");
                // The page is its own paper, and the text of figures follows it.
                let paper = browser.value("getComputedStyle(document.body).backgroundColor");
                let ink = browser.value("getComputedStyle(document.querySelector('.plot svg text')).fill");
                let (dark_paper, dark_ink) = ("rgb(20, 24, 28)", "rgb(213, 218, 222)");
                assert_eq!((paper == dark_paper, ink == dark_ink), (scheme == "dark", scheme == "dark"), "{shown}");
            }
        }
    }

    // What the assertions above rest on is seen to notice: a picture that does not load, an error, a page too wide.
    let broken = "<img src=missing.png alt=x><div style=width:2000px>wide</div><script>throw new Error('x')</script>";
    fs::write(at.join("broken.html"), broken).unwrap();
    browser.open(&at.join("broken.html"), 390);
    assert_eq!(browser.value("document.images[0].naturalWidth"), 0);
    assert!(browser.value("document.documentElement.scrollWidth").as_u64().unwrap() > 390);
    assert_eq!(browser.console().len(), 2);
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
