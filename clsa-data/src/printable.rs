//! Names and texts that others chose, as they are shown: what a terminal would obey is escaped.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::Path;

/// Whether a terminal may obey a character instead of showing it: a control character, or one that changes the order or
/// the lines of the text around it.
fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text with `\x1b` or `\u{202e}` for each character that a terminal may obey; a second time changes nothing more.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match u32::from(character) {
            _ if !is_obeyed(character) => shown.push(character),
            code @ ..=0xff => shown += &format!("\\x{code:02x}"),
            code => shown += &format!("\\u{{{code:x}}}"),
        }
    }
    shown.into()
}

/// A path in a message: as [`printable`], with `\xe9` for each byte that is not UTF-8.
pub(crate) fn printable_path(path: impl AsRef<Path>) -> String {
    printable(&text_of(path.as_ref().as_os_str())).into_owned()
}

/// A path in the name of a sample: as [`printable_path`], with `/` between its parts on every system. Lists name images so, and the images
/// of a run are known again by it.
pub(crate) fn name_of(path: impl AsRef<Path>) -> String {
    name_with_slashes(path.as_ref().as_os_str().as_encoded_bytes(), std::path::MAIN_SEPARATOR)
}

fn name_with_slashes(path: &[u8], separator: char) -> String {
    let with_slashes = path.iter().map(|&byte| if char::from(byte) == separator { b'/' } else { byte });
    printable(&text_of_bytes(&with_slashes.collect::<Vec<u8>>())).into_owned()
}

/// The text of a name, with `\xe9` for each byte that is not UTF-8; different names stay different.
pub(crate) fn text_of(name: &OsStr) -> Cow<'_, str> {
    text_of_bytes(name.as_encoded_bytes())
}

/// As [`text_of`], of a name in an archive.
pub(crate) fn text_of_bytes(name: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = str::from_utf8(name) {
        return text.into();
    }
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        text += chunk.valid();
        for byte in chunk.invalid() {
            text += &format!("\\x{byte:02x}");
        }
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped_and_all_else_is_kept() {
        assert_eq!(printable("a\u{1b}[31m\r\nb\u{9b}\u{202e}"), "a\\x1b[31m\\x0d\\x0ab\\x9b\\u{202e}");
        for kept in ["plain é 猫 🦀", "back\\slash", "\\x1b"] {
            assert_eq!(printable(kept), kept);
        }
        let once = printable("\u{7}").into_owned();
        assert_eq!(printable(&once), once);
    }

    #[test]
    fn names_have_slashes_where_a_system_parts_paths_otherwise_and_keep_what_is_no_separator() {
        assert_eq!(name_with_slashes("C:\\é\\\u{202e}.png".as_bytes(), '\\'), "C:/é/\\u{202e}.png");
        assert_eq!(name_with_slashes(br"a\b/c.png", '/'), r"a\b/c.png");
    }

    #[cfg(unix)]
    #[test]
    fn bytes_that_are_not_utf_8_are_shown_as_numbers() {
        use std::os::unix::ffi::OsStrExt;
        assert_eq!(printable_path(OsStr::from_bytes(b"caf\xe9/\x1b.jpg")), "caf\\xe9/\\x1b.jpg");
    }
}
