//! Convolutions by plain loops, for small shapes.

use half::bf16;

use crate::gpu::{Convolve, Element};
use crate::shape::{ConvShape, Direction};

/// # Safety
/// Every address of the product is of memory as large as its operand, and nobody else uses what is written.
pub(super) unsafe fn convolve(product: Convolve) {
    // SAFETY: the caller's, with the type of the operands.
    unsafe {
        match product.element {
            Element::F32 => of::<f32>(product, |x| x as f32, f64::from),
            Element::Bf16 => of::<bf16>(product, bf16::from_f64, f64::from),
        }
    }
}

unsafe fn of<T: Copy>(product: Convolve, narrow: impl Fn(f64) -> T, widen: impl Fn(T) -> f64) {
    let Convolve { direction, shape, x, w, y, add, .. } = product;
    // SAFETY: the caller gives addresses of operands of this type and of these lengths.
    let read = |address: u64, len: usize| -> Vec<f64> {
        unsafe { std::slice::from_raw_parts(at::<T>(address), len) }.iter().map(|&v| widen(v)).collect()
    };
    let write = |address: u64, values: Vec<f64>, add: bool| {
        // SAFETY: as above, and the caller gives what is written to nobody else.
        let to = unsafe { std::slice::from_raw_parts_mut(at::<T>(address), values.len()) };
        for (to, value) in to.iter_mut().zip(values) {
            *to = narrow(if add { widen(*to) + value } else { value });
        }
    };
    let (inputs, weights, outputs) = (shape.input_len(), shape.weight_len(), shape.output_len());
    match direction {
        Direction::Forward => {
            let (x, w, mut sums) = (read(x, inputs), read(w, weights), vec![0.0; outputs]);
            for_each_product(shape, |i, k, o| sums[o] += x[i] * w[k]);
            write(y, sums, false);
        }
        Direction::Data => {
            let (dy, w, mut sums) = (read(y, outputs), read(w, weights), vec![0.0; inputs]);
            for_each_product(shape, |i, k, o| sums[i] += dy[o] * w[k]);
            write(x, sums, add);
        }
        Direction::Weight => {
            let (x, dy, mut sums) = (read(x, inputs), read(y, outputs), vec![0.0; weights]);
            for_each_product(shape, |i, k, o| sums[k] += x[i] * dy[o]);
            write(w, sums, false);
        }
    }
}

fn at<T>(address: u64) -> *mut T {
    std::ptr::with_exposed_provenance_mut(address as usize)
}

/// Calls `f` with the places of input, weight and output of every product of the convolution.
fn for_each_product(shape: ConvShape, mut f: impl FnMut(usize, usize, usize)) {
    let ConvShape { batch, height, width, c_in, c_out, kernel, stride, padding } = shape;
    let (rows, columns) = (shape.out_height(), shape.out_width());
    let inside = |o: usize, k: usize, side: usize| (o * stride + k).checked_sub(padding).filter(|&i| i < side);
    for n in 0..batch {
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            for (r, s) in (0..kernel).flat_map(|r| (0..kernel).map(move |s| (r, s))) {
                let (Some(y), Some(x)) = (inside(row, r, height), inside(column, s, width)) else { continue };
                let input = ((n * height + y) * width + x) * c_in;
                let output = ((n * rows + row) * columns + column) * c_out;
                for k in 0..c_out {
                    let weight = ((k * kernel + r) * kernel + s) * c_in;
                    for c in 0..c_in {
                        f(input + c, weight + c, output + k);
                    }
                }
            }
        }
    }
}
