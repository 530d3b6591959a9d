//! Strict JSON objects for JOSE headers and claims: whatever two readers could understand differently is refused.
//!
//! UTF-8 only, no byte order mark, nothing after the object, no member twice on any level however its name is escaped
//! (RFC 7515 section 4 and RFC 7519 section 4 leave it open, RFC 8725 does not settle it; we refuse), bounded depth and size.
//! What the members mean is read in `jws` and `claims`.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Objects and arrays inside each other; a token of ours has two levels.
const MAX_DEPTH: u8 = 8;
/// Members of one object. More than a token of the longest length has room for in practice: other issuers list a client, a
/// role or a group in each, and we have no use for them.
const MAX_MEMBERS: usize = 1024;
/// Up to so many members, repeats are looked for one by one; then in a set, so that the search stays cheap.
const FEW_MEMBERS: usize = 16;

/// Why a text is no object that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JsonFault {
    /// It is not one JSON object in UTF-8 and nothing else.
    Form,
    /// More than [`MAX_DEPTH`] objects and arrays inside each other.
    Depth,
    /// More than [`MAX_MEMBERS`] members in one object.
    Members,
    /// One member twice in an object.
    Repeated,
}

/// An object without repeated members.
#[derive(PartialEq)]
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

/// A value, told apart only as far as claims need it.
#[derive(PartialEq)]
pub(super) enum Value<'a> {
    String(Cow<'a, str>),
    /// A number without fraction and exponent, not negative, below 2^64.
    Integer(u64),
    Array(Vec<Self>),
    Object(Object<'a>),
    /// Null, booleans and all other numbers: nothing that we read has such a value.
    Other,
}

/// Without what it says: it comes from a token.
impl fmt::Debug for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({} members)", self.0.len())
    }
}

/// Its kind alone.
impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::String(_) => "String",
            Self::Integer(_) => "Integer",
            Self::Array(_) => "Array",
            Self::Object(_) => "Object",
            Self::Other => "Other",
        })
    }
}

impl<'a> Object<'a> {
    /// Reads the whole input as one object.
    ///
    /// # Errors
    /// [`JsonFault`] for anything else.
    pub(super) fn parse(input: &'a [u8]) -> Result<Self, JsonFault> {
        let text = std::str::from_utf8(input).map_err(|_| JsonFault::Form)?;
        let mut reader = serde_json::Deserializer::from_str(text);
        // The library's errors are texts; ours are told beside them.
        let fault = Cell::new(JsonFault::Form);
        let value = Strict { depth: 0, fault: &fault }.deserialize(&mut reader);
        let value = value.map_err(|_| fault.get())?;
        reader.end().map_err(|_| JsonFault::Form)?;
        match value {
            Value::Object(object) => Ok(object),
            _ => Err(JsonFault::Form),
        }
    }

    pub(super) fn member(&self, name: &str) -> Option<&Value<'a>> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// The member as text; `None` when it is absent or anything else.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.member(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }
}

#[derive(Clone, Copy)]
struct Strict<'f> {
    depth: u8,
    fault: &'f Cell<JsonFault>,
}

