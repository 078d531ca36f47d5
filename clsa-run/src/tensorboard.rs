//! TensorBoard's event files: records of the TFRecord format, each a protocol buffer `tensorflow.Event`.
//!
//! No kept crate writes them, and scalars and images need seven fields of four messages (`event.proto` and
//! `summary.proto` of TensorFlow), so they are written here.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// An event file that is being written. Every event is in the file when its call returns, so that TensorBoard sees it.
///
/// # Examples
/// ```
/// let folder = tempfile::tempdir()?;
/// let mut events = clsa_run::EventFile::create_in(folder.path())?;
/// events.scalar("train/loss", 1, 3.5)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Begins a file in a folder, named by the time so that it comes after earlier ones.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn create_in(folder: &Path) -> io::Result<Self> {
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros());
        let path = folder.join(format!("events.out.tfevents.{micros}"));
        let mut file = File::create(&path)?;
        file.write_all(&version(now()))?;
        Ok(Self { path, file })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says that a run goes on after `step`: TensorBoard forgets what earlier files have of later steps.
    ///
    /// # Errors
    /// The disk is full.
    pub fn resume_after(&mut self, step: u64) -> io::Result<()> {
        self.file.write_all(&session_start(now(), step + 1))
    }

    /// Writes a number under a name.
    ///
    /// # Errors
    /// The disk is full.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f32) -> io::Result<()> {
        self.file.write_all(&scalar(now(), tag, step, value))
    }

    /// Writes a picture under a name.
    ///
    /// # Errors
    /// The disk is full.
    pub fn image(&mut self, tag: &str, step: u64, image: &EventImage<'_>) -> io::Result<()> {
        self.file.write_all(&picture(now(), tag, step, image))
    }
}

/// A picture of RGB pixels for [`EventFile::image`].
#[derive(Clone, Copy, Debug)]
pub struct EventImage<'a> {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// The bytes of a PNG or JPEG file.
    pub encoded: &'a [u8],
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// The first record of every file. Event: file_version = 3.
fn version(time: f64) -> Vec<u8> {
    event(time, 0, field_bytes(3, b"brain.Event:2"))
}

/// Event: session_log = 7. SessionLog: status = 1, of which START is 1.
fn session_start(time: f64, step: u64) -> Vec<u8> {
    event(time, step, field_bytes(7, &field_varint(1, 1)))
}

/// Summary.Value: simple_value = 2.
fn scalar(time: f64, tag: &str, step: u64, value: f32) -> Vec<u8> {
    let mut simple = key(2, FIXED32);
    simple.extend(value.to_le_bytes());
    summary(time, step, tag, simple)
}

/// Summary.Value: image = 4. Summary.Image: height = 1, width = 2, colorspace = 3 (3 is RGB), encoded_image_string = 4.
fn picture(time: f64, tag: &str, step: u64, image: &EventImage<'_>) -> Vec<u8> {
    let mut fields = field_varint(1, image.height.into());
    fields.extend(field_varint(2, image.width.into()));
    fields.extend(field_varint(3, 3));
    fields.extend(field_bytes(4, image.encoded));
    summary(time, step, tag, field_bytes(4, &fields))
}

/// Event: summary = 5. Summary: value = 1. Summary.Value: tag = 1, and what is given.
fn summary(time: f64, step: u64, tag: &str, what: Vec<u8>) -> Vec<u8> {
    let mut value = field_bytes(1, tag.as_bytes());
    value.extend(what);
    event(time, step, field_bytes(5, &field_bytes(1, &value)))
}

/// The record of an Event: wall_time = 1, step = 2 (left out where it is 0, as protocol buffers do), and what is given.
fn event(time: f64, step: u64, what: Vec<u8>) -> Vec<u8> {
    let mut event = key(1, FIXED64);
    event.extend(time.to_le_bytes());
    if step > 0 {
        event.extend(field_varint(2, step));
    }
    event.extend(what);
    record(&event)
}

/// A record of the TFRecord format: length, its checksum, the data, their checksum.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked_crc(&length), data, &masked_crc(data)].concat()
}

/// CRC-32C (Castagnoli), rotated and shifted as TFRecord asks, because a checksum of data that hold checksums is weak.
fn masked_crc(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// Wire types of protocol buffers.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

fn key(field: u64, wire_type: u64) -> Vec<u8> {
    varint(field << 3 | wire_type)
}

fn field_varint(field: u64, value: u64) -> Vec<u8> {
    [key(field, VARINT), varint(value)].concat()
}

fn field_bytes(field: u64, bytes: &[u8]) -> Vec<u8> {
    [&key(field, BYTES)[..], &varint(bytes.len() as u64), bytes].concat()
}

/// Seven bits a byte, the least significant first; the highest bit says that more follow.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_tensorboards_own_writer() {
        let time = 1_700_000_000.25;
        let image = EventImage { width: 300, height: 2, encoded: b"not a PNG" };
        let ours = [
            version(time),
            scalar(time, "train/loss", 1, 3.5),
            scalar(time, "knn/top1", 70_000, 0.0),
            picture(time, "views", 3, &image),
            session_start(time, 4),
        ];
        assert_eq!(ours.concat(), include_bytes!("../tests/fixtures/events.tfevents"));
    }
}
