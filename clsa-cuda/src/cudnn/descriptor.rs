//! cuDNN's descriptors: objects with typed attributes, finished before they are used.

// cuDNN is a C library: every call of it is unsafe.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fmt::Debug;
use std::ptr::null_mut;

use candle_core::cuda_backend::cudarc::cudnn::sys::{
    self, cudnnBackendAttributeName_t as Name, cudnnBackendAttributeType_t as Type,
    cudnnBackendDescriptorType_t as Kind, cudnnStatus_t as Status,
};

use crate::error::{GpuError, Result};

/// What an attribute's value is in Rust.
///
/// # Safety
/// A value of the type has the size, the alignment and the meaning that cuDNN gives to [`Self::TYPE`], and every pattern of
/// bits that cuDNN may write is a value.
pub(super) unsafe trait Value: Copy {
    /// The type's name in cuDNN.
    const TYPE: Type;
}

/// A [`Value`] that cuDNN may write.
pub(super) trait Read: Value + Default {}

macro_rules! values {
    ($($rust:ty => $cudnn:ident),* $(,)?) => {
        $(
            // SAFETY: the two are the same type of C, by cuDNN's table of attribute types. The enumerations are only given to
            // cuDNN, never read from it.
            unsafe impl Value for $rust {
                const TYPE: Type = Type::$cudnn;
            }
        )*
    };
}

values! {
    i32 => CUDNN_TYPE_INT32,
    i64 => CUDNN_TYPE_INT64,
    f32 => CUDNN_TYPE_FLOAT,
    u8 => CUDNN_TYPE_CHAR,
    *mut c_void => CUDNN_TYPE_VOID_PTR,
    sys::cudnnHandle_t => CUDNN_TYPE_HANDLE,
    sys::cudnnDataType_t => CUDNN_TYPE_DATA_TYPE,
    sys::cudnnConvolutionMode_t => CUDNN_TYPE_CONVOLUTION_MODE,
    sys::cudnnBackendHeurMode_t => CUDNN_TYPE_HEUR_MODE,
    NumericalNote => CUDNN_TYPE_NUMERICAL_NOTE,
    BehaviorNote => CUDNN_TYPE_BEHAVIOR_NOTE,
}

impl Read for i64 {}
impl Read for u8 {}
impl Read for NumericalNote {}
impl Read for BehaviorNote {}

/// A property of an engine's numbers. A number and not an enumeration, because newer libraries have more of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct NumericalNote(pub(super) i32);

/// A property of how an engine works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct BehaviorNote(pub(super) i32);

/// Turns a status into a result that says what cuDNN thinks is wrong.
pub(super) fn check(call: &'static str, status: Status) -> Result<()> {
    if status == Status::CUDNN_STATUS_SUCCESS { Ok(()) } else { Err(failure(call, "", status)) }
}

/// The same with the place.
fn check_at(call: &'static str, at: &dyn Debug, status: Status) -> Result<()> {
    if status == Status::CUDNN_STATUS_SUCCESS { Ok(()) } else { Err(failure(call, &format!("{at:?} "), status)) }
}

/// The error that a status other than success stands for. `at` ends with a space or is empty.
pub(super) fn failure(call: &'static str, at: &str, status: Status) -> GpuError {
    let mut text = [0_u8; 512];
    // SAFETY: cuDNN writes at most `text.len()` bytes.
    unsafe { sys::cudnnGetLastErrorString(text.as_mut_ptr().cast(), text.len()) };
    let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
    let text = String::from_utf8_lossy(&text[..end]);
    GpuError::Call { call, reason: format!("{at}{status:?} {}", text.trim()).trim_end().to_owned() }
}

/// A descriptor, destroyed when it is dropped.
pub(super) struct Descriptor(sys::cudnnBackendDescriptor_t);

// SAFETY: cuDNN binds descriptors to no thread.
unsafe impl Send for Descriptor {}
// SAFETY: only methods that take the descriptor by value change it. A finished descriptor is only read.
unsafe impl Sync for Descriptor {}

impl Descriptor {
    /// An empty descriptor.
    pub(super) fn new(kind: Kind) -> Result<Self> {
        let mut descriptor = null_mut();
        // SAFETY: cuDNN writes one pointer.
        let status = unsafe { sys::cudnnBackendCreateDescriptor(kind, &mut descriptor) };
        check_at("cudnnBackendCreateDescriptor", &kind, status)?;
        Ok(Self(descriptor))
    }

