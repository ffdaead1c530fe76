//! Reads against a dictionary, through writes, late rows, ties, folds, restarts, small memories and every partitioning.

mod lab;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int8Type;
use async_trait::async_trait;
use futures::FutureExt;
use proptest::prelude::*;
use rstest::rstest;

use super::assemble::as_begun;
use crate::clock;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{PartitionStrategy, WriteToken};
use crate::registry::{Registry, RegistryReader};
use lab::{Lab, Row, Settings};

const KEYS: i64 = 12;

/// One step of a life of a table.
#[derive(Clone, Debug)]
enum Step {
    /// Rows of key, event second, created second and value.
    Write(Vec<Row>),
    /// Rows that follow each other in partitions, not in one small file.
    Fold,
    /// Another server, with an empty memory.
    Restart,
    /// Time for what was written elsewhere to be seen.
    Refresh,
    Read(Vec<i64>),
}

/// The dictionary: what counts of each key.
#[derive(Default)]
struct Model {
    latest: BTreeMap<i64, (i64, Option<i64>, f64)>,
}

impl Model {
    fn write(&mut self, rows: &[Row]) {
        for row in rows {
            let new = (row.event, row.created, row.value);
            let held = self.latest.entry(row.key).or_insert(new);
            // Of equal times, the later write wins.
            if (held.0, held.1) <= (new.0, new.1) {
                *held = new;
            }
        }
    }

    fn read(&self, keys: &[i64]) -> Vec<Option<(i64, f64)>> {
        let latest = |key| {
            self.latest
                .get(key)
                .map(|(event, _, value)| (*event, *value))
        };
        keys.iter().map(latest).collect()
    }
}

