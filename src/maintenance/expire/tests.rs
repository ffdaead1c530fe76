//! Expiry: the rules by cases and against a slow oracle, and real tables.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use iceberg::spec::{MAIN_BRANCH, SnapshotReference, SnapshotRetention};
use proptest::prelude::*;

use super::rules::{Expired, History, Point, Rules, millis};
use super::*;

mod tables;

const HOUR: i64 = 60 * 60 * 1_000;
const NOW: i64 = 1_000 * HOUR;

/// Snapshots by id, parent (0: none) and age in hours.
fn history(snapshots: &[(i64, i64, i64)], refs: &[(&str, SnapshotReference)]) -> History {
    let point = |(id, parent, hours): &(i64, i64, i64)| {
        let point = Point {
            parent: (*parent != 0).then_some(*parent),
            at_ms: NOW - hours * HOUR,
        };
        (*id, point)
    };
    let refs = refs
        .iter()
        .map(|(name, it)| ((*name).to_owned(), it.clone()));
    History {
        snapshots: snapshots.iter().map(point).collect(),
        refs: refs.collect(),
        log: Vec::new(),
    }
}

fn branch(id: i64) -> SnapshotReference {
    SnapshotReference::new(id, SnapshotRetention::branch(None, None, None))
}

fn tag(id: i64, max_ref_age_ms: Option<i64>) -> SnapshotReference {
    SnapshotReference::new(id, SnapshotRetention::Tag { max_ref_age_ms })
}

/// Five snapshots, one after another, 50, 40, …, 10 hours old.
const CHAIN: [(i64, i64, i64); 5] = [(1, 0, 50), (2, 1, 40), (3, 2, 30), (4, 3, 20), (5, 4, 10)];

fn rules(max_age_hours: i64, keep_last: usize) -> Rules {
    Rules {
        now_ms: NOW,
        max_age_ms: max_age_hours * HOUR,
        keep_last,
        readers_ms: millis(READERS),
        max_ref_age_ms: i64::MAX,
    }
}

fn snapshots(expired: &Expired) -> Vec<i64> {
    expired.snapshots.iter().copied().collect()
}

fn refs(expired: &Expired) -> Vec<&str> {
    expired.refs.iter().map(String::as_str).collect()
}

#[test]
fn the_current_snapshot_and_young_ones_stay() {
    let chain = history(&CHAIN, &[(MAIN_BRANCH, branch(5))]);
    let expired = |age, least| snapshots(&rules(age, least).expired(&chain));
    assert_eq!(expired(5, 1), [1, 2, 3, 4]);
    assert_eq!(expired(30, 1), [1, 2]);
    assert_eq!(expired(29, 1), [1, 2, 3]);
    assert_eq!(expired(100, 1), [0; 0]);
    assert_eq!(expired(5, 3), [1, 2]);
    assert_eq!(expired(5, 0), [1, 2, 3, 4]);
    assert_eq!(expired(5, 9), [0; 0]);
    assert_eq!(rules(5, 1).expired(&History::default()), Expired::default());
}

#[test]
fn tags_keep_their_own_snapshot_and_branches_their_history() {
    let mut all = CHAIN.to_vec();
    all.extend([(6, 2, 35), (7, 6, 15)]);
    let side = SnapshotReference::new(7, SnapshotRetention::branch(Some(2), None, None));
    let tagged = history(
        &all,
        &[
            (MAIN_BRANCH, branch(5)),
            ("v1", tag(1, None)),
            ("side", side),
        ],
    );
    let expired = rules(5, 1).expired(&tagged);
    assert_eq!(snapshots(&expired), [2, 3, 4]);
    assert_eq!(refs(&expired), [""; 0]);

    let side = SnapshotReference::new(7, SnapshotRetention::branch(None, Some(38 * HOUR), None));
    let aged = history(&all, &[(MAIN_BRANCH, branch(5)), ("side", side)]);
    assert_eq!(snapshots(&rules(5, 1).expired(&aged)), [1, 2, 3, 4]);
}

#[test]
fn a_ref_may_have_become_too_old() {
    let tags = [
        (MAIN_BRANCH, branch(5)),
        ("old", tag(1, Some(49 * HOUR))),
        ("just", tag(2, Some(40 * HOUR))),
        ("table", tag(3, None)),
    ];
    let tagged = history(&CHAIN, &tags);
    let expired = rules(5, 1).expired(&tagged);
    assert_eq!(
        (snapshots(&expired), refs(&expired)),
        (vec![1, 4], vec!["old"])
    );
    let strict = Rules {
        max_ref_age_ms: 25 * HOUR,
        ..rules(5, 1)
    };
    let expired = strict.expired(&tagged);
    assert_eq!(snapshots(&expired), [1, 3, 4]);
    assert_eq!(refs(&expired), ["old", "table"]);
    let main = Rules {
        max_ref_age_ms: 1,
        ..rules(5, 1)
    };
    let alone = history(&CHAIN, &[(MAIN_BRANCH, branch(5))]);
    assert_eq!(refs(&main.expired(&alone)), [""; 0]);
}

