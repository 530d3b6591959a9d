use super::*;
use crate::route::path::RequestPath;

fn readings(raw: &str, allow: PathAllowances) -> Result<Vec<String>, PathError> {
    let path = RequestPath::parse(raw.as_bytes())?;
    Ok(path.readings(allow)?.into_iter().collect())
}

fn only(allowance: Allowance) -> PathAllowances {
    PathAllowances::default().with(allowance)
}

#[test]
fn every_reading_is_listed() {
    let expected = [
        "/a//c",
        "/a/b//c",
        "/a/b/c",
        "/a/c",
        "/a;x/b//c",
        "/a;x/b/c",
        "/a;x\u{1}b//c",
        "/a;x\u{1}b/c",
    ];
    let mut found = readings("/a;x%2Fb//c", PathAllowances::ALL).unwrap();
    found.sort();
    let mut expected = expected.map(str::to_owned);
    expected.sort();
    assert_eq!(found, expected);
}

// Part 4, item 7.
#[test]
fn each_allowance_lists_what_an_application_could_read() {
    use Allowance as A;
    for (raw, allowance, expected) in [
        ("/job/feature%252Fx", A::EncodedPercent, "/job/feature/x"),
        ("/job/feature%252Fx", A::EncodedPercent, "/job/feature\u{1}x"),
        ("/%2561dmin", A::EncodedPercent, "/admin"),
        ("/%252561dmin", A::EncodedPercent, "/admin"),
        ("/DOMAIN%255Cjoe", A::EncodedPercent, "/DOMAIN/joe"),
        ("/admin%253Bx", A::EncodedPercent, "/admin"),
        ("/admin%252E", A::EncodedPercent, "/admin"),
        ("/%25E9t%25E9", A::EncodedPercent, "/été"),
        ("/admin.", A::TrailingDot, "/admin"),
        ("/a./b..", A::TrailingDot, "/a/b"),
        ("/a./b..", A::TrailingDot, "/a./b"),
        ("/admin%20", A::TrailingSpace, "/admin"),
        ("/%20a%20/b%20", A::TrailingSpace, "/ a/b"),
        ("/%20a%20/b%20", A::TrailingSpace, "/a/b"),
        ("/admin%E2%80%83", A::TrailingSpace, "/admin"),
        ("/admin%5Cx", A::EncodedBackslash, "/admin/x"),
        ("/caf%E9", A::NonUtf8, "/café"),
        ("/%9Cuvre", A::NonUtf8, "/œuvre"),
        ("/%BDuvre", A::NonUtf8, "/œuvre"),
        ("/adm%FFin", A::NonUtf8, "/admin"),
        ("/%C1%A1dmin", A::NonUtf8, "/admin"),
        ("/%E0%81%A1dmin", A::NonUtf8, "/admin"),
        ("/a%C0%AFb", A::NonUtf8, "/a/b"),
        ("/a/%8E%BD/b", A::NonUtf8, "/a/b"),
        ("/admin.%FF", A::NonUtf8, "/admin"),
        ("/admin%A0", A::NonUtf8, "/admin"),
    ] {
        let found = readings(raw, only(allowance)).unwrap();
        assert!(found.iter().any(|reading| reading == expected), "{raw}: {found:?}");
    }
}

// Part 4, item 7.
#[test]
fn h2_dot_segments_are_refused_in_every_reading() {
    for raw in [
        "/public/..;/admin",
        "/..;x=1/admin",
        "/public/..%2fadmin",
        "/a;%2F../b",
        "/x%2F.",
        "/public/%252e%252e/admin",
        "/public/%25252e%25252e/admin",
        "/public/%25%32e%25%32e/admin",
        "/public/.%252e%252fadmin",
        "/public%5c..%5cadmin",
        "/public%255c..%255cadmin",
        "/public/..%5cadmin",
        "/public/.%ff./admin",
        "/public/%c0%ae%c0%ae/admin",
        "/public/%c0%ae%c0%ae%c0%afadmin",
        "/public/%e0%80%ae%e0%80%ae/admin",
        "/public/..%20/admin",
        "/public/..%C2%A0/admin",
        "/public/%2e%252e/admin",
        "/public/..%253b/admin",
    ] {
        assert_eq!(readings(raw, PathAllowances::ALL), Err(PathError::DotSegment), "{raw}");
    }
    for raw in ["/a%2500", "/a%250a", "/a%C0%80", "/a%25257f"] {
        assert_eq!(readings(raw, PathAllowances::ALL), Err(PathError::Character), "{raw}");
    }
}

// Part 4, item 7.
#[test]
fn what_comes_out_of_a_step_must_be_allowed_too() {
    use Allowance as A;
    for (raw, allowed, missing) in [
        ("/a%5C%5Cb", A::EncodedBackslash, A::EmptySegments),
        ("/a.;x", A::Semicolon, A::TrailingDot),
        ("/a./%FF", A::TrailingDot, A::NonUtf8),
        ("/a.%20", A::TrailingSpace, A::TrailingDot),
        ("/a/%20/b", A::TrailingSpace, A::EmptySegments),
    ] {
        assert_eq!(readings(raw, only(allowed)), Err(PathError::NotAllowed(missing)), "{raw}");
    }
}

#[test]
fn a_path_with_too_many_readings_is_refused() {
    let deep = format!("/%{}41", "25".repeat(500));
    assert_eq!(readings(&deep, PathAllowances::ALL), Err(PathError::Readings));
    let honest = readings("/a;x/b%2Fc//d", PathAllowances::ALL).unwrap();
    assert_eq!(honest.len(), 8);
}
