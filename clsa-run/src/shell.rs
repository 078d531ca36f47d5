//! Texts as they are typed in a shell.

use std::borrow::Cow;

/// A text as one word of a POSIX shell, in quotes where it needs them.
///
/// # Examples
/// ```
/// assert_eq!(clsa_run::shell_word("runs/demo-1"), "runs/demo-1");
/// assert_eq!(clsa_run::shell_word("my runs/$1"), "'my runs/$1'");
/// ```
pub fn shell_word(text: &str) -> String {
    // Only a zero byte cannot be typed, which no path has.
    shlex::try_quote(text).map_or_else(|_| text.to_owned(), Cow::into_owned)
}
