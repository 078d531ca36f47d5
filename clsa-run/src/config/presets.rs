//! The presets: configurations by name, whose TOML files in `presets/` are embedded in the program.

/// A configuration with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preset {
    /// The name.
    pub name: &'static str,
    /// The configuration, a TOML document.
    pub toml: &'static str,
}

impl Preset {
    /// All presets, the smallest first.
    pub const ALL: [Self; 16] = [
        Self { name: "demo", toml: include_str!("../../presets/demo.toml") },
        Self { name: "photos", toml: include_str!("../../presets/photos.toml") },
        Self { name: "ddm-cifar10", toml: include_str!("../../presets/ddm-cifar10.toml") },
        Self { name: "cifar10", toml: include_str!("../../presets/cifar10.toml") },
        Self { name: "moco-cifar10", toml: include_str!("../../presets/moco-cifar10.toml") },
        Self { name: "moco-symmetric-cifar10", toml: include_str!("../../presets/moco-symmetric-cifar10.toml") },
        Self { name: "clsa-cifar10", toml: include_str!("../../presets/clsa-cifar10.toml") },
        Self { name: "naive-cifar10", toml: include_str!("../../presets/naive-cifar10.toml") },
        Self { name: "lightly-moco-cifar10", toml: include_str!("../../presets/lightly-moco-cifar10.toml") },
        Self { name: "mocov2plus-cifar10", toml: include_str!("../../presets/mocov2plus-cifar10.toml") },
        Self { name: "mocov2plus-cifar100", toml: include_str!("../../presets/mocov2plus-cifar100.toml") },
        Self { name: "imagenet-single-200", toml: include_str!("../../presets/imagenet-single-200.toml") },
        Self { name: "imagenet-single-800", toml: include_str!("../../presets/imagenet-single-800.toml") },
        Self { name: "imagenet-multi-200", toml: include_str!("../../presets/imagenet-multi-200.toml") },
        Self { name: "imagenet-multi-800", toml: include_str!("../../presets/imagenet-multi-800.toml") },
        Self { name: "imagenet-mocov2-200", toml: include_str!("../../presets/imagenet-mocov2-200.toml") },
    ];

    /// The preset of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name == name)
    }

    /// All names, separated by commas.
    pub fn names() -> String {
        Self::ALL.map(|preset| preset.name).join(", ")
    }
}
