//! What came first, a login or a revocation of everything: decided by numbers that one row gives out, and by no clock.
//!
//! Every revocation and every change of a user draws the next number of the feed, in its transaction, and numbers are
//! committed in their order (`revocations`). A login notes the number that it finds committed *before anything else of it
//! happens*, and its family of refresh tokens and every access token of the family carry that number for ever, as `seq`,
//! with the time of the login, `auth_time` (RFC 9068 section 2.2.1).
//!
//! So, for a revocation with number *r* and a login that noted *b*:
//!
//! - If the login began after the revocation was committed, it found *r* or more: *b* >= *r*.
//! - If it began before, *r* was not committed yet, and since numbers are committed in order nothing as high was: *b* < *r*.
//!
//! A token is revoked exactly when *b* < *r*. Neither the moment at which it was signed nor the transaction in which it was
//! rotated has a part in this. A rotation that overtakes a revocation, on whatever node and however its clock stands, makes
//! tokens with the *b* of the login, which every node that has read *r* refuses: nothing can outrun a revocation, and no
//! lock is needed for it. The checks in the transactions that make a family and a rotation durable are there so that what is
//! dead gets nothing; one that passes a moment too early does no harm.
//!
//! Numbers can come twice when a database is replaced by an older copy of itself. Then the time tells: a login is also over
//! if it is older than the revocation by more than the clocks of two databases may differ.
//!
//! Changes of a user (another password, disabled, removed) need none of this: tokens name the version of the credential, and
//! every request compares it with the version of now.

use std::time::Duration;

use sqlx::{AnyConnection, Row as _};

use super::revocations::{NOW, from_sql};
use crate::clock::Timestamp;
use crate::oauth::client::ClientId;
use crate::oauth::subject::Subject;
use crate::token::{Began, VerifiedToken};

/// How far the clocks of two copies of one database may differ.
const OTHER_DATABASE: Duration = Duration::from_secs(30);
/// How far clocks of nodes may differ at most: what does not say its number is compared by the clock of the node that issued
/// it. Only versions before this one issue such tokens.
const OTHER_NODE: Duration = Duration::from_secs(120);
/// How far beyond a revocation it reaches for the tokens of trusted issuers, whose clocks are theirs. Whoever logs in there
/// again must get through.
const EXTERNAL: Duration = Duration::from_secs(2);

/// Whose tokens these are, and when the login began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) subject: &'a Subject,
    /// `None` for a client of a trusted issuer.
    pub(super) client: Option<&'a ClientId>,
    pub(super) began: Began,
    external: bool,
}

impl<'a> Origin<'a> {
    /// Of tokens of our own.
    pub(super) const fn own(subject: &'a Subject, client: &'a ClientId, began: Began) -> Self {
        Self { subject, client: Some(client), began, external: false }
    }

    pub(super) fn of(token: &'a VerifiedToken) -> Self {
        let external = token.is_external();
        let client = token.client_id().filter(|_| !external);
        Self { subject: token.subject(), client, began: token.began(), external }
    }
}

/// A point in the order of revocations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Point {
    /// The number in the feed.
    pub(super) number: i64,
    /// When that was, by the store's clock.
    pub(super) at: Timestamp,
}

impl Point {
    /// Whether what began then began before this.
    pub(super) fn is_after(&self, origin: &Origin<'_>) -> bool {
        let Began { number, at } = origin.began;
        match number {
            Some(number) => number < self.number || at.plus(OTHER_DATABASE) < self.at,
            None => at <= self.at.plus(if origin.external { EXTERNAL } else { OTHER_NODE }),
        }
    }

    /// The later of two, whichever says so.
    pub(super) fn max(self, other: Self) -> Self {
        Self { number: self.number.max(other.number), at: self.at.max(other.at) }
    }
}

/// What is revoked of everybody.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Everybody {
    /// Everything up to this point.
    pub(super) up_to: Option<Point>,
    /// Everything that began at this time or earlier; a time that an operator gave, which has no number.
    pub(super) until: Option<Timestamp>,
}

