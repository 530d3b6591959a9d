//! Scopes: the set a client asks for, a token carries, or a route demands (RFC 6749 section 3.3).
//!
//! Comparison is exact and by whole tokens: `read` is neither `readonly` nor `Read`. [`Scope`] holds names, as they come in
//! forms and tokens; [`ScopeBits`] holds the same against one [`Catalogue`], so that a request costs a few machine words.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// The longest scope parameter or claim that is read, in bytes.
pub const MAX_SCOPE_BYTES: usize = 4096;

/// One scope name: `1*( %x21 / %x23-5B / %x5D-7E )` (RFC 6749 section 3.3).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeToken(Arc<str>);

impl ScopeToken {
    /// Reads one name.
    ///
    /// # Errors
    /// [`ScopeError::Character`] when it is empty or holds a byte outside the grammar.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let allowed = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if text.is_empty() || !text.bytes().all(allowed) {
            return Err(ScopeError::Character);
        }
        Ok(Self(Arc::from(text)))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A set of scope names. The empty set is a value like any other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope(BTreeSet<ScopeToken>);

impl Scope {
    /// Reads a `scope` parameter or claim: names separated by single spaces. The empty string is the empty set; repeats are
    /// one.
    ///
    /// # Errors
    /// [`ScopeError`] for any other byte, for a leading, trailing or doubled space, and beyond [`MAX_SCOPE_BYTES`].
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        if text.len() > MAX_SCOPE_BYTES {
            return Err(ScopeError::Length);
        }
        if text.is_empty() {
            return Ok(Self::default());
        }
        text.split(' ').map(ScopeToken::parse).collect::<Result<BTreeSet<_>, _>>().map(Self)
    }

    /// Whether it holds exactly this name.
    #[must_use]
    pub fn contains(&self, token: &str) -> bool {
        self.iter().any(|own| own.as_str() == token)
    }

    /// Whether it holds no name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &ScopeToken> {
        self.0.iter()
    }

    /// What both sets hold.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }

    /// Whether `other` holds everything that this set holds.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }
}

impl FromIterator<ScopeToken> for Scope {
    fn from_iter<I: IntoIterator<Item = ScopeToken>>(tokens: I) -> Self {
        Self(tokens.into_iter().collect())
    }
}

impl fmt::Display for Scope {
    /// The names, sorted, with one space between them: the wire form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, token) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(token.as_str())?;
        }
        Ok(())
    }
}

/// Why a text is no scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// A byte outside the grammar, or an empty name.
    #[error(
        "a scope is names of visible ASCII without quote and backslash, separated by single spaces"
    )]
    Character,
    /// Longer than [`MAX_SCOPE_BYTES`].
    #[error("a scope is at most {MAX_SCOPE_BYTES} bytes long")]
    Length,
}

/// How many scopes a [`Catalogue`] may declare.
pub const MAX_CATALOGUE: usize = 256;

/// The scopes that the configuration declares; anything else in it is a typo.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalogue(Vec<ScopeToken>);

impl Catalogue {
    /// Takes the declared names.
    ///
    /// # Errors
    /// [`CatalogueFull`] beyond [`MAX_CATALOGUE`] different names.
    pub fn new(tokens: impl IntoIterator<Item = ScopeToken>) -> Result<Self, CatalogueFull> {
        let sorted: BTreeSet<_> = tokens.into_iter().collect();
        if sorted.len() > MAX_CATALOGUE {
            return Err(CatalogueFull);
        }
        Ok(Self(sorted.into_iter().collect()))
    }

    /// The declared names, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &ScopeToken> {
        self.0.iter()
    }

    /// Whether this name is declared.
    #[must_use]
    pub fn contains(&self, token: &str) -> bool {
        self.position(token).is_some()
    }

    /// The set as bits. Names that are not declared are left out: they can satisfy no route.
    #[must_use]
    pub fn bits(&self, scope: &Scope) -> ScopeBits {
        let mut bits = ScopeBits::default();
        for position in scope.iter().filter_map(|token| self.position(token.as_str())) {
            bits.set(position);
        }
        bits
    }

    /// The names behind the bits.
    #[must_use]
    pub fn scope(&self, bits: ScopeBits) -> Scope {
        self.0.iter().enumerate().filter(|(i, _)| bits.has(*i)).map(|(_, t)| t.clone()).collect()
    }

    fn position(&self, token: &str) -> Option<usize> {
        self.0.binary_search_by(|own| own.as_str().cmp(token)).ok()
    }
}

