//! The engine from both sides: who guesses is stopped, and nobody else is.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const MINUTE: Duration = Duration::from_mins(1);

fn throttle() -> Throttle {
    Throttle::new(Limits::default())
}

fn ip(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 + number).into()
}

fn after(duration: Duration) -> Timestamp {
    NOW.plus(duration)
}

/// One attempt from beginning to end: whether its outcome was told.
fn guess(throttle: &Throttle, user: &str, client: IpAddr, now: Timestamp) -> Result<(), u64> {
    let attempt = throttle.origin(client, now).check(Account::user(user));
    attempt.and_then(Attempt::failed).map_err(|wait| wait.retry_after.as_secs())
}

fn log_in(throttle: &Throttle, user: &str, client: IpAddr, now: Timestamp) -> Result<(), u64> {
    let attempt = throttle.origin(client, now).check(Account::user(user));
    attempt.and_then(Attempt::succeeded).map_err(|wait| wait.retry_after.as_secs())
}

/// How many outcomes of this many guesses are told.
fn told(throttle: &Throttle, user: &str, client: IpAddr, now: Timestamp, guesses: usize) -> usize {
    (0..guesses).filter(|_| guess(throttle, user, client, now).is_ok()).count()
}

#[test]
fn the_sixth_guess_waits_although_it_is_right_and_nobody_else_does() {
    let throttle = throttle();
    assert_eq!(told(&throttle, "alice", ip(1), NOW, 9), 5);
    assert_eq!(log_in(&throttle, "alice", ip(1), NOW), Err(300));
    assert_eq!(log_in(&throttle, "alice", ip(1), after(MINUTE)), Err(240));
    assert_eq!(log_in(&throttle, "alice", ip(2), NOW), Ok(()), "another address");
    assert_eq!(log_in(&throttle, "bob", ip(1), NOW), Ok(()), "another user");
    assert_eq!(log_in(&throttle, "alice", ip(1), after(5 * MINUTE)), Ok(()), "the ban is over");
}

#[test]
fn each_further_ban_is_twice_as_long_until_it_is_forgotten() {
    let throttle = throttle();
    let mut now = NOW;
    for minutes in [5, 10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440] {
        assert_eq!(told(&throttle, "alice", ip(1), now, 9), 5);
        assert_eq!(guess(&throttle, "alice", ip(1), now), Err(minutes * 60));
        now = now.plus(MINUTE * u32::try_from(minutes).unwrap());
    }
    now = now.plus(FORGET_AFTER);
    assert_eq!(told(&throttle, "alice", ip(1), now, 9), 5);
    assert_eq!(guess(&throttle, "alice", ip(1), now), Err(300));
}

#[test]
fn failures_count_only_within_their_time_and_until_a_success() {
    let throttle = throttle();
    assert_eq!(told(&throttle, "alice", ip(1), NOW, 4), 4);
    assert_eq!(told(&throttle, "alice", ip(1), after(5 * MINUTE), 4), 4, "the first are too old");
    assert_eq!(log_in(&throttle, "alice", ip(1), after(6 * MINUTE)), Ok(()));
    assert_eq!(told(&throttle, "alice", ip(1), after(7 * MINUTE), 9), 5, "the second are forgiven");
}

#[test]
fn a_success_does_not_forgive_the_address() {
    let throttle = throttle();
    let mut told = 0;
    for number in 0..60 {
        told += usize::from(guess(&throttle, &format!("user{number}"), ip(1), NOW).is_ok());
        if number % 3 == 0 {
            let own = log_in(&throttle, "mallory", ip(1), NOW);
            assert_eq!(own, if told < 30 { Ok(()) } else { Err(15 * 60) });
        }
    }
    assert_eq!(told, 30);
}

#[test]
fn an_ipv6_network_is_one_address() {
    let throttle = throttle();
    let host = |n: u32| -> IpAddr { format!("2001:db8:1:2::{n:x}").parse().unwrap() };
    assert_eq!((0..9).filter(|n| guess(&throttle, "alice", host(*n), NOW).is_ok()).count(), 5);
    let neighbour = "2001:db8:1:3::1".parse().unwrap();
    assert_eq!(log_in(&throttle, "alice", neighbour, NOW), Ok(()));
    let mapped: IpAddr = "::ffff:10.0.0.7".parse().unwrap();
    assert_eq!(
        told(&throttle, "alice", ip(7), NOW, 3) + told(&throttle, "alice", mapped, NOW, 9),
        5
    );
}

