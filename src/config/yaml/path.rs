//! Where in a YAML file something stands: `routes[2].scopes`. Only the way there; lines and columns are in `marks`.

use std::fmt;
use std::sync::Arc;

/// One step down.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::config) enum Step {
    /// Into the value of a key. A key may hold dots and brackets, which is why a place is not a string.
    Key(Arc<str>),
    /// Into an item of a list, counted from 0.
    Index(usize),
}

/// The way from the root of a document to one value. The empty way is the document itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(in crate::config) struct YamlPath(Vec<Step>);

impl YamlPath {
    /// The place of the value under `key`.
    pub(in crate::config) fn key(&self, key: &str) -> Self {
        self.then(Step::Key(Arc::from(key)))
    }

    /// The place of the item at `index`.
    pub(in crate::config) fn index(&self, index: usize) -> Self {
        self.then(Step::Index(index))
    }

    /// One step further down.
    pub(in crate::config) fn then(&self, step: Step) -> Self {
        let mut steps = Vec::with_capacity(self.0.len() + 1);
        steps.extend_from_slice(&self.0);
        steps.push(step);
        Self(steps)
    }

    /// One step up; nothing above the document.
    pub(in crate::config) fn parent(&self) -> Option<Self> {
        let (_, above) = self.0.split_last()?;
        Some(Self(above.to_vec()))
    }

    /// The steps from the root.
    pub(in crate::config) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Whether this place is `other`, or stands somewhere below it.
    pub(in crate::config) fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// The place without its numbers, `clients[].networks`, to look it up in a table of names.
    pub(in crate::config) fn pattern(&self) -> String {
        let mut text = String::new();
        for step in &self.0 {
            match step {
                Step::Key(key) => join(&mut text, key),
                Step::Index(_) => text.push_str("[]"),
            }
        }
        text
    }
}

impl FromIterator<Step> for YamlPath {
    fn from_iter<I: IntoIterator<Item = Step>>(steps: I) -> Self {
        Self(steps.into_iter().collect())
    }
}

impl fmt::Display for YamlPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for step in &self.0 {
            match step {
                Step::Key(key) => join(&mut text, key),
                Step::Index(index) => text.push_str(&format!("[{index}]")),
            }
        }
        f.write_str(&text)
    }
}

/// Appends a key with its dot.
pub(in crate::config) fn join(text: &mut String, key: &str) {
    if !text.is_empty() {
        text.push('.');
    }
    text.extend(key.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_prints_as_operators_write_it() {
        let place = YamlPath::default().key("routes").index(2).key("scopes").key("any").index(0);
        assert_eq!(place.to_string(), "routes[2].scopes.any[0]");
        assert_eq!(place.pattern(), "routes[].scopes.any[]");
        assert!(place.is_within(&YamlPath::default().key("routes").index(2)));
        assert!(!place.is_within(&YamlPath::default().key("routes").index(1)));
    }
}
