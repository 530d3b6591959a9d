//! What a refresh token is made of (RFC 6749 section 10.4, RFC 9700 section 4.14).
//!
//! `prt_` and, in base64url, three parts: the id of its family, 256 bits that nobody can guess, and a tag that only we can
//! make for that family. The store keeps the SHA-256 of the whole text, never the text.
//!
//! The tag lets one row stand for a whole family: a genuine token that is neither the family's current one nor the one before
//! it has been spent, without any list of spent ones. A text that was cut or changed has no right tag, and so is no reuse.
//!
//! A family's tag key is derived from the store's key and the family's id, so that a tag can be checked before the database is
//! asked. Families of before that was so have a random one, which their row holds as well.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::random::{self, Random, RandomError};

const PREFIX: &str = "prt_";
const FAMILY_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
const ALL_BYTES: usize = FAMILY_BYTES + SECRET_BYTES + TAG_BYTES;

/// The id of a family: 128 bits in base64url. No secret: access tokens name it as their `sid`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FamilyId(Arc<str>);

impl FamilyId {
    /// A new one.
    ///
    /// # Errors
    /// [`RandomError`] when there is no randomness.
    pub fn new(random: &dyn Random) -> Result<Self, RandomError> {
        random::identifier(random).map(|id| Self(Arc::from(id)))
    }

    pub(super) fn of_row(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// The id as text.
    #[must_use]
    pub const fn as_str(&self) -> &Arc<str> {
        &self.0
    }
}

impl fmt::Display for FamilyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the tag keys of families are derived from; stands in the store once, and in the memory of every node. It tells tokens
/// that we made from invented ones without asking the database.
#[derive(Clone)]
pub struct StoreKey(Zeroizing<[u8; 32]>);

impl StoreKey {
    /// A new one.
    ///
    /// # Errors
    /// [`RandomError`] when there is no randomness.
    pub(super) fn new(random: &dyn Random) -> Result<Self, RandomError> {
        random::bytes(random).map(|bytes| Self(Zeroizing::new(bytes)))
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
        <[u8; 32]>::try_from(bytes.as_slice()).ok().map(|bytes| Self(Zeroizing::new(bytes)))
    }

    pub(super) fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(*self.0)
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKey([secret])")
    }
}

/// What a family's tags are made with; stands in its row. Who reads the store can make tags, and so can get a family revoked,
/// but no token that is honoured.
#[derive(Clone)]
pub struct TagKey([u8; 16]);

impl TagKey {
    /// A new one.
    ///
    /// # Errors
    /// [`RandomError`] when there is no randomness.
    pub fn new(random: &dyn Random) -> Result<Self, RandomError> {
        random::bytes(random).map(Self)
    }

    /// The one of a family that began while this was the store's key.
    pub(super) fn derived(key: &StoreKey, family: &FamilyId) -> Self {
        let derived = hmac(&*key.0, &[b"tag key ", family.0.as_bytes()]);
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(derived.iter()).for_each(|(byte, from)| *byte = *from);
        Self(bytes)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    pub(super) fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    fn tag(&self, family: &[u8], secret: &[u8]) -> Zeroizing<Vec<u8>> {
        let mut tag = hmac(&self.0, &[family, secret]);
        tag.truncate(TAG_BYTES);
        tag
    }
}

impl fmt::Debug for TagKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TagKey([secret])")
    }
}

/// What makes a successor of a token; stands in the row beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce([u8; 16]);

