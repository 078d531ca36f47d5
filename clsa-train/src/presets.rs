//! The presets in `presets/`, embedded in the binary.

/// Name and TOML text of every preset.
const PRESETS: [(&str, &str); 7] = [
    ("demo", include_str!("../../presets/demo.toml")),
    ("cifar10", include_str!("../../presets/cifar10.toml")),
    ("imagenet-single-200", include_str!("../../presets/imagenet-single-200.toml")),
    ("imagenet-single-800", include_str!("../../presets/imagenet-single-800.toml")),
    ("imagenet-multi-200", include_str!("../../presets/imagenet-multi-200.toml")),
    ("imagenet-multi-800", include_str!("../../presets/imagenet-multi-800.toml")),
    ("imagenet-mocov2-200", include_str!("../../presets/imagenet-mocov2-200.toml")),
];

/// The TOML text of a preset.
pub fn text(name: &str) -> Option<&'static str> {
    PRESETS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// All names, separated by commas.
pub fn names() -> String {
    PRESETS.map(|(name, _)| name).join(", ")
}
