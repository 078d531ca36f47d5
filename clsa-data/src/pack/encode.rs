//! The image files of samples: as they are stored, or resized and encoded anew.

use std::io::Cursor;
use std::sync::atomic::{AtomicUsize, Ordering};

use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, RgbImage};
use rayon::ThreadPool;
use rayon::prelude::*;

use super::options::PackOptions;
use crate::dataset::{Dataset, Encoded};
use crate::sample_error::SampleError;

/// Samples that are encoded at once, for each thread: at most so many.
const CHUNK_PER_THREAD: usize = 32;

/// The files of the first of these samples, in order, made in parallel: of at least one, and of no further one once they have
/// `most_bytes` together, which is at least 1.
pub(super) fn encode_next(
    dataset: &dyn Dataset,
    indices: &[u32],
    options: &PackOptions,
    pool: &ThreadPool,
    most_bytes: usize,
) -> Vec<Result<Encoded, SampleError>> {
    let bytes = AtomicUsize::new(0);
    let most = CHUNK_PER_THREAD * pool.current_num_threads();
    // Threads take samples in order, so that those that were taken have no gap.
    let next = indices.iter().take(most).enumerate().take_while(|_| bytes.load(Ordering::Relaxed) < most_bytes);
    let encode_one = |(at, &index): (usize, &u32)| {
        let file = encode(dataset, index as usize, options);
        bytes.fetch_add(file.as_ref().map_or(0, |file| file.bytes.len()), Ordering::Relaxed);
        (at, file)
    };
    let mut files: Vec<_> = pool.install(|| next.par_bridge().map(encode_one).collect());
    files.sort_unstable_by_key(|&(at, _)| at);
    files.into_iter().map(|(_, file)| file).collect()
}

/// The file of a sample for a shard: as it is stored, or resized and encoded anew.
fn encode(dataset: &dyn Dataset, index: usize, options: &PackOptions) -> Result<Encoded, SampleError> {
    let image = dataset.image(index)?;
    let failed = |reason: String| SampleError::Decode { name: dataset.name(index), reason };
    if let Some(side) = options.short_side
        && image.width().min(image.height()) > side
    {
        let resized = resize(&image, side).map_err(failed)?;
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, options.quality)
            .encode_image(&resized)
            .map_err(|error| failed(error.to_string()))?;
        return Ok(Encoded { bytes, extension: "jpg".into() });
    }
    if let Some(file) = dataset.encoded(index)? {
        return Ok(file);
    }
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).map_err(|error| failed(error.to_string()))?;
    Ok(Encoded { bytes: bytes.into_inner(), extension: "png".into() })
}

/// Resizes so that the short side is `side`, the long one as torchvision's `Resize` computes it.
fn resize(image: &RgbImage, side: u32) -> Result<RgbImage, String> {
    let (width, height) = image.dimensions();
    let long = |long: u32, short: u32| (u64::from(side) * u64::from(long) / u64::from(short)) as u32;
    let (to_width, to_height) = if width <= height { (side, long(height, width)) } else { (long(width, height), side) };
    let mut target = RgbImage::new(to_width, to_height);
    let bilinear = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new().resize(image, &mut target, &bilinear).map_err(|error| error.to_string())?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::in_order::pool;
    use crate::source::Source;
    use crate::split::Split;

    #[test]
    fn so_many_files_are_made_at_once_as_their_bytes_allow_and_in_the_order_of_the_samples() {
        let dataset = "procedural:train=24,test=12".parse::<Source>().unwrap().open(Split::Train).unwrap();
        let options = PackOptions::default();
        let indices: Vec<u32> = (0..24).rev().collect();
        let alone = |&index: &u32| encode(&*dataset, index as usize, &options).unwrap();
        let alone: Vec<Encoded> = indices.iter().map(alone).collect();
        let smallest = alone.iter().map(|file| file.bytes.len()).min().unwrap();
        for threads in [1, 3] {
            let pool = pool(threads).unwrap();
            let together = |most_bytes| -> Vec<Encoded> {
                encode_next(&*dataset, &indices, &options, &pool, most_bytes).into_iter().map(Result::unwrap).collect()
            };
            assert!(together(usize::MAX) == alone);
            // Any two have these bytes, but each thread may be at one when they are reached.
            let few = together(2 * smallest);
            assert!((1..=1 + threads).contains(&few.len()), "{} with {threads} threads", few.len());
            assert!(few == alone[..few.len()]);
        }
    }
}
