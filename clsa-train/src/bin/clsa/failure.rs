//! How a command failed, and the exit code that follows: 2 where what was asked for is wrong, 1 where the run failed.

use std::error::Error;
use std::fmt::Display;
use thiserror::Error;

/// Why a command failed.
#[derive(Debug)]
pub struct Failure(anyhow::Error);

/// A request that is wrong, in one sentence that says what to do.
#[derive(Debug, Error)]
#[error("{0}")]
struct WrongRequest(String);

/// A run that was ended before its first checkpoint, in one sentence that says what to do.
#[derive(Debug, Error)]
#[error("{0}")]
struct EndedTooEarly(String);

/// What is wrong with a run that has no checkpoint to go on from, and what to do.
pub const WITHOUT_CHECKPOINT: &str =
    "was ended, or diverged, before its first checkpoint; remove it, and it is begun anew";

/// A failure because what was asked for is wrong.
pub fn request(reason: impl Display) -> Failure {
    Failure(WrongRequest(reason.to_string()).into())
}

/// A failure because a run has no checkpoint: another process is on its way to the first one, or it was ended before. `option` names
/// the run in the error.
pub fn without_checkpoint(option: &str, run: &clsa_run::RunFolder) -> Failure {
    if let Err(error @ clsa_run::RunError::InUse { .. }) = clsa_run::LockedRun::resume(run.path()) {
        return request(format!("{option}{error}"));
    }
    Failure(EndedTooEarly(format!("{option}the run in {} {WITHOUT_CHECKPOINT}", run.path().display())).into())
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl Failure {
    /// 2 for a wrong request, 1 for anything else. The outermost of the causes that can tell decides.
    pub fn exit_code(&self) -> u8 {
        if self.0.chain().find_map(is_request) == Some(true) { 2 } else { 1 }
    }

    /// Whether every rank has this error, so that none waits for this one.
    pub fn is_of_all_ranks(&self) -> bool {
        let of_training = self.0.chain().find_map(|cause| cause.downcast_ref::<clsa_train::TrainError>());
        of_training.is_some_and(clsa_train::TrainError::is_of_all_ranks)
    }

    /// Whether nothing but this one training is at fault: it diverged, or was ended before its first checkpoint.
    pub fn is_of_one_training(&self) -> bool {
        let diverged = |cause: &(dyn Error + 'static)| {
            cause.downcast_ref::<clsa_train::TrainError>().is_some_and(clsa_train::TrainError::is_divergence)
        };
        self.0.chain().any(|cause| diverged(cause) || cause.is::<EndedTooEarly>())
    }

    /// The error and its causes in one line; a cause that the text before it already says is left out.
    pub fn sentence(&self) -> String {
        clsa_train::sentence(self.0.as_ref())
    }
}

/// Whether an error says that the request is wrong; none where it does not know.
fn is_request(cause: &(dyn Error + 'static)) -> Option<bool> {
    macro_rules! first_of {
        ($($error:ty),* $(,)?) => { None$(.or_else(|| cause.downcast_ref::<$error>().map(<$error>::is_request)))* };
    }
    if cause.is::<WrongRequest>() || cause.is::<EndedTooEarly>() || cause.is::<clsa_cpu::UnavailableInstructionSet>() {
        return Some(true);
    }
    #[cfg(feature = "fetch")]
    if let Some(error) = cause.downcast_ref::<clsa_data::fetch::FetchError>() {
        return Some(error.is_request());
    }
    first_of!(
        clsa_augment::AugmentError,
        clsa_data::DataError,
        clsa_data::SampleError,
        clsa_eval::EvalError,
        clsa_loss::LossError,
        clsa_model::ModelError,
        clsa_run::CheckpointError,
        clsa_run::ConfigError,
        clsa_run::MetricsError,
        clsa_run::RunError,
        clsa_run::StudyError,
        clsa_train::TrainError,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    fn code(failure: impl Into<Failure>) -> u8 {
        failure.into().exit_code()
    }

    #[test]
    fn the_outermost_error_that_can_tell_decides_the_exit_code() {
        let config = || clsa_run::Config::load("no-such-preset", &[]).unwrap_err();
        assert_eq!(code(config()), 2);
        assert_eq!(Failure::from(Err::<(), _>(config()).context("while starting").unwrap_err()).exit_code(), 2);
        assert_eq!(code(std::io::Error::other("disk full")), 1);
        assert_eq!(request("--k 0: use at least 1").exit_code(), 2);
    }

    #[test]
    fn a_cause_that_is_said_already_is_left_out() {
        let io = || std::io::Error::other("disk full");
        let failure = Failure::from(anyhow::Error::from(io()).context("a.png: disk full"));
        assert_eq!(failure.sentence(), "a.png: disk full");
        assert_eq!(Failure::from(anyhow::Error::from(io()).context("a.png")).sentence(), "a.png: disk full");
    }
}
