//! An observer that keeps what work was begun.

use clsa_eval::Observer;
use std::cell::RefCell;

/// Keeps the names of the works.
#[derive(Default)]
pub struct Works(pub RefCell<Vec<String>>);

impl Observer for Works {
    fn begin<'a>(&'a self, work: &str, _: &'static str) -> Box<dyn Fn(u64, u64) + 'a> {
        self.0.borrow_mut().push(work.to_owned());
        Box::new(|_, _| {})
    }
}
