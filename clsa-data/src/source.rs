//! A source of images, named by one string `KIND:PATH`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use crate::address;
use crate::dataset::Dataset;
use crate::decode::Limits;
use crate::error::{DataError, Fault, NoSplit};
use crate::joined::Joined;
use crate::sources::procedural::ProceduralOptions;
use crate::sources::{Argument, SourceKind, parquet};
use crate::split::Split;

/// Where images come from. Parsed from, and displayed as, one string; [`SourceKind`] lists the forms. Several are joined by `+`,
/// as in `imagefolder:/data/a+flat:/data/b`: their images are those of the first, then those of the second.
///
/// # Examples
/// ```
/// use clsa_data::{DataError, Source, SourceKind, Split};
///
/// let source: Source = "procedural:classes=4,train=40".parse()?;
/// assert_eq!(source.parts()[0].kind, SourceKind::Procedural);
/// let train = source.open(Split::Train)?;
/// assert_eq!((train.len(), train.class_names().len()), (40, 4));
/// assert_eq!(train.image(0)?.dimensions(), (32, 32));
///
/// let missing: Source = "imagefolder:/no/such/folder".parse()?;
/// let error = missing.open(Split::Train).err().unwrap();
/// assert_eq!(error.to_string(), "/no/such/folder: is not a folder that can be read");
///
/// assert!(matches!("imagenet:/data".parse::<Source>(), Err(DataError::UnknownKind { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// At least one.
    parts: Vec<SourcePart>,
}

/// One of the sources that a [`Source`] joins.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct SourcePart {
    /// The kind.
    pub kind: SourceKind,
    /// What stands behind the colon: a path, a pattern, or all options.
    pub argument: String,
}

impl SourcePart {
    /// `text` is what the user wrote.
    fn checked(kind: SourceKind, argument: &str, text: impl FnOnce() -> String) -> Result<Self, DataError> {
        let text = || without_secrets(&text());
        let argument = match kind.spec().argument {
            Argument::Place(_) | Argument::Objects(_) if argument.is_empty() => {
                return Err(DataError::NoPath { text: text(), form: kind.form() });
            }
            Argument::Place(_) | Argument::Objects(_) => {
                let refused = |reason: String| DataError::Options { text: text(), reason };
                check_address(kind, argument).and_then(|()| with_home(argument)).map_err(refused)?
            }
            Argument::Options(in_full) => {
                in_full(argument).map_err(|reason| DataError::Options { text: text(), reason })?
            }
        };
        Ok(Self { kind, argument })
    }

    fn open(&self, split: Split, limits: Limits) -> Result<Arc<dyn Dataset>, DataError> {
        let spec = self.kind.spec();
        let off = |feature| DataError::FeatureOff { text: self.to_string(), feature };
        if address::is_address(&self.argument) && !cfg!(feature = "remote") {
            return Err(off("remote"));
        }
        match spec.open {
            Some(open) => open(&self.argument, split, limits),
            None => Err(off(spec.feature.unwrap_or_default())),
        }
    }
}

impl Source {
    /// A source of `kind` with what stands behind the colon: a path, a pattern or options. A `~/` that begins it is the home
    /// folder.
    ///
    /// # Errors
    /// [`DataError::NoPath`] or [`DataError::Options`]; whether the path exists is only known when it is opened.
    ///
    /// # Examples
    /// ```
    /// use clsa_data::{Source, SourceKind};
    ///
    /// let source = Source::new(SourceKind::Flat, "/data/photographs")?;
    /// assert_eq!(source.to_string(), "flat:/data/photographs");
    /// # Ok::<(), clsa_data::DataError>(())
    /// ```
    pub fn new(kind: SourceKind, argument: &str) -> Result<Self, DataError> {
        Ok(Self { parts: vec![SourcePart::checked(kind, argument, || format!("{kind}:{argument}"))?] })
    }

    /// The sources that it joins, in order; at least one.
    pub fn parts(&self) -> &[SourcePart] {
        &self.parts
    }

