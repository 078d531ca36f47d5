//! The coefficients of one block, 8 x 8 of them.

/// Coefficients or quantizers in natural order, row by row. The alignment keeps a row's loads within a line of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub(super) struct Block(pub(super) [i16; 64]);

impl Block {
    /// All are 0.
    pub(super) const ZERO: Self = Self([0; 64]);
}

/// Where the coefficients are that are not 0: the bits of all their indices in natural order, by "or". So bit 0 to 2 tell
/// of columns and bit 3 to 5 of rows; if all but the first are 0, none is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent(u32);

impl Extent {
    /// That of coefficients which nothing is known of.
    pub(super) fn of(block: &Block) -> Self {
        let indices = (0..64).zip(&block.0).filter(|&(_, &coefficient)| coefficient != 0).map(|(index, _)| index);
        Self(indices.fold(0, |all, index: u32| all | index))
    }

    /// Adds the place of a coefficient.
    #[inline(always)]
    pub(super) fn add(&mut self, index: usize) {
        self.0 |= index as u32;
    }

    /// Whether all coefficients but the first are 0.
    #[inline(always)]
    pub(super) fn is_mean(self) -> bool {
        self.0 == 0
    }

    /// Whether the rows but the first are 0.
    #[inline(always)]
    pub(super) fn is_row(self) -> bool {
        self.0 < 8
    }
}

/// The samples of a block, row by row.
pub(super) type Samples = [[u8; 8]; 8];
