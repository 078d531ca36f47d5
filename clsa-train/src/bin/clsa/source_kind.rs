//! What kind of images a source holds.

use clsa_data::Source;

/// The kinds of a source, without the paths.
pub fn source_kind(source: &str) -> String {
    match source.parse::<Source>() {
        Ok(source) => source.parts().iter().map(|part| part.kind.name()).collect::<Vec<_>>().join(" + "),
        Err(_) => "other images".to_owned(),
    }
}
