//! An index from the headers of a shard, and from the labels in it.

use std::io::{BufReader, Read, Seek, SeekFrom};

use tar::PaxExtensions;

use super::format::ShardIndex;
use super::labels::{Classes, parse_cls, parse_json};
use super::remarks::Remarks;
use crate::error::{DataError, Fault};
use crate::listing::is_image;
use crate::object::Object;
use crate::printable::text_of_bytes;
use crate::text::decode_text;

pub(super) const BLOCK: u64 = 512;
/// Bytes behind the end of an archive that are looked at: more than any program fills it up with.
const MAX_FILLED: u64 = 1 << 20;
/// Most bytes of a file that is read into memory for its label, or for the name of the file behind it.
pub(super) const MAX_READ: u64 = 1 << 20;

/// Files of one sample, as they are met in a shard.
#[derive(Default)]
struct Pending {
    key: Vec<u8>,
    /// Where the first of its headers begins.
    start: u64,
    /// Number of its headers, those that hold long names among them.
    headers: u32,
    image: Option<Image>,
    /// From a `.cls` file, and the name of that.
    class: Option<(String, Vec<i32>)>,
    /// From a `.json` file: labels, or the reason why it gives none.
    json: Option<(String, Result<Vec<i32>, String>)>,
}

struct Image {
    name: String,
    offset: u64,
    size: u64,
    /// Whether there is more than the extension behind the key, as in `1.seg.png`.
    dotted: bool,
}

impl Pending {
    fn add_image(&mut self, image: Image, remarks: &mut Remarks) {
        let unused = match &mut self.image {
            Some(first) if first.dotted && !image.dotted => std::mem::replace(first, image),
            Some(_) => image,
            none => {
                *none = Some(image);
                return;
            }
        };
        remarks.more_images.add(|| unused.name);
    }

    fn finish(self, index: &mut ShardIndex) -> Result<(), String> {
        let Some(image) = self.image else {
            // Files without an image are no sample.
            let json = self.json.filter(|(_, labels)| labels.as_ref().is_ok_and(|labels| !labels.is_empty()));
            if let Some(name) = self.class.map(|(name, _)| name).or(json.map(|(name, _)| name)) {
                index.remarks.labels_alone.add(|| name);
            }
            return Ok(());
        };
        let labels = match (self.class, self.json) {
            (Some((_, labels)), _) | (None, Some((_, Ok(labels)))) => labels,
            (None, Some((name, Err(reason)))) => {
                if index.width > 0 {
                    return Err(format!("{name} {reason}"));
                }
                index.remarks.unread_json.add(|| format!("{name}, which {reason}"));
                Vec::new()
            }
            (None, None) => Vec::new(),
        };
        index.starts.push(self.start);
        index.headers.push(self.headers);
        index.digests.push(0);
        index.push(&image.name, image.offset, image.size, &labels)
    }
}

/// Reads all headers of a shard, and its labels, in sequence.
pub(super) fn scan(shard: &Object, classes: &[String]) -> Result<ShardIndex, DataError> {
    let failed = |error| shard.error(error);
    let mut reader = BufReader::new(shard.reader().map_err(failed)?);
    let mut first = Vec::new();
    (&mut reader).take(8).read_to_end(&mut first).map_err(failed)?;
    reader.rewind().map_err(failed)?;
    if let Some(packing) = packing(&first) {
        return Err(
            Fault::Unsupported.at(shard.path(), format!("is {packing}, not a bare tar archive; unpack it first"))
        );
    }
    let damaged = |reason| shard.failure().map_or_else(|| Fault::Damaged.at(shard.path(), reason), DataError::Remote);
    let mut index = scan_reader(reader, shard.len(), classes).map_err(damaged)?;
    index.modified = shard.modified().unwrap_or(0);
    Ok(index)
}

/// What a file that begins with these bytes is packed with, in the words of a message.
fn packing(first: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 6] = [
        (&[0x1f, 0x8b], "gzipped"),
        (&[0x28, 0xb5, 0x2f, 0xfd], "packed with zstd"),
        (&[0xfd, b'7', b'z', b'X', b'Z', 0], "packed with xz"),
        (b"BZh", "packed with bzip2"),
        (b"PK\x03\x04", "a zip archive"),
        (b"7z\xbc\xaf", "a 7z archive"),
    ];
    known.iter().find(|(magic, _)| first.starts_with(magic)).map(|(_, name)| *name)
}

