//! The coefficients of a file of several scans, which are kept until the last scan is read.

use super::block::{Block, Extent};
use super::frame::Frame;
use super::scan::{Place, Sink};

/// The blocks of one component.
struct Blocks {
    blocks: Vec<Block>,
    across: usize,
}

/// The blocks of all components, row by row, with those that only complete a unit.
pub(super) struct Kept {
    components: Vec<Blocks>,
}

impl Kept {
    /// All coefficients are 0.
    pub(super) fn new(frame: &Frame) -> Self {
        let (across, down) = frame.units();
        let components = frame.components.iter().map(|component| {
            let (across, down) = (across * component.horizontal, down * component.vertical);
            Blocks { blocks: vec![Block::ZERO; across * down], across }
        });
        Self { components: components.collect() }
    }

    /// A row of a component's blocks; none beyond the last one.
    pub(super) fn row(&self, component: usize, row: usize) -> &[Block] {
        let kept = &self.components[component];
        kept.blocks.get(row * kept.across..).and_then(|rows| rows.get(..kept.across)).unwrap_or_default()
    }
}

impl Sink for Kept {
    #[inline(always)]
    fn block(&mut self, place: Place) -> &mut Block {
        let component = &mut self.components[place.component];
        &mut component.blocks[place.row * component.across + place.column]
    }

    fn take(&mut self, _place: Place, _extent: Extent) {}

    fn end_row(&mut self, _row: usize) {}
}
