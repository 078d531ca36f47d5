//! Operations that move pixels: nearest-neighbor affine maps with black fill, as Pillow's `Geometry.c` rounds them.

use crate::planes::Planes;

/// An affine map from a result's pixel to the source's: `(a·x + b·y + c, d·x + e·y + f)`.
pub(crate) type Matrix = [f64; 6];

/// `Image.transform(size, AFFINE, matrix)` with nearest neighbor and black fill.
pub(crate) fn transform(image: &Planes, matrix: Matrix, out: &mut Planes, columns: &mut Vec<u32>) {
    let (width, height) = (image.width(), image.height());
    out.reshape(width, height);
    if matrix[1] == 0.0 && matrix[3] == 0.0 {
        scale(image, matrix, out, columns);
    } else if fits_fixed_point(matrix, width, height) {
        fixed_point(image, matrix, out, columns);
    } else {
        floating_point(image, matrix, out, columns);
    }
}

/// `Image.rotate(degrees)`.
pub(crate) fn rotate(image: &mut Planes, degrees: f64, out: &mut Planes, columns: &mut Vec<u32>) {
    let (width, height) = (image.width(), image.height());
    let degrees = degrees.rem_euclid(360.0);
    if degrees == 0.0 {
        return;
    }
    if degrees == 180.0 {
        for plane in image.rgb_mut() {
            plane.reverse();
        }
        return;
    }
    if width == height && (degrees == 90.0 || degrees == 270.0) {
        quarter_turn(image, degrees == 90.0, out);
    } else {
        transform(image, rotation(degrees, width, height), out, columns);
    }
    std::mem::swap(image, out);
}

/// The map of a rotation about the center, its coefficients rounded to 15 decimals as Pillow does.
fn rotation(degrees: f64, width: usize, height: usize) -> Matrix {
    let angle = -degrees.to_radians();
    let (sin, cos) = (round_15(angle.sin()), round_15(angle.cos()));
    let negative_sin = round_15(-angle.sin());
    let (x, y) = (width as f64 / 2.0, height as f64 / 2.0);
    let c = cos * -x + sin * -y + 0.0;
    let f = negative_sin * -x + cos * -y + 0.0;
    [cos, sin, c + x, negative_sin, cos, f + y]
}

/// Python's `round(value, 15)`.
fn round_15(value: f64) -> f64 {
    format!("{value:.15}").parse().expect("a formatted number is a number")
}

fn quarter_turn(image: &Planes, counterclockwise: bool, out: &mut Planes) {
    let side = image.width();
    out.reshape(side, side);
    for (source, target) in image.rgb().into_iter().zip(out.rgb_mut()) {
        for (y, row) in target.chunks_exact_mut(side).enumerate() {
            let column = if counterclockwise { side - 1 - y } else { y };
            for (x, value) in row.iter_mut().enumerate() {
                let line = if counterclockwise { x } else { side - 1 - x };
                *value = source[line * side + column];
            }
        }
    }
}

/// `ImageOps.mirror`.
pub(crate) fn flip_horizontal(image: &mut Planes) {
    let width = image.width();
    for row in image.data_mut().chunks_exact_mut(width) {
        row.reverse();
    }
}

/// A rectangle of gray 127, both corners included, clipped to the image.
pub(crate) fn cutout(image: &mut Planes, [x0, y0, x1, y1]: [i64; 4]) {
    let (width, height) = (image.width(), image.height());
    let span = |low: i64, high: i64, limit: usize| {
        let limit = limit as i64;
        (low.clamp(0, limit) as usize, high.saturating_add(1).clamp(0, limit) as usize)
    };
    let ((x0, x1), (y0, y1)) = (span(x0, x1, width), span(y0, y1, height));
    if x0 >= x1 || y0 >= y1 {
        return;
    }
    for plane in image.rgb_mut() {
        for row in plane.chunks_exact_mut(width).take(y1).skip(y0) {
            row[x0..x1].fill(127);
        }
    }
}

/// Marks a pixel of the result that has no source.
const NONE: u32 = u32::MAX;

