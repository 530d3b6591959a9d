//! The path pattern of a route: literal segments, `{name}` for one segment, and a last `**` for everything below.
//!
//! There are no regular expressions. `/admin/**` covers `/admin` and all below it, never `/adminx`; an exact `/x` covers `/x/`.

use std::fmt;

use crate::route::allowance::Allowance;
use crate::route::fold::folded;
use crate::route::path::{PathError, RequestPath};

/// A parsed pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    segments: Vec<Segment>,
    rest: bool,
}

/// One segment of a pattern.
#[derive(Debug, Clone, Eq)]
pub enum Segment {
    /// This text, decoded.
    Literal(String),
    /// Any one segment that is not empty. The name is for the reader.
    Param(String),
}

impl PartialEq for Segment {
    /// Two patterns that differ only in the names of their parameters cover the same paths.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(own), Self::Literal(other)) => own == other,
            (Self::Param(_), Self::Param(_)) => true,
            (Self::Literal(_) | Self::Param(_), _) => false,
        }
    }
}

impl PathPattern {
    /// Reads a pattern. Its literals go through the same function as the paths of requests.
    ///
    /// # Errors
    /// [`PatternError`] for a pattern that no request could match, or that could be understood in two ways.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let inner = text.strip_prefix('/').ok_or(PatternError::NotAbsolute)?;
        let (inner, rest) = match inner.strip_suffix("**") {
            Some("") => ("", true),
            Some(before) => (before.strip_suffix('/').ok_or(PatternError::Wildcard)?, true),
            None => (inner.strip_suffix('/').unwrap_or(inner), false),
        };
        let segments = match inner {
            "" if rest || text == "/" => Vec::new(),
            _ => inner.split('/').map(Segment::parse).collect::<Result<_, _>>()?,
        };
        Ok(Self { segments, rest })
    }

    /// The pattern with its literals without regard to case, for comparisons.
    #[must_use]
    pub fn folded(&self) -> Self {
        let fold = |segment: &Segment| match segment {
            Segment::Literal(text) => Segment::Literal(folded(text).into_owned()),
            Segment::Param(name) => Segment::Param(name.clone()),
        };
        Self { segments: self.segments.iter().map(fold).collect(), rest: self.rest }
    }

    /// Whether its literals stand just so in a path that it matches without regard to case.
    #[must_use]
    pub(super) fn is_spelt_in(&self, path: Option<&str>) -> bool {
        let of_path = path.into_iter().flat_map(|path| path.split('/'));
        self.segments.iter().zip(of_path).all(|(own, of_path)| match own {
            Segment::Literal(text) => text == of_path,
            Segment::Param(_) => true,
        })
    }

    /// Whether it covers the path with the literals of `other` in the place of their other spellings. Both match the path without
    /// regard to case.
    pub(super) fn covers_spelling(&self, other: &Self, path: Option<&str>) -> bool {
        let of_path = path.into_iter().flat_map(|path| path.split('/'));
        self.segments.iter().zip(of_path).enumerate().all(|(at, (own, of_path))| {
            match (own, other.segments.get(at)) {
                (Segment::Param(_), _) => true,
                (Segment::Literal(own), Some(Segment::Literal(other))) => own == other,
                (Segment::Literal(own), Some(Segment::Param(_)) | None) => own == of_path,
            }
        })
    }

    /// Whether its last segment is a literal, and the last one of the path just as it stands.
    pub(super) fn names_last_of(&self, path: &str) -> bool {
        let path = path.strip_suffix('/').unwrap_or(path);
        let last = path.rsplit('/').next();
        let is_as_long = self.segments.len() + 1 == path.split('/').count();
        is_as_long
            && matches!(self.segments.last(), Some(Segment::Literal(text)) if Some(&**text) == last)
    }

    /// Its segments, without the last `**`.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether it ends in `**`.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.rest
    }

    /// Whether every path of `other` is one of these.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        let long_enough = if self.rest {
            other.segments.len() >= self.segments.len()
        } else {
            !other.rest && other.segments.len() == self.segments.len()
        };
        let covers =
            |(own, other): (&Segment, &Segment)| matches!(own, Segment::Param(_)) || own == other;
        long_enough && self.segments.iter().zip(&other.segments).all(covers)
    }

    /// Whether some path is covered by both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let (own, others) = (self.segments.len(), other.segments.len());
        let lengths_meet =
            own == others || (self.rest && others > own) || (other.rest && own > others);
        let both = |(a, b): (&Segment, &Segment)| match (a, b) {
            (Segment::Literal(a), Segment::Literal(b)) => a == b,
            (Segment::Literal(_) | Segment::Param(_), _) => true,
        };
        lengths_meet && self.segments.iter().zip(&other.segments).all(both)
    }

    /// Which of two overlapping patterns wins where both match: segment by segment, a literal before a parameter before
    /// what only `**` covers. `Less` means that this one wins.
    #[must_use]
    pub fn precedence(&self, other: &Self) -> std::cmp::Ordering {
        use std::cmp::Ordering::{Equal, Greater, Less};
        for (own, other) in self.segments.iter().zip(&other.segments) {
            match (own, other) {
                (Segment::Literal(_), Segment::Param(_)) => return Less,
                (Segment::Param(_), Segment::Literal(_)) => return Greater,
                (Segment::Literal(_), Segment::Literal(_))
                | (Segment::Param(_), Segment::Param(_)) => {}
            }
        }
        // The shared part is alike: more segments is more specific, and at the same length the closed one.
        match other.segments.len().cmp(&self.segments.len()) {
            Equal => self.rest.cmp(&other.rest),
            unequal => unequal,
        }
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, PatternError> {
        if let Some(name) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
            let good = !name.is_empty() && name.bytes().all(allowed);
            return if good {
                Ok(Self::Param(name.to_owned()))
            } else {
                Err(PatternError::Parameter)
            };
        }
        if text.contains(['{', '}']) {
            return Err(PatternError::Parameter);
        }
        if text.contains('*') {
            return Err(PatternError::Wildcard);
        }
        if text.is_empty() {
            return Err(PatternError::Literal(PathError::NotAllowed(Allowance::EmptySegments)));
        }
        let path =
            RequestPath::parse(format!("/{text}").as_bytes()).map_err(PatternError::Literal)?;
        if let Some(allowance) = path.needs().iter().next() {
            return Err(PatternError::Literal(PathError::NotAllowed(allowance)));
        }
        let literal = path.decoded().strip_prefix('/').unwrap_or_default();
        Ok(Self::Literal(literal.to_owned()))
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Param(name) => write!(f, "/{{{name}}}")?,
            }
        }
        match (self.rest, self.segments.is_empty()) {
            (true, _) => f.write_str("/**"),
            (false, true) => f.write_str("/"),
            (false, false) => Ok(()),
        }
    }
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It does not begin with `/`.
    #[error("a path begins with `/`")]
    NotAbsolute,
    /// `*` anywhere but as a last `/**`.
    #[error("`*` stands only in a last `/**`, which covers everything below")]
    Wildcard,
    /// A brace that is no whole segment `{name}`.
    #[error("a parameter is a whole segment `{{name}}` of letters, digits, `_` and `-`")]
    Parameter,
    /// No request could ever match it.
    #[error("no request can match it: {0}")]
    Literal(PathError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Ordering;

    fn pattern(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    #[test]
    fn patterns_print_as_they_are_meant() {
        for (text, printed) in [
            ("/", "/"),
            ("/**", "/**"),
            ("/a/", "/a"),
            ("/a/**", "/a/**"),
            ("/users/{id}/x", "/users/{id}/x"),
            ("/%61dmin", "/admin"),
        ] {
            assert_eq!(pattern(text).to_string(), printed);
        }
    }

    #[test]
    fn patterns_that_mean_nothing_are_refused() {
        for bad in [
            "", "a", "/a**", "/**/a", "/*", "/a*", "/{", "/{}", "/{a b}", "/a{b}", "//", "/a//b",
            "/a;b", "/../a", "/a%2Fb", "/a?b", "/a#b", "/a.", "/a%zz", "***",
        ] {
            assert!(PathPattern::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn containment_and_overlap_follow_the_sets() {
        for (a, b, contains, overlaps) in [
            ("/**", "/a", true, true),
            ("/a/**", "/a", true, true),
            ("/a/**", "/a/b/**", true, true),
            ("/a/**", "/{x}/b", false, true),
            ("/{x}/b", "/a/**", false, true),
            ("/a/{x}", "/a/b", true, true),
            ("/a/b", "/a/{x}", false, true),
            ("/a", "/a/b", false, false),
            ("/a", "/b/**", false, false),
            ("/{x}", "/{y}", true, true),
            ("/a/{x}/c", "/a/b/{y}", false, true),
        ] {
            assert_eq!(pattern(a).contains(&pattern(b)), contains, "{a} contains {b}");
            assert_eq!(pattern(a).overlaps(&pattern(b)), overlaps, "{a} overlaps {b}");
        }
    }

    #[test]
    fn the_more_specific_pattern_wins() {
        let order = ["/a/b", "/a/b/**", "/a/{x}", "/a/{x}/**", "/a/**", "/{x}/b", "/{x}/**", "/**"];
        for (i, first) in order.iter().enumerate() {
            for second in &order[i + 1..] {
                assert_eq!(
                    pattern(first).precedence(&pattern(second)),
                    Ordering::Less,
                    "{first} {second}"
                );
                assert_eq!(pattern(second).precedence(&pattern(first)), Ordering::Greater);
            }
        }
        assert_eq!(pattern("/{x}").precedence(&pattern("/{y}")), Ordering::Equal);
    }
}
