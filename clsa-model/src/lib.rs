//! ResNets.
