//! The one list of instruction sets for which the loops over pixels are compiled.

use macro_rules_attribute::attribute_alias;

attribute_alias! {
    // Compiles a function for AVX-512, for AVX2 and for what the compiler targets; the best one that the processor has is
    // chosen at run time. The loops are integer and single-precision arithmetic without reordering, so that all
    // versions give the same bytes.
    #[apply(vectorized)] = #[multiversion::multiversion(
        targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2")
    )];
}
