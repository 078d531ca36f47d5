//! From the bytes of an image file to RGB, as Pillow's `Image.open(…).convert("RGB")` gives it.
//!
//! The format is read from the content, not from the name. Alpha is dropped, gray is repeated, 16-bit color keeps its
//! high byte, 16-bit gray is clipped to 255 (Pillow's mode `I;16`), an animation gives its first frame, a TIFF is turned by
//! its orientation, and an EXIF orientation is not applied. The README lists where the decoders themselves differ.

mod bmp;
mod png;
mod tiff;

use std::fs::File;
use std::io::{BufRead, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};

use crate::guard;
use crate::jpeg::Jpeg;
use crate::printable::printable_path;
use crate::sample_error::SampleError;

/// What a single sample may cost. Anything beyond is refused before it is decoded.
///
/// Beside the file, decoding takes at most: for a JPEG of one scan 3 bytes per pixel and some rows, for one of several scans 8
/// bytes per pixel more; for other formats 16 bytes per pixel for what is decoded, 3 for RGB, and 16 for each of `max_pixels`
/// for the decoder's own needs; for a PNG or BMP that must be rewritten, 16 bytes per pixel more; for a TIFF, 32 bytes more for
/// each byte of the file, up to 256 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most pixels (width times height). Default 89,478,485, as Pillow's `MAX_IMAGE_PIXELS`.
    pub max_pixels: u64,
    /// Most bytes of the encoded file. Default 256 MiB.
    pub max_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_pixels: 89_478_485, max_bytes: 256 << 20 }
    }
}

impl Limits {
    /// Reads a file, which is named by its path in messages.
    ///
    /// # Errors
    /// The file cannot be read, or is larger than `max_bytes`, which is found before they are read.
    pub fn read(&self, path: &Path) -> Result<Vec<u8>, SampleError> {
        let failed = |error| SampleError::Read { name: printable_path(path), error };
        let (file, size) = self.open(path)?;
        let mut bytes = Vec::with_capacity(size as usize + 1);
        // What is no regular file does not say how much it has.
        file.take(self.max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
        self.check_bytes(&printable_path(path), bytes.len() as u64)?;
        Ok(bytes)
    }

    /// Opens a file of no more than so many bytes.
    pub(crate) fn open(&self, path: &Path) -> Result<(File, u64), SampleError> {
        let failed = |error| SampleError::Read { name: printable_path(path), error };
        let file = File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        self.check_bytes(&printable_path(path), size)?;
        Ok((file, size))
    }

    /// Checks the size of an encoded file.
    pub(crate) fn check_bytes(&self, name: &str, bytes: u64) -> Result<(), SampleError> {
        if bytes > self.max_bytes {
            return Err(SampleError::TooManyBytes { name: name.into(), bytes, limit: self.max_bytes });
        }
        Ok(())
    }

    /// Checks width and height of an image.
    fn check_size(&self, name: &str, (width, height): (u32, u32)) -> Result<(), SampleError> {
        if width == 0 || height == 0 {
            return Err(decode_error(name, format!("its size is {width}x{height}")));
        }
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(SampleError::TooManyPixels { name: name.into(), width, height, limit: self.max_pixels });
        }
        Ok(())
    }
}

fn decode_error(name: &str, reason: impl ToString) -> SampleError {
    SampleError::Decode { name: name.into(), reason: reason.to_string() }
}

/// Bytes in memory or in a file. Behind one type, every decoder is compiled once, not once for each.
trait BufReadSeek: BufRead + Seek {}

impl<R: BufRead + Seek> BufReadSeek for R {}

/// A decoder whose header has been read and whose dimensions are within the limits, and how what it decodes is to be turned.
fn open<'a>(
    mut bytes: Box<dyn BufReadSeek + 'a>,
    name: &str,
    limits: &Limits,
) -> Result<(impl ImageDecoder + 'a, Orientation), SampleError> {
    let start = bytes.fill_buf().map_err(|error| decode_error(name, error))?;
    if start.is_empty() {
        return Err(decode_error(name, "the file is empty"));
    }
    if tiff::is_big(start) {
        return Err(decode_error(name, "it is a BigTIFF, which is not read; save it as a TIFF"));
    }
    let mut reader = ImageReader::new(bytes).with_guessed_format().map_err(|error| decode_error(name, error))?;
    let Some(format) = reader.format() else {
        return Err(decode_error(name, "its first bytes are of no known image format"));
    };
    let mut allowed = image::Limits::default();
    // Bytes for the decoder's own buffers: 8 per pixel is 16-bit RGBA; twice that leaves room for a second copy.
    allowed.max_alloc = Some(limits.max_pixels.saturating_mul(16));
    reader.limits(allowed);
    let mut decoder = reader.into_decoder().map_err(|error| decode_error(name, error))?;
    limits.check_size(name, decoder.dimensions())?;
    // Pillow turns a TIFF as it loads it, and no other format.
    let orientation = if format == ImageFormat::Tiff { decoder.orientation() } else { Ok(Orientation::NoTransforms) };
    Ok((decoder, orientation.map_err(|error| decode_error(name, error))?))
}