#[test]
fn snapshots_that_no_ref_leads_to_go_by_age() {
    let all = [(1, 0, 50), (2, 1, 40), (3, 1, 45), (4, 1, 20)];
    let set_back = history(&all, &[(MAIN_BRANCH, branch(2))]);
    assert_eq!(snapshots(&rules(30, 1).expired(&set_back)), [1, 3]);
    assert_eq!(snapshots(&rules(48, 1).expired(&set_back)), [1]);
    // What a branch leads to goes by that branch's rules only.
    let short = SnapshotReference::new(2, SnapshotRetention::branch(None, Some(1), None));
    let own = history(&all, &[(MAIN_BRANCH, short)]);
    assert_eq!(snapshots(&rules(60, 1).expired(&own)), [1]);
}

/// However old it is: what was current a moment ago may still be read.
#[test]
fn what_readers_may_have_pinned_stays() {
    let late = [(1, 0, 50), (2, 1, 40), (3, 2, 0)];
    let chain = history(&late, &[(MAIN_BRANCH, branch(3))]);
    assert_eq!(snapshots(&rules(5, 1).expired(&chain)), [1]);

    let mut set_back = history(&CHAIN, &[(MAIN_BRANCH, branch(2))]);
    let at = |hours| NOW - hours * HOUR;
    set_back.log = vec![(at(50), 1), (at(40), 2), (at(10), 5), (NOW - HOUR / 2, 2)];
    assert_eq!(snapshots(&rules(5, 1).expired(&set_back)), [1, 3, 4]);
    set_back.log = vec![(at(50), 1), (at(40), 2), (at(10), 5), (at(2), 2)];
    assert_eq!(snapshots(&rules(5, 1).expired(&set_back)), [1, 3, 4, 5]);

    let young = SnapshotReference::new(3, SnapshotRetention::branch(None, Some(1), None));
    let young = history(&[(1, 0, 1), (2, 1, 1), (3, 2, 0)], &[(MAIN_BRANCH, young)]);
    assert_eq!(snapshots(&rules(0, 1).expired(&young)), [0; 0]);
}

#[test]
fn broken_histories_end() {
    let chain = history(&[(4, 3, 20), (5, 4, 10)], &[(MAIN_BRANCH, branch(5))]);
    assert_eq!(snapshots(&rules(5, 4).expired(&chain)), [0; 0]);
    let circle = history(&[(1, 2, 20), (2, 1, 10)], &[(MAIN_BRANCH, branch(2))]);
    assert_eq!(snapshots(&rules(5, 9).expired(&circle)), [0; 0]);
}

#[test]
fn properties_decide_where_nothing_was_asked() {
    let name = TableName::parse("default", "t.stats").unwrap();
    let properties = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    let own = properties(&[
        ("history.expire.max-snapshot-age-ms", "7200000"),
        ("history.expire.min-snapshots-to-keep", "3"),
        ("history.expire.max-ref-age-ms", "9"),
    ]);
    let asked = ExpireOptions {
        older_than: Some(READERS),
        keep_last: Some(2),
        ..ExpireOptions::default()
    };
    let read = |properties: &HashMap<String, String>, options: &ExpireOptions| {
        let rules = Rules::new(&name, properties, options, NOW);
        rules.map(|it| (it.max_age_ms, it.keep_last, it.max_ref_age_ms))
    };
    let default = ExpireOptions::default();
    assert_eq!(read(&own, &default).unwrap(), (2 * HOUR, 3, 9));
    assert_eq!(read(&own, &asked).unwrap(), (HOUR, 2, 9));
    assert_eq!(
        read(&HashMap::new(), &default).unwrap(),
        (120 * HOUR, 1, i64::MAX)
    );
    let broken = properties(&[("history.expire.min-snapshots-to-keep", "few")]);
    assert_eq!(
        read(&broken, &default).unwrap_err().to_string(),
        "property `history.expire.min-snapshots-to-keep` of table `t.stats`: expected a whole number, found `few`"
    );
}

#[test]
fn options_that_disturb_readers_are_refused() {
    let refused = |options: ExpireOptions| options.check().unwrap_err().to_string();
    let young = ExpireOptions {
        older_than: Some(Duration::from_secs(600)),
        ..ExpireOptions::default()
    };
    assert_eq!(
        refused(young),
        "older_than: expected 1h at least, since readers may need a snapshot for so long; found 10m"
    );
    let young = ExpireOptions {
        default_age: Duration::ZERO,
        ..ExpireOptions::default()
    };
    assert!(refused(young.clone()).starts_with("default_age: "));
    let forced = ExpireOptions {
        force_younger: true,
        ..young
    };
    forced.check().unwrap();
    let none = ExpireOptions {
        keep_last: Some(0),
        ..ExpireOptions::default()
    };
    assert_eq!(refused(none), "keep_last: expected 1 or more, found 0");
}