    /// Opens a split with the default [`Limits`].
    ///
    /// # Errors
    /// [`DataError`] if the source is wrong as a whole or has no such split; the message names the path.
    pub fn open(&self, split: Split) -> Result<Arc<dyn Dataset>, DataError> {
        self.open_with(split, Limits::default())
    }

    /// Opens a split; samples beyond `limits` will be bad samples.
    ///
    /// # Errors
    /// As for [`Source::open`].
    pub fn open_with(&self, split: Split, limits: Limits) -> Result<Arc<dyn Dataset>, DataError> {
        match &self.parts[..] {
            [part] => part.open(split, limits),
            _ => {
                let train = self.joined_train(limits)?;
                match split {
                    Split::Train => Ok(Arc::new(train)),
                    Split::Test => Ok(Arc::new(self.joined_test(&train, limits)?)),
                }
            }
        }
    }

    /// The training images of all parts.
    fn joined_train(&self, limits: Limits) -> Result<Joined, DataError> {
        Joined::new(self.parts.iter().map(|part| part.open(Split::Train, limits)).collect::<Result<_, _>>()?)
    }

    /// The test images of the parts that have some, with the classes of the joined training images.
    fn joined_test(&self, train: &Joined, limits: Limits) -> Result<Joined, DataError> {
        let mut opened = Vec::new();
        let mut lacking = None;
        for part in &self.parts {
            match part.open(Split::Test, limits) {
                Ok(test) => opened.push(test),
                Err(DataError::NoSplit(none)) => lacking = Some(none),
                Err(error) => return Err(error),
            }
        }
        match lacking {
            Some(none) if opened.is_empty() => Err(none.into()),
            Some(_) | None => train.with_classes_of(opened),
        }
    }

    /// Opens every split that the source has.
    ///
    /// # Errors
    /// [`DataError`] if the source has no training split, or one that is wrong as a whole. A test split that is wrong, or gives
    /// a class another name, is an error; one that does not exist is not.
    pub fn open_splits(&self, limits: Limits) -> Result<Splits, DataError> {
        let (train, test): (Arc<dyn Dataset>, Result<Arc<dyn Dataset>, DataError>) = match &self.parts[..] {
            [part] => (part.open(Split::Train, limits)?, part.open(Split::Test, limits)),
            // Training images are opened once, though the classes of the test images are theirs.
            _ => {
                let train = self.joined_train(limits)?;
                let test = self.joined_test(&train, limits);
                (Arc::new(train), test.map(|test| Arc::new(test) as _))
            }
        };
        let test = match test {
            Ok(test) => {
                check_names(train.as_ref(), test.as_ref())?;
                Ok(test)
            }
            Err(DataError::NoSplit(none)) => Err(none),
            Err(error) => return Err(error),
        };
        Ok(Splits { train, test })
    }
}

/// Whether two texts name the same source, however it is written: with or without options that have their usual value, by one path to a
/// place or another.
///
/// # Examples
/// ```
/// use clsa_data::are_same;
///
/// assert!(are_same("procedural", "procedural:seed=0"));
/// assert!(are_same("flat:.", "flat:./"));
/// assert!(!are_same("flat:.", "imagefolder:."));
/// ```
pub fn are_same(a: &str, b: &str) -> bool {
    let places = |text: &str| -> Option<Vec<(SourceKind, PathBuf)>> {
        let source: Source = text.parse().ok()?;
        let place = |part: &SourcePart| {
            let named = PathBuf::from(&part.argument);
            (part.kind, named.canonicalize().unwrap_or(named))
        };
        Some(source.parts().iter().map(place).collect())
    };
    a == b || places(a).is_some_and(|of_a| places(b) == Some(of_a))
}

/// Checks that a class has one name in both splits. Its number, where one of them has no name for it, is no other name.
fn check_names(train: &dyn Dataset, test: &dyn Dataset) -> Result<(), DataError> {
    let both = train.class_names().iter().zip(test.class_names()).enumerate();
    for (class, (train, name)) in both {
        if name != train && ![name, train].contains(&&class.to_string()) {
            let reason = format!(
                "class {class} is `{name}` here, and `{train}` in the training images; name classes alike in both"
            );
            return Err(Fault::Labels.at(test.name(0), reason));
        }
    }
    Ok(())
}