/// Makes the index of a shard of `size` bytes from its headers. `classes` are the names that `.cls` files may hold.
///
/// # Errors
/// The reason for which the shard is refused.
pub fn scan_reader<R: Read + Seek>(reader: R, size: u64, classes: &[String]) -> Result<ShardIndex, String> {
    let broken = |end: u64| {
        move |error: std::io::Error| match error.kind() {
            // The reader's own words have bytes of the file in them.
            std::io::ErrorKind::Other | std::io::ErrorKind::InvalidData => {
                format!("is not a whole tar archive: what stands at byte {end} is no header")
            }
            _ => format!("is not a whole tar archive: {error}"),
        }
    };
    let mut archive = tar::Archive::new(reader);
    let classes = Classes::new(classes);
    let mut index = ShardIndex { size, ..ShardIndex::default() };
    let mut pending = Pending::default();
    let mut end = 0;
    // The headers before a file that hold its name where that is long: where they begin, how many they are, the name.
    let (mut extensions, mut long_name): (Option<(u64, u32)>, Option<Vec<u8>>) = (None, None);
    for entry in archive.entries_with_seek().map_err(broken(0))?.raw(true) {
        let mut entry = entry.map_err(broken(end))?;
        let (header, offset, bytes) = (entry.raw_header_position(), entry.raw_file_position(), entry.size());
        let kind = entry.header().entry_type();
        let raw_name = entry.path_bytes().into_owned();
        end = offset.saturating_add(bytes.div_ceil(BLOCK).saturating_mul(BLOCK));
        if end > size {
            let name = text_of_bytes(&raw_name);
            return Err(format!("is cut short: {name} should end at byte {end}, the file ends at {size}"));
        }
        if kind.is_gnu_sparse() {
            return Err(format!("has the sparse file {}, which is not read", text_of_bytes(&raw_name)));
        }
        let (start, headers) = extensions.take().unwrap_or((header, 0));
        let headers = headers.saturating_add(1);
        if kind.is_gnu_longname() || kind.is_gnu_longlink() || kind.is_pax_local_extensions() {
            if bytes > MAX_READ {
                return Err(format!("has a file name of {bytes} bytes, above the limit of {MAX_READ}"));
            }
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(broken(end))?;
            if kind.is_gnu_longname() {
                long_name = Some(content.split(|&byte| byte == 0).next().unwrap_or_default().to_vec());
            } else if kind.is_pax_local_extensions() {
                for record in PaxExtensions::new(&content) {
                    let record = record.map_err(broken(header))?;
                    match record.key_bytes() {
                        b"path" => long_name = Some(record.value_bytes().to_vec()),
                        b"size" => return Err("has a file of more than 8 GiB, which is not read".into()),
                        _ => {}
                    }
                }
            }
            extensions = Some((start, headers));
            continue;
        }
        let path = long_name.take().unwrap_or(raw_name);
        let keyed = if kind.is_file() { key(&path) } else { None };
        if (kind.is_hard_link() || kind.is_symlink())
            && key(&path).is_some_and(|(_, extension)| is_image(&format!("1.{}", text_of_bytes(extension))))
        {
            index.remarks.links.add(|| text_of_bytes(&path).into_owned());
        }
        match keyed {
            Some((key, _)) if key != pending.key => {
                std::mem::replace(&mut pending, Pending { key: key.to_vec(), start, ..Pending::default() })
                    .finish(&mut index)?;
            }
            _ => {}
        }
        pending.headers = pending.headers.saturating_add(headers);
        let Some((_, extension)) = keyed else { continue };
        let name = || text_of_bytes(&path).into_owned();
        let extension = text_of_bytes(extension).to_ascii_lowercase();
        if extension == "cls" || extension == "json" {
            let text = if bytes > MAX_READ {
                Err(format!("has {bytes} bytes, more than the {MAX_READ} that are read for a label"))
            } else {
                let mut content = Vec::new();
                entry.read_to_end(&mut content).map_err(broken(end))?;
                decode_text(&content)
            };
            let again = if extension == "json" { pending.json.is_some() } else { pending.class.is_some() };
            if again {
                return Err(format!("has {} twice for one sample", name()));
            }
            if extension == "json" {
                pending.json = Some((name(), text.and_then(|text| parse_json(&text, &classes))));
            } else {
                let labels = text.and_then(|text| parse_cls(&text, &classes));
                pending.class = Some((name(), labels.map_err(|reason| format!("{} {reason}", name()))?));
            }
        } else if is_image(&format!("1.{extension}")) {
            let image = Image { name: name(), offset, size: bytes, dotted: extension.contains('.') };
            pending.add_image(image, &mut index.remarks);
        }
    }
    pending.finish(&mut index)?;
    if size < end.saturating_add(BLOCK) {
        return Err("is cut short: the blocks that end a tar archive are missing".into());
    }
    let mut behind = Vec::new();
    let mut reader = archive.into_inner();
    let read = reader.seek(SeekFrom::Start(end)).and_then(|_| reader.take(MAX_FILLED).read_to_end(&mut behind));
    read.map_err(broken(end))?;
    if let Some(at) = behind.iter().position(|byte| *byte != 0) {
        let (bytes, from) = (size - end - at as u64, end + at as u64);
        index.remarks.behind_end.add(|| format!("one with {bytes} bytes from byte {from} on"));
    }
    index.classes = classes.digest();
    Ok(index)
}

/// The key of a file and what stands behind it: the key ends at the first dot of the file name, as in the webdataset library.
/// `None` for a hidden file, and one without a dot.
fn key(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let name = path.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
    let dot = path[name..].iter().position(|&byte| byte == b'.').filter(|&dot| dot > 0)?;
    Some((&path[..name + dot], &path[name + dot + 1..]))
}