#[test]
fn guesses_in_flight_side_by_side_gain_nothing() {
    let throttle = throttle();
    let origin = throttle.origin(ip(1), NOW);
    let attempts: Vec<_> = (0..40).map(|_| origin.check(Account::user("alice")).unwrap()).collect();
    let right = origin.check(Account::user("alice")).unwrap();
    let bystander = origin.check(Account::user("bob")).unwrap();
    let told = attempts.into_iter().filter_map(|attempt| attempt.failed().ok()).count();
    assert_eq!(told, 5);
    assert!(right.succeeded().is_err(), "nor is it told which one was right");
    assert!(bystander.succeeded().is_ok());
    assert_eq!(guess(&throttle, "alice", ip(1), NOW), Err(300), "and it was one ban, not eight");
}

#[test]
fn an_attempt_without_an_outcome_counts_nothing() {
    let throttle = throttle();
    for _ in 0..100 {
        drop(throttle.origin(ip(1), NOW).check(Account::user("alice")).unwrap());
    }
    assert_eq!(told(&throttle, "alice", ip(1), NOW, 9), 5);
}

#[test]
fn a_botnet_slows_strangers_and_never_the_owner() {
    let throttle = throttle();
    assert_eq!(log_in(&throttle, "alice", ip(1), NOW), Ok(()));
    let first = (100..200).filter(|n| guess(&throttle, "alice", ip(*n), NOW).is_ok()).count();
    assert_eq!(first, 21, "four times what one address may have, and the first turn");
    assert_eq!(log_in(&throttle, "alice", ip(1), NOW), Ok(()), "the owner is known here");
    assert_eq!(told(&throttle, "alice", ip(1), NOW, 2), 2, "and may mistype");
    assert_eq!(log_in(&throttle, "bob", ip(100), NOW), Ok(()), "it is about alice only");

    // Strangers take turns, further and further apart.
    let mut told = 0;
    for second in 0..3600 {
        let now = after(Duration::from_secs(second));
        let stranger = ip(1000 + u32::try_from(second).unwrap());
        told += usize::from(guess(&throttle, "alice", stranger, now).is_ok());
    }
    assert!((40..150).contains(&told), "{told} guesses in an hour");
    assert_eq!(log_in(&throttle, "alice", ip(1), after(60 * MINUTE)), Ok(()));
}

#[test]
fn a_stranger_whose_turn_it_is_hears_the_truth_and_others_in_flight_do_not() {
    let throttle = throttle();
    let early: Vec<_> = (0..40)
        .map(|n| throttle.origin(ip(100 + n), NOW).check(Account::user("alice")).unwrap())
        .collect();
    assert_eq!(early.into_iter().filter_map(|attempt| attempt.failed().ok()).count(), 20);
    let turn = throttle.origin(ip(300), NOW).check(Account::user("alice")).unwrap();
    assert!(throttle.origin(ip(301), NOW).check(Account::user("alice")).is_err());
    assert_eq!(turn.succeeded(), Ok(()));
    assert_eq!(log_in(&throttle, "alice", ip(300), NOW), Ok(()), "who proved it is known");
}

// Part 4, item 19.
#[test]
fn a_turn_of_which_nothing_came_goes_back() {
    let throttle = throttle();
    assert_eq!((100..200).filter(|n| guess(&throttle, "alice", ip(*n), NOW).is_ok()).count(), 21);
    let later = after(MINUTE);
    for number in 300..310 {
        drop(throttle.origin(ip(number), later).check(Account::user("alice")).unwrap());
    }
    let turn = throttle.origin(ip(310), later).check(Account::user("alice")).unwrap();
    assert!(throttle.origin(ip(311), later).check(Account::user("alice")).is_err());
    // One that has learned something does not.
    assert_eq!(turn.failed(), Ok(()));
    assert!(throttle.origin(ip(311), later).check(Account::user("alice")).is_err());
}

