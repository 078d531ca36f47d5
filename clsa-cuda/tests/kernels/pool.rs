//! Pooling.

use super::norm::stored_values;
use super::{Bench, Machine, Parameters, Random, assert_close, assert_same, values};
use clsa_cuda::{Area, Images, Normalized, Source};

/// `groups`: those of the norm that the input is read through, if there is one.
pub fn max_pool<M: Machine>(bench: &Bench<'_, M>, images: Images, groups: Option<usize>, seed: u64) {
    let mut random = Random::new(seed);
    let Images { batch, height, width, channels } = images;
    // Few values, so that windows have equal ones.
    let mut z: Vec<f32> = (0..images.len()).map(|_| (random.between(-3.0, 3.0)).round()).collect();
    let (x, pooled) = if let Some(groups) = groups {
        // And ones that only differ until they are normalized and rounded.
        z = bench.round(z.iter().map(|&z| if z > 0.0 { random.between(0.0, 0.01) } else { z }).collect());
        let area = Area { groups, rows: batch / groups * height * width, channels };
        let parameters = Parameters::new(bench, channels, &mut random);
        let norm = bench.ops.statistics(area, &bench.put(&z), parameters.batch_norm()).unwrap();
        z[seed as usize % images.len()] = f32::NAN;
        let memory = bench.put(&z);
        let source = Source::Normalized(Normalized { z: &memory, norm: &norm, relu: true });
        (stored_values(bench, area, &z, &norm, true), bench.ops.max_pool(images, source).unwrap())
    } else {
        z[seed as usize % images.len()] = f32::NAN;
        let memory = bench.put(&z);
        (z, bench.ops.max_pool(images, Source::Stored(&memory)).unwrap())
    };

    let (rows, columns) = (images.pooled().height, images.pooled().width);
    let g = bench.round(random.numbers(images.pooled().len()));
    let (mut out, mut taps, mut dx) = (vec![], vec![], vec![0.0f32; images.len()]);
    for (o, g) in g.iter().enumerate() {
        let (c, column) = (o % channels, o / channels % columns);
        let (row, image) = (o / channels / columns % rows, o / channels / columns / rows);
        let (mut best, mut taken, mut from) = (f32::NEG_INFINITY, 0, None);
        for tap in 0..9 {
            let (y, x_) = ((2 * row + tap / 3).wrapping_sub(1), (2 * column + tap % 3).wrapping_sub(1));
            if y < height && x_ < width {
                let at = ((image * height + y) * width + x_) * channels + c;
                if x[at] > best || x[at].is_nan() {
                    (best, taken, from) = (x[at], tap as u8, Some(at));
                }
            }
        }
        out.push(best);
        taps.push(taken);
        dx[from.unwrap()] += g;
    }
    assert_same(&bench.get(&pooled.out), &out);
    assert_eq!(bench.machine.download(&pooled.taps), taps);
    let got = bench.ops.max_pool_backward(images, &pooled.taps, &bench.put(&g)).unwrap();
    let dx: Vec<f64> = dx.into_iter().map(f64::from).collect();
    assert_close(&bench.get(&got), &dx, bench.precision());
}

pub fn global_avg_pool<M: Machine>(bench: &Bench<'_, M>, images: Images, seed: u64) {
    let mut random = Random::new(seed);
    let Images { batch, height, width, channels } = images;
    let pixels = height * width;
    let x = bench.round(random.numbers(images.len()));
    let out = bench.tensor(&vec![f32::NAN; batch * channels], &[batch, channels]);
    bench.ops.global_avg_pool(images, &bench.put(&x), &out).unwrap();
    let mut want = vec![0.0; batch * channels];
    for (i, &x) in x.iter().enumerate() {
        want[i / (pixels * channels) * channels + i % channels] += f64::from(x) / pixels as f64;
    }
    assert_close(&values(&out), &want, 1e-6);

    let g = random.numbers(batch * channels);
    let dx = bench.ops.global_avg_pool_backward(images, &bench.tensor(&g, &[batch, channels])).unwrap();
    let share = 1.0 / pixels as f32;
    let of = |i: usize| bench.rounded(g[i / (pixels * channels) * channels + i % channels] * share);
    assert_same(&bench.get(&dx), &(0..images.len()).map(of).collect::<Vec<_>>());
}
