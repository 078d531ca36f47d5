//! The formats that weights are written in.

/// The forms that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Safetensors with torchvision's names (`.safetensors`).
    Safetensors,
    /// A state dictionary that `torch.load(weights_only=True)` reads (`.pth`).
    Pth,
    /// The backbone by Detectron2's names, in the pickle its checkpointer loads (`.pkl`).
    Detectron2,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Safetensors, Self::Pth, Self::Detectron2];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Pth => "pth",
            Self::Detectron2 => "detectron2",
        }
    }

    /// What reads its files.
    pub fn reader(self) -> &'static str {
        match self {
            Self::Safetensors => "readers of safetensors",
            Self::Pth => "PyTorch",
            Self::Detectron2 => "Detectron2",
        }
    }

    /// How the names of its files end.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Pth => "pth",
            Self::Detectron2 => "pkl",
        }
    }
}
