//! Decoders and readers of others, a panic in which becomes an error of the image or table.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is in a third-party decoder or reader. A panic there becomes an error, so a program's panic hook need
/// not show it.
///
/// # Examples
/// ```
/// let show = std::panic::take_hook();
/// std::panic::set_hook(Box::new(move |panic| {
///     if !clsa_data::is_guarded() {
///         show(panic);
///     }
/// }));
/// assert!(!clsa_data::is_guarded());
/// ```
pub fn is_guarded() -> bool {
    GUARDED.get()
}

/// The result of some work; none if it panicked.
pub(crate) fn guarded<R>(work: impl FnOnce() -> R) -> Option<R> {
    let before = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(before);
    result.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_and_known_as_such_while_it_happens() {
        assert_eq!(guarded(|| (is_guarded(), 7)), Some((true, 7)));
        assert_eq!(guarded(|| -> u8 { panic!("as decoders do") }), None);
        assert!(!is_guarded());
    }
}
