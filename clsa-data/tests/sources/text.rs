//! The text of a source, and the table of kinds.

#[cfg(not(all(feature = "parquet", feature = "remote")))]
use clsa_data::Split;
use clsa_data::{DataError, ProceduralOptions, Source, SourceKind};
use std::process::Command;

#[test]
fn a_source_is_displayed_as_it_is_parsed() {
    for text in [
        "imagefolder:/a/b",
        "cifar-bin:x.tar.gz",
        "idx:mnist",
        "wds:/d/{split}-{000..127}.tar",
        "parquet:/d",
        "voc2007:VOCdevkit",
        "flat:.",
        "procedural:classes=12,train=4000,test=1000,side=32,seed=0",
    ] {
        assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
    }
}

#[test]
fn a_wrong_source_is_refused_with_what_is_expected() {
    for (text, part) in [
        ("imagefolder", "imagefolder:PATH"),
        ("imagefolder:", "imagefolder:PATH"),
        ("imagenet:/x", "no known kind"),
        ("", "no known kind"),
        ("procedural:classes", "KEY=VALUE"),
        ("procedural:shape=1", "unknown key `shape`"),
        ("procedural:classes=17", "2..=16"),
        ("procedural:classes=x", "whole number"),
        ("procedural:train=3", "train = 3"),
        ("procedural:side=4", "8..=1024"),
    ] {
        let error = text.parse::<Source>().unwrap_err().to_string();
        assert!(error.contains(part) && error.contains(&format!("`{text}`")), "{error}");
    }
}

#[test]
fn what_is_wrong_with_the_text_of_a_source_can_be_matched() {
    let error = |text: &str| text.parse::<Source>().unwrap_err();
    assert!(matches!(error("imagenet:/x"), DataError::UnknownKind { .. }));
    assert!(matches!(error("wds:"), DataError::NoPath { form, .. } if form == "wds:PATTERN"));
    assert!(matches!(error("procedural:side=4"), DataError::Options { .. }));
    assert!(error("imagenet:/x").is_request() && error("wds:").is_request());
}

#[test]
fn a_source_is_made_of_its_kind_and_what_stands_behind_the_colon() {
    let source = Source::new(SourceKind::Wds, "/d/{split}.tar").unwrap();
    assert_eq!((source.to_string().as_str(), source.parts()[0].kind), ("wds:/d/{split}.tar", SourceKind::Wds));
    assert_eq!(source.parts()[0].argument, "/d/{split}.tar");
    assert_eq!("flat:/a:b".parse::<Source>().unwrap().parts()[0].argument, "/a:b");
    assert!(matches!(Source::new(SourceKind::Flat, ""), Err(DataError::NoPath { .. })));
    let options = ProceduralOptions { seed: 3, ..ProceduralOptions::default() };
    assert_eq!(Source::from(options), "procedural:seed=3".parse().unwrap());
}

#[test]
fn a_tilde_that_the_shell_left_alone_is_the_home_folder() {
    // Once more without its variable, as in some containers.
    if std::env::var_os("HOME").is_some() {
        let name = "text::a_tilde_that_the_shell_left_alone_is_the_home_folder";
        let test = Command::new(std::env::current_exe().unwrap()).args(["--exact", name]).env_remove("HOME").output();
        let output = String::from_utf8(test.unwrap().stdout).unwrap();
        assert!(output.contains("1 passed"), "{output}");
    }
    // A user whom the system does not know has none.
    let Some(home) = std::env::home_dir() else { return };
    let home = home.into_os_string().into_string().unwrap();
    assert_eq!("flat:~/a".parse::<Source>().unwrap().parts()[0].argument, format!("{home}/a"));
    assert_eq!("wds:~".parse::<Source>().unwrap().parts()[0].argument, home);
    for kept in ["/a/~/b", "~a/b", "a~"] {
        assert_eq!(Source::new(SourceKind::Flat, kept).unwrap().parts()[0].argument, kept);
    }
}

