//! A byte order mark at the start of a file (YAML 1.2.2 section 5.2), as Windows editors write it.

use super::*;

const BOM: &str = "\u{feff}";

fn fixture(name: &str) -> String {
    std::fs::read_to_string(Path::new(FIXTURES).join(name)).unwrap()
}

// Part 4, item 31.
#[test]
fn the_configuration_may_begin_with_a_byte_order_mark_and_every_mistake_stays_where_it_is() {
    for (path, text, expected) in fixtures("valid").into_iter().chain(fixtures("invalid")) {
        let loaded = load_text(&format!("{BOM}{text}"));
        assert_eq!(report(&loaded), expected, "{}", path.display());
    }
}

// Part 4, item 31.
#[test]
fn users_and_lists_of_keys_may_begin_with_one_too() {
    let full = fixture("valid/full.yaml");
    let folder = fixture("valid/key-folder.yaml");
    for (text, name) in [(&full, "users.yaml"), (&folder, "folder/keys.yaml")] {
        let read = |start: &str, change: &dyn Fn(&str) -> String| {
            let mut world = World::new().with("portcullis.yaml", text);
            let (bytes, mode) = world.files[Path::new(name)].clone();
            let own = change(std::str::from_utf8(&bytes).unwrap());
            world.files.insert(PathBuf::from(name), (format!("{start}{own}").into_bytes(), mode));
            load(Path::new("portcullis.yaml"), &world)
        };
        let same = |own: &str| own.to_owned();
        assert!(read("", &same).config.is_some());
        assert!(read(BOM, &same).config.is_some(), "{}", report(&read(BOM, &same)));
        // A mistake in the first line, after the mark: an editor shows the mark in no column.
        let typed = |own: &str| own.replacen(':', "x:", 1);
        assert!(!report(&read("", &typed)).is_empty());
        assert_eq!(report(&read(BOM, &typed)), report(&read("", &typed)));
    }
}

// Part 4, item 31.
#[test]
fn a_mark_is_one_at_the_start_only() {
    let minimal = fixture("valid/minimal.yaml");
    assert!(load_text(&format!("{BOM}{minimal}")).config.is_some());
    for text in [
        format!("{BOM}{BOM}{minimal}"),
        minimal.replacen("tokens:", &format!("{BOM}tokens:"), 1),
        minimal.replacen("audience:", &format!("{BOM}audience:"), 1),
    ] {
        assert!(load_text(&text).config.is_none(), "{text:?}");
    }
}
