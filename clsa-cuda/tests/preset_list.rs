//! The presets whose convolutions are planned are those of `clsa-run`, as their files have them.

mod presets;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use presets::{PRESETS, Preset};
use toml::{Table, Value};

/// What a file leaves out, as `clsa-run` fills it in.
mod default {
    pub const ARCH: &str = "resnet50";
    pub const STEM: &str = "imagenet";
    pub const WIDTH: f64 = 1.0;
    pub const BATCH_SIZE: usize = 256;
    pub const ACCUMULATE: usize = 1;
    pub const SIDE: usize = 224;
}

/// Name and content of each file, by name.
fn files() -> Vec<(String, Table)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../clsa-run/presets");
    let mut files: Vec<(String, Table)> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, toml::from_str::<Table>(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        })
        .collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files
}

/// The value of a key in a table of a configuration, if it is there.
fn value<'a>(configuration: &'a Table, table: &str, key: &str) -> Option<&'a Value> {
    configuration.get(table)?.get(key)
}

fn text<'a>(value: Option<&'a Value>, default: &'a str) -> &'a str {
    value.map_or(default, |value| value.as_str().expect("a string"))
}

fn count(value: Option<&Value>, default: usize) -> usize {
    value.map_or(default, |value| usize::try_from(value.as_integer().expect("a whole number")).unwrap())
}

/// The sides of all views, in any epoch.
fn sides(configuration: &Table) -> BTreeSet<usize> {
    let views = |kind| value(configuration, "views", kind).and_then(Value::as_array).into_iter().flatten();
    let key = value(configuration, "views", "key");
    let all = [key].into_iter().chain(views("weak").chain(views("strong")).map(Some));
    all.flat_map(|view| {
        let of = |key: &str| view.and_then(|view| view.get(key));
        let early = of("early_sizes").and_then(Value::as_array).into_iter().flatten();
        let early = early.map(|early| count(early.get("size"), default::SIDE));
        early.chain([count(of("size"), default::SIDE)]).collect::<Vec<_>>()
    })
    .collect()
}

/// Blocks of the stages of an architecture, and the expansion of a block.
fn blocks(arch: &str) -> ([usize; 4], usize) {
    match arch {
        "resnet10" => ([1; 4], 1),
        "resnet18" => ([2; 4], 1),
        "resnet34" => ([3, 4, 6, 3], 1),
        "resnet50" => ([3, 4, 6, 3], 4),
        "resnet101" => ([3, 4, 23, 3], 4),
        "resnet152" => ([3, 8, 36, 3], 4),
        _ => panic!("the convolutions of {arch} are not made for planning; add it to tests/plans.rs and here"),
    }
}

#[test]
fn every_preset_is_planned_by_its_network_its_batch_and_the_sides_of_its_views() {
    let files = files();
    let mut listed: Vec<&str> = PRESETS.iter().flat_map(|preset| preset.names).copied().collect();
    listed.sort_unstable();
    let named: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(listed, named, "the list in tests/presets, and the files of clsa-run/presets");

    for (name, configuration) in &files {
        let planned: Preset = PRESETS.into_iter().find(|preset| preset.names.contains(&name.as_str())).unwrap();
        let model = |key| value(configuration, "model", key);
        let (blocks, expansion) = blocks(text(model("arch"), default::ARCH));
        assert_eq!((planned.blocks, planned.expansion), (blocks, expansion), "{name}: model.arch");
        let large_stem = match text(model("stem"), default::STEM) {
            "imagenet" => true,
            "cifar" => false,
            stem => panic!("{name}: the stem {stem} is not planned"),
        };
        assert_eq!(planned.large_stem, large_stem, "{name}: model.stem");
        let width = model("width").map_or(default::WIDTH, |width| {
            width.as_float().or_else(|| width.as_integer().map(|width| width as f64)).expect("a number")
        });
        assert_eq!(planned.width, (64.0 * width).round() as usize, "{name}: model.width");
        let train = |key, default| count(value(configuration, "train", key), default);
        let batch = train("batch_size", default::BATCH_SIZE) / train("accumulate", default::ACCUMULATE);
        assert_eq!(planned.batch, batch, "{name}: train.batch_size over train.accumulate");
        let sides: Vec<usize> = sides(configuration).into_iter().filter(|side| !planned.sides.contains(side)).collect();
        assert!(sides.is_empty(), "{name}: views of {sides:?} pixels are not planned");
    }
}
