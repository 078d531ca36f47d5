//! `cargo xtask data`.

use crate::{Failure, request};
use std::path::PathBuf;
