//! Random tables: whatever was written and deleted, and whenever a compaction or a merging of manifests runs, with appends
//! at the same time, the rows stay the same.

use super::*;

/// What happens to a table, in this order.
#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Row>),
    Together(Vec<Row>),
    /// Of the rows that there are, those with these positions, modulo their number.
    Positions(Vec<usize>),
    Equal(Vec<usize>),
    /// With these appends at the same time.
    Compact(Vec<Vec<Row>>),
    Manifests,
}

fn rows_of() -> impl Strategy<Value = Vec<Row>> {
    let row = (
        prop::option::of(0..5i64),
        0..70i64,
        prop::option::of(0..9i64),
    );
    prop::collection::vec(row, 1..12)
}

fn step() -> impl Strategy<Value = Step> {
    let some = || prop::collection::vec(any::<usize>(), 1..5);
    prop_oneof![
        4 => rows_of().prop_map(Step::Append),
        1 => rows_of().prop_map(Step::Together),
        1 => some().prop_map(Step::Positions),
        1 => some().prop_map(Step::Equal),
        2 => prop::collection::vec(rows_of(), 0..3).prop_map(Step::Compact),
        1 => Just(Step::Manifests),
    ]
}

fn chosen_ids(lab: &Lab, positions: &[usize]) -> Vec<i64> {
    let ids: Vec<i64> = lab.rows.keys().copied().collect();
    let chosen = positions.iter().filter(|_| !ids.is_empty());
    chosen.map(|it| ids[it % ids.len()]).collect()
}

async fn take(lab: &mut Lab, step: Step) {
    match step {
        Step::Append(rows) => lab.append(&rows).await,
        Step::Together(rows) => lab.append_together(&rows).await,
        Step::Positions(positions) => {
            let ids = chosen_ids(lab, &positions);
            lab.delete_positions(&ids).await;
        }
        Step::Equal(positions) => {
            let ids = chosen_ids(lab, &positions);
            if !ids.is_empty() {
                lab.delete_equal(&ids).await;
            }
        }
        Step::Compact(late) => {
            let late: Vec<_> = late.iter().map(|rows| lab.take(rows)).collect();
            let appends = async {
                for batch in late {
                    commit_rows(&lab.tables, &lab.name, batch).await;
                }
            };
            futures::join!(lab.compact(), appends);
        }
        Step::Manifests => {
            let merged = lab.maintenance.merge_manifests(&lab.name, false);
            merged.await.unwrap();
        }
    }
}

async fn run(partitioned: bool, steps: Vec<Step>) {
    let partition_by = if partitioned { hybrid() } else { Vec::new() };
    let mut lab = Lab::new(partition_by, &[("commit.manifest.min-count-to-merge", "3")]).await;
    lab.append(&rows(3, 50)).await;
    for step in steps {
        take(&mut lab, step).await;
        lab.check().await;
    }
    lab.compact().await;
    lab.check().await;
    assert!(per_partition(&lab).await <= 1);
    assert_eq!(delete_files(&lab).await, 0);
    assert_eq!(lab.compact().await.snapshot_id, None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn no_compaction_changes_a_row(
        partitioned in any::<bool>(),
        steps in prop::collection::vec(step(), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(run(partitioned, steps));
    }
}