#[test]
fn invented_names_without_end_lock_out_nobody_and_free_nobody() {
    let throttle = Throttle(Mutex::new(Counts::new(Limits::default(), 4096, 1024)));
    assert_eq!(told(&throttle, "alice", ip(1), NOW, 9), 5);
    for number in 0..30 {
        told(&throttle, &format!("start{number}"), ip(2), NOW, 1);
    }
    assert_eq!(guess(&throttle, "more", ip(2), NOW), Err(900));
    assert_eq!(log_in(&throttle, "alice", ip(3), NOW), Ok(()));

    // From enough addresses that no address is banned: every name is a new entry.
    for number in 0..100_000 {
        assert_eq!(guess(&throttle, &format!("n{number}"), ip(1000 + number / 29), NOW), Ok(()));
    }
    let counts = throttle.0.lock();
    let full = [&counts.pairs, &counts.networks, &counts.accounts, &counts.known].map(Table::len);
    assert_eq!(full, [4096, 3451, 1024, 1]);
    drop(counts);

    assert_eq!(log_in(&throttle, "alice", ip(3), NOW), Ok(()), "known or not, alice logs in");
    assert_eq!(log_in(&throttle, "alice", ip(4), NOW), Ok(()));
    assert_eq!(log_in(&throttle, "bob", ip(5), NOW), Ok(()));
    assert_eq!(log_in(&throttle, "alice", ip(1), NOW), Err(300), "who was banned still is");
    assert_eq!(guess(&throttle, "more", ip(2), NOW), Err(900));
}

#[test]
fn memory_is_given_back_once_everything_has_faded() {
    let throttle = throttle();
    for number in 0..1000 {
        told(&throttle, &format!("n{number}"), ip(number), NOW, 1);
    }
    let later = after(5 * MINUTE);
    for number in 0..1200 {
        told(&throttle, "alice", ip(5000 + number), later.plus(MINUTE * number * 6), 1);
    }
    assert!(throttle.0.lock().networks.len() < 10);
}

#[test]
fn limits_change_with_the_configuration_and_can_be_off() {
    let throttle = throttle();
    assert_eq!(told(&throttle, "alice", ip(1), NOW, 9), 5);
    throttle.set_limits(Limits { per_user: None, ..Limits::default() });
    assert_eq!(told(&throttle, "alice", ip(1), NOW, 99), 25, "the address has had five");
    throttle.set_limits(Limits::OFF);
    assert_eq!(told(&throttle, "alice", ip(1), NOW, 999), 999);
    let once = Limit { failures: 1, within: MINUTE, ban: MINUTE };
    throttle.set_limits(Limits { per_user: Some(once), per_address: None });
    assert_eq!(told(&throttle, "bob", ip(1), NOW, 9), 1);
}

#[test]
fn an_operator_sees_bans_and_ends_them() {
    let throttle = throttle();
    told(&throttle, "alice", ip(1), NOW, 9);
    told(&throttle, "alice", ip(2), NOW, 9);
    told(&throttle, "b\u{1b}ob", ip(2), NOW, 9);
    let shown = |now| throttle.bans(now).iter().map(ToString::to_string).collect::<Vec<_>>();
    let until = after(5 * MINUTE);
    assert_eq!(
        shown(NOW),
        [
            format!("user alice from 10.0.0.1/32 is banned until {until} (level 1)"),
            format!("user alice from 10.0.0.2/32 is banned until {until} (level 1)"),
            format!("user b\\u{{1b}}ob from 10.0.0.2/32 is banned until {until} (level 1)"),
        ]
    );
    assert!(shown(until).is_empty());
    let of = |account: Option<&str>, address: Option<u32>| Selector {
        account: account.map(Account::user),
        network: address.map(|n| Network::of(ip(n))),
    };
    assert_eq!(throttle.clear(&of(Some("carol"), None), NOW), 0);
    assert_eq!(throttle.clear(&of(Some("alice"), Some(2)), NOW), 1);
    assert_eq!(log_in(&throttle, "alice", ip(2), NOW), Ok(()));
    assert_eq!(guess(&throttle, "alice", ip(1), NOW), Err(300));
    assert_eq!(throttle.clear(&of(None, Some(2)), NOW), 1);
    assert_eq!(throttle.clear(&Selector::default(), NOW), 1);
    assert!(shown(NOW).is_empty());
    assert_eq!(told(&throttle, "alice", ip(1), NOW, 9), 5);
    assert_eq!(guess(&throttle, "alice", ip(1), NOW), Err(300), "and the next is a first ban");
}

