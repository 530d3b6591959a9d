//! The first reading of a YAML file, event by event: where everything stands, and what YAML can do that we do not want.
//!
//! The values come from the second reading (`tree`), whose parser knows no positions and keeps the last of two equal keys
//! in silence. Refused here: equal keys at any level (the first is kept, so that its own mistakes are still found),
//! anchors, aliases, tags, a second document, keys that are not text, and files out of all proportion.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

use super::path::{Step, YamlPath};
use super::problem::quoted;

/// How deep lists and maps may be nested; the configuration itself needs six.
const MAX_DEPTH: usize = 32;

/// How many values a file may hold.
const MAX_VALUES: usize = 200_000;

/// A point in the file; line and column from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) struct Position {
    pub(in crate::config) line: usize,
    pub(in crate::config) column: usize,
}

impl Position {
    /// The start of the file.
    pub(in crate::config) const START: Self = Self { line: 1, column: 1 };

    fn of(marker: &Marker) -> Self {
        Self { line: marker.line().max(1), column: marker.col() + 1 }
    }
}

/// What kind of value stands at a place.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::config) enum Kind {
    /// Anything that is neither list nor map, as the file spells it.
    Scalar(Box<str>),
    /// A list.
    List,
    /// A map.
    Map,
}

#[derive(Debug)]
struct Entry {
    key: Option<Position>,
    value: Position,
    kind: Kind,
}

/// Where every value of a document stands.
#[derive(Debug, Default)]
pub(in crate::config) struct Positions(BTreeMap<YamlPath, Entry>);

impl Positions {
    /// The point to show for a mistake in a value: the value itself, or the key above a list or map. A place that the
    /// file does not have is shown at the nearest place above it.
    pub(in crate::config) fn position(&self, place: &YamlPath) -> Position {
        self.nearest(place, |mark| match (&mark.kind, mark.key) {
            (Kind::List | Kind::Map, Some(key)) => key,
            _ => mark.value,
        })
    }

    /// The point to show for a mistake in a key.
    pub(in crate::config) fn key_position(&self, place: &YamlPath) -> Position {
        self.nearest(place, |mark| mark.key.unwrap_or(mark.value))
    }

    fn nearest(&self, place: &YamlPath, point: impl Fn(&Entry) -> Position) -> Position {
        let mut place = place.clone();
        loop {
            if let Some(mark) = self.0.get(&place) {
                return point(mark);
            }
            match place.parent() {
                Some(above) => place = above,
                None => return Position::START,
            }
        }
    }

    /// What stands at a place.
    pub(in crate::config) fn kind(&self, place: &YamlPath) -> Option<&Kind> {
        self.0.get(place).map(|mark| &mark.kind)
    }

    /// The keys of a map.
    pub(in crate::config) fn keys(&self, map: &YamlPath) -> impl Iterator<Item = &str> {
        let depth = map.steps().len();
        let below = self.0.range(map..).map(|(place, _)| place.steps());
        let below = below.take_while(move |steps| steps.starts_with(map.steps()));
        below.filter(move |steps| steps.len() == depth + 1).filter_map(|steps| match steps.last() {
            Some(Step::Key(key)) => Some(&**key),
            _ => None,
        })
    }

    /// The text of a scalar.
    pub(in crate::config) fn text(&self, place: &YamlPath) -> Option<&str> {
        match self.kind(place)? {
            Kind::Scalar(text) => Some(text),
            Kind::List | Kind::Map => None,
        }
    }

    /// How many values there are.
    pub(in crate::config) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Something that this reading refuses.
#[derive(Debug)]
pub(in crate::config) struct Fault {
    pub(in crate::config) position: Position,
    pub(in crate::config) place: YamlPath,
    pub(in crate::config) message: String,
    pub(in crate::config) hint: Option<&'static str>,
}

/// What the first reading found.
#[derive(Debug, Default)]
pub(in crate::config) struct Scan {
    pub(in crate::config) positions: Positions,
    pub(in crate::config) faults: Vec<Fault>,
    /// Whether the second reading makes sense: nothing but equal keys was refused.
    pub(in crate::config) readable: bool,
}

/// Reads the positions of a text.
pub(in crate::config) fn scan(text: &str) -> Scan {
    let mut scanner = Scanner::default();
    scanner.scan.readable = true;
    for event in Parser::new_from_str(text) {
        let result = match event {
            Ok((event, span)) => scanner.take(event, span),
            Err(error) => {
                let message = format!("this is no YAML: {}", error.info());
                let position = Position::of(error.marker());
                scanner.refuse(position, message, hint(text, position.line));
                Err(Stop)
            }
        };
        if result.is_err() {
            break;
        }
    }
    scanner.scan
}

/// The mistake that everybody makes once: `{ path: /users/{name} }`, where YAML takes the inner brace for its own.
fn hint(text: &str, line: usize) -> Option<&'static str> {
    let line = text.lines().nth(line.saturating_sub(1))?;
    let bare = line.split_whitespace().any(|word| word.starts_with('/') && word.contains("/{"));
    bare.then_some("a path with `{name}` needs quotes inside `{ … }`")
}

