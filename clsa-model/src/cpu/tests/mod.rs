//! The CPU kernels on the tape against the portable operations, with every instruction set of this processor.

mod networks;
mod operations;
