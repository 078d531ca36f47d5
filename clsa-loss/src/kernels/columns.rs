//! The candidates of a block once more, in the order of the second product: its right factor, tile by tile.

use super::arithmetic::Arithmetic;

/// Copies the candidates to `[tile of M components][term][component]`, a term being a candidate or a pair of them; zero
/// beyond the last component.
#[inline(always)]
pub(super) unsafe fn pack_columns<A: Arithmetic, const M: usize>(
    rows: *const u32,
    stride: usize,
    dim: usize,
    components: usize,
    terms: usize,
    columns: *mut u32,
) {
    // SAFETY: reads `dim` components of `terms` (pairs of) rows, writes `components * terms` units.
    unsafe {
        for tile in 0..components / M {
            let first = tile * M;
            let to = columns.add(tile * terms * M);
            // Components of this tile that exist; the others stay zero.
            let width = dim.saturating_sub(first).min(M);
            if width < M {
                to.write_bytes(0, terms * M);
            }
            if width == 0 {
                // A pointer to these components would lie beyond the rows.
                continue;
            }
            for term in 0..terms {
                let to = to.add(term * M);
                if A::PAIRED {
                    let low = rows.add(2 * term * stride).cast::<u16>().add(first);
                    let high = rows.add((2 * term + 1) * stride).cast::<u16>().add(first);
                    if width == M {
                        // The length is known to the compiler, which then takes whole vectors.
                        interleave::<M>(low, high, to);
                    } else {
                        for m in 0..width {
                            interleave::<1>(low.add(m), high.add(m), to.add(m));
                        }
                    }
                } else {
                    let from = rows.add(term * stride + first);
                    // The two calls differ in that the compiler knows the length of the first.
                    if width == M {
                        from.copy_to_nonoverlapping(to, M);
                    } else {
                        from.copy_to_nonoverlapping(to, width);
                    }
                }
            }
        }
    }
}

/// Writes `N` pairs of 16-bit numbers.
#[inline(always)]
unsafe fn interleave<const N: usize>(low: *const u16, high: *const u16, to: *mut u32) {
    // SAFETY: the caller gives pointers to `N` numbers.
    unsafe {
        let (low, high) = (low.cast::<[u16; N]>().read_unaligned(), high.cast::<[u16; N]>().read_unaligned());
        let mut pairs = [0; N];
        for m in 0..N {
            pairs[m] = u32::from(low[m]) | u32::from(high[m]) << 16;
        }
        to.cast::<[u32; N]>().write_unaligned(pairs);
    }
}