/// The table of the store, with what is written to it.
#[derive(Default)]
struct Store(std::collections::BTreeMap<Key, Row>);

impl Store {
    fn write(&mut self, changes: &[Change]) {
        for change in changes {
            let row = change.onto(self.0.get(&change.row.key));
            self.0.insert(row.key.clone(), row);
        }
    }

    fn sync(&mut self, node: &Throttle, now: Timestamp) {
        self.write(&node.drain_changes(now));
        node.merge(&self.0.values().cloned().collect::<Vec<_>>(), now);
    }

    fn round(&mut self, nodes: &[&Throttle], now: Timestamp) {
        for node in nodes {
            self.sync(node, now);
        }
    }
}

#[test]
fn nodes_count_together() {
    let (a, b, c, mut store) = (throttle(), throttle(), throttle(), Store::default());
    assert_eq!(told(&a, "alice", ip(1), NOW, 3), 3);
    assert_eq!(told(&b, "alice", ip(1), NOW, 3), 3);
    store.round(&[&a, &b, &c, &a, &b, &c], NOW);
    for node in [&a, &b, &c] {
        assert_eq!(log_in(node, "alice", ip(1), NOW), Err(300), "one ban, and of the first level");
        assert_eq!(log_in(node, "alice", ip(2), NOW), Ok(()));
    }

    // A success on one node forgives on all; what failed meanwhile elsewhere stays.
    let later = after(10 * MINUTE);
    assert_eq!(told(&a, "bob", ip(3), later, 4), 4);
    store.round(&[&a, &b], later);
    assert_eq!(log_in(&b, "bob", ip(3), later), Ok(()));
    store.round(&[&b, &a], later);
    assert_eq!(told(&a, "bob", ip(3), later, 4), 4);

    // So does a clear, by a node or by a row that was written by hand.
    assert_eq!(told(&a, "bob", ip(3), later, 4), 1);
    store.round(&[&a, &b], later);
    assert_eq!(guess(&b, "bob", ip(3), later), Err(300));
    assert_eq!(b.clear(&Selector::default(), later), 1);
    store.round(&[&b, &a], later);
    assert_eq!(told(&a, "bob", ip(3), later, 9), 5);
    store.round(&[&a, &b], later);
    let banned: Vec<Row> = store
        .0
        .values()
        .filter(|r| Ban::of(r, &Selector::default(), later).is_some())
        .cloned()
        .collect();
    assert_eq!(banned.len(), 1);
    for row in banned {
        store.0.insert(row.key.clone(), row.cleared(later));
    }
    store.round(&[&b, &a], later);
    assert_eq!(log_in(&a, "bob", ip(3), later), Ok(()));
    assert_eq!(log_in(&b, "bob", ip(3), later), Ok(()));
}

#[test]
fn a_restarted_node_learns_what_the_others_know() {
    let (a, mut store) = (throttle(), Store::default());
    log_in(&a, "alice", ip(9), NOW).unwrap();
    told(&a, "bob", ip(1), NOW, 9);
    for number in 100..200 {
        told(&a, "alice", ip(number), NOW, 1);
    }
    store.sync(&a, NOW);
    let restarted = throttle();
    store.sync(&restarted, NOW);
    assert_eq!(guess(&restarted, "bob", ip(1), NOW), Err(300));
    assert_eq!(log_in(&restarted, "alice", ip(9), NOW), Ok(()), "known");
    assert_eq!(guess(&restarted, "alice", ip(500), NOW), Ok(()), "its turn");
    assert!(guess(&restarted, "alice", ip(501), NOW).is_err(), "not its turn");
    assert_eq!(restarted.bans(NOW), a.bans(NOW));
}

#[test]
fn what_could_not_be_written_is_brought_again() {
    let (a, b, mut store) = (throttle(), throttle(), Store::default());
    told(&a, "alice", ip(1), NOW, 3);
    let lost = a.drain_changes(NOW);
    assert!(a.drain_changes(NOW).is_empty());
    told(&a, "alice", ip(1), NOW, 1);
    a.give_back(&lost);
    told(&a, "bob", ip(1), NOW, 9);
    let lost = a.drain_changes(NOW);
    a.give_back(&lost);
    store.round(&[&a, &b], NOW);
    assert_eq!(told(&b, "alice", ip(1), NOW, 9), 1);
    assert_eq!(guess(&b, "bob", ip(1), NOW), Err(300));
}

