//! A range of indices that is `Copy`, as kernels' descriptions are.

/// The indices `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    #[inline(always)]
    pub fn len(self) -> usize {
        self.end - self.start
    }
}

/// Part `index` of the indices below `n` cut into `parts` nearly equal ones.
#[inline(always)]
pub(super) fn share(n: usize, index: usize, parts: usize) -> Span {
    Span { start: n * index / parts, end: n * (index + 1) / parts }
}
