//! What the documents of the workspace say, held against its crates.

use clsa_run::{Preset, Study};
use std::fs;
use std::path::Path;

/// A file of the workspace.
fn document(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::read_to_string(root.join(path)).unwrap()
}

#[test]
fn the_readme_has_every_preset_in_the_order_of_their_table() {
    let readme = document("README.md");
    let (_, table) = readme.split_once("| preset | what | pixels of key, weak, strong views |\n").unwrap();
    let mut named: Vec<String> = Vec::new();
    for row in table.lines().skip(1).take_while(|line| line.starts_with('|')) {
        let cell = row.split('|').nth(1).unwrap();
        for word in cell.split('`').skip(1).step_by(2) {
            // As in: `imagenet-single-200`, `-800`.
            let stem = word.strip_prefix('-').and_then(|_| named.last()?.rsplit_once('-'));
            let name = stem.map_or(word.to_owned(), |(stem, _)| format!("{stem}{word}"));
            named.push(name);
        }
    }
    assert_eq!(named, Preset::ALL.map(|preset| preset.name));
}

/// `study --figures` refuses those of another configuration.
#[test]
fn the_figures_that_come_with_the_study_are_of_its_variants_as_they_are() {
    let study = Study::load("ddm", &[]).unwrap();
    let figures = document("docs/studies/ddm.jsonl");
    assert!(!figures.is_empty());
    for line in figures.lines() {
        let figure: serde_json::Value = serde_json::from_str(line).unwrap();
        let variant = study.variants.iter().find(|variant| figure["variant"] == *variant.name).expect(line);
        assert_eq!(figure["configuration"], study.digest(variant).unwrap(), "{line}");
    }
}

#[test]
fn the_page_of_the_study_has_every_figure_by_variant_and_seed() {
    let (page, figures) = (document("docs/where-ddm-helps.md"), document("docs/studies/ddm.jsonl"));
    let mut of_variants: Vec<(String, Vec<String>)> = Vec::new();
    for line in figures.lines() {
        let figure: serde_json::Value = serde_json::from_str(line).unwrap();
        let (variant, top1) = (figure["variant"].as_str().unwrap(), figure["top1"].as_f64().unwrap());
        match of_variants.iter_mut().find(|(name, _)| name == variant) {
            Some((_, all)) => all.push(format!("{top1:.1}")),
            None => of_variants.push((variant.to_owned(), vec![format!("{top1:.1}")])),
        }
    }
    for (variant, all) in of_variants {
        let row = page.lines().find(|line| line.starts_with(&format!("| {variant} | "))).expect(&variant);
        assert!(row.contains(&format!("| {} |", all.join(", "))), "{row}: {all:?}");
    }
}
