//! `portcullis users`: what it prints, the codes it ends with, and what it never takes. What running nodes make of it is in
//! `users_database`.

use serde_json::{Value, json};

use super::binary::{Site, ended};

const NOWHERE: &str = "127.0.0.1:9";

/// A configuration with users in the database.
fn site() -> Site {
    let site = Site::new(NOWHERE);
    let (users, _) =
        yaml().split_once("tests:").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    site.write("portcullis.yaml", users);
    site
}

fn yaml() -> String {
    let (from, to) =
        ("users: { file: users.yaml }", "state: { sqlite: state.db }\nusers: { database: true }");
    let yaml = Site::yaml(NOWHERE);
    assert!(yaml.contains(from));
    yaml.replacen(from, to, 1)
}

#[track_caller]
fn users(site: &Site, arguments: &[&str], input: &str, code: i32) -> (String, String) {
    let arguments = [&["users"], arguments, &["-c", "portcullis.yaml"]].concat();
    ended(&site.run(&arguments, input), code)
}

#[test]
fn a_users_whole_life() {
    let site = site();
    assert_eq!(users(&site, &["list"], "", 0).0, "");
    assert_eq!(users(&site, &["list", "--format", "json"], "", 0).0, "[]\n");
    let add = ["add", "dave", "--scopes", "orders:read orders:write"];
    let told = users(&site, &add, "secret words\n", 0).0;
    assert_eq!(told, "dave is added and may have: orders:read orders:write\n");
    assert_eq!(
        users(&site, &["add", "al"], "secret words\n", 0).0,
        "al is added and has no scopes\n"
    );
    let (out, err) = users(&site, &add, "secret words\n", 1);
    assert_eq!((&*out, &*err), ("", "portcullis: there is a user `dave` already\n"));
    users(&site, &["disable", "al"], "", 0);
    let (list, _) = users(&site, &["list"], "", 0);
    let lines =
        ["al    disabled  argon2id", "dave  enabled   argon2id       orders:read orders:write"];
    assert_eq!(list, lines.map(|line| format!("{line}\n")).concat());
    let list: Value =
        serde_json::from_str(&users(&site, &["list", "--format", "json"], "", 0).0).unwrap();
    let scopes = ["orders:read", "orders:write"];
    let expected = json!([
        { "name": "al", "scopes": [], "disabled": true, "algorithm": "argon2id" },
        { "name": "dave", "scopes": scopes, "disabled": false, "algorithm": "argon2id" },
    ]);
    assert_eq!(list, expected);
    users(&site, &["enable", "al"], "", 0);
    assert_eq!(users(&site, &["enable", "al"], "", 0).0, "al was not disabled\n");
    users(&site, &["passwd", "al"], "other words\n", 0);
    assert_eq!(users(&site, &["grant", "dave", "--scopes", ""], "", 0).0, "dave has no scopes\n");
    users(&site, &["remove", "dave"], "", 0);
    assert_eq!(users(&site, &["list"], "", 0).0, "al  enabled   argon2id\n");
}

#[test]
fn what_cannot_be_done_is_1_and_says_why() {
    let site = site();
    for command in ["passwd", "disable", "enable", "remove"] {
        let (out, err) = users(&site, &[command, "nobody"], "secret words\n", 1);
        assert_eq!((&*out, &*err), ("", "portcullis: there is no user `nobody`\n"), "{command}");
    }
    users(&site, &["grant", "nobody", "--scopes", "orders:read"], "", 1);
    for input in ["", "\n"] {
        let (_, err) = users(&site, &["add", "dave"], input, 1);
        assert!(err.contains("no password"), "{err}");
    }
    let long = "x".repeat(1025);
    assert!(users(&site, &["add", "dave"], &long, 1).1.contains("1024"));
    assert_eq!(users(&site, &["list"], "", 0).0, "");
    let (_, err) = users(&site, &["import", "--format", "csv", "absent.csv"], "", 1);
    assert!(err.starts_with("portcullis: absent.csv: "), "{err}");

    site.write("portcullis.yaml", Site::yaml(NOWHERE));
    let (_, err) = users(&site, &["list"], "", 1);
    assert!(err.contains("users: { database: true }"), "{err}");
}

#[test]
fn a_wrong_command_line_or_configuration_is_2() {
    let site = site();
    let (_, err) = users(&site, &["add", "dave", "--scopes", "orders:raed"], "secret words\n", 2);
    assert_eq!(
        err,
        "error: --scopes: `orders:raed` is not in the catalogue (did you mean `orders:read`?)\n"
    );
    for arguments in [
        &["add", "client:x"][..],
        &["add", "a b"],
        &["add", "a,b"],
        &["add", ""],
        &["add", "dave", "--password", "secret"],
        &["add", "dave", "secret"],
        &["grant", "dave"],
        &["grant", "dave", "--scopes", "a  b"],
        &["import", "list"],
        &["import", "--format", "ldap", "list"],
        &["forget", "dave"],
    ] {
        let (out, _) = users(&site, arguments, "secret words\n", 2);
        assert_eq!(out, "", "{arguments:?}");
    }
    assert_eq!(users(&site, &["list"], "", 0).0, "");
    site.write("portcullis.yaml", yaml().replacen("database: true", "databse: true", 1));
    let (_, err) = users(&site, &["list"], "", 2);
    assert!(err.contains("did you mean `database`?"), "{err}");
}

#[test]
fn a_long_list_is_added_whole() {
    let site = site();
    let hash = "$6$rounds=1000$saltstring$YiR6NSM0LQXmu7vAhkMXfkdYk7qtFouVx1Mdr3HmzXspT8kONjlpU3CsV7ezCB62uXJoAdaagsH4ck7/tB9js.";
    let list: String = (0..1_100).map(|number| format!("user{number:04}:{hash}\n")).collect();
    site.write("list", list);
    let told = users(&site, &["import", "--format", "htpasswd", "list"], "", 0).0;
    assert_eq!(told, "added: 1100, left alone: 0\n");
    let list = users(&site, &["list"], "", 0).0;
    let names: Vec<_> = list.lines().filter_map(|line| line.split(' ').next()).collect();
    let expected: Vec<_> = (0..1_100).map(|number| format!("user{number:04}")).collect();
    assert_eq!(names, expected);
}
