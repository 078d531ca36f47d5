//! How large an activation is, and which sizes the kernels take.

use crate::error::Result;
use crate::tensor::unsupported;

/// Groups are the third direction of a grid, which has at most so many blocks.
const MOST_GROUPS: usize = 65535;

/// An activation by its groups: (groups, rows, channels).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// Groups of consecutive images that batch norm sees, 1 to 65535.
    pub groups: usize,
    /// Pixels of a group: images times height times width; fewer than 2^31.
    pub rows: usize,
    /// Channels, a multiple of 8.
    pub channels: usize,
}

impl Area {
    /// Elements of all groups.
    pub fn len(&self) -> usize {
        self.groups * self.rows * self.channels
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its elements, of which there are some.
    pub(super) fn checked_len(&self) -> Result<usize> {
        check_groups(self.groups)?;
        check_channels(self.channels)?;
        let len = self.groups.checked_mul(self.rows).and_then(|pixels| pixels.checked_mul(self.channels));
        match len.filter(|&len| len > 0 && i64::try_from(len).is_ok() && i32::try_from(self.rows).is_ok()) {
            Some(len) => Ok(len),
            None => Err(unsupported(format!("an activation cannot have {} pixels", self.rows))),
        }
    }
}

/// Checks that channels can be read eight at a time.
pub(super) fn check_channels(channels: usize) -> Result<()> {
    if channels > 0 && channels.is_multiple_of(8) && i32::try_from(channels).is_ok() {
        return Ok(());
    }
    Err(unsupported(format!("the kernels need channels in multiples of 8, not {channels}: use another width")))
}

/// Checks that groups are as many as a grid can have.
fn check_groups(groups: usize) -> Result<()> {
    if (1..=MOST_GROUPS).contains(&groups) {
        return Ok(());
    }
    Err(unsupported(format!("a batch has {groups} groups: use 1 to {MOST_GROUPS}")))
}
