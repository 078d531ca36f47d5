//! Writing a backbone for Detectron2, as MoCo's `convert-pretrain-to-detectron2.py` does: a pickle of NumPy arrays.

use super::error::{WeightFileError, fail};
use super::pickle::Pickler;
use super::tensor_bytes::bytes_of;
use crate::batch_count::is_batch_count;
use crate::head;
use candle_core::{DType, Tensor};
use std::io::{BufWriter, Write};

/// Detectron2's name of a tensor; none for the head and for batch counts, which its backbones lack.
fn backbone_name(name: &str) -> Option<String> {
    let (path, part) = name.rsplit_once('.')?;
    if head::owns(name) || is_batch_count(name) {
        return None;
    }
    let unit = |unit: &str| match unit.strip_prefix("bn") {
        Some(number) => format!("conv{number}.norm"),
        None => unit.to_owned(),
    };
    let Some((layer, rest)) = path.strip_prefix("layer").and_then(|path| path.split_once('.')) else {
        return Some(format!("stem.{}.{part}", unit(path)));
    };
    let stage = layer.parse::<usize>().ok()? + 1;
    let (block, inner) = rest.split_once('.')?;
    let inner = match inner {
        "downsample.0" => "shortcut".to_owned(),
        "downsample.1" => "shortcut.norm".to_owned(),
        other => unit(other),
    };
    Some(format!("res{stage}.{block}.{inner}.{part}"))
}

pub(super) fn write(file: &mut impl Write, tensors: &[(&str, Tensor)]) -> Result<(), WeightFileError> {
    if tensors.iter().any(|(name, tensor)| *name == "conv1.weight" && !tensor.dims().ends_with(&[7, 7])) {
        return fail("cannot hold this network: Detectron2's ResNets begin with a 7x7 convolution, not with a 3x3 one");
    }
    let failed = WeightFileError::Write;
    let mut file = BufWriter::new(file);
    let mut pickler = Pickler::new(3);
    pickler.empty_dict();
    pickler.mark();
    pickler.text("model");
    pickler.empty_dict();
    pickler.mark();
    for (name, tensor) in tensors {
        let Some(target) = backbone_name(name) else { continue };
        let values = bytes_of(name, &tensor.to_dtype(DType::F32)?)?;
        let Ok(len) = u32::try_from(values.len()) else {
            return fail(format!("cannot hold {name}: it has more than 4 GiB"));
        };
        pickler.text(&target);
        // An empty array, then its state: version, shape, type, column order, values.
        pickler.global("numpy.core.multiarray", "_reconstruct");
        pickler.tuple(|p| {
            p.global("numpy", "ndarray");
            p.sizes(&[0]);
            p.bytes(b"b");
        });
        pickler.reduce();
        pickler.mark();
        pickler.int(1);
        pickler.sizes(tensor.dims());
        little_endian_f32(&mut pickler);
        pickler.bool(false);
        pickler.bytes_of_len(len);
        file.write_all(&pickler.take()).map_err(failed)?;
        file.write_all(&values).map_err(failed)?;
        pickler.end_tuple();
        pickler.build();
    }
    pickler.end_items();
    pickler.text("__author__");
    pickler.text("clsa");
    // The names above are matched to the model's by their longest common ending.
    pickler.text("matching_heuristics");
    pickler.bool(true);
    pickler.end_items();
    file.write_all(&pickler.finish()).map_err(failed)?;
    file.flush().map_err(failed)
}

/// `numpy.dtype('<f4')` as NumPy pickles it.
fn little_endian_f32(pickler: &mut Pickler) {
    pickler.global("numpy", "dtype");
    pickler.tuple(|p| {
        p.text("f4");
        p.bool(false);
        p.bool(true);
    });
    pickler.reduce();
    pickler.tuple(|p| {
        p.int(3);
        p.text("<");
        p.none();
        p.none();
        p.none();
        p.int(-1);
        p.int(-1);
        p.int(0);
    });
    pickler.build();
}
