//! Field names as an application behind CGI sees them, and those that it must never get from a client.

/// Names that go whatever is configured, folded.
const ALWAYS: [&str; 15] = [
    "x_user",
    "authorization",
    "forwarded",
    "x_forwarded",
    "x_real_ip",
    "x_client_ip",
    "x_request_id",
    "x_original_url",
    "x_original_uri",
    "x_rewrite_url",
    "x_http_method",
    "x_http_method_override",
    "x_method_override",
    "proxy",
    "proxy_authorization",
];

/// As CGI makes a variable of a field's name.
#[must_use]
pub fn folded(name: &str) -> String {
    let one = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    name.chars().map(one).collect()
}

/// Whether a field of this folded name must never pass.
#[must_use]
pub fn always_goes(folded: &str) -> bool {
    folded.starts_with("x_forwarded_") || ALWAYS.contains(&folded)
}