    /// Gives an attribute its values.
    pub(super) fn set<V: Value>(self, name: Name, values: &[V]) -> Result<Self> {
        // SAFETY: the slice has as many values of the attribute's type as is said; cuDNN copies them.
        let status = unsafe {
            sys::cudnnBackendSetAttribute(self.0, name, V::TYPE, values.len() as i64, values.as_ptr().cast::<c_void>())
        };
        check_at("cudnnBackendSetAttribute", &name, status)?;
        Ok(self)
    }

    /// Gives an attribute another descriptor, which has to live as long as this one is used.
    pub(super) fn link(self, name: Name, other: &Self) -> Result<Self> {
        let values = [other.0];
        // SAFETY: one descriptor, alive.
        let status = unsafe {
            sys::cudnnBackendSetAttribute(
                self.0,
                name,
                Type::CUDNN_TYPE_BACKEND_DESCRIPTOR,
                1,
                values.as_ptr().cast::<c_void>(),
            )
        };
        check_at("cudnnBackendSetAttribute", &name, status)?;
        Ok(self)
    }

    /// Checks the attributes and makes the descriptor ready for use.
    pub(super) fn finish(self) -> Result<Self> {
        // SAFETY: the descriptor is alive.
        check("cudnnBackendFinalize", unsafe { sys::cudnnBackendFinalize(self.0) })?;
        Ok(self)
    }

    /// Up to `most` values of an attribute.
    pub(super) fn get<V: Read>(&self, name: Name, most: usize) -> Result<Vec<V>> {
        let mut values = vec![V::default(); most];
        // SAFETY: there is room for `most` values.
        let count = unsafe { self.attribute(name, V::TYPE, most, values.as_mut_ptr().cast::<c_void>())? };
        values.truncate(count);
        Ok(values)
    }

    /// The one value of an attribute.
    pub(super) fn get_one<V: Read>(&self, name: Name) -> Result<V> {
        self.get(name, 1)?.first().copied().ok_or_else(|| GpuError::Call {
            call: "cudnnBackendGetAttribute",
            reason: format!("{name:?}: there is no value"),
        })
    }

    /// How many values an attribute has.
    pub(super) fn count(&self, name: Name, of: Type) -> Result<usize> {
        // SAFETY: no values are asked for.
        unsafe { self.attribute(name, of, 0, null_mut()) }
    }

    /// Up to `most` descriptors of one kind that an attribute consists of.
    pub(super) fn get_descriptors(&self, name: Name, kind: Kind, most: usize) -> Result<Vec<Self>> {
        let mut found = (0..most).map(|_| Self::new(kind)).collect::<Result<Vec<_>>>()?;
        let mut raw: Vec<_> = found.iter().map(|descriptor| descriptor.0).collect();
        let (of, to) = (Type::CUDNN_TYPE_BACKEND_DESCRIPTOR, raw.as_mut_ptr().cast::<c_void>());
        // SAFETY: cuDNN fills at most `most` descriptors of the attribute's kind, all alive.
        let count = unsafe { self.attribute(name, of, most, to)? };
        found.truncate(count);
        Ok(found)
    }

    /// Puts up to `most` values of an attribute at `to` and gives their number, or with a `most` of 0 how many there are.
    ///
    /// # Safety
    /// At `to` there is room for `most` values of the type; for descriptors, `most` living ones of the attribute's kind.
    unsafe fn attribute(&self, name: Name, of: Type, most: usize, to: *mut c_void) -> Result<usize> {
        let mut count = 0;
        // SAFETY: the caller's promise; beside the values cuDNN writes one number.
        let status = unsafe { sys::cudnnBackendGetAttribute(self.0, name, of, most as i64, &mut count, to) };
        check_at("cudnnBackendGetAttribute", &name, status)?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// Starts the plan that this descriptor is, on the memory that `pack` names.
    ///
    /// # Safety
    /// The plan was made for the handle's GPU, whose context is current. The addresses in `pack` are of memory of that GPU that
    /// is as large as the plan's tensors and workspace and stays alive until it is freed in the order of the handle's stream.
    pub(super) unsafe fn execute(&self, handle: sys::cudnnHandle_t, pack: &Self) -> Result<()> {
        // SAFETY: the two descriptors are alive; the rest is the caller's promise.
        check("cudnnBackendExecute", unsafe { sys::cudnnBackendExecute(handle, self.0, pack.0) })
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: made by `new`, destroyed once.
        unsafe { sys::cudnnBackendDestroyDescriptor(self.0) };
    }
}
