//! The table of architectures: the name of each, and the shape of its family that it stands for.

use crate::backbone::resnet_shape::{Block, ResNetShape};
use crate::error::{ModelError, Result};
use serde::{Deserialize, Serialize};

/// The residual networks of torchvision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Arch {
    /// Basic blocks, one per stage: the smallest network of the family, for small images and demonstrations.
    Resnet10,
    /// Basic blocks, 2-2-2-2.
    Resnet18,
    /// Basic blocks, 3-4-6-3.
    Resnet34,
    /// Bottlenecks, 3-4-6-3.
    Resnet50,
    /// Bottlenecks, 3-4-23-3.
    Resnet101,
    /// Bottlenecks, 3-8-36-3.
    Resnet152,
    /// ResNet-50 with bottlenecks twice as wide inside.
    #[serde(rename = "wide_resnet50_2")]
    WideResnet50x2,
}

/// A family of backbones, with what tells its members apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    ResNet(ResNetShape),
}

impl Arch {
    /// Every architecture, smallest first.
    pub const ALL: [Self; 7] = [
        Self::Resnet10,
        Self::Resnet18,
        Self::Resnet34,
        Self::Resnet50,
        Self::Resnet101,
        Self::Resnet152,
        Self::WideResnet50x2,
    ];

    /// The table.
    const fn row(self) -> (&'static str, Family) {
        const WIDE: Block = Block::Bottleneck { inner_width: 2 };
        const BOTTLENECK: Block = Block::Bottleneck { inner_width: 1 };
        const fn resnet(blocks: [usize; 4], block: Block) -> Family {
            Family::ResNet(ResNetShape { blocks, block })
        }
        match self {
            Self::Resnet10 => ("resnet10", resnet([1, 1, 1, 1], Block::Basic)),
            Self::Resnet18 => ("resnet18", resnet([2, 2, 2, 2], Block::Basic)),
            Self::Resnet34 => ("resnet34", resnet([3, 4, 6, 3], Block::Basic)),
            Self::Resnet50 => ("resnet50", resnet([3, 4, 6, 3], BOTTLENECK)),
            Self::Resnet101 => ("resnet101", resnet([3, 4, 23, 3], BOTTLENECK)),
            Self::Resnet152 => ("resnet152", resnet([3, 8, 36, 3], BOTTLENECK)),
            Self::WideResnet50x2 => ("wide_resnet50_2", resnet([3, 4, 6, 3], WIDE)),
        }
    }

    /// The name as torchvision spells it, which is also how configurations spell it.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// Residual blocks in each of the four stages.
    pub const fn blocks(self) -> [usize; 4] {
        let Family::ResNet(shape) = self.family();
        shape.blocks
    }

    /// How much wider than the stage's base width bottlenecks are inside; none where blocks are basic.
    pub const fn bottleneck_width(self) -> Option<usize> {
        let Family::ResNet(shape) = self.family();
        match shape.block {
            Block::Basic => None,
            Block::Bottleneck { inner_width } => Some(inner_width),
        }
    }

    pub(crate) const fn family(self) -> Family {
        self.row().1
    }
}

impl std::str::FromStr for Arch {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name).ok_or_else(|| {
            ModelError::config("arch", name, format!("use one of {}", Self::ALL.map(Self::name).join(", ")))
        })
    }
}
