//! The derivative of the ReLU that follows batch norm.

/// Where the gradient of a unit's output passes its ReLU.
#[derive(Clone, Copy)]
pub enum ReluMask<'a, E> {
    /// Everywhere: there is no ReLU.
    Open,
    /// Where the normalized value is above zero, recomputed from `z`.
    Normalized,
    /// Where the unit's output, of the shape of `z`, is above zero.
    Output(&'a [E]),
}