impl Nonce {
    /// A new one.
    ///
    /// # Errors
    /// [`RandomError`] when there is no randomness.
    pub fn new(random: &dyn Random) -> Result<Self, RandomError> {
        random::bytes(random).map(Self)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    pub(super) fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

/// One refresh token.
#[derive(Clone)]
pub struct RefreshToken {
    family: FamilyId,
    parts: Zeroizing<[u8; ALL_BYTES]>,
    text: Zeroizing<String>,
}

impl RefreshToken {
    /// The first of a family.
    ///
    /// # Errors
    /// [`RandomError`] when there is no randomness.
    pub fn first(
        family: &FamilyId,
        key: &TagKey,
        random: &dyn Random,
    ) -> Result<Self, RandomError> {
        let secret = Zeroizing::new(random::bytes::<SECRET_BYTES>(random)?);
        let id = URL_SAFE_NO_PAD.decode(family.0.as_bytes()).map_err(|_| RandomError)?;
        Self::of_parts(&id, &*secret, key).ok_or(RandomError)
    }

    /// Reads a presented token: its form, in its only spelling. Whether it is genuine says [`RefreshToken::is_genuine`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?);
        let parts = Zeroizing::new(<[u8; ALL_BYTES]>::try_from(bytes.as_slice()).ok()?);
        let family =
            FamilyId(Arc::from(URL_SAFE_NO_PAD.encode(parts.first_chunk::<FAMILY_BYTES>()?)));
        Some(Self { family, parts, text: Zeroizing::new(text.to_owned()) })
    }

    /// Whether we made it for the family that it names, whose key this is. In constant time.
    #[must_use]
    pub fn is_genuine(&self, key: &TagKey) -> bool {
        let split = self.parts.split_at_checked(FAMILY_BYTES + SECRET_BYTES);
        split.is_some_and(|(head, tag)| {
            head.split_at_checked(FAMILY_BYTES)
                .is_some_and(|(family, secret)| bool::from(key.tag(family, secret).ct_eq(tag)))
        })
    }

    /// Whether we made it for a family that began while this was the store's key. In constant time.
    #[must_use]
    pub(super) fn is_of(&self, key: &StoreKey) -> bool {
        self.is_genuine(&TagKey::derived(key, &self.family))
    }

    /// The one that takes its place: whoever has this token and its nonce can make it, and nobody else. The same two give the
    /// same successor, so that an answer that was lost can be given again.
    #[must_use]
    pub fn successor(&self, nonce: &Nonce, key: &TagKey) -> Option<Self> {
        let secret = hmac(self.text.as_bytes(), &[&nonce.0]);
        Self::of_parts(self.parts.get(..FAMILY_BYTES)?, &secret, key)
    }

    /// What the store knows it by: its SHA-256, in base64url.
    #[must_use]
    pub fn digest(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.text.as_bytes()))
    }

    /// The family it belongs to.
    #[must_use]
    pub const fn family(&self) -> &FamilyId {
        &self.family
    }

    /// The token itself. Belongs in the answer's body and nowhere else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    fn of_parts(family: &[u8], secret: &[u8], key: &TagKey) -> Option<Self> {
        let bytes = Zeroizing::new([family, secret, &key.tag(family, secret)].concat());
        let text = Zeroizing::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&*bytes)));
        Self::parse(&text)
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshToken").field("family", &self.family).finish_non_exhaustive()
    }
}

fn hmac(key: &[u8], message: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in message {
        context.update(part);
    }
    Zeroizing::new(context.sign().as_ref().to_vec())
}

#[cfg(test)]
#[expect(clippy::string_slice, reason = "tokens are ASCII")]
mod tests {
    use super::*;
    use crate::random::OsRandom;
    use proptest::prelude::*;

    fn first() -> (RefreshToken, TagKey) {
        let (id, key) = (FamilyId::new(&OsRandom).unwrap(), TagKey::new(&OsRandom).unwrap());
        (RefreshToken::first(&id, &key, &OsRandom).unwrap(), key)
    }