#[test]
fn an_address_with_a_secret_or_of_another_kind_is_refused_without_showing_it() {
    for (text, words) in [
        ("wds:https://anna:secret@host/a.tar", "source `wds:https://host/a.tar`: has a user or password"),
        ("wds:s3://key:a/secret@bucket/a.tar", "source `wds:s3://bucket/a.tar`: has a user or password"),
        ("wds:s3://key:secret/bucket/a.tar", "source `wds:s3://`: has a user or password"),
        (
            "wds:https://anna:a/secret@host/a.tar+wds:s3://7:secret/9@b/c.tar+flat:/x@y",
            "source `wds:https://host/a.tar+wds:s3://b/c.tar+flat:/x@y`: has a user or password",
        ),
        (
            "wds:https://h/a?sig=01+wds:s3://7:8/secret@b/c.tar",
            "source `wds:https://h/a+wds:s3://b/c.tar`: has a query",
        ),
        (
            "flat:/x+parquet:s3://b/a.parquet?X-Amz-Signature=secret",
            "source `flat:/x+parquet:s3://b/a.parquet`: has a query",
        ),
        ("parquet:https://h/a?sig=secret?label=x", "source `parquet:https://h/a`: has a query"),
        ("wds:https://h/a.tar?label=secret", "source `wds:https://h/a.tar`: has a query"),
        ("imagenet:https://anna:secret@host/a", "source `imagenet:https://host/a`: is no known kind"),
        ("imagefolder:https://anna:secret@host/a", "from which only wds and parquet are read; copy it to this one"),
        ("wds:gs://bucket/a.tar", "begins with `gs://`, which is not read; use https:// or s3://"),
        ("wds:http://host/a.tar", "is not encrypted; use https://, or set AWS_ALLOW_HTTP=true"),
    ] {
        let error = text.parse::<Source>().unwrap_err();
        let shown = error.to_string();
        assert!(error.is_request() && shown.contains(words) && !shown.contains("secret"), "{shown}");
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }
    let source = "parquet:s3://bucket/train-?.parquet?label=fine".parse::<Source>().unwrap();
    assert_eq!(source.to_string(), "parquet:s3://bucket/train-?.parquet?label=fine");
}

#[cfg(not(feature = "remote"))]
#[test]
fn an_address_names_the_feature_that_it_needs() {
    let error = "wds:https://host/a.tar".parse::<Source>().unwrap().open(Split::Train).map(|_| ()).unwrap_err();
    assert!(matches!(error, DataError::FeatureOff { feature: "remote", .. }), "{error}");
}

/// The table of the README, as the table of the code has it.
fn readme_table() -> String {
    let mut table = String::from("| source | what it reads |\n|---|---|\n");
    for kind in SourceKind::ALL {
        let feature = kind.feature().map_or(String::new(), |feature| format!(" (feature `{feature}`)"));
        table += &format!("| `{}` | {}: {}{feature} |\n", kind.form(), kind.summary(), kind.details());
    }
    table
}

#[test]
fn the_readme_has_the_table_of_sources() {
    let readme = include_str!("../../README.md");
    assert!(readme.contains(&readme_table()), "the README should have:\n{}", readme_table());
}

#[test]
fn every_kind_has_a_name_of_its_own_and_is_parsed_from_its_form() {
    for (at, kind) in SourceKind::ALL.iter().enumerate() {
        assert_eq!(kind.form().parse::<Source>().unwrap().parts()[0].kind, *kind);
        assert!(SourceKind::ALL[..at].iter().all(|other| other.name() != kind.name()), "{kind}");
        assert!(SourceKind::forms().contains(&kind.form()), "{kind}");
        assert_eq!(kind.is_available(), kind.feature().is_none() || cfg!(feature = "parquet"), "{kind}");
    }
}

#[cfg(not(feature = "parquet"))]
#[test]
fn parquet_names_the_feature_that_it_needs() {
    let error = "parquet:/data".parse::<Source>().unwrap().open(Split::Train).map(|_| ()).unwrap_err();
    assert!(matches!(error, DataError::FeatureOff { feature: "parquet", .. }));
    assert!(error.to_string().contains("--features parquet"), "{error}");
}
