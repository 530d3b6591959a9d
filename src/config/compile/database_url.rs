//! The URL of a PostgreSQL database: what of it is taken, and that the password in it is shown to that database only.
//!
//! The driver takes parameters that it does not know with a warning, lets the query override the host, and without an `sslmode`
//! sends the password to whoever answers. So everything is named here, once, and away from this machine the server has to prove
//! itself (`sslmode=verify-full`, as PostgreSQL's documentation, section 32.18, calls it).

use std::collections::HashSet;
use std::net::IpAddr;

use url::Url;

use crate::config::hint;

/// What can be said in the query.
const PARAMETERS: [&str; 19] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "options[",
];
const MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// A complaint, and what to do about it. Neither holds anything of the URL but names of parameters and `sslmode`.
pub(super) type Complaint = (String, Option<String>);

/// Says what is wrong with a URL. `insecure` is the operator's word that the way to the database is safe.
pub(super) fn complaints(url: &str, insecure: bool) -> Vec<Complaint> {
    let Some(url) = Url::parse(url).ok().filter(is_postgres) else {
        let example =
            "such as `postgres://portcullis:secret@db.internal/portcullis?sslmode=verify-full`";
        let message = "this is no URL of a PostgreSQL database".to_owned();
        return vec![(message, Some(example.to_owned()))];
    };
    let mut complaints = Vec::new();
    let (mut seen, mut mode) = (HashSet::new(), None);
    let mut hosts: Vec<String> = url.host_str().map(decoded).into_iter().collect();
    for (name, value) in url.query_pairs() {
        let known = PARAMETERS.contains(&&*name) || name.starts_with("options[");
        if !known || name == "options[" {
            let shown = name.escape_default();
            let near = hint(&name, PARAMETERS);
            complaints.push((format!("the URL has an unknown parameter `{shown}`"), near));
        } else if !seen.insert(kind(&name).to_owned()) {
            complaints.push((format!("the URL says `{name}` more than once"), None));
        }
        match kind(&name) {
            "sslmode" => match MODES.iter().find(|known| value.eq_ignore_ascii_case(known)) {
                Some(known) => mode = Some(*known),
                None => {
                    let modes = MODES.join(", ");
                    let message =
                        format!("`sslmode={}` is none of {modes}", value.escape_default());
                    complaints.push((message, hint(&value, MODES)));
                }
            },
            // Whatever stands before the path is overridden.
            "host" => hosts = vec![value.into_owned()],
            _ => {}
        }
    }
    let host = match hosts.as_slice() {
        [host] if !host.is_empty() => host,
        _ => {
            let hint = "such as `localhost`, or `?host=/run/postgresql` for a socket".to_owned();
            complaints.push(("the URL names no host".to_owned(), Some(hint)));
            return complaints;
        }
    };
    if host.contains(',') {
        complaints.push(("the URL names several hosts; one of them is taken".to_owned(), None));
    }
    if !is_here(host) && mode != Some("verify-full") && !insecure && complaints.is_empty() {
        let mode = mode.map_or("no `sslmode`".to_owned(), |mode| format!("`sslmode={mode}`"));
        complaints.push((
            format!("{mode} sends the password to whoever answers at that host"),
            Some(
                "add `sslmode=verify-full` (and `sslrootcert=FILE` for a CA of your own), or say \
                 `insecure: true` beside `url` if the way there is safe"
                    .to_owned(),
            ),
        ));
    }
    complaints
}

fn is_postgres(url: &Url) -> bool {
    ["postgres", "postgresql"].contains(&url.scheme())
}

/// The several names of one parameter are one.
fn kind(name: &str) -> &str {
    match name {
        "ssl-mode" => "sslmode",
        "ssl-root-cert" | "ssl-ca" => "sslrootcert",
        "ssl-cert" => "sslcert",
        "ssl-key" => "sslkey",
        "hostaddr" => "host",
        other => other,
    }
}

fn decoded(host: &str) -> String {
    // A socket's folder is escaped before the path; everything else has nothing to escape.
    host.replace("%2F", "/").replace("%2f", "/")
}

/// Whether it is a socket of this machine, or its loopback.
fn is_here(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.starts_with('/')
        || host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Part 4, item 26.
    #[test]
    fn away_from_this_machine_the_server_proves_itself() {
        let full = "postgres://u:p@db.internal/d?sslmode=verify-full";
        for good in [
            full,
            "postgresql://u:p@db.internal:5433/d?sslrootcert=/etc/ca.pem&ssl-mode=VERIFY-FULL",
            "postgres://u:p@localhost/d",
            "postgres://u:p@127.0.0.1/d?sslmode=disable",
            "postgres://u:p@[::1]/d",
            "postgres://%2Frun%2Fpostgresql/d",
            "postgres://u@db.internal/d?host=/run/postgresql",
            "postgres://u:p@localhost/d?options[geqo]=off&application_name=edge&statement-cache-capacity=0",
        ] {
            assert_eq!(complaints(good, false), [], "{good}");
        }
        for bad in [
            "postgres://u:p@db.internal/d",
            "postgres://u:p@db.internal/d?sslmode=disable",
            "postgres://u:p@db.internal/d?sslmode=allow",
            "postgres://u:p@db.internal/d?sslmode=prefer",
            "postgres://u:p@db.internal/d?sslmode=require",
            "postgres://u:p@db.internal/d?sslmode=verify-ca",
            "postgres://u:p@10.0.0.7/d",
            "postgres://u:p@localhost/d?host=db.internal",
            "postgres://u:p@localhost/d?hostaddr=10.0.0.7",
            "postgres://u:p@localhost.example/d",
        ] {
            let [(message, hint)] = complaints(bad, false).try_into().unwrap();
            assert!(message.contains("sends the password"), "{bad}: {message}");
            assert!(hint.unwrap().contains("verify-full"));
            assert_eq!(complaints(bad, true), [], "{bad}, and the operator says that it is safe");
        }
    }

    // Part 4, item 26.
    #[test]
    fn what_the_driver_would_pass_over_is_refused() {
        for (bad, expected) in [
            ("postgres://u:p@localhost/d?sslmode=banana", "`sslmode=banana` is none of"),
            ("postgres://u:p@localhost/d?sslmode=", "`sslmode=` is none of"),
            ("postgres://u:p@localhost/d?sslmod=verify-full", "unknown parameter `sslmod`"),
            ("postgres://u:p@localhost/d?connect_timeout=3", "unknown parameter `connect_timeout`"),
            ("postgres://u:p@localhost/d?sslmode=disable&ssl-mode=require", "more than once"),
            ("postgres://u:p@localhost/d?host=a&hostaddr=10.0.0.1", "more than once"),
            ("postgres://u:p@localhost/d?host=a,b", "several hosts"),
            ("postgres:///d", "names no host"),
            ("postgres://u:p@localhost/d?host=", "names no host"),
            ("mysql://u:p@localhost/d", "no URL of a PostgreSQL"),
            ("postgres", "no URL of a PostgreSQL"),
        ] {
            for insecure in [false, true] {
                let found = complaints(bad, insecure);
                assert!(
                    found.iter().any(|(message, _)| message.contains(expected)),
                    "{bad}: {found:?}"
                );
                assert!(found.iter().all(|(message, _)| !message.contains("u:p")));
            }
        }
    }
}
