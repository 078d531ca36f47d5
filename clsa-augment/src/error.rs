//! What can go wrong.

use std::fmt::Display;

use thiserror::Error;

/// What can go wrong when a plan is checked or a view is made.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum AugmentError {
    /// The image has no pixels.
    #[error("the image is {width}x{height} and has no pixels to work on")]
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
        /// All that there are, with their arguments.
        known: String,
    },
    /// The name of a corruption names none that exists.
    #[error("there is no corruption called {name:?}; the corruptions are {known}")]
    UnknownCorruption {
        /// The name given.
        name: String,
        /// All that there are.
        known: String,
    },
    /// A field of a [`ViewPlan`](crate::ViewPlan), [`CenterCrop`](crate::CenterCrop) or a part of them is out of range.
    #[error("{field} is {value}, but it must be {needs}")]
    Setting {
        /// The field, from the struct that was checked on, such as `weak[1].scale`.
        field: String,
        /// The value found.
        value: String,
        /// What would be right.
        needs: &'static str,
    },
}

impl AugmentError {
    /// Whether what was asked for is wrong (a plan, an operation, an image), rather than the program that called.
    pub fn is_request(&self) -> bool {
        match self {
            Self::EmptyImage { .. }
            | Self::CropOutside { .. }
            | Self::Size { .. }
            | Self::Argument { .. }
            | Self::UnknownOperation { .. }
            | Self::UnknownCorruption { .. }
            | Self::Setting { .. } => true,
            Self::Buffer { .. } | Self::Buffers { .. } => false,
        }
    }

    /// Puts the name of the struct that a field is part of before it, as a configuration that has it under this name
    /// writes it. Other errors stay as they are.
    ///
    /// # Examples
    /// ```
    /// use clsa_augment::{View, ViewPlan};
    ///
    /// let plan = ViewPlan { weak: vec![View { flip: 1.5, ..View::default() }], ..ViewPlan::single() };
    /// let error = plan.validate().unwrap_err();
    /// assert_eq!(error.to_string(), "weak[0].flip is 1.5, but it must be a probability from 0 to 1");
    /// assert!(error.within("views").to_string().starts_with("views.weak[0].flip is 1.5"));
    /// ```
    #[must_use]
    pub fn within(self, parent: impl Display) -> Self {
        match self {
            Self::Setting { field, value, needs } => Self::Setting { field: format!("{parent}.{field}"), value, needs },
            other @ (Self::EmptyImage { .. }
            | Self::CropOutside { .. }
            | Self::Size { .. }
            | Self::Buffer { .. }
            | Self::Buffers { .. }
            | Self::Argument { .. }
            | Self::UnknownOperation { .. }
            | Self::UnknownCorruption { .. }) => other,
        }
    }
}