/// More than [`MAX_CATALOGUE`] scopes were declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at most {MAX_CATALOGUE} scopes can be declared")]
pub struct CatalogueFull;

/// A subset of one [`Catalogue`]. Bits of two catalogues must never meet; each snapshot of the configuration has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScopeBits([u64; MAX_CATALOGUE / 64]);

impl ScopeBits {
    /// Whether every bit of `other` is set here too.
    #[must_use]
    pub fn contains_all(self, other: Self) -> bool {
        self.0.iter().zip(other.0).all(|(own, wanted)| own & wanted == wanted)
    }

    /// Whether any bit is set in both.
    #[must_use]
    pub fn contains_any(self, other: Self) -> bool {
        self.0.iter().zip(other.0).any(|(own, wanted)| own & wanted != 0)
    }

    /// Whether no bit is set.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Whether exactly one bit is set.
    #[must_use]
    pub fn is_single(self) -> bool {
        self.0.iter().map(|word| word.count_ones()).sum::<u32>() == 1
    }

    /// What is set in both.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        let mut both = self;
        for (own, other) in both.0.iter_mut().zip(other.0) {
            *own &= other;
        }
        both
    }

    fn set(&mut self, position: usize) {
        if let Some(word) = self.0.get_mut(position / 64) {
            *word |= 1 << (position % 64);
        }
    }

    fn has(self, position: usize) -> bool {
        self.0.get(position / 64).is_some_and(|word| word >> (position % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scope(text: &str) -> Scope {
        Scope::parse(text).unwrap()
    }

    fn catalogue(names: &str) -> Catalogue {
        Catalogue::new(scope(names).iter().cloned()).unwrap()
    }

    #[test]
    fn a16_only_the_grammar_of_rfc_6749_is_read() {
        for bad in
            ["a\tb", "a\nb", "a  b", " a", "a ", "a\"", "a\\b", "é", "a\u{a0}b", "\u{0}", " "]
        {
            assert!(Scope::parse(bad).is_err(), "{bad:?}");
        }
        // A comma is a character of a name, not a separator.
        assert_eq!(scope("a,b").iter().count(), 1);
        assert_eq!(scope("").iter().count(), 0);
        assert_eq!(scope("b a b").to_string(), "a b");
        assert!(Scope::parse(&"a".repeat(MAX_SCOPE_BYTES + 1)).is_err());
    }

    #[test]
    fn c8_names_are_compared_whole_and_case_sensitive() {
        let held = scope("read orders:read");
        for wrong in ["readonly", "Read", "rea", "orders:", "orders:read ", "orders", "*", ""] {
            assert!(!held.contains(wrong), "{wrong:?}");
        }
        assert!(held.contains("read"));
    }

    #[test]
    fn a_catalogue_is_bounded() {
        let names = (0..=MAX_CATALOGUE).map(|i| ScopeToken::parse(&format!("s{i}")).unwrap());
        assert_eq!(Catalogue::new(names), Err(CatalogueFull));
    }

    #[test]
    fn undeclared_names_have_no_bit() {
        let catalogue = catalogue("a b");
        assert!(catalogue.bits(&scope("c")).is_empty());
        assert_eq!(catalogue.scope(catalogue.bits(&scope("a c"))).to_string(), "a");
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(names in prop::collection::btree_set("[!#-\\[\\]-~]{1,8}", 0..8)) {
            let text = names.iter().cloned().collect::<Vec<_>>().join(" ");
            prop_assert_eq!(Scope::parse(&text).unwrap().to_string(), text);
        }

        #[test]
        fn bits_agree_with_names(
            held in prop::collection::btree_set("[ab]{1,3}", 0..8),
            wanted in prop::collection::btree_set("[ab]{1,3}", 0..8),
        ) {
            let join = |names: &BTreeSet<String>| scope(&names.iter().cloned().collect::<Vec<_>>().join(" "));
            let (held, wanted) = (join(&held), join(&wanted));
            let catalogue = Catalogue::new(held.iter().chain(wanted.iter()).cloned()).unwrap();
            let (h, w) = (catalogue.bits(&held), catalogue.bits(&wanted));
            prop_assert_eq!(h.contains_all(w), wanted.is_subset(&held));
            prop_assert_eq!(h.contains_any(w), !wanted.intersection(&held).is_empty());
        }
    }
}
