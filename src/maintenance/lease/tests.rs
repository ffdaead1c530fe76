//! Leases of one table by two maintainers whose clock a test moves.

use std::sync::Arc;

use super::*;
use crate::clock::ManualClock;
use crate::maintenance::lab::Lab;

struct Two {
    lab: Lab,
    clock: Arc<ManualClock>,
    one: Maintainer,
    other: Maintainer,
}

impl Two {
    async fn new() -> Self {
        let lab = Lab::new(Vec::new(), &[]).await;
        let clock = Arc::new(ManualClock::new(
            UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        ));
        let maintainer = || {
            let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
            Maintainer::new(lab.tables.catalogs().clone(), clock)
        };
        Self {
            one: maintainer(),
            other: maintainer(),
            clock,
            lab,
        }
    }

    async fn property(&self) -> Option<String> {
        let table = self.lab.table().await;
        table.metadata().properties().get(MAINTAINER).cloned()
    }

    async fn set(&self, text: &str) {
        let change = set([(MAINTAINER.to_owned(), text.to_owned())]);
        self.lab.change(change).await.unwrap();
    }
}

fn ours(take: Take) -> Lease {
    match take {
        Take::Ours(lease) => lease,
        Take::Held(holder) => panic!("held by {holder}"),
    }
}

#[tokio::test]
async fn a_table_has_one_maintainer() {
    let two = Two::new().await;
    let name = &two.lab.name;
    let lease = ours(two.one.take(name).await.unwrap());
    let Take::Held(holder) = two.other.take(name).await.unwrap() else {
        panic!("taken twice");
    };
    assert_eq!(holder.id, two.one.id);
    assert!(
        holder.to_string().ends_with(" until 2027-01-15T08:10:00Z"),
        "{holder}"
    );
    let table = lease.release(HashMap::new()).await.unwrap();
    assert_eq!(table.metadata().properties().get(MAINTAINER), None);
    ours(two.other.take(name).await.unwrap());
}

#[tokio::test]
async fn a_lease_ends_by_itself_unless_it_is_renewed() {
    let two = Two::new().await;
    let name = &two.lab.name;
    let _died = ours(two.one.take(name).await.unwrap());
    two.clock.advance(LEASE / 2);
    assert_eq!(two.one.claim(name).await.unwrap(), None);
    two.clock.advance(LEASE / 2 + Duration::from_secs(1));
    assert!(matches!(two.other.take(name).await.unwrap(), Take::Held(_)));
    two.clock.advance(LEASE / 2);
    ours(two.other.take(name).await.unwrap());
    // The one that came back does not take it away again.
    assert!(two.one.claim(name).await.unwrap().is_some());
}

#[tokio::test]
async fn a_lease_that_was_lost_is_not_released() {
    let two = Two::new().await;
    let name = &two.lab.name;
    let lost = ours(two.one.take(name).await.unwrap());
    two.clock.advance(LEASE + Duration::from_secs(1));
    let lease = ours(two.other.take(name).await.unwrap());
    let marks = HashMap::from([("mark".to_owned(), "1".to_owned())]);
    lost.release(marks.clone()).await.unwrap();
    assert!(two.property().await.unwrap().starts_with(&two.other.id));
    let table = lease.release(marks).await.unwrap();
    assert_eq!(table.metadata().properties()["mark"], "1");
    assert_eq!(two.property().await, None);
}

#[tokio::test]
async fn what_is_no_lease_is_nobodys() {
    let two = Two::new().await;
    for text in [
        "",
        "somebody",
        "somebody soon",
        "somebody 1",
        "somebody 9999999999999",
    ] {
        two.set(text).await;
        let table = two.lab.table().await;
        assert_eq!(two.one.other(table.metadata()), None, "{text}");
    }
    two.set("some body 1800000060000").await;
    let table = two.lab.table().await;
    let holder = two.one.other(table.metadata()).unwrap();
    assert_eq!(holder.id, "some body");
}

#[tokio::test]
async fn a_process_of_this_machine_that_died_holds_nothing() {
    let two = Two::new().await;
    let until = 1_800_000_060_000_u64;
    // Linux has no process of that number.
    two.set(&format!("{}/4194305/ab {until}", host())).await;
    let table = two.lab.table().await;
    assert_eq!(two.one.other(table.metadata()), None);
    let alive = format!("{}/{}/ab", host(), std::process::id());
    two.set(&format!("{alive} {until}")).await;
    let table = two.lab.table().await;
    assert_eq!(two.one.other(table.metadata()).unwrap().id, alive);
}

#[tokio::test]
async fn of_many_at_once_one_gets_it() {
    let two = Two::new().await;
    let name = &two.lab.name;
    let (one, other) = tokio::join!(two.one.take(name), two.other.take(name));
    let taken = [one.unwrap(), other.unwrap()];
    let held = taken.iter().filter(|take| matches!(take, Take::Held(_)));
    assert_eq!(held.count(), 1);
}

#[tokio::test]
async fn work_is_done_under_a_lease() {
    let two = Two::new().await;
    let lease = ours(two.one.take(&two.lab.name).await.unwrap());
    assert_eq!(lease.during(async { 7 }).await, 7);
}
