//! The memory of verified tokens: what it finds, what it forgets, and that it decides nothing.

use super::super::{TokenCache, TokenDigest};
use super::*;

/// A verified token that ends so many seconds after [`NOW`].
fn verified(mint: &Mint, id: &str, seconds: u64) -> Arc<VerifiedToken> {
    let claims = changed(claims(), "jti", Some(json!(id)));
    let claims = changed(claims, "exp", Some(json!(NOW.as_secs() + seconds))).to_string();
    Arc::new(mint.with_payload(claims.as_bytes()).unwrap())
}

fn digest(number: usize) -> TokenDigest {
    TokenDigest::of(&format!("token {number}"), 1)
}

#[test]
fn a_token_is_found_by_its_whole_text_and_its_generation() {
    let mint = Mint::any();
    let cache = TokenCache::new(100);
    let token = verified(&mint, "t-1", 900);
    assert!(cache.is_empty());
    cache.remember(TokenDigest::of("abc", 1), Arc::clone(&token), NOW);
    cache.remember(TokenDigest::of("abc", 1), Arc::clone(&token), NOW);
    assert_eq!(cache.len(), 1);
    assert_eq!(cache.find(&TokenDigest::of("abc", 1)), Some(token));
    for (other, generation) in [("abd", 1), ("ab", 1), ("abc ", 1), ("", 1), ("abc", 2)] {
        assert_eq!(cache.find(&TokenDigest::of(other, generation)), None, "{other:?}");
    }
}

#[test]
fn it_never_holds_more_than_its_capacity() {
    let mint = Mint::any();
    let cache = TokenCache::new(60);
    assert_eq!(cache.capacity(), 64);
    let token = verified(&mint, "t-1", 900);
    for number in 0..2_000 {
        cache.remember(digest(number), Arc::clone(&token), NOW);
        assert!(cache.len() <= cache.capacity());
    }
    let held = (0..2_000).filter(|number| cache.find(&digest(*number)).is_some()).count();
    assert_eq!(held, cache.len());
    assert!(held > 48, "only {held}: the sets are not evenly used");
}

#[test]
fn a_full_set_gives_up_what_ends_first() {
    let mint = Mint::any();
    // One set: every token competes with every other.
    let cache = TokenCache::new(1);
    assert_eq!(cache.capacity(), 8);
    for number in 0..8 {
        cache.remember(digest(number), verified(&mint, "t", 100 + number as u64), NOW);
    }
    assert_eq!(cache.len(), 8);
    // The newest is always taken in, in place of the one with the least future.
    cache.remember(digest(8), verified(&mint, "t", 50), NOW);
    assert!(cache.find(&digest(8)).is_some() && cache.find(&digest(0)).is_none());
    cache.remember(digest(9), verified(&mint, "t", 900), NOW);
    assert!(cache.find(&digest(9)).is_some() && cache.find(&digest(8)).is_none());
    assert!((1..8).all(|number| cache.find(&digest(number)).is_some()));
    assert_eq!(cache.len(), 8);
}

#[test]
fn what_has_ended_is_not_remembered_and_nothing_fits_in_no_room() {
    let mint = Mint::any();
    let token = verified(&mint, "t", 10);
    let cache = TokenCache::new(8);
    cache.remember(digest(1), Arc::clone(&token), token.expires_at());
    assert!(cache.is_empty());
    let none = TokenCache::new(0);
    none.remember(digest(1), token, NOW);
    assert_eq!((none.find(&digest(1)), none.len(), none.capacity()), (None, 0, 0));
}

#[test]
fn many_threads_share_it() {
    let mint = Mint::any();
    let token = verified(&mint, "t", 900);
    let cache = TokenCache::new(256);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (cache, token) = (&cache, &token);
            scope.spawn(move || {
                for number in 0..1_000 {
                    cache.remember(digest(thread * 500 + number), Arc::clone(token), NOW);
                    assert!(cache.find(&digest(number)).is_none_or(|found| found == *token));
                }
            });
        }
    });
    let held = (0..3_000).filter(|number| cache.find(&digest(*number)).is_some()).count();
    assert_eq!(held, cache.len());
    assert!(held <= cache.capacity());
}

/// Whether the user is still there is asked by `access` on every request; a remembered token must therefore still say who it
/// speaks for, when it ends and by which id it could be revoked, and a find alone must prove nothing about now.
#[test]
fn b22_a_remembered_token_still_names_its_subject_and_is_checked_again() {
    let mint = Mint::any();
    let cache = TokenCache::new(8);
    let good = mint.good();
    let token = Arc::new(mint.verify(&good).unwrap());
    cache.remember(TokenDigest::of(&good, 1), token, NOW);
    let found = cache.find(&TokenDigest::of(&good, 1)).unwrap();
    assert_eq!((found.subject().as_str(), found.token_id().unwrap().as_ref()), ("alice", "t-1"));
    assert_eq!(mint.verifier.recheck(&found, NOW), Ok(()));
    let later = found.expires_at().plus(LEEWAY);
    assert!(cache.find(&TokenDigest::of(&good, 1)).is_some());
    assert_eq!(mint.verifier.recheck(&found, later), Err(VerifyError::Expired));
}