/// Up to 10 snapshots, each after an earlier one or after one that is gone, and up to 4 refs.
fn histories() -> impl Strategy<Value = History> {
    let snapshot = (prop::option::of(0..10i64), 0..6i64);
    let age = || prop::option::of(0..6 * HOUR);
    let reference = (
        0..10i64,
        any::<bool>(),
        prop::option::of(1..4i32),
        age(),
        age(),
    );
    let refs = prop::collection::vec(reference, 0..4);
    let log = prop::collection::vec(0..10i64, 0..4);
    (prop::collection::vec(snapshot, 1..10), refs, log).prop_map(|(snapshots, refs, log)| {
        let count = snapshots.len() as i64;
        let points = snapshots.into_iter().zip(0..).map(|((parent, steps), id)| {
            let point = Point {
                parent: parent.map(|it| if id > 0 { it % id } else { -1 }),
                at_ms: NOW - (count - id) * HOUR - steps * HOUR / 3,
            };
            (id, point)
        });
        let mut named: BTreeMap<String, SnapshotReference> = BTreeMap::new();
        for (index, (id, is_tag, least, age, ref_age)) in refs.into_iter().enumerate() {
            let retention = match is_tag && index > 0 {
                true => SnapshotRetention::Tag {
                    max_ref_age_ms: ref_age,
                },
                false => SnapshotRetention::branch(least, age, ref_age),
            };
            let name = if index == 0 {
                MAIN_BRANCH.to_owned()
            } else {
                format!("r{index}")
            };
            named.insert(name, SnapshotReference::new(id % count, retention));
        }
        let steps = log.len() as i64;
        let log = log.into_iter().zip(0..);
        History {
            snapshots: points.collect(),
            refs: named,
            log: log
                .map(|(id, step)| (NOW - (steps - step) * HOUR / 2, id % count))
                .collect(),
        }
    })
}

/// The slow and obvious way: each snapshot is asked for a reason to stay.
fn oracle(rules: &Rules, history: &History) -> Expired {
    let age = |id: i64| NOW - history.snapshots[&id].at_ms;
    let limits = |it: &SnapshotReference| match it.retention.clone() {
        SnapshotRetention::Branch {
            min_snapshots_to_keep,
            max_snapshot_age_ms,
            max_ref_age_ms,
        } => (min_snapshots_to_keep, max_snapshot_age_ms, max_ref_age_ms),
        SnapshotRetention::Tag { max_ref_age_ms } => (None, None, max_ref_age_ms),
    };
    let over = |(name, it): &(&String, &SnapshotReference)| {
        let most = limits(it).2.unwrap_or(rules.max_ref_age_ms);
        *name != MAIN_BRANCH && age(it.snapshot_id) > most
    };
    let kept: Vec<_> = history.refs.iter().filter(|it| !over(it)).collect();
    let line = |it: &SnapshotReference| {
        let mut line = vec![it.snapshot_id];
        while let Some(parent) = history.snapshots[line.last().unwrap()].parent
            && it.is_branch()
            && history.snapshots.contains_key(&parent)
        {
            line.push(parent);
        }
        line
    };
    let stays = |id: i64| {
        let of_ref = kept.iter().any(|(_, it)| {
            let (least, most, _) = limits(it);
            let least = least.map_or(rules.keep_last, |it| it as usize).max(1);
            let most = most.unwrap_or(rules.max_age_ms);
            let line = line(it);
            let position = line.iter().position(|other| *other == id);
            position.is_some_and(|position| {
                let mut newer = (0..=position).map(|at| at < least || age(line[at]) <= most);
                newer.all(|stays| stays)
            })
        });
        let unreferenced = !kept.iter().any(|(_, it)| line(it).contains(&id));
        let mut children = history
            .snapshots
            .values()
            .filter(|it| it.parent == Some(id));
        let mut steps = history.log.windows(2);
        of_ref
            || (unreferenced && age(id) <= rules.max_age_ms)
            || age(id) <= rules.readers_ms
            || children.any(|child| NOW - child.at_ms <= rules.readers_ms)
            || steps.any(|step| step[0].1 == id && NOW - step[1].0 <= rules.readers_ms)
    };
    let all = history.snapshots.keys().copied();
    let gone = history.refs.iter().filter(over);
    Expired {
        snapshots: all.filter(|id| !stays(*id)).collect(),
        refs: gone.map(|(name, _)| name.clone()).collect::<BTreeSet<_>>(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_expires_has_no_reason_to_stay(
        history in histories(),
        max_age_ms in 0..8 * HOUR,
        keep_last in 1..4usize,
        readers_ms in prop_oneof![Just(0), Just(millis(READERS))],
        max_ref_age_ms in prop::option::of(0..8 * HOUR),
    ) {
        let rules = Rules {
            now_ms: NOW,
            max_age_ms,
            keep_last,
            readers_ms,
            max_ref_age_ms: max_ref_age_ms.unwrap_or(i64::MAX),
        };
        prop_assert_eq!(rules.expired(&history), oracle(&rules, &history));
    }
}
