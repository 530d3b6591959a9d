//! Whether who was verified may pass a route's rule: a comparison of bit sets, nothing else.

use crate::oauth::scope::ScopeBits;
use crate::route::rule::Requirement;

/// Whether a user, or a machine client, that holds these scopes meets the requirement.
///
/// # Errors
/// The scopes that would have sufficed; none at all when only a user could have passed (design: machine clients pass only
/// where scopes are named).
pub fn authorize(
    requirement: Requirement,
    is_user: bool,
    held: ScopeBits,
) -> Result<(), ScopeBits> {
    let (passes, wanted) = match requirement {
        Requirement::Authenticated => (is_user, ScopeBits::default()),
        Requirement::All(wanted) => (held.contains_all(wanted), wanted),
        Requirement::Any(wanted) => (held.contains_any(wanted), wanted),
    };
    if passes { Ok(()) } else { Err(wanted) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::scope::{Catalogue, Scope};

    #[test]
    fn c8_all_and_any_mean_what_they_say() {
        let names = Scope::parse("read readonly write").unwrap();
        let catalogue = Catalogue::new(names.iter().cloned()).unwrap();
        let bits = |text: &str| catalogue.bits(&Scope::parse(text).unwrap());
        for (requirement, held, passes) in [
            (Requirement::All(bits("read write")), "read write readonly", true),
            (Requirement::All(bits("read write")), "read", false),
            (Requirement::All(bits("read")), "readonly", false),
            (Requirement::Any(bits("read write")), "write", true),
            (Requirement::Any(bits("read write")), "readonly", false),
            (Requirement::Any(bits("")), "read", false),
            (Requirement::Authenticated, "", true),
        ] {
            assert_eq!(
                authorize(requirement, true, bits(held)).is_ok(),
                passes,
                "{requirement:?} {held}"
            );
        }
    }

    #[test]
    fn g13_a_machine_client_passes_only_where_scopes_are_named() {
        let catalogue = Catalogue::new(Scope::parse("a").unwrap().iter().cloned()).unwrap();
        let held = catalogue.bits(&Scope::parse("a").unwrap());
        assert!(authorize(Requirement::Authenticated, false, held).is_err());
        assert!(authorize(Requirement::All(held), false, held).is_ok());
    }
}