/// Pillow's `COORD`: towards zero, negative values outside.
fn coordinate(value: f64, limit: usize) -> Option<usize> {
    (value >= 0.0 && value < limit as f64).then_some(value as usize)
}

fn scale(image: &Planes, matrix: Matrix, out: &mut Planes, columns: &mut Vec<u32>) {
    let (width, height) = (image.width(), image.height());
    let mut x = matrix[2] + matrix[0] * 0.5;
    columns.clear();
    columns.extend((0..width).map(|_| {
        let column = coordinate(x, width).map_or(NONE, |x| x as u32);
        x += matrix[0];
        column
    }));
    let mut y = matrix[5] + matrix[4] * 0.5;
    for row in 0..height {
        let source = coordinate(y, height);
        y += matrix[4];
        for (from, to) in image.rgb().into_iter().zip(out.rgb_mut()) {
            let to = &mut to[row * width..(row + 1) * width];
            match source {
                Some(y) => gather(&from[y * width..(y + 1) * width], columns, to),
                None => to.fill(0),
            }
        }
    }
}

/// Whether the corners stay in the range of 16.16 fixed point.
fn fits_fixed_point(matrix: Matrix, width: usize, height: usize) -> bool {
    let [a, b, c, d, e, f] = matrix;
    let (w, h) = (width as f64, height as f64);
    [(0.0, 0.0), (w, h), (0.0, h), (w, 0.0)]
        .into_iter()
        .all(|(x, y)| (x * a + y * b + c).abs() < 32768.0 && (x * d + y * e + f).abs() < 32768.0)
}

fn fixed_point(image: &Planes, matrix: Matrix, out: &mut Planes, columns: &mut Vec<u32>) {
    let (width, height) = (image.width(), image.height());
    let fix = |value: f64| (value * 65536.0 + 0.5).floor() as i32;
    let [a, b, c, d, e, f] = matrix;
    let (step_x, step_y) = (fix(a), fix(d));
    let (next_x, next_y) = (fix(b), fix(e));
    let mut start_x = fix(c + a * 0.5 + b * 0.5);
    let mut start_y = fix(f + d * 0.5 + e * 0.5);
    for row in 0..height {
        let (mut x, mut y) = (start_x, start_y);
        columns.clear();
        columns.extend((0..width).map(|_| {
            let (column, line) = ((x >> 16) as u32, (y >> 16) as u32);
            x = x.wrapping_add(step_x);
            y = y.wrapping_add(step_y);
            let inside = column < width as u32 && line < height as u32;
            if inside { line * width as u32 + column } else { NONE }
        }));
        start_x = start_x.wrapping_add(next_x);
        start_y = start_y.wrapping_add(next_y);
        gather_row(image, columns, row, out);
    }
}

fn floating_point(image: &Planes, matrix: Matrix, out: &mut Planes, columns: &mut Vec<u32>) {
    let (width, height) = (image.width(), image.height());
    let [a, b, c, d, e, f] = matrix;
    let mut start_x = c + b * 0.5 + a * 0.5;
    let mut start_y = f + e * 0.5 + d * 0.5;
    for row in 0..height {
        let (mut x, mut y) = (start_x, start_y);
        columns.clear();
        columns.extend((0..width).map(|_| {
            let place = coordinate(x, width).zip(coordinate(y, height));
            x += a;
            y += d;
            place.map_or(NONE, |(column, line)| (line * width + column) as u32)
        }));
        start_x += b;
        start_y += e;
        gather_row(image, columns, row, out);
    }
}

fn gather_row(image: &Planes, columns: &[u32], row: usize, out: &mut Planes) {
    let width = image.width();
    for (from, to) in image.rgb().into_iter().zip(out.rgb_mut()) {
        gather(from, columns, &mut to[row * width..(row + 1) * width]);
    }
}

fn gather(from: &[u8], places: &[u32], to: &mut [u8]) {
    for (value, &place) in to.iter_mut().zip(places) {
        *value = from.get(place as usize).copied().unwrap_or(0);
    }
}
