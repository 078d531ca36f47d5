//! Reads the pool of a strong policy: the name of one of the two known ones, or a list of operations.

use std::fmt;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::StrongOp;

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<StrongOp>, D::Error> {
    deserializer.deserialize_any(Pool)
}

// Not an untagged enumeration, which would not say which operation is wrong.
struct Pool;

impl<'de> Visitor<'de> for Pool {
    type Value = Vec<StrongOp>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"paper\", \"extended\" or a list of operations")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Vec<StrongOp>, E> {
        match name {
            "paper" => Ok(StrongOp::PAPER.to_vec()),
            "extended" => Ok(StrongOp::EXTENDED.to_vec()),
            _ => Err(E::invalid_value(Unexpected::Str(name), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<StrongOp>, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list))
    }
}
