//! The README against the table of protocols.

use clsa_eval::protocols::PROTOCOLS;

/// Words, with one space between them.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_readme_lists_every_protocol_with_its_settings_as_the_table_has_them() {
    let mut list = String::new();
    for protocol in PROTOCOLS {
        list += &format!("- `{}`: {}\n", protocol.name(), protocol.about());
        for setting in protocol.settings() {
            list += &format!("  - `--{}`: {}\n", setting.name, setting.about);
        }
    }
    let readme = words(include_str!("../README.md"));
    assert!(readme.contains(&words(&list)), "the README should have this list:\n{list}");
}
