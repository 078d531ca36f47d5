//! What ranks agree on, so that none goes on, or stops, alone and leaves the others waiting.

use crate::communicator::Communicator;
use crate::error::{Result, TrainError};
use candle_core::{Device, Tensor};
use std::error::Error;

/// The bytes of every rank, in the order of the ranks; they may be of different lengths.
///
/// # Errors
/// A peer disconnected.
pub fn gather_bytes(communicator: &dyn Communicator, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    let length = u32::try_from(bytes.len()).map_err(candle_core::Error::wrap)?;
    let lengths = communicator.all_gather(&Tensor::new(&[length], &Device::Cpu)?)?.to_vec1::<u32>()?;
    let longest = lengths.iter().copied().max().unwrap_or(0) as usize;
    if longest == 0 {
        return Ok(vec![Vec::new(); lengths.len()]);
    }
    let mut padded = bytes.to_vec();
    padded.resize(longest, 0);
    let all = communicator.all_gather(&Tensor::from_vec(padded, longest, &Device::Cpu)?)?.to_vec1::<u8>()?;
    let of_rank = |(part, &length): (&[u8], &u32)| part[..length as usize].to_vec();
    Ok(all.chunks_exact(longest).zip(&lengths).map(of_rank).collect())
}

/// The numbers of every rank, in the order of the ranks; all have as many.
pub(crate) fn gather_numbers<const N: usize>(
    communicator: &dyn Communicator,
    numbers: [f64; N],
) -> Result<Vec<[f64; N]>> {
    let all = communicator.all_gather(&Tensor::new(&numbers, &Device::Cpu)?)?.to_vec1::<f64>()?;
    Ok(all.as_chunks::<N>().0.to_vec())
}

/// The result of this rank if all ranks have one. If not, all have the error of the first rank that failed.
///
/// # Errors
/// [`TrainError::OnRank`]; where there is one rank, its own error.
pub(crate) fn together<T>(communicator: &dyn Communicator, result: Result<T>) -> Result<T> {
    if communicator.world_size() == 1 {
        return result;
    }
    // A first byte says what kind of error it is.
    let told = match &result {
        Ok(_) => Vec::new(),
        Err(error) => {
            let kinds = [error.is_request(), error.is_of_store(), error.is_of_images(), error.is_divergence()];
            let kind = kinds.iter().rev().fold(0u8, |kind, &is_so| kind << 1 | u8::from(is_so));
            [&[kind], sentence(error).as_bytes()].concat()
        }
    };
    for (rank, told) in gather_bytes(communicator, &told)?.into_iter().enumerate() {
        if let [kind, reason @ ..] = &told[..] {
            let reason = String::from_utf8_lossy(reason).into_owned();
            let [is_request, is_of_store, is_of_images, is_divergence] =
                [0, 1, 2, 3].map(|place| kind >> place & 1 == 1);
            return Err(TrainError::OnRank { rank, reason, is_request, is_of_store, is_of_images, is_divergence });
        }
    }
    result
}

/// Whether any rank says so.
pub(crate) fn any(communicator: &dyn Communicator, says: bool) -> Result<bool> {
    if communicator.world_size() == 1 {
        return Ok(says);
    }
    let all = gather_numbers(communicator, [f64::from(u8::from(says))])?;
    Ok(all.iter().any(|[says]| *says > 0.0))
}

/// An error and its causes in one line; a cause that the text before it already says is left out.
pub fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::second_rank::BesideSecond;
    use clsa_data::SampleError;
    use clsa_run::CheckpointError;

    #[test]
    fn an_error_that_all_ranks_have_is_still_of_its_kind() {
        let not_finite = CheckpointError::NotWritten { path: "step-1".into(), reason: "it is not finite".to_owned() };
        let damaged = SampleError::Decode { name: "a.png".to_owned(), reason: "no image".to_owned() };
        let asked = TrainError::Unfit { key: "train.epochs".to_owned(), reason: "use more".to_owned() };
        let kinds =
            |error: &TrainError| [error.is_request(), error.is_of_store(), error.is_of_images(), error.is_divergence()];
        for (error, expected) in [
            (TrainError::Checkpoint(not_finite), [false, false, false, true]),
            (asked, [true, false, false, false]),
            (TrainError::Sample(damaged), [false, false, true, false]),
        ] {
            assert_eq!(kinds(&error), expected, "{error}");
            let words = format!("rank 0: {error}");
            let told = together(&BesideSecond(|own| own), Err::<(), _>(error)).unwrap_err();
            assert_eq!((kinds(&told), told.to_string()), (expected, words));
        }
    }
}
