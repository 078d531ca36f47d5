//! The tiles into which Winograd's minimal filtering F(4x4, 3x3) cuts the images of a batch.

use super::shape::ConvShape;
use super::span::{Span, share};

/// Outputs along the side of a tile, and inputs that they see.
pub(super) const TILE: usize = 4;
pub(super) const SEEN: usize = TILE + 2;
/// Places of a transformed tile.
pub(super) const PLACES: usize = SEEN * SEEN;

/// The tiles of a batch, those of an image row by row.
#[derive(Clone, Copy)]
pub(super) struct Tiling {
    pub height: usize,
    pub width: usize,
    rows: usize,
    columns: usize,
    pub images: usize,
}

/// Where a tile is: its image, and its first row and column of output pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct TilePlace {
    pub image: usize,
    pub row: usize,
    pub column: usize,
}

impl Tiling {
    pub fn new(shape: ConvShape) -> Self {
        let (height, width) = (shape.height, shape.width);
        let (rows, columns) = (height.div_ceil(TILE), width.div_ceil(TILE));
        Self { height, width, rows, columns, images: shape.batch }
    }

    pub fn per_image(&self) -> usize {
        self.rows * self.columns
    }

    #[inline(always)]
    pub fn place(&self, tile: usize) -> TilePlace {
        let (image, inside) = (tile / self.per_image(), tile % self.per_image());
        TilePlace { image, row: inside / self.columns * TILE, column: inside % self.columns * TILE }
    }

    /// Ranges of at most `most` tiles, none across groups of images.
    pub fn blocks(&self, groups: usize, most: usize) -> Vec<Span> {
        let tiles = self.images / groups * self.per_image();
        let parts = tiles.div_ceil(most);
        let block = |group: usize, part: usize| {
            let Span { start, end } = share(tiles, part, parts);
            Span { start: group * tiles + start, end: group * tiles + end }
        };
        (0..groups).flat_map(|group| (0..parts).map(move |part| block(group, part))).collect()
    }

    /// Outputs of a tile that are inside the image.
    pub fn outputs(&self, tile: usize) -> usize {
        let TilePlace { row, column, .. } = self.place(tile);
        TILE.min(self.height - row) * TILE.min(self.width - column)
    }
}
