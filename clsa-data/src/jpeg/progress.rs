//! How much of its coefficients the scans of a progressive file have given so far.

use super::frame::{Frame, Scan};
use super::refusal::Refusal;

/// How many coefficients, in zigzag order, libjpeg estimates where they are not known.
pub(super) const ESTIMATED: usize = 10;

/// What is known of the coefficients of a component, in zigzag order: the lowest bit that a scan has had, or -1.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub(super) now: [i8; 64],
    /// Before the component's last scan, as libjpeg has it: 0 before the first scan of the file. The first is not set.
    pub(super) before: [i8; ESTIMATED],
}

/// How far the scans of a file have come.
pub(super) struct Progress {
    pub(super) components: Vec<Known>,
    pub(super) scans: usize,
    /// The last row of units in whose beginning the last scan had data.
    pub(super) last_row: usize,
}

impl Progress {
    pub(super) fn new(frame: &Frame) -> Self {
        let none = Known { now: [-1; 64], before: [-1; ESTIMATED] };
        Self { components: vec![none; frame.components.len()], scans: 0, last_row: 0 }
    }

    /// Takes notice of a scan that begins. As in libjpeg, one may come in any order.
    pub(super) fn begin(&mut self, scan: &Scan) -> Result<(), Refusal> {
        let spectrum = scan.spectrum;
        let band = if spectrum.first == 0 {
            spectrum.last == 0
        } else {
            spectrum.first <= spectrum.last && spectrum.last < 64 && scan.parts.len() == 1
        };
        let bits = spectrum.bit <= 13 && (spectrum.before == 0 || spectrum.before == spectrum.bit + 1);
        if !band || !bits {
            return Err(Refusal::faulty("a progressive scan has coefficients or bits that it cannot have"));
        }
        self.scans += 1;
        for part in &scan.parts {
            let known = &mut self.components[part.component];
            for (before, &now) in known.before.iter_mut().zip(&known.now) {
                *before = if self.scans > 1 { now } else { 0 };
            }
            known.now[spectrum.first..=spectrum.last].fill(spectrum.bit as i8);
        }
        Ok(())
    }
}
