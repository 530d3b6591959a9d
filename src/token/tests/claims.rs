//! What a payload may say once its signature holds.

use super::*;

#[test]
fn b2_every_required_claim_is_required_and_a_text() {
    let mint = Mint::any();
    assert!(mint.with_payload(claims().to_string().as_bytes()).is_ok());
    for name in ["sub", "client_id", "jti", "exp", "iat"] {
        assert!(malformed(mint.with_claim(name, None)), "{name}");
    }
    assert_eq!(mint.with_claim("iss", None), Err(VerifyError::WrongIssuer));
    assert_eq!(mint.with_claim("aud", None), Err(VerifyError::WrongAudience));
    for name in ["client_id", "jti"] {
        let long = "x".repeat(129);
        for bad in [json!(""), json!(7), json!(null), json!(["a"]), json!("a b"), json!(long)] {
            assert!(malformed(mint.with_claim(name, Some(bad.clone()))), "{name} {bad}");
        }
    }
    // What is not required may be absent, and what is unknown is no matter.
    assert!(mint.with_claim("nbf", None).is_ok());
    assert!(mint.with_claim("amr", Some(json!({ "any": ["thing"] }))).is_ok());
}

#[test]
fn b9_duplicate_claims_are_refused() {
    let mint = Mint::any();
    let honest = claims().to_string();
    for more in [
        r#","sub":"root"}"#,
        r#","s\u0075b":"root"}"#,
        r#","exp":99999999999}"#,
        r#","\u0065xp":99999999999}"#,
        r#","unknown":1,"unknown":1}"#,
        r#","act":{"sub":"a","sub":"b"}}"#,
    ] {
        let payload = honest.replacen('}', more, 1);
        assert!(malformed(mint.with_payload(payload.as_bytes())), "{more}");
    }
    let payload = honest.replacen('}', r#","act":{"sub":"root"}}"#, 1);
    assert_eq!(mint.with_payload(payload.as_bytes()).unwrap().subject().as_str(), "alice");
}

/// Every wrong type of a NumericDate, as JSON text since some are no `Value`.
const NO_TIMES: [&str; 16] = [
    "true",
    "false",
    "null",
    "\"1900000000\"",
    "\"\"",
    "[]",
    "[1900000000]",
    "{}",
    "-1",
    "1900000000.5",
    "1.9e9",
    "1e400",
    "NaN",
    "253402300800",
    "18446744073709551615",
    "99999999999999999999999999",
];

fn with_raw_claim(mint: &Mint, name: &str, raw: &str) -> Result<VerifiedToken, VerifyError> {
    let payload = changed(claims(), name, Some(json!("RAW"))).to_string();
    mint.with_payload(payload.replacen("\"RAW\"", raw, 1).as_bytes())
}

#[test]
fn b10_exp_is_a_point_of_time_and_is_obeyed() {
    let mint = Mint::any();
    for raw in NO_TIMES {
        assert!(malformed(with_raw_claim(&mint, "exp", raw)), "{raw}");
    }
    assert!(with_raw_claim(&mint, "exp", "253402300799").is_ok());
    let now = NOW.as_secs();
    for (exp, valid) in
        [(0, false), (now - 31, false), (now - 30, false), (now - 29, true), (now, true)]
    {
        let result = mint.with_claim("exp", Some(json!(exp)));
        assert_eq!(result.is_ok(), valid, "{exp}");
        if !valid {
            assert_eq!(result, Err(VerifyError::Expired));
        }
    }
    // A token out of the cache ends at the same second.
    let token = mint.verify(&mint.good()).unwrap();
    let end = token.expires_at().plus(LEEWAY);
    assert_eq!(mint.verifier.recheck(&token, Timestamp::from_secs(end.as_secs() - 1)), Ok(()));
    assert_eq!(mint.verifier.recheck(&token, end), Err(VerifyError::Expired));
}

#[test]
fn b11_nbf_and_iat_are_points_of_time_and_are_obeyed() {
    let mint = Mint::any();
    let now = NOW.as_secs();
    for name in ["nbf", "iat"] {
        for raw in NO_TIMES {
            assert!(malformed(with_raw_claim(&mint, name, raw)), "{name} {raw}");
        }
        for (at, valid) in [(0, true), (now, true), (now + 30, true), (now + 31, false)] {
            let result = mint.with_claim(name, Some(json!(at)));
            assert_eq!(result.is_ok(), valid, "{name} {at}");
            if !valid {
                assert_eq!(result, Err(VerifyError::NotYetValid), "{name} {at}");
            }
        }
    }
    // A clock that was set back makes a remembered token wait again.
    let token = mint.verify(&mint.good()).unwrap();
    let early = Timestamp::from_secs(now - 31);
    assert_eq!(mint.verifier.recheck(&token, early), Err(VerifyError::NotYetValid));
}

#[test]
fn b12_the_issuer_is_exactly_ours() {
    let mint = Mint::any();
    assert!(mint.with_claim("iss", Some(json!(ISSUER))).is_ok());
    for bad in [
        json!("https://edge.example.com/"),
        json!("https://EDGE.example.com"),
        json!("https://edge.example.co"),
        json!("https://edge.example.com.evil.test"),
        json!(" https://edge.example.com"),
        json!("https://edge.example.com\u{0}"),
        json!(""),
        json!([ISSUER]),
        json!({ "iss": ISSUER }),
        json!(null),
        json!(1),
    ] {
        assert_eq!(
            mint.with_claim("iss", Some(bad.clone())),
            Err(VerifyError::WrongIssuer),
            "{bad}"
        );
    }
}

#[test]
fn b13_the_audience_contains_exactly_ours() {
    let mint = Mint::any();
    for good in [json!("legacy"), json!(["legacy"]), json!(["other", "legacy"])] {
        assert!(mint.with_claim("aud", Some(good.clone())).is_ok(), "{good}");
    }
    for bad in [
        json!("Legacy"),
        json!("legac"),
        json!("legacy "),
        json!("legacy other"),
        json!("legacy,other"),
        json!(""),
        json!([]),
        json!([5]),
        json!([null]),
        json!([["legacy"]]),
        json!(["legacy", 5]),
        json!({ "legacy": true }),
        json!({ "0": "legacy" }),
        json!(5),
        json!(null),
        json!(true),
    ] {
        let refused = mint.with_claim("aud", Some(bad.clone()));
        assert_eq!(refused, Err(VerifyError::WrongAudience), "{bad}");
    }
}

#[test]
fn b14_a_subject_that_could_not_be_a_header_value_is_refused_not_trimmed() {
    let mint = Mint::any();
    for bad in [
        json!(""),
        json!(" alice"),
        json!("alice "),
        json!("alice\r\nX-Admin: 1"),
        json!("alice\n"),
        json!("alice\u{0}"),
        json!("al\u{7f}ice"),
        json!("al\u{1b}ice"),
        json!("alice\u{200b}"),
        json!("\u{e4}lice"),
        json!("alice,root"),
        json!("x".repeat(257)),
        json!(7),
        json!(null),
        json!(["alice"]),
    ] {
        assert!(malformed(mint.with_claim("sub", Some(bad.clone()))), "{bad}");
    }
    for good in ["alice", "alice@example.com", "client:nightly"] {
        let token = mint.with_claim("sub", Some(json!(good))).unwrap();
        assert_eq!(token.subject().as_str(), good);
    }
}

#[test]
fn b16_a_payload_is_one_json_object_in_utf_8() {
    let mint = Mint::any();
    let honest = claims().to_string();
    let bom = format!("\u{feff}{honest}");
    let trailing = format!("{honest}{{}}");
    let surrogate = honest.replacen("t-1", "\\ud800", 1);
    let deep =
        honest.replacen('}', &format!(",\"x\":{}{}}}", "[".repeat(2000), "]".repeat(2000)), 1);
    let list = format!("[{honest}]");
    for bad in [&bom, &trailing, &surrogate, &deep, &list, "", "null", "\"alice\"", "{"] {
        assert!(malformed(mint.with_payload(bad.as_bytes())), "{bad:.40}");
    }
    let latin = [honest.as_bytes().split_last().unwrap().1, b",\"x\":\"\xe9\"}"].concat();
    assert!(malformed(mint.with_payload(&latin)));
    assert!(mint.with_payload(format!(" {honest}\n").as_bytes()).is_ok());
}

#[test]
fn b25_a_scope_of_the_wrong_type_grants_nothing() {
    let mint = Mint::any();
    for none in [
        json!(["orders:read"]),
        json!(5),
        json!(null),
        json!({ "orders:read": true }),
        json!(""),
        json!("orders:read  orders:write"),
        json!("orders:read\torders:write"),
        json!("s".repeat(4097)),
    ] {
        let token = mint.with_claim("scope", Some(none.clone())).unwrap();
        assert!(token.scope().is_empty(), "{none:.40}");
    }
    let without = changed(claims(), "scope", None);
    let scp = changed(without, "scp", Some(json!(["orders:read"]))).to_string();
    assert!(mint.with_payload(scp.as_bytes()).unwrap().scope().is_empty());
    let token = mint.with_claim("scope", Some(json!("orders:read"))).unwrap();
    assert!(token.scope().contains("orders:read"));
}
