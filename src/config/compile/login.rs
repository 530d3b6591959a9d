//! How logins are paced: how many passwords are checked at once, and how many may be wrong.

use std::time::Duration;

use super::Compiler;
use super::values::duration;
use crate::config::model::Login;
use crate::config::raw::{self, RawLimit, RawLogin};
use crate::config::yaml::path::YamlPath;
use crate::config::yaml::problem::quoted;
use crate::throttle::{Limit, Limits, MAX_BAN};

/// The most passwords that may be checked at once; each takes about 20 MiB.
const MAX_PARALLEL_HASHES: u16 = 256;
/// More failures than this are no limit.
const MAX_FAILURES: u32 = 100_000;

pub(super) fn compile(compiler: &mut Compiler<'_>, raw: Option<&RawLogin>) -> Login {
    let place = YamlPath::default().key("login");
    let parallel_hashes = match raw.and_then(|raw| raw.parallel_hashes) {
        Some(count @ 1..=MAX_PARALLEL_HASHES) => usize::from(count),
        Some(_) => {
            let message = format!("must be from 1 to {MAX_PARALLEL_HASHES}");
            compiler.document.error(&place.key("parallel_hashes"), message);
            1
        }
        None => std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)),
    };
    let usual = Limits::default();
    let mut read = |key: &str, raw: Option<&RawLimit>, usual: Option<Limit>| {
        limit(compiler, &place.key(key), raw, usual)
    };
    let limits = Limits {
        per_user: read("per_user", raw.and_then(|raw| raw.per_user.as_ref()), usual.per_user),
        per_address: read(
            "per_address",
            raw.and_then(|raw| raw.per_address.as_ref()),
            usual.per_address,
        ),
    };
    Login { parallel_hashes, limits }
}

/// A limit; what is left out of it is as usual.
fn limit(
    compiler: &mut Compiler<'_>,
    place: &YamlPath,
    raw: Option<&RawLimit>,
    usual: Option<Limit>,
) -> Option<Limit> {
    let document = &mut compiler.document;
    let raw = match raw {
        None => return usual,
        Some(RawLimit::Word(word)) if word == "off" => return None,
        Some(RawLimit::Word(word)) => {
            let hint = "`off`, or `{ failures: 5, within: 5m, ban: 5m }`".to_owned();
            document.error_with(place, format!("{} is no limit", quoted(word)), Some(hint));
            return usual;
        }
        Some(RawLimit::Map(raw)) => raw,
    };
    let usual = usual?;
    let failures = match raw.failures {
        Some(failures @ 1..=MAX_FAILURES) => failures,
        Some(_) => {
            let message = format!("must be from 1 to {MAX_FAILURES}");
            document.error(&place.key("failures"), message);
            usual.failures
        }
        None => usual.failures,
    };
    let mut read = |key: &str, raw: Option<&raw::Duration>, usual: Duration| {
        duration(document, &place.key(key), raw, usual, Duration::from_secs(1)..=MAX_BAN)
    };
    Some(Limit {
        failures,
        within: read("within", raw.within.as_ref(), usual.within),
        ban: read("ban", raw.ban.as_ref(), usual.ban),
    })
}