    #[test]
    fn a_token_and_its_nonce_make_one_successor() {
        let (token, key) = first();
        let (nonce, other) = (Nonce::new(&OsRandom).unwrap(), Nonce::new(&OsRandom).unwrap());
        let next = token.successor(&nonce, &key).unwrap();
        assert_eq!(next.expose(), token.successor(&nonce, &key).unwrap().expose());
        assert_ne!(next.expose(), token.successor(&other, &key).unwrap().expose());
        assert_eq!(next.family(), token.family());
        assert!(next.is_genuine(&key) && token.is_genuine(&key));
        // Neither the digest that is stored nor the nonce beside it leads to the successor.
        let digest = RefreshToken { text: Zeroizing::new(token.digest()), ..token.clone() };
        assert_ne!(digest.successor(&nonce, &key).unwrap().expose(), next.expose());
    }

    #[test]
    fn d9_what_was_cut_or_changed_is_no_token_of_ours() {
        let (token, key) = first();
        let text = token.expose();
        assert!(RefreshToken::parse(text).unwrap().is_genuine(&key));
        assert!(!RefreshToken::parse(text).unwrap().is_genuine(&TagKey::new(&OsRandom).unwrap()));
        for bad in [
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}="),
            &format!(" {text}"),
            &text.to_uppercase(),
            &text.replace("prt_", ""),
            "",
            "prt_",
        ] {
            assert!(RefreshToken::parse(bad).is_none(), "{bad}");
        }
        for at in 4..text.len() {
            let other = if &text[at..=at] == "A" { "B" } else { "A" };
            let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            let genuine = RefreshToken::parse(&changed).is_some_and(|t| t.is_genuine(&key));
            assert!(!genuine, "{at}");
        }
    }

    // Part 4, item 18.
    #[test]
    fn a_token_of_ours_is_known_by_the_key_of_the_store_alone() {
        let [ours, another] = [(); 2].map(|()| StoreKey::new(&OsRandom).unwrap());
        let id = FamilyId::new(&OsRandom).unwrap();
        let key = TagKey::derived(&StoreKey::parse(&ours.to_text()).unwrap(), &id);
        let token = RefreshToken::first(&id, &key, &OsRandom).unwrap();
        let next = token.successor(&Nonce::new(&OsRandom).unwrap(), &key).unwrap();
        assert!(token.is_of(&ours) && next.is_of(&ours));
        assert!(!token.is_of(&another));
        let (older, _) = first();
        assert!(!older.is_of(&ours), "its family has a key of its own");
        assert_eq!(format!("{ours:?}"), "StoreKey([secret])");
    }

    #[test]
    fn a_token_does_not_print_itself() {
        let (token, key) = first();
        let shown = format!("{token:?} {key:?}");
        assert!(!shown.contains(&token.expose()[30..]) && shown.contains("[secret]"), "{shown}");
    }

    proptest! {
        // Part 4, item 32: 64 bytes are 86 characters, of which the last one has four bits that mean nothing.
        #[test]
        fn exactly_the_one_spelling_of_64_bytes_is_read(
            prefix in "(prt_){8}|prt_|PRT_|prt",
            text in "[A-Za-z0-9_-]{84}([A-Za-z0-9_-]{0,3}|[A-Za-z0-9_-][AQgw]|[A-Za-z0-9_-][AQgw]=|.[AQgw])",
        ) {
            let whole = format!("{}{text}", &prefix[..prefix.len().min(4)]);
            // The text may begin with the last byte of the prefix.
            let text = whole.strip_prefix("prt_").unwrap_or_default();
            let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
            let right = plain && text.len() == 86 && text.ends_with(['A', 'Q', 'g', 'w']);
            let read = RefreshToken::parse(&whole);
            prop_assert_eq!(read.is_some(), right, "{}", whole);
            if let Some(token) = read {
                prop_assert_eq!(token.expose(), &whole);
                let bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
                let family = URL_SAFE_NO_PAD.encode(&bytes[..FAMILY_BYTES]);
                prop_assert_eq!(&**token.family().as_str(), &family);
            }
        }

        #[test]
        fn arbitrary_text_is_refused(text in "\\PC{0,100}") {
            prop_assert!(RefreshToken::parse(&text).is_none());
        }
    }
}
