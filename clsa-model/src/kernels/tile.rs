//! How the micro-kernels cut a result into tiles that fit into registers.

use super::span::{Span, share};

/// Columns of a panel.
pub(super) fn panel_width(lanes: usize) -> usize {
    2 * lanes
}

/// `n` items in balanced parts of at most `most`.
#[inline(always)]
pub(super) fn balanced(n: usize, most: usize) -> impl Iterator<Item = Span> {
    let parts = n.div_ceil(most);
    (0..parts).map(move |i| share(n, i, parts))
}

/// Calls the method with the constants ROWS and VECTORS that the run-time values name.
macro_rules! with_tile {
    ($rows:expr, $vectors:expr, $self:ident.$f:ident::<$V:ident> $args:tt, [$($m:literal)*]) => {
        match ($rows, $vectors) {
            $(($m, 1) => $self.$f::<$V, $m, 1> $args,
              ($m, _) => $self.$f::<$V, $m, 2> $args,)*
            _ => {}
        }
    };
}

pub(super) use with_tile;
