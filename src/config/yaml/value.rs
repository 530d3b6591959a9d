//! The second reading of a YAML file: its values, by serde_yaml, as a tree that parts can be taken out of.
//!
//! Both readings must see the same document; where two YAML parsers disagree about a text, nobody can say what its author
//! meant, and it is refused.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::path::{Step, YamlPath};
use super::positions::{Kind, Positions};

/// A value of the file.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::config) enum Tree {
    /// No value, or one that was taken out because of a mistake in it.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number from 0.
    Unsigned(u64),
    /// A whole number below 0.
    Signed(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Tree>),
    /// A map; of two equal keys the first (`positions` has reported the second).
    Map(BTreeMap<String, Tree>),
}

impl Tree {
    /// Takes the value at a place out. A map loses the key; a list keeps an empty item, so that later ones keep their
    /// number. Says whether anything was there.
    pub(in crate::config) fn prune(&mut self, place: &YamlPath) -> bool {
        let Some((last, above)) = place.steps().split_last() else { return false };
        let mut node = self;
        for step in above {
            let below = match (node, step) {
                (Self::Map(map), Step::Key(key)) => map.get_mut(&**key),
                (Self::List(list), Step::Index(index)) => list.get_mut(*index),
                _ => None,
            };
            match below {
                Some(below) => node = below,
                None => return false,
            }
        }
        match (node, last) {
            (Self::Map(map), Step::Key(key)) => map.remove(&**key).is_some(),
            (Self::List(list), Step::Index(index)) => match list.get_mut(*index) {
                Some(item) => std::mem::replace(item, Self::Null) != Self::Null,
                None => false,
            },
            _ => false,
        }
    }

    /// The places that have no value.
    pub(in crate::config) fn nulls(&self) -> Vec<YamlPath> {
        let mut found = Vec::new();
        self.walk(&YamlPath::default(), &mut |place, tree| {
            if *tree == Self::Null {
                found.push(place.clone());
            }
        });
        found
    }

    /// Whether the first reading saw the same document.
    pub(in crate::config) fn agrees_with(&self, positions: &Positions) -> bool {
        let (mut count, mut equal) = (0, true);
        self.walk(&YamlPath::default(), &mut |place, tree| {
            count += 1;
            equal &= match (tree, positions.kind(place)) {
                (Self::List(_), Some(Kind::List)) | (Self::Map(_), Some(Kind::Map)) => true,
                (Self::List(_) | Self::Map(_), _) => false,
                (Self::Text(text), Some(Kind::Scalar(spelled))) => **text == **spelled,
                (_, Some(Kind::Scalar(_))) => true,
                (_, _) => false,
            };
        });
        equal && count == positions.len()
    }

    fn walk(&self, place: &YamlPath, visit: &mut impl FnMut(&YamlPath, &Self)) {
        visit(place, self);
        match self {
            Self::List(list) => {
                list.iter().enumerate().for_each(|(i, item)| item.walk(&place.index(i), visit));
            }
            Self::Map(map) => map.iter().for_each(|(key, item)| item.walk(&place.key(key), visit)),
            _ => {}
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plain YAML value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(u64::try_from(value).map_or(Tree::Signed(value), Tree::Unsigned))
    }

    /// Too large for any number that the file may hold; kept, so that the message says where it stands.
    fn visit_u128<E>(self, value: u128) -> Result<Tree, E> {
        Ok(Tree::Float(value as f64))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Tree, E> {
        Ok(Tree::Float(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, value)) = entries.next_entry::<String, Tree>()? {
            map.entry(key).or_insert(value);
        }
        Ok(Tree::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml::positions::scan;

    #[test]
    fn both_readings_of_ordinary_yaml_agree() {
        for text in [
            "a: 1\nb: [x, 'y', \"z\\n\", 1.5, true, ~, -3]\nc: |\n  one\n  two\nd: >-\n  folded\n  text\n",
            "a: {b: {}, c: [], d: }\ne: 2026-11\nf: 10.0.0.1:80\n",
            "# only a comment\n---\nx: y\n",
        ] {
            let tree: Tree = serde_yaml::from_str(text).unwrap();
            assert!(tree.agrees_with(&scan(text).positions), "{text}");
        }
    }

    #[test]
    fn readings_that_differ_are_noticed() {
        let positions = scan("a: {b: x}\n").positions;
        for other in ["a: {b: y}\n", "a: [b]\n", "a: {b: x, c: 1}\n", "a: x\n"] {
            let tree: Tree = serde_yaml::from_str(other).unwrap();
            assert!(!tree.agrees_with(&positions), "{other}");
        }
    }

    #[test]
    fn pruning_keeps_the_numbers_of_later_items() {
        let mut tree: Tree = serde_yaml::from_str("a: [{x: 1}, {y: 2}]\n").unwrap();
        let a = YamlPath::default().key("a");
        assert!(tree.prune(&a.index(0)));
        assert!(tree.prune(&a.index(1).key("y")));
        assert!(!tree.prune(&a.index(1).key("y")));
        assert_eq!(tree, serde_yaml::from_str("a: [~, {}]\n").unwrap());
        assert_eq!(tree.nulls(), [a.index(0)]);
    }
}
