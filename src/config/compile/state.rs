//! YamlPath the state is kept, and what else in the file needs it to be kept at all.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::values::duration;
use super::{Compiler, database_url};
use crate::config::model::StateConfig;
use crate::config::raw::RawState;
use crate::config::yaml::path::YamlPath;
use crate::secret::Secret;
use crate::state::Place;

const DEFAULT_STALENESS: Duration = Duration::from_secs(300);
const STALENESS: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(86_400);

pub(super) fn compile(
    compiler: &mut Compiler<'_>,
    raw: Option<&RawState>,
    users: bool,
    issuer: &str,
) -> Option<StateConfig> {
    let raw = raw?;
    let root = YamlPath::default().key("state");
    let max_staleness = duration(
        &mut compiler.document,
        &root.key("max_staleness"),
        raw.max_staleness.as_ref(),
        DEFAULT_STALENESS,
        STALENESS,
    );
    let place = match (&raw.sqlite, &raw.postgres) {
        (Some(file), None) if !file.is_empty() => Some(Place::Sqlite(compiler.path(file))),
        (None, Some(postgres)) => {
            let at = root.key("postgres").key("url");
            let secret = compiler.document.require(postgres.url.as_ref(), &at);
            let bytes = secret.and_then(|secret| compiler.secret(&at, secret))?;
            let insecure = postgres.insecure.unwrap_or(false);
            let complaints = database_url::complaints(&String::from_utf8_lossy(&bytes), insecure);
            if !complaints.is_empty() {
                for (message, hint) in complaints {
                    compiler.document.error_with(&at, message, hint);
                }
                return None;
            }
            Some(Place::Postgres(Secret::new(bytes)))
        }
        _ => {
            let refused =
                ["sqlite", "postgres"].map(|key| compiler.document.is_pruned(&root.key(key)));
            if refused == [false, false] {
                let message =
                    "the state is kept in one place: `sqlite: FILE` or `postgres: { url: … }`";
                compiler.document.error(&root, message);
            }
            None
        }
    };
    Some(StateConfig { place: place?, max_staleness, users, issuer: issuer.to_owned() })
}

/// Says that something cannot be had, unless a `state` section was there and is at fault itself.
pub(super) fn require(compiler: &mut Compiler<'_>, place: &YamlPath, what: &str) {
    if compiler.document.has(&YamlPath::default().key("state")) {
        return;
    }
    let hint = Some("add `state: { sqlite: state/portcullis.db }`".to_owned());
    compiler.document.error_with(place, format!("{what} without `state`"), hint);
}
