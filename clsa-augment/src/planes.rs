use image::RgbImage;

/// An 8-bit RGB image as three planes, one after the other. Every operation works on this form: a loop over a plane
/// (or over three planes side by side) becomes vector code as it stands, where interleaved RGB would need shuffles.
#[derive(Clone, Debug, Default)]
pub(crate) struct Planes {
    width: usize,
    height: usize,
    data: Vec<u8>,
}

impl Planes {
    /// Gives the image a new size. The pixels are then unspecified; storage is kept.
    pub fn reshape(&mut self, width: usize, height: usize) {
        self.width = width;
        self.height = height;
        self.data.resize(3 * width * height, 0);
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn height(&self) -> usize {
        self.height
    }

    /// All three planes, `3 · height · width` bytes.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }

    pub fn rgb(&self) -> [&[u8]; 3] {
        let (r, gb) = self.data.split_at(self.width * self.height);
        let (g, b) = gb.split_at(self.width * self.height);
        [r, g, b]
    }

    pub fn rgb_mut(&mut self) -> [&mut [u8]; 3] {
        let (r, gb) = self.data.split_at_mut(self.width * self.height);
        let (g, b) = gb.split_at_mut(self.width * self.height);
        [r, g, b]
    }

    /// Takes the rectangle of `image` that starts at `(x, y)` and has the given size.
    pub fn read(&mut self, image: &RgbImage, x: usize, y: usize, width: usize, height: usize) {
        self.reshape(width, height);
        let stride = 3 * image.width() as usize;
        let raw: &[u8] = image.as_raw();
        let [r, g, b] = self.rgb_mut();
        for row in 0..height {
            let start = (y + row) * stride + 3 * x;
            let source = &raw[start..start + 3 * width];
            let line = row * width..(row + 1) * width;
            let targets = r[line.clone()].iter_mut().zip(&mut g[line.clone()]).zip(&mut b[line]);
            for (pixel, ((r, g), b)) in source.chunks_exact(3).zip(targets) {
                (*r, *g, *b) = (pixel[0], pixel[1], pixel[2]);
            }
        }
    }

    /// The image in the interleaved form of the crate `image`.
    pub fn to_image(&self) -> RgbImage {
        let mut raw = vec![0; self.data.len()];
        let [r, g, b] = self.rgb();
        for (pixel, ((&r, &g), &b)) in raw.chunks_exact_mut(3).zip(r.iter().zip(g).zip(b)) {
            pixel.copy_from_slice(&[r, g, b]);
        }
        RgbImage::from_raw(self.width as u32, self.height as u32, raw)
            .expect("three bytes for each pixel were allocated")
    }
}