/// Decodes what is no JPEG.
fn decode_other(bytes: &[u8], name: &str, limits: &Limits) -> Result<RgbImage, SampleError> {
    let (decoder, orientation) = open(Box::new(Cursor::new(bytes)), name, limits)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| decode_error(name, error))?;
    image.apply_orientation(orientation);
    Ok(to_rgb(image, is_gray_png(bytes)))
}

/// What a function makes of a PNG, or of what is left of it without what Pillow does not mind.
fn with_png<R>(
    bytes: &[u8],
    name: &str,
    limits: &Limits,
    work: impl Fn(&[u8]) -> Result<R, SampleError>,
) -> Result<R, SampleError> {
    if !png::has_odd_palette(bytes) {
        match work(bytes) {
            Err(SampleError::Decode { .. }) => {}
            done => return done,
        }
    }
    let mended = png::mended(bytes, limits.max_pixels).map_err(|reason| decode_error(name, reason))?;
    work(&mended)
}

/// What a function makes of a BMP, in the plain form where it is of another that Pillow reads.
fn with_bmp<R>(bytes: &[u8], limits: &Limits, work: impl Fn(&[u8]) -> R) -> R {
    match bmp::plain(bytes, limits.max_pixels) {
        Some(plain) => work(&plain),
        None => work(bytes),
    }
}

/// A JPEG whose header has been read and whose dimensions are within the limits.
fn open_jpeg<'a>(bytes: &'a [u8], name: &str, limits: &Limits) -> Result<Jpeg<'a>, SampleError> {
    let jpeg = Jpeg::open(bytes).map_err(|reason| decode_error(name, reason))?;
    limits.check_size(name, jpeg.dimensions())?;
    Ok(jpeg)
}

/// Runs a decoder; a panic inside it becomes an error of this sample.
fn guarded<R>(name: &str, work: impl FnOnce() -> Result<R, SampleError>) -> Result<R, SampleError> {
    guard::guarded(work).unwrap_or_else(|| Err(decode_error(name, "the decoder panicked")))
}

/// Decodes an image file as Pillow's `Image.open(…).convert("RGB")` does; `name` is for messages only.
///
/// # Errors
/// [`SampleError`] if the bytes are beyond the limits or cannot be decoded.
///
/// # Examples
/// ```
/// use clsa_data::{Limits, decode, dimensions};
///
/// let bytes = b"P6 2 1 255\n\xff\x00\x00\x00\x00\xff";
/// let image = decode(bytes, "two.ppm", &Limits::default())?;
/// assert_eq!((image.get_pixel(0, 0).0, image.get_pixel(1, 0).0), ([255, 0, 0], [0, 0, 255]));
/// assert_eq!(dimensions(bytes, "two.ppm", &Limits::default())?, (2, 1));
///
/// let error = decode(b"no image", "notes.txt", &Limits::default()).unwrap_err();
/// assert_eq!(error.to_string(), "notes.txt: cannot be decoded: its first bytes are of no known image format");
/// # Ok::<(), clsa_data::SampleError>(())
/// ```
pub fn decode(bytes: &[u8], name: &str, limits: &Limits) -> Result<RgbImage, SampleError> {
    limits.check_bytes(name, bytes.len() as u64)?;
    if Jpeg::is(bytes) {
        return guarded(name, || open_jpeg(bytes, name, limits)?.decode().map_err(|reason| decode_error(name, reason)));
    }
    if png::is(bytes) {
        return guarded(name, || with_png(bytes, name, limits, |bytes| decode_other(bytes, name, limits)));
    }
    if bmp::is(bytes) {
        return guarded(name, || with_bmp(bytes, limits, |bytes| decode_other(bytes, name, limits)));
    }
    if tiff::is(bytes) {
        check_tiff(bytes, name)?;
    }
    guarded(name, || decode_other(bytes, name, limits))
}

/// Reads and decodes an image file as [`decode`] does; messages name it by its path.
///
/// # Errors
/// [`SampleError`] if the file cannot be read, is beyond the limits, or cannot be decoded.
pub fn decode_file(path: &Path, limits: &Limits) -> Result<RgbImage, SampleError> {
    decode(&limits.read(path)?, &printable_path(path), limits)
}

