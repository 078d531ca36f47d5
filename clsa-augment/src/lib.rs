//! The views of CLSA.
