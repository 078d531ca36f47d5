//! Text files that others wrote: UTF-8 with or without a byte order mark, or UTF-16 with one.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::error::{DataError, Fault};

/// Most bytes of a list of names.
pub(crate) const MAX_LIST: u64 = 16 << 20;

/// Reads a text that others wrote, which has no reason to have more than `most` bytes.
pub(crate) fn read_text(path: &Path, most: u64) -> Result<String, DataError> {
    let bytes = read_at_most(path, most)?;
    decode_text(&bytes).map_err(|reason| Fault::Unsupported.at(path, reason))
}

/// Reads a file that others wrote, which has no reason to have more than `most` bytes.
pub(crate) fn read_at_most(path: &Path, most: u64) -> Result<Vec<u8>, DataError> {
    at_most(File::open(path), path, most, DataError::read(path))
}

/// What a reader of `path` gives, which has no reason to have more than `most` bytes.
pub(crate) fn at_most(
    reader: io::Result<impl Read>,
    path: &Path,
    most: u64,
    failed: impl FnOnce(io::Error) -> DataError,
) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    reader.and_then(|reader| reader.take(most.saturating_add(1)).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > most {
        return Err(Fault::Unsupported.at(path, format!("has more than the {most} bytes that are read of such a file")));
    }
    Ok(bytes)
}

/// The text of these bytes, without the byte order mark that they may begin with; an error is a reason.
pub fn decode_text(bytes: &[u8]) -> Result<String, String> {
    let utf_16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = bytes.chunks(2).map(|pair| match *pair {
            [a, b] => unit([a, b]),
            // Half a unit is no character: a surrogate alone.
            _ => 0xd800,
        });
        char::decode_utf16(units).collect::<Result<String, _>>().map_err(|_| "is not whole UTF-16".to_string())
    };
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => utf_8(rest),
        [0xff, 0xfe, rest @ ..] => utf_16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf_16(rest, u16::from_be_bytes),
        _ => utf_8(bytes),
    }
}

fn utf_8(bytes: &[u8]) -> Result<String, String> {
    match str::from_utf8(bytes) {
        Ok(text) => Ok(text.into()),
        Err(error) => Err(format!("is not UTF-8 at byte {}; save it as UTF-8", error.valid_up_to())),
    }
}

/// The text of an XML file: by its byte order mark, or else by the encoding that its first line declares. An error is a
/// reason.
pub fn decode_xml(bytes: &[u8]) -> Result<String, String> {
    let Some(encoding) = declared(bytes) else { return decode_text(bytes) };
    match encoding.to_ascii_lowercase().as_str() {
        "utf-8" | "utf8" => decode_text(bytes),
        // The bytes of these two are the first code points, but for signs at 0x80 to 0x9f that no name of a class has.
        "iso-8859-1" | "latin1" | "latin-1" | "windows-1252" | "cp1252" => {
            Ok(bytes.iter().map(|&byte| char::from(byte)).collect())
        }
        // Others write ASCII as ASCII, and nothing else is needed of a file that has nothing else.
        name if bytes.is_ascii() && !name.starts_with("utf-16") && !name.starts_with("utf-32") => decode_text(bytes),
        _ => Err(format!("is written in {encoding}, which is not read; save it as UTF-8")),
    }
}

/// The encoding that `<?xml … encoding="…"?>` declares.
fn declared(bytes: &[u8]) -> Option<String> {
    let line = &bytes[..bytes.len().min(200)];
    let line = String::from_utf8_lossy(line.strip_prefix(b"<?xml")?).into_owned();
    let (declaration, _) = line.split_once("?>")?;
    let (_, value) = declaration.split_once("encoding")?;
    let value = value.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|quote| ['"', '\''].contains(quote))?;
    value[1..].split_once(quote).map(|(encoding, _)| encoding.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_by_their_byte_order_mark() {
        let wide = |unit: fn(u16) -> [u8; 2]| "\u{feff}ant\né🦀".encode_utf16().flat_map(unit).collect::<Vec<u8>>();
        for bytes in ["ant\né🦀".into(), "\u{feff}ant\né🦀".into(), wide(u16::to_le_bytes), wide(u16::to_be_bytes)]
        {
            assert_eq!(decode_text(&bytes).unwrap(), "ant\né🦀");
        }
        assert!(decode_text(b"caf\xe9").unwrap_err().contains("not UTF-8 at byte 3"));
        assert!(decode_text(b"\xff\xfea").unwrap_err().contains("UTF-16"));
    }

    #[test]
    fn xml_is_read_by_the_encoding_that_it_declares() {
        for (bytes, text) in [
            (&b"<?xml version='1.0' encoding='ISO-8859-1'?><a>caf\xe9</a>"[..], Some("café")),
            (b"<?xml version=\"1.0\" encoding = \"windows-1252\"?><a>caf\xe9</a>", Some("café")),
            ("<?xml version='1.0' encoding='utf-8'?><a>café</a>".as_bytes(), Some("café")),
            ("\u{feff}<?xml version='1.0' encoding='gb2312'?><a>café</a>".as_bytes(), Some("café")),
            (b"<?xml version='1.0' encoding='gb2312'?><a>cafe</a>", Some("cafe")),
            (b"<?xml version='1.0' encoding='gb2312'?><a>\xc3\xa8</a>", None),
            ("<a>café</a>".as_bytes(), Some("café")),
        ] {
            match (decode_xml(bytes), text) {
                (Ok(found), Some(text)) => assert!(found.contains(text), "{found}"),
                (Err(reason), None) => assert!(reason.contains("gb2312"), "{reason}"),
                (found, text) => panic!("{found:?}, not {text:?}"),
            }
        }
    }
}