/// Returns width and height in pixels of an image file, from its header; `name` is for messages only.
///
/// # Errors
/// As for [`decode`].
pub fn dimensions(bytes: &[u8], name: &str, limits: &Limits) -> Result<(u32, u32), SampleError> {
    limits.check_bytes(name, bytes.len() as u64)?;
    header(Cursor::new(bytes), name, limits)
}

/// Refuses TIFFs that the decoder cannot be given.
fn check_tiff(bytes: &[u8], name: &str) -> Result<(), SampleError> {
    tiff::refusal(bytes).map_or(Ok(()), |reason| Err(decode_error(name, reason)))
}

/// Width and height in pixels of the image file that a reader gives, from its header.
pub(crate) fn header(mut bytes: impl BufRead + Seek, name: &str, limits: &Limits) -> Result<(u32, u32), SampleError> {
    let failed = |error| SampleError::Read { name: name.into(), error };
    let start = bytes.fill_buf().map_err(failed)?;
    let (jpeg, png, bmp, tiff) = (Jpeg::is(start), png::is(start), bmp::is(start), tiff::is(start));
    let read_whole = |bytes: &mut dyn Read| {
        let mut whole = Vec::new();
        bytes.take(limits.max_bytes).read_to_end(&mut whole).map_err(failed)?;
        Ok(whole)
    };
    if jpeg {
        let whole = read_whole(&mut bytes)?;
        return guarded(name, || open_jpeg(&whole, name, limits).map(|jpeg| jpeg.dimensions()));
    }
    let size = |bytes: Box<dyn BufReadSeek + '_>| {
        guarded(name, || {
            let (decoder, orientation) = open(bytes, name, limits)?;
            let (width, height) = decoder.dimensions();
            let turned = matches!(
                orientation,
                Orientation::Rotate90
                    | Orientation::Rotate270
                    | Orientation::Rotate90FlipH
                    | Orientation::Rotate270FlipH
            );
            Ok(if turned { (height, width) } else { (width, height) })
        })
    };
    if tiff {
        let whole = read_whole(&mut bytes)?;
        check_tiff(&whole, name)?;
        return size(Box::new(Cursor::new(&whole)));
    }
    match size(Box::new(&mut bytes)) {
        Err(SampleError::Decode { .. }) if png || bmp => {
            bytes.seek(SeekFrom::Start(0)).map_err(failed)?;
            let whole = read_whole(&mut bytes)?;
            let size = |bytes: &[u8]| size(Box::new(Cursor::new(bytes)));
            if png { with_png(&whole, name, limits, size) } else { with_bmp(&whole, limits, size) }
        }
        size => size,
    }
}

/// The extension that the first bytes of an image file ask for.
pub(crate) fn extension_of(bytes: &[u8]) -> &'static str {
    let format = image::guess_format(bytes).ok();
    format.and_then(|format| format.extensions_str().first().copied()).unwrap_or("jpg")
}

/// Whether a PNG's header, 8 bytes of signature and a chunk whose 18th byte is the color type, says gray without alpha.
fn is_gray_png(bytes: &[u8]) -> bool {
    png::is(bytes) && bytes.get(25) == Some(&0)
}

/// Eight bits per channel, three channels. The decoder makes an alpha channel of the transparent color of a gray PNG,
/// which has none itself.
fn to_rgb(image: DynamicImage, gray_png: bool) -> RgbImage {
    let high = |value: u16| (value >> 8) as u8;
    let clip = |value: u16| value.min(255) as u8;
    let (width, height) = (image.width(), image.height());
    let map = |pixel: &dyn Fn(u32, u32) -> [u8; 3]| RgbImage::from_fn(width, height, |x, y| image::Rgb(pixel(x, y)));
    match image {
        DynamicImage::ImageRgb8(image) => image,
        DynamicImage::ImageRgb16(image) => map(&|x, y| image.get_pixel(x, y).0.map(high)),
        DynamicImage::ImageRgba16(image) => map(&|x, y| {
            let [r, g, b, _] = image.get_pixel(x, y).0;
            [r, g, b].map(high)
        }),
        DynamicImage::ImageLuma16(image) => map(&|x, y| [clip(image.get_pixel(x, y).0[0]); 3]),
        DynamicImage::ImageLumaA16(image) if gray_png => map(&|x, y| [clip(image.get_pixel(x, y).0[0]); 3]),
        DynamicImage::ImageLumaA16(image) => map(&|x, y| [high(image.get_pixel(x, y).0[0]); 3]),
        other => other.into_rgb8(),
    }
}