impl Strict<'_> {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(self.refuses(JsonFault::Depth));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn refuses<E: Error>(self, fault: JsonFault) -> E {
        self.fault.set(fault);
        E::custom("refused")
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value<'de>, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value<'de>, E> {
        Ok(Value::Integer(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::String(Cow::Owned(text.to_owned())))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::String(Cow::Borrowed(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value<'de>, A::Error> {
        let inner = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value<'de>, A::Error> {
        let inner = self.deeper()?;
        let mut object: Vec<(Cow<'de, str>, Value<'de>)> = Vec::new();
        let mut many: HashSet<Cow<'de, str>> = HashSet::new();
        while let Some(name) = members.next_key_seed(inner)? {
            let Value::String(name) = name else { return Err(A::Error::custom("no name")) };
            if object.len() == MAX_MEMBERS {
                return Err(self.refuses(JsonFault::Members));
            }
            if object.len() == FEW_MEMBERS {
                many.extend(object.iter().map(|(own, _)| own.clone()));
            }
            let repeated = if object.len() < FEW_MEMBERS {
                object.iter().any(|(own, _)| *own == name)
            } else {
                !many.insert(name.clone())
            };
            if repeated {
                return Err(self.refuses(JsonFault::Repeated));
            }
            object.push((name, members.next_value_seed(inner)?));
        }
        Ok(Value::Object(Object(object)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reads(text: &str) -> bool {
        Object::parse(text.as_bytes()).is_ok()
    }

    #[test]
    fn b9_duplicate_members_are_refused_on_every_level_however_escaped() {
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"{"sub":"x","s\u0075b":"y"}"#,
            r#"{"\u0073ub":"x","s\u0075b":"y"}"#,
            r#"{"x":{"a":1,"a":2}}"#,
            r#"{"x":[{"a":1,"\u0061":2}]}"#,
            r#"{"unknown":1,"unknown":2}"#,
        ] {
            assert!(!reads(bad), "{bad}");
        }
        assert!(reads(r#"{"a":1,"A":1,"b":{"a":1},"c":[{"a":1},{"a":2}]}"#));
        let escaped = Object::parse(br#"{"s\u0075b":"alice"}"#).unwrap();
        assert_eq!(escaped.text("sub"), Some("alice"));
    }

    #[test]
    fn b16_only_one_whole_object_in_utf_8_is_read() {
        for bad in [
            "",
            " ",
            "null",
            "[]",
            "\"x\"",
            "1",
            "{}{}",
            "{} x",
            "{}\0",
            "{",
            "\u{feff}{}",
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\udc00\ud800"}"#,
            r#"{"a":1e400}"#,
            r#"{"a":NaN}"#,
            r#"{"a":01}"#,
            r#"{"a":1,}"#,
            r#"{a:1}"#,
            "{'a':1}",
            "{\"a\":\"\n\"}",
            "{}//",
        ] {
            assert!(!reads(bad), "{bad:?}");
        }
        for bytes in
            [&b"{\"a\":\"\xff\"}"[..], b"{\"\xc0\xaf\":1}", b"\xff\xfe{\0}\0", b"\xef\xbb\xbf{}"]
        {
            assert_eq!(Object::parse(bytes), Err(JsonFault::Form), "{bytes:?}");
        }
        assert!(reads(" {\"a\" : \"\\ud83d\\ude00\u{e9}\"}\n"));
    }

    #[test]
    fn b16_deep_nesting_is_refused_and_costs_no_stack() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(reads(&nested(usize::from(MAX_DEPTH) - 1)));
        assert!(!reads(&nested(usize::from(MAX_DEPTH))));
        assert!(!reads(&nested(1_000_000)));
        assert!(!reads(&"{\"a\":".repeat(1_000_000)));
    }

    #[test]
    fn an_object_has_a_bounded_number_of_members() {
        let members = |count: usize| {
            let list: Vec<_> = (0..count).map(|i| format!("\"m{i}\":0")).collect();
            format!("{{{}}}", list.join(","))
        };
        assert!(reads(&members(MAX_MEMBERS)));
        let more = members(MAX_MEMBERS + 1);
        assert_eq!(Object::parse(more.as_bytes()), Err(JsonFault::Members));
    }

    // Part 4, item 28.
    #[test]
    fn what_is_refused_says_why_and_repeats_are_found_in_long_objects_too() {
        for count in [2, FEW_MEMBERS - 1, FEW_MEMBERS, FEW_MEMBERS + 1, 3 * FEW_MEMBERS] {
            for twice in [0, count / 2, count - 1] {
                let list: Vec<_> = (0..count).map(|i| format!("\"m{i}\":0")).collect();
                let list = list.join(",");
                assert!(reads(&format!("{{{list}}}")));
                let repeated = format!("{{{list},\"\\u006d{twice}\":0}}");
                let read = Object::parse(repeated.as_bytes());
                assert_eq!(read, Err(JsonFault::Repeated), "{repeated}");
            }
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(9), "]".repeat(9));
        assert_eq!(Object::parse(deep.as_bytes()), Err(JsonFault::Depth));
        assert_eq!(Object::parse(b"{\"a\":1,}"), Err(JsonFault::Form));
    }

    #[test]
    fn only_plain_non_negative_integers_are_integers() {
        let object = Object::parse(
            br#"{"a":7,"b":-1,"c":7.0,"d":7e0,"e":18446744073709551616,"f":"7","g":true}"#,
        )
        .unwrap();
        assert_eq!(object.member("a"), Some(&Value::Integer(7)));
        for name in ["b", "c", "d", "e", "g"] {
            assert_eq!(object.member(name), Some(&Value::Other), "{name}");
        }
        assert_eq!(object.member("f"), Some(&Value::String("7".into())));
    }

    proptest! {
        /// Stricter than the library, never laxer, and of one mind with it about what is read.
        #[test]
        fn what_is_read_is_what_the_library_reads(
            text in r#"\{("[ab]":("x"|[0-9]{1,3}|-1|null|\[\]|\{\})?,?){0,4}\}?"#,
        ) {
            let library = serde_json::from_str::<serde_json::Value>(&text).ok();
            if let Ok(object) = Object::parse(text.as_bytes()) {
                let library = library.unwrap();
                prop_assert_eq!(object.0.len(), library.as_object().unwrap().len());
                for (name, value) in &object.0 {
                    let same = &library[name.as_ref()];
                    match value {
                        Value::String(own) => prop_assert_eq!(Some(own.as_ref()), same.as_str()),
                        Value::Integer(own) => prop_assert_eq!(Some(*own), same.as_u64()),
                        Value::Array(_) => prop_assert!(same.is_array()),
                        Value::Object(_) => prop_assert!(same.is_object()),
                        Value::Other => prop_assert!(same.is_null() || same.as_i64() == Some(-1)),
                    }
                }
            }
        }
    }
}
