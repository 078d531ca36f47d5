//! Memory of another GPU or stream, whose work is in no order with that of the kernels.

use super::{Bench, Machine, Parameters, Random};
use clsa_cuda::{Area, Gpu, GpuError, Images, Norm, Normalized, Source};

/// Buffers of `other` are refused wherever they are given, and those of the machine's own are not.
pub fn buffers<M: Machine>(own: &Bench<'_, M>, other: &Bench<'_, M>) {
    let refused = |result: Result<(), GpuError>| matches!(result, Err(GpuError::Unsupported { .. }));
    let ops = &own.ops;
    let area = Area { groups: 1, rows: 9, channels: 8 };
    let values = vec![0.0; area.len()];
    let mut z = own.put(&values);
    ops.add(area.len(), &mut z, &own.put(&values)).unwrap();
    assert!(refused(ops.add(area.len(), &mut z, &other.put(&values))));
    assert!(refused(ops.add(area.len(), &mut other.put(&values), &z)));

    let norm = |bench: &Bench<'_, M>| {
        let parameters = Parameters::new(bench, area.channels, &mut Random::new(1));
        bench.ops.statistics(area, &bench.put(&values), parameters.batch_norm()).unwrap()
    };
    let normalize = |norm: &Norm<M::Gpu>| ops.normalize(area, Normalized { z: &z, norm, relu: false }, None).map(drop);
    normalize(&norm(own)).unwrap();
    assert!(refused(normalize(&norm(other))));

    let images = Images { batch: 1, height: 3, width: 3, channels: 8 };
    let pool = |bench: &Bench<'_, M>| bench.ops.max_pool(images, Source::Stored(&bench.put(&values))).unwrap();
    let (pooled, elsewhere) = (pool(own), pool(other));
    ops.max_pool_backward(images, &pooled.taps, &pooled.out).unwrap();
    assert!(refused(ops.max_pool_backward(images, &elsewhere.taps, &pooled.out).map(drop)));

    let (table, out) = (own.tensor(&[0.0; 3 * 256], &[3, 256]), own.tensor(&[0.0; 24], &[8, 3]));
    let expand = |bench: &Bench<'_, M>| ops.expand_bytes(&bench.machine.upload(&[0; 24]), &table, &out);
    expand(own).unwrap();
    assert!(refused(expand(other)));

    Gpu::zero(own.machine.gpu(), &mut own.put(&values)).unwrap();
    assert!(refused(Gpu::zero(own.machine.gpu(), &mut other.put(&values))));
}
