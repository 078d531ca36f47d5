//! Aligned memory that is used again: activations from a pool, and each thread's scratch.

use bytemuck::Pod;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

/// A cache line, which is also the widest vector.
#[repr(C, align(64))]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Line([f32; 16]);

/// Lines that hold so many bytes.
fn lines(bytes: usize) -> usize {
    bytes.div_ceil(size_of::<Line>())
}

/// A slice of elements, aligned to 64 bytes, in memory of a [`MemoryPool`], to which it returns when dropped.
pub struct Memory<T> {
    lines: Vec<Line>,
    len: usize,
    pool: MemoryPool,
    elements: PhantomData<T>,
}

impl<T: Pod> Deref for Memory<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl<T: Pod> DerefMut for Memory<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

impl<T> Drop for Memory<T> {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        if let Ok(mut free) = self.pool.free.lock() {
            free.push(lines);
        }
    }
}

/// Memory that passes use in turn, so that in the steady state nothing is allocated and no page is touched for the
/// first time. Clones share the memory.
///
/// # Examples
/// ```
/// use clsa_model::kernels::MemoryPool;
///
/// let pool = MemoryPool::default();
/// let mut values = pool.zeros::<f32>(100);
/// values[3] = 1.5;
/// drop(values); // the next one of about this size gets the same memory
/// assert_eq!(pool.take::<f32>(90).len(), 90);
/// ```
#[derive(Clone, Default)]
pub struct MemoryPool {
    free: Arc<Mutex<Vec<Vec<Line>>>>,
}

impl std::fmt::Debug for MemoryPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryPool")
    }
}

impl MemoryPool {
    /// Memory for `len` elements with unspecified (but initialized) contents: the smallest free piece that fits without
    /// wasting more than it holds, or a new one.
    pub fn take<T: Pod>(&self, len: usize) -> Memory<T> {
        let need = lines(len * size_of::<T>()).max(1);
        let mut free = self.free.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let fits = |lines: &Vec<Line>| lines.len() >= need && lines.len() <= 2 * need;
        let best = free.iter().enumerate().filter(|(_, l)| fits(l)).min_by_key(|(_, l)| l.len()).map(|(i, _)| i);
        let lines = match best {
            Some(i) => free.swap_remove(i),
            None => vec![Line([0.0; 16]); need],
        };
        drop(free);
        Memory { lines, len, pool: self.clone(), elements: PhantomData }
    }

    /// Memory with `len` zeros.
    pub fn zeros<T: Pod>(&self, len: usize) -> Memory<T> {
        let mut memory = self.take(len);
        memory.fill(T::zeroed());
        memory
    }
}

thread_local! {
    static SCRATCH: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with `len` elements of this thread's scratch, of unspecified contents.
///
/// # Panics
/// `f` calls `with_scratch` itself.
pub(super) fn with_scratch<T: Pod, R>(len: usize, f: impl FnOnce(&mut [T]) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| {
        let need = lines(len * size_of::<T>());
        if scratch.len() < need {
            scratch.resize(need, Line([0.0; 16]));
        }
        f(&mut bytemuck::cast_slice_mut(scratch)[..len])
    })
}

/// A pointer that tasks share; each writes elements that no other touches.
pub(super) struct Shared<T>(*mut T);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

// SAFETY: whoever dereferences the pointer answers for tasks touching disjoint elements.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub fn new(slice: &mut [T]) -> Self {
        Self(slice.as_mut_ptr())
    }

    pub fn get(self) -> *mut T {
        self.0
    }
}
