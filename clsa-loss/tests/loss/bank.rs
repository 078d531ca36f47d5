//! The memory bank.

use candle_core::{DType, Device, Tensor};
use clsa_loss::{LossError, MemoryBank};
use proptest::prelude::*;

/// Rows whose only component counts up from `first`.
fn counting(first: u32, count: usize) -> Tensor {
    let values: Vec<f32> = (0..count).map(|i| first as f32 + i as f32).collect();
    Tensor::from_vec(values, (count, 1), &Device::Cpu).unwrap()
}

fn contents(bank: &MemoryBank) -> Vec<f32> {
    bank.rows().to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

proptest! {
    #[test]
    fn pushing_batches_equals_pushing_one_by_one(
        k in 1usize..12,
        batches in prop::collection::vec(0usize..30, 0..8),
    ) {
        let mut bank = MemoryBank::from_rows(counting(0, k), 0).unwrap();
        let mut expected = contents(&bank);
        let mut next = k;
        for count in batches {
            bank.push(&counting(next as u32, count)).unwrap();
            for key in next..next + count {
                expected[(key - k) % k] = key as f32;
            }
            next += count;
            prop_assert_eq!(contents(&bank), expected.clone());
            prop_assert_eq!(bank.pointer(), (next - k) % k);
        }
    }
}

#[test]
fn random_rows_are_unit_vectors_fixed_by_the_seed() {
    let bank = |seed| MemoryBank::random(50, 16, seed, DType::F32, &Device::Cpu).unwrap();
    let norms: Vec<f32> = bank(3).rows().sqr().unwrap().sum(1).unwrap().to_vec1().unwrap();
    assert!(norms.iter().all(|norm| (norm - 1.0).abs() < 1e-5), "{norms:?}");
    assert_eq!(contents(&bank(3)), contents(&bank(3)));
    assert_ne!(contents(&bank(3)), contents(&bank(4)));
    assert_eq!((bank(3).len(), bank(3).dim(), bank(3).pointer()), (50, 16, 0));
}

/// Not after a loop over all of its keys.
#[test]
fn a_bank_of_keys_without_components_is_refused_at_once() {
    let error = MemoryBank::random(usize::MAX, 0, 0, DType::F32, &Device::Cpu).unwrap_err();
    assert!(matches!(error, LossError::Shape { ref argument, .. } if argument == "bank"), "{error}");
}

#[test]
fn a_bank_rebuilt_from_rows_and_pointer_continues_alike() {
    let mut bank = MemoryBank::random(10, 1, 0, DType::BF16, &Device::Cpu).unwrap();
    bank.push(&counting(0, 7)).unwrap();
    let mut rebuilt = MemoryBank::from_rows(bank.rows().copy().unwrap(), bank.pointer()).unwrap();
    for bank in [&mut bank, &mut rebuilt] {
        bank.push(&counting(7, 6)).unwrap();
    }
    assert_eq!(contents(&bank), contents(&rebuilt));
    assert_eq!((bank.pointer(), rebuilt.rows().dtype()), (rebuilt.pointer(), DType::BF16));
}

#[test]
fn from_rows_takes_a_copy() {
    let rows = counting(0, 4);
    let mut bank = MemoryBank::from_rows(rows.clone(), 0).unwrap();
    bank.push(&counting(9, 1)).unwrap();
    assert_eq!(rows.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [0.0, 1.0, 2.0, 3.0]);
}

#[test]
fn refused_keys_leave_the_bank_as_it_was() {
    let mut bank = MemoryBank::from_rows(counting(0, 4), 2).unwrap();
    let infinite = Tensor::new(&[[1f32], [f32::INFINITY]], &Device::Cpu).unwrap();
    assert!(matches!(bank.push(&infinite), Err(LossError::NotFinite { argument }) if argument == "keys"));
    let wide = Tensor::zeros((1, 2), DType::F32, &Device::Cpu).unwrap();
    assert!(matches!(bank.push(&wide), Err(LossError::Shape { argument, .. }) if argument == "keys"));
    let integers = Tensor::zeros((1, 1), DType::U32, &Device::Cpu).unwrap();
    assert!(matches!(bank.push(&integers), Err(LossError::DType { argument, .. }) if argument == "keys"));
    assert_eq!((contents(&bank), bank.pointer()), (vec![0.0, 1.0, 2.0, 3.0], 2));
}

#[test]
fn from_rows_refuses_what_is_no_bank() {
    assert!(matches!(MemoryBank::from_rows(counting(0, 4), 4), Err(LossError::Pointer { pointer: 4, rows: 4 })));
    let flat = Tensor::zeros(4, DType::F32, &Device::Cpu).unwrap();
    assert!(matches!(MemoryBank::from_rows(flat, 0), Err(LossError::Shape { .. })));
    let undefined = Tensor::new(&[[f32::NAN]], &Device::Cpu).unwrap();
    assert!(matches!(MemoryBank::from_rows(undefined, 0), Err(LossError::NotFinite { .. })));
    assert!(matches!(MemoryBank::random(4, 2, 0, DType::U8, &Device::Cpu), Err(LossError::DType { .. })));
}

#[test]
fn a_bank_too_large_for_memory_is_refused_by_its_size() {
    // The first is more than can be counted, the second more than can be addressed, the third more than any machine has.
    for (k, d) in [(usize::MAX, 2), (usize::MAX / 2, 1), (1 << 40, 1 << 10)] {
        let refused = MemoryBank::random(k, d, 0, DType::F32, &Device::Cpu).unwrap_err();
        assert!(matches!(refused, LossError::BankSize { .. }), "{refused}");
        assert!(refused.to_string().contains(&k.to_string()), "{refused}");
    }
}

#[test]
fn a_bank_takes_its_own_rows() {
    let rows = Tensor::arange(0f32, 12.0, &Device::Cpu).unwrap().reshape((4, 3)).unwrap();
    let mut bank = MemoryBank::from_rows(rows, 1).unwrap();
    let own = bank.rows().clone();
    bank.push(&own).unwrap();
    let wanted: Vec<f32> = [9.0, 10.0, 11.0].into_iter().chain((0..9).map(|x| x as f32)).collect();
    assert_eq!(contents(&bank), wanted);
}
