//! The loss against the formula, on every engine; the bank; and what fails.

mod agreement;
mod bank;
mod batch;
mod by_view;
mod cpu;
mod errors;
mod formula;
mod in_batch;
mod own_keys;
mod portable;
