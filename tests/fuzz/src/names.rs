//! Field names as an application behind CGI sees them, and those that it must never get from a client.

use portcullis::access::proxy_fields::NAMES;

/// As CGI makes a variable of a field's name.
#[must_use]
pub fn folded(name: &str) -> String {
    let one = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    name.chars().map(one).collect()
}

/// Whether a field of this name must not pass, whatever is configured, unless the upstream lets it pass by name.
#[must_use]
pub fn goes(name: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let name = folded(name);
    let listed = NAMES.iter().flat_map(|(_, names)| names.iter()).any(|own| {
        let own = own.replace('-', "_");
        own.strip_suffix('*').map_or(name == own, |beginning| name.starts_with(beginning))
    });
    !plain || listed || name == "x_user"
}
