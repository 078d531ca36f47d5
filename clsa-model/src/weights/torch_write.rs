//! Writing a state dictionary as `torch.save` does since PyTorch 1.6.

use super::error::{WeightFileError, fail};
use super::pickle::Pickler;
use super::tensor_bytes::bytes_of;
use candle_core::{DType, Tensor};
use std::io::{self, BufWriter, Seek, Write};
use zip::CompressionMethod;
use zip::result::ZipError;
use zip::write::{SimpleFileOptions, ZipWriter};

/// PyTorch puts the values of a storage at multiples of this, so that they can be mapped into memory.
const ALIGNMENT: u16 = 64;

pub(super) fn write(file: &mut (impl Write + Seek), tensors: &[(&str, Tensor)]) -> Result<(), WeightFileError> {
    let mut pickler = Pickler::new(2);
    pickler.ordered_dict();
    pickler.mark();
    for (key, (name, tensor)) in tensors.iter().enumerate() {
        pickler.text(name);
        pickler.global("torch._utils", "_rebuild_tensor_v2");
        let storage = storage_type(name, tensor.dtype())?;
        pickler.tuple(|p| {
            p.tuple(|p| {
                p.text("storage");
                p.global("torch", storage);
                p.text(&key.to_string());
                p.text("cpu");
                p.int(tensor.elem_count() as i64);
            });
            p.persistent();
            p.int(0);
            p.sizes(tensor.dims());
            p.sizes(tensor.stride());
            // No gradient wanted, no hooks.
            p.bool(false);
            p.ordered_dict();
        });
        pickler.reduce();
    }
    pickler.end_items();

    let mut archive = ZipWriter::new(BufWriter::new(file));
    // The default may deflate: what maps the file takes the values as they lie in it.
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).with_alignment(ALIGNMENT);
    let mut member = |name: &str, bytes: &[u8]| -> Result<(), WeightFileError> {
        let options = options.large_file(bytes.len() as u64 >= u64::from(u32::MAX));
        archive.start_file(format!("archive/{name}"), options).map_err(zip_failed)?;
        archive.write_all(bytes).map_err(WeightFileError::Write)
    };
    member("data.pkl", &pickler.finish())?;
    member("byteorder", b"little")?;
    for (key, (name, tensor)) in tensors.iter().enumerate() {
        member(&format!("data/{key}"), &bytes_of(name, tensor)?)?;
    }
    member("version", b"3\n")?;
    archive.finish().map_err(zip_failed)?.flush().map_err(WeightFileError::Write)
}

fn zip_failed(error: ZipError) -> WeightFileError {
    WeightFileError::Write(match error {
        ZipError::Io(error) => error,
        other => io::Error::other(other),
    })
}

fn storage_type(name: &str, dtype: DType) -> Result<&'static str, WeightFileError> {
    Ok(match dtype {
        DType::F32 => "FloatStorage",
        DType::F64 => "DoubleStorage",
        DType::F16 => "HalfStorage",
        DType::BF16 => "BFloat16Storage",
        DType::I64 => "LongStorage",
        DType::I32 => "IntStorage",
        DType::I16 => "ShortStorage",
        DType::U8 => "ByteStorage",
        other => return fail(format!("cannot hold {name}: PyTorch has no storage of type {other:?}")),
    })
}
