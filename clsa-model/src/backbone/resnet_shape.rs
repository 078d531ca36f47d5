//! What tells residual networks apart: blocks, and the shapes of their convolutions.

/// What tells residual networks apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResNetShape {
    /// Residual blocks in each of the four stages.
    pub blocks: [usize; 4],
    pub block: Block,
}

/// The kind of residual block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    /// Two 3x3 convolutions.
    Basic,
    /// 1x1, 3x3 and 1x1 convolutions, the inner ones `inner_width` times the stage's base width.
    Bottleneck { inner_width: usize },
}

/// The convolutions of a block's residual branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Branch {
    pub inner: Vec<BlockConv>,
    pub last: BlockConv,
}

/// A convolution of a network of this family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockConv {
    pub c_in: usize,
    pub c_out: usize,
    pub kernel: usize,
    pub stride: usize,
}

impl ResNetShape {
    /// Channels of the output of stage 0, 1, 2 or 3.
    pub fn channels(self, base_width: usize, stage: usize) -> usize {
        let expansion = match self.block {
            Block::Basic => 1,
            Block::Bottleneck { .. } => 4,
        };
        (base_width << stage) * expansion
    }

    /// The branch of a block with inputs of `c_in` channels.
    pub fn branch(self, base_width: usize, stage: usize, c_in: usize, stride: usize) -> Branch {
        let width = base_width << stage;
        let c_out = self.channels(base_width, stage);
        match self.block {
            Block::Basic => Branch {
                inner: vec![BlockConv { c_in, c_out: width, kernel: 3, stride }],
                last: BlockConv { c_in: width, c_out, kernel: 3, stride: 1 },
            },
            Block::Bottleneck { inner_width } => {
                let inner = width * inner_width;
                Branch {
                    inner: vec![
                        BlockConv { c_in, c_out: inner, kernel: 1, stride: 1 },
                        BlockConv { c_in: inner, c_out: inner, kernel: 3, stride },
                    ],
                    last: BlockConv { c_in: inner, c_out, kernel: 1, stride: 1 },
                }
            }
        }
    }
}
