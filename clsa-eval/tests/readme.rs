//! The README against the table of protocols.

use clsa_eval::protocols::PROTOCOLS;

#[test]
fn the_readme_lists_every_protocol_as_the_table_has_it() {
    let mut table = String::from("| name | what it is | settings |\n|---|---|---|\n");
    for protocol in PROTOCOLS {
        let settings = protocol.settings().iter().map(|setting| format!("`--{}`: {}", setting.name, setting.about));
        let settings: Vec<String> = settings.collect();
        let row = format!("| `{}` | {} | {} |", protocol.name(), protocol.about(), settings.join("; "));
        table += &(row.replace("  ", " ") + "\n");
    }
    let readme = include_str!("../README.md");
    assert!(readme.contains(&table), "the README should have this table:\n{table}");
}
