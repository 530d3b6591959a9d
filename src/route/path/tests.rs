use super::*;
use proptest::prelude::*;

const EVERYTHING: PathAllowances = PathAllowances::ALL;

#[test]
fn h1_needless_escapes_are_undone_and_the_rest_is_spelt_in_one_way() {
    for (raw, spelling, decoded) in [
        ("/", "/", "/"),
        ("/%61dmin", "/admin", "/admin"),
        ("/a%2db", "/a-b", "/a-b"),
        ("/a%20b", "/a%20b", "/a b"),
        ("/a%3fx", "/a%3Fx", "/a?x"),
        ("/a%23x", "/a%23x", "/a#x"),
        ("/%c3%a9", "/%C3%A9", "/é"),
        ("/100%25", "/100%25", "/100%"),
        ("/a[1]|", "/a%5B1%5D%7C", "/a[1]|"),
        ("/admin/", "/admin/", "/admin/"),
        ("/a%21!", "/a%21!", "/a!!"),
        ("/a%2fb", "/a%2Fb", "/a\u{1}b"),
        ("/a%252fb", "/a%252fb", "/a%2fb"),
        ("/a%5cb", "/a%5Cb", "/a\\b"),
        ("/caf%e9", "/caf%E9", "/caf\u{fffd}"),
        ("/D.C.", "/D.C.", "/D.C."),
        ("/a%20", "/a%20", "/a "),
    ] {
        let path = RequestPath::parse(raw.as_bytes()).unwrap();
        assert_eq!((path.spelling(), path.decoded()), (spelling, decoded), "{raw}");
    }
}

#[test]
fn h2_what_two_parties_could_read_in_two_ways_is_refused() {
    for (raw, error) in [
        (&b"admin"[..], PathError::NotAbsolute),
        (b"", PathError::NotAbsolute),
        (b"*", PathError::NotAbsolute),
        (b"?x", PathError::NotAbsolute),
        (b"/..", PathError::DotSegment),
        (b"/public/../admin", PathError::DotSegment),
        (b"/public/%2e%2e/admin", PathError::DotSegment),
        (b"/public/.%2E/admin", PathError::DotSegment),
        (b"/./admin", PathError::DotSegment),
        (b"/admin/.", PathError::DotSegment),
        (b"/admin/...", PathError::DotSegment),
        (b"/public/..%20/admin", PathError::DotSegment),
        (b"/public/.%20./admin", PathError::DotSegment),
        (b"/admin%00", PathError::Character),
        (b"/admin%0a", PathError::Character),
        (b"/a%7f", PathError::Character),
        (b"/a%c2%85", PathError::Character),
        (b"/admin\\x", PathError::Character),
        (b"/admin#x", PathError::Character),
        (b"/a b", PathError::Character),
        (b"/a\"b", PathError::Character),
        (b"/a<b>", PathError::Character),
        (b"/\xc3\xa9", PathError::Character),
        (b"/%zz", PathError::Escape),
        (b"/%", PathError::Escape),
        (b"/%4", PathError::Escape),
        (b"/a;x/b%3Bc", PathError::Ambiguous),
        (b"/a%3bx;y", PathError::Ambiguous),
    ] {
        let text = String::from_utf8_lossy(raw);
        assert_eq!(RequestPath::parse(raw), Err(error), "{text}");
    }
    let long = format!("/{}", "a".repeat(MAX_PATH_BYTES));
    assert_eq!(RequestPath::parse(long.as_bytes()), Err(PathError::Length));
}

#[test]
fn h2_ambiguous_paths_name_what_must_be_allowed() {
    use Allowance as A;
    for (raw, needs) in [
        ("/a/b/", &[][..]),
        ("//admin", &[A::EmptySegments]),
        ("/admin//x", &[A::EmptySegments]),
        ("/admin;x=1", &[A::Semicolon]),
        ("/admin%3Bx%3By", &[A::Semicolon]),
        ("/admin%2Fx", &[A::EncodedSlash]),
        ("/admin%2f", &[A::EncodedSlash]),
        ("/a;x%2f/", &[A::Semicolon, A::EncodedSlash]),
        ("/public/%252e%252e/admin", &[A::EncodedPercent]),
        ("/public/%25%32e%25%32e/admin", &[A::EncodedPercent]),
        ("/%25%30%30", &[A::EncodedPercent]),
        ("/a%25%32Fb", &[A::EncodedPercent]),
        ("/job/feature%252Fx", &[A::EncodedPercent]),
        ("/files/100%25ab", &[A::EncodedPercent]),
        ("/files/100%25", &[]),
        ("/files/100%25xy", &[]),
        ("/admin.", &[A::TrailingDot]),
        ("/wiki/Washington_D.C.", &[A::TrailingDot]),
        ("/a%2e%2e%2e/b", &[A::TrailingDot]),
        ("/dav/My%20Dir%20/x", &[A::TrailingSpace]),
        ("/admin%C2%A0", &[A::TrailingSpace]),
        ("/admin%E3%80%80/", &[A::TrailingSpace]),
        ("/DOMAIN%5Cjoe", &[A::EncodedBackslash]),
        ("/caf%E9", &[A::NonUtf8]),
        ("/public/%c0%ae%c0%ae/admin", &[A::NonUtf8]),
        ("/%ff.", &[A::TrailingDot, A::NonUtf8]),
    ] {
        let path = RequestPath::parse(raw.as_bytes()).unwrap();
        assert_eq!(path.needs(), needs.iter().copied().collect(), "{raw}");
        assert_eq!(path.is_ambiguous(), !needs.is_empty(), "{raw}");
        let refused = needs.first().map(|needed| PathError::NotAllowed(*needed));
        assert_eq!(path.readings(PathAllowances::default()).err(), refused, "{raw}");
    }
}

proptest! {
    #[test]
    fn reading_the_spelling_changes_nothing(raw in "/[ -~]{0,24}") {
        if let Ok(path) = RequestPath::parse(raw.as_bytes()) {
            prop_assert_eq!(RequestPath::parse(path.spelling().as_bytes()), Ok(path.clone()));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(raw in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(path) = RequestPath::parse(&raw) {
            prop_assert!(path.spelling().starts_with('/'));
            prop_assert!(path.spelling().bytes().all(|b| matches!(b, 0x21..=0x7e)));
            let readings = path.readings(EVERYTHING).unwrap_or_default();
            prop_assert!(readings.iter().all(|r| !r.split('/').any(|s| s == ".." || s == ".")));
            prop_assert_eq!(RequestPath::parse(path.spelling().as_bytes()), Ok(path.clone()));
            // Every single allowance that is missing is said, and none that is there.
            for allowance in path.needs().iter() {
                let others = PathAllowances::ALL.iter().filter(|other| *other != allowance);
                let refused = path.readings(others.collect());
                prop_assert_eq!(refused.err(), Some(PathError::NotAllowed(allowance)));
            }
        }
    }
}
