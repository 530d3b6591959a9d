//! Other spellings of one path that some applications take for it: another case of its letters, and a format behind a dot.

use std::borrow::Cow;

/// The text without regard to case, after Unicode's simple and special mappings: `É`, `ſ` and the Kelvin sign fold as they do
/// in applications that compare in upper case, and in those that compare in lower case. Slashes stay where they are.
pub(super) fn folded(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii()) {
        return Cow::Borrowed(text);
    }
    if text.is_ascii() {
        return Cow::Owned(text.to_ascii_lowercase());
    }
    // In lower case it is `i` with a dot above, or `i` alone, according to the language; the latter is the wider one.
    let plain = |character: char| if character == 'İ' { 'i' } else { character };
    let lower = text.chars().map(plain).flat_map(char::to_lowercase);
    Cow::Owned(lower.flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect())
}

/// The path without the format of its last segment: `/admin` for `/admin.json` (Rails, Struts, Spring), and as well without all
/// that follows its first dot. A name that begins with a dot has no format.
pub(super) fn without_suffix(path: &str) -> impl Iterator<Item = &str> {
    let whole = path.strip_suffix('/').unwrap_or(path);
    let start = whole.rfind('/').map_or(0, |slash| slash + 1);
    let name = whole.get(start..).unwrap_or_default();
    let (first, last) = (name.trim_start_matches('.').find('.'), name.rfind('.'));
    let hidden = name.len() - name.trim_start_matches('.').len();
    let last = last.filter(|at| *at > hidden);
    let first = first.map(|at| at + hidden).filter(|at| Some(*at) != last && *at > hidden);
    last.into_iter().chain(first).filter_map(move |at| whole.get(..start + at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // Part 4, item 3.
    #[test]
    fn letters_fold_as_applications_fold_them() {
        for (text, plain) in [
            ("/admin", "/admin"),
            ("/ADMIN", "/admin"),
            ("/\u{212a}ey", "/key"),
            ("/u\u{17f}er", "/user"),
            ("/CAFÉ", "/café"),
            ("/adm\u{131}n", "/admin"),
            ("/ADM\u{130}N", "/admin"),
            ("/STRASSE", "/straße"),
            ("/STRA\u{1e9e}E", "/strasse"),
            ("/ΣΟΦΟΣ", "/σοφος"),
            ("/σοφος", "/σοφοσ"),
            ("/\u{212b}", "/å"),
            ("/\u{2126}", "/ω"),
        ] {
            assert_eq!(folded(text), folded(plain), "{text}");
        }
        assert_ne!(folded("/admin"), folded("/adminx"));
        assert!(matches!(folded("/a-z/0_9.~\u{1}"), Cow::Borrowed(_)));
    }

    // Part 4, item 3.
    #[test]
    fn the_format_of_the_last_segment_can_be_left_out() {
        for (path, without) in [
            ("/admin.json", &["/admin"][..]),
            ("/admin.json/", &["/admin"]),
            ("/a/b.tar.gz", &["/a/b.tar", "/a/b"]),
            ("/a.x/b", &[]),
            ("/.env", &[]),
            ("/..env", &[]),
            ("/.env.json", &["/.env"]),
            ("/a/.b.c.d", &["/a/.b.c", "/a/.b"]),
            ("/", &[]),
            ("/a/", &[]),
            ("/admin.\u{fffd}", &["/admin"]),
        ] {
            assert_eq!(without_suffix(path).collect::<Vec<_>>(), without, "{path}");
        }
    }

    proptest! {
        #[test]
        fn folding_is_done_once(text in any::<String>()) {
            let once = folded(&text).into_owned();
            prop_assert_eq!(folded(&once), once.as_str());
            for other in [text.to_lowercase(), text.to_uppercase()] {
                let other = other.replace('\u{307}', "");
                prop_assert_eq!(folded(&other), once.replace('\u{307}', ""));
            }
        }

        #[test]
        fn slashes_stay(text in any::<String>()) {
            prop_assert_eq!(folded(&text).split('/').count(), text.split('/').count());
        }
    }
}
