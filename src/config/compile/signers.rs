//! The keys that sign, in the order of their times: at any moment there must be exactly one, and none may end before
//! another has taken over.

use std::time::Duration;

use super::Compiler;
use crate::clock::Timestamp;
use crate::config::yaml::path::YamlPath;

/// A key with `use: sign`.
pub(super) struct Signer {
    pub(super) place: YamlPath,
    pub(super) from: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
}

/// Says what the ring would refuse, with its lines, and warns of keys that end while their tokens are still good:
/// a token is accepted for `outlives` after it was signed.
pub(super) fn check(compiler: &mut Compiler<'_>, mut signers: Vec<Signer>, outlives: Duration) {
    signers.sort_by_key(|signer| signer.from);
    if let Some(first) = signers.first()
        && first.from.is_some_and(|from| from > compiler.now)
    {
        let hint = Some("leave `from` out on the oldest key".to_owned());
        let message = "no key signs before this time";
        compiler.document.error_with(&first.place.key("from"), message, hint);
    }
    for pair in signers.windows(2) {
        if let [first, second] = pair
            && first.from == second.from
        {
            let line = compiler.document.line(&first.place);
            let message = format!("the key on line {line} signs from the same time on");
            let hint = Some("give the newer one a later `from`".to_owned());
            let at = if second.from.is_some() { "from" } else { "use" };
            compiler.document.error_with(&second.place.key(at), message, hint);
        }
    }
    let followers = signers.iter().skip(1).map(|signer| signer.from).chain([None]);
    for (signer, follower) in signers.iter().zip(followers) {
        if let Some(until) = signer.until {
            check_end(compiler, &signer.place.key("until"), until, follower, outlives);
        }
    }
}

fn check_end(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    until: Timestamp,
    follower: Option<Timestamp>,
    outlives: Duration,
) {
    match follower {
        None => {
            let message = "no key signs after this one";
            let hint = "the newest key with `use: sign` has no end".to_owned();
            compiler.document.error_with(place, message, Some(hint));
        }
        Some(from) if from > until => {
            let message = format!("the next key signs only from {from}");
            let hint = "a key ends after the next one has begun".to_owned();
            compiler.document.error_with(place, message, Some(hint));
        }
        Some(from) if until < from.plus(outlives) && until > compiler.now => {
            let last = from.plus(outlives);
            let message = format!("its last tokens would be good until {last}");
            compiler.document.warn(place, message, Some("users would be logged out early"));
        }
        Some(_) => {}
    }
}
