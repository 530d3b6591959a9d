//! How the words of [`super`] are read that are more than one kind of YAML value: a duration, a size, a word, what a route demands.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{List, RawLimitMap, RawScopeSets};

/// A duration as text; a bare number is kept, so that `compile` can ask for the unit.
pub(in crate::config) struct Duration(pub(in crate::config) String);

/// A size as text; a bare number is kept, so that `compile` can ask for the unit.
pub(in crate::config) struct Size(pub(in crate::config) String);

/// A word; a number is a word too.
pub(in crate::config) struct Word(pub(in crate::config) String);

/// A limit of failures.
pub(in crate::config) enum RawLimit {
    /// One word: `off`.
    Word(String),
    /// The limit.
    Map(RawLimitMap),
}

/// What a route demands.
pub(in crate::config) enum RawScopes {
    /// `[a, b]`: all of them.
    List(List<String>),
    /// `{ any: […] }` or `{ all: […] }`.
    Map(RawScopeSets),
}

struct TextOrNumber(&'static str);

impl Visitor<'_> for TextOrNumber {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrNumber("a duration such as `15m`")).map(Self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrNumber("a size such as `10MiB`")).map(Self)
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrNumber("`allow` or a status")).map(Self)
    }
}

impl<'de> Deserialize<'de> for RawLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LimitVisitor;

        impl<'de> Visitor<'de> for LimitVisitor {
            type Value = RawLimit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`{ failures: …, within: …, ban: … }` or `off`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<RawLimit, E> {
                Ok(RawLimit::Word(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<RawLimit, A::Error> {
                RawLimitMap::deserialize(MapAccessDeserializer::new(entries)).map(RawLimit::Map)
            }
        }

        deserializer.deserialize_any(LimitVisitor)
    }
}

impl<'de> Deserialize<'de> for RawScopes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScopesVisitor;

        impl<'de> Visitor<'de> for ScopesVisitor {
            type Value = RawScopes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of scopes, `{ any: […] }` or `{ all: […] }`")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<RawScopes, A::Error> {
                List::deserialize(SeqAccessDeserializer::new(items)).map(RawScopes::List)
            }

            fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<RawScopes, A::Error> {
                RawScopeSets::deserialize(MapAccessDeserializer::new(entries)).map(RawScopes::Map)
            }
        }

        deserializer.deserialize_any(ScopesVisitor)
    }
}
