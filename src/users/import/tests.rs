//! Lists good and bad, and what is said of each of their lines.

use proptest::prelude::*;

use super::*;
use crate::users::password::tests::LEGACY;

fn summary(import: &Import) -> (Vec<String>, Vec<(usize, ImportError)>) {
    let users = import.users.iter().map(|user| format!("{} {}", user.line, user.name));
    let problems = import.problems.iter().map(|problem| (problem.line, problem.reason));
    (users.collect(), problems.collect())
}

#[test]
fn htpasswd_lines_become_users() {
    let [bcrypt, scrypt, django, sha512] = LEGACY;
    let text = format!(
        "\u{feff}alice:{bcrypt}\r\n# a comment: x\n\n  # another\nbob:{scrypt}\ncarol:{django}\ndave:{sha512}"
    );
    let import = htpasswd(text.as_bytes());
    assert_eq!(
        summary(&import),
        (["1 alice", "5 bob", "6 carol", "7 dave"].map(str::to_owned).to_vec(), vec![])
    );
    assert_eq!(import.users[0].hash, bcrypt);
}

#[test]
fn csv_rows_become_users_whatever_the_order_of_their_columns() {
    let [bcrypt, scrypt, ..] = LEGACY;
    for text in [
        format!("name,hash\nalice,{bcrypt}\n\n\"bob\",\"{scrypt}\"\n"),
        format!("Password,Name\r\n{bcrypt},alice\r\n\r\n\"{scrypt}\",bob\r\n"),
        format!("\u{feff}name,password\n\"alice\",{bcrypt}\n\nbob,\"{scrypt}\""),
    ] {
        let import = csv(text.as_bytes());
        let expected = (["2 alice", "4 bob"].map(str::to_owned).to_vec(), vec![]);
        assert_eq!(summary(&import), expected, "{text}");
        assert_eq!(import.users[1].hash, scrypt);
    }
}

#[test]
fn csv_without_the_right_header_is_refused_as_a_whole() {
    let hash = LEGACY[0];
    for text in [
        String::new(),
        "\n\n".to_owned(),
        format!("alice,{hash}\n"),
        format!("name\nalice,{hash}\n"),
        format!("name,name\nalice,{hash}\n"),
        format!("hash,hash\n{hash},{hash}\n"),
        format!("name,hash,disabled\nalice,{hash},true\n"),
        format!("name;hash\nalice;{hash}\n"),
    ] {
        let (users, problems) = summary(&csv(text.as_bytes()));
        assert_eq!((users.len(), problems.len()), (0, 1), "{text}");
        assert_eq!(problems[0].1, ImportError::Header, "{text}");
    }
}

#[test]
fn every_bad_line_is_named_at_once_and_the_good_ones_stay() {
    let good = LEGACY[0];
    let absurd = good.replace("$04$", "$31$");
    let cut = good.strip_suffix('2').unwrap();
    let long = "x".repeat(10_000);
    let lines: Vec<(String, Option<&str>)> = vec![
        (format!("alice:{good}"), None),
        ("no colon".to_owned(), Some("`name:hash`")),
        (format!("alice:{good}"), Some("on line 1 already")),
        ("bob:$apr1$abcdefgh$S3cret".to_owned(), Some("MD5")),
        ("bob:{SHA}S3cret".to_owned(), Some("LDAP")),
        ("bob:$5$abcdefgh$S3cret".to_owned(), Some("sha256-crypt")),
        ("bob:abS3cretabcde".to_owned(), Some("old crypt(3)")),
        ("bob:S3cret".to_owned(), Some("in the clear")),
        ("bob:".to_owned(), Some("in the clear")),
        (format!("bob:{absurd}"), Some("a cost from 4 to 14")),
        (format!("bob:{cut}"), Some("a hash of bcrypt is")),
        (format!("bob:{good}:comment"), Some("a hash of bcrypt is")),
        (format!("bob:{long}"), Some("a password is stored as")),
        (format!(":{good}"), Some("a name has 1 to")),
        (format!("two words:{good}"), Some("visible ASCII")),
        (format!("zoë:{good}"), Some("visible ASCII")),
        (format!("bob:{good}"), None),
    ];
    let text: Vec<&str> = lines.iter().map(|(line, _)| &**line).collect();
    let import = htpasswd(text.join("\n").as_bytes());
    let mut problems = import.problems.iter();
    for (number, (line, expected)) in (1..).zip(&lines) {
        let Some(expected) = expected else { continue };
        let problem = problems.next().unwrap();
        assert_eq!(problem.line, number, "{line}");
        assert!(problem.to_string().contains(expected), "{line}: {problem}");
        assert!(!problem.to_string().contains("S3cret"), "{problem}");
    }
    assert_eq!(problems.next(), None);
    assert_eq!(summary(&import).0, ["1 alice", "17 bob"]);
    assert!(!format!("{import:?}").contains("$2b$"), "{import:?}");
}

#[test]
fn csv_rows_have_two_fields_of_utf_8() {
    let good = LEGACY[0];
    let text = [
        format!("name,hash\nalice\nbob,{good},x\n").into_bytes(),
        b"carol,\xff\n".to_vec(),
        format!("dave,{good}\ndave,{good}\n").into_bytes(),
        format!("\"erin\nx\",{good}\nfrank,{good}\n").into_bytes(),
    ];
    let (users, problems) = summary(&csv(&text.concat()));
    assert_eq!(users, ["5 dave", "9 frank"]);
    let expected = [
        (2, ImportError::Columns),
        (3, ImportError::Columns),
        (4, ImportError::Encoding),
        (6, ImportError::Repeated(5)),
        (7, ImportError::Name(SubjectError::Character)),
    ];
    assert_eq!(problems, expected);
}

#[test]
fn a_list_is_bounded() {
    let comment = vec![b'#'; MAX_IMPORT_BYTES];
    assert_eq!(htpasswd(&comment), Import::default());
    let more = [comment, vec![b'#']].concat();
    for import in [htpasswd(&more), csv(&more)] {
        assert_eq!(summary(&import).1, [(1, ImportError::Size)]);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let with_header = [b"name,hash\n".to_vec(), bytes.clone()].concat();
        for import in [htpasswd(&bytes), csv(&bytes), csv(&with_header)] {
            prop_assert!(import.users.is_empty());
        }
    }

    #[test]
    fn arbitrary_lines_never_panic(text in "([a-z#\", :\r\n]|\\$2b\\$|\\$6\\$){0,80}") {
        let with_header = format!("name,hash\n{text}");
        for import in [htpasswd(text.as_bytes()), csv(with_header.as_bytes())] {
            prop_assert!(import.users.is_empty());
        }
    }
}
