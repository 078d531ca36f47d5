//! The largest picture that is made.

/// Largest side of a view or of an operation's result, in pixels.
pub const MAX_SIDE: u32 = 16384;

/// Whether a picture of `width` × `height` pixels may be made.
pub(crate) fn may_be_made(width: u32, height: u32) -> bool {
    (1..=MAX_SIDE).contains(&width) && (1..=MAX_SIDE).contains(&height)
}
