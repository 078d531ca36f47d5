//! The kinds of sources: a file each in this folder, and one table, from which parser, help, README and the needed cargo
//! features come.
//!
//! A new kind is a file with a [`Spec`], its `mod` line here, and a row of the table. The test
//! `the_readme_has_the_table_of_sources` then says which row the README lacks.

mod cifar;
mod flat;
pub(crate) mod idx;
mod imagefolder;
pub(crate) mod list;
pub(crate) mod parquet;
pub(crate) mod procedural;
mod spec;
pub(crate) mod voc;
pub(crate) mod wds;

use std::fmt;

pub(crate) use spec::Argument;
use spec::Spec;

/// Makes [`SourceKind`] of the rows of the table, which are in the order of help and README.
macro_rules! table {
    ($($(#[$doc:meta])* $kind:ident => $spec:path,)*) => {
        /// A kind of [`Source`](crate::Source): what stands before the colon of its text.
        ///
        /// # Examples
        /// ```
        /// use clsa_data::SourceKind;
        ///
        /// // The lines of a help text.
        /// for kind in SourceKind::ALL {
        ///     println!("{:20} {}", kind.form(), kind.summary());
        /// }
        /// assert_eq!(SourceKind::Flat.form(), "flat:PATH");
        /// assert_eq!(SourceKind::Parquet.feature(), Some("parquet"));
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum SourceKind {
            $($(#[$doc])* $kind,)*
        }

        impl SourceKind {
            /// All kinds.
            pub const ALL: &'static [SourceKind] = &[$(SourceKind::$kind,)*];

            pub(crate) fn spec(self) -> &'static Spec {
                match self {
                    $(SourceKind::$kind => &$spec,)*
                }
            }
        }
    };
}

table! {
    /// Folders of images, one for each class.
    ImageFolder => imagefolder::SPEC,
    /// CIFAR-10 or CIFAR-100.
    CifarBin => cifar::SPEC,
    /// MNIST and its family.
    Idx => idx::SPEC,
    /// WebDataset tar shards.
    Wds => wds::SPEC,
    /// Hugging Face image data sets; needs the feature `parquet`.
    Parquet => parquet::SPEC,
    /// PASCAL VOC 2007.
    Voc2007 => voc::SPEC,
    /// Images without labels.
    Flat => flat::SPEC,
    /// A table of image files.
    List => list::SPEC,
    /// Images drawn from a seed: [`Procedural`](crate::Procedural).
    Procedural => procedural::SPEC,
}

impl SourceKind {
    /// The kind that this text names.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// What stands before the colon: `imagefolder`.
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// How a source of this kind is written: `imagefolder:PATH`.
    pub fn form(self) -> String {
        match self.spec().argument {
            Argument::Place(place) | Argument::Objects(place) => format!("{}:{place}", self.name()),
            Argument::Options(_) => self.name().into(),
        }
    }

    /// What it is, in a few words for a help text.
    pub fn summary(self) -> &'static str {
        self.spec().summary
    }

    /// What is read and how it is named, in Markdown; goes on after [`SourceKind::summary`].
    pub fn details(self) -> &'static str {
        self.spec().details
    }

    /// The cargo feature of this crate that it needs.
    pub fn feature(self) -> Option<&'static str> {
        self.spec().feature
    }

    /// Whether this build can open it.
    pub fn is_available(self) -> bool {
        self.spec().open.is_some()
    }

    /// The forms of all kinds in one line, for messages and help texts.
    pub fn forms() -> String {
        let forms: Vec<String> = Self::ALL.iter().map(|kind| kind.form()).collect();
        forms.join(", ")
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