/// Checks an argument that is an address on another machine. An error is a reason.
fn check_address(kind: SourceKind, argument: &str) -> Result<(), String> {
    if !address::is_address(argument) {
        return Ok(());
    }
    let pattern = if kind == SourceKind::Parquet { parquet::split_options(argument).0 } else { argument };
    match kind.spec().argument {
        Argument::Objects(_) => address::check(pattern, address::allows_http()),
        Argument::Place(_) | Argument::Options(_) => {
            let kinds = SourceKind::ALL.iter().filter(|kind| matches!(kind.spec().argument, Argument::Objects(_)));
            let kinds: Vec<&str> = kinds.map(|kind| kind.name()).collect();
            Err(format!("is on another machine, from which only {} are read; copy it to this one", kinds.join(" and ")))
        }
    }
}

/// The argument with the home folder for a `~` that begins it, which shells leave alone behind a colon. An error is a reason.
fn with_home(argument: &str) -> Result<String, String> {
    let is_whole = |rest: &&str| rest.is_empty() || rest.starts_with(std::path::is_separator);
    let Some(rest) = argument.strip_prefix('~').filter(is_whole) else { return Ok(argument.into()) };
    match std::env::home_dir().and_then(|home| home.into_os_string().into_string().ok()) {
        Some(home) if !home.is_empty() => Ok(home + rest),
        _ => Err("begins with `~`, but the system names no home folder; write the path in full".into()),
    }
}

/// The splits that a source has: [`Source::open_splits`] returns them, and a program with data sets of its own fills them
/// in.
pub struct Splits {
    /// The training split.
    pub train: Arc<dyn Dataset>,
    /// The test split, or the reason why there is none.
    pub test: Result<Arc<dyn Dataset>, NoSplit>,
}

impl Splits {
    /// Every split that there is.
    pub fn iter(&self) -> impl Iterator<Item = (Split, &Arc<dyn Dataset>)> {
        let test = self.test.as_ref().ok();
        std::iter::once((Split::Train, &self.train)).chain(test.map(|test| (Split::Test, test)))
    }
}

impl FromStr for Source {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let parse = |part: &str| {
            let (name, argument) = part.split_once(':').unwrap_or((part, ""));
            match SourceKind::named(name) {
                Some(kind) => SourcePart::checked(kind, argument, || text.into()),
                None => Err(DataError::UnknownKind { text: without_secrets(text), forms: SourceKind::forms() }),
            }
        };
        Ok(Self { parts: parts(text).into_iter().map(parse).collect::<Result<_, _>>()? })
    }
}

/// The text of a source for messages.
fn without_secrets(text: &str) -> String {
    parts(text).into_iter().map(address::without_secrets).collect::<Vec<_>>().join("+")
}

/// The texts that are joined: a `+` joins where a kind follows it, and is a part of a path elsewhere.
fn parts(text: &str) -> Vec<&str> {
    let begins_with_kind = |rest: &str| {
        let name = rest.split([':', '+']).next().unwrap_or_default();
        let is_whole = rest.len() == name.len() || rest[name.len()..].starts_with('+');
        SourceKind::named(name).is_some_and(|kind| match kind.spec().argument {
            Argument::Place(_) | Argument::Objects(_) => !is_whole,
            Argument::Options(_) => true,
        })
    };
    let mut parts = Vec::new();
    let mut start = 0;
    for (at, _) in text.match_indices('+').filter(|(at, _)| begins_with_kind(&text[at + 1..])) {
        parts.push(&text[start..at]);
        start = at + 1;
    }
    parts.push(&text[start..]);
    parts
}

impl From<ProceduralOptions> for Source {
    fn from(options: ProceduralOptions) -> Self {
        Self { parts: vec![SourcePart { kind: SourceKind::Procedural, argument: options.to_string() }] }
    }
}

impl fmt::Display for SourcePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.argument)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, part) in self.parts.iter().enumerate() {
            write!(f, "{}{part}", if number == 0 { "" } else { "+" })?;
        }
        Ok(())
    }
}
