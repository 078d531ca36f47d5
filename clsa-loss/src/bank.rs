//! The memory bank: the keys of the last batches, as negatives for the next ones.

use candle_core::{DType, Device, Tensor};
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::{LossError, check};

/// A first-in first-out store of K keys of D components (CLSA section 3.1; MoCo's code calls it the queue).
///
/// The whole state is [`rows`](Self::rows) and [`pointer`](Self::pointer): save both, and [`from_rows`](Self::from_rows)
/// continues where the saved bank stopped. The rows are always finite: [`push`](Self::push) and
/// [`from_rows`](Self::from_rows) fail on others.
///
/// # Examples
/// ```
/// use clsa_loss::MemoryBank;
/// use clsa_loss::candle_core::{DType, Device};
///
/// let mut bank = MemoryBank::random(10, 4, 0, DType::BF16, &Device::Cpu)?;
/// let keys = MemoryBank::random(3, 4, 1, DType::F32, &Device::Cpu)?;
/// bank.push(keys.rows())?;
/// assert_eq!(bank.pointer(), 3);
///
/// let restored = MemoryBank::from_rows(bank.rows().copy()?, bank.pointer())?;
/// assert_eq!((restored.len(), restored.dim(), restored.pointer()), (10, 4, 3));
/// # Ok::<(), clsa_loss::LossError>(())
/// ```
#[derive(Debug)]
pub struct MemoryBank {
    rows: Tensor,
    pointer: usize,
}

impl MemoryBank {
    /// `k` random unit vectors of `d` components: normal draws in f32, normalized, then cast to `dtype`.
    ///
    /// The same seed gives the same rows on every device. `BF16` halves the memory, and nearly halves the time of
    /// the loss on processors with AVX512-BF16.
    ///
    /// # Errors
    /// Fails if `d` is zero, `dtype` is not `F64`, `F32`, `F16` or `BF16`, or `k * d` numbers do not fit in memory.
    pub fn random(k: usize, d: usize, seed: u64, dtype: DType, device: &Device) -> Result<Self, LossError> {
        check::float("bank", dtype)?;
        if d == 0 {
            let (argument, expected) = ("bank".to_string(), "(rows, dim) with dim at least 1".to_string());
            return Err(LossError::Shape { argument, expected, got: (k, d).into() });
        }
        let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut rows: Vec<f32> = vec![];
        let reserved = k.checked_mul(d).is_some_and(|count| rows.try_reserve_exact(count).is_ok());
        if !reserved {
            return Err(LossError::BankSize { k, d });
        }
        for _ in 0..k {
            let start = rows.len();
            rows.extend((0..d).map(|_| -> f32 { StandardNormal.sample(&mut generator) }));
            let norm = rows[start..].iter().map(|x| x * x).sum::<f32>().sqrt();
            rows[start..].iter_mut().for_each(|x| *x /= norm);
        }
        let rows = Tensor::from_vec(rows, (k, d), &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?;
        Ok(Self { rows, pointer: 0 })
    }

    /// A bank of the given rows, (K, D), which are copied, that writes its next key at row `pointer`.
    ///
    /// # Errors
    /// Fails if `rows` is not a matrix of finite floating-point numbers, or `pointer` is not below K (0 for K = 0).
    pub fn from_rows(rows: Tensor, pointer: usize) -> Result<Self, LossError> {
        check::matrix("rows", &rows, None)?;
        check::finite("rows", &rows)?;
        if pointer >= rows.dims()[0].max(1) {
            return Err(LossError::Pointer { pointer, rows: rows.dims()[0] });
        }
        let rows = rows.detach().force_contiguous()?;
        Ok(Self { rows, pointer })
    }

    /// Writes `keys`, (any number, D), over the oldest rows, in order and cast to the bank's dtype.
    ///
    /// The keys of several ranks are one tensor, in rank order. K need not be a multiple of their number; of more than K keys
    /// the last K stay.
    ///
    /// # Errors
    /// Fails if `keys` is not a matrix of D columns of finite floating-point numbers on the bank's device; the bank is then
    /// unchanged.
    pub fn push(&mut self, keys: &Tensor) -> Result<(), LossError> {
        check::matrix("keys", keys, Some(self.dim()))?;
        check::finite("keys", &keys.to_dtype(self.rows.dtype())?)?;
        self.push_finite(keys)
    }

    /// As [`push`](Self::push), for keys that are known to be finite because the loss against them is: values are not checked,
    /// so that there is no wait for a GPU.
    ///
    /// # Errors
    /// Fails if `keys` is not a matrix of D columns of floating-point numbers on the bank's device; the bank is then unchanged.
    pub fn push_finite(&mut self, keys: &Tensor) -> Result<(), LossError> {
        check::matrix("keys", keys, Some(self.dim()))?;
        check::device("keys", keys, self.rows.device())?;
        // A copy, because `keys` may be rows of this bank.
        let keys = keys.detach().to_dtype(self.rows.dtype())?.force_contiguous()?;
        let (count, capacity) = (keys.dims()[0], self.len());
        if count == 0 || capacity == 0 {
            return Ok(());
        }
        let kept = count.min(capacity);
        let start = (self.pointer + count - kept) % capacity;
        let until_end = kept.min(capacity - start);
        let newest = keys.narrow(0, count - kept, kept)?;
        // `slice_set` writes in place: a push costs its keys, not the bank.
        self.rows.slice_set(&newest.narrow(0, 0, until_end)?.contiguous()?, 0, start)?;
        if until_end < kept {
            let rest = newest.narrow(0, until_end, kept - until_end)?;
            self.rows.slice_set(&rest.contiguous()?, 0, 0)?;
        }
        self.pointer = (self.pointer + count) % capacity;
        Ok(())
    }

    /// The keys, (K, D), in storage order. This is the bank's own storage, which [`push`](Self::push) writes in place: take
    /// a `copy()` to keep what it holds now.
    pub fn rows(&self) -> &Tensor {
        &self.rows
    }

    /// The row that the next key is written to, which is the oldest one.
    pub fn pointer(&self) -> usize {
        self.pointer
    }

    /// The number of keys, K.
    pub fn len(&self) -> usize {
        self.rows.dims()[0]
    }

    /// Whether the bank holds no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of components of a key, D.
    pub fn dim(&self) -> usize {
        self.rows.dims()[1]
    }
}
