//! Patterns of `*` and `?` as the crate `glob` is to read them.

/// A pattern in which a bracket is a bracket, as in names of folders.
pub(crate) fn with_plain_brackets(pattern: &str) -> String {
    pattern.replace('[', "[[]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_matched_with_brackets_as_they_are() {
        let pattern = glob::Pattern::new(&with_plain_brackets("s3://bucket/a [1]/*].tar")).unwrap();
        assert!(pattern.matches("s3://bucket/a [1]/0].tar"));
        assert!(!pattern.matches("s3://bucket/a 1/0].tar"));
    }
}
