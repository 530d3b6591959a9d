//! Files that nobody would write: they are refused, soon, and without a panic.

use proptest::prelude::*;

use super::*;

#[test]
fn a_large_file_takes_no_long_time() {
    let million = |unit: &str| unit.repeat(1_000_000 / unit.len());
    for text in [
        million("a: "),
        million("? "),
        million("- "),
        million("["),
        million("{a: "),
        million("\""),
        million("# "),
        million("\n"),
        million("x"),
        format!("routes: [{}]", million("{x: 1}, ")),
        format!("scopes: {{{}}}", (0..80_000).map(|i| format!("s{i}: , ")).collect::<String>()),
        format!("tests: [{}]", million("~, ")),
        format!("routes: [{}]", million("{id: }, ")),
        million("&a "),
        million("!a "),
        million("a: |\n b\n"),
    ] {
        let clock = crate::clock::SystemClock;
        let start = crate::clock::Clock::instant(&clock);
        assert!(load_text(&text).config.is_none());
        let head: String = text.chars().take(12).collect();
        let spent = start.elapsed();
        assert!(spent.as_secs() < 20, "{head}: {spent:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC*") {
        prop_assert!(load_text(&text).config.is_none());
    }

    #[test]
    fn arbitrary_yaml_never_panics(
        text in "(([a-z]{1,4}|routes|scopes|tokens|[-?:,&*!|>'\"%@`#{}\\[\\]~]| |\n|\n  |\n- |: |1|\\.){0,3}){0,60}"
    ) {
        prop_assert!(load_text(&text).config.is_none());
    }

    #[test]
    fn a_damaged_file_never_panics(at in 0_usize..3000, byte in any::<u8>()) {
        let full = std::fs::read_to_string(Path::new(FIXTURES).join("valid/full.yaml")).unwrap();
        let mut bytes = full.into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        let mut world = World::new();
        world.files.insert(PathBuf::from("portcullis.yaml"), (bytes, 0o600));
        let loaded = load(Path::new("portcullis.yaml"), &world);
        prop_assert_eq!(loaded.config.is_some(), loaded.problems.is_empty());
    }
}