impl Everybody {
    pub(super) fn ends(&self, origin: &Origin<'_>) -> bool {
        self.up_to.is_some_and(|point| point.is_after(origin))
            || self.until.is_some_and(|until| origin.began.at <= until)
    }

    /// Both.
    pub(super) fn and(self, other: Self) -> Self {
        let up_to = match (self.up_to, other.up_to) {
            (Some(own), Some(other)) => Some(own.max(other)),
            (own, other) => own.or(other),
        };
        Self { up_to, until: self.until.max(other.until) }
    }
}

/// Whether everything of this subject, of this client or of everybody was revoked since the login began, as far as this
/// transaction sees.
pub(super) async fn is_overtaken(
    connection: &mut AnyConnection,
    origin: &Origin<'_>,
) -> Result<bool, sqlx::Error> {
    let client = origin.client.map_or_else(String::new, client_subject);
    let select = "SELECT kind, name, MAX(seq), MAX(at) FROM revocations \
                  WHERE subject IN ($1, $2, '') AND kind IN ('subject', 'all') \
                  GROUP BY kind, name";
    let rows = sqlx::query(select)
        .bind(origin.subject.as_str())
        .bind(client)
        .fetch_all(connection)
        .await?;
    for row in rows {
        let (kind, name): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let point = Point { number: row.try_get(2)?, at: from_sql(row.try_get(3)?) };
        let ended = match kind.as_str() {
            "all" => everybody(&name, point).ends(origin),
            _ => point.is_after(origin),
        };
        if ended {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What a row of the kind `all` means: by the name `now` it is a point in the order, without a name a time.
pub(super) fn everybody(name: &str, point: Point) -> Everybody {
    match name {
        NOW => Everybody { up_to: Some(point), until: None },
        _ => Everybody { up_to: None, until: Some(point.at) },
    }
}

/// A client as the subject of its own tokens, which a revocation of everything names.
fn client_subject(client: &ClientId) -> String {
    format!("client:{client}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_number_decides_and_no_clock_that_is_right_within_its_bounds() {
        let (alice, web) = (Subject::parse("alice").unwrap(), ClientId::parse("web").unwrap());
        let began = |number, at| Origin::own(&alice, &web, Began { number: Some(number), at });
        let point = Point { number: 7, at: AT };
        for at in [AT.minus(seconds(30)), AT, AT.plus(seconds(20))] {
            assert!(point.is_after(&began(6, at)), "{at}: before it");
            assert!(!point.is_after(&began(7, at)), "{at}: after it");
            assert!(!point.is_after(&began(8, at)), "{at}: after it");
        }
        // A database that lost its last numbers gave them out again.
        assert!(point.is_after(&began(9, AT.minus(seconds(31)))));
    }

    #[test]
    fn what_has_no_number_is_compared_by_time_and_rather_ended_than_not() {
        let (alice, web) = (Subject::parse("alice").unwrap(), ClientId::parse("web").unwrap());
        let origin = |at| Origin::own(&alice, &web, Began { number: None, at });
        let external = |at| Origin { external: true, client: None, ..origin(at) };
        let point = Point { number: 7, at: AT };
        assert!(point.is_after(&origin(AT.plus(seconds(120)))));
        assert!(!point.is_after(&origin(AT.plus(seconds(121)))));
        assert!(point.is_after(&external(AT.plus(seconds(2)))));
        assert!(!point.is_after(&external(AT.plus(seconds(3)))));
    }

    #[test]
    fn a_time_that_was_given_ends_what_began_by_then() {
        let (alice, web) = (Subject::parse("alice").unwrap(), ClientId::parse("web").unwrap());
        let began = |at| Origin::own(&alice, &web, Began { number: Some(1), at });
        let everybody = everybody("", Point { number: 7, at: AT });
        assert!(everybody.ends(&began(AT)));
        assert!(!everybody.ends(&began(AT.plus(seconds(1)))), "whatever its number is");
        let both = everybody.and(super::everybody(NOW, Point { number: 3, at: AT }));
        assert!(both.ends(&began(AT.plus(seconds(1)))));
        assert!(!Everybody::default().ends(&began(Timestamp::from_secs(0))));
    }
}
