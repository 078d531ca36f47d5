use thiserror::Error;

/// What can go wrong when a plan is checked or a view is made.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum AugmentError {
    /// The image has no pixels.
    #[error("the image is {width}x{height} and has no pixels to make a view of")]
    EmptyImage {
        /// Width of the image in pixels.
        width: u32,
        /// Height of the image in pixels.
        height: u32,
    },
    /// A crop is empty or does not lie inside the image.
    #[error("the crop of {crop_width}x{crop_height} at ({x}, {y}) does not lie inside the image of {width}x{height}")]
    CropOutside {
        /// Left edge of the crop.
        x: u32,
        /// Upper edge of the crop.
        y: u32,
        /// Width of the crop.
        crop_width: u32,
        /// Height of the crop.
        crop_height: u32,
        /// Width of the image.
        width: u32,
        /// Height of the image.
        height: u32,
    },
    /// A resized image would be empty or too large.
    #[error(
        "{width}x{height} pixels cannot be made {target_width}x{target_height}: a side must be from 1 to 16384 pixels"
    )]
    Size {
        /// Width of what is resized: of the image, or of the crop of it.
        width: u32,
        /// Height of it.
        height: u32,
        /// Width asked for.
        target_width: u32,
        /// Height asked for.
        target_height: u32,
    },
    /// The caller's buffer has the wrong number of elements.
    #[error("the view of {width}x{height} needs a buffer of {expected} values, not {actual}")]
    Buffer {
        /// Width of the view.
        width: u32,
        /// Height of the view.
        height: u32,
        /// Elements needed: `3 · width · height`.
        expected: usize,
        /// Elements given.
        actual: usize,
    },
    /// The caller gave more or fewer buffers than there are views.
    #[error("the plan's {expected} views need a buffer each, not {actual} buffers")]
    Buffers {
        /// Buffers needed.
        expected: usize,
        /// Buffers given.
        actual: usize,
    },
    /// An operation's argument is outside what is accepted.
    #[error("the operation {operation} does not accept {value}; it needs {needs}")]
    Argument {
        /// Name of the operation, as in [`Op`](crate::Op)'s text form.
        operation: &'static str,
        /// The value given.
        value: String,
        /// What would be right.
        needs: &'static str,
    },
    /// The text of an operation names none that exists.
    #[error("there is no operation called {name:?}; the operations are {known}")]
    UnknownOperation {
        /// The name given.
        name: String,
        /// All names.
        known: &'static str,
    },
    /// A value in a [`ViewPlan`](crate::ViewPlan) is out of range.
    #[error("{key} is {value}, but it must be {needs}")]
    Plan {
        /// Path of the key, e.g. `views.weak[1].scale`.
        key: String,
        /// The value found.
        value: String,
        /// What would be right.
        needs: &'static str,
    },
}
