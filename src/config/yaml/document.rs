//! One YAML file, read twice and shaped: what the configuration and the user file have in common.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::deserialize::{self, ShapeError, ShapeFault};
use super::path::{Step, YamlPath, join};
use super::positions::{self, Position, Positions};
use super::problem::{Problem, nearest, suggestion};
use super::value::Tree;
use crate::config::raw::reserved;

/// The longest file, in bytes.
pub(in crate::config) const MAX_FILE_BYTES: usize = 1024 * 1024;

/// How many missing values are worth showing.
const MAX_NULLS: usize = 100;

/// A file under examination, and everything that was said about it so far.
pub(in crate::config) struct Document {
    file: PathBuf,
    positions: Positions,
    /// What was taken out: nothing is required there any more.
    pruned: BTreeSet<YamlPath>,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Document {
    /// Reads a file's bytes as `T`. There is no `T` when the text is no plain YAML at all.
    pub(in crate::config) fn read<T>(file: &Path, bytes: &[u8]) -> (Self, Option<T>)
    where
        T: for<'de> Deserialize<'de>,
    {
        let mut document = Self::new(file);
        let value = document.parse(bytes).and_then(|tree| document.shape(tree));
        (document, value)
    }

    /// What is left when the findings were taken.
    pub(in crate::config) fn empty() -> Self {
        Self::new(Path::new(""))
    }

    fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            positions: Positions::default(),
            pruned: BTreeSet::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn parse(&mut self, bytes: &[u8]) -> Option<Tree> {
        let root = YamlPath::default();
        if bytes.len() > MAX_FILE_BYTES {
            self.error(&root, format!("the file is larger than {MAX_FILE_BYTES} bytes"));
            return None;
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            self.error(&root, "the file is not UTF-8");
            return None;
        };
        // YAML 1.2.2 section 5.2: a byte order mark may begin the stream. No editor counts it as a column.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let scan = positions::scan(text);
        self.positions = scan.positions;
        for fault in scan.faults {
            let hint = fault.hint.map(str::to_owned);
            let problem = self.problem(fault.position, &fault.place, fault.message, hint);
            self.errors.push(problem);
        }
        if !scan.readable {
            return None;
        }
        // Nothing at all: `compile` says what has to be there.
        if self.positions.len() == 0 {
            return Some(Tree::Map(Default::default()));
        }
        match serde_yaml::from_str::<Tree>(text) {
            Ok(tree) if tree.agrees_with(&self.positions) => Some(tree),
            Ok(_) => {
                let message = "this YAML can be read in more than one way";
                self.error_with(&root, message, Some("write it more plainly".into()));
                None
            }
            Err(error) => {
                let place = error.location();
                let position = place.map_or(Position::START, |place| Position {
                    line: place.line(),
                    column: place.column(),
                });
                // serde_yaml's own text may repeat a value of the file.
                let problem = self.problem(position, &root, "this is no YAML".into(), None);
                self.errors.push(problem);
                None
            }
        }
    }

    fn shape<T: for<'de> Deserialize<'de>>(&mut self, mut tree: Tree) -> Option<T> {
        let nulls = tree.nulls();
        let too_many = nulls.len() > MAX_NULLS;
        for place in nulls.into_iter().take(MAX_NULLS) {
            self.error_with(&place, "there is no value", Some("leave the key out?".into()));
            self.pruned.insert(place);
        }
        if too_many {
            return None;
        }
        let (value, faults) = deserialize::read(&mut tree);
        for fault in faults {
            self.take(fault);
        }
        value
    }

    fn take(&mut self, fault: ShapeFault) {
        let ShapeFault { place, error } = fault;
        let mut position = self.positions.position(&place);
        let mut message = error.to_string();
        let mut shown = place.clone();
        let hint = match &error {
            ShapeError::UnknownKey { key, known } => {
                position = self.positions.key_position(&place);
                shown = place.parent().unwrap_or_default();
                match reserved::message(&place, key) {
                    Some(reserved) => {
                        message = reserved;
                        None
                    }
                    None => suggestion(key, known.iter().copied()),
                }
            }
            ShapeError::Kind { expected, found } if expected == "text" => {
                matches!(*found, "a number" | "true or false").then(|| "put it in quotes".into())
            }
            ShapeError::Kind { .. } | ShapeError::Other(_) => None,
        };
        let problem = self.problem(position, &shown, message, hint);
        self.errors.push(problem);
        self.pruned.insert(place);
    }

    /// Notes an error.
    pub(in crate::config) fn error(&mut self, place: &YamlPath, message: impl Into<String>) {
        self.error_with(place, message, None);
    }

    /// Notes an error, and what to do about it.
    pub(in crate::config) fn error_with(
        &mut self,
        place: &YamlPath,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        let problem = self.problem(self.positions.position(place), place, message.into(), hint);
        self.errors.push(problem);
    }

    /// Notes a warning, and what to do about it.
    pub(in crate::config) fn warn(
        &mut self,
        place: &YamlPath,
        message: impl Into<String>,
        hint: Option<&str>,
    ) {
        let hint = hint.map(str::to_owned);
        let problem = self.problem(self.positions.position(place), place, message.into(), hint);
        self.warnings.push(problem);
    }

    /// A value that must be there; says so when it is not, unless a mistake that was reported took it out.
    pub(in crate::config) fn require<T>(
        &mut self,
        value: Option<T>,
        place: &YamlPath,
    ) -> Option<T> {
        if value.is_none() && !self.is_pruned(place) {
            let parent = place.parent().unwrap_or_default();
            let name = match place.steps().last() {
                Some(Step::Key(key)) => key.as_ref(),
                _ => "a value",
            };
            self.error(&parent, format!("`{name}` is required"));
        }
        value
    }

    /// Whether a mistake that was already reported explains that there is nothing at this place: it stood there, or
    /// above, or is what the key was misspelt as.
    pub(in crate::config) fn is_pruned(&self, place: &YamlPath) -> bool {
        let misspelt = |pruned: &YamlPath| match (pruned.steps().last(), place.steps().last()) {
            (Some(Step::Key(found)), Some(Step::Key(wanted))) => {
                pruned.parent() == place.parent() && nearest(found, [&**wanted]).is_some()
            }
            _ => false,
        };
        self.pruned.iter().any(|pruned| place.is_within(pruned) || misspelt(pruned))
    }

    /// The line where a value stands.
    pub(in crate::config) fn line(&self, place: &YamlPath) -> usize {
        self.positions.position(place).line
    }

    /// Whether the file has a value at this place.
    pub(in crate::config) fn has(&self, place: &YamlPath) -> bool {
        self.positions.kind(place).is_some()
    }

    /// The keys of a map, also of those whose value was refused.
    pub(in crate::config) fn keys(&self, place: &YamlPath) -> impl Iterator<Item = &str> {
        self.positions.keys(place)
    }

    /// Whether anything was refused so far.
    pub(in crate::config) fn is_refused(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Takes over what was said about another file, which this one names.
    pub(in crate::config) fn absorb(&mut self, other: Self) {
        self.errors.extend(other.errors);
        self.warnings.extend(other.warnings);
    }

    /// Everything that was said: errors, then warnings.
    pub(in crate::config) fn into_findings(self) -> (Vec<Problem>, Vec<Problem>) {
        (self.errors, self.warnings)
    }

    fn problem(
        &self,
        position: Position,
        place: &YamlPath,
        message: String,
        hint: Option<String>,
    ) -> Problem {
        let Position { line, column } = position;
        Problem { file: self.file.clone(), line, column, place: self.label(place), message, hint }
    }

    /// The place with the names that list items go by: `routes[2] (orders-read).scopes`.
    fn label(&self, place: &YamlPath) -> String {
        let mut text = String::new();
        let mut walked = YamlPath::default();
        for step in place.steps() {
            walked = walked.then(step.clone());
            match step {
                Step::Key(key) => join(&mut text, key),
                Step::Index(index) => {
                    text.push_str(&format!("[{index}]"));
                    if let Some(name) = self.name(&walked) {
                        text.push_str(&format!(" ({name})"));
                    }
                }
            }
        }
        text
    }

    fn name(&self, item: &YamlPath) -> Option<String> {
        let names = ["id", "name", "address", "request", "issuer"];
        let name = names.iter().find_map(|key| self.positions.text(&item.key(key)))?;
        let shown = name.chars().take(40).map(|c| if c.is_control() { '\u{fffd}' } else { c });
        Some(shown.collect())
    }
}
