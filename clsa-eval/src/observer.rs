//! What an evaluation reports while it runs.

/// Receives the progress, notes and warnings of an evaluation. Every method has a default that does nothing; [`Silent`] keeps
/// them all.
pub trait Observer {
    /// Work begins: `work` says what, `unit` what it is counted in, such as `images`. The function that is returned is
    /// called with how much is done, and of how much; it is dropped when the work ends.
    fn begin<'a>(&'a self, work: &str, unit: &'static str) -> Box<dyn Fn(u64, u64) + 'a> {
        let _ = (work, unit);
        Box::new(|_, _| {})
    }

    /// A sentence that is worth knowing.
    fn note(&self, text: &str) {
        let _ = text;
    }

    /// A sentence about something that was wrong and has been repaired.
    fn warning(&self, text: &str) {
        let _ = text;
    }
}

/// An observer that ignores everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Silent;

impl Observer for Silent {}
