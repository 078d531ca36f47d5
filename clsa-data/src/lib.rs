//! Data sets and loader.
