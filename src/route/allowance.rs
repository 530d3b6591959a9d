//! The spellings of a path that the owner of an upstream can allow by name, because the application reads them in a way that
//! the owner knows. Everything else that two parties could read differently is 400.

use std::fmt;

/// One spelling that can be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// `;` in a segment (path parameters).
    Semicolon,
    /// `//`.
    EmptySegments,
    /// `%2F` inside a segment.
    EncodedSlash,
    /// `%25` before two hexadecimal digits: another escape, for an application that decodes twice.
    EncodedPercent,
    /// A segment that ends in a dot.
    TrailingDot,
    /// A segment that ends in white space.
    TrailingSpace,
    /// `%5C`, which some applications take for a slash.
    EncodedBackslash,
    /// Escapes that are not UTF-8, as ISO 8859-1 has them.
    NonUtf8,
}

impl Allowance {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 8] = [
        Self::Semicolon,
        Self::EmptySegments,
        Self::EncodedSlash,
        Self::EncodedPercent,
        Self::TrailingDot,
        Self::TrailingSpace,
        Self::EncodedBackslash,
        Self::NonUtf8,
    ];

    /// The name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Semicolon => "semicolon",
            Self::EmptySegments => "empty_segments",
            Self::EncodedSlash => "encoded_slash",
            Self::EncodedPercent => "encoded_percent",
            Self::TrailingDot => "trailing_dot",
            Self::TrailingSpace => "trailing_space",
            Self::EncodedBackslash => "encoded_backslash",
            Self::NonUtf8 => "non_utf8",
        }
    }

    /// What is in a path that needs it, for the operator.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::Semicolon => "a `;`",
            Self::EmptySegments => "an empty segment",
            Self::EncodedSlash => "an escaped slash",
            Self::EncodedPercent => "an escape of an escape",
            Self::TrailingDot => "a segment that ends in a dot",
            Self::TrailingSpace => "a segment that ends in white space",
            Self::EncodedBackslash => "an escaped backslash",
            Self::NonUtf8 => "escapes that are not UTF-8",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of spellings: what an upstream allows, or what a path needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathAllowances(u8);

impl PathAllowances {
    /// Every spelling that can be allowed.
    pub const ALL: Self = Self(u8::MAX);

    /// The set with one more.
    #[must_use]
    pub const fn with(self, allowance: Allowance) -> Self {
        Self(self.0 | allowance.bit())
    }

    /// Whether it is one of them.
    #[must_use]
    pub const fn contains(self, allowance: Allowance) -> bool {
        self.0 & allowance.bit() != 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The first of these that is not in `other`.
    #[must_use]
    pub fn missing_in(self, other: Self) -> Option<Allowance> {
        self.iter().find(|allowance| !other.contains(*allowance))
    }

    /// Its members, in the order of [`Allowance::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Allowance> {
        Allowance::ALL.into_iter().filter(move |allowance| self.contains(*allowance))
    }
}

impl FromIterator<Allowance> for PathAllowances {
    fn from_iter<I: IntoIterator<Item = Allowance>>(members: I) -> Self {
        members.into_iter().fold(Self::default(), Self::with)
    }
}

impl fmt::Display for PathAllowances {
    /// As the configuration lists them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Allowance::name).collect();
        write!(f, "[{}]", names.join(", "))
    }
}
