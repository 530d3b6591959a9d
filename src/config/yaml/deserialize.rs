//! From the tree to the typed mirror of the file, finding every mistake of shape: unknown keys and wrong kinds of value.
//!
//! serde stops at the first error. So the value at fault is taken out of the tree, and the reading starts again, until it
//! ends. Our own deserializer and error type keep what went wrong as data; and neither ever repeats a value, which might
//! be a secret in the wrong place.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, Deserialize, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use serde_path_to_error::Segment;

use super::path::{Step, YamlPath};
use super::value::Tree;

/// How many mistakes of shape are worth showing; each costs one more reading.
const MAX_FAULTS: usize = 100;

/// One mistake of shape.
#[derive(Debug)]
pub(in crate::config) struct ShapeFault {
    /// Where; for an unknown key the place it would have.
    pub(in crate::config) place: YamlPath,
    pub(in crate::config) error: ShapeError,
}

/// Reads `T`, taking out of the tree whatever does not fit. `None` when nothing is left to read.
pub(in crate::config) fn read<T: for<'de> Deserialize<'de>>(
    tree: &mut Tree,
) -> (Option<T>, Vec<ShapeFault>) {
    let mut faults = Vec::new();
    while faults.len() < MAX_FAULTS {
        let failure = match serde_path_to_error::deserialize::<_, T>(&*tree) {
            Ok(value) => return (Some(value), faults),
            Err(failure) => failure,
        };
        let steps = failure.path().iter().filter_map(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(key.as_str().into())),
            Segment::Enum { .. } | Segment::Unknown => None,
        });
        let mut place: YamlPath = steps.collect();
        let error = failure.into_inner();
        if let ShapeError::UnknownKey { key, .. } = &error {
            let named = Step::Key(key.as_str().into());
            if place.steps().last() != Some(&named) || !tree.has(&place) {
                place = place.then(named);
            }
        }
        let pruned = tree.prune(&place);
        faults.push(ShapeFault { place, error });
        if !pruned {
            break;
        }
    }
    (None, faults)
}

/// Why a value does not fit.
#[derive(Debug, thiserror::Error)]
pub(in crate::config) enum ShapeError {
    /// A key that the map does not have.
    #[error("unknown key `{key}`")]
    UnknownKey { key: String, known: &'static [&'static str] },
    /// The wrong kind of value.
    #[error("expected {expected}, found {found}")]
    Kind { expected: String, found: &'static str },
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl de::Error for ShapeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Other(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Bool(_) => "true or false",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => "a number",
            Unexpected::Str(_) | Unexpected::Char(_) => "text",
            Unexpected::Seq => "a list",
            Unexpected::Map => "a map",
            _ => "something else",
        };
        let expected = match expected.to_string().as_str() {
            "a string" => "text".to_owned(),
            "a boolean" => "true or false".to_owned(),
            "a sequence" => "a list".to_owned(),
            number if number.starts_with(['u', 'i']) => "a whole number".to_owned(),
            other => other.to_owned(),
        };
        Self::Kind { expected, found }
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        match Self::invalid_type(Unexpected::Other(""), expected) {
            Self::Kind { expected, .. } => Self::Kind { expected, found: "one out of range" },
            other => other,
        }
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::UnknownKey { key: key.to_owned(), known }
    }
}

impl Tree {
    fn has(&self, place: &YamlPath) -> bool {
        let found = place.steps().iter().try_fold(self, |node, step| match (node, step) {
            (Self::Map(map), Step::Key(key)) => map.get(&**key),
            (Self::List(list), Step::Index(index)) => list.get(*index),
            _ => None,
        });
        found.is_some()
    }

    fn unexpected(&self) -> Unexpected<'_> {
        match self {
            Self::Null => Unexpected::Unit,
            Self::Bool(value) => Unexpected::Bool(*value),
            Self::Unsigned(value) => Unexpected::Unsigned(*value),
            Self::Signed(value) => Unexpected::Signed(*value),
            Self::Float(value) => Unexpected::Float(*value),
            Self::Text(text) => Unexpected::Str(text),
            Self::List(_) => Unexpected::Seq,
            Self::Map(_) => Unexpected::Map,
        }
    }
}

impl<'de> IntoDeserializer<'de, ShapeError> for &'de Tree {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for &'de Tree {
    type Error = ShapeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        match self {
            Tree::Null => visitor.visit_unit(),
            Tree::Bool(value) => visitor.visit_bool(*value),
            Tree::Unsigned(value) => visitor.visit_u64(*value),
            Tree::Signed(value) => visitor.visit_i64(*value),
            Tree::Float(value) => visitor.visit_f64(*value),
            Tree::Text(text) => visitor.visit_borrowed_str(text),
            Tree::List(list) => visitor.visit_seq(SeqDeserializer::new(list.iter())),
            Tree::Map(map) => {
                let entries = map.iter().map(|(key, value)| (key.as_str(), value));
                visitor.visit_map(MapDeserializer::new(entries))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        match self {
            Tree::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        visitor.visit_newtype_struct(self)
    }

    /// Unlike serde's default, a list is no struct: its fields would be read by their order.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        match self {
            Tree::Map(_) => self.deserialize_any(visitor),
            other => Err(de::Error::invalid_type(other.unexpected(), &visitor)),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields, expecting = "a map of settings")]
    struct Sample {
        name: Option<String>,
        items: Option<Vec<Option<Sample>>>,
        table: Option<BTreeMap<String, Option<u16>>>,
    }

    fn read_sample(text: &str) -> (Option<Sample>, Vec<String>) {
        let mut tree = serde_yaml::from_str(text).unwrap();
        let (sample, faults) = read(&mut tree);
        (sample, faults.iter().map(|f| format!("{}: {}", f.place, f.error)).collect())
    }

    #[test]
    fn every_mistake_of_shape_is_found_in_one_run() {
        let (sample, faults) = read_sample(
            "nmae: x\nname: 7\nitems: [{name: [a]}, 5, {itmes: [], items: {}}, {name: ok}]\n\
             table: {a: x, b: -1, c: 70000, d: 1}\n",
        );
        assert_eq!(
            faults,
            [
                "items[0].name: expected text, found a list",
                "items[1]: expected a map of settings, found a number",
                "items[2].items: expected a list, found a map",
                "items[2].itmes: unknown key `itmes`",
                "name: expected text, found a number",
                "nmae: unknown key `nmae`",
                "table.a: expected a whole number, found text",
                "table.b: expected a whole number, found one out of range",
                "table.c: expected a whole number, found one out of range",
            ]
        );
        let sample = sample.unwrap();
        assert_eq!(sample.table.unwrap(), BTreeMap::from([("d".to_owned(), Some(1))]));
        let items = sample.items.unwrap();
        assert_eq!(items.len(), 4);
        assert_eq!(items[3].as_ref().unwrap().name.as_deref(), Some("ok"));
    }

    #[test]
    fn an_unknown_key_named_like_its_parent_is_itself_at_fault() {
        let (_, faults) = read_sample("items: [{table: {a: 1}, name: x}]\nother: {other: 1}\n");
        assert_eq!(faults, ["other: unknown key `other`"]);
    }

    #[test]
    fn a_list_is_not_read_as_a_map_by_position() {
        let (sample, faults) = read_sample("[x, [], {}]");
        assert!(sample.is_none());
        assert_eq!(faults, [": expected a map of settings, found a list"]);
    }

    #[test]
    fn a_message_never_repeats_the_value() {
        let (_, faults) = read_sample("table: hunter2\nitems: hunter2\n");
        assert_eq!(faults.len(), 2);
        assert!(!faults.concat().contains("hunter2"));
    }
}
