//! Colors of the figures. They are drawn in the light ones; the page's style sheet puts the dark ones in their place
//! where the reader prefers a dark page.

use plotters::style::RGBColor;
use std::fmt::Write;

/// Text and axes.
pub(super) const INK: RGBColor = RGBColor(0x33, 0x38, 0x3D);
/// Lines behind the data.
pub(super) const GRID: RGBColor = RGBColor(0xDF, 0xE3, 0xE6);
/// Text on a filled cell.
pub(super) const ON_FILL: RGBColor = RGBColor(0xFE, 0xFE, 0xFE);

/// Series and classes, on a light and on a dark page: contrast with the page is at least 3 to 1 in both modes.
const SERIES: [(RGBColor, &str); 12] = [
    (RGBColor(0x00, 0x72, 0xB2), "#5DB8F0"),
    (RGBColor(0xC8, 0x4E, 0x00), "#FF9455"),
    (RGBColor(0x00, 0x80, 0x5C), "#3FD6A4"),
    (RGBColor(0xB0, 0x3E, 0x8A), "#F29AD0"),
    (RGBColor(0x8A, 0x6D, 0x00), "#E8C547"),
    (RGBColor(0x62, 0x4C, 0xA8), "#B9A6F5"),
    (RGBColor(0xC2, 0x18, 0x3C), "#FF7B93"),
    (RGBColor(0x00, 0x7E, 0x8C), "#4DD5E5"),
    (RGBColor(0x6D, 0x4C, 0x41), "#CDA796"),
    (RGBColor(0x50, 0x60, 0x6B), "#AEBCC5"),
    (RGBColor(0x4F, 0x7A, 0x14), "#A3D95B"),
    (RGBColor(0x1F, 0x3F, 0xC8), "#8FA4FF"),
];

/// The color of series or class `index`; they begin again after the last.
pub(super) fn series(index: usize) -> RGBColor {
    SERIES[index % SERIES.len()].0
}

/// Number of series and classes that have different colors.
pub(super) const DISTINCT: usize = SERIES.len();

/// As in an attribute of SVG.
pub(super) fn hex(RGBColor(r, g, b): RGBColor) -> String {
    format!("#{r:02X}{g:02X}{b:02X}")
}

/// Rules that give the figures their dark colors.
pub(super) fn dark_rules() -> String {
    let fixed = [(INK, "#D5DADE"), (GRID, "#343B41"), (ON_FILL, "#101418")];
    let mut rules = String::new();
    for (light, dark) in fixed.into_iter().chain(SERIES) {
        let light = hex(light);
        write!(rules, "svg [fill=\"{light}\"]{{fill:{dark}}}svg [stroke=\"{light}\"]{{stroke:{dark}}}")
            .expect("a string takes all");
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contrast ratio of WCAG 2.2.
    fn contrast(a: RGBColor, b: RGBColor) -> f64 {
        let luminance = |RGBColor(r, g, b): RGBColor| {
            let linear = |c: u8| {
                let c = f64::from(c) / 255.0;
                if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
        };
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    fn parse(hex: &str) -> RGBColor {
        let part = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        RGBColor(part(1), part(3), part(5))
    }

    #[test]
    fn every_series_stands_out_from_the_page_in_both_modes() {
        for (light, dark) in SERIES {
            assert!(contrast(light, RGBColor(255, 255, 255)) >= 4.5, "{}", hex(light));
            assert!(contrast(parse(dark), parse("#14181C")) >= 4.5, "{dark}");
        }
    }
}
