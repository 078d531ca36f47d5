//! Aligned memory that is used again: buffers of activations from a pool, and each thread's scratch.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

/// A cache line, which is also the widest vector.
#[repr(C, align(64))]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Line([f32; 16]);

/// Floats aligned to 64 bytes, of which the first `len` are in use. Returns to its pool when dropped.
pub struct Buffer {
    lines: Vec<Line>,
    len: usize,
    pool: Pool,
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        if let Ok(mut free) = self.pool.free.lock() {
            free.push(lines);
        }
    }
}

/// Memory that passes use in turn, so that in the steady state nothing is allocated and no page is touched for the
/// first time. Clones share the memory.
#[derive(Clone, Default)]
pub struct Pool {
    free: Arc<Mutex<Vec<Vec<Line>>>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pool")
    }
}

impl Pool {
    /// A buffer of `len` elements with unspecified (but initialised) contents: the smallest free one that fits without
    /// wasting more than it holds, or a new one.
    pub fn take(&self, len: usize) -> Buffer {
        let need = len.div_ceil(16).max(1);
        let mut free = self.free.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let fits = |lines: &Vec<Line>| lines.len() >= need && lines.len() <= 2 * need;
        let best = free.iter().enumerate().filter(|(_, l)| fits(l)).min_by_key(|(_, l)| l.len()).map(|(i, _)| i);
        let lines = match best {
            Some(i) => free.swap_remove(i),
            None => vec![Line([0.0; 16]); need],
        };
        drop(free);
        Buffer { lines, len, pool: self.clone() }
    }

    /// A buffer of `len` zeros.
    pub fn zeros(&self, len: usize) -> Buffer {
        let mut buffer = self.take(len);
        buffer.fill(0.0);
        buffer
    }
}

thread_local! {
    static SCRATCH: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with `len` elements of this thread's scratch, of unspecified contents. Not to be nested.
pub(super) fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    SCRATCH.with_borrow_mut(|lines| {
        let need = len.div_ceil(16);
        if lines.len() < need {
            lines.resize(need, Line([0.0; 16]));
        }
        f(&mut bytemuck::cast_slice_mut(lines)[..len])
    })
}

/// A pointer that tasks share; each writes elements that no other touches.
#[derive(Clone, Copy)]
pub(super) struct Shared(*mut f32);

// SAFETY: whoever dereferences the pointer answers for tasks touching disjoint elements.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub fn new(slice: &mut [f32]) -> Self {
        Self(slice.as_mut_ptr())
    }

    pub fn get(self) -> *mut f32 {
        self.0
    }

    /// The pointer `n` elements on.
    ///
    /// # Safety
    /// They belong to the same slice.
    pub unsafe fn offset(self, n: usize) -> Self {
        // SAFETY: the caller's.
        Self(unsafe { self.0.add(n) })
    }
}