fn row() -> impl Strategy<Value = Row> {
    (0..KEYS, 0..4_i64, prop::option::of(0..2_i64), 0..1000_i32).prop_map(
        |(key, event, created, value)| Row {
            key,
            event,
            created,
            value: f64::from(value),
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => prop::collection::vec(row(), 1..8).prop_map(Step::Write),
        2 => Just(Step::Fold),
        1 => Just(Step::Restart),
        1 => Just(Step::Refresh),
        5 => prop::collection::vec(0..KEYS + 2, 1..6).prop_map(Step::Read),
    ]
}

fn strategies() -> impl Strategy<Value = PartitionStrategy> {
    prop_oneof![
        Just(PartitionStrategy::EntityHash),
        Just(PartitionStrategy::Timestamp),
        Just(PartitionStrategy::Hybrid),
    ]
}

/// A memory that holds everything, one that holds some parts, and one that holds nothing.
fn memories() -> impl Strategy<Value = u64> {
    prop_oneof![Just(64 << 20), Just(40_000_u64), Just(0)]
}

async fn live(settings: Settings, steps: Vec<Step>) {
    let mut lab = Lab::new(settings).await;
    let mut model = Model::default();
    let mut token = None;
    for step in steps {
        match step {
            Step::Write(rows) => {
                token = lab.write(&rows).await;
                model.write(&rows);
            }
            Step::Fold => lab.fold().await,
            Step::Restart => lab.restart(),
            Step::Refresh => lab.reader.refresh().await,
            Step::Read(keys) => {
                if token.is_some() {
                    let found = lab.read(&keys, token.clone()).await.unwrap();
                    assert_eq!(found, model.read(&keys), "{keys:?}");
                }
            }
        }
    }
    let all: Vec<i64> = (0..KEYS + 2).collect();
    if token.is_some() {
        assert_eq!(lab.read(&all, token).await.unwrap(), model.read(&all));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_life_of_a_table_reads_as_a_dictionary(
        strategy in strategies(),
        cache_bytes in memories(),
        steps in prop::collection::vec(step(), 1..14),
    ) {
        let settings = Settings { strategy, cache_bytes, buckets: 4 };
        lab::runtime().block_on(live(settings, steps));
    }
}

#[rstest]
#[case(PartitionStrategy::EntityHash)]
#[case(PartitionStrategy::Timestamp)]
#[case(PartitionStrategy::Hybrid)]
#[tokio::test(flavor = "multi_thread")]
async fn strategies_give_the_same_answers(#[case] strategy: PartitionStrategy) {
    let mut lab = Lab::new(Settings {
        strategy,
        ..Settings::default()
    })
    .await;
    let rows = lab::rows(0..9000, 5);
    lab.write(&rows).await;
    let late = lab::rows(0..9000, 3);
    let token = lab.write(&late).await;
    let keys = [0, 17, 8999, 9000];
    let expected = [Some((5, 0.0)), Some((5, 17.0)), Some((5, 8999.0)), None];
    assert_eq!(lab.read(&keys, token.clone()).await.unwrap(), expected);
    lab.fold().await;
    assert_eq!(lab.read(&keys, token.clone()).await.unwrap(), expected);
    lab.restart();
    assert_eq!(lab.read(&keys, token).await.unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_reads_files_of_one_bucket() {
    let mut lab = Lab::new(Settings::default()).await;
    // Large writes are partitioned, small ones are one file each.
    lab.write(&lab::rows(0..9000, 1)).await;
    lab.write(&lab::rows(0..10, 2)).await;
    lab.write(&lab::rows(10..20, 2)).await;
    lab.restart();
    let cold = lab.explain(&[3]).await;
    assert!(cold.contains("in 1 of 4 buckets"), "{cold}");
    assert!(cold.contains("1 loaded now, 1 by key"), "{cold}");
    let considered =
        "files: 6 total, 3 pruned by bucket, 3 considered (1 of the buckets, 2 of any key)";
    assert!(cold.contains(&format!("{considered}, 3 read")), "{cold}");
    // What is asked for again is loaded.
    let again = lab.explain(&[3]).await;
    let loaded = "1 parts in memory, 1 loaded now, 0 by key";
    assert!(again.contains(loaded), "{again}");
    assert!(again.contains(&format!("{considered}, 1 read")), "{again}");
    let warm = lab.explain(&[3]).await;
    assert!(warm.contains("2 parts in memory, 0 loaded now"), "{warm}");
    assert!(warm.contains(", 0 read"), "{warm}");
    lab.fold().await;
    lab.restart();
    let folded = lab.explain(&[3]).await;
    assert!(
        folded.contains("files: 4 total, 3 pruned by bucket, 1 considered (1 of the buckets, 0 of any key), 1 read"),
        "{folded}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_larger_than_the_memory_is_read_by_key() {
    let lab = Lab::new(Settings {
        cache_bytes: 0,
        ..Settings::default()
    })
    .await;
    lab.write(&lab::rows(0..9000, 1)).await;
    let text = lab.explain(&[3]).await;
    assert!(
        text.contains("0 parts in memory, 0 loaded now, 1 by key"),
        "{text}"
    );
    assert!(
        text.contains("1 considered (1 of the buckets, 0 of any key), 1 read"),
        "{text}"
    );
    assert_eq!(lab.reader.means.loader.budget.used(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_adds_rows_to_what_is_in_memory() {
    let lab = Lab::new(Settings::default()).await;
    lab.write(&lab::rows(0..9000, 1)).await;
    let all: Vec<i64> = (0..9000).collect();
    lab.read(&all, None).await.unwrap();
    let token = lab.write(&lab::rows(5..6, 2)).await;
    lab.read(&[5], token).await.unwrap();
    let text = lab.explain(&all).await;
    assert!(text.contains("5 parts in memory, 0 loaded now"), "{text}");
    lab.fold().await;
    lab.reader.refresh().await;
    let text = lab.explain(&all).await;
    assert!(text.contains("4 parts in memory, 0 loaded now"), "{text}");
    assert_eq!(lab.read(&[5], None).await.unwrap(), [Some((2, 5.0))]);
}

/// Polls a read once and gives up, again and again, as clients with short time limits do.
async fn by_impatient_tries(
    lab: &Lab,
    keys: &[i64],
    token: Option<WriteToken>,
) -> Vec<Option<(i64, f64)>> {
    for _ in 0..2_000 {
        if let Some(found) = lab.read(keys, token.clone()).now_or_never() {
            return found.unwrap();
        }
        clock::sleep(Duration::from_millis(5)).await;
    }
    panic!("no try got any further than the one before it");
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_that_are_given_up_make_progress() {
    let lab = Lab::new(Settings::default()).await;
    lab.write(&lab::rows(0..9000, 1)).await;
    // The table is opened and a bucket loaded.
    assert_eq!(by_impatient_tries(&lab, &[3], None).await, [Some((1, 3.0))]);
    // Another writer's snapshot is followed.
    let token = lab.write(&lab::rows(3..4, 2)).await;
    assert_eq!(
        by_impatient_tries(&lab, &[3], token).await,
        [Some((2, 3.0))]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_others_take_out_of_buckets_are_found() {
    let lab = Lab::new(Settings::default()).await;
    lab.write(&lab::rows(0..9000, 1)).await;
    let all: Vec<i64> = (0..9000).collect();
    let before = lab.read(&all, None).await.unwrap();
    lab.put_together().await;
    lab.reader.refresh().await;
    assert_eq!(lab.read(&all, None).await.unwrap(), before);
    // The same where the file that may hold any key was in memory.
    let token = lab.write(&lab::rows(3..4, 2)).await;
    assert_eq!(lab.read(&[3], token).await.unwrap(), [Some((2, 3.0))]);
    lab.put_together().await;
    lab.reader.refresh().await;
    assert_eq!(lab.read(&[3], None).await.unwrap(), [Some((2, 3.0))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_others_made_anew_is_read_with_its_token() {
    let lab = Lab::new(Settings::default()).await;
    let old = lab.write(&lab::rows(0..3, 9)).await;
    assert_eq!(lab.read(&[1], old).await.unwrap(), [Some((9, 1.0))]);
    lab.drop_tables().await;
    let new = lab.write(&lab::rows(1..2, 5)).await;
    assert_eq!(
        lab.read(&[1, 2], new).await.unwrap(),
        [Some((5, 1.0)), None]
    );
}

/// Definitions that can be read, or not, as the test says.
#[derive(Debug, Default)]
struct Moody(Mutex<Option<Arc<Registry>>>);

impl Moody {
    fn say(&self, project: Option<&str>) {
        let registry = project.map(|project| Arc::new(Registry::new(project, [], [], [])));
        *self.0.lock().unwrap() = registry;
    }
}

#[async_trait]
impl RegistryReader for Moody {
    async fn current(&self) -> Result<Arc<Registry>> {
        let said = self.0.lock().unwrap().clone();
        said.ok_or_else(|| Error::InvalidDefinitions {
            origin: "features.toml".to_owned(),
            message: "it is being written".to_owned(),
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn known_definitions_stay_while_they_cannot_be_read() {
    let registry = Arc::new(Moody::default());
    let shared: Arc<dyn RegistryReader> = Arc::<Moody>::clone(&registry);
    let reader = lab::reader_of(&shared);
    let project = async || {
        let known = reader.definitions(None).await.unwrap();
        known.map(|registry| registry.project().to_owned())
    };
    assert_eq!(project().await, None);
    registry.say(Some("shop"));
    // That there are none is remembered, too: a read does not ask each time.
    assert_eq!(project().await, None);
    reader.refresh().await;
    assert_eq!(project().await.as_deref(), Some("shop"));
    registry.say(None);
    reader.refresh().await;
    assert_eq!(project().await.as_deref(), Some("shop"));
    registry.say(Some("mall"));
    reader.refresh().await;
    assert_eq!(project().await.as_deref(), Some("mall"));
}

#[test]
fn a_channel_does_not_go_on_with_other_types() {
    let column = |values: ArrayRef| RecordBatch::try_from_iter([("value", values)]).unwrap();
    let small = column(Arc::new(Int32Array::from(vec![1])));
    let large = column(Arc::new(Int64Array::from(vec![1])));
    let begun = small.schema();
    assert_eq!(as_begun(&small, &begun).unwrap(), small);
    let error = as_begun(&large, &begun).unwrap_err();
    assert!(error.to_string().contains("open a new one"), "{error}");
    // The schema that was sent has dictionaries' values.
    let names: StringArray = ["a", "b"].into_iter().map(Some).collect();
    let names = column(Arc::new(names));
    let coded: DictionaryArray<Int8Type> = ["a", "b"].into_iter().collect();
    assert_eq!(
        as_begun(&column(Arc::new(coded)), &names.schema()).unwrap(),
        names
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded() {
    let limit = 400_000;
    let lab = Lab::new(Settings {
        cache_bytes: limit,
        ..Settings::default()
    })
    .await;
    for version in 0..4 {
        let view = format!("stats@v{version}");
        lab.write_view(&view, &lab::rows(0..5000, 1)).await;
        let all: Vec<i64> = (0..5000).collect();
        assert_eq!(lab.read_view(&view, &all).await.unwrap().len(), 5000);
        assert!(lab.reader.means.loader.budget.used() <= limit);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_past_the_ttl_are_outside_of_the_max_age() {
    let lab = Lab::new(Settings::default()).await;
    lab.write(&lab::rows(0..2, 100)).await;
    // The lab's clock begins at one second.
    lab.clock.advance(Duration::from_secs(99 + 3600));
    let at_the_limit = lab.statuses(&[0, 5], false).await;
    assert_eq!(at_the_limit, ["PRESENT", "NOT_FOUND"]);
    lab.clock.advance(Duration::from_secs(1));
    assert_eq!(
        lab.statuses(&[0, 5], false).await,
        ["OUTSIDE_MAX_AGE", "NOT_FOUND"]
    );
    assert_eq!(lab.statuses(&[0, 5], true).await, ["PRESENT", "NOT_FOUND"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_named() {
    let lab = Lab::new(Settings::default()).await;
    let token = lab.write(&lab::rows(0..2, 1)).await;
    let error = lab.read_view("nothing", &[1]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        error.to_string().contains("feature view `nothing`"),
        "{error}"
    );
    lab.write_view("stats@v9", &lab::rows(0..2, 1)).await;
    let request = lab::request("stats@v9", token);
    let error = lab.reader.plan(&request).await.unwrap_err();
    assert!(error.to_string().starts_with("online.token: "), "{error}");
}