/// The rest of the file is not worth reading.
struct Stop;

/// A list or map that is still open.
enum Open {
    List { place: Option<YamlPath>, next: usize },
    Map { place: Option<YamlPath>, seen: BTreeSet<Arc<str>>, pending: Option<Pending> },
}

/// A key whose value comes next; no place when the value is passed over.
struct Pending {
    place: Option<YamlPath>,
    position: Position,
}

#[derive(Default)]
struct Scanner {
    scan: Scan,
    open: Vec<Open>,
    documents: usize,
}

impl Scanner {
    fn refuse(&mut self, position: Position, message: String, hint: Option<&'static str>) {
        let place = self.here();
        self.scan.readable = false;
        self.scan.faults.push(Fault { position, place, message, hint });
    }

    /// The innermost open place.
    fn here(&self) -> YamlPath {
        let place = self.open.iter().rev().find_map(|open| match open {
            Open::List { place, .. } | Open::Map { place, .. } => place.clone(),
        });
        place.unwrap_or_default()
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        let position = Position::of(&span.start);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let hint = Some("remove the `---`");
                    self.refuse(position, "the file holds more than one document".into(), hint);
                    return Err(Stop);
                }
            }
            Event::Alias(_) => {
                self.refuse(position, "aliases (`*name`) are not read here".into(), REPEAT);
                return Err(Stop);
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.plain_only(position, anchor, tag.is_some());
                self.scalar(&text, style, position)?;
            }
            Event::SequenceStart(anchor, tag) => {
                self.plain_only(position, anchor, tag.is_some());
                let place = self.enter(position, Kind::List)?;
                self.open.push(Open::List { place, next: 0 });
            }
            Event::MappingStart(anchor, tag) => {
                self.plain_only(position, anchor, tag.is_some());
                let place = self.enter(position, Kind::Map)?;
                self.open.push(Open::Map { place, seen: BTreeSet::new(), pending: None });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.open.pop();
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn plain_only(&mut self, position: Position, anchor: usize, tagged: bool) {
        if anchor != 0 {
            self.refuse(position, "anchors (`&name`) are not read here".into(), REPEAT);
        }
        if tagged {
            let hint = Some("leave the tag out");
            self.refuse(position, "tags (`!name`) are not read here".into(), hint);
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, position: Position) -> Result<(), Stop> {
        let Some(Open::Map { place, seen, pending: pending @ None }) = self.open.last_mut() else {
            return self.enter(position, Kind::Scalar(Box::from(text))).map(drop);
        };
        let name: Arc<str> = Arc::from(text);
        let target = place.as_ref().map(|place| place.then(Step::Key(Arc::clone(&name))));
        let first = seen.insert(name);
        *pending = Some(Pending { place: target.clone().filter(|_| first), position });
        if let Some(place) = target.filter(|_| !first) {
            let message = format!("the key {} is here a second time", quoted(text));
            let hint = Some("one of the two must go");
            self.scan.faults.push(Fault { position, place, message, hint });
        }
        if style == ScalarStyle::Plain && !is_text(text) {
            let message = format!("the key {} is no text", quoted(text));
            self.refuse(position, message, Some("put it in quotes"));
        }
        Ok(())
    }

    /// Notes a value, and says where it stands; nowhere when it belongs to a key that is passed over.
    fn enter(&mut self, position: Position, kind: Kind) -> Result<Option<YamlPath>, Stop> {
        if self.open.len() >= MAX_DEPTH {
            self.refuse(position, format!("nested deeper than {MAX_DEPTH} levels"), None);
            return Err(Stop);
        }
        let (place, key) = match self.open.last_mut() {
            None => (Some(YamlPath::default()), None),
            Some(Open::List { place, next }) => {
                let index = *next;
                *next += 1;
                (place.as_ref().map(|place| place.index(index)), None)
            }
            Some(Open::Map { pending, .. }) => match pending.take() {
                Some(pending) => (pending.place, Some(pending.position)),
                None => {
                    let message = "a list or map cannot be a key".to_owned();
                    self.refuse(position, message, None);
                    return Err(Stop);
                }
            },
        };
        if let Some(place) = &place {
            self.scan.positions.0.insert(place.clone(), Entry { key, value: position, kind });
        }
        if self.scan.positions.len() > MAX_VALUES {
            self.refuse(position, format!("more than {MAX_VALUES} values"), None);
            return Err(Stop);
        }
        Ok(place)
    }
}

const REPEAT: Option<&str> = Some("write the value out where it is needed");

/// Whether an unquoted scalar is text to YAML, and not a number, a truth value or nothing.
fn is_text(plain: &str) -> bool {
    let numeric = |c: char| c.is_ascii_digit() || "+-.".contains(c);
    let suspicious = plain.starts_with(numeric)
        || matches!(plain.to_ascii_lowercase().as_str(), "" | "~" | "null" | "true" | "false");
    !suspicious || matches!(serde_yaml::from_str(plain), Ok(serde_yaml::Value::String(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let scan = scan(text);
        let show = |f: &Fault| format!("{}:{} {}", f.position.line, f.position.column, f.message);
        scan.faults.iter().map(show).collect()
    }

    #[test]
    fn values_are_found_where_they_stand() {
        let positions = scan("a: 1\nroutes:\n  - id: x\n    scopes: [p, q]\n").positions;
        let routes = YamlPath::default().key("routes");
        let id = routes.index(0).key("id");
        let at = |place: &YamlPath| {
            let position = positions.position(place);
            (position.line, position.column)
        };
        assert_eq!(at(&routes), (2, 1));
        assert_eq!(at(&id), (3, 9));
        assert_eq!(positions.key_position(&id), Position { line: 3, column: 5 });
        assert_eq!(at(&routes.index(0).key("scopes").index(1)), (4, 17));
        // What is not there is shown at the nearest thing above.
        assert_eq!(at(&routes.index(0).key("upstream")), (3, 5));
        assert_eq!(positions.text(&id), Some("x"));
    }

    #[test]
    fn equal_keys_are_refused_at_every_level_and_the_first_is_kept() {
        assert_eq!(faults("a: 1\nb: 2\n\"a\": 3\n"), ["3:1 the key `a` is here a second time"]);
        assert_eq!(faults("x:\n  - y: {z: 1, z: 2}\n"), ["2:15 the key `z` is here a second time"]);
        let scan = scan("a: {b: 1}\na: {c: 1}\n");
        assert!(scan.readable);
        assert!(scan.positions.kind(&YamlPath::default().key("a").key("b")).is_some());
        assert!(scan.positions.kind(&YamlPath::default().key("a").key("c")).is_none());
    }

    #[test]
    fn a_parameter_without_quotes_in_a_flow_map_gets_a_hint() {
        let hint = |text: &str| scan(text).faults.first().and_then(|fault| fault.hint);
        assert!(hint("r:\n  - { id: a, path: /users/{name}, upstream: b }\n").is_some());
        assert!(hint("r:\n  - { id: a, path: /users, upstream: [ }\n").is_none());
        assert!(scan("r:\n  - { path: \"/users/{name}\" }\n").readable);
        assert!(scan("r:\n  - path: /users/{name}/**\n").readable);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let deep = "[".repeat(40) + &"]".repeat(40);
        for (text, message) in [
            ("a: &x 1\n", "1:4 anchors"),
            ("a: *x\n", "1:4 this is no YAML"),
            ("a: !str 1\n", "1:4 tags"),
            ("a: 1\n---\nb: 2\n", "2:1 the file holds more than one document"),
            ("1: a\n", "1:1 the key `1` is no text"),
            ("true: a\n", "1:1 the key `true` is no text"),
            ("~: a\n", "1:1 the key `~` is no text"),
            ("[a]: b\n", "1:1 a list or map cannot be a key"),
            (deep.as_str(), "1:33 nested deeper"),
            ("a: [\n", ""),
            ("a: b: c\n", ""),
        ] {
            let found = faults(text);
            assert!(found.first().is_some_and(|f| f.starts_with(message)), "{text}: {found:?}");
            assert!(!scan(text).readable, "{text}");
        }
        assert_eq!(faults("---\n'1': a\non: b\n2026-11: c\n"), Vec::<String>::new());
    }
}
