//! Values that expire: when they are replaced, by how many, and what a failure means.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures::future::join_all;
use rstest::rstest;

use super::super::lease::{Lease, Term};
use crate::clock::{self, Clock, ManualClock};

const START: SystemTime = SystemTime::UNIX_EPOCH;

struct Fixture {
    clock: std::sync::Arc<ManualClock>,
    lease: Lease<u64>,
    fetched: AtomicU64,
}

/// A lease on 0 that lasts for `life`; the next values are 1, 2, … and last for an hour.
fn leased(life: Option<u64>) -> Fixture {
    let clock = std::sync::Arc::new(ManualClock::new(START));
    let term = Term {
        value: 0,
        expires: life.map(|life| START + Duration::from_secs(life)),
    };
    let lease = Lease::new(std::sync::Arc::<ManualClock>::clone(&clock), term);
    Fixture {
        clock,
        lease,
        fetched: AtomicU64::new(0),
    }
}

impl Fixture {
    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    async fn fetch(&self) -> Result<Term<u64>, String> {
        clock::sleep(Duration::from_millis(20)).await;
        Ok(Term {
            value: self.fetched.fetch_add(1, Ordering::Relaxed) + 1,
            expires: Some(self.clock.now() + Duration::from_secs(3600)),
        })
    }

    async fn fail(&self) -> Result<Term<u64>, String> {
        self.fetched.fetch_add(1, Ordering::Relaxed);
        Err("the catalog is down".to_owned())
    }

    fn fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }
}

#[rstest]
#[case(Some(3600), 3299, 0)]
#[case(Some(3600), 3301, 1)]
#[case(Some(60), 39, 0)]
#[case(Some(60), 41, 1)]
#[case(Some(60), 61, 1)]
#[case(None, 1 << 30, 0)]
#[tokio::test]
async fn values_are_replaced_some_time_before_they_expire(
    #[case] life: Option<u64>,
    #[case] passed: u64,
    #[case] expected: u64,
) {
    let fixture = leased(life);
    fixture.advance(passed);
    let value = fixture.lease.get("test", fixture.fetch()).await;
    assert_eq!(value, Ok(expected));
}

#[tokio::test]
async fn one_fetches_while_others_wait_or_go_on_with_the_old_value() {
    let fixture = leased(Some(60));
    fixture.advance(50);
    let values = join_all((0..8).map(|_| fixture.lease.get("test", fixture.fetch()))).await;
    assert_eq!(values.iter().flatten().sum::<u64>(), 1, "{values:?}");
    fixture.advance(3600);
    let values = join_all((0..8).map(|_| fixture.lease.get("test", fixture.fetch()))).await;
    assert_eq!(values, vec![Ok(2); 8]);
    assert_eq!(fixture.fetched(), 2);
}

#[tokio::test]
async fn a_failure_matters_only_when_the_old_value_has_expired() {
    let fixture = leased(Some(60));
    fixture.advance(45);
    assert_eq!(fixture.lease.get("test", fixture.fail()).await, Ok(0));
    fixture.advance(9);
    assert_eq!(fixture.lease.get("test", fixture.fail()).await, Ok(0));
    assert_eq!(fixture.fetched(), 1, "tried again too soon");
    fixture.advance(2);
    assert_eq!(fixture.lease.get("test", fixture.fail()).await, Ok(0));
    assert_eq!(fixture.fetched(), 2);
    fixture.advance(5);
    let down = Err("the catalog is down".to_owned());
    assert_eq!(fixture.lease.get("test", fixture.fail()).await, down);
    assert_eq!(fixture.lease.get("test", fixture.fail()).await, down);
    assert_eq!(fixture.fetched(), 3, "a failure is shared");
    fixture.advance(2);
    assert_eq!(fixture.lease.get("test", fixture.fetch()).await, Ok(4));
}

#[tokio::test]
async fn a_value_that_comes_expired_is_a_failure() {
    let fixture = leased(Some(60));
    fixture.advance(61);
    let stale = async {
        Ok(Term {
            value: 9,
            expires: Some(START),
        })
    };
    let error = fixture.lease.get("test", stale).await.unwrap_err();
    assert_eq!(error, "the new ones have expired already");
}

#[tokio::test]
async fn refused_values_are_replaced_once() {
    let fixture = leased(None);
    let replaced = |refused: u64| {
        fixture
            .lease
            .replace(move |value| *value == refused, fixture.fetch())
    };
    assert_eq!(join_all((0..8).map(|_| replaced(0))).await, vec![Ok(1); 8]);
    // Refusals of the one before may still come in.
    assert_eq!(replaced(1).await, Ok(1));
    fixture.advance(10);
    assert_eq!(replaced(1).await, Ok(2));
    assert_eq!(fixture.fetched(), 2);
}
