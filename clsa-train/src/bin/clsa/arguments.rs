//! How arguments are read: values that have names, and the arguments of a command of this program that another one runs.

use crate::failure::{Failure, request};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Command, FromArgMatches};
use serde::de::{DeserializeOwned, IntoDeserializer, value};
use std::ffi::OsString;

/// One of these values, by the names that a configuration has for them.
pub fn one_of<T>(names: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(names).try_map(|name| {
        let name: value::StrDeserializer<'_, value::Error> = name.as_str().into_deserializer();
        T::deserialize(name)
    })
}

/// The arguments of another command of this program.
pub fn parsed<A: clap::Args + FromArgMatches>(
    command: &'static str,
    words: &[OsString],
    options: &[(&str, OsString)],
) -> Result<A, Failure> {
    let options = options.iter().flat_map(|(name, value)| [OsString::from(name), value.clone()]);
    let arguments = [OsString::from(command)].into_iter().chain(words.iter().cloned()).chain(options);
    let matches = A::augment_args(Command::new(command)).try_get_matches_from(arguments);
    let parsed = matches.and_then(|matches| A::from_arg_matches(&matches));
    parsed.map_err(|error| request(error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ")))
}
