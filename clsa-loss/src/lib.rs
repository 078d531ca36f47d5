//! InfoNCE and DDM.
