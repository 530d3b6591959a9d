//! Patterns as a tree of segments, each with the values that are filed under it.
//!
//! Literals are filed without regard to case, so that one walk serves applications that fold it and those that do not: whoever
//! asks says which values count.

use std::collections::HashMap;

use crate::route::fold::folded;
use crate::route::pattern::{PathPattern, Segment};

/// A node and all below it.
#[derive(Debug)]
pub(super) struct Tree<T> {
    literals: HashMap<String, Self>,
    param: Option<Box<Self>>,
    exact: Vec<T>,
    rest: Vec<T>,
}

impl<T> Default for Tree<T> {
    fn default() -> Self {
        Self { literals: HashMap::new(), param: None, exact: Vec::new(), rest: Vec::new() }
    }
}

impl<T> Tree<T> {
    /// Files a value under a pattern.
    pub(super) fn insert(&mut self, pattern: &PathPattern, value: T) {
        let mut node = self;
        for segment in pattern.segments() {
            node = match segment {
                Segment::Literal(text) => {
                    node.literals.entry(folded(text).into_owned()).or_default()
                }
                Segment::Param(_) => node.param.get_or_insert_default(),
            };
        }
        let leaf = if pattern.is_open() { &mut node.rest } else { &mut node.exact };
        leaf.push(value);
    }

    /// The values of the most specific pattern that matches the folded path and has one that counts. Every node is looked at
    /// once at most, since a tree has one way to each.
    pub(super) fn find(&self, path: Option<&str>, counts: &impl Fn(&T) -> bool) -> Option<&[T]> {
        let some = |leaf: &'_ [T]| leaf.iter().any(counts);
        let rest = || Some(&*self.rest).filter(|leaf| some(leaf));
        let Some(path) = path else {
            return Some(&*self.exact).filter(|leaf| some(leaf)).or_else(rest);
        };
        let (segment, below) = first_segment(path);
        self.literals
            .get(segment)
            .and_then(|node| node.find(below, counts))
            .or_else(|| self.param_for(segment).and_then(|node| node.find(below, counts)))
            .or_else(rest)
    }

    /// The values of every pattern that matches the folded path, the most specific first, one slice for each pattern.
    pub(super) fn collect<'a>(&'a self, path: Option<&str>, found: &mut Vec<&'a [T]>) {
        if let Some(path) = path {
            let (segment, below) = first_segment(path);
            for node in self.literals.get(segment).into_iter().chain(self.param_for(segment)) {
                node.collect(below, found);
            }
        } else {
            found.push(&self.exact);
        }
        found.push(&self.rest);
    }

    /// No empty segment is a parameter.
    fn param_for(&self, segment: &str) -> Option<&Self> {
        self.param.as_deref().filter(|_| !segment.is_empty())
    }
}

/// The path without its first and, if any, its last slash; `None` for the root. So an exact `/x` covers `/x/`.
pub(super) fn relative(path: &str) -> Option<&str> {
    let inner = path.strip_prefix('/').unwrap_or(path);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    if inner.is_empty() && path.len() < 2 { None } else { Some(inner) }
}

fn first_segment(path: &str) -> (&str, Option<&str>) {
    path.split_once('/').map_or((path, None), |(segment, below)| (segment, Some(below)))
}