#[test]
fn two_writers_come_to_the_same_row_in_either_order() {
    let change = |failures, level, at: u64| {
        let (key, at) = (Key::Network(Network::of(ip(1))), after(Duration::from_secs(at)));
        let (window_start, window_end) = (NOW, after(5 * MINUTE));
        let banned_until = if level > 0 { at.plus(MINUTE * level) } else { Timestamp::default() };
        let fades_at = at.plus(FORGET_AFTER);
        let row = Row {
            key,
            failures,
            window_start,
            window_end,
            level,
            banned_until,
            fades_at,
            updated_at: NOW,
        };
        Change { row, restarted: false, was_reset: false }
    };
    let changes = [change(2, 0, 0), change(3, 1, 4), change(1, 2, 2)];
    let written = |order: [usize; 3]| {
        let mut store = Store::default();
        for i in order {
            store.write(&changes[i..=i]);
        }
        store.0.into_values().next().unwrap()
    };
    let row = written([0, 1, 2]);
    assert_eq!((row.failures, row.level), (6, 2));
    for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        assert_eq!(written(order), row);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Guess(u8, u8),
    LogIn(u8, u8),
    Wait(u16),
    Sync,
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..20_u8, 0..6_u8).prop_map(|(user, net)| Step::Guess(user, net)),
        3 => (0..20_u8, 0..6_u8).prop_map(|(user, net)| Step::LogIn(user, net)),
        2 => (1..900_u16).prop_map(Step::Wait),
        1 => Just(Step::Sync),
        1 => Just(Step::Clear),
    ]
}

proptest! {
    /// Whoever has not failed is never banned as a pair, an address without failures never at all, and the tables keep
    /// their size, whatever happens in which order.
    #[test]
    fn nobody_is_banned_for_what_others_did(steps in prop::collection::vec(step(), 0..400)) {
        let few = Throttle(Mutex::new(Counts::new(Limits::default(), 8, 4)));
        let (other, mut store) = (throttle(), Store::default());
        let mut now = NOW;
        let mut failed = std::collections::HashSet::new();
        for step in steps {
            match step {
                Step::Guess(user, net) => {
                    failed.insert((user, net));
                    told(&few, &user.to_string(), ip(net.into()), now, 1);
                }
                Step::LogIn(user, net) => {
                    log_in(&few, &user.to_string(), ip(net.into()), now).ok();
                }
                Step::Wait(seconds) => now = now.plus(Duration::from_secs(seconds.into())),
                Step::Sync => {
                    store.sync(&few, now);
                    store.sync(&other, now);
                }
                Step::Clear => {
                    few.clear(&Selector::default(), now);
                }
            }
            for ban in few.bans(now).into_iter().chain(other.bans(now)) {
                let (user, net) = (ban.key.account().cloned(), ban.key.network());
                let guilty = failed.iter().any(|(u, n)| {
                    user.as_ref().is_none_or(|user| *user == Account::user(&u.to_string()))
                        && net.is_none_or(|net| net == Network::of(ip((*n).into())))
                });
                prop_assert!(guilty, "{}", ban);
                prop_assert!(ban.until <= now.plus(MAX_BAN));
            }
            let counts = few.0.lock();
            prop_assert!([&counts.pairs, &counts.networks, &counts.known].iter().all(|t| t.len() <= 8));
            prop_assert!(counts.accounts.len() <= 4);
        }
        prop_assert_eq!(log_in(&few, "new", ip(200), now), Ok(()));
        prop_assert_eq!(log_in(&other, "new", ip(200), now), Ok(()));
    }
}

// Part 4, item 18: thousands may be on their way when the ban comes.
#[test]
fn invented_tokens_that_were_in_flight_when_the_ban_came_make_it_no_longer() {
    let throttle = throttle();
    let early = throttle.origin(ip(1), NOW);
    for _ in 0..10_000 {
        early.invented_a_token();
    }
    let wait = |now| throttle.origin(ip(1), now).check_tokens().map_err(|wait| wait.retry_after);
    assert_eq!(wait(NOW), Err(15 * MINUTE));
    assert_eq!(wait(after(15 * MINUTE)), Ok(()));
}
